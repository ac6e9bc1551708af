//! What happened, for a person or a script: a journal and nothing else, read once.

use crate::action::{Action, InstanceAction, KillReason, Mark, PoolAction, Victim};
use crate::journal::{Entry, Event, IllegalEntry, Outcome, Picture, State};
use crate::name::{DeploymentId, InstanceId, RevisionId, Role, ServiceName};
use crate::observation::Pending;
use crate::plan::Plan;
use crate::time::{Moment, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A deployment's report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The deployment.
    pub deployment: DeploymentId,
    /// Its service.
    pub service: ServiceName,
    /// What served when it began.
    pub blue: Option<RevisionId>,
    /// What was coming.
    pub green: RevisionId,
    /// How many GREEN instances there were to be.
    pub target: u32,
    /// What teal was not to go below.
    pub floor: u32,
    /// When it began.
    pub began: Moment,
    /// When it ended, if it has.
    pub ended: Option<Moment>,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
    /// The least number of healthy, serving instances that was seen after it had first been reached.
    pub least_capacity: Option<usize>,
    /// How every instance left, in the order in which they were withdrawn.
    pub drains: Vec<Drain>,
    /// What was stopped before it was drained.
    pub forced: Vec<Forced>,
    /// Everything that was decided, in order.
    pub timeline: Vec<Line>,
    /// How many healthy, serving instances there were, whenever that changed.
    pub capacity: Vec<(Moment, usize)>,
}

/// How one instance left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Which.
    pub instance: InstanceId,
    /// Of which revision.
    pub role: Role,
    /// When it left the pool.
    pub withdrawn: Moment,
    /// When it was told to stop; None: it was not.
    pub stopped: Option<Moment>,
    /// The most requests that were seen in flight while it drained.
    pub most_in_flight: u64,
    /// The most pending operations that were seen while it drained.
    pub most_pending: u64,
}

/// An instance that was stopped before it was drained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    /// Which, with what was known of its work.
    pub victim: Victim,
    /// When.
    pub at: Moment,
}

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When.
    pub at: Moment,
    /// What, as a sentence without a full stop.
    pub what: String,
}

impl Report {
    /// Returns the report of a journal.
    ///
    /// # Errors
    /// It is no journal.
    pub fn of(entries: &[Entry]) -> Result<Self, IllegalEntry> {
        let (plan, state) = State::replay(entries)?;
        let mut writer = Writer::new(&plan, entries[0].at);
        entries.iter().for_each(|entry| writer.take(entry));
        let mut report = writer.report;
        report.outcome = state.outcome;
        Ok(report)
    }

    /// Returns how long it took, or has taken until `now`.
    #[must_use]
    pub fn took(&self, now: Moment) -> Span {
        self.ended.unwrap_or(now).since(self.began)
    }
}

/// Returns an action as a sentence.
#[must_use]
pub fn sentence(action: &Action) -> String {
    match action {
        Action::Instance(InstanceAction::Create { role, revision, .. }) => {
            format!("create {role} {revision}")
        }
        Action::Instance(InstanceAction::Scale {
            role, instances, ..
        }) => format!("scale {role} to {instances}"),
        Action::Instance(InstanceAction::Kill { role, victims, .. }) => {
            let each: Vec<_> = victims.iter().map(describe_victim).collect();
            format!("stop {} {role}: {}", victims.len(), each.join("; "))
        }
        Action::Instance(InstanceAction::Remove { role, revision }) => {
            format!("remove {role} {revision}")
        }
        Action::Pool(PoolAction::Open { pool }) => match &pool.listen {
            Some(listen) => format!("open pool {} on {listen}", pool.id),
            None => format!("open pool {}", pool.id),
        },
        Action::Pool(PoolAction::Change {
            pool,
            admit,
            withdraw,
            forget,
        }) => {
            let mut parts = Vec::new();
            if !admit.is_empty() {
                parts.push(format!(
                    "admit {}",
                    list(admit.iter().map(|member| &member.instance))
                ));
            }
            if !withdraw.is_empty() {
                parts.push(format!("withdraw {}", list(withdraw.iter())));
            }
            if !forget.is_empty() {
                parts.push(format!("forget {}", list(forget.iter())));
            }
            format!("pool {pool}: {}", parts.join(", "))
        }
        Action::Pool(PoolAction::Close { pool }) => format!("close pool {pool}"),
        Action::Mark(mark) => mark_sentence(mark),
    }
}

fn mark_sentence(mark: &Mark) -> String {
    match mark {
        Mark::TurnBack { reason } => format!("turn back: {reason}"),
        Mark::GateReached { gate } => format!("gate {gate} reached: a person must promote"),
        Mark::BakeBegun => "all traffic is on GREEN; BLUE stays warm".to_owned(),
        Mark::DrainOverdue { instances, .. } => {
            format!(
                "past the drain deadline, still waiting for {}",
                list(instances.iter())
            )
        }
    }
}

fn list<'a>(ids: impl Iterator<Item = &'a InstanceId>) -> String {
    ids.map(short).collect::<Vec<_>>().join(", ")
}

/// Returns what tells instances of one service apart, short enough for a line.
#[must_use]
pub fn short(id: &InstanceId) -> String {
    let text = id.as_str();
    let Some((revision, rest)) = text.split_once(".instance-") else {
        return text.to_owned();
    };
    let unique: String = rest.chars().take(8).collect();
    let incarnation = rest.rsplit_once('.').map_or("", |(_, number)| number);
    if incarnation.is_empty() || incarnation == "1" {
        format!("{revision}.{unique}")
    } else {
        format!("{revision}.{unique}.{incarnation}")
    }
}

