//! Every limit of the balancer, by name.
//!
//! There is deliberately no limit on how long an upstream may take to answer or on how long a
//! stream lasts: a request of an hour is as good as one of a millisecond. What is limited is what
//! an idle or hostile peer could hold for nothing.

use std::time::Duration;

/// The largest head (request line or status line, and fields) that is read, in bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The largest number of fields in one head.
pub(crate) const HEADERS_MAX: usize = 100;
/// How much is read at once while a head is expected, in bytes.
pub(crate) const HEAD_READ_BYTES: usize = 16 * 1024;
/// The size of the buffer that each thread reads bodies into, in bytes.
pub(crate) const SCRATCH_BYTES: usize = 128 * 1024;
/// A buffer larger than this is given back when its connection turns idle, in bytes.
pub(crate) const IDLE_BUFFER_BYTES: usize = 4 * 1024;
/// The longest chunk extension that is skipped, in bytes.
pub(crate) const CHUNK_EXTENSION_BYTES_MAX: usize = 1024;
/// The largest trailer section that is skipped, in bytes.
pub(crate) const TRAILER_BYTES_MAX: usize = 16 * 1024;
/// The most empty lines that are skipped before a request line (RFC 9112 section 2.2).
pub(crate) const LEADING_EMPTY_LINES_MAX: usize = 4;
/// The most interim answers (1xx) that one request may get.
pub(crate) const INTERIM_ANSWERS_MAX: usize = 32;

/// A head that has begun must be complete within this time.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// A client connection without a request is closed after this time.
pub(crate) const CLIENT_IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long an idle client connection stays open once its listener is closing, so that a request
/// which is already on its way is still answered (with `Connection: close`).
pub(crate) const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an answer may still come for a client that has closed its sending side. A client that
/// has gone away looks the same, and must not count as in flight for ever.
pub(crate) const HALF_CLOSED_TIMEOUT: Duration = Duration::from_secs(30);
/// How long input is still read and dropped after the last answer, so that the client can read it.
pub(crate) const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// A tunnel with one side closed ends after this time without a byte on the other.
pub(crate) const TUNNEL_HALF_CLOSED_TIMEOUT: Duration = Duration::from_secs(300);

/// Connecting to one endpoint may take this long; then another is tried.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// An upstream connection is kept this long without use.
pub(crate) const UPSTREAM_IDLE_MAX: Duration = Duration::from_secs(30);
/// A request that cannot be sent twice reuses a connection only if its last use is this recent.
pub(crate) const UPSTREAM_RECENT: Duration = Duration::from_secs(1);
/// How often kept upstream connections are looked over while there are any.
pub(crate) const UPSTREAM_SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// The most idle upstream connections kept for one endpoint.
pub(crate) const UPSTREAM_IDLE_COUNT_MAX: usize = 512;
/// An endpoint that refuses a connection is passed over for this long the first time.
pub(crate) const EJECTION_MIN: Duration = Duration::from_millis(100);
/// The time an endpoint is passed over doubles with each refusal up to this.
pub(crate) const EJECTION_MAX: Duration = Duration::from_secs(5);

/// The backlog of every listener, in connections.
pub(crate) const BACKLOG: u32 = 4096;
/// The pause after an accept failed for want of resources (file descriptors, memory).
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A silent peer is probed after this time, so that a vanished one is noticed.
pub(crate) const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// The largest body of an admin request, in bytes.
pub(crate) const ADMIN_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most mistakes in an admin request that are told.
pub(crate) const ADMIN_PROBLEMS_MAX: usize = 100;
/// An admin request must have arrived within this time.
pub(crate) const ADMIN_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest pool name or instance id, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 512;
/// The ports a pool may get when it names none.
pub(crate) const AUTOMATIC_PORTS: std::ops::RangeInclusive<u16> = 10_000..=20_000;
