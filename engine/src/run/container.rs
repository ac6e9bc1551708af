//! Containers as tasks, through the Docker Engine API.
//!
//! A container carries the id of its task in its name and in a label, and the identity of the
//! engine in another. Its note is written before it is created, so none ever runs without one, and
//! the daemon keeps how it ended: an engine that starts again learns it. What is left over without a
//! note is found by the engine's label ([`Containers::remove_strays`]).

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::output::{self, Destination};
use super::pidfd::kill_if;
use super::wish::Wish;
use super::{Fate, Handle, Kills, Launch, Note};
use crate::docker::{Docker, DockerError, Inspected, container_body, reach};
use crate::identity::TaskId;
use crate::model::{Addresses, TaskEnd};
use crate::probe::Answer;
use crate::time::Moment;

/// The labels by which an engine knows its containers.
pub(super) const ENGINE_LABEL: &str = "teal.engine";
pub(super) const TASK_LABEL: &str = "teal.task";

/// How long to wait before a daemon that does not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// How long an engine that starts waits for a daemon to say what became of one container.
const FATE_LIMIT: Duration = Duration::from_secs(5);

/// How long the last output of an ended container may take to arrive.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(10);

/// How often a container that cannot be removed is tried again.
const REMOVE_ATTEMPTS: u32 = 3;

/// How this engine runs containers.
#[derive(Debug, Clone)]
pub(crate) struct Containers {
    /// Where the daemon's socket may be, in order.
    pub(crate) sockets: Vec<PathBuf>,
    /// Tells this engine's containers from those of others.
    pub(crate) engine: String,
    /// The address of the machine on which mapped ports listen.
    pub(crate) publish_on: IpAddr,
    /// Whether `cpus` is a limit, or only a share where processors are short.
    pub(crate) cpus_are_a_limit: bool,
    /// The folder with the positions up to which output was copied.
    pub(crate) positions: PathBuf,
    /// Why running containers cannot be watched at the moment, where that is so.
    pub(crate) trouble: Arc<watch::Sender<Option<String>>>,
}

/// How a container is found again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Named {
    pub(super) name: String,
    pub(super) sandbox: PathBuf,
}

impl Containers {
    /// Returns the daemon, which is looked for anew every time: it may come and go.
    pub(super) async fn daemon(&self) -> Result<Docker, DockerError> {
        Docker::connect(&self.sockets).await
    }

    /// Says why no daemon can be talked to, where that is so. It is asked no question, so this does
    /// not wait.
    pub(crate) fn obstacle(&self) -> Option<String> {
        let error = reach(&self.sockets).err();
        error.map(|error| error.to_string())
    }

    /// Removes the containers of this engine that no note is about, and returns their names. Where
    /// no daemon answers there are none to be seen.
    pub(super) async fn remove_strays(&self, is_noted: impl Fn(&str) -> bool) -> Vec<String> {
        let Ok(docker) = self.daemon().await else {
            return Vec::new();
        };
        let listed = docker.list(ENGINE_LABEL, &self.engine).await;
        let mut removed = Vec::new();
        for container in listed.unwrap_or_default() {
            let task = container.labels.get(TASK_LABEL).cloned();
            let Some(task) = task.filter(|task| !is_noted(task)) else {
                continue;
            };
            if docker.remove(&container.id).await.is_ok() {
                removed.push(task);
            }
        }
        removed
    }

    /// Runs a program in a task's container and says how it ended.
    pub(super) async fn probe(&self, task: &TaskId, words: &[String], limit: Duration) -> Answer {
        let prepared = async {
            let docker = self.daemon().await?;
            let exec = docker.prepare_exec(&name_of(task), words).await?;
            Ok::<(Docker, String), DockerError>((docker, exec))
        };
        let (docker, exec) = match timeout(limit, prepared).await {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(error)) => return Answer::Nothing(error.to_string()),
            Err(_) => return Answer::silence(limit),
        };
        match timeout(limit, docker.run_exec(&exec)).await {
            Ok(Ok(status)) => Answer::Ended {
                code: i32::try_from(status).ok(),
                text: format!("exit status: {status}"),
            },
            Ok(Err(error)) => Answer::Nothing(error.to_string()),
            Err(_) => {
                end_exec(&docker, &exec).await;
                Answer::silence(limit)
            }
        }
    }

    /// Keeps in mind whether the daemon answers those who watch containers.
    fn note_trouble(&self, error: Option<&DockerError>) {
        self.trouble.send_if_modified(|trouble| {
            let is_news = trouble.is_some() != error.is_some();
            if is_news {
                *trouble = error.map(ToString::to_string);
            }
            is_news
        });
    }

    fn destination(&self, named: &Named) -> Destination {
        Destination {
            sandbox: named.sandbox.clone(),
            position: self.positions.join(&named.name),
        }
    }
}

