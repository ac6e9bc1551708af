//! Tells when output may have grown, so that nobody has to look at files that nobody writes to: inotify(7).
//!
//! A watch tells once (`IN_ONESHOT`) and is set again with the next look. So a task that writes on and on wakes the
//! engine no more often than it looks, what it writes costs nothing more meanwhile, and the kernel's queue stays short.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::net::unix::pipe;

use super::STREAMS;

/// Enough for a hundred events or so: each takes 16 bytes and the name of a file that is new.
const EVENTS_BYTES: usize = 4096;

/// What sets a look off.
///
/// A pipe's receiver is tokio's one safe type that waits until any descriptor is readable. It reads with read(2), which
/// is how inotify is read too.
#[derive(Debug)]
pub(super) struct Growth {
    inotify: pipe::Receiver,
}

impl Growth {
    /// Returns one that watches nothing yet.
    ///
    /// # Errors
    /// The system has no inotify, or none left for this user.
    pub(super) fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(|error| short_of("fs.inotify.max_user_instances", error))?;
        Ok(Self {
            inotify: pipe::Receiver::from_owned_fd_unchecked(inotify)?,
        })
    }

    /// Watches the output in every sandbox, what will be, and what is watched already. Whatever happens to it from
    /// here on is told, so sizes are looked at afterwards.
    ///
    /// # Errors
    /// No watch is left for this user, or the folder cannot be read.
    pub(super) fn watch(&self, sandboxes: &Path) -> io::Result<()> {
        self.add(sandboxes, new_files())?;
        for sandbox in fs::read_dir(sandboxes)? {
            let sandbox = sandbox?.path();
            if !self.watch_streams(&sandbox)? {
                self.add(&sandbox, new_files())?;
                // It may have come in between.
                self.watch_streams(&sandbox)?;
            }
        }
        Ok(())
    }

    /// Waits until something is told that was not forgotten.
    pub(super) async fn told(&self) -> io::Result<()> {
        self.inotify.readable().await
    }

    /// Forgets what was told up to here.
    pub(super) fn forget(&self) -> io::Result<()> {
        let mut events = [0; EVENTS_BYTES];
        loop {
            match self.inotify.try_read(&mut events) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Watches the files of a sandbox that are there, and says whether all are.
    fn watch_streams(&self, sandbox: &Path) -> io::Result<bool> {
        // Also when a task puts another file in the place of its output.
        let growth = WatchFlags::MODIFY | WatchFlags::ATTRIB | WatchFlags::MOVE_SELF;
        let mut are_there = true;
        for stream in STREAMS {
            are_there &= self.add(&sandbox.join(stream), growth | WatchFlags::DONT_FOLLOW)?;
        }
        Ok(are_there)
    }

    /// Adds a watch, or sets it again, and says whether there is something to watch. What a task keeps from the engine
    /// cannot be rotated either.
    fn add(&self, path: &Path, what: WatchFlags) -> io::Result<bool> {
        match inotify::add_watch(&self.inotify, path, what | WatchFlags::ONESHOT) {
            Ok(_) => Ok(true),
            Err(limit @ (Errno::NOSPC | Errno::NOMEM)) => {
                Err(short_of("fs.inotify.max_user_watches", limit))
            }
            Err(error) => Ok(error != Errno::NOENT),
        }
    }
}

/// Says which limit may be too low (inotify(7)): the system's own words are about files and disks.
fn short_of(limit: &str, error: Errno) -> io::Error {
    io::Error::other(format!("inotify: {error}, see sysctl {limit}"))
}

fn new_files() -> WatchFlags {
    WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::path::PathBuf;

    use super::super::rotate_all;
    use super::*;

    /// The size of an event without a name; a watch that told once says that it is gone (`IN_IGNORED`).
    const EVENT_BYTES: usize = 16;
    const TOLD_ONCE: usize = 2 * EVENT_BYTES;

    struct Stage {
        folder: tempfile::TempDir,
        growth: Growth,
    }

    impl Stage {
        /// One sandbox, with the output of a task that has said something.
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let stage = Self {
                folder,
                growth: Growth::new().expect("there is inotify"),
            };
            fs::create_dir(stage.sandbox()).expect("a sandbox");
            stage
        }

        fn with_output(self) -> Self {
            for stream in STREAMS {
                self.write(stream);
            }
            self
        }

        fn sandbox(&self) -> PathBuf {
            self.folder.path().join("task")
        }

        fn write(&self, stream: &str) {
            let file = self.sandbox().join(stream);
            let file = OpenOptions::new().create(true).append(true).open(file);
            let mut file = file.expect("it can be opened");
            file.write_all(b"a line\n").expect("it can be written");
        }

        fn watch(&self) {
            self.growth.watch(self.folder.path()).expect("it works");
        }

        /// How many bytes the kernel has to tell: it knows when the change returns.
        fn told(&self) -> usize {
            let mut events = [0; EVENTS_BYTES];
            match rustix::io::read(&self.growth.inotify, &mut events) {
                Err(Errno::WOULDBLOCK) => 0,
                bytes => bytes.expect("it can be read"),
            }
        }
    }

    #[tokio::test]
    async fn a_task_that_writes_on_and_on_is_told_of_once_a_look() {
        let stage = Stage::new().with_output();
        for _look in 0..3 {
            stage.watch();
            for _line in 0..50 {
                STREAMS.iter().for_each(|stream| stage.write(stream));
            }

            assert_eq!(stage.told(), 2 * TOLD_ONCE);
        }
    }

    #[tokio::test]
    async fn output_that_nobody_writes_to_is_told_of_by_nothing_not_even_by_a_look_at_it() {
        let stage = Stage::new().with_output();
        for _look in 0..3 {
            stage.watch();
            rotate_all(stage.folder.path(), 1000).expect("it works");
        }

        assert_eq!(stage.told(), 0);
    }

    #[tokio::test]
    async fn output_that_comes_later_is_told_of_and_watched_then() {
        let stage = Stage::new();
        stage.watch();

        for stream in STREAMS {
            stage.write(stream);
            assert!(stage.told() > 0, "{stream} is new");
            stage.watch();
        }

        for stream in STREAMS {
            stage.write(stream);
            assert_eq!(stage.told(), TOLD_ONCE, "{stream} has grown");
        }
    }

    #[tokio::test]
    async fn a_new_sandbox_is_told_of() {
        let stage = Stage::new().with_output();
        stage.watch();

        fs::create_dir(stage.folder.path().join("another")).expect("a sandbox");

        assert!(stage.told() > 0);
    }

    #[tokio::test]
    async fn another_file_in_the_place_of_the_output_is_watched() {
        let stage = Stage::new().with_output();
        let stdout = stage.sandbox().join("stdout");
        stage.watch();

        fs::rename(&stdout, stage.sandbox().join("aside")).expect("it can be moved");
        assert_eq!(stage.told(), TOLD_ONCE, "it is gone");
        stage.watch();
        stage.write("stdout");
        assert!(stage.told() > 0, "another one is there");
        stage.watch();
        stage.write("stdout");

        assert_eq!(stage.told(), TOLD_ONCE);
    }

    #[tokio::test]
    async fn who_waits_hears_of_it_until_it_is_forgotten() {
        let stage = Stage::new().with_output();
        stage.watch();
        let growth = &stage.growth;

        stage.write("stdout");
        growth.told().await.expect("it is told");
        growth.told().await.expect("it is still told");
        growth.forget().expect("it can be");

        assert_eq!(stage.told(), 0);
    }
}
