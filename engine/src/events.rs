//! The events of `/v2/events`: their names, their fields and the bus they travel on.
//!
//! Fields follow `mesosphere.marathon.core.event` of Marathon 1.10, always in the light plan format.
//! A listener must use an event only as a cue to read again; a slow one is cut off.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

use crate::definition::HealthCheck;
use crate::deployment::{Action, Deployment};
use crate::identity::{AppId, InstanceId};
use crate::model::{Instance, Task};
use crate::time::Stamp;

/// How many events a listener may be behind before it is cut off
/// (Marathon's `--event_stream_max_outstanding_messages` default).
pub(crate) const EVENTS_BUFFERED: usize = 1024;

/// The id of the one agent, as events and tasks show it.
pub(crate) const AGENT_ID: &str = "teal-agent-S0";

/// The one event that a probe may set off again and again without anything else changing.
pub(crate) const FAILED_HEALTH_CHECK: &str = "failed_health_check_event";

/// One event, not yet on the bus.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) kind: &'static str,
    fields: Value,
}

/// One event as it is sent: shared by all listeners.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: &'static str,
    pub(crate) text: Arc<str>,
}

/// Hands every event to every listener that wants it.
#[derive(Debug, Default)]
pub(crate) struct Bus {
    outlets: Mutex<Vec<Outlet>>,
    /// How often tasks came into each state.
    task_updates: Mutex<BTreeMap<String, u64>>,
    bytes_sent: AtomicU64,
}

/// The bus's end of a listener.
#[derive(Debug)]
struct Outlet {
    /// The types asked for; none means all.
    types: Vec<String>,
    sender: mpsc::Sender<Frame>,
    cut: Arc<Notify>,
}

impl Outlet {
    /// Hands an event over and says whether the listener stays.
    fn take(&self, frame: &Frame) -> bool {
        let is_wanted = self.types.is_empty() || self.types.iter().any(|kind| kind == frame.kind);
        if !is_wanted {
            return !self.sender.is_closed();
        }
        match self.sender.try_send(frame.clone()) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(_)) => {
                self.cut.notify_one();
                false
            }
        }
    }
}

impl Bus {
    /// Returns a bus nobody listens to.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Sends an event to all listeners; without one it is dropped.
    ///
    /// A listener that is too far behind is cut off, as by Marathon ≥ 1.8: it must read again
    /// anyway, and a gap nobody sees would be worse.
    pub(crate) fn publish(&self, event: &Event, now: Stamp) {
        if let Some(state) = event.fields["taskStatus"].as_str() {
            let mut updates = locked(&self.task_updates);
            *updates.entry(state.to_owned()).or_default() += 1;
        }
        let mut outlets = locked(&self.outlets);
        if !outlets.is_empty() {
            let frame = event.frame(now);
            outlets.retain(|outlet| outlet.take(&frame));
        }
    }

    /// Returns a listener for these types that sees everything from here on. `cut` rings when it is
    /// cut off, also while what it has been sent is still not read.
    pub(crate) fn listen(&self, types: Vec<String>, cut: Arc<Notify>) -> mpsc::Receiver<Frame> {
        let (sender, receiver) = mpsc::channel(EVENTS_BUFFERED);
        let outlet = Outlet { types, sender, cut };
        locked(&self.outlets).push(outlet);
        receiver
    }

    /// Returns how many listeners there are.
    pub(crate) fn listeners(&self) -> usize {
        let mut outlets = locked(&self.outlets);
        outlets.retain(|outlet| !outlet.sender.is_closed());
        outlets.len()
    }

    /// Returns how often tasks came into each state since the engine started.
    pub(crate) fn task_updates(&self) -> BTreeMap<String, u64> {
        locked(&self.task_updates).clone()
    }

    /// Returns how many tasks were launched since the engine started.
    pub(crate) fn tasks_launched(&self) -> u64 {
        locked(&self.task_updates)
            .get("TASK_STAGING")
            .copied()
            .unwrap_or(0)
    }

