//! A driver with faults: errors before and after the effect, doubled actions, looks that are out of date, delays.
//!
//! What happens is drawn from a seed, so that a run can be repeated. Faults are drawn call by call: they repeat when
//! the calls come in the same order.

use crate::chance::Chance;
use crate::gauge::{Gauges, Question, Reading};
use crate::{Balancer, Capabilities, DriverError, Orchestrator};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use teal_core::Span;
use teal_core::action::{InstanceAction, PoolAction};
use teal_core::name::{InstanceId, PoolId, RevisionId};
use teal_core::observation::{Pending, PoolSighting, RevisionSighting};
use teal_core::plan::Found;

/// How often each fault comes, out of a thousand calls. What they leave of the thousand goes well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weights {
    /// The call fails and has no effect.
    pub error_before: u32,
    /// The call has its effect, and its answer is lost.
    pub lost_answer: u32,
    /// An action is carried out twice.
    pub twice: u32,
    /// A look shows what an earlier one showed.
    pub stale: u32,
    /// The call is held up by the pause before it goes on.
    pub delay: u32,
}

impl Weights {
    /// No faults.
    pub const NONE: Self = Self {
        error_before: 0,
        lost_answer: 0,
        twice: 0,
        stale: 0,
        delay: 0,
    };
    /// Every fifth call has a fault of some kind.
    pub const BAD_DAY: Self = Self {
        error_before: 50,
        lost_answer: 50,
        twice: 50,
        stale: 0,
        delay: 50,
    };
}

/// What a delay waits for.
pub type Pause = Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A driver with faults.
pub struct Faulty<T> {
    inner: T,
    weights: Weights,
    random: Mutex<Chance>,
    pause: Pause,
    seen_revisions: Mutex<BTreeMap<Vec<RevisionId>, Vec<RevisionSighting>>>,
    seen_pools: Mutex<BTreeMap<Vec<PoolId>, Vec<PoolSighting>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    ErrorBefore,
    LostAnswer,
    Twice,
    Stale,
    Delay,
}

impl<T> Faulty<T> {
    /// Returns the driver with faults that are drawn from this seed. A delay only lets others go first.
    pub fn new(inner: T, weights: Weights, seed: u64) -> Self {
        Self {
            inner,
            weights,
            random: Mutex::new(Chance::new(seed)),
            pause: Box::new(|| Box::pin(tokio::task::yield_now())),
            seen_revisions: Mutex::default(),
            seen_pools: Mutex::default(),
        }
    }

    /// Returns the driver with something else that delays wait for.
    #[must_use]
    pub fn with_pause(mut self, pause: Pause) -> Self {
        self.pause = pause;
        self
    }

    /// Returns the driver without the faults.
    pub const fn inner(&self) -> &T {
        &self.inner
    }

    /// Draws what happens to a call, waits out a delay, and fails what is to fail at once.
    async fn begin(&self) -> Result<Option<Fault>, DriverError> {
        let fault = self.draw();
        match fault {
            Some(Fault::ErrorBefore) => Err(lost("it never arrived")),
            Some(Fault::Delay) => {
                (self.pause)().await;
                Ok(fault)
            }
            Some(Fault::LostAnswer | Fault::Twice | Fault::Stale) | None => Ok(fault),
        }
    }

    fn draw(&self) -> Option<Fault> {
        let mut drawn = lock(&self.random).below(1000);
        let table = [
            (self.weights.error_before, Fault::ErrorBefore),
            (self.weights.lost_answer, Fault::LostAnswer),
            (self.weights.twice, Fault::Twice),
            (self.weights.stale, Fault::Stale),
            (self.weights.delay, Fault::Delay),
        ];
        for (weight, fault) in table {
            let weight = u64::from(weight);
            if drawn < weight {
                return Some(fault);
            }
            drawn -= weight;
        }
        None
    }
}

#[async_trait]
impl<T: Orchestrator> Orchestrator for Faulty<T> {
    async fn find(&self) -> Result<Vec<Found>, DriverError> {
        let fault = self.begin().await?;
        let found = self.inner.find().await;
        end(fault, found)
    }

    async fn observe(
        &self,
        revisions: &[RevisionId],
    ) -> Result<Vec<RevisionSighting>, DriverError> {
        let fault = self.begin().await?;
        let earlier = lock(&self.seen_revisions).get(revisions).cloned();
        if let (Some(Fault::Stale), Some(earlier)) = (fault, earlier) {
            return Ok(earlier);
        }
        let seen = end(fault, self.inner.observe(revisions).await)?;
        lock(&self.seen_revisions).insert(revisions.to_vec(), seen.clone());
        Ok(seen)
    }

