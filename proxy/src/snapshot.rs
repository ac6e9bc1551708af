//! What outlives the process: pools, where they listen, and who serves in them.
//!
//! A balancer that was killed serves again the moment it is started: it finds its pools in a file and need not wait
//! for somebody to tell them again. The file is replaced, as a whole, before a change is answered. It is not forced to
//! the disk: it is for a process that dies, and the system's cache outlives that. After a reboot nothing that was in
//! the pools runs any more and another service may have got its port, so pools come back empty then.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::pool::{Change, PoolView, Protocol, Traffic};
use crate::registry::Listed;

/// The format of the file that is written and understood.
const FORMAT: u32 = 1;

/// Where Linux says which boot this is (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Why the file of a former balancer cannot be used. It is left as it is.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The system does not hand it out, or its folder cannot be written to.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not what a balancer writes.
    #[error("it does not read as a balancer's state: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It was written by a balancer that knows more than this one.
    #[error("it has format {0}, and this version knows format {FORMAT} only")]
    Format(u32),
}

/// The file, and the order of the writes to it.
#[derive(Debug)]
pub(crate) struct Snapshot {
    file: PathBuf,
    boot_id: String,
    /// Held from looking at the pools until they are written: the last write has seen the last change.
    writing: Mutex<()>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    format: u32,
    boot_id: String,
    pools: Vec<SavedPool>,
}

/// A pool as it was.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedPool {
    pub(crate) name: String,
    pub(crate) listen: SocketAddr,
    pub(crate) protocol: Protocol,
    endpoints: Vec<SavedEndpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedEndpoint {
    instance: String,
    address: SocketAddr,
    state: Traffic,
}

impl Snapshot {
    /// Opens the file and returns the pools in it, without endpoints if the machine was started since.
    ///
    /// # Errors
    /// The file is there and cannot be used, or its folder cannot be made.
    pub(crate) fn open(file: &Path) -> Result<(Self, Vec<SavedPool>), SnapshotError> {
        Self::open_in_boot(file, fs::read_to_string(BOOT_ID).unwrap_or_default())
    }

    fn open_in_boot(file: &Path, boot_id: String) -> Result<(Self, Vec<SavedPool>), SnapshotError> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut pools = match fs::read(file) {
            Ok(bytes) => read(&bytes, &boot_id)?,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        pools.sort_by(|one, other| one.name.cmp(&other.name));
        let snapshot = Self {
            file: file.to_owned(),
            boot_id,
            writing: Mutex::default(),
        };
        Ok((snapshot, pools))
    }

    /// Writes down what `look` sees. It blocks for as long as writing a small file takes.
    ///
    /// # Errors
    /// The file cannot be written. The old one is gone then, if that was possible: an old truth would send requests
    /// to what has been withdrawn.
    pub(crate) fn write(&self, look: impl FnOnce() -> Vec<Listed>) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let document = Document {
            format: FORMAT,
            boot_id: self.boot_id.clone(),
            pools: look().iter().map(SavedPool::of).collect(),
        };
        let fresh = self.file.with_extension("new");
        let written = serde_json::to_vec(&document)
            .map_err(io::Error::from)
            .and_then(|bytes| fs::write(&fresh, bytes))
            .and_then(|()| fs::rename(&fresh, &self.file));
        if written.is_err() {
            fs::remove_file(&self.file).ok();
        }
        written
    }
}

fn read(bytes: &[u8], boot_id: &str) -> Result<Vec<SavedPool>, SnapshotError> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let head: Head = serde_json::from_slice(bytes)?;
    if head.format != FORMAT {
        return Err(SnapshotError::Format(head.format));
    }
    let mut document: Document = serde_json::from_slice(bytes)?;
    if document.boot_id != boot_id {
        for pool in &mut document.pools {
            pool.endpoints.clear();
        }
    }
    Ok(document.pools)
}

impl SavedPool {
    fn of(listed: &Listed) -> Self {
        Self {
            name: listed.pool.name.clone(),
            listen: listed.listen,
            protocol: listed.pool.protocol,
            endpoints: endpoints(listed.pool.view()),
        }
    }

    /// Returns the changes that make an empty pool what this one was: first everybody in, then out again who had
    /// been taken out.
    pub(crate) fn changes(&self) -> [Change; 2] {
        let admit = self.endpoints.iter();
        let admit = admit.map(|endpoint| (endpoint.instance.clone(), endpoint.address));
        let draining = self.endpoints.iter();
        let draining = draining.filter(|endpoint| endpoint.state == Traffic::Draining);
        let back = Change {
            admit: admit.collect(),
            ..Change::default()
        };
        let out = Change {
            withdraw: draining.map(|endpoint| endpoint.instance.clone()).collect(),
            ..Change::default()
        };
        [back, out]
    }
}

/// Returns what is worth remembering: an endpoint that only waits for its last request goes with that request.
fn endpoints(view: PoolView) -> Vec<SavedEndpoint> {
    let kept = view.endpoints.into_iter().filter(|one| !one.leaving);
    kept.map(|one| SavedEndpoint {
        instance: one.instance,
        address: one.address,
        state: one.state,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"format":1,"boot_id":"one","pools":[{"name":"p","listen":"127.0.0.1:10000",
        "protocol":"http","endpoints":[{"instance":"a","address":"127.0.0.1:31000","state":"serving"},
        {"instance":"b","address":"127.0.0.1:31001","state":"draining"}]}]}"#;

    #[test]
    fn what_was_taken_out_comes_back_taken_out() {
        let pools = read(FILE.as_bytes(), "one").expect("it reads");

        let [back, out] = pools[0].changes();

        assert_eq!(back.admit.len(), 2);
        assert_eq!(out.withdraw, ["b"]);
    }

    #[test]
    fn after_a_reboot_pools_come_back_empty() {
        let pools = read(FILE.as_bytes(), "two").expect("it reads");

        assert_eq!(pools[0].name, "p");
        assert_eq!(pools[0].endpoints, []);
    }

    #[test]
    fn a_file_of_another_format_or_half_a_file_is_refused() {
        let newer = FILE.replace("\"format\":1", "\"format\":2");

        assert!(matches!(
            read(newer.as_bytes(), "one"),
            Err(SnapshotError::Format(2))
        ));
        assert!(matches!(
            read(&FILE.as_bytes()[..100], "one"),
            Err(SnapshotError::Malformed(_))
        ));
    }
}
