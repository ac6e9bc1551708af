//! The pool under many hands at once.

use std::sync::atomic::AtomicBool;
use std::thread;

use proptest::prelude::*;

use super::*;

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn pool() -> Pool {
    Pool::new("p".into(), Protocol::Http)
}

fn admit(ids: &[&str]) -> Change {
    let admit = ids
        .iter()
        .map(|id| ((*id).to_owned(), address(1)))
        .collect();
    Change {
        admit,
        ..Change::default()
    }
}

fn withdraw(ids: &[&str]) -> Change {
    Change {
        withdraw: ids.iter().map(|id| (*id).to_owned()).collect(),
        ..Change::default()
    }
}

fn forget(ids: &[&str]) -> Change {
    Change {
        forget: ids.iter().map(|id| (*id).to_owned()).collect(),
        ..Change::default()
    }
}

#[test]
fn the_less_busy_of_two_is_claimed() {
    let pool = pool();
    pool.change(&admit(&["a", "b"]));
    let mut random = Random::new();

    let claims: Vec<_> = (0..10)
        .filter_map(|_| pool.claim(&[], &mut random))
        .collect();

    let counts: Vec<_> = pool
        .view()
        .endpoints
        .iter()
        .map(|endpoint| endpoint.in_flight)
        .collect();
    assert_eq!(counts, [5, 5]);
    drop(claims);
}

#[test]
fn what_was_tried_is_not_claimed_again() {
    let pool = pool();
    pool.change(&admit(&["a", "b", "c"]));
    let mut random = Random::new();
    let mut tried = Vec::new();

    while let Some(claim) = pool.claim(&tried, &mut random) {
        tried.push(Arc::clone(claim.endpoint()));
        assert!(tried.len() <= 3);
    }

    let mut names: Vec<_> = tried
        .iter()
        .map(|endpoint| endpoint.instance.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn a_forgotten_endpoint_is_listed_until_its_last_claim_is_dropped() {
    let pool = pool();
    pool.change(&admit(&["a"]));
    let claim = pool.claim(&[], &mut Random::new());

    let busy = pool.change(&forget(&["a"]));
    drop(claim);

    assert_eq!(
        (busy.endpoints[0].in_flight, busy.endpoints[0].state),
        (1, Traffic::Draining)
    );
    assert_eq!(pool.view().endpoints, []);
}

#[test]
fn a_forgotten_endpoint_that_is_admitted_again_stays() {
    let pool = pool();
    pool.change(&admit(&["a"]));
    let claim = pool.claim(&[], &mut Random::new());

    pool.change(&forget(&["a"]));
    pool.change(&admit(&["a"]));
    drop(claim);

    let view = pool.view();
    assert_eq!(view.endpoints.len(), 1);
    assert_eq!(
        (view.endpoints[0].in_flight, view.endpoints[0].state),
        (0, Traffic::Serving)
    );
}

/// Threads claim and give back while the pool is changed; after each change, the claims are
/// compared with what the change said.
#[test]
fn no_claim_made_after_a_change_names_what_was_withdrawn() {
    let pool = pool();
    let ids = ["a", "b", "c", "d"];
    pool.change(&admit(&ids));
    let round = AtomicU64::new(0);
    let stop = AtomicBool::new(false);

    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut random = Random::new();
                while !stop.load(Ordering::SeqCst) {
                    // In odd rounds a change is done and the next not begun: `a` and `b` are
                    // withdrawn in every other one, `c` and `d` in the rest. A claim between two
                    // looks at the same odd round was made in it.
                    let before = round.load(Ordering::SeqCst);
                    let claim = pool.claim(&[], &mut random).expect("two always serve");
                    let after = round.load(Ordering::SeqCst);
                    let instance = claim.endpoint().instance.as_str();
                    if before == after && before % 2 == 1 {
                        let gone = if before % 4 == 1 {
                            ["a", "b"]
                        } else {
                            ["c", "d"]
                        };
                        assert!(!gone.contains(&instance), "{instance}");
                    }
                }
            });
        }
        for number in 0..3000_u64 {
            let (gone, back) = if number % 2 == 0 {
                (&ids[..2], &ids[2..])
            } else {
                (&ids[2..], &ids[..2])
            };
            let change = Change {
                admit: admit(back).admit,
                ..withdraw(gone)
            };
            pool.change(&change);
            round.store(number * 2 + 1, Ordering::SeqCst);
            // What was claimed before the change is given back, and nothing new comes.
            while pool.view().endpoints.iter().any(|endpoint| {
                gone.contains(&endpoint.instance.as_str()) && endpoint.in_flight > 0
            }) {
                thread::yield_now();
            }
            for _ in 0..3 {
                let view = pool.view();
                let gone = view
                    .endpoints
                    .iter()
                    .filter(|e| gone.contains(&e.instance.as_str()));
                assert_eq!(gone.map(|endpoint| endpoint.in_flight).sum::<u64>(), 0);
            }
            round.store(number * 2 + 2, Ordering::SeqCst);
        }
        stop.store(true, Ordering::SeqCst);
    });

    assert!(
        pool.view()
            .endpoints
            .iter()
            .all(|endpoint| endpoint.in_flight == 0)
    );
}

