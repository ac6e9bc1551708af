//! Everything that there is, and how it goes on by itself: tasks, Marathon's care for them, deployments.

use super::app::{App, Deployment, Failure, Goal, Returning};
use super::mishaps::Mishap;
use super::page::{Mood, Page};
use super::task::{Check, Dying, Phase, Task};
use super::{By, Change, Load, Nature, Stop, Temper, Truth};
use crate::chance::Chance;
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use teal_core::name::InstanceId;
use teal_core::{Moment, Span};
use tokio::sync::mpsc::UnboundedSender;

/// How many seconds a task that grew up before the test has been running.
const GROWN_UP: Span = Span::seconds(600);

#[derive(Debug)]
pub(super) struct Agent {
    pub(super) host: IpAddr,
    /// Until when the network keeps everybody from it.
    pub(super) lost_until: Moment,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) temper: Temper,
    pub(super) chance: Chance,
    pub(super) agents: Vec<Agent>,
    pub(super) apps: BTreeMap<String, App>,
    pub(super) tasks: Vec<Task>,
    pub(super) deployments: Vec<Deployment>,
    pub(super) natures: BTreeMap<String, Nature>,
    pub(super) mishaps: Vec<(Moment, Mishap)>,
    /// Which master leads.
    pub(super) leader: usize,
    /// Until when none does.
    pub(super) leaderless_until: Moment,
    /// Until when a master's process is not there.
    pub(super) absent: Vec<Moment>,
    /// Cut with every change of leader.
    pub(super) streams: Vec<UnboundedSender<Bytes>>,
    /// How often the leader has changed: what was under way with an earlier one is cut off.
    pub(super) reign: u64,
    pub(super) shown_well: BTreeMap<String, BTreeSet<String>>,
    pub(super) stops: Vec<Stop>,
    pub(super) changes: Vec<Change>,
    pub(super) story: Vec<String>,
    began: Moment,
    ids: u64,
}

