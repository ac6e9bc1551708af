//! What stands in for marathon-lb where nobody deploys with teal: HAProxy, whose configuration is written anew from
//! Marathon's tasks whenever they change, and reloaded.
//!
//! It knows what such a program can know: which tasks run and pass their checks. It looks every [`PAUSE`] and reloads at
//! once, which is faster than such programs do it, and its configuration is the one that teal prints, without slots.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::ask::{ask, free_address};
use crate::haproxy;
use crate::process::Process;
use crate::site::{SERVICE, Site};

const PAUSE: Duration = Duration::from_millis(50);

/// A HAProxy that follows an app's tasks until it is dropped.
#[derive(Debug)]
pub(crate) struct Follower {
    /// Where the service is reached.
    pub(crate) listen: SocketAddr,
    serving: Arc<AtomicUsize>,
    reloads: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _haproxy: Process,
}

/// What the thread needs.
struct Watch {
    engine: SocketAddr,
    folder: PathBuf,
    /// The configuration, without servers.
    head: String,
    master: Pid,
    serving: Arc<AtomicUsize>,
    reloads: Arc<AtomicUsize>,
}

impl Follower {
    /// Starts HAProxy before a place, and follows the app of the service's name there.
    ///
    /// # Errors
    ///
    /// If HAProxy does not start.
    pub(crate) fn start(site: &Site) -> anyhow::Result<Self> {
        let listen = free_address()?;
        let folder = site.folder.clone();
        let printed = haproxy::printed(&site.teal, &folder, listen, 1)?;
        let lost = ["server-template", "load-server-state", "server-state-file"];
        let is_kept = |line: &&str| !lost.iter().any(|word| line.trim_start().starts_with(word));
        let head: String = printed
            .lines()
            .filter(is_kept)
            .flat_map(|line| [line, "\n"])
            .collect();
        let haproxy = haproxy::start(&folder, &head)?;
        let (serving, reloads) = (Arc::default(), Arc::default());
        let watch = Watch {
            engine: site.engine,
            folder,
            head,
            master: Pid::from_raw(i32::try_from(haproxy.id())?),
            serving: Arc::clone(&serving),
            reloads: Arc::clone(&reloads),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || watch.run(&stop)
        });
        Ok(Self {
            listen,
            serving,
            reloads,
            stop,
            thread: Some(thread),
            _haproxy: haproxy,
        })
    }

    /// Returns how many tasks the last configuration has.
    pub(crate) fn serving(&self) -> usize {
        self.serving.load(Ordering::Relaxed)
    }

    /// Returns how often HAProxy was reloaded.
    pub(crate) fn reloads(&self) -> usize {
        self.reloads.load(Ordering::Relaxed)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whether it has panicked does not matter any more.
            thread.join().ok();
        }
    }
}

impl Watch {
    fn run(&self, stop: &AtomicBool) {
        let path = format!("/v2/apps/{SERVICE}/tasks");
        let mut written = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            // While the engine does not answer, what it said last holds.
            if let Ok((200, said)) = ask(self.engine, "GET", &path, "") {
                let servers = servers(&serde_json::from_str(&said).unwrap_or_default());
                if servers != written && self.reload(&servers).is_ok() {
                    self.serving.store(servers.len(), Ordering::Relaxed);
                    written = servers;
                }
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn reload(&self, servers: &[String]) -> anyhow::Result<()> {
        let lines = servers.iter().map(|server| format!("    {server}\n"));
        haproxy::configure(
            &self.folder,
            &format!("{}{}", self.head, lines.collect::<String>()),
        )?;
        // USR2 tells the master to reload.
        kill(self.master, Signal::SIGUSR2)?;
        self.reloads.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Returns a line for every task that runs and passes its checks, in an order that stays.
fn servers(tasks: &Value) -> Vec<String> {
    let all = tasks["tasks"].as_array().into_iter().flatten();
    let well = all.filter(|task| {
        let checks = task["healthCheckResults"].as_array();
        let passes =
            |all: &Vec<Value>| !all.is_empty() && all.iter().all(|one| one["alive"] == true);
        task["state"] == "TASK_RUNNING" && checks.is_some_and(passes)
    });
    let line = |task: &Value| {
        let port = task["ports"][0].as_u64()?;
        Some(format!("server at-{port} 127.0.0.1:{port}"))
    };
    let mut lines: Vec<String> = well.filter_map(line).collect();
    lines.sort();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_task_is_followed_while_it_runs_and_is_well() {
        let task = |port: u16, state: &str, alive: bool| json!({ "ports": [port], "state": state, "healthCheckResults": [{ "alive": alive }] });
        let unchecked = json!({ "ports": [5], "state": "TASK_RUNNING", "healthCheckResults": [] });
        let tasks = json!({ "tasks": [
            task(2, "TASK_RUNNING", true), task(1, "TASK_RUNNING", true),
            task(3, "TASK_RUNNING", false), task(4, "TASK_KILLING", true), unchecked,
        ] });

        assert_eq!(
            servers(&tasks),
            ["server at-1 127.0.0.1:1", "server at-2 127.0.0.1:2"]
        );
    }
}