#[derive(Debug, Clone)]
enum Step {
    Admit(usize, u16),
    Withdraw(usize),
    Forget(usize),
    Claim,
    Release(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_usize, 1..3_u16).prop_map(|(id, port)| Step::Admit(id, port)),
        (0..4_usize).prop_map(Step::Withdraw),
        (0..4_usize).prop_map(Step::Forget),
        Just(Step::Claim),
        Just(Step::Claim),
        (0..8_usize).prop_map(Step::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// The pool against a model: which incarnation serves, and which claims live.
    #[test]
    fn in_flight_equals_live_claims_and_only_what_serves_is_claimed(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let ids = ["a", "b", "c", "d"];
        let pool = pool();
        let mut random = Random::new();
        let mut serving: BTreeMap<&str, SocketAddr> = BTreeMap::new();
        let mut claims = Vec::new();
        for step in steps {
            match step {
                Step::Admit(id, port) => {
                    serving.insert(ids[id], address(port));
                    let admit = vec![(ids[id].to_owned(), address(port))];
                    pool.change(&Change { admit, ..Change::default() });
                }
                Step::Withdraw(id) => {
                    serving.remove(ids[id]);
                    pool.change(&withdraw(&[ids[id]]));
                }
                Step::Forget(id) => {
                    serving.remove(ids[id]);
                    pool.change(&forget(&[ids[id]]));
                }
                Step::Claim => {
                    let claim = pool.claim(&[], &mut random);
                    prop_assert_eq!(claim.is_some(), !serving.is_empty());
                    if let Some(claim) = claim {
                        let endpoint = claim.endpoint();
                        let expected = serving.get(endpoint.instance.as_str());
                        prop_assert_eq!(expected, Some(&endpoint.address));
                        claims.push(claim);
                    }
                }
                Step::Release(index) => {
                    if index < claims.len() {
                        drop(claims.swap_remove(index));
                    }
                }
            }
            for endpoint in pool.view().endpoints {
                let mine = |claim: &&Claim<'_>| {
                    claim.endpoint().instance == endpoint.instance
                        && claim.endpoint().address == endpoint.address
                };
                let live = claims.iter().filter(mine).count() as u64;
                prop_assert_eq!(endpoint.in_flight, live);
                let serves = serving.get(endpoint.instance.as_str()) == Some(&endpoint.address);
                prop_assert_eq!(endpoint.state == Traffic::Serving, serves);
            }
            let listed: u64 = pool.view().endpoints.iter().map(|endpoint| endpoint.in_flight).sum();
            prop_assert_eq!(listed, claims.len() as u64, "no claim vanishes from the list");
        }
    }
}
