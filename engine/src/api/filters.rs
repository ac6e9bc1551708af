//! Which apps a listing shows: `id`, `cmd` and label selectors.
//!
//! The selector grammar is that of `LabelSelectorParsers` in LabelSelector.scala:
//! `key`, `key==value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`, joined by commas; every
//! character but letters, digits and `.-_` stands after a backslash.

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
    let mut reader = Reader(selector);
    reader.conditions().ok_or_else(|| {
        let at = selector.len() - reader.0.len();
        let rest = if reader.0.is_empty() {
            "the end"
        } else {
            reader.0
        };
        Refusal::BadSelector(format!(
            "Can not parse label selector {selector}. Reason: unexpected at character {}: {rest}",
            at + 1
        ))
    })
}

/// What is left to be read of a selector. White space between its parts is none of it.
struct Reader<'a>(&'a str);

impl Reader<'_> {
    fn conditions(&mut self) -> Option<Vec<Condition>> {
        let mut conditions = Vec::new();
        if self.is_at_end() {
            return Some(conditions);
        }
        loop {
            conditions.push(self.condition()?);
            if self.is_at_end() {
                return Some(conditions);
            }
            self.take(",").then_some(())?;
        }
    }

    fn condition(&mut self) -> Option<Condition> {
        let key = self.term()?;
        let test = if self.take("==") {
            Test::In(vec![self.term()?])
        } else if self.take("!=") {
            Test::NotIn(vec![self.term()?])
        } else if self.take("notin") {
            Test::NotIn(self.set()?)
        } else if self.take("in") {
            Test::In(self.set()?)
        } else {
            Test::Exists
        };
        Some(Condition { key, test })
    }

    fn set(&mut self) -> Option<Vec<String>> {
        self.take("(").then_some(())?;
        let mut values = Vec::new();
        while !self.take(")") {
            if !values.is_empty() {
                self.take(",").then_some(())?;
            }
            values.push(self.term()?);
        }
        Some(values)
    }

    /// Reads letters, digits and `.-_`, and anything else after a backslash.
    fn term(&mut self) -> Option<String> {
        self.skip();
        let mut term = String::new();
        let mut letters = self.0.chars();
        loop {
            let rest = letters.as_str();
            match letters.next() {
                Some('\\') => term.push(letters.next()?),
                Some(c) if c.is_ascii_alphanumeric() || "._-".contains(c) => term.push(c),
                Some(_) | None => {
                    self.0 = rest;
                    return (!term.is_empty()).then_some(term);
                }
            }
        }
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip();
        match self.0.strip_prefix(token) {
            None => false,
            Some(rest) => {
                self.0 = rest;
                true
            }
        }
    }

    fn is_at_end(&mut self) -> bool {
        self.skip();
        self.0.is_empty()
    }

    fn skip(&mut self) {
        self.0 = self.0.trim_start();
    }
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
            "labels": { "tier": "front", "region": "eu", "odd key!": "a(b" },
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
            ("tier==front , region in(eu)", true),
            ("tier in ()", false),
            (r"odd\ key\!==a\(b", true),
            ("", true),
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
        for wrong in [
            "tier in front",
            "a b",
            "a,",
            "a==",
            "a in (b",
            "a in (b c)",
            r"a\",
            "a=b",
        ] {
            assert!(parse_selector(wrong).is_err(), "{wrong}");
        }
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
