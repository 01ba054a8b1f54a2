//! A captured sample to the shortest rules that take most of the attack. Pure: values in, values out.
//!
//! Of all rules that are the target and one or more [`Predicate`]s, the best covers most of the sample with the fewest
//! predicates. Adding a predicate never covers more, so the best is always a single one, and counting what each packet
//! satisfies tries them all. Within [`TOLERANCE`] of the best coverage the first in the order of [`Predicate`] wins.
//!
//! A predicate that is no more than the host's own service (its protocol, its port, the flags of established TCP) would
//! take the host's traffic along. Such are used only where the telling ones explain less than half of the sample, and
//! then together, as far as they keep most of the coverage.
//!
//! What a rule matches is left out, and the rest is mined again as long as something in it is worth a rule. What remains
//! crosses the threshold again if it is an attack, and comes back as a sample of its own.
//!
//! Far ends on the whitelist are no predicates: what only they have in common is left alone.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};

use dataplane::packet::{Addresses, Headers, Upper, fragment};
use dataplane::rule::{Bits, Component, FlowRule, TCP_FLAGS, nlri, protocol_name};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::attack::{Direction, Target, Unit};
use crate::whitelist::Whitelist;

/// How much less than the best, relative to it, a predicate may cover and still be chosen for its place in the order.
const TOLERANCE: f64 = 0.05;
/// How much of the sample telling predicates must explain for the host's own service to be left alone.
const ENOUGH: f64 = 0.5;
/// How much of a protocol's coverage the host's own port, flags and length must keep together to narrow it down.
const NARROWED: f64 = 0.8;

/// Bounds of mining.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Most rules from one sample.
    pub most_rules: usize,
    /// Least share of the sample that is worth a rule.
    pub least_coverage: f64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { most_rules: 5, least_coverage: 0.1 }
    }
}

/// A rule, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Mined {
    /// The rule; never wider than the target.
    pub rule: FlowRule,
    /// Share of the sample in the attack's direction that the rule matches, by packets or bytes.
    pub coverage: f64,
    /// How many packets of the sample it matches.
    pub packets: usize,
    /// Words for people.
    pub reason: String,
}

/// Mines a sample, which may hold packets of both directions: those in the target's direction count, each as one packet
/// or by its bytes. Empty where nothing tells the attack from the host's other traffic.
pub fn mine(target: &Target, sample: &[Headers], by: Unit, limits: &Limits, whitelist: &Whitelist) -> Vec<Mined> {
    let base = target_rule(target);
    if nlri::encode(&base).is_err() {
        return Vec::new();
    }
    let attack: Vec<Headers> = sample.iter().filter(|packet| base.matches(packet)).copied().collect();
    let total = weight(&attack, by);
    let least = (limits.least_coverage * total).max(f64::MIN_POSITIVE);
    let share = |packets: &[Headers]| weight(packets, by) / total;

    let mut rest = attack.clone();
    let mut found: Vec<(Vec<Predicate>, FlowRule)> = Vec::new();
    while found.len() < limits.most_rules {
        let counts = count(&rest, by, target.direction);
        let Some(predicate) = most_telling(&counts, least, whitelist) else { break };
        let rule = predicate.added_to(&base, target.direction);
        let before = rest.len();
        rest.retain(|packet| !rule.matches(packet));
        debug_assert!(rest.len() < before, "{predicate} matches what it was counted for");
        found.push((vec![predicate], rule));
    }
    if limits.most_rules > 0 && share(&rest) > 1.0 - ENOUGH {
        let needed = least.max((1.0 - ENOUGH) * weight(&rest, by));
        if let Some(predicates) = own_service(rest, by, target.direction, needed) {
            found.truncate(limits.most_rules - 1);
            let narrow = |rule: FlowRule, predicate: &Predicate| predicate.added_to(&rule, target.direction);
            let rule = predicates.iter().fold(base, narrow);
            found.push((predicates, rule));
        }
    }
    without_superfluous(found, &attack)
        .into_iter()
        .map(|(predicates, rule)| {
            let matched: Vec<Headers> = attack.iter().filter(|packet| rule.matches(packet)).copied().collect();
            let coverage = share(&matched);
            let reason = reason(&predicates, coverage, by, matched.len(), attack.len());
            Mined { rule, coverage, packets: matched.len(), reason }
        })
        .collect()
}

