//! The watched part of the pipeline: counts each packet of a watched host or network for the rule that matches it; what no
//! rule matches feeds captures. A burst comes here only where it has such packets. Under attack nearly all are of one host:
//! those that follow one another go together, so that what is asked once need not be asked for each.

use super::{Jobs, Pipeline, Shared};
use crate::hosts::{Owner, plane};
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

/// What a packet of a run is to its captures.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Part {
    /// Nothing: its slot was that of another host when it was marked.
    #[default]
    None,
    /// Some rule matches it.
    Matched,
    /// None does.
    Rest,
}

/// What a worker keeps of captures.
pub(super) struct Closer {
    captures: Box<[Progress; CAPTURES_MAX]>,
    parts: Box<[Part; super::JOBS_MAX]>,
}

impl Default for Closer {
    fn default() -> Closer {
        Closer {
            captures: Box::new([Progress::default(); CAPTURES_MAX]),
            parts: Box::new([Part::None; super::JOBS_MAX]),
        }
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
            let is_alike = |&&place: &&_| slab.watch(place) == mark && slab.is_outgoing(place) == outgoing;
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
        let (mut matched, mut rest) = (0, 0);
        for (&number, part) in numbers.iter().zip(self.parts.iter_mut()) {
            *part = look.part::<OUTGOING>(watched, number);
            matched += u32::from(*part == Part::Matched);
            rest += u32::from(*part == Part::Rest);
        }
        for capture in &watched.captures {
            let progress = &mut self.captures[usize::from(capture.place) % CAPTURES_MAX];
            if progress.request != capture.request {
                *progress = Progress { request: capture.request, left: 1, taken: 0 };
            }
            let is_due = if capture.outgoing == OUTGOING { rest } else { matched + rest };
            if is_due < progress.left {
                progress.left -= is_due;
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
        for (&number, &part) in numbers.iter().zip(self.parts.iter()) {
            let is_wanted = part == Part::Rest || part == Part::Matched && capture.outgoing != OUTGOING;
            progress.left -= u32::from(is_wanted);
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
    fn part<const OUTGOING: bool>(&self, watched: &Watched, number: u16) -> Part {
        let Some((frame, _)) = self.packets.clone().nth(number.into()) else { return Part::None };
        let Some(plain) = Plain::of(frame) else { return self.any::<OUTGOING>(watched, frame) };
        if !watched.prefix.holds_v4(if OUTGOING { plain.source() } else { plain.destination() }) {
            return Part::None;
        }
        let class = plain.class();
        let rule = watched.rules[usize::from(OUTGOING)].first_plain(&plain, class);
        self.count(rule, plane(OUTGOING, false, class), plain.ip_length().into())
    }

    /// The same of whatever is not plain.
    #[cold]
    #[inline(never)]
    fn any<const OUTGOING: bool>(&self, watched: &Watched, frame: &[u8]) -> Part {
        let Some(headers) = parse(frame).ok().filter(|headers| watched.prefix.is_end(OUTGOING, headers)) else {
            return Part::None;
        };
        let rule = watched.rules[usize::from(OUTGOING)].first(&headers);
        self.count(rule, plane(OUTGOING, headers.is_fragment(), headers.class), headers.ip_length)
    }

    #[inline(always)]
    fn count(&self, rule: u16, plane: usize, bytes: u32) -> Part {
        let slab = &self.shared.slab;
        // Without a branch, into a slot that nobody reads where there is no rule: nobody can predict whether one matches.
        self.owner.count(slab, slab.place(slab.rule(rule), plane), bytes, self.tick);
        if rule == NO_RULE { Part::Rest } else { Part::Matched }
    }

    fn sample(&self, capture: &Capture, number: u16) {
        let Some((frame, frame_len)) = self.packets.clone().nth(number.into()) else { return };
        if !self.shared.ring.push(&Sample::new(capture.request, self.now, frame, frame_len)) {
            self.shared.stats.lost[Lost::RingFull as usize].add(1);
        }
    }
}
