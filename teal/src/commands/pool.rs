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
use teal_core::plan::{PoolPlan, Protocol};
use teal_drivers::DriverError;

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
    let change = |service: &str, admit, withdraw, forget| PoolAction::Change {
        pool: pool_id(service),
        admit,
        withdraw,
        forget,
    };
    let (service, action) = match command {
        PoolCommand::List { service } => (service, None),
        PoolCommand::Open { service, listen } => {
            check_listen(listen.as_deref())?;
            let id = pool_id(&service);
            let pool = PoolPlan {
                id,
                port_index: 0,
                listen,
                protocol: Protocol::Http,
                existed: false,
            };
            (service, Some(PoolAction::Open { pool }))
        }
        PoolCommand::Admit { service, tasks } => {
            let members = members(&systems, &service, &tasks).await?;
            let action = change(&service, members, Vec::new(), Vec::new());
            (service, Some(action))
        }
        PoolCommand::Withdraw { service, tasks } => {
            check_listed(&systems, &service, &tasks).await?;
            let action = change(&service, Vec::new(), ids(tasks), Vec::new());
            (service, Some(action))
        }
        PoolCommand::Forget { service, tasks } => {
            check_listed(&systems, &service, &tasks).await?;
            let action = change(&service, Vec::new(), Vec::new(), ids(tasks));
            (service, Some(action))
        }
    };
    if let Some(action) = action {
        systems
            .balancer
            .act(&action)
            .await
            .map_err(|error| failure(&service, &error))?;
    }
    let pools = systems
        .balancer
        .observe(&[pool_id(&service)])
        .await
        .map_err(|error| Failure::balancer(&error))?;
    let pool = pools.first().ok_or_else(|| no_pool(&service))?;
    print(places, pool);
    Ok(Exit::Done)
}

fn pool_id(service: &str) -> PoolId {
    PoolId::from(service.trim_matches('/'))
}

fn no_pool(service: &str) -> Failure {
    Failure::new(
        Exit::Invalid,
        format!("the balancer has no pool `{service}`"),
    )
    .hint(format!("`teal pool open {service}` makes it"))
}

fn failure(service: &str, error: &DriverError) -> Failure {
    if matches!(error, DriverError::NotFound { .. }) {
        no_pool(service)
    } else {
        Failure::balancer(error)
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
async fn check_listed(systems: &Systems, service: &str, tasks: &[String]) -> Result<(), Failure> {
    let pools = systems.balancer.observe(&[pool_id(service)]).await;
    let pools = pools.map_err(|error| Failure::balancer(&error))?;
    let pool = pools.first().ok_or_else(|| no_pool(service))?;
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

/// Looks the tasks up: only what runs for this service can be admitted.
async fn members(
    systems: &Systems,
    service: &str,
    tasks: &[String],
) -> Result<Vec<Member>, Failure> {
    let found = systems
        .orchestrator
        .find()
        .await
        .map_err(|error| Failure::orchestrator(&error))?;
    let mine = found.iter().filter(|one| {
        Definition::of_running(&one.definition).service.as_str() == service.trim_matches('/')
    });
    let instances: Vec<_> = mine.flat_map(|one| &one.sighting.instances).collect();
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
            "no task of `{service}` with a port is called {}; nothing was changed",
            missing.join(", ")
        );
        return Err(Failure::new(Exit::Invalid, what).hint("`teal task list` shows them"));
    }
    Ok(tasks.iter().filter_map(member).collect())
}

fn print(places: &Places, pool: &PoolSighting) {
    let state = |state| match state {
        EndpointState::Serving => "serving",
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
    printer::talk(format_args!(
        "{} listens on {}",
        pool.id,
        pool.listen.as_deref().unwrap_or("an address of its own")
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
