//! Properties of whole deployments, in worlds with and without faults.

use crate::world::{Green, World};
use proptest::prelude::*;
use teal_core::journal::{Command, Outcome};
use teal_core::name::Role;

fn any_settings() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let strategy = prop_oneof![Just(("strategy", "rolling")), Just(("strategy", "switch"))];
    let batch = prop_oneof![
        Just(("batch", "1")),
        Just(("batch", "2")),
        Just(("batch", "all"))
    ];
    let keep = prop_oneof![Just(("keep_blue", "0s")), Just(("keep_blue", "3s"))];
    let policy = prop_oneof![
        Just(("on_drain_deadline", "wait")),
        Just(("on_drain_deadline", "rollback"))
    ];
    (strategy, batch, keep, policy).prop_map(|(a, b, c, d)| vec![a, b, c, d])
}

/// Runs with faults for a while, then without any until it ends. A stuck deployment is resumed, as a person would.
fn run_to_the_end(world: &mut World, faulty_steps: usize) -> Outcome {
    for _ in 0..faulty_steps {
        if world.step().is_some() {
            break;
        }
    }
    world.chaos = 0;
    for _ in 0..4 {
        match world.run(6_000) {
            Some(Outcome::Stuck { .. }) => world.restart_deployer(),
            Some(outcome) => return outcome,
            None => panic!("no end in sight: {:?}", world.state),
        }
    }
    panic!("stuck again and again: {:?}", world.state)
}

fn assert_clean_end(world: &World, outcome: &Outcome, blue: u32) {
    assert_eq!(world.dropped, Vec::<String>::new(), "work was dropped");
    let (there, gone, count) = match outcome {
        Outcome::Completed => (Role::Green, Role::Blue, world.plan.target),
        Outcome::RolledBack { .. } => (Role::Blue, Role::Green, blue),
        Outcome::Stuck { reason } => panic!("stuck: {reason}"),
    };
    assert!(!world.fleets.contains_key(&gone), "{gone} is left");
    assert!(
        world.serving(there) >= count as usize,
        "{there} does not serve at its full count"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_a_world_without_faults_every_deployment_completes(
        blue in 0_u32..5, set in any_settings(), seed: u64,
    ) {
        let mut world = World::new(blue, &set, seed);

        let outcome = run_to_the_end(&mut world, 0);

        prop_assert_eq!(&outcome, &Outcome::Completed);
        assert_clean_end(&world, &outcome, blue);
    }

    #[test]
    fn a_green_that_never_gets_healthy_is_rolled_back(
        blue in 0_u32..5, set in any_settings(), seed: u64, crashes: bool,
    ) {
        let mut world = World::new(blue, &set, seed);
        world.green = if crashes { Green::Crashes } else { Green::NeverHealthy };

        let outcome = run_to_the_end(&mut world, 0);

        prop_assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome:?}");
        assert_clean_end(&world, &outcome, blue);
    }

    #[test]
    fn in_a_world_that_stops_failing_every_deployment_ends_and_drops_nothing(
        blue in 0_u32..5, set in any_settings(), seed: u64, chaos in 1_u64..60, faulty in 10_usize..600,
    ) {
        let mut world = World::new(blue, &set, seed);
        world.chaos = chaos;

        let outcome = run_to_the_end(&mut world, faulty);

        assert_clean_end(&world, &outcome, blue);
    }

    #[test]
    fn a_rollback_at_any_step_ends_with_blue_at_its_full_count(
        blue in 1_u32..5, set in any_settings(), seed: u64, at in 0_usize..200,
    ) {
        let mut world = World::new(blue, &set, seed);
        if world.run(at).is_some() {
            return Ok(());
        }
        world.ask(Command::Rollback { reason: "the operator asked".to_owned() });

        let outcome = run_to_the_end(&mut world, 0);

        prop_assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome:?}");
        assert_clean_end(&world, &outcome, blue);
    }

    #[test]
    fn a_rollback_in_a_world_that_stops_failing_ends_with_blue_at_its_full_count(
        blue in 1_u32..5, set in any_settings(), seed: u64, chaos in 1_u64..60, at in 0_usize..300,
    ) {
        let mut world = World::new(blue, &set, seed);
        world.chaos = chaos;
        if matches!(world.run(at), Some(Outcome::Completed | Outcome::RolledBack { .. })) {
            return Ok(());
        }
        world.ask(Command::Rollback { reason: "the operator asked".to_owned() });

        let outcome = run_to_the_end(&mut world, 200);

        prop_assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome:?}");
        assert_clean_end(&world, &outcome, blue);
    }

    #[test]
    fn a_deployer_that_dies_at_any_step_ends_as_if_it_had_not(
        blue in 0_u32..4, set in any_settings(), seed: u64, every in 12_usize..40,
    ) {
        let mut world = World::new(blue, &set, seed);
        for _ in 0..400 {
            if world.run(every).is_some() {
                break;
            }
            world.restart_deployer();
        }

        let outcome = run_to_the_end(&mut world, 0);

        prop_assert_eq!(&outcome, &Outcome::Completed);
        assert_clean_end(&world, &outcome, blue);
    }
}
