//! A gauge on a page in Prometheus' text format, version 0.0.4.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>
//!
//! The page is read as Prometheus reads it: one line that is wrong voids all of it. A page that is mangled says
//! nothing about the lines that look right.

use super::amount::Amount;
use std::collections::BTreeMap;
use teal_core::observation::Pending;

/// Returns the sum of the series of a page that `gauge` selects: a name, optionally with labels that a series must
/// have (`queue_length{queue="db"}`).
#[must_use]
pub fn prometheus(text: &str, gauge: &str) -> Pending {
    match sum(text, gauge) {
        Ok(amount) => Pending::Count(amount.rounded_up()),
        Err(reason) => Pending::Unknown(reason),
    }
}

/// A name with labels.
#[derive(Debug, PartialEq, Eq)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
}

impl Series {
    /// A label that is wanted empty is one that is not there, as in Prometheus.
    fn is_selected_by(&self, selector: &Self) -> bool {
        let value = |name| self.labels.get(name).map_or("", String::as_str);
        self.name == selector.name
            && selector
                .labels
                .iter()
                .all(|(name, wanted)| value(name) == wanted)
    }
}

fn sum(text: &str, gauge: &str) -> Result<Amount, String> {
    let selector = selector(gauge)?;
    let mut total = Amount::ZERO;
    let mut matched = false;
    let mut declared: Option<&str> = None;
    for (index, line) in text.split('\n').enumerate() {
        let line = line.trim_matches([' ', '\t', '\r']);
        if line.is_empty() {
            continue;
        }
        if let Some(comment) = line.strip_prefix('#') {
            if let Some(kind) = type_of(comment, &selector.name) {
                check_type(kind, declared, &selector.name)?;
                declared = Some(kind);
            }
            continue;
        }
        let at = |why: String| format!("line {} of the page: {why}", index + 1);
        let (series, value) = sample(line).map_err(at)?;
        if series.is_selected_by(&selector) {
            total = total.plus(Amount::parse(value).map_err(at)?);
            matched = true;
        }
    }
    if matched {
        Ok(total)
    } else {
        Err(format!("`{gauge}` is not on the page"))
    }
}

fn selector(gauge: &str) -> Result<Series, String> {
    let mut reader = Reader { rest: gauge.trim() };
    let unusable = |why: String| format!("`{gauge}` is not a gauge's name: {why}");
    let series = reader.series().map_err(unusable)?;
    match reader.rest {
        "" => Ok(series),
        rest => Err(unusable(format!("`{rest}` is left over"))),
    }
}

/// Returns the type that a comment declares for a metric, if it does.
fn type_of<'a>(comment: &'a str, name: &str) -> Option<&'a str> {
    let mut words = comment.split([' ', '\t']).filter(|word| !word.is_empty());
    if words.next() != Some("TYPE") || words.next() != Some(name) {
        return None;
    }
    Some(words.next().unwrap_or_default())
}

fn check_type(kind: &str, declared: Option<&str>, name: &str) -> Result<(), String> {
    if declared.is_some_and(|declared| declared != kind) {
        return Err(format!("the page declares two types for `{name}`"));
    }
    match kind {
        "gauge" | "untyped" | "unknown" => Ok(()),
        _ => Err(format!(
            "`{name}` is declared as a {kind}, and only a gauge can tell what is pending"
        )),
    }
}

/// Reads `name{labels} value timestamp`, and what OpenMetrics may put behind a `#`.
fn sample(line: &str) -> Result<(Series, &str), String> {
    let mut reader = Reader { rest: line };
    let series = reader.series()?;
    let mut words = reader
        .rest
        .split([' ', '\t'])
        .filter(|word| !word.is_empty());
    let Some(value) = words.next() else {
        return Err("no value stands there".to_owned());
    };
    is_number(value)?;
    match words.next() {
        None | Some("#") => return Ok((series, value)),
        Some(timestamp) => {
            timestamp
                .parse::<f64>()
                .map_err(|_| format!("`{timestamp}` is not a timestamp"))?;
        }
    }
    match words.next() {
        None | Some("#") => Ok((series, value)),
        Some(word) => Err(format!("`{word}` is left over")),
    }
}

/// Any number that Prometheus takes; which of them are amounts is for the series that are selected.
fn is_number(text: &str) -> Result<(), String> {
    let hexadecimal = text
        .trim_start_matches(['+', '-'])
        .to_ascii_lowercase()
        .starts_with("0x");
    if hexadecimal || text.parse::<f64>().is_ok() {
        Ok(())
    } else {
        Err(format!("`{text}` is not a number"))
    }
}

/// Reads a name and labels from the beginning of a text.
struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn series(&mut self) -> Result<Series, String> {
        let name = self.name()?;
        let mut series = Series {
            name,
            labels: BTreeMap::new(),
        };
        let parted = self.blanks();
        if self.take('{') {
            self.labels(&mut series)?;
        } else if !parted && !self.rest.is_empty() {
            return Err("no blank stands between name and value".to_owned());
        }
        if series.name.is_empty() {
            return Err("it does not begin with a name".to_owned());
        }
        Ok(series)
    }

    /// Reads `name="value", …}`. A value alone is the metric's name, in the quoted form of newer pages.
    fn labels(&mut self, series: &mut Series) -> Result<(), String> {
        loop {
            self.blanks();
            if self.take('}') {
                return Ok(());
            }
            let name = if self.rest.starts_with('"') {
                self.quoted()?
            } else {
                self.name()?
            };
            self.blanks();
            if self.take('=') {
                self.blanks();
                let value = self.quoted()?;
                if name.is_empty() || series.labels.insert(name, value).is_some() {
                    return Err("a label has no name, or stands there twice".to_owned());
                }
            } else if series.name.is_empty() {
                series.name = name;
            } else {
                return Err("a label has no value".to_owned());
            }
            self.blanks();
            if !self.take(',') && !self.rest.starts_with('}') {
                return Err("the labels do not end".to_owned());
            }
        }
    }

    fn name(&mut self) -> Result<String, String> {
        let end = self
            .rest
            .find(|c: char| !is_name_char(c))
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(format!("`{name}` is not a name"));
        }
        self.rest = rest;
        Ok(name.to_owned())
    }

    fn quoted(&mut self) -> Result<String, String> {
        if !self.take('"') {
            return Err("a label's value is not in quotes".to_owned());
        }
        let mut value = String::new();
        let mut chars = self.rest.chars();
        loop {
            match chars.next() {
                None => return Err("a quote does not end".to_owned()),
                Some('"') => break,
                Some('\\') => match chars.next() {
                    Some('n') => value.push('\n'),
                    Some(escaped @ ('\\' | '"')) => value.push(escaped),
                    Some(other) => value.extend(['\\', other]),
                    None => return Err("a quote does not end".to_owned()),
                },
                Some(other) => value.push(other),
            }
        }
        self.rest = chars.as_str();
        Ok(value)
    }

    /// Skips blanks and tabs, and tells whether there were any.
    fn blanks(&mut self) -> bool {
        let rest = self.rest.trim_start_matches([' ', '\t']);
        let any = rest.len() < self.rest.len();
        self.rest = rest;
        any
    }

    fn take(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

#[cfg(test)]
mod tests;
