//! Traefik: one Go processor (`GOMAXPROCS=1`, which every peer gets).

use serde_json::json;

use super::{Kind, Program, Site, nothing_to_steer, write};

pub(super) const KIND: Kind = Kind {
    name: "traefik",
    program: Program::InPath("traefik"),
    version: &["version"],
    traceable: false,
    configure,
    steer: nothing_to_steer,
};

fn configure(site: &Site) -> anyhow::Result<Vec<String>> {
    let servers = site
        .backends
        .map(|backend| json!({ "url": format!("http://{backend}") }));
    // JSON is YAML.
    let routes = json!({ "http": {
        "routers": { "all": { "rule": "PathPrefix(`/`)", "service": "back" } },
        "services": { "back": { "loadBalancer": { "strategy": "p2c", "servers": servers } } },
    } });
    let file = write(&site.folder, "routes.yaml", &routes.to_string())?;
    Ok(vec![
        format!("--entrypoints.front.address={}", site.listen),
        format!("--providers.file.filename={file}"),
        "--log.level=ERROR".to_owned(),
        "--global.checknewversion=false".to_owned(),
        "--global.sendanonymoususage=false".to_owned(),
    ])
}
