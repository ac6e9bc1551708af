//! The informative check of an app (`check.raml` of Marathon 1.10): its result is shown, no more.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::readiness::Scheme;
use super::{ContainerKind, Port, WHOLE_MAX};
use crate::issues::Issues;

/// A check whose result changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) probe: CheckProbe,
    pub(crate) interval_seconds: u32,
    pub(crate) timeout_seconds: u32,
    /// How long after the task began to run the first try comes.
    pub(crate) delay_seconds: u32,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CheckProbe {
    Http {
        port: Port,
        path: Option<String>,
        scheme: Scheme,
    },
    Tcp {
        port: Port,
    },
    /// A line for the shell.
    Shell(String),
    /// A program and its arguments.
    Arguments(Vec<String>),
}

impl Check {
    /// Returns the time between two tries. 0 is taken as 1 second.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs(u64::from(self.interval_seconds.max(1)))
    }

    /// Returns how long one try may take. 0 is taken as 1 second.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.timeout_seconds.max(1)))
    }

    /// Returns how long after the task began to run the first try comes.
    pub(crate) fn delay(&self) -> Duration {
        Duration::from_secs(u64::from(self.delay_seconds))
    }

    /// Reads the check of an app with so many ports.
    pub(super) fn read(
        fields: &Fields<'_>,
        ports: usize,
        kind: Option<ContainerKind>,
        issues: &mut Issues,
    ) -> Option<Self> {
        let check = fields.object("check", issues)?;
        if kind == Some(ContainerKind::Docker) {
            issues.add(
                "/check",
                "is not supported for containers of type DOCKER, as on Mesos",
            );
        }
        let probe = CheckProbe::read(&check, ports, issues)?;
        let mut seconds =
            |key: &str, default: u32| check.whole(key, WHOLE_MAX, issues).unwrap_or(default);
        Some(Self {
            probe,
            interval_seconds: seconds("intervalSeconds", 60),
            timeout_seconds: seconds("timeoutSeconds", 20),
            delay_seconds: seconds("delaySeconds", 15),
        })
    }

    pub(super) fn to_json(&self) -> Value {
        let mut check = Map::new();
        let (key, probe) = self.probe.to_json();
        check.insert(key.to_owned(), probe);
        for (key, seconds) in [
            ("intervalSeconds", self.interval_seconds),
            ("timeoutSeconds", self.timeout_seconds),
            ("delaySeconds", self.delay_seconds),
        ] {
            check.insert(key.to_owned(), json!(seconds));
        }
        Value::Object(check)
    }
}

impl CheckProbe {
    fn read(check: &Fields<'_>, ports: usize, issues: &mut Issues) -> Option<Self> {
        let given: Vec<&str> = ["http", "tcp", "exec"]
            .into_iter()
            .filter(|key| check.has(key))
            .collect();
        let [key] = given.as_slice() else {
            issues.add("/check", "must hold exactly one of http, tcp and exec");
            return None;
        };
        let part = check.object(key, issues)?;
        match *key {
            "http" => Some(Self::Http {
                port: Port::read(&part, ports, issues),
                path: part.text("path", issues).map(str::to_owned),
                scheme: Scheme::read(&part, "scheme", issues),
            }),
            "tcp" => Some(Self::Tcp {
                port: Port::read(&part, ports, issues),
            }),
            _ => Self::read_command(&part, issues),
        }
    }

    fn read_command(exec: &Fields<'_>, issues: &mut Issues) -> Option<Self> {
        let Some(command) = exec.object("command", issues) else {
            issues.add(
                &exec.path("command"),
                "must be given as {\"shell\": \"…\"} or {\"argv\": [\"…\"]}",
            );
            return None;
        };
        let line = command.text("shell", issues).filter(|l| !l.is_empty());
        let words = command.texts("argv", issues).filter(|w| !w.is_empty());
        match (line, words) {
            (Some(line), None) => Some(Self::Shell(line.to_owned())),
            (None, Some(words)) => Some(Self::Arguments(words)),
            (None, None) | (Some(_), Some(_)) => {
                issues.add(
                    &exec.path("command"),
                    "must hold exactly one of shell and argv",
                );
                None
            }
        }
    }

    fn to_json(&self) -> (&'static str, Value) {
        let mut probe = Map::new();
        let mut put_port = |port: Port| match port {
            Port::None => {}
            Port::Index(index) => {
                probe.insert("portIndex".to_owned(), json!(index));
            }
            Port::Number(number) => {
                probe.insert("port".to_owned(), json!(number));
            }
        };
        match self {
            Self::Http { port, path, scheme } => {
                put_port(*port);
                if let Some(path) = path {
                    probe.insert("path".to_owned(), json!(path));
                }
                probe.insert("scheme".to_owned(), json!(scheme.as_str()));
                ("http", Value::Object(probe))
            }
            Self::Tcp { port } => {
                put_port(*port);
                ("tcp", Value::Object(probe))
            }
            Self::Shell(line) => ("exec", json!({ "command": { "shell": line } })),
            Self::Arguments(words) => ("exec", json!({ "command": { "argv": words } })),
        }
    }
}
