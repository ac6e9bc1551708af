//! Journals of entries that are valid one by one, in any order and with any numbers, and what is decided after them.

use super::arbitrary::{event, moment, observation, plan, sighting};
use proptest::collection::vec;
use proptest::prelude::*;
use teal_core::decide::{stage, way_back};
use teal_core::evidence::Evidence;
use teal_core::journal::{Entry, Event, Picture, State};
use teal_core::name::Role;
use teal_core::observation::Observation;
use teal_core::plan::Plan;
use teal_core::report::Report;
use teal_core::{Moment, decide};

fn begin(plan: Plan, at: Moment) -> Entry {
    let plan = Box::new(plan);
    Entry {
        seq: 1,
        at,
        event: Event::Begun { plan },
    }
}

/// A journal whose numbers follow on each other. It ends where an entry cannot follow.
fn replayed(plan: Plan, events: Vec<(Moment, Event)>) -> (Vec<Entry>, Plan, State) {
    let mut entries = vec![begin(plan, Moment(0))];
    let (plan, mut state) = State::replay(&entries).unwrap();
    for (at, event) in events {
        let seq = state.seq + 1;
        let entry = Entry { seq, at, event };
        if state.apply(&entry).is_ok() {
            entries.push(entry);
        }
    }
    (entries, plan, state)
}

/// Decides, which holds every decision against the promises in itself, and tells of it.
fn decide_and_tell(plan: &Plan, state: &State, seen: &Observation, now: Moment) {
    drop(decide(plan, state, seen, now));
    let _stage = stage(plan, state, seen, now);
    let _way_back = way_back(plan, seen, now);
    drop(Picture::of(seen));
    drop(plan.outline());
}

/// The last millisecond that can be told has none after it to wait for.
fn now() -> impl Strategy<Value = Moment> {
    moment().prop_map(|now| Moment(now.0.min(u64::MAX - 1)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn entries_in_any_order_replay_or_are_refused(
        plan in plan(), events in vec((0_u64..12, moment(), event()), 0..12),
    ) {
        let mut entries = vec![begin(plan, Moment(0))];
        let in_order = |index: usize, seq: u64| if seq < 10 { index as u64 + 2 } else { seq };
        entries.extend(events.into_iter().enumerate().map(|(index, (seq, at, event))| Entry {
            seq: in_order(index, seq),
            at,
            event,
        }));

        let replayed = State::replay(&entries);

        prop_assert_eq!(Report::of(&entries).is_ok(), replayed.is_ok());
    }

    #[test]
    fn every_entry_reads_back_as_it_was_written(at in moment(), event in event()) {
        let entry = Entry { seq: 2, at, event };

        let text = serde_json::to_string(&entry).unwrap();

        prop_assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry);
    }

    #[test]
    fn whatever_was_journaled_and_is_seen_a_decision_keeps_the_promises(
        plan in plan(), events in vec((moment(), event()), 0..12), sightings in vec(sighting(), 1..4), now in now(),
    ) {
        let (_, plan, state) = replayed(plan, events);
        let mut evidence = Evidence::default();

        for mut sighting in sightings {
            if let (Ok(revisions), None) = (&mut sighting.revisions, &plan.blue) {
                revisions.remove(&Role::Blue);
            }
            let seen = evidence.absorb(&plan, sighting);
            decide_and_tell(&plan, &state, &seen, now);
        }
    }

    #[test]
    fn facts_that_no_look_could_join_are_decided_on_all_the_same(
        plan in plan(), events in vec((moment(), event()), 0..12), mut seen in observation(), now in now(),
    ) {
        let (_, plan, state) = replayed(plan, events);
        seen.blue = seen.blue.filter(|_| plan.blue.is_some());

        decide_and_tell(&plan, &state, &seen, now);
    }
}
