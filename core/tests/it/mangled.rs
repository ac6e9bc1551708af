//! What a parser may be handed: samples that are right, made wrong in ways that get deep. The tests of every crate that
//! reads something from outside use it; it knows nothing of what is read.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

/// Stands before the text of a value that is to be written as it is, though it need not be JSON.
const AS_IT_IS: &str = "as-it-is:";

/// Values that readers trip over. What is marked is not JSON, or JSON that a tree of values cannot hold.
const ODD: [&str; 34] = [
    "null",
    "true",
    "0",
    "-1",
    "-0.0",
    "0.1",
    "65536",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "1e308",
    "\"\"",
    "\"0\"",
    "\"NaN\"",
    "\"\\u0000\"",
    "\"..\"",
    "\"/\"",
    "\"//a/../b\"",
    "\"%2e%2e%2f\"",
    "\"{}\"",
    "\"ÄÖ\\uD83D\\uDE00\"",
    "\"2014-03-01T23:29:30.158Z\"",
    "[]",
    "{}",
    "[[[]]]",
    "[null,null]",
    "{\"\":{\"\":\"\"}}",
    "\"as-it-is:18446744073709551616\"",
    "\"as-it-is:1e999\"",
    "\"as-it-is:1e-400\"",
    "\"as-it-is:NaN\"",
    "\"as-it-is:\\\"\\\\ud800\\\"\"",
    "\"as-it-is:\"",
];

/// Returns arbitrary bytes.
pub(crate) fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..512)
}

/// One change of a run of bytes.
#[derive(Debug, Clone)]
enum Cut {
    Flip(Index, u8),
    Remove(Index, Index),
    Double(Index, Index),
    End(Index),
    Splice(Index, &'static str),
    Repeat(Index, u8, u16),
}

/// Returns one of the samples with bytes flipped, removed, doubled, cut off, repeated or put in from another sample.
pub(crate) fn mangled(samples: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    (select(samples), vec(cut(samples), 0..6)).prop_map(|(sample, cuts)| {
        let mut bytes = sample.as_bytes().to_vec();
        cuts.iter().for_each(|cut| apply(&mut bytes, cut));
        bytes
    })
}

fn cut(samples: &'static [&'static str]) -> impl Strategy<Value = Cut> {
    let place = any::<Index>;
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Cut::Flip(at, byte)),
        (place(), place()).prop_map(|(from, to)| Cut::Remove(from, to)),
        (place(), place()).prop_map(|(from, to)| Cut::Double(from, to)),
        place().prop_map(Cut::End),
        (place(), select(samples)).prop_map(|(at, other)| Cut::Splice(at, other)),
        (place(), any::<u8>(), 0_u16..2000).prop_map(|(at, byte, n)| Cut::Repeat(at, byte, n)),
    ]
}

fn apply(bytes: &mut Vec<u8>, cut: &Cut) {
    let length = bytes.len() + 1;
    let range = |from: &Index, to: &Index| {
        let (from, to) = (from.index(length), to.index(length));
        from.min(to)..from.max(to)
    };
    match cut {
        Cut::Flip(at, byte) => {
            if let Some(there) = bytes.get_mut(at.index(length)) {
                *there ^= byte;
            }
        }
        Cut::Remove(from, to) => drop(bytes.drain(range(from, to))),
        Cut::Double(from, to) => {
            let again = bytes[range(from, to)].to_vec();
            let at = to.index(length);
            bytes.splice(at..at, again);
        }
        Cut::End(at) => bytes.truncate(at.index(length)),
        Cut::Splice(at, other) => {
            let at = at.index(length);
            bytes.splice(at..at, other.bytes());
        }
        Cut::Repeat(at, byte, times) => {
            let at = at.index(length);
            let run = std::iter::repeat_n(*byte, usize::from(*times));
            bytes.splice(at..at, run);
        }
    }
}

/// One change of a tree of values.
#[derive(Debug, Clone)]
enum Edit {
    Replace(Index, &'static str),
    Grow(Index, usize),
    Nest(Index, usize),
    Move(Index, Index),
    Rename(Index, Index, u8),
    Add(Index, String, &'static str),
    Remove(Index, Index),
}

/// Returns one of the samples, which are JSON, with values swapped and exchanged for odd ones, keys misspelt, added,
/// taken out or written twice, and the nesting made deep. Few are no longer JSON.
pub(crate) fn mangled_json(samples: &'static [&'static str]) -> impl Strategy<Value = String> {
    let twice = proptest::option::weighted(0.2, (any::<Index>(), odd()));
    (select(samples), vec(edit(), 1..6), twice).prop_map(|(sample, edits, twice)| {
        let mut value: Value = serde_json::from_str(sample).expect("a sample is JSON");
        edits.iter().for_each(|one| change(&mut value, one));
        let text = written(&value);
        match twice {
            Some((at, odd)) => with_a_key_twice(&text, at, odd),
            None => text,
        }
    })
}

fn odd() -> impl Strategy<Value = &'static str> {
    select(&ODD[..])
}

