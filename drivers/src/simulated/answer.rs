//! The calls that teal sends, and what Marathon answers and does.

use super::app::{App, Goal};
use super::show::With;
use super::state::State;
use super::{By, Change};
use hyper::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use teal_core::Moment;

/// A call, as far as it matters here.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    /// The segments of its path. Marathon ignores slashes at the ends and doubled ones.
    pub(super) path: Vec<String>,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Value,
}

/// An answer: a status and JSON.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) body: Value,
    /// The tasks that it shows as running and healthy, by app.
    pub(super) well: Vec<(String, BTreeSet<String>)>,
}

pub(super) fn said(status: u16, body: Value) -> Said {
    Said {
        status,
        body,
        well: Vec::new(),
    }
}

impl Call {
    pub(super) fn is_change(&self) -> bool {
        self.method != Method::GET && self.method != Method::HEAD
    }

    /// Whether a parameter says true. Marathon reads them with Java's `Boolean.valueOf`.
    fn flag(&self, name: &str) -> Option<bool> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.eq_ignore_ascii_case("true"))
    }

    fn is_forced(&self) -> bool {
        self.flag("force").unwrap_or(false)
    }

    pub(super) fn told(&self) -> String {
        let query: Vec<_> = self
            .query
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let mark = if query.is_empty() { "" } else { "?" };
        format!(
            "{} /{}{mark}{}",
            self.method,
            self.path.join("/"),
            query.join("&")
        )
    }
}

impl State {
    /// Answers a call, after doing what it asks for.
    pub(super) fn answer(&mut self, call: &Call, now: Moment) -> Said {
        let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
        let answer = match (call.method.as_str(), path.as_slice()) {
            ("GET", ["ping"]) => said(200, json!("pong")),
            ("GET", ["v2", "info"]) => self.info(),
            ("GET", ["v2", "leader"]) => said(
                200,
                json!({ "leader": format!("master-{}:8080", self.leader) }),
            ),
            ("GET", ["v2", "apps"]) => self.list_apps(call),
            ("GET", ["v2", "apps", id @ ..]) => self.get_app(&app_id(id)),
            ("GET", ["v2", "deployments"]) => {
                let all = self.deployments.iter().map(|it| self.show_deployment(it));
                said(200, all.collect())
            }
            ("GET", ["v2", "queue"]) => self.queue(now),
            ("POST", ["v2", "apps"]) => self.create(call, now),
            ("POST", ["v2", "tasks", "delete"]) => self.kill(call, now),
            ("PUT", ["v2", "apps", id @ ..]) => self.update(&app_id(id), call, now),
            ("DELETE", ["v2", "apps", id @ ..]) => self.remove(&app_id(id), call, now),
            // Marathon 1.9 and 1.10 answer an unknown route so.
            _ => said(500, json!({ "message": "URI not found" })),
        };
        if call.is_change() {
            self.note(call, &answer, now);
        }
        answer
    }

    fn note(&mut self, call: &Call, answer: &Said, now: Moment) {
        let ids = call.body.get("ids").and_then(Value::as_array);
        let mut about: Vec<String> = ids
            .into_iter()
            .flatten()
            .filter_map(|id| id.as_str().map(str::to_owned))
            .collect();
        if let Some(id) = call.body.get("id").and_then(Value::as_str) {
            about.push(id.to_owned());
        } else if about.is_empty() && call.path.len() > 2 {
            about.push(format!("/{}", call.path[2..].join("/")));
        }
        let change = Change {
            at: now,
            call: call.told(),
            about,
            forced: call.is_forced(),
            status: answer.status,
        };
        let message = answer
            .body
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let told = format!(
            "Marathon: {} {:?} → {} {message}",
            change.call, change.about, change.status
        );
        self.tell(told);
        self.changes.push(change);
    }

