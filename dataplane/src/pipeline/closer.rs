//! The watched part of the pipeline: counts each packet of a watched host or network for the rule that matches it; what no
//! rule matches feeds captures. A burst comes here only where it has such packets. Under attack nearly all are of one host:
//! those of one host or network go together, so that what is asked once need not be asked for each, and rules look at all of
//! them at once.

use super::{JOBS_MAX, Jobs, Pipeline, Shared};
use crate::hosts::{Owner, PLANES, Place, Slab};
use crate::packet::{PlainUpper, parse};
use crate::rule::Columns;
use crate::rule::lanes::{LANES, each, equal, first, sum};
use crate::stats::Lost;
use crate::tap::Sample;
use crate::watch::{CAPTURES_MAX, Capture, WATCHED_MAX, Watch, Watched};

/// How far a worker is with a capture.
#[derive(Clone, Copy, Default)]
struct Progress {
    request: u32,
    /// The next packet to take is the one that brings this to 0.
    left: u32,
    taken: u32,
}

/// What a worker keeps of captures.
pub(super) struct Closer {
    captures: Box<[Progress; CAPTURES_MAX]>,
}

impl Default for Closer {
    fn default() -> Closer {
        Closer { captures: Box::new([Progress::default(); CAPTURES_MAX]) }
    }
}

const _: () = assert!(JOBS_MAX.is_multiple_of(LANES) && WATCHED_MAX < OUTGOING as usize);

/// What a mark has added where the packet is outgoing.
const OUTGOING: u16 = 1 << 15;

/// One look at a burst.
struct Look<'a, P> {
    shared: &'a Shared,
    owner: &'a Owner,
    packets: P,
    tick: u32,
    now: u64,
}

/// Entries of a burst, as many as there are lanes.
struct Part<'a> {
    places: &'a [Place; LANES],
    bytes: &'a [u32; LANES],
    /// Which packets of the burst.
    packets: &'a [u16; LANES],
}

/// Those entries of a part that are of one host or network and direction, each in a lane.
struct Run<'a> {
    part: &'a Part<'a>,
    /// All are of one cell.
    is_alike: bool,
    /// Which entry, by lane.
    entries: [u8; LANES],
    lanes: u64,
    /// Those that are longer than their column can say.
    long: u64,
}

/// In which planes the packets of a run are counted.
struct Planes {
    /// A bit each.
    used: u64,
    /// By plane.
    lanes: [u64; PLANES],
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
        let Pipeline { shared, watch, owner, jobs, columns, closer, .. } = self;
        let Jobs { len, places, bytes, packets: numbers, .. } = &**jobs;
        let watch: &Watch = watch.load();
        let look = Look { shared, owner, packets, tick, now };
        let (places, bytes, numbers) = (places.as_chunks().0, bytes.as_chunks().0, numbers.as_chunks().0);
        for (((places, bytes), packets), at) in places.iter().zip(bytes).zip(numbers).zip((0..*len).step_by(LANES)) {
            let part = Part { places, bytes, packets };
            part.by_target(&shared.slab, (*len - at).min(LANES), |mark, entries| match watch.get(mark & !OUTGOING) {
                Some(watched) if mark < OUTGOING => closer.run::<false, _>(watched, &part, entries, columns, &look),
                Some(watched) => closer.run::<true, _>(watched, &part, entries, columns, &look),
                None => {}
            });
        }
    }
}

impl Part<'_> {
    /// Calls `run` for each mark and direction with all entries of it, of the first so many; and whether these are of one cell.
    #[inline(always)]
    fn by_target(&self, slab: &Slab, len: usize, mut run: impl FnMut(u16, (u64, bool))) {
        let mark = |&place: &Place| slab.watch(place) | if slab.is_outgoing(place) { OUTGOING } else { 0 };
        let [place, ..] = self.places;
        // Most often all are of the very same cell.
        if place.is_all_of(self.places.get(..len).unwrap_or_default()) {
            return run(mark(place), (first(len), true));
        }
        let marks = self.places.each_ref().map(mark);
        let mut left = first(len);
        while left != 0 {
            let mark = marks[left.trailing_zeros() as usize % LANES];
            let alike = equal(&marks, mark) & left;
            left &= !alike;
            run(mark, (alike, false));
        }
    }
}

impl Closer {
    #[inline(always)]
    fn run<'a, const OUTGOING: bool, P>(
        &mut self,
        watched: &Watched,
        part: &Part,
        entries: (u64, bool),
        columns: &mut Columns,
        look: &Look<P>,
    ) where
        P: Iterator<Item = (&'a [u8], u32)> + Clone,
    {
        let rules = &watched.rules[usize::from(OUTGOING)];
        let run = match rules.is_wide() {
            false => look.put::<OUTGOING, false>(watched, part, entries, columns),
            true => look.put::<OUTGOING, true>(watched, part, entries, columns),
        };
        let mut planes = None;
        let rest = rules.share_out(columns, run.lanes, |columns, rule, lanes| {
            let planes = planes.get_or_insert_with(|| run.planes(&look.shared.slab));
            look.count(columns, &run, planes, rule, lanes);
        });
        for capture in &watched.captures {
            let progress = &mut self.captures[usize::from(capture.place) % CAPTURES_MAX];
            if progress.request != capture.request {
                *progress = Progress { request: capture.request, left: 1, taken: 0 };
            }
            // In the direction of its attack only what no rule matches.
            let wanted = if capture.outgoing == OUTGOING { rest } else { run.lanes };
            if wanted.count_ones() < progress.left {
                progress.left -= wanted.count_ones();
            } else {
                progress.take(capture, &run, wanted, look);
            }
        }
    }
}

