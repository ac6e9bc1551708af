//! The command line: one variant per command, one line of dispatch each.

use crate::commands::{
    app, completion, demo, deploy, doctor, history, load, oinker, pool, report, steer, status, task, up, wait,
};
use crate::failure::{Exit, Failure};
use crate::settings::GlobalArgs;
use clap::{Parser, Subcommand};

const AFTER: &str = "\
Exit codes: 0 done · 1 internal · 2 usage or invalid definition · 3 rolled back · 4 stuck, a person is needed ·
5 locked by another deployment · 6 orchestrator unreachable or refused · 7 balancer unreachable or refused ·
8 deadline of `wait` passed · 130 interrupted (the state is safe)";

/// Replaces the running version of a service by a new one while it serves traffic, and drops nothing
#[derive(Debug, Parser)]
#[command(name = "teal", version, after_help = AFTER, disable_help_subcommand = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Up(up::UpArgs),
    Plan(deploy::PlanArgs),
    Deploy(deploy::DeployArgs),
    Status(status::StatusArgs),
    Watch(status::WatchArgs),
    Wait(wait::WaitArgs),
    Pause(steer::PauseArgs),
    Resume(steer::ResumeArgs),
    Promote(steer::PromoteArgs),
    #[command(visible_alias = "abort")]
    Rollback(steer::RollbackArgs),
    Force(steer::ForceArgs),
    History(history::HistoryArgs),
    Report(report::ReportArgs),
    #[command(subcommand)]
    App(app::AppCommand),
    #[command(subcommand)]
    Task(task::TaskCommand),
    #[command(subcommand)]
    Pool(pool::PoolCommand),
    Load(load::LoadArgs),
    Doctor(doctor::DoctorArgs),
    Completion(completion::CompletionArgs),
    #[command(hide = true)]
    Oinker(oinker::OinkerArgs),
}

impl Cli {
    /// Runs the command that was asked for.
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let places = self.global.resolve()?;
        match self.command {
            Command::Demo(args) => demo::run(&places, args).await,
            Command::Up(args) => up::run(&places, args).await,
            Command::Plan(args) => deploy::plan(&places, args).await,
            Command::Deploy(args) => deploy::run(&places, args).await,
            Command::Status(args) => status::run(&places, args).await,
            Command::Watch(args) => status::watch(&places, args).await,
            Command::Wait(args) => wait::run(&places, args).await,
            Command::Pause(args) => steer::pause(&places, args).await,
            Command::Resume(args) => steer::resume(&places, args).await,
            Command::Promote(args) => steer::promote(&places, args).await,
            Command::Rollback(args) => steer::rollback(&places, args).await,
            Command::Force(args) => steer::force(&places, args).await,
            Command::History(args) => history::run(&places, &args),
            Command::Report(args) => report::run(&places, &args),
            Command::App(command) => app::run(&places, command).await,
            Command::Task(command) => task::run(&places, command).await,
            Command::Pool(command) => pool::run(&places, command).await,
            Command::Load(args) => load::run(&places, args).await,
            Command::Doctor(args) => doctor::run(&places, args).await,
            Command::Completion(args) => Ok(completion::run(&args)),
            Command::Oinker(args) => oinker::run(args).await,
        }
    }
}
