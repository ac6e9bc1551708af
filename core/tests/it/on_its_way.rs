//! What was asked for and is not seen yet, and what comes about late: each test shows a state that the simulation in
//! memory has found.

use crate::scenarios::{kills, waits_for};
use crate::world::{STEP, World};
use teal_core::action::{Action, InstanceAction, Lock, Member, PoolAction};
use teal_core::decide::{Decision, WaitingFor, decide};
use teal_core::journal::{Command, Effect, Event, Outcome};
use teal_core::name::{Address, InstanceId, PoolId, Role};
use teal_core::observation::{EndpointState, Health, Phase};
use teal_core::{Moment, Span};

pub(crate) const SWITCH: (&str, &str) = ("strategy", "switch");

/// The first kill that is decided from here on.
pub(crate) fn next_kill(world: &mut World) -> Vec<InstanceId> {
    let before = kills(world).len();
    while kills(world).len() == before {
        assert_eq!(world.step(), None);
    }
    match &kills(world)[before] {
        InstanceAction::Kill { victims, .. } => {
            victims.iter().map(|it| it.instance.clone()).collect()
        }
        InstanceAction::Create { .. }
        | InstanceAction::Scale { .. }
        | InstanceAction::Remove { .. } => Vec::new(),
    }
}

#[test]
fn nothing_is_stopped_while_more_run_than_are_wanted_since_one_more_would_go_with_it() {
    let mut world = World::new(3, &[], 7);
    next_kill(&mut world);
    while waits_for(&mut world) == Some(WaitingFor::Stop) {
        assert_eq!(world.step(), None);
    }
    // One that had been replaced is back, and its orchestrator has not made up its mind which one goes.
    let back = world.add(Role::Blue);
    let before = kills(&world).len();

    assert_eq!(world.run(300), None);

    assert!(world.copies().any(|copy| copy.id == back));
    assert_eq!(kills(&world).len(), before);
    world
        .fleet(Role::Blue)
        .copies
        .retain(|copy| copy.id != back);
    assert_eq!(world.run(3_000), Some(Outcome::Completed));
}

/// Found by the simulated cluster: it comes back, finds its revision smaller, and is stopped with its requests.
#[test]
fn a_spare_is_not_stopped_while_one_that_gets_requests_is_out_of_reach() {
    let mut world = World::new(1, &[SWITCH, ("keep_blue", "10s")], 3);
    while waits_for(&mut world) != Some(WaitingFor::Bake) {
        assert_eq!(world.step(), None);
    }
    let lost = &mut world.fleet(Role::Green).copies[0];
    lost.phase = Phase::Unreachable;
    let lost = lost.id.clone();
    let spare = world.add(Role::Green);
    let well_at = world.now + Span::seconds(20);
    let blue = &mut world.fleet(Role::Blue).copies[0];
    (blue.health, blue.changes_at) = (Health::Unhealthy, well_at);
    let reason = "test".to_owned();
    world.ask(Command::Rollback { reason });

    let serves =
        |world: &World, id| world.pool.as_ref().unwrap().get(id) == Some(&EndpointState::Serving);
    let mut looks = 0;
    while serves(&world, &lost) {
        assert!(
            world
                .copies()
                .any(|copy| copy.id == spare && copy.phase != Phase::Stopping)
        );
        assert_eq!(world.step(), None);
        looks += 1;
    }

    assert!(looks > 100, "{looks}");
    assert!(matches!(world.run(3_000), Some(Outcome::RolledBack { .. })));
}

/// Lets BLUE drain, and a first word to let one of it back in be lost on its way.
pub(crate) fn admission_on_its_way(failure: impl Fn(u64) -> Event) -> (World, InstanceId) {
    let mut world = World::new(2, &[SWITCH, ("keep_blue", "10s")], 3);
    while waits_for(&mut world) != Some(WaitingFor::Bake) {
        assert_eq!(world.step(), None);
    }
    assert_eq!(world.run(90), None);
    let one = world.fleet(Role::Blue).copies[0].id.clone();
    let address = Address(format!("127.0.0.1:{one}"));
    let action = Action::Pool(PoolAction::Change {
        pool: PoolId::from("oinker"),
        admit: vec![Member {
            instance: one.clone(),
            address,
        }],
        withdraw: Vec::new(),
        forget: Vec::new(),
    });
    let intent = world.log(Event::Intended { action });
    let event = failure(intent);
    world.log(event);
    (world, one)
}

