//! The keys of a Marathon app definition: which there are, and of what type (Marathon 1.10's RAML types and the
//! deprecated forms that 1.5 and later still accept).

use crate::problem::{Problem, nearest};
use serde_json::{Map, Value};

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Whole,
    Flag,
    Object,
    Array,
    /// Checked by nobody here.
    Any,
}

use Kind::{Any, Array, Flag, Number, Object, Text, Whole};

const APP: &[(&str, Kind)] = &[
    ("id", Text),
    ("cmd", Text),
    ("args", Array),
    ("instances", Whole),
    ("cpus", Number),
    ("mem", Number),
    ("disk", Number),
    ("gpus", Number),
    ("executor", Text),
    ("env", Object),
    ("secrets", Object),
    ("labels", Object),
    ("constraints", Array),
    ("acceptedResourceRoles", Array),
    ("role", Text),
    ("user", Text),
    ("tty", Flag),
    ("dependencies", Array),
    ("fetch", Array),
    ("uris", Array),
    ("storeUrls", Array),
    ("container", Object),
    ("networks", Array),
    ("portDefinitions", Array),
    ("ports", Array),
    ("requirePorts", Flag),
    ("ipAddress", Object),
    ("healthChecks", Array),
    ("check", Object),
    ("readinessChecks", Array),
    ("upgradeStrategy", Object),
    ("backoffSeconds", Number),
    ("backoffFactor", Number),
    ("maxLaunchDelaySeconds", Number),
    ("taskKillGracePeriodSeconds", Number),
    ("killSelection", Text),
    ("unreachableStrategy", Any),
    ("residency", Object),
    ("executorResources", Object),
    ("resourceLimits", Object),
    ("version", Text),
    ("versionInfo", Object),
    ("deployments", Array),
    ("tasks", Array),
    ("tasksStaged", Whole),
    ("tasksRunning", Whole),
    ("tasksHealthy", Whole),
    ("tasksUnhealthy", Whole),
    ("lastTaskFailure", Object),
];

const HEALTH_CHECK: &[(&str, Kind)] = &[
    ("protocol", Text),
    ("path", Text),
    ("port", Whole),
    ("portIndex", Whole),
    ("gracePeriodSeconds", Number),
    ("intervalSeconds", Number),
    ("timeoutSeconds", Number),
    ("maxConsecutiveFailures", Whole),
    ("delaySeconds", Number),
    ("ignoreHttp1xx", Flag),
    ("ipProtocol", Text),
    ("command", Object),
];

const CONTAINER: &[(&str, Kind)] = &[
    ("type", Text),
    ("docker", Object),
    ("portMappings", Array),
    ("volumes", Array),
    ("linuxInfo", Object),
    ("appc", Object),
];

const DOCKER: &[(&str, Kind)] = &[
    ("image", Text),
    ("forcePullImage", Flag),
    ("privileged", Flag),
    ("parameters", Array),
    ("pullConfig", Object),
    ("credential", Object),
    ("network", Text),
    ("portMappings", Array),
];

const PORT_MAPPING: &[(&str, Kind)] = &[
    ("containerPort", Whole),
    ("hostPort", Whole),
    ("servicePort", Whole),
    ("protocol", Text),
    ("name", Text),
    ("labels", Object),
    ("networkNames", Array),
];

const PORT_DEFINITION: &[(&str, Kind)] = &[
    ("port", Whole),
    ("protocol", Text),
    ("name", Text),
    ("labels", Object),
];

const UPGRADE: &[(&str, Kind)] = &[
    ("minimumHealthCapacity", Number),
    ("maximumOverCapacity", Number),
];

/// Returns every unknown key and wrong type.
pub(super) fn check(body: &Map<String, Value>) -> Vec<Problem> {
    let mut problems = Vec::new();
    check_object("", body, APP, &mut problems);
    check_list("healthChecks", body, HEALTH_CHECK, &mut problems);
    check_list("portDefinitions", body, PORT_DEFINITION, &mut problems);
    if let Some(upgrade) = object(body, "upgradeStrategy") {
        check_object("upgradeStrategy.", upgrade, UPGRADE, &mut problems);
    }
    if let Some(container) = object(body, "container") {
        check_object("container.", container, CONTAINER, &mut problems);
        check_list_at(
            "container.portMappings",
            container.get("portMappings"),
            PORT_MAPPING,
            &mut problems,
        );
        if let Some(docker) = object(container, "docker") {
            check_object("container.docker.", docker, DOCKER, &mut problems);
            let place = "container.docker.portMappings";
            check_list_at(
                place,
                docker.get("portMappings"),
                PORT_MAPPING,
                &mut problems,
            );
        }
    }
    check_texts(body, "labels", &mut problems);
    problems
}

