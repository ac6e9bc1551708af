//! Where things are and how to go about a deployment: flags, then `TEAL_*` environment, then `teal.toml`, then defaults.

mod balancer;
mod marathon;

pub(crate) use balancer::{BalancerKind, BalancerPlace};
pub(crate) use marathon::{MarathonPlace, unusable};

use crate::failure::Failure;
use crate::printer::Format;
use anyhow::Context;
use marathon::{MarathonArgs, MarathonKeys};
use std::path::{Path, PathBuf};
use teal_core::problem::{Problem, nearest};
use teal_core::settings::{SETTINGS, Settings};

/// Flags that every command takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct GlobalArgs {
    #[command(flatten)]
    marathon: MarathonArgs,
    /// Which balancer: http://… is the admin API of teal's own; haproxy+unix:/PATH and haproxy+tcp://HOST:PORT are the
    /// Runtime API of HAProxy, URL[,URL…] for all its processes [default: http://127.0.0.1:8081]
    #[arg(long, global = true, env = "TEAL_BALANCER", value_name = "URL")]
    balancer: Option<String>,
    /// Where journals and locks are kept [default: $XDG_STATE_HOME/teal or ~/.local/state/teal]
    #[arg(long, global = true, env = "TEAL_STATE_DIR", value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
    /// What the output looks like
    #[arg(
        short,
        long,
        global = true,
        env = "TEAL_OUTPUT",
        value_enum,
        default_value = "text"
    )]
    pub(crate) output: Format,
}

/// Where things are.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) marathon: MarathonPlace,
    pub(crate) balancer: BalancerPlace,
    pub(crate) state_dir: PathBuf,
    pub(crate) output: Format,
    /// The project's defaults for deployments.
    pub(crate) settings: Settings,
}

impl GlobalArgs {
    /// Resolves everything. Every mistake of the project's file is reported at once.
    pub(crate) fn resolve(&self) -> Result<Places, Failure> {
        let mut project = Project::read(Path::new("teal.toml"))?;
        let state_dir = self
            .state_dir
            .clone()
            .or_else(|| project.state_dir.take().map(PathBuf::from));
        Ok(Places {
            marathon: MarathonPlace::resolve(&self.marathon, &project.marathon, &|name| {
                std::env::var(name).ok()
            }),
            balancer: BalancerPlace::resolve(self.balancer.as_ref(), project.balancer),
            state_dir: state_dir.map_or_else(default_state_dir, Ok)?,
            output: self.output,
            settings: project.settings,
        })
    }
}

#[derive(Debug, Default)]
struct Project {
    marathon: MarathonKeys,
    balancer: Option<String>,
    state_dir: Option<String>,
    settings: Settings,
}

impl Project {
    fn read(path: &Path) -> Result<Self, Failure> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(anyhow::Error::new(error)
                    .context(path.display().to_string())
                    .into());
            }
        };
        Self::parse(&text).map_err(|problems| {
            Failure::invalid(format!("{} cannot be used", path.display()), problems)
        })
    }

    fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            vec![Problem::new("", error.to_string().trim_end().to_owned())]
        })?;
        let mut project = Self::default();
        let mut problems = Vec::new();
        for (key, value) in &table {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            match key.as_str() {
                name if MarathonKeys::NAMES.contains(&name) => {
                    problems.extend(project.marathon.set(name, value).err());
                }
                "balancer" => match BalancerPlace::read(value) {
                    Ok(addresses) => project.balancer = Some(addresses),
                    Err(problem) => problems.push(problem),
                },
                "state_dir" => project.state_dir = Some(text),
                name if SETTINGS.iter().any(|setting| setting.name == name) => {
                    problems.extend(project.settings.set(name, &text, key).err());
                }
                _ => problems.push(unknown(key)),
            }
        }
        if problems.is_empty() {
            Ok(project)
        } else {
            Err(problems)
        }
    }
}

/// Reads a key that is one address, or a list of them.
fn addresses(key: &str, value: &toml::Value, example: &str) -> Result<String, Problem> {
    let problem = || {
        Problem::new(key, "it is neither an address nor a list of them")
            .hint(format!("write it like {example}"))
    };
    if let Some(one) = value.as_str() {
        return Ok(one.to_owned());
    }
    let all = value.as_array().ok_or_else(problem)?;
    let all: Option<Vec<&str>> = all.iter().map(toml::Value::as_str).collect();
    Ok(all.ok_or_else(problem)?.join(","))
}

fn unknown(key: &str) -> Problem {
    let known = ["balancer", "state_dir"]
        .into_iter()
        .chain(MarathonKeys::NAMES)
        .chain(SETTINGS.iter().map(|s| s.name));
    let problem = Problem::new(key, "there is no such key");
    match nearest(key, known) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem,
    }
}

fn default_state_dir() -> Result<PathBuf, Failure> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base =
        folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")));
    let base = base.context("neither HOME nor XDG_STATE_HOME is set; say --state-dir FOLDER")?;
    Ok(base.join("teal"))
}

