//! The shadow of a run: traffic through the pool, and what the promises mean in truth. The rules of decisions are
//! `teal_core::invariants`, which every decision is held against anyway; here they are held against what happened.

use super::POOL;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use teal_core::action::PoolAction;
use teal_core::name::{InstanceId, PoolId, Role};
use teal_core::observation::{EndpointState, PoolSighting};
use teal_core::plan::Plan;
use teal_core::{Moment, Span};
use teal_drivers::chance::Chance;
use teal_drivers::fake::World;
use teal_drivers::simulated::{By, Cluster, Load, Truth};
use teal_drivers::{Balancer, Capabilities, DriverError};

const TICK: Duration = Duration::from_millis(50);

/// Watches a run.
#[derive(Clone)]
pub(super) struct Shadow {
    pub(super) cluster: Cluster,
    pub(super) world: World,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    chance: Chance,
    requests_per_s: u64,
    requests: Vec<Request>,
    operations: Vec<(InstanceId, Moment)>,
    /// Who stopped what, of what has been looked at so far.
    stopped: BTreeMap<InstanceId, By>,
    stops_looked_at: usize,
    plan: Option<Plan>,
    breaches: Vec<String>,
    served: u64,
    done: u64,
    lost_to_mishaps: u64,
}

struct Request {
    to: InstanceId,
    ends_at: Moment,
    /// How long its operation goes on after it.
    then: Option<Span>,
}

impl Shadow {
    pub(super) fn new(cluster: Cluster, world: World, seed: u64, requests_per_s: u64) -> Self {
        let seen = Seen {
            chance: Chance::new(seed ^ 0x5EED),
            requests_per_s,
            requests: Vec::new(),
            operations: Vec::new(),
            stopped: BTreeMap::new(),
            stops_looked_at: 0,
            plan: None,
            breaches: Vec::new(),
            served: 0,
            done: 0,
            lost_to_mishaps: 0,
        };
        Self {
            cluster,
            world,
            seen: Arc::new(Mutex::new(seen)),
        }
    }

    /// Sets what the promises are held against.
    pub(super) fn set_plan(&self, plan: &Plan) {
        self.seen().plan = Some(plan.clone());
    }

    /// Sends requests for ever.
    pub(super) async fn send_requests(self) {
        loop {
            tokio::time::sleep(TICK).await;
            self.tick(teal_drivers::clock::now());
        }
    }

    /// Returns the promises that were broken, one sentence each.
    pub(super) fn breaches(&self) -> Vec<String> {
        self.look_at_stops();
        self.seen().breaches.clone()
    }

    /// Returns how many requests were served, how many operations were done, and how many requests got lost with what
    /// broke or was stopped by others.
    pub(super) fn traffic(&self) -> (u64, u64, u64) {
        let seen = self.seen();
        (seen.served, seen.done, seen.lost_to_mishaps)
    }

    /// Returns the ids of the instances that get requests.
    pub(super) fn serving(&self) -> Vec<InstanceId> {
        self.world.serving(&PoolId::from(POOL))
    }

