//! A thread that writes records, so that nobody waits for the disk. What piles up meanwhile shrinks to the newest
//! record of each attack; what could not be written is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use uuid::Uuid;

use super::Disk;
use crate::actions::notify::letter::{Changes, Letter};
use crate::by_hand::{Act, Pause};
use crate::detector::EventKind;
use crate::record::AttackRecord;

/// Most attacks that may wait for the disk. One more is not kept, and counted.
const PENDING_MAX: usize = 20_000;
/// Most acts of persons that may wait for the disk; further ones are counted, too.
const ACTS_PENDING_MAX: usize = 10_000;
/// Most letters done with that may wait for the disk; the oldest of more are delivered once more after a restart.
const DONE_PENDING_MAX: usize = 100_000;
/// What could not be written is tried again at least this often.
const RETRY: Duration = Duration::from_secs(1);
/// What is too old is looked for this often.
const FORGET_PERIOD: Duration = Duration::from_secs(600);
/// So few are forgotten at a time that no record waits for it; where there are more, it goes on a moment later.
const FORGET_MAX: usize = 200;

/// Alarms and their ends that nobody asked for yet: no more than this are kept.
const NEWS_MAX: usize = 64;
/// Damage on record for people: the newest.
const DAMAGE_MAX: usize = 16;

/// Records that wait for the disk, and what became of those before.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Attacks that were over before this time are forgotten.
    history: Duration,
    newest: BTreeMap<Uuid, Arc<AttackRecord>>,
    acts: Vec<Act>,
    pause: Option<Option<Pause>>,
    switches: Option<String>,
    letters: BTreeMap<u64, Arc<Letter>>,
    done: BTreeSet<u64>,
    lost: u64,
    error: Option<String>,
    damage: Vec<String>,
    news: Vec<(EventKind, String)>,
    /// How many saves there were, and how many of them the disk was tried with.
    saves: u64,
    settled: u64,
}

/// What the disk is to be tried with.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The newest record of each attack.
    pub(crate) records: BTreeMap<Uuid, Arc<AttackRecord>>,
    /// What persons did.
    pub(super) acts: Vec<Act>,
    /// The pause, or that there is none, where that is news.
    pub(super) pause: Option<Option<Pause>>,
    /// The switches that are held at a MITIGATOR, where that is news.
    pub(super) switches: Option<String>,
    /// Letters that come into the outbox.
    pub(super) letters: BTreeMap<u64, Arc<Letter>>,
    /// Those that go, by place.
    pub(super) done: BTreeSet<u64>,
    pub(super) saves: u64,
}

impl Batch {
    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        let is_empty =
            self.records.is_empty() && self.acts.is_empty() && self.pause.is_none() && self.switches.is_none();
        is_empty && self.letters.is_empty() && self.done.is_empty()
    }
}

impl Pending {
    /// One more record. Gives the number of this save.
    pub(crate) fn save(&mut self, record: Arc<AttackRecord>) -> u64 {
        self.saves += 1;
        if self.newest.len() >= PENDING_MAX && !self.newest.contains_key(&record.id) {
            self.lost += 1;
        } else {
            self.newest.insert(record.id, record);
        }
        self.saves
    }

    /// What a person did, and, where that changes it, the pause. Gives the number of this save, too.
    fn note_down(&mut self, act: Act, pause: Option<Option<Pause>>) -> u64 {
        self.saves += 1;
        if self.acts.len() < ACTS_PENDING_MAX {
            self.acts.push(act)
        } else {
            self.lost += 1
        }
        self.pause = pause.or_else(|| self.pause.take());
        self.saves
    }

    /// What is new in the outbox. Gives the number of this save, too.
    fn post(&mut self, changes: Changes) -> u64 {
        self.saves += 1;
        self.letters.extend(changes.posted.into_iter().map(|letter| (letter.seq, letter)));
        for seq in changes.done {
            self.letters.remove(&seq);
            // It may be on its way to the disk.
            self.done.insert(seq);
        }
        while self.done.len() > DONE_PENDING_MAX {
            self.done.pop_first();
            self.lost += 1;
        }
        self.saves
    }

