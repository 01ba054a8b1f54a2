//! Samples of attacks as capture files, one for each attack, in a folder of bounded size. A thread of its own writes them, so
//! that nobody waits for the disk; what cannot be written is an alarm and no more. Knows files and frames, nothing that runs.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use dataplane::tap::{SNAP, Sample};
use uuid::Uuid;

use crate::crash::{self, Step, When};

/// Captures that may wait for the disk. One more is not written, and counted.
const WAITING_MAX: usize = 64;
/// What is too old is looked for this often.
const AGE_PERIOD: Duration = Duration::from_secs(600);
/// A file grows with each capture of its attack up to this; then it stays as it is.
const FILE_MAX: usize = 1 << 20;
const FILE_HEADER: usize = 24;
const FRAME_HEADER: usize = 16;
/// Frames of one capture that are kept.
pub const FRAMES_MAX: usize = (FILE_MAX - FILE_HEADER) / (FRAME_HEADER + SNAP);

/// A captured frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When it came, microseconds since 1970 UTC.
    pub time_us: i64,
    /// Its first bytes, and its length.
    pub sample: Sample,
}

/// Where samples are kept, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The folder. What is not named after an attack is left alone there.
    pub folder: PathBuf,
    /// Most files; of more, those of the oldest attacks go.
    pub files_max: usize,
    /// Most bytes in all of them.
    pub bytes_max: u64,
    /// A file goes this long after it was last written.
    pub age_max: Duration,
}

/// The file of an attack's sample.
pub fn path(folder: &Path, attack: Uuid) -> PathBuf {
    folder.join(format!("{attack}.pcap"))
}

#[derive(Debug, Default)]
struct State {
    /// Others than before, not taken up yet.
    limits: Option<Limits>,
    lost: u64,
    error: Option<String>,
}

/// Hands captures to the thread that writes them. Dropping it writes what is waiting, and waits for that.
#[derive(Debug)]
pub struct Handle {
    queue: Option<Sender<(Uuid, Vec<Frame>)>>,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the thread.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn(limits: Limits) -> io::Result<Handle> {
    let (queue, queued) = bounded(WAITING_MAX);
    let state = Arc::new(Mutex::new(State::default()));
    let theirs = Arc::clone(&state);
    let thread = std::thread::Builder::new().name("samples".into()).spawn(move || run(limits, &queued, &theirs))?;
    Ok(Handle { queue: Some(queue), state, thread: Some(thread) })
}

impl Handle {
    /// Has a capture of an attack written soon, behind those of the same attack before. Never waits.
    pub fn keep(&self, attack: Uuid, frames: Vec<Frame>) {
        let taken = self.queue.as_ref().is_some_and(|queue| queue.try_send((attack, frames)).is_ok());
        if !taken {
            lock(&self.state).lost += 1;
        }
    }

    /// From the next capture on, samples are kept within these.
    pub fn set_limits(&self, limits: Limits) {
        lock(&self.state).limits = Some(limits);
    }

