//! When two states are the same: a text of all their fields, in which moments are ages and ids are ranks.
//!
//! It is made from the `Debug` text of the real types, so that a field that is added to them is part of the key by
//! itself. What [`Keys::age`] says of single fields makes states the same that no decision tells apart, or only by how far
//! in a class of long waits they are; a field that it does not name counts with its exact age up to there. Ids keep their order, because `decide` orders by id, and lose their gaps.

use crate::node::{Node, is_id};
use std::fmt::Write;
use std::hash::{DefaultHasher, Hasher};
use teal_core::name::InstanceId;
use teal_core::plan::{BLIND_DEADLINE, Plan};
use teal_core::settings::{OnDrainDeadline, Settings};
use teal_core::{Moment, Span};

/// From the first of these on, ages count in classes while nothing was unseen. Their borders are the limits of `decide`
/// that no setting makes shorter, and the patience: pauses between tries, when a kill is said again, when tries are
/// forgotten, the deadlines of five minutes, those with the grace of what is stopped, with a start-up, and with both.
const AGES: [Span; 11] = [
    Span::seconds(8),
    Span::seconds(16),
    Span::seconds(20),
    Span::seconds(30),
    Span::seconds(120),
    Span::seconds(121),
    Span::seconds(300),
    Span::seconds(303),
    Span::seconds(307),
    Span::seconds(311),
    Span::seconds(330),
];
/// No limit of a decision is longer.
const OLDEST: Span = Span::minutes(12);
/// How long `decide` reckons with a call that is not seen to have had its effect (`core/src/plan.rs`).
const ON_ITS_WAY: Span = Span::seconds(5);
/// Tries beyond this many double the pause no more.
const TRIES: u64 = 6;

/// Makes keys; its buffers are used again.
pub(crate) struct Keys {
    settings: Settings,
    text: String,
    key: String,
    ids: Vec<InstanceId>,
}

/// What the ages of one state are reckoned from.
struct Clock {
    now: Moment,
    /// No deadline counts from before.
    anchor: Moment,
    /// When the operator permitted to stop what drains.
    forced_at: Option<Moment>,
    /// How much longer a deadline may be for what could not be seen.
    unseen: Span,
}

