//! The admin API.

use serde_json::json;
use teal_proxy::{Config, Proxy, StartError};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{ANY, Backend, Peer, World, admin};

#[tokio::test]
async fn it_says_who_it_is_and_each_start_is_another() {
    let (one, other) = (World::new().await, World::new().await);

    let info = admin(&one.proxy, "GET", "/v1/info", "").await.json(200);
    let others = admin(&other.proxy, "GET", "/v1/info", "").await.json(200);
    let ping = admin(&one.proxy, "GET", "/ping", "").await;

    assert_eq!(info["name"], "teal-proxy");
    assert_eq!(info["pid"], std::process::id());
    assert_ne!(info["boot"], others["boot"]);
    assert_eq!(ping.text(), "pong\n");
    let pools = admin(&one.proxy, "GET", "/v1/pools", "").await.json(200);
    assert_eq!(pools["boot"], info["boot"]);
    assert_eq!(pools["pools"], json!([one.pool().await]));
}

#[tokio::test]
async fn a_pool_is_opened_once_however_often_it_is_asked_for() {
    let world = World::new().await;
    let listen = world.listen.to_string();

    for body in [
        json!({ "listen": listen }),
        json!({ "listen": null }),
        json!({ "listen": ANY }),
    ] {
        let pool = admin(&world.proxy, "PUT", "/v1/pools/p", &body.to_string())
            .await
            .json(200);
        assert_eq!(pool["listen"], listen);
    }

    let body = json!({ "listen": null, "protocol": "tcp" }).to_string();
    let message = admin(&world.proxy, "PUT", "/v1/pools/p", &body)
        .await
        .json(409);
    assert!(
        message["message"]
            .as_str()
            .expect("text")
            .contains("delete it first"),
        "{message}"
    );
}

#[tokio::test]
async fn a_pool_that_names_no_address_gets_a_port_of_its_own() {
    let world = World::new().await;

    let mut ports = Vec::new();
    for path in ["/v1/pools/%2Fshop%2Fcart", "/v1/pools/other"] {
        let pool = admin(&world.proxy, "PUT", path, r#"{"protocol":"http"}"#)
            .await
            .json(201);
        let listen: std::net::SocketAddr = pool["listen"]
            .as_str()
            .expect("text")
            .parse()
            .expect("an address");
        assert!((10_000..=20_000).contains(&listen.port()), "{listen}");
        ports.push(listen.port());
    }

    assert_ne!(ports[0], ports[1]);
    let pool = admin(&world.proxy, "GET", "/v1/pools/%2Fshop%2Fcart", "")
        .await
        .json(200);
    assert_eq!(pool["name"], "/shop/cart");
}

#[tokio::test]
async fn a_pool_can_move_and_keeps_its_endpoints() {
    let backend = Backend::saying("hello").await;
    let world = World::with(&[&backend]).await;
    let free = TcpListener::bind(ANY).await.expect("a free port");
    let listen = free.local_addr().expect("it is bound");
    drop(free);

    let body = json!({ "listen": listen }).to_string();
    let pool = admin(&world.proxy, "PUT", "/v1/pools/p", &body)
        .await
        .json(200);

    assert_eq!(pool["listen"], json!(listen));
    let mut client = Peer::connect(listen).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.answer().await.text(), "hello");
    assert!(TcpStream::connect(world.listen).await.is_err());
}

#[tokio::test]
async fn a_port_in_use_is_a_conflict_and_changes_nothing() {
    let world = World::new().await;
    let taken = TcpListener::bind(ANY).await.expect("a free port");
    let address = taken.local_addr().expect("it is bound");
    let body = json!({ "listen": address }).to_string();

    for name in ["p", "other"] {
        let path = format!("/v1/pools/{name}");
        let answer = admin(&world.proxy, "PUT", &path, &body).await.json(409);
        let message = answer["message"].as_str().expect("text");
        assert!(message.contains(&address.to_string()), "{message}");
    }

    assert_eq!(world.pool().await["listen"], json!(world.listen));
    admin(&world.proxy, "GET", "/v1/pools/other", "")
        .await
        .json(404);
    let start = Proxy::start(Config::new(address)).await;
    assert!(matches!(start, Err(StartError::Admin { .. })));
}

