//! Marathon's own clients, as they were published, against a running `teal up`: the DC/OS CLI and marathon-python.
//!
//! What they print, say and exit with is compared with what they print for a Marathon. Where an id or a time stands,
//! [`told::Told`] puts one that is always the same. The environment they run in comes from `python.sh`.

#[path = "../it/world/command.rs"]
#[expect(dead_code, reason = "the scenarios use more of it than these tests")]
mod command;
#[path = "../it/world/time.rs"]
mod time;

mod machine;
mod told;

mod access;
mod apps;
mod deployments;
mod groups;
mod library;
mod runbook;
mod system;
