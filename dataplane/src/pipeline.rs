//! What becomes of a burst of frames: parse, find, count; for watched hosts match and capture. Knows frames and memory, no
//! device. Nothing here locks, allocates, frees, logs, calls the system or panics.
//!
//! Two passes: the first asks the CPU for every cell that the second one writes.

mod displaced;
mod flows;

use std::net::IpAddr;
use std::sync::Arc;

use crate::dpdk::{self, BURST_MAX};
use crate::flows::Flows;
use crate::hosts::{Directory, Found, Layout, Owner, PLANES, Place, Slab, Slot, find_v4, key, plane};
use crate::networks::{NetworkId, Networks};
use crate::packet::{
    Addresses, Headers, Network, Outline, Unparsed, network, outline_plain, outline_v4, outline_v6, parse, plain_packet,
};
use crate::snapshot::Reader;
use crate::stats::{Kind, Lost, Stats};
use crate::tap::{Ring, Sample};
use crate::watch::{CAPTURES_MAX, Capture, Watch};
use displaced::{Displaced, turn};

/// What a worker shares with the control thread.
#[derive(Debug)]
pub struct Shared {
    /// The core that it runs on.
    pub core: usize,
    /// Its counters.
    pub slab: Slab,
    /// Its sketches of flows.
    pub flows: Flows,
    /// Its samples.
    pub ring: Ring,
    /// Its figures.
    pub stats: Stats,
}

impl Shared {
    /// Memory for a worker; call it on the worker's core. The seed is that of all workers.
    ///
    /// # Errors
    /// When the system has not enough memory.
    pub fn new(core: usize, layout: Layout, seed: [u64; 2]) -> Result<Shared, dpdk::Error> {
        let (slab, flows) = (Slab::new(layout, seed)?, Flows::new(&layout, seed)?);
        Ok(Shared { core, slab, flows, ring: Ring::new()?, stats: Stats::default() })
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

/// One worker's pipeline: what it alone writes, and the snapshots that it reads.
pub struct Pipeline {
    shared: Arc<Shared>,
    networks: Reader<Networks>,
    watch: Reader<Watch>,
    owner: Owner,
    jobs: Box<[Job; BURST_MAX]>,
    flow_jobs: Box<[flows::Job; BURST_MAX]>,
    displaced: Displaced,
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
            flow_jobs: Box::new([flows::Job::NONE; BURST_MAX]),
            displaced: Displaced::default(),
            captures: Box::new([Progress::default(); CAPTURES_MAX]),
        }
    }

