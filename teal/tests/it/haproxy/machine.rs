//! A HAProxy with the configuration that `teal haproxy-config` prints, and a world whose service it stands before.

use crate::world::{Load, Oinker, Running, World, eventually, exit};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running HAProxy, master and worker. All of it ends when it is dropped.
pub(crate) struct Haproxy {
    configuration: Configuration,
    folder: PathBuf,
    child: Child,
    /// Where the service is reached.
    pub(crate) listen: String,
}

/// Tells that a test cannot run here, as `./check` reads it.
fn skip(test: &str) {
    let line =
        format!("\nSKIPPED: {test}: there is no haproxy in PATH (apt-get install haproxy)\n");
    // Straight to the stream: what goes through `println!` is shown for failed tests only.
    std::io::stderr().write_all(line.as_bytes()).ok();
}

/// Tells whether there is a HAProxy, and says it aloud when there is none.
pub(crate) fn is_installed(test: &str) -> bool {
    let asked = Command::new("haproxy")
        .arg("-v")
        .stdout(Stdio::null())
        .status();
    if asked.is_err() {
        skip(test);
    }
    asked.is_ok()
}

/// What HAProxy is configured with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Configuration {
    /// As `teal haproxy-config` prints it.
    Printed,
    /// The same without slots and without a state file: servers are added, and a reload forgets them.
    Forgetful,
}

/// Returns a world behind a HAProxy, in which BLUE serves with so many instances; None, said aloud, without a HAProxy.
pub(crate) fn blue_behind_haproxy(test: &str, instances: usize) -> Option<(World, Haproxy)> {
    blue_behind(test, instances, Configuration::Printed)
}

/// The same with a choice of the configuration.
pub(crate) fn blue_behind(
    test: &str,
    instances: usize,
    configuration: Configuration,
) -> Option<(World, Haproxy)> {
    let (mut world, haproxy) = Haproxy::before_a_world(test, "oinker", configuration)?;
    world.stand_behind(&haproxy.address());
    world.deploy(&oinker("a", instances), &[]).exits(exit::DONE);
    Some((world, haproxy))
}

/// A revision of the sample service that drains soon.
pub(crate) fn oinker(revision: &str, instances: usize) -> Oinker {
    Oinker::new(revision).instances(instances).with("cpus", 0.1)
}

impl Haproxy {
    /// Returns an empty world and a HAProxy with a backend of this name; None, said aloud, without a HAProxy.
    pub(crate) fn before_a_world(
        test: &str,
        backend: &str,
        configuration: Configuration,
    ) -> Option<(World, Self)> {
        if !is_installed(test) {
            return None;
        }
        let world = World::up();
        let haproxy = Self::start(&world, backend, configuration);
        Some((world, haproxy))
    }

    fn start(world: &World, backend: &str, configuration: Configuration) -> Self {
        let folder = world.desk().join("haproxy");
        std::fs::create_dir(&folder).expect("a folder for HAProxy");
        let listen = format!("127.0.0.1:{}", free_port());
        let place = folder.display().to_string();
        let asked = [
            "haproxy-config",
            backend,
            "--listen",
            &listen,
            "--slots",
            "24",
            "--folder",
            &place,
        ];
        let config = world.teal(&asked).exits(exit::DONE).stdout;
        let is_kept = |line: &&str| {
            let words = line.trim_start();
            configuration == Configuration::Printed
                || !["server-template", "server-state-file", "load-server-state"]
                    .iter()
                    .any(|it| words.starts_with(it))
        };
        let config: String = config
            .lines()
            .filter(is_kept)
            .map(|line| format!("{line}\n"))
            .collect();
        std::fs::write(folder.join("haproxy.cfg"), config).expect("a configuration");
        let child = spawn(&folder);
        let haproxy = Self {
            configuration,
            folder,
            child,
            listen,
        };
        haproxy.until_it_answers();
        haproxy
    }

    /// Its stats socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("admin.sock")
    }

    /// What `--balancer` is told.
    pub(crate) fn address(&self) -> String {
        let place = self.folder.display();
        let address = format!("haproxy+unix:{place}/admin.sock?master={place}/master.sock");
        match self.configuration {
            Configuration::Printed => format!("{address}&state_file={place}/server-state"),
            Configuration::Forgetful => address,
        }
    }

    /// Reloads it as an administrator does who knows nothing of a deployment, and returns when a new worker is there.
    pub(crate) fn reload(&self) {
        let before = self.worker();
        // By signal, as its service does: a word at the master's socket is lost while the master reloads already.
        let master = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(master), Signal::SIGUSR2).expect("it runs");
        eventually("a new worker is there", || {
            self.worker().filter(|it| Some(it) != before.as_ref())
        });
    }

    /// Kills all of it at once, and starts it again.
    pub(crate) fn kill_and_start_again(&mut self) {
        self.kill();
        self.child = spawn(&self.folder);
        self.until_it_answers();
    }

    /// What its statistics say of the servers that get requests: how many there are.
    pub(crate) fn serving(&self) -> usize {
        let page =
            ask(&self.folder.join("admin.sock"), "show servers state oinker").unwrap_or_default();
        let rows = page.lines().filter(|line| line.contains(" oinker "));
        let serves = |row: &&str| {
            let cells: Vec<&str> = row.split(' ').collect();
            cells[5] != "0" && ["0", "4"].contains(&cells[6])
        };
        rows.filter(serves).count()
    }

    /// How many requests its worker has answered.
    pub(crate) fn answered(&self) -> u64 {
        let page =
            ask(&self.folder.join("admin.sock"), "show stat oinker 2 -1").unwrap_or_default();
        let row = page
            .lines()
            .find(|line| line.starts_with("oinker,BACKEND,"));
        let total = row.and_then(|row| row.split(',').nth(7));
        total.and_then(|total| total.parse().ok()).unwrap_or(0)
    }

    fn worker(&self) -> Option<String> {
        let info = ask(&self.folder.join("admin.sock"), "show info").ok()?;
        info.lines()
            .find_map(|line| line.strip_prefix("Pid: "))
            .map(str::to_owned)
    }

    fn until_it_answers(&self) {
        eventually("HAProxy answers", || self.worker());
        // It becomes another program once its worker is there, and nobody listens while it does.
        let master = self.folder.join("master.sock");
        eventually("its master answers", || ask(&master, "show proc").ok());
    }

    fn kill(&mut self) {
        let group = i32::try_from(self.child.id()).expect("a process id");
        killpg(Pid::from_raw(group), Signal::SIGKILL).ok();
        self.child.wait().ok();
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.kill();
    }
}

/// It is the first of a group of its own, so that no worker outlives it.
fn spawn(folder: &Path) -> Child {
    let said = || {
        std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"))
    };
    Command::new("haproxy")
        .arg("-W")
        .arg("-S")
        .arg(folder.join("master.sock"))
        .arg("-f")
        .arg(folder.join("haproxy.cfg"))
        .stdout(said().expect("a log"))
        .stderr(said().expect("a log"))
        .process_group(0)
        .spawn()
        .expect("haproxy can be started")
}

fn ask(socket: &Path, command: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(format!("{command}\n").as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Returns a port that nobody listens on at the moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// Steady traffic through HAProxy, at so many requests a second.
pub(crate) fn load(world: &World, haproxy: &Haproxy, rate: u32) -> Load {
    Load::steady(world, &haproxy.listen, rate)
}

/// Begins to deploy a revision.
pub(crate) fn begin(world: &World, revision: &str, instances: usize, flags: &[&str]) -> Running {
    world.begin(&oinker(revision, instances), flags)
}
