//! What servers might answer, whole or mangled: it is read, or refused with a reason. Nothing but a zero that stands
//! there is read as zero.

#[path = "../../../core/tests/it/mangled.rs"]
mod mangled;

use crate::canned::{Canned, Reply};
use mangled::{bytes, mangled, mangled_json};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use teal_core::definition::PendingSource;
use teal_core::name::{Address, PoolId, RevisionId};
use teal_core::observation::Pending;
use teal_drivers::balancers::Builtin;
use teal_drivers::gauge::{json_pointer, probe, prometheus};
use teal_drivers::orchestrators::Marathon;
use teal_drivers::{Balancer, Orchestrator};
use tokio::runtime::{Builder, Runtime};

const PAGES: [&str; 3] = [
    "# HELP pending Operations.\n# TYPE pending gauge\npending{queue=\"db\",x=\"a\\\"b\"} 3 1395066363000\npending 1e3\n",
    "# TYPE other counter\nother_total 0x1p-2\npending{queue=\"mail\",} +2.5 # {trace_id=\"a\"} 1\n# EOF\n",
    "go_info{version=\"go1.9\"} 1\nnan NaN\ninf +Inf\n{\"quoted.name\",a=\"b\"} 7\npending 0\n",
];

const DOCUMENTS: [&str; 2] = [
    r#"{"pending": {"operations": 3, "a/b": 1.5, "m~n": 0}, "list": [0, 7, {"deep": [[[1]]]}], "none": null}"#,
    r#"[{"pending": 1e2}, -0.0, 18446744073709551615, "0", true]"#,
];

const APPS: [&str; 3] = [
    r#"{"app": {"id": "/oinker", "instances": 2, "version": "2014-03-01T23:29:30.158Z",
        "versionInfo": {"lastConfigChangeAt": "2014-03-01T23:29:30.158Z"}, "labels": {"TEAL_SERVICE": "oinker"},
        "healthChecks": [{"protocol": "HTTP"}], "networks": [{"mode": "container"}], "deployments": [{"id": "d"}],
        "container": {"portMappings": [{"containerPort": 80, "hostPort": 0}, {"containerPort": 81}]},
        "tasks": [{"id": "oinker.instance-u._app.2", "state": "TASK_RUNNING", "host": "h", "ports": [31000],
        "startedAt": "2014-03-01T23:29:30.158Z", "version": "2014-03-01T23:29:30.158Z",
        "ipAddresses": [{"ipAddress": "10.0.0.1", "protocol": "IPv4"}], "healthCheckResults": [{"alive": true,
        "consecutiveFailures": 0, "firstSuccess": "2014-03-01T23:29:31.158Z", "lastFailure": null,
        "lastSuccess": "2014-03-01T23:29:32.158Z"}, null]}], "tasksRunning": 1, "tasksStaged": 1,
        "lastTaskFailure": {"state": "TASK_FAILED", "message": "m", "taskId": "oinker.instance-v._app.1"}}}"#,
    r#"{"apps": [{"id": "/a", "instances": 0, "tasks": [], "env": null, "uris": [], "ports": [10000],
        "ipAddress": {"discovery": {"ports": [{"number": 80}]}}, "container": {"docker": {"network": "USER",
        "portMappings": null}}}]}"#,
    r#"{"message": "App is locked", "deployments": [{"id": "d"}, "e"], "details": [{"path": "/a", "errors": ["b",
        {"errors": [{"attribute": "c", "error": "d"}]}]}], "errors": "e"}"#,
];

const POOLS: [&str; 2] = [
    r#"{"name": "p", "listen": "127.0.0.1:10000", "protocol": "http", "boot": "b", "generation": 7, "endpoints":
        [{"instance": "a", "address": "127.0.0.1:31000", "state": "serving", "in_flight": 3, "leaving": false}]}"#,
    r#"{"message": "there is no pool \"p\"", "details": ["a"]}"#,
];

