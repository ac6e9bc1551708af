//! One play of a scenario: a world that lives on its own, and deployers that follow one another.

use super::super::*;
use super::death::{Death, Fate, Mortal, Times, cuts, until_death};
use super::scenario::{Kind, Scenario, What};
use crate::commands::drive::{self, Wish};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use teal_core::definition::Definition;
use teal_core::journal::Command;
use teal_core::name::{DeploymentId, InstanceId, PoolId, RevisionId, Role};
use teal_core::observation::{EndpointState, Health, Pending, Phase, Traffic};
use teal_core::settings::Settings;
use teal_drivers::directory::Directory;
use teal_drivers::fake::World;

const BLUE: &str = "/oinker-a";
const GREEN: &str = "/oinker-b";
const POOL: &str = "oinker";
/// 2026-01-01.
const BEGINNING: Moment = Moment(1_767_225_600_000);
const SETTINGS: [(&str, &str); 5] = [
    ("min_healthy_time", "1s"),
    ("healthy_deadline", "30s"),
    ("drain_interval", "500ms"),
    ("drain_deadline", "20s"),
    ("batch", "1"),
];
/// Instances start and stop within two of these, and requests end.
const TICK: Span = Span::millis(700);
/// How many requests an instance that serves has under way.
const REQUESTS: u64 = 2;
/// What has not ended after so long never will: more than all deadlines together.
const TOO_LONG: Span = Span::minutes(60);
/// How long the world goes on after the end, so that what is still on its way comes to light.
const AFTERMATH: Span = Span::seconds(10);
/// For how long nobody is there after a death: no time, a moment, longer than every deadline.
const AWAY: [Span; 3] = [Span::ZERO, Span::seconds(2), Span::minutes(15)];

/// What befalls the deployers of one play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Course {
    pub(super) deaths: Vec<Death>,
    pub(super) times: Times,
}

/// How things are in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) outcome: Option<Outcome>,
    /// For each revision that exists: instances wanted, that exist, and that are healthy.
    revisions: BTreeMap<RevisionId, (u32, usize, usize)>,
    /// For each pool that exists: instances that serve, by revision, and what else it lists.
    pools: BTreeMap<PoolId, (BTreeMap<String, usize>, usize)>,
    /// What was stopped though it was at work.
    pub(super) harm: Vec<String>,
    /// By how much the healthy, serving instances fell below the floor.
    pub(super) below_floor: usize,
    /// Letters that nobody took.
    letters: usize,
}

impl Ending {
    pub(super) fn kind(&self) -> Option<Kind> {
        match self.outcome {
            Some(Outcome::Completed) => Some(Kind::Completed),
            Some(Outcome::RolledBack { .. }) => Some(Kind::RolledBack),
            Some(Outcome::Stuck { .. }) | None => None,
        }
    }
}

/// What came of a play.
#[derive(Debug)]
pub(super) struct Play {
    pub(super) ending: Ending,
    pub(super) deaths: usize,
    pub(super) deeds_left: usize,
}

/// The entries of a journal as they were handed to be written.
pub(super) type Heard = Arc<Mutex<Vec<Entry>>>;

/// Plays a scenario on this thread.
pub(super) fn play(scenario: &Scenario, course: &Course, heard: &Heard) -> Play {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async { Stage::set(scenario, heard).await.play(course).await })
}

struct Stage<'a> {
    scenario: &'a Scenario,
    heard: Heard,
    world: World,
    store: Store,
    plan: Plan,
    script: Script<'a>,
    /// The fold of so many entries, made as they came.
    folded: Option<(usize, State)>,
    _folder: tempfile::TempDir,
}

