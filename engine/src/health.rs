//! What the results of health probes mean: alive, dead, unknown, or dead for too long.
//!
//! The rules are Marathon's (`core/health/impl/HealthCheckActor.scala`, `core/health/Health.scala`):
//! failures are forgiven until the first success or the end of the grace period, and a task is
//! killed on the failure *after* `maxConsecutiveFailures` have been counted. One thing differs on
//! purpose: until a task's first success probes come sooner than the declared interval, so that the
//! end of its start-up is noticed at once ([`CheckState::pace`]). Results only get fresher by it: in
//! that phase a failure is counted at most once per declared interval.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::definition::{HealthCheck, Protocol};
use crate::probe::Answer;
use crate::time::{Moment, Stamp};

/// How long after a task began to run its first probe happens, and the least time between two.
pub(crate) const FIRST_PROBE_DELAY: Duration = Duration::from_millis(50);

/// What a start-up may seem longer than it is: one part in so many.
const START_UP_PRECISION: u32 = 20;

/// A command is a process each time: it is not tried more often than this.
const COMMAND_INTERVAL: Duration = Duration::from_millis(250);

/// What one probe saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    Success,
    /// The question was answered with "no", or not at all; the text says how.
    Failure(String),
    /// An answer that says nothing: HTTP 1xx where the check ignores those.
    Ignored,
}

impl ProbeResult {
    /// Returns what an answer to a check means: HTTP is healthy from 200 to 399, TCP when it
    /// connects, a command when it ends with 0 (`HealthCheckWorker.scala`; Mesos'
    /// `src/checks/health_checker.cpp` says the same).
    pub(crate) fn of(answer: Answer, check: &HealthCheck) -> Self {
        match answer {
            Answer::Connected => Self::Success,
            Answer::Ended { code: Some(0), .. } => Self::Success,
            Answer::Ended { text, .. } => Self::Failure(format!("the command ended with {text}")),
            Answer::Nothing(cause) => Self::Failure(cause),
            Answer::Http(response) => match response.status {
                200..=399 => Self::Success,
                100..=199 if check.ignore_http_1xx => Self::Ignored,
                _ => Self::Failure(response.line),
            },
        }
    }
}

/// Everything known about one check of one task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CheckState {
    /// Whether any probe has come back; without it the check is unknown and is not listed.
    pub(crate) reported: bool,
    pub(crate) consecutive_failures: u32,
    pub(crate) first_success: Option<Stamp>,
    pub(crate) last_success: Option<Stamp>,
    pub(crate) last_failure: Option<Stamp>,
    pub(crate) last_failure_cause: Option<String>,
    alive: bool,
    #[serde(skip)]
    last_counted: Option<Instant>,
}

/// What is to be done after a probe's result has been folded in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Verdict {
    /// The check's `alive` became another one.
    pub(crate) alive_changed: bool,
    /// The failure was counted.
    pub(crate) failure_counted: bool,
    /// The task has failed for too long and must die.
    pub(crate) kill: bool,
}

