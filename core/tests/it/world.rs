//! A world for `decide`: one orchestrator, one pool, a clock that the test moves, and faults drawn from a seed.

mod another_machine;

use std::collections::BTreeMap;
use teal_core::action::{Action, InstanceAction, KillReason, PoolAction};
use teal_core::decide::{Decision, decide};
use teal_core::definition::{Definition, PendingSource};
use teal_core::evidence::Evidence;
use teal_core::journal::{Command, Effect, Entry, Event, Outcome, State};
use teal_core::name::{Address, DeploymentId, InstanceId, PoolId, RevisionId, Role};
use teal_core::observation::{
    EndpointSighting, EndpointState, Health, InstanceSighting, Observation, Pending,
    PendingSighting, Phase, PoolSighting, RevisionSighting, Sighting,
};
use teal_core::plan::{self, BalancerAbilities, Found, Plan, Request};
use teal_core::settings::Settings;
use teal_core::{Moment, Span};

/// What a simulated instance is like.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(crate) id: InstanceId,
    pub(crate) phase: Phase,
    pub(crate) health: Health,
    pub(crate) healthy_since: Option<Moment>,
    pub(crate) changes_at: Moment,
    pub(crate) in_flight: u64,
    pub(crate) pending: Pending,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Fleet {
    pub(crate) wanted: u32,
    pub(crate) locked_until: Moment,
    pub(crate) copies: Vec<Copy>,
}

/// How GREEN behaves.
#[derive(Debug, Clone, std::marker::Copy, PartialEq, Eq)]
pub(crate) enum Green {
    Good,
    NeverHealthy,
    Crashes,
}

pub(crate) struct World {
    pub(crate) now: Moment,
    pub(crate) plan: Plan,
    pub(crate) journal: Vec<Entry>,
    pub(crate) state: State,
    pub(crate) evidence: Evidence,
    pub(crate) fleets: BTreeMap<Role, Fleet>,
    pub(crate) pool: Option<BTreeMap<InstanceId, EndpointState>>,
    pub(crate) green: Green,
    /// Faults per thousand steps.
    pub(crate) chaos: u64,
    /// Whether the orchestrator tells since when an instance has been healthy.
    pub(crate) tells_since: bool,
    /// Every so many looks one fails; zero: none.
    pub(crate) blind_every: u64,
    pub(crate) blue_pending_stays: Option<Pending>,
    pub(crate) dropped: Vec<String>,
    looks: u64,
    next: u64,
    seed: u64,
}

pub(crate) const STEP: Span = Span::millis(100);

impl World {
    pub(crate) fn new(blue: u32, set: &[(&str, &str)], seed: u64) -> Self {
        let mut settings = Settings::default();
        for (name, value) in [
            ("min_healthy_time", "1s"),
            ("drain_deadline", "20s"),
            ("healthy_deadline", "30s"),
        ]
        .iter()
        .chain(set)
        {
            settings.set(name, value, "test").unwrap();
        }
        let mut world = Self::empty(seed);
        for _ in 0..blue {
            let id = world.add(Role::Blue);
            let copy = world.fleet(Role::Blue).copies.last_mut().unwrap();
            (copy.phase, copy.health, copy.healthy_since) =
                (Phase::Running, Health::Healthy, Some(Moment(0)));
            world
                .pool
                .get_or_insert_default()
                .insert(id, EndpointState::Serving);
        }
        if blue > 0 {
            world.fleet(Role::Blue).wanted = blue;
        }
        world.plan_anew(&settings);
        world
    }

