//! A disk that is full, out of reach or read-only, and files that are damaged: the daemon acts, raises the alarm, keeps what
//! was on disk, and catches up by itself. On a file system of the test's own, in its memory. Needs root, to mount it.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::daemon::{Leveed, Setup, core};
use support::{sh, wait_until};

const SOON: Duration = Duration::from_secs(15);
const TROUBLE: &str = "cannot store attacks";

/// A small file system in memory. Gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> SmallDisk {
        fs::create_dir_all(path).unwrap();
        sh("mount", ["-t", "tmpfs", "-o", "size=8m", "levee-test", &path.display().to_string()]);
        SmallDisk(path.to_owned())
    }

    fn remount(&self, how: &str) {
        sh("mount", ["-o", &format!("remount,{how}"), &self.0.display().to_string()]);
    }

    /// Not a byte is left.
    fn fill(&self) {
        let ballast = self.0.join("ballast");
        let mut length = 1 << 20;
        let mut content = Vec::new();
        while length >= 1 {
            let longer = vec![0x5a; content.len() + length];
            match fs::write(&ballast, &longer) {
                Ok(()) => content = longer,
                Err(_) => length /= 2,
            }
        }
        fs::write(&ballast, content).unwrap();
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Nothing better can be done about a failure than to leave it; the daemon may still end.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A daemon whose state lies on a small disk of its own. Bans by hand are its attacks: they are on record at once.
struct Site {
    // Ends before its disk goes.
    leveed: Leveed,
    disk: SmallDisk,
}

impl Site {
    fn prepare() -> Site {
        let core = [core()];
        let setup = Setup { networks: &["198.18.0.0/24"], ports: &[("net_null0", &core)], ..Setup::default() };
        let leveed = Leveed::prepare(&setup);
        let disk = SmallDisk::mount(leveed.state().parent().unwrap());
        Site { leveed, disk }
    }

    fn start(&mut self) {
        self.leveed.start();
    }

    fn restart(&mut self) {
        self.leveed.kill();
        self.start();
    }

    /// Whether some alarm has these words.
    fn alarmed(&self, words: &str) -> bool {
        self.leveed.alarms().iter().any(|alarm| alarm.contains(words))
    }

    fn wait_alarm(&self, words: &str) {
        wait_until(SOON, words, || self.alarmed(words).then_some(()));
    }

    fn wait_no_alarm(&self) {
        let deadline = Instant::now() + SOON;
        while self.alarmed(TROUBLE) {
            assert!(Instant::now() < deadline, "the alarm stays: {:?}", self.leveed.alarms());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn ban(&self, host: &str) -> String {
        self.leveed.ban(host, "test").expect("banned")
    }

    /// The ids of all attacks, sorted.
    fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.leveed.attacks().into_iter().map(|attack| attack.id).collect();
        ids.sort();
        ids
    }

    /// Until the latest record is in the log: it is handed over at once, and written within milliseconds.
    fn wait_log(&self) {
        std::thread::sleep(Duration::from_millis(500));
        assert!(fs::metadata(self.beside("-wal")).is_ok_and(|log| log.len() > 8192));
    }

    /// What was put aside.
    fn aside(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.disk.0).unwrap().map(|entry| entry.unwrap().path());
        let mut aside: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().contains("damaged")).collect();
        aside.sort();
        aside
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        PathBuf::from(format!("{}{suffix}", self.leveed.state().display()))
    }
}

fn garble(path: &Path, from: usize, to: usize) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    let to = to.min(bytes.len());
    assert!(from < to, "{} has {} bytes", path.display(), bytes.len());
    bytes[from..to].iter_mut().for_each(|byte| *byte ^= 0xa5);
    fs::write(path, &bytes).unwrap();
    bytes
}

#[test]
fn a_full_disk() {
    let mut site = Site::prepare();
    site.start();
    let before = site.ban("198.18.0.1");
    site.wait_log();
    site.disk.fill();
    let events = site.leveed.watch_events();
    // More than fits into what the file has already.
    let mut expected: Vec<String> = (2..60).map(|host| site.ban(&format!("198.18.0.{host}"))).collect();
    expected.push(before.clone());
    expected.sort();
    site.wait_alarm(TROUBLE);
    let of_no_attack = |kind: &str| events.of("").iter().any(|event| event.kind == kind && event.text.contains("stor"));
    wait_until(SOON, "the alarm as an event", || of_no_attack("alarm").then_some(()));
    assert!(site.leveed.log().lines().any(|line| line.contains("ERROR") && line.contains(TROUBLE)), "in the log");
    assert_eq!(site.ids(), expected, "it acts all the same");

    // Started on the full disk: what is on record is alive, and more can be done.
    site.restart();
    assert!(site.ids().contains(&before));
    let during = site.ban("198.18.0.200");
    let known = site.ids();

    // What was missed is written as soon as it can be.
    site.disk.empty();
    site.wait_no_alarm();
    site.restart();
    assert!(known.contains(&during));
    assert_eq!(site.ids(), known);
    assert!(!site.alarmed(TROUBLE) && site.aside().is_empty());
}

#[test]
fn a_disk_that_cannot_be_written() {
    // After a kill the log is beside the file, after an end it is not.
    for clean in [false, true] {
        let mut site = Site::prepare();
        site.start();
        let before = site.ban("198.18.0.1");
        site.wait_log();
        if clean {
            assert_eq!(site.leveed.terminate().code(), Some(0));
        } else {
            site.leveed.kill();
        }
        site.disk.remount("ro");
        site.start();
        assert_eq!(site.ids(), std::slice::from_ref(&before), "clean: {clean}");
        site.leveed.unban("198.18.0.1").unwrap();
        site.wait_alarm(TROUBLE);
        site.disk.remount("rw");
        site.wait_no_alarm();
        site.restart();
        let attack = site.leveed.attacks().pop().unwrap();
        assert_eq!((&attack.id, attack.state.as_str()), (&before, "ended"), "clean: {clean}");
    }
}

#[test]
fn damaged_files_are_kept_and_what_can_be_read_goes_on() {
    let mut site = Site::prepare();
    site.start();
    let ids: Vec<String> = (1..40).map(|host| site.ban(&format!("198.18.0.{host}"))).collect();
    assert_eq!(site.leveed.terminate().code(), Some(0));

    // A page in the middle.
    let damaged = garble(&site.leveed.state(), 8 * 4096, 9 * 4096);
    site.start();
    site.wait_alarm("put aside as");
    let aside = site.aside();
    assert!(aside.iter().any(|path| fs::read(path).unwrap() == damaged), "kept as it was: {aside:?}");
    let salvaged = site.ids();
    assert!(!salvaged.is_empty() && salvaged.iter().all(|id| ids.contains(id)), "{salvaged:?}");

    // The log: SQLite alone would silently go back in time.
    site.ban("198.18.0.100");
    site.wait_log();
    site.leveed.kill();
    let log = garble(&site.beside("-wal"), 100, 200);
    site.start();
    site.wait_alarm("the latest changes are lost");
    let kept = site.aside().into_iter().find(|path| fs::read(path).unwrap() == log);
    assert!(kept.is_some(), "{:?}", site.aside());
    let id = site.ban("198.18.0.101");
    assert_eq!(site.leveed.terminate().code(), Some(0));
    site.start();
    assert!(site.ids().contains(&id) && !site.alarmed("damaged"));
}
