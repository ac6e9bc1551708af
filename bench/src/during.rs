//! `./bench/run during`: what clients of a service see before, during and after a deployment.
//!
//! Requests come at a fixed rate. Each way to deploy has a place of its own; a round deploys once in each, one place after
//! the other, with a stretch of the same load in which nothing is deployed.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::Places;
use crate::follower::Follower;
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::peers::in_path;
use crate::process::to_f64;
use crate::site::{Front, Revision, SERVICE, Site};
use crate::statistics::{Sample, percentile};
use crate::steady::{Course, Steady};
use crate::table::{Table, talk};

/// How long there is load before the deployment, and after it.
const BEFORE: Duration = Duration::from_secs(4);
const AFTER: Duration = Duration::from_secs(2);
/// The first requests open connections: they belong to no phase.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long the stretch without a deployment is.
const NOTHING: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);
const INSTANCES: usize = 4;
/// Room for both revisions.
const SLOTS: usize = 10;
const PHASES: [&str; 3] = ["before", "during", "after"];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many deployments there are of each kind
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Requests a second
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// How long an operation goes on after the answer to its request, in milliseconds
    #[arg(long, default_value_t = 4000)]
    operation_ms: u64,
}

/// How a revision is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It is not: what the machine does to latencies by itself.
    Not,
    /// By teal, with these settings.
    Teal(&'static [&'static str]),
    /// By Marathon's own rolling upgrade: `PUT /v2/apps/ID`.
    Marathon,
}

const ROLLING: Way = Way::Teal(&["--strategy=rolling", "--batch=50%"]);
const SWITCH: Way = Way::Teal(&["--strategy=switch", "--keep-blue=0s"]);

/// One way in one place.
struct Case {
    name: &'static str,
    way: Way,
    site: Site,
    follower: Option<Follower>,
    deployments: usize,
    figures: Figures,
}

#[derive(Debug, Default)]
struct Figures {
    phases: [Phase; 3],
    /// p99 during over p99 before, of each round.
    ratios: Sample,
    /// How long each deployment took, in seconds.
    took: Sample,
    lost: u64,
    reloads: usize,
}

#[derive(Debug, Default)]
struct Phase {
    latencies_us: Vec<u64>,
    failed: u64,
}

/// Measures.
///
/// # Errors
///
/// If teal is missing, or a deployment does not complete.
pub(crate) fn run(places: &Places, args: &Args) -> anyhow::Result<Outcome> {
    let mut machine = Machine::look();
    let mut notes = notes(args);
    let mut cases = cases(places, args, &mut notes)?;
    for round in 0..args.rounds {
        for case in &mut cases {
            case.round(args).with_context(|| case.name)?;
            talk(&format!(
                "round {} of {}: {}",
                round + 1,
                args.rounds,
                case.name
            ));
        }
    }
    machine.look_again();
    for case in &mut cases {
        case.figures.lost = case.site.lost_operations();
        case.figures.reloads = case.follower.as_ref().map_or(0, Follower::reloads);
        for phase in &mut case.figures.phases {
            phase.latencies_us.sort_unstable();
        }
    }
    let figures: serde_json::Map<String, Value> = cases
        .iter()
        .map(|case| (case.name.to_owned(), case.figures.json()))
        .collect();
    Ok(Outcome {
        name: "during",
        machine,
        versions: vec!["teal (release build)".to_owned()],
        tables: vec![latency_table(&cases), deployment_table(&cases)],
        notes,
        figures: Value::Object(figures),
        last_line: last_line(&cases),
    })
}

fn notes(args: &Args) -> Vec<String> {
    vec![
        format!(
            "{INSTANCES} instances, {} requests a second at fixed moments over kept connections; latency counts from the \
             moment at which a request was due",
            args.rate
        ),
        format!(
            "every request begins an operation that goes on for {} ms after its answer; an instance that is told to end \
             goes on with its operations for 2.5 s of the 3 s that Marathon gives it, and what is left then is cut off",
            args.operation_ms
        ),
        "`Marathon` is its own rolling upgrade (PUT /v2/apps/ID, default upgradeStrategy) by teal's engine, with a HAProxy \
         whose configuration is written from the healthy tasks every 50 ms, and reloaded, as marathon-lb does it"
            .to_owned(),
    ]
}

