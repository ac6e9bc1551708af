//! One round: admit what is settled → withdraw as many as the floor allows → stop what is drained → launch the next
//! batch → remove what is empty. Each step looks only at what is seen, so the round can be entered anywhere.

use super::sides::Sides;
use crate::action::{Action, InstanceAction, Lock, Mark, Member, PoolAction};
use crate::name::{InstanceId, Role};
use crate::observation::{Instance, Phase, Traffic};
use crate::plan::PoolPlan;
use crate::settings::{Gate, OnDrainDeadline};
use serde_json::{Value, json};
use std::collections::BTreeSet;

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
        // Once GREEN serves there is nothing left to wait for before it does.
        let serves = self.is_shifted() || self.incoming().any(Instance::is_in_pool);
        let is_first = !serves && self.needs_gate(Gate::Shift) && !reached(Gate::Shift);
        if is_first && self.is_first_batch_settled() {
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
        let entering = self.entering();
        let withdraw = self.withdrawable(entering);
        let change = |pool: &PoolPlan| {
            let forget: Vec<_> = self.forgettable(pool);
            let admit: Vec<_> = entering.all().filter_map(|one| member(one, pool)).collect();
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
    /// never emptied on the word that nothing exists, which is also what a wrong address would say. All entries of an
    /// instance go together, so they are harmless together.
    fn forgettable(&self, pool: &PoolPlan) -> Vec<InstanceId> {
        let may_empty = self.capacity() > 0 || self.plan.target(self.incoming_role()) == 0;
        let listed = || {
            let strays = self.seen.strays.iter();
            strays.filter(|stray| stray.pool == pool.id)
        };
        let serving = listed().filter(|other| other.state.gets_requests());
        let serving: BTreeSet<&InstanceId> = serving.map(|other| &other.instance).collect();
        let serves = |id: &InstanceId| serving.contains(id);
        listed()
            .filter(|stray| self.is_ours(stray) && (may_empty || !serves(&stray.instance)))
            .map(|stray| stray.instance.clone())
            .collect()
    }

    /// Whether an instance can be reached where it has to serve: a GREEN in all pools, or it replaces nothing; a BLUE in
    /// those that it has ports for, which are those that it served in.
    fn is_reachable(&self, role: Role, one: &Instance) -> bool {
        let pools = self.plan.pools_of(role, &one.addresses).count();
        match role {
            Role::Green => pools == self.plan.pools.len(),
            Role::Blue => pools > 0,
        }
    }
}

impl<'a> Sides<'a> {
    /// Settled incoming instances; and, forward, outgoing ones that are needed to keep the floor. One that cannot be
    /// reached cannot enter.
    pub(super) fn admissible(&self) -> Entering<'a> {
        let may_enter = |role: Role, one: &Instance| {
            self.is_settled(one)
                && one.traffic != Traffic::Serving
                && !self.is_killed(one)
                && self.is_reachable(role, one)
        };
        let mut entering: Entering<'a> = Entering::default();
        let (incoming, outgoing) = (self.incoming_role(), self.outgoing_role());
        if self.may_shift() && !self.may_lose_any(incoming) {
            let settled = self.incoming().filter(|one| may_enter(incoming, one));
            entering.incoming = settled.collect();
        }
        if !self.state.is_back() && !self.may_lose_any(outgoing) {
            let missing = self
                .floor()
                .saturating_sub(self.capacity() + entering.incoming.len());
            let mut spare: Vec<&'a Instance> = self
                .outgoing()
                .filter(|one| may_enter(outgoing, one))
                .collect();
            spare.sort_by_key(|one| self.state.withdrawn.contains_key(&one.id));
            spare.truncate(missing);
            entering.outgoing = spare;
        }
        entering
    }
}

