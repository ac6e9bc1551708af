//! What a load consists of.

use std::time::Duration;

use anyhow::{bail, ensure};

/// What a load consists of. Everything runs at the same time.
#[derive(Debug, Clone)]
pub(crate) struct LoadSettings {
    /// The host and port to connect to.
    pub(crate) target: String,
    /// What plain requests ask for, in turn by chance.
    pub(crate) paths: Vec<String>,
    /// Connections for plain requests; each is kept alive and carries one request at a time.
    pub(crate) connections: usize,
    /// Plain requests per second, over all connections, whether or not answers come. A request
    /// that finds every connection busy starts late; its latency counts from when it was due.
    /// None: each connection asks again `think` after an answer.
    pub(crate) rate: Option<f64>,
    /// About how long a connection rests after an answer when there is no rate.
    pub(crate) think: Duration,
    /// The fraction of plain requests that post an oink, from 0 to 1.
    pub(crate) post_share: f64,
    /// How many WebSockets are open.
    pub(crate) sockets: usize,
    /// How long each WebSocket is held open before it is closed and a next one opened.
    pub(crate) socket_hold: Duration,
    /// How many slow answers are under way.
    pub(crate) slow: usize,
    /// How long a slow answer takes.
    pub(crate) slow_ms: u64,
    /// How many feeds of server-sent events are followed.
    pub(crate) feeds: usize,
    /// How long a feed lasts.
    pub(crate) feed_ms: u64,
    /// How long an exchange may take beyond its known length.
    pub(crate) timeout: Duration,
    /// What chance begins with: the same seed makes the same choices.
    pub(crate) seed: u64,
}

impl LoadSettings {
    /// Returns four connections of plain requests against `url`, which is `host:port` or
    /// `http://host:port/path`.
    ///
    /// # Errors
    ///
    /// When that is not what it looks like.
    pub(crate) fn against(url: &str) -> anyhow::Result<Self> {
        if url.starts_with("https://") {
            bail!("{url} asks for TLS, which the load does not speak\nhint: use an http:// URL");
        }
        let rest = url.strip_prefix("http://").unwrap_or(url);
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
        ensure!(
            !host.is_empty() && port.parse::<u16>().is_ok(),
            "{url} is no place to send requests to\nhint: write host:port or \
             http://host:port/path"
        );
        let path = if path.is_empty() { "/revision" } else { path };
        Ok(Self {
            target: format!("{host}:{port}"),
            paths: vec![path.to_owned()],
            connections: 4,
            rate: None,
            think: Duration::from_millis(5),
            post_share: 0.0,
            sockets: 0,
            socket_hold: Duration::from_secs(10),
            slow: 0,
            slow_ms: 5_000,
            feeds: 0,
            feed_ms: 5_000,
            timeout: Duration::from_secs(30),
            seed: 1,
        })
    }

    /// Returns how long the longest exchange of this load may take. A WebSocket is bounded step by
    /// step (opening, one echo, closing) and its hold ends with the load.
    pub(super) fn exchange_limit_max(&self) -> Duration {
        let known = Duration::from_millis(self.slow_ms.max(self.feed_ms));
        (self.timeout + known).max(self.timeout * 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_host_and_port_or_an_http_url() {
        let cases = [
            ("127.0.0.1:80", "127.0.0.1:80", "/revision"),
            ("localhost", "localhost:80", "/revision"),
            ("http://localhost:8080", "localhost:8080", "/revision"),
            ("http://localhost:8080/", "localhost:8080", "/"),
            ("http://[::1]:8080/a?b=c", "[::1]:8080", "/a?b=c"),
        ];

        for (url, target, path) in cases {
            let settings = LoadSettings::against(url).expect(url);
            assert_eq!(
                (settings.target.as_str(), settings.paths[0].as_str()),
                (target, path)
            );
        }
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for url in [
            "",
            "https://localhost",
            "localhost:http",
            "http://:80",
            ":80",
        ] {
            assert!(LoadSettings::against(url).is_err(), "{url} was taken");
        }
    }
}
