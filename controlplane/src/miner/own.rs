//! What of a sample is the host's own: how large a share, and how much of it one conversation can be. Values only.
//!
//! The baseline tells what kinds of traffic a host has, and not who its next client is: a conversation that begins after it comes from an
//! address and port that it never saw, and looks like an attack to whoever looks at these alone. So a rule that names an address or a
//! conversation's port must take more than one conversation of the host's own can be.

use std::collections::HashMap;

use dataplane::packet::{Headers, Upper};

use super::table::{Table, far_end, in_order, number};
use super::{Component, Direction, Peace, Unit, weight};

/// The share of the baseline, in the kinds that the attack adds least to, that tells how much of the sample is the host's own.
const LEAST_TOUCHED: f64 = 0.3;
/// Longer packets carry something.
const LONG: u32 = 100;
/// The host's own may be at so many times its mean rate.
const RATE_SLACK: f64 = 2.0;
/// Rates are rarely so many standard deviations below their mean.
const DEVIATIONS: f64 = 2.0;
/// No more of a sample is held to be the host's own: something crossed a threshold.
const MOST: f64 = 0.5;
/// A port with more than this of the baseline is a service.
const SERVICE: f64 = 0.02;
/// Ports below are services of their own accord.
pub(super) const WELL_KNOWN: u32 = 1024;
/// Packets of the host's own in a sample, at least, among which one conversation may be.
const AMONG_LEAST: usize = 8;
/// So many of the latest packets of the baseline are looked at for conversations.
const LATEST: usize = 2_048;

/// A kind of traffic: what the baseline can know.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    protocol: u8,
    fragment: u8,
    flags: u16,
    service: u32,
    is_long: bool,
}

/// Whether a number names a conversation, and not what kind of traffic it is.
pub(super) fn is_name(component: Component, number: u32) -> bool {
    match component {
        Component::SourcePort | Component::DestinationPort => number >= WELL_KNOWN,
        Component::FlowLabel => number > 0,
        _ => false,
    }
}

/// How many conversations of the host's own a range is held to be about, as many as may well be in it by chance.
pub(super) fn names(component: Component, (low, high): (u32, u32)) -> usize {
    match is_name(component, high) {
        true if low == high => 1,
        true => 2,
        false => 0,
    }
}

/// What a rate tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// The share of the sample that the host's own would be at the rate of the baseline.
    share: f64,
    /// The same at the least, as rates go up and down.
    least: f64,
}

/// The share of the sample that is the host's own by its rate, where the times of both are known.
pub(super) fn by_rate(sample: &[Headers], seconds: f64, peace: &Peace, by: Unit) -> Option<Rate> {
    let (first, last) = (peace.seconds.iter().min()?, peace.seconds.iter().max()?);
    // A capture of one protocol tells nothing of the others.
    let mut seen = [false; 256];
    sample.iter().for_each(|packet| seen[usize::from(packet.protocol)] = true);
    let of_seen = peace.packets.iter().zip(&peace.seconds).filter(|(packet, _)| seen[usize::from(packet.protocol)]);
    let mut timed: Vec<(u32, f64)> =
        of_seen.map(|(packet, second)| (*second, weight(packet, by) * peace.one_in)).collect();
    timed.sort_by_key(|(second, _)| *second);
    let seconds_of = timed.chunk_by(|a, b| a.0 == b.0);
    let by_second: Vec<f64> = seconds_of.map(|second| second.iter().map(|(_, weight)| weight).sum()).collect();
    let count = f64::from(last - first) + 1.0;
    let a_second = by_second.iter().sum::<f64>() / count;
    let squares: f64 = by_second.iter().map(|own| own * own).sum();
    let deviation = (squares / count - a_second * a_second).max(0.0).sqrt() / a_second.max(f64::MIN_POSITIVE);
    let all: f64 = sample.iter().map(|packet| weight(packet, by)).sum();
    (seconds > 0.0 && last > first && all > 0.0).then(|| {
        let share = a_second * seconds / all;
        // Less time, less to even out.
        let steady = (1.0 - DEVIATIONS * deviation / seconds.min(1.0).sqrt()).max(0.0);
        let packets = share * steady * sample.len() as f64;
        let least = (packets - DEVIATIONS * packets.sqrt()).max(0.0) / sample.len() as f64;
        Rate { share, least }
    })
}

