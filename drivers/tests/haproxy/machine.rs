//! A HAProxy of the test's own: master, worker, configuration and sockets in a folder that goes with it.

use crate::client::{Answer, Connection};
use crate::program::Program;
use crate::until::until;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long an answer may take. A master that begins anew never gives some.
const ANSWER: Duration = Duration::from_secs(1);

/// How the backend of a HAProxy is made.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// Its name.
    pub(crate) backend: String,
    /// What stands in it.
    pub(crate) lines: Vec<String>,
    /// What stands in the frontend before it.
    pub(crate) front_lines: Vec<String>,
    /// Whether HAProxy reads a file of its servers' state when it starts.
    pub(crate) reads_state: bool,
}

impl Layout {
    /// Places that are filled and emptied again: the only way before HAProxy 2.5.
    pub(crate) fn slots() -> Self {
        Self::of(&["server-template slot 1-20 127.0.0.1:1 disabled"])
    }

    /// No servers: they are added while it runs.
    pub(crate) fn dynamic() -> Self {
        Self::of(&[])
    }

    /// A backend with these lines.
    pub(crate) fn of(lines: &[&str]) -> Self {
        Self {
            backend: "shop_oinker".to_owned(),
            lines: lines.iter().map(|&line| line.to_owned()).collect(),
            front_lines: Vec::new(),
            reads_state: false,
        }
    }

    /// The same with a line in the frontend.
    pub(crate) fn with_front(mut self, line: &str) -> Self {
        self.front_lines.push(line.to_owned());
        self
    }

    /// The same with a file of the servers' state, which is read at the start.
    pub(crate) fn with_state(mut self) -> Self {
        self.reads_state = true;
        self
    }
}

/// A running HAProxy. Dropping it kills it with its workers.
#[derive(Debug)]
pub(crate) struct Machine {
    program: Program,
    folder: TempDir,
    /// The master. It leads a process group, which its workers are in.
    master: Child,
    /// Where clients connect to.
    pub(crate) front: SocketAddr,
    admin: SocketAddr,
}

impl Machine {
    /// Starts one and waits until it answers.
    pub(crate) async fn start(program: &Program, layout: &Layout) -> Self {
        let folder = TempDir::with_prefix("teal-haproxy-").expect("a temporary folder");
        let host = own_host();
        let [front, admin] = [free_port(host), free_port(host)];
        let text = config(folder.path(), layout, front, admin);
        fs::write(folder.path().join("haproxy.cfg"), text).expect("it is written");
        let master = launch(program, folder.path());
        let mut machine = Self {
            program: program.clone(),
            folder,
            master,
            front,
            admin,
        };
        machine.wait_until_it_answers().await;
        machine
    }

    /// Returns how the driver reaches it: by the UNIX socket, and its master by another one.
    pub(crate) fn by_unix(&self) -> String {
        let master = self.file("master.sock").display().to_string();
        format!("{}?master={master}", self.by_unix_alone())
    }

    /// Returns the same, and that the driver keeps the file of the servers' state.
    pub(crate) fn by_unix_with_state(&self) -> String {
        let state = self.file("state").display().to_string();
        format!("{}&state_file={state}", self.by_unix())
    }

    /// Returns how the driver reaches it by the UNIX socket, without its master.
    pub(crate) fn by_unix_alone(&self) -> String {
        format!("haproxy+unix:{}", self.file("admin.sock").display())
    }

    /// Returns how the driver reaches it by TCP, without its master. It has just been started and not reloaded, which only
    /// the test can know.
    pub(crate) fn by_tcp(&self) -> String {
        format!("haproxy+tcp://{}?old_workers=0s", self.admin)
    }