    /// What an operator should know: that samples cannot be written, or were lost. None when all is well.
    pub fn alarm(&self) -> Option<String> {
        let state = lock(&self.state);
        match (&state.error, state.lost) {
            (None, 0) => None,
            (None, lost) => Some(format!("{lost} samples were not written")),
            (Some(error), lost) => Some(format!("cannot write samples of attacks: {error}; {lost} lost")),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(mut limits: Limits, queued: &Receiver<(Uuid, Vec<Frame>)>, state: &Mutex<State>) {
    let mut folder = Folder::open(limits.clone());
    loop {
        let written = match &mut folder {
            Ok(folder) => folder.make_room(),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        if let Err(error) = written {
            lock(state).error = Some(error.to_string());
        }
        let (attack, frames) = match queued.recv_timeout(AGE_PERIOD) {
            Ok(capture) => capture,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let new = lock(state).limits.take();
        if folder.is_err() || new.is_some() {
            limits = new.unwrap_or(limits);
            folder = Folder::open(limits.clone());
        }
        let written = match &mut folder {
            Ok(folder) => folder.add(attack, frames),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        let mut state = lock(state);
        state.lost += u64::from(written.is_err());
        state.error = written.err().map(|error| error.to_string());
    }
}

#[derive(Debug)]
struct File {
    bytes: u64,
    written: SystemTime,
}

/// The folder, and what is in it. Ids sort by the time of the attack.
#[derive(Debug)]
struct Folder {
    limits: Limits,
    files: BTreeMap<Uuid, File>,
}

impl Folder {
    fn open(limits: Limits) -> io::Result<Folder> {
        let at = |error| named(&limits.folder, error);
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&limits.folder).map_err(at)?;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&limits.folder).map_err(at)? {
            let path = entry.map_err(at)?.path();
            let Some(attack) = path.file_stem().and_then(|stem| stem.to_str()?.parse::<Uuid>().ok()) else { continue };
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("pcap") => {
                    let metadata = fs::metadata(&path).map_err(at)?;
                    let written = metadata.modified().map_err(at)?;
                    files.insert(attack, File { bytes: metadata.len(), written });
                }
                // What a kill left half written.
                Some("part") => fs::remove_file(&path).map_err(at)?,
                _ => (),
            }
        }
        Ok(Folder { limits, files })
    }

    /// Adds a capture to the file of its attack. A file is always whole: the new one takes the place of the old one.
    fn add(&mut self, attack: Uuid, mut frames: Vec<Frame>) -> io::Result<()> {
        let path = path(&self.limits.folder, attack);
        let mut content = match fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::NotFound => header(),
            Err(error) => return Err(named(&path, error)),
        };
        // Workers' rings are emptied one after the other.
        frames.sort_by_key(|frame| frame.time_us);
        for frame in &frames {
            if content.len() + FRAME_HEADER + frame.sample.data().len() > FILE_MAX {
                break;
            }
            put(&mut content, frame);
        }
        let part = path.with_extension("part");
        crash::point(Step::Sample, When::Before);
        if let Err(error) = write(&part, &content).and_then(|()| fs::rename(&part, &path)) {
            // A full disk should not keep half of it.
            drop(fs::remove_file(&part));
            return Err(named(&path, error));
        }
        crash::point(Step::Sample, When::After);
        self.files.insert(attack, File { bytes: content.len() as u64, written: SystemTime::now() });
        Ok(())
    }

    /// Removes what is too old, and the oldest of what is too much.
    fn make_room(&mut self) -> io::Result<()> {
        let now = SystemTime::now();
        let is_old = |file: &File| now.duration_since(file.written).is_ok_and(|age| age > self.limits.age_max);
        let mut bytes: u64 = self.files.values().map(|file| file.bytes).sum();
        let mut count = self.files.len();
        let mut gone = Vec::new();
        for (attack, file) in &self.files {
            if count > self.limits.files_max || bytes > self.limits.bytes_max || is_old(file) {
                count -= 1;
                bytes -= file.bytes;
                gone.push(*attack);
            }
        }
        for attack in gone {
            let path = path(&self.limits.folder, attack);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(named(&path, error)),
                _ => self.files.remove(&attack),
            };
        }
        Ok(())
    }
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// The head of a capture file: microseconds, version 2.4, frames cut at [`SNAP`], Ethernet.
fn header() -> Vec<u8> {
    let words = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, SNAP as u32, 1];
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

fn put(content: &mut Vec<u8>, frame: &Frame) {
    let (seconds, micros) = (frame.time_us.div_euclid(1_000_000), frame.time_us.rem_euclid(1_000_000));
    let data = frame.sample.data();
    for word in [seconds as u32, micros as u32, data.len() as u32, frame.sample.frame_len] {
        content.extend(word.to_le_bytes());
    }
    content.extend(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(folder: &Path) -> Limits {
        Limits { folder: folder.to_owned(), files_max: 3, bytes_max: 1 << 30, age_max: Duration::from_secs(3_600) }
    }

    fn frame(time_us: i64, bytes: &[u8], length: u32) -> Frame {
        Frame { time_us, sample: Sample::new(1, 0, bytes, length) }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn captures_of_an_attack_are_one_file_in_the_order_of_time() {
        let dir = tempfile::tempdir().unwrap();
        let attack = Uuid::now_v7();
        let mut folder = Folder::open(limits(dir.path())).unwrap();
        folder.add(attack, vec![frame(2_000_005, &[1; 200], 1_500), frame(1_999_999, &[2; 60], 60)]).unwrap();
        folder.add(attack, vec![frame(3_000_000, &[3; 4], 64)]).unwrap();
        let content = fs::read(path(dir.path(), attack)).unwrap();
        let word = |at: usize| u32::from_le_bytes(content[at..at + 4].try_into().unwrap());
        assert_eq!([word(0), word(16), word(20)], [0xa1b2_c3d4, 128, 1]);
        let head = |at: usize| [word(at), word(at + 4), word(at + 8), word(at + 12)];
        assert_eq!(head(24), [1, 999_999, 60, 60]);
        assert_eq!((head(100), content[116]), ([2, 5, 128, 1_500], 1), "the first bytes, and the whole length");
        assert_eq!(head(244), [3, 0, 4, 64]);
        assert_eq!(content.len(), 264);
        assert_eq!(names(dir.path()), [format!("{attack}.pcap")]);
    }

    #[test]
    fn a_file_has_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let (attack, mut folder) = (Uuid::now_v7(), Folder::open(limits(dir.path())).unwrap());
        let many = vec![frame(0, &[1; 128], 128); FRAMES_MAX - 1];
        folder.add(attack, many.clone()).unwrap();
        folder.add(attack, many).unwrap();
        let length = fs::metadata(path(dir.path(), attack)).unwrap().len() as usize;
        assert_eq!(length, FILE_HEADER + FRAMES_MAX * (FRAME_HEADER + 128));
    }

    #[test]
    fn the_oldest_attacks_go_first_and_other_files_stay() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("notes.pcap"), "mine").unwrap();
        let attacks: Vec<Uuid> = (0..5).map(|_| Uuid::now_v7()).collect();
        fs::write(dir.path().join(format!("{}.part", attacks[4])), "half").unwrap();
        let mut folder = Folder::open(limits(dir.path())).unwrap();
        assert_eq!(names(dir.path()), ["notes.pcap"], "what was half written is gone");
        // Written in another order than they were detected.
        for attack in attacks.iter().rev() {
            folder.add(*attack, vec![frame(0, &[1; 100], 100)]).unwrap();
        }
        folder.make_room().unwrap();
        let left = |attacks: &[Uuid]| {
            let mut left: Vec<String> = attacks.iter().map(|attack| format!("{attack}.pcap")).collect();
            left.push("notes.pcap".into());
            left
        };
        assert_eq!(names(dir.path()), left(&attacks[2..]));
        // By size, and after a restart; a file that a person removed is no error.
        let bytes_max = 2 * (24 + 16 + 100);
        fs::remove_file(path(dir.path(), attacks[2])).unwrap();
        folder.limits.bytes_max = bytes_max - 1;
        folder.make_room().unwrap();
        assert_eq!(names(dir.path()), left(&attacks[4..]));
        let mut folder = Folder::open(Limits { age_max: Duration::ZERO, ..limits(dir.path()) }).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        folder.make_room().unwrap();
        assert_eq!(names(dir.path()), left(&[]), "too old");
    }

    #[test]
    fn what_cannot_be_written_is_an_alarm_until_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("samples");
        fs::write(&place, "in the way").unwrap();
        let handle = spawn(limits(&place)).unwrap();
        let attack = Uuid::now_v7();
        let until = |what: &str, condition: &dyn Fn() -> bool| {
            let come = (0..1000).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                condition()
            });
            assert!(come, "never came: {what}: {:?}", handle.alarm());
        };
        handle.keep(attack, vec![frame(0, &[1; 60], 60)]);
        until("the alarm", &|| {
            handle.alarm().is_some_and(|alarm| alarm.contains("/samples: ") && alarm.ends_with("1 lost"))
        });
        fs::remove_file(&place).unwrap();
        handle.keep(attack, vec![frame(0, &[1; 60], 60)]);
        until("the file", &|| path(&place, attack).exists());
        until("the end of the error", &|| handle.alarm().as_deref() == Some("1 samples were not written"));
    }

    #[test]
    fn a_full_disk_keeps_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (attack, mut folder) = (Uuid::now_v7(), Folder::open(limits(dir.path())).unwrap());
        folder.add(attack, vec![frame(0, &[1; 60], 60)]).unwrap();
        let before = fs::read(path(dir.path(), attack)).unwrap();
        // Writing to it gives ENOSPC.
        std::os::unix::fs::symlink("/dev/full", dir.path().join(format!("{attack}.part"))).unwrap();
        let error = folder.add(attack, vec![frame(0, &[1; 60], 60)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(fs::read(path(dir.path(), attack)).unwrap(), before);
        assert_eq!(names(dir.path()), [format!("{attack}.pcap")]);
        folder.add(attack, vec![frame(0, &[1; 60], 60)]).unwrap();
    }
}
