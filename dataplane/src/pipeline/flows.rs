//! Flow counting's part of the pipeline: the find pass finds and fetches the lines of sketches too, and the count pass has
//! one more behind it that writes them. A burst comes here only where flows are counted.

use super::{Ends, Finder, Pipeline};
use crate::dpdk::BURST_MAX;
use crate::flows::{Hashed, Place};
use crate::hosts::Slot;
use crate::packet::{Outline, flow_v4, flow_v6};

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
    pub(super) fn flow_v4(&self, packet: &[u8], outline: &Outline<u32>, ends: Ends) -> Job {
        self.flow(self.shared.flows.hash_v4(&flow_v4(packet, outline)), ends)
    }

    #[inline(always)]
    pub(super) fn flow_v6(&self, packet: &[u8], ends: Ends) -> Job {
        flow_v6(packet).map_or(Job::NONE, |flow| self.flow(self.shared.flows.hash_v6(&flow), ends))
    }

    #[inline(always)]
    fn flow(&self, hashed: Hashed, Ends { to, from }: Ends) -> Job {
        let flows = &self.shared.flows;
        let epoch = self.epoch;
        let mut job = Job { flow: hashed.flow, ..Job::NONE };
        if to != Slot::NOWHERE {
            job.incoming = flows.place(to, false, epoch, hashed.destination);
            flows.prefetch(job.incoming);
        }
        if from != Slot::NOWHERE {
            job.outgoing = flows.place(from, true, epoch, hashed.source);
            flows.prefetch(job.outgoing);
        }
        job
    }
}

impl Pipeline {
    /// For the first `length` packets of the burst.
    #[inline(always)]
    pub(super) fn count_flows(&mut self, length: usize) {
        let flows = &self.shared.flows;
        for job in &self.flow_jobs[..length.min(BURST_MAX)] {
            if job.incoming != Place::NOWHERE {
                flows.count(job.incoming, job.flow);
            }
            if job.outgoing != Place::NOWHERE {
                flows.count(job.outgoing, job.flow);
            }
        }
    }
}
