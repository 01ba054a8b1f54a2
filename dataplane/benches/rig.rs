//! The rig that every figure of speed comes from: on one core, on one `net_pcap` device that loops a small template file at
//! full speed, a bare loop (receive, free in bulk) and the real worker, alternating. In both, a receive callback rewrites
//! source and destination, so that exactly the stated number of hosts is touched. Ratios of one run, medians of pairs.
//!
//! `cargo bench -p dataplane --bench rig -- [--pairs N] [--millions N] [--no-huge] [--core N]` writes
//! `target/bench/results.json`.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a benchmark times and prints")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use dataplane::dpdk::{Burst, Eal, LcoreThread, Port, PortOptions, Rewrite, RxQueue};
use dataplane::hosts::{Layout, PLANES, Slot};
use dataplane::networks::Networks;
use dataplane::pipeline::{Pipeline, Shared};
use dataplane::snapshot::Snapshot;
use dataplane::stats::Kind;
use dataplane::watch::Watch;
use dataplane::worker::Worker;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Packets of the template file: few, so that the file itself stays in the cache.
const TEMPLATE: usize = 256;
const BURST: usize = 32;

struct Options {
    pairs: usize,
    packets: u64,
    core: usize,
    huge: bool,
}

fn options() -> Result<Options> {
    let mut options = Options { pairs: 9, packets: 20_000_000, core: 1, huge: free_huge_pages() >= 64 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u64> {
            Ok(arguments.next().ok_or_else(|| format!("{argument} needs a number"))?.parse::<u64>()?)
        };
        match argument.as_str() {
            "--bench" => {}
            "--pairs" => options.pairs = number()?.max(1) as usize,
            "--millions" => options.packets = number()?.max(1) * 1_000_000,
            "--core" => options.core = number()? as usize,
            "--no-huge" => options.huge = false,
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    Ok(options)
}

fn free_huge_pages() -> u64 {
    std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// A pcap file of minimum-size UDP frames (RFC-less format: magic, version 2.4, snap length, link type 1).
fn write_template(path: &Path) -> Result<()> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    let mut frame = vec![0u8; 60];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&46u16.to_be_bytes());
    frame[22] = 64;
    frame[23] = 17;
    frame[38..40].copy_from_slice(&26u16.to_be_bytes());
    for index in 0..TEMPLATE as u32 {
        frame[34..36].copy_from_slice(&(1024 + index as u16).to_be_bytes());
        for word in [index, 0, frame.len() as u32, frame.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(&frame);
    }
    std::fs::write(path, file)?;
    Ok(())
}

/// A walk over all `hosts` (a power of two) numbers in a seeded order that looks random and misses none: a full-period
/// linear congruential generator modulo the number of hosts, its bits mixed by a bijection.
struct Walk {
    state: u32,
    mask: u32,
}

impl Walk {
    fn next(&mut self) -> u32 {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) & self.mask;
        let half = self.mask.count_ones() / 2;
        let mixed = self.state ^ (self.state >> half.max(1));
        mixed.wrapping_mul(0x9e37_79b1) & self.mask
    }
}

/// Packets a second of the bare loop.
fn bare(queue: &mut RxQueue, packets: u64) -> f64 {
    let mut burst = Burst::default();
    let start = Instant::now();
    let mut received = 0;
    while received < packets {
        received += queue.drain(&mut burst, BURST) as u64;
    }
    received as f64 / start.elapsed().as_secs_f64()
}

/// Packets a second of the worker. Where flows are counted, time goes on: a tick is over after as many packets as come
/// within a tenth of a second at 10 Mpps.
fn levee(worker: &mut Worker, packets: u64, tick: Option<&AtomicU32>) -> f64 {
    const TICK: u64 = 1_000_000;
    let start = Instant::now();
    let (mut received, mut end) = (0, TICK);
    while received < packets {
        received += worker.poll() as u64;
        if let Some(tick) = tick.filter(|_| received >= end) {
            tick.store(tick.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            end += TICK;
        }
    }
    received as f64 / start.elapsed().as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<()> {
    let options = options()?;
    let folder = tempfile::tempdir()?;
    let template = folder.path().join("template.pcap");
    write_template(&template)?;
    let mut arguments: Vec<String> =
        ["-l", &options.core.to_string(), "--no-pci", "--no-telemetry", "--log-level=*:5"].map(str::to_owned).to_vec();
    if options.huge {
        arguments.extend(["--in-memory".to_owned(), "-m".to_owned(), "64".to_owned()]);
    } else {
        arguments.extend(["--no-huge", "-m", "64", "--no-shconf", "--iova-mode=va"].map(str::to_owned));
    }
    let eal = Arc::new(Eal::start(&arguments)?);
    core_affinity::set_for_current(core_affinity::CoreId { id: options.core });
    let _lcore = LcoreThread::register()?;
    let mut results = serde_json::json!({ "huge_pages": options.huge, "pairs": options.pairs });
    for (index, (case, flow_ticks)) in [("hosts_64k", 0), ("flows", 10)].into_iter().enumerate() {
        let (port, mut queues) = Port::open(
            &eal,
            &PortOptions {
                device: format!("net_pcap{index},rx_pcap={},infinite_rx=1", template.display()),
                queues: 1,
                descriptors: 512,
                mbufs: 4096,
                promiscuous: true,
                mtu: None,
            },
        )?;
        results[case] = hosts_64k(&options, queues.remove(0), flow_ticks)?;
        drop(port);
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench/results.json");
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(&path, serde_json::to_string_pretty(&results)? + "\n")?;
    println!("{}", serde_json::to_string_pretty(&results)?);
    Ok(())
}

/// 65,536 IPv4 hosts at random, random sources; with flow counting where `flow_ticks` is not 0.
fn hosts_64k(options: &Options, queue: RxQueue, flow_ticks: u32) -> Result<serde_json::Value> {
    const HOSTS: u32 = 65_536;
    let network = u32::from_be_bytes([198, 18, 0, 0]);
    let mut destinations = Walk { state: 1, mask: HOSTS - 1 };
    let mut sources = Walk { state: 7, mask: u32::MAX >> 4 };
    let rewrite = Rewrite::install(&queue, move |frame: &mut [u8]| {
        if let Some(addresses) = frame.get_mut(26..34) {
            // Sources from 0.0.0.0/4 up to 12/8: anything but the protected network.
            addresses[..4].copy_from_slice(&sources.next().to_be_bytes());
            addresses[4..].copy_from_slice(&(network | destinations.next()).to_be_bytes());
        }
    })?;
    let layout = Layout { networks: 256, rules: 256, ipv4_blocks: 1024, ipv6_hosts: 256, flow_ticks };
    let shared = Arc::new(Shared::new(options.core, layout, [3, 5])?);
    let networks = Snapshot::new(Networks::new(&["198.18.0.0/15".parse()?])?);
    let watch = Snapshot::new(Watch::default());
    let pipeline = Pipeline::new(Arc::clone(&shared), networks.reader(), watch.reader());
    let tick = Arc::new(AtomicU32::new(1));
    let mut worker = Worker::new(vec![queue], pipeline, Arc::clone(&tick), BURST);
    let tick = (flow_ticks > 0).then_some(&*tick);
    let mut samples = (Vec::new(), Vec::new(), Vec::new());
    bare(worker.queue(0), options.packets / 4);
    levee(&mut worker, options.packets / 4, tick);
    for pair in 0..options.pairs {
        // The order alternates, so that whatever drifts hits both alike.
        let (bare_pps, levee_pps) = if pair % 2 == 0 {
            let bare_pps = bare(worker.queue(0), options.packets);
            (bare_pps, levee(&mut worker, options.packets, tick))
        } else {
            let levee_pps = levee(&mut worker, options.packets, tick);
            (bare(worker.queue(0), options.packets), levee_pps)
        };
        eprintln!("pair {pair}: bare {:.2} Mpps, levee {:.2} Mpps", bare_pps / 1e6, levee_pps / 1e6);
        samples.0.push(bare_pps);
        samples.1.push(levee_pps);
        samples.2.push(levee_pps / bare_pps);
    }
    let (touched, counted) = touched(&shared);
    let received = shared.stats.total_packets();
    assert_eq!(touched, u64::from(HOSTS), "the run touches exactly the stated hosts");
    assert_eq!(shared.stats.packets[Kind::Incoming as usize].get(), received, "every packet is incoming");
    assert_eq!(counted, received & 0xffff_ffff, "every packet is counted for a host");
    drop(worker);
    drop(rewrite);
    let (bare_pps, levee_pps) = (median(&mut samples.0), median(&mut samples.1));
    Ok(serde_json::json!({
        "hosts": touched,
        "levee_mpps": round(levee_pps / 1e6),
        "bare_mpps": round(bare_pps / 1e6),
        "ratio": round(median(&mut samples.2)),
        "ratio_min": round(samples.2[0]),
        "ratio_max": round(samples.2[samples.2.len() - 1]),
        "added_ns": round(1e9 / levee_pps - 1e9 / bare_pps),
    }))
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Hosts that were counted, and packets counted for hosts (modulo 2³²).
fn touched(shared: &Shared) -> (u64, u64) {
    let slab = &shared.slab;
    let mut hosts = 0;
    let mut packets = 0u64;
    for block in slab.ipv4_blocks() {
        for index in 0..256 {
            let slot = Slot((block * 256 + index) as u32);
            let counted: u64 = (0..PLANES).map(|plane| u64::from(slab.cell(slot, plane).packets())).sum();
            hosts += u64::from(counted > 0);
            packets += counted;
        }
    }
    (hosts, packets & 0xffff_ffff)
}
