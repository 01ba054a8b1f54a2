//! Two queues on two cores, to one of them alone: whether workers get into each other's way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use dataplane::dpdk::{LcoreThread, Rewrite, RxQueue};
use serde_json::json;

use crate::cases::LAYOUT;
use crate::measure::{Bench, Spread, round};
use crate::traffic::{to_hosts_v4, udp_v4};
use crate::{Report, Result, Rig};

const CORES: [usize; 2] = [0, 1];
const HOSTS: u32 = 65_536;

/// A worker on a thread of its own, which runs when told to.
struct Runner<'a> {
    go: Sender<()>,
    pps: Receiver<f64>,
    stop: &'a AtomicBool,
}

/// Two workers, each 65,536 hosts at random, to one of them: the ratio of packets a second. The thread that measures is
/// parked meanwhile, as the control thread is between ticks.
pub(crate) fn two_workers(rig: &Rig) -> Result<Report> {
    let (_port, queues) = rig.device(&udp_v4(), CORES.len())?;
    let rewrites: Vec<_> = queues
        .iter()
        .map(|queue| Rewrite::install(queue, to_hosts_v4(HOSTS)))
        .collect::<std::result::Result<_, _>>()?;
    let stop = AtomicBool::new(false);
    // As long as one of the other cases' runs.
    let length = Duration::from_secs_f64(rig.options.packets as f64 / 20e6);
    let report = std::thread::scope(|scope| -> Result<Report> {
        let runners: Vec<Runner<'_>> = CORES
            .iter()
            .zip(queues)
            .map(|(&core, queue)| {
                let ((go, told), (answer, pps)) = (bounded(1), bounded(1));
                let stop = &stop;
                scope.spawn(move || serve(core, queue, stop, &told, &answer).expect("a worker"));
                Runner { go, pps, stop }
            })
            .collect();
        measure(rig.options.pairs, length, &runners)
    });
    drop(rewrites);
    report
}

fn serve(core: usize, queue: RxQueue, stop: &AtomicBool, told: &Receiver<()>, answer: &Sender<f64>) -> Result<()> {
    core_affinity::set_for_current(core_affinity::CoreId { id: core });
    let _lcore = LcoreThread::register()?;
    let mut bench = Bench::new(core, queue, LAYOUT, &["10.0.0.0/8"])?;
    while told.recv().is_ok() {
        let start = Instant::now();
        let mut packets = 0;
        while !stop.load(Ordering::Relaxed) {
            packets += bench.worker.poll();
        }
        answer.send(packets as f64 / start.elapsed().as_secs_f64())?;
    }
    bench.assert_touched(u64::from(HOSTS));
    Ok(())
}

fn measure(pairs: usize, length: Duration, runners: &[Runner<'_>]) -> Result<Report> {
    // Both make their tables and warm up.
    together(runners, length)?;
    let (mut one, mut two, mut ratio) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..pairs {
        let mut alone = [0.0; 2];
        let mut both = 0.0;
        // The order alternates; each worker alone in turn, so that an unequal core does not count.
        for step in 0..3 {
            match (pair + step) % 3 {
                2 => both = together(runners, length)?,
                which => alone[which] = together(&runners[which..=which], length)?,
            }
        }
        let mean = (alone[0] + alone[1]) / 2.0;
        eprintln!(
            "  pair {pair}: alone {:.2} and {:.2} Mpps, both {:.2} Mpps",
            alone[0] / 1e6,
            alone[1] / 1e6,
            both / 1e6
        );
        one.push(mean);
        two.push(both);
        ratio.push(both / mean);
    }
    let ratio = Spread::of(ratio.into_iter());
    Ok(json!({
        "one_mpps": round(Spread::of(one.into_iter()).median / 1e6),
        "two_mpps": round(Spread::of(two.into_iter()).median / 1e6),
        "ratio": round(ratio.median),
        "ratio_min": round(ratio.min),
        "ratio_max": round(ratio.max),
        "hosts": HOSTS,
    }))
}

/// Packets a second of these workers, all at once.
fn together(runners: &[Runner<'_>], length: Duration) -> Result<f64> {
    runners.iter().for_each(|runner| runner.stop.store(false, Ordering::Relaxed));
    for runner in runners {
        runner.go.send(())?;
    }
    std::thread::sleep(length);
    runners.iter().for_each(|runner| runner.stop.store(true, Ordering::Relaxed));
    let mut total = 0.0;
    for runner in runners {
        total += runner.pps.recv()?;
    }
    Ok(total)
}
