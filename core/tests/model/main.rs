//! Model check: `decide` itself, with the real evidence and the real fold of the journal, in small worlds where
//! everything can happen that [`world::Happening`] and [`moves::Fate`] name, at every moment, in every order.
//!
//! A mishap is what a good day does not bring. Each of [`setting::WORLDS`] is searched whole, with every combination of
//! as many mishaps as it says. What is held against the promises is the truth of the world, and by `decide` in debug
//! builds what teal saw. docs/correctness.md tells what this proves and what it assumes.
//!
//! `TEAL_MODEL=large ./check model` combines one mishap more; `TEAL_WORLD=switch` searches those worlds alone whose name
//! contains that, `TEAL_MISHAPS=3` with so many mishaps.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a search has threads, reads its size from the environment, and fails where it meets what cannot be"
)]

mod key;
mod moves;
mod node;
mod search;
mod setting;
mod story;
mod world;

use search::{Found, Search};
use setting::{Setting, WORLDS};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[test]
fn in_every_interleaving_every_promise_is_kept_and_every_deployment_ends() {
    be_silent_about_broken_promises();
    let wanted = std::env::var("TEAL_WORLD").unwrap_or_default();
    let worlds: Vec<&Setting> = WORLDS
        .iter()
        .filter(|it| it.name.contains(&wanted))
        .collect();

    let found = search_all(&worlds);

    let sum = |of: fn(&Found) -> usize| found.iter().map(of).sum::<usize>();
    let broken = sum(|it| usize::from(it.broken.is_some()));
    println!(
        "figures: {} worlds, {} states, {} transitions, {} ends, {broken} broken promises",
        found.len(),
        sum(|it| it.states),
        sum(|it| it.transitions),
        sum(|it| it.completed + it.rolled_back),
    );
    assert_eq!(broken, 0, "a promise is broken: the story is above");
    assert!(!found.is_empty(), "no world is named {wanted}");
}

/// A decision that breaks a promise panics, and the search tells of it. Any other panic is told as usual.
fn be_silent_about_broken_promises() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.to_string().contains("promise: ") {
            usual(panic);
        }
    }));
}

fn search_all(worlds: &[&Setting]) -> Vec<Found> {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Vec::new());
    let is_over = AtomicBool::new(false);
    let search_some = || {
        while let Some(setting) = worlds.get(next.fetch_add(1, Ordering::SeqCst)) {
            let (plan, beginning) = setting.beginning();
            let found = Search::new(&plan).run(&beginning, &is_over);
            tell(setting, &found);
            // One story is enough: it is mended, and then the next one is found.
            is_over.fetch_or(found.broken.is_some(), Ordering::SeqCst);
            all.lock().unwrap().push(found);
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(search_some);
        }
    });
    all.into_inner().unwrap()
}

fn tell(setting: &Setting, found: &Found) {
    let Found {
        states,
        transitions,
        completed,
        rolled_back,
        stuck,
        broken,
        whole,
    } = found;
    let part = if *whole {
        ""
    } else {
        " (not searched to its end)"
    };
    println!(
        "{:<46} mishaps {}: {states:>8} states, {transitions:>8} transitions; ends: {completed} completed, \
         {rolled_back} rolled back, {stuck} stuck{part}",
        setting.name,
        setting.mishaps(),
    );
    if let Some(story) = broken {
        println!("{story}");
    }
}
