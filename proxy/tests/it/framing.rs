//! Messages that two programs could read in two ways are refused.

use crate::world::{Backend, World};

/// What is sent, and the status it gets. None of it may reach the backend.
const REFUSED: &[(&str, u16)] = &[
    (
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        400,
    ),
    (
        "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\nabc",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        400,
    ),
    ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", 400),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    (
        "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", 400),
    ("GET / HTTP/1.1\nHost: x\n\n", 400),
    ("GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("G(T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET /\r\n\r\n", 400),
    ("GET / FTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", 501),
];

#[tokio::test]
async fn ambiguous_and_malformed_heads_are_refused_and_the_connection_closed() {
    let backend = Backend::saying("hello").await;
    let world = World::with(&[&backend]).await;

    for (request, status) in REFUSED {
        let mut client = world.client().await;
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
        client.send(&format!("{request}{smuggled}")).await;
        let answer = client.answer().await;
        assert_eq!(answer.status(), *status, "{request:?}: {answer:?}");
        assert_eq!(answer.field("connection"), Some("close"), "{request:?}");
        assert!(answer.field("x-teal-error").is_some(), "{request:?}");
        client.expect_end().await;
    }

    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn repeated_content_lengths_that_agree_are_passed_on_as_one() {
    let backend = Backend::with(|mut peer| async move {
        while let Some(request) = peer.request().await {
            let count = request.head.matches("Content-Length").count();
            peer.say(&format!("{count} {}", request.text())).await;
        }
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    client
        .send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n")
        .await;
    client.send("Content-Length: 3\r\n\r\nabc").await;

    assert_eq!(client.answer().await.text(), "1 abc");
}

#[tokio::test]
async fn malformed_chunks_are_refused() {
    let backend = Backend::saying("hello").await;
    let world = World::with(&[&backend]).await;
    let bodies = [
        "x\r\n",
        "\r\n",
        "-1\r\n",
        "0x1\r\na\r\n",
        "1 \r\na\r\n",
        "1\na\n0\n\n",
        "1\r\nab\r\n",
        "1\r\na0\r\n\r\n",
        "1;\nx\r\na\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\n",
        "0\r\n x: y\r\n\r\n",
        "0\r\nx: \0\r\n\r\n",
        "0\r\nx: y\n\r\n",
    ];

    for body in bodies {
        let mut client = world.client().await;
        let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(&format!("{head}{body}")).await;
        assert_eq!(client.answer().await.status(), 400, "{body:?}");
        client.expect_end().await;
    }
}

#[tokio::test]
async fn heads_beyond_the_limits_are_refused() {
    let backend = Backend::saying("hello").await;
    let world = World::with(&[&backend]).await;
    let many = "X: y\r\n".repeat(100);
    let long = "y".repeat(70 * 1024);

    for fields in [many, format!("X: {long}\r\n")] {
        let mut client = world.client().await;
        client
            .send(&format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n"))
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.status(), 431);
        assert_eq!(answer.field("x-teal-error"), Some("head_too_large"));
    }

    let few = "X: y\r\n".repeat(99);
    let mut client = world.client().await;
    client
        .send(&format!("GET / HTTP/1.1\r\nHost: x\r\n{few}\r\n"))
        .await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn a_head_may_arrive_byte_by_byte() {
    let backend = Backend::saying("hello").await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;
    client.stream.set_nodelay(true).expect("a TCP socket");

    for byte in "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n".chars() {
        client.send(&byte.to_string()).await;
        tokio::task::yield_now().await;
    }

    assert_eq!(client.answer().await.text(), "hello");
}

#[tokio::test]
async fn an_absolute_target_is_shortened_if_it_agrees_with_host() {
    let backend = Backend::with(|mut peer| async move {
        while let Some(request) = peer.request().await {
            let line = request.head.lines().next().expect("a line").to_owned();
            peer.say(&line).await;
        }
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    client
        .send("GET http://X:1/a?b HTTP/1.1\r\nHost: x:1\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.text(), "GET /a?b HTTP/1.1");
    client.send("OPTIONS * HTTP/1.1\r\nHost: x:1\r\n\r\n").await;
    assert_eq!(client.answer().await.text(), "OPTIONS * HTTP/1.1");
}

#[tokio::test]
async fn ambiguous_and_malformed_answers_become_502() {
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nContent-Length: 3x\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "hello\r\n\r\n",
    ];
    for answer in answers {
        let backend = Backend::raw(answer).await;
        let world = World::with(&[&backend]).await;
        let mut client = world.client().await;

        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let got = client.answer().await;
        assert_eq!(got.status(), 502, "{answer:?}");
        assert_eq!(got.field("x-teal-error"), Some("bad_answer"), "{answer:?}");
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(client.answer().await.status(), 502, "{answer:?}");

        assert_eq!(
            backend.connections(),
            2,
            "the connection was used again: {answer:?}"
        );
    }
}
