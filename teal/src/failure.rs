//! Why a command did not do what it was asked, and the exit code that tells a script.

use std::fmt;
use teal_core::problem::Problem;
use teal_drivers::DriverError;

/// How the program ends. The numbers are a contract (`teal --help` lists them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Internal = 1,
    Invalid = 2,
    RolledBack = 3,
    Stuck = 4,
    Locked = 5,
    Orchestrator = 6,
    Balancer = 7,
    WaitOver = 8,
    Interrupted = 130,
}

impl Exit {
    /// `plan --detailed-exitcode` says with 2 that there are changes, as Terraform's does.
    pub(crate) const CHANGES: Self = Self::Invalid;
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failed command: what happened, what to do next, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) what: String,
    pub(crate) problems: Vec<Problem>,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            problems: Vec::new(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Every mistake of what the operator wrote, at once.
    pub(crate) fn invalid(what: impl Into<String>, problems: Vec<Problem>) -> Self {
        Self {
            problems,
            ..Self::new(Exit::Invalid, what)
        }
    }

    pub(crate) fn orchestrator(error: &DriverError) -> Self {
        Self::driver(
            Exit::Orchestrator,
            error,
            "`teal up` starts one on this machine; --marathon says where another one is",
        )
    }

    pub(crate) fn balancer(error: &DriverError) -> Self {
        let is_haproxy =
            matches!(error, DriverError::Unreachable { url, .. } if url.starts_with("haproxy+"));
        let absent = if is_haproxy {
            "is HAProxy running, and may this user open that socket? `teal doctor` tells more"
        } else {
            "`teal up` starts one on this machine; --balancer says where another one is"
        };
        Self::driver(Exit::Balancer, error, absent)
    }

    fn driver(exit: Exit, error: &DriverError, absent: &str) -> Self {
        let failure = Self::new(exit, error.to_string());
        let hint = match error {
            DriverError::Unreachable { .. } => Some(absent),
            DriverError::Busy { .. }
            | DriverError::Locked { .. }
            | DriverError::NotFound { .. }
            | DriverError::Refused { .. }
            | DriverError::Unauthorized { .. }
            | DriverError::Forbidden { .. }
            | DriverError::Untrusted { .. }
            | DriverError::Malformed { .. }
            | DriverError::Unusable { .. } => error.hint(),
        };
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Internal, format!("{error:#}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        for problem in &self.problems {
            write!(f, "\n  - {problem}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n\nhint: {hint}"),
            None => Ok(()),
        }
    }
}
