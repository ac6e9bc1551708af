//! A whole deployment in memory: teal's core with nothing around it, each step of it timed by itself.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use teal_core::action::{Action, InstanceAction, PoolAction};
use teal_core::decide::{Decision, decide};
use teal_core::definition::PendingSource;
use teal_core::evidence::Evidence;
use teal_core::journal::{Entry, Event, Outcome, Picture, State};
use teal_core::name::{Address, InstanceId, PoolId, RevisionId, Role};
use teal_core::observation::{
    EndpointSighting, EndpointState, Health, InstanceSighting, Observation, Pending,
    PendingSighting, Phase, PoolSighting, RevisionSighting, Sighting,
};
use teal_core::plan::{BluePlan, GreenPlan, Plan, PoolPlan, Protocol};
use teal_core::settings::Settings;
use teal_core::{Moment, Span};

use super::Case;
use crate::statistics::Sample;

/// How long an instance takes to become healthy, and to be gone.
const SLOWNESS: Span = Span::millis(300);
/// How long a look and what it leads to take.
const LOOK: Span = Span::millis(50);
/// With nothing to do, teal looks this often.
const LOOK_INTERVAL: Span = Span::seconds(1);
/// A deployment that is not over by then never will be.
const LOOKS_MAX: usize = 20_000;

/// What the steps of all looks took, in microseconds of processor time.
#[derive(Debug, Default)]
pub(super) struct Costs {
    pub(super) absorb: Sample,
    pub(super) picture: Sample,
    pub(super) decide: Sample,
    pub(super) fold: Sample,
}

impl Costs {
    /// Returns them for programs.
    pub(super) fn json(&self) -> Value {
        let of = |sample: &Sample| json!({ "median_us": sample.median(), "greatest_us": sample.greatest() });
        json!({
            "absorb": of(&self.absorb), "picture": of(&self.picture), "decide": of(&self.decide),
            "fold": of(&self.fold),
        })
    }
}

struct World {
    plan: Plan,
    state: State,
    evidence: Evidence,
    picture: Option<Picture>,
    now: Moment,
    fleets: BTreeMap<Role, Fleet>,
    pool: BTreeMap<InstanceId, EndpointSighting>,
    launched: usize,
    costs: Costs,
}

#[derive(Default)]
struct Fleet {
    exists: bool,
    wanted: usize,
    instances: BTreeMap<InstanceId, Copy>,
}

/// One instance.
struct Copy {
    address: Address,
    healthy_at: Moment,
    gone_at: Option<Moment>,
}

/// Carries a deployment of this size to its end.
///
/// # Errors
///
/// If it does not complete.
pub(super) fn run(case: &Case, instances: usize) -> anyhow::Result<Costs> {
    let mut world = World::new(case, instances)?;
    for _ in 0..LOOKS_MAX {
        let seen = world.look();
        let (decision, took) = timed(|| decide(&world.plan, &world.state, &seen, seen.at));
        world.costs.decide.push(took);
        match decision {
            Decision::Act(actions) => {
                for action in actions {
                    world.carry_out(&action)?;
                }
            }
            Decision::Wait { until, .. } => {
                world.now = until.min(world.now + LOOK_INTERVAL).max(world.now);
            }
            Decision::Finish(outcome) => {
                ensure!(outcome == Outcome::Completed, "{outcome:?}");
                return Ok(world.costs);
            }
        }
        world.now = world.now + LOOK;
    }
    anyhow::bail!(
        "{} of {instances} did not end in {LOOKS_MAX} looks",
        case.name
    )
}

