//! Levee's packet path: ports, workers, per-host counters, capture. [`start`] gives the handles through which the control
//! thread reads counters and tells workers what to watch.

pub mod dpdk;
pub mod feed;
pub mod flows;
pub mod hosts;
pub mod networks;
pub mod packet;
pub mod pipeline;
pub mod rule;
pub mod snapshot;
pub mod stats;
mod sync;
pub mod tap;
pub mod watch;
pub mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel;

use dpdk::{Eal, LcoreThread, Port, PortOptions, RxQueue};
use feed::Feed;
use hosts::Layout;
use networks::Networks;
use packet::Reading;
use pipeline::{Pipeline, Shared};
use snapshot::Snapshot;
use watch::Watch;
use worker::Worker;

/// A port, and the cores that poll its queues: queue 0 the first one, and so on.
#[derive(Clone, Debug)]
pub struct PortPlan {
    /// PCI address, or a virtual device with its arguments.
    pub device: String,
    /// One receive queue for each.
    pub cores: Vec<usize>,
    /// Descriptors of a queue.
    pub descriptors: u16,
    /// Mbufs for each queue.
    pub mbufs: u32,
    /// Take frames for other MAC addresses.
    pub promiscuous: bool,
    /// Largest frame payload in bytes; `None` leaves the device's own.
    pub mtu: Option<u16>,
    /// How its frames are read.
    pub reading: Reading,
}

/// What to start.
#[derive(Debug)]
pub struct Plan {
    /// EAL's arguments, without the program's name.
    pub eal: Vec<String>,
    /// The ports.
    pub ports: Vec<PortPlan>,
    /// Sizes of a worker's tables.
    pub layout: Layout,
    /// Most packets of a poll.
    pub burst_max: usize,
    /// The protected networks.
    pub networks: Networks,
}

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// DPDK, apart from any one port.
    #[error(transparent)]
    Dpdk(#[from] dpdk::Error),
    /// A port; its place in the plan.
    #[error("{source}")]
    Port {
        /// Its place in [`Plan::ports`].
        index: usize,
        /// What went wrong.
        #[source]
        source: Box<dpdk::Error>,
    },
    /// A worker could not be pinned.
    #[error("a worker could not be pinned to core {core}: it does not exist, or this process may not use it")]
    Pin {
        /// Which core.
        core: usize,
    },
    /// The system gave no thread.
    #[error("no thread for the worker on core {core}: {source}")]
    Thread {
        /// Which core.
        core: usize,
        /// The system's words.
        source: std::io::Error,
    },
}

/// The running packet path.
#[derive(Debug)]
pub struct Dataplane {
    ports: Vec<Port>,
    workers: Vec<RunningWorker>,
    stop: Arc<AtomicBool>,
    tick: Arc<AtomicU32>,
    /// The protected networks, as workers see them.
    pub networks: Snapshot<Networks>,
    /// The watched hosts, as workers see them.
    pub watch: Snapshot<Watch>,
}

#[derive(Debug)]
struct RunningWorker {
    shared: Arc<Shared>,
    queues: Vec<(usize, u16)>,
    thread: Option<JoinHandle<()>>,
}

/// Starts EAL, ports and workers.
///
/// # Errors
/// [`Error`]; nothing keeps running then.
pub fn start(plan: Plan) -> Result<Dataplane, Error> {
    let opened = open_ports(&Arc::new(Eal::start(&plan.eal)?), &plan)?;
    let mut dataplane = Dataplane::new(plan.networks);
    // One for all, so that their sketches of a host's flows merge.
    let seed = random_seed();
    let mut by_core: BTreeMap<usize, Vec<(usize, RxQueue, Reading)>> = BTreeMap::new();
    for (index, (port, queues)) in opened.into_iter().enumerate() {
        dataplane.ports.push(port);
        for (core, queue) in plan.ports[index].cores.iter().zip(queues) {
            by_core.entry(*core).or_default().push((index, queue, plan.ports[index].reading));
        }
    }
    for (core, queues) in by_core {
        let worker = start_worker(&dataplane, core, queues, plan.layout, seed, plan.burst_max)?;
        dataplane.workers.push(worker);
    }
    Ok(dataplane)
}

/// A packet path without EAL, ports and threads: its one worker is the [`Feed`], which takes frames from whoever has it.
///
/// # Errors
/// When the system has not enough memory.
pub fn fed(layout: Layout, networks: Networks, reading: Reading) -> Result<(Dataplane, Feed), Error> {
    let mut dataplane = Dataplane::new(networks);
    let shared = Arc::new(Shared::new(0, layout, random_seed())?);
    let pipeline = Pipeline::new(Arc::clone(&shared), dataplane.networks.reader(), dataplane.watch.reader());
    let feed = Feed::new(pipeline, Arc::clone(&dataplane.tick), reading);
    dataplane.workers.push(RunningWorker { shared, queues: Vec::new(), thread: None });
    Ok((dataplane, feed))
}

