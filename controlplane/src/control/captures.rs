//! Open captures and what they hold so far.

use std::collections::{BTreeSet, HashMap};

use dataplane::packet::{Headers, parse};
use dataplane::pipeline::Shared;
use dataplane::tap::{REQUEST_MAX, RING};
use dataplane::watch::{CAPTURES_MAX, Capture};
use uuid::Uuid;

use super::clock::Stamp;
use super::examples::Examples;
use crate::attack::{Direction, Target};
use crate::detector::CaptureRequest;
use crate::record::Counts;
use crate::samples::{FRAMES_MAX, Frame};

/// A look takes so many samples of a worker at most: all that the always-on tap may leave in a ring.
const LOOK_MAX: usize = RING / 4;

#[derive(Debug)]
struct Open {
    request: CaptureRequest,
    number: u32,
    place: u16,
    sample: Vec<Headers>,
    /// The same packets as they came, as far as they are kept.
    frames: Vec<Frame>,
    counts: Counts,
    /// The time-stamp counter at the first packet that was kept, and at the last one.
    tsc: Option<(u64, u64)>,
}

impl Open {
    /// Whether a packet is what the request is for.
    fn keeps(&self, headers: &Headers, is_incoming: bool) -> bool {
        let is_same_way = is_incoming == (self.request.target.direction == Direction::Incoming);
        self.request.only.is_none_or(|kind| is_same_way && kind.includes(headers))
    }
}

/// What a capture held.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Closed {
    /// What it was of.
    pub(super) target: Target,
    /// Its packets, for the miner.
    pub(super) sample: Vec<Headers>,
    /// In how many seconds so many packets came, of which the sample has one in so many; 0: nobody knows.
    pub(super) seconds: f64,
    /// Of how many packets the sample has one.
    pub(super) one_in: u32,
    /// The same packets as they came; empty where nobody keeps them.
    pub(super) frames: Vec<Frame>,
}

/// All open captures.
#[derive(Debug, Default)]
pub(super) struct Captures {
    open: HashMap<Uuid, Open>,
    by_number: HashMap<u32, Uuid>,
    numbers: u32,
    /// Whether frames are kept.
    keeps_frames: bool,
}

impl Captures {
    /// No capture yet. Frames are kept where somebody wants them.
    pub(super) fn new(keeps_frames: bool) -> Captures {
        Captures { keeps_frames, ..Captures::default() }
    }

    /// Whether somebody wants frames from now on.
    pub(super) fn keep_frames(&mut self, wanted: bool) {
        self.keeps_frames = wanted;
    }

    /// Opens a capture, in place of one of the same attack. The detector opens no more than there are places.
    pub(super) fn open(&mut self, request: CaptureRequest) {
        self.remove(request.attack);
        let taken: BTreeSet<u16> = self.open.values().map(|open| open.place).collect();
        let Some(place) = (0..CAPTURES_MAX as u16).find(|place| !taken.contains(place)) else { return };
        self.numbers = self.numbers % REQUEST_MAX + 1;
        self.by_number.insert(self.numbers, request.attack);
        let open = Open {
            request,
            number: self.numbers,
            place,
            sample: Vec::with_capacity(request.wanted),
            frames: Vec::with_capacity(if self.keeps_frames { request.wanted.min(FRAMES_MAX) } else { 0 }),
            counts: Counts::default(),
            tsc: None,
        };
        self.open.insert(request.attack, open);
    }

    /// Closes it; gives what it held.
    pub(super) fn close(&mut self, attack: Uuid, clock: Stamp) -> Option<Closed> {
        self.remove(attack).map(|open| {
            let cycles = open.tsc.map_or(0, |(first, last)| last.saturating_sub(first));
            let seconds = clock.seconds(cycles) / f64::from(open.request.stride.max(1));
            let one_in = open.request.stride.max(1);
            Closed { target: open.request.target, sample: open.sample, seconds, one_in, frames: open.frames }
        })
    }

    fn remove(&mut self, attack: Uuid) -> Option<Open> {
        let open = self.open.remove(&attack)?;
        self.by_number.remove(&open.number);
        Some(open)
    }

