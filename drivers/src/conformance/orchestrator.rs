//! The rules of orchestrators.

use super::Patience;
use crate::{DriverError, Orchestrator};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use teal_core::action::{InstanceAction, KillReason, Lock, Victim};
use teal_core::name::{InstanceId, RevisionId, Role};
use teal_core::observation::{Health, InstanceSighting, Pending, Phase, RevisionSighting};
use tokio::time::{Instant, timeout};

/// What a rule is tried on.
#[derive(Clone)]
pub struct Trial<'a> {
    /// The driver.
    pub orchestrator: &'a dyn Orchestrator,
    /// The id of a revision that does not exist.
    pub revision: RevisionId,
    /// What it runs: something that stays up, has a port and a health check, and becomes healthy in a moment.
    pub definition: Value,
    /// How long to wait for effects.
    pub patience: Patience,
}

/// A revision that was created exists, and has and wants no instances.
pub async fn a_created_revision_has_no_instances(trial: &Trial<'_>) {
    trial.create().await;

    let seen = trial.seen().await;

    assert_eq!((seen.wanted, seen.instances.len()), (0, 0), "{seen:?}");
    assert!(seen.checked, "its health check is not seen: {seen:?}");
    trial.clear_up().await;
}

/// Creating again what the same deployment created changes nothing.
pub async fn creating_twice_is_one(trial: &Trial<'_>) {
    trial.create().await;
    trial.grow_to(1).await;
    let before = trial.ids().await;

    trial.create().await;

    assert_eq!(trial.ids().await, before);
    assert_eq!(trial.seen().await.wanted, 1);
    trial.clear_up().await;
}

/// A revision of another deployment is not taken over.
pub async fn creating_what_another_deployment_created_is_refused(trial: &Trial<'_>) {
    trial.create().await;
    let mut definition = trial.definition.clone();
    definition["labels"]["TEAL_DEPLOYMENT"] = json!("somebody-else");

    let refused = trial.orchestrator.act(&trial.creation(definition)).await;

    assert!(
        matches!(refused, Err(DriverError::Refused { .. })),
        "{refused:?}"
    );
    trial.clear_up().await;
}

/// What does not exist is left out of a look; it is no error.
pub async fn a_missing_revision_is_left_out(trial: &Trial<'_>) {
    let missing = RevisionId(format!("{}-missing", trial.revision));
    trial.create().await;

    let seen = trial
        .orchestrator
        .observe(&[missing, trial.revision.clone()])
        .await;

    let seen = seen.expect("a look at what is missing is no error");
    let ids: Vec<_> = seen.into_iter().map(|revision| revision.id).collect();
    assert_eq!(ids, std::slice::from_ref(&trial.revision));
    trial.clear_up().await;
}

/// What is found can be created again as it was found.
pub async fn what_is_found_can_be_created_again(trial: &Trial<'_>) {
    trial.create().await;
    let found = trial.orchestrator.find().await.expect("finds");
    let found = found
        .into_iter()
        .find(|found| found.sighting.id == trial.revision);
    let definition = found.expect("it is among what is found").definition;
    trial.clear_up().await;

    trial
        .done(&trial.creation(Value::Object(definition.clone())))
        .await;

    trial.grow_to(1).await;
    let label = |body: &Value| body.pointer("/labels/TEAL_DEPLOYMENT").cloned();
    assert_eq!(label(&Value::Object(definition)), label(&trial.definition));
    trial.clear_up().await;
}

/// Instances that were asked for come up, healthy, each with an id and an address of its own.
pub async fn scaling_up_brings_running_healthy_instances(trial: &Trial<'_>) {
    trial.create().await;

    trial.grow_to(2).await;

    let seen = trial.seen().await;
    let addresses: BTreeSet<_> = seen
        .instances
        .iter()
        .filter_map(|instance| instance.addresses.at(0))
        .collect();
    assert_eq!(addresses.len(), 2, "{seen:?}");
    assert!(
        seen.instances.iter().all(|instance| instance.current),
        "{seen:?}"
    );
    trial.clear_up().await;
}

