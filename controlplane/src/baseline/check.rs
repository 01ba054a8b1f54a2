//! A rule held against what its target receives in peace. Values only.

use dataplane::packet::{Addresses, Headers};
use dataplane::rule::FlowRule;
use ipnet::IpNet;

use crate::attack::{Direction, Target, Unit};
use crate::miner::{Peace, at_most};

/// Which packets of a baseline some rules match.
#[derive(Debug)]
pub struct Check<'a> {
    packets: Vec<&'a Headers>,
    matched: Vec<bool>,
    by: Unit,
    direction: Direction,
}

impl<'a> Check<'a> {
    /// The baseline of a target, by packets or bytes; no rule matches any yet.
    pub fn new(peace: &'a Peace, target: &Target, by: Unit) -> Check<'a> {
        let is_v4 = matches!(target.prefix, IpNet::V4(_));
        let is_same = |packet: &&Headers| matches!(packet.addresses, Addresses::V4 { .. }) == is_v4;
        let packets: Vec<&Headers> = peace.packets.iter().filter(is_same).collect();
        Check { matched: vec![false; packets.len()], packets, by, direction: target.direction }
    }

    /// Whether the rule matches a packet, whichever host of the group it was for.
    fn hits(&self, rule: &FlowRule) -> Vec<bool> {
        let rule = self.direction.with_near(rule, None);
        self.packets.iter().map(|packet| rule.matches(packet)).collect()
    }

    /// Adds a rule, unless all together would then take more than this share; gives the share that they would take.
    pub fn add(&mut self, rule: &FlowRule, most: f64) -> Result<f64, f64> {
        let hits = self.hits(rule);
        let both: Vec<bool> = self.matched.iter().zip(&hits).map(|(a, b)| a | b).collect();
        let weight = |packet: &Headers| if self.by == Unit::Bps { f64::from(packet.ip_length) } else { 1.0 };
        let all: f64 = self.packets.iter().map(|packet| weight(packet)).sum();
        let taken = self.packets.iter().zip(&both).filter(|(_, hit)| **hit).map(|(packet, _)| weight(packet));
        let share = if all > 0.0 { taken.fold(0.0, |sum, weight| sum + weight) / all } else { 0.0 };
        if share > most {
            return Err(share);
        }
        self.matched = both;
        Ok(share)
    }

    /// With 95 % confidence (Wilson) a rule takes no more than this share of the packets; 1 without a baseline.
    pub fn at_most(&self, rule: &FlowRule) -> f64 {
        let hits = self.hits(rule).into_iter().filter(|&hit| hit).count();
        at_most(hits, self.packets.len())
    }
}
