//! Floods that are sent straight at the host, and what reflects off TCP stacks.

use serde_json::{Value, json};

use super::{Draw, Flood, Ideal, Kind, Ready, Sources};
use crate::packet::flag::{ACK, FIN, PSH, RST, SYN, URG};
use crate::world::World;

const ANY: Draw = Draw::Between(1_024, 65_535);

/// IP length of a UDP packet with the payload that was drawn.
fn udp_length(ready: &Ready, world: &World) -> u16 {
    world.ip_header() + 8 + ready.flood.payload.only()
}

/// IP length of a TCP packet with its options.
fn tcp_length(ready: &Ready, world: &World) -> u16 {
    let options = if let Kind::Tcp(_, options) = ready.flood.kind { options } else { 0 };
    world.ip_header() + 20 + u16::from(options) + ready.flood.payload.only()
}

impl Flood {
    /// Called so.
    pub fn named(self, name: &str) -> Flood {
        Flood { name: name.into(), ..self }
    }

    /// From there.
    pub fn sent_by(self, sources: Sources) -> Flood {
        Flood { sources, ..self }
    }

    /// With this DSCP, which tells it from the rest.
    pub fn marked(self, dscp: u8) -> Flood {
        let ideal = Ideal::Rules("its DSCP, and its protocol", |ready, _| {
            vec![json!({"protocols": ["udp"], "dscps": [ready.flood.dscp]})]
        });
        Flood { dscp: Some(dscp), ideal, ..self }
    }

    /// With this flow label, which tells it from the rest.
    pub fn labelled(self, label: u32) -> Flood {
        let ideal = Ideal::Rules("its flow label", |ready, _| vec![json!({"flow_labels": [ready.flood.flow_label]})]);
        Flood { flow_label: Some(label), ideal, ..self }
    }

    /// Nothing tells it from the host's own traffic.
    pub fn inseparable(self, why: &'static str) -> Flood {
        Flood { ideal: Ideal::None(why), ..self }
    }

    /// These rules do.
    pub fn ideally(self, words: &'static str, rules: fn(&Ready, &World) -> Vec<Value>) -> Flood {
        Flood { ideal: Ideal::Rules(words, rules), ..self }
    }

    /// Its sources do.
    pub fn by_sources(self, length_v4: u8) -> Flood {
        match length_v4 {
            16 => self.ideally("the botnet's network", |_, world| {
                let net = if world.is_v6() { "2001:db8:b07::/48" } else { "198.19.0.0/16" };
                vec![json!({"source_prefix": net})]
            }),
            24 => self.ideally("the network of its sources, and UDP", |ready, world| {
                let length = if world.is_v6() { 120 } else { 24 };
                vec![json!({"source_prefix": ipnet::IpNet::new_assert(ready.addresses[0], length).trunc().to_string(), "protocols": ["udp"]})]
            }),
            _ => self.ideally("its few sources", |ready, _| {
                ready.addresses.iter().map(|&it| json!({"source_prefix": ipnet::IpNet::from(it).to_string()})).collect()
            }),
        }
    }

    /// With payloads of these lengths.
    pub fn long(self, payload: Draw) -> Flood {
        Flood { payload, ..self }
    }
}

fn flood(name: &str, kind: Kind, from: Draw, to: Draw, payload: Draw, ideal: Ideal) -> Flood {
    Flood { name: name.into(), kind, from, to, payload, sources: Sources::Spoofed, dscp: None, flow_label: None, ideal }
}

/// SYN flood to a port, with so many bytes of options.
pub fn syn(port: u16, options: u8) -> Flood {
    let ideal = Ideal::Rules("SYN without ACK, of its length", |ready, world| {
        vec![json!({"protocols": ["tcp"], "tcp_flags": ["syn&!ack"], "packet_lengths": [tcp_length(ready, world)]})]
    });
    flood("syn", Kind::Tcp(&[(1, SYN)], options), ANY, Draw::One(port), Draw::One(0), ideal)
}

/// SYN-ACKs of web servers that the attacker called in the victim's name.
pub fn syn_ack() -> Flood {
    let ideal = Ideal::Rules("SYN with ACK, of its length", |ready, world| {
        vec![json!({"protocols": ["tcp"], "tcp_flags": ["syn&ack"], "packet_lengths": [tcp_length(ready, world)]})]
    });
    let from = Draw::Mix(&[(700, 80, 80), (250, 443, 443), (50, 22, 22)]);
    flood("syn-ack", Kind::Tcp(&[(1, SYN | ACK)], 4), from, ANY, Draw::One(0), ideal).sent_by(Sources::Some(4_000))
}

/// Resets of servers that know nothing of the connection.
pub fn rst() -> Flood {
    let ideal = Ideal::Rules("RST from servers' ports", |_, _| {
        vec![json!({"protocols": ["tcp"], "tcp_flags": ["rst"], "source_ports": [80, 443]})]
    });
    let from = Draw::Mix(&[(600, 80, 80), (400, 443, 443)]);
    flood("rst", Kind::Tcp(&[(2, RST | ACK), (1, RST)], 0), from, ANY, Draw::One(0), ideal)
        .sent_by(Sources::Some(4_000))
}

/// ACK flood to random ports.
pub fn ack_anywhere() -> Flood {
    let ideal = Ideal::Rules("ACK without SYN, from and to high ports", |_, _| {
        vec![json!({
            "protocols": ["tcp"], "tcp_flags": ["ack&!syn&!rst"],
            "source_ports": ["1024-65535"], "destination_ports": ["1024-65535"],
        })]
    });
    flood("ack-any-port", Kind::Tcp(&[(1, ACK)], 0), ANY, ANY, Draw::One(0), ideal)
}

