//! Where a HAProxy process is steered: the addresses of `--balancer`.

use crate::DriverError;
use percent_encoding::percent_decode_str;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

const HINT: &str = "write it like haproxy+unix:/run/haproxy/admin.sock?master=/run/haproxy-master.sock&state_file=/var/lib/haproxy/state \
                    or haproxy+tcp://10.0.0.5:9999; a comma separates the processes of one service";
/// How long a worker of before a reload is taken to go on where nobody tells.
const OLD_WORKERS: Duration = Duration::from_secs(60);

/// A socket of HAProxy's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    Unix(PathBuf),
    Tcp(String),
}

/// One process, and what more is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The stats socket: the Runtime API of the worker.
    pub(super) socket: Endpoint,
    /// The master's socket (`-S`).
    pub(super) master: Option<Endpoint>,
    /// The file of `server-state-file`, if it is to be kept up to date.
    pub(super) state_file: Option<PathBuf>,
    /// For how long after a reload nothing is known of the old workers, where there is no master to ask.
    pub(super) old_workers: Duration,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "haproxy+unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "haproxy+tcp://{address}"),
        }
    }
}

/// Reads one address or several, separated by commas.
///
/// # Errors
/// [`DriverError::Unusable`] with every mistake.
pub(super) fn read(addresses: &str) -> Result<Vec<Place>, DriverError> {
    let read = addresses
        .split(',')
        .map(|text| one(text.trim()).map_err(|why| format!("`{}`: {why}", text.trim())));
    let (places, mistakes): (Vec<_>, Vec<_>) = read.partition(Result::is_ok);
    let mut mistakes: Vec<String> = mistakes.into_iter().filter_map(Result::err).collect();
    let places: Vec<Place> = places.into_iter().flatten().collect();
    let mut files: Vec<_> = places
        .iter()
        .filter_map(|it| it.state_file.as_ref())
        .collect();
    files.sort();
    if let Some(twice) = files.windows(2).find(|two| two[0] == two[1]) {
        mistakes.push(format!("{} is the state file of two", twice[0].display()));
    }
    if mistakes.is_empty() {
        return Ok(places);
    }
    Err(DriverError::Unusable {
        what: format!("the address of HAProxy {addresses}"),
        reason: mistakes.join("; "),
        hint: HINT,
    })
}

fn one(text: &str) -> Result<Place, String> {
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    let socket = if let Some(path) = address.strip_prefix("haproxy+unix:") {
        // Both of `unix:/path` and `unix:///path` are written.
        Endpoint::Unix(absolute(path.strip_prefix("//").unwrap_or(path))?)
    } else if let Some(address) = address.strip_prefix("haproxy+tcp://") {
        tcp(address)?
    } else {
        return Err("it begins with neither haproxy+unix: nor haproxy+tcp://".to_owned());
    };
    let mut place = Place {
        socket,
        master: None,
        state_file: None,
        old_workers: OLD_WORKERS,
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
        match key {
            "master" if value.starts_with('/') => place.master = Some(Endpoint::Unix(value.into())),
            "master" => place.master = Some(tcp(&value)?),
            "state_file" => place.state_file = Some(absolute(&value)?),
            "old_workers" => {
                let span: teal_core::Span = value
                    .parse()
                    .map_err(|_| format!("old_workers={value} is no length of time such as 60s"))?;
                place.old_workers = span.duration();
            }
            _ => {
                return Err(format!(
                    "there is no `{key}`; there are master, state_file and old_workers"
                ));
            }
        }
    }
    Ok(place)
}

fn absolute(path: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!("`{}` is no absolute path", path.display()))
    }
}

fn tcp(address: &str) -> Result<Endpoint, String> {
    let port = address
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty())
        .and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(_) => Ok(Endpoint::Tcp(address.to_owned())),
        None => Err(format!("`{address}` is not host:port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_processes_and_what_is_known_of_each_are_read() {
        let places = read(
            "haproxy+unix:/run/a.sock?master=/run/m.sock&state_file=/var/lib/a%20b&old_workers=2m, haproxy+tcp://[::1]:9999",
        )
        .unwrap();

        let first = Place {
            socket: Endpoint::Unix("/run/a.sock".into()),
            master: Some(Endpoint::Unix("/run/m.sock".into())),
            state_file: Some("/var/lib/a b".into()),
            old_workers: Duration::from_secs(120),
        };
        assert_eq!(places[0], first);
        assert_eq!(places[1].socket, Endpoint::Tcp("[::1]:9999".to_owned()));
        assert_eq!(places[1].old_workers, OLD_WORKERS);
        assert_eq!(
            read("haproxy+unix:///run/a.sock").unwrap()[0].socket,
            first.socket
        );
    }

    #[test]
    fn every_mistake_of_an_address_is_told() {
        let error =
            read("haproxy+unix:run/a.sock,http://x,haproxy+tcp://x:y,haproxy+tcp://x:1?mastr=/m,haproxy+tcp://a:1?state_file=/s,haproxy+tcp://b:1?state_file=/s")
                .unwrap_err()
                .to_string();

        for told in [
            "`run/a.sock` is no absolute path",
            "begins with neither",
            "`x:y` is not host:port",
            "there is no `mastr`",
            "/s is the state file of two",
        ] {
            assert!(error.contains(told), "{told}: {error}");
        }
    }
}
