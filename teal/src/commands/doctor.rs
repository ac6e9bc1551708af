//! `teal doctor`: is everything there that a deployment needs?

mod balancer;
mod marathon;

use crate::failure::{Exit, Failure};
use crate::printer::{self, Format, style};
use crate::settings::Places;
use crate::store::Store;
use anyhow::Context;
use clap::Args;
use serde::Serialize;

/// Check that everything is there that a deployment needs
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {}

#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    ok: bool,
    found: String,
    hint: Option<String>,
    /// The exit code that it asks for when it has failed.
    #[serde(skip)]
    exit: Exit,
}

impl Check {
    /// What can be told and is no reason to fail.
    fn told(what: &'static str, found: String, hint: Option<&str>) -> Self {
        Self {
            what,
            ok: true,
            found,
            hint: hint.map(str::to_owned),
            exit: Exit::Done,
        }
    }

    fn new(what: &'static str, exit: Exit, came: Result<String, Failure>) -> Self {
        match came {
            Ok(found) => Self {
                what,
                ok: true,
                found,
                hint: None,
                exit,
            },
            Err(failure) => Self {
                what,
                ok: false,
                found: failure.what,
                hint: failure.hint,
                exit,
            },
        }
    }
}

/// Runs `teal doctor`.
pub(crate) async fn run(places: &Places, _: DoctorArgs) -> Result<Exit, Failure> {
    let mut checks = vec![Check::new(
        "state folder",
        Exit::Internal,
        state_dir(places),
    )];
    checks.extend(marathon::checks(places).await);
    checks.extend(balancer::checks(places).await);
    match places.output {
        Format::Json => printer::json(&checks),
        Format::Text => checks.iter().for_each(print),
    }
    let failed = checks.iter().find(|check| !check.ok);
    Ok(failed.map_or(Exit::Done, |check| check.exit))
}

fn print(check: &Check) {
    let mark = if check.ok {
        style::green("ok  ")
    } else {
        style::red("FAIL")
    };
    printer::data(format_args!("{mark} {}: {}", check.what, check.found));
    if let Some(hint) = &check.hint {
        printer::data(format_args!("     hint: {hint}"));
    }
}

fn state_dir(places: &Places) -> Result<String, Failure> {
    let found = places.state_dir.display().to_string();
    let store = Store::open(&places.state_dir)?;
    let probe = store.root().join(format!(".doctor-{}", std::process::id()));
    std::fs::write(&probe, b"ok")
        .and_then(|()| std::fs::remove_file(&probe))
        .with_context(|| format!("cannot write into {found}"))?;
    let damaged: Vec<String> = store
        .all()
        .1
        .iter()
        .map(|error| format!("{error:#}"))
        .collect();
    if damaged.is_empty() {
        return Ok(found);
    }
    Err(Failure::new(Exit::Internal, damaged.join("; "))
        .hint("move the damaged journal away once you know what it was about"))
}
