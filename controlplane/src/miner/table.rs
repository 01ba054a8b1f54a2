//! Packets as columns: the sample and behind it the baseline, each number sorted into bins. What search and fit look at.
//! Values only.

use dataplane::packet::{Addresses, Headers, Upper};
use dataplane::rule::{Component, FlowRule};

use super::prior;
use crate::attack::{Direction, Unit};

/// Packets that the search looks at, of each side, and those of the baseline that the rule it finds is held against; of more, every so
/// manieth. Rules are counted over all.
pub(super) const SAMPLE_MAX: usize = 1_000;
const BASELINE_MAX: usize = 1_000;
const CHECK_MAX: usize = 2_000;
/// A number with a larger share of either side than this has a bin of its own.
const BIN_SHARE: f64 = 0.01;

/// Multiples of it are spread evenly between whole numbers, and never in step with anything.
const GOLDEN: f64 = 0.618_033_988_749_895;
/// A far end that has so many packets of a number in the sample comes there again and again.
const AGAIN: usize = 3;

/// The bin of a packet that has no such number.
pub(super) const ABSENT: u16 = u16::MAX;

/// Numbers that are not told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bin {
    pub(super) low: u32,
    pub(super) high: u32,
}

/// A component of numbers.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) component: Component,
    /// Ascending.
    pub(super) bins: Vec<Bin>,
    /// By packet.
    pub(super) of: Vec<u16>,
    /// What hosts in general have of the numbers below a bin, and of those up to its end.
    below: Vec<f64>,
    up_to: Vec<f64>,
    /// Whether it is the host's own port.
    is_near: bool,
    /// What of the sample the largest far end has of a bin; and what those have that come there again and again.
    heaviest: Vec<f64>,
    again: Vec<f64>,
}

impl Field {
    /// What hosts in general have of a bin.
    pub(super) fn general(&self, bin: u16) -> f64 {
        let bin = usize::from(bin);
        self.at_least(self.up_to[bin] - self.below[bin], self.bins[bin].high)
    }

    /// The same of what lies between two bins, if anything does.
    pub(super) fn between(&self, before: u16, bin: u16) -> f64 {
        let (before, bin) = (usize::from(before), usize::from(bin));
        if self.bins[before].high + 1 >= self.bins[bin].low {
            return 0.0;
        }
        self.at_least(self.below[bin] - self.up_to[before], self.bins[bin].low - 1)
    }

    /// The share of the sample that the largest far end has of a bin.
    pub(super) fn heaviest(&self, bin: u16) -> f64 {
        self.heaviest[usize::from(bin)]
    }

    /// The share of the sample that far ends have of a bin which come there again and again, as conversations do.
    pub(super) fn again(&self, bin: u16) -> f64 {
        self.again[usize::from(bin)]
    }

    fn tell_ends(&mut self, ends: &[u32], weights: &[f64], split: usize) {
        self.heaviest = vec![0.0; self.bins.len()];
        self.again = vec![0.0; self.bins.len()];
        let of_sample = (0..split).filter(|&index| self.of[index] != ABSENT);
        let mut sorted: Vec<(u16, u32, u32)> =
            of_sample.map(|index| (self.of[index], ends[index], index as u32)).collect();
        sorted.sort_unstable();
        for same in sorted.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let bin = usize::from(same[0].0);
            let share = same.iter().map(|(_, _, index)| weights[*index as usize]).sum::<f64>();
            self.heaviest[bin] = self.heaviest[bin].max(share);
            if same.len() >= AGAIN {
                self.again[bin] += share;
            }
        }
    }

    fn at_least(&self, general: f64, high: u32) -> f64 {
        (general.max(0.0) + prior::at_least(self.component, self.is_near, high)).min(1.0)
    }
}

/// Sample and baseline.
#[derive(Debug)]
pub(super) struct Table {
    /// The sample, then the baseline.
    pub(super) packets: Vec<Headers>,
    /// Where the baseline begins.
    pub(super) split: usize,
    /// More of the baseline, to hold a rule against that was fitted to these.
    pub(super) check: Vec<Headers>,
    /// What each packet is of its side, as a share.
    pub(super) weights: Vec<f64>,
    /// Components of numbers.
    pub(super) fields: Vec<Field>,
    /// Far ends, the first bit at the top.
    pub(super) far: Vec<u128>,
    /// All packets in the order of their far ends, and each one's place there.
    pub(super) by_far: Vec<u32>,
    pub(super) place: Vec<u32>,
    /// Whose conversation a packet is of, by number: that of its far end, and that of its far end and ports.
    ends: Vec<u32>,
    flows: Vec<u32>,
}

/// How many conversations packets are of, where one with most of them counts for little more than one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Conversations {
    /// By far end.
    pub(super) ends: f64,
    /// By far end and ports.
    pub(super) flows: f64,
}

