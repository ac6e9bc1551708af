//! What is fetched into a task's sandbox before it starts: `fetch`, and `uris` of old.
//!
//! Follows `artifact.raml` and `AppNormalization.Artifacts` of Marathon 1.10.

use std::path::{Component, Path};

use hyper::Uri;
use serde_json::{Map, Value, json};

use super::fields::Fields;
use crate::issues::Issues;

/// Endings that an old `uris` entry is extracted for (`FetchUri.supportedFileTypes`).
const ARCHIVE_ENDINGS: [&str; 9] = [
    ".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".gz", ".tgz", ".tbz2", ".txz", ".zip",
];

/// Where an artifact comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source<'a> {
    /// An absolute path on this machine, percent-encoded.
    File(&'a str),
    Web(Uri),
}

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
        let artifact = Self {
            uri: uri.to_owned(),
            extract: fields.boolean("extract", issues).unwrap_or(true),
            executable: fields.boolean("executable", issues).unwrap_or(false),
            cache: fields.boolean("cache", issues).unwrap_or(false),
            dest_path: fields.text("destPath", issues).map(str::to_owned),
        };
        if artifact
            .dest_path
            .as_deref()
            .is_some_and(|path| !is_inside(path))
        {
            issues.add(
                &fields.path("destPath"),
                "must be a relative path inside the sandbox",
            );
        } else {
            artifact.check(&fields.path("uri"), issues);
        }
        Some(artifact)
    }

    fn check(&self, path: &str, issues: &mut Issues) {
        let is_odd = |c: char| c.is_whitespace() || c.is_control();
        if self.uri.is_empty() || self.uri.contains(is_odd) {
            issues.add(path, "URI has invalid syntax.");
        } else if self.source().is_none() {
            issues.add(
                path,
                "is not supported by this engine: it fetches http, https and file URIs, without a \
                 user in them",
            );
        } else if self.file_name().is_none() {
            issues.add(path, "names no file: give it a destPath");
        }
    }

    /// Returns where it comes from, as far as that can be fetched.
    pub(crate) fn source(&self) -> Option<Source<'_>> {
        if self.uri.starts_with('/') {
            return Some(Source::File(&self.uri));
        }
        if let Some(path) = self.uri.strip_prefix("file://") {
            let path = path.strip_prefix("localhost").unwrap_or(path);
            return path.starts_with('/').then_some(Source::File(path));
        }
        let uri: Uri = self.uri.parse().ok()?;
        let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
        let authority = uri.authority()?.as_str();
        let is_plain = !authority.contains('@') && uri.host().is_some_and(|host| !host.is_empty());
        (is_web && is_plain).then_some(Source::Web(uri))
    }

    /// Returns its name in the sandbox: `destPath`, or the last part of the URI's path.
    pub(crate) fn file_name(&self) -> Option<String> {
        if let Some(path) = &self.dest_path {
            return Some(path.clone());
        }
        let path = match self.source()? {
            Source::File(path) => path.to_owned(),
            Source::Web(uri) => uri.path().to_owned(),
        };
        let (_, name) = path.rsplit_once('/')?;
        is_inside(name).then(|| name.to_owned())
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
        let artifact = Artifact {
            extract: ARCHIVE_ENDINGS.iter().any(|ending| uri.ends_with(ending)),
            executable: false,
            cache: false,
            dest_path: None,
            uri,
        };
        artifact.check(&format!("/uris({index})"), issues);
        artifacts.push(artifact);
    }
    artifacts
}

/// Returns whether a path names something below the folder it begins in.
fn is_inside(path: &str) -> bool {
    let parts: Vec<Component<'_>> = Path::new(path).components().collect();
    let is_normal = |part: &Component<'_>| matches!(part, Component::Normal(_));
    !parts.is_empty() && parts.iter().all(is_normal)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::definition::Definition;
    use crate::fixtures::{definition_of, fields};

    #[test]
    fn an_artifact_has_a_name_inside_the_sandbox() {
        for (fetch, name) in [
            (json!({ "uri": "http://host/a/b.tgz?x=1" }), "b.tgz"),
            (json!({ "uri": "file:///etc/motd" }), "motd"),
            (json!({ "uri": "/etc/motd" }), "motd"),
            (json!({ "uri": "https://host", "destPath": "a/b" }), "a/b"),
        ] {
            let app = definition_of(json!({ "id": "a", "cmd": "ls", "fetch": [fetch] }));
            assert_eq!(app.fetch[0].file_name().as_deref(), Some(name));
        }
    }

    #[test]
    fn what_cannot_be_fetched_is_refused() {
        for (fetch, path) in [
            (json!({ "uri": "hdfs://host/a" }), "/fetch(0)/uri"),
            (json!({ "uri": "a/b" }), "/fetch(0)/uri"),
            (json!({ "uri": "http://me:secret@host/a" }), "/fetch(0)/uri"),
            (json!({ "uri": "http://host/" }), "/fetch(0)/uri"),
            (json!({ "uri": "http://host/.." }), "/fetch(0)/uri"),
            (json!({ "uri": "http://ho st/a" }), "/fetch(0)/uri"),
            (
                json!({ "uri": "http://host/a", "destPath": "../a" }),
                "/fetch(0)/destPath",
            ),
            (
                json!({ "uri": "http://host/a", "destPath": "/a" }),
                "/fetch(0)/destPath",
            ),
        ] {
            let app = json!({ "id": "a", "cmd": "ls", "fetch": [fetch] });
            let issues = Definition::read(None, &fields(app)).expect_err("it is wrong");
            assert_eq!(issues.body()["details"][0]["path"], path, "{fetch}");
        }
    }
}
