//! What a task may use, enforced by the kernel: one control group per task and kind of resource.
//!
//! Version 2 is used where its controllers are there, else version 1, side by side with version 2
//! for finding and ending all of a task's processes (cgroups(7); the kernel's
//! `admin-guide/cgroup-v2.rst` and `cgroup-v1/`). The numbers are those of Mesos:
//! `src/slave/containerizer/mesos/isolators/cgroups/constants.hpp`.
//!
//! Groups are `<mount>/teal/<engine>/<task>`, outside of the group that the engine itself is in: they
//! must outlive it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pidfd::{kill_if, terminate_if};
use crate::CpuLimit;
use crate::definition::{Definition, Limit};
use crate::identity::TaskId;

/// One processor's time in one period, in microseconds (`CPU_CFS_PERIOD`).
const PERIOD: f64 = 100_000.0;

/// The least quota that the kernel takes (`MIN_CPU_CFS_QUOTA`).
const QUOTA_MIN: f64 = 1_000.0;

/// The weight of one processor, and the least that the kernel takes (`CPU_SHARES_PER_CPU`,
/// `MIN_CPU_SHARES`).
const SHARES_PER_CPU: f64 = 1_024.0;
const SHARES_MIN: f64 = 2.0;

/// The least memory limit, so that a shell can start at all (`MIN_MEMORY`).
const MEBIBYTES_MIN: f64 = 32.0;
const MEBIBYTE: f64 = 1_048_576.0;

/// How often the removal of a group whose last process is just going is tried.
const REMOVE_ATTEMPTS: u32 = 50;
const REMOVE_POLL: Duration = Duration::from_millis(20);

/// What a task may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limits {
    /// Processors, as a weight where they are short.
    cpus_share: f64,
    /// Processors, as the most there is.
    cpus_max: Option<f64>,
    /// In MiB.
    memory_max: Option<f64>,
}

impl Limits {
    /// Returns what the tasks of an app may use.
    pub(crate) fn of(definition: &Definition, cpu_limit: CpuLimit) -> Self {
        let amount = |limit: Limit| match limit {
            Limit::Unlimited => None,
            Limit::Amount(amount) => Some(amount),
        };
        let limits = definition.resource_limits;
        let cpus_asked = match cpu_limit {
            CpuLimit::Quota => Some(definition.cpus),
            CpuLimit::Shares => None,
        };
        let cpus_max = limits.and_then(|limits| limits.cpus);
        let memory_max = limits.and_then(|limits| limits.mem);
        Self {
            cpus_share: definition.cpus,
            cpus_max: cpus_max.map_or(cpus_asked, amount),
            memory_max: memory_max.map_or(Some(definition.mem), amount),
        }
    }

    fn shares(self) -> f64 {
        (self.cpus_share * SHARES_PER_CPU).max(SHARES_MIN).round()
    }

    /// Version 2 counts from 1 to 10000 what version 1 counted from 2 to 262144
    /// (runc's `ConvertCPUSharesToCgroupV2Value`).
    fn weight(self) -> f64 {
        let shares = self.shares().min(262_144.0);
        (1.0 + (shares - 2.0) * 9_999.0 / 262_142.0).round()
    }

    fn quota(self) -> Option<f64> {
        self.cpus_max
            .map(|cpus| (cpus * PERIOD).max(QUOTA_MIN).round())
    }

    fn memory_bytes(self) -> Option<f64> {
        let limit = self
            .memory_max
            .map(|mebibytes| mebibytes.max(MEBIBYTES_MIN));
        limit.map(|mebibytes| (mebibytes * MEBIBYTE).round())
    }
}

/// The folders below which every task gets its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroups {
    version: Version,
    /// `<mount>/teal/<engine>` of every hierarchy in use; the first one tracks processes.
    parents: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Version {
    V1,
    V2,
}

/// The groups of one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Cell {
    version: Version,
    folders: Vec<PathBuf>,
}