#[test]
fn an_instance_whose_admission_got_no_answer_is_not_stopped_while_it_may_still_be_let_in() {
    let (mut world, one) = admission_on_its_way(|intent| Event::Failed {
        intent,
        reason: "lost".to_owned(),
        retry: true,
        effect: Effect::Unknown,
    });
    let since = world.now;
    // It was said again, it was seen, and teal took it out; the first word is still on its way.
    for state in [EndpointState::Serving, EndpointState::Draining] {
        world.pool.as_mut().unwrap().insert(one.clone(), state);
        world.now = world.now + Span::millis(1);
        world.look();
    }

    while !next_kill(&mut world).contains(&one) {}

    assert!(world.now.since(since) >= Span::seconds(5));
}

#[test]
fn what_a_slow_look_shows_may_be_from_before_an_admission_came_about() {
    let (mut world, one) = admission_on_its_way(|intent| Event::Failed {
        intent,
        reason: "lost".to_owned(),
        retry: true,
        effect: Effect::Unknown,
    });
    world.state.withdrawn.insert(one.clone(), world.now);
    let began = world.now;
    let stops = |world: &mut World, began: Moment| {
        let mut seen = world.look();
        seen.began = began;
        let decision = decide(&world.plan, &world.state, &seen, world.now);
        let Decision::Act(actions) = decision else {
            return false;
        };
        actions.iter().any(|action| {
            matches!(action, Action::Instance(InstanceAction::Kill { victims, .. })
                if victims.iter().any(|victim| victim.instance == one))
        })
    };
    while world.now.since(began) < Span::seconds(6) {
        world.now = world.now + Span::millis(100);
        world.look();
    }

    assert!(!stops(&mut world, began));
    let now = world.now;
    assert!(stops(&mut world, now));
}

#[test]
fn an_instance_that_was_let_in_and_not_seen_there_yet_is_not_stopped_for_its_idleness_before() {
    let (mut world, one) = admission_on_its_way(|intent| Event::Performed { intent });
    let since = world.now;

    while !next_kill(&mut world).contains(&one) {}

    assert!(world.now.since(since) >= Span::seconds(5));
}

/// What a deployment begins with.
pub(crate) fn first_action(world: &mut World) -> Action {
    let seen = world.look();
    match decide(&world.plan, &world.state, &seen, world.now) {
        Decision::Act(actions) => actions[0].clone(),
        Decision::Wait { .. } | Decision::Finish(_) => panic!("nothing is done"),
    }
}

#[test]
fn a_rollback_reckons_with_a_creation_that_got_no_answer_though_it_was_said_again() {
    let mut world = World::new(2, &[], 3);
    let create = first_action(&mut world);
    let action = create.clone();
    let intent = world.log(Event::Intended { action });
    let (reason, retry, effect) = ("lost".to_owned(), true, Effect::Unknown);
    world.log(Event::Failed {
        intent,
        reason,
        retry,
        effect,
    });
    while !world.fleets.contains_key(&Role::Green) {
        assert_eq!(world.step(), None);
    }
    let reason = "test".to_owned();
    world.ask(Command::Rollback { reason });
    while world.fleets.contains_key(&Role::Green) {
        assert_eq!(world.step(), None);
    }
    assert_eq!(world.step(), None);

    world.perform(&create).unwrap();
    let outcome = world.run(1_000);

    assert!(
        matches!(outcome, Some(Outcome::RolledBack { .. })),
        "{outcome:?}"
    );
    assert!(!world.fleets.contains_key(&Role::Green));
}

