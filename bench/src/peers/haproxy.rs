//! HAProxy: one thread.

use super::{Kind, Program, Site, nothing_to_steer, write};

pub(super) const KIND: Kind = Kind {
    name: "haproxy",
    program: Program::InPath("haproxy"),
    version: &["-v"],
    traceable: true,
    configure,
    steer: nothing_to_steer,
};

fn configure(site: &Site) -> anyhow::Result<Vec<String>> {
    let Site {
        listen,
        backends: [first, second],
        ..
    } = site;
    // `http-reuse always` is what teal does: with the default, a client's first request does not share connections.
    let text = format!(
        "global
  maxconn 4096
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 75s
  option http-keep-alive
  http-reuse always
  option forwardfor
frontend front
  bind {listen}
  default_backend back
backend back
  balance random
  server first {first}
  server second {second}
"
    );
    let file = write(&site.folder, "haproxy.cfg", &text)?;
    Ok(["-db", "-f", &file].map(str::to_owned).to_vec())
}
