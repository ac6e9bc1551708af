//! HAProxy is reloaded, or killed and started again, in the middle: by somebody else, or through the driver.

use crate::backend::Backend;
use crate::client::{Answer, Connection};
use crate::load::Load;
use crate::machine::{Layout, Machine};
use crate::pool::{Pool, driver, endpoint, is};
use crate::program::Release;
use crate::until::until;
use teal_core::observation::EndpointState::{Draining, Partly, Serving};
use teal_core::observation::PoolSighting;
use teal_drivers::DriverError;
use tokio::task::JoinHandle;

/// How many flips with a reload there are.
const RELOADS: usize = 10;

#[tokio::test]
async fn flips_with_a_reload_in_every_one_lose_nothing() {
    flip_with_reloads(Release::First).await;
}

#[tokio::test]
async fn flips_with_a_reload_in_every_one_lose_nothing_with_another_release() {
    flip_with_reloads(Release::Second).await;
}

async fn flip_with_reloads(release: Release) {
    let Some(program) = release.program() else {
        return;
    };
    let machine = Machine::start(&program, &Layout::slots().with_state()).await;
    let haproxy = driver(&machine.by_unix_with_state());
    let pool = Pool::new(&haproxy);
    let mut old = [Backend::start("oinker-0").await];
    pool.admit(&old).await;
    let load = Load::start(&[machine.front]);
    for number in 1..=RELOADS {
        load.pass(20).await;
        let new = [Backend::start(format!("oinker-{number}")).await];
        pool.admit(&new).await;
        // By turns before the old one is withdrawn and after it: the old worker knows of it, or has to be told.
        if number % 2 == 0 {
            machine.reload().await;
            pool.withdraw(&old).await;
        } else {
            pool.withdraw(&old).await;
            machine.reload().await;
        }
        let seen = pool.seen().await;
        assert!(is(&seen, &new[0], Serving), "{seen:?}");
        pool.drain(&old).await;
        old[0].stop();
        pool.forget(&old).await;
        old = new;
    }
    let tally = load.stop().await;

    let release = program.release();
    tally.is_lossless(&format!(
        "{RELOADS} flips with a reload in each, HAProxy {release}"
    ));
}

#[tokio::test]
async fn slots_survive_a_reload_of_somebody_elses() {
    let Some(program) = Release::First.program() else {
        return;
    };
    let machine = Machine::start(&program, &Layout::slots().with_state()).await;
    let haproxy = driver(&machine.by_unix_with_state());
    let pool = Pool::new(&haproxy);
    let (serving, out) = ([Backend::start("a").await], [Backend::start("b").await]);
    pool.admit(&serving).await;
    pool.admit(&out).await;
    pool.withdraw(&out).await;
    let before = pool.seen().await;

    machine.reload().await;

    assert_eq!(pool.seen().await, before);
    assert!(is(&before, &serving[0], Serving) && is(&before, &out[0], Draining));
    let answer = machine.get("/").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "a"));
}

#[tokio::test]
async fn a_look_tells_that_a_reload_has_lost_the_servers_that_were_added() {
    let Some(program) = Release::First.program() else {
        return;
    };
    let machine = Machine::start(&program, &Layout::dynamic()).await;
    let haproxy = driver(&machine.by_unix());
    let pool = Pool::new(&haproxy);
    let two = [Backend::start("a").await, Backend::start("b").await];
    pool.admit(&two).await;

    machine.reload().await;

    let seen = pool
        .until("old workers go", |seen| seen.endpoints.is_empty())
        .await;
    assert_eq!(seen.endpoints, []);
    assert_eq!(machine.get("/").await.status, 503);
    // What is lost can be put back.
    pool.admit(&two).await;
    assert_eq!(machine.get("/").await.status, 200);
}

#[tokio::test]
async fn a_request_of_before_a_reload_counts_where_the_master_can_be_asked() {
    count_a_request_of_before_a_reload(Release::First).await;
}

#[tokio::test]
async fn a_request_of_before_a_reload_counts_with_another_release() {
    count_a_request_of_before_a_reload(Release::Second).await;
}

