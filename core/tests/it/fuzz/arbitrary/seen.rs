//! What is seen: by drivers, and joined.

use super::{
    address, any_instance_id, count, in_flight, instance_id, moment, pending, pool_id, revision_id,
    role, text,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;
use teal_core::name::{Addresses, InstanceId, Role};
use teal_core::observation::{
    Blindness, EndpointSighting, EndpointState, Gap, Health, Instance, InstanceSighting,
    Observation, PendingSighting, Phase, PoolSighting, Revision, RevisionSighting, Sighting, Stray,
    System, Traffic,
};
use teal_core::plan::Found;

fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        4 => Just(Phase::Running),
        1 => select(&[Phase::Starting, Phase::Stopping, Phase::Unreachable][..]),
    ]
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![
        4 => Just(Health::Healthy),
        1 => Just(Health::Unhealthy),
        1 => Just(Health::Unknown),
    ]
}

fn addresses() -> impl Strategy<Value = Addresses> {
    vec(option::weighted(0.8, address()), 0..3).prop_map(|all| all.into_iter().collect())
}

fn endpoint_state() -> impl Strategy<Value = EndpointState> {
    select(&[EndpointState::Serving, EndpointState::Draining][..])
}

fn instance(id: InstanceId) -> BoxedStrategy<Instance> {
    let traffic = select(
        &[
            Traffic::Out,
            Traffic::Draining,
            Traffic::Partly,
            Traffic::Serving,
        ][..],
    );
    let since = || option::of(moment());
    let times = (since(), since(), since(), since(), since());
    let facts = (phase(), any::<bool>(), health(), addresses(), traffic);
    (times, facts, in_flight(), pending(), count())
        .prop_map(move |(times, facts, in_flight, pending, idle)| Instance {
            id: id.clone(),
            phase: facts.0,
            current: facts.1,
            health: facts.2,
            healthy_since: times.0,
            unhealthy_since: times.1,
            stopping_since: times.2,
            out_since: times.3,
            addresses: facts.3,
            traffic: facts.4,
            in_flight,
            pending,
            idle_samples: idle,
            sampled_at: times.4,
        })
        .boxed()
}

fn revision(role: Role) -> BoxedStrategy<Revision> {
    let ids = btree_set(instance_id(role), 0..4);
    let instances = ids.prop_flat_map(|ids| ids.into_iter().map(instance).collect::<Vec<_>>());
    let since = || option::of(moment());
    (count(), any::<bool>(), since(), since(), instances)
        .prop_map(move |(wanted, locked, lock, settle, instances)| Revision {
            id: revision_id(role),
            wanted,
            locked,
            locked_since: lock,
            trouble: None,
            unsettled_since: settle,
            instances,
        })
        .boxed()
}

/// Facts of every kind, without regard to whether they can be so together. Only an instance is in one place alone.
pub(in crate::fuzz) fn observation() -> BoxedStrategy<Observation> {
    let system = select(&[System::Orchestrator, System::Balancer][..]);
    let blind = (system, text(), moment()).prop_map(|(system, reason, since)| Blindness {
        system,
        reason,
        since,
    });
    let gap = (moment(), moment()).prop_map(|(from, to)| Gap { from, to });
    let stray =
        (pool_id(), 4..6, endpoint_state(), any::<bool>()).prop_map(|(pool, n, state, known)| {
            Stray {
                pool,
                instance: InstanceId(format!("GREEN-{n}")),
                state,
                known,
            }
        });
    let times = (
        moment(),
        moment(),
        moment(),
        vec(gap, 0..3),
        option::weighted(0.1, blind),
    );
    let both = (
        option::weighted(0.8, revision(Role::Blue)),
        option::weighted(0.8, revision(Role::Green)),
    );
    (times, both, vec(pool_id(), 0..3), vec(stray, 0..3))
        .prop_map(|(times, both, pools, strays)| Observation {
            began: times.0,
            at: times.1,
            sighted_since: times.2,
            gaps: times.3,
            blind: times.4,
            blue: both.0,
            green: both.1,
            pools,
            strays,
        })
        .boxed()
}

fn instance_sighting(id: InstanceId) -> BoxedStrategy<InstanceSighting> {
    (
        phase(),
        any::<bool>(),
        health(),
        option::of(moment()),
        addresses(),
    )
        .prop_map(
            move |(phase, current, health, healthy_since, addresses)| InstanceSighting {
                id: id.clone(),
                phase,
                current,
                health,
                healthy_since,
                addresses,
            },
        )
        .boxed()
}

fn revision_sighting(role: Role) -> BoxedStrategy<RevisionSighting> {
    let ids = btree_set(instance_id(role), 0..4);
    let instances =
        ids.prop_flat_map(|ids| ids.into_iter().map(instance_sighting).collect::<Vec<_>>());
    (
        count(),
        any::<bool>(),
        any::<bool>(),
        option::of(text()),
        instances,
    )
        .prop_map(
            move |(wanted, locked, checked, trouble, instances)| RevisionSighting {
                id: revision_id(role),
                wanted,
                locked,
                checked,
                trouble,
                instances,
            },
        )
        .boxed()
}

/// A revision that a plan is made beside.
pub(in crate::fuzz) fn found() -> BoxedStrategy<Found> {
    role()
        .prop_flat_map(revision_sighting)
        .prop_map(|sighting| {
            let body =
                json!({"id": sighting.id, "cmd": "run", "labels": {"TEAL_SERVICE": "oinker"}});
            Found {
                definition: body.as_object().cloned().unwrap_or_default(),
                sighting,
            }
        })
        .boxed()
}

/// A pool as a balancer shows it, with entries of anybody.
pub(in crate::fuzz) fn pool() -> BoxedStrategy<PoolSighting> {
    let endpoint = (any_instance_id(), address(), endpoint_state(), in_flight()).prop_map(
        |(instance, address, state, in_flight)| EndpointSighting {
            instance,
            address,
            state,
            in_flight,
        },
    );
    let listen = option::of(address().prop_map(|address| address.0));
    (pool_id(), listen, vec(endpoint, 0..4))
        .prop_map(|(id, listen, endpoints)| PoolSighting {
            id,
            listen,
            endpoints,
            vacancies: None,
        })
        .boxed()
}

/// What drivers might say in one look, consistent or not.
pub(in crate::fuzz) fn sighting() -> BoxedStrategy<Sighting> {
    let both = (
        option::weighted(0.8, revision_sighting(Role::Blue)),
        option::weighted(0.8, revision_sighting(Role::Green)),
    );
    let revisions = both.prop_map(|(blue, green)| {
        let both = [(Role::Blue, blue), (Role::Green, green)];
        both.into_iter()
            .filter_map(|(role, one)| Some((role, one?)))
            .collect()
    });
    let revisions = prop_oneof![9 => revisions.prop_map(Ok), 1 => text().prop_map(Err)];
    let pools = prop_oneof![9 => vec(pool(), 0..3).prop_map(Ok), 1 => text().prop_map(Err)];
    let reading = (moment(), pending()).prop_map(|(at, reading)| PendingSighting { at, reading });
    (
        (moment(), moment()),
        revisions,
        pools,
        btree_map(any_instance_id(), reading, 0..4),
    )
        .prop_map(|((began, at), revisions, pools, pending)| Sighting {
            began,
            at,
            revisions,
            pools,
            pending,
        })
        .boxed()
}