impl State {
    pub(super) fn new(temper: Temper, chance: Chance) -> Self {
        let agent = |index: usize| {
            // All of 127.0.0.0/8 is this machine (RFC 1122, 3.2.1.3), so every agent has an address of its own.
            let last = u8::try_from(11 + index).unwrap_or(u8::MAX);
            Agent {
                host: IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)),
                lost_until: Moment(0),
            }
        };
        Self {
            agents: (0..temper.agents).map(agent).collect(),
            absent: vec![Moment(0); temper.masters],
            temper,
            chance,
            apps: BTreeMap::new(),
            tasks: Vec::new(),
            deployments: Vec::new(),
            natures: BTreeMap::new(),
            mishaps: Vec::new(),
            leader: 0,
            leaderless_until: Moment(0),
            streams: Vec::new(),
            reign: 0,
            shown_well: BTreeMap::new(),
            stops: Vec::new(),
            changes: Vec::new(),
            story: Vec::new(),
            began: crate::clock::now(),
            ids: 0,
        }
    }

    // ---- what happens ------------------------------------------------------------------------------------------

    /// Lets everything happen that is due.
    pub(super) fn live(&mut self, now: Moment) {
        self.suffer(now);
        let mut index = 0;
        while index < self.tasks.len() {
            if self.live_task(index, now) {
                index += 1;
            }
        }
        if self.leaderless_until <= now {
            self.govern(now);
        }
    }

    /// Lets one task go on. False: it has come to its end, and the next one has its place.
    fn live_task(&mut self, index: usize, now: Moment) -> bool {
        let is_lost = self.is_lost(index, now);
        let task = &mut self.tasks[index];
        task.page.cut_off(is_lost);
        if is_lost {
            return true;
        }
        if let Phase::Staging { runs_at } = task.phase
            && runs_at <= now
        {
            task.phase = Phase::Running;
            task.started_at = Some(now);
            let id = task.id.clone();
            self.tell(format!("{id} runs"));
            self.report(index, "TASK_RUNNING");
        }
        let task = &self.tasks[index];
        match (task.dying, task.crashes_at) {
            (Some(dying), _) if dying.ends_at <= now => {
                self.report(index, "TASK_KILLED");
                let task = self.tasks.remove(index);
                self.tell(format!("{} is gone", task.id));
                false
            }
            (None, Some(at)) if at <= now => {
                self.crash(index, now);
                false
            }
            (Some(_) | None, _) => true,
        }
    }

    pub(super) fn crash(&mut self, index: usize, now: Moment) {
        self.report(index, "TASK_FAILED");
        let task = self.tasks.remove(index);
        self.tell(format!("{} crashes with {:?}", task.id, task.load));
        if !task.expunged && task.dying.is_none() {
            self.fail(&task, "TASK_FAILED", now);
        }
    }

    fn fail(&mut self, task: &Task, state: &'static str, now: Moment) {
        let host = self.agents[task.agent].host.to_string();
        if let Some(app) = self.apps.get_mut(&task.app) {
            app.back_off(now);
            app.returning.push(Returning {
                instance: task.instance.clone(),
                incarnation: task.incarnation + 1,
            });
            app.last_failure = Some(Failure {
                task: task.id.clone(),
                host,
                state,
                at: now,
                version: task.version,
            });
        }
    }

    pub(super) fn is_lost(&self, index: usize, now: Moment) -> bool {
        self.agents[self.tasks[index].agent].lost_until > now
    }

    // ---- what Marathon does ------------------------------------------------------------------------------------

    fn govern(&mut self, now: Moment) {
        for index in 0..self.tasks.len() {
            self.care_for(index, now);
        }
        let ids: Vec<String> = self.apps.keys().cloned().collect();
        for id in ids {
            self.keep_size(&id, now);
        }
        self.end_deployments(now);
    }

    fn care_for(&mut self, index: usize, now: Moment) {
        let is_lost = self.is_lost(index, now);
        let task = &self.tasks[index];
        let strategy = self.apps.get(&task.app).map(App::unreachable);
        match task.phase {
            Phase::Running | Phase::Staging { .. } if is_lost => {
                self.tasks[index].phase = Phase::Unreachable { since: now };
                self.report(index, "TASK_UNREACHABLE");
                let id = self.tasks[index].id.clone();
                self.tell(format!("{id} is unreachable"));
            }
            Phase::Unreachable { .. } if !is_lost => {
                self.tasks[index].phase = Phase::Running;
                self.tasks[index].started_at.get_or_insert(now);
                self.report(index, "TASK_RUNNING");
                let (id, expunged) = (self.tasks[index].id.clone(), self.tasks[index].expunged);
                let app = self.tasks[index].app.clone();
                if let Some(app) = self.apps.get_mut(&app) {
                    // If it is one too many, that is nobody's doing.
                    app.lowered_by = By::Marathon;
                }
                self.tell(format!("{id} is back"));
                if expunged {
                    self.stop(index, By::Marathon, now);
                }
            }
            Phase::Unreachable { since } if !self.tasks[index].expunged => {
                let expunges_at = strategy.map_or(since, |it| since + it.expunge_after);
                // Marathon looks for overdue ones every 30 s (`--task_lost_expunge_interval`): here, at two of a thousand
                // ticks of 20 ms.
                let is_noticed = self.chance.happens(2);
                if expunges_at <= now && is_noticed {
                    self.tasks[index].expunged = true;
                    let id = self.tasks[index].id.clone();
                    self.tell(format!("{id} is given up"));
                }
            }
            Phase::Running => self.check(index, now),
            Phase::Staging { .. } | Phase::Unreachable { .. } => {}
        }
    }

    fn check(&mut self, index: usize, now: Moment) {
        let task = &mut self.tasks[index];
        let answers = task.answers(now);
        let before = task.is_healthy();
        let is_hopeless = task.probe(now, answers);
        let after = task.is_healthy();
        if before != after {
            let (id, app) = (task.id.clone(), task.app.clone());
            self.tell(format!(
                "{id} is {}",
                if after { "healthy" } else { "not healthy" }
            ));
            let body = json!({"appId": app, "instanceId": id, "alive": after});
            self.emit("health_status_changed_event", body);
        }
        if is_hopeless && self.tasks[index].dying.is_none() {
            self.stop(index, By::Marathon, now);
        }
    }

    /// Launches what is missing and stops what is too many, the youngest first.
    fn keep_size(&mut self, id: &str, now: Moment) {
        let Some(app) = self.apps.get(id) else { return };
        let (wanted, by, strategy) = (app.instances as usize, app.lowered_by, app.unreachable());
        let active: Vec<usize> = (0..self.tasks.len())
            .filter(|&index| self.tasks[index].app == id)
            .filter(|&index| self.tasks[index].is_active(now, strategy.inactive_after))
            .collect();
        if active.len() > wanted {
            let mut youngest = active;
            youngest.sort_by_key(|&index| std::cmp::Reverse(self.tasks[index].staged_at));
            let surplus = youngest.len() - wanted;
            for index in youngest.into_iter().take(surplus) {
                self.stop(index, by, now);
            }
            return;
        }
        let missing = wanted - active.len();
        let delay = self.chance.span(20, 800);
        let Some(app) = self.apps.get_mut(id) else {
            return;
        };
        if missing == 0 {
            app.offer_at = None;
            return;
        }
        let offer_at = *app
            .offer_at
            .get_or_insert((now + delay).max(app.backoff_until));
        if offer_at <= now {
            app.offer_at = None;
            let returning = std::mem::take(&mut app.returning);
            let mut returning = returning.into_iter();
            for _ in 0..missing {
                self.launch(id, returning.next(), now);
            }
        }
    }

    fn launch(&mut self, id: &str, returning: Option<Returning>, now: Moment) {
        let up: Vec<usize> = (0..self.agents.len())
            .filter(|&index| self.agents[index].lost_until <= now)
            .collect();
        let Some(&agent) = self.chance.one_of(&up) else {
            return;
        };
        let Ok(page) = Page::serve(self.agents[agent].host) else {
            self.tell(format!("no port is to be had for {id}"));
            return;
        };
        let unique = self.next_id();
        let Some(app) = self.apps.get(id) else { return };
        let name = id.trim_start_matches('/').replace('/', "_");
        let fresh = Returning {
            instance: format!("{name}.instance-{}", uuid(unique)),
            incarnation: 1,
        };
        let Returning {
            instance,
            incarnation,
        } = returning.unwrap_or(fresh);
        let rules = app.check_rules();
        let version = app.version;
        let nature = self.natures.get(id).copied().unwrap_or(Nature::Good);
        let runs_at = now + self.chance.span(50, 900);
        let warm_after = self.chance.span(0, 1500);
        let lives = self.chance.span(100, 2500);
        let mut check = |rule| Check {
            rule,
            next_at: runs_at + self.chance.span(0, 1000),
            result: None,
        };
        let task = Task {
            id: format!("{instance}._app.{incarnation}"),
            instance,
            incarnation,
            app: id.to_owned(),
            agent,
            page,
            version,
            staged_at: now,
            started_at: None,
            phase: Phase::Staging { runs_at },
            dying: None,
            expunged: false,
            warm_after: (nature == Nature::Good).then_some(warm_after),
            crashes_at: (nature == Nature::Crashing).then_some(runs_at + lives),
            sick_until: Moment(0),
            checks: rules.into_iter().map(&mut check).collect(),
            first_alive: None,
            load: Load::default(),
        };
        self.tell(format!("{} is launched at {}", task.id, task.page.address));
        self.tasks.push(task);
        self.report(self.tasks.len() - 1, "TASK_STAGING");
    }

    /// Tells a task to stop.
    pub(super) fn stop(&mut self, index: usize, by: By, now: Moment) {
        let slow = self.chance.happens(self.temper.slow_kills);
        let task = &self.tasks[index];
        if task.dying.is_some() {
            return;
        }
        let grace = self
            .apps
            .get(&task.app)
            .map_or(Span::seconds(3), App::kill_grace);
        let takes = if slow {
            self.chance.span(10_000, 60_000)
        } else {
            self.chance.span(20, grace.0)
        };
        let task = &mut self.tasks[index];
        let ends_at = now + takes;
        task.dying = Some(Dying { by, ends_at });
        // One that would not hear the word is struck off at once (Marathon's `KillAction`, `wontRespondToKill`).
        task.expunged |= matches!(task.phase, Phase::Unreachable { .. });
        let (id, load) = (task.id.clone(), task.load);
        self.tell(format!(
            "{id} is told to stop by {by:?} with {load:?}, in {takes}"
        ));
        self.stops.push(Stop {
            instance: InstanceId(id),
            at: now,
            by,
            load,
        });
        if self.temper.tells_killing {
            self.report(index, "TASK_KILLING");
        }
    }

    // ---- deployments -------------------------------------------------------------------------------------------

    pub(super) fn lockers(&self, app: &str) -> Vec<String> {
        let of_app = self.deployments.iter().filter(|it| it.app == app);
        of_app.map(|it| it.id.clone()).collect()
    }

    /// Begins a deployment, in place of those of the same app.
    pub(super) fn deploy(
        &mut self,
        app: &str,
        action: &'static str,
        goal: Goal,
        now: Moment,
    ) -> (String, Moment) {
        self.deployments.retain(|it| it.app != app);
        let id = uuid(self.next_id());
        let earliest_end = now + self.chance.span(0, 300);
        self.deployments.push(Deployment {
            id: id.clone(),
            app: app.to_owned(),
            action,
            goal,
            version: now,
            earliest_end,
        });
        self.emit("deployment_info", json!({"plan": {"id": id}, "currentStep": {"actions": [{"action": action, "app": app}]}}));
        (id, now)
    }

    fn end_deployments(&mut self, now: Moment) {
        let (ended, going): (Vec<_>, Vec<_>) = std::mem::take(&mut self.deployments)
            .into_iter()
            .partition(|it| self.is_done(it, now));
        self.deployments = going;
        for deployment in ended {
            let body = json!({"id": deployment.id, "plan": {"id": deployment.id, "steps": [{"actions": [{"action": deployment.action, "app": deployment.app}]}]}});
            self.emit("deployment_success", body);
        }
    }

    fn is_done(&self, deployment: &Deployment, now: Moment) -> bool {
        let tasks: Vec<&Task> = self
            .tasks
            .iter()
            .filter(|task| task.app == deployment.app && !task.expunged)
            .collect();
        let app = self.apps.get(&deployment.app);
        let complete = || {
            let Some(app) = app else { return true };
            let inactive_after = app.unreachable().inactive_after;
            let active = tasks
                .iter()
                .filter(|task| task.is_active(now, inactive_after));
            let (active, settled) = active.fold((0, true), |(count, settled), task| {
                (count + 1, settled && task.is_running() && task.is_healthy())
            });
            let stopping = tasks.iter().any(|task| task.dying.is_some());
            active == app.instances && settled && !stopping
        };
        let done = match deployment.goal {
            Goal::Size => complete(),
            Goal::Gone => tasks.is_empty(),
            Goal::Restarted => {
                let since = app.map_or(now, |app| app.configured_at);
                complete() && tasks.iter().all(|task| task.version >= since)
            }
            Goal::Until(until) => until <= now,
        };
        done && deployment.earliest_end <= now
    }

    // ---- telling -----------------------------------------------------------------------------------------------

    pub(super) fn tell(&mut self, what: String) {
        let at = crate::clock::now().since(self.began);
        self.story.push(format!("{:>8} ms  {what}", at.0));
    }

    /// Sends an event of a task's state.
    pub(super) fn report(&mut self, index: usize, state: &'static str) {
        let task = &self.tasks[index];
        let body = json!({
            "slaveId": format!("agent-{}", task.agent), "taskId": task.id, "taskStatus": state, "message": "",
            "appId": task.app, "host": task.page.address.ip().to_string(), "ports": [task.page.address.port()],
        });
        self.emit("status_update_event", body);
    }

    /// Sends an event to everybody who listens. Some miss it, some get it twice.
    pub(super) fn emit(&mut self, kind: &'static str, mut body: Value) {
        body["eventType"] = json!(kind);
        let text = format!("event: {kind}\r\ndata: {body}\r\n\r\n");
        let (missed, doubled) = (self.temper.missed_events, self.temper.doubled_events);
        let times = if self.chance.happens(missed) {
            0
        } else {
            1 + usize::from(self.chance.happens(doubled))
        };
        let send = |stream: &UnboundedSender<Bytes>| {
            (0..times).all(|_| stream.send(Bytes::from(text.clone())).is_ok())
        };
        self.streams.retain(send);
    }

    fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    // ---- for tests ---------------------------------------------------------------------------------------------

    pub(super) fn grow(&mut self, definition: &Value, count: u32, now: Moment) -> String {
        let definition = definition.as_object().cloned().unwrap_or_default();
        let id = definition
            .get("id")
            .and_then(Value::as_str)
            .unwrap_or("/app");
        let (id, long_ago) = (id.to_owned(), Moment(now.0.saturating_sub(GROWN_UP.0)));
        let mut app = App::new(&definition, long_ago);
        app.instances = count;
        self.apps.insert(id.clone(), app);
        for _ in 0..count {
            self.launch(&id, None, long_ago);
        }
        for task in self.tasks.iter_mut().filter(|task| task.app == id) {
            task.phase = Phase::Running;
            (task.started_at, task.warm_after) = (Some(long_ago), Some(Span::ZERO));
            for check in &mut task.checks {
                check.next_at = long_ago;
            }
            task.probe(long_ago, true);
            for check in &mut task.checks {
                check.next_at = now + self.chance.span(0, check.rule.interval.0);
            }
        }
        id
    }

    pub(super) fn set_load(&mut self, id: &str, load: Load) {
        let bad = self.chance.happens(self.temper.bad_gauges / 10);
        let mood = *self
            .chance
            .one_of(&[Mood::NoNumber, Mood::Broken, Mood::Silent])
            .unwrap_or(&Mood::Silent);
        if let Some(task) = self.tasks.iter_mut().find(|task| task.id == id) {
            task.load = load;
            task.page.set_pending(load.pending);
            if bad {
                task.page.set_mood(mood);
            }
        }
    }

    pub(super) fn truths(&self, now: Moment) -> Vec<Truth> {
        let truth = |(index, task): (usize, &Task)| Truth {
            instance: InstanceId(task.id.clone()),
            app: task.app.clone(),
            address: task.page.address,
            works: task.answers(now) && task.is_running() && !self.is_lost(index, now),
            dying: task.dying.map(|dying| dying.by),
            first_alive: task.first_alive,
        };
        self.tasks.iter().enumerate().map(truth).collect()
    }
}

/// Returns a name in the form of a UUID; it need not be one.
fn uuid(number: u64) -> String {
    format!(
        "{:08x}-0000-11f0-8000-{number:012x}",
        number.wrapping_mul(0x9E37_79B1) & 0xffff_ffff
    )
}
