//! The rig that every figure of speed comes from: on one core, on one `net_pcap` device that loops a small template file at
//! full speed, a bare loop (receive, free in bulk) and the real worker, alternating. In both, a receive callback rewrites
//! addresses, so that exactly the stated hosts are touched. Ratios of one run, medians of pairs.
//!
//! `cargo bench -p dataplane --bench rig -- [--case NAME]… [--pairs N] [--millions N] [--core N] [--no-huge]
//! [--only-bare | --only-levee]` writes `target/bench/rig.json`; with `--only-…`, for profilers, one side runs and nothing
//! is written.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a benchmark times and prints")]

mod cases;
mod eal;
mod measure;
mod options;
mod traffic;
mod two_workers;

use std::cell::Cell;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dataplane::dpdk::{Eal, LcoreThread, Port, RxQueue};
use options::Options;

type Result<T> = std::result::Result<T, Box<dyn Error>>;
/// What a case reports.
type Report = serde_json::Value;

/// Packets of a poll: the default of the daemon, for both loops.
const BURST: usize = 128;

/// Measures, and asserts that what ran is what the case says.
type Case = fn(&Rig) -> Result<Report>;

/// All cases, in the order in which they run and are reported.
const CASES: &[(&str, Case)] = &[
    ("hosts_64k", cases::hosts_64k),
    ("hosts_1m", cases::hosts_1m),
    ("hosts_v6", cases::hosts_v6),
    ("mixed", cases::mixed),
    ("flows", cases::flows),
    ("attack_10_rules", cases::attack_10_rules),
    ("two_workers", two_workers::two_workers),
];

/// What cases share: EAL, and a folder for template files.
struct Rig {
    options: Options,
    eal: Arc<Eal>,
    folder: tempfile::TempDir,
    devices: Cell<usize>,
}

impl Rig {
    fn start(options: Options) -> Result<Rig> {
        let eal = Arc::new(Eal::start(&eal::arguments(options.core, options.huge))?);
        Ok(Rig { options, eal, folder: tempfile::tempdir()?, devices: Cell::new(0) })
    }

    /// A device that loops these frames on each of its queues.
    fn device(&self, frames: &[Vec<u8>], queues: usize) -> Result<(Port, Vec<RxQueue>)> {
        let index = self.devices.replace(self.devices.get() + 1);
        let template = self.folder.path().join(format!("{index}.pcap"));
        traffic::write_pcap(&template, frames)?;
        Ok(Port::open(&self.eal, &eal::device(index, &template, queues))?)
    }
}

fn main() -> Result<()> {
    let names: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
    let rig = Rig::start(Options::from_arguments(&names)?)?;
    core_affinity::set_for_current(core_affinity::CoreId { id: rig.options.core });
    let _lcore = LcoreThread::register()?;
    let mut reports = serde_json::Map::new();
    for (name, case) in CASES.iter().filter(|(name, _)| rig.options.wants(name)) {
        eprintln!("{name}:");
        reports.insert((*name).to_owned(), case(&rig)?);
    }
    let results = serde_json::json!({
        "huge_pages": rig.options.huge,
        "pairs": rig.options.pairs,
        "millions": rig.options.packets / 1_000_000,
        "cases": reports,
    });
    println!("{}", serde_json::to_string_pretty(&results)?);
    if rig.options.both() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench/rig.json");
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        std::fs::write(&path, serde_json::to_string_pretty(&results)? + "\n")?;
    }
    Ok(())
}
