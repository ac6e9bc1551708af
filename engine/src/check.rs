//! The last result of an informative check, which changes nothing (`check.raml`).

use serde_json::{Value, json};

use crate::definition::CheckProbe;
use crate::model::ProbeSlot;
use crate::probe::Answer;

/// The informative check of one task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CheckWatch {
    pub(crate) slot: ProbeSlot,
    pub(crate) status: Option<CheckStatus>,
}

/// What the last try said. A part that Mesos leaves open when nothing answers is left open here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckStatus {
    Http(Option<u16>),
    Tcp(bool),
    Command(Option<i32>),
}

impl CheckStatus {
    /// Returns what an answer to a check says.
    pub(crate) fn of(probe: &CheckProbe, answer: &Answer) -> Self {
        match probe {
            CheckProbe::Http { .. } => Self::Http(match answer {
                Answer::Http(response) => Some(response.status),
                Answer::Connected | Answer::Ended { .. } | Answer::Nothing(_) => None,
            }),
            CheckProbe::Tcp { .. } => Self::Tcp(*answer == Answer::Connected),
            CheckProbe::Shell(_) | CheckProbe::Arguments(_) => Self::Command(match answer {
                Answer::Ended { code, .. } => *code,
                Answer::Http(_) | Answer::Connected | Answer::Nothing(_) => None,
            }),
        }
    }

    /// Returns the `checkResult` of a task object.
    pub(crate) fn to_json(self) -> Value {
        let part = |key: &str, value: Option<Value>| match value {
            Some(value) => json!({ key: value }),
            None => json!({}),
        };
        match self {
            Self::Http(status) => {
                json!({ "http": part("statusCode", status.map(|status| json!(status))) })
            }
            Self::Tcp(succeeded) => json!({ "tcp": { "succeeded": succeeded } }),
            Self::Command(code) => {
                json!({ "command": part("exitCode", code.map(|code| json!(code))) })
            }
        }
    }
}
