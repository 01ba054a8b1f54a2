//! Flow counting's part of the pipeline: the find pass finds and fetches the lines of sketches too, and the count pass has
//! one more behind it that writes them. A burst comes here only where flows are counted.

use super::{Ends, Finder, Pipeline};
use crate::dpdk::BURST_MAX;
use crate::flows::{Hashed, Place};
use crate::hosts::Slot;

/// Where a packet's flow is to be noted.
#[derive(Clone, Copy)]
pub(super) struct Job {
    flow: u64,
    incoming: Place,
    outgoing: Place,
}

impl Job {
    pub(super) const NONE: Job = Job { flow: 0, incoming: Place::NOWHERE, outgoing: Place::NOWHERE };
}

impl Finder<'_> {
    #[inline(always)]
    pub(super) fn flow(&self, hashed: Hashed, Ends { to, from }: Ends) -> Job {
        let incoming = if to == Slot::NOWHERE { Place::NOWHERE } else { self.line(to, false, hashed.destination) };
        let outgoing = if from == Slot::NOWHERE { Place::NOWHERE } else { self.line(from, true, hashed.source) };
        Job { flow: hashed.flow, incoming, outgoing }
    }

    /// The same for one of the packet's ends.
    #[inline(always)]
    pub(super) fn add_flow(&self, job: &mut Job, hashed: &Hashed, slot: Slot, outgoing: bool) {
        job.flow = hashed.flow;
        if outgoing {
            job.outgoing = self.line(slot, outgoing, hashed.source);
        } else {
            job.incoming = self.line(slot, outgoing, hashed.destination);
        }
    }

    /// The line of a slot, which is on its way to the cache.
    #[inline(always)]
    fn line(&self, slot: Slot, outgoing: bool, host: u32) -> Place {
        let flows = &self.shared.flows;
        let place = flows.place(self.sides[usize::from(outgoing)], slot, host);
        flows.prefetch(place);
        place
    }
}

impl Pipeline {
    /// For the first `length` packets of the burst.
    #[inline(always)]
    pub(super) fn count_flows(&mut self, length: usize, tick: u32) {
        let flows = &self.shared.flows;
        let writer = flows.writer(flows.epoch(tick));
        for job in &self.flow_jobs[..length.min(BURST_MAX)] {
            writer.count(job.incoming, job.flow);
            writer.count(job.outgoing, job.flow);
        }
    }
}
