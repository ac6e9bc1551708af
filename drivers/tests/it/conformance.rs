//! Every rule on every driver: the world in memory, the same behind the wrapper for faults, and our own servers.

use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::ops::AsyncFnOnce;
use std::time::Duration;
use teal_core::name::{PoolId, RevisionId};
use teal_drivers::balancers::Builtin;
use teal_drivers::conformance::{Patience, balancer, orchestrator};
use teal_drivers::fake::{Locking, World};
use teal_drivers::faulty::{Faulty, Weights};
use teal_drivers::orchestrators::Marathon;
use teal_drivers::simulated::{Cluster, Temper};
use teal_drivers::{Balancer, Capabilities, Orchestrator};
use teal_engine::Engine;
use teal_proxy::Proxy;

/// Makes one test of each rule, and a list of their names.
macro_rules! rules {
    ($kind:ident, $on:path, [$($rule:ident),+ $(,)?]) => {
        pub(super) const NAMES: &[&str] = &[$(stringify!($rule)),+];
        $(
            #[tokio::test]
            async fn $rule() {
                $on($kind::$rule).await;
            }
        )+
    };
}

macro_rules! orchestrator_rules {
    ($module:ident, $on:path) => {
        mod $module {
            use super::*;
            rules!(
                orchestrator,
                $on,
                [
                    a_created_revision_has_no_instances,
                    creating_twice_is_one,
                    creating_what_another_deployment_created_is_refused,
                    a_missing_revision_is_left_out,
                    what_is_found_can_be_created_again,
                    scaling_up_brings_running_healthy_instances,
                    scaling_twice_is_once,
                    scaling_what_is_not_there_is_an_error,
                    killing_scales_down_by_the_victims,
                    killing_twice_scales_once,
                    killing_what_is_gone_changes_nothing,
                    a_revision_with_instances_is_not_removed,
                    a_removed_revision_is_gone,
                    removing_what_is_not_there_is_ok,
                ]
            );
        }
    };
}

