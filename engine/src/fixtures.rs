//! Values for unit tests.

use serde_json::{Map, Value, json};

use crate::definition::Definition;

/// Returns the fields of a JSON object.
pub(crate) fn fields(value: Value) -> Map<String, Value> {
    value.as_object().expect("the fixture is an object").clone()
}

/// Returns a small app that is accepted as it is.
pub(crate) fn definition() -> Definition {
    definition_of(json!({ "id": "/app", "cmd": "sleep 1000" }))
}

/// Returns the definition of a body that must be accepted.
pub(crate) fn definition_of(body: Value) -> Definition {
    Definition::read(None, &fields(body)).expect("the fixture is valid")
}
