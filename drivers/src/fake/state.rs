//! What there is in the world, and what follows from it by itself.

use super::{Birth, Death, Locking};
use crate::{Capabilities, DriverError};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use teal_core::action::Action;
use teal_core::name::{Address, InstanceId, PoolId, RevisionId};
use teal_core::observation::{
    EndpointSighting, EndpointState, Health, InstanceSighting, Pending, Phase, PoolSighting,
    RevisionSighting, System,
};

/// The first port that an instance gets.
const FIRST_PORT: u64 = 31_000;

#[derive(Debug)]
pub(super) struct State {
    pub(super) birth: Birth,
    pub(super) births: BTreeMap<RevisionId, Birth>,
    pub(super) death: Death,
    pub(super) locking: Locking,
    pub(super) capabilities: Capabilities,
    pub(super) revisions: BTreeMap<RevisionId, Revision>,
    pub(super) pools: BTreeMap<PoolId, Pool>,
    pub(super) pending: BTreeMap<InstanceId, Pending>,
    pub(super) locks: BTreeMap<RevisionId, String>,
    pub(super) failures: Vec<(System, DriverError)>,
    pub(super) down: Vec<(System, DriverError)>,
    pub(super) actions: Vec<Action>,
    pub(super) harm: Vec<String>,
    pub(super) least_serving: BTreeMap<PoolId, usize>,
    born: u64,
}

#[derive(Debug)]
pub(super) struct Revision {
    pub(super) definition: Map<String, Value>,
    pub(super) wanted: u32,
    pub(super) instances: Vec<InstanceSighting>,
    /// Whether a change of scale is being carried out.
    pub(super) changing: bool,
}

#[derive(Debug)]
pub(super) struct Pool {
    pub(super) listen: Option<String>,
    pub(super) endpoints: Vec<Endpoint>,
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) seen: EndpointSighting,
    pub(super) in_flight: u64,
    pub(super) forgotten: bool,
}

impl State {
    pub(super) fn new(birth: Birth, death: Death) -> Self {
        Self {
            birth,
            births: BTreeMap::new(),
            death,
            locking: Locking::Off,
            capabilities: Capabilities::ALL,
            revisions: BTreeMap::new(),
            pools: BTreeMap::new(),
            pending: BTreeMap::new(),
            locks: BTreeMap::new(),
            failures: Vec::new(),
            down: Vec::new(),
            actions: Vec::new(),
            harm: Vec::new(),
            least_serving: BTreeMap::new(),
            born: 0,
        }
    }

    /// Fails a call that the test wants to fail.
    pub(super) fn answer(&mut self, system: System) -> Result<(), DriverError> {
        if let Some((_, error)) = self.down.iter().find(|(down, _)| *down == system) {
            return Err(error.clone());
        }
        match self
            .failures
            .iter()
            .position(|(failing, _)| *failing == system)
        {
            Some(index) => Err(self.failures.remove(index).1),
            None => Ok(()),
        }
    }

    /// Lets everything happen that happens by itself: births, ends of changes, endpoints that may leave their list.
    pub(super) fn settle(&mut self) {
        let ids: Vec<RevisionId> = self.revisions.keys().cloned().collect();
        for id in ids {
            self.give_birth(&id);
            if let Some(revision) = self.revisions.get_mut(&id) {
                revision.changing = revision.changing && !revision.is_settled();
            }
        }
        for pool in self.pools.values_mut() {
            pool.endpoints
                .retain(|endpoint| !endpoint.forgotten || endpoint.in_flight > 0);
        }
        self.mark_least_serving();
    }

    pub(super) fn grow(&mut self, id: &RevisionId, definition: &Value, count: u32) {
        let definition = definition.as_object().cloned().unwrap_or_default();
        let revision = Revision {
            definition,
            wanted: count,
            instances: Vec::new(),
            changing: false,
        };
        self.revisions.insert(id.clone(), revision);
        for _ in 0..count {
            self.bear(id, Phase::Running, Health::Healthy);
        }
    }

    pub(super) fn serve(&mut self, pool: &PoolId, instances: &[InstanceId]) {
        let addresses = instances
            .iter()
            .filter_map(|id| Some((id, self.address(id)?)));
        let endpoints = addresses
            .map(|(id, address)| Endpoint::serving(id, &address))
            .collect();
        let made = self.pools.entry(pool.clone()).or_insert_with(Pool::empty);
        made.endpoints = endpoints;
    }

