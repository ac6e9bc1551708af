//! The world in memory: apps with instances, one pool, and what happens to them by itself. Nothing in it runs: what has
//! become due happens, in order, when somebody looks. All that is drawn is drawn from one seed.

use super::judge::Judge;
use super::mishaps::Mishap;
use super::traffic::Traffic;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use teal_core::action::Action;
use teal_core::name::{Address, InstanceId, RevisionId};
use teal_core::observation::{EndpointState, Health, Phase, RevisionSighting};
use teal_core::{Moment, Span};
use teal_drivers::chance::Chance;

pub(super) const BLUE: &str = "/oinker-a";
pub(super) const GREEN: &str = "/oinker-b";

/// How the world is, and how often what goes wrong. Shares are out of a thousand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Temper {
    /// How long a request, and an answer, takes at most.
    pub(super) latency: Span,
    /// Calls that fail before they have any effect.
    pub(super) errors: u32,
    /// Changes that are refused for good.
    pub(super) refusals: u32,
    /// Changes that have their effect, and whose answer is lost.
    pub(super) lost_answers: u32,
    /// Changes whose answer is lost, and which have their effect some time later all the same, after others.
    pub(super) late: u32,
    /// Changes that have their effect, and some time later once more.
    pub(super) twice: u32,
    /// Changes that are accepted, and carried out a little later.
    pub(super) lags: u32,
    /// Calls that take seconds.
    pub(super) slow: u32,
    /// Looks at the orchestrator that show what the one before showed, if that is not too old.
    pub(super) stale: u32,
    /// Instances whose health is missing in a look.
    pub(super) partial: u32,
    /// Readings of a gauge that fail, are NaN, are missing, or are old.
    pub(super) bad_gauges: u32,
    /// Readings that take up to a second.
    pub(super) slow_gauges: u32,
    /// Changes of the world that give no cue.
    pub(super) missed_cues: u32,
    /// Changes of scale that are carried out long after they were accepted.
    pub(super) slow_scales: u32,
    /// Instances that take up to a minute to stop.
    pub(super) slow_kills: u32,
    /// Kills that are accepted and forgotten.
    pub(super) lost_kills: u32,
    /// Instances that take long to start.
    pub(super) slow_starts: u32,
    /// Operations that take longer than a drain may.
    pub(super) long_operations: u32,
    /// Whether an instance that was told to stop is shown as stopping.
    pub(super) tells_killing: bool,
    /// Whether the orchestrator tells since when an instance has been healthy.
    pub(super) tells_since: bool,
    /// Whether a change of scale locks its app until it is done.
    pub(super) locks: bool,
    /// How many requests begin in a second.
    pub(super) per_s: u64,
}

impl Temper {
    /// Returns the same world with nothing going wrong.
    fn calmed(&self) -> Self {
        Self {
            latency: Span(5),
            errors: 0,
            refusals: 0,
            lost_answers: 0,
            late: 0,
            twice: 0,
            lags: 0,
            slow: 0,
            stale: 0,
            partial: 0,
            bad_gauges: 0,
            slow_gauges: 0,
            missed_cues: 0,
            slow_scales: 0,
            slow_kills: 0,
            lost_kills: 0,
            slow_starts: 0,
            long_operations: 0,
            ..*self
        }
    }

    pub(super) fn is_calm(&self) -> bool {
        let latency = self.latency;
        *self
            == Self {
                latency,
                ..self.calmed()
            }
    }
}

/// What GREEN's instances are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    Good,
    /// They never answer their checks.
    NeverHealthy,
    /// They end by themselves soon after they run.
    Crashing,
    /// They are well for a while, and then never again.
    FallsIll,
}

/// Who had an instance stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Teal,
    /// teal, because the operator said that it may drop work.
    Force,
    /// Another tool, or the orchestrator by itself.
    Others,
}

/// What becomes due.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Happening {
    Arrival,
    RequestEnds(u64),
    OperationEnds(u64),
    Runs(InstanceId),
    Warms(InstanceId),
    FallsIll(InstanceId, Span),
    Crashes(InstanceId),
    Returns(InstanceId, bool),
    Ends(InstanceId),
    Reconcile(RevisionId, By),
    Arrives(Action),
    Suffers(Mishap),
    Calms,
}

