//! What is written down about one running task, so that the next engine finds it again.
//!
//! A note is written before its task does anything and is replaced as a whole: it is never seen half
//! written. It is not forced to the disk, because what it is about does not outlive the machine
//! either.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::container::Named;
use super::process::Leader;
use crate::identity::TaskId;
use crate::model::TaskEnd;
use crate::time::Stamp;

/// One running task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Note {
    pub(crate) task: TaskId,
    pub(crate) started_at: Stamp,
    pub(crate) kill_grace_seconds: u64,
    #[serde(flatten)]
    pub(crate) handle: Handle,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) told_to_end_at: Option<Stamp>,
    /// How it ended, from then until that is known elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<TaskEnd>,
}

/// How a task is found again, by kind of runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Handle {
    Process(Leader),
    Container(Named),
}

impl Note {
    /// Writes the note into a folder.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let path = path(folder, &self.task);
        let half = path.with_extension("new");
        fs::write(&half, serde_json::to_vec(self)?)?;
        fs::rename(half, path)
    }
}

/// Returns every note in a folder.
///
/// # Errors
/// The folder or a note cannot be read, or a note is damaged: the error names the file.
pub(crate) fn all(folder: &Path) -> io::Result<Vec<Note>> {
    let mut notes = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "new") {
            // Its task was never let go.
            fs::remove_file(path)?;
            continue;
        }
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let note = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        notes.push(note.map_err(named)?);
    }
    Ok(notes)
}

/// Changes a task's note, where it has one.
///
/// What is added to a note only matters to an engine that comes after one that is killed right now,
/// and that one can do without: it would not learn how a task ended, or would give it a longer
/// grace period. So a note that cannot be changed is left as it is.
pub(super) fn change(folder: &Path, task: &TaskId, change: impl FnOnce(&mut Note)) {
    let Ok(bytes) = fs::read(path(folder, task)) else {
        return;
    };
    if let Ok(mut note) = serde_json::from_slice::<Note>(&bytes) {
        change(&mut note);
        note.write(folder).ok();
    }
}

/// Returns whether a task has a note.
pub(super) fn exists(folder: &Path, task: &str) -> bool {
    folder.join(format!("{task}.json")).exists()
}

/// Removes a task's note.
pub(super) fn remove(folder: &Path, task: &TaskId) {
    fs::remove_file(path(folder, task)).ok();
}

fn path(folder: &Path, task: &TaskId) -> PathBuf {
    folder.join(format!("{task}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_back_as_it_was_written_and_names_its_kind() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let note = note("a.b");

        note.write(folder.path()).expect("it is written");
        change(folder.path(), &note.task, |note| {
            note.end = Some(TaskEnd::Finished);
        });

        let text = fs::read_to_string(path(folder.path(), &note.task)).expect("it is there");
        assert!(text.contains(r#""kind":"process""#), "{text}");
        let ended = Note {
            end: Some(TaskEnd::Finished),
            ..note
        };
        assert_eq!(all(folder.path()).expect("it is read"), [ended]);
    }

    #[test]
    fn a_damaged_note_is_named_and_a_half_written_one_is_none() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("a.b.new"), "{").expect("it is written");
        let before = all(folder.path()).expect("the folder is read");
        fs::write(folder.path().join("a.c.json"), "{").expect("it is written");

        let error = all(folder.path()).expect_err("it is damaged");

        assert_eq!(before, []);
        assert!(error.to_string().contains("a.c.json"), "{error}");
    }

    fn note(task: &str) -> Note {
        Note {
            task: TaskId::parse(task).expect("it is a task id"),
            started_at: Stamp::from_milliseconds(1),
            kill_grace_seconds: 3,
            handle: Handle::Process(Leader::of(std::process::id(), None).expect("we run")),
            told_to_end_at: None,
            end: None,
        }
    }
}
