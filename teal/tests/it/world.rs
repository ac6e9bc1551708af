//! A running `teal up` in a folder of its own, what can be asked of it, and what must be true of it.

mod command;
mod http;
mod journal;
mod load;
mod oinker;
mod relay;
mod seen;
mod time;

pub(crate) use command::{Ran, Running, exit};
pub(crate) use journal::Journal;
pub(crate) use load::{Kind, Load};
pub(crate) use oinker::Oinker;
pub(crate) use relay::{Barrier, Relay};
pub(crate) use time::eventually;

use nix::sys::signal::Signal;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;
use tempfile::TempDir;
use time::Turn;

/// A running `teal up`. When it goes, everything must be gone that ran in it.
pub(crate) struct World {
    folder: TempDir,
    up: Option<Running>,
    /// Where Marathon's API is: `host:port`.
    pub(crate) marathon: String,
    /// Where the balancer's admin API is: `host:port`.
    pub(crate) balancer: String,
    /// What `--balancer` is told: that address, unless another balancer stands before the service.
    balancer_url: String,
    /// What `teal up` is told besides.
    flags: Vec<String>,
    _turn: Turn,
}

impl World {
    /// Starts an empty world.
    pub(crate) fn up() -> Self {
        Self::up_with(&[])
    }

    /// Starts an empty world with more flags for `teal up`.
    pub(crate) fn up_with(flags: &[&str]) -> Self {
        let turn = Turn::take();
        let folder = TempDir::with_prefix("teal-it-").expect("a temporary folder");
        std::fs::create_dir(folder.path().join("desk")).expect("a folder to work in");
        let nowhere = "127.0.0.1:0";
        let up = start_up(folder.path(), nowhere, nowhere, flags);
        let said = up.said();
        let address = |what: &str| {
            let line = said
                .lines()
                .find(|line| line.starts_with(what))
                .expect("its address");
            let rest = line.split_once("http://").expect("a URL").1;
            rest.split_whitespace()
                .next()
                .expect("host:port")
                .to_owned()
        };
        let (marathon, balancer) = (address("engine"), address("balancer"));
        Self {
            folder,
            up: Some(up),
            marathon,
            balancer_url: format!("http://{balancer}"),
            balancer,
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            _turn: turn,
        }
    }

    /// Kills `teal up` and starts it again where it was. Returns when it was killed and when it was ready again.
    pub(crate) fn kill_and_start_again(&mut self) -> (SystemTime, SystemTime) {
        let killed = SystemTime::now();
        if let Some(up) = self.up.take() {
            up.kill();
        }
        let (engine, balancer) = (&self.marathon, &self.balancer);
        self.up = Some(start_up(self.folder.path(), engine, balancer, &self.flags));
        (killed, SystemTime::now())
    }

    /// Takes the running `teal up` out of the world, which has none until [`World::up_again`].
    pub(crate) fn take_up(&mut self) -> Running {
        self.up.take().expect("it runs")
    }

    /// Starts `teal up` where it was, without its flags.
    pub(crate) fn up_again(&mut self) {
        let (engine, balancer) = (&self.marathon, &self.balancer);
        let flags: [&str; 0] = [];
        self.up = Some(start_up(self.folder.path(), engine, balancer, &flags));
    }

    /// Has BLUE running: this revision, well, with so many instances.
    pub(crate) fn with_blue(self, revision: &str, instances: usize) -> Self {
        self.with(&Oinker::new(revision).instances(instances))
    }

    /// Has BLUE running: this revision as it is.
    pub(crate) fn with(self, oinker: &Oinker) -> Self {
        self.deploy(oinker, &[]).exits(exit::DONE);
        self
    }

    // ---- commands ------------------------------------------------------------------------------

    /// Runs a command of the program to its end.
    pub(crate) fn teal(&self, arguments: &[&str]) -> Ran {
        self.start(arguments).ends()
    }

    /// Runs a command of the program with this on its standard input.
    pub(crate) fn teal_reading(&self, stdin: &str, arguments: &[&str]) -> Ran {
        Running::start(self.command(arguments), Some(stdin)).ends()
    }

