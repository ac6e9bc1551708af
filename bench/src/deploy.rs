//! `./bench/run deploy`: how long deployments take, against what they cannot be shorter than.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::Places;
use crate::ask::{ask, free_address, until_ok};
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::process::Process;
use crate::service;
use crate::site::{Front, Revision, Site};
use crate::statistics::Sample;
use crate::table::{Table, talk};
use account::{Account, Asked, Delay, ms};

mod account;

const STRATEGIES: [&str; 2] = ["rolling", "switch"];
/// The settings' defaults: three samples in a row, 200 ms apart.
const DRAIN_SAMPLES_MS: f64 = 400.0;
/// What teal may cost: this share of what is needed, and so much a batch.
const ALLOWED_SHARE: f64 = 0.05;
const ALLOWED_MS_A_BATCH: f64 = 50.0;
/// Between two requests, which keep every instance at work.
const REQUEST_PAUSE: Duration = Duration::from_millis(4);
const FSYNCS: usize = 51;
const START_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many instances, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "3,10,50")]
    instances: Vec<usize>,
    /// How often each is deployed with each strategy
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long an instance takes until it is healthy, in milliseconds
    #[arg(long, default_value_t = 1000)]
    start_up_ms: u64,
    /// How long it must be healthy before it gets traffic, in milliseconds
    #[arg(long, default_value_t = 2000)]
    min_healthy_time_ms: u64,
    /// How long an operation goes on after its request, in milliseconds
    #[arg(long, default_value_t = 1000)]
    operation_ms: u64,
}

/// The deployments of one size and strategy.
#[derive(Debug)]
struct Series {
    instances: usize,
    strategy: &'static str,
    accounts: Vec<Account>,
}

/// Measures.
///
/// # Errors
///
/// If a deployment is not completed.
pub(crate) fn run(places: &Places, args: &Args) -> anyhow::Result<Outcome> {
    let mut machine = Machine::look();
    let mut all = Vec::new();
    let mut lost = 0;
    let (mut sent, mut failed) = (0, 0);
    for &instances in &args.instances {
        let site = Site::start(places, "deploy", Front::Embedded)?;
        let mut series = STRATEGIES.map(|strategy| Series {
            instances,
            strategy,
            accounts: Vec::new(),
        });
        let trickle = measure(&site, args, &mut series)?;
        sent += trickle.sent.load(Ordering::Relaxed);
        failed += trickle.failed.load(Ordering::Relaxed);
        lost += site.lost_operations();
        all.extend(series);
    }
    machine.look_again();
    let fsync = fsync_ms(places)?;
    let (times, figures) = times(&all);
    Ok(Outcome {
        name: "deploy",
        machine,
        versions: vec![format!("teal {}", env!("CARGO_PKG_VERSION"))],
        tables: vec![times, delays(&all)],
        notes: vec![
            format!(
                "an instance takes {} ms to start up and has to be healthy for {} ms; an operation goes on for {} ms; \
                 three samples of zero are 400 ms apart at least; all else is teal, its engine, and the machine",
                args.start_up_ms, args.min_healthy_time_ms, args.operation_ms
            ),
            "needed, a batch: what a bare loop takes to start as many processes here, start-up, min_healthy_time, the \
             longest drain of those that leave together by the service's own account (the median of them), the samples, \
             the time an instance takes to end. Rolling replaces one instance and then a quarter at a time"
                .to_owned(),
            format!(
                "{sent} requests were sent, {failed} failed; {lost} operations were lost; one fsync of a line takes \
                 {} ms here",
                fsync.text(2)
            ),
        ],
        figures: json!({ "series": figures, "fsync_ms": fsync.json(), "sent": sent, "failed": failed, "lost": lost }),
        last_line: last_line(&all),
    })
}

