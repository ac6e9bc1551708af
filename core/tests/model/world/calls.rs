//! What teal tells orchestrator and balancer to do, and the harm that it does in truth.

use super::{By, Checked, Copy, Life, Work, World, broken};
use teal_core::action::{Action, InstanceAction, KillReason, Lock, PoolAction, Victim};
use teal_core::name::Role;
use teal_core::observation::EndpointState;

/// Why an action had no effect.
pub(crate) struct Locked;

impl World {
    /// Tells whether a lock keeps an action out.
    pub(crate) fn refuses(&self, action: &Action) -> Result<(), Locked> {
        let Action::Instance(
            InstanceAction::Scale { role, lock, .. } | InstanceAction::Kill { role, lock, .. },
        ) = action
        else {
            return Ok(());
        };
        match self.fleets.get(role) {
            Some(fleet) if fleet.is_locked() && *lock == Lock::Respect => Err(Locked),
            Some(_) | None => Ok(()),
        }
    }

    /// Carries an action out. An error is a promise that it breaks in truth.
    pub(crate) fn perform(&mut self, action: &Action) -> Checked {
        match action {
            Action::Instance(action) => self.instance(action)?,
            Action::Pool(action) if self.lagging.is_empty() => self.change_pool(action),
            Action::Pool(action) => self.lagging.push(action.clone()),
            Action::Mark(_) => {}
        }
        self.reconcile(By::Teal)
    }

    fn instance(&mut self, action: &InstanceAction) -> Checked {
        match action {
            InstanceAction::Create { role, .. } => {
                self.fleets.entry(*role).or_default();
            }
            InstanceAction::Scale {
                role, instances, ..
            } => self.change_fleet(*role, |fleet| {
                (fleet.wanted, fleet.changing) = (*instances, true);
            }),
            InstanceAction::Kill { role, victims, .. } => {
                self.change_fleet(*role, |fleet| fleet.changing = true);
                for victim in victims {
                    self.kill(*role, victim)?;
                }
            }
            InstanceAction::Remove { role, .. } => {
                let fleet = self.fleets.remove(role);
                let copies = fleet.into_iter().flat_map(|fleet| fleet.copies);
                for copy in copies.filter(Copy::is_alive) {
                    if copy.work != Work::Idle {
                        let what = format!("{copy:?} is removed with its revision");
                        return Err(broken("P2 no blind kill", what));
                    }
                }
            }
        }
        Ok(())
    }

    /// P2 in truth: what is stopped gets no requests and has no work, whatever anybody's gauge said.
    fn kill(&mut self, role: Role, victim: &Victim) -> Checked {
        let Some(copy) = self.copy(&victim.instance).cloned() else {
            return Ok(());
        };
        self.change_fleet(role, |fleet| fleet.wanted = fleet.wanted.saturating_sub(1));
        self.change_copy(&copy.id, |copy| copy.life = Life::Stopping);
        let serves = self.serves(&copy.id);
        let forced = matches!(victim.why, KillReason::Forced(_));
        if copy.is_alive() && (serves || (copy.work != Work::Idle && !forced)) {
            let what = format!(
                "{role} {copy:?} is stopped, serving: {serves}, {:?}",
                victim.why
            );
            return Err(broken("P2 no blind kill", what));
        }
        Ok(())
    }

    pub(crate) fn change_pool(&mut self, action: &PoolAction) {
        match action {
            PoolAction::Open { .. } => drop(self.pool.get_or_insert_default()),
            PoolAction::Change {
                admit,
                withdraw,
                forget,
                ..
            } => {
                let pool = self.pool.get_or_insert_default();
                for member in admit {
                    pool.insert(member.instance.clone(), EndpointState::Serving);
                }
                for id in withdraw {
                    pool.entry(id.clone())
                        .and_modify(|state| *state = EndpointState::Draining);
                }
                pool.retain(|id, _| !forget.contains(id));
            }
            PoolAction::Close { .. } => self.pool = None,
        }
        self.leave_pool();
    }
}
