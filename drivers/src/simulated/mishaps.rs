//! What goes wrong by itself, or by other people's hands, at chosen moments.

use super::By;
use super::app::Goal;
use super::state::State;
use super::task::Phase;
use teal_core::{Moment, Span};

/// Something that goes wrong, or that somebody else does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mishap {
    /// The leader goes; after a while another master leads. Health results are lost, streams end.
    LeaderChange {
        /// How long nobody leads.
        leaderless: Span,
        /// How long the old leader's process is away.
        absent: Span,
    },
    /// The network keeps everybody from one agent, on which tasks of this app run.
    AgentLost {
        /// Of which app.
        app: String,
        /// For how long.
        lasts: Span,
    },
    /// A task ends by itself.
    Crash {
        /// Of which app.
        app: String,
    },
    /// A task stops answering.
    Sick {
        /// Of which app.
        app: String,
        /// For how long.
        lasts: Span,
    },
    /// Another tool changes the size of an app. Refused, as for everybody, while a deployment locks the app.
    Scale {
        /// Which app.
        app: String,
        /// By how many.
        by: i32,
    },
    /// Another tool's deployment locks an app.
    Lock {
        /// Which app.
        app: String,
        /// For how long.
        lasts: Span,
    },
    /// Another tool restarts an app: every task is replaced.
    Restart {
        /// Which app.
        app: String,
    },
}

impl State {
    /// Lets the mishaps happen that are due.
    pub(super) fn suffer(&mut self, now: Moment) {
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.mishaps)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.mishaps = later;
        for (_, mishap) in due {
            self.tell(format!("MISHAP {mishap:?}"));
            self.happen(&mishap, now);
        }
        self.finish_restarts(now);
    }

    fn happen(&mut self, mishap: &Mishap, now: Moment) {
        match mishap {
            Mishap::LeaderChange { leaderless, absent } => {
                self.change_leader(*leaderless, *absent, now);
            }
            Mishap::AgentLost { app, lasts } => {
                if let Some(index) = self.any_task(app) {
                    let agent = self.tasks[index].agent;
                    self.agents[agent].lost_until = now + *lasts;
                }
            }
            Mishap::Crash { app } => {
                if let Some(index) = self.any_task(app)
                    && self.tasks[index].is_running()
                {
                    self.crash(index, now);
                }
            }
            Mishap::Sick { app, lasts } => {
                if let Some(index) = self.any_task(app) {
                    self.tasks[index].sick_until = now + *lasts;
                }
            }
            Mishap::Scale { app, by } => self.scale_by_another(app, *by, now),
            Mishap::Lock { app, lasts } => {
                if self.apps.contains_key(app) && self.lockers(app).is_empty() {
                    self.deploy(app, "ScaleApplication", Goal::Until(now + *lasts), now);
                }
            }
            Mishap::Restart { app } => {
                if self.lockers(app).is_empty()
                    && let Some(it) = self.apps.get_mut(app)
                {
                    (it.version, it.configured_at) = (now, now);
                    self.deploy(app, "RestartApplication", Goal::Restarted, now);
                }
            }
        }
    }

    fn change_leader(&mut self, leaderless: Span, absent: Span, now: Moment) {
        let masters = self.absent.len();
        self.absent[self.leader] = now + absent;
        self.leaderless_until = now + leaderless;
        let next = 1 + usize::try_from(self.chance.below(2)).unwrap_or(0);
        self.leader = (self.leader + next) % masters.max(1);
        self.reign += 1;
        self.streams.clear();
        for check in self.tasks.iter_mut().flat_map(|task| &mut task.checks) {
            check.result = None;
            check.next_at = now + leaderless + self.chance.span(0, check.rule.interval.0);
        }
    }

    fn scale_by_another(&mut self, app: &str, by: i32, now: Moment) {
        let is_locked = !self.lockers(app).is_empty();
        let Some(it) = self.apps.get_mut(app) else {
            return;
        };
        if is_locked {
            self.tell(format!("another tool finds {app} locked"));
            return;
        }
        let instances = it.instances.saturating_add_signed(by);
        it.resize(instances, By::Another, now);
        self.deploy(app, "ScaleApplication", Goal::Size, now);
    }

    /// Replaces one task after the other, as far as healthy ones are there in their place.
    fn finish_restarts(&mut self, now: Moment) {
        let restarted: Vec<String> = self
            .deployments
            .iter()
            .filter(|it| it.goal == Goal::Restarted)
            .map(|it| it.app.clone())
            .collect();
        for id in restarted {
            let Some(app) = self.apps.get(&id) else {
                continue;
            };
            let (since, wanted) = (app.configured_at, app.instances as usize);
            let alive =
                |index: &usize| self.tasks[*index].app == id && self.tasks[*index].dying.is_none();
            let all: Vec<usize> = (0..self.tasks.len()).filter(alive).collect();
            let old = all.iter().find(|&&index| self.tasks[index].version < since);
            let fit = all.iter().filter(|&&index| self.tasks[index].is_healthy());
            if let Some(&old) = old
                && fit.count() >= wanted
            {
                self.stop(old, By::Another, now);
            }
        }
    }

    fn any_task(&mut self, app: &str) -> Option<usize> {
        let alive = |index: &usize| {
            let task = &self.tasks[*index];
            task.app == app && !task.expunged && !matches!(task.phase, Phase::Unreachable { .. })
        };
        let all: Vec<usize> = (0..self.tasks.len()).filter(alive).collect();
        self.chance.one_of(&all).copied()
    }
}
