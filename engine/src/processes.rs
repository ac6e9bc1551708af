//! Process groups as the system shows them, and the notes that outlive the engine.
//!
//! For every running task one small file says which process leads its group. An engine that starts
//! again finds what a killed engine left behind and ends it: nothing is adopted yet, but nothing is
//! left running either. A process counts as ours only when its id *and* its start time match.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::identity::TaskId;

/// How often a dying group without a leader is looked at.
pub(crate) const GROUP_POLL: Duration = Duration::from_millis(20);

/// How long a group may take to vanish after SIGKILL before it is given up as gone.
pub(crate) const GROUP_VANISH_LIMIT: Duration = Duration::from_secs(2);

/// What is written down about a running task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Note {
    pub(crate) task_id: String,
    pub(crate) pid: u32,
    /// In clock ticks since boot: field 22 of `/proc/<pid>/stat` (proc(5)).
    pub(crate) start_time: u64,
    pub(crate) kill_grace_seconds: u64,
}

impl Note {
    /// Returns the note of a process that has just been started.
    pub(crate) fn of(task: &TaskId, pid: u32, kill_grace: Duration) -> Option<Self> {
        Some(Self {
            task_id: task.to_string(),
            pid,
            start_time: stat(pid)?.start_time,
            kill_grace_seconds: kill_grace.as_secs(),
        })
    }

    /// Writes the note into a folder.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        let text = serde_json::to_string(self)?;
        fs::write(Self::path(folder, &self.task_id), text)
    }

    /// Returns where the note of a task is.
    pub(crate) fn path(folder: &Path, task: &str) -> PathBuf {
        folder.join(format!("{task}.json"))
    }

    fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.start_time == self.start_time && !stat.is_zombie)
    }
}

/// Ends every process group that a former engine left running and returns the tasks' ids.
///
/// This blocks for as long as the strays take, at most their longest grace period and a little.
///
/// # Errors
/// The folder of notes cannot be read, or a note cannot be removed.
pub(crate) fn end_strays(folder: &Path) -> io::Result<Vec<String>> {
    let mut strays = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let note: Option<Note> = fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(note) = note.filter(Note::is_alive) {
            strays.push(note);
        }
        fs::remove_file(path)?;
    }
    let began = Instant::now();
    for stray in &strays {
        terminate_group(stray.pid);
    }
    for stray in &strays {
        let grace = Duration::from_secs(stray.kill_grace_seconds);
        while group_is_alive(stray.pid) && began.elapsed() < grace {
            std::thread::sleep(GROUP_POLL);
        }
        kill_group(stray.pid);
    }
    Ok(strays.into_iter().map(|stray| stray.task_id).collect())
}

/// Asks every process of a group to end.
pub(crate) fn terminate_group(group: u32) {
    signal_group(group, Signal::SIGTERM);
}

/// Ends every process of a group at once.
pub(crate) fn kill_group(group: u32) {
    signal_group(group, Signal::SIGKILL);
}

/// A group that is gone already is what was wanted, so errors are of no interest.
fn signal_group(group: u32, signal: Signal) {
    if let Some(group) = group_id(group) {
        killpg(group, signal).ok();
    }
}

/// Returns whether a group has a process that is not a zombie.
pub(crate) fn group_is_alive(group: u32) -> bool {
    let Some(id) = group_id(group) else {
        return false;
    };
    // A zombie whose parent does not collect it still counts for kill(2), so /proc has the last word.
    killpg(id, None).is_ok() && has_living_member(group)
}

fn group_id(group: u32) -> Option<Pid> {
    // 0 and 1 would mean our own group and everybody.
    i32::try_from(group)
        .ok()
        .filter(|id| *id > 1)
        .map(Pid::from_raw)
}

fn has_living_member(group: u32) -> bool {
    let Ok(entries) = fs::read_dir("/proc") else {
        return true;
    };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter_map(stat)
        .any(|stat| stat.group == group && !stat.is_zombie)
}

/// What `/proc/<pid>/stat` says, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    is_zombie: bool,
    group: u32,
    start_time: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads fields 3, 5 and 22 of proc(5)'s `stat`; the name before them may hold anything.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        is_zombie: *fields.first()? == "Z",
        group: fields.get(2)?.parse().ok()?,
        start_time: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_process_is_called() {
        let line = "42 (a) Z (b)) S 1 40 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 0 0";

        assert_eq!(
            parse_stat(line),
            Some(Stat {
                is_zombie: false,
                group: 40,
                start_time: 98765
            })
        );
    }

    #[test]
    fn a_note_matches_only_the_very_process() {
        let me = std::process::id();
        let start_time = stat(me).expect("we run").start_time;
        let note = |start_time| Note {
            task_id: "a.b".to_owned(),
            pid: me,
            start_time,
            kill_grace_seconds: 1,
        };

        assert!(note(start_time).is_alive());
        assert!(!note(start_time + 1).is_alive());
    }

    #[test]
    fn groups_that_would_mean_everybody_are_never_signalled() {
        assert_eq!(group_id(0), None);
        assert_eq!(group_id(1), None);
        assert_eq!(group_id(u32::MAX), None);
    }
}
