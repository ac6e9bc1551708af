//! What labels say of the gauge of pending operations.

use super::PendingSource;
use crate::problem::Problem;
use std::collections::BTreeMap;

const NONE: &str = "TEAL_PENDING";
const PATH: &str = "TEAL_PENDING_PATH";
const GAUGE: &str = "TEAL_PENDING_GAUGE";
const POINTER: &str = "TEAL_PENDING_POINTER";
const PORT_INDEX: &str = "TEAL_PENDING_PORT_INDEX";

/// Returns where the gauge is, if the labels say; what they say and cannot be used is added to `problems`.
pub(super) fn read(
    texts: &BTreeMap<&str, &str>,
    problems: &mut Vec<Problem>,
) -> Option<PendingSource> {
    let get = |name: &str| texts.get(name).copied();
    let port_index = match get(PORT_INDEX).map(str::parse::<usize>) {
        None => 0,
        Some(Ok(index)) => index,
        Some(Err(_)) => {
            problems.push(problem(PORT_INDEX, "must be a whole number"));
            0
        }
    };
    let parts = (get(PATH), get(GAUGE), get(POINTER));
    let source = match get(NONE) {
        Some(word) => none(word, parts),
        None => gauge(parts, port_index)?,
    };
    source.map_err(|problem| problems.push(problem)).ok()
}

type Parts<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>);

fn none(word: &str, parts: Parts<'_>) -> Result<PendingSource, Problem> {
    match (word, parts) {
        ("none", (None, None, None)) => Ok(PendingSource::None),
        ("none", _) => Err(problem(
            NONE,
            "`none` says there is no gauge, and other labels name one",
        )),
        (other, _) => Err(
            problem(NONE, &format!("`{other}` is not `none`")).hint(format!(
                "name the gauge with {PATH} and {GAUGE} or {POINTER}"
            )),
        ),
    }
}

/// None: nothing is said at all.
fn gauge(parts: Parts<'_>, port_index: usize) -> Option<Result<PendingSource, Problem>> {
    let both = "a gauge is either a Prometheus name or a JSON pointer, not both";
    Some(match parts {
        (None, None, None) => return None,
        (Some(path), _, _) if !path.starts_with('/') => {
            Err(problem(PATH, &format!("`{path}` must begin with `/`")))
        }
        (_, Some(_), Some(_)) => Err(problem(POINTER, both)),
        (Some(_), None, None) => Err(problem(
            PATH,
            "the page is named, and not what to read on it",
        )
        .hint(format!("add {GAUGE} or {POINTER}"))),
        (None, _, _) => Err(
            problem(PATH, "the gauge is named, and not the page it stands on")
                .hint("add TEAL_PENDING_PATH, for example /metrics"),
        ),
        (Some(path), Some(gauge), None) => Ok(PendingSource::Prometheus {
            path: path.to_owned(),
            gauge: gauge.to_owned(),
            port_index,
        }),
        (Some(path), None, Some(pointer)) if pointer.starts_with('/') => {
            Ok(PendingSource::Pointer {
                path: path.to_owned(),
                pointer: pointer.to_owned(),
                port_index,
            })
        }
        (Some(_), None, Some(pointer)) => Err(problem(
            POINTER,
            &format!("`{pointer}` is not a JSON pointer"),
        )
        .hint("write it like /pending/operations (RFC 6901)")),
    })
}

fn problem(label: &str, what: &str) -> Problem {
    Problem::new(format!("labels.{label}"), what)
}
