//! What is never announced, whatever is on record: the last look at a rule before it is wanted. Also how wide a route is made that
//! stands in place of rules. Values only.

use std::borrow::Cow;
use std::net::IpAddr;

use dataplane::rule::{Action, FlowRule};
use ipnet::IpNet;

use crate::attack::{Direction, Target};
use crate::whitelist::overlap;

/// Prefix lengths are for IPv4 and for IPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Nothing wider is announced.
    pub shortest: [u8; 2],
    /// A blackhole is for the network of this length around its target.
    pub blackhole: [u8; 2],
    /// The same for a diversion.
    pub divert: [u8; 2],
    /// Nothing is announced for these, nor for what is around them: routers, management.
    pub never: Vec<IpNet>,
}

impl Default for Guard {
    /// Routes are for hosts.
    fn default() -> Guard {
        Guard { shortest: [16, 32], blackhole: [32, 128], divert: [32, 128], never: Vec::new() }
    }
}

impl Guard {
    /// What is announced for a rule: itself, but for a route in place of rules, which may be wider.
    pub fn announced<'a>(&self, rule: &'a FlowRule, action: &Action) -> Cow<'a, FlowRule> {
        let lengths = match action {
            Action::Blackhole => self.blackhole,
            Action::Divert => self.divert,
            Action::Discard | Action::RateBps(_) | Action::RatePps(_) | Action::Pass(_) => return Cow::Borrowed(rule),
        };
        let wide = |prefix: IpNet| {
            let length = of_family(lengths, prefix.addr()).min(prefix.prefix_len());
            IpNet::new(prefix.addr(), length).map_or(prefix, |wide| wide.trunc())
        };
        Cow::Owned(FlowRule { destination: rule.destination.map(wide), ..rule.clone() })
    }

    /// Why this may not be announced for the target.
    pub fn against(&self, target: &Target, rule: &FlowRule) -> Option<String> {
        let (near, far) = match target.direction {
            Direction::Incoming => (rule.destination, rule.source),
            Direction::Outgoing => (rule.source, rule.destination),
        };
        let near = near?;
        let shortest = of_family(self.shortest, near.addr());
        if near.prefix_len() < shortest {
            return Some(format!("{near} is wider than /{shortest} (bgp.shortest_lengths)"));
        }
        let names = |never: &&IpNet| overlap(**never, near) || far.is_some_and(|far| never.contains(&far));
        self.never.iter().find(names).map(|never| format!("{never} is in bgp.never_announce"))
    }
}

fn of_family([v4, v6]: [u8; 2], address: IpAddr) -> u8 {
    if address.is_ipv4() { v4 } else { v6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(prefix: &str) -> FlowRule {
        FlowRule { destination: Some(prefix.parse().unwrap()), ..FlowRule::default() }
    }

    #[test]
    fn routes_are_as_wide_as_the_configuration_says_and_never_narrower_than_the_target() {
        let guard = Guard { blackhole: [24, 48], divert: [32, 64], ..Guard::default() };
        let cases = [
            (Action::Discard, "198.18.0.5/32", "198.18.0.5/32"),
            (Action::Blackhole, "198.18.0.5/32", "198.18.0.0/24"),
            (Action::Blackhole, "198.18.0.0/23", "198.18.0.0/23"),
            (Action::Blackhole, "2001:db8:1:2::3/128", "2001:db8:1::/48"),
            (Action::Divert, "198.18.0.5/32", "198.18.0.5/32"),
            (Action::Divert, "2001:db8:1:2::3/128", "2001:db8:1:2::/64"),
        ];
        for (action, target, announced) in cases {
            assert_eq!(*guard.announced(&to(target), &action), to(announced), "{action} {target}");
        }
    }

    #[test]
    fn what_is_too_wide_or_a_routers_own_is_refused() {
        let never = ["198.18.0.1/32", "192.0.2.0/24"].map(|text| text.parse().unwrap()).to_vec();
        let guard = Guard { shortest: [20, 48], never, ..Guard::default() };
        let why = |direction, rule: FlowRule| {
            let target = Target { prefix: "198.18.0.0/16".parse().unwrap(), direction };
            guard.against(&target, &rule).unwrap_or_default()
        };
        let incoming = |prefix| why(Direction::Incoming, to(prefix));
        assert_eq!(incoming("198.18.0.5/32"), "");
        assert_eq!(incoming("198.18.16.0/20"), "");
        assert_eq!(incoming("198.18.0.0/19"), "198.18.0.0/19 is wider than /20 (bgp.shortest_lengths)");
        assert_eq!(incoming("2001:db8::/47"), "2001:db8::/47 is wider than /48 (bgp.shortest_lengths)");
        assert_eq!(incoming("198.18.0.0/24"), "198.18.0.1/32 is in bgp.never_announce");
        assert_eq!(incoming("198.18.0.1/32"), "198.18.0.1/32 is in bgp.never_announce");
        let from = |far: &str| FlowRule { source: Some(far.parse().unwrap()), ..to("198.18.0.5/32") };
        assert_eq!(why(Direction::Incoming, from("192.0.2.9/32")), "192.0.2.0/24 is in bgp.never_announce");
        assert_eq!(why(Direction::Incoming, from("192.0.0.0/16")), "", "all of a part of the world");
        let outgoing = FlowRule { source: Some("198.18.0.1/32".parse().unwrap()), ..to("203.0.113.1/32") };
        assert_eq!(why(Direction::Outgoing, outgoing), "198.18.0.1/32 is in bgp.never_announce");
    }
}