    pub(super) fn set(&mut self, id: &InstanceId, phase: Phase, health: Health) {
        for instance in self
            .revisions
            .values_mut()
            .flat_map(|revision| &mut revision.instances)
        {
            if instance.id == *id {
                instance.phase = phase;
                instance.health = health;
            }
        }
    }

    pub(super) fn crash(&mut self, id: &InstanceId) {
        for revision in self.revisions.values_mut() {
            revision.instances.retain(|instance| instance.id != *id);
        }
        self.pending.remove(id);
        self.set_in_flight(id, 0);
    }

    pub(super) fn finish_stopping(&mut self) {
        for revision in self.revisions.values_mut() {
            revision
                .instances
                .retain(|instance| instance.phase != Phase::Stopping);
        }
    }

    pub(super) fn set_in_flight(&mut self, id: &InstanceId, count: u64) {
        for endpoint in self.endpoints_mut(id) {
            endpoint.in_flight = count;
        }
    }

    /// Tells an instance to stop, and keeps what that does harm to.
    pub(super) fn stop(&mut self, id: &InstanceId) {
        let serving =
            |e: &Endpoint| e.seen.state == EndpointState::Serving && e.seen.instance == *id;
        let endpoints = || self.pools.values().flat_map(|pool| &pool.endpoints);
        let in_flight: u64 = endpoints()
            .filter(|e| e.seen.instance == *id)
            .map(|e| e.in_flight)
            .sum();
        let mut harm = Vec::new();
        if endpoints().any(serving) {
            harm.push(format!("{id} was stopped while it got requests"));
        }
        if in_flight > 0 {
            harm.push(format!(
                "{id} was stopped with {in_flight} requests under way"
            ));
        }
        if let Some(Pending::Count(count @ 1..)) = self.pending.get(id) {
            harm.push(format!("{id} was stopped with {count} operations pending"));
        }
        self.harm.append(&mut harm);
        self.set(id, Phase::Stopping, Health::Unknown);
        if self.death == Death::AtOnce {
            self.finish_stopping();
        }
    }

    pub(super) fn sight(&self, id: &RevisionId) -> Option<RevisionSighting> {
        let revision = self.revisions.get(id)?;
        Some(RevisionSighting {
            id: id.clone(),
            wanted: revision.wanted,
            locked: self.is_locked(id),
            checked: revision.is_checked(),
            trouble: None,
            instances: revision.instances.clone(),
        })
    }

    pub(super) fn is_locked(&self, id: &RevisionId) -> bool {
        let changing = self
            .revisions
            .get(id)
            .is_some_and(|revision| revision.changing);
        self.locks.contains_key(id) || (changing && self.locking == Locking::UntilDone)
    }

    pub(super) fn sight_pool(&self, id: &PoolId) -> Option<PoolSighting> {
        let pool = self.pools.get(id)?;
        let tells = self.capabilities.in_flight;
        let sighting = |endpoint: &Endpoint| EndpointSighting {
            in_flight: tells.then_some(endpoint.in_flight),
            ..endpoint.seen.clone()
        };
        let endpoints = pool.endpoints.iter().map(sighting).collect();
        Some(PoolSighting {
            id: id.clone(),
            listen: pool.listen.clone(),
            endpoints,
            vacancies: None,
        })
    }

    pub(super) fn serving(&self, pool: &PoolId) -> Vec<InstanceId> {
        let endpoints = self
            .pools
            .get(pool)
            .into_iter()
            .flat_map(|pool| &pool.endpoints);
        let serving = endpoints.filter(|endpoint| endpoint.seen.state == EndpointState::Serving);
        serving
            .map(|endpoint| endpoint.seen.instance.clone())
            .collect()
    }

    pub(super) fn pending(&self, id: &InstanceId) -> Pending {
        match self.pending.get(id) {
            Some(pending) => pending.clone(),
            None if self.instance(id).is_some() => Pending::Count(0),
            None => Pending::Unknown("the instance does not exist".to_owned()),
        }
    }

    pub(super) fn reset_marks(&mut self) {
        self.actions.clear();
        self.harm.clear();
        self.least_serving.clear();
    }

