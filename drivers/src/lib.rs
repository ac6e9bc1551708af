//! The systems that teal drives, behind two small traits: an [`Orchestrator`] runs instances, a [`Balancer`] sends
//! them traffic. One file per system under [`orchestrators`] and [`balancers`]; the pending gauges are read by
//! [`gauge`].
//!
//! A driver reports what its system says and does what it is told. It holds no rule of deployment, remembers nothing
//! of the world, and never resends a change by itself: the caller looks again and decides. [`conformance`] states
//! what every driver must do; [`fake`] and [`faulty`] are worlds to test against.

mod address;
mod error;
mod secret;

pub mod auth;
pub mod balancers;
pub mod chance;
pub mod clock;
pub mod conformance;
pub mod dcos;
pub mod directory;
pub mod fake;
pub mod faulty;
pub mod gauge;
pub mod http;
pub mod orchestrators;
pub mod simulated;

pub use error::DriverError;
pub use gauge::{Gauges, HttpGauges, Question, Reading};
pub use secret::Secret;

use async_trait::async_trait;
use teal_core::action::{InstanceAction, PoolAction};
use teal_core::name::{PoolId, RevisionId};
use teal_core::observation::{PoolSighting, RevisionSighting};
use teal_core::plan::Found;

/// What runs the instances.
#[async_trait]
pub trait Orchestrator: Send + Sync {
    /// Returns every revision that exists, with definition and sighting. For plans, status and history; a running
    /// deployment asks [`Self::observe`].
    ///
    /// # Errors
    /// The system cannot be asked, or its answer cannot be read.
    async fn find(&self) -> Result<Vec<Found>, DriverError>;

    /// Returns these revisions as they are at this moment; those that do not exist are left out.
    ///
    /// # Errors
    /// The system cannot be asked about one of them, or its answer cannot be read.
    async fn observe(&self, revisions: &[RevisionId])
    -> Result<Vec<RevisionSighting>, DriverError>;

    /// Carries out an action. It may be called twice with the same action and must then do no harm. `Ok` means
    /// accepted, not done: effects are observed.
    ///
    /// # Errors
    /// The variant says what the caller can do. After [`DriverError::Unreachable`] the effect may have happened.
    async fn act(&self, action: &InstanceAction) -> Result<(), DriverError>;

    /// Resolves when something may have changed since it last resolved: a cue to look again, never a source of truth.
    /// It may resolve for nothing, and it may miss a change, so the caller also looks at intervals. One caller at a
    /// time gets the cue.
    async fn changed(&self);
}

/// What sends the traffic.
#[async_trait]
pub trait Balancer: Send + Sync {
    /// Returns what this balancer can do. What it cannot is an error when a plan is made.
    fn capabilities(&self) -> Capabilities;

    /// Returns these pools as they are at this moment; those that do not exist are left out.
    ///
    /// # Errors
    /// The system cannot be asked about one of them, or its answer cannot be read.
    async fn observe(&self, pools: &[PoolId]) -> Result<Vec<PoolSighting>, DriverError>;

    /// Carries out an action. It may be called twice with the same action and must then do no harm. `Ok` means
    /// accepted, not done: effects are observed.
    ///
    /// # Errors
    /// The variant says what the caller can do. After [`DriverError::Unreachable`] the effect may have happened.
    async fn act(&self, action: &PoolAction) -> Result<(), DriverError>;
}

/// What a balancer can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// It tells how many requests are under way per endpoint.
    pub in_flight: bool,
    /// It admits and withdraws in one step, so that no request sees half a change.
    pub atomic_change: bool,
    /// It can open a pool and listen for it. Otherwise pools are made by hand in its own configuration.
    pub listens: bool,
    /// It can serve raw TCP, not only HTTP.
    pub tcp: bool,
}

impl Capabilities {
    /// Everything.
    pub const ALL: Self = Self {
        in_flight: true,
        atomic_change: true,
        listens: true,
        tcp: true,
    };
}
