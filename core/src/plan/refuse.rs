//! What stands in the way of a plan, beyond the definition itself.

use super::make::{BalancerAbilities, Found, Request};
use super::{PoolPlan, Protocol};
use crate::name::{InstanceId, RevisionId};
use crate::observation::PoolSighting;
use crate::problem::Problem;
use std::collections::BTreeSet;

pub(super) fn existing(found: &[Found], green: &RevisionId, problems: &mut Vec<Problem>) {
    if found.iter().any(|found| found.sighting.id == *green) {
        problems.push(
            Problem::new(
                "id",
                format!("`{green}` runs already, and a revision never changes"),
            )
            .hint("give this one an id of its own: --revision $(git rev-parse --short HEAD)"),
        );
    }
}

/// A pool that serves stays where its clients find it. Port 0 asks for any port, so it is content with the present one.
pub(super) fn moving(request: &Request<'_>, pools: &[PoolPlan], problems: &mut Vec<Problem>) {
    for pool in pools {
        let found = request.pools.iter().find(|found| found.id == pool.id);
        let (Some(now), Some(wanted)) = (
            found.and_then(|found| found.listen.as_deref()),
            &pool.listen,
        ) else {
            continue;
        };
        let host = |address: &str| {
            let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
            (host.replace("localhost", "127.0.0.1"), port.to_owned())
        };
        let (now_at, wanted_at) = (host(now), host(wanted));
        if now_at.0 != wanted_at.0 || (wanted_at.1 != "0" && now_at.1 != wanted_at.1) {
            let what = format!(
                "pool {} listens on {now}, and the definition asks for {wanted}",
                pool.id
            );
            problems.push(
                Problem::new("labels.TEAL_LISTEN", what).hint(
                    "its clients know the present address: keep it, or remove the pool first",
                ),
            );
        }
    }
}

pub(super) fn the_impossible(
    can: BalancerAbilities,
    pools: &[PoolPlan],
    problems: &mut Vec<Problem>,
) {
    if !can.in_flight {
        problems.push(
            Problem::new(
                "balancer",
                "it cannot tell what is in flight, so nothing could be drained",
            )
            .hint("use a balancer that counts requests per endpoint"),
        );
    }
    for pool in pools {
        if !pool.existed && !can.listens {
            problems.push(
                Problem::new(
                    "balancer",
                    format!("there is no pool {} and it cannot open one", pool.id),
                )
                .hint(
                    "make it in the balancer's own configuration (HAProxy: `teal haproxy-config` shows how), or name the \
                     one that is there with TEAL_HAPROXY_BACKEND",
                ),
            );
        }
        if pool.protocol == Protocol::Tcp && !can.tcp {
            let what = format!("pool {} is to serve raw TCP, and it cannot", pool.id);
            problems.push(Problem::new("labels.TEAL_PROTOCOL", what));
        }
    }
}

/// A pool whose places were counted out by hand has to have one for every instance that may be in it at once.
pub(super) fn too_many(
    found: &[PoolSighting],
    pools: &[PoolPlan],
    at_once: u32,
    problems: &mut Vec<Problem>,
) {
    for pool in found
        .iter()
        .filter(|found| pools.iter().any(|pool| pool.id == found.id))
    {
        let Some(vacancies) = pool.vacancies else {
            continue;
        };
        let places = vacancies as usize + pool.endpoints.len();
        if places < at_once as usize {
            let what = format!(
                "pool {} has places for {places} endpoints, and up to {at_once} would be in it at once",
                pool.id
            );
            problems.push(
                Problem::new("balancer", what).hint(
                    "give it more places (HAProxy: a longer server-template), or lower --surge",
                ),
            );
        }
    }
}

/// Traffic of the service that neither goes to BLUE nor to a pool of the plan would be lost sight of.
pub(super) fn other_traffic(
    request: &Request<'_>,
    blue: Option<&Found>,
    pools: &[PoolPlan],
    problems: &mut Vec<Problem>,
) {
    let owner = |id: &InstanceId| {
        let has = |found: &&Found| found.sighting.instances.iter().any(|one| one.id == *id);
        request
            .found
            .iter()
            .find(has)
            .map(|found| &found.sighting.id)
    };
    let mut said = BTreeSet::new();
    for pool in request.pools {
        let planned = pools.iter().any(|plan| plan.id == pool.id);
        for endpoint in pool
            .endpoints
            .iter()
            .filter(|one| one.state.gets_requests())
        {
            let Some(owner) = owner(&endpoint.instance) else {
                continue;
            };
            let is_blue = blue.is_some_and(|blue| blue.sighting.id == *owner);
            if is_blue == planned || !said.insert((&pool.id, owner)) {
                continue;
            }
            problems.push(if is_blue {
                let what = format!(
                    "{owner} serves in pool {} too, and the definition has no port for it",
                    pool.id
                );
                Problem::new("labels", what).hint(
                    "keep the port and its TEAL_n_LISTEN, or take BLUE out of that pool first",
                )
            } else {
                let what = format!(
                    "pool {} sends traffic to {owner} too, which this deployment does not replace",
                    pool.id
                );
                Problem::new("", what)
                    .hint("replace it with --replace, or take it out with `teal pool withdraw`")
            });
        }
    }
}
