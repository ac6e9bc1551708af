//! The balancers that teal drives, one file each.

pub mod builtin;
pub mod haproxy;

pub use builtin::Builtin;
pub use haproxy::Haproxy;
