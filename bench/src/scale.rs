//! `./bench/run scale`: what a deployment costs the deployer, from 100 instances to 10,000.
//!
//! `teal deploy` runs as users run it, in a process that is measured alone; the cluster is another one ([`world`]). What
//! grows with the instances squared shows as a growth exponent of 2, what is linear as 1. How long a decision takes is
//! told by [`dry`], which plays the same deployments on teal's core alone.

mod dry;
mod marathon;
pub(crate) mod measured;
mod wire;
pub(crate) mod world;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Map, Value, json};

use crate::Places;
use crate::ask::{ask, free_address, until_ok};
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::process::{Process, to_f64};
use crate::statistics::{Sample, growth};
use crate::table::{Table, talk};

const SIZES: [usize; 5] = [100, 300, 1000, 3000, 10_000];
const READY_LIMIT: Duration = Duration::from_secs(30);
const SERVICE: &str = "scale";
/// Of a whole deployment.
const PEAK_TARGET_MB: f64 = 100.0;
const DECISION_TARGET_MS: f64 = 5.0;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many instances are replaced, separated by commas
    #[arg(long, value_delimiter = ',', default_values_t = SIZES)]
    sizes: Vec<usize>,
    /// How often each deployment is measured
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// The cases that are measured, separated by commas [default: all]
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// A way to deploy.
#[derive(Debug)]
struct Case {
    name: &'static str,
    what: &'static str,
    settings: &'static [(&'static str, &'static str)],
    gauge: bool,
    /// More instances are not measured: it takes too long, and is not linear by nature.
    most: usize,
}

const CASES: [Case; 4] = [
    Case {
        name: "rolling",
        what: "rolling, batches of 10 %, no gauge",
        settings: &[
            ("initial", "10%"),
            ("batch", "10%"),
            ("min_healthy_time", "500ms"),
        ],
        gauge: false,
        most: usize::MAX,
    },
    Case {
        name: "gauge",
        what: "rolling, batches of 10 %, a gauge in every instance",
        settings: &[
            ("initial", "10%"),
            ("batch", "10%"),
            ("min_healthy_time", "500ms"),
        ],
        gauge: true,
        most: usize::MAX,
    },
    Case {
        name: "switch",
        what: "switch, a gauge in every instance, BLUE warm for 1 s",
        settings: &[
            ("strategy", "switch"),
            ("keep_blue", "1s"),
            ("min_healthy_time", "500ms"),
        ],
        gauge: true,
        most: usize::MAX,
    },
    Case {
        name: "hundreds",
        what: "rolling, batches of 100: as many looks more as there are batches more",
        settings: &[
            ("initial", "100"),
            ("batch", "100"),
            ("min_healthy_time", "500ms"),
        ],
        gauge: false,
        most: 3000,
    },
];

/// What is told of a deployment: a name, its place in the figures, what it is divided by, and its decimals.
const COLUMNS: [(&str, &str, f64, usize); 13] = [
    ("calls", "/counts/orchestrator/all", 1.0, 0),
    ("MB", "/counts/orchestrator/sent_bytes", 1e6, 1),
    ("events", "/counts/orchestrator/events", 1.0, 0),
    ("looks", "/counts/balancer/calls/look", 1.0, 0),
    ("balancer MB", "/counts/balancer/sent_bytes", 1e6, 1),
    ("gauges read", "/counts/gauges/all", 1.0, 0),
    ("CPU ms", "/cpu_ms", 1.0, 0),
    ("user", "/user_ms", 1.0, 0),
    ("sys", "/system_ms", 1.0, 0),
    ("peak MB", "/peak_mb", 1.0, 1),
    ("journal MB", "/journal_bytes", 1e6, 2),
    ("seconds", "/seconds", 1.0, 1),
    ("CPU ms/look", "/cpu_ms_per_look", 1.0, 2),
];

