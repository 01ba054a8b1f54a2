//! The watched part of the pipeline: counts each packet of a watched host or network for the rule that matches it; what no
//! rule matches feeds captures. A burst comes here only where it has such packets. Under attack nearly all are of one host:
//! those that follow one another go together, so that what is asked once need not be asked for each.

use super::{JOBS_MAX, Jobs, Pipeline, Shared};
use crate::hosts::{Owner, Place, plane};
use crate::packet::{Plain, parse};
use crate::stats::Lost;
use crate::tap::Sample;
use crate::watch::{CAPTURES_MAX, Capture, NO_RULE, Watch, Watched};

/// How far a worker is with a capture.
#[derive(Clone, Copy, Default)]
struct Progress {
    request: u32,
    /// The next packet to take is the one that brings this to 0.
    left: u32,
    taken: u32,
}

/// Packets of a run, by what they are to its captures. A packet that is none of the target's (its slot was that of another
/// host when it was marked) is none of them.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Packets {
    all: u16,
    /// Those that no rule matches.
    rest: u16,
}

impl Packets {
    const NONE: Packets = Packets { all: 0, rest: 0 };

    #[inline(always)]
    fn add(&mut self, other: Packets) {
        self.all += other.all;
        self.rest += other.rest;
    }

    /// Of those, what a capture wants: in the direction of its attack only what no rule matches.
    #[inline(always)]
    fn wanted(self, capture: &Capture, outgoing: bool) -> u32 {
        u32::from(if capture.outgoing == outgoing { self.rest } else { self.all })
    }
}

/// What a worker keeps of captures.
pub(super) struct Closer {
    captures: Box<[Progress; CAPTURES_MAX]>,
    /// By packet of a run.
    packets: Box<[Packets; JOBS_MAX]>,
}

impl Default for Closer {
    fn default() -> Closer {
        Closer { captures: Box::new([Progress::default(); CAPTURES_MAX]), packets: Box::new([Packets::NONE; JOBS_MAX]) }
    }
}

/// One look at a burst.
struct Look<'a, P> {
    shared: &'a Shared,
    owner: &'a Owner,
    packets: P,
    tick: u32,
    now: u64,
}

impl Pipeline {
    /// For bursts with packets of watched hosts.
    #[inline(never)]
    pub(super) fn look_closer<'a>(
        &mut self,
        packets: impl Iterator<Item = (&'a [u8], u32)> + Clone,
        tick: u32,
        now: u64,
    ) {
        let Pipeline { shared, watch, owner, jobs, closer, .. } = self;
        let Jobs { len, places, packets: numbers, .. } = &**jobs;
        let (slab, watch): (_, &Watch) = (&shared.slab, watch.load());
        let look = Look { shared, owner, packets, tick, now };
        let mut rest = places.get(..*len).unwrap_or_default();
        while let Some(&place) = rest.first() {
            let (mark, outgoing) = (slab.watch(place), slab.is_outgoing(place));
            // Most often the very same cell.
            let is_alike =
                |&&other: &&Place| other == place || slab.watch(other) == mark && slab.is_outgoing(other) == outgoing;
            let run = rest.iter().take_while(is_alike).count();
            let numbers = numbers[*len - rest.len()..].get(..run).unwrap_or_default();
            match watch.get(mark) {
                Some(watched) if outgoing => closer.run::<true, _>(watched, numbers, &look),
                Some(watched) => closer.run::<false, _>(watched, numbers, &look),
                None => {}
            }
            rest = rest.get(run.max(1)..).unwrap_or_default();
        }
    }
}

impl Closer {
    /// Packets with these numbers, that follow one another, of one host or network and direction.
    #[inline(always)]
    fn run<'a, const OUTGOING: bool, P>(&mut self, watched: &Watched, numbers: &[u16], look: &Look<P>)
    where
        P: Iterator<Item = (&'a [u8], u32)> + Clone,
    {
        let mut all = Packets::NONE;
        for (&number, one) in numbers.iter().zip(self.packets.iter_mut()) {
            *one = look.part::<OUTGOING>(watched, number);
            all.add(*one);
        }
        for capture in &watched.captures {
            let progress = &mut self.captures[usize::from(capture.place) % CAPTURES_MAX];
            if progress.request != capture.request {
                *progress = Progress { request: capture.request, left: 1, taken: 0 };
            }
            let wanted = all.wanted(capture, OUTGOING);
            if wanted < progress.left {
                progress.left -= wanted;
            } else {
                self.take::<OUTGOING, _>(capture, numbers, look);
            }
        }
    }

    /// Of a run that has one or more packets which are due.
    #[cold]
    #[inline(never)]
    fn take<'a, const OUTGOING: bool, P>(&mut self, capture: &Capture, numbers: &[u16], look: &Look<P>)
    where
        P: Iterator<Item = (&'a [u8], u32)> + Clone,
    {
        let progress = &mut self.captures[usize::from(capture.place) % CAPTURES_MAX];
        for (&number, one) in numbers.iter().zip(self.packets.iter()) {
            progress.left -= one.wanted(capture, OUTGOING);
            if progress.left > 0 {
                continue;
            }
            progress.left = u32::MAX;
            if progress.taken < capture.worker_max {
                progress.left = capture.stride.max(1);
                progress.taken += 1;
                look.sample(capture, number);
            }
        }
    }
}

impl<'a, P: Iterator<Item = (&'a [u8], u32)> + Clone> Look<'_, P> {
    /// Counts a packet for the first rule that matches it.
    #[inline(always)]
    fn part<const OUTGOING: bool>(&self, watched: &Watched, number: u16) -> Packets {
        let Some((frame, _)) = self.packets.clone().nth(number.into()) else { return Packets::NONE };
        let Some(plain) = Plain::of(frame) else { return self.any::<OUTGOING>(watched, frame) };
        if !watched.prefix.holds_v4(if OUTGOING { plain.source() } else { plain.destination() }) {
            return Packets::NONE;
        }
        let class = plain.class();
        let rule = watched.rules[usize::from(OUTGOING)].first_plain(&plain, class);
        self.count(rule, plane(OUTGOING, false, class), plain.ip_length().into())
    }

    /// The same of whatever is not plain.
    #[cold]
    #[inline(never)]
    fn any<const OUTGOING: bool>(&self, watched: &Watched, frame: &[u8]) -> Packets {
        let Some(headers) = parse(frame).ok().filter(|headers| watched.prefix.is_end(OUTGOING, headers)) else {
            return Packets::NONE;
        };
        let rule = watched.rules[usize::from(OUTGOING)].first(&headers);
        self.count(rule, plane(OUTGOING, headers.is_fragment(), headers.class), headers.ip_length)
    }

    #[inline(always)]
    fn count(&self, rule: u16, plane: usize, bytes: u32) -> Packets {
        let slab = &self.shared.slab;
        // Without a branch, into a slot that nobody reads where there is no rule: nobody can predict whether one matches.
        self.owner.count(slab, slab.place(slab.rule(rule), plane), bytes, self.tick);
        Packets { all: 1, rest: u16::from(rule == NO_RULE) }
    }

    fn sample(&self, capture: &Capture, number: u16) {
        let Some((frame, frame_len)) = self.packets.clone().nth(number.into()) else { return };
        if !self.shared.ring.push(&Sample::new(capture.request, self.now, frame, frame_len)) {
            self.shared.stats.lost[Lost::RingFull as usize].add(1);
        }
    }
}
