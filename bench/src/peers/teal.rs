//! teal: its balancer alone in a process, and `teal up` as users run it, with the engine in the same process.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use super::{Kind, Program, Site};
use crate::ask::{ask, until_ok};

const ADMIN_LIMIT: Duration = Duration::from_secs(60);

pub(super) const ALONE: Kind = Kind {
    name: "teal-proxy",
    program: Program::ThisOne,
    version: &["--version"],
    traceable: true,
    configure: |site| {
        Ok(vec![
            "embedded".to_owned(),
            format!("--admin={}", site.admin),
            format!("--state={}", site.folder.join("balancer.json").display()),
        ])
    },
    steer,
};

pub(super) const UP: Kind = Kind {
    name: "teal-up",
    program: Program::Teal,
    version: &["--version"],
    traceable: true,
    configure: |site| {
        Ok(vec![
            "up".to_owned(),
            format!("--listen={}", site.other),
            format!("--balancer-listen={}", site.admin),
            format!("--state-dir={}", site.folder.join("state").display()),
            "--on-exit=stop".to_owned(),
        ])
    },
    steer,
};

fn steer(site: &Site) -> anyhow::Result<()> {
    until_ok(site.admin, "/ping", ADMIN_LIMIT)?;
    open_pool(site.admin, site.listen, &site.backends)
}

/// Opens a pool with these endpoints.
///
/// # Errors
///
/// If the admin API refuses it.
pub(crate) fn open_pool(
    admin: SocketAddr,
    listen: SocketAddr,
    backends: &[SocketAddr],
) -> anyhow::Result<()> {
    let pool = json!({ "listen": listen, "protocol": "http" });
    tell(admin, "PUT", "/v1/pools/bench", &pool.to_string())?;
    let admit: Vec<_> = backends
        .iter()
        .map(|address| json!({ "instance": format!("at-{}", address.port()), "address": address }))
        .collect();
    let change = json!({ "admit": admit });
    tell(admin, "POST", "/v1/pools/bench/change", &change.to_string())
}

fn tell(admin: SocketAddr, method: &str, path: &str, body: &str) -> anyhow::Result<()> {
    let (status, said) = ask(admin, method, path, body)?;
    ensure!(status < 300, "{method} {path}: {status}: {said}");
    Ok(())
}
