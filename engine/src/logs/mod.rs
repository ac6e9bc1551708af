//! Keeps what tasks write to stdout and stderr from filling the disk.
//!
//! A task writes straight into files of its sandbox, so no pipe can break when the engine goes away. A file that has
//! grown too large is copied to `stdout.1` and its beginning is cut off under the writer's hands, who appends and
//! notices nothing. Older copies move up to `stdout.2` and so on, and the oldest goes: the names and limits are those
//! of Mesos's logrotate module (`src/slave/container_loggers/lib_logrotate.hpp`).
//!
//! Where the file system can cut off a beginning (fallocate(2), `FALLOC_FL_COLLAPSE_RANGE`: ext4, XFS) no byte is
//! lost. Elsewhere the file is truncated, and what is written between the copy and the cut is lost, as with
//! logrotate's `copytruncate`.
//!
//! While nothing is written nothing is looked at: see `growth`.

mod growth;

use std::convert::Infallible;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate};

use crate::shell::Shell;
use growth::Growth;

/// The output files of a task.
const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// How many old files of each stream are kept.
const OLD_FILES_KEPT: u32 = 4;

/// How long after a sign of growth sizes are looked at, and how often where there are no such signs.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Ranges that are cut off are multiples of the file system's block size (fallocate(2)); this is a multiple of every
/// usual one.
const BLOCK_BYTES: u64 = 64 * 1024;

/// Looks at the output of all tasks whenever some of it has grown. Never returns.
pub(crate) async fn keep_small(shell: Arc<Shell>, sandboxes: PathBuf, bytes_max: u64) {
    let looks = Looks {
        shell,
        sandboxes,
        bytes_max,
    };
    let Err(reason) = looks.upon_growth().await;
    looks.shell.tell(format!(
        "the system does not tell when output of tasks grows ({reason}); its size is looked at every {} s",
        LOOK_INTERVAL.as_secs()
    ));
    looks.at_intervals().await;
}

struct Looks {
    shell: Arc<Shell>,
    sandboxes: PathBuf,
    bytes_max: u64,
}

impl Looks {
    /// Looks some time after output has grown, so that a task that writes all the time is looked at no more often.
    async fn upon_growth(&self) -> io::Result<Infallible> {
        let growth = Arc::new(Growth::new()?);
        loop {
            let watch = Arc::clone(&growth);
            // What is written after the look at its size must set off another look.
            self.look(move |sandboxes| watch.watch(sandboxes)).await?;
            growth.told().await?;
            tokio::time::sleep(LOOK_INTERVAL).await;
            growth.forget()?;
        }
    }

