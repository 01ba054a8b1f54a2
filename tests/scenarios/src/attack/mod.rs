//! Floods: what an attacker sends, described by draws, and the packets that come of it.

pub mod amplification;
pub mod direct;

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};

use crate::packet::{Fragment, Header, Packet};
use crate::random::Rng;
use crate::world::World;

/// How a port, a length or a protocol comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    /// Always this.
    One(u16),
    /// Within these bounds, drawn once for the whole attack.
    Once(u16, u16),
    /// Within these bounds, drawn anew for each packet.
    Between(u16, u16),
    /// Ranges with their weights, in thousandths.
    Mix(&'static [(u16, u16, u16)]),
}

impl Draw {
    fn settle(self, rng: &mut Rng) -> Draw {
        match self {
            Draw::Once(low, high) => Draw::One(rng.between16(low, high)),
            other => other,
        }
    }

    fn next(self, rng: &mut Rng) -> u16 {
        match self {
            Draw::One(value) => value,
            Draw::Once(low, high) | Draw::Between(low, high) => rng.between16(low, high),
            Draw::Mix(ranges) => {
                let weighted: Vec<(f64, (u16, u16))> =
                    ranges.iter().map(|&(weight, low, high)| (weight.into(), (low, high))).collect();
                let (low, high) = rng.weighted(&weighted);
                rng.between16(low, high)
            }
        }
    }

    /// The value, where there is but one.
    pub fn only(self) -> u16 {
        match self {
            Draw::One(value) => value,
            Draw::Once(low, _) | Draw::Between(low, _) => low,
            Draw::Mix(ranges) => ranges[0].1,
        }
    }
}

/// Where packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// Claimed at random.
    Spoofed,
    /// So many, anywhere.
    Some(usize),
    /// So many in the botnet's network.
    Botnet(usize),
    /// So many in one /24 (IPv6: /120).
    Neighbours(usize),
    /// Those clients of the host, counted from the busiest.
    Clients(usize, usize),
}

/// What the packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP: flags with their weights, bytes of options.
    Tcp(&'static [(u16, u8)], u8),
    /// UDP, fragmented where it is long.
    Udp,
    /// ICMP of the family: type and code of ICMP, and of ICMPv6.
    Icmp((u8, u8), (u8, u8)),
    /// Other protocols.
    Protocol(Draw),
    /// Later fragments of UDP, without any first one.
    LaterFragments,
}

/// One vector of an attack.
#[derive(Clone, Debug)]
pub struct Flood {
    /// What tables call it.
    pub name: String,
    /// What the packets are.
    pub kind: Kind,
    /// Source ports.
    pub from: Draw,
    /// Destination ports.
    pub to: Draw,
    /// Bytes behind the headers.
    pub payload: Draw,
    /// Where they come from.
    pub sources: Sources,
    /// DSCP, where the attacker sets it.
    pub dscp: Option<u8>,
    /// IPv6 flow label, where the attacker sets it.
    pub flow_label: Option<u32>,
    /// What tells it from the host's own traffic: rules without their destination, or why nothing does.
    pub ideal: Ideal,
}

/// The rules that a person who knows everything would write.
#[derive(Clone, Copy, Debug)]
pub enum Ideal {
    /// In words, and as JSON for the attack as it was drawn.
    Rules(&'static str, fn(&Ready, &World) -> Vec<Value>),
    /// Why there are none.
    None(&'static str),
}

/// A flood whose one-time draws were made.
#[derive(Clone, Debug)]
pub struct Ready {
    /// What was drawn.
    pub flood: Flood,
    /// Its sources; none when they are claimed at random.
    pub addresses: Vec<IpAddr>,
}

impl Flood {
    /// Makes the draws that hold for the whole attack.
    pub fn ready(&self, world: &World, rng: &mut Rng) -> Ready {
        let addresses = match self.sources {
            Sources::Spoofed => Vec::new(),
            Sources::Some(count) => (0..count).map(|_| world.anywhere(rng)).collect(),
            Sources::Botnet(count) => (0..count).map(|_| world.bot(rng)).collect(),
            Sources::Neighbours(count) => {
                let first = world.anywhere(rng);
                let net = IpNet::new_assert(first, if world.is_v6() { 120 } else { 24 }).trunc();
                net.hosts().skip(9).step_by(3).take(count).collect()
            }
            Sources::Clients(from, to) => world.clients.addresses()[from..to].to_vec(),
        };
        let flood = Flood {
            from: self.from.settle(rng),
            to: self.to.settle(rng),
            payload: self.payload.settle(rng),
            ..self.clone()
        };
        Ready { flood, addresses }
    }
}

impl Ready {
    /// The next packet, or the fragments of the next datagram.
    pub fn next(&self, world: &World, rng: &mut Rng) -> Vec<Packet> {
        let flood = &self.flood;
        let source = if self.addresses.is_empty() { world.anywhere(rng) } else { rng.pick(&self.addresses) };
        let destination = self.destination(world, rng);
        let ports = (flood.from.next(rng), flood.to.next(rng));
        let payload = flood.payload.next(rng);
        let header = match flood.kind {
            Kind::Tcp(flags, options) => {
                let weighted: Vec<(f64, u8)> = flags.iter().map(|&(weight, flags)| (weight.into(), flags)).collect();
                Header::Tcp { flags: rng.weighted(&weighted), options }
            }
            Kind::Udp => Header::Udp,
            Kind::Icmp(v4, v6) => {
                let (kind, code) = if world.is_v6() { v6 } else { v4 };
                Header::Icmp(kind, code)
            }
            Kind::Protocol(numbers) => Header::None(numbers.next(rng) as u8),
            Kind::LaterFragments => Header::None(crate::packet::protocol::UDP),
        };
        let mut packet = Packet::new(source, destination, ports, header, payload);
        packet.dscp = flood.dscp.unwrap_or(packet.dscp);
        if world.is_v6() {
            packet.flow_label = flood.flow_label.unwrap_or(packet.flow_label);
        }
        if flood.kind == Kind::LaterFragments {
            let offset = 1_480 * rng.between16(1, 40);
            packet.fragment = Some(Fragment { offset, more: rng.chance(0.5) });
            packet.dont_fragment = false;
        }
        packet.fragments(1_500)
    }

    fn destination(&self, world: &World, rng: &mut Rng) -> IpAddr {
        match (world.hosts.len(), world.target) {
            (1, _) => world.hosts[0],
            (_, IpNet::V4(net)) => {
                let within = rng.between(0, (1 << (32 - net.prefix_len())) - 1);
                IpAddr::from(std::net::Ipv4Addr::from_bits(net.network().to_bits() | within as u32))
            }
            (count, IpNet::V6(_)) => world.hosts[rng.between(0, count as u64 - 1) as usize],
        }
    }

    /// The rules that separate it, with their destination; none where nothing does.
    pub fn ideal(&self, world: &World) -> Option<Vec<Value>> {
        let Ideal::Rules(_, rules) = self.flood.ideal else { return None };
        let complete = |rule: Value| {
            let mut object = Map::new();
            object.insert("destination_prefix".into(), Value::String(world.target.to_string()));
            object.extend(rule.as_object().cloned().unwrap_or_default());
            object.insert("action_type".into(), Value::String("discard".into()));
            Value::Object(object)
        };
        Some(rules(self, world).into_iter().map(complete).collect())
    }
}
