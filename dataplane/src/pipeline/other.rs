//! Frames that are not plain ([`crate::packet::Plain`]): IPv6, tags, options, fragments, and what cannot be parsed. What an IPv6 host's
//! slot is takes three looks at memory that lies far apart, so three passes ask for it in turn: for the tags of its buckets,
//! then for the address and the cell of the slot that has its tag. Frames of plain IPv6 that follow one another go together.

use super::flows::Job;
use super::{Burst, Finder, JOBS_MAX, Jobs};
use crate::dpdk::BURST_MAX;
use crate::flows::Hashed;
use crate::hosts::{Bucket, Place, Slab, Slot, plane};
use crate::networks::Networks;
use crate::packet::{Network, Outline, PlainV6, flow_v4, flow_v6, network, outline_v4, outline_v6};
use crate::stats::Kind;

/// The IPv6 hosts that a burst is for: an entry for each end of a packet that is one of ours, in columns.
pub(super) struct Others {
    pub(super) len: usize,
    /// Of keys.
    upper_halves: [u64; JOBS_MAX],
    lower_halves: [u64; JOBS_MAX],
    buckets: [Bucket; JOBS_MAX],
    planes: [Place; JOBS_MAX],
    /// IP bytes.
    bytes: [u32; JOBS_MAX],
    /// Which packet of the burst.
    packets: [u16; JOBS_MAX],
    slots: [Slot; JOBS_MAX],
    /// Entries whose host is not where it is first looked for.
    elsewhere: [u16; JOBS_MAX],
    /// By packet of the burst; only where flows are counted.
    flows: [Option<Hashed>; BURST_MAX],
}

impl Default for Others {
    fn default() -> Others {
        Others {
            len: 0,
            upper_halves: [0; JOBS_MAX],
            lower_halves: [0; JOBS_MAX],
            buckets: [Bucket::default(); JOBS_MAX],
            planes: [Place::NOWHERE; JOBS_MAX],
            bytes: [0; JOBS_MAX],
            packets: [0; JOBS_MAX],
            slots: [Slot::NOWHERE; JOBS_MAX],
            elsewhere: [0; JOBS_MAX],
            flows: [None; BURST_MAX],
        }
    }
}

impl Others {
    /// Notes which hosts of ours a packet is for.
    fn want(&mut self, networks: &Networks, slab: &Slab, outline: &Outline<&[u8; 16]>, packet: usize) -> Kind {
        let [to, from] = [outline.destination, outline.source].map(|end| networks.find_v6(end).is_some());
        for outgoing in [false, true].into_iter().filter(|&outgoing| if outgoing { from } else { to }) {
            self.packets[self.len % JOBS_MAX] = packet as u16;
            self.len = self.want_end(self.len, slab, outline, outgoing);
        }
        Kind::of(to, from)
    }

    /// Entry `at`: its buckets are on their way to the cache. Gives how many entries there are then.
    #[inline(always)]
    fn want_end(&mut self, at: usize, slab: &Slab, outline: &Outline<&[u8; 16]>, outgoing: bool) -> usize {
        let at = at % JOBS_MAX;
        let key = slab.key_v6(u128::from_be_bytes(*if outgoing { outline.source } else { outline.destination }));
        (self.upper_halves[at], self.lower_halves[at]) = ((key >> 64) as u64, key as u64);
        self.buckets[at] = slab.first_bucket(key);
        self.planes[at] = slab.plane(plane(outgoing, outline.is_fragment, outline.class));
        slab.prefetch_bucket(self.buckets[at], self.planes[at]);
        self.bytes[at] = outline.ip_length;
        at + 1
    }

    /// The slot of an entry, and the cell of it.
    #[inline(always)]
    fn put(&mut self, at: usize, slot: Slot, places: &mut [Place]) {
        self.slots[at] = slot;
        if let Some(place) = places.get_mut(at) {
            *place = self.planes[at].of(slot);
        }
    }

    #[inline(always)]
    fn key(&self, at: usize) -> u128 {
        u128::from(self.upper_halves[at]) << 64 | u128::from(self.lower_halves[at])
    }
}

