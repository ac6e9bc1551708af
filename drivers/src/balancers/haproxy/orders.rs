//! What has to be said to make a backend what it is to be.

use super::names;
use super::page::{Backend, Server};
use super::residents::{NOWHERE, Residents};
use teal_core::action::Member;
use teal_core::name::InstanceId;

/// The commands that make a backend what it is to be.
pub(super) struct Orders<'a> {
    pub(super) backend: &'a Backend,
    pub(super) name: &'a str,
    pub(super) adds_servers: bool,
    pub(super) residents: &'a Residents,
}

impl Orders<'_> {
    /// Returns the commands, or why there can be none. What is so already is not said again.
    pub(super) fn all(
        &self,
        admit: &[Member],
        withdraw: &[InstanceId],
        forget: &[InstanceId],
    ) -> Result<Vec<String>, String> {
        let mut commands = Vec::new();
        let mut free: Vec<&Server> = self
            .backend
            .servers
            .iter()
            .filter(|server| self.residents.is_free(server))
            .collect();
        free.reverse();
        for member in admit {
            self.admit(member, &mut free, &mut commands)?;
        }
        let out = if self.backend.is_sticky {
            // Drained, it would still get the requests of those who come back to it.
            "maint"
        } else {
            "drain"
        };
        for server in self.servers_of(withdraw).filter(|it| !it.is_out) {
            commands.push(self.set(&server.name, &format!("state {out}")));
        }
        for server in self.servers_of(forget) {
            commands.extend(self.forget(server));
        }
        Ok(commands)
    }

    fn servers_of(&self, ids: &[InstanceId]) -> impl Iterator<Item = &Server> {
        let servers = self.backend.servers.iter();
        servers.filter(|server| {
            self.residents.lists(server) && ids.contains(&self.residents.instance_of(server))
        })
    }

    /// Slots go first: they outlive a reload.
    fn admit(
        &self,
        member: &Member,
        free: &mut Vec<&Server>,
        commands: &mut Vec<String>,
    ) -> Result<(), String> {
        let all = self.residents.addresses_of(member);
        let at = *all
            .first()
            .ok_or_else(|| format!("the name in {} is not known", member.address))?;
        let (ip, port) = (at.ip(), at.port());
        let added = names::server(&member.instance);
        let ids = std::slice::from_ref(&member.instance);
        let listed = self.servers_of(ids).next();
        let listed = listed.or_else(|| self.backend.servers.iter().find(|it| it.name == added));
        if let Some(server) = listed.or_else(|| free.pop()) {
            let is_there = server.address.is_some_and(|address| all.contains(&address));
            if server.serves && is_there {
                return Ok(());
            }
            if !is_there {
                commands.push(self.set(&server.name, &format!("addr {ip} port {port}")));
            }
            commands.push(self.set(&server.name, "state ready"));
            return Ok(());
        }
        if !self.adds_servers {
            return Err(format!(
                "it has no free slot for {}, and cannot be given more",
                member.instance
            ));
        }
        let peers = self.backend.servers.iter().filter(|server| server.serves);
        let weight = peers
            .map(|server| server.weight)
            .max()
            .map_or_else(String::new, |weight| format!(" weight {weight}"));
        commands.push(format!("add server {}/{added} {at}{weight}", self.name));
        commands.push(self.set(&added, "state ready"));
        Ok(())
    }

    /// A server that was added is deleted. One that is in the configuration becomes a slot that is free.
    fn forget(&self, server: &Server) -> Vec<String> {
        let maintenance = self.set(&server.name, "state maint");
        if names::instance(&server.name).is_some() {
            return vec![
                maintenance,
                format!("del server {}/{}", self.name, server.name),
            ];
        }
        if server.in_flight > 0 {
            // It stays its instance's until it is done, and is told again then.
            return vec![maintenance];
        }
        let (ip, port) = (NOWHERE.ip(), NOWHERE.port());
        let nowhere = self.set(&server.name, &format!("addr {ip} port {port}"));
        vec![maintenance, nowhere]
    }

    fn set(&self, server: &str, what: &str) -> String {
        format!("set server {}/{server} {what}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balancers::haproxy::hosts::Hosts;
    use crate::directory::Directory;
    use teal_core::name::Address;

    fn member(instance: &str, port: u16) -> Member {
        Member {
            instance: InstanceId::from(instance),
            address: Address(format!("127.0.0.1:{port}")),
        }
    }

    fn server(name: &str, port: u16) -> Server {
        Server {
            name: name.to_owned(),
            address: Some(([127, 0, 0, 1], port).into()),
            in_maintenance: false,
            is_slot: false,
            is_backup: false,
            serves: true,
            is_out: false,
            weight: 7,
            in_flight: 0,
        }
    }

    fn slot(name: &str) -> Server {
        Server {
            in_maintenance: true,
            is_slot: true,
            is_out: true,
            serves: false,
            ..server(name, 1)
        }
    }

    /// What is said to this backend, where `a` lives at port 10, `b` at 11 and `c` at 12.
    async fn said(
        servers: Vec<Server>,
        adds_servers: bool,
        [admit, withdraw, forget]: [&[&str]; 3],
    ) -> Result<Vec<String>, String> {
        let members = [member("a", 10), member("b", 11), member("c", 12)];
        let directory = Directory::new();
        members.iter().for_each(|member| directory.note(member));
        let is_sticky = servers.iter().any(|server| server.name == "sticky");
        let backend = Backend {
            servers,
            takes_servers: true,
            is_sticky,
        };
        let orders = Orders {
            backend: &backend,
            name: "app",
            adds_servers,
            residents: &Residents::of(&directory, &Hosts::default()).await,
        };
        let named = |ids: &[&str]| {
            ids.iter()
                .map(|&id| InstanceId::from(id))
                .collect::<Vec<_>>()
        };
        let admit: Vec<Member> = members
            .into_iter()
            .filter(|member| admit.contains(&member.instance.as_str()))
            .collect();
        orders.all(&admit, &named(withdraw), &named(forget))
    }

    #[tokio::test]
    async fn slots_are_filled_before_servers_are_added_with_their_peers_weight() {
        let servers = vec![slot("s1"), server("s2", 11)];

        let said = said(servers, true, [&["a", "b", "c"], &[], &[]]).await;

        assert_eq!(
            said.unwrap(),
            [
                "set server app/s1 addr 127.0.0.1 port 10",
                "set server app/s1 state ready",
                "add server app/teal.c 127.0.0.1:12 weight 7",
                "set server app/teal.c state ready",
            ]
        );
    }

    #[tokio::test]
    async fn without_a_free_slot_and_where_servers_cannot_be_added_nothing_is_said() {
        let said = said(vec![slot("s1")], false, [&["a", "b"], &[], &[]]).await;

        assert!(said.unwrap_err().contains("no free slot for b"));
    }

    #[tokio::test]
    async fn what_is_withdrawn_drains_and_is_told_so_once() {
        let drained = Server {
            serves: false,
            is_out: true,
            ..server("s2", 11)
        };

        let said = said(
            vec![server("s1", 10), drained],
            true,
            [&[], &["a", "b"], &[]],
        )
        .await;

        assert_eq!(said.unwrap(), ["set server app/s1 state drain"]);
    }

    #[tokio::test]
    async fn where_clients_come_back_by_a_cookie_what_is_withdrawn_is_in_maintenance() {
        let said = said(vec![server("sticky", 10)], true, [&[], &["a"], &[]]).await;

        assert_eq!(said.unwrap(), ["set server app/sticky state maint"]);
    }

    #[tokio::test]
    async fn a_forgotten_slot_is_free_again_and_a_server_that_was_added_is_deleted() {
        let servers = vec![server("s1", 10), server("teal.b", 11)];

        let said = said(servers, true, [&[], &[], &["a", "b"]]).await;

        assert_eq!(
            said.unwrap(),
            [
                "set server app/s1 state maint",
                "set server app/s1 addr 127.0.0.1 port 1",
                "set server app/teal.b state maint",
                "del server app/teal.b",
            ]
        );
    }

    #[tokio::test]
    async fn what_haproxys_check_calls_down_is_withdrawn_all_the_same() {
        let down = Server {
            serves: false,
            ..server("s1", 10)
        };

        let said = said(vec![down], true, [&[], &["a"], &[]]).await;

        assert_eq!(said.unwrap(), ["set server app/s1 state drain"]);
    }

    #[tokio::test]
    async fn a_forgotten_slot_keeps_its_address_until_it_has_no_requests() {
        let busy = Server {
            in_flight: 1,
            ..server("s1", 10)
        };

        let said = said(vec![busy], true, [&[], &[], &["a"]]).await;

        assert_eq!(said.unwrap(), ["set server app/s1 state maint"]);
    }

    #[tokio::test]
    async fn a_server_that_is_nobodys_is_left_alone_whatever_it_is_called() {
        let backup = Server {
            is_backup: true,
            ..server("c", 12)
        };
        let resting = Server {
            in_maintenance: true,
            serves: false,
            ..server("rests", 98)
        };
        let servers = vec![server("a", 99), backup, resting];

        let said = said(servers, false, [&["b"], &["a", "c"], &["a", "c"]]).await;

        assert!(said.unwrap_err().contains("no free slot for b"));
    }
}
