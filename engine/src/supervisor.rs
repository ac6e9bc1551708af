//! Starts one process group, waits for its end, and ends it when asked to.
//!
//! Only the supervisor of a group signals it, and only while it has not collected the leader or has
//! seen the group alive since: no signal can hit a stranger that got the same number.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use std::os::unix::process::ExitStatusExt;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::definition;
use crate::model::TaskEnd;
use crate::processes::{
    GROUP_POLL, GROUP_VANISH_LIMIT, Note, group_is_alive, kill_group, terminate_group,
};
use crate::world::Launch;

/// Runs one task to its end. `started` is called once its process runs; kill orders carry the grace
/// period and only the first one counts.
///
/// Returns when nothing of the process group is left.
pub(crate) async fn supervise(
    launch: Launch,
    notes: &Path,
    mut kills: mpsc::UnboundedReceiver<Duration>,
    started: impl FnOnce(),
) -> TaskEnd {
    let mut child = match start(&launch) {
        Ok(child) => child,
        Err(error) => return TaskEnd::Failed(format!("Command could not be started: {error}")),
    };
    let Some(group) = child.id() else {
        return TaskEnd::Failed("Command ended before it could be watched".to_owned());
    };
    if let Some(note) = Note::of(&launch.task, group, launch.kill_grace) {
        note.write(notes).ok();
    }
    started();
    let (status, kill_at) = wait_for_leader(&mut child, group, &mut kills).await;
    end_group(group, kill_at).await;
    fs::remove_file(Note::path(notes, launch.task.as_str())).ok();
    match status {
        Ok(status) => describe(status),
        Err(error) => TaskEnd::Failed(format!("Command could not be waited for: {error}")),
    }
}

fn start(launch: &Launch) -> io::Result<Child> {
    fs::create_dir_all(&launch.sandbox)?;
    let output = |name: &str| -> io::Result<File> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(launch.sandbox.join(name))
    };
    let mut command = match &launch.command {
        definition::Command::Shell(line) => {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", line]);
            command
        }
        definition::Command::Arguments(words) => {
            let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
            let mut command = Command::new(program);
            command.args(arguments);
            command
        }
    };
    command
        .env_clear()
        .envs(&launch.environment)
        .current_dir(&launch.sandbox)
        .stdin(Stdio::null())
        .stdout(output("stdout")?)
        .stderr(output("stderr")?)
        .process_group(0)
        .spawn()
}

/// Waits for the leader's exit and returns when the rest of its group must be gone, where a kill
/// was ordered.
async fn wait_for_leader(
    child: &mut Child,
    group: u32,
    kills: &mut mpsc::UnboundedReceiver<Duration>,
) -> (io::Result<ExitStatus>, Option<Instant>) {
    let grace = tokio::select! {
        status = child.wait() => return (status, None),
        grace = kills.recv() => grace.unwrap_or_default(),
    };
    terminate_group(group);
    let kill_at = Instant::now() + grace;
    let status = tokio::select! {
        status = child.wait() => status,
        () = sleep_until(kill_at) => {
            kill_group(group);
            child.wait().await
        }
    };
    (status, Some(kill_at))
}

/// Ends what is left of a group whose leader has exited.
///
/// After an ordered kill the others keep what is left of their grace period: a shell often dies at
/// once while the server it started still drains. Otherwise they are killed, as Mesos does.
async fn end_group(group: u32, kill_at: Option<Instant>) {
    if let Some(kill_at) = kill_at {
        while group_is_alive(group) && Instant::now() < kill_at {
            tokio::time::sleep(GROUP_POLL).await;
        }
    }
    if !group_is_alive(group) {
        return;
    }
    kill_group(group);
    let vanish = async {
        while group_is_alive(group) {
            tokio::time::sleep(GROUP_POLL).await;
        }
    };
    timeout(GROUP_VANISH_LIMIT, vanish).await.ok();
}

fn describe(status: ExitStatus) -> TaskEnd {
    if status.success() {
        return TaskEnd::Finished;
    }
    let message = match (status.code(), status.signal()) {
        (Some(code), _) => format!("Command exited with status {code}"),
        (None, Some(number)) => {
            let name = Signal::try_from(number).map_or("unknown", Signal::as_str);
            format!("Command terminated with signal {name}")
        }
        (None, None) => "Command ended without a status".to_owned(),
    };
    TaskEnd::Failed(message)
}
