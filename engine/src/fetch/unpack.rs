//! Unpacks an archive that was fetched, by the programs that Mesos uses.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

/// Endings of archives that `tar` reads (`fetcher.cpp`, `extract`).
const TAR_ENDINGS: [&str; 7] = [
    ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz",
];

/// How an archive is unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Tar,
    Zip,
    /// One compressed file, which gets this name.
    Gzip(String),
}

impl Kind {
    /// Returns how a file of this name is unpacked, if it is an archive.
    fn of(name: &str) -> Option<Self> {
        if TAR_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            return Some(Self::Tar);
        }
        if name.ends_with(".zip") {
            return Some(Self::Zip);
        }
        let plain = name.strip_suffix(".gz")?;
        (!plain.is_empty()).then(|| Self::Gzip(plain.to_owned()))
    }
}

/// Unpacks a file into a folder where its name says that it is an archive.
pub(super) async fn unpack(archive: &Path, folder: &Path) -> io::Result<()> {
    let name = archive.file_name().and_then(OsStr::to_str);
    let Some(kind) = name.and_then(Kind::of) else {
        return Ok(());
    };
    let mut command;
    let program = match kind {
        Kind::Tar => {
            command = Command::new("tar");
            command.args(["--no-same-owner", "-C"]);
            command.arg(folder).arg("-xf").arg(archive);
            "tar"
        }
        Kind::Zip => {
            command = Command::new("unzip");
            command.arg("-oq").arg(archive).arg("-d").arg(folder);
            "unzip"
        }
        Kind::Gzip(name) => {
            command = Command::new("gzip");
            command.arg("-dc").arg(archive);
            command.stdout(std::fs::File::create(folder.join(name))?);
            "gzip"
        }
    };
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    let output = command
        .env_clear()
        .env("PATH", search_path)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| io::Error::other(format!("{program} could not be started: {error}")))?
        .wait_with_output()
        .await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().next().unwrap_or_default();
    Err(io::Error::other(format!(
        "{program} ended with {}: {last}",
        output.status
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_known_by_its_name() {
        for (name, kind) in [
            ("a.tar", Some(Kind::Tar)),
            ("a.tar.gz", Some(Kind::Tar)),
            ("a.txz", Some(Kind::Tar)),
            ("a.zip", Some(Kind::Zip)),
            ("a.log.gz", Some(Kind::Gzip("a.log".to_owned()))),
            (".gz", None),
            ("a.py", None),
        ] {
            assert_eq!(Kind::of(name), kind, "{name}");
        }
    }
}
