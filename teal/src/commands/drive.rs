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
use teal_core::action::Action;
use teal_core::definition::Definition;
use teal_core::journal::{Command, Entry, Event, Outcome};
use teal_core::name::{DeploymentId, PoolId, RevisionId, ServiceName};
use teal_core::observation::PoolSighting;
use teal_core::plan::{Found, Plan, Request, make};
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
    let pools = service_pools(systems, &definition.service, definition.service_ports.len()).await?;
    let capabilities = systems.balancer.capabilities();
    let request = Request {
        definition,
        settings: wish.settings,
        revision: wish.revision,
        replace: wish.replace,
        found: &found,
        pools: &pools,
        atomic_change: capabilities.atomic_change,
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

/// Returns the pools that exist for a service.
pub(crate) async fn service_pools(
    systems: &Systems,
    service: &ServiceName,
    ports: usize,
) -> Result<Vec<PoolSighting>, Failure> {
    let others = (1..ports).map(|index| PoolId(format!("{service}:{index}")));
    let ids: Vec<PoolId> = std::iter::once(PoolId::from(service.as_str()))
        .chain(others)
        .collect();
    systems
        .balancer
        .observe(&ids)
        .await
        .map_err(|error| Failure::balancer(&error))
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
    begin_before(
        places,
        store,
        systems,
        plan,
        lock,
        show::audience(places.output),
    )
    .await
}

/// Begins a deployment and carries it to its end, before this audience.
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
        command.map(|command| Event::Asked { command }),
    ];
    for event in events.into_iter().flatten() {
        journal.write(crate::clock::now(), event)?;
        if let Some(entry) = journal.entries.last() {
            audience.entry(entry);
        }
    }
    run(places, store, systems, journal, lock, audience).await
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
        End::Interrupted => tell_interrupted(&journal.plan.service),
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
            && matches!(intended(*intent), Some(Action::Instance(_)))
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

fn tell_interrupted(service: &ServiceName) {
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

/// Returns an unfinished deployment of a service that this machine has no journal of, from what GREEN carries.
pub(crate) async fn carried(
    systems: &Systems,
    service: &ServiceName,
) -> Result<Option<Plan>, Failure> {
    let found = systems
        .orchestrator
        .find()
        .await
        .map_err(|error| Failure::orchestrator(&error))?;
    let pools = service_pools(systems, service, 1).await?;
    let atomic = systems.balancer.capabilities().atomic_change;
    let unfinished = |green: &&Found| {
        let definition = Definition::of_running(&green.definition);
        let replaces = definition.labels.replaces.as_ref();
        definition.service == *service
            && replaces.is_some_and(|blue| found.iter().any(|other| other.sighting.id == *blue))
    };
    let green = found.iter().find(unfinished);
    Ok(green.and_then(|green| Plan::carried(green, &found, &pools, atomic)))
}
