//! What a deployment is measured against, in a process of its own: a simulated Marathon, teal's balancer, and gauges.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use teal_proxy::{Config, Proxy};
use tokio::net::{TcpListener, TcpSocket};

use super::marathon::{Marathon, Pace};
use super::wire::{Counts, Reply, Request, Server, pass_on, serve};

/// How long things take in the simulated cluster; two thousand tasks a second begin or end.
const PACE: Pace = Pace {
    start: Duration::from_millis(100),
    check: Duration::from_millis(100),
    stop: Duration::from_millis(100),
    gap: Duration::from_micros(500),
};
/// How many gauges may be asked at once.
const BACKLOG: u32 = 1024;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the simulated Marathon listens
    #[arg(long)]
    marathon: SocketAddr,
    /// Where the balancer's admin API is counted on its way
    #[arg(long)]
    balancer: SocketAddr,
    /// Where the balancer's admin API listens
    #[arg(long)]
    admin: SocketAddr,
    /// The file in which the balancer keeps its pools
    #[arg(long)]
    state: PathBuf,
    /// What BLUE is
    #[arg(long)]
    blue: String,
    /// How many instances BLUE has
    #[arg(long)]
    instances: usize,
    /// The pool that BLUE is in
    #[arg(long)]
    pool: String,
    /// Where the pool listens
    #[arg(long)]
    listen: SocketAddr,
}

/// Runs it until the process is ended.
///
/// # Errors
///
/// If it cannot start.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let _proxy = Proxy::start(Config {
            state: Some(args.state.clone()),
            ..Config::new(args.admin)
        })
        .await?;
        let gauges = every_address()?;
        let marathon = Marathon::new(PACE, gauges.local_addr()?.port());
        let blue = serde_json::from_str(&args.blue).context("--blue")?;
        let tasks = marathon.grow(&blue, args.instances);
        fill(args, &tasks).await?;
        let counts = [Counts::default(), Counts::default(), Counts::default()];
        let relay = Arc::new(Relay(args.admin));
        let front = Arc::new(Front {
            marathon,
            counts: counts.clone(),
        });
        let [orchestrator, balancer, gauge] = counts;
        let living = Arc::clone(&front);
        let balancer_at = TcpListener::bind(args.balancer).await?;
        let marathon_at = TcpListener::bind(args.marathon).await?;
        tokio::select! {
            served = serve(marathon_at, front, orchestrator) => served?,
            served = serve(balancer_at, relay, balancer) => served?,
            served = serve(gauges, Arc::new(Gauges), gauge) => served?,
            () = living.marathon.live() => {}
        }
        Ok(())
    })
}

/// Listens on every address of the loopback interface.
fn every_address() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind_device(Some(b"lo"))?;
    socket.bind((Ipv4Addr::UNSPECIFIED, 0).into())?;
    socket.listen(BACKLOG)
}

/// Opens the pool with BLUE in it.
async fn fill(args: &Args, tasks: &[(String, String)]) -> anyhow::Result<()> {
    let admit: Vec<Value> = tasks
        .iter()
        .map(|(id, address)| json!({ "instance": id, "address": address }))
        .collect();
    let pool = format!("/v1/pools/{}", args.pool);
    let calls = [
        (
            "PUT",
            pool.clone(),
            json!({ "listen": args.listen, "protocol": "http" }),
        ),
        ("POST", format!("{pool}/change"), json!({ "admit": admit })),
    ];
    for (method, path, body) in calls {
        let request = Request {
            method: method.to_owned(),
            path,
            body: body.to_string().into_bytes(),
            is_last: true,
        };
        let (status, said) = pass_on(args.admin, &request).await?;
        ensure!(
            status < 300,
            "{request:?}: {status}: {}",
            String::from_utf8_lossy(&said)
        );
    }
    Ok(())
}

/// The simulated Marathon, and what was counted.
struct Front {
    marathon: Marathon,
    counts: [Counts; 3],
}

impl Server for Front {
    async fn answer(&self, request: Request) -> (Option<&'static str>, Reply) {
        if request.path != "/counts" {
            return self.marathon.answer(request).await;
        }
        let [orchestrator, balancer, gauges] = &self.counts;
        let counts = json!({
            "orchestrator": orchestrator.json(), "balancer": balancer.json(), "gauges": gauges.json(),
        });
        (None, Reply::Whole(200, counts.to_string().into_bytes()))
    }
}

/// What stands before the balancer's admin API.
struct Relay(SocketAddr);

impl Server for Relay {
    async fn answer(&self, request: Request) -> (Option<&'static str>, Reply) {
        let kind = match request.method.as_str() {
            "GET" => "look",
            "POST" => "change",
            _ => "other",
        };
        let reply = match pass_on(self.0, &request).await {
            Ok((status, body)) => Reply::Whole(status, body),
            Err(error) => Reply::Whole(
                503,
                json!({ "message": error.to_string() })
                    .to_string()
                    .into_bytes(),
            ),
        };
        (Some(kind), reply)
    }
}

/// Every task's gauge: nothing is pending anywhere.
struct Gauges;

impl Server for Gauges {
    async fn answer(&self, _: Request) -> (Option<&'static str>, Reply) {
        let page = "# TYPE pending gauge\npending 0\n";
        (Some("reading"), Reply::Whole(200, page.as_bytes().to_vec()))
    }
}
