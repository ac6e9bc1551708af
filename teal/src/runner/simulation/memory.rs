//! A world in memory on bad days: fake drivers, a clock of its own, and every fault that can be thought of.
//!
//! The same seed plays the same run to the last line of its story: there are no sockets, and no order depends on the
//! machine. What is not drawn, because nothing could survive it, is said where it would be: see `systems` for how late a
//! change may come, and [`Stage::may_move`] for when another machine may take over.

mod changes;
mod instances;
mod judge;
mod liars;
mod mishaps;
mod scenario;
mod systems;
mod traffic;
mod world;

use super::deployers::{Deployers, Theatre};
use super::{BEGINNING, Counts, Run, seeds};
use crate::systems::Systems;
use scenario::Scenario;
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use systems::World;
use teal_core::Span;
use teal_core::journal::{Command, Outcome, State};
use teal_core::name::{InstanceId, RevisionId, Role};
use teal_core::observation::EndpointState;
use teal_core::plan::Plan;
use teal_core::report::Report;
use teal_drivers::directory::Directory;
use world::{BLUE, Endpoint, GREEN, Happening};

const POOL: &str = "oinker";
/// A run that has not ended by then never will: more than all deadlines together.
const TOO_LONG: Span = Span::minutes(60);
/// How long the world goes on after the end, so that everything comes to light that was still on its way.
const AFTERMATH: Span = Span::seconds(90);
/// How often a person may be needed on one bad day.
const STUCK_MAX: u64 = 5;
/// How many seeds are played unless `TEAL_SEEDS` says otherwise.
const SEEDS: u64 = 256;

#[test]
fn on_bad_days_of_a_world_in_memory_every_deployment_ends_with_every_promise_kept() {
    seeds::play("simulation::memory", SEEDS, play_silently, play);
}

#[test]
fn a_seed_is_played_again_to_the_last_line_of_its_story() {
    for seed in 1..=20 {
        let (once, again) = (play(seed), play(seed));

        assert!(once.story.len() > 20, "seed {seed} tells a story");
        assert_eq!(once, again, "seed {seed}");
    }
    assert_ne!(play(1).story, play(2).story);
}

/// Plays one seed on this thread, and tells its story.
fn play(seed: u64) -> Run {
    play_scenario(Scenario::of(seed), true, Stage::systems_of)
}

/// Plays one seed on this thread, and keeps no story.
fn play_silently(seed: u64) -> Run {
    play_scenario(Scenario::of(seed), false, Stage::systems_of)
}

/// Plays one scenario. What the deployers get is what `systems` makes of the world.
fn play_scenario(scenario: Scenario, tells: bool, systems: fn(&World) -> Systems) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let stage = runtime.block_on(async { Stage::set(scenario, tells, systems) });
    let (seed, world) = (stage.scenario.seed, stage.world.clone());
    let played = catch_unwind(AssertUnwindSafe(|| runtime.block_on(stage.play())));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Run {
            seed,
            breaches: vec![format!("panic: {}", text.unwrap_or_default())],
            story: world.state().story(),
            ..Run::default()
        }
    })
}

struct Stage {
    scenario: Scenario,
    world: World,
    systems: fn(&World) -> Systems,
}

impl Stage {
    /// BLUE serves, if there is one, and people use it.
    fn set(scenario: Scenario, tells: bool, systems: fn(&World) -> Systems) -> Self {
        teal_drivers::clock::go_with_tokio(BEGINNING);
        let (temper, nature) = (scenario.temper.clone(), scenario.green);
        let mut state = world::State::new(scenario.seed, temper, nature, BEGINNING, tells);
        state.tell(|| format!("{scenario:#?}"));
        if scenario.blue > 0 {
            let blue = RevisionId::from(BLUE);
            let body = blue_definition(&scenario);
            let body = body.as_object().cloned().unwrap_or_default();
            state.grow(&blue, body, scenario.blue);
            let endpoints = state.of(&blue).map(|(id, one)| {
                let endpoint = Endpoint {
                    state: EndpointState::Serving,
                    address: one.address.clone(),
                    forgotten: false,
                };
                (id.clone(), endpoint)
            });
            state.pool = Some(endpoints.collect());
        }
        Self {
            world: World::new(state),
            scenario,
            systems,
        }
    }

    fn systems_of(world: &World) -> Systems {
        Systems {
            orchestrator: Arc::new(world.clone()),
            balancer: Arc::new(world.clone()),
            gauges: Arc::new(world.clone()),
            directory: Directory::new(),
        }
    }

    async fn play(self) -> Run {
        let mut deployers = Deployers::new(&self);
        deployers.stuck_max = STUCK_MAX;
        let text = green_definition(&self.scenario).to_string();
        let plan = deployers.plan(&text, &self.scenario.settings).await;
        deployers.began = crate::clock::now();
        self.begin(&plan);
        let run = deployers.run(&plan, &self.scenario.deeds);
        let limit = tokio::time::timeout(TOO_LONG.duration(), run).await;
        let outcome = limit.unwrap_or_else(|_| {
            let what = format!("P7: it has not ended after {TOO_LONG}");
            deployers.breaches.push(what);
            None
        });
        let took = crate::clock::now().since(deployers.began);
        if let Some(outcome) = &outcome {
            deployers.check_store(&plan);
            let wrong = self.check_end(&plan, outcome);
            deployers.breaches.extend(wrong);
        }
        tokio::time::sleep(AFTERMATH.duration()).await;
        if let Some(outcome) = &outcome {
            let wrong = self.check_aftermath(&plan, outcome);
            deployers.breaches.extend(wrong);
        }
        let wrong = self.check_reports(&deployers, &plan);
        deployers.breaches.extend(wrong);
        let state = self.world.state();
        deployers.breaches.extend(state.judge.breaches.clone());
        Run {
            seed: self.scenario.seed,
            outcome,
            breaches: deployers.breaches,
            story: state.story(),
            took,
            counts: Counts {
                requests: state.traffic.served,
                operations: state.traffic.done,
                lost_to_the_world: state.traffic.lost_to_the_world,
                lost_to_force: state.traffic.lost_to_force,
                kills: state.judge.kills,
                resumed: deployers.resumed,
                stuck: deployers.stuck,
            },
        }
    }

