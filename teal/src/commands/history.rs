//! `teal history`.

use crate::failure::{Exit, Failure};
use crate::printer::{self, Format};
use crate::settings::Places;
use crate::store::{Past, Store, ended_at};
use clap::Args;
use teal_core::name::ServiceName;
use teal_core::report::ending;

/// List the deployments that were made from this machine, oldest first
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Only of this service
    service: Option<String>,
}

/// Runs `teal history`.
pub(crate) fn run(places: &Places, args: &HistoryArgs) -> Result<Exit, Failure> {
    let store = Store::open(&places.state_dir)?;
    let only = args
        .service
        .as_ref()
        .map(|service| ServiceName::from(service.trim_matches('/')));
    let (mut all, damaged) = store.all();
    all.retain(|past| only.as_ref().is_none_or(|only| past.plan.service == *only));
    match places.output {
        Format::Json => printer::json(&all.iter().map(document).collect::<Vec<_>>()),
        Format::Text => {
            let heading = ["BEGAN", "DEPLOYMENT", "FROM", "TO", "TOOK", "OUTCOME"]
                .map(str::to_owned)
                .to_vec();
            let rows = std::iter::once(heading).chain(all.iter().map(row));
            printer::table(&rows.collect::<Vec<_>>());
        }
    }
    for error in damaged {
        printer::talk(format_args!("warning: {error:#}"));
    }
    Ok(Exit::Done)
}

fn from(past: &Past) -> String {
    past.plan
        .blue
        .as_ref()
        .map_or_else(|| "-".to_owned(), |blue| blue.revision.to_string())
}

fn row(past: &Past) -> Vec<String> {
    let began = past.plan.made_at;
    let took =
        ended_at(&past.entries).map_or_else(|| "-".to_owned(), |end| end.since(began).to_string());
    let outcome = past
        .state
        .outcome
        .as_ref()
        .map_or_else(|| "under way".to_owned(), ending);
    vec![
        crate::clock::date_time(began),
        past.plan.deployment.to_string(),
        from(past),
        past.plan.green.revision.to_string(),
        took,
        outcome,
    ]
}

fn document(past: &Past) -> serde_json::Value {
    serde_json::json!({
        "deployment": past.plan.deployment,
        "service": past.plan.service,
        "blue": past.plan.blue.as_ref().map(|blue| &blue.revision),
        "green": past.plan.green.revision,
        "began": past.plan.made_at,
        "ended": ended_at(&past.entries),
        "outcome": past.state.outcome,
    })
}
