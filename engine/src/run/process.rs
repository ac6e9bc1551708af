//! Processes as tasks: starts one process group, waits for its end, and ends it when asked to.
//!
//! A process begins as a shell that waits for one line on its standard input. Only when its note is
//! written does it get the line and become the task's command, with the same id and start time. An
//! engine that is killed before leaves an end of file there instead, and the shell goes away: no
//! process ever runs without a note.
//!
//! Only the watcher of a group signals it, and only while its leader is held by a pidfd or has left
//! members that were seen alive since: no signal can hit a stranger that got the same number.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use rustix::process::WaitIdStatus;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until, timeout};

use super::cgroups::{Cell, Cgroups};
use super::group::{GROUP_POLL, GROUP_VANISH_LIMIT, Members, Stat, kill_task_members, stat};
use super::pidfd::PidFd;
use super::user::Identity;
use super::{Fate, Handle, Kills, Launch, Note};
use crate::definition;
use crate::identity::TaskId;
use crate::model::TaskEnd;
use crate::time::Moment;

/// Waits to be let go, and becomes the task.
const PRELUDE: &str = "read -r go && exec \"$@\" </dev/null";

/// The first process of a group: its id is the group's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Leader {
    pid: u32,
    /// In clock ticks since boot: field 22 of `/proc/<pid>/stat` (proc(5)).
    start_time: u64,
    /// Process ids and start times mean something only until the machine is booted again.
    boot_id: String,
    /// The control groups of the task, where it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cell: Option<Cell>,
}

impl Leader {
    /// Returns a process that exists.
    ///
    /// # Errors
    /// It is gone, or `/proc` cannot be read.
    pub(super) fn of(pid: u32, cell: Option<Cell>) -> io::Result<Self> {
        let stat = stat(pid).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            pid,
            start_time: stat.start_time,
            boot_id: boot_id()?,
            cell,
        })
    }

    fn members(&self) -> Members<'_> {
        Members {
            group: self.pid,
            cell: self.cell.as_ref(),
        }
    }

    /// Returns whether the very process runs.
    fn is_alive(&self) -> bool {
        self.stat().is_some_and(|stat| !stat.is_zombie)
    }

    /// Returns what the system shows of the very process, as long as it has not been collected.
    fn stat(&self) -> Option<Stat> {
        let same_boot = boot_id().is_ok_and(|id| id == self.boot_id);
        let stat = stat(self.pid).filter(|_| same_boot)?;
        (stat.start_time == self.start_time).then_some(stat)
    }
}

/// Runs one process group to its end.
pub(super) async fn run(
    launch: &Launch,
    command: &definition::Command,
    (notes, cgroups): (&Path, Option<&Cgroups>),
    kills: Kills,
    started: impl FnOnce(),
) -> TaskEnd {
    let could_not =
        |error: io::Error| TaskEnd::Failed(format!("Command could not be started: {error}"));
    let cell = cgroups.map(|cgroups| cgroups.create(&launch.task, launch.limits));
    let cell = match cell.transpose() {
        Ok(cell) => cell,
        Err(error) => return could_not(error),
    };
    let (process, leader) = match start(launch, command, notes, cell.clone()) {
        Ok(running) => running,
        Err(error) => {
            if let Some(cell) = cell {
                cell.remove().await;
            }
            return could_not(error);
        }
    };
    started();
    watch(&process, &leader, kills).await
}

/// Watches a process group that a former engine started, to its end.
pub(super) async fn adopt(leader: &Leader, task: &TaskId, kills: Kills) -> TaskEnd {
    let process = PidFd::open(leader.pid);
    // Whether it is the very process is asked after it is held.
    let process = process.ok().filter(|_| leader.stat().is_some());
    match process {
        Some(process) => watch(&process, leader, kills).await,
        None => end_without_leader(leader, task).await,
    }
}

/// Returns what became of a process group. Where its leader has gone the rest goes too.
pub(super) async fn fate(leader: &Leader, task: &TaskId) -> Fate {
    if leader.is_alive() {
        return Fate::Runs(None);
    }
    Fate::Ended(end_without_leader(leader, task).await)
}

