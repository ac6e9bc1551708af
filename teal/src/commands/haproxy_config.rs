//! `teal haproxy-config`: a configuration of HAProxy to begin with. It is printed, never written anywhere: HAProxy's
//! configuration belongs to whoever runs it.

use crate::failure::{Exit, Failure};
use crate::printer;
use clap::Args;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use teal_core::problem::Problem;

/// How many servers `balance roundrobin` takes (configuration manual, `balance`).
const SLOTS_MAX: u32 = 4095;
/// How long HAProxy lets the path of a socket be, with room for the suffix that it binds under at first
/// (`uxst_bind_listener` in its `proto_uxst.c`).
const SOCKET_PATH_MAX: usize = 97;

/// Print a configuration of HAProxy for a service to begin with
#[derive(Debug, Args)]
pub(crate) struct HaproxyConfigArgs {
    /// The service
    service: String,
    /// Where HAProxy listens for the service's clients, host:port; * is every address of the machine
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    listen: String,
    /// How many slots the backend has: instances that can be in it at once and survive a reload
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    slots: u32,
    /// The folder of HAProxy's sockets and state file
    #[arg(long, default_value = "/run/haproxy", value_name = "FOLDER")]
    folder: PathBuf,
    /// Pass on bytes and not HTTP requests
    #[arg(long)]
    tcp: bool,
}

/// Runs `teal haproxy-config`.
pub(crate) fn run(args: &HaproxyConfigArgs) -> Result<Exit, Failure> {
    let config = Config::of(args).map_err(|problems| {
        let what = "these make no configuration of HAProxy; nothing was printed";
        Failure::invalid(what, problems)
    })?;
    printer::raw(&config.text());
    Ok(Exit::Done)
}

/// What is different from one configuration to the next.
struct Config<'a> {
    service: &'a str,
    backend: String,
    listen: &'a str,
    slots: u32,
    folder: &'a str,
    tcp: bool,
}

impl<'a> Config<'a> {
    fn of(args: &'a HaproxyConfigArgs) -> Result<Self, Vec<Problem>> {
        let service = args.service.trim_matches('/');
        let folder = args.folder.to_str().unwrap_or_default();
        let config = Self {
            service,
            // As the driver calls it, and marathon-lb too.
            backend: service.replace('/', "_"),
            listen: &args.listen,
            slots: args.slots,
            folder: folder.trim_end_matches('/'),
            tcp: args.tcp,
        };
        let problems: Vec<Problem> = [
            check_service(&config.backend),
            check_listen(config.listen),
            check_slots(config.slots),
            check_folder(&args.folder),
        ]
        .into_iter()
        .flatten()
        .collect();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }

    fn text(&self) -> String {
        let mut text = self.introduction();
        text.push_str(&self.global());
        text.push_str(&self.defaults());
        text.push_str(&self.frontend());
        text.push_str(&self.backend());
        text
    }

    fn introduction(&self) -> String {
        let Self {
            service, folder, ..
        } = self;
        let mut text = format!(
            "\
# HAProxy for the service `{service}`: teal puts its instances in and takes them out.
#
# Start it:
#     mkdir -p {folder}
#     test -e {folder}/server-state || echo 1 > {folder}/server-state
#     haproxy -W -S {folder}/master.sock,mode,660 -f THIS-FILE
#
# Tell teal where it is: by this flag, as TEAL_BALANCER, or as `balancer` in teal.toml.
#     --balancer 'haproxy+unix:{folder}/admin.sock?master={folder}/master.sock&state_file={folder}/server-state'
# `teal doctor` with that flag says whether everything is as it should be.
"
        );
        if self.backend != *service {
            let backend = &self.backend;
            text.push_str("#\n# HAProxy has no `/` in names, so the service's backend is called ");
            text.push_str(&format!("`{backend}`. teal knows that.\n"));
        }
        text
    }