    /// Begins a deployment with what is there.
    pub(crate) fn plan_anew(&mut self, settings: &Settings) {
        let text = r#"{"id":"/oinker","cmd":"run","instances":3,"healthChecks":[{"protocol":"TCP"}],
            "labels":{"TEAL_PENDING_PATH":"/metrics","TEAL_PENDING_GAUGE":"pending"}}"#;
        let (definition, _) = Definition::resolve(text, settings, &[]).unwrap();
        let found: Vec<Found> = self.found();
        let pools: Vec<PoolSighting> = self.pools();
        let request = Request {
            definition: &definition,
            settings,
            revision: Some("b"),
            replace: None,
            found: &found,
            pools: &pools,
            balancer: BalancerAbilities {
                in_flight: true,
                atomic_change: true,
                listens: true,
                tcp: true,
            },
            deployment: DeploymentId::from("d1"),
            now: self.now,
        };
        self.plan = plan::make(&request).unwrap().unwrap();
        self.begin();
    }

    fn empty(seed: u64) -> Self {
        let (plan, state) = placeholder();
        Self {
            now: Moment(1_000_000),
            plan,
            journal: Vec::new(),
            state,
            evidence: Evidence::default(),
            fleets: BTreeMap::new(),
            pool: None,
            green: Green::Good,
            chaos: 0,
            tells_since: true,
            blind_every: 0,
            blue_pending_stays: None,
            dropped: Vec::new(),
            looks: 0,
            next: 0,
            seed: seed | 1,
        }
    }

    fn begin(&mut self) {
        let event = Event::Begun {
            plan: Box::new(self.plan.clone()),
        };
        let entry = Entry {
            seq: 1,
            at: self.now,
            event,
        };
        self.state = State::begin(&entry).unwrap().1;
        self.journal = vec![entry];
    }

    pub(crate) fn fleet(&mut self, role: Role) -> &mut Fleet {
        self.fleets.entry(role).or_default()
    }

    pub(crate) fn serving(&self, role: Role) -> usize {
        let pool = self
            .pool
            .iter()
            .flatten()
            .filter(|(_, state)| **state == EndpointState::Serving);
        let is_of = |id: &InstanceId| {
            self.fleets
                .get(&role)
                .is_some_and(|f| f.copies.iter().any(|c| c.id == *id))
        };
        pool.filter(|(id, _)| is_of(id)).count()
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below.max(1)
    }

    fn fault(&mut self) -> bool {
        self.draw(1000) < self.chaos
    }

    pub(crate) fn add(&mut self, role: Role) -> InstanceId {
        self.next += 1;
        let id = InstanceId(format!("{role}-{}", self.next));
        let changes_at = self.now + Span::millis(100 + self.draw(2000));
        let copy = Copy {
            id: id.clone(),
            phase: Phase::Starting,
            health: Health::Unknown,
            healthy_since: None,
            changes_at,
            in_flight: 0,
            pending: Pending::Count(0),
        };
        self.fleet(role).copies.push(copy);
        id
    }

    pub(crate) fn log(&mut self, event: Event) -> u64 {
        let entry = Entry {
            seq: self.state.seq + 1,
            at: self.now,
            event,
        };
        self.state.apply(&entry).unwrap();
        self.journal.push(entry);
        self.state.seq
    }

    pub(crate) fn ask(&mut self, command: Command) {
        if self.state.outcome.is_none() || matches!(self.state.outcome, Some(Outcome::Stuck { .. }))
        {
            self.log(Event::Asked {
                command,
                letter: None,
            });
        }
    }

    /// The deployer dies and another one reads its journal: evidence is gone, state is as the journal says.
    pub(crate) fn restart_deployer(&mut self) {
        let text: Vec<String> = self
            .journal
            .iter()
            .map(|e| serde_json::to_string(e).unwrap())
            .collect();
        let entries: Vec<Entry> = text
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let (plan, state) = State::replay(&entries).unwrap();
        assert_eq!(
            (&plan, &state),
            (&self.plan, &self.state),
            "a journal replays to the state it was written from"
        );
        self.evidence = Evidence::default();
        self.log(Event::Resumed {
            by: "test".to_owned(),
        });
    }

    // ---- looking -----------------------------------------------------------------------------------------------

    fn found(&self) -> Vec<Found> {
        let found = |(role, fleet): (&Role, &Fleet)| {
            let sighting = self.revision(*role, fleet);
            let body = serde_json::json!({"id": sighting.id, "cmd": "run", "labels": {"TEAL_SERVICE": "oinker"}});
            Found {
                definition: body.as_object().unwrap().clone(),
                sighting,
            }
        };
        self.fleets.iter().map(found).collect()
    }

    fn revision(&self, role: Role, fleet: &Fleet) -> RevisionSighting {
        let id = match role {
            Role::Blue => RevisionId::from("/oinker-a"),
            Role::Green => RevisionId::from("/oinker-b"),
        };
        let instances = fleet.copies.iter().map(|copy| InstanceSighting {
            id: copy.id.clone(),
            phase: copy.phase,
            current: true,
            health: copy.health,
            healthy_since: copy.healthy_since.filter(|_| self.tells_since),
            addresses: [Address(format!("127.0.0.1:{}", copy.id))].into(),
        });
        let locked = self.now < fleet.locked_until;
        RevisionSighting {
            id,
            wanted: fleet.wanted,
            locked,
            checked: true,
            trouble: None,
            instances: instances.collect(),
        }
    }

    fn pools(&self) -> Vec<PoolSighting> {
        let endpoint = |(id, state): (&InstanceId, &EndpointState)| EndpointSighting {
            instance: id.clone(),
            address: Address(format!("127.0.0.1:{id}")),
            state: *state,
            in_flight: Some(
                self.copies()
                    .find(|copy| copy.id == *id)
                    .map_or(0, |copy| copy.in_flight),
            ),
        };
        let pool = |pool: &BTreeMap<InstanceId, EndpointState>| PoolSighting {
            id: PoolId::from("oinker"),
            listen: None,
            endpoints: pool.iter().map(endpoint).collect(),
            vacancies: None,
        };
        self.pool.iter().map(pool).collect()
    }

    pub(crate) fn copies(&self) -> impl Iterator<Item = &Copy> {
        self.fleets.values().flat_map(|fleet| &fleet.copies)
    }

    pub(crate) fn look(&mut self) -> Observation {
        self.looks += 1;
        let is_blind = self.blind_every > 0 && self.looks.is_multiple_of(self.blind_every);
        let revisions = if self.fault() || is_blind {
            Err("connection refused".to_owned())
        } else {
            Ok(self
                .fleets
                .iter()
                .map(|(role, fleet)| (*role, self.revision(*role, fleet)))
                .collect())
        };
        let pools = if self.fault() {
            Err("connection refused".to_owned())
        } else {
            Ok(self.pools())
        };
        let mut pending = BTreeMap::new();
        let ids: Vec<_> = self
            .copies()
            .map(|copy| (copy.id.clone(), copy.pending.clone()))
            .collect();
        for (id, reading) in ids {
            let reading = if self.fault() {
                Pending::Unknown("timed out".to_owned())
            } else {
                reading
            };
            pending.insert(
                id,
                PendingSighting {
                    at: self.now,
                    reading,
                },
            );
        }
        let sighting = Sighting {
            began: self.now,
            at: self.now,
            revisions,
            pools,
            pending,
        };
        self.evidence.absorb(&self.plan, sighting)
    }

    // ---- moving ------------------------------------------------------------------------------------------------

    /// One step of the deployer, then one of the world. Returns the outcome once there is one.
    pub(crate) fn step(&mut self) -> Option<Outcome> {
        let seen = self.look();
        match decide(&self.plan, &self.state, &seen, self.now) {
            Decision::Finish(outcome) => {
                if self.state.outcome.is_none() {
                    self.log(Event::Ended {
                        outcome: outcome.clone(),
                    });
                }
                return Some(outcome);
            }
            Decision::Act(actions) => self.carry_out(actions),
            Decision::Wait { .. } => {}
        }
        self.now = self.now + STEP;
        self.live();
        None
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            let intent = self.log(Event::Intended {
                action: action.clone(),
            });
            if self.fault() {
                self.log(Event::Failed {
                    intent,
                    reason: "timed out".to_owned(),
                    retry: true,
                    effect: Effect::Unknown,
                });
                return;
            }
            let done = self.perform(&action);
            let answer_lost = self.fault();
            match done {
                Err(reason) => {
                    self.log(Event::Failed {
                        intent,
                        reason,
                        retry: true,
                        effect: Effect::None,
                    });
                    return;
                }
                Ok(()) if answer_lost => {
                    self.log(Event::Failed {
                        intent,
                        reason: "lost".to_owned(),
                        retry: true,
                        effect: Effect::Unknown,
                    });
                    return;
                }
                Ok(()) => self.log(Event::Performed { intent }),
            };
        }
    }

    pub(crate) fn perform(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Instance(action) => self.instance(action),
            Action::Pool(PoolAction::Open { .. }) => {
                self.pool.get_or_insert_default();
                Ok(())
            }
            Action::Pool(PoolAction::Change {
                admit,
                withdraw,
                forget,
                ..
            }) => {
                let pool = self.pool.get_or_insert_default();
                for member in admit {
                    pool.insert(member.instance.clone(), EndpointState::Serving);
                }
                for id in withdraw {
                    pool.entry(id.clone())
                        .and_modify(|state| *state = EndpointState::Draining);
                }
                pool.retain(|id, _| !forget.contains(id));
                Ok(())
            }
            Action::Pool(PoolAction::Close { .. }) => {
                self.pool = None;
                Ok(())
            }
            Action::Mark(_) => Ok(()),
        }
    }

    fn instance(&mut self, action: &InstanceAction) -> Result<(), String> {
        let locked = |world: &mut Self, role: Role, lock: teal_core::action::Lock| {
            let now = world.now;
            let until = world.fleet(role).locked_until;
            if now < until && lock == teal_core::action::Lock::Respect {
                Err("locked".to_owned())
            } else {
                Ok(())
            }
        };
        match action {
            InstanceAction::Create { role, .. } => {
                self.fleet(*role);
            }
            InstanceAction::Scale {
                role,
                instances,
                lock,
                ..
            } => {
                locked(self, *role, *lock)?;
                self.fleet(*role).wanted = *instances;
                self.lock(*role);
            }
            InstanceAction::Kill {
                role,
                victims,
                lock,
                ..
            } => {
                locked(self, *role, *lock)?;
                for victim in victims {
                    self.stop(*role, &victim.instance, &victim.why);
                }
                self.lock(*role);
            }
            InstanceAction::Remove { role, .. } => {
                self.fleets.remove(role);
            }
        }
        Ok(())
    }

    fn lock(&mut self, role: Role) {
        let until = self.now + Span::millis(self.draw(800));
        self.fleet(role).locked_until = until;
    }

    /// What a kill really cost is noted here, from the world's own truth.
    fn stop(&mut self, role: Role, id: &InstanceId, why: &KillReason) {
        let serving =
            self.pool.as_ref().and_then(|pool| pool.get(id)) == Some(&EndpointState::Serving);
        let gone_at = self.now + Span::millis(self.draw(1500));
        let fleet = self.fleet(role);
        let Some(copy) = fleet.copies.iter_mut().find(|copy| copy.id == *id) else {
            return;
        };
        if copy.phase == Phase::Stopping {
            return;
        }
        let busy = copy.in_flight > 0 || matches!(copy.pending, Pending::Count(count) if count > 0);
        let text = format!(
            "{id}: in-flight {}, pending {:?}, serving {serving}",
            copy.in_flight, copy.pending
        );
        copy.phase = Phase::Stopping;
        copy.changes_at = gone_at;
        fleet.wanted = fleet.wanted.saturating_sub(1);
        if (busy || serving) && !matches!(why, KillReason::Forced(_)) {
            self.dropped.push(text);
        }
    }

    /// The world goes on for one step.
    pub(crate) fn live(&mut self) {
        for role in [Role::Blue, Role::Green] {
            if !self.fleets.contains_key(&role) {
                continue;
            }
            let now = self.now;
            self.fleet(role)
                .copies
                .retain(|copy| copy.phase != Phase::Stopping || now < copy.changes_at);
            if self.fault() && !self.fleet(role).copies.is_empty() {
                let index = self.draw(self.fleets[&role].copies.len() as u64);
                self.fleet(role)
                    .copies
                    .remove(usize::try_from(index).unwrap());
            }
            let alive = self
                .fleet(role)
                .copies
                .iter()
                .filter(|copy| copy.phase != Phase::Stopping)
                .count();
            for _ in alive..self.fleets[&role].wanted as usize {
                self.add(role);
            }
            for index in 0..self.fleets[&role].copies.len() {
                self.live_copy(role, index);
            }
        }
    }

    fn live_copy(&mut self, role: Role, index: usize) {
        let flap = self.fault();
        let (more, less, later) = (
            self.draw(3),
            self.draw(4),
            Span::millis(100 + self.draw(2000)),
        );
        let (now, green) = (self.now, self.green);
        let stays = self
            .blue_pending_stays
            .clone()
            .filter(|_| role == Role::Blue);
        let copy = &mut self.fleets.get_mut(&role).unwrap().copies[index];
        let serving =
            self.pool.as_ref().and_then(|pool| pool.get(&copy.id)) == Some(&EndpointState::Serving);
        match (copy.phase, copy.health) {
            (Phase::Starting, _) if now >= copy.changes_at => {
                (copy.phase, copy.changes_at) = (Phase::Running, now + later);
            }
            (Phase::Running, Health::Unknown | Health::Unhealthy) if now >= copy.changes_at => {
                let sick = role == Role::Green && green == Green::NeverHealthy;
                copy.health = if sick {
                    Health::Unhealthy
                } else {
                    Health::Healthy
                };
                copy.healthy_since = (!sick).then_some(now);
            }
            (Phase::Running, Health::Healthy) if flap => {
                (copy.health, copy.healthy_since, copy.changes_at) =
                    (Health::Unhealthy, None, now + later);
            }
            _ => {}
        }
        if role == Role::Green && green == Green::Crashes && copy.phase == Phase::Running {
            let id = copy.id.clone();
            self.fleet(role).copies.retain(|copy| copy.id != id);
            self.add(role);
            return;
        }
        if serving && copy.phase == Phase::Running {
            copy.in_flight += more;
            if let Pending::Count(count) = &mut copy.pending {
                *count += more;
            }
        }
        copy.in_flight = copy.in_flight.saturating_sub(less);
        copy.pending = match (&copy.pending, stays) {
            (_, Some(stays)) => stays,
            (Pending::Count(count), None) => Pending::Count(count.saturating_sub(less)),
            (other, None) => other.clone(),
        };
    }

    pub(crate) fn run(&mut self, steps: usize) -> Option<Outcome> {
        (0..steps).find_map(|_| self.step())
    }
}

fn placeholder() -> (Plan, State) {
    let plan = Plan {
        deployment: DeploymentId::from("none"),
        service: "none".into(),
        made_at: Moment(0),
        blue: None,
        green: plan::GreenPlan {
            revision: RevisionId::from("/none"),
            definition: serde_json::Value::Null,
            pending: PendingSource::None,
        },
        pools: Vec::new(),
        target: 0,
        floor: 0,
        room: 0,
        initial: 0,
        batch: 0,
        atomic_change: false,
        settings: Settings::default(),
        dead: [].into(),
        pooled: [].into(),
        notes: Vec::new(),
    };
    let begun = Box::new(plan);
    let event = Event::Begun { plan: begun };
    State::begin(&Entry {
        seq: 1,
        at: Moment(0),
        event,
    })
    .unwrap()
}