/// A component of numbers of a packet.
pub(super) fn number(component: Component, packet: &Headers) -> Option<u32> {
    let ports = match packet.upper {
        Upper::Ports { source, destination } | Upper::Tcp { source, destination, .. } => Some((source, destination)),
        _ => None,
    };
    match (component, packet.upper) {
        (Component::Protocol, _) => Some(packet.protocol.into()),
        (Component::SourcePort, _) => ports.map(|(source, _)| source.into()),
        (Component::DestinationPort, _) => ports.map(|(_, destination)| destination.into()),
        (Component::IcmpType, Upper::Icmp { kind, .. }) => Some(kind.into()),
        (Component::IcmpCode, Upper::Icmp { code, .. }) => Some(code.into()),
        (Component::PacketLength, _) => Some(packet.ip_length.min(Component::PacketLength.largest())),
        (Component::Dscp, _) => Some(packet.dscp.into()),
        (Component::FlowLabel, _) => matches!(packet.addresses, Addresses::V6 { .. }).then_some(packet.flow_label),
        _ => None,
    }
}

/// What a packet weighs.
pub(super) fn weight(packet: &Headers, by: Unit) -> f64 {
    match by {
        Unit::Pps | Unit::Fps => 1.0,
        Unit::Bps => f64::from(packet.ip_length),
    }
}

/// The end that is not the target, the first bit at the top.
pub(super) fn far_end(packet: &Headers, direction: Direction) -> u128 {
    let incoming = direction == Direction::Incoming;
    match packet.addresses {
        Addresses::V4 { source, destination } => u128::from(if incoming { source } else { destination }) << 96,
        Addresses::V6 { source, destination } => {
            if incoming {
                source
            } else {
                destination
            }
        }
    }
}

impl Table {
    pub(super) fn new(sample: &[Headers], baseline: &[Headers], by: Unit, direction: Direction) -> Table {
        let mut packets = thinned(sample, SAMPLE_MAX);
        let split = packets.len();
        packets.extend(thinned(baseline, BASELINE_MAX));
        let check = if baseline.len() > BASELINE_MAX { thinned(baseline, CHECK_MAX) } else { Vec::new() };
        let mut weights: Vec<f64> = packets.iter().map(|packet| weight(packet, by)).collect();
        for side in [0..split, split..packets.len()] {
            let total: f64 = weights[side.clone()].iter().sum();
            weights[side].iter_mut().for_each(|weight| *weight /= total.max(1.0));
        }
        let far: Vec<u128> = packets.iter().map(|packet| far_end(packet, direction)).collect();
        let by_far = in_order(&far);
        let components = [
            Component::Protocol,
            Component::DestinationPort,
            Component::SourcePort,
            Component::IcmpType,
            Component::IcmpCode,
            Component::PacketLength,
            Component::Dscp,
            Component::FlowLabel,
        ];
        let near_port = match direction {
            Direction::Incoming => Component::DestinationPort,
            Direction::Outgoing => Component::SourcePort,
        };
        let mut fields: Vec<Field> =
            components.map(|component| field(component, component == near_port, &packets, &weights, split)).into();
        let ports =
            |packet: &Headers| (number(Component::SourcePort, packet), number(Component::DestinationPort, packet));
        let ends = numbered(&by_far, |index| far[index]);
        fields.iter_mut().for_each(|field| field.tell_ends(&ends, &weights, split));
        let mut by_flow = by_far.clone();
        let flow = |index: usize| (ends[index], packets[index].protocol, ports(&packets[index]));
        by_flow.sort_unstable_by_key(|&index| flow(index as usize));
        let flows = numbered(&by_flow, flow);
        let mut place = vec![0; far.len()];
        (0..).zip(&by_far).for_each(|(at, &index)| place[index as usize] = at);
        Table { packets, split, check, weights, fields, far, by_far, place, ends, flows }
    }

    /// Whether the baseline has but one number of it, and the sample no other: then it sets nothing apart.
    pub(super) fn is_flat(&self, component: Component) -> bool {
        let of_fragments = |packets: &[Headers]| packets.iter().all(|packet| packet.fragment == packets[0].fragment);
        match self.fields.iter().find(|field| field.component == component) {
            _ if self.split == self.packets.len() => false,
            Some(field) => {
                field.bins.len() == 1 && field.bins[0].low == field.bins[0].high && !field.of.contains(&ABSENT)
            }
            None => component == Component::Fragment && of_fragments(&self.packets),
        }
    }

