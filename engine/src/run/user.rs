//! Running a task as the user that its app names.

use std::ffi::CString;
use std::io;
use std::process::{Child, Command};
use std::thread;

use nix::unistd::{User, geteuid, getgrouplist};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

/// Somebody whose processes can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    groups: Vec<u32>,
}

impl Identity {
    /// Returns the user with a name, or nothing where that is who runs the engine.
    ///
    /// # Errors
    /// There is no such user, or this process may not become anybody else.
    pub(super) fn of(name: &str) -> io::Result<Option<Self>> {
        let user = User::from_name(name)?;
        let user = user.ok_or_else(|| {
            io::Error::other(format!("there is no user '{name}' on this machine"))
        })?;
        if user.uid == geteuid() {
            return Ok(None);
        }
        if !geteuid().is_root() {
            return Err(io::Error::other(format!(
                "only an engine that runs as root can run a task as '{name}'"
            )));
        }
        let groups = getgrouplist(&CString::new(name)?, user.gid)?;
        Ok(Some(Self {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: groups.into_iter().map(|group| group.as_raw()).collect(),
        }))
    }

    /// Starts a process as this user, with all groups that the user is in.
    ///
    /// A thread of its own becomes the user and starts it: under Linux credentials are a thread's,
    /// and the standard library would start it without any of the user's other groups.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        thread::scope(|scope| {
            let start = scope.spawn(|| {
                set_thread_groups(&groups)?;
                set_thread_gid(Gid::from_raw(self.gid))?;
                set_thread_uid(Uid::from_raw(self.uid))?;
                command.spawn()
            });
            start
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the starting thread ended early")))
        })
    }
}
