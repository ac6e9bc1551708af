//! `teal deploy` and `teal plan`.

use super::drive::{self, Wish};
use crate::failure::{Exit, Failure};
use crate::printer::{self, Format, style};
use crate::settings::{Places, SettingArgs};
use crate::store::Store;
use crate::systems::Systems;
use clap::Args;
use std::path::PathBuf;
use teal_core::definition::Definition;
use teal_core::name::{RevisionId, ServiceName};
use teal_core::plan::Plan;
use teal_core::settings::Settings;

/// What to deploy, for `plan` and `deploy` alike.
#[derive(Debug, Args)]
pub(crate) struct WishArgs {
    /// The Marathon app definition; - reads standard input
    file: PathBuf,
    /// An id for this revision, appended to the app's id: a short git commit id, say
    #[arg(long, value_name = "ID")]
    revision: Option<String>,
    /// The app to replace, where the service does not tell
    #[arg(long, value_name = "APP")]
    replace: Option<String>,
    #[command(flatten)]
    settings: SettingArgs,
}

/// Show what `deploy` would do: steps, room needed, time bounds, the cost of going back
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    wish: WishArgs,
    /// Exit with 2 when there is something to do, with 0 when there is not
    #[arg(long)]
    detailed_exitcode: bool,
}

/// Replace the running revision of a service by the one in FILE
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    #[command(flatten)]
    wish: WishArgs,
}

struct Resolved {
    definition: Definition,
    settings: Settings,
    replace: Option<RevisionId>,
}

impl WishArgs {
    fn resolve(&self, places: &Places) -> Result<Resolved, Failure> {
        let text = super::read_file(&self.file)?;
        let resolved = Definition::resolve(&text, &places.settings, &self.settings.overrides());
        let (definition, settings) = resolved.map_err(|problems| {
            Failure::invalid(
                format!(
                    "{} cannot be deployed; nothing was changed",
                    self.file.display()
                ),
                problems,
            )
        })?;
        let replace = self
            .replace
            .as_ref()
            .map(|id| RevisionId(format!("/{}", id.trim_matches('/'))));
        Ok(Resolved {
            definition,
            settings,
            replace,
        })
    }
}

/// Runs `teal plan`.
pub(crate) async fn plan(places: &Places, args: PlanArgs) -> Result<Exit, Failure> {
    let resolved = args.wish.resolve(places)?;
    let systems = Systems::connect(places)?;
    let wish = wish(&args.wish, &resolved);
    let id = drive::new_id(&resolved.definition.service);
    let plan = drive::make_plan(&systems, &wish, id).await?;
    match (&plan, places.output) {
        (None, Format::Json) => printer::json(&serde_json::json!({ "changes": false })),
        (None, Format::Text) => printer::data(nothing_to_do(&wish)),
        (Some(plan), Format::Json) => {
            printer::json(
                &serde_json::json!({ "changes": true, "plan": plan, "outline": plan.outline() }),
            );
        }
        (Some(plan), Format::Text) => tell_plan(plan, printer::data),
    }
    Ok(if plan.is_some() && args.detailed_exitcode {
        Exit::CHANGES
    } else {
        Exit::Done
    })
}

/// Runs `teal deploy`.
pub(crate) async fn run(places: &Places, args: DeployArgs) -> Result<Exit, Failure> {
    let resolved = args.wish.resolve(places)?;
    let store = Store::open(&places.state_dir)?;
    let systems = Systems::connect(places)?;
    let service = &resolved.definition.service;
    let id = drive::new_id(service);
    let lock = store.lock(service, &id)?;
    if let Some(open) = store.open_of(service) {
        let what = format!(
            "deployment {} of {service} has not ended; nothing was changed",
            open.plan.deployment
        );
        return Err(Failure::new(Exit::Locked, what).hint(format!(
            "`teal resume {service}` goes on with it, `teal rollback {service}` undoes it"
        )));
    }
    refuse_foreign(&systems, service).await?;
    let wish = wish(&args.wish, &resolved);
    let Some(plan) = drive::make_plan(&systems, &wish, id).await? else {
        printer::talk(nothing_to_do(&wish));
        return Ok(Exit::Done);
    };
    for note in &plan.notes {
        printer::talk(style::dim(format!("note: {note}")));
    }
    let end = drive::begin(places, &store, &systems, &plan, lock).await?;
    Ok(drive::exit(&end))
}

fn wish<'a>(args: &'a WishArgs, resolved: &'a Resolved) -> Wish<'a> {
    Wish {
        definition: &resolved.definition,
        settings: &resolved.settings,
        revision: args.revision.as_deref(),
        replace: resolved.replace.as_ref(),
    }
}

/// A deployment that another machine began and that has not ended locks the service as one of this machine's does.
async fn refuse_foreign(systems: &Systems, service: &ServiceName) -> Result<(), Failure> {
    let Some(open) = drive::carried(systems, service).await? else {
        return Ok(());
    };
    let Some(blue) = &open.blue else {
        return Ok(());
    };
    let (id, green) = (&open.deployment, &open.green.revision);
    let what = format!(
        "an unfinished deployment replaces {} by {green} ({id}, begun elsewhere); nothing was changed",
        blue.revision
    );
    Err(Failure::new(Exit::Locked, what).hint(format!(
        "`teal resume {service}` goes on with it, `teal rollback {service}` undoes it"
    )))
}

fn nothing_to_do(wish: &Wish<'_>) -> String {
    let revision = wish
        .revision
        .map_or_else(String::new, |revision| format!("-{revision}"));
    format!(
        "nothing to do: {}{revision} runs already, with this definition",
        wish.definition.id
    )
}

fn tell_plan(plan: &Plan, say: fn(String)) {
    let outline = plan.outline();
    let from = plan
        .blue
        .as_ref()
        .map_or("nothing", |blue| blue.revision.as_str());
    say(format!(
        "{}: {from} → {}",
        plan.service, plan.green.revision
    ));
    for (index, step) in outline.steps.iter().enumerate() {
        say(format!("{:>3}. {}", index + 1, step.what));
        say(style::dim(format!(
            "     going back from here: {}",
            step.way_back
        )));
    }
    say(format!(
        "room: up to {} instances at once; never fewer than {} healthy and serving",
        outline.room, plan.floor
    ));
    say(format!(
        "time: at least {}, at most {} until it has ended one way or the other",
        outline.at_least, outline.at_most
    ));
    for note in &plan.notes {
        say(format!("note: {note}"));
    }
}
