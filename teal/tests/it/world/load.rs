//! Traffic on the service while something happens to it, and the proof that none of it was harmed.

use super::World;
use super::command::Running;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

/// What kinds of traffic there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Kept connections with reads and writes only: it ends at once.
    Requests,
    /// Kept connections, WebSockets held, event streams, and slow requests of two seconds.
    Everything,
}

/// Traffic that goes on until it is stopped.
pub(crate) struct Load {
    running: Running,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Traffic {
    document: Value,
}

impl Load {
    pub(super) fn start(world: &World, kind: Kind) -> Self {
        let listen = world.listen();
        let database = world.database().display().to_string();
        let mut arguments = vec!["load", &listen, "--connections", "8", "--rate", "150"];
        arguments.extend(["--posts", "0.3", "--database", &database, "-o", "json"]);
        if kind == Kind::Everything {
            arguments.extend(["--sockets", "3", "--socket-hold", "2s", "--feeds", "2"]);
            arguments.extend(["--feed-time", "1s", "--slow", "3", "--slow-time", "2s"]);
        }
        Self {
            running: world.start(&arguments),
        }
    }

    /// Steady reads and writes at this address, so many a second.
    pub(crate) fn steady(world: &World, listen: &str, rate: u32) -> Self {
        let (rate, database) = (rate.to_string(), world.database().display().to_string());
        let mut arguments = vec!["load", listen, "--connections", "32", "--rate", &rate];
        arguments.extend(["--posts", "0.05", "--database", &database, "-o", "json"]);
        Self {
            running: world.start(&arguments),
        }
    }

    /// Stops it and checks that not one request failed and that every acknowledged oink is stored.
    pub(crate) fn lost_nothing(self) -> Traffic {
        let document = self.stop();
        assert_eq!(
            document["totals"]["failed"], 0,
            "requests failed: {document:#}"
        );
        assert_eq!(
            document["totals"]["closed_while_idle"], 0,
            "connections closed: {document:#}"
        );
        Traffic { document }
    }

    /// Stops it and checks that no request failed outside this time, when nobody could have answered, and that every
    /// acknowledged oink is stored.
    pub(crate) fn lost_nothing_but_between(self, from: SystemTime, until: SystemTime) {
        let document = self.stop();
        let millis = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).expect("after 1970");
            u64::try_from(since.as_millis()).expect("a time")
        };
        let failures = document["totals"]["failures"].as_array().expect("a list");
        for failure in failures {
            let (first, last) = (&failure["first_at_unix_ms"], &failure["last_at_unix_ms"]);
            assert!(
                first.as_u64() >= Some(millis(from)) && last.as_u64() <= Some(millis(until)),
                "failed outside {} to {}: {document:#}",
                millis(from),
                millis(until)
            );
        }
    }

    fn stop(self) -> Value {
        self.running.signal(Signal::SIGINT);
        let ran = self.running.ends();
        let document = ran.json();
        assert_eq!(
            document["lost"], 0,
            "acknowledged oinks are not stored: {document:#}"
        );
        assert!(
            document["totals"]["acknowledged"].as_u64() > Some(0),
            "no traffic: {document:#}"
        );
        document
    }
}

impl Traffic {
    /// Checks that these revisions answered, and no other.
    pub(crate) fn was_answered_by(self, revisions: &[&str]) -> Self {
        let answered = self.document["totals"]["revisions"]
            .as_object()
            .expect("an object");
        let answered: Vec<&str> = answered.keys().map(String::as_str).collect();
        assert_eq!(answered, revisions, "who answered: {:#}", self.document);
        self
    }

    /// Returns how many requests were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.document["totals"]["sent"].as_u64().expect("a count")
    }

    /// Checks that some of every kind of exchange were completed.
    pub(crate) fn was_of_every_kind(self) -> Self {
        for kind in ["slow_completed", "feeds_completed", "sockets_completed"] {
            assert!(
                self.document["totals"][kind].as_u64() > Some(0),
                "{kind}: {:#}",
                self.document
            );
        }
        self
    }
}
