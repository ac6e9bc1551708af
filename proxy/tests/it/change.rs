//! Changes of a pool while it is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::world::{Backend, Peer, World, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_and_none_lands_on_what_was_withdrawn_over_many_flips() {
    let backends = [
        Backend::saying("blue").await,
        Backend::saying("green").await,
    ];
    let world = World::with(&[&backends[0]]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for number in 0..64 {
        let (listen, stop, answered) = (world.listen, Arc::clone(&stop), Arc::clone(&answered));
        clients.spawn(async move {
            let mut peer = Peer::connect(listen).await;
            while !stop.load(Ordering::Relaxed) {
                if number % 4 == 0 {
                    peer = Peer::connect(listen).await;
                }
                let rest = if number % 2 == 0 {
                    "Content-Length: 2\r\n\r\nhi"
                } else {
                    "\r\n"
                };
                let method = if number % 2 == 0 { "POST" } else { "GET" };
                peer.send(&format!("{method} / HTTP/1.1\r\nHost: x\r\n{rest}"))
                    .await;
                let answer = peer.answer().await;
                assert_eq!(answer.status(), 200, "{answer:?}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    let (mut old, mut new) = (0, 1);
    for _ in 0..60 {
        let names = ["a", "b"];
        let admit = [json!({ "instance": names[new], "address": backends[new].address })];
        world
            .change(json!({ "admit": admit, "withdraw": [names[old]] }))
            .await;
        world.until_in_flight(names[old], 0).await;
        let before = (backends[old].requests(), answered.load(Ordering::Relaxed));
        eventually(async || answered.load(Ordering::Relaxed) >= before.1 + 100).await;
        assert_eq!(
            backends[old].requests(),
            before.0,
            "a request landed on the withdrawn one"
        );
        (old, new) = (new, old);
    }
    stop.store(true, Ordering::Relaxed);

    while let Some(ended) = clients.join_next().await {
        ended.expect("no client failed");
    }
}

#[tokio::test]
async fn in_flight_counts_until_the_last_byte_is_written() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let backend = Backend::with(move |mut peer| {
        let gate = Arc::clone(&opened);
        async move {
            peer.request().await;
            gate.acquire().await.expect("it is open").forget();
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh")
                .await;
            gate.acquire().await.expect("it is open").forget();
            peer.send("i").await;
        }
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    world.until_in_flight("a", 1).await;
    let pool = world.change(json!({ "forget": ["a"] })).await;
    assert_eq!(pool["endpoints"][0]["state"], "draining");
    assert_eq!(pool["endpoints"][0]["in_flight"], 1);
    assert_eq!(world.get("/").await.status(), 503);
    gate.add_permits(1);
    client.answer_head().await;
    assert_eq!(world.in_flight("a").await, 1);
    gate.add_permits(1);
    client.expect("hi").await;

    eventually(async || world.pool().await["endpoints"] == json!([])).await;
}

#[tokio::test]
async fn changes_are_idempotent_and_counted_only_if_they_change_something() {
    let backend = Backend::saying("hello").await;
    let world = World::new().await;

    let admitted = world.admit("a", backend.address).await;
    let again = world.admit("a", backend.address).await;
    let nothing = world
        .change(json!({ "withdraw": ["x"], "forget": ["y"] }))
        .await;
    let withdrawn = world.change(json!({ "withdraw": ["a"] })).await;
    let withdrawn_again = world.change(json!({ "withdraw": ["a"] })).await;
    let back = world.admit("a", backend.address).await;
    let forgotten = world.change(json!({ "forget": ["a"] })).await;

    let generation = |pool: &serde_json::Value| pool["generation"].as_u64().expect("a number");
    assert_eq!([&admitted, &again, &nothing].map(generation), [1, 1, 1]);
    assert_eq!([&withdrawn, &withdrawn_again].map(generation), [2, 2]);
    assert_eq!([&back, &forgotten].map(generation), [3, 4]);
    assert_eq!(withdrawn["endpoints"][0]["state"], "draining");
    assert_eq!(back["endpoints"][0]["state"], "serving");
    assert_eq!(forgotten["endpoints"], json!([]));
}

#[tokio::test]
async fn an_instance_with_another_address_is_another_incarnation() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let first = Backend::with(move |mut peer| {
        let gate = Arc::clone(&opened);
        async move {
            peer.request().await;
            gate.acquire().await.expect("it is open").forget();
            peer.say("first").await;
        }
    })
    .await;
    let second = Backend::saying("second").await;
    let world = World::with(&[&first]).await;
    let mut client = world.client().await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    world.until_in_flight("a", 1).await;

    let pool = world.admit("a", second.address).await;
    assert_eq!(pool["endpoints"].as_array().map(Vec::len), Some(2));
    assert_eq!(world.get("/").await.text(), "second");
    assert_eq!(world.in_flight("a").await, 1);
    gate.add_permits(1);
    assert_eq!(client.answer().await.text(), "first");

    eventually(async || world.pool().await["endpoints"].as_array().map(Vec::len) == Some(1)).await;
    assert_eq!(
        world.pool().await["endpoints"][0]["address"],
        json!(second.address)
    );
}

#[tokio::test]
async fn kept_connections_to_a_withdrawn_endpoint_are_closed() {
    let ended = Arc::new(Semaphore::new(0));
    let endings = Arc::clone(&ended);
    let backend = Backend::with(move |mut peer| {
        let endings = Arc::clone(&endings);
        async move {
            while peer.request().await.is_some() {
                peer.say("hello").await;
            }
            endings.add_permits(1);
        }
    })
    .await;
    let world = World::with(&[&backend]).await;
    world.get("/").await;
    // The connection is kept before the claim is given back.
    world.until_in_flight("a", 0).await;

    world.change(json!({ "withdraw": ["a"] })).await;

    eventually(async || ended.available_permits() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_is_spread_over_the_serving_endpoints() {
    let backends = [Backend::saying("a").await, Backend::saying("b").await];
    let world = World::with(&[&backends[0], &backends[1]]).await;

    for _ in 0..200 {
        world.get("/").await;
    }

    for backend in backends {
        assert!(
            (50..150).contains(&backend.requests()),
            "{}",
            backend.requests()
        );
    }
}