impl Sides<'_> {
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
    fn withdrawable(&self, entering: &Entering<'_>) -> Vec<InstanceId> {
        let mut leave: Vec<InstanceId> = self.dying_in_pool();
        let together = self.plan.atomic_change && self.plan.pools.len() == 1;
        let nobody = Entering::default();
        let with = if together { entering } else { &nobody };
        let incoming = self.incoming_capacity() + with.incoming.len();
        let stays = |one: &Instance| self.leaves_by(one).is_none();
        // Those that enter serve nowhere, or not everywhere, so nothing is counted twice.
        let serving = || self.seen.all_instances().filter(|one| one.is_capacity());
        let certain = serving().chain(with.all()).filter(|one| stays(one)).count();
        let keeps_floor = certain >= self.floor();
        let mut spare = certain.saturating_sub(self.floor());
        let mut may_go = self.replaced(incoming).min(self.batch_left());
        if may_go == 0 {
            return leave;
        }
        let in_pool = self.seen.all_instances().filter(|one| one.is_in_pool());
        let in_pool = in_pool.chain(with.all().filter(|one| !one.is_in_pool()));
        let mut left_in_pool = in_pool.filter(|one| stays(one)).count();
        let dying = leave.iter();
        let passed_over: BTreeSet<&InstanceId> = dying
            .chain(entering.outgoing.iter().map(|one| &one.id))
            .collect();
        let mut candidates: Vec<&Instance> = self
            .outgoing()
            .filter(|one| one.is_in_pool() && !passed_over.contains(&one.id))
            .collect();
        let is_told = |one: &Instance| self.state.withdrawn.contains_key(&one.id);
        candidates
            .sort_by_cached_key(|one| (stays(one), !is_told(one), one.is_capacity(), &one.id));
        for one in candidates {
            let never_empty = left_in_pool > 1 || self.plan.target(self.incoming_role()) == 0;
            let allowed = match (stays(one), one.is_capacity()) {
                (false, _) => keeps_floor,
                (true, true) => spare > 0,
                (true, false) => never_empty,
            };
            if may_go == 0 {
                break;
            }
            // It takes its turn: one that was told to leave goes whether or not it is told again.
            may_go -= usize::from(allowed || !stays(one));
            if !allowed {
                continue;
            }
            if stays(one) {
                spare = spare.saturating_sub(usize::from(one.is_capacity()));
                left_in_pool = left_in_pool.saturating_sub(1);
            }
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

    // ---- size ----------------------------------------------------------------------------------------------------

    fn scale(&self) -> Option<Action> {
        let role = self.incoming_role();
        let revision = self.seen.revision(role)?;
        let instances = self.next_size().filter(|_| !revision.locked)?;
        if !self.may_scale(role, instances) {
            return None;
        }
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
            let is_locked = revision.locked && lock == Lock::Respect;
            let blocked = is_locked || !self.may_scale(role, 0);
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

    /// A first deployment that was rolled back leaves no pool behind that it made, unless somebody else uses it.
    fn close_pools(&self) -> Vec<Action> {
        let gone = self.seen.revision(Role::Green).is_none();
        let empty = !self.seen.strays.iter().any(|stray| self.is_ours(stray));
        if !self.state.is_back() || self.plan.blue.is_some() || !gone || !empty {
            return Vec::new();
        }
        let is_used = |pool: &&PoolPlan| self.seen.strays.iter().any(|one| one.pool == pool.id);
        let made = self
            .plan
            .pools
            .iter()
            .filter(|pool| !pool.existed && self.seen.pools.contains(&pool.id));
        made.filter(|pool| !is_used(pool))
            .map(|pool| {
                Action::Pool(PoolAction::Close {
                    pool: pool.id.clone(),
                })
            })
            .collect()
    }
}

/// Instances that are to be let into the pool.
#[derive(Debug, Default)]
pub(super) struct Entering<'a> {
    pub(super) incoming: Vec<&'a Instance>,
    /// Those that the floor needs.
    pub(super) outgoing: Vec<&'a Instance>,
}

impl<'a> Entering<'a> {
    fn all(&self) -> impl Iterator<Item = &'a Instance> {
        self.incoming.iter().chain(&self.outgoing).copied()
    }
}

fn member(one: &Instance, pool: &PoolPlan) -> Option<Member> {
    let address = one.addresses.at(pool.port_index)?.clone();
    Some(Member {
        instance: one.id.clone(),
        address,
    })
}

fn with_no_instances(definition: &Value) -> Value {
    let mut definition = definition.clone();
    if let Some(body) = definition.as_object_mut() {
        body.insert("instances".to_owned(), json!(0));
    }
    definition
}
