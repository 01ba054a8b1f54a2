//! Flow counting's two passes, beside those of the counters: the first one finds and fetches the lines, the second one
//! writes them. A burst comes here only where flows are counted.

use super::{Pipeline, Shared};
use crate::dpdk::BURST_MAX;
use crate::flows::Place;
use crate::packet::{Network, flow_v4, flow_v6, network};

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

impl Pipeline {
    /// For a burst whose cells have been found.
    #[inline(never)]
    pub(super) fn find_flows<'a>(&mut self, packets: impl Iterator<Item = (&'a [u8], u32)>, tick: u32) {
        let Shared { slab, flows, .. } = &*self.shared;
        let epoch = flows.epoch(tick);
        let cells = self.jobs.iter();
        for (((frame, _), cells), job) in packets.zip(cells).zip(self.flow_jobs.iter_mut()) {
            *job = Job::NONE;
            let hashed = match network(frame) {
                Ok(Network::V4(packet)) => flow_v4(packet).map(|flow| flows.hash_v4(&flow)),
                Ok(Network::V6(packet)) => flow_v6(packet).map(|flow| flows.hash_v6(&flow)),
                Err(_) => continue,
            };
            let Ok(hashed) = hashed else { continue };
            job.flow = hashed.flow;
            job.incoming = flows.place(slab.slot(cells.incoming), false, epoch, hashed.destination);
            job.outgoing = flows.place(slab.slot(cells.outgoing), true, epoch, hashed.source);
            flows.prefetch(job.incoming);
            flows.prefetch(job.outgoing);
        }
    }

    /// For the first `length` packets of the burst.
    #[inline(never)]
    pub(super) fn count_flows(&mut self, length: usize) {
        let flows = &self.shared.flows;
        for job in &self.flow_jobs[..length.min(BURST_MAX)] {
            flows.count(job.incoming, job.flow);
            flows.count(job.outgoing, job.flow);
        }
    }
}
