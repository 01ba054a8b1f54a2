//! Reload, set, commit and rollback, with a control thread that agrees to everything.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::channel;
use tempfile::TempDir;

use super::*;

const TEXT: &str = r#"# mine
networks = ["198.18.0.0/24"]
[[ports]]
device = "net_pcap0,rx_pcap=/dev/null"
cores = [0]
[detection]
ban_time_s = 30   # half a minute
"#;

struct Rig {
    folder: TempDir,
    reloader: Reloader,
    reloads: Arc<AtomicUsize>,
    level: Arc<Lock<String>>,
}

impl Rig {
    fn new() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.toml");
        fs::write(&path, TEXT).unwrap();
        let config = config::load(&path).unwrap();
        let networks = Arc::new(Networks::new(&config.networks).unwrap());
        let (requests, asked) = channel::bounded(1);
        let reloads = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reloads);
        std::thread::spawn(move || {
            for request in asked {
                let Request::Reload { reply, .. } = request else { panic!("{request:?}") };
                count.fetch_add(1, Ordering::SeqCst);
                drop(reply.send(None));
            }
        });
        let level = Arc::new(Lock::new(String::new()));
        let set = Arc::clone(&level);
        let set = move |level: &str| {
            *set.lock().unwrap() = level.to_owned();
            Ok(())
        };
        let log = Arc::new(LogFilter::new(Box::new(set), "info".to_owned()));
        let engines = bgp::Engines::new(watch::channel(bgp::Told::default()).1);
        let told = watch::channel(mitigator::Told::default()).1;
        let mitigator = mitigator::Mitigator::new(told, crate::store::Ledger::nowhere(), None);
        let (notify, _) = Notify::start(&[], Default::default()).unwrap();
        let actions = Actions { engines, mitigator, notify };
        let reloader = Reloader::new(&path, config, networks, actions, log, requests);
        Rig { folder, reloader, reloads, level }
    }

    fn file(&self) -> String {
        fs::read_to_string(self.reloader.path()).unwrap()
    }

    fn write(&self, text: &str) {
        fs::write(self.reloader.path(), text).unwrap();
    }

    async fn set(&self, key: &str, value: &str) -> Result<Vec<String>, Error> {
        let edit = Edit { key: key.into(), value: Some(value.into()) };
        self.reloader.set(edit, "ann").await.map(|outcome| in_words(&outcome))
    }

    fn reloads(&self) -> usize {
        self.reloads.load(Ordering::SeqCst)
    }

    fn ban_time_s(&self) -> u64 {
        self.reloader.running().detection.ban_time.as_secs()
    }
}

