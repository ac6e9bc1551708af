//! What a person wants to know of a HAProxy before a deployment relies on it.

use super::page;
use super::process::Process as Steered;
use super::residents::Residents;
use super::{Haproxy, socket, state_file, view};
use crate::DriverError;

/// One process, as it was found.
#[derive(Debug)]
pub struct Inspection {
    /// Its address, as it was given.
    pub place: String,
    /// What it is like; or why it could not be asked.
    pub found: Result<Process, DriverError>,
}

/// A process that answers.
#[derive(Debug)]
pub struct Process {
    /// Its version.
    pub version: String,
    /// For how many seconds the worker has been there.
    pub uptime_s: u64,
    /// Whether its stats socket permits changes (`level admin`).
    pub may_change: bool,
    /// Whether it is new enough to be given servers (2.5).
    pub adds_servers: bool,
    /// How many workers of before a reload there are; None: no master socket is known.
    pub master: Option<Result<usize, DriverError>>,
    /// Whether its state file can be written; None: none is to be kept.
    pub state_file: Option<Result<(), DriverError>>,
    /// Its backends.
    pub backends: Vec<Backend>,
}

/// A backend of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Servers that get new requests.
    pub serving: usize,
    /// Servers that get none, and are no free slots.
    pub draining: usize,
    /// Slots that are free.
    pub free: usize,
    /// Whether servers can be added to it.
    pub adds_servers: bool,
}

impl Haproxy {
    /// Looks at every process.
    pub async fn inspect(&self) -> Vec<Inspection> {
        let residents = self.residents().await;
        let mut inspections = Vec::new();
        for process in &self.processes {
            inspections.push(Inspection {
                place: process.place.socket.to_string(),
                found: inspect(process, &residents).await,
            });
        }
        inspections
    }
}

async fn inspect(process: &Steered, residents: &Residents) -> Result<Process, DriverError> {
    let socket = &process.place.socket;
    // Nothing has this name, so that nothing is changed, whatever the rights are.
    let nobody = "set server teal-asks/for-nobody state ready";
    let answer = socket::ask(socket, &[nobody]).await?;
    let may_change = answer.contains("No such");
    let states = socket::ask(socket, &["show servers state"]).await?;
    let names = page::backends(&states).map_err(|reason| DriverError::Malformed {
        url: socket.to_string(),
        reason,
    })?;
    let about = process.page("teal-asks-for-nobody").await?;
    let mut backends = Vec::new();
    for name in names {
        let page = process.page(&name).await?;
        backends.extend(page.backend.map(|found| {
            let listed = view::entries(&found.servers, residents);
            let serving = listed.values().filter(|entry| entry.serves).count();
            Backend {
                serving,
                draining: listed.len() - serving,
                free: view::free(&found.servers, residents),
                adds_servers: about.adds_servers() && found.takes_servers,
                name,
            }
        }));
    }
    let master = if process.place.master.is_some() {
        let old = process.old_workers(about.pid).await;
        Some(old.map(|workers| workers.len()))
    } else {
        None
    };
    let state_file = process.place.state_file.as_ref();
    Ok(Process {
        adds_servers: about.adds_servers(),
        version: about.version,
        uptime_s: about.uptime_s,
        may_change,
        master,
        state_file: state_file.map(|path| state_file::prepare(path).map(drop)),
        backends,
    })
}
