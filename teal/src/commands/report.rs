//! `teal report`.

mod html;

use crate::clock;
use crate::failure::{Exit, Failure};
use crate::printer::{self, Format, style};
use crate::settings::Places;
use crate::show;
use crate::store::Store;
use clap::Args;
use teal_core::Span;
use teal_core::action::KillReason;
use teal_core::name::{DeploymentId, ServiceName};
use teal_core::report::{Forced, Report, short};

/// Tell what a deployment did: its outcome, how every instance drained, what was forced, every decision
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// A deployment's id, or a service for its latest deployment
    deployment: String,
    /// As one page of HTML
    #[arg(long)]
    html: bool,
}

/// Runs `teal report`.
pub(crate) fn run(places: &Places, args: &ReportArgs) -> Result<Exit, Failure> {
    let store = Store::open(&places.state_dir)?;
    let latest = store
        .of_service(&ServiceName::from(args.deployment.trim_matches('/')))
        .pop();
    let past = match latest {
        Some(past) => past,
        None => store.find(&DeploymentId::from(args.deployment.as_str()))?,
    };
    let report = Report::of(&past.entries).map_err(anyhow::Error::new)?;
    match places.output {
        _ if args.html => printer::raw(&html::page(&report, clock::now())),
        Format::Json => printer::json(&report),
        Format::Text => print(&report),
    }
    Ok(Exit::Done)
}

fn print(report: &Report) {
    let from = report.blue.as_ref().map_or("nothing", |blue| blue.as_str());
    printer::data(style::bold(&report.deployment));
    printer::data(format_args!(
        "{}: {from} → {}",
        report.service, report.green
    ));
    let outcome = report
        .outcome
        .as_ref()
        .map_or_else(|| "under way".to_owned(), show::outcome);
    printer::data(format_args!(
        "{outcome}, after {}",
        report.took(clock::now())
    ));
    let least = report
        .least_capacity
        .map_or_else(|| "-".to_owned(), |least| least.to_string());
    printer::data(format_args!(
        "healthy and serving: never fewer than {least} seen, floor {}",
        report.floor
    ));
    if !report.drains.is_empty() {
        printer::data("\nhow instances left the pool:");
        let heading = [
            "INSTANCE",
            "COLOUR",
            "LEFT AT",
            "STOPPED AFTER",
            "MOST IN-FLIGHT",
            "MOST PENDING",
        ];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        for drain in &report.drains {
            let stopped = drain.stopped.map(|at| at.since(drain.withdrawn));
            rows.push(vec![
                short(&drain.instance),
                drain.role.to_string(),
                clock::time(drain.withdrawn),
                stopped
                    .as_ref()
                    .map_or_else(|| "not stopped".to_owned(), Span::to_string),
                drain.most_in_flight.to_string(),
                drain.most_pending.to_string(),
            ]);
        }
        printer::table(&rows);
    }
    for forced in &report.forced {
        printer::data(style::red(forced_sentence(forced)));
    }
    printer::data("\ntimeline:");
    for line in &report.timeline {
        printer::data(format_args!("{} {}", clock::time(line.at), line.what));
    }
}

fn forced_sentence(forced: &Forced) -> String {
    let victim = &forced.victim;
    let reason = match &victim.why {
        KillReason::Forced(reason) => reason.as_str(),
        KillReason::Drained | KillReason::NeverServed => "",
    };
    let in_flight = victim
        .in_flight
        .map_or_else(|| "unknown".to_owned(), |count| count.to_string());
    format!(
        "FORCED at {}: {} was stopped with {in_flight} requests in flight and {} operations pending, because: {reason}",
        clock::time(forced.at),
        short(&victim.instance),
        victim.pending,
    )
}
