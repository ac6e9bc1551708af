//! A deployment's time and how late each step was, from its journal and from what its instances wrote down themselves.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::journal::{Entry, Journal};
use crate::service::Life;
use crate::statistics::Sample;

/// How late something was, after it could have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Delay {
    /// From the command's start to its first change: the program starts, looks, plans.
    Begin,
    /// From the intent of a change on the disk to its result on the disk.
    Act,
    /// From the order of an instance to the sight of its health, without its start-up.
    StartUp,
    /// From the sight of its health to its first request, without `min_healthy_time`.
    Settle,
    /// From the end of an instance's work to the order to stop it, without the samples between.
    Drain,
    /// From an instance's end to the sight of that.
    Stop,
    /// From the last result to the command's end.
    End,
}

/// What a deployment was asked to wait for, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) start_up: f64,
    pub(super) min_healthy_time: f64,
    /// From the first sample that reads zero to the last one that must.
    pub(super) drain_samples: f64,
    /// How many times BLUE instances are replaced one after the other.
    pub(super) batches: u32,
}

/// One deployment, in milliseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    pub(super) took: f64,
    /// What it could not be shorter than.
    pub(super) needed: f64,
    pub(super) batches: u32,
    pub(super) late: BTreeMap<Delay, Sample>,
}

impl Delay {
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

impl Account {
    /// Makes it out for a command that ran between two moments, in milliseconds since 1970.
    pub(super) fn of(
        journal: &Journal,
        lives: &BTreeMap<String, Life>,
        asked: Asked,
        (began, ended): (f64, f64),
    ) -> Self {
        let story = Story { journal, asked };
        let mut account = Self {
            took: ended - began,
            batches: asked.batches,
            ..Self::default()
        };
        let acts = story.acts();
        let (first, last) = (acts.first(), acts.last());
        account.add(
            Delay::Begin,
            first.map(|(intent, _)| ms(intent.at_ms) - began),
        );
        account.add(Delay::End, last.map(|(_, done)| ended - ms(done.at_ms)));
        for (intent, done) in &acts {
            account.add(Delay::Act, Some(ms(done.at_ms) - ms(intent.at_ms)));
        }
        let (mut work, mut ending) = (Sample::default(), Sample::default());
        for (intent, done) in &acts {
            for id in names(intent, "admit") {
                account.add(Delay::StartUp, story.start_up(&id));
                account.add(Delay::Settle, story.settle(&id, intent));
            }
            let mut longest: Option<f64> = None;
            for id in names(intent, "withdraw") {
                let Some(life) = lives.get(&id) else { continue };
                let idle = ms(life.idle_ms).max(ms(done.at_ms));
                let drain = idle - ms(done.at_ms);
                longest = Some(longest.map_or(drain, |longest| longest.max(drain)));
                ending.push(ms(life.ended_ms) - ms(life.told_ms));
                account.add(Delay::Drain, story.drain(&id, idle));
                account.add(Delay::Stop, story.stop(&id, *life));
            }
            longest.into_iter().for_each(|drain| work.push(drain));
        }
        let waits = asked.start_up + asked.min_healthy_time + asked.drain_samples;
        account.needed = f64::from(asked.batches) * (waits + work.median() + ending.median());
        account
    }

    fn add(&mut self, delay: Delay, late: Option<f64>) {
        if let Some(late) = late {
            self.late.entry(delay).or_default().push(late);
        }
    }

    pub(super) fn overhead(&self) -> f64 {
        self.took - self.needed
    }
}

struct Story<'a> {
    journal: &'a Journal,
    asked: Asked,
}

impl Story<'_> {
    /// Returns every change that was carried out: its intent and its result.
    fn acts(&self) -> Vec<(&Entry, &Entry)> {
        let done: BTreeMap<u64, &Entry> = self
            .journal
            .of("performed")
            .filter_map(|done| Some((done.value["intent"].as_u64()?, done)))
            .collect();
        let intents = self.journal.of("intended");
        intents
            .filter_map(|intent| Some((intent, *done.get(&intent.seq)?)))
            .collect()
    }

    fn start_up(&self, id: &str) -> Option<f64> {
        let is_there = |entry: &&Entry| !instance(entry, id).is_null();
        let seen = self.journal.of("seen").find(is_there)?;
        let scales = self.journal.of("intended");
        let ordered = scales
            .filter(|intent| intent.action() == "instance scale" && intent.seq < seen.seq)
            .last()?;
        Some(self.healthy_at(id)? - ms(ordered.at_ms) - self.asked.start_up)
    }

    fn settle(&self, id: &str, admitted: &Entry) -> Option<f64> {
        Some(ms(admitted.at_ms) - self.healthy_at(id)? - self.asked.min_healthy_time)
    }

    fn healthy_at(&self, id: &str) -> Option<f64> {
        let is_healthy = |entry: &&Entry| instance(entry, id)["health"] == "healthy";
        let seen = self.journal.of("seen").find(is_healthy)?;
        Some(ms(seen.at_ms))
    }

    fn drain(&self, id: &str, idle: f64) -> Option<f64> {
        let kill = self.kill(id)?;
        Some(ms(kill.at_ms) - idle - self.asked.drain_samples)
    }

    fn stop(&self, id: &str, life: Life) -> Option<f64> {
        let kill = self.kill(id)?;
        let mut later = self.journal.of("seen").filter(|seen| seen.seq > kill.seq);
        let gone = later.find(|seen| {
            let gone = seen.value["picture"]["gone"].as_array();
            gone.is_some_and(|gone| gone.iter().any(|one| one == id))
        })?;
        Some(ms(gone.at_ms) - ms(life.ended_ms))
    }

    fn kill(&self, id: &str) -> Option<&Entry> {
        let mut intents = self.journal.of("intended");
        intents.find(|intent| names(intent, "victims").iter().any(|victim| victim == id))
    }
}

/// Returns an instance in a picture, which shows what changed; null if it did not.
fn instance<'a>(seen: &'a Entry, id: &str) -> &'a Value {
    &seen.value["picture"]["instances"][id]
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
        batches: 1,
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
x {"seq":9,"at":4650,"event":"seen","picture":{"instances":{"g":{"role":"green","health":"healthy"}}}}
x {"seq":10,"at":4700,"event":"seen","picture":{"instances":{},"gone":["b"]}}
x {"seq":11,"at":5990,"event":"ended","outcome":{"outcome":"completed"}}"#;

    fn account() -> Account {
        let blue = Life {
            idle_ms: 4105,
            told_ms: 4612,
            ended_ms: 4642,
        };
        let lives = [("b".to_owned(), blue)].into();
        Account::of(&Journal::parse(JOURNAL), &lives, ASKED, (0.0, 6000.0))
    }

    #[test]
    fn what_is_needed_is_what_the_service_needs_and_the_settings_ask_for() {
        let account = account();

        assert!((account.needed - 4430.0).abs() < 1e-6, "{account:?}");
        assert!((account.overhead() - 1570.0).abs() < 1e-6, "{account:?}");
    }

    #[test]
    fn a_step_is_late_by_what_nobody_asked_for() {
        for (delay, expected) in [
            (Delay::Begin, 20.0),
            (Delay::Act, 10.0),
            (Delay::StartUp, 60.0),
            (Delay::Settle, 20.0),
            (Delay::Drain, 95.0),
            (Delay::Stop, 58.0),
            (Delay::End, 1390.0),
        ] {
            let late = account().late[&delay].median();
            assert!((late - expected).abs() < 1e-6, "{delay:?}: {late}");
        }
    }
}