async fn count_a_request_of_before_a_reload(release: Release) {
    let Some(program) = release.program() else {
        return;
    };
    let machine = Machine::start(&program, &Layout::slots().with_state()).await;
    let haproxy = driver(&machine.by_unix_with_state());
    let pool = Pool::new(&haproxy);
    let one = [Backend::start("a").await];
    pool.admit(&one).await;
    let held = hold(&machine, &one[0]).await;
    pool.withdraw(&one).await;

    machine.reload().await;

    let seen = pool.seen().await;
    let told = endpoint(&seen, &one[0]).expect("it is listed");
    assert_eq!((told.state, told.in_flight), (Draining, Some(1)));
    one[0].release();
    assert_eq!(held.await.expect("it did not panic").body, "a");
    pool.drain(&one).await;
}

#[tokio::test]
async fn servers_that_a_reload_has_lost_stay_listed_while_an_old_worker_has_their_requests() {
    let Some(program) = Release::First.program() else {
        return;
    };
    let machine = Machine::start(&program, &Layout::dynamic()).await;
    let haproxy = driver(&machine.by_unix());
    let pool = Pool::new(&haproxy);
    let one = [Backend::start("a").await];
    pool.admit(&one).await;
    let held = hold(&machine, &one[0]).await;

    machine.reload().await;

    let seen = pool.seen().await;
    let told = endpoint(&seen, &one[0]).expect("it is listed");
    assert_eq!(told.in_flight, Some(1));
    assert_ne!(told.state, Serving);
    one[0].release();
    held.await.expect("it did not panic");
    pool.until("it has gone", |seen| seen.endpoints.is_empty())
        .await;
}

#[tokio::test]
async fn what_is_in_flight_after_a_reload_is_unknown_for_a_while_where_nobody_can_be_asked() {
    let Some(program) = Release::First.program() else {
        return;
    };
    let machine = Machine::start(&program, &Layout::slots().with_state()).await;
    let keeps = driver(&machine.by_unix_with_state());
    let address = format!("{}?old_workers=1s", machine.by_unix_alone());
    let haproxy = driver(&address);
    let (keeps, pool) = (Pool::new(&keeps), Pool::new(&haproxy));
    let one = [Backend::start("a").await];
    keeps.admit(&one).await;
    pool.admit(&one).await;
    let is_known = |seen: &PoolSighting| {
        let told = endpoint(seen, &one[0]).expect("it is listed");
        told.in_flight == Some(0)
    };
    // It has just begun, as after a reload of which this driver knows nothing.
    pool.until("it is known", is_known).await;

    machine.reload().await;

    let seen = pool.seen().await;
    let told = endpoint(&seen, &one[0]).expect("it is listed");
    assert_eq!((told.state, told.in_flight), (Serving, None));
    pool.until("it is known again", is_known).await;
}

/// An old worker takes no changes any more, so what the next request of a client may come to is not out.
#[tokio::test]
async fn what_is_withdrawn_after_a_reload_is_out_when_no_client_of_an_old_worker_is_idle() {
    let Some(program) = Release::First.program() else {
        return;
    };
    // With this the old worker keeps idle connections until their next answer.
    let layout = Layout::slots().with_state();
    let layout = layout.with_front("option idle-close-on-response");
    let machine = Machine::start(&program, &layout).await;
    let haproxy = driver(&machine.by_unix_with_state());
    let pool = Pool::new(&haproxy);
    let (leaving, staying) = ([Backend::start("a").await], [Backend::start("b").await]);
    pool.admit(&leaving).await;
    pool.admit(&staying).await;
    let mut connections = Vec::new();
    for _ in 0..4 {
        let connection = Connection::open(machine.front).await;
        let mut connection = connection.expect("it listens");
        connection.get("/", "").await.expect("an answer");
        connections.push(connection);
    }

    machine.reload().await;
    let withdrawn = pool.try_withdraw(&leaving).await;

    withdrawn.expect("the new worker does it");
    let seen = pool.seen().await;
    assert!(is(&seen, &leaving[0], Partly), "{seen:?}");
    let before = leaving[0].came();
    for connection in &mut connections {
        connection.get("/", "").await.expect("an answer");
    }
    assert!(leaving[0].came() > before, "the old worker sends to it");
    pool.withdraw(&leaving).await;
    let before = leaving[0].came();
    for _ in 0..10 {
        assert_eq!(machine.get("/").await.body, "b");
    }
    assert_eq!(leaving[0].came(), before);
}

