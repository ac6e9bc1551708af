//! The drivers against real servers: our own, and canned ones that answer as others would.

mod canned;
mod conformance;
mod dcos;
mod fuzz;
mod gauges;
mod http;
mod marathon;
mod masters;
mod shapes;
mod simulated;
mod tls;
mod trust;
mod unsure;
