//! Two HAProxys are one balancer, and one of them lags behind, or says something else.

use crate::backend::Backend;
use crate::machine::{Layout, Machine};
use crate::pool::{Pool, driver, endpoint, is};
use crate::program::Release;
use teal_core::observation::EndpointState::{Draining, Partly, Serving};
use teal_drivers::DriverError;

#[tokio::test]
async fn what_one_of_two_does_not_serve_is_served_partly() {
    let Some((one, other)) = two_machines().await else {
        return;
    };
    let haproxy = driver(&both(&one, &other));
    let pool = Pool::new(&haproxy);
    let both = [Backend::start("a").await, Backend::start("b").await];
    pool.admit(&both).await;

    other.ask("set server shop_oinker/teal.a state drain").await;
    other
        .ask("set server shop_oinker/teal.b state maint; del server shop_oinker/teal.b")
        .await;

    let seen = pool.seen().await;
    assert!(is(&seen, &both[0], Partly), "{seen:?}");
    assert!(is(&seen, &both[1], Partly), "{seen:?}");
    pool.admit(&both).await;
}

#[tokio::test]
async fn what_is_in_flight_is_the_sum_of_both() {
    let Some((one, other)) = two_machines().await else {
        return;
    };
    let haproxy = driver(&both(&one, &other));
    let pool = Pool::new(&haproxy);
    let backend = [Backend::start("a").await];
    pool.admit(&backend).await;

    let requests = [&one, &other].map(|machine| tokio::spawn(machine.get("/?held")));

    let counts = |seen: &_| endpoint(seen, &backend[0]).and_then(|told| told.in_flight);
    pool.until("both count", |seen| counts(seen) == Some(2))
        .await;
    backend[0].release();
    for request in requests {
        assert_eq!(request.await.expect("it did not panic").body, "a");
    }
    pool.until("both are done", |seen| counts(seen) == Some(0))
        .await;
}

#[tokio::test]
async fn a_change_is_not_confirmed_while_one_of_two_lags() {
    let Some((one, other)) = two_machines().await else {
        return;
    };
    let haproxy = driver(&both(&one, &other));
    let pool = Pool::new(&haproxy);
    let (old, new) = ([Backend::start("a").await], [Backend::start("b").await]);
    pool.admit(&old).await;

    let frozen = other.freeze().await;

    let (looked, admitted) = tokio::join!(pool.look(), pool.try_admit(&new));
    assert!(
        matches!(looked, Err(DriverError::Unreachable { .. })),
        "{looked:?}"
    );
    assert!(
        matches!(admitted, Err(DriverError::Unreachable { .. })),
        "{admitted:?}"
    );
    // The other one has been told all the same, and what is not known is not confirmed.
    assert!(
        one.ask("show servers state shop_oinker")
            .await
            .contains(&new[0].address.port().to_string())
    );
    drop(frozen);
    pool.admit(&new).await;
    pool.withdraw(&old).await;
    let seen = pool.seen().await;
    assert!(
        is(&seen, &new[0], Serving) && is(&seen, &old[0], Draining),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_pool_of_which_one_of_two_is_away_cannot_be_looked_at() {
    let Some((one, mut other)) = two_machines().await else {
        return;
    };
    let haproxy = driver(&both(&one, &other));
    let pool = Pool::new(&haproxy);
    let backend = [Backend::start("a").await];
    pool.admit(&backend).await;

    other.kill_9();

    let looked = pool.look().await;
    assert!(
        matches!(looked, Err(DriverError::Unreachable { .. })),
        "{looked:?}"
    );
    // It comes back without the server that it had been given: one of two serves.
    other.start_again().await;
    let seen = pool.seen().await;
    assert!(is(&seen, &backend[0], Partly), "{seen:?}");
    pool.admit(&backend).await;
}

async fn two_machines() -> Option<(Machine, Machine)> {
    let program = Release::First.program()?;
    let one = Machine::start(&program, &Layout::slots()).await;
    let other = Machine::start(&program, &Layout::dynamic()).await;
    Some((one, other))
}

/// One by its file, the other by TCP.
fn both(one: &Machine, other: &Machine) -> String {
    format!("{},{}", one.by_unix(), other.by_tcp())
}
