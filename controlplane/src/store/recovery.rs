//! A state file as it may be found: sound, damaged, or out of reach. Nothing that was on disk is ever deleted: what is
//! damaged is put aside, and what can still be read of it is taken over.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use super::writer::Batch;
use super::{Error, Store, acts, outbox, switches};
use crate::actions::notify::letter::{Kept, Letter};
use crate::by_hand::Pause;
use crate::crash::{self, Step, When};
use crate::record::{AttackRecord, State};

/// What SQLite keeps beside the file.
const BESIDE: [&str; 3] = ["", "-wal", "-shm"];
/// A page, as SQLite has it by default.
const PAGE: u64 = 4096;
/// The write-ahead log: its header, and a frame: its header and a page.
const WAL_HEADER: usize = 32;
const WAL_FRAME: usize = 24 + PAGE as usize;
/// A log is checkpointed long before it is so large; a larger one is not looked at.
const WAL_MAX: u64 = 64 << 20;

/// The file, open or not just now.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    store: Option<Store>,
    /// What the file says is alive was never read: nobody takes care of it.
    unread: bool,
    damage: Vec<String>,
    /// What could be read of a damaged file, until it is in the new one.
    salvaged: Batch,
}

/// What a start finds.
#[derive(Debug)]
pub struct Found {
    /// The file.
    pub disk: Disk,
    /// What was alive, and the latest of what is over.
    pub records: Vec<AttackRecord>,
    /// The pause of all actions, if there is one.
    pub pause: Option<Pause>,
    /// The switches that are held at a MITIGATOR.
    pub switches: Option<String>,
    /// What scripts and webhooks are to be told.
    pub outbox: Kept,
    /// Why the file cannot be used, if so.
    pub trouble: Option<Error>,
}

/// Opens the file for a start. Whatever is wrong with the disk, acting on what is seen now comes first: only a file of a
/// later version is an error, since this one would write what that one does not expect.
pub fn take_up(path: &Path, records_max: usize) -> Result<Found, Error> {
    let mut disk =
        Disk { path: path.to_owned(), store: None, unread: false, damage: Vec::new(), salvaged: Batch::default() };
    let trouble = disk.open().err();
    if let Some(newer @ Error::Newer { .. }) = trouble {
        return Err(newer);
    }
    let read = match &disk.store {
        Some(store) => known(store, records_max).ok(),
        None => Store::open_to_read(path).and_then(|store| known(&store, records_max)).ok(),
    };
    disk.unread = read.is_none() && disk.salvaged.is_empty();
    let (mut records, pause, switches, mut outbox) = read.unwrap_or_default();
    // Alive ones come last, as above.
    let salvaged = disk.salvaged.records.values().map(|record| AttackRecord::clone(record));
    let (alive, over): (Vec<_>, Vec<_>) = salvaged.partition(|record| record.state.is_alive());
    records.extend(over.into_iter().rev().take(records_max));
    records.extend(alive);
    let pause = pause.or_else(|| disk.salvaged.pause.clone().flatten());
    let switches = switches.or_else(|| disk.salvaged.switches.clone());
    outbox.letters.extend(disk.salvaged.letters.values().map(|letter| Letter::clone(letter)));
    Ok(Found { disk, records, pause, switches, outbox, trouble })
}

/// Records, the pause, the switches that are held, and the outbox.
type Known = (Vec<AttackRecord>, Option<Pause>, Option<String>, Kept);

fn known(store: &Store, records_max: usize) -> Result<Known, Error> {
    let mut records = store.recent(records_max)?;
    let alive = store.alive()?;
    records.retain(|record| !record.state.is_alive());
    records.extend(alive);
    // A file of an earlier layout that cannot be written just now has no place for these.
    let (pause, switches) = (store.pause().unwrap_or_default(), store.switches().unwrap_or_default());
    Ok((records, pause, switches, store.outbox().unwrap_or_default()))
}

