//! What persons did, on disk: the newest so many acts, and the pause of all actions.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use super::writer::Batch;
use super::{Archive, Error, Store, classify};
use crate::by_hand::{Act, Pause};

/// So many acts are kept; older ones are forgotten.
const ACTS_MAX: i64 = 10_000;

/// Adds acts and, where it is given, puts the pause in place of what was known of it.
pub(super) fn put(connection: &Connection, acts: &[Act], pause: Option<Option<&Pause>>) -> rusqlite::Result<()> {
    for Act { time_ms, by, act, text } in acts {
        let insert = "INSERT INTO acts (time_ms, who, act, text) VALUES (?1, ?2, ?3, ?4)";
        connection.prepare_cached(insert)?.execute(params![time_ms, by, act, text])?;
    }
    if !acts.is_empty() {
        connection.execute("DELETE FROM acts WHERE id <= (SELECT MAX(id) FROM acts) - ?1", [ACTS_MAX])?;
    }
    if let Some(pause) = pause {
        connection.execute("DELETE FROM pause", [])?;
        if let Some(pause) = pause {
            let json = serde_json::to_string(pause)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
            connection.execute("INSERT INTO pause (only, pause) VALUES (0, ?1)", [json])?;
        }
    }
    Ok(())
}

/// Puts a pause on record while no daemon runs that would.
///
/// # Errors
/// When the file cannot be written.
pub fn put_pause(path: &Path, act: Act, pause: Pause) -> Result<(), Error> {
    let mut store = Store::open(path)?;
    store.save_batch(&Batch { acts: vec![act], pause: Some(Some(pause)), ..Batch::default() })
}

impl Store {
    /// The pause of all actions, if there is one.
    pub fn pause(&self) -> Result<Option<Pause>, Error> {
        let json = pause(&self.connection).map_err(|source| classify(&self.path, source))?;
        let damaged = |error| Error::Damaged { path: self.path.clone(), reason: format!("the pause: {error}") };
        json.map(|json| serde_json::from_str(&json).map_err(damaged)).transpose()
    }
}

impl Archive {
    /// What persons did, the newest first, at most so much.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn acts(&self, limit: usize) -> Result<Vec<Act>, Error> {
        let read = self.open().and_then(|connection| acts(&connection, limit));
        read.map_err(|source| classify(&self.path, source))
    }
}

/// The pause as it is stored.
pub(super) fn pause(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT pause FROM pause", [], |row| row.get(0)).optional()
}

/// The newest first.
pub(super) fn acts(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<Act>> {
    let mut statement = connection.prepare("SELECT time_ms, who, act, text FROM acts ORDER BY id DESC LIMIT ?1")?;
    let rows = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
        Ok(Act { time_ms: row.get(0)?, by: row.get(1)?, act: row.get(2)?, text: row.get(3)? })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_acts_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        let mut store = Store::open(&path).unwrap();
        let act = |time_ms| Act { time_ms, by: "bob".into(), act: "ban".into(), text: String::new() };
        for from in [0, ACTS_MAX] {
            let acts: Vec<Act> = (from..from + ACTS_MAX - 1).map(act).collect();
            store.save_batch(&Batch { acts, ..Batch::default() }).unwrap();
        }
        let kept = Archive::new(path).acts(usize::MAX).unwrap();
        assert_eq!(kept.len() as i64, ACTS_MAX);
        assert_eq!((kept[0].time_ms, kept[1].time_ms), (2 * ACTS_MAX - 2, 2 * ACTS_MAX - 3));
    }
}
