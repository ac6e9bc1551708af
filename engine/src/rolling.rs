//! The arithmetic of scaling down and of rolling restarts. Nothing here acts.

use std::time::Instant;

use crate::definition::{KillSelection, UpgradeStrategy};

/// How far an instance has come, in the order in which scaling down takes them.
///
/// Health plays no part (`KillSelection` and `ScalingProposition` in Marathon).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Progress {
    /// No process yet: waiting for its launch.
    Scheduled,
    Staging,
    Running,
}

/// What kill selection looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) progress: Progress,
    /// When the candidate's task began, or when the instance was scheduled.
    pub(crate) since: Instant,
}

/// Returns the indices of the candidates that go first when `count` of them must go.
pub(crate) fn select_victims(
    candidates: &[Candidate],
    count: usize,
    selection: KillSelection,
) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|&left, &right| {
        let (left, right) = (candidates[left], candidates[right]);
        let by_age = match selection {
            KillSelection::OldestFirst => left.since.cmp(&right.since),
            KillSelection::YoungestFirst => right.since.cmp(&left.since),
        };
        left.progress.cmp(&right.progress).then(by_age)
    });
    order.truncate(count);
    order
}

/// Who is there at one moment of a rolling restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fleet {
    /// How many instances the app wants.
    pub(crate) wanted: usize,
    /// Instances of the old configuration that run and pass their checks, and are not dying.
    pub(crate) old_healthy: usize,
    /// Instances of the old configuration that are not healthy, and are not dying.
    pub(crate) old_unhealthy: usize,
    /// Instances of the present configuration, whatever their state.
    pub(crate) fresh: usize,
    /// Those among them that are healthy.
    pub(crate) fresh_healthy: usize,
    /// Instances on their way out, which still take up room.
    pub(crate) dying: usize,
}

/// What a rolling restart does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RollingStep {
    /// How many old instances to kill, unhealthy ones first.
    pub(crate) kill_old: usize,
    /// How many instances of the present configuration to launch.
    pub(crate) launch: usize,
}

/// Returns the next step of a rolling restart.
///
/// Marathon's `TaskReplaceActor`: at least `ceil(n · minimumHealthCapacity)` stay healthy, at most
/// `floor(n · (1 + maximumOverCapacity))` exist, and where both are equal there is room for one more.
/// Marathon counts once and then follows events; this looks at what is there each time. It also
/// lets one unhealthy old instance go where nothing else could move, where Marathon would hang.
pub(crate) fn next_step(fleet: Fleet, strategy: UpgradeStrategy) -> RollingStep {
    let (minimum, capacity) = bounds(fleet.wanted, strategy);
    let healthy = fleet.old_healthy + fleet.fresh_healthy;
    let old = fleet.old_healthy + fleet.old_unhealthy;
    let spare = healthy.saturating_sub(minimum);
    let restart_is_over = fleet.fresh_healthy >= fleet.wanted;
    let mut kill_old = if restart_is_over { old } else { spare.min(old) };

    let taken = old + fleet.dying + fleet.fresh;
    let missing = fleet.wanted.saturating_sub(fleet.fresh);
    let launch = missing.min(capacity.saturating_sub(taken));

    let nothing_moves =
        kill_old == 0 && launch == 0 && fleet.dying == 0 && fleet.fresh == fleet.fresh_healthy;
    if nothing_moves && fleet.old_unhealthy > 0 {
        kill_old = 1;
    }
    RollingStep { kill_old, launch }
}

