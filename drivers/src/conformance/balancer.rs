//! The rules of balancers.

use super::Patience;
use crate::{Balancer, DriverError};
use teal_core::action::{Member, PoolAction};
use teal_core::name::{Address, InstanceId, PoolId};
use teal_core::observation::{EndpointState, PoolSighting};
use teal_core::plan::{PoolPlan, Protocol};
use tokio::time::{Instant, sleep};

/// The instances that the rules admit.
const INSTANCES: [&str; 6] = ["a", "b", "c", "blue-1", "blue-2", "green-1"];

/// What a rule is tried on.
#[derive(Clone)]
pub struct Trial<'a> {
    /// The driver.
    pub balancer: &'a dyn Balancer,
    /// The id of a pool: one that does not exist, or, for a balancer that does not listen, one without endpoints.
    pub pool: PoolId,
    /// Where the balancer is to listen for it.
    pub listen: Option<String>,
    /// How long to wait for effects.
    pub patience: Patience,
}

/// A pool that was opened exists and has no endpoints.
pub async fn an_opened_pool_is_empty(trial: &Trial<'_>) {
    trial.open().await;

    assert_eq!(trial.seen().await.endpoints, vec![]);
    trial.clear_up().await;
}

/// Opening a pool again leaves its endpoints alone.
pub async fn opening_twice_is_one(trial: &Trial<'_>) {
    trial.open().await;
    trial.admit(&["a"]).await;

    trial.open().await;

    assert_eq!(trial.serving().await, ["a"]);
    trial.clear_up().await;
}

/// What does not exist is left out of a look; it is no error.
pub async fn a_missing_pool_is_left_out(trial: &Trial<'_>) {
    let missing = PoolId(format!("{}-missing", trial.pool));
    trial.open().await;

    let seen = trial.balancer.observe(&[missing, trial.pool.clone()]).await;

    let seen = seen.expect("a look at what is missing is no error");
    let ids: Vec<_> = seen.into_iter().map(|pool| pool.id).collect();
    assert_eq!(ids, std::slice::from_ref(&trial.pool));
    trial.clear_up().await;
}

/// What was admitted is read back as serving, at its address.
pub async fn an_admitted_endpoint_is_read_back_as_serving(trial: &Trial<'_>) {
    trial.open().await;

    trial.admit(&["a", "b"]).await;

    let seen = trial.seen().await;
    assert_eq!(trial.serving().await, ["a", "b"]);
    assert!(
        seen.endpoints
            .iter()
            .all(|endpoint| endpoint.address == address(endpoint.instance.as_str())),
        "{seen:?}"
    );
    trial.clear_up().await;
}

/// What was withdrawn is out of the pool as soon as that is accepted and read back, and stays out.
pub async fn a_withdrawn_endpoint_is_never_serving_again_until_admitted(trial: &Trial<'_>) {
    trial.open().await;
    trial.admit(&["a", "b"]).await;

    trial.withdraw(&["a"]).await;
    trial
        .until("it is out", |pool| serving(pool) == ["b"])
        .await;
    trial.admit(&["c"]).await;
    trial.withdraw(&["b"]).await;

    trial
        .until("only the third serves", |pool| serving(pool) == ["c"])
        .await;
    assert_eq!(trial.serving().await, ["c"]);
    trial.clear_up().await;
}

/// What was withdrawn may come back: this is what a rollback does first.
pub async fn a_withdrawn_endpoint_may_be_admitted_again(trial: &Trial<'_>) {
    trial.open().await;
    trial.admit(&["a"]).await;
    trial.withdraw(&["a"]).await;

    trial.admit(&["a"]).await;

    assert_eq!(trial.serving().await, ["a"]);
    assert_eq!(trial.seen().await.endpoints.len(), 1);
    trial.clear_up().await;
}

/// What is put back before it has left is serving, and is not forgotten later.
pub async fn a_forgotten_endpoint_may_be_admitted_again(trial: &Trial<'_>) {
    trial.open().await;
    trial.admit(&["a"]).await;
    trial.forget(&["a"]).await;

    trial.admit(&["a"]).await;

    assert_eq!(trial.serving().await, ["a"]);
    trial.clear_up().await;
}