impl CheckState {
    /// Returns whether the last counted result was a success.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive
    }

    /// Goes on from a state that was stored.
    pub(crate) fn resume(&mut self, now: Moment) {
        // The time of the last failure is set exactly when one is counted.
        let counted = self.last_failure.map(|failure| now.at_stamp(failure));
        self.last_counted = counted.map(|counted| counted.instant);
    }

    /// Returns how long to wait between the starts of two probes of a task that has been running for so long. While it
    /// starts up the pauses grow with the time that this takes: a start-up of one second is noticed within 50 ms, and
    /// one of a minute is not asked about 1200 times.
    pub(crate) fn pace(&self, check: &HealthCheck, running: Duration) -> Duration {
        if self.first_success.is_some() {
            return check.interval();
        }
        let least = match check.protocol {
            Protocol::Command => COMMAND_INTERVAL,
            Protocol::Http
            | Protocol::Https
            | Protocol::Tcp
            | Protocol::MesosHttp
            | Protocol::MesosHttps
            | Protocol::MesosTcp => FIRST_PROBE_DELAY,
        };
        (running / START_UP_PRECISION)
            .max(least)
            .min(check.interval())
    }

    /// Folds a probe's result in.
    pub(crate) fn fold(
        &mut self,
        check: &HealthCheck,
        result: ProbeResult,
        running_since: Instant,
        now: Moment,
    ) -> Verdict {
        match result {
            ProbeResult::Ignored => Verdict::default(),
            ProbeResult::Success => self.succeed(now),
            ProbeResult::Failure(cause) => self.fail(check, cause, running_since, now),
        }
    }

    fn succeed(&mut self, now: Moment) -> Verdict {
        let was_alive = self.alive;
        self.reported = true;
        self.alive = true;
        self.consecutive_failures = 0;
        self.first_success.get_or_insert(now.stamp);
        self.last_success = Some(now.stamp);
        Verdict {
            alive_changed: !was_alive,
            ..Verdict::default()
        }
    }

    fn fail(
        &mut self,
        check: &HealthCheck,
        cause: String,
        running_since: Instant,
        now: Moment,
    ) -> Verdict {
        self.reported = true;
        let starting = self.first_success.is_none();
        if starting && now.instant < running_since + check.grace() {
            return Verdict::default();
        }
        let counted_lately = self
            .last_counted
            .is_some_and(|counted| now.instant < counted + check.interval());
        if starting && counted_lately {
            return Verdict::default();
        }
        let was_alive = self.alive;
        let kill = must_die(check, self.consecutive_failures);
        self.alive = false;
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        self.last_failure = Some(now.stamp);
        self.last_failure_cause = Some(cause);
        self.last_counted = Some(now.instant);
        Verdict {
            alive_changed: was_alive,
            failure_counted: true,
            kill,
        }
    }
}

/// Returns whether one more failure, after so many in a row, kills the task.
///
/// Marathon compares the count *before* the present failure, and 0 switches the rule off. Mesos,
/// which decides for `MESOS_*` and COMMAND checks, counts the present failure in, and 0 kills on the
/// first (`src/checks/health_checker.cpp`, `HealthCheckerProcess::failure`).
fn must_die(check: &HealthCheck, failures_before: u32) -> bool {
    let max = check.max_consecutive_failures;
    if check.protocol.is_mesos_level() {
        failures_before.saturating_add(1) >= max
    } else {
        max > 0 && failures_before >= max
    }
}

/// What all checks of an instance say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// A check has not reported, or there is none.
    Unknown,
    Healthy,
    Unhealthy,
}

impl Health {
    /// Returns the health of a task with these checks.
    pub(crate) fn of(checks: &[CheckState]) -> Self {
        let dead = |check: &CheckState| check.reported && !check.is_alive();
        if checks.iter().any(dead) {
            Self::Unhealthy
        } else if checks.is_empty() || checks.iter().any(|check| !check.reported) {
            Self::Unknown
        } else {
            Self::Healthy
        }
    }

