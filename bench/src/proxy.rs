//! `./bench/run proxy`: what a request costs teal's balancer, next to other proxies.
//!
//! The measure is processor time per request, not requests per second: that depends on the load generator and on the
//! neighbours. Each proxy has one processor and one worker; the service and the load generator have another. Rounds go
//! over all proxies in turn, and ratios are taken within a round.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{bail, ensure};
use serde_json::{Value, json};

use crate::backend::{self, LARGE_BYTES, LARGE_PATH, SMALL_BYTES};
use crate::load::{self, Load, Reuse, Served};
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::peers::{self, Peer, Place, Running, in_path};
use crate::process::{Usage, pin, to_f64};
use crate::statistics::Sample;
use crate::table::{Table, talk};
use crate::traced::{self, Tool};
use crate::{Places, table};

/// The processor of the proxy.
const PROXY_PROCESSOR: usize = 0;
/// The processor of the service and of the load generator.
const LOAD_PROCESSOR: usize = 1;
const TARGET: &str = "target 1.15, wanted 1.00";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often each proxy is measured in each case
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// The proxies that are measured, separated by commas [default: all that are there]
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The cases that are measured, separated by commas [default: all]
    #[arg(long, value_delimiter = ',')]
    cases: Vec<String>,
    /// The percentage of the usual number of requests a round
    #[arg(long, default_value_t = 100)]
    percent: u64,
}

/// What is asked of every proxy.
#[derive(Debug)]
struct Case {
    name: &'static str,
    title: &'static str,
    load: Load,
}

const CASES: [Case; 3] = [
    Case {
        name: "keep-alive",
        title: "H1 keep-alive, 128 B",
        load: Load {
            path: "/",
            body_bytes: SMALL_BYTES,
            connections: 64,
            requests: 20_000,
            reuse: Reuse::KeepAlive,
        },
    },
    Case {
        name: "64k",
        title: "H1 keep-alive, 64 KiB",
        load: Load {
            path: LARGE_PATH,
            body_bytes: LARGE_BYTES,
            connections: 64,
            requests: 6_000,
            reuse: Reuse::KeepAlive,
        },
    },
    Case {
        name: "connect",
        title: "H1, new connection per request, 128 B",
        load: Load {
            path: "/",
            body_bytes: SMALL_BYTES,
            connections: 64,
            requests: 8_000,
            reuse: Reuse::Close,
        },
    },
];

/// The figures of one proxy in one case, round by round.
#[derive(Debug, Default)]
struct Figures {
    cpu_us: Sample,
    user_us: Sample,
    rate: Sample,
    p50_us: Sample,
    p99_us: Sample,
    failed: u64,
    resident_kib: u64,
}

type Measured = BTreeMap<&'static str, Figures>;

