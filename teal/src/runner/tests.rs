//! The runner against the drivers' in-memory world.

use super::*;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use teal_core::definition::Definition;
use teal_core::journal::Command;
use teal_core::name::{PoolId, RevisionId};
use teal_core::plan::{BalancerAbilities, Request, make};
use teal_core::settings::Settings;
use teal_drivers::directory::Directory;
use teal_drivers::fake::{Birth, World};
use teal_drivers::faulty::{Faulty, Weights};
use teal_drivers::{Balancer, Capabilities, Orchestrator};
use tokio::sync::Notify;

/// Counts entries, and tells when there are so many.
struct Counter {
    left: usize,
    reached: Arc<Notify>,
}

impl Audience for Counter {
    fn entry(&mut self, _: &Entry) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.reached.notify_one();
        }
    }

    fn scene(&mut self, _: &Scene<'_>) {}
}

struct Trial {
    world: World,
    folder: tempfile::TempDir,
    store: Store,
    plan: Plan,
    systems: Systems,
}

const SETTINGS: [(&str, &str); 5] = [
    ("min_healthy_time", "1ms"),
    ("drain_interval", "1ms"),
    ("healthy_deadline", "300ms"),
    ("drain_deadline", "10s"),
    ("batch", "1"),
];

impl Trial {
    /// Two BLUE that serve, and a plan to replace them.
    async fn new(world: World, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blue = RevisionId::from("/oinker-a");
        let body = json!({"id": "/oinker-a", "cmd": "run", "labels": {"TEAL_SERVICE": "oinker"}});
        let ids = world.grow(&blue, &body, 2);
        world.serve(&PoolId::from("oinker"), &ids);
        world.reset_marks();
        let mut settings = Settings::default();
        for (name, value) in SETTINGS.iter().chain(more) {
            settings.set(name, value, "test").unwrap();
        }
        let text = json!({"id": "/oinker", "cmd": "run", "healthChecks": [{"protocol": "TCP"}],
            "labels": {"TEAL_PENDING_PATH": "/metrics", "TEAL_PENDING_GAUGE": "pending"}});
        let (definition, settings) =
            Definition::resolve(&text.to_string(), &settings, &[]).unwrap();
        let plan = make(&Request {
            definition: &definition,
            settings: &settings,
            revision: Some("b"),
            replace: None,
            found: &world.find().await.unwrap(),
            pools: &Balancer::observe(&world, &[PoolId::from("oinker")])
                .await
                .unwrap(),
            balancer: BalancerAbilities {
                in_flight: true,
                atomic_change: true,
                listens: true,
                tcp: true,
            },
            deployment: "d1".into(),
            now: crate::clock::now(),
        });
        let systems = Systems {
            orchestrator: Arc::new(world.clone()),
            balancer: Arc::new(world.clone()),
            gauges: Arc::new(world.clone()),
            directory: Directory::new(),
        };
        let store = Store::open(folder.path()).unwrap();
        Self {
            store,
            plan: plan.unwrap().unwrap(),
            world,
            folder,
            systems,
        }
    }

    fn journal(&self) -> std::path::PathBuf {
        self.store.journal(&self.plan.deployment)
    }

    fn runner(&self, journal: JournalFile) -> Runner {
        let lock = self
            .store
            .lock(&self.plan.service, &self.plan.deployment)
            .unwrap();
        let (systems, store) = (self.systems.clone(), self.store.clone());
        Runner::new(store, journal, systems, Interrupt::never(), lock).unwrap()
    }

    fn begin(&self) -> Runner {
        let path = self.journal();
        self.runner(JournalFile::create(&path, &self.plan, crate::clock::now()).unwrap())
    }

    /// Runs until so many entries have been written, then drops everything where it stands.
    async fn run_until_killed(&self, mut runner: Runner, entries: usize) -> Option<End> {
        let reached = Arc::new(Notify::new());
        let mut audience = Counter {
            left: entries,
            reached: Arc::clone(&reached),
        };
        tokio::select! {
            biased;
            () = reached.notified() => None,
            end = runner.run(&mut audience) => Some(end.unwrap()),
        }
    }

    fn assert_replaced(&self) {
        assert_eq!(self.world.harm(), Vec::<String>::new());
        assert_eq!(self.world.revisions(), [RevisionId::from("/oinker-b")]);
        assert_eq!(self.world.serving(&PoolId::from("oinker")).len(), 2);
        assert!(self.world.least_serving(&PoolId::from("oinker")) >= 2);
    }
}

async fn run(mut runner: Runner) -> End {
    let mut audience = Counter {
        left: 0,
        reached: Arc::new(Notify::new()),
    };
    runner.run(&mut audience).await.unwrap()
}

const DONE: End = End::Outcome(Outcome::Completed);

