//! Who depends on whom, and which crates come in under which licences.

use crate::{none, read, root, table_rows};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::LazyLock;

/// Which crate of ours may use which others: in its code, and in its tests besides.
const MAY_USE: [(&str, &[&str], &[&str]); 6] = [
    ("teal-core", &[], &[]),
    (
        "teal-drivers",
        &["teal-core"],
        &["teal-engine", "teal-proxy"],
    ),
    ("teal-engine", &[], &[]),
    ("teal-proxy", &[], &[]),
    (
        "teal",
        &["teal-core", "teal-drivers", "teal-engine", "teal-proxy"],
        &[],
    ),
    // What measures is used by nobody, so it is never shipped.
    (
        "teal-bench",
        &["teal-core", "teal-drivers", "teal-engine", "teal-proxy"],
        &[],
    ),
];

const CORE_CRATES_MAX: usize = 15;

const LICENCES: [&str; 11] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
    "Unlicense",
    "CC0-1.0",
    "BSL-1.0",
];

/// Crates that are linked in several versions, and why that cannot be helped.
const TWICE: [(&str, &str); 3] = [
    (
        "hashbrown",
        "rusqlite's hashlink asks for an older one than serde_json's indexmap",
    ),
    ("foldhash", "comes with each of the two hashbrowns"),
    (
        "getrandom",
        "ring asks for an older one than tungstenite's rand",
    ),
];

#[test]
fn the_crates_of_ours_use_each_other_only_as_the_rule_allows() {
    let ours: BTreeSet<&str> = METADATA
        .ours()
        .map(|package| package.name.as_str())
        .collect();
    let mut offenders = Vec::new();
    for package in METADATA.ours() {
        let Some((_, code, tests)) = MAY_USE.iter().find(|(name, ..)| *name == package.name) else {
            offenders.push(format!(
                "{} is in no rule: say in ARCHITECTURE.md what border it guards",
                package.name
            ));
            continue;
        };
        for used in &package.dependencies {
            let name = used.name.as_str();
            let for_tests = used.kind.as_deref() == Some("dev");
            let allowed = code.contains(&name) || (for_tests && tests.contains(&name));
            if ours.contains(name) && !allowed {
                offenders.push(format!("{} uses {name}", package.name));
            }
        }
    }

    none(&offenders, "against the rule of ARCHITECTURE.md");
}

/// What the compiler builds for core alone: features that other members ask for do not count.
#[test]
fn few_crates_stand_behind_core() {
    let host = host();
    let arguments = [
        "tree",
        "--package",
        "teal-core",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--target",
        host.as_str(),
        "--locked",
        "--offline",
    ];
    let tree = cargo(&arguments);
    let crates: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "teal-core")
        .collect();

    assert!(
        crates.len() <= CORE_CRATES_MAX,
        "{} crates stand behind teal-core, and {CORE_CRATES_MAX} may: {crates:?}",
        crates.len()
    );
}

#[test]
fn every_crate_comes_under_a_licence_that_we_accept() {
    let accepted = |package: &&Package| package.license.as_deref().is_some_and(is_accepted);
    let offenders: Vec<String> = METADATA
        .theirs()
        .filter(|package| !accepted(package))
        .map(|package| {
            format!(
                "{} {}: {:?}",
                package.name, package.version, package.license
            )
        })
        .collect();

    none(&offenders, "under no licence of the list");
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    let accepted = [
        "MIT",
        "MIT/GPL-3.0",
        "GPL-3.0 OR Apache-2.0 WITH LLVM-exception",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
        "GPL-3.0 AND ISC OR MIT",
        "MIT AND (GPL-3.0 OR (Zlib))",
    ];
    let refused = [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "GPL-3.0 WITH LLVM-exception",
        "MIT WITH LLVM-exception",
        "MIT AND (GPL-3.0 OR AGPL-3.0)",
        "(MIT",
        "MIT ISC",
        "MIT OR",
    ];

    for expression in accepted {
        assert!(is_accepted(expression), "{expression}");
    }
    for expression in refused {
        assert!(!is_accepted(expression), "{expression}");
    }
}

