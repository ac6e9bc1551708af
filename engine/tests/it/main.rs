//! The engine as its clients see it: real HTTP to a started engine with real processes.

mod access;
mod apps;
mod container_restarts;
mod containers;
mod deployments;
mod dockerd;
mod events;
mod fetch;
mod files;
mod groups;
mod harness;
mod health;
mod idle;
mod kill;
mod limits;
mod metrics;
mod readiness;
mod refusals;
mod restart;
mod runbook;
mod supervision;
mod system;
mod tls;
