//! Mistakes in what an operator wrote: all of them at once, each with where it is and what to do about it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where it is: a path such as `healthChecks[0].protocol`, a label's name, a flag. Empty for the whole.
    pub place: String,
    /// What is wrong, as a sentence without a full stop.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// Returns a problem without a hint.
    pub fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            what: what.into(),
            hint: None,
        }
    }

    /// Returns the problem with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\n    hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Returns the known name nearest to `written`, if any is near enough to be meant.
#[must_use]
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = written.chars().count();
    let limit = (length / 3).max(2);
    // Every character that one name has more is an edit: what is far too long need not be looked at.
    let may_be_near = |name: &&str| name.chars().count().abs_diff(length) <= limit;
    known
        .into_iter()
        .filter(may_be_near)
        .map(|name| {
            (
                distance(&written.to_lowercase(), &name.to_lowercase()),
                name,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Returns the number of single-character edits between two texts (Levenshtein), swapped neighbours counting one.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let change = above[j] + usize::from(a != b);
            let mut best = change.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_name_that_was_meant() {
        let known = ["instances", "healthChecks", "cmd", "container"];

        assert_eq!(nearest("instnaces", known), Some("instances"));
        assert_eq!(nearest("healthcheck", known), Some("healthChecks"));
        assert_eq!(nearest("zebra", known), None);
    }
}