impl Cgroups {
    /// Makes the folders of an engine, removes what is left over of tasks that nobody knows, and
    /// returns them.
    ///
    /// # Errors
    /// A sentence that says why no limits can be enforced here.
    pub(crate) fn prepare(engine: &str, is_known: impl Fn(&str) -> bool) -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo");
        let mounts = mounts.map_err(|error| format!("/proc/self/mountinfo: {error}"))?;
        let mounts = Mounts::read(&mounts);
        let named =
            |folder: PathBuf| move |error: io::Error| format!("{}: {error}", folder.display());
        let unified = mounts.unified.as_deref();
        let cgroups = if let Some(mount) = unified.filter(|mount| has_controllers(mount)) {
            let parent = unified_parent(mount, engine).map_err(named(mount.to_owned()))?;
            Self {
                version: Version::V2,
                parents: vec![parent],
            }
        } else {
            let (Some(cpu), Some(memory)) = (mounts.cpu, mounts.memory) else {
                return Err("the control groups for cpu and memory are not mounted".to_owned());
            };
            let mut parents = Vec::new();
            for mount in unified.into_iter().chain([cpu.as_path(), memory.as_path()]) {
                let parent = mount.join("teal").join(engine);
                fs::create_dir_all(&parent).map_err(named(parent.clone()))?;
                parents.push(parent);
            }
            Self {
                version: Version::V1,
                parents,
            }
        };
        cgroups.remove_strays(is_known);
        Ok(cgroups)
    }

    /// Makes the groups of a task and sets its limits.
    ///
    /// # Errors
    /// A file cannot be written; the error names it.
    pub(super) fn create(&self, task: &TaskId, limits: Limits) -> io::Result<Cell> {
        let folders = self.parents.iter().map(|parent| parent.join(task.as_str()));
        let cell = Cell {
            version: self.version,
            folders: folders.collect(),
        };
        for folder in &cell.folders {
            fs::create_dir_all(folder).map_err(|error| about(folder, &error))?;
        }
        cell.limit(limits)?;
        Ok(cell)
    }

    /// Removes the folders of an engine that ends, unless tasks go on in them.
    pub(crate) fn remove_empty(&self) {
        for parent in &self.parents {
            fs::remove_dir(parent).ok();
        }
    }

    /// A group that has processes cannot be removed, so nobody is harmed.
    fn remove_strays(&self, is_known: impl Fn(&str) -> bool) {
        for parent in &self.parents {
            for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
                let is_stray = entry
                    .file_name()
                    .to_str()
                    .is_some_and(|name| !is_known(name));
                if is_stray {
                    fs::remove_dir(entry.path()).ok();
                }
            }
        }
    }
}

impl Cell {
    fn limit(&self, limits: Limits) -> io::Result<()> {
        match self.version {
            Version::V2 => {
                let quota = limits.quota().map_or("max".to_owned(), |it| it.to_string());
                let memory = limits.memory_bytes();
                let memory = memory.map_or("max".to_owned(), |it| it.to_string());
                self.write("cpu.weight", &limits.weight().to_string())?;
                self.write("cpu.max", &format!("{quota} {PERIOD}"))?;
                self.write("memory.max", &memory)
            }
            Version::V1 => {
                let quota = limits.quota().unwrap_or(-1.0);
                let memory = limits.memory_bytes().unwrap_or(-1.0);
                self.write("cpu.shares", &limits.shares().to_string())?;
                self.write("cpu.cfs_period_us", &PERIOD.to_string())?;
                self.write("cpu.cfs_quota_us", &quota.to_string())?;
                self.write("memory.limit_in_bytes", &memory.to_string())
            }
        }
    }

    /// Writes into the one group of the task that has such a file.
    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let file = self.find(name).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("no control group has {name}"),
            )
        })?;
        fs::write(&file, text).map_err(|error| about(&file, &error))
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        let files = self.folders.iter().map(|folder| folder.join(name));
        files.into_iter().find(|file| file.exists())
    }

    /// Puts a process into all groups; what it starts will be in them too.
    ///
    /// # Errors
    /// The kernel refuses; the error names the group.
    pub(super) fn join(&self, pid: u32) -> io::Result<()> {
        for folder in &self.folders {
            let file = folder.join("cgroup.procs");
            fs::write(&file, pid.to_string()).map_err(|error| about(&file, &error))?;
        }
        Ok(())
    }

    /// Returns the processes of the task.
    fn members(&self) -> Vec<u32> {
        let procs = self
            .folders
            .first()
            .map(|folder| folder.join("cgroup.procs"));
        let procs = procs.and_then(|file| fs::read_to_string(file).ok());
        let procs = procs.unwrap_or_default();
        procs.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Returns whether a process of the task is left.
    pub(super) fn is_populated(&self) -> bool {
        !self.members().is_empty()
    }

    /// Asks every process of the task that these words are about to end.
    pub(super) fn terminate(&self, is_meant: impl Fn(u32) -> bool) {
        for pid in self.members() {
            terminate_if(pid, || is_meant(pid) && self.members().contains(&pid));
        }
    }

    /// Ends every process of the task at once.
    pub(super) fn kill(&self) {
        let at_once = self
            .folders
            .first()
            .map(|folder| folder.join("cgroup.kill"));
        if at_once.is_some_and(|file| file.exists() && fs::write(file, "1").is_ok()) {
            return;
        }
        for pid in self.members() {
            kill_if(pid, || self.members().contains(&pid));
        }
    }

    /// Says that the task's processes needed more memory than they may use, where one was ended for
    /// that. The words are those of Mesos (`isolators/cgroups/subsystems/memory.cpp`).
    pub(super) fn memory_complaint(&self) -> Option<String> {
        let events = self
            .find("memory.events")
            .or_else(|| self.find("memory.oom_control"))?;
        let kills = fs::read_to_string(events).ok()?;
        let kills = kills
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "))?;
        if kills.trim() == "0" {
            return None;
        }
        let read = |v2: &str, v1: &str| {
            let file = self.find(v2).or_else(|| self.find(v1))?;
            let bytes: f64 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
            Some(format!("{}MB", (bytes / MEBIBYTE).round()))
        };
        let unknown = || "unknown".to_owned();
        let limit = read("memory.max", "memory.limit_in_bytes").unwrap_or_else(unknown);
        let most = read("memory.peak", "memory.max_usage_in_bytes").unwrap_or_else(unknown);
        Some(format!(
            "Memory limit exceeded: Requested: {limit} Maximum Used: {most}"
        ))
    }

    /// Removes the groups of a task that has ended. What cannot be removed the next engine removes.
    pub(super) async fn remove(&self) {
        for folder in &self.folders {
            for _ in 0..REMOVE_ATTEMPTS {
                match fs::remove_dir(folder) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        tokio::time::sleep(REMOVE_POLL).await;
                    }
                    Ok(()) | Err(_) => break,
                }
            }
        }
    }
}

