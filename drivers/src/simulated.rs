//! A simulated Mesos cluster whose Marathon speaks HTTP, for tests of what has to survive a bad day of a real one.
//!
//! Several masters answer the calls that teal sends, in the shapes of Marathon 1.10, over tasks that stage, run, report
//! health at their checks' intervals, die slowly, crash and get lost with their agents. Every task serves its gauge of
//! pending operations at an address of its own. What goes wrong is set by [`Temper`] for each call, and by [`Mishap`]
//! at chosen moments; all of it follows from one seed.
//!
//! The cluster keeps what really happened: who stopped what with how much work at hand ([`Cluster::stops`]), what a
//! caller was told last ([`Cluster::is_shown_well`]), and a story for people ([`Cluster::story`]). It judges nothing.
//!
//! Time is tokio's. Under a paused clock and [`crate::clock::go_with_tokio`] a minute takes a moment: the sockets are on
//! loopback, where what is sent has arrived.
//!
//! Facts are from Marathon's source and documentation at 1.10, where nothing else is said.

mod answer;
mod app;
mod master;
mod mishaps;
mod page;
mod show;
mod state;
mod task;

pub use mishaps::Mishap;

use crate::chance::Chance;
use serde_json::Value;
use state::State;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use teal_core::name::InstanceId;
use teal_core::{Moment, Span};
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// How often the cluster goes on.
const TICK: Duration = Duration::from_millis(20);

/// How a cluster is, and how often what goes wrong. Shares are out of a thousand.
#[derive(Debug, Clone)]
pub struct Temper {
    /// How many machines run tasks.
    pub agents: usize,
    /// How many Marathons there are; one of them leads.
    pub masters: usize,
    /// How long an answer, and a request, takes at most.
    pub latency: Span,
    /// Calls that are answered with 503.
    pub busy: u32,
    /// Calls whose connection is closed before anything is read.
    pub dropped: u32,
    /// Calls that have their effect, and whose connection is closed then.
    pub lost_answers: u32,
    /// Calls whose connection is closed, and which have their effect some time later all the same.
    pub late: u32,
    /// How much later, at most.
    pub late_by: Span,
    /// Calls that take seconds.
    pub slow: u32,
    /// Readings of a gauge that go wrong.
    pub bad_gauges: u32,
    /// Events that nobody gets.
    pub missed_events: u32,
    /// Events that come twice.
    pub doubled_events: u32,
    /// Tasks that take up to a minute to stop, because the first word gets lost and Marathon has to repeat it.
    pub slow_kills: u32,
    /// Whether a task that was told to stop says so (`--enable_features task_killing`).
    pub tells_killing: bool,
    /// How far Marathon's clock is ahead, in milliseconds.
    pub skew_ms: i64,
}

impl Temper {
    /// Nothing goes wrong.
    pub const CALM: Self = Self {
        agents: 4,
        masters: 3,
        latency: Span(10),
        busy: 0,
        dropped: 0,
        lost_answers: 0,
        late: 0,
        late_by: Span(4000),
        slow: 0,
        bad_gauges: 0,
        missed_events: 0,
        doubled_events: 0,
        slow_kills: 0,
        tells_killing: true,
        skew_ms: 0,
    };

    /// Returns the same cluster with nothing going wrong.
    #[must_use]
    pub const fn calmed(&self) -> Self {
        Self {
            tells_killing: self.tells_killing,
            skew_ms: self.skew_ms,
            agents: self.agents,
            masters: self.masters,
            ..Self::CALM
        }
    }
}

/// What the tasks of an app are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// They answer their checks soon after they run.
    Good,
    /// They never answer their checks.
    NeverHealthy,
    /// They end by themselves soon after they run.
    Crashing,
}

/// The work that a task has at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Requests under way.
    pub in_flight: u64,
    /// Operations that are not done yet: what its gauge says.
    pub pending: u64,
    /// Whether a balancer sends it new requests.
    pub serving: bool,
}

/// Who had a task stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A caller of the API.
    Caller,
    /// Another tool.
    Another,
    /// Marathon by itself: it was unhealthy, or came back when it had been replaced.
    Marathon,
}

/// A task was told to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Which.
    pub instance: InstanceId,
    /// When.
    pub at: Moment,
    /// By whom.
    pub by: By,
    /// What it had at hand then.
    pub load: Load,
}

/// A task as it really is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    /// Its id.
    pub instance: InstanceId,
    /// Its app.
    pub app: String,
    /// Where it takes requests.
    pub address: SocketAddr,
    /// Whether it takes requests: it runs, nothing keeps them from it, and it was not told to stop.
    pub works: bool,
    /// Who told it to stop, if anybody did.
    pub dying: Option<By>,
    /// When a check first said that it is alive.
    pub first_alive: Option<Moment>,
}

/// A change that a caller asked for and that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Moment,
    /// `POST /v2/apps`, query included.
    pub call: String,
    /// The app ids or task ids that it is about.
    pub about: Vec<String>,
    /// Whether it says `force=true`.
    pub forced: bool,
    /// The status that it was answered with, or would have been.
    pub status: u16,
}