    fn info(&self) -> Said {
        said(
            200,
            json!({
                "name": "marathon", "version": "1.10.0", "buildref": "unknown", "elected": true,
                "leader": format!("master-{}:8080", self.leader), "frameworkId": "simulated-0000",
                "marathon_config": { "features": if self.temper.tells_killing { json!(["task_killing"]) } else { json!([]) } },
                "zookeeper_config": {}, "http_config": { "http_port": 8080, "https_port": 8443 },
            }),
        )
    }

    fn list_apps(&self, call: &Call) -> Said {
        let with_tasks = call
            .query
            .iter()
            .any(|(key, value)| key == "embed" && value == "apps.tasks");
        let with = if with_tasks {
            With::Tasks
        } else {
            With::CountsAlone
        };
        let shown = self
            .apps
            .iter()
            .map(|(id, app)| self.show_app(id, app, with));
        let mut said = said(200, json!({ "apps": shown.collect::<Vec<_>>() }));
        said.well = self
            .apps
            .keys()
            .map(|id| (id.clone(), self.well(id)))
            .collect();
        said
    }

    fn get_app(&self, id: &str) -> Said {
        let Some(app) = self.apps.get(id) else {
            return missing(id);
        };
        let mut said = said(200, json!({ "app": self.show_app(id, app, With::Tasks) }));
        said.well.push((id.to_owned(), self.well(id)));
        said
    }

    fn queue(&self, now: Moment) -> Said {
        let waiting = self.apps.iter().filter(|(_, app)| app.offer_at.is_some());
        let entry = |(id, app): (&String, &App)| {
            let left = app.backoff_until.since(now);
            json!({
                "app": self.show_app(id, app, With::CountsAlone),
                "count": app.instances,
                "delay": { "timeLeftSeconds": left.0 / 1000, "overdue": left.0 == 0 },
            })
        };
        said(
            200,
            json!({ "queue": waiting.map(entry).collect::<Vec<_>>() }),
        )
    }

    fn create(&mut self, call: &Call, now: Moment) -> Said {
        let (Some(body), Some(id)) = (
            call.body.as_object(),
            call.body.get("id").and_then(Value::as_str),
        ) else {
            return said(
                422,
                json!({ "message": "Object is not valid", "details": [{ "path": "/id", "errors": ["undefined"] }] }),
            );
        };
        let id = format!("/{}", id.trim_matches('/'));
        if self.apps.contains_key(&id) {
            return said(
                409,
                json!({ "message": format!("An app with id [{id}] already exists.") }),
            );
        }
        let app = App::new(body, now);
        self.apps.insert(id.clone(), app);
        self.emit("api_post_event", json!({ "appDefinition": { "id": id } }));
        let (deployment, _) = self.deploy(&id, "StartApplication", Goal::Size, now);
        // The answer is the request, normalised: nothing runs yet, and no version info.
        let mut shown = call.body.clone();
        shown["id"] = json!(id);
        shown["deployments"] = json!([{ "id": deployment }]);
        said(201, shown)
    }

    fn update(&mut self, id: &str, call: &Call, now: Moment) -> Said {
        let runnable = call.body.get("cmd").is_some() || call.body.get("container").is_some();
        let Some(_) = self.apps.get(id) else {
            // A PUT of what is not there creates it, and a size alone is no app.
            let message =
                "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.";
            let refusal = json!({ "message": "Object is not valid", "details": [{ "path": "/", "errors": [message] }] });
            return if runnable {
                self.create(call, now)
            } else {
                said(422, refusal)
            };
        };
        if let Some(locked) = self.locked(id, call) {
            return locked;
        }
        let instances = call.body.get("instances").and_then(Value::as_u64);
        let Some(instances) = instances.and_then(|count| u32::try_from(count).ok()) else {
            return said(
                422,
                json!({ "message": "Invalid JSON", "details": [{ "path": "/instances", "errors": ["error.expected.jsnumber"] }] }),
            );
        };
        if let Some(app) = self.apps.get_mut(id) {
            app.resize(instances, By::Caller, now);
        }
        self.emit("api_post_event", json!({ "appDefinition": { "id": id } }));
        self.deployed(id, "ScaleApplication", Goal::Size, now)
    }

