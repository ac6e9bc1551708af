//! What a container is created with: the body of `POST /containers/create`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::parameters::{apply, at, push};

/// What one processor is worth in CPU shares, and the least that Mesos gives
/// (`CPU_SHARES_PER_CPU`, `MIN_CPU_SHARES`, `CPU_CFS_PERIOD`, `MIN_CPU_CFS_QUOTA` and `MIN_MEMORY`
/// in Mesos' `src/slave/containerizer/mesos/isolators/cgroups/constants.hpp`).
const SHARES_PER_CPU: f64 = 1024.0;
const SHARES_MIN: f64 = 2.0;
const PERIOD_MICROSECONDS: f64 = 100_000.0;
const QUOTA_MICROSECONDS_MIN: f64 = 1_000.0;
const MEMORY_MEBIBYTES_MIN: f64 = 32.0;
const MEBIBYTE: f64 = 1_048_576.0;

/// The network that a container joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Network {
    /// The machine's own.
    Host,
    /// Docker's bridge.
    Bridge,
    /// One of the operator's, by its name.
    Named(String),
}

/// What runs inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Program {
    /// What the image says.
    OfImage,
    /// A line for `/bin/sh -c`, in the place of the image's entry point (MESOS-1770).
    Shell(String),
    /// Arguments for the image's entry point, or the command where it has none.
    Arguments(Vec<String>),
}

/// A port of the container that can be reached from the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) container_port: u16,
    pub(crate) host_port: u16,
    /// `tcp` or `udp`.
    pub(crate) protocol: String,
}

/// A folder or file of the machine inside the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounted {
    pub(crate) host_path: PathBuf,
    pub(crate) container_path: PathBuf,
    pub(crate) read_only: bool,
}

/// Everything that a container is created with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spec {
    pub(crate) image: String,
    pub(crate) program: Program,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) network: Network,
    pub(crate) published: Vec<Published>,
    /// Where published ports listen.
    pub(crate) publish_on: IpAddr,
    pub(crate) mounted: Vec<Mounted>,
    /// The share of the processors where they are short.
    pub(crate) cpus: f64,
    /// The most processor time, where there is a limit.
    pub(crate) cpus_max: Option<f64>,
    /// The most memory in MiB, where there is a limit.
    pub(crate) memory_max: Option<f64>,
    /// What is kept for it in MiB where that is less than the limit.
    pub(crate) memory_reserved: Option<f64>,
    pub(crate) privileged: bool,
    pub(crate) tty: bool,
    pub(crate) user: Option<String>,
    /// Flags of `docker run`, which win over everything else.
    pub(crate) parameters: Vec<(String, String)>,
}

/// Returns the body of the request.
///
/// # Errors
/// A parameter that cannot be used.
pub(crate) fn container_body(spec: &Spec) -> Result<Value, String> {
    let network = match &spec.network {
        Network::Host => "host",
        Network::Bridge => "bridge",
        Network::Named(name) => name,
    };
    let binds: Vec<String> = spec.mounted.iter().map(bind).collect();
    let variables: Vec<String> = spec
        .environment
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let mut body = json!({
        "Image": spec.image,
        "Env": variables,
        "Labels": spec.labels,
        "Tty": spec.tty,
        "HostConfig": {
            "NetworkMode": network,
            "Binds": binds,
            "CpuShares": whole((SHARES_PER_CPU * spec.cpus).max(SHARES_MIN)),
            "Privileged": spec.privileged,
        },
    });
    if let Some(cpus) = spec.cpus_max {
        let quota = (PERIOD_MICROSECONDS * cpus).max(QUOTA_MICROSECONDS_MIN);
        body["HostConfig"]["CpuPeriod"] = json!(whole(PERIOD_MICROSECONDS));
        body["HostConfig"]["CpuQuota"] = json!(whole(quota));
    }
    let memory = [
        ("Memory", spec.memory_max),
        ("MemoryReservation", spec.memory_reserved),
    ];
    for (key, mebibytes) in memory {
        if let Some(mebibytes) = mebibytes {
            let bytes = whole(mebibytes.max(MEMORY_MEBIBYTES_MIN) * MEBIBYTE);
            body["HostConfig"][key] = json!(bytes);
        }
    }
    match &spec.program {
        Program::OfImage => {}
        Program::Shell(line) => {
            body["Entrypoint"] = json!(["/bin/sh"]);
            body["Cmd"] = json!(["-c", line]);
        }
        Program::Arguments(words) => body["Cmd"] = json!(words),
    }
    if let Some(user) = &spec.user {
        body["User"] = json!(user);
    }
    for port in &spec.published {
        let inside = format!("{}/{}", port.container_port, port.protocol);
        at(&mut body, "/ExposedPorts")[&inside] = json!({});
        let outside = json!({
            "HostIp": spec.publish_on.to_string(),
            "HostPort": port.host_port.to_string(),
        });
        push(
            &mut at(&mut body, "/HostConfig/PortBindings")[&inside],
            outside,
        );
    }
    for (key, value) in &spec.parameters {
        apply(&mut body, key, value)?;
    }
    Ok(body)
}

