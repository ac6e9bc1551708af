//! The world on its own: time and processes are what the test says they are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Accepted, Effect, Embeds, Force, Found, LAUNCHES_AT_ONCE, ProbeOrder, Setting, Subject, Target,
    World,
};
use crate::CpuLimit;
use crate::fixtures::definition_of;
use crate::identity::{AppId, TaskId};
use crate::model::{Addresses, TaskEnd};
use crate::probe::Answer;
use crate::refusal::Refusal;
use crate::run::Fate;
use crate::time::Moment;

#[test]
fn nothing_wakes_an_engine_without_work() {
    let mut stage = Stage::new();
    stage.create(json!({ "id": "a", "cmd": "sleep 1", "instances": 3 }));
    stage.start_all();

    assert_eq!(stage.world.next_deadline(stage.now.instant), None);
}

#[test]
fn reconciling_again_changes_nothing() {
    let mut stage = Stage::new();
    stage.create(json!({ "id": "a", "cmd": "sleep 1", "instances": 3 }));

    stage.world.reconcile(stage.now);

    assert!(stage.world.take_effects().is_empty());
}

#[test]
fn only_so_many_tasks_start_at_the_same_time() {
    let mut stage = Stage::new();
    stage.create(json!({ "id": "a", "cmd": "sleep 1", "instances": LAUNCHES_AT_ONCE + 1 }));
    let at_first = stage.launched.len();

    stage.start_all();

    assert_eq!(at_first, LAUNCHES_AT_ONCE);
    assert_eq!(stage.running.len(), LAUNCHES_AT_ONCE + 1);
}

#[test]
fn without_a_container_daemon_an_app_that_has_an_image_already_can_still_be_changed() {
    let image = |instances: u32| {
        json!({
            "id": "a", "instances": instances,
            "container": { "type": "DOCKER", "docker": { "image": "i" } },
        })
    };
    let mut stage = Stage::new();
    stage.create(image(0));
    stage.world.setting.container_obstacle = Box::new(|| Some("no daemon".to_owned()));

    let mut other = image(0);
    other["id"] = json!("b");

    let one_more = Target::Define(Box::new(definition_of(image(1))));
    let scaled = stage.deploy(&AppId::from_text("a"), one_more);
    let created = stage.change(|world, now| world.create(definition_of(other), Force::No, now));

    assert!(scaled.is_ok(), "{scaled:?}");
    assert!(matches!(created, Err(Refusal::Invalid(_))), "{created:?}");
}

#[test]
fn tasks_of_one_machine_get_different_ports() {
    let mut stage = Stage::new();
    stage.create(json!({ "id": "a", "cmd": "sleep 1", "instances": 2, "ports": [0, 0] }));
    stage.create(json!({ "id": "b", "cmd": "sleep 1", "instances": 1 }));

    let tasks = stage.world.all_tasks(&[]);

    let ports: BTreeSet<u64> = (0..3)
        .flat_map(|at| tasks[at]["ports"].as_array().cloned().unwrap_or_default())
        .filter_map(|port| port.as_u64())
        .collect();
    assert_eq!(ports.len(), 5);
}

#[test]
fn a_world_that_was_stored_is_restored_as_it_was() {
    let mut stage = Stage::new();
    stage.create(
        json!({ "id": "/shop/cart", "cmd": "sleep 1", "instances": 2, "healthChecks": [{}],
        "backoffSeconds": 30, "labels": { "tier": "front" } }),
    );
    let tasks = stage.start_all();
    stage.probe(&tasks[0], Answer::Connected);
    stage.end(&tasks[1], &TaskEnd::Failed("it broke".to_owned()));
    stage.scale_by_force("/shop/cart", 3);
    let stored = stage.world.stored();

    let restored = World::restored(setting(), stored.clone(), stage.now);

    let restored = restored.expect("it is whole");
    assert_eq!(restored.stored(), stored);
    let app = AppId::from_text("/shop/cart");
    let embeds = Embeds {
        tasks: true,
        ..Embeds::default()
    };
    assert_eq!(
        restored.app_json(&app, embeds, stage.now),
        stage.world.app_json(&app, embeds, stage.now)
    );
    let root = AppId::root();
    assert_eq!(
        restored
            .group_versions(&root)
            .map(|versions| versions.len()),
        Ok(3)
    );
    assert_eq!(
        restored.group_versions(&root),
        stage.world.group_versions(&root)
    );
    assert_eq!(restored.deployments_json(), stage.world.deployments_json());
}

