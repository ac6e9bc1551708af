//! What a seed means: a service, a wish, what goes wrong, and what people do meanwhile.

use super::super::{Death, Deed, Tear, When};
use super::{BLUE, GREEN};
use teal_core::Span;
use teal_core::journal::Command;
use teal_drivers::chance::Chance;
use teal_drivers::faulty::Weights;
use teal_drivers::simulated::{Mishap, Nature, Temper};

#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) seed: u64,
    pub(super) settings: Vec<(&'static str, String)>,
    pub(super) blue: u32,
    pub(super) green: Nature,
    pub(super) check_interval_s: u64,
    pub(super) grace_s: u64,
    /// For how long a task may be unreachable before it is replaced, and before it is given up.
    pub(super) unreachable_s: (u64, u64),
    pub(super) temper: Temper,
    pub(super) balancer: Weights,
    pub(super) mishaps: Vec<(Span, Mishap)>,
    pub(super) deeds: Vec<(When, Deed)>,
    /// From here on nothing goes wrong.
    pub(super) calm_after: Span,
    /// How many requests begin in a second.
    pub(super) requests_per_s: u64,
}

impl Scenario {
    pub(super) fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let green = match chance.below(10) {
            0 => Nature::NeverHealthy,
            1 => Nature::Crashing,
            _ => Nature::Good,
        };
        // A quarter of all runs is without faults; the others have some, many, and very many.
        let badness = u32::try_from(chance.below(4)).unwrap_or(0);
        let unreachable_s = *chance
            .one_of(&[(0, 0), (0, 60), (20, 60), (300, 600)])
            .unwrap_or(&(0, 0));
        Self {
            seed,
            settings: settings(&mut chance),
            blue: 1 + u32::try_from(chance.below(5)).unwrap_or(0),
            green,
            check_interval_s: 1 + chance.below(4),
            grace_s: 1 + chance.below(6),
            unreachable_s,
            temper: temper(&mut chance, badness),
            balancer: weights(&mut chance, badness),
            mishaps: mishaps(&mut chance, badness),
            deeds: deeds(&mut chance),
            calm_after: chance.span(60_000, 150_000),
            requests_per_s: *chance.one_of(&[2, 5, 20]).unwrap_or(&5),
        }
    }

    /// Whether nothing at all stands in the way of GREEN.
    pub(super) fn is_plain(&self) -> bool {
        let dies_only = self.deeds.iter().all(|(_, deed)| {
            matches!(
                deed,
                Deed::Die(Death {
                    back: false,
                    away: Span(0..=20_000),
                    ..
                })
            )
        });
        self.mishaps.is_empty()
            && dies_only
            && self.green == Nature::Good
            && self.temper.busy == 0
            && self.balancer == Weights::NONE
    }
}

fn settings(chance: &mut Chance) -> Vec<(&'static str, String)> {
    let mut one_of = |name, values: &[&str]| {
        let value = chance.one_of(values).copied().unwrap_or_default();
        (name, value.to_owned())
    };
    vec![
        one_of("strategy", &["rolling", "rolling", "switch"]),
        one_of("batch", &["1", "2", "25%", "all"]),
        one_of("keep_blue", &["0s", "1s", "20s"]),
        one_of("min_healthy_time", &["1s", "3s", "10s"]),
        one_of("healthy_deadline", &["60s", "180s", "400s"]),
        one_of("drain_deadline", &["60s", "200s"]),
        one_of("on_drain_deadline", &["wait", "rollback"]),
    ]
}

fn temper(chance: &mut Chance, badness: u32) -> Temper {
    let mut share = |most: u64| badness * u32::try_from(chance.below(most + 1)).unwrap_or(0);
    Temper {
        latency: Span(u64::from(share(40)) + 5),
        busy: share(30),
        dropped: share(30),
        lost_answers: share(40),
        late: share(40),
        // What comes about more than five seconds late, teal takes for lost: docs/correctness.md.
        late_by: Span(3900),
        slow: share(20),
        bad_gauges: share(20),
        missed_events: share(100),
        doubled_events: share(100),
        slow_kills: share(100),
        tells_killing: chance.happens(500),
        skew_ms: *chance
            .one_of(&[0, 0, -90_000, 2_500, 600_000])
            .unwrap_or(&0),
        ..Temper::CALM
    }
}

fn weights(chance: &mut Chance, badness: u32) -> Weights {
    let mut share = |most: u64| badness * u32::try_from(chance.below(most + 1)).unwrap_or(0);
    Weights {
        error_before: share(15),
        lost_answer: share(15),
        twice: share(15),
        delay: share(15),
        ..Weights::NONE
    }
}

fn mishaps(chance: &mut Chance, badness: u32) -> Vec<(Span, Mishap)> {
    let count = u64::from(badness) * chance.below(4);
    (0..count)
        .map(|_| (chance.span(0, 60_000), mishap(chance)))
        .collect()
}

fn mishap(chance: &mut Chance) -> Mishap {
    let app = (*chance.one_of(&[BLUE, GREEN]).unwrap_or(&BLUE)).to_owned();
    let lasts = chance.span(200, 30_000);
    match chance.below(10) {
        0 | 1 => Mishap::LeaderChange {
            leaderless: chance.span(100, 8000),
            absent: chance.span(0, 20_000),
        },
        2 => Mishap::AgentLost { app, lasts },
        3 | 4 => Mishap::Crash { app },
        5 => Mishap::Sick { app, lasts },
        6 => Mishap::Scale {
            app: BLUE.to_owned(),
            by: *chance.one_of(&[-1, 1, 2]).unwrap_or(&1),
        },
        7 | 8 => Mishap::Lock { app, lasts },
        _ => Mishap::Restart {
            app: BLUE.to_owned(),
        },
    }
}

fn deeds(chance: &mut Chance) -> Vec<(When, Deed)> {
    let mut deeds = Vec::new();
    for _ in 0..chance.below(4) {
        let when = if chance.happens(500) {
            When::Entries(1 + usize::try_from(chance.below(25)).unwrap_or(0))
        } else {
            When::After(chance.span(0, 40_000))
        };
        let deed = if chance.happens(300) {
            let reason = "second thoughts".to_owned();
            Deed::Say(Command::Rollback { reason })
        } else {
            Deed::Die(Death {
                away: chance.span(0, 20_000),
                elsewhere: chance.happens(250),
                back: chance.happens(200),
                tear: Tear::Whole,
            })
        };
        deeds.push((when, deed));
    }
    deeds
}
