//! GET, either as far as the first status line or to the end of the answer.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{Connection, Request, Response};

/// The most of a status line that is looked at.
const STATUS_LINE_BYTES_MAX: usize = 1024;

/// How much of an answer is read so that the task can finish writing it, and for how long.
const BODY_BYTES_DRAINED: u64 = 64 * 1024;
const BODY_DRAIN_TIME: Duration = Duration::from_secs(1);

/// The most of a body that is kept.
const BODY_BYTES_MAX: usize = 64 * 1024;

const AGENT: &str = "teal-engine";

/// Asks and returns the first status that is answered, also an informational one.
pub(super) async fn status(
    mut stream: Box<dyn Connection>,
    request: &Request,
) -> io::Result<Response> {
    let text = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {AGENT}\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n",
        request.path,
        request.authority()
    );
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await?;
    let mut seen = Vec::new();
    loop {
        if let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") {
            tokio::spawn(drain(stream));
            return parse(&String::from_utf8_lossy(&seen[..end])).map_err(io::Error::other);
        }
        if seen.len() > STATUS_LINE_BYTES_MAX {
            return Err(io::Error::other("the answer has no status line"));
        }
        if stream.read_buf(&mut seen).await? == 0 {
            return Err(io::Error::other(
                "the connection was closed without an answer",
            ));
        }
    }
}

/// Reads what is left of an answer, within limits: a task need not see its probe hang up.
async fn drain(stream: Box<dyn Connection>) {
    let mut rest = stream.take(BODY_BYTES_DRAINED);
    let mut sink = tokio::io::sink();
    timeout(BODY_DRAIN_TIME, tokio::io::copy(&mut rest, &mut sink))
        .await
        .ok();
}

/// Reads a status line such as `HTTP/1.1 200 OK`.
fn parse(line: &str) -> Result<Response, String> {
    let (protocol, rest) = line.split_once(' ').unwrap_or((line, ""));
    if !protocol.starts_with("HTTP/") {
        return Err("the answer is not HTTP".to_owned());
    }
    let digits = rest.get(..3).unwrap_or_default();
    let status = digits
        .parse()
        .map_err(|_| format!("the answer has no status: {line}"))?;
    Ok(Response {
        status,
        line: rest.to_owned(),
        content_type: String::new(),
        body: String::new(),
    })
}

/// Asks and returns the whole final answer.
pub(super) async fn whole(stream: Box<dyn Connection>, request: &Request) -> io::Result<Response> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let question = hyper::Request::get(request.path.as_str())
        .header(HOST, request.authority())
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let exchange = async {
        let answer = sender
            .send_request(question)
            .await
            .map_err(io::Error::other)?;
        let status = answer.status();
        let content_type = answer.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let media_type = content_type.and_then(|value| value.split(';').next());
        let media_type = media_type.unwrap_or_default().trim().to_owned();
        let body = Limited::new(answer.into_body(), BODY_BYTES_MAX);
        let body = body.collect().await.map_err(|error| {
            io::Error::other(format!("the answer's body could not be read: {error}"))
        })?;
        Ok(Response {
            status: status.as_u16(),
            line: status.to_string(),
            content_type: media_type,
            body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        })
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    let mut is_open = true;
    loop {
        tokio::select! {
            answer = &mut exchange => return answer,
            // Its error is also the error of the exchange.
            _ = &mut connection, if is_open => is_open = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_taken_apart_and_anything_else_is_no_answer() {
        for (line, status) in [
            ("HTTP/1.1 200 OK", Some(200)),
            ("HTTP/1.0 302 Found", Some(302)),
            ("HTTP/1.1 399", Some(399)),
            ("HTTP/1.1 100 Continue", Some(100)),
            ("SSH-2.0-OpenSSH_9.2p1 200", None),
            ("HTTP/1.1", None),
            ("HTTP/1.1 20", None),
            ("", None),
        ] {
            let found = parse(line).map(|answer| answer.status).ok();
            assert_eq!(found, status, "{line}");
        }
    }
}