/// Returns the app's id, absolute; reports a missing or impossible one.
pub(super) fn id(body: &Map<String, Value>, problems: &mut Vec<Problem>) -> String {
    let Some(id) = body.get("id").filter(|id| !id.is_null()) else {
        problems.push(
            Problem::new("id", "the definition has no `id`")
                .hint("name the app, for example \"id\": \"/oinker\""),
        );
        return String::new();
    };
    let Some(id) = id.as_str() else {
        return String::new();
    };
    let path = id.trim_matches('/');
    let segment_is_fine = |segment: &str| {
        let letters = segment
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
        letters && !segment.is_empty() && !segment.starts_with('-') && !segment.ends_with('-')
    };
    if !path.split('/').all(segment_is_fine) {
        problems.push(Problem::new("id", format!("`{id}` is not an app id")).hint(
            "use lower-case letters, digits and dashes, with slashes between groups: /shop/cart",
        ));
    }
    format!("/{path}")
}

/// Returns how many instances the definition asks for; Marathon's default is 1.
pub(super) fn instances(body: &Map<String, Value>) -> u32 {
    let count = body.get("instances").and_then(Value::as_u64).unwrap_or(1);
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Returns the service ports, one per port of an instance; 0 where Marathon is to choose.
pub(super) fn service_ports(body: &Map<String, Value>) -> Vec<u16> {
    let port = |value: &Value, key: &str| {
        value
            .get(key)
            .and_then(Value::as_u64)
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(0)
    };
    let container = object(body, "container");
    let docker = container.and_then(|container| object(container, "docker"));
    let list = |map: Option<&Map<String, Value>>| {
        map.and_then(|map| map.get("portMappings"))
            .and_then(Value::as_array)
            .cloned()
    };
    if let Some(mappings) = list(container).or_else(|| list(docker)) {
        return mappings
            .iter()
            .map(|mapping| port(mapping, "servicePort"))
            .collect();
    }
    if let Some(definitions) = body.get("portDefinitions").and_then(Value::as_array) {
        return definitions
            .iter()
            .map(|definition| port(definition, "port"))
            .collect();
    }
    if let Some(ports) = body.get("ports").and_then(Value::as_array) {
        let number = |value: &Value| {
            value
                .as_u64()
                .and_then(|port| u16::try_from(port).ok())
                .unwrap_or(0)
        };
        return ports.iter().map(number).collect();
    }
    vec![0]
}

pub(super) fn object<'a>(
    body: &'a Map<String, Value>,
    key: &str,
) -> Option<&'a Map<String, Value>> {
    body.get(key).and_then(Value::as_object)
}

fn check_object(
    prefix: &str,
    body: &Map<String, Value>,
    known: &[(&str, Kind)],
    problems: &mut Vec<Problem>,
) {
    for (key, value) in body {
        let place = format!("{prefix}{key}");
        let Some((_, kind)) = known.iter().find(|(name, _)| name == key) else {
            let problem = Problem::new(place, format!("there is no key `{key}` here"));
            problems.push(match nearest(key, known.iter().map(|(name, _)| *name)) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => {
                    problem.hint("remove it, or put it into `labels` or `env` if it is your own")
                }
            });
            continue;
        };
        check_kind(&place, value, *kind, problems);
    }
}

fn check_kind(place: &str, value: &Value, kind: Kind, problems: &mut Vec<Problem>) {
    let (fits, wanted) = match kind {
        Text => (value.is_string(), "a text"),
        Number => (
            value.as_f64().is_some_and(|n| n >= 0.0),
            "a number, zero or more",
        ),
        Whole => (value.as_u64().is_some(), "a whole number, zero or more"),
        Flag => (value.is_boolean(), "true or false"),
        Object => (value.is_object(), "an object"),
        Array => (value.is_array(), "a list"),
        Any => (true, ""),
    };
    if !fits && !value.is_null() {
        problems.push(Problem::new(
            place,
            format!("must be {wanted}, and is {}", describe(value)),
        ));
    }
}

fn check_list(
    key: &str,
    body: &Map<String, Value>,
    known: &[(&str, Kind)],
    problems: &mut Vec<Problem>,
) {
    check_list_at(key, body.get(key), known, problems);
}

fn check_list_at(
    place: &str,
    list: Option<&Value>,
    known: &[(&str, Kind)],
    problems: &mut Vec<Problem>,
) {
    for (index, item) in list
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let place = format!("{place}[{index}]");
        match item.as_object() {
            Some(object) => check_object(&format!("{place}."), object, known, problems),
            None => check_kind(&place, item, Object, problems),
        }
    }
}

fn check_texts(body: &Map<String, Value>, key: &str, problems: &mut Vec<Problem>) {
    for (name, value) in object(body, key).into_iter().flatten() {
        check_kind(&format!("{key}.{name}"), value, Text, problems);
    }
}

/// Marathon wants one of `cmd` and `args`, or a container that brings its own.
pub(super) fn check_command(body: &Map<String, Value>, problems: &mut Vec<Problem>) {
    let has = |key: &str| body.get(key).is_some_and(|value| !value.is_null());
    if has("cmd") && has("args") {
        problems.push(
            Problem::new("cmd", "`cmd` and `args` exclude each other").hint("keep one of them"),
        );
    }
    if !has("cmd") && !has("args") && !has("container") {
        problems.push(
            Problem::new("cmd", "nothing says what to run")
                .hint("give `cmd`, `args` or a `container` with an image"),
        );
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => {
            format!("the text \"{}\"", text.chars().take(40).collect::<String>())
        }
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
