//! The engine's memory on disk: what was decided is there before anybody hears of it or any task is
//! started because of it.
//!
//! `state.json` holds the world as it is ([`Document`]), `revisions/` the definitions that it refers
//! to. Both are written to the side, forced to the disk and moved into place, definitions first: a
//! reader sees the state before a change or after it, never half of one. What cannot be read is an
//! error and stays as it is. How a world becomes a document and back is in `crate::world`.

mod document;
mod revisions;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub(crate) use document::{
    AppRecord, DelayRecord, DeploymentRecord, Document, FORMAT, FailureRecord, InstanceRecord,
    RootRecord, TaskRecord,
};
pub(crate) use revisions::{Key, Revisions};

use revisions::Archive;

/// A file that is there and is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) file: PathBuf,
    pub(crate) problem: String,
}

/// A world as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub(crate) document: Document,
    /// Every revision that the document refers to.
    pub(crate) revisions: Revisions,
}

/// The files.
#[derive(Debug)]
pub(crate) struct Store {
    file: PathBuf,
    archive: Archive,
    last: Option<Document>,
}

impl Store {
    /// Opens the state in a folder and returns what is in it, if anything is.
    ///
    /// # Errors
    /// A file is missing or is not understood. Nothing was changed then.
    pub(crate) fn open(state_dir: &Path) -> Result<(Self, Option<Stored>), Damage> {
        let file = state_dir.join("state.json");
        let folder = state_dir.join("revisions");
        let damage = |problem: String| Damage {
            file: file.clone(),
            problem,
        };
        let document = match fs::read(&file) {
            Ok(bytes) => Some(read(&bytes).map_err(damage)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(damage(error.to_string())),
        };
        let wanted = document.as_ref().map(keys).unwrap_or_default();
        create_private(&folder).map_err(|error| damage(error.to_string()))?;
        let (archive, revisions) = Archive::open(folder, &wanted)?;
        let stored = document.clone().map(|document| Stored {
            document,
            revisions,
        });
        let store = Self {
            file,
            archive,
            last: document,
        };
        Ok((store, stored))
    }

    /// Returns what to say of a document that cannot be so.
    pub(crate) fn damage(&self, problem: String) -> Damage {
        Damage {
            file: self.file.clone(),
            problem,
        }
    }

    /// Writes the state down unless it is there already. When this returns it is on the disk.
    ///
    /// # Errors
    /// A file cannot be written. What was stored before is still there.
    pub(crate) fn save(&mut self, state: Stored) -> io::Result<()> {
        if self.last.as_ref() == Some(&state.document) {
            return Ok(());
        }
        self.archive.add(&state.revisions)?;
        write_atomically(&self.file, &serde_json::to_vec(&state.document)?)?;
        self.archive.keep_only(&state.revisions);
        self.last = Some(state.document);
        Ok(())
    }
}

/// Makes a folder that only the engine's user can look into: definitions hold passwords in their
/// `env`, which the API gives to nobody without its token, and tasks of other users run here.
fn create_private(folder: &Path) -> io::Result<()> {
    const OWNER_ONLY: u32 = 0o700;
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(OWNER_ONLY))
}

fn read(bytes: &[u8]) -> Result<Document, String> {
    /// The number comes first: a form that is not known cannot be read any further.
    #[derive(serde::Deserialize)]
    struct Numbered {
        format: u32,
    }
    let numbered: Numbered = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if numbered.format != FORMAT {
        return Err(format!(
            "it has format {}, and this version of teal reads format {FORMAT}",
            numbered.format
        ));
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// Returns every revision that a document refers to.
fn keys(document: &Document) -> BTreeSet<Key> {
    let mut keys = BTreeSet::new();
    for (id, app) in &document.apps {
        let of_instances = app.instances.iter().map(|instance| instance.version);
        let versions = app.versions.iter().copied().chain(app.current);
        keys.extend(versions.chain(of_instances).map(|it| (id.clone(), it)));
    }
    for deployment in &document.deployments {
        let originals = deployment.originals.iter();
        keys.extend(originals.filter_map(|(id, version)| Some((id.clone(), (*version)?))));
    }
    keys
}

/// Replaces a file as a whole, and returns when that is on the disk.
fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let half = path.with_extension("new");
    let mut file = File::create(&half)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&half, path)?;
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    File::open(folder)?.sync_all()
}
