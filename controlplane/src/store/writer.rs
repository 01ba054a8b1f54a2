//! A thread that writes records, so that nobody waits for the disk. What piles up meanwhile shrinks to the newest
//! record of each attack; what could not be written is tried again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use uuid::Uuid;

use super::Store;
use crate::by_hand::{Act, Pause};
use crate::record::AttackRecord;

/// Most attacks that may wait for the disk. One more is not kept, and counted.
const PENDING_MAX: usize = 20_000;
/// Most acts of persons that may wait for the disk; further ones are counted, too.
const ACTS_PENDING_MAX: usize = 10_000;
/// What could not be written is tried again at least this often.
const RETRY: Duration = Duration::from_secs(1);
/// What is too old is looked for this often.
const FORGET_PERIOD: Duration = Duration::from_secs(600);
/// So few are forgotten at a time that no record waits for it; where there are more, it goes on a moment later.
const FORGET_MAX: usize = 200;

#[derive(Debug, Default)]
struct Pending {
    /// Attacks that were over before this time are forgotten.
    history: Duration,
    newest: BTreeMap<Uuid, Arc<AttackRecord>>,
    acts: Vec<Act>,
    /// The pause, or that there is none, where that is news.
    pause: Option<Option<Pause>>,
    lost: u64,
    error: Option<String>,
}

/// Hands records to the writer thread. Dropping it writes what is pending and waits for that.
#[derive(Debug)]
pub struct StoreHandle {
    pending: Arc<Mutex<Pending>>,
    // One wake-up in the channel is enough for whatever is pending.
    wake: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the writer thread. Attacks that are over are forgotten after the time that `history` says.
pub fn spawn(store: Store, history: Duration) -> std::io::Result<StoreHandle> {
    let pending = Arc::new(Mutex::new(Pending { history, ..Pending::default() }));
    let (wake, woken) = bounded(1);
    let theirs = Arc::clone(&pending);
    let thread = std::thread::Builder::new().name("store".into()).spawn(move || run(store, &theirs, &woken))?;
    Ok(StoreHandle { pending, wake: Some(wake), thread: Some(thread) })
}

impl StoreHandle {
    /// Has the record written soon. Never waits for the disk.
    pub fn save(&self, record: Arc<AttackRecord>) {
        let mut pending = lock(&self.pending);
        if pending.newest.len() >= PENDING_MAX && !pending.newest.contains_key(&record.id) {
            pending.lost += 1;
            return;
        }
        pending.newest.insert(record.id, record);
        drop(pending);
        self.wake_up();
    }

    /// Has written soon what a person did, and, where that changes it, the pause.
    pub fn note_down(&self, act: Act, pause: Option<Option<Pause>>) {
        let mut pending = lock(&self.pending);
        if pending.acts.len() < ACTS_PENDING_MAX {
            pending.acts.push(act)
        } else {
            pending.lost += 1
        }
        pending.pause = pause.or_else(|| pending.pause.take());
        drop(pending);
        self.wake_up();
    }

    fn wake_up(&self) {
        // Full means that a wake-up is under way.
        let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
    }

    /// Attacks that are over are forgotten after this time from now on.
    pub fn set_history(&self, history: Duration) {
        lock(&self.pending).history = history;
    }

    /// What an operator should know: that records cannot be written, or were lost. None when all is well.
    pub fn alarm(&self) -> Option<String> {
        let pending = lock(&self.pending);
        let waiting = pending.newest.len();
        match (&pending.error, pending.lost) {
            (None, 0) => None,
            (None, lost) => Some(format!("{lost} records were not stored: too many were waiting")),
            (Some(error), lost) => Some(format!("cannot store attacks: {error}; {waiting} waiting, {lost} lost")),
        }
    }
}

impl Drop for StoreHandle {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(mut store: Store, pending: &Mutex<Pending>, woken: &Receiver<()>) {
    let mut forget_at = Instant::now();
    loop {
        let last = match woken.recv_timeout(RETRY) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        write(&mut store, pending);
        if last {
            return;
        }
        if Instant::now() >= forget_at && forget(&mut store, lock(pending).history) {
            forget_at = Instant::now() + FORGET_PERIOD;
        }
    }
}

/// Whether that is all for now.
fn forget(store: &mut Store, history: Duration) -> bool {
    let before = SystemTime::now().checked_sub(history).and_then(|before| before.duration_since(UNIX_EPOCH).ok());
    let Some(before) = before else { return true };
    match store.forget(before.as_millis() as i64, FORGET_MAX) {
        Ok(forgotten) => forgotten < FORGET_MAX,
        Err(error) => {
            tracing::warn!("old attacks cannot be forgotten: {error}");
            true
        }
    }
}

/// Writes what is pending; puts it back if that fails, unless something newer came meanwhile.
fn write(store: &mut Store, pending: &Mutex<Pending>) {
    let (batch, acts, pause) = {
        let mut pending = lock(pending);
        (std::mem::take(&mut pending.newest), std::mem::take(&mut pending.acts), pending.pause.take())
    };
    if !batch.is_empty() {
        let result = store.save(batch.values().map(Arc::as_ref));
        let mut pending = lock(pending);
        pending.error = result.err().map(|error| error.to_string());
        if pending.error.is_some() {
            for (id, record) in batch {
                pending.newest.entry(id).or_insert(record);
            }
        }
    }
    if !acts.is_empty() {
        let result = store.note_down(&acts, pause.as_ref().map(Option::as_ref));
        let mut pending = lock(pending);
        pending.error = result.err().map(|error| error.to_string());
        if pending.error.is_some() {
            pending.acts.splice(..0, acts);
            pending.pause = pending.pause.take().or(pause);
        }
    }
}

/// A thread that panicked while it held the lock left whole records behind.
fn lock(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::record::State;
    use crate::record::samples::attack;

    const HISTORY: Duration = Duration::from_secs(86_400 * 365 * 200);

    fn until(what: &str, mut condition: impl FnMut() -> bool) {
        for _ in 0..1000 {
            if condition() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("never came: {what}");
    }

    fn noted(path: &Path, id: Uuid) -> Option<String> {
        Store::open(path).unwrap().get(id).unwrap().map(|record| record.note)
    }

    #[test]
    fn records_reach_the_disk_without_a_flush() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        let handle = spawn(Store::open(&path).unwrap(), HISTORY).unwrap();
        let record = attack("198.18.0.1/32", State::Detected);
        handle.save(Arc::new(record.clone()));
        until("the record", || Store::open(&path).unwrap().alive().unwrap() == [record.clone()]);
        assert_eq!(handle.alarm(), None);
    }

    #[test]
    fn a_disk_that_stands_still_costs_no_newest_record_and_no_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        let handle = spawn(Store::open(&path).unwrap(), HISTORY).unwrap();
        let blocker = rusqlite::Connection::open(&path).unwrap();
        blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut records = [attack("198.18.0.1/32", State::Detected), attack("198.18.0.2/32", State::Detected)];
        let started = std::time::Instant::now();
        for version in 0..1000 {
            for record in &mut records {
                record.note = version.to_string();
                handle.save(Arc::new(record.clone()));
            }
        }
        assert!(started.elapsed() < Duration::from_secs(1), "saving waited for the disk");
        assert!(lock(&handle.pending).newest.len() <= 2);
        until("the alarm", || handle.alarm().is_some_and(|alarm| alarm.contains("cannot store attacks")));
        assert_eq!(noted(&path, records[0].id), None);
        blocker.execute_batch("COMMIT").unwrap();
        until("the end of the alarm", || handle.alarm().is_none());
        for record in &records {
            assert_eq!(noted(&path, record.id).as_deref(), Some("999"));
        }
    }

