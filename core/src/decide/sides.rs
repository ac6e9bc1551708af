//! The four things a decision is made from, seen from the direction of travel: what is coming, what is leaving.

use crate::journal::State;
use crate::observation::{Instance, Observation, Pending, Phase, Traffic};
use crate::plan::Plan;
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

    /// When an incoming instance that was told to stop, and runs, is taken for one that the word never reached.
    pub(super) fn survives_at(&self, one: &Instance) -> Option<Moment> {
        let kill = self.state.killed.get(&one.id)?;
        let back = self.state.is_back() && self.is_incoming(one) && one.phase == Phase::Running;
        let blue = self.plan.blue.as_ref().filter(|_| back)?;
        let grace = blue.definition.get("taskKillGracePeriodSeconds");
        let grace = grace
            .and_then(serde_json::Value::as_u64)
            .map_or(DEFAULT_GRACE, Span::seconds);
        Some(kill.last + grace + GRACE_MARGIN)
    }

    /// Leaving, alive, out of the pool, and not told to stop yet.
    pub(super) fn draining(&self) -> impl Iterator<Item = &Instance> {
        self.outgoing()
            .filter(|one| !one.is_in_pool() && one.phase != Phase::Stopping && !self.is_killed(one))
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
        let withdrawn = self
            .state
            .withdrawn
            .get(&one.id)
            .copied()
            .unwrap_or(self.state.anchor);
        let warm_until = match (self.state.bake_began, self.state.is_back()) {
            (Some(began), false) if !self.state.bake_ended => {
                began + self.plan.settings.keep_blue()
            }
            (_, _) => withdrawn,
        };
        withdrawn.max(warm_until).max(self.state.anchor)
    }

    pub(super) fn is_overdue(&self, one: &Instance) -> bool {
        self.now >= self.drain_began(one) + self.plan.settings.drain_deadline
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

    /// Whether BLUE, out of the pool, may be stopped: the bake is over and the gate is open. Back, nothing is kept warm.
    pub(super) fn is_warm_time_over(&self) -> bool {
        if self.state.is_back() {
            return true;
        }
        let keep = self.plan.settings.keep_blue();
        let baked = keep.0 == 0
            || self.state.bake_ended
            || self
                .state
                .bake_began
                .is_some_and(|began| began + keep <= self.now);
        baked && !self.needs_gate(Gate::Retire)
    }
}