/// Ends what a leader left behind. Whose its process group is by now is not certain any more, but
/// the control groups are the task's alone, and so is its id in the environment.
async fn end_without_leader(leader: &Leader, task: &TaskId) -> TaskEnd {
    let cell = leader.cell.as_ref();
    let vanish = async {
        cell.inspect(|cell| cell.kill());
        while kill_task_members(task) || cell.is_some_and(Cell::is_populated) {
            tokio::time::sleep(GROUP_POLL).await;
        }
    };
    timeout(GROUP_VANISH_LIMIT, vanish).await.ok();
    let end = blame_memory(unknown_end(), cell);
    if let Some(cell) = cell {
        cell.remove().await;
    }
    end
}

/// Says of a task that failed that its memory was too small, where that is so.
fn blame_memory(end: TaskEnd, cell: Option<&Cell>) -> TaskEnd {
    match (end, cell.and_then(Cell::memory_complaint)) {
        (TaskEnd::Failed(message), Some(complaint)) => {
            TaskEnd::Failed(format!("{complaint}. {message}"))
        }
        (end, _) => end,
    }
}

/// Only the parent of a process learns how it ended, and that was the former engine.
fn unknown_end() -> TaskEnd {
    TaskEnd::Failed(
        "Command ended after the engine that started it was gone: its exit status is unknown"
            .to_owned(),
    )
}

// ---- start -------------------------------------------------------------------------------------

fn start(
    launch: &Launch,
    command: &definition::Command,
    notes: &Path,
    cell: Option<Cell>,
) -> io::Result<(PidFd, Leader)> {
    fs::create_dir_all(&launch.sandbox)?;
    let words = words(launch, command)?;
    let (pid, gate) = spawn(launch, &words)?;
    let process = PidFd::open(pid)?;
    if let Some(cell) = &cell {
        cell.join(pid)?;
    }
    let leader = Leader::of(pid, cell)?;
    let note = Note {
        task: launch.task.clone(),
        started_at: Moment::now().stamp,
        kill_grace_seconds: launch.kill_grace.as_secs(),
        handle: Handle::Process(leader.clone()),
        told_to_end_at: None,
        end: None,
    };
    note.write(notes)?;
    let_go(gate)?;
    Ok((process, leader))
}

/// Returns the program and its arguments.
fn words(launch: &Launch, command: &definition::Command) -> io::Result<Vec<String>> {
    match command {
        definition::Command::Shell(line) => {
            Ok(vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()])
        }
        definition::Command::Arguments(words) => {
            let program = words.first().ok_or(io::ErrorKind::InvalidInput)?;
            find_program(program, launch)?;
            Ok(words.clone())
        }
        definition::Command::OfImage => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Looks for a program as execvp(3) would, so that a missing one is told apart from one that fails.
fn find_program(program: &str, launch: &Launch) -> io::Result<()> {
    let search_path = launch.environment.get("PATH").map_or("", String::as_str);
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![launch.sandbox.join(program)]
    } else {
        let folders = search_path.split(':');
        folders
            .map(|folder| launch.sandbox.join(folder).join(program))
            .collect()
    };
    let mut error = Errno::ENOENT;
    for candidate in candidates {
        if let Ok(file) = fs::metadata(candidate)
            && file.is_file()
        {
            if file.permissions().mode() & 0o111 != 0 {
                return Ok(());
            }
            error = Errno::EACCES;
        }
    }
    Err(io::Error::other(format!("{program}: {}", error.desc())))
}

/// Starts the shell that waits to be let go.
fn spawn(launch: &Launch, words: &[String]) -> io::Result<(u32, ChildStdin)> {
    let user = launch.user.as_deref().map(Identity::of).transpose()?;
    let user = user.flatten();
    let owner = user.as_ref();
    let output = |name: &str| -> io::Result<File> {
        let path = launch.sandbox.join(name);
        OpenOptions::new().create(true).append(true).open(path)
    };
    let (stdout, stderr) = (output("stdout")?, output("stderr")?);
    if let Some(owner) = owner {
        hand_over(&launch.sandbox, owner)?;
    }
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", PRELUDE, "sh"])
        .args(words)
        .env_clear()
        .envs(&launch.environment)
        .current_dir(&launch.sandbox)
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0);
    let child = match owner {
        None => command.spawn(),
        Some(user) => user.spawn(&mut command).map_err(|error| {
            let sandbox = launch.sandbox.display();
            io::Error::other(format!(
                "{error} (the user must be able to reach {sandbox}: every folder above it needs \
                 permission to pass)"
            ))
        }),
    };
    let mut child = child?;
    let gate = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    // It is waited for through its pidfd, so the handle is of no further use.
    Ok((child.id(), gate))
}

