//! What is waited for, until when, and what happens then. Nothing waits without all three.

use super::sides::Sides;
use crate::action::Lock;
use crate::name::{InstanceId, Role};
use crate::observation::{Health, Instance, Pending, Phase};
use crate::plan::{EFFECT_DEADLINE, KILL_DEADLINE};
use crate::settings::{Gate, OnDrainDeadline};
use crate::time::{Moment, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Why nothing is done at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// What kind of thing is waited for.
    pub on: WaitingFor,
    /// The same as a sentence for people, without a full stop.
    pub text: String,
    /// When to look again at the latest.
    pub until: Moment,
    /// When the waiting ends.
    pub deadline: Moment,
    /// What happens then.
    pub then: Then,
}

/// What kind of thing is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WaitingFor {
    /// Incoming instances to start and become healthy.
    Health,
    /// Healthy instances to have been so for `min_healthy_time`.
    Settling,
    /// A person to promote, or to resume.
    Operator,
    /// The bake to end.
    Bake,
    /// Outgoing instances to drain.
    Drain,
    /// Instances that were told to stop to be gone.
    Stop,
    /// Somebody else's change to end.
    Lock,
    /// An action's effect to be seen.
    Effect,
    /// A system to be seen again.
    Sight,
}

/// What happens at a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// The deployment goes on.
    GoOn,
    /// teal rolls back.
    RollBack,
    /// teal stops and calls for a person.
    Stuck,
}

