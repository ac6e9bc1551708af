//! What runs a task: it starts one, watches it, ends it when asked, and takes over one that a former
//! engine started.
//!
//! There is one module per kind of runner. Each starts a task from a [`Launch`] and leaves a
//! [`Note`] of its own kind behind *before* the task does anything, so that the next engine can
//! adopt whatever runs: nothing ever runs without a note. When a task has ended, its end is put into
//! the note, which goes once the world has written down that it knows (`crate::shell`).
//!
//! A new kind needs a variant of [`What`] and of [`note::Handle`], and an arm in each `match` here.
//! Which task runs when is decided in `crate::world`.

mod cgroups;
mod container;
mod group;
mod note;
mod output;
mod pidfd;
mod process;
mod user;
mod wish;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

pub(crate) use cgroups::{Cgroups, Limits};
pub(crate) use container::Containers;
pub(crate) use group::kill_group;
pub(crate) use note::{Handle, Note, all as notes_in};
pub(crate) use wish::Wish;

use crate::definition::{Artifact, Command};
use crate::fetch;
use crate::identity::TaskId;
use crate::model::{Addresses, TaskEnd};
use crate::probe::Answer;
use crate::time::Stamp;

/// A task to be started.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Launch {
    pub(crate) task: TaskId,
    pub(crate) what: What,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) sandbox: PathBuf,
    /// What is put into the sandbox beforehand.
    pub(crate) fetch: Vec<Artifact>,
    pub(crate) kill_grace: Duration,
    /// What a process may use; a container's limits are its daemon's business.
    pub(crate) limits: Limits,
    /// Who runs a process; nothing: whoever runs the engine.
    pub(crate) user: Option<String>,
}

/// What a task is made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    /// A process group on this machine.
    Process(Command),
    /// A container of the machine's Docker or Podman.
    Container(Box<Wish>),
}

/// How a task's runner is asked for its end: each order carries the grace period, and only the first
/// one counts.
pub(crate) type Kills = mpsc::UnboundedReceiver<Duration>;

/// What became of a noted task while no engine watched it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It runs, and has these addresses, where that can be seen.
    Runs(Option<Addresses>),
    Ended(TaskEnd),
}

/// All kinds of runners, and what they share.
#[derive(Debug)]
pub(crate) struct Runners {
    /// The folder with one note per task. The lock is held while a note is read and replaced.
    notes: Mutex<PathBuf>,
    containers: Containers,
    /// Where limits can be enforced.
    cgroups: Option<Cgroups>,
}

impl Runners {
    /// Returns runners that keep their notes in a folder.
    pub(crate) fn new(notes: PathBuf, containers: Containers, cgroups: Option<Cgroups>) -> Self {
        Self {
            notes: Mutex::new(notes),
            containers,
            cgroups,
        }
    }

    /// Runs one task to its end and returns when nothing of it is left. `started` is called once it
    /// runs, with the addresses of its own that it has.
    pub(crate) async fn run(
        &self,
        launch: Launch,
        mut kills: Kills,
        started: impl FnOnce(Addresses),
    ) -> TaskEnd {
        let task = launch.task.clone();
        tokio::select! {
            biased;
            fetched = fetch::into_sandbox(&launch.fetch, &launch.sandbox) => {
                if let Err(problem) = fetched {
                    return TaskEnd::Failed(problem);
                }
            }
            _ = kills.recv() => {
                return TaskEnd::Failed("Killed while its artifacts were fetched".to_owned());
            }
        }
        let end = match &launch.what {
            What::Process(command) => {
                let notes = self.folder().clone();
                let started = || started(Addresses::default());
                let places = (notes.as_path(), self.cgroups.as_ref());
                process::run(&launch, command, places, kills, started).await
            }
            What::Container(wish) => {
                let notes = self.folder().clone();
                container::run(&self.containers, &launch, wish, &notes, kills, started).await
            }
        };
        note::change(&self.folder(), &task, |note| note.end = Some(end.clone()));
        end
    }

    /// Watches a task that a former engine started, to its end.
    pub(crate) async fn adopt(&self, note: Note, kills: Kills) -> TaskEnd {
        let end = match &note.handle {
            Handle::Process(leader) => process::adopt(leader, &note.task, kills).await,
            Handle::Container(named) => container::adopt(&self.containers, named, kills).await,
        };
        note::change(&self.folder(), &note.task, |note| {
            note.end = Some(end.clone());
        });
        end
    }

    /// Notes that a task has been told to end, and returns how much of its grace period is left:
    /// all of it, unless a former engine had told it already.
    pub(crate) fn grace_left(&self, task: &TaskId, grace: Duration, now: Stamp) -> Duration {
        let mut left = grace;
        note::change(&self.folder(), task, |note| {
            let told = *note.told_to_end_at.get_or_insert(now);
            left = grace.saturating_sub(now.since(told));
        });
        left
    }

    /// Returns whether a noted task still runs. Where it has ended, nothing of it is left.
    pub(crate) async fn fate(&self, note: &Note) -> Fate {
        if let Some(end) = &note.end {
            return Fate::Ended(end.clone());
        }
        match &note.handle {
            Handle::Process(leader) => process::fate(leader, &note.task).await,
            Handle::Container(named) => container::fate(&self.containers, named).await,
        }
    }

    /// Runs a program inside a task's container and says how it ended.
    pub(crate) async fn probe_inside(
        &self,
        task: &TaskId,
        words: &[String],
        limit: Duration,
    ) -> Answer {
        self.containers.probe(task, words, limit).await
    }

    /// Returns why running containers cannot be watched, whenever that changes.
    pub(crate) fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.containers.trouble.subscribe()
    }

    /// Removes the containers of this engine that no note is about, and returns their tasks.
    pub(crate) async fn remove_strays(&self) -> Vec<String> {
        let is_noted = |task: &str| note::exists(&self.folder(), task);
        self.containers.remove_strays(is_noted).await
    }

    /// Ends a task that runs and that nobody knows of, with its grace period.
    pub(crate) async fn end_stray(&self, note: Note) {
        let (order, kills) = mpsc::unbounded_channel();
        order
            .send(Duration::from_secs(note.kill_grace_seconds))
            .ok();
        let task = note.task.clone();
        self.adopt(note, kills).await;
        self.forget(&task);
    }

    /// Removes the note of a task that has ended, once that is known elsewhere.
    pub(crate) fn forget(&self, task: &TaskId) {
        note::remove(&self.folder(), task);
    }

    fn folder(&self) -> MutexGuard<'_, PathBuf> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