impl<'a> Stage<'a> {
    async fn set(scenario: &'a Scenario, heard: &Heard) -> Self {
        teal_drivers::clock::go_with_tokio(BEGINNING);
        let world = World::new();
        world.set_birth_of(&RevisionId::from(GREEN), scenario.green);
        if scenario.blue > 0 {
            let body = json!({"id": BLUE, "cmd": "run a", "healthChecks": [{"protocol": "TCP"}],
                "labels": {"TEAL_SERVICE": POOL}});
            let ids = world.grow(&RevisionId::from(BLUE), &body, scenario.blue);
            world.serve(&PoolId::from(POOL), &ids);
            world.set_pending(&ids[0], Pending::Count(scenario.pending));
        }
        tokio::spawn(live(world.clone()));
        world.reset_marks();
        let plan = plan(&world, scenario).await;
        // Every intent is synced, thousands of times: where there is a file system in memory, no disk has to do it.
        let memory = std::path::Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let folder = folder.unwrap();
        Self {
            script: Script::new(scenario),
            folded: None,
            store: Store::open(folder.path()).unwrap(),
            heard: Arc::clone(heard),
            scenario,
            world,
            plan,
            _folder: folder,
        }
    }

    async fn play(mut self, course: &Course) -> Play {
        let mut deaths = 0;
        let mut end = None;
        for death in course.deaths.iter().copied().map(Some).chain([None]) {
            let is_first = deaths == 0;
            let process = self.process(is_first, Fate::new(death, course.times));
            let life = until_death(Box::pin(tokio::time::timeout(TOO_LONG.duration(), process)));
            match life.await {
                Some(lived) => {
                    end = lived.ok();
                    break;
                }
                None => self.bury(death),
            }
            self.stay_away().await;
            deaths += 1;
        }
        self.check_journal();
        tokio::time::sleep(AFTERMATH.duration()).await;
        Play {
            ending: self.ending(end),
            deaths,
            deeds_left: self.scenario.deeds.len() - self.script.done,
        }
    }

    /// Nobody is there. What the world still has to do it does soon, and then nothing happens for as long as it takes.
    async fn stay_away(&self) {
        let entries = self.heard.lock().unwrap().len();
        let away = AWAY[entries % AWAY.len()];
        let eventful = away.min(AFTERMATH);
        tokio::time::sleep(eventful.duration()).await;
        tokio::time::advance(Span(away.0 - eventful.0).duration()).await;
    }

    /// A line that was cut is an entry that was not written, wherever it was cut.
    fn bury(&mut self, death: Option<Death>) {
        let Some(Death::Torn(entry)) = death else {
            return;
        };
        let mut heard = self.heard.lock().unwrap();
        heard.pop();
        let path = self.store.journal(&self.plan.deployment);
        let whole = std::fs::read(&path).unwrap();
        let mut cuts = cuts(&whole, entry);
        // All read alike, so it is enough that one of them is gone on with.
        cuts.rotate_left(heard.len() % 3);
        for cut in cuts {
            std::fs::write(&path, cut).unwrap();
            assert_eq!(crate::journal_file::read(&path).unwrap(), *heard);
        }
    }

    /// What `teal deploy` does, and after it `teal resume`.
    async fn process(&mut self, is_first: bool, fate: Arc<Fate>) -> End {
        let path = self.store.journal(&self.plan.deployment);
        let mut witness = Witness {
            heard: Arc::clone(&self.heard),
            fate: Arc::clone(&fate),
            world: self.world.clone(),
            store: self.store.clone(),
            script: &mut self.script,
            folded: &mut self.folded,
        };
        let journal = if is_first {
            let journal = JournalFile::create(&path, &self.plan, crate::clock::now()).unwrap();
            witness.entry(&journal.entries[0]);
            journal
        } else {
            let past = self.store.find(&self.plan.deployment).unwrap();
            if !past.is_open() {
                return End::Outcome(past.state.outcome.unwrap());
            }
            let mut journal = JournalFile::open(&path).unwrap();
            let by = "test:1".to_owned();
            let asked = Event::Asked {
                command: Command::Resume,
                letter: None,
            };
            for event in [Event::Resumed { by }, asked] {
                journal.write(crate::clock::now(), event).unwrap();
                witness.entry(journal.entries.last().unwrap());
            }
            journal
        };
        let mortal = || {
            Arc::new(Mortal {
                inner: self.world.clone(),
                fate: Arc::clone(&fate),
                journal: path.clone(),
            })
        };
        let systems = Systems {
            orchestrator: mortal(),
            balancer: mortal(),
            gauges: Arc::new(self.world.clone()),
            directory: Directory::new(),
        };
        let lock = self.store.lock(&self.plan.service, &self.plan.deployment);
        let (store, never) = (self.store.clone(), Interrupt::never());
        let mut runner = Runner::new(store, journal, systems, never, lock.unwrap()).unwrap();
        runner.run(&mut witness).await.unwrap()
    }

