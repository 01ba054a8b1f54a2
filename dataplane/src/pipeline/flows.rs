//! Flow counting's part of the pipeline: the find pass finds and fetches the lines of sketches too, and the count pass has
//! one more behind it that writes them. A burst comes here only where flows are counted.

use super::{Finder, Pipeline};
use crate::flows::{Hashed, Place};
use crate::hosts::Slot;

/// Where a flow is to be noted.
#[derive(Clone, Copy)]
pub(super) struct Job {
    flow: u64,
    place: Place,
}

impl Job {
    pub(super) const NONE: Job = Job { flow: 0, place: Place::NOWHERE };
}

impl Finder<'_> {
    /// Of one end of a packet: its line is on its way to the cache.
    #[inline(always)]
    pub(super) fn flow(&self, hashed: &Hashed, slot: Slot, outgoing: bool) -> Job {
        let flows = &self.shared.flows;
        let host = if outgoing { hashed.source } else { hashed.destination };
        let place = flows.place(self.sides[usize::from(outgoing)], slot, host);
        flows.prefetch(place);
        Job { flow: hashed.flow, place }
    }
}

impl Pipeline {
    /// For all entries of the burst.
    #[inline(always)]
    pub(super) fn count_flows(&mut self, tick: u32) {
        let flows = &self.shared.flows;
        let writer = flows.writer(flows.epoch(tick));
        for job in self.jobs.flows.iter().take(self.jobs.len) {
            writer.count(job.place, job.flow);
        }
    }
}
