//! Fetches what a task needs into its sandbox before it starts.
//!
//! Follows Mesos' fetcher (`src/launcher/fetcher.cpp`): files are copied, URLs downloaded with
//! redirects followed, archives unpacked beside themselves by `tar`, `unzip` and `gzip`. Nothing is
//! kept for the next task.

mod download;
mod unpack;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use percent_encoding::percent_decode_str;

use crate::definition::{Artifact, Source};

/// What an executable may be used for: everything by its owner, reading and running by others.
const EXECUTABLE_MODE: u32 = 0o755;

/// Fetches all artifacts into a sandbox, one after the other.
///
/// # Errors
/// A sentence: which one could not be fetched, and why.
pub(crate) async fn into_sandbox(artifacts: &[Artifact], sandbox: &Path) -> Result<(), String> {
    for artifact in artifacts {
        fetch(artifact, sandbox)
            .await
            .map_err(|error| format!("Failed to fetch '{}': {error}", artifact.uri))?;
    }
    Ok(())
}

async fn fetch(artifact: &Artifact, sandbox: &Path) -> io::Result<()> {
    let name = artifact.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let target = sandbox.join(name);
    if let Some(folder) = target.parent() {
        tokio::fs::create_dir_all(folder).await?;
    }
    match artifact.source() {
        Some(Source::File(path)) => {
            let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
            tokio::fs::copy(path, &target).await?;
        }
        Some(Source::Web(url)) => download::to_file(&url, &target).await?,
        None => return Err(io::ErrorKind::Unsupported.into()),
    }
    if artifact.executable {
        let mode = std::fs::Permissions::from_mode(EXECUTABLE_MODE);
        return tokio::fs::set_permissions(&target, mode).await;
    }
    if artifact.extract {
        unpack::unpack(&target, sandbox).await?;
    }
    Ok(())
}
