//! The fold of a journal: all that decisions remember.

mod doubt;

use super::{Command, Entry, Event, Outcome};
use crate::action::{Action, Mark};
use crate::name::{InstanceId, Role};
use crate::plan::Plan;
use crate::settings::Gate;
use crate::time::{Moment, Span};
use doubt::Open;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Which way a deployment goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "direction")]
pub enum Direction {
    /// From BLUE to GREEN.
    Forward,
    /// From GREEN back to BLUE. There is no way from here to forward again.
    Back {
        /// Why it was turned.
        reason: String,
    },
}

/// The operator's word that undrained instances may be stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Force {
    /// Why.
    pub reason: String,
    /// When it was given: it covers what was draining then, and nothing later.
    pub at: Moment,
}

/// How often the same action has been tried lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// The first try of this run of tries.
    pub first: Moment,
    /// The latest.
    pub last: Moment,
    /// How many.
    pub count: u32,
}

/// What was done to stop an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    /// When it was told first.
    pub first: Moment,
    /// When it was told last, or when the answer to that was missed.
    pub last: Moment,
    /// Whether it is not known that the last word reached it.
    pub unsure: bool,
}

/// All that decisions remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The number of the last entry.
    pub seq: u64,
    /// When the last entry was written.
    pub at: Moment,
    /// Which way it goes.
    pub direction: Direction,
    /// Deadlines count from here at the earliest: the beginning, the turn, or when a stuck or paused deployment went on.
    pub anchor: Moment,
    /// When the latest batch of incoming instances was asked for.
    pub launched_at: Moment,
    /// When the latest action was intended.
    pub acted_at: Moment,
    /// Since when the operator has it paused.
    pub paused_at: Option<Moment>,
    /// The gate that was reached last, and when.
    pub gate: Option<(Gate, Moment)>,
    /// The gates that are open.
    pub open_gates: BTreeSet<Gate>,
    /// When the bake began.
    pub bake_began: Option<Moment>,
    /// Whether the operator ended the bake.
    pub bake_ended: bool,
    /// When the operator promoted last.
    pub promoted_at: Option<Moment>,
    /// Letters that were taken: each counts once.
    pub letters: BTreeSet<String>,
    /// The operator's word that undrained instances may be stopped.
    pub force: Option<Force>,
    /// Instances that were ever in the pool, as far as teal knows.
    pub served: BTreeSet<InstanceId>,
    /// Instances that teal took out of the pool, and when.
    pub withdrawn: BTreeMap<InstanceId, Moment>,
    /// Instances that teal told to stop.
    pub killed: BTreeMap<InstanceId, Kill>,
    /// Instances that teal let into the pool, and when that was said or answered last.
    pub admitted: BTreeMap<InstanceId, Moment>,
    /// Instances whose admission got no answer, and when it was missed: it may still come about.
    pub unsure_admissions: BTreeMap<InstanceId, Moment>,
    /// Instances that were told to leave the pool, and when that was said or answered last: each may leave late, or once
    /// more.
    pub leaves: BTreeMap<InstanceId, Moment>,
    /// Instances that were told to leave the pool without an answer, and when it was missed: that may still come about.
    pub unsure_leaves: BTreeMap<InstanceId, Moment>,
    /// When a revision or a pool was last asked for, or when the answer to that came or was missed: it may come about late,
    /// or once more.
    pub created: Option<Moment>,
    /// The size that each revision was last asked to have without an answer, and when that was missed: the word may still
    /// arrive, and the orchestrator obeys the last one that it hears.
    pub unsure_scales: BTreeMap<Role, (u32, Moment)>,
    /// When a revision was last told to have no instances, or answered to it: whatever ran of it then is about to stop.
    pub emptied: BTreeMap<Role, Moment>,
    /// Instances whose drain deadline has been announced as passed.
    pub overdue: BTreeSet<InstanceId>,
    /// Recent tries, by [`Action::key`].
    pub attempts: BTreeMap<String, Attempt>,
    /// An action that was refused for good, and why.
    pub refused: Option<String>,
    /// The latest failure, for people.
    pub last_failure: Option<String>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// When each size was last asked for, unless that certainly did not arrive.
    sizes: BTreeMap<(Role, u32), Moment>,
    /// What is announced and not answered.
    open: Open,
}

