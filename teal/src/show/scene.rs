//! One look as lines of text: both colours' instances, the stage, what is waited for, and the way back.

use crate::printer::style;
use crate::runner::Scene;
use teal_core::decide::{Decision, Stage, Then, stage, way_back};
use teal_core::name::Role;
use teal_core::observation::{Health, Instance, Phase, Revision, Traffic};
use teal_core::report::{sentence, short};
use teal_core::settings::Strategy;
use teal_core::time::Span;

/// More instances than this are told by count.
const ROWS: usize = 12;

/// Returns the picture of a scene, a line each.
pub(crate) fn picture(scene: &Scene<'_>) -> Vec<String> {
    let plan = scene.plan;
    let mut lines = vec![heading(scene), stages(scene)];
    if let Some(blind) = &scene.seen.blind {
        lines.push(style::red(format!(
            "the {} cannot be seen: {}",
            blind.system, blind.reason
        )));
    }
    for role in [Role::Blue, Role::Green] {
        let Some(id) = plan.revision(role) else {
            continue;
        };
        match scene.seen.revision(role) {
            Some(revision) => lines.extend(fleet(role, revision)),
            None if scene.seen.blind.is_some() => {}
            None => lines.push(format!("{}  {id}  {}", name(role), style::dim("not there"))),
        }
    }
    lines.push(next(scene));
    if scene.seen.blind.is_none() && !matches!(scene.decision, Decision::Finish(_)) {
        lines.push(style::dim(format!(
            "way back: {}",
            way_back(plan, scene.seen, scene.now)
        )));
    }
    lines
}

fn heading(scene: &Scene<'_>) -> String {
    let plan = scene.plan;
    let strategy = match plan.settings.strategy {
        Strategy::Rolling => "rolling",
        Strategy::Switch => "switch",
    };
    let took = Span(scene.now.since(plan.made_at).0 / 1000 * 1000);
    let facts = format!(
        "{strategy}, target {}, floor {}, batch {}, {took}",
        plan.target, plan.floor, plan.batch
    );
    format!("{}  {}", style::bold(&plan.service), style::dim(facts))
}

fn stages(scene: &Scene<'_>) -> String {
    let at = match scene.decision {
        Decision::Finish(_) => Stage::Done,
        Decision::Act(_) | Decision::Wait { .. } => {
            stage(scene.plan, scene.state, scene.seen, scene.now)
        }
    };
    let all = [
        (Stage::Launch, "launch"),
        (Stage::Shift, "shift"),
        (Stage::Bake, "bake"),
        (Stage::Retire, "retire"),
        (Stage::Done, "done"),
    ];
    let word = |(one, word): (Stage, &str)| match one.cmp(&at) {
        std::cmp::Ordering::Less => style::dim(word),
        std::cmp::Ordering::Equal => style::bold(format!("[{word}]")),
        std::cmp::Ordering::Greater => word.to_owned(),
    };
    let line = all.map(word).join(" → ");
    match &scene.state.direction {
        teal_core::journal::Direction::Forward => line,
        teal_core::journal::Direction::Back { reason } => {
            format!(
                "{line}  {}",
                style::yellow(format!("rolling back: {reason}"))
            )
        }
    }
}

fn name(role: Role) -> String {
    match role {
        Role::Blue => style::blue("BLUE "),
        Role::Green => style::green("GREEN"),
    }
}

fn fleet(role: Role, revision: &Revision) -> Vec<String> {
    let serving = revision
        .instances
        .iter()
        .filter(|one| one.traffic == Traffic::Serving)
        .count();
    let locked = if revision.locked {
        style::dim("  (a change of it is under way)")
    } else {
        String::new()
    };
    let counts = format!(
        "{} of {} running, {serving} serving",
        revision.instances.len(),
        revision.wanted
    );
    let mut lines = vec![format!("{}  {}  {counts}{locked}", name(role), revision.id)];
    lines.extend(revision.instances.iter().take(ROWS).map(instance));
    if revision.instances.len() > ROWS {
        lines.push(style::dim(format!(
            "         … and {} more",
            revision.instances.len() - ROWS
        )));
    }
    lines
}

fn instance(one: &Instance) -> String {
    let health = match (one.phase, one.health) {
        (Phase::Starting, _) => style::dim(format!("{:9}", "starting")),
        (Phase::Stopping, _) => style::dim(format!("{:9}", "stopping")),
        (Phase::Unreachable, _) => style::red(format!("{:9}", "lost")),
        (Phase::Running, Health::Healthy) => style::green(format!("{:9}", "healthy")),
        (Phase::Running, Health::Unhealthy) => style::red(format!("{:9}", "unhealthy")),
        (Phase::Running, Health::Unknown) => style::yellow(format!("{:9}", "unknown")),
    };
    let traffic = match one.traffic {
        Traffic::Out => style::dim(format!("{:8}", "out")),
        Traffic::Draining => style::yellow(format!("{:8}", "draining")),
        Traffic::Partly => style::yellow(format!("{:8}", "partly")),
        Traffic::Serving => format!("{:8}", "serving"),
    };
    let in_flight = one
        .in_flight
        .map_or_else(|| "?".to_owned(), |count| count.to_string());
    format!(
        "  {:28}  {health}  {traffic}  in-flight {in_flight:>4}   pending {:>4}",
        short(&one.id),
        one.pending.to_string()
    )
}

fn next(scene: &Scene<'_>) -> String {
    match scene.decision {
        Decision::Act(actions) => {
            let first = actions.first().map(sentence).unwrap_or_default();
            format!("doing: {first}")
        }
        Decision::Wait { reason, .. } => {
            let left = Span(reason.deadline.since(scene.now).0.div_ceil(1000) * 1000);
            let then = match reason.then {
                Then::GoOn => "then it goes on",
                Then::RollBack => "then teal rolls back",
                Then::Stuck => "then a person is needed",
            };
            format!(
                "waiting: {}  {}",
                reason.text,
                style::dim(format!("({left} left, {then})"))
            )
        }
        Decision::Finish(outcome) => super::outcome(outcome),
    }
}