    /// Returns the value of `healthy` in `instance_health_changed_event`.
    pub(crate) fn as_option(self) -> Option<bool> {
        match self {
            Self::Unknown => None,
            Self::Healthy => Some(true),
            Self::Unhealthy => Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::definition_of;
    use crate::probe::Response;

    #[test]
    fn statuses_from_200_to_399_are_healthy_and_informational_ones_are_ignored_on_request() {
        let mut check = check("HTTP", 3, 0);
        for (status, expected) in [
            (199, failure()),
            (200, ProbeResult::Success),
            (399, ProbeResult::Success),
            (400, failure()),
            (100, failure()),
        ] {
            assert_eq!(ProbeResult::of(http(status), &check), expected, "{status}");
        }

        check.ignore_http_1xx = true;
        assert_eq!(ProbeResult::of(http(100), &check), ProbeResult::Ignored);
        assert_eq!(ProbeResult::of(http(500), &check), failure());
    }

    #[test]
    fn a_task_dies_on_the_third_failure_where_two_are_allowed() {
        assert_eq!(failures_until_death("HTTP", 2), Some(3));
        assert_eq!(failures_until_death("TCP", 1), Some(2));
    }

    #[test]
    fn zero_allowed_failures_never_kill_at_marathon_level_and_at_once_at_mesos_level() {
        assert_eq!(failures_until_death("HTTP", 0), None);
        assert_eq!(failures_until_death("MESOS_HTTP", 0), Some(1));
        assert_eq!(failures_until_death("MESOS_TCP", 2), Some(2));
    }

    #[test]
    fn failures_in_the_grace_period_leave_an_empty_dead_entry() {
        let check = check("HTTP", 2, 10);
        let (start, mut state) = (Moment::now(), CheckState::default());

        let verdict = state.fold(&check, failure(), start.instant, after(start, 9.9));

        assert_eq!(verdict, Verdict::default());
        assert!(state.reported);
        assert!(!state.is_alive());
        assert_eq!(state.consecutive_failures, 0);
        assert_eq!(state.last_failure, None);
    }

    #[test]
    fn the_first_success_ends_the_grace_period() {
        let check = check("HTTP", 2, 300);
        let (start, mut state) = (Moment::now(), CheckState::default());

        let success = state.fold(
            &check,
            ProbeResult::Success,
            start.instant,
            after(start, 1.0),
        );
        let failure = state.fold(&check, failure(), start.instant, after(start, 2.0));

        assert!(success.alive_changed);
        assert!(failure.failure_counted && failure.alive_changed);
        assert_eq!(state.consecutive_failures, 1);
    }

    #[test]
    fn quick_start_up_probes_count_one_failure_per_interval() {
        let check = check("HTTP", 2, 0);
        let (start, mut state) = (Moment::now(), CheckState::default());

        let counted: Vec<bool> = [0.25, 0.5, 0.75, 1.3, 1.55, 2.31]
            .into_iter()
            .map(|at| {
                state
                    .fold(&check, failure(), start.instant, after(start, at))
                    .failure_counted
            })
            .collect();

        assert_eq!(counted, [true, false, false, true, false, true]);
    }

    #[test]
    fn pauses_between_probes_grow_with_the_start_up_up_to_the_declared_interval() {
        let (http, mut command) = (check("HTTP", 2, 0), check("HTTP", 2, 0));
        command.protocol = Protocol::Command;
        let starting = CheckState::default();
        let pace = |check, running| starting.pace(check, Duration::from_millis(running));

        assert_eq!(pace(&http, 60), Duration::from_millis(50));
        assert_eq!(pace(&http, 4_000), Duration::from_millis(200));
        assert_eq!(pace(&http, 600_000), http.interval());
        assert_eq!(pace(&command, 60), Duration::from_millis(250));
    }

    #[test]
    fn an_ignored_answer_changes_nothing() {
        let check = check("HTTP", 2, 0);
        let (start, mut state) = (Moment::now(), CheckState::default());

        let verdict = state.fold(&check, ProbeResult::Ignored, start.instant, start);

        assert_eq!(
            (verdict, state),
            (Verdict::default(), CheckState::default())
        );
    }

    #[test]
    fn health_is_unknown_until_every_check_has_reported() {
        let unknown = CheckState::default();
        let alive = CheckState {
            reported: true,
            alive: true,
            ..CheckState::default()
        };
        let dead = CheckState {
            reported: true,
            ..CheckState::default()
        };

        assert_eq!(Health::of(&[]), Health::Unknown);
        assert_eq!(
            Health::of(&[alive.clone(), unknown.clone()]),
            Health::Unknown
        );
        assert_eq!(Health::of(&[alive.clone(), alive.clone()]), Health::Healthy);
        assert_eq!(Health::of(&[alive, dead, unknown]), Health::Unhealthy);
    }

    fn failures_until_death(protocol: &str, max: u32) -> Option<u32> {
        let check = check(protocol, max, 0);
        let (start, mut state) = (Moment::now(), CheckState::default());
        (1..20).find(|n| {
            let at = after(start, f64::from(*n) * 1.5);
            state.fold(&check, failure(), start.instant, at).kill
        })
    }

    fn check(protocol: &str, max: u32, grace: u32) -> HealthCheck {
        let app = definition_of(json!({
            "id": "a",
            "cmd": "sleep 1",
            "healthChecks": [{
                "protocol": protocol,
                "maxConsecutiveFailures": max,
                "gracePeriodSeconds": grace,
                "intervalSeconds": 1,
            }],
        }));
        app.health_checks[0].clone()
    }

    fn http(status: u16) -> Answer {
        Answer::Http(Response {
            status,
            line: "refused".to_owned(),
            content_type: String::new(),
            body: String::new(),
        })
    }

    fn failure() -> ProbeResult {
        ProbeResult::Failure("refused".to_owned())
    }

    fn after(start: Moment, seconds: f64) -> Moment {
        Moment {
            instant: start.instant + Duration::from_secs_f64(seconds),
            stamp: start.stamp,
        }
    }
}
