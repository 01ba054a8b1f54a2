//! What becomes of a burst of frames: parse, find, count; for watched hosts match and capture. Knows frames and memory, no
//! device. Nothing here locks, allocates, frees, logs, calls the system or panics.
//!
//! Two passes: the first asks the CPU for every cell that the second one writes.

use std::net::IpAddr;
use std::sync::Arc;

use crate::dpdk::{self, BURST_MAX};
use crate::hosts::{Found, Layout, Owner, PLANES, Place, Slab, Slot, plane};
use crate::networks::{NetworkId, Networks};
use crate::packet::{Addresses, Headers, Network, Outline, Unparsed, network, outline_v4, outline_v6, parse};
use crate::snapshot::Reader;
use crate::stats::{Kind, Lost, Stats};
use crate::tap::{Ring, Sample};
use crate::watch::{CAPTURES_MAX, Capture, Watch};

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
    /// The watch marks of both, once counted.
    marks: [u16; 2],
}

/// How far a worker is with a capture.
#[derive(Clone, Copy, Default)]
struct Progress {
    request: u32,
    passed: u32,
    taken: u32,
}

/// One worker's pipeline: what it alone writes, and the snapshots that it reads.
pub struct Pipeline {
    shared: Arc<Shared>,
    networks: Reader<Networks>,
    watch: Reader<Watch>,
    owner: Owner,
    jobs: Box<[Job; BURST_MAX]>,
    captures: Box<[Progress; CAPTURES_MAX]>,
}

impl Pipeline {
    /// A pipeline into this memory; nobody else may count in it.
    pub fn new(shared: Arc<Shared>, networks: Reader<Networks>, watch: Reader<Watch>) -> Pipeline {
        Pipeline {
            shared,
            networks,
            watch,
            owner: Owner::new(),
            jobs: Box::new([Job::default(); BURST_MAX]),
            captures: Box::new([Progress::default(); CAPTURES_MAX]),
        }
    }

