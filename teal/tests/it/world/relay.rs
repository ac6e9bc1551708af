//! A wire between the program and one of the systems, which can be cut, and on which requests can get lost.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Passes bytes on to a system, until it is told otherwise.
pub(crate) struct Relay {
    /// Where it listens: `host:port`.
    pub(crate) address: String,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    /// Requests that begin with this get lost.
    lost: &'static str,
    lost_count: AtomicU32,
    is_cut: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// Begins to pass everything on to `target`.
    pub(crate) fn to(target: &str) -> Self {
        Self::losing(target, "(nothing)")
    }

    /// Begins to pass on to `target` what does not begin with `lost`; what does never gets an answer.
    pub(crate) fn losing(target: &str, lost: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            lost,
            lost_count: AtomicU32::new(0),
            is_cut: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let serve = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                serve.connect(client);
            }
        });
        Self { address, shared }
    }

    /// Closes all connections, and every further one.
    pub(crate) fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::SeqCst);
        for connection in self
            .shared
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            connection.shutdown(Shutdown::Both).ok();
        }
    }

    /// Takes connections again.
    pub(crate) fn mend(&self) {
        self.shared.is_cut.store(false, Ordering::SeqCst);
    }

    /// Returns how many requests got lost.
    pub(crate) fn lost(&self) -> u32 {
        self.shared.lost_count.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn connect(self: &Arc<Self>, client: TcpStream) {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (Ok(from), Ok(kept)) = (client.try_clone(), client.try_clone()) else {
            return;
        };
        let Ok(server) = TcpStream::connect(&self.target) else {
            return;
        };
        let Ok(to) = server.try_clone() else { return };
        if self.is_cut.load(Ordering::SeqCst) {
            return;
        }
        connections.push(kept);
        let shared = Arc::clone(self);
        std::thread::spawn(move || shared.pass(from, to));
        std::thread::spawn(move || pass_all(server, client));
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if buffer[..count].starts_with(self.lost.as_bytes()) {
                self.lost_count.fetch_add(1, Ordering::SeqCst);
            } else if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Both).ok();
    }
}

fn pass_all(mut from: TcpStream, mut to: TcpStream) {
    std::io::copy(&mut from, &mut to).ok();
    to.shutdown(Shutdown::Both).ok();
}
