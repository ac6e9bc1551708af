//! Whole deployments in a small simulated world: the decisions of `decide` itself, every promise checked at each one.
#![expect(
    clippy::unwrap_used,
    reason = "a test that meets what it did not expect should fail there"
)]

mod answers;
mod definitions;
mod edges;
mod fuzz;
mod leaving;
mod made_elsewhere;
mod mangled;
mod on_its_way;
mod scenarios;
mod whole_runs;
mod world;
