//! What an engine does while nothing happens: nothing. And that it tells when something does.

use std::time::Duration;

use serde_json::json;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::harness::{Marathon, sleeper};

const PATIENCE: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The test's own timer is far off: it comes down tokio's wheel one level after the other, and there are six.
const OWN_WAKE_UPS: u64 = 7;

/// Counts how often the runtime goes to sleep in a day that takes no time: each time something has woken it up.
async fn wake_ups_in_a_day() -> u64 {
    let sleeps = || Handle::current().metrics().worker_park_count(0);
    tokio::time::pause();
    // By its end everything is over that the last change has set off.
    tokio::time::sleep(DAY).await;
    let before = sleeps();
    tokio::time::sleep(DAY).await;
    let after = sleeps();
    tokio::time::resume();
    after - before
}

#[tokio::test(flavor = "current_thread")]
async fn an_engine_with_nothing_to_do_does_not_wake_up() {
    let marathon = Marathon::start().await;

    let wake_ups = wake_ups_in_a_day().await;

    assert!(wake_ups <= OWN_WAKE_UPS, "{wake_ups}");
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_task_that_says_nothing_and_has_no_checks_does_not_wake_the_engine_up() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/quiet", 1)).await;

    let wake_ups = wake_ups_in_a_day().await;

    assert!(wake_ups <= OWN_WAKE_UPS, "{wake_ups}");
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_only_when_the_engine_tells_sees_a_crashed_task_come_back_and_turn_healthy() {
    let marathon = Marathon::start().await;
    let mut app = sleeper("/a", 1);
    app["healthChecks"] = json!([{
        "protocol": "COMMAND", "command": { "value": "true" }, "delaySeconds": 0,
    }]);
    marathon.run(app).await;
    let crashed = marathon.task_ids("/a").await.remove(0);

    marathon.folder.crash(&crashed);
    let comes_back = async {
        loop {
            marathon.engine.changed().await;
            for task in marathon.tasks("/a").await {
                if task["id"] != crashed && task["healthCheckResults"][0]["alive"] == true {
                    return;
                }
            }
        }
    };

    assert!(timeout(PATIENCE, comes_back).await.is_ok());
    marathon.engine.stop().await;
}
