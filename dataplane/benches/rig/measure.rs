//! The two loops, the alternation of both, and what a case reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use dataplane::dpdk::{Backing, Burst, RxQueue, tsc_hz};
use dataplane::hosts::{Layout, PLANES, Slot};
use dataplane::networks::Networks;
use dataplane::packet::Reading;
use dataplane::pipeline::{Pipeline, Shared};
use dataplane::snapshot::Snapshot;
use dataplane::stats::{Kind, Lost};
use dataplane::watch::Watch;
use dataplane::worker::Worker;
use serde_json::{Value, json};

use crate::options::Options;
use crate::{BURST, Result};

/// The control thread's tick goes on after so many packets: every 100 ms at 40 million a second.
const TICK: u64 = 4_000_000;

/// The always-on tap takes one packet of so many: 2,000 of 60 million a second.
const TAP_ONE_IN: u32 = 30_000;

/// A worker, and what the control thread has of it.
pub(crate) struct Bench {
    pub(crate) worker: Worker,
    pub(crate) shared: Arc<Shared>,
    pub(crate) watch: Snapshot<Watch>,
    tick: Arc<AtomicU32>,
    _networks: Snapshot<Networks>,
}

impl Bench {
    /// A worker on this queue that protects these networks.
    pub(crate) fn new(core: usize, queue: RxQueue, layout: Layout, networks: &[&str]) -> Result<Bench> {
        let networks = networks.iter().map(|text| text.parse()).collect::<std::result::Result<Vec<_>, _>>()?;
        let networks = Snapshot::new(Networks::new(&networks)?);
        let watch = Snapshot::new(Watch::default());
        let shared = Arc::new(Shared::new(core, layout, [3, 5])?);
        // As control has it at such a rate.
        shared.tap.set_one_in(TAP_ONE_IN);
        let pipeline = Pipeline::new(Arc::clone(&shared), networks.reader(), watch.reader());
        let tick = Arc::new(AtomicU32::new(1));
        let worker = Worker::new(vec![(queue, Reading::default())], pipeline, Arc::clone(&tick), BURST);
        Ok(Bench { worker, shared, watch, tick, _networks: networks })
    }

    /// Seconds that the bare loop takes for so many packets, each.
    fn bare(&mut self, packets: u64) -> f64 {
        let queue = self.worker.queue(0);
        let mut burst = Burst::default();
        let start = Instant::now();
        let mut received = 0;
        while received < packets {
            received += queue.drain(&mut burst, BURST) as u64;
        }
        start.elapsed().as_secs_f64() / received as f64
    }

    /// Seconds that the worker takes for so many packets, each.
    pub(crate) fn levee(&mut self, packets: u64) -> f64 {
        let start = Instant::now();
        let mut received = 0;
        let mut next_tick = TICK;
        while received < packets {
            received += self.worker.poll() as u64;
            if received >= next_tick {
                self.tick.fetch_add(1, Ordering::Relaxed);
                next_tick += TICK;
            }
        }
        start.elapsed().as_secs_f64() / received as f64
    }

    /// Seconds that the worker takes for so many packets, each; and what of it its own count calls busy.
    fn levee_busy(&mut self, packets: u64) -> (f64, f64) {
        let busy = |bench: &Bench| (bench.shared.stats.busy_cycles.get(), bench.shared.stats.total_packets());
        let before = busy(self);
        let seconds = self.levee(packets);
        let after = busy(self);
        let cycles = (after.0 - before.0) as f64 / (after.1 - before.1) as f64;
        (seconds, cycles / tsc_hz() as f64)
    }

    /// Alternating pairs of both loops.
    pub(crate) fn run(&mut self, options: &Options) -> Pairs {
        let mut pairs = Pairs::default();
        let packets = options.packets;
        for pair in 0..=options.pairs {
            let (mut bare, mut levee) = (f64::NAN, (f64::NAN, f64::NAN));
            // The order alternates, so that whatever drifts hits both alike.
            for side in 0..2 {
                if (pair + side) % 2 == 0 && options.bare() {
                    bare = self.bare(packets);
                } else if (pair + side) % 2 == 1 && options.levee() {
                    levee = self.levee_busy(packets);
                }
            }
            eprintln!("  pair {pair}: bare {:.2} Mpps, levee {:.2} Mpps", 1e-6 / bare, 1e-6 / levee.0);
            // The first one warms up.
            if pair > 0 {
                pairs.bare.push(bare);
                pairs.levee.push(levee.0);
                pairs.busy.push(levee.1);
            }
        }
        pairs
    }

    /// Asserts that every packet was incoming, and was counted for one of exactly so many hosts.
    pub(crate) fn assert_touched(&self, hosts: u64) {
        let stats = &self.shared.stats;
        let received = stats.total_packets();
        let (touched, counted) = touched(&self.shared);
        assert_eq!(touched, hosts, "the run touches exactly the stated hosts");
        assert_eq!(stats.packets[Kind::Incoming as usize].get(), received, "every packet is incoming");
        assert_eq!(counted, received & 0xffff_ffff, "every packet is counted for a host");
        for lost in [Lost::NoBlock, Lost::HostEvicted] {
            assert_eq!(stats.lost[lost as usize].get(), 0, "{}", lost.name());
        }
    }
}

/// Hosts that were counted, and packets counted for hosts (modulo 2³²).
fn touched(shared: &Shared) -> (u64, u64) {
    let slab = &shared.slab;
    let mut hosts = 0;
    let mut packets = 0u64;
    for block in slab.ipv4_blocks().chain(slab.ipv6_blocks()) {
        for index in 0..256 {
            let slot = Slot((block * 256 + index) as u32);
            let counted: u64 = (0..PLANES).map(|plane| u64::from(slab.cell(slot, plane).packets())).sum();
            hosts += u64::from(counted > 0);
            packets += counted;
        }
    }
    (hosts, packets & 0xffff_ffff)
}

/// Seconds a packet, pair by pair.
#[derive(Default)]
pub(crate) struct Pairs {
    bare: Vec<f64>,
    levee: Vec<f64>,
    busy: Vec<f64>,
}

impl Pairs {
    /// The report of a case; `also` is what else it has to say.
    pub(crate) fn report(&self, shared: &Shared, also: &Value) -> Value {
        let each = |f: fn(f64, f64) -> f64| {
            Spread::of(self.bare.iter().zip(&self.levee).map(|(&bare, &levee)| f(bare, levee)))
        };
        let ratio = each(|bare, levee| bare / levee);
        let busy = Spread::of(self.busy.iter().copied());
        let mut report = json!({
            "levee_mpps": round(each(|_, levee| 1e-6 / levee).median),
            "bare_mpps": round(each(|bare, _| 1e-6 / bare).median),
            "ratio": round(ratio.median),
            "ratio_min": round(ratio.min),
            "ratio_max": round(ratio.max),
            "added_ns": round(each(|bare, levee| (levee - bare) * 1e9).median),
            "levee_busy_ns": round(busy.median * 1e9),
            "tables_on_huge_pages": shared.slab.backing() == Backing::HugePages,
        });
        merge(&mut report, also);
        report
    }
}

/// Puts the fields of `more` into an object.
pub(crate) fn merge(object: &mut Value, more: &Value) {
    if let (Some(object), Some(more)) = (object.as_object_mut(), more.as_object()) {
        object.extend(more.clone());
    }
}

/// Median and ends of some figures.
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one figure.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Spread { median: values[values.len() / 2], min: values[0], max: values[values.len() - 1] }
    }
}

/// To three digits after the point.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