/// Its answer has begun without `connection: close`, so its client may ask for something next, of whomever.
#[tokio::test]
async fn a_long_request_of_an_old_worker_keeps_everybody_in_the_pool_until_its_client_has_gone() {
    withdraw_beside_a_long_request(Release::First).await;
}

#[tokio::test]
async fn a_long_request_keeps_everybody_in_the_pool_with_another_release() {
    withdraw_beside_a_long_request(Release::Second).await;
}

async fn withdraw_beside_a_long_request(release: Release) {
    let Some(program) = release.program() else {
        return;
    };
    let machine = Machine::start(&program, &Layout::slots().with_state()).await;
    let haproxy = driver(&machine.by_unix_with_state());
    let pool = Pool::new(&haproxy);
    let (busy, leaving) = ([Backend::start("a").await], [Backend::start("b").await]);
    pool.admit(&busy).await;
    let held = hold(&machine, &busy[0]).await;
    pool.admit(&leaving).await;

    machine.reload().await;
    let withdrawn = pool.try_withdraw(&leaving).await;

    withdrawn.expect("the new worker does it");
    let seen = pool.seen().await;
    let told = endpoint(&seen, &busy[0]).expect("it is listed");
    assert_eq!((told.state, told.in_flight), (Serving, Some(1)));
    assert!(is(&seen, &leaving[0], Partly), "{seen:?}");
    busy[0].release();
    held.await.expect("it did not panic");
    pool.withdraw(&leaving).await;
    pool.drain(&leaving).await;
}

#[tokio::test]
async fn a_second_reload_does_not_make_the_first_forgotten() {
    let Some(program) = Release::First.program() else {
        return;
    };
    let machine = Machine::start(&program, &Layout::slots().with_state()).await;
    let keeps = driver(&machine.by_unix_with_state());
    let haproxy = driver(&machine.by_unix_alone());
    let (keeps, pool) = (Pool::new(&keeps), Pool::new(&haproxy));
    let one = [Backend::start("a").await];
    keeps.admit(&one).await;
    pool.admit(&one).await;
    let held = hold(&machine, &one[0]).await;
    machine.reload().await;
    pool.withdraw(&one).await;
    keeps
        .try_withdraw(&one)
        .await
        .expect("it is out, and so is kept");

    machine.reload().await;

    let seen = pool.seen().await;
    let told = endpoint(&seen, &one[0]).expect("it is listed");
    assert_eq!((told.state, told.in_flight), (Draining, None));
    one[0].release();
    held.await.expect("it did not panic");
}

#[tokio::test]
async fn a_reload_through_the_driver_keeps_what_was_set_by_hand() {
    let Some(program) = Release::First.program() else {
        return;
    };
    let machine = Machine::start(&program, &Layout::slots().with_state()).await;
    let haproxy = driver(&machine.by_unix_with_state());
    let pool = Pool::new(&haproxy);
    let one = [Backend::start("a").await];
    pool.admit(&one).await;
    let worker = machine.ask("show info").await;
    // After the driver has written the state file.
    machine
        .ask("set server shop_oinker/slot1 state drain")
        .await;

    haproxy.reload().await.expect("it is reloaded");

    let pid = |info: &str| {
        info.lines()
            .find(|line| line.starts_with("Pid:"))
            .map(str::to_owned)
    };
    assert_ne!(pid(&machine.ask("show info").await), pid(&worker));
    let seen = pool.seen().await;
    assert!(is(&seen, &one[0], Draining), "{seen:?}");
}

