//! Ids of apps, instances and tasks, and where fresh ones come from.
//!
//! The forms are Marathon's: `/group/app`, `group_app.instance-<uuid>` and
//! `group_app.instance-<uuid>._app.<incarnation>` (`mesosphere.marathon.core.task.Task.Id`, 1.8).

use std::fmt;
use std::fs::File;
use std::io::Read;

/// The last segments that would hide a route below an app (`AppDefinition.appIdReservedKeywords`).
const RESERVED_LAST_SEGMENTS: [&str; 3] = ["restart", "tasks", "versions"];

/// The most characters an app id may have. Marathon takes more, but here each task has a folder that
/// is named after its app, and a file name has at most 255 bytes.
const APP_ID_LENGTH_MAX: usize = 180;

/// An absolute app id such as `/group/app`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
pub(crate) struct AppId(String);

impl AppId {
    /// Returns the id that path segments name; empty segments are ignored, as Marathon does.
    pub(crate) fn from_segments<'a>(segments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut resolved: Vec<&str> = Vec::new();
        for segment in segments {
            match segment {
                "" | "." => {}
                ".." => {
                    resolved.pop();
                }
                other => resolved.push(other),
            }
        }
        Self(format!("/{}", resolved.join("/")))
    }

    /// Returns the id that a definition's `id` means.
    pub(crate) fn from_text(text: &str) -> Self {
        Self::from_segments(text.split('/'))
    }

    /// Returns what is wrong with the id, following `PathId.scala`'s grammar.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.0 == "/" {
            mistakes.push("must not be root".to_owned());
            return mistakes;
        }
        if self.is_too_long() {
            mistakes.push(format!(
                "must not be longer than {APP_ID_LENGTH_MAX} characters"
            ));
        }
        if !self.segments().all(segment_is_valid) {
            mistakes.push(format!(
                "must fully match regular expression \
                 '^(([a-z0-9]|[a-z0-9][a-z0-9\\-]*[a-z0-9])\\.)*\
                 ([a-z0-9]|[a-z0-9][a-z0-9\\-]*[a-z0-9])|(\\.|\\.\\.)$': {}",
                self.0
            ));
        }
        let last = self.segments().last().unwrap_or_default();
        if RESERVED_LAST_SEGMENTS.contains(&last) {
            mistakes.push(format!(
                "{} is not a valid id: its last segment must not be one of restart, tasks, versions",
                self.0
            ));
        }
        mistakes
    }

    /// Returns whether the id is longer than any can be. What stands in it is not read then: each id there would begin
    /// with all of this one.
    pub(crate) fn is_too_long(&self) -> bool {
        self.0.len() > APP_ID_LENGTH_MAX
    }

    /// Returns the id as text, with its leading slash.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id of the root group.
    pub(crate) fn root() -> Self {
        Self("/".to_owned())
    }

    /// Returns the id that a text means inside a group: relative to it, unless it begins with a
    /// slash (`PathId.canonicalPath`).
    pub(crate) fn resolve(group: &Self, text: &str) -> Self {
        if text.starts_with('/') {
            return Self::from_text(text);
        }
        Self::from_segments(group.segments().chain(text.split('/')))
    }

    /// Returns the id of the group that holds what has this id; the root is in none.
    pub(crate) fn parent(&self) -> Option<Self> {
        match self.0.rfind('/')? {
            0 if self.0.len() == 1 => None,
            0 => Some(Self::root()),
            end => Some(Self(self.0[..end].to_owned())),
        }
    }

    /// Returns whether what has this id is this group, or anywhere in it.
    pub(crate) fn is_within(&self, group: &Self) -> bool {
        let inside = |rest: &str| rest.is_empty() || rest.starts_with('/');
        group.0 == "/" || self.0.strip_prefix(&group.0).is_some_and(inside)
    }

    fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.trim_start_matches('/').split('/')
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for AppId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

fn segment_is_valid(segment: &str) -> bool {
    segment.split('.').all(|part| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty()
            && part.chars().all(inner)
            && !part.starts_with('-')
            && !part.ends_with('-')
    })
}

/// The id of one instance: one wanted copy of an app, which outlives the tasks that run it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
pub(crate) struct InstanceId(String);

