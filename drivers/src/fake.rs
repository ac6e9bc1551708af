//! A world in memory: an orchestrator, a balancer and gauges that belong together, for tests.
//!
//! It has no clock. Instances are born as [`Birth`] says and die as [`Death`] says; everything else happens when the
//! test says so ([`World::turn_healthy`], [`World::crash`], [`World::set_in_flight`], …). [`World::auto`] lets
//! everything happen at once. What a deployment must never do is kept: see [`World::harm`] and
//! [`World::least_serving`].
//!
//! A [`World`] is a handle; its clones are the same world.

mod balancer;
mod orchestrator;
mod state;

use crate::gauge::{Gauges, Question, Reading};
use crate::{Capabilities, DriverError};
use async_trait::async_trait;
use serde_json::Value;
use state::State;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use teal_core::Span;
use teal_core::action::Action;
use teal_core::definition::PendingSource;
use teal_core::name::{InstanceId, PoolId, RevisionId};
use teal_core::observation::{Health, Pending, Phase, PoolSighting, RevisionSighting, System};
use tokio::sync::Notify;

/// How instances come into the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Birth {
    /// Not running yet.
    Starting,
    /// Running, and no check has a result.
    Running,
    /// Running and healthy.
    Healthy,
    /// Running, and a check says dead.
    Unhealthy,
    /// Not at all: they wait for a place to run.
    Never,
}

/// How instances that are told to stop leave the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// At once.
    AtOnce,
    /// When the test calls [`World::finish_stopping`].
    WhenTold,
}

/// A handle of a world in memory.
#[derive(Debug, Clone)]
pub struct World {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    notify: Notify,
}

impl World {
    /// Returns an empty world where things happen when the test says so.
    #[must_use]
    pub fn new() -> Self {
        Self::with(State::new(Birth::Starting, Death::WhenTold))
    }

    /// Returns an empty world where instances are healthy and dead at once.
    #[must_use]
    pub fn auto() -> Self {
        Self::with(State::new(Birth::Healthy, Death::AtOnce))
    }