#[test]
fn a_launch_that_was_intended_and_never_happened_is_ordered_again_under_the_same_id() {
    let mut stage = Stage::new();
    stage.create(json!({ "id": "a", "cmd": "sleep 1" }));
    let intended = stage.launched.clone();
    let stored = stage.world.stored();

    stage.world = World::restored(setting(), stored, stage.now).expect("it is whole");
    stage.launched.clear();
    let running = stage.change(|world, now| world.take_stock(&BTreeMap::new(), now));

    assert_eq!(running, []);
    assert_eq!(stage.launched, intended);
}

#[test]
fn a_task_that_began_before_anybody_wrote_it_down_is_taken_over() {
    let mut stage = Stage::new();
    stage.create(json!({ "id": "a", "cmd": "sleep 1" }));
    let stored = stage.world.stored();
    let task = stage.launched.pop_front().expect("a launch");
    let found = Found {
        started_at: stage.now.stamp,
        fate: Fate::Runs(None),
    };

    stage.world = World::restored(setting(), stored, stage.now).expect("it is whole");
    let running =
        stage.change(|world, now| world.take_stock(&BTreeMap::from([(task.clone(), found)]), now));

    assert_eq!(running, [task]);
    assert_eq!(stage.app("/a")["tasksRunning"], 1);
    assert!(stage.launched.is_empty());
}

#[test]
fn a_probe_that_changes_nobodys_health_is_no_news() {
    let mut stage = Stage::new();
    stage.create(json!({ "id": "a", "cmd": "sleep 1",
        "healthChecks": [{ "gracePeriodSeconds": 0, "maxConsecutiveFailures": 0 }] }));
    let task = stage.start_all().remove(0);

    let mut news = Vec::new();
    for answer in [
        Answer::Connected,
        Answer::Connected,
        Answer::Nothing("no".to_owned()),
        Answer::Nothing("no".to_owned()),
        Answer::Connected,
    ] {
        stage.pass(Duration::from_secs(60));
        let subject = Subject::Health(0);
        stage.world.probe_done(&task, subject, answer, stage.now);
        news.push(stage.world.take_effects().iter().any(Effect::is_news));
    }

    assert_eq!(news, [true, false, true, false, true]);
}

#[test]
fn a_task_that_is_killed_twice_counts_once() {
    let mut stage = Stage::new();
    stage.create(json!({ "id": "a", "cmd": "sleep 1", "instances": 3 }));
    let tasks = stage.start_all();

    stage
        .kill_and_scale(&tasks[..1], Force::No)
        .expect("nothing locks the app");
    stage
        .kill_and_scale(&tasks[..2], Force::Yes)
        .expect("the lock is cancelled");

    assert_eq!(stage.app("/a")["instances"], 1);
    assert_eq!(stage.killed, tasks[..2]);
}

#[test]
fn a_kill_that_scales_locks_its_app_until_the_victims_are_gone() {
    let mut stage = Stage::new();
    stage.create(json!({ "id": "a", "cmd": "sleep 1", "instances": 3 }));
    let tasks = stage.start_all();
    stage
        .kill_and_scale(&tasks[..1], Force::No)
        .expect("nothing locks the app");

    let while_dying = stage.kill_and_scale(&tasks[1..2], Force::No);
    stage.end(&tasks[0], &TaskEnd::Finished);
    let afterwards = stage.kill_and_scale(&tasks[1..2], Force::No);

    assert!(matches!(while_dying, Err(Refusal::Locked(_))));
    assert!(afterwards.is_ok());
    assert_eq!(stage.app("/a")["instances"], 1);
}

#[test]
fn one_deployment_too_many_is_refused_even_by_force() {
    let mut stage = Stage::new();
    for at in 0..100 {
        stage.create(json!({ "id": format!("a{at}"), "cmd": "sleep 1" }));
    }

    let definition = definition_of(json!({ "id": "one-more", "cmd": "sleep 1" }));
    let refused = stage.change(|world, now| world.create(definition, Force::Yes, now));

    let refusal = refused.expect_err("there are too many");
    assert_eq!(refusal.status(), 403);
    assert_eq!(
        refusal.message(),
        "Max number (100) of running deployments is achieved. Wait for existing deployments to \
         complete or cancel one using force=true parameter."
    );
    assert_eq!(stage.world.census().counters.dismissed, 1);
}

#[test]
fn a_change_that_changes_nothing_locks_nothing() {
    let mut stage = Stage::new();
    stage.create(json!({ "id": "a", "cmd": "sleep 1" }));

    let app = AppId::from_text("/a");
    let same = definition_of(json!({ "id": "a", "cmd": "sleep 1" }));
    let accepted = stage.deploy(&app, Target::Define(Box::new(same)));

    assert!(accepted.is_ok(), "{accepted:?}");
    assert_eq!(stage.world.census().deployments, 1);
}

