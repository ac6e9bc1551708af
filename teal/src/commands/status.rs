//! `teal status` and `teal watch`.

use super::drive;
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::printer::{self, Format};
use crate::runner::{Looker, Scene};
use crate::settings::Places;
use crate::show;
use crate::store::{Past, Store};
use crate::systems::Systems;
use anyhow::Context;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use teal_core::decide::decide;
use teal_core::definition::Definition;
use teal_core::evidence::Evidence;
use teal_core::journal::State;
use teal_core::name::ServiceName;
use teal_core::observation::{EndpointState, Health, PoolSighting};
use teal_core::plan::Found;

/// Show every service, or one with all its instances
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The service
    service: Option<String>,
}

/// Follow a deployment until it ends, whoever carries it on
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The service
    service: String,
}

/// One revision of a service in the overview.
#[derive(Debug, Serialize)]
struct Row {
    service: String,
    revision: String,
    instances: usize,
    wanted: u32,
    healthy: usize,
    serving: usize,
    in_flight: u64,
    listen: Option<String>,
    deployment: Option<String>,
}

/// Runs `teal status`.
pub(crate) async fn run(places: &Places, args: StatusArgs) -> Result<Exit, Failure> {
    let store = Store::open(&places.state_dir)?;
    let systems = Systems::connect(places)?;
    let only = args
        .service
        .map(|service| ServiceName::from(service.trim_matches('/')));
    if let (Some(service), Format::Text) = (&only, places.output)
        && let Some(past) = store.open_of(service)
    {
        let mut evidence = Evidence::of_onlooker();
        return show_once(&systems, &past, &mut evidence).await;
    }
    let rows = rows(&store, &systems, only.as_ref()).await?;
    match places.output {
        Format::Json => printer::json(&rows),
        Format::Text if rows.is_empty() => printer::talk("no service runs"),
        Format::Text => print(&rows),
    }
    Ok(Exit::Done)
}

async fn show_once(
    systems: &Systems,
    past: &Past,
    evidence: &mut Evidence,
) -> Result<Exit, Failure> {
    let mut lines = Vec::new();
    look(systems, past, evidence, |scene| {
        lines = show::picture(scene);
    })
    .await;
    lines.iter().for_each(printer::data);
    Ok(Exit::Done)
}

async fn look(
    systems: &Systems,
    past: &Past,
    evidence: &mut Evidence,
    mut with: impl FnMut(&Scene<'_>),
) {
    systems.note_admitted(&past.entries);
    let looker = Looker::new(systems.clone());
    let sighting = looker.look(&past.plan, past.state.is_back()).await;
    let seen = evidence.absorb(&past.plan, sighting);
    let decision = decide(&past.plan, &past.state, &seen, seen.at);
    with(&Scene {
        plan: &past.plan,
        state: &past.state,
        seen: &seen,
        decision: &decision,
        now: seen.at,
    });
}

async fn rows(
    store: &Store,
    systems: &Systems,
    only: Option<&ServiceName>,
) -> Result<Vec<Row>, Failure> {
    let found = systems
        .orchestrator
        .find()
        .await
        .map_err(|error| Failure::orchestrator(&error))?;
    let mut services: BTreeMap<ServiceName, Vec<&Found>> = BTreeMap::new();
    for one in &found {
        services
            .entry(Definition::of_running(&one.definition).service)
            .or_default()
            .push(one);
    }
    services.retain(|service, _| only.is_none_or(|only| only == service));
    let mut rows = Vec::new();
    for (service, revisions) in services {
        let definitions = drive::of_service(&found, &service);
        let pools = drive::service_pools(systems, &definitions).await?;
        let deployment = store
            .open_of(&service)
            .map(|past| past.plan.deployment.to_string());
        for revision in revisions {
            rows.push(row(&service, revision, pools.first(), deployment.clone()));
        }
    }
    Ok(rows)
}

fn row(
    service: &ServiceName,
    found: &Found,
    pool: Option<&PoolSighting>,
    deployment: Option<String>,
) -> Row {
    let instances = &found.sighting.instances;
    let endpoints: Vec<_> = pool
        .into_iter()
        .flat_map(|pool| &pool.endpoints)
        .filter(|endpoint| instances.iter().any(|one| one.id == endpoint.instance))
        .collect();
    Row {
        service: service.to_string(),
        revision: found.sighting.id.to_string(),
        instances: instances.len(),
        wanted: found.sighting.wanted,
        healthy: instances
            .iter()
            .filter(|one| one.health == Health::Healthy)
            .count(),
        serving: endpoints
            .iter()
            .filter(|endpoint| endpoint.state == EndpointState::Serving)
            .count(),
        in_flight: endpoints
            .iter()
            .filter_map(|endpoint| endpoint.in_flight)
            .sum(),
        listen: pool.and_then(|pool| pool.listen.clone()),
        deployment,
    }
}

fn print(rows: &[Row]) {
    let heading = [
        "SERVICE",
        "REVISION",
        "INSTANCES",
        "HEALTHY",
        "SERVING",
        "IN-FLIGHT",
        "LISTENS ON",
        "DEPLOYMENT",
    ];
    let mut table = vec![heading.map(str::to_owned).to_vec()];
    for row in rows {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        table.push(vec![
            row.service.clone(),
            row.revision.clone(),
            format!("{} of {}", row.instances, row.wanted),
            row.healthy.to_string(),
            row.serving.to_string(),
            row.in_flight.to_string(),
            or_dash(&row.listen),
            or_dash(&row.deployment),
        ]);
    }
    printer::table(&table);
}

/// Runs `teal watch`: it looks for itself, reads the journal, and changes nothing.
pub(crate) async fn watch(places: &Places, args: WatchArgs) -> Result<Exit, Failure> {
    let store = Store::open(&places.state_dir)?;
    let systems = Systems::connect(places)?;
    let interrupt = Interrupt::listen().context("cannot listen for signals")?;
    let service = ServiceName::from(args.service.trim_matches('/'));
    let Some(last) = store.of_service(&service).pop() else {
        return Err(Failure::new(
            Exit::Invalid,
            format!("`{service}` was never deployed from this machine"),
        )
        .hint("`teal status` shows what runs"));
    };
    let mut audience = show::audience(places.output);
    let mut evidence = Evidence::of_onlooker();
    let mut told = 0;
    while !interrupt.is_wanted() {
        let past = store.find(&last.plan.deployment)?;
        past.entries[told.min(past.entries.len())..]
            .iter()
            .for_each(|entry| audience.entry(entry));
        told = past.entries.len();
        if let State {
            outcome: Some(outcome),
            ..
        } = &past.state
        {
            drop(audience);
            printer::talk(show::outcome(outcome));
            return Ok(drive::exit(&crate::runner::End::Outcome(outcome.clone())));
        }
        look(&systems, &past, &mut evidence, |scene| {
            audience.scene(scene);
        })
        .await;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(300)) => {}
            () = interrupt.wanted() => {}
        }
    }
    Ok(Exit::Interrupted)
}
