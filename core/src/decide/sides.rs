//! The four things a decision is made from, seen from the direction of travel: what is coming, what is leaving.

use super::round::Entering;
use crate::action::Victim;
use crate::journal::{Kill, State};
use crate::name::{InstanceId, Role};
use crate::observation::{Instance, Observation, Pending, Phase, Stray, Traffic};
use crate::plan::{BLIND_DEADLINE, KILL_DEADLINE, ON_ITS_WAY, ONCE_MORE, Plan};
use crate::settings::Gate;
use crate::time::{Moment, Span};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

/// What Mesos gives a task to stop when its app does not say (`taskKillGracePeriodSeconds`).
const DEFAULT_GRACE: Span = Span::seconds(3);
/// How long after its grace an instance must still run to be taken for one that was never told.
const GRACE_MARGIN: Span = Span::seconds(5);

pub(super) struct Sides<'a> {
    pub(super) plan: &'a Plan,
    pub(super) state: &'a State,
    pub(super) seen: &'a Observation,
    pub(super) now: Moment,
    known: Known<'a>,
    entering: OnceCell<Entering<'a>>,
    victims: OnceCell<Vec<Victim>>,
}

/// What is asked of every instance, so worked out once: of ten thousand, each question takes milliseconds.
struct Known<'a> {
    /// Healthy, serving instances of both roles.
    capacity: usize,
    incoming_capacity: usize,
    /// Of the instances that are seen, those that were told to stop.
    killed: BTreeMap<&'a InstanceId, &'a Kill>,
    /// Of those that were let into the pool, those whose admission may still come about, and when it was said.
    admitted: BTreeMap<&'a InstanceId, Moment>,
    /// Of those that were told to leave the pool, those that may still do so, and when it was said.
    leaves: BTreeMap<&'a InstanceId, Moment>,
}

impl<'a> Sides<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        state: &'a State,
        seen: &'a Observation,
        now: Moment,
    ) -> Self {
        let incoming = if state.is_back() {
            Role::Blue
        } else {
            Role::Green
        };
        let may_come_about = |said: &Moment| *said + ON_ITS_WAY > seen.began;
        let late = |said: &'a BTreeMap<InstanceId, Moment>| {
            let late = said.iter().filter(|(_, at)| may_come_about(at));
            late.map(|(id, at)| (id, *at)).collect()
        };
        let capacity = seen.instances(incoming).filter(|one| one.is_capacity());
        Self {
            plan,
            state,
            seen,
            now,
            known: Known {
                capacity: seen.capacity(),
                incoming_capacity: capacity.count(),
                killed: of_seen(&state.killed, seen),
                admitted: late(&state.admitted),
                leaves: late(&state.leaves),
            },
            entering: OnceCell::new(),
            victims: OnceCell::new(),
        }
    }

    pub(super) fn incoming(&self) -> impl Iterator<Item = &'a Instance> + use<'a> {
        self.seen.instances(self.incoming_role())
    }

    pub(super) fn outgoing(&self) -> impl Iterator<Item = &'a Instance> + use<'a> {
        self.seen.instances(self.outgoing_role())
    }

    /// Leaving, alive, out of the pool, and not told to stop yet. It is leaving for good when teal took it out, or its
    /// traffic drains. One that is merely in no pool, say a BLUE that was just relaunched, leaves only once GREEN serves and
    /// the floor is kept without it.
    pub(super) fn draining(&self) -> impl Iterator<Item = &'a Instance> {
        let spare = self.incoming_capacity() > 0 && self.capacity() >= self.floor();
        let is_asked = !self.state.is_back() && !spare;
        let superfluous = if is_asked {
            self.superfluous()
        } else {
            BTreeSet::new()
        };
        let is_leaving = move |one: &Instance| {
            self.state.is_back()
                || spare
                || one.traffic == Traffic::Draining
                || self.state.withdrawn.contains_key(&one.id)
                || superfluous.contains(&one.id)
        };
        self.outgoing().filter(move |one| {
            !one.is_in_pool()
                && one.phase != Phase::Stopping
                && !self.is_killed(one)
                && is_leaving(one)
        })
    }

    /// Settled incoming instances; and, forward, outgoing ones that are needed to keep the floor.
    pub(super) fn entering(&self) -> &Entering<'a> {
        self.entering.get_or_init(|| self.admissible())
    }

    /// All outgoing instances that may be stopped, each with why.
    pub(super) fn victims(&self) -> &[Victim] {
        self.victims.get_or_init(|| self.stoppable())
    }
}

