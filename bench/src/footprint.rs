//! `./bench/run footprint`: what teal costs while nothing happens, next to other proxies.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::Places;
use crate::ask::{ask, free_address, until_ok};
use crate::backend;
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::peers::{self, Peer, Place, in_path};
use crate::process::{Process, Usage, to_f64};
use crate::statistics::Sample;
use crate::table::{Table, talk};

/// Everything that a start and its requests set off has settled after this time: teal keeps connections for 30 s.
const SETTLE: Duration = Duration::from_secs(40);
const BACKEND_PROCESSOR: usize = 1;
const EMPTY: &str = "teal-up, empty";
const EMPTY_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long idle programs are watched, in seconds
    #[arg(long, default_value_t = 60)]
    idle_s: u64,
    /// How often each program is started
    #[arg(long, default_value_t = 10)]
    starts: usize,
    /// The programs that are measured, separated by commas [default: all that are there]
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// A program that was left alone for a while.
#[derive(Debug)]
struct Idle {
    name: String,
    before: Usage,
    after: Usage,
}

/// Measures.
///
/// # Errors
///
/// If teal is missing, or something does not run.
pub(crate) fn run(places: &Places, args: &Args) -> anyhow::Result<Outcome> {
    let mut machine = Machine::look();
    let (peers, missing) = peers::find(places, &args.only);
    for sentence in &missing {
        talk(sentence);
    }
    let backends = backend::start(BACKEND_PROCESSOR)?;
    let (sizes, size_figures) = sizes(places)?;
    let (starts, start_figures) = starts(places, &peers, backends, args.starts)?;
    let idle = idle(places, &peers, backends, Duration::from_secs(args.idle_s))?;
    let (idle_table, idle_figures) = idle_table(&idle, args.idle_s);
    machine.look_again();
    let versions = peers
        .iter()
        .map(|peer| format!("{} {}", peer.name, peer.version));
    let mut notes = vec![
        "teal up has one pool with two endpoints and one running app without checks, labelled as if teal had deployed \
         it; the others have the same pool. Nothing is pinned, and all are idle at the same time"
            .to_owned(),
        "wake-ups are the times a thread went to sleep by itself (voluntary_ctxt_switches in /proc)".to_owned(),
        "a start is from the process's start, with its configuration or its state in place, to the first answer that \
         came through it; it is asked for every half millisecond"
            .to_owned(),
    ];
    notes.extend(missing);
    Ok(Outcome {
        name: "footprint",
        machine,
        versions: versions.collect(),
        tables: vec![sizes, starts, idle_table],
        notes,
        figures: json!({ "size": size_figures, "start": start_figures, "idle": idle_figures }),
        last_line: last_line(&idle, args.idle_s),
    })
}

fn last_line(idle: &[Idle], idle_s: u64) -> String {
    let named = |name| idle.iter().find(|idle| idle.name == name);
    let (Some(up), Some(empty)) = (named("teal-up"), named(EMPTY)) else {
        return "footprint teal up idle: not measured".to_owned();
    };
    format!(
        "footprint teal up idle: {:.1} MB resident (target < 20), {} wake-ups in {idle_s} s with an app and a pool, \
         {} with nothing (target 0)",
        megabytes(up.after.resident_kib * 1024),
        up.wake_ups(),
        empty.wake_ups()
    )
}

fn megabytes(bytes: u64) -> f64 {
    to_f64(bytes) / 1e6
}

// ---- size --------------------------------------------------------------------------------------

fn sizes(places: &Places) -> anyhow::Result<(Table, Value)> {
    let built = std::fs::metadata(&places.teal)
        .with_context(|| places.teal.display().to_string())?
        .size();
    let stripped = stripped(&places.teal, &places.scratch("strip")?)?;
    let mut table = Table::new("size of the program", &["teal", "MB"]);
    table.row(["as built".to_owned(), format!("{:.1}", megabytes(built))]);
    let text = stripped.map_or("- (there is no `strip`)".to_owned(), |bytes| {
        format!("{:.1}", megabytes(bytes))
    });
    table.row(["stripped".to_owned(), text]);
    Ok((
        table,
        json!({ "built_bytes": built, "stripped_bytes": stripped }),
    ))
}

fn stripped(program: &Path, folder: &Path) -> anyhow::Result<Option<u64>> {
    if in_path("strip").is_none() {
        return Ok(None);
    }
    let copy = folder.join("stripped");
    let status = Command::new("strip")
        .arg("-o")
        .arg(&copy)
        .arg(program)
        .status()?;
    ensure!(status.success(), "strip: {status}");
    Ok(Some(std::fs::metadata(&copy)?.size()))
}

// ---- start -------------------------------------------------------------------------------------

