//! The demo's app definitions: written to files, so that a person can read what was deployed.

use anyhow::Context;
use serde_json::json;
use std::path::Path;

/// How a revision of the sample service behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oinker {
    Good,
    NeverHealthy,
}

/// Writes the definition of a revision and returns it.
pub(super) fn write(
    folder: &Path,
    revision: &str,
    oinker: Oinker,
    database: &Path,
) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("where is this program?")?;
    let mut labels = json!({
        "TEAL_SERVICE": "oinker",
        "TEAL_PENDING_PATH": "/metrics",
        "TEAL_PENDING_GAUGE": "oinker_pending_operations",
        "TEAL_MIN_HEALTHY_TIME": "1s",
    });
    let mut env = json!({ "OINKER_REVISION": revision, "OINKER_DATABASE": database, "OINKER_COMMIT_DELAY_MS": "250" });
    if oinker == Oinker::NeverHealthy {
        env["OINKER_SICK"] = json!("health");
        labels["TEAL_HEALTHY_DEADLINE"] = json!("8s");
    }
    let body = json!({
        "id": "/oinker",
        "cmd": format!("exec {} oinker", quote(&program.display().to_string())),
        "instances": 3,
        "cpus": 1,
        "mem": 128,
        "ports": [0],
        "env": env,
        "labels": labels,
        "healthChecks": [{
            "protocol": "HTTP", "path": "/health", "portIndex": 0,
            "gracePeriodSeconds": 60, "intervalSeconds": 1, "timeoutSeconds": 5, "maxConsecutiveFailures": 3,
        }],
    });
    let text = serde_json::to_string_pretty(&body)?;
    let path = folder.join(format!("{revision}-oinker.json"));
    std::fs::write(&path, &text).with_context(|| path.display().to_string())?;
    Ok(text)
}

/// Quotes a word for sh (POSIX Shell Command Language, 2.2.2).
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
