//! What becomes of a burst of frames: parse, find, count; for watched hosts and networks match and capture. Knows frames and memory, no
//! device. Nothing here locks, allocates, frees, logs, calls the system or panics.
//!
//! Two passes: the first asks the CPU for every cell that the second one writes. IPv6 hosts have passes of their own between
//! them (`other`), where flows are counted one more comes behind (`flows`), and for what is watched another (`closer`).

mod closer;
mod flows;
mod ignored;
mod other;

use std::net::IpAddr;
use std::sync::Arc;

use closer::Closer;
use other::Others;

use crate::dpdk::{self, BURST_MAX};
use crate::flows::{Flows, Side};
use crate::hosts::{Directory, Found, Layout, Owner, PLANES, Place, Said, Slab, Slot, find_v4, key, plane};
use crate::networks::{NetworkId, Networks};
use crate::packet::{Flow, Outline, Reading, Unparsed};
use crate::rule::Columns;
use crate::snapshot::Reader;
use crate::stats::{Kind, Lost, Stats};
use crate::tap::{Countdown, Examples, Ring, Tap};
use crate::watch::Watch;

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
    /// Which examples of unparsed frames it put there.
    pub examples: Examples,
    /// What it takes of all traffic.
    pub tap: Tap,
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
        let (ring, examples, tap, stats) = (Ring::new()?, Examples::default(), Tap::default(), Stats::default());
        Ok(Shared { core, slab, flows, ring, examples, tap, stats })
    }

    /// Worker only: counts a frame that cannot be parsed, and gives it as an example when one is due.
    #[cold]
    #[inline(never)]
    fn unparsed(&self, reason: Unparsed, tick: u32, packet: (&[u8], u32)) {
        self.stats.unparsed[reason as usize].add(1);
        self.examples.give(&self.ring, reason, tick, self.stats.seen_alive.get(), packet);
    }
}

/// Both ends of each packet may be ours.
const JOBS_MAX: usize = 2 * BURST_MAX;

/// What a burst has to be counted for: an entry for each end of a packet that is ours.
struct Jobs {
    len: usize,
    places: [Place; JOBS_MAX],
    /// IP bytes.
    bytes: [u32; JOBS_MAX],
    /// Which packet of the burst.
    packets: [u16; JOBS_MAX],
    /// Only where flows are counted.
    flows: [flows::Job; JOBS_MAX],
}

impl Jobs {
    fn new() -> Jobs {
        Jobs {
            len: 0,
            places: [Place::NOWHERE; JOBS_MAX],
            bytes: [0; JOBS_MAX],
            packets: [0; JOBS_MAX],
            flows: [flows::Job::NONE; JOBS_MAX],
        }
    }

    #[inline(always)]
    fn add(&mut self, place: Place, bytes: u32, packet: usize) {
        let at = self.len % JOBS_MAX;
        (self.places[at], self.bytes[at], self.packets[at]) = (place, bytes, packet as u16);
        self.len = at + 1;
    }

    /// Adds entries; gives where their places are to be put.
    #[inline(always)]
    fn add_all(&mut self, bytes: &[u32], packets: &[u16]) -> &mut [Place] {
        let range = self.len..(self.len + bytes.len()).min(JOBS_MAX);
        self.len = range.end;
        if let (Some(to), Some(from)) = (self.bytes.get_mut(range.clone()), bytes.get(..range.len())) {
            to.copy_from_slice(from);
        }
        if let (Some(to), Some(from)) = (self.packets.get_mut(range.clone()), packets.get(..range.len())) {
            to.copy_from_slice(from);
        }
        self.places.get_mut(range).unwrap_or_default()
    }

    /// The flow of the entry that was added last.
    #[inline(always)]
    fn add_flow(&mut self, flow: flows::Job) {
        self.flows[self.len.wrapping_sub(1) % JOBS_MAX] = flow;
    }
}

/// One worker's pipeline: what it alone writes, and the snapshots that it reads.
pub struct Pipeline {
    shared: Arc<Shared>,
    networks: Reader<Networks>,
    watch: Reader<Watch>,
    reading: Reading,
    owner: Owner,
    jobs: Box<Jobs>,
    others: Box<Others>,
    /// Of packets that rules are asked about.
    columns: Box<Columns>,
    closer: Closer,
    countdown: Countdown,
}

impl Pipeline {
    /// A pipeline into this memory; nobody else may count in it.
    pub fn new(shared: Arc<Shared>, networks: Reader<Networks>, watch: Reader<Watch>) -> Pipeline {
        Pipeline {
            shared,
            networks,
            watch,
            reading: Reading::default(),
            owner: Owner::new(),
            jobs: Box::new(Jobs::new()),
            others: Box::default(),
            columns: Box::default(),
            closer: Closer::default(),
            countdown: Countdown::default(),
        }
    }

