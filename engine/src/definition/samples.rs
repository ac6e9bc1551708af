//! Definitions from the field against what Marathon 1.10 makes of them (`tests/data/README.md`).

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::Definition;

/// How many there are at least: a folder that cannot be found must not pass.
const SAMPLES_MIN: usize = 49;

struct Sample {
    name: String,
    content: Value,
}

impl Sample {
    fn posted(&self) -> &Map<String, Value> {
        self.content["posted"].as_object().expect("an app object")
    }
}

fn samples() -> Vec<Sample> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/definitions");
    let files = fs::read_dir(folder).expect("the samples are there");
    let samples: Vec<Sample> = files
        .map(|file| {
            let path = file.expect("a file").path();
            let text = fs::read_to_string(&path).expect("a text");
            Sample {
                name: path.display().to_string(),
                content: serde_json::from_str(&text).expect("JSON"),
            }
        })
        .collect();
    assert!(samples.len() >= SAMPLES_MIN, "{}", samples.len());
    samples
}

/// Returns what an answer about the posted definition would hold.
fn answer(posted: &Map<String, Value>) -> Value {
    match Definition::read(None, posted) {
        Ok(definition) => json!({ "shown": definition.to_json() }),
        Err(issues) => json!({ "refused": issues.body()["details"] }),
    }
}

#[test]
fn every_definition_from_the_field_is_shown_as_marathon_1_10_does_or_refused_by_name() {
    let mut wrong = Vec::new();
    for sample in samples() {
        let mut expected = sample.content.clone();
        let parts = expected.as_object_mut().expect("an object");
        parts.retain(|key, _| key == "shown" || key == "refused");
        let found = answer(sample.posted());
        if found != expected {
            wrong.push(format!(
                "{}\n  expected {expected}\n  found    {found}",
                sample.name
            ));
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_shown_of_a_definition_from_the_field_may_be_sent_back_unchanged() {
    for sample in samples() {
        if let Some(shown) = sample.content["shown"].as_object() {
            assert_eq!(answer(shown), json!({ "shown": shown }), "{}", sample.name);
        }
    }
}
