//! The gauge reader against pages that are well, late, cut, or something else.

use crate::canned::{Canned, Reply, answer};
use std::time::Duration;
use teal_core::definition::PendingSource;
use teal_core::name::{Address, Addresses, InstanceId};
use teal_core::observation::Pending;
use teal_drivers::gauge::{Gauges, HttpGauges, Question, READINGS_AT_ONCE, probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_gauge_is_read_from_a_page_and_from_a_document() {
    let server = Canned::start(|asked| match asked.line.as_str() {
        "GET /metrics" => answer(
            200,
            "",
            "# TYPE pending gauge\npending{q=\"a\"} 2\npending{q=\"b\"} 1\n",
        ),
        "GET /status" => answer(200, "", r#"{"jobs": { "left":4}}"#),
        _ => answer(404, "", ""),
    })
    .await;

    assert_eq!(
        read(&prometheus("/metrics"), &server).await,
        Pending::Count(3)
    );
    assert_eq!(
        read(&prometheus("metrics"), &server).await,
        Pending::Count(3)
    );
    assert_eq!(
        read(&pointer("/status", "/jobs/left"), &server).await,
        Pending::Count(4)
    );
    assert_eq!(
        read(&PendingSource::None, &server).await,
        Pending::NotWatched
    );
}

#[tokio::test]
async fn whatever_is_not_a_whole_page_is_unknown() {
    let page = "pending 0\n";
    let long = format!("{}pending 0\n", "# filler\n".repeat(120_000));
    let replies = [
        (answer(503, "", page), "status 503"),
        (answer(204, "", ""), "status 204"),
        (answer(302, "Location: /elsewhere\r\n", page), "status 302"),
        (answer(200, "Content-Encoding: gzip\r\n", page), "encoding"),
        (
            Reply::Bytes(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{page}"
            )),
            "cut short",
        ),
        (
            Reply::Bytes(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n{page}\r\n"
            )),
            "cut short",
        ),
        (
            Reply::Bytes("HTTP/1.0 200 OK\r\n\r\npending 0".to_owned()),
            "cut short",
        ),
        (Reply::Bytes(String::new()), "does not answer"),
        (answer(200, "", &long), "longer than"),
        (answer(200, "", "pending NaN\n"), "NaN"),
        (answer(200, "", "<html></html>"), "line 1"),
        (Reply::Silence, "within 1s"),
    ];
    for (reply, reason) in replies {
        let reply = std::sync::Mutex::new(Some(reply));
        let server = Canned::start(move |_| {
            let first = reply.lock().expect("not poisoned").take();
            first.unwrap_or(Reply::Bytes(String::new()))
        })
        .await;
        let read = read(&prometheus("/metrics"), &server).await;
        let Pending::Unknown(why) = &read else {
            panic!("{reason}: {read:?}")
        };
        assert!(why.contains(reason), "{reason}: {why}");
    }
}

#[tokio::test]
async fn a_page_without_a_length_is_read_when_its_last_line_is_whole() {
    let server =
        Canned::start(|_| Reply::Bytes("HTTP/1.0 200 OK\r\n\r\npending 0\n".to_owned())).await;

    assert_eq!(
        read(&prometheus("/metrics"), &server).await,
        Pending::Count(0)
    );
}

#[tokio::test]
async fn an_instance_without_the_port_or_without_a_server_is_unknown() {
    let none = probe(
        &prometheus("/metrics"),
        &Addresses::default(),
        Duration::from_secs(1),
    )
    .await;
    let nobody = [Address::from("127.0.0.1:9")].into();
    let refused = probe(&prometheus("/metrics"), &nobody, Duration::from_secs(1)).await;

    assert_eq!(
        none,
        Pending::Unknown(
            "the instance has no port of index 0 that can be reached from outside".to_owned()
        )
    );
    assert!(matches!(refused, Pending::Unknown(_)), "{refused:?}");
}

#[tokio::test]
async fn every_instance_that_was_asked_about_is_in_the_answer_with_its_age() {
    let quick = Canned::start(|_| answer(200, "", "pending 0\n")).await;
    let slow = Canned::start(|_| Reply::Silence).await;
    let question = |id: &str, server: &Canned| Question {
        instance: InstanceId::from(id),
        source: prometheus("/metrics"),
        addresses: [Address(server.authority.clone())].into(),
    };
    let asked = [question("quick", &quick), question("slow", &slow)];

    let read = HttpGauges::new().read(&asked).await;

    assert_eq!(read.len(), 2);
    let quick = &read[&InstanceId::from("quick")];
    assert_eq!(quick.pending, Pending::Count(0));
    assert!(
        quick.age.0 > 0,
        "its answer came before that of the other was given up: {quick:?}"
    );
    assert!(matches!(
        read[&InstanceId::from("slow")].pending,
        Pending::Unknown(_)
    ));
}

/// Ten thousand kept connections are more descriptors than a process may have.
#[tokio::test]
async fn no_connection_is_kept_after_a_reading_of_more_gauges_than_are_read_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (open, mut watched) = tokio::sync::watch::channel((0, 0));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            open.send_modify(|(all, open)| (*all, *open) = (*all + 1, *open + 1));
            let open = open.clone();
            tokio::spawn(async move {
                let page = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npending 0\n";
                let mut head = [0; 1024];
                while stream.read(&mut head).await.is_ok_and(|count| count > 0) {
                    stream.write_all(page.as_bytes()).await.unwrap();
                }
                open.send_modify(|(_, open)| *open -= 1);
            });
        }
    });
    let question = |index: usize| Question {
        instance: InstanceId(format!("i{index}")),
        source: prometheus("/metrics"),
        addresses: [Address(address.clone())].into(),
    };
    let asked: Vec<_> = (0..=READINGS_AT_ONCE).map(question).collect();
    let gauges = HttpGauges::new();

    let read = gauges.read(&asked).await;

    assert!(read.values().all(|one| one.pending == Pending::Count(0)));
    let all = asked.len();
    let closed = watched.wait_for(|seen| *seen == (all, 0));
    let closed = tokio::time::timeout(Duration::from_secs(5), closed).await;
    assert!(closed.is_ok(), "connections are kept");
}

async fn read(source: &PendingSource, server: &Canned) -> Pending {
    let addresses = [Address(server.authority.clone())].into();
    probe(source, &addresses, Duration::from_secs(1)).await
}

fn prometheus(path: &str) -> PendingSource {
    PendingSource::Prometheus {
        path: path.to_owned(),
        gauge: "pending".to_owned(),
        port_index: 0,
    }
}

fn pointer(path: &str, pointer: &str) -> PendingSource {
    PendingSource::Pointer {
        path: path.to_owned(),
        pointer: pointer.to_owned(),
        port_index: 0,
    }
}