impl Disk {
    /// A file that is open.
    pub fn new(store: Store) -> Disk {
        Disk {
            path: store.path.clone(),
            store: Some(store),
            unread: false,
            damage: Vec::new(),
            salvaged: Batch::default(),
        }
    }

    /// What was found damaged since this was last asked, for people.
    pub(super) fn damage(&mut self) -> Vec<String> {
        std::mem::take(&mut self.damage)
    }

    /// Writes what waited; opens the file before where it is not open, and anew where it is damaged.
    pub(super) fn save(&mut self, batch: &Batch, now_ms: i64) -> Result<(), Error> {
        self.reach(now_ms)?;
        let Some(store) = &mut self.store else { return Ok(()) };
        let result = if batch.is_empty() { Ok(()) } else { store.save_batch(batch) };
        match result {
            Err(Error::Damaged { .. }) => {
                self.store = None;
                self.reach(now_ms)?;
                self.store.as_mut().map_or(Ok(()), |store| store.save_batch(batch))
            }
            Err(error) if !error.passes() => {
                self.store = None;
                Err(error)
            }
            result => result,
        }
    }

    /// Forgets what was over before this time, at most so many at once, where the file is open.
    pub(super) fn forget(&mut self, before_ms: i64, most: usize) -> Result<usize, Error> {
        self.store.as_mut().map_or(Ok(0), |store| store.forget(before_ms, most))
    }

    /// Opens the file if it is not open, and puts in order what came of that. What it says is alive, and nobody knew of at
    /// the start, is over.
    fn reach(&mut self, now_ms: i64) -> Result<(), Error> {
        if self.store.is_none() {
            self.open()?;
        }
        if let Some(store) = self.store.as_mut().filter(|_| !self.salvaged.is_empty()) {
            store.save_batch(&self.salvaged)?;
            self.salvaged = Batch::default();
        }
        if let Some(store) = self.store.as_mut().filter(|_| self.unread) {
            let lost: Vec<_> = store.alive()?.into_iter().map(|record| lost_sight_of(record, now_ms)).collect();
            store.save(&lost)?;
            self.unread = false;
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(), Error> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(|error| self.unusable(&error))?;
        }
        let log = committed(&beside(&self.path, "-wal"));
        self.store = Some(match open_whole(&self.path) {
            Err(Error::Damaged { reason, .. }) => {
                self.put_aside(&reason)?;
                Store::open(&self.path)?
            }
            opened => opened?,
        });
        let replayed = self.store.as_ref().and_then(|store| store.replayed().ok());
        if let (Some(log), Some(replayed)) = (log, replayed)
            && log.loses(replayed)
        {
            self.keep_log(&log.bytes);
        }
        Ok(())
    }

    /// Puts a damaged file aside, with all that is beside it, and reads what can still be read of it.
    fn put_aside(&mut self, reason: &str) -> Result<(), Error> {
        let aside = free_name(&self.path);
        crash::point(Step::PutAside, When::Before);
        // The file itself goes last: as long as it is there, the next start finds the damage, too.
        for suffix in BESIDE.into_iter().rev() {
            match fs::rename(beside(&self.path, suffix), beside(&aside, suffix)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(self.unusable(&error)),
                _ => (),
            }
        }
        crash::point(Step::PutAside, When::After);
        let salvaged = salvage(&aside);
        let (path, count) = (self.path.display(), salvaged.records.len());
        let text = format!("{path}: damaged ({reason}); put aside as {}; {count} records saved of it", aside.display());
        tracing::error!("{text}");
        self.damage.push(text);
        self.salvaged.records.extend(salvaged.records);
        self.salvaged.acts.extend(salvaged.acts);
        self.salvaged.pause = salvaged.pause.or(self.salvaged.pause.take());
        self.salvaged.switches = salvaged.switches.or(self.salvaged.switches.take());
        self.salvaged.letters.extend(salvaged.letters);
        Ok(())
    }