/// An entry that cannot follow what was before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq} cannot follow: {why}")]
pub struct IllegalEntry {
    /// The entry's number.
    pub seq: u64,
    /// What is wrong with it.
    pub why: String,
}

/// A run of tries is over when nothing was tried for this long.
pub(crate) const TRIES_END: Span = Span::minutes(2);

impl State {
    /// Returns the plan and state that a first entry begins.
    ///
    /// # Errors
    /// The entry is not a beginning.
    pub fn begin(entry: &Entry) -> Result<(Plan, Self), IllegalEntry> {
        let Event::Begun { plan } = &entry.event else {
            return Err(illegal(entry.seq, "a journal begins with `begun`"));
        };
        if entry.seq != 1 {
            return Err(illegal(entry.seq, "the first entry has number 1"));
        }
        let served = plan
            .blue
            .as_ref()
            .map(|blue| blue.serving.clone())
            .unwrap_or_default();
        let served = served.union(&plan.pooled).cloned().collect();
        let state = Self {
            seq: entry.seq,
            at: entry.at,
            direction: Direction::Forward,
            anchor: entry.at,
            launched_at: entry.at,
            acted_at: entry.at,
            paused_at: None,
            gate: None,
            open_gates: BTreeSet::new(),
            bake_began: None,
            bake_ended: false,
            promoted_at: None,
            letters: BTreeSet::new(),
            force: None,
            served,
            withdrawn: BTreeMap::new(),
            killed: BTreeMap::new(),
            admitted: BTreeMap::new(),
            unsure_admissions: BTreeMap::new(),
            leaves: BTreeMap::new(),
            unsure_leaves: BTreeMap::new(),
            created: None,
            unsure_scales: BTreeMap::new(),
            emptied: BTreeMap::new(),
            overdue: BTreeSet::new(),
            attempts: BTreeMap::new(),
            refused: None,
            last_failure: None,
            outcome: None,
            sizes: BTreeMap::new(),
            open: Open::default(),
        };
        Ok((Plan::clone(plan), state))
    }

    /// Replays a whole journal.
    ///
    /// # Errors
    /// It is empty or an entry cannot follow the ones before it.
    pub fn replay(entries: &[Entry]) -> Result<(Plan, Self), IllegalEntry> {
        let first = entries
            .first()
            .ok_or_else(|| illegal(1, "the journal is empty"))?;
        let (plan, mut state) = Self::begin(first)?;
        for entry in &entries[1..] {
            state.apply(entry)?;
        }
        Ok((plan, state))
    }

