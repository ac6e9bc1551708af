//! One program, run to its end in a process that has no other child, so that what the system counted is its own alone.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde_json::{Value, json};

use crate::table;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where what it says goes
    #[arg(long)]
    log: std::path::PathBuf,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs it, and prints as JSON what it used.
///
/// # Errors
///
/// If it cannot be run, or fails.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let log = std::fs::File::create(&args.log).with_context(|| args.log.display().to_string())?;
    let (program, arguments) = args.command.split_first().context("no program")?;
    let begun = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
        .with_context(|| program.clone())?;
    let took = begun.elapsed();
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let said = json!({
        "ok": status.success(),
        "seconds": took.as_secs_f64(),
        "user_ms": milliseconds(used.user_time()),
        "system_ms": milliseconds(used.system_time()),
        "peak_kib": used.max_rss(),
        "sleeps": used.voluntary_context_switches(),
    });
    table::print(&format!("{said}\n"));
    Ok(())
}

fn milliseconds(time: TimeVal) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "a run of an hour is exact")]
    let milliseconds = (time.tv_sec() * 1_000_000 + time.tv_usec()) as f64 / 1000.0;
    json!(milliseconds)
}
