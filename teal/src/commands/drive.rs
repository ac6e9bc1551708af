//! What all commands share that carry a deployment on: begin or open it, run it, tell how it ended.

use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::journal_file::JournalFile;
use crate::printer::{self, Format, style};
use crate::runner::{Audience, End, Runner};
use crate::settings::Places;
use crate::show;
use crate::store::{Past, ServiceLock, Store};
use crate::systems::Systems;
use anyhow::Context;
use std::collections::BTreeSet;
use teal_core::action::{Action, PoolAction};
use teal_core::definition::Definition;
use teal_core::journal::{Command, Entry, Event, Outcome};
use teal_core::name::{DeploymentId, PoolId, RevisionId, ServiceName};
use teal_core::observation::PoolSighting;
use teal_core::plan::{BalancerAbilities, Found, Plan, Request, make};
use teal_core::report::Report;
use teal_core::settings::Settings;

/// What is to be deployed.
pub(crate) struct Wish<'a> {
    pub(crate) definition: &'a Definition,
    pub(crate) settings: &'a Settings,
    pub(crate) revision: Option<&'a str>,
    pub(crate) replace: Option<&'a RevisionId>,
}

/// Looks at what runs and makes the plan. None: there is nothing to do.
pub(crate) async fn make_plan(
    systems: &Systems,
    wish: &Wish<'_>,
    deployment: DeploymentId,
) -> Result<Option<Plan>, Failure> {
    let definition = wish.definition;
    let found = systems
        .orchestrator
        .find()
        .await
        .map_err(|error| Failure::orchestrator(&error))?;
    let mut services = replaced_services(&found, wish);
    services.insert(definition.service.clone());
    let running = services
        .iter()
        .flat_map(|service| of_service(&found, service));
    let definitions: Vec<Definition> = std::iter::once(definition.clone()).chain(running).collect();
    let pools = service_pools(systems, &definitions).await?;
    let request = Request {
        definition,
        settings: wish.settings,
        revision: wish.revision,
        replace: wish.replace,
        found: &found,
        pools: &pools,
        balancer: abilities(systems),
        deployment,
        now: crate::clock::now(),
    };
    make(&request).map_err(|problems| {
        Failure::invalid(
            format!("{} cannot be deployed; nothing was changed", definition.id),
            problems,
        )
    })
}

/// Returns the services, other than the one that is deployed, whose pools may send traffic to what is replaced.
fn replaced_services(found: &[Found], wish: &Wish<'_>) -> BTreeSet<ServiceName> {
    let replaced = found
        .iter()
        .filter(|found| wish.replace == Some(&found.sighting.id));
    let services = replaced.map(|found| Definition::of_running(&found.definition).service);
    services
        .filter(|service| *service != wish.definition.service)
        .collect()
}

fn abilities(systems: &Systems) -> BalancerAbilities {
    let can = systems.balancer.capabilities();
    BalancerAbilities {
        in_flight: can.in_flight,
        atomic_change: can.atomic_change,
        listens: can.listens,
        tcp: can.tcp,
    }
}

/// Returns the pools that exist for a service, under any name that one of its definitions gives them.
pub(crate) async fn service_pools<'a>(
    systems: &Systems,
    definitions: impl IntoIterator<Item = &'a Definition>,
) -> Result<Vec<PoolSighting>, Failure> {
    let mut ids = Vec::new();
    for id in definitions.into_iter().flat_map(Definition::pool_ids) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    systems
        .balancer
        .observe(&ids)
        .await
        .map_err(|error| Failure::balancer(&error))
}

/// Returns what runs for a service, understood.
pub(crate) fn of_service(found: &[Found], service: &ServiceName) -> Vec<Definition> {
    let all = found
        .iter()
        .map(|found| Definition::of_running(&found.definition));
    all.filter(|definition| definition.service == *service)
        .collect()
}

