//! Where in a network an attack is: a rule for all of it becomes one for the part that its packets are to (or from). Pure.
//!
//! The part is the longest prefix that holds nearly all of what the rule matches in the sample. Where that has something
//! exempt in it, it is cut into parts without, each as long as can be; what comes to the exempt ones stays.

use std::net::IpAddr;

use dataplane::packet::Headers;
use dataplane::rule::FlowRule;
use ipnet::IpNet;

use crate::attack::{Target, Unit};
use crate::whitelist::overlap;

/// So much of what a rule matches must lie within its part.
const NEARLY_ALL: f64 = 0.95;
/// Less of it is worth no part of its own.
const LEAST: f64 = 0.05;
/// Most parts of one rule.
const PARTS_MAX: usize = 4;

/// A rule for a part of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The rule.
    pub rule: FlowRule,
    /// The part.
    pub prefix: IpNet,
    /// How much of what the rule for all of the network matches is to (or from) it.
    pub share: f64,
}

/// The ends of packets within the target, and what each weighs.
type Ends = [(IpAddr, f64)];

/// The parts for which a rule of the target is worth it, the heaviest first. No part is longer than a host, whose length
/// `longest` is.
pub fn parts(
    target: &Target,
    rule: &FlowRule,
    (sample, by): (&[Headers], Unit),
    longest: u8,
    exempt: &[IpNet],
) -> Vec<Part> {
    let matched = sample.iter().filter(|packet| rule.matches(packet));
    let ends: Vec<(IpAddr, f64)> = matched
        .map(|packet| (target.direction.near(packet), if by == Unit::Bps { packet.ip_length.into() } else { 1.0 }))
        .collect();
    let all = weight(target.prefix, &ends);
    let mut found = Vec::new();
    cut(target.prefix, &ends, (longest, LEAST * all), exempt, &mut found);
    let part = |prefix: IpNet| {
        let rule = target.direction.with_near(rule, Some(prefix));
        Part { rule, prefix, share: weight(prefix, &ends) / all }
    };
    let mut parts: Vec<Part> = found.into_iter().map(part).collect();
    parts.sort_by(|a, b| b.share.total_cmp(&a.share));
    parts.truncate(PARTS_MAX);
    parts
}

/// Parts of a prefix that have nothing exempt in them.
fn cut(prefix: IpNet, ends: &Ends, (longest, least): (u8, f64), exempt: &[IpNet], found: &mut Vec<IpNet>) {
    if weight(prefix, ends) <= least {
        return;
    }
    let prefix = tightest(prefix, ends, longest);
    if !exempt.iter().any(|exempt| overlap(*exempt, prefix)) {
        found.push(prefix);
    } else if !exempt.iter().any(|exempt| exempt.contains(&prefix)) {
        halves(prefix, longest).for_each(|half| cut(half, ends, (longest, least), exempt, found));
    }
}

/// The longest prefix within this one that holds nearly all that it holds.
fn tightest(prefix: IpNet, ends: &Ends, longest: u8) -> IpNet {
    let needed = NEARLY_ALL * weight(prefix, ends);
    let mut tightest = prefix;
    while let Some(half) = halves(tightest, longest).find(|half| weight(*half, ends) >= needed) {
        tightest = half;
    }
    tightest
}

fn halves(prefix: IpNet, longest: u8) -> impl Iterator<Item = IpNet> {
    let halves = (prefix.prefix_len() < longest).then(|| prefix.subnets(prefix.prefix_len() + 1).ok()).flatten();
    halves.into_iter().flatten()
}