    fn with(state: State) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                notify: Notify::new(),
            }),
        }
    }

    // How the world is.

    /// Sets how instances are born that nothing else is said about.
    pub fn set_birth(&self, birth: Birth) {
        self.change(|state| state.birth = birth);
    }

    /// Sets how instances of one revision are born from here on.
    pub fn set_birth_of(&self, revision: &RevisionId, birth: Birth) {
        self.change(|state| state.births.insert(revision.clone(), birth));
    }

    /// Sets how instances leave.
    pub fn set_death(&self, death: Death) {
        self.change(|state| state.death = death);
    }

    /// Sets whether a revision is locked, as in Marathon, from a change of its scale until that has its full effect.
    pub fn set_locking(&self, locking: Locking) {
        self.change(|state| state.locking = locking);
    }

    /// Sets what the balancer can do.
    pub fn set_capabilities(&self, capabilities: Capabilities) {
        self.change(|state| state.capabilities = capabilities);
    }

    // What a test does to the world.

    /// Makes a revision as somebody else would, with running, healthy instances, and returns their ids.
    pub fn grow(&self, revision: &RevisionId, definition: &Value, count: u32) -> Vec<InstanceId> {
        self.change(|state| state.grow(revision, definition, count));
        self.instances(revision)
    }

    /// Makes a pool as somebody else would, and lets these instances serve in it by their first port.
    pub fn serve(&self, pool: &PoolId, instances: &[InstanceId]) {
        self.change(|state| state.serve(pool, instances));
    }

    /// Lets an instance run, with no result of its checks.
    pub fn turn_running(&self, instance: &InstanceId) {
        self.set(instance, Phase::Running, Health::Unknown);
    }

    /// Lets an instance run and be healthy.
    pub fn turn_healthy(&self, instance: &InstanceId) {
        self.set(instance, Phase::Running, Health::Healthy);
    }

    /// Lets a check of a running instance say dead.
    pub fn turn_unhealthy(&self, instance: &InstanceId) {
        self.set(instance, Phase::Running, Health::Unhealthy);
    }

    /// Lets the orchestrator lose sight of an instance.
    pub fn turn_unreachable(&self, instance: &InstanceId) {
        self.set(instance, Phase::Unreachable, Health::Unknown);
    }

    /// Lets every instance of a revision run and be healthy.
    pub fn turn_all_healthy(&self, revision: &RevisionId) {
        for instance in self.instances(revision) {
            self.turn_healthy(&instance);
        }
    }

    /// Ends an instance by itself. Its orchestrator starts another in its place, under another id.
    pub fn crash(&self, instance: &InstanceId) {
        self.change(|state| state.crash(instance));
    }

    /// Ends every instance that was told to stop.
    pub fn finish_stopping(&self) {
        self.change(State::finish_stopping);
    }

    /// Sets how many requests an instance has under way, in every pool that lists it.
    pub fn set_in_flight(&self, instance: &InstanceId, count: u64) {
        self.change(|state| state.set_in_flight(instance, count));
    }

    /// Sets what an instance's gauge says. It says zero until told otherwise.
    pub fn set_pending(&self, instance: &InstanceId, pending: Pending) {
        self.change(|state| state.pending.insert(instance.clone(), pending));
    }

    /// Locks a revision as somebody else's deployment would, until [`Self::unlock`].
    pub fn lock(&self, revision: &RevisionId, by: &str) {
        self.change(|state| state.locks.insert(revision.clone(), by.to_owned()));
    }

    /// Takes that lock away.
    pub fn unlock(&self, revision: &RevisionId) {
        self.change(|state| state.locks.remove(revision));
    }

    /// Lets the next call of a system fail, before it has any effect. Several wait in line.
    pub fn fail_next(&self, system: System, error: DriverError) {
        self.change(|state| state.failures.push((system, error)));
    }

    /// Lets every call of a system fail, until [`Self::put_up`].
    pub fn put_down(&self, system: System, error: DriverError) {
        self.change(|state| state.down.push((system, error)));
    }

    /// Lets the calls of a system work again.
    pub fn put_up(&self, system: System) {
        self.change(|state| state.down.retain(|(down, _)| *down != system));
    }

    /// Gives everybody who waits for a change a cue.
    pub fn nudge(&self) {
        self.change(|_| ());
    }

    // What a test sees of the world.

    /// Returns a revision; None when it does not exist.
    #[must_use]
    pub fn revision(&self, revision: &RevisionId) -> Option<RevisionSighting> {
        self.state().sight(revision)
    }

    /// Returns the ids of all revisions that exist.
    #[must_use]
    pub fn revisions(&self) -> Vec<RevisionId> {
        self.state().revisions.keys().cloned().collect()
    }

    /// Returns the ids of a revision's instances, oldest first.
    #[must_use]
    pub fn instances(&self, revision: &RevisionId) -> Vec<InstanceId> {
        let sighting = self.state().sight(revision);
        sighting
            .into_iter()
            .flat_map(|seen| seen.instances)
            .map(|one| one.id)
            .collect()
    }

    /// Returns a pool; None when it does not exist.
    #[must_use]
    pub fn pool(&self, pool: &PoolId) -> Option<PoolSighting> {
        self.state().sight_pool(pool)
    }

    /// Returns the ids of all pools that exist.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolId> {
        self.state().pools.keys().cloned().collect()
    }

    /// Returns the instances that get new requests from a pool.
    #[must_use]
    pub fn serving(&self, pool: &PoolId) -> Vec<InstanceId> {
        self.state().serving(pool)
    }

    /// Returns every action that was accepted, in order.
    #[must_use]
    pub fn actions(&self) -> Vec<Action> {
        self.state().actions.clone()
    }

    /// Returns what was dropped, one sentence each: instances stopped while they got requests, had some under way, or
    /// had operations pending.
    #[must_use]
    pub fn harm(&self) -> Vec<String> {
        self.state().harm.clone()
    }

    /// Returns the least number of healthy, serving instances that a pool has had since [`Self::reset_marks`].
    #[must_use]
    pub fn least_serving(&self, pool: &PoolId) -> usize {
        self.state().least_serving.get(pool).copied().unwrap_or(0)
    }

    /// Forgets the actions, the harm and the least counts so far.
    pub fn reset_marks(&self) {
        self.change(State::reset_marks);
    }

    // How the drivers reach in.

    fn set(&self, instance: &InstanceId, phase: Phase, health: Health) {
        self.change(|state| state.set(instance, phase, health));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the world and gives the cue.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let done = change(&mut state);
        state.settle();
        drop(state);
        self.shared.notify.notify_one();
        done
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a change of scale locks its revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    /// Never.
    Off,
    /// Until it has its full effect.
    UntilDone,
}

#[async_trait]
impl Gauges for World {
    async fn read(&self, asked: &[Question]) -> BTreeMap<InstanceId, Reading> {
        let state = self.state();
        let read = |question: &Question| {
            let pending = match question.source {
                PendingSource::None => Pending::NotWatched,
                PendingSource::Prometheus { .. } | PendingSource::Pointer { .. } => {
                    state.pending(&question.instance)
                }
            };
            (
                question.instance.clone(),
                Reading {
                    pending,
                    age: Span::ZERO,
                },
            )
        };
        asked.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests;
