//! What a target receives in peace, as the miner is told it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use dataplane::packet::{Addresses, Headers};
use dataplane::rule::FlowRule;
use ipnet::IpNet;

use crate::attack::{Direction, Target};

/// Whose traffic a baseline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The target's own.
    Target,
    /// That of hosts like it.
    Group,
}

/// What the target receives in peace.
#[derive(Clone, Debug, PartialEq)]
pub struct Peace {
    /// Packets in the direction of the attack.
    pub packets: Vec<Headers>,
    /// The second in which each of them came.
    pub seconds: Vec<u32>,
    /// Each stands for so many packets of the target.
    pub one_in: f64,
    /// Whose they are.
    pub whose: Whose,
}

impl Peace {
    /// Nobody knows.
    pub fn unknown() -> Peace {
        Peace { packets: Vec::new(), seconds: Vec::new(), one_in: 1.0, whose: Whose::Target }
    }

    /// How many packets all of them stand for.
    pub fn stands_for(&self) -> f64 {
        self.packets.len() as f64 * self.one_in
    }

    /// Packets of the target's family, as if they all were the target's: those of its group stand for its own.
    pub(super) fn as_of(&self, target: &Target) -> Peace {
        let room = self.packets.len();
        let mut own = Peace { packets: Vec::with_capacity(room), seconds: Vec::with_capacity(room), ..*self };
        for (packet, second) in self.packets.iter().zip(&self.seconds) {
            let mut packet = *packet;
            let incoming = target.direction == Direction::Incoming;
            match (&mut packet.addresses, target.prefix) {
                (Addresses::V4 { source, destination }, IpNet::V4(net)) => {
                    let near = if incoming { destination } else { source };
                    if !net.contains(&Ipv4Addr::from(*near)) {
                        *near = net.network().into();
                    }
                }
                (Addresses::V6 { source, destination }, IpNet::V6(net)) => {
                    let near = if incoming { destination } else { source };
                    if !net.contains(&Ipv6Addr::from(*near)) {
                        *near = net.network().into();
                    }
                }
                _ => continue,
            }
            own.packets.push(packet);
            own.seconds.push(*second);
        }
        own
    }

    /// Bits a second of what a rule matches, in the second that had most of it.
    pub(super) fn peak_bps(&self, rule: &FlowRule) -> f64 {
        let mut by_second = HashMap::new();
        for (packet, second) in self.packets.iter().zip(&self.seconds).filter(|(packet, _)| rule.matches(packet)) {
            *by_second.entry(second).or_insert(0.0) += f64::from(packet.ip_length) * 8.0;
        }
        by_second.into_values().fold(0.0, f64::max) * self.one_in
    }
}