/// Returns a deployment id: the service, the time, and something that two at the same time do not share.
pub(crate) fn new_id(service: &ServiceName) -> DeploymentId {
    let now = crate::clock::now();
    let unique = (u64::from(std::process::id()) ^ now.0.rotate_left(7)) & 0xffff;
    DeploymentId(format!(
        "{}-{}-{unique:04x}",
        service.as_str().replace('/', "_"),
        crate::clock::stamp(now)
    ))
}

/// Begins a deployment and carries it to its end.
pub(crate) async fn begin(
    places: &Places,
    store: &Store,
    systems: &Systems,
    plan: &Plan,
    lock: ServiceLock,
) -> Result<End, Failure> {
    let audience = show::audience(places.output);
    let end = begin_before(places, store, systems, plan, lock, audience).await?;
    tell_interrupted(&end, &plan.service);
    Ok(end)
}

/// Begins a deployment and carries it to its end, before this audience. Being interrupted is the caller's to tell.
pub(crate) async fn begin_before(
    places: &Places,
    store: &Store,
    systems: &Systems,
    plan: &Plan,
    lock: ServiceLock,
    mut audience: Box<dyn Audience>,
) -> Result<End, Failure> {
    let journal = JournalFile::create(&store.journal(&plan.deployment), plan, plan.made_at)?;
    if let Some(first) = journal.entries.first() {
        audience.entry(first);
    }
    run(places, store, systems, journal, lock, audience).await
}

/// Goes on with a deployment that no process carries on, after taking the operator's command into its journal.
pub(crate) async fn go_on(
    places: &Places,
    store: &Store,
    systems: &Systems,
    past: &Past,
    command: Option<Command>,
    lock: ServiceLock,
) -> Result<End, Failure> {
    let mut journal = JournalFile::open(&past.path)?;
    let mut audience = show::audience(places.output);
    let by = format!("{}:{}", crate::store::host(), std::process::id());
    let events = [
        Some(Event::Resumed { by }),
        command.map(|command| Event::Asked {
            command,
            letter: None,
        }),
    ];
    for event in events.into_iter().flatten() {
        journal.write(crate::clock::now(), event)?;
        if let Some(entry) = journal.entries.last() {
            audience.entry(entry);
        }
    }
    let end = run(places, store, systems, journal, lock, audience).await?;
    tell_interrupted(&end, &past.plan.service);
    Ok(end)
}

async fn run(
    places: &Places,
    store: &Store,
    systems: &Systems,
    journal: JournalFile,
    lock: ServiceLock,
    mut audience: Box<dyn Audience>,
) -> Result<End, Failure> {
    let interrupt = Interrupt::listen().context("cannot listen for signals")?;
    let mut runner = Runner::new(store.clone(), journal, systems.clone(), interrupt, lock)?;
    let end = runner.run(audience.as_mut()).await?;
    drop(audience);
    let journal = runner.journal();
    if let Some(refusal) = refusal(&end, &journal.entries) {
        return Err(refusal);
    }
    let report = Report::of(&journal.entries).map_err(anyhow::Error::new)?;
    let path = journal.path().with_extension("report.json");
    let text = serde_json::to_vec_pretty(&report).context("report")?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    match &end {
        End::Interrupted => {}
        End::Outcome(outcome) => {
            tell_outcome(outcome, &report);
            if places.output == Format::Text {
                tell_addresses(systems, &journal.plan).await;
            }
            printer::talk(style::dim(format!("report: {}", path.display())));
        }
    }
    Ok(end)
}

