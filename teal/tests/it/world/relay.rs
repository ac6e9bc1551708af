//! A wire between the program and one of the systems, which can be cut, and on which requests can get lost or be held
//! up.

use super::eventually;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Passes bytes on to a system, until it is told otherwise.
pub(crate) struct Relay {
    /// Where it listens: `host:port`.
    pub(crate) address: String,
    shared: Arc<Shared>,
}

/// Counts the changes that go over its relays, and holds one of them up: then it is known how far the program is, and
/// it cannot get any further.
#[derive(Clone)]
pub(crate) struct Barrier {
    held_up: Arc<(Mutex<HeldUp>, Condvar)>,
}

struct HeldUp {
    /// Which one is to be held up, from 1; zero: none.
    which: usize,
    count: usize,
    is_there: bool,
    /// What becomes of it, once that is decided.
    passes: Option<bool>,
}

impl Barrier {
    /// Returns a barrier that holds up one change, counted from 1; zero: none, it only counts.
    pub(crate) fn at(which: usize) -> Self {
        let held_up = HeldUp {
            which,
            count: 0,
            is_there: false,
            passes: None,
        };
        Self {
            held_up: Arc::new((Mutex::new(held_up), Condvar::new())),
        }
    }

    /// Returns how many changes have come.
    pub(crate) fn count(&self) -> usize {
        self.lock().count
    }

    /// Waits until the change has come.
    pub(crate) fn holds(&self) {
        eventually("the change is held up", || {
            self.lock().is_there.then_some(())
        });
    }

    /// Lets the change go its way.
    pub(crate) fn let_go(&self) {
        self.decide(true);
    }

    /// Lets the change get lost.
    pub(crate) fn lose(&self) {
        self.decide(false);
    }

    fn decide(&self, passes: bool) {
        self.lock().passes = Some(passes);
        self.held_up.1.notify_all();
    }

    /// Takes note of a change, and returns whether it goes its way.
    fn passes(&self) -> bool {
        let mut held_up = self.lock();
        held_up.count += 1;
        if held_up.count != held_up.which {
            return true;
        }
        held_up.is_there = true;
        loop {
            if let Some(passes) = held_up.passes {
                return passes;
            }
            let woken = self.held_up.1.wait(held_up);
            held_up = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HeldUp> {
        let held_up = self.held_up.0.lock();
        held_up.unwrap_or_else(PoisonError::into_inner)
    }
}

struct Shared {
    target: String,
    barrier: Barrier,
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
        Self::start(target, lost, Barrier::at(0))
    }

    /// Begins to pass everything on to `target` that a barrier lets go.
    pub(crate) fn behind(barrier: &Barrier, target: &str) -> Self {
        Self::start(target, "(nothing)", barrier.clone())
    }

    fn start(target: &str, lost: &'static str, barrier: Barrier) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            barrier,
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
            let request = &buffer[..count];
            if request.starts_with(self.lost.as_bytes()) {
                self.lost_count.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            let passes = !is_change(request) || self.barrier.passes();
            if !passes || to.write_all(request).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Both).ok();
    }
}

fn is_change(request: &[u8]) -> bool {
    let methods: [&[u8]; 3] = [b"POST ", b"PUT ", b"DELETE "];
    methods.iter().any(|method| request.starts_with(method))
}

fn pass_all(mut from: TcpStream, mut to: TcpStream) {
    std::io::copy(&mut from, &mut to).ok();
    to.shutdown(Shutdown::Both).ok();
}
