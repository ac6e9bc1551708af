//! Process groups as the system shows them.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::cgroups::Cell;
use super::pidfd::kill_if;
use crate::identity::TaskId;

/// How often a dying group without a leader is looked at.
pub(super) const GROUP_POLL: Duration = Duration::from_millis(20);

/// How long a group may take to vanish after SIGKILL before it is given up as gone.
pub(super) const GROUP_VANISH_LIMIT: Duration = Duration::from_secs(2);

/// All processes of a task: those of its process group, and those in its control groups, where it
/// has any. A process can leave the former but not the latter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Members<'a> {
    /// The id of the group, which is its leader's.
    pub(super) group: u32,
    pub(super) cell: Option<&'a Cell>,
}

impl Members<'_> {
    /// Asks every process to end.
    pub(super) fn terminate(self) {
        signal_group(self.group, Signal::SIGTERM);
        if let Some(cell) = self.cell {
            // Nobody is told twice: some programs take a second signal for impatience.
            cell.terminate(|pid| stat(pid).is_some_and(|stat| stat.group != self.group));
        }
    }

    /// Ends every process at once.
    pub(super) fn kill(self) {
        kill_group(self.group);
        if let Some(cell) = self.cell {
            cell.kill();
        }
    }

    /// Returns whether there is a process that is not a zombie.
    pub(super) fn are_alive(self) -> bool {
        group_is_alive(self.group) || self.cell.is_some_and(Cell::is_populated)
    }
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
fn group_is_alive(group: u32) -> bool {
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
    let Some(ids) = process_ids() else {
        return true;
    };
    let mut stats = ids.into_iter().filter_map(stat);
    stats.any(|stat| stat.group == group && !stat.is_zombie)
}

/// Ends at once every process that carries the id of a task in its environment, and returns whether
/// there was one. It finds what a task left behind although its leader, and with it the certainty
/// whose group that was, is gone.
pub(super) fn kill_task_members(task: &TaskId) -> bool {
    let variable = format!("MESOS_TASK_ID={task}");
    let is_member = |pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mut entries = environment.split(|byte| *byte == 0);
        entries.any(|entry| entry == variable.as_bytes())
    };
    let mut found = false;
    for pid in process_ids().unwrap_or_default() {
        if is_member(pid) {
            found = true;
            kill_if(pid, || is_member(pid));
        }
    }
    found
}

fn process_ids() -> Option<Vec<u32>> {
    let entries = fs::read_dir("/proc").ok()?;
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Some(ids.collect())
}

/// What `/proc/<pid>/stat` says, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) is_zombie: bool,
    group: u32,
    pub(super) start_time: u64,
}

pub(super) fn stat(pid: u32) -> Option<Stat> {
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
    fn groups_that_would_mean_everybody_are_never_signalled() {
        assert_eq!(group_id(0), None);
        assert_eq!(group_id(1), None);
        assert_eq!(group_id(u32::MAX), None);
    }
}
