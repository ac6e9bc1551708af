//! `teal load`: traffic against the sample service, every failure counted.

use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::load::{Load, LoadSettings, Outcome};
use crate::printer::{self, Format, style};
use crate::settings::Places;
use anyhow::Context;
use clap::Args;
use std::path::PathBuf;
use teal_core::Span;

/// Send traffic to an oinker, or plain requests to any service, and count every failure
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Where: host:port, or http://host:port/path
    url: String,
    /// How long; 0 is until Ctrl-C
    #[arg(long, default_value = "0s")]
    duration: Span,
    /// Kept connections with plain requests
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Plain requests a second over all connections; left out, each connection asks again after an answer
    #[arg(long)]
    rate: Option<f64>,
    /// The share of plain requests that post an oink, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    posts: f64,
    /// WebSockets held open
    #[arg(long, default_value_t = 0)]
    sockets: usize,
    /// How long each WebSocket is held
    #[arg(long, default_value = "10s")]
    socket_hold: Span,
    /// Slow requests under way
    #[arg(long, default_value_t = 0)]
    slow: usize,
    /// How long a slow request takes
    #[arg(long, default_value = "20s")]
    slow_time: Span,
    /// Event streams followed
    #[arg(long, default_value_t = 0)]
    feeds: usize,
    /// How long an event stream lasts
    #[arg(long, default_value = "10s")]
    feed_time: Span,
    /// The oinker's database: compare what was acknowledged with what is stored
    #[arg(long)]
    database: Option<PathBuf>,
}

/// Runs `teal load`.
pub(crate) async fn run(places: &Places, args: LoadArgs) -> Result<Exit, Failure> {
    let interrupt = Interrupt::listen().context("cannot listen for signals")?;
    let load = Load::start(settings(&args)?);
    if args.duration == Span::ZERO {
        interrupt.wanted().await;
    } else {
        tokio::select! {
            () = tokio::time::sleep(args.duration.duration()) => {}
            () = interrupt.wanted() => {}
        }
    }
    let outcome = load.stop().await;
    let lost = match &args.database {
        Some(database) => Some(lost(&outcome, database).await?),
        None => None,
    };
    match places.output {
        Format::Json => {
            printer::json(&serde_json::json!({ "totals": outcome.totals, "lost": lost }));
        }
        Format::Text => {
            tell(&outcome, printer::data);
            if let Some(lost) = lost {
                printer::data(format_args!(
                    "acknowledged oinks that are not in the database: {lost}"
                ));
            }
        }
    }
    let clean = outcome.totals.failed == 0 && lost.unwrap_or(0) == 0;
    Ok(if clean { Exit::Done } else { Exit::Internal })
}

fn settings(args: &LoadArgs) -> Result<LoadSettings, Failure> {
    let settings = LoadSettings::against(&args.url)
        .map_err(|error| Failure::new(Exit::Invalid, format!("{error:#}")))?;
    Ok(LoadSettings {
        connections: args.connections,
        rate: args.rate,
        post_share: args.posts,
        sockets: args.sockets,
        socket_hold: args.socket_hold.duration(),
        slow: args.slow,
        slow_ms: args.slow_time.0,
        feeds: args.feeds,
        feed_ms: args.feed_time.0,
        ..settings
    })
}

/// Returns how many acknowledged oinks are still not stored after they had time to be.
pub(super) async fn lost(outcome: &Outcome, database: &std::path::Path) -> Result<usize, Failure> {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let stored = crate::oinker::stored_ids(database)?;
        let missing = outcome.acknowledged.difference(&stored).count();
        if missing == 0 || tokio::time::Instant::now() >= deadline {
            return Ok(missing);
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Tells what came of a load.
pub(super) fn tell(outcome: &Outcome, say: fn(String)) {
    let totals = &outcome.totals;
    let failed = format!("failed {}", totals.failed);
    let failed = if totals.failed == 0 {
        style::green(failed)
    } else {
        style::red(failed)
    };
    say(format!("requests  sent {}, {failed}", totals.sent));
    let streams = [
        ("slow requests", totals.slow_completed),
        ("event streams", totals.feeds_completed),
        ("WebSockets", totals.sockets_completed),
    ];
    let streams: Vec<_> = streams
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if !streams.is_empty() {
        say(format!("          of them {}", streams.join(", ")));
    }
    let answers: Vec<_> = totals
        .revisions
        .iter()
        .map(|(revision, count)| format!("{revision} {count}"))
        .collect();
    say(format!("answers   {}", answers.join(", ")));
    let millis = |micros: u64| format!("{}.{} ms", micros / 1000, micros % 1000 / 100);
    let latency = &totals.latency;
    say(format!(
        "latency   p50 {}, p99 {}, most {}",
        millis(latency.p50_us),
        millis(latency.p99_us),
        millis(latency.max_us)
    ));
    for failure in &totals.failures {
        say(style::red(format!(
            "failed    {} × {}: {}",
            failure.count, failure.class, failure.first_example
        )));
    }
    if totals.closed_while_idle > 0 {
        say(format!(
            "note      {} kept connections were closed while idle (no request was harmed)",
            totals.closed_while_idle
        ));
    }
}
