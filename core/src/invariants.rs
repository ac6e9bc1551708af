//! The promises as functions of what is planned, remembered, seen and decided. Property tests, the model checker and
//! debug builds all call the same ones. They are written from the promises, not from the code that keeps them.

use crate::action::{Action, InstanceAction, KillReason, PoolAction, Victim};
use crate::decide::{Decision, Then};
use crate::journal::{Outcome, State};
use crate::name::{InstanceId, PoolId, Role};
use crate::observation::{Instance, Observation, Pending, Phase, Stray, Traffic};
use crate::plan::{ON_ITS_WAY, Plan};
use crate::time::{Moment, Span};

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{promise}: {what}")]
pub struct Violation {
    /// Which promise, such as `P2 no blind kill`.
    pub promise: &'static str,
    /// How it is broken.
    pub what: String,
}

type Checked = Result<(), Violation>;

/// Checks one decision against P1 to P5, P7 and P9.
///
/// # Errors
/// The first broken promise.
pub fn check(
    plan: &Plan,
    state: &State,
    seen: &Observation,
    now: Moment,
    decision: &Decision,
) -> Checked {
    let case = Case {
        plan,
        state,
        seen,
        now,
    };
    match decision {
        Decision::Act(actions) => {
            case.evidence(actions)?;
            case.capacity(actions)?;
            case.one_way(actions)?;
            actions.iter().try_for_each(|action| case.action(action))
        }
        Decision::Wait { until, reason } => {
            let endless = *until <= now || (reason.deadline <= now && reason.then != Then::GoOn);
            let silent = reason.text.is_empty();
            ensure(!endless && !silent, "P7 no endless wait", || {
                format!("{reason:?} at {now:?}, until {until:?}")
            })
        }
        Decision::Finish(outcome) => case.finish(outcome),
    }
}

struct Case<'a> {
    plan: &'a Plan,
    state: &'a State,
    seen: &'a Observation,
    now: Moment,
}

