//! A pool: the endpoints that requests of one service may go to.
//!
//! This is the heart of the balancer, and one lock is the heart of it. A request claims an
//! endpoint under the same lock that a change takes, so when [`Pool::change`] returns, no claim
//! made later can name what was withdrawn, and every claim made earlier is in the in-flight count
//! that is read afterwards. The lock is never held across an await, a system call or an
//! allocation per request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::answer::FaultCounts;
use crate::endpoint::{Endpoint, Idle};
use crate::random::Random;

/// What a pool's listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// HTTP/1.1, balanced by request.
    Http,
    /// Bytes, balanced by connection.
    Tcp,
}

/// Whether an endpoint gets new requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Traffic {
    /// It may be claimed.
    Serving,
    /// It gets nothing new; what is in flight is finished.
    Draining,
}

/// One atomic step. Each list may name what is already so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Instances that shall serve, with their addresses.
    pub(crate) admit: Vec<(String, SocketAddr)>,
    /// Instances that shall get nothing new.
    pub(crate) withdraw: Vec<String>,
    /// Instances that shall get nothing new and leave the list once nothing is in flight.
    pub(crate) forget: Vec<String>,
}

/// What is known of one endpoint at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct EndpointView {
    pub(crate) instance: String,
    pub(crate) address: SocketAddr,
    pub(crate) state: Traffic,
    pub(crate) in_flight: u64,
    pub(crate) requests: u64,
    pub(crate) failures: u64,
    /// It goes with its last request.
    #[serde(skip)]
    pub(crate) leaving: bool,
}

/// What is known of the pool's endpoints at one moment, taken under the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PoolView {
    /// Rises with each change that had an effect. An endpoint that leaves because it was to be
    /// forgotten does not raise it: nobody asked for anything at that moment.
    pub(crate) generation: u64,
    /// Sorted by instance id. An instance that was admitted again with another address is listed
    /// once per address until its old claims are done.
    pub(crate) endpoints: Vec<EndpointView>,
}

/// The endpoints of one service, and who may claim them.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) protocol: Protocol,
    /// Requests that were read, or connections that were accepted by a TCP pool.
    pub(crate) requests: AtomicU64,
    /// Answers that the balancer had to give by itself, and answers it had to cut.
    pub(crate) faults: FaultCounts,
    roster: Mutex<Roster>,
}

#[derive(Debug, Default)]
struct Roster {
    generation: u64,
    slots: BTreeMap<String, Vec<Slot>>,
    /// What may be claimed: the endpoints of all serving slots.
    serving: Vec<Arc<Endpoint>>,
}

#[derive(Debug)]
struct Slot {
    endpoint: Arc<Endpoint>,
    traffic: Traffic,
    forgotten: bool,
}

/// The right to send one request, connection or stream to an endpoint, counted in flight until
/// it is dropped.
#[derive(Debug)]
pub(crate) struct Claim<'p> {
    pool: &'p Pool,
    endpoint: Arc<Endpoint>,
}

impl Pool {
    /// Returns an empty pool.
    pub(crate) fn new(name: String, protocol: Protocol) -> Self {
        Self {
            name,
            protocol,
            requests: AtomicU64::new(0),
            faults: FaultCounts::default(),
            roster: Mutex::default(),
        }
    }

    /// Claims a serving endpoint that is not in `tried`, the less busy one of two random picks.
    ///
    /// Endpoints that lately refused connections are passed over unless there is no other.
    pub(crate) fn claim(&self, tried: &[Arc<Endpoint>], random: &mut Random) -> Option<Claim<'_>> {
        let roster = self.lock();
        let endpoint = pick(&roster.serving, tried, random)?;
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Claim {
            pool: self,
            endpoint: Arc::clone(endpoint),
        })
    }

    /// Applies `change` as one step and returns the pool as it is right after it.
    ///
    /// What is named in `admit` as well as in another list ends up serving; the admin API
    /// refuses such a change.
    pub(crate) fn change(&self, change: &Change) -> PoolView {
        let mut idle = Vec::new();
        let mut roster = self.lock();
        let mut changed = false;
        for id in &change.withdraw {
            changed |= roster.withdraw(id, false, &mut idle);
        }
        for id in &change.forget {
            changed |= roster.withdraw(id, true, &mut idle);
        }
        for (id, address) in &change.admit {
            changed |= roster.admit(id, *address, &mut idle);
        }
        if changed {
            roster.generation += 1;
            roster.serving = roster
                .slots
                .values()
                .flatten()
                .filter(|slot| slot.traffic == Traffic::Serving)
                .map(|slot| Arc::clone(&slot.endpoint))
                .collect();
        }
        let view = roster.view();
        drop(roster);
        // Closing sockets is a system call each: after the lock.
        drop(idle);
        view
    }

    /// Returns the pool as it is.
    pub(crate) fn view(&self) -> PoolView {
        self.lock().view()
    }

    fn lock(&self) -> MutexGuard<'_, Roster> {
        // No code that can panic runs under the lock; a poisoned one is still consistent.
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim<'_> {
    /// Returns what was claimed.
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut roster = self.pool.lock();
        let before = self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a claim is counted when it is made");
        if before == 1 {
            roster.release(&self.endpoint);
        }
    }
}