#[test]
fn a_killed_task_is_followed_at_once_and_a_failed_one_after_its_backoff() {
    let mut stage = Stage::new();
    stage.create(json!({ "id": "a", "cmd": "sleep 1", "backoffSeconds": 5 }));
    let first = stage.start_all().remove(0);
    stage.change(|world, _| world.kill(std::slice::from_ref(&first)));
    stage.end(&first, &TaskEnd::Finished);
    let second = stage.start_all().remove(0);

    stage.end(&second, &TaskEnd::Failed("it broke".to_owned()));
    let waits = stage.launched.is_empty();
    let deadline = stage.world.next_deadline(stage.now.instant);
    stage.pass(Duration::from_secs(5));

    assert!(waits);
    assert_eq!(deadline, Some(stage.now.instant));
    assert!(stage.launched[0].as_str().ends_with("._app.3"));
}

#[test]
fn a_deployment_waits_for_new_instances_and_not_for_sick_old_ones() {
    let mut stage = Stage::new();
    stage.create(json!({ "id": "a", "cmd": "sleep 1", "instances": 1, "healthChecks": [{}] }));
    let old = stage.start_all().remove(0);
    stage.probe(&old, Answer::Connected);
    stage.probe(&old, Answer::Nothing("sick".to_owned()));
    stage.scale("/a", 2);
    let new = stage.start_all().remove(0);
    let before = stage.world.deployments_json();

    stage.probe(&new, Answer::Connected);

    assert_eq!(before[0]["currentActions"][0]["action"], "ScaleApplication");
    assert_eq!(stage.world.deployments_json(), json!([]));
}

#[test]
fn an_old_instance_that_ends_during_a_restart_is_not_relaunched_as_old() {
    let mut stage = Stage::new();
    stage.create(json!({ "id": "a", "cmd": "sleep 1", "instances": 1, "healthChecks": [{}] }));
    let old = stage.start_all().remove(0);
    stage.probe(&old, Answer::Connected);
    let app = AppId::from_text("/a");
    stage
        .deploy(&app, Target::Restart)
        .expect("nothing locks the app");
    let new = stage.start_all().remove(0);

    stage.end(&old, &TaskEnd::Failed("it broke".to_owned()));
    stage.probe(&new, Answer::Connected);

    assert_eq!(stage.world.deployments_json(), json!([]));
    assert_eq!(stage.app("/a")["tasks"][0]["id"], new.as_str());
    assert_eq!(stage.app("/a")["tasksRunning"], 1);
}

#[test]
fn an_app_can_be_created_again_once_its_removal_is_forced_through() {
    let mut stage = Stage::new();
    stage.create(json!({ "id": "a", "cmd": "sleep 1" }));
    let old = stage.start_all().remove(0);
    let app = AppId::from_text("/a");
    stage
        .deploy(&app, Target::Remove)
        .expect("nothing locks the app");

    let again = definition_of(json!({ "id": "a", "cmd": "sleep 2" }));
    let refused = stage.change(|world, now| world.create(again.clone(), Force::No, now));
    stage
        .change(|world, now| world.create(again, Force::Yes, now))
        .expect("it is forced");
    stage.start_all();
    stage.end(&old, &TaskEnd::Finished);

    assert!(matches!(refused, Err(Refusal::Locked(_))));
    assert_eq!(stage.app("/a")["cmd"], "sleep 2");
    assert_eq!(stage.app("/a")["tasks"].as_array().map(Vec::len), Some(1));
    assert_eq!(stage.world.deployments_json(), json!([]));
}

#[test]
fn an_answer_about_an_earlier_incarnation_is_dropped() {
    let mut stage = Stage::new();
    stage.create(json!({
        "id": "a", "cmd": "sleep 1", "backoffSeconds": 0, "healthChecks": [{}],
    }));
    let first = stage.start_all().remove(0);
    stage.probe(&first, Answer::Connected);
    stage.end(&first, &TaskEnd::Failed("it broke".to_owned()));
    stage.pass(Duration::from_secs(1));
    stage.start_all();

    stage.change(|world, now| world.probe_done(&first, Subject::Health(0), Answer::Connected, now));

    assert_eq!(stage.app("/a")["tasks"][0]["healthCheckResults"], json!([]));
    assert_eq!(stage.app("/a")["tasksHealthy"], 0);
}

