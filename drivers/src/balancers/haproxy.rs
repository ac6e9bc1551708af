//! HAProxy over its Runtime API: one process or several, all of which have to confirm.
//!
//! | what | how |
//! |---|---|
//! | look | `show info;show servers state B;show stat -1 6 -1;show table` |
//! | admit | a free slot: `set server B/S addr … port …;set server B/S state ready`; none left, from 2.5 on: `add server B/I …` |
//! | withdraw | `set server B/S state drain`; `maint` where clients may come back, by a cookie or a stick table |
//! | forget | `set server B/S state maint`, then `del server` for what was added, or the slot's address is taken back |
//!
//! A pool is a backend, and is made in HAProxy's own configuration. A slot (`server-template`) has no place for an
//! instance's id, so who it is, is told by its address and the [`Directory`].
//!
//! A reload begins new workers, which know nothing of servers that were added, nor, without `server-state-file`, of
//! drained ones; the old ones go on with the connections that they have. So nothing is remembered of what was told:
//! every look reads what is, the old workers' part too, through the master's socket.
//!
//! Facts are from HAProxy's management guide and its source at 2.6; all of it is tried on 2.6 and 2.8.

mod hosts;
mod inspect;
mod names;
mod orders;
mod page;
mod place;
mod process;
mod reload;
mod residents;
mod socket;
mod state_file;
mod view;

pub use inspect::{Backend, Inspection, Process};

use crate::directory::Directory;
use crate::{Balancer, Capabilities, DriverError};
use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};
use residents::Residents;
use std::collections::BTreeMap;
use teal_core::action::PoolAction;
use teal_core::name::{InstanceId, PoolId};
use teal_core::observation::{EndpointSighting, EndpointState, PoolSighting};
use view::{Entry, View};

/// The processes of HAProxy that serve the same services.
#[derive(Debug)]
pub struct Haproxy {
    processes: Vec<process::Process>,
    directory: Directory,
    hosts: hosts::Hosts,
}

impl Haproxy {
    /// Returns a driver for the processes at these addresses, separated by commas. Nothing is sent yet.
    ///
    /// `haproxy+unix:/run/haproxy/admin.sock` and `haproxy+tcp://10.0.0.5:9999` are stats sockets. Behind a question mark
    /// may follow `master=` (the master's socket), `state_file=` (the file of `server-state-file`, to be kept up to date)
    /// and `old_workers=60s` (for how long after a reload requests may go on unseen where there is no master to ask),
    /// joined by `&`.
    ///
    /// # Errors
    /// [`DriverError::Unusable`] with every mistake in them.
    pub fn connect(addresses: &str, directory: Directory) -> Result<Self, DriverError> {
        let places = place::read(addresses)?;
        Ok(Self {
            processes: places.into_iter().map(process::Process::new).collect(),
            directory,
            hosts: hosts::Hosts::default(),
        })
    }

    async fn residents(&self) -> Residents {
        Residents::of(&self.directory, &self.hosts).await
    }

    async fn look(
        &self,
        pool: &PoolId,
        residents: &Residents,
    ) -> Result<Option<PoolSighting>, DriverError> {
        let looks = self
            .processes
            .iter()
            .map(|process| process.look(pool, residents));
        let views = try_join_all(looks).await?;
        if views.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut all = Vec::new();
        for (view, process) in views.into_iter().zip(&self.processes) {
            all.push(view.ok_or_else(|| DriverError::NotFound {
                what: format!(
                    "backend {} of {}, which others have",
                    names::backend(pool),
                    process.place.socket
                ),
            })?);
        }
        Ok(Some(join(pool, &all)))
    }

    async fn change(&self, action: &PoolAction) -> Result<(), DriverError> {
        let PoolAction::Change {
            pool,
            admit,
            withdraw,
            forget,
        } = action
        else {
            return Ok(());
        };
        // By hand, somebody may be admitted of whom the orchestrator has not told.
        for member in admit {
            self.directory.note(member);
        }
        let residents = self.residents().await;
        let changes = self
            .processes
            .iter()
            .map(|process| process.change(pool, admit, withdraw, forget, &residents));
        // Each is told, whatever the others answer: what one has not done shows in the next look.
        join_all(changes).await.into_iter().collect()
    }

    /// There is nothing that could be told to a running HAProxy to make a backend, or to unmake one.
    async fn expect(&self, pool: &PoolId) -> Result<(), DriverError> {
        let residents = self.residents().await;
        match self.look(pool, &residents).await? {
            Some(_) => Ok(()),
            None => Err(DriverError::Refused {
                what: format!("pool {pool}"),
                message: format!(
                    "HAProxy has no backend {}, and a running one cannot be given it",
                    names::backend(pool)
                ),
                details: Vec::new(),
            }),
        }
    }
}

#[async_trait]
impl Balancer for Haproxy {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            in_flight: true,
            atomic_change: false,
            listens: false,
            tcp: true,
        }
    }

    async fn observe(&self, pools: &[PoolId]) -> Result<Vec<PoolSighting>, DriverError> {
        let residents = self.residents().await;
        let looks = pools.iter().map(|pool| self.look(pool, &residents));
        let seen = try_join_all(looks).await?;
        Ok(seen.into_iter().flatten().collect())
    }

    async fn act(&self, action: &PoolAction) -> Result<(), DriverError> {
        match action {
            PoolAction::Open { pool } => self.expect(&pool.id).await,
            PoolAction::Change { .. } => self.change(action).await,
            PoolAction::Close { pool } => Err(DriverError::Refused {
                what: format!("closing pool {pool}"),
                message: "HAProxy's backends are made and unmade in its configuration".to_owned(),
                details: Vec::new(),
            }),
        }
    }
}

/// What all processes say together: one that does not list what another one does, does not serve it either.
fn join(pool: &PoolId, views: &[View]) -> PoolSighting {
    let mut by_instance: BTreeMap<&InstanceId, Vec<&Entry>> = BTreeMap::new();
    for (id, entry) in views.iter().flat_map(|view| &view.entries) {
        by_instance.entry(id).or_default().push(entry);
    }
    let endpoint = |(id, entries): (&InstanceId, Vec<&Entry>)| {
        let serving = entries.iter().filter(|entry| entry.serves).count();
        let lingers = entries.iter().any(|entry| entry.lingers);
        let state = match serving {
            all if all == views.len() => EndpointState::Serving,
            0 if !lingers => EndpointState::Draining,
            _ => EndpointState::Partly,
        };
        let both = |sum: u64, entry: &&Entry| Some(sum.saturating_add(entry.in_flight?));
        Some(EndpointSighting {
            instance: id.clone(),
            address: entries.first()?.address.clone(),
            state,
            in_flight: entries.iter().try_fold(0, both),
        })
    };
    PoolSighting {
        id: pool.clone(),
        listen: None,
        endpoints: by_instance.into_iter().filter_map(endpoint).collect(),
        vacancies: views.iter().filter_map(|view| view.vacancies).min(),
    }
}
