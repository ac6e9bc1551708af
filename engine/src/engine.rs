//! The engine as its caller sees it: start, address, stop.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::api::{self, Door, Tls, TlsError, Token};
use crate::docker::socket_candidates;
use crate::identity::random_uuid;
use crate::logs;
use crate::ports::HOST_PORTS;
use crate::run::{Cgroups, Containers, Note, Runners, notes_in};
use crate::shell::Shell;
use crate::state::{Damage, Store};
use crate::time::Moment;
use crate::world::{Setting, World};

/// The port Marathon listens on.
const DEFAULT_PORT: u16 = 8080;

/// A free port of loopback.
const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// How long an idle event stream waits between two signs of life (Marathon's heartbeat).
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(10);

/// How large an output file grows before it is rotated (Mesos's logrotate module: `max_stdout_size`).
const DEFAULT_LOG_BYTES: u64 = 10 * 1024 * 1024;

/// What an engine is told when it starts.
pub struct Config {
    /// The address of the API; port 0 takes a free one. Beyond loopback it needs a token.
    pub listen: SocketAddr,
    /// What everybody who uses the API must know.
    pub token: Option<Token>,
    /// With what connections to the API are encrypted.
    pub tls: Option<Tls>,
    /// Whether the API is also on a free port of loopback, not encrypted but with the same token:
    /// for the program that the engine runs in, which need not believe its own certificate.
    pub also_loopback: bool,
    /// The folder for sandboxes and notes. One engine at a time uses it.
    pub state_dir: PathBuf,
    /// The host that tasks are told and that health checks ask.
    pub host: String,
    /// The ports that tasks get where they may be any.
    pub host_ports: RangeInclusive<u16>,
    /// The socket of Docker's or Podman's API. Without one, the socket that `DOCKER_HOST` names is
    /// used, else `/var/run/docker.sock`, else `/run/podman/podman.sock`.
    pub docker_socket: Option<PathBuf>,
    /// Whether `cpus` is the most that a task gets, or only its share where processors are short.
    pub cpu_limit: CpuLimit,
    /// How long an idle event stream waits between two signs of life.
    pub heartbeat: Duration,
    /// How large, in bytes, the stdout or stderr of a task may grow before it is rotated.
    pub log_bytes_max: u64,
    /// Called with what a person must know. It must not wait.
    pub on_notice: Box<dyn Fn(Notice) + Send + Sync>,
}

impl Config {
    /// Returns the usual settings: port 8080 on loopback, and notices go nowhere.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            token: None,
            tls: None,
            also_loopback: false,
            state_dir: state_dir.into(),
            host: Ipv4Addr::LOCALHOST.to_string(),
            host_ports: HOST_PORTS,
            docker_socket: None,
            cpu_limit: CpuLimit::Quota,
            heartbeat: DEFAULT_HEARTBEAT,
            log_bytes_max: DEFAULT_LOG_BYTES,
            on_notice: Box::new(|_| ()),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("token", &self.token)
            .field("tls", &self.tls)
            .field("also_loopback", &self.also_loopback)
            .field("state_dir", &self.state_dir)
            .field("host", &self.host)
            .field("host_ports", &self.host_ports)
            .field("docker_socket", &self.docker_socket)
            .field("cpu_limit", &self.cpu_limit)
            .field("heartbeat", &self.heartbeat)
            .field("log_bytes_max", &self.log_bytes_max)
            .finish_non_exhaustive()
    }
}

/// What `cpus` of an app without `resourceLimits` means for its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuLimit {
    /// They never get more, as on DC/OS (Mesos with `--cgroups_enable_cfs`).
    Quota,
    /// They get more where nobody else wants it.
    Shares,
}

/// One sentence that a person must know about, without a final full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice(String);

