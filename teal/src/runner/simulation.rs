//! The runner, with its journal, on bad days: whatever happens, a deployment ends completed or rolled back, with every
//! promise kept and nothing left.
//!
//! There are two worlds. [`cluster`] is a Mesos cluster whose Marathon speaks HTTP: the real driver is in play, and so
//! are sockets. [`memory`] has no sockets: its drivers are the world itself, so that it is fast, has faults that no
//! server of ours can be made to have, and plays a seed again to the last line of its story.
//!
//! In both a run follows from its seed: what is deployed and how, what goes wrong, when the deployer is killed, what the
//! operator asks for. The clock is tokio's and paused, so a run of minutes takes a moment, and its deadlines are real.
//!
//! `TEAL_SEEDS=1000 cargo test -p teal simulation::memory` plays more seeds, from `TEAL_FIRST_SEED` on;
//! `TEAL_SEED=17 cargo test -p teal simulation::memory` plays one and tells its story.

mod cluster;
mod deployers;
mod memory;
mod scribe;
mod seeds;

use super::*;
use teal_core::journal::Command;

/// 2026-01-01.
const BEGINNING: Moment = Moment(1_767_225_600_000);

/// What came of a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Run {
    seed: u64,
    outcome: Option<Outcome>,
    breaches: Vec<String>,
    story: Vec<String>,
    took: Span,
    counts: Counts,
}

/// What there was to count in a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    requests: u64,
    operations: u64,
    /// What got lost with what crashed, or was stopped by others.
    lost_to_the_world: u64,
    /// What got lost because the operator said so.
    lost_to_force: u64,
    kills: u64,
    resumed: u64,
    stuck: u64,
}

/// When something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// So long after the beginning.
    After(Span),
    /// Once the journal has so many entries more than at the last deed.
    Entries(usize),
    /// Once a person is waited for, or so long after the beginning.
    Awaited(Span),
}

/// What is done to a deployment under way.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Deed {
    /// The operator asks for something.
    Say(Command),
    /// The deployer dies. After a while another one goes on.
    Die(Death),
}

/// How a deployer dies, and who comes after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Death {
    /// How long nobody is there.
    away: Span,
    /// The next one has only what GREEN's labels tell.
    elsewhere: bool,
    /// The next one is told to roll back.
    back: bool,
    /// What becomes of the end of the journal.
    tear: Tear,
}

/// What a death does to the end of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tear {
    /// Nothing.
    Whole,
    /// The entry that was being written is cut off.
    CutOff,
    /// The machine goes down too, and what was not forced to disk is gone.
    Unsynced,
}