    async fn act(&self, action: &InstanceAction) -> Result<(), DriverError> {
        let fault = self.begin().await?;
        let done = self.inner.act(action).await;
        if fault == Some(Fault::Twice) {
            drop(self.inner.act(action).await);
        }
        end(fault, done)
    }

    async fn changed(&self) {
        self.inner.changed().await;
    }
}

#[async_trait]
impl<T: Balancer> Balancer for Faulty<T> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn observe(&self, pools: &[PoolId]) -> Result<Vec<PoolSighting>, DriverError> {
        let fault = self.begin().await?;
        let earlier = lock(&self.seen_pools).get(pools).cloned();
        if let (Some(Fault::Stale), Some(earlier)) = (fault, earlier) {
            return Ok(earlier);
        }
        let seen = end(fault, self.inner.observe(pools).await)?;
        lock(&self.seen_pools).insert(pools.to_vec(), seen.clone());
        Ok(seen)
    }

    async fn act(&self, action: &PoolAction) -> Result<(), DriverError> {
        let fault = self.begin().await?;
        let done = self.inner.act(action).await;
        if fault == Some(Fault::Twice) {
            drop(self.inner.act(action).await);
        }
        end(fault, done)
    }
}

#[async_trait]
impl<T: Gauges> Gauges for Faulty<T> {
    async fn read(&self, asked: &[Question]) -> BTreeMap<InstanceId, Reading> {
        let outcome = match self.begin().await {
            Ok(fault) => end(fault, Ok(self.inner.read(asked).await)),
            Err(error) => Err(error),
        };
        let nothing = |error: DriverError| {
            let pending = Pending::Unknown(error.to_string());
            let reading = Reading {
                pending,
                age: Span::ZERO,
            };
            asked
                .iter()
                .map(|one| (one.instance.clone(), reading.clone()))
                .collect()
        };
        outcome.unwrap_or_else(nothing)
    }
}

impl<T: fmt::Debug> fmt::Debug for Faulty<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty")
            .field("inner", &self.inner)
            .field("weights", &self.weights)
            .finish_non_exhaustive()
    }
}

fn end<A>(fault: Option<Fault>, answer: Result<A, DriverError>) -> Result<A, DriverError> {
    match fault {
        Some(Fault::LostAnswer) => Err(lost("the answer was lost")),
        Some(Fault::ErrorBefore | Fault::Twice | Fault::Stale | Fault::Delay) | None => answer,
    }
}

fn lost(reason: &str) -> DriverError {
    DriverError::Unreachable {
        url: "a faulty driver".to_owned(),
        reason: reason.to_owned(),
    }
}

fn lock<V>(mutex: &Mutex<V>) -> std::sync::MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::World;
    use serde_json::json;
    use teal_core::name::Role;

    #[tokio::test]
    async fn the_same_seed_brings_the_same_faults() {
        let faults = |seed| {
            let faulty = Faulty::new(World::auto(), Weights::BAD_DAY, seed);
            (0..200).map(|_| faulty.draw()).collect::<Vec<_>>()
        };

        assert_eq!(faults(7), faults(7));
        assert_ne!(faults(7), faults(8));
        assert!(faults(7).iter().flatten().count() > 10);
    }

    #[tokio::test]
    async fn an_answer_that_is_lost_comes_after_the_effect() {
        let always = Weights {
            lost_answer: 1000,
            ..Weights::NONE
        };
        let faulty = Faulty::new(World::auto(), always, 1);

        let answer = Orchestrator::act(&faulty, &create()).await;

        assert!(matches!(answer, Err(DriverError::Unreachable { .. })));
        assert_eq!(faulty.inner().revisions().len(), 1);
    }

    #[tokio::test]
    async fn an_error_before_has_no_effect() {
        let always = Weights {
            error_before: 1000,
            ..Weights::NONE
        };
        let faulty = Faulty::new(World::auto(), always, 1);

        let answer = Orchestrator::act(&faulty, &create()).await;

        assert!(answer.is_err());
        assert!(faulty.inner().revisions().is_empty());
    }

    #[tokio::test]
    async fn a_look_that_is_out_of_date_shows_what_was_there() {
        let always = Weights {
            stale: 1000,
            ..Weights::NONE
        };
        let faulty = Faulty::new(World::auto(), always, 1);
        let ids = [RevisionId::from("/green")];
        let before = Orchestrator::observe(&faulty, &ids).await;
        Orchestrator::act(&faulty, &create())
            .await
            .expect("creates");

        let after = Orchestrator::observe(&faulty, &ids).await;

        assert_eq!(before, after);
    }

    fn create() -> InstanceAction {
        InstanceAction::Create {
            role: Role::Green,
            revision: RevisionId::from("/green"),
            definition: json!({ "id": "/green", "instances": 0 }),
        }
    }
}