    fn global(&self) -> String {
        let folder = self.folder;
        format!(
            "
global
    # teal's way in. Whoever is in the group of this socket may change where requests go. `expose-fd listeners` hands
    # the listening sockets on at a reload, so that no connection is refused.
    stats socket {folder}/admin.sock mode 660 level admin expose-fd listeners
    # teal writes down here who serves and who drains, so that a reload does not forget it.
    server-state-file {folder}/server-state
"
        )
    }

    fn defaults(&self) -> String {
        let mode = if self.tcp { "tcp" } else { "http" };
        let http = if self.tcp {
            ""
        } else {
            "    \
    # The head of a request has to be complete by then.
    timeout http-request 10s
    # For so long a client's connection is kept without a request, and an old process lives on after a reload for it.
    timeout http-keep-alive 15s
"
        };
        format!(
            "
defaults
    mode {mode}
    timeout connect 5s
    # How long either side may be silent: longer than the longest request takes to be answered.
    timeout client 1m
    timeout server 1m
    # The same for WebSockets and whatever else is no longer HTTP.
    timeout tunnel 1h
{http}    # A connection that an instance refuses is tried with another one: nothing has been sent yet.
    retries 3
    option redispatch
    # Reads the state file at every start and reload.
    load-server-state-from-file global
"
        )
    }

    fn frontend(&self) -> String {
        let Self {
            backend, listen, ..
        } = self;
        let idle = if self.tcp {
            ""
        } else {
            "    \
    # After a reload the old process closes a kept connection with the next answer, and not under the next request.
    option idle-close-on-response
"
        };
        format!("\nfrontend {backend}_in\n    bind {listen}\n{idle}    default_backend {backend}\n")
    }

    fn backend(&self) -> String {
        let Self { backend, slots, .. } = self;
        format!(
            "
backend {backend}
    # Servers can be added at runtime under this one (under leastconn and random too), should the slots not suffice.
    balance roundrobin
    # Slots: teal gives each an instance's address, and takes it back. A free one is in maintenance and leads nowhere.
    # No `check`: teal puts in what has been healthy for long enough. HAProxy sends requests to a server with checks
    # before its first check has come back.
    server-template slot 1-{slots} 127.0.0.1:1 disabled
"
        )
    }
}

fn check_service(backend: &str) -> Option<Problem> {
    // `invalid_char` in its `tools.c`.
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if !backend.is_empty() && backend.chars().all(fine) {
        return None;
    }
    let problem = Problem::new("SERVICE", format!("`{backend}` is no name of a backend"));
    Some(problem.hint("HAProxy's names have letters, digits and `-_.:` alone; `/` becomes `_`"))
}

