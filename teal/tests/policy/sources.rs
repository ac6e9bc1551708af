//! How sources are kept: short, named, introduced, finished, and without waiting for time to pass.

use crate::{Text, files, none};

const LINES_MAX: usize = 650;

/// Names that say nothing about what is inside.
const NO_NAMES: [&str; 6] = ["util", "utils", "common", "helper", "helpers", "manager"];

/// Where tests may sleep, and why.
const MAY_SLEEP: [(&str, &str); 8] = [
    (
        "engine/tests/it/harness.rs",
        "the pause of the one polling loop, which gives up after a while",
    ),
    (
        "engine/tests/it/dockerd.rs",
        "the pause between two looks at a daemon that starts or ends, which give up after a while",
    ),
    (
        "proxy/tests/it/world.rs",
        "the pause of the one polling loop, which gives up after a while",
    ),
    (
        "teal/tests/it/world/time.rs",
        "the pause of the one polling loop, which gives up after a while",
    ),
    (
        "drivers/tests/haproxy/until.rs",
        "the pause of the one polling loop, which gives up after a while",
    ),
    (
        "drivers/tests/haproxy/backend.rs",
        "how long the service takes to answer: what is waited for in a drain",
    ),
    (
        "engine/tests/it/idle.rs",
        "time is paused there: a sleep of a day takes none",
    ),
    (
        "proxy/tests/it/limits.rs",
        "time is paused there: a sleep of an hour takes none",
    ),
];

#[test]
fn no_source_is_longer_than_one_can_read() {
    let mut offenders = Vec::new();
    for source in files("rs") {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            offenders.push(format!("{}: {lines} lines", source.path));
        }
    }

    none(&offenders, &format!("longer than {LINES_MAX} lines"));
}

#[test]
fn every_module_has_a_name_that_says_what_it_is() {
    let vague = |name: &str| NO_NAMES.contains(&name);
    let mut offenders = Vec::new();
    for source in files("rs") {
        let mut path = source.path.trim_end_matches(".rs").split('/');
        let after_mod = source
            .text
            .lines()
            .filter_map(|line| line.trim().split("mod ").nth(1));
        let mut declared = after_mod.filter_map(|rest| rest.split([' ', '{', ';']).next());
        if path.any(vague) || declared.any(vague) {
            offenders.push(source.path);
        }
    }

    none(&offenders, "with a name that says nothing");
}

#[test]
fn every_source_says_at_its_top_what_it_is_for() {
    let mut sources = files("rs");
    sources.retain(|source| !source.text.starts_with("//! "));
    let offenders: Vec<String> = sources.into_iter().map(|source| source.path).collect();

    none(&offenders, "without a `//!` line at the top");
}

#[test]
fn no_source_is_left_unfinished() {
    // Taken apart, so that this file does not find itself.
    let marks = [
        concat!("to", "do!("),
        concat!("unimplement", "ed!("),
        concat!("#[ign", "ore"),
        concat!("FIX", "ME"),
        concat!("allow(dead", "_code"),
    ];
    let sources = files("rs");
    let offenders: Vec<String> = sources
        .iter()
        .flat_map(|source| lines_with(source, 0, &marks))
        .collect();

    none(&offenders, "unfinished");
}

#[test]
fn no_test_sleeps_where_it_could_wait_for_a_condition() {
    let sleeps = [concat!("thread::", "sleep"), concat!("time::", "sleep")];
    let mut offenders = Vec::new();
    let mut unused: Vec<&str> = MAY_SLEEP.iter().map(|(path, _)| *path).collect();
    for source in files("rs") {
        let asleep = lines_with(&source, first_test_line(&source), &sleeps);
        let excused = MAY_SLEEP.iter().any(|(path, _)| source.path == *path);
        if excused && !asleep.is_empty() {
            unused.retain(|path| source.path != *path);
        } else {
            offenders.extend(asleep);
        }
    }
    offenders.extend(
        unused
            .iter()
            .map(|path| format!("{path} is excused and does not sleep")),
    );

    none(&offenders, "sleeping in a test");
}

/// Returns where test code begins: at the top where only tests live, otherwise at the module of tests, which comes last.
fn first_test_line(source: &Text) -> usize {
    if source.path.contains("/tests/") || source.path.ends_with("/tests.rs") {
        return 0;
    }
    let module = source
        .text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    module.lines().count()
}

/// Returns the lines that contain one of the words, each with its place, from a line on.
fn lines_with(source: &Text, from: usize, words: &[&str]) -> Vec<String> {
    let lines = source.text.lines().enumerate().skip(from);
    let found = lines.filter(|(_, line)| words.iter().any(|word| line.contains(word)));
    found
        .map(|(index, line)| format!("{}:{}: {}", source.path, index + 1, line.trim()))
        .collect()
}