/// Deploys round by round, each strategy in turn.
fn measure(site: &Site, args: &Args, series: &mut [Series]) -> anyhow::Result<Arc<Trickle>> {
    let revision = |number: usize| Revision {
        name: format!("r{number}"),
        instances: series[0].instances,
        start_up: Duration::from_millis(args.start_up_ms),
        operation: Duration::from_millis(args.operation_ms),
    };
    let settle = format!("--min-healthy-time={}ms", args.min_healthy_time_ms);
    let asked = Asked {
        start_up: 0.0,
        min_healthy_time: ms(args.min_healthy_time_ms),
        drain_samples: DRAIN_SAMPLES_MS,
        batches: 0,
    };
    let revisions: Vec<Revision> = (0..=args.rounds * series.len()).map(revision).collect();
    let mut revisions = revisions.iter();
    if let Some(first) = revisions.next() {
        site.deploy(first, &["--min-healthy-time=0s".to_owned()])?;
    }
    let trickle = Trickling::begin(site);
    for (turn, revision) in revisions.enumerate() {
        let one = &mut series[turn % STRATEGIES.len()];
        let strategy = format!("--strategy={}", one.strategy);
        let flags = [strategy, settle.clone(), "--keep-blue=0s".to_owned()];
        let ran = site.deploy(revision, &flags)?;
        let began = since_1970_ms(ran.began);
        let ended = began + ran.took.as_secs_f64() * 1000.0;
        let lives = service::lives(&site.diary())?;
        let batch = batch(one.instances, one.strategy);
        let asked = Asked {
            start_up: ms(args.start_up_ms) + bare_start_ms(site, batch)?,
            batches: batches(one.instances, batch),
            ..asked
        };
        let account = Account::of(&site.journal()?, &lives, asked, (began, ended));
        talk(&format!(
            "{} instances, {}: {:.2} s, {:.2} s needed",
            one.instances,
            one.strategy,
            account.took / 1000.0,
            account.needed / 1000.0,
        ));
        one.accounts.push(account);
    }
    Ok(trickle.end())
}

/// Returns how many instances are replaced at a time: rolling, a quarter.
fn batch(instances: usize, strategy: &str) -> usize {
    if strategy == "switch" {
        instances
    } else {
        instances.div_ceil(4).max(1)
    }
}

/// Returns how many times they are replaced, one after the other: rolling begins with one instance.
fn batches(instances: usize, batch: usize) -> u32 {
    if batch == instances {
        return 1;
    }
    let rest = instances.saturating_sub(1).div_ceil(batch);
    u32::try_from(rest).unwrap_or(u32::MAX).saturating_add(1)
}

/// Returns how long it takes, without any deployer, to start so many processes of the service, until the last one
/// answers, in milliseconds.
fn bare_start_ms(site: &Site, instances: usize) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut started = Vec::new();
    for _ in 0..instances {
        let address = free_address()?;
        let mut command = Command::new("sh");
        command
            .args(["-c", &site.service_command(&Revision::bare())?])
            .env("PORT0", address.port().to_string());
        started.push((address, Process::start(&mut command, None)?));
    }
    for (address, _) in &started {
        until_ok(*address, "/health", START_LIMIT)?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}

fn since_1970_ms(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64() * 1000.0
}

// ---- what is made of it ------------------------------------------------------------------------

impl Series {
    fn sample(&self, figure: impl Fn(&Account) -> f64) -> Sample {
        self.accounts.iter().map(figure).collect()
    }

    /// Returns what teal cost, as a share of what it may.
    fn of_allowance(&self) -> Sample {
        self.sample(|account| {
            let batches = f64::from(account.batches);
            account.overhead() / (account.needed * ALLOWED_SHARE + batches * ALLOWED_MS_A_BATCH)
        })
    }

    /// Returns how late a step was, over all deployments.
    fn late(&self, delay: Delay) -> Sample {
        let accounts = self.accounts.iter();
        accounts
            .filter_map(|account| account.late.get(&delay))
            .flat_map(Sample::figures)
            .collect()
    }

    fn share(&self) -> Sample {
        self.sample(|account| account.overhead() / account.needed * 100.0)
    }
}

