//! Hosts that lose their slots while packets of the same burst wait to be counted there: these count for the network, as all
//! that the host had. Plain memory; only bursts that evict hosts come here.

use super::Job;
use crate::dpdk::BURST_MAX;
use crate::hosts::{Place, Slab, Slot};

/// When in a burst a host was looked up: of two look-ups the later one has the higher turn. It is the job's address, and one
/// more for the packet's source, which comes after its destination.
#[inline(always)]
pub(super) fn turn(job: &Job, source: bool) -> usize {
    std::ptr::from_ref(job).addr() + usize::from(source)
}

/// A slot that changed hands.
#[derive(Clone, Copy, Default)]
struct Eviction {
    slot: Slot,
    /// Of the network of the host that lost it.
    network: Slot,
    turn: usize,
}

/// The evictions of a burst, in order: at most two for each packet.
pub(super) struct Displaced {
    evictions: Box<[Eviction; 2 * BURST_MAX]>,
    len: usize,
}

impl Default for Displaced {
    fn default() -> Displaced {
        Displaced { evictions: Box::new([Eviction::default(); 2 * BURST_MAX]), len: 0 }
    }
}

impl Displaced {
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn push(&mut self, slot: Slot, network: Slot, turn: usize) {
        if let Some(eviction) = self.evictions.get_mut(self.len) {
            *eviction = Eviction { slot, network, turn };
            self.len += 1;
        }
    }

    /// Sends what was placed before its slot changed hands to the network's slot.
    #[cold]
    #[inline(never)]
    pub(super) fn redirect(&mut self, slab: &Slab, jobs: &mut [Job]) {
        for job in jobs {
            let (incoming, outgoing) = (turn(job, false), turn(job, true));
            job.incoming = self.place(slab, job.incoming, incoming);
            job.outgoing = self.place(slab, job.outgoing, outgoing);
        }
        self.len = 0;
    }

    /// Of evictions of a slot the first one after the look-up is that of the host that was looked up.
    fn place(&self, slab: &Slab, place: Place, turn: usize) -> Place {
        if place == Place::NOWHERE {
            return place;
        }
        let slot = slab.slot(place);
        let evictions = self.evictions.iter().take(self.len);
        let lost = evictions.filter(|eviction| eviction.slot == slot).find(|eviction| eviction.turn > turn);
        lost.map_or(place, |eviction| slab.moved(place, eviction.network))
    }
}
