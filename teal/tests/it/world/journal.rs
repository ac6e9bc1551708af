//! A deployment's journal, read as anybody could: a checksum and a JSON document a line.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// The entries of a journal, as far as they are whole.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    pub(crate) path: PathBuf,
    pub(crate) entries: Vec<Value>,
}

impl Journal {
    /// Reads every journal of a state folder, oldest first.
    pub(crate) fn all(state: &Path) -> Vec<Self> {
        let files = std::fs::read_dir(state.join("deployments"))
            .into_iter()
            .flatten()
            .flatten();
        let paths = files.map(|file| file.path());
        let journals = paths.filter(|path| path.extension().is_some_and(|end| end == "journal"));
        let mut all: Vec<Self> = journals.filter_map(|path| Self::read(&path)).collect();
        all.sort_by_key(|journal| journal.entries[0]["at"].as_u64());
        all
    }

    fn read(path: &Path) -> Option<Self> {
        let text = String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned();
        let parse = |line: &str| serde_json::from_str(line.split_once(' ')?.1).ok();
        let entries: Vec<Value> = text.lines().map_while(parse).collect();
        (!entries.is_empty()).then(|| Self {
            path: path.to_owned(),
            entries,
        })
    }

    /// Returns the deployment's id.
    pub(crate) fn id(&self) -> &str {
        self.entries[0]["plan"]["deployment"]
            .as_str()
            .expect("a plan names its deployment")
    }

    /// Returns the entries of a kind.
    pub(crate) fn of(&self, event: &str) -> impl Iterator<Item = &Value> {
        self.entries
            .iter()
            .filter(move |entry| entry["event"] == event)
    }

    /// Returns the number of the last entry.
    pub(crate) fn last_seq(&self) -> Option<u64> {
        self.entries.last()?["seq"].as_u64()
    }

    /// Returns how many lines stand for a step. How often the picture changes is up to the traffic.
    pub(crate) fn steps(&self) -> usize {
        self.entries.len() - self.of("seen").count()
    }

    /// Returns how it ended, or null.
    pub(crate) fn outcome(&self) -> &Value {
        self.of("ended")
            .last()
            .map_or(&Value::Null, |entry| &entry["outcome"]["outcome"])
    }

    /// Tells whether a mark was made.
    pub(crate) fn has_mark(&self, mark: &str) -> bool {
        self.of("intended").any(|entry| {
            let made = &entry["action"]["mark"];
            made == mark || made.get(mark).is_some()
        })
    }

    /// Returns the journal after the operator first asked for something.
    pub(crate) fn after_asked(&self) -> Self {
        let asked = |entry: &Value| entry["event"] == "asked";
        let entries = self
            .entries
            .iter()
            .skip_while(|entry| !asked(entry))
            .cloned()
            .collect();
        Self {
            path: self.path.clone(),
            entries,
        }
    }

    /// Returns what was intended with a pool.
    pub(crate) fn pool_changes(&self) -> Vec<&Value> {
        let actions = self.of("intended").map(|entry| &entry["action"]["pool"]);
        actions.filter(|action| action["do"] == "change").collect()
    }

    /// Returns what was intended with instances: `kill blue`, `scale green`.
    pub(crate) fn instance_actions(&self) -> Vec<String> {
        let actions = self
            .of("intended")
            .filter_map(|entry| entry["action"].get("instance"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        actions
            .map(|action| format!("{} {}", text(&action["do"]), text(&action["role"])))
            .collect()
    }
}
