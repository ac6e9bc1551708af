//! The orchestrator of the world in memory.

use super::World;
use super::state::{Revision, State};
use crate::orchestrators::marathon::DEPLOYMENT_LABEL;
use crate::{DriverError, Orchestrator};
use async_trait::async_trait;
use serde_json::{Value, json};
use teal_core::action::{Action, InstanceAction, Lock, Victim};
use teal_core::name::RevisionId;
use teal_core::observation::{Phase, RevisionSighting, System};
use teal_core::plan::Found;

#[async_trait]
impl Orchestrator for World {
    async fn find(&self) -> Result<Vec<Found>, DriverError> {
        let mut state = self.state();
        state.answer(System::Orchestrator)?;
        let found = |(id, revision): (&RevisionId, &Revision)| {
            let mut definition = revision.definition.clone();
            definition.insert("id".to_owned(), json!(id));
            definition.insert("instances".to_owned(), json!(revision.wanted));
            Some(Found {
                definition,
                sighting: state.sight(id)?,
            })
        };
        Ok(state.revisions.iter().filter_map(found).collect())
    }

    async fn observe(
        &self,
        revisions: &[RevisionId],
    ) -> Result<Vec<RevisionSighting>, DriverError> {
        let mut state = self.state();
        state.answer(System::Orchestrator)?;
        Ok(revisions.iter().filter_map(|id| state.sight(id)).collect())
    }

    async fn act(&self, action: &InstanceAction) -> Result<(), DriverError> {
        self.change(|state| {
            state.answer(System::Orchestrator)?;
            state.act(action)?;
            state.actions.push(Action::Instance(action.clone()));
            Ok(())
        })
    }

    async fn changed(&self) {
        self.shared.notify.notified().await;
    }
}

impl State {
    fn act(&mut self, action: &InstanceAction) -> Result<(), DriverError> {
        match action {
            InstanceAction::Create {
                revision,
                definition,
                ..
            } => self.create(revision, definition),
            InstanceAction::Scale {
                revision,
                instances,
                lock,
                ..
            } => self.scale(revision, *instances, *lock),
            InstanceAction::Kill {
                revision,
                victims,
                lock,
                ..
            } => self.kill(revision, victims, *lock),
            InstanceAction::Remove { revision, .. } => self.remove(revision),
        }
    }

    fn create(&mut self, id: &RevisionId, definition: &Value) -> Result<(), DriverError> {
        let definition = definition.as_object().cloned().unwrap_or_default();
        let Some(existing) = self.revisions.get(id) else {
            let revision = Revision {
                definition,
                wanted: 0,
                instances: Vec::new(),
                changing: false,
            };
            self.revisions.insert(id.clone(), revision);
            return Ok(());
        };
        let whose = |body: &serde_json::Map<String, Value>| {
            body.get("labels")
                .and_then(|labels| labels.get(DEPLOYMENT_LABEL))
                .cloned()
        };
        if whose(&existing.definition) == whose(&definition) {
            return Ok(());
        }
        Err(refused(
            &format!("the creation of {id}"),
            "it exists already and is somebody else's",
        ))
    }

    fn scale(&mut self, id: &RevisionId, to: u32, lock: Lock) -> Result<(), DriverError> {
        let Some(revision) = self.revisions.get(id) else {
            return Err(DriverError::NotFound {
                what: id.to_string(),
            });
        };
        if revision.wanted == to {
            return Ok(());
        }
        self.pass(id, lock)?;
        let Some(revision) = self.revisions.get_mut(id) else {
            return Ok(());
        };
        revision.wanted = to;
        revision.changing = true;
        let live = revision
            .instances
            .iter()
            .filter(|one| one.phase != Phase::Stopping);
        // As Marathon does: the youngest go first, whatever they are at.
        let surplus: Vec<_> = live
            .skip(to as usize)
            .map(|instance| instance.id.clone())
            .collect();
        surplus.iter().for_each(|instance| self.stop(instance));
        Ok(())
    }

    fn kill(&mut self, id: &RevisionId, victims: &[Victim], lock: Lock) -> Result<(), DriverError> {
        let Some(revision) = self.revisions.get(id) else {
            return Ok(());
        };
        let named = |instance: &&teal_core::observation::InstanceSighting| {
            victims.iter().any(|victim| victim.instance == instance.id)
                && instance.phase != Phase::Stopping
        };
        let ids: Vec<_> = revision
            .instances
            .iter()
            .filter(named)
            .map(|instance| instance.id.clone())
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.pass(id, lock)?;
        if let Some(revision) = self.revisions.get_mut(id) {
            let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
            revision.wanted = revision.wanted.saturating_sub(count);
            revision.changing = true;
        }
        ids.iter().for_each(|instance| self.stop(instance));
        Ok(())
    }

    fn remove(&mut self, id: &RevisionId) -> Result<(), DriverError> {
        let Some(revision) = self.revisions.get(id) else {
            return Ok(());
        };
        if !revision.instances.is_empty() {
            let message = format!("it still has {} instances", revision.instances.len());
            return Err(not_yet(&format!("the removal of {id}"), &message));
        }
        self.pass(id, Lock::Respect)?;
        self.revisions.remove(id);
        Ok(())
    }

    fn pass(&self, id: &RevisionId, lock: Lock) -> Result<(), DriverError> {
        if lock == Lock::Override || !self.is_locked(id) {
            return Ok(());
        }
        let by = self
            .locks
            .get(id)
            .cloned()
            .unwrap_or_else(|| "its own change".to_owned());
        Err(DriverError::Locked {
            what: id.to_string(),
            by: vec![by],
        })
    }
}

fn refused(what: &str, message: &str) -> DriverError {
    DriverError::Refused {
        what: what.to_owned(),
        message: message.to_owned(),
        details: vec![],
    }
}

/// What is in the way may be gone at the next look.
pub(super) fn not_yet(what: &str, message: &str) -> DriverError {
    DriverError::Busy {
        url: "fake".to_owned(),
        message: format!("{what}: {message}"),
    }
}
