//! `teal pause`, `resume`, `promote`, `rollback` and `force`: a word to a deployment, whoever carries it on.
//!
//! If a process carries it on, it gets the word and does it. If none does, the word is journaled here and, unless it
//! was to pause, this process goes on with the deployment.

use super::drive::{self, Wish};
use crate::failure::{Exit, Failure};
use crate::journal_file::{JournalFile, Reader};
use crate::printer;
use crate::runner::End;
use crate::settings::Places;
use crate::show;
use crate::store::{Holder, Past, Store};
use crate::systems::Systems;
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::time::Duration;
use teal_core::definition::{Definition, PendingSource};
use teal_core::journal::{Command, Event, Outcome};
use teal_core::name::ServiceName;

/// How long a running deployer may take to take a letter.
const LETTER_TIMEOUT: Duration = Duration::from_secs(45);

/// Decide nothing more for a deployment until `resume`; what serves goes on serving
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// The service; may be left out if only one is being deployed
    service: Option<String>,
}

/// Go on with a deployment that is paused, was interrupted, crashed, or is stuck
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The service; may be left out if only one is being deployed
    service: Option<String>,
}

/// Open the gate that a deployment waits at, or end its bake
#[derive(Debug, Args)]
pub(crate) struct PromoteArgs {
    /// The service; may be left out if only one is being deployed
    service: Option<String>,
    /// Open all later gates too
    #[arg(long)]
    full: bool,
}

/// Bring BLUE back and remove GREEN; after the end of a deployment, deploy its BLUE again
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The service; may be left out if only one is being deployed
    service: Option<String>,
    /// Why, for the report
    #[arg(long, default_value = "the operator asked for it")]
    reason: String,
}

/// Stop what does not drain, though it is still at work
#[derive(Debug, Args)]
pub(crate) struct ForceArgs {
    /// The service; may be left out if only one is being deployed
    service: Option<String>,
    /// Why this may drop work; it stands in the report
    #[arg(long)]
    reason: String,
}

pub(crate) async fn pause(places: &Places, args: PauseArgs) -> Result<Exit, Failure> {
    let desk = Desk::open(places, args.service.as_deref())?;
    let past = desk.expect_open()?;
    if desk.hand_over(&past, &Command::Pause).await?.is_none() {
        let _lock = desk.store.lock(&desk.service, &past.plan.deployment)?;
        JournalFile::open(&past.path)?.write(
            crate::clock::now(),
            Event::Asked {
                command: Command::Pause,
                letter: None,
            },
        )?;
    }
    printer::talk(format_args!(
        "{} is paused; `teal resume {0}` goes on",
        desk.service
    ));
    Ok(Exit::Done)
}

pub(crate) async fn resume(places: &Places, args: ResumeArgs) -> Result<Exit, Failure> {
    let desk = Desk::open(places, args.service.as_deref())?;
    desk.carry_on(Command::Resume, drive::exit).await
}

pub(crate) async fn promote(places: &Places, args: PromoteArgs) -> Result<Exit, Failure> {
    let desk = Desk::open(places, args.service.as_deref())?;
    let past = desk.expect_open()?;
    let state = &past.state;
    let at_gate = state
        .gate
        .is_some_and(|(gate, _)| !state.open_gates.contains(&gate));
    let baking = state.bake_began.is_some() && !state.bake_ended;
    if state.is_back() || !(args.full || at_gate || baking) {
        let what = format!(
            "{} waits at no gate and does not bake; nothing was changed",
            desk.service
        );
        return Err(Failure::new(Exit::Invalid, what).hint(format!(
            "`teal watch {}` shows where it is; --full opens what is ahead",
            desk.service
        )));
    }
    let command = Command::Promote { full: args.full };
    if desk.hand_over(&past, &command).await?.is_some() {
        printer::talk(format_args!("{} is promoted", desk.service));
        return Ok(Exit::Done);
    }
    desk.carry_on(command, drive::exit).await
}

