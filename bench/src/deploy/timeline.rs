//! A deployment's time, cut at the entries of its journal: each piece with what it could not have been shorter than.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::journal::{Entry, Journal};
use crate::service::Life;

/// What a piece of the time went into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Piece {
    /// The program starts, looks, plans, and looks again until its first change.
    Begin,
    /// A change is asked for: from its intent on the disk to its result on the disk.
    Act,
    /// Instances start up, until teal has seen all of them healthy.
    StartUp,
    /// They have to stay healthy for `min_healthy_time`.
    Settle,
    /// What was withdrawn drains, until it is told to stop.
    Drain,
    /// What was told to stop ends, until teal has seen that.
    Stop,
    /// The program ends.
    End,
}

/// One piece, or several of a kind together, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Spent {
    pub(super) took: f64,
    /// What the service itself needed, and the settings ask for.
    pub(super) needed: f64,
}

/// What a deployment was asked to wait for, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) start_up: f64,
    pub(super) min_healthy_time: f64,
    /// From the first sample that reads zero to the last one that must.
    pub(super) drain_samples: f64,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Timeline {
    pub(super) pieces: BTreeMap<Piece, Spent>,
    /// How often BLUE instances were withdrawn.
    pub(super) batches: u32,
}

impl Piece {
    pub(super) const ALL: [Self; 7] = [
        Self::Begin,
        Self::Act,
        Self::StartUp,
        Self::Settle,
        Self::Drain,
        Self::Stop,
        Self::End,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Act => "act",
            Self::StartUp => "start-up",
            Self::Settle => "settle",
            Self::Drain => "drain",
            Self::Stop => "stop",
            Self::End => "end",
        }
    }
}

impl Spent {
    pub(super) fn overhead(self) -> f64 {
        self.took - self.needed
    }
}

impl Timeline {
    /// Cuts the time between the command's start and its end, in milliseconds since 1970, at a journal's entries. The
    /// pieces together are as long as the whole.
    pub(super) fn of(
        journal: &Journal,
        lives: &BTreeMap<String, Life>,
        asked: Asked,
        (began, ended): (f64, f64),
    ) -> Self {
        let mut timeline = Self::default();
        let mut last: Option<&Entry> = None;
        let mut since = began;
        let acts: Vec<&Entry> = journal
            .entries
            .iter()
            .filter(|entry| matches!(entry.event.as_str(), "intended" | "performed" | "failed"))
            .collect();
        for act in acts {
            let at = ms(act.at_ms);
            if act.event == "intended" {
                timeline.pause(journal, last, (since, at), lives, asked);
                last = Some(act);
                timeline.batches += u32::from(!names(act, "withdraw").is_empty());
            } else {
                timeline.add(Piece::Act, at - since, 0.0);
            }
            since = at;
        }
        timeline.add(Piece::End, ended - since, 0.0);
        timeline
    }

    /// Adds what lies between the result of an action and the next intent.
    fn pause(
        &mut self,
        journal: &Journal,
        last: Option<&Entry>,
        (since, until): (f64, f64),
        lives: &BTreeMap<String, Life>,
        asked: Asked,
    ) {
        let took = until - since;
        let Some(last) = last else {
            return self.add(Piece::Begin, took, 0.0);
        };
        let of = |key: &str| {
            let ids = names(last, key);
            ids.into_iter()
                .filter_map(|id| lives.get(&id))
                .collect::<Vec<_>>()
        };
        match last.action().as_str() {
            "instance create" => self.add(Piece::Begin, took, 0.0),
            "instance scale" => {
                let healthy = all_healthy_at(journal, last).map_or(until, |at| at.min(until));
                self.add(Piece::StartUp, healthy - since, asked.start_up);
                self.add(Piece::Settle, until - healthy, asked.min_healthy_time);
            }
            "pool change" if !names(last, "withdraw").is_empty() => {
                let idle = of("withdraw").iter().map(|life| life.idle_ms).max();
                let work = idle.map_or(0.0, |idle| (ms(idle) - since).max(0.0));
                self.add(Piece::Drain, took, work + asked.drain_samples);
            }
            "instance kill" => {
                let ends = of("victims").into_iter();
                let longest = ends
                    .map(|life| life.ended_ms.saturating_sub(life.told_ms))
                    .max();
                self.add(Piece::Stop, took, longest.map_or(0.0, ms));
            }
            _ => self.add(Piece::Stop, took, 0.0),
        }
    }