    /// Returns how many serve and were, when teal was last told of them, well: what it can know of the capacity.
    pub(super) fn capacity(&self) -> usize {
        let serving = self.serving();
        serving
            .iter()
            .filter(|id| self.cluster.is_shown_well(id))
            .count()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn breach(&self, what: String) {
        self.cluster.tell(format!("BROKEN {what}"));
        self.seen().breaches.push(what);
    }

    // ---- traffic -----------------------------------------------------------------------------------------------

    fn tick(&self, now: Moment) {
        self.look_at_stops();
        let truths: BTreeMap<InstanceId, Truth> = self
            .cluster
            .truths()
            .into_iter()
            .map(|truth| (truth.instance.clone(), truth))
            .collect();
        self.end_requests(&truths, now);
        self.begin_request(&truths, now);
        self.spread(&truths);
    }

    fn end_requests(&self, truths: &BTreeMap<InstanceId, Truth>, now: Moment) {
        let mut seen = self.seen();
        let seen = &mut *seen;
        // What was at work in what is gone has gone with it. Whose fault that is, is told when it is stopped.
        let before = seen.requests.len();
        seen.requests.retain(|it| truths.contains_key(&it.to));
        seen.lost_to_mishaps += (before - seen.requests.len()) as u64;
        seen.operations.retain(|(at, _)| truths.contains_key(at));
        for request in seen.requests.extract_if(.., |it| it.ends_at <= now) {
            seen.served += 1;
            if let Some(then) = request.then {
                seen.operations.push((request.to, now + then));
            }
        }
        let before = seen.operations.len();
        seen.operations.retain(|(_, ends_at)| *ends_at > now);
        seen.done += (before - seen.operations.len()) as u64;
    }

    fn begin_request(&self, truths: &BTreeMap<InstanceId, Truth>, now: Moment) {
        let serving = self.serving();
        let mut seen = self.seen();
        let per_tick = u32::try_from(seen.requests_per_s * 50).unwrap_or(0);
        if !seen.chance.happens(per_tick) {
            return;
        }
        let Some(to) = seen.chance.one_of(&serving).cloned() else {
            seen.lost_to_mishaps += 1;
            return;
        };
        if truths.get(&to).is_some_and(|truth| truth.works) {
            let takes = seen.chance.span(10, 1500);
            let goes_on = seen.chance.happens(500);
            let then = seen.chance.span(100, 4000);
            seen.requests.push(Request {
                to,
                ends_at: now + takes,
                then: goes_on.then_some(then),
            });
            return;
        }
        seen.lost_to_mishaps += 1;
        let stopped_by = seen.stopped.get(&to).copied();
        drop(seen);
        if stopped_by == Some(By::Caller) {
            self.breach(format!(
                "P2: a request went to {to}, which teal has stopped"
            ));
        }
    }

    /// Lets everybody know what everybody has at hand.
    fn spread(&self, truths: &BTreeMap<InstanceId, Truth>) {
        let serving = self.serving();
        for id in truths.keys() {
            let load = {
                let seen = self.seen();
                let count = |ids: &mut dyn Iterator<Item = &InstanceId>| {
                    ids.filter(|it| *it == id).count() as u64
                };
                Load {
                    in_flight: count(&mut seen.requests.iter().map(|it| &it.to)),
                    pending: count(&mut seen.operations.iter().map(|(at, _)| at)),
                    serving: serving.contains(id),
                }
            };
            self.cluster.set_load(id, load);
            self.world.set_in_flight(id, load.in_flight);
        }
        if let Some(pool) = self.world.pool(&PoolId::from(POOL)) {
            for gone in pool.endpoints {
                if !truths.contains_key(&gone.instance) {
                    self.world.set_in_flight(&gone.instance, 0);
                }
            }
        }
    }

    /// P2: nothing that teal stops serves, has a request under way, or an operation pending.
    fn look_at_stops(&self) {
        let stops = self.cluster.stops();
        let looked_at = self.seen().stops_looked_at;
        for stop in &stops[looked_at..] {
            if stop.by == By::Caller && stop.load != Load::default() {
                self.breach(format!(
                    "P2: teal has stopped {} with {:?}",
                    stop.instance, stop.load
                ));
            }
            self.seen().stopped.insert(stop.instance.clone(), stop.by);
        }
        self.seen().stops_looked_at = stops.len();
    }

    // ---- pool changes ------------------------------------------------------------------------------------------

    fn look_at_change(&self, action: &PoolAction, before: usize) {
        let PoolAction::Change {
            admit, withdraw, ..
        } = action
        else {
            return;
        };
        let now = teal_drivers::clock::now();
        let Some(plan) = self.seen().plan.clone() else {
            return;
        };
        let after = self.capacity();
        let floor = plan.floor(Role::Blue).min(plan.floor(Role::Green)) as usize;
        if after < floor.min(before) && !withdraw.is_empty() {
            self.breach(format!(
                "P1: {before} known to be well served, {after} do; the floor is {floor}"
            ));
        }
        for member in admit {
            let truth = self.cluster.truth(&member.instance);
            let first_alive = truth.and_then(|truth| truth.first_alive);
            let settle = plan.settings.min_healthy_time;
            let is_settled = first_alive.is_none_or(|at| at + settle <= now);
            if !is_settled || !self.cluster.is_shown_well(&member.instance) {
                self.breach(format!(
                    "P4: {} enters the pool, alive since {first_alive:?}, and it is {now:?}",
                    member.instance
                ));
            }
        }
        let truths = self.cluster.truths();
        let by_id = |truth: Truth| (truth.instance.clone(), truth);
        self.spread(&truths.into_iter().map(by_id).collect());
    }
}

/// The pool under watch.
#[async_trait]
impl Balancer for Shadow {
    fn capabilities(&self) -> Capabilities {
        self.world.capabilities()
    }

    async fn observe(&self, pools: &[PoolId]) -> Result<Vec<PoolSighting>, DriverError> {
        Balancer::observe(&self.world, pools).await
    }

    async fn act(&self, action: &PoolAction) -> Result<(), DriverError> {
        let before = self.capacity();
        let done = Balancer::act(&self.world, action).await;
        self.look_at_change(action, before);
        done
    }
}

/// Returns what is in the pool of these ids' kind, serving or not.
pub(super) fn endpoints(world: &World) -> Vec<(InstanceId, EndpointState)> {
    let pool = world.pool(&PoolId::from(POOL));
    let endpoints = pool.into_iter().flat_map(|pool| pool.endpoints);
    endpoints.map(|it| (it.instance, it.state)).collect()
}
