//! Pools that somebody else makes, of a balancer that may be several processes: HAProxy's.

use crate::on_its_way::decided;
use crate::world::World;
use teal_core::action::{Action, InstanceAction, PoolAction};
use teal_core::definition::Definition;
use teal_core::journal::Outcome;
use teal_core::name::{DeploymentId, InstanceId, PoolId, Role};
use teal_core::observation::{EndpointSighting, EndpointState, PoolSighting};
use teal_core::plan::{BalancerAbilities, Plan, Request, make};
use teal_core::problem::Problem;
use teal_core::settings::Settings;
use teal_core::{Moment, Span};

/// Plans a first deployment of `/shop-1` with these labels, to a balancer that has these pools and makes none.
fn plan(labels: &str, pools: &[PoolSighting]) -> Result<Plan, Vec<Problem>> {
    let text = format!(
        r#"{{"id": "/shop-1", "cmd": "run it", "instances": 4, "healthChecks": [{{"protocol": "TCP"}}], "ports": [0, 0],
            "labels": {{"TEAL_PENDING": "none", "TEAL_SERVICE": "shop"{labels}}}}}"#
    );
    let (definition, settings) = Definition::resolve(&text, &Settings::default(), &[])?;
    let request = Request {
        definition: &definition,
        settings: &settings,
        revision: None,
        replace: None,
        found: &[],
        pools,
        balancer: BalancerAbilities {
            in_flight: true,
            atomic_change: false,
            listens: false,
            tcp: true,
        },
        deployment: DeploymentId::from("d1"),
        now: Moment(0),
    };
    Ok(make(&request)?.unwrap())
}

fn pool(name: &str) -> PoolSighting {
    PoolSighting {
        id: PoolId::from(name),
        listen: None,
        endpoints: Vec::new(),
        vacancies: None,
    }
}

fn ids(plan: &Plan) -> Vec<&str> {
    plan.pools.iter().map(|pool| pool.id.as_str()).collect()
}

const MARATHON_LBS: &str = r#", "HAPROXY_DEPLOYMENT_GROUP": "shop", "HAPROXY_0_PORT": "8081""#;

#[test]
fn a_pool_is_called_as_its_service_or_as_marathon_lb_calls_it_whichever_there_is() {
    let by_service = plan(MARATHON_LBS, &[pool("shop"), pool("shop_8081")]).unwrap();
    let by_marathon_lb = plan(MARATHON_LBS, &[pool("shop_8081")]).unwrap();

    assert_eq!(ids(&by_service), ["shop"]);
    assert_eq!(ids(&by_marathon_lb), ["shop_8081"]);
}

#[test]
fn a_pool_is_called_as_its_label_says() {
    let labels = r#", "TEAL_HAPROXY_BACKEND": "web", "TEAL_1_HAPROXY_BACKEND": "web-admin""#;

    let plan = plan(labels, &[pool("shop"), pool("web"), pool("web-admin")]).unwrap();

    assert_eq!(ids(&plan), ["web", "web-admin"]);
    assert!(plan.pools.iter().all(|pool| pool.existed));
}