fn bind(mount: &Mounted) -> String {
    let mode = if mount.read_only { "ro" } else { "rw" };
    let (outside, inside) = (mount.host_path.display(), mount.container_path.display());
    format!("{outside}:{inside}:{mode}")
}

fn whole(number: f64) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast saturates, and no machine has so much"
    )]
    let whole = number as i64;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            image: "a:1".to_owned(),
            program: Program::OfImage,
            environment: BTreeMap::from([("A".to_owned(), "b c".to_owned())]),
            labels: BTreeMap::new(),
            network: Network::Bridge,
            published: vec![],
            publish_on: [127, 0, 0, 1].into(),
            mounted: vec![],
            cpus: 0.25,
            cpus_max: Some(0.25),
            memory_max: Some(256.0),
            memory_reserved: None,
            privileged: false,
            tty: false,
            user: None,
            parameters: vec![],
        }
    }

    #[test]
    fn limits_are_those_that_mesos_gives_to_docker() {
        let body = container_body(&spec()).expect("a body");
        let host = &body["HostConfig"];
        assert_eq!(host["CpuShares"], json!(256));
        assert_eq!(host["CpuQuota"], json!(25_000));
        assert_eq!(host["Memory"], json!(268_435_456));

        let small = Spec {
            cpus: 0.001,
            cpus_max: None,
            memory_max: Some(1.0),
            ..spec()
        };
        let body = container_body(&small).expect("a body");
        let host = &body["HostConfig"];
        assert_eq!(host["CpuShares"], json!(2));
        assert_eq!(host["CpuQuota"], Value::Null);
        assert_eq!(host["Memory"], json!(33_554_432));
    }

    #[test]
    fn a_line_replaces_the_entry_point_and_arguments_follow_it() {
        let with = |program| container_body(&Spec { program, ..spec() }).expect("a body");

        let line = with(Program::Shell("a && b".to_owned()));
        let words = with(Program::Arguments(vec!["x".to_owned()]));
        let neither = with(Program::OfImage);

        assert_eq!(line["Entrypoint"], json!(["/bin/sh"]));
        assert_eq!(line["Cmd"], json!(["-c", "a && b"]));
        assert_eq!(words["Entrypoint"], Value::Null);
        assert_eq!(words["Cmd"], json!(["x"]));
        assert_eq!(neither["Cmd"], Value::Null);
    }

    #[test]
    fn a_port_is_published_on_the_one_address_only() {
        let published = vec![
            Published {
                container_port: 3000,
                host_port: 31_000,
                protocol: "tcp".to_owned(),
            },
            Published {
                container_port: 3000,
                host_port: 31_001,
                protocol: "tcp".to_owned(),
            },
        ];

        let body = container_body(&Spec {
            published,
            ..spec()
        })
        .expect("a body");

        assert_eq!(
            body["HostConfig"]["PortBindings"]["3000/tcp"],
            json!([
                { "HostIp": "127.0.0.1", "HostPort": "31000" },
                { "HostIp": "127.0.0.1", "HostPort": "31001" },
            ])
        );
        assert_eq!(body["ExposedPorts"], json!({ "3000/tcp": {} }));
    }

    #[test]
    fn parameters_win_and_a_bad_one_is_named() {
        let with = |key: &str, value: &str| {
            container_body(&Spec {
                parameters: vec![(key.to_owned(), value.to_owned())],
                ..spec()
            })
        };

        let body = with("memory", "64m").expect("a body");

        assert_eq!(body["HostConfig"]["Memory"], json!(67_108_864));
        assert!(
            with("nonsense", "1")
                .expect_err("a mistake")
                .contains("nonsense")
        );
    }
}
