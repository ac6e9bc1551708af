//! A deployment's journal, read as anybody could: a checksum and a JSON document a line.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

/// The entries of a journal, as far as they are whole.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    pub(crate) entries: Vec<Entry>,
}

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    /// When it was written, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// `begun`, `intended`, `performed`, `failed`, `asked`, `seen`, `resumed`, `ended`.
    pub(crate) event: String,
    /// The whole line.
    pub(crate) value: Value,
}

impl Journal {
    /// Reads every journal in a state folder, oldest first.
    ///
    /// # Errors
    ///
    /// If one cannot be read.
    pub(crate) fn all(state: &Path) -> anyhow::Result<Vec<Self>> {
        let folder = state.join("deployments");
        let mut all = Vec::new();
        for file in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = file?.path();
            if path.extension().is_none_or(|end| end != "journal") {
                continue;
            }
            let text =
                std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let journal = Self::parse(&text);
            // One that is being begun has no first line yet, and is no deployment.
            if !journal.entries.is_empty() {
                all.push(journal);
            }
        }
        all.sort_by_key(|journal: &Self| journal.entries.first().map(|first| first.at_ms));
        Ok(all)
    }

    /// Takes a journal's lines as far as they are whole.
    pub(crate) fn parse(text: &str) -> Self {
        let entries = text.lines().map_while(|line| {
            let (_checksum, json) = line.split_once(' ')?;
            let value: Value = serde_json::from_str(json).ok()?;
            Some(Entry {
                seq: value["seq"].as_u64()?,
                at_ms: value["at"].as_u64()?,
                event: value["event"].as_str()?.to_owned(),
                value,
            })
        });
        Self {
            entries: entries.collect(),
        }
    }

    /// Returns the entries of one kind.
    pub(crate) fn of(&self, event: &str) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.event == event)
    }

    /// Returns how it ended (`completed`, `rolled_back`, `stuck`), if it has.
    pub(crate) fn outcome(&self) -> Option<&str> {
        let ended = self.of("ended").last()?;
        ended.value["outcome"]["outcome"].as_str()
    }
}

impl Entry {
    /// Returns what it intends, as `pool change` or `instance kill`; empty if it is no intent of an effect.
    pub(crate) fn action(&self) -> String {
        let action = &self.value["action"];
        for system in ["pool", "instance"] {
            if let Some(verb) = action[system]["do"].as_str() {
                return format!("{system} {verb}");
            }
        }
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_cut_off_ends_the_journal() {
        let text = "00000000 {\"seq\":1,\"at\":5,\"event\":\"intended\",\"action\":{\"pool\":{\"do\":\"change\"}}}\n\
                    00000000 {\"seq\":2,\"at\":9,\"event\":\"ended\",\"outcome\":{\"outcome\":\"completed\"}}\n\
                    00000000 {\"seq\":3,\"a";

        let journal = Journal::parse(text);

        assert_eq!(journal.entries.len(), 2);
        assert_eq!(journal.entries[0].action(), "pool change");
        assert_eq!(journal.entries[1].at_ms, 9);
        assert_eq!(journal.outcome(), Some("completed"));
    }
}
