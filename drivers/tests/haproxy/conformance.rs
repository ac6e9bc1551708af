//! Every rule of balancers on every HAProxy: with slots, with servers that are added, and with two processes that are
//! one balancer. Each rule has a HAProxy of its own.

use crate::machine::{Layout, Machine};
use crate::pool::{POOL, driver};
use crate::program::Release;
use std::ops::AsyncFnOnce;
use teal_core::name::PoolId;
use teal_drivers::conformance::{Patience, balancer};

/// Makes one test of each rule on a release, and a list of their names.
macro_rules! rules {
    ($module:ident, $on:path, $release:expr, [$($rule:ident),+ $(,)?]) => {
        mod $module {
            use super::*;

            pub(super) const NAMES: &[&str] = &[$(stringify!($rule)),+];
            $(
                #[tokio::test]
                async fn $rule() {
                    $on($release, balancer::$rule).await;
                }
            )+
        }
    };
}

macro_rules! all_rules {
    ($module:ident, $on:path, $release:expr) => {
        rules!(
            $module,
            $on,
            $release,
            [
                an_opened_pool_is_empty,
                opening_twice_is_one,
                a_missing_pool_is_left_out,
                an_admitted_endpoint_is_read_back_as_serving,
                a_withdrawn_endpoint_is_never_serving_again_until_admitted,
                a_withdrawn_endpoint_may_be_admitted_again,
                a_forgotten_endpoint_may_be_admitted_again,
                every_change_may_be_repeated,
                forgetting_an_unknown_endpoint_is_a_no_op,
                withdrawing_an_unknown_endpoint_is_a_no_op,
                a_forgotten_endpoint_leaves_the_list,
                one_change_admits_and_withdraws_together,
                in_flight_is_told_of_every_endpoint,
                an_opened_pool_tells_where_it_listens,
                changing_what_is_not_there_is_an_error,
                a_pool_with_endpoints_is_not_closed,
                a_closed_pool_is_gone,
            ]
        );
    };
}

all_rules!(slots_of_the_first, on_slots, Release::First);
all_rules!(slots_of_the_second, on_slots, Release::Second);
all_rules!(added_to_the_first, on_added, Release::First);
all_rules!(added_to_the_second, on_added, Release::Second);
all_rules!(two_of_the_first, on_two, Release::First);
all_rules!(two_of_the_second, on_two, Release::Second);

/// A rule that is written and not listed above would never be tried.
#[test]
fn every_rule_is_tried() {
    let written: Vec<_> = include_str!("../../src/conformance/balancer.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub async fn "))
        .filter_map(|line| line.split('(').next())
        .collect();

    for tried in [
        slots_of_the_first::NAMES,
        slots_of_the_second::NAMES,
        added_to_the_first::NAMES,
        added_to_the_second::NAMES,
        two_of_the_first::NAMES,
        two_of_the_second::NAMES,
    ] {
        assert_eq!(written, tried);
    }
}

async fn on_slots(release: Release, rule: impl AsyncFnOnce(&balancer::Trial<'_>)) {
    let Some(program) = release.program() else {
        return;
    };
    let machine = Machine::start(&program, &Layout::slots()).await;
    try_rule(&machine.by_unix(), rule).await;
}

async fn on_added(release: Release, rule: impl AsyncFnOnce(&balancer::Trial<'_>)) {
    let Some(program) = release.program() else {
        return;
    };
    let machine = Machine::start(&program, &Layout::dynamic()).await;
    try_rule(&machine.by_unix(), rule).await;
}

/// Two that have little in common: one has slots, the other gets servers; one is reached by its file, the other by TCP.
async fn on_two(release: Release, rule: impl AsyncFnOnce(&balancer::Trial<'_>)) {
    let Some(program) = release.program() else {
        return;
    };
    let one = Machine::start(&program, &Layout::slots()).await;
    let other = Machine::start(&program, &Layout::dynamic()).await;
    try_rule(&format!("{},{}", one.by_unix(), other.by_tcp()), rule).await;
}

async fn try_rule(url: &str, rule: impl AsyncFnOnce(&balancer::Trial<'_>)) {
    let haproxy = driver(url);
    rule(&balancer::Trial {
        balancer: &haproxy,
        pool: PoolId::from(POOL),
        listen: None,
        patience: Patience::LOCAL,
    })
    .await;
}
