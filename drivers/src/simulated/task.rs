//! One task: a process on an agent, and what Marathon knows of it.

use super::app::CheckRule;
use super::page::Page;
use super::{By, Load};
use teal_core::Moment;

/// Where a task is in its life, as Mesos tells Marathon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Staging { runs_at: Moment },
    Running,
    Unreachable { since: Moment },
}

/// Told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dying {
    pub(super) by: By,
    /// When its process ends, unless its agent is lost then.
    pub(super) ends_at: Moment,
}

/// What a check of a task has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct CheckResult {
    pub(super) alive: bool,
    pub(super) consecutive_failures: u64,
    pub(super) first_success: Option<Moment>,
    pub(super) last_success: Option<Moment>,
    pub(super) last_failure: Option<Moment>,
}

/// A check of a task.
#[derive(Debug, Clone)]
pub(super) struct Check {
    pub(super) rule: CheckRule,
    pub(super) next_at: Moment,
    pub(super) result: Option<CheckResult>,
}

#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: String,
    /// What stays the same over incarnations.
    pub(super) instance: String,
    pub(super) incarnation: u32,
    pub(super) app: String,
    pub(super) agent: usize,
    pub(super) page: Page,
    /// The app's version that it was launched with.
    pub(super) version: Moment,
    pub(super) staged_at: Moment,
    pub(super) started_at: Option<Moment>,
    pub(super) phase: Phase,
    pub(super) dying: Option<Dying>,
    /// Whether Marathon has given it up, and would stop it if it came back.
    pub(super) expunged: bool,
    /// How long after it runs it answers; None: never.
    pub(super) warm_after: Option<teal_core::Span>,
    /// When it ends by itself.
    pub(super) crashes_at: Option<Moment>,
    pub(super) sick_until: Moment,
    pub(super) checks: Vec<Check>,
    /// When every check first said alive. Unlike the results, it survives a change of leader.
    pub(super) first_alive: Option<Moment>,
    pub(super) load: Load,
}

impl Task {
    pub(super) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether it counts for the size of its app: those told to stop do not, and those given up for lost neither.
    pub(super) fn is_active(&self, now: Moment, inactive_after: teal_core::Span) -> bool {
        let lost = match self.phase {
            Phase::Unreachable { since } => since + inactive_after <= now,
            Phase::Staging { .. } | Phase::Running => false,
        };
        self.dying.is_none() && !self.expunged && !lost
    }

    /// Whether its process answers requests when they reach it.
    pub(super) fn answers(&self, now: Moment) -> bool {
        let (Some(started), Some(warm_after)) = (self.started_at, self.warm_after) else {
            return false;
        };
        started + warm_after <= now && self.sick_until <= now && self.dying.is_none()
    }

    /// Whether every check has a result, and all are alive.
    pub(super) fn is_healthy(&self) -> bool {
        let alive = |check: &Check| check.result.is_some_and(|result| result.alive);
        self.checks.iter().all(alive)
    }

    /// Carries out the checks that are due. Returns whether one has failed too often.
    pub(super) fn probe(&mut self, now: Moment, answers: bool) -> bool {
        let started = self.started_at.unwrap_or(now);
        let mut is_hopeless = false;
        for check in &mut self.checks {
            if check.next_at > now {
                continue;
            }
            check.next_at = now + check.rule.interval;
            let result = check.result.get_or_insert_default();
            let in_grace = now < started + check.rule.grace && result.first_success.is_none();
            if answers {
                result.first_success = result.first_success.or(Some(now));
                *result = CheckResult {
                    alive: true,
                    consecutive_failures: 0,
                    last_success: Some(now),
                    ..*result
                };
            } else if !in_grace {
                result.alive = false;
                result.consecutive_failures += 1;
                result.last_failure = Some(now);
                is_hopeless |= result.consecutive_failures >= check.rule.failures_max;
            }
        }
        if self.is_healthy() {
            self.first_alive = self.first_alive.or(Some(now));
        }
        is_hopeless
    }
}