/// Returns the refusal that a deployment ended with before anything ran: then it is not a rollback that a person should
/// hear of, but who said no, and why.
fn refusal(end: &End, entries: &[Entry]) -> Option<Failure> {
    let End::Outcome(Outcome::RolledBack { .. }) = end else {
        return None;
    };
    let intended = |seq: u64| {
        let entry = entries.iter().find(|entry| entry.seq == seq)?;
        if let Event::Intended { action } = &entry.event {
            Some(action)
        } else {
            None
        }
    };
    let mut refused = None;
    for entry in entries {
        if let Event::Performed { intent } = &entry.event
            && !matches!(
                intended(*intent),
                Some(
                    Action::Pool(PoolAction::Open { .. } | PoolAction::Close { .. })
                        | Action::Mark(_)
                )
            )
        {
            return None;
        }
        if let Event::Failed {
            intent,
            reason,
            retry: false,
            ..
        } = &entry.event
        {
            refused = Some((*intent, reason));
        }
    }
    let (intent, reason) = refused?;
    let (exit, hint) = match intended(intent)? {
        Action::Pool(_) => (
            Exit::Balancer,
            "is the address in use? TEAL_LISTEN says where the service listens",
        ),
        Action::Instance(_) | Action::Mark(_) => (
            Exit::Orchestrator,
            "the orchestrator does not take this definition: mend what it names",
        ),
    };
    Some(Failure::new(exit, format!("{reason}; nothing was changed")).hint(hint))
}

fn tell_interrupted(end: &End, service: &ServiceName) {
    if *end != End::Interrupted {
        return;
    }
    printer::talk(format_args!(
        "interrupted: {service} is in a safe state and serves as before"
    ));
    printer::talk(format_args!(
        "hint: `teal resume {service}` goes on, `teal rollback {service}` undoes it"
    ));
}

fn tell_outcome(outcome: &Outcome, report: &Report) {
    let (service, took) = (&report.service, report.took(crate::clock::now()));
    printer::talk(format_args!("{} in {took}", show::outcome(outcome)));
    tell_stuck(service, outcome);
}

/// Tells what a person can do about a deployment that is stuck.
pub(crate) fn tell_stuck(service: &ServiceName, outcome: &Outcome) {
    if matches!(outcome, Outcome::Stuck { .. }) {
        printer::talk(format_args!(
            "hint: `teal resume {service}` tries on, `teal rollback {service}` turns back, \
             `teal force {service} --reason …` stops what does not drain"
        ));
    }
}

async fn tell_addresses(systems: &Systems, plan: &Plan) {
    let ids: Vec<PoolId> = plan.pools.iter().map(|pool| pool.id.clone()).collect();
    for pool in systems.balancer.observe(&ids).await.unwrap_or_default() {
        if let Some(listen) = &pool.listen {
            printer::talk(format_args!("{} listens on {listen}", pool.id));
        }
    }
}

/// Returns the exit code of a deployment that was to complete.
pub(crate) fn exit(end: &End) -> Exit {
    match end {
        End::Interrupted => Exit::Interrupted,
        End::Outcome(Outcome::Completed) => Exit::Done,
        End::Outcome(Outcome::RolledBack { .. }) => Exit::RolledBack,
        End::Outcome(Outcome::Stuck { .. }) => Exit::Stuck,
    }
}

/// Returns the latest unfinished deployment of a service, from what GREEN carries: for a machine that has no journal of
/// it. A GREEN that replaces nothing is unfinished while it is smaller than planned.
pub(crate) async fn carried(
    systems: &Systems,
    service: &ServiceName,
) -> Result<Option<Plan>, Failure> {
    let found = systems
        .orchestrator
        .find()
        .await
        .map_err(|error| Failure::orchestrator(&error))?;
    let pools = service_pools(systems, &of_service(&found, service)).await?;
    let greens = found
        .iter()
        .filter(|found| Definition::of_running(&found.definition).service == *service);
    let plans = greens.filter_map(|green| {
        let plan = Plan::carried(green, &found, &pools, abilities(systems))?;
        let replaces = Definition::of_running(&green.definition)
            .labels
            .replaces
            .is_some();
        let unfinished = plan.blue.is_some() || (!replaces && green.sighting.wanted < plan.target);
        unfinished.then_some(plan)
    });
    Ok(plans.max_by_key(|plan| plan.made_at))
}