#[test]
fn a_label_that_can_be_no_backends_name_is_reported() {
    let problems = plan(r#", "TEAL_HAPROXY_BACKEND": "we b""#, &[]).unwrap_err();

    assert_eq!(problems[0].place, "labels.TEAL_HAPROXY_BACKEND");
    assert!(
        problems[0].what.contains("`we b` is no name"),
        "{problems:?}"
    );
}

#[test]
fn a_pool_that_nobody_has_made_is_refused() {
    let problems = plan("", &[pool("shops")]).unwrap_err();

    let told = &problems[0];
    assert!(told.what.contains("there is no pool shop"), "{told:?}");
    assert!(
        told.hint.as_ref().unwrap().contains("haproxy-config"),
        "{told:?}"
    );
}

#[test]
fn a_pool_with_fewer_places_than_there_may_be_instances_at_once_is_refused() {
    let with = |vacancies| PoolSighting {
        vacancies: Some(vacancies),
        ..pool("shop")
    };

    let problems = plan("", &[with(3)]).unwrap_err();

    assert!(
        problems[0]
            .what
            .contains("places for 3 endpoints, and up to 4"),
        "{problems:?}"
    );
    assert!(plan("", &[with(4)]).is_ok());
}

/// Somebody may have put a server of their own into it, and would be surprised.
#[test]
fn a_plan_names_the_endpoints_that_are_nobodys_and_leave_the_pool() {
    let stranger = EndpointSighting {
        instance: InstanceId::from("old"),
        address: "10.0.0.1:80".into(),
        state: EndpointState::Serving,
        in_flight: Some(0),
    };
    let taken = PoolSighting {
        endpoints: vec![stranger],
        ..pool("shop")
    };
    let told = |plan: Plan| {
        plan.notes
            .iter()
            .any(|note| note.ends_with("leave it: old"))
    };

    assert!(told(plan("", &[taken]).unwrap()));
    assert!(!told(plan("", &[pool("shop")]).unwrap()));
}

/// What is decided, and the world as it would be if nothing came of it.
fn now_and_later(world: &mut World) -> Vec<Action> {
    let actions = decided(world);
    world.now = world.now + Span::millis(100);
    actions
}

fn serving(world: &World, role: Role) -> Vec<InstanceId> {
    let pool = world.pool.as_ref().unwrap();
    let of = |id: &&InstanceId| {
        world.fleets[&role]
            .copies
            .iter()
            .any(|copy| copy.id == **id)
    };
    let serving = pool
        .iter()
        .filter(|(_, state)| **state == EndpointState::Serving);
    serving.map(|(id, _)| id).filter(of).cloned().collect()
}

#[test]
fn a_green_that_some_processes_serve_and_some_do_not_replaces_no_blue() {
    let mut world = World::new(3, &[], 3);
    world.plan.atomic_change = false;
    while !world.fleets.contains_key(&Role::Green) || serving(&world, Role::Green).is_empty() {
        assert_eq!(world.step(), None);
    }
    let green = serving(&world, Role::Green).remove(0);
    assert_eq!(serving(&world, Role::Blue).len(), 3);
    world
        .pool
        .as_mut()
        .unwrap()
        .insert(green.clone(), EndpointState::Partly);

    let withdraws = |action: &Action| matches!(action, Action::Pool(PoolAction::Change { withdraw, .. }) if !withdraw.is_empty());
    for _ in 0..100 {
        let actions = now_and_later(&mut world);
        assert!(!actions.iter().any(withdraws), "{actions:?}");
    }

    world
        .pool
        .as_mut()
        .unwrap()
        .insert(green, EndpointState::Serving);
    assert_eq!(world.run(6_000), Some(Outcome::Completed));
}

#[test]
fn a_blue_that_some_processes_still_serve_is_not_stopped() {
    let mut world = World::new(3, &[], 3);
    world.plan.atomic_change = false;
    let mut blue = serving(&world, Role::Blue);
    let leaves = |world: &World, id: &InstanceId| {
        world.pool.as_ref().unwrap().get(id) == Some(&EndpointState::Draining)
    };
    while !blue.iter().any(|id| leaves(&world, id)) {
        assert_eq!(world.step(), None);
    }
    blue.retain(|id| leaves(&world, id));
    let leaving = blue.remove(0);
    world
        .pool
        .as_mut()
        .unwrap()
        .insert(leaving.clone(), EndpointState::Partly);
    for copy in &mut world.fleet(Role::Blue).copies {
        copy.in_flight = 0;
    }

    let kills = |action: &Action| {
        matches!(action, Action::Instance(InstanceAction::Kill { victims, .. })
            if victims.iter().any(|victim| victim.instance == leaving))
    };
    for _ in 0..100 {
        let actions = now_and_later(&mut world);
        assert!(!actions.iter().any(kills), "{actions:?}");
    }

    assert_eq!(world.run(6_000), Some(Outcome::Completed));
}