    /// Starts a command of the program.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments), None)
    }

    /// Starts a command of the program with another value for a variable of its environment.
    pub(crate) fn start_with(&self, name: &str, value: &str, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        command.env(name, value);
        Running::start(command, None)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.told(env!("CARGO_BIN_EXE_teal"));
        command.args(arguments);
        command
    }

    /// Runs a line of a shell in which `teal` is the program under test, with these as `$1`, `$2`, …
    pub(crate) fn sh(&self, line: &str, arguments: &[&str]) -> Ran {
        let mut command = self.told("bash");
        let teal = format!(
            "teal() {{ '{}' \"$@\"; }}; {line}",
            env!("CARGO_BIN_EXE_teal")
        );
        command
            .args(["-o", "pipefail", "-c", &teal, "bash"])
            .args(arguments);
        Running::start(command, None).ends()
    }

    fn told(&self, program: &str) -> Command {
        let mut command = bare(self.folder.path(), program);
        command.env("TEAL_MARATHON", format!("http://{}", self.marathon));
        command.env("TEAL_BALANCER", &self.balancer_url);
        command
    }

    /// Has another balancer than that of `teal up` stand before the service from here on.
    pub(crate) fn stand_behind(&mut self, balancer_url: &str) {
        balancer_url.clone_into(&mut self.balancer_url);
    }

    /// Has `teal up` end, and begin again without a balancer of its own: it keeps the one that stands before the service.
    pub(crate) fn up_behind_that_balancer(&mut self) {
        let up = self.take_up();
        up.signal(Signal::SIGTERM);
        up.ends().exits(exit::DONE);
        let flags = ["--balancer", &self.balancer_url];
        let (engine, balancer) = (&self.marathon, &self.balancer);
        self.up = Some(start_up(self.folder.path(), engine, balancer, &flags));
    }

    /// Deploys a revision under its name.
    pub(crate) fn deploy(&self, oinker: &Oinker, flags: &[&str]) -> Ran {
        self.begin(oinker, flags).ends()
    }

    /// Begins to deploy a revision under its name.
    pub(crate) fn begin(&self, oinker: &Oinker, flags: &[&str]) -> Running {
        let file = self.write(oinker);
        self.start(&[&["deploy", &file, "--revision", &oinker.revision], flags].concat())
    }

    /// Writes a definition to a file and returns its path.
    pub(crate) fn write(&self, oinker: &Oinker) -> String {
        let text = self.definition(oinker);
        self.write_file(&format!("{}-oinker.json", oinker.revision), &text)
    }

    /// Returns a definition as text.
    pub(crate) fn definition(&self, oinker: &Oinker) -> String {
        oinker
            .definition(&self.database(), &self.desk().join("sick"))
            .to_string()
    }

    /// Writes a file into the folder that commands work in, and returns its path.
    pub(crate) fn write_file(&self, name: &str, text: &str) -> String {
        let path = self.desk().join(name);
        std::fs::write(&path, text).expect("the folder can be written to");
        path.display().to_string()
    }

    /// Begins to send traffic to the service.
    pub(crate) fn load(&self, kind: Kind) -> Load {
        Load::start(self, kind)
    }

    // ---- places --------------------------------------------------------------------------------

    /// The folder that commands are run in.
    pub(crate) fn desk(&self) -> PathBuf {
        self.folder.path().join("desk")
    }

    /// The folder of journals and locks.
    pub(crate) fn state(&self) -> PathBuf {
        state_in(self.folder.path())
    }

    /// The state folder of another machine that uses the same orchestrator and balancer.
    pub(crate) fn other_state(&self) -> PathBuf {
        self.folder.path().join("other-state")
    }

    /// The database that all oinkers share.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("oinks.sqlite")
    }

    // ---- journals ------------------------------------------------------------------------------

    /// Returns the journal of the latest deployment.
    pub(crate) fn journal(&self) -> Journal {
        Journal::all(&self.state())
            .pop()
            .expect("there was a deployment")
    }

    /// Returns the journal of the deployment that is the `count`th, once it is so far.
    pub(crate) fn until_journal(
        &self,
        count: usize,
        what: &str,
        so_far: impl Fn(&Journal) -> bool,
    ) -> Journal {
        eventually(what, || {
            Journal::all(&self.state())
                .into_iter()
                .nth(count - 1)
                .filter(&so_far)
        })
    }

    /// Deploys once without a mishap, and returns five moments that are spread over it: how many changes were asked for.
    pub(crate) fn moments(&self, flags: &[&str]) -> Vec<usize> {
        let barrier = Barrier::at(0);
        let deploy = self.begin_behind(&barrier, &Oinker::new("calm"), flags);
        deploy.ends().exits(exit::DONE);
        // A pool entry is forgotten by a change of its own or together with the next: there may be some fewer.
        let changes = barrier.count() - 3;
        // Knuth's MMIX generator: the same moments in every run, none of them chosen.
        let mut seed = 20_261_122_u64;
        let mut random = |below: usize| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(seed >> 33).expect("31 bits") % below
        };
        let moment = |fifth: usize| {
            let (from, to) = (fifth * changes / 5, (fifth + 1) * changes / 5);
            1 + from + random((to - from).max(1))
        };
        (0..5).map(moment).collect()
    }

    /// Begins to deploy a revision under its name, with every change passing a barrier.
    pub(crate) fn begin_behind(
        &self,
        barrier: &Barrier,
        oinker: &Oinker,
        flags: &[&str],
    ) -> Running {
        let file = self.write(oinker);
        let arguments = [&["deploy", &file, "--revision", &oinker.revision], flags].concat();
        let mut command = self.command(&arguments);
        for (name, target) in [
            ("TEAL_MARATHON", &self.marathon),
            ("TEAL_BALANCER", &self.balancer),
        ] {
            let relay = Relay::behind(barrier, target);
            command.env(name, format!("http://{}", relay.address));
        }
        Running::start(command, None)
    }

    /// Waits until somebody's word to the deployer lies in its letter box.
    pub(crate) fn until_letter(&self) {
        let folder = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
        eventually("a letter lies in the box", || {
            let deployments = self.state().join("deployments");
            let boxes = folder(&deployments).map(|it| it.path());
            let mut letters = boxes
                .filter(|path| path.extension().is_some_and(|end| end == "letters"))
                .flat_map(|path| folder(&path).collect::<Vec<_>>());
            letters
                .any(|letter| letter.path().extension().is_some_and(|end| end == "json"))
                .then_some(())
        });
    }

    /// Waits with `teal wait` until the deployment that has just been begun has got somewhere.
    pub(crate) fn wait_for(&self, what: &str) {
        // Before it is journaled, `teal wait` would speak of the one before it.
        eventually("it has begun", || {
            self.journal().outcome().is_null().then_some(())
        });
        self.teal(&["wait", "oinker", "--for", what, "--timeout", "30s"])
            .exits(exit::DONE);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let Some(up) = self.up.take() else { return };
        up.signal(Signal::SIGTERM);
        if std::thread::panicking() {
            // What went wrong is told already; here only nothing may be left behind.
            up.kill();
            seen::end_all_of(self.folder.path());
            return;
        }
        up.ends().exits(exit::DONE);
        let left = seen::commands_of(self.folder.path());
        seen::end_all_of(self.folder.path());
        assert!(
            left.is_empty(),
            "processes that outlived `teal up`: {left:#?}"
        );
    }
}

/// Starts `teal up` and waits until it is ready. It ends its tasks at its own end, unless flags say otherwise, so that
/// a world leaves nothing behind.
///
/// It gets two things that no task may ever see: a secret in its environment and open descriptors.
fn start_up(folder: &Path, engine: &str, balancer: &str, flags: &[impl AsRef<OsStr>]) -> Running {
    let mut command = bare(folder, "bash");
    let line = "exec 7</dev/null 200</dev/null; exec \"$@\"";
    command.args(["-c", line, "bash", env!("CARGO_BIN_EXE_teal"), "up"]);
    command.args(["--listen", engine, "--balancer-listen", balancer]);
    if !flags.iter().any(|flag| flag.as_ref() == "--on-exit") {
        command.args(["--on-exit", "stop"]);
    }
    command.args(flags);
    command.env("OPERATORS_PASSWORD", "secret-of-the-operator");
    let mut up = Running::start(command, None);
    up.until_it_says("ready");
    up
}

/// Returns a command with a clean environment.
fn bare(folder: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
        .env("HOME", folder)
        .env("TEAL_STATE_DIR", state_in(folder));
    command.current_dir(folder.join("desk"));
    command
}

fn state_in(folder: &Path) -> PathBuf {
    folder.join("state")
}
