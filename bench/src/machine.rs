//! What the figures were measured on, and how busy it was with other work.

use std::fs::read_to_string;

use serde_json::{Value, json};

/// The machine, as far as it matters to a reader of the figures.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    processor: String,
    processors: usize,
    memory_mib: u64,
    system: String,
    kernel: String,
    load_before: String,
    load_after: String,
}

impl Machine {
    /// Looks at this machine. It has to be before this process is pinned: pinned, it sees fewer processors.
    pub(crate) fn look() -> Self {
        let load = load_average();
        Self {
            processor: field("/proc/cpuinfo", "model name", ':'),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: field("/proc/meminfo", "MemTotal", ':')
                .split(' ')
                .next()
                .and_then(|kib| kib.parse::<u64>().ok())
                .unwrap_or(0)
                / 1024,
            system: field("/etc/os-release", "PRETTY_NAME", '=')
                .trim_matches('"')
                .to_owned(),
            kernel: line("/proc/sys/kernel/osrelease"),
            load_before: load.clone(),
            load_after: load,
        }
    }

    /// Notes how busy the machine is at the end.
    pub(crate) fn look_again(&mut self) {
        self.load_after = load_average();
    }

    /// Returns a sentence.
    pub(crate) fn text(&self) -> String {
        format!(
            "{} processors ({}), {} MiB, {}, Linux {}; load average {} before, {} after",
            self.processors,
            self.processor,
            self.memory_mib,
            self.system,
            self.kernel,
            self.load_before,
            self.load_after
        )
    }

    /// Returns the same for programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "processor": self.processor,
            "processors": self.processors,
            "memory_mib": self.memory_mib,
            "system": self.system,
            "kernel": self.kernel,
            "load_before": self.load_before,
            "load_after": self.load_after,
        })
    }
}

fn line(file: &str) -> String {
    read_to_string(file).unwrap_or_default().trim().to_owned()
}

fn field(file: &str, name: &str, separator: char) -> String {
    let text = read_to_string(file).unwrap_or_default();
    let mut pairs = text.lines().filter_map(|line| line.split_once(separator));
    let found = pairs.find(|(key, _)| key.trim() == name);
    found
        .map_or("unknown", |(_, value)| value.trim())
        .to_owned()
}

fn load_average() -> String {
    let load = line("/proc/loadavg");
    load.split(' ').next().unwrap_or("unknown").to_owned()
}