#[test]
fn a_rollback_reckons_with_a_creation_that_is_not_seen_yet() {
    let mut world = World::new(2, &[], 3);
    let create = first_action(&mut world);
    let action = create.clone();
    let intent = world.log(Event::Intended { action });
    world.log(Event::Performed { intent });
    let reason = "test".to_owned();
    world.ask(Command::Rollback { reason });
    assert_eq!(world.run(10), None);

    world.perform(&create).unwrap();
    let outcome = world.run(1_000);

    assert!(
        matches!(outcome, Some(Outcome::RolledBack { .. })),
        "{outcome:?}"
    );
    assert!(!world.fleets.contains_key(&Role::Green));
}

/// An action is announced, and no answer comes.
fn is_not_answered(world: &mut World, action: Action) {
    let intent = world.log(Event::Intended { action });
    let (reason, retry, effect) = ("lost".to_owned(), true, Effect::Unknown);
    world.log(Event::Failed {
        intent,
        reason,
        retry,
        effect,
    });
}

/// What is decided now.
pub(crate) fn decided(world: &mut World) -> Vec<Action> {
    let seen = world.look();
    match decide(&world.plan, &world.state, &seen, world.now) {
        Decision::Act(actions) => actions,
        Decision::Wait { .. } | Decision::Finish(_) => Vec::new(),
    }
}

/// The size that GREEN is to get now.
fn size_of_green(world: &mut World) -> Option<u32> {
    decided(world).iter().find_map(|action| match action {
        Action::Instance(InstanceAction::Scale {
            role: Role::Green,
            instances,
            ..
        }) => Some(*instances),
        Action::Instance(_) | Action::Pool(_) | Action::Mark(_) => None,
    })
}

/// Whether a GREEN is to enter the pool now.
pub(crate) fn enters(world: &mut World) -> bool {
    let decided = decided(world);
    let mut changes = decided.iter();
    changes.any(|action| {
        matches!(action, Action::Pool(PoolAction::Change { admit, .. })
            if admit.iter().any(|member| member.instance.as_str().starts_with("GREEN")))
    })
}

pub(crate) fn scale_green(instances: u32) -> Action {
    Action::Instance(InstanceAction::Scale {
        role: Role::Green,
        revision: "/oinker-b".into(),
        instances,
        lock: Lock::Respect,
    })
}

/// Lets GREEN grow until it is to get its third instance, at this moment.
pub(crate) fn about_to_scale_to_three() -> World {
    let mut world = World::new(3, &[("batch", "1")], 3);
    while size_of_green(&mut world) != Some(3) {
        assert_eq!(world.step(), None);
    }
    world
}

/// How long it takes, while nothing else happens, until GREEN is to get its third instance.
pub(crate) fn time_until_scaled_to_three(world: &mut World) -> Span {
    let since = world.now;
    while size_of_green(world) != Some(3) {
        world.now = world.now + Span::millis(100);
    }
    world.now.since(since)
}

#[test]
fn no_other_size_is_asked_for_while_one_that_got_no_answer_may_still_arrive() {
    let mut world = about_to_scale_to_three();
    is_not_answered(&mut world, scale_green(2));

    assert_eq!(time_until_scaled_to_three(&mut world), Span::seconds(5));
    assert_eq!(world.run(3_000), Some(Outcome::Completed));
}

/// Found by the model: the first word arrived when teal had seen the second one's effect, and GREEN became smaller.
#[test]
fn a_size_that_was_asked_for_twice_because_nothing_was_seen_of_it_may_arrive_twice() {
    let mut world = about_to_scale_to_three();
    for _ in 0..2 {
        let intent = world.log(Event::Intended {
            action: scale_green(2),
        });
        world.log(Event::Performed { intent });
    }

    assert_eq!(time_until_scaled_to_three(&mut world), Span::seconds(5));
    assert_eq!(world.run(3_000), Some(Outcome::Completed));
}

