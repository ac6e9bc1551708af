//! Marathon's `container.docker.parameters`: flags of `docker run`, written into the request.
//!
//! Mesos hands each to the command line as `--key=value`, after everything of its own
//! (`Docker::run` in Mesos' `src/docker/docker.cpp`), so a parameter wins over what the definition
//! says elsewhere. What each flag means is in Docker's own command line
//! (`cli/command/container/opts.go`). A flag that is not in the table is a mistake, never ignored.

use serde_json::{Value, json};

/// How the value of a flag is read and where in the request it goes (a JSON pointer).
#[derive(Debug, Clone, Copy)]
enum Form {
    Text(&'static str),
    Truth(&'static str),
    Whole(&'static str),
    Bytes(&'static str),
    /// One more entry of a list.
    Entry(&'static str),
    /// `key=value`, one more entry of a map; the value may be missing.
    Pair(&'static str),
    /// `KEY=VALUE`, in the place of an earlier one of that name.
    Variable,
    /// `path[:options]`.
    Tmpfs,
    /// One word that replaces the image's entry point.
    Entrypoint,
    /// So many processors, in the place of share and quota.
    Cpus,
    /// `host[:container[:permissions]]`.
    Device,
    /// `name=soft[:hard]`.
    Ulimit,
    /// `[host:]container[:options]`.
    Volume,
    /// `port[/protocol]`.
    Expose,
    /// Another name, or the address, in the network that the container joins.
    Alias,
    Address(&'static str),
    NoHealthcheck,
    /// True is what the engine does anyway.
    AlreadySo,
    /// The engine decides that itself; the text says what to use.
    Refused(&'static str),
}

/// Every flag that is known, by its long name.
const FLAGS: [(&str, Form); 73] = [
    ("add-host", Form::Entry("/HostConfig/ExtraHosts")),
    ("blkio-weight", Form::Whole("/HostConfig/BlkioWeight")),
    ("cap-add", Form::Entry("/HostConfig/CapAdd")),
    ("cap-drop", Form::Entry("/HostConfig/CapDrop")),
    ("cgroup-parent", Form::Text("/HostConfig/CgroupParent")),
    ("cgroupns", Form::Text("/HostConfig/CgroupnsMode")),
    ("cpu-period", Form::Whole("/HostConfig/CpuPeriod")),
    ("cpu-quota", Form::Whole("/HostConfig/CpuQuota")),
    (
        "cpu-rt-period",
        Form::Whole("/HostConfig/CpuRealtimePeriod"),
    ),
    (
        "cpu-rt-runtime",
        Form::Whole("/HostConfig/CpuRealtimeRuntime"),
    ),
    ("cpu-shares", Form::Whole("/HostConfig/CpuShares")),
    ("cpus", Form::Cpus),
    ("cpuset-cpus", Form::Text("/HostConfig/CpusetCpus")),
    ("cpuset-mems", Form::Text("/HostConfig/CpusetMems")),
    ("device", Form::Device),
    (
        "device-cgroup-rule",
        Form::Entry("/HostConfig/DeviceCgroupRules"),
    ),
    ("dns", Form::Entry("/HostConfig/Dns")),
    ("dns-opt", Form::Entry("/HostConfig/DnsOptions")),
    ("dns-option", Form::Entry("/HostConfig/DnsOptions")),
    ("dns-search", Form::Entry("/HostConfig/DnsSearch")),
    ("domainname", Form::Text("/Domainname")),
    ("entrypoint", Form::Entrypoint),
    ("env", Form::Variable),
    ("expose", Form::Expose),
    ("group-add", Form::Entry("/HostConfig/GroupAdd")),
    ("hostname", Form::Text("/Hostname")),
    ("init", Form::Truth("/HostConfig/Init")),
    ("ip", Form::Address("IPv4Address")),
    ("ip6", Form::Address("IPv6Address")),
    ("ipc", Form::Text("/HostConfig/IpcMode")),
    ("label", Form::Pair("/Labels")),
    ("link", Form::Entry("/HostConfig/Links")),
    ("log-driver", Form::Text("/HostConfig/LogConfig/Type")),
    ("log-opt", Form::Pair("/HostConfig/LogConfig/Config")),
    ("mac-address", Form::Text("/MacAddress")),
    ("memory", Form::Bytes("/HostConfig/Memory")),
    (
        "memory-reservation",
        Form::Bytes("/HostConfig/MemoryReservation"),
    ),
    ("memory-swap", Form::Bytes("/HostConfig/MemorySwap")),
    (
        "memory-swappiness",
        Form::Whole("/HostConfig/MemorySwappiness"),
    ),
    (
        "name",
        Form::Refused("the engine finds its containers by their names"),
    ),
    ("net", Form::Refused("say `networks` in the definition")),
    ("network", Form::Refused("say `networks` in the definition")),
    ("network-alias", Form::Alias),
    ("no-healthcheck", Form::NoHealthcheck),
    (
        "oom-kill-disable",
        Form::Truth("/HostConfig/OomKillDisable"),
    ),
    ("oom-score-adj", Form::Whole("/HostConfig/OomScoreAdj")),
    ("pid", Form::Text("/HostConfig/PidMode")),
    ("pids-limit", Form::Whole("/HostConfig/PidsLimit")),
    ("privileged", Form::Truth("/HostConfig/Privileged")),
    (
        "publish",
        Form::Refused("say `portMappings` in the definition"),
    ),
    (
        "publish-all",
        Form::Refused("say `portMappings` in the definition"),
    ),
    ("read-only", Form::Truth("/HostConfig/ReadonlyRootfs")),
    (
        "restart",
        Form::Refused("the engine starts an instance again by itself"),
    ),
    ("rm", Form::AlreadySo),
    ("runtime", Form::Text("/HostConfig/Runtime")),
    ("security-opt", Form::Entry("/HostConfig/SecurityOpt")),
    ("shm-size", Form::Bytes("/HostConfig/ShmSize")),
    ("stop-signal", Form::Text("/StopSignal")),
    (
        "stop-timeout",
        Form::Refused("say `taskKillGracePeriodSeconds` in the definition"),
    ),
    ("storage-opt", Form::Pair("/HostConfig/StorageOpt")),
    ("sysctl", Form::Pair("/HostConfig/Sysctls")),
    ("tmpfs", Form::Tmpfs),
    ("tty", Form::Refused("say `tty` in the definition")),
    ("ulimit", Form::Ulimit),
    ("user", Form::Text("/User")),
    ("userns", Form::Text("/HostConfig/UsernsMode")),
    ("uts", Form::Text("/HostConfig/UTSMode")),
    ("volume", Form::Volume),
    ("volume-driver", Form::Text("/HostConfig/VolumeDriver")),
    ("volumes-from", Form::Entry("/HostConfig/VolumesFrom")),
    ("workdir", Form::Text("/WorkingDir")),
    ("interactive", Form::Refused("a task has no input")),
    ("detach", Form::AlreadySo),
];

/// Returns what is wrong with parameters: the position of each bad one and why.
pub(crate) fn mistakes<'a>(
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Vec<(usize, String)> {
    let mut body = json!({ "HostConfig": { "NetworkMode": "any" } });
    let parameters = parameters.into_iter().enumerate();
    parameters
        .filter_map(|(index, (key, value))| Some((index, apply(&mut body, key, value).err()?)))
        .collect()
}

/// Writes one parameter into the body of a request that creates a container.
///
/// # Errors
/// Why the flag or its value cannot be used.
pub(super) fn apply(body: &mut Value, key: &str, value: &str) -> Result<(), String> {
    let Some((_, form)) = FLAGS.iter().find(|(name, _)| *name == key) else {
        return Err(format!(
            "`{key}` is no flag of `docker run` that this engine supports"
        ));
    };
    let bad = |expected: &str| format!("`{key}` must be {expected}, not `{value}`");
    match form {
        Form::Text(place) => *at(body, place) = json!(value),
        Form::Truth(place) => {
            *at(body, place) = json!(truth(value).ok_or_else(|| bad("true or false"))?);
        }
        Form::Whole(place) => {
            let number: i64 = value.parse().map_err(|_| bad("a whole number"))?;
            *at(body, place) = json!(number);
        }
        Form::Bytes(place) => {
            let size = bytes(value).ok_or_else(|| bad("a size such as 64m"))?;
            *at(body, place) = json!(size);
        }
        Form::Entry(place) => push(at(body, place), json!(value)),
        Form::Pair(place) => {
            let (name, text) = value.split_once('=').unwrap_or((value, ""));
            at(body, place)[name] = json!(text);
        }
        Form::Variable => {
            let (name, _) = value.split_once('=').ok_or_else(|| bad("KEY=VALUE"))?;
            set_variable(body, name, value);
        }
        Form::Tmpfs => {
            let (path, options) = value.split_once(':').unwrap_or((value, ""));
            at(body, "/HostConfig/Tmpfs")[path] = json!(options);
        }
        Form::Entrypoint => *at(body, "/Entrypoint") = json!([value]),
        Form::Cpus => set_cpus(body, value).ok_or_else(|| bad("a number such as 0.5"))?,
        Form::Device => push(at(body, "/HostConfig/Devices"), device(value)),
        Form::Ulimit => {
            let limit = ulimit(value).ok_or_else(|| bad("name=soft[:hard]"))?;
            push(at(body, "/HostConfig/Ulimits"), limit);
        }
        Form::Volume if value.contains(':') => {
            push(at(body, "/HostConfig/Binds"), json!(value));
        }
        Form::Volume => at(body, "/Volumes")[value] = json!({}),
        Form::Expose => {
            let protocol = if value.contains('/') { "" } else { "/tcp" };
            at(body, "/ExposedPorts")[format!("{value}{protocol}")] = json!({});
        }
        Form::Alias => push(&mut endpoint(body)["Aliases"], json!(value)),
        Form::Address(field) => endpoint(body)["IPAMConfig"][*field] = json!(value),
        Form::NoHealthcheck => {
            if truth(value).ok_or_else(|| bad("true or false"))? {
                *at(body, "/Healthcheck/Test") = json!(["NONE"]);
            }
        }
        Form::AlreadySo => {
            let asked = truth(value).ok_or_else(|| bad("true or false"))?;
            if !asked {
                return Err(bad("true"));
            }
        }
        Form::Refused(instead) => {
            return Err(format!(
                "`{key}` is not supported by this engine: {instead}"
            ));
        }
    }
    Ok(())
}

/// Returns a place in a body, which is made where it is not there.
pub(super) fn at<'a>(body: &'a mut Value, pointer: &str) -> &'a mut Value {
    let keys = pointer.split('/').skip(1);
    keys.fold(body, |value, key| &mut value[key])
}

/// Adds an entry to a list that may not be there yet.
pub(super) fn push(list: &mut Value, entry: Value) {
    match list {
        Value::Array(entries) => entries.push(entry),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            *list = json!([entry]);
        }
    }
}

/// Returns the settings of the network that the container joins.
fn endpoint(body: &mut Value) -> &mut Value {
    let network = body["HostConfig"]["NetworkMode"].as_str();
    let network = network.unwrap_or("default").to_owned();
    &mut at(body, "/NetworkingConfig/EndpointsConfig")[network]
}

fn set_variable(body: &mut Value, name: &str, variable: &str) {
    let list = at(body, "/Env");
    if let Value::Array(variables) = list {
        let key = |known: &Value| Some(known.as_str()?.split_once('=')?.0.to_owned());
        variables.retain(|known| key(known).as_deref() != Some(name));
    }
    push(list, json!(variable));
}

/// Sets the number of processors. Docker refuses it beside a quota and a period.
fn set_cpus(body: &mut Value, value: &str) -> Option<()> {
    const NANO: f64 = 1e9;
    let cpus: f64 = value
        .parse()
        .ok()
        .filter(|cpus| (0.0..1e6).contains(cpus))?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the product lies between 0 and 1e15"
    )]
    let nano = (cpus * NANO).round() as i64;
    let host = at(body, "/HostConfig").as_object_mut()?;
    host.remove("CpuQuota");
    host.remove("CpuPeriod");
    host.insert("NanoCpus".to_owned(), json!(nano));
    Some(())
}

fn device(value: &str) -> Value {
    let mut parts = value.splitn(3, ':');
    let host = parts.next().unwrap_or_default();
    let inside = parts.next().unwrap_or(host);
    let permissions = parts.next().unwrap_or("rwm");
    json!({ "PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": permissions })
}

fn ulimit(value: &str) -> Option<Value> {
    let (name, limits) = value.split_once('=')?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard): (i64, i64) = (soft.parse().ok()?, hard.parse().ok()?);
    Some(json!({ "Name": name, "Soft": soft, "Hard": hard }))
}

/// Reads a truth as Go's `strconv.ParseBool` does.
fn truth(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Reads a size as Docker does (`units.RAMInBytes`): powers of 1024, and -1 for "no limit".
fn bytes(value: &str) -> Option<i64> {
    const UNITS: [char; 6] = ['b', 'k', 'm', 'g', 't', 'p'];
    if value == "-1" {
        return Some(-1);
    }
    let lower = value.to_ascii_lowercase();
    let number_end = lower.find(|c: char| c != '.' && !c.is_ascii_digit());
    let (number, unit) = lower.split_at(number_end.unwrap_or(lower.len()));
    let number: f64 = number.parse().ok()?;
    let mut letters = unit.trim_start().chars();
    let power = match letters.next() {
        None => 0,
        Some(letter) => UNITS.iter().position(|unit| *unit == letter)?,
    };
    if !matches!(letters.as_str(), "" | "b" | "ib") {
        return None;
    }
    let size = number * 1024_f64.powi(i32::try_from(power).ok()?);
    if !(0.0..9e18).contains(&size) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "it fits, see above")]
    Some(size as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(parameters: &[(&str, &str)]) -> Value {
        let mut body = json!({
            "Env": ["A=1"],
            "HostConfig": { "NetworkMode": "mine", "CpuQuota": 25_000, "CpuShares": 256 },
        });
        for (key, value) in parameters {
            apply(&mut body, key, value).expect("a good parameter");
        }
        body
    }

    /// Parameters, where each goes in the request, and as what (JSON).
    const CASES: [(&str, &str, &str, &str); 27] = [
        (
            "add-host",
            "db:10.0.0.1",
            "/HostConfig/ExtraHosts",
            r#"["db:10.0.0.1"]"#,
        ),
        ("cap-drop", "ALL", "/HostConfig/CapDrop", r#"["ALL"]"#),
        ("read-only", "true", "/HostConfig/ReadonlyRootfs", "true"),
        ("shm-size", "64m", "/HostConfig/ShmSize", "67108864"),
        ("memory-swap", "-1", "/HostConfig/MemorySwap", "-1"),
        ("pids-limit", "100", "/HostConfig/PidsLimit", "100"),
        ("label", "a=b=c", "/Labels", r#"{"a":"b=c"}"#),
        ("label", "alone", "/Labels", r#"{"alone":""}"#),
        (
            "log-driver",
            "none",
            "/HostConfig/LogConfig/Type",
            r#""none""#,
        ),
        (
            "log-opt",
            "max-size=1m",
            "/HostConfig/LogConfig/Config",
            r#"{"max-size":"1m"}"#,
        ),
        (
            "sysctl",
            "net.a.b=9",
            "/HostConfig/Sysctls",
            r#"{"net.a.b":"9"}"#,
        ),
        ("env", "A=2", "/Env", r#"["A=2"]"#),
        ("env", "B=", "/Env", r#"["A=1","B="]"#),
        (
            "tmpfs",
            "/run:size=1m",
            "/HostConfig/Tmpfs",
            r#"{"/run":"size=1m"}"#,
        ),
        ("entrypoint", "/bin/x", "/Entrypoint", r#"["/bin/x"]"#),
        ("cpus", "0.5", "/HostConfig/NanoCpus", "500000000"),
        ("cpus", "0.5", "/HostConfig/CpuShares", "256"),
        (
            "ulimit",
            "nofile=9:10",
            "/HostConfig/Ulimits",
            r#"[{"Name":"nofile","Soft":9,"Hard":10}]"#,
        ),
        ("volume", "/a:/b:ro", "/HostConfig/Binds", r#"["/a:/b:ro"]"#),
        ("volume", "/b", "/Volumes", r#"{"/b":{}}"#),
        ("expose", "80", "/ExposedPorts", r#"{"80/tcp":{}}"#),
        (
            "network-alias",
            "x",
            "/NetworkingConfig",
            r#"{"EndpointsConfig":{"mine":{"Aliases":["x"]}}}"#,
        ),
        (
            "ip",
            "10.1.1.1",
            "/NetworkingConfig/EndpointsConfig/mine/IPAMConfig/IPv4Address",
            r#""10.1.1.1""#,
        ),
        ("no-healthcheck", "true", "/Healthcheck/Test", r#"["NONE"]"#),
        (
            "device",
            "/dev/fuse",
            "/HostConfig/Devices/0/CgroupPermissions",
            r#""rwm""#,
        ),
        ("user", "nobody", "/User", r#""nobody""#),
        ("workdir", "/srv", "/WorkingDir", r#""/srv""#),
    ];

    #[test]
    fn every_form_of_parameter_goes_where_docker_wants_it() {
        for (key, value, pointer, expected) in CASES {
            let body = applied(&[(key, value)]);

            let expected: Value = serde_json::from_str(expected).expect("JSON");
            assert_eq!(body.pointer(pointer), Some(&expected), "{key}={value}");
        }
    }

    #[test]
    fn a_number_of_processors_takes_the_place_of_the_quota() {
        assert_eq!(
            applied(&[("cpus", "2")]).pointer("/HostConfig/CpuQuota"),
            None
        );
    }

    #[test]
    fn repeated_entries_add_up_and_a_repeated_value_wins() {
        let body = applied(&[
            ("dns", "1.1.1.1"),
            ("dns", "9.9.9.9"),
            ("hostname", "a"),
            ("hostname", "b"),
        ]);

        assert_eq!(body["HostConfig"]["Dns"], json!(["1.1.1.1", "9.9.9.9"]));
        assert_eq!(body["Hostname"], json!("b"));
    }

    #[test]
    fn every_bad_parameter_is_named_with_its_position() {
        let found = mistakes([
            ("hostname", "fine"),
            ("frobnicate", "1"),
            ("privileged", "yes"),
            ("memory", "lots"),
            ("network", "host"),
            ("rm", "false"),
            ("ulimit", "nofile"),
        ]);

        let positions: Vec<usize> = found.iter().map(|(index, _)| *index).collect();
        assert_eq!(positions, [1, 2, 3, 4, 5, 6]);
        assert!(found[0].1.contains("`frobnicate`"), "{}", found[0].1);
        assert!(found[3].1.contains("networks"), "{}", found[3].1);
    }

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, size) in [
            ("0", Some(0)),
            ("1024", Some(1024)),
            ("1.5k", Some(1536)),
            ("2GiB", Some(2_147_483_648)),
            ("3 mb", Some(3_145_728)),
            ("m", None),
            ("1x", None),
            ("-2", None),
            ("", None),
        ] {
            assert_eq!(bytes(text), size, "{text}");
        }
    }

    #[test]
    fn no_flag_is_in_the_table_twice() {
        let mut names: Vec<&str> = FLAGS.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();

        assert_eq!(names.len(), FLAGS.len());
    }
}
