//! Carries out what the world decides and brings back what became of it. It holds no rule but one:
//! what was decided is on the disk before it is carried out or answered.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;

use crate::Notice;
use crate::events::Bus;
use crate::identity::TaskId;
use crate::model::TaskEnd;
use crate::probe;
use crate::refusal::Refusal;
use crate::run::{Fate, Kills, Launch, Note, Runners};
use crate::state::Store;
use crate::time::Moment;
use crate::world::{Effect, Found, ProbeOrder, Subject, World};

/// How long the engine waits before it tries again to write its state down.
const SAVE_RETRY: Duration = Duration::from_secs(1);

/// The world with its hands and ears.
pub(crate) struct Shell {
    inner: Mutex<Inner>,
    pub(crate) bus: Bus,
    /// Rings when the next deadline may be another one.
    changed: Notify,
    /// Rings when the API may show something else than before.
    cue: Notify,
    /// How many tasks there are.
    tasks: watch::Sender<usize>,
    runners: Runners,
    sandboxes: PathBuf,
    notice: Box<dyn Fn(Notice) + Send + Sync>,
}

struct Inner {
    world: World,
    store: Store,
    hands: Hands,
    /// What was decided and is not carried out before the state is on the disk.
    pending: Vec<Effect>,
    /// Why it is not there, where it could not be written.
    trouble: Option<Trouble>,
}

/// The state could not be written.
#[derive(Debug)]
struct Trouble {
    reason: String,
    retry_at: Instant,
}

/// Whether a change is written down whatever came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// It was asked for, or a task has begun or ended.
    Full,
    /// Time passed or a probe came back: mostly nothing has changed.
    Light,
}

/// What is under way.
#[derive(Default)]
struct Hands {
    /// Who watches each task.
    watchers: BTreeMap<TaskId, Watcher>,
    /// The latest probe of each check of each task.
    probes: BTreeMap<TaskId, BTreeMap<Subject, AbortHandle>>,
}

/// What watches one task to its end.
#[derive(Debug)]
struct Watcher {
    kill: mpsc::UnboundedSender<Duration>,
    job: AbortHandle,
}

impl Hands {
    /// Has a task watched by what comes of its kill orders.
    fn watch<F>(&mut self, task: TaskId, work: impl FnOnce(Kills) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (kill, kills) = mpsc::unbounded_channel();
        let job = tokio::spawn(work(kills)).abort_handle();
        self.watchers.insert(task, Watcher { kill, job });
    }

    /// Gives up every probe of a task: nobody waits for the answer any more.
    fn drop_probes(&mut self, task: &TaskId) {
        for probe in self
            .probes
            .remove(task)
            .into_iter()
            .flat_map(BTreeMap::into_values)
        {
            probe.abort();
        }
    }
}

impl fmt::Debug for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shell")
            .field("runners", &self.runners)
            .finish_non_exhaustive()
    }
}

