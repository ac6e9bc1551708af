//! The proxies that are compared: one file each, which says how it is configured and started.
//!
//! All do the same work: one worker, two endpoints with the same way of choosing, kept connections on both sides, no
//! access log, X-Forwarded-For added. Where a default costs a peer time and no promise hangs on it, the faster setting
//! is taken.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::Places;
use crate::ask;
use crate::process::Process;

mod caddy;
mod envoy;
mod haproxy;
mod nginx;
pub(crate) mod teal;
mod traefik;

const START_LIMIT: Duration = Duration::from_secs(60);

/// A proxy that can be started.
#[derive(Debug)]
pub(crate) struct Peer {
    /// As in the tables.
    pub(crate) name: &'static str,
    pub(crate) version: String,
    kind: &'static Kind,
    program: PathBuf,
}

/// What a peer's file says.
#[derive(Debug)]
struct Kind {
    name: &'static str,
    /// The program, looked for in `PATH`; teal's own are known.
    program: Program,
    /// The arguments that make it tell its version.
    version: &'static [&'static str],
    /// Whether it is small enough to be run under callgrind in reasonable time.
    traceable: bool,
    /// Writes its configuration and returns its arguments.
    configure: fn(&Site) -> anyhow::Result<Vec<String>>,
    /// Steers it once it runs.
    steer: Steer,
}

#[derive(Debug)]
enum Program {
    InPath(&'static str),
    Teal,
    ThisOne,
}

/// Where a peer runs.
#[derive(Debug)]
pub(crate) struct Site {
    /// Its own folder, empty at first.
    pub(crate) folder: PathBuf,
    pub(crate) listen: SocketAddr,
    /// For an admin API.
    pub(crate) admin: SocketAddr,
    /// For another API, where one is needed.
    pub(crate) other: SocketAddr,
    pub(crate) backends: [SocketAddr; 2],
}

/// A peer that serves.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) site: Site,
    /// How long it took from its start to the first answer.
    pub(crate) started_in: Duration,
}

/// How a peer is run.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// The only processor that it may use; none is all.
    pub(crate) processor: Option<usize>,
    /// What stands in front of its command line.
    pub(crate) wrapper: Vec<String>,
}

type Steer = fn(&Site) -> anyhow::Result<()>;

const KINDS: [&Kind; 7] = [
    &teal::ALONE,
    &teal::UP,
    &nginx::KIND,
    &haproxy::KIND,
    &envoy::KIND,
    &traefik::KIND,
    &caddy::KIND,
];

/// Returns the peers that can be had here, in the order of the tables, and a sentence for each that cannot.
pub(crate) fn find(places: &Places, only: &[String]) -> (Vec<Peer>, Vec<String>) {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    let wanted = |kind: &&&Kind| only.is_empty() || only.iter().any(|name| name == kind.name);
    for kind in KINDS.iter().filter(wanted) {
        match Peer::find(places, kind) {
            Ok(peer) => found.push(peer),
            Err(error) => missing.push(format!("SKIPPED: {}: {error:#}", kind.name)),
        }
    }
    (found, missing)
}

impl Peer {
    fn find(places: &Places, kind: &'static Kind) -> anyhow::Result<Self> {
        let program = match kind.program {
            Program::InPath(name) => {
                in_path(name).with_context(|| format!("there is no `{name}` in PATH"))?
            }
            Program::Teal => places.teal.clone(),
            Program::ThisOne => std::env::current_exe()?,
        };
        let output = Command::new(&program)
            .args(kind.version)
            .output()
            .with_context(|| program.display().to_string())?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let version = version_in(&said).with_context(|| format!("it tells no version: {said}"))?;
        Ok(Self {
            name: kind.name,
            version,
            kind,
            program,
        })
    }

    pub(crate) fn is_traceable(&self) -> bool {
        self.kind.traceable
    }

    /// Starts it in a folder of its own and waits until it serves.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or does not serve in time.
    pub(crate) fn start(
        &self,
        places: &Places,
        backends: [SocketAddr; 2],
        place: &Place,
    ) -> anyhow::Result<Running> {
        let site = Site {
            folder: places.scratch(self.name)?,
            listen: ask::free_address()?,
            admin: ask::free_address()?,
            other: ask::free_address()?,
            backends,
        };
        self.launch(site, place, self.kind.steer)
    }

    /// Starts it again where it has been, as it was left, and waits until it serves.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or does not serve in time.
    pub(crate) fn start_again(&self, site: Site, place: &Place) -> anyhow::Result<Running> {
        self.launch(site, place, nothing_to_steer)
    }

    fn launch(&self, site: Site, place: &Place, steer: Steer) -> anyhow::Result<Running> {
        let mut command = self.command(&site, &place.wrapper)?;
        let begun = Instant::now();
        let mut process = Process::start(&mut command, place.processor)?;
        let served = steer(&site).and_then(|()| Ok(ask::until_ok(site.listen, "/", START_LIMIT)?));
        if let Err(error) = served {
            let log = std::fs::read_to_string(site.folder.join("log")).unwrap_or_default();
            let fate = process.fate().unwrap_or_else(|| "it runs".to_owned());
            bail!("{}: {error:#}; {fate}; it said: {log}", self.name);
        }
        Ok(Running {
            process,
            site,
            started_in: begun.elapsed(),
        })
    }

    fn command(&self, site: &Site, wrapper: &[String]) -> anyhow::Result<Command> {
        let arguments = (self.kind.configure)(site)?;
        let mut line = wrapper.to_vec();
        line.push(self.program.display().to_string());
        line.extend(arguments);
        let mut command = Command::new(&line[0]);
        let log = std::fs::File::create(site.folder.join("log"))?;
        command
            .args(&line[1..])
            .current_dir(&site.folder)
            .env("GOMAXPROCS", "1")
            .env("HOME", &site.folder)
            .stdout(log.try_clone()?)
            .stderr(Stdio::from(log));
        Ok(command)
    }
}

/// Returns the first thing that looks like a version: two numbers with a dot between them, at least.
fn version_in(said: &str) -> Option<String> {
    let words = said.split(|c: char| c.is_whitespace() || "/:,".contains(c));
    let mut versions = words
        .map(|word| word.trim_start_matches('v'))
        .filter(|word| {
            let mut numbers = word.split(['.', '-', '+']);
            let mut is_number = || {
                numbers
                    .next()
                    .is_some_and(|number| number.parse::<u32>().is_ok())
            };
            is_number() && is_number()
        });
    versions.next().map(str::to_owned)
}

/// Returns where a program is.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join(name));
    candidates.find(|candidate| candidate.is_file())
}

/// Writes a configuration and returns its path as an argument.
fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<String> {
    let file = folder.join(name);
    std::fs::write(&file, text).with_context(|| file.display().to_string())?;
    Ok(file.display().to_string())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "others have something to do that can fail"
)]
fn nothing_to_steer(_: &Site) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let said = [
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            (
                "HAProxy version 2.6.12-1+deb12u4 2026/01/01 - https://haproxy.org/\n",
                "2.6.12-1+deb12u4",
            ),
            (
                "envoy  version: 0a1b2c/1.40.0/Clean/RELEASE/BoringSSL\n",
                "1.40.0",
            ),
            ("Version:      3.7.15\nCodename: x\n", "3.7.15"),
            ("v2.11.7 h1:abc=\n", "2.11.7"),
            ("teal 0.1.0\n", "0.1.0"),
        ];

        for (text, version) in said {
            assert_eq!(version_in(text).as_deref(), Some(version));
        }
    }
}