fn weight(prefix: IpNet, ends: &Ends) -> f64 {
    ends.iter().filter(|(end, _)| prefix.contains(end)).map(|(_, weight)| weight).sum()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use dataplane::packet::{Addresses, Class, Upper};

    use super::*;
    use crate::attack::Direction;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn packet(far: IpAddr, near: IpAddr, direction: Direction, ip_length: u32) -> Headers {
        let (source, destination) = if direction == Direction::Incoming { (far, near) } else { (near, far) };
        let addresses = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Addresses::V4 { source: source.into(), destination: destination.into() }
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                Addresses::V6 { source: source.into(), destination: destination.into() }
            }
            _ => panic!("two families"),
        };
        let upper = Upper::Ports { source: 53, destination: 4444 };
        Headers {
            addresses,
            protocol: 17,
            class: Class::Udp,
            upper,
            ip_length,
            fragment: 0,
            dscp: 0,
            ttl: 64,
            flow_label: 0,
        }
    }

    /// UDP to these hosts of 198.18.0.0/16, by their lower half.
    fn to(hosts: impl Iterator<Item = u16>) -> Vec<Headers> {
        let near = |host: u16| IpAddr::V4(Ipv4Addr::from(0xc612_0000 | u32::from(host)));
        hosts.map(|host| packet("203.0.113.9".parse().unwrap(), near(host), Direction::Incoming, 100)).collect()
    }

    fn incoming() -> (Target, FlowRule) {
        let prefix = net("198.18.0.0/16");
        (
            Target { prefix, direction: Direction::Incoming },
            FlowRule { destination: Some(prefix), ..FlowRule::default() },
        )
    }

    /// Parts in words: prefix, and per cent.
    fn found(sample: &[Headers], exempt: &[&str]) -> Vec<(String, f64)> {
        let (target, rule) = incoming();
        let exempt: Vec<IpNet> = exempt.iter().map(|text| net(text)).collect();
        let parts = parts(&target, &rule, (sample, Unit::Pps), 32, &exempt);
        assert!(parts.iter().all(|part| part.rule.destination == Some(part.prefix)));
        parts.into_iter().map(|part| (part.prefix.to_string(), (part.share * 1000.0).round() / 10.0)).collect()
    }

    fn is(prefix: &str, share: f64) -> (String, f64) {
        (prefix.to_owned(), share)
    }

    #[test]
    fn a_rule_is_for_the_longest_prefix_that_holds_nearly_all() {
        let whole = (0..512).map(|index| index * 128);
        assert_eq!(found(&to(whole), &[]), [is("198.18.0.0/16", 100.0)]);
        let block = (0..256).map(|host| 0x4d00 | host);
        assert_eq!(found(&to(block.clone()), &[]), [is("198.18.77.0/24", 100.0)]);
        let stray = (0..10).map(|index| index * 6000);
        assert_eq!(found(&to(block.clone().chain(stray)), &[]), [is("198.18.77.0/24", 96.2)]);
        let more = (0..20).map(|index| index * 3000);
        assert_eq!(found(&to(block.chain(more)), &[]), [is("198.18.0.0/17", 96.7)], "not nearly all of it in the /24");
        assert_eq!(found(&to(std::iter::repeat_n(0x4d07, 50)), &[]), [is("198.18.77.7/32", 100.0)]);
        assert_eq!(found(&[], &[]), []);
    }

    #[test]
    fn parts_are_cut_around_what_is_exempt() {
        let block = || to((0..256).map(|host| 0x4d00 | host));
        assert_eq!(found(&block(), &["198.18.77.0/26"]), [is("198.18.77.128/25", 50.0), is("198.18.77.64/26", 25.0)]);
        assert_eq!(found(&block(), &["198.18.0.0/17"]), [], "all of it is exempt");
        assert_eq!(found(&block(), &["198.18.78.0/24"]), [is("198.18.77.0/24", 100.0)], "beside it");
        // Of the parts around one host the four heaviest.
        let parts = found(&block(), &["198.18.77.0/32"]);
        let expected = ["198.18.77.128/25", "198.18.77.64/26", "198.18.77.32/27", "198.18.77.16/28"];
        assert_eq!(parts.iter().map(|(prefix, _)| prefix.as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn bytes_weigh_where_bytes_crossed_and_only_what_the_rule_matches_counts() {
        let (target, mut rule) = incoming();
        let mut sample = to((0..64).map(|host| 0x0100 | host));
        let large =
            to((0..64).map(|host| 0x0200 | host)).into_iter().map(|packet| Headers { ip_length: 2800, ..packet });
        sample.extend(large);
        let prefixes = |rule: &FlowRule, by| {
            let parts = parts(&target, rule, (&sample, by), 32, &[]).into_iter();
            parts.map(|part| part.prefix.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(prefixes(&rule, Unit::Pps), ["198.18.0.0/22"]);
        assert_eq!(prefixes(&rule, Unit::Bps), ["198.18.2.0/26"]);
        rule.packet_lengths = 100.into();
        assert_eq!(prefixes(&rule, Unit::Bps), ["198.18.1.0/26"]);
    }

    #[test]
    fn outgoing_rules_are_narrowed_at_their_source_and_no_further_than_a_host() {
        let prefix = net("2001:db8::/32");
        let target = Target { prefix, direction: Direction::Outgoing };
        let rule = FlowRule { source: Some(prefix), ..FlowRule::default() };
        let near = |index: u128| IpAddr::V6(Ipv6Addr::from(0x2001_0db8_0001_0002 << 64 | index));
        let far = "2001:db9::1".parse().unwrap();
        let sample: Vec<Headers> =
            (0..100).map(|index| packet(far, near(index % 2), Direction::Outgoing, 80)).collect();
        for (longest, expected) in [(64, "2001:db8:1:2::/64"), (128, "2001:db8:1:2::/127")] {
            let parts = parts(&target, &rule, (&sample, Unit::Fps), longest, &[]);
            assert_eq!(parts.len(), 1);
            assert_eq!((parts[0].rule.source, parts[0].rule.destination), (Some(net(expected)), None));
        }
    }
}