fn cases(places: &Places, args: &Args, notes: &mut Vec<String>) -> anyhow::Result<Vec<Case>> {
    let mut all = vec![
        ("no deployment", Way::Not, Front::Embedded),
        ("teal rolling", ROLLING, Front::Embedded),
        ("teal switch", SWITCH, Front::Embedded),
    ];
    if in_path("haproxy").is_some() {
        all.push((
            "teal rolling, HAProxy",
            ROLLING,
            Front::Haproxy { slots: SLOTS },
        ));
        all.push(("Marathon, HAProxy", Way::Marathon, Front::Embedded));
    } else {
        notes.push("SKIPPED: what goes through HAProxy: there is no `haproxy` in PATH".to_owned());
    }
    all.into_iter()
        .map(|(name, way, front)| Case::start(places, args, name, way, front))
        .collect()
}

impl Case {
    fn start(
        places: &Places,
        args: &Args,
        name: &'static str,
        way: Way,
        front: Front,
    ) -> anyhow::Result<Self> {
        let site = Site::start(
            places,
            &format!("during-{}", name.replace([',', ' '], "-")),
            front,
        )?;
        let mut case = Self {
            name,
            way,
            site,
            follower: None,
            deployments: 0,
            figures: Figures::default(),
        };
        if way == Way::Marathon {
            case.follower = Some(Follower::start(&case.site)?);
        }
        case.deploy(args)?;
        Ok(case)
    }

    /// Brings the next revision, and returns when that began and ended.
    fn deploy(&mut self, args: &Args) -> anyhow::Result<(SystemTime, SystemTime)> {
        self.deployments += 1;
        let revision = Revision {
            name: format!("r{}", self.deployments),
            instances: INSTANCES,
            start_up: Duration::from_millis(300),
            operation: Duration::from_millis(args.operation_ms),
        };
        let settle = "--min-healthy-time=500ms";
        let began = SystemTime::now();
        match (self.way, &self.follower) {
            (Way::Not, _) if self.deployments > 1 => std::thread::sleep(NOTHING),
            (Way::Teal(own), _) => {
                let flags: Vec<String> = own
                    .iter()
                    .chain([&settle])
                    .map(|&flag| flag.to_owned())
                    .collect();
                let ran = self.site.deploy(&revision, &flags)?;
                return Ok((ran.began, ran.began + ran.took));
            }
            (Way::Not, _) => {
                self.site.deploy(&revision, &[settle.to_owned()])?;
            }
            (Way::Marathon, Some(follower)) => upgrade(&self.site, follower, &revision)?,
            (Way::Marathon, None) => {}
        }
        Ok((began, SystemTime::now()))
    }

    fn round(&mut self, args: &Args) -> anyhow::Result<()> {
        let address = self
            .follower
            .as_ref()
            .map_or(self.site.listen, |it| it.listen);
        let load = Steady::start(address, args.rate);
        std::thread::sleep(WARM_UP + BEFORE);
        let deployed = self.deploy(args)?;
        std::thread::sleep(AFTER);
        let course = load.stop()?;
        self.figures.push(&course, deployed);
        Ok(())
    }
}

/// Has Marathon replace the app by a revision of it, and waits until it has and everybody knows.
fn upgrade(site: &Site, follower: &Follower, revision: &Revision) -> anyhow::Result<()> {
    let definition = site.definition(revision)?;
    site.ask(
        "PUT",
        &format!("/v2/apps/{SERVICE}?force=false"),
        &definition,
    )?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let under_way = site.ask("GET", "/v2/deployments", &Value::Null)?;
        let is_done = under_way.as_array().is_some_and(Vec::is_empty);
        if is_done && follower.serving() == revision.instances {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "Marathon's upgrade does not end");
        std::thread::sleep(PAUSE);
    }
}

impl Figures {
    fn push(&mut self, course: &Course, (began, ended): (SystemTime, SystemTime)) {
        let (began_us, ended_us) = (course.clock.us_of(began), course.clock.us_of(ended));
        let warm_us = u64::try_from(WARM_UP.as_micros()).unwrap_or(u64::MAX);
        let mut round: [Vec<u64>; 3] = Default::default();
        for request in &course.requests {
            let Some(phase) = phase(request.due_us, warm_us, began_us, ended_us) else {
                continue;
            };
            if request.revision.is_some() {
                round[phase].push(request.latency_us());
            } else {
                self.phases[phase].failed += 1;
            }
        }
        for latencies in &mut round {
            latencies.sort_unstable();
        }
        let p99 = |phase: usize| to_f64(percentile(&round[phase], 0.99));
        self.ratios.push(p99(1) / p99(0));
        self.took.push(to_f64(ended_us - began_us) / 1e6);
        for (all, latencies) in self.phases.iter_mut().zip(round) {
            all.latencies_us.extend(latencies);
        }
    }