/// Every change may be sent twice and is then one.
pub async fn every_change_may_be_repeated(trial: &Trial<'_>) {
    trial.open().await;
    for _ in 0..2 {
        trial.admit(&["a", "b", "c"]).await;
    }
    assert_eq!(trial.seen().await.endpoints.len(), 3);

    for _ in 0..2 {
        trial.withdraw(&["a", "b"]).await;
    }
    assert_eq!(trial.serving().await, ["c"]);

    for _ in 0..2 {
        trial.forget(&["a"]).await;
    }
    trial
        .until("it is off the list", |pool| !lists(pool, "a"))
        .await;
    assert_eq!(trial.serving().await, ["c"]);
    trial.clear_up().await;
}

/// Forgetting what is not listed is a no-op.
pub async fn forgetting_an_unknown_endpoint_is_a_no_op(trial: &Trial<'_>) {
    trial.open().await;
    trial.admit(&["a"]).await;

    trial.forget(&["nobody"]).await;

    assert_eq!(trial.serving().await, ["a"]);
    assert_eq!(trial.seen().await.endpoints.len(), 1);
    trial.clear_up().await;
}

/// Withdrawing what is not listed is a no-op: it is not listed afterwards either.
pub async fn withdrawing_an_unknown_endpoint_is_a_no_op(trial: &Trial<'_>) {
    trial.open().await;
    trial.admit(&["a"]).await;

    trial.withdraw(&["nobody"]).await;

    assert_eq!(trial.serving().await, ["a"]);
    assert!(!serving(&trial.seen().await).contains(&"nobody".to_owned()));
    trial.clear_up().await;
}

/// What was forgotten with nothing in flight leaves the list, serving before or not.
pub async fn a_forgotten_endpoint_leaves_the_list(trial: &Trial<'_>) {
    trial.open().await;
    trial.admit(&["a", "b", "c"]).await;
    trial.withdraw(&["a"]).await;

    trial.forget(&["a", "b"]).await;

    trial
        .until("both are off the list", |pool| pool.endpoints.len() == 1)
        .await;
    assert_eq!(trial.serving().await, ["c"]);
    trial.clear_up().await;
}

/// Where a change is one step, the one that admits GREEN and withdraws BLUE does both.
pub async fn one_change_admits_and_withdraws_together(trial: &Trial<'_>) {
    if !trial.balancer.capabilities().atomic_change {
        return;
    }
    trial.open().await;
    trial.admit(&["blue-1", "blue-2"]).await;

    trial.change(&["green-1"], &["blue-1"], &["blue-2"]).await;

    assert_eq!(trial.serving().await, ["green-1"]);
    trial.clear_up().await;
}

/// Where requests under way can be told, they are told of every endpoint, from the first look on.
pub async fn in_flight_is_told_of_every_endpoint(trial: &Trial<'_>) {
    if !trial.balancer.capabilities().in_flight {
        return;
    }
    trial.open().await;
    trial.admit(&["a", "b"]).await;
    trial.withdraw(&["b"]).await;

    let seen = trial.seen().await;

    assert!(
        seen.endpoints
            .iter()
            .all(|endpoint| endpoint.in_flight == Some(0)),
        "{seen:?}"
    );
    trial.clear_up().await;
}

/// A pool that was opened on an address tells it.
pub async fn an_opened_pool_tells_where_it_listens(trial: &Trial<'_>) {
    if !trial.balancer.capabilities().listens {
        return;
    }
    trial.open().await;

    assert!(trial.seen().await.listen.is_some());
    trial.clear_up().await;
}

/// A change of a pool that does not exist is an error, and does not make it.
pub async fn changing_what_is_not_there_is_an_error(trial: &Trial<'_>) {
    if !trial.balancer.capabilities().listens {
        return;
    }
    let answer = trial.balancer.act(&trial.changing(&["a"], &[], &[])).await;

    assert!(
        matches!(answer, Err(DriverError::NotFound { .. })),
        "{answer:?}"
    );
    assert_eq!(trial.look().await, None);
}

/// A pool that has endpoints is not closed.
pub async fn a_pool_with_endpoints_is_not_closed(trial: &Trial<'_>) {
    if !trial.balancer.capabilities().listens {
        return;
    }
    trial.open().await;
    trial.admit(&["a"]).await;

    let refused = trial.balancer.act(&trial.closing()).await;

    assert!(
        matches!(refused, Err(DriverError::Busy { .. })),
        "{refused:?}"
    );
    assert_eq!(trial.serving().await, ["a"]);
    trial.clear_up().await;
}

/// What was closed exists no more, and closing it again is no error.
pub async fn a_closed_pool_is_gone(trial: &Trial<'_>) {
    if !trial.balancer.capabilities().listens {
        return;
    }
    trial.open().await;

    trial.done(&trial.closing()).await;
    trial.done(&trial.closing()).await;

    assert_eq!(trial.look().await, None);
}

