//! A balancer that was killed serves again when it is started, as it did.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use teal_proxy::{Config, Proxy, SnapshotError, StartError};
use tempfile::TempDir;

use crate::world::{ANY, Backend, Peer, admin, eventually};

/// A folder with a state file that is not there yet.
fn state() -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("balancer.json");
    (folder, file)
}

async fn start(file: &Path) -> Result<Proxy, StartError> {
    let config = Config::new(ANY.parse().expect("an address"));
    let state = Some(file.to_owned());
    Proxy::start(Config { state, ..config }).await
}

/// Opens the pool `p` with these changes and returns where it listens.
async fn pool(proxy: &Proxy, changes: &[Value]) -> SocketAddr {
    let body = json!({ "listen": ANY }).to_string();
    let pool = admin(proxy, "PUT", "/v1/pools/p", &body).await.json(201);
    for change in changes {
        let path = "/v1/pools/p/change";
        admin(proxy, "POST", path, &change.to_string())
            .await
            .json(200);
    }
    let listen = pool["listen"].as_str().expect("a text");
    listen.parse().expect("an address")
}

/// Drops a balancer as a kill does: without a word to anybody.
async fn kill(proxy: Proxy, listen: SocketAddr) {
    drop(proxy);
    eventually(async || tokio::net::TcpStream::connect(listen).await.is_err()).await;
}

fn admit(instance: &str, backend: &Backend) -> Value {
    json!({ "admit": [{ "instance": instance, "address": backend.address }] })
}

async fn get(listen: SocketAddr) -> String {
    let mut client = Peer::connect(listen).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    client.answer().await.text().to_owned()
}

#[tokio::test]
async fn a_killed_balancer_comes_back_with_its_pools_and_who_was_out_stays_out() {
    let (_folder, file) = state();
    let (a, b, c) = (
        Backend::saying("a").await,
        Backend::saying("b").await,
        Backend::saying("c").await,
    );
    let changes = [
        admit("a", &a),
        admit("b", &b),
        admit("c", &c),
        json!({ "withdraw": ["b"], "forget": ["c"] }),
    ];
    let before = start(&file).await.expect("it starts");
    let listen = pool(&before, &changes).await;
    kill(before, listen).await;

    let after = start(&file).await.expect("it starts again");

    for _ in 0..20 {
        assert_eq!(get(listen).await, "a");
    }
    let shown = admin(&after, "GET", "/v1/pools/p", "").await.json(200);
    assert_eq!(shown["listen"], json!(listen));
    let states: Vec<(&Value, &Value)> = shown["endpoints"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|endpoint| (&endpoint["instance"], &endpoint["state"]))
        .collect();
    assert_eq!(
        states,
        [
            (&json!("a"), &json!("serving")),
            (&json!("b"), &json!("draining"))
        ]
    );
}

#[tokio::test]
async fn a_deleted_pool_stays_deleted() {
    let (_folder, file) = state();
    let before = start(&file).await.expect("it starts");
    let listen = pool(&before, &[]).await;
    admin(&before, "DELETE", "/v1/pools/p", "").await.json(200);
    kill(before, listen).await;

    let after = start(&file).await.expect("it starts again");

    let all = admin(&after, "GET", "/v1/pools", "").await.json(200);
    assert_eq!(all["pools"], json!([]));
}

#[tokio::test]
async fn a_state_file_that_does_not_read_stops_the_start_and_is_left_alone() {
    let (_folder, file) = state();
    fs::write(&file, "{\"format\":1,").expect("it can be written");

    let started = start(&file).await;

    let Err(StartError::State { error, .. }) = started else {
        panic!("{started:?}");
    };
    assert!(matches!(error, SnapshotError::Malformed(_)), "{error}");
    let left = fs::read_to_string(&file).expect("it is still there");
    assert_eq!(left, "{\"format\":1,");
}

#[tokio::test]
async fn a_pool_whose_address_is_taken_stops_the_start_and_is_not_forgotten() {
    let (_folder, file) = state();
    let before = start(&file).await.expect("it starts");
    let listen = pool(&before, &[]).await;
    kill(before, listen).await;
    let taken = tokio::net::TcpListener::bind(listen).await;

    let started = start(&file).await;

    let Err(StartError::Pool { pool, problem }) = started else {
        panic!("{started:?}");
    };
    assert_eq!(pool, "p");
    assert!(problem.contains(&listen.to_string()), "{problem}");
    drop(taken);
    let after = start(&file).await.expect("the address is free again");
    admin(&after, "GET", "/v1/pools/p", "").await.json(200);
}

#[tokio::test]
async fn a_change_that_cannot_be_written_down_is_made_and_told() {
    let (_folder, file) = state();
    // A folder stands where the next state is to be written.
    fs::create_dir(file.with_extension("new")).expect("a folder");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let proxy = Proxy::start(Config {
        state: Some(file),
        on_notice: Box::new(move |notice| {
            hears.lock().expect("no panic").push(notice.to_owned());
        }),
        ..Config::new(ANY.parse().expect("an address"))
    })
    .await
    .expect("it starts");
    let a = Backend::saying("a").await;

    let listen = pool(&proxy, &[admit("a", &a)]).await;

    assert_eq!(get(listen).await, "a");
    let heard = heard.lock().expect("no panic");
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard[0].starts_with("the pools cannot be written down"));
}
