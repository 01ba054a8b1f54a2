//! Capture: packets that a request asks for, and examples of frames that cannot be parsed, from a worker to the control
//! thread, through a bounded ring. Plain memory and atomics; no clock, no I/O.

#[cfg(all(test, loom))]
mod loom_tests;

use std::sync::atomic::AtomicU32;

use crossbeam::utils::CachePadded;

use crate::dpdk;
use crate::packet::Unparsed;
use crate::stats::Counter;
use crate::sync::{AtomicU64, AtomicUsize, Memory, Ordering};

// A model explores every interleaving, so its ring is as small as can show a mistake.

/// Bytes kept of a frame: every header that a rule looks at.
pub const SNAP: usize = if cfg!(loom) { 8 } else { 128 };
/// Samples that a ring holds.
pub const RING: usize = if cfg!(loom) { 2 } else { 4096 };

/// Capture requests have numbers up to this; what is above it marks a packet of the always-on tap, or an example.
pub const REQUEST_MAX: u32 = TAPPED - 1;
const TAPPED: u32 = 1 << 30;
const EXAMPLE: u32 = 1 << 31;

const META_WORDS: usize = 2;
const WORDS: usize = META_WORDS + SNAP / 8;

/// A captured packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The request that it was taken for; above [`REQUEST_MAX`] it is an example.
    pub request: u32,
    /// Length of the whole frame in bytes.
    pub frame_len: u32,
    /// Time-stamp counter at its burst.
    pub tsc: u64,
    /// The frame's first bytes.
    data: [u8; SNAP],
    kept: u8,
}

impl Sample {
    /// A sample of this frame.
    pub fn new(request: u32, tsc: u64, frame: &[u8], frame_len: u32) -> Sample {
        let mut data = [0; SNAP];
        let kept = frame.len().min(SNAP);
        data[..kept].copy_from_slice(&frame[..kept]);
        Sample { request, frame_len, tsc, data, kept: kept as u8 }
    }

    /// An example of frames that cannot be parsed for this reason, from the queue with this place among the worker's.
    pub fn example(reason: Unparsed, queue: u16, tsc: u64, frame: &[u8], frame_len: u32) -> Sample {
        Sample::new(EXAMPLE | u32::from(queue) << 8 | reason as u32, tsc, frame, frame_len)
    }

    /// A packet of the always-on tap, which takes one in `one_in` (below 2^30).
    pub fn tapped(one_in: u32, tsc: u64, frame: &[u8], frame_len: u32) -> Sample {
        Sample::new(TAPPED | one_in & (TAPPED - 1), tsc, frame, frame_len)
    }

    /// Of a packet of the always-on tap: it stands for so many.
    pub fn one_in(&self) -> Option<u32> {
        (self.request & (EXAMPLE | TAPPED) == TAPPED).then_some(self.request & (TAPPED - 1))
    }

    /// What it is an example of, and the place of its queue among the worker's.
    pub fn unparsed(&self) -> Option<(Unparsed, u16)> {
        let reason = Unparsed::ALL.get(usize::from(self.request as u8)).filter(|_| self.request & EXAMPLE != 0);
        reason.map(|&reason| (reason, (self.request >> 8) as u16))
    }

    /// The bytes that were kept.
    pub fn data(&self) -> &[u8] {
        &self.data[..usize::from(self.kept)]
    }
}

/// What a worker remembers of the examples that it gave, so that a flood of broken frames costs no more than a few: one of
/// each reason within a tick.
#[derive(Debug, Default)]
pub struct Examples {
    /// The tick of the last one, by [`Unparsed`].
    given: [Counter; Unparsed::COUNT],
    /// The place of the queue that is polled.
    queue: Counter,
}

impl Examples {
    /// Worker only: what comes from now on is of the queue with this place among its own.
    #[inline(always)]
    pub(crate) fn set_queue(&self, place: usize) {
        self.queue.set(place as u64);
    }

    /// Worker only: puts the frame into the ring, if it is the tick's first one. Where the ring is full it is not kept: the next
    /// tick has another one.
    pub(crate) fn give(&self, ring: &Ring, reason: Unparsed, tick: u32, tsc: u64, (frame, frame_len): (&[u8], u32)) {
        let given = &self.given[reason as usize];
        if given.get() != u64::from(tick) {
            given.set(tick.into());
            ring.push(&Sample::example(reason, self.queue.get() as u16, tsc, frame, frame_len));
        }
    }
}

/// The always-on tap: one packet in so many of all traffic, whatever it is, so that it is known what hosts receive in peace. A
/// worker counts down by bursts; only the burst that has the packet pays for it.
#[derive(Debug)]
pub struct Tap {
    one_in: AtomicU32,
    taken: Counter,
    skipped: Counter,
}

