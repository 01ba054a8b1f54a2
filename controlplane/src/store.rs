//! Attacks on disk: SQLite in one file. Knows files and records, nothing that runs; [`writer`] keeps the disk's pace
//! away from whoever saves.

mod acts;
mod archive;
mod outbox;
mod recovery;
mod switches;
pub(crate) mod writer;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, params};
use thiserror::Error;

use crate::crash::{self, Step, When};
use crate::record::AttackRecord;

pub use acts::put_pause;
pub use archive::Archive;
#[cfg(test)]
pub(crate) use recovery::lost_sight_of;
pub use recovery::{Disk, Found, take_up};
pub use switches::Ledger;
use writer::Batch;
pub use writer::{StoreHandle, spawn};

/// The layout of the file that this version writes, in `PRAGMA user_version`.
const VERSION: i64 = LAYOUTS.len() as i64;

/// What makes each layout of the one before.
const LAYOUTS: [&str; 5] = [
    "
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
",
    // What a search goes by: the target's first address, what was crossed, and the end, which is none while it is alive.
    "
ALTER TABLE attacks ADD COLUMN first BLOB NOT NULL DEFAULT x'';
ALTER TABLE attacks ADD COLUMN kind TEXT NOT NULL DEFAULT '';
ALTER TABLE attacks ADD COLUMN ended_ms INTEGER;
DROP INDEX attacks_detected;
CREATE INDEX attacks_detected ON attacks (detected_ms, id);
CREATE INDEX attacks_first ON attacks (first);
CREATE INDEX attacks_target ON attacks (target);
CREATE INDEX attacks_kind ON attacks (kind, detected_ms);
CREATE INDEX attacks_ended ON attacks (ended_ms) WHERE alive = 0;
",
    // What persons did, and the pause of all actions while there is one.
    "
CREATE TABLE acts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ms INTEGER NOT NULL,
    who TEXT NOT NULL,
    act TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE TABLE pause (
    only INTEGER PRIMARY KEY CHECK (only = 0),
    pause TEXT NOT NULL
) STRICT;
",
    // The switches of a MITIGATOR that are held.
    "
CREATE TABLE switches (
    only INTEGER PRIMARY KEY CHECK (only = 0),
    switches TEXT NOT NULL
) STRICT;
",
    // What scripts and webhooks are to be told.
    "
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY,
    letter TEXT NOT NULL
) STRICT;
",
];

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

impl Error {
    /// Whether the same connection may do better later: the disk is full, or somebody has the lock.
    fn passes(&self) -> bool {
        let Error::Sqlite { source, .. } = self else { return false };
        matches!(
            source.sqlite_error_code(),
            Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        )
    }
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
            VERSION => (),
            0..VERSION => store.upgrade(found as usize)?,
            _ => return Err(Error::Newer { path: path.to_owned(), found, known: VERSION }),
        }
        Ok(store)
    }

    /// Opens a file that cannot be written just now, for what it has on record.
    fn open_to_read(path: &Path) -> Result<Store, Error> {
        let fail = |source| classify(path, source);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let open = |address: &str| -> rusqlite::Result<Store> {
            let store = Store { connection: Connection::open_with_flags(address, flags)?, path: path.to_owned() };
            store.version()?;
            Ok(store)
        };
        // Without a log beside it, which a clean end leaves, SQLite may find no place for one: then nobody writes either.
        let address = format!("file:{}", path.display());
        open(&address).or_else(|_| open(&format!("{address}?immutable=1"))).map_err(fail)
    }

    /// How many frames of the write-ahead log hold.
    fn replayed(&self) -> rusqlite::Result<usize> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(passive)", [], |row| row.get::<_, i64>(1))
            .map(|frames| frames.max(0) as usize)
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

    /// Makes the layout of this version of an earlier one, or of nothing: all of it or, when it is cut short, none of it.
    fn upgrade(&mut self, found: usize) -> Result<(), Error> {
        self.write(|transaction, path| {
            let fail = |source| classify(path, source);
            for layout in &LAYOUTS[found..] {
                transaction.execute_batch(layout).map_err(fail)?;
            }
            for json in rows(transaction, "SELECT record FROM attacks LIMIT ?1", i64::MAX).map_err(fail)? {
                put(transaction, &parse(path, &json)?).map_err(fail)?;
            }
            transaction.pragma_update(None, "user_version", VERSION).map_err(fail)
        })
    }

    /// Writes records in one transaction, each in place of what was there for its id.
    pub fn save<'a>(&mut self, records: impl IntoIterator<Item = &'a AttackRecord>) -> Result<(), Error> {
        self.write(|transaction, path| {
            records.into_iter().try_for_each(|record| put(transaction, record)).map_err(|source| classify(path, source))
        })
    }

    /// Writes all that waited, likewise.
    fn save_batch(&mut self, batch: &Batch) -> Result<(), Error> {
        self.write(|transaction, path| {
            let records = batch.records.values().try_for_each(|record| put(transaction, record));
            let pause = batch.pause.as_ref().map(Option::as_ref);
            records
                .and_then(|()| acts::put(transaction, &batch.acts, pause))
                .and_then(|()| switches::put(transaction, batch.switches.as_deref()))
                .and_then(|()| outbox::put(transaction, &batch.letters, &batch.done))
                .map_err(|source| classify(path, source))
        })
    }

    /// Forgets attacks that were over before this time, at most so many at once. Gives how many they were.
    pub fn forget(&mut self, before_ms: i64, most: usize) -> Result<usize, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let forget = "DELETE FROM attacks WHERE id IN
                      (SELECT id FROM attacks WHERE alive = 0 AND ended_ms < ?1 ORDER BY ended_ms LIMIT ?2)";
        self.write(|transaction, path| {
            transaction.execute(forget, params![before_ms, most]).map_err(|source| classify(path, source))
        })
    }

    /// The one way to the file: all of a change or, when it is cut short, none of it.
    fn write<T>(&mut self, change: impl FnOnce(&Transaction<'_>, &Path) -> Result<T, Error>) -> Result<T, Error> {
        let path = self.path.clone();
        crash::point(Step::Write, When::Before);
        let transaction = self.connection.transaction().map_err(|source| classify(&path, source))?;
        let changed = change(&transaction, &path)?;
        crash::point(Step::Write, When::After);
        transaction.commit().map_err(|source| classify(&path, source))?;
        crash::point(Step::Commit, When::After);
        Ok(changed)
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
        json.map(|json| parse(&self.path, &json)).transpose()
    }

    fn read(&self, query: &str, limit: i64) -> Result<Vec<AttackRecord>, Error> {
        let rows = rows(&self.connection, query, limit).map_err(|source| classify(&self.path, source))?;
        rows.iter().map(|json| parse(&self.path, json)).collect()
    }
}

