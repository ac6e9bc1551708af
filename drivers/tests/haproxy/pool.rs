//! A pool as a deployment uses it: every change is read back before the next.

use crate::backend::Backend;
use crate::until::until;
use teal_core::action::PoolAction;
use teal_core::name::{InstanceId, PoolId};
use teal_core::observation::{EndpointSighting, EndpointState, PoolSighting};
use teal_drivers::balancers::haproxy::Haproxy;
use teal_drivers::directory::Directory;
use teal_drivers::{Balancer, DriverError};

/// The pool of the tests. Its backend is called `shop_oinker`: HAProxy has no names with a slash.
pub(crate) const POOL: &str = "shop/oinker";

/// How many looks in a row have to show that nothing is in flight.
const IDLE_LOOKS: u32 = 3;

/// A pool, and the driver of its balancer.
pub(crate) struct Pool<'a> {
    balancer: &'a dyn Balancer,
    id: PoolId,
}

/// Returns a driver that knows of no instance yet.
pub(crate) fn driver(addresses: &str) -> Haproxy {
    Haproxy::connect(addresses, Directory::new()).expect("addresses")
}

impl<'a> Pool<'a> {
    pub(crate) fn new(balancer: &'a dyn Balancer) -> Self {
        Self {
            balancer,
            id: PoolId::from(POOL),
        }
    }

    /// Admits these and waits until they serve.
    pub(crate) async fn admit(&self, backends: &[Backend]) {
        self.done(self.try_admit(backends).await);
        self.until("what was admitted serves", |seen| {
            backends
                .iter()
                .all(|one| is(seen, one, EndpointState::Serving))
        })
        .await;
    }

    /// Withdraws these and waits until no request can come to them any more.
    pub(crate) async fn withdraw(&self, backends: &[Backend]) {
        self.done(self.try_withdraw(backends).await);
        self.until("what was withdrawn is out", |seen| {
            backends.iter().all(|one| {
                let endpoint = endpoint(seen, one);
                endpoint.is_none_or(|endpoint| !endpoint.state.gets_requests())
            })
        })
        .await;
    }

    /// Waits until these have nothing in flight, for as many looks as a deployment wants.
    pub(crate) async fn drain(&self, backends: &[Backend]) {
        let mut idle_looks = 0;
        self.until("what was withdrawn is idle", |seen| {
            let idle = |one| {
                let endpoint: Option<&EndpointSighting> = endpoint(seen, one);
                let endpoint = endpoint.expect("it is listed until it is forgotten");
                assert_eq!(endpoint.state, EndpointState::Draining, "{seen:?}");
                endpoint.in_flight == Some(0)
            };
            idle_looks = if backends.iter().all(idle) {
                idle_looks + 1
            } else {
                0
            };
            idle_looks == IDLE_LOOKS
        })
        .await;
        // What the balancer says is what the instances know.
        for backend in backends {
            assert_eq!(backend.under_way(), 0, "{}", backend.name);
        }
    }

    /// Forgets these and waits until they are off the list.
    pub(crate) async fn forget(&self, backends: &[Backend]) {
        let forgotten = self.change(&[], &[], backends).await;
        self.done(forgotten);
        self.until("what was forgotten is off the list", |seen| {
            backends.iter().all(|one| endpoint(seen, one).is_none())
        })
        .await;
    }

    /// Admits these, and does not look.
    pub(crate) async fn try_admit(&self, backends: &[Backend]) -> Result<(), DriverError> {
        self.change(backends, &[], &[]).await
    }

    /// Withdraws these, and does not look.
    pub(crate) async fn try_withdraw(&self, backends: &[Backend]) -> Result<(), DriverError> {
        self.change(&[], backends, &[]).await
    }

    /// Returns what the balancer says, or why it says nothing.
    pub(crate) async fn look(&self) -> Result<Option<PoolSighting>, DriverError> {
        let seen = self.balancer.observe(std::slice::from_ref(&self.id)).await;
        seen.map(|mut pools| pools.pop())
    }

    /// Returns what the balancer says of a pool that is there.
    pub(crate) async fn seen(&self) -> PoolSighting {
        let seen = self.look().await.expect("a look succeeds");
        seen.expect("the pool exists")
    }

    /// Looks until it is so.
    pub(crate) async fn until(
        &self,
        what: &str,
        mut holds: impl FnMut(&PoolSighting) -> bool,
    ) -> PoolSighting {
        let look = async || Some(self.seen().await).filter(|seen| holds(seen));
        until(what, look).await
    }

    async fn change(
        &self,
        admit: &[Backend],
        withdraw: &[Backend],
        forget: &[Backend],
    ) -> Result<(), DriverError> {
        let ids = |backends: &[Backend]| -> Vec<InstanceId> {
            backends.iter().map(|one| one.member().instance).collect()
        };
        let action = PoolAction::Change {
            pool: self.id.clone(),
            admit: admit.iter().map(Backend::member).collect(),
            withdraw: ids(withdraw),
            forget: ids(forget),
        };
        self.balancer.act(&action).await
    }

    fn done(&self, changed: Result<(), DriverError>) {
        if let Err(error) = changed {
            panic!("pool {}: {error}", self.id);
        }
    }
}

/// Returns what a pool says of an instance.
pub(crate) fn endpoint<'a>(seen: &'a PoolSighting, of: &Backend) -> Option<&'a EndpointSighting> {
    let mut endpoints = seen.endpoints.iter();
    endpoints.find(|endpoint| endpoint.instance.as_str() == of.name)
}

/// Tells whether a pool says this of an instance.
pub(crate) fn is(seen: &PoolSighting, backend: &Backend, state: EndpointState) -> bool {
    endpoint(seen, backend).is_some_and(|endpoint| endpoint.state == state)
}
