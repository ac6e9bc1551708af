//! The world of the model: one orchestrator and one pool, small, without chance. Nothing happens by itself: whatever may
//! happen next is a [`Happening`], and the search tries them all.
//!
//! It follows Marathon where the two could differ: a kill makes the revision want as many fewer, a revision that wants
//! fewer than it has stops its youngest, and a change locks its revision until it has its full effect.

mod calls;

use std::collections::BTreeMap;
use teal_core::action::{Action, InstanceAction, PoolAction};
use teal_core::invariants::Violation;
use teal_core::name::{InstanceId, Role};
use teal_core::observation::EndpointState;
use teal_core::{Moment, Span};

/// Where a copy is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It does not run yet, or nobody knows that it does.
    Starting,
    /// It is seen again after it was lost, and no check has a result.
    Fresh,
    /// It runs, and its checks have said alive since then.
    Healthy { since: Moment },
    /// It runs, and a check says dead; whether anybody has looked since.
    Unhealthy { seen: bool },
    /// It was told to stop.
    Stopping,
    /// Its orchestrator has lost sight of it; whether anybody has looked since.
    Lost { seen: bool },
}

/// The work that a copy has at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// None.
    Idle,
    /// What the pool sends: requests, and operations that they have left.
    Busy,
    /// Requests that began before it left the pool, and no operation yet.
    Requests,
    /// A request was answered, and its operation does not show in the gauge yet.
    Hidden,
    /// Operations, and no request.
    Operations,
}

/// What the gauge of a copy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gauge {
    /// The truth of this moment.
    Live,
    /// Nothing.
    Broken,
    /// An old zero, as a cache between would.
    Cached,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    pub(crate) id: InstanceId,
    pub(crate) life: Life,
    pub(crate) work: Work,
    pub(crate) gauge: Gauge,
    /// It has failed its checks before: its orchestrator does not tell any more since when it has been healthy.
    pub(crate) failed: bool,
}

impl Copy {
    pub(crate) fn is_alive(&self) -> bool {
        self.life != Life::Stopping
    }

    pub(crate) fn is_healthy(&self) -> bool {
        matches!(self.life, Life::Healthy { .. })
    }

    pub(crate) fn is_settled(&self, settle: Span, now: Moment) -> bool {
        matches!(self.life, Life::Healthy { since } if since + settle <= now)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fleet {
    pub(crate) wanted: u32,
    /// A change of teal's is under way.
    pub(crate) changing: bool,
    /// Somebody else's is.
    pub(crate) held: bool,
    pub(crate) copies: Vec<Copy>,
}

impl Fleet {
    pub(crate) fn is_locked(&self) -> bool {
        self.changing || self.held
    }

    fn alive(&self) -> usize {
        self.copies.iter().filter(|copy| copy.is_alive()).count()
    }
}

/// Who changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Teal,
    Another,
}

/// A call that was heard and is carried out later, or never.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Late {
    pub(crate) action: InstanceAction,
    pub(crate) heard_at: Moment,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) fleets: BTreeMap<Role, Fleet>,
    pub(crate) pool: Option<BTreeMap<InstanceId, EndpointState>>,
    /// Pool changes that the balancer has heard and not carried out yet, in their order.
    pub(crate) lagging: Vec<PoolAction>,
    pub(crate) late: Vec<Late>,
    /// GREEN's checks never say alive.
    sick_green: bool,
    next: u8,
}

/// Something that happens in the world. What needs no mishap comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Happening {
    TurnsHealthy(InstanceId),
    /// It is of the kind that never gets healthy.
    FailsItsChecks(InstanceId),
    IsGone(InstanceId),
    /// Its requests end and leave operations.
    RequestsEnd(InstanceId),
    OperationsEnd(InstanceId),
    GaugeIsLive(InstanceId),
    /// What was lost from sight is seen again.
    Returns(InstanceId),
    /// What was lost from sight is given up, and replaced.
    IsGivenUp(InstanceId),
    BalancerCatchesUp,
    LateCallIsCarriedOut,
    LockIsReleased(Role),
    // Mishaps from here on.
    Crashes(InstanceId),
    TurnsUnhealthy(InstanceId),
    IsLost(InstanceId),
    /// Its requests end, and for a moment their operations show nowhere.
    RequestsEndUnseen(InstanceId),
    GaugeBreaks(InstanceId),
    GaugeIsCached(InstanceId),
    BalancerForgets,
    SomebodyScales(Role, Scaled),
    SomebodyLocks(Role),
}