fn rows(connection: &Connection, query: &str, limit: i64) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(query)?;
    let rows = statement.query_map([limit], |row| row.get(0))?;
    rows.collect()
}

/// Writes a record in place of what was there for its id.
fn put(connection: &Connection, record: &AttackRecord) -> rusqlite::Result<()> {
    let json =
        serde_json::to_string(record).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO attacks (id, alive, state, target, direction, detected_ms, record, first, kind, ended_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (id) DO UPDATE SET
         alive = excluded.alive, state = excluded.state, record = excluded.record, first = excluded.first,
         kind = excluded.kind, ended_ms = excluded.ended_ms",
    )?;
    insert.execute(params![
        record.id.to_string(),
        record.state.is_alive(),
        record.state.as_str(),
        record.target.prefix.to_string(),
        record.target.direction.to_string(),
        record.detected_ms,
        json,
        archive::first(record.target.prefix),
        record.kind(),
        record.ended_ms,
    ])?;
    Ok(())
}

fn parse(path: &Path, json: &str) -> Result<AttackRecord, Error> {
    serde_json::from_str(json)
        .map_err(|error| Error::Damaged { path: path.to_owned(), reason: format!("a record cannot be read: {error}") })
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
        assert!(matches!(Store::open(&path), Err(Error::Newer { found: 7, known: VERSION, .. })));
    }

    #[test]
    fn a_file_of_the_first_layout_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        let mut over = attack("198.18.0.1/32", State::Ended);
        over.ended_ms = Some(5_000);
        let old = Connection::open(&path).unwrap();
        old.execute_batch(LAYOUTS[0]).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        let insert = "INSERT INTO attacks VALUES (?1, 0, 'ended', '198.18.0.1/32', 'incoming', 1000, ?2)";
        old.execute(insert, params![over.id.to_string(), serde_json::to_string(&over).unwrap()]).unwrap();
        drop(old);
        drop(Store::open(&path).unwrap());
        assert_eq!(Store::open(&path).unwrap().recent(10).unwrap(), [over.clone()]);
        let search = crate::search::Search {
            host: Some("198.18.0.0/24".parse().unwrap()),
            kinds: vec![over.kind()],
            since_ms: Some(5_000),
            limit: 10,
            ..Default::default()
        };
        assert_eq!(Archive::new(path).search(&search).unwrap(), [over]);
    }

    #[test]
    fn what_was_over_long_ago_is_forgotten_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(&folder.path().join("levee.db")).unwrap();
        let records: Vec<_> = (0..10)
            .map(|n| {
                let mut record = attack("198.18.0.1/32", if n == 0 { State::Mitigating } else { State::Ended });
                record.ended_ms = (n > 0).then_some(n * 1_000);
                record
            })
            .collect();
        store.save(&records).unwrap();
        assert_eq!(store.forget(6_000, 3).unwrap(), 3);
        assert_eq!(store.forget(6_000, 3).unwrap(), 2);
        assert_eq!(store.forget(6_000, 3).unwrap(), 0);
        assert_eq!(store.recent(100).unwrap().len(), 5);
        assert_eq!(store.alive().unwrap(), records[..1]);
        assert_eq!(store.get(records[5].id).unwrap(), None, "the last one before that time");
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
