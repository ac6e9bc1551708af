//! The orchestrators that teal drives, one file each.

pub mod marathon;

pub use marathon::Marathon;