    /// The journal reads as it was written (what its prefixes fold to is seen at every look, after every death), and no
    /// letter was taken twice.
    fn check_journal(&self) {
        let heard = self.heard.lock().unwrap();
        let path = self.store.journal(&self.plan.deployment);
        assert_eq!(crate::journal_file::read(&path).unwrap(), *heard);
        let mut letters = BTreeSet::new();
        for entry in heard.iter() {
            if let Event::Asked {
                letter: Some(letter),
                ..
            } = &entry.event
            {
                assert!(
                    letters.insert(letter.clone()),
                    "letter {letter} counts once"
                );
            }
        }
    }

    fn ending(&self, end: Option<End>) -> Ending {
        let outcome = match end {
            Some(End::Outcome(outcome)) => Some(outcome),
            Some(End::Interrupted) | None => None,
        };
        let ids = self.world.revisions();
        let revisions = ids.iter().filter_map(|id| self.world.revision(id));
        let counts = revisions.map(|it| {
            let well = it
                .instances
                .iter()
                .filter(|one| one.health == Health::Healthy);
            (it.id.clone(), (it.wanted, it.instances.len(), well.count()))
        });
        let ids = self.world.pools();
        let pools = ids.iter().filter_map(|id| self.world.pool(id)).map(|pool| {
            let mut serving = BTreeMap::new();
            for id in self.world.serving(&pool.id) {
                let name = id.as_str().split('.').next().unwrap().to_owned();
                *serving.entry(name).or_insert(0) += 1;
            }
            let others = pool.endpoints.len() - serving.values().sum::<usize>();
            (pool.id, (serving, others))
        });
        let floor = self.plan.floor(Role::Green) as usize;
        // What ends by itself is not teal's doing.
        let least = self.world.least_serving(&PoolId::from(POOL)) + self.script.crashed;
        let mut harm = self.world.harm();
        harm.sort();
        Ending {
            outcome,
            revisions: counts.collect(),
            pools: pools.collect(),
            harm,
            below_floor: floor.saturating_sub(least),
            letters: self.store.letters(&self.plan.deployment).len(),
        }
    }
}

async fn plan(world: &World, scenario: &Scenario) -> Plan {
    let mut settings = Settings::default();
    for (name, value) in SETTINGS.iter().chain(scenario.settings) {
        settings.set(name, value, "the scenario").unwrap();
    }
    let text = json!({"id": "/oinker", "cmd": "run b", "instances": scenario.blue.max(2),
        "portDefinitions": [{"port": 10_080}], "healthChecks": [{"protocol": "TCP"}],
        "labels": {"TEAL_PENDING_PATH": "/metrics", "TEAL_PENDING_GAUGE": "pending"}});
    let (definition, settings) = Definition::resolve(&text.to_string(), &settings, &[]).unwrap();
    let wish = Wish {
        definition: &definition,
        settings: &settings,
        revision: Some("b"),
        replace: None,
    };
    let systems = Systems {
        orchestrator: Arc::new(world.clone()),
        balancer: Arc::new(world.clone()),
        gauges: Arc::new(world.clone()),
        directory: Directory::new(),
    };
    let made = drive::make_plan(&systems, &wish, DeploymentId::from("d1")).await;
    made.unwrap().unwrap()
}

