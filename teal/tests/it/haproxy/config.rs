//! The configuration that `teal haproxy-config` prints: HAProxy takes it as it is, without a warning.

use super::machine::is_installed;
use crate::world::{Running, exit};
use std::process::Command;
use tempfile::TempDir;

/// Runs `teal haproxy-config …` with files in this folder.
fn config(folder: &TempDir, arguments: &[&str]) -> String {
    let place = folder.path().display().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_teal"));
    command.args([&["haproxy-config", "--folder", &place], arguments].concat());
    Running::start(command, None)
        .ends()
        .exits(exit::DONE)
        .stdout
}

#[test]
fn haproxy_takes_every_configuration_that_is_printed() {
    if !is_installed("haproxy_takes_every_configuration_that_is_printed") {
        return;
    }
    let folder = TempDir::with_prefix("teal-haproxy-").expect("a temporary folder");
    // As the first lines of the configuration say.
    std::fs::write(folder.path().join("server-state"), "1\n").expect("a file");
    let file = folder.path().join("haproxy.cfg");
    let mut checked = 0;
    for service in ["oinker", "/shop/cart", "a.b-c_d"] {
        for listen in ["127.0.0.1:8090", "*:80", "[::1]:8090", "localhost:65535"] {
            for slots in ["1", "20", "4095"] {
                for tcp in [&[][..], &["--tcp"]] {
                    let flags = [&[service, "--listen", listen, "--slots", slots], tcp].concat();
                    let text = config(&folder, &flags);
                    std::fs::write(&file, &text).expect("a file");

                    // -dW: a warning is a mistake.
                    let mut command = Command::new("haproxy");
                    command.args(["-c", "-dW", "-f"]).arg(&file);
                    Running::start(command, None).ends().exits(exit::DONE);
                    checked += 1;
                }
            }
        }
    }
    assert_eq!(checked, 72);
}

#[test]
fn a_mistake_in_the_arguments_prints_no_configuration_and_tells_all_that_is_wrong() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_teal"));
    command.args(["haproxy-config", "my service", "--listen", "8090"]);
    command.args(["--slots", "0", "--folder", "here"]);

    let ran = Running::start(command, None).ends().exits(exit::INVALID);

    assert_eq!(ran.stdout, "");
    ran.says("SERVICE: `my service` is no name of a backend")
        .says("--listen: `8090` is not host:port")
        .says("--slots: a backend with 0 slots")
        .says("--folder: `here` cannot be used")
        .says("hint: ");
}