/// Returns how many must stay healthy and how many may exist.
fn bounds(wanted: usize, strategy: UpgradeStrategy) -> (usize, usize) {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "instance counts are small and shares lie between 0 and 1"
    )]
    let (minimum, capacity) = (
        (wanted as f64 * strategy.minimum_health_capacity).ceil() as usize,
        (wanted as f64 * (1.0 + strategy.maximum_over_capacity)).floor() as usize,
    );
    if minimum == capacity {
        (minimum, capacity + 1)
    } else {
        (minimum, capacity)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn scaling_down_takes_what_has_come_least_far_then_the_youngest() {
        let start = Instant::now();
        let candidate = |progress, age| Candidate {
            progress,
            since: start + Duration::from_secs(age),
        };
        let candidates = [
            candidate(Progress::Running, 1),
            candidate(Progress::Running, 3),
            candidate(Progress::Staging, 2),
            candidate(Progress::Running, 2),
        ];

        assert_eq!(
            select_victims(&candidates, 2, KillSelection::YoungestFirst),
            [2, 1]
        );
        assert_eq!(
            select_victims(&candidates, 2, KillSelection::OldestFirst),
            [2, 0]
        );
        assert_eq!(
            select_victims(&candidates, 9, KillSelection::OldestFirst).len(),
            4
        );
    }

    #[test]
    fn the_bounds_follow_the_upgrade_strategy() {
        let cases = [
            (4, 1.0, 1.0, (4, 8)),
            (4, 0.5, 0.0, (2, 4)),
            (4, 1.0, 0.0, (4, 5)),
            (3, 0.5, 0.5, (2, 4)),
            (1, 0.0, 0.0, (0, 1)),
        ];
        for (wanted, minimum, over, expected) in cases {
            let strategy = strategy(minimum, over);
            assert_eq!(
                bounds(wanted, strategy),
                expected,
                "{wanted} {minimum} {over}"
            );
        }
    }

    #[test]
    fn without_room_above_one_extra_instance_goes_first() {
        let fleet = Fleet {
            old_healthy: 4,
            ..empty(4)
        };

        let step = next_step(fleet, strategy(1.0, 0.0));

        assert_eq!(
            step,
            RollingStep {
                kill_old: 0,
                launch: 1
            }
        );
    }

    #[test]
    fn an_unhealthy_old_instance_goes_where_nothing_else_can_move() {
        let fleet = Fleet {
            old_healthy: 2,
            old_unhealthy: 1,
            fresh: 1,
            fresh_healthy: 1,
            ..empty(3)
        };

        let step = next_step(fleet, strategy(1.0, 0.0));

        assert_eq!(
            step,
            RollingStep {
                kill_old: 1,
                launch: 0
            }
        );
    }

    #[test]
    fn every_strategy_ends_with_only_fresh_instances_and_keeps_its_bounds() {
        for wanted in 0..7 {
            for minimum in [0.0, 0.3, 0.5, 1.0] {
                for over in [0.0, 0.3, 1.0] {
                    for unhealthy in 0..=wanted {
                        roll(wanted, unhealthy, strategy(minimum, over));
                    }
                }
            }
        }
    }

    fn roll(wanted: usize, unhealthy: usize, strategy: UpgradeStrategy) {
        let (minimum, capacity) = bounds(wanted, strategy);
        let mut fleet = Fleet {
            old_healthy: wanted - unhealthy,
            old_unhealthy: unhealthy,
            ..empty(wanted)
        };
        for _ in 0..100 {
            let step = next_step(fleet, strategy);
            let healthy_before = fleet.old_healthy + fleet.fresh_healthy;
            let from_unhealthy = step.kill_old.min(fleet.old_unhealthy);
            fleet.old_unhealthy -= from_unhealthy;
            fleet.old_healthy -= step.kill_old - from_unhealthy;
            fleet.dying += step.kill_old;
            fleet.fresh += step.launch;
            let healthy = fleet.old_healthy + fleet.fresh_healthy;
            assert!(
                healthy >= minimum.min(healthy_before),
                "{fleet:?} {strategy:?}"
            );
            let all = fleet.old_healthy + fleet.old_unhealthy + fleet.dying + fleet.fresh;
            assert!(all <= capacity.max(wanted), "{fleet:?} {strategy:?}");
            if fleet.dying > 0 {
                fleet.dying -= 1;
            } else if fleet.fresh_healthy < fleet.fresh {
                fleet.fresh_healthy += 1;
            }
        }
        assert_eq!(
            fleet,
            Fleet {
                fresh: wanted,
                fresh_healthy: wanted,
                ..empty(wanted)
            },
            "{strategy:?}"
        );
    }

    fn empty(wanted: usize) -> Fleet {
        Fleet {
            wanted,
            old_healthy: 0,
            old_unhealthy: 0,
            fresh: 0,
            fresh_healthy: 0,
            dying: 0,
        }
    }

    fn strategy(minimum: f64, over: f64) -> UpgradeStrategy {
        UpgradeStrategy {
            minimum_health_capacity: minimum,
            maximum_over_capacity: over,
        }
    }
}