/// What happens in the world by itself, whether or not a deployer is there.
async fn live(world: World) {
    let mut before = BTreeMap::new();
    loop {
        tokio::time::sleep(TICK.duration()).await;
        let ids = world.revisions();
        let all: Vec<_> = ids
            .iter()
            .filter_map(|id| world.revision(id))
            .flat_map(|it| it.instances)
            .collect();
        let moving = all
            .iter()
            .filter(|one| matches!(one.phase, Phase::Starting | Phase::Stopping));
        let moving: BTreeMap<_, _> = moving.map(|one| (one.id.clone(), one.phase)).collect();
        let still = moving
            .iter()
            .filter(|(id, phase)| before.get(*id) == Some(*phase));
        for (id, phase) in still {
            match phase {
                Phase::Starting => world.turn_healthy(id),
                Phase::Stopping => world.finish_stopping(),
                Phase::Running | Phase::Unreachable => {}
            }
        }
        before = moving;
        for pool in world.pools().iter().filter_map(|id| world.pool(id)) {
            for endpoint in pool.endpoints {
                let is_there = all.iter().any(|one| one.id == endpoint.instance);
                let before = endpoint.in_flight.unwrap_or(0);
                let count = match endpoint.state {
                    EndpointState::Serving | EndpointState::Partly if is_there => REQUESTS,
                    EndpointState::Serving | EndpointState::Partly | EndpointState::Draining => {
                        before.saturating_sub(1)
                    }
                };
                if count != before {
                    world.set_in_flight(&endpoint.instance, count);
                }
            }
        }
    }
}

/// What people do, each deed once. A deed that was due before a death is done after it.
struct Script<'a> {
    scenario: &'a Scenario,
    done: usize,
    since: Option<Moment>,
    crashed: usize,
    first_blue: InstanceId,
}

impl<'a> Script<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        Self {
            scenario,
            done: 0,
            since: None,
            crashed: 0,
            first_blue: InstanceId::from("oinker-a.000001"),
        }
    }

    fn play(&mut self, scene: &Scene<'_>, world: &World, store: &Store) {
        let Some(deed) = self.scenario.deeds.get(self.done) else {
            return;
        };
        if !(deed.when)(scene) {
            self.since = None;
            return;
        }
        let since = *self.since.get_or_insert(scene.now);
        if scene.now.since(since) < deed.lasting {
            return;
        }
        self.done += 1;
        self.since = None;
        match &deed.what {
            What::Ask(command) => drop(store.post(&scene.plan.deployment, command).unwrap()),
            What::Finish => world.set_pending(&self.first_blue, Pending::Count(0)),
            What::Crash => {
                let mut blue = scene.seen.instances(Role::Blue);
                let serving = blue.find(|one| one.traffic == Traffic::Serving).unwrap();
                self.crashed += 1;
                world.crash(&serving.id);
            }
        }
    }
}

/// Hears what a process tells, and lets it die when it is time.
struct Witness<'a, 'b> {
    heard: Heard,
    fate: Arc<Fate>,
    world: World,
    store: Store,
    script: &'a mut Script<'b>,
    /// Of how many entries this is the fold.
    folded: &'a mut Option<(usize, State)>,
}

impl Audience for Witness<'_, '_> {
    fn entry(&mut self, entry: &Entry) {
        self.heard.lock().unwrap().push(entry.clone());
        self.fate.written();
    }

    /// The state that decisions are made on is the one that the entries led to, told to whichever process.
    fn scene(&mut self, scene: &Scene<'_>) {
        let heard = self.heard.lock().unwrap();
        let (count, state) = self
            .folded
            .get_or_insert_with(|| (1, State::begin(&heard[0]).unwrap().1));
        for entry in &heard[*count..] {
            state.apply(entry).unwrap();
            *count += 1;
        }
        assert_eq!(state, scene.state);
        drop(heard);
        self.script.play(scene, &self.world, &self.store);
    }
}
