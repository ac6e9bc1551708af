//! What it would cost, from here, to have all traffic on BLUE again.

use crate::name::Role;
use crate::observation::{Instance, Observation};
use crate::plan::Plan;
use crate::time::Moment;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How BLUE could come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WayBack {
    /// There was no BLUE: going back removes GREEN.
    NoBlue,
    /// All of BLUE serves.
    Nothing,
    /// All of BLUE is alive and settled: one change of the pool.
    PoolChange,
    /// This many BLUE instances have to be launched and settle first.
    Launch(u32),
}

impl fmt::Display for WayBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBlue => f.write_str("remove GREEN"),
            Self::Nothing => f.write_str("BLUE is complete: only GREEN has to go"),
            Self::PoolChange => f.write_str("one pool change: all of BLUE is alive"),
            Self::Launch(count) => write!(f, "launch {count} BLUE and wait until healthy"),
        }
    }
}

/// Returns what it would cost to go back at this moment.
#[must_use]
pub fn way_back(plan: &Plan, seen: &Observation, now: Moment) -> WayBack {
    let Some(blue) = &plan.blue else {
        return WayBack::NoBlue;
    };
    let settle = plan.settings.min_healthy_time;
    let count = |test: &dyn Fn(&Instance) -> bool| {
        u32::try_from(seen.instances(Role::Blue).filter(|one| test(one)).count())
            .unwrap_or(u32::MAX)
    };
    if count(&Instance::is_capacity) >= blue.instances {
        return WayBack::Nothing;
    }
    match blue
        .instances
        .saturating_sub(count(&|one| one.is_settled(settle, now)))
    {
        0 => WayBack::PoolChange,
        missing => WayBack::Launch(missing),
    }
}
