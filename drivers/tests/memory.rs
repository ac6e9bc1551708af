//! What comes from outside takes memory in proportion to its length, whatever stands in it: for definitions, answers and
//! gauges in this process, and for the engine and the proxy, which run in it.
//!
//! The allocator counts for the whole process, so this is a program of its own with one test.

use bytes::Bytes;
use peak_alloc::PeakAlloc;
use std::net::{Ipv4Addr, SocketAddr};
use teal_core::definition::Definition;
use teal_core::settings::Settings;
use teal_drivers::gauge::{json_pointer, prometheus};
use teal_drivers::http::{Answer, Method};
use teal_engine::Engine;
use teal_proxy::Proxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// How many bytes of memory one byte of input may take. A JSON array of `1,` takes 36 before anything is done with it,
/// one of `{"":0}` about 60.
const FACTOR: usize = 300;
/// What is taken whatever comes: buffers, connections.
const BASE_BYTES: usize = 2 * 1024 * 1024;
/// How long each input is.
const INPUT_BYTES: usize = 64 * 1024;

/// Values of about the same length, each bad in its own way.
fn values() -> Vec<(&'static str, String)> {
    let list = |item: &str| {
        let items = vec![item; INPUT_BYTES / (item.len() + 1)];
        format!("[{}]", items.join(","))
    };
    let keys: Vec<String> = (0..INPUT_BYTES / 10)
        .map(|key| format!("\"{key:05}\":1"))
        .collect();
    let long = "a".repeat(INPUT_BYTES / 2);
    let children = vec!["{\"id\":\"b\"}"; INPUT_BYTES / 20].join(",");
    vec![
        ("numbers", list("1")),
        ("texts", list("\"a\"")),
        ("empty objects", list("{}")),
        ("small objects", list("{\"\":0}")),
        ("lists", list("[]")),
        ("children", list("{\"id\":\"b\"}")),
        ("keys", format!("{{{}}}", keys.join(","))),
        ("one text", format!("\"{}\"", "a".repeat(INPUT_BYTES))),
        ("one key", format!("{{\"{}\":1}}", "a".repeat(INPUT_BYTES))),
        ("open brackets", "[".repeat(INPUT_BYTES)),
        (
            "a long id and many children",
            format!("[{{\"id\":\"{long}\",\"groups\":[{children}]}}]"),
        ),
        (
            "a long path and many errors",
            format!(
                "[{{\"path\":\"{long}\",\"errors\":[{}]}}]",
                vec!["\"\""; INPUT_BYTES / 6].join(",")
            ),
        ),
    ]
}

/// Runs something on an input of this length, and asserts that it took no more than it may.
fn bounded(what: &str, length: usize, run: impl FnOnce()) {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();

    run();

    let taken = MEMORY.peak_usage().saturating_sub(before);
    let most = length * FACTOR + BASE_BYTES;
    assert!(
        taken <= most,
        "{what}: {length} bytes took {taken}, which is {} for each",
        taken / length
    );
}

fn answer(status: u16, body: String) -> Answer {
    Answer {
        method: Method::GET,
        url: "http://m/v2/apps".to_owned(),
        status,
        date: None,
        location: None,
        leader: None,
        challenge: None,
        came_as: None,
        body: Bytes::from(body),
    }
}

fn readers_are_bounded(name: &str, value: &str) {
    let keys = [
        "id",
        "cmd",
        "args",
        "env",
        "labels",
        "healthChecks",
        "portDefinitions",
        "container",
        "x",
    ];
    for key in keys {
        let text = format!("{{\"id\":\"/a\",\"{key}\":{value}}}");
        bounded(&format!("definition, {name} as {key}"), text.len(), || {
            drop(Definition::resolve(&text, &Settings::default(), &[]));
        });
    }
    for key in ["message", "details", "errors", "deployments"] {
        let answer = answer(422, format!("{{\"message\":\"m\",\"{key}\":{value}}}"));
        bounded(
            &format!("answer, {name} as {key}"),
            answer.body.len(),
            || {
                drop(answer.error().to_string());
            },
        );
    }
    bounded(&format!("pointer, {name}"), value.len(), || {
        drop(json_pointer(value, "/0/id"));
    });
    let page = format!("pending{{a={value}}} 0\n");
    bounded(&format!("page, {name}"), page.len(), || {
        drop(prometheus(&page, "pending"));
    });
}

/// Sends a body and reads the answer to its end. The request is made before it is measured.
async fn send(address: SocketAddr, request: &[u8]) -> usize {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    // Who is refused early need not be heard to the end.
    drop(stream.write_all(request).await);
    let (mut chunk, mut length) = ([0; 8192], 0);
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        length += read;
    }
    length
}

fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let fields = "Host: localhost\r\nConnection: close";
    format!("{method} {path} HTTP/1.1\r\n{fields}\r\nContent-Length: {length}\r\n\r\n{body}").into()
}

#[test]
fn whatever_comes_from_outside_takes_memory_in_proportion_to_its_length() {
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = teal_engine::Config {
        listen: any_port,
        ..teal_engine::Config::new(folder.path())
    };
    let engine = runtime
        .block_on(Engine::start(config))
        .expect("the engine starts");
    let proxy = runtime.block_on(Proxy::start(teal_proxy::Config::new(any_port)));
    let proxy = proxy.expect("the proxy starts");

    for (name, value) in values() {
        readers_are_bounded(name, &value);
        let sent = |address, method: &str, path: &str, key: &str| {
            let body = format!("{{\"id\":\"/a\",\"cmd\":\"run\",\"{key}\":{value}}}");
            let request = request(method, path, &body);
            bounded(
                &format!("{method} {path}, {name} as {key}"),
                body.len(),
                || {
                    let length = runtime.block_on(send(address, &request));
                    assert!(length > 0, "{method} {path} is answered");
                },
            );
        };
        for key in [
            "id",
            "args",
            "env",
            "labels",
            "healthChecks",
            "ports",
            "constraints",
            "fetch",
            "dependencies",
        ] {
            sent(engine.address(), "POST", "/v2/apps", key);
        }
        for key in ["id", "apps", "groups", "dependencies"] {
            sent(engine.address(), "PUT", "/v2/groups?dryRun=true", key);
        }
        for key in ["admit", "withdraw", "forget", "x"] {
            sent(proxy.admin_address(), "POST", "/v1/pools/p/change", key);
        }
    }
    runtime.block_on(engine.stop());
}