impl Default for Tap {
    fn default() -> Tap {
        Tap { one_in: AtomicU32::new(TAP_FIRST), taken: Counter::default(), skipped: Counter::default() }
    }
}

impl Tap {
    /// Control: takes one packet in so many (at most [`TAP_ONE_IN_MAX`]) from now on, none if 0. A worker follows
    /// within twice as many packets as it took one in before.
    pub fn set_one_in(&self, one_in: u32) {
        self.one_in.store(one_in.min(TAP_ONE_IN_MAX), Ordering::Relaxed);
    }

    /// One packet in so many is taken.
    pub fn one_in(&self) -> u32 {
        self.one_in.load(Ordering::Relaxed)
    }

    /// How many were.
    pub fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// How many were not, since the tap has no more than its share of the ring.
    pub fn skipped(&self) -> u64 {
        self.skipped.get()
    }
}

/// One packet in so many is taken until control knows the rate.
const TAP_FIRST: u32 = 64;
/// Places of a ring that the tap takes at most: where traffic grows faster than control follows, captures still find room.
pub(crate) const TAP_ROOM: usize = RING / 4;
/// Where the tap is off, a worker looks so often whether it still is.
const TAP_OFF_GAP: u32 = 4096;
/// One packet in no more than this is taken.
pub const TAP_ONE_IN_MAX: u32 = 1 << 20;

/// Where a worker is until the next packet of the [`Tap`].
#[derive(Debug, Default)]
pub(crate) struct Countdown {
    /// The next look comes behind so many packets.
    left: u32,
    /// What that packet stands for; 0: it is not taken.
    one_in: u32,
    random: u64,
}

impl Countdown {
    /// Whether the next look is among so many packets that come now.
    #[inline(always)]
    pub(crate) fn is_due(&mut self, packets: u32) -> bool {
        let left = self.left.wrapping_sub(packets);
        let is_due = self.left < packets;
        if !is_due {
            self.left = left;
        }
        is_due
    }

    /// Takes the packets that are due of a burst. Gaps are random, between 1 and twice the mean less 1: what comes in step with bursts
    /// would otherwise be taken always, or never.
    #[cold]
    #[inline(never)]
    pub(crate) fn take<'a>(
        &mut self,
        (tap, ring): (&Tap, &Ring),
        tsc: u64,
        mut packets: impl ExactSizeIterator<Item = (&'a [u8], u32)>,
    ) {
        loop {
            let rest = packets.len() as u32;
            let Some((frame, frame_len)) = packets.nth(self.left as usize) else {
                self.left -= rest;
                return;
            };
            if self.one_in > 0 {
                let is_kept = ring.push_within(TAP_ROOM, &Sample::tapped(self.one_in, tsc, frame, frame_len));
                if is_kept { &tap.taken } else { &tap.skipped }.add(1);
            }
            self.one_in = tap.one_in();
            self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let wide = (2 * u64::from(self.one_in)).saturating_sub(1);
            self.left = match self.one_in {
                0 => TAP_OFF_GAP,
                _ => (((self.random >> 32) * wide) >> 32) as u32,
            };
        }
    }
}

/// A bounded ring of samples: one worker puts in, the control thread takes out. Words are atomics, so there is nothing
/// unsafe in it; `tail` (release) publishes them, `head` (release) gives their place back.
#[derive(Debug)]
pub struct Ring {
    words: Memory<AtomicU64>,
    tail: CachePadded<AtomicUsize>,
    head: CachePadded<AtomicUsize>,
}

impl Ring {
    /// An empty ring.
    ///
    /// # Errors
    /// When the system has not enough memory.
    pub fn new() -> Result<Ring, dpdk::Error> {
        Ok(Ring {
            words: Memory::new("the sample ring", RING * WORDS)?,
            tail: CachePadded::default(),
            head: CachePadded::default(),
        })
    }

    fn place(&self, position: usize) -> &[AtomicU64] {
        let start = position % RING * WORDS;
        &self.words[start..start + WORDS]
    }

    /// Worker only. False: full, the sample is not kept.
    pub fn push(&self, sample: &Sample) -> bool {
        self.push_within(RING, sample)
    }

    /// Worker only. The same, where no more than so many places may be taken.
    #[inline(always)]
    fn push_within(&self, room: usize, sample: &Sample) -> bool {
        let tail = self.tail.load(Ordering::Relaxed);
        if tail.wrapping_sub(self.head.load(Ordering::Acquire)) >= room {
            return false;
        }
        let place = self.place(tail);
        let meta = u64::from(sample.request) << 32 | u64::from(sample.frame_len & 0x00ff_ffff) << 8;
        place[0].store(meta | u64::from(sample.kept), Ordering::Relaxed);
        place[1].store(sample.tsc, Ordering::Relaxed);
        let (chunks, _) = sample.data.as_chunks::<8>();
        for (word, chunk) in place[META_WORDS..].iter().zip(chunks) {
            word.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
        }
        self.tail.store(tail.wrapping_add(1), Ordering::Release); // loom: sample-published
        true
    }

