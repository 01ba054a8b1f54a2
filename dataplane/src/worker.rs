//! The loop of a worker: poll, parse, find, count; for watched hosts match and capture. Nothing here locks, allocates,
//! frees, logs, calls the system or panics.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::dpdk::{BURST_MAX, Burst, RxQueue, tsc};
use crate::hosts::{Found, Layout, Owner, PLANES, Place, Slab, Slot, plane};
use crate::networks::{NetworkId, Networks};
use crate::packet::{Addresses, Headers, Unparsed, parse};
use crate::snapshot::Reader;
use crate::stats::{Kind, Lost, Stats};
use crate::tap::{Ring, Sample};
use crate::watch::{CAPTURES_MAX, Capture, Watch};
use crate::{Error, dpdk};

/// What a worker shares with the control thread.
#[derive(Debug)]
pub struct Shared {
    /// The core that it runs on.
    pub core: usize,
    /// Its counters.
    pub slab: Slab,
    /// Its samples.
    pub ring: Ring,
    /// Its figures.
    pub stats: Stats,
}

impl Shared {
    /// Memory for a worker; call it on the worker's core.
    ///
    /// # Errors
    /// When the system has not enough memory.
    pub fn new(core: usize, layout: Layout, seed: [u64; 2]) -> Result<Shared, dpdk::Error> {
        Ok(Shared { core, slab: Slab::new(layout, seed)?, ring: Ring::new()?, stats: Stats::default() })
    }
}

/// Where a packet of a burst is to be counted.
#[derive(Clone, Copy, Default)]
struct Job {
    incoming: Place,
    outgoing: Place,
    bytes: u32,
}

/// How far a worker is with a capture.
#[derive(Clone, Copy, Default)]
struct Progress {
    request: u32,
    passed: u32,
    taken: u32,
}

/// A worker: its queues, and what it alone writes.
pub struct Worker {
    queues: Vec<RxQueue>,
    shared: Arc<Shared>,
    networks: Reader<Networks>,
    watch: Reader<Watch>,
    tick: Arc<AtomicU32>,
    burst_max: usize,
    burst: Burst,
    jobs: Box<[Job; BURST_MAX]>,
    owner: Owner,
    captures: Box<[Progress; CAPTURES_MAX]>,
}

/// What a worker is made of.
pub struct Parts {
    /// The queues that it polls.
    pub queues: Vec<RxQueue>,
    /// Its shared memory.
    pub shared: Arc<Shared>,
    /// The protected networks.
    pub networks: Reader<Networks>,
    /// The watched hosts.
    pub watch: Reader<Watch>,
    /// The control thread's tick.
    pub tick: Arc<AtomicU32>,
    /// Most packets of a poll.
    pub burst_max: usize,
}

impl Worker {
    /// A worker of these parts.
    pub fn new(parts: Parts) -> Worker {
        Worker {
            queues: parts.queues,
            shared: parts.shared,
            networks: parts.networks,
            watch: parts.watch,
            tick: parts.tick,
            burst_max: parts.burst_max,
            burst: Burst::default(),
            jobs: Box::new([Job::default(); BURST_MAX]),
            owner: Owner::new(),
            captures: Box::new([Progress::default(); CAPTURES_MAX]),
        }
    }

    /// Polls until told to stop.
    pub fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.poll();
        }
    }

    /// One of its queues, to be polled by someone else in between.
    pub fn queue(&mut self, index: usize) -> &mut RxQueue {
        &mut self.queues[index]
    }

    /// Polls each queue once. Returns how many packets came.
    #[inline]
    pub fn poll(&mut self) -> usize {
        let tick = self.tick.load(Ordering::Relaxed);
        let mut received = 0;
        for index in 0..self.queues.len() {
            let start = tsc();
            let packets = self.queues[index].receive(&mut self.burst, self.burst_max);
            let stats = &self.shared.stats;
            stats.polls.add(1);
            if packets == 0 {
                stats.empty_polls.add(1);
                stats.seen_alive.set(start);
                continue;
            }
            self.find(tick);
            self.count(packets, tick, start);
            let end = tsc();
            let stats = &self.shared.stats;
            stats.burst(packets, end.wrapping_sub(start));
            stats.seen_alive.set(end);
            received += packets;
        }
        received
    }

    /// First pass over a burst: parse, look up, and ask for the cells that the second pass writes.
    #[inline(always)]
    fn find(&mut self, tick: u32) {
        let networks = self.networks.load();
        let watch = self.watch.load();
        let shared = &*self.shared;
        let mut finder = Finder { owner: &mut self.owner, shared, networks, watch, tick };
        let mut kinds = [(0u64, 0u64); Kind::COUNT];
        self.burst.prefetch();
        for ((frame, frame_len), job) in self.burst.iter().zip(self.jobs.iter_mut()) {
            let kind = match parse(frame) {
                Ok(headers) => finder.find(&headers, job),
                Err(reason) => finder.unparsed(reason, job),
            };
            let (packets, bytes) = &mut kinds[kind as usize];
            *packets += 1;
            *bytes += u64::from(frame_len);
        }
        for (kind, (packets, bytes)) in kinds.into_iter().enumerate() {
            if packets > 0 {
                shared.stats.packets[kind].add(packets);
                shared.stats.bytes[kind].add(bytes);
            }
        }
    }

    /// Second pass: count, and look closer at the packets of watched hosts.
    #[inline(always)]
    fn count(&mut self, packets: usize, tick: u32, now: u64) {
        for index in 0..packets.min(BURST_MAX) {
            let job = self.jobs[index];
            let mut marks = [0; 2];
            for (place, mark) in [job.incoming, job.outgoing].into_iter().zip(&mut marks) {
                if place != Place::NOWHERE {
                    *mark = self.owner.count(&self.shared.slab, place, job.bytes, tick);
                }
            }
            if marks != [0; 2] {
                self.watched(index, marks, tick, now);
            }
        }
    }

    /// A packet of a watched host: counts it for the rule that matches it; what no rule matches feeds captures.
    #[inline(never)]
    fn watched(&mut self, index: usize, marks: [u16; 2], tick: u32, now: u64) {
        let watch = self.watch.load();
        let Some((frame, frame_len)) = self.burst.get(index) else { return };
        let Ok(headers) = parse(frame) else { return };
        let (source, destination) = ends(&headers);
        for (outgoing, mark, host) in [(false, marks[0], destination), (true, marks[1], source)] {
            let Some(watched) = watch.get(mark).filter(|watched| watched.host == host) else { continue };
            let matched = watched.matching(outgoing, &headers);
            if let Some(active) = matched {
                let slab = &self.shared.slab;
                let plane = plane(outgoing, headers.is_fragment(), headers.class);
                self.owner.count(slab, slab.place(slab.rule(active.slot), plane), headers.ip_length, tick);
            }
            for capture in &watched.captures {
                if matched.is_some() && capture.outgoing == outgoing {
                    continue;
                }
                if take(&mut self.captures[usize::from(capture.place) % CAPTURES_MAX], capture) {
                    let sample = Sample::new(capture.request, now, frame, frame_len);
                    if !self.shared.ring.push(&sample) {
                        self.shared.stats.lost[Lost::RingFull as usize].add(1);
                    }
                }
            }
        }
    }
}