    /// The log has changes that SQLite did not take over, and will write over.
    fn keep_log(&mut self, log: &[u8]) {
        let aside = beside(&free_name(&self.path), "-wal");
        let kept = match fs::write(&aside, log) {
            Ok(()) => format!("a copy is {}", aside.display()),
            Err(error) => format!("it could not be copied to {}: {error}", aside.display()),
        };
        let text = format!("{}-wal: damaged, the latest changes are lost; {kept}", self.path.display());
        tracing::error!("{text}");
        self.damage.push(text);
    }

    fn unusable(&self, error: &std::io::Error) -> Error {
        let reason = Some(error.to_string());
        let source = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN), reason);
        Error::Sqlite { path: self.path.clone(), source }
    }
}

/// An attack that was alive in a file that could not be read at the start. If it goes on, it was detected anew.
pub(crate) fn lost_sight_of(mut record: AttackRecord, now_ms: i64) -> AttackRecord {
    record.note = "the state on disk could not be read at the start: what went on was detected anew".into();
    record.state = State::Ended;
    record.ended_ms = Some(now_ms);
    for rule in record.rules.iter_mut().filter(|rule| rule.withdrawn_ms.is_none()) {
        rule.withdrawn_ms = Some(now_ms);
    }
    record
}

/// Damage may also be in a record, which only reading shows.
fn open_whole(path: &Path) -> Result<Store, Error> {
    // SQLite takes less than a page for a new file.
    if fs::metadata(path).is_ok_and(|file| (1..PAGE).contains(&file.len())) {
        return Err(Error::Damaged { path: path.to_owned(), reason: "cut off within its first page".into() });
    }
    let store = Store::open(path)?;
    store.alive()?;
    store.pause()?;
    store.switches()?;
    Ok(store)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A name that nothing has, so that nothing that was put aside before is lost.
fn free_name(path: &Path) -> PathBuf {
    let name = |n: u32| beside(path, &format!(".damaged-{n}"));
    let taken = |name: &Path| BESIDE.iter().any(|suffix| beside(name, suffix).exists());
    (1..u32::MAX).map(name).find(|name| !taken(name)).unwrap_or_else(|| name(u32::MAX))
}

/// The records that can be read of a damaged file, from both ends towards the damage; the pause, and the list of who did
/// what if all of it can be read.
fn salvage(path: &Path) -> Batch {
    let mut salvaged = Batch::default();
    let Ok(connection) = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY) else { return salvaged };
    for order in ["", "DESC"] {
        let Ok(mut statement) = connection.prepare(&format!("SELECT record FROM attacks ORDER BY rowid {order}"))
        else {
            continue;
        };
        let Ok(rows) = statement.query_map([], |row| row.get::<_, String>(0)) else { continue };
        let records = rows.map_while(Result::ok).filter_map(|json| serde_json::from_str::<AttackRecord>(&json).ok());
        salvaged.records.extend(records.map(|record| (record.id, Arc::new(record))));
    }
    salvaged.acts = acts::acts(&connection, usize::MAX).unwrap_or_default();
    salvaged.acts.reverse();
    let pause = acts::pause(&connection).ok().flatten();
    salvaged.pause = pause.and_then(|json| serde_json::from_str(&json).ok()).map(Some);
    salvaged.switches = switches::get(&connection).ok().flatten();
    let letters = outbox::get(&connection).unwrap_or_default().letters;
    salvaged.letters = letters.into_iter().map(|letter| (letter.seq, Arc::new(letter))).collect();
    salvaged
}

/// A write-ahead log as a start finds it, before SQLite touches it.
struct Log {
    bytes: Vec<u8>,
}

fn committed(path: &Path) -> Option<Log> {
    let length = fs::metadata(path).ok()?.len();
    let bytes = if (1..=WAL_MAX).contains(&length) { fs::read(path).ok()? } else { return None };
    Some(Log { bytes })
}