    /// Takes the next entry into account.
    ///
    /// # Errors
    /// The entry cannot follow: a gap in the numbers, a second beginning, anything after a final outcome.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), IllegalEntry> {
        if entry.seq != self.seq + 1 {
            return Err(illegal(
                entry.seq,
                &format!("number {} was due", self.seq + 1),
            ));
        }
        if matches!(
            self.outcome,
            Some(Outcome::Completed | Outcome::RolledBack { .. })
        ) {
            return Err(illegal(entry.seq, "the deployment has ended"));
        }
        match &entry.event {
            Event::Begun { .. } => return Err(illegal(entry.seq, "a deployment begins once")),
            Event::Intended { action } => self.intended(entry, action),
            Event::Performed { intent } => self.performed(*intent, entry.at),
            Event::Failed {
                intent,
                reason,
                retry,
                effect,
            } => {
                self.failed(*intent, *effect, entry.at);
                self.last_failure = Some(reason.clone());
                if !retry {
                    self.refused = Some(reason.clone());
                }
            }
            Event::Asked { command, letter } => {
                self.letters.extend(letter.iter().cloned());
                self.asked(entry.at, command);
            }
            Event::Seen { .. } => {}
            Event::Resumed { .. } => {
                self.doubt_what_is_open(entry.at);
                self.unstick(entry.at);
                // Nobody was there to do anything in time: no deadline counts the time between.
                self.anchor = entry.at;
            }
            Event::Ended { outcome } => self.outcome = Some(outcome.clone()),
        }
        self.seq = entry.seq;
        self.at = self.at.max(entry.at);
        Ok(())
    }

    /// Tells whether the deployment is being turned back.
    #[must_use]
    pub const fn is_back(&self) -> bool {
        matches!(self.direction, Direction::Back { .. })
    }

    fn intended(&mut self, entry: &Entry, action: &Action) {
        let at = entry.at;
        self.acted_at = at;
        match action {
            Action::Instance(action) => self.instance_action(entry.seq, at, action),
            Action::Pool(action) => self.pool_action(entry.seq, at, action),
            Action::Mark(mark) => return self.mark(at, mark),
        }
        let key = action.key();
        let fresh = Attempt {
            first: at,
            last: at,
            count: 0,
        };
        let attempt = self.attempts.entry(key).or_insert(fresh);
        if at.since(attempt.last) > TRIES_END {
            *attempt = fresh;
        }
        attempt.last = at;
        attempt.count += 1;
        self.attempts
            .retain(|_, attempt| at.since(attempt.last) <= TRIES_END);
    }

    fn mark(&mut self, at: Moment, mark: &Mark) {
        match mark {
            Mark::TurnBack { reason } => self.turn_back(at, reason),
            Mark::GateReached { gate } => self.gate = Some((*gate, at)),
            Mark::BakeBegun => self.bake_began = Some(at),
            Mark::DrainOverdue { instances, .. } => self.overdue.extend(instances.iter().cloned()),
        }
    }

    fn asked(&mut self, at: Moment, command: &Command) {
        match command {
            Command::Pause => self.paused_at = self.paused_at.or(Some(at)),
            Command::Resume => self.go_on(at),
            Command::Promote { full } => {
                self.promoted_at = Some(at);
                self.promote(*full);
            }
            Command::Rollback { reason } => {
                self.go_on(at);
                self.turn_back(at, reason);
            }
            Command::Force { reason } => {
                self.go_on(at);
                self.force = Some(Force {
                    reason: reason.clone(),
                    at,
                });
            }
        }
    }

    /// A promotion opens the gate that is waited at. With none reached it ends the bake.
    fn promote(&mut self, full: bool) {
        match self.gate {
            Some((gate, _)) if !self.open_gates.contains(&gate) => {
                self.open_gates.insert(gate);
            }
            Some(_) | None => self.bake_ended = self.bake_ended || self.bake_began.is_some(),
        }
        if full {
            self.open_gates.extend([Gate::Shift, Gate::Retire]);
            self.bake_ended = true;
        }
    }

    fn turn_back(&mut self, at: Moment, reason: &str) {
        if self.is_back() {
            return;
        }
        self.direction = Direction::Back {
            reason: reason.to_owned(),
        };
        self.anchor = at;
        self.launched_at = at;
        self.refused = None;
        self.attempts.clear();
        self.overdue.clear();
    }

    /// The operator says go on: nothing is paused or stuck any more.
    fn go_on(&mut self, at: Moment) {
        if self.paused_at.take().is_some() {
            self.anchor = at;
        }
        self.unstick(at);
    }

    /// A process goes on: a pause stays a pause, but deadlines that called for a person begin anew.
    fn unstick(&mut self, at: Moment) {
        if self.outcome.take().is_some() {
            self.anchor = at;
            self.refused = None;
            self.attempts.clear();
        }
    }
}

fn illegal(seq: u64, why: &str) -> IllegalEntry {
    IllegalEntry {
        seq,
        why: why.to_owned(),
    }
}
