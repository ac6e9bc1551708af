//! `./bench/run rollback`: how long GREEN still answers after `teal rollback` while BLUE is warm.
//!
//! Requests come at a fixed rate. A round deploys GREEN, starts the command in the middle, and looks which revision
//! answered what, and when.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::Places;
use crate::journal::Journal;
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::peers::in_path;
use crate::process::to_f64;
use crate::site::{Front, Revision, SERVICE, Site};
use crate::statistics::Sample;
use crate::steady::{Course, Steady};
use crate::table::{Table, talk};

/// How long anything in a round may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How long there is traffic before the command. For a second after a change of the pool teal reckons with its coming about
/// once more, and takes nothing out that would leave too few then: a rollback in that second waits for its end.
const WARM_UP: Duration = Duration::from_millis(1500);
/// BLUE's operations last longer than any round: what is to be in the middle stays there.
const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(100);
const INSTANCES: usize = 3;
/// Room for both revisions.
const SLOTS: usize = 8;
const TARGET_EMBEDDED_MS: f64 = 50.0;
const TARGET_HAPROXY_MS: f64 = 200.0;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often each situation is measured
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Requests a second
    #[arg(long, default_value_t = 1500)]
    rate: u32,
}

/// When the command comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Everything is on GREEN, and BLUE is kept warm.
    Baking,
    /// The same, and the process that carried the deployment on was killed.
    Orphaned,
    /// Some of BLUE has been replaced by GREEN, and the next batch is on its way.
    MidRolling,
}

const MOMENTS: [(&str, Moment); 3] = [
    ("BLUE warm", Moment::Baking),
    ("BLUE warm, no deployer", Moment::Orphaned),
    ("mid-rolling", Moment::MidRolling),
];

/// One place and one moment, measured again and again.
struct Case {
    name: String,
    front: Front,
    moment: Moment,
    site: Site,
    figures: Figures,
}

/// All in milliseconds from the moment before the command's process was started.
#[derive(Debug, Default)]
struct Figures {
    /// The last GREEN answer to a request that was sent after that moment.
    last_green: Sample,
    /// The deployer has the command in its journal.
    asked: Sample,
    /// The deployer has written that it will change the pool.
    intended: Sample,
    /// The balancer has answered that change.
    performed: Sample,
    /// The command ended: GREEN is gone.
    ended: Sample,
    answered: u64,
    failed: u64,
    lost: u64,
}

/// What a round gave, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Round {
    last_green: f64,
    asked: f64,
    intended: f64,
    performed: f64,
}

/// Measures.
///
/// # Errors
///
/// If teal is missing, or a deployment does not do what it should.
pub(crate) fn run(places: &Places, args: &Args) -> anyhow::Result<Outcome> {
    let mut machine = Machine::look();
    let mut notes = notes(args);
    let mut cases = Vec::new();
    for (name, front) in [
        ("embedded", Front::Embedded),
        ("HAProxy", Front::Haproxy { slots: SLOTS }),
    ] {
        if front != Front::Embedded && in_path("haproxy").is_none() {
            notes.push("SKIPPED: haproxy: there is no `haproxy` in PATH".to_owned());
            continue;
        }
        for (what, moment) in MOMENTS {
            cases.push(Case::start(
                places,
                &format!("{name}, {what}"),
                front,
                moment,
            )?);
        }
    }
    for round in 0..args.rounds {
        for case in &mut cases {
            case.round(args.rate).with_context(|| case.name.clone())?;
        }
        talk(&format!("round {} of {}", round + 1, args.rounds));
    }
    machine.look_again();
    for case in &mut cases {
        case.figures.lost = case.site.lost_operations();
    }
    let figures: serde_json::Map<String, Value> = cases
        .iter()
        .map(|case| (case.name.clone(), case.figures.json()))
        .collect();
    Ok(Outcome {
        name: "rollback",
        machine,
        versions: vec!["teal (release build)".to_owned()],
        tables: vec![table(&cases)],
        notes,
        figures: Value::Object(figures),
        last_line: last_line(&cases),
    })
}

fn notes(args: &Args) -> Vec<String> {
    vec![
        format!(
            "{INSTANCES} instances of each revision, {} requests a second at fixed moments over kept connections",
            args.rate
        ),
        "the clock starts before the process `teal rollback` does; the last GREEN answer is that of a request sent after \
         that moment"
            .to_owned(),
        "asked, intended and performed are entries of the deployer's journal: it took the command in, wrote down the \
         change of the pool, and the balancer had answered it"
            .to_owned(),
    ]
}

impl Case {
    /// Starts a place with BLUE.
    fn start(places: &Places, name: &str, front: Front, moment: Moment) -> anyhow::Result<Self> {
        let folder = format!("rollback-{}", name.to_lowercase().replace([',', ' '], "-"));
        let site = Site::start(places, &folder, front)?;
        site.deploy(&revision("blue", LONG), &flags(moment))?;
        Ok(Self {
            name: name.to_owned(),
            front,
            moment,
            site,
            figures: Figures::default(),
        })
    }

