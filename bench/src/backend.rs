//! The service behind the proxies: constant answers at the least cost, so that what is measured is the proxy.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::process::pin;

/// The path of the answer with the large body.
pub(crate) const LARGE_PATH: &str = "/64k";
/// The size of the large body, in bytes.
pub(crate) const LARGE_BYTES: usize = 64 * 1024;
/// The size of every other body, in bytes.
pub(crate) const SMALL_BYTES: usize = 128;

/// Serves on two addresses, from one thread on one processor, until this process ends.
///
/// # Errors
///
/// If nothing can be listened on.
pub(crate) fn start(processor: usize) -> anyhow::Result<[SocketAddr; 2]> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || serve(processor, &sender));
    receiver.recv()?
}

fn serve(processor: usize, ready: &mpsc::Sender<anyhow::Result<[SocketAddr; 2]>>) {
    let served = pin(processor).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        runtime.block_on(async {
            let first = TcpListener::bind("127.0.0.1:0").await?;
            let second = TcpListener::bind("127.0.0.1:0").await?;
            let addresses = [first.local_addr()?, second.local_addr()?];
            // Whoever asked has its answer or is gone.
            ready.send(Ok(addresses)).ok();
            tokio::try_join!(accept(first), accept(second))?;
            Ok(())
        })
    });
    if let Err(error) = served {
        ready.send(Err(error)).ok();
    }
}

async fn accept(listener: TcpListener) -> io::Result<()> {
    let small: &[u8] = answer(SMALL_BYTES).leak();
    let large: &[u8] = answer(LARGE_BYTES).leak();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream, small, large));
    }
}

fn answer(length: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: backend\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut bytes = head.into_bytes();
    bytes.resize(bytes.len() + length, b'x');
    bytes
}

/// Answers every head; the requests of a benchmark have no bodies.
async fn connection(mut stream: TcpStream, small: &[u8], large: &[u8]) {
    let mut buffer = vec![0; 8 * 1024];
    let mut filled = 0;
    loop {
        let Ok(count @ 1..) = stream.read(&mut buffer[filled..]).await else {
            return;
        };
        filled += count;
        while let Some(end) = find(&buffer[..filled], b"\r\n\r\n") {
            let wants_large = buffer[..end].starts_with(b"GET /64k ");
            let answer = if wants_large { large } else { small };
            if stream.write_all(answer).await.is_err() {
                return;
            }
            buffer.copy_within(end + 4..filled, 0);
            filled -= end + 4;
        }
        if filled == buffer.len() {
            return;
        }
    }
}

/// Returns where `wanted` begins.
pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