fn target_rule(target: &Target) -> FlowRule {
    let prefix = Some(target.prefix.trunc());
    match target.direction {
        Direction::Incoming => FlowRule { destination: prefix, ..FlowRule::default() },
        Direction::Outgoing => FlowRule { source: prefix, ..FlowRule::default() },
    }
}

fn weight_of(packet: &Headers, by: Unit) -> f64 {
    match by {
        Unit::Pps | Unit::Fps => 1.0,
        Unit::Bps => f64::from(packet.ip_length),
    }
}

fn weight(packets: &[Headers], by: Unit) -> f64 {
    packets.iter().map(|packet| weight_of(packet, by)).sum()
}

/// Something that packets of an attack may have in common, beside the target. All but the prefix bring their protocol
/// along, since some routers want it with ports, flags and types. The far end is the one that is not the target. The
/// order is that of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Predicate {
    FarPort { protocol: u8, port: u16 },
    NearPort { protocol: u8, port: u16 },
    TcpFlags(Bits),
    Icmp { any_code: bool, protocol: u8, kind: u8, code: u8 },
    Fragment { first_too: bool, protocol: u8 },
    Length { protocol: u8, bytes: u32 },
    FarPrefix { step: u8, prefix: IpNet },
    Protocol(u8),
}

mod flag {
    pub(super) const SYN: u16 = 0x02;
    pub(super) const RST: u16 = 0x04;
    pub(super) const ACK: u16 = 0x10;
    /// FIN, SYN, RST, PSH, ACK, URG.
    pub(super) const CLASSIC: u16 = 0x3f;
}

const TCP: u8 = 6;

impl Predicate {
    /// Whether it tells an attack from the host's own service.
    fn is_telling(self) -> bool {
        match self {
            Predicate::NearPort { .. } | Predicate::Protocol(_) => false,
            // The flags of established connections.
            Predicate::TcpFlags(bits) => bits.set & flag::ACK == 0 || bits.set & flag::SYN != 0,
            // Acknowledgements have few lengths, full segments one.
            Predicate::Length { protocol, .. } => protocol != TCP,
            _ => true,
        }
    }

    fn protocol(self) -> Option<u8> {
        match self {
            Predicate::FarPort { protocol, .. }
            | Predicate::NearPort { protocol, .. }
            | Predicate::Icmp { protocol, .. }
            | Predicate::Fragment { protocol, .. }
            | Predicate::Length { protocol, .. }
            | Predicate::Protocol(protocol) => Some(protocol),
            Predicate::TcpFlags(_) => Some(TCP),
            Predicate::FarPrefix { .. } => None,
        }
    }

    /// The rule that wants this too.
    fn added_to(self, rule: &FlowRule, direction: Direction) -> FlowRule {
        let mut rule = rule.clone();
        if let Some(protocol) = self.protocol() {
            rule.protocols = u32::from(protocol).into();
        }
        let incoming = direction == Direction::Incoming;
        match self {
            Predicate::FarPort { port, .. } if incoming => rule.source_ports = u32::from(port).into(),
            Predicate::FarPort { port, .. } => rule.destination_ports = u32::from(port).into(),
            Predicate::NearPort { port, .. } if incoming => rule.destination_ports = u32::from(port).into(),
            Predicate::NearPort { port, .. } => rule.source_ports = u32::from(port).into(),
            Predicate::TcpFlags(bits) => rule.tcp_flags = vec![bits],
            Predicate::Icmp { any_code, kind, code, .. } => {
                rule.icmp_types = u32::from(kind).into();
                if !any_code {
                    rule.icmp_codes = u32::from(code).into();
                }
            }
            Predicate::Fragment { first_too, .. } => {
                let bits = |set: u8| Bits { set: u16::from(set), clear: 0 };
                rule.fragments = vec![bits(fragment::IS)];
                if first_too {
                    rule.fragments.push(bits(fragment::FIRST));
                }
            }
            Predicate::Length { bytes, .. } => rule.packet_lengths = bytes.into(),
            Predicate::FarPrefix { prefix, .. } if incoming => rule.source = Some(prefix),
            Predicate::FarPrefix { prefix, .. } => rule.destination = Some(prefix),
            Predicate::Protocol(_) => {}
        }
        rule
    }

