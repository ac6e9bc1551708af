//! The systems as teal meets them: the world, through calls that go wrong as its temper says.

use super::POOL;
use super::world::{App, Endpoint, Happening, Instance, Pool, State};
use async_trait::async_trait;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use teal_core::Span;
use teal_core::action::{Action, InstanceAction, PoolAction};
use teal_core::name::{InstanceId, PoolId, RevisionId};
use teal_core::observation::{
    EndpointSighting, Health, InstanceSighting, Pending, Phase, PoolSighting, RevisionSighting,
    System,
};
use teal_core::plan::Found;
use teal_drivers::{
    Balancer, Capabilities, DriverError, Gauges, Orchestrator, Question, Reading, clock,
};

/// How late a change may come that got no answer: less than the 5 s in which teal reckons with it.
const LATE_MS: u64 = 4900;
/// How old a picture the orchestrator may show. A change that it carries out late comes sooner by as much: teal ends when
/// it looks for the first time after those 5 s, and a picture from before them would hide from it what has come meanwhile.
/// No later look could mend that while pictures may be of any age.
const STALE: Span = Span::seconds(1);
/// How late a change may come that was accepted, or comes twice: less than the samples of a drain span. A pool that
/// admits an instance later than that would get back what is stopped, and no order of looks protects from it.
const LAG_MS: u64 = 300;

/// A handle of the world.
#[derive(Clone)]
pub(super) struct World(Arc<Mutex<State>>);

/// What becomes of a change.
enum Fate {
    Well,
    Fails(DriverError),
    AnswerLost,
    /// Its answer is lost, and it comes about later.
    Late(Span),
    /// It is accepted, and comes about later.
    Lags(Span),
    /// It comes about, and once more later.
    Twice(Span),
}

impl World {
    pub(super) fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// Returns the world as it is at this moment.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.catch_up(clock::now());
        state
    }

    /// What it takes for a request to arrive, or for its answer.
    async fn travel(&self, may_be_slow: bool) {
        let takes = {
            let mut state = self.state();
            let (latency, slow) = (state.temper.latency.0, state.temper.slow);
            let is_slow = may_be_slow && state.chance.happens(slow);
            let takes = state.chance.span(0, latency);
            if is_slow {
                takes + state.chance.span(500, 4000)
            } else {
                takes
            }
        };
        // With no latency at all, a deployer may die as soon as its change has been carried out.
        if takes > Span::ZERO {
            tokio::time::sleep(takes.duration()).await;
        }
    }

    /// Begins a look: it arrives, or fails.
    async fn ask(&self, system: System) -> Result<(), DriverError> {
        self.travel(true).await;
        let mut state = self.state();
        let errors = state.temper.errors;
        if state.is_down(system) || state.chance.happens(errors) {
            return Err(unreachable("it never arrived"));
        }
        Ok(())
    }

    async fn carry_out(&self, system: System, action: Action) -> Result<(), DriverError> {
        self.travel(true).await;
        let answer = self.state().receive(system, &action);
        self.travel(false).await;
        answer
    }
}

#[async_trait]
impl Orchestrator for World {
    async fn find(&self) -> Result<Vec<Found>, DriverError> {
        self.ask(System::Orchestrator).await?;
        let state = self.state();
        let found = |(id, app): (&RevisionId, &App)| {
            let mut definition = app.definition.clone();
            definition.insert("id".to_owned(), json!(id));
            definition.insert("instances".to_owned(), json!(app.wanted));
            let sighting = state.show(id, app);
            Found {
                definition,
                sighting,
            }
        };
        Ok(state.apps.iter().map(found).collect())
    }

    async fn observe(
        &self,
        revisions: &[RevisionId],
    ) -> Result<Vec<RevisionSighting>, DriverError> {
        self.ask(System::Orchestrator).await?;
        Ok(self.state().show_all(revisions))
    }

    async fn act(&self, action: &InstanceAction) -> Result<(), DriverError> {
        let action = Action::Instance(action.clone());
        self.carry_out(System::Orchestrator, action).await
    }

