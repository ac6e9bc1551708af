//! How long facts have held: the fold of every look since this process began.
//!
//! It is never stored. A crash, a look that failed, or a new incarnation voids what speaks for an instance, which only
//! makes teal wait again. What deadlines count from outlives a look that failed: a system that answers now and then no
//! more must not begin every deadline anew.

use crate::name::{InstanceId, Role};
use crate::observation::{
    Blindness, EndpointState, Gap, Health, Instance, InstanceSighting, Observation, Pending, Phase,
    PoolSighting, Revision, RevisionSighting, Sighting, Stray, System, Traffic,
};
use crate::plan::Plan;
use crate::time::{Moment, Span};
use std::collections::{BTreeMap, BTreeSet};

/// What earlier looks have shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    /// By id, sorted.
    instances: BTreeMap<Role, Vec<(InstanceId, Held)>>,
    unsettled_since: BTreeMap<Role, Moment>,
    locked_since: BTreeMap<Role, Moment>,
    /// Instances that are not seen any more and that a pool may list: all of the last look that saw everything, after one
    /// that did not.
    known: BTreeSet<InstanceId>,
    sighted_since: Option<Moment>,
    blind_since: Option<Moment>,
    gaps: Vec<Gap>,
}

/// How many times without sight are remembered; the oldest are forgotten first.
const GAPS_MAX: usize = 64;

/// What has held for one incarnation, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Held {
    healthy_since: Option<Moment>,
    /// Since when the orchestrator itself told, at the last look.
    told: Option<Moment>,
    looked_at: Moment,
    unhealthy_since: Option<Moment>,
    stopping_since: Option<Moment>,
    out_since: Option<Moment>,
    idle_samples: u32,
    sampled_at: Option<Moment>,
}

impl Evidence {
    /// Returns what an onlooker begins with: the deployer has been looking all the time, so deadlines go by its journal.
    #[must_use]
    pub fn of_onlooker() -> Self {
        Self {
            sighted_since: Some(Moment(0)),
            ..Self::default()
        }
    }

    /// Joins one look with what was known, and returns the facts to decide on.
    pub fn absorb(&mut self, plan: &Plan, sighting: Sighting) -> Observation {
        let (began, at) = (sighting.began, sighting.at);
        let (mut revisions, pools) = match (sighting.revisions, sighting.pools) {
            (Ok(revisions), Ok(pools)) => (revisions, pools),
            (Err(reason), _) => return self.go_blind((began, at), System::Orchestrator, reason),
            (_, Err(reason)) => return self.go_blind((began, at), System::Balancer, reason),
        };
        if let Some(from) = self.blind_since.take() {
            self.gaps.push(Gap { from, to: at });
            let excess = self.gaps.len().saturating_sub(GAPS_MAX);
            self.gaps.drain(..excess);
        }
        let sighted_since = *self.sighted_since.get_or_insert(at);
        let looked = Look {
            plan,
            at,
            endpoints: endpoints(&pools),
            pending: &sighting.pending,
        };
        let mut join = |role| {
            let before = self.instances.remove(&role).unwrap_or_default();
            match revisions.remove(&role) {
                Some(seen) => Some(self.join_revision(&looked, role, seen, before)),
                None => {
                    self.known.extend(before.into_iter().map(|(id, _)| id));
                    None
                }
            }
        };
        let blue = join(Role::Blue);
        let green = join(Role::Green);
        let strays = self.strays(&pools);
        // What is gone and listed in no pool never comes back: ids belong to incarnations.
        let listed = strays.iter().filter(|stray| stray.known);
        self.known = listed.map(|stray| stray.instance.clone()).collect();
        let pools = pools.into_iter().map(|pool| pool.id).collect();
        Observation {
            began,
            at,
            blind: None,
            sighted_since,
            gaps: self.gaps.clone(),
            blue,
            green,
            pools,
            strays,
        }
    }

    fn go_blind(
        &mut self,
        (began, at): (Moment, Moment),
        system: System,
        reason: String,
    ) -> Observation {
        let since = *self.blind_since.get_or_insert(at);
        let unseen = self.instances.values().flatten().map(|(id, _)| id.clone());
        self.known.extend(unseen);
        self.instances.clear();
        let blind = Some(Blindness {
            system,
            reason,
            since,
        });
        Observation {
            began,
            at,
            blind,
            ..Observation::default()
        }
    }

