//! One HAProxy: what its workers say of a backend, the new one and those of before a reload, and how it is told.

use super::orders::Orders;
use super::page::{self, Page, Server};
use super::place::Place;
use super::residents::Residents;
use super::view::{Entry, View, add_old, entries, vacancies};
use super::{names, socket, state_file};
use crate::DriverError;
use futures_util::future::try_join_all;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use teal_core::action::Member;
use teal_core::name::{Address, InstanceId, PoolId};
use tokio::time::{Instant, sleep, timeout};

/// For how long a master is asked about its old workers before it counts as out of reach, for how long at a time, and with
/// which pause. A worker that ends breaks off its answer; a master that reloads is away for a while, and forgets whom it
/// has begun to listen to (2.6: the connection goes on into the program that it becomes).
const LONG_PATIENCE: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(30);

/// A process, and what it said last of each pool: a reload shows in who answers.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) place: Place,
    last: Mutex<BTreeMap<PoolId, Last>>,
}

#[derive(Debug)]
struct Last {
    worker: u64,
    entries: BTreeMap<InstanceId, Entry>,
    /// Entries of before the last reloads that may still have requests which the new worker knows nothing of.
    left_behind: BTreeMap<InstanceId, Address>,
    reloaded_at: Instant,
}

impl Process {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            last: Mutex::default(),
        }
    }

    /// Looks at a pool. None: there is no such backend.
    pub(super) async fn look(
        &self,
        pool: &PoolId,
        residents: &Residents,
    ) -> Result<Option<View>, DriverError> {
        let name = names::backend(pool);
        let page = self.page(&name).await?;
        let Some(backend) = &page.backend else {
            return Ok(None);
        };
        residents.check(&backend.servers)?;
        let mut view = View {
            entries: entries(&backend.servers, residents),
            vacancies: vacancies(&page, backend, residents),
        };
        if self.place.master.is_some() {
            for servers in self.servers_of_old_workers(page.pid, &name).await? {
                add_old(&mut view.entries, entries(&servers, residents));
            }
        } else {
            self.add_left_behind(pool, &page, &mut view.entries);
        }
        Ok(Some(view))
    }

    pub(super) async fn page(&self, backend: &str) -> Result<Page, DriverError> {
        let commands = [
            "show info".to_owned(),
            format!("show servers state {backend}"),
            "show stat -1 6 -1".to_owned(),
            "show table".to_owned(),
        ];
        let answer = socket::ask(&self.place.socket, &commands).await?;
        page::read(&answer, backend).map_err(|reason| self.malformed(reason))
    }

    /// Tells it to admit, withdraw and forget, in this order. What is so already is not said again.
    pub(super) async fn change(
        &self,
        pool: &PoolId,
        admit: &[Member],
        withdraw: &[InstanceId],
        forget: &[InstanceId],
        residents: &Residents,
    ) -> Result<(), DriverError> {
        let name = names::backend(pool);
        let page = self.page(&name).await?;
        let Some(backend) = &page.backend else {
            let what = format!("backend {name} of {}", self.place.socket);
            return Err(DriverError::NotFound { what });
        };
        let orders = Orders {
            backend,
            name: &name,
            adds_servers: page.adds_servers() && backend.takes_servers,
            residents,
        };
        let commands =
            orders
                .all(admit, withdraw, forget)
                .map_err(|message| DriverError::Refused {
                    what: format!("the change of backend {name} of {}", self.place.socket),
                    message,
                    details: Vec::new(),
                })?;
        // What cannot be kept over a reload is better not begun.
        let file = self.place.state_file.as_deref().map(state_file::prepare);
        let file = file.transpose()?;
        if !commands.is_empty() {
            let answer = socket::ask(&self.place.socket, &commands).await?;
            self.check(&name, &answer)?;
        }
        match file {
            Some(file) => {
                let states = socket::ask(&self.place.socket, &["show servers state"]).await?;
                file.keep(&states)
            }
            None => Ok(()),
        }
    }

    /// Most commands say nothing when they have done what they were told.
    pub(super) fn check(&self, backend: &str, answer: &str) -> Result<(), DriverError> {
        const FINE: [&str; 5] = [
            "New server registered.",
            "Server deleted.",
            "IP changed from ",
            "port changed from ",
            "no need to change ",
        ];
        // What has requests left, or idle connections, cannot be deleted yet: it stays listed, and is told again.
        const LATER: &str = "Server still has connections attached to it";
        let told = answer.lines().map(str::trim).filter(|line| {
            !line.is_empty()
                && !line.starts_with(LATER)
                && !FINE.iter().any(|fine| line.starts_with(fine))
        });
        let told: Vec<String> = told.map(str::to_owned).collect();
        let Some(first) = told.first() else {
            return Ok(());
        };
        if first.starts_with("Permission denied") {
            return Err(DriverError::Forbidden {
                url: self.place.socket.to_string(),
                message: "its stats socket is not at `level admin`".to_owned(),
            });
        }
        // Part of the line may have been done.
        Err(DriverError::Busy {
            url: self.place.socket.to_string(),
            message: format!("changing backend {backend}: {}", told.join("; ")),
        })
    }

    /// Returns the workers that finish what they had before a reload.
    ///
    /// # Errors
    /// The master does not answer; or it is the master of another HAProxy than the one of this worker.
    pub(super) async fn old_workers(&self, present: u64) -> Result<Vec<u64>, DriverError> {
        let Some(master) = &self.place.master else {
            return Ok(Vec::new());
        };
        let answer = socket::ask(master, &["show proc"]).await?;
        let malformed = |reason| DriverError::Malformed {
            url: master.to_string(),
            reason,
        };
        let mut old = page::old_workers(&answer).map_err(malformed)?;
        let workers = page::workers(&answer).map_err(malformed)?;
        if !workers.contains(&present) && !old.contains(&present) {
            let socket = &self.place.socket;
            let reason = format!("it is not the master of {socket}, which is process {present}");
            return Err(malformed(reason));
        }
        old.retain(|worker| *worker != present);
        Ok(old)
    }

    /// Asks all old workers. One that ends in the middle of its answer, and a master that reloads, are asked again.
    async fn servers_of_old_workers(
        &self,
        present: u64,
        backend: &str,
    ) -> Result<Vec<Vec<Server>>, DriverError> {
        let ask = async || {
            let old = timeout(PATIENCE, self.old_workers(present)).await;
            let old = old.unwrap_or_else(|_elapsed| Err(self.silent_master()))?;
            let servers = old.into_iter().map(|worker| async move {
                let asked = timeout(PATIENCE, self.servers_of_old(worker, backend)).await;
                asked.unwrap_or_else(|_elapsed| Err(self.silent_master()))
            });
            try_join_all(servers).await
        };
        let deadline = Instant::now() + LONG_PATIENCE;
        loop {
            match ask().await {
                // An answer that breaks off cannot be read.
                Err(DriverError::Unreachable { .. } | DriverError::Malformed { .. })
                    if Instant::now() < deadline =>
                {
                    sleep(PAUSE).await;
                }
                answered => return answered,
            }
        }
    }

    fn silent_master(&self) -> DriverError {
        let Place { socket, master, .. } = &self.place;
        let reason = format!("its master does not answer within {} s", PATIENCE.as_secs());
        socket::unreachable(master.as_ref().unwrap_or(socket), reason)
    }

    /// Asks an old worker, which only its master can reach. One that has gone has nothing left. It takes no changes; but
    /// it closes its connections one after the other, and once no client is left that may ask, no new request can come.
    async fn servers_of_old(&self, worker: u64, backend: &str) -> Result<Vec<Server>, DriverError> {
        let Some(master) = &self.place.master else {
            return Ok(Vec::new());
        };
        // The prefix goes for one command.
        let commands = [
            format!("@!{worker} show servers state {backend}"),
            format!("@!{worker} show stat -1 7 -1"),
        ];
        let answer = socket::ask(master, &commands).await?;
        let is_gone = |line: &str| {
            line.starts_with("Can't find the target") || line.starts_with("Can't find backend")
        };
        if answer.lines().any(is_gone) {
            return Ok(Vec::new());
        }
        let malformed = |reason| DriverError::Malformed {
            url: master.to_string(),
            reason,
        };
        let mut servers = page::backend(&answer, backend).map_err(malformed)?.servers;
        if !page::has_clients(&answer).map_err(malformed)? {
            for server in &mut servers {
                (server.serves, server.is_out) = (false, true);
            }
        }
        Ok(servers)
    }

    /// Where nobody can be asked about the old workers, requests of before a reload are taken to go on for a while.
    fn add_left_behind(
        &self,
        pool: &PoolId,
        page: &Page,
        entries: &mut BTreeMap<InstanceId, Entry>,
    ) {
        let mut all = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let worker = page.pid;
        // At the first look a young worker may be that of a reload which nobody has seen. All that is known of the time
        // before is what it lists.
        let is_young = Duration::from_secs(page.uptime_s) < self.place.old_workers;
        let everybody = || {
            entries
                .iter()
                .map(|(id, entry)| (id.clone(), entry.address.clone()))
        };
        let last = all.entry(pool.clone()).or_insert_with(|| Last {
            worker,
            entries: BTreeMap::new(),
            left_behind: if is_young {
                everybody().collect()
            } else {
                BTreeMap::new()
            },
            reloaded_at: now,
        });
        if last.reloaded_at + self.place.old_workers <= now {
            last.left_behind.clear();
        }
        if last.worker != worker {
            let busy = |entry: &Entry| entry.serves || entry.in_flight != Some(0);
            let left = last.entries.iter().filter(|(_, entry)| busy(entry));
            // The workers of the reload before may be there still.
            last.left_behind
                .extend(left.map(|(id, entry)| (id.clone(), entry.address.clone())));
            last.worker = worker;
            last.reloaded_at = now;
        }
        last.entries = entries.clone();
        for (id, address) in &last.left_behind {
            let entry = entries.entry(id.clone()).or_insert_with(|| Entry {
                address: address.clone(),
                serves: false,
                lingers: false,
                in_flight: None,
            });
            entry.in_flight = None;
        }
    }

    fn malformed(&self, reason: String) -> DriverError {
        DriverError::Malformed {
            url: self.place.socket.to_string(),
            reason,
        }
    }
}