    /// Now things begin to go wrong for the deployment.
    fn begin(&self, plan: &Plan) {
        let mut state = self.world.state();
        state.judge.set_plan(plan);
        let began = state.now;
        for (after, mishap) in &self.scenario.mishaps {
            state.at(began + *after, Happening::Suffers(mishap.clone()));
        }
        state.at(began + self.scenario.calm_after, Happening::Calms);
    }

    /// P5: what the outcome says is so, as far as teal was told: the world may have moved on since its last look.
    fn check_end(&self, plan: &Plan, outcome: &Outcome) -> Vec<String> {
        let mut wrong = Vec::new();
        if *outcome != Outcome::Completed && self.scenario.is_plain() {
            wrong.push(format!("nothing was wrong, and it ended {outcome:?}"));
        }
        let (role, there, _) = sides(outcome);
        let state = self.world.state();
        let mut pool = state.judge.seen.clone();
        pool.retain(|id, _| is_of(id, there));
        let (serving, owed) = (state.judge.capacity(Some(&pool)), plan.owed(role) as usize);
        if serving < owed {
            wrong.push(format!("P5: {serving} of {owed} {role} serve in the end"));
        }
        wrong
    }

    /// P9: nothing is left, and nothing comes to light later.
    fn check_aftermath(&self, plan: &Plan, outcome: &Outcome) -> Vec<String> {
        let (_, there, gone) = sides(outcome);
        let state = self.world.state();
        let mut wrong = Vec::new();
        let apps: Vec<&str> = state.apps.keys().map(RevisionId::as_str).collect();
        let due = if there == BLUE && plan.blue.is_none() {
            Vec::new()
        } else {
            vec![there]
        };
        if apps != due {
            wrong.push(format!("P9: the apps are {apps:?}"));
        }
        for (id, _) in state.of(&RevisionId::from(gone)) {
            wrong.push(format!("P9: {id} is left"));
        }
        for (id, endpoint) in state.pool.iter().flatten() {
            if is_of(id, gone) {
                wrong.push(format!(
                    "P9: {id} is left in the pool, {:?}",
                    endpoint.state
                ));
            }
        }
        if state.pool.is_some() && due.is_empty() {
            wrong.push("P9: the pool is left".to_owned());
        }
        wrong
    }

    /// P2: what was dropped by force stands in a report.
    fn check_reports(&self, deployers: &Deployers<'_>, plan: &Plan) -> Vec<String> {
        let mut told = Vec::new();
        for path in deployers.journals(plan) {
            let entries = crate::journal_file::read(&path).unwrap();
            let report = Report::of(&entries).unwrap();
            told.extend(report.forced.into_iter().map(|one| one.victim.instance));
        }
        let state = self.world.state();
        let untold = state.judge.dropped.iter().filter(|id| !told.contains(id));
        let untold =
            untold.map(|id| format!("P2: {id} was dropped by force, and no report says so"));
        untold.collect()
    }
}

impl Theatre for Stage {
    fn systems(&self) -> Systems {
        (self.systems)(&self.world)
    }

    fn tell(&self, line: &dyn Fn() -> String) {
        self.world.state().tell(line);
    }

    fn hears(&self, command: &Command) {
        if matches!(command, Command::Force { .. }) {
            self.world.state().judge.permit_force();
        }
    }

    /// What GREEN carries does not tell that the deployment was already going back, nor what was told to stop: a known
    /// limit. So nobody takes over on another machine in these two cases; whoever does would let BLUE drain again, or
    /// give traffic to what is about to stop.
    fn may_move(&self, state: &State) -> bool {
        let world = self.world.state();
        let is_alive = |id: &InstanceId| world.instances.contains_key(id);
        !state.is_back() && !state.killed.keys().any(is_alive)
    }
}

/// Who is there in the end, its app, and the app that is gone.
fn sides(outcome: &Outcome) -> (Role, &'static str, &'static str) {
    match outcome {
        Outcome::Completed => (Role::Green, GREEN, BLUE),
        Outcome::RolledBack { .. } | Outcome::Stuck { .. } => (Role::Blue, BLUE, GREEN),
    }
}

fn is_of(id: &InstanceId, app: &str) -> bool {
    let app = app.trim_start_matches('/');
    let rest = id.as_str().strip_prefix(app);
    rest.is_some_and(|rest| rest.starts_with('.'))
}

fn blue_definition(scenario: &Scenario) -> Value {
    let mut body = green_definition(scenario);
    body["id"] = json!(BLUE);
    body["labels"]["TEAL_SERVICE"] = json!(POOL);
    body["cmd"] = json!("run a");
    body
}

fn green_definition(scenario: &Scenario) -> Value {
    json!({
        "id": "/oinker",
        "cmd": "run b",
        "instances": scenario.blue.max(2),
        "portDefinitions": [{"port": 0}],
        "healthChecks": [{"protocol": "TCP"}],
        "labels": {"TEAL_PENDING_PATH": "/metrics", "TEAL_PENDING_GAUGE": "pending"},
    })
}
