//! A server for tests that misbehaves as it is told to, and counts what it did.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::settings::LoadSettings;

/// What the server does about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Move {
    /// Says these bytes and reads on.
    Say(&'static str),
    /// Says these bytes and closes.
    SayAndClose(&'static str),
    /// Says these bytes and resets the connection.
    SayAndReset(&'static str),
    /// Never answers.
    Silence,
}

pub(super) const OK: Move =
    Move::Say("HTTP/1.1 200 OK\r\nX-Revision: blue\r\nContent-Length: 3\r\n\r\nok\n");

/// The number of a request: on its connection, and over all connections. Both begin with 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number {
    pub(super) on_connection: u64,
    pub(super) overall: u64,
}

type Script = Box<dyn Fn(Number) -> Move + Send + Sync>;

/// The server. It ends when it is dropped.
pub(super) struct Broken {
    pub(super) address: SocketAddr,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

struct State {
    script: Script,
    overall: AtomicU64,
    moves: Mutex<BTreeMap<Move, u64>>,
}

impl Drop for Broken {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Broken {
    pub(super) async fn start(script: impl Fn(Number) -> Move + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("it listens");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            script: Box::new(script),
            overall: AtomicU64::new(0),
            moves: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self {
            address,
            state,
            serving,
        }
    }

    /// Returns how often the server did this.
    pub(super) fn did(&self, what: Move) -> u64 {
        let moves = self
            .state
            .moves
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        moves.get(&what).copied().unwrap_or_default()
    }

    /// Returns settings that ask this server without rest.
    pub(super) fn settings(&self) -> LoadSettings {
        let mut settings = LoadSettings::against(&self.address.to_string()).expect("a target");
        settings.think = std::time::Duration::ZERO;
        settings
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    for on_connection in 0.. {
        if read_request(&mut stream).await.is_none() {
            return;
        }
        let overall = state.overall.fetch_add(1, Ordering::Relaxed);
        let next = (state.script)(Number {
            on_connection,
            overall,
        });
        *state
            .moves
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(next)
            .or_default() += 1;
        match next {
            Move::Say(text) => stream.write_all(text.as_bytes()).await.expect("it is said"),
            Move::SayAndClose(text) => {
                stream.write_all(text.as_bytes()).await.expect("it is said");
                return;
            }
            Move::SayAndReset(text) => {
                stream.write_all(text.as_bytes()).await.expect("it is said");
                stream.set_zero_linger().expect("it may reset");
                return;
            }
            Move::Silence => std::future::pending().await,
        }
    }
}

/// Reads one request with its body. None: the client is gone.
async fn read_request(stream: &mut TcpStream) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(Some(0), |length| length.parse().ok())?];
    stream.read_exact(&mut body).await.ok()?;
    Some(())
}
