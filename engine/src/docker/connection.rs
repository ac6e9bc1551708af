//! One request to the daemon, on a connection of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::DockerError;

/// The newest API version that was tried with this client (Docker 27).
const NEWEST: Version = Version(1, 47);

/// The oldest that has everything that is asked for: `wait` with a condition and `exec` with an
/// environment came with 1.25 and 1.30; older daemons ignore the former.
const OLDEST: Version = Version(1, 25);

/// How long a call may take that does no work of its own.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(30);

/// The longest answer that is read as a whole.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A version of the Engine API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

/// The header of `GET /_ping` that names the newest version that a daemon speaks.
const VERSION_HEADER: &str = "api-version";

/// A daemon that has answered, and the version of the API that both sides speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Docker {
    socket: PathBuf,
    version: Version,
}

impl Docker {
    /// Finds a daemon behind the first of these sockets that exists, and agrees on a version.
    ///
    /// # Errors
    /// None of them exists, may be used or is answered at; or the versions do not fit.
    pub(crate) async fn connect(sockets: &[PathBuf]) -> Result<Self, DockerError> {
        let socket = first(sockets)?;
        let answer = exchange(socket, Method::GET, "/_ping", None);
        let answer = within(CALL_LIMIT, "say its version", answer).await?;
        let newest = answer.headers().get(VERSION_HEADER);
        let newest = newest.and_then(|value| value.to_str().ok()).unwrap_or("?");
        let version = agree(newest).ok_or_else(|| DockerError::TooOld(newest.to_owned()))?;
        Ok(Self {
            socket: socket.clone(),
            version,
        })
    }

    /// Sends a request and reads the JSON of the answer.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        what: &'static str,
    ) -> Result<T, DockerError> {
        parse(&self.call(method, path, body, (what, CALL_LIMIT)).await?)
    }

    /// Sends a request and reads the whole answer, in so much time.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        (what, limit): (&'static str, Duration),
    ) -> Result<Bytes, DockerError> {
        let answer = async {
            let response = self.open(method, path, body).await?;
            read_all(response, limit).await
        };
        within(limit, what, answer).await
    }

    /// Sends a request and returns the answer once its head is there; refusals are errors.
    ///
    /// The caller limits the time. Dropping the answer closes the connection.
    pub(super) async fn open(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, DockerError> {
        let Version(major, minor) = self.version;
        let path = format!("/v{major}.{minor}{path}");
        exchange(&self.socket, method, &path, body).await
    }
}

/// Says whether somebody listens at the first of these sockets that exists.
///
/// # Errors
/// None of them exists, may be used or is listened at.
pub(crate) fn reach(sockets: &[PathBuf]) -> Result<(), DockerError> {
    let socket = first(sockets)?;
    let stream = std::os::unix::net::UnixStream::connect(socket);
    stream
        .map(drop)
        .map_err(|error| unreachable(socket, &error))
}

fn first(sockets: &[PathBuf]) -> Result<&PathBuf, DockerError> {
    let there = sockets.iter().find(|socket| socket.exists());
    there.ok_or_else(|| DockerError::NoSocket(sockets.to_vec()))
}

/// Returns the version that both sides speak, given the newest of the daemon's. (One that is too
/// new to speak ours says so itself when it is asked for something.)
fn agree(newest_of_theirs: &str) -> Option<Version> {
    let ours = Version::parse(newest_of_theirs)?.min(NEWEST);
    Some(ours).filter(|version| *version >= OLDEST)
}

/// Limits the time of a call.
pub(super) async fn within<T>(
    limit: Duration,
    what: &'static str,
    call: impl Future<Output = Result<T, DockerError>>,
) -> Result<T, DockerError> {
    timeout(limit, call)
        .await
        .unwrap_or(Err(DockerError::TimedOut { what, limit }))
}

async fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Response<Incoming>, DockerError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| unreachable(socket, &error))?;
    let broken = |error: hyper::Error| DockerError::Unreachable {
        socket: socket.to_owned(),
        reason: error.to_string(),
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "docker")
        .header("content-type", "application/json")
        .body(Full::<Bytes>::from(
            body.map(Value::to_string).unwrap_or_default(),
        ))
        .map_err(|error| DockerError::Garbled(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    // 304 is "it is so already".
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    let text = read_all(response, CALL_LIMIT).await?;
    Err(refusal(status, &text))
}

/// Says what a refusal means: `{"message": "…"}` in every version from 1.24 on.
fn refusal(status: StatusCode, body: &[u8]) -> DockerError {
    let said: Option<Value> = serde_json::from_slice(body).ok();
    let said = said.as_ref().and_then(|value| value["message"].as_str());
    let message = said.map_or_else(
        || String::from_utf8_lossy(body).trim().to_owned(),
        str::to_owned,
    );
    match status {
        StatusCode::NOT_FOUND => DockerError::Missing(message),
        StatusCode::CONFLICT => DockerError::Conflict(message),
        other => DockerError::Refused {
            status: other.as_u16(),
            message,
        },
    }
}

fn unreachable(socket: &Path, error: &io::Error) -> DockerError {
    let (socket, reason) = (socket.to_owned(), error.to_string());
    if error.kind() == io::ErrorKind::PermissionDenied {
        DockerError::Forbidden { socket, reason }
    } else {
        DockerError::Unreachable { socket, reason }
    }
}

/// Reads an answer to its end.
pub(super) async fn read_all(
    response: Response<Incoming>,
    limit: Duration,
) -> Result<Bytes, DockerError> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
    match timeout(limit, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(DockerError::Garbled(error.to_string())),
        Err(_) => Err(DockerError::TimedOut {
            what: "finish its answer",
            limit,
        }),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, DockerError> {
    serde_json::from_slice(body).map_err(|error| DockerError::Garbled(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_that_both_sides_speak_is_agreed_on() {
        for (newest, agreed) in [
            ("1.41", Some(Version(1, 41))),
            ("1.52", Some(NEWEST)),
            ("1.24", None),
            ("?", None),
        ] {
            assert_eq!(agree(newest), agreed, "{newest}");
        }
    }

    #[test]
    fn a_refusal_carries_dockers_own_words() {
        let said = refusal(
            StatusCode::NOT_FOUND,
            br#"{"message":"No such image: a:b"}"#,
        );
        assert_eq!(said, DockerError::Missing("No such image: a:b".to_owned()));

        let plain = refusal(StatusCode::INTERNAL_SERVER_ERROR, b"page not found\n");
        assert_eq!(
            plain.to_string(),
            "page not found (the container daemon answered 500)",
            "a body that is no JSON is said as it is"
        );
    }

    #[tokio::test]
    async fn a_missing_socket_says_what_to_install() {
        let nowhere = [PathBuf::from("/nowhere/docker.sock")];

        let error = Docker::connect(&nowhere)
            .await
            .expect_err("nobody is there");

        let said = error.to_string();
        assert!(said.contains("/nowhere/docker.sock"), "{said}");
        assert!(said.contains("install"), "{said}");
    }

    #[tokio::test]
    async fn a_socket_that_nobody_listens_at_says_that_the_daemon_is_down() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let socket = folder.path().join("docker.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));

        let error = Docker::connect(&[socket]).await.expect_err("it is closed");

        assert!(
            error.to_string().contains("is the daemon running?"),
            "{error}"
        );
    }
}
