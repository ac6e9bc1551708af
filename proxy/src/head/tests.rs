//! Heads, good and bad.

use proptest::prelude::*;

use super::*;
use crate::body::Body;

const ORIGIN: Origin<'static> = Origin {
    peer: "192.0.2.7",
    authority: "127.0.0.1:10000",
};
const ASKED: Asked = Asked {
    head: false,
    old: false,
    upgrade: false,
    keep_alive: true,
};

fn request(head: &str) -> Result<(Request, String), Fault> {
    let mut out = Vec::new();
    let request = read_request(head.as_bytes(), ORIGIN, &mut out)?;
    Ok((request, String::from_utf8(out).expect("text")))
}

fn response(head: &str, asked: Asked) -> Result<(Response, String), Fault> {
    let mut out = Vec::new();
    let response = read_response(head.as_bytes(), asked, &mut out)?;
    Ok((response, String::from_utf8(out).expect("text")))
}

#[test]
fn only_requests_without_body_and_with_an_idempotent_method_are_repeatable() {
    for (line, fields, expected) in [
        ("GET /", "", true),
        ("HEAD /", "", true),
        ("PUT /", "Content-Length: 0\r\n", true),
        ("DELETE /", "", true),
        ("GET /", "Content-Length: 1\r\n", false),
        ("PUT /", "Transfer-Encoding: chunked\r\n", false),
        ("POST /", "", false),
        ("PATCH /", "Content-Length: 0\r\n", false),
        ("get /", "", false),
    ] {
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        let (request, _) = request(&head).expect("it is valid");
        assert_eq!(request.repeatable, expected, "{head:?}");
    }
}