#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) definition: Map<String, Value>,
    pub(super) wanted: u32,
    /// A change of scale that is being carried out.
    pub(super) changing: bool,
    pub(super) locked_until: Moment,
}

#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub(super) app: RevisionId,
    pub(super) born: u64,
    pub(super) phase: Phase,
    pub(super) health: Health,
    pub(super) first_healthy: Option<Moment>,
    pub(super) healthy_since: Option<Moment>,
    pub(super) dying: Option<By>,
    pub(super) address: Address,
}

impl Instance {
    /// Whether a request that reaches it is served.
    pub(super) fn works(&self) -> bool {
        self.phase == Phase::Running && self.health == Health::Healthy && self.dying.is_none()
    }
}

#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) state: EndpointState,
    pub(super) address: Address,
    pub(super) forgotten: bool,
}

pub(super) type Pool = BTreeMap<InstanceId, Endpoint>;

pub(super) struct State {
    pub(super) now: Moment,
    pub(super) chance: Chance,
    pub(super) temper: Temper,
    pub(super) green: Nature,
    queue: BTreeMap<(Moment, u64), Happening>,
    queued: u64,
    pub(super) bears: u64,
    pub(super) apps: BTreeMap<RevisionId, App>,
    pub(super) instances: BTreeMap<InstanceId, Instance>,
    pub(super) pool: Option<Pool>,
    pub(super) no_orchestrator_until: Moment,
    pub(super) no_balancer_until: Moment,
    /// What the orchestrator showed last.
    pub(super) shown: Vec<RevisionSighting>,
    /// When that was so.
    pub(super) shown_at: Moment,
    pub(super) traffic: Traffic,
    pub(super) judge: Judge,
    story: Option<Vec<String>>,
}

impl State {
    pub(super) fn new(seed: u64, temper: Temper, green: Nature, now: Moment, tells: bool) -> Self {
        let mut state = Self {
            now,
            chance: Chance::new(seed ^ 0x0DD5),
            temper,
            green,
            queue: BTreeMap::new(),
            queued: 0,
            bears: 0,
            apps: BTreeMap::new(),
            instances: BTreeMap::new(),
            pool: None,
            no_orchestrator_until: now,
            no_balancer_until: now,
            shown: Vec::new(),
            shown_at: now,
            traffic: Traffic::default(),
            judge: Judge::default(),
            story: tells.then(Vec::new),
        };
        state.at(now, Happening::Arrival);
        state
    }

    pub(super) fn tell(&mut self, line: impl FnOnce() -> String) {
        let at = self.now.since(super::super::BEGINNING).0;
        if let Some(story) = &mut self.story {
            story.push(format!("{:>4}.{:03} {}", at / 1000, at % 1000, line()));
        }
    }

    pub(super) fn story(&self) -> Vec<String> {
        self.story.clone().unwrap_or_default()
    }

    pub(super) fn at(&mut self, at: Moment, happening: Happening) {
        self.queued += 1;
        self.queue.insert((at, self.queued), happening);
    }

    pub(super) fn after(&mut self, from_ms: u64, to_ms: u64, happening: Happening) {
        let at = self.now + self.chance.span(from_ms, to_ms);
        self.at(at, happening);
    }

