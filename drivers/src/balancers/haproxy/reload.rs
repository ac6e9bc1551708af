//! Reloading HAProxy without losing what it was told: its state is written down first, and read back afterwards.

use super::page::Added;
use super::place::Endpoint;
use super::process::Process;
use super::{Haproxy, page, socket, state_file};
use crate::DriverError;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a new worker may take to come up: it reads its configuration first.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked for.
const INTERVAL: Duration = Duration::from_millis(20);

impl Haproxy {
    /// Reloads every process, one after the other, each through its master's socket; and returns when the new workers
    /// answer. Slots keep their addresses and states where there is a state file. Servers that were added are lost, and
    /// are added again at once.
    ///
    /// # Errors
    /// A process has no known master socket, or no state file can be written: then it is not reloaded. Or no new worker
    /// has come up: then the old one goes on.
    pub async fn reload(&self) -> Result<(), DriverError> {
        for process in &self.processes {
            process.reload().await?;
        }
        Ok(())
    }
}

impl Process {
    async fn reload(&self) -> Result<(), DriverError> {
        let socket = &self.place.socket;
        let Some(master) = &self.place.master else {
            return Err(DriverError::Unusable {
                what: format!("reloading {socket}"),
                reason: "its master's socket is not known".to_owned(),
                hint: "start HAProxy with -W -S /run/haproxy-master.sock, and add ?master=/run/haproxy-master.sock to \
                       its address",
            });
        };
        let before = workers(master).await?;
        let states = socket::ask(socket, &["show servers state"]).await?;
        let added = page::added(&states).map_err(|reason| DriverError::Malformed {
            url: socket.to_string(),
            reason,
        })?;
        if let Some(path) = &self.place.state_file {
            state_file::prepare(path)?.keep(&states)?;
        }
        // The master becomes another program in the middle of its answer, up to 2.6: what it says here says nothing.
        let said = socket::ask(master, &["reload"]).await.unwrap_or_default();
        let failed = || DriverError::Refused {
            what: format!("reloading {socket}"),
            message: "no new worker has come up, so the present one goes on".to_owned(),
            details: said
                .lines()
                .map(str::to_owned)
                .filter(|line| !line.trim().is_empty())
                .collect(),
        };
        if said.starts_with("Success=0") {
            return Err(failed());
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let is_new = |worker: &u64| !before.contains(worker);
            let now = workers(master).await.unwrap_or_default();
            if now.iter().any(is_new) && self.answers_as(&now).await {
                return self.add_again(&added).await;
            }
            sleep(INTERVAL).await;
        }
        Err(failed())
    }

    async fn add_again(&self, added: &[Added]) -> Result<(), DriverError> {
        let commands = added.iter().flat_map(|one| {
            let server = format!("{}/{}", one.backend, one.server);
            [
                format!("add server {server} {} weight {}", one.address, one.weight),
                format!("set server {server} state {}", one.state),
            ]
        });
        let commands: Vec<String> = commands.collect();
        if commands.is_empty() {
            return Ok(());
        }
        let answer = socket::ask(&self.place.socket, &commands).await?;
        self.check("of every added server", &answer)
    }

    /// Whether who answers on the stats socket is one of these workers.
    async fn answers_as(&self, workers: &[u64]) -> bool {
        let page = self.page("teal-asks-for-nobody").await;
        page.is_ok_and(|page| workers.contains(&page.pid))
    }
}

async fn workers(master: &Endpoint) -> Result<Vec<u64>, DriverError> {
    let answer = socket::ask(master, &["show proc"]).await?;
    page::workers(&answer).map_err(|reason| DriverError::Malformed {
        url: master.to_string(),
        reason,
    })
}