impl World {
    fn new(case: &Case, count: usize) -> anyhow::Result<Self> {
        let now = Moment(1_700_000_000_000);
        let mut blue = Fleet::default();
        let mut launched = 0;
        blue.exists = true;
        blue.grow(Role::Blue, count, &mut launched, now);
        let ids: BTreeSet<InstanceId> = blue.instances.keys().cloned().collect();
        let pool = blue
            .instances
            .iter()
            .map(|(id, copy)| serving(id, &copy.address))
            .collect();
        let plan = plan(case, count, ids, now)?;
        let entry = Entry {
            seq: 1,
            at: now,
            event: Event::Begun {
                plan: Box::new(plan),
            },
        };
        let (plan, state) = State::begin(&entry)?;
        Ok(Self {
            plan,
            state,
            evidence: Evidence::default(),
            picture: None,
            now: now + SLOWNESS,
            fleets: BTreeMap::from([(Role::Blue, blue), (Role::Green, Fleet::default())]),
            pool,
            launched,
            costs: Costs::default(),
        })
    }

    fn look(&mut self) -> Observation {
        let now = self.now;
        for fleet in self.fleets.values_mut() {
            fleet
                .instances
                .retain(|_, one| one.gone_at.is_none_or(|at| at > now));
        }
        let pools = vec![PoolSighting {
            id: PoolId::from("scale"),
            listen: None,
            endpoints: self.pool.values().cloned().collect(),
            vacancies: None,
        }];
        let seen = self.fleets.iter().filter(|(_, fleet)| fleet.exists);
        let seen = seen.map(|(role, fleet)| (*role, fleet.sighting(*role, now)));
        let leaving = self
            .pool
            .values()
            .filter(|one| one.state == EndpointState::Draining);
        let reading = |one: &EndpointSighting| {
            let reading = PendingSighting {
                at: now,
                reading: Pending::Count(0),
            };
            (one.instance.clone(), reading)
        };
        let sighting = Sighting {
            began: now,
            at: now,
            revisions: Ok(seen.collect()),
            pools: Ok(pools),
            pending: leaving.map(reading).collect(),
        };
        let (seen, took) = timed(|| self.evidence.absorb(&self.plan, sighting));
        self.costs.absorb.push(took);
        let (picture, took) = timed(|| Picture::of(&seen));
        self.costs.picture.push(took);
        self.picture = Some(picture);
        seen
    }

    fn carry_out(&mut self, action: &Action) -> anyhow::Result<()> {
        let intent = self.write(Event::Intended {
            action: action.clone(),
        })?;
        match action {
            Action::Instance(action) => self.instance_action(action),
            Action::Pool(action) => self.pool_action(action),
            Action::Mark(_) => {}
        }
        self.write(Event::Performed { intent })?;
        Ok(())
    }

    fn write(&mut self, event: Event) -> anyhow::Result<u64> {
        let (seq, at) = (self.state.seq + 1, self.now);
        let entry = Entry { seq, at, event };
        let (applied, took) = timed(|| self.state.apply(&entry));
        applied?;
        self.costs.fold.push(took);
        Ok(seq)
    }

    fn instance_action(&mut self, action: &InstanceAction) {
        let (now, launched) = (self.now, &mut self.launched);
        let fleet = self.fleets.entry(action.role()).or_default();
        match action {
            InstanceAction::Create { .. } => fleet.exists = true,
            InstanceAction::Scale {
                role, instances, ..
            } => {
                let count = usize::try_from(*instances).unwrap_or(usize::MAX);
                fleet.grow(*role, count, launched, now);
            }
            InstanceAction::Kill { victims, .. } => {
                for victim in victims {
                    if let Some(one) = fleet.instances.get_mut(&victim.instance) {
                        one.gone_at = Some(now + SLOWNESS);
                        fleet.wanted -= 1;
                    }
                }
            }
            InstanceAction::Remove { .. } => *fleet = Fleet::default(),
        }
    }

    fn pool_action(&mut self, action: &PoolAction) {
        let PoolAction::Change {
            admit,
            withdraw,
            forget,
            ..
        } = action
        else {
            return;
        };
        for member in admit {
            let (id, endpoint) = serving(&member.instance, &member.address);
            self.pool.insert(id, endpoint);
        }
        for id in withdraw {
            if let Some(endpoint) = self.pool.get_mut(id) {
                endpoint.state = EndpointState::Draining;
            }
        }
        for id in forget {
            self.pool.remove(id);
        }
    }
}