fn describe_victim(victim: &Victim) -> String {
    let id = short(&victim.instance);
    let in_flight = victim
        .in_flight
        .map_or_else(|| "unknown".to_owned(), |count| count.to_string());
    match &victim.why {
        KillReason::Drained => format!(
            "{id} (in-flight 0, pending {} over {} samples)",
            victim.pending, victim.idle_samples
        ),
        KillReason::NeverServed => format!("{id} (never served)"),
        KillReason::Forced(reason) => {
            format!(
                "{id} FORCED with in-flight {in_flight}, pending {}: {reason}",
                victim.pending
            )
        }
    }
}

struct Writer {
    report: Report,
    places: BTreeMap<InstanceId, usize>,
    roles: BTreeMap<InstanceId, Role>,
}

impl Writer {
    fn new(plan: &Plan, began: Moment) -> Self {
        let report = Report {
            deployment: plan.deployment.clone(),
            service: plan.service.clone(),
            blue: plan.blue.as_ref().map(|blue| blue.revision.clone()),
            green: plan.green.revision.clone(),
            target: plan.target,
            floor: plan.floor,
            began,
            ended: None,
            outcome: None,
            least_capacity: None,
            drains: Vec::new(),
            forced: Vec::new(),
            timeline: Vec::new(),
            capacity: Vec::new(),
        };
        Self {
            report,
            places: BTreeMap::new(),
            roles: BTreeMap::new(),
        }
    }

    fn take(&mut self, entry: &Entry) {
        let at = entry.at;
        let what = match &entry.event {
            Event::Begun { plan } => {
                let from = plan
                    .blue
                    .as_ref()
                    .map_or("nothing", |blue| blue.revision.as_str());
                format!(
                    "begin: {} from {from} to {}",
                    plan.service, plan.green.revision
                )
            }
            Event::Intended { action } => {
                self.action(at, action);
                sentence(action)
            }
            Event::Performed { .. } => return,
            Event::Seen { picture } => return self.picture(at, picture),
            Event::Failed { reason, .. } => format!("failed: {reason}"),
            Event::Asked { command, .. } => format!("operator: {}", ask(command)),
            Event::Resumed { by } => format!("resumed by {by}"),
            Event::Ended { outcome } => {
                self.report.ended = Some(at);
                ending(outcome)
            }
        };
        self.report.timeline.push(Line { at, what });
    }

    fn action(&mut self, at: Moment, action: &Action) {
        match action {
            Action::Pool(PoolAction::Change { withdraw, .. }) => {
                withdraw.iter().for_each(|id| self.withdrawn(at, id));
            }
            Action::Instance(InstanceAction::Kill { victims, .. }) => {
                victims.iter().for_each(|victim| self.killed(at, victim));
            }
            Action::Instance(_) | Action::Pool(_) | Action::Mark(_) => {}
        }
    }

    fn withdrawn(&mut self, at: Moment, id: &InstanceId) {
        let role = self.roles.get(id).copied().unwrap_or(Role::Blue);
        self.places.entry(id.clone()).or_insert_with(|| {
            self.report.drains.push(Drain {
                instance: id.clone(),
                role,
                withdrawn: at,
                stopped: None,
                most_in_flight: 0,
                most_pending: 0,
            });
            self.report.drains.len() - 1
        });
    }

    fn killed(&mut self, at: Moment, victim: &Victim) {
        if let Some(place) = self.places.get(&victim.instance) {
            self.report.drains[*place].stopped.get_or_insert(at);
        }
        if matches!(victim.why, KillReason::Forced(_)) {
            self.report.forced.push(Forced {
                victim: victim.clone(),
                at,
            });
        }
    }

    fn picture(&mut self, at: Moment, picture: &Picture) {
        for (id, glance) in &picture.instances {
            self.roles.insert(id.clone(), glance.role);
            let Some(place) = self.places.get(id) else {
                continue;
            };
            let drain = &mut self.report.drains[*place];
            drain.most_in_flight = drain.most_in_flight.max(glance.in_flight.unwrap_or(0));
            if let Some(Pending::Count(count)) = glance.pending {
                drain.most_pending = drain.most_pending.max(count);
            }
        }
        if self
            .report
            .capacity
            .last()
            .is_none_or(|(_, last)| *last != picture.capacity)
        {
            self.report.capacity.push((at, picture.capacity));
        }
        let was = self.report.least_capacity;
        let reached = picture.capacity >= self.report.floor as usize;
        self.report.least_capacity = match was {
            None if reached => Some(picture.capacity),
            None => None,
            Some(least) => Some(least.min(picture.capacity)),
        };
    }
}

/// Returns what an operator asked for, as a sentence.
#[must_use]
pub fn ask(command: &crate::journal::Command) -> String {
    use crate::journal::Command;
    match command {
        Command::Pause => "pause".to_owned(),
        Command::Resume => "resume".to_owned(),
        Command::Promote { full: false } => "promote".to_owned(),
        Command::Promote { full: true } => "promote everything".to_owned(),
        Command::Rollback { reason } => format!("roll back: {reason}"),
        Command::Force { reason } => format!("force: {reason}"),
    }
}

/// Returns an outcome as a sentence.
#[must_use]
pub fn ending(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Completed => "completed".to_owned(),
        Outcome::RolledBack { reason } => format!("rolled back: {reason}"),
        Outcome::Stuck { reason } => format!("stuck: {reason}"),
    }
}