fn edit() -> impl Strategy<Value = Edit> {
    let place = any::<Index>;
    prop_oneof![
        8 => (place(), odd()).prop_map(|(at, odd)| Edit::Replace(at, odd)),
        1 => (place(), 0_usize..5000).prop_map(|(at, size)| Edit::Grow(at, size)),
        1 => (place(), 1_usize..3000).prop_map(|(at, depth)| Edit::Nest(at, depth)),
        4 => (place(), place()).prop_map(|(from, to)| Edit::Move(from, to)),
        2 => (place(), place(), any::<u8>()).prop_map(|(at, key, how)| Edit::Rename(at, key, how)),
        1 => (place(), ".{0,8}", odd()).prop_map(|(at, key, odd)| Edit::Add(at, key, odd)),
        2 => (place(), place()).prop_map(|(at, key)| Edit::Remove(at, key)),
    ]
}

fn change(whole: &mut Value, edit: &Edit) {
    let count = count(whole);
    let pick = |index: &Index| index.index(count);
    match edit {
        Edit::Replace(at, odd) => {
            *node(whole, pick(at)) = serde_json::from_str(odd).expect("an odd value is JSON");
        }
        Edit::Grow(at, size) => grow(node(whole, pick(at)), *size),
        Edit::Nest(at, depth) => {
            let node = node(whole, pick(at));
            let inner = written(node);
            let (open, close) = ("[".repeat(*depth), "]".repeat(*depth));
            *node = Value::String(format!("{AS_IT_IS}{open}{inner}{close}"));
        }
        Edit::Move(from, to) => {
            let moved = node(whole, pick(from)).clone();
            *node(whole, pick(to)) = moved;
        }
        Edit::Rename(at, key, how) => {
            if let Value::Object(fields) = node(whole, pick(at))
                && let Some(name) = pick_key(fields, key)
            {
                let value = fields.remove(&name).unwrap_or_default();
                fields.insert(misspelt(&name, *how), value);
            }
        }
        Edit::Add(at, key, odd) => {
            if let Value::Object(fields) = node(whole, pick(at)) {
                let odd = serde_json::from_str(odd).expect("an odd value is JSON");
                fields.insert(key.clone(), odd);
            }
        }
        Edit::Remove(at, key) => match node(whole, pick(at)) {
            Value::Object(fields) => {
                if let Some(name) = pick_key(fields, key) {
                    fields.remove(&name);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                items.remove(key.index(items.len()));
            }
            leaf @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)) => *leaf = Value::Null,
        },
    }
}

fn grow(node: &mut Value, size: usize) {
    match node {
        Value::String(text) => *text = text.repeat(size.min(200)),
        Value::Array(items) => {
            let one = items.first().cloned().unwrap_or_default();
            items.extend(std::iter::repeat_n(one, size.min(300)));
        }
        Value::Object(fields) => {
            fields.insert("k".repeat(size), Value::Null);
        }
        leaf @ (Value::Null | Value::Bool(_) | Value::Number(_)) => {
            *leaf = Value::String("9".repeat(size));
        }
    }
}

fn pick_key(fields: &serde_json::Map<String, Value>, key: &Index) -> Option<String> {
    let at = (!fields.is_empty()).then(|| key.index(fields.len()))?;
    fields.keys().nth(at).cloned()
}

fn misspelt(name: &str, how: u8) -> String {
    match how % 4 {
        0 => name.to_uppercase(),
        1 => name.chars().skip(1).collect(),
        2 => format!("{name}s"),
        _ => name.chars().rev().collect(),
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// The value of that number, counted from the whole, which is 0.
fn node(whole: &mut Value, number: usize) -> &mut Value {
    let mut left = number;
    find(whole, &mut left).expect("there are as many values as were counted")
}

fn find<'v>(value: &'v mut Value, left: &mut usize) -> Option<&'v mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| find(item, left)),
        Value::Object(fields) => fields.values_mut().find_map(|item| find(item, left)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn written(value: &Value) -> String {
    match value {
        Value::String(text) => match text.strip_prefix(AS_IT_IS) {
            Some(as_it_is) => as_it_is.to_owned(),
            None => value.to_string(),
        },
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(written).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| {
                format!("{}:{}", Value::from(key.as_str()), written(value))
            };
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Puts a field before an object's first one that has the same name.
fn with_a_key_twice(text: &str, at: Index, odd: &str) -> String {
    let opens: Vec<usize> = text.match_indices("{\"").map(|(place, _)| place).collect();
    let Some(open) = (!opens.is_empty()).then(|| opens[at.index(opens.len())]) else {
        return text.to_owned();
    };
    let (before, rest) = text.split_at(open + 1);
    let name = rest.split(':').next().unwrap_or_default();
    format!("{before}{name}:{odd},{rest}")
}