    /// The switches that are held. Gives the number of this save, too.
    pub(super) fn hold(&mut self, switches: String) -> u64 {
        self.saves += 1;
        self.switches = Some(switches);
        self.saves
    }

    /// The number of the last save that the disk was tried with.
    pub(crate) fn settled(&self) -> u64 {
        self.settled
    }

    /// All that waits.
    pub(crate) fn take(&mut self) -> Batch {
        let (records, acts) = (std::mem::take(&mut self.newest), std::mem::take(&mut self.acts));
        let (letters, done) = (std::mem::take(&mut self.letters), std::mem::take(&mut self.done));
        let (pause, switches) = (self.pause.take(), self.switches.take());
        Batch { records, acts, pause, switches, letters, done, saves: self.saves }
    }

    /// What came of it. What was not written waits again, unless something newer came meanwhile.
    pub(crate) fn done(&mut self, batch: Batch, error: Option<String>) {
        match (&self.error, &error) {
            (None, Some(error)) => self.tell(EventKind::Alarm, format!("cannot store attacks: {error}")),
            (Some(_), None) => self.tell(EventKind::Recovered, "attacks can be stored again".into()),
            _ => (),
        }
        if error.is_some() {
            for (id, record) in batch.records {
                self.newest.entry(id).or_insert(record);
            }
            self.acts.splice(..0, batch.acts);
            self.pause = self.pause.take().or(batch.pause);
            self.switches = self.switches.take().or(batch.switches);
            let open = batch.letters.into_iter().filter(|(seq, _)| !self.done.contains(seq));
            self.letters.extend(open.collect::<Vec<_>>());
            self.done.extend(batch.done);
        }
        self.error = error;
        self.settled = batch.saves;
    }

    fn damaged(&mut self, text: String) {
        self.tell(EventKind::Alarm, text.clone());
        self.damage.push(text);
        let excess = self.damage.len().saturating_sub(DAMAGE_MAX);
        self.damage.drain(..excess);
    }

    fn tell(&mut self, kind: EventKind, text: String) {
        if self.news.len() < NEWS_MAX {
            self.news.push((kind, text));
        }
    }
}

/// Hands records to the writer thread. Dropping it writes what is pending and waits for that.
#[derive(Debug)]
pub struct StoreHandle {
    pub(super) pending: Arc<Mutex<Pending>>,
    // One wake-up in the channel is enough for whatever is pending.
    pub(super) wake: Option<Arc<Sender<()>>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the writer thread. Attacks that are over are forgotten after the time that `history` says.
pub fn spawn(disk: Disk, history: Duration) -> std::io::Result<StoreHandle> {
    let pending = Arc::new(Mutex::new(Pending { history, ..Pending::default() }));
    let (wake, woken) = bounded(1);
    let theirs = Arc::clone(&pending);
    let thread = std::thread::Builder::new().name("store".into()).spawn(move || run(disk, &theirs, &woken))?;
    // The first look at the disk says what was found at the start.
    let _ = wake.try_send(());
    Ok(StoreHandle { pending, wake: Some(Arc::new(wake)), thread: Some(thread) })
}

impl StoreHandle {
    /// Keeps nothing: what is saved counts as written.
    pub fn nowhere() -> StoreHandle {
        StoreHandle { pending: Arc::default(), wake: None, thread: None }
    }

    /// Has the records written soon, in one transaction. Never waits for the disk. Gives the number of the last save.
    pub fn save(&self, records: impl IntoIterator<Item = Arc<AttackRecord>>) -> u64 {
        self.save_with(records, Changes::default())
    }

    /// The same, and what is new in the outbox.
    pub fn save_with(&self, records: impl IntoIterator<Item = Arc<AttackRecord>>, changes: Changes) -> u64 {
        let mut pending = lock(&self.pending);
        if !changes.is_empty() {
            pending.post(changes);
        }
        for record in records {
            pending.save(record);
        }
        let number = pending.saves;
        drop(pending);
        self.wake_up();
        number
    }