#[derive(Debug, Clone, std::marker::Copy, PartialEq, Eq)]
pub(crate) enum Scaled {
    Up,
    Down,
}

impl Happening {
    pub(crate) fn is_mishap(&self) -> bool {
        matches!(
            self,
            Self::Crashes(_)
                | Self::TurnsUnhealthy(_)
                | Self::IsLost(_)
                | Self::RequestsEndUnseen(_)
                | Self::GaugeBreaks(_)
                | Self::GaugeIsCached(_)
                | Self::BalancerForgets
                | Self::SomebodyScales(..)
                | Self::SomebodyLocks(_)
        )
    }
}

fn broken(promise: &'static str, what: String) -> Violation {
    Violation { promise, what }
}

type Checked = Result<(), Violation>;

// ---- what there is ---------------------------------------------------------------------------------------------

impl World {
    pub(crate) fn copies(&self) -> impl Iterator<Item = &Copy> {
        self.fleets.values().flat_map(|fleet| &fleet.copies)
    }

    pub(crate) fn copy(&self, id: &InstanceId) -> Option<&Copy> {
        self.copies().find(|copy| copy.id == *id)
    }

    /// Whether an id plays a part: there is such a copy, the pool lists it, or a change that lags lets it in.
    pub(crate) fn mentions(&self, id: &InstanceId) -> bool {
        let listed = || self.pool.as_ref().is_some_and(|it| it.contains_key(id));
        let entering = |action: &PoolAction| match action {
            PoolAction::Change { admit, .. } => admit.iter().any(|it| it.instance == *id),
            PoolAction::Open { .. } | PoolAction::Close { .. } => false,
        };
        self.copy(id).is_some() || listed() || self.lagging.iter().any(entering)
    }

    pub(crate) fn serves(&self, id: &InstanceId) -> bool {
        let state = self.pool.as_ref().and_then(|pool| pool.get(id));
        state == Some(&EndpointState::Serving)
    }

    /// How many of a role are healthy and get requests.
    pub(crate) fn serving(&self, role: Role) -> usize {
        let fleet = self.fleets.get(&role);
        let copies = fleet.into_iter().flat_map(|fleet| &fleet.copies);
        copies
            .filter(|copy| copy.is_healthy() && self.serves(&copy.id))
            .count()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.serving(Role::Blue) + self.serving(Role::Green)
    }

    /// Returns everything that can happen now; mishaps only when they may.
    pub(crate) fn happenings(&self, mishaps: bool) -> Vec<Happening> {
        let mut all = Vec::new();
        for (role, fleet) in &self.fleets {
            for copy in &fleet.copies {
                self.of_copy(*role, copy, &mut all);
            }
            if fleet.held {
                all.push(Happening::LockIsReleased(*role));
            }
            if mishaps && !fleet.is_locked() {
                all.push(Happening::SomebodyLocks(*role));
                all.push(Happening::SomebodyScales(*role, Scaled::Up));
                if fleet.wanted > 0 {
                    all.push(Happening::SomebodyScales(*role, Scaled::Down));
                }
            }
        }
        if !self.lagging.is_empty() {
            all.push(Happening::BalancerCatchesUp);
        }
        if !self.late.is_empty() {
            all.push(Happening::LateCallIsCarriedOut);
        }
        if mishaps && self.pool.as_ref().is_some_and(|pool| !pool.is_empty()) {
            all.push(Happening::BalancerForgets);
        }
        all.retain(|one| mishaps || !one.is_mishap());
        all
    }