    fn join_revision(
        &mut self,
        look: &Look<'_>,
        role: Role,
        mut seen: RevisionSighting,
        before: Vec<(InstanceId, Held)>,
    ) -> Revision {
        let mut sighted = std::mem::take(&mut seen.instances);
        sighted.sort_by(|a, b| a.id.cmp(&b.id));
        let mut instances: Vec<Instance> = Vec::with_capacity(sighted.len());
        let mut all_held = Vec::with_capacity(sighted.len());
        // Both are sorted, and walked through side by side.
        let mut before = before.into_iter().peekable();
        for one in sighted {
            while let Some((gone, _)) = before.next_if(|(id, _)| *id < one.id) {
                self.known.insert(gone);
            }
            let known = before.next_if(|(id, _)| *id == one.id);
            let (id, held) = known.unwrap_or_else(|| (one.id.clone(), Held::default()));
            let (instance, held) = look.join(role, seen.checked, one, held);
            all_held.push((id, held));
            instances.push(instance);
        }
        self.known.extend(before.map(|(gone, _)| gone));
        self.instances.insert(role, all_held);
        let settle = look.plan.settings.min_healthy_time;
        let settled = instances
            .iter()
            .filter(|one| one.is_settled(settle, look.at))
            .count();
        let unsettled_since = if settled < seen.wanted as usize {
            Some(*self.unsettled_since.entry(role).or_insert(look.at))
        } else {
            self.unsettled_since.remove(&role);
            None
        };
        let locked_since = if seen.locked {
            Some(*self.locked_since.entry(role).or_insert(look.at))
        } else {
            self.locked_since.remove(&role);
            None
        };
        let RevisionSighting {
            id,
            wanted,
            locked,
            trouble,
            ..
        } = seen;
        Revision {
            id,
            wanted,
            locked,
            locked_since,
            trouble,
            unsettled_since,
            instances,
        }
    }
}

impl Evidence {
    /// Pool entries that belong to no instance of BLUE or GREEN.
    fn strays(&self, pools: &[PoolSighting]) -> Vec<Stray> {
        let is_among = |id: &InstanceId, all: &Vec<(InstanceId, Held)>| {
            all.binary_search_by(|(other, _)| other.cmp(id)).is_ok()
        };
        let is_there = |id| self.instances.values().any(|all| is_among(id, all));
        let mut strays = Vec::new();
        for pool in pools {
            for endpoint in &pool.endpoints {
                if !is_there(&endpoint.instance) {
                    strays.push(Stray {
                        pool: pool.id.clone(),
                        instance: endpoint.instance.clone(),
                        state: endpoint.state,
                        known: self.known.contains(&endpoint.instance),
                    });
                }
            }
        }
        strays
    }
}

/// What all pools together say of one instance.
struct Endpoints {
    serving: usize,
    partly: usize,
    draining: usize,
    in_flight: Option<u64>,
}

fn endpoints(pools: &[PoolSighting]) -> BTreeMap<&InstanceId, Endpoints> {
    let mut by_instance: BTreeMap<&InstanceId, Endpoints> = BTreeMap::new();
    for endpoint in pools.iter().flat_map(|pool| &pool.endpoints) {
        let nothing = Endpoints {
            serving: 0,
            partly: 0,
            draining: 0,
            in_flight: Some(0),
        };
        let entry = by_instance.entry(&endpoint.instance).or_insert(nothing);
        match endpoint.state {
            EndpointState::Serving => entry.serving += 1,
            EndpointState::Partly => entry.partly += 1,
            EndpointState::Draining => entry.draining += 1,
        }
        let both = entry.in_flight.zip(endpoint.in_flight);
        entry.in_flight = both.map(|(sum, one)| sum.saturating_add(one));
    }
    by_instance
}

struct Look<'a> {
    plan: &'a Plan,
    at: Moment,
    endpoints: BTreeMap<&'a InstanceId, Endpoints>,
    pending: &'a BTreeMap<InstanceId, crate::observation::PendingSighting>,
}

