//! Frames that are not plain ([`crate::packet::Plain`]): IPv6, tags, options, fragments, and what cannot be parsed. What an IPv6 host's
//! slot is takes three looks at memory that lies far apart, so three passes ask for it in turn: for the tags of its buckets,
//! then for the address and the cell of the slot that has its tag.

use super::flows::Job;
use super::{Burst, Finder, JOBS_MAX, Jobs};
use crate::dpdk::BURST_MAX;
use crate::flows::Hashed;
use crate::hosts::{Buckets, PLANES, Slot, Tag, plane};
use crate::packet::{Network, Outline, flow_v4, flow_v6, network, outline_v4, outline_v6};
use crate::stats::Kind;

/// An end of a packet that is an IPv6 host of ours.
#[derive(Clone, Copy, Default)]
struct Wanted {
    key: u128,
    buckets: Buckets,
    tag: Tag,
    packet: u8,
    plane: u8,
    bytes: u32,
}

const _: () = assert!(BURST_MAX <= 1 << u8::BITS && size_of::<Wanted>() == 32);

/// The frames of a burst that are not plain, and the IPv6 hosts that they are for.
pub(super) struct Others {
    wanted: Box<[Wanted; JOBS_MAX]>,
    pub(super) wanted_len: usize,
    /// By place in that list: slots that have the tag.
    candidates: Box<[Slot; JOBS_MAX]>,
    /// By packet of the burst; only where flows are counted.
    flows: Box<[Option<Hashed>; BURST_MAX]>,
}

impl Default for Others {
    fn default() -> Others {
        Others {
            wanted: Box::new([Wanted::default(); JOBS_MAX]),
            wanted_len: 0,
            candidates: Box::new([Slot::NOWHERE; JOBS_MAX]),
            flows: Box::new([None; BURST_MAX]),
        }
    }
}

impl Finder<'_> {
    /// A frame that is not plain.
    #[inline(always)]
    pub(super) fn other<const FLOWS: bool>(
        &mut self,
        (frame, frame_len): (&[u8], u32),
        packet: usize,
        others: &mut Others,
        burst: &mut Burst,
    ) {
        let Some(plain) = self.reading.plain_v6(frame, frame_len) else {
            return self.any::<FLOWS>(frame, frame_len, packet, others, burst);
        };
        if FLOWS {
            others.flows[packet % BURST_MAX] = self.hash_v6(frame);
        }
        let kind = self.want(&plain.outline(), packet, others);
        burst.add(kind, frame_len);
    }

    /// Finds the slots of IPv6 hosts.
    #[inline(never)]
    pub(super) fn find_wanted<const FLOWS: bool>(&mut self, others: &mut Others, jobs: &mut Jobs) {
        let Others { wanted, wanted_len, candidates, flows, .. } = others;
        let first = jobs.len;
        for (wanted, candidate) in wanted.iter().zip(candidates.iter_mut()).take(*wanted_len) {
            *candidate = self.shared.slab.candidate(&wanted.buckets, wanted.tag);
            jobs.add(self.place(*candidate, wanted.plane.into()), wanted.bytes, wanted.packet.into());
            self.owner.keep(*candidate);
        }
        for (at, (wanted, candidate)) in wanted.iter().zip(candidates.iter_mut()).take(*wanted_len).enumerate() {
            if !self.shared.slab.is_of(*candidate, wanted.key) {
                *candidate = self.new_v6(wanted);
                jobs.places[(first + at) % JOBS_MAX] = self.place(*candidate, wanted.plane.into());
            }
            if FLOWS {
                let flow = flows.get(usize::from(wanted.packet)).copied().flatten();
                let outgoing = usize::from(wanted.plane) >= PLANES / 2;
                let flow = flow.map_or(Job::NONE, |flow| self.flow(&flow, *candidate, outgoing));
                jobs.flows[(first + at) % JOBS_MAX] = flow;
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
                let kind = self.want(&outline, index, others);
                burst.add(kind, frame_len);
                Ok(())
            }),
        });
        if let Err(reason) = found {
            self.shared.unparsed(reason, self.tick, (frame, frame_len));
            burst.add(Kind::Unparsed, frame_len);
        }
    }

    /// Notes which hosts of ours a packet is for, and asks for their buckets.
    #[inline(always)]
    fn want(&self, outline: &Outline<&[u8; 16]>, packet: usize, others: &mut Others) -> Kind {
        let to = self.networks.find_v6(outline.destination).is_some();
        let from = self.networks.find_v6(outline.source).is_some();
        if to & !from {
            self.want_end(outline, false, packet, others);
            return Kind::Incoming;
        }
        self.want_source(outline, packet, to, from, others)
    }

    /// Of a packet that is not only incoming.
    #[inline(never)]
    fn want_source(
        &self,
        outline: &Outline<&[u8; 16]>,
        packet: usize,
        to: bool,
        from: bool,
        others: &mut Others,
    ) -> Kind {
        if to {
            self.want_end(outline, false, packet, others);
        }
        if from {
            self.want_end(outline, true, packet, others);
        }
        Kind::of(to, from)
    }

    #[inline(always)]
    fn want_end(&self, outline: &Outline<&[u8; 16]>, outgoing: bool, packet: usize, others: &mut Others) {
        let slab = &self.shared.slab;
        let key = slab.key_v6(u128::from_be_bytes(*if outgoing { outline.source } else { outline.destination }));
        let (buckets, tag) = slab.buckets(key);
        slab.prefetch_buckets(&buckets);
        let (packet, plane) = (packet as u8, plane(outgoing, outline.is_fragment, outline.class) as u8);
        let at = others.wanted_len % JOBS_MAX;
        others.wanted[at] = Wanted { key, buckets, tag, packet, plane, bytes: outline.ip_length };
        others.wanted_len = at + 1;
    }

    #[cold]
    #[inline(never)]
    fn new_v6(&mut self, &Wanted { key, ref buckets, .. }: &Wanted) -> Slot {
        let slab = &self.shared.slab;
        if let Some(slot) = slab.search(buckets, key) {
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