    /// Looks again and again, for as long as there are tasks. Never returns.
    async fn at_intervals(&self) {
        loop {
            self.shell.wait_until_busy().await;
            self.look(|_| Ok(())).await.ok();
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Prepares and looks once, on a thread that may wait for the disk. Tells what cannot be rotated.
    ///
    /// # Errors
    /// It cannot be prepared; then nothing was looked at.
    async fn look(
        &self,
        prepare: impl FnOnce(&Path) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let (folder, bytes_max) = (self.sandboxes.clone(), self.bytes_max);
        let looked = tokio::task::spawn_blocking(move || {
            prepare(&folder).map(|()| rotate_all(&folder, bytes_max))
        });
        if let Err(error) = looked.await.map_err(io::Error::other)?? {
            self.shell
                .tell(format!("cannot rotate the output of tasks: {error}"));
        }
        Ok(())
    }
}

/// Rotates what has grown too large in all sandboxes, and returns the first error once it has seen all of them. What
/// vanishes meanwhile needs no rotation.
fn rotate_all(sandboxes: &Path, bytes_max: u64) -> io::Result<()> {
    let mut outcome = Ok(());
    for sandbox in fs::read_dir(sandboxes)? {
        let sandbox = sandbox?.path();
        for stream in STREAMS {
            match rotate(&sandbox.join(stream), bytes_max) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    outcome = outcome.and(Err(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
    }
    outcome
}

/// Moves the present content of a file to `<file>.1` if it is larger than so many bytes.
fn rotate(file: &Path, bytes_max: u64) -> io::Result<()> {
    let Some((live, metadata)) = open_plain(file)? else {
        return Ok(());
    };
    if metadata.len() <= bytes_max {
        return Ok(());
    }
    // The range must end before the file does.
    let whole_blocks = (metadata.len() - 1) / BLOCK_BYTES * BLOCK_BYTES;
    let copy = numbered(file, 0);
    let copied = copy_beginning(&live, &copy, whole_blocks)?;
    if copied > 0 && cut_beginning(&live, copied) {
        return shift(file, &copy);
    }
    (&live).rewind()?;
    copy_beginning(&live, &copy, u64::MAX)?;
    live.set_len(0)?;
    shift(file, &copy)
}

/// Opens an output file, unless it is something else: the sandbox is the task's, and with `user` the task is less
/// trusted than the engine. It may have put a link or a pipe in the place of its output; that is its own business.
fn open_plain(file: &Path) -> io::Result<Option<(File, Metadata)>> {
    let careful = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let live = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(careful.bits())
        .open(file);
    let live = match live {
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => return Ok(None),
        opened => opened?,
    };
    let metadata = live.metadata()?;
    Ok(metadata.is_file().then_some((live, metadata)))
}

/// Copies what comes next of a file, at most so many bytes, into a new file and returns how many there were.
fn copy_beginning(mut from: &File, to: &Path, bytes: u64) -> io::Result<u64> {
    // What stands there is left of a rotation that was cut off, or a link that leads elsewhere: never written through.
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    io::copy(
        &mut Read::by_ref(&mut from).take(bytes),
        &mut File::create_new(to)?,
    )
}

/// Removes the first bytes of a file, if its file system can.
fn cut_beginning(file: &File, bytes: u64) -> bool {
    let collapse = FallocateFlags::FALLOC_FL_COLLAPSE_RANGE;
    i64::try_from(bytes).is_ok_and(|bytes| fallocate(file, collapse, 0, bytes).is_ok())
}

/// Makes the copy the first of the old files, and lets the oldest go.
fn shift(file: &Path, copy: &Path) -> io::Result<()> {
    for number in (1..OLD_FILES_KEPT).rev() {
        match fs::rename(numbered(file, number), numbered(file, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    fs::rename(copy, numbered(file, 1))
}

/// Returns the name of an old file: 1 is the newest, and 0 the one that is being made.
fn numbered(file: &Path, number: u32) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const MAX: u64 = 3 * BLOCK_BYTES;

    /// A writer that appends numbered lines, as a task does.
    struct Writer {
        folder: tempfile::TempDir,
        file: File,
        lines: u32,
    }

    impl Writer {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("stdout");
            let file = OpenOptions::new().create(true).append(true).open(path);
            Self {
                folder,
                file: file.expect("a file"),
                lines: 0,
            }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("stdout")
        }

        fn write(&mut self, bytes: u64) {
            let mut written = 0;
            while written < bytes {
                let line = format!("line {:08}\n", self.lines);
                self.file
                    .write_all(line.as_bytes())
                    .expect("it can be written");
                self.lines += 1;
                written += line.len() as u64;
            }
        }

        fn read(&self, number: Option<u32>) -> String {
            let path = number.map_or_else(|| self.path(), |number| numbered(&self.path(), number));
            fs::read_to_string(path).unwrap_or_default()
        }
    }

    #[test]
    fn a_small_file_is_left_alone() {
        let mut task = Writer::new();
        task.write(1000);

        rotate(&task.path(), MAX).expect("it works");

        assert!(!numbered(&task.path(), 1).exists());
    }

    #[test]
    fn no_line_is_lost_or_doubled_while_the_writer_goes_on() {
        let mut task = Writer::new();
        for _ in 0..3 {
            task.write(MAX + 1);
            rotate(&task.path(), MAX).expect("it works");
            assert!(fs::metadata(task.path()).expect("it is there").len() <= MAX);
        }
        task.write(10);

        let kept = [Some(3), Some(2), Some(1), None].map(|number| task.read(number));
        let kept: Vec<String> = kept.concat().lines().map(str::to_owned).collect();

        let expected: Vec<String> = (0..task.lines).map(|n| format!("line {n:08}")).collect();
        assert_eq!(kept, expected);
    }

    #[test]
    fn the_oldest_file_goes() {
        let mut task = Writer::new();
        for _ in 0..=OLD_FILES_KEPT {
            task.write(MAX + 1);
            rotate(&task.path(), MAX).expect("it works");
        }

        assert!(numbered(&task.path(), OLD_FILES_KEPT).exists());
        assert!(!numbered(&task.path(), OLD_FILES_KEPT + 1).exists());
        assert!(!task.read(Some(OLD_FILES_KEPT)).contains("line 00000000"));
    }

    #[test]
    fn nothing_is_written_through_a_link_that_a_task_has_put_there() {
        let mut task = Writer::new();
        let elsewhere = task.folder.path().join("elsewhere");
        fs::write(&elsewhere, "precious").expect("it can be written");
        for number in [0, 1] {
            let link = numbered(&task.path(), number);
            std::os::unix::fs::symlink(&elsewhere, link).expect("a link");
        }
        task.write(MAX + 1);

        rotate(&task.path(), MAX).expect("it works");

        let left = fs::read_to_string(elsewhere).expect("it is still there");
        assert_eq!(left, "precious");
        assert!(task.read(Some(1)).starts_with("line 00000000"));
    }

    #[test]
    fn what_is_no_plain_file_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let link = folder.path().join("stdout");
        std::os::unix::fs::symlink("/proc/self/exe", &link).expect("a link");

        rotate(&link, 1).expect("it is none of ours");

        assert!(
            fs::symlink_metadata(&link)
                .expect("it is there")
                .is_symlink()
        );
    }
}
