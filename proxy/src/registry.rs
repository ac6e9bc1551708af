//! The pools by name, each with its listener.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use crate::limits;
use crate::listener::{House, Listener, Unbound};
use crate::pool::{Pool, Protocol};
use crate::snapshot::SavedPool;

/// All pools of one proxy.
#[derive(Debug)]
pub(crate) struct Registry {
    house: House,
    open: Mutex<BTreeMap<String, Open>>,
}

/// A pool with its listener's address.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) pool: Arc<Pool>,
    pub(crate) listen: SocketAddr,
}

/// What opening a pool came to.
#[derive(Debug)]
pub(crate) enum Opened {
    /// There was none of this name.
    New,
    /// It listened there already.
    Known,
    /// It listened elsewhere before.
    Moved(Option<Unbound>),
}

/// Why a pool was not opened. Nothing has changed then.
#[derive(Debug, Error)]
pub(crate) enum OpenError {
    /// Something else has the address.
    #[error("the address {0} is in use; choose another or stop what listens there")]
    InUse(SocketAddr),
    /// None of the automatic ports is free.
    #[error(
        "no port of {} to {} is free on 127.0.0.1; name an address in \"listen\"",
        limits::AUTOMATIC_PORTS.start(),
        limits::AUTOMATIC_PORTS.end()
    )]
    NoPort,
    /// A pool does not change what it speaks.
    #[error("the pool speaks {0:?} already; delete it first to change its protocol")]
    OtherProtocol(Protocol),
    /// The system refuses the address.
    #[error("cannot listen on {address}: {error}")]
    Refused {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
}

#[derive(Debug)]
struct Open {
    pool: Arc<Pool>,
    listener: Listener,
}

impl Registry {
    /// Returns a registry without pools.
    pub(crate) fn new(house: House) -> Self {
        Self {
            house,
            open: Mutex::default(),
        }
    }

    /// Makes sure that the pool exists and listens on `listen`; `None` is wherever it does, or
    /// the first automatic port that is free.
    pub(crate) fn open(
        &self,
        name: &str,
        listen: Option<SocketAddr>,
        protocol: Protocol,
    ) -> Result<(Opened, Listed), OpenError> {
        let mut open = self.lock();
        if let Some(known) = open.get_mut(name) {
            if known.pool.protocol != protocol {
                return Err(OpenError::OtherProtocol(known.pool.protocol));
            }
            let Some(address) = listen.filter(|listen| !known.satisfies(*listen)) else {
                return Ok((Opened::Known, known.listed()));
            };
            // The new one is open before the old one is closed.
            let listener = self.listen(address, &known.pool)?;
            let old = std::mem::replace(&mut known.listener, listener);
            return Ok((Opened::Moved(old.close()), known.listed()));
        }
        let pool = Arc::new(Pool::new(name.to_owned(), protocol));
        let listener = match listen {
            Some(address) => self.listen(address, &pool)?,
            None => self.listen_anywhere(&pool)?,
        };
        let made = Open { pool, listener };
        let listed = made.listed();
        open.insert(name.to_owned(), made);
        Ok((Opened::New, listed))
    }

    /// Opens a pool as it was: who serves is settled before the first connection is accepted.
    ///
    /// # Errors
    /// [`OpenError::InUse`] or [`OpenError::Refused`]; the pool is not there then.
    pub(crate) fn restore(&self, saved: &SavedPool) -> Result<(), OpenError> {
        let pool = Arc::new(Pool::new(saved.name.clone(), saved.protocol));
        for change in saved.changes() {
            pool.change(&change);
        }
        let listener = self.listen(saved.listen, &pool)?;
        self.lock()
            .insert(saved.name.clone(), Open { pool, listener });
        Ok(())
    }

    /// Closes a pool's listener and forgets the pool; what is in flight is finished.
    pub(crate) fn close(&self, name: &str) -> Option<(Option<Unbound>, Listed)> {
        let closed = self.lock().remove(name)?;
        let listed = closed.listed();
        Some((closed.listener.close(), listed))
    }

    /// Closes all listeners and forgets all pools.
    pub(crate) fn close_all(&self) {
        self.lock().clear();
    }

    /// Returns one pool.
    pub(crate) fn get(&self, name: &str) -> Option<Listed> {
        self.lock().get(name).map(Open::listed)
    }

    /// Returns all pools by name.
    pub(crate) fn all(&self) -> Vec<Listed> {
        self.lock().values().map(Open::listed).collect()
    }

    fn listen(&self, address: SocketAddr, pool: &Arc<Pool>) -> Result<Listener, OpenError> {
        let opened = Listener::open(address, Arc::clone(pool), self.house.clone());
        opened.map_err(|error| {
            if error.kind() == ErrorKind::AddrInUse {
                OpenError::InUse(address)
            } else {
                OpenError::Refused { address, error }
            }
        })
    }

    fn listen_anywhere(&self, pool: &Arc<Pool>) -> Result<Listener, OpenError> {
        for port in limits::AUTOMATIC_PORTS {
            let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
            match self.listen(address, pool) {
                Err(OpenError::InUse(_)) => {}
                other => return other,
            }
        }
        Err(OpenError::NoPort)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn listed(&self) -> Listed {
        Listed {
            pool: Arc::clone(&self.pool),
            listen: self.listener.address,
        }
    }

    /// Returns whether it already listens where it is asked to; port 0 is any.
    fn satisfies(&self, listen: SocketAddr) -> bool {
        let address = self.listener.address;
        listen == address || (listen.port() == 0 && listen.ip() == address.ip())
    }
}
