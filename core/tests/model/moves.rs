//! Everything that can happen next in a state: to the world, to the deployer, by the operator, and each way in which
//! what teal does can come out.

use crate::node::{Node, Sight};
use crate::world::{Happening, Late};
use teal_core::action::{Action, InstanceAction, PoolAction};
use teal_core::decide::{Decision, WaitingFor};
use teal_core::invariants::Violation;
use teal_core::journal::{Command, Effect, Event, Outcome};
use teal_core::name::{InstanceId, Role};
use teal_core::plan::Plan;
use teal_core::{Moment, Span};

/// How long after it was heard a call may still be carried out. After that it never will be: what is later than a
/// repetition of the same call could not be told from it.
pub(crate) const LATE_FOR: Span = Span::seconds(5);
/// How long nobody is there after a death, at most: longer than any deadline.
const LONG_AWAY: Span = Span::minutes(15);
/// No wait for the same thing is longer, whatever it is for: far more than all deadlines together.
const LONGEST: Span = Span::minutes(60);
/// After so many small steps in a row in which nothing else happened, time passes in one leap.
const STEPS_MAX: u32 = 1;

/// One thing that happens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Move {
    World(Happening),
    Asks(Command),
    /// The deployer dies, and after a while another process goes on from the journal.
    Dies(Span),
    /// After a call for a person, one resumes.
    Resumes(Command),
    Decides(Turn),
    Waits(Sight, Passing),
    Ends(Outcome),
}

/// How time passes while teal waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passing {
    /// Until teal looks again.
    Step,
    /// Look after look, until teal does something else.
    Leap,
}

/// How the actions of one decision come out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Turn {
    Fine,
    /// Something happens between look and act.
    Meanwhile(Happening),
    /// The call with this number, counted from 0, comes out badly.
    At(usize, Fate),
}

/// What can become of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It gets lost.
    Lost,
    /// It has its effect, and its answer gets lost.
    Unanswered,
    /// It is heard, and has its effect later.
    Late,
    /// As that, and no answer comes.
    LateUnanswered,
    /// Some of it has its effect, and its answer gets lost.
    Half,
    /// The deployer dies when the call is announced.
    DiesBefore,
    /// The deployer dies when the call has had its effect, and before that is written down.
    DiesAfter,
}

impl Turn {
    fn is_mishap(&self) -> bool {
        match self {
            Self::Fine => false,
            Self::Meanwhile(what) => what.is_mishap(),
            Self::At(..) => true,
        }
    }

    fn fate(&self, index: usize) -> Option<Fate> {
        match self {
            Self::At(at, fate) if *at == index => Some(*fate),
            Self::At(..) | Self::Fine | Self::Meanwhile(_) => None,
        }
    }
}

impl Move {
    /// Whether it would happen by itself in a world that stops failing, before teal looks again, whatever else does. Then
    /// the deployment ends from here if it ends from the state before.
    pub(crate) fn is_bound_to_happen(&self) -> bool {
        let Self::World(what) = self else {
            return false;
        };
        matches!(
            what,
            Happening::TurnsHealthy(_)
                | Happening::FailsItsChecks(_)
                | Happening::IsGone(_)
                | Happening::RequestsEnd(_)
                | Happening::OperationsEnd(_)
                | Happening::GaugeIsLive(_)
                | Happening::LockIsReleased(_)
        )
    }
}

type Next = (Move, Result<Node, Violation>);

/// Makes all successors of a state.
pub(crate) struct Moves<'a> {
    pub(crate) plan: &'a Plan,
}