    async fn changed(&self) {
        loop {
            let next = self.state().next_cue();
            let Some(at) = next else {
                return std::future::pending().await;
            };
            let left = at.since(clock::now());
            tokio::time::sleep(left.duration()).await;
            let mut state = self.state();
            let missed = state.temper.missed_cues;
            if !state.chance.happens(missed) {
                return;
            }
        }
    }
}

#[async_trait]
impl Balancer for World {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    // Never out of date: that an instance is out of the pool is the balancer's word, and the promise rests on it.
    async fn observe(&self, pools: &[PoolId]) -> Result<Vec<PoolSighting>, DriverError> {
        self.ask(System::Balancer).await?;
        let mut state = self.state();
        state.judge.seen = state.pool.clone().unwrap_or_default();
        let is_asked = pools.iter().any(|id| id.as_str() == POOL);
        let pool = state.pool.as_ref().filter(|_| is_asked);
        Ok(pool.map(|pool| state.show_pool(pool)).into_iter().collect())
    }

    async fn act(&self, action: &PoolAction) -> Result<(), DriverError> {
        let action = Action::Pool(action.clone());
        self.carry_out(System::Balancer, action).await
    }
}

#[async_trait]
impl Gauges for World {
    async fn read(&self, asked: &[Question]) -> BTreeMap<InstanceId, Reading> {
        if asked.is_empty() {
            return BTreeMap::new();
        }
        self.travel(false).await;
        let (readings, takes) = {
            let mut state = self.state();
            let slow = state.temper.slow_gauges;
            let is_slow = state.chance.happens(slow);
            let takes = if is_slow {
                state.chance.span(50, 900)
            } else {
                Span::ZERO
            };
            let readings = asked.iter().filter_map(|question| {
                let id = &question.instance;
                let pending = state.read_gauge(id)?;
                Some((id.clone(), pending))
            });
            (readings.collect::<Vec<_>>(), takes)
        };
        // What was read first waits for the slowest, and is as old by then.
        if takes > Span::ZERO {
            tokio::time::sleep(takes.duration()).await;
        }
        let reading = |(id, (pending, age)): (InstanceId, (Pending, Span))| {
            let age = age + takes;
            (id, Reading { pending, age })
        };
        readings.into_iter().map(reading).collect()
    }
}

// ---- what is shown -------------------------------------------------------------------------------------------------

impl State {
    fn is_down(&self, system: System) -> bool {
        let until = match system {
            System::Orchestrator => self.no_orchestrator_until,
            System::Balancer => self.no_balancer_until,
        };
        self.now < until
    }

    fn show_all(&mut self, ids: &[RevisionId]) -> Vec<RevisionSighting> {
        let (stale, partial) = (self.temper.stale, self.temper.partial);
        let is_stale = self.chance.happens(stale) && self.now.since(self.shown_at) < STALE;
        if !is_stale {
            self.shown_at = self.now;
            let apps = ids.iter().filter_map(|id| Some((id, self.apps.get(id)?)));
            self.shown = apps.map(|(id, app)| self.show(id, app)).collect();
        }
        let mut shown = self.shown.clone();
        for one in shown
            .iter_mut()
            .flat_map(|revision| &mut revision.instances)
        {
            if self.chance.happens(partial) {
                (one.health, one.healthy_since) = (Health::Unknown, None);
            }
        }
        let instances = shown.iter().flat_map(|revision| &revision.instances);
        self.judge.is_shown(instances);
        shown
    }

    fn show(&self, id: &RevisionId, app: &App) -> RevisionSighting {
        let mut instances: Vec<(u64, InstanceSighting)> = self
            .of(id)
            .map(|(id, one)| (one.born, self.show_instance(id, one)))
            .collect();
        instances.sort_by_key(|(born, _)| *born);
        RevisionSighting {
            id: id.clone(),
            wanted: app.wanted,
            locked: self.is_locked(id),
            checked: true,
            trouble: None,
            instances: instances.into_iter().map(|(_, one)| one).collect(),
        }
    }

    fn show_instance(&self, id: &InstanceId, one: &Instance) -> InstanceSighting {
        let is_stopping = one.dying.is_some() && self.temper.tells_killing;
        InstanceSighting {
            id: id.clone(),
            phase: if is_stopping {
                Phase::Stopping
            } else {
                one.phase
            },
            current: true,
            health: one.health,
            healthy_since: one.healthy_since.filter(|_| self.temper.tells_since),
            addresses: [one.address.clone()].into(),
        }
    }

