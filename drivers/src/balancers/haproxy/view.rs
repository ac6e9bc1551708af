//! What servers are as a pool: who is in it, and what it has room for.

use super::page::{Backend, Page, Server};
use super::residents::Residents;
use std::collections::BTreeMap;
use teal_core::name::{Address, InstanceId};

/// What one process says of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) address: Address,
    /// The worker sends it new requests.
    pub(super) serves: bool,
    /// It may get some all the same: from a worker of before a reload, for the clients that are still connected to it, or
    /// as soon as its check succeeds.
    pub(super) lingers: bool,
    /// None: there may be some that nobody can count.
    pub(super) in_flight: Option<u64>,
}

/// What one process says of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct View {
    pub(super) entries: BTreeMap<InstanceId, Entry>,
    /// How many more it can take; None: any number.
    pub(super) vacancies: Option<u32>,
}

/// The servers by instance. One in maintenance that is nobody's is no entry: it is a slot that is free.
pub(super) fn entries(servers: &[Server], residents: &Residents) -> BTreeMap<InstanceId, Entry> {
    let mut entries: BTreeMap<InstanceId, Entry> = BTreeMap::new();
    for server in servers.iter().filter(|server| residents.lists(server)) {
        let address = server.address.map_or_else(
            || Address::from("unresolved:0"),
            |at| Address(at.to_string()),
        );
        let entry = entries
            .entry(residents.instance_of(server))
            .or_insert_with(|| Entry {
                address,
                serves: false,
                lingers: false,
                in_flight: Some(0),
            });
        entry.serves |= server.serves;
        entry.lingers |= !server.serves && !server.is_out;
        entry.in_flight = entry
            .in_flight
            .map(|count| count.saturating_add(server.in_flight));
    }
    entries
}

/// How many slots are free.
pub(super) fn free(servers: &[Server], residents: &Residents) -> usize {
    let free = servers.iter().filter(|server| residents.is_free(server));
    free.count()
}

pub(super) fn vacancies(page: &Page, backend: &Backend, residents: &Residents) -> Option<u32> {
    if page.adds_servers() && backend.takes_servers {
        return None;
    }
    Some(u32::try_from(free(&backend.servers, residents)).unwrap_or(u32::MAX))
}

/// Requests that an old worker still has, or may yet send, count for their instance.
pub(super) fn add_old(entries: &mut BTreeMap<InstanceId, Entry>, old: BTreeMap<InstanceId, Entry>) {
    for (id, old) in old {
        let lingers = old.serves || old.lingers;
        if !lingers && old.in_flight == Some(0) {
            continue;
        }
        let entry = entries.entry(id).or_insert_with(|| Entry {
            serves: false,
            in_flight: Some(0),
            ..old.clone()
        });
        entry.lingers |= lingers;
        let both = entry.in_flight.zip(old.in_flight);
        entry.in_flight = both.map(|(new, old)| new.saturating_add(old));
    }
}
