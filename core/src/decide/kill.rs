//! Which outgoing instances are stopped, when, and whether a lock is in the way.

use super::sides::Sides;
use crate::action::{Action, InstanceAction, KillReason, Lock, Victim};
use crate::name::InstanceId;
use crate::observation::{Instance, Phase};
use crate::plan::ON_ITS_WAY;
use crate::settings::OnDrainDeadline;
use crate::time::Span;
use std::collections::BTreeSet;

/// An instance that was told to stop and is still there is told again after this long; until then a word that got lost
/// may still arrive. A call is given up after as long.
const KILL_AGAIN: Span = Span::seconds(30);

impl Sides<'_> {
    /// Going back, the lock that GREEN is seen under is this deployment's own launch, which a rollback cannot wait for.
    /// One that comes between look and act is somebody else's: overriding it would count his change and this one.
    pub(super) fn outgoing_lock(&self) -> Lock {
        let outgoing = self.seen.revision(self.outgoing_role());
        if self.state.is_back() && outgoing.is_some_and(|revision| revision.locked) {
            Lock::Override
        } else {
            Lock::Respect
        }
    }

    /// A kill that may have been heard is not forced when it is said again: the lock that the first one made keeps the
    /// second out. Forced, it would make the revision smaller once more, and its orchestrator would stop an instance of
    /// its own choice. After a while it is taken for one that never arrived.
    fn kill_lock(&self, victims: &[Victim]) -> Lock {
        let perhaps_heard = victims.iter().any(|victim| {
            let kill = self.state.killed.get(&victim.instance);
            kill.is_some_and(|kill| self.seen.began.since(kill.first) < KILL_AGAIN)
        });
        if perhaps_heard {
            Lock::Respect
        } else {
            self.outgoing_lock()
        }
    }

    pub(super) fn kill(&self) -> Option<Action> {
        let victims = self.victims_that_leave_enough();
        let role = self.outgoing_role();
        let revision = self.seen.revision(role)?;
        let lock = self.kill_lock(&victims);
        let is_locked = revision.locked && lock == Lock::Respect;
        if victims.is_empty() || is_locked {
            return None;
        }
        Some(Action::Instance(InstanceAction::Kill {
            role,
            revision: revision.id.clone(),
            victims,
            lock,
        }))
    }

    /// All that may be stopped; or only those of them that are seen to run, if all would leave too many: one that is out
    /// of reach has been replaced, as may be, and does not keep the others from being stopped. None if these do, too.
    pub(super) fn victims_that_leave_enough(&self) -> Vec<Victim> {
        let mut victims = self.victims().to_vec();
        if victims.is_empty() {
            return victims;
        }
        if self.would_leave_too_many(&victims) {
            let running = self.outgoing().filter(|one| one.phase == Phase::Running);
            let running: BTreeSet<&InstanceId> = running.map(|one| &one.id).collect();
            victims.retain(|victim| running.contains(&victim.instance));
        }
        if self.would_leave_too_many(&victims) {
            victims.clear();
        }
        victims
    }

    /// Whether more would run after a kill than are wanted then. Stopping an instance makes its revision smaller by one,
    /// so an orchestrator that runs one too many, say because one came back that it had replaced, would stop another one
    /// of its own choice. It has to come to its own size first. One that is out of reach and still gets requests may come
    /// back any moment, and counts.
    fn would_leave_too_many(&self, victims: &[Victim]) -> bool {
        let Some(revision) = self.seen.revision(self.outgoing_role()) else {
            return false;
        };
        let runs = |one: &&Instance| match one.phase {
            Phase::Starting | Phase::Running => !self.was_killed(one),
            Phase::Unreachable => one.is_in_pool(),
            Phase::Stopping => false,
        };
        let named: BTreeSet<&InstanceId> = victims.iter().map(|victim| &victim.instance).collect();
        let is_victim = |one: &&Instance| named.contains(&one.id);
        let staying = self.outgoing().filter(runs).filter(|one| !is_victim(one));
        staying.count() > (revision.wanted as usize).saturating_sub(victims.len())
    }

    /// All outgoing instances that may be stopped, each with why.
    pub(super) fn stoppable(&self) -> Vec<Victim> {
        if self.is_kept_warm() {
            return Vec::new();
        }
        let waits_for_stop = |one: &Instance| {
            let kill = self.state.killed.get(&one.id);
            kill.is_some_and(|kill| {
                let patience = if kill.unsure { ON_ITS_WAY } else { KILL_AGAIN };
                self.seen.began.since(kill.last) < patience
            })
        };
        let entering = self.entering().outgoing.iter();
        let entering: BTreeSet<&InstanceId> = entering.map(|one| &one.id).collect();
        let goes_back = |one: &Instance| entering.contains(&one.id);
        let alive = |one: &&Instance| !one.is_in_pool() && one.phase != Phase::Stopping;
        let again = self.outgoing().filter(alive);
        let again = again.filter(|one| self.was_killed(one));
        self.draining()
            .chain(again)
            .filter(|one| !waits_for_stop(one))
            .filter(|one| !goes_back(one) && self.arrives_by(one).is_none())
            .filter_map(|one| self.kill_reason(one).map(|why| victim(one, why)))
            .collect()
    }

    fn kill_reason(&self, one: &Instance) -> Option<KillReason> {
        if self.is_drained(one) {
            return Some(KillReason::Drained);
        }
        if self.never_served(one) {
            return Some(KillReason::NeverServed);
        }
        let settings = &self.plan.settings;
        if settings.on_drain_deadline == OnDrainDeadline::Force && self.is_overdue(one) {
            return forced(settings.force_reason.as_deref()?);
        }
        let force = self.state.force.as_ref()?;
        let withdrawn = self.state.withdrawn.get(&one.id)?;
        forced(&force.reason).filter(|_| force.at >= *withdrawn)
    }
}

/// Nothing is forced without a reason, whatever a journal says.
fn forced(reason: &str) -> Option<KillReason> {
    (!reason.is_empty()).then(|| KillReason::Forced(reason.to_owned()))
}

fn victim(one: &Instance, why: KillReason) -> Victim {
    Victim {
        instance: one.id.clone(),
        in_flight: one.in_flight,
        pending: one.pending.clone(),
        idle_samples: one.idle_samples,
        why,
    }
}
