//! How a deployment goes about it. Each setting has one name, spelled as a flag (`--drain-deadline`), a label
//! (`TEAL_DRAIN_DEADLINE`), a key of `teal.toml` (`drain_deadline`) and an environment variable like the label.

use crate::problem::{Problem, nearest};
use crate::time::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// What one setting is called, what it is when nobody says, and what it means.
#[derive(Debug, Clone, Copy)]
pub struct SettingHelp {
    /// Its name, in `snake_case`.
    pub name: &'static str,
    /// Its default, as it would be written.
    pub default: &'static str,
    /// What it means, in one line.
    pub help: &'static str,
}

/// Every setting there is.
pub const SETTINGS: [SettingHelp; 18] = [
    help(
        "strategy",
        "rolling",
        "rolling: batch by batch; switch: all of GREEN first, then one change",
    ),
    help(
        "size",
        "live",
        "how many GREEN instances: live (as many as BLUE has), definition, or a number",
    ),
    help(
        "initial",
        "1 (switch: all)",
        "how many GREEN instances before the first traffic: a number, 25% or all",
    ),
    help(
        "batch",
        "25% (switch: all)",
        "how many BLUE instances leave at once: a number, 25% or all",
    ),
    help(
        "surge",
        "as initial or batch asks",
        "how many instances beyond BLUE's count may run at once",
    ),
    help(
        "floor",
        "BLUE's live count",
        "teal never takes the healthy, serving instances below this number",
    ),
    help(
        "min_healthy_time",
        "10s",
        "how long an instance must be healthy before it gets traffic",
    ),
    help(
        "healthy_deadline",
        "10m",
        "how long a batch may take to become healthy before teal rolls back",
    ),
    help(
        "unhealthy_limit",
        "10s",
        "how long a GREEN in the pool may be unhealthy before teal rolls back",
    ),
    help(
        "drain_interval",
        "200ms",
        "how often in-flight and pending are sampled",
    ),
    help(
        "drain_samples",
        "3",
        "how many samples in a row must read zero",
    ),
    help(
        "drain_deadline",
        "5m",
        "how long an instance may take to drain before the policy below applies",
    ),
    help(
        "on_drain_deadline",
        "rollback",
        "wait, rollback, or force (force needs force_reason)",
    ),
    help(
        "force_reason",
        "",
        "why undrained instances may be stopped; it stands in the report",
    ),
    help(
        "keep_blue",
        "0s (switch: 5m)",
        "how long BLUE stays warm after the last shift, for an instant rollback",
    ),
    help(
        "gates",
        "none",
        "where a person must promote: shift (before the first traffic), retire (before BLUE goes)",
    ),
    help(
        "patience",
        "24h",
        "how long teal waits for a person, or past a drain deadline under `wait`",
    ),
    help(
        "without_health_checks",
        "false",
        "take running for min_healthy_time as healthy when no check is declared",
    ),
];

const fn help(name: &'static str, default: &'static str, help: &'static str) -> SettingHelp {
    SettingHelp {
        name,
        default,
        help,
    }
}

/// How the traffic is shifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Batch by batch, as the runbook does.
    Rolling,
    /// All of GREEN is launched, then everything is shifted in one change, and BLUE stays warm.
    Switch,
}

/// How many instances the incoming revision is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// As many as BLUE has when the deployment begins: an autoscaler's work is kept.
    Live,
    /// As many as the definition's `instances` says.
    Definition,
    /// Exactly this many.
    Exactly(u32),
}

/// A number of instances, of the target size where it is a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Amount {
    /// This many.
    Count(u32),
    /// This share, in percent, rounded up.
    Percent(u32),
}

impl Amount {
    /// Returns the number of instances that this is of `whole`, at least one.
    #[must_use]
    pub fn of(self, whole: u32) -> u32 {
        match self {
            Self::Count(count) => count.max(1),
            Self::Percent(percent) => {
                let share = (u64::from(whole) * u64::from(percent)).div_ceil(100);
                u32::try_from(share).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

/// What happens to an instance that does not drain in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDrainDeadline {
    /// Keep waiting, and say so, as long as `patience` allows.
    Wait,
    /// Roll back: BLUE goes back into the pool.
    Rollback,
    /// Stop it all the same, for the stated reason.
    Force,
}

/// A place where a person must say go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// Before GREEN gets its first traffic.
    Shift,
    /// Before the last of BLUE, still warm, is stopped.
    Retire,
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shift => "shift",
            Self::Retire => "retire",
        })
    }
}