    /// Control only. The oldest sample.
    pub fn pop(&self) -> Option<Sample> {
        let head = self.head.load(Ordering::Relaxed);
        let tail = self.tail.load(Ordering::Acquire); // loom: sample-seen
        if head == tail {
            return None;
        }
        let place = self.place(head);
        let meta = place[0].load(Ordering::Relaxed);
        let mut data = [0; SNAP];
        let (chunks, _) = data.as_chunks_mut::<8>();
        for (word, chunk) in place[META_WORDS..].iter().zip(chunks) {
            *chunk = word.load(Ordering::Relaxed).to_le_bytes();
        }
        let sample = Sample {
            request: (meta >> 32) as u32,
            frame_len: (meta >> 8) as u32 & 0x00ff_ffff,
            tsc: place[1].load(Ordering::Relaxed),
            data,
            kept: meta as u8,
        };
        self.head.store(head.wrapping_add(1), Ordering::Release); // loom: place-given-back
        Some(sample)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn samples_come_out_as_they_went_in_and_a_full_ring_says_so() {
        let ring = Ring::new().expect("memory");
        for round in 0..3u32 {
            for index in 0..RING as u32 {
                let frame = vec![index as u8; (index % 200) as usize];
                assert!(ring.push(&Sample::new(round, u64::from(index), &frame, 60 + index)));
            }
            assert!(!ring.push(&Sample::new(9, 9, &[], 9)), "full");
            for index in 0..RING as u32 {
                let sample = ring.pop().expect("a sample");
                assert_eq!((sample.request, sample.tsc, sample.frame_len), (round, u64::from(index), 60 + index));
                assert_eq!(sample.data(), vec![index as u8; ((index % 200) as usize).min(SNAP)]);
            }
            assert_eq!(ring.pop(), None);
        }
    }

    #[test]
    fn an_example_says_why_and_from_which_queue_and_is_no_sample_of_a_capture() {
        for reason in Unparsed::ALL {
            for queue in [0, 1, 0x1234, u16::MAX] {
                let example = Sample::example(reason, queue, 7, &[1, 2, 3], 3);
                assert!(example.request > REQUEST_MAX);
                assert_eq!(example.unparsed(), Some((reason, queue)));
            }
        }
        for request in [0, 1, REQUEST_MAX] {
            assert_eq!(Sample::new(request, 7, &[], 0).unparsed(), None);
        }
        assert_eq!(Sample::new(EXAMPLE | 0xff, 7, &[], 0).unparsed(), None, "no such reason");
    }

    #[test]
    fn one_example_of_each_reason_within_a_tick() {
        let (ring, examples) = (Ring::new().expect("memory"), Examples::default());
        for tick in [1, 2, 2, 4] {
            for reason in [Unparsed::NotIp, Unparsed::BadIpv4, Unparsed::NotIp] {
                examples.set_queue(tick as usize);
                examples.give(&ring, reason, tick, 9, (&[tick as u8], 60 + tick));
            }
        }
        for tick in [1, 2, 4] {
            for reason in [Unparsed::NotIp, Unparsed::BadIpv4] {
                let example = ring.pop().expect("an example");
                assert_eq!(example.unparsed(), Some((reason, tick)));
                assert_eq!(
                    (example.data(), example.frame_len, example.tsc),
                    (&[tick as u8][..], 60 + u32::from(tick), 9)
                );
            }
        }
        assert_eq!(ring.pop(), None);
        let capture = Sample::new(1, 0, &[], 0);
        while ring.push(&capture) {}
        examples.give(&ring, Unparsed::NotIp, 5, 0, (&[], 0));
        assert!(std::iter::from_fn(|| ring.pop()).all(|sample| sample == capture), "a full ring stays as it is");
    }

    #[test]
    fn nothing_is_lost_between_two_threads() {
        let ring = Ring::new().expect("memory");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for index in 0..200_000u64 {
                    while !ring.push(&Sample::new(1, index, &index.to_le_bytes(), 8)) {
                        std::thread::yield_now();
                    }
                }
            });
            for index in 0..200_000u64 {
                let sample = loop {
                    match ring.pop() {
                        Some(sample) => break sample,
                        None => std::thread::yield_now(),
                    }
                };
                assert_eq!((sample.tsc, sample.data()), (index, &index.to_le_bytes()[..]));
            }
        });
    }
}