fn starts(
    places: &Places,
    peers: &[Peer],
    backends: [SocketAddr; 2],
    count: usize,
) -> anyhow::Result<(Table, Value)> {
    let mut taken: Vec<(&Peer, Option<peers::Site>, Sample)> = Vec::new();
    for peer in peers {
        let mut first = peer.start(places, backends, &Place::default())?;
        first.process.end();
        taken.push((peer, Some(first.site), Sample::default()));
    }
    for round in 0..count {
        for (peer, site, times) in &mut taken {
            let Some(place) = site.take() else {
                continue;
            };
            let mut running = peer.start_again(place, &Place::default())?;
            times.push(running.started_in.as_secs_f64() * 1000.0);
            running.process.end();
            *site = Some(running.site);
        }
        talk(&format!("start {} of {count}", round + 1));
    }
    let mut table = Table::new("start to the first served request", &["program", "ms"]);
    let mut figures = serde_json::Map::new();
    for (peer, _, times) in taken {
        table.row([peer.name.to_owned(), times.text(1)]);
        figures.insert(peer.name.to_owned(), times.json());
    }
    Ok((table, Value::Object(figures)))
}

// ---- idle --------------------------------------------------------------------------------------

impl Idle {
    const fn wake_ups(&self) -> u64 {
        self.after.sleeps.saturating_sub(self.before.sleeps)
    }

    fn json(&self) -> Value {
        json!({
            "resident_kib": self.after.resident_kib,
            "threads": self.after.threads,
            "wake_ups": self.wake_ups(),
            "cpu_us": self.after.cpu_us - self.before.cpu_us,
        })
    }
}

fn idle(
    places: &Places,
    peers: &[Peer],
    backends: [SocketAddr; 2],
    time: Duration,
) -> anyhow::Result<Vec<Idle>> {
    let mut running: Vec<(String, Process)> = vec![(EMPTY.to_owned(), empty(places)?)];
    for peer in peers {
        let started = peer.start(places, backends, &Place::default())?;
        if peer.name == "teal-up" {
            start_app(started.site.other)?;
        }
        running.push((peer.name.to_owned(), started.process));
    }
    talk(&format!("idle for {} s", (SETTLE + time).as_secs()));
    std::thread::sleep(SETTLE);
    let before: Vec<Usage> = running.iter().map(|(_, process)| process.usage()).collect();
    std::thread::sleep(time);
    let after: Vec<Usage> = running.iter().map(|(_, process)| process.usage()).collect();
    let pairs = before.into_iter().zip(after);
    let named = running.into_iter().zip(pairs);
    Ok(named
        .map(|((name, _process), (before, after))| Idle {
            name,
            before,
            after,
        })
        .collect())
}

/// Starts a `teal up` that has nothing to do.
fn empty(places: &Places) -> anyhow::Result<Process> {
    let folder = places.scratch("teal-up-empty")?;
    let balancer = free_address()?;
    let mut command = Command::new(&places.teal);
    command
        .arg("up")
        .arg(format!("--listen={}", free_address()?))
        .arg(format!("--balancer-listen={balancer}"))
        .arg("--state-dir")
        .arg(folder.join("state"))
        .stderr(std::fs::File::create(folder.join("log"))?);
    let process = Process::start(&mut command, None)?;
    until_ok(balancer, "/ping", EMPTY_LIMIT)?;
    Ok(process)
}

/// Starts an app that does nothing and has no checks, labelled as teal labels what it deploys: then it is kept in line.
fn start_app(engine: SocketAddr) -> anyhow::Result<()> {
    let app = json!({
        "id": "/idle", "cmd": "exec sleep 86400", "cpus": 0.1, "mem": 16, "instances": 1,
        "labels": { "TEAL_DEPLOYMENT": "bench" },
    });
    let (status, said) = ask(engine, "POST", "/v2/apps", &app.to_string())?;
    ensure!(status == 201, "POST /v2/apps: {status}: {said}");
    Ok(())
}

fn idle_table(idle: &[Idle], idle_s: u64) -> (Table, Value) {
    let mut table = Table::new(
        format!("idle for {idle_s} s"),
        &["program", "resident MB", "threads", "wake-ups", "CPU ms"],
    );
    let mut figures = serde_json::Map::new();
    for one in idle {
        table.row([
            one.name.clone(),
            format!("{:.1}", megabytes(one.after.resident_kib * 1024)),
            one.after.threads.to_string(),
            one.wake_ups().to_string(),
            format!("{:.2}", (one.after.cpu_us - one.before.cpu_us) / 1000.0),
        ]);
        figures.insert(one.name.clone(), one.json());
    }
    (table, Value::Object(figures))
}
