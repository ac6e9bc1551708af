//! `teal up`: the embedded engine in the foreground, with the embedded balancer unless HAProxy is the balancer.

use crate::descriptors;
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::keeper::{self, Cues, LOOK_INTERVAL};
use crate::printer::{self, style};
use crate::settings::{BalancerKind, BalancerPlace, MarathonPlace, Places};
use crate::store::Store;
use crate::systems::Systems;
use anyhow::Context;
use async_trait::async_trait;
use clap::Args;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use teal_core::Span;
use teal_engine::{Engine, Tls, Token};
use teal_proxy::Proxy;

/// How long requests under way may take when everything is shut down.
const PROXY_GRACE: Duration = Duration::from_secs(10);
/// How long services are taken to be in line because nobody has told of a change. Every change is told; a look at what is
/// so does not rest on that.
const SILENCE_MAX: Span = Span::seconds(600);

/// Run the embedded engine and balancer on this machine, in the foreground; with --balancer haproxy+… the engine alone
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Where the engine's Marathon API listens; an address that other machines reach needs a token
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The file with the token that everybody who uses the engine's API must send
    #[arg(long, value_name = "FILE", env = "TEAL_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// The PEM file with the certificate of the engine's API, followed by those that vouch for it
    #[arg(long, value_name = "FILE", env = "TEAL_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The PEM file with the key of that certificate
    #[arg(long, value_name = "FILE", env = "TEAL_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Where the admin API of the embedded balancer listens: on this machine alone
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    balancer_listen: SocketAddr,
    /// The socket of Docker or Podman, for apps with a container image [default: what DOCKER_HOST
    /// names, else Docker's usual socket, else Podman's]
    #[arg(long, value_name = "PATH", env = "TEAL_DOCKER_SOCKET")]
    docker_socket: Option<PathBuf>,
    /// Whether a task never gets more than its `cpus`, or more where nobody else wants it
    #[arg(long, value_enum, default_value = "quota", env = "TEAL_CPU_LIMIT")]
    cpu_limit: CpuLimit,
    /// What becomes of running tasks when this ends: the next `teal up` takes them over, or each is
    /// told to end
    #[arg(long, value_enum, default_value = "leave", env = "TEAL_ON_EXIT")]
    on_exit: OnExit,
}

/// What `cpus` means for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CpuLimit {
    /// The most it gets, as on DC/OS
    Quota,
    /// Its share where processors are short
    Shares,
}

/// What becomes of running tasks when `teal up` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnExit {
    /// They keep running, and the next `teal up` takes them over
    Leave,
    /// Each is told to end; the next `teal up` starts the apps again
    Stop,
}

/// Both embedded systems, running.
pub(crate) struct Pair {
    pub(crate) engine: Engine,
    pub(crate) proxy: Proxy,
}

/// What runs under `teal up`.
enum Running {
    Both(Pair),
    /// HAProxy is the balancer.
    Engine(Engine),
}

impl Pair {
    /// Starts both. Neither stays when the other cannot start.
    pub(crate) async fn start(
        state_dir: &Path,
        engine: Door,
        balancer: SocketAddr,
        docker_socket: Option<PathBuf>,
        cpu_limit: CpuLimit,
    ) -> Result<Self, Failure> {
        needs_token(&engine)?;
        only_loopback(balancer)?;
        descriptors::close_inherited().context("cannot look at open descriptors")?;
        let proxy = teal_proxy::Config {
            state: Some(state_dir.join("balancer.json")),
            on_notice: Box::new(|notice| printer::talk(format_args!("balancer: {notice}"))),
            ..teal_proxy::Config::new(balancer)
        };
        let proxy = Proxy::start(proxy).await.map_err(no_balancer)?;
        match start_engine(state_dir, engine, docker_socket, cpu_limit).await {
            Ok(engine) => Ok(Self { engine, proxy }),
            Err(failure) => {
                proxy.shutdown(Duration::ZERO).await;
                Err(failure)
            }
        }
    }

    /// Stops both: first what would bring new work, then the work.
    pub(crate) async fn stop(self) {
        self.proxy.shutdown(PROXY_GRACE).await;
        self.engine.stop().await;
    }

    /// Stops both and leaves tasks running. Returns how many they are.
    async fn leave(self) -> usize {
        self.proxy.shutdown(PROXY_GRACE).await;
        self.engine.leave()
    }
}

