//! Connections that carry more than one request.

use crate::world::{Backend, World};

#[tokio::test]
async fn both_sides_keep_their_connection_for_the_next_request() {
    let backend = Backend::saying("hello").await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    for _ in 0..10 {
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.text()), (200, "hello"));
        assert_eq!(answer.field("connection"), None);
    }

    assert_eq!((backend.requests(), backend.connections()), (10, 1));
}

#[tokio::test]
async fn a_client_that_asks_for_the_end_gets_it() {
    let backend = Backend::saying("hello").await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    client
        .send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;

    assert_eq!(client.answer().await.field("connection"), Some("close"));
    client.expect_end().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::with(|mut peer| async move {
        while let Some(request) = peer.request().await {
            let path = request.head.split(' ').nth(1).expect("a target").to_owned();
            peer.say(&format!("{path}{}", request.text())).await;
        }
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    client
        .send(concat!(
            "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
            "\r\n",
            "POST /3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n",
            "GET /4 HTTP/1.1\r\nHost: x\r\n\r\n",
        ))
        .await;

    for expected in ["/1", "/2abc", "/3de", "/4"] {
        assert_eq!(client.answer().await.text(), expected);
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_is_served_and_keeps_its_connection_if_it_asks() {
    let backend = Backend::saying("hello").await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    client
        .send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let kept = client.answer().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let last = client.answer().await;

    assert_eq!(
        (kept.field("connection"), kept.text()),
        (Some("keep-alive"), "hello")
    );
    assert_eq!(
        (last.field("connection"), last.text()),
        (Some("close"), "hello")
    );
    client.expect_end().await;
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_a_chunked_answer_without_chunks() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n";
    let backend = Backend::raw(answer).await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    client
        .send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let answer = client.answer().await;

    assert_eq!(
        (answer.text(), answer.field("transfer-encoding")),
        ("abcde", None)
    );
    assert!(answer.complete);
}

#[tokio::test]
async fn a_client_that_has_closed_its_sending_side_is_answered() {
    let backend = Backend::saying("hello").await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    tokio::io::AsyncWriteExt::shutdown(&mut client.stream)
        .await
        .expect("it is open");

    assert_eq!(client.answer().await.text(), "hello");
    client.expect_end().await;
}

#[tokio::test]
async fn hop_by_hop_fields_are_dropped_and_forwarding_fields_are_set() {
    let backend = Backend::with(|mut peer| async move {
        while let Some(request) = peer.request().await {
            let body = request.head.to_ascii_lowercase();
            let extra =
                "Connection: x-private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nX-Public: 2";
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\n{extra}\r\nContent-Length: {length}\r\n\r\n");
            peer.send(&(head + &body)).await;
        }
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    client
        .send(concat!(
            "GET /a?b HTTP/1.1\r\nHost: oinker.example:80\r\nConnection: keep-alive, X-Secret, Host\r\n",
            "X-Secret: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip, trailers\r\n",
            "Upgrade: foo\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n",
            "X-Forwarded-Host: evil\r\nAccept: */*\r\n\r\n",
        ))
        .await;
    let answer = client.answer().await;

    let expected = concat!(
        "get /a?b http/1.1\r\nhost: oinker.example:80\r\naccept: */*\r\nte: trailers\r\nconnection: te\r\n",
        "x-forwarded-for: 10.0.0.1, 127.0.0.1\r\nx-forwarded-proto: http\r\n",
        "x-forwarded-host: oinker.example:80\r\n\r\n",
    );
    assert_eq!(answer.text(), expected);
    assert_eq!(answer.field("x-public"), Some("2"));
    for dropped in ["x-private", "keep-alive", "connection"] {
        assert_eq!(answer.field(dropped), None, "{dropped}");
    }
}
