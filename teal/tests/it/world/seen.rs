//! What is there: apps, tasks, the pool, processes. Asked of the systems themselves, not of the program.

use super::{World, http};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Everything that a mistaken command must leave as it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Everything {
    apps: BTreeMap<String, Value>,
    pools: BTreeMap<String, Value>,
    processes: BTreeMap<String, u32>,
    journals: usize,
}

impl World {
    /// Returns everything that a mistaken command must leave as it is.
    pub(crate) fn everything(&self) -> Everything {
        let apps = array(&self.ask(&self.marathon, "/v2/apps"), "apps");
        let pools = array(&self.ask(&self.balancer, "/v1/pools"), "pools");
        let app = |app: &Value| (text(app, "id"), app["version"].clone());
        let pool = |pool: &Value| (text(pool, "name"), pool.clone());
        Everything {
            apps: apps.iter().map(app).collect(),
            pools: pools.iter().map(pool).collect(),
            processes: self.processes(),
            journals: super::Journal::all(&self.state()).len(),
        }
    }

    /// Returns the process of every task, by task id.
    pub(crate) fn processes(&self) -> BTreeMap<String, u32> {
        let mut tasks = BTreeMap::new();
        for (process, environment) in environments_of(self.folder.path()) {
            let variables = environment
                .split('\0')
                .filter_map(|line| line.split_once('='));
            let task = variables
                .into_iter()
                .find(|(name, _)| *name == "MESOS_TASK_ID");
            if let Some((_, task)) = task {
                let twice = tasks.insert(task.to_owned(), process);
                assert_eq!(twice, None, "{task} has two processes");
            }
        }
        tasks
    }

    /// Returns the ids of all apps.
    pub(crate) fn apps(&self) -> BTreeSet<String> {
        let apps = array(&self.ask(&self.marathon, "/v2/apps"), "apps");
        apps.iter().map(|app| text(app, "id")).collect()
    }

    /// Returns the address of every task of an app, by task id.
    pub(crate) fn tasks(&self, app: &str) -> BTreeMap<String, String> {
        let answer = self.ask(&self.marathon, &format!("/v2/apps{app}/tasks"));
        let address = |task: &Value| format!("127.0.0.1:{}", task["ports"][0]);
        array(&answer, "tasks")
            .iter()
            .map(|task| (text(task, "id"), address(task)))
            .collect()
    }

    /// Returns the address of every endpoint of the service's pool that gets traffic, by task id.
    pub(crate) fn pool(&self) -> BTreeMap<String, String> {
        let pool = self.ask(&self.balancer, "/v1/pools/oinker");
        let endpoints = array(&pool, "endpoints");
        let serving = endpoints.iter().filter(|one| one["state"] == "serving");
        serving
            .map(|one| (text(one, "instance"), text(one, "address")))
            .collect()
    }

    /// Returns how much is in flight to all endpoints of the service.
    pub(crate) fn in_flight(&self) -> u64 {
        let pool = self.ask(&self.balancer, "/v1/pools/oinker");
        let counts = array(&pool, "endpoints")
            .into_iter()
            .filter_map(|one| one["in_flight"].as_u64());
        counts.sum()
    }

    /// Returns where the service is reached.
    pub(crate) fn listen(&self) -> String {
        text(&self.ask(&self.balancer, "/v1/pools/oinker"), "listen")
    }

    /// Checks that this revision is there with so many instances and serves, and that nothing else is there: no app, no
    /// endpoint, no process.
    pub(crate) fn serves_only(&self, revision: &str, instances: usize) {
        let app = format!("/oinker-{revision}");
        let tasks = self.serves(&app, instances);
        let listed = self.ask(&self.balancer, "/v1/pools/oinker");
        assert_eq!(
            array(&listed, "endpoints").len(),
            instances,
            "the pool: {listed:#}"
        );
        let processes: Vec<_> = self.processes().into_keys().collect();
        assert_eq!(
            processes,
            tasks.into_keys().collect::<Vec<_>>(),
            "the processes"
        );
        let answer = http::get(&self.listen(), "/revision").expect("the service answers");
        assert_eq!(
            (answer.status, answer.header("x-revision")),
            (200, revision)
        );
    }

    /// Checks that this is the only app, that it has so many instances and that exactly they get traffic. Returns their
    /// addresses.
    pub(crate) fn serves(&self, app: &str, instances: usize) -> BTreeMap<String, String> {
        assert_eq!(self.apps(), BTreeSet::from([app.to_owned()]), "the apps");
        let answer = self.ask(&self.marathon, &format!("/v2/apps{app}"));
        for count in ["instances", "tasksRunning", "tasksHealthy"] {
            assert_eq!(answer["app"][count], instances, "{count} of {app}");
        }
        let tasks = self.tasks(app);
        assert_eq!(self.pool(), tasks, "who gets traffic, and who should");
        tasks
    }

    /// Checks that nothing is there at all.
    pub(crate) fn is_empty(&self) {
        assert_eq!(self.apps(), BTreeSet::new(), "the apps");
        let pools = self.ask(&self.balancer, "/v1/pools");
        assert_eq!(array(&pools, "pools"), Vec::<Value>::new(), "the pools");
        assert_eq!(self.processes(), BTreeMap::new(), "the processes");
    }

    fn ask(&self, address: &str, path: &str) -> Value {
        let answer = http::get(address, path).expect("it answers");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        serde_json::from_str(&answer.body).expect("it answers JSON")
    }
}

/// Returns the command lines of all processes that belong to a world.
pub(super) fn commands_of(folder: &Path) -> Vec<String> {
    let line = |process: u32| fs::read_to_string(format!("/proc/{process}/cmdline"));
    let processes = environments_of(folder).into_keys();
    processes
        .map(|id| format!("{id} {}", line(id).unwrap_or_default().replace('\0', " ")))
        .collect()
}

/// Kills all processes that belong to a world.
pub(super) fn end_all_of(folder: &Path) {
    for process in environments_of(folder).into_keys() {
        if let Ok(id) = i32::try_from(process) {
            kill(Pid::from_raw(id), Signal::SIGKILL).ok();
        }
    }
}

/// Returns the environment of every process that belongs to a world: its folder is named there.
fn environments_of(folder: &Path) -> BTreeMap<u32, String> {
    let folder = folder.display().to_string();
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").expect("/proc can be read").flatten() {
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok());
        let environment = fs::read(entry.path().join("environ"));
        if let (Some(id), Ok(environment)) = (id, environment) {
            let environment = String::from_utf8_lossy(&environment).into_owned();
            if environment.contains(&folder) {
                found.insert(id, environment);
            }
        }
    }
    found
}

fn array(value: &Value, key: &str) -> Vec<Value> {
    value[key]
        .as_array()
        .unwrap_or_else(|| panic!("no list {key} in {value}"))
        .clone()
}

fn text(value: &Value, key: &str) -> String {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no text {key} in {value}"))
        .to_owned()
}
