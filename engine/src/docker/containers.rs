//! Containers: create, start, look, wait, end, remove.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::connection::{Docker, within};
use super::{DockerError, connection};

/// How long creating and starting may take: the daemon unpacks, mounts and runs hooks in it.
const START_LIMIT: Duration = Duration::from_secs(120);

/// How much longer than its grace period stopping may take.
const STOP_SLACK: Duration = Duration::from_secs(30);

/// What `GET /containers/{id}/json` says, as far as it matters.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspected {
    pub(crate) state: State,
    #[serde(default)]
    network_settings: NetworkSettings,
    #[serde(default)]
    config: Config,
    #[serde(default)]
    host_config: HostConfig,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    labels: Option<BTreeMap<String, String>>,
    tty: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    memory: i64,
}

/// The state of a container.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct State {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`; Podman has
    /// others before the start.
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) running: bool,
    #[serde(default, rename = "OOMKilled")]
    pub(crate) oom_killed: bool,
    #[serde(default)]
    pub(crate) exit_code: i64,
    /// Why it could not be started, or nothing.
    #[serde(default)]
    pub(crate) error: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    networks: Option<BTreeMap<String, Attached>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Attached {
    #[serde(rename = "IPAddress")]
    ip_address: String,
    #[serde(rename = "GlobalIPv6Address")]
    global_ipv6_address: String,
}

impl Inspected {
    /// Returns the container's own IPv4 address: the first that one of its networks gave it.
    pub(crate) fn address_v4(&self) -> Option<Ipv4Addr> {
        self.networks()
            .find_map(|network| network.ip_address.parse().ok())
    }

    /// Returns the container's own IPv6 address.
    pub(crate) fn address_v6(&self) -> Option<Ipv6Addr> {
        self.networks()
            .find_map(|network| network.global_ipv6_address.parse().ok())
    }

    fn networks(&self) -> impl Iterator<Item = &Attached> {
        let networks = self.network_settings.networks.iter();
        networks.flat_map(BTreeMap::values)
    }

    /// Returns the value of a label.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        Some(self.config.labels.as_ref()?.get(name)?.as_str())
    }

    /// Returns whether it has a terminal.
    pub(crate) fn has_tty(&self) -> bool {
        self.config.tty
    }

    /// Returns the most memory that it may use, in bytes; 0 is no limit.
    pub(crate) fn memory_limit(&self) -> i64 {
        self.host_config.memory
    }

    /// Returns whether it has never been started.
    pub(crate) fn is_unstarted(&self) -> bool {
        matches!(
            self.state.status.as_str(),
            "created" | "configured" | "initialized"
        )
    }
}

/// One line of `GET /containers/json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Listed {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Waited {
    status_code: i64,
}

impl Docker {
    /// Creates a container and returns its id.
    pub(crate) async fn create(&self, name: &str, body: &Value) -> Result<String, DockerError> {
        let path = format!("/containers/create?name={}", encoded(name));
        let call = ("create the container", START_LIMIT);
        let answer = self.call(Method::POST, &path, Some(body), call).await?;
        let created: Created = serde_json::from_slice(&answer)
            .map_err(|error| DockerError::Garbled(error.to_string()))?;
        Ok(created.id)
    }

    /// Starts a container; one that runs already keeps running.
    pub(crate) async fn start(&self, id: &str) -> Result<(), DockerError> {
        let path = format!("/containers/{}/start", encoded(id));
        let call = ("start the container", START_LIMIT);
        self.call(Method::POST, &path, None, call).await.map(drop)
    }

    /// Looks at a container, by its id or name.
    pub(crate) async fn inspect(&self, id: &str) -> Result<Inspected, DockerError> {
        let path = format!("/containers/{}/json", encoded(id));
        self.json(Method::GET, &path, None, "describe the container")
            .await
    }

    /// Lists all containers, also ended ones, that carry a label with this value.
    pub(crate) async fn list(&self, label: &str, value: &str) -> Result<Vec<Listed>, DockerError> {
        let filters = json!({ "label": [format!("{label}={value}")] }).to_string();
        let path = format!("/containers/json?all=true&filters={}", encoded(&filters));
        self.json(Method::GET, &path, None, "list its containers")
            .await
    }

    /// Waits for the end of a container, however long that takes, and returns its exit status. One
    /// that has ended already answers at once.
    pub(crate) async fn wait(&self, id: &str) -> Result<i64, DockerError> {
        let path = format!("/containers/{}/wait?condition=not-running", encoded(id));
        let answer = self.open(Method::POST, &path, None).await?;
        let body = http_body_util::BodyExt::collect(answer.into_body()).await;
        let body = body.map_err(|error| DockerError::Garbled(error.to_string()))?;
        let waited: Waited = serde_json::from_slice(&body.to_bytes())
            .map_err(|error| DockerError::Garbled(error.to_string()))?;
        Ok(waited.status_code)
    }

    /// Asks a container to end (SIGTERM to its first process, or the image's own stop signal), and
    /// ends it after the grace period. Returns when it has ended.
    ///
    /// The daemon counts the time, so a container that was told to stop ends in time although this
    /// process may be gone by then.
    pub(crate) async fn stop(&self, id: &str, grace: Duration) -> Result<(), DockerError> {
        let path = format!("/containers/{}/stop?t={}", encoded(id), grace.as_secs());
        let call = ("stop the container", grace + STOP_SLACK);
        self.call(Method::POST, &path, None, call).await.map(drop)
    }

    /// Removes a container with its anonymous volumes; a running one is killed. One that is gone,
    /// or that is being removed already, is what was wanted.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), DockerError> {
        let path = format!("/containers/{}?force=true&v=true", encoded(id));
        let call = ("remove the container", START_LIMIT);
        match self.call(Method::DELETE, &path, None, call).await {
            Ok(_) | Err(DockerError::Conflict(_) | DockerError::Missing(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Opens the follow-up of a container's output from a second on (UNIX time).
    pub(super) async fn open_logs(
        &self,
        id: &str,
        since: i64,
    ) -> Result<hyper::Response<hyper::body::Incoming>, DockerError> {
        let path = format!(
            "/containers/{}/logs?follow=true&stdout=true&stderr=true&timestamps=true&since={since}",
            encoded(id)
        );
        let what = "show the container's output";
        within(
            connection::CALL_LIMIT,
            what,
            self.open(Method::GET, &path, None),
        )
        .await
    }
}

/// Returns a text as one segment or value of a URL.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_one_that_a_network_gave() {
        let inspected = |networks: Value| -> Inspected {
            serde_json::from_value(json!({
                "Id": "a",
                "State": { "Status": "running", "Running": true, "OOMKilled": false, "ExitCode": 0 },
                "NetworkSettings": { "Networks": networks },
            }))
            .expect("an answer")
        };

        let bridge = inspected(json!({ "bridge": { "IPAddress": "172.17.0.2" } }));
        let host = inspected(json!({ "host": { "IPAddress": "" } }));

        assert_eq!(bridge.address_v4(), Some([172, 17, 0, 2].into()));
        assert_eq!(host.address_v4(), None);
        assert_eq!(inspected(Value::Null).address_v4(), None);
    }
}