/// Asking again for the same number changes nothing.
pub async fn scaling_twice_is_once(trial: &Trial<'_>) {
    trial.create().await;
    trial.grow_to(2).await;
    let before = trial.ids().await;

    trial.done(&trial.scaling(2)).await;

    assert_eq!(trial.seen().await.wanted, 2);
    assert_eq!(trial.ids().await, before);
    trial.clear_up().await;
}

/// What does not exist cannot be scaled, and scaling it does not make it.
pub async fn scaling_what_is_not_there_is_an_error(trial: &Trial<'_>) {
    let answer = trial.orchestrator.act(&trial.scaling(1)).await;

    assert!(
        matches!(answer, Err(DriverError::NotFound { .. })),
        "{answer:?}"
    );
    assert_eq!(trial.look().await, None);
}

/// A kill stops its victims and no other, and as many fewer are wanted.
pub async fn killing_scales_down_by_the_victims(trial: &Trial<'_>) {
    trial.create().await;
    trial.grow_to(3).await;
    let ids = trial.ids().await;

    trial.done(&trial.killing(&ids[..2])).await;

    let seen = trial
        .until("the victims are gone", |seen| seen.instances.len() == 1)
        .await;
    assert_eq!(seen.wanted, 1, "{seen:?}");
    assert_eq!(seen.instances[0].id, ids[2]);
    trial.clear_up().await;
}

/// A kill that is sent twice stops its victims once and takes no other with them.
pub async fn killing_twice_scales_once(trial: &Trial<'_>) {
    trial.create().await;
    trial.grow_to(3).await;
    let ids = trial.ids().await;

    trial.done(&trial.killing(&ids[..1])).await;
    trial.done(&trial.killing(&ids[..1])).await;
    trial
        .until("the victim is gone", |seen| seen.instances.len() < 3)
        .await;
    trial.done(&trial.killing(&ids[..1])).await;

    let seen = trial.until("nothing is locked", |seen| !seen.locked).await;
    assert_eq!(seen.wanted, 2, "{seen:?}");
    assert_eq!(trial.ids().await, ids[1..]);
    trial.clear_up().await;
}

/// A kill of what is not there does nothing, and scales nothing.
pub async fn killing_what_is_gone_changes_nothing(trial: &Trial<'_>) {
    trial.create().await;
    trial.grow_to(1).await;
    let before = trial.ids().await;

    trial
        .done(&trial.killing(&[InstanceId::from("nobody.7e57")]))
        .await;

    assert_eq!(trial.seen().await.wanted, 1);
    assert_eq!(trial.ids().await, before);
    trial.clear_up().await;
}

/// A revision that has instances is not removed: that would stop them, whatever they are at.
pub async fn a_revision_with_instances_is_not_removed(trial: &Trial<'_>) {
    trial.create().await;
    trial.grow_to(1).await;
    let before = trial.ids().await;

    let refused = trial.orchestrator.act(&trial.removal()).await;

    assert!(
        matches!(refused, Err(DriverError::Busy { .. })),
        "{refused:?}"
    );
    assert_eq!(trial.ids().await, before);
    trial.clear_up().await;
}

/// What was removed exists no more, and removing it again is no error.
pub async fn a_removed_revision_is_gone(trial: &Trial<'_>) {
    trial.create().await;

    trial.clear_up().await;

    trial.done(&trial.removal()).await;
    let found = trial.orchestrator.find().await.expect("finds");
    assert!(
        found
            .iter()
            .all(|found| found.sighting.id != trial.revision)
    );
}

/// Removing what never was is no error.
pub async fn removing_what_is_not_there_is_ok(trial: &Trial<'_>) {
    trial.done(&trial.removal()).await;

    assert_eq!(trial.look().await, None);
}