#[test]
fn no_crate_is_linked_in_two_versions_without_a_reason() {
    let linked = METADATA.linked();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in METADATA
        .packages
        .iter()
        .filter(|package| linked.contains(package.id.as_str()))
    {
        versions
            .entry(&package.name)
            .or_default()
            .insert(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let unexplained = versions
        .iter()
        .filter(|(name, _)| TWICE.iter().all(|(known, _)| known != *name));
    let over = TWICE
        .iter()
        .filter(|(name, _)| !versions.contains_key(name));
    let offenders: Vec<String> = unexplained
        .map(|(name, versions)| format!("{name}: {versions:?}"))
        .chain(over.map(|(name, _)| format!("{name} is excused and not needed any more")))
        .collect();

    none(&offenders, "linked in several versions");
}

#[test]
fn docs_dependencies_lists_every_direct_dependency_and_nothing_else() {
    let text = read("docs/dependencies.md");
    let listed = table_rows(&text);
    let ours: BTreeSet<&str> = METADATA
        .ours()
        .map(|package| package.name.as_str())
        .collect();
    let direct: BTreeSet<&str> = METADATA
        .ours()
        .flat_map(|package| &package.dependencies)
        .map(|used| used.name.as_str())
        .filter(|name| !ours.contains(name))
        .collect();
    let mut offenders = Vec::new();
    for name in &direct {
        let licence = METADATA
            .theirs()
            .find(|package| package.name == *name)
            .and_then(|package| package.license.as_deref());
        match listed.get(name) {
            None => offenders.push(format!("{name} has no line")),
            Some(row) if !row.contains(licence.unwrap_or("?")) => {
                offenders.push(format!(
                    "the line of {name} does not name its licence, {licence:?}"
                ));
            }
            Some(_) => {}
        }
    }
    let gone = listed.keys().filter(|name| !direct.contains(*name));
    offenders.extend(gone.map(|name| format!("{name} has a line, and nobody uses it")));

    none(&offenders, "wrong in docs/dependencies.md");
}

// ---- what cargo tells -------------------------------------------------------------------------

static METADATA: LazyLock<Metadata> = LazyLock::new(|| {
    let host = host();
    let arguments = [
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--offline",
        "--filter-platform",
        host.as_str(),
    ];
    serde_json::from_str(&cargo(&arguments)).expect("cargo tells its metadata in JSON")
});

/// What cargo tells of the workspace and of every crate behind it on this platform.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

impl Metadata {
    fn ours(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| self.workspace_members.contains(&package.id))
    }

    fn theirs(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| !self.workspace_members.contains(&package.id))
    }

    /// Returns the ids of everything that our crates use in their code, directly or not: no tests, no build scripts.
    fn linked(&self) -> BTreeSet<&str> {
        let nodes: BTreeMap<&str, &Node> = self
            .resolve
            .nodes
            .iter()
            .map(|node| (node.id.as_str(), node))
            .collect();
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = self.workspace_members.iter().map(String::as_str).collect();
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let edges = nodes.get(id).into_iter().flat_map(|node| &node.deps);
            let in_code =
                edges.filter(|edge| edge.dep_kinds.iter().any(|kind| kind.kind.is_none()));
            open.extend(in_code.map(|edge| edge.pkg.as_str()));
        }
        seen
    }
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo can be run");
    assert!(
        output.status.success(),
        "cargo {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("cargo tells UTF-8")
}

/// Returns the platform that this is: crates for others are not downloaded, so nothing is known of them.
fn host() -> String {
    let told = cargo(&["-vV"]);
    told.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("cargo tells its host")
        .to_owned()
}

/// Whether a licence expression (SPDX, Annex D, with the old `/` for OR) can be satisfied from the list.
fn is_accepted(expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let accepted = any_of(&mut words);
    accepted == Some(true) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

/// None: it cannot be read.
fn any_of(words: &mut Words<'_>) -> Option<bool> {
    let mut accepted = all_of(words)?;
    while words.next_if_eq(&"OR").is_some() {
        accepted |= all_of(words)?;
    }
    Some(accepted)
}

fn all_of(words: &mut Words<'_>) -> Option<bool> {
    let mut accepted = one_licence(words)?;
    while words.next_if_eq(&"AND").is_some() {
        accepted &= one_licence(words)?;
    }
    Some(accepted)
}

fn one_licence(words: &mut Words<'_>) -> Option<bool> {
    match words.next()? {
        "(" => {
            let accepted = any_of(words)?;
            words.next_if_eq(&")").map(|_| accepted)
        }
        ")" | "OR" | "AND" | "WITH" => None,
        name => match words.next_if_eq(&"WITH") {
            Some(_) => Some(LICENCES.contains(&format!("{name} WITH {}", words.next()?).as_str())),
            None => Some(LICENCES.contains(&name)),
        },
    }
}