impl Finder<'_> {
    /// A frame that is not plain, and those behind it that are plain IPv6. Gives how many it took.
    #[inline(always)]
    pub(super) fn others<'a, const FLOWS: bool>(
        &mut self,
        (frame, frame_len): (&'a [u8], u32),
        first: usize,
        packets: impl Iterator<Item = (&'a [u8], u32)>,
        others: &mut Others,
        burst: &mut Burst,
    ) -> usize {
        if PlainV6::of(frame).is_some() {
            let taken = self.plain_v6::<FLOWS>(first, packets, others, burst);
            if taken > 0 {
                return taken;
            }
        }
        self.any::<FLOWS>(frame, frame_len, first, others, burst);
        1
    }

    /// Packets of plain IPv6 that come or go, up to the first other one; gives how many there were. It calls nothing, so
    /// that what it uses may stay in registers.
    #[inline(never)]
    fn plain_v6<'a, const FLOWS: bool>(
        &self,
        first: usize,
        packets: impl Iterator<Item = (&'a [u8], u32)>,
        others: &mut Others,
        burst: &mut Burst,
    ) -> usize {
        let (networks, slab, reading) = (self.networks, &self.shared.slab, self.reading);
        let before = others.len;
        let mut len = before;
        for (frame, frame_len) in packets {
            let Some(plain) = reading.plain_v6(frame, frame_len) else { break };
            let outline = plain.outline();
            let to = networks.find_v6(outline.destination).is_some();
            let from = networks.find_v6(outline.source).is_some();
            if to == from {
                break;
            }
            if from {
                burst.add(Kind::Outgoing, frame_len);
            }
            if FLOWS {
                others.flows[(first + len - before) % BURST_MAX] = self.hash_v6(frame);
            }
            len = others.want_end(len, slab, &outline, from);
        }
        others.len = len;
        let packets = others.packets.iter_mut().take(len).skip(before);
        packets.zip(first..).for_each(|(place, packet)| *place = packet as u16);
        len - before
    }

    /// Finds the slots of IPv6 hosts.
    #[inline(never)]
    pub(super) fn find_wanted<const FLOWS: bool>(&mut self, others: &mut Others, jobs: &mut Jobs) {
        let slab = &self.shared.slab;
        let (first, len) = (jobs.len, others.len.min(JOBS_MAX));
        let places = jobs.add_all(&others.bytes[..len], &others.packets[..len]);
        let mut elsewhere = 0;
        for (at, place) in (0..len).zip(&mut *places) {
            let (slot, is_found) = slab.look(others.buckets[at], others.key(at));
            (others.slots[at], *place) = (slot, others.planes[at].of(slot));
            // No branch: nobody could predict it.
            others.elsewhere[elsewhere % JOBS_MAX] = at as u16;
            elsewhere += usize::from(!is_found);
        }
        if elsewhere > 0 {
            self.find_elsewhere(others, elsewhere, places);
        }
        if FLOWS {
            for (at, job) in (0..len).zip(jobs.flows.iter_mut().skip(first)) {
                let flow = others.flows[usize::from(others.packets[at]) % BURST_MAX];
                let outgoing = slab.is_outgoing(others.planes[at]);
                *job = flow.map_or(Job::NONE, |flow| self.flow(&flow, others.slots[at], outgoing));
            }
        }
    }

    /// Finds those that are not in their first bucket: in the other one, or nowhere yet.
    #[inline(never)]
    fn find_elsewhere(&mut self, others: &mut Others, count: usize, places: &mut [Place]) {
        let slab = &self.shared.slab;
        for &at in others.elsewhere.iter().take(count) {
            let at = usize::from(at) % JOBS_MAX;
            others.buckets[at] = slab.other_bucket(others.key(at));
            slab.prefetch_bucket(others.buckets[at], others.planes[at]);
        }
        let mut unknown = 0;
        for index in 0..count.min(JOBS_MAX) {
            let at = usize::from(others.elsewhere[index]) % JOBS_MAX;
            let (slot, is_found) = slab.look(others.buckets[at], others.key(at));
            others.put(at, slot, places);
            others.elsewhere[unknown % JOBS_MAX] = at as u16;
            unknown += usize::from(!is_found);
        }
        if unknown > 0 {
            // Nobody loses the slot that a packet of this burst is about to be counted in.
            others.slots.iter().take(others.len).for_each(|&slot| self.owner.keep(slot));
        }
        for index in 0..unknown {
            let at = usize::from(others.elsewhere[index % JOBS_MAX]) % JOBS_MAX;
            let slot = self.new_v6(others.key(at));
            others.put(at, slot, places);
            self.shared.slab.prefetch(others.planes[at].of(slot));
        }
    }

    /// What no short way knows.
    #[cold]
    #[inline(never)]
    fn any<const FLOWS: bool>(
        &mut self,
        frame: &[u8],
        frame_len: u32,
        index: usize,
        others: &mut Others,
        burst: &mut Burst,
    ) {
        let reading = self.reading;
        let found = network(frame).and_then(|network| match network {
            Network::V4(packet) => outline_v4(packet).and_then(|outline| {
                reading.check(frame, frame_len, network, outline.ip_length)?;
                let kind = self.find_v4::<FLOWS>(&outline, || flow_v4(packet, &outline), index, burst.jobs);
                burst.add(kind, frame_len);
                Ok(())
            }),
            Network::V6(packet) => outline_v6(packet).and_then(|outline| {
                reading.check(frame, frame_len, network, outline.ip_length)?;
                if FLOWS {
                    others.flows[index] = self.hash_v6(frame);
                }
                let kind = others.want(self.networks, &self.shared.slab, &outline, index);
                burst.add(kind, frame_len);
                Ok(())
            }),
        });
        if let Err(reason) = found {
            self.shared.unparsed(reason, self.tick, (frame, frame_len));
            burst.add(Kind::Unparsed, frame_len);
        }
    }

    #[cold]
    #[inline(never)]
    fn new_v6(&mut self, key: u128) -> Slot {
        let slab = &self.shared.slab;
        if let Some(slot) = slab.find_v6(key) {
            self.owner.keep(slot);
            return slot;
        }
        // No network is longer than a host, so its key finds the network of all its addresses.
        let Some(network) = self.networks.find_v6(&key.to_be_bytes()) else { return Slot::NOWHERE };
        let found = self.owner.insert_v6(slab, self.networks, key, self.tick);
        self.new_slot(found, network, self.watch.mark(key))
    }

    fn hash_v6(&self, frame: &[u8]) -> Option<Hashed> {
        match network(frame) {
            Ok(Network::V6(packet)) => flow_v6(packet).ok().map(|flow| self.shared.flows.hash_v6(&flow)),
            _ => None,
        }
    }
}
