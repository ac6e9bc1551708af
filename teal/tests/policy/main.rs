//! What the repository promises about itself: who depends on whom, which crates come in and under which licences, how
//! sources are kept, and that the docs name what exists and nothing else.
//!
//! Every test tells all offenders at once. Read next: ARCHITECTURE.md for the rules, STYLE.md for the source limits.

mod crates;
mod docs;
mod sources;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn none(offenders: &[String], what: &str) {
    assert!(
        offenders.is_empty(),
        "{} {what}:\n  {}\n",
        offenders.len(),
        offenders.join("\n  ")
    );
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the program is a member of the workspace")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A text file of the repository.
struct Text {
    /// From the root, with `/`.
    path: String,
    text: String,
}

/// Returns every file of the repository that ends like this.
fn files(extension: &str) -> Vec<Text> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![root().to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository can be listed") {
            let entry = entry.expect("a folder of the repository can be listed");
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if name != "target" && !name.starts_with('.') {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|end| end == extension) {
                let text = fs::read_to_string(&path)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let path = path
                    .strip_prefix(root())
                    .expect("it is below the root")
                    .to_string_lossy()
                    .into_owned();
                found.push(Text { path, text });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(!found.is_empty(), "the repository has no .{extension} file");
    found
}

/// Returns the lines of a text's tables by the word in their first cell, where that is a word in backticks.
fn table_rows(text: &str) -> BTreeMap<&str, &str> {
    let word = |line| Some((str::strip_prefix(line, "| `")?.split('`').next()?, line));
    text.lines().filter_map(word).collect()
}
