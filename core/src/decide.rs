//! The one function that decides: called whenever something changed or a deadline passed.
//!
//! It is level-triggered: it looks at what is, never at what happened. Going back is the same round with the roles
//! swapped; [`sides`] holds that swap. Read [`round`] for the actions and [`wait`] for what is waited for and until when.

mod kill;
mod round;
mod sides;
mod wait;
mod way_back;

pub use wait::{Then, Waiting, WaitingFor};
pub use way_back::{WayBack, way_back};

use crate::action::{Action, Mark};
use crate::invariants;
use crate::journal::{Direction, Outcome, State, TRIES_END};
use crate::name::Role;
use crate::observation::{Health, Observation};
use crate::plan::{BLIND_DEADLINE, EFFECT_DEADLINE, Plan};
use crate::time::{Moment, Span};
use serde::{Deserialize, Serialize};
use sides::Sides;

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Carry these out, in this order, and look again. A failure ends the list: the rest is decided anew.
    Act(Vec<Action>),
    /// Look again at `until` at the latest, or as soon as something changes.
    Wait {
        /// When to look again.
        until: Moment,
        /// What is waited for, until when at most, and what happens then.
        reason: Waiting,
    },
    /// The deployment has ended.
    Finish(Outcome),
}

/// Where a deployment is, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The first incoming instances are starting and settling.
    Launch,
    /// Traffic is moving.
    Shift,
    /// All traffic has moved; the outgoing revision is kept warm.
    Bake,
    /// What is left of the outgoing revision drains, stops and is removed.
    Retire,
    /// It has ended.
    Done,
}

/// Decides what to do next, from what is planned, what was done, and what is seen.
#[must_use]
pub fn decide(plan: &Plan, state: &State, seen: &Observation, now: Moment) -> Decision {
    let decision = Sides::new(plan, state, seen, now).decide();
    debug_assert_eq!(invariants::check(plan, state, seen, now, &decision), Ok(()));
    decision
}

/// Returns where the deployment is.
#[must_use]
pub fn stage(plan: &Plan, state: &State, seen: &Observation, now: Moment) -> Stage {
    let sides = Sides::new(plan, state, seen, now);
    if state.outcome.is_some() {
        Stage::Done
    } else if sides.incoming().all(|one| !one.is_in_pool()) && !state.is_back() {
        Stage::Launch
    } else if sides
        .outgoing()
        .any(crate::observation::Instance::is_in_pool)
    {
        Stage::Shift
    } else if !sides.is_warm_time_over() {
        Stage::Bake
    } else {
        Stage::Retire
    }
}

