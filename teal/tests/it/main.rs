//! Scenarios: the real program, the real processes, real traffic. One file per family.
//!
//! Every scenario has a `teal up` of its own in a folder of its own ([`world::World`]) and drives it as a person or a
//! script would: by commands, their exit codes, and what is there afterwards. Nothing in here knows the program's
//! inside but the journal's lines, which are a format on disk.

#[path = "../../../engine/tests/it/dockerd.rs"]
#[expect(dead_code, reason = "the engine's own tests need more of it")]
mod dockerd;
mod world;

mod by_hand;
mod containers;
mod crashes;
mod deployments;
mod gauges;
mod haproxy;
mod logs;
mod marathons;
mod meddling;
mod mistakes;
mod restarts;
mod rollbacks;
mod sickness;
mod telling;
