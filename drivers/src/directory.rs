//! Who lives where: for balancers that know their endpoints by address alone.
//!
//! A slot of HAProxy has an address and a name of its own, and nowhere to write down which instance it was given. So
//! what the orchestrator says of its instances is kept here, and the driver of such a balancer asks. An address stays
//! with its last instance until another one has it: an endpoint outlives the instance it was admitted for.

use crate::{DriverError, Orchestrator};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use teal_core::action::{InstanceAction, Member};
use teal_core::name::{Address, InstanceId, RevisionId};
use teal_core::observation::{InstanceSighting, Phase, RevisionSighting};
use teal_core::plan::Found;

/// Instances by address. Clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    by_address: Arc<Mutex<BTreeMap<Address, InstanceId>>>,
}

impl Directory {
    /// Returns one that knows nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes down who lives at an address now.
    pub fn note(&self, member: &Member) {
        self.addresses()
            .insert(member.address.clone(), member.instance.clone());
    }

    /// Returns everybody, by address as it was told: `host:port`, where the host may be a name.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let member = |(address, instance): (&Address, &InstanceId)| Member {
            instance: instance.clone(),
            address: address.clone(),
        };
        self.addresses().iter().map(member).collect()
    }

    fn note_all(&self, instances: &[InstanceSighting]) {
        let mut addresses = self.addresses();
        // One that runs has the address from one that has not gone yet.
        let runs = |one: &&InstanceSighting| one.phase == Phase::Running;
        let (running, others): (Vec<_>, Vec<_>) = instances.iter().partition(runs);
        for one in others.into_iter().chain(running) {
            for address in one.addresses.iter().flatten() {
                if addresses.get(address) != Some(&one.id) {
                    addresses.insert(address.clone(), one.id.clone());
                }
            }
        }
    }

    fn addresses(&self) -> MutexGuard<'_, BTreeMap<Address, InstanceId>> {
        self.by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// An orchestrator whose instances are taken down in a directory whenever it is asked for them.
#[derive(Debug)]
pub struct Listed<O> {
    orchestrator: O,
    directory: Directory,
}

impl<O> Listed<O> {
    /// Returns the same orchestrator with its instances taken down.
    #[must_use]
    pub const fn new(orchestrator: O, directory: Directory) -> Self {
        Self {
            orchestrator,
            directory,
        }
    }
}

#[async_trait]
impl<O: Orchestrator> Orchestrator for Listed<O> {
    async fn find(&self) -> Result<Vec<Found>, DriverError> {
        let found = self.orchestrator.find().await?;
        for one in &found {
            self.directory.note_all(&one.sighting.instances);
        }
        Ok(found)
    }

    async fn observe(
        &self,
        revisions: &[RevisionId],
    ) -> Result<Vec<RevisionSighting>, DriverError> {
        let seen = self.orchestrator.observe(revisions).await?;
        for one in &seen {
            self.directory.note_all(&one.instances);
        }
        Ok(seen)
    }

    async fn act(&self, action: &InstanceAction) -> Result<(), DriverError> {
        self.orchestrator.act(action).await
    }

    async fn changed(&self) {
        self.orchestrator.changed().await;
    }
}