/// Flags for the settings of a deployment. Each is also a label, an environment variable and a key of `teal.toml`.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(
    next_help_heading = "Settings of the deployment (also as labels TEAL_…, environment, and teal.toml)"
)]
pub(crate) struct SettingArgs {
    /// rolling: batch by batch; switch: all of GREEN first, then one change [default: rolling]
    #[arg(long, env = "TEAL_STRATEGY")]
    strategy: Option<String>,
    /// How many GREEN instances: live (as many as BLUE has), definition, or a number [default: live]
    #[arg(long, env = "TEAL_SIZE", visible_aliases = ["instances", "size-from"])]
    size: Option<String>,
    /// How many GREEN before the first traffic: 2, 25% or all [default: 1; switch: all]
    #[arg(long, env = "TEAL_INITIAL")]
    initial: Option<String>,
    /// How many BLUE leave at once: 2, 25% or all [default: 25%; switch: all]
    #[arg(long, env = "TEAL_BATCH")]
    batch: Option<String>,
    /// How many instances beyond BLUE's count may run at once [default: as initial or batch asks]
    #[arg(long, env = "TEAL_SURGE")]
    surge: Option<String>,
    /// Never fewer healthy, serving instances than this by teal's own actions [default: BLUE's live count]
    #[arg(long, env = "TEAL_FLOOR")]
    floor: Option<String>,
    /// How long an instance must be healthy before it gets traffic [default: 10s]
    #[arg(long, env = "TEAL_MIN_HEALTHY_TIME")]
    min_healthy_time: Option<String>,
    /// How long a batch may take to become healthy before teal rolls back [default: 10m]
    #[arg(long, env = "TEAL_HEALTHY_DEADLINE")]
    healthy_deadline: Option<String>,
    /// How long a serving GREEN may be unhealthy before teal rolls back [default: 10s]
    #[arg(long, env = "TEAL_UNHEALTHY_LIMIT")]
    unhealthy_limit: Option<String>,
    /// How often in-flight and pending are sampled [default: 200ms]
    #[arg(long, env = "TEAL_DRAIN_INTERVAL")]
    drain_interval: Option<String>,
    /// How many samples in a row must read zero [default: 3]
    #[arg(long, env = "TEAL_DRAIN_SAMPLES")]
    drain_samples: Option<String>,
    /// How long an instance may take to drain before the policy applies [default: 5m]
    #[arg(long, env = "TEAL_DRAIN_DEADLINE")]
    drain_deadline: Option<String>,
    /// wait, rollback or force, when an instance does not drain in time [default: rollback]
    #[arg(long, env = "TEAL_ON_DRAIN_DEADLINE")]
    on_drain_deadline: Option<String>,
    /// Why undrained instances may be stopped; it stands in the report
    #[arg(long, env = "TEAL_FORCE_REASON", visible_alias = "reason")]
    force_reason: Option<String>,
    /// How long BLUE stays warm after the last shift [default: 0s; switch: 5m]
    #[arg(long, env = "TEAL_KEEP_BLUE")]
    keep_blue: Option<String>,
    /// Where a person must promote: shift, retire or both [default: none]
    #[arg(long, env = "TEAL_GATES", visible_alias = "gate")]
    gates: Option<String>,
    /// How long teal waits for a person, or past a drain deadline under `wait` [default: 24h]
    #[arg(long, env = "TEAL_PATIENCE")]
    patience: Option<String>,
    /// Take running for min_healthy_time as healthy when no check is declared
    #[arg(long, env = "TEAL_WITHOUT_HEALTH_CHECKS", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    without_health_checks: Option<String>,
}

impl SettingArgs {
    /// Returns what was said: name, value, and the flag for messages.
    pub(crate) fn overrides(&self) -> Vec<(String, String, String)> {
        let all: [(&str, &Option<String>); 18] = [
            ("strategy", &self.strategy),
            ("size", &self.size),
            ("initial", &self.initial),
            ("batch", &self.batch),
            ("surge", &self.surge),
            ("floor", &self.floor),
            ("min_healthy_time", &self.min_healthy_time),
            ("healthy_deadline", &self.healthy_deadline),
            ("unhealthy_limit", &self.unhealthy_limit),
            ("drain_interval", &self.drain_interval),
            ("drain_samples", &self.drain_samples),
            ("drain_deadline", &self.drain_deadline),
            ("on_drain_deadline", &self.on_drain_deadline),
            ("force_reason", &self.force_reason),
            ("keep_blue", &self.keep_blue),
            ("gates", &self.gates),
            ("patience", &self.patience),
            ("without_health_checks", &self.without_health_checks),
        ];
        let said = all
            .into_iter()
            .filter_map(|(name, value)| value.as_ref().map(|value| (name, value)));
        said.map(|(name, value)| {
            (
                name.to_owned(),
                value.clone(),
                format!("--{}", name.replace('_', "-")),
            )
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_projects_file_gives_defaults_and_every_mistake_in_it_is_told() {
        let good = Project::parse("marathon = \"http://m:8080\"\nbatch = 2\nkeep_blue = \"5m\"\n")
            .unwrap();
        assert_eq!(good.settings.batch(10), 2);

        let problems = Project::parse("batsh = 2\nkeep_blue = \"soon\"\n").unwrap_err();

        assert_eq!(problems.len(), 2, "{problems:?}");
        assert_eq!(problems[0].hint.as_deref(), Some("did you mean `batch`?"));
    }
}
