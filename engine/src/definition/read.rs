//! Reads a definition from a request body: defaults, old spellings, and every rule that is broken.
//!
//! Defaults and limits are those of Marathon 1.10's `app.raml`; the rules that span fields are those
//! of `mesosphere.marathon.api.v2.validation.AppValidation`.

use serde_json::{Map, Value};

use super::fields::Fields;
use super::{
    Check, Command, Container, ContainerKind, Definition, ExecutorResources, HealthCheck,
    KillSelection, Network, ResourceLimits, UnreachableStrategy, UpgradeStrategy, WHOLE_MAX,
    artifacts, constraints, ports, readiness, unsupported,
};
use crate::identity::AppId;
use crate::issues::Issues;

/// The label by which an app says that it must never run twice.
const SINGLE_INSTANCE_LABEL: &str = "MARATHON_SINGLE_INSTANCE_APP";

impl Definition {
    /// Reads a whole definition. `id` comes from the URL and wins over the body's.
    ///
    /// # Errors
    /// Every mistake in the body, and everything in it that this engine cannot do.
    pub(crate) fn read(id: Option<&AppId>, body: &Map<String, Value>) -> Result<Self, Issues> {
        let mut issues = Issues::new();
        let definition = Self::read_fields(id, &Fields::root(body), &mut issues);
        issues.into_result()?;
        Ok(definition)
    }

    fn read_fields(id: Option<&AppId>, fields: &Fields<'_>, issues: &mut Issues) -> Self {
        unsupported::report(fields, issues);
        let id = read_id(id, fields, issues);
        let instances = fields.whole("instances", WHOLE_MAX, issues).unwrap_or(1);
        let (cpus, mem) = read_size(fields, issues);
        let network = Network::read(fields, issues);
        let mut container = Container::read(fields, &network, issues);
        let port_definitions = ports::read(fields, &network, &mut container, issues);
        let kind = container.as_ref().map(|container| container.kind);
        let has_image = container.as_ref().is_some_and(|c| c.image.is_some());
        let require_ports = fields.boolean("requirePorts", issues).unwrap_or(false);
        let mut definition = Self {
            id,
            accepted_resource_roles: fields.texts("acceptedResourceRoles", issues),
            command: read_command(fields, has_image, issues),
            backoff_factor: fields.number("backoffFactor", 1.0, issues).unwrap_or(1.15),
            backoff_seconds: fields
                .whole("backoffSeconds", WHOLE_MAX, issues)
                .unwrap_or(1),
            constraints: constraints::read(fields, instances, issues),
            check: None,
            container,
            cpus,
            dependencies: read_dependencies(fields, issues),
            disk: fields.number("disk", 0.0, issues).unwrap_or(0.0),
            env: read_env(fields, issues),
            executor: fields
                .text("executor", issues)
                .unwrap_or_default()
                .to_owned(),
            executor_resources: ExecutorResources::read(fields, issues),
            fetch: artifacts::read(fields, issues),
            health_checks: Vec::new(),
            instances,
            labels: fields.text_map("labels", issues).unwrap_or_default(),
            max_launch_delay_seconds: fields
                .whole("maxLaunchDelaySeconds", WHOLE_MAX, issues)
                .unwrap_or(300),
            mem,
            // Marathon forgets the wish for fixed ports where there is a network of its own.
            require_ports: require_ports && network.is_host(),
            network,
            port_definitions,
            readiness_checks: Vec::new(),
            resource_limits: ResourceLimits::read(fields, cpus, mem, issues),
            task_kill_grace_period_seconds: fields.whole(
                "taskKillGracePeriodSeconds",
                WHOLE_MAX,
                issues,
            ),
            tty: read_tty(fields, has_image, issues),
            upgrade_strategy: read_upgrade_strategy(fields, issues),
            kill_selection: read_kill_selection(fields, issues),
            unreachable_strategy: read_unreachable_strategy(fields, issues),
            user: fields.text("user", issues).map(str::to_owned),
        };
        let ports = definition.wanted_ports();
        let checks = read_health_checks(fields, ports.len(), kind, issues);
        let check = Check::read(fields, ports.len(), kind, issues);
        let readiness_checks = readiness::read(fields, &ports, issues);
        (definition.health_checks, definition.check) = (checks, check);
        definition.readiness_checks = readiness_checks;
        check_single_instance(&definition, issues);
        definition
    }
}

fn read_id(id: Option<&AppId>, fields: &Fields<'_>, issues: &mut Issues) -> AppId {
    let id = match id {
        Some(id) => id.clone(),
        None if fields.has("id") => AppId::from_text(fields.text("id", issues).unwrap_or("x")),
        None => {
            issues.add_path_missing("/id");
            return AppId::from_text("x");
        }
    };
    for mistake in id.mistakes() {
        issues.add("/id", mistake);
    }
    id
}

fn read_size(fields: &Fields<'_>, issues: &mut Issues) -> (f64, f64) {
    let cpus = fields.number("cpus", 0.001, issues).unwrap_or(1.0);
    let mem = fields.number("mem", 0.0, issues).unwrap_or(128.0);
    (cpus, mem)
}

fn read_tty(fields: &Fields<'_>, has_image: bool, issues: &mut Issues) -> Option<bool> {
    let tty = fields.boolean("tty", issues);
    if tty == Some(true) && !has_image {
        issues.add(
            "/tty",
            "is not supported by this engine for an app without a container image",
        );
    }
    tty
}

