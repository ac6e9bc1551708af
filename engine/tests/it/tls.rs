//! Checks over TLS, against a server whose certificate nobody should trust.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, crypto};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::harness::{Marathon, eventually, sleeper};

#[tokio::test(flavor = "multi_thread")]
async fn https_checks_ask_over_tls_and_verify_nothing() {
    let server = serve("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;

    for protocol in ["HTTPS", "MESOS_HTTPS"] {
        let marathon = Marathon::start().await;
        marathon.run(checked(protocol, server)).await;

        let app = marathon.app("/a").await;
        assert_eq!(app["healthChecks"][0]["protocol"], protocol);
        assert_eq!(app["tasksHealthy"], 1, "{protocol}");
        marathon.engine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_over_tls_is_judged_like_any_answer() {
    let server = serve("HTTP/1.1 503 Service Unavailable\r\n\r\n").await;
    let marathon = Marathon::start().await;
    let mut app = checked("HTTPS", server);
    app["healthChecks"][0]["gracePeriodSeconds"] = json!(0);

    marathon.post("/v2/apps", app).await;

    let cause = failure_of(&marathon).await;
    assert_eq!(cause, "503 Service Unavailable");
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_fails_an_https_check() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok();
        }
    });
    let marathon = Marathon::start().await;
    let mut app = checked("HTTPS", server);
    app["healthChecks"][0]["gracePeriodSeconds"] = json!(0);

    marathon.post("/v2/apps", app).await;

    let cause = failure_of(&marathon).await;
    assert!(
        cause.as_str().is_some_and(|cause| !cause.is_empty()),
        "{cause}"
    );
    assert_eq!(marathon.app("/a").await["tasksHealthy"], 0);
    marathon.engine.stop().await;
}

async fn failure_of(marathon: &Marathon) -> Value {
    eventually("a failure is counted", || async {
        let tasks = marathon.tasks("/a").await;
        let result = tasks.first()?["healthCheckResults"].get(0)?.clone();
        result.get("lastFailureCause").cloned()
    })
    .await
}

fn checked(protocol: &str, server: SocketAddr) -> Value {
    let mut app = sleeper("/a", 1);
    app["healthChecks"] = json!([{
        "protocol": protocol, "path": "/health", "port": server.port(), "delaySeconds": 0,
        "maxConsecutiveFailures": 1000,
    }]);
    app
}

/// Answers every request for `/health` over TLS, with a certificate for somebody else.
async fn serve(answer: &'static str) -> SocketAddr {
    let certified = rcgen::generate_simple_self_signed(vec!["elsewhere.example".to_owned()])
        .expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let configuration =
        ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .expect("a key that fits");
    let acceptor = TlsAcceptor::from(Arc::new(configuration));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(acceptor.clone(), stream, answer));
        }
    });
    address
}

async fn converse(acceptor: TlsAcceptor, stream: TcpStream, answer: &str) -> Option<()> {
    let mut stream = acceptor.accept(stream).await.ok()?;
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
    if request.starts_with(b"GET /health HTTP/1.1\r\n") {
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
    stream.shutdown().await.ok()
}
