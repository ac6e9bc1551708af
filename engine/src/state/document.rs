//! What is written down of the world: plain data, in a form that has a number.
//!
//! Definitions are not in here: they never change, so each has a file of its own (`super::revisions`)
//! and is named here by its app and version. Times are those of the wall clock, since the other one
//! means nothing after the machine was booted again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::deployment::Action;
use crate::groups::{GroupChange, Groups};
use crate::health::CheckState;
use crate::identity::{AppId, InstanceId, TaskId};
use crate::model::{Addresses, Goal, TaskState};
use crate::time::Stamp;

/// The form that this program writes. It reads no other.
pub(crate) const FORMAT: u32 = 1;

/// Everything the engine must know to go on where it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) format: u32,
    pub(crate) last_version: Option<Stamp>,
    pub(crate) next_port: u16,
    pub(crate) apps: BTreeMap<AppId, AppRecord>,
    pub(crate) groups: Groups,
    /// The versions of the whole, oldest first.
    pub(crate) roots: Vec<RootRecord>,
    pub(crate) deployments: Vec<DeploymentRecord>,
    /// Tasks that have ended and whose sandboxes are kept.
    pub(crate) ended: Vec<TaskId>,
}

/// One version of the whole, as what differs from the one before it: most differ in one app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RootRecord {
    pub(crate) version: Stamp,
    pub(crate) groups: Option<Groups>,
    /// The new version of each app that changed; nothing of one that went.
    pub(crate) apps: BTreeMap<AppId, Option<Stamp>>,
}

/// One app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AppRecord {
    pub(crate) current: Option<Stamp>,
    pub(crate) versions: Vec<Stamp>,
    pub(crate) instances: Vec<InstanceRecord>,
    pub(crate) delay: Option<DelayRecord>,
    pub(crate) last_failure: Option<FailureRecord>,
}

/// How long launches wait after an end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DelayRecord {
    pub(crate) length_ms: u64,
    pub(crate) until: Stamp,
}

/// The last failure of an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FailureRecord {
    pub(crate) task: TaskId,
    pub(crate) state: String,
    pub(crate) message: String,
    pub(crate) timestamp: Stamp,
    pub(crate) version: Stamp,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct InstanceRecord {
    pub(crate) id: InstanceId,
    pub(crate) goal: Goal,
    pub(crate) version: Stamp,
    pub(crate) incarnation: u32,
    pub(crate) since: Stamp,
    pub(crate) task: Option<TaskRecord>,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TaskRecord {
    pub(crate) id: TaskId,
    pub(crate) state: TaskState,
    pub(crate) ports: Vec<u16>,
    pub(crate) addresses: Addresses,
    pub(crate) staged_at: Stamp,
    pub(crate) started_at: Option<Stamp>,
    /// As they were when something else was last written: results alone are not worth a write.
    pub(crate) checks: Vec<CheckState>,
    /// Whether it has been ready once.
    pub(crate) is_ready: bool,
}

/// One running deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DeploymentRecord {
    pub(crate) id: String,
    pub(crate) version: Stamp,
    pub(crate) steps: Vec<Vec<Action>>,
    pub(crate) current: usize,
    pub(crate) originals: BTreeMap<AppId, Option<Stamp>>,
    pub(crate) groups: Option<GroupChange>,
    pub(crate) victims: BTreeSet<InstanceId>,
}