    /// The conversations of the baseline's packets among these, which are in order.
    pub(super) fn conversations(&self, members: &[u32]) -> Conversations {
        let own = &members[members.partition_point(|&index| (index as usize) < self.split)..];
        let count = |names: &[u32]| {
            let mut shares = vec![0.0; self.packets.len()];
            let mut total = 0.0;
            for &index in own {
                shares[names[index as usize] as usize] += self.weights[index as usize];
                total += self.weights[index as usize];
            }
            // The inverse of the chance that two packets are of the same.
            let same: f64 = shares.iter().map(|share| share * share).sum();
            if same > 0.0 { total * total / same } else { 0.0 }
        };
        Conversations { ends: count(&self.ends), flows: count(&self.flows) }
    }

    /// The share of the baseline that a rule takes, by all the packets that there are to check it.
    pub(super) fn checked(&self, rule: &FlowRule, by: Unit) -> f64 {
        let (mut taken, mut all) = (0.0, 0.0);
        for packet in &self.check {
            let weight = weight(packet, by);
            all += weight;
            if rule.matches(packet) {
                taken += weight;
            }
        }
        if all > 0.0 { taken / all } else { 0.0 }
    }

    /// Shares of the sample and of the baseline that these packets make up.
    pub(super) fn shares(&self, members: &[u32]) -> (f64, f64) {
        let mut shares = (0.0, 0.0);
        for &index in members {
            let share = if (index as usize) < self.split { &mut shares.0 } else { &mut shares.1 };
            *share += self.weights[index as usize];
        }
        shares
    }
}

/// The places of these far ends in their order; of equal ones the first first.
pub(super) fn in_order(far: &[u128]) -> Vec<u32> {
    if far.iter().any(|far| far << 32 != 0) {
        let mut sorted: Vec<u32> = (0..far.len() as u32).collect();
        sorted.sort_unstable_by_key(|&index| (far[index as usize], index));
        return sorted;
    }
    // IPv4 fits into a word with its place.
    let mut sorted: Vec<u64> = (0..).zip(far).map(|(index, far)| (far >> 64) as u64 | index).collect();
    sorted.sort_unstable();
    sorted.into_iter().map(|entry| entry as u32).collect()
}

/// A number for each different value, below their count, of packets in the order of these values.
fn numbered<T: PartialEq>(sorted: &[u32], value: impl Fn(usize) -> T) -> Vec<u32> {
    let mut numbers = vec![0; sorted.len()];
    let same = sorted.chunk_by(|&a, &b| value(a as usize) == value(b as usize));
    for (number, same) in (0..).zip(same) {
        same.iter().for_each(|&index| numbers[index as usize] = number);
    }
    numbers
}

/// As many of the packets, one from each of as many slices: not always the same place of a slice, since traffic has rhythms.
fn thinned(packets: &[Headers], most: usize) -> Vec<Headers> {
    let step = packets.len() as f64 / most as f64;
    if step <= 1.0 {
        return packets.to_vec();
    }
    let place = |slice: usize| (slice as f64 + (slice as f64 * GOLDEN).fract()) * step;
    (0..most).map(|slice| packets[(place(slice) as usize).min(packets.len() - 1)]).collect()
}

/// Sorts the numbers into bins: frequent ones alone, rare neighbours together.
fn field(component: Component, is_near: bool, packets: &[Headers], weights: &[f64], split: usize) -> Field {
    let in_order = |(index, packet)| Some(u64::from(number(component, packet)?) << 32 | index);
    let mut sorted: Vec<u64> = (0..).zip(packets).filter_map(in_order).collect();
    sorted.sort_unstable();
    let number = |entry: u64| (entry >> 32) as u32;
    let index = |entry: u64| entry as u32 as usize;
    let mut bins: Vec<Bin> = Vec::new();
    let mut of = vec![ABSENT; packets.len()];
    let mut in_bin = [0.0; 2];
    for same in sorted.chunk_by(|&a, &b| number(a) == number(b)) {
        let number = number(same[0]);
        let mut shares = [0.0; 2];
        for &entry in same {
            shares[usize::from(index(entry) >= split)] += weights[index(entry)];
        }
        let is_full = |shares: &[f64; 2]| shares.iter().any(|&share| share > BIN_SHARE);
        let (with, alone) = ([in_bin[0] + shares[0], in_bin[1] + shares[1]], is_full(&shares));
        match bins.last_mut() {
            Some(last) if !alone && !is_full(&with) => {
                last.high = number;
                in_bin = with;
            }
            _ => {
                bins.push(Bin { low: number, high: number });
                // Nothing joins a frequent number.
                in_bin = if alone { [f64::INFINITY; 2] } else { shares };
            }
        }
        same.iter().for_each(|&entry| of[index(entry)] = bins.len() as u16 - 1);
    }
    let general = |high: u32| prior::in_general(component, is_near, 0, high);
    let below = bins.iter().map(|bin| bin.low.checked_sub(1).map_or(0.0, general)).collect();
    let up_to = bins.iter().map(|bin| general(bin.high)).collect();
    Field { component, bins, of, below, up_to, is_near, heaviest: Vec::new(), again: Vec::new() }
}
