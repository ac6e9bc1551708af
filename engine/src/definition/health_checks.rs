//! Health checks as a definition declares them; what their results mean is in `crate::health`.

use std::time::Duration;

use super::fields::Fields;
use super::{ContainerKind, WHOLE_MAX};
use crate::issues::Issues;

/// One declared health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HealthCheck {
    pub(crate) protocol: Protocol,
    pub(crate) path: Option<String>,
    pub(crate) port: Port,
    pub(crate) command: Option<String>,
    pub(crate) grace_period_seconds: u32,
    pub(crate) interval_seconds: u32,
    pub(crate) timeout_seconds: u32,
    pub(crate) max_consecutive_failures: u32,
    pub(crate) delay_seconds: u32,
    pub(crate) ignore_http_1xx: bool,
    pub(crate) ip_protocol: IpProtocol,
}

/// Which kind of address a check asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IpProtocol {
    V4,
    V6,
}

impl IpProtocol {
    /// Returns Marathon's word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// Reads it by the rule of `AppValidation.complyWithIpProtocolRules`.
    fn read(
        fields: &Fields<'_>,
        protocol: Protocol,
        kind: Option<ContainerKind>,
        issues: &mut Issues,
    ) -> Self {
        match fields.text("ipProtocol", issues) {
            None | Some("IPv4") => return Self::V4,
            Some("IPv6") => {}
            Some(_) => {
                issues.add(&fields.path("ipProtocol"), "error.unknown.enum.literal");
                return Self::V4;
            }
        }
        let asks_container = protocol.is_mesos_level() && protocol != Protocol::Command;
        if !asks_container || kind != Some(ContainerKind::Docker) {
            issues.add(
                &fields.path("ipProtocol"),
                "IPv6 can only be used for container type DOCKER and Mesos http/https/tcp health \
                 checks",
            );
        }
        Self::V6
    }
}

/// How a check asks. The `MESOS_` forms ask the same question but have another kill rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Https,
    Tcp,
    Command,
    MesosHttp,
    MesosHttps,
    MesosTcp,
}

/// Which port a check asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// A command check needs none.
    None,
    /// The nth host port of the task.
    Index(usize),
    /// This very port.
    Number(u16),
}

impl Protocol {
    const ALL: [Self; 7] = [
        Self::Http,
        Self::Https,
        Self::Tcp,
        Self::Command,
        Self::MesosHttp,
        Self::MesosHttps,
        Self::MesosTcp,
    ];

    /// Returns Marathon's word for the protocol.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::Tcp => "TCP",
            Self::Command => "COMMAND",
            Self::MesosHttp => "MESOS_HTTP",
            Self::MesosHttps => "MESOS_HTTPS",
            Self::MesosTcp => "MESOS_TCP",
        }
    }

    /// Returns whether Mesos, not Marathon, would run the check and decide on killing.
    pub(crate) fn is_mesos_level(self) -> bool {
        match self {
            Self::Http | Self::Https | Self::Tcp => false,
            Self::Command | Self::MesosHttp | Self::MesosHttps | Self::MesosTcp => true,
        }
    }

    fn is_http(self) -> bool {
        match self {
            Self::Http | Self::Https | Self::MesosHttp | Self::MesosHttps => true,
            Self::Tcp | Self::Command | Self::MesosTcp => false,
        }
    }
}