    /// Has written soon what a person did, and, where that changes it, the pause. Gives the number of this save.
    pub fn note_down(&self, act: Act, pause: Option<Option<Pause>>) -> u64 {
        let number = lock(&self.pending).note_down(act, pause);
        self.wake_up();
        number
    }

    fn wake_up(&self) {
        match &self.wake {
            // Full means that a wake-up is under way.
            Some(wake) => drop(wake.try_send(())),
            None => {
                let mut pending = lock(&self.pending);
                let batch = pending.take();
                pending.done(batch, None);
            }
        }
    }

    /// Attacks that are over are forgotten after this time from now on.
    pub fn set_history(&self, history: Duration) {
        lock(&self.pending).history = history;
    }

    /// The number of the last save that is written, or that the disk was tried with in vain.
    pub fn settled(&self) -> u64 {
        lock(&self.pending).settled()
    }

    /// What went wrong and what is well again since this was last asked.
    pub fn news(&self) -> Vec<(EventKind, String)> {
        std::mem::take(&mut lock(&self.pending).news)
    }

    /// What an operator should know: that records cannot be written, or were lost, or that a file was damaged. Empty when
    /// all is well.
    pub fn alarms(&self) -> Vec<String> {
        let pending = lock(&self.pending);
        let waiting = pending.newest.len();
        let mut alarms = pending.damage.clone();
        match (&pending.error, pending.lost) {
            (None, 0) => (),
            (None, lost) => alarms.push(format!("{lost} records were not stored: too many were waiting")),
            (Some(error), lost) => {
                alarms.push(format!("cannot store attacks: {error}; {waiting} waiting, {lost} lost"));
            }
        }
        alarms
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

fn run(mut disk: Disk, pending: &Mutex<Pending>, woken: &Receiver<()>) {
    let mut forget_at = Instant::now();
    loop {
        let last = match woken.recv_timeout(RETRY) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        write(&mut disk, pending);
        if last {
            return;
        }
        if Instant::now() >= forget_at && forget(&mut disk, lock(pending).history) {
            forget_at = Instant::now() + FORGET_PERIOD;
        }
    }
}

/// Whether that is all for now.
fn forget(disk: &mut Disk, history: Duration) -> bool {
    let before = SystemTime::now().checked_sub(history).and_then(|before| before.duration_since(UNIX_EPOCH).ok());
    let Some(before) = before else { return true };
    match disk.forget(before.as_millis() as i64, FORGET_MAX) {
        Ok(forgotten) => forgotten < FORGET_MAX,
        Err(error) => {
            tracing::warn!("old attacks cannot be forgotten: {error}");
            true
        }
    }
}

/// Tries the disk with all that is pending, in one transaction; also with nothing, to see whether it is well again.
fn write(disk: &mut Disk, pending: &Mutex<Pending>) {
    let batch = lock(pending).take();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let result = disk.save(&batch, now_ms);
    let mut pending = lock(pending);
    disk.damage().into_iter().for_each(|damage| pending.damaged(damage));
    pending.done(batch, result.err().map(|error| error.to_string()));
}

/// A thread that panicked while it held the lock left whole records behind.
pub(super) fn lock(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Store;
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
        let handle = spawn(Disk::new(Store::open(&path).unwrap()), HISTORY).unwrap();
        let record = attack("198.18.0.1/32", State::Detected);
        handle.save([Arc::new(record.clone())]);
        until("the record", || Store::open(&path).unwrap().alive().unwrap() == [record.clone()]);
        assert!(handle.alarms().is_empty() && handle.news().is_empty());
    }

    #[test]
    fn a_disk_that_stands_still_costs_no_newest_record_and_no_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        let handle = spawn(Disk::new(Store::open(&path).unwrap()), HISTORY).unwrap();
        let blocker = rusqlite::Connection::open(&path).unwrap();
        blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut records = [attack("198.18.0.1/32", State::Detected), attack("198.18.0.2/32", State::Detected)];
        let started = std::time::Instant::now();
        for version in 0..1000 {
            for record in &mut records {
                record.note = version.to_string();
                handle.save([Arc::new(record.clone())]);
            }
        }
        assert!(started.elapsed() < Duration::from_secs(1), "saving waited for the disk");
        assert!(lock(&handle.pending).newest.len() <= 2);
        until("the alarm", || handle.alarms().iter().any(|alarm| alarm.contains("cannot store attacks")));
        assert_eq!(noted(&path, records[0].id), None);
        blocker.execute_batch("COMMIT").unwrap();
        until("the end of the alarm", || handle.alarms().is_empty());
        for record in &records {
            assert_eq!(noted(&path, record.id).as_deref(), Some("999"));
        }
    }

