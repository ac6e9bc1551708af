//! Definition + first look → plan, or everything that stands in the way.

use super::refuse;
use super::{BluePlan, GreenPlan, Plan, PoolPlan, Protocol};
use crate::definition::{self, Definition, PendingSource};
use crate::name::{DeploymentId, InstanceId, PoolId, RevisionId, Role, ServiceName};
use crate::observation::{Health, InstanceSighting, Phase, PoolSighting, RevisionSighting};
use crate::problem::Problem;
use crate::settings::{Settings, Size, Strategy};
use crate::time::Moment;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// A revision that exists.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What it runs, as it could be created again: nothing read-only in it.
    pub definition: Map<String, Value>,
    /// How it is doing.
    pub sighting: RevisionSighting,
}

/// A pool that exists.
pub type FoundPool = PoolSighting;

/// Everything a plan is made from.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// What is to run.
    pub definition: &'a Definition,
    /// How to go about it.
    pub settings: &'a Settings,
    /// An id for this revision, appended to the app's id.
    pub revision: Option<&'a str>,
    /// The revision to replace, where the service does not tell.
    pub replace: Option<&'a RevisionId>,
    /// Every revision that exists.
    pub found: &'a [Found],
    /// Every pool that exists.
    pub pools: &'a [FoundPool],
    /// What the balancer can do.
    pub balancer: BalancerAbilities,
    /// The deployment's id.
    pub deployment: DeploymentId,
    /// The time.
    pub now: Moment,
}

/// What a balancer can do. What a plan needs and it cannot is an error when the plan is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalancerAbilities {
    /// It tells how many requests are under way per endpoint.
    pub in_flight: bool,
    /// It admits and withdraws in one step.
    pub atomic_change: bool,
    /// It can open a pool and listen for it.
    pub listens: bool,
    /// It can serve raw TCP.
    pub tcp: bool,
}

/// What is written on GREEN, so that another machine can go on with the deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Carried {
    made_at: Moment,
    blue_instances: u32,
    /// How many of them a rollback owes. The pool does not tell any more once the deployment is under way.
    #[serde(default)]
    blue_owed: Option<u32>,
    target: u32,
    floor: u32,
    room: u32,
    initial: u32,
    batch: u32,
    settings: Settings,
    pools: Vec<PoolPlan>,
}

