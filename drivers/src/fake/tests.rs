//! What the world in memory is expected to do.

use super::*;
use crate::{Balancer, Orchestrator};
use serde_json::json;
use teal_core::action::{InstanceAction, KillReason, Lock, Victim};
use teal_core::name::Role;

#[tokio::test]
async fn instances_come_as_they_are_born_and_go_when_told() {
    let world = World::new();
    let green = RevisionId::from("/green");
    let definition = json!({ "healthChecks": [{}] });
    world.grow(&green, &definition, 0);

    Orchestrator::act(&world, &scale(&green, 2, Lock::Respect))
        .await
        .expect("scales");
    let ids = world.instances(&green);
    assert_eq!(phases(&world, &green), [Phase::Starting, Phase::Starting]);

    world.turn_all_healthy(&green);
    Orchestrator::act(&world, &kill(&green, &ids[..1]))
        .await
        .expect("kills");
    assert_eq!(phases(&world, &green), [Phase::Stopping, Phase::Running]);

    world.finish_stopping();
    assert_eq!(world.instances(&green), ids[1..]);
}

#[tokio::test]
async fn an_instance_that_crashes_is_replaced_under_another_id() {
    let world = World::auto();
    let blue = RevisionId::from("/blue");
    let ids = world.grow(&blue, &json!({}), 1);

    world.crash(&ids[0]);

    assert_eq!(world.instances(&blue).len(), 1);
    assert_ne!(world.instances(&blue), ids);
}

#[tokio::test]
async fn stopping_what_is_at_work_is_kept_as_harm() {
    let world = World::auto();
    let blue = RevisionId::from("/blue");
    let pool = PoolId::from("oinker");
    let ids = world.grow(&blue, &json!({}), 2);
    world.serve(&pool, &ids);
    world.set_in_flight(&ids[0], 3);
    world.set_pending(&ids[0], Pending::Count(1));

    Orchestrator::act(&world, &kill(&blue, &ids[..1]))
        .await
        .expect("kills");

    assert_eq!(world.harm().len(), 3, "{:?}", world.harm());
    assert_eq!(world.least_serving(&pool), 1);
}

#[tokio::test]
async fn a_change_of_scale_locks_until_it_is_done() {
    let world = World::new();
    let green = RevisionId::from("/green");
    world.grow(&green, &json!({ "healthChecks": [{}] }), 0);
    world.set_locking(Locking::UntilDone);
    Orchestrator::act(&world, &scale(&green, 1, Lock::Respect))
        .await
        .expect("scales");

    let refused = Orchestrator::act(&world, &scale(&green, 2, Lock::Respect)).await;
    assert!(
        matches!(refused, Err(DriverError::Locked { .. })),
        "{refused:?}"
    );
    Orchestrator::act(&world, &scale(&green, 2, Lock::Override))
        .await
        .expect("overrides the lock");

    world.turn_all_healthy(&green);
    assert_eq!(
        Orchestrator::act(&world, &scale(&green, 3, Lock::Respect)).await,
        Ok(())
    );
}

#[tokio::test]
async fn a_call_that_shall_fail_fails_once_and_has_no_effect() {
    let world = World::auto();
    let error = DriverError::Busy {
        url: "fake".to_owned(),
        message: "busy".to_owned(),
    };
    world.fail_next(System::Balancer, error.clone());

    assert_eq!(Balancer::observe(&world, &[]).await, Err(error));
    assert_eq!(Balancer::observe(&world, &[]).await, Ok(vec![]));
}

fn phases(world: &World, revision: &RevisionId) -> Vec<Phase> {
    let sighting = world.revision(revision).expect("it exists");
    sighting
        .instances
        .iter()
        .map(|instance| instance.phase)
        .collect()
}

fn scale(revision: &RevisionId, instances: u32, lock: Lock) -> InstanceAction {
    InstanceAction::Scale {
        role: Role::Green,
        revision: revision.clone(),
        instances,
        lock,
    }
}

fn kill(revision: &RevisionId, ids: &[InstanceId]) -> InstanceAction {
    let victim = |id: &InstanceId| Victim {
        instance: id.clone(),
        in_flight: Some(0),
        pending: Pending::Count(0),
        idle_samples: 3,
        why: KillReason::Drained,
    };
    InstanceAction::Kill {
        role: Role::Green,
        revision: revision.clone(),
        victims: ids.iter().map(victim).collect(),
        lock: Lock::Respect,
    }
}