impl InstanceId {
    /// Returns the id of an instance of an app.
    pub(crate) fn new(app: &AppId, uuid: &str) -> Self {
        let app = app.as_str().trim_start_matches('/').replace('/', "_");
        Self(format!("{app}.instance-{uuid}"))
    }

    /// Returns the id of the instance's task with an incarnation number.
    pub(crate) fn task(&self, incarnation: u32) -> TaskId {
        TaskId(format!("{}._app.{incarnation}", self.0))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for InstanceId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The id of one task: one incarnation of an instance, one process group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
pub(crate) struct TaskId(String);

impl TaskId {
    /// Returns the id as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id that a client's text names.
    ///
    /// # Errors
    /// A sentence for the 400 answer where the text cannot be a task id at all
    /// (`Task.Id.parse` refuses what matches none of its patterns).
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let separator = text.rfind(['.', '_']);
        let plausible = separator.is_some_and(|at| at > 0 && at + 1 < text.len());
        if plausible && !text.contains('/') {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "Invalid task id '{text}'. [{text} does not match the pattern of a task id, \
                 <app>.instance-<uuid>._app.<incarnation>]"
            ))
        }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for TaskId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Returns a random UUID (version 4, RFC 9562 §5.4).
///
/// # Errors
/// When the system's random source cannot be read.
pub(crate) fn random_uuid() -> std::io::Result<String> {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format_uuid(bytes))
}

fn format_uuid(bytes: [u8; 16]) -> String {
    let mut bits = u128::from_be_bytes(bytes);
    bits &= !(0xf << 76);
    bits |= 0x4 << 76;
    bits &= !(0x3 << 62);
    bits |= 0x2 << 62;
    let hex = format!("{bits:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_around_and_inside_an_id_are_forgiven() {
        for text in [
            "green-oinker",
            "/green-oinker",
            "//green-oinker/",
            "/a/../green-oinker",
        ] {
            assert_eq!(AppId::from_text(text).as_str(), "/green-oinker", "{text}");
        }
        assert_eq!(AppId::from_text("/a//b").as_str(), "/a/b");
        assert_eq!(AppId::from_text("/").as_str(), "/");
    }

    #[test]
    fn an_id_knows_what_it_is_in() {
        let id = AppId::from_text;

        assert_eq!(id("/a/b").parent(), Some(id("/a")));
        assert_eq!(id("b").parent(), Some(AppId::root()));
        assert_eq!(AppId::root().parent(), None);
        assert_eq!(AppId::resolve(&id("/a"), "b"), id("/a/b"));
        assert_eq!(AppId::resolve(&id("/a"), "../b"), id("/b"));
        assert_eq!(AppId::resolve(&id("/a"), "/b"), id("/b"));
        assert!(id("/a/b").is_within(&id("/a")) && id("/a").is_within(&AppId::root()));
        assert!(!id("/ab").is_within(&id("/a")) && !id("/a").is_within(&id("/a/b")));
    }

    #[test]
    fn an_id_follows_the_grammar_of_path_ids() {
        for valid in ["/a", "/a/b-c", "/v1.2", "/0", "/product/us-east/service"] {
            assert_eq!(
                AppId::from_text(valid).mistakes(),
                Vec::<String>::new(),
                "{valid}"
            );
        }
        for invalid in ["/", "/A", "/a_b", "/-a", "/a-", "/a..b", "/a/tasks", "/é"] {
            assert_ne!(
                AppId::from_text(invalid).mistakes(),
                Vec::<String>::new(),
                "{invalid}"
            );
        }
    }

    #[test]
    fn a_task_id_names_its_instance_and_its_incarnation() {
        let instance = InstanceId::new(&AppId::from_text("/shop/cart"), "u");

        assert_eq!(instance.to_string(), "shop_cart.instance-u");
        assert_eq!(instance.task(3).as_str(), "shop_cart.instance-u._app.3");
    }

    #[test]
    fn a_text_without_a_separator_is_no_task_id() {
        assert!(TaskId::parse("cart.4f4e").is_ok());
        for text in ["cart", "", ".", "cart.", "a/b.c"] {
            assert!(TaskId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_uuid_carries_its_version_and_variant() {
        assert_eq!(
            format_uuid([0xff; 16]),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
        assert_eq!(format_uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
    }
}
