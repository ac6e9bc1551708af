//! `teal pool`: the runbook's "add to / remove from the load balancer pool" by hand.

use crate::failure::{Exit, Failure};
use crate::printer::{self, Format};
use crate::settings::Places;
use crate::systems::Systems;
use clap::Subcommand;
use serde_json::json;
use teal_core::action::{Member, PoolAction};
use teal_core::definition::Definition;
use teal_core::name::{InstanceId, PoolId};
use teal_core::observation::{EndpointState, PoolSighting};
use teal_core::plan::{Found, PoolPlan, Protocol};
use teal_drivers::DriverError;

/// What to say of a balancer that makes no pools.
const BY_HAND: &str = "HAProxy's backends are in its own configuration";

/// The balancer's pool by hand: the runbook's steps 7, 9 and 10
#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// List a service's endpoints: who gets traffic, and how much is in flight
    List {
        /// The service
        service: String,
    },
    /// Make a service's pool and listen for it
    Open {
        /// The service
        service: String,
        /// Where to listen, host:port; a free port of the balancer's choice if left out
        #[arg(long)]
        listen: Option<String>,
    },
    /// Put tasks into a service's pool
    Admit {
        /// The service
        service: String,
        /// The tasks' ids
        #[arg(required = true)]
        tasks: Vec<String>,
    },
    /// Take tasks out of a service's pool; they finish what they have
    Withdraw {
        /// The service
        service: String,
        /// The tasks' ids
        #[arg(required = true)]
        tasks: Vec<String>,
    },
    /// Forget tasks that are gone
    Forget {
        /// The service
        service: String,
        /// The tasks' ids
        #[arg(required = true)]
        tasks: Vec<String>,
    },
}

/// Runs `teal pool …`.
pub(crate) async fn run(places: &Places, command: PoolCommand) -> Result<Exit, Failure> {
    let systems = Systems::connect(places)?;
    let ids = |tasks: Vec<String>| tasks.into_iter().map(InstanceId).collect::<Vec<_>>();
    let change = |pool: &PoolSighting, admit, withdraw, forget| PoolAction::Change {
        pool: pool.id.clone(),
        admit,
        withdraw,
        forget,
    };
    let (service, action) = match command {
        PoolCommand::List { service } => (Service::look_up(&systems, &service).await?, None),
        PoolCommand::Open { service, listen } => {
            check_listen(listen.as_deref())?;
            let service = Service::look_up(&systems, &service).await?;
            let action = service.opening(&systems, listen)?;
            (service, Some(action))
        }
        PoolCommand::Admit { service, tasks } => {
            let service = Service::look_up(&systems, &service).await?;
            let members = service.members(&tasks)?;
            let action = change(service.pool(&systems)?, members, Vec::new(), Vec::new());
            (service, Some(action))
        }
        PoolCommand::Withdraw { service, tasks } => {
            let service = Service::look_up(&systems, &service).await?;
            let pool = service.pool(&systems)?;
            check_listed(&service.name, pool, &tasks)?;
            let action = change(pool, Vec::new(), ids(tasks), Vec::new());
            (service, Some(action))
        }
        PoolCommand::Forget { service, tasks } => {
            let service = Service::look_up(&systems, &service).await?;
            let pool = service.pool(&systems)?;
            check_listed(&service.name, pool, &tasks)?;
            let action = change(pool, Vec::new(), Vec::new(), ids(tasks));
            (service, Some(action))
        }
    };
    let service = match action {
        None => service,
        Some(action) => {
            let done = systems.balancer.act(&action).await;
            done.map_err(|error| service.failure(&systems, &error))?;
            service.pool_again(&systems).await?
        }
    };
    print(places, service.pool(&systems)?);
    Ok(Exit::Done)
}

/// A service with its pool, as they are.
struct Service {
    name: String,
    /// What the orchestrator runs for it, or why it did not say.
    found: Result<Vec<Found>, DriverError>,
    /// What its pool may be called, the likeliest first.
    names: Vec<PoolId>,
    pool: Option<PoolSighting>,
}

impl Service {
    /// Asks the orchestrator first: definitions may name the pool, and a balancer may know addresses alone. Who takes
    /// an instance out of a pool by hand may have an orchestrator that does not answer: it is gone on without.
    async fn look_up(systems: &Systems, name: &str) -> Result<Self, Failure> {
        let name = name.trim_matches('/');
        let is_mine =
            |one: &Found| Definition::of_running(&one.definition).service.as_str() == name;
        let found = systems.orchestrator.find().await.map(|mut found| {
            found.retain(is_mine);
            found
        });
        if let Err(error) = &found {
            printer::talk(format_args!("going on without the orchestrator: {error}"));
        }
        let definitions = found.iter().flatten();
        let definitions = definitions.map(|one| Definition::of_running(&one.definition));
        let said = definitions.flat_map(|definition| definition.pool_ids_of(0));
        let mut names: Vec<PoolId> = Vec::new();
        for id in said.chain([PoolId::from(name)]) {
            if !names.contains(&id) {
                names.push(id);
            }
        }
        let service = Self {
            name: name.to_owned(),
            found,
            names,
            pool: None,
        };
        service.pool_again(systems).await
    }

