//! The runner, with its journal, against a simulated cluster on bad days: whatever happens, a deployment ends completed
//! or rolled back, with every promise kept and nothing left.
//!
//! Each run follows from a seed ([`scenario`]): what is deployed and how, what goes wrong, when the deployer is killed,
//! when the operator turns back. The clock is tokio's and paused, so a run of minutes takes a moment, and its deadlines
//! are the real ones.
//!
//! `TEAL_SEEDS=1000 cargo test -p teal simulation` runs more seeds, `TEAL_SEED=17 cargo test -p teal simulation` runs
//! one and tells its story.

mod scenario;
mod shadow;

use super::*;
use crate::commands::drive::{self, Wish};
use scenario::{Deed, Scenario, When};
use serde_json::{Value, json};
use shadow::{Shadow, endpoints};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use teal_core::action::{InstanceAction, Member, PoolAction};
use teal_core::definition::Definition;
use teal_core::journal::Command;
use teal_core::name::{Address, DeploymentId, InstanceId, PoolId, Role};
use teal_core::plan::{PoolPlan, Protocol};
use teal_core::settings::Settings;
use teal_drivers::HttpGauges;
use teal_drivers::fake::World;
use teal_drivers::faulty::Faulty;
use teal_drivers::http::Access;
use teal_drivers::orchestrators::marathon::Marathon;
use teal_drivers::simulated::Cluster;
use tokio::sync::watch;

const BLUE: &str = "/oinker-a";
const GREEN: &str = "/oinker-b";
const POOL: &str = "oinker";
/// 2026-01-01.
const BEGINNING: Moment = Moment(1_767_225_600_000);
/// A run that has not ended by then never will: more than all deadlines together.
const TOO_LONG: Span = Span::minutes(40);
/// How long the cluster goes on after the end, so that everything comes to light that was still on its way.
const AFTERMATH: Span = Span::seconds(90);
/// How many seeds are run unless `TEAL_SEEDS` says otherwise.
const SEEDS: u64 = 64;

#[test]
fn on_bad_days_of_a_cluster_every_deployment_ends_with_every_promise_kept() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    if let Some(seed) = number("TEAL_SEED") {
        let run = play(seed);
        println!("{}", run.story.join("\n"));
        assert_eq!(run.breaches, Vec::<String>::new(), "seed {seed}");
        return;
    }
    let count = number("TEAL_SEEDS").unwrap_or(SEEDS);
    let first = number("TEAL_FIRST_SEED").unwrap_or(1);
    let runs = play_all(first, count);
    let broken: Vec<&Run> = runs.iter().filter(|run| !run.breaches.is_empty()).collect();
    println!("{}", figures(&runs));
    if let Some(run) = broken.first() {
        println!("{}", run.story.join("\n"));
    }
    let told: Vec<String> = broken
        .iter()
        .map(|run| {
            format!(
                "TEAL_SEED={} cargo test -p teal simulation: {}",
                run.seed,
                run.breaches.join("; ")
            )
        })
        .collect();
    assert!(
        told.is_empty(),
        "{} of {count} runs broke a promise:\n{}",
        told.len(),
        told.join("\n")
    );
}

/// What came of a run.
struct Run {
    seed: u64,
    outcome: Option<Outcome>,
    breaches: Vec<String>,
    story: Vec<String>,
    took: Span,
    requests: (u64, u64),
    kills: usize,
    resumed: u32,
}

fn figures(runs: &[Run]) -> String {
    let count = |test: &dyn Fn(&Run) -> bool| runs.iter().filter(|run| test(run)).count();
    let sum = |of: &dyn Fn(&Run) -> u64| runs.iter().map(of).sum::<u64>();
    format!(
        "{} runs: {} completed, {} rolled back, {} broke a promise; {} min simulated, {} resumptions, {} kill calls, \
         {} requests served, {} lost to crashes and other tools",
        runs.len(),
        count(&|run| run.outcome == Some(Outcome::Completed)),
        count(&|run| matches!(run.outcome, Some(Outcome::RolledBack { .. }))),
        count(&|run| !run.breaches.is_empty()),
        sum(&|run| run.took.0) / 60_000,
        sum(&|run| u64::from(run.resumed)),
        sum(&|run| run.kills as u64),
        sum(&|run| run.requests.0),
        sum(&|run| run.requests.1),
    )
}