    fn of_copy(&self, role: Role, copy: &Copy, all: &mut Vec<Happening>) {
        let id = || copy.id.clone();
        let sick = self.sick_green && role == Role::Green;
        match copy.life {
            Life::Starting if sick => all.push(Happening::FailsItsChecks(id())),
            Life::Starting | Life::Fresh | Life::Unhealthy { seen: true } if !sick => {
                all.push(Happening::TurnsHealthy(id()));
            }
            Life::Stopping => all.push(Happening::IsGone(id())),
            Life::Lost { seen: true } => {
                all.extend([Happening::Returns(id()), Happening::IsGivenUp(id())]);
            }
            Life::Healthy { .. } => {
                all.extend([Happening::TurnsUnhealthy(id()), Happening::IsLost(id())]);
            }
            Life::Starting | Life::Fresh | Life::Unhealthy { .. } | Life::Lost { seen: false } => {}
        }
        match copy.work {
            Work::Requests => all.extend([
                Happening::RequestsEnd(id()),
                Happening::RequestsEndUnseen(id()),
            ]),
            Work::Operations => all.push(Happening::OperationsEnd(id())),
            Work::Idle | Work::Busy | Work::Hidden => {}
        }
        match copy.gauge {
            // While it serves, nobody goes by its gauge.
            Gauge::Live if copy.is_healthy() && !self.serves(&copy.id) => {
                all.extend([Happening::GaugeBreaks(id()), Happening::GaugeIsCached(id())]);
            }
            Gauge::Live => {}
            Gauge::Broken | Gauge::Cached => all.push(Happening::GaugeIsLive(id())),
        }
        if copy.is_alive() && !matches!(copy.life, Life::Lost { .. }) {
            all.push(Happening::Crashes(id()));
        }
    }
}

// ---- what happens ----------------------------------------------------------------------------------------------

impl World {
    pub(crate) fn new(sick_green: bool) -> Self {
        Self {
            sick_green,
            ..Self::default()
        }
    }

    pub(crate) fn grow(&mut self, role: Role, count: u32, since: Moment) {
        for _ in 0..count {
            let id = self.start(role);
            self.change_copy(&id, |copy| {
                (copy.life, copy.work) = (Life::Healthy { since }, Work::Busy);
            });
            let pool = self.pool.get_or_insert_default();
            pool.insert(id, EndpointState::Serving);
        }
        self.fleets.entry(role).or_default().wanted = count;
    }

    fn start(&mut self, role: Role) -> InstanceId {
        self.next += 1;
        let letter = if role == Role::Blue { 'b' } else { 'g' };
        let id = InstanceId(format!("{letter}{:02}", self.next));
        self.fleets.entry(role).or_default().copies.push(Copy {
            id: id.clone(),
            life: Life::Starting,
            work: Work::Idle,
            gauge: Gauge::Live,
            failed: false,
        });
        id
    }

    fn change_copy(&mut self, id: &InstanceId, change: impl FnOnce(&mut Copy)) {
        let mut copies = self.fleets.values_mut().flat_map(|it| &mut it.copies);
        if let Some(copy) = copies.find(|copy| copy.id == *id) {
            change(copy);
        }
    }

    fn remove_copy(&mut self, id: &InstanceId) {
        for fleet in self.fleets.values_mut() {
            fleet.copies.retain(|copy| copy.id != *id);
        }
    }

    /// Lets something happen. An error is a promise that teal has broken by it: a late call of its own came to harm.
    pub(crate) fn happen(&mut self, what: &Happening, now: Moment) -> Checked {
        match what {
            Happening::TurnsHealthy(id) => {
                self.change_copy(id, |copy| copy.life = Life::Healthy { since: now });
            }
            Happening::IsGone(id) | Happening::IsGivenUp(id) | Happening::Crashes(id) => {
                self.remove_copy(id);
            }
            Happening::RequestsEnd(id) => {
                self.change_copy(id, |copy| copy.work = Work::Operations);
            }
            Happening::RequestsEndUnseen(id) => {
                self.change_copy(id, |copy| copy.work = Work::Hidden);
            }
            Happening::OperationsEnd(id) => self.change_copy(id, |copy| copy.work = Work::Idle),
            Happening::GaugeIsLive(id) => self.change_copy(id, |copy| copy.gauge = Gauge::Live),
            Happening::GaugeBreaks(id) => self.change_copy(id, |copy| copy.gauge = Gauge::Broken),
            Happening::GaugeIsCached(id) => self.change_copy(id, |copy| copy.gauge = Gauge::Cached),
            Happening::Returns(id) => self.change_copy(id, |copy| copy.life = Life::Fresh),
            Happening::IsLost(id) => {
                self.change_copy(id, |copy| copy.life = Life::Lost { seen: false });
            }
            Happening::TurnsUnhealthy(id) | Happening::FailsItsChecks(id) => {
                self.change_copy(id, |copy| {
                    // The first failure shows afterwards too; a later one only to those who look in time.
                    copy.life = Life::Unhealthy { seen: !copy.failed };
                    copy.failed = true;
                });
            }
            Happening::BalancerCatchesUp => self.catch_up(),
            Happening::BalancerForgets => {
                self.pool = None;
                self.lagging.clear();
                self.cut_requests();
            }
            Happening::LateCallIsCarriedOut => {
                let late = Action::Instance(self.late.remove(0).action);
                if self.refuses(&late).is_ok() {
                    return self.perform(&late);
                }
            }
            Happening::LockIsReleased(role) => self.change_fleet(*role, |it| it.held = false),
            Happening::SomebodyLocks(role) => self.change_fleet(*role, |it| it.held = true),
            Happening::SomebodyScales(role, scaled) => self.change_fleet(*role, |fleet| {
                fleet.changing = true;
                match scaled {
                    Scaled::Up => fleet.wanted += 1,
                    Scaled::Down => fleet.wanted -= 1,
                }
            }),
        }
        self.reconcile(By::Another)
    }

