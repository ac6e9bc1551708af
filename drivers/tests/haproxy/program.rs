//! The HAProxy programs of this machine, and what is said where one is missing.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which HAProxy a test is run on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Release {
    /// The one that the system has.
    First,
    /// One of another release, which somebody has put beside it.
    Second,
}

/// A HAProxy that is there.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
}

impl Release {
    /// Finds the program, or says aloud that the test is skipped, and returns nothing.
    pub(crate) fn program(self) -> Option<Program> {
        match self.find() {
            Ok(path) => Some(Program { path }),
            Err(why) => {
                let test = std::thread::current().name().unwrap_or("?").to_owned();
                let line = format!("\nSKIPPED: {test}: {why}\n");
                // Straight to the stream: what goes through `eprintln!` is shown for failed tests only.
                std::io::stderr().write_all(line.as_bytes()).ok();
                None
            }
        }
    }

    fn find(self) -> Result<PathBuf, String> {
        let variable = match self {
            Self::First => "TEAL_HAPROXY",
            Self::Second => "TEAL_HAPROXY_2",
        };
        if let Some(named) = env::var_os(variable) {
            let path = PathBuf::from(named);
            let missing = format!("{variable} names {}, which is no file", path.display());
            return path.is_file().then_some(path).ok_or(missing);
        }
        match self {
            Self::First => {
                let path = env::var_os("PATH").unwrap_or_default();
                // Where Debian has it, which is in the PATH of root alone.
                let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
                let mut programs = folders.map(|folder| folder.join("haproxy"));
                let found = programs.find(|program| program.is_file());
                found.ok_or("there is no `haproxy` (Debian: apt-get install haproxy)".to_owned())
            }
            Self::Second => Err("TEAL_HAPROXY_2 names no HAProxy of another release".to_owned()),
        }
    }
}

impl Program {
    /// Returns a command that runs it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        // One that was not packaged for this system brings its libraries along.
        let libraries = self.path.parent().map(|folder| folder.join("lib"));
        if let Some(libraries) = libraries.filter(|folder| is_library_folder(folder)) {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }

    /// Returns what it says its release is, as `2.6.12`.
    pub(crate) fn release(&self) -> String {
        let said = self.command().arg("-v").output().expect("it runs");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let word = said.split_whitespace().nth(2).unwrap_or("?");
        word.split('-').next().unwrap_or("?").to_owned()
    }
}

fn is_library_folder(folder: &Path) -> bool {
    folder.is_dir() && !folder.starts_with("/usr")
}
