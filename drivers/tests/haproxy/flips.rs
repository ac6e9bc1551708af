//! 50 flips of a pool under load, through each balancer: two instances go, two come, and no request fails.
//!
//! The balancer in memory (`teal_drivers::fake`) carries no requests, so it is not among them.

use crate::backend::Backend;
use crate::load::{Load, Tally};
use crate::machine::{Layout, Machine};
use crate::pool::{POOL, Pool, driver};
use crate::program::Release;
use std::net::SocketAddr;
use teal_core::action::PoolAction;
use teal_core::name::PoolId;
use teal_core::plan::{PoolPlan, Protocol};
use teal_drivers::Balancer;
use teal_drivers::balancers::Builtin;
use teal_proxy::Proxy;

const FLIPS: usize = 50;

/// How many requests come at least between two flips.
const REQUESTS_PER_FLIP: u64 = 20;

/// What a flip does between withdrawing and stopping.
#[derive(Debug, Clone, Copy)]
enum Care {
    /// It waits until nothing is in flight.
    Drained,
    /// Nothing.
    None,
}

#[tokio::test]
async fn fifty_flips_through_the_builtin_proxy_lose_nothing() {
    let (proxy, builtin, front) = a_proxy().await;

    let tally = flip(&builtin, &[front], FLIPS, Care::Drained).await;

    tally.is_lossless("50 flips through the builtin proxy");
    proxy.shutdown(crate::until::PATIENCE).await;
}

#[tokio::test]
async fn fifty_flips_through_slots_lose_nothing() {
    fifty_flips_through_one(Release::First, &Layout::slots(), "slots").await;
}

#[tokio::test]
async fn fifty_flips_through_added_servers_lose_nothing() {
    fifty_flips_through_one(Release::First, &Layout::dynamic(), "added servers").await;
}

#[tokio::test]
async fn fifty_flips_through_another_release_lose_nothing() {
    fifty_flips_through_one(Release::Second, &Layout::dynamic(), "added servers").await;
}

#[tokio::test]
async fn fifty_flips_through_two_haproxys_lose_nothing() {
    let Some(program) = Release::First.program() else {
        return;
    };
    let one = Machine::start(&program, &Layout::slots()).await;
    let other = Machine::start(&program, &Layout::dynamic()).await;
    let url = format!("{},{}", one.by_unix(), other.by_tcp());
    let haproxy = driver(&url);

    let tally = flip(&haproxy, &[one.front, other.front], FLIPS, Care::Drained).await;

    let what = format!("50 flips through two HAProxy {}", program.release());
    tally.is_lossless(&what);
}

#[tokio::test]
async fn a_flip_of_haproxy_that_does_not_drain_loses_requests() {
    let Some(program) = Release::First.program() else {
        return;
    };
    let machine = Machine::start(&program, &Layout::slots()).await;
    let haproxy = driver(&machine.by_unix());

    let tally = flip(&haproxy, &[machine.front], 3, Care::None).await;

    assert!(!tally.failed.is_empty(), "{tally:?}");
}

/// The control of all tests above and below: what they measure can be lost.
#[tokio::test]
async fn a_flip_that_does_not_drain_loses_requests() {
    let (proxy, builtin, front) = a_proxy().await;

    let tally = flip(&builtin, &[front], 3, Care::None).await;

    assert!(!tally.failed.is_empty(), "{tally:?}");
    proxy.shutdown(crate::until::PATIENCE).await;
}

async fn fifty_flips_through_one(release: Release, layout: &Layout, by: &str) {
    let Some(program) = release.program() else {
        return;
    };
    let machine = Machine::start(&program, layout).await;
    let haproxy = driver(&machine.by_unix());

    let tally = flip(&haproxy, &[machine.front], FLIPS, Care::Drained).await;

    let what = format!("50 flips through HAProxy {}, {by}", program.release());
    tally.is_lossless(&what);
}

async fn a_proxy() -> (Proxy, Builtin, SocketAddr) {
    let config = teal_proxy::Config::new(([127, 0, 0, 1], 0).into());
    let proxy = Proxy::start(config).await.expect("the proxy starts");
    let url = format!("http://{}", proxy.admin_address());
    let builtin = Builtin::connect(&url).expect("an address");
    let pool = PoolPlan {
        id: PoolId::from(POOL),
        port_index: 0,
        listen: Some("127.0.0.1:0".to_owned()),
        protocol: Protocol::Http,
        existed: false,
    };
    let opened = builtin.act(&PoolAction::Open { pool }).await;
    opened.expect("it is opened");
    let listen = Pool::new(&builtin).seen().await.listen;
    let front = listen.expect("it listens").parse().expect("an address");
    (proxy, builtin, front)
}

/// Replaces two instances by two others again and again, under load, and tells what became of the requests.
async fn flip(balancer: &dyn Balancer, fronts: &[SocketAddr], flips: usize, care: Care) -> Tally {
    let pool = Pool::new(balancer);
    let mut old = two(0).await;
    pool.admit(&old).await;
    let load = Load::start(fronts);
    for number in 1..=flips {
        // So that each generation serves.
        load.pass(REQUESTS_PER_FLIP).await;
        let new = two(number).await;
        pool.admit(&new).await;
        pool.withdraw(&old).await;
        match care {
            Care::Drained => pool.drain(&old).await,
            Care::None => {}
        }
        for backend in &old {
            assert!(backend.came() > 0, "{} never served", backend.name);
            backend.stop();
        }
        pool.forget(&old).await;
        old = new;
    }
    load.stop().await
}

/// Two instances that answer.
async fn two(number: usize) -> [Backend; 2] {
    [
        Backend::start(format!("oinker-{number}-a")).await,
        Backend::start(format!("oinker-{number}-b")).await,
    ]
}
