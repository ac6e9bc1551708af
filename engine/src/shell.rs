//! Carries out what the world decides and brings back what became of it. It holds no rule.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;

use crate::Notice;
use crate::events::Bus;
use crate::identity::TaskId;
use crate::probe;
use crate::run::{Kills, Launch, Runners};
use crate::time::Moment;
use crate::world::{Effect, ProbeOrder, Subject, World};

/// The world with its hands and ears.
pub(crate) struct Shell {
    inner: Mutex<Inner>,
    pub(crate) bus: Bus,
    /// Rings when the next deadline may be another one.
    changed: Notify,
    /// How many tasks there are.
    tasks: watch::Sender<usize>,
    runners: Runners,
    sandboxes: PathBuf,
    notice: Box<dyn Fn(Notice) + Send + Sync>,
}

struct Inner {
    world: World,
    hands: Hands,
}

/// What is under way.
#[derive(Default)]
struct Hands {
    /// How to ask each task's supervisor for its end.
    kills: BTreeMap<TaskId, mpsc::UnboundedSender<Duration>>,
    /// The latest probe of each check of each task.
    probes: BTreeMap<TaskId, BTreeMap<Subject, AbortHandle>>,
}

impl Hands {
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
    /// Returns a shell around a world in which nothing has happened.
    pub(crate) fn new(
        world: World,
        runners: Runners,
        sandboxes: PathBuf,
        notice: Box<dyn Fn(Notice) + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                world,
                hands: Hands::default(),
            }),
            bus: Bus::new(),
            changed: Notify::new(),
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

    /// Changes the world, lets it decide, and carries out what it decided.
    ///
    /// Effects are carried out under the same lock, so listeners see events in the order of the
    /// decisions. None of them waits.
    pub(crate) fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut World, Moment) -> T) -> T {
        let now = Moment::now();
        let mut inner = self.lock();
        let outcome = change(&mut inner.world, now);
        inner.world.reconcile(now);
        for effect in inner.world.take_effects() {
            self.carry_out(effect, &mut inner.hands, now);
        }
        self.tasks.send_replace(inner.world.task_count());
        drop(inner);
        self.changed.notify_one();
        outcome
    }

    /// Lets the world decide again whenever time alone calls for it. Never returns.
    pub(crate) async fn keep_time(self: Arc<Self>) {
        loop {
            let deadline = self.read(|world, now| world.next_deadline(now.instant));
            let Some(deadline) = deadline else {
                self.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(deadline.into()) => self.change(|_, _| ()),
                () = self.changed.notified() => {}
            }
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

    /// Waits until no task is left.
    pub(crate) async fn wait_until_empty(&self) {
        let mut tasks = self.tasks.subscribe();
        tasks.wait_for(|count| *count == 0).await.ok();
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
                let (sender, receiver) = mpsc::unbounded_channel();
                hands.kills.insert(launch.task.clone(), sender);
                tokio::spawn(Arc::clone(self).run(launch, receiver));
            }
            Effect::Kill(task, grace) => {
                hands.drop_probes(&task);
                if let Some(supervisor) = hands.kills.get(&task) {
                    supervisor.send(grace).ok();
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
            self.change(|world, now| world.task_started(&task, addresses, now));
        };
        let end = self.runners.run(launch, kills, started).await;
        self.forget(&task);
        self.change(|world, now| world.task_ended(&task, &end, now));
        self.runners.forget(&task);
    }

    fn forget(&self, task: &TaskId) {
        let hands = &mut self.lock().hands;
        hands.kills.remove(task);
        hands.drop_probes(task);
    }

    async fn probe(self: Arc<Self>, order: ProbeOrder) {
        let answer = probe::ask(order.question, order.timeout, &self.runners).await;
        self.change(|world, now| world.probe_done(&order.task, order.subject, answer, now));
    }
}