#[tokio::test]
async fn a_deployment_replaces_blue_and_leaves_nothing_behind() {
    let trial = Trial::new(World::auto(), &[]).await;

    assert_eq!(run(trial.begin()).await, DONE);

    trial.assert_replaced();
}

#[tokio::test]
async fn a_deployer_killed_after_any_entry_is_resumed_to_the_same_end() {
    for strategy in ["rolling", "switch"] {
        let settings = [("strategy", strategy), ("keep_blue", "1ms")];
        for entries in 1.. {
            let trial = Trial::new(World::auto(), &settings).await;
            if trial
                .run_until_killed(trial.begin(), entries)
                .await
                .is_some()
            {
                assert!(entries > 10, "the deployment wrote more entries than that");
                break;
            }

            let resumed = trial.runner(JournalFile::open(&trial.journal()).unwrap());
            assert_eq!(
                run(resumed).await,
                DONE,
                "{strategy}, killed after entry {entries}"
            );
            trial.assert_replaced();
        }
    }
}

/// A balancer that knows addresses alone could not tell otherwise whose place it is, once the instance is gone.
#[tokio::test]
async fn a_resumed_deployer_knows_whom_it_admitted_at_which_address() {
    let trial = Trial::new(World::auto(), &[]).await;
    assert_eq!(run(trial.begin()).await, DONE);
    assert_eq!(trial.systems.directory.members(), Vec::new());

    let _resumed = trial.runner(JournalFile::open(&trial.journal()).unwrap());

    let serving = trial.world.serving(&PoolId::from("oinker"));
    let known = trial.systems.directory.members().into_iter();
    let known = known.map(|member| member.instance);
    assert_eq!(serving.len(), 2);
    assert_eq!(
        known.collect::<BTreeSet<_>>(),
        serving.into_iter().collect()
    );
}

#[tokio::test]
async fn every_action_may_be_carried_out_twice() {
    let mut trial = Trial::new(World::auto(), &[]).await;
    let twice = Weights {
        twice: 1000,
        ..Weights::NONE
    };
    trial.systems.orchestrator = Arc::new(Faulty::new(trial.world.clone(), twice, 1));
    trial.systems.balancer = Arc::new(Faulty::new(trial.world.clone(), twice, 1));

    assert_eq!(run(trial.begin()).await, DONE);

    trial.assert_replaced();
}

#[tokio::test]
async fn a_green_that_never_gets_healthy_is_rolled_back_and_blue_was_not_touched() {
    let trial = Trial::new(World::auto(), &[]).await;
    trial
        .world
        .set_birth_of(&RevisionId::from("/oinker-b"), Birth::Unhealthy);

    let end = run(trial.begin()).await;

    assert!(
        matches!(end, End::Outcome(Outcome::RolledBack { .. })),
        "{end:?}"
    );
    assert_eq!(trial.world.harm(), Vec::<String>::new());
    assert_eq!(trial.world.revisions(), [RevisionId::from("/oinker-a")]);
    assert_eq!(trial.world.serving(&PoolId::from("oinker")).len(), 2);
}

#[tokio::test]
async fn a_letter_is_taken_once_and_obeyed() {
    let trial = Trial::new(World::auto(), &[("gates", "shift")]).await;
    let id = &trial.plan.deployment;
    let letter = trial
        .store
        .post(
            id,
            &Command::Rollback {
                reason: "test".to_owned(),
            },
        )
        .unwrap();

    let end = run(trial.begin()).await;

    assert_eq!(
        end,
        End::Outcome(Outcome::RolledBack {
            reason: "test".to_owned()
        })
    );
    assert!(!letter.exists());
    assert!(!Path::new(&trial.folder.path().join("deployments/d1.letters")).exists());
}

#[tokio::test]
async fn a_second_deployer_is_told_who_holds_the_lock() {
    let trial = Trial::new(World::auto(), &[]).await;
    let _running = trial.begin();

    let refused = trial
        .store
        .lock(&trial.plan.service, &"d2".into())
        .unwrap_err();

    assert_eq!(refused.exit, crate::failure::Exit::Locked);
    assert!(refused.what.contains("deployment d1"), "{}", refused.what);
    assert!(
        refused
            .what
            .contains(&format!("process {}", std::process::id())),
        "{}",
        refused.what
    );
}

#[tokio::test]
async fn a_pool_that_is_missing_where_none_can_be_opened_is_unknown_and_not_empty() {
    let mut trial = Trial::new(World::auto(), &[]).await;
    trial.plan.pools[0].id = PoolId::from("taken-away");
    let looker = Looker::new(trial.systems.clone());
    assert_eq!(looker.look(&trial.plan, false).await.pools, Ok(Vec::new()));

    trial.world.set_capabilities(Capabilities {
        listens: false,
        ..Capabilities::ALL
    });

    let pools = looker.look(&trial.plan, false).await.pools;
    assert!(pools.unwrap_err().contains("no pool taken-away any more"));
}