#[test]
fn a_client_of_http_1_0_without_host_gets_one() {
    let (request, sent) = request("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expect("valid");

    assert!(!request.keep_alive && request.old);
    assert_eq!(
        sent,
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:10000\r\nX-Forwarded-For: 192.0.2.7\r\n\
         X-Forwarded-Proto: http\r\nX-Forwarded-Host: 127.0.0.1:10000\r\n\r\n"
    );
}

#[test]
fn framing_and_routing_fields_cannot_be_named_away() {
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nAuthorization: y\r\n\
                Connection: Content-Length, Host, X-Forwarded-For, authorization\r\n\r\n";

    let (request, sent) = request(head).expect("it is valid");

    assert_eq!(request.body, Body::Length(3));
    assert!(
        sent.contains("Content-Length: 3\r\n") && sent.contains("Host: x\r\n"),
        "{sent}"
    );
    assert!(sent.contains("X-Forwarded-For: 192.0.2.7\r\n"), "{sent}");
    assert!(!sent.contains("uthorization"), "{sent}");
}

#[test]
fn a_204_that_announces_a_body_is_passed_on_without_and_its_connection_not_kept() {
    let head = "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n";

    let (response, sent) = response(head, ASKED).expect("it is valid");

    let Response::Final {
        body,
        upstream_keep_alive,
        keep_alive,
        ..
    } = response
    else {
        panic!("{response:?}");
    };
    assert_eq!(
        (body, upstream_keep_alive, keep_alive),
        (Body::EMPTY, false, true)
    );
    assert_eq!(sent, "HTTP/1.1 204 No Content\r\n\r\n");
}

#[test]
fn the_end_of_the_upstream_connection_is_not_the_end_of_the_clients() {
    for head in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n",
    ] {
        let (response, sent) = response(head, ASKED).expect("it is valid");
        let Response::Final {
            upstream_keep_alive,
            keep_alive,
            ..
        } = response
        else {
            panic!("{response:?}");
        };
        assert_eq!((upstream_keep_alive, keep_alive), (false, true));
        assert_eq!(sent, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    }
}

#[test]
fn a_101_is_passed_on_only_if_it_was_asked_for_and_names_a_protocol() {
    let head = "HTTP/1.1 101 OK\r\nConnection: upgrade\r\nUpgrade: websocket\r\nX: y\r\n\r\n";
    let upgrade = Asked {
        upgrade: true,
        ..ASKED
    };

    let granted = response(head, upgrade);
    let unasked = response(head, ASKED);
    let unnamed = response("HTTP/1.1 101 OK\r\n\r\n", upgrade);

    let sent = "HTTP/1.1 101 OK\r\nX: y\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(granted, Ok((Response::Switched, sent.to_owned())));
    assert_eq!(
        (unasked, unnamed),
        (Err(Fault::BadAnswer), Err(Fault::BadAnswer))
    );
}

const LINES: [&str; 22] = [
    "Host: x\r\n",
    "Host: x:1\r\n",
    "Host:\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, Upgrade, X\r\n",
    "Connection: upgrade\r\n",
    "Upgrade: websocket\r\n",
    "X: y\r\n",
    "x:y\t \r\n",
    "X-Forwarded-For: 1, 2\r\n",
    "X-Forwarded-For:\r\n",
    "TE: trailers\r\n",
    "Expect: 100-continue\r\n",
    "Keep-Alive: 5\r\n",
    "Proxy-Foo: x\r\n",
    "X: \u{ff}\r\n",
    " x\r\n",
    "X\r\n",
];

/// Bytes that come near to being heads, and sometimes are.
fn nearly_a_head() -> impl Strategy<Value = Vec<u8>> {
    let starts = [
        "GET / HTTP/1.1\r\n",
        "POST /a?b HTTP/1.1\r\n",
        "HEAD http://x/ HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.0\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 204\r\n",
        "HTTP/1.0 404 x y\r\n",
        "HTTP/1.1 100 Continue\r\n",
        "HTTP/1.1 101 x\r\n",
        "\r\n",
        "",
    ];
    let lines = prop::collection::vec(prop::sample::select(LINES.to_vec()), 0..8);
    let byte = prop::sample::select(b"\r\n\0 \t:,/x3\xff".to_vec());
    let flaws = prop::collection::vec((any::<prop::sample::Index>(), byte), 0..2);
    let parts = (prop::sample::select(starts.to_vec()), lines, flaws);
    parts.prop_map(|(start, lines, flaws)| {
        let mut bytes = format!("{start}Host: x\r\n{}\r\n", lines.concat()).into_bytes();
        for (index, byte) in flaws {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn reading_heads_never_panics(
        bytes in prop_oneof![nearly_a_head(), prop::collection::vec(any::<u8>(), 0..200)],
    ) {
        // No other bytes than a whole head are ever read in earnest.
        let whole = Search::default().find_end(&bytes) == Ok(Some(bytes.len()));
        let mut out = Vec::new();
        let as_request = read_request(&bytes, ORIGIN, &mut out);
        // What is passed on must be readable, and mean the same.
        if let (true, Ok(first)) = (whole, as_request) {
            let mut again = Vec::new();
            let second = read_request(&out, ORIGIN, &mut again).expect("it was just written");
            prop_assert_eq!(&first.body, &second.body);
            prop_assert_eq!(first.upgrade, second.upgrade);
            prop_assert_eq!(Search::default().find_end(&out), Ok(Some(out.len())));
        }
        let mut out = Vec::new();
        if read_response(&bytes, ASKED, &mut out).is_ok() && whole {
            prop_assert_eq!(Search::default().find_end(&out), Ok(Some(out.len())));
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_alike_however_it_arrives(
        bytes in nearly_a_head(),
        pieces in prop::collection::vec(1_usize..9, 1..5),
    ) {
        let whole = Search::default().find_end(&bytes);

        let mut search = Search::default();
        let mut length = 0;
        let mut split = Ok(None);
        let mut pieces = pieces.iter().cycle();
        while length < bytes.len() && split == Ok(None) {
            length = (length + pieces.next().expect("there are pieces")).min(bytes.len());
            split = search.find_end(&bytes[..length]);
        }

        prop_assert_eq!(whole, split);
    }
}

#[test]
fn numbers_are_written_in_decimal() {
    for number in [0, 9, 10, 200, 65_536, 999_999_999_999_999_999, u64::MAX] {
        let mut out = b"n=".to_vec();

        decimal(&mut out, number);

        assert_eq!(out, format!("n={number}").into_bytes());
    }
}
