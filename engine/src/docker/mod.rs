//! A client of the Docker Engine API over its UNIX socket, as far as running tasks needs it.
//!
//! Podman's `podman system service` answers the same requests. The API is that of
//! <https://docs.docker.com/reference/api/engine/>; every call has a limit of time, and what went
//! wrong is a [`DockerError`] that says what a person can do about it. Nothing here knows of apps
//! or tasks, except `body.rs` and `parameters.rs`, which turn their wishes into one request.

mod body;
mod connection;
mod containers;
mod error;
mod exec;
mod images;
mod logs;
mod parameters;
mod socket;

pub(crate) use body::{Mounted, Network, Program, Published, Spec, container_body};
pub(crate) use connection::{Docker, reach};
pub(crate) use containers::Inspected;
pub(crate) use error::DockerError;
pub(crate) use logs::{LogFrame, LogStream};
pub(crate) use parameters::mistakes as parameter_mistakes;
pub(crate) use socket::candidates as socket_candidates;