    /// What it shares.
    #[inline(always)]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Takes a burst of at most [`BURST_MAX`] packets: each its first segment, and the length of the whole frame. `tick` is
    /// the control thread's, `now` the time-stamp counter.
    #[inline(always)]
    pub fn burst<'a>(&mut self, packets: impl ExactSizeIterator<Item = (&'a [u8], u32)> + Clone, tick: u32, now: u64) {
        self.find(packets.clone(), tick);
        self.count(packets, tick, now);
    }

    #[inline(always)]
    fn find<'a>(&mut self, packets: impl Iterator<Item = (&'a [u8], u32)>, tick: u32) {
        let networks = self.networks.load();
        let watch = self.watch.load();
        let shared = &*self.shared;
        let mut finder = Finder { owner: &mut self.owner, shared, networks, watch, tick };
        let mut kinds = [Tally::default(); Kind::COUNT];
        for ((frame, frame_len), job) in packets.zip(self.jobs.iter_mut()) {
            let kind = match network(frame) {
                Ok(Network::V4(packet)) => finder.v4(packet, job),
                Ok(Network::V6(packet)) => finder.v6(packet, job),
                Err(reason) => finder.unparsed(reason, job),
            };
            kinds[kind as usize].add(frame_len);
        }
        for (kind, tally) in kinds.into_iter().enumerate() {
            if tally.packets() > 0 {
                shared.stats.packets[kind].add(tally.packets());
                shared.stats.bytes[kind].add(tally.bytes());
            }
        }
    }

    #[inline(always)]
    fn count<'a>(&mut self, packets: impl ExactSizeIterator<Item = (&'a [u8], u32)>, tick: u32, now: u64) {
        let slab = &self.shared.slab;
        let mut any = 0;
        let jobs = &mut self.jobs[..packets.len().min(BURST_MAX)];
        for job in jobs.iter_mut() {
            let mut marks = [0; 2];
            if job.incoming != Place::NOWHERE {
                marks[0] = self.owner.count(slab, job.incoming, job.bytes, tick);
            }
            if job.outgoing != Place::NOWHERE {
                marks[1] = self.owner.count(slab, job.outgoing, job.bytes, tick);
            }
            any |= marks[0] | marks[1];
            job.marks = marks;
        }
        if any != 0 {
            self.look_closer(packets, tick, now);
        }
    }

    /// For bursts with packets of watched hosts.
    #[inline(never)]
    fn look_closer<'a>(&mut self, packets: impl ExactSizeIterator<Item = (&'a [u8], u32)>, tick: u32, now: u64) {
        for (index, packet) in packets.enumerate().take(BURST_MAX) {
            let marks = self.jobs[index].marks;
            if marks != [0; 2] {
                self.watched(packet, marks, tick, now);
            }
        }
    }

    /// A packet of a watched host: counts it for the rule that matches it; what no rule matches feeds captures.
    #[inline]
    fn watched(&mut self, (frame, frame_len): (&[u8], u32), marks: [u16; 2], tick: u32, now: u64) {
        let watch = self.watch.load();
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

/// Packets (upper half) and frame bytes (lower half) of a kind within a burst: one addition a packet. A burst has at most
/// [`BURST_MAX`] packets of less than 2²⁴ bytes.
#[derive(Clone, Copy, Default)]
struct Tally(u64);

impl Tally {
    #[inline(always)]
    fn add(&mut self, bytes: u32) {
        self.0 = self.0.wrapping_add(1 << 32 | u64::from(bytes));
    }

    fn packets(self) -> u64 {
        self.0 >> 32
    }

    fn bytes(self) -> u64 {
        self.0 & 0xffff_ffff
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
    fn v4(&mut self, packet: &[u8], job: &mut Job) -> Kind {
        match outline_v4(packet) {
            Ok(outline) => {
                let to = self.slot_v4(outline.destination);
                let from = self.slot_v4(outline.source);
                self.job(&outline, to, from, job)
            }
            Err(reason) => self.unparsed(reason, job),
        }
    }

    #[inline(never)]
    fn v6(&mut self, packet: &[u8], job: &mut Job) -> Kind {
        match outline_v6(packet) {
            Ok(outline) => {
                let to = self.slot_v6(outline.destination);
                let from = self.slot_v6(outline.source);
                self.job(&outline, to, from, job)
            }
            Err(reason) => self.unparsed(reason, job),
        }
    }

    #[inline(always)]
    fn job<A>(&self, outline: &Outline<A>, to: Slot, from: Slot, job: &mut Job) -> Kind {
        let plane = plane(false, outline.is_fragment, outline.class);
        *job = Job { bytes: outline.ip_length, ..Job::default() };
        let (is_to, is_from) = (to != Slot::NOWHERE, from != Slot::NOWHERE);
        if is_to {
            job.incoming = self.place(to, plane);
        }
        if is_from {
            job.outgoing = self.place(from, plane + PLANES / 2);
        }
        match (is_to, is_from) {
            (false, false) => Kind::Other,
            (true, false) => Kind::Incoming,
            (false, true) => Kind::Outgoing,
            (true, true) => Kind::Internal,
        }
    }

    #[inline(always)]
    fn place(&self, slot: Slot, plane: usize) -> Place {
        let place = self.shared.slab.place(slot, plane);
        self.shared.slab.prefetch(place);
        place
    }

    #[inline(always)]
    fn slot_v4(&mut self, address: u32) -> Slot {
        let Some(network) = self.networks.find_v4(address) else { return Slot::NOWHERE };
        match self.shared.slab.find_v4(address) {
            Some(slot) => slot,
            None => self.new_v4(address, network),
        }
    }

    #[inline(always)]
    fn slot_v6(&mut self, address: u128) -> Slot {
        let Some(network) = self.networks.find_v6(address) else { return Slot::NOWHERE };
        match self.shared.slab.find_v6(address) {
            Some(slot) => slot,
            None => {
                let found = self.owner.insert_v6(&self.shared.slab, self.networks, address, self.tick);
                self.new_slot(found, network, self.watch.mark_v6(address))
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn new_v4(&mut self, address: u32, network: NetworkId) -> Slot {
        let found = self.owner.insert_v4(&self.shared.slab, address, self.tick);
        self.new_slot(found, network, None)
    }

    fn new_slot(&mut self, found: Found, network: NetworkId, mark: Option<u16>) -> Slot {
        let stats = &self.shared.stats;
        let slot = match found {
            Found::New(slot) => slot,
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
    #[inline(never)]
    fn unparsed(&mut self, reason: Unparsed, job: &mut Job) -> Kind {
        *job = Job::default();
        self.shared.stats.unparsed[reason as usize].add(1);
        Kind::Unparsed
    }
}
