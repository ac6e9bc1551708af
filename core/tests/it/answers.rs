//! When an answer comes, and what it says, decides how long what was said is reckoned with.

use crate::on_its_way::{
    SWITCH, about_to_scale_to_three, decided, first_action, next_kill, scale_green,
    time_until_scaled_to_three,
};
use crate::scenarios::waits_for;
use crate::world::World;
use teal_core::Span;
use teal_core::action::{Action, InstanceAction, Lock, Member, PoolAction};
use teal_core::decide::WaitingFor;
use teal_core::journal::{Command, Effect, Event, Outcome};
use teal_core::name::{Address, InstanceId, PoolId, Role};
use teal_core::observation::Phase;

/// How long a call is waited for before it is given up.
const CALL: Span = Span::seconds(30);

fn fails(world: &mut World, intent: u64, effect: Effect) {
    let (reason, retry) = ("test".to_owned(), true);
    world.log(Event::Failed {
        intent,
        reason,
        retry,
        effect,
    });
}

fn change(admit: Vec<Member>, withdraw: Vec<InstanceId>) -> Action {
    Action::Pool(PoolAction::Change {
        pool: PoolId::from("oinker"),
        admit,
        withdraw,
        forget: Vec::new(),
    })
}

fn rolls_back(world: &mut World) {
    let reason = "test".to_owned();
    world.ask(Command::Rollback { reason });
}

#[test]
fn a_size_whose_answer_was_missed_late_may_arrive_late_though_it_is_said_again_at_once() {
    let mut world = about_to_scale_to_three();
    let action = scale_green(2);
    let intent = world.log(Event::Intended { action });
    world.now = world.now + CALL;
    fails(&mut world, intent, Effect::Unknown);
    let action = scale_green(2);
    let intent = world.log(Event::Intended { action });
    world.log(Event::Performed { intent });

    assert_eq!(time_until_scaled_to_three(&mut world), Span::seconds(5));
}

#[test]
fn an_instance_whose_leaving_was_missed_late_may_leave_late_though_it_is_told_again_at_once() {
    let mut world = World::new(2, &[], 3);
    let one = world.fleet(Role::Blue).copies[0].id.clone();
    let action = change(Vec::new(), vec![one.clone()]);
    let intent = world.log(Event::Intended { action });
    world.now = world.now + CALL;
    fails(&mut world, intent, Effect::Unknown);
    let missed = world.now;
    let action = change(Vec::new(), vec![one.clone()]);

    world.log(Event::Intended { action });

    assert_eq!(world.state.unsure_leaves.get(&one), Some(&missed));
}

/// Lets a BLUE in, with an answer after so long and no effect yet.
fn admitted(world: &mut World, answered_after: Span) -> InstanceId {
    let instance = world.fleet(Role::Blue).copies[0].id.clone();
    let address = Address(format!("127.0.0.1:{instance}"));
    let member = Member {
        instance: instance.clone(),
        address,
    };
    let action = change(vec![member], Vec::new());
    let intent = world.log(Event::Intended { action });
    world.now = world.now + answered_after;
    world.log(Event::Performed { intent });
    instance
}

#[test]
fn an_admission_that_was_answered_late_may_come_about_late() {
    let mut world = World::new(2, &[SWITCH, ("keep_blue", "10s")], 3);
    while waits_for(&mut world) != Some(WaitingFor::Bake) {
        assert_eq!(world.step(), None);
    }
    assert_eq!(world.run(90), None);
    let instance = admitted(&mut world, Span::seconds(4));
    let answered = world.now;

    while !next_kill(&mut world).contains(&instance) {}

    assert!(world.now.since(answered) >= Span::seconds(5));
}

#[test]
fn a_rollback_after_a_refused_creation_ends_at_once() {
    let mut world = World::new(2, &[], 3);
    let action = first_action(&mut world);
    let intent = world.log(Event::Intended { action });
    fails(&mut world, intent, Effect::None);
    rolls_back(&mut world);

    let outcome = world.step();

    assert!(
        matches!(outcome, Some(Outcome::RolledBack { .. })),
        "{outcome:?}"
    );
}