macro_rules! balancer_rules {
    ($module:ident, $on:path) => {
        mod $module {
            use super::*;
            rules!(
                balancer,
                $on,
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
        }
    };
}

orchestrator_rules!(world_as_orchestrator, on_world);
orchestrator_rules!(world_that_locks_as_orchestrator, on_locking_world);
orchestrator_rules!(faultless_as_orchestrator, on_faultless);
orchestrator_rules!(marathon_on_the_engine, on_engine);
orchestrator_rules!(marathon_on_the_simulated_cluster, on_simulated);

balancer_rules!(world_as_balancer, on_balancing_world);
balancer_rules!(world_of_few_capabilities_as_balancer, on_poor_world);
balancer_rules!(faultless_as_balancer, on_faultless_balancer);
balancer_rules!(builtin_on_the_proxy, on_proxy);

/// A rule that is written and not listed above would never be tried.
#[test]
fn every_rule_is_tried() {
    let written = |source: &str| {
        let rules = source
            .lines()
            .filter_map(|line| line.strip_prefix("pub async fn "));
        rules
            .filter_map(|line| line.split('(').next())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };

    let orchestrators = written(include_str!("../../src/conformance/orchestrator.rs"));
    let balancers = written(include_str!("../../src/conformance/balancer.rs"));
    for tried in [
        world_as_orchestrator::NAMES,
        world_that_locks_as_orchestrator::NAMES,
        faultless_as_orchestrator::NAMES,
        marathon_on_the_engine::NAMES,
        marathon_on_the_simulated_cluster::NAMES,
    ] {
        assert_eq!(orchestrators, tried);
    }
    for tried in [
        world_as_balancer::NAMES,
        world_of_few_capabilities_as_balancer::NAMES,
        faultless_as_balancer::NAMES,
        builtin_on_the_proxy::NAMES,
    ] {
        assert_eq!(balancers, tried);
    }
}

async fn on_world(rule: impl AsyncFnOnce(&orchestrator::Trial<'_>)) {
    try_orchestrator(&World::auto(), a_definition(31_000), rule).await;
}

async fn on_locking_world(rule: impl AsyncFnOnce(&orchestrator::Trial<'_>)) {
    let world = World::auto();
    world.set_locking(Locking::UntilDone);
    try_orchestrator(&world, a_definition(31_000), rule).await;
}

async fn on_faultless(rule: impl AsyncFnOnce(&orchestrator::Trial<'_>)) {
    let faultless = Faulty::new(World::auto(), Weights::NONE, 1);
    try_orchestrator(&faultless, a_definition(31_000), rule).await;
}

async fn on_engine(rule: impl AsyncFnOnce(&orchestrator::Trial<'_>)) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = teal_engine::Config {
        listen: any_port(),
        ..teal_engine::Config::new(folder.path())
    };
    let engine = Engine::start(config).await.expect("the engine starts");
    // What answers the health checks: a port that takes connections is enough for them.
    let answering = TcpListener::bind(any_port()).expect("binds");
    let port = answering.local_addr().expect("is bound").port();
    let url = format!("http://{}", engine.address());
    let marathon = Marathon::connect(&url).expect("an address");

    try_orchestrator(&marathon, a_definition(port), rule).await;

    engine.stop().await;
}

async fn on_simulated(rule: impl AsyncFnOnce(&orchestrator::Trial<'_>)) {
    tokio::time::pause();
    teal_drivers::clock::go_with_tokio(teal_core::Moment(1_767_225_600_000));
    let cluster = Cluster::start(Temper::CALM, 1).await.expect("it starts");
    let marathon = Marathon::connect(&cluster.urls()[0]).expect("an address");

    try_orchestrator(&marathon, a_definition(31_000), rule).await;
}

async fn try_orchestrator(
    orchestrator: &dyn Orchestrator,
    definition: Value,
    rule: impl AsyncFnOnce(&orchestrator::Trial<'_>),
) {
    let revision = RevisionId::from("/conformance/oinker");
    let patience = Patience::LOCAL;
    rule(&orchestrator::Trial {
        orchestrator,
        revision,
        definition,
        patience,
    })
    .await;
}

async fn on_balancing_world(rule: impl AsyncFnOnce(&balancer::Trial<'_>)) {
    try_balancer(&World::auto(), rule).await;
}

async fn on_poor_world(rule: impl AsyncFnOnce(&balancer::Trial<'_>)) {
    let world = World::auto();
    world.set_capabilities(Capabilities {
        in_flight: false,
        atomic_change: false,
        listens: false,
        tcp: false,
    });
    world.serve(&PoolId::from("shop/oinker:1"), &[]);
    try_balancer(&world, rule).await;
}

async fn on_faultless_balancer(rule: impl AsyncFnOnce(&balancer::Trial<'_>)) {
    try_balancer(&Faulty::new(World::auto(), Weights::NONE, 1), rule).await;
}

async fn on_proxy(rule: impl AsyncFnOnce(&balancer::Trial<'_>)) {
    let config = teal_proxy::Config::new(any_port());
    let proxy = Proxy::start(config).await.expect("the proxy starts");
    let url = format!("http://{}", proxy.admin_address());
    let builtin = Builtin::connect(&url).expect("an address");

    try_balancer(&builtin, rule).await;

    proxy.shutdown(Duration::from_secs(1)).await;
}

async fn try_balancer(balancer: &dyn Balancer, rule: impl AsyncFnOnce(&balancer::Trial<'_>)) {
    // A name that has to be encoded in a path.
    let pool = PoolId::from("shop/oinker:1");
    let listen = Some("localhost:0".to_owned());
    rule(&balancer::Trial {
        balancer,
        pool,
        listen,
        patience: Patience::LOCAL,
    })
    .await;
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn a_definition(port: u16) -> Value {
    json!({
        "id": "/conformance/oinker",
        "cmd": "exec sleep 60",
        "cpus": 0.01,
        "mem": 16,
        "instances": 0,
        "labels": { "TEAL_DEPLOYMENT": "conformance" },
        "healthChecks": [
            { "protocol": "TCP", "port": port, "intervalSeconds": 1, "gracePeriodSeconds": 30 }
        ],
    })
}