/// Measures.
///
/// # Errors
///
/// If teal is missing, or a deployment does not complete.
pub(crate) fn run(places: &Places, args: &Args) -> anyhow::Result<Outcome> {
    let mut machine = Machine::look();
    let chosen =
        |case: &&Case| args.only.is_empty() || args.only.iter().any(|name| name == case.name);
    let cases: Vec<&Case> = CASES.iter().filter(chosen).collect();
    ensure!(!cases.is_empty(), "there is no such case");
    let mut tables = Vec::new();
    let mut figures = Map::new();
    let mut worst = Worst::default();
    for case in cases {
        let sizes: Vec<usize> = args
            .sizes
            .iter()
            .copied()
            .filter(|size| *size <= case.most)
            .collect();
        let whole = deployments(places, case, &sizes, args.rounds)?;
        let steps = steps(case, &sizes)?;
        if case.most == usize::MAX {
            worst.add(&whole, &steps);
        }
        tables.push(whole.table(case, &sizes));
        tables.push(steps_table(case, &sizes, &steps));
        figures.insert(
            case.name.to_owned(),
            json!({ "deployments": whole.json(), "steps": steps }),
        );
    }
    machine.look_again();
    Ok(Outcome {
        name: "scale",
        machine,
        versions: vec![version(&places.teal)?],
        tables,
        notes: notes(),
        figures: Value::Object(figures),
        last_line: worst.line(args.sizes.iter().max().copied().unwrap_or(0)),
    })
}

