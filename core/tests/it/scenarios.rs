//! Single behaviours of the decision, one a test.

use crate::world::{Green, World};
use teal_core::Span;
use teal_core::action::{Action, InstanceAction, KillReason, Lock, Mark};
use teal_core::decide::{Decision, WaitingFor, decide};
use teal_core::journal::{Command, Effect, Event, Outcome};
use teal_core::name::{InstanceId, Role};
use teal_core::observation::{EndpointState, Health, Pending};
use teal_core::settings::Gate;

const SWITCH: (&str, &str) = ("strategy", "switch");

/// The kill actions of a journal.
pub(crate) fn kills(world: &World) -> Vec<InstanceAction> {
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

pub(crate) fn waits_for(world: &mut World) -> Option<WaitingFor> {
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
    // For a second BLUE may leave once more, and is not yet relied on.
    let shifted = world.now;
    while world.now.since(shifted) < Span::seconds(1) {
        assert_eq!(world.step(), None);
    }

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

// What a review found, each with the state that shows it.

#[test]
fn a_blue_that_was_relaunched_during_the_launch_is_not_stopped() {
    let mut world = World::new(3, &[("gates", "shift")], 9);
    while waits_for(&mut world) != Some(WaitingFor::Operator) {
        assert_eq!(world.step(), None);
    }
    for _ in 0..3 {
        world.fleet(Role::Blue).copies.remove(0);
        assert_eq!(world.run(200), None);
    }

    assert_eq!(kills(&world), vec![]);
    assert_eq!(
        world.serving(Role::Blue),
        3,
        "every one came back into the pool"
    );
}

#[test]
fn blue_that_is_unsettled_and_in_no_pool_is_not_stopped_before_green_serves() {
    let mut world = World::new(3, &[("min_healthy_time", "20s")], 9);
    world.pool = None;
    let now = world.now;
    for copy in &mut world.fleet(Role::Blue).copies {
        copy.healthy_since = Some(now);
    }

    for _ in 0..150 {
        assert_eq!(world.step(), None);
        assert_eq!(world.fleet(Role::Blue).copies.len(), 3);
    }
    assert_eq!(world.run(3_000), Some(Outcome::Completed));
}

#[test]
fn warm_blue_stays_warm_when_green_falls_ill() {
    let mut world = World::new(
        3,
        &[SWITCH, ("keep_blue", "1h"), ("unhealthy_limit", "1m")],
        3,
    );
    while waits_for(&mut world) != Some(WaitingFor::Bake) {
        assert_eq!(world.step(), None);
    }
    let later = world.now + teal_core::Span::seconds(20);
    let green = &mut world.fleet(Role::Green).copies[0];
    (green.health, green.healthy_since) = (Health::Unhealthy, None);
    green.changes_at = later;

    assert_eq!(world.run(100), None);

    assert_eq!(kills(&world), vec![]);
    assert_eq!(world.serving(Role::Blue), 1, "one of them helps out");
}

#[test]
fn a_blue_with_no_instances_is_replaced_without_a_bake() {
    let mut world = World::new(2, &[SWITCH, ("keep_blue", "1h")], 3);
    let blue = world.fleet(Role::Blue);
    blue.copies.clear();
    blue.wanted = 0;

    assert_eq!(world.run(1_000), Some(Outcome::Completed));
}

#[test]
fn a_deployer_that_was_away_for_an_hour_goes_on_where_it_was() {
    for away_after in [5, 20, 30, 40, 60, 90] {
        let mut world = World::new(3, &[], 11);
        assert_eq!(world.run(away_after), None);
        world.now = world.now + teal_core::Span::minutes(60);
        world.restart_deployer();

        assert_eq!(
            world.run(3_000),
            Some(Outcome::Completed),
            "away after {away_after} steps"
        );
    }
}

#[test]
fn a_late_promotion_gives_the_drain_its_full_time() {
    let mut world = World::new(2, &[("gates", "retire"), ("batch", "all")], 3);
    while waits_for(&mut world) != Some(WaitingFor::Operator) {
        assert_eq!(world.step(), None);
    }
    world.now = world.now + teal_core::Span::minutes(30);
    world.ask(Command::Promote { full: false });

    assert_eq!(world.run(1_000), Some(Outcome::Completed));
}

#[test]
fn a_pool_is_not_emptied_because_nothing_is_found() {
    let mut world = World::new(3, &[], 3);
    assert_eq!(world.run(3), None);
    let hidden = std::mem::take(&mut world.fleets);

    assert_eq!(world.run(3), None);

    let pool = world.pool.clone().unwrap();
    assert!(
        hidden[&Role::Blue]
            .copies
            .iter()
            .all(|copy| pool.contains_key(&copy.id))
    );
}

#[test]
fn an_endpoint_of_somebody_else_is_not_touched() {
    let mut world = World::new(3, &[], 3);
    let other = InstanceId::from("somebody-else");
    world
        .pool
        .as_mut()
        .unwrap()
        .insert(other.clone(), EndpointState::Serving);

    assert_eq!(world.run(3_000), Some(Outcome::Completed));

    assert!(world.pool.unwrap().contains_key(&other));
}

#[test]
fn a_blue_that_is_sick_and_in_no_pool_makes_room_for_the_green_that_mends_it() {
    let mut world = World::new(3, &[], 3);
    world.pool = Some(Default::default());
    let never = world.now + teal_core::Span::minutes(600);
    for copy in &mut world.fleet(Role::Blue).copies {
        (copy.health, copy.healthy_since, copy.changes_at) = (Health::Unknown, None, never);
    }

    assert_eq!(world.run(3_000), Some(Outcome::Completed));
}

#[test]
fn another_machine_that_finds_green_serving_comes_to_the_retire_gate_and_stays_there() {
    let mut world = World::new(2, &[("gates", "shift,retire"), ("batch", "all")], 3);
    while waits_for(&mut world) != Some(WaitingFor::Operator) {
        assert_eq!(world.step(), None);
    }
    world.ask(Command::Promote { full: false });
    while world.serving(Role::Green) < 2 || world.serving(Role::Blue) > 0 {
        assert_eq!(world.step(), None);
    }

    world.move_to_another_machine();
    assert_eq!(world.run(100), None);

    let mut marks = Vec::new();
    for entry in &world.journal {
        if let Event::Intended {
            action: Action::Mark(mark),
        } = &entry.event
        {
            marks.push(mark.clone());
        }
    }
    let gate = Gate::Retire;
    assert_eq!(marks, [Mark::GateReached { gate }]);
    assert_eq!(waits_for(&mut world), Some(WaitingFor::Operator));
}

#[test]
fn a_sick_green_is_rolled_back_in_time_though_every_few_looks_one_fails() {
    let mut world = World::new(2, &[], 7);
    (world.green, world.blind_every) = (Green::NeverHealthy, 15);

    let outcome = world.run(450);

    assert!(
        matches!(outcome, Some(Outcome::RolledBack { .. })),
        "{outcome:?}"
    );
}

#[test]
fn a_green_that_is_never_in_sight_for_long_enough_is_rolled_back_in_time() {
    let mut world = World::new(2, &[("min_healthy_time", "3s")], 7);
    world.blind_every = 15;
    world.tells_since = false;

    let outcome = world.run(600);

    assert!(
        matches!(outcome, Some(Outcome::RolledBack { .. })),
        "{outcome:?}"
    );
}

#[test]
fn an_instance_that_drained_when_the_deployment_began_leaves_the_pool_when_it_is_gone() {
    let mut world = World::new(2, &[], 7);
    let id = world.fleet(Role::Blue).copies[0].id.clone();
    let drains = EndpointState::Draining;
    world.pool.as_mut().unwrap().insert(id.clone(), drains);
    world.plan_anew(&world.plan.settings.clone());
    // It dies before anybody has looked.
    world.fleet(Role::Blue).copies.remove(0);

    let outcome = world.run(5_000);

    assert_eq!(outcome, Some(Outcome::Completed));
    assert!(!world.pool.unwrap().contains_key(&id));
}

#[test]
fn a_kill_that_may_have_been_heard_is_not_forced_when_it_is_said_again() {
    let mut world = World::new(1, &[], 7);
    world.green = Green::NeverHealthy;
    let is_launched = |world: &World| {
        let green = world.fleets.get(&Role::Green);
        green.is_some_and(|fleet| !fleet.copies.is_empty())
    };
    while !is_launched(&world) {
        assert_eq!(world.step(), None);
    }
    // What locks GREEN is its launch, or the first word that was heard: it does not end.
    world.fleet(Role::Green).locked_until = world.now + Span::minutes(10);
    let reason = "test".to_owned();
    world.ask(Command::Rollback { reason });

    let mut locks = Vec::new();
    for pause in [Span::ZERO, Span::seconds(5), Span::seconds(31)] {
        world.now = world.now + pause;
        let seen = world.look();
        let actions = match decide(&world.plan, &world.state, &seen, world.now) {
            Decision::Act(actions) => actions,
            Decision::Wait { .. } => Vec::new(),
            Decision::Finish(outcome) => panic!("it ends: {outcome:?}"),
        };
        let kill = actions.into_iter().find_map(|action| {
            let Action::Instance(InstanceAction::Kill { lock, .. }) = action else {
                return None;
            };
            Some((lock, action))
        });
        locks.push(kill.as_ref().map(|(lock, _)| *lock));
        let Some((_, action)) = kill else { continue };
        let intent = world.log(Event::Intended { action });
        let (reason, retry, effect) = ("lost".to_owned(), true, Effect::Unknown);
        world.log(Event::Failed {
            intent,
            reason,
            retry,
            effect,
        });
    }

    // The second time it waits for the lock, and the third time the first word is taken for one that never arrived.
    assert_eq!(locks, [Some(Lock::Override), None, Some(Lock::Override)]);
}
