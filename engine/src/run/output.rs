//! Copies a container's output into the files of its sandbox, as Mesos does, and remembers how far.
//!
//! The daemon keeps the output, so nothing is lost while no engine follows it. How far the copy has
//! come is written down after every piece: an engine that starts again goes on there. Lines that the
//! daemon itself has thrown away by then (its own log rotation) cannot be had back, and an engine
//! that is killed between a piece and its note copies that piece twice.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use nix::fcntl::OFlag;
use tokio::time::sleep;

use super::container::Containers;
use crate::docker::{DockerError, LogFrame, LogStream};

/// How long to wait before an interrupted copy is taken up again.
const RETRY: Duration = Duration::from_secs(1);

/// Where a container's output goes.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    /// The folder with the files `stdout` and `stderr`.
    pub(super) sandbox: PathBuf,
    /// The file that says how far the copy has come. It is not in the sandbox, which the container
    /// can write to.
    pub(super) position: PathBuf,
}

/// Copies a container's output until it has ended and everything is said. Only then it returns.
pub(super) async fn follow(containers: &Containers, name: &str, destination: &Destination) {
    loop {
        match copy(containers, name, destination).await {
            Ok(()) if has_ended(containers, name).await => return,
            Err(Failure::Daemon(DockerError::Missing(_))) => return,
            Err(Failure::Daemon(refusal @ DockerError::Refused { .. })) => {
                // A log driver that cannot be read, for one: then the output is where it sends it.
                let line = format!("teal: the output cannot be shown here: {refusal}\n");
                let said = open(&destination.sandbox, LogStream::Stderr)
                    .and_then(|mut file| file.write_all(line.as_bytes()));
                said.ok();
                return;
            }
            Ok(()) | Err(Failure::Daemon(_) | Failure::File) => sleep(RETRY).await,
        }
    }
}

/// Returns whether nothing more will be said. A daemon that goes away ends its answers too.
async fn has_ended(containers: &Containers, name: &str) -> bool {
    let inspected = match containers.daemon().await {
        Ok(docker) => docker.inspect(name).await,
        Err(error) => Err(error),
    };
    match inspected {
        Ok(inspected) => !inspected.state.running,
        Err(error) => matches!(error, DockerError::Missing(_)),
    }
}

/// Why a copy was interrupted.
enum Failure {
    Daemon(DockerError),
    /// A full disk, for one. What was not written is asked for again.
    File,
}

impl From<DockerError> for Failure {
    fn from(error: DockerError) -> Self {
        Self::Daemon(error)
    }
}

async fn copy(
    containers: &Containers,
    name: &str,
    destination: &Destination,
) -> Result<(), Failure> {
    let docker = containers.daemon().await?;
    let begin = Position::read(&destination.position);
    let since = begin.map_or(0, |position| position.time.as_second());
    let mut logs = docker.logs(name, since).await?;
    let mut files = Files::open(destination).map_err(|_| Failure::File)?;
    let mut progress = Progress::from(begin);
    while let Some(frames) = logs.next().await? {
        let piece = progress.take(frames);
        if let Some(position) = progress.reached {
            let written = tokio::task::spawn_blocking(move || {
                files.write(&piece, position)?;
                Ok::<Files, io::Error>(files)
            });
            files = written
                .await
                .ok()
                .and_then(Result::ok)
                .ok_or(Failure::File)?;
        }
    }
    Ok(())
}

/// How far a copy has come: to this time, and to so many messages with exactly this time. Podman
/// tells time in whole seconds, so there may be many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    time: Timestamp,
    messages: u64,
}

impl Position {
    fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let (nanoseconds, messages) = text.trim().split_once(' ')?;
        Some(Self {
            time: Timestamp::from_nanosecond(nanoseconds.parse().ok()?).ok()?,
            messages: messages.trim().parse().ok()?,
        })
    }

    /// Returns the position as a text that is always as long: it is overwritten in place.
    fn to_line(self) -> String {
        format!("{:>30} {:>20}\n", self.time.as_nanosecond(), self.messages)
    }
}

/// What is taken from the output: everything behind the position at which the copy began.
#[derive(Debug)]
struct Progress {
    /// What has been copied already and comes again, with how much of its last time has come.
    before: Option<(Position, u64)>,
    reached: Option<Position>,
}

