//! What is wrong with a request body: every mistake, each with the path of the field it is in.
//!
//! Marathon answers `{"message", "details": [{"path", "errors": []}]}` with status 422
//! (`mesosphere.marathon.api.v2.Validation`); this is the list behind it.

use serde_json::{Value, json};

/// How many paths are told, and how many mistakes of each: a body may hold millions, and whoever sent them learns no
/// more from the last ones.
const PATHS_MAX: usize = 1000;
const ERRORS_OF_ONE_MAX: usize = 100;

/// The mistakes found in one request body, in the order of discovery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Issues {
    found: Vec<(String, Vec<String>)>,
    wrong_type: bool,
}

impl Issues {
    /// Returns an empty list.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a mistake at a path such as `/healthChecks(0)/portIndex`; `/` is the whole object.
    pub(crate) fn add(&mut self, path: &str, error: impl Into<String>) {
        if self.found.len() == PATHS_MAX {
            return;
        }
        match self.found.iter_mut().find(|(known, _)| known == path) {
            Some((_, errors)) if errors.len() == ERRORS_OF_ONE_MAX => {}
            Some((_, errors)) => errors.push(error.into()),
            None => self.found.push((path.to_owned(), vec![error.into()])),
        }
    }

    /// Adds a mistake of JSON type, in the words of Marathon's JSON library
    /// (`error.expected.jsstring`, play-json `JsonValidationError`).
    pub(crate) fn add_wrong_type(&mut self, path: &str, expected: &str) {
        self.wrong_type = true;
        self.add(path, format!("error.expected.{expected}"));
    }

    /// Adds a required field that is not there (play-json's `error.path.missing`).
    pub(crate) fn add_path_missing(&mut self, path: &str) {
        self.wrong_type = true;
        self.add(path, "error.path.missing");
    }

    /// Takes over the mistakes of a part, such as one app of a group, below the part's own path.
    pub(crate) fn absorb(&mut self, path: &str, part: Self) {
        self.wrong_type |= part.wrong_type;
        for (inner, errors) in part.found {
            let inner = if inner == "/" { "" } else { &inner };
            for error in errors {
                self.add(&format!("{path}{inner}"), error);
            }
        }
    }

    /// Returns `Ok` where nothing is wrong.
    ///
    /// # Errors
    /// The list itself, where it is not empty.
    pub(crate) fn into_result(self) -> Result<(), Self> {
        if self.found.is_empty() {
            Ok(())
        } else {
            Err(self)
        }
    }

    /// Returns the body of the 422 answer.
    pub(crate) fn body(&self) -> Value {
        let message = if self.wrong_type {
            "Invalid JSON"
        } else {
            "Object is not valid"
        };
        let details: Vec<Value> = self
            .found
            .iter()
            .map(|(path, errors)| json!({ "path": path, "errors": errors }))
            .collect();
        json!({ "message": message, "details": details })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_one_path_are_listed_together() {
        let mut issues = Issues::new();
        issues.add("/cpus", "is less than 0.001");
        issues.add("/id", "must not be root");
        issues.add("/cpus", "is odd");

        assert_eq!(
            issues.body(),
            json!({
                "message": "Object is not valid",
                "details": [
                    { "path": "/cpus", "errors": ["is less than 0.001", "is odd"] },
                    { "path": "/id", "errors": ["must not be root"] },
                ],
            })
        );
    }

    #[test]
    fn a_body_full_of_mistakes_is_told_of_the_first_ones() {
        let mut issues = Issues::new();
        for index in 0..1_000_000 {
            issues.add_wrong_type(&format!("/args({index})"), "jsstring");
        }
        for _ in 0..1_000_000 {
            issues.add("/", "is odd");
        }

        let body = issues.body();

        let details = body["details"].as_array().expect("a list");
        assert_eq!(details.len(), PATHS_MAX);
        assert_eq!(details[7]["path"], "/args(7)");
    }

    #[test]
    fn a_wrong_json_type_changes_the_message() {
        let mut issues = Issues::new();
        issues.add_wrong_type("/id", "jsstring");

        assert_eq!(issues.body()["message"], "Invalid JSON");
    }
}