#[test]
fn the_same_size_is_asked_for_again_though_it_may_still_arrive() {
    let mut world = about_to_scale_to_three();
    is_not_answered(&mut world, scale_green(3));

    // Only as late as any action that is tried again.
    assert_eq!(time_until_scaled_to_three(&mut world), Span::seconds(1));
}

#[test]
fn the_size_that_an_ended_process_had_just_asked_for_may_still_arrive() {
    let mut world = about_to_scale_to_three();
    let action = scale_green(2);
    world.log(Event::Intended { action });
    world.restart_deployer();

    assert_eq!(time_until_scaled_to_three(&mut world), Span::seconds(5));
}

#[test]
fn nothing_enters_the_pool_while_its_revision_may_become_smaller_any_moment() {
    let mut world = World::new(3, &[], 3);
    while !enters(&mut world) {
        assert_eq!(world.step(), None);
    }
    // Teal asked for less than somebody else has made of it meanwhile.
    is_not_answered(&mut world, scale_green(0));
    let missed = world.now;

    while !enters(&mut world) {
        assert_eq!(world.step(), None);
    }

    assert!(world.now.since(missed) >= Span::seconds(5));
    assert_eq!(world.run(3_000), Some(Outcome::Completed));
}

#[test]
fn a_rollback_lets_nothing_in_that_stops_because_blue_was_told_to_have_no_instances() {
    let mut world = World::new(1, &[], 3);
    while !enters(&mut world) {
        assert_eq!(world.step(), None);
    }
    // Its orchestrator has replaced one that crashed, and does not show which ones it stops.
    world.pool = Some([].into());
    let action = Action::Instance(InstanceAction::Scale {
        role: Role::Blue,
        revision: "/oinker-a".into(),
        instances: 0,
        lock: Lock::Respect,
    });
    let intent = world.log(Event::Intended { action });
    world.log(Event::Performed { intent });
    let since = world.now;
    let reason = "test".to_owned();
    world.ask(Command::Rollback { reason });

    while world.serving(Role::Blue) == 0 {
        assert_eq!(world.step(), None);
    }

    assert!(world.now.since(since) >= Span::seconds(8));
}

#[test]
fn another_machine_owes_blue_its_place_in_the_pool_though_the_pool_has_been_forgotten() {
    let mut world = World::new(3, &[], 3);
    while !world.fleets.contains_key(&Role::Green) {
        assert_eq!(world.step(), None);
    }

    // BLUE has to settle anew, and there is nothing of GREEN to wait for.
    world.tells_since = false;
    world.pool = Some(Default::default());
    world.move_to_another_machine();
    let reason = "test".to_owned();
    world.ask(Command::Rollback { reason });
    let outcome = world.run(1_000);

    assert!(
        matches!(outcome, Some(Outcome::RolledBack { .. })),
        "{outcome:?}"
    );
    assert_eq!(world.serving(Role::Blue), 3);
}

#[test]
fn another_machine_takes_a_green_that_could_have_served_for_one_that_did_though_the_pool_has_been_forgotten()
 {
    let mut world = World::new(2, &[], 3);
    while world.serving(Role::Green) == 0 {
        assert_eq!(world.step(), None);
    }
    let green = world.fleet(Role::Green).copies[0].id.clone();

    world.pool = Some(Default::default());
    world.move_to_another_machine();

    assert!(world.state.served.contains(&green));
}

/// A kill gets no answer, and was not heard. What it was of drains and runs.
fn kill_that_was_not_heard() -> (World, Vec<InstanceId>) {
    let mut world = World::new(2, &[("batch", "1")], 3);
    let victims = next_kill(&mut world);
    let Some(kill) = kills(&world).pop() else {
        panic!("a kill was decided");
    };
    is_not_answered(&mut world, Action::Instance(kill));
    let blue = world.fleet(Role::Blue);
    blue.wanted = 2;
    for copy in &mut blue.copies {
        copy.phase = Phase::Running;
    }
    (world, victims)
}

