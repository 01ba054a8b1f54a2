//! A worker without a queue: whoever has it hands it the frames, and says what time it is. What becomes of them is the
//! pipeline's. Plain memory; no device, no clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::dpdk::BURST_MAX;
use crate::packet::{Reading, Tunnels, unwrap};
use crate::pipeline::Pipeline;

/// So many bytes of a frame are looked at: what an mbuf has room for.
const FRAME_MAX: usize = 2048;

/// A frame of the burst: where it lies, and its length before it was cut.
#[derive(Clone, Copy, Debug)]
struct Held {
    start: usize,
    end: usize,
    frame_len: u32,
}

/// A pipeline and the burst that it gets next.
pub struct Feed {
    pipeline: Pipeline,
    tick: Arc<AtomicU32>,
    reading: Reading,
    bytes: Vec<u8>,
    burst: Vec<Held>,
}

impl Feed {
    pub(crate) fn new(pipeline: Pipeline, tick: Arc<AtomicU32>, reading: Reading) -> Feed {
        let (bytes, burst) = (Vec::with_capacity(BURST_MAX * FRAME_MAX), Vec::with_capacity(BURST_MAX));
        Feed { pipeline, tick, reading, bytes, burst }
    }

    /// Takes a frame: its bytes, as far as they were kept, and its whole length. True: the burst is full, give it on.
    pub fn push(&mut self, frame: &[u8], frame_len: u32) -> bool {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&frame[..frame.len().min(FRAME_MAX)]);
        let front = match self.reading.tunnels {
            Tunnels::NONE => 0,
            tunnels => unwrap(&mut self.bytes[start..], tunnels),
        };
        self.burst.push(Held { start: start + front, end: self.bytes.len(), frame_len });
        self.burst.len() >= BURST_MAX
    }

    /// Gives the burst on; `now` stands for the time-stamp counter.
    pub fn flush(&mut self, now: u64) {
        let Feed { pipeline, tick, reading, bytes, burst } = self;
        pipeline.shared().stats.seen_alive.set(now);
        if burst.is_empty() {
            return;
        }
        pipeline.read_as(*reading);
        let frames = burst.iter().map(|held| (&bytes[held.start..held.end], held.frame_len));
        let length = burst.iter().map(|held| u64::from(held.frame_len)).sum();
        pipeline.burst(frames, length, tick.load(Ordering::Relaxed), now);
        bytes.clear();
        burst.clear();
    }
}
