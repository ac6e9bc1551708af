//! Which balancer: flag, then `TEAL_BALANCER`, then `teal.toml`, then this machine's own. Of what is said only the kind
//! is understood here; the rest is the driver's.

use super::addresses;
use crate::failure::{Exit, Failure};
use teal_core::problem::Problem;

/// Where `teal up` has its own.
const DEFAULT: &str = "http://127.0.0.1:8081";
/// How the addresses of HAProxy begin.
const HAPROXY: [&str; 2] = ["haproxy+unix:", "haproxy+tcp://"];
const HINT: &str = "teal's own balancer is written http://127.0.0.1:8081, HAProxy \
                    haproxy+unix:/run/haproxy/admin.sock or haproxy+tcp://10.0.0.5:9999 (several with commas)";

/// A balancer by its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BalancerPlace {
    address: String,
}

/// What a balancer is, with how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BalancerKind<'a> {
    /// teal's own: the address of its admin API.
    Builtin(&'a str),
    /// HAProxy: the addresses of the Runtime APIs of all its processes, with commas in between.
    Haproxy(String),
}

impl BalancerPlace {
    /// Returns the balancer at an address.
    pub(crate) const fn at(address: String) -> Self {
        Self { address }
    }

    /// Joins what was said for this run with what the project says.
    pub(super) fn resolve(said: Option<&String>, project: Option<String>) -> Self {
        let address = said.cloned().or(project);
        Self::at(address.unwrap_or_else(|| DEFAULT.to_owned()))
    }

    /// Reads the key of `teal.toml`: one address, or a list of them.
    pub(super) fn read(value: &toml::Value) -> Result<String, Problem> {
        let example = "[\"haproxy+tcp://10.0.0.5:9999\", \"haproxy+tcp://10.0.0.6:9999\"]";
        addresses("balancer", value, example)
    }

    /// Returns what was said of where it is.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Tells what it is. An address with a password in it is repeated in no message.
    pub(crate) fn kind(&self) -> Result<BalancerKind<'_>, Failure> {
        let all = self.address.split(',').map(str::trim);
        let all: Vec<&str> = all.filter(|one| !one.is_empty()).collect();
        let is_haproxy = |one: &&&str| HAPROXY.iter().any(|scheme| one.starts_with(scheme));
        let is_builtin = |one: &&&str| is_builtin(one);
        if let Some(strange) = all.iter().find(|one| !is_haproxy(one) && !is_builtin(one)) {
            let shown = if strange.contains('@') {
                "an address"
            } else {
                strange
            };
            return Err(refused(&format!(
                "{shown} is the address of neither teal's own balancer nor HAProxy"
            )));
        }
        match (&all[..], all.iter().filter(is_haproxy).count()) {
            ([], _) => Err(refused("there is no address")),
            ([one], 0) => Ok(BalancerKind::Builtin(one)),
            (_, 0) => Err(refused(
                "teal's own balancer is one, and this names several",
            )),
            (_, count) if count == all.len() => Ok(BalancerKind::Haproxy(all.join(","))),
            (_, _) => Err(refused(
                "a service has one kind of balancer, and this names two",
            )),
        }
    }
}

/// `http://…`, `https://…`, or host:port alone.
fn is_builtin(address: &str) -> bool {
    let has_port = |(host, port): (&str, &str)| {
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-.[]:".contains(c);
        port.parse::<u16>().is_ok() && !host.is_empty() && host.chars().all(is_host)
    };
    let is_url = ["http://", "https://"]
        .iter()
        .any(|scheme| address.starts_with(scheme));
    is_url || address.rsplit_once(':').is_some_and(has_port)
}

fn refused(what: &str) -> Failure {
    Failure::new(
        Exit::Invalid,
        format!("--balancer: {what}; nothing was changed"),
    )
    .hint(HINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(address: &str) -> Result<String, Failure> {
        let place = BalancerPlace::at(address.to_owned());
        place.kind().map(|kind| format!("{kind:?}"))
    }

    #[test]
    fn an_address_says_which_balancer_it_is() {
        let haproxies = "haproxy+unix:/run/h.sock?master=/run/m.sock, haproxy+tcp://10.0.0.5:9999,";

        for builtin in [
            "http://127.0.0.1:8081",
            "https://b",
            "127.0.0.1:8081",
            "[::1]:80",
        ] {
            assert_eq!(kind(builtin).unwrap(), format!("Builtin({builtin:?})"));
        }
        let both = "haproxy+unix:/run/h.sock?master=/run/m.sock,haproxy+tcp://10.0.0.5:9999";
        assert_eq!(kind(haproxies).unwrap(), format!("Haproxy({both:?})"));
        let place = BalancerPlace::resolve(None, None);
        assert_eq!(place.kind().unwrap(), BalancerKind::Builtin(DEFAULT));
    }

    #[test]
    fn an_address_of_anything_else_is_refused_with_both_ways_to_write_it() {
        for (address, told) in [
            (
                "/run/haproxy.sock",
                "/run/haproxy.sock is the address of neither",
            ),
            ("haproxy:/run/h.sock", "of neither"),
            ("unix:/run/h.sock", "of neither"),
            ("", "there is no address"),
            (" , ", "there is no address"),
            ("http://a,http://b", "this names several"),
            ("http://a,haproxy+tcp://b:9999", "this names two"),
        ] {
            let refused = kind(address).unwrap_err();

            assert!(refused.what.contains(told), "{address}: {}", refused.what);
            let hint = refused.hint.unwrap();
            assert!(hint.contains("http://127.0.0.1:8081"), "{hint}");
            assert!(hint.contains("haproxy+unix:/"), "{hint}");
        }
    }

    #[test]
    fn a_refused_address_with_a_password_in_it_is_not_repeated() {
        let refused = kind("ftp://bob:s3cret@balancer").unwrap_err();

        assert!(!refused.to_string().contains("s3cret"), "{refused}");
    }

    #[test]
    fn several_processes_are_a_list_in_the_projects_file() {
        let read = |text: &str| {
            let table: toml::Table = text.parse().unwrap();
            BalancerPlace::read(&table["balancer"])
        };

        assert_eq!(read("balancer = \"http://a\"").unwrap(), "http://a");
        let two = read("balancer = [\"haproxy+tcp://a:1\", \"haproxy+tcp://b:1\"]").unwrap();
        assert_eq!(two, "haproxy+tcp://a:1,haproxy+tcp://b:1");
        assert!(read("balancer = 3").unwrap_err().hint.is_some());
    }

    #[test]
    fn what_is_said_for_this_run_stands_before_what_the_project_says() {
        let (said, project) = ("http://said".to_owned(), Some("http://project".to_owned()));

        assert_eq!(
            BalancerPlace::resolve(Some(&said), project.clone()).address(),
            "http://said"
        );
        assert_eq!(
            BalancerPlace::resolve(None, project).address(),
            "http://project"
        );
    }
}