    /// Tasks that are not known are passed over. With `scale`, the app is made smaller by as many as were known.
    fn kill(&mut self, call: &Call, now: Moment) -> Said {
        let ids = call
            .body
            .get("ids")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let named: Vec<usize> = (0..self.tasks.len())
            .filter(|&index| !self.tasks[index].expunged)
            .filter(|&index| {
                ids.iter()
                    .any(|id| id.as_str() == Some(&self.tasks[index].id))
            })
            .collect();
        let scales = call.flag("scale").unwrap_or(false);
        let apps: BTreeSet<String> = named
            .iter()
            .map(|&index| self.tasks[index].app.clone())
            .collect();
        if scales && let Some(locked) = apps.iter().find_map(|app| self.locked(app, call)) {
            return locked;
        }
        let killed: Vec<Value> = named
            .iter()
            .map(|&index| json!({ "id": self.tasks[index].id, "appId": self.tasks[index].app }))
            .collect();
        if scales {
            // One that came back on the way of the call made one too many, and Marathon has stopped one that is named
            // here; the size is made smaller for it once more, and whatever else has to go is Marathon's choice too.
            let is_stopped_by_others = |&index: &usize| {
                self.tasks[index]
                    .dying
                    .is_some_and(|it| it.by != By::Caller)
            };
            let by = if named.iter().any(is_stopped_by_others) {
                By::Marathon
            } else {
                By::Caller
            };
            for &index in &named {
                if let Some(app) = self.apps.get_mut(&self.tasks[index].app) {
                    let fewer = app.instances.saturating_sub(1);
                    app.resize(fewer, by, now);
                }
            }
        }
        for index in named {
            self.stop(index, By::Caller, now);
        }
        if !scales {
            return said(200, json!({ "tasks": killed }));
        }
        match apps.first() {
            Some(app) => self.deployed(app, "ScaleApplication", Goal::Size, now),
            None => said(
                200,
                json!({ "version": self.stamp(now), "deploymentId": "00000000-0000-11f0-8000-000000000000" }),
            ),
        }
    }

    /// The app is gone at once; its tasks stop in the time that follows.
    fn remove(&mut self, id: &str, call: &Call, now: Moment) -> Said {
        if !self.apps.contains_key(id) {
            return missing(id);
        }
        // Forced unless told otherwise, whatever the documentation says (since 1.3).
        if call.flag("force") == Some(false)
            && let Some(locked) = self.locked(id, call)
        {
            return locked;
        }
        for index in 0..self.tasks.len() {
            // Of one that was given up nothing is left in Marathon: it is stopped when it comes back, app or no app.
            if self.tasks[index].app == id && !self.tasks[index].expunged {
                self.stop(index, By::Caller, now);
            }
        }
        self.apps.remove(id);
        self.shown_well.remove(id);
        self.deployed(id, "StopApplication", Goal::Gone, now)
    }

    fn deployed(&mut self, app: &str, action: &'static str, goal: Goal, now: Moment) -> Said {
        let (id, version) = self.deploy(app, action, goal, now);
        said(
            200,
            json!({ "version": self.stamp(version), "deploymentId": id }),
        )
    }

    fn locked(&self, app: &str, call: &Call) -> Option<Said> {
        let by = self.lockers(app);
        if by.is_empty() || call.is_forced() {
            return None;
        }
        let by: Vec<Value> = by.iter().map(|id| json!({ "id": id })).collect();
        Some(said(
            409,
            json!({
                "message": "App is locked by one or more deployments. Override with the option '?force=true'. \
                            View details at '/v2/deployments/<DEPLOYMENT_ID>'.",
                "deployments": by,
            }),
        ))
    }
}

fn missing(id: &str) -> Said {
    said(
        404,
        json!({ "message": format!("App '{id}' does not exist"), "details": [] }),
    )
}

fn app_id(segments: &[&str]) -> String {
    format!("/{}", segments.join("/"))
}
