//! Which seeds are played, on all processors at once, and what is said of them.

use super::Run;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use teal_core::journal::Outcome;

/// How many broken runs are told.
const TOLD: usize = 20;

/// Plays the seeds that the environment asks for, `count` of them unless it says otherwise, and fails when a promise
/// was broken. `name` is what `cargo test` calls this world; a run that is `told` has a story.
pub(super) fn play(name: &str, count: u64, silent: fn(u64) -> Run, told: fn(u64) -> Run) {
    if let Some(seed) = number("TEAL_SEED") {
        let run = told(seed);
        println!("{}", run.story.join("\n"));
        assert_eq!(run.breaches, Vec::<String>::new(), "seed {seed}");
        return;
    }
    let count = number("TEAL_SEEDS").unwrap_or(count);
    let first = number("TEAL_FIRST_SEED").unwrap_or(1);
    let began = Instant::now();
    let tally = play_all(first, count, silent);
    println!(
        "figures: {} in {name}, {} s",
        tally.figures(),
        began.elapsed().as_secs()
    );
    if let Some(run) = tally.broken.first() {
        println!("{}", told(run.seed).story.join("\n"));
    }
    let broken = tally.broken.iter().take(TOLD).map(|run| {
        let what = run.breaches.join("; ");
        format!("TEAL_SEED={} cargo test -p teal {name}: {what}", run.seed)
    });
    let broken: Vec<String> = broken.collect();
    assert!(
        broken.is_empty(),
        "{} of {count} runs broke a promise:\n{}",
        tally.broken.len(),
        broken.join("\n")
    );
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What came of many runs.
#[derive(Default)]
struct Tally {
    seeds: u64,
    completed: u64,
    rolled_back: u64,
    minutes: u64,
    counts: super::Counts,
    broken: Vec<Run>,
}

impl Tally {
    fn take(&mut self, run: Run) {
        self.seeds += 1;
        self.completed += u64::from(run.outcome == Some(Outcome::Completed));
        self.rolled_back += u64::from(matches!(run.outcome, Some(Outcome::RolledBack { .. })));
        self.minutes += run.took.0 / 60_000;
        let (sum, one) = (&mut self.counts, &run.counts);
        sum.requests += one.requests;
        sum.operations += one.operations;
        sum.lost_to_the_world += one.lost_to_the_world;
        sum.lost_to_force += one.lost_to_force;
        sum.kills += one.kills;
        sum.resumed += one.resumed;
        sum.stuck += one.stuck;
        if !run.breaches.is_empty() {
            self.broken.push(run);
        }
    }

    fn figures(&self) -> String {
        let counts = &self.counts;
        format!(
            "{} seeds, {} completed, {} rolled back, {} broken promises, {} requests, {} operations, {} lost to the \
             world, {} lost to force, {} kills, {} resumptions, {} times stuck, {} min simulated",
            self.seeds,
            self.completed,
            self.rolled_back,
            self.broken.len(),
            counts.requests,
            counts.operations,
            counts.lost_to_the_world,
            counts.lost_to_force,
            counts.kills,
            counts.resumed,
            counts.stuck,
            self.minutes,
        )
    }
}

fn play_all(first: u64, count: u64, play_one: fn(u64) -> Run) -> Tally {
    let next = AtomicU64::new(first);
    let tally = Mutex::new(Tally::default());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + count {
                        break;
                    }
                    let run = play_one(seed);
                    tally.lock().unwrap().take(run);
                }
            });
        }
    });
    let mut tally = tally.into_inner().unwrap();
    tally.broken.sort_by_key(|run| run.seed);
    tally
}
