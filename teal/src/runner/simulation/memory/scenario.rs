//! What a seed means: a service, a wish, what goes wrong, and what people do meanwhile.

use super::super::{Death, Deed, Tear, When};
use super::mishaps::Mishap;
use super::world::{Nature, Temper};
use teal_core::Span;
use teal_core::journal::Command;
use teal_drivers::chance::Chance;

#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) seed: u64,
    pub(super) settings: Vec<(&'static str, String)>,
    /// BLUE's size; zero: this is the first deployment.
    pub(super) blue: u32,
    pub(super) green: Nature,
    pub(super) temper: Temper,
    pub(super) mishaps: Vec<(Span, Mishap)>,
    pub(super) deeds: Vec<(When, Deed)>,
    /// From here on nothing goes wrong.
    pub(super) calm_after: Span,
}

impl Scenario {
    pub(super) fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let green = match chance.below(10) {
            0 => Nature::NeverHealthy,
            1 => Nature::Crashing,
            2 => Nature::FallsIll,
            _ => Nature::Good,
        };
        // A quarter of all runs is without faults; the others have some, many, and very many.
        let badness = u32::try_from(chance.below(4)).unwrap_or(0);
        let settings = settings(&mut chance);
        let gates = gates(&settings);
        Self {
            seed,
            settings,
            blue: u32::try_from(chance.below(6)).unwrap_or(0),
            green,
            temper: temper(&mut chance, badness),
            mishaps: mishaps(&mut chance, badness),
            deeds: deeds(&mut chance, gates),
            calm_after: chance.span(30_000, 90_000),
        }
    }

    /// Whether nothing at all stands in the way of GREEN.
    pub(super) fn is_plain(&self) -> bool {
        let brief = |deed: &Deed| match deed {
            Deed::Die(death) => !death.back && death.away <= Span::seconds(20),
            Deed::Say(command) => matches!(command, Command::Promote { .. }),
        };
        self.mishaps.is_empty()
            && self.deeds.iter().all(|(_, deed)| brief(deed))
            && gates(&self.settings) == 0
            && self.green == Nature::Good
            && self.temper.is_calm()
    }
}

/// At how many gates a person has to say go.
fn gates(settings: &[(&'static str, String)]) -> usize {
    let gates = settings.iter().find(|(name, _)| *name == "gates");
    let named = gates.filter(|(_, value)| value != "none");
    named.map_or(0, |(_, value)| value.split(',').count())
}

fn settings(chance: &mut Chance) -> Vec<(&'static str, String)> {
    let mut one_of = |name, values: &[&str]| {
        let value = chance.one_of(values).copied().unwrap_or_default();
        (name, value.to_owned())
    };
    vec![
        one_of("strategy", &["rolling", "rolling", "switch"]),
        one_of("batch", &["1", "2", "25%", "all"]),
        one_of("initial", &["1", "1", "50%", "all"]),
        ("surge", "all".to_owned()),
        one_of("keep_blue", &["0s", "1s", "10s"]),
        one_of("min_healthy_time", &["500ms", "1s", "3s"]),
        one_of("healthy_deadline", &["20s", "60s", "120s"]),
        one_of("unhealthy_limit", &["3s", "10s"]),
        one_of("drain_deadline", &["10s", "30s", "90s"]),
        one_of(
            "on_drain_deadline",
            &["wait", "rollback", "rollback", "force"],
        ),
        ("force_reason", "the scenario permits it".to_owned()),
        one_of(
            "gates",
            &["none", "none", "none", "shift", "retire", "shift,retire"],
        ),
        one_of("patience", &["40s", "120s"]),
    ]
}

fn temper(chance: &mut Chance, badness: u32) -> Temper {
    let mut share = |most: u64| badness * u32::try_from(chance.below(most + 1)).unwrap_or(0);
    Temper {
        latency: Span(u64::from(share(12))),
        errors: share(25),
        refusals: share(1),
        lost_answers: share(25),
        late: share(25),
        twice: share(25),
        lags: share(25),
        slow: share(10),
        stale: share(20),
        partial: share(20),
        bad_gauges: share(25),
        slow_gauges: share(25),
        missed_cues: share(100),
        slow_scales: share(60),
        slow_kills: share(60),
        lost_kills: share(20),
        slow_starts: share(60),
        long_operations: share(5),
        tells_killing: chance.happens(500),
        tells_since: chance.happens(500),
        locks: chance.happens(700),
        per_s: *chance.one_of(&[1, 3, 8]).unwrap_or(&3),
    }
}

fn mishaps(chance: &mut Chance, badness: u32) -> Vec<(Span, Mishap)> {
    let count = u64::from(badness) * chance.below(4);
    (0..count)
        .map(|_| (chance.span(0, 40_000), mishap(chance)))
        .collect()
}

fn mishap(chance: &mut Chance) -> Mishap {
    let green = chance.happens(500);
    let lasts = chance.span(200, 20_000);
    match chance.below(12) {
        0 | 1 => Mishap::Crash { green },
        2 | 3 => Mishap::Sick { green, lasts },
        4 | 5 => Mishap::Lost {
            green,
            lasts,
            anew: chance.happens(500),
        },
        6 => Mishap::Scale {
            green,
            by: *chance.one_of(&[-1, 1, 2]).unwrap_or(&1),
        },
        7 | 8 => Mishap::Lock { green, lasts },
        9 => Mishap::Forget,
        10 => Mishap::NoOrchestrator { lasts },
        _ => Mishap::NoBalancer { lasts },
    }
}

fn deeds(chance: &mut Chance, gates: usize) -> Vec<(When, Deed)> {
    let mut deeds = Vec::new();
    for _ in 0..chance.below(4) {
        let when = if chance.happens(600) {
            When::Entries(1 + usize::try_from(chance.below(25)).unwrap_or(0))
        } else {
            When::After(chance.span(0, 40_000))
        };
        match chance.below(10) {
            0 | 1 => deeds.push((when, Deed::Say(rollback()))),
            2 => {
                deeds.push((when, Deed::Say(Command::Pause)));
                if chance.happens(800) {
                    let later = When::After(chance.span(10_000, 60_000));
                    deeds.push((later, Deed::Say(Command::Resume)));
                }
            }
            3 => deeds.push((when, Deed::Say(force()))),
            4 => {
                let full = chance.happens(300);
                deeds.push((when, Deed::Say(Command::Promote { full })));
            }
            _ => deeds.push((when, Deed::Die(death(chance)))),
        }
    }
    for _ in 0..gates {
        let when = When::Awaited(chance.span(30_000, 90_000));
        let full = chance.happens(200);
        match chance.below(8) {
            0 => deeds.push((when, Deed::Say(rollback()))),
            // Nobody comes.
            1 => {}
            _ => deeds.push((when, Deed::Say(Command::Promote { full }))),
        }
    }
    deeds
}

fn death(chance: &mut Chance) -> Death {
    Death {
        away: chance.span(0, 20_000),
        elsewhere: chance.happens(250),
        back: chance.happens(200),
        tear: *chance
            .one_of(&[Tear::Whole, Tear::CutOff, Tear::Unsynced])
            .unwrap_or(&Tear::Whole),
    }
}

fn rollback() -> Command {
    Command::Rollback {
        reason: "second thoughts".to_owned(),
    }
}

fn force() -> Command {
    Command::Force {
        reason: "it takes too long".to_owned(),
    }
}
