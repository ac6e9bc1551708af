//! A hold on one process that stays with it whatever happens to its number (pidfd_open(2)).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal,
    waitid,
};
use tokio::net::unix::pipe;

/// A process that can be waited for, whoever started it.
///
/// A pipe's receiver is tokio's one safe type that waits until any descriptor is readable: it does
/// nothing else with it until it is read from, which never happens here.
#[derive(Debug)]
pub(super) struct PidFd(pipe::Receiver);

impl PidFd {
    /// Takes hold of a process.
    ///
    /// # Errors
    /// It is gone, or the kernel is older than Linux 5.3.
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        Ok(Self(pipe::Receiver::from_owned_fd_unchecked(open(pid)?)?))
    }

    /// Waits until the process has exited, and says how where this process may know: only the
    /// parent of a process learns its exit status (waitid(2)).
    ///
    /// # Errors
    /// The system cannot wait for it.
    pub(super) async fn exit(&self) -> io::Result<Option<WaitIdStatus>> {
        // A pidfd becomes readable when its process exits (pidfd_open(2)), and stays so.
        self.0.readable().await?;
        let id = WaitId::PidFd(self.0.as_fd());
        match waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(status) => Ok(status),
            Err(rustix::io::Errno::CHILD) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Ends a process at once if it still is what `is_meant` says, and does nothing otherwise.
pub(super) fn kill_if(pid: u32, is_meant: impl FnOnce() -> bool) {
    signal_if(pid, Signal::KILL, is_meant);
}

/// Asks a process to end if it still is what `is_meant` says, and does nothing otherwise.
pub(super) fn terminate_if(pid: u32, is_meant: impl FnOnce() -> bool) {
    signal_if(pid, Signal::TERM, is_meant);
}

fn signal_if(pid: u32, signal: Signal, is_meant: impl FnOnce() -> bool) {
    // The question comes after the hold: a number that was given to another in between is let go.
    if let Ok(process) = open(pid)
        && is_meant()
    {
        pidfd_send_signal(process, signal).ok();
    }
}

fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}
