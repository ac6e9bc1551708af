//! Follows a deployer: tells its story, counts its entries, and notes when a person is waited for.

use super::deployers::Theatre;
use crate::runner::{Audience, Scene};
use teal_core::action::{Action, InstanceAction};
use teal_core::decide::{Decision, WaitingFor};
use teal_core::journal::{Entry, Event};
use tokio::sync::watch;

/// How far a deployer is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) entries: usize,
    pub(super) waits_for_operator: bool,
}

pub(super) struct Scribe<'a> {
    pub(super) theatre: &'a dyn Theatre,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) breaches: Vec<String>,
    pub(super) waits: String,
}

impl Audience for Scribe<'_> {
    fn entry(&mut self, entry: &Entry) {
        self.theatre
            .tell(&|| format!("teal: {:>3} {}", entry.seq, told(&entry.event)));
        self.progress.send_modify(|progress| progress.entries += 1);
    }

    fn scene(&mut self, scene: &Scene<'_>) {
        let mut waits_for_operator = false;
        match scene.decision {
            Decision::Act(actions) => {
                let kills = actions.iter().filter(|action| {
                    matches!(action, Action::Instance(InstanceAction::Kill { .. }))
                });
                if kills.count() > 1 {
                    self.breaches
                        .push(format!("more than one kill call in a round: {actions:?}"));
                }
            }
            Decision::Wait { reason, .. } => {
                waits_for_operator = reason.on == WaitingFor::Operator;
                // A wait is told once, not with every number that it counts.
                let waits = format!("{:?} until {}", reason.on, reason.deadline.0);
                if self.waits != waits {
                    let left = reason.deadline.since(scene.now);
                    self.theatre
                        .tell(&|| format!("teal: waits: {}, {left} left", reason.text));
                    self.waits = waits;
                }
            }
            Decision::Finish(_) => {}
        }
        self.progress.send_if_modified(|progress| {
            let before = progress.waits_for_operator;
            progress.waits_for_operator = waits_for_operator;
            before != waits_for_operator
        });
    }
}

fn told(event: &Event) -> String {
    match event {
        Event::Begun { .. } => "begins".to_owned(),
        Event::Intended { action } => format!("→ {}", action.key()),
        Event::Performed { intent } => format!("done {intent}"),
        Event::Failed {
            intent,
            reason,
            retry,
            effect,
        } => format!("failed {intent}: {reason} (retry {retry}, effect {effect:?})"),
        Event::Asked { command, .. } => format!("asked: {command:?}"),
        Event::Seen { picture } => format!("sees {} serve", picture.capacity),
        Event::Resumed { by } => format!("resumed by {by}"),
        Event::Ended { outcome } => format!("ended: {outcome:?}"),
    }
}
