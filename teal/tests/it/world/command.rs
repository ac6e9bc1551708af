//! Commands: run to their end, or running in the background with everything they say being read.

use super::time::{eventually, within_patience};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fmt;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The exit codes that the program promises.
pub(crate) mod exit {
    pub(crate) const DONE: i32 = 0;
    pub(crate) const INVALID: i32 = 2;
    pub(crate) const CHANGES: i32 = 2;
    pub(crate) const ROLLED_BACK: i32 = 3;
    pub(crate) const STUCK: i32 = 4;
    pub(crate) const LOCKED: i32 = 5;
    pub(crate) const ORCHESTRATOR: i32 = 6;
    pub(crate) const BALANCER: i32 = 7;
    pub(crate) const WAIT_OVER: i32 = 8;
    pub(crate) const INTERRUPTED: i32 = 130;
}

/// A command that has ended.
pub(crate) struct Ran {
    line: String,
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            status,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "{line}\n{status}\n-- stdout:\n{stdout}-- stderr:\n{stderr}--"
        )
    }
}

impl Ran {
    /// Returns itself if it exited with this code.
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "exit code of {self}");
        self
    }

    /// Returns itself if its talk contains this text.
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "no {text:?} on stderr of {self}"
        );
        self
    }

    /// Returns itself if its data contains this text.
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text),
            "no {text:?} on stdout of {self}"
        );
        self
    }

    /// Returns its exit code.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Returns its data as one JSON document.
    pub(crate) fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.stdout);
        parsed.unwrap_or_else(|error| panic!("{error}: stdout is not JSON: {self}"))
    }

    /// Returns its data as one JSON document a line.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let parsed: Result<_, _> = self.stdout.lines().map(serde_json::from_str).collect();
        parsed.unwrap_or_else(|error| panic!("{error}: stdout is not NDJSON: {self}"))
    }
}

/// A command that runs. It is killed when it is dropped before its end.
pub(crate) struct Running {
    line: String,
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

impl Running {
    /// Starts a command, with nothing or this text on its standard input.
    pub(crate) fn start(mut command: Command, stdin: Option<&str>) -> Self {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let line = words
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ");
        let input = if stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        if let (Some(mut pipe), Some(text)) = (child.stdin.take(), stdin) {
            pipe.write_all(text.as_bytes())
                .expect("it reads what it is given");
        }
        let stdout = Stream::of(child.stdout.take().expect("stdout is piped"));
        let stderr = Stream::of(child.stderr.take().expect("stderr is piped"));
        Self {
            line,
            child,
            stdout,
            stderr,
        }
    }

    /// Returns its process id.
    pub(crate) fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process ids are small"))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.id(), signal).expect("it still runs");
    }

    /// Returns what it has said so far.
    pub(crate) fn said(&self) -> String {
        self.stderr.text()
    }

    /// Waits until it has said a line that contains this text, and returns that line.
    pub(crate) fn until_it_says(&mut self, text: &str) -> String {
        self.until_a_line(text, "says", |ran| ran.stderr.text())
    }

    /// Waits until it has printed a line of data that contains this text, and returns that line.
    pub(crate) fn until_it_prints(&mut self, text: &str) -> String {
        self.until_a_line(text, "prints", |ran| ran.stdout.text())
    }

    fn until_a_line(&mut self, text: &str, verb: &str, so_far: impl Fn(&Self) -> String) -> String {
        let what = format!("{} {verb} {text:?}", self.line);
        eventually(&what, || {
            let said = so_far(self);
            let whole = said.rfind('\n').map_or("", |end| &said[..end]);
            let line = whole
                .lines()
                .find(|line| line.contains(text))
                .map(str::to_owned);
            assert!(
                line.is_some() || self.is_running(),
                "it ended before {what}: {said}"
            );
            line
        })
    }

    /// Tells whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("it can be waited for")
            .is_none()
    }

    /// Kills it at once, and returns what it had said.
    pub(crate) fn kill(mut self) -> String {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
        self.stderr.finish()
    }

    /// Waits for its end. Whatever a command does, it does not panic.
    pub(crate) fn ends(mut self) -> Ran {
        if within_patience(|| (!self.is_running()).then_some(())).is_none() {
            panic!(
                "{} does not end: {}{}",
                self.line,
                self.stdout.text(),
                self.said()
            );
        }
        let status = self.child.wait().expect("it can be waited for");
        let (stdout, stderr) = (self.stdout.finish(), self.stderr.finish());
        let ran = Ran {
            line: std::mem::take(&mut self.line),
            status,
            stdout,
            stderr,
        };
        assert!(!ran.stderr.contains("panicked"), "a panic: {ran}");
        ran
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// What comes out of a pipe, read by a thread of its own so that the pipe is never full.
struct Stream {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let read = String::from_utf8_lossy(&buffer[..count]);
                into.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_str(&read);
            }
        });
        Self {
            text,
            reader: Some(reader),
        }
    }

    fn text(&self) -> String {
        self.text
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn finish(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading does not panic");
        }
        self.text()
    }
}
