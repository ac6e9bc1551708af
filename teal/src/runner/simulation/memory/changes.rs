//! What changes do to the world. Every one may come twice and then does no harm.

use super::POOL;
use super::systems::refused;
use super::world::{By, Endpoint, Pool, State};
use serde_json::{Map, Value};
use teal_core::action::{Action, InstanceAction, KillReason, Lock, PoolAction, Victim};
use teal_core::name::RevisionId;
use teal_core::observation::EndpointState;
use teal_drivers::DriverError;
use teal_drivers::orchestrators::marathon::DEPLOYMENT_LABEL;

impl State {
    /// Carries a change out.
    pub(super) fn apply(&mut self, action: &Action) -> Result<(), DriverError> {
        match action {
            Action::Instance(InstanceAction::Create {
                revision,
                definition,
                ..
            }) => self.create(revision, definition),
            Action::Instance(InstanceAction::Scale {
                revision,
                instances,
                lock,
                ..
            }) => self.scale(revision, *instances, *lock),
            Action::Instance(InstanceAction::Kill {
                revision,
                victims,
                lock,
                ..
            }) => self.kill(revision, victims, *lock),
            Action::Instance(InstanceAction::Remove { revision, .. }) => self.remove(revision),
            Action::Pool(action) => self.change_pool(action),
            Action::Mark(_) => Ok(()),
        }
    }

    fn create(&mut self, id: &RevisionId, definition: &Value) -> Result<(), DriverError> {
        let definition = definition.as_object().cloned().unwrap_or_default();
        let whose = |body: &Map<String, Value>| body.get("labels")?.get(DEPLOYMENT_LABEL).cloned();
        if let Some(app) = self.apps.get(id) {
            return if whose(&app.definition) == whose(&definition) {
                Ok(())
            } else {
                Err(refused("it exists already and is somebody else's"))
            };
        }
        self.grow(id, definition, 0);
        Ok(())
    }

    fn scale(&mut self, id: &RevisionId, to: u32, lock: Lock) -> Result<(), DriverError> {
        let Some(app) = self.apps.get(id) else {
            return Err(DriverError::NotFound {
                what: id.to_string(),
            });
        };
        if app.wanted == to {
            return Ok(());
        }
        self.pass(id, lock)?;
        let by = self.blame(id, to);
        self.resize(id, to, by);
        Ok(())
    }

    /// Whose fault it is when instances are stopped because teal wants so many.
    fn blame(&self, id: &RevisionId, wanted: u32) -> By {
        if self.active(id).len() > wanted as usize {
            By::Teal
        } else {
            By::Others
        }
    }

    fn kill(&mut self, id: &RevisionId, victims: &[Victim], lock: Lock) -> Result<(), DriverError> {
        let alive = |victim: &&Victim| {
            let one = self.instances.get(&victim.instance);
            one.is_some_and(|one| one.dying.is_none())
        };
        let victims: Vec<&Victim> = victims.iter().filter(alive).collect();
        if victims.is_empty() {
            return Ok(());
        }
        self.pass(id, lock)?;
        let lost = self.temper.lost_kills;
        if self.chance.happens(lost) {
            self.tell(|| "world: the word to stop gets lost".to_owned());
            return Ok(());
        }
        let count = u32::try_from(victims.len()).unwrap_or(u32::MAX);
        let wanted = self.apps.get(id).map_or(0, |app| app.wanted);
        let had_too_many = self.active(id).len() > wanted as usize;
        let wanted = wanted.saturating_sub(count);
        for victim in victims {
            let by = match victim.why {
                KillReason::Forced(_) => By::Force,
                KillReason::Drained | KillReason::NeverServed => By::Teal,
            };
            self.stop(&victim.instance, by);
        }
        // What is too much only since teal looked, or comes back later, is not its fault.
        let by = if had_too_many {
            By::Others
        } else {
            self.blame(id, wanted)
        };
        self.resize(id, wanted, by);
        Ok(())
    }

    fn remove(&mut self, id: &RevisionId) -> Result<(), DriverError> {
        if self.of(id).next().is_some() {
            return Err(busy("it still has instances"));
        }
        self.pass(id, Lock::Respect)?;
        self.apps.remove(id);
        Ok(())
    }

    fn pass(&self, id: &RevisionId, lock: Lock) -> Result<(), DriverError> {
        if lock == Lock::Override || !self.is_locked(id) {
            return Ok(());
        }
        Err(DriverError::Locked {
            what: id.to_string(),
            by: vec!["a change under way".to_owned()],
        })
    }

    fn change_pool(&mut self, action: &PoolAction) -> Result<(), DriverError> {
        match (action, &mut self.pool) {
            (PoolAction::Open { .. }, pool) => {
                pool.get_or_insert_default();
            }
            (PoolAction::Change { .. }, Some(pool)) => {
                change(pool, action);
                self.leave_forgotten();
            }
            (PoolAction::Change { .. }, None) => {
                let what = format!("pool {POOL}");
                return Err(DriverError::NotFound { what });
            }
            (PoolAction::Close { .. }, Some(pool)) if !pool.is_empty() => {
                return Err(busy("it still has endpoints"));
            }
            (PoolAction::Close { .. }, pool) => *pool = None,
        }
        Ok(())
    }
}

/// Changes who gets traffic.
pub(super) fn change(pool: &mut Pool, action: &PoolAction) {
    let PoolAction::Change {
        admit,
        withdraw,
        forget,
        ..
    } = action
    else {
        return;
    };
    for id in withdraw.iter().chain(forget) {
        if let Some(endpoint) = pool.get_mut(id) {
            endpoint.state = EndpointState::Draining;
            endpoint.forgotten |= forget.contains(id);
        }
    }
    for member in admit {
        let endpoint = Endpoint {
            state: EndpointState::Serving,
            address: member.address.clone(),
            forgotten: false,
        };
        pool.insert(member.instance.clone(), endpoint);
    }
}

fn busy(message: &str) -> DriverError {
    DriverError::Busy {
        url: "the world".to_owned(),
        message: message.to_owned(),
    }
}
