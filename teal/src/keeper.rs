//! The background task of `teal up` that keeps pools in line with their instances while nothing is deployed. What it
//! does is [`teal_core::keep`]; this only looks and acts.
//!
//! It keeps to services that teal deployed, that have one revision, and that no deployment is under way for.
//!
//! When it looks is up to its [`Cues`]. A look that leaves something to be done is followed by another one at an
//! interval, whatever they say.

use crate::printer;
use crate::store::Store;
use crate::systems::Systems;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use teal_core::definition::Definition;
use teal_core::keep::keep;
use teal_core::name::ServiceName;
use teal_core::plan::Found;
use teal_core::report::sentence;
use teal_core::settings::Settings;
use teal_core::{Moment, Span, action::Action};
use teal_drivers::{DriverError, Orchestrator};
use tokio::time::{Instant, sleep, sleep_until};

/// It looks this often while there is something to be done, and where it may not hear of everything.
pub(crate) const LOOK_INTERVAL: Span = Span::seconds(30);
/// After a cue, it lets the dust settle for this long.
const CUE_PAUSE: Duration = Duration::from_millis(50);

/// What makes the keeper look.
#[async_trait]
pub(crate) trait Cues: Sync {
    /// Resolves when an instance may have changed.
    async fn instances(&self);

    /// Resolves when somebody has changed a pool; never where nobody tells.
    async fn pools(&self);

    /// How long it may go without a look while so many services are kept and everything is in line; for ever if None.
    fn silence_max(&self, services: usize) -> Option<Span>;
}

/// The cues of an orchestrator and a balancer that are elsewhere: an event stream, which may lose something, and
/// nothing.
pub(crate) struct Remote(pub(crate) Arc<dyn Orchestrator>);

#[async_trait]
impl Cues for Remote {
    async fn instances(&self) {
        self.0.changed().await;
    }

    async fn pools(&self) {
        std::future::pending::<()>().await;
    }

    fn silence_max(&self, _: usize) -> Option<Span> {
        Some(LOOK_INTERVAL)
    }
}

/// Keeps pools until it is dropped.
pub(crate) async fn run(systems: Systems, store: Store, cues: &dyn Cues) {
    loop {
        let look = look(&systems, &store).await.unwrap_or_else(|error| {
            printer::talk(format_args!("keeper: {error}"));
            Look::to_be_repeated()
        });
        let silence_max = cues.silence_max(look.kept);
        wait(look.next, silence_max, cues).await;
    }
}

/// Waits until it is time to look again.
async fn wait(next: Option<Moment>, silence_max: Option<Span>, cues: &dyn Cues) {
    let wanted = next.map(|next| next.since(crate::clock::now()));
    let pause = [wanted, silence_max].into_iter().flatten().min();
    let mut until = pause.map(|pause| Instant::now() + pause.duration().max(CUE_PAUSE));
    loop {
        tokio::select! {
            () = reached(until) => return,
            () = cues.instances() => return sleep(CUE_PAUSE).await,
            // Whoever changes a pool by hand does the next step by hand too, and shall have the time for it.
            () = cues.pools() => {
                let soon = Instant::now() + LOOK_INTERVAL.duration();
                until = Some(until.map_or(soon, |until| until.min(soon)));
            }
        }
    }
}

async fn reached(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// What came of a look.
#[derive(Debug, Default)]
struct Look {
    /// How many services are kept.
    kept: usize,
    /// When to look again at the latest, if something is to be done.
    next: Option<Moment>,
}

impl Look {
    /// Something is left to be done, or to be seen.
    fn to_be_repeated() -> Self {
        Self {
            kept: 1,
            next: Some(crate::clock::now() + LOOK_INTERVAL),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            kept: self.kept + other.kept,
            next: [self.next, other.next].into_iter().flatten().min(),
        }
    }
}

/// Looks at every service once.
async fn look(systems: &Systems, store: &Store) -> Result<Look, DriverError> {
    let mut services: BTreeMap<ServiceName, Vec<Found>> = BTreeMap::new();
    for found in systems.orchestrator.find().await? {
        let service = Definition::of_running(&found.definition).service;
        services.entry(service).or_default().push(found);
    }
    let mut look = Look::default();
    for (service, revisions) in services {
        if let [only] = &revisions[..] {
            let this = look_at(systems, store, &service, only).await;
            look = look.and(this.unwrap_or_else(|error| {
                printer::talk(format_args!("keeper: {service}: {error}"));
                Look::to_be_repeated()
            }));
        }
    }
    Ok(look)
}

async fn look_at(
    systems: &Systems,
    store: &Store,
    service: &ServiceName,
    found: &Found,
) -> Result<Look, DriverError> {
    let definition = Definition::of_running(&found.definition);
    if definition.labels.deployment.is_none() {
        return Ok(Look::default());
    }
    let mut settings = Settings::default();
    for (name, value, place) in &definition.labels.settings {
        // What cannot be read was refused when it was deployed.
        settings.set(name, value, place).ok();
    }
    let pools = systems.balancer.observe(&definition.pool_ids_of(0)).await?;
    let Some(pool) = pools.first() else {
        return Ok(Look {
            kept: 1,
            next: None,
        });
    };
    let upkeep = keep(
        &found.sighting,
        pool,
        settings.min_healthy_time,
        crate::clock::now(),
    );
    let in_time = Look {
        kept: 1,
        next: upkeep.next,
    };
    let Some(change) = upkeep.change else {
        return Ok(in_time);
    };
    // Nobody tells when a deployment ends, nor whether a change had its effect.
    let look = in_time.and(Look::to_be_repeated());
    if store.holder(service).is_some() || store.open_of(service).is_some() {
        return Ok(look);
    }
    systems.balancer.act(&change).await?;
    printer::talk(format_args!("keeper: {}", sentence(&Action::Pool(change))));
    Ok(look)
}

#[cfg(test)]
mod tests;
