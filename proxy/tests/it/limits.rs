//! Limits in time. The clock is paused once everything is set up, so a minute takes no time.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, pause};

use crate::world::{ANY, Backend, Peer, World};

/// Reads until the end, and says how long that took by the paused clock.
async fn rest(peer: &mut Peer) -> (String, Duration) {
    pause();
    let begin = Instant::now();
    let mut text = String::new();
    peer.stream
        .read_to_string(&mut text)
        .await
        .expect("an orderly end");
    (text, begin.elapsed())
}

#[tokio::test]
async fn a_head_that_is_not_completed_is_answered_with_408() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.send("GET / HTTP/1.1\r\nHo").await;

    let (answer, time) = rest(&mut client).await;

    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!((59..=61).contains(&time.as_secs()), "{time:?}");
}

#[tokio::test]
async fn an_idle_client_connection_is_closed_after_a_while() {
    let backend = Backend::saying("hello").await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    client.answer().await;

    let (answer, time) = rest(&mut client).await;

    assert_eq!(answer, "");
    assert!((74..=76).contains(&time.as_secs()), "{time:?}");
}

#[tokio::test]
async fn an_answer_may_take_an_hour() {
    let backend = Backend::with(|mut peer| async move {
        peer.request().await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        peer.send("HTTP/1.1 200 OK\r\n\r\nh").await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        peer.send("i").await;
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;

    let (answer, time) = rest(&mut client).await;

    assert!(
        answer.ends_with("\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n"),
        "{answer}"
    );
    assert!(time.as_secs() >= 7200, "{time:?}");
}

#[tokio::test]
async fn a_client_that_left_while_waiting_counts_for_a_limited_time() {
    let backend = Backend::with(|mut peer| async move {
        peer.request().await;
        std::future::pending::<()>().await;
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    world.until_in_flight("a", 1).await;

    pause();
    let begin = Instant::now();
    drop(client);
    world.until_in_flight("a", 0).await;

    assert!(
        (29..=35).contains(&begin.elapsed().as_secs()),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn a_tunnel_whose_other_side_stays_silent_ends_after_a_while() {
    let backend = Backend::with(|mut peer| async move {
        peer.request().await;
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo";
        peer.send(&format!("{head}\r\n\r\n")).await;
        tokio::time::sleep(Duration::from_secs(100_000)).await;
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;
    let fields = "Host: x\r\nConnection: Upgrade\r\nUpgrade: foo";
    client
        .send(&format!("GET / HTTP/1.1\r\n{fields}\r\n\r\n"))
        .await;
    assert_eq!(client.answer_head().await.status(), 101);
    client.stream.shutdown().await.expect("it is open");

    let (_, time) = rest(&mut client).await;

    assert!((299..=301).contains(&time.as_secs()), "{time:?}");
}

#[tokio::test]
async fn an_endpoint_that_does_not_accept_in_time_is_replaced_by_another() {
    // A listener whose queue is full: the kernel drops what else wants to connect.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(ANY.parse().expect("an address"))
        .expect("a free port");
    let full = socket.listen(1).expect("it is bound");
    let address = full.local_addr().expect("it is bound");
    let mut queued = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        queued.push(stream);
    }
    let world = World::new().await;
    world.admit("full", address).await;

    let alone = world.get("/").await;
    let backend = Backend::saying("hello").await;
    world.admit("a", backend.address).await;
    let answers = [world.get("/").await, world.get("/").await];

    assert_eq!(
        (alone.status(), alone.field("x-teal-error")),
        (504, Some("connect_timeout"))
    );
    assert!(answers.iter().all(|answer| answer.text() == "hello"));
}
