//! A rule that is too large for routers as several that are not, where these together match exactly the same. Pure.

use dataplane::rule::{Action, Component, FlowRule, nlri};

use crate::profile::{Profile, Unfit};

/// Most rules that one becomes.
const PARTS_MAX: usize = 16;

/// The rule itself where the profile takes it, else what it splits into.
///
/// # Errors
/// Why it is not taken, where no split helps: also for a rate limit, which parts would each let through.
pub(super) fn parts(rule: &FlowRule, action: &Action, profile: &Profile) -> Result<Vec<FlowRule>, Unfit> {
    let (mut good, mut left) = (Vec::new(), vec![rule.clone()]);
    while let Some(rule) = left.pop() {
        let Err(unfit) = profile.check(&rule, action) else {
            good.push(rule);
            continue;
        };
        let component = match &unfit {
            _ if matches!(action, Action::RateBps(_) | Action::RatePps(_)) => None,
            Unfit::Encoding(nlri::Error::TooManyItems { component, .. }) => Some(*component),
            Unfit::Encoding(nlri::Error::TooLong(_)) | Unfit::TooLong { .. } => longest(&rule),
            _ => None,
        };
        let halves = component.and_then(|component| halves(&rule, component));
        match halves.filter(|_| good.len() + left.len() + 2 <= PARTS_MAX) {
            Some(halves) => left.extend(halves),
            None => return Err(unfit),
        }
    }
    Ok(good)
}

/// The component with most alternatives.
fn longest(rule: &FlowRule) -> Option<Component> {
    Component::ALL.into_iter().max_by_key(|&component| alternatives(rule, component))
}

fn alternatives(rule: &FlowRule, component: Component) -> usize {
    let numbers = rule.ranges(component).map_or(0, |ranges| ranges.iter().len());
    numbers + rule.bits(component).map_or(0, <[_]>::len)
}

/// Each with half of the alternatives, the later ones first.
fn halves(rule: &FlowRule, component: Component) -> Option<[FlowRule; 2]> {
    let middle = alternatives(rule, component).div_ceil(2);
    if alternatives(rule, component) < 2 {
        return None;
    }
    let (mut first, mut second) = (rule.clone(), rule.clone());
    if let Some(ranges) = rule.ranges(component) {
        *first.ranges_mut(component)? = ranges.iter().take(middle).collect();
        *second.ranges_mut(component)? = ranges.iter().skip(middle).collect();
    } else {
        let bits = rule.bits(component)?;
        *first.bits_mut(component)? = bits[..middle].to_vec();
        *second.bits_mut(component)? = bits[middle..].to_vec();
    }
    Some([second, first])
}

#[cfg(test)]
mod tests {
    use dataplane::rule::{Bits, Pass};
    use proptest::prelude::*;

    use super::*;

    fn rule(ports: &[u32], lengths: &[u32]) -> FlowRule {
        FlowRule {
            destination: Some("192.0.2.5/32".parse().unwrap()),
            source_ports: ports.iter().map(|&port| (port, port)).collect(),
            packet_lengths: lengths.iter().map(|&length| (length, length)).collect(),
            ..FlowRule::default()
        }
    }

    #[test]
    fn what_fits_stays_whole_and_what_no_split_helps_is_refused() {
        let strict = Profile::default();
        let small = rule(&[1, 3, 5, 7, 9], &[]);
        assert_eq!(parts(&small, &Action::Discard, &strict), Ok(vec![small]));
        let large = rule(&[1, 3, 5, 7, 9, 11], &[]);
        let two = vec![rule(&[1, 3, 5], &[]), rule(&[7, 9, 11], &[])];
        assert_eq!(parts(&large, &Action::Discard, &strict), Ok(two.clone()));
        assert_eq!(parts(&large, &Action::Pass(Pass::default()), &strict), Ok(two));
        // Each part would let the whole rate through.
        for action in [Action::RateBps(1), Action::RatePps(1)] {
            assert!(matches!(parts(&large, &action, &strict), Err(Unfit::Encoding(_))), "{action}");
        }
        let huge: Vec<u32> = (0..200).map(|at| at * 2).collect();
        assert!(parts(&rule(&huge, &[]), &Action::Discard, &strict).is_err(), "more than {PARTS_MAX} parts");
        assert!(parts(&FlowRule::default(), &Action::Discard, &strict).is_err());
        let flags = (0..6).map(|at| Bits { set: 1 << at, clear: 1 << (at + 1) }).collect();
        let flags = FlowRule { tcp_flags: flags, ..rule(&[], &[]) };
        assert_eq!(parts(&flags, &Action::Discard, &strict).unwrap().len(), 4, "two items each");
    }

    proptest! {
        #[test]
        fn parts_are_taken_and_together_match_the_same(
            ports in prop::collection::btree_set(0u32..60, 0..14), lengths in prop::collection::btree_set(0u32..60, 0..10),
            long in any::<bool>(),
        ) {
            let (ports, lengths): (Vec<u32>, Vec<u32>) = (ports.into_iter().collect(), lengths.into_iter().collect());
            let rule = rule(&ports, &lengths);
            let profile = Profile { length_max: if long { 238 } else { 20 }, ..Profile::default() };
            if let Ok(parts) = parts(&rule, &Action::Discard, &profile) {
                for part in &parts {
                    prop_assert_eq!(profile.check(part, &Action::Discard), Ok(()));
                }
                let has = |rule: &FlowRule, port, length| {
                    (rule.source_ports.is_empty() || rule.source_ports.contains(port))
                        && (rule.packet_lengths.is_empty() || rule.packet_lengths.contains(length))
                };
                for (port, length) in (0..60).flat_map(|port| (0..60).map(move |length| (port, length))) {
                    let any = parts.iter().any(|part| has(part, port, length));
                    prop_assert_eq!(any, has(&rule, port, length));
                }
            }
        }
    }
}
