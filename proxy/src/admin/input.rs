//! Judging what is sent to the admin API: all mistakes at once, and unknown keys are mistakes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Map, Value};

use crate::limits;
use crate::pool::{Change, Protocol};

/// What is wrong, as sentences.
#[derive(Debug, Default)]
struct Problems(Vec<String>);

impl Problems {
    /// Adds a problem while there is room: a body may hold millions.
    fn push(&mut self, problem: String) {
        if self.0.len() < limits::ADMIN_PROBLEMS_MAX {
            self.0.push(problem);
        }
    }
}

/// Returns whether `name` can name a pool or an instance.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= limits::NAME_BYTES_MAX && !name.chars().any(char::is_control)
}

/// Reads `{"listen": address or null, "protocol": "http" or "tcp"}`, both optional.
pub(super) fn open(value: &Value) -> Result<(Option<SocketAddr>, Protocol), Vec<String>> {
    let mut problems = Problems::default();
    let Some(object) = object(value, &["listen", "protocol"], "the body", &mut problems) else {
        return Err(problems.0);
    };
    let listen = match object.get("listen") {
        None | Some(Value::Null) => None,
        Some(value) => address(value, "listen", &mut problems),
    };
    let protocol = match object.get("protocol").map(|value| (value, value.as_str())) {
        None | Some((_, Some("http"))) => Protocol::Http,
        Some((_, Some("tcp"))) => Protocol::Tcp,
        Some((value, _)) => {
            problems.push(format!("protocol: {value} is neither \"http\" nor \"tcp\""));
            Protocol::Http
        }
    };
    if problems.0.is_empty() {
        Ok((listen, protocol))
    } else {
        Err(problems.0)
    }
}

/// Reads `{"admit": [{"instance", "address"}], "withdraw": [id], "forget": [id]}`, all optional.
pub(super) fn change(value: &Value) -> Result<Change, Vec<String>> {
    let mut problems = Problems::default();
    let keys = ["admit", "withdraw", "forget"];
    let Some(object) = object(value, &keys, "the body", &mut problems) else {
        return Err(problems.0);
    };
    let mut change = Change::default();
    for (index, item) in list(object, "admit", &mut problems).iter().enumerate() {
        let place = format!("admit[{index}]");
        if let Some(admitted) = admitted(item, &place, &mut problems) {
            change.admit.push(admitted);
        }
    }
    change.withdraw = ids(object, "withdraw", &mut problems);
    change.forget = ids(object, "forget", &mut problems);
    contradictions(&change, &mut problems);
    if problems.0.is_empty() {
        Ok(change)
    } else {
        Err(problems.0)
    }
}

/// Refuses what would depend on the order in which the parts of one step are done.
fn contradictions(change: &Change, problems: &mut Problems) {
    let mut admitted = BTreeMap::new();
    for (instance, address) in &change.admit {
        let earlier = admitted.insert(instance, address);
        if let Some(earlier) = earlier.filter(|earlier| *earlier != address) {
            problems.push(format!(
                "admit: {instance:?} is named with two addresses, {earlier} and {address}"
            ));
        }
    }
    for (key, ids) in [("withdraw", &change.withdraw), ("forget", &change.forget)] {
        for id in ids.iter().filter(|id| admitted.contains_key(id)) {
            problems.push(format!("{id:?} is named in admit and in {key}"));
        }
    }
}

fn admitted(item: &Value, place: &str, problems: &mut Problems) -> Option<(String, SocketAddr)> {
    let object = object(item, &["instance", "address"], place, problems)?;
    let instance = match object.get("instance") {
        Some(value) => id(value, &format!("{place}.instance"), problems),
        None => {
            problems.push(format!("{place}: \"instance\" is missing"));
            None
        }
    };
    let address = match object.get("address") {
        Some(value) => endpoint_address(value, &format!("{place}.address"), problems),
        None => {
            problems.push(format!("{place}: \"address\" is missing"));
            None
        }
    };
    Some((instance?, address?))
}

fn endpoint_address(value: &Value, place: &str, problems: &mut Problems) -> Option<SocketAddr> {
    let address = address(value, place, problems)?;
    if address.port() == 0 || address.ip().is_unspecified() {
        problems.push(format!("{place}: {address} cannot be connected to"));
        return None;
    }
    Some(address)
}

fn address(value: &Value, place: &str, problems: &mut Problems) -> Option<SocketAddr> {
    let address = value.as_str().and_then(|text| text.parse().ok());
    if address.is_none() {
        problems.push(format!(
            "{place}: {value} is not an address like \"127.0.0.1:31001\""
        ));
    }
    address
}

fn ids(object: &Map<String, Value>, key: &str, problems: &mut Problems) -> Vec<String> {
    let items = list(object, key, problems).iter().enumerate();
    items
        .filter_map(|(index, item)| id(item, &format!("{key}[{index}]"), problems))
        .collect()
}

fn id(value: &Value, place: &str, problems: &mut Problems) -> Option<String> {
    match value.as_str().filter(|id| is_name(id)) {
        Some(id) => Some(id.to_owned()),
        None => {
            problems.push(format!(
                "{place}: {value} is not an instance id (1 to {} bytes, no control characters)",
                limits::NAME_BYTES_MAX
            ));
            None
        }
    }
}

fn list<'v>(object: &'v Map<String, Value>, key: &str, problems: &mut Problems) -> &'v [Value] {
    match object.get(key).map(|value| (value, value.as_array())) {
        None => &[],
        Some((_, Some(items))) => items,
        Some((Value::Null, _)) => &[],
        Some(_) => {
            problems.push(format!("{key}: must be a list"));
            &[]
        }
    }
}

fn object<'v>(
    value: &'v Value,
    keys: &[&str],
    place: &str,
    problems: &mut Problems,
) -> Option<&'v Map<String, Value>> {
    let Some(object) = value.as_object() else {
        problems.push(format!("{place} must be an object"));
        return None;
    };
    for key in object.keys().filter(|key| !keys.contains(&key.as_str())) {
        problems.push(format!(
            "{place}: unknown key {key:?}; known are {}",
            keys.join(", ")
        ));
    }
    Some(object)
}
