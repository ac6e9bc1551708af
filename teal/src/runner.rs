//! Observe → decide → write the intent → act → write the result → again. There is no rule of deployment in here.

#[cfg(test)]
mod crash;
mod look;
mod shown;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::journal_file::JournalFile;
use crate::store::{ServiceLock, Store};
use crate::systems::Systems;
pub(crate) use look::Looker;
use std::time::Duration;
use teal_core::action::Action;
use teal_core::decide::{Decision, decide};
use teal_core::evidence::Evidence;
use teal_core::journal::{Entry, Event, Outcome, Picture, State};
use teal_core::observation::Observation;
use teal_core::plan::Plan;
use teal_core::{Moment, Span};
use teal_drivers::DriverError;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// With no cue, the world is looked at this often.
const LOOK_INTERVAL: Span = Span::seconds(1);
/// Between two looks lies at least this much, however many cues come, and as much as the last one took: where a look is
/// at ten thousand instances, not every one of their events is worth another.
const LOOK_GAP: Duration = Duration::from_millis(5);

/// What follows a deployment: a live view, plain lines, or JSON.
pub(crate) trait Audience {
    /// An entry was journaled.
    fn entry(&mut self, entry: &Entry);
    /// The world was looked at and it was decided.
    fn scene(&mut self, scene: &Scene<'_>);
    /// Something to be shown below the next scene.
    fn aside(&mut self, _line: String) {}
}

/// One look with what it led to.
pub(crate) struct Scene<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) state: &'a State,
    pub(crate) seen: &'a Observation,
    pub(crate) decision: &'a Decision,
    pub(crate) now: Moment,
}

/// How a run ended. An interrupted deployment has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Outcome(Outcome),
    Interrupted,
}

/// One deployment being carried out by this process.
pub(crate) struct Runner {
    store: Store,
    journal: JournalFile,
    looker: Looker,
    systems: Systems,
    evidence: Evidence,
    picture: Option<Picture>,
    gap: Duration,
    knocks: Signal,
    interrupt: Interrupt,
    _lock: ServiceLock,
}

impl Runner {
    pub(crate) fn new(
        store: Store,
        journal: JournalFile,
        systems: Systems,
        interrupt: Interrupt,
        lock: ServiceLock,
    ) -> Result<Self, Failure> {
        let knocks = signal(SignalKind::user_defined1()).map_err(anyhow::Error::new)?;
        systems.note_admitted(&journal.entries);
        Ok(Self {
            looker: Looker::new(systems.clone()),
            evidence: Evidence::default(),
            picture: None,
            gap: LOOK_GAP,
            store,
            journal,
            systems,
            knocks,
            interrupt,
            _lock: lock,
        })
    }

    /// Where the journal is.
    pub(crate) fn journal(&self) -> &JournalFile {
        &self.journal
    }

    /// Goes on until the deployment ends or the program is to end.
    pub(crate) async fn run(&mut self, audience: &mut dyn Audience) -> Result<End, Failure> {
        loop {
            self.take_letters(audience)?;
            if self.interrupt.is_wanted() {
                return Ok(End::Interrupted);
            }
            let Some(sighting) = self.look().await else {
                continue;
            };
            let seen = self.evidence.absorb(&self.journal.plan, sighting);
            let now = seen.at;
            self.remember(&seen, audience)?;
            let decision = decide(&self.journal.plan, &self.journal.state, &seen, now);
            audience.scene(&Scene {
                plan: &self.journal.plan,
                state: &self.journal.state,
                seen: &seen,
                decision: &decision,
                now,
            });
            match decision {
                Decision::Act(actions) => self.carry_out(actions, audience).await?,
                Decision::Wait { until, .. } => self.wait(until).await,
                Decision::Finish(outcome) => {
                    self.write(
                        Event::Ended {
                            outcome: outcome.clone(),
                        },
                        audience,
                    )?;
                    self.store.remove_letter_box(&self.journal.plan.deployment);
                    return Ok(End::Outcome(outcome));
                }
            }
        }
    }

    /// A knock breaks off a look: what it asks for may not wait for a slow answer. None then.
    async fn look(&mut self) -> Option<teal_core::observation::Sighting> {
        let is_back = self.journal.state.is_back();
        let began = Instant::now();
        let sighting = tokio::select! {
            biased;
            sighting = self.looker.look(&self.journal.plan, is_back) => sighting,
            _ = self.knocks.recv() => return None,
            () = self.interrupt.wanted() => return None,
        };
        self.gap = began.elapsed().clamp(LOOK_GAP, LOOK_INTERVAL.duration());
        Some(sighting)
    }

    async fn wait(&mut self, until: Moment) {
        let now = crate::clock::now();
        let pause = until.since(now).min(LOOK_INTERVAL).duration().max(LOOK_GAP);
        let cue = async {
            self.systems.orchestrator.changed().await;
            tokio::time::sleep(self.gap).await;
        };
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => {}
            () = cue => {}
            _ = self.knocks.recv() => {}
            () = self.interrupt.wanted() => {}
        }
    }

    async fn carry_out(
        &mut self,
        actions: Vec<Action>,
        audience: &mut dyn Audience,
    ) -> Result<(), Failure> {
        for action in actions {
            if self.interrupt.is_wanted() {
                return Ok(());
            }
            let intent = self.write(
                Event::Intended {
                    action: action.clone(),
                },
                audience,
            )?;
            match self.perform(&action).await {
                Ok(()) => self.write(Event::Performed { intent }, audience)?,
                Err(error) => {
                    let (retry, effect) = (error.is_retryable(), error.effect());
                    self.write(
                        Event::Failed {
                            intent,
                            reason: error.to_string(),
                            retry,
                            effect,
                        },
                        audience,
                    )?;
                    return Ok(());
                }
            };
        }
        Ok(())
    }

    async fn perform(&self, action: &Action) -> Result<(), DriverError> {
        match action {
            Action::Instance(action) => self.systems.orchestrator.act(action).await,
            Action::Pool(action) => self.systems.balancer.act(action).await,
            Action::Mark(_) => Ok(()),
        }
    }

    /// What the operator asked for from another process. Each letter counts once, also when a crash leaves it lying.
    fn take_letters(&mut self, audience: &mut dyn Audience) -> Result<(), Failure> {
        for (path, command) in self.store.letters(&self.journal.plan.deployment) {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            if !name
                .as_ref()
                .is_some_and(|name| self.journal.state.letters.contains(name))
            {
                self.write(
                    Event::Asked {
                        command,
                        letter: name,
                    },
                    audience,
                )?;
            }
            match std::fs::remove_file(&path) {
                // Whoever wrote it may have taken it back.
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(anyhow::Error::new(error).into());
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn remember(&mut self, seen: &Observation, audience: &mut dyn Audience) -> Result<(), Failure> {
        if seen.blind.is_some() || self.journal.state.outcome.is_some() {
            return Ok(());
        }
        let changes = match &mut self.picture {
            Some(picture) => picture.update(seen),
            None => Some(self.picture.insert(Picture::of(seen)).clone()),
        };
        if let Some(picture) = changes {
            self.write(Event::Seen { picture }, audience)?;
        }
        Ok(())
    }

    fn write(&mut self, event: Event, audience: &mut dyn Audience) -> Result<u64, Failure> {
        let seq = self.journal.write(crate::clock::now(), event)?;
        if let Some(entry) = self.journal.entries.last() {
            audience.entry(entry);
        }
        Ok(seq)
    }
}
