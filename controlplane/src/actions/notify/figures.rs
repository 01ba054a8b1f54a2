//! The figures and words that all layouts share, as FastNetMon has them. Pure.

use std::fmt::Write;

use super::notice::{BothWays, Notice, PacketLine, Traffic};
use crate::attack::{Direction, Rate, Rates};
use crate::record::AttackRecord;

/// A class of traffic with more than this share of the packets names the attack.
const SHARE: f64 = 0.9;

const TCP: u8 = 6;
/// Flags that reports know, in their order.
const FLAGS: [(u16, &str); 6] =
    [(0x01, "fin"), (0x02, "syn"), (0x04, "rst"), (0x08, "psh"), (0x10, "ack"), (0x20, "urg")];

/// A whole number, never below 0.
pub(super) fn whole(figure: f64) -> u64 {
    figure as u64
}

/// Bytes a second.
pub(super) fn bytes(rate: Rate) -> u64 {
    whole(rate.bps / 8.0)
}

/// Megabits a second, whole ones.
pub(super) fn mbps(rate: Rate) -> u64 {
    whole(rate.bps / 1e6)
}

/// Mean bytes of a packet.
pub(super) fn packet_size(rate: Rate) -> f64 {
    let packets = whole(rate.pps);
    if packets == 0 { 0.0 } else { bytes(rate) as f64 / packets as f64 }
}

impl Traffic {
    /// The means; at the very beginning there are none of the attack, and what is now stands for them.
    pub(super) fn average(&self) -> BothWays {
        let or_now = |mean: Rates, now: Rates| if mean.total.pps > 0.0 { mean } else { now };
        BothWays {
            incoming: or_now(self.mean.incoming, self.now.incoming),
            outgoing: or_now(self.mean.outgoing, self.now.outgoing),
        }
    }
}

/// Which way an attack goes; of one that a person asked for, as of a manual ban, `other`.
pub(super) fn direction(record: &AttackRecord) -> &'static str {
    match record.target.direction {
        _ if record.crossing.is_none() => "other",
        Direction::Incoming => "incoming",
        Direction::Outgoing => "outgoing",
    }
}

/// What goes the way of the attack; none for one that a person asked for.
fn of_attack(notice: &Notice) -> Option<&Rates> {
    notice.record.crossing?;
    Some(match notice.record.target.direction {
        Direction::Incoming => &notice.traffic.now.incoming,
        Direction::Outgoing => &notice.traffic.now.outgoing,
    })
}

/// The type of the attack: the first of these that has nearly all packets.
pub(super) fn attack_type(notice: &Notice) -> &'static str {
    let Some(rates) = of_attack(notice) else { return "unknown" };
    [
        (rates.tcp_syn, "syn_flood"),
        (rates.icmp, "icmp_flood"),
        (rates.fragments, "ip_fragmentation"),
        (rates.udp, "udp_flood"),
    ]
    .into_iter()
    .find(|(rate, _)| rate.pps > SHARE * rates.total.pps)
    .map_or("unknown", |(_, word)| word)
}

/// The protocol that has the most packets, if any has.
pub(super) fn attack_protocol(notice: &Notice) -> &'static str {
    let Some(rates) = of_attack(notice) else { return "unknown" };
    let known = [(rates.tcp.pps, "tcp"), (rates.udp.pps, "udp"), (rates.icmp.pps, "icmp")];
    let most = known.into_iter().reduce(|most, other| if other.0 > most.0 { other } else { most });
    most.filter(|(pps, _)| *pps > 0.0).map_or("unknown", |(_, word)| word)
}

/// The kinds of traffic that reports have figures of, in their order.
pub(super) fn blocks(rates: &Rates) -> [(&'static str, Rate); 5] {
    [
        ("ip fragmented", rates.fragments),
        ("tcp", rates.tcp),
        ("syn tcp", rates.tcp_syn),
        ("udp", rates.udp),
        ("icmp", rates.icmp),
    ]
}

/// A protocol in the words that reports have.
pub(super) fn protocol(number: u8) -> &'static str {
    match number {
        TCP => "tcp",
        17 => "udp",
        1 | 58 => "icmp",
        _ => "unknown",
    }
}

/// "syn,ack"; empty for none.
pub(super) fn flags(packet: &PacketLine) -> String {
    let set: Vec<&str> = FLAGS.iter().filter(|(bit, _)| packet.flags & bit != 0).map(|(_, word)| *word).collect();
    set.join(",")
}

/// The line of a packet, with a blank at its end. IPv6 addresses have no brackets: the port is behind the last colon.
pub(super) fn packet_line(packet: &PacketLine, with_ip_length: bool) -> String {
    let time = jiff::Timestamp::from_microsecond(packet.time_us).unwrap_or_default();
    let (source_port, destination_port) = packet.ports;
    let mut line = format!(
        "{} {}:{source_port} > {}:{destination_port} protocol: {}",
        time.strftime("%Y-%m-%d %H:%M:%S%.6f"),
        packet.source,
        packet.destination,
        protocol(packet.protocol),
    );
    if packet.protocol == TCP {
        let flags = flags(packet);
        let _ = write!(line, " flags: {}", if flags.is_empty() { "-" } else { &flags });
    }
    let _ = write!(line, " frag: {}  packets: 1 size: {} bytes ", u8::from(packet.is_fragment), packet.length);
    if with_ip_length {
        let _ = write!(line, "ip size: {} bytes ", packet.ip_length);
    }
    let _ = write!(line, "ttl: {} sample ratio: {} ", packet.ttl, packet.one_in);
    line
}
