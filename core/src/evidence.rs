//! How long facts have held: the fold of every look since this process began.
//!
//! It is never stored. A crash, a look that failed, or a new incarnation voids it, which only makes teal wait again.

use crate::name::{InstanceId, Role};
use crate::observation::{
    Blindness, EndpointState, Health, Instance, InstanceSighting, Observation, Pending, Phase,
    PoolSighting, Revision, RevisionSighting, Sighting, Stray, System, Traffic,
};
use crate::plan::Plan;
use crate::time::Moment;
use std::collections::BTreeMap;

/// What earlier looks have shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    instances: BTreeMap<InstanceId, Held>,
    unsettled_since: BTreeMap<Role, Moment>,
    blind_since: Option<Moment>,
}

/// What has held for one incarnation, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Held {
    healthy_since: Option<Moment>,
    unhealthy_since: Option<Moment>,
    idle_samples: u32,
    sampled_at: Option<Moment>,
}

impl Evidence {
    /// Joins one look with what was known, and returns the facts to decide on.
    pub fn absorb(&mut self, plan: &Plan, sighting: Sighting) -> Observation {
        let at = sighting.at;
        let (revisions, pools) = match (sighting.revisions, sighting.pools) {
            (Ok(revisions), Ok(pools)) => (revisions, pools),
            (Err(reason), _) => return self.go_blind(at, System::Orchestrator, reason),
            (_, Err(reason)) => return self.go_blind(at, System::Balancer, reason),
        };
        self.blind_since = None;
        let looked = Look {
            plan,
            at,
            endpoints: endpoints(&pools),
            pending: &sighting.pending,
        };
        let before = std::mem::take(&mut self.instances);
        let mut join = |role| {
            let revision: Option<&RevisionSighting> = revisions.get(&role);
            revision.map(|seen| self.join_revision(&looked, role, seen, &before))
        };
        let blue = join(Role::Blue);
        let green = join(Role::Green);
        let strays = strays(&pools, &self.instances);
        let pools = pools.into_iter().map(|pool| pool.id).collect();
        Observation {
            at,
            blind: None,
            blue,
            green,
            pools,
            strays,
        }
    }

    fn go_blind(&mut self, at: Moment, system: System, reason: String) -> Observation {
        let since = *self.blind_since.get_or_insert(at);
        self.instances.clear();
        let blind = Some(Blindness {
            system,
            reason,
            since,
        });
        Observation {
            at,
            blind,
            ..Observation::default()
        }
    }

    fn join_revision(
        &mut self,
        look: &Look<'_>,
        role: Role,
        seen: &RevisionSighting,
        before: &BTreeMap<InstanceId, Held>,
    ) -> Revision {
        let mut instances: Vec<Instance> = Vec::with_capacity(seen.instances.len());
        for one in &seen.instances {
            let held = before.get(&one.id).cloned().unwrap_or_default();
            let (instance, held) = look.join(role, seen.checked, one, held);
            self.instances.insert(one.id.clone(), held);
            instances.push(instance);
        }
        instances.sort_by(|a, b| a.id.cmp(&b.id));
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
        let RevisionSighting {
            id,
            wanted,
            locked,
            trouble,
            ..
        } = seen.clone();
        Revision {
            id,
            wanted,
            locked,
            trouble,
            unsettled_since,
            instances,
        }
    }
}

/// What all pools together say of one instance.
#[derive(Default)]
struct Endpoints {
    serving: usize,
    draining: usize,
    in_flight: Vec<Option<u64>>,
}

fn endpoints(pools: &[PoolSighting]) -> BTreeMap<&InstanceId, Endpoints> {
    let mut by_instance: BTreeMap<&InstanceId, Endpoints> = BTreeMap::new();
    for endpoint in pools.iter().flat_map(|pool| &pool.endpoints) {
        let entry = by_instance.entry(&endpoint.instance).or_default();
        match endpoint.state {
            EndpointState::Serving => entry.serving += 1,
            EndpointState::Draining => entry.draining += 1,
        }
        entry.in_flight.push(endpoint.in_flight);
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
        seen: &InstanceSighting,
        mut held: Held,
    ) -> (Instance, Held) {
        let health = self.health(role, checked, seen);
        let well = health == Health::Healthy && seen.phase == Phase::Running && seen.current;
        held.healthy_since = well.then(|| self.since(held.healthy_since, seen.healthy_since));
        held.unhealthy_since =
            (health == Health::Unhealthy).then(|| held.unhealthy_since.unwrap_or(self.at));
        let (traffic, in_flight) = self.traffic(&seen.id);
        let mut instance = Instance {
            id: seen.id.clone(),
            phase: seen.phase,
            current: seen.current,
            health,
            healthy_since: held.healthy_since,
            unhealthy_since: held.unhealthy_since,
            addresses: seen.addresses.clone(),
            traffic,
            in_flight,
            pending: self.reading(role, &seen.id),
            idle_samples: 0,
        };
        self.count_idle(&instance, &mut held);
        instance.idle_samples = held.idle_samples;
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

    /// The earlier of what we and what the orchestrator saw without a break, never after this look.
    fn since(&self, ours: Option<Moment>, theirs: Option<Moment>) -> Moment {
        let ours = ours.unwrap_or(self.at);
        theirs.map_or(ours, |theirs| theirs.min(ours)).min(self.at)
    }

    /// An instance that no pool lists has nothing in flight: balancers list what drains until it is done.
    fn traffic(&self, id: &InstanceId) -> (Traffic, Option<u64>) {
        let Some(endpoints) = self.endpoints.get(id) else {
            return (Traffic::Out, Some(0));
        };
        let traffic = match (endpoints.serving, endpoints.draining) {
            (0, _) => Traffic::Draining,
            (serving, 0) if serving >= self.plan.pools.len() => Traffic::Serving,
            (_, _) => Traffic::Partly,
        };
        (traffic, endpoints.in_flight.iter().copied().sum())
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

    /// A sample older than a few intervals says nothing about this moment.
    fn freshness(&self) -> crate::time::Span {
        crate::time::Span(self.plan.settings.drain_interval.0.max(100) * 5)
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

fn strays(pools: &[PoolSighting], known: &BTreeMap<InstanceId, Held>) -> Vec<Stray> {
    let mut strays = Vec::new();
    for pool in pools {
        for endpoint in pool
            .endpoints
            .iter()
            .filter(|e| !known.contains_key(&e.instance))
        {
            strays.push(Stray {
                pool: pool.id.clone(),
                instance: endpoint.instance.clone(),
                state: endpoint.state,
            });
        }
    }
    strays
}