pub(crate) async fn force(places: &Places, args: ForceArgs) -> Result<Exit, Failure> {
    let desk = Desk::open(places, args.service.as_deref())?;
    if args.reason.trim().is_empty() {
        return Err(
            Failure::new(Exit::Invalid, "force needs a reason, and --reason is empty")
                .hint("say why work may be dropped: it will stand in the report"),
        );
    }
    let past = desk.expect_open()?;
    let command = Command::Force {
        reason: args.reason,
    };
    if desk.hand_over(&past, &command).await?.is_some() {
        printer::talk(format_args!(
            "{}: what drains at this moment is stopped",
            desk.service
        ));
        return Ok(Exit::Done);
    }
    desk.carry_on(command, drive::exit).await
}

pub(crate) async fn rollback(places: &Places, args: RollbackArgs) -> Result<Exit, Failure> {
    let desk = Desk::open(places, args.service.as_deref())?;
    let command = Command::Rollback {
        reason: args.reason,
    };
    if desk.open_past().is_some() || desk.adopt().await? {
        // Rolled back is what was asked for here.
        let ended = desk
            .carry_on(command, |end| match end {
                End::Outcome(Outcome::RolledBack { .. }) => Exit::Done,
                End::Outcome(Outcome::Completed | Outcome::Stuck { .. }) | End::Interrupted => {
                    drive::exit(end)
                }
            })
            .await;
        // It may have ended by itself in this very moment: then there is something else to undo.
        if ended.is_ok() || desk.open_past().is_some() {
            return ended;
        }
    }
    desk.deploy_again().await
}

/// A service, its open deployment, and the means to do something about it.
struct Desk<'a> {
    places: &'a Places,
    store: Store,
    systems: Systems,
    service: ServiceName,
}

impl<'a> Desk<'a> {
    fn open(places: &'a Places, service: Option<&str>) -> Result<Self, Failure> {
        let store = Store::open(&places.state_dir)?;
        let systems = Systems::connect(places)?;
        let service = match service {
            Some(service) => ServiceName::from(service.trim_matches('/')),
            None => only_open(&store)?,
        };
        Ok(Self {
            places,
            store,
            systems,
            service,
        })
    }

    fn open_past(&self) -> Option<Past> {
        self.store.open_of(&self.service)
    }

    fn expect_open(&self) -> Result<Past, Failure> {
        self.open_past().ok_or_else(|| {
            Failure::new(
                Exit::Invalid,
                format!("no deployment of `{}` is under way", self.service),
            )
            .hint("`teal status` shows what runs, `teal history` what was deployed")
        })
    }

    /// Takes over an unfinished deployment that another machine began. False: there is none.
    async fn adopt(&self) -> Result<bool, Failure> {
        let Some(plan) = drive::carried(&self.systems, &self.service).await? else {
            return Ok(false);
        };
        let path = self.store.journal(&plan.deployment);
        if path.exists() {
            return Ok(false);
        }
        let _lock = self.store.lock(&self.service, &plan.deployment)?;
        JournalFile::create(&path, &plan, crate::clock::now())?;
        printer::talk(format_args!(
            "{} was begun elsewhere; going on from what GREEN carries",
            plan.deployment
        ));
        Ok(true)
    }

