//! What a journal records.

use super::plan::{plan, pool_plan};
use super::seen::observation;
use super::{
    address, any_instance_id, count, definition, gate, in_flight, number, pending, policy, pool_id,
    revision_id, role, text,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use teal_core::action::{
    Action, InstanceAction, KillReason, Lock, Mark, Member, PoolAction, Victim,
};
use teal_core::journal::{Command, Effect, Event, Outcome, Picture};

fn victim() -> BoxedStrategy<Victim> {
    let why = prop_oneof![
        Just(KillReason::Drained),
        Just(KillReason::NeverServed),
        text().prop_map(KillReason::Forced),
    ];
    (any_instance_id(), in_flight(), pending(), count(), why)
        .prop_map(|(instance, in_flight, pending, idle_samples, why)| Victim {
            instance,
            in_flight,
            pending,
            idle_samples,
            why,
        })
        .boxed()
}

fn instance_action() -> BoxedStrategy<InstanceAction> {
    let lock = || select(&[Lock::Respect, Lock::Override][..]);
    prop_oneof![
        (role(), definition()).prop_map(|(role, definition)| InstanceAction::Create {
            role,
            revision: revision_id(role),
            definition,
        }),
        (role(), count(), lock()).prop_map(|(role, instances, lock)| InstanceAction::Scale {
            role,
            revision: revision_id(role),
            instances,
            lock,
        }),
        (role(), vec(victim(), 0..3), lock()).prop_map(|(role, victims, lock)| {
            InstanceAction::Kill {
                role,
                revision: revision_id(role),
                victims,
                lock,
            }
        }),
        role().prop_map(|role| InstanceAction::Remove {
            role,
            revision: revision_id(role)
        }),
    ]
    .boxed()
}

fn pool_action() -> BoxedStrategy<PoolAction> {
    let member = || {
        (any_instance_id(), address()).prop_map(|(instance, address)| Member { instance, address })
    };
    let ids = || vec(any_instance_id(), 0..3);
    prop_oneof![
        1 => pool_plan().prop_map(|pool| PoolAction::Open { pool }),
        4 => (pool_id(), vec(member(), 0..3), ids(), ids()).prop_map(|(pool, admit, withdraw, forget)| {
            PoolAction::Change { pool, admit, withdraw, forget }
        }),
        1 => pool_id().prop_map(|pool| PoolAction::Close { pool }),
    ]
    .boxed()
}

fn mark() -> BoxedStrategy<Mark> {
    prop_oneof![
        text().prop_map(|reason| Mark::TurnBack { reason }),
        gate().prop_map(|gate| Mark::GateReached { gate }),
        Just(Mark::BakeBegun),
        (vec(any_instance_id(), 0..3), policy())
            .prop_map(|(instances, policy)| Mark::DrainOverdue { instances, policy }),
    ]
    .boxed()
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        1 => Just(Command::Pause),
        3 => Just(Command::Resume),
        1 => any::<bool>().prop_map(|full| Command::Promote { full }),
        1 => text().prop_map(|reason| Command::Rollback { reason }),
        1 => text().prop_map(|reason| Command::Force { reason }),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        1 => Just(Outcome::Completed),
        1 => text().prop_map(|reason| Outcome::RolledBack { reason }),
        8 => text().prop_map(|reason| Outcome::Stuck { reason }),
    ]
}

/// Any event that can follow a beginning, and now and then a second beginning.
pub(in crate::fuzz) fn event() -> BoxedStrategy<Event> {
    let action = prop_oneof![
        instance_action().prop_map(Action::Instance),
        pool_action().prop_map(Action::Pool),
        mark().prop_map(Action::Mark),
    ];
    let intent = || prop_oneof![9 => 1_u64..12, 1 => number()];
    let effect = select(&[Effect::None, Effect::Unknown][..]);
    prop_oneof![
        1 => plan().prop_map(|plan| Event::Begun { plan: Box::new(plan) }),
        20 => action.prop_map(|action| Event::Intended { action }),
        4 => intent().prop_map(|intent| Event::Performed { intent }),
        4 => (intent(), text(), any::<bool>(), effect).prop_map(|(intent, reason, retry, effect)| {
            Event::Failed { intent, reason, retry, effect }
        }),
        6 => (command(), option::of(text())).prop_map(|(command, letter)| Event::Asked { command, letter }),
        2 => observation().prop_map(|seen| Event::Seen { picture: Picture::of(&seen) }),
        2 => text().prop_map(|by| Event::Resumed { by }),
        1 => outcome().prop_map(|outcome| Event::Ended { outcome }),
    ]
    .boxed()
}
