//! Frames that are not plain ([`Plain`]): IPv6, tags, options, fragments, and what cannot be parsed. One pass parses them and
//! asks the CPU for the buckets of IPv6 hosts, which lie far apart; the next one finds these hosts' slots, and asks for their
//! cells.

use super::{Burst, Finder, Job};
use crate::dpdk::BURST_MAX;
use crate::flows::Hashed;
use crate::hosts::{Buckets, PLANES, Slot, plane};
use crate::networks::NetworkId;
use crate::packet::{Network, Outline, Plain, flow_v4, flow_v6, network, outline_plain_v6, outline_v4, outline_v6};
use crate::stats::Kind;

/// A host that a packet of the burst is to be counted for.
#[derive(Clone, Copy)]
struct Wanted {
    key: u128,
    buckets: Buckets,
    network: NetworkId,
    index: u16,
    plane: u8,
}

/// The IPv6 hosts of a burst.
pub(super) struct Ipv6 {
    wanted: Vec<Wanted>,
    /// By packet of the burst; only where flows are counted.
    flows: Box<[Option<Hashed>; BURST_MAX]>,
}

impl Default for Ipv6 {
    fn default() -> Ipv6 {
        // As many as there can be: none is ever added to a full list.
        Ipv6 { wanted: Vec::with_capacity(2 * BURST_MAX), flows: Box::new([None; BURST_MAX]) }
    }
}

impl Finder<'_> {
    /// Finds what the frames of a burst that are not plain are to be counted for.
    #[inline(never)]
    pub(super) fn others<'a, const FLOWS: bool>(
        &mut self,
        packets: impl Iterator<Item = (&'a [u8], u32)>,
        ipv6: &mut Ipv6,
        burst: &mut Burst,
    ) {
        ipv6.wanted.clear();
        for (index, (frame, frame_len)) in packets.enumerate().take(BURST_MAX) {
            if let Some(outline) = outline_plain_v6(frame) {
                if FLOWS {
                    ipv6.flows[index] = self.hash_v6(frame);
                }
                self.want(&outline, index, frame_len, ipv6, burst);
            } else if Plain::of(frame).is_none() {
                self.any::<FLOWS>(frame, frame_len, index, ipv6, burst);
            }
        }
        for wanted in &ipv6.wanted {
            let slot = self.slot_v6(wanted);
            let (index, plane) = (usize::from(wanted.index), usize::from(wanted.plane));
            let place = self.place(slot, plane);
            let outgoing = plane >= PLANES / 2;
            if outgoing {
                burst.jobs.outgoing[index] = place;
            } else {
                burst.jobs.incoming[index] = place;
            }
            if let (true, Some(hashed)) = (FLOWS, ipv6.flows[index]) {
                self.add_flow(&mut burst.flows[index], &hashed, slot, outgoing);
            }
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
        ipv6: &mut Ipv6,
        burst: &mut Burst,
    ) {
        let found = match network(frame) {
            Ok(Network::V4(packet)) => outline_v4(packet).map(|outline| {
                let ends = self.ends_v4(&outline);
                if FLOWS {
                    burst.flows[index] = self.flow(self.shared.flows.hash_v4(&flow_v4(packet, &outline)), ends);
                }
                let (job, kind) = self.job(&outline, ends);
                burst.put(index, frame_len, job, kind);
            }),
            Ok(Network::V6(packet)) => outline_v6(packet).map(|outline| {
                if FLOWS {
                    ipv6.flows[index] = self.hash_v6(frame);
                }
                self.want(&outline, index, frame_len, ipv6, burst);
            }),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = found {
            self.shared.stats.unparsed[reason as usize].add(1);
            burst.put(index, frame_len, Job::default(), Kind::Unparsed);
        }
    }

    /// Notes which hosts of ours a packet is for, and asks for their buckets.
    #[inline(always)]
    fn want(&self, outline: &Outline<u128>, index: usize, frame_len: u32, ipv6: &mut Ipv6, burst: &mut Burst) {
        let plane = plane(false, outline.is_fragment, outline.class) as u8;
        let to = self.want_end(outline.destination, index, plane, ipv6);
        let from = self.want_end(outline.source, index, plane + (PLANES / 2) as u8, ipv6);
        // Its places come with the second pass.
        burst.put(index, frame_len, Job { bytes: outline.ip_length, ..Job::default() }, Kind::of(to, from));
    }

    #[inline(always)]
    fn want_end(&self, address: u128, index: usize, plane: u8, ipv6: &mut Ipv6) -> bool {
        let Some(network) = self.networks.find_v6(address) else { return false };
        let slab = &self.shared.slab;
        let key = slab.key_v6(address);
        let buckets = slab.buckets(key);
        slab.prefetch_buckets(buckets);
        if ipv6.wanted.len() < ipv6.wanted.capacity() {
            ipv6.wanted.push(Wanted { key, buckets, network, index: index as u16, plane });
        }
        true
    }

    #[inline(always)]
    fn slot_v6(&mut self, wanted: &Wanted) -> Slot {
        match self.shared.slab.find_in(wanted.buckets, wanted.key) {
            Some(slot) => {
                self.owner.keep(slot);
                slot
            }
            None => self.new_v6(wanted),
        }
    }

    #[cold]
    #[inline(never)]
    fn new_v6(&mut self, &Wanted { key, network, .. }: &Wanted) -> Slot {
        let found = self.owner.insert_v6(&self.shared.slab, self.networks, key, self.tick);
        self.new_slot(found, network, self.watch.mark(key))
    }

    fn hash_v6(&self, frame: &[u8]) -> Option<Hashed> {
        match network(frame) {
            Ok(Network::V6(packet)) => flow_v6(packet).ok().map(|flow| self.shared.flows.hash_v6(&flow)),
            _ => None,
        }
    }
}
