//! Which apps a listing shows: `id`, `cmd` and label selectors.
//!
//! The selector grammar is that of `LabelSelectorParsers.scala`:
//! `key`, `key==value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`, joined by commas.

use super::message::Query;
use crate::definition::{Command, Definition};
use crate::refusal::Refusal;

/// What a listing is restricted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    id: Option<String>,
    cmd: Option<String>,
    labels: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Filter {
    /// Reads the filter out of a request's parameters.
    ///
    /// # Errors
    /// The label selector does not follow the grammar.
    pub(super) fn read(query: &Query) -> Result<Self, Refusal> {
        let lowered = |key| query.first(key).map(str::to_ascii_lowercase);
        let labels = match query.first("label") {
            None => Vec::new(),
            Some(selector) => parse_selector(selector)?,
        };
        Ok(Self {
            id: lowered("id"),
            cmd: lowered("cmd"),
            labels,
        })
    }

    /// Returns whether an app passes.
    pub(super) fn matches(&self, definition: &Definition) -> bool {
        let contains = |text: &str, part: &Option<String>| {
            part.as_ref()
                .is_none_or(|part| text.to_ascii_lowercase().contains(part))
        };
        let cmd = match &definition.command {
            Command::Shell(line) => line.as_str(),
            Command::Arguments(_) | Command::OfImage => "",
        };
        contains(definition.id.as_str(), &self.id)
            && contains(cmd, &self.cmd)
            && self
                .labels
                .iter()
                .all(|condition| condition.holds(definition))
    }
}

impl Condition {
    fn holds(&self, definition: &Definition) -> bool {
        let label = definition.labels.iter().find(|(key, _)| *key == self.key);
        let value = label.map(|(_, value)| value);
        match &self.test {
            Test::Exists => value.is_some(),
            Test::In(values) => value.is_some_and(|value| values.contains(value)),
            Test::NotIn(values) => value.is_some_and(|value| !values.contains(value)),
        }
    }
}

fn parse_selector(selector: &str) -> Result<Vec<Condition>, Refusal> {
    let invalid = || Refusal::BadRequest(format!("Label selector '{selector}' is not valid"));
    split_outside_parentheses(selector)
        .into_iter()
        .map(|part| parse_condition(part.trim()).ok_or_else(invalid))
        .collect()
}

/// Splits at commas that do not stand inside a set such as `(a,b)`.
fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0_usize, 0_usize);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_condition(text: &str) -> Option<Condition> {
    let (key, test) = if let Some((key, value)) = text.split_once("==") {
        (key, Test::In(vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = text.split_once("!=") {
        (key, Test::NotIn(vec![value.trim().to_owned()]))
    } else if let Some((key, set)) = text.split_once(" notin ") {
        (key, Test::NotIn(parse_set(set)?))
    } else if let Some((key, set)) = text.split_once(" in ") {
        (key, Test::In(parse_set(set)?))
    } else {
        (text, Test::Exists)
    };
    let key = key.trim();
    let is_word = !key.is_empty() && !key.contains([' ', '(', ')', '=', '!']);
    is_word.then(|| Condition {
        key: key.to_owned(),
        test,
    })
}

fn parse_set(text: &str) -> Option<Vec<String>> {
    let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    Some(
        inner
            .split(',')
            .map(|value| value.trim().to_owned())
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::definition_of;

    #[test]
    fn a_label_selector_chooses_apps() {
        let app = definition_of(json!({
            "id": "/shop/cart", "cmd": "serve --port $PORT0",
            "labels": { "tier": "front", "region": "eu" },
        }));
        let cases = [
            ("tier", true),
            ("owner", false),
            ("tier==front", true),
            ("tier==back", false),
            ("tier!=back", true),
            ("tier!=front", false),
            ("tier in (front, back),region", true),
            ("tier notin (front,back)", false),
            ("owner!=me", false),
        ];
        for (selector, matches) in cases {
            let labels = parse_selector(selector).expect("the selector is valid");
            let filter = Filter {
                id: None,
                cmd: None,
                labels,
            };
            assert_eq!(filter.matches(&app), matches, "{selector}");
        }
        assert!(parse_selector("tier in front").is_err());
        assert!(parse_selector("a b").is_err());
    }

    #[test]
    fn id_and_cmd_are_substrings_in_any_case() {
        let app = definition_of(json!({ "id": "/shop/cart", "cmd": "Serve" }));
        let filter = |id: &str, cmd: &str| Filter {
            id: Some(id.to_owned()),
            cmd: Some(cmd.to_owned()),
            labels: Vec::new(),
        };

        assert!(filter("cart", "serve").matches(&app));
        assert!(!filter("card", "serve").matches(&app));
        assert!(!filter("cart", "sleep").matches(&app));
    }
}
