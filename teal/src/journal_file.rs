//! Journals on disk: one file per deployment, one entry a line, each line with the checksum of its JSON before it.
//!
//! An entry that announces something is on disk (fsync) before it is acted on. A last line that was cut off is an
//! entry that was never acted on: it is dropped. Damage anywhere else is an error; nothing is guessed.

use anyhow::{Context, Result, bail};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use teal_core::Moment;
use teal_core::journal::{Entry, Event, Outcome, State};
use teal_core::plan::Plan;

/// A journal holds definitions, and their environment may hold what only their owner should know.
const PRIVATE: u32 = 0o600;
/// How much of a journal's end is read to find its last line.
const END_BYTES: u64 = 8 * 1024;

/// A deployment's journal, open for writing, with the state it folds to.
#[derive(Debug)]
pub(crate) struct JournalFile {
    file: File,
    path: PathBuf,
    pub(crate) entries: Vec<Entry>,
    pub(crate) plan: Plan,
    pub(crate) state: State,
}

impl JournalFile {
    /// Begins a journal with a plan.
    pub(crate) fn create(path: &Path, plan: &Plan, now: Moment) -> Result<Self> {
        let told = || format!("cannot begin the journal {}", path.display());
        let entry = Entry {
            seq: 1,
            at: now,
            event: Event::Begun {
                plan: Box::new(plan.clone()),
            },
        };
        let (plan, state) = State::begin(&entry)?;
        let mut file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(PRIVATE)
            .open(path)
            .with_context(told)?;
        file.write_all(line(&entry)?.as_bytes())
            .and_then(|()| file.sync_all())
            .with_context(told)?;
        if let Some(folder) = path.parent() {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .with_context(told)?;
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            entries: vec![entry],
            plan,
            state,
        })
    }

    /// Opens a journal to go on with it. A cut-off last line is cut away.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let (entries, whole) = read_lines(path)?;
        let (plan, state) = State::replay(&entries).with_context(|| path.display().to_string())?;
        let file = OpenOptions::new().append(true).open(path)?;
        file.set_len(whole)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            entries,
            plan,
            state,
        })
    }

    /// Writes an entry and takes it into the state. Returns its number.
    pub(crate) fn write(&mut self, now: Moment, event: Event) -> Result<u64> {
        let told = || format!("cannot write the journal {}", self.path.display());
        let entry = Entry {
            seq: self.state.seq + 1,
            at: now,
            event,
        };
        self.state.apply(&entry)?;
        self.file
            .write_all(line(&entry)?.as_bytes())
            .with_context(told)?;
        if must_be_on_disk(&entry.event) {
            self.file.sync_data().with_context(told)?;
        }
        let seq = entry.seq;
        self.entries.push(entry);
        Ok(seq)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Reads a journal that somebody else may be writing.
pub(crate) fn read(path: &Path) -> Result<Vec<Entry>> {
    read_lines(path).map(|(entries, _)| entries)
}

/// Returns how a deployment ended, from the end of its journal alone: what is over need not be read to find what is not.
/// None: it has not ended, or the end does not tell.
pub(crate) fn outcome_at_end(path: &Path) -> Option<Outcome> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END_BYTES)))
        .ok()?;
    let mut end = Vec::new();
    file.read_to_end(&mut end).ok()?;
    let last = end.split_inclusive(|byte| *byte == b'\n').next_back()?;
    let Event::Ended { outcome } = parse(last)?.event else {
        return None;
    };
    Some(outcome)
}

/// Reads on in a journal that another process writes.
#[derive(Debug)]
pub(crate) struct Reader {
    path: PathBuf,
    /// How long the lines are that have been read, and how many they are.
    bytes: u64,
    lines: usize,
}

impl Reader {
    /// Begins with the first entry.
    pub(crate) fn at_start(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            bytes: 0,
            lines: 0,
        }
    }

    /// Returns the entries that have come since the last time.
    pub(crate) fn news(&mut self) -> Result<Vec<Entry>> {
        let mut bytes = Vec::new();
        File::open(&self.path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(self.bytes))?;
                file.read_to_end(&mut bytes)
            })
            .with_context(|| format!("cannot read the journal {}", self.path.display()))?;
        let (entries, whole) = whole_lines(&self.path, &bytes, self.lines)?;
        self.bytes += whole;
        self.lines += entries.len();
        Ok(entries)
    }
}

/// What is only remembered for the report, or told again by looking, may be lost with the machine.
fn must_be_on_disk(event: &Event) -> bool {
    match event {
        Event::Begun { .. }
        | Event::Intended { .. }
        | Event::Asked { .. }
        | Event::Ended { .. } => true,
        Event::Performed { .. }
        | Event::Failed { .. }
        | Event::Seen { .. }
        | Event::Resumed { .. } => false,
    }
}

fn line(entry: &Entry) -> Result<String> {
    let json = serde_json::to_string(entry)?;
    Ok(format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes())))
}

/// Returns the entries and the length of the whole lines that hold them.
fn read_lines(path: &Path) -> Result<(Vec<Entry>, u64)> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .with_context(|| format!("cannot read the journal {}", path.display()))?;
    let (entries, whole) = whole_lines(path, &bytes, 0)?;
    if entries.is_empty() {
        bail!("the journal {} holds no entry", path.display());
    }
    Ok((entries, whole))
}