/// Makes the plan. None: the very same revision is the only one running, so there is nothing to do.
///
/// # Errors
/// Everything that stands in the way, at once.
pub fn make(request: &Request<'_>) -> Result<Option<Plan>, Vec<Problem>> {
    let mut problems = Vec::new();
    let definition = request.definition;
    let green_id = green_id(request, &mut problems);
    let digest = digest(&definition.body);
    let of_service: Vec<&Found> = request
        .found
        .iter()
        .filter(|f| belongs(f, &definition.service))
        .collect();
    if is_there_already(&of_service, &green_id, &digest) {
        return Ok(None);
    }
    refuse::existing(request.found, &green_id, &mut problems);
    let blue = blue(request, &of_service, &green_id, &mut problems);
    let pools = pools(request);
    refuse::moving(request, &pools, &mut problems);
    refuse::other_traffic(request, blue, &pools, &mut problems);
    refuse::the_impossible(request.balancer, &pools, &mut problems);
    let numbers = Numbers::work_out(request, blue, &mut problems);
    refuse::too_many(request.pools, &pools, numbers.at_once(blue), &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut plan = Plan {
        deployment: request.deployment.clone(),
        service: definition.service.clone(),
        made_at: request.now,
        blue: blue.map(|blue| blue_plan(request, blue, &pools)),
        green: GreenPlan {
            revision: green_id,
            definition: Value::Null,
            pending: definition
                .labels
                .pending
                .clone()
                .unwrap_or(PendingSource::None),
        },
        pools,
        target: numbers.target,
        floor: numbers.floor,
        room: numbers.room,
        initial: numbers.initial,
        batch: numbers.batch,
        atomic_change: request.balancer.atomic_change,
        settings: request.settings.clone(),
        dead: dead(request),
        pooled: pooled(request, blue),
        notes: notes(request, blue),
    };
    plan.green.definition = green_definition(&plan, definition, &digest);
    Ok(Some(plan))
}

impl Plan {
    /// Returns the plan of an unfinished deployment from what GREEN carries; None when it carries none.
    #[must_use]
    pub fn carried(
        green: &Found,
        found: &[Found],
        pools: &[FoundPool],
        balancer: BalancerAbilities,
    ) -> Option<Self> {
        let definition = Definition::of_running(&green.definition);
        let carried: Carried = serde_json::from_str(definition.labels.plan.as_deref()?).ok()?;
        let blue = definition.labels.replaces.as_ref();
        let blue = blue.and_then(|id| found.iter().find(|found| found.sighting.id == *id));
        let request = Request {
            definition: &definition,
            settings: &carried.settings,
            revision: None,
            replace: None,
            found,
            pools,
            balancer,
            deployment: definition.labels.deployment.clone()?,
            now: carried.made_at,
        };
        let mut pooled = pooled(&request, blue.into_iter().chain([green]));
        // The balancer may have forgotten its pool. A GREEN that could have served is taken for one that did.
        pooled.extend(healthy(green));
        let blue = blue.map(|blue| {
            let instances = carried.blue_instances;
            let well = carried.blue_owed.unwrap_or(instances);
            BluePlan {
                instances,
                well,
                ..blue_plan(&request, blue, &carried.pools)
            }
        });
        Some(Self {
            deployment: request.deployment.clone(),
            service: definition.service.clone(),
            made_at: carried.made_at,
            blue,
            green: GreenPlan {
                revision: green.sighting.id.clone(),
                definition: Value::Object(green.definition.clone()),
                pending: definition
                    .labels
                    .pending
                    .clone()
                    .unwrap_or(PendingSource::None),
            },
            pools: carried.pools,
            target: carried.target,
            floor: carried.floor,
            room: carried.room,
            initial: carried.initial,
            batch: carried.batch,
            atomic_change: balancer.atomic_change,
            settings: carried.settings.clone(),
            dead: dead(&request),
            pooled,
            notes: vec!["continued from what GREEN's labels carry".to_owned()],
        })
    }
}

/// The numbers of a plan.
#[derive(Debug, Default)]
struct Numbers {
    target: u32,
    floor: u32,
    room: u32,
    initial: u32,
    batch: u32,
}

impl Numbers {
    /// How many instances may be in a pool at once.
    fn at_once(&self, blue: Option<&Found>) -> u32 {
        if blue.is_some() {
            self.room
        } else {
            self.target
        }
    }

    fn work_out(request: &Request<'_>, blue: Option<&Found>, problems: &mut Vec<Problem>) -> Self {
        let settings = request.settings;
        let asked = request.definition.instances;
        let wanted = blue.map_or(0, |blue| blue.sighting.wanted);
        let target = match settings.size {
            Size::Exactly(count) => count,
            Size::Live if wanted > 0 => wanted,
            Size::Live | Size::Definition => asked,
        };
        if target == 0 {
            problems.push(
                Problem::new("instances", "there would be no GREEN instance in the end")
                    .hint("give `instances` in the definition, or --size with a number above 0"),
            );
        }
        let live = blue.map_or(0, well);
        let floor = settings.floor.unwrap_or_else(|| live.min(target));
        if floor > target {
            let what =
                format!("the floor of {floor} can never be kept by {target} GREEN instance(s)");
            problems.push(Problem::new("floor", what).hint("lower --floor or raise --size"));
        }
        let (initial, batch) = (settings.initial(target), settings.batch(target.max(live)));
        let surge = match (settings.surge, settings.strategy) {
            (Some(surge), _) => surge.of(target),
            (None, Strategy::Rolling) => initial.max(batch),
            (None, Strategy::Switch) => target,
        };
        if surge < initial && blue.is_some() {
            let what = format!(
                "{initial} GREEN instance(s) are to start at first, and there is room for {surge}"
            );
            problems.push(Problem::new("surge", what).hint("raise --surge or lower --initial"));
        }
        Self {
            target,
            floor,
            room: wanted.max(target).saturating_add(surge),
            initial,
            batch,
        }
    }
}

/// How many instances run and are not known to be sick.
fn well(found: &Found) -> u32 {
    let well =
        |one: &&InstanceSighting| one.phase == Phase::Running && one.health != Health::Unhealthy;
    u32::try_from(found.sighting.instances.iter().filter(well).count()).unwrap_or(u32::MAX)
}

fn belongs(found: &Found, service: &ServiceName) -> bool {
    Definition::of_running(&found.definition).service == *service
}

fn green_id(request: &Request<'_>, problems: &mut Vec<Problem>) -> RevisionId {
    let id = &request.definition.id;
    let Some(revision) = request.revision else {
        return id.clone();
    };
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    if revision.is_empty() || !revision.bytes().all(fine) || revision.ends_with(['-', '.']) {
        problems.push(
            Problem::new(
                "--revision",
                format!("`{revision}` cannot be part of an app id"),
            )
            .hint("use lower-case letters, digits and dashes, such as a short git commit id"),
        );
    }
    RevisionId(format!("{id}-{revision}"))
}

/// Returns what tells two definitions of one revision id apart: FNV-1a over the definition as text, its keys in order.
fn digest(body: &Map<String, Value>) -> String {
    let text = canonical(&Value::Object(body.clone()));
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Returns JSON whose text does not depend on the order in which keys were written.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key:?}:{}", canonical(value)))
                .collect();
            pairs.sort();
            format!("{{{}}}", pairs.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

fn label<'a>(found: &'a Found, name: &str) -> Option<&'a str> {
    found.definition.get("labels")?.get(name)?.as_str()
}