fn notes() -> Vec<String> {
    [
        "growth is the slope of the logarithms: 1 is linear, 2 is quadratic; over all sizes, and from the last but one \
         to the last",
        "CPU, peak memory and sleeps are those of the process of `teal deploy`, as the system counts them when it ends \
         (getrusage); the cluster, the balancer and the gauges are in another process",
        "bytes are what the deployer was sent, heads included, without events",
        "the cluster: 2000 tasks a second start or stop, each at an address of its own, each with three changes that \
         are told by two events each; a start takes 0.2 s, a stop 0.1 s",
        "steps are timed by processor time, in the same deployment played on teal-core alone: absorb joins a look with \
         what was known, decide decides on it, picture sums it up for the report, fold takes a journal entry",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn version(teal: &Path) -> anyhow::Result<String> {
    let told = Command::new(teal).arg("--version").output();
    let told = told.with_context(|| teal.display().to_string())?;
    Ok(String::from_utf8_lossy(&told.stdout).trim().to_owned())
}

// ---- whole deployments -------------------------------------------------------------------------

/// The samples of every column, by size.
#[derive(Debug)]
struct Whole {
    sizes: Vec<usize>,
    columns: Vec<Vec<Sample>>,
    raw: Vec<Value>,
}

fn deployments(
    places: &Places,
    case: &Case,
    sizes: &[usize],
    rounds: usize,
) -> anyhow::Result<Whole> {
    let mut whole = Whole {
        sizes: sizes.to_vec(),
        columns: vec![vec![Sample::default(); COLUMNS.len()]; sizes.len()],
        raw: Vec::new(),
    };
    for round in 0..rounds {
        for (row, size) in whole.columns.iter_mut().zip(sizes) {
            let figures =
                deploy(places, case, *size).with_context(|| format!("{} of {size}", case.name))?;
            for (sample, (_, place, ..)) in row.iter_mut().zip(COLUMNS) {
                sample.push(
                    figures
                        .pointer(place)
                        .and_then(Value::as_f64)
                        .unwrap_or(0.0),
                );
            }
            talk(&format!(
                "{} of {size}, round {} of {rounds}",
                case.name,
                round + 1
            ));
            whole.raw.push(figures);
        }
    }
    Ok(whole)
}

impl Whole {
    fn table(&self, case: &Case, sizes: &[usize]) -> Table {
        let mut header = vec!["instances"];
        header.extend(COLUMNS.map(|(name, ..)| name));
        let mut table = Table::new(case.what, &header);
        for (size, row) in sizes.iter().zip(&self.columns) {
            let cells = row
                .iter()
                .zip(COLUMNS)
                .map(|(sample, (_, _, unit, decimals))| {
                    format!("{:.decimals$}", sample.median() / unit)
                });
            table.row(std::iter::once(size.to_string()).chain(cells));
        }
        let growths = (0..COLUMNS.len()).map(|column| {
            let all = growth(&self.points(column));
            let last = self
                .points(column)
                .split_off(self.sizes.len().saturating_sub(2));
            format!("{all:.2}, {:.2}", growth(&last))
        });
        table.row(std::iter::once("growth".to_owned()).chain(growths));
        table
    }

    fn points(&self, column: usize) -> Vec<(f64, f64)> {
        let medians = self.columns.iter().map(|row| row[column].median());
        self.sizes
            .iter()
            .map(|size| to_f64(*size as u64))
            .zip(medians)
            .collect()
    }

    fn column(&self, name: &str) -> Vec<(f64, f64)> {
        let column = COLUMNS.iter().position(|(column, ..)| *column == name);
        column.map_or_else(Vec::new, |column| self.points(column))
    }

    fn json(&self) -> Value {
        json!(self.raw)
    }
}

/// Deploys once against a cluster of this size, and returns every figure.
fn deploy(places: &Places, case: &Case, size: usize) -> anyhow::Result<Value> {
    let folder = places.scratch(&format!("scale-{}-{size}", case.name))?;
    let listen = free_address()?;
    let site = Site::start(&folder, size, listen, case)?;
    let definition = folder.join("green.json");
    std::fs::write(&definition, app("green", size, listen, case).to_string())?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("measured")
        .arg("--log")
        .arg(folder.join("log"))
        .arg("--")
        .arg(&places.teal)
        .arg("deploy")
        .arg(&definition)
        .arg(format!("--marathon=http://{}", site.marathon))
        .arg(format!("--balancer=http://{}", site.balancer))
        .arg("--state-dir")
        .arg(folder.join("state"))
        .current_dir(&folder)
        .stderr(Stdio::inherit());
    for (name, value) in case.settings {
        command.arg(format!("--{}={value}", name.replace('_', "-")));
    }
    let measured = command.output()?;
    let mut figures: Value =
        serde_json::from_slice(&measured.stdout).context("what was measured")?;
    let log = folder.join("log");
    ensure!(
        figures["ok"] == true,
        "teal deploy failed: {}",
        log.display()
    );
    let (_, counts) = ask(site.marathon, "GET", "/counts", "")?;
    figures["counts"] = serde_json::from_str(&counts)?;
    figures["instances"] = json!(size);
    figures["journal_bytes"] = json!(journal_bytes(&folder.join("state"))?);
    derive(&mut figures);
    Ok(figures)
}

fn derive(figures: &mut Value) {
    let number = |place: &str| {
        figures
            .pointer(place)
            .and_then(Value::as_f64)
            .unwrap_or(0.0)
    };
    let cpu_ms = number("/user_ms") + number("/system_ms");
    let peak_mb = number("/peak_kib") * 1024.0 / 1e6;
    let per_look = cpu_ms / number("/counts/balancer/calls/look").max(1.0);
    figures["cpu_ms"] = json!(cpu_ms);
    figures["peak_mb"] = json!(peak_mb);
    figures["cpu_ms_per_look"] = json!(per_look);
}

/// The cluster that runs beside.
struct Site {
    marathon: SocketAddr,
    balancer: SocketAddr,
    _process: Process,
}

impl Site {
    fn start(folder: &Path, size: usize, listen: SocketAddr, case: &Case) -> anyhow::Result<Self> {
        let (marathon, balancer) = (free_address()?, free_address()?);
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("world")
            .arg(format!("--marathon={marathon}"))
            .arg(format!("--balancer={balancer}"))
            .arg(format!("--admin={}", free_address()?))
            .arg(format!("--listen={listen}"))
            .arg(format!("--pool={SERVICE}"))
            .arg(format!("--instances={size}"))
            .arg(format!("--blue={}", app("blue", size, listen, case)))
            .arg("--state")
            .arg(folder.join("balancer.json"))
            .current_dir(folder);
        let process = Process::start(&mut command, None)?;
        until_ok(marathon, "/counts", READY_LIMIT)?;
        Ok(Self {
            marathon,
            balancer,
            _process: process,
        })
    }
}

/// Returns a definition with what is usual in one.
fn app(colour: &str, size: usize, listen: SocketAddr, case: &Case) -> Value {
    let mut app = json!({
        "id": format!("/{SERVICE}-{colour}"), "cmd": "exec ./serve --port $PORT0", "cpus": 0.1, "mem": 64,
        "instances": size,
        "portDefinitions": [{ "port": 0, "protocol": "tcp", "name": "http" }],
        "healthChecks": [{ "protocol": "MESOS_HTTP", "path": "/health", "portIndex": 0, "intervalSeconds": 1 }],
        "labels": { "TEAL_SERVICE": SERVICE, "TEAL_LISTEN": listen.to_string() },
    });
    let labels = &mut app["labels"];
    if case.gauge {
        labels["TEAL_PENDING_PATH"] = json!("/metrics");
        labels["TEAL_PENDING_GAUGE"] = json!("pending");
    } else {
        labels["TEAL_PENDING"] = json!("none");
    }
    app
}

fn journal_bytes(state: &Path) -> anyhow::Result<u64> {
    let folder = state.join("deployments");
    let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let files = entries.flatten().map(|entry| entry.path());
    let journals =
        files.filter(|path: &PathBuf| path.extension().is_some_and(|ending| ending == "journal"));
    Ok(journals
        .map(|path| path.metadata().map_or(0, |file| file.len()))
        .sum())
}

// ---- steps -------------------------------------------------------------------------------------

fn steps(case: &Case, sizes: &[usize]) -> anyhow::Result<Vec<Value>> {
    let step = |size: &usize| {
        let mut costs = dry::run(case, *size)?.json();
        costs["instances"] = json!(size);
        Ok(costs)
    };
    sizes.iter().map(step).collect()
}

const STEPS: [&str; 4] = ["absorb", "decide", "picture", "fold"];

fn steps_table(case: &Case, sizes: &[usize], steps: &[Value]) -> Table {
    let mut header = vec!["instances".to_owned()];
    header.extend(
        STEPS
            .iter()
            .flat_map(|step| [format!("{step} ms"), "greatest".to_owned()]),
    );
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut table = Table::new(format!("{}: one step", case.name), &header);
    let places = || {
        STEPS
            .iter()
            .flat_map(|step| ["median_us", "greatest_us"].map(|part| (*step, part)))
    };
    let figure =
        |costs: &Value, (step, part): (&str, &str)| costs[step][part].as_f64().unwrap_or(f64::NAN);
    for (size, costs) in sizes.iter().zip(steps) {
        let cells = places().map(|place| format!("{:.3}", figure(costs, place) / 1000.0));
        table.row(std::iter::once(size.to_string()).chain(cells));
    }
    let growths = places().map(|place| {
        let points = sizes
            .iter()
            .zip(steps)
            .map(|(size, costs)| (to_f64(*size as u64), figure(costs, place)));
        format!("{:.2}", growth(&points.collect::<Vec<_>>()))
    });
    table.row(std::iter::once("growth".to_owned()).chain(growths));
    table
}

// ---- the last line -----------------------------------------------------------------------------

/// The worst of all cases whose work is linear by nature.
#[derive(Debug, Default)]
struct Worst {
    growth: f64,
    peak_mb: f64,
    decision_ms: f64,
}

impl Worst {
    fn add(&mut self, whole: &Whole, steps: &[Value]) {
        let greatest =
            |points: &[(f64, f64)]| points.iter().map(|point| point.1).fold(0.0, f64::max);
        self.growth = self.growth.max(growth(&whole.column("CPU ms")));
        self.peak_mb = self.peak_mb.max(greatest(&whole.column("peak MB")));
        let decisions = steps
            .iter()
            .filter_map(|costs| costs["decide"]["greatest_us"].as_f64());
        self.decision_ms = decisions
            .map(|us| us / 1000.0)
            .fold(self.decision_ms, f64::max);
    }

    fn line(&self, size: usize) -> String {
        format!(
            "scale {size} instances: growth exponent of CPU {:.2} (linear: 1), peak {:.0} MB (target < \
             {PEAK_TARGET_MB}), longest decision {:.1} ms (target <= {DECISION_TARGET_MS})",
            self.growth, self.peak_mb, self.decision_ms
        )
    }
}
