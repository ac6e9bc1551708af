//! The pure part of teal: what a deployment is, and what to do next.
//!
//! Data flows through the modules in this order: a [`definition`] written by the operator and a first look at the
//! world become a [`plan`]; what drivers see becomes an [`observation`]; [`decide()`] turns plan, state and
//! observation into [`action`]s; the [`journal`] remembers what was decided, and its fold is the state; a
//! [`report`] tells a person what happened. [`invariants`] states what must never happen, for all of them.
//!
//! Nothing here does IO, reads a clock, draws a random number or logs. Time comes in as a [`Moment`].

pub mod action;
pub mod decide;
pub mod definition;
pub mod evidence;
pub mod invariants;
pub mod journal;
pub mod keep;
pub mod name;
pub mod observation;
pub mod plan;
pub mod problem;
pub mod report;
pub mod settings;
pub mod time;

pub use decide::decide;
pub use time::{Moment, Span};