impl Sides<'_> {
    /// Returns everything that is waited for, the most telling first.
    pub(super) fn waits(&self) -> Vec<Waiting> {
        let all = [
            self.gate(),
            self.locked(),
            self.too_many(),
            self.starting(),
            self.settling(),
            self.doubtful(),
            self.drain(),
            self.bake(),
            self.stopping(),
            self.arriving(),
        ];
        all.into_iter().flatten().collect()
    }

    fn gate(&self) -> Option<Waiting> {
        let (gate, reached) = self.state.gate?;
        if !self.needs_gate(gate) {
            return None;
        }
        let deadline = self.due(reached, self.plan.settings.patience);
        let what = match gate {
            Gate::Shift => "GREEN gets its first traffic",
            Gate::Retire => "BLUE, still warm, is stopped",
        };
        Some(Waiting {
            on: WaitingFor::Operator,
            text: format!(
                "gate `{gate}`: a person promotes before {what} (`teal promote {}`)",
                self.plan.service
            ),
            until: deadline,
            deadline,
            then: Then::RollBack,
        })
    }

    /// Somebody's change keeps teal from scaling or stopping where it has to.
    fn locked(&self) -> Option<Waiting> {
        let kill = !self.victims().is_empty() && self.outgoing_lock() == Lock::Respect;
        let scale = self.next_size().is_some() && self.state.is_back();
        let blocked = |role, needed: bool| self.seen.revision(role).filter(|_| needed);
        let both = [
            blocked(self.outgoing_role(), kill),
            blocked(self.incoming_role(), scale),
        ];
        let mut locked = both.into_iter().flatten();
        let (id, since) = locked.find_map(|one| Some((&one.id, one.locked_since?)))?;
        let deadline = self.due(since, EFFECT_DEADLINE);
        Some(Waiting {
            on: WaitingFor::Lock,
            text: format!("{id} is locked by a change under way"),
            until: self.now + Span::seconds(1),
            deadline,
            then: self.then_turn_back(),
        })
    }

    /// Something is drained, and the orchestrator runs more than it is told to.
    fn too_many(&self) -> Option<Waiting> {
        let revision = self.seen.revision(self.outgoing_role())?;
        let victims = self.victims();
        if victims.is_empty() || !self.victims_that_leave_enough().is_empty() {
            return None;
        }
        let named: BTreeSet<&InstanceId> = victims.iter().map(|victim| &victim.instance).collect();
        let is_victim = |one: &&Instance| named.contains(&one.id);
        // A bake may have passed since the last action: what it kept was not to be stopped before.
        let permitted = self.outgoing().filter(is_victim);
        let permitted = permitted.map(|one| self.drain_began(one)).max();
        let since = permitted.unwrap_or(self.state.acted_at);
        Some(Waiting {
            on: WaitingFor::Effect,
            text: format!(
                "more instances of {} run than the {} that are wanted: one more is only stopped when that is settled",
                revision.id, revision.wanted
            ),
            until: self.now + Span::seconds(1),
            deadline: self.due(since.max(self.state.acted_at), EFFECT_DEADLINE),
            then: self.then_turn_back(),
        })
    }

    /// A change got no answer, or not all of its effect is seen, and more may still come about.
    fn arriving(&self) -> Option<Waiting> {
        let admitted = self.outgoing().filter_map(|one| self.arrives_by(one));
        let roles = [Role::Blue, Role::Green];
        let scaled = roles
            .into_iter()
            .filter_map(|role| Some(self.scale_on_its_way(role)?.1));
        let emptied = roles
            .into_iter()
            .filter_map(|role| self.is_emptied_by(role));
        let scaled = scaled.chain(emptied);
        let serving = self.incoming().filter(|one| one.is_capacity());
        let leaving = serving.filter_map(|one| self.leaves_by(one));
        let created = self.is_created_by();
        let until = admitted.chain(leaving).chain(created).chain(scaled).min()?;
        Some(Waiting {
            on: WaitingFor::Effect,
            text: "the effect of a change may still come about".to_owned(),
            until,
            deadline: until,
            then: Then::GoOn,
        })
    }

    /// Incoming instances are wanted and not all of them are healthy.
    fn starting(&self) -> Option<Waiting> {
        let role = self.incoming_role();
        let revision = self.seen.revision(role)?;
        let since = revision.unsettled_since?;
        let well = revision
            .instances
            .iter()
            .filter(|one| one.is_well() && one.current)
            .count();
        let began = since.max(self.state.launched_at);
        let deadline = self.due(began, self.plan.settings.healthy_deadline);
        if well >= revision.wanted as usize {
            return self.never_settling(deadline + self.plan.settings.min_healthy_time);
        }
        let mut text = format!("{well} of {} {role} instances are healthy", revision.wanted);
        if let Some(sick) = revision
            .instances
            .iter()
            .find(|one| one.health == Health::Unhealthy)
        {
            text += &format!("; {} is unhealthy", crate::report::short(&sick.id));
        }
        if let Some(trouble) = &revision.trouble {
            text += &format!("; {trouble}");
        }
        Some(Waiting {
            on: WaitingFor::Health,
            text,
            until: deadline,
            deadline,
            then: self.then_turn_back(),
        })
    }

    /// All are healthy, and some never long enough at a stretch, or never in sight for long enough.
    fn never_settling(&self, deadline: Moment) -> Option<Waiting> {
        let is_needed = self.incoming().any(|one| !one.is_in_pool());
        if !is_needed || self.now < deadline {
            return None;
        }
        let (role, settle) = (self.incoming_role(), self.plan.settings.min_healthy_time);
        let text =
            format!("{role} instances were never all seen healthy for {settle} at a stretch");
        Some(Waiting {
            on: WaitingFor::Settling,
            text,
            until: deadline,
            deadline,
            then: self.then_turn_back(),
        })
    }

    fn settling(&self) -> Option<Waiting> {
        let settle = self.plan.settings.min_healthy_time;
        let role = self.incoming_role();
        let moments = self
            .incoming()
            .filter(|one| !one.is_in_pool())
            .filter_map(|one| one.settles_at(settle));
        let until = moments.filter(|at| *at > self.now).min()?;
        let text = format!("{role} instances are healthy and must stay so for {settle}");
        Some(Waiting {
            on: WaitingFor::Settling,
            text,
            until,
            deadline: until,
            then: Then::GoOn,
        })
    }

    /// Going back: a BLUE was told to stop, or was about to be, and runs.
    fn doubtful(&self) -> Option<Waiting> {
        let moments = self
            .incoming()
            .filter_map(|one| Some((self.survives_at(one)?, one)));
        let (until, one) = moments
            .filter(|(at, _)| self.is_unseen_until(*at))
            .min_by_key(|(at, _)| *at)?;
        let role = self.incoming_role();
        let id = crate::report::short(&one.id);
        let text =
            format!("{role} {id} was told to stop and still runs: it comes back if it stays");
        Some(Waiting {
            on: WaitingFor::Stop,
            text,
            until,
            deadline: until,
            then: Then::GoOn,
        })
    }

    fn drain(&self) -> Option<Waiting> {
        if self.is_kept_warm() {
            return None;
        }
        let busy = self
            .draining()
            .filter(|one| !self.is_drained(one) && !self.never_served(one));
        self.drain_of(busy.collect())
    }

    fn drain_of(&self, busy: Vec<&Instance>) -> Option<Waiting> {
        let settings = &self.plan.settings;
        let slowest = busy.iter().min_by_key(|one| self.drain_began(one))?;
        let began = self.drain_began(slowest);
        let due = self.due(began, settings.drain_deadline);
        let (deadline, then) = match (settings.on_drain_deadline, self.state.is_back()) {
            (OnDrainDeadline::Rollback, false) => (due, Then::RollBack),
            (OnDrainDeadline::Rollback, true) => (due, Then::Stuck),
            (OnDrainDeadline::Wait, _) => (
                self.due(began, settings.patience.max(settings.drain_deadline)),
                Then::Stuck,
            ),
            (OnDrainDeadline::Force, _) => (due, Then::GoOn),
        };
        let mut text = format!(
            "{} {} {} drain: {}",
            busy.len(),
            self.outgoing_role(),
            plural(busy.len()),
            self.load(slowest)
        );
        if self.now >= due {
            text += &format!("; overdue since {}", self.now.since(due));
        }
        Some(Waiting {
            on: WaitingFor::Drain,
            text,
            until: self.next_sample(&busy),
            deadline,
            then,
        })
    }

    /// Returns when to read again what drains: an interval after the last sample that counts, so that none comes too early
    /// to count. Gauges do not answer all at once: those that are due a little later than the first are read with it.
    fn next_sample(&self, busy: &[&Instance]) -> Moment {
        let interval = self.plan.settings.drain_interval;
        let due = |one: &&Instance| one.sampled_at.unwrap_or(self.now) + interval;
        let first = busy.iter().map(due).min().unwrap_or(self.now + interval);
        let together = first + Span(interval.0 / 10);
        let with_it = busy.iter().map(due).filter(|due| *due <= together);
        with_it.max().unwrap_or(first)
    }

    /// What keeps one instance from being drained, as a person would say it.
    fn load(&self, one: &Instance) -> String {
        let in_flight = one
            .in_flight
            .map_or_else(|| "unknown".to_owned(), |count| count.to_string());
        let pending = match &one.pending {
            Pending::Unknown(why) => format!("pending unknown ({why})"),
            Pending::Count(count) => format!("pending {count}"),
            Pending::NotWatched => "pending not watched".to_owned(),
        };
        format!(
            "{} has in-flight {in_flight}, {pending}",
            crate::report::short(&one.id)
        )
    }

    fn bake(&self) -> Option<Waiting> {
        let began = self.state.bake_began?;
        if self.is_warm_time_over() || self.needs_gate(Gate::Retire) {
            return None;
        }
        let until = began + self.plan.settings.keep_blue();
        let text = format!(
            "BLUE stays warm: `teal rollback {}` brings it back at once",
            self.plan.service
        );
        Some(Waiting {
            on: WaitingFor::Bake,
            text,
            until,
            deadline: until,
            then: Then::GoOn,
        })
    }

    fn stopping(&self) -> Option<Waiting> {
        let dying = |one: &&Instance| self.is_killed(one) || one.phase == Phase::Stopping;
        let told = |one: &Instance| self.state.killed.get(&one.id).map(|kill| kill.first);
        let first = self.outgoing().filter(dying).min_by_key(|one| told(one))?;
        let killed = told(first).or(first.stopping_since).unwrap_or(self.now);
        let count = self.outgoing().filter(dying).count();
        let text = format!(
            "{count} {} {} told to stop {} not gone yet",
            self.outgoing_role(),
            plural(count),
            if count == 1 { "is" } else { "are" }
        );
        let deadline = self.due(killed, self.grace() + KILL_DEADLINE);
        Some(Waiting {
            on: WaitingFor::Stop,
            text,
            until: self.now + Span::seconds(1),
            deadline,
            then: Then::Stuck,
        })
    }
}

const fn plural(count: usize) -> &'static str {
    if count == 1 { "instance" } else { "instances" }
}