impl Roster {
    fn withdraw(&mut self, id: &str, forget: bool, idle: &mut Vec<Idle>) -> bool {
        let Some(slots) = self.slots.get_mut(id) else {
            return false;
        };
        let mut changed = false;
        for slot in slots.iter_mut() {
            changed |= slot.withdraw(forget, idle);
        }
        self.sweep(id);
        changed
    }

    fn admit(&mut self, id: &str, address: SocketAddr, idle: &mut Vec<Idle>) -> bool {
        let slots = self.slots.entry(id.to_owned()).or_default();
        let mut changed = false;
        let mut found = false;
        for slot in slots.iter_mut() {
            if slot.endpoint.address == address {
                found = true;
                changed |= slot.serve();
            } else {
                changed |= slot.withdraw(true, idle);
            }
        }
        if !found {
            changed = true;
            slots.push(Slot {
                endpoint: Arc::new(Endpoint::new(id.to_owned(), address)),
                traffic: Traffic::Serving,
                forgotten: false,
            });
        }
        self.sweep(id);
        changed
    }

    /// Called when nothing is in flight on `endpoint` any more.
    fn release(&mut self, endpoint: &Arc<Endpoint>) {
        let forgotten = self.slots.get(&endpoint.instance).is_some_and(|slots| {
            slots
                .iter()
                .any(|slot| slot.forgotten && Arc::ptr_eq(&slot.endpoint, endpoint))
        });
        if forgotten {
            self.sweep(&endpoint.instance);
        }
    }

    /// Removes the slots of `id` that are to be forgotten and have nothing in flight.
    fn sweep(&mut self, id: &str) {
        let Some(slots) = self.slots.get_mut(id) else {
            return;
        };
        slots.retain(|slot| !slot.forgotten || slot.in_flight() > 0);
        if slots.is_empty() {
            self.slots.remove(id);
        }
    }

    fn view(&self) -> PoolView {
        let endpoints = self.slots.values().flatten().map(Slot::view).collect();
        PoolView {
            generation: self.generation,
            endpoints,
        }
    }
}

impl Slot {
    fn in_flight(&self) -> u64 {
        self.endpoint.in_flight.load(Ordering::Relaxed)
    }

    fn serve(&mut self) -> bool {
        let changed = self.traffic != Traffic::Serving || self.forgotten;
        self.traffic = Traffic::Serving;
        self.forgotten = false;
        if changed {
            self.endpoint.revive();
        }
        changed
    }

    fn withdraw(&mut self, forget: bool, idle: &mut Vec<Idle>) -> bool {
        let changed = self.traffic != Traffic::Draining || (forget && !self.forgotten);
        self.traffic = Traffic::Draining;
        self.forgotten |= forget;
        idle.append(&mut self.endpoint.refuse_idle());
        changed
    }

    fn view(&self) -> EndpointView {
        EndpointView {
            instance: self.endpoint.instance.clone(),
            address: self.endpoint.address,
            state: self.traffic,
            in_flight: self.in_flight(),
            requests: self.endpoint.requests.load(Ordering::Relaxed),
            failures: self.endpoint.failures.load(Ordering::Relaxed),
            leaving: self.forgotten,
        }
    }
}

/// Picks by the power of two choices; see Mitzenmacher, "The Power of Two Choices in Randomized
/// Load Balancing" (2001).
fn pick<'r>(
    serving: &'r [Arc<Endpoint>],
    tried: &[Arc<Endpoint>],
    random: &mut Random,
) -> Option<&'r Arc<Endpoint>> {
    let fresh = |endpoint: &Arc<Endpoint>| !tried.iter().any(|old| Arc::ptr_eq(old, endpoint));
    let usable = |endpoint: &Arc<Endpoint>| fresh(endpoint) && !endpoint.is_ejected();
    let (first, second) = random.two_below(serving.len())?;
    let (first, second) = (&serving[first], &serving[second]);
    match (usable(first), usable(second)) {
        (true, true) => return Some(less_busy(first, second)),
        (true, false) => return Some(first),
        (false, true) => return Some(second),
        (false, false) => {}
    }
    let mut rest: Vec<_> = serving.iter().filter(|endpoint| usable(endpoint)).collect();
    if rest.is_empty() {
        rest = serving.iter().filter(|endpoint| fresh(endpoint)).collect();
    }
    let (first, second) = random.two_below(rest.len())?;
    Some(less_busy(rest[first], rest[second]))
}

fn less_busy<'r>(first: &'r Arc<Endpoint>, second: &'r Arc<Endpoint>) -> &'r Arc<Endpoint> {
    let load = |endpoint: &Endpoint| endpoint.in_flight.load(Ordering::Relaxed);
    if load(second) < load(first) {
        second
    } else {
        first
    }
}

#[cfg(test)]
mod tests;
