//! What one oinker is told by its environment. Every mistake is reported at once.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

const DELAY_MS_MAX: u64 = 3_600_000;
const REVISION_LENGTH_MAX: usize = 128;

/// What one oinker needs to run.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Where it listens. Port 0 takes a free port.
    pub(crate) listen: SocketAddr,
    /// The revision that every response names.
    pub(crate) revision: String,
    /// The SQLite file that all instances of all revisions share.
    pub(crate) database: PathBuf,
    /// The name of this running copy: the task id under an orchestrator.
    pub(crate) instance: String,
    /// How long an acknowledged oink waits before it is committed.
    pub(crate) commit_delay: Duration,
    /// How long after its start `/health` answers 503.
    pub(crate) start_delay: Duration,
    /// What is wrong with it, on purpose.
    pub(crate) sick: Sickness,
}

/// A defect that the demo and the tests ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sickness {
    /// Nothing is wrong.
    Well,
    /// `/health` always answers 500.
    Health,
    /// The gauge of pending operations never reads below 3.
    StuckGauge,
    /// `/metrics` and `/status` answer 500.
    GaugeError,
    /// The gauge is not a number.
    GaugeGarbage,
    /// `/metrics` and `/status` never answer.
    GaugeTimeout,
}

impl Sickness {
    const NAMED: [(&'static str, Self); 5] = [
        ("health", Self::Health),
        ("stuck-gauge", Self::StuckGauge),
        ("gauge-error", Self::GaugeError),
        ("gauge-garbage", Self::GaugeGarbage),
        ("gauge-timeout", Self::GaugeTimeout),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::NAMED
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, sickness)| sickness)
    }
}

/// Every mistake found in the environment, one sentence each.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadSettings(Vec<String>);

impl fmt::Display for BadSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("oinker cannot start:")?;
        self.0
            .iter()
            .try_for_each(|problem| write!(formatter, "\n  {problem}"))
    }
}

impl std::error::Error for BadSettings {}

