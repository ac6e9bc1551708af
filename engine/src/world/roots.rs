//! The versions of the whole: what was wanted at which time, and how that is written down.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::groups::Groups;
use crate::identity::AppId;
use crate::model::Revision;
use crate::state::RootRecord;
use crate::time::Stamp;

/// All apps and groups as they were wanted at one time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Root {
    pub(crate) groups: Groups,
    pub(crate) apps: BTreeMap<AppId, Arc<Revision>>,
}

impl Root {
    /// Returns the whole in which there is nothing.
    pub(crate) fn empty() -> Self {
        Self {
            groups: Groups::new(),
            apps: BTreeMap::new(),
        }
    }
}

/// Returns records of the versions of which every app is still `known`: an app that was removed takes
/// its revisions along, and so the versions that need them cannot outlive the engine. `keep` takes
/// note of a revision that a record names.
pub(super) fn records(
    history: &BTreeMap<Stamp, Root>,
    known: impl Fn(&AppId, Stamp) -> bool,
    keep: &mut impl FnMut(&Arc<Revision>) -> Stamp,
) -> Vec<RootRecord> {
    let mut former = &Root::empty();
    let mut records = Vec::new();
    let is_whole = |root: &Root| {
        let mut apps = root.apps.iter();
        apps.all(|(id, revision)| known(id, revision.version))
    };
    for (version, root) in history.iter().filter(|(_, root)| is_whole(root)) {
        let same = |id: &AppId, revision: &Arc<Revision>| {
            let known = former.apps.get(id);
            known.is_some_and(|known| Arc::ptr_eq(known, revision))
        };
        let gone = former.apps.keys().filter(|id| !root.apps.contains_key(id));
        let mut apps: BTreeMap<AppId, Option<Stamp>> = gone.map(|id| (id.clone(), None)).collect();
        for (id, revision) in root
            .apps
            .iter()
            .filter(|(id, revision)| !same(id, revision))
        {
            apps.insert(id.clone(), Some(keep(revision)));
        }
        records.push(RootRecord {
            version: *version,
            groups: (former.groups != root.groups).then(|| root.groups.clone()),
            apps,
        });
        former = root;
    }
    records
}

/// Returns the versions that were recorded.
///
/// # Errors
/// A sentence, where a revision that is named is not there.
pub(super) fn history(
    records: Vec<RootRecord>,
    find: &impl Fn(&AppId, Stamp) -> Result<Arc<Revision>, String>,
) -> Result<BTreeMap<Stamp, Root>, String> {
    let mut history = BTreeMap::new();
    let mut root = Root::empty();
    for record in records {
        if let Some(groups) = record.groups {
            root.groups = groups;
        }
        for (id, version) in record.apps {
            match version {
                None => root.apps.remove(&id),
                Some(version) => {
                    let revision = find(&id, version)?;
                    root.apps.insert(id, revision)
                }
            };
        }
        history.insert(record.version, root.clone());
    }
    Ok(history)
}