/// The share of the sample that is the host's own, at most and at least: as large as the kinds of traffic let it be that the attack adds least
/// to, and what chance can make of it.
pub(super) fn share(table: &Table, near_port: Component, far_port: Component, rate: Option<Rate>) -> (f64, f64) {
    let (sample, baseline) = table.packets.split_at(table.split);
    if baseline.is_empty() || sample.is_empty() {
        return (MOST, 0.0);
    }
    let mut ports: HashMap<u32, f64> = HashMap::new();
    for (packet, weight) in baseline.iter().zip(&table.weights[table.split..]) {
        *ports.entry(number(near_port, packet).unwrap_or(0)).or_default() += weight;
    }
    let is_service = |port: &u32| *port < WELL_KNOWN || ports.get(port).is_some_and(|&share| share > SERVICE);
    let kind = |packet: &Headers| {
        let near = number(near_port, packet).filter(is_service);
        let far = number(far_port, packet).filter(|&port| port < WELL_KNOWN);
        Kind {
            protocol: packet.protocol,
            fragment: packet.fragment & !1,
            flags: if let Upper::Tcp { flags, .. } = packet.upper { flags & 0x37 } else { 0 },
            is_long: packet.ip_length > LONG,
            service: near.map_or(0, |port| port + 1) << 16 | far.map_or(0, |port| port + 1),
        }
    };
    let mut kinds: HashMap<Kind, [f64; 2]> = HashMap::new();
    for (index, (packet, weight)) in table.packets.iter().zip(&table.weights).enumerate() {
        kinds.entry(kind(packet)).or_default()[usize::from(index >= table.split)] += weight;
    }
    // A capture of one protocol tells nothing of the others.
    let mut seen = [false; 256];
    sample.iter().for_each(|packet| seen[usize::from(packet.protocol)] = true);
    let kinds = kinds.into_iter().filter(|(kind, shares)| seen[usize::from(kind.protocol)] && shares[1] > 0.0);
    let mut kinds: Vec<[f64; 2]> = kinds.map(|(_, shares)| shares).collect();
    kinds.sort_by(|a, b| (a[0] / a[1]).total_cmp(&(b[0] / b[1])).then(b[1].total_cmp(&a[1])));
    let all: f64 = kinds.iter().map(|shares| shares[1]).sum();
    let (mut of_sample, mut of_baseline) = (0.0, 0.0);
    for [of_kind, own] in kinds {
        of_sample += of_kind;
        of_baseline += own;
        if of_baseline >= LEAST_TOUCHED * all {
            break;
        }
    }
    if of_baseline == 0.0 {
        return (MOST, 0.0);
    }
    let packets = of_sample * sample.len() as f64;
    let by_kinds = (packets + packets.sqrt() + 1.0) / sample.len() as f64 / of_baseline;
    // Kinds come and go, and rates go up and down.
    let share = rate.map_or(by_kinds, |rate| by_kinds.max(rate.share).min(RATE_SLACK * rate.share));
    let least = rate.map_or(0.0, |rate| rate.least.min(of_sample / of_baseline));
    (share.min(MOST), least.min(MOST))
}

/// Whose conversations the packets of a baseline are of, by number.
#[derive(Debug)]
pub(super) struct FarEnds {
    /// How many there are.
    pub(super) count: usize,
    /// Of the latest packets each one's, and what it weighs.
    latest: Vec<(u32, f64)>,
}

impl FarEnds {
    pub(super) fn new(packets: &[Headers], by: Unit, direction: Direction) -> FarEnds {
        let far: Vec<u128> = packets.iter().map(|packet| far_end(packet, direction)).collect();
        let first = packets.len().saturating_sub(LATEST);
        let mut latest: Vec<(u32, f64)> = packets[first..].iter().map(|packet| (0, weight(packet, by))).collect();
        let mut count = 0;
        for same in in_order(&far).chunk_by(|&a, &b| far[a as usize] == far[b as usize]) {
            for &index in same.iter().filter(|&&index| index as usize >= first) {
                latest[index as usize - first].0 = count as u32;
            }
            count += 1;
        }
        FarEnds { count, latest }
    }

    /// The largest share that one has among so many packets in a row.
    pub(super) fn conversation(&self, among: usize) -> f64 {
        let mut weights = vec![0.0; self.count];
        let slices = self.latest.chunks_exact(among.max(AMONG_LEAST).min(self.latest.len().max(1)));
        let largest = slices.map(|slice| {
            slice.iter().for_each(|&(end, weight)| weights[end as usize] += weight);
            let most = slice.iter().map(|&(end, _)| weights[end as usize]).fold(0.0, f64::max);
            slice.iter().for_each(|&(end, _)| weights[end as usize] = 0.0);
            most / slice.iter().map(|(_, weight)| weight).sum::<f64>().max(f64::MIN_POSITIVE)
        });
        largest.fold(0.0, f64::max)
    }
}