    fn add(&mut self, piece: Piece, took: f64, needed: f64) {
        let spent = self.pieces.entry(piece).or_default();
        spent.took += took;
        spent.needed += needed;
    }

    /// Returns the sum of all pieces.
    pub(super) fn whole(&self) -> Spent {
        let pieces = self.pieces.values();
        pieces.fold(Spent::default(), |sum, piece| Spent {
            took: sum.took + piece.took,
            needed: sum.needed + piece.needed,
        })
    }
}

/// Returns when it was first seen that as many GREEN instances are healthy as an order to scale asks for.
fn all_healthy_at(journal: &Journal, scale: &Entry) -> Option<f64> {
    let wanted = scale.value["action"]["instance"]["instances"].as_u64()?;
    let is_so = |entry: &&Entry| {
        let instances = entry.value["picture"]["instances"].as_object();
        let healthy = instances
            .into_iter()
            .flatten()
            .filter(|(_, one)| one["role"] == "green" && one["health"] == "healthy");
        healthy.count() as u64 >= wanted
    };
    let later = journal.of("seen").filter(|entry| entry.seq > scale.seq);
    later.into_iter().find(is_so).map(|entry| ms(entry.at_ms))
}

/// Returns the instances that an intent names under a key.
fn names(intent: &Entry, key: &str) -> Vec<String> {
    let action = &intent.value["action"];
    let listed = [&action["pool"][key], &action["instance"][key]];
    let listed = listed.into_iter().filter_map(Value::as_array).flatten();
    listed
        .filter_map(|one| one.as_str().or_else(|| one["instance"].as_str()))
        .map(str::to_owned)
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "2^53 ms are 285,000 years")]
pub(super) const fn ms(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked = Asked {
        start_up: 1000.0,
        min_healthy_time: 2000.0,
        drain_samples: 400.0,
    };

    /// One batch of one instance, with a command that began at 0 and ended at 6000.
    const JOURNAL: &str = r#"x {"seq":1,"at":10,"event":"begun"}
x {"seq":2,"at":20,"event":"intended","action":{"instance":{"do":"scale","instances":1}}}
x {"seq":3,"at":30,"event":"performed","intent":2}
x {"seq":4,"at":1080,"event":"seen","picture":{"instances":{"g":{"role":"green","health":"healthy"}}}}
x {"seq":5,"at":3100,"event":"intended","action":{"pool":{"do":"change","admit":[{"instance":"g"}],"withdraw":["b"]}}}
x {"seq":6,"at":3105,"event":"performed","intent":5}
x {"seq":7,"at":4600,"event":"intended","action":{"instance":{"do":"kill","victims":[{"instance":"b"}]}}}
x {"seq":8,"at":4610,"event":"performed","intent":7}
x {"seq":9,"at":4700,"event":"intended","action":{"pool":{"do":"change","admit":[],"withdraw":[],"forget":["b"]}}}
x {"seq":10,"at":4701,"event":"performed","intent":9}
x {"seq":11,"at":5990,"event":"ended","outcome":{"outcome":"completed"}}"#;

    fn timeline() -> Timeline {
        let blue = Life {
            idle_ms: 4105,
            told_ms: 4612,
            ended_ms: 4642,
        };
        let lives = [("b".to_owned(), blue)].into();
        Timeline::of(&Journal::parse(JOURNAL), &lives, ASKED, (0.0, 6000.0))
    }

    #[test]
    fn the_pieces_together_are_as_long_as_the_whole() {
        let whole = timeline().whole();

        assert!((whole.took - 6000.0).abs() < 1e-6, "{whole:?}");
        assert!((whole.needed - 4430.0).abs() < 1e-6, "{whole:?}");
        assert_eq!(timeline().batches, 1);
    }

    #[test]
    fn a_piece_is_over_by_what_nobody_asked_for() {
        let over = |piece| timeline().pieces[&piece].overhead();

        for (piece, expected) in [
            (Piece::Begin, 20.0),
            (Piece::Act, 26.0),
            (Piece::StartUp, 50.0),
            (Piece::Settle, 20.0),
            (Piece::Drain, 95.0),
            (Piece::Stop, 60.0),
            (Piece::End, 1299.0),
        ] {
            assert!((over(piece) - expected).abs() < 1e-6, "{piece:?}");
        }
    }
}
