//! Processes that are measured: started in a group of their own, on one processor, and ended with all their children.

use std::fs::read_to_string;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How long a process has to end by itself. Under callgrind it writes its results then.
const END_LIMIT: Duration = Duration::from_secs(20);
const END_PAUSE: Duration = Duration::from_millis(5);
/// `/proc/PID/stat` counts in ticks of this length on Linux, whatever the kernel's own tick is (proc(5), USER_HZ).
const TICK_US: f64 = 10_000.0;

/// A process and its children.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    ended: bool,
}

/// What a process and its children have used since they began.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    /// Processor time, as the scheduler counts it, in microseconds.
    pub(crate) cpu_us: f64,
    /// The part of it in user code, sampled by the kernel's clock, in microseconds.
    pub(crate) user_us: f64,
    /// How often a thread went to sleep by itself, so how often one was woken.
    pub(crate) sleeps: u64,
    pub(crate) resident_kib: u64,
    pub(crate) threads: u64,
}

impl Process {
    /// Starts it. With a processor, it and its children run on that one alone, and see no other.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub(crate) fn start(command: &mut Command, processor: Option<usize>) -> anyhow::Result<Self> {
        let before = sched_getaffinity(Pid::from_raw(0))?;
        if let Some(processor) = processor {
            pin(processor)?;
        }
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()));
        sched_setaffinity(Pid::from_raw(0), &before)?;
        Ok(Self {
            child: child?,
            ended: false,
        })
    }

    /// Returns what the process and its children have used.
    pub(crate) fn usage(&self) -> Usage {
        let mut sum = Usage::default();
        let folders = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        for folder in folders {
            let folder = folder.path();
            let Ok(stat) = read_to_string(folder.join("stat")) else {
                continue;
            };
            // The name, in parentheses, may hold anything; what follows it is in order.
            let fields: Vec<&str> = stat
                .rsplit(") ")
                .next()
                .unwrap_or_default()
                .split(' ')
                .collect();
            if number(fields.get(2)) != u64::from(self.child.id()) {
                continue;
            }
            sum.user_us += ticks(number(fields.get(11)));
            for thread in std::fs::read_dir(folder.join("task"))
                .into_iter()
                .flatten()
                .flatten()
            {
                sum.add_thread(&thread.path());
            }
            let status = read_to_string(folder.join("status")).unwrap_or_default();
            sum.resident_kib += status_field(&status, "VmRSS");
        }
        sum
    }

    /// Returns its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks all of them to end, and makes them when they do not.
    pub(crate) fn end(&mut self) -> Option<ExitStatus> {
        let group = Pid::from_raw(i32::try_from(self.child.id()).ok()?);
        // A group that is gone has ended already.
        killpg(group, Signal::SIGTERM).ok();
        let deadline = Instant::now() + END_LIMIT;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                self.ended = true;
                killpg(group, Signal::SIGKILL).ok();
                return Some(status);
            }
            std::thread::sleep(END_PAUSE);
        }
        killpg(group, Signal::SIGKILL).ok();
        self.ended = true;
        self.child.wait().ok()
    }

    /// Returns an account of its end if it has ended by itself.
    pub(crate) fn fate(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        Some(match status.signal() {
            Some(signal) => format!("it was ended by signal {signal}"),
            None => format!("it ended with {status}"),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended {
            self.end();
        }
    }
}

impl Usage {
    fn add_thread(&mut self, folder: &std::path::Path) {
        let scheduled = read_to_string(folder.join("schedstat")).unwrap_or_default();
        let nanoseconds = number(scheduled.split(' ').collect::<Vec<_>>().first());
        self.cpu_us += to_f64(nanoseconds) / 1000.0;
        let status = read_to_string(folder.join("status")).unwrap_or_default();
        self.sleeps += status_field(&status, "voluntary_ctxt_switches");
        self.threads += 1;
    }
}

/// Keeps the calling thread, and what it starts, on one processor.
///
/// # Errors
///
/// If there is no such processor.
pub(crate) fn pin(processor: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("cannot pin to a processor")?;
    Ok(())
}

fn ticks(count: u64) -> f64 {
    to_f64(count) * TICK_US
}

#[expect(clippy::cast_precision_loss, reason = "a count of this size is exact")]
pub(crate) fn to_f64(count: u64) -> f64 {
    count as f64
}

fn number(word: Option<&&str>) -> u64 {
    word.and_then(|word| word.trim().parse().ok()).unwrap_or(0)
}

fn status_field(status: &str, name: &str) -> u64 {
    let mut pairs = status.lines().filter_map(|line| line.split_once(':'));
    let found = pairs.find(|(key, _)| *key == name);
    let value = found.map(|(_, value)| value.trim());
    number(value.and_then(|value| value.split(' ').next()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_of_children_counts() {
        let script = "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; touch done; sleep 60' & wait";
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(folder.path());

        let process = Process::start(&mut command, None).unwrap();
        while !folder.path().join("done").exists() {
            std::thread::yield_now();
        }
        let usage = process.usage();

        assert!(usage.cpu_us > 20_000.0, "{usage:?}");
        assert!(usage.threads >= 2, "{usage:?}");
        assert!(usage.resident_kib > 0, "{usage:?}");
    }

    #[test]
    fn a_pinned_process_sees_one_processor() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", "nproc > said; sleep 60"])
            .current_dir(folder.path());

        let _process = Process::start(&mut command, Some(0)).unwrap();
        let said = loop {
            match read_to_string(folder.path().join("said")) {
                Ok(said) if said.ends_with('\n') => break said,
                _ => std::thread::yield_now(),
            }
        };

        assert_eq!(said, "1\n");
    }
}
