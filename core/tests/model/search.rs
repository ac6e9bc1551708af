//! The search: every state that can be reached, each once, the nearest first. In each, every promise must hold, and from
//! each, once nothing fails any more, the deployment must end.

use crate::key::Keys;
use crate::moves::{Move, Moves, Turn};
use crate::node::{Node, Sight};
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use teal_core::decide::Decision;
use teal_core::invariants::Violation;
use teal_core::journal::{Command, Outcome};
use teal_core::plan::Plan;

/// More states than this do not fit into the memory of a small machine.
const STATES_MAX: usize = 30_000_000;
/// A deployment that has not ended after so many decisions in a world without mishaps has no end.
const CALM_MAX: usize = 4000;
/// So often a person resumes what is stuck in a world without mishaps. More is a trap.
const HELP_MAX: u32 = 3;

#[expect(
    clippy::disallowed_types,
    reason = "only asked whether a key is in it; it is never gone through"
)]
type Known = std::collections::HashSet<u64>;

/// What came of a search.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) transitions: usize,
    pub(crate) completed: usize,
    pub(crate) rolled_back: usize,
    pub(crate) stuck: usize,
    /// Whether every state has been visited.
    pub(crate) whole: bool,
    /// The shortest story that leads to a broken promise.
    pub(crate) broken: Option<String>,
}

/// How a state was reached first: from which one, as the how many-th of its successors.
#[derive(Clone, Copy)]
struct Reached {
    from: u32,
    by: u16,
}

pub(crate) struct Search<'a> {
    moves: Moves<'a>,
    keys: Keys,
    known: Known,
    /// States from which the deployment ends when nothing fails.
    ends: Known,
    reached: Vec<Reached>,
    found: Found,
}

impl<'a> Search<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Self {
        Self {
            moves: Moves { plan },
            keys: Keys::new(plan),
            known: Known::new(),
            ends: Known::new(),
            reached: Vec::new(),
            found: Found::default(),
        }
    }

    /// Searches everything that can be reached from a state, unless it is over before that.
    pub(crate) fn run(mut self, beginning: &Node, is_over: &AtomicBool) -> Found {
        let mut ahead = VecDeque::new();
        let key = self.keys.of(beginning);
        self.take(
            key,
            beginning.clone(),
            Reached { from: 0, by: 0 },
            &mut ahead,
        );
        while let Some((number, node)) = ahead.pop_front() {
            if is_over.load(Ordering::SeqCst) {
                self.found.states = self.known.len();
                return self.found;
            }
            assert!(
                self.known.len() < STATES_MAX,
                "more than {STATES_MAX} states"
            );
            for (index, (step, next)) in self.moves.of(&node).into_iter().enumerate() {
                self.found.transitions += 1;
                let by = u16::try_from(index).expect("a state has few successors");
                let reached = Reached { from: number, by };
                let next = next.and_then(|mut next| {
                    next.prune();
                    let key = self.keys.of(&next);
                    if !self.known.contains(&key) && !step.is_bound_to_happen() {
                        self.ends_well(&next)?;
                    }
                    Ok((key, next))
                });
                match (next, step) {
                    (Err(violation), _) => {
                        self.found.states = self.known.len();
                        let story = self.story(beginning, reached, &violation);
                        self.found.broken = Some(story);
                        return self.found;
                    }
                    (Ok(_), Move::Ends(Outcome::Completed)) => self.found.completed += 1,
                    (Ok(_), Move::Ends(Outcome::RolledBack { .. })) => self.found.rolled_back += 1,
                    (Ok((key, next)), step) => {
                        self.found.stuck += usize::from(matches!(step, Move::Ends(_)));
                        self.take(key, next, reached, &mut ahead);
                    }
                }
            }
        }
        self.found.states = self.known.len();
        self.found.whole = true;
        self.found
    }

    fn take(&mut self, key: u64, node: Node, reached: Reached, ahead: &mut VecDeque<(u32, Node)>) {
        if self.known.insert(key) {
            let number = u32::try_from(self.reached.len()).expect("fewer states than that");
            self.reached.push(reached);
            ahead.push_back((number, node));
        }
    }

    /// Lets nothing fail any more and a person help, until the deployment ends.
    fn ends_well(&mut self, node: &Node) -> Result<(), Violation> {
        let mut node = node.clone();
        (node.mishaps, node.steps) = (0, 0);
        let mut way = Vec::new();
        let mut helped = 0;
        let violation = |what| {
            Err(Violation {
                promise: "P7 no endless wait",
                what,
            })
        };
        for _ in 0..CALM_MAX {
            if matches!(&node.state.outcome, Some(outcome) if !matches!(outcome, Outcome::Stuck { .. }))
            {
                self.ends.extend(way);
                return Ok(());
            }
            node.world.settle(node.now)?;
            node.prune();
            let key = self.keys.of(&node);
            if self.ends.contains(&key) {
                self.ends.extend(way);
                return Ok(());
            }
            way.push(key);
            if node.is_stuck() {
                helped += 1;
                if helped > HELP_MAX {
                    return violation(format!("a trap: {:?}", node.state.outcome));
                }
                node.resume(Command::Resume);
            } else if node.state.paused_at.is_some() {
                node.ask(Command::Resume);
            } else if node.is_at_gate() {
                node.ask(Command::Promote { full: true });
            } else {
                self.go_on(&mut node)?;
            }
        }
        violation(format!("no end in sight at {:?}", node.state))
    }

    fn go_on(&self, node: &mut Node) -> Result<(), Violation> {
        match node.decide(self.moves.plan, Sight::Clear)? {
            Decision::Finish(outcome) => node.end(self.moves.plan, &outcome),
            Decision::Wait { until, .. } => {
                node.pass_until(until);
                Ok(())
            }
            Decision::Act(actions) => self.moves.carry_out(node, &actions, &Turn::Fine),
        }
    }

    /// Goes the way to a state again, and tells it.
    fn story(&self, beginning: &Node, last: Reached, violation: &Violation) -> String {
        let mut way = vec![last];
        let mut at = last.from;
        while at != 0 {
            let reached = self.reached[at as usize];
            way.push(reached);
            at = reached.from;
        }
        let mut node = beginning.clone();
        let mut story = String::new();
        for reached in way.into_iter().rev() {
            let all = self.moves.of(&node);
            let Some((step, next)) = all.into_iter().nth(usize::from(reached.by)) else {
                break;
            };
            let mut asked = node.clone();
            let decision = asked.decide(self.moves.plan, Sight::Clear);
            writeln!(
                story,
                "{}",
                crate::story::told(&node, &step, decision.ok().as_ref())
            )
            .expect("a string takes what is written");
            let Ok(mut next) = next else { break };
            next.prune();
            node = next;
        }
        let world = crate::story::world(&node);
        format!("{story}{world}\nBROKEN {violation}")
    }
}
