//! When the keeper looks, in a world in memory on a paused clock. What it does then is told by the tests of
//! `teal_core::keep`.

use super::*;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use teal_core::name::{DeploymentId, InstanceId, PoolId, RevisionId};
use teal_core::observation::{RevisionSighting, System};
use teal_core::{action::InstanceAction, plan::Found};
use teal_drivers::fake::World;
use teal_drivers::{HttpGauges, directory::Directory};
use tokio::sync::Notify;

const SECOND: Duration = Duration::from_secs(1);
/// It ends in the middle between two looks that nothing but a long silence makes due.
const A_WHILE: Duration = Duration::from_secs(900);
const HOUR: Duration = Duration::from_secs(3600);
const SILENCE_MAX: Span = Span::seconds(600);

/// A world that counts how often somebody looks at all of it.
struct Counted {
    world: World,
    looks: Arc<AtomicUsize>,
}

#[async_trait]
impl Orchestrator for Counted {
    async fn find(&self) -> Result<Vec<Found>, DriverError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.world.find().await
    }

    async fn observe(&self, _: &[RevisionId]) -> Result<Vec<RevisionSighting>, DriverError> {
        panic!("the keeper looks at everything")
    }

    async fn act(&self, _: &InstanceAction) -> Result<(), DriverError> {
        panic!("the keeper changes pools alone")
    }

    async fn changed(&self) {
        std::future::pending::<()>().await;
    }
}

/// Cues that the test gives.
#[derive(Default)]
struct Given {
    instances: Notify,
    pools: Notify,
}

#[async_trait]
impl Cues for Arc<Given> {
    async fn instances(&self) {
        self.instances.notified().await;
    }

    async fn pools(&self) {
        self.pools.notified().await;
    }

    fn silence_max(&self, services: usize) -> Option<Span> {
        (services > 0).then_some(SILENCE_MAX)
    }
}

/// A service with two instances and a pool, and the keeper that looks after it.
struct Stage {
    world: World,
    looks: Arc<AtomicUsize>,
    cues: Arc<Given>,
    store: Store,
    _folder: tempfile::TempDir,
    _keeper: tokio::task::JoinSet<()>,
}

impl Stage {
    /// Makes the service, and waits until the keeper has looked once.
    async fn kept() -> Self {
        Self::with(json!({ "labels": { "TEAL_DEPLOYMENT": "d1" } })).await
    }

    async fn with(definition: serde_json::Value) -> Self {
        teal_drivers::clock::go_with_tokio(Moment(1_000_000));
        let (world, looks, cues) = (World::auto(), Arc::default(), Arc::<Given>::default());
        let instances = world.grow(&revision(), &definition, 2);
        world.serve(&pool(), &instances);
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a state folder");
        let counted = Counted {
            world: world.clone(),
            looks: Arc::clone(&looks),
        };
        let systems = Systems {
            orchestrator: Arc::new(counted),
            balancer: Arc::new(world.clone()),
            gauges: Arc::new(HttpGauges::new()),
            directory: Directory::new(),
        };
        let mut keeper = tokio::task::JoinSet::new();
        let (keeps, told) = (store.clone(), Arc::clone(&cues));
        keeper.spawn(async move { run(systems, keeps, &told).await });
        sleep(Duration::from_millis(1)).await;
        let stage = Self {
            world,
            looks,
            cues,
            store,
            _folder: folder,
            _keeper: keeper,
        };
        assert_eq!(stage.looks(), 1);
        stage
    }

    fn looks(&self) -> usize {
        self.looks.load(Ordering::Relaxed)
    }

    /// Lets an instance die, which nobody tells the balancer, and returns its id.
    fn crash(&self) -> InstanceId {
        let victim = self.world.instances(&revision()).remove(0);
        self.world.crash(&victim);
        victim
    }

    fn lists(&self, instance: &InstanceId) -> bool {
        let pool = self.world.pool(&pool()).expect("there is a pool");
        pool.endpoints.iter().any(|one| one.instance == *instance)
    }
}

fn revision() -> RevisionId {
    RevisionId::from("/oinker")
}

fn pool() -> PoolId {
    PoolId::from("oinker")
}

#[tokio::test(start_paused = true)]
async fn while_everything_is_in_line_only_a_long_silence_makes_it_look() {
    let stage = Stage::kept().await;

    sleep(HOUR).await;

    assert_eq!(stage.looks(), 1 + 6);
}

#[tokio::test(start_paused = true)]
async fn what_teal_did_not_deploy_is_nothing_to_wake_up_for() {
    let stage = Stage::with(json!({})).await;

    sleep(24 * HOUR).await;

    assert_eq!(stage.looks(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cue_of_the_orchestrator_makes_it_look_at_once() {
    let stage = Stage::kept().await;

    let victim = stage.crash();
    stage.cues.instances.notify_one();
    sleep(2 * CUE_PAUSE).await;

    assert!(!stage.lists(&victim));
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_was_changed_by_hand_is_left_alone_for_one_interval_and_looked_at_then() {
    let stage = Stage::kept().await;
    let interval = LOOK_INTERVAL.duration();

    stage.cues.pools.notify_one();
    sleep(interval - SECOND).await;
    // A second step by hand does not put the look off.
    stage.cues.pools.notify_one();
    assert_eq!(stage.looks(), 1);
    sleep(2 * SECOND).await;

    assert_eq!(stage.looks(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_its_own_is_followed_by_a_look_that_sees_what_came_of_it() {
    let stage = Stage::kept().await;

    stage.crash();
    stage.cues.instances.notify_one();
    sleep(CUE_PAUSE + LOOK_INTERVAL.duration() + SECOND).await;

    assert_eq!(stage.looks(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_has_to_wait_for_a_deployment_is_done_when_that_has_ended_although_nobody_tells() {
    let stage = Stage::kept().await;
    let (service, deployment) = (ServiceName::from("oinker"), DeploymentId::from("d2"));
    let lock = stage.store.lock(&service, &deployment).expect("it is free");

    let victim = stage.crash();
    stage.cues.instances.notify_one();
    sleep(A_WHILE).await;
    assert!(stage.lists(&victim));
    drop(lock);
    sleep(LOOK_INTERVAL.duration()).await;

    assert!(!stage.lists(&victim));
}

#[tokio::test(start_paused = true)]
async fn systems_that_do_not_answer_are_asked_again_until_they_do() {
    for system in [System::Orchestrator, System::Balancer] {
        let stage = Stage::kept().await;
        let down = DriverError::Unreachable {
            url: "http://127.0.0.1:1".to_owned(),
            reason: "refused".to_owned(),
        };

        let victim = stage.crash();
        stage.world.put_down(system, down);
        stage.cues.instances.notify_one();
        sleep(A_WHILE).await;
        stage.world.put_up(system);
        sleep(LOOK_INTERVAL.duration()).await;

        assert!(!stage.lists(&victim), "{system:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn systems_that_are_elsewhere_are_looked_at_at_intervals_whatever_is_there() {
    let stage = Stage::kept().await;
    let remote = Remote(Arc::new(stage.world.clone()));

    for services in [0, 1] {
        assert_eq!(remote.silence_max(services), Some(LOOK_INTERVAL));
    }
}