fn in_words(outcome: &Outcome) -> Vec<String> {
    outcome.changes.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_good_file_is_taken_over() {
    let rig = Rig::new();
    rig.write(&TEXT.replace("= 30", "= 45").replace("[[ports]]", "daemon.log_level = \"debug\"\n[[ports]]"));
    let outcome = rig.reloader.reload("SIGHUP").await.unwrap();
    assert_eq!(in_words(&outcome), ["daemon.log_level: \"info\" → \"debug\"", "detection.ban_time_s: 30 → 45"]);
    assert_eq!((rig.ban_time_s(), rig.reloads(), rig.level.lock().unwrap().as_str()), (45, 1, "debug"));
    assert_eq!(rig.reloader.reload("ann").await.unwrap(), Outcome::default());
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_why() {
    let rig = Rig::new();
    for (text, why) in [
        (TEXT.replace("ban_time_s", "ban_times"), "did you mean `ban_time_s`?"),
        (TEXT.replace("= 30", "= 45").replace("[0]", "[0, 1]"), "ports[0].cores: + 1  (takes a restart"),
        (format!("{TEXT}[dpdk]\nburst_max = 64\n"), "dpdk.burst_max: 128 → 64  (takes a restart"),
        (format!("{TEXT}[groups.default.incoming]\nflows_per_second = 64\n"), "no memory for their sketches"),
    ] {
        rig.write(&text);
        let error = rig.reloader.reload("SIGHUP").await.unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("nothing was changed"), "{error}");
        assert!(rig.reloader.alarm().unwrap().contains("the last reload was refused"));
        let diff = rig.reloader.diff().await;
        let shown = diff.file.map(|changes| lines(&changes)).unwrap_or_else(|error| error.to_string());
        assert!(shown.contains(why), "{shown}");
    }
    fs::remove_file(rig.reloader.path()).unwrap();
    let error = rig.reloader.reload("SIGHUP").await.unwrap_err().to_string();
    assert!(error.contains("cannot be read: No such file"), "{error}");
    assert_eq!((rig.ban_time_s(), rig.reloads(), rig.reloader.running().text()), (30, 0, TEXT));
    rig.write(TEXT);
    rig.reloader.reload("SIGHUP").await.unwrap();
    assert_eq!(rig.reloader.alarm(), None, "and it is over with a good one");
}

#[tokio::test]
async fn networks_beyond_the_room_are_refused_until_those_that_went_are_gone() {
    let rig = Rig::new();
    let text = |second: u8, count: u32| {
        let list: Vec<String> = (0..count).map(|n| format!("\"198.{second}.{}.{}/32\"", n >> 8, n & 255)).collect();
        TEXT.replace("\"198.18.0.0/24\"", &list.join(", "))
    };
    rig.write(&text(18, 1000));
    rig.reloader.reload("ann").await.unwrap();
    rig.write(&text(19, 1000));
    let error = rig.reloader.reload("ann").await.unwrap_err().to_string();
    assert!(error.contains("networks: ") && error.contains("counters for 1024"), "{error}");
    rig.write(&text(18, 1));
    rig.reloader.reload("ann").await.unwrap();
    rig.write(&text(19, 1000));
    rig.reloader.reload("ann").await.unwrap();
}

#[tokio::test]
async fn keys_are_set_and_committed() {
    let rig = Rig::new();
    assert!(matches!(rig.reloader.commit(false, "ann").await, Err(Error::NoCandidate)));
    assert_eq!(rig.set("detection.ban_time_s", "45").await.unwrap(), ["detection.ban_time_s: 30 → 45"]);
    let both = rig.set("daemon.dry_run", "true").await.unwrap();
    assert_eq!(both, ["daemon.dry_run: false → true", "detection.ban_time_s: 30 → 45"]);
    for (key, value, why) in [
        ("detection.ban_time", "5", "did you mean `ban_time_s`?"),
        ("detection.ban_time_s", "soon", "without quotes"),
        ("ports[0].cores", "[1]", "takes a restart"),
        ("x y", "1", "is not a key"),
    ] {
        let error = rig.set(key, value).await.unwrap_err().to_string();
        assert!(error.contains(why), "{key}: {error}");
    }
    let diff = rig.reloader.diff().await;
    assert_eq!((diff.file.unwrap().len(), diff.candidate.unwrap().len(), diff.steps.len()), (0, 2, 2));
    assert_eq!(diff.steps[0].by, "ann");
    assert_eq!((rig.reloads(), rig.file().as_str(), rig.ban_time_s()), (0, TEXT, 30), "nothing happened yet");

    rig.reloader.commit(false, "ann").await.unwrap();
    let text = rig.file();
    assert!(text.starts_with("# mine\n") && text.contains("ban_time_s = 45   # half a minute\n"), "{text}");
    assert_eq!((rig.reloads(), rig.ban_time_s()), (1, 45));
    assert!(matches!(rig.reloader.commit(false, "ann").await, Err(Error::NoCandidate)));
    assert_eq!(rig.reloader.reload("ann").await.unwrap(), Outcome::default(), "the file is what runs");
}

#[tokio::test]
async fn a_file_that_was_edited_is_not_written_over() {
    let rig = Rig::new();
    rig.set("detection.ban_time_s", "45").await.unwrap();
    let edited = TEXT.replace("# mine", "# theirs").replace("[detection]", "[detection]\nprobation_s = 5");
    rig.write(&edited);
    let error = rig.reloader.commit(false, "ann").await.unwrap_err().to_string();
    assert!(error.contains("was edited since it was loaded") && error.contains("--force"), "{error}");
    assert_eq!((rig.file(), rig.ban_time_s()), (edited.clone(), 30));
    // The candidate outlives a reload: what was set is set on top of it.
    rig.reloader.reload("bob").await.unwrap();
    rig.reloader.commit(false, "ann").await.unwrap();
    assert_eq!(rig.file(), edited.replace("= 30", "= 45"));

    rig.set("detection.ban_time_s", "50").await.unwrap();
    rig.write("not even TOML");
    rig.reloader.commit(true, "ann").await.unwrap();
    assert_eq!(rig.file(), edited.replace("= 30", "= 50"));
    assert_eq!(fs::read_to_string(file::former(rig.reloader.path(), 1)).unwrap(), "not even TOML");
}

#[tokio::test]
async fn a_rollback_drops_what_was_set_or_goes_back() {
    let rig = Rig::new();
    assert!(matches!(rig.reloader.rollback(false, "ann").await, Err(Error::NoFormer(_))));
    for value in ["40", "50"] {
        rig.set("detection.ban_time_s", value).await.unwrap();
        rig.reloader.commit(false, "ann").await.unwrap();
    }
    rig.set("detection.ban_time_s", "60").await.unwrap();
    assert_eq!(rig.reloader.rollback(false, "ann").await.unwrap(), (true, Outcome::default()));
    assert_eq!((rig.ban_time_s(), rig.reloads()), (50, 2));
    for (before, after) in [(50, 40), (40, 30)] {
        let (dropped, outcome) = rig.reloader.rollback(false, "ann").await.unwrap();
        assert_eq!((dropped, in_words(&outcome)), (false, vec![format!("detection.ban_time_s: {before} → {after}")]));
        assert_eq!(rig.ban_time_s(), after);
    }
    assert_eq!(rig.file(), TEXT);
    assert!(matches!(rig.reloader.rollback(false, "ann").await, Err(Error::NoFormer(_))));
}

#[tokio::test]
async fn where_the_file_cannot_be_written_nothing_is_lost() {
    let rig = Rig::new();
    rig.set("detection.ban_time_s", "45").await.unwrap();
    // A folder in the way of the new file: root may write everywhere else.
    let in_the_way = rig.folder.path().join("levee.toml.new");
    fs::create_dir(&in_the_way).unwrap();
    let error = rig.reloader.commit(false, "ann").await.unwrap_err().to_string();
    assert!(error.contains("cannot be written") && error.contains("nothing that was set is lost"), "{error}");
    assert_eq!((rig.file().as_str(), rig.ban_time_s(), rig.reloads()), (TEXT, 30, 0));
    assert_eq!(rig.reloader.diff().await.steps.len(), 1);
    fs::remove_dir(in_the_way).unwrap();
    rig.reloader.commit(false, "ann").await.unwrap();
    assert_eq!(rig.ban_time_s(), 45);
}

#[tokio::test]
async fn keys_in_force_are_shown() {
    let rig = Rig::new();
    let show =
        |key: &str| rig.reloader.show(key).map(|leaves| leaves.into_iter().map(|leaf| leaf.key).collect::<Vec<_>>());
    assert_eq!(show("detection.ban_time_s").unwrap(), ["detection.ban_time_s"]);
    assert_eq!(show("history").unwrap().len(), 4);
    assert_eq!(show("ports[0]").unwrap().len(), 7);
    assert!(show("").unwrap().len() > 30);
    let error = show("detection.ban_time").unwrap_err().to_string();
    assert!(error.contains("did you mean `detection.ban_time_s`?"), "{error}");
}