    #[test]
    fn dropping_writes_what_is_pending() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        let handle = spawn(Store::open(&path).unwrap(), HISTORY).unwrap();
        let records: Vec<_> = (0..300).map(|_| attack("198.18.0.1/32", State::Ended)).collect();
        for record in &records {
            handle.save(Arc::new(record.clone()));
        }
        drop(handle);
        assert_eq!(Store::open(&path).unwrap().recent(1000).unwrap().len(), records.len());
    }

    #[test]
    fn old_attacks_are_forgotten_bit_by_bit_while_records_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        let mut store = Store::open(&path).unwrap();
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let over = |age_ms: i64| {
            let mut record = attack("198.18.0.1/32", State::Ended);
            record.ended_ms = Some(now_ms - age_ms);
            record
        };
        let young = over(1_000);
        let old: Vec<_> = (0..FORGET_MAX * 2 + 5).map(|_| over(2 * 86_400_000)).collect();
        store.save(old.iter().chain([&young])).unwrap();
        let handle = spawn(store, Duration::from_secs(86_400)).unwrap();
        let fresh = over(0);
        handle.save(Arc::new(fresh.clone()));
        let reader = Store::open(&path).unwrap();
        until("the new record", || reader.get(fresh.id).unwrap().is_some());
        until("nothing old", || reader.recent(1_000).unwrap().len() == 2);
        assert!(reader.get(young.id).unwrap().is_some() && handle.alarm().is_none());
    }

    #[test]
    fn what_persons_did_and_the_pause_reach_the_disk_also_late() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        let handle = spawn(Store::open(&path).unwrap(), HISTORY).unwrap();
        let blocker = rusqlite::Connection::open(&path).unwrap();
        blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
        let act = |time_ms: i64, act: &str| Act { time_ms, by: "alice".into(), act: act.into(), text: "why".into() };
        let pause = Pause { since_ms: 1, until_ms: Some(9), by: "alice".into(), reason: "why".into() };
        handle.note_down(act(1, "pause"), Some(Some(pause.clone())));
        until("the alarm", || handle.alarm().is_some());
        handle.note_down(act(2, "ban"), None);
        blocker.execute_batch("COMMIT").unwrap();
        until("the pause", || Store::open(&path).unwrap().pause().unwrap() == Some(pause.clone()));
        until("the end of the alarm", || handle.alarm().is_none());
        handle.note_down(act(3, "resume"), Some(None));
        drop(handle);
        assert_eq!(Store::open(&path).unwrap().pause().unwrap(), None);
        let newest_first = [act(3, "resume"), act(2, "ban"), act(1, "pause")];
        assert_eq!(super::super::Archive::new(path).acts(10).unwrap(), newest_first);
    }

    #[test]
    fn too_many_pending_are_counted() {
        let handle = StoreHandle { pending: Arc::default(), wake: None, thread: None };
        let record = attack("198.18.0.1/32", State::Ended);
        for _ in 0..PENDING_MAX + 3 {
            handle.save(Arc::new(AttackRecord { id: Uuid::now_v7(), ..record.clone() }));
        }
        assert_eq!(lock(&handle.pending).newest.len(), PENDING_MAX);
        assert!(handle.alarm().unwrap().starts_with("3 records"));
    }
}
