//! What fuzzing, reviews and the model found, each as a plain case.

use crate::on_its_way::{decided, enters};
use crate::world::{Green, World};
use serde_json::json;
use std::collections::BTreeMap;
use teal_core::action::{Action, InstanceAction, Lock, PoolAction};
use teal_core::decide::{Decision, decide};
use teal_core::evidence::Evidence;
use teal_core::journal::{Command, Outcome};
use teal_core::name::{Address, InstanceId, PoolId, RevisionId, Role};
use teal_core::observation::{
    EndpointSighting, EndpointState, Health, InstanceSighting, Observation, Pending, Phase,
    PoolSighting, RevisionSighting, Sighting, Stray,
};
use teal_core::plan::PoolPlan;
use teal_core::settings::Settings;
use teal_core::{Moment, Span};

#[test]
fn a_plan_with_the_longest_times_is_outlined() {
    let mut plan = World::new(3, &[], 1).plan;
    plan.settings.min_healthy_time = Span(u64::MAX);
    plan.settings.drain_interval = Span(u64::MAX);
    (plan.target, plan.room) = (u32::MAX, u32::MAX);

    let outline = plan.outline();

    assert_eq!(
        (outline.at_least, outline.at_most, outline.room),
        (Span(u64::MAX), Span(u64::MAX), u32::MAX)
    );
}

#[test]
fn a_grace_period_beyond_all_bounds_is_the_longest_there_is() {
    let mut world = World::new(1, &[], 1);
    world.plan.green.definition["taskKillGracePeriodSeconds"] = json!(u64::MAX);
    world.ask(Command::Rollback {
        reason: "test".to_owned(),
    });

    assert!(matches!(world.run(6_000), Some(Outcome::RolledBack { .. })));
}

#[test]
fn counts_of_several_pools_that_cannot_be_added_up_are_no_small_number() {
    let mut world = World::new(1, &[], 1);
    let blue = world.copies().next().unwrap().id.clone();
    let pool = |name: &str| PoolSighting {
        id: PoolId::from(name),
        listen: None,
        endpoints: vec![EndpointSighting {
            instance: blue.clone(),
            address: Address::from("127.0.0.1:1"),
            state: EndpointState::Draining,
            in_flight: Some(u64::MAX),
        }],
        vacancies: None,
    };
    let revision = world.look().blue.unwrap().id;
    let revisions = [(Role::Blue, sighting(&revision, &blue))];

    let seen = Evidence::default().absorb(
        &world.plan,
        Sighting {
            began: Moment(1),
            at: Moment(1),
            revisions: Ok(revisions.into()),
            pools: Ok(vec![pool("oinker"), pool("oinker:1")]),
            pending: [].into(),
        },
    );

    let in_flight = seen.all_instances().next().unwrap().in_flight;
    assert_eq!(in_flight, Some(u64::MAX));
}

#[test]
fn a_pool_that_somebody_else_uses_is_left_when_a_first_deployment_is_rolled_back() {
    let mut world = World::new(0, &[], 1);
    assert_eq!(world.run(10), None);
    let other = InstanceId::from("somebody-elses");
    let pool = world.pool.as_mut().unwrap();
    pool.insert(other.clone(), EndpointState::Serving);
    world.ask(Command::Rollback {
        reason: "test".to_owned(),
    });

    let outcome = world.run(6_000);

    assert!(
        matches!(outcome, Some(Outcome::RolledBack { .. })),
        "{outcome:?}"
    );
    assert!(world.pool.unwrap().contains_key(&other));
}

#[test]
fn an_instance_that_a_pool_lists_twice_is_not_forgotten_while_one_entry_serves_alone() {
    let world = World::new(1, &[], 1);
    let entry = |state| Stray {
        pool: world.plan.pools[0].id.clone(),
        instance: InstanceId::from("gone"),
        state,
        known: true,
    };
    let seen = Observation {
        pools: vec![world.plan.pools[0].id.clone()],
        strays: vec![
            entry(EndpointState::Draining),
            entry(EndpointState::Serving),
        ],
        ..Observation::default()
    };

    let decision = decide(&world.plan, &world.state, &seen, world.now);

    let forgets = |action: &Action| matches!(action, Action::Pool(PoolAction::Change { forget, .. }) if !forget.is_empty());
    assert!(
        !matches!(&decision, Decision::Act(actions) if actions.iter().any(forgets)),
        "{decision:?}"
    );
}

