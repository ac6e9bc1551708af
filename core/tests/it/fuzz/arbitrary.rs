//! Plans, entries and facts that are valid by their types, with numbers and times at every edge. Few ids, so that they
//! meet each other.

mod journal;
mod plan;
mod seen;

pub(super) use journal::event;
pub(super) use plan::plan;
pub(super) use seen::{found, observation, pool, sighting};

use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use teal_core::definition::PendingSource;
use teal_core::name::{Address, InstanceId, PoolId, RevisionId, Role};
use teal_core::observation::Pending;
use teal_core::settings::{Gate, OnDrainDeadline};
use teal_core::{Moment, Span};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0_u64..200_000, 1 => u64::MAX - 200_000..=u64::MAX, 1 => any::<u64>()]
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![6 => 0_u32..5, 1 => Just(u32::MAX), 1 => any::<u32>()]
}

pub(in crate::fuzz) fn moment() -> impl Strategy<Value = Moment> {
    number().prop_map(Moment)
}

fn span() -> impl Strategy<Value = Span> {
    number().prop_map(Span)
}

fn role() -> impl Strategy<Value = Role> {
    select(&[Role::Blue, Role::Green][..])
}

fn instance_id(role: Role) -> impl Strategy<Value = InstanceId> {
    (0..4).prop_map(move |n| InstanceId(format!("{role}-{n}")))
}

fn any_instance_id() -> impl Strategy<Value = InstanceId> {
    role().prop_flat_map(instance_id)
}

fn revision_id(role: Role) -> RevisionId {
    RevisionId(format!("/oinker-{role}").to_lowercase())
}

fn pool_id() -> impl Strategy<Value = PoolId> {
    (0..3).prop_map(|n| PoolId(format!("oinker:{n}")))
}

fn address() -> impl Strategy<Value = Address> {
    (1..9).prop_map(|n| Address(format!("127.0.0.1:{n}")))
}

fn text() -> impl Strategy<Value = String> {
    ".{0,12}"
}

fn gate() -> impl Strategy<Value = Gate> {
    select(&[Gate::Shift, Gate::Retire][..])
}

fn policy() -> impl Strategy<Value = OnDrainDeadline> {
    select(
        &[
            OnDrainDeadline::Wait,
            OnDrainDeadline::Rollback,
            OnDrainDeadline::Force,
        ][..],
    )
}

fn pending() -> impl Strategy<Value = Pending> {
    prop_oneof![
        3 => Just(Pending::Count(0)),
        1 => number().prop_map(Pending::Count),
        1 => text().prop_map(Pending::Unknown),
        1 => Just(Pending::NotWatched),
    ]
}

fn in_flight() -> impl Strategy<Value = Option<u64>> {
    option::weighted(0.9, prop_oneof![3 => Just(0), 1 => number()])
}

fn pending_source() -> impl Strategy<Value = PendingSource> {
    let gauge = PendingSource::Prometheus {
        path: "/metrics".to_owned(),
        gauge: "pending".to_owned(),
        port_index: 0,
    };
    select(vec![PendingSource::None, gauge])
}

fn definition() -> impl Strategy<Value = Value> {
    let grace = prop_oneof![
        number().prop_map(Value::from),
        Just(json!("3s")),
        Just(json!(null))
    ];
    prop_oneof![
        grace.prop_map(|grace| json!({"id": "/oinker", "taskKillGracePeriodSeconds": grace})),
        Just(json!({})),
        Just(json!("no object")),
    ]
}