impl Settings {
    /// Reads the settings through `lookup`, which answers the value of an environment variable.
    ///
    /// # Errors
    ///
    /// When values are missing or unusable: all of them, not the first.
    pub(crate) fn from_lookup(
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, BadSettings> {
        let mut reader = Reader {
            lookup,
            problems: Vec::new(),
        };
        let address = reader.address();
        let port = reader.port();
        let settings = Self {
            listen: SocketAddr::new(address, port),
            revision: reader.revision(),
            database: PathBuf::from(reader.required("OINKER_DATABASE", "the SQLite file to use")),
            instance: reader
                .value("MESOS_TASK_ID")
                .unwrap_or_else(|| format!("oinker.{port}")),
            commit_delay: reader.delay("OINKER_COMMIT_DELAY_MS", 80),
            start_delay: reader.delay("OINKER_START_DELAY_MS", 0),
            sick: reader.sickness(),
        };
        if reader.problems.is_empty() {
            Ok(settings)
        } else {
            Err(BadSettings(reader.problems))
        }
    }
}

/// Reads values and collects what is wrong with them.
struct Reader<L> {
    lookup: L,
    problems: Vec<String>,
}

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    /// Returns a value; one that is set to nothing counts as not set.
    fn value(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    fn required(&mut self, name: &str, meaning: &str) -> String {
        let value = self.value(name);
        if value.is_none() {
            self.problems.push(format!("{name} is not set: {meaning}"));
        }
        value.unwrap_or_default()
    }

    fn address(&mut self) -> IpAddr {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let Some(text) = self.value("OINKER_ADDRESS") else {
            return loopback;
        };
        text.parse().unwrap_or_else(|_| {
            self.problems.push(format!(
                "OINKER_ADDRESS is {text:?}, which is no IP address"
            ));
            loopback
        })
    }

    fn port(&mut self) -> u16 {
        let found = ["PORT0", "PORT"]
            .into_iter()
            .find_map(|name| Some((name, self.value(name)?)));
        let Some((name, text)) = found else {
            self.problems
                .push("PORT0 is not set: the port to listen on".to_owned());
            return 0;
        };
        self.number(name, &text, 0..=u64::from(u16::MAX))
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or_default()
    }

    /// Returns the revision, which has to fit into a header.
    fn revision(&mut self) -> String {
        let revision = self.required("OINKER_REVISION", "the name of what runs, say \"blue\"");
        let fits = revision.len() <= REVISION_LENGTH_MAX
            && revision.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits {
            self.problems.push(format!(
                "OINKER_REVISION is {revision:?}: at most {REVISION_LENGTH_MAX} visible ASCII \
                 characters fit into a header"
            ));
        }
        revision
    }

    fn delay(&mut self, name: &str, default_ms: u64) -> Duration {
        let text = self.value(name);
        let ms = text.and_then(|text| self.number(name, &text, 0..=DELAY_MS_MAX));
        Duration::from_millis(ms.unwrap_or(default_ms))
    }

    fn sickness(&mut self) -> Sickness {
        let Some(text) = self.value("OINKER_SICK") else {
            return Sickness::Well;
        };
        Sickness::named(&text).unwrap_or_else(|| {
            let known = Sickness::NAMED.map(|(name, _)| name).join(", ");
            self.problems
                .push(format!("OINKER_SICK is {text:?}, which is none of {known}"));
            Sickness::Well
        })
    }

    fn number(&mut self, name: &str, text: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let (low, high) = range.into_inner();
            self.problems.push(format!(
                "{name} is {text:?}, not a number from {low} to {high}"
            ));
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_environment_is_read() {
        let settings = read(&[
            ("PORT0", "31000"),
            ("OINKER_REVISION", "blue"),
            ("OINKER_DATABASE", "oinks.db"),
            ("OINKER_COMMIT_DELAY_MS", "5"),
            ("OINKER_START_DELAY_MS", "7"),
            ("OINKER_SICK", "gauge-error"),
            ("MESOS_TASK_ID", "blue-oinker.1"),
        ])
        .expect("the environment is sound");

        assert_eq!(
            settings.listen,
            "127.0.0.1:31000".parse().expect("an address")
        );
        assert_eq!(settings.revision, "blue");
        assert_eq!(settings.instance, "blue-oinker.1");
        assert_eq!(settings.commit_delay, Duration::from_millis(5));
        assert_eq!(settings.start_delay, Duration::from_millis(7));
        assert_eq!(settings.sick, Sickness::GaugeError);
    }

    #[test]
    fn what_is_not_said_has_a_default_and_port_stands_in_for_port0() {
        let settings = read(&[
            ("PORT", "80"),
            ("OINKER_REVISION", "green"),
            ("OINKER_DATABASE", "o.db"),
        ])
        .expect("the environment is sound");

        assert_eq!(settings.listen.port(), 80);
        assert_eq!(settings.commit_delay, Duration::from_millis(80));
        assert_eq!(settings.start_delay, Duration::ZERO);
        assert_eq!(settings.sick, Sickness::Well);
        assert_eq!(settings.instance, "oinker.80");
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let error = read(&[
            ("PORT0", "70000"),
            ("OINKER_ADDRESS", "everywhere"),
            ("OINKER_REVISION", "two words"),
            ("OINKER_COMMIT_DELAY_MS", "soon"),
            ("OINKER_SICK", "flu"),
        ])
        .expect_err("five values are bad and one is missing");

        let text = error.to_string();
        for name in [
            "PORT0 is \"70000\"",
            "OINKER_ADDRESS is",
            "OINKER_REVISION is",
            "OINKER_DATABASE is not set",
            "OINKER_COMMIT_DELAY_MS is",
            "OINKER_SICK is \"flu\"",
        ] {
            assert!(text.contains(name), "{name} is missing in {text}");
        }
    }

    #[test]
    fn every_sickness_has_a_name() {
        for (name, sickness) in Sickness::NAMED {
            assert_eq!(Sickness::named(name), Some(sickness));
        }
    }

    fn read(environment: &[(&str, &str)]) -> Result<Settings, BadSettings> {
        Settings::from_lookup(|name| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }
}