impl Case<'_> {
    /// P3: nothing but a mark is decided on what cannot be seen, and nothing while paused.
    fn evidence(&self, actions: &[Action]) -> Checked {
        let only_marks = actions
            .iter()
            .all(|action| matches!(action, Action::Mark(_)));
        let may_act = self.seen.blind.is_none() && self.state.paused_at.is_none();
        ensure(may_act || only_marks, "P3 evidence", || {
            "an action is decided blindly or while paused".to_owned()
        })
    }

    /// P1: the healthy, serving instances after all pool changes are no fewer than the floor, or than before. One that was
    /// told to leave just now may be gone, whatever is seen: it is not counted, and makes no other one spare.
    fn capacity(&self, actions: &[Action]) -> Checked {
        let before = self.seen.capacity();
        let leaves = |one: &&Instance| withdraws(actions, &one.id);
        let all = || self.seen.all_instances();
        let is_over = |at: &Moment| *at + ON_ITS_WAY <= self.seen.began;
        let stays = |one: &&Instance| {
            let unsure = self.state.unsure_leaves.get(&one.id);
            let admitted = self.state.admitted.get(&one.id);
            let has_left =
                |at: &Moment| one.out_since.is_some() || admitted.is_some_and(|later| later > at);
            let mut told = self.state.leaves.get(&one.id).into_iter();
            unsure.is_none_or(is_over) && told.all(|at| is_over(at) || has_left(at))
        };
        if !all().filter(leaves).any(Instance::is_capacity) {
            return Ok(());
        }
        let together = self.plan.atomic_change && self.plan.pools.len() == 1;
        let enters = |one: &Instance| together && one.is_well() && admits(actions, &one.id);
        let after = all()
            .filter(|one| (one.is_capacity() && !leaves(one)) || enters(one))
            .filter(stays)
            .count();
        let floor = (self.plan.floor(self.incoming()) as usize).min(before);
        ensure(after >= floor, "P1 capacity", || {
            format!(
                "{before} healthy and serving would become {after}, the floor is {}",
                self.plan.floor
            )
        })
    }

    /// P2: what is to be stopped does not enter the pool in the same breath.
    fn one_way(&self, actions: &[Action]) -> Checked {
        let both = self
            .seen
            .all_instances()
            .find(|one| kills(actions, &one.id) && admits(actions, &one.id));
        ensure(both.is_none(), "P2 no blind kill", || {
            format!("{both:?} would be admitted and stopped")
        })
    }

    fn action(&self, action: &Action) -> Checked {
        match action {
            Action::Pool(PoolAction::Change {
                pool,
                admit,
                withdraw,
                forget,
            }) => {
                admit
                    .iter()
                    .try_for_each(|member| self.may_enter(&member.instance))?;
                let green =
                    |id: &InstanceId| self.seen.instances(Role::Green).any(|one| one.id == *id);
                let entering = admit
                    .iter()
                    .filter(|member| green(&member.instance))
                    .count();
                self.order(withdraw, entering)?;
                forget.iter().try_for_each(|id| self.may_forget(pool, id))
            }
            Action::Instance(InstanceAction::Kill { victims, role, .. }) => {
                self.keeps_the_rest(*role, victims)?;
                victims
                    .iter()
                    .try_for_each(|victim| self.may_stop(*role, victim))
            }
            Action::Instance(InstanceAction::Remove { role, .. }) => {
                let empty = self.seen.instances(*role).next().is_none();
                ensure(empty, "P2 no blind kill", || {
                    format!("{role} would be removed with instances")
                })
            }
            Action::Instance(InstanceAction::Scale {
                role, instances, ..
            }) => self.scale(*role, *instances),
            Action::Instance(InstanceAction::Create { .. })
            | Action::Pool(PoolAction::Open { .. })
            | Action::Mark(_) => Ok(()),
            Action::Pool(PoolAction::Close { pool }) => {
                let empty = !self.seen.strays.iter().any(|stray| stray.pool == *pool)
                    && self.seen.all_instances().next().is_none();
                ensure(empty, "P9 nothing left", || {
                    format!("{pool} would be closed with endpoints")
                })
            }
        }
    }

    /// P9 and P1: only an entry of this deployment's whose instance is gone is forgotten, and none that gets requests
    /// while nothing else would.
    fn may_forget(&self, pool: &PoolId, id: &InstanceId) -> Checked {
        let entries = || {
            let strays = self.seen.strays.iter();
            strays.filter(|stray| stray.pool == *pool && stray.instance == *id)
        };
        let ours = |stray: &Stray| {
            stray.known || self.state.served.contains(id) || self.plan.dead.contains(id)
        };
        let gone = self.instance(id).is_none() && entries().any(ours);
        ensure(gone, "P9 nothing left", || {
            format!("{id} would be forgotten and is not ours, or alive")
        })?;
        let serving = entries().any(|stray| stray.state.gets_requests());
        let safe = !serving || self.seen.capacity() > 0 || self.plan.target(self.incoming()) == 0;
        ensure(safe, "P1 capacity", || {
            format!("forgetting {id} would leave a pool with nothing that serves")
        })
    }

    fn incoming(&self) -> Role {
        if self.state.is_back() {
            Role::Blue
        } else {
            Role::Green
        }
    }

    /// P4, first half: nothing enters before it has been healthy for `min_healthy_time`. P2: nor while a word that got
    /// no answer may yet stop it.
    fn may_enter(&self, id: &InstanceId) -> Checked {
        let settle = self.plan.settings.min_healthy_time;
        let settled = self.instance(id).is_some_and(|one| {
            let held = one
                .healthy_since
                .is_some_and(|since| since + settle <= self.now);
            one.is_well() && one.current && held
        });
        ensure(settled, "P4 order", || {
            format!("{id} would enter the pool before it is settled")
        })?;
        let of = |role: &Role| self.seen.instances(*role).any(|one| one.id == *id);
        let role = [Role::Blue, Role::Green].into_iter().find(of);
        let revision = role.and_then(|role| Some((self.seen.revision(role)?, role)));
        let shrinks = revision.is_some_and(|(revision, role)| {
            self.on_its_way(role)
                .is_some_and(|instances| instances < revision.wanted)
        });
        let emptied = role.and_then(|role| self.state.emptied.get(&role));
        let stops = emptied.is_some_and(|at| *at + ON_ITS_WAY > self.seen.began);
        ensure(!shrinks && !stops, "P2 no blind kill", || {
            format!("{id} would enter the pool, and its revision may become smaller any moment")
        })
    }

    /// P4, second half: going forward, a BLUE that serves leaves only for a GREEN that serves, or that enters in the
    /// same step.
    fn order(&self, withdraw: &[InstanceId], entering: usize) -> Checked {
        let alive = |id: &&InstanceId| {
            self.instance(id)
                .is_some_and(|one| one.phase == Phase::Running)
        };
        if self.state.is_back() || withdraw.iter().filter(alive).count() == 0 {
            return Ok(());
        }
        let together = self.plan.atomic_change && self.plan.pools.len() == 1;
        let serving = self
            .seen
            .instances(Role::Green)
            .filter(|one| one.is_capacity())
            .count()
            + if together { entering } else { 0 };
        let staying = self
            .seen
            .instances(Role::Blue)
            .filter(|one| one.is_in_pool() && !withdraw.contains(&one.id));
        let at_first = self.plan.blue.as_ref().map_or(0, |blue| blue.instances) as usize;
        let replaced = serving >= self.plan.target as usize
            || at_first.saturating_sub(staying.count()) <= serving;
        ensure(replaced, "P4 order", || {
            format!(
                "{} BLUE would leave and {serving} GREEN serve",
                withdraw.len()
            )
        })
    }

    /// P2: out of the pool, nothing in flight, nothing pending, often enough; or forced with a reason; or a GREEN that
    /// never had any work.
    fn may_stop(&self, role: Role, victim: &Victim) -> Checked {
        let id = &victim.instance;
        let Some(one) = self.instance(id) else {
            return Ok(());
        };
        let bad = |what: &str| {
            Err(Violation {
                promise: "P2 no blind kill",
                what: format!("{role} {id} {what}"),
            })
        };
        if one.is_in_pool() {
            return bad("would be stopped while it serves");
        }
        if role == Role::Blue && !self.state.is_back() && self.is_needed(one) {
            return bad("would be stopped though nothing has replaced it, or it is kept warm");
        }
        match &victim.why {
            KillReason::Forced(reason) if reason.is_empty() => {
                bad("would be forced without a reason")
            }
            KillReason::Forced(_) => Ok(()),
            KillReason::NeverServed if role == Role::Blue || self.state.served.contains(id) => {
                bad("did serve")
            }
            KillReason::NeverServed if matches!(one.pending, Pending::Count(count) if count > 0) => {
                bad("has pending operations")
            }
            KillReason::NeverServed => Ok(()),
            KillReason::Drained => {
                let idle = one.in_flight == Some(0)
                    && matches!(one.pending, Pending::Count(0) | Pending::NotWatched);
                let often = one.idle_samples >= self.plan.settings.drain_samples;
                if idle && often {
                    Ok(())
                } else {
                    bad("would be stopped before it is drained")
                }
            }
        }
    }

    /// P2: a kill does not make the revision smaller than what goes on running, or gets requests out of its orchestrator's
    /// reach, of which it would then stop some of its own choice.
    fn keeps_the_rest(&self, role: Role, victims: &[Victim]) -> Checked {
        let runs = |one: &&Instance| {
            let told = self.state.killed.contains_key(&one.id);
            match one.phase {
                Phase::Starting | Phase::Running => !told,
                Phase::Unreachable => one.is_in_pool(),
                Phase::Stopping => false,
            }
        };
        let named = |one: &Instance| victims.iter().any(|victim| victim.instance == one.id);
        let running = self.seen.instances(role).filter(runs);
        let staying = running.filter(|one| !named(one)).count();
        let wanted = self
            .seen
            .revision(role)
            .map_or(0, |revision| revision.wanted);
        let left = (wanted as usize).saturating_sub(victims.len());
        ensure(staying <= left, "P2 no blind kill", || {
            format!("{staying} {role} would go on running, and {left} be wanted")
        })
    }

    /// Going forward, BLUE is needed until teal took it out for a GREEN that serves, and all of it for the bake.
    fn is_needed(&self, one: &Instance) -> bool {
        let leaving = self.state.withdrawn.contains_key(&one.id)
            || self.state.killed.contains_key(&one.id)
            || one.traffic == Traffic::Draining;
        let green = self
            .seen
            .instances(Role::Green)
            .filter(|one| one.is_capacity())
            .count();
        let floor = self.plan.floor(self.incoming()) as usize;
        let spare = green > 0 && self.seen.capacity() >= floor;
        let blue = self
            .seen
            .instances(Role::Blue)
            .filter(|one| one.phase != Phase::Stopping)
            .count();
        let at_first = self.plan.blue.as_ref().map_or(0, |blue| blue.instances) as usize;
        let spare = spare || (green > 0 && !one.is_well() && blue + green > at_first);
        let keep = self.plan.settings.keep_blue();
        let warm = self
            .state
            .bake_began
            .is_some_and(|began| keep > Span::ZERO && began + keep > self.now);
        (!leaving && !spare) || (warm && !self.state.bake_ended)
    }

    /// P2: scaling never stops anything that exists, now or when an unanswered word of another size arrives after it.
    fn scale(&self, role: Role, instances: u32) -> Checked {
        let existing = self.seen.instances(role).count();
        let wanted = self
            .seen
            .revision(role)
            .map_or(0, |revision| revision.wanted);
        let stops = instances < wanted && existing > instances as usize;
        ensure(!stops, "P2 no blind kill", || {
            format!("scaling {role} to {instances} would stop some of {existing}")
        })?;
        let undone = self
            .on_its_way(role)
            .is_some_and(|other| other != instances);
        ensure(!undone, "P2 no blind kill", || {
            format!("scaling {role} to {instances} while another size is on its way")
        })
    }

    /// The size that a revision may still get, or may have got since it was seen, by a word that got no answer.
    fn on_its_way(&self, role: Role) -> Option<u32> {
        let (instances, missed) = self.state.unsure_scales.get(&role)?;
        (*missed + ON_ITS_WAY > self.seen.began).then_some(*instances)
    }

    fn finish(&self, outcome: &Outcome) -> Checked {
        let (gone, there) = match outcome {
            Outcome::Stuck { .. } => return Ok(()),
            Outcome::Completed => (Role::Blue, Role::Green),
            Outcome::RolledBack { .. } => (Role::Green, Role::Blue),
        };
        if self.state.outcome.is_some() {
            return Ok(());
        }
        let ours = |stray: &&Stray| stray.known || self.state.served.contains(&stray.instance);
        let clean =
            self.seen.revision(gone).is_none() && self.seen.strays.iter().find(ours).is_none();
        ensure(clean, "P9 nothing left", || {
            format!("{gone} or a pool entry is left")
        })?;
        let serving = self
            .seen
            .instances(there)
            .filter(|one| one.is_capacity())
            .count();
        let target = self.plan.owed(there) as usize;
        ensure(serving >= target, "P5 a way back", || {
            format!("{serving} of {target} {there} serve in the end")
        })
    }

    fn instance(&self, id: &InstanceId) -> Option<&Instance> {
        self.seen.all_instances().find(|one| one.id == *id)
    }
}

fn withdraws(actions: &[Action], id: &InstanceId) -> bool {
    actions.iter().any(|action| {
        matches!(action, Action::Pool(PoolAction::Change { withdraw, .. }) if withdraw.contains(id))
    })
}

fn admits(actions: &[Action], id: &InstanceId) -> bool {
    actions.iter().any(|action| {
        matches!(action, Action::Pool(PoolAction::Change { admit, .. }) if admit.iter().any(|member| member.instance == *id))
    })
}

fn kills(actions: &[Action], id: &InstanceId) -> bool {
    actions.iter().any(|action| {
        matches!(action, Action::Instance(InstanceAction::Kill { victims, .. }) if victims.iter().any(|victim| victim.instance == *id))
    })
}

fn ensure(holds: bool, promise: &'static str, what: impl FnOnce() -> String) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(Violation {
            promise,
            what: what(),
        })
    }
}
