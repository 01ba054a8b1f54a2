//! Attacks on disk: SQLite in one file. Knows files and records, nothing that runs; [`writer`] keeps the disk's pace
//! away from whoever saves.

mod writer;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use thiserror::Error;

use crate::record::AttackRecord;

pub use writer::{StoreHandle, spawn};

/// The layout of the file that this version writes, in `PRAGMA user_version`.
const VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE attacks (
    id TEXT PRIMARY KEY,
    alive INTEGER NOT NULL,
    state TEXT NOT NULL,
    target TEXT NOT NULL,
    direction TEXT NOT NULL,
    detected_ms INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT;
CREATE INDEX attacks_alive ON attacks (alive) WHERE alive = 1;
CREATE INDEX attacks_detected ON attacks (detected_ms);
";

/// What can go wrong with the file.
#[derive(Debug, Error)]
pub enum Error {
    /// The file is not a database, or its content contradicts itself.
    #[error("{}: damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file was written by a later version.
    #[error("{}: written by a newer Levee (layout {found}; this one knows up to {known})", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its layout.
        found: i64,
        /// The layout of this version.
        known: i64,
    },
    /// It cannot be opened, read or written: rights, a full disk, a lock.
    #[error("{}: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

/// The open file. One thread's own.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens the file, or makes it. Checks that it is sound and of a layout known here.
    pub fn open(path: &Path) -> Result<Store, Error> {
        let fail = |source| classify(path, source);
        let connection = Connection::open(path).map_err(fail)?;
        let mut store = Store { connection, path: path.to_owned() };
        store.prepare().map_err(fail)?;
        store.check().map_err(fail)?.map_or(Ok(()), |reason| Err(Error::Damaged { path: path.to_owned(), reason }))?;
        let found = store.version().map_err(fail)?;
        match found {
            0 => store.create().map_err(fail)?,
            VERSION => (),
            _ => return Err(Error::Newer { path: path.to_owned(), found, known: VERSION }),
        }
        Ok(store)
    }

    /// WAL: readers do not wait, and a kill at any moment leaves whole transactions. synchronous=FULL: a power cut must
    /// not forget an attack whose rules stand at an engine; the wait for the disk is the writer thread's alone.
    fn prepare(&self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(std::time::Duration::from_secs(2))?;
        self.connection.pragma_update(None, "journal_mode", "wal")?;
        self.connection.pragma_update(None, "synchronous", "full")
    }

    fn check(&self) -> rusqlite::Result<Option<String>> {
        let found: String = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok((found != "ok").then_some(found))
    }

    fn version(&self) -> rusqlite::Result<i64> {
        self.connection.query_row("PRAGMA user_version", [], |row| row.get(0))
    }

    fn create(&mut self) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()
    }

    /// Writes records in one transaction, each in place of what was there for its id.
    pub fn save<'a>(&mut self, records: impl IntoIterator<Item = &'a AttackRecord>) -> Result<(), Error> {
        let path = self.path.clone();
        self.replace(records).map_err(|source| classify(&path, source))
    }

    fn replace<'a>(&mut self, records: impl IntoIterator<Item = &'a AttackRecord>) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO attacks (id, alive, state, target, direction, detected_ms, record)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO UPDATE SET
                 alive = excluded.alive, state = excluded.state, record = excluded.record",
            )?;
            for record in records {
                let json = serde_json::to_string(record)
                    .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
                insert.execute(params![
                    record.id.to_string(),
                    record.state.is_alive(),
                    record.state.as_str(),
                    record.target.prefix.to_string(),
                    record.target.direction.to_string(),
                    record.detected_ms,
                    json,
                ])?;
            }
        }
        transaction.commit()
    }

    /// Attacks whose life goes on, the oldest first.
    pub fn alive(&self) -> Result<Vec<AttackRecord>, Error> {
        self.read("SELECT record FROM attacks WHERE alive = 1 ORDER BY detected_ms, id LIMIT ?1", i64::MAX)
    }

    /// The newest attacks, alive or not, the newest first.
    pub fn recent(&self, limit: usize) -> Result<Vec<AttackRecord>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read("SELECT record FROM attacks ORDER BY detected_ms DESC, id DESC LIMIT ?1", limit)
    }

    /// One attack, if it is known.
    pub fn get(&self, id: uuid::Uuid) -> Result<Option<AttackRecord>, Error> {
        let json: Option<String> = self
            .connection
            .query_row("SELECT record FROM attacks WHERE id = ?1", [id.to_string()], |row| row.get(0))
            .optional()
            .map_err(|source| classify(&self.path, source))?;
        json.map(|json| self.parse(&json)).transpose()
    }

    fn read(&self, query: &str, limit: i64) -> Result<Vec<AttackRecord>, Error> {
        let rows: rusqlite::Result<Vec<String>> = (|| {
            let mut statement = self.connection.prepare(query)?;
            let rows = statement.query_map([limit], |row| row.get(0))?;
            rows.collect()
        })();
        let rows = rows.map_err(|source| classify(&self.path, source))?;
        rows.iter().map(|json| self.parse(json)).collect()
    }

    fn parse(&self, json: &str) -> Result<AttackRecord, Error> {
        serde_json::from_str(json).map_err(|error| Error::Damaged {
            path: self.path.clone(),
            reason: format!("a record cannot be read: {error}"),
        })
    }
}