impl HealthCheck {
    /// Returns the time between two probes. Marathon counts in whole seconds; 0 is taken as 1.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs(u64::from(self.interval_seconds.max(1)))
    }

    /// Returns how long one probe may take. 0 is taken as 1 second.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.timeout_seconds.max(1)))
    }

    /// Returns how long after the task began to run the first probe comes. Only Mesos waits.
    pub(crate) fn delay(&self) -> Duration {
        if self.protocol.is_mesos_level() {
            Duration::from_secs(u64::from(self.delay_seconds))
        } else {
            Duration::ZERO
        }
    }

    /// Returns how long failures are forgiven after the task began to run.
    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs(u64::from(self.grace_period_seconds))
    }

    /// Reads a check; defaults are those of Marathon's `healthCheck.raml`.
    pub(super) fn read(
        fields: &Fields<'_>,
        ports: usize,
        kind: Option<ContainerKind>,
        issues: &mut Issues,
    ) -> Option<Self> {
        let protocol = read_protocol(fields, issues)?;
        let command = read_command(fields, protocol, issues);
        // A port beside a command is allowed and ignored, as in `HealthCheckConversion.scala`.
        let port = if protocol == Protocol::Command {
            Port::None
        } else {
            Port::read(fields, ports, issues)
        };
        let mut whole =
            |key: &str, default: u32| fields.whole(key, WHOLE_MAX, issues).unwrap_or(default);
        let grace_period_seconds = whole("gracePeriodSeconds", 300);
        let interval_seconds = whole("intervalSeconds", 60);
        let timeout_seconds = whole("timeoutSeconds", 20);
        let max_consecutive_failures = whole("maxConsecutiveFailures", 3);
        let delay_seconds = whole("delaySeconds", 15);
        let path = fields.text("path", issues);
        if path.is_some_and(|path| path.contains(|c: char| c.is_whitespace() || c.is_control())) {
            issues.add(&fields.path("path"), "must not contain white space");
        }
        Some(Self {
            protocol,
            path: path.filter(|_| protocol.is_http()).map(str::to_owned),
            port,
            command,
            grace_period_seconds,
            interval_seconds,
            timeout_seconds,
            max_consecutive_failures,
            delay_seconds,
            ignore_http_1xx: fields.boolean("ignoreHttp1xx", issues).unwrap_or(false),
            ip_protocol: IpProtocol::read(fields, protocol, kind, issues),
        })
    }
}

fn read_protocol(fields: &Fields<'_>, issues: &mut Issues) -> Option<Protocol> {
    let given = match fields.value("protocol") {
        None => return Some(Protocol::Http),
        Some(_) => fields.text("protocol", issues)?,
    };
    let known = Protocol::ALL.into_iter().find(|p| p.as_str() == given);
    if known.is_none() {
        issues.add(&fields.path("protocol"), "error.unknown.enum.literal");
    }
    known
}

fn read_command(fields: &Fields<'_>, protocol: Protocol, issues: &mut Issues) -> Option<String> {
    let is_command = protocol == Protocol::Command;
    let value = fields
        .object("command", issues)
        .and_then(|command| command.text("value", issues).map(str::to_owned));
    match (is_command, &value) {
        (true, None) => issues.add(
            &fields.path("command"),
            "must be given as {\"value\": \"…\"} for a check with protocol COMMAND",
        ),
        (false, Some(_)) => issues.add(
            &fields.path("command"),
            "may be given only for a check with protocol COMMAND",
        ),
        (true, Some(_)) | (false, None) => {}
    }
    value.filter(|_| is_command)
}

impl Port {
    /// Reads `port` or `portIndex` of a check; with neither it is the first port.
    pub(super) fn read(fields: &Fields<'_>, ports: usize, issues: &mut Issues) -> Self {
        const PORT_MAX: u32 = u16::MAX as u32;
        let number = fields.whole("port", PORT_MAX, issues);
        let index = fields.whole("portIndex", PORT_MAX, issues);
        if number.is_some() && index.is_some() {
            issues.add(
                &fields.path("port"),
                "must not be given together with portIndex",
            );
        }
        if let Some(number) = number {
            return Self::Number(u16::try_from(number).unwrap_or_default());
        }
        let index = index.unwrap_or(0) as usize;
        if index >= ports {
            issues.add(
                &fields.path("portIndex"),
                "Health check port indices must address an element of the ports array or \
                 container port mappings.",
            );
        }
        Self::Index(index)
    }
}