    /// Lets everything happen that has become due.
    pub(super) fn catch_up(&mut self, now: Moment) {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let ((at, _), happening) = entry.remove_entry();
            self.now = at;
            self.happen(happening);
        }
        self.now = now;
    }

    /// When something happens next that an orchestrator would tell of.
    pub(super) fn next_cue(&self) -> Option<Moment> {
        let is_told = |happening: &Happening| match happening {
            Happening::Runs(_)
            | Happening::Warms(_)
            | Happening::FallsIll(..)
            | Happening::Crashes(_)
            | Happening::Returns(..)
            | Happening::Ends(_)
            | Happening::Reconcile(..) => true,
            Happening::Arrival
            | Happening::RequestEnds(_)
            | Happening::OperationEnds(_)
            | Happening::Arrives(_)
            | Happening::Suffers(_)
            | Happening::Calms => false,
        };
        let mut queue = self.queue.iter();
        queue.find_map(|((at, _), happening)| is_told(happening).then_some(*at))
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrival => self.request_arrives(),
            Happening::RequestEnds(request) => self.request_ends(request),
            Happening::OperationEnds(operation) => self.operation_ends(operation),
            Happening::Runs(id) => self.runs(&id),
            Happening::Warms(id) => self.warms(&id),
            Happening::FallsIll(id, lasts) => self.falls_ill(&id, lasts),
            Happening::Crashes(id) => self.crashes(&id),
            Happening::Returns(id, anew) => self.returns(&id, anew),
            Happening::Ends(id) => self.ends(&id),
            Happening::Reconcile(app, by) => self.reconcile(&app, by),
            Happening::Arrives(action) => {
                self.tell(|| format!("world: arrives late or again: {}", action.key()));
                drop(self.apply(&action));
            }
            Happening::Suffers(mishap) => self.suffer(&mishap),
            Happening::Calms => {
                self.tell(|| "world: calms down".to_owned());
                self.temper = self.temper.calmed();
                self.queue
                    .retain(|_, happening| !matches!(happening, Happening::Suffers(_)));
            }
        }
    }

    // ---- apps --------------------------------------------------------------------------------------------------

    /// Makes an app whose instances have long been well.
    pub(super) fn grow(&mut self, id: &RevisionId, definition: Map<String, Value>, count: u32) {
        let app = App {
            definition,
            wanted: count,
            changing: false,
            locked_until: self.now,
        };
        self.apps.insert(id.clone(), app);
        for _ in 0..count {
            let born = self.bear(id);
            let since = self.now - Span::minutes(60);
            if let Some(one) = self.instances.get_mut(&born) {
                (one.phase, one.health) = (Phase::Running, Health::Healthy);
                (one.first_healthy, one.healthy_since) = (Some(since), Some(since));
            }
        }
    }

    pub(super) fn of<'a>(
        &'a self,
        app: &'a RevisionId,
    ) -> impl Iterator<Item = (&'a InstanceId, &'a Instance)> {
        self.instances
            .iter()
            .filter(move |(_, one)| one.app == *app)
    }

    pub(super) fn is_locked(&self, id: &RevisionId) -> bool {
        let Some(app) = self.apps.get(id) else {
            return false;
        };
        (app.changing && self.temper.locks) || self.now < app.locked_until
    }

    /// Wants another size, and lets it come about some time later.
    pub(super) fn resize(&mut self, id: &RevisionId, wanted: u32, by: By) {
        let slow = self.chance.happens(self.temper.slow_scales);
        if let Some(app) = self.apps.get_mut(id) {
            (app.wanted, app.changing) = (wanted, true);
        }
        let (from, to) = if slow { (2000, 30_000) } else { (0, 1000) };
        self.after(from, to, Happening::Reconcile(id.clone(), by));
    }

    /// Starts what is missing, and stops the youngest of what is too much.
    fn reconcile(&mut self, id: &RevisionId, by: By) {
        let Some(app) = self.apps.get(id) else {
            return;
        };
        let wanted = app.wanted as usize;
        let active = self.active(id);
        for _ in active.len()..wanted {
            self.bear(id);
        }
        for (_, surplus) in active.into_iter().skip(wanted) {
            self.stop(&surplus, by);
        }
        self.settle(id);
    }

    /// What counts for the size of an app, the oldest first.
    pub(super) fn active(&self, id: &RevisionId) -> Vec<(u64, InstanceId)> {
        let counts = |one: &Instance| one.dying.is_none() && one.phase != Phase::Unreachable;
        let all = self.of(id).filter(|(_, one)| counts(one));
        let mut active: Vec<_> = all.map(|(id, one)| (one.born, id.clone())).collect();
        active.sort();
        active
    }

    /// A change of scale is done when everything is as it should be.
    pub(super) fn settle(&mut self, id: &RevisionId) {
        let well = |one: &Instance| one.works();
        let all_well = self.of(id).all(|(_, one)| well(one));
        let count = self.of(id).count();
        if let Some(app) = self.apps.get_mut(id) {
            app.changing = app.changing && !(all_well && count == app.wanted as usize);
        }
    }
}
