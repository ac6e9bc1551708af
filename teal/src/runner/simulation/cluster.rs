//! A simulated Mesos cluster on bad days: the real Marathon driver and the real gauge probe, over sockets of loopback.

mod scenario;
mod shadow;

use super::deployers::{Deployers, Theatre};
use super::{BEGINNING, Counts, Run, seeds};
use crate::systems::Systems;
use scenario::Scenario;
use serde_json::{Value, json};
use shadow::{Shadow, endpoints};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use teal_core::Span;
use teal_core::action::{Member, PoolAction};
use teal_core::journal::Outcome;
use teal_core::name::{Address, InstanceId, PoolId, Role};
use teal_core::plan::{Plan, PoolPlan, Protocol};
use teal_drivers::HttpGauges;
use teal_drivers::directory::Directory;
use teal_drivers::fake::World;
use teal_drivers::faulty::Faulty;
use teal_drivers::http::Access;
use teal_drivers::orchestrators::marathon::Marathon;
use teal_drivers::simulated::Cluster;

const BLUE: &str = "/oinker-a";
const GREEN: &str = "/oinker-b";
const POOL: &str = "oinker";
/// A run that has not ended by then never will: more than all deadlines together.
const TOO_LONG: Span = Span::minutes(40);
/// How long the cluster goes on after the end, so that everything comes to light that was still on its way.
const AFTERMATH: Span = Span::seconds(90);
/// How many seeds are played unless `TEAL_SEEDS` says otherwise.
const SEEDS: u64 = 64;

#[test]
fn on_bad_days_of_a_cluster_every_deployment_ends_with_every_promise_kept() {
    seeds::play("simulation::cluster", SEEDS, play, play);
}

/// Plays one seed on this thread.
fn play(seed: u64) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let kept = Mutex::new(None);
    let played = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async { Stage::set(Scenario::of(seed), &kept).await.play().await })
    }));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let cluster: Option<Cluster> = kept.lock().unwrap().take();
        Run {
            seed,
            breaches: vec![format!("panic: {}", text.unwrap_or_default())],
            story: cluster.map(|it| it.story()).unwrap_or_default(),
            ..Run::default()
        }
    })
}

struct Stage {
    scenario: Scenario,
    shadow: Shadow,
    cluster: Cluster,
    /// How many processes there have been, each with other faults.
    begun: AtomicU64,
}

impl Stage {
    /// BLUE serves, and people use it.
    async fn set(scenario: Scenario, keep: &Mutex<Option<Cluster>>) -> Self {
        teal_drivers::clock::go_with_tokio(BEGINNING + Span(scenario.seed % 1000));
        let seed = scenario.seed;
        let cluster = Cluster::start(scenario.temper.clone(), seed).await.unwrap();
        *keep.lock().unwrap() = Some(cluster.clone());
        cluster.tell(format!("{scenario:#?}"));
        cluster.set_nature(GREEN, scenario.green);
        cluster.grow(&blue(&scenario), scenario.blue);
        let world = World::new();
        let shadow = Shadow::new(cluster.clone(), world, seed, scenario.requests_per_s);
        let admit = cluster.truths().into_iter().map(|truth| Member {
            instance: truth.instance,
            address: Address(truth.address.to_string()),
        });
        let pool = PoolPlan {
            id: PoolId::from(POOL),
            port_index: 0,
            listen: None,
            protocol: Protocol::Http,
            existed: true,
        };
        let (withdraw, forget) = (Vec::new(), Vec::new());
        let change = PoolAction::Change {
            pool: pool.id.clone(),
            admit: admit.collect(),
            withdraw,
            forget,
        };
        for action in [PoolAction::Open { pool }, change] {
            teal_drivers::Balancer::act(&shadow, &action).await.unwrap();
        }
        tokio::spawn(shadow.clone().send_requests());
        Self {
            scenario,
            shadow,
            cluster,
            begun: AtomicU64::new(0),
        }
    }

    async fn play(self) -> Run {
        let mut deployers = Deployers::new(&self);
        let text = green(&self.scenario).to_string();
        let plan = deployers.plan(&text, &self.scenario.settings).await;
        self.shadow.set_plan(&plan);
        deployers.began = crate::clock::now();
        for (after, mishap) in &self.scenario.mishaps {
            self.cluster
                .let_happen(deployers.began + *after, mishap.clone());
        }
        let (cluster, calm_after) = (self.cluster.clone(), self.scenario.calm_after);
        let calming = tokio::spawn(async move {
            tokio::time::sleep(calm_after.duration()).await;
            cluster.calm();
        });
        let run = deployers.run(&plan, &self.scenario.deeds);
        let limit = tokio::time::timeout(TOO_LONG.duration(), run).await;
        let outcome = limit.unwrap_or_else(|_| {
            let what = format!("P7: it has not ended after {TOO_LONG}");
            deployers.breaches.push(what);
            None
        });
        if let Some(outcome) = &outcome {
            deployers.check_store(&plan);
            let wrong = self.check_end(&plan, outcome);
            deployers.breaches.extend(wrong);
        }
        let took = crate::clock::now().since(deployers.began);
        calming.abort();
        self.cluster.calm();
        tokio::time::sleep(AFTERMATH.duration()).await;
        let wrong = self.check_aftermath(outcome.as_ref());
        deployers.breaches.extend(wrong);
        deployers.breaches.extend(self.shadow.breaches());
        let changes = self.cluster.changes();
        let (requests, operations, lost_to_the_world) = self.shadow.traffic();
        Run {
            seed: self.scenario.seed,
            outcome,
            breaches: deployers.breaches,
            story: self.cluster.story(),
            took,
            counts: Counts {
                requests,
                operations,
                lost_to_the_world,
                kills: changes.iter().filter(|change| change.is_kill()).count() as u64,
                resumed: deployers.resumed,
                ..Counts::default()
            },
        }
    }