    /// Gives the command to the process that carries the deployment on. None: there is none. Else the number of the last
    /// entry that its journal had before.
    async fn hand_over(&self, past: &Past, command: &Command) -> Result<Option<u64>, Failure> {
        let deployment = &past.plan.deployment;
        let Some(holder) = self.store.holder(&self.service) else {
            return Ok(None);
        };
        if holder.deployment != *deployment {
            let what = format!(
                "{} holds {} and is not yet under way",
                holder.deployment, self.service
            );
            return Err(Failure::new(Exit::Locked, what).hint("say this again in a moment"));
        }
        let before = past.state.seq;
        let letter = self.store.post(deployment, command)?;
        let name = letter
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        knock(&holder);
        let mut reader = Reader::at_start(&past.path);
        let mut taken = || {
            let news = reader.news().ok()?;
            let mut news = news.iter().filter(|entry| entry.seq > before);
            news.find_map(|entry| match &entry.event {
                Event::Asked { letter, .. } => (*letter == name).then_some(true),
                Event::Ended { .. } => Some(false),
                Event::Begun { .. }
                | Event::Intended { .. }
                | Event::Performed { .. }
                | Event::Failed { .. }
                | Event::Seen { .. }
                | Event::Resumed { .. } => None,
            })
        };
        let deadline = tokio::time::Instant::now() + LETTER_TIMEOUT;
        while tokio::time::Instant::now() < deadline {
            match taken() {
                Some(true) => return Ok(Some(before)),
                Some(false) => {
                    // Nobody will take it any more.
                    std::fs::remove_file(&letter).ok();
                    let what = format!("{deployment} had ended before it could hear of this");
                    return Err(Failure::new(Exit::Invalid, what).hint(format!(
                        "`teal status {}` shows how things are",
                        self.service
                    )));
                }
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        std::fs::remove_file(&letter).ok();
        let what = format!(
            "process {} holds {} and does not answer",
            holder.pid, self.service
        );
        Err(Failure::new(Exit::Internal, what)
            .hint("it may be stopped (Ctrl-Z) or hang; end it, then say this again"))
    }

    /// Has the command done and follows the deployment to its end, here or where it is carried on.
    async fn carry_on(&self, command: Command, exit: fn(&End) -> Exit) -> Result<Exit, Failure> {
        if self.open_past().is_none() {
            self.adopt().await?;
        }
        let past = self.expect_open()?;
        if let Some(before) = self.hand_over(&past, &command).await? {
            let outcome = self.follow(&past.path, before).await?;
            drive::tell_stuck(&self.service, &outcome);
            return Ok(exit(&End::Outcome(outcome)));
        }
        let lock = self.store.lock(&self.service, &past.plan.deployment)?;
        let end = drive::go_on(
            self.places,
            &self.store,
            &self.systems,
            &past,
            Some(command),
            lock,
        )
        .await?;
        Ok(exit(&end))
    }

    /// Follows another process's deployment to its end.
    async fn follow(&self, journal: &Path, told: u64) -> Result<Outcome, Failure> {
        let mut audience = show::Lines::default();
        let mut reader = Reader::at_start(journal);
        loop {
            let carried_on = self.store.holder(&self.service).is_some();
            for entry in reader.news()?.iter().filter(|entry| entry.seq > told) {
                crate::runner::Audience::entry(&mut audience, entry);
                if let Event::Ended { outcome } = &entry.event {
                    return Ok(outcome.clone());
                }
            }
            if !carried_on {
                return Err(Failure::new(
                    Exit::Internal,
                    "the process that carried the deployment on has gone away",
                )
                .hint(format!("`teal resume {}` goes on with it", self.service)));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The last deployment is over and BLUE is gone: what BLUE was is deployed again, with no gate.
    async fn deploy_again(&self) -> Result<Exit, Failure> {
        let all = self.store.of_service(&self.service);
        if let Some(latest) = all.last()
            && let Some(Outcome::RolledBack { .. }) = latest.state.outcome
        {
            let id = &latest.plan.deployment;
            printer::talk(format_args!(
                "nothing to do: {id} was rolled back, so BLUE serves already"
            ));
            return Ok(Exit::Done);
        }
        let last = self
            .store
            .of_service(&self.service)
            .into_iter()
            .rev()
            .find(|past| past.state.outcome == Some(Outcome::Completed));
        let Some((last, blue)) =
            last.and_then(|last| last.plan.blue.clone().map(|blue| (last, blue)))
        else {
            return Err(Failure::new(
                Exit::Invalid,
                format!(
                    "there is nothing to roll `{}` back to; nothing was changed",
                    self.service
                ),
            )
            .hint("`teal history` shows its deployments"));
        };
        let id = drive::new_id(&self.service);
        let lock = self.store.lock(&self.service, &id)?;
        let mut settings = last.plan.settings.clone();
        settings.without_health_checks = true;
        // A rollback runs no gate again, whatever the labels say.
        let no_gates = [("gates".to_owned(), "none".to_owned(), "rollback".to_owned())];
        let text = redeployable(&blue.definition, &self.service, &blue.pending).to_string();
        let (definition, settings) =
            Definition::resolve(&text, &settings, &no_gates).map_err(|problems| {
                Failure::invalid(
                    format!("{} cannot be deployed again", blue.revision),
                    problems,
                )
            })?;
        let wish = Wish {
            definition: &definition,
            settings: &settings,
            revision: None,
            replace: Some(&last.plan.green.revision),
        };
        let Some(plan) = drive::make_plan(&self.systems, &wish, id).await? else {
            printer::talk(format_args!(
                "nothing to do: {} runs already",
                blue.revision
            ));
            return Ok(Exit::Done);
        };
        printer::talk(format_args!(
            "{} has ended: {} is deployed again from history",
            last.plan.deployment, blue.revision
        ));
        let end = drive::begin(self.places, &self.store, &self.systems, &plan, lock).await?;
        Ok(drive::exit(&end))
    }
}

/// Returns the definition with labels that name its service, and the gauge that was used for it.
fn redeployable(
    definition: &serde_json::Value,
    service: &ServiceName,
    pending: &PendingSource,
) -> serde_json::Value {
    let mut definition = definition.clone();
    let Some(body) = definition.as_object_mut() else {
        return definition;
    };
    let labels = body
        .entry("labels")
        .or_insert_with(|| serde_json::json!({}));
    let Some(labels) = labels.as_object_mut() else {
        return definition;
    };
    labels.insert("TEAL_SERVICE".to_owned(), serde_json::json!(service));
    let mut set = |name: &str, value: String| {
        labels
            .entry(name)
            .or_insert_with(|| serde_json::Value::String(value));
    };
    match pending {
        PendingSource::None => set("TEAL_PENDING", "none".to_owned()),
        PendingSource::Prometheus {
            path,
            gauge,
            port_index,
        } => {
            set("TEAL_PENDING_PATH", path.clone());
            set("TEAL_PENDING_GAUGE", gauge.clone());
            set("TEAL_PENDING_PORT_INDEX", port_index.to_string());
        }
        PendingSource::Pointer {
            path,
            pointer,
            port_index,
        } => {
            set("TEAL_PENDING_PATH", path.clone());
            set("TEAL_PENDING_POINTER", pointer.clone());
            set("TEAL_PENDING_PORT_INDEX", port_index.to_string());
        }
    }
    definition
}

fn only_open(store: &Store) -> Result<ServiceName, Failure> {
    let open = store.open_ones();
    match &open[..] {
        [one] => Ok(one.plan.service.clone()),
        [] => Err(
            Failure::new(Exit::Invalid, "no deployment is under way on this machine")
                .hint("name the service"),
        ),
        many => {
            let names: Vec<_> = many.iter().map(|past| past.plan.service.as_str()).collect();
            Err(Failure::new(
                Exit::Invalid,
                format!("several services are being deployed: {}", names.join(", ")),
            )
            .hint("name the service"))
        }
    }
}

/// Wakes the deployer; if it cannot be woken it looks into its letter box within a second all the same.
fn knock(holder: &Holder) {
    let pid = i32::try_from(holder.pid).unwrap_or(0);
    if pid > 0 && holder.host == crate::store::host() {
        // A process that is gone is found out by the letter that stays.
        kill(Pid::from_raw(pid), Signal::SIGUSR1).ok();
    }
}
