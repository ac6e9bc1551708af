//! What goes wrong at chosen moments, or by other people's hands.

use super::world::{BLUE, By, GREEN, Happening, State};
use teal_core::Span;
use teal_core::name::{InstanceId, RevisionId};
use teal_core::observation::{Health, Phase};

/// Something that goes wrong at a chosen moment, or that somebody else does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mishap {
    /// An instance ends by itself.
    Crash { green: bool },
    /// An instance stops answering for a while.
    Sick { green: bool, lasts: Span },
    /// The network keeps everybody from an instance for a while; it may come back as another incarnation.
    Lost {
        green: bool,
        lasts: Span,
        anew: bool,
    },
    /// Another tool changes the size of an app.
    Scale { green: bool, by: i32 },
    /// Another tool locks an app for a while.
    Lock { green: bool, lasts: Span },
    /// The balancer restarts and has forgotten its pool.
    Forget,
    /// The orchestrator answers nobody for a while.
    NoOrchestrator { lasts: Span },
    /// The balancer's admin API answers nobody for a while. Traffic goes on.
    NoBalancer { lasts: Span },
}

impl State {
    pub(super) fn suffer(&mut self, mishap: &Mishap) {
        self.tell(|| format!("MISHAP {mishap:?}"));
        match mishap {
            Mishap::Crash { green } => {
                if let Some(id) = self.any(*green) {
                    self.crashes(&id);
                }
            }
            Mishap::Sick { green, lasts } => {
                if let Some(id) = self.any(*green) {
                    self.falls_ill(&id, *lasts);
                }
            }
            Mishap::Lost { green, lasts, anew } => self.lose(*green, *lasts, *anew),
            Mishap::Scale { green, by } => {
                let id = app(*green);
                let is_locked = self.is_locked(&id);
                if let Some(wanted) = self.apps.get(&id).map(|app| app.wanted)
                    && !is_locked
                {
                    self.resize(&id, wanted.saturating_add_signed(*by), By::Others);
                }
            }
            Mishap::Lock { green, lasts } => {
                let until = self.now + *lasts;
                if let Some(app) = self.apps.get_mut(&app(*green)) {
                    app.locked_until = until;
                }
            }
            Mishap::Forget => {
                self.pool = None;
                self.requests_break_off();
            }
            Mishap::NoOrchestrator { lasts } => self.no_orchestrator_until = self.now + *lasts,
            Mishap::NoBalancer { lasts } => self.no_balancer_until = self.now + *lasts,
        }
    }

    fn lose(&mut self, green: bool, lasts: Span, anew: bool) {
        let Some(id) = self.any(green) else { return };
        if let Some(one) = self.instances.get_mut(&id)
            && one.phase == Phase::Running
        {
            (one.phase, one.health) = (Phase::Unreachable, Health::Unknown);
            one.healthy_since = None;
            let (at, app) = (self.now + lasts, one.app.clone());
            self.at(at, Happening::Returns(id, anew));
            self.after(1000, 10_000, Happening::Reconcile(app, By::Others));
        }
    }

    fn any(&mut self, green: bool) -> Option<InstanceId> {
        let app = app(green);
        let all: Vec<InstanceId> = self.of(&app).map(|(id, _)| id.clone()).collect();
        self.chance.one_of(&all).cloned()
    }
}

fn app(green: bool) -> RevisionId {
    RevisionId::from(if green { GREEN } else { BLUE })
}
