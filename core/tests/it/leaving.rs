//! What was told to leave the pool and is seen there, or left and was let in again, may leave any moment; and what was
//! let in and left may be let in once more.

use crate::on_its_way::{SWITCH, admission_on_its_way, decided, next_kill};
use crate::scenarios::waits_for;
use crate::world::World;
use teal_core::Span;
use teal_core::action::{Action, PoolAction};
use teal_core::decide::{Decision, WaitingFor, decide};
use teal_core::journal::{Command, Event, Outcome};
use teal_core::name::{InstanceId, Role};
use teal_core::observation::{EndpointState, Health};

#[test]
fn while_one_that_was_told_to_leave_is_still_seen_no_other_one_leaves_in_its_place() {
    let mut world = World::new(3, &[("batch", "1")], 3);
    let leaving = |world: &mut World| {
        let seen = world.look();
        let Decision::Act(actions) = decide(&world.plan, &world.state, &seen, world.now) else {
            return Vec::new();
        };
        let mut left = Vec::new();
        for action in actions {
            if let Action::Pool(PoolAction::Change { withdraw, .. }) = &action
                && !withdraw.is_empty()
            {
                left.clone_from(withdraw);
                // It is accepted, and takes its time.
                let intent = world.log(Event::Intended { action });
                world.log(Event::Performed { intent });
            }
        }
        left
    };
    let hide = |world: &mut World, health| world.fleet(Role::Blue).copies[2].health = health;
    let last = world.fleet(Role::Blue).copies[2].id.clone();
    let mut left = Vec::new();
    for _ in 0..500 {
        // For one look the health of the last is missing.
        hide(&mut world, Health::Unknown);
        left = leaving(&mut world);
        hide(&mut world, Health::Healthy);
        if !left.is_empty() {
            break;
        }
        assert_eq!(world.step(), None);
    }
    assert_eq!(left, [last]);

    world.now = world.now + Span::millis(100);

    assert_eq!(leaving(&mut world), Vec::<InstanceId>::new());
}

/// Who is told to leave the pool now.
fn told_to_leave(world: &mut World) -> Vec<InstanceId> {
    let changes = decided(world);
    let leave = changes.iter().filter_map(|action| match action {
        Action::Pool(PoolAction::Change { withdraw, .. }) => Some(withdraw.clone()),
        Action::Pool(_) | Action::Instance(_) | Action::Mark(_) => None,
    });
    leave.flatten().collect()
}

/// A GREEN serves beside all of BLUE, of which one has been told to leave; and the deployment is rolled back.
fn rolled_back_while_one_leaves() -> World {
    let mut world = World::new(3, &[("batch", "1")], 3);
    while told_to_leave(&mut world).is_empty() {
        assert_eq!(world.step(), None);
    }
    let Some(action) = decided(&mut world)
        .into_iter()
        .find(|action| matches!(action, Action::Pool(_)))
    else {
        panic!("the pool is changed");
    };
    let green = world.fleet(Role::Green).copies[0].id.clone();
    let pool = world.pool.as_mut().expect("there is a pool");
    pool.insert(green, EndpointState::Serving);
    let intent = world.log(Event::Intended { action });
    world.log(Event::Performed { intent });
    let reason = "test".to_owned();
    world.ask(Command::Rollback { reason });
    world
}

#[test]
fn a_rollback_does_not_rely_on_a_blue_that_was_told_to_leave_though_it_is_still_seen_serving() {
    let mut world = rolled_back_while_one_leaves();
    let since = world.now;
    assert_eq!(world.serving(Role::Blue) + world.serving(Role::Green), 4);

    while told_to_leave(&mut world).is_empty() {
        assert_eq!(world.serving(Role::Green), 1);
        world.now = world.now + Span::millis(100);
    }

    assert_eq!(world.now.since(since), Span::seconds(5));
    assert!(matches!(world.run(1_000), Some(Outcome::RolledBack { .. })));
}

#[test]
fn a_rollback_does_not_end_while_a_blue_that_serves_may_still_leave() {
    let mut world = rolled_back_while_one_leaves();
    let since = world.now;
    world.fleets.remove(&Role::Green);
    let blue = world.fleet(Role::Blue).copies.clone();
    let pool = world.pool.as_mut().expect("there is a pool");
    pool.retain(|id, _| blue.iter().any(|copy| copy.id == *id));

    while !ends(&mut world) {
        world.now = world.now + Span::millis(100);
    }

    assert_eq!(world.now.since(since), Span::seconds(5));
}

fn ends(world: &mut World) -> bool {
    let seen = world.look();
    let decision = decide(&world.plan, &world.state, &seen, world.now);
    matches!(decision, Decision::Finish(_))
}

/// A word that is delivered twice undoes, the second time, what was said in between.
#[test]
fn one_that_was_let_in_again_just_after_it_left_makes_no_other_one_spare_for_a_second() {
    let mut world = World::new(2, &[SWITCH, ("keep_blue", "60s")], 3);
    while waits_for(&mut world) != Some(WaitingFor::Bake) {
        assert_eq!(world.step(), None);
    }
    let since = world.now;
    let reason = "test".to_owned();
    world.ask(Command::Rollback { reason });
    while world.serving(Role::Blue) < 2 {
        assert_eq!(told_to_leave(&mut world), Vec::<InstanceId>::new());
        assert_eq!(world.step(), None);
    }

    while told_to_leave(&mut world).is_empty() {
        world.now = world.now + Span::millis(100);
    }

    let waited = world.now.since(since);
    assert!(waited >= Span::millis(500) && waited <= Span::seconds(1));
}

#[test]
fn one_that_left_again_just_after_it_was_let_in_is_not_stopped_for_a_second() {
    let (mut world, one) = admission_on_its_way(|intent| Event::Performed { intent });
    let since = world.now;
    for state in [EndpointState::Serving, EndpointState::Draining] {
        let pool = world.pool.as_mut().expect("there is a pool");
        pool.insert(one.clone(), state);
        world.now = world.now + Span::millis(1);
        world.look();
    }
    world.ask(Command::Promote { full: false });

    while !next_kill(&mut world).contains(&one) {}

    let waited = world.now.since(since);
    assert!(waited >= Span::seconds(1) && waited < Span::seconds(2));
}

#[test]
fn a_look_between_two_samples_does_not_put_off_the_next_one() {
    let mut world = World::new(1, &[("drain_interval", "200ms")], 3);
    let drains = |world: &mut World| {
        let seen = world.look();
        let blue = seen.revision(Role::Blue)?.instances.first()?;
        let sampled = blue.sampled_at?;
        match decide(&world.plan, &world.state, &seen, world.now) {
            Decision::Wait { until, reason } if reason.on == WaitingFor::Drain => {
                Some((sampled, until))
            }
            Decision::Wait { .. } | Decision::Act(_) | Decision::Finish(_) => None,
        }
    };
    for _ in 0..500 {
        if let Some((sampled, _)) = drains(&mut world) {
            world.now = world.now + Span::millis(50);

            assert_eq!(
                drains(&mut world),
                Some((sampled, sampled + Span::millis(200)))
            );
            return;
        }
        assert_eq!(world.step(), None);
    }
    panic!("BLUE never drained");
}