    /// Notes that so many bytes went to a listener.
    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns how many bytes went to listeners since the engine started.
    pub(crate) fn bytes_sent(&self) -> u64 {
        self.bytes_sent.load(Ordering::Relaxed)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Event {
    fn new(kind: &'static str, fields: Value) -> Self {
        Self { kind, fields }
    }

    /// Returns the event as it goes over the wire: two lines and a blank one.
    ///
    /// The framing is that of Jetty's event source servlet, which Marathon uses.
    pub(crate) fn frame(&self, now: Stamp) -> Frame {
        let mut body = Map::new();
        if let Value::Object(fields) = &self.fields {
            body.clone_from(fields);
        }
        body.insert("eventType".to_owned(), json!(self.kind));
        body.insert("timestamp".to_owned(), json!(now));
        let text = format!(
            "event: {}\r\ndata: {}\r\n\r\n",
            self.kind,
            Value::Object(body)
        );
        Frame {
            kind: self.kind,
            text: text.into(),
        }
    }
}

/// A definition was created or changed through the API.
pub(crate) fn api_post(client: &str, uri: &str, definition: Value) -> Event {
    Event::new(
        "api_post_event",
        json!({ "clientIp": client, "uri": uri, "appDefinition": definition }),
    )
}

/// A task is in another state.
pub(crate) fn status_update(
    instance: &Instance,
    task: &Task,
    host: &str,
    status: &str,
    message: &str,
) -> Event {
    Event::new(
        "status_update_event",
        json!({
            "slaveId": AGENT_ID,
            "taskId": task.id,
            "taskStatus": status,
            "message": message,
            "appId": instance.revision.definition.id,
            "host": host,
            "ipAddresses": task.addresses.to_json(host),
            "ports": task.ports,
            "version": instance.revision.version,
        }),
    )
}

/// An instance is in another condition.
pub(crate) fn instance_changed(instance: &Instance, host: &str, condition: &str) -> Event {
    Event::new(
        "instance_changed_event",
        json!({
            "instanceId": instance.id,
            "condition": condition,
            "runSpecId": instance.revision.definition.id,
            "agentId": AGENT_ID,
            "host": host,
            "runSpecVersion": instance.revision.version,
        }),
    )
}

/// All checks of an instance together say something else.
pub(crate) fn instance_health_changed(instance: &Instance, healthy: Option<bool>) -> Event {
    Event::new(
        "instance_health_changed_event",
        json!({
            "instanceId": instance.id,
            "runSpecVersion": instance.revision.version,
            "runSpecId": instance.revision.definition.id,
            "healthy": healthy,
        }),
    )
}

/// One check of an instance became alive or dead.
pub(crate) fn health_status_changed(instance: &Instance, alive: bool) -> Event {
    Event::new(
        "health_status_changed_event",
        json!({
            "appId": instance.revision.definition.id,
            "instanceId": instance.id,
            "version": instance.revision.version,
            "alive": alive,
        }),
    )
}

/// A failure was counted. `taskId` holds the instance's id, as in Marathon ≥ 1.4.
pub(crate) fn failed_health_check(instance: &Instance, check: &HealthCheck) -> Event {
    Event::new(
        FAILED_HEALTH_CHECK,
        json!({
            "appId": instance.revision.definition.id,
            "taskId": instance.id,
            "healthCheck": check.to_json(),
        }),
    )
}

/// A task is killed because its check failed too often.
pub(crate) fn unhealthy_instance_kill(
    instance: &Instance,
    task: &Task,
    host: &str,
    reason: &str,
) -> Event {
    Event::new(
        "unhealthy_instance_kill_event",
        json!({
            "appId": instance.revision.definition.id,
            "taskId": task.id,
            "instanceId": instance.id,
            "version": instance.revision.version,
            "reason": reason,
            "host": host,
            "slaveId": AGENT_ID,
        }),
    )
}

/// An instance has gone for good.
pub(crate) fn unknown_instance_terminated(app: &AppId, instance: &InstanceId) -> Event {
    Event::new(
        "unknown_instance_terminated_event",
        json!({ "instanceId": instance, "runSpecId": app, "condition": "Killed" }),
    )
}

/// A health check is now watched.
pub(crate) fn add_health_check(app: &AppId, version: Stamp, check: &HealthCheck) -> Event {
    Event::new(
        "add_health_check_event",
        json!({ "appId": app, "version": version, "healthCheck": check.to_json() }),
    )
}

/// The health checks of an app are no longer watched.
pub(crate) fn remove_health_check(app: &AppId) -> Event {
    Event::new("remove_health_check_event", json!({ "appId": app }))
}

/// A step of a deployment begins.
pub(crate) fn deployment_info(deployment: &Deployment) -> Event {
    Event::new("deployment_info", step_fields(deployment))
}

/// A step of a deployment is complete.
pub(crate) fn deployment_step_success(deployment: &Deployment) -> Event {
    Event::new("deployment_step_success", step_fields(deployment))
}

/// A step of a deployment was given up.
pub(crate) fn deployment_step_failure(deployment: &Deployment) -> Event {
    Event::new("deployment_step_failure", step_fields(deployment))
}

/// A deployment is complete.
pub(crate) fn deployment_success(deployment: &Deployment) -> Event {
    Event::new(
        "deployment_success",
        json!({ "id": deployment.id, "plan": plan_json(deployment) }),
    )
}

/// A deployment was given up.
pub(crate) fn deployment_failed(deployment: &Deployment, reason: &str) -> Event {
    Event::new(
        "deployment_failed",
        json!({ "id": deployment.id, "plan": plan_json(deployment), "reason": reason }),
    )
}

/// A change in a group was taken on.
pub(crate) fn group_change_success(group: &AppId, version: Stamp) -> Event {
    Event::new(
        "group_change_success",
        json!({ "groupId": group, "version": version }),
    )
}

/// A change in a group was refused.
pub(crate) fn group_change_failed(group: &AppId, version: Stamp, reason: &str) -> Event {
    Event::new(
        "group_change_failed",
        json!({ "groupId": group, "version": version, "reason": reason }),
    )
}

/// An app was removed and none of its tasks is left.
pub(crate) fn app_terminated(app: &AppId) -> Event {
    Event::new("app_terminated_event", json!({ "appId": app }))
}

/// A listener joined the stream.
pub(crate) fn event_stream_attached(remote: &str) -> Event {
    Event::new("event_stream_attached", json!({ "remoteAddress": remote }))
}

/// A listener left the stream.
pub(crate) fn event_stream_detached(remote: &str) -> Event {
    Event::new("event_stream_detached", json!({ "remoteAddress": remote }))
}

/// Returns steps as answers and events show them.
pub(crate) fn steps_json(steps: &[Vec<Action>]) -> Value {
    steps.iter().map(|step| actions_json(step)).collect()
}

/// Returns steps as a dry run shows them.
pub(crate) fn plan_steps_json(steps: &[Vec<Action>]) -> Value {
    json!({ "steps": steps_json(steps) })
}

fn plan_json(deployment: &Deployment) -> Value {
    json!({
        "id": deployment.id,
        "steps": steps_json(&deployment.steps),
        "version": deployment.version,
    })
}

fn step_fields(deployment: &Deployment) -> Value {
    json!({
        "plan": plan_json(deployment),
        "currentStep": actions_json(deployment.current_actions()),
    })
}

fn actions_json(actions: &[Action]) -> Value {
    let actions: Vec<Value> = actions
        .iter()
        .map(|action| json!({ "action": action.kind.as_str(), "app": action.app }))
        .collect();
    json!({ "actions": actions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_an_event_line_a_data_line_and_a_blank_line() {
        let frame = app_terminated(&AppId::from_text("a")).frame(Stamp::from_milliseconds(0));

        assert_eq!(
            &*frame.text,
            "event: app_terminated_event\r\n\
             data: {\"appId\":\"/a\",\"eventType\":\"app_terminated_event\",\
             \"timestamp\":\"1970-01-01T00:00:00.000Z\"}\r\n\r\n"
        );
    }
}
