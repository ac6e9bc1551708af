//! Whatever is handed to the parsers and to the fold of the journal: no panic, and nothing decided that breaks a promise.

mod arbitrary;
mod definitions;
mod journals;