#[test]
fn an_empty_reason_forces_nothing() {
    let mut world = World::new(2, &[("on_drain_deadline", "wait")], 1);
    world.blue_pending_stays = Some(Pending::Count(7));
    assert_eq!(world.run(300), None);

    world.ask(Command::Force {
        reason: String::new(),
    });
    world.run(100);

    let kills = world.journal.iter().filter(|entry| {
        let text = serde_json::to_string(entry).unwrap();
        text.contains("\"kill\"")
    });
    assert_eq!(kills.count(), 0);
}

fn sighting(id: &RevisionId, instance: &InstanceId) -> RevisionSighting {
    RevisionSighting {
        id: id.clone(),
        wanted: 1,
        locked: false,
        checked: true,
        trouble: None,
        instances: vec![InstanceSighting {
            id: instance.clone(),
            phase: Phase::Running,
            current: true,
            health: Health::Healthy,
            healthy_since: None,
            addresses: [Address::from("127.0.0.1:1")].into(),
        }],
    }
}

#[test]
fn a_green_that_has_no_address_replaces_nothing() {
    let mut world = World::new(3, &[], 3);
    while !enters(&mut world) {
        assert_eq!(world.step(), None);
    }
    let mut seen = world.look();
    for one in &mut seen.green.as_mut().unwrap().instances {
        one.addresses = [].into();
    }

    let decision = decide(&world.plan, &world.state, &seen, world.now);

    assert!(matches!(decision, Decision::Wait { .. }), "{decision:?}");
}

/// A deployment of a GREEN with two ports that is rolled back when its BLUE, which has one, is out of the pool.
fn rolled_back_from_two_pools(existed: bool) -> World {
    let mut world = World::new(2, &[], 3);
    let second = PoolPlan {
        id: PoolId::from("oinker:1"),
        port_index: 1,
        existed,
        ..world.plan.pools[0].clone()
    };
    world.plan.pools.push(second);
    for state in world.pool.as_mut().unwrap().values_mut() {
        *state = EndpointState::Draining;
    }
    world.ask(Command::Rollback {
        reason: "test".to_owned(),
    });
    world
}

#[test]
fn a_rollback_brings_back_a_blue_that_has_fewer_ports_than_green() {
    let mut world = rolled_back_from_two_pools(false);

    let outcome = world.run(1_000);

    assert!(
        matches!(outcome, Some(Outcome::RolledBack { .. })),
        "{outcome:?}"
    );
    assert_eq!(world.serving(Role::Blue), 2);
}

#[test]
fn a_blue_with_fewer_ports_than_green_enters_its_own_pool_though_the_other_one_was_there() {
    let mut world = rolled_back_from_two_pools(true);
    let mut seen = world.look();
    seen.pools.push(PoolId::from("oinker:1"));

    let decision = decide(&world.plan, &world.state, &seen, world.now);

    let Decision::Act(actions) = decision else {
        panic!("{decision:?}");
    };
    let admits = |action: &Action| matches!(action, Action::Pool(PoolAction::Change { pool, admit, .. }) if pool.as_str() == "oinker" && admit.len() == 2);
    assert!(actions.iter().any(admits), "{actions:?}");
}

/// Since when BLUE has been healthy, after looks at which its orchestrator told: when, and what.
fn healthy_since(told: &[(Moment, Moment)]) -> Option<Moment> {
    let mut world = World::new(1, &[], 1);
    let blue = world.copies().next().unwrap().id.clone();
    let id = world.look().blue.unwrap().id;
    let mut evidence = Evidence::default();
    let looks = told.iter().map(|(at, since)| {
        let mut revision = sighting(&id, &blue);
        revision.instances[0].healthy_since = Some(*since);
        let seen = evidence.absorb(
            &world.plan,
            Sighting {
                began: *at,
                at: *at,
                revisions: Ok([(Role::Blue, revision)].into()),
                pools: Ok(Vec::new()),
                pending: [].into(),
            },
        );
        seen.all_instances().next().unwrap().healthy_since
    });
    looks.last().unwrap()
}