/// ACK flood to the service's port.
pub fn ack(port: u16) -> Flood {
    let ideal = Ideal::None("empty ACKs to the service's port");
    flood("ack", Kind::Tcp(&[(1, ACK)], 0), ANY, Draw::One(port), Draw::One(0), ideal)
}

/// FIN, PSH and URG at once.
pub fn xmas(port: u16) -> Flood {
    let ideal = Ideal::Rules("FIN with URG", |_, _| vec![json!({"protocols": ["tcp"], "tcp_flags": ["fin&urg"]})]);
    flood("xmas", Kind::Tcp(&[(1, FIN | PSH | URG)], 0), ANY, Draw::One(port), Draw::One(0), ideal)
}

/// Requests over TCP connections that stand, as bots send them.
pub fn http(port: u16) -> Flood {
    let ideal = Ideal::None("requests like those of clients");
    let payload = Draw::Between(120, 700);
    flood("http", Kind::Tcp(&[(1, ACK), (2, PSH | ACK)], 12), ANY, Draw::One(port), payload, ideal)
}

/// UDP to random ports, of random lengths.
pub fn udp_anywhere() -> Flood {
    let ideal = Ideal::Rules("UDP to ports that the host does not use", |_, _| {
        vec![json!({"protocols": ["udp"], "destination_ports": ["1-442", "444-65535"]})]
    });
    flood("udp-any-port", Kind::Udp, ANY, Draw::Between(1, 65_535), Draw::Between(20, 1_400), ideal)
}

/// UDP to one port, of random lengths.
pub fn udp(port: u16) -> Flood {
    let ideal = Ideal::Rules("UDP to its port", |ready, _| {
        vec![json!({"protocols": ["udp"], "destination_ports": [ready.flood.to.only()]})]
    });
    flood("udp", Kind::Udp, ANY, Draw::One(port), Draw::Between(20, 1_400), ideal)
}

/// UDP to one port, of one length.
pub fn udp_of_length(port: u16, payload: Draw) -> Flood {
    let ideal = Ideal::Rules("UDP to its port, of its length", |ready, world| {
        vec![json!({
            "protocols": ["udp"], "destination_ports": [ready.flood.to.only()],
            "packet_lengths": [udp_length(ready, world)],
        })]
    });
    flood("udp-one-length", Kind::Udp, ANY, Draw::One(port), payload, ideal)
}

/// UDP to random ports, of one length.
pub fn udp_anywhere_of_length(payload: Draw) -> Flood {
    let ideal = Ideal::Rules("UDP of its length", |ready, world| {
        vec![json!({"protocols": ["udp"], "packet_lengths": [udp_length(ready, world)]})]
    });
    flood("udp-any-port-one-length", Kind::Udp, ANY, Draw::Between(1, 65_535), payload, ideal)
}

/// UDP from ports that no client's system gives.
pub fn udp_from_low_ports(port: u16) -> Flood {
    let ideal = Ideal::Rules("UDP from ports under 1024", |_, _| {
        vec![json!({"protocols": ["udp"], "source_ports": ["1-1023"]})]
    });
    let from = Draw::Between(54, 1_023);
    flood("udp-low-sports", Kind::Udp, from, Draw::One(port), Draw::Between(20, 1_400), ideal)
}

/// Later fragments of UDP that no datagram begins.
pub fn later_fragments() -> Flood {
    let ideal = Ideal::Rules("later fragments of UDP", |_, _| {
        vec![json!({"protocols": ["udp"], "fragmentation_flags": ["is-fragment"]})]
    });
    let payload = Draw::Mix(&[(800, 1_440, 1_440), (200, 64, 1_400)]);
    flood("fragments", Kind::LaterFragments, Draw::One(0), Draw::One(0), payload, ideal)
}

/// Echo requests.
pub fn ping(payload: Draw) -> Flood {
    let ideal = Ideal::Rules("echo requests", |_, world| {
        vec![match world.is_v6() {
            true => json!({"protocols": ["icmpv6"], "icmp_types": [128]}),
            false => json!({"protocols": ["icmp"], "icmp_types": [8]}),
        }]
    });
    flood("icmp", Kind::Icmp((8, 0), (128, 0)), Draw::One(0), Draw::One(0), payload, ideal)
}

/// Packets of one protocol.
pub fn protocol(name: &str, number: u16, payload: Draw) -> Flood {
    let ideal = Ideal::Rules("its protocol", |ready, _| {
        let Kind::Protocol(number) = ready.flood.kind else { return Vec::new() };
        vec![json!({"protocols": [number.only()]})]
    });
    flood(name, Kind::Protocol(Draw::One(number)), Draw::One(0), Draw::One(0), payload, ideal)
}

/// The same to a host that has such a tunnel: only the length differs.
pub fn protocol_of_length(name: &str, number: u16, payload: Draw) -> Flood {
    protocol(name, number, payload).ideally("its protocol and length", |ready, world| {
        let Kind::Protocol(number) = ready.flood.kind else { return Vec::new() };
        vec![json!({
            "protocols": [number.only()],
            "packet_lengths": [world.ip_header() + ready.flood.payload.only()],
        })]
    })
}

/// Protocols at random, but not those that hosts use, nor those that extend IPv6.
pub fn random_protocols() -> Flood {
    let numbers = Draw::Mix(&[(30, 3, 5), (90, 7, 16), (240, 18, 42), (600, 61, 134), (300, 143, 252)]);
    let ideal = Ideal::Rules("protocols that the host does not use", |_, _| {
        vec![json!({"protocols": ["3-5", "7-16"]}), json!({"protocols": ["18-49", "61-255"]})]
    });
    flood("random-protocols", Kind::Protocol(numbers), Draw::One(0), Draw::One(0), Draw::Between(20, 1_200), ideal)
}
