//! Plans.

use super::{
    any_instance_id, count, definition, gate, instance_id, moment, pending_source, policy, pool_id,
    revision_id, span, text,
};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use teal_core::name::{DeploymentId, Role};
use teal_core::plan::{BluePlan, GreenPlan, Plan, PoolPlan, Protocol};
use teal_core::settings::{Amount, Settings, Size, Strategy as Shift};

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        count().prop_map(Amount::Count),
        count().prop_map(Amount::Percent)
    ]
}

fn settings() -> BoxedStrategy<Settings> {
    let shift = select(&[Shift::Rolling, Shift::Switch][..]);
    let size = prop_oneof![
        Just(Size::Live),
        Just(Size::Definition),
        count().prop_map(Size::Exactly)
    ];
    let amounts = (
        option::of(amount()),
        option::of(amount()),
        option::of(amount()),
    );
    let spans = (
        span(),
        span(),
        span(),
        span(),
        span(),
        option::of(span()),
        span(),
    );
    let rest = (
        option::of(count()),
        count(),
        policy(),
        option::of(text()),
        btree_set(gate(), 0..3),
        any::<bool>(),
    );
    (shift, size, amounts, spans, rest)
        .prop_map(|(strategy, size, amounts, spans, rest)| Settings {
            strategy,
            size,
            initial: amounts.0,
            batch: amounts.1,
            surge: amounts.2,
            floor: rest.0,
            min_healthy_time: spans.0,
            healthy_deadline: spans.1,
            unhealthy_limit: spans.2,
            drain_interval: spans.3,
            drain_samples: rest.1,
            drain_deadline: spans.4,
            on_drain_deadline: rest.2,
            force_reason: rest.3,
            keep_blue: spans.5,
            gates: rest.4,
            patience: spans.6,
            without_health_checks: rest.5,
        })
        .boxed()
}

fn blue_plan() -> BoxedStrategy<BluePlan> {
    let serving = btree_set(instance_id(Role::Blue), 0..4);
    (definition(), count(), count(), serving, pending_source())
        .prop_map(|(definition, instances, well, serving, pending)| BluePlan {
            revision: revision_id(Role::Blue),
            definition,
            instances,
            well,
            serving,
            pending,
        })
        .boxed()
}

pub(super) fn pool_plan() -> impl Strategy<Value = PoolPlan> {
    let listen = option::of(Just("127.0.0.1:8090".to_owned()));
    (pool_id(), 0_usize..3, listen, any::<bool>()).prop_map(|(id, port_index, listen, existed)| {
        PoolPlan {
            id,
            port_index,
            listen,
            protocol: Protocol::Http,
            existed,
        }
    })
}

pub(in crate::fuzz) fn plan() -> BoxedStrategy<Plan> {
    let numbers = (count(), count(), count(), count(), count());
    let ids = (
        btree_set(any_instance_id(), 0..3),
        btree_set(any_instance_id(), 0..3),
    );
    let green = (definition(), pending_source());
    let rest = (
        option::weighted(0.8, blue_plan()),
        green,
        vec(pool_plan(), 1..3),
        any::<bool>(),
        moment(),
    );
    (numbers, settings(), ids, rest)
        .prop_map(|(numbers, settings, ids, rest)| Plan {
            deployment: DeploymentId::from("d"),
            service: "oinker".into(),
            made_at: rest.4,
            blue: rest.0,
            green: GreenPlan {
                revision: revision_id(Role::Green),
                definition: rest.1.0,
                pending: rest.1.1,
            },
            pools: rest.2,
            target: numbers.0,
            floor: numbers.1,
            room: numbers.2,
            initial: numbers.3,
            batch: numbers.4,
            atomic_change: rest.3,
            settings,
            dead: ids.0,
            pooled: ids.1,
            notes: vec![],
        })
        .boxed()
}
