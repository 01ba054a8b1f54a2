//! The outbox on disk: what scripts and webhooks are to be told, one row a letter, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::{Error, Store, classify};
use crate::actions::notify::letter::{Kept, Letter};

/// Adds letters, and takes those out that are done with.
pub(super) fn put(
    connection: &Connection,
    letters: &BTreeMap<u64, Arc<Letter>>,
    done: &BTreeSet<u64>,
) -> rusqlite::Result<()> {
    for (seq, letter) in letters {
        let json = serde_json::to_string(&**letter)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let insert = "INSERT OR REPLACE INTO outbox (seq, letter) VALUES (?1, ?2)";
        connection.prepare_cached(insert)?.execute(params![*seq as i64, json])?;
    }
    for seq in done {
        connection.prepare_cached("DELETE FROM outbox WHERE seq = ?1")?.execute([*seq as i64])?;
    }
    Ok(())
}

/// What is to be delivered, as far as it can be read.
pub(super) fn get(connection: &Connection) -> rusqlite::Result<Kept> {
    let mut statement = connection.prepare("SELECT seq, letter FROM outbox ORDER BY seq")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, String>(1)?)))?;
    let mut kept = Kept::default();
    for (seq, json) in rows.map_while(Result::ok) {
        match serde_json::from_str::<Letter>(&json) {
            Ok(letter) => kept.letters.push(Letter { seq, ..letter }),
            Err(error) => {
                tracing::error!(seq, "a letter in the outbox cannot be read: {error}");
                kept.unreadable.push(seq);
            }
        }
    }
    Ok(kept)
}

impl Store {
    /// What is to be delivered.
    pub fn outbox(&self) -> Result<Kept, Error> {
        get(&self.connection).map_err(|source| classify(&self.path, source))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::{Disk, spawn, take_up};
    use super::*;
    use crate::actions::notify::letter::Changes;
    use crate::actions::notify::letter::samples::letter;
    use crate::record::State;
    use crate::record::samples::attack;

    fn seqs(path: &Path) -> Vec<u64> {
        Store::open(path).unwrap().outbox().unwrap().letters.iter().map(|letter| letter.seq).collect()
    }

    fn changes(posted: &[&Arc<Letter>], done: &[u64]) -> Changes {
        Changes { posted: posted.iter().map(|&letter| Arc::clone(letter)).collect(), done: done.to_vec() }
    }

    #[test]
    fn a_letter_is_there_with_its_record_until_it_is_done_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        let handle = spawn(Disk::new(Store::open(&path).unwrap()), Duration::from_secs(1_000)).unwrap();
        let [one, two, three] = [1, 2, 3].map(|seq| Arc::new(letter(seq, "198.18.0.1")));
        let record = Arc::new(attack("198.18.0.1/32", State::Detected));
        handle.save_with([Arc::clone(&record)], changes(&[&one, &two], &[]));
        let settle = |save| {
            while handle.settled() < save {
                std::thread::sleep(Duration::from_millis(1))
            }
        };
        settle(handle.save_with([], changes(&[&three], &[1])));
        assert_eq!(seqs(&path), [2, 3]);
        // What is posted and done with before the disk has either never comes there.
        settle(handle.save_with([], changes(&[&one], &[1, 2])));
        drop(handle);
        let found = take_up(&path, 10).unwrap();
        assert_eq!((found.outbox.letters, found.records.len()), (vec![Letter::clone(&three)], 1));
    }

    #[test]
    fn what_a_disk_that_stands_still_was_not_told_comes_later_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        let handle = spawn(Disk::new(Store::open(&path).unwrap()), Duration::from_secs(1_000)).unwrap();
        let letters: Vec<Arc<Letter>> = (1..=50).map(|seq| Arc::new(letter(seq, "198.18.0.1"))).collect();
        handle.save_with([], changes(&[&letters[0]], &[]));
        let blocker = Connection::open(&path).unwrap();
        while seqs(&path) != [1] || blocker.execute_batch("BEGIN IMMEDIATE").is_err() {}
        for letter in &letters[1..] {
            handle.save_with([], changes(&[letter], &[letter.seq - 1]));
            std::thread::sleep(Duration::from_millis(50));
        }
        while !handle.alarms().iter().any(|alarm| alarm.contains("cannot store")) {
            std::thread::sleep(Duration::from_millis(10));
        }
        blocker.execute_batch("COMMIT").unwrap();
        drop(handle);
        assert_eq!(seqs(&path), [50]);
    }

    #[test]
    fn one_that_cannot_be_read_holds_up_no_other_and_damage_elsewhere_takes_none_along() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        let mut store = Store::open(&path).unwrap();
        store.save([&attack("198.18.0.1/32", State::Detected)]).unwrap();
        let letters: BTreeMap<u64, _> = (1..=3).map(|seq| (seq, Arc::new(letter(seq, "198.18.0.1")))).collect();
        put(&store.connection, &letters, &BTreeSet::new()).unwrap();
        store.connection.execute("UPDATE outbox SET letter = '{}' WHERE seq = 2", []).unwrap();
        let kept = store.outbox().unwrap();
        assert_eq!((kept.letters.len(), kept.unreadable), (2, vec![2]));
        store.connection.execute("UPDATE attacks SET record = '{}'", []).unwrap();
        drop(store);
        let mut found = take_up(&path, 10).unwrap();
        let taken: Vec<u64> = found.outbox.letters.iter().map(|letter| letter.seq).collect();
        assert_eq!(taken, [1, 3]);
        found.disk.save(&Default::default(), 0).unwrap();
        assert_eq!(seqs(&path), [1, 3], "in the new file, too");
    }
}