fn play_all(first: u64, count: u64) -> Vec<Run> {
    let next = AtomicU64::new(first);
    let runs = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + count {
                        break;
                    }
                    let run = play(seed);
                    runs.lock().unwrap().push(run);
                }
            });
        }
    });
    let mut runs = runs.into_inner().unwrap();
    runs.sort_by_key(|run| run.seed);
    runs
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
            outcome: None,
            breaches: vec![format!("panic: {}", text.unwrap_or_default())],
            story: cluster.map(|it| it.story()).unwrap_or_default(),
            took: Span::ZERO,
            requests: (0, 0),
            kills: 0,
            resumed: 0,
        }
    })
}

struct Stage {
    scenario: Scenario,
    shadow: Shadow,
    cluster: Cluster,
    folder: tempfile::TempDir,
    machines: u32,
    store: Store,
    began: Moment,
    resumed: u32,
    /// How many processes there have been, each with other faults.
    begun: AtomicU64,
    breaches: Vec<String>,
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
        let folder = tempfile::tempdir().unwrap();
        Self {
            store: Store::open(&folder.path().join("0")).unwrap(),
            scenario,
            shadow,
            cluster,
            folder,
            machines: 0,
            began: crate::clock::now(),
            resumed: 0,
            begun: AtomicU64::new(0),
            breaches: Vec::new(),
        }
    }

    async fn play(mut self) -> Run {
        let plan = self.plan().await;
        self.cluster.tell(format!(
            "teal: plan for {}: target {}, floor {}, room {}",
            plan.service, plan.target, plan.floor, plan.room
        ));
        self.shadow.set_plan(&plan);
        self.began = crate::clock::now();
        for (after, mishap) in &self.scenario.mishaps {
            self.cluster.let_happen(self.began + *after, mishap.clone());
        }
        let (cluster, calm_after) = (self.cluster.clone(), self.scenario.calm_after);
        let calming = tokio::spawn(async move {
            tokio::time::sleep(calm_after.duration()).await;
            cluster.calm();
        });
        let limit = tokio::time::timeout(TOO_LONG.duration(), self.run(plan.clone())).await;
        let outcome = match limit {
            Ok(Some(outcome)) => {
                self.check_end(&plan, &outcome);
                Some(outcome)
            }
            Ok(None) => None,
            Err(_) => {
                self.breaches
                    .push(format!("P7: it has not ended after {TOO_LONG}"));
                None
            }
        };
        let took = crate::clock::now().since(self.began);
        calming.abort();
        self.cluster.calm();
        tokio::time::sleep(AFTERMATH.duration()).await;
        self.check_aftermath(outcome.as_ref());
        self.breaches.extend(self.shadow.breaches());
        let changes = self.cluster.changes();
        Run {
            seed: self.scenario.seed,
            outcome,
            breaches: self.breaches,
            story: self.cluster.story(),
            took,
            requests: self.shadow.traffic(),
            kills: changes.iter().filter(|change| change.is_kill()).count(),
            resumed: self.resumed,
        }
    }

    // ---- the deployers -----------------------------------------------------------------------------------------

    /// The systems as a process has them that has just begun.
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
        }
    }

    /// Plans again until the cluster can be asked, as a person would.
    async fn plan(&self) -> Plan {
        let mut settings = Settings::default();
        for (name, value) in &self.scenario.settings {
            settings.set(name, value, "the scenario").unwrap();
        }
        let text = green(&self.scenario).to_string();
        let (definition, settings) = Definition::resolve(&text, &settings, &[]).unwrap();
        for _ in 0..100 {
            let wish = Wish {
                definition: &definition,
                settings: &settings,
                revision: Some("b"),
                replace: None,
            };
            let made = drive::make_plan(&self.systems(), &wish, DeploymentId::from("d1")).await;
            if let Ok(plan) = made {
                return plan.unwrap();
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("no plan can be made");
    }

    /// Carries the deployment on, whatever becomes of those who do. None: it ended otherwise than it may.
    async fn run(&mut self, plan: Plan) -> Option<Outcome> {
        let mut deeds: VecDeque<_> = self.scenario.deeds.clone().into();
        let path = self.store.journal(&plan.deployment);
        let mut journal = JournalFile::create(&path, &plan, crate::clock::now()).unwrap();
        loop {
            let death = match self.run_until_death(journal, &mut deeds).await {
                Ok(End::Outcome(outcome)) => {
                    if let Outcome::Stuck { reason } = &outcome {
                        self.breaches.push(format!("stuck: {reason}"));
                        return None;
                    }
                    return Some(outcome);
                }
                Ok(End::Interrupted) => panic!("nobody interrupts"),
                Err(death) => death,
            };
            tokio::time::sleep(death.away.duration()).await;
            self.resumed += 1;
            journal = self.next_journal(&plan, death).await;
        }
    }

    /// Runs one deployer until the deployment ends, or until it dies.
    async fn run_until_death(
        &mut self,
        journal: JournalFile,
        deeds: &mut VecDeque<(When, Deed)>,
    ) -> Result<End, Death> {
        let plan = journal.plan.clone();
        let lock = self.store.lock(&plan.service, &plan.deployment).unwrap();
        let (systems, store) = (self.systems(), self.store.clone());
        let mut runner = Runner::new(store, journal, systems, Interrupt::never(), lock).unwrap();
        let (sender, mut entries) = watch::channel(0);
        let mut audience = Scribe {
            cluster: self.cluster.clone(),
            entries: sender,
            breaches: Vec::new(),
            waits: String::new(),
        };
        let mut running = Box::pin(runner.run(&mut audience));
        let end = loop {
            let Some((when, deed)) = deeds.front().copied() else {
                break Ok(running.as_mut().await.unwrap());
            };
            let base = *entries.borrow();
            let due = async {
                match when {
                    When::After(after) => {
                        let left = (self.began + after).since(crate::clock::now());
                        tokio::time::sleep(left.duration()).await;
                    }
                    When::Entries(count) => {
                        drop(entries.wait_for(|now| *now >= base + count).await);
                    }
                }
            };
            tokio::select! {
                biased;
                () = due => {}
                end = running.as_mut() => break Ok(end.unwrap()),
            }
            deeds.pop_front();
            self.cluster.tell(format!("DEED {deed:?}"));
            match deed {
                Deed::Rollback => {
                    let reason = "second thoughts".to_owned();
                    self.store
                        .post(&plan.deployment, &Command::Rollback { reason })
                        .unwrap();
                }
                Deed::Die {
                    away,
                    elsewhere,
                    back,
                } => {
                    break Err(Death {
                        away,
                        elsewhere,
                        back,
                    });
                }
            }
        };
        drop(running);
        self.breaches.extend(audience.breaches);
        end
    }

    /// What the next deployer goes on with: the journal, or elsewhere what GREEN carries, if it is there.
    async fn next_journal(&mut self, plan: &Plan, death: Death) -> JournalFile {
        let mut path = self.store.journal(&plan.deployment);
        if death.elsewhere
            && let Some(carried) = self.carried(plan).await
        {
            self.machines += 1;
            let root = self.folder.path().join(self.machines.to_string());
            self.store = Store::open(&root).unwrap();
            path = self.store.journal(&carried.deployment);
            self.cluster
                .tell("teal: another machine goes on".to_owned());
            drop(JournalFile::create(&path, &carried, crate::clock::now()).unwrap());
        }
        let mut journal = JournalFile::open(&path).unwrap();
        let mut write = |event| journal.write(crate::clock::now(), event).map(drop);
        if journal_has_ended(&path) {
            return journal;
        }
        let by = format!("simulation:{}", self.resumed);
        write(Event::Resumed { by }).unwrap();
        let command = if death.back {
            let reason = "nobody was there".to_owned();
            Command::Rollback { reason }
        } else {
            Command::Resume
        };
        write(Event::Asked {
            command,
            letter: None,
        })
        .unwrap();
        journal
    }

    /// Asks again until the cluster answers.
    async fn carried(&self, plan: &Plan) -> Option<Plan> {
        for _ in 0..100 {
            match drive::carried(&self.systems(), &plan.service).await {
                Ok(carried) => return carried,
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
        None
    }

    // ---- the end -----------------------------------------------------------------------------------------------

    /// P5: what the outcome says is so.
    fn check_end(&mut self, plan: &Plan, outcome: &Outcome) {
        let (there, app) = match outcome {
            Outcome::Completed => (Role::Green, GREEN),
            Outcome::RolledBack { .. } | Outcome::Stuck { .. } => (Role::Blue, BLUE),
        };
        if *outcome != Outcome::Completed && self.scenario.is_plain() {
            self.breaches
                .push(format!("nothing was wrong, and it ended {outcome:?}"));
        }
        let serving = self.shadow.serving();
        let serving = serving
            .iter()
            .filter(|id| is_of(id, app) && self.cluster.is_shown_well(id));
        let (serving, owed) = (serving.count(), plan.owed(there) as usize);
        if serving < owed {
            self.breaches
                .push(format!("P5: {serving} of {owed} {there} serve in the end"));
        }
        let lock = self.store.lock(&plan.service, &plan.deployment);
        if lock.is_err() {
            self.breaches.push("P9: the lock is still held".to_owned());
        }
        if !self.store.letters(&plan.deployment).is_empty() {
            self.breaches.push("P9: a letter is left".to_owned());
        }
    }

    /// P9: nothing is left, and nothing comes to light later.
    fn check_aftermath(&mut self, outcome: Option<&Outcome>) {
        let Some(outcome) = outcome else { return };
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
        self.breaches.extend(wrong);
    }
}

/// How a deployer dies, and who comes after.
#[derive(Debug, Clone, Copy)]
struct Death {
    away: Span,
    elsewhere: bool,
    back: bool,
}

fn journal_has_ended(path: &std::path::Path) -> bool {
    let entries = crate::journal_file::read(path).unwrap();
    matches!(
        entries.last().map(|entry| &entry.event),
        Some(Event::Ended { .. })
    )
}

/// Whether an instance, or an app itself, is of this app.
fn is_of(id: &InstanceId, app: &str) -> bool {
    let name = id.as_str().trim_start_matches('/');
    name == app.trim_start_matches('/')
        || name.starts_with(&format!("{}.", app.trim_start_matches('/')))
}

/// Writes the story, and counts entries.
struct Scribe {
    cluster: Cluster,
    entries: watch::Sender<usize>,
    breaches: Vec<String>,
    waits: String,
}

impl Audience for Scribe {
    fn entry(&mut self, entry: &Entry) {
        self.cluster
            .tell(format!("teal: {:>3} {}", entry.seq, told(&entry.event)));
        self.entries.send_modify(|count| *count += 1);
    }

    fn scene(&mut self, scene: &Scene<'_>) {
        match scene.decision {
            Decision::Act(actions) => {
                let kills = actions.iter().filter(|action| {
                    matches!(action, Action::Instance(InstanceAction::Kill { .. }))
                });
                if kills.count() > 1 {
                    self.breaches
                        .push(format!("more than one kill call in a round: {actions:?}"));
                }
            }
            Decision::Wait { reason, .. } => {
                // A wait is told once, not with every number that it counts.
                let told = format!("{:?} until {}", reason.on, reason.deadline.0);
                if self.waits != told {
                    self.cluster.tell(format!(
                        "teal: waits: {}, {} left",
                        reason.text,
                        reason.deadline.since(scene.now)
                    ));
                    self.waits = told;
                }
            }
            Decision::Finish(_) => {}
        }
    }
}

fn told(event: &Event) -> String {
    match event {
        Event::Begun { .. } => "begins".to_owned(),
        Event::Intended { action } => format!("→ {}", action.key()),
        Event::Performed { intent } => format!("done {intent}"),
        Event::Failed {
            intent,
            reason,
            retry,
            effect,
        } => format!("failed {intent}: {reason} (retry {retry}, effect {effect:?})"),
        Event::Asked { command, .. } => format!("asked: {command:?}"),
        Event::Seen { picture } => format!("sees {} serve", picture.capacity),
        Event::Resumed { by } => format!("resumed by {by}"),
        Event::Ended { outcome } => format!("ended: {outcome:?}"),
    }
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
