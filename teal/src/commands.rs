//! The commands, one file each: its arguments, its help text and its function.

pub(crate) mod app;
pub(crate) mod completion;
pub(crate) mod demo;
pub(crate) mod deploy;
pub(crate) mod doctor;
pub(crate) mod drive;
pub(crate) mod haproxy_config;
pub(crate) mod haproxy_reload;
pub(crate) mod history;
pub(crate) mod keep;
pub(crate) mod load;
pub(crate) mod logs;
pub(crate) mod oinker;
pub(crate) mod pool;
pub(crate) mod report;
pub(crate) mod status;
pub(crate) mod steer;
pub(crate) mod task;
pub(crate) mod up;
pub(crate) mod wait;

use crate::failure::{Exit, Failure};
use std::io::Read;
use std::path::Path;

/// Reads a file that the operator named; `-` is standard input.
fn read_file(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(path).map(|read| text = read)
    };
    match read {
        Ok(()) => Ok(text),
        Err(error) => Err(Failure::new(
            Exit::Invalid,
            format!("cannot read {}: {error}", path.display()),
        )
        .hint("name a file with a Marathon app definition, or - for standard input")),
    }
}
