//! The four things a decision is made from, seen from the direction of travel: what is coming, what is leaving.

use crate::journal::State;
use crate::observation::{Instance, Observation, Pending, Phase, Stray, Traffic};
use crate::plan::{BLIND_DEADLINE, KILL_DEADLINE, Plan};
use crate::settings::Gate;
use crate::time::{Moment, Span};

/// What Mesos gives a task to stop when its app does not say (`taskKillGracePeriodSeconds`).
const DEFAULT_GRACE: Span = Span::seconds(3);
/// How long after its grace an instance must still run to be taken for one that was never told.
const GRACE_MARGIN: Span = Span::seconds(5);

pub(super) struct Sides<'a> {
    pub(super) plan: &'a Plan,
    pub(super) state: &'a State,
    pub(super) seen: &'a Observation,
    pub(super) now: Moment,
}

impl Sides<'_> {
    pub(super) fn incoming(&self) -> impl Iterator<Item = &Instance> {
        self.seen.instances(self.incoming_role())
    }

    pub(super) fn outgoing(&self) -> impl Iterator<Item = &Instance> {
        self.seen.instances(self.outgoing_role())
    }

    fn is_incoming(&self, one: &Instance) -> bool {
        self.incoming().any(|other| other.id == one.id)
    }

    /// How many incoming instances are healthy and serving.
    pub(super) fn incoming_capacity(&self) -> usize {
        self.incoming().filter(|one| one.is_capacity()).count()
    }

    pub(super) fn is_settled(&self, one: &Instance) -> bool {
        one.is_settled(self.plan.settings.min_healthy_time, self.now)
    }

    /// Told to stop, so it gets no traffic again. Going back, a BLUE that still runs when its grace is long over is
    /// taken for one that the word never reached: BLUE has to come back.
    pub(super) fn is_killed(&self, one: &Instance) -> bool {
        self.state.killed.contains_key(&one.id)
            && self.survives_at(one).is_none_or(|at| at > self.now)
    }

    /// When an incoming instance that was told to stop, and runs, is taken for one that the word never reached: soon
    /// when it is not sure that it was said, late when it was.
    pub(super) fn survives_at(&self, one: &Instance) -> Option<Moment> {
        let kill = self.state.killed.get(&one.id)?;
        let back = self.state.is_back() && self.is_incoming(one) && one.phase == Phase::Running;
        let wait = if kill.unsure {
            GRACE_MARGIN
        } else {
            KILL_DEADLINE
        };
        back.then(|| kill.last + self.grace() + wait)
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

    /// Whether it is leaving for good: teal took it out, or its traffic drains. One that is merely in no pool, say a
    /// BLUE that was just relaunched, leaves only once GREEN serves and the floor is kept without it.
    fn is_leaving(&self, one: &Instance) -> bool {
        let spare = self.incoming_capacity() > 0 && self.seen.capacity() >= self.floor();
        self.state.is_back()
            || self.state.withdrawn.contains_key(&one.id)
            || one.traffic == Traffic::Draining
            || spare
            || self.is_superfluous(one)
    }

    /// Whether a GREEN serves in the place of this BLUE, which is not healthy and in no pool: it adds nothing to the
    /// capacity, and the room that it takes may be what GREEN needs to grow.
    fn is_superfluous(&self, one: &Instance) -> bool {
        let alive = |one: &&Instance| one.phase != Phase::Stopping && !self.is_killed(one);
        let useless = |one: &&Instance| alive(one) && !one.is_in_pool() && !one.is_well();
        let at_first = self.plan.blue.as_ref().map_or(0, |blue| blue.instances) as usize;
        let both = self.outgoing().filter(alive).count() + self.incoming_capacity();
        let excess = both.saturating_sub(at_first).min(self.incoming_capacity());
        self.outgoing()
            .filter(useless)
            .take(excess)
            .any(|other| other.id == one.id)
    }

    /// Leaving, alive, out of the pool, and not told to stop yet.
    pub(super) fn draining(&self) -> impl Iterator<Item = &Instance> {
        self.outgoing().filter(|one| {
            !one.is_in_pool()
                && one.phase != Phase::Stopping
                && !self.is_killed(one)
                && self.is_leaving(one)
        })
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
