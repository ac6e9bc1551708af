//! Bodies, ids and selectors that nobody would send: they are read, or refused with the places that are wrong.

#[path = "../../core/tests/it/mangled.rs"]
mod mangled;

use mangled::{bytes, mangled, mangled_json};
use proptest::prelude::*;
use serde_json::{Map, Value};

use crate::backoff::Backoff;
use crate::definition::{Definition, Update, whole_change};
use crate::fixtures::definition;
use crate::groups::{GroupUpdate, read_settings};
use crate::identity::{AppId, TaskId};
use crate::time::Stamp;

/// One definition of every kind, from the field.
const SAMPLES: [&str; 6] = [
    r#"{"id": "/shop/cart", "cmd": "serve --port $PORT0", "instances": 2, "cpus": 0.1, "mem": 32, "disk": 1,
        "env": {"A": "b"}, "labels": {"tier": "front", "MARATHON_SINGLE_INSTANCE_APP": "false"}, "user": "nobody",
        "portDefinitions": [{"port": 10000, "protocol": "tcp", "name": "http", "labels": {"a": "b"}}, {"port": 0}],
        "requirePorts": false, "constraints": [["hostname", "LIKE", ".*"]], "acceptedResourceRoles": ["*"],
        "backoffSeconds": 1, "backoffFactor": 1.15, "maxLaunchDelaySeconds": 300, "taskKillGracePeriodSeconds": 5,
        "upgradeStrategy": {"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0.2},
        "unreachableStrategy": {"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0}, "killSelection": "OLDEST_FIRST",
        "executorResources": {"cpus": 0.1, "mem": 32, "disk": 10}, "resourceLimits": {"cpus": 1, "mem": "unlimited"},
        "dependencies": ["/db", "../cache"], "fetch": [{"uri": "file:///etc/hosts", "extract": false,
        "executable": true, "cache": false, "destPath": "hosts"}]}"#,
    r#"{"id": "web", "container": {"type": "DOCKER", "docker": {"image": "nginx:1", "network": "BRIDGE",
        "forcePullImage": true, "privileged": false, "parameters": [{"key": "cpu-shares", "value": "512"},
        {"key": "ulimit", "value": "nofile=1024:2048"}, {"key": "memory", "value": "64m"}],
        "portMappings": [{"containerPort": 80, "hostPort": 0, "servicePort": 10001, "protocol": "tcp,udp"}]},
        "volumes": [{"containerPath": "/data", "hostPath": "/tmp", "mode": "RO"}]}, "args": ["-g", "daemon off;"],
        "uris": ["http://127.0.0.1/a.tgz"], "ports": [80, 0]}"#,
    r#"{"id": "/c", "networks": [{"mode": "container/bridge"}], "container": {"type": "MESOS",
        "docker": {"image": "i"}, "portMappings": [{"containerPort": 0, "hostPort": 31000, "name": "a",
        "networkNames": []}]}, "healthChecks": [{"protocol": "HTTP", "path": "/health", "portIndex": 0,
        "gracePeriodSeconds": 10, "intervalSeconds": 5, "timeoutSeconds": 2, "maxConsecutiveFailures": 3,
        "delaySeconds": 1, "ignoreHttp1xx": false, "ipProtocol": "IPv4"}, {"protocol": "COMMAND",
        "command": {"value": "true"}}], "readinessChecks": [{"name": "ready", "protocol": "HTTP", "path": "/",
        "portName": "a", "intervalSeconds": 30, "timeoutSeconds": 10, "httpStatusCodesForReady": [200, 302],
        "preserveLastResponse": true}]}"#,
    r#"{"id": "/old", "cmd": "run", "ipAddress": {"discovery": {"ports": [{"number": 80, "name": "h",
        "protocol": "tcp"}]}, "networkName": "n"}, "check": {"exec": {"command": {"shell": "true"}},
        "intervalSeconds": 3, "timeoutSeconds": 2, "delaySeconds": 1}, "secrets": {"s": {"source": "/s"}},
        "gpus": 0, "tty": false, "version": "2014-03-01T23:29:30.158Z"}"#,
    r#"{"id": "/shop", "apps": [{"id": "cart", "cmd": "run", "dependencies": ["db"]}, {"id": "db", "cmd": "run"}],
        "groups": [{"id": "eu", "groups": [{"id": "west", "apps": []}], "dependencies": ["../us"]}, {"id": "us"}],
        "dependencies": []}"#,
    r#"{"scaleBy": 1.5}"#,
];

/// Reads a body in every way that the API reads one, and goes on with what comes of it.
fn read_every_way(text: &[u8]) {
    let Ok(body) = serde_json::from_slice::<Map<String, Value>>(text) else {
        return;
    };
    if let Ok(read) = Definition::read(None, &body) {
        assert_shown_as_read(&read);
        let now = std::time::Instant::now();
        let backoff = Backoff::default().after_end(&read, now);
        let _delay = backoff.after_end(&read, now).delay();
    }
    let id = AppId::from_text("/app");
    if let Ok(changed) = whole_change(&id, Some(&definition()), &body) {
        assert_shown_as_read(&changed);
    }
    drop(whole_change(&AppId::root(), None, &body));
    if let Ok(update) = Update::read(body.clone()) {
        drop(update);
    }
    drop(GroupUpdate::read(&AppId::from_text("/shop"), &body));
    drop(read_settings(&body));
}

/// What is shown of a definition may be sent back and means the same.
fn assert_shown_as_read(read: &Definition) {
    let shown = read.to_json();
    assert_eq!(
        Definition::read(None, &shown).as_ref(),
        Ok(read),
        "{shown:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mangled_body_is_read_or_refused(text in mangled(&SAMPLES)) {
        read_every_way(&text);
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(text in bytes()) {
        read_every_way(&text);
    }

    #[test]
    fn odd_fields_are_read_or_refused(text in mangled_json(&SAMPLES)) {
        read_every_way(text.as_bytes());
    }

    #[test]
    fn any_text_is_an_absolute_id_without_steps_up(text in "[/.a-c]{0,20}|.{0,40}", within in "[/.a-c]{0,12}") {
        let group = AppId::from_text(&within);

        for id in [AppId::from_text(&text), AppId::resolve(&group, &text)] {
            let path = id.as_str();
            prop_assert!(path.starts_with('/') && !path.contains("//"), "{}", path);
            prop_assert!(path.split('/').all(|segment| segment != ".." && segment != "."), "{}", path);
            prop_assert_eq!(AppId::from_text(path), id);
        }
    }

    #[test]
    fn any_text_is_a_task_id_or_none(text in "[a-z_.-]{0,20}|.{0,40}") {
        if let Ok(id) = TaskId::parse(&text) {
            prop_assert!(!id.as_str().contains('/'));
        }
    }

    #[test]
    fn any_text_is_a_version_or_none(text in "[0-9T:.Z+-]{0,30}|.{0,40}") {
        if let Some(stamp) = Stamp::parse(&text) {
            prop_assert_eq!(Stamp::parse(&stamp.to_string()), Some(stamp));
        }
    }
}