fn times(all: &[Series]) -> (Table, Value) {
    let header = [
        "deployment",
        "batches",
        "took s",
        "needed s",
        "overhead ms",
        "a batch ms",
        "overhead %",
        "of 5 % + 50 ms a batch",
    ];
    let mut table = Table::new("time of a deployment", &header);
    let mut figures = Vec::new();
    for series in all {
        let batches = series.sample(|account| f64::from(account.batches));
        let took = series.sample(|account| account.took / 1000.0);
        let needed = series.sample(|account| account.needed / 1000.0);
        let overhead = series.sample(Account::overhead);
        let a_batch = overhead.ratios(&batches);
        table.row([
            format!("{} instances, {}", series.instances, series.strategy),
            format!("{:.0}", batches.median()),
            took.text(2),
            format!("{:.2}", needed.median()),
            overhead.text(0),
            format!("{:.0}", a_batch.median()),
            format!("{:.1}", series.share().median()),
            series.of_allowance().text(2),
        ]);
        figures.push(json!({
            "instances": series.instances,
            "strategy": series.strategy,
            "batches": batches.median(),
            "took_s": took.json(),
            "needed_s": needed.json(),
            "overhead_ms": overhead.json(),
            "of_allowance": series.of_allowance().json(),
            "late_ms": Delay::ALL
                .map(|delay| (delay.name().to_owned(), series.late(delay).json()))
                .into_iter()
                .collect::<serde_json::Map<_, _>>(),
        }));
    }
    (table, Value::from(figures))
}

fn delays(all: &[Series]) -> Table {
    let header: Vec<&str> = ["deployment"]
        .into_iter()
        .chain(Delay::ALL.map(Delay::name))
        .collect();
    let title =
        "how late each step was, ms (begin and end once, the others for each instance or change)";
    let mut table = Table::new(title, &header);
    for series in all {
        let name = format!("{} instances, {}", series.instances, series.strategy);
        let cells = Delay::ALL.map(|delay| series.late(delay).text(0));
        table.row([name].into_iter().chain(cells));
    }
    table
}

fn last_line(all: &[Series]) -> String {
    let by_ratio = |a: &&Series, b: &&Series| {
        let (a, b) = (a.of_allowance().median(), b.of_allowance().median());
        a.total_cmp(&b)
    };
    let Some(worst) = all.iter().max_by(by_ratio) else {
        return "deploy: nothing was measured".to_owned();
    };
    format!(
        "deploy overhead at worst ({} instances, {}): {:.1} % of what is needed, {:.2} of the 5 % + 50 ms a batch that \
         it may be (target 1.00)",
        worst.instances,
        worst.strategy,
        worst.share().median(),
        worst.of_allowance().median()
    )
}

/// Returns how long it takes until a line is safely on the disk of the state folder.
fn fsync_ms(places: &Places) -> anyhow::Result<Sample> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(places.scratch("fsync")?.join("lines"))?;
    let mut sample = Sample::default();
    for _ in 0..FSYNCS {
        let begun = Instant::now();
        file.write_all(&[b'x'; 120])?;
        file.sync_data()?;
        sample.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(sample)
}

// ---- the requests ------------------------------------------------------------------------------

/// Requests that are sent all the time, and counted.
#[derive(Debug, Default)]
struct Trickle {
    ended: AtomicBool,
    sent: AtomicU64,
    failed: AtomicU64,
}

#[derive(Debug)]
struct Trickling {
    trickle: Arc<Trickle>,
    thread: JoinHandle<()>,
}

impl Trickling {
    fn begin(site: &Site) -> Self {
        let trickle = Arc::new(Trickle::default());
        let (shared, listen) = (Arc::clone(&trickle), site.listen);
        let thread = std::thread::spawn(move || {
            while !shared.ended.load(Ordering::Relaxed) {
                shared.sent.fetch_add(1, Ordering::Relaxed);
                if !matches!(ask(listen, "GET", "/", ""), Ok((200, _))) {
                    shared.failed.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(REQUEST_PAUSE);
            }
        });
        Self { trickle, thread }
    }

    fn end(self) -> Arc<Trickle> {
        self.trickle.ended.store(true, Ordering::Relaxed);
        // A thread that has panicked has been heard.
        self.thread.join().ok();
        self.trickle
    }
}
