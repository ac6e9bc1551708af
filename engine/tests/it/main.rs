//! The engine as its clients see it: real HTTP to a started engine with real processes.

mod apps;
mod deployments;
mod events;
mod files;
mod harness;
mod health;
mod kill;
mod refusals;
mod runbook;
mod supervision;
