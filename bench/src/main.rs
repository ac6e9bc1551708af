//! The measuring programs behind `./bench/run NAME`: each compares teal with what users would pick instead.
//!
//! Nothing here is shipped, and nothing that is shipped uses it. A measurement is one file (`proxy`, `footprint`), and
//! returns an [`Outcome`]: the table that is printed, the JSON that is kept, and the ratio that counts, on the last line.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::outcome::Outcome;

mod ask;
mod backend;
mod deploy;
mod during;
mod embedded;
mod follower;
mod footprint;
mod haproxy;
mod journal;
mod load;
mod machine;
mod outcome;
mod peers;
mod process;
mod proxy;
mod rollback;
mod scale;
mod service;
mod site;
mod statistics;
mod steady;
mod table;
mod traced;

#[derive(Debug, Parser)]
#[command(
    version,
    about = "Measures teal side by side with what users would pick instead"
)]
struct Cli {
    #[command(subcommand)]
    measurement: Measurement,
    /// The folder for results and for what peers need while they run
    #[arg(long, default_value = "target/bench", global = true)]
    folder: PathBuf,
    /// The release build of teal
    #[arg(long, default_value = "target/release/teal", global = true)]
    teal: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Measurement {
    /// CPU time, system calls and user instructions per request, against other proxies
    Proxy(proxy::Args),
    /// How long deployments take, against what they cannot be shorter than
    Deploy(deploy::Args),
    /// Size of the program; memory and wake-ups of an idle `teal up`; time to the first served request
    Footprint(footprint::Args),
    /// What clients see before, during and after a deployment
    During(during::Args),
    /// How long the revision that is rolled back still answers
    Rollback(rollback::Args),
    /// Calls, bytes, CPU, memory and journal of a deployment, from 100 instances to 10,000; time per decision
    Scale(scale::Args),
    /// What `scale` measures against: a simulated Marathon, teal's balancer, and gauges
    #[command(hide = true)]
    World(scale::world::Args),
    /// One program, and what it used (what `scale` runs teal in)
    #[command(hide = true)]
    Measured(scale::measured::Args),
    /// teal's balancer alone, on the runtime that `teal up` gives it (what `proxy` measures)
    #[command(hide = true)]
    Embedded(embedded::Args),
    /// One instance of the service that measurements deploy
    #[command(hide = true)]
    Service(service::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            table::talk(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    // What a measurement starts is not at home in the folder of results.
    let places = || Places::new(cli.folder, cli.teal);
    match cli.measurement {
        Measurement::Embedded(args) => embedded::run(args),
        Measurement::Service(args) => service::run(&args),
        Measurement::World(args) => scale::world::run(&args),
        Measurement::Measured(args) => scale::measured::run(&args),
        Measurement::Proxy(args) => report(&places()?, |places| proxy::run(places, &args)),
        Measurement::Deploy(args) => report(&places()?, |places| deploy::run(places, &args)),
        Measurement::During(args) => report(&places()?, |places| during::run(places, &args)),
        Measurement::Rollback(args) => report(&places()?, |places| rollback::run(places, &args)),
        Measurement::Scale(args) => report(&places()?, |places| scale::run(places, &args)),
        Measurement::Footprint(args) => report(&places()?, |places| footprint::run(places, &args)),
    }
}

fn report(
    places: &Places,
    measure: impl FnOnce(&Places) -> anyhow::Result<Outcome>,
) -> anyhow::Result<()> {
    let outcome = measure(places)?;
    let file = outcome.write(&places.folder)?;
    table::print(&outcome.text(&file));
    Ok(())
}

/// Where things are on this machine.
#[derive(Debug)]
struct Places {
    /// For results, and for what runs.
    folder: PathBuf,
    teal: PathBuf,
}

impl Places {
    fn new(folder: PathBuf, teal: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        // Peers run in folders of their own.
        let folder = folder.canonicalize()?;
        let teal = std::path::absolute(teal)?;
        Ok(Self { folder, teal })
    }

    /// Returns an empty folder of this name for something that runs.
    fn scratch(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join("run").join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(folder)
    }
}