/// Measures.
///
/// # Errors
///
/// If teal or both of its peers are missing, or something does not run.
pub(crate) fn run(places: &Places, args: &Args) -> anyhow::Result<Outcome> {
    let mut machine = Machine::look();
    ensure!(args.rounds > 0, "--rounds must be 1 at least");
    let (peers, missing) = peers::find(places, &args.only);
    for sentence in &missing {
        talk(sentence);
    }
    let backends = backend::start(LOAD_PROCESSOR)?;
    pin(LOAD_PROCESSOR)?;
    let cases = chosen(&args.cases)?;
    let mut tables = Vec::new();
    let mut figures = serde_json::Map::new();
    let mut result = None;
    for case in cases {
        let measured = measure(places, case, &peers, backends, args)?;
        tables.push(table_of(case, &peers, &measured));
        if case.name == "keep-alive" {
            result = ratio(&measured);
        }
        figures.insert(case.name.to_owned(), json_of(&peers, &measured));
    }
    let (counted, counts) = count(places, &peers, backends);
    figures.insert("counted".to_owned(), counts);
    tables.push(counted);
    machine.look_again();
    let versions = peers
        .iter()
        .map(|peer| format!("{} {}", peer.name, peer.version));
    Ok(Outcome {
        name: "proxy",
        machine,
        versions: versions.collect(),
        tables,
        notes: notes(args, missing),
        figures: Value::Object(figures),
        last_line: match result {
            Some(ratio) => format!(
                "ratio proxy H1 keep-alive: {ratio:.2} of the better of nginx and HAProxy ({TARGET})"
            ),
            None => "ratio proxy H1 keep-alive: not measured".to_owned(),
        },
    })
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Case>> {
    if let Some(name) = names
        .iter()
        .find(|name| CASES.iter().all(|case| case.name != **name))
    {
        let known = CASES.map(|case| case.name).join(", ");
        bail!("there is no case {name:?}; there are: {known}");
    }
    let wanted = |case: &&Case| names.is_empty() || names.iter().any(|name| name == case.name);
    Ok(CASES.iter().filter(wanted).collect())
}

fn notes(args: &Args, missing: Vec<String>) -> Vec<String> {
    let mut notes = vec![
        format!(
            "median [least-greatest] of {} interleaved rounds; each proxy has processor {PROXY_PROCESSOR} and one \
             worker, service and load generator processor {LOAD_PROCESSOR}; 64 connections, closed loop",
            args.rounds
        ),
        "CPU is what the scheduler counts for all threads of the proxy's processes; user and sys are its parts as \
         sampled; ratios are medians of the ratios within a round"
            .to_owned(),
        "teal-proxy is the balancer alone, teal-up the program as users run it".to_owned(),
    ];
    notes.extend(missing);
    notes
}

// ---- time --------------------------------------------------------------------------------------

fn measure(
    places: &Places,
    case: &Case,
    peers: &[Peer],
    backends: [SocketAddr; 2],
    args: &Args,
) -> anyhow::Result<Measured> {
    let place = Place {
        processor: Some(PROXY_PROCESSOR),
        ..Place::default()
    };
    let load = Load {
        requests: (case.load.requests * args.percent / 100).max(1),
        ..case.load
    };
    let mut running = Vec::new();
    for peer in peers {
        running.push((peer.name, peer.start(places, backends, &place)?));
    }
    for (_, running) in &running {
        let warm_up = Load {
            requests: load.requests / 4,
            ..load
        };
        load::run(running.site.listen, warm_up)?;
    }
    let mut measured = Measured::new();
    for round in 0..args.rounds {
        // Another proxy begins each round, so that none always follows the same one.
        let begin = round % running.len().max(1);
        for (name, running) in running[begin..].iter().chain(&running[..begin]) {
            let figures = measured.entry(name).or_default();
            one_round(running, load, figures)?;
        }
        talk(&format!(
            "{}: round {} of {}",
            case.title,
            round + 1,
            args.rounds
        ));
    }
    Ok(measured)
}

fn one_round(running: &Running, load: Load, figures: &mut Figures) -> anyhow::Result<()> {
    let before = running.process.usage();
    let served = load::run(running.site.listen, load)?;
    let after = running.process.usage();
    figures.add(before, after, &served);
    Ok(())
}

impl Figures {
    fn add(&mut self, before: Usage, after: Usage, served: &Served) {
        let answered = to_f64(served.answered.max(1));
        self.cpu_us.push((after.cpu_us - before.cpu_us) / answered);
        self.user_us
            .push((after.user_us - before.user_us) / answered);
        self.rate.push(answered / served.elapsed.as_secs_f64());
        self.p50_us.push(to_f64(served.p50_us));
        self.p99_us.push(to_f64(served.p99_us));
        self.failed += served.failed;
        self.resident_kib = after.resident_kib;
    }

    fn json(&self) -> Value {
        json!({
            "cpu_us": self.cpu_us.json(),
            "user_us": self.user_us.json(),
            "requests_per_second": self.rate.json(),
            "p50_us": self.p50_us.json(),
            "p99_us": self.p99_us.json(),
            "failed": self.failed,
            "resident_kib": self.resident_kib,
        })
    }
}

/// Returns how teal compares with the better of the two, if it and at least one of them were measured.
fn ratio(measured: &Measured) -> Option<f64> {
    let teal = measured
        .get("teal-up")
        .or_else(|| measured.get("teal-proxy"))?;
    let others = ["nginx", "haproxy"]
        .iter()
        .filter_map(|name| measured.get(name));
    others
        .map(|other| teal.cpu_us.ratios(&other.cpu_us).median())
        .max_by(f64::total_cmp)
}

fn table_of(case: &Case, peers: &[Peer], measured: &Measured) -> table::Table {
    let mut table = Table::new(
        case.title,
        &[
            "proxy",
            "CPU µs/request",
            "user",
            "sys",
            "of nginx",
            "of haproxy",
            "requests/s",
            "p50 µs",
            "p99 µs",
            "failed",
            "MiB",
        ],
    );
    for peer in peers {
        let Some(figures) = measured.get(peer.name) else {
            continue;
        };
        let (cpu, user) = (figures.cpu_us.median(), figures.user_us.median());
        let of = |name: &str| match measured.get(name) {
            Some(other) => format!("{:.2}", figures.cpu_us.ratios(&other.cpu_us).median()),
            None => "-".to_owned(),
        };
        table.row([
            peer.name.to_owned(),
            figures.cpu_us.text(1),
            format!("{user:.1}"),
            format!("{:.1}", cpu - user),
            of("nginx"),
            of("haproxy"),
            format!("{:.0}", figures.rate.median()),
            format!("{:.0}", figures.p50_us.median()),
            format!("{:.0}", figures.p99_us.median()),
            figures.failed.to_string(),
            format!("{:.1}", to_f64(figures.resident_kib) / 1024.0),
        ]);
    }
    table
}

fn json_of(peers: &[Peer], measured: &Measured) -> Value {
    let named = peers.iter().filter_map(|peer| {
        let figures = measured.get(peer.name)?;
        Some((peer.name.to_owned(), figures.json()))
    });
    Value::Object(named.collect())
}

// ---- counts ------------------------------------------------------------------------------------

/// Counts what the first case costs, with every tool that is there.
fn count(places: &Places, peers: &[Peer], backends: [SocketAddr; 2]) -> (Table, Value) {
    let load = CASES[0].load;
    let title = format!("{}: counted, not timed", CASES[0].title);
    let mut table = Table::new(
        title,
        &["proxy", "user instructions/request", "system calls/request"],
    );
    let mut all = serde_json::Map::new();
    for peer in peers.iter().filter(|peer| peer.is_traceable()) {
        let counts = [Tool::Callgrind, Tool::Strace].map(|tool| {
            if in_path(tool.program()).is_none() {
                talk(&format!(
                    "SKIPPED: there is no `{}` in PATH",
                    tool.program()
                ));
                return None;
            }
            talk(&format!("{} under {}", peer.name, tool.program()));
            let counted = traced::per_request(places, peer, tool, backends, PROXY_PROCESSOR, load);
            counted
                .inspect_err(|error| talk(&format!("SKIPPED: {}: {error:#}", peer.name)))
                .ok()
        });
        let [instructions, calls] = counts;
        table.row([
            peer.name.to_owned(),
            instructions.map_or("-".to_owned(), |count| format!("{count:.0}")),
            calls.map_or("-".to_owned(), |count| format!("{count:.2}")),
        ]);
        let value = json!({ "user_instructions": instructions, "system_calls": calls });
        all.insert(peer.name.to_owned(), value);
    }
    (table, Value::Object(all))
}