/// Ends a command inside a container that took too long. The API cannot do it, so its process is
/// killed, if it is still one of that container's.
async fn end_exec(docker: &Docker, exec: &str) {
    let Ok(Some((pid, container))) = docker.exec_process(exec).await else {
        return;
    };
    let is_inside = || {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup"));
        cgroups.is_ok_and(|cgroups| !container.is_empty() && cgroups.contains(&container))
    };
    kill_if(pid, is_inside);
}

/// Returns the name of a task's container.
pub(super) fn name_of(task: &TaskId) -> String {
    format!("teal-{task}")
}

/// Runs one container to its end. Everything up to its start is staging: getting the image, creating
/// it, starting it.
pub(super) async fn run(
    containers: &Containers,
    launch: &Launch,
    wish: &Wish,
    notes: &Path,
    mut kills: Kills,
    started: impl FnOnce(Addresses),
) -> TaskEnd {
    let named = Named {
        name: name_of(&launch.task),
        sandbox: launch.sandbox.clone(),
    };
    let image = tokio::select! {
        image = get_image(containers, wish) => image,
        _ = kills.recv() => Err("Container was killed before it was created".to_owned()),
    };
    // From here on there is something to be cleaned up, so nothing is given up half-way.
    let begun = match image {
        Ok(()) => begin(containers, launch, wish, &named, notes).await,
        Err(problem) => return TaskEnd::Failed(problem),
    };
    match begun {
        Ok(inspected) => {
            started(addresses(&inspected));
            watch(containers, &named, kills).await
        }
        Err(problem) => {
            remove(containers, &named).await;
            TaskEnd::Failed(problem)
        }
    }
}

/// Watches a container that a former engine started, to its end.
pub(super) async fn adopt(containers: &Containers, named: &Named, kills: Kills) -> TaskEnd {
    watch(containers, named, kills).await
}

/// Returns what became of a container. One that has ended is collected; one that the daemon cannot
/// be asked about counts as running, and whoever adopts it goes on asking.
pub(super) async fn fate(containers: &Containers, named: &Named) -> Fate {
    let asked = async {
        let docker = containers.daemon().await?;
        docker.inspect(&named.name).await
    };
    let Ok(inspected) = timeout(FATE_LIMIT, asked).await else {
        return Fate::Runs(None);
    };
    match inspected {
        Ok(inspected) if inspected.is_unstarted() => {
            remove(containers, named).await;
            Fate::Ended(TaskEnd::Failed(
                "Container was never started: the engine that created it was gone".to_owned(),
            ))
        }
        Ok(inspected) if !inspected.state.running => {
            let destination = containers.destination(named);
            let copy = output::follow(containers, &named.name, &destination);
            timeout(LAST_WORDS_LIMIT, copy).await.ok();
            remove(containers, named).await;
            Fate::Ended(end_of(&inspected))
        }
        Err(DockerError::Missing(_)) => Fate::Ended(gone()),
        Ok(inspected) => Fate::Runs(Some(addresses(&inspected))),
        Err(_) => Fate::Runs(None),
    }
}

fn addresses(inspected: &Inspected) -> Addresses {
    Addresses {
        v4: inspected.address_v4(),
        v6: inspected.address_v6(),
    }
}

// ---- start -------------------------------------------------------------------------------------

/// Sees to it that the image is there.
async fn get_image(containers: &Containers, wish: &Wish) -> Result<(), String> {
    let image = &wish.image.name;
    let got = async {
        let docker = containers.daemon().await?;
        if wish.image.force_pull || !docker.has_image(image).await? {
            docker.pull(image).await?;
        }
        Ok::<(), DockerError>(())
    };
    got.await
        .map_err(|error| format!("Image {image} could not be had: {error}"))
}