    /// The packets that come next are to be read so.
    #[inline(always)]
    pub fn read_as(&mut self, reading: Reading) {
        self.reading = reading;
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
        match self.networks.load().ignored() {
            None => self.look_at(packets, bytes, tick, now),
            Some(_) => self.look_at_the_rest(packets, bytes, tick, now),
        }
    }

    /// The burst, or what is left of it without the packets to ignore.
    #[inline(always)]
    fn look_at<'a, P>(&mut self, packets: P, bytes: u64, tick: u32, now: u64)
    where
        P: ExactSizeIterator<Item = (&'a [u8], u32)> + Clone,
    {
        let is_watched = match self.shared.flows.is_on() {
            true => self.find_and_count_with_flows(packets.clone(), bytes, tick),
            false => {
                self.find::<false>(packets.clone(), bytes, tick);
                self.count(tick)
            }
        };
        if self.countdown.is_due(packets.len() as u32) {
            self.countdown.take((&self.shared.tap, &self.shared.ring), now, packets.clone());
        }
        if is_watched {
            self.look_closer(packets, tick, now);
        }
    }

    /// Apart, so that the usual path is as short as without flow counting.
    #[inline(never)]
    fn find_and_count_with_flows<'a, P>(&mut self, packets: P, bytes: u64, tick: u32) -> bool
    where
        P: ExactSizeIterator<Item = (&'a [u8], u32)> + Clone,
    {
        self.find::<true>(packets, bytes, tick);
        let is_watched = self.count(tick);
        self.count_flows(tick);
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
            reading: self.reading,
            tick,
            sides: [false, true].map(|outgoing| shared.flows.side(shared.flows.epoch(tick), outgoing)),
        };
        finder.owner.begin_burst();
        let mut burst = Burst { jobs: &mut self.jobs, kinds: Default::default() };
        finder.first_pass::<FLOWS>(packets.clone(), &mut burst, &mut self.others);
        if self.others.len > 0 {
            finder.find_wanted::<FLOWS>(&mut self.others, burst.jobs);
        }
        // Nearly all are incoming: these are what is left of the burst.
        let mut kinds = burst.kinds;
        let mut incoming = Tally { packets: packets.len() as u64, bytes };
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
    fn count(&mut self, tick: u32) -> bool {
        let Jobs { len, places, bytes, .. } = &*self.jobs;
        let (places, bytes) = (places.get(..*len).unwrap_or_default(), bytes.get(..*len).unwrap_or_default());
        // A flood is counted at once.
        if let [first, .., last] = places
            && first == last
            && first.is_all_of(places)
        {
            let bytes = bytes.iter().map(|&bytes| u64::from(bytes)).sum();
            return self.owner.count_many(&self.shared.slab, *first, *len as u32, bytes, tick) != 0;
        }
        count(&self.owner, &self.shared.slab, places.iter().zip(bytes), tick).is_watched()
    }
}

/// Counts packets, and says to the meter where.
#[inline(always)]
fn count<'a>(owner: &Owner, slab: &Slab, jobs: impl Iterator<Item = (&'a Place, &'a u32)> + Clone, tick: u32) -> Said {
    let cells = slab.cells();
    let add = |said: Said, (&place, &bytes)| said.join(owner.add(cells, place, bytes, tick));
    let said = jobs.clone().fold(Said::default(), add);
    if said.is_first() {
        touch(owner, slab, jobs, tick);
    }
    said
}

/// Once a tick for every cell in use.
#[cold]
#[inline(never)]
fn touch<'a>(owner: &Owner, slab: &Slab, jobs: impl Iterator<Item = (&'a Place, &'a u32)>, tick: u32) {
    jobs.for_each(|(&place, _)| owner.touch(slab, place, tick));
}

/// What the find passes say of a burst.
struct Burst<'a> {
    jobs: &'a mut Jobs,
    /// All but those that are incoming.
    kinds: [Tally; Kind::COUNT],
}

impl Burst<'_> {
    #[inline(always)]
    fn add(&mut self, kind: Kind, frame_len: u32) {
        if kind != Kind::Incoming {
            self.kinds[kind as usize].add(frame_len);
        }
    }
}

/// Packets and frame bytes of a kind within a burst.
#[derive(Clone, Copy, Default)]
struct Tally {
    packets: u64,
    bytes: u64,
}

impl Tally {
    #[inline(always)]
    fn add(&mut self, frame_len: u32) {
        self.packets += 1;
        self.bytes += u64::from(frame_len);
    }
}

