//! The last touch: ranges as wide as the attack is likely to be, since a sample does not hold its rarest lengths and ports; and the
//! protocol named where it is only one. Values only.

use dataplane::packet::Headers;
use dataplane::rule::{Component, FlowRule, Ranges};

use super::table::number;

/// The components whose ranges grow.
const GROWING: [Component; 4] =
    [Component::Protocol, Component::DestinationPort, Component::SourcePort, Component::PacketLength];
/// Where numbers are drawn at random, the sample's last one is about one mean distance from the end; a range grows by so many.
const DISTANCES: f64 = 3.0;
/// Ends that ranges reach for: of ports those of the system, of lengths the smallest that IP has and the largest that Ethernet carries.
const PORT_ENDS: [u32; 3] = [0, 1024, 65_535];
const LENGTH_ENDS: [u32; 2] = [20, 1_500];
const PROTOCOL_ENDS: [u32; 2] = [0, 255];

/// The rule with the one protocol that all it matches has. It costs nothing, and what the baseline does not know of other protocols is spared.
pub(super) fn named(rule: &FlowRule, sample: &[Headers], _: &[Headers]) -> FlowRule {
    let is_of_source = FlowRule { destination: None, source: None, ..rule.clone() } == FlowRule::default();
    if !rule.protocols.is_empty() || is_of_source {
        return rule.clone();
    }
    let mut protocols = sample.iter().filter(|packet| rule.matches(packet)).map(|packet| packet.protocol);
    match protocols.next() {
        Some(first) if protocols.all(|other| other == first) => {
            FlowRule { protocols: u32::from(first).into(), ..rule.clone() }
        }
        _ => rule.clone(),
    }
}

/// The rule with wider ranges, which take nothing more of the baseline.
pub(super) fn widened(rule: &FlowRule, sample: &[Headers], baseline: &[Headers]) -> FlowRule {
    let mut wide = rule.clone();
    for component in GROWING {
        let Some(ranges) = rule.ranges(component).filter(|ranges| ranges.iter().any(|(low, high)| low < high)) else {
            continue;
        };
        let mut without = wide.clone();
        without.ranges_mut(component).into_iter().for_each(|ranges| *ranges = Ranges::default());
        let matched = |packets: &[Headers], (low, high): (u32, u32)| -> Vec<u32> {
            let near = packets.iter().filter_map(|packet| Some((packet, number(component, packet)?)));
            let near = near.filter(|(packet, number)| (low..=high).contains(number) && without.matches(packet));
            near.map(|(_, number)| number).collect()
        };
        let grown: Ranges = ranges
            .iter()
            .map(|range| {
                let wide = reached(component, range, matched(sample, range).len());
                grown(range, wide, &matched(baseline, wide))
            })
            .collect();
        if grown.items() <= ranges.items()
            && let Some(place) = wide.ranges_mut(component)
        {
            *place = grown;
        }
    }
    wide
}

/// How far a range with so many packets of the attack can grow. A single number stays what it is.
fn reached(component: Component, (low, high): (u32, u32), inside: usize) -> (u32, u32) {
    if low == high || inside == 0 {
        return (low, high);
    }
    let reach = (DISTANCES * f64::from(high - low) / inside as f64).ceil().min(f64::from(high - low) / 2.0) as u32;
    let ends: &[u32] = match component {
        Component::PacketLength => &LENGTH_ENDS,
        Component::Protocol => &PROTOCOL_ENDS,
        _ => &PORT_ENDS,
    };
    let lowest = low.saturating_sub(reach);
    let highest = high.saturating_add(reach).min(component.largest());
    let lowest = ends.iter().copied().find(|&end| lowest <= end && end <= low).unwrap_or(lowest);
    let highest = ends.iter().copied().find(|&end| high <= end && end <= highest).unwrap_or(highest);
    (lowest, highest)
}

/// The range as wide as that, but only up to the next number that the baseline has.
fn grown((low, high): (u32, u32), (lowest, highest): (u32, u32), own: &[u32]) -> (u32, u32) {
    let floor = own.iter().filter(|&&number| number < low).max().map_or(lowest, |&number| number + 1);
    let ceiling = own.iter().filter(|&&number| number > high).min().map_or(highest, |&number| number - 1);
    (floor, ceiling)
}