    /// All that the packet satisfies.
    fn of(packet: &Headers, direction: Direction) -> Vec<Predicate> {
        let protocol = packet.protocol;
        let mut all = vec![Predicate::Protocol(protocol)];
        match packet.upper {
            Upper::Ports { source, destination } | Upper::Tcp { source, destination, .. } => {
                let (far, near) = match direction {
                    Direction::Incoming => (source, destination),
                    Direction::Outgoing => (destination, source),
                };
                all.extend([Predicate::FarPort { protocol, port: far }, Predicate::NearPort { protocol, port: near }]);
            }
            Upper::Icmp { kind, code } => all.extend([
                Predicate::Icmp { any_code: false, protocol, kind, code },
                Predicate::Icmp { any_code: true, protocol, kind, code: 0 },
            ]),
            Upper::None => {}
        }
        if let (Upper::Tcp { flags, .. }, TCP) = (packet.upper, protocol) {
            all.push(Predicate::TcpFlags(flags_pattern(flags)));
        }
        if packet.is_fragment() {
            all.push(Predicate::Fragment { first_too: true, protocol });
        }
        if packet.fragment & fragment::IS != 0 {
            all.push(Predicate::Fragment { first_too: false, protocol });
        }
        if packet.ip_length <= Component::PacketLength.largest() {
            all.push(Predicate::Length { protocol, bytes: packet.ip_length });
        }
        all.extend(far_prefixes(packet.addresses, direction));
        all
    }
}

/// What a filter would look for: the parts of a handshake and resets as such, all else exactly.
fn flags_pattern(flags: u16) -> Bits {
    match (flags & flag::SYN != 0, flags & flag::ACK != 0, flags & flag::RST != 0) {
        (true, false, _) => Bits { set: flag::SYN, clear: flag::ACK },
        (true, true, _) => Bits { set: flag::SYN | flag::ACK, clear: 0 },
        (false, _, true) => Bits { set: flag::RST, clear: flag::SYN },
        _ => Bits { set: flags & flag::CLASSIC, clear: !flags & flag::CLASSIC },
    }
}

/// The far end's host, and the networks around it, narrowest first.
fn far_prefixes(addresses: Addresses, direction: Direction) -> impl Iterator<Item = Predicate> {
    let incoming = direction == Direction::Incoming;
    let prefixes: [Option<IpNet>; 3] = match addresses {
        Addresses::V4 { source, destination } => {
            let far = if incoming { source } else { destination };
            [32, 24, 16].map(|length| Ipv4Net::new(far.into(), length).ok().map(IpNet::V4))
        }
        Addresses::V6 { source, destination } => {
            let far = std::net::Ipv6Addr::from(if incoming { source } else { destination });
            // Routers refuse IPv4 mapped into IPv6.
            let plain = far.to_ipv4_mapped().is_none();
            [128, 64, 48].map(|length| Ipv6Net::new(far, length).ok().filter(|_| plain).map(IpNet::V6))
        }
    };
    let numbered = (0..).zip(prefixes);
    numbered.filter_map(|(step, prefix)| Some(Predicate::FarPrefix { step, prefix: prefix?.trunc() }))
}

fn count(packets: &[Headers], by: Unit, direction: Direction) -> HashMap<Predicate, f64> {
    let mut counts = HashMap::with_capacity(packets.len());
    for packet in packets {
        for predicate in Predicate::of(packet, direction) {
            *counts.entry(predicate).or_insert(0.0) += weight_of(packet, by);
        }
    }
    counts
}

/// The first in order of the telling ones that cover as much as any, and at least `least`.
fn most_telling(counts: &HashMap<Predicate, f64>, least: f64, whitelist: &Whitelist) -> Option<Predicate> {
    let may_be = |predicate: &Predicate| match predicate {
        Predicate::FarPrefix { prefix, .. } => whitelist.may_be_far_end(*prefix),
        _ => predicate.is_telling(),
    };
    let telling = || counts.iter().filter(|&(predicate, &weight)| weight >= least && may_be(predicate));
    let best = telling().map(|(_, &weight)| weight).fold(0.0, f64::max);
    telling().filter(|&(_, &weight)| weight >= best * (1.0 - TOLERANCE)).map(|(&predicate, _)| predicate).min()
}