/// All settings, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How the traffic is shifted.
    pub strategy: Strategy,
    /// How many instances the incoming revision is to have.
    pub size: Size,
    /// How many instances must be settled before the first traffic; None: the strategy's own.
    pub initial: Option<Amount>,
    /// How many outgoing instances leave at once; None: the strategy's own.
    pub batch: Option<Amount>,
    /// How many instances beyond BLUE's count may run at once; None: as initial and batch need.
    pub surge: Option<Amount>,
    /// The least number of healthy, serving instances; None: BLUE's live count.
    pub floor: Option<u32>,
    /// How long an instance must have been healthy to be settled.
    pub min_healthy_time: Span,
    /// How long incoming instances may take to settle.
    pub healthy_deadline: Span,
    /// How long a serving GREEN may be unhealthy.
    pub unhealthy_limit: Span,
    /// How long between two drain samples.
    pub drain_interval: Span,
    /// How many samples in a row must read zero.
    pub drain_samples: u32,
    /// How long an instance may take to drain.
    pub drain_deadline: Span,
    /// What happens then.
    pub on_drain_deadline: OnDrainDeadline,
    /// Why `force` is permitted.
    pub force_reason: Option<String>,
    /// How long BLUE stays warm after the last shift; None: the strategy's own.
    pub keep_blue: Option<Span>,
    /// Where a person must promote.
    pub gates: BTreeSet<Gate>,
    /// How long teal waits for a person.
    pub patience: Span,
    /// Whether running for `min_healthy_time` is taken as healthy when no check is declared.
    pub without_health_checks: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            strategy: Strategy::Rolling,
            size: Size::Live,
            initial: None,
            batch: None,
            surge: None,
            floor: None,
            min_healthy_time: Span::seconds(10),
            healthy_deadline: Span::minutes(10),
            unhealthy_limit: Span::seconds(10),
            drain_interval: Span::millis(200),
            drain_samples: 3,
            drain_deadline: Span::minutes(5),
            on_drain_deadline: OnDrainDeadline::Rollback,
            force_reason: None,
            keep_blue: None,
            gates: BTreeSet::new(),
            patience: Span::minutes(24 * 60),
            without_health_checks: false,
        }
    }
}

impl Settings {
    /// Sets one setting from text. `place` is where it was written, for the message.
    ///
    /// # Errors
    /// The name is unknown (with the near one as a hint), or the text is not a value of this setting.
    pub fn set(&mut self, name: &str, text: &str, place: &str) -> Result<(), Problem> {
        self.parse(name, text.trim())
            .map_err(|refusal| match refusal {
                Refusal::UnknownName => {
                    let near = nearest(name, SETTINGS.iter().map(|setting| setting.name));
                    let problem = Problem::new(place, format!("there is no setting `{name}`"));
                    match near {
                        Some(near) => problem.hint(format!("did you mean `{near}`?")),
                        None => problem,
                    }
                }
                Refusal::BadValue(why) => Problem::new(place, why),
            })
    }

    fn parse(&mut self, name: &str, text: &str) -> Result<(), Refusal> {
        match name {
            "strategy" => self.strategy = word(text, &STRATEGIES)?,
            "size" => self.size = size(text)?,
            "initial" => self.initial = Some(amount(text)?),
            "batch" => self.batch = Some(amount(text)?),
            "surge" => self.surge = Some(amount(text)?),
            "floor" => self.floor = Some(number(text)?),
            "min_healthy_time" => self.min_healthy_time = span(text)?,
            "healthy_deadline" => self.healthy_deadline = positive(span(text)?)?,
            "unhealthy_limit" => self.unhealthy_limit = span(text)?,
            "drain_interval" => self.drain_interval = positive(span(text)?)?,
            "drain_samples" => self.drain_samples = at_least_one(number(text)?)?,
            "drain_deadline" => self.drain_deadline = positive(span(text)?)?,
            "on_drain_deadline" => self.on_drain_deadline = word(text, &POLICIES)?,
            "force_reason" => self.force_reason = (!text.is_empty()).then(|| text.to_owned()),
            "keep_blue" => self.keep_blue = Some(span(text)?),
            "gates" => self.gates = gates(text)?,
            "patience" => self.patience = positive(span(text)?)?,
            "without_health_checks" => self.without_health_checks = word(text, &BOOLEANS)?,
            _ => return Err(Refusal::UnknownName),
        }
        Ok(())
    }

    /// Returns what is wrong with the settings taken together.
    #[must_use]
    pub fn contradictions(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.on_drain_deadline == OnDrainDeadline::Force && self.force_reason.is_none() {
            problems.push(
                Problem::new(
                    "on_drain_deadline",
                    "`force` stops instances that are still at work, and no reason is given",
                )
                .hint("add --force-reason \"why this may drop work\"; it will stand in the report"),
            );
        }
        problems
    }

    /// Returns how long the outgoing revision stays warm.
    #[must_use]
    pub fn keep_blue(&self) -> Span {
        self.keep_blue.unwrap_or(match self.strategy {
            Strategy::Rolling => Span::ZERO,
            Strategy::Switch => Span::minutes(5),
        })
    }

    /// Returns how many instances must settle before the first traffic, of a target size.
    #[must_use]
    pub fn initial(&self, target: u32) -> u32 {
        let amount = self.initial.unwrap_or(match self.strategy {
            Strategy::Rolling => Amount::Count(1),
            Strategy::Switch => Amount::Percent(100),
        });
        amount.of(target).min(target.max(1))
    }

