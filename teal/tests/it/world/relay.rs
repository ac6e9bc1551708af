//! A wire between the program and one of the systems, which can be cut and held.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Passes bytes on to a system, until a request comes that it is to hold.
pub(crate) struct Relay {
    /// Where it listens: `host:port`.
    pub(crate) address: String,
    shared: Arc<Shared>,
}

struct Shared {
    target: String,
    /// A request that begins with this is never passed on.
    held: &'static str,
    holds: AtomicBool,
    count: AtomicU32,
}

impl Relay {
    /// Begins to pass bytes on to `target`. Requests that begin with `held` are kept back as soon as it is told to.
    pub(crate) fn to(target: &str, held: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let (holds, count) = (AtomicBool::new(false), AtomicU32::new(0));
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            held,
            holds,
            count,
        });
        let serve = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve.connect(stream);
            }
        });
        Self { address, shared }
    }

    /// Keeps requests back from here on.
    pub(crate) fn hold(&self) {
        self.shared.holds.store(true, Ordering::SeqCst);
    }

    /// Returns how many requests are kept back.
    pub(crate) fn held(&self) -> u32 {
        self.shared.count.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn connect(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(&self.target) else {
            return;
        };
        let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else {
            return;
        };
        let shared = Arc::clone(self);
        std::thread::spawn(move || shared.pass(from, to));
        std::thread::spawn(move || pass_all(server, client));
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let is_held = buffer[..count].starts_with(self.held.as_bytes());
            if is_held && self.holds.load(Ordering::SeqCst) {
                self.count.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            if to.write_all(&buffer[..count]).is_err() {
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