#[test]
fn a_stopped_engine_takes_no_change_and_launches_nothing() {
    let mut stage = Stage::new();
    stage.create(json!({ "id": "a", "cmd": "sleep 1", "instances": 2 }));
    let tasks = stage.start_all();

    stage.change(World::stop);
    let refused = stage.kill_and_scale(&tasks, Force::Yes);
    for task in &tasks {
        stage.end(task, &TaskEnd::Finished);
    }

    assert_eq!(refused, Err(Refusal::Stopping));
    assert_eq!(stage.killed, tasks);
    assert_eq!(stage.world.task_count(), 0);
    assert!(stage.launched.is_empty());
}

/// A world, the time, and what it has asked for.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) now: Moment,
    /// Launches that were ordered and have not been answered yet.
    launched: VecDeque<TaskId>,
    running: BTreeSet<TaskId>,
    killed: Vec<TaskId>,
    /// The probes that were ordered.
    pub(super) asked: Vec<ProbeOrder>,
}

impl Stage {
    pub(super) fn new() -> Self {
        let now = Moment::now();
        Self {
            world: World::new(setting(), now),
            now,
            launched: VecDeque::new(),
            running: BTreeSet::new(),
            killed: Vec::new(),
            asked: Vec::new(),
        }
    }

    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut World, Moment) -> T) -> T {
        let outcome = change(&mut self.world, self.now);
        self.world.reconcile(self.now);
        for effect in self.world.take_effects() {
            match effect {
                Effect::Launch(launch) => self.launched.push_back(launch.task),
                Effect::Kill(task, _) => self.killed.push(task),
                Effect::Probe(order) => self.asked.push(order),
                Effect::Publish(_) | Effect::Discard(_) | Effect::Notice(_) => {}
            }
        }
        outcome
    }

    pub(super) fn create(&mut self, app: Value) {
        let definition = definition_of(app);
        let created = self.change(|world, now| world.create(definition, Force::No, now));
        created.expect("the app can be created");
    }

    pub(super) fn deploy(&mut self, app: &AppId, target: Target) -> Result<Accepted, Refusal> {
        self.change(|world, now| world.change_app(app, target, Force::No, now))
    }

    fn scale(&mut self, app: &str, instances: u32) {
        let app = AppId::from_text(app);
        let mut definition = self
            .world
            .current(&app)
            .expect("it exists")
            .definition
            .clone();
        definition.instances = instances;
        let target = Target::Define(Box::new(definition));
        self.deploy(&app, target).expect("nothing locks the app");
    }

    fn scale_by_force(&mut self, app: &str, instances: u32) {
        let app = AppId::from_text(app);
        let current = self.world.current(&app).expect("it exists");
        let mut definition = current.definition.clone();
        definition.instances = instances;
        let target = Target::Define(Box::new(definition));
        self.change(|world, now| world.change_app(&app, target, Force::Yes, now))
            .expect("force takes the lock away");
    }

    fn kill_and_scale(&mut self, tasks: &[TaskId], force: Force) -> Result<Accepted, Refusal> {
        self.change(|world, now| world.kill_and_scale(tasks, force, now))
    }

    /// Lets every ordered launch succeed and returns the tasks.
    pub(super) fn start_all(&mut self) -> Vec<TaskId> {
        self.start_all_at(Addresses::default())
    }

    pub(super) fn start_all_at(&mut self, addresses: Addresses) -> Vec<TaskId> {
        let mut started = Vec::new();
        while let Some(task) = self.launched.pop_front() {
            self.change(|world, now| world.task_started(&task, addresses, now));
            self.running.insert(task.clone());
            started.push(task);
        }
        started
    }

    fn end(&mut self, task: &TaskId, end: &TaskEnd) {
        self.running.remove(task);
        self.change(|world, now| world.task_ended(task, end, now));
    }

    /// Lets time pass until a probe is under way and answers it.
    fn probe(&mut self, task: &TaskId, answer: Answer) {
        self.pass(Duration::from_secs(60));
        self.change(|world, now| world.probe_done(task, Subject::Health(0), answer, now));
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now.at(self.now.instant + time);
        self.change(|_, _| ());
    }

    fn app(&self, id: &str) -> Value {
        let embeds = Embeds {
            tasks: true,
            counts: true,
            ..Embeds::default()
        };
        let app = self.world.app_json(&AppId::from_text(id), embeds, self.now);
        app.expect("the app exists")
    }
}

fn setting() -> Setting {
    let mut ids = 0_u32;
    Setting {
        host: "127.0.0.1".to_owned(),
        sandboxes: PathBuf::from("/sandboxes"),
        search_path: "/bin".to_owned(),
        host_ports: 31_000..=31_100,
        first_port: 31_000,
        cpu_limit: CpuLimit::Quota,
        container_obstacle: Box::new(|| None),
        port_is_free: Box::new(|_| true),
        fresh_id: Box::new(move || {
            ids += 1;
            format!("{ids:04}")
        }),
    }
}