impl Keys {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            settings: plan.settings.clone(),
            text: String::new(),
            key: String::new(),
            ids: Vec::new(),
        }
    }

    /// Returns a number that tells states apart. Of ten million states two share one by accident in three of a million
    /// searches.
    pub(crate) fn of(&mut self, node: &Node) -> u64 {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let (world, evidence) = (&node.world, &node.evidence);
        write!(
            text,
            "{} {} {:?} {:?} {:?} {:?} {evidence:?} {:?}",
            node.mishaps,
            node.steps,
            world.fleets,
            world.pool,
            world.lagging,
            world.late,
            node.state
        )
        .expect("a string takes what is written");
        let clock = Clock {
            now: node.now,
            anchor: node.state.anchor.max(sighted_since(&text)),
            forced_at: node.state.force.as_ref().map(|force| force.at),
            unseen: if text.contains("gaps: []") {
                Span::ZERO
            } else {
                BLIND_DEADLINE
            },
        };
        self.collect_ids(node);
        self.rewrite(&text, &clock);
        self.text = text;
        self.hash()
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(self.key.as_bytes());
        hasher.finish()
    }

    fn collect_ids(&mut self, node: &Node) {
        self.ids.clear();
        let copies = node.world.copies().map(|copy| &copy.id);
        let listed = node.world.pool.iter().flat_map(|pool| pool.keys());
        self.ids.extend(copies.chain(listed).cloned());
        self.ids.sort_unstable();
        self.ids.dedup();
    }

    /// Copies the text word by word, and rewrites the words that are moments, ids or counters.
    fn rewrite(&mut self, text: &str, clock: &Clock) {
        self.key.clear();
        let bytes = text.as_bytes();
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let (mut at, mut field) = (0, "");
        while at < bytes.len() {
            let begin = at;
            while at < bytes.len() && is_word(bytes[at]) {
                at += 1;
            }
            let word = &text[begin..at];
            if word == "Moment" {
                let (moment, length) = number(&text[at + 1..]);
                at += length + 2;
                self.age(field, Moment(moment), clock);
                continue;
            }
            if bytes.get(at) == Some(&b':') && word.starts_with(|c: char| c.is_ascii_lowercase()) {
                field = word;
            }
            self.word(field, word);
            let rest = at;
            while at < bytes.len() && !is_word(bytes[at]) {
                at += 1;
            }
            self.key.push_str(&text[rest..at]);
        }
    }

    fn word(&mut self, field: &str, word: &str) {
        if is_id(word) {
            let rank = self.ids.iter().position(|id| id.as_str() == word);
            match rank.and_then(|rank| u8::try_from(rank).ok()) {
                Some(rank) => {
                    self.key.push_str(&word[..1]);
                    self.key.push(char::from(b'A' + rank));
                }
                None => self.key.push_str(word),
            }
            return;
        }
        let cap = match field {
            "seq" => 0,
            "idle_samples" => u64::from(self.settings.drain_samples),
            "count" => TRIES,
            _ => return self.key.push_str(word),
        };
        match word.parse::<u64>() {
            Ok(count) => self.number(count.min(cap)),
            Err(_) => self.key.push_str(word),
        }
    }

    /// Writes the age of a moment as far as it can matter.
    fn age(&mut self, field: &str, moment: Moment, clock: &Clock) {
        let settings = &self.settings;
        let anchored = moment.max(clock.anchor);
        let patience = match settings.on_drain_deadline {
            OnDrainDeadline::Wait => settings.patience,
            OnDrainDeadline::Rollback | OnDrainDeadline::Force => Span::ZERO,
        };
        let drains = settings.drain_deadline.max(patience) + clock.unseen;
        let starts = settings.healthy_deadline + settings.min_healthy_time + clock.unseen;
        let (from, cap) = match field {
            // Deadlines that count from before the anchor count from the anchor; that is all it is for. When the last
            // entry was written is for people.
            "anchor" | "sighted_since" | "at" | "began" => return,
            // Which of these is the later one matters from one look to the next.
            "since" | "healthy_since" | "told" | "looked_at" => {
                (moment, settings.min_healthy_time + settings.drain_interval)
            }
            "unhealthy_since" => (moment, settings.unhealthy_limit),
            "sampled_at" => (moment, settings.drain_interval),
            "sizes" | "leaves" | "unsure_leaves" | "admitted" | "unsure_admissions" | "created"
            | "unsure_creation" | "unsure_scales" => (moment, ON_ITS_WAY),
            "bake_began" => (moment, settings.keep_blue() + drains),
            "paused_at" => (moment, settings.patience),
            "promoted_at" => (anchored, drains),
            "out_since" => {
                // It is also compared with when something was said of the instance.
                let exact = clock.now.since(moment).min(ON_ITS_WAY);
                self.number(exact.0);
                self.key.push('/');
                (anchored, drains)
            }
            "withdrawn" => {
                let covered = clock.forced_at.is_some_and(|force| force >= moment);
                self.key.push(if covered { 'f' } else { 'n' });
                (anchored, drains)
            }
            "launched_at" | "unsettled_since" => (anchored, starts),
            "gate" | "locked_since" | "stopping_since" | "acted_at" | "blind_since" | "from"
            | "to" => (anchored, OLDEST),
            _ => (moment, OLDEST),
        };
        let age = Span(clock.now.since(from).0.min(cap.0));
        // Between two of these, one age is as good as another.
        let class = AGES.iter().rev().find(|from| age >= **from);
        // What was unseen moves deadlines to where no class has its border.
        let class = class.filter(|_| clock.unseen == Span::ZERO);
        self.number(class.map_or(age.0, |from| from.0));
    }

    fn number(&mut self, number: u64) {
        write!(self.key, "{number}").expect("a string takes what is written");
    }
}

/// Since when the deployer looks, which [`teal_core::evidence::Evidence`] keeps to itself.
fn sighted_since(text: &str) -> Moment {
    const FIELD: &str = "sighted_since: Some(Moment(";
    let at = text.find(FIELD);
    at.map_or(Moment(0), |at| Moment(number(&text[at + FIELD.len()..]).0))
}

/// Returns the number that a text begins with, and how many bytes it takes.
fn number(text: &str) -> (u64, usize) {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    (text[..length].parse().unwrap_or(0), length)
}
