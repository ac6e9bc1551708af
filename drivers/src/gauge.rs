//! The gauges of pending operations: how many things an instance still has to do that no balancer can see.
//!
//! Zero is a permission to stop the instance. So nothing is ever read as zero but a zero that stands on the page;
//! whatever goes wrong is [`Pending::Unknown`] with the reason.

mod amount;
mod page;
mod pointer;
mod prometheus;

pub use pointer::json_pointer;
pub use prometheus::prometheus;

use crate::http::{PlainWire, plain_wire, plain_wire_that_keeps_nothing};
use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use std::collections::BTreeMap;
use std::time::Duration;
use teal_core::definition::PendingSource;
use teal_core::name::{Addresses, InstanceId};
use teal_core::observation::{Pending, PendingSighting};
use teal_core::{Moment, Span};
use tokio::time::Instant;

/// How long one reading may take, connection included.
pub const READING_TIMEOUT: Duration = Duration::from_secs(1);
/// How many gauges are read at once.
pub const READINGS_AT_ONCE: usize = 64;

/// What reads gauges.
#[async_trait]
pub trait Gauges: Send + Sync {
    /// Reads the gauges of these instances, each once. Every instance that was asked about is in the answer.
    async fn read(&self, asked: &[Question]) -> BTreeMap<InstanceId, Reading>;
}

/// An instance whose gauge is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The instance.
    pub instance: InstanceId,
    /// Where its gauge is.
    pub source: PendingSource,
    /// Where it is reached, by port index.
    pub addresses: Addresses,
}

/// What a gauge said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What it said.
    pub pending: Pending,
    /// How long before the end of the call its answer came.
    pub age: Span,
}

impl Reading {
    /// Returns the reading with the moment when the answer came, of a call that ended at `now`.
    #[must_use]
    pub fn at(self, now: Moment) -> PendingSighting {
        PendingSighting {
            at: now - self.age,
            reading: self.pending,
        }
    }
}

/// Reads gauges over HTTP.
#[derive(Debug, Clone)]
pub struct HttpGauges {
    kept: PlainWire,
    /// For more gauges than are read at once: a kept connection to each of ten thousand would take more descriptors than
    /// a process may have, and hundreds of megabytes.
    unkept: PlainWire,
    timeout: Duration,
}

impl Default for HttpGauges {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpGauges {
    /// Returns a reader with connections of its own, which are kept between readings of few gauges.
    #[must_use]
    pub fn new() -> Self {
        Self {
            kept: plain_wire(),
            unkept: plain_wire_that_keeps_nothing(),
            timeout: READING_TIMEOUT,
        }
    }

    /// Returns the reader with another limit for the time that one reading may take.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

#[async_trait]
impl Gauges for HttpGauges {
    async fn read(&self, asked: &[Question]) -> BTreeMap<InstanceId, Reading> {
        let wire = if asked.len() > READINGS_AT_ONCE {
            &self.unkept
        } else {
            &self.kept
        };
        let read = |question| self.answer(wire, question);
        let readings: Vec<_> = asked.iter().map(read).collect();
        let readings: Vec<_> = stream::iter(readings)
            .buffer_unordered(READINGS_AT_ONCE)
            .collect()
            .await;
        let end = Instant::now();
        let aged = |(instance, pending, came): (_, _, Instant)| {
            let age = Span(u64::try_from((end - came).as_millis()).unwrap_or(u64::MAX));
            (instance, Reading { pending, age })
        };
        readings.into_iter().map(aged).collect()
    }
}

impl HttpGauges {
    async fn answer(
        &self,
        wire: &PlainWire,
        question: &Question,
    ) -> (InstanceId, Pending, Instant) {
        let Question {
            source, addresses, ..
        } = question;
        let pending = self.probe_over(wire, source, addresses).await;
        (question.instance.clone(), pending, Instant::now())
    }

    /// Reads one gauge.
    pub async fn probe(&self, source: &PendingSource, addresses: &Addresses) -> Pending {
        self.probe_over(&self.kept, source, addresses).await
    }

    async fn probe_over(
        &self,
        wire: &PlainWire,
        source: &PendingSource,
        addresses: &Addresses,
    ) -> Pending {
        match source {
            PendingSource::None => Pending::NotWatched,
            PendingSource::Prometheus {
                path,
                gauge,
                port_index,
            } => match self.page(wire, addresses, *port_index, path).await {
                Ok(page) => page.prometheus(gauge),
                Err(reason) => Pending::Unknown(reason),
            },
            PendingSource::Pointer {
                path,
                pointer,
                port_index,
            } => match self.page(wire, addresses, *port_index, path).await {
                Ok(page) => page.json_pointer(pointer),
                Err(reason) => Pending::Unknown(reason),
            },
        }
    }

    async fn page(
        &self,
        wire: &PlainWire,
        addresses: &Addresses,
        port_index: usize,
        path: &str,
    ) -> Result<page::Page, String> {
        let Some(address) = addresses.at(port_index) else {
            return Err(format!(
                "the instance has no port of index {port_index} that can be reached from outside"
            ));
        };
        let slash = if path.starts_with('/') { "" } else { "/" };
        let url = format!("http://{address}{slash}{path}");
        match tokio::time::timeout(self.timeout, page::get(wire, &url)).await {
            Ok(page) => page,
            Err(_) => {
                let limit = Span(u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX));
                Err(format!("{url} did not answer within {limit}"))
            }
        }
    }
}

/// Reads one gauge, over a connection of its own.
pub async fn probe(source: &PendingSource, addresses: &Addresses, timeout: Duration) -> Pending {
    HttpGauges::new()
        .with_timeout(timeout)
        .probe(source, addresses)
        .await
}