    fn give_birth(&mut self, id: &RevisionId) {
        let birth = self.births.get(id).copied().unwrap_or(self.birth);
        let (phase, health) = match birth {
            Birth::Starting => (Phase::Starting, Health::Unknown),
            Birth::Running => (Phase::Running, Health::Unknown),
            Birth::Healthy => (Phase::Running, Health::Healthy),
            Birth::Unhealthy => (Phase::Running, Health::Unhealthy),
            Birth::Never => return,
        };
        let lacking = self.revisions.get(id).map_or(0, |revision| {
            (revision.wanted as usize).saturating_sub(revision.live())
        });
        for _ in 0..lacking {
            self.bear(id, phase, health);
        }
    }

    fn bear(&mut self, id: &RevisionId, phase: Phase, health: Health) {
        let Some(revision) = self.revisions.get_mut(id) else {
            return;
        };
        self.born += 1;
        let ports = revision.ports();
        let address = |index| Address(format!("127.0.0.1:{}", FIRST_PORT + self.born * 10 + index));
        let name = id.as_str().trim_start_matches('/').replace('/', "_");
        revision.instances.push(InstanceSighting {
            id: InstanceId(format!("{name}.{:06}", self.born)),
            phase,
            current: true,
            health: if revision.is_checked() {
                health
            } else {
                Health::Unknown
            },
            healthy_since: None,
            addresses: (0..ports).map(address).collect(),
        });
    }

    fn mark_least_serving(&mut self) {
        for id in self.pools.keys() {
            let well = |id: &InstanceId| {
                self.instance(id).is_some_and(|instance| {
                    instance.phase == Phase::Running && instance.health != Health::Unhealthy
                })
            };
            let count = self.serving(id).iter().filter(|id| well(id)).count();
            let least = self.least_serving.get(id).copied().unwrap_or(count);
            self.least_serving.insert(id.clone(), least.min(count));
        }
    }

    fn instance(&self, id: &InstanceId) -> Option<&InstanceSighting> {
        self.revisions
            .values()
            .flat_map(|revision| &revision.instances)
            .find(|one| one.id == *id)
    }

    fn address(&self, id: &InstanceId) -> Option<Address> {
        self.instance(id)?.addresses.at(0).cloned()
    }

    fn endpoints_mut(&mut self, id: &InstanceId) -> impl Iterator<Item = &mut Endpoint> {
        let endpoints = self.pools.values_mut().flat_map(|pool| &mut pool.endpoints);
        endpoints.filter(move |endpoint| endpoint.seen.instance == *id)
    }
}

impl Revision {
    pub(super) fn live(&self) -> usize {
        self.instances
            .iter()
            .filter(|instance| instance.phase != Phase::Stopping)
            .count()
    }

    fn is_settled(&self) -> bool {
        let done = |instance: &InstanceSighting| {
            instance.phase == Phase::Running
                && (instance.health == Health::Healthy || !self.is_checked())
        };
        self.instances.len() == self.wanted as usize && self.instances.iter().all(done)
    }

    fn is_checked(&self) -> bool {
        self.list("/healthChecks") > 0
    }

    fn ports(&self) -> u64 {
        let mappings = self.list("/container/portMappings");
        let older = self.list("/container/docker/portMappings");
        let ports = self.list("/portDefinitions").max(self.list("/ports"));
        mappings.max(older).max(ports).max(1) as u64
    }

    fn list(&self, pointer: &str) -> usize {
        let mut path = pointer.split('/').skip(1);
        let first = path.next().and_then(|key| self.definition.get(key));
        let value = path.fold(first, |value, key| value.and_then(|value| value.get(key)));
        value.and_then(Value::as_array).map_or(0, Vec::len)
    }
}

impl Pool {
    pub(super) const fn empty() -> Self {
        Self {
            listen: None,
            endpoints: Vec::new(),
        }
    }
}

impl Endpoint {
    pub(super) fn serving(instance: &InstanceId, address: &Address) -> Self {
        let seen = EndpointSighting {
            instance: instance.clone(),
            address: address.clone(),
            state: EndpointState::Serving,
            in_flight: None,
        };
        Self {
            seen,
            in_flight: 0,
            forgotten: false,
        }
    }
}
