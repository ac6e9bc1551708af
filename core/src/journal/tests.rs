//! What a journal folds into, and what changes between two pictures.

use super::*;
use crate::name::{Addresses, RevisionId};
use crate::observation::Revision;

fn instance(id: &str, traffic: Traffic) -> Instance {
    Instance {
        id: InstanceId::from(id),
        phase: Phase::Running,
        current: true,
        health: Health::Healthy,
        healthy_since: None,
        unhealthy_since: None,
        stopping_since: None,
        out_since: None,
        addresses: Addresses::default(),
        traffic,
        in_flight: Some(0),
        pending: Pending::NotWatched,
        idle_samples: 0,
        sampled_at: None,
    }
}

fn seen(instances: &[(&str, Traffic)]) -> Observation {
    let instances = instances.iter();
    let blue = Revision {
        id: RevisionId::from("/s"),
        wanted: 0,
        locked: false,
        locked_since: None,
        trouble: None,
        unsettled_since: None,
        instances: instances
            .map(|(id, traffic)| instance(id, *traffic))
            .collect(),
    };
    Observation {
        blue: Some(blue),
        ..Observation::default()
    }
}

#[test]
fn a_picture_that_did_not_change_is_no_news() {
    let seen = seen(&[("a", Traffic::Serving), ("b", Traffic::Serving)]);
    let mut picture = Picture::of(&seen);

    assert_eq!(picture.update(&seen), None);
}

#[test]
fn only_what_is_otherwise_than_before_is_news() {
    let mut picture = Picture::of(&seen(&[
        ("a", Traffic::Serving),
        ("b", Traffic::Draining),
        ("c", Traffic::Serving),
    ]));
    let later = seen(&[
        ("a", Traffic::Serving),
        ("c", Traffic::Draining),
        ("d", Traffic::Out),
    ]);

    let changes = picture.update(&later).unwrap();

    let told: Vec<&str> = changes.instances.keys().map(InstanceId::as_str).collect();
    assert_eq!(told, ["c", "d"]);
    assert_eq!(changes.gone, BTreeSet::from(["b".into()]));
    assert_eq!(changes.capacity, 1);
    assert_eq!(picture, Picture::of(&later));
}

#[test]
fn a_picture_that_an_earlier_version_wrote_is_read() {
    let picture: Picture = serde_json::from_str(r#"{"capacity":3,"instances":{}}"#).unwrap();

    assert_eq!(picture.capacity, 3);
    assert!(picture.gone.is_empty());
}
