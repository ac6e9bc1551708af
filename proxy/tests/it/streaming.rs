//! Bodies of every kind, as they come.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::world::{Backend, World, eventually};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn an_event_arrives_before_the_next_one_is_sent() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let backend = Backend::with(move |mut peer| {
        let gate = Arc::clone(&opened);
        async move {
            peer.request().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                .await;
            for event in ["data: 1\n\n", "data: 2\n\n"] {
                gate.acquire().await.expect("it is open").forget();
                peer.send(event).await;
            }
        }
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.answer_head().await.status(), 200);
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        gate.add_permits(1);
        assert_eq!(client.chunk().await.as_deref(), Some(event.as_bytes()));
    }

    assert_eq!(
        client.chunk().await.as_deref(),
        Some(&b""[..]),
        "a clean end"
    );
}

#[tokio::test]
async fn chunks_flow_both_ways_at_once() {
    let backend = Backend::with(|mut peer| async move {
        peer.request_head().await;
        peer.send(CHUNKED).await;
        while let Some(chunk) = peer.chunk().await.filter(|chunk| !chunk.is_empty()) {
            let text = String::from_utf8(chunk).expect("text").to_uppercase();
            peer.send(&format!("{:x}\r\n{text}\r\n", text.len())).await;
        }
        peer.send("0\r\n\r\n").await;
        peer.request().await;
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    client
        .send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    client.answer_head().await;
    for (sent, expected) in [("a", "A"), ("bcd", "BCD")] {
        client
            .send(&format!("{:x}\r\n{sent}\r\n", sent.len()))
            .await;
        assert_eq!(client.chunk().await.as_deref(), Some(expected.as_bytes()));
    }
    client.send("0\r\n\r\n").await;

    assert_eq!(client.chunk().await.as_deref(), Some(&b""[..]));
}

#[tokio::test]
async fn extensions_and_trailers_are_left_out() {
    let backend = Backend::with(|mut peer| async move {
        while peer.request_head().await.is_some() {
            let mut body = String::new();
            while let Some(chunk) = peer.chunk().await.filter(|chunk| !chunk.is_empty()) {
                body += std::str::from_utf8(&chunk).expect("text");
            }
            let chunk = format!(
                "{:x};a=b\r\n{body}\r\n0;c\r\nT: v\r\nU: w\r\n\r\n",
                body.len()
            );
            peer.send(&format!("{CHUNKED}{chunk}")).await;
        }
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    for _ in 0..2 {
        client
            .send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        client.send("5;x=\"y\"\r\nhello\r\n0\r\nX: y\r\n\r\n").await;
        assert_eq!(client.answer().await.text(), "hello");
    }

    assert_eq!(backend.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_arrive_whole_in_both_directions() {
    const SIZE: usize = 9_000_001;
    let backend = Backend::with(|mut peer| async move {
        while let Some(request) = peer.request().await {
            peer.say(request.text()).await;
        }
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;
    let body: String = (0..SIZE)
        .map(|index| char::from(b'a' + (index % 23) as u8))
        .collect();

    for _ in 0..2 {
        client
            .send(&format!(
                "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {SIZE}\r\n\r\n"
            ))
            .await;
        client.send(&body).await;
        let answer = client.answer().await;
        assert!(
            answer.body == body.as_bytes(),
            "{} bytes",
            answer.body.len()
        );
    }
}

#[tokio::test]
async fn answers_without_a_body_end_with_their_head() {
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        ),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let backend = Backend::raw(answer).await;
        let world = World::with(&[&backend]).await;
        let mut client = world.client().await;

        for _ in 0..3 {
            client
                .send(&format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n"))
                .await;
            let got = client.answer_head().await;
            assert_eq!(got.head.get(..12), answer.get(..12));
            let length = answer
                .contains("Content-Length")
                .then(|| &answer[answer.len() - 5..]);
            assert_eq!(
                got.field("content-length"),
                length.map(str::trim),
                "{answer}"
            );
        }

        assert_eq!(backend.connections(), 1, "{method} {answer}");
        world.until_in_flight("a", 0).await;
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it_from_the_backend() {
    let backend = Backend::with(|mut peer| async move {
        while let Some(head) = peer.request_head().await {
            assert_eq!(head.field("expect"), Some("100-continue"));
            peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            let request = peer.body(head, false).await;
            peer.say(request.text()).await;
        }
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    for _ in 0..2 {
        client
            .send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n")
            .await;
        client.send("Expect: 100-continue\r\n\r\n").await;
        assert_eq!(client.answer_head().await.status(), 100);
        client.send("abc").await;
        assert_eq!(client.answer().await.text(), "abc");
    }
}

#[tokio::test]
async fn a_refusal_instead_of_100_continue_ends_the_connection() {
    let backend = Backend::with(|mut peer| async move {
        peer.request_head().await;
        peer.send("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
            .await;
        peer.request_head().await;
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    client
        .send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n")
        .await;
    client.send("Expect: 100-continue\r\n\r\n").await;
    let answer = client.answer().await;

    assert_eq!(
        (answer.status(), answer.field("connection")),
        (417, Some("close"))
    );
    client.expect_end().await;
}

#[tokio::test]
async fn interim_answers_are_passed_on_but_not_to_http_1_0() {
    let backend = Backend::raw(concat!(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ))
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let hints = client.answer_head().await;
    assert_eq!(
        (hints.status(), hints.field("link")),
        (103, Some("</a.css>"))
    );
    assert_eq!(client.answer_head().await.status(), 102);
    assert_eq!(client.answer().await.text(), "ok");
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.answer().await.text(), "ok");
}

#[tokio::test]
async fn endless_interim_answers_are_cut_off() {
    let backend = Backend::with(|mut peer| async move {
        peer.request().await;
        while peer
            .try_send(b"HTTP/1.1 102 Processing\r\n\r\n")
            .await
            .is_ok()
        {}
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut answer = client.answer_head().await;
    while answer.status() == 102 {
        answer = client.answer_head().await;
    }

    assert_eq!(answer.status(), 502);
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_readable() {
    let backend = Backend::with(|mut peer| async move {
        peer.request_head().await;
        peer.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
            .await;
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    client
        .send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
        .await;
    // Sending may fail at some point: the answer must be there all the same.
    let junk = vec![b'x'; 64 * 1024];
    for _ in 0..16 {
        if client.try_send(&junk).await.is_err() {
            break;
        }
    }
    let answer = client.answer().await;

    assert_eq!((answer.status(), answer.text()), (413, "big"));
    assert_eq!(answer.field("connection"), Some("close"));
    world.until_in_flight("a", 0).await;
}

#[tokio::test]
async fn a_backend_that_dies_in_its_answer_never_looks_like_a_clean_end() {
    for (request, answer) in [
        (
            "GET / HTTP/1.1",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        ),
        (
            "GET / HTTP/1.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ),
        (
            "GET / HTTP/1.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
        ),
        (
            "GET / HTTP/1.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
        ),
        (
            "GET / HTTP/1.0",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        ),
        (
            "GET / HTTP/1.0",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ),
    ] {
        let backend = Backend::raw_then_close(answer).await;
        let world = World::with(&[&backend]).await;
        let mut client = world.client().await;

        client.send(&format!("{request}\r\nHost: x\r\n\r\n")).await;
        let head = client.answer_head().await;
        let got = client.body(head, true).await;

        // Framing that is seen to be broken before anything was passed on is a plain error.
        let refused = got.status() == 502 && answer.contains("zz");
        assert!(!got.complete || refused, "{request} {answer:?}: {got:?}");
        world.until_in_flight("a", 0).await;
    }
}

#[tokio::test]
async fn a_reset_in_an_unmarked_answer_is_passed_on_as_a_break() {
    for request in ["GET / HTTP/1.1", "GET / HTTP/1.0"] {
        let backend = Backend::with(|mut peer| async move {
            peer.request().await;
            peer.send("HTTP/1.1 200 OK\r\n\r\nabc").await;
            // Dropping the backend closes this connection, with a reset.
            peer.stream.set_zero_linger().expect("a TCP socket");
            peer.request().await;
        })
        .await;
        let world = World::with(&[&backend]).await;
        let mut client = world.client().await;

        client.send(&format!("{request}\r\nHost: x\r\n\r\n")).await;
        client.answer_head().await;
        let (text, mark) = if request.ends_with('1') {
            ("3\r\nabc\r\n", "0\r\n")
        } else {
            ("abc", "")
        };
        client.expect(text).await;
        drop(backend);
        let (rest, orderly) = client.rest().await;

        assert!(!rest.starts_with(mark) || !orderly, "{request}: {rest:?}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_exchange() {
    let gone = Arc::new(Semaphore::new(0));
    let seen = Arc::clone(&gone);
    let backend = Backend::with(move |mut peer| {
        let seen = Arc::clone(&seen);
        async move {
            peer.request().await;
            peer.send("HTTP/1.1 200 OK\r\n\r\n").await;
            while peer.try_send(b"tick").await.is_ok() {
                tokio::task::yield_now().await;
            }
            seen.add_permits(1);
        }
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    client.answer_head().await;
    world.until_in_flight("a", 1).await;
    drop(client);

    world.until_in_flight("a", 0).await;
    eventually(async || gone.available_permits() == 1).await;
}

#[tokio::test]
async fn an_answer_until_close_keeps_the_clients_connection() {
    let backend = Backend::raw_then_close("HTTP/1.1 200 OK\r\n\r\nhello").await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let answer = client.answer().await;
        assert_eq!((answer.text(), answer.complete), ("hello", true));
    }

    assert_eq!(backend.connections(), 3);
}
