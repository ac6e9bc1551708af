//! A way through the model as a story for people: one line for each thing that happened.

use crate::moves::{Move, Turn};
use crate::node::Node;
use crate::setting::BEGINNING;
use crate::world::{Copy, Fleet, Life};
use teal_core::action::Action;
use teal_core::decide::Decision;
use teal_core::name::Role;

/// Tells what happens in a state, and before that what the state is.
pub(crate) fn told(node: &Node, step: &Move, decision: Option<&Decision>) -> String {
    let what = match (step, decision) {
        (Move::World(happening), _) => format!("  world: {happening:?}"),
        (Move::Asks(command), _) => format!("  operator: {command:?}"),
        (Move::Dies(away), _) => format!("  the deployer dies; another one goes on after {away}"),
        (Move::Resumes(command), _) => format!("  a person: {command:?}"),
        (Move::Waits(sight, passing), Some(Decision::Wait { until, reason })) => format!(
            "  teal waits for {} ({sight:?} sight, {passing:?}): {}",
            until.since(node.now),
            reason.text
        ),
        (Move::Decides(turn), Some(Decision::Act(actions))) => {
            let keys: Vec<String> = actions.iter().map(Action::key).collect();
            match turn {
                Turn::Fine => format!("  teal: {}", keys.join("; ")),
                Turn::Meanwhile(what) => {
                    format!("  meanwhile {what:?}; teal: {}", keys.join("; "))
                }
                Turn::At(index, fate) => {
                    let badly = keys.get(*index).map_or("", String::as_str);
                    format!("  teal: {}; of which `{badly}`: {fate:?}", keys.join("; "))
                }
            }
        }
        (Move::Ends(outcome), _) => format!("  teal ends: {outcome:?}"),
        (step, decision) => format!("  {step:?} {decision:?}"),
    };
    format!("{}\n{what}", world(node))
}

/// Tells how the world is, in one line.
pub(crate) fn world(node: &Node) -> String {
    let fleet = |(role, fleet): (&Role, &Fleet)| {
        let copies: Vec<String> = fleet.copies.iter().map(|it| copy(node, it)).collect();
        let locked = if fleet.is_locked() { ", locked" } else { "" };
        format!(
            "{role} wants {}{locked} [{}]",
            fleet.wanted,
            copies.join(", ")
        )
    };
    let fleets: Vec<String> = node.world.fleets.iter().map(fleet).collect();
    let at = node.now.since(BEGINNING);
    format!("{:>6} s  {}", at.0 / 1000, fleets.join("  "))
}

fn copy(node: &Node, copy: &Copy) -> String {
    let pool = node.world.pool.as_ref();
    let traffic = pool.and_then(|pool| pool.get(&copy.id));
    let traffic = traffic.map_or("Out".to_owned(), |state| format!("{state:?}"));
    let life = if let Life::Healthy { since } = copy.life {
        format!("Healthy for {}", node.now.since(since))
    } else {
        format!("{:?}", copy.life)
    };
    format!("{} {life} {traffic} {:?}", copy.id, copy.work)
}