impl Look<'_> {
    fn join(
        &self,
        role: Role,
        checked: bool,
        seen: InstanceSighting,
        mut held: Held,
    ) -> (Instance, Held) {
        let health = self.health(role, checked, &seen);
        let well = health == Health::Healthy && seen.phase == Phase::Running && seen.current;
        held.healthy_since = well.then(|| self.since(&held, seen.healthy_since));
        held.told = seen.healthy_since.filter(|_| well);
        held.looked_at = self.at;
        held.unhealthy_since =
            (health == Health::Unhealthy).then(|| held.unhealthy_since.unwrap_or(self.at));
        held.stopping_since =
            (seen.phase == Phase::Stopping).then(|| held.stopping_since.unwrap_or(self.at));
        let (traffic, in_flight) = self.traffic(role, &seen);
        let pending = self.reading(role, &seen.id);
        let out = matches!(traffic, Traffic::Out | Traffic::Draining);
        held.out_since = out.then(|| held.out_since.unwrap_or(self.at));
        let mut instance = Instance {
            id: seen.id,
            phase: seen.phase,
            current: seen.current,
            health,
            healthy_since: held.healthy_since,
            unhealthy_since: held.unhealthy_since,
            stopping_since: held.stopping_since,
            out_since: held.out_since,
            addresses: seen.addresses,
            traffic,
            in_flight,
            pending,
            idle_samples: 0,
            sampled_at: None,
        };
        self.count_idle(&instance, &mut held);
        instance.idle_samples = held.idle_samples;
        instance.sampled_at = held.sampled_at;
        (instance, held)
    }

    /// No check declared: running is all that can be known. For BLUE that is what it has been serving on; for GREEN
    /// the operator must have accepted it.
    fn health(&self, role: Role, checked: bool, seen: &InstanceSighting) -> Health {
        let accepted = role == Role::Blue || self.plan.settings.without_health_checks;
        if !checked && accepted && seen.phase == Phase::Running {
            return Health::Healthy;
        }
        seen.health
    }

    /// The earlier of what we and what the orchestrator saw without a break, never after this look. An orchestrator that
    /// told and tells no more, or tells of a moment after our last look, has seen a failure between two of our looks.
    fn since(&self, held: &Held, theirs: Option<Moment>) -> Moment {
        let is_new = |told| theirs.is_none_or(|theirs| theirs > held.looked_at.max(told));
        let broke = held.told.is_some_and(is_new);
        let ours = held.healthy_since.filter(|_| !broke).unwrap_or(self.at);
        theirs.map_or(ours, |theirs| theirs.min(ours)).min(self.at)
    }

    /// An instance that no pool lists has nothing in flight: balancers list what drains until it is done.
    fn traffic(&self, role: Role, seen: &InstanceSighting) -> (Traffic, Option<u64>) {
        let Some(endpoints) = self.endpoints.get(&seen.id) else {
            return (Traffic::Out, Some(0));
        };
        let required = self.plan.pools_of(role, &seen.addresses).count();
        let traffic = match (endpoints.serving, endpoints.partly, endpoints.draining) {
            (0, 0, _) => Traffic::Draining,
            (serving, 0, 0) if serving >= required => Traffic::Serving,
            (_, _, _) => Traffic::Partly,
        };
        (traffic, endpoints.in_flight)
    }

    fn reading(&self, role: Role, id: &InstanceId) -> Pending {
        if *self.plan.pending(role) == crate::definition::PendingSource::None {
            return Pending::NotWatched;
        }
        match self.pending.get(id) {
            None => Pending::Unknown("not asked yet".to_owned()),
            Some(sample) if self.at.since(sample.at) > self.freshness() => {
                Pending::Unknown("the last answer is too old".to_owned())
            }
            Some(sample) => sample.reading.clone(),
        }
    }

    /// A sample older than a few intervals says nothing about this moment. One that waited for a slower gauge beside
    /// it (a reading may take a second) still does.
    fn freshness(&self) -> Span {
        (self.plan.settings.drain_interval * 5).max(Span::seconds(2))
    }

    /// Zero reads count once per interval, so that quick looks do not make evidence out of one instant; anything else
    /// voids the count at once.
    fn count_idle(&self, instance: &Instance, held: &mut Held) {
        if !instance.looks_idle() {
            held.idle_samples = 0;
            held.sampled_at = None;
            return;
        }
        let sampled = match self.pending.get(&instance.id) {
            Some(sample) if instance.pending != Pending::NotWatched => sample.at,
            Some(_) | None => self.at,
        };
        let interval = self.plan.settings.drain_interval;
        let counts = held
            .sampled_at
            .is_none_or(|before| sampled >= before + interval);
        if counts {
            held.idle_samples = held.idle_samples.saturating_add(1);
            held.sampled_at = Some(sampled);
        }
    }
}
