//! What an answer that says no complains about, in all the shapes that Marathon has had since 0.8 and our own
//! servers have: `message` with `details` as text, as a list of texts or as a list of `{path, errors}`, and the older
//! `errors` as a list of `{attribute, error}`. DC/OS's login says `title` and `description` (dcos/dcos-cli, pkg/dcos).

use serde_json::{Map, Value};

/// How many characters of an answer that is not JSON are repeated.
const TEXT_CHARS_MAX: usize = 200;

/// How many details are repeated, and how many characters of each. Places stand before each detail in them, so without
/// limits a short answer could become a text that no memory holds.
const DETAILS_MAX: usize = 100;
const DETAIL_CHARS_MAX: usize = 1000;

/// A complaint, flattened.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Complaint {
    /// What is wrong, if it says.
    pub(super) message: Option<String>,
    /// What is wrong in particular.
    pub(super) details: Vec<String>,
    /// Whether it says that something is locked.
    pub(super) locks: bool,
    /// The deployments that lock it.
    pub(super) locked_by: Vec<String>,
}

impl Complaint {
    pub(super) fn read(body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(Value::Object(body)) => Self::from_object(&body),
            Ok(Value::String(text)) => Self {
                message: Some(text),
                ..Self::default()
            },
            Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) | Err(_) => {
                Self {
                    message: plain(&String::from_utf8_lossy(body)),
                    ..Self::default()
                }
            }
        }
    }

    fn from_object(body: &Map<String, Value>) -> Self {
        let mut details = flatten(body.get("details"));
        details.extend(flatten(body.get("errors")));
        let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
        let message = text("message")
            .or_else(|| text("description"))
            .or_else(|| text("title"));
        let locked_by = body
            .get("deployments")
            .and_then(Value::as_array)
            .map(|deployments| {
                deployments
                    .iter()
                    .filter_map(|one| id(one).map(str::to_owned))
                    .collect::<Vec<_>>()
            });
        Self {
            locks: locked_by.is_some() || message.as_deref().is_some_and(|m| m.contains("locked")),
            message,
            details,
            locked_by: locked_by.unwrap_or_default(),
        }
    }
}

fn id(deployment: &Value) -> Option<&str> {
    deployment
        .as_str()
        .or_else(|| deployment.get("id")?.as_str())
}

fn flatten(details: Option<&Value>) -> Vec<String> {
    match details {
        None | Some(Value::Null) => vec![],
        Some(Value::Array(details)) => details.iter().flat_map(detail).take(DETAILS_MAX).collect(),
        Some(one @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_))) => {
            detail(one)
        }
    }
}

fn detail(detail: &Value) -> Vec<String> {
    if let Some(text) = detail.as_str() {
        return vec![beginning(text, DETAIL_CHARS_MAX)];
    }
    let text = |key: &str| detail.get(key).and_then(Value::as_str);
    let place = text("path")
        .or_else(|| text("attribute"))
        .unwrap_or_default();
    let place = beginning(place, DETAIL_CHARS_MAX);
    let mut errors = flatten(detail.get("errors"));
    errors.extend(flatten(detail.get("error")));
    if errors.is_empty() {
        return vec![beginning(&detail.to_string(), DETAIL_CHARS_MAX)];
    }
    let at = |error: String| {
        if place.is_empty() || place == "/" {
            error
        } else {
            beginning(&format!("{place}: {error}"), DETAIL_CHARS_MAX)
        }
    };
    errors.into_iter().map(at).collect()
}

/// Returns the beginning of a text that is no JSON, on one line; a page of HTML is only called that.
fn plain(text: &str) -> Option<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.starts_with('<') {
        return Some("it answered with a page of HTML".to_owned());
    }
    (!text.is_empty()).then(|| beginning(&text, TEXT_CHARS_MAX))
}

fn beginning(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn details_are_flattened_in_every_shape() {
        for (body, details) in [
            (r#"{"message":"m","details":"line 3"}"#, vec!["line 3"]),
            (
                r#"{"message":"m","details":[{"path":"/cpus","errors":["too low","odd"]},{"path":"/","errors":["no cmd"]}]}"#,
                vec!["/cpus: too low", "/cpus: odd", "no cmd"],
            ),
            (
                r#"{"message":"m","details":["one","two"]}"#,
                vec!["one", "two"],
            ),
            (
                r#"{"message":"Bean is not valid","errors":[{"attribute":"upgradeStrategy","error":"is greater than 1"}]}"#,
                vec!["upgradeStrategy: is greater than 1"],
            ),
            (r#"{"message":"m","details":[]}"#, vec![]),
            (r#"{"message":"m","details":null}"#, vec![]),
            (
                r#"{"message":"m","details":[{"odd":1}]}"#,
                vec![r#"{"odd":1}"#],
            ),
        ] {
            assert_eq!(Complaint::read(body.as_bytes()).details, details, "{body}");
        }
    }

    #[test]
    fn what_locks_an_app_is_read_from_the_list() {
        let complaint = Complaint::read(
            br#"{"message":"App is locked by one or more deployments.","deployments":[{"id":"a"},{"id":"b"}]}"#,
        );

        assert!(complaint.locks);
        assert_eq!(complaint.locked_by, ["a", "b"]);
    }

    #[test]
    fn a_page_of_html_is_not_repeated() {
        let complaint = Complaint::read(b"<!DOCTYPE html><html>secret</html>");

        assert_eq!(
            complaint.message.as_deref(),
            Some("it answered with a page of HTML")
        );
    }

    #[test]
    fn a_long_place_before_many_errors_stays_a_short_text() {
        let errors = vec!["odd"; 10_000];
        let place = "p".repeat(100_000);
        let body = json!({ "details": [{ "path": place, "errors": errors }] });

        let complaint = Complaint::read(body.to_string().as_bytes());

        assert_eq!(complaint.details.len(), DETAILS_MAX);
        assert!(
            complaint
                .details
                .iter()
                .all(|one| one.len() <= DETAIL_CHARS_MAX)
        );
    }

    #[test]
    fn an_empty_answer_complains_about_nothing() {
        assert_eq!(Complaint::read(b""), Complaint::default());
    }
}