impl Notice {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address of the API cannot be used: choose another one.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Other machines reach the address, and nobody is asked for a token: set [`Config::token`], or
    /// listen on loopback.
    #[error("{address} can be reached from other machines, and the API asks for no token")]
    TokenNeeded {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// A certificate or its key cannot be used: name others.
    #[error("cannot use {} for TLS", file.display())]
    Tls {
        /// The file that was named.
        file: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The folder cannot be used: choose another one, or make it writable.
    #[error("cannot use the state folder {}", folder.display())]
    StateDir {
        /// The folder that was asked for.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is stored in the folder cannot be read. Nothing was changed, and what runs keeps running.
    #[error("cannot read the stored state in {}: {problem}", file.display())]
    State {
        /// The file that is damaged.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Another engine uses the folder: stop that one, or choose another folder.
    #[error("another engine uses the state folder {}", folder.display())]
    StateDirInUse {
        /// The folder that was asked for.
        folder: PathBuf,
    },
}

impl From<Damage> for StartError {
    fn from(damage: Damage) -> Self {
        Self::State {
            file: damage.file,
            problem: damage.problem,
        }
    }
}

/// A running engine.
///
/// Dropping it closes the API and leaves the tasks running, for the next engine on the same folder to
/// take over; [`Engine::stop`] ends them.
#[derive(Debug)]
pub struct Engine {
    address: SocketAddr,
    loopback: Option<SocketAddr>,
    shell: Arc<Shell>,
    servers: Vec<JoinHandle<()>>,
    cgroups: Option<Cgroups>,
    _lock: Flock<File>,
}

impl Engine {
    /// Starts an engine in the current tokio runtime. When it returns the API answers.
    ///
    /// It goes on where the last engine on the same folder was, however that one ended: tasks that
    /// still run are watched again, not restarted, and what has ended meanwhile is replaced.
    ///
    /// # Errors
    /// The folder, the address or the certificate cannot be used, a token is needed, or what is stored
    /// cannot be read. Then nothing was
    /// changed, and what runs keeps running.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let (door, tls) = open_door(&config)?;
        let folder = config.state_dir.clone();
        let unusable = |source| StartError::StateDir {
            folder: folder.clone(),
            source,
        };
        let folders = create_folders(&config.state_dir).map_err(unusable)?;
        let lock = lock_folder(&config.state_dir).map_err(unusable)?;
        let lock = lock.ok_or_else(|| StartError::StateDirInUse {
            folder: folder.clone(),
        })?;
        let (store, stored) = Store::open(&folders.state).map_err(StartError::from)?;
        let containers = containers(&config, &folders).map_err(unusable)?;
        let notes = notes_in(&folders.notes).map_err(unusable)?;
        let cgroups = cgroups(&containers.engine, &notes, &config);
        let runners = Runners::new(folders.notes.clone(), containers.clone(), cgroups.clone());
        let unbindable = |source| StartError::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(unbindable)?;
        let address = listener.local_addr().map_err(unbindable)?;
        let second = match config.also_loopback {
            true => Some(TcpListener::bind(LOOPBACK).await.map_err(unbindable)?),
            false => None,
        };
        let loopback = second.as_ref().map(TcpListener::local_addr).transpose();
        let loopback = loopback.map_err(unbindable)?;
        let setting = setting(&config, &folders, containers).map_err(unusable)?;
        let world = match stored {
            None => World::new(setting, Moment::now()),
            Some(stored) => World::restored(setting, stored, Moment::now())
                .map_err(|problem| store.damage(problem))?,
        };
        let sandboxes = folders.sandboxes.clone();
        let shell = Shell::new(world, store, runners, folders.sandboxes, config.on_notice);
        shell.resume(notes).await;
        let api = api::Api::new(Arc::clone(&shell), address, config.heartbeat, door);
        let mut servers = vec![
            tokio::spawn(Arc::clone(&shell).keep_time()),
            tokio::spawn(Arc::clone(&shell).remove_stray_containers()),
            tokio::spawn(Arc::clone(&shell).tell_of_trouble()),
            tokio::spawn(logs::keep_small(
                Arc::clone(&shell),
                sandboxes,
                config.log_bytes_max,
            )),
            tokio::spawn(api::serve(listener, Arc::clone(&api), tls)),
        ];
        servers.extend(second.map(|second| tokio::spawn(api::serve(second, api, None))));
        Ok(Self {
            address,
            loopback,
            shell,
            servers,
            cgroups,
            _lock: lock,
        })
    }

    /// Returns the address of the API.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the second address of the API, where [`Config::also_loopback`] asked for one.
    pub fn loopback(&self) -> Option<SocketAddr> {
        self.loopback
    }

    /// Waits until something that the API shows may have changed since this last returned: for the program that the
    /// engine runs in, which would otherwise listen to events that it sends itself. It may return for nothing, and
    /// what a probe finds is told when it changes somebody's health. One caller at a time is told.
    pub async fn changed(&self) {
        self.shell.cue().await;
    }

    /// Ends the engine and its tasks: refuses further changes, asks every task to end, gives each
    /// its grace period, and returns when none is left. The apps stay in the state folder: the next
    /// engine starts them again.
    pub async fn stop(self) {
        self.shell.stop().await;
    }

    /// Ends the engine and leaves its tasks running for the next one on the same folder. Returns
    /// how many they are.
    ///
    /// Everything that matters is on the disk at any moment, so this does no more than dropping the
    /// engine or killing its process does.
    #[must_use = "somebody should know what still runs"]
    pub fn leave(self) -> usize {
        self.shell.read(|world, _| world.task_count())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shell.abandon();
        for server in &self.servers {
            server.abort();
        }
        if let Some(cgroups) = &self.cgroups {
            cgroups.remove_empty();
        }
    }
}

/// Returns where the limits of tasks are set, or says aloud why there is no such place.
fn cgroups(engine: &str, notes: &[Note], config: &Config) -> Option<Cgroups> {
    let is_known = |task: &str| notes.iter().any(|note| note.task.as_str() == task);
    let cgroups = Cgroups::prepare(engine, is_known);
    let told = cgroups.inspect_err(|reason| {
        (config.on_notice)(Notice::new(format!(
            "cpus and mem of processes are not enforced here: {reason}"
        )));
    });
    told.ok()
}

/// Where the engine keeps files.
#[derive(Debug, Clone)]
struct Folders {
    /// Where all of it is.
    state: PathBuf,
    /// One folder per task: its working directory, with its output.
    sandboxes: PathBuf,
    /// One note per running task.
    notes: PathBuf,
    /// How far the output of each container has been copied.
    positions: PathBuf,
    /// The file that says which engine this folder is.
    identity: PathBuf,
}

/// Returns whom the API lets in, and how it takes their connections.
fn open_door(config: &Config) -> Result<(Door, Option<TlsAcceptor>), StartError> {
    if config.token.is_none() && !config.listen.ip().is_loopback() {
        return Err(StartError::TokenNeeded {
            address: config.listen,
        });
    }
    let unusable = |TlsError { file, reason }| StartError::Tls {
        file,
        source: reason,
    };
    let tls = config.tls.as_ref().map(Tls::acceptor).transpose();
    let tls = tls.map_err(unusable)?;
    let door = Door {
        token: config.token.clone(),
        encrypted: tls.is_some(),
    };
    Ok((door, tls))
}

fn create_folders(state_dir: &Path) -> io::Result<Folders> {
    fs::create_dir_all(state_dir)?;
    let state_dir = state_dir.canonicalize()?;
    let folders = Folders {
        sandboxes: state_dir.join("sandboxes"),
        notes: state_dir.join("processes"),
        positions: state_dir.join("outputs"),
        identity: state_dir.join("identity"),
        state: state_dir,
    };
    fs::create_dir_all(&folders.positions)?;
    fs::create_dir_all(&folders.sandboxes)?;
    fs::create_dir_all(&folders.notes)?;
    Ok(folders)
}

/// Returns the lock on the folder, or nothing where another engine has it.
fn lock_folder(state_dir: &Path) -> io::Result<Option<Flock<File>>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(state_dir.join("lock"))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Returns how containers are run.
fn containers(config: &Config, folders: &Folders) -> io::Result<Containers> {
    let docker_host = std::env::var("DOCKER_HOST").ok();
    let wanted = config.docker_socket.as_deref();
    Ok(Containers {
        sockets: socket_candidates(wanted, docker_host.as_deref()),
        engine: identity(&folders.identity)?,
        publish_on: address_of(&config.host),
        cpus_are_a_limit: config.cpu_limit == CpuLimit::Quota,
        positions: folders.positions.clone(),
        trouble: Arc::default(),
    })
}

/// Returns the name that a state folder has had since its first engine.
fn identity(file: &Path) -> io::Result<String> {
    match fs::read_to_string(file) {
        Ok(identity) if !identity.trim().is_empty() => Ok(identity.trim().to_owned()),
        Ok(_) => fresh_identity(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fresh_identity(file),
        Err(error) => Err(error),
    }
}

fn fresh_identity(file: &Path) -> io::Result<String> {
    let identity = random_uuid()?;
    fs::write(file, format!("{identity}\n"))?;
    Ok(identity)
}

/// Returns the address on which the ports of containers listen: the host's. Where its name means
/// nothing here, they stay on loopback.
fn address_of(host: &str) -> IpAddr {
    let mut addresses = (host, 0).to_socket_addrs().into_iter().flatten();
    let address = addresses.find(SocketAddr::is_ipv4);
    address.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

fn setting(config: &Config, folders: &Folders, containers: Containers) -> io::Result<Setting> {
    const FALLBACK_SEARCH_PATH: &str =
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let search_path = std::env::var("PATH").unwrap_or_else(|_| FALLBACK_SEARCH_PATH.to_owned());
    let ports = config.host_ports.clone();
    // A random begin keeps engines that share a machine out of each other's way. The random source
    // is asked here also so that a missing one is an error at the start.
    let random = random_uuid()?
        .bytes()
        .fold(0_usize, |sum, byte| sum * 31 % 65_521 + usize::from(byte));
    let first_port = ports
        .clone()
        .nth(random % ports.len().max(1))
        .unwrap_or(*ports.start());
    Ok(Setting {
        host: config.host.clone(),
        sandboxes: folders.sandboxes.clone(),
        search_path,
        host_ports: ports,
        first_port,
        cpu_limit: config.cpu_limit,
        container_obstacle: Box::new(move || containers.obstacle()),
        port_is_free: Box::new(|port| StdListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()),
        fresh_id: Box::new(|| {
            random_uuid().expect("the random source worked when the engine started")
        }),
    })
}
