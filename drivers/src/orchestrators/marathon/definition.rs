//! An app as Marathon shows it, made into one that can be posted again.

use serde_json::{Map, Value};

/// What Marathon adds to an app and does not take back. `version` in a posted app would ask for a rollback to it.
const READ_ONLY: [&str; 10] = [
    "tasks",
    "tasksStaged",
    "tasksRunning",
    "tasksHealthy",
    "tasksUnhealthy",
    "tasksStats",
    "deployments",
    "lastTaskFailure",
    "readinessCheckResults",
    "versionInfo",
];

/// Returns the app as it can be posted again, with its service ports, so that it comes back as it was.
pub(super) fn postable(mut app: Map<String, Value>) -> Map<String, Value> {
    app.retain(|key, _| key != "version" && !READ_ONLY.contains(&key.as_str()));
    app.values_mut().for_each(drop_nulls);
    app.retain(|_, value| !value.is_null());
    drop_twice_told(&mut app);
    app
}

/// Up to 1.4 an absent field is shown as null.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(drop_nulls);
            fields.retain(|_, value| !value.is_null());
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Up to 1.4 an app shows the older and the newer form of a field, and refuses both when it is posted.
fn drop_twice_told(app: &mut Map<String, Value>) {
    if !is_empty_list(app.get("fetch")) {
        app.shift_remove("uris");
    } else if !is_empty_list(app.get("uris")) {
        app.shift_remove("fetch");
    }
    if !is_empty_list(app.get("portDefinitions")) {
        app.shift_remove("ports");
    }
    for key in ["uris", "storeUrls"] {
        if is_empty_list(app.get(key)) {
            app.shift_remove(key);
        }
    }
}

fn is_empty_list(value: Option<&Value>) -> bool {
    value.and_then(Value::as_array).is_none_or(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(shown: &Value) -> Map<String, Value> {
        shown.as_object().cloned().unwrap()
    }

    #[test]
    fn what_marathon_adds_is_taken_out_and_what_was_given_stays() {
        let shown = json!({
            "id": "/oinker", "instances": 3, "cmd": "run", "args": null, "labels": {},
            "container": { "type": "DOCKER", "docker": { "image": "i", "credential": null },
                           "portMappings": [{ "containerPort": 3000, "servicePort": 10000 }] },
            "version": "2014-03-01T23:29:30.158Z",
            "versionInfo": { "lastScalingAt": "2014-03-01T23:29:30.158Z" },
            "tasks": [], "tasksStaged": 0, "tasksRunning": 3, "tasksHealthy": 3, "tasksUnhealthy": 0,
            "deployments": [], "lastTaskFailure": { "message": "m" }, "uris": []
        });

        let expected = json!({
            "id": "/oinker", "instances": 3, "cmd": "run", "labels": {},
            "container": { "type": "DOCKER", "docker": { "image": "i" },
                           "portMappings": [{ "containerPort": 3000, "servicePort": 10000 }] }
        });
        assert_eq!(Value::Object(postable(fields(&shown))), expected);
    }

    #[test]
    fn of_two_forms_of_a_field_the_one_that_says_something_stays() {
        for (shown, expected) in [
            (
                json!({ "uris": ["u"], "fetch": [{ "uri": "u" }] }),
                json!({ "fetch": [{ "uri": "u" }] }),
            ),
            (
                json!({ "uris": ["u"], "fetch": [] }),
                json!({ "uris": ["u"] }),
            ),
            (json!({ "uris": [], "storeUrls": [] }), json!({})),
            (
                json!({ "ports": [10000], "portDefinitions": [{ "port": 10000 }] }),
                json!({ "portDefinitions": [{ "port": 10000 }] }),
            ),
            (json!({ "ports": [10000] }), json!({ "ports": [10000] })),
            (
                json!({ "ports": [], "portDefinitions": [] }),
                json!({ "ports": [], "portDefinitions": [] }),
            ),
        ] {
            assert_eq!(Value::Object(postable(fields(&shown))), expected, "{shown}");
        }
    }
}
