//! One HTTP request on a connection of its own: enough to steer a server and to see whether it serves.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_micros(500);

/// Sends a request and returns the status and the body of the answer.
///
/// # Errors
///
/// If no answer came, or one that is no HTTP.
pub(crate) fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    match status {
        Some(status) => Ok((status, body.to_owned())),
        None => Err(ErrorKind::InvalidData.into()),
    }
}

/// Asks until the answer to a GET is 200, and returns how long that took.
///
/// # Errors
///
/// The last failure, when the time is over.
pub(crate) fn until_ok(address: SocketAddr, path: &str, limit: Duration) -> io::Result<Duration> {
    let begun = Instant::now();
    loop {
        let error = match ask(address, "GET", path, "") {
            Ok((200, _)) => return Ok(begun.elapsed()),
            Ok((status, _)) => io::Error::other(format!("the answer is {status}")),
            Err(error) => error,
        };
        if begun.elapsed() > limit {
            return Err(error);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Returns a loopback address that nobody listens on just now.
///
/// # Errors
///
/// If the system has no port left.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}