/// A damaged file is told from one that cannot be used just now.
fn classify(path: &Path, source: rusqlite::Error) -> Error {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            Error::Damaged { path, reason: source.to_string() }
        }
        _ => Error::Sqlite { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::State;
    use crate::record::samples::{attack, rule};

    #[test]
    fn what_was_saved_is_there_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        let mut one = attack("198.18.0.1/32", State::Mitigating);
        one.rules = vec![rule("198.18.0.1/32", Some("203.0.113.0/24"), 3)];
        let mut two = attack("2001:db8::1/128", State::Detected);
        two.detected_ms = 2_000;
        let over = attack("198.18.0.3/32", State::Ended);
        {
            let mut store = Store::open(&path).unwrap();
            store.save([&one, &two, &over]).unwrap();
            one.state = State::Ending;
            store.save([&one]).unwrap();
        }
        let store = Store::open(&path).unwrap();
        assert_eq!(store.alive().unwrap(), [one.clone(), two.clone()]);
        assert_eq!(store.recent(1).unwrap(), [two]);
        assert_eq!(store.recent(10).unwrap().len(), 3);
        assert_eq!(store.get(one.id).unwrap(), Some(one));
        assert_eq!(store.get(uuid::Uuid::nil()).unwrap(), None);
    }

    #[test]
    fn a_file_that_is_no_database_is_damaged_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        std::fs::write(&path, "this is no database. ".repeat(300)).unwrap();
        assert!(matches!(Store::open(&path), Err(Error::Damaged { .. })));
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("this is no database"));
    }

    #[test]
    fn a_file_with_a_torn_page_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        let mut store = Store::open(&path).unwrap();
        let records: Vec<_> = (0..200).map(|_| attack("198.18.0.1/32", State::Ended)).collect();
        store.save(&records).unwrap();
        drop(store);
        let mut bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() > 5 * 4096);
        bytes[4096..3 * 4096].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(Store::open(&path), Err(Error::Damaged { .. })));
    }

    #[test]
    fn a_newer_layout_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        Store::open(&path).unwrap().connection.pragma_update(None, "user_version", 7).unwrap();
        assert!(matches!(Store::open(&path), Err(Error::Newer { found: 7, known: 1, .. })));
    }

    #[test]
    fn a_record_that_cannot_be_read_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("levee.db")).unwrap();
        store.save([&attack("198.18.0.1/32", State::Detected)]).unwrap();
        store.connection.execute("UPDATE attacks SET record = '{}'", []).unwrap();
        assert!(matches!(store.alive(), Err(Error::Damaged { .. })));
    }

    #[test]
    fn a_folder_that_is_not_there_is_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nowhere").join("levee.db");
        assert!(matches!(Store::open(&path), Err(Error::Sqlite { .. })));
    }
}