#[test]
fn an_orchestrator_that_tells_of_a_later_moment_has_seen_a_failure_between_two_looks() {
    let looks = [
        (Moment(10_000), Moment(1_000)),
        (Moment(20_000), Moment(15_000)),
    ];

    assert_eq!(healthy_since(&looks), Some(Moment(15_000)));
}

#[test]
fn an_orchestrator_whose_clock_is_ahead_has_seen_no_failure() {
    let looks = [
        (Moment(10_000), Moment(11_000)),
        (Moment(10_500), Moment(11_000)),
    ];

    assert_eq!(healthy_since(&looks), Some(Moment(10_000)));
}

#[test]
fn an_orchestrator_that_corrects_itself_about_the_past_has_seen_no_failure() {
    let looks = [
        (Moment(10_000), Moment(1_000)),
        (Moment(20_000), Moment(2_000)),
    ];

    assert_eq!(healthy_since(&looks), Some(Moment(1_000)));
}

/// Found by the model: overridden unseen, somebody else's change of the size and the kill count both, and one more goes.
#[test]
fn a_rollback_overrides_only_a_lock_that_it_has_seen() {
    for (is_locked, lock) in [(true, Lock::Override), (false, Lock::Respect)] {
        let mut world = World::new(2, &[], 7);
        world.green = Green::NeverHealthy;
        while world
            .fleets
            .get(&Role::Green)
            .is_none_or(|it| it.copies.is_empty())
        {
            assert_eq!(world.step(), None);
        }
        let reason = "test".to_owned();
        world.ask(Command::Rollback { reason });
        let until = world.now + Span::minutes(u64::from(is_locked));
        world.fleet(Role::Green).locked_until = until;

        let actions = decided(&mut world);

        let is_kill = |action: &Action| matches!(action, Action::Instance(InstanceAction::Kill { lock: told, .. }) if *told == lock);
        assert!(actions.iter().any(is_kill), "{actions:?}");
    }
}

#[test]
fn evidence_forgets_instances_that_are_gone_and_listed_in_no_pool() {
    let mut world = World::new(2, &[], 7);
    drop(world.look());
    let gone = world.fleet(Role::Blue).copies.remove(0).id;
    drop(world.look());
    let remembers = |world: &World| format!("{:?}", world.evidence).contains(gone.as_str());
    assert!(remembers(&world), "its entry in the pool is ours to forget");

    world.pool.as_mut().unwrap().remove(&gone);
    drop(world.look());

    assert!(!remembers(&world));
}

#[test]
fn a_rollback_does_not_end_while_an_entry_of_what_is_gone_is_all_that_gets_requests() {
    let mut world = World::new(1, &[], 3);
    // BLUE serves nobody when it begins, so nothing is owed to it at the end.
    world.fleet(Role::Blue).copies[0].health = Health::Unhealthy;
    world.pool = Some(BTreeMap::new());
    world.plan_anew(&Settings::default());
    for _ in 0..1000 {
        if world.serving(Role::Green) > 0 {
            break;
        }
        assert_eq!(world.step(), None);
    }
    assert!(world.serving(Role::Green) > 0);
    world.ask(Command::Rollback {
        reason: "orders fail".to_owned(),
    });
    // Somebody removes GREEN, its entries stay, and BLUE is not better.
    world.fleet(Role::Blue).copies[0].health = Health::Unhealthy;
    world.fleets.remove(&Role::Green);
    world.now = world.now + Span::minutes(1);

    let seen = world.look();
    let decision = decide(&world.plan, &world.state, &seen, world.now);

    assert!(seen.strays.iter().any(|stray| stray.known), "{seen:?}");
    assert!(!matches!(decision, Decision::Finish(_)), "{decision:?}");
}
