//! One round: admit what is settled → withdraw as many as the floor allows → stop what is drained → launch the next
//! batch → remove what is empty. Each step looks only at what is seen, so the round can be entered anywhere.

use super::sides::Sides;
use crate::action::{Action, InstanceAction, KillReason, Lock, Mark, Member, PoolAction, Victim};
use crate::name::{InstanceId, Role};
use crate::observation::{EndpointState, Instance, Phase, Traffic};
use crate::plan::PoolPlan;
use crate::settings::{Gate, OnDrainDeadline};
use crate::time::Span;
use serde_json::{Value, json};

/// An instance that was told to stop and is still there is told again after this long; until then a word that got lost
/// may still arrive. A call is given up after as long.
const KILL_AGAIN: Span = Span::seconds(30);

impl Sides<'_> {
    /// Returns what the round asks for at this moment, in the order to do it.
    pub(super) fn round(&self) -> Vec<Action> {
        if let Some(opening) = self.open_pools() {
            return opening;
        }
        let mut actions = self.marks();
        actions.extend(self.change_pools());
        actions.extend(self.create());
        actions.extend(self.kill());
        actions.extend(self.scale());
        actions.extend(self.remove());
        actions.extend(self.close_pools());
        actions
    }

    fn open_pools(&self) -> Option<Vec<Action>> {
        if self.plan.target(self.incoming_role()) == 0 {
            return None;
        }
        let needed = |pool: &&PoolPlan| pool.existed || !self.state.is_back();
        let missing = self.plan.pools.iter().filter(needed);
        let missing = missing.filter(|pool| !self.seen.pools.contains(&pool.id));
        let open: Vec<_> = missing
            .map(|pool| Action::Pool(PoolAction::Open { pool: pool.clone() }))
            .collect();
        (!open.is_empty()).then_some(open)
    }

    fn marks(&self) -> Vec<Action> {
        let mut marks = Vec::new();
        let reached = |gate| self.state.gate.is_some_and(|(at, _)| at == gate);
        if self.needs_gate(Gate::Shift) && !reached(Gate::Shift) && self.is_first_batch_settled() {
            marks.push(Mark::GateReached { gate: Gate::Shift });
        }
        if !self.state.is_back() && self.outgoing().next().is_some() && self.is_shifted() {
            if self.plan.settings.keep_blue().0 > 0 && self.state.bake_began.is_none() {
                marks.push(Mark::BakeBegun);
            }
            if self.needs_gate(Gate::Retire) && !reached(Gate::Retire) {
                marks.push(Mark::GateReached { gate: Gate::Retire });
            }
        }
        if self.plan.settings.on_drain_deadline == OnDrainDeadline::Wait && !self.is_kept_warm() {
            let overdue = self
                .draining()
                .filter(|one| self.is_overdue(one) && !self.is_drained(one));
            let new: Vec<_> = overdue
                .map(|one| one.id.clone())
                .filter(|id| !self.state.overdue.contains(id))
                .collect();
            if !new.is_empty() {
                marks.push(Mark::DrainOverdue {
                    instances: new,
                    policy: OnDrainDeadline::Wait,
                });
            }
        }
        marks.into_iter().map(Action::Mark).collect()
    }

    fn create(&self) -> Option<Action> {
        let role = self.incoming_role();
        let revision = self.plan.revision(role)?.clone();
        if self.seen.revision(role).is_some() || self.plan.target(role) == 0 {
            return None;
        }
        let definition = match (role, &self.plan.blue) {
            (Role::Blue, Some(blue)) => with_no_instances(&blue.definition),
            (Role::Blue | Role::Green, _) => self.plan.green.definition.clone(),
        };
        Some(Action::Instance(InstanceAction::Create {
            role,
            revision,
            definition,
        }))
    }

    // ---- the pool ----------------------------------------------------------------------------------------------

    fn change_pools(&self) -> Vec<Action> {
        let admit = self.admissible();
        let withdraw = self.withdrawable(&admit);
        let change = |pool: &PoolPlan| {
            let forget: Vec<_> = self.forgettable(pool);
            let admit: Vec<_> = admit.iter().filter_map(|one| member(one, pool)).collect();
            let empty = admit.is_empty() && withdraw.is_empty() && forget.is_empty();
            let withdraw = withdraw.clone();
            (!empty).then(|| {
                Action::Pool(PoolAction::Change {
                    pool: pool.id.clone(),
                    admit,
                    withdraw,
                    forget,
                })
            })
        };
        self.plan.pools.iter().filter_map(change).collect()
    }

    /// Entries of ours whose instances are gone. One that still gets requests stays while nothing else serves: a pool is
    /// never emptied on the word that nothing exists, which is also what a wrong address would say.
    fn forgettable(&self, pool: &PoolPlan) -> Vec<InstanceId> {
        let may_empty = self.seen.capacity() > 0 || self.plan.target(self.incoming_role()) == 0;
        let gone = self.seen.strays.iter().filter(|stray| {
            let harmless = may_empty || stray.state == EndpointState::Draining;
            stray.pool == pool.id && self.is_ours(stray) && harmless
        });
        gone.map(|stray| stray.instance.clone()).collect()
    }

    /// Settled incoming instances; and, forward, outgoing ones that are needed to keep the floor.
    fn admissible(&self) -> Vec<&Instance> {
        let may_enter = |one: &&Instance| {
            self.is_settled(one) && one.traffic != Traffic::Serving && !self.is_killed(one)
        };
        let mut admit: Vec<&Instance> = Vec::new();
        if self.may_shift() {
            admit.extend(self.incoming().filter(may_enter));
        }
        if !self.state.is_back() {
            let missing = self
                .floor()
                .saturating_sub(self.seen.capacity() + admit.len());
            let mut spare: Vec<&Instance> = self.outgoing().filter(may_enter).collect();
            spare.sort_by_key(|one| self.state.withdrawn.contains_key(&one.id));
            admit.extend(spare.into_iter().take(missing));
        }
        admit
    }

    fn may_shift(&self) -> bool {
        if self.state.is_back() || self.incoming().any(Instance::is_in_pool) {
            return true;
        }
        !self.needs_gate(Gate::Shift) && self.is_first_batch_settled()
    }

    fn is_first_batch_settled(&self) -> bool {
        let settled = self.incoming().filter(|one| self.is_settled(one)).count();
        settled >= self.plan.initial.min(self.plan.target) as usize
    }

    /// Outgoing instances that may leave the pool, as far as floor, order and batch allow.
    fn withdrawable(&self, admit: &[&Instance]) -> Vec<InstanceId> {
        let mut leave: Vec<InstanceId> = self.dying_in_pool();
        let together = self.plan.atomic_change && self.plan.pools.len() == 1;
        let entering = if together { admit.len() } else { 0 };
        let incoming_entering = admit
            .iter()
            .filter(|one| self.incoming().any(|i| i.id == one.id))
            .count();
        let incoming = self.incoming_capacity() + if together { incoming_entering } else { 0 };
        let mut spare = (self.seen.capacity() + entering).saturating_sub(self.floor());
        let mut may_go = self.replaced(incoming).min(self.batch_left());
        let mut left_in_pool = self
            .seen
            .all_instances()
            .filter(|one| one.is_in_pool())
            .count()
            + entering;
        let mut candidates: Vec<&Instance> = self
            .outgoing()
            .filter(|one| one.is_in_pool() && !leave.contains(&one.id))
            .filter(|one| !admit.iter().any(|entering| entering.id == one.id))
            .collect();
        candidates.sort_by_key(|one| (one.is_capacity(), one.id.clone()));
        for one in candidates {
            let never_empty = left_in_pool > 1 || self.plan.target(self.incoming_role()) == 0;
            let allowed = if one.is_capacity() {
                spare > 0
            } else {
                never_empty
            };
            if may_go == 0 || !allowed {
                continue;
            }
            spare -= usize::from(one.is_capacity());
            may_go -= 1;
            left_in_pool = left_in_pool.saturating_sub(1);
            leave.push(one.id.clone());
        }
        leave
    }

    /// Somebody else is stopping them: they leave the pool at once, unless nothing else is there.
    fn dying_in_pool(&self) -> Vec<InstanceId> {
        let in_pool: Vec<&Instance> = self
            .seen
            .all_instances()
            .filter(|one| one.is_in_pool())
            .collect();
        let dying: Vec<_> = in_pool
            .iter()
            .filter(|one| one.phase == Phase::Stopping)
            .collect();
        if dying.len() == in_pool.len() {
            return Vec::new();
        }
        dying.into_iter().map(|one| one.id.clone()).collect()
    }

    /// How many outgoing instances have been replaced by incoming ones that serve (P4). Once the incoming revision is
    /// complete, all have. Back, order is kept by the floor alone: a sick GREEN leaves at once.
    fn replaced(&self, incoming: usize) -> usize {
        let target = self.plan.target(self.incoming_role()) as usize;
        if self.state.is_back() || incoming >= target {
            return usize::MAX;
        }
        let still_in = self
            .outgoing()
            .filter(|one| one.is_in_pool() && one.phase != Phase::Stopping)
            .count();
        let at_first = self.plan.blue.as_ref().map_or(0, |blue| blue.instances) as usize;
        (incoming + still_in).saturating_sub(at_first)
    }

    fn batch_left(&self) -> usize {
        if self.state.is_back() {
            return usize::MAX;
        }
        (self.plan.batch as usize).saturating_sub(self.draining().count())
    }

    // ---- instances ---------------------------------------------------------------------------------------------

    /// Going back, GREEN's locks are this deployment's own launches, which a rollback cannot wait for.
    pub(super) fn outgoing_lock(&self) -> Lock {
        if self.state.is_back() {
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
            kill.is_some_and(|kill| self.now.since(kill.first) < KILL_AGAIN)
        });
        if perhaps_heard {
            Lock::Respect
        } else {
            self.outgoing_lock()
        }
    }

    fn kill(&self) -> Option<Action> {
        let victims = self.victims();
        let role = self.outgoing_role();
        let revision = self.seen.revision(role)?;
        let lock = self.kill_lock(&victims);
        if victims.is_empty() || (revision.locked && lock == Lock::Respect) {
            return None;
        }
        Some(Action::Instance(InstanceAction::Kill {
            role,
            revision: revision.id.clone(),
            victims,
            lock,
        }))
    }

    /// All outgoing instances that may be stopped, each with why.
    pub(super) fn victims(&self) -> Vec<Victim> {
        if self.is_kept_warm() {
            return Vec::new();
        }
        let waits_for_stop = |one: &Instance| {
            let kill = self.state.killed.get(&one.id);
            kill.is_some_and(|kill| !kill.unsure && self.now.since(kill.last) < KILL_AGAIN)
        };
        let admit = self.admissible();
        let goes_back = |one: &Instance| admit.iter().any(|entering| entering.id == one.id);
        let told = |one: &&Instance| self.state.killed.contains_key(&one.id);
        let again = self.outgoing().filter(told);
        let again = again.filter(|one| !one.is_in_pool() && one.phase != Phase::Stopping);
        self.draining()
            .chain(again)
            .filter(|one| !waits_for_stop(one))
            .filter(|one| !goes_back(one))
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
            return settings.force_reason.clone().map(KillReason::Forced);
        }
        let force = self.state.force.as_ref()?;
        let withdrawn = self.state.withdrawn.get(&one.id)?;
        (force.at >= *withdrawn).then(|| KillReason::Forced(force.reason.clone()))
    }

    fn scale(&self) -> Option<Action> {
        let role = self.incoming_role();
        let revision = self.seen.revision(role)?;
        let instances = self.next_size().filter(|_| !revision.locked)?;
        let lock = Lock::Respect;
        Some(Action::Instance(InstanceAction::Scale {
            role,
            revision: revision.id.clone(),
            instances,
            lock,
        }))
    }

    /// The incoming revision's next size, if it is to grow. Going back is never held up by the surge limit.
    pub(super) fn next_size(&self) -> Option<u32> {
        let role = self.incoming_role();
        let revision = self.seen.revision(role)?;
        let target = self.plan.target(role);
        if revision.wanted >= target {
            return None;
        }
        if self.state.is_back() {
            return Some(target);
        }
        let serving = u32::try_from(self.incoming_capacity()).unwrap_or(u32::MAX);
        let step = match serving {
            0 => self.plan.initial,
            serving => serving.saturating_add(self.plan.batch),
        };
        let first = if self.plan.blue.is_none() {
            target
        } else {
            step
        };
        let leaving = u32::try_from(self.outgoing().count()).unwrap_or(u32::MAX);
        let room = self.plan.room.saturating_sub(leaving).max(1);
        let size = first.min(target).min(room);
        (size > revision.wanted).then_some(size)
    }

    fn remove(&self) -> Option<Action> {
        let role = self.outgoing_role();
        let revision = self.seen.revision(role)?;
        let target = self.plan.target(self.incoming_role()) as usize;
        let in_time = self.state.is_back() || self.incoming_capacity() >= target;
        if !revision.instances.is_empty() || !in_time || !self.is_warm_time_over() {
            return None;
        }
        let (id, lock) = (revision.id.clone(), self.outgoing_lock());
        if revision.wanted > 0 {
            let blocked = revision.locked && lock == Lock::Respect;
            let scale = InstanceAction::Scale {
                role,
                revision: id,
                instances: 0,
                lock,
            };
            return (!blocked).then_some(Action::Instance(scale));
        }
        Some(Action::Instance(InstanceAction::Remove {
            role,
            revision: id,
        }))
    }

    /// A first deployment that was rolled back leaves no pool behind that it made.
    fn close_pools(&self) -> Vec<Action> {
        let gone = self.seen.revision(Role::Green).is_none();
        let empty = !self.seen.strays.iter().any(|stray| self.is_ours(stray));
        if !self.state.is_back() || self.plan.blue.is_some() || !gone || !empty {
            return Vec::new();
        }
        let made = self
            .plan
            .pools
            .iter()
            .filter(|pool| !pool.existed && self.seen.pools.contains(&pool.id));
        made.map(|pool| {
            Action::Pool(PoolAction::Close {
                pool: pool.id.clone(),
            })
        })
        .collect()
    }
}

fn member(one: &Instance, pool: &PoolPlan) -> Option<Member> {
    let address = one.addresses.at(pool.port_index)?.clone();
    Some(Member {
        instance: one.id.clone(),
        address,
    })
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

fn with_no_instances(definition: &Value) -> Value {
    let mut definition = definition.clone();
    if let Some(body) = definition.as_object_mut() {
        body.insert("instances".to_owned(), json!(0));
    }
    definition
}