impl From<Option<Position>> for Progress {
    fn from(begin: Option<Position>) -> Self {
        Self {
            before: begin.map(|position| (position, 0)),
            reached: begin,
        }
    }
}

impl Progress {
    /// Returns the part of these messages that has not been copied yet.
    fn take(&mut self, frames: Vec<LogFrame>) -> Piece {
        let mut piece = Piece::default();
        for frame in frames {
            if !self.is_new(frame.time) {
                continue;
            }
            let messages = match self.reached {
                Some(reached) if reached.time == frame.time => reached.messages + 1,
                Some(_) | None => 1,
            };
            self.reached = Some(Position {
                time: frame.time,
                messages,
            });
            match frame.stream {
                LogStream::Stdout => piece.stdout.extend_from_slice(&frame.text),
                LogStream::Stderr => piece.stderr.extend_from_slice(&frame.text),
            }
        }
        piece
    }

    fn is_new(&mut self, time: Timestamp) -> bool {
        let Some((position, seen)) = &mut self.before else {
            return true;
        };
        if time == position.time {
            *seen += 1;
            return *seen > position.messages;
        }
        let is_new = time > position.time;
        if is_new {
            self.before = None;
        }
        is_new
    }
}

/// Output that is to be appended.
#[derive(Debug, Default)]
struct Piece {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

#[derive(Debug)]
struct Files {
    stdout: File,
    stderr: File,
    position: File,
}

impl Files {
    fn open(destination: &Destination) -> io::Result<Self> {
        Ok(Self {
            stdout: open(&destination.sandbox, LogStream::Stdout)?,
            stderr: open(&destination.sandbox, LogStream::Stderr)?,
            position: OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&destination.position)?,
        })
    }

    fn write(&mut self, piece: &Piece, position: Position) -> io::Result<()> {
        self.stdout.write_all(&piece.stdout)?;
        self.stderr.write_all(&piece.stderr)?;
        self.position.write_all_at(position.to_line().as_bytes(), 0)
    }
}

/// Opens a file of the sandbox for appending. The container can write to that folder, so a link is
/// never followed: it could point anywhere on the machine.
fn open(sandbox: &Path, stream: LogStream) -> io::Result<File> {
    let name = match stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
    };
    OpenOptions::new()
        .create(true)
        .append(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(sandbox.join(name))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn at(second: i64, text: &'static str) -> LogFrame {
        LogFrame {
            stream: LogStream::Stdout,
            time: Timestamp::from_second(second).expect("a time"),
            text: Bytes::from_static(text.as_bytes()),
        }
    }

    fn taken(progress: &mut Progress, frames: Vec<LogFrame>) -> String {
        String::from_utf8(progress.take(frames).stdout).expect("text")
    }

    #[test]
    fn a_copy_that_is_taken_up_again_neither_loses_nor_repeats_a_message() {
        let all = || vec![at(1, "a"), at(2, "b"), at(2, "c"), at(2, "d"), at(3, "e")];
        for seen in 0..=all().len() {
            let mut first = Progress::from(None);
            let before = taken(&mut first, all().drain(..seen).collect());
            let mut second = Progress::from(first.reached);
            let since = first.reached.map_or(0, |reached| reached.time.as_second());
            let replayed = all()
                .into_iter()
                .filter(|frame| frame.time.as_second() >= since);

            let after = taken(&mut second, replayed.collect());

            assert_eq!(format!("{before}{after}"), "abcde", "after {seen}");
        }
    }

    #[test]
    fn a_position_reads_back_from_its_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("position");
        let position = Position {
            time: "2026-11-23T03:17:00.534480618Z".parse().expect("a time"),
            messages: 7,
        };

        fs::write(&path, position.to_line()).expect("it is written");

        assert_eq!(Position::read(&path), Some(position));
        assert_eq!(Position::read(&folder.path().join("none")), None);
    }

    #[test]
    fn output_never_goes_through_a_link_that_a_container_has_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("target");
        fs::write(&target, "mine").expect("it is written");
        std::os::unix::fs::symlink(&target, folder.path().join("stdout")).expect("a link");

        open(folder.path(), LogStream::Stdout).expect_err("a link is refused");

        assert_eq!(fs::read_to_string(&target).expect("it is there"), "mine");
    }
}
