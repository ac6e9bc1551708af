//! nginx: one worker below its master.

use std::os::unix::fs::MetadataExt as _;

use super::{Kind, Program, Site, nothing_to_steer, write};

pub(super) const KIND: Kind = Kind {
    name: "nginx",
    program: Program::InPath("nginx"),
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
    let folder = site.folder.display();
    // As root it would give its folders to another user, who may not enter those above them.
    let is_root = std::fs::metadata("/proc/self")?.uid() == 0;
    let user = if is_root { "user root;" } else { "" };
    // Its buffers hold a body of 64 KiB, so that it writes no temporary files.
    let text = format!(
        "daemon off; {user} worker_processes 1; pid {folder}/pid; error_log {folder}/errors;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  upstream backend {{
    random two least_conn; server {first}; server {second}; keepalive 128; keepalive_requests 1000000000;
  }}
  server {{
    listen {listen} backlog=4096;
    location / {{
      proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection \"\";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_buffers 8 16k;
    }}
  }}
}}
"
    );
    let file = write(&site.folder, "nginx.conf", &text)?;
    let prefix = site.folder.display().to_string();
    let errors = format!("{prefix}/errors");
    Ok(["-p", &prefix, "-e", &errors, "-c", &file]
        .map(str::to_owned)
        .to_vec())
}
