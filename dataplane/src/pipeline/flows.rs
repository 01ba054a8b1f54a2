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
        let flows = &self.shared.flows;
        let place = |slot, outgoing, host| {
            if slot == Slot::NOWHERE {
                return Place::NOWHERE;
            }
            let place = flows.place(self.sides[usize::from(outgoing)], slot, host);
            flows.prefetch(place);
            place
        };
        let (incoming, outgoing) = (place(to, false, hashed.destination), place(from, true, hashed.source));
        Job { flow: hashed.flow, incoming, outgoing }
    }

    /// The same for one of the packet's ends.
    #[inline(always)]
    pub(super) fn add_flow(&self, job: &mut Job, hashed: &Hashed, slot: Slot, outgoing: bool) {
        let flows = &self.shared.flows;
        job.flow = hashed.flow;
        let (place, host) =
            if outgoing { (&mut job.outgoing, hashed.source) } else { (&mut job.incoming, hashed.destination) };
        *place = flows.place(self.sides[usize::from(outgoing)], slot, host);
        flows.prefetch(*place);
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
