//! Whole deployments in a small simulated world: the decisions of `decide` itself, every promise checked at each one.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "scenarios look at the case they are about"
)]

mod definitions;
mod scenarios;
mod whole_runs;
mod world;
