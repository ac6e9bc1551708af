//! `teal doctor`: is everything there that a deployment needs?

use super::drive;
use crate::failure::{Exit, Failure};
use crate::printer::{self, Format, style};
use crate::settings::Places;
use crate::store::Store;
use crate::systems;
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use teal_core::name::ServiceName;
use teal_drivers::{Balancer, DriverError};

/// Check that everything is there that a deployment needs
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {}

#[derive(Debug, Serialize)]
struct Check {
    what: String,
    ok: bool,
    found: String,
    hint: Option<String>,
    #[serde(skip)]
    exit: ExitIfFailed,
}

/// The exit code that a failed check asks for.
#[derive(Debug, Clone, Copy)]
struct ExitIfFailed(Exit);

/// Runs `teal doctor`.
pub(crate) async fn run(places: &Places, _: DoctorArgs) -> Result<Exit, Failure> {
    let checks = vec![
        state_dir(places),
        marathon(places).await,
        balancer(places).await,
    ];
    match places.output {
        Format::Json => printer::json(&checks),
        Format::Text => checks.iter().for_each(print),
    }
    let failed = checks.iter().find(|check| !check.ok);
    Ok(failed.map_or(Exit::Done, |check| check.exit.0))
}

fn print(check: &Check) {
    let mark = if check.ok {
        style::green("ok  ")
    } else {
        style::red("FAIL")
    };
    printer::data(format_args!("{mark} {}: {}", check.what, check.found));
    if let Some(hint) = &check.hint {
        printer::data(format_args!("     hint: {hint}"));
    }
}

fn state_dir(places: &Places) -> Check {
    let what = "state folder".to_owned();
    let found = places.state_dir.display().to_string();
    let exit = ExitIfFailed(Exit::Internal);
    let usable = Store::open(&places.state_dir).and_then(|store| {
        let probe = store.root().join(format!(".doctor-{}", std::process::id()));
        std::fs::write(&probe, b"ok")?;
        std::fs::remove_file(&probe)?;
        Ok(store.all().1)
    });
    match usable {
        Ok(damaged) if damaged.is_empty() => Check {
            what,
            ok: true,
            found,
            hint: None,
            exit,
        },
        Ok(damaged) => {
            let found = format!(
                "{found}: {}",
                damaged
                    .iter()
                    .map(|error| format!("{error:#}"))
                    .collect::<Vec<_>>()
                    .join("; ")
            );
            Check {
                what,
                ok: false,
                found,
                hint: Some(
                    "move the damaged journal away once you know what it was about".to_owned(),
                ),
                exit,
            }
        }
        Err(error) => {
            let hint = Some("name another one with --state-dir".to_owned());
            Check {
                what,
                ok: false,
                found: format!("{found}: {error:#}"),
                hint,
                exit,
            }
        }
    }
}

async fn marathon(places: &Places) -> Check {
    let what = "orchestrator".to_owned();
    let exit = ExitIfFailed(Exit::Orchestrator);
    let info = async {
        let marathon = systems::marathon(places)?;
        marathon
            .client()
            .get("/v2/info")
            .await
            .map_err(|error| Failure::orchestrator(&error))
    };
    match info.await {
        Ok(info) => {
            let text = |name: &str| {
                info.get(name)
                    .and_then(Value::as_str)
                    .unwrap_or("?")
                    .to_owned()
            };
            let found = format!(
                "{} {} at {}",
                text("name"),
                text("version"),
                places.marathon
            );
            Check {
                what,
                ok: true,
                found,
                hint: None,
                exit,
            }
        }
        Err(failure) => Check {
            what,
            ok: false,
            found: failure.what,
            hint: failure.hint,
            exit,
        },
    }
}

async fn balancer(places: &Places) -> Check {
    let what = "balancer".to_owned();
    let exit = ExitIfFailed(Exit::Balancer);
    let asked = async {
        let balancer = systems::balancer(places)?;
        let pool =
            teal_core::name::PoolId::from(drive::new_id(&ServiceName::from("doctor")).as_str());
        balancer
            .observe(&[pool])
            .await
            .map_err(|error: DriverError| Failure::balancer(&error))?;
        Ok::<_, Failure>(balancer.capabilities())
    };
    match asked.await {
        Ok(can) => {
            let found = format!(
                "at {}; tells in-flight: {}, changes a pool in one step: {}",
                places.balancer, can.in_flight, can.atomic_change
            );
            Check {
                what,
                ok: true,
                found,
                hint: None,
                exit,
            }
        }
        Err(failure) => Check {
            what,
            ok: false,
            found: failure.what,
            hint: failure.hint,
            exit,
        },
    }
}
