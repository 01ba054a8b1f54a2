//! What is in doubt after rules were chosen: names that are accidents, and traffic that cannot be told from the host's own. Values only.

use std::collections::HashMap;

use dataplane::packet::Headers;
use dataplane::rule::{Action, Component, FlowRule, Ranges};

use super::search::Node;
use super::table::{number, weight};
use super::{Mined, RATE_MARGIN, RATE_MIN_BPS, Session, UNEXPLAINED, own};

/// A network, or a range of ports, is no mark of an attack of which more than so many times what it takes comes from elsewhere.
const ELSEWHERE: f64 = 0.5;
/// What a rule must be worth for a rate limit not to be on all that the host receives.
const TELLING: f64 = 0.1;

impl Session<'_> {
    /// Whether a network or range of ports that a rule names is an accident: much of what no rule matches is of the same kind, from elsewhere.
    pub(super) fn is_arbitrary(&self, rule: &FlowRule, rules: &[Mined]) -> bool {
        let miner = &self.miner;
        let mut elsewhere = rule.clone();
        if rule.prefix(miner.far).is_some_and(|far| far.prefix_len() < far.max_prefix_len()) {
            *miner.far_of(&mut elsewhere) = None;
        }
        for component in [Component::SourcePort, Component::DestinationPort] {
            let names_many = |(low, high)| low < high && own::is_name(component, high);
            if let Some(ranges) = elsewhere.ranges_mut(component)
                && ranges.iter().any(names_many)
            {
                *ranges = Ranges::default();
            }
        }
        if elsewhere == *rule {
            return false;
        }
        let kind = |packet: &Headers| {
            let near = number(miner.near_port, packet);
            (packet.protocol, near.filter(|port| *port < own::WELL_KNOWN))
        };
        let (mut inside, mut kinds) = (0.0, HashMap::new());
        for packet in self.sample.iter().filter(|packet| rule.matches(packet)) {
            inside += weight(packet, self.task.by);
            *kinds.entry(kind(packet)).or_insert(0.0) += weight(packet, self.task.by);
        }
        let Some((most, _)) = kinds.into_iter().max_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0))) else {
            return false;
        };
        let is_like = |packet: &&Headers| kind(packet) == most && elsewhere.matches(packet);
        // What the whitelist spares comes from elsewhere in any case.
        let outside = self.sample.iter().filter(is_like).filter(|packet| miner.far_host(packet).is_some());
        let outside = outside.filter(|packet| !rules.iter().any(|mined| mined.rule.matches(packet)));
        let outside = outside.map(|packet| weight(packet, self.task.by)).sum::<f64>();
        let total = |packets: &[Headers]| packets.iter().map(|packet| weight(packet, self.task.by)).sum::<f64>();
        let own = self.peace.packets.iter().filter(is_like).map(|packet| weight(packet, self.task.by)).sum::<f64>();
        let own = miner.own * total(&self.sample) * own / total(&self.peace.packets).max(f64::MIN_POSITIVE);
        outside - own > ELSEWHERE * inside
    }

    /// What is left looks like the host's own traffic: what tells it best, limited to what the baseline had of it.
    pub(super) fn limited(&self, rules: &[Mined]) -> Option<Mined> {
        let miner = &self.miner;
        let is_left =
            |&index: &u32| !rules.iter().any(|mined| mined.rule.matches(&miner.table.packets[index as usize]));
        let members = (0..miner.table.packets.len() as u32).filter(is_left).collect();
        let candidates = miner.candidates(&self.base, members, 0.0);
        let worth = |node: &Node| node.worth(miner, 1.0);
        // Who comes next is not known: a limit names nobody.
        let is_wide = |node: &&Node| !node.measure.who.is_any() && node.sample >= UNEXPLAINED / 2.0;
        let wide: Vec<&Node> = candidates.iter().filter(is_wide).filter(|node| self.can_be(&node.rule)).collect();
        let best = wide.iter().max_by(|a, b| worth(a).total_cmp(&worth(b))).filter(|best| worth(best) > TELLING);
        // Where nothing tells it at all and no other rule helps: what most of it is.
        let most = || wide.iter().filter(|_| rules.is_empty()).max_by(|a, b| a.sample.total_cmp(&b.sample));
        let rule = best.or_else(most).filter(|_| !self.peace.packets.is_empty())?.rule.clone();
        let peak = self.peace.peak_bps(&rule);
        let rate = ((peak * RATE_MARGIN) as u64).max(RATE_MIN_BPS);
        let lead = self.words(&rule);
        Some(self.explained(rule, Action::RateBps(rate), None, |counts| {
            format!(
                "{lead}: {counts}; it looks like the host's own traffic and cannot be told from it, so it is limited to {RATE_MARGIN} times what \
                 the baseline had of it in its busiest second"
            )
        }))
    }
}
