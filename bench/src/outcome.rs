//! What a measurement hands back, and how it is printed and kept.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use crate::machine::Machine;
use crate::table::Table;

/// The result of one measurement.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// As in `./bench/run NAME`.
    pub(crate) name: &'static str,
    pub(crate) machine: Machine,
    /// What was measured against what, as `name version`.
    pub(crate) versions: Vec<String>,
    pub(crate) tables: Vec<Table>,
    /// What a reader must know to judge the tables: the method, and what could not be had.
    pub(crate) notes: Vec<String>,
    /// Every figure, for programs.
    pub(crate) figures: Value,
    /// The ratio that counts, with its target.
    pub(crate) last_line: String,
}

impl Outcome {
    /// Writes `NAME.json` into the folder and returns its path.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let file = folder.join(format!("{}.json", self.name));
        let value = json!({
            "name": self.name,
            "machine": self.machine.json(),
            "versions": self.versions,
            "notes": self.notes,
            "figures": self.figures,
            "result": self.last_line,
        });
        let text = format!("{value:#}\n");
        std::fs::write(&file, text).with_context(|| file.display().to_string())?;
        Ok(file)
    }

    /// Returns what is printed; the result is the last line.
    pub(crate) fn text(&self, file: &Path) -> String {
        let mut text = format!("machine: {}\n", self.machine.text());
        text += &format!("versions: {}\n", self.versions.join(", "));
        for table in &self.tables {
            text += &format!("\n{}", table.text());
        }
        text.push('\n');
        for note in &self.notes {
            text += &format!("note: {note}\n");
        }
        text + &format!("written: {}\n{}\n", file.display(), self.last_line)
    }
}
