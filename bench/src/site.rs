//! A place where deployments run: `teal up` with a folder and ports of its own, in front of it teal's balancer or
//! HAProxy, and [`crate::service`] as what is deployed.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::Places;
use crate::ask::{ask, free_address, until_ok};
use crate::haproxy;
use crate::journal::Journal;
use crate::process::Process;
use crate::service::GAUGE;

/// The service's name, and the id of its app without a revision.
pub(crate) const SERVICE: &str = "bench";
const START_LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(2);

/// Which balancer stands before the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    /// The one of `teal up`.
    Embedded,
    /// HAProxy, from `PATH`, with this many slots.
    Haproxy { slots: usize },
}

/// A running place. All of it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) folder: PathBuf,
    /// Where Marathon's API is.
    pub(crate) engine: SocketAddr,
    /// Where the service is reached.
    pub(crate) listen: SocketAddr,
    /// What `--balancer` is told.
    balancer: String,
    /// The release build of teal.
    pub(crate) teal: PathBuf,
    /// Dropped first: the engine ends its tasks, and needs no balancer for that.
    _up: Process,
    _haproxy: Option<Process>,
}

/// What is deployed.
#[derive(Debug, Clone)]
pub(crate) struct Revision {
    /// `r1`, say.
    pub(crate) name: String,
    pub(crate) instances: usize,
    /// How long an instance takes until it is healthy.
    pub(crate) start_up: Duration,
    /// How long an instance has something pending after its last request.
    pub(crate) operation: Duration,
}

/// A command of teal that runs.
#[derive(Debug)]
pub(crate) struct Started {
    child: Child,
    line: String,
    log: PathBuf,
    began: SystemTime,
    begun: Instant,
}

/// A command of teal that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) began: SystemTime,
    /// From before the process was started until it had ended.
    pub(crate) took: Duration,
    pub(crate) status: ExitStatus,
}

impl Revision {
    /// Returns one that is healthy at once and has no operations.
    pub(crate) fn bare() -> Self {
        Self {
            name: "bare".to_owned(),
            instances: 1,
            start_up: Duration::ZERO,
            operation: Duration::ZERO,
        }
    }
}

impl Site {
    /// Starts a place of this name.
    ///
    /// # Errors
    ///
    /// If something does not start.
    pub(crate) fn start(places: &Places, name: &str, front: Front) -> anyhow::Result<Self> {
        let folder = places.scratch(name)?;
        let (engine, admin, listen) = (free_address()?, free_address()?, free_address()?);
        let haproxy = match front {
            Front::Embedded => None,
            Front::Haproxy { slots } => {
                let text = haproxy::printed(&places.teal, &folder, listen, slots)?;
                Some(haproxy::start(&folder, &text)?)
            }
        };
        let balancer = match front {
            Front::Embedded => format!("http://{admin}"),
            Front::Haproxy { .. } => haproxy::address(&folder),
        };
        let mut command = Command::new(&places.teal);
        command
            .arg("up")
            .arg(format!("--listen={engine}"))
            .arg(format!("--balancer-listen={admin}"))
            // A quota would make instances wait that have spent theirs: that is not what is measured.
            .args(["--on-exit=stop", "--cpu-limit=shares"])
            .env("TEAL_BALANCER", &balancer)
            .env("TEAL_STATE_DIR", folder.join("state"))
            .current_dir(&folder)
            .stdout(Stdio::null())
            .stderr(File::create(folder.join("up.log"))?);
        let up = Process::start(&mut command, None)?;
        until_ok(engine, "/ping", START_LIMIT).with_context(|| {
            let said = std::fs::read_to_string(folder.join("up.log")).unwrap_or_default();
            format!("teal up does not answer; it said: {said}")
        })?;
        Ok(Self {
            folder,
            engine,
            listen,
            balancer,
            teal: places.teal.clone(),
            _up: up,
            _haproxy: haproxy,
        })
    }

    /// The folder of journals and locks.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Returns the shell command of an instance.
    ///
    /// # Errors
    ///
    /// If this program does not know where it is.
    pub(crate) fn service_command(&self, revision: &Revision) -> anyhow::Result<String> {
        let program = std::env::current_exe()?;
        Ok(format!(
            "exec '{}' service --revision {} --start-up-ms {} --operation-ms {} --lost '{}' --diary '{}'",
            program.display(),
            revision.name,
            revision.start_up.as_millis(),
            revision.operation.as_millis(),
            self.lost_file().display(),
            self.diary().display()
        ))
    }

    /// Returns the definition of a revision, whose id is [`SERVICE`] in it.
    ///
    /// # Errors
    ///
    /// If this program does not know where it is.
    pub(crate) fn definition(&self, revision: &Revision) -> anyhow::Result<Value> {
        let command = self.service_command(revision)?;
        Ok(json!({
            "id": format!("/{SERVICE}"),
            "cmd": command,
            "instances": revision.instances,
            "cpus": 0.1,
            "mem": 32,
            "ports": [0],
            "labels": {
                "TEAL_PENDING_PATH": "/metrics",
                "TEAL_PENDING_GAUGE": GAUGE,
                "TEAL_LISTEN": self.listen.to_string(),
            },
            "healthChecks": [{
                "protocol": "HTTP", "path": "/health", "portIndex": 0,
                "gracePeriodSeconds": 60, "intervalSeconds": 1, "timeoutSeconds": 5,
                "maxConsecutiveFailures": 3,
            }],
        }))
    }

