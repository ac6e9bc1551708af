//! The runner against the drivers' in-memory world.
