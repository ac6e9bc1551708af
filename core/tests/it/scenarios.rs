//! Single behaviours of the decision, one a test.

use crate::world::World;
use teal_core::action::{Action, InstanceAction, KillReason};
use teal_core::decide::{Decision, WaitingFor, decide};
use teal_core::journal::{Command, Event, Outcome};
use teal_core::name::Role;
use teal_core::observation::Pending;

const SWITCH: (&str, &str) = ("strategy", "switch");

/// The kill actions of a journal.
fn kills(world: &World) -> Vec<InstanceAction> {
    let mut kills = Vec::new();
    for entry in &world.journal {
        if let Event::Intended {
            action: Action::Instance(action),
        } = &entry.event
            && matches!(action, InstanceAction::Kill { .. })
        {
            kills.push(action.clone());
        }
    }
    kills
}

fn waits_for(world: &mut World) -> Option<WaitingFor> {
    let seen = world.look();
    match decide(&world.plan, &world.state, &seen, world.now) {
        Decision::Wait { reason, .. } => Some(reason.on),
        Decision::Act(_) | Decision::Finish(_) => None,
    }
}

#[test]
fn a_gauge_that_never_reads_zero_keeps_its_instance_alive_until_the_policy_rolls_back() {
    let mut world = World::new(3, &[], 7);
    world.blue_pending_stays = Some(Pending::Count(3));

    let outcome = world.run(5_000);

    assert!(
        matches!(outcome, Some(Outcome::RolledBack { .. })),
        "{outcome:?}"
    );
    assert!(
        kills(&world).iter().all(|kill| kill.role() == Role::Green),
        "no BLUE was stopped"
    );
    assert_eq!(world.serving(Role::Blue), 3);
}

#[test]
fn under_wait_an_overdue_drain_is_announced_and_waited_for() {
    let mut world = World::new(3, &[("on_drain_deadline", "wait")], 7);
    world.blue_pending_stays = Some(Pending::Count(3));

    assert_eq!(world.run(1_000), None);

    let announced = world.journal.iter().any(|entry| {
        matches!(
            &entry.event,
            Event::Intended {
                action: Action::Mark(teal_core::action::Mark::DrainOverdue { .. })
            }
        )
    });
    assert!(announced);
    assert_eq!(kills(&world), vec![]);
    world.blue_pending_stays = Some(Pending::Count(0));
    assert_eq!(world.run(2_000), Some(Outcome::Completed));
}

#[test]
fn under_force_an_overdue_instance_is_stopped_for_the_stated_reason() {
    let set = [
        ("on_drain_deadline", "force"),
        ("force_reason", "the gauge is broken"),
    ];
    let mut world = World::new(2, &set, 7);
    world.blue_pending_stays = Some(Pending::Count(3));

    assert_eq!(world.run(5_000), Some(Outcome::Completed));

    for kill in kills(&world) {
        let InstanceAction::Kill { victims, .. } = kill else {
            continue;
        };
        assert!(
            victims
                .iter()
                .all(|victim| victim.why == KillReason::Forced("the gauge is broken".to_owned()))
        );
        assert!(
            victims
                .iter()
                .all(|victim| victim.pending == Pending::Count(3))
        );
    }
}

#[test]
fn unknown_pending_is_never_taken_for_zero() {
    let mut world = World::new(2, &[("on_drain_deadline", "wait")], 7);
    world.blue_pending_stays = Some(Pending::Unknown("HTTP 500".to_owned()));

    assert_eq!(world.run(2_000), None);

    assert_eq!(kills(&world), vec![]);
}

#[test]
fn a_switch_keeps_blue_warm_and_a_rollback_then_is_one_pool_change() {
    let mut world = World::new(3, &[SWITCH, ("keep_blue", "60s")], 3);
    while waits_for(&mut world) != Some(WaitingFor::Bake) {
        assert_eq!(world.step(), None);
    }
    assert_eq!(
        (world.serving(Role::Blue), world.serving(Role::Green)),
        (0, 3)
    );

    world.ask(Command::Rollback {
        reason: "it looks bad".to_owned(),
    });
    assert_eq!(world.step(), None);

    assert_eq!(
        (world.serving(Role::Blue), world.serving(Role::Green)),
        (3, 0)
    );
}

#[test]
fn a_gate_holds_the_first_traffic_until_a_person_promotes() {
    let mut world = World::new(2, &[("gates", "shift")], 3);
    while waits_for(&mut world) != Some(WaitingFor::Operator) {
        assert_eq!(world.step(), None);
    }
    assert_eq!(world.run(500), None);
    assert_eq!(world.serving(Role::Green), 0);

    world.ask(Command::Promote { full: false });

    assert_eq!(world.run(2_000), Some(Outcome::Completed));
}

#[test]
fn a_paused_deployment_does_nothing_until_it_is_resumed() {
    let mut world = World::new(3, &[], 3);
    assert_eq!(world.run(20), None);
    world.ask(Command::Pause);
    let before = world.journal.len();

    assert_eq!(world.run(500), None);
    assert_eq!(
        world.journal.len(),
        before,
        "nothing was decided while paused"
    );

    world.ask(Command::Resume);
    assert_eq!(world.run(3_000), Some(Outcome::Completed));
}

#[test]
fn a_promotion_ends_the_bake() {
    let mut world = World::new(2, &[SWITCH, ("keep_blue", "1h")], 3);
    while waits_for(&mut world) != Some(WaitingFor::Bake) {
        assert_eq!(world.step(), None);
    }

    world.ask(Command::Promote { full: false });

    assert_eq!(world.run(500), Some(Outcome::Completed));
}

#[test]
fn blue_that_was_in_no_pool_is_put_into_it_before_anything_leaves() {
    let mut world = World::new(3, &[], 3);
    world.pool = Some(Default::default());

    assert_eq!(world.run(3_000), Some(Outcome::Completed));
}

#[test]
fn blue_that_somebody_scales_up_meanwhile_leaves_too() {
    let mut world = World::new(2, &[], 5);
    assert_eq!(world.run(10), None);
    world.fleet(Role::Blue).wanted += 2;

    assert_eq!(world.run(3_000), Some(Outcome::Completed));

    assert!(!world.fleets.contains_key(&Role::Blue));
}
