//! `teal wait`: for scripts.

use crate::failure::{Exit, Failure};
use crate::printer;
use crate::settings::Places;
use crate::store::{Past, Store};
use clap::{Args, ValueEnum};
use std::time::Duration;
use teal_core::Span;
use teal_core::journal::Outcome;
use teal_core::name::ServiceName;
use teal_core::report::ending;

/// Wait until a service's latest deployment has got somewhere
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The service
    service: String,
    /// What to wait for
    #[arg(long = "for", value_enum, default_value = "ended")]
    until: Until,
    /// How long at most; 0 is for ever
    #[arg(long, default_value = "10m")]
    timeout: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Until {
    /// It has ended, however
    Ended,
    /// GREEN serves, BLUE is gone
    Completed,
    /// BLUE serves again, GREEN is gone
    RolledBack,
    /// All traffic is on GREEN and BLUE is still warm, or gone
    Shifted,
    /// A gate is waited at
    Gate,
    /// It is paused
    Paused,
}

/// Runs `teal wait`.
pub(crate) async fn run(places: &Places, args: WaitArgs) -> Result<Exit, Failure> {
    let store = Store::open(&places.state_dir)?;
    let service = ServiceName::from(args.service.trim_matches('/'));
    let Some(latest) = store.of_service(&service).pop() else {
        let what = format!("`{service}` was never deployed from this machine");
        return Err(Failure::new(Exit::Invalid, what).hint("`teal status` shows what runs"));
    };
    // A gate or a pause can only be ahead: what has ended already is not what is meant.
    let passes = matches!(args.until, Until::Gate | Until::Paused);
    let over = Some(latest.plan.deployment).filter(|_| passes && latest.state.outcome.is_some());
    let wait = async {
        loop {
            let past = store.of_service(&service).pop();
            let past = past.filter(|past| Some(&past.plan.deployment) != over.as_ref());
            if let Some(exit) = past.and_then(|past| arrived(args.until, &past)) {
                return Ok(exit);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if args.timeout == Span::ZERO {
        return wait.await;
    }
    match tokio::time::timeout(args.timeout.duration(), wait).await {
        Ok(ended) => ended,
        Err(_) => Err(Failure::new(
            Exit::WaitOver,
            format!("{service} did not get there within {}", args.timeout),
        )),
    }
}

/// Returns the exit code once it is known: 0 when what was waited for is so, else how the deployment ended instead.
fn arrived(until: Until, past: &Past) -> Option<Exit> {
    let state = &past.state;
    let there = match until {
        Until::Ended => state.outcome.is_some(),
        Until::Completed => state.outcome == Some(Outcome::Completed),
        Until::RolledBack => matches!(state.outcome, Some(Outcome::RolledBack { .. })),
        Until::Shifted => {
            state.bake_began.is_some() && !state.is_back()
                || state.outcome == Some(Outcome::Completed)
        }
        Until::Gate => state
            .gate
            .is_some_and(|(gate, _)| !state.open_gates.contains(&gate)),
        Until::Paused => state.paused_at.is_some(),
    };
    let outcome = state.outcome.as_ref();
    if !there && outcome.is_none() {
        return None;
    }
    if let Some(outcome) = outcome {
        printer::talk(format_args!(
            "{}: {}",
            past.plan.deployment,
            ending(outcome)
        ));
    }
    match outcome {
        _ if there && until != Until::Ended => Some(Exit::Done),
        Some(Outcome::RolledBack { .. }) => Some(Exit::RolledBack),
        Some(Outcome::Stuck { .. }) => Some(Exit::Stuck),
        Some(Outcome::Completed) | None => Some(if there { Exit::Done } else { Exit::Invalid }),
    }
}