fn check_listen(listen: &str) -> Option<Problem> {
    let is_host = |host: &str| {
        let inner = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let name = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
        match inner {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => host == "*" || (!host.is_empty() && host.chars().all(name)),
        }
    };
    let fine = listen.rsplit_once(':').is_some_and(|(host, port)| {
        is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    let problem = || Problem::new("--listen", format!("`{listen}` is not host:port"));
    (!fine).then(|| problem().hint("write it like 127.0.0.1:8090, [::1]:8090 or *:80"))
}

fn check_slots(slots: u32) -> Option<Problem> {
    let problem = || {
        let what = format!("a backend with {slots} slots cannot be balanced by `roundrobin`");
        Problem::new("--slots", what).hint(format!("say a number from 1 to {SLOTS_MAX}"))
    };
    (slots == 0 || slots > SLOTS_MAX).then(problem)
}

/// It stands in a configuration, in a shell command and in an address: what would have to be quoted there is refused.
fn check_folder(folder: &Path) -> Option<Problem> {
    let shown = folder.display();
    let fine = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
    let plain = folder.to_str().is_some_and(|text| text.chars().all(fine));
    if !folder.is_absolute() || !plain {
        let problem = Problem::new("--folder", format!("`{shown}` cannot be used"));
        return Some(problem.hint("write an absolute path of letters, digits and `/-_.` alone"));
    }
    let longest = folder.join("master.sock").as_os_str().len();
    let problem = || {
        let what = format!("`{shown}` is too long for the path of a socket");
        let room = SOCKET_PATH_MAX - "/master.sock".len();
        Problem::new("--folder", what).hint(format!("choose one of at most {room} characters"))
    };
    (longest > SOCKET_PATH_MAX).then(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(service: &str) -> HaproxyConfigArgs {
        HaproxyConfigArgs {
            service: service.to_owned(),
            listen: "127.0.0.1:8090".to_owned(),
            slots: 20,
            folder: PathBuf::from("/run/haproxy/"),
            tcp: false,
        }
    }

    fn text(args: &HaproxyConfigArgs) -> String {
        Config::of(args)
            .unwrap_or_else(|problems| panic!("{problems:?}"))
            .text()
    }

    fn places(args: &HaproxyConfigArgs) -> Vec<String> {
        let problems = Config::of(args).err().unwrap_or_default();
        problems.into_iter().map(|problem| problem.place).collect()
    }

    #[test]
    fn a_service_of_a_group_gets_a_name_that_haproxy_takes() {
        let text = text(&args("/shop/cart"));

        assert!(text.contains("\nbackend shop_cart\n"), "{text}");
        assert!(text.contains("called `shop_cart`"), "{text}");
        assert!(!text.contains("//"), "{text}");
    }

    #[test]
    fn the_address_that_is_printed_for_teal_is_one_that_teal_takes() {
        let text = text(&args("oinker"));

        let flag = text
            .lines()
            .find_map(|line| line.split_once("--balancer '"));
        let address = flag.unwrap().1.trim_end_matches('\'');
        let directory = teal_drivers::directory::Directory::new();
        teal_drivers::balancers::haproxy::Haproxy::connect(address, directory).unwrap();
    }

    #[test]
    fn what_speaks_of_http_is_left_out_for_tcp() {
        let tcp = text(&HaproxyConfigArgs {
            tcp: true,
            ..args("oinker")
        });

        assert!(tcp.contains("\n    mode tcp\n"), "{tcp}");
        for word in [
            "timeout http-request",
            "timeout http-keep-alive",
            "option idle-close",
        ] {
            assert!(
                text(&args("oinker")).contains(&format!("\n    {word}")),
                "{word}"
            );
            assert!(!tcp.contains(word), "{word}");
        }
    }

    #[test]
    fn every_way_to_write_a_listening_address_is_taken() {
        for listen in ["*:80", "0.0.0.0:80", "[::1]:8090", "example.com:65535"] {
            let listen = listen.to_owned();
            assert_eq!(
                places(&HaproxyConfigArgs {
                    listen,
                    ..args("oinker")
                }),
                [""; 0]
            );
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once_and_each_has_a_hint() {
        for listen in [
            "8090",
            ":8090",
            "127.0.0.1:0",
            "127.0.0.1:65536",
            "a b:1",
            "[x]:1",
            "h\nuser root:1",
        ] {
            for (service, slots, folder) in [
                ("", 0, "run/haproxy".to_owned()),
                ("oink er", SLOTS_MAX + 1, "/run/my haproxy".to_owned()),
                ("oinker\nuser root", 0, "/run/h?x&y".to_owned()),
                ("öinker", 0, format!("/{}", "x".repeat(86))),
            ] {
                let bad = HaproxyConfigArgs {
                    service: service.to_owned(),
                    listen: listen.to_owned(),
                    slots,
                    folder: PathBuf::from(folder),
                    tcp: false,
                };

                assert_eq!(places(&bad), ["SERVICE", "--listen", "--slots", "--folder"]);
                let problems = Config::of(&bad).err().unwrap();
                assert!(problems.iter().all(|problem| problem.hint.is_some()));
            }
        }
    }

    #[test]
    fn the_longest_folder_that_is_taken_has_room_for_its_sockets() {
        let folder = PathBuf::from(format!("/{}", "x".repeat(84)));

        assert_eq!(
            places(&HaproxyConfigArgs {
                folder,
                ..args("oinker")
            }),
            [""; 0]
        );
    }
}
