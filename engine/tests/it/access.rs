//! Who is let in: the token, and the encrypted way to it.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use teal_engine::{Config, Engine, StartError, Tls, Token};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::{Marathon, sleeper};

const TOKEN: &str = "open-sesame";

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_nothing_is_told_but_that_the_engine_lives() {
    let marathon = guarded().await;

    for (method, path) in [
        ("GET", "/v2/apps"),
        ("GET", "/v2/apps/known"),
        ("GET", "/v2/nothing"),
        ("GET", "/metrics"),
        ("GET", "/v2/events"),
        ("GET", "/files/browse?path=/"),
        ("POST", "/v2/apps"),
        ("GET", "/marathon/v2/info"),
    ] {
        for authorization in [None, Some("token=wrong-token"), Some("Basic dGVhbDpvcGVu")] {
            let (status, challenge, body) = ask(&marathon, method, path, authorization).await;
            assert_eq!(status, 401, "{method} {path} {authorization:?}");
            assert_eq!(challenge, "Basic realm=\"teal\", Bearer realm=\"teal\"");
            let keys: Vec<&String> = body
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, _)| key)
                .collect();
            assert_eq!(keys, ["message"]);
            assert!(!body.to_string().contains("known"), "{body}");
        }
    }
    assert_eq!(ask(&marathon, "GET", "/ping", None).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_token_in_any_form_everything_is_as_without_one() {
    let marathon = guarded().await;

    for authorization in [
        "token=open-sesame",
        "Bearer open-sesame",
        "Basic dGVhbDpvcGVuLXNlc2FtZQ==",
    ] {
        let told = ask(&marathon, "GET", "/v2/apps", Some(authorization)).await;
        assert_eq!(
            (told.0, &told.2["apps"][0]["id"]),
            (200, &json!("/known")),
            "{authorization}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_others_reach_needs_a_token() {
    let folder = TempDir::new().expect("a temporary folder");
    let mut config = Config::new(folder.path());
    config.listen = ([0, 0, 0, 0], 0).into();

    let refused = Engine::start(config).await;

    assert!(
        matches!(refused, Err(StartError::TokenNeeded { .. })),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_encrypted_for_others_and_plain_for_its_own_program() {
    let paper = Paper::issue("localhost");
    let tls = paper.tls();
    let marathon = Marathon::start_with(|config| {
        config.tls = Some(tls);
        config.also_loopback = true;
        config.token = Some(token());
    })
    .await;

    let request = Request::get("/v2/info")
        .header("host", "engine")
        .header("authorization", "Bearer open-sesame");
    let request = request
        .body(Full::<Bytes>::default())
        .expect("the request is well formed");
    let stream = TcpStream::connect(marathon.engine.address())
        .await
        .expect("it listens");
    let name = "localhost".try_into().expect("a name");
    let stream = paper
        .connector()
        .connect(name, stream)
        .await
        .expect("it shakes hands");
    let info = exchange(TokioIo::new(stream), request.clone()).await;
    let inner = marathon.engine.loopback().expect("it was asked for");
    let stream = TcpStream::connect(inner).await.expect("it listens");
    let inner_info = exchange(TokioIo::new(stream), request).await;

    assert_eq!(
        info["http_config"],
        json!({ "http_port": null, "https_port": marathon.engine.address().port() })
    );
    assert_eq!(info, inner_info);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_used_is_told_with_its_file() {
    let (paper, other) = (Paper::issue("localhost"), Paper::issue("localhost"));
    let nothing = paper.folder.path().join("nothing.pem");
    std::fs::write(&nothing, "").expect("the folder can be written to");
    let cases = [
        (
            Tls {
                certificates: nothing.clone(),
                key: paper.tls().key,
            },
            nothing,
        ),
        (
            Tls {
                certificates: paper.tls().certificates,
                key: other.tls().key,
            },
            other.tls().key,
        ),
    ];
    for (tls, file) in cases {
        let folder = TempDir::new().expect("a temporary folder");
        let mut config = Config::new(folder.path());
        config.listen = ([127, 0, 0, 1], 0).into();
        config.tls = Some(tls);
        let refused = Engine::start(config).await;
        let Err(StartError::Tls { file: told, .. }) = refused else {
            panic!("it started: {refused:?}");
        };
        assert_eq!(told, file);
    }
}

async fn guarded() -> Marathon {
    let marathon = Marathon::start_with(|config| config.token = Some(token())).await;
    let created = send(
        &marathon,
        "POST",
        "/v2/apps",
        Some("token=open-sesame"),
        sleeper("/known", 0),
    )
    .await;
    assert_eq!(created.0, 201);
    marathon
}

fn token() -> Token {
    Token::new(TOKEN).expect("it is a token")
}

async fn ask(
    marathon: &Marathon,
    method: &str,
    path: &str,
    authorization: Option<&str>,
) -> (u16, String, Value) {
    send(marathon, method, path, authorization, json!({})).await
}

async fn send(
    marathon: &Marathon,
    method: &str,
    path: &str,
    authorization: Option<&str>,
    body: Value,
) -> (u16, String, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "engine");
    let request = authorization.into_iter().fold(request, |request, value| {
        request.header("authorization", value)
    });
    let request = request
        .body(Full::<Bytes>::from(body.to_string()))
        .expect("the request is well formed");
    let (parts, body) = marathon.exchange(request).await.into_parts();
    let challenge = parts
        .headers
        .get("www-authenticate")
        .and_then(|value| value.to_str().ok());
    let challenge = challenge.unwrap_or_default().to_owned();
    let bytes = body.collect().await.expect("the answer ends").to_bytes();
    (
        parts.status.as_u16(),
        challenge,
        serde_json::from_slice(&bytes).unwrap_or_default(),
    )
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Value
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
        .await
        .expect("HTTP");
    tokio::spawn(connection);
    let answer = sender
        .send_request(request)
        .await
        .expect("the engine answers");
    let bytes = answer
        .into_body()
        .collect()
        .await
        .expect("the answer ends")
        .to_bytes();
    serde_json::from_slice(&bytes).expect("it is JSON")
}

/// A certificate that vouches for itself, and its key, in files.
struct Paper {
    folder: TempDir,
    certificate: CertificateDer<'static>,
}

impl Paper {
    fn issue(name: &str) -> Self {
        let issued = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let folder = TempDir::new().expect("a temporary folder");
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text);
        write("certificate.pem", issued.cert.pem()).expect("the folder can be written to");
        write("key.pem", issued.signing_key.serialize_pem()).expect("the folder can be written to");
        Self {
            certificate: issued.cert.der().clone(),
            folder,
        }
    }

    fn tls(&self) -> Tls {
        Tls {
            certificates: self.folder.path().join("certificate.pem"),
            key: self.folder.path().join("key.pem"),
        }
    }

    fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots
            .add(self.certificate.clone())
            .expect("it is a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("there are versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }
}