#[tokio::test]
async fn a_reload_through_the_driver_adds_again_what_it_has_added_before() {
    let Some(program) = Release::First.program() else {
        return;
    };
    let machine = Machine::start(&program, &Layout::dynamic()).await;
    let haproxy = driver(&machine.by_unix());
    let pool = Pool::new(&haproxy);
    let (serving, leaving) = ([Backend::start("a").await], [Backend::start("b").await]);
    pool.admit(&serving).await;
    pool.admit(&leaving).await;
    machine.ask("set server shop_oinker/teal.a weight 17").await;
    pool.withdraw(&leaving).await;
    let before = pool.seen().await;

    haproxy.reload().await.expect("it is reloaded");

    assert_eq!(pool.seen().await, before);
    let weight = machine.ask("get weight shop_oinker/teal.a").await;
    assert!(weight.starts_with("17 "), "{weight}");
}

#[tokio::test]
async fn a_haproxy_whose_master_is_not_known_is_not_reloaded() {
    let Some(program) = Release::First.program() else {
        return;
    };
    let machine = Machine::start(&program, &Layout::slots()).await;

    let answer = driver(&machine.by_tcp()).reload().await;

    assert!(
        matches!(answer, Err(DriverError::Unusable { .. })),
        "{answer:?}"
    );
}

#[tokio::test]
async fn what_is_in_flight_is_not_told_while_the_master_does_not_answer() {
    let Some(program) = Release::First.program() else {
        return;
    };
    let machine = Machine::start(&program, &Layout::slots()).await;
    let haproxy = driver(&machine.by_unix());
    let pool = Pool::new(&haproxy);
    pool.admit(&[Backend::start("a").await]).await;

    let frozen = machine.freeze_master();

    let looked = pool.look().await;
    assert!(
        matches!(looked, Err(DriverError::Unreachable { .. })),
        "{looked:?}"
    );
    drop(frozen);
    pool.seen().await;
}

#[tokio::test]
async fn a_killed_haproxy_is_an_error_and_comes_back_with_what_the_state_file_has() {
    let Some(program) = Release::First.program() else {
        return;
    };
    let mut machine = Machine::start(&program, &Layout::slots().with_state()).await;
    let haproxy = driver(&machine.by_unix_with_state());
    let pool = Pool::new(&haproxy);
    let (serving, out) = ([Backend::start("a").await], [Backend::start("b").await]);
    pool.admit(&serving).await;
    pool.admit(&out).await;
    pool.withdraw(&out).await;
    let before = pool.seen().await;

    machine.kill_9();

    let away = pool.look().await;
    assert!(
        matches!(away, Err(DriverError::Unreachable { .. })),
        "{away:?}"
    );
    let changed = pool.try_withdraw(&serving).await;
    assert!(
        matches!(changed, Err(DriverError::Unreachable { .. })),
        "{changed:?}"
    );
    machine.start_again().await;
    assert_eq!(pool.seen().await, before);
    assert_eq!(machine.get("/").await.body, "a");
}

#[tokio::test]
async fn a_killed_haproxy_without_a_state_file_comes_back_empty_and_says_so() {
    let Some(program) = Release::First.program() else {
        return;
    };
    for layout in [Layout::slots(), Layout::dynamic()] {
        let mut machine = Machine::start(&program, &layout).await;
        let haproxy = driver(&machine.by_unix());
        let pool = Pool::new(&haproxy);
        let one = [Backend::start("a").await];
        pool.admit(&one).await;

        machine.kill_9();
        machine.start_again().await;

        assert_eq!(pool.seen().await.endpoints, []);
        pool.admit(&one).await;
        assert_eq!(machine.get("/").await.body, "a");
    }
}

/// Sends a request that stays under way until it is released.
async fn hold(machine: &Machine, backend: &Backend) -> JoinHandle<Answer> {
    let held = tokio::spawn(machine.get("/?held"));
    until("the request has come", async || {
        (backend.under_way() == 1).then_some(())
    })
    .await;
    held
}