impl Running {
    async fn start(places: &Places, door: Door, args: &UpArgs) -> Result<Self, Failure> {
        let (state_dir, socket) = (&places.state_dir, args.docker_socket.clone());
        if matches!(places.balancer.kind()?, BalancerKind::Builtin(_)) {
            let balancer = args.balancer_listen;
            let pair = Pair::start(state_dir, door, balancer, socket, args.cpu_limit);
            return Ok(Self::Both(pair.await?));
        }
        needs_token(&door)?;
        descriptors::close_inherited().context("cannot look at open descriptors")?;
        let engine = start_engine(state_dir, door, socket, args.cpu_limit);
        Ok(Self::Engine(engine.await?))
    }

    const fn engine(&self) -> &Engine {
        match self {
            Self::Both(pair) => &pair.engine,
            Self::Engine(engine) => engine,
        }
    }

    /// Returns the balancer that is to be kept in line: its own, if there is one.
    fn balancer(&self, said: &BalancerPlace) -> BalancerPlace {
        match self {
            Self::Both(pair) => BalancerPlace::at(format!("http://{}", pair.proxy.admin_address())),
            Self::Engine(_) => said.clone(),
        }
    }

    async fn stop(self) {
        match self {
            Self::Both(pair) => pair.stop().await,
            Self::Engine(engine) => engine.stop().await,
        }
    }

    /// Stops and leaves tasks running. Returns how many they are.
    async fn leave(self) -> usize {
        match self {
            Self::Both(pair) => pair.leave().await,
            Self::Engine(engine) => engine.leave(),
        }
    }
}

/// What changes in this process is told in this process: nothing has to wake up to learn that nothing has changed.
#[async_trait]
impl Cues for Running {
    async fn instances(&self) {
        self.engine().changed().await;
    }

    async fn pools(&self) {
        match self {
            Self::Both(pair) => pair.proxy.changed().await,
            Self::Engine(_) => std::future::pending().await,
        }
    }

    fn silence_max(&self, services: usize) -> Option<Span> {
        let silence_max = match self {
            Self::Both(_) => SILENCE_MAX,
            // A HAProxy that is reloaded tells nobody.
            Self::Engine(_) => LOOK_INTERVAL,
        };
        (services > 0).then_some(silence_max)
    }
}

async fn start_engine(
    state_dir: &Path,
    door: Door,
    docker_socket: Option<PathBuf>,
    cpu_limit: CpuLimit,
) -> Result<Engine, Failure> {
    let config = teal_engine::Config {
        listen: door.listen,
        token: door.token,
        also_loopback: door.tls.is_some(),
        tls: door.tls,
        docker_socket,
        cpu_limit: match cpu_limit {
            CpuLimit::Quota => teal_engine::CpuLimit::Quota,
            CpuLimit::Shares => teal_engine::CpuLimit::Shares,
        },
        on_notice: Box::new(|notice| printer::talk(format_args!("engine: {notice}"))),
        ..teal_engine::Config::new(state_dir.join("engine"))
    };
    Engine::start(config)
        .await
        .map_err(|error| no_engine(&error))
}

/// How the engine is reached, and by whom.
#[derive(Debug)]
pub(crate) struct Door {
    listen: SocketAddr,
    token: Option<Token>,
    tls: Option<Tls>,
}

impl Door {
    /// Returns the door that is open to everybody who reaches it.
    pub(crate) fn open(listen: SocketAddr) -> Self {
        Self {
            listen,
            token: None,
            tls: None,
        }
    }

    fn read(args: &UpArgs) -> Result<Self, Failure> {
        let tls = args.tls_cert.clone().zip(args.tls_key.clone());
        Ok(Self {
            listen: args.listen,
            token: args.token_file.as_deref().map(read_token).transpose()?,
            tls: tls.map(|(certificates, key)| Tls { certificates, key }),
        })
    }
}

fn read_token(file: &Path) -> Result<Token, Failure> {
    let unusable = |reason: &dyn std::error::Error| {
        let message = format!(
            "--token-file {}: {reason}; nothing was started",
            file.display()
        );
        Failure::new(Exit::Invalid, message)
            .hint("make one: head -c 24 /dev/urandom | base64 > FILE; chmod 600 FILE")
    };
    let text = std::fs::read_to_string(file).map_err(|error| unusable(&error))?;
    Token::new(&text).map_err(|error| unusable(&error))
}