/// Where hierarchies are mounted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mounts {
    unified: Option<PathBuf>,
    cpu: Option<PathBuf>,
    memory: Option<PathBuf>,
}

impl Mounts {
    /// Reads `/proc/self/mountinfo` (proc(5)): the fifth field is where, and after a lone dash come
    /// the type, the source and the options, which name the controllers of version 1.
    fn read(text: &str) -> Self {
        let mut mounts = Self::default();
        for line in text.lines() {
            let Some((mount, system)) = line.split_once(" - ") else {
                continue;
            };
            let folder = mount.split(' ').nth(4).map(PathBuf::from);
            let mut system = system.split(' ');
            let (kind, options) = (system.next(), system.nth(1).unwrap_or_default());
            let has = |controller| options.split(',').any(|option| option == controller);
            match kind {
                Some("cgroup2") => mounts.unified = folder,
                Some("cgroup") if has("cpu") => mounts.cpu = folder,
                Some("cgroup") if has("memory") => mounts.memory = folder,
                Some(_) | None => {}
            }
        }
        mounts
    }
}

fn has_controllers(mount: &Path) -> bool {
    let text = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    let mut names = text.split_whitespace();
    let has_cpu = names.clone().any(|name| name == "cpu");
    has_cpu && names.any(|name| name == "memory")
}

/// Makes `<mount>/teal/<engine>` and passes both controllers down to it.
fn unified_parent(mount: &Path, engine: &str) -> io::Result<PathBuf> {
    let ours = mount.join("teal");
    let parent = ours.join(engine);
    fs::create_dir_all(&parent)?;
    for folder in [mount, &ours, &parent] {
        fs::write(folder.join("cgroup.subtree_control"), "+cpu +memory")?;
    }
    Ok(parent)
}

fn about(file: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::definition_of;

    #[test]
    fn mounts_are_told_apart_by_their_type_and_controllers() {
        let text = "\
            31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
            32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n\
            35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

        let mounts = Mounts::read(text);

        let at = |path: &str| Some(PathBuf::from(path));
        assert_eq!(mounts.cpu, at("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(mounts.memory, at("/sys/fs/cgroup/memory"));
        assert_eq!(mounts.unified, at("/sys/fs/cgroup/unified"));
    }

    #[test]
    fn what_is_asked_for_is_the_limit_unless_a_limit_is_given() {
        let plain = json!({ "id": "a", "cmd": "true", "cpus": 0.5, "mem": 64 });
        let mut more = plain.clone();
        more["resourceLimits"] = json!({ "cpus": 2, "mem": "unlimited" });
        let tiny = json!({ "id": "a", "cmd": "true", "cpus": 0.001, "mem": 1 });
        let limits = |app, cpu_limit| {
            let limits = Limits::of(&definition_of(app), cpu_limit);
            (limits.shares(), limits.quota(), limits.memory_bytes())
        };

        let mebibytes = |count: f64| Some(count * MEBIBYTE);
        assert_eq!(
            limits(plain.clone(), CpuLimit::Quota),
            (512.0, Some(50_000.0), mebibytes(64.0))
        );
        assert_eq!(
            limits(plain, CpuLimit::Shares),
            (512.0, None, mebibytes(64.0))
        );
        assert_eq!(
            limits(more, CpuLimit::Shares),
            (512.0, Some(200_000.0), None)
        );
        assert_eq!(
            limits(tiny, CpuLimit::Quota),
            (2.0, Some(1_000.0), mebibytes(32.0))
        );
    }

    #[test]
    fn weights_of_both_versions_cover_their_range() {
        let weight = |cpus| {
            let app = json!({ "id": "a", "cmd": "true", "cpus": cpus });
            Limits::of(&definition_of(app), CpuLimit::Shares).weight()
        };

        assert_eq!(weight(0.001), 1.0);
        assert_eq!(weight(1.0), 40.0);
        assert_eq!(weight(1_000.0), 10_000.0);
    }
}
