//! HAProxy before a deployed service, with the configuration that `teal haproxy-config` prints.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::process::Process;
use crate::site::SERVICE;

const START_LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(2);
const FILE: &str = "haproxy.cfg";

/// Returns what `--balancer` is told of a HAProxy that runs in a folder.
pub(crate) fn address(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "haproxy+unix:{folder}/admin.sock?master={folder}/master.sock&state_file={folder}/server-state"
    )
}

/// Returns the configuration that teal prints.
///
/// # Errors
///
/// If it prints none.
pub(crate) fn printed(
    teal: &Path,
    folder: &Path,
    listen: SocketAddr,
    slots: usize,
) -> anyhow::Result<String> {
    let printed = Command::new(teal)
        .args(["haproxy-config", SERVICE])
        .arg(format!("--listen={listen}"))
        .arg(format!("--slots={slots}"))
        .arg("--folder")
        .arg(folder)
        .output()?;
    let said = String::from_utf8_lossy(&printed.stderr);
    ensure!(printed.status.success(), "teal haproxy-config: {said}");
    Ok(String::from_utf8(printed.stdout)?)
}

/// Writes the configuration of a HAProxy that runs in a folder, which takes it at its next reload.
///
/// # Errors
///
/// If it cannot be written.
pub(crate) fn configure(folder: &Path, text: &str) -> std::io::Result<()> {
    std::fs::write(folder.join(FILE), text)
}

/// Starts HAProxy, master and worker, in a folder.
///
/// # Errors
///
/// If it does not come.
pub(crate) fn start(folder: &Path, text: &str) -> anyhow::Result<Process> {
    configure(folder, text)?;
    std::fs::write(folder.join("server-state"), "1\n")?;
    let log = File::create(folder.join("haproxy.log"))?;
    let mut command = Command::new("haproxy");
    command
        .arg("-W")
        .arg("-S")
        .arg(folder.join("master.sock"))
        .arg("-f")
        .arg(folder.join(FILE))
        .stdout(log.try_clone()?)
        .stderr(log);
    let process = Process::start(&mut command, None)?;
    let deadline = Instant::now() + START_LIMIT;
    while !folder.join("admin.sock").exists() {
        ensure!(
            Instant::now() < deadline,
            "haproxy does not come; see {}",
            folder.display()
        );
        std::thread::sleep(PAUSE);
    }
    Ok(process)
}
