//! One file per version of an app that anything still refers to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Damage, write_atomically};
use crate::definition::Definition;
use crate::identity::AppId;
use crate::model::Revision;
use crate::time::Stamp;

/// Which version of which app: nothing else ever has the same.
pub(crate) type Key = (AppId, Stamp);

/// Revisions by what they are.
pub(crate) type Revisions = BTreeMap<Key, Arc<Revision>>;

/// A revision as it is written. The definition is the object that the API shows, and is read back by
/// the reader of the API's requests.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Record {
    version: Stamp,
    last_scaling_at: Stamp,
    last_config_change_at: Stamp,
    definition: Map<String, Value>,
}

/// The files of all revisions.
#[derive(Debug)]
pub(super) struct Archive {
    folder: PathBuf,
    there: BTreeSet<Key>,
}

impl Archive {
    /// Reads the revisions that are wanted, and knows them from there on.
    ///
    /// # Errors
    /// One is missing, or is not understood.
    pub(super) fn open(
        folder: PathBuf,
        wanted: &BTreeSet<Key>,
    ) -> Result<(Self, Revisions), Damage> {
        let mut revisions = Revisions::new();
        for key in wanted {
            let revision = read(&path(&folder, key), &key.0)?;
            revisions.insert(key.clone(), Arc::new(revision));
        }
        let there = wanted.clone();
        Ok((Self { folder, there }, revisions))
    }

    /// Writes those that are not there yet.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn add(&mut self, revisions: &Revisions) -> io::Result<()> {
        for (key, revision) in revisions {
            if !self.there.contains(key) {
                let record = Record {
                    version: revision.version,
                    last_scaling_at: revision.last_scaling_at,
                    last_config_change_at: revision.last_config_change_at,
                    definition: revision.definition.to_json(),
                };
                let bytes = serde_json::to_vec_pretty(&record)?;
                write_atomically(&path(&self.folder, key), &bytes)?;
                self.there.insert(key.clone());
            }
        }
        Ok(())
    }

    /// Removes those that nothing refers to any more. What cannot be removed does no harm.
    pub(super) fn keep_only(&mut self, revisions: &Revisions) {
        let folder = &self.folder;
        self.there.retain(|key| {
            let is_wanted = revisions.contains_key(key);
            if !is_wanted {
                fs::remove_file(path(folder, key)).ok();
            }
            is_wanted
        });
    }
}

/// An underscore is in no app id, so different ids have different names.
fn path(folder: &Path, (app, version): &Key) -> PathBuf {
    let app = app.as_str().trim_start_matches('/').replace('/', "_");
    folder.join(format!("{app}@{version}.json"))
}

fn read(path: &Path, app: &AppId) -> Result<Revision, Damage> {
    let damage = |problem: String| Damage {
        file: path.to_owned(),
        problem,
    };
    let bytes = fs::read(path).map_err(|error| damage(error.to_string()))?;
    let record: Record =
        serde_json::from_slice(&bytes).map_err(|error| damage(error.to_string()))?;
    let definition = Definition::read(Some(app), &record.definition).map_err(|issues| {
        damage(format!(
            "its definition is not one that this version of teal accepts: {}",
            issues.body()["details"]
        ))
    })?;
    Ok(Revision {
        definition,
        version: record.version,
        last_scaling_at: record.last_scaling_at,
        last_config_change_at: record.last_config_change_at,
    })
}
