//! What every driver must do, one function a rule. Each panics where the rule is broken.
//!
//! A new driver is tested by calling every rule of [`orchestrator`] or [`balancer`] against a real server of its
//! system; the rules that need what a balancer cannot do pass by themselves. Each rule makes what it needs and takes
//! it away again, and wants names that nothing else uses.

pub mod balancer;
pub mod orchestrator;

use std::time::Duration;

/// How long a rule waits for an effect, and how often it looks when no cue comes.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The rule is broken when an effect takes longer.
    pub limit: Duration,
    /// The time between two looks.
    pub interval: Duration,
}

impl Patience {
    /// For servers on this machine.
    pub const LOCAL: Self = Self {
        limit: Duration::from_secs(30),
        interval: Duration::from_millis(50),
    };
}