/// When the deployment was planned that created this, if teal did.
fn made_at(found: &Found) -> Option<Moment> {
    let carried: Carried = serde_json::from_str(label(found, definition::PLAN)?).ok()?;
    Some(carried.made_at)
}

fn is_there_already(of_service: &[&Found], green: &RevisionId, digest: &str) -> bool {
    match of_service {
        [only] => {
            only.sighting.id == *green
                && only.sighting.wanted > 0
                && label(only, definition::DIGEST) == Some(digest)
        }
        _ => false,
    }
}

fn blue<'a>(
    request: &Request<'a>,
    of_service: &[&'a Found],
    green: &RevisionId,
    problems: &mut Vec<Problem>,
) -> Option<&'a Found> {
    let others: Vec<&&Found> = of_service
        .iter()
        .filter(|found| found.sighting.id != *green)
        .collect();
    let replaces = |newer: &Found, older: &Found| {
        label(newer, definition::REPLACES) == Some(older.sighting.id.as_str())
            && made_at(newer) > made_at(older)
    };
    let unfinished = others.iter().find_map(|newer| {
        others
            .iter()
            .find(|older| replaces(newer, older))
            .map(|older| (newer, older))
    });
    if let Some((newer, older)) = unfinished {
        let service = &request.definition.service;
        let what = format!(
            "an unfinished deployment replaces {} by {}",
            older.sighting.id, newer.sighting.id
        );
        problems.push(Problem::new("", what).hint(format!(
            "`teal resume {service}` goes on with it, `teal rollback {service}` undoes it"
        )));
        return None;
    }
    if let Some(replace) = request.replace {
        let found = request
            .found
            .iter()
            .find(|found| found.sighting.id == *replace);
        if found.is_none() {
            problems.push(
                Problem::new("--replace", format!("there is no `{replace}`"))
                    .hint("`teal app list` shows what runs"),
            );
        }
        return found;
    }
    match others[..] {
        [] => None,
        [only] => Some(only),
        _ => {
            let ids: Vec<_> = others
                .iter()
                .map(|found| found.sighting.id.as_str())
                .collect();
            let what = format!(
                "several revisions of `{}` run: {}",
                request.definition.service,
                ids.join(", ")
            );
            problems.push(
                Problem::new("--replace", what)
                    .hint("say which one is to be replaced: --replace ID"),
            );
            None
        }
    }
}

fn blue_plan(request: &Request<'_>, blue: &Found, pools: &[PoolPlan]) -> BluePlan {
    let mut serving = BTreeSet::new();
    for pool in request
        .pools
        .iter()
        .filter(|pool| pools.iter().any(|plan| plan.id == pool.id))
    {
        let endpoints = pool.endpoints.iter().filter(|e| e.state.gets_requests());
        let ids = endpoints.map(|endpoint| endpoint.instance.clone());
        serving.extend(ids.filter(|id| blue.sighting.instances.iter().any(|one| one.id == *id)));
    }
    let own = Definition::of_running(&blue.definition).labels.pending;
    BluePlan {
        revision: blue.sighting.id.clone(),
        definition: Value::Object(blue.definition.clone()),
        instances: blue.sighting.wanted,
        well: if serving.is_empty() { 0 } else { well(blue) },
        serving,
        pending: own
            .or_else(|| request.definition.labels.pending.clone())
            .unwrap_or(PendingSource::None),
    }
}