impl Change {
    /// Tells whether it stops tasks by their ids.
    #[must_use]
    pub fn is_kill(&self) -> bool {
        self.call.contains("/v2/tasks/delete")
    }
}

/// A handle of a simulated cluster, which ends with its last clone.
#[derive(Debug, Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
    _running: Arc<Running>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Changes are carried out one at a time, in the order in which they came: Marathon has one queue for them.
    queue: tokio::sync::Mutex<()>,
    masters: Vec<SocketAddr>,
}

/// What ends with the cluster.
#[derive(Debug)]
struct Running(Vec<AbortHandle>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Cluster {
    /// Starts a cluster with nothing running in it.
    ///
    /// # Errors
    /// No address on loopback can be had.
    pub async fn start(temper: Temper, seed: u64) -> io::Result<Self> {
        let mut listeners = Vec::new();
        for _ in 0..temper.masters {
            listeners.push(tokio::net::TcpListener::bind("127.0.0.1:0").await?);
        }
        let masters: io::Result<Vec<_>> = listeners.iter().map(|it| it.local_addr()).collect();
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(temper, Chance::new(seed))),
            queue: tokio::sync::Mutex::default(),
            masters: masters?,
        });
        let mut running = Vec::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            let serve = master::serve(Arc::clone(&shared), index, listener);
            running.push(tokio::spawn(serve).abort_handle());
        }
        let live = Arc::clone(&shared);
        let live = async move {
            loop {
                sleep(TICK).await;
                live.state().live(crate::clock::now());
            }
        };
        running.push(tokio::spawn(live).abort_handle());
        Ok(Self {
            shared,
            _running: Arc::new(Running(running)),
        })
    }

    /// Returns the addresses of the Marathons.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let url = |address: &SocketAddr| format!("http://{address}");
        self.shared.masters.iter().map(url).collect()
    }

    // What a test does to it.

    /// Makes an app as another tool would, with running tasks that have been healthy for a while, and returns their ids.
    pub fn grow(&self, definition: &Value, count: u32) -> Vec<InstanceId> {
        let id = self.state().grow(definition, count, crate::clock::now());
        self.truths()
            .into_iter()
            .filter(|truth| truth.app == id)
            .map(|truth| truth.instance)
            .collect()
    }

    /// Sets what the tasks of an app will be like, also before there is one.
    pub fn set_nature(&self, app: &str, nature: Nature) {
        self.state().natures.insert(app.to_owned(), nature);
    }

    /// Lets something go wrong at a moment.
    pub fn let_happen(&self, at: Moment, mishap: Mishap) {
        self.state().mishaps.push((at, mishap));
    }

    /// Lets nothing go wrong any more that has not begun.
    pub fn calm(&self) {
        let mut state = self.state();
        state.temper = state.temper.calmed();
        state.mishaps.clear();
        state.tell("from here on nothing goes wrong".to_owned());
    }

    /// Sets what a task has at hand. Nothing happens when it is gone.
    pub fn set_load(&self, instance: &InstanceId, load: Load) {
        self.state().set_load(instance.as_str(), load);
    }

    /// Lets the cluster's life go on for a while. Under a paused clock that takes a moment.
    pub async fn let_pass(&self, span: Span) {
        sleep(span.duration()).await;
    }

    // What a test sees of it.

    /// Returns every task whose process exists, seen by Marathon or not.
    #[must_use]
    pub fn truths(&self) -> Vec<Truth> {
        self.state().truths(crate::clock::now())
    }

    /// Returns a task, while its process exists.
    #[must_use]
    pub fn truth(&self, instance: &InstanceId) -> Option<Truth> {
        let truths = self.truths();
        truths.into_iter().find(|truth| truth.instance == *instance)
    }

    /// Tells whether the last answer about a task's app showed it running and healthy.
    #[must_use]
    pub fn is_shown_well(&self, instance: &InstanceId) -> bool {
        let state = self.state();
        let mut shown = state.shown_well.values();
        shown.any(|well| well.contains(instance.as_str()))
    }

    /// Returns the ids of the apps that exist.
    #[must_use]
    pub fn apps(&self) -> Vec<String> {
        self.state().apps.keys().cloned().collect()
    }

    /// Returns how many tasks an app is to have.
    #[must_use]
    pub fn wanted(&self, app: &str) -> Option<u32> {
        self.state().apps.get(app).map(|app| app.instances)
    }

    /// Returns everything that was told to stop, in order.
    #[must_use]
    pub fn stops(&self) -> Vec<Stop> {
        self.state().stops.clone()
    }

    /// Returns the changes that callers asked for and that reached Marathon, in order.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        self.state().changes.clone()
    }

    /// Adds a line to the story.
    pub fn tell(&self, what: String) {
        self.state().tell(what);
    }

    /// Returns what happened, one line each.
    #[must_use]
    pub fn story(&self) -> Vec<String> {
        self.state().story.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
