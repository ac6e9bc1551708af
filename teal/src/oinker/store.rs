//! The database that all instances share: one SQLite file in WAL mode.
//!
//! Other processes write to the same file, so any call may find it locked. Nothing here gives up
//! an oink: the caller repeats a failed insert, which is harmless because ids are unique.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

const BUSY_TIMEOUT: Duration = Duration::from_millis(500);
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
const OPEN_AGAIN_AFTER: Duration = Duration::from_millis(20);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS oinks (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        text TEXT NOT NULL,
        revision TEXT NOT NULL,
        instance TEXT NOT NULL,
        posted_at_ms INTEGER NOT NULL
    )";

/// One message, as it was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Oink {
    /// The unique id that the client chose.
    pub(super) id: String,
    /// What was said.
    pub(super) text: String,
    /// The revision that acknowledged it.
    pub(super) revision: String,
    /// The instance that acknowledged it.
    pub(super) instance: String,
    /// When it was acknowledged, in milliseconds since 1970.
    pub(super) posted_at_ms: i64,
}

/// One connection to the database.
pub(super) struct Store {
    connection: Connection,
}

impl Store {
    /// Opens the database and makes it if there is none. Many processes may do so at once.
    ///
    /// # Errors
    ///
    /// When the file cannot be used, or stays locked for 15 seconds.
    pub(super) fn open(database: &Path) -> anyhow::Result<Self> {
        let deadline = Instant::now() + OPEN_TIMEOUT;
        loop {
            match Self::try_open(database) {
                Ok(store) => return Ok(store),
                // Turning WAL on needs the file alone, and SQLite does not wait for that:
                // https://www.sqlite.org/wal.html#activating_and_configuring_wal_mode
                Err(error) if is_locked(&error) && Instant::now() < deadline => {
                    std::thread::sleep(OPEN_AGAIN_AFTER);
                }
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!(
                            "cannot open the database {}\nhint: its directory must exist and be \
                             writable",
                            database.display()
                        )
                    });
                }
            }
        }
    }

    fn try_open(database: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(database)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute(SCHEMA, ())?;
        Ok(Self { connection })
    }

    /// Commits oinks in one transaction: all of them or, on an error, none.
    ///
    /// # Errors
    ///
    /// When SQLite refuses, say because another process holds the lock.
    pub(super) fn insert(&mut self, oinks: &[Oink]) -> rusqlite::Result<()> {
        // Immediate: a deferred transaction that finds a newer write cannot wait for it, it fails.
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT OR IGNORE INTO oinks (id, text, revision, instance, posted_at_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for oink in oinks {
                insert.execute((
                    &oink.id,
                    &oink.text,
                    &oink.revision,
                    &oink.instance,
                    oink.posted_at_ms,
                ))?;
            }
        }
        transaction.commit()
    }

    /// Returns the last committed oinks, newest first.
    ///
    /// # Errors
    ///
    /// When SQLite refuses.
    pub(super) fn latest(&self, last: u64) -> rusqlite::Result<Vec<Oink>> {
        let mut select = self.connection.prepare_cached(
            "SELECT id, text, revision, instance, posted_at_ms FROM oinks
             ORDER BY position DESC LIMIT ?1",
        )?;
        let oinks = select.query_map((last.cast_signed(),), |row| {
            Ok(Oink {
                id: row.get(0)?,
                text: row.get(1)?,
                revision: row.get(2)?,
                instance: row.get(3)?,
                posted_at_ms: row.get(4)?,
            })
        })?;
        oinks.collect()
    }
}

/// Returns the ids of all committed oinks, to compare with what was acknowledged.
///
/// # Errors
///
/// When the database does not exist or cannot be read.
pub(crate) fn stored_ids(database: &Path) -> anyhow::Result<BTreeSet<String>> {
    // Read and write, because after a kill the reader is who recovers the write-ahead log.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let read = || -> rusqlite::Result<BTreeSet<String>> {
        let connection = Connection::open_with_flags(database, flags)?;
        connection.busy_timeout(OPEN_TIMEOUT)?;
        let mut select = connection.prepare("SELECT id FROM oinks")?;
        select.query_map((), |row| row.get(0))?.collect()
    };
    read().with_context(|| format!("cannot read the oinks in {}", database.display()))
}

fn is_locked(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_instances_may_open_and_write_a_new_database_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let database = directory.path().join("oinks.db");

        std::thread::scope(|scope| {
            for number in 0..8 {
                let database = &database;
                scope.spawn(move || {
                    let mut store = Store::open(database).expect("the database opens");
                    while store.insert(&[oink(&format!("oink-{number}"))]).is_err() {}
                });
            }
        });

        assert_eq!(
            stored_ids(&database)
                .expect("the database is readable")
                .len(),
            8
        );
    }

    #[test]
    fn an_oink_that_is_inserted_twice_is_stored_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = Store::open(&directory.path().join("oinks.db")).expect("it opens");

        store
            .insert(&[oink("a"), oink("b")])
            .expect("the first time");
        store
            .insert(&[oink("a"), oink("b")])
            .expect("the second time");

        let latest = store.latest(10).expect("it reads");
        assert_eq!(latest, [oink("b"), oink("a")]);
    }

    #[test]
    fn reading_the_ids_of_a_database_that_is_not_there_makes_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let database = directory.path().join("none.db");

        let error = stored_ids(&database).expect_err("there is no database");

        assert!(error.to_string().contains("none.db"), "{error}");
        assert!(!database.exists());
    }

    fn oink(id: &str) -> Oink {
        Oink {
            id: id.to_owned(),
            text: "oink".to_owned(),
            revision: "blue".to_owned(),
            instance: "blue.1".to_owned(),
            posted_at_ms: 1,
        }
    }
}