impl Trial<'_> {
    async fn create(&self) {
        self.done(&self.creation(self.definition.clone())).await;
        self.until("it exists", |_| true).await;
    }

    async fn grow_to(&self, count: u32) {
        self.done(&self.scaling(count)).await;
        let up = |instance: &InstanceSighting| {
            instance.phase == Phase::Running && instance.health == Health::Healthy
        };
        self.until("all instances are healthy and nothing is locked", |seen| {
            seen.instances.len() == count as usize && seen.instances.iter().all(up) && !seen.locked
        })
        .await;
    }

    /// Takes away what the rule made.
    async fn clear_up(&self) {
        let ids = self.ids().await;
        if !ids.is_empty() {
            self.done(&self.killing(&ids)).await;
            self.until("it has no instances", |seen| seen.instances.is_empty())
                .await;
        }
        self.done(&self.removal()).await;
        self.until_seen("it is gone", |seen| seen.is_none()).await;
    }

    /// Carries out an action, waiting for locks as long as patience lasts.
    async fn done(&self, action: &InstanceAction) {
        let deadline = Instant::now() + self.patience.limit;
        loop {
            match self.orchestrator.act(action).await {
                Ok(()) => return,
                Err(DriverError::Locked { .. }) if Instant::now() < deadline => self.pause().await,
                Err(error) => panic!("{action:?}: {error}"),
            }
        }
    }

    async fn until(
        &self,
        what: &str,
        holds: impl Fn(&RevisionSighting) -> bool,
    ) -> RevisionSighting {
        let seen = self.until_seen(what, |seen| seen.is_some_and(&holds)).await;
        seen.expect("it exists, or nothing would hold of it")
    }

    async fn until_seen(
        &self,
        what: &str,
        holds: impl Fn(Option<&RevisionSighting>) -> bool,
    ) -> Option<RevisionSighting> {
        let deadline = Instant::now() + self.patience.limit;
        loop {
            let seen = self.look().await;
            if holds(seen.as_ref()) {
                return seen;
            }
            assert!(
                Instant::now() < deadline,
                "not within {:?}: {what}: {seen:?}",
                self.patience
            );
            self.pause().await;
        }
    }

    /// Waits for a cue, or until it is time to look anyway.
    async fn pause(&self) {
        drop(timeout(self.patience.interval, self.orchestrator.changed()).await);
    }

    async fn look(&self) -> Option<RevisionSighting> {
        let seen = self
            .orchestrator
            .observe(std::slice::from_ref(&self.revision))
            .await;
        seen.expect("a look succeeds").pop()
    }

    async fn seen(&self) -> RevisionSighting {
        self.look().await.expect("it exists")
    }

    async fn ids(&self) -> Vec<InstanceId> {
        let seen = self.look().await;
        let mut ids: Vec<_> = seen
            .into_iter()
            .flat_map(|seen| seen.instances)
            .map(|one| one.id)
            .collect();
        ids.sort();
        ids
    }

    fn creation(&self, definition: Value) -> InstanceAction {
        InstanceAction::Create {
            role: Role::Green,
            revision: self.revision.clone(),
            definition,
        }
    }

    fn scaling(&self, instances: u32) -> InstanceAction {
        InstanceAction::Scale {
            role: Role::Green,
            revision: self.revision.clone(),
            instances,
            lock: Lock::Respect,
        }
    }

    fn killing(&self, ids: &[InstanceId]) -> InstanceAction {
        let victim = |id: &InstanceId| Victim {
            instance: id.clone(),
            in_flight: Some(0),
            pending: Pending::Count(0),
            idle_samples: 3,
            why: KillReason::NeverServed,
        };
        InstanceAction::Kill {
            role: Role::Green,
            revision: self.revision.clone(),
            victims: ids.iter().map(victim).collect(),
            lock: Lock::Respect,
        }
    }

    fn removal(&self) -> InstanceAction {
        InstanceAction::Remove {
            role: Role::Green,
            revision: self.revision.clone(),
        }
    }
}
