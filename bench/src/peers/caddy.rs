//! Caddy: one Go processor (`GOMAXPROCS=1`, which every peer gets).

use super::{Kind, Program, Site, nothing_to_steer, write};

pub(super) const KIND: Kind = Kind {
    name: "caddy",
    program: Program::InPath("caddy"),
    version: &["version"],
    traceable: false,
    configure,
    steer: nothing_to_steer,
};

fn configure(site: &Site) -> anyhow::Result<Vec<String>> {
    let Site {
        listen,
        backends: [first, second],
        ..
    } = site;
    let port = listen.port();
    let text = format!(
        "{{
  admin off
  auto_https off
  persist_config off
}}
http://:{port} {{
  bind 127.0.0.1
  reverse_proxy {first} {second} {{
    lb_policy random_choose 2
    transport http {{
      keepalive_idle_conns_per_host 128
    }}
  }}
}}
"
    );
    let file = write(&site.folder, "Caddyfile", &text)?;
    Ok(["run", "--adapter", "caddyfile", "--config", &file]
        .map(str::to_owned)
        .to_vec())
}