const ANSWERS: [&str; 3] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\npending 0\n",
    "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/v2/events\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nWWW-Authenticate: Basic realm=x\r\n\r\na\r\npending 0\n\r\n0\r\n\r\n",
];

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_mangled_page_is_zero_only_where_a_zero_stands(
        page in prop_oneof![4 => mangled(&PAGES).boxed(), 1 => bytes().boxed()],
        gauge in prop_oneof![
            Just("pending".to_owned()), Just("pending{queue=\"db\"}".to_owned()), "[a-z_:{}=\",]{0,12}", ".{0,12}",
        ],
    ) {
        let page = String::from_utf8_lossy(&page);

        let read = prometheus(&page, &gauge);

        prop_assert!(page.contains('0') || read != Pending::Count(0), "{page}");
    }

    #[test]
    fn an_odd_document_is_zero_only_where_a_zero_stands(
        document in mangled_json(&DOCUMENTS),
        pointer in prop_oneof![Just("/pending/operations".to_owned()), "(/[a-z0-9~-]{0,5}){0,4}", ".{0,12}"],
    ) {
        let read = json_pointer(&document, &pointer);

        prop_assert!(document.contains('0') || read != Pending::Count(0), "{document}");
    }
}

/// A server that answers with what it is given, and closes.
struct Odd {
    server: Canned,
    reply: Arc<Mutex<String>>,
}

impl Odd {
    async fn start() -> Self {
        let reply = Arc::new(Mutex::new(String::new()));
        let given = Arc::clone(&reply);
        let server =
            Canned::start(move |_| Reply::Bytes(given.lock().expect("not poisoned").clone())).await;
        Self { server, reply }
    }

    fn say(&self, bytes: &[u8]) {
        *self.reply.lock().expect("not poisoned") = String::from_utf8_lossy(bytes).into_owned();
    }

    fn say_json(&self, status: u16, body: &str) {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} S\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        self.say(format!("{head}{body}").as_bytes());
    }
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

fn status() -> impl Strategy<Value = u16> {
    prop_oneof![4 => Just(200_u16), 1 => proptest::sample::select(vec![400, 403, 404, 409, 422, 500, 503])]
}

#[test]
fn whatever_a_marathon_answers_is_understood_or_refused() {
    let runtime = runtime();
    let (odd, marathon) = runtime.block_on(async {
        let odd = Odd::start().await;
        let marathon = Marathon::connect(&odd.server.url).expect("an address");
        (odd, marathon)
    });
    let outcome =
        TestRunner::new(config()).run(&(status(), mangled_json(&APPS)), |(status, body)| {
            odd.say_json(status, &body);
            runtime.block_on(async {
                let known = marathon.observe(&[RevisionId::from("/oinker")]).await;
                for error in [known.err(), marathon.find().await.err()]
                    .into_iter()
                    .flatten()
                {
                    assert!(!error.to_string().is_empty());
                }
            });
            Ok(())
        });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn whatever_a_proxy_answers_is_understood_or_refused() {
    let runtime = runtime();
    let (odd, proxy) = runtime.block_on(async {
        let odd = Odd::start().await;
        let proxy = Builtin::connect(&odd.server.url).expect("an address");
        (odd, proxy)
    });
    let outcome =
        TestRunner::new(config()).run(&(status(), mangled_json(&POOLS)), |(status, body)| {
            odd.say_json(status, &body);
            let seen = runtime.block_on(proxy.observe(&[PoolId::from("p")]));
            if let Ok([pool]) = seen.as_deref() {
                assert_eq!(pool.id.as_str(), "p");
            }
            Ok(())
        });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_gauge_behind_a_mangled_answer_is_zero_only_where_a_zero_stands() {
    let runtime = runtime();
    let odd = runtime.block_on(Odd::start());
    let source = PendingSource::Prometheus {
        path: "/metrics".to_owned(),
        gauge: "pending".to_owned(),
        port_index: 0,
    };
    let outcome = TestRunner::new(config()).run(&mangled(&ANSWERS), |bytes| {
        odd.say(&bytes);
        let addresses = [Address(odd.server.authority.clone())].into();
        let read = runtime.block_on(probe(&source, &addresses, Duration::from_secs(10)));
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            text.contains("pending 0") || read != Pending::Count(0),
            "{text}"
        );
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
