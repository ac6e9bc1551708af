//! What can go wrong with a driven system, by what the caller can do about it.

use std::fmt;
use teal_core::journal::Effect;

/// Why a system could not be asked, or did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// No answer came. Whether a change took effect is not known: look again, then decide.
    #[error("no answer from {url}: {reason}")]
    Unreachable {
        /// Where it was asked.
        url: String,
        /// Why there is no answer.
        reason: String,
    },
    /// The system cannot answer at the moment. Ask again later.
    #[error("{url} cannot answer at the moment: {message}")]
    Busy {
        /// Where it was asked.
        url: String,
        /// What it said.
        message: String,
    },
    /// A change under way keeps others out. Wait for it.
    #[error("{what} is locked by {}", Lockers(.by))]
    Locked {
        /// What is locked.
        what: String,
        /// The ids of what locks it, as far as the system tells.
        by: Vec<String>,
    },
    /// What was asked for does not exist.
    #[error("{what} does not exist")]
    NotFound {
        /// What.
        what: String,
    },
    /// The system, or the driver on its behalf, says no, and will say so again.
    #[error("{what} was refused: {message}{}", Details(.details))]
    Refused {
        /// What was asked, and where.
        what: String,
        /// Why not.
        message: String,
        /// What is wrong in particular, one sentence each.
        details: Vec<String>,
    },
    /// The system does not know who asks: there are no credentials, or they are wrong or have expired.
    #[error("{url} does not let us in: {message}")]
    Unauthorized {
        /// Where it was asked.
        url: String,
        /// What it said, and as whom teal came.
        message: String,
    },
    /// The system knows who asks and does not permit it.
    #[error("{url} does not permit this: {message}")]
    Forbidden {
        /// Where it was asked.
        url: String,
        /// What it said, and as whom teal came.
        message: String,
    },
    /// Whoever answers there cannot prove to be the system: nothing was sent.
    #[error("{url} is not trusted: {reason}")]
    Untrusted {
        /// Where it was to be asked.
        url: String,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// An answer came that cannot be read: something else may answer there.
    #[error("the answer of {url} cannot be read: {reason}")]
    Malformed {
        /// Where it came from.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing was asked, because the address of the system or the request itself cannot be used.
    #[error("{what} cannot be used: {reason}")]
    Unusable {
        /// What.
        what: String,
        /// Why not.
        reason: String,
        /// How it is written.
        hint: &'static str,
    },
}

impl DriverError {
    /// Tells whether the same request can succeed later without anybody changing it.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Busy { .. }
            | Self::Locked { .. }
            | Self::NotFound { .. }
            | Self::Untrusted { .. }
            | Self::Malformed { .. } => true,
            Self::Refused { .. }
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::Unusable { .. } => false,
        }
    }

    /// Returns what a change that ended with this may have done all the same.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::Unreachable { .. } | Self::Busy { .. } | Self::Malformed { .. } => {
                Effect::Unknown
            }
            Self::Locked { .. }
            | Self::NotFound { .. }
            | Self::Refused { .. }
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::Untrusted { .. }
            | Self::Unusable { .. } => Effect::None,
        }
    }

    /// Returns what a person can do about it, if there is anything to say that holds in general.
    #[must_use]
    pub const fn hint(&self) -> Option<&str> {
        match self {
            Self::Unreachable { .. } => {
                Some("check that the server is up and that the address is right")
            }
            Self::Busy { .. } => Some("wait a little and try again; the server's log may say more"),
            Self::Locked { .. } => {
                Some("wait until the change under way has ended, or stop it where it was started")
            }
            Self::Unauthorized { .. } => Some(
                "`teal doctor` says which credentials are used; they are named by --marathon-user with \
                 --marathon-password-file, --marathon-token-file, --marathon-service-account, or --marathon dcos",
            ),
            Self::Forbidden { .. } => {
                Some("ask whoever keeps the cluster for the permission, or come as somebody else")
            }
            Self::Untrusted { .. } => Some(
                "if a CA of your own signed the certificate, name that CA's PEM file with --marathon-ca \
                 (DC/OS gives its own at /ca/dcos-ca.crt)",
            ),
            Self::Malformed { .. } => Some(
                "check that the address is that of the system itself and not of something before it",
            ),
            Self::Unusable { hint, .. } => Some(hint),
            Self::NotFound { .. } | Self::Refused { .. } => None,
        }
    }
}

struct Lockers<'a>(&'a [String]);

impl fmt::Display for Lockers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("a change under way"),
            [one] => write!(f, "deployment {one}"),
            many => write!(f, "deployments {}", many.join(", ")),
        }
    }
}

struct Details<'a>(&'a [String]);

impl fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|detail| write!(f, "\n    {detail}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_reads_as_one_message_with_its_details_below() {
        let error = DriverError::Refused {
            what: "POST http://127.0.0.1:8080/v2/apps".to_owned(),
            message: "Object is not valid".to_owned(),
            details: vec!["/cpus: must be positive".to_owned()],
        };

        assert_eq!(
            error.to_string(),
            "POST http://127.0.0.1:8080/v2/apps was refused: Object is not valid\n    \
             /cpus: must be positive"
        );
    }

    #[test]
    fn a_lock_names_what_holds_it_or_says_that_something_does() {
        let locked = |by: &[&str]| DriverError::Locked {
            what: "/oinker".to_owned(),
            by: by.iter().map(|&id| id.to_owned()).collect(),
        };

        assert_eq!(
            locked(&[]).to_string(),
            "/oinker is locked by a change under way"
        );
        assert_eq!(
            locked(&["a"]).to_string(),
            "/oinker is locked by deployment a"
        );
        assert_eq!(
            locked(&["a", "b"]).to_string(),
            "/oinker is locked by deployments a, b"
        );
    }
}
