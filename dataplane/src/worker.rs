//! The loop of a worker: polls its queues and puts what comes through its pipeline. Nothing here locks, allocates, frees,
//! logs, calls the system or panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::Error;
use crate::dpdk::{Burst, RxQueue, tsc};
use crate::packet::{Reading, Tunnels, unwrap};
use crate::pipeline::Pipeline;

/// A worker: its queues and its pipeline.
pub struct Worker {
    queues: Vec<(RxQueue, Reading)>,
    pipeline: Pipeline,
    tick: Arc<AtomicU32>,
    burst_max: usize,
    burst: Burst,
    /// The time-stamp counter at the end of the last poll.
    now: u64,
}

impl Worker {
    /// A worker that polls these queues, each read as its port is to be, for at most `burst_max` packets at once. `tick` is the
    /// control thread's.
    pub fn new(queues: Vec<(RxQueue, Reading)>, pipeline: Pipeline, tick: Arc<AtomicU32>, burst_max: usize) -> Worker {
        Worker { queues, pipeline, tick, burst_max, burst: Burst::default(), now: tsc() }
    }

    /// Polls until told to stop.
    pub fn run(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.poll();
        }
    }

    /// One of its queues, to be polled by someone else in between.
    pub fn queue(&mut self, index: usize) -> &mut RxQueue {
        &mut self.queues[index].0
    }

    /// Polls each queue once. Returns how many packets came.
    #[inline]
    pub fn poll(&mut self) -> usize {
        let tick = self.tick.load(Ordering::Relaxed);
        let mut received = 0;
        for (place, (queue, reading)) in self.queues.iter_mut().enumerate() {
            let packets = queue.receive(&mut self.burst, self.burst_max);
            if packets > 0 {
                let bytes = self.burst.prefetch();
                if reading.tunnels != Tunnels::NONE {
                    self.burst.cut_fronts(|frame| unwrap(frame, reading.tunnels));
                }
                let pipeline = &mut self.pipeline;
                pipeline.shared().examples.set_queue(place);
                pipeline.read_as(*reading);
                self.pipeline.burst(self.burst.iter(), bytes, tick, self.now);
            }
            let end = tsc();
            self.pipeline.shared().stats.polled(packets, self.now, end);
            self.now = end;
            received += packets;
        }
        received
    }
}

/// Pins the calling thread to a core.
pub(crate) fn pin(core: usize) -> Result<(), Error> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: core }) { Ok(()) } else { Err(Error::Pin { core }) }
}