    #[test]
    fn dropping_writes_what_is_pending() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        let handle = spawn(Disk::new(Store::open(&path).unwrap()), HISTORY).unwrap();
        let records: Vec<_> = (0..300).map(|_| attack("198.18.0.1/32", State::Ended)).collect();
        for record in &records {
            handle.save([Arc::new(record.clone())]);
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
        let handle = spawn(Disk::new(store), Duration::from_secs(86_400)).unwrap();
        let fresh = over(0);
        handle.save([Arc::new(fresh.clone())]);
        let reader = Store::open(&path).unwrap();
        until("the new record", || reader.get(fresh.id).unwrap().is_some());
        until("nothing old", || reader.recent(1_000).unwrap().len() == 2);
        assert!(reader.get(young.id).unwrap().is_some() && handle.alarms().is_empty());
    }

    #[test]
    fn what_persons_did_and_the_pause_reach_the_disk_also_late() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        let handle = spawn(Disk::new(Store::open(&path).unwrap()), HISTORY).unwrap();
        let blocker = rusqlite::Connection::open(&path).unwrap();
        blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
        let act = |time_ms: i64, act: &str| Act { time_ms, by: "alice".into(), act: act.into(), text: "why".into() };
        let pause =
            Pause { since_ms: 1, until_ms: Some(9), by: "alice".into(), reason: "why".into(), withdrawn: false };
        handle.note_down(act(1, "pause"), Some(Some(pause.clone())));
        until("the alarm", || !handle.alarms().is_empty());
        handle.note_down(act(2, "ban"), None);
        blocker.execute_batch("COMMIT").unwrap();
        until("the pause", || Store::open(&path).unwrap().pause().unwrap() == Some(pause.clone()));
        until("the end of the alarm", || handle.alarms().is_empty());
        handle.note_down(act(3, "resume"), Some(None));
        drop(handle);
        assert_eq!(Store::open(&path).unwrap().pause().unwrap(), None);
        let newest_first = [act(3, "resume"), act(2, "ban"), act(1, "pause")];
        assert_eq!(super::super::Archive::new(path).acts(10).unwrap(), newest_first);
    }

    #[test]
    fn what_goes_nowhere_is_settled_at_once_and_takes_no_room() {
        let handle = StoreHandle::nowhere();
        for number in 1..=3 {
            assert_eq!(handle.save([Arc::new(attack("198.18.0.1/32", State::Ended))]), number);
            assert_eq!(handle.settled(), number);
        }
        assert!(lock(&handle.pending).newest.is_empty() && handle.alarms().is_empty());
    }

    #[test]
    fn too_many_pending_are_counted() {
        let (wake, _woken) = bounded(1);
        let handle = StoreHandle { pending: Arc::default(), wake: Some(Arc::new(wake)), thread: None };
        let record = attack("198.18.0.1/32", State::Ended);
        for _ in 0..PENDING_MAX + 3 {
            handle.save([Arc::new(AttackRecord { id: Uuid::now_v7(), ..record.clone() })]);
        }
        assert_eq!(lock(&handle.pending).newest.len(), PENDING_MAX);
        assert!(handle.alarms()[0].starts_with("3 records"));
    }
}