fn read_command(fields: &Fields<'_>, has_image: bool, issues: &mut Issues) -> Command {
    const CMD_LENGTH_MIN: usize = 2;
    let line = fields.text("cmd", issues);
    let arguments = fields
        .texts("args", issues)
        .filter(|arguments| !arguments.is_empty());
    if line.is_some_and(|line| line.len() < CMD_LENGTH_MIN) {
        issues.add("/cmd", "must not be an empty string");
    }
    match (line, arguments) {
        (Some(line), None) => return Command::Shell(line.to_owned()),
        (None, Some(arguments)) => return Command::Arguments(arguments),
        (None, None) if has_image => return Command::OfImage,
        (None, None) if fields.has("container") => issues.add(
            "/",
            "AppDefinition must contain one of 'cmd' or 'args' where no container image brings a \
             command.",
        ),
        (None, None) | (Some(_), Some(_)) => issues.add(
            "/",
            "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.",
        ),
    }
    Command::Shell(String::new())
}

fn read_dependencies(fields: &Fields<'_>, issues: &mut Issues) -> Vec<AppId> {
    let texts = fields.texts("dependencies", issues).unwrap_or_default();
    texts.iter().map(|text| AppId::from_text(text)).collect()
}

fn read_env(fields: &Fields<'_>, issues: &mut Issues) -> Vec<(String, String)> {
    let Some(env) = fields.object("env", issues) else {
        return Vec::new();
    };
    let mut entries = Vec::new();
    for name in env.names() {
        let is_secret = env.value(name).is_some_and(Value::is_object);
        if is_secret {
            issues.add(
                &env.path(name),
                "is a secret: secrets are not supported by this engine",
            );
        } else if let Some(text) = env.text(name, issues) {
            if name.is_empty() || name.contains(['=', '\0']) || text.contains('\0') {
                issues.add(&env.path(name), "cannot be an environment variable");
            }
            entries.push((name.to_owned(), text.to_owned()));
        }
    }
    entries
}

fn read_health_checks(
    fields: &Fields<'_>,
    ports: usize,
    kind: Option<ContainerKind>,
    issues: &mut Issues,
) -> Vec<HealthCheck> {
    let mut checks: Vec<HealthCheck> = Vec::new();
    for check in fields.objects("healthChecks", issues).unwrap_or_default() {
        if let Some(check) = HealthCheck::read(&check, ports, kind, issues)
            && !checks.contains(&check)
        {
            checks.push(check);
        }
    }
    let mesos_level = checks
        .iter()
        .filter(|check| check.protocol.is_mesos_level());
    if mesos_level.count() > 1 {
        issues.add(
            "/healthChecks",
            "AppDefinition can contain at most one Mesos health check",
        );
    }
    checks
}

fn read_upgrade_strategy(fields: &Fields<'_>, issues: &mut Issues) -> UpgradeStrategy {
    let default = UpgradeStrategy {
        minimum_health_capacity: 1.0,
        maximum_over_capacity: 1.0,
    };
    let Some(strategy) = fields.object("upgradeStrategy", issues) else {
        return default;
    };
    let mut share = |key: &str| {
        if !strategy.has(key) {
            issues.add_path_missing(&strategy.path(key));
        }
        let share = strategy.number(key, 0.0, issues).unwrap_or(1.0);
        if share > 1.0 {
            issues.add(&strategy.path(key), "is greater than 1");
        }
        share
    };
    UpgradeStrategy {
        minimum_health_capacity: share("minimumHealthCapacity"),
        maximum_over_capacity: share("maximumOverCapacity"),
    }
}

fn read_kill_selection(fields: &Fields<'_>, issues: &mut Issues) -> KillSelection {
    match fields.text("killSelection", issues) {
        None | Some("YOUNGEST_FIRST") => KillSelection::YoungestFirst,
        Some("OLDEST_FIRST") => KillSelection::OldestFirst,
        Some(_) => {
            issues.add("/killSelection", "error.unknown.enum.literal");
            KillSelection::YoungestFirst
        }
    }
}

fn read_unreachable_strategy(fields: &Fields<'_>, issues: &mut Issues) -> UnreachableStrategy {
    if fields
        .value("unreachableStrategy")
        .is_some_and(|value| value == "disabled")
    {
        return UnreachableStrategy::Disabled;
    }
    let strategy = fields.object("unreachableStrategy", issues);
    let mut seconds = |key: &str| {
        let strategy = strategy.as_ref()?;
        strategy.whole(key, WHOLE_MAX, issues)
    };
    let inactive_after_seconds = seconds("inactiveAfterSeconds").unwrap_or(0);
    let expunge_after_seconds = seconds("expungeAfterSeconds").unwrap_or(inactive_after_seconds);
    if inactive_after_seconds > expunge_after_seconds {
        issues.add(
            "/unreachableStrategy/inactiveAfterSeconds",
            "must not be greater than expungeAfterSeconds",
        );
    }
    UnreachableStrategy::Replace {
        inactive_after_seconds,
        expunge_after_seconds,
    }
}

fn check_single_instance(definition: &Definition, issues: &mut Issues) {
    let is_single = definition
        .labels
        .iter()
        .any(|(key, value)| key == SINGLE_INSTANCE_LABEL && value == "true");
    if !is_single {
        return;
    }
    if definition.instances > 1 {
        issues.add(
            "/instances",
            "single instance app may only have one instance",
        );
    }
    let strategy = definition.upgrade_strategy;
    if strategy.minimum_health_capacity != 0.0 || strategy.maximum_over_capacity != 0.0 {
        issues.add(
            "/upgradeStrategy",
            "must have maximumOverCapacity and minimumHealthCapacity of 0 for a single instance app",
        );
    }
}
