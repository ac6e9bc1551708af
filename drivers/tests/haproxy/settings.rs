//! What the operator of a HAProxy has set is kept and heeded: weights, checks, cookies.

use crate::backend::Backend;
use crate::client::Connection;
use crate::machine::{Layout, Machine};
use crate::pool::{Pool, driver, endpoint, is};
use crate::program::Release;
use teal_core::observation::EndpointState::{Draining, Partly, Serving};

#[tokio::test]
async fn a_weight_set_by_hand_survives_withdrawing_and_admitting() {
    let Some(program) = Release::First.program() else {
        return;
    };
    let machine = Machine::start(&program, &Layout::slots()).await;
    let haproxy = driver(&machine.by_unix());
    let pool = Pool::new(&haproxy);
    let one = [Backend::start("a").await];
    pool.admit(&one).await;
    machine.ask("set server shop_oinker/slot1 weight 50").await;

    pool.withdraw(&one).await;
    pool.admit(&one).await;

    assert_eq!(weight(&machine, "slot1").await, "50 (initial 1)");
}

#[tokio::test]
async fn an_added_server_has_the_weight_of_its_peers() {
    let Some(program) = Release::First.program() else {
        return;
    };
    let machine = Machine::start(&program, &Layout::dynamic()).await;
    let haproxy = driver(&machine.by_unix());
    let pool = Pool::new(&haproxy);
    let peer = [Backend::start("a").await];
    pool.admit(&peer).await;
    machine.ask("set server shop_oinker/teal.a weight 40").await;

    let new = [Backend::start("b").await];
    pool.admit(&new).await;

    assert_eq!(weight(&machine, "teal.b").await, "40 (initial 40)");
}

#[tokio::test]
async fn a_server_that_haproxys_own_check_calls_down_is_not_serving() {
    let Some(program) = Release::First.program() else {
        return;
    };
    let slots = "server-template slot 1-5 127.0.0.1:1 check inter 50ms rise 1 fall 1 disabled";
    let machine = Machine::start(&program, &Layout::of(&[slots])).await;
    let haproxy = driver(&machine.by_unix());
    let pool = Pool::new(&haproxy);
    let two = [Backend::start("a").await, Backend::start("b").await];
    pool.admit(&two).await;

    two[0].stop();

    let seen = pool
        .until("it is down", |seen| !is(seen, &two[0], Serving))
        .await;
    // It may serve again by itself, so it is not out.
    assert!(is(&seen, &two[0], Partly), "{seen:?}");
    assert!(is(&seen, &two[1], Serving), "{seen:?}");
}

#[tokio::test]
async fn a_client_with_the_cookie_of_a_withdrawn_endpoint_does_not_reach_it() {
    let Some(program) = Release::First.program() else {
        return;
    };
    let machine = Machine::start(
        &program,
        &Layout::of(&[
            "cookie SRV insert indirect nocache",
            "server s1 127.0.0.1:1 cookie c1 disabled",
            "server s2 127.0.0.1:1 cookie c2 disabled",
        ]),
    )
    .await;
    let haproxy = driver(&machine.by_unix());
    let pool = Pool::new(&haproxy);
    let two = [Backend::start("a").await, Backend::start("b").await];
    pool.admit(&two).await;
    let mut client = Connection::open(machine.front).await.expect("it listens");
    let first = client.get("/", "").await.expect("an answer");
    let cookie = first.field("set-cookie").expect("a cookie");
    let cookie = format!(
        "Cookie: {}\r\n",
        cookie.split(';').next().unwrap_or_default()
    );
    // It sticks.
    for _ in 0..4 {
        let again = client.get("/", &cookie).await.expect("an answer");
        assert_eq!(again.body, first.body);
    }
    let (mut leaving, mut staying) = (Vec::new(), Vec::new());
    for backend in two {
        let side = if backend.name == first.body {
            &mut leaving
        } else {
            &mut staying
        };
        side.push(backend);
    }

    pool.withdraw(&leaving).await;

    for _ in 0..10 {
        let answer = client.get("/", &cookie).await.expect("an answer");
        assert_eq!((answer.status, &answer.body), (200, &staying[0].name));
    }
    assert_eq!(leaving[0].came(), 5);
    let seen = pool.seen().await;
    let told = endpoint(&seen, &leaving[0]).expect("it stays listed");
    assert_eq!((told.state, told.in_flight), (Draining, Some(0)));
    // Back in the pool it gets its clients again.
    pool.admit(&leaving).await;
    let back = client.get("/", &cookie).await.expect("an answer");
    assert_eq!(back.body, leaving[0].name);
}

/// Returns the weight of a server as HAProxy tells it: the present one, and the one that it began with.
async fn weight(machine: &Machine, server: &str) -> String {
    let told = machine
        .ask(&format!("get weight shop_oinker/{server}"))
        .await;
    told.trim().to_owned()
}

#[tokio::test]
async fn a_frontend_of_the_backends_name_hides_nothing() {
    let Some(program) = Release::First.program() else {
        return;
    };
    // The backend's lines are the last ones.
    let layout = Layout::of(&[
        "server-template slot 1-5 127.0.0.1:1 disabled",
        "frontend shop_oinker",
        "bind abns@teal-of-the-same-name",
    ]);
    let machine = Machine::start(&program, &layout).await;
    let haproxy = driver(&machine.by_unix());
    let pool = Pool::new(&haproxy);
    let one = [Backend::start("a").await];

    pool.admit(&one).await;

    assert!(is(&pool.seen().await, &one[0], Serving));
}

#[tokio::test]
async fn where_clients_come_back_by_a_stick_table_a_withdrawn_endpoint_gets_no_more_requests() {
    let Some(program) = Release::First.program() else {
        return;
    };
    let layout = Layout::of(&[
        "stick-table type ip size 1k",
        "stick on src",
        "server-template slot 1-5 127.0.0.1:1 disabled",
    ]);
    let machine = Machine::start(&program, &layout).await;
    let haproxy = driver(&machine.by_unix());
    let pool = Pool::new(&haproxy);
    let (leaving, staying) = ([Backend::start("a").await], [Backend::start("b").await]);
    pool.admit(&leaving).await;
    assert_eq!(machine.get("/").await.body, "a");
    pool.admit(&staying).await;
    assert_eq!(machine.get("/").await.body, "a");

    pool.withdraw(&leaving).await;

    assert_eq!(machine.get("/").await.body, "b");
}

#[tokio::test]
async fn a_backup_that_rests_is_no_slot() {
    let Some(program) = Release::First.program() else {
        return;
    };
    let layout = Layout::of(&[
        "server sorry 127.0.0.1:2 backup disabled",
        "server-template slot 1-5 127.0.0.1:1 disabled",
    ]);
    let machine = Machine::start(&program, &layout).await;
    let haproxy = driver(&machine.by_unix());
    let pool = Pool::new(&haproxy);
    let one = [Backend::start("a").await];

    pool.admit(&one).await;

    let states = machine.ask("show servers state shop_oinker").await;
    let sorry = states.lines().find(|line| line.contains(" sorry "));
    let cells: Vec<&str> = sorry.expect("it is there").split(' ').collect();
    assert_eq!((cells[6], cells[18]), ("5", "2"), "{states}");
}
