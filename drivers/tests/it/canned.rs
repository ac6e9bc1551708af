//! A server that answers what a test tells it to, and keeps what it was asked.

use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A server. It ends with the test.
pub(crate) struct Canned {
    pub(crate) url: String,
    pub(crate) authority: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    server: JoinHandle<()>,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// `GET /path?query`
    pub(crate) line: String,
    /// Its head in small letters.
    pub(crate) head: String,
    /// Its head as it was sent.
    pub(crate) sent: String,
    pub(crate) body: String,
}

/// What goes out, and whether the connection is closed after it.
pub(crate) enum Reply {
    Bytes(String),
    /// This, and then nothing more, and the connection stays open.
    Open(String),
    /// Nothing, and the connection stays open.
    Silence,
}

impl Canned {
    /// Starts a server that answers with what `answer` makes of `GET /path?query`.
    pub(crate) async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::begin(None, answer).await
    }

    /// Starts one that speaks TLS; its address names `localhost`.
    pub(crate) async fn start_tls(
        tls: TlsAcceptor,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::begin(Some(tls), answer).await
    }

    async fn begin(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        let (scheme, authority) = match tls {
            Some(_) => ("https", format!("localhost:{}", address.port())),
            None => ("http", address.to_string()),
        };
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let kept = Arc::clone(&asked);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, kept, tls) = (Arc::clone(&answer), Arc::clone(&kept), tls.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else {
                        return serve(stream, answer, kept).await;
                    };
                    // A client that does not believe us hangs up, which is its right.
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, answer, kept).await;
                    }
                });
            }
        });
        Self {
            url: format!("{scheme}://{authority}"),
            authority,
            asked,
            server,
        }
    }

    /// Returns everything that was asked, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("not poisoned").clone()
    }

    /// Returns the first lines of everything that was asked, in order.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

impl Asked {
    /// Returns the value of a header, as it was sent.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.sent.lines().filter_map(|line| line.split_once(": "));
        headers
            .find(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

impl Drop for Canned {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An answer of JSON.
pub(crate) fn json(status: u16, body: &str) -> Reply {
    answer(status, "Content-Type: application/json\r\n", body)
}

/// An answer with these headers, each with its line end.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Bytes(format!(
        "HTTP/1.1 {status} Told\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    ))
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: Arc<impl Fn(&Asked) -> Reply + Send + Sync>,
    kept: Arc<Mutex<Vec<Asked>>>,
) {
    let Some(asked) = read(&mut stream).await else {
        return;
    };
    kept.lock().expect("not poisoned").push(asked.clone());
    match answer(&asked) {
        Reply::Bytes(bytes) => {
            drop(stream.write_all(bytes.as_bytes()).await);
            drop(stream.shutdown().await);
        }
        Reply::Open(bytes) => {
            drop(stream.write_all(bytes.as_bytes()).await);
            drop(stream.flush().await);
            std::future::pending::<()>().await;
        }
        Reply::Silence => std::future::pending().await,
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let sent = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let head = sent.to_lowercase();
    let first = sent.lines().next()?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length
        .and_then(|length| length.trim().parse().ok())
        .unwrap_or(0);
    while bytes.len() < end + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8_lossy(&bytes[end + 4..]).into_owned();
    let line = first.trim_end_matches(" HTTP/1.1").to_owned();
    Some(Asked {
        line,
        head,
        sent,
        body,
    })
}