    fn failed(&self) -> u64 {
        self.phases.iter().map(|phase| phase.failed).sum()
    }

    fn requests(&self) -> u64 {
        let answered = self
            .phases
            .iter()
            .map(|phase| phase.latencies_us.len() as u64);
        answered.sum::<u64>() + self.failed()
    }

    fn json(&self) -> Value {
        let phases = PHASES.iter().zip(&self.phases);
        let phases: serde_json::Map<String, Value> = phases
            .map(|(&name, phase)| (name.to_owned(), phase.json()))
            .collect();
        json!({
            "phases": phases,
            "p99_during_over_before": self.ratios.json(),
            "deployment_s": self.took.json(),
            "operations_cut_off": self.lost,
            "reloads": self.reloads,
        })
    }
}

/// Returns the phase in which a request was due; None while connections are opened.
const fn phase(due_us: u64, warm_us: u64, began_us: u64, ended_us: u64) -> Option<usize> {
    if due_us < warm_us {
        None
    } else if due_us < began_us {
        Some(0)
    } else if due_us < ended_us {
        Some(1)
    } else {
        Some(2)
    }
}

impl Phase {
    fn at(&self, share: f64) -> f64 {
        to_f64(percentile(&self.latencies_us, share)) / 1000.0
    }

    fn json(&self) -> Value {
        json!({
            "requests": self.latencies_us.len() as u64 + self.failed,
            "failed": self.failed,
            "p50_ms": self.at(0.50),
            "p99_ms": self.at(0.99),
            "p999_ms": self.at(0.999),
            "max_ms": self.at(1.0),
        })
    }
}

fn latency_table(cases: &[Case]) -> Table {
    let mut table = Table::new(
        "latency in ms, from the moment at which a request was due",
        &[
            "way, phase",
            "requests",
            "failed",
            "p50",
            "p99",
            "p99.9",
            "max",
        ],
    );
    for case in cases {
        for (name, phase) in PHASES.iter().zip(&case.figures.phases) {
            let mut cells = vec![
                format!("{}, {name}", case.name),
                (phase.latencies_us.len() as u64 + phase.failed).to_string(),
                phase.failed.to_string(),
            ];
            cells.extend([0.5, 0.99, 0.999, 1.0].map(|share| format!("{:.2}", phase.at(share))));
            table.row(cells);
        }
    }
    table
}

fn deployment_table(cases: &[Case]) -> Table {
    let mut table = Table::new(
        "deployments",
        &[
            "way",
            "s",
            "p99 during/before",
            "requests failed",
            "operations cut off",
            "reloads",
        ],
    );
    for case in cases {
        let figures = &case.figures;
        table.row([
            case.name.to_owned(),
            figures.took.text(1),
            figures.ratios.text(2),
            format!("{} of {}", figures.failed(), figures.requests()),
            figures.lost.to_string(),
            figures.reloads.to_string(),
        ]);
    }
    table
}

fn last_line(cases: &[Case]) -> String {
    let ours = || cases.iter().filter(|case| matches!(case.way, Way::Teal(_)));
    let failed: u64 = ours().map(|case| case.figures.failed()).sum();
    let requests: u64 = ours().map(|case| case.figures.requests()).sum();
    let lost: u64 = ours().map(|case| case.figures.lost).sum();
    let all = cases.iter().filter(|case| case.way != Way::Marathon);
    let ratios: Vec<String> = all
        .map(|case| format!("{} {:.2}", case.name, case.figures.ratios.median()))
        .collect();
    format!(
        "during teal's deployments: {failed} of {requests} requests failed (target 0), {lost} operations cut off (target \
         0); p99 during / before: {}",
        ratios.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_belongs_to_the_phase_in_which_it_was_due() {
        let phase = |due| phase(due, 10, 20, 30);

        assert_eq!(
            [9, 10, 19, 20, 29, 30].map(phase),
            [None, Some(0), Some(0), Some(1), Some(1), Some(2)]
        );
    }
}