impl Log {
    /// Whether it has a commit behind the frames that SQLite replayed, or had one for all that can be told. What a kill cut
    /// short has none, and frames of an earlier turn of the log carry another salt.
    fn loses(&self, replayed: usize) -> bool {
        let Some(header) = self.bytes.get(..WAL_HEADER) else { return false };
        !is_sound(header) || self.frames().skip(replayed).any(|frame| frame.ours && frame.commits)
    }

    fn frames(&self) -> impl Iterator<Item = Frame> {
        let salts = &self.bytes[16..24];
        self.bytes[WAL_HEADER..]
            .chunks_exact(WAL_FRAME)
            .map(|frame| Frame { ours: frame[8..16] == *salts, commits: frame[4..8] != [0; 4] })
    }
}

/// https://www.sqlite.org/fileformat2.html section 4.1: magic number, version, page size, sequence number, two salts, and
/// two checksums over these, as section 4.2 has them.
fn is_sound(header: &[u8]) -> bool {
    let word = |index: usize| [0, 1, 2, 3].map(|byte| header[4 * index + byte]);
    let number: fn([u8; 4]) -> u32 = match word(0) {
        [0x37, 0x7f, 0x06, 0x82] => u32::from_le_bytes,
        [0x37, 0x7f, 0x06, 0x83] => u32::from_be_bytes,
        _ => return false,
    };
    let sums = [0, 2, 4].into_iter().fold((0u32, 0u32), |(even, odd), index| {
        let even = even.wrapping_add(number(word(index))).wrapping_add(odd);
        (even, odd.wrapping_add(number(word(index + 1))).wrapping_add(even))
    });
    sums == (u32::from_be_bytes(word(6)), u32::from_be_bytes(word(7)))
}

struct Frame {
    ours: bool,
    /// It carries the size of the database after a commit.
    commits: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::by_hand::Act;
    use crate::record::samples::attack;
    use crate::store::Archive;

    /// A file as a kill leaves it: `first` in it, `second` in the log alone.
    fn killed(path: &Path, first: &AttackRecord, second: &AttackRecord) {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other.db");
        let mut store = Store::open(&other).unwrap();
        store.save([first]).unwrap();
        store.replayed().unwrap();
        store.save([second]).unwrap();
        for suffix in ["", "-wal"] {
            fs::copy(beside(&other, suffix), beside(path, suffix)).unwrap();
        }
    }

    /// Where the latest turn of a log ends; behind it are frames of the one before.
    fn end(log: &[u8]) -> usize {
        let frames = Log { bytes: log.to_vec() }.frames().take_while(|frame| frame.ours).count();
        WAL_HEADER + frames * WAL_FRAME
    }

    fn ids(found: &Found) -> Vec<uuid::Uuid> {
        found.records.iter().map(|record| record.id).collect()
    }

    #[test]
    fn a_log_with_lost_changes_is_kept_and_a_sound_or_torn_one_is_not() {
        let (first, second) = (attack("198.18.0.1/32", State::Detected), attack("198.18.0.2/32", State::Detected));
        let both = vec![first.id, second.id];
        // What is done to the log, who is still known, and whether that is damage.
        let garble = |from: usize, to: usize| move |log: &mut Vec<u8>| log[from..to].fill(0x5a);
        type Damage = Box<dyn Fn(&mut Vec<u8>)>;
        let cases: [(&str, Damage, &[uuid::Uuid], bool); 5] = [
            ("sound", Box::new(|_| ()), &both, false),
            ("cut off by a kill", Box::new(|log| log.truncate(end(log) - 100)), &both[..1], false),
            ("garbled frame", Box::new(garble(WAL_HEADER + 100, WAL_HEADER + 200)), &both[..1], true),
            ("garbled salt", Box::new(garble(16, 20)), &both[..1], true),
            ("garbled magic number", Box::new(garble(0, 4)), &both[..1], true),
        ];
        for (what, damage, known, is_damage) in cases {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("levee.db");
            killed(&path, &first, &second);
            let mut log = fs::read(beside(&path, "-wal")).unwrap();
            damage(&mut log);
            fs::write(beside(&path, "-wal"), &log).unwrap();
            let mut found = take_up(&path, 10).unwrap();
            assert_eq!(ids(&found), known, "{what}");
            assert_eq!(found.disk.damage().len(), usize::from(is_damage), "{what}");
            let kept = fs::read(folder.path().join("levee.db.damaged-1-wal")).ok();
            assert_eq!(kept, is_damage.then_some(log), "{what}");
        }
    }