/// The same of a part of it that begins after so many lines.
fn whole_lines(path: &Path, bytes: &[u8], before: usize) -> Result<(Vec<Entry>, u64)> {
    let mut entries = Vec::new();
    let mut whole = 0_u64;
    let mut lines = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .enumerate()
        .peekable();
    while let Some((index, bytes)) = lines.next() {
        match parse(bytes) {
            Some(entry) => entries.push(entry),
            None if lines.peek().is_none() => break,
            None => bail!(
                "the journal {} is damaged at line {}",
                path.display(),
                before + index + 1
            ),
        }
        whole += bytes.len() as u64;
    }
    Ok((entries, whole))
}

fn parse(line: &[u8]) -> Option<Entry> {
    let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (checksum, json) = line.split_once(' ')?;
    let checksum = u32::from_str_radix(checksum, 16).ok()?;
    (checksum == crc32fast::hash(json.as_bytes()))
        .then(|| serde_json::from_str(json).ok())
        .flatten()
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;
    use teal_core::journal::Command;

    const PLAN: &str = r#"{"deployment":"d","service":"s","made_at":0,"blue":null,
        "green":{"revision":"/s","definition":{},"pending":{"kind":"none"}},"pools":[],"target":1,"floor":0,"room":1,
        "initial":1,"batch":1,"atomic_change":true,"dead":[],"notes":[],"settings":"#;

    pub(super) fn journal(folder: &Path) -> JournalFile {
        let settings = serde_json::to_string(&teal_core::settings::Settings::default()).unwrap();
        let plan: Plan = serde_json::from_str(&format!("{PLAN}{settings}}}")).unwrap();
        let mut journal = JournalFile::create(&folder.join("d.journal"), &plan, Moment(1)).unwrap();
        journal
            .write(
                Moment(2),
                Event::Asked {
                    command: Command::Pause,
                    letter: None,
                },
            )
            .unwrap();
        journal
            .write(
                Moment(3),
                Event::Asked {
                    command: Command::Resume,
                    letter: None,
                },
            )
            .unwrap();
        journal
    }

    #[test]
    fn a_journal_reads_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let written = journal(folder.path());

        let read = JournalFile::open(written.path()).unwrap();

        assert_eq!(read.entries, written.entries);
        assert_eq!(read.state, written.state);
    }

    #[test]
    fn a_torn_last_line_is_dropped_wherever_it_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let written = journal(folder.path());
        let whole = std::fs::read(written.path()).unwrap();
        let last = whole[..whole.len() - 1]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .unwrap()
            + 1;

        for cut in last..whole.len() {
            std::fs::write(written.path(), &whole[..cut]).unwrap();
            let mut opened = JournalFile::open(written.path()).unwrap();
            assert_eq!(opened.entries.len(), 2, "cut at {cut}");
            opened
                .write(
                    Moment(9),
                    Event::Asked {
                        command: Command::Resume,
                        letter: None,
                    },
                )
                .unwrap();
            assert_eq!(read(written.path()).unwrap().len(), 3, "cut at {cut}");
        }
    }

    #[test]
    fn damage_before_the_last_line_is_an_error_that_names_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let written = journal(folder.path());
        let mut bytes = std::fs::read(written.path()).unwrap();
        let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 20;
        bytes[second] ^= 1;
        std::fs::write(written.path(), bytes).unwrap();

        let error = read(written.path()).unwrap_err();

        assert!(error.to_string().contains("damaged at line 2"), "{error}");
    }
    #[test]
    fn the_end_of_a_journal_tells_how_it_ended_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = journal(folder.path());
        let outcome = Outcome::Completed;

        let before = outcome_at_end(journal.path());
        let event = Event::Ended {
            outcome: outcome.clone(),
        };
        journal.write(Moment(4), event).unwrap();
        let after = outcome_at_end(journal.path());
        let whole = std::fs::read(journal.path()).unwrap();
        std::fs::write(journal.path(), &whole[..whole.len() - 1]).unwrap();
        let torn = outcome_at_end(journal.path());

        assert_eq!((before, after, torn), (None, Some(outcome), None));
    }

    #[test]
    fn a_last_line_that_is_longer_than_the_end_tells_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = journal(folder.path());
        let reason = "x".repeat(usize::try_from(END_BYTES).unwrap());

        let outcome = Outcome::RolledBack { reason };
        journal.write(Moment(4), Event::Ended { outcome }).unwrap();

        assert_eq!(outcome_at_end(journal.path()), None);
    }

    #[test]
    fn a_reader_returns_every_entry_once_and_a_torn_one_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let written = journal(folder.path());
        let whole = std::fs::read(written.path()).unwrap();
        let torn = whole.len() - 7;
        let path = folder.path().join("read");
        std::fs::write(&path, &whole[..torn]).unwrap();

        let mut reader = Reader::at_start(&path);
        let mut read = vec![reader.news().unwrap().len(), reader.news().unwrap().len()];
        std::fs::write(&path, &whole).unwrap();
        read.push(reader.news().unwrap().len());
        let mut damaged = whole.clone();
        damaged.extend_from_slice(b"no entry\nno entry\n");
        std::fs::write(&path, damaged).unwrap();
        let error = reader.news().unwrap_err();

        assert_eq!(read, [2, 0, 1]);
        assert!(error.to_string().contains("damaged at line 4"), "{error}");
    }
}
