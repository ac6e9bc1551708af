//! The state folder: journals, the lock of each service, and the letter box of each deployment.
//!
//! A lock is the kernel's (flock), so it goes with the process that holds it, however that ends; what is written in
//! the file is only for people. A letter box is a folder: a command for a running deployer is a file put there.

use crate::failure::{Exit, Failure};
use crate::journal_file;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use teal_core::journal::{Command, Entry, Event, Outcome, State};
use teal_core::name::{DeploymentId, ServiceName};
use teal_core::plan::Plan;

const LOCK_ATTEMPTS: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The state folder.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
}

/// Who holds a service's lock, for people and for knocking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) deployment: DeploymentId,
    pub(crate) pid: u32,
    pub(crate) host: String,
    pub(crate) since: String,
}

/// A service's lock, held until dropped.
#[derive(Debug)]
pub(crate) struct ServiceLock {
    _file: File,
}

/// A deployment as its journal tells.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) path: PathBuf,
    pub(crate) entries: Vec<Entry>,
    pub(crate) plan: Plan,
    pub(crate) state: State,
}

impl Past {
    /// Whether it may still go on: it has not ended, or a person is needed.
    pub(crate) fn is_open(&self) -> bool {
        !self.state.outcome.as_ref().is_some_and(is_final)
    }
}

impl Store {
    pub(crate) fn open(root: &Path) -> Result<Self> {
        for folder in ["deployments", "locks"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        Ok(Self {
            root: root.to_owned(),
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn journal(&self, deployment: &DeploymentId) -> PathBuf {
        self.root
            .join("deployments")
            .join(format!("{deployment}.journal"))
    }

    fn letter_box(&self, deployment: &DeploymentId) -> PathBuf {
        self.root
            .join("deployments")
            .join(format!("{deployment}.letters"))
    }

    // ---- the lock ----------------------------------------------------------------------------------------------

    fn lock_path(&self, service: &ServiceName) -> PathBuf {
        self.root
            .join("locks")
            .join(format!("{}.lock", service.as_str().replace('/', "_")))
    }

    /// Takes a service's lock for a deployment. Err: who holds it.
    pub(crate) fn lock(
        &self,
        service: &ServiceName,
        deployment: &DeploymentId,
    ) -> Result<ServiceLock, Failure> {
        let path = self.lock_path(service);
        let told = || format!("cannot use the lock {}", path.display());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let mut file = file.with_context(told)?;
        for attempt in 0.. {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if attempt >= LOCK_ATTEMPTS => {
                    return Err(held(service, self.holder(service).as_ref()));
                }
                // Somebody may just be looking whether it is held.
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => {
                    return Err(anyhow::Error::new(error).context(told()).into());
                }
            }
        }
        let holder = Holder {
            deployment: deployment.clone(),
            pid: std::process::id(),
            host: host(),
            since: crate::clock::date_time(crate::clock::now()),
        };
        let text = serde_json::to_string(&holder).context("holder")?;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .with_context(told)?;
        Ok(ServiceLock { _file: file })
    }

    /// Returns who holds a service's lock at this moment.
    pub(crate) fn holder(&self, service: &ServiceName) -> Option<Holder> {
        let mut file = File::open(self.lock_path(service)).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {}
            Ok(()) | Err(TryLockError::Error(_)) => return None,
        }
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    // ---- journals ----------------------------------------------------------------------------------------------

    /// Returns every deployment, oldest first, and the journals that cannot be read.
    pub(crate) fn all(&self) -> (Vec<Past>, Vec<anyhow::Error>) {
        let mut good = Vec::new();
        let mut bad = Vec::new();
        for path in self.journals() {
            match past(&path) {
                Ok(past) => good.push(past),
                Err(error) => bad.push(error),
            }
        }
        sort(&mut good);
        (good, bad)
    }

    /// Returns the deployments that may still go on, oldest first. However long the history is, of what is over only the
    /// last line is read: a rollback waits for this.
    pub(crate) fn open_ones(&self) -> Vec<Past> {
        let is_over = |path: &Path| {
            journal_file::outcome_at_end(path)
                .as_ref()
                .is_some_and(is_final)
        };
        let rest = self.journals().into_iter().filter(|path| !is_over(path));
        let mut open: Vec<Past> = rest.filter_map(|path| past(&path).ok()).collect();
        open.retain(Past::is_open);
        sort(&mut open);
        open
    }

    fn journals(&self) -> Vec<PathBuf> {
        let folder = self.root.join("deployments");
        let files = fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "journal"));
        paths
    }

    /// Returns a service's deployments, oldest first.
    pub(crate) fn of_service(&self, service: &ServiceName) -> Vec<Past> {
        self.all()
            .0
            .into_iter()
            .filter(|past| past.plan.service == *service)
            .collect()
    }

    /// Returns the deployment of a service that has not ended, if there is one.
    pub(crate) fn open_of(&self, service: &ServiceName) -> Option<Past> {
        let mut open = self.open_ones().into_iter().rev();
        open.find(|past| past.plan.service == *service)
    }

    pub(crate) fn find(&self, deployment: &DeploymentId) -> Result<Past, Failure> {
        let path = self.journal(deployment);
        if !path.exists() {
            return Err(Failure::new(
                Exit::Invalid,
                format!("there is no deployment `{deployment}`"),
            )
            .hint("`teal history` lists them"));
        }
        Ok(past(&path)?)
    }

    // ---- letters -----------------------------------------------------------------------------------------------

    /// Puts a command into a deployment's letter box. Returns the letter, which is gone once it has been taken.
    pub(crate) fn post(&self, deployment: &DeploymentId, command: &Command) -> Result<PathBuf> {
        let folder = self.letter_box(deployment);
        fs::create_dir_all(&folder)?;
        let name = format!("{:020}-{}", crate::clock::now().0, std::process::id());
        let (draft, letter) = (
            folder.join(format!("{name}.draft")),
            folder.join(format!("{name}.json")),
        );
        fs::write(&draft, serde_json::to_vec(command)?)?;
        fs::rename(&draft, &letter)?;
        Ok(letter)
    }

    /// Returns the commands in a deployment's letter box, oldest first; each is to be removed once it is journaled.
    pub(crate) fn letters(&self, deployment: &DeploymentId) -> Vec<(PathBuf, Command)> {
        let Ok(folder) = fs::read_dir(self.letter_box(deployment)) else {
            return Vec::new();
        };
        let mut paths: Vec<_> = folder.flatten().map(|file| file.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "json"));
        paths.sort();
        let read = |path: PathBuf| {
            let command = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
            Some((path, command))
        };
        paths.into_iter().filter_map(read).collect()
    }

