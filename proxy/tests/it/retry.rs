//! What is sent again, and what never is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::world::{Backend, Peer, World, eventually, refusing};

/// A backend that answers `answers` requests on each connection and closes it when the next one
/// has arrived, without a byte.
async fn fickle(answers: usize) -> Backend {
    Backend::with(move |mut peer| async move {
        for _ in 0..answers {
            if peer.request().await.is_none() {
                return;
            }
            peer.say("hello").await;
        }
        peer.request().await;
    })
    .await
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_replaced_by_another_at_once() {
    let backend = Backend::saying("hello").await;
    let (_socket, dead) = refusing();
    let world = World::with(&[&backend]).await;
    world.admit("dead", dead).await;

    for method in ["GET", "POST"].repeat(50) {
        let mut client = world.client().await;
        client
            .send(&format!(
                "{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
            ))
            .await;
        assert_eq!(client.answer().await.status(), 200);
    }

    let pool = world.pool().await;
    let failures = pool["endpoints"][1]["failures"].as_u64().expect("a count");
    assert!(
        (1..20).contains(&failures),
        "it is passed over for a while: {pool}"
    );
    assert_eq!(backend.requests(), 100);
}

#[tokio::test]
async fn an_endpoint_that_comes_back_is_used_again() {
    let (socket, address) = refusing();
    let world = World::new().await;
    world.admit("a", address).await;

    let refused = world.get("/").await;
    assert_eq!(refused.status(), 502);
    assert_eq!(refused.field("x-teal-error"), Some("connect_failed"));
    let listener = socket.listen(16).expect("it is bound");
    let backend = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut peer = Peer::accepted(stream);
        peer.request().await;
        peer.say("back").await;
    });

    // When all refuse, all are tried.
    assert_eq!(world.get("/").await.text(), "back");
    backend.await.expect("it answered");
}

#[tokio::test]
async fn an_empty_pool_says_so() {
    let world = World::new().await;

    let answer = world.get("/").await;

    assert_eq!(answer.status(), 503);
    assert_eq!(answer.field("x-teal-error"), Some("no_endpoint"));
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert_eq!(
        answer.text(),
        r#"{"message":"no instance of this service is serving"}"#
    );
}

#[tokio::test]
async fn a_repeatable_request_survives_a_kept_connection_that_was_closed() {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
        let backend = fickle(1).await;
        let world = World::with(&[&backend]).await;
        let mut client = world.client().await;

        for _ in 0..20 {
            client
                .send(&format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n"))
                .await;
            let answer = client.answer_head().await;
            assert_eq!(answer.status(), 200, "{method}");
            if method != "HEAD" {
                client.expect("hello").await;
            }
        }
    }
}

#[tokio::test]
async fn a_repeatable_request_moves_on_when_its_endpoint_has_died() {
    let [first, second] = [
        Backend::saying("first").await,
        Backend::saying("second").await,
    ];
    let world = World::with(&[&first]).await;
    let mut client = world.client().await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.answer().await.text(), "first");

    world.admit("b", second.address).await;
    drop(first);

    for _ in 0..20 {
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(client.answer().await.text(), "second");
    }
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    // Closes each connection when a second request has arrived on it, after counting it.
    let backend = fickle(1).await;
    let world = World::with(&[&backend]).await;
    let mut failed = 0;

    for count in 1..=20 {
        let mut client = world.client().await;
        client
            .send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        let answer = client.answer().await;
        assert_eq!(backend.requests(), count, "each is sent once");
        match answer.status() {
            200 => {}
            502 => failed += 1,
            other => panic!("{other}"),
        }
    }

    assert!(failed > 0, "this backend closes under requests");
}

#[tokio::test]
async fn a_post_does_not_meet_a_connection_that_was_closed_before() {
    let closed = Arc::new(AtomicUsize::new(0));
    let closings = Arc::clone(&closed);
    let backend = Backend::with(move |mut peer| {
        let closings = Arc::clone(&closings);
        async move {
            peer.request().await;
            peer.say("hello").await;
            drop(peer);
            closings.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    for count in 1..=50 {
        client
            .send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        assert_eq!(client.answer().await.status(), 200);
        eventually(async || closed.load(Ordering::SeqCst) == count).await;
    }

    assert_eq!(backend.requests(), 50);
}

#[tokio::test]
async fn posts_in_a_row_share_a_connection() {
    let backend = Backend::saying("hello").await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    for _ in 0..10 {
        client
            .send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        assert_eq!(client.answer().await.status(), 200);
    }

    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_request_on_a_fresh_connection_is_not_sent_again() {
    let backend = fickle(0).await;
    let world = World::with(&[&backend]).await;

    let answer = world.get("/").await;

    assert_eq!(answer.status(), 502);
    assert_eq!(answer.field("x-teal-error"), Some("upstream_closed"));
    assert_eq!(backend.requests(), 1);
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_are_never_an_answer() {
    let sent = Arc::new(AtomicUsize::new(0));
    let sendings = Arc::clone(&sent);
    let backend = Backend::with(move |mut peer| {
        let sendings = Arc::clone(&sendings);
        async move {
            peer.request().await;
            peer.say("asked").await;
            // Not in the same packet: it shall look like the answer to the next request.
            tokio::task::yield_now().await;
            peer.say("unasked").await;
            sendings.fetch_add(1, Ordering::SeqCst);
            peer.request().await;
        }
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;

    for count in 1..=10 {
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(client.answer().await.text(), "asked");
        eventually(async || sent.load(Ordering::SeqCst) == count).await;
    }
}
