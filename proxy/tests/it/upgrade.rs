//! Tunnels: upgraded connections and pools of protocol `tcp`.

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::world::{Backend, World, refusing};

const UPGRADE: &str = concat!(
    "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
    "Sec-WebSocket-Key: x\r\n\r\n",
);

/// Upgrades and then echoes until the client has ended its side, which it acknowledges.
async fn echo() -> Backend {
    Backend::with(|mut peer| async move {
        let request = peer.request().await.expect("a request");
        assert_eq!(request.field("upgrade"), Some("websocket"));
        assert_eq!(request.field("connection"), Some("Upgrade"));
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket";
        peer.send(&format!("{head}\r\n\r\nwelcome ")).await;
        let (text, _) = peer.rest().await;
        peer.send(&format!("{text} bye")).await;
    })
    .await
}

#[tokio::test]
async fn an_upgraded_connection_is_a_tunnel_and_counts_until_it_is_closed() {
    let backend = echo().await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    client.send(UPGRADE).await;
    let answer = client.answer_head().await;
    assert_eq!(
        (answer.status(), answer.field("upgrade")),
        (101, Some("websocket"))
    );
    client.expect("welcome ").await;
    assert_eq!(world.in_flight("a").await, 1);

    world.change(json!({ "forget": ["a"] })).await;
    client.send("ping").await;
    assert_eq!(
        world.in_flight("a").await,
        1,
        "a forgotten endpoint is listed while it is busy"
    );
    client.stream.shutdown().await.expect("it is open");
    client.expect("ping bye").await;
    client.expect_end().await;

    world.until_in_flight("a", 0).await;
    assert_eq!(world.pool().await["endpoints"], json!([]));
}

#[tokio::test]
async fn bytes_sent_along_with_an_upgrade_arrive_once_it_is_granted() {
    let backend = echo().await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    client.send(&format!("{UPGRADE}early")).await;
    client.answer_head().await;
    client.stream.shutdown().await.expect("it is open");

    client.expect("welcome early bye").await;
}

#[tokio::test]
async fn an_upgrade_that_is_not_granted_is_an_ordinary_exchange() {
    let backend = Backend::saying("no").await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    // What follows must be read as a request by the balancer, not passed on as it is.
    client
        .send(&format!("{UPGRADE}GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
        .await;
    assert_eq!(client.answer().await.text(), "no");
    assert_eq!(client.answer().await.text(), "no");
    client
        .send(&format!("{UPGRADE}GET / HTTP/1.1\r\n\r\n"))
        .await;
    assert_eq!(client.answer().await.text(), "no");
    assert_eq!(client.answer().await.status(), 400);

    assert_eq!(backend.requests(), 3);
}

#[tokio::test]
async fn h2c_and_upgrades_with_a_body_are_not_passed_on() {
    let backend = Backend::with(|mut peer| async move {
        while let Some(request) = peer.request().await {
            peer.say(request.field("upgrade").unwrap_or("none")).await;
        }
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    for rest in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
        "Connection: Upgrade\r\nUpgrade: foo\r\nContent-Length: 2\r\n\r\nhi",
        "Upgrade: foo\r\n\r\n",
    ] {
        client
            .send(&format!("GET / HTTP/1.1\r\nHost: x\r\n{rest}"))
            .await;
        assert_eq!(client.answer().await.text(), "none", "{rest:?}");
    }
}

#[tokio::test]
async fn a_tcp_pool_passes_bytes_and_counts_connections() {
    let backend = Backend::with(|mut peer| async move {
        peer.send("220 hello\n").await;
        let (text, _) = peer.rest().await;
        peer.send(&text.to_uppercase()).await;
    })
    .await;
    let (_socket, dead) = refusing();
    let world = World::speaking("tcp").await;
    world.admit("a", backend.address).await;
    world.admit("dead", dead).await;

    for _ in 0..5 {
        let mut client = world.client().await;
        client.expect("220 hello\n").await;
        assert_eq!(world.in_flight("a").await, 1);
        client.send("quit").await;
        client.stream.shutdown().await.expect("it is open");
        client.expect("QUIT").await;
        client.expect_end().await;
        world.until_in_flight("a", 0).await;
    }
}

#[tokio::test]
async fn a_tcp_pool_without_endpoints_closes_connections() {
    let world = World::speaking("tcp").await;
    let mut client = world.client().await;

    client.expect_end().await;
}
