//! What HAProxy's answers say: `show info`, `show servers state`, `show stat` and the master's `show proc`, in the shapes
//! of its management guide.

use super::names;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// `srv_admin_state` bits that keep a server from new requests, and all of them (`include/haproxy/server-t.h`): forced,
/// inherited and resolver's maintenance; forced and inherited drain. `CONFIGURED` alone keeps it from nothing.
const MAINTENANCE: u32 = 0x01 | 0x02 | 0x20;
const DRAIN: u32 = 0x08 | 0x10;
const CONFIGURED: u32 = 0x04;
/// `srv_op_state` of one that is down, and of one that stops softly.
const STOPPED: u32 = 0;
const STOPPING: u32 = 3;
/// The algorithms under which servers can be added (management guide, `add server`). A hash may do, if it is consistent,
/// which is not told.
const DYNAMIC: [&str; 4] = ["roundrobin", "leastconn", "first", "random"];

/// One worker and one of its backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) version: String,
    pub(super) pid: u64,
    pub(super) uptime_s: u64,
    /// None: there is no such backend.
    pub(super) backend: Option<Backend>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Backend {
    pub(super) servers: Vec<Server>,
    /// Its algorithm permits servers that are added.
    pub(super) takes_servers: bool,
    /// Clients may come back to their server, drained or not: by a cookie, or by a stick table, of which is told only that
    /// there is one.
    pub(super) is_sticky: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) name: String,
    /// None: its name is being resolved.
    pub(super) address: Option<SocketAddr>,
    pub(super) in_maintenance: bool,
    /// It began in maintenance, as `disabled` in the configuration has it: a place for whoever comes.
    pub(super) is_slot: bool,
    /// It gets requests when no other one can (`backup`).
    pub(super) is_backup: bool,
    /// It gets new requests.
    pub(super) serves: bool,
    /// It gets none until it is told to. One that neither serves nor is out may serve again by itself: its check has
    /// failed, or it has no weight.
    pub(super) is_out: bool,
    /// The weight that it has at the moment, whoever set it.
    pub(super) weight: u32,
    /// Requests, or connections of raw TCP, that it has or that wait for it.
    pub(super) in_flight: u64,
}

impl Page {
    /// Tells whether this worker can be given servers that are not in its configuration: from 2.5 on.
    pub(super) fn adds_servers(&self) -> bool {
        let mut numbers = self
            .version
            .split(['.', '-'])
            .map_while(|part| part.parse::<u32>().ok());
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        version >= (2, 5)
    }
}

/// Reads the answer to `show info;show servers state B;show stat -1 6 -1;show table`. Statistics are those of all backends,
/// since B alone would be a frontend of that name, if there is one.
///
/// # Errors
/// What is missing or not as the guide says, as a sentence.
pub(super) fn read(answer: &str, name: &str) -> Result<Page, String> {
    let info = |name: &str| {
        let mut lines = answer.lines().take_while(|line| !line.starts_with('#'));
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.ok_or_else(|| format!("`show info` has no {name}: {}", beginning(answer)))
    };
    let number = |name: &str| {
        let text = info(name)?;
        text.parse::<u64>()
            .map_err(|_| format!("{name} is no number: {text}"))
    };
    let (version, pid, uptime_s) = (info("Version")?, number("Pid")?, number("Uptime_sec")?);
    let is_missing = answer
        .lines()
        .any(|line| line.trim() == "Can't find backend.");
    let backend = if is_missing {
        None
    } else {
        Some(backend(answer, name)?)
    };
    Ok(Page {
        version: version.to_owned(),
        pid,
        uptime_s,
        backend,
    })
}

