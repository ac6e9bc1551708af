//! Mutation check: bugs are planted in a copy of `core`, one at a time, and the tests have to catch each. A test suite
//! that nothing can break proves nothing.
//!
//! Each is built and run against the model check first and the properties and scenarios (`--test it`) then.
//! `./check mutations` runs it; `TEAL_MUTATION=floor,pause` tries those alone whose name contains one of these.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "it copies, changes and builds sources, and tells what came of it"
)]

mod list;

use list::{MUTATIONS, Mutation};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A bug that makes a suite run longer than this many seconds is caught: the code as it is needs a fraction of it.
const TOO_LONG_S: &str = "120";

#[test]
fn every_planted_bug_is_a_text_that_stands_once_in_the_code() {
    let wrong: Vec<String> = MUTATIONS
        .iter()
        .filter_map(|mutation| {
            let source = std::fs::read_to_string(root().join("src").join(mutation.file)).unwrap();
            let count = source.matches(mutation.from).count();
            (count != 1 || mutation.from == mutation.to)
                .then(|| format!("{}: {count} times in {}", mutation.name, mutation.file))
        })
        .collect();

    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_planted_bug_is_caught() {
    let wanted = std::env::var("TEAL_MUTATION").unwrap_or_default();
    let is_wanted = |it: &&Mutation| wanted.split(',').any(|part| it.name.contains(part));
    let chosen = MUTATIONS.iter().filter(is_wanted);
    let laboratory = Laboratory::open();
    assert_eq!(
        laboratory.first_to_fail(),
        None,
        "without a bug everything passes"
    );
    let (mut caught, mut missed) = (0, Vec::new());
    for mutation in chosen {
        match laboratory.try_out(mutation) {
            Some(by) => {
                caught += 1;
                println!("caught  {} {} by {by}", mutation.promise, mutation.name);
            }
            None => {
                println!("MISSED  {} {}", mutation.promise, mutation.name);
                missed.push(mutation.name);
            }
        }
    }
    println!(
        "figures: {caught} of {} planted bugs caught",
        caught + missed.len()
    );
    assert_eq!(missed, Vec::<&str>::new(), "nothing caught these");
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the manifest of a workspace as one that has no other member than core, whichever there are.
fn of_core_alone(workspace: &str) -> String {
    let lines = workspace
        .lines()
        .map(|line| match line.split_once(" = ") {
            Some((key @ ("members" | "default-members"), _)) => format!("{key} = [\"core\"]"),
            _ => line.to_owned(),
        })
        .collect::<Vec<_>>();
    lines.join("\n")
}

/// A copy of the crate that bugs are planted in, and its build.
struct Laboratory {
    folder: PathBuf,
}

impl Laboratory {
    fn open() -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("mutations");
        let crate_folder = folder.join("core");
        if crate_folder.exists() {
            std::fs::remove_dir_all(&crate_folder).unwrap();
        }
        copy(&root(), &crate_folder);
        let workspace = std::fs::read_to_string(root().join("../Cargo.toml")).unwrap();
        std::fs::write(folder.join("Cargo.toml"), of_core_alone(&workspace)).unwrap();
        let lock = folder.join("Cargo.lock");
        std::fs::copy(root().join("../Cargo.lock"), lock).unwrap();
        Self { folder }
    }

    /// Plants a bug, and returns what caught it.
    fn try_out(&self, mutation: &Mutation) -> Option<String> {
        let file = self.folder.join("core/src").join(mutation.file);
        let source = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, source.replacen(mutation.from, mutation.to, 1)).unwrap();
        let caught = self.first_to_fail();
        std::fs::write(&file, source).unwrap();
        caught
    }

    /// Returns the first suite that fails, with what it says.
    fn first_to_fail(&self) -> Option<String> {
        let mut build = Command::new(env!("CARGO"));
        let (built, said) = self.test(
            build.arg("test"),
            &["--no-run", "--test", "model", "--test", "it"],
        );
        assert_eq!(built, Some(0), "it does not build:\n{said}");
        ["model", "it"].into_iter().find_map(|suite| {
            let mut bounded = Command::new("timeout");
            bounded.args(["--kill-after=5", TOO_LONG_S, env!("CARGO"), "test"]);
            let arguments = ["--test", suite, "--", "--nocapture"];
            let (code, said) = self.test(&mut bounded, &arguments);
            match (code, suite) {
                (Some(0), _) => None,
                (Some(124), suite) => Some(format!("{suite}, which took too long")),
                (_, "model") => Some(format!("the model: {}", broken(&said))),
                (_, _) => Some(format!("the tests: {}", failed(&said))),
            }
        })
    }

    /// Runs `cargo test` on the copy. Returns its exit code, and what it said.
    fn test(&self, command: &mut Command, arguments: &[&str]) -> (Option<i32>, String) {
        let output = command
            .args(["--offline", "--package", "teal-core"])
            .args(arguments)
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", self.folder.join("target"))
            .env("TEAL_MODEL", "small")
            .env("PROPTEST_CASES", "64")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.code(), said)
    }
}

/// Returns the promise that the model saw broken: in the world, or in what was decided on what was seen.
fn broken(said: &str) -> &str {
    let Some((_, story)) = said.split_once("BROKEN ") else {
        return said;
    };
    let decided = story.split_once("promise: \"").map(|(_, promise)| promise);
    let promise = decided.unwrap_or(story);
    promise.split([':', '"']).next().unwrap_or(promise)
}

/// Returns the tests that failed.
fn failed(said: &str) -> String {
    let line = |line: &str| {
        Some(
            line.strip_prefix("test ")?
                .strip_suffix(" ... FAILED")?
                .to_owned(),
        )
    };
    let names: Vec<String> = said.lines().filter_map(line).collect();
    match names.as_slice() {
        [] => said.to_owned(),
        [first] => first.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