/// One pool for port index 0, and one for every other port that a label gives a place to listen.
fn pools(request: &Request<'_>) -> Vec<PoolPlan> {
    let definition = request.definition;
    let mut plans = Vec::new();
    for (index, service_port) in definition.service_ports.iter().enumerate() {
        let labels = definition
            .labels
            .pools
            .get(&index)
            .cloned()
            .unwrap_or_default();
        if index > 0 && labels.listen.is_none() && labels.backend.is_none() {
            continue;
        }
        let exists = |id: &PoolId| request.pools.iter().any(|pool| pool.id == *id);
        let ids = definition.pool_ids_of(index);
        let existing = ids.iter().find(|id| exists(id));
        let Some(id) = existing.or(ids.first()).cloned() else {
            continue;
        };
        let existed = existing.is_some();
        let own_port = (*service_port != 0).then(|| format!("127.0.0.1:{service_port}"));
        let listen = labels.listen.or(if existed { None } else { own_port });
        let protocol = labels.protocol.unwrap_or(Protocol::Http);
        plans.push(PoolPlan {
            id,
            port_index: index,
            listen,
            protocol,
            existed,
        });
    }
    plans
}

/// Pool entries whose instance no revision has.
fn dead(request: &Request<'_>) -> BTreeSet<InstanceId> {
    let alive = |id: &InstanceId| {
        let mut all = request
            .found
            .iter()
            .flat_map(|found| &found.sighting.instances);
        all.any(|one| one.id == *id)
    };
    let endpoints = request.pools.iter().flat_map(|pool| &pool.endpoints);
    endpoints
        .map(|endpoint| endpoint.instance.clone())
        .filter(|id| !alive(id))
        .collect()
}

/// Returns the instances that run and are healthy.
fn healthy(found: &Found) -> impl Iterator<Item = InstanceId> {
    let all = found.sighting.instances.iter();
    all.filter(|one| one.phase == Phase::Running && one.health == Health::Healthy)
        .map(|one| one.id.clone())
}

/// Returns the instances of these revisions that a pool lists, in whatever state.
fn pooled<'a>(
    request: &Request<'_>,
    revisions: impl IntoIterator<Item = &'a Found>,
) -> BTreeSet<InstanceId> {
    let endpoints = request.pools.iter().flat_map(|pool| &pool.endpoints);
    let listed: BTreeSet<&InstanceId> = endpoints.map(|endpoint| &endpoint.instance).collect();
    let instances = revisions.into_iter().flat_map(|it| &it.sighting.instances);
    instances
        .map(|one| one.id.clone())
        .filter(|id| listed.contains(id))
        .collect()
}

fn notes(request: &Request<'_>, blue: Option<&Found>) -> Vec<String> {
    let mut notes = Vec::new();
    if request.definition.labels.pending == Some(PendingSource::None) {
        notes.push("pending: none. Only in-flight requests are watched; work the app does behind an answer is not protected".to_owned());
    }
    if request.definition.health_checks == 0 {
        notes.push("no health check: running for min_healthy_time is taken as healthy".to_owned());
    }
    let strangers: Vec<String> = dead(request).iter().map(ToString::to_string).collect();
    if !strangers.is_empty() {
        notes.push(format!(
            "the pool has endpoints that are no instances of anything that runs; they leave it: {}",
            strangers.join(", ")
        ));
    }
    let Some(blue) = blue else {
        notes.push("nothing runs for this service yet: this is its first deployment".to_owned());
        return notes;
    };
    if Definition::of_running(&blue.definition)
        .labels
        .pending
        .is_none()
    {
        notes.push(format!(
            "{} says nothing of its gauge: GREEN's is asked",
            blue.sighting.id
        ));
    }
    notes
}

fn green_definition(plan: &Plan, definition: &Definition, digest: &str) -> Value {
    let carried = Carried {
        made_at: plan.made_at,
        blue_instances: plan.blue.as_ref().map_or(0, |blue| blue.instances),
        blue_owed: Some(plan.owed(Role::Blue)),
        target: plan.target,
        floor: plan.floor,
        room: plan.room,
        initial: plan.initial,
        batch: plan.batch,
        settings: plan.settings.clone(),
        pools: plan.pools.clone(),
    };
    let mut body = definition.body.clone();
    body.insert("id".to_owned(), json!(plan.green.revision));
    body.insert("instances".to_owned(), json!(0));
    let labels = body.entry("labels").or_insert_with(|| json!({}));
    if let Some(labels) = labels.as_object_mut() {
        labels.insert(definition::SERVICE.to_owned(), json!(plan.service));
        labels.insert(definition::DEPLOYMENT.to_owned(), json!(plan.deployment));
        labels.insert(definition::DIGEST.to_owned(), json!(digest));
        labels.insert(
            definition::PLAN.to_owned(),
            json!(json!(carried).to_string()),
        );
        labels.remove(definition::REPLACES);
        if let Some(blue) = &plan.blue {
            labels.insert(definition::REPLACES.to_owned(), json!(blue.revision));
        }
    }
    Value::Object(body)
}