    /// Takes samples out of the workers' rings, of each no more than [`LOOK_MAX`]: a worker may bring them faster than they are
    /// taken, and all else must have its turn. What finds the ring full is counted there. Examples go to `examples`, packets of the
    /// always-on tap to `tapped` with how many they stand for. Gives the captures that are full now.
    pub(super) fn drain<'a>(
        &mut self,
        workers: impl Iterator<Item = &'a Shared>,
        clock: Stamp,
        examples: &mut Examples,
        mut tapped: impl FnMut(Headers, u32),
    ) -> Vec<(Uuid, Counts)> {
        let mut full = Vec::new();
        for worker in workers {
            for sample in std::iter::from_fn(|| worker.ring.pop()).take(LOOK_MAX) {
                if examples.take(worker.core, &sample, clock) {
                    continue;
                }
                if let Some(one_in) = sample.one_in() {
                    if let Ok(headers) = parse(sample.data()) {
                        tapped(headers, one_in);
                    }
                    continue;
                }
                // Late samples of a closed capture find nobody.
                let Some(&attack) = self.by_number.get(&sample.request) else { continue };
                let Some(open) = self.open.get_mut(&attack) else { continue };
                let Ok(headers) = parse(sample.data()) else { continue };
                let is_incoming = open.request.target.prefix.contains(&Direction::Incoming.near(&headers));
                if open.sample.len() >= open.request.wanted || !open.keeps(&headers, is_incoming) {
                    continue;
                }
                open.sample.push(headers);
                let (first, last) = open.tsc.unwrap_or((sample.tsc, sample.tsc));
                open.tsc = Some((first.min(sample.tsc), last.max(sample.tsc)));
                if self.keeps_frames && open.frames.len() < FRAMES_MAX {
                    open.frames.push(Frame { time_us: clock.wall_us_at(sample.tsc), sample });
                }
                if is_incoming {
                    open.counts.incoming += 1;
                } else {
                    open.counts.outgoing += 1;
                }
                if open.sample.len() == open.request.wanted {
                    full.push((attack, open.counts));
                }
            }
        }
        full
    }

    /// How far each one is.
    pub(super) fn counts(&self) -> Vec<(Uuid, Counts)> {
        self.open.iter().map(|(attack, open)| (*attack, open.counts)).collect()
    }

    /// What workers are to do for them.
    pub(super) fn open_ones(&self) -> impl Iterator<Item = (Target, Capture)> + '_ {
        self.open.values().map(|open| {
            let capture = Capture {
                request: open.number,
                place: open.place,
                stride: open.request.stride.max(1),
                // What is not kept does not count.
                worker_max: if open.request.only.is_some() { u32::MAX } else { open.request.wanted as u32 },
                outgoing: open.request.target.direction == Direction::Outgoing,
            };
            (open.request.target, capture)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use crate::attack::Kind;
    use crate::control::clock::Clock;
    use dataplane::dpdk;
    use dataplane::hosts::Layout;
    use dataplane::packet::Unparsed;
    use dataplane::tap::Sample;

    use super::*;

    fn worker() -> Shared {
        Shared::new(
            0,
            Layout { networks: 1, rules: 1, ipv4_blocks: 1, ipv6_hosts: 1, flow_ticks: 0, ipv6_prefix_length: 128 },
            [1, 2],
        )
        .expect("memory")
    }

    fn request(wanted: usize) -> CaptureRequest {
        let prefix = "192.0.2.1/32".parse().unwrap();
        let target = Target { prefix, direction: Direction::Incoming };
        CaptureRequest { attack: Uuid::now_v7(), target, wanted, stride: 3, only: None }
    }

    /// An Ethernet frame with an IPv4 and a UDP header.
    fn frame(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend(source);
        frame.extend(destination);
        frame.extend([0, 53, 4, 0, 0, 8, 0, 0]);
        frame
    }

    const VICTIM: [u8; 4] = [192, 0, 2, 1];
    const OTHER: [u8; 4] = [198, 51, 100, 7];

    fn push(worker: &Shared, request: u32, source: [u8; 4], destination: [u8; 4]) {
        let frame = frame(source, destination);
        assert!(worker.ring.push(&Sample::new(request, 0, &frame, frame.len() as u32)));
    }

    fn stamp() -> Stamp {
        Clock::machine().stamp()
    }

    fn drain(captures: &mut Captures, workers: &[Shared]) -> Vec<(Uuid, Counts)> {
        captures.drain(workers.iter(), stamp(), &mut Examples::default(), |_, _| ())
    }

    fn number(captures: &Captures, attack: Uuid) -> u32 {
        captures.open[&attack].number
    }

    #[test]
    fn a_capture_is_full_once_over_all_workers_and_both_directions() {
        let (mut captures, workers) = (Captures::default(), [worker(), worker()]);
        let request = request(4);
        captures.open(request);
        let opened: Vec<_> = captures.open_ones().collect();
        let [(host, capture)] = opened.as_slice() else { panic!("one capture, not {opened:?}") };
        assert_eq!(host.prefix.addr(), IpAddr::from(VICTIM));
        assert_eq!((capture.stride, capture.worker_max, capture.outgoing), (3, 4, false));
        let number = capture.request;

        push(&workers[0], number, OTHER, VICTIM);
        push(&workers[0], number, OTHER, VICTIM);
        push(&workers[1], number, VICTIM, OTHER);
        assert_eq!(drain(&mut captures, &workers), []);
        assert_eq!(captures.counts(), [(request.attack, Counts { incoming: 2, outgoing: 1 })]);
        (0..3).for_each(|_| push(&workers[1], number, OTHER, VICTIM));
        let full = Counts { incoming: 3, outgoing: 1 };
        assert_eq!(drain(&mut captures, &workers), [(request.attack, full)]);
        push(&workers[0], number, OTHER, VICTIM);
        assert_eq!(drain(&mut captures, &workers), [], "full only once");
        let closed = captures.close(request.attack, stamp()).expect("an open capture");
        assert_eq!((closed.target, closed.sample.len(), closed.frames.len()), (request.target, 4, 0));
        assert_eq!(captures.close(request.attack, stamp()), None);
    }

    #[test]
    fn frames_are_kept_as_they_came_where_they_are_wanted() {
        let (mut captures, workers) = (Captures::new(true), [worker()]);
        let request = request(2);
        captures.open(request);
        let (sent, number) = (frame(OTHER, VICTIM), number(&captures, request.attack));
        let before = stamp().wall_us;
        assert!(workers[0].ring.push(&Sample::new(number, dpdk::tsc(), &sent, 1_400)));
        // This one cannot be parsed: it is in neither.
        assert!(workers[0].ring.push(&Sample::new(number, dpdk::tsc(), &[0x45; 9], 9)));
        drain(&mut captures, &workers);
        let closed = captures.close(request.attack, stamp()).expect("an open capture");
        let [kept] = &closed.frames[..] else { panic!("one frame, not {:?}", closed.frames) };
        assert_eq!((kept.sample.data(), kept.sample.frame_len, closed.sample.len()), (&sent[..], 1_400, 1));
        assert!((before - 1_000..=stamp().wall_us).contains(&kept.time_us));
    }

    #[test]
    fn late_samples_and_broken_ones_are_dropped() {
        let (mut captures, workers) = (Captures::default(), [worker()]);
        let request = request(10);
        captures.open(request);
        let first = number(&captures, request.attack);
        push(&workers[0], first, OTHER, VICTIM);
        drain(&mut captures, &workers);
        // Opened anew, it starts from nothing, and what comes for the old one is too late.
        captures.open(request);
        let second = number(&captures, request.attack);
        assert_ne!(first, second);
        push(&workers[0], first, OTHER, VICTIM);
        assert!(workers[0].ring.push(&Sample::new(second, 0, &[0x45; 9], 9)));
        push(&workers[0], second, OTHER, VICTIM);
        drain(&mut captures, &workers);
        assert_eq!(captures.counts(), [(request.attack, Counts { incoming: 1, outgoing: 0 })]);
        captures.close(request.attack, stamp());
        push(&workers[0], second, OTHER, VICTIM);
        assert_eq!(drain(&mut captures, &workers), []);
        assert!(workers[0].ring.pop().is_none(), "the ring is emptied all the same");
    }

    #[test]
    fn a_worker_that_never_stops_bringing_samples_holds_up_nobody() {
        let (mut captures, workers, frame) = (Captures::default(), [worker()], frame(OTHER, VICTIM));
        let sample = Sample::tapped(1, 0, &frame, 60);
        let (mut taken, mut full) = (0, 0);
        assert!(workers[0].ring.push(&sample));
        captures.drain(workers.iter(), stamp(), &mut Examples::default(), |_, _| {
            taken += 1;
            full += usize::from(taken < 2 * RING && workers[0].ring.push(&sample));
        });
        assert_eq!((taken, full), (LOOK_MAX, LOOK_MAX), "the rest is for the next look");
    }

    #[test]
    fn examples_are_no_part_of_a_capture() {
        let (mut captures, workers, mut examples) = (Captures::default(), [worker()], Examples::default());
        let request = request(10);
        captures.open(request);
        let frame = frame(OTHER, VICTIM);
        assert!(workers[0].ring.push(&Sample::example(Unparsed::NotIp, 0, 0, &frame, 60)));
        push(&workers[0], number(&captures, request.attack), OTHER, VICTIM);
        let mut tapped = Vec::new();
        assert!(workers[0].ring.push(&Sample::tapped(640, 0, &frame, 60)));
        captures.drain(workers.iter(), stamp(), &mut examples, |headers, one_in| tapped.push((headers, one_in)));
        assert_eq!(tapped, [(parse(&frame).unwrap(), 640)]);
        assert_eq!(captures.counts(), [(request.attack, Counts { incoming: 1, outgoing: 0 })]);
        assert_eq!(examples.get(Unparsed::NotIp).expect("an example").data, frame);
    }

    #[test]
    fn numbers_of_captures_never_mark_an_example() {
        let mut captures = Captures { numbers: REQUEST_MAX - 1, ..Captures::default() };
        let numbers = [(); 3].map(|()| {
            let request = request(1);
            captures.open(request);
            number(&captures, request.attack)
        });
        assert_eq!(numbers, [REQUEST_MAX, 1, 2]);
    }

    #[test]
    fn a_capture_of_what_crossed_keeps_nothing_else_and_is_full_all_the_same() {
        let (mut captures, workers) = (Captures::new(true), [worker()]);
        let request = CaptureRequest { only: Some(Kind::Udp), ..request(2) };
        captures.open(request);
        let (_, capture) = captures.open_ones().next().expect("a capture");
        assert_eq!(capture.worker_max, u32::MAX, "a worker does not know what is kept");
        let number = number(&captures, request.attack);
        let mut tcp = frame(OTHER, VICTIM);
        tcp[23] = 6;
        tcp.extend([0; 20]);
        tcp[17] = 48;
        for _ in 0..5 {
            push(&workers[0], number, VICTIM, OTHER);
            assert!(workers[0].ring.push(&Sample::new(number, 0, &tcp, tcp.len() as u32)));
        }
        assert_eq!(drain(&mut captures, &workers), []);
        assert_eq!(captures.counts(), [(request.attack, Counts::default())]);
        (0..3).for_each(|_| push(&workers[0], number, OTHER, VICTIM));
        assert_eq!(drain(&mut captures, &workers), [(request.attack, Counts { incoming: 2, outgoing: 0 })]);
        let closed = captures.close(request.attack, stamp()).expect("an open capture");
        assert_eq!((closed.sample.len(), closed.frames.len()), (2, 2));
    }

    #[test]
    fn each_open_capture_has_a_place_of_its_own() {
        let mut captures = Captures::default();
        let requests: Vec<CaptureRequest> = (0..CAPTURES_MAX + 1).map(|_| request(1)).collect();
        let places = |captures: &Captures| captures.open.values().map(|open| open.place).collect::<BTreeSet<u16>>();
        requests.iter().for_each(|request| captures.open(*request));
        assert_eq!(places(&captures).len(), CAPTURES_MAX);
        assert_eq!(captures.close(requests[CAPTURES_MAX].attack, stamp()), None, "there was no place");
        assert!(captures.close(requests[5].attack, stamp()).is_some());
        captures.open(request(1));
        assert_eq!(places(&captures).len(), CAPTURES_MAX);
    }
}