/// Starts EAL and the ports, and closes them again: finds out whether [`start`] would find them.
///
/// # Errors
/// As [`start`].
pub fn probe(plan: &Plan) -> Result<(), Error> {
    open_ports(&Arc::new(Eal::start(&plan.eal)?), plan).map(drop)
}

fn open_ports(eal: &Arc<Eal>, plan: &Plan) -> Result<Vec<(Port, Vec<RxQueue>)>, Error> {
    let open = |(index, port): (usize, &PortPlan)| {
        let options = PortOptions {
            device: port.device.clone(),
            queues: port.cores.len(),
            descriptors: port.descriptors,
            mbufs: port.mbufs.saturating_mul(port.cores.len() as u32),
            promiscuous: port.promiscuous,
            mtu: port.mtu,
        };
        Port::open(eal, &options).map_err(|source| Error::Port { index, source: Box::new(source) })
    };
    plan.ports.iter().enumerate().map(open).collect()
}

fn start_worker(
    dataplane: &Dataplane,
    core: usize,
    queues: Vec<(usize, RxQueue, Reading)>,
    layout: Layout,
    seed: [u64; 2],
    burst_max: usize,
) -> Result<RunningWorker, Error> {
    let names = queues.iter().map(|(port, queue, _)| (*port, queue.queue())).collect();
    let queues = queues.into_iter().map(|(_, queue, reading)| (queue, reading)).collect();
    let (networks, watch) = (dataplane.networks.reader(), dataplane.watch.reader());
    let (tick, stop) = (Arc::clone(&dataplane.tick), Arc::clone(&dataplane.stop));
    let (ready, answer) = channel::bounded(1);
    let thread = std::thread::Builder::new()
        .name(format!("levee-worker-{core}"))
        .spawn(move || {
            // On its own core from the start: memory that it touches first is near.
            let prepared = worker::pin(core).and_then(|()| {
                let lcore = LcoreThread::register()?;
                Ok((lcore, Arc::new(Shared::new(core, layout, seed)?)))
            });
            let shared = match &prepared {
                Ok((_, shared)) => Arc::clone(shared),
                Err(_) => return drop(ready.send(prepared.map(|(_, shared)| shared))),
            };
            let pipeline = Pipeline::new(Arc::clone(&shared), networks, watch);
            let mut worker = Worker::new(queues, pipeline, tick, burst_max);
            shared.stats.seen_alive.set(dpdk::tsc());
            if ready.send(Ok(shared)).is_ok() {
                worker.run(&stop);
            }
        })
        .map_err(|source| Error::Thread { core, source })?;
    match answer.recv() {
        Ok(Ok(shared)) => Ok(RunningWorker { shared, queues: names, thread: Some(thread) }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::Pin { core }),
    }
}

/// Secret numbers for hashing, from the system.
fn random_seed() -> [u64; 2] {
    use std::hash::{BuildHasher, RandomState};
    [RandomState::new().hash_one(1u8), RandomState::new().hash_one(2u8)]
}

impl Dataplane {
    fn new(networks: Networks) -> Dataplane {
        Dataplane {
            ports: Vec::new(),
            workers: Vec::new(),
            stop: Arc::new(AtomicBool::new(false)),
            tick: Arc::new(AtomicU32::new(1)),
            networks: Snapshot::new(networks),
            watch: Snapshot::new(Watch::default()),
        }
    }

    /// The ports, in the order of the plan.
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// What each worker shares, and its queues as (port, queue).
    pub fn workers(&self) -> impl Iterator<Item = (&Arc<Shared>, &[(usize, u16)])> {
        self.workers.iter().map(|worker| (&worker.shared, worker.queues.as_slice()))
    }

    /// Tells workers that a new tick begins; returns its number. Its low 16 bits are never 0: that is the stamp of a cell in
    /// which nothing was counted.
    pub fn next_tick(&self) -> u32 {
        let next = self.tick.load(Ordering::Relaxed).wrapping_add(1);
        let next = if next as u16 == 0 { next.wrapping_add(1) } else { next };
        self.tick.store(next, Ordering::Relaxed);
        next
    }

    /// Stops workers. Counters stay readable; nothing is counted any more.
    pub fn stop_workers(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.workers.iter_mut().filter_map(|worker| worker.thread.take()) {
            // A worker that panicked has said so on standard error; ports close all the same.
            drop(thread.join());
        }
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        self.stop_workers();
    }
}