/// Finds the slots that a packet counts for.
struct Finder<'a> {
    root: &'a [u16; 1 << 16],
    directory: &'a Directory,
    owner: &'a mut Owner,
    shared: &'a Shared,
    networks: &'a Networks,
    watch: &'a Watch,
    reading: Reading,
    tick: u32,
    /// Of flow counting: incoming, outgoing.
    sides: [Side; 2],
}

impl Finder<'_> {
    /// Finds what the frames of a burst are to be counted for; of IPv6 hosts it notes who they are.
    #[inline(always)]
    fn first_pass<'a, const FLOWS: bool>(
        &mut self,
        mut packets: impl ExactSizeIterator<Item = (&'a [u8], u32)> + Clone,
        burst: &mut Burst,
        others: &mut Others,
    ) {
        others.len = 0;
        let mut jobs = 0;
        let mut packet = 0;
        let mut ahead = packets.clone();
        while let Some((frame, frame_len)) = ahead.next() {
            burst.jobs.len = jobs;
            if let Some(plain) = self.reading.plain(frame, frame_len) {
                let kind = self.find_v4::<FLOWS>(&plain.outline(), || plain.flow(), packet, burst.jobs);
                burst.add(kind, frame_len);
                packet += 1;
            } else {
                let taken = self.others::<FLOWS>((frame, frame_len), packet, packets.clone(), others, burst);
                packets.nth(taken - 1);
                packet += taken;
                ahead = packets.clone();
            }
            packets = ahead.clone();
            jobs = burst.jobs.len;
        }
        burst.jobs.len = jobs;
    }

    /// Finds what an IPv4 packet is to be counted for.
    #[inline(always)]
    fn find_v4<const FLOWS: bool>(
        &mut self,
        outline: &Outline<u32>,
        flow: impl FnOnce() -> Flow<u32>,
        packet: usize,
        jobs: &mut Jobs,
    ) -> Kind {
        let (to, from) = (self.slot_v4(outline.destination), self.slot_v4(outline.source));
        let plane = plane(false, outline.is_fragment, outline.class);
        let hashed = FLOWS.then(|| self.shared.flows.hash_v4(&flow()));
        let mut add = |slot, plane, outgoing| {
            jobs.add(self.place(slot, plane), outline.ip_length, packet);
            if let Some(hashed) = &hashed {
                jobs.add_flow(self.flow(hashed, slot, outgoing));
            }
        };
        if to != Slot::NOWHERE {
            add(to, plane, false);
            // What nearly every packet is goes no further.
            if from == Slot::NOWHERE {
                return Kind::Incoming;
            }
        }
        if from != Slot::NOWHERE {
            add(from, plane + PLANES / 2, true);
        }
        Kind::of(to != Slot::NOWHERE, from != Slot::NOWHERE)
    }

    /// The cell of a slot, which is on its way to the cache.
    #[inline(always)]
    fn place(&self, slot: Slot, plane: usize) -> Place {
        let place = self.shared.slab.place(slot, plane);
        self.shared.slab.prefetch(place);
        place
    }

    #[inline(always)]
    fn slot_v4(&mut self, address: u32) -> Slot {
        // One read tells the addresses that are none of ours.
        let entry = self.root[(address >> 16) as usize];
        if entry == 0 || !self.networks.holds_v4(entry, address) {
            return Slot::NOWHERE;
        }
        match find_v4(self.directory, address) {
            Some(slot) => slot,
            None => self.new_v4(address),
        }
    }

    #[cold]
    #[inline(never)]
    fn new_v4(&mut self, address: u32) -> Slot {
        let Some(network) = self.networks.find_v4(address) else { return Slot::NOWHERE };
        let shared = self.shared;
        let found = self.owner.insert_v4(&shared.slab, self.networks, address, self.tick);
        match found {
            Found::Known(slot) => return slot,
            Found::New(slot) if shared.slab.ipv4_blocks().contains(&slot.block()) => {
                // All hosts of the block have their slots from now on.
                if let Some(marks) = self.watch.marks_v4(address >> 8) {
                    shared.slab.set_watch_of_block(slot.block(), &marks);
                }
            }
            _ => shared.stats.lost[Lost::NoBlock as usize].add(1),
        }
        self.new_slot(found, network, self.watch.mark(key(IpAddr::V4(address.into()))))
    }

    fn new_slot(&mut self, found: Found, network: NetworkId, mark: Option<u16>) -> Slot {
        let stats = &self.shared.stats;
        let slot = match found {
            Found::New(slot) | Found::Known(slot) => slot,
            Found::Evicted(slot) => {
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
}

#[cfg(test)]
mod tests;
