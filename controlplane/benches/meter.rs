//! What a look of the meter costs, over two workers: with a million active IPv4 or IPv6 hosts, with a million known ones of
//! which few are active, and where flows are counted; and how much slower a worker gets while the meter looks every 100 ms.
//!
//! `cargo bench -p controlplane --bench meter -- [--ticks N] [--pairs N] [--millions N] [--core N] [--no-huge]` writes
//! `target/bench/meter.json`.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use controlplane::attack::{Kind, Metric, Thresholds, Unit, Volumes};
use controlplane::meter::{Group, Map, Meter, Tick};
use dataplane::dpdk::{Eal, LcoreThread, Port, Rewrite};
use dataplane::hosts::{Layout, Owner, Slot, plane};
use dataplane::networks::Networks;
use dataplane::packet::{Class, Flow, Reading};
use dataplane::pipeline::{Pipeline, Shared};
use dataplane::snapshot::Snapshot;
use dataplane::watch::Watch;
use dataplane::worker::Worker;
use serde_json::{Value, json};

#[path = "../../dataplane/benches/rig/eal.rs"]
mod eal;
#[path = "../../dataplane/benches/rig/traffic.rs"]
#[allow(dead_code, reason = "the rig uses the rest")]
mod traffic;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const HOSTS: u32 = 1_000_000;
const FEW: usize = 10_000;
const IPV4: Layout =
    Layout { networks: 256, rules: 256, ipv4_blocks: 4096, ipv6_hosts: 256, flow_ticks: 0, ipv6_prefix_length: 128 };
const IPV6: Layout = Layout { ipv4_blocks: 1, ipv6_hosts: HOSTS as usize, ..IPV4 };
const PROTECTED: [&str; 2] = ["10.0.0.0/8", "2001:db8::/32"];
/// Of hashes: any will do, if its bits are mixed.
const SEED: [u64; 2] = [0x2545_f491_4f6c_dd1d, 0xd134_2543_de82_ef95];
const TICK: Duration = Duration::from_millis(100);

/// Epochs of a second.
fn with_flows(layout: Layout) -> Layout {
    Layout { flow_ticks: 10, ..layout }
}

fn protected() -> Result<Networks> {
    Ok(Networks::new(&[PROTECTED[0].parse()?, PROTECTED[1].parse()?])?)
}

struct Options {
    ticks: usize,
    pairs: usize,
    packets: u64,
    core: usize,
    huge: bool,
}