    /// Begins to deploy a revision, with these settings as flags: `--strategy=switch`, say.
    ///
    /// # Errors
    ///
    /// If the command cannot be started.
    pub(crate) fn begin(&self, revision: &Revision, flags: &[String]) -> anyhow::Result<Started> {
        let file = self.folder.join(format!("{}.json", revision.name));
        std::fs::write(&file, self.definition(revision)?.to_string())?;
        let mut arguments = vec![
            "deploy".to_owned(),
            file.display().to_string(),
            format!("--revision={}", revision.name),
        ];
        arguments.extend_from_slice(flags);
        self.command(&arguments)
    }

    /// Deploys a revision; it has to be completed.
    ///
    /// # Errors
    ///
    /// If it is not.
    pub(crate) fn deploy(&self, revision: &Revision, flags: &[String]) -> anyhow::Result<Ran> {
        self.begin(revision, flags)?.completes()
    }

    /// Starts a command of teal here.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub(crate) fn command(&self, arguments: &[String]) -> anyhow::Result<Started> {
        let line = format!("teal {}", arguments.join(" "));
        let verb = arguments.first().map_or("teal", String::as_str);
        let log = self.folder.join(format!("{verb}.log"));
        let file = File::create(&log)?;
        let mut command = Command::new(&self.teal);
        command
            .args(arguments)
            .env("TEAL_MARATHON", format!("http://{}", self.engine))
            .env("TEAL_BALANCER", &self.balancer)
            .env("TEAL_STATE_DIR", self.state())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let (began, begun) = (SystemTime::now(), Instant::now());
        let child = command.spawn().with_context(|| line.clone())?;
        Ok(Started {
            child,
            line,
            log,
            began,
            begun,
        })
    }

    /// Returns the journal of the latest deployment.
    ///
    /// # Errors
    ///
    /// If there was none.
    pub(crate) fn journal(&self) -> anyhow::Result<Journal> {
        let last = Journal::all(&self.state())?.pop();
        last.context("there was no deployment")
    }

    /// Returns how many deployments there were.
    pub(crate) fn deployments(&self) -> usize {
        Journal::all(&self.state()).map_or(0, |all| all.len())
    }

    /// Waits until the journal of the deployment after the first `before` satisfies a condition, and returns it.
    ///
    /// # Errors
    ///
    /// If it has ended otherwise, or the time is over.
    pub(crate) fn until(
        &self,
        before: usize,
        what: &str,
        limit: Duration,
        is_so: impl Fn(&Journal) -> bool,
    ) -> anyhow::Result<Journal> {
        let deadline = Instant::now() + limit;
        loop {
            let all = Journal::all(&self.state()).unwrap_or_default();
            if let Some(journal) = all.into_iter().nth(before) {
                if is_so(&journal) {
                    return Ok(journal);
                }
                if let Some(outcome) = journal.outcome() {
                    bail!("it is {outcome} before {what}");
                }
            }
            ensure!(Instant::now() < deadline, "it takes too long until {what}");
            std::thread::sleep(PAUSE);
        }
    }

    /// Returns how many operations instances took with them when they ended.
    pub(crate) fn lost_operations(&self) -> u64 {
        let text = std::fs::read_to_string(self.lost_file()).unwrap_or_default();
        let counts = text
            .lines()
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        counts.sum()
    }

    /// Where instances tell how they ended: [`crate::service::lives`] reads it.
    pub(crate) fn diary(&self) -> PathBuf {
        self.folder.join("diary")
    }

    fn lost_file(&self) -> PathBuf {
        self.folder.join("lost")
    }

    /// Asks Marathon's API.
    ///
    /// # Errors
    ///
    /// If it does not answer, or does not say yes.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, said) = ask(self.engine, method, path, &body)?;
        ensure!(status < 300, "{method} {path}: {status}: {said}");
        Ok(serde_json::from_str(&said).unwrap_or_default())
    }
}

impl Started {
    /// When it was started.
    pub(crate) const fn began(&self) -> SystemTime {
        self.began
    }

    /// Kills it, as a crash would.
    ///
    /// # Errors
    ///
    /// If it has been waited for.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// If it cannot be waited for.
    pub(crate) fn ends(mut self) -> anyhow::Result<Ran> {
        let status = self.child.wait()?;
        Ok(Ran {
            began: self.began,
            took: self.begun.elapsed(),
            status,
        })
    }

    /// Waits for its end, which has to be a success.
    ///
    /// # Errors
    ///
    /// If it is not.
    pub(crate) fn completes(self) -> anyhow::Result<Ran> {
        let (line, log) = (self.line.clone(), self.log.clone());
        let ran = self.ends()?;
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        ensure!(ran.status.success(), "{line}: {}: {}", ran.status, said());
        Ok(ran)
    }
}