    /// P5: what the outcome says is so.
    fn check_end(&self, plan: &Plan, outcome: &Outcome) -> Vec<String> {
        let mut wrong = Vec::new();
        let (there, app) = match outcome {
            Outcome::Completed => (Role::Green, GREEN),
            Outcome::RolledBack { .. } | Outcome::Stuck { .. } => (Role::Blue, BLUE),
        };
        if *outcome != Outcome::Completed && self.scenario.is_plain() {
            wrong.push(format!("nothing was wrong, and it ended {outcome:?}"));
        }
        let serving = self.shadow.serving();
        let serving = serving
            .iter()
            .filter(|id| is_of(id, app) && self.cluster.is_shown_well(id));
        let (serving, owed) = (serving.count(), plan.owed(there) as usize);
        if serving < owed {
            wrong.push(format!("P5: {serving} of {owed} {there} serve in the end"));
        }
        wrong
    }

    /// P9: nothing is left, and nothing comes to light later.
    fn check_aftermath(&self, outcome: Option<&Outcome>) -> Vec<String> {
        let Some(outcome) = outcome else {
            return Vec::new();
        };
        let (there, gone) = if *outcome == Outcome::Completed {
            (GREEN, BLUE)
        } else {
            (BLUE, GREEN)
        };
        let mut wrong = Vec::new();
        if self.cluster.apps() != [there] {
            wrong.push(format!("P9: the apps are {:?}", self.cluster.apps()));
        }
        for truth in self
            .cluster
            .truths()
            .iter()
            .filter(|truth| truth.app == gone)
        {
            wrong.push(format!("P9: {} is left", truth.instance));
        }
        for (id, state) in endpoints(&self.shadow.world) {
            if is_of(&id, gone) {
                wrong.push(format!("P9: {id} is left in the pool, {state:?}"));
            }
        }
        let forced = self
            .cluster
            .changes()
            .into_iter()
            .filter(|change| change.forced);
        for change in forced {
            let green_alone = change
                .about
                .iter()
                .all(|id| is_of(&InstanceId::from(id.as_str()), GREEN));
            if !green_alone {
                wrong.push(format!("forced without being asked: {change:?}"));
            }
        }
        wrong
    }
}

impl Theatre for Stage {
    fn systems(&self) -> Systems {
        // Some know one master alone, which may be a standby, or away.
        let knows_all = self.scenario.seed.is_multiple_of(2);
        let urls = self.cluster.urls();
        let urls = if knows_all { urls } else { urls[..1].to_vec() };
        let access = Access {
            urls,
            ..Access::default()
        };
        let begun = self.begun.fetch_add(1, Ordering::SeqCst);
        let seed = self.scenario.seed ^ (begun << 32);
        let balancer = Faulty::new(self.shadow.clone(), self.scenario.balancer, seed);
        Systems {
            orchestrator: Arc::new(Marathon::open(access).unwrap()),
            balancer: Arc::new(balancer),
            gauges: Arc::new(HttpGauges::new()),
            directory: Directory::new(),
        }
    }

    fn tell(&self, line: &dyn Fn() -> String) {
        self.cluster.tell(line());
    }
}

/// Whether an instance, or an app itself, is of this app.
fn is_of(id: &InstanceId, app: &str) -> bool {
    let name = id.as_str().trim_start_matches('/');
    name == app.trim_start_matches('/')
        || name.starts_with(&format!("{}.", app.trim_start_matches('/')))
}

fn blue(scenario: &Scenario) -> Value {
    let mut body = green(scenario);
    body["id"] = json!(BLUE);
    body["labels"]["TEAL_SERVICE"] = json!(POOL);
    body["cmd"] = json!("run a");
    body
}

fn green(scenario: &Scenario) -> Value {
    let (inactive, expunge) = scenario.unreachable_s;
    json!({
        "id": "/oinker",
        "cmd": "run b",
        "instances": scenario.blue,
        "portDefinitions": [{"port": 0}],
        "healthChecks": [{
            "protocol": "HTTP", "path": "/", "portIndex": 0, "intervalSeconds": scenario.check_interval_s,
            "gracePeriodSeconds": scenario.grace_s, "maxConsecutiveFailures": 3, "timeoutSeconds": 1,
        }],
        "unreachableStrategy": {"inactiveAfterSeconds": inactive, "expungeAfterSeconds": expunge},
        "labels": {"TEAL_PENDING_PATH": "/metrics", "TEAL_PENDING_GAUGE": "pending"},
    })
}
