//! Whom the client believes: servers with certificates that are good, bad, or somebody else's.

use crate::canned::{Canned, json};
use crate::tls::Authority;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use teal_drivers::DriverError;
use teal_drivers::http::{Access, Client, Method, Trust};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_server_that_a_ca_of_ones_own_vouches_for_is_believed() {
    let authority = Authority::new();
    let server = Canned::start_tls(authority.server("localhost"), |_| json(200, "{}")).await;

    let answer = client(&server, Trust::Also(authority.file()))
        .send(Method::POST, "/v2/apps", Some(&json!({ "id": "/x" })))
        .await;

    assert_eq!(answer, Ok((200, json!({}))));
    assert_eq!(server.lines(), ["POST /v2/apps"]);
}

#[tokio::test]
async fn a_server_that_nobody_known_vouches_for_gets_no_request() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = Canned::start_tls(theirs.server("localhost"), |_| json(200, "{}")).await;

    let error = client(&server, Trust::Also(ours.file()))
        .get("/v2/info")
        .await
        .expect_err("is not believed");

    assert!(matches!(error, DriverError::Untrusted { .. }), "{error}");
    assert!(error.to_string().contains("a CA that is not known here"));
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("--marathon-ca"))
    );
    assert_eq!(server.lines(), [""; 0]);
}

#[tokio::test]
async fn a_server_of_another_name_gets_no_request() {
    let authority = Authority::new();
    let server = Canned::start_tls(authority.server("elsewhere.example.com"), |_| {
        json(200, "{}")
    })
    .await;

    let error = client(&server, Trust::Also(authority.file()))
        .get("/v2/info")
        .await
        .expect_err("is not believed");

    assert!(error.to_string().contains("for another name"), "{error}");
    assert_eq!(server.lines(), [""; 0]);
}

#[tokio::test]
async fn anybody_is_believed_only_when_that_is_asked_for() {
    let authority = Authority::new();
    let server = Canned::start_tls(authority.server("localhost"), |_| json(200, "{}")).await;

    assert!(matches!(
        client(&server, Trust::System).get("/ping").await,
        Err(DriverError::Untrusted { .. })
    ));
    assert_eq!(
        client(&server, Trust::Anybody).get("/ping").await,
        Ok(json!({}))
    );
}

#[tokio::test]
async fn a_server_without_tls_is_unreachable_by_https_and_says_why() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("binds");
    let url = format!("https://{}", listener.local_addr().expect("is bound"));
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        let refusal = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
        stream.write_all(refusal).await.expect("writes");
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest).await);
    });
    let access = Access {
        trust: Trust::Anybody,
        ..Access::at(&url)
    };

    let error = Client::open(access)
        .expect("an address")
        .get("/ping")
        .await
        .expect_err("no TLS");

    assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
    server.abort();
}

#[test]
fn a_ca_file_that_is_none_is_refused_at_once() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let open = |file: PathBuf| {
        Client::open(Access {
            trust: Trust::Also(file),
            ..Access::at("https://localhost")
        })
        .expect_err("no certificate")
        .to_string()
    };

    assert!(open(PathBuf::from("/nowhere/ca.crt")).contains("/nowhere/ca.crt"));
    assert!(open(file.path().to_owned()).contains("there is no certificate in it"));
    let bad = "-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n";
    file.write_all(bad.as_bytes()).expect("is written");
    assert!(open(file.path().to_owned()).contains("cannot be used"));
}

/// A listener that never speaks TLS must not make the client wait for ever.
#[tokio::test]
async fn a_server_that_hangs_in_the_handshake_is_unreachable_after_the_timeout() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("binds");
    let url = format!("https://{}", listener.local_addr().expect("is bound"));
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        let mut all = Vec::new();
        drop(stream.read_to_end(&mut all).await);
    });
    let access = Access {
        trust: Trust::Anybody,
        ..Access::at(&url)
    };

    let error = Client::open(access)
        .expect("an address")
        .with_timeout(std::time::Duration::from_millis(100))
        .get("/ping")
        .await
        .expect_err("hangs");

    assert!(error.to_string().contains("none came within"), "{error}");
    server.abort();
}

fn client(server: &Canned, trust: Trust) -> Client {
    let access = Access {
        trust,
        ..Access::at(&server.url)
    };
    Client::open(access).expect("an address")
}