    /// Deploys GREEN, rolls it back under load, and leaves BLUE as it was.
    fn round(&mut self, rate: u32) -> anyhow::Result<()> {
        let site = &self.site;
        let before = site.deployments();
        let load = Steady::start(site.listen, rate);
        let mut deploy = site.begin(&revision("green", SHORT), &flags(self.moment))?;
        let moment = self.moment;
        site.until(before, "GREEN serves", LIMIT, |journal| {
            is_there(moment, journal)
        })?;
        std::thread::sleep(WARM_UP);
        if moment == Moment::Orphaned {
            deploy.kill()?;
        }
        let command = ["rollback", SERVICE].map(str::to_owned);
        let rollback = site.command(&command)?;
        let began = rollback.began();
        let rolled_back = rollback.completes()?;
        let deployed = deploy.ends()?;
        ensure!(
            moment == Moment::Orphaned || deployed.status.code() == Some(3),
            "teal deploy: {}",
            deployed.status
        );
        let course = load.stop()?;
        let journal = site.journal()?;
        let round = Round::of(&course, &journal, course.clock.us_of(began))
            .context("GREEN did not answer, or the journal lacks the command")?;
        self.figures.push(round, &course, rolled_back.took);
        Ok(())
    }

    const fn target_ms(&self) -> f64 {
        match self.front {
            Front::Embedded => TARGET_EMBEDDED_MS,
            Front::Haproxy { .. } => TARGET_HAPROXY_MS,
        }
    }
}

fn revision(name: &str, operation: Duration) -> Revision {
    Revision {
        name: name.to_owned(),
        instances: INSTANCES,
        start_up: Duration::ZERO,
        operation,
    }
}

fn flags(moment: Moment) -> Vec<String> {
    let own: &[&str] = match moment {
        Moment::Baking | Moment::Orphaned => &["--strategy=switch", "--keep-blue=1h"],
        Moment::MidRolling => &["--strategy=rolling"],
    };
    let all = ["--min-healthy-time=100ms"].iter().chain(own);
    all.map(|&flag| flag.to_owned()).collect()
}

/// Tells whether the moment for the command has come.
fn is_there(moment: Moment, journal: &Journal) -> bool {
    let has_baked = journal
        .of("intended")
        .any(|entry| entry.value["action"]["mark"] == "bake_begun");
    let shifted = journal.of("intended").find(|entry| {
        let admits = &entry.value["action"]["pool"]["admit"];
        entry.action() == "pool change" && admits.as_array().is_some_and(|all| !all.is_empty())
    });
    match moment {
        Moment::Baking | Moment::Orphaned => has_baked,
        Moment::MidRolling => shifted.is_some_and(|shifted| {
            journal
                .of("performed")
                .any(|entry| entry.value["intent"] == shifted.seq)
        }),
    }
}

impl Round {
    fn of(course: &Course, journal: &Journal, began_us: u64) -> Option<Self> {
        let since = |us: u64| to_f64(us.saturating_sub(began_us)) / 1000.0;
        let green = course.requests.iter().filter(|request| {
            request.revision.as_deref() == Some("green") && request.sent_us >= began_us
        });
        let asked = journal.of("asked").next()?;
        let change = journal
            .of("intended")
            .find(|entry| entry.seq > asked.seq && entry.action() == "pool change")?;
        let performed = journal
            .of("performed")
            .find(|entry| entry.value["intent"] == change.seq)?;
        let at = |ms| since(course.clock.us_of_ms(ms));
        Some(Self {
            last_green: since(green.map(|request| request.ended_us).max()?),
            asked: at(asked.at_ms),
            intended: at(change.at_ms),
            performed: at(performed.at_ms),
        })
    }
}

impl Figures {
    fn push(&mut self, round: Round, course: &Course, took: Duration) {
        self.last_green.push(round.last_green);
        self.asked.push(round.asked);
        self.intended.push(round.intended);
        self.performed.push(round.performed);
        self.ended.push(took.as_secs_f64() * 1000.0);
        let failed = course
            .requests
            .iter()
            .filter(|one| one.revision.is_none())
            .count() as u64;
        self.failed += failed;
        self.answered += course.requests.len() as u64 - failed;
    }

    fn json(&self) -> Value {
        json!({
            "last_green_ms": self.last_green.json(),
            "asked_ms": self.asked.json(),
            "intended_ms": self.intended.json(),
            "performed_ms": self.performed.json(),
            "ended_ms": self.ended.json(),
            "answered": self.answered,
            "failed": self.failed,
            "operations_lost": self.lost,
        })
    }
}

fn table(cases: &[Case]) -> Table {
    let mut table = Table::new(
        "teal rollback, ms after the command was started",
        &[
            "balancer, moment",
            "last GREEN answer",
            "asked",
            "intended",
            "performed",
            "command ended",
            "failed",
        ],
    );
    for case in cases {
        let figures = &case.figures;
        table.row([
            case.name.clone(),
            figures.last_green.text(1),
            figures.asked.text(0),
            figures.intended.text(0),
            figures.performed.text(0),
            figures.ended.text(0),
            format!(
                "{} of {}",
                figures.failed,
                figures.failed + figures.answered
            ),
        ]);
    }
    table
}

fn last_line(cases: &[Case]) -> String {
    let parts = cases
        .iter()
        .filter(|case| case.moment == Moment::Baking)
        .map(|case| {
            format!(
                "{} {:.1} ms (target <= {:.0})",
                case.name,
                case.figures.last_green.median(),
                case.target_ms()
            )
        });
    let failed: u64 = cases.iter().map(|case| case.figures.failed).sum();
    format!(
        "rollback, command to last GREEN answer: {}; {failed} requests failed (target 0)",
        parts.collect::<Vec<_>>().join(", ")
    )
}