fn options() -> Result<Options> {
    let mut options = Options { ticks: 11, pairs: 7, packets: 20_000_000, core: 1, huge: eal::are_huge_pages_free() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<usize> {
            Ok(arguments.next().ok_or_else(|| format!("{argument} needs a number"))?.parse::<usize>()?)
        };
        match argument.as_str() {
            // Cargo's own.
            "--bench" => {}
            "--ticks" => options.ticks = number()?.max(1),
            "--pairs" => options.pairs = number()?.max(1),
            "--millions" => options.packets = number()?.max(1) as u64 * 1_000_000,
            "--core" => options.core = number()?,
            "--no-huge" => options.huge = false,
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    Ok(options)
}

fn main() -> Result<()> {
    let options = options()?;
    let results = json!({
        "meter_1m_active": report(ticks(&options, IPV4, HOSTS as usize)?),
        "meter_10k_of_1m": report(ticks(&options, IPV4, FEW)?),
        "meter_1m_active_v6": report(ticks(&options, IPV6, HOSTS as usize)?),
        "meter_10k_of_1m_v6": report(ticks(&options, IPV6, FEW)?),
        "meter_1m_active_flows": report(ticks(&options, with_flows(IPV4), HOSTS as usize)?),
        "meter_10k_of_1m_flows": report(ticks(&options, with_flows(IPV4), FEW)?),
        "meter_1m_active_v6_flows": report(ticks(&options, with_flows(IPV6), HOSTS as usize)?),
        "slow_down": slow_down(&options)?,
    });
    println!("{}", serde_json::to_string_pretty(&results)?);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bench/meter.json");
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(&path, serde_json::to_string_pretty(&results)? + "\n")?;
    Ok(())
}

fn report(ms: Vec<f64>) -> Value {
    let [min, median, max] = spread(ms);
    json!({ "tick_ms": median, "tick_ms_min": min, "tick_ms_max": max })
}

/// Least, median, and greatest, to three digits after the point.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [0, values.len() / 2, values.len() - 1].map(|index| (values[index] * 1000.0).round() / 1000.0)
}

/// A meter with thresholds that nobody crosses.
fn meter(workers: Vec<Arc<Shared>>) -> Result<Meter> {
    let networks = Arc::new(protected()?);
    let mut thresholds = Thresholds::default();
    for (unit, value) in [(Unit::Pps, 1_000_000_000), (Unit::Bps, 1_000_000_000_000)] {
        thresholds.set(Metric { kind: Kind::Total, unit }, value);
        thresholds.set(Metric { kind: Kind::Udp, unit }, value);
    }
    let group =
        |name: &str, networks| Group { name: name.into(), networks, thresholds: [thresholds; 2], ..Group::default() };
    let groups = vec![group("default", vec![]), group("customers", vec!["10.1.0.0/16".parse()?])];
    Ok(Meter::new(workers, Map::new(networks, groups, IPV4.ipv6_prefix_length)?))
}

fn look(meter: &mut Meter, tick: u32) -> Tick {
    meter.tick(tick, TICK.as_secs_f64(), |_| Volumes::default())
}

/// Hosts of the family that the layout is for.
fn address(layout: &Layout, host: u32) -> IpAddr {
    match layout.ipv4_blocks > 1 {
        true => Ipv4Addr::from(traffic::HOSTS_V4 + host).into(),
        false => Ipv6Addr::from(traffic::HOSTS_V6 + u128::from(host)).into(),
    }
}

/// A worker's side, as far as the meter sees it.
struct Counting {
    shared: Arc<Shared>,
    owner: Owner,
    /// By host: those for whom there was no room have none.
    slots: Vec<Option<Slot>>,
}

impl Counting {
    /// A worker that met all hosts, in this order.
    fn new(core: usize, layout: Layout, hosts: impl Iterator<Item = u32>) -> Result<Counting> {
        let (shared, mut owner) = (Arc::new(Shared::new(core, layout, SEED)?), Owner::new());
        let (slab, networks) = (&shared.slab, protected()?);
        for host in hosts.map(|host| address(&layout, host)) {
            if slab.find(host).is_none() {
                owner.begin_burst();
                match host {
                    IpAddr::V4(host) => owner.insert_v4(slab, &networks, host.into(), 1),
                    IpAddr::V6(host) => owner.insert_v6(slab, &networks, host.into(), 1),
                };
            }
        }
        shared.stats.ipv4_blocks.set(owner.used_ipv4_blocks() as u64);
        let slots = (0..HOSTS).map(|host| slab.find(address(&layout, host))).collect();
        Ok(Counting { shared, owner, slots })
    }

    /// One packet for each of these hosts, each of another flow.
    fn count(&self, hosts: &[u32], tick: u32) {
        let Shared { slab, flows, .. } = &*self.shared;
        for &host in hosts {
            let Some(slot) = self.slots[host as usize] else { continue };
            self.owner.count(slab, slab.place(slot, plane(false, false, Class::Udp)), 46, tick);
            if flows.is_on() {
                let upper = u64::from(tick) << 16;
                let hashed = match address(slab.layout(), host) {
                    IpAddr::V4(host) => flows.hash_v4(&Flow { source: 1, destination: host.into(), upper }),
                    IpAddr::V6(host) => flows.hash_v6(&Flow { source: 1, destination: host.into(), upper }),
                };
                let epoch = flows.epoch(tick);
                flows.count(flows.place(flows.side(epoch, false), slot, hashed.destination), epoch, hashed.flow);
            }
        }
    }
}

/// Milliseconds of looks at two workers that know [`HOSTS`] and each count packets for the same `active` of them, scattered
/// at random, within every tick.
fn ticks(options: &Options, layout: Layout, active: usize) -> Result<Vec<f64>> {
    let workers = [Counting::new(0, layout, 0..HOSTS)?, Counting::new(1, layout, (0..HOSTS).rev())?];
    let mut meter = meter(workers.iter().map(|worker| Arc::clone(&worker.shared)).collect())?;
    let mut order = traffic::Order::new((0..HOSTS).collect());
    let all: Vec<u32> = (0..HOSTS).map(|_| order.next()).collect();
    let has_slot = |host: &u32| workers.iter().any(|worker| worker.slots[*host as usize].is_some());
    let mut tick = 1;
    let mut round = |meter: &mut Meter, hosts: &[u32]| -> f64 {
        workers.iter().for_each(|worker| worker.count(hosts, tick));
        tick += 1;
        let start = Instant::now();
        let seen = look(meter, tick);
        let ms = start.elapsed().as_secs_f64() * 1e3;
        assert_eq!(seen.active, hosts.iter().filter(|host| has_slot(host)).count() as u64, "all active hosts");
        assert_eq!(seen.observed.len(), 0, "nobody is over a threshold");
        ms
    };
    round(&mut meter, &all);
    // Until the meter need no longer look at what the first round touched.
    for _ in 0..5 {
        round(&mut meter, &[]);
    }
    let hosts = &all[..active];
    for _ in 0..2 {
        round(&mut meter, hosts);
    }
    // Where flows are counted, until a whole epoch is summed up.
    let times = (0..options.ticks.max(3 * layout.flow_ticks as usize)).map(|_| round(&mut meter, hosts)).collect();
    let known = hosts.iter().copied().filter(has_slot);
    let pps = known.clone().next().map_or(0.0, |host| meter.host(address(&layout, host)).rates[0].of(&[Class::Udp]).0);
    assert!(pps > 1.0, "its rate is known: {pps}");
    if layout.flow_ticks > 0 {
        // Both workers saw the same flow of a host in each tick.
        let truth = (known.count() * layout.flow_ticks as usize) as f64;
        let sum: f64 = meter.networks().iter().map(|(_, sum)| sum.flows[0]).sum();
        assert!((sum / truth - 1.0).abs() < 0.015, "{sum} of {truth} flows");
    }
    Ok(times)
}

/// A worker on a core of its own, a million hosts at random, while the meter looks every 100 ms or does not: the ratio of
/// packets a second.
fn slow_down(options: &Options) -> Result<Value> {
    let running = Arc::new(Eal::start(&eal::arguments(options.core, options.huge))?);
    let folder = tempfile::tempdir()?;
    let template = folder.path().join("template.pcap");
    traffic::write_pcap(&template, &traffic::udp_v4())?;
    let (_port, mut queues) = Port::open(&running, &eal::device(0, &template, 1))?;
    let queue = queues.remove(0);
    let _rewrite = Rewrite::install(&queue, traffic::to_hosts_v4(HOSTS))?;
    let networks = Snapshot::new(protected()?);
    let watch = Snapshot::new(Watch::default());
    let shared = Arc::new(Shared::new(options.core, IPV4, SEED)?);
    let tick = Arc::new(AtomicU32::new(1));
    let pipeline = Pipeline::new(Arc::clone(&shared), networks.reader(), watch.reader());
    let mut worker = Worker::new(vec![(queue, Reading::default())], pipeline, Arc::clone(&tick), 32);

    core_affinity::set_for_current(core_affinity::CoreId { id: options.core });
    let _lcore = LcoreThread::register()?;
    let mut run = |packets: u64| {
        let start = Instant::now();
        let mut received = 0;
        while received < packets {
            received += worker.poll() as u64;
        }
        received as f64 / start.elapsed().as_secs_f64()
    };
    run(u64::from(HOSTS) * 2);
    let (stop, looking) = (AtomicBool::new(false), AtomicBool::new(false));
    let meter = meter(vec![Arc::clone(&shared)])?;
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| look_on(meter, options.core, &tick, &looking, &stop));
        let mut ratios = Vec::new();
        for pair in 0..options.pairs {
            let mut pps = [0.0; 2];
            // The order alternates, so that whatever drifts hits both alike.
            for step in 0..2 {
                let with = (pair + step) % 2;
                looking.store(with == 1, Ordering::Relaxed);
                pps[with] = run(options.packets);
            }
            eprintln!("pair {pair}: parked {:.2} Mpps, looking {:.2} Mpps", pps[0] / 1e6, pps[1] / 1e6);
            ratios.push(pps[1] / pps[0]);
        }
        stop.store(true, Ordering::Relaxed);
        let (looks, most) = looks.join().map_err(|_| "the thread that looks panicked")?;
        assert!(looks > 0, "the meter looked");
        assert_eq!(most, u64::from(HOSTS), "a look saw all hosts");
        let [min, median, max] = spread(ratios);
        Ok(json!({ "ratio": median, "ratio_min": min, "ratio_max": max, "looks": looks, "hosts": HOSTS }))
    })
}

/// Looks every [`TICK`] while `looking`, as the control thread does. Returns how often, and the most hosts that it saw.
fn look_on(
    mut meter: Meter,
    worker_core: usize,
    tick: &AtomicU32,
    looking: &AtomicBool,
    stop: &AtomicBool,
) -> (u64, u64) {
    let elsewhere = |cores: Vec<core_affinity::CoreId>| cores.into_iter().find(|core| core.id != worker_core);
    core_affinity::get_core_ids().and_then(elsewhere).map(core_affinity::set_for_current);
    let (mut looks, mut most) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(TICK);
        if looking.load(Ordering::Relaxed) {
            most = most.max(look(&mut meter, tick.fetch_add(1, Ordering::Relaxed) + 1).active);
            looks += 1;
        }
    }
    (looks, most)
}