    fn show_pool(&self, pool: &Pool) -> PoolSighting {
        let show = |(id, endpoint): (&InstanceId, &Endpoint)| EndpointSighting {
            instance: id.clone(),
            address: endpoint.address.clone(),
            state: endpoint.state,
            in_flight: Some(self.traffic.in_flight(id)),
        };
        PoolSighting {
            id: PoolId::from(POOL),
            listen: None,
            endpoints: pool.iter().map(show).collect(),
            vacancies: None,
        }
    }

    /// None: the answer lacks this instance.
    fn read_gauge(&mut self, id: &InstanceId) -> Option<(Pending, Span)> {
        let bad = self.temper.bad_gauges;
        let reachable = self
            .instances
            .get(id)
            .is_some_and(|one| one.phase == Phase::Running);
        if !reachable {
            return Some((
                Pending::Unknown("connection refused".to_owned()),
                Span::ZERO,
            ));
        }
        if !self.chance.happens(bad) {
            return Some((Pending::Count(self.gauge(id)), Span::ZERO));
        }
        match self.chance.below(4) {
            0 => Some((Pending::Unknown("HTTP 500".to_owned()), Span::ZERO)),
            1 => Some((Pending::Unknown("NaN".to_owned()), Span::ZERO)),
            // From so long ago that it says nothing.
            2 => Some((Pending::Count(0), self.chance.span(2500, 60_000))),
            _ => None,
        }
    }
}

// ---- what becomes of changes ---------------------------------------------------------------------------------------

impl State {
    /// Takes a change and gives the answer that gets back.
    fn receive(&mut self, system: System, action: &Action) -> Result<(), DriverError> {
        if self.is_down(system) {
            return Err(unreachable("it never arrived"));
        }
        self.judge_action(action);
        match self.draw_fate(system) {
            Fate::Well => self.apply(action),
            Fate::Fails(error) => Err(error),
            Fate::AnswerLost => {
                drop(self.apply(action));
                Err(unreachable("the answer was lost"))
            }
            Fate::Late(by) => {
                self.comes_later(action, by);
                Err(unreachable("no answer in time"))
            }
            Fate::Lags(by) => {
                self.comes_later(action, by);
                Ok(())
            }
            Fate::Twice(by) => {
                self.comes_later(action, by);
                self.apply(action)
            }
        }
    }

    fn comes_later(&mut self, action: &Action, by: Span) {
        let at = self.now + by;
        self.at(at, Happening::Arrives(action.clone()));
    }

    fn draw_fate(&mut self, system: System) -> Fate {
        let latest = match system {
            System::Orchestrator => LATE_MS - STALE.0,
            System::Balancer => LATE_MS,
        };
        let (late, lag) = (self.chance.span(1, latest), self.chance.span(1, LAG_MS));
        let mut drawn = self.chance.below(1000);
        let mut is = |share: u32| {
            let hit = drawn < u64::from(share);
            drawn = drawn.saturating_sub(u64::from(share)) + if hit { 1000 } else { 0 };
            hit
        };
        let temper = &self.temper;
        if is(temper.errors) {
            Fate::Fails(unreachable("it never arrived"))
        } else if is(temper.refusals) {
            Fate::Fails(refused("not today"))
        } else if is(temper.lost_answers) {
            Fate::AnswerLost
        } else if is(temper.late) {
            Fate::Late(late)
        } else if is(temper.lags) {
            Fate::Lags(lag)
        } else if is(temper.twice) {
            Fate::Twice(lag)
        } else {
            Fate::Well
        }
    }
}

fn unreachable(reason: &str) -> DriverError {
    DriverError::Unreachable {
        url: "the world".to_owned(),
        reason: reason.to_owned(),
    }
}

pub(super) fn refused(message: &str) -> DriverError {
    DriverError::Refused {
        what: "the change".to_owned(),
        message: message.to_owned(),
        details: Vec::new(),
    }
}