/// Reads the servers of one backend from `show servers state B;show stat -1 6 -1;show table`.
pub(super) fn backend(answer: &str, name: &str) -> Result<Backend, String> {
    let mut backend = None;
    let (mut counts, mut backups) = (BTreeMap::new(), BTreeSet::new());
    for row in stats(answer)? {
        let of = |name: &str| row.get(name).map(String::as_str).unwrap_or_default();
        if of("pxname") != name || of("svname") == "FRONTEND" {
            continue;
        }
        if of("svname") == "BACKEND" {
            backend = Some(Backend {
                servers: Vec::new(),
                takes_servers: DYNAMIC.contains(&of("algo")),
                is_sticky: !of("cookie").is_empty() || answer.contains("\n# table: "),
            });
            continue;
        }
        let count = |name: &str| {
            let text = of(name);
            text.parse::<u64>()
                .map_err(|_| format!("{name} of {} is no number: {text}", of("svname")))
        };
        if of("bck") == "1" {
            backups.insert(of("svname").to_owned());
        }
        let sum = count("scur")?.saturating_add(count("qcur")?);
        counts.insert(of("svname").to_owned(), sum);
    }
    let mut backend = backend.ok_or_else(|| format!("`show stat` has no backend {name}"))?;
    for row in states(answer)? {
        let server = server(&row, &counts, backend.is_sticky)?;
        backend.servers.extend(server.map(|server| Server {
            is_backup: backups.contains(&server.name),
            ..server
        }));
    }
    Ok(backend)
}

type Row = BTreeMap<String, String>;

/// None: it went while it was looked at.
fn server(
    row: &Row,
    counts: &BTreeMap<String, u64>,
    is_sticky: bool,
) -> Result<Option<Server>, String> {
    let of = |name: &str| {
        row.get(name)
            .ok_or_else(|| format!("`show servers state` has no {name}"))
    };
    let number = |name: &str| {
        let text = of(name)?;
        text.parse::<u32>()
            .map_err(|_| format!("{name} is no number: {text}"))
    };
    let name = of("srv_name")?.clone();
    let Some(in_flight) = counts.get(&name).copied() else {
        return Ok(None);
    };
    let (admin, state) = (number("srv_admin_state")?, number("srv_op_state")?);
    let weight = number("srv_uweight")?;
    let ip: Option<IpAddr> = of("srv_addr")?.parse().ok();
    let port = u16::try_from(number("srv_port")?).map_err(|_| "srv_port is no port".to_owned())?;
    Ok(Some(Server {
        address: ip.map(|ip| SocketAddr::new(ip, port)),
        in_maintenance: admin & MAINTENANCE != 0,
        is_slot: admin & CONFIGURED != 0,
        is_backup: false,
        serves: admin & (MAINTENANCE | DRAIN) == 0
            && state != STOPPED
            && state != STOPPING
            && weight > 0,
        is_out: admin & MAINTENANCE != 0 || (admin & DRAIN != 0 && !is_sticky),
        weight,
        in_flight,
        name,
    }))
}

/// Tells whether clients are connected to an old worker who may ask for something next, from the rows of its frontends in
/// `show stat`. It says `connection: close` with every answer whose head it has not sent yet; but one that is under way
/// keeps its connection, as does HTTP/2, and idle ones may be kept on purpose. A connection of raw TCP has its server.
///
/// # Errors
/// This is no such page.
pub(super) fn has_clients(answer: &str) -> Result<bool, String> {
    let may_ask = |row: &Row| {
        let of = |name: &str| row.get(name).map(String::as_str).unwrap_or_default();
        of("svname") == "FRONTEND" && of("mode") != "tcp" && of("scur") != "0"
    };
    Ok(stats(answer)?.iter().any(may_ask))
}

/// A server that teal has added, and what a process needs to be given it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) backend: String,
    pub(super) server: String,
    pub(super) address: SocketAddr,
    pub(super) weight: u32,
    /// As `set server … state` takes it.
    pub(super) state: &'static str,
}

/// Reads the servers that teal has added, of all backends, from `show servers state`.
///
/// # Errors
/// This is no such page.
pub(super) fn added(answer: &str) -> Result<Vec<Added>, String> {
    let one = |row: Row| {
        let number = |name: &str| row.get(name)?.parse::<u32>().ok();
        let server = row.get("srv_name")?.clone();
        names::instance(&server)?;
        let admin = number("srv_admin_state")?;
        let (ip, port) = (row.get("srv_addr")?.parse().ok()?, number("srv_port")?);
        Some(Added {
            backend: row.get("be_name")?.clone(),
            address: SocketAddr::new(ip, u16::try_from(port).ok()?),
            weight: number("srv_uweight")?,
            state: match admin {
                _ if admin & MAINTENANCE != 0 => "maint",
                _ if admin & DRAIN != 0 => "drain",
                _ => "ready",
            },
            server,
        })
    };
    Ok(states(answer)?.into_iter().filter_map(one).collect())
}

