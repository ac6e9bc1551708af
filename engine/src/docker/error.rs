//! Why the daemon did not do what it was asked.

use std::path::PathBuf;
use std::time::Duration;

/// Why a call of the Docker Engine API did not succeed. The texts have no final full stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DockerError {
    /// There is no socket: install a daemon, start it, or say where its socket is.
    #[error(
        "no Docker or Podman answers: there is no socket {}; hint: install and start docker.io or \
         podman (`podman system service`), or say where its socket is with `teal up --docker-socket`",
        join(.0)
    )]
    NoSocket(Vec<PathBuf>),
    /// The socket may not be used: ask for the right to.
    #[error(
        "Docker's socket {} may not be used: {reason}; hint: run as root or as a member of the \
         socket's group (often `docker`)",
        socket.display()
    )]
    Forbidden {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Nobody listens at the socket: start the daemon.
    #[error(
        "Docker does not answer at {}: {reason}; hint: is the daemon running? \
         (`systemctl start docker`)",
        socket.display()
    )]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The daemon speaks no version of the API that this client speaks.
    #[error("Docker's API {0} cannot be spoken with: this engine needs 1.25 or later")]
    TooOld(String),
    /// What was asked for does not exist (404).
    #[error("{0}")]
    Missing(String),
    /// It is there already, or in a state that does not allow it (409).
    #[error("{0}")]
    Conflict(String),
    /// The daemon refused, in its own words.
    #[error("{message} (the container daemon answered {status})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// The daemon did not answer in time.
    #[error("Docker did not {what} within {} s", limit.as_secs())]
    TimedOut {
        /// What it was asked to do.
        what: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// The answer broke off or made no sense.
    #[error("Docker's answer cannot be read: {0}")]
    Garbled(String),
}

fn join(sockets: &[PathBuf]) -> String {
    let names: Vec<String> = sockets
        .iter()
        .map(|socket| socket.display().to_string())
        .collect();
    names.join(" nor ")
}
