//! A running `teal up` and the clients that are pointed at it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::command::{Running, exit};
use crate::time::{Turn, eventually};
use crate::told::Told;

/// A running `teal up`, in a folder of its own that clients work in too.
pub(crate) struct Machine {
    folder: TempDir,
    up: Option<Running>,
    /// Where Marathon's API is: `host:port`.
    pub(crate) marathon: String,
    _turn: Turn,
}

impl Machine {
    /// Starts an empty one, and attaches the DC/OS CLI to it.
    pub(crate) fn up() -> Self {
        Self::up_with(|_| Vec::new())
    }

    /// Starts an empty one with the flags that are made for its folder.
    pub(crate) fn up_with(flags: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let turn = Turn::take();
        let folder = TempDir::with_prefix("teal-clients-").expect("a temporary folder");
        let flags = flags(folder.path());
        let mut command = bare(folder.path(), env!("CARGO_BIN_EXE_teal"));
        let anywhere = "127.0.0.1:0";
        command.args(["up", "--listen", anywhere, "--balancer-listen", anywhere]);
        command.args(flags);
        command.env("TEAL_STATE_DIR", folder.path().join("state"));
        let mut up = Running::start(command, None);
        up.until_it_says("ready");
        let line = up.until_it_says("engine");
        let (_, rest) = line.split_once("://").expect("a URL");
        let marathon = rest
            .split_whitespace()
            .next()
            .expect("host:port")
            .to_owned();
        attach(folder.path(), &marathon);
        Self {
            folder,
            up: Some(up),
            marathon,
            _turn: turn,
        }
    }

    /// Runs `dcos marathon` with these words.
    pub(crate) fn dcos(&self, words: &[&str]) -> Told {
        self.dcos_reading(None, words)
    }

    /// Runs `dcos marathon` with this on its standard input.
    pub(crate) fn dcos_reading(&self, stdin: Option<&str>, words: &[&str]) -> Told {
        let mut command = self.client("dcos");
        command.arg("marathon").args(words);
        Told::by(&Running::start(command, stdin).ends(), &self.marathon)
    }

    /// Runs a line of a shell in which `dcos` is the DC/OS CLI, with these as `$1`, `$2`, …
    pub(crate) fn sh(&self, line: &str, arguments: &[&str]) -> Told {
        let mut command = self.client("bash");
        command
            .args(["-o", "pipefail", "-c", line, "bash"])
            .args(arguments);
        Told::by(&Running::start(command, None).ends(), &self.marathon)
    }

    /// Runs a Python program that is told where Marathon is.
    pub(crate) fn python(&self, program: &str) -> Told {
        self.python_with(program, &[])
    }

    /// Runs a Python program that is told where Marathon is, and this.
    pub(crate) fn python_with(&self, program: &str, arguments: &[&str]) -> Told {
        let mut command = self.client("python");
        command.args(["-c", program, &format!("http://{}", self.marathon)]);
        command.args(arguments);
        Told::by(&Running::start(command, None).ends(), &self.marathon)
    }

    /// Writes a definition to a file and returns its path.
    pub(crate) fn write(&self, name: &str, definition: &Value) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, definition.to_string()).expect("the folder can be written to");
        path.display().to_string()
    }

    /// Adds an app and waits until its deployment is over.
    pub(crate) fn run(&self, definition: &Value) {
        let file = self.write("added.json", definition);
        self.dcos(&["app", "add", &file]).went_well();
        self.until_settled();
    }

    /// Waits until nothing is being deployed.
    pub(crate) fn until_settled(&self) {
        eventually("no deployment is left", || {
            let listed = self.dcos(&["deployment", "list", "--json"]);
            (listed.json() == Value::Array(Vec::new())).then_some(())
        });
    }

    /// Returns the ids of an app's tasks.
    pub(crate) fn tasks(&self, app: &str) -> Vec<String> {
        self.dcos(&["task", "list", app, "--quiet"])
            .went_well()
            .lines()
    }

    /// Opens the gate of a [`gated`] app.
    pub(crate) fn open_gate(&self) {
        std::fs::write(self.gate(), "").expect("the folder can be written to");
    }

    fn gate(&self) -> PathBuf {
        self.folder.path().join("gate")
    }

    /// Returns an app that is healthy once its gate is open.
    pub(crate) fn gated(&self, id: &str) -> Value {
        let mut app = sleeper(id, 1);
        app["healthChecks"] = serde_json::json!([{
            "protocol": "COMMAND",
            "delaySeconds": 0,
            "command": { "value": format!("test -f {}", self.gate().display()) },
            "gracePeriodSeconds": 600,
            "intervalSeconds": 1,
        }]);
        app
    }

    /// Lets the DC/OS CLI send a token, as after a login.
    pub(crate) fn log_in(&self, token: &str) {
        let file = self.folder.path().join("dcos/clusters/local/dcos.toml");
        let settings = std::fs::read_to_string(&file).expect("the CLI's settings");
        let core = format!("[core]\ndcos_acs_token = \"{token}\"\n");
        std::fs::write(&file, settings.replace("[core]\n", &core)).expect("they can be written");
    }

    /// Returns the folder that clients work in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn client(&self, program: &str) -> Command {
        let mut command = bare(self.folder.path(), program);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", programs().display()));
        command.env("DCOS_DIR", self.folder.path().join("dcos"));
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let Some(up) = self.up.take() else { return };
        up.signal(Signal::SIGTERM);
        let ran = up.ends();
        if !std::thread::panicking() {
            ran.exits(exit::DONE);
        }
    }
}

/// Returns an app that does nothing, for ever.
pub(crate) fn sleeper(id: &str, instances: u32) -> Value {
    serde_json::json!({
        "id": id, "cmd": "exec sleep 1000", "instances": instances, "cpus": 0.1, "mem": 16,
    })
}

/// Points the DC/OS CLI at a bare Marathon. Its files must be readable for nobody else.
fn attach(folder: &Path, marathon: &str) {
    use std::os::unix::fs::PermissionsExt;
    let cluster = folder.join("dcos/clusters/local");
    std::fs::create_dir_all(&cluster).expect("a folder for the CLI");
    let settings = format!(
        "[core]\ndcos_url = \"http://{marathon}\"\n[cluster]\nname = \"local\"\n\
         [marathon]\nurl = \"http://{marathon}\"\n"
    );
    let file = cluster.join("dcos.toml");
    std::fs::write(&file, settings).expect("the CLI's settings");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    std::fs::write(cluster.join("attached"), "").expect("the mark of the current cluster");
}

/// Returns a command with a clean environment. The width of tables does not depend on a terminal then.
fn bare(folder: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.env("HOME", folder).env("LANG", "C.UTF-8");
    command.current_dir(folder);
    command
}

/// Returns where the clients are. The first test that asks has them installed.
pub(crate) fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/python.sh");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
        let made = Command::new(script).arg(folder).output();
        let made = made.unwrap_or_else(|error| panic!("{script}: {error}"));
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(
            made.status.success(),
            "the clients cannot be installed: {said}"
        );
        PathBuf::from(String::from_utf8_lossy(&made.stdout).trim())
    })
}