impl Shell {
    /// Returns a shell around a world.
    pub(crate) fn new(
        world: World,
        store: Store,
        runners: Runners,
        sandboxes: PathBuf,
        notice: Box<dyn Fn(Notice) + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                world,
                store,
                hands: Hands::default(),
                pending: Vec::new(),
                trouble: None,
            }),
            bus: Bus::new(),
            changed: Notify::new(),
            cue: Notify::new(),
            tasks: watch::Sender::new(0),
            runners,
            sandboxes,
            notice,
        })
    }

    /// Reads the world.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&World, Moment) -> T) -> T {
        look(&self.lock().world, Moment::now())
    }

    /// Changes the world as somebody asked for, lets it decide, writes that down, and carries it
    /// out. When this returns the change is on the disk.
    ///
    /// Effects are carried out under the same lock, so listeners see events in the order of the
    /// decisions. None of them waits.
    ///
    /// # Errors
    /// The change is refused, or cannot be written down.
    pub(crate) fn change<T>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut World, Moment) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let now = Moment::now();
        let mut inner = self.lock();
        if inner.world.is_abandoned() {
            return Err(Refusal::Stopping);
        }
        if inner.trouble.is_some() {
            self.settle(&mut inner, Weight::Full, now);
            refuse_in_trouble(&inner)?;
        }
        let outcome = change(&mut inner.world, now);
        self.settle(&mut inner, Weight::Full, now);
        refuse_in_trouble(&inner)?;
        outcome
    }

    /// Tells the world what has happened, lets it decide, and carries that out.
    fn news<T>(self: &Arc<Self>, weight: Weight, news: impl FnOnce(&mut World, Moment) -> T) -> T {
        let now = Moment::now();
        let mut inner = self.lock();
        let outcome = news(&mut inner.world, now);
        self.settle(&mut inner, weight, now);
        outcome
    }

    /// Lets the world decide, writes its state down where something may have changed, and carries
    /// out what it decided if that is on the disk.
    fn settle(self: &Arc<Self>, inner: &mut Inner, weight: Weight, now: Moment) {
        inner.world.reconcile(now);
        let effects = inner.world.take_effects();
        let has_changed = weight == Weight::Full || effects.iter().any(Effect::is_news);
        inner.pending.extend(effects);
        let must_save = has_changed || inner.trouble.is_some();
        if must_save && !inner.world.is_abandoned() {
            self.save(inner, now);
        }
        if inner.trouble.is_none() {
            for effect in std::mem::take(&mut inner.pending) {
                self.carry_out(effect, &mut inner.hands, now);
            }
        }
        self.tasks.send_replace(inner.world.task_count());
        self.changed.notify_one();
        if has_changed {
            self.cue.notify_one();
        }
    }

    fn save(&self, inner: &mut Inner, now: Moment) {
        let state = inner.world.stored();
        let was_in_trouble = inner.trouble.is_some();
        match waiting_for_the_disk(|| inner.store.save(state)) {
            Ok(()) => {
                inner.trouble = None;
                if was_in_trouble {
                    self.tell("the state is written down again".to_owned());
                }
            }
            Err(error) => {
                let reason = error.to_string();
                if !was_in_trouble {
                    self.tell(format!(
                        "cannot write the state down: {reason}; nothing is started or ended until that is possible"
                    ));
                }
                let retry_at = now.instant + SAVE_RETRY;
                inner.trouble = Some(Trouble { reason, retry_at });
            }
        }
    }

    /// Lets the world decide again whenever time alone calls for it. Never returns.
    pub(crate) async fn keep_time(self: Arc<Self>) {
        loop {
            let deadline = self.next_deadline();
            let Some(deadline) = deadline else {
                self.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(deadline.into()) => {
                    self.news(Weight::Light, |_, _| ());
                }
                () = self.changed.notified() => {}
            }
        }
    }

    /// Tells a person when running containers cannot be watched, and when they can again. Never
    /// returns.
    pub(crate) async fn tell_of_trouble(self: Arc<Self>) {
        let mut trouble = self.runners.trouble();
        while trouble.changed().await.is_ok() {
            let reason = trouble.borrow_and_update().clone();
            self.tell(match reason {
                Some(reason) => format!("containers run on, unwatched: {reason}"),
                None => "containers are watched again".to_owned(),
            });
        }
    }

    /// Removes containers that a former engine left behind and that nobody knows of.
    pub(crate) async fn remove_stray_containers(self: Arc<Self>) {
        for task in self.runners.remove_strays().await {
            self.tell(format!(
                "removed the container of {task}, left by a former engine"
            ));
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let inner = self.lock();
        match &inner.trouble {
            // Whatever else is due would wait for that too.
            Some(trouble) => Some(trouble.retry_at),
            None => inner.world.next_deadline(Instant::now()),
        }
    }

    /// Finds out what has become of the tasks that were noted, takes over those that run, and ends
    /// those that nobody remembers.
    pub(crate) async fn resume(self: &Arc<Self>, notes: Vec<Note>) {
        let mut found = BTreeMap::new();
        let mut remembered = BTreeMap::new();
        for note in notes {
            let fate = self.runners.fate(&note).await;
            if self.read(|world, _| world.remembers(&note.task)) {
                let started_at = note.started_at;
                found.insert(note.task.clone(), Found { started_at, fate });
                remembered.insert(note.task.clone(), note);
            } else if matches!(fate, Fate::Runs(_)) {
                tokio::spawn(Arc::clone(self).end_stray(note));
            } else {
                self.runners.forget(&note.task);
            }
        }
        let now = Moment::now();
        let mut inner = self.lock();
        for task in inner.world.take_stock(&found, now) {
            if let Some(note) = remembered.remove(&task) {
                let work = |kills| Arc::clone(self).adopt(note, kills);
                inner.hands.watch(task, work);
            }
        }
        self.settle(&mut inner, Weight::Full, now);
        let is_saved = inner.trouble.is_none();
        drop(inner);
        for ended in remembered.keys().filter(|_| is_saved) {
            self.runners.forget(ended);
        }
        if !found.is_empty() {
            let ended = remembered.len();
            let running = found.len() - ended;
            self.tell(format!(
                "took over {running} running tasks of the engine before; {ended} had ended meanwhile"
            ));
        }
    }

    /// Ends the engine's tasks: no launch from here on, every task is asked to end.
    pub(crate) async fn stop(self: &Arc<Self>) {
        self.news(Weight::Full, |world, now| world.stop(now));
        let mut tasks = self.tasks.subscribe();
        tasks.wait_for(|count| *count == 0).await.ok();
    }

    /// Lets go of everything: what runs keeps running, unwatched, and nothing is written any more.
    pub(crate) fn abandon(&self) {
        let mut inner = self.lock();
        inner.world.abandon();
        let hands = std::mem::take(&mut inner.hands);
        let probes = hands.probes.into_values().flat_map(BTreeMap::into_values);
        let watchers = hands.watchers.into_values().map(|watcher| watcher.job);
        for job in probes.chain(watchers) {
            job.abort();
        }
    }

    /// Waits until the API may show something else than when this was last called.
    pub(crate) async fn cue(&self) {
        self.cue.notified().await;
    }

    /// Waits until there is a task.
    pub(crate) async fn wait_until_busy(&self) {
        let mut tasks = self.tasks.subscribe();
        tasks.wait_for(|count| *count > 0).await.ok();
    }

    /// Returns the folder in which every task has its own.
    pub(crate) fn sandboxes(&self) -> &Path {
        &self.sandboxes
    }

    /// Tells a person.
    pub(crate) fn tell(&self, text: String) {
        (self.notice)(Notice::new(text));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry_out(self: &Arc<Self>, effect: Effect, hands: &mut Hands, now: Moment) {
        match effect {
            Effect::Publish(event) => self.bus.publish(&event, now.stamp),
            Effect::Launch(launch) => {
                let task = launch.task.clone();
                hands.watch(task, |kills| Arc::clone(self).run(launch, kills));
            }
            Effect::Kill(task, grace) => {
                hands.drop_probes(&task);
                if let Some(watcher) = hands.watchers.get(&task) {
                    let left = self.runners.grace_left(&task, grace, now.stamp);
                    watcher.kill.send(left).ok();
                }
            }
            Effect::Probe(order) => {
                let (task, subject) = (order.task.clone(), order.subject);
                let probe = tokio::spawn(Arc::clone(self).probe(order));
                hands
                    .probes
                    .entry(task)
                    .or_default()
                    .insert(subject, probe.abort_handle());
            }
            Effect::Discard(task) => {
                let sandbox = self.sandboxes.join(task.as_str());
                tokio::task::spawn_blocking(move || fs::remove_dir_all(sandbox).ok());
            }
            Effect::Notice(text) => self.tell(text),
        }
    }

    async fn run(self: Arc<Self>, launch: Launch, kills: Kills) {
        let task = launch.task.clone();
        let started = |addresses| {
            self.news(Weight::Full, |world, now| {
                world.task_started(&task, addresses, now);
            });
        };
        let end = self.runners.run(launch, kills, started).await;
        self.ended(&task, &end);
    }

    async fn adopt(self: Arc<Self>, note: Note, kills: Kills) {
        let task = note.task.clone();
        let end = self.runners.adopt(note, kills).await;
        self.ended(&task, &end);
    }

    async fn end_stray(self: Arc<Self>, note: Note) {
        let task = note.task.clone();
        self.runners.end_stray(note).await;
        self.tell(format!(
            "ended {task}, which ran here and belongs to no app that is known"
        ));
    }

    fn ended(self: &Arc<Self>, task: &TaskId, end: &TaskEnd) {
        let now = Moment::now();
        let mut inner = self.lock();
        inner.hands.watchers.remove(task);
        inner.hands.drop_probes(task);
        inner.world.task_ended(task, end, now);
        self.settle(&mut inner, Weight::Full, now);
        // The note tells the next engine of the end until the state does.
        if inner.trouble.is_none() && !inner.world.is_abandoned() {
            self.runners.forget(task);
        }
    }

    async fn probe(self: Arc<Self>, order: ProbeOrder) {
        let answer = probe::ask(order.question, order.timeout, &self.runners).await;
        self.news(Weight::Light, |world, now| {
            world.probe_done(&order.task, order.subject, answer, now);
        });
    }
}

fn refuse_in_trouble(inner: &Inner) -> Result<(), Refusal> {
    match &inner.trouble {
        None => Ok(()),
        Some(trouble) => Err(Refusal::NotStored(trouble.reason.clone())),
    }
}

/// Writes without holding up the runtime's other tasks, where it has threads to spare.
fn waiting_for_the_disk<T>(write: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(write),
        Ok(_) | Err(_) => write(),
    }
}
