//! The plan told to a person: the steps, the room they need, how long they take at most, and what going back costs.

use super::Plan;
use crate::settings::{Gate, OnDrainDeadline};
use crate::time::Span;
use serde::{Deserialize, Serialize};

/// What would happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The most instances that exist at once.
    pub room: u32,
    /// The least time it takes: settling and sampling alone.
    pub at_least: Span,
    /// The most time it takes before it has ended one way or the other, waits for people left out.
    pub at_most: Span,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What is done, as a sentence without a full stop.
    pub what: String,
    /// What going back from here costs.
    pub way_back: String,
}

impl Plan {
    /// Returns the outline.
    #[must_use]
    pub fn outline(&self) -> Outline {
        let rounds = self.rounds();
        let settle = self.settings.min_healthy_time;
        let drain = match self.blue {
            Some(_) => {
                self.settings.drain_interval
                    * u64::from(self.settings.drain_samples.saturating_sub(1))
            }
            None => Span::ZERO,
        };
        let keep = self.settings.keep_blue();
        let most = self.settings.healthy_deadline + settle + self.settings.drain_deadline;
        Outline {
            steps: self.steps(rounds),
            room: self
                .room
                .min(self.blue_count().saturating_add(self.target))
                .max(self.target),
            at_least: (settle + drain) * rounds + keep,
            at_most: most * rounds + keep + most,
        }
    }

    fn blue_count(&self) -> u32 {
        self.blue.as_ref().map_or(0, |blue| blue.instances)
    }

    fn rounds(&self) -> u64 {
        let rest = self.target.saturating_sub(self.initial);
        if self.blue.is_some() {
            1 + u64::from(rest.div_ceil(self.batch.max(1)))
        } else {
            1
        }
    }

    fn steps(&self, rounds: u64) -> Vec<Step> {
        let mut steps = self.launch_steps();
        if self.blue.is_none() {
            steps.push(step(
                format!("put them into the pool of {}", self.service),
                "take them out and remove GREEN",
            ));
            return steps;
        }
        steps.extend(self.shift_steps(rounds));
        steps.extend(self.retire_steps());
        steps
    }

    fn launch_steps(&self) -> Vec<Step> {
        let first = if self.blue.is_some() {
            self.initial
        } else {
            self.target
        };
        let (settle, most) = (
            self.settings.min_healthy_time,
            self.settings.healthy_deadline,
        );
        let mut steps = vec![
            step(
                format!("create GREEN {} with no instances", self.green.revision),
                "remove GREEN",
            ),
            step(
                format!(
                    "launch {first} GREEN, wait until all checks are alive for {settle} (at most {most})"
                ),
                UNTOUCHED,
            ),
        ];
        if self.settings.gates.contains(&Gate::Shift) && self.blue.is_some() {
            steps.push(step(
                format!("wait for `teal promote {}`", self.service),
                UNTOUCHED,
            ));
        }
        steps
    }

    fn shift_steps(&self, rounds: u64) -> Vec<Step> {
        let (first, batch) = (self.initial, self.batch);
        let shift = if self.atomic_change && rounds == 1 {
            format!(
                "shift all traffic from {} BLUE to {first} GREEN in one change",
                self.blue_count()
            )
        } else {
            format!(
                "put {first} GREEN into the pool, take up to {batch} BLUE out of it (floor {})",
                self.floor
            )
        };
        let mut steps = vec![
            step(shift, ONE_CHANGE),
            step(self.drain_sentence(), "put BLUE back into the pool"),
        ];
        if rounds > 1 {
            steps.push(step(
                format!(
                    "stop the drained BLUE, launch {batch} more GREEN, and so on: {rounds} rounds"
                ),
                "launch the stopped BLUE again, then take GREEN out",
            ));
        }
        steps
    }

    fn retire_steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let keep = self.settings.keep_blue();
        if keep > Span::ZERO {
            steps.push(step(format!("keep BLUE warm for {keep}"), ONE_CHANGE));
        }
        if self.settings.gates.contains(&Gate::Retire) {
            steps.push(step(
                format!("wait for `teal promote {}`", self.service),
                ONE_CHANGE,
            ));
        }
        let blue = self.blue.as_ref().map_or("", |blue| blue.revision.as_str());
        steps.push(step(
            format!("stop the last BLUE and remove {blue}"),
            "a deployment of BLUE's definition from history",
        ));
        steps
    }

    fn drain_sentence(&self) -> String {
        let policy = match self.settings.on_drain_deadline {
            OnDrainDeadline::Wait => "then keep waiting and say so",
            OnDrainDeadline::Rollback => "then roll back",
            OnDrainDeadline::Force => "then stop it all the same",
        };
        let what = match self.blue.as_ref().map(|blue| &blue.pending) {
            Some(crate::definition::PendingSource::None) | None => "in-flight (pending: none)",
            Some(_) => "in-flight and pending operations",
        };
        format!(
            "wait until {what} read zero {} times, {} apart (at most {}, {policy})",
            self.settings.drain_samples, self.settings.drain_interval, self.settings.drain_deadline
        )
    }
}

const UNTOUCHED: &str = "remove GREEN; BLUE was not touched";
const ONE_CHANGE: &str = "one pool change: BLUE is still running";

fn step(what: String, way_back: &str) -> Step {
    Step {
        what,
        way_back: way_back.to_owned(),
    }
}