#[test]
fn a_refused_creation_does_not_hide_one_before_it_that_may_still_come_about() {
    let mut world = World::new(2, &[], 3);
    let action = first_action(&mut world);
    for effect in [Effect::Unknown, Effect::None] {
        let action = action.clone();
        let intent = world.log(Event::Intended { action });
        fails(&mut world, intent, effect);
    }
    rolls_back(&mut world);

    assert_eq!(world.step(), None);
}

#[test]
fn blue_serves_again_at_once_though_a_lock_refused_to_empty_it() {
    let mut world = World::new(1, &[], 3);
    // Out of the pool, and said twice, as an action that is refused is.
    world.pool = Some([].into());
    for _ in 0..2 {
        let intent = world.log(Event::Intended {
            action: Action::Instance(InstanceAction::Scale {
                role: Role::Blue,
                revision: "/oinker-a".into(),
                instances: 0,
                lock: Lock::Respect,
            }),
        });
        fails(&mut world, intent, Effect::None);
    }
    rolls_back(&mut world);

    world.step();

    assert_eq!(world.serving(Role::Blue), 1);
}

#[test]
fn a_size_that_was_refused_is_not_on_its_way_when_it_is_said_again() {
    let mut world = about_to_scale_to_three();
    let action = scale_green(2);
    let intent = world.log(Event::Intended { action });
    fails(&mut world, intent, Effect::None);
    let action = scale_green(2);
    let intent = world.log(Event::Intended { action });
    world.log(Event::Performed { intent });

    assert!(time_until_scaled_to_three(&mut world) < Span::seconds(5));
}

#[test]
fn a_refused_pool_change_leaves_nothing_to_wait_for() {
    let mut world = World::new(2, &[], 3);
    let ids: Vec<_> = world.copies().map(|copy| copy.id.clone()).collect();
    let address = Address::from("127.0.0.1:1");
    let member = Member {
        instance: ids[0].clone(),
        address,
    };
    let action = change(vec![member], vec![ids[1].clone()]);
    let before = (world.state.admitted.clone(), world.state.leaves.clone());
    let intent = world.log(Event::Intended { action });

    fails(&mut world, intent, Effect::None);

    let after = (world.state.admitted.clone(), world.state.leaves.clone());
    assert_eq!(after, before);
}

#[test]
fn an_admission_that_nobody_has_seen_is_not_taken_for_seen_after_a_restart_or_a_blind_look() {
    for restarts in [true, false] {
        let settings = [SWITCH, ("keep_blue", "10s"), ("drain_samples", "2")];
        let mut world = World::new(2, &settings, 3);
        while waits_for(&mut world) != Some(WaitingFor::Bake) {
            assert_eq!(world.step(), None);
        }
        assert_eq!(world.run(90), None);
        let instance = admitted(&mut world, Span::ZERO);
        let since = world.now;
        world.now = world.now + Span::millis(100);
        if restarts {
            world.restart_deployer();
        } else {
            world.blind_every = 1;
            world.look();
            world.blind_every = 0;
            world.now = world.now + Span::millis(100);
        }

        while !next_kill(&mut world).contains(&instance) {}

        assert!(world.now.since(since) >= Span::seconds(5));
    }
}

#[test]
fn one_that_is_out_of_reach_and_was_replaced_does_not_keep_another_one_from_being_stopped() {
    let mut world = World::new(2, &[SWITCH], 3);
    let victims = |world: &mut World| {
        let decided = decided(world);
        decided.into_iter().find_map(|action| match action {
            Action::Instance(InstanceAction::Kill { victims, .. }) => {
                let ids = victims.into_iter().map(|victim| victim.instance);
                Some(ids.collect::<Vec<_>>())
            }
            Action::Instance(_) | Action::Pool(_) | Action::Mark(_) => None,
        })
    };
    let both = loop {
        if let Some(victims) = victims(&mut world) {
            break victims;
        }
        assert_eq!(world.step(), None);
    };
    assert_eq!(both.len(), 2);
    world.fleet(Role::Blue).copies[1].phase = Phase::Unreachable;
    world.add(Role::Blue);

    let one = world.fleet(Role::Blue).copies[0].id.clone();
    assert_eq!(victims(&mut world), Some(vec![one]));
}
