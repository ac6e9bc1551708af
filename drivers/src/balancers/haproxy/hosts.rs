//! The addresses of hosts, remembered: an orchestrator may call its agents by name, and every look needs all of them.

use crate::address::resolve_all;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use teal_core::name::Address;
use tokio::time::{Instant, timeout};

/// For how long an answer is taken for granted, also that there is none.
const FRESH: Duration = Duration::from_secs(30);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Every address that a name has ever been resolved to, the latest first. None is dropped: an endpoint that suddenly were
/// nobody's would look as if its instance were out of the pool.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    known: Mutex<BTreeMap<String, Known>>,
}

#[derive(Debug)]
struct Known {
    addresses: Vec<IpAddr>,
    asked_at: Instant,
}

impl Hosts {
    /// Returns where each of these is, in their order; nothing for a name that is not known.
    pub(super) async fn resolve(
        &self,
        all: impl Iterator<Item = &Address> + Clone,
    ) -> Vec<Vec<SocketAddr>> {
        let names: BTreeSet<&str> = all.clone().filter_map(|it| Some(named(it)?.0)).collect();
        let stale = names.into_iter().filter(|name| !self.is_fresh(name));
        let asked = stale.map(|name| async move {
            let found = timeout(PATIENCE, resolve_all(&format!("{name}:0"))).await;
            self.take(name, found.unwrap_or_default());
        });
        join_all(asked).await;
        let known = self.lock();
        let find = |address: &Address| {
            if let Ok(address) = address.as_str().parse() {
                return vec![address];
            }
            let Some((name, port)) = named(address) else {
                return Vec::new();
            };
            let found = known.get(name).map_or(&[][..], |it| &it.addresses);
            found.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
        };
        all.map(find).collect()
    }

    fn is_fresh(&self, name: &str) -> bool {
        let known = self.lock();
        known
            .get(name)
            .is_some_and(|it| it.asked_at.elapsed() < FRESH)
    }

    fn take(&self, name: &str, found: Vec<IpAddr>) {
        let asked_at = Instant::now();
        let mut known = self.lock();
        let before = known.remove(name).map_or_else(Vec::new, |it| it.addresses);
        let mut addresses = found;
        for address in before {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        known.insert(
            name.to_owned(),
            Known {
                addresses,
                asked_at,
            },
        );
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name and port of an address that is no number.
fn named(address: &Address) -> Option<(&str, u16)> {
    let text = address.as_str();
    if text.parse::<SocketAddr>().is_ok() {
        return None;
    }
    let (host, port) = text.rsplit_once(':')?;
    Some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_is_not_known_any_more_is_where_it_was_and_one_that_moved_is_at_both() {
        let hosts = Hosts::default();
        let name = "no-such-host.invalid";
        let address = Address(format!("{name}:80"));
        let resolve = async || {
            hosts
                .resolve(std::iter::once(&address))
                .await
                .pop()
                .unwrap()
        };
        assert_eq!(resolve().await, []);

        let (before, now) = (IpAddr::from([10, 0, 0, 7]), IpAddr::from([10, 0, 1, 7]));
        hosts.take(name, vec![before]);
        hosts.take(name, Vec::new());
        assert_eq!(resolve().await, [(before, 80).into()]);

        hosts.take(name, vec![now]);
        assert_eq!(resolve().await, [(now, 80).into(), (before, 80).into()]);
    }

    #[tokio::test]
    async fn numbers_and_names_are_told_in_their_order() {
        let all = ["10.0.0.7:80", "localhost:81", "nonsense"].map(Address::from);

        let found = Hosts::default().resolve(all.iter()).await;

        assert_eq!(found[0], ["10.0.0.7:80".parse().unwrap()]);
        assert!(found[1].contains(&"127.0.0.1:81".parse().unwrap()));
        assert_eq!(found[2], []);
    }
}