/// The protocol that covers most, narrowed by the port, flags and length that most of it has, as long as all of them
/// together cover `least`.
fn own_service(mut packets: Vec<Headers>, by: Unit, direction: Direction, least: f64) -> Option<Vec<Predicate>> {
    let kinds: [fn(Predicate) -> bool; 4] = [
        |predicate| matches!(predicate, Predicate::Protocol(_)),
        |predicate| matches!(predicate, Predicate::NearPort { .. }),
        |predicate| matches!(predicate, Predicate::TcpFlags(_)),
        |predicate| matches!(predicate, Predicate::Length { .. }),
    ];
    let mut chosen = Vec::new();
    let mut needed = least;
    for kind in kinds {
        let counts = count(&packets, by, direction);
        let some = counts.into_iter().filter(|&(predicate, weight)| kind(predicate) && weight >= needed);
        let heaviest = some.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        match heaviest {
            Some((predicate, weight)) => {
                if chosen.is_empty() {
                    needed = least.max(weight * NARROWED);
                }
                packets.retain(|packet| Predicate::of(packet, direction).contains(&predicate));
                chosen.push(predicate);
            }
            None if chosen.is_empty() => return None,
            None => {}
        }
    }
    Some(chosen)
}

/// Drops each rule whose packets the others match as well, the one with the fewest packets first.
fn without_superfluous<T>(mut rules: Vec<(T, FlowRule)>, attack: &[Headers]) -> Vec<(T, FlowRule)> {
    let packets = |rule: &FlowRule| attack.iter().filter(|packet| rule.matches(packet)).count();
    let mut by_size: Vec<FlowRule> = rules.iter().map(|(_, rule)| rule.clone()).collect();
    by_size.sort_by_cached_key(packets);
    for candidate in by_size {
        let others = || rules.iter().map(|(_, rule)| rule).filter(|&rule| *rule != candidate);
        let mut matched = attack.iter().filter(|packet| candidate.matches(packet));
        if matched.all(|packet| others().any(|rule| rule.matches(packet))) {
            rules.retain(|(_, rule)| *rule != candidate);
        }
    }
    rules
}

fn reason(predicates: &[Predicate], coverage: f64, by: Unit, packets: usize, of: usize) -> String {
    let what: Vec<String> = predicates.iter().map(Predicate::to_string).collect();
    let share = coverage * 100.0;
    let unit = match by {
        Unit::Pps | Unit::Fps => "packets",
        Unit::Bps => "bytes",
    };
    let caution = match predicates.iter().any(|predicate| predicate.is_telling()) {
        true => "",
        false => "; nothing sets it apart from the host's own service",
    };
    format!("{}: {share:.1} % of the {unit} ({packets} of {of} packets){caution}", what.join(", "))
}

impl Display for Predicate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = |protocol: u8| {
            protocol_name(protocol.into()).map_or_else(|| format!("protocol {protocol}"), ToOwned::to_owned)
        };
        match *self {
            Predicate::FarPort { protocol, port } => write!(f, "{} port {port} at the far end", name(protocol)),
            Predicate::NearPort { protocol, port } => write!(f, "{} port {port} at the target", name(protocol)),
            Predicate::TcpFlags(bits) => write!(f, "tcp with {}", bits.terms(&TCP_FLAGS)),
            Predicate::Icmp { any_code: false, protocol, kind, code } => {
                write!(f, "{} type {kind} code {code}", name(protocol))
            }
            Predicate::Icmp { protocol, kind, .. } => write!(f, "{} type {kind}", name(protocol)),
            Predicate::Fragment { first_too: false, protocol } => write!(f, "{} later fragments", name(protocol)),
            Predicate::Fragment { protocol, .. } => write!(f, "{} fragments", name(protocol)),
            Predicate::Length { protocol, bytes } => write!(f, "{} of {bytes} bytes", name(protocol)),
            Predicate::FarPrefix { prefix, .. } => write!(f, "{prefix} at the far end"),
            Predicate::Protocol(protocol) => f.write_str(&name(protocol)),
        }
    }
}

#[cfg(test)]
mod tests;
