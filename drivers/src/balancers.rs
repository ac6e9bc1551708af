//! The balancers that teal drives, one file each.

pub mod builtin;

pub use builtin::Builtin;