#[tokio::test]
async fn a_deleted_pool_is_closed_and_its_exchanges_are_finished() {
    let backend = Backend::with(|mut peer| async move {
        peer.request_head().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na")
            .await;
        peer.expect("go").await;
        peer.send("bc").await;
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
        .await;
    client.answer_head().await;

    admin(&world.proxy, "DELETE", "/v1/pools/p", "")
        .await
        .json(200);
    admin(&world.proxy, "DELETE", "/v1/pools/p", "")
        .await
        .json(404);
    admin(&world.proxy, "POST", "/v1/pools/p/change", "{}")
        .await
        .json(404);
    assert!(TcpStream::connect(world.listen).await.is_err());
    // The address is free again at once.
    let body = json!({ "listen": world.listen }).to_string();
    admin(&world.proxy, "PUT", "/v1/pools/p", &body)
        .await
        .json(201);
    client.send("go").await;

    client.expect("abc").await;
    client.expect_end().await;
}

#[tokio::test]
async fn all_mistakes_in_a_change_are_reported_and_nothing_is_changed() {
    let world = World::new().await;
    let body = json!({
        "admit": [
            { "instance": "a", "address": "127.0.0.1:1" },
            { "instance": "a", "address": "127.0.0.1:2" },
            { "instance": "", "address": "localhost:1" },
            { "address": "127.0.0.1:0", "port": 1 },
            7,
        ],
        "withdraw": ["a", 1],
        "forget": "x",
        "admitt": [],
    });

    let answer = admin(
        &world.proxy,
        "POST",
        "/v1/pools/p/change",
        &body.to_string(),
    )
    .await;

    let answer = answer.json(422);
    let details: Vec<_> = answer["details"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|d| d.as_str())
        .collect();
    for expected in [
        "unknown key \"admitt\"",
        "admit[2].instance: \"\" is not an instance id",
        "admit[2].address: \"localhost:1\" is not an address",
        "admit[3]: unknown key \"port\"",
        "admit[3]: \"instance\" is missing",
        "admit[3].address: 127.0.0.1:0 cannot be connected to",
        "admit[4] must be an object",
        "withdraw[1]: 1 is not an instance id",
        "forget: must be a list",
        "\"a\" is named with two addresses, 127.0.0.1:1 and 127.0.0.1:2",
        "\"a\" is named in admit and in withdraw",
    ] {
        assert!(
            details.iter().any(|detail| detail.contains(expected)),
            "{expected}: {details:#?}"
        );
    }
    assert_eq!(details.len(), 11, "{details:#?}");
    let pool = world.pool().await;
    assert_eq!(
        (&pool["generation"], &pool["endpoints"]),
        (&json!(0), &json!([]))
    );
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let world = World::new().await;
    for (method, path, body, status) in [
        ("POST", "/v1/pools/p/change", "{", 400),
        ("PUT", "/v1/pools/p", "", 400),
        (
            "PUT",
            "/v1/pools/p",
            r#"{"listen":"here","protocol":"ftp","x":1}"#,
            422,
        ),
        ("PUT", "/v1/pools/p", r#"{"listen":"192.0.2.1:1"}"#, 422),
        ("PUT", "/v1/pools/%ff", "{}", 422),
        ("GET", "/v1/pools/", "", 422),
        ("GET", "/v1/pools/unknown", "", 404),
        ("GET", "/", "", 404),
        ("GET", "/v1/pools/p/q/r", "", 404),
        ("POST", "/v1/pools", "", 405),
        ("PATCH", "/v1/pools/p", "", 405),
        ("GET", "/v1/pools/p/change", "", 405),
    ] {
        let answer = admin(&world.proxy, method, path, body).await.json(status);
        assert!(answer["message"].is_string(), "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn a_web_browser_cannot_be_tricked_into_steering_it() {
    let world = World::new().await;
    for (fields, status) in [
        ("Host: localhost:1\r\n", 200),
        ("Host: [::1]\r\n", 200),
        ("Host: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n", 200),
        ("Host: evil.example\r\n", 403),
        ("Host: 192.0.2.1:8080\r\n", 403),
        ("Host: 127.0.0.1\r\nOrigin: http://evil.example\r\n", 403),
        ("Host: 127.0.0.1\r\nOrigin: null\r\n", 403),
    ] {
        let mut peer = Peer::connect(world.proxy.admin_address()).await;
        peer.send(&format!("GET /ping HTTP/1.1\r\n{fields}\r\n"))
            .await;
        assert_eq!(peer.answer().await.status(), status, "{fields:?}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let world = World::new().await;
    let mut peer = Peer::connect(world.proxy.admin_address()).await;

    let head = "POST /v1/pools/p/change HTTP/1.1\r\nHost: localhost\r\nContent-Length: 17000000";
    peer.send(&format!("{head}\r\n\r\n")).await;

    assert_eq!(peer.answer().await.status(), 413);
}

#[tokio::test]
async fn metrics_count_requests_errors_and_what_is_in_flight() {
    let backend = Backend::saying("hello").await;
    let world = World::new().await;
    world.get("/").await;
    world.admit("a\"b", backend.address).await;
    world.get("/").await;
    world.get("/").await;
    world.until_in_flight("a\"b", 0).await;

    let metrics = admin(&world.proxy, "GET", "/metrics", "").await;

    for line in [
        "# TYPE teal_proxy_requests_total counter",
        "teal_proxy_requests_total{pool=\"p\"} 3",
        "teal_proxy_errors_total{pool=\"p\",code=\"no_endpoint\"} 1",
        "teal_proxy_serving_endpoints{pool=\"p\"} 1",
        "teal_proxy_in_flight{pool=\"p\",instance=\"a\\\"b\"} 0",
        "teal_proxy_endpoint_requests_total{pool=\"p\",instance=\"a\\\"b\"} 2",
        "teal_proxy_endpoint_failures_total{pool=\"p\",instance=\"a\\\"b\"} 0",
    ] {
        assert!(
            metrics.text().lines().any(|text| text == line),
            "{line}:\n{}",
            metrics.text()
        );
    }
}

#[tokio::test]
async fn a_thousand_endpoints_are_admitted_in_one_step() {
    let world = World::new().await;
    let admit: Vec<_> = (0..10_000)
        .map(
            |n| json!({ "instance": format!("i{n:05}"), "address": format!("10.0.0.1:{}", n + 1) }),
        )
        .collect();

    let pool = world.change(json!({ "admit": admit })).await;

    assert_eq!(pool["generation"], 1);
    let endpoints = pool["endpoints"].as_array().expect("a list");
    assert_eq!(endpoints.len(), 10_000);
    assert!(endpoints.is_sorted_by_key(|endpoint| endpoint["instance"].as_str()));
}

#[tokio::test]
async fn every_change_of_a_pool_is_told_in_the_process_and_no_look_at_one() {
    let world = World::new().await;
    let body = json!({ "listen": ANY }).to_string();
    let member = json!({ "instance": "i", "address": "127.0.0.1:9" });
    let admitted = json!({ "admit": [member] }).to_string();
    assert!(is_told(&world.proxy).await, "the world has opened a pool");

    for (method, path, body) in [
        ("PUT", "/v1/pools/other", body.as_str()),
        ("POST", "/v1/pools/other/change", admitted.as_str()),
        ("DELETE", "/v1/pools/other", ""),
    ] {
        admin(&world.proxy, method, path, body).await;
        assert!(is_told(&world.proxy).await, "{method} {path}");
    }
    for path in ["/v1/pools", "/v1/pools/p", "/v1/info", "/metrics"] {
        admin(&world.proxy, "GET", path, "").await;
        assert!(!is_told(&world.proxy).await, "{path}");
    }
}

/// Tells whether a change is told that was not yet. What is told is so before the change is answered.
async fn is_told(proxy: &Proxy) -> bool {
    tokio::select! {
        biased;
        () = proxy.changed() => true,
        () = std::future::ready(()) => false,
    }
}
