//! The file that HAProxy reads its servers' states from when it is reloaded (`server-state-file`, configuration manual
//! §3.1): without it a reload forgets every drain and every slot's address.

use crate::DriverError;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file beside the real one, which takes its place when it is written.
#[derive(Debug)]
pub(super) struct Draft {
    file: File,
    /// Held until then: a state that was asked for earlier must not be written later.
    _lock: File,
    draft: PathBuf,
    path: PathBuf,
}

/// Begins a new state file, so that it is known that it can be written before anything is changed. While it is there,
/// others who would write it too are told to come again: nobody is waited for who may have been stopped meanwhile.
///
/// # Errors
/// [`DriverError::Forbidden`] when it cannot; [`DriverError::Busy`] while somebody else writes it.
pub(super) fn prepare(path: &Path) -> Result<Draft, DriverError> {
    let beside = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let cannot = |error: io::Error| cannot(path, &error);
    let lock = File::create(beside(".lock")).map_err(cannot)?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::Error(error) => cannot(error),
        TryLockError::WouldBlock => DriverError::Busy {
            url: path.display().to_string(),
            message: "somebody else is writing HAProxy's state file".to_owned(),
        },
    })?;
    let draft = beside(".draft");
    let file = File::create(&draft).map_err(cannot)?;
    Ok(Draft {
        file,
        _lock: lock,
        draft,
        path: path.to_owned(),
    })
}

impl Draft {
    /// Puts what `show servers state` answered in the file's place, in one step: HAProxy may be reloaded at any moment.
    ///
    /// # Errors
    /// [`DriverError::Forbidden`] when it cannot be written.
    pub(super) fn keep(mut self, states: &str) -> Result<(), DriverError> {
        // A blank line ends the answer, and is none of the file's.
        let states = states.trim_end();
        let written = self
            .file
            .write_all(states.as_bytes())
            .and_then(|()| self.file.write_all(b"\n"))
            .and_then(|()| self.file.sync_all())
            .and_then(|()| fs::rename(&self.draft, &self.path));
        written.map_err(|error| cannot(&self.path, &error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It is there no more when it has been kept.
        fs::remove_file(&self.draft).ok();
    }
}

fn cannot(path: &Path, error: &io::Error) -> DriverError {
    DriverError::Forbidden {
        url: path.display().to_string(),
        message: format!("HAProxy's state file cannot be written: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_written_in_one_step_and_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let draft = prepare(&path).unwrap();

        let other = prepare(&path);

        assert!(matches!(other, Err(DriverError::Busy { .. })), "{other:?}");
        assert!(!path.exists());
        draft.keep("1\n# be_id\n\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n# be_id\n");
        drop(prepare(&path).unwrap());
        assert!(path.exists());
    }
}
