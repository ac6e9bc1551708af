//! Bytes that are no HTTP, or HTTP that nobody would send, to a running balancer and to its admin API: each connection
//! is answered or closed, and a good request afterwards is served.

#[path = "../../../core/tests/it/mangled.rs"]
mod mangled;

use mangled::{bytes, mangled, mangled_json};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::runtime::{Builder, Runtime};

use crate::world::{Backend, Peer, World, admin};

/// What clients send to a pool. The last ones are several requests on one connection.
const REQUESTS: [&str; 7] = [
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
    "GET http://x/y HTTP/1.0\r\nConnection: keep-alive, x-a\r\nX-A: b\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "\r\nHEAD / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
];

/// What programs send to the admin API.
const ADMIN_REQUESTS: [&str; 4] = [
    "GET /v1/pools HTTP/1.1\r\nHost: localhost\r\n\r\nGET /metrics HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n",
    "PUT /v1/pools/a%2Fb HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
    "POST /v1/pools/a%2Fb/change HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n{\"withdraw\":[1]}",
    "DELETE /v1/pools/a%2Fb HTTP/1.1\r\nHost: [::1]\r\nOrigin: http://evil\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
];

const ADMIN_BODIES: [&str; 3] = [
    r#"{"admit": [{"instance": "a", "address": "127.0.0.1:31001"}, {"instance": "b", "address": "[::1]:31002"}],
        "withdraw": ["c"], "forget": ["d"]}"#,
    r#"{"listen": "127.0.0.1:0", "protocol": "tcp"}"#,
    r#"{"listen": null}"#,
];

fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Sends bytes in pieces of these lengths, says that nothing more comes, and waits for the end of the connection.
async fn answered_or_closed(mut peer: Peer, bytes: &[u8], pieces: &[usize]) -> String {
    let mut pieces = pieces.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = pieces.next().copied().unwrap_or(rest.len()).min(rest.len());
        let (piece, later) = rest.split_at(length);
        // The other side may have said no and closed.
        if peer.try_send(piece).await.is_err() {
            break;
        }
        rest = later;
    }
    drop(peer.stream.shutdown().await);
    peer.rest().await.0
}

/// Runs the property over many inputs with one world, in which a good request is served after each of them.
fn with_a_world<T: std::fmt::Debug>(
    inputs: impl Strategy<Value = T>,
    send: impl AsyncFn(&World, &T),
) {
    let runtime = runtime();
    let (world, _backend) = runtime.block_on(async {
        let backend = Backend::saying("hello").await;
        (World::with(&[&backend]).await, backend)
    });
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let outcome = runner.run(&inputs, |input| {
        runtime.block_on(async {
            send(&world, &input).await;
            assert_eq!(world.get("/").await.text(), "hello");
            assert_eq!(
                admin(&world.proxy, "GET", "/ping", "").await.text(),
                "pong\n"
            );
        });
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

fn in_pieces(
    input: impl Strategy<Value = Vec<u8>>,
) -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
    (input, vec(prop_oneof![1_usize..40, 1_usize..2000], 1..4))
}

#[test]
fn whatever_comes_to_a_pool_is_answered_or_closed_and_the_next_request_is_served() {
    let input = prop_oneof![4 => mangled(&REQUESTS).boxed(), 1 => bytes().boxed()];
    with_a_world(in_pieces(input), async |world, (bytes, pieces)| {
        let answer = answered_or_closed(world.client().await, bytes, pieces).await;

        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 "),
            "{answer}"
        );
    });
}

#[test]
fn whatever_comes_to_the_admin_api_is_answered_or_closed_and_the_next_request_is_served() {
    let input = prop_oneof![4 => mangled(&ADMIN_REQUESTS).boxed(), 1 => bytes().boxed()];
    with_a_world(in_pieces(input), async |world, (bytes, pieces)| {
        let peer = Peer::connect(world.proxy.admin_address()).await;
        let answer = answered_or_closed(peer, bytes, pieces).await;

        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1."),
            "{answer}"
        );
    });
}

#[test]
fn odd_bodies_at_odd_paths_are_done_or_refused_with_a_message() {
    // Any but the pool that a good request goes to.
    let segment = || {
        let name = "[a-z]{1,3}|(%[0-9a-f]{2}){1,4}|%|\\.\\.|a{600}|";
        name.prop_filter("not p", |name| name != "p" && name != "%70")
    };
    let path = prop_oneof![
        3 => Just("/v1/pools/q/change".to_owned()),
        3 => Just("/v1/pools/q".to_owned()),
        2 => segment().prop_map(|name| format!("/v1/pools/{name}")),
        1 => segment().prop_map(|name| format!("/v1//pools/{name}/change")),
    ];
    let method = proptest::sample::select(vec!["GET", "PUT", "POST", "DELETE", "PATCH"]);
    let inputs = (method, path, mangled_json(&ADMIN_BODIES));
    with_a_world(inputs, async |world, (method, path, body)| {
        let answer = admin(&world.proxy, method, path, body).await;

        assert!(answer.status() < 500, "{answer:?}");
        if answer.status() >= 400 {
            let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert!(told["message"].is_string(), "{told}");
        }
    });
}