impl Moves<'_> {
    pub(crate) fn of(&self, node: &Node) -> Vec<Next> {
        let mut all = Vec::new();
        let may = node.mishaps > 0;
        for what in node.world.happenings(may) {
            let mut next = node.clone();
            next.steps = 0;
            next.mishaps -= u32::from(what.is_mishap());
            let done = next.world.happen(&what, next.now);
            all.push((Move::World(what), done.map(|()| next)));
        }
        if node.is_stuck() {
            self.person(node, &mut all);
            return all;
        }
        self.operator(node, &mut all);
        if may {
            for away in [Span::ZERO, LONG_AWAY] {
                let mut next = node.clone();
                next.mishaps -= 1;
                next.die(away);
                all.push((Move::Dies(away), Ok(next)));
            }
        }
        self.deployer(node, Sight::Clear, &mut all);
        if may {
            let mut blind = node.clone();
            blind.mishaps -= 1;
            for sight in [Sight::NoOrchestrator, Sight::NoBalancer] {
                self.deployer(&blind, sight, &mut all);
            }
        }
        all
    }

    /// Pausing, turning back and forcing are mishaps of a kind; resuming and promoting is what is waited for.
    fn operator(&self, node: &Node, all: &mut Vec<Next>) {
        let reason = || "the operator asked".to_owned();
        let mut commands = Vec::new();
        if node.state.paused_at.is_some() {
            commands.push((Command::Resume, 0));
        } else if node.mishaps > 0 {
            commands.push((Command::Pause, 1));
        }
        if node.is_at_gate() {
            commands.push((Command::Promote { full: false }, 0));
        } else if node.mishaps > 0 && node.state.bake_began.is_some() {
            commands.push((Command::Promote { full: false }, 1));
        }
        if node.mishaps > 0 {
            commands.push((Command::Force { reason: reason() }, 1));
            if !node.state.is_back() {
                commands.push((Command::Rollback { reason: reason() }, 1));
            }
        }
        for (command, mishaps) in commands {
            let mut next = node.clone();
            next.mishaps -= mishaps;
            next.steps = 0;
            next.ask(command.clone());
            all.push((Move::Asks(command), Ok(next)));
        }
    }

    fn person(&self, node: &Node, all: &mut Vec<Next>) {
        let reason = || "the operator asked".to_owned();
        let mut commands = vec![Command::Resume];
        if node.mishaps > 0 {
            commands.push(Command::Rollback { reason: reason() });
            commands.push(Command::Force { reason: reason() });
        }
        for command in commands {
            let mut next = node.clone();
            next.mishaps -= u32::from(command != Command::Resume);
            next.resume(command.clone());
            all.push((Move::Resumes(command), Ok(next)));
        }
    }

    fn deployer(&self, node: &Node, sight: Sight, all: &mut Vec<Next>) {
        let mut looked = node.clone();
        let decision = match looked.decide(self.plan, sight) {
            Ok(decision) => decision,
            Err(violation) => return all.push((Move::Decides(Turn::Fine), Err(violation))),
        };
        match decision {
            Decision::Finish(outcome) => {
                let done = looked.end(self.plan, &outcome);
                all.push((Move::Ends(outcome), done.map(|()| looked)));
            }
            Decision::Wait { until, reason } => {
                if node.steps < STEPS_MAX {
                    let mut next = looked.clone();
                    next.steps += 1;
                    next.pass_until(until);
                    all.push((Move::Waits(sight, Passing::Step), Ok(next)));
                }
                // What may happen happens soon, on a good day.
                let slow = !node.world.happenings(false).is_empty();
                if slow && looked.mishaps == 0 {
                    return;
                }
                looked.mishaps -= u32::from(slow);
                let leapt = self.leap(looked, sight, until, reason.on);
                let is_longer = leapt.as_ref().map_or(true, |leapt| leapt.now > until);
                if is_longer || node.steps == STEPS_MAX {
                    all.push((Move::Waits(sight, Passing::Leap), leapt));
                }
            }
            Decision::Act(actions) => {
                for turn in turns(self.plan, &looked, &actions) {
                    let mut next = looked.clone();
                    // A balancer that lags does so for some looks, however often it is told meanwhile.
                    if next.world.lagging.is_empty() {
                        next.steps = 0;
                    }
                    let done = self.carry_out(&mut next, &actions, &turn);
                    all.push((Move::Decides(turn), done.map(|()| next)));
                }
            }
        }
    }

    /// Nothing happens, look after look, each as far from the last as all before it together, until teal does something
    /// else than to wait for the same.
    fn leap(
        &self,
        mut node: Node,
        sight: Sight,
        first: Moment,
        on: WaitingFor,
    ) -> Result<Node, Violation> {
        let began = node.now;
        let mut until = first;
        node.steps = 0;
        loop {
            node.pass_until(until);
            let before = node.clone();
            match node.decide(self.plan, sight)? {
                Decision::Wait { reason, .. } if node.now.since(began) > LONGEST => {
                    let what = format!("still, after {LONGEST}: {}", reason.text);
                    let promise = "P7 no endless wait";
                    return Err(Violation { promise, what });
                }
                Decision::Wait {
                    until: next,
                    reason,
                } if reason.on == on => {
                    let far = node.now + node.now.since(began);
                    let limit = reason.deadline;
                    until = if limit > node.now {
                        far.min(limit)
                    } else {
                        far
                    };
                    until = until.max(next);
                }
                Decision::Finish(outcome) if sight != Sight::Clear => {
                    node.end(self.plan, &outcome)?;
                    return Ok(node);
                }
                Decision::Wait { .. } | Decision::Act(_) | Decision::Finish(_) => {
                    return Ok(before);
                }
            }
        }
    }

    pub(crate) fn carry_out(
        &self,
        node: &mut Node,
        actions: &[Action],
        turn: &Turn,
    ) -> Result<(), Violation> {
        node.mishaps -= u32::from(turn.is_mishap());
        if let Turn::Meanwhile(what) = turn {
            node.world.happen(what, node.now)?;
        }
        let unseen = matches!(turn, Turn::Meanwhile(_));
        for (index, action) in actions.iter().enumerate() {
            let intent = node.log(Event::Intended {
                action: action.clone(),
            });
            let fate = turn.fate(index);
            let is_heard = !matches!(fate, Some(Fate::DiesBefore | Fate::Lost));
            if is_heard && node.world.refuses(action).is_err() {
                node.fail(intent, Effect::None);
                return Ok(());
            }
            match fate {
                Some(Fate::DiesBefore | Fate::Lost) => {}
                Some(Fate::Late | Fate::LateUnanswered) => node.hear(action),
                Some(Fate::Half) => node.world.perform(&first_half(action))?,
                Some(Fate::Unanswered | Fate::DiesAfter) | None => {
                    self.perform(node, action, unseen)?;
                }
            }
            match fate {
                None | Some(Fate::Late) => drop(node.log(Event::Performed { intent })),
                Some(Fate::Lost | Fate::Unanswered | Fate::LateUnanswered | Fate::Half) => {
                    node.fail(intent, Effect::Unknown);
                    return Ok(());
                }
                Some(Fate::DiesBefore | Fate::DiesAfter) => {
                    node.die(Span::ZERO);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Carries an action out, and holds a change of the pool against P1 and P4 in truth, where nothing can have happened
    /// since teal looked.
    fn perform(&self, node: &mut Node, action: &Action, unseen: bool) -> Result<(), Violation> {
        let before = node.world.capacity();
        let lags = !node.world.lagging.is_empty();
        node.world.perform(action)?;
        let Action::Pool(PoolAction::Change { admit, .. }) = action else {
            return Ok(());
        };
        if unseen || lags {
            return Ok(());
        }
        let after = node.world.capacity();
        let incoming = if node.state.is_back() {
            Role::Blue
        } else {
            Role::Green
        };
        let floor = self.plan.floor(incoming) as usize;
        let violation = |promise, what| Err(Violation { promise, what });
        if after < floor.min(before) {
            return violation(
                "P1 capacity",
                format!("{before} served, {after} do, the floor is {floor}"),
            );
        }
        let settle = self.plan.settings.min_healthy_time;
        for member in admit {
            let copy = node.world.copy(&member.instance);
            if !copy.is_some_and(|copy| copy.is_settled(settle, node.now)) {
                return violation(
                    "P4 order",
                    format!("{copy:?} enters the pool at {:?}", node.now),
                );
            }
        }
        Ok(())
    }
}

/// The ways in which these actions can come out, mishaps only where they may come.
fn turns(plan: &Plan, node: &Node, actions: &[Action]) -> Vec<Turn> {
    let may = node.mishaps > 0;
    let meanwhile = node.world.happenings(may).into_iter();
    let mut turns = vec![Turn::Fine];
    turns.extend(meanwhile.filter(can_interfere).map(Turn::Meanwhile));
    for (index, action) in actions.iter().enumerate().filter(|_| may) {
        let fates = fates(plan, action).into_iter();
        turns.extend(fates.map(|fate| Turn::At(index, fate)));
    }
    turns
}

/// Whether it makes a difference to what is done just then. What else happens by itself only mends what was seen.
fn can_interfere(what: &Happening) -> bool {
    what.is_mishap()
        || matches!(
            what,
            Happening::LateCallIsCarriedOut
                | Happening::BalancerCatchesUp
                | Happening::Returns(_)
                | Happening::IsGivenUp(_)
                | Happening::IsGone(_)
        )
}

/// What can become of this call.
fn fates(plan: &Plan, action: &Action) -> Vec<Fate> {
    let any = [
        Fate::DiesBefore,
        Fate::DiesAfter,
        Fate::Lost,
        Fate::Unanswered,
    ];
    match action {
        Action::Mark(_) => vec![Fate::DiesBefore],
        Action::Pool(PoolAction::Change { .. }) => {
            let half = (!plan.atomic_change).then_some(Fate::Half);
            any.into_iter().chain([Fate::Late]).chain(half).collect()
        }
        Action::Instance(InstanceAction::Kill { .. } | InstanceAction::Scale { .. }) => {
            let late = [Fate::Late, Fate::LateUnanswered];
            any.into_iter().chain(late).collect()
        }
        Action::Instance(InstanceAction::Create { .. } | InstanceAction::Remove { .. })
        | Action::Pool(PoolAction::Open { .. } | PoolAction::Close { .. }) => any.to_vec(),
    }
}

/// What a balancer that cannot change a pool in one step has done when it is cut off.
fn first_half(action: &Action) -> Action {
    let mut half = action.clone();
    if let Action::Pool(PoolAction::Change {
        withdraw, forget, ..
    }) = &mut half
    {
        withdraw.clear();
        forget.clear();
    }
    half
}

impl Node {
    pub(crate) fn pass_until(&mut self, until: Moment) {
        self.now = until;
        self.world.pass(until, LATE_FOR);
    }

    pub(crate) fn ask(&mut self, command: Command) {
        self.log(Event::Asked {
            command,
            letter: None,
        });
    }

    /// What `teal resume` and its like write when no deployer runs.
    pub(crate) fn resume(&mut self, command: Command) {
        self.evidence = teal_core::evidence::Evidence::default();
        self.steps = 0;
        self.log(Event::Resumed {
            by: "model".to_owned(),
        });
        self.ask(command);
    }

    /// Whether a person has to open a gate.
    pub(crate) fn is_at_gate(&self) -> bool {
        let state = &self.state;
        let closed = |gate| !state.open_gates.contains(&gate);
        !state.is_back() && state.gate.is_some_and(|(gate, _)| closed(gate))
    }

    fn die(&mut self, away: Span) {
        self.pass_until(self.now + away);
        self.resume(Command::Resume);
    }

    fn fail(&mut self, intent: u64, effect: Effect) {
        self.log(Event::Failed {
            intent,
            reason: "lost".to_owned(),
            retry: true,
            effect,
        });
    }

    fn hear(&mut self, action: &Action) {
        match action {
            Action::Instance(action) => self.world.late.push(Late {
                action: action.clone(),
                heard_at: self.now,
            }),
            Action::Pool(action) => self.world.lagging.push(action.clone()),
            Action::Mark(_) => {}
        }
    }

    /// Writes the end down. P5 and P9 in truth: what the outcome says is so.
    pub(crate) fn end(&mut self, plan: &Plan, outcome: &Outcome) -> Result<(), Violation> {
        self.log(Event::Ended {
            outcome: outcome.clone(),
        });
        let (there, gone) = match outcome {
            Outcome::Completed => (Role::Green, Role::Blue),
            Outcome::RolledBack { .. } => (Role::Blue, Role::Green),
            Outcome::Stuck { .. } => return Ok(()),
        };
        let (serving, owed) = (self.world.serving(there), plan.owed(there) as usize);
        let violation = |promise, what| Err(Violation { promise, what });
        if serving < owed {
            return violation(
                "P5 a way back",
                format!("{serving} of {owed} {there} serve"),
            );
        }
        if self.world.fleets.contains_key(&gone) {
            return violation("P9 nothing left", format!("{gone} is left"));
        }
        let is_left = |id: &&InstanceId| self.world.copy(id).is_none();
        let listed = self.world.pool.iter().flat_map(|pool| pool.keys());
        match listed.into_iter().find(is_left) {
            Some(id) => violation("P9 nothing left", format!("{id} is left in the pool")),
            None => Ok(()),
        }
    }
}