/// An engine starts commands for whoever asks, so others must know a token.
fn needs_token(door: &Door) -> Result<(), Failure> {
    if door.token.is_some() || door.listen.ip().is_loopback() {
        return Ok(());
    }
    let message = format!(
        "{} can be reached from other machines, and the API asks for no token; nothing was started",
        door.listen
    );
    Err(Failure::new(Exit::Invalid, message)
        .hint("name a file with a token: --token-file FILE; or listen on 127.0.0.1"))
}

/// The balancer's admin API asks nobody who is there, so it does not leave the machine.
fn only_loopback(address: SocketAddr) -> Result<(), Failure> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Invalid,
        format!(
            "{address} can be reached from other machines, and the balancer's API asks for no token; \
             nothing was started"
        ),
    )
    .hint("keep --balancer-listen on 127.0.0.1"))
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

fn no_engine(error: &teal_engine::StartError) -> Failure {
    use teal_engine::StartError;
    let hint = match error {
        StartError::Listen { .. } | StartError::StateDirInUse { .. } => {
            return in_use(Exit::Orchestrator, error, "--listen");
        }
        StartError::Tls { source, .. } => {
            let message = format!("{error}: {source}; nothing was started");
            return Failure::new(Exit::Invalid, message)
                .hint("--tls-cert and --tls-key name PEM files that belong together");
        }
        StartError::TokenNeeded { .. } => {
            "name a file with a token: --token-file FILE; or listen on 127.0.0.1"
        }
        StartError::StateDir { .. } => {
            "choose another folder with --state-dir, or make it writable"
        }
        StartError::State { .. } => {
            "nothing was changed, and what runs keeps running. Put the file back from a copy; or move \
             state.json away to begin without apps, which ends the tasks that still run"
        }
    };
    let cause = std::error::Error::source(error);
    let text = cause.map_or(error.to_string(), |cause| format!("{error}: {cause}"));
    Failure::new(Exit::Orchestrator, text).hint(hint)
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
    let running = Running::start(places, Door::read(&args)?, &args).await?;
    tell_ready(places, &args, &running);
    let engine = running.engine();
    let inner = engine.loopback().unwrap_or(engine.address());
    let places = Places {
        marathon: MarathonPlace::guarded(format!("http://{inner}"), args.token_file),
        balancer: running.balancer(&places.balancer),
        ..places.clone()
    };
    let (systems, store) = (Systems::connect(&places)?, Store::open(&places.state_dir)?);
    tokio::select! {
        () = interrupt.wanted() => {}
        () = keeper::run(systems, store, &running) => {}
    }
    match args.on_exit {
        OnExit::Stop => {
            printer::talk("stopping: requests under way finish, then every task is told to stop");
            running.stop().await;
        }
        OnExit::Leave => {
            printer::talk("stopping: requests under way finish");
            let own_balancer = matches!(running, Running::Both(_));
            tell_left(running.leave().await, own_balancer);
        }
    }
    Ok(Exit::Done)
}

fn tell_ready(places: &Places, args: &UpArgs, running: &Running) {
    let scheme = if args.tls_cert.is_some() {
        "https"
    } else {
        "http"
    };
    printer::talk(format_args!(
        "engine    {scheme}://{}   (Marathon's API v2{})",
        running.engine().address(),
        if args.token_file.is_some() {
            ", with a token"
        } else {
            ""
        }
    ));
    let balancer = running.balancer(&places.balancer);
    let what = match running {
        Running::Both(_) => "admin API",
        Running::Engine(_) => "not started here; its pools are kept in line with their instances",
    };
    printer::talk(format_args!("balancer  {}   ({what})", balancer.address()));
    printer::talk(style::dim(format!(
        "state     {}",
        places.state_dir.display()
    )));
    printer::talk(match args.on_exit {
        OnExit::Leave => {
            "ready; Ctrl-C leaves tasks running, and the next `teal up` takes them over"
        }
        OnExit::Stop => "ready; Ctrl-C stops everything that runs here",
    });
}

fn tell_left(tasks: usize, own_balancer: bool) {
    if tasks > 0 {
        let without = if own_balancer {
            ", without a balancer in front"
        } else {
            ""
        };
        printer::talk(format_args!(
            "left running: {tasks} {}{without}; the next `teal up` takes over",
            if tasks == 1 { "task" } else { "tasks" }
        ));
        printer::talk(
            "hint: `teal up --on-exit stop` ends them with its Ctrl-C; `teal app remove` ends an app for good",
        );
    }
}