    fn change_fleet(&mut self, role: Role, change: impl FnOnce(&mut Fleet)) {
        if let Some(fleet) = self.fleets.get_mut(&role) {
            change(fleet);
        }
    }

    fn catch_up(&mut self) {
        for action in std::mem::take(&mut self.lagging) {
            self.change_pool(&action);
        }
    }

    /// Lets the orchestrator bring about what is wanted.
    fn reconcile(&mut self, by: By) -> Checked {
        for role in [Role::Blue, Role::Green] {
            let Some(fleet) = self.fleets.get(&role) else {
                continue;
            };
            let (wanted, alive) = (fleet.wanted as usize, fleet.alive());
            for _ in alive..wanted {
                self.start(role);
            }
            for _ in wanted..alive {
                self.stop_youngest(role, by)?;
            }
            self.change_fleet(role, |fleet| {
                let done = fleet.copies.iter().all(Copy::is_healthy);
                fleet.changing &= !(done && fleet.copies.len() == fleet.wanted as usize);
            });
        }
        Ok(())
    }

    fn stop_youngest(&mut self, role: Role, by: By) -> Checked {
        let fleet = self.fleets.get(&role);
        let mut copies = fleet
            .into_iter()
            .flat_map(|fleet| fleet.copies.iter().rev());
        let Some(copy) = copies.find(|copy| copy.is_alive()).cloned() else {
            return Ok(());
        };
        self.change_copy(&copy.id, |copy| copy.life = Life::Stopping);
        let idle = copy.work == Work::Idle && !self.serves(&copy.id);
        if by == By::Another || idle {
            return Ok(());
        }
        let what = format!("{role} stops {copy:?}, which nobody named");
        Err(broken("P2 no blind kill", what))
    }

    /// The requests that a balancer carried end with it; the operations that they have left go on.
    fn cut_requests(&mut self) {
        for copy in self.fleets.values_mut().flat_map(|it| &mut it.copies) {
            if matches!(copy.work, Work::Busy | Work::Requests) {
                copy.work = Work::Operations;
            }
        }
    }

    /// What is not in the pool any more gets no more requests, and finishes those it has.
    fn leave_pool(&mut self) {
        let pool = self.pool.clone().unwrap_or_default();
        for copy in self.fleets.values_mut().flat_map(|it| &mut it.copies) {
            match (pool.get(&copy.id), copy.work) {
                (Some(EndpointState::Serving | EndpointState::Partly), _) => copy.work = Work::Busy,
                (Some(EndpointState::Draining) | None, Work::Busy) => copy.work = Work::Requests,
                (Some(EndpointState::Draining) | None, _) => {}
            }
        }
    }

    /// Somebody looks.
    pub(crate) fn be_seen(&mut self) {
        for copy in self.fleets.values_mut().flat_map(|it| &mut it.copies) {
            if let Life::Unhealthy { seen } | Life::Lost { seen } = &mut copy.life {
                *seen = true;
            }
        }
    }

    /// Time passes: what shows nowhere shows now, and what was heard too long ago is never carried out.
    pub(crate) fn pass(&mut self, now: Moment, late_for: Span) {
        for copy in self.fleets.values_mut().flat_map(|it| &mut it.copies) {
            if copy.work == Work::Hidden {
                copy.work = Work::Operations;
            }
        }
        self.late.retain(|late| now.since(late.heard_at) < late_for);
    }

    /// Lets everything happen that is on its way, and nothing go wrong.
    pub(crate) fn settle(&mut self, now: Moment) -> Checked {
        self.late.clear();
        loop {
            let Some(what) = self.happenings(false).into_iter().next() else {
                return Ok(());
            };
            self.happen(&what, now)?;
        }
    }
}
