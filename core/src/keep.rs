//! What keeps a pool in line with its instances while nothing is being deployed: an instance that crashed comes back
//! at another address, and somebody has to tell the balancer.
//!
//! It never touches an endpoint that drains: whoever took it out had a reason.

use crate::action::{Member, PoolAction};
use crate::name::InstanceId;
use crate::observation::{
    EndpointState, Health, InstanceSighting, Phase, PoolSighting, RevisionSighting,
};
use crate::time::{Moment, Span};

/// What to do about a pool, and when to look again.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Upkeep {
    /// The change that the pool needs, if any.
    pub change: Option<PoolAction>,
    /// When an instance that is healthy will have been so long enough, if one is waited for.
    pub next: Option<Moment>,
}

/// Returns what a pool needs for the only revision of its service.
#[must_use]
pub fn keep(
    revision: &RevisionSighting,
    pool: &PoolSighting,
    min_healthy_time: Span,
    now: Moment,
) -> Upkeep {
    let listed = |id: &InstanceId| {
        pool.endpoints
            .iter()
            .any(|endpoint| endpoint.instance == *id)
    };
    let new: Vec<&InstanceSighting> = revision
        .instances
        .iter()
        .filter(|one| is_well(one) && !listed(&one.id))
        .collect();
    let settles = |one: &&InstanceSighting| {
        one.healthy_since
            .map(|since| since.min(now) + min_healthy_time)
    };
    let (due, early): (Vec<_>, Vec<_>) = new
        .into_iter()
        .partition(|one| settles(one).is_some_and(|at| at <= now));
    let admit: Vec<Member> = due.into_iter().filter_map(member).collect();
    let withdraw = sick(revision, pool, admit.len());
    let alive = |id: &InstanceId| revision.instances.iter().any(|one| one.id == *id);
    let gone = pool
        .endpoints
        .iter()
        .filter(|endpoint| !alive(&endpoint.instance));
    let forget: Vec<InstanceId> = gone.map(|endpoint| endpoint.instance.clone()).collect();
    let nothing = admit.is_empty() && withdraw.is_empty() && forget.is_empty();
    let change = PoolAction::Change {
        pool: pool.id.clone(),
        admit,
        withdraw,
        forget,
    };
    let next = early.iter().filter_map(settles).min();
    Upkeep {
        change: (!nothing).then_some(change),
        next,
    }
}

fn is_well(one: &InstanceSighting) -> bool {
    one.phase == Phase::Running && one.health == Health::Healthy && one.current
}

fn member(one: &InstanceSighting) -> Option<Member> {
    let address = one.addresses.at(0)?.clone();
    Some(Member {
        instance: one.id.clone(),
        address,
    })
}

/// Serving endpoints whose instances are ending, as long as a well one is left.
fn sick(revision: &RevisionSighting, pool: &PoolSighting, entering: usize) -> Vec<InstanceId> {
    let instance = |id: &InstanceId| revision.instances.iter().find(|one| one.id == *id);
    let serving = pool
        .endpoints
        .iter()
        .filter(|one| one.state == EndpointState::Serving);
    let serving: Vec<_> = serving.filter_map(|one| instance(&one.instance)).collect();
    let well = serving.iter().filter(|one| is_well(one)).count() + entering;
    let ending = serving.iter().filter(|one| one.phase == Phase::Stopping);
    if well == 0 {
        Vec::new()
    } else {
        ending.map(|one| one.id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{Address, PoolId};
    use crate::observation::EndpointSighting;

    const NOW: Moment = Moment(100_000);

    fn instance(id: &str, healthy_since: u64) -> InstanceSighting {
        InstanceSighting {
            id: InstanceId::from(id),
            phase: Phase::Running,
            current: true,
            health: Health::Healthy,
            healthy_since: Some(Moment(healthy_since)),
            addresses: [Address(format!("127.0.0.1:{id}"))].into(),
        }
    }

    fn world(instances: Vec<InstanceSighting>, listed: &[(&str, EndpointState)]) -> Upkeep {
        let endpoint = |(id, state): &(&str, EndpointState)| EndpointSighting {
            instance: InstanceId::from(*id),
            address: Address(format!("127.0.0.1:{id}")),
            state: *state,
            in_flight: Some(0),
        };
        let pool = PoolSighting {
            id: PoolId::from("oinker"),
            listen: None,
            endpoints: listed.iter().map(endpoint).collect(),
            vacancies: None,
        };
        let revision = RevisionSighting {
            id: "/oinker".into(),
            wanted: 2,
            locked: false,
            checked: true,
            trouble: None,
            instances,
        };
        keep(&revision, &pool, Span::seconds(10), NOW)
    }

    fn change(upkeep: &Upkeep) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
        match &upkeep.change {
            Some(PoolAction::Change {
                admit,
                withdraw,
                forget,
                ..
            }) => (
                admit
                    .iter()
                    .map(|member| member.instance.as_str())
                    .collect(),
                withdraw.iter().map(InstanceId::as_str).collect(),
                forget.iter().map(InstanceId::as_str).collect(),
            ),
            _ => (vec![], vec![], vec![]),
        }
    }

    #[test]
    fn a_crashed_instance_is_forgotten_and_its_successor_admitted_once_it_is_settled() {
        let listed = [("1", EndpointState::Serving), ("2", EndpointState::Serving)];

        let early = world(vec![instance("2", 0), instance("3", 95_000)], &listed);
        assert_eq!(change(&early), (vec![], vec![], vec!["1"]));
        assert_eq!(early.next, Some(Moment(105_000)));

        let settled = world(vec![instance("2", 0), instance("3", 90_000)], &listed);
        assert_eq!(change(&settled), (vec!["3"], vec![], vec!["1"]));
    }

    #[test]
    fn what_somebody_took_out_stays_out() {
        let upkeep = world(vec![instance("1", 0)], &[("1", EndpointState::Draining)]);

        assert_eq!(upkeep, Upkeep::default());
    }

    #[test]
    fn an_instance_that_is_ending_leaves_unless_it_is_the_last() {
        let ending = InstanceSighting {
            phase: Phase::Stopping,
            ..instance("1", 0)
        };
        let listed = [("1", EndpointState::Serving), ("2", EndpointState::Serving)];

        let two = world(vec![ending.clone(), instance("2", 0)], &listed);
        assert_eq!(change(&two), (vec![], vec!["1"], vec![]));
        assert_eq!(
            change(&world(vec![ending], &listed[..1])),
            (vec![], vec![], vec![])
        );
    }
}
