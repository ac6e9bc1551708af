//! The life of an instance: it starts, gets healthy, falls ill, crashes, gets lost and comes back, and stops.

use super::world::{By, GREEN, Happening, Instance, Nature, State};
use teal_core::Span;
use teal_core::name::{Address, InstanceId, RevisionId};
use teal_core::observation::{Health, Phase};

/// How long an instance that was told to stop may take, unless the word is slow to reach it.
const GRACE_MS: u64 = 3000;

impl State {
    pub(super) fn bear(&mut self, app: &RevisionId) -> InstanceId {
        self.bears += 1;
        let id = InstanceId(format!(
            "{}.{}",
            app.as_str().trim_start_matches('/'),
            self.bears
        ));
        let one = Instance {
            app: app.clone(),
            born: self.bears,
            phase: Phase::Starting,
            health: Health::Unknown,
            first_healthy: None,
            healthy_since: None,
            dying: None,
            address: Address(format!("10.0.0.1:{}", 31_000 + self.bears)),
        };
        self.instances.insert(id.clone(), one);
        let slow = self.chance.happens(self.temper.slow_starts);
        let (from, to) = if slow { (2000, 20_000) } else { (100, 1500) };
        self.after(from, to, Happening::Runs(id.clone()));
        id
    }

    pub(super) fn runs(&mut self, id: &InstanceId) {
        let Some(one) = self.instances.get_mut(id) else {
            return;
        };
        if one.phase != Phase::Starting {
            return;
        }
        one.phase = Phase::Running;
        let green = one.app.as_str() == GREEN;
        self.tell(|| format!("world: {id} runs"));
        match self.green {
            Nature::Crashing if green => {
                self.after(100, 2000, Happening::Crashes(id.clone()));
            }
            Nature::NeverHealthy if green => {
                self.after(
                    1000,
                    3000,
                    Happening::FallsIll(id.clone(), Span::minutes(600)),
                );
            }
            Nature::FallsIll if green => {
                let ill = Happening::FallsIll(id.clone(), Span::minutes(600));
                self.after(3000, 15_000, ill);
                self.after(100, 2000, Happening::Warms(id.clone()));
            }
            Nature::Good | Nature::Crashing | Nature::NeverHealthy | Nature::FallsIll => {
                self.after(100, 2000, Happening::Warms(id.clone()));
            }
        }
    }

    pub(super) fn warms(&mut self, id: &InstanceId) {
        let now = self.now;
        let Some(one) = self.instances.get_mut(id) else {
            return;
        };
        if one.phase != Phase::Running || one.health == Health::Healthy {
            return;
        }
        one.health = Health::Healthy;
        one.healthy_since = Some(now);
        one.first_healthy = one.first_healthy.or(Some(now));
        let app = one.app.clone();
        self.tell(|| format!("world: {id} is healthy"));
        self.settle(&app);
    }

    pub(super) fn falls_ill(&mut self, id: &InstanceId, lasts: Span) {
        let Some(one) = self.instances.get_mut(id) else {
            return;
        };
        if one.phase != Phase::Running {
            return;
        }
        (one.health, one.healthy_since) = (Health::Unhealthy, None);
        self.tell(|| format!("world: {id} is ill"));
        let until = self.now + lasts;
        self.at(until, Happening::Warms(id.clone()));
    }

    pub(super) fn crashes(&mut self, id: &InstanceId) {
        if self.instances.contains_key(id) {
            self.tell(|| format!("world: {id} crashes"));
            self.ends(id);
        }
    }

    /// The process is gone, and what was at work in it.
    pub(super) fn ends(&mut self, id: &InstanceId) {
        let Some(one) = self.instances.remove(id) else {
            return;
        };
        self.tell(|| format!("world: {id} is gone"));
        self.traffic_ends(id, one.dying);
        self.settle(&one.app);
        self.after(100, 2000, Happening::Reconcile(one.app, By::Others));
    }

    pub(super) fn returns(&mut self, id: &InstanceId, anew: bool) {
        let Some(one) = self.instances.get_mut(id) else {
            return;
        };
        if one.phase != Phase::Unreachable {
            return;
        }
        let (app, dying) = (one.app.clone(), one.dying);
        if anew || dying.is_some() {
            self.tell(|| format!("world: {id} comes back as another incarnation"));
            self.ends(id);
        } else {
            (one.phase, one.health, one.healthy_since) = (Phase::Running, Health::Unknown, None);
            self.tell(|| format!("world: {id} comes back"));
            self.after(100, 1000, Happening::Warms(id.clone()));
        }
        self.after(100, 2000, Happening::Reconcile(app, By::Others));
    }

    /// Tells an instance to stop.
    pub(super) fn stop(&mut self, id: &InstanceId, by: By) {
        let Some(one) = self.instances.get_mut(id) else {
            return;
        };
        if one.dying.is_some() {
            return;
        }
        one.dying = Some(by);
        self.tell(|| format!("world: {id} is stopped by {by:?}"));
        self.judge_stop(id, by);
        // Where that is not shown, one that takes long cannot be told from one that the word never reached.
        let slow = self.chance.happens(self.temper.slow_kills) && self.temper.tells_killing;
        let (from, to) = if slow { (3000, 50_000) } else { (50, GRACE_MS) };
        self.after(from, to, Happening::Ends(id.clone()));
    }
}
