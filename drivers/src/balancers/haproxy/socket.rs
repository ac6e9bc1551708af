//! HAProxy's Runtime API: lines of commands in, text out, and the connection ends (management guide, "Unix Socket
//! commands").

use super::place::Endpoint;
use crate::DriverError;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// How long an answer may take. A worker answers in a millisecond unless it hangs.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a line may be: HAProxy reads it into one buffer (`tune.bufsize`, 16 KiB unless it is told otherwise).
const LINE_BYTES_MAX: usize = 4 * 1024;
/// How long an answer may be.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Sends commands, as many lines as they need, and returns what was answered.
///
/// # Errors
/// [`DriverError::Unreachable`] when no whole answer came.
pub(super) async fn ask(
    endpoint: &Endpoint,
    commands: &[impl AsRef<str>],
) -> Result<String, DriverError> {
    let mut answers = String::new();
    for line in lines(commands) {
        let talk = timeout(PATIENCE, say(endpoint, &line));
        let answer = match talk.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(unreachable(endpoint, error.to_string())),
            Err(_) => {
                let why = format!("it has not answered within {} s", PATIENCE.as_secs());
                return Err(unreachable(endpoint, why));
            }
        };
        answers.push_str(&answer);
    }
    Ok(answers)
}

pub(super) fn unreachable(endpoint: &Endpoint, reason: String) -> DriverError {
    DriverError::Unreachable {
        url: endpoint.to_string(),
        reason,
    }
}

/// Several commands go in one line, so that the worker carries them out one right after the other.
fn lines(commands: &[impl AsRef<str>]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for command in commands.iter().map(AsRef::as_ref) {
        match lines.last_mut() {
            Some(line) if line.len() + command.len() < LINE_BYTES_MAX => {
                line.push(';');
                line.push_str(command);
            }
            _ => lines.push(command.to_owned()),
        }
    }
    lines
}

async fn say(endpoint: &Endpoint, line: &str) -> io::Result<String> {
    match endpoint {
        Endpoint::Unix(path) => talk(UnixStream::connect(path).await?, line).await,
        Endpoint::Tcp(address) => talk(TcpStream::connect(address).await?, line).await,
    }
}

/// The master keeps its connection open until the caller has no more to say, so that is said at once.
async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, line: &str) -> io::Result<String> {
    stream.write_all(line.as_bytes()).await?;
    stream.write_all(b"\n").await?;
    stream.shutdown().await?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .await?;
    if answer.is_empty() {
        // Also a command without an answer is followed by an empty line: this is a worker that has just gone.
        let why = "the connection was closed without an answer";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_share_lines_that_fit_into_a_buffer() {
        let commands: Vec<String> = (0..300)
            .map(|n| format!("set server app/s{n} state drain"))
            .collect();

        let lines = lines(&commands);

        assert!(lines.len() > 1);
        assert!(lines.iter().all(|line| line.len() <= LINE_BYTES_MAX));
        assert_eq!(lines.join(";"), commands.join(";"));
    }
}
