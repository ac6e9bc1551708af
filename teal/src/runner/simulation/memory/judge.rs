//! What the promises mean in truth. The rules of decisions are `teal_core::invariants`, which every decision is held
//! against anyway; here what really happened is held against them.

use super::world::{By, Pool, State};
use std::collections::{BTreeMap, BTreeSet};
use teal_core::action::{Action, InstanceAction, KillReason, PoolAction};
use teal_core::name::{InstanceId, Role};
use teal_core::observation::{EndpointState, Health, InstanceSighting, Phase};
use teal_core::plan::Plan;
use teal_core::settings::OnDrainDeadline;

#[derive(Debug, Default)]
pub(super) struct Judge {
    /// Who stopped what.
    pub(super) stopped: BTreeMap<InstanceId, By>,
    /// What was stopped with work at hand because the operator said so.
    pub(super) dropped: BTreeSet<InstanceId>,
    pub(super) kills: u64,
    /// What the promises are held against.
    plan: Option<Plan>,
    /// Whether the operator has said that work may be dropped.
    may_force: bool,
    /// What the deployer that acts was last told: who runs and is healthy.
    well: BTreeSet<InstanceId>,
    /// Likewise, who is in the pool.
    pub(super) seen: Pool,
    pub(super) breaches: Vec<String>,
}

impl Judge {
    pub(super) fn set_plan(&mut self, plan: &Plan) {
        self.may_force |= plan.settings.on_drain_deadline == OnDrainDeadline::Force;
        self.plan = Some(plan.clone());
    }

    pub(super) fn permit_force(&mut self) {
        self.may_force = true;
    }

    /// Notes what teal is shown.
    pub(super) fn is_shown<'a>(&mut self, all: impl Iterator<Item = &'a InstanceSighting>) {
        let well =
            |one: &&InstanceSighting| one.phase == Phase::Running && one.health == Health::Healthy;
        self.well = all.filter(well).map(|one| one.id.clone()).collect();
    }

    /// Returns how many get requests and are well, as far as teal was told: what it can know of the capacity.
    pub(super) fn capacity(&self, pool: Option<&Pool>) -> usize {
        let entries = pool.into_iter().flatten();
        let serving = entries.filter(|(_, endpoint)| endpoint.state == EndpointState::Serving);
        serving.filter(|(id, _)| self.well.contains(*id)).count()
    }
}

impl State {
    pub(super) fn breach(&mut self, what: String) {
        self.tell(|| format!("BROKEN {what}"));
        // Every request to what is stopped would say the same again.
        if self.judge.breaches.last() != Some(&what) {
            self.judge.breaches.push(what);
        }
    }

    /// P2: nothing that teal stops serves, has a request under way, or an operation pending.
    pub(super) fn judge_stop(&mut self, id: &InstanceId, by: By) {
        self.judge.stopped.insert(id.clone(), by);
        let in_flight = self.traffic.in_flight(id);
        let pending = self.traffic.pending(id);
        let endpoint = self.pool.as_ref().and_then(|pool| pool.get(id));
        let serves = endpoint.is_some_and(|endpoint| endpoint.state == EndpointState::Serving);
        let is_busy = in_flight > 0 || pending > 0;
        match by {
            By::Others => {}
            By::Teal if is_busy || serves => self.breach(format!(
                "P2: teal has stopped {id} with {in_flight} in flight and {pending} pending, serving: {serves}"
            )),
            By::Force if serves => {
                self.breach(format!("P2: teal has stopped {id} by force while it serves"));
            }
            By::Force if is_busy => {
                self.judge.dropped.insert(id.clone());
            }
            By::Teal | By::Force => {}
        }
    }

    /// What teal asks for, before anything can go wrong with it.
    pub(super) fn judge_action(&mut self, action: &Action) {
        match action {
            Action::Instance(InstanceAction::Kill { victims, .. }) => {
                self.judge.kills += 1;
                let forced = |why: &KillReason| matches!(why, KillReason::Forced(_));
                let is_forced = victims.iter().any(|victim| forced(&victim.why));
                if is_forced && !self.judge.may_force {
                    self.breach("P2: teal forces, and nobody has asked for it".to_owned());
                }
            }
            Action::Pool(PoolAction::Change {
                admit, withdraw, ..
            }) => {
                for member in admit {
                    self.judge_entry(&member.instance);
                }
                if !withdraw.is_empty() {
                    self.judge_capacity(action);
                }
            }
            Action::Instance(_) | Action::Pool(_) | Action::Mark(_) => {}
        }
    }

    /// P4: nothing enters that was not healthy for long enough.
    fn judge_entry(&mut self, id: &InstanceId) {
        let Some(plan) = &self.judge.plan else { return };
        let settle = plan.settings.min_healthy_time;
        let since = self.instances.get(id).map(|one| one.first_healthy);
        // It may have ended since the look.
        let is_settled = since.is_none_or(|since| since.is_some_and(|at| at + settle <= self.now));
        if !is_settled || !self.judge.well.contains(id) {
            self.breach(format!("P4: {id} enters the pool, healthy since {since:?}"));
        }
    }

    /// P1: teal never takes the capacity that it knows of below the floor.
    fn judge_capacity(&mut self, action: &Action) {
        let Some(plan) = &self.judge.plan else { return };
        let floor = plan.floor(Role::Blue).min(plan.floor(Role::Green)) as usize;
        let before = self.judge.capacity(self.pool.as_ref());
        let mut pool = self.pool.clone();
        if let (Some(pool), Action::Pool(action)) = (&mut pool, action) {
            super::changes::change(pool, action);
        }
        let after = self.judge.capacity(pool.as_ref());
        if after < floor.min(before) {
            self.breach(format!(
                "P1: {before} known to be well served, {after} do; the floor is {floor}"
            ));
        }
    }
}