    /// Returns how many instances are moved at once, of a size.
    #[must_use]
    pub fn batch(&self, size: u32) -> u32 {
        let amount = self.batch.unwrap_or(match self.strategy {
            Strategy::Rolling => Amount::Percent(25),
            Strategy::Switch => Amount::Percent(100),
        });
        amount.of(size)
    }
}

enum Refusal {
    UnknownName,
    BadValue(String),
}

const STRATEGIES: [(&str, Strategy); 2] =
    [("rolling", Strategy::Rolling), ("switch", Strategy::Switch)];
const POLICIES: [(&str, OnDrainDeadline); 3] = [
    ("wait", OnDrainDeadline::Wait),
    ("rollback", OnDrainDeadline::Rollback),
    ("force", OnDrainDeadline::Force),
];
const BOOLEANS: [(&str, bool); 2] = [("true", true), ("false", false)];
const GATES: [(&str, Gate); 2] = [("shift", Gate::Shift), ("retire", Gate::Retire)];

fn word<T: Copy>(text: &str, words: &[(&'static str, T)]) -> Result<T, Refusal> {
    words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            Refusal::BadValue(format!("`{text}` is none of {}", known.join(", ")))
        })
}

fn number(text: &str) -> Result<u32, Refusal> {
    u32::from_str(text).map_err(|_| Refusal::BadValue(format!("`{text}` is not a whole number")))
}

fn at_least_one(number: u32) -> Result<u32, Refusal> {
    if number == 0 {
        Err(Refusal::BadValue("must be at least 1".to_owned()))
    } else {
        Ok(number)
    }
}

fn span(text: &str) -> Result<Span, Refusal> {
    text.parse()
        .map_err(|error: crate::time::NotASpan| Refusal::BadValue(error.to_string()))
}

fn positive(span: Span) -> Result<Span, Refusal> {
    if span == Span::ZERO {
        Err(Refusal::BadValue("must be longer than zero".to_owned()))
    } else {
        Ok(span)
    }
}

fn amount(text: &str) -> Result<Amount, Refusal> {
    if text == "all" {
        return Ok(Amount::Percent(100));
    }
    let parsed = match text.strip_suffix('%') {
        Some(percent) => percent
            .parse()
            .ok()
            .filter(|p| (1..=100).contains(p))
            .map(Amount::Percent),
        None => text
            .parse()
            .ok()
            .filter(|count| *count > 0)
            .map(Amount::Count),
    };
    parsed.ok_or_else(|| {
        Refusal::BadValue(format!(
            "`{text}` is not a number of instances (write 2, 25% or all)"
        ))
    })
}

fn size(text: &str) -> Result<Size, Refusal> {
    match text {
        "live" => Ok(Size::Live),
        "definition" => Ok(Size::Definition),
        _ => text.parse().map(Size::Exactly).map_err(|_| {
            Refusal::BadValue(format!("`{text}` is none of live, definition or a number"))
        }),
    }
}

fn gates(text: &str) -> Result<BTreeSet<Gate>, Refusal> {
    if text == "none" || text.is_empty() {
        return Ok(BTreeSet::new());
    }
    text.split(',')
        .map(|gate| word(gate.trim(), &GATES))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_setting_can_be_set() {
        let values = [
            ("strategy", "switch"),
            ("size", "7"),
            ("initial", "all"),
            ("batch", "25%"),
            ("surge", "2"),
            ("floor", "3"),
            ("drain_samples", "5"),
            ("on_drain_deadline", "force"),
            ("force_reason", "because"),
            ("gates", "shift, retire"),
            ("without_health_checks", "true"),
        ];
        let mut settings = Settings::default();

        for setting in SETTINGS {
            let value = values
                .iter()
                .find(|(name, _)| *name == setting.name)
                .map_or("3s", |v| v.1);
            assert_eq!(
                settings.set(setting.name, value, "here"),
                Ok(()),
                "{}",
                setting.name
            );
        }

        assert_eq!(settings.size, Size::Exactly(7));
        assert_eq!(settings.gates.len(), 2);
        assert_eq!(settings.contradictions(), vec![]);
    }

    #[test]
    fn an_unknown_setting_suggests_the_near_one() {
        let problem = Settings::default()
            .set("drain_dedline", "3s", "teal.toml")
            .unwrap_err();

        assert_eq!(problem.place, "teal.toml");
        assert_eq!(
            problem.hint.as_deref(),
            Some("did you mean `drain_deadline`?")
        );
    }

    #[test]
    fn force_without_a_reason_is_refused() {
        let mut settings = Settings::default();
        settings.set("on_drain_deadline", "force", "flag").unwrap();

        assert_eq!(settings.contradictions().len(), 1);
    }

    #[test]
    fn a_share_of_instances_is_rounded_up_and_never_zero() {
        assert_eq!(Amount::Percent(25).of(3), 1);
        assert_eq!(Amount::Percent(25).of(10), 3);
        assert_eq!(Amount::Percent(25).of(0), 1);
        assert_eq!(Amount::Percent(100).of(4), 4);
    }
}
