//! The descriptors that this process was started with, which tasks must not inherit in turn.

use anyhow::Context;
use std::fs;
use std::os::fd::RawFd;

/// The flag of `/proc/<pid>/fdinfo/<fd>` that says that a descriptor is not inherited: `O_CLOEXEC`, in octal as there
/// (proc(5)).
const CLOSE_ON_EXEC: u32 = 0o2_000_000;

/// Closes every descriptor beyond the standard ones that a started program would inherit.
///
/// What this process opens itself is marked as not to be inherited, by the standard library and by tokio, so these
/// are what whoever started it left open: nobody here knows of them.
///
/// # Errors
/// `/proc` cannot be read.
pub(crate) fn close_inherited() -> anyhow::Result<()> {
    let entries = fs::read_dir("/proc/self/fd").context("/proc/self/fd")?;
    let open: Vec<RawFd> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        if is_inherited(descriptor) {
            // One that is gone already is what was wanted.
            nix::unistd::close(descriptor).ok();
        }
    }
    Ok(())
}

fn is_inherited(descriptor: RawFd) -> bool {
    let Ok(text) = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")) else {
        return false;
    };
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & CLOSE_ON_EXEC == 0)
}
