//! That the docs name what exists and nothing else.

use crate::{files, none, read, root, table_rows};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use teal_core::settings::SETTINGS;

#[test]
fn every_link_of_the_docs_leads_to_a_file() {
    let mut offenders = Vec::new();
    for document in files("md") {
        let folder = root().join(&document.path);
        let folder = folder.parent().expect("a file is in a folder");
        for target in links(&document.text) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !folder.join(file).exists() {
                offenders.push(format!("{}: {target}", document.path));
            }
        }
    }

    none(&offenders, "leading nowhere");
}

#[test]
fn docs_settings_tells_every_setting_with_its_names_and_its_default() {
    let text = read("docs/settings.md");
    let rows = table_rows(&text);
    let mut offenders = Vec::new();
    for setting in &SETTINGS {
        let row = rows.get(setting.name).copied().unwrap_or_default();
        let flag = format!("`--{}`", setting.name.replace('_', "-"));
        let label = format!("`TEAL_{}`", setting.name.to_uppercase());
        let missing = [flag.as_str(), label.as_str(), setting.default]
            .into_iter()
            .filter(|word| !row.contains(word));
        let missing: Vec<&str> = missing.collect();
        if !missing.is_empty() {
            offenders.push(format!(
                "the line of `{}` lacks {}",
                setting.name,
                missing.join(" and ")
            ));
        }
    }
    let is_setting = |name: &str| SETTINGS.iter().any(|setting| setting.name == name);
    let gone = rows
        .iter()
        .filter(|(name, row)| row.contains("| `--") && !is_setting(name));
    offenders.extend(gone.map(|(name, _)| format!("`{name}` has a line and is no setting")));
    let labels = quoted(&read("core/src/definition/labels.rs"), "TEAL_");
    let untold = labels
        .iter()
        .filter(|label| !text.contains(&format!("`{label}`")));
    offenders.extend(untold.map(|label| format!("the label {label} is not told")));

    for beginning in ["TEAL_", "DCOS_"] {
        let sources = ["teal/src/settings/marathon.rs", "drivers/src/dcos.rs"];
        let variables = sources.map(|source| quoted(&read(source), beginning));
        let variables = variables.into_iter().flatten();
        let untold = variables.filter(|name| !text.contains(&format!("`{name}`")));
        offenders.extend(untold.map(|name| format!("the variable {name} is not told")));
    }

    none(&offenders, "wrong in docs/settings.md");
}

#[test]
fn docs_journal_tells_every_kind_of_entry() {
    let text = read("docs/journal.md");
    let rows = table_rows(&text);
    let source = read("core/src/journal.rs");
    let event = source
        .split_once("pub enum Event {")
        .expect("the journal has events")
        .1;
    let body = event.split("\n}").next().unwrap_or_default();
    // Variants stand four spaces in, their fields and docs further or otherwise.
    let variants = body.lines().filter_map(|line| line.strip_prefix("    "));
    let names = variants.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    let names: Vec<String> = names
        .filter_map(|line| line.split([' ', ',']).next())
        .map(str::to_lowercase)
        .collect();
    assert!(names.len() > 1, "the events are not found: {names:?}");
    let offenders: Vec<String> = names
        .into_iter()
        .filter(|name| !rows.contains_key(name.as_str()))
        .collect();

    none(&offenders, "in the journal and not in docs/journal.md");
}

#[test]
fn the_readme_gives_all_nine_promises_under_the_names_that_the_code_uses() {
    let text = read("README.md");
    let numbers = (1..=9).map(|number| format!("P{number} "));
    let names = quoted(&read("core/src/invariants.rs"), "P");
    let promised = |name: &String| {
        text.lines()
            .any(|line| line.starts_with(&format!("| {name}")))
    };
    let missing = numbers.chain(names).filter(|name| !promised(name));
    let offenders: Vec<String> = missing.collect();

    none(&offenders, "not promised in README.md");
}

/// Lines of fenced blocks that begin with `teal `: the command and its flags are in the program's own help.
#[test]
fn every_command_in_the_docs_is_one_that_the_program_has() {
    let mut helps: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut offenders = Vec::new();
    for document in files("md") {
        for line in fenced(&document.text).filter(|line| line.starts_with("teal ")) {
            let (command, flags) = taken_apart(line);
            let known = helps
                .entry(command.clone())
                .or_insert_with(|| help(&command));
            let known = known.as_deref().unwrap_or_default();
            let strange = flags.iter().find(|flag| !known.contains(**flag));
            if known.is_empty() || strange.is_some() {
                offenders.push(format!("{}: {line}", document.path));
            }
        }
    }

    none(&offenders, "unknown to the program");
}

/// Returns a command line's command, with its subcommand if there may be one, and its flags.
fn taken_apart(line: &str) -> (String, Vec<&str>) {
    // What stands in `$(…)`, always last here, is another program's.
    let words: Vec<&str> = line
        .split("$(")
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .collect();
    let is_name = |word: &&&str| {
        let is_of_names = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        word.bytes().all(is_of_names) && !word.starts_with('-')
    };
    let names: Vec<&str> = words.iter().take_while(is_name).take(2).copied().collect();
    let flags = words.iter().filter(|word| word.starts_with("--"));
    let flags = flags.filter_map(|flag| flag.split('=').next()).collect();
    (names.join(" "), flags)
}

/// Returns the string literals of a source that begin like this and are more than that.
fn quoted(source: &str, beginning: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let names = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split('"').skip(1).step_by(2));
    let fits = |name: &&str| {
        name.starts_with(beginning) && *name != beginning && !name.contains(['{', '`'])
    };
    names.filter(fits).map(str::to_owned).collect()
}

fn fenced(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let fence = line.starts_with("```");
        inside ^= fence;
        inside && !fence
    })
}

/// Returns the targets of a document's links that are no addresses.
fn links(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        inside ^= line.starts_with("```");
        if inside {
            continue;
        }
        found.extend(
            line.split("](")
                .skip(1)
                .filter_map(|rest| rest.split([')', ' ']).next()),
        );
        found.extend(
            line.strip_prefix('[')
                .and_then(|rest| rest.split_once("]: "))
                .map(|(_, target)| target.trim()),
        );
    }
    found.retain(|target| !target.contains("://") && !target.starts_with("mailto:"));
    found
}

/// Returns what the program says of one of its commands; None when it has no such command.
fn help(command: &str) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_teal"))
        .args(command.split_whitespace())
        .arg("--help")
        .output();
    let output = output.expect("the program can be run");
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
