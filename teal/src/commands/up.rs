//! `teal up`: the embedded engine and balancer in the foreground.

use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::keeper;
use crate::printer::{self, style};
use crate::settings::{MarathonPlace, Places};
use crate::store::Store;
use crate::systems::Systems;
use anyhow::Context;
use clap::Args;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use teal_engine::Engine;
use teal_proxy::Proxy;

/// How long requests under way may take when everything is shut down.
const PROXY_GRACE: Duration = Duration::from_secs(10);

/// Run the embedded engine and balancer on this machine, in the foreground
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Where the engine's Marathon API listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where the balancer's admin API listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    balancer_listen: SocketAddr,
    /// The socket of Docker or Podman, for apps with a container image [default: what DOCKER_HOST
    /// names, else Docker's usual socket, else Podman's]
    #[arg(long, value_name = "PATH", env = "TEAL_DOCKER_SOCKET")]
    docker_socket: Option<PathBuf>,
}

/// Both embedded systems, running.
pub(crate) struct Pair {
    pub(crate) engine: Engine,
    pub(crate) proxy: Proxy,
}

impl Pair {
    /// Starts both. Neither stays when the other cannot start.
    pub(crate) async fn start(
        state_dir: &Path,
        engine: SocketAddr,
        balancer: SocketAddr,
        docker_socket: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        for address in [engine, balancer] {
            only_loopback(address)?;
        }
        let proxy = teal_proxy::Config {
            state: Some(state_dir.join("balancer.json")),
            on_notice: Box::new(|notice| printer::talk(format_args!("balancer: {notice}"))),
            ..teal_proxy::Config::new(balancer)
        };
        let proxy = Proxy::start(proxy).await.map_err(no_balancer)?;
        let config = teal_engine::Config {
            listen: engine,
            docker_socket,
            on_notice: Box::new(|notice| printer::talk(format_args!("engine: {notice}"))),
            ..teal_engine::Config::new(state_dir.join("engine"))
        };
        match Engine::start(config).await {
            Ok(engine) => Ok(Self { engine, proxy }),
            Err(error) => {
                proxy.shutdown(Duration::ZERO).await;
                Err(in_use(Exit::Orchestrator, &error, "--listen"))
            }
        }
    }

    /// Stops both: first what would bring new work, then the work.
    pub(crate) async fn stop(self) {
        self.proxy.shutdown(PROXY_GRACE).await;
        self.engine.stop().await;
    }
}

/// Neither API asks who is there, so neither leaves the machine.
fn only_loopback(address: SocketAddr) -> Result<(), Failure> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Invalid,
        format!("{address} can be reached from other machines, and the API asks for no token"),
    )
    .hint("listen on 127.0.0.1 and put a proxy with authentication in front"))
}

fn no_balancer(error: teal_proxy::StartError) -> Failure {
    use teal_proxy::StartError;
    let hint = match &error {
        StartError::Admin { .. } => {
            return in_use(Exit::Balancer, &error, "--balancer-listen");
        }
        StartError::State { .. } => {
            "nothing was changed; move the file away to start without pools"
        }
        StartError::Pool { .. } => {
            "is another `teal up` running? Stop what listens there; the pool is still in balancer.json of the state folder"
        }
    };
    Failure::new(Exit::Balancer, error.to_string()).hint(hint)
}

fn in_use(exit: Exit, error: &dyn std::error::Error, flag: &str) -> Failure {
    Failure::new(exit, error.to_string()).hint(format!(
        "is another `teal up` running? Choose another address with {flag}"
    ))
}

/// Runs `teal up`.
pub(crate) async fn run(places: &Places, args: UpArgs) -> Result<Exit, Failure> {
    let interrupt = Interrupt::listen().context("cannot listen for signals")?;
    std::fs::create_dir_all(&places.state_dir)
        .with_context(|| places.state_dir.display().to_string())?;
    let pair = Pair::start(
        &places.state_dir,
        args.listen,
        args.balancer_listen,
        args.docker_socket,
    )
    .await?;
    printer::talk(format_args!(
        "engine    http://{}   (Marathon's API v2)",
        pair.engine.address()
    ));
    printer::talk(format_args!(
        "balancer  http://{}   (admin API)",
        pair.proxy.admin_address()
    ));
    printer::talk(style::dim(format!(
        "state     {}",
        places.state_dir.display()
    )));
    printer::talk("ready; Ctrl-C stops everything that runs here");
    let places = Places {
        marathon: MarathonPlace::at(format!("http://{}", pair.engine.address())),
        balancer: format!("http://{}", pair.proxy.admin_address()),
        ..places.clone()
    };
    let keeper = keeper::run(Systems::connect(&places)?, Store::open(&places.state_dir)?);
    tokio::select! {
        () = interrupt.wanted() => {}
        () = keeper => {}
    }
    printer::talk("stopping: requests under way finish, then every task is told to stop");
    pair.stop().await;
    Ok(Exit::Done)
}
