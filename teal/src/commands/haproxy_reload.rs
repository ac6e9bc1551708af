//! `teal haproxy-reload`: what an administrator does after a change of HAProxy's configuration, without losing a pool.

use crate::failure::{Exit, Failure};
use crate::printer;
use crate::settings::{BalancerKind, Places};
use crate::store::Store;
use crate::systems;
use clap::Args;
use teal_drivers::directory::Directory;

/// Reload HAProxy without losing its pools: say, after a change of its configuration
///
/// What serves and what drains is written into the state file before, and servers that were added are added again
/// afterwards. With several HAProxies, one is reloaded after the other. It needs `master=` in the balancer's address.
#[derive(Debug, Args)]
pub(crate) struct HaproxyReloadArgs {}

/// Runs `teal haproxy-reload`.
pub(crate) async fn run(places: &Places, _: HaproxyReloadArgs) -> Result<Exit, Failure> {
    let BalancerKind::Haproxy(addresses) = places.balancer.kind()? else {
        return Err(
            Failure::new(Exit::Invalid, "--balancer names no HAProxy; nothing was done").hint(
                "give its address: --balancer 'haproxy+unix:/run/haproxy/admin.sock?master=/run/haproxy/master.sock'",
            ),
        );
    };
    let store = Store::open(&places.state_dir)?;
    if let Some(past) = store.open_ones().first() {
        let what = format!("{} is being deployed; nothing was done", past.plan.service);
        return Err(Failure::new(Exit::Locked, what)
            .hint("wait until it has ended: what it takes out meanwhile would be put back"));
    }
    let haproxy = systems::haproxy(&addresses, Directory::new())?;
    haproxy
        .reload()
        .await
        .map_err(|error| Failure::balancer(&error))?;
    printer::talk("reloaded: a new worker answers, and the pools are as they were");
    Ok(Exit::Done)
}