    #[test]
    fn what_can_be_read_of_a_damaged_file_goes_on_and_no_earlier_one_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        fs::write(folder.path().join("levee.db.damaged-1"), "an earlier one").unwrap();
        let records: Vec<_> = (0..100).map(|n| attack(&format!("198.18.0.{n}/32"), State::Mitigating)).collect();
        let mut store = Store::open(&path).unwrap();
        store.save(&records).unwrap();
        let pause = Pause { since_ms: 1, until_ms: None, by: "alice".into(), reason: "why".into(), withdrawn: false };
        let act = Act { time_ms: 1, by: "alice".into(), act: "pause".into(), text: "why".into() };
        store.save_batch(&Batch { acts: vec![act], pause: Some(Some(pause.clone())), ..Batch::default() }).unwrap();
        drop(store);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2 / 4096 * 4096;
        bytes[middle..middle + 4096].fill(0x5a);
        fs::write(&path, &bytes).unwrap();

        let mut found = take_up(&path, 10).unwrap();
        let known = ids(&found);
        assert!(known.len() > 50 && known.iter().all(|id| records.iter().any(|record| record.id == *id)), "{known:?}");
        assert_eq!(fs::read(folder.path().join("levee.db.damaged-2")).unwrap(), bytes, "kept as it was");
        assert_eq!(fs::read_to_string(folder.path().join("levee.db.damaged-1")).unwrap(), "an earlier one");
        assert_eq!((found.disk.damage().len(), found.pause.as_ref()), (1, Some(&pause)));
        found.disk.save(&Batch::default(), 0).unwrap();
        assert_eq!(Store::open(&path).unwrap().alive().unwrap().len(), known.len(), "in the new file, too");
        assert_eq!(Store::open(&path).unwrap().pause().unwrap(), Some(pause));
        assert_eq!(Archive::new(path).acts(10).unwrap().len(), 1);
    }

    #[test]
    fn a_file_that_was_cut_off_is_damaged_and_no_new_one() {
        for length in [2_000, 8 * PAGE, 12 * PAGE + 100] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("levee.db");
            let records: Vec<_> = (0..100).map(|_| attack("198.18.0.1/32", State::Mitigating)).collect();
            Store::open(&path).unwrap().save(&records).unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
            assert_eq!(take_up(&path, 10).unwrap().disk.damage().len(), 1, "{length}");
            assert_eq!(fs::metadata(folder.path().join("levee.db.damaged-1")).unwrap().len(), length);
        }
    }

    #[test]
    fn a_file_out_of_reach_is_caught_up_with_and_what_nobody_knew_of_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state").join("levee.db");
        fs::create_dir_all(&path).unwrap();
        let mut found = take_up(&path, 10).unwrap();
        assert!(found.records.is_empty() && matches!(found.trouble, Some(Error::Sqlite { .. })));
        let fresh = attack("198.18.0.1/32", State::Detected);
        let batch = Batch { records: [(fresh.id, Arc::new(fresh.clone()))].into(), ..Batch::default() };
        assert!(found.disk.save(&batch, 5_000).is_err());
        // The file is there again, with an attack of before.
        fs::remove_dir(&path).unwrap();
        let before = attack("198.18.0.2/32", State::Mitigating);
        Store::open(&path).unwrap().save([&before]).unwrap();
        found.disk.save(&batch, 5_000).unwrap();
        let store = Store::open(&path).unwrap();
        assert_eq!(store.alive().unwrap(), [fresh]);
        let over = store.get(before.id).unwrap().unwrap();
        assert_eq!((over.state, over.ended_ms), (State::Ended, Some(5_000)));
    }
}
