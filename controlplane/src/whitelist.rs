//! What operators have exempted: hosts that nothing is done about, far ends that no rule names, traffic that is not
//! looked at. Pure.

use dataplane::rule::FlowRule;
use ipnet::IpNet;

use crate::attack::{Direction, Target};

/// Section `[whitelist]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whitelist {
    /// Whatever is sent to or by hosts in these, nothing is done about it.
    pub networks: Vec<IpNet>,
    /// No rule's far end (the source, for incoming attacks) is within or around these.
    pub remote_networks: Vec<IpNet>,
    /// What one of these matches is not counted.
    pub ignored: Vec<FlowRule>,
}

impl Whitelist {
    /// The network that exempts the whole of a target from any action.
    pub fn network_around(&self, prefix: IpNet) -> Option<IpNet> {
        self.networks.iter().copied().find(|network| network.contains(&prefix))
    }

    /// Whether a rule may have this prefix at its far end.
    pub fn may_be_far_end(&self, prefix: IpNet) -> bool {
        !self.remote_networks.iter().any(|network| overlap(*network, prefix))
    }

    /// The entry that forbids a rule for a target: its key, and the network.
    pub fn against(&self, target: &Target, rule: &FlowRule) -> Option<(&'static str, IpNet)> {
        let (near, far) = match target.direction {
            Direction::Incoming => (rule.destination, rule.source),
            Direction::Outgoing => (rule.source, rule.destination),
        };
        // A rule without its near end would be one for everybody.
        let touches_near = |network: &IpNet| near.is_none_or(|near| overlap(near, *network));
        let touches_far = |network: &IpNet| far.is_some_and(|far| overlap(far, *network));
        let network = self.networks.iter().copied().find(touches_near).map(|network| ("networks", network));
        let remote = || self.remote_networks.iter().copied().find(touches_far);
        network.or_else(|| remote().map(|network| ("remote_networks", network)))
    }
}

/// Whether one lies within the other.
pub fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn whitelist() -> Whitelist {
        Whitelist {
            networks: vec![net("198.18.0.0/28"), net("2001:db8:1::/48")],
            remote_networks: vec![net("203.0.113.8/29"), net("2001:db8:ffff::/48")],
            ignored: Vec::new(),
        }
    }

    #[test]
    fn a_target_is_exempt_as_a_whole_or_not_at_all() {
        let around = |prefix| whitelist().network_around(net(prefix)).map(|network| network.to_string());
        assert_eq!(around("198.18.0.15/32").as_deref(), Some("198.18.0.0/28"));
        assert_eq!(around("198.18.0.0/28").as_deref(), Some("198.18.0.0/28"));
        assert_eq!(around("2001:db8:1:2::/64").as_deref(), Some("2001:db8:1::/48"));
        assert_eq!(around("198.18.0.16/32"), None);
        assert_eq!(around("198.18.0.0/24"), None);
    }

    #[test]
    fn a_rule_may_touch_no_exempt_host_and_name_no_exempt_far_end() {
        let against = |direction, source: &str, destination: &str| {
            let parse = |text: &str| (!text.is_empty()).then(|| net(text));
            let rule = FlowRule { source: parse(source), destination: parse(destination), ..FlowRule::default() };
            let target = Target { prefix: net("198.18.0.0/24"), direction };
            whitelist().against(&target, &rule).map(|(key, network)| format!("{key} {network}"))
        };
        let incoming = |source, destination| against(Direction::Incoming, source, destination);
        let outgoing = |source, destination| against(Direction::Outgoing, source, destination);
        let own = Some("networks 198.18.0.0/28".to_owned());
        let far = Some("remote_networks 203.0.113.8/29".to_owned());
        assert_eq!(incoming("", "198.18.0.77/32"), None);
        assert_eq!(incoming("203.0.113.7/32", "198.18.0.77/32"), None);
        assert_eq!(incoming("", "198.18.0.3/32"), own);
        assert_eq!(incoming("", "198.18.0.0/24"), own, "around it");
        assert_eq!(incoming("203.0.113.9/32", "198.18.0.77/32"), far);
        assert_eq!(incoming("203.0.113.0/24", "198.18.0.77/32"), far, "around it");
        assert_eq!(incoming("", ""), own);
        assert_eq!(outgoing("198.18.0.77/32", "203.0.113.9/32"), far);
        assert_eq!(outgoing("198.18.0.77/32", ""), None);
        assert_eq!(outgoing("198.18.0.1/32", ""), own);
        assert_eq!(incoming("198.18.0.1/32", "198.18.0.77/32"), None, "the near end is meant");
    }
}
