//! Addresses as numbers.

use crate::DriverError;
use std::net::{IpAddr, SocketAddr};

/// Balancers take numbers only, so that what they connect to is settled when they are told. IPv4 goes first: what
/// orchestrators call `localhost` listens there.
///
/// # Errors
/// [`DriverError::Unreachable`] when the name is not known.
pub(crate) async fn resolve(text: &str) -> Result<SocketAddr, DriverError> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let unresolved = |reason: String| DriverError::Unreachable {
        url: text.to_owned(),
        reason,
    };
    let found: Vec<SocketAddr> = tokio::net::lookup_host(text)
        .await
        .map_err(|error| unresolved(format!("its name is not known: {error}")))?
        .collect();
    let first = found
        .iter()
        .find(|address| address.is_ipv4())
        .or(found.first());
    first
        .copied()
        .ok_or_else(|| unresolved("its name has no address".to_owned()))
}

/// Returns all addresses of `host:port`, IPv4 first; none when the name is not known.
pub(crate) async fn resolve_all(text: &str) -> Vec<IpAddr> {
    let found = tokio::net::lookup_host(text).await;
    let mut found: Vec<IpAddr> = found
        .into_iter()
        .flatten()
        .map(|address| address.ip())
        .collect();
    found.sort_by_key(IpAddr::is_ipv6);
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_resolved_and_an_address_is_left_as_it_is() {
        let resolved = resolve("localhost:31001")
            .await
            .expect("localhost is known");

        assert!(resolved.ip().is_loopback());
        assert_eq!(
            resolve("10.0.0.7:80")
                .await
                .map(|address| address.to_string()),
            Ok("10.0.0.7:80".to_owned())
        );
    }
}