impl Fleet {
    fn grow(&mut self, role: Role, count: usize, launched: &mut usize, now: Moment) {
        for _ in self.wanted..count {
            *launched += 1;
            let mixed = launched.wrapping_mul(0x9E37_79B1) & 0xffff_ffff;
            let colour = role.to_string().to_lowercase();
            let id = format!(
                "scale-{colour}.instance-{mixed:08x}-2f0e-11f0-8000-{launched:012x}._app.1"
            );
            let (high, low) = (*launched / 250, *launched % 250);
            let copy = Copy {
                address: Address(format!("10.0.{high}.{low}:31000")),
                healthy_at: now + SLOWNESS,
                gone_at: None,
            };
            self.instances.insert(InstanceId(id), copy);
        }
        self.wanted = count;
    }

    fn sighting(&self, role: Role, now: Moment) -> RevisionSighting {
        let sight = |(id, one): (&InstanceId, &Copy)| {
            let healthy = one.healthy_at <= now;
            InstanceSighting {
                id: id.clone(),
                phase: if one.gone_at.is_some() {
                    Phase::Stopping
                } else {
                    Phase::Running
                },
                current: true,
                health: if healthy {
                    Health::Healthy
                } else {
                    Health::Unknown
                },
                healthy_since: healthy.then_some(one.healthy_at),
                addresses: [one.address.clone()].into(),
            }
        };
        RevisionSighting {
            id: revision(role),
            wanted: u32::try_from(self.wanted).unwrap_or(u32::MAX),
            locked: self
                .instances
                .values()
                .any(|one| one.gone_at.is_some() || one.healthy_at > now),
            checked: true,
            trouble: None,
            instances: self.instances.iter().map(sight).collect(),
        }
    }
}

fn plan(case: &Case, count: usize, ids: BTreeSet<InstanceId>, now: Moment) -> anyhow::Result<Plan> {
    let mut settings = Settings::default();
    for (name, value) in case.settings {
        settings
            .set(name, value, name)
            .map_err(|problem| anyhow::anyhow!("{problem}"))?;
    }
    let count = u32::try_from(count)?;
    let (initial, batch) = (settings.initial(count), settings.batch(count));
    let pending = if case.gauge {
        PendingSource::Prometheus {
            path: "/metrics".to_owned(),
            gauge: "pending".to_owned(),
            port_index: 0,
        }
    } else {
        PendingSource::None
    };
    Ok(Plan {
        deployment: "scale-1".into(),
        service: "scale".into(),
        made_at: now,
        blue: Some(BluePlan {
            revision: revision(Role::Blue),
            definition: json!({}),
            instances: count,
            well: count,
            serving: ids.clone(),
            pending: pending.clone(),
        }),
        green: GreenPlan {
            revision: revision(Role::Green),
            definition: json!({}),
            pending,
        },
        pools: vec![PoolPlan {
            id: "scale".into(),
            port_index: 0,
            listen: None,
            protocol: Protocol::Http,
            existed: true,
        }],
        target: count,
        floor: count,
        room: count + initial.max(batch),
        initial,
        batch,
        atomic_change: true,
        settings,
        dead: BTreeSet::new(),
        pooled: ids,
        notes: Vec::new(),
    })
}

fn revision(role: Role) -> RevisionId {
    RevisionId(format!("/scale-{}", role.to_string().to_lowercase()))
}

fn serving(id: &InstanceId, address: &Address) -> (InstanceId, EndpointSighting) {
    let endpoint = EndpointSighting {
        instance: id.clone(),
        address: address.clone(),
        state: EndpointState::Serving,
        in_flight: Some(0),
    };
    (id.clone(), endpoint)
}

/// Returns how many microseconds of processor time something took, besides what it returns.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let before = spent_us();
    let result = work();
    (result, spent_us() - before)
}

fn spent_us() -> f64 {
    // Linux has had this clock since 2.6.12.
    let spent = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    spent.map_or(f64::NAN, |spent| {
        std::time::Duration::from(spent).as_secs_f64() * 1e6
    })
}
