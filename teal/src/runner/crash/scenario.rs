//! What is deployed, and what people and the world do meanwhile.

use super::super::*;
use teal_core::decide::WaitingFor;
use teal_core::journal::Command;
use teal_core::name::Role;
use teal_core::observation::Traffic;
use teal_drivers::fake::Birth;

/// One deployment.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) blue: u32,
    pub(super) green: Birth,
    /// What the gauge of the first BLUE says from the beginning.
    pub(super) pending: u64,
    pub(super) settings: &'static [(&'static str, &'static str)],
    /// One after the other, each once, whichever process is there to see it.
    pub(super) deeds: Vec<Deed>,
    pub(super) end: Kind,
}

/// How an uninterrupted deployment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Completed,
    RolledBack,
}

/// What somebody does once something has been so for a while.
pub(super) struct Deed {
    pub(super) when: fn(&Scene<'_>) -> bool,
    pub(super) lasting: Span,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    /// The operator asks for something.
    Ask(Command),
    /// The first BLUE has done its pending operations.
    Finish,
    /// A BLUE that serves ends by itself.
    Crash,
}

impl Scenario {
    fn new(name: &'static str, blue: u32) -> Self {
        Self {
            name,
            blue,
            green: Birth::Starting,
            pending: 0,
            settings: &[],
            deeds: Vec::new(),
            end: Kind::Completed,
        }
    }

    fn with(self, settings: &'static [(&'static str, &'static str)]) -> Self {
        Self { settings, ..self }
    }

    fn pending(self, pending: u64) -> Self {
        Self { pending, ..self }
    }

    fn rolled_back(self) -> Self {
        let end = Kind::RolledBack;
        Self { end, ..self }
    }

    fn sick(self) -> Self {
        let green = Birth::Unhealthy;
        Self { green, ..self }.rolled_back()
    }

    fn when(mut self, when: fn(&Scene<'_>) -> bool, lasting: Span, what: What) -> Self {
        self.deeds.push(Deed {
            when,
            lasting,
            what,
        });
        self
    }
}

/// All of them. Time that passes while nobody is there is no reason for another end, with one exception: BLUE is kept
/// warm for so long, and not longer because a deployer was dead. So where the operator turns back while BLUE is warm,
/// it is kept for longer than anybody is away.
pub(super) fn scenarios() -> Vec<Scenario> {
    let at_once = Span::ZERO;
    vec![
        Scenario::new("a first deployment", 0),
        Scenario::new("a first deployment that never gets healthy", 0).sick(),
        Scenario::new("rolling over three", 3),
        Scenario::new("rolling over four by two", 4).with(&[("batch", "2"), ("initial", "2")]),
        Scenario::new("a switch that keeps BLUE", 3)
            .with(&[("strategy", "switch"), ("keep_blue", "30s")]),
        Scenario::new("gates that are promoted", 2)
            .with(&[("gates", "shift,retire")])
            .when(is_at_gate, Span::seconds(5), promote())
            .when(is_at_gate, Span::seconds(5), promote()),
        Scenario::new("a GREEN that never gets healthy", 2).sick(),
        Scenario::new("a rollback while traffic shifts", 3)
            .when(is_shifting, at_once, roll_back())
            .rolled_back(),
        Scenario::new("a rollback while BLUE is warm", 3)
            .with(&[("strategy", "switch"), ("keep_blue", "2h")])
            .when(is_baking, Span::seconds(5), roll_back())
            .rolled_back(),
        Scenario::new("a force by the operator", 2).pending(7).when(
            is_draining,
            Span::seconds(5),
            force(),
        ),
        Scenario::new("a force by the deadline", 2)
            .pending(7)
            .with(&[("on_drain_deadline", "force"), ("force_reason", "a test")]),
        Scenario::new("a drain that is waited for past its deadline", 2)
            .pending(7)
            .with(&[("on_drain_deadline", "wait")])
            .when(is_overdue, Span::seconds(20), What::Finish),
        Scenario::new("a drain past its deadline that turns back", 2)
            .pending(7)
            .rolled_back(),
        Scenario::new("a pause and a resume", 3)
            .when(is_shifting, at_once, What::Ask(Command::Pause))
            .when(is_paused, Span::seconds(20), What::Ask(Command::Resume)),
        Scenario::new("a BLUE that crashes", 3).when(is_green_serving, at_once, What::Crash),
    ]
}

fn promote() -> What {
    What::Ask(Command::Promote { full: false })
}

fn roll_back() -> What {
    let reason = "second thoughts".to_owned();
    What::Ask(Command::Rollback { reason })
}

fn force() -> What {
    let reason = "it hangs".to_owned();
    What::Ask(Command::Force { reason })
}

fn waits(scene: &Scene<'_>, on: WaitingFor) -> bool {
    matches!(scene.decision, Decision::Wait { reason, .. } if reason.on == on)
}

fn serving(scene: &Scene<'_>, role: Role) -> usize {
    let all = scene.seen.instances(role);
    all.filter(|one| one.traffic == Traffic::Serving).count()
}

fn is_at_gate(scene: &Scene<'_>) -> bool {
    waits(scene, WaitingFor::Operator) && scene.state.paused_at.is_none()
}

fn is_paused(scene: &Scene<'_>) -> bool {
    scene.state.paused_at.is_some()
}

fn is_baking(scene: &Scene<'_>) -> bool {
    waits(scene, WaitingFor::Bake)
}

fn is_draining(scene: &Scene<'_>) -> bool {
    waits(scene, WaitingFor::Drain)
}

fn is_overdue(scene: &Scene<'_>) -> bool {
    is_draining(scene) && !scene.state.overdue.is_empty()
}

fn is_green_serving(scene: &Scene<'_>) -> bool {
    serving(scene, Role::Green) > 0
}

/// Some of BLUE is out, and some is not.
fn is_shifting(scene: &Scene<'_>) -> bool {
    let blue = serving(scene, Role::Blue);
    is_green_serving(scene) && blue > 0 && blue < scene.plan.target as usize
}