/// Whether the next packet is one to take.
fn take(progress: &mut Progress, capture: &Capture) -> bool {
    if progress.request != capture.request {
        *progress = Progress { request: capture.request, ..Progress::default() };
    }
    if progress.taken >= capture.worker_max {
        return false;
    }
    let due = progress.passed == 0;
    progress.passed += 1;
    if progress.passed >= capture.stride {
        progress.passed = 0;
    }
    progress.taken += u32::from(due);
    due
}

fn ends(headers: &Headers) -> (IpAddr, IpAddr) {
    match headers.addresses {
        Addresses::V4 { source, destination } => (IpAddr::V4(source.into()), IpAddr::V4(destination.into())),
        Addresses::V6 { source, destination } => (IpAddr::V6(source.into()), IpAddr::V6(destination.into())),
    }
}

/// Finds the slots that a packet counts for.
struct Finder<'a> {
    owner: &'a mut Owner,
    shared: &'a Shared,
    networks: &'a Networks,
    watch: &'a Watch,
    tick: u32,
}

impl Finder<'_> {
    #[inline(always)]
    fn find(&mut self, headers: &Headers, job: &mut Job) -> Kind {
        let (to, from) = match headers.addresses {
            Addresses::V4 { source, destination } => (self.v4(destination), self.v4(source)),
            Addresses::V6 { source, destination } => (self.v6(destination), self.v6(source)),
        };
        let slab = &self.shared.slab;
        let plane = plane(false, headers.is_fragment(), headers.class);
        let place = |slot: Option<Slot>, plane| {
            let Some(slot) = slot else { return Place::NOWHERE };
            let place = slab.place(slot, plane);
            slab.prefetch(place);
            place
        };
        job.bytes = headers.ip_length;
        job.incoming = place(to, plane);
        job.outgoing = place(from, plane + PLANES / 2);
        match (to.is_some(), from.is_some()) {
            (false, false) => Kind::Other,
            (true, false) => Kind::Incoming,
            (false, true) => Kind::Outgoing,
            (true, true) => Kind::Internal,
        }
    }

    #[inline(always)]
    fn v4(&mut self, address: u32) -> Option<Slot> {
        let network = self.networks.find_v4(address)?;
        match self.owner.slot_v4(&self.shared.slab, address, self.tick) {
            Found::Slot(slot) => Some(slot),
            found => Some(self.new_slot(found, network, None)),
        }
    }

    #[inline(always)]
    fn v6(&mut self, address: u128) -> Option<Slot> {
        let network = self.networks.find_v6(address)?;
        match self.owner.slot_v6(&self.shared.slab, self.networks, address, self.tick) {
            Found::Slot(slot) => Some(slot),
            found => Some(self.new_slot(found, network, self.watch.mark_v6(address))),
        }
    }

    #[cold]
    fn new_slot(&mut self, found: Found, network: NetworkId, mark: Option<u16>) -> Slot {
        let stats = &self.shared.stats;
        let slot = match found {
            Found::Slot(slot) | Found::New(slot) => slot,
            Found::Evicted(slot) => {
                stats.lost[Lost::HostEvicted as usize].add(1);
                slot
            }
            Found::Full => {
                stats.lost[Lost::NoBlock as usize].add(1);
                return self.shared.slab.network(network);
            }
        };
        stats.ipv4_blocks.set(self.owner.used_ipv4_blocks() as u64);
        stats.ipv6_hosts.set(self.owner.used_ipv6_hosts() as u64);
        if let Some(mark) = mark {
            self.shared.slab.set_watch(slot, mark);
        }
        slot
    }

    #[cold]
    fn unparsed(&mut self, reason: Unparsed, job: &mut Job) -> Kind {
        *job = Job::default();
        self.shared.stats.unparsed[reason as usize].add(1);
        Kind::Unparsed
    }
}

/// Pins the calling thread to a core.
pub(crate) fn pin(core: usize) -> Result<(), Error> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: core }) { Ok(()) } else { Err(Error::Pin { core }) }
}
