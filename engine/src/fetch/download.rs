//! Downloads one file over HTTP or, with the certificate verified, HTTPS.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long the other side may be silent (`--fetcher_stall_timeout` of the Mesos agent).
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// How often a server may point elsewhere.
const REDIRECTS_MAX: usize = 10;

/// The most that one artifact may hold.
const BYTES_MAX: u64 = 16 << 30;

/// A connection, encrypted or not.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Downloads a URL into a file and follows redirects.
pub(super) async fn to_file(url: &Uri, target: &Path) -> io::Result<()> {
    let mut url = url.clone();
    for _ in 0..=REDIRECTS_MAX {
        let answer = in_time(get(&url)).await?;
        let status = answer.status();
        if status.is_success() {
            return save(answer.into_body(), target).await;
        }
        let location = answer.headers().get(LOCATION);
        let Some(location) = location.filter(|_| status.is_redirection()) else {
            return Err(io::Error::other(format!("the server answered {status}")));
        };
        let location = location.to_str().map_err(io::Error::other)?;
        let next = resolve(&url, location).map_err(io::Error::other)?;
        if is_https(&url) && !is_https(&next) {
            return Err(io::Error::other(format!(
                "the server points from https to {next}"
            )));
        }
        url = next;
    }
    Err(io::Error::other(format!(
        "more than {REDIRECTS_MAX} redirects"
    )))
}

fn is_https(url: &Uri) -> bool {
    url.scheme_str() == Some("https")
}

/// Returns where a `Location` leads from a URL (RFC 3986, section 5.2, without dot segments).
fn resolve(from: &Uri, location: &str) -> Result<Uri, String> {
    let scheme = from.scheme_str().unwrap_or("http");
    let authority = from.authority().map_or("", |authority| authority.as_str());
    let text = if location.contains("://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let (folder, _) = from.path().rsplit_once('/').unwrap_or_default();
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let url: Uri = text
        .parse()
        .map_err(|_| format!("the server points to '{location}'"))?;
    let is_web = matches!(url.scheme_str(), Some("http" | "https"));
    if is_web && url.host().is_some() {
        Ok(url)
    } else {
        Err(format!("the server points to '{location}'"))
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let limit = STALL_LIMIT.as_secs();
    let silent = |_| io::Error::other(format!("the server was silent for {limit} s"));
    timeout(STALL_LIMIT, work).await.map_err(silent)?
}

async fn get(url: &Uri) -> io::Result<Response<Incoming>> {
    let connection = connect(url).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connection))
        .await
        .map_err(io::Error::other)?;
    // It ends with the body, or when nobody waits for that any more.
    tokio::spawn(connection);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path)
        .header(HOST, authority)
        .header(USER_AGENT, "teal-engine")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    sender.send_request(request).await.map_err(io::Error::other)
}

async fn connect(url: &Uri) -> io::Result<Box<dyn Connection>> {
    let host = url.host().ok_or(io::ErrorKind::InvalidInput)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let usual = if is_https(url) { 443 } else { 80 };
    let stream = TcpStream::connect((host, url.port_u16().unwrap_or(usual))).await?;
    if !is_https(url) {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::new(trust()?));
    Ok(Box::new(connector.connect(name, stream).await?))
}

/// Returns how servers are trusted: as the system's certificates say.
fn trust() -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(io::Error::other(
            "this machine has no CA certificates (hint: install ca-certificates)",
        ));
    }
    let configuration = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(configuration)
}

async fn save(mut body: Incoming, target: &Path) -> io::Result<()> {
    let mut file = File::create(target).await?;
    let mut size: u64 = 0;
    while let Some(frame) = in_time(async { Ok(body.frame().await) }).await? {
        let Ok(data) = frame.map_err(io::Error::other)?.into_data() else {
            continue;
        };
        size += data.len() as u64;
        if size > BYTES_MAX {
            return Err(io::Error::other(format!(
                "it is larger than {BYTES_MAX} bytes"
            )));
        }
        file.write_all(&data).await?;
    }
    file.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_followed_from_where_it_was_found() {
        let from: Uri = "http://host:81/a/b?c".parse().expect("a URL");
        for (location, expected) in [
            ("https://other/x", Some("https://other/x")),
            ("//other/x", Some("http://other/x")),
            ("/x", Some("http://host:81/x")),
            ("x", Some("http://host:81/a/x")),
            ("ftp://other/x", None),
            ("http:///x", None),
        ] {
            let found = resolve(&from, location).map(|url| url.to_string()).ok();
            assert_eq!(found.as_deref(), expected, "{location}");
        }
    }
}