impl Sides<'_> {
    fn decide(&self) -> Decision {
        if let Some(outcome) = &self.state.outcome {
            return Decision::Finish(outcome.clone());
        }
        if let Some(waiting) = self.paused().or_else(|| self.blind()) {
            return self.wait_or_expire(vec![waiting]);
        }
        if let Some(reason) = self.reason_to_turn_back() {
            return self.give_up(reason);
        }
        let mut waits = self.waits();
        if let Some(expired) = waits.iter().find(|wait| self.has_expired(wait)) {
            return self.expire(expired);
        }
        let (due, early): (Vec<_>, Vec<_>) = self
            .round()
            .into_iter()
            .partition(|action| self.is_due(action));
        if let Some(vain) = due.iter().find(|action| self.is_in_vain(action)) {
            let last = self
                .state
                .last_failure
                .as_deref()
                .unwrap_or("no effect is seen");
            return self.give_up(format!(
                "`{}` was tried for {EFFECT_DEADLINE} in vain: {last}",
                vain.key()
            ));
        }
        if !due.is_empty() {
            return Decision::Act(due);
        }
        if early.is_empty() && self.is_finished() {
            return Decision::Finish(self.outcome());
        }
        waits.extend(early.iter().map(|action| self.effect(action)));
        if waits.is_empty() {
            waits.push(self.any_effect());
        }
        self.wait_or_expire(waits)
    }

    /// Something that waiting cannot mend.
    fn reason_to_turn_back(&self) -> Option<String> {
        if let Some(refused) = &self.state.refused {
            return Some(refused.clone());
        }
        if self.state.is_back() {
            return None;
        }
        let limit = self.plan.settings.unhealthy_limit;
        let sick = self.incoming().find(|one| {
            let long_enough = one
                .unhealthy_since
                .is_some_and(|since| since + limit <= self.now);
            one.is_in_pool() && one.health == Health::Unhealthy && long_enough
        });
        sick.map(|one| {
            format!(
                "{} {} has been unhealthy in the pool for {limit}",
                self.incoming_role(),
                one.id
            )
        })
    }

    /// Forward there is a way back; back there is only a person.
    fn give_up(&self, reason: String) -> Decision {
        if self.state.is_back() {
            Decision::Finish(Outcome::Stuck { reason })
        } else {
            Decision::Act(vec![Action::Mark(Mark::TurnBack { reason })])
        }
    }

    fn has_expired(&self, wait: &Waiting) -> bool {
        wait.then != Then::GoOn && wait.deadline <= self.now
    }

    fn expire(&self, wait: &Waiting) -> Decision {
        let reason = format!("{}, and the deadline has passed", wait.text);
        match wait.then {
            Then::RollBack | Then::GoOn => self.give_up(reason),
            Then::Stuck => Decision::Finish(Outcome::Stuck { reason }),
        }
    }

    /// The first wait is the one that is shown; all of them say when to look again.
    fn wait_or_expire(&self, waits: Vec<Waiting>) -> Decision {
        if let Some(expired) = waits.iter().find(|wait| self.has_expired(wait)) {
            return self.expire(expired);
        }
        let until = waits.iter().map(|wait| wait.until.min(wait.deadline)).min();
        let soonest = self.now + Span::millis(1);
        match waits.into_iter().next() {
            Some(reason) => Decision::Wait {
                until: until.unwrap_or(soonest).max(soonest),
                reason,
            },
            None => Decision::Wait {
                until: soonest,
                reason: self.any_effect(),
            },
        }
    }

    fn paused(&self) -> Option<Waiting> {
        let since = self.state.paused_at?;
        Some(Waiting {
            on: WaitingFor::Operator,
            text: "paused by the operator: `teal resume`, or `teal rollback`".to_owned(),
            until: since + self.plan.settings.patience,
            deadline: since + self.plan.settings.patience,
            then: Then::Stuck,
        })
    }

    fn blind(&self) -> Option<Waiting> {
        let blind = self.seen.blind.as_ref()?;
        let deadline = blind.since.max(self.anchor()) + BLIND_DEADLINE;
        Some(Waiting {
            on: WaitingFor::Sight,
            text: format!(
                "the {} cannot be seen ({}); nothing is done meanwhile",
                blind.system, blind.reason
            ),
            until: self.now + Span::seconds(1),
            deadline,
            then: Then::Stuck,
        })
    }

    fn is_finished(&self) -> bool {
        let outgoing_is_gone = self.seen.revision(self.outgoing_role()).is_none();
        let clean = !self.seen.strays.iter().any(|stray| self.is_ours(stray));
        let owed = self.plan.owed(self.incoming_role()) as usize;
        let quiet = self.is_created_by().is_none();
        let serving = self.incoming().filter(|one| self.is_certain(one)).count();
        outgoing_is_gone && clean && quiet && serving >= owed
    }

    fn outcome(&self) -> Outcome {
        match &self.state.direction {
            Direction::Forward => Outcome::Completed,
            Direction::Back { reason } => Outcome::RolledBack {
                reason: reason.clone(),
            },
        }
    }

    /// The same action is tried again only after a while, which doubles: its effect may just not be seen yet.
    fn is_due(&self, action: &Action) -> bool {
        self.next_try(action).is_none_or(|at| at <= self.now)
    }

    fn next_try(&self, action: &Action) -> Option<Moment> {
        let attempt = self.state.attempts.get(&action.key())?;
        let factor = 1_u64 << attempt.count.saturating_sub(1).min(5);
        Some(attempt.last + Span::millis(1000 * factor).min(Span::seconds(30)))
    }

    fn is_in_vain(&self, action: &Action) -> bool {
        let Some(attempt) = self.state.attempts.get(&action.key()) else {
            return false;
        };
        let lately = self.now.since(attempt.last) <= TRIES_END;
        attempt.count > 1 && lately && self.due(attempt.first, EFFECT_DEADLINE) <= self.now
    }

    fn effect(&self, action: &Action) -> Waiting {
        let first = self
            .state
            .attempts
            .get(&action.key())
            .map_or(self.now, |attempt| attempt.first);
        Waiting {
            on: WaitingFor::Effect,
            text: match &self.state.last_failure {
                Some(failure) => format!("`{}` is tried again: {failure}", action.key()),
                None => format!("the effect of `{}` is not seen yet", action.key()),
            },
            until: self.next_try(action).unwrap_or(self.now),
            deadline: self.due(first, EFFECT_DEADLINE + Span::seconds(30)),
            then: self.then_turn_back(),
        }
    }

    /// What is left to wait for when nothing particular is: the last actions' effects.
    fn any_effect(&self) -> Waiting {
        Waiting {
            on: WaitingFor::Effect,
            text: format!(
                "the last step's effect on {} is not seen yet",
                self.plan.service
            ),
            until: self.now + Span::seconds(1),
            deadline: self.due(
                self.state.acted_at,
                EFFECT_DEADLINE + self.plan.settings.healthy_deadline,
            ),
            then: self.then_turn_back(),
        }
    }

    fn then_turn_back(&self) -> Then {
        if self.state.is_back() {
            Then::Stuck
        } else {
            Then::RollBack
        }
    }
}

impl Sides<'_> {
    /// The role that is coming: GREEN forward, BLUE back.
    pub(super) const fn incoming_role(&self) -> Role {
        if self.state.is_back() {
            Role::Blue
        } else {
            Role::Green
        }
    }

    /// The role that is leaving.
    pub(super) const fn outgoing_role(&self) -> Role {
        self.incoming_role().other()
    }
}
