//! The driver of HAProxy against HAProxy itself, under load: the rules of conformance, 50 flips that lose nothing,
//! reloads, kills, and processes that lag.
//!
//! `haproxy` is looked for in PATH and in /usr/sbin, or is named by TEAL_HAPROXY; TEAL_HAPROXY_2 names one of another
//! release. A test that wants one which is not there says so aloud and is skipped.

mod backend;
mod client;
mod conformance;
mod flips;
mod lagging;
mod load;
mod machine;
mod pool;
mod program;
mod reloads;
mod settings;
mod until;