impl Sides<'_> {
    fn is_incoming(&self, one: &Instance) -> bool {
        let incoming = self.seen.revision(self.incoming_role());
        incoming.is_some_and(|revision| revision.has(&one.id))
    }

    /// How many incoming instances are healthy and serving.
    pub(super) const fn incoming_capacity(&self) -> usize {
        self.known.incoming_capacity
    }

    /// How many instances of both roles are healthy and serving.
    pub(super) const fn capacity(&self) -> usize {
        self.known.capacity
    }

    pub(super) fn is_settled(&self, one: &Instance) -> bool {
        one.is_settled(self.plan.settings.min_healthy_time, self.now)
    }

    /// Told to stop, so it gets no traffic again. Going back, a BLUE that still runs when its grace is long over is
    /// taken for one that the word never reached: BLUE has to come back.
    pub(super) fn is_killed(&self, one: &Instance) -> bool {
        self.was_killed(one) && (self.survives_at(one)).is_none_or(|at| self.is_unseen_until(at))
    }

    /// Whether it was ever told to stop.
    pub(super) fn was_killed(&self, one: &Instance) -> bool {
        self.known.killed.contains_key(&one.id)
    }

    /// When an incoming instance that was told to stop, and runs, is taken for one that the word never reached: soon
    /// when it is not sure that it was said, late when it was.
    pub(super) fn survives_at(&self, one: &Instance) -> Option<Moment> {
        let kill = self.known.killed.get(&one.id)?;
        let back = self.state.is_back() && one.phase == Phase::Running && self.is_incoming(one);
        let wait = if kill.unsure {
            GRACE_MARGIN
        } else {
            KILL_DEADLINE
        };
        back.then(|| kill.last + self.grace() + wait)
    }

    /// Whether what comes about by this moment may be missing in what is seen: the look began before.
    pub(super) fn is_unseen_until(&self, by: Moment) -> bool {
        by > self.seen.began
    }

    /// Until when an admission of this instance may still come about: it got no answer, or has not been seen since, or comes
    /// once more. Nothing that may get requests in the next moment is stopped, however idle it was before. That it is out
    /// since later than that shows that it was in only if this process has looked all the time.
    pub(super) fn arrives_by(&self, one: &Instance) -> Option<Moment> {
        let unsure = self.state.unsure_admissions.get(&one.id);
        let unsure = unsure.map(|at| *at + ON_ITS_WAY);
        let has_looked = |since: Moment| {
            self.seen.sighted_since <= since && self.seen.unseen_since(since) == Span::ZERO
        };
        let was_in = |at: Moment| has_looked(at) && one.out_since.is_some_and(|since| since > at);
        let told = self.known.admitted.get(&one.id);
        let told = told.map(|at| *at + how_late(was_in(*at)));
        unsure.max(told).filter(|by| self.is_unseen_until(*by))
    }

    /// Until when an instance that was told to leave the pool may do so, though it is seen there.
    pub(super) fn leaves_by(&self, one: &Instance) -> Option<Moment> {
        let unsure = self.state.unsure_leaves.get(&one.id);
        let unsure = unsure.map(|at| *at + ON_ITS_WAY);
        let told = self.known.leaves.get(&one.id);
        let told = told.map(|at| *at + how_late(self.has_left_since(one, *at)));
        unsure.max(told).filter(|by| self.is_unseen_until(*by))
    }

    /// Whether an instance has been seen out of the pool since it was told to leave: it is, or was let in again.
    fn has_left_since(&self, one: &Instance, told: Moment) -> bool {
        let admitted = self.state.admitted.get(&one.id);
        one.out_since.is_some() || admitted.is_some_and(|at| *at > told)
    }

    /// Whether an instance that is healthy and serves does so until it is told otherwise: only such a one makes another
    /// one spare.
    pub(super) fn is_certain(&self, one: &Instance) -> bool {
        one.is_capacity() && self.leaves_by(one).is_none()
    }

    /// Until when, going back, a creation may still come about, or once more: what comes after the end would stay.
    pub(super) fn is_created_by(&self) -> Option<Moment> {
        let by = self.state.created? + ON_ITS_WAY;
        (self.state.is_back() && self.is_unseen_until(by)).then_some(by)
    }

    /// To what size a scaling of this revision may still come about that got no answer, and until when.
    pub(super) fn scale_on_its_way(&self, role: Role) -> Option<(u32, Moment)> {
        let (instances, missed) = *self.state.unsure_scales.get(&role)?;
        let by = missed + ON_ITS_WAY;
        self.is_unseen_until(by).then_some((instances, by))
    }

    /// Whether a revision may be scaled to this size now: not while a word of another size is on its way, which would
    /// undo it, and stop instances of the orchestrator's choice if it is the smaller one.
    pub(super) fn may_scale(&self, role: Role, instances: u32) -> bool {
        let on_its_way = self.scale_on_its_way(role);
        on_its_way.is_none_or(|(other, _)| other == instances)
    }

    /// Until when an instance of this revision that runs may be one that stops, because the revision was told to have
    /// none: the word may be on its way for a while, and then there is the grace.
    pub(super) fn is_emptied_by(&self, role: Role) -> Option<Moment> {
        self.seen.revision(role)?;
        let by = *self.state.emptied.get(&role)? + ON_ITS_WAY + self.grace();
        self.is_unseen_until(by).then_some(by)
    }

    /// Whether any instance of this revision may be stopped by a scaling that is on its way, or was said just now.
    pub(super) fn may_lose_any(&self, role: Role) -> bool {
        self.may_shrink(role) || self.is_emptied_by(role).is_some()
    }

    /// Whether a scaling that is on its way would make this revision smaller.
    fn may_shrink(&self, role: Role) -> bool {
        let wanted = self.seen.revision(role).map(|revision| revision.wanted);
        let on_its_way = self.scale_on_its_way(role);
        on_its_way.is_some_and(|(instances, _)| wanted.is_some_and(|wanted| instances < wanted))
    }

    /// How long the outgoing revision's tasks, and BLUE's, may take to stop.
    pub(super) fn grace(&self) -> Span {
        let green = self.plan.green.definition.get("taskKillGracePeriodSeconds");
        let blue = self.plan.blue.as_ref();
        let blue = blue.and_then(|blue| blue.definition.get("taskKillGracePeriodSeconds"));
        let seconds = [green, blue]
            .into_iter()
            .flatten()
            .filter_map(serde_json::Value::as_u64);
        seconds
            .max()
            .map_or(DEFAULT_GRACE, Span::seconds)
            .max(DEFAULT_GRACE)
    }

    /// No deadline counts from before: the turn, the last resumption, or when this process first saw everything.
    pub(super) fn anchor(&self) -> Moment {
        self.state.anchor.max(self.seen.sighted_since)
    }

    /// When a limit is over that counts from a moment. The time in which nothing could be seen does not count, but no
    /// more of it than teal would ever wait blindly: one that sees only now and then comes to an end all the same.
    pub(super) fn due(&self, since: Moment, limit: Span) -> Moment {
        let from = since.max(self.anchor());
        from + limit + self.seen.unseen_since(from).min(BLIND_DEADLINE)
    }

    /// Whether a pool entry without an instance is this deployment's to forget: it was BLUE's or GREEN's, or left over
    /// from before. Anybody else's is not touched.
    pub(super) fn is_ours(&self, stray: &Stray) -> bool {
        stray.known
            || self.state.served.contains(&stray.instance)
            || self.plan.dead.contains(&stray.instance)
    }

    /// The least healthy, serving instances, the way it goes.
    pub(super) fn floor(&self) -> usize {
        self.plan.floor(self.incoming_role()) as usize
    }

    /// BLUE that is not healthy and in no pool, in whose place a GREEN serves: it adds nothing to the capacity, and the
    /// room that it takes may be what GREEN needs to grow.
    fn superfluous(&self) -> BTreeSet<&InstanceId> {
        let serving = self.incoming_capacity();
        if serving == 0 {
            return BTreeSet::new();
        }
        let alive = |one: &&Instance| one.phase != Phase::Stopping && !self.is_killed(one);
        let useless = |one: &&Instance| !one.is_in_pool() && !one.is_well() && alive(one);
        let at_first = self.plan.blue.as_ref().map_or(0, |blue| blue.instances) as usize;
        let both = self.outgoing().filter(alive).count() + serving;
        let excess = both.saturating_sub(at_first).min(serving);
        let superfluous = self.outgoing().filter(useless).take(excess);
        superfluous.map(|one| &one.id).collect()
    }

    pub(super) fn is_drained(&self, one: &Instance) -> bool {
        one.looks_idle() && one.idle_samples >= self.plan.settings.drain_samples
    }

    /// A GREEN that no pool ever held has received nothing: there is nothing to drain, unless its gauge says so. BLUE
    /// gets no such benefit: who knows who else sends it work.
    pub(super) fn never_served(&self, one: &Instance) -> bool {
        let green = self.state.is_back();
        let busy = matches!(one.pending, Pending::Count(count) if count > 0);
        green && !self.state.served.contains(&one.id) && one.traffic == Traffic::Out && !busy
    }

    /// When an instance began to drain, as far as its deadline goes: not before it was permitted to stop.
    pub(super) fn drain_began(&self, one: &Instance) -> Moment {
        let withdrawn = self.state.withdrawn.get(&one.id).copied();
        let out = withdrawn.or(one.out_since).unwrap_or(self.now);
        let warm_until = match self.state.bake_began {
            Some(began) if !self.state.is_back() && !self.state.bake_ended => {
                began + self.plan.settings.keep_blue()
            }
            Some(_) | None => out,
        };
        let promoted = self.state.promoted_at.unwrap_or(out);
        out.max(warm_until).max(promoted).max(self.anchor())
    }

    pub(super) fn is_overdue(&self, one: &Instance) -> bool {
        self.now >= self.due(self.drain_began(one), self.plan.settings.drain_deadline)
    }

    pub(super) fn needs_gate(&self, gate: Gate) -> bool {
        !self.state.is_back()
            && self.plan.blue.is_some()
            && self.plan.settings.gates.contains(&gate)
            && !self.state.open_gates.contains(&gate)
    }

    /// Nothing outgoing gets traffic any more, and the incoming revision is complete.
    pub(super) fn is_shifted(&self) -> bool {
        let target = self.plan.target(self.incoming_role()) as usize;
        !self.outgoing().any(Instance::is_in_pool) && self.incoming_capacity() >= target
    }

    /// Whether BLUE, out of the pool, may be stopped: the bake is over and the gate is open, or nothing of it is left.
    /// Back, nothing is kept warm.
    pub(super) fn is_warm_time_over(&self) -> bool {
        if self.state.is_back() || self.outgoing().next().is_none() {
            return true;
        }
        let keep = self.plan.settings.keep_blue();
        let began = self.state.bake_began;
        let baked = keep.0 == 0
            || self.state.bake_ended
            || began.is_some_and(|began| began + keep <= self.now);
        baked && !self.needs_gate(Gate::Retire)
    }

    /// Whether what is drained must be kept all the same: all traffic had moved, and the warm time is not over. That
    /// some of it serves again, because GREEN fell ill, is all the more a reason.
    pub(super) fn is_kept_warm(&self) -> bool {
        let shifting = self.outgoing().any(Instance::is_in_pool);
        let had_moved = self.state.bake_began.is_some()
            || self
                .state
                .gate
                .is_some_and(|(gate, _)| gate == Gate::Retire);
        !self.is_warm_time_over() && (!shifting || had_moved)
    }
}

/// Of what is remembered of instances, by id, returns what is of those that are seen. Both are sorted, and walked through
/// side by side.
fn of_seen<'a, T>(
    remembered: &'a BTreeMap<InstanceId, T>,
    seen: &Observation,
) -> BTreeMap<&'a InstanceId, &'a T> {
    let mut both = BTreeMap::new();
    for revision in [&seen.blue, &seen.green].into_iter().flatten() {
        let Some(first) = revision.instances.first() else {
            continue;
        };
        let mut instances = revision.instances.iter().peekable();
        for (id, what) in remembered.range(&first.id..) {
            while instances.next_if(|one| one.id < *id).is_some() {}
            match instances.peek() {
                None => break,
                Some(one) if one.id == *id => {
                    both.insert(id, what);
                }
                Some(_) => {}
            }
        }
    }
    both
}

/// How late a change that was answered may come.
const fn how_late(is_seen: bool) -> Span {
    if is_seen { ONCE_MORE } else { ON_ITS_WAY }
}