/// Makes somebody the owner of a sandbox and of everything in it. Nothing runs in there yet that
/// could put something else in a file's place.
fn hand_over(path: &Path, owner: &Identity) -> io::Result<()> {
    lchown(path, Some(owner.uid), Some(owner.gid))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            hand_over(&entry?.path(), owner)?;
        }
    }
    Ok(())
}

fn let_go(mut gate: ChildStdin) -> io::Result<()> {
    gate.write_all(b"go\n")
}

fn boot_id() -> io::Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}

// ---- end ---------------------------------------------------------------------------------------

/// Waits for the leader's end and ends what is left of the task.
async fn watch(process: &PidFd, leader: &Leader, mut kills: Kills) -> TaskEnd {
    let members = leader.members();
    let (status, kill_at) = wait_for_leader(process, members, &mut kills).await;
    end_rest(members, kill_at).await;
    let end = match status {
        Ok(Some(status)) => describe(&status),
        Ok(None) => unknown_end(),
        Err(error) => TaskEnd::Failed(format!("Command could not be waited for: {error}")),
    };
    let end = blame_memory(end, members.cell);
    if let Some(cell) = members.cell {
        cell.remove().await;
    }
    end
}

/// Waits for the leader's exit and returns when the rest must be gone, where a kill was ordered.
async fn wait_for_leader(
    process: &PidFd,
    members: Members<'_>,
    kills: &mut Kills,
) -> (io::Result<Option<WaitIdStatus>>, Option<Instant>) {
    let grace = tokio::select! {
        status = process.exit() => return (status, None),
        // A closed channel is no order: the engine has let go of the task and is about to drop this.
        Some(grace) = kills.recv() => grace,
    };
    members.terminate();
    let kill_at = Instant::now() + grace;
    let status = tokio::select! {
        status = process.exit() => status,
        () = sleep_until(kill_at) => {
            members.kill();
            process.exit().await
        }
    };
    (status, Some(kill_at))
}

/// Ends what is left of a task whose leader has exited.
///
/// After an ordered kill the others keep what is left of their grace period: a shell often dies at
/// once while the server it started still drains. Otherwise they are killed, as Mesos does.
async fn end_rest(members: Members<'_>, kill_at: Option<Instant>) {
    if let Some(kill_at) = kill_at {
        while members.are_alive() && Instant::now() < kill_at {
            tokio::time::sleep(GROUP_POLL).await;
        }
    }
    if !members.are_alive() {
        return;
    }
    members.kill();
    let vanish = async {
        while members.are_alive() {
            tokio::time::sleep(GROUP_POLL).await;
        }
    };
    timeout(GROUP_VANISH_LIMIT, vanish).await.ok();
}

fn describe(status: &WaitIdStatus) -> TaskEnd {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => TaskEnd::Finished,
        (Some(code), _) => TaskEnd::Failed(format!("Command exited with status {code}")),
        (None, Some(number)) => {
            let name = Signal::try_from(number).map_or("unknown", Signal::as_str);
            TaskEnd::Failed(format!("Command terminated with signal {name}"))
        }
        (None, None) => TaskEnd::Failed("Command ended without a status".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_the_very_process_of_this_boot_or_none() {
        let me = Leader::of(std::process::id(), None).expect("we run");
        let later = Leader {
            start_time: me.start_time + 1,
            ..me.clone()
        };
        let earlier_boot = Leader {
            boot_id: "another".to_owned(),
            ..me.clone()
        };

        assert!(me.is_alive());
        assert!(!later.is_alive());
        assert!(!earlier_boot.is_alive());
    }
}
