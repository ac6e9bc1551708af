//! What HAProxy calls things: backends after pools, and servers that are added after their instances.

use teal_core::name::{InstanceId, PoolId};

/// Returns the name of a pool's backend: HAProxy has no slash in names, and marathon-lb too writes `_` for it.
pub(super) fn backend(pool: &PoolId) -> String {
    pool.as_str().trim_matches('/').replace('/', "_")
}

/// What the name of a server that teal has added begins with: whatever else there is, is somebody else's.
const OURS: &str = "teal.";

/// Returns the name of the server that is added for an instance. HAProxy's names have letters, digits and `-_.:`
/// (`invalid_char` in its `tools.c`); any other byte becomes a colon and two digits, as does the colon itself.
pub(super) fn server(instance: &InstanceId) -> String {
    let mut name = OURS.to_owned();
    for byte in instance.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!(":{byte:02X}"));
        }
    }
    name
}

/// Returns the instance that a server of this name was added for; None: it was not added by teal.
pub(super) fn instance(server: &str) -> Option<InstanceId> {
    let mut parts = server.strip_prefix(OURS)?.split(':');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(digits?);
        bytes.extend(part[2..].bytes());
    }
    String::from_utf8(bytes).ok().map(InstanceId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_of_a_group_has_a_name_without_slashes() {
        assert_eq!(backend(&PoolId::from("shop/cart:1")), "shop_cart:1");
    }

    #[test]
    fn any_instance_has_a_name_that_haproxy_takes_and_that_leads_back_to_it() {
        let marathons = "shop_cart.instance-17156075-0000-11f0-8000-000000000005._app.1";
        assert_eq!(
            server(&InstanceId::from(marathons)),
            format!("teal.{marathons}")
        );
        for id in ["a b/c:d", "ä;b", marathons, ""] {
            let name = server(&InstanceId::from(id));
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte)),
                "{name}"
            );
            assert_eq!(instance(&name), Some(InstanceId::from(id)));
        }
        assert_eq!(instance("web"), None);
        assert_eq!(instance("teal.web:x"), None);
    }
}