async fn begin(
    containers: &Containers,
    launch: &Launch,
    wish: &Wish,
    named: &Named,
    notes: &Path,
) -> Result<Inspected, String> {
    let could_not = |error: DockerError| format!("Container could not be started: {error}");
    let spec = wish.spec(containers, launch);
    let body = container_body(&spec).map_err(|error| format!("Container is refused: {error}"))?;
    let note = Note {
        task: launch.task.clone(),
        started_at: Moment::now().stamp,
        kill_grace_seconds: launch.kill_grace.as_secs(),
        handle: Handle::Container(named.clone()),
        told_to_end_at: None,
        end: None,
    };
    fs::create_dir_all(&launch.sandbox)
        .and_then(|()| note.write(notes))
        .map_err(|error| format!("Container could not be started: {error}"))?;
    let docker = containers.daemon().await.map_err(could_not)?;
    let created = docker.create(&named.name, &body).await;
    if let Err(error) = created {
        // An answer may be lost; the name says whether it was done.
        let there = docker.inspect(&named.name).await.ok();
        let is_ours = |there: &Inspected| there.label(TASK_LABEL) == Some(launch.task.as_str());
        there.filter(is_ours).ok_or_else(|| could_not(error))?;
    }
    docker.start(&named.name).await.map_err(could_not)?;
    docker.inspect(&named.name).await.map_err(could_not)
}

// ---- watch -------------------------------------------------------------------------------------

/// Waits for the end of a container, ends it when ordered to, and cleans up behind it.
async fn watch(containers: &Containers, named: &Named, mut kills: Kills) -> TaskEnd {
    // It ends with this watch, whatever ends that.
    let mut copy = JoinSet::new();
    let (follower, followed) = (containers.clone(), named.clone());
    copy.spawn(async move {
        let destination = follower.destination(&followed);
        output::follow(&follower, &followed.name, &destination).await;
    });
    let ended = wait(containers, named);
    tokio::pin!(ended);
    let inspected = tokio::select! {
        inspected = &mut ended => inspected,
        Some(grace) = kills.recv() => {
            let (inspected, ()) = tokio::join!(ended, stop(containers, named, grace));
            inspected
        }
    };
    timeout(LAST_WORDS_LIMIT, copy.join_next()).await.ok();
    remove(containers, named).await;
    inspected.map_or_else(gone, |inspected| end_of(&inspected))
}

/// Waits until a container has ended and returns how, or nothing where it vanished. A daemon that
/// does not answer is asked again, for as long as it takes: only it knows.
async fn wait(containers: &Containers, named: &Named) -> Option<Inspected> {
    loop {
        let ended = async {
            let docker = containers.daemon().await?;
            containers.note_trouble(None);
            docker.wait(&named.name).await?;
            docker.inspect(&named.name).await
        };
        let ended = ended.await;
        match &ended {
            Ok(_) | Err(DockerError::Missing(_)) => containers.note_trouble(None),
            Err(error) => containers.note_trouble(Some(error)),
        }
        match ended {
            Ok(inspected) if !inspected.state.running => return Some(inspected),
            Err(DockerError::Missing(_)) => return None,
            Ok(_) | Err(_) => sleep(RETRY).await,
        }
    }
}

/// Ends a container: the signal, the grace period, the end. Goes on until the daemon has done it.
async fn stop(containers: &Containers, named: &Named, grace: Duration) {
    loop {
        let stopped = match containers.daemon().await {
            Ok(docker) => docker.stop(&named.name, grace).await,
            Err(error) => Err(error),
        };
        match stopped {
            Ok(()) | Err(DockerError::Missing(_)) => return,
            Err(_) => sleep(RETRY).await,
        }
    }
}

/// Removes a container, what it left in anonymous volumes, and the position of its output.
///
/// Where the daemon cannot do it the next engine does ([`Containers::remove_strays`]).
async fn remove(containers: &Containers, named: &Named) {
    for _ in 0..REMOVE_ATTEMPTS {
        let removed = match containers.daemon().await {
            Ok(docker) => docker.remove(&named.name).await,
            Err(error) => Err(error),
        };
        if removed.is_ok() {
            break;
        }
        sleep(RETRY).await;
    }
    fs::remove_file(containers.destination(named).position).ok();
}

fn gone() -> TaskEnd {
    TaskEnd::Failed(
        "Container is not there, and the engine did not remove it: its exit status is unknown"
            .to_owned(),
    )
}

/// Says how a container ended, in the words of Mesos' Docker executor (`src/docker/executor.cpp`).
fn end_of(inspected: &Inspected) -> TaskEnd {
    const MEBIBYTE: i64 = 1 << 20;
    let state = &inspected.state;
    let status = state.exit_code;
    if status == 0 && state.error.is_empty() {
        return TaskEnd::Finished;
    }
    if state.oom_killed {
        return TaskEnd::Failed(format!(
            "Container ran out of memory and was killed: it may use {} MiB (exited with status \
             {status})",
            inspected.memory_limit() / MEBIBYTE
        ));
    }
    let why = if state.error.is_empty() {
        String::new()
    } else {
        format!(": {}", state.error)
    };
    TaskEnd::Failed(format!("Container exited with status {status}{why}"))
}