/// Found by the model: the first word, which was to override GREEN's lock, arrived after the second one.
#[test]
fn a_kill_that_got_no_answer_is_not_said_again_while_it_may_still_arrive() {
    let (mut world, first) = kill_that_was_not_heard();
    let missed = world.now;

    let again = next_kill(&mut world);

    assert_eq!(again, first);
    assert!(world.now.since(missed) >= Span::seconds(5));
}

/// What is decided on a look that ends now.
fn decided_by_look(world: &mut World, began: Moment) -> Vec<Action> {
    let mut seen = world.look();
    seen.began = began;
    match decide(&world.plan, &world.state, &seen, world.now) {
        Decision::Act(actions) => actions,
        Decision::Wait { .. } | Decision::Finish(_) => Vec::new(),
    }
}

fn goes_by(world: &mut World, time: Span) {
    let since = world.now;
    while world.now.since(since) < time {
        world.now = world.now + Span::millis(100);
        world.look();
    }
}

#[test]
fn what_a_slow_look_shows_may_be_from_before_a_kill_arrived_that_got_no_answer() {
    let (mut world, _) = kill_that_was_not_heard();
    let missed = world.now;
    goes_by(&mut world, Span::seconds(6));
    let is_kill = |action: &Action| matches!(action, Action::Instance(InstanceAction::Kill { .. }));

    let now = world.now;
    assert!(!decided_by_look(&mut world, missed).iter().any(is_kill));
    assert!(decided_by_look(&mut world, now).iter().any(is_kill));
}

#[test]
fn a_rollback_lets_in_what_a_kill_has_not_reached_only_on_a_look_that_began_when_it_would_be_gone()
{
    let (mut world, victims) = kill_that_was_not_heard();
    let missed = world.now;
    let reason = "test".to_owned();
    world.ask(Command::Rollback { reason });
    // The word may take 5 s, and stopping 3 s.
    goes_by(&mut world, Span::seconds(8));
    let lets_in = |action: &Action| {
        matches!(action, Action::Pool(PoolAction::Change { admit, .. })
            if admit.iter().any(|member| victims.contains(&member.instance)))
    };

    let now = world.now;
    assert!(!decided_by_look(&mut world, missed).iter().any(lets_in));
    assert!(decided_by_look(&mut world, now).iter().any(lets_in));
}

#[test]
fn a_rollback_does_not_end_while_a_pool_that_it_closed_may_be_opened_once_more() {
    let mut world = World::new(0, &[], 3);
    while world.pool.is_none() {
        assert_eq!(world.step(), None);
    }
    // It was opened in the last step.
    let opened = world.now - STEP;
    let reason = "test".to_owned();
    world.ask(Command::Rollback { reason });
    while world.pool.is_some() {
        assert_eq!(world.step(), None);
    }
    assert_eq!(world.run(3), None);

    // The word comes once more.
    world.pool = Some(Default::default());
    let outcome = world.run(1_000);

    assert!(
        matches!(outcome, Some(Outcome::RolledBack { .. })),
        "{outcome:?}"
    );
    assert_eq!(world.pool, None);
    assert!(world.now.since(opened) >= Span::seconds(5));
}

#[test]
fn one_too_many_at_the_end_of_a_long_bake_is_waited_for_and_not_at_once_a_reason_to_turn_back() {
    let mut world = World::new(2, &[SWITCH, ("keep_blue", "10m")], 3);
    while waits_for(&mut world) != Some(WaitingFor::Bake) {
        assert_eq!(world.step(), None);
    }
    assert_eq!(world.run(90), None);
    let mut back = world.fleet(Role::Blue).copies[0].clone();
    back.id = InstanceId::from("BLUE-99");
    world.fleet(Role::Blue).copies.push(back.clone());
    world.now = world.now + Span::minutes(10);

    for _ in 0..100 {
        world.fleet(Role::Blue).wanted = 2;
        assert_eq!(world.step(), None);
    }

    assert!(!world.state.is_back());
    world
        .fleet(Role::Blue)
        .copies
        .retain(|copy| copy.id != back.id);
    assert_eq!(world.run(3_000), Some(Outcome::Completed));
}