    /// Asks the worker something, as an operator would with `socat`.
    pub(crate) async fn ask(&self, command: &str) -> String {
        let answer = ask(&self.file("admin.sock"), command).await;
        answer.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Sends one GET on a connection of its own.
    pub(crate) fn get(&self, path: &'static str) -> impl Future<Output = Answer> + Send + use<> {
        let front = self.front;
        async move {
            let mut connection = Connection::open(front).await.expect("it listens");
            connection.get(path, "").await.expect("an answer")
        }
    }

    /// Reloads it as an operator would, and waits until the worker is another one.
    pub(crate) async fn reload(&self) {
        let before = self.worker().await;
        let master = self.file("master.sock");
        // The master starts itself anew: it may be cut off before it has answered.
        drop(ask(&master, "reload").await);
        until("another worker answers", async || {
            let worker = self.try_worker().await?;
            (worker != before).then_some(())
        })
        .await;
    }

    /// Kills master and workers at once, as a machine that loses its power would.
    pub(crate) fn kill_9(&mut self) {
        signal("KILL", &format!("-{}", self.master.id()));
        self.master.wait().expect("it was started here");
    }

    /// Starts it again after [`Self::kill_9`], with the same configuration.
    pub(crate) async fn start_again(&mut self) {
        self.master = launch(&self.program, self.folder.path());
        self.wait_until_it_answers().await;
    }

    /// Stops the worker where it is: its sockets take connections, and nobody answers.
    pub(crate) async fn freeze(&self) -> Frozen {
        Frozen::new(self.worker().await)
    }

    /// Stops the master where it is, which the worker does not heed.
    pub(crate) fn freeze_master(&self) -> Frozen {
        Frozen::new(self.master.id().to_string())
    }

    async fn worker(&self) -> String {
        self.try_worker().await.expect("it answers")
    }

    /// Returns the process id of the worker that answers, if one does and its master knows it. Some time after the worker
    /// has begun, the master begins anew: it is not there before and in between.
    async fn try_worker(&self) -> Option<String> {
        let info = ask(&self.file("admin.sock"), "show info").await.ok()?;
        let worker = info.lines().find_map(|line| line.strip_prefix("Pid: "))?;
        let known = ask(&self.file("master.sock"), "show proc").await.ok()?;
        let present = known.split("# old workers").next()?;
        let mut rows = present.lines();
        rows.any(|row| row.split_whitespace().next() == Some(worker))
            .then(|| worker.to_owned())
    }

    async fn wait_until_it_answers(&mut self) {
        let log = self.file("log");
        until("HAProxy answers", async || {
            let ended = self.master.try_wait().expect("it was started here");
            let log = || fs::read_to_string(&log).unwrap_or_default();
            assert_eq!(ended, None, "HAProxy has ended: {}", log());
            self.try_worker().await
        })
        .await;
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        signal("KILL", &format!("-{}", self.master.id()));
        self.master.wait().ok();
    }
}

/// A process that does nothing until this is dropped.
#[derive(Debug)]
pub(crate) struct Frozen {
    process: String,
}

impl Frozen {
    fn new(process: String) -> Self {
        signal("STOP", &process);
        Self { process }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal("CONT", &self.process);
    }
}

fn config(folder: &Path, layout: &Layout, front: SocketAddr, admin: SocketAddr) -> String {
    let folder = folder.display();
    let (file, load) = if layout.reads_state {
        let file = format!("    server-state-file {folder}/state\n");
        (file, "    load-server-state-from-file global\n")
    } else {
        (String::new(), "")
    };
    let backend = &layout.backend;
    let indented = |lines: &[String]| -> String {
        let lines = lines.iter().map(|line| format!("    {line}\n"));
        lines.collect()
    };
    let lines = indented(&layout.lines);
    let front_lines = indented(&layout.front_lines);
    format!(
        "global
    stats socket {folder}/admin.sock mode 600 level admin expose-fd listeners
    stats socket ipv4@{admin} level admin
    nbthread 1
    maxconn 1000
    hard-stop-after 30s
{file}defaults
    mode http
    timeout connect 2s
    timeout client 20s
    timeout server 20s
{load}frontend front
    bind {front}
    default_backend {backend}
{front_lines}backend {backend}
    balance roundrobin
{lines}"
    )
}

fn launch(program: &Program, folder: &Path) -> Child {
    let log = File::create(folder.join("log")).expect("a log");
    let mut command = program.command();
    command
        .args(["-W", "-S"])
        .arg(folder.join("master.sock"))
        .arg("-f")
        .arg(folder.join("haproxy.cfg"))
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log);
    command.spawn().expect("HAProxy starts")
}

/// Sends a signal to a process, or with a minus to a group.
fn signal(name: &str, target: &str) {
    // The command that every shell has within itself: on a small machine there is no program of that name.
    let script = format!("kill -{name} {target}");
    let mut shell = Command::new("/bin/sh");
    let shell = shell.args(["-c", &script]).stderr(Stdio::null());
    shell.status().ok();
}

/// Asks at a socket and returns the answer. The master closes only after we have said that nothing more comes.
async fn ask(socket: &Path, command: &str) -> io::Result<String> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(format!("{command}\n").as_bytes()).await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    match timeout(ANSWER, exchange).await {
        Ok(result) => result,
        Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Returns a loopback address that no other HAProxy of the tests has: between finding a free port and listening there,
/// nobody else takes it.
fn own_host() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, high.max(1), low, count)
}

fn free_port(host: Ipv4Addr) -> SocketAddr {
    let listener = TcpListener::bind((host, 0)).expect("a free port");
    listener.local_addr().expect("it is bound")
}
