//! What is fetched into a task's sandbox before it starts: `fetch`, and `uris` of old.
//!
//! Follows `artifact.raml` and `AppNormalization.Artifacts` of Marathon 1.10.

use serde_json::{Map, Value, json};

use super::fields::Fields;
use crate::issues::Issues;

/// Endings that an old `uris` entry is extracted for (`FetchUri.supportedFileTypes`).
const ARCHIVE_ENDINGS: [&str; 9] = [
    ".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".gz", ".tgz", ".tbz2", ".txz", ".zip",
];

/// One thing to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Artifact {
    pub(crate) uri: String,
    /// Whether it is unpacked where its name says that it is an archive.
    pub(crate) extract: bool,
    /// Whether it is made executable; it is not unpacked then.
    pub(crate) executable: bool,
    /// Whether a Mesos agent would keep it for other tasks.
    pub(crate) cache: bool,
    /// Where it goes, below the sandbox; nothing: by the last part of its path.
    pub(crate) dest_path: Option<String>,
}

impl Artifact {
    fn read(fields: &Fields<'_>, issues: &mut Issues) -> Option<Self> {
        if !fields.has("uri") {
            issues.add_path_missing(&fields.path("uri"));
        }
        let uri = fields.text("uri", issues)?;
        check(uri, &fields.path("uri"), issues);
        Some(Self {
            uri: uri.to_owned(),
            extract: fields.boolean("extract", issues).unwrap_or(true),
            executable: fields.boolean("executable", issues).unwrap_or(false),
            cache: fields.boolean("cache", issues).unwrap_or(false),
            dest_path: fields.text("destPath", issues).map(str::to_owned),
        })
    }

    pub(super) fn to_json(&self) -> Value {
        let mut artifact = Map::new();
        let mut put = |key: &str, value: Value| {
            artifact.insert(key.to_owned(), value);
        };
        put("uri", json!(self.uri));
        put("extract", json!(self.extract));
        put("executable", json!(self.executable));
        put("cache", json!(self.cache));
        if let Some(path) = &self.dest_path {
            put("destPath", json!(path));
        }
        Value::Object(artifact)
    }
}

/// Reads `fetch`, or the old `uris` in its place.
pub(super) fn read(fields: &Fields<'_>, issues: &mut Issues) -> Vec<Artifact> {
    if fields.has_content("uris") && fields.has_content("fetch") {
        issues.add("/uris", "may not be set in conjunction with fetch");
    }
    let objects = fields.objects("fetch", issues).unwrap_or_default();
    let mut artifacts: Vec<Artifact> = objects
        .iter()
        .filter_map(|object| Artifact::read(object, issues))
        .collect();
    let uris = fields.texts("uris", issues).unwrap_or_default();
    for (index, uri) in uris.into_iter().enumerate() {
        check(&uri, &format!("/uris({index})"), issues);
        artifacts.push(Artifact {
            extract: ARCHIVE_ENDINGS.iter().any(|ending| uri.ends_with(ending)),
            executable: false,
            cache: false,
            dest_path: None,
            uri,
        });
    }
    artifacts
}

fn check(uri: &str, path: &str, issues: &mut Issues) {
    let is_odd = |c: char| c.is_whitespace() || c.is_control();
    if uri.is_empty() || uri.contains(is_odd) {
        issues.add(path, "URI has invalid syntax.");
    }
}
