//! An orchestrator for one machine that speaks Marathon's REST API, version 2.
//!
//! It starts, watches, probes, kills and restarts processes and containers, and it answers as a Marathon 1.10 with
//! a single agent would: `dcos marathon …`, marathon-python, marathon-lb or `curl` need not know the
//! difference. It runs inside the caller's tokio runtime, which must have its IO and time drivers
//! enabled, and it prints nothing: what a person must know goes to [`Config::on_notice`].
//!
//! ```no_run
//! # async fn run() -> Result<(), teal_engine::StartError> {
//! let engine = teal_engine::Engine::start(teal_engine::Config::new("/var/lib/teal")).await?;
//! let url = format!("http://{}/v2/apps", engine.address());
//! engine.stop().await;
//! # drop(url);
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//! What one machine without Mesos cannot do is refused with a 422 that names the field: secrets,
//! GPUs, other roles and executors, persistent and external volumes, constraints that can never hold,
//! networks of their own for apps without an image. `disk` is kept and shown but not enforced. `cpus`
//! and `mem` of processes are enforced where this process may make control groups, `user` where it
//! runs as root; where it may not, that is said.
//!
//! # What survives
//! Everything: apps and their versions, running deployments, back-offs, failures, health. A change is
//! on the disk before it is answered. An engine that starts on the folder of one that was stopped or
//! killed watches its tasks on; the one thing it cannot learn is the exit status of a process that
//! another one started, which only the parent of a process is told.
//!
//! Whatever restarts the process that the engine is in must leave its other processes alone: under
//! systemd that is `KillMode=process`. After a boot everything is started anew.
//!
//! # What tasks see
//! They get an environment of their own, but they inherit what file descriptors the calling process
//! itself inherited without close-on-exec; Rust's own are not among them.
//!
//! # Where it differs from Marathon on purpose
//! * Until a task's first success its checks are asked every quarter of a second, so that a
//!   start-up is noticed at once; failures still count once per interval only.
//! * Undoing a deployment keeps tasks that already run the old configuration instead of restarting
//!   them.
//! * A rolling restart that nothing else can move lets an unhealthy old instance go.
//! * Requests that a browser sends for a page from elsewhere are refused with 403.
//! * A check of a container with an address of its own asks there, not at the host port, behind which
//!   the container engine accepts connections for whoever does not listen.
//! * A health check that names no port is shown with `portIndex` 0 always, `acceptedResourceRoles` may
//!   hold other roles beside `*`, and a partial update keeps `resourceLimits` and
//!   `executorResources`: Marathon 1.10 would restart or refuse such an app for nothing.
//! * Checks over TLS speak TLS 1.2 and 1.3 only.
//! * Leadership is never given up (405): Marathon would exit. `wipe=true` is refused (400): nothing is
//!   kept or reserved for a task. A task id names that task alone, not whatever runs of its instance.
//! * The queue's entries have no `role` and groups no `enforceRole`: neither says anything on one
//!   machine, and marathon-python 0.13.0, its last release, cannot read them.
//! * A body is read as JSON whatever its `Content-Type` says, and no answer is compressed.
//! * After a kill the rest of a process group keeps its grace period although its leader is gone.
//!
//! # Where to read next
//! `world` decides and `shell` acts; `api` is the HTTP side; `definition`, `health`, `rolling`,
//! `backoff`, `deployment`, `ports` and `environment` are rules without any IO.

mod api;
mod backoff;
mod check;
mod definition;
mod deployment;
mod docker;
mod environment;
mod events;
mod fetch;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod fuzz;
mod groups;
mod health;
mod identity;
mod issues;
mod logs;
mod metrics;
mod model;
mod ports;
mod probe;
mod readiness;
mod refusal;
mod rolling;
mod run;
mod shell;
mod state;
mod time;
mod world;

mod engine;

pub use api::{Tls, Token, TokenError};
pub use engine::{Config, CpuLimit, Engine, Notice, StartError};
