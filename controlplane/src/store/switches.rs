//! The switches that are held at a MITIGATOR, on disk: one text, which is theirs to read.

use std::sync::{Arc, Mutex, Weak};

use crossbeam::channel::Sender;
use rusqlite::{Connection, OptionalExtension};

use super::writer::{Pending, StoreHandle, lock};
use super::{Error, Store, classify};

/// Puts the text, where it is given, in place of what was there.
pub(super) fn put(connection: &Connection, switches: Option<&str>) -> rusqlite::Result<()> {
    let Some(switches) = switches else { return Ok(()) };
    let put = "INSERT INTO switches (only, switches) VALUES (0, ?1)
               ON CONFLICT (only) DO UPDATE SET switches = excluded.switches";
    connection.prepare_cached(put)?.execute([switches]).map(drop)
}

/// The text as it is stored.
pub(super) fn get(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT switches FROM switches", [], |row| row.get(0)).optional()
}

impl Store {
    /// The switches that are held, as they were written.
    pub fn switches(&self) -> Result<Option<String>, Error> {
        get(&self.connection).map_err(|source| classify(&self.path, source))
    }
}

/// Has the held switches written. Does not keep the writer alive: without a [`StoreHandle`] nothing is written any more.
#[derive(Clone, Debug)]
pub struct Ledger {
    pending: Arc<Mutex<Pending>>,
    wake: Weak<Sender<()>>,
}

impl StoreHandle {
    /// For whoever holds switches.
    pub fn ledger(&self) -> Ledger {
        let wake = self.wake.as_ref().map(Arc::downgrade).unwrap_or_default();
        Ledger { pending: Arc::clone(&self.pending), wake }
    }
}

impl Ledger {
    /// Has this written soon, in place of what was there. Never waits for the disk. Gives the number of this save.
    pub fn save(&self, switches: String) -> u64 {
        let number = lock(&self.pending).hold(switches);
        if let Some(wake) = self.wake.upgrade() {
            // Full means that a wake-up is under way.
            let _ = wake.try_send(());
        }
        number
    }

    /// The number of the last save that is written, or that the disk was tried with in vain.
    pub fn settled(&self) -> u64 {
        lock(&self.pending).settled()
    }
}

#[cfg(test)]
impl Ledger {
    /// Where nothing is ever written.
    pub(crate) fn nowhere() -> Ledger {
        Ledger { pending: Arc::default(), wake: Weak::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Disk, spawn, take_up};
    use super::*;

    #[test]
    fn what_is_held_is_there_after_a_restart_and_damage_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        let handle = spawn(Disk::new(Store::open(&path).unwrap()), Duration::from_secs(1_000)).unwrap();
        let ledger = handle.ledger();
        ledger.save("one".to_owned());
        let last = ledger.save("two".to_owned());
        while ledger.settled() < last {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(Store::open(&path).unwrap().switches().unwrap().as_deref(), Some("two"));
        drop(handle);
        assert!(ledger.save("nobody writes it".to_owned()) > ledger.settled());
        assert_eq!(take_up(&path, 10).unwrap().switches.as_deref(), Some("two"));
    }
}
