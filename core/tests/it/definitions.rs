//! What an operator may write, and what is said about mistakes.

use teal_core::definition::{Definition, PendingSource, service_of_id};
use teal_core::name::RevisionId;
use teal_core::problem::Problem;
use teal_core::settings::Settings;

fn problems(text: &str) -> Vec<Problem> {
    Definition::resolve(text, &Settings::default(), &[])
        .map(|_| ())
        .unwrap_err()
}

const RUNBOOK: &str = r#"{
    "id": "/green-oinker", "instances": 3,
    "container": {"type": "DOCKER", "docker": {"image": "mesosphere/oinker:shakespeare", "network": "BRIDGE",
        "portMappings": [{"containerPort": 3000, "hostPort": 0, "protocol": "tcp"}]}},
    "healthChecks": [{"protocol": "TCP", "gracePeriodSeconds": 600, "intervalSeconds": 30, "portIndex": 0,
        "timeoutSeconds": 10, "maxConsecutiveFailures": 2}],
    "cmd": "until rake cassandra:setup; do sleep 5; done && rails server",
    "ports": [0], "cpus": 0.25, "mem": 256.0 LABELS }"#;

#[test]
fn the_runbooks_file_needs_only_its_gauge() {
    let bare = problems(&RUNBOOK.replace("LABELS", ""));
    assert_eq!(bare.len(), 1, "{bare:?}");
    assert_eq!(bare[0].place, "labels");

    let labels = r#", "labels": {"TEAL_PENDING_PATH": "/metrics", "TEAL_PENDING_GAUGE": "oinker_pending_operations"}"#;
    let (definition, _) = Definition::resolve(
        &RUNBOOK.replace("LABELS", labels),
        &Settings::default(),
        &[],
    )
    .unwrap();

    assert_eq!(definition.service.as_str(), "oinker");
    assert_eq!(
        (
            definition.instances,
            definition.health_checks,
            definition.service_ports.len()
        ),
        (3, 1, 1)
    );
    let gauge = PendingSource::Prometheus {
        path: "/metrics".to_owned(),
        gauge: "oinker_pending_operations".to_owned(),
        port_index: 0,
    };
    assert_eq!(definition.labels.pending, Some(gauge));
}

#[test]
fn every_mistake_is_reported_at_once() {
    let text = r#"{"instnaces": 3, "cpus": "many", "healthChecks": [{"protocl": "TCP"}], "cmd": "x",
        "labels": {"TEAL_DRAIN_DEDLINE": "5m", "TEAL_BATCH": "lots", "TEAL_LISTEN": "8090", "TEAL_PENDING": "none"}}"#;

    let found = problems(text);

    let places: Vec<_> = found.iter().map(|problem| problem.place.as_str()).collect();
    for place in [
        "instnaces",
        "cpus",
        "healthChecks[0].protocl",
        "id",
        "labels.TEAL_DRAIN_DEDLINE",
        "labels.TEAL_BATCH",
        "labels.TEAL_LISTEN",
    ] {
        assert!(places.contains(&place), "{place} in {places:?}");
    }
    let near = found
        .iter()
        .find(|problem| problem.place == "instnaces")
        .unwrap();
    assert_eq!(near.hint.as_deref(), Some("did you mean `instances`?"));
    let near = found
        .iter()
        .find(|problem| problem.place == "labels.TEAL_DRAIN_DEDLINE")
        .unwrap();
    assert_eq!(
        near.hint.as_deref(),
        Some("did you mean `TEAL_DRAIN_DEADLINE`?")
    );
}

#[test]
fn malformed_json_tells_line_and_column() {
    let found = problems("{\n  \"id\": \"/x\",,\n}");

    assert_eq!(found.len(), 1);
    assert!(
        found[0].place.starts_with("line 2, column"),
        "{}",
        found[0].place
    );
}

#[test]
fn a_definition_without_health_checks_is_refused_unless_that_is_accepted() {
    let text = r#"{"id": "/x", "cmd": "run it", "labels": {"TEAL_PENDING": "none"}}"#;
    let found = problems(text);
    assert_eq!(
        found.iter().map(|p| p.place.as_str()).collect::<Vec<_>>(),
        ["healthChecks"]
    );

    let accept = [(
        "without_health_checks".to_owned(),
        "true".to_owned(),
        "--without-health-checks".to_owned(),
    )];
    assert!(Definition::resolve(text, &Settings::default(), &accept).is_ok());
}

#[test]
fn a_services_name_is_the_id_without_its_colour() {
    for (id, service) in [
        ("/green-oinker", "oinker"),
        ("/oinker-blue", "oinker"),
        ("/oinker", "oinker"),
        ("/shop/blue-cart", "shop/cart"),
        ("/green-", "green-"),
        ("/greenhouse", "greenhouse"),
    ] {
        assert_eq!(
            service_of_id(&RevisionId::from(id)).as_str(),
            service,
            "{id}"
        );
    }
}

#[test]
fn flags_win_over_labels_and_labels_over_defaults() {
    let text = r#"{"id": "/x", "cmd": "run it", "healthChecks": [{"protocol": "TCP"}],
        "labels": {"TEAL_PENDING": "none", "TEAL_BATCH": "2", "TEAL_DRAIN_SAMPLES": "7"}}"#;
    let flags = [("batch".to_owned(), "5".to_owned(), "--batch".to_owned())];

    let (_, settings) = Definition::resolve(text, &Settings::default(), &flags).unwrap();

    assert_eq!(settings.batch(10), 5);
    assert_eq!(settings.drain_samples, 7);
}

#[test]
fn marathon_lbs_labels_count_where_teals_own_are_absent() {
    let text = r#"{"id": "/shop-4711", "cmd": "run it", "healthChecks": [{"protocol": "TCP"}], "ports": [0],
        "labels": {"TEAL_PENDING": "none", "HAPROXY_DEPLOYMENT_GROUP": "shop", "HAPROXY_0_PORT": "8081", "HAPROXY_0_MODE": "tcp"}}"#;

    let (definition, _) = Definition::resolve(text, &Settings::default(), &[]).unwrap();

    assert_eq!(definition.service.as_str(), "shop");
    assert_eq!(
        definition.labels.pools[&0].listen.as_deref(),
        Some("127.0.0.1:8081")
    );
    assert_eq!(
        definition.labels.pools[&0].protocol,
        Some(teal_core::plan::Protocol::Tcp)
    );
}
