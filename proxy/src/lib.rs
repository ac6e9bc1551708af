//! The embedded balancer of teal: pools of endpoints behind listeners, steered over a small
//! admin API.
//!
//! It promises three things that a deployment rests on. A change is linearizable: when it is
//! answered, no new request can reach what was withdrawn. In-flight counts are complete: a
//! request, a stream or a tunnel counts from the moment it has chosen an endpoint until its last
//! byte is written. And nothing is sent twice that must not be.
//!
//! The library knows nothing of deployments, and of the rest of teal. It runs inside the caller's
//! tokio runtime, of either flavour.
//!
//! Read in this order: `pool` (who may be claimed), `client` (one connection), `forward` (one
//! exchange), `head` and `body` (what HTTP/1.1 allows), `wire` (how bytes move).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::admin::Admin;
use crate::listener::House;
use crate::registry::Registry;
use crate::snapshot::Snapshot;

pub use crate::snapshot::SnapshotError;

mod admin;
mod answer;
mod body;
mod client;
mod endpoint;
mod forward;
mod head;
mod limits;
mod listener;
mod metrics;
mod pool;
mod random;
mod registry;
mod snapshot;
mod tunnel;
mod wire;

/// How a [`Proxy`] is started.
pub struct Config {
    /// Where the admin API listens; port 0 is any free port.
    ///
    /// The API asks for no credentials. On a loopback address it refuses requests whose `Host`
    /// is not a loopback name; on any other address, whoever can reach it can steer it.
    pub admin: SocketAddr,
    /// The file in which pools outlive the process; none keeps nothing. One proxy at a time uses it.
    pub state: Option<PathBuf>,
    /// Called with a sentence that a person must know, without a full stop. It must not wait.
    pub on_notice: Box<dyn Fn(&str) + Send + Sync>,
}

impl Config {
    /// Returns the usual settings: nothing is kept, and notices go nowhere.
    #[must_use]
    pub fn new(admin: SocketAddr) -> Self {
        Self {
            admin,
            state: None,
            on_notice: Box::new(|_| ()),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("admin", &self.admin)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Why a [`Proxy`] did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address of the admin API cannot be listened on, for example because it is in use.
    #[error("cannot listen on {address} for the balancer's admin API: {error}")]
    Admin {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The file of a former balancer cannot be used. It is left as it is: mend it, or move it away to start without
    /// pools.
    #[error("cannot use the balancer's state in {}: {error}", file.display())]
    State {
        /// The file that was named.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        error: SnapshotError,
    },
    /// A pool of a former balancer cannot listen where it did. Nothing has been started, and the file still has it.
    #[error("cannot open the pool '{pool}' again: {problem}")]
    Pool {
        /// The pool's name.
        pool: String,
        /// What is in the way.
        problem: String,
    },
}

/// How a shutdown ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Every exchange and tunnel was finished.
    Clean,
    /// Some were still running at the end of the grace and were cut.
    Cut,
}

/// A running balancer.
///
/// Dropping it closes the admin API and all listeners, and leaves what is in flight to the
/// runtime; [`Proxy::shutdown`] waits for it.
#[derive(Debug)]
pub struct Proxy {
    admin: SocketAddr,
    registry: Arc<Registry>,
    changed: Arc<Notify>,
    server: JoinHandle<()>,
    stop: watch::Sender<bool>,
    cut: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
}

impl Proxy {
    /// Starts a balancer inside the current tokio runtime, with the pools that the state file remembers. They serve
    /// before the admin API does.
    ///
    /// # Errors
    ///
    /// [`StartError::Admin`] if the admin address cannot be listened on, [`StartError::State`] if the state file
    /// cannot be used, [`StartError::Pool`] if a pool's address cannot be listened on again.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime that drives IO and time.
    #[expect(
        clippy::unused_async,
        reason = "a caller must not rely on starting being immediate"
    )]
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let refused = |error| StartError::Admin {
            address: config.admin,
            error,
        };
        let listener = listener::bind(config.admin).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let (alive, ended) = mpsc::channel(1);
        let (cut, cut_receiver) = watch::channel(false);
        let (stop, stop_receiver) = watch::channel(false);
        let registry = Arc::new(Registry::new(House {
            alive,
            cut: cut_receiver,
        }));
        let snapshot = restore(&config, &registry)?;
        let boot = format!("{:016x}", random::unpredictable());
        let changed = Arc::new(Notify::new());
        let admin = Admin {
            registry: Arc::clone(&registry),
            changed: Arc::clone(&changed),
            boot,
            address,
            snapshot,
            on_notice: config.on_notice,
        };
        let server = tokio::spawn(admin::run(listener, Arc::new(admin), stop_receiver));
        Ok(Self {
            admin: address,
            registry,
            changed,
            server,
            stop,
            cut,
            ended,
        })
    }

    /// Returns the address that the admin API listens on.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Waits until a pool has been opened, changed or closed since this last returned: for the program that the
    /// balancer runs in, which need not ask again and again. It may return for nothing; one caller at a time is told.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Stops: the admin API at once, the listeners at once, each client connection after its next
    /// answer, which says `Connection: close`, or after a second without a request.
    ///
    /// Waits until all have ended, at most for `grace`; what still runs then is cut.
    pub async fn shutdown(self, grace: Duration) -> Shutdown {
        let Self {
            registry,
            server,
            stop,
            cut,
            mut ended,
            ..
        } = self;
        stop.send_replace(true);
        // The task ends at its next wake-up; that it might have panicked changes nothing here.
        drop(server.await);
        registry.close_all();
        // The registry holds a sender of its own for listeners that are opened.
        drop(registry);
        let all = async { while ended.recv().await.is_some() {} };
        if timeout(grace, all).await.is_ok() {
            return Shutdown::Clean;
        }
        cut.send_replace(true);
        while ended.recv().await.is_some() {}
        Shutdown::Cut
    }
}

/// Opens the pools that the state file remembers, each with its endpoints.
fn restore(config: &Config, registry: &Registry) -> Result<Option<Snapshot>, StartError> {
    let Some(file) = &config.state else {
        return Ok(None);
    };
    let (snapshot, pools) = Snapshot::open(file).map_err(|error| StartError::State {
        file: file.clone(),
        error,
    })?;
    for saved in pools {
        registry.restore(&saved).map_err(|error| StartError::Pool {
            pool: saved.name.clone(),
            problem: error.to_string(),
        })?;
    }
    Ok(Some(snapshot))
}
