//! Ending without losing anything.

use std::time::Duration;

use teal_proxy::{Config, Proxy, Shutdown};
use tokio::net::TcpStream;

use crate::world::{ANY, Backend, PATIENCE, World, eventually};

#[tokio::test]
async fn a_shutdown_waits_for_what_is_in_flight_and_announces_the_end() {
    let backend = Backend::with(|mut peer| async move {
        while let Some(request) = peer.request().await {
            peer.say(request.text()).await;
        }
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut busy = world.client().await;
    busy.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
        .await;
    world.until_in_flight("a", 1).await;
    let listen = world.listen;

    let shutdown = tokio::spawn(world.proxy.shutdown(PATIENCE));
    eventually(async || TcpStream::connect(listen).await.is_err()).await;
    busy.send("ok").await;
    let answer = busy.answer().await;

    assert_eq!(
        (answer.text(), answer.field("connection")),
        ("ok", Some("close"))
    );
    busy.expect_end().await;
    assert_eq!(shutdown.await.expect("it ended"), Shutdown::Clean);
}

#[tokio::test]
async fn an_idle_connection_may_send_one_more_request_during_a_shutdown() {
    let backend = Backend::saying("hello").await;
    let world = World::with(&[&backend]).await;
    let mut idle = world.client().await;
    idle.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(idle.answer().await.field("connection"), None);
    let listen = world.listen;

    let shutdown = tokio::spawn(world.proxy.shutdown(PATIENCE));
    eventually(async || TcpStream::connect(listen).await.is_err()).await;
    idle.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = idle.answer().await;

    assert_eq!(
        (answer.text(), answer.field("connection")),
        ("hello", Some("close"))
    );
    idle.expect_end().await;
    assert_eq!(shutdown.await.expect("it ended"), Shutdown::Clean);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_outlasts_the_grace_is_cut() {
    let backend = Backend::with(|mut peer| async move {
        peer.request().await;
        peer.request().await;
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut client = world.client().await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    world.until_in_flight("a", 1).await;

    let ended = world.proxy.shutdown(Duration::from_millis(50)).await;

    assert_eq!(ended, Shutdown::Cut);
    assert_eq!(client.rest().await.0, "");
}

#[tokio::test]
async fn dropping_the_proxy_closes_it_and_cuts_nothing() {
    let backend = Backend::with(|mut peer| async move {
        while let Some(request) = peer.request().await {
            peer.say(request.text()).await;
        }
    })
    .await;
    let world = World::with(&[&backend]).await;
    let mut busy = world.client().await;
    busy.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
        .await;
    world.until_in_flight("a", 1).await;
    let (listen, admin) = (world.listen, world.proxy.admin_address());

    drop(world);
    for address in [listen, admin] {
        eventually(async || TcpStream::connect(address).await.is_err()).await;
    }
    busy.send("ok").await;

    assert_eq!(busy.answer().await.text(), "ok");
}

#[test]
fn it_runs_on_either_flavour_of_runtime() {
    let runtimes = [
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build(),
    ];
    for runtime in runtimes {
        runtime.expect("a runtime").block_on(async {
            let config = Config::new(ANY.parse().expect("an address"));
            let proxy = Proxy::start(config).await.expect("a free port");
            assert_eq!(proxy.shutdown(PATIENCE).await, Shutdown::Clean);
        });
    }
}