    /// Removes a letter box that is not needed any more.
    pub(crate) fn remove_letter_box(&self, deployment: &DeploymentId) {
        drop(fs::remove_dir_all(self.letter_box(deployment)));
    }
}

/// Whether nothing goes on from it.
fn is_final(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Completed | Outcome::RolledBack { .. } => true,
        Outcome::Stuck { .. } => false,
    }
}

fn sort(deployments: &mut [Past]) {
    deployments.sort_by_key(|past| (past.plan.made_at, past.plan.deployment.clone()));
}

fn past(path: &Path) -> Result<Past> {
    let entries = journal_file::read(path)?;
    let (plan, state) = State::replay(&entries).with_context(|| path.display().to_string())?;
    Ok(Past {
        path: path.to_owned(),
        entries,
        plan,
        state,
    })
}

fn held(service: &ServiceName, holder: Option<&Holder>) -> Failure {
    let who = holder.map_or_else(
        || "another teal".to_owned(),
        |holder| {
            format!(
                "deployment {} (process {} on {}, since {})",
                holder.deployment, holder.pid, holder.host, holder.since
            )
        },
    );
    Failure::new(
        Exit::Locked,
        format!("{service} is locked by {who}; nothing was changed"),
    )
    .hint(format!(
        "`teal watch {service}` shows it; `teal rollback {service}` turns it back"
    ))
}

/// Returns this machine's name.
pub(crate) fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}

/// Returns when a journal's last entry of a kind satisfies a test, if any.
pub(crate) fn ended_at(entries: &[Entry]) -> Option<teal_core::Moment> {
    entries
        .iter()
        .rev()
        .find(|entry| matches!(entry.event, Event::Ended { .. }))
        .map(|entry| entry.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal_file::JournalFile;
    use teal_core::Moment;

    fn begin(store: &Store, deployment: &str, service: &str, made_at: u64) -> JournalFile {
        let settings = serde_json::to_value(teal_core::settings::Settings::default()).unwrap();
        let plan = serde_json::json!({
            "deployment": deployment, "service": service, "made_at": made_at, "blue": null,
            "green": { "revision": "/s", "definition": {}, "pending": { "kind": "none" } },
            "pools": [], "target": 1, "floor": 0, "room": 1, "initial": 1, "batch": 1, "atomic_change": true,
            "dead": [], "notes": [], "settings": settings,
        });
        let plan: Plan = serde_json::from_value(plan).unwrap();
        JournalFile::create(&store.journal(&plan.deployment), &plan, Moment(made_at)).unwrap()
    }

    fn end(mut journal: JournalFile, outcome: Outcome) {
        journal
            .write(Moment(100), Event::Ended { outcome })
            .unwrap();
    }

    #[test]
    fn what_has_ended_for_good_is_not_open_and_what_is_stuck_is() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let reason = String::new;
        end(begin(&store, "a", "s", 1), Outcome::Completed);
        end(
            begin(&store, "d", "s", 2),
            Outcome::Stuck { reason: reason() },
        );
        end(
            begin(&store, "b", "s", 3),
            Outcome::RolledBack { reason: reason() },
        );
        begin(&store, "c", "other", 4);

        let open = store.open_ones();

        let names: Vec<&str> = open
            .iter()
            .map(|past| past.plan.deployment.as_str())
            .collect();
        assert_eq!(names, ["d", "c"]);
        let of = |service: &str| {
            store
                .open_of(&service.into())
                .map(|past| past.plan.deployment.to_string())
        };
        assert_eq!(of("s").as_deref(), Some("d"));
        assert_eq!(of("third"), None);
    }
}