    async fn pool_again(self, systems: &Systems) -> Result<Self, Failure> {
        let pools = systems.balancer.observe(&self.names).await;
        let pools = pools.map_err(|error| Failure::balancer(&error))?;
        let pool = pools.into_iter().next();
        Ok(Self { pool, ..self })
    }

    fn pool(&self, systems: &Systems) -> Result<&PoolSighting, Failure> {
        self.pool.as_ref().ok_or_else(|| self.no_pool(systems))
    }

    fn no_pool(&self, systems: &Systems) -> Failure {
        let names: Vec<&str> = self.names.iter().map(PoolId::as_str).collect();
        let what = format!("the balancer has no pool `{}`", names.join("` or `"));
        let failure = Failure::new(Exit::Invalid, what);
        let name = &self.name;
        if systems.balancer.capabilities().listens {
            failure.hint(format!("`teal pool open {name}` makes it"))
        } else {
            failure.hint(format!("{BY_HAND}: `teal haproxy-config {name}` shows how"))
        }
    }

    fn failure(&self, systems: &Systems, error: &DriverError) -> Failure {
        if matches!(error, DriverError::NotFound { .. }) {
            self.no_pool(systems)
        } else {
            Failure::balancer(error)
        }
    }

    fn opening(&self, systems: &Systems, listen: Option<String>) -> Result<PoolAction, Failure> {
        let name = &self.name;
        if !systems.balancer.capabilities().listens {
            let what = format!("this balancer opens no pool for `{name}`; nothing was changed");
            let hint = format!("{BY_HAND}: `teal haproxy-config {name}` shows how");
            return Err(Failure::new(Exit::Invalid, what).hint(hint));
        }
        let id = self.pool.as_ref().map(|pool| pool.id.clone());
        Ok(PoolAction::Open {
            pool: PoolPlan {
                id: id.unwrap_or_else(|| PoolId::from(name.as_str())),
                port_index: 0,
                listen,
                protocol: Protocol::Http,
                existed: false,
            },
        })
    }

    /// Looks tasks up: only what runs for this service can be admitted.
    fn members(&self, tasks: &[String]) -> Result<Vec<Member>, Failure> {
        let found = self.found.as_ref();
        let found = found.map_err(Failure::orchestrator)?;
        let instances: Vec<_> = found
            .iter()
            .flat_map(|one| &one.sighting.instances)
            .collect();
        let member = |task: &String| {
            let one = instances.iter().find(|one| one.id.as_str() == task)?;
            Some(Member {
                instance: one.id.clone(),
                address: one.addresses.at(0)?.clone(),
            })
        };
        let missing: Vec<_> = tasks
            .iter()
            .filter(|task| member(task).is_none())
            .cloned()
            .collect();
        if !missing.is_empty() {
            let what = format!(
                "no task of `{}` with a port is called {}; nothing was changed",
                self.name,
                missing.join(", ")
            );
            return Err(Failure::new(Exit::Invalid, what).hint("`teal task list` shows them"));
        }
        Ok(tasks.iter().filter_map(member).collect())
    }
}

fn check_listen(listen: Option<&str>) -> Result<(), Failure> {
    let Some(listen) = listen else { return Ok(()) };
    let port = listen.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    if port.is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Invalid,
        format!("--listen {listen}: that is not host:port; nothing was changed"),
    )
    .hint("write it like 127.0.0.1:8090"))
}

/// A slip in a name would change nothing, and the person would believe that it did.
fn check_listed(service: &str, pool: &PoolSighting, tasks: &[String]) -> Result<(), Failure> {
    let listed = |task: &&String| {
        pool.endpoints
            .iter()
            .any(|one| one.instance.as_str() == *task)
    };
    let missing: Vec<&str> = tasks
        .iter()
        .filter(|task| !listed(task))
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!(
        "no endpoint of `{service}` is called {}; nothing was changed",
        missing.join(", ")
    );
    Err(Failure::new(Exit::Invalid, what).hint(format!("`teal pool list {service}` shows them")))
}

fn print(places: &Places, pool: &PoolSighting) {
    let state = |state| match state {
        EndpointState::Serving => "serving",
        EndpointState::Partly => "partly",
        EndpointState::Draining => "draining",
    };
    if places.output == Format::Json {
        let endpoints: Vec<_> = pool.endpoints.iter().map(|one| {
            json!({ "instance": one.instance, "address": one.address, "state": state(one.state), "in_flight": one.in_flight })
        }).collect();
        return printer::json(
            &json!({ "pool": pool.id, "listen": pool.listen, "endpoints": endpoints }),
        );
    }
    let listen = pool.listen.as_deref();
    printer::talk(format_args!(
        "{} listens on {}",
        pool.id,
        listen.unwrap_or("what the balancer's own configuration says")
    ));
    let mut rows = vec![
        ["STATE", "IN-FLIGHT", "ADDRESS", "TASK"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for one in &pool.endpoints {
        let in_flight = one
            .in_flight
            .map_or_else(|| "?".to_owned(), |count| count.to_string());
        rows.push(vec![
            state(one.state).to_owned(),
            in_flight,
            one.address.to_string(),
            one.instance.to_string(),
        ]);
    }
    printer::table(&rows);
}