/// Returns the address of an instance, which no other has: some balancers know their endpoints by nothing else.
/// Nothing listens there, and nothing is sent.
fn address(instance: &str) -> Address {
    let known = INSTANCES.iter().zip(9..);
    let mut ports = known.filter(|(known, _)| **known == instance);
    let (_, port) = ports.next().expect("every instance of a rule is listed");
    Address(format!("127.0.0.1:{port}"))
}

fn serving(pool: &PoolSighting) -> Vec<String> {
    let serving = pool
        .endpoints
        .iter()
        .filter(|e| e.state == EndpointState::Serving);
    let mut ids: Vec<_> = serving
        .map(|endpoint| endpoint.instance.to_string())
        .collect();
    ids.sort();
    ids
}

fn lists(pool: &PoolSighting, instance: &str) -> bool {
    pool.endpoints
        .iter()
        .any(|endpoint| endpoint.instance.as_str() == instance)
}

impl Trial<'_> {
    async fn open(&self) {
        if self.balancer.capabilities().listens {
            let pool = PoolPlan {
                id: self.pool.clone(),
                port_index: 0,
                listen: self.listen.clone(),
                protocol: Protocol::Http,
                existed: false,
            };
            self.done(&PoolAction::Open { pool }).await;
        }
        self.until("it exists", |_| true).await;
    }

    /// Takes away what the rule made.
    async fn clear_up(&self) {
        let listed = self.seen().await.endpoints;
        let ids: Vec<_> = listed
            .iter()
            .map(|endpoint| endpoint.instance.as_str())
            .collect();
        self.forget(&ids).await;
        self.until("it is empty", |pool| pool.endpoints.is_empty())
            .await;
        if self.balancer.capabilities().listens {
            self.done(&self.closing()).await;
        }
    }

    /// Admits, and waits until it is read back.
    async fn admit(&self, ids: &[&str]) {
        self.change(ids, &[], &[]).await;
        let all = |pool: &PoolSighting| {
            let serving = serving(pool);
            ids.iter().all(|&id| serving.iter().any(|one| one == id))
        };
        self.until("what was admitted serves", all).await;
    }

    /// Withdraws, and waits until it is read back.
    async fn withdraw(&self, ids: &[&str]) {
        self.change(&[], ids, &[]).await;
        let none = |pool: &PoolSighting| {
            let serving = serving(pool);
            !ids.iter().any(|&id| serving.iter().any(|one| one == id))
        };
        self.until("what was withdrawn serves no more", none).await;
    }

    async fn forget(&self, ids: &[&str]) {
        self.change(&[], &[], ids).await;
    }

    async fn change(&self, admit: &[&str], withdraw: &[&str], forget: &[&str]) {
        self.done(&self.changing(admit, withdraw, forget)).await;
    }

    fn changing(&self, admit: &[&str], withdraw: &[&str], forget: &[&str]) -> PoolAction {
        let ids = |ids: &[&str]| ids.iter().map(|&id| InstanceId::from(id)).collect();
        let member = |id: &&str| Member {
            instance: InstanceId::from(*id),
            address: address(id),
        };
        PoolAction::Change {
            pool: self.pool.clone(),
            admit: admit.iter().map(member).collect(),
            withdraw: ids(withdraw),
            forget: ids(forget),
        }
    }

    fn closing(&self) -> PoolAction {
        PoolAction::Close {
            pool: self.pool.clone(),
        }
    }

    async fn done(&self, action: &PoolAction) {
        if let Err(error) = self.balancer.act(action).await {
            panic!("{action:?}: {error}");
        }
    }

    async fn until(&self, what: &str, holds: impl Fn(&PoolSighting) -> bool) -> PoolSighting {
        let deadline = Instant::now() + self.patience.limit;
        loop {
            let seen = self.look().await;
            if let Some(pool) = seen.as_ref().filter(|pool| holds(pool)) {
                return pool.clone();
            }
            assert!(
                Instant::now() < deadline,
                "not within {:?}: {what}: {seen:?}",
                self.patience
            );
            sleep(self.patience.interval).await;
        }
    }

    async fn look(&self) -> Option<PoolSighting> {
        let seen = self
            .balancer
            .observe(std::slice::from_ref(&self.pool))
            .await;
        seen.expect("a look succeeds").pop()
    }

    async fn seen(&self) -> PoolSighting {
        self.look().await.expect("it exists")
    }

    async fn serving(&self) -> Vec<String> {
        serving(&self.seen().await)
    }
}
