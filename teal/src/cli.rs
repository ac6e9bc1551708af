//! The command line: one variant per command, one line of dispatch each.

use crate::commands::{
    app, completion, demo, deploy, doctor, haproxy_config, haproxy_reload, history, keep, load,
    logs, oinker, pool, report, status, steer, task, up, wait,
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
    Keep(keep::KeepArgs),
    Logs(logs::LogsArgs),
    Load(load::LoadArgs),
    Doctor(doctor::DoctorArgs),
    HaproxyConfig(haproxy_config::HaproxyConfigArgs),
    HaproxyReload(haproxy_reload::HaproxyReloadArgs),
    Completion(completion::CompletionArgs),
    #[command(hide = true)]
    Oinker(oinker::OinkerArgs),
}

impl Cli {
    /// Runs the command that was asked for.
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        self.command.run(&self.global).await
    }
}

impl Command {
    /// Where things are is found out by the commands that need it alone: a task has no home folder.
    async fn run(self, global: &GlobalArgs) -> Result<Exit, Failure> {
        let places = || global.resolve();
        match self {
            Self::Completion(args) => Ok(completion::run(&args)),
            Self::HaproxyConfig(args) => haproxy_config::run(&args),
            Self::HaproxyReload(args) => haproxy_reload::run(&places()?, args).await,
            Self::Oinker(args) => oinker::run(args).await,
            Self::Demo(args) => demo::run(&places()?, args).await,
            Self::Up(args) => up::run(&places()?, args).await,
            Self::Plan(args) => deploy::plan(&places()?, args).await,
            Self::Deploy(args) => deploy::run(&places()?, args).await,
            Self::Status(args) => status::run(&places()?, args).await,
            Self::Watch(args) => status::watch(&places()?, args).await,
            Self::Wait(args) => wait::run(&places()?, args).await,
            Self::Pause(args) => steer::pause(&places()?, args).await,
            Self::Resume(args) => steer::resume(&places()?, args).await,
            Self::Promote(args) => steer::promote(&places()?, args).await,
            Self::Rollback(args) => steer::rollback(&places()?, args).await,
            Self::Force(args) => steer::force(&places()?, args).await,
            Self::History(args) => history::run(&places()?, &args),
            Self::Report(args) => report::run(&places()?, &args),
            Self::App(command) => app::run(&places()?, command).await,
            Self::Task(command) => task::run(&places()?, command).await,
            Self::Pool(command) => pool::run(&places()?, command).await,
            Self::Keep(args) => keep::run(&places()?, args).await,
            Self::Logs(args) => logs::run(&places()?, args).await,
            Self::Load(args) => load::run(&places()?, args).await,
            Self::Doctor(args) => doctor::run(&places()?, args).await,
        }
    }
}