    /// What it shares.
    #[inline(always)]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Takes a burst of at most [`BURST_MAX`] packets: each its first segment, and the length of the whole frame. `bytes` is
    /// the length of all frames, `tick` the control thread's, `now` the time-stamp counter.
    #[inline(always)]
    pub fn burst<'a, P>(&mut self, packets: P, bytes: u64, tick: u32, now: u64)
    where
        P: ExactSizeIterator<Item = (&'a [u8], u32)> + Clone,
    {
        let length = packets.len().min(BURST_MAX);
        let is_watched = match self.shared.flows.is_on() {
            true => self.find_and_count_with_flows(packets.clone(), length, bytes, tick),
            false => {
                self.find::<false>(packets.clone(), bytes, tick);
                self.count(length, tick)
            }
        };
        if is_watched {
            self.look_closer(packets, tick, now);
        }
    }

    /// Apart, so that the usual path is as short as without flow counting.
    #[inline(never)]
    fn find_and_count_with_flows<'a, P>(&mut self, packets: P, length: usize, bytes: u64, tick: u32) -> bool
    where
        P: ExactSizeIterator<Item = (&'a [u8], u32)> + Clone,
    {
        self.find::<true>(packets, bytes, tick);
        let is_watched = self.count(length, tick);
        self.count_flows(length);
        is_watched
    }

    #[inline(always)]
    fn find<'a, const FLOWS: bool>(
        &mut self,
        packets: impl ExactSizeIterator<Item = (&'a [u8], u32)> + Clone,
        bytes: u64,
        tick: u32,
    ) {
        let shared = &*self.shared;
        let Some(directory) = shared.slab.directory() else { return };
        let networks = self.networks.load();
        let mut finder = Finder {
            root: networks.root_v4(),
            directory,
            shared,
            networks,
            watch: self.watch.load(),
            owner: &mut self.owner,
            displaced: &mut self.displaced,
            tick,
            epoch: if FLOWS { shared.flows.epoch(tick) } else { 0 },
        };
        // Nearly all are incoming: these are what is left of the burst.
        let length = packets.len();
        let mut incoming = Tally { packets: length as u64, bytes };
        let mut kinds = [Tally::default(); Kind::COUNT];
        let jobs = self.jobs.iter_mut().zip(self.flow_jobs.iter_mut());
        let mut fetched = false;
        packets.clone().zip(jobs).for_each(|((frame, frame_len), (job, flow))| {
            if FLOWS {
                *flow = flows::Job::NONE;
            }
            let kind = match outline_plain(frame) {
                Some(outline) => finder.v4::<FLOWS>(plain_packet(frame), &outline, job, flow),
                None => {
                    if !fetched && matches!(network(frame), Ok(Network::V6(_))) {
                        fetched = true;
                        finder.fetch_v6(packets.clone());
                    }
                    finder.any::<FLOWS>(frame, job, flow)
                }
            };
            if kind != Kind::Incoming {
                let tally = &mut kinds[kind as usize];
                tally.packets += 1;
                tally.bytes += u64::from(frame_len);
            }
        });
        if !self.displaced.is_empty() {
            self.displaced.redirect(&shared.slab, &mut self.jobs[..length.min(BURST_MAX)]);
        }
        for tally in &kinds {
            incoming.packets -= tally.packets;
            incoming.bytes -= tally.bytes;
        }
        kinds[Kind::Incoming as usize] = incoming;
        for (kind, tally) in kinds.into_iter().enumerate() {
            if tally.packets > 0 {
                shared.stats.packets[kind].add(tally.packets);
                shared.stats.bytes[kind].add(tally.bytes);
            }
        }
    }

    /// Whether any of the packets is of a watched host.
    #[inline(always)]
    fn count(&mut self, length: usize, tick: u32) -> bool {
        let slab = &self.shared.slab;
        let cells = slab.cells();
        let mut marks = 0;
        for job in &self.jobs[..length] {
            if job.incoming != Place::NOWHERE {
                marks |= self.owner.count(slab, cells, job.incoming, job.bytes, tick);
            }
            if job.outgoing != Place::NOWHERE {
                marks |= self.owner.count(slab, cells, job.outgoing, job.bytes, tick);
            }
        }
        marks != 0
    }

    /// For bursts with packets of watched hosts.
    #[inline(never)]
    fn look_closer<'a>(&mut self, packets: impl Iterator<Item = (&'a [u8], u32)>, tick: u32, now: u64) {
        for (index, packet) in packets.enumerate().take(BURST_MAX) {
            let Job { incoming, outgoing, .. } = self.jobs[index];
            let marks = [incoming, outgoing].map(|place| self.shared.slab.watch(place));
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
        for outgoing in [false, true] {
            let watched = watch.get(marks[usize::from(outgoing)]);
            let Some(watched) = watched.filter(|watched| is_end(watched.host, outgoing, &headers)) else { continue };
            let matched = watched.rules[usize::from(outgoing)].first(&headers);
            if let Some(rule) = matched {
                let slab = &self.shared.slab;
                let plane = plane(outgoing, headers.is_fragment(), headers.class);
                let place = slab.place(slab.rule(rule), plane);
                self.owner.count(slab, slab.cells(), place, headers.ip_length, tick);
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

/// Packets and frame bytes of a kind within a burst.
#[derive(Clone, Copy, Default)]
struct Tally {
    packets: u64,
    bytes: u64,
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

/// Whether the packet is to (or, outgoing, from) this host.
#[inline(always)]
fn is_end(host: IpAddr, outgoing: bool, headers: &Headers) -> bool {
    match (host, headers.addresses) {
        (IpAddr::V4(host), Addresses::V4 { source, destination }) => {
            u32::from(host) == if outgoing { source } else { destination }
        }
        (IpAddr::V6(host), Addresses::V6 { source, destination }) => {
            u128::from(host) == if outgoing { source } else { destination }
        }
        _ => false,
    }
}

/// Finds the slots that a packet counts for.
struct Finder<'a> {
    root: &'a [u16; 1 << 16],
    directory: &'a Directory,
    owner: &'a mut Owner,
    displaced: &'a mut Displaced,
    shared: &'a Shared,
    networks: &'a Networks,
    watch: &'a Watch,
    tick: u32,
    /// Of flow counting.
    epoch: u32,
}

impl Finder<'_> {
    #[inline(always)]
    fn v4<const FLOWS: bool>(
        &mut self,
        packet: &[u8],
        outline: &Outline<u32>,
        job: &mut Job,
        flow: &mut flows::Job,
    ) -> Kind {
        let plane = plane(false, outline.is_fragment, outline.class);
        job.bytes = outline.ip_length;
        let to = self.slot_v4(outline.destination, turn(job, false));
        let from = self.slot_v4(outline.source, turn(job, true));
        if FLOWS {
            *flow = self.flow_v4(packet, outline, to, from);
        }
        self.place(job, plane, to, from)
    }

    #[inline(always)]
    fn v6<const FLOWS: bool>(
        &mut self,
        packet: &[u8],
        outline: &Outline<u128>,
        job: &mut Job,
        flow: &mut flows::Job,
    ) -> Kind {
        let plane = plane(false, outline.is_fragment, outline.class);
        job.bytes = outline.ip_length;
        let to = self.slot_v6(outline.destination, turn(job, false));
        let from = self.slot_v6(outline.source, turn(job, true));
        if FLOWS {
            *flow = self.flow_v6(packet, to, from);
        }
        self.place(job, plane, to, from)
    }

    /// Once for a burst with IPv6: asks the CPU for the buckets of all its protected hosts, which lie far apart.
    #[cold]
    #[inline(never)]
    fn fetch_v6<'a>(&self, packets: impl Iterator<Item = (&'a [u8], u32)>) {
        for (frame, _) in packets {
            let Ok(Network::V6(packet)) = network(frame) else { continue };
            let Ok(outline) = outline_v6(packet) else { continue };
            for address in [outline.destination, outline.source] {
                if self.networks.find_v6(address).is_some() {
                    self.shared.slab.prefetch_hashed(address);
                }
            }
        }
    }

    /// Whatever is not plain.
    #[inline(never)]
    fn any<const FLOWS: bool>(&mut self, frame: &[u8], job: &mut Job, flow: &mut flows::Job) -> Kind {
        let outline = match network(frame) {
            Ok(Network::V4(packet)) => outline_v4(packet).map(|outline| self.v4::<FLOWS>(packet, &outline, job, flow)),
            Ok(Network::V6(packet)) => outline_v6(packet).map(|outline| self.v6::<FLOWS>(packet, &outline, job, flow)),
            Err(reason) => Err(reason),
        };
        outline.unwrap_or_else(|reason| self.unparsed(reason, job))
    }

    #[inline(always)]
    fn place(&self, job: &mut Job, plane: usize, to: Slot, from: Slot) -> Kind {
        let slab = &self.shared.slab;
        (job.incoming, job.outgoing) = (Place::NOWHERE, Place::NOWHERE);
        if to != Slot::NOWHERE {
            job.incoming = slab.place(to, plane);
            slab.prefetch(job.incoming);
        }
        if from != Slot::NOWHERE {
            job.outgoing = slab.place(from, plane + PLANES / 2);
            slab.prefetch(job.outgoing);
            return if to == Slot::NOWHERE { Kind::Outgoing } else { Kind::Internal };
        }
        if to == Slot::NOWHERE { Kind::Other } else { Kind::Incoming }
    }

    #[inline(always)]
    fn slot_v4(&mut self, address: u32, turn: usize) -> Slot {
        // One read tells the addresses that are none of ours.
        let entry = self.root[(address >> 16) as usize];
        if entry == 0 || !self.networks.holds_v4(entry, address) {
            return Slot::NOWHERE;
        }
        match find_v4(self.directory, address) {
            Some(slot) => slot,
            None => self.new_v4(address, turn),
        }
    }

    #[inline(always)]
    fn slot_v6(&mut self, address: u128, turn: usize) -> Slot {
        let Some(network) = self.networks.find_v6(address) else { return Slot::NOWHERE };
        match self.shared.slab.find_v6(address) {
            Some(slot) => slot,
            None => {
                let found = self.owner.insert_v6(&self.shared.slab, self.networks, address, self.tick);
                self.new_slot(found, network, self.watch.mark(address), turn)
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn new_v4(&mut self, address: u32, turn: usize) -> Slot {
        let Some(network) = self.networks.find_v4(address) else { return Slot::NOWHERE };
        let shared = self.shared;
        let found = self.owner.insert_v4(&shared.slab, self.networks, address, self.tick);
        match found {
            Found::Known(slot) => return slot,
            Found::New(slot) if shared.slab.ipv4_blocks().contains(&slot.block()) => {}
            _ => shared.stats.lost[Lost::NoBlock as usize].add(1),
        }
        self.new_slot(found, network, self.watch.mark(key(IpAddr::V4(address.into()))), turn)
    }

    fn new_slot(&mut self, found: Found, network: NetworkId, mark: Option<u16>, turn: usize) -> Slot {
        let stats = &self.shared.stats;
        let slot = match found {
            Found::New(slot) | Found::Known(slot) => slot,
            Found::Evicted(slot, of_network) => {
                self.displaced.push(slot, of_network, turn);
                stats.lost[Lost::HostEvicted as usize].add(1);
                slot
            }
            Found::Full => {
                stats.lost[Lost::NoSlot as usize].add(1);
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

#[cfg(test)]
mod tests;