impl Progress {
    /// Of a run that has one or more packets which are due.
    #[cold]
    #[inline(never)]
    fn take<'a, P>(&mut self, capture: &Capture, run: &Run, wanted: u64, look: &Look<P>)
    where
        P: Iterator<Item = (&'a [u8], u32)> + Clone,
    {
        for lane in each(wanted) {
            self.left -= 1;
            if self.left > 0 {
                continue;
            }
            self.left = u32::MAX;
            if self.taken < capture.worker_max {
                self.left = capture.stride.max(1);
                self.taken += 1;
                look.sample(capture, run.part.packets[run.entry(lane)]);
            }
        }
    }
}

impl Run<'_> {
    #[inline(always)]
    fn entry(&self, lane: usize) -> usize {
        usize::from(self.entries[lane % LANES]) % LANES
    }

    #[inline(always)]
    fn planes(&self, slab: &Slab) -> Planes {
        let plane = |lane| slab.plane_of(self.part.places[self.entry(lane)]) % PLANES;
        let mut planes = Planes { used: 0, lanes: [0; PLANES] };
        let mut add = |plane, lanes| {
            planes.used |= 1u64 << plane;
            planes.lanes[plane] |= lanes;
        };
        match self.is_alike {
            true => add(plane(0), self.lanes),
            false => each(self.lanes).for_each(|lane| add(plane(lane), 1 << lane)),
        }
        planes
    }

    /// IP bytes of these packets.
    #[inline(always)]
    fn bytes(&self, columns: &Columns, lanes: u64) -> u64 {
        if lanes & self.long == 0 { sum(columns.lengths(), lanes) } else { self.long_bytes(lanes) }
    }

    #[cold]
    #[inline(never)]
    fn long_bytes(&self, lanes: u64) -> u64 {
        each(lanes).map(|lane| u64::from(self.part.bytes[self.entry(lane)])).sum()
    }
}

impl<'a, P: Iterator<Item = (&'a [u8], u32)> + Clone> Look<'_, P> {
    /// Gives a lane to each packet that is the target's. One whose slot was that of another host when it was marked is not.
    /// A function of its own, so that the loop has the registers for itself.
    #[inline(never)]
    fn put<'p, const OUTGOING: bool, const WIDE: bool>(
        &self,
        watched: &Watched,
        part: &'p Part<'p>,
        (entries, is_alike): (u64, bool),
        columns: &mut Columns,
    ) -> Run<'p> {
        let mut run = Run { part, is_alike, entries: [0; LANES], lanes: 0, long: 0 };
        let (packets, prefix) = (self.packets.clone(), watched.prefix);
        let mut lane = 0;
        for entry in each(entries) {
            let Some((frame, _)) = packets.clone().nth(part.packets[entry].into()) else { continue };
            match PlainUpper::of(frame) {
                Some(upper) => {
                    let address = if OUTGOING { upper.packet.source() } else { upper.packet.destination() };
                    if !prefix.holds_v4(address) {
                        continue;
                    }
                    columns.put_plain(lane, &upper, WIDE);
                }
                None => match put_any::<OUTGOING>(watched, frame, lane, columns) {
                    None => continue,
                    Some(is_long) => run.long |= u64::from(is_long) << (lane % LANES),
                },
            }
            run.entries[lane % LANES] = entry as u8;
            lane += 1;
        }
        run.lanes = first(lane);
        run
    }

    /// Counts packets for a rule.
    #[inline(always)]
    fn count(&self, columns: &Columns, run: &Run, planes: &Planes, rule: u16, lanes: u64) {
        let slab = &self.shared.slab;
        for plane in each(planes.used) {
            let lanes = lanes & planes.lanes[plane % PLANES];
            if lanes != 0 {
                let place = slab.place(slab.rule(rule), plane);
                self.owner.count_many(slab, place, lanes.count_ones(), run.bytes(columns, lanes), self.tick);
            }
        }
    }

    fn sample(&self, capture: &Capture, packet: u16) {
        let Some((frame, frame_len)) = self.packets.clone().nth(packet.into()) else { return };
        if !self.shared.ring.push(&Sample::new(capture.request, self.now, frame, frame_len)) {
            self.shared.stats.lost[Lost::RingFull as usize].add(1);
        }
    }
}

/// Whatever is not plain, if it is the target's; says whether it is longer than its column can say.
#[cold]
#[inline(never)]
fn put_any<const OUTGOING: bool>(watched: &Watched, frame: &[u8], lane: usize, columns: &mut Columns) -> Option<bool> {
    let headers = parse(frame).ok().filter(|headers| watched.prefix.is_end(OUTGOING, headers))?;
    columns.put(lane, &headers);
    Some(headers.ip_length > u16::MAX.into())
}