/// Reads the names of all backends that have servers from `show servers state`.
///
/// # Errors
/// This is no such page.
pub(super) fn backends(answer: &str) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::new();
    for row in states(answer)? {
        let name = row.get("be_name").cloned().unwrap_or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The rows of `show servers state`, whose columns are separated by spaces.
fn states(answer: &str) -> Result<Vec<Row>, String> {
    let mut lines = answer
        .lines()
        .skip_while(|line| !line.starts_with("# be_id"));
    let head = lines.next().and_then(|line| line.strip_prefix("# "));
    let head = head.ok_or_else(|| format!("there is no `# be_id`: {}", beginning(answer)))?;
    let rows = lines.take_while(|line| !line.trim().is_empty());
    let row = |line: &str| {
        let cells = line.split(' ').map(str::to_owned);
        head.split(' ').map(str::to_owned).zip(cells).collect()
    };
    Ok(rows.map(row).collect())
}

/// The rows of `show stat`, which is CSV as RFC 4180 has it.
fn stats(answer: &str) -> Result<Vec<Row>, String> {
    let start = answer.find("# pxname,");
    let start = start.ok_or_else(|| format!("there is no `# pxname`: {}", beginning(answer)))?;
    let text = &answer[start + 2..];
    let text = text.split_once("\n\n").map_or(text, |(page, _)| page);
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(text.as_bytes());
    let wrong = |error: csv::Error| format!("`show stat` cannot be read: {error}");
    let head = reader.headers().map_err(wrong)?.clone();
    let row = |record: csv::StringRecord| {
        let cells = head.iter().zip(record.iter());
        cells
            .map(|(name, cell)| (name.to_owned(), cell.to_owned()))
            .collect()
    };
    let records: Result<Vec<csv::StringRecord>, _> = reader.records().collect();
    Ok(records.map_err(wrong)?.into_iter().map(row).collect())
}

/// Reads the pids of the present workers from the master's `show proc`.
///
/// # Errors
/// This is no such page.
pub(super) fn workers(answer: &str) -> Result<Vec<u64>, String> {
    pids(answer, "# workers")
}

/// Reads the pids of the workers of before the last reloads from the master's `show proc`.
///
/// # Errors
/// This is no such page.
pub(super) fn old_workers(answer: &str) -> Result<Vec<u64>, String> {
    pids(answer, "# old workers")
}

fn pids(answer: &str, heading: &str) -> Result<Vec<u64>, String> {
    if !answer.contains("# workers") {
        return Err(format!("there is no `# workers`: {}", beginning(answer)));
    }
    let part = answer.lines().skip_while(|line| !line.starts_with(heading));
    let rows = part.skip(1).take_while(|line| !line.starts_with('#'));
    Ok(rows
        .filter_map(|row| row.split_whitespace().next()?.parse().ok())
        .collect())
}

/// The first words of what cannot be read, for a message.
fn beginning(answer: &str) -> String {
    let line = answer.lines().find(|line| !line.trim().is_empty());
    line.unwrap_or("nothing").chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As HAProxy 2.6.12 answers, columns that are not read left out.
    const ANSWER: &str = "\
Name: HAProxy
Version: 2.6.12-1+deb12u4
Pid: 16903
Uptime_sec: 7

1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_port
3 app 1 slot1 127.0.0.1 2 4 100 1 31002
3 app 2 slot2 127.0.0.1 0 5 1 1 1
3 app 3 web-a.1 ::1 2 8 7 7 31001
3 app 4 down 127.0.0.1 0 0 1 1 31003
3 app 5 weightless 127.0.0.1 2 0 0 1 31004
3 app 6 gone 127.0.0.1 2 0 1 1 31005

# pxname,svname,qcur,scur,status,bck,last_chk,cookie,algo,
app,slot1,0,2,UP,0,\"a, b\",,,
app,slot2,0,0,MAINT,0,,,,
app,web-a.1,1,3,DRAIN,0,,,,
app,down,0,0,DOWN,1,,,,
app,weightless,0,0,UP,0,,,,
app,BACKEND,0,5,UP,0,,SRV,leastconn,
other,slot1,0,9,UP,0,,,,
other,BACKEND,0,9,UP,0,,,static-rr,

";

    #[test]
    fn a_backends_servers_are_read_with_what_they_have_at_hand() {
        let page = read(ANSWER, "app").unwrap();

        assert_eq!((page.pid, page.uptime_s), (16903, 7));
        assert!(page.adds_servers());
        let backend = page.backend.unwrap();
        assert!(backend.is_sticky && backend.takes_servers);
        let told: Vec<_> = backend
            .servers
            .iter()
            .map(|it| {
                (
                    it.name.as_str(),
                    it.serves,
                    it.in_maintenance,
                    it.in_flight,
                    it.weight,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("slot1", true, false, 2, 100),
                ("slot2", false, true, 0, 1),
                ("web-a.1", false, false, 4, 7),
                ("down", false, false, 0, 1),
                ("weightless", false, false, 0, 0),
            ]
        );
        let slots = backend.servers.iter().filter(|it| it.is_slot);
        assert_eq!(slots.count(), 2);
        let backups = backend.servers.iter().filter(|it| it.is_backup);
        assert_eq!(backups.count(), 1);
        assert_eq!(
            backend.servers[2].address,
            Some("[::1]:31001".parse().unwrap())
        );
    }

    #[test]
    fn a_backend_that_is_not_there_is_none() {
        let answer =
            "Version: 2.4.0\nPid: 1\nUptime_sec: 0\n\nCan't find backend.\n\n# pxname,svname,\n\n";

        let page = read(answer, "app").unwrap();

        assert_eq!(page.backend, None);
        assert!(!page.adds_servers());
    }

    #[test]
    fn what_is_no_answer_of_haproxy_is_told_with_its_first_words() {
        let error = read("HTTP/1.1 400 Bad Request\r\n", "app").unwrap_err();

        assert_eq!(
            error,
            "`show info` has no Version: HTTP/1.1 400 Bad Request"
        );
    }

    #[test]
    fn statistics_without_the_backend_are_no_answer() {
        let cut = ANSWER.replace("app,BACKEND", "shop,BACKEND");

        let error = read(&cut, "app").unwrap_err();

        assert_eq!(error, "`show stat` has no backend app");
    }

    #[test]
    fn a_drained_server_to_which_clients_may_come_back_is_not_out() {
        let by_table =
            ANSWER.replace(",SRV,", ",,") + "# table: app, type: ip, size:1024, used:0\n\n";
        let loose = ANSWER.replace(",SRV,", ",,");

        let is_out = |answer: &str| {
            let servers = read(answer, "app").unwrap().backend.unwrap().servers;
            servers
                .iter()
                .find(|it| it.name == "web-a.1")
                .unwrap()
                .is_out
        };

        assert!(!is_out(ANSWER) && !is_out(&by_table) && is_out(&loose));
    }

    #[test]
    fn an_old_worker_with_a_connection_that_is_not_raw_tcp_has_clients_who_may_ask() {
        let page = |connections: u32, mode: &str| {
            format!(
                "# pxname,svname,scur,mode\nweb,FRONTEND,{connections},{mode}\napp,BACKEND,2,http\n\n"
            )
        };

        assert_eq!(has_clients(&page(1, "http")), Ok(true));
        assert_eq!(has_clients(&page(0, "http")), Ok(false));
        assert_eq!(has_clients(&page(1, "tcp")), Ok(false));
    }

    #[test]
    fn workers_of_before_a_reload_are_told_apart() {
        let page = "#<PID> <type> <reloads> <uptime> <version>\n1162 master 5 0d00h02m07s 2.6\n# workers\n1271 worker 1 \
                    0d00h00m00s 2.6\n# old workers\n1233 worker 3 0d00h00m43s 2.6\n1217 worker 4 0d00h01m20s 2.6\n# programs\n\n";

        assert_eq!(workers(page), Ok(vec![1271]));
        assert_eq!(old_workers(page), Ok(vec![1233, 1217]));
        assert!(old_workers("Unknown command\n").is_err());
    }
}
