//! A Docker daemon of the test's own, in a network of its own: nothing of it touches the machine's.
//!
//! The test's thread moves into a fresh network namespace, so the daemon, the engine and everything
//! else that the test starts are in it together. When the daemon goes, also by a panic, its
//! containers, processes and files go with it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

/// How long the daemon may take to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked at.
const POLL: Duration = Duration::from_millis(50);

/// The programs that the tests need, as Debian installs them (docker.io, iptables, busybox-static).
const PROGRAMS: [&str; 4] = [
    "/usr/sbin/dockerd",
    "/usr/bin/docker",
    "/usr/sbin/iptables",
    "/bin/busybox",
];

/// A small image with a shell and the usual programs.
pub(crate) const BUSYBOX: &str = "teal-test/busybox:1";

/// A running Docker daemon that has the image [`BUSYBOX`].
pub(crate) struct Dockerd {
    folder: TempDir,
    daemon: Child,
}

impl Dockerd {
    /// Starts a daemon, or says aloud why none can run here, and returns nothing.
    pub(crate) fn start() -> Option<Self> {
        if let Some(obstacle) = obstacle() {
            let test = std::thread::current().name().unwrap_or("?").to_owned();
            let line = format!("\nSKIPPED: {test}: {obstacle}\n");
            // Straight to the stream: what goes through `eprintln!` is shown for failed tests only.
            std::io::stderr().write_all(line.as_bytes()).ok();
            return None;
        }
        run(Command::new("/bin/busybox").args(["ip", "link", "set", "lo", "up"]));
        let folder = TempDir::with_prefix("teal-dockerd-").expect("a temporary folder");
        let daemon = launch(&folder);
        let mut dockerd = Self { folder, daemon };
        dockerd.wait_until_it_answers();
        dockerd.import(BUSYBOX, &dockerd.busybox());
        Some(dockerd)
    }

    /// Starts a daemon on what the one before has left.
    pub(crate) fn start_again(&mut self) {
        self.daemon = launch(&self.folder);
        self.wait_until_it_answers();
    }

    /// Ends the daemon. First it listens no more, then it ends its containers.
    pub(crate) fn stop(&mut self) {
        if let Ok(daemon) = i32::try_from(self.daemon.id()) {
            kill(Pid::from_raw(daemon), Signal::SIGTERM).ok();
        }
        let began = Instant::now();
        while matches!(self.daemon.try_wait(), Ok(None)) && began.elapsed() < PATIENCE {
            std::thread::sleep(POLL);
        }
        self.daemon.kill().ok();
        self.daemon.wait().ok();
    }

    /// Returns the daemon's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// Runs Docker's own command line and returns what it says.
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        let output = self.client().args(arguments).output().expect("docker runs");
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let complained = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        assert!(
            output.status.success(),
            "docker {arguments:?}: {complained}"
        );
        said
    }

    /// Makes an image of a folder.
    pub(crate) fn import(&self, image: &str, root: &Path) {
        let mut tar = Command::new("tar")
            .arg("-C")
            .arg(root)
            .args(["-c", "."])
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar runs");
        let files = tar.stdout.take().expect("its output");
        let imported = self
            .client()
            .args(["import", "-", image])
            .stdin(files)
            .output()
            .expect("docker runs");
        assert!(tar.wait().expect("tar ends").success());
        assert!(imported.status.success(), "{imported:?}");
    }

    /// Makes a folder with busybox under all its names, the root of an image.
    pub(crate) fn busybox(&self) -> PathBuf {
        let root = self.folder.path().join("busybox");
        let programs = root.join("bin");
        if programs.exists() {
            return root;
        }
        fs::create_dir_all(&programs).expect("a folder");
        fs::create_dir_all(root.join("tmp")).expect("a folder");
        fs::copy("/bin/busybox", programs.join("busybox")).expect("busybox");
        let listed = Command::new("/bin/busybox").arg("--list").output();
        let listed = listed.expect("busybox runs").stdout;
        for name in String::from_utf8_lossy(&listed).lines() {
            if name != "busybox" {
                symlink("busybox", programs.join(name)).expect("a link");
            }
        }
        root
    }

    fn client(&self) -> Command {
        let mut command = Command::new("/usr/bin/docker");
        command
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()));
        command
    }

    fn wait_until_it_answers(&mut self) {
        let began = Instant::now();
        while UnixStream::connect(self.socket()).is_err() || !self.knows_itself() {
            let ended = self.daemon.try_wait().expect("it can be waited for");
            assert!(
                ended.is_none() && began.elapsed() < PATIENCE,
                "dockerd does not answer: {}",
                self.log()
            );
            std::thread::sleep(POLL);
        }
    }

    fn knows_itself(&self) -> bool {
        let asked = self.client().arg("version").output();
        asked.is_ok_and(|answer| answer.status.success())
    }

    /// Lets go of what the daemon has mounted in its folder and left there.
    fn unmount(&self) {
        let folder = self.folder.path().display().to_string();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for point in points.filter(|point| point.starts_with(&folder)) {
            Command::new("umount").args(["--lazy", point]).output().ok();
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let listed = self.client().args(["ps", "--all", "--quiet"]).output();
        let listed = listed.map(|listed| listed.stdout).unwrap_or_default();
        let left = String::from_utf8_lossy(&listed).into_owned();
        if !left.trim().is_empty() {
            let mut remove = self.client();
            remove.args(["rm", "--force", "--volumes"]);
            remove.args(left.split_whitespace()).output().ok();
        }
        self.stop();
        self.unmount();
    }
}

/// Starts a daemon that keeps everything in a folder.
fn launch(folder: &TempDir) -> Child {
    let at = |name: &str| folder.path().join(name).display().to_string();
    let log = fs::File::create(at("log")).expect("a log");
    // Should the test's thread be gone without a word, the daemon is told to end.
    Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "/usr/sbin/dockerd"])
        .args(["--host", &format!("unix://{}", at("docker.sock"))])
        .args(["--data-root", &at("data"), "--exec-root", &at("exec")])
        .args(["--pidfile", &at("pid")])
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("dockerd starts")
}

/// Moves this thread into a network of its own, or says why no daemon can run here.
fn obstacle() -> Option<String> {
    if !geteuid().is_root() {
        return Some("a Docker daemon needs root".to_owned());
    }
    let mut programs = PROGRAMS.iter();
    if let Some(missing) = programs.find(|program| !Path::new(program).exists()) {
        return Some(format!(
            "{missing} is missing (apt-get install docker.io iptables busybox-static)"
        ));
    }
    if interpreted("/bin/busybox") {
        return Some("/bin/busybox needs libraries (apt-get install busybox-static)".to_owned());
    }
    let moved = unshare(CloneFlags::CLONE_NEWNET);
    moved
        .err()
        .map(|error| format!("no network namespace can be made: {error}"))
}

/// Returns whether a program needs the dynamic linker, which an image of it alone does not have.
fn interpreted(program: &str) -> bool {
    let asked = Command::new("ldd").arg(program).output();
    asked.is_ok_and(|answer| answer.status.success())
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program is there");
    assert!(output.status.success(), "{output:?}");
}
