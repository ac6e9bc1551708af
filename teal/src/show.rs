//! What a person, or a program, sees of a deployment while it goes on.

mod lines;
mod live;
mod scene;

pub(crate) use lines::{JsonLines, Lines};
pub(crate) use live::Live;
pub(crate) use scene::picture;

use crate::printer::{self, Format};
use crate::runner::Audience;
use teal_core::journal::Outcome;
use teal_core::report::ending;

/// Returns the audience that fits the output: NDJSON if asked for, a live view on a terminal, plain lines elsewhere.
pub(crate) fn audience(format: Format) -> Box<dyn Audience> {
    match format {
        Format::Json => Box::new(JsonLines),
        Format::Text if printer::is_live() => Box::new(Live::default()),
        Format::Text => Box::new(Lines::default()),
    }
}

/// Returns an outcome as a coloured sentence.
pub(crate) fn outcome(outcome: &Outcome) -> String {
    let text = ending(outcome);
    match outcome {
        Outcome::Completed => printer::style::green(text),
        Outcome::RolledBack { .. } => printer::style::yellow(text),
        Outcome::Stuck { .. } => printer::style::red(text),
    }
}
