//! The background task of `teal up` that keeps pools in line with their instances while nothing is deployed. What it
//! does is [`teal_core::keep`]; this only looks and acts.
//!
//! It keeps to services that teal deployed, that have one revision, and that no deployment is under way for.

use crate::printer;
use crate::store::Store;
use crate::systems::Systems;
use std::collections::BTreeMap;
use std::time::Duration;
use teal_core::definition::Definition;
use teal_core::keep::keep;
use teal_core::name::ServiceName;
use teal_core::plan::Found;
use teal_core::report::sentence;
use teal_core::settings::Settings;
use teal_core::{Moment, action::Action};
use teal_drivers::DriverError;

/// With no cue, it looks this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// After a cue, it lets the dust settle for this long.
const CUE_PAUSE: Duration = Duration::from_millis(50);

/// Keeps pools until it is dropped.
pub(crate) async fn run(systems: Systems, store: Store) {
    loop {
        let next = match look(&systems, &store).await {
            Ok(next) => next,
            Err(error) => {
                printer::talk(format_args!("keeper: {error}"));
                None
            }
        };
        let now = crate::clock::now();
        let pause = next.map_or(LOOK_INTERVAL, |next| {
            next.since(now).duration().max(CUE_PAUSE)
        });
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = systems.orchestrator.changed() => tokio::time::sleep(CUE_PAUSE).await,
        }
    }
}

/// Looks at every service once. Returns when to look again at the latest.
async fn look(systems: &Systems, store: &Store) -> Result<Option<Moment>, DriverError> {
    let mut services: BTreeMap<ServiceName, Vec<Found>> = BTreeMap::new();
    for found in systems.orchestrator.find().await? {
        let service = Definition::of_running(&found.definition).service;
        services.entry(service).or_default().push(found);
    }
    let mut next = None;
    for (service, revisions) in services {
        if let [only] = &revisions[..] {
            match look_at(systems, store, &service, only).await {
                Ok(at) => next = [next, at].into_iter().flatten().min(),
                Err(error) => printer::talk(format_args!("keeper: {service}: {error}")),
            }
        }
    }
    Ok(next)
}

async fn look_at(
    systems: &Systems,
    store: &Store,
    service: &ServiceName,
    found: &Found,
) -> Result<Option<Moment>, DriverError> {
    let definition = Definition::of_running(&found.definition);
    if definition.labels.deployment.is_none() {
        return Ok(None);
    }
    let mut settings = Settings::default();
    for (name, value, place) in &definition.labels.settings {
        // What cannot be read was refused when it was deployed.
        settings.set(name, value, place).ok();
    }
    let pools = systems.balancer.observe(&definition.pool_ids_of(0)).await?;
    let Some(pool) = pools.first() else {
        return Ok(None);
    };
    let upkeep = keep(
        &found.sighting,
        pool,
        settings.min_healthy_time,
        crate::clock::now(),
    );
    let Some(change) = upkeep.change else {
        return Ok(upkeep.next);
    };
    if store.holder(service).is_some() || store.open_of(service).is_some() {
        return Ok(None);
    }
    systems.balancer.act(&change).await?;
    printer::talk(format_args!("keeper: {}", sentence(&Action::Pool(change))));
    Ok(upkeep.next)
}
