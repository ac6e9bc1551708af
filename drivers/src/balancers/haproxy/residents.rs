//! Which instance a server is, as far as names, addresses and the directory tell.

use super::hosts::Hosts;
use super::names;
use super::page::Server;
use crate::DriverError;
use crate::directory::Directory;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use teal_core::action::Member;
use teal_core::name::{Address, InstanceId};

/// What the address of a free slot is. Nobody can listen there but root, and nobody does (RFC 1078's multiplexer).
pub(super) const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// The directory with its names resolved, for one look or one change.
#[derive(Debug, Default)]
pub(super) struct Residents {
    by_address: BTreeMap<SocketAddr, InstanceId>,
    addresses: BTreeMap<Member, Vec<SocketAddr>>,
    /// Where somebody lives and nobody knows where that is.
    unresolved: Vec<Address>,
}

impl Residents {
    /// Resolves everybody's address.
    pub(super) async fn of(directory: &Directory, hosts: &Hosts) -> Self {
        let mut residents = Self::default();
        let members = directory.members();
        let all = hosts.resolve(members.iter().map(|member| &member.address));
        for (member, addresses) in members.iter().zip(all.await) {
            if addresses.is_empty() {
                residents.unresolved.push(member.address.clone());
            }
            for address in &addresses {
                residents
                    .by_address
                    .insert(*address, member.instance.clone());
            }
            residents.addresses.insert(member.clone(), addresses);
        }
        residents
    }

    /// Returns where a member is reached; nothing when its name is not known.
    pub(super) fn addresses_of(&self, member: &Member) -> &[SocketAddr] {
        self.addresses.get(member).map_or(&[], Vec::as_slice)
    }

    /// Makes sure that whoever is in this pool can be told.
    ///
    /// # Errors
    /// [`DriverError::Unreachable`] when a server is nobody's and a name is not known: it may be that one's, which would
    /// then look as if it were out of the pool.
    pub(super) fn check(&self, servers: &[Server]) -> Result<(), DriverError> {
        let Some(unresolved) = self.unresolved.first() else {
            return Ok(());
        };
        let is_strange = |server: &&Server| {
            let rests = server.in_maintenance && server.in_flight == 0;
            !server.is_backup && !rests && !self.is_somebodys(server)
        };
        match servers.iter().find(is_strange) {
            None => Ok(()),
            Some(server) => Err(DriverError::Unreachable {
                url: unresolved.to_string(),
                reason: format!(
                    "its name is not known, and server {} may be that one's",
                    server.name
                ),
            }),
        }
    }

    /// A server that was added has its instance's name. Any other one is whoever lives at its address; and if that is
    /// nobody, the server's own name has to do.
    pub(super) fn instance_of(&self, server: &Server) -> InstanceId {
        let named = names::instance(&server.name);
        let known = named.or_else(|| self.resident(server).cloned());
        known.unwrap_or_else(|| InstanceId::from(server.name.as_str()))
    }

    /// A slot in maintenance where nobody lives. What is in maintenance and no slot, its operator has put there.
    pub(super) fn is_free(&self, server: &Server) -> bool {
        let is_place = server.is_slot || server.address == Some(NOWHERE);
        let is_place = is_place && !server.is_backup;
        is_place && server.in_maintenance && server.in_flight == 0 && !self.is_somebodys(server)
    }

    /// Tells whether a server is an endpoint of the pool, or was one and is to be told of.
    pub(super) fn lists(&self, server: &Server) -> bool {
        !self.is_free(server) && !self.is_foreign(server)
    }

    /// A server of the configuration that is neither a slot nor where an instance lives: a backup, or whatever else
    /// there is that teal knows nothing of. It is left alone.
    fn is_foreign(&self, server: &Server) -> bool {
        let is_place = server.is_slot || server.address == Some(NOWHERE);
        server.is_backup || (!is_place && !self.is_somebodys(server))
    }

    fn is_somebodys(&self, server: &Server) -> bool {
        names::instance(&server.name).is_some() || self.resident(server).is_some()
    }

    fn resident(&self, server: &Server) -> Option<&InstanceId> {
        self.by_address.get(&server.address?)
    }
}
