//! Open captures and what they hold so far.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use dataplane::packet::{Addresses, Headers, parse};
use dataplane::pipeline::Shared;
use dataplane::watch::{CAPTURES_MAX, Capture};
use uuid::Uuid;

use crate::attack::{Direction, Target};
use crate::detector::CaptureRequest;
use crate::record::Counts;

#[derive(Debug)]
struct Open {
    request: CaptureRequest,
    number: u32,
    place: u16,
    sample: Vec<Headers>,
    counts: Counts,
}

/// All open captures.
#[derive(Debug, Default)]
pub(super) struct Captures {
    open: HashMap<Uuid, Open>,
    by_number: HashMap<u32, Uuid>,
    numbers: u32,
    /// Captures that found no place; they wait until one is closed.
    waiting: Vec<CaptureRequest>,
}

impl Captures {
    /// Opens a capture, in place of one of the same attack. Where there are too many, it waits for a place.
    pub(super) fn open(&mut self, request: CaptureRequest) {
        self.remove(request.attack);
        let taken: BTreeSet<u16> = self.open.values().map(|open| open.place).collect();
        let Some(place) = (0..CAPTURES_MAX as u16).find(|place| !taken.contains(place)) else {
            self.waiting.push(request);
            return;
        };
        self.numbers = self.numbers.wrapping_add(1).max(1);
        self.by_number.insert(self.numbers, request.attack);
        let open = Open {
            request,
            number: self.numbers,
            place,
            sample: Vec::with_capacity(request.wanted),
            counts: Counts::default(),
        };
        self.open.insert(request.attack, open);
    }

    /// Closes it; gives its target and what it held.
    pub(super) fn close(&mut self, attack: Uuid) -> Option<(Target, Vec<Headers>)> {
        let closed = self.remove(attack);
        if let Some(next) = (!self.waiting.is_empty() && closed.is_some()).then(|| self.waiting.remove(0)) {
            self.open(next);
        }
        closed.map(|open| (open.request.target, open.sample))
    }

    fn remove(&mut self, attack: Uuid) -> Option<Open> {
        self.waiting.retain(|waiting| waiting.attack != attack);
        let open = self.open.remove(&attack)?;
        self.by_number.remove(&open.number);
        Some(open)
    }

    /// Takes samples out of the workers' rings. Gives the captures that are full now.
    pub(super) fn drain<'a>(&mut self, workers: impl Iterator<Item = &'a Shared>) -> Vec<(Uuid, Counts)> {
        let mut full = Vec::new();
        for worker in workers {
            while let Some(sample) = worker.ring.pop() {
                // Late samples of a closed capture find nobody.
                let Some(&attack) = self.by_number.get(&sample.request) else { continue };
                let Some(open) = self.open.get_mut(&attack) else { continue };
                let Ok(headers) = parse(sample.data()) else { continue };
                if open.sample.len() >= open.request.wanted {
                    continue;
                }
                open.sample.push(headers);
                if is_to(&headers, &open.request.target) {
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
    pub(super) fn open_ones(&self) -> impl Iterator<Item = (IpAddr, Capture)> + '_ {
        self.open.values().map(|open| {
            let capture = Capture {
                request: open.number,
                place: open.place,
                stride: open.request.stride.max(1),
                worker_max: open.request.wanted as u32,
                outgoing: open.request.target.direction == Direction::Outgoing,
            };
            (open.request.target.prefix.addr(), capture)
        })
    }
}

fn is_to(headers: &Headers, target: &Target) -> bool {
    let destination = match headers.addresses {
        Addresses::V4 { destination, .. } => IpAddr::V4(destination.into()),
        Addresses::V6 { destination, .. } => IpAddr::V6(destination.into()),
    };
    target.prefix.contains(&destination)
}
