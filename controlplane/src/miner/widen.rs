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
        let numbers = |packets: &[Headers]| {
            let matched = packets.iter().filter(|packet| without.matches(packet));
            let mut numbers: Vec<u32> = matched.filter_map(|packet| number(component, packet)).collect();
            numbers.sort_unstable();
            numbers
        };
        let (attack, own) = (numbers(sample), numbers(baseline));
        let grown: Ranges = ranges.iter().map(|range| grown(component, range, &attack, &own)).collect();
        if grown.items() <= ranges.items()
            && let Some(place) = wide.ranges_mut(component)
        {
            *place = grown;
        }
    }
    wide
}

/// One range, up to the next number that the baseline has. A single number stays what it is.
fn grown(component: Component, (low, high): (u32, u32), attack: &[u32], own: &[u32]) -> (u32, u32) {
    let inside = attack.partition_point(|&number| number <= high) - attack.partition_point(|&number| number < low);
    if low == high || inside == 0 {
        return (low, high);
    }
    let reach = (DISTANCES * f64::from(high - low) / inside as f64).ceil().min(f64::from(high - low) / 2.0) as u32;
    let ends: &[u32] = match component {
        Component::PacketLength => &LENGTH_ENDS,
        Component::Protocol => &PROTOCOL_ENDS,
        _ => &PORT_ENDS,
    };
    let floor = own.iter().rev().find(|&&number| number < low).map_or(0, |&number| number + 1);
    let ceiling = own.iter().find(|&&number| number > high).map_or(component.largest(), |&number| number - 1);
    let lowest = low.saturating_sub(reach);
    let highest = high.saturating_add(reach);
    let lowest = ends.iter().copied().find(|&end| lowest <= end && end <= low).unwrap_or(lowest);
    let highest = ends.iter().copied().find(|&end| high <= end && end <= highest).unwrap_or(highest);
    (lowest.max(floor).min(low), highest.min(ceiling).max(high))
}
