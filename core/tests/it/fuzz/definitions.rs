//! Definitions, labels and settings that nobody would write.

use super::arbitrary::{found, pool};
use crate::mangled::{bytes, mangled, mangled_json};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value};
use teal_core::definition::{Definition, check_part, service_of_id};
use teal_core::name::{DeploymentId, RevisionId};
use teal_core::plan::{BalancerAbilities, Found, FoundPool, Plan, Request, make};
use teal_core::settings::{SETTINGS, Settings};
use teal_core::{Moment, Span};

const SAMPLES: [&str; 4] = [
    r#"{"id": "/green-oinker", "instances": 3, "container": {"type": "DOCKER", "docker": {"image": "oinker",
        "network": "BRIDGE", "portMappings": [{"containerPort": 3000, "hostPort": 0, "servicePort": 0,
        "protocol": "tcp", "name": "http", "labels": {"a": "b"}}]}}, "healthChecks": [{"protocol": "TCP",
        "gracePeriodSeconds": 600, "intervalSeconds": 30, "portIndex": 0, "timeoutSeconds": 10,
        "maxConsecutiveFailures": 2}], "cmd": "rails server", "ports": [0], "cpus": 0.25, "mem": 256.0,
        "labels": {"TEAL_PENDING": "none"}}"#,
    r#"{"id": "/shop/cart-blue", "args": ["serve", "--port", "$PORT0"], "taskKillGracePeriodSeconds": 30,
        "portDefinitions": [{"port": 10000, "protocol": "tcp", "name": "http"}, {"port": 0}], "env": {"A": "b"},
        "upgradeStrategy": {"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0.2},
        "healthChecks": [{"protocol": "HTTP", "path": "/health"}], "labels": {"TEAL_PENDING_PATH": "/metrics",
        "TEAL_PENDING_GAUGE": "pending{queue=\"db\"}", "TEAL_PENDING_PORT_INDEX": "1", "TEAL_LISTEN": "127.0.0.1:8090",
        "TEAL_1_LISTEN": "127.0.0.1:8091", "TEAL_1_PROTOCOL": "tcp", "TEAL_BATCH": "25%", "TEAL_INITIAL": "all",
        "TEAL_MIN_HEALTHY_TIME": "1h30m", "TEAL_GATES": "shift, retire", "TEAL_FLOOR": "2", "TEAL_KEEP_BLUE": "3s"}}"#,
    r#"{"id": "x", "cmd": "run", "instances": 1, "labels": {"TEAL_SERVICE": "x", "TEAL_PENDING_PATH": "/status",
        "TEAL_PENDING_POINTER": "/pending/0", "HAPROXY_DEPLOYMENT_GROUP": "x", "HAPROXY_0_PORT": "8081",
        "HAPROXY_0_MODE": "tcp", "TEAL_DEPLOYMENT": "d1", "TEAL_REPLACES": "/w", "TEAL_PLAN": "{}"},
        "container": {"portMappings": [{"containerPort": 1}]}, "healthChecks": [{"protocol": "COMMAND",
        "command": {"value": "true"}}]}"#,
    // What teal itself wrote on a GREEN, for `resume` on another machine.
    r#"{"made_at": 7, "blue_instances": 3, "target": 3, "floor": 3, "room": 4, "initial": 1, "batch": 1,
        "settings": {"strategy": "rolling", "size": "live", "initial": {"percent": 25}, "batch": null,
        "surge": {"count": 1}, "floor": null, "min_healthy_time": "10s", "healthy_deadline": "10m",
        "unhealthy_limit": "10s", "drain_interval": "200ms", "drain_samples": 3, "drain_deadline": "5m",
        "on_drain_deadline": "rollback", "force_reason": null, "keep_blue": "5m", "gates": ["shift"],
        "patience": "24h", "without_health_checks": false}, "pools": [{"id": "x", "port_index": 0, "listen": null,
        "protocol": "http", "existed": false}]}"#,
];

/// Reads a definition in every way, and goes on with what comes of it as far as a plan told to a person.
fn try_everything(text: &str, found: &[Found], pools: &[FoundPool]) {
    let base = Settings::default();
    if let Ok((definition, settings)) = Definition::resolve(text, &base, &[]) {
        plan(&definition, &settings, found, pools);
    }
    let Ok(body) = serde_json::from_str::<Map<String, Value>>(text) else {
        return;
    };
    drop(check_part(&body));
    let mut running = Definition::of_running(&body);
    let mut settings = base;
    for (name, value, place) in &running.labels.settings {
        drop(settings.set(name, value, place));
    }
    plan(&running, &settings, found, pools);
    running.labels.plan = Some(text.to_owned());
    for one in found {
        let mut green = one.clone();
        let labels = serde_json::json!({"TEAL_PLAN": text, "TEAL_DEPLOYMENT": "d", "TEAL_REPLACES": "/oinker-0"});
        green.definition.insert("labels".to_owned(), labels);
        if let Some(plan) = Plan::carried(&green, found, pools, ABLE) {
            drop(plan.outline());
        }
    }
}

const ABLE: BalancerAbilities = BalancerAbilities {
    in_flight: true,
    atomic_change: true,
    listens: true,
    tcp: true,
};

fn plan(definition: &Definition, settings: &Settings, found: &[Found], pools: &[FoundPool]) {
    let made = make(&Request {
        definition,
        settings,
        revision: None,
        replace: None,
        found,
        pools,
        balancer: ABLE,
        deployment: DeploymentId::from("d"),
        now: Moment(7),
    });
    if let Ok(Some(plan)) = made {
        drop(plan.outline());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_a_definition_or_problems(bytes in bytes()) {
        try_everything(&String::from_utf8_lossy(&bytes), &[], &[]);
    }

    #[test]
    fn a_mangled_file_is_a_definition_or_problems(bytes in mangled(&SAMPLES)) {
        try_everything(&String::from_utf8_lossy(&bytes), &[], &[]);
    }

    #[test]
    fn odd_fields_make_a_definition_or_problems(
        text in mangled_json(&SAMPLES), found in vec(found(), 0..3), pools in vec(pool(), 0..3),
    ) {
        try_everything(&text, &found, &pools);
    }

    #[test]
    fn a_setting_is_set_or_a_problem_that_says_where(
        name in prop_oneof![0..SETTINGS.len(), Just(usize::MAX)], text in "[0-9.%a-z, -]{0,30}|.{0,60}",
    ) {
        let name = SETTINGS.get(name).map_or("no_such_setting", |setting| setting.name);
        let mut settings = Settings::default();

        if let Err(problem) = settings.set(name, &text, "here") {
            prop_assert_eq!(problem.place, "here");
            prop_assert_eq!(settings, Settings::default());
        }
    }

    #[test]
    fn any_text_is_a_length_of_time_or_none(text in "([0-9]{0,21}\\.?[0-9]{0,4}(ms|s|m|min|h|d|x)?){0,3}|.{0,40}") {
        if let Ok(span) = text.parse::<Span>() {
            prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
        }
    }

    #[test]
    fn any_id_has_a_service(id in "[/a-z-]{0,20}|.{0,40}") {
        let service = service_of_id(&RevisionId(id.clone()));

        prop_assert!(service.as_str().len() <= id.len());
    }
}
