//! The address of a server as an operator writes it, and what makes two addresses the same server.

use crate::DriverError;
use hyper::Uri;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use std::fmt;

/// How an address is written.
const HINT: &str = "write it like http://127.0.0.1:8080 or https://marathon.example.com";
const LOGIN_HINT: &str = "give the name with --marathon-user and the password with --marathon-password-file, \
                          without them in the address";

/// A scheme, a host with its port, and a path that goes before every other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Base {
    scheme: Scheme,
    authority: Authority,
    prefix: String,
}

/// What decides whether a secret may be sent there: scheme, host and port (RFC 6454, section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    tls: bool,
    host: String,
    port: u16,
}

impl Base {
    /// Reads `host:port`, `http://host:port` or `https://host`, each optionally with a path.
    pub(crate) fn read(url: &str) -> Result<Self, DriverError> {
        let whole = if url.contains("://") {
            url.to_owned()
        } else {
            format!("http://{url}")
        };
        // Before anything of it is repeated in a message.
        if holds_login(&whole) {
            return Err(DriverError::Unusable {
                what: "an address with a user name or a password in it".to_owned(),
                reason: "it would stand in logs and in the shell's history".to_owned(),
                hint: LOGIN_HINT,
            });
        }
        let Ok(uri) = whole.parse::<Uri>() else {
            return Err(unusable(url, "it is not a URL"));
        };
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::HTTP,
            Some("https") => Scheme::HTTPS,
            Some(_) | None => {
                return Err(unusable(url, "it begins with neither http:// nor https://"));
            }
        };
        if uri.query().is_some() {
            return Err(unusable(url, "a base address has no query"));
        }
        let Some(authority) = uri.authority().filter(|one| !one.host().is_empty()) else {
            return Err(unusable(url, "it names no host"));
        };
        Ok(Self {
            scheme,
            authority: authority.clone(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// Returns the same server with another path before every other, for what does not stand under the first.
    pub(crate) fn with_prefix(&self, prefix: &str) -> Self {
        Self {
            prefix: prefix.trim_end_matches('/').to_owned(),
            ..self.clone()
        }
    }

    pub(crate) fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    pub(crate) fn origin(&self) -> Origin {
        Origin {
            tls: self.is_https(),
            host: self.authority.host().to_ascii_lowercase(),
            port: port(self.is_https(), self.authority.port_u16()),
        }
    }

    /// Returns the address of a path, which begins with a slash and may carry a query.
    pub(crate) fn uri(&self, path: &str) -> Result<Uri, DriverError> {
        let whole = format!("{}{path}", self.prefix);
        let bad = |reason: String| DriverError::Unusable {
            what: format!("{}://{}{whole}", self.scheme, self.authority),
            reason,
            hint: HINT,
        };
        let path_and_query = whole
            .parse::<PathAndQuery>()
            .map_err(|error| bad(error.to_string()))?;
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path_and_query)
            .build()
            .map_err(|error| bad(error.to_string()))
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

impl Origin {
    /// Returns the origin of a whole address; None when it has none.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return None,
        };
        Some(Self {
            tls,
            host: uri.host()?.to_ascii_lowercase(),
            port: port(tls, uri.port_u16()),
        })
    }

    /// Tells whether what is sent there can be read by others on the way: in clear text, to another machine.
    pub(crate) fn is_exposed(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let loopback = host
            .parse::<std::net::IpAddr>()
            .map_or(host == "localhost", |ip| ip.is_loopback());
        !self.tls && !loopback
    }
}

/// Returns where a redirect from an address to `location` leads. None when that is no address of HTTP, or has credentials
/// in it.
pub(crate) fn onward(from: &Uri, location: &str) -> Option<Uri> {
    if holds_login(location) {
        return None;
    }
    let location = location.parse::<Uri>().ok()?;
    let path_and_query = location.path_and_query()?;
    if !path_and_query.as_str().starts_with('/') {
        return None;
    }
    let scheme = location.scheme().or(from.scheme())?;
    if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS {
        return None;
    }
    Uri::builder()
        .scheme(scheme.clone())
        .authority(location.authority().or(from.authority())?.clone())
        .path_and_query(path_and_query.clone())
        .build()
        .ok()
}

const fn port(tls: bool, said: Option<u16>) -> u16 {
    match said {
        Some(port) => port,
        None if tls => 443,
        None => 80,
    }
}

/// Tells whether the authority of an address has an `@` (RFC 3986, section 3.2.1).
fn holds_login(url: &str) -> bool {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next();
    authority.is_some_and(|authority| authority.contains('@'))
}

fn unusable(what: &str, reason: &str) -> DriverError {
    DriverError::Unusable {
        what: what.to_owned(),
        reason: reason.to_owned(),
        hint: HINT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_address_may_carry_a_path_and_may_leave_out_the_scheme() {
        for (url, meant) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            (
                "https://master/service/marathon/",
                "https://master/service/marathon",
            ),
            ("localhost:8080", "http://localhost:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            let base = Base::read(url).map(|base| base.to_string());
            assert_eq!(base, Ok(meant.to_owned()), "{url}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_used_is_refused_with_the_reason() {
        for (url, reason) in [
            ("ftp://master", "begins with neither http:// nor https://"),
            ("http://", "not a URL"),
            ("http://a b", "not a URL"),
            ("http://master/?a=b", "has no query"),
        ] {
            let error = Base::read(url).expect_err(url).to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn an_address_with_credentials_is_refused_and_they_are_not_repeated() {
        for url in [
            "http://me:secret@master",
            "https://secret@master/service",
            "me:secret@master:8080",
            "ftp://me:secret@master",
            "http://me:secret@a b",
        ] {
            let error = Base::read(url).expect_err("must be refused");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
            assert_eq!(error.hint(), Some(LOGIN_HINT), "{url}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port_and_nothing_else() {
        let origin = |url: &str| Base::read(url).expect("an address").origin();
        let same = [
            ("https://Master", "https://master:443/service"),
            ("http://master/a", "http://master:80/b"),
        ];
        let other = [
            ("https://master", "http://master"),
            ("https://master", "https://master:8443"),
            ("https://master", "https://master.evil"),
            ("https://master", "https://evil"),
        ];

        for (left, right) in same {
            assert_eq!(origin(left), origin(right), "{left} {right}");
        }
        for (left, right) in other {
            assert_ne!(origin(left), origin(right), "{left} {right}");
        }
    }

    #[test]
    fn a_redirect_leads_to_a_path_of_the_server_or_to_a_whole_address() {
        let from = Uri::from_static("https://master/service/marathon/v2/apps");
        let onward = |location: &str| onward(&from, location).map(|uri| uri.to_string());

        assert_eq!(onward("/x?y"), Some("https://master/x?y".to_owned()));
        assert_eq!(
            onward("http://leader:8080/v2/events"),
            Some("http://leader:8080/v2/events".to_owned())
        );
        for bad in ["ftp://leader/x", "http://a:b@leader/x", "x y", ""] {
            assert_eq!(onward(bad), None, "{bad}");
        }
    }
}
