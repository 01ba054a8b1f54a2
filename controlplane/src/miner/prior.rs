//! What hosts receive in general: the share of an unknown host's traffic that has some property. It stands in where there
//! is no baseline, and weighs as much as a few of its conversations where there is one. Rough figures; what they must do is tell
//! what is common (a host's own service) from what is rare (answers from a port that nobody asked). Values only.

use dataplane::rule::{Bits, Component};

/// So many packets of a baseline weigh as much as what is known of hosts in general, for how much rules may take at most.
pub(super) const PACKETS: f64 = 5.0;

/// Shares of single numbers, and of spans of numbers that are as likely as each other.
struct Table {
    numbers: &'static [(u32, f64)],
    spans: &'static [(u32, u32, f64)],
}

impl Table {
    fn share(&self, low: u32, high: u32) -> f64 {
        let numbers = self.numbers.iter().filter(|(number, _)| (low..=high).contains(number)).map(|(_, share)| share);
        let spans = self.spans.iter().map(|&(from, to, share)| {
            let (low, high) = (low.max(from), high.min(to));
            if low > high { 0.0 } else { share * f64::from(high - low + 1) / f64::from(to - from + 1) }
        });
        numbers.sum::<f64>() + spans.sum::<f64>()
    }
}

const PROTOCOLS: Table = Table {
    numbers: &[(6, 0.7), (17, 0.25), (1, 0.02), (58, 0.02), (47, 0.004), (50, 0.004)],
    spans: &[(0, 255, 0.002)],
};
const FAR_PORTS: Table = Table {
    numbers: &[(443, 0.3), (80, 0.03), (53, 0.03), (25, 0.01), (123, 0.005)],
    spans: &[(0, 1023, 0.05), (1024, 65_535, 0.5)],
};
const NEAR_PORTS: Table = Table {
    numbers: &[(443, 0.3), (80, 0.15), (53, 0.05), (22, 0.05), (25, 0.05), (123, 0.05)],
    spans: &[(0, 1023, 0.05), (1024, 65_535, 0.3)],
};
const ICMP_TYPES: Table =
    Table { numbers: &[(0, 0.3), (8, 0.3), (3, 0.15), (11, 0.1), (128, 0.3), (129, 0.3)], spans: &[(0, 255, 0.1)] };
const ICMP_CODES: Table = Table { numbers: &[(0, 0.7)], spans: &[(1, 255, 0.3)] };
const LENGTHS: Table = Table {
    numbers: &[(40, 0.1), (52, 0.15), (60, 0.05), (1500, 0.2)],
    spans: &[(20, 1500, 0.5), (1501, 65_535, 0.001)],
};
const DSCPS: Table = Table { numbers: &[(0, 0.85)], spans: &[(1, 63, 0.15)] };
const FLOW_LABELS: Table = Table { numbers: &[(0, 0.3)], spans: &[(1, 0xf_ffff, 0.7)] };

/// Any one number may be what this very host has much of: its service's port, its messages' length. So each range has at least so
/// large a share, of ports and lengths and the like.
const OWN_SERVICE: f64 = 0.05;
const OWN_PEER: f64 = 0.01;

/// The share of traffic whose number is in this range. `is_near` of ports: the host's own.
pub(super) fn share(component: Component, is_near: bool, low: u32, high: u32) -> f64 {
    (in_general(component, is_near, low, high) + at_least(component, is_near, high)).min(1.0)
}

/// What hosts in general have of these numbers: of two ranges together, the sum of both.
pub(super) fn in_general(component: Component, is_near: bool, low: u32, high: u32) -> f64 {
    let table = match component {
        Component::Protocol => &PROTOCOLS,
        Component::SourcePort | Component::DestinationPort if is_near => &NEAR_PORTS,
        Component::SourcePort | Component::DestinationPort => &FAR_PORTS,
        Component::IcmpType => &ICMP_TYPES,
        Component::IcmpCode => &ICMP_CODES,
        Component::PacketLength => &LENGTHS,
        Component::Dscp => &DSCPS,
        Component::FlowLabel => &FLOW_LABELS,
        _ => return 1.0,
    };
    table.share(low, high)
}

/// What any one range may have more, since it may be this very host's.
pub(super) fn at_least(component: Component, is_near: bool, high: u32) -> f64 {
    match component {
        Component::SourcePort | Component::DestinationPort if is_near => OWN_SERVICE,
        // Nobody asks these but by intent.
        Component::SourcePort | Component::DestinationPort if high < 1024 => 0.0,
        Component::SourcePort | Component::DestinationPort | Component::FlowLabel => OWN_PEER,
        Component::PacketLength | Component::Dscp => OWN_SERVICE,
        _ => 0.0,
    }
}

/// The share of TCP with these flags (FIN, SYN, RST, PSH, ACK, URG).
fn flags(value: u16) -> f64 {
    match value {
        0x10 => 0.5,
        0x18 => 0.28,
        0x02 => 0.04,
        0x12 => 0.05,
        0x11 => 0.06,
        0x04 | 0x14 => 0.02,
        0x19 => 0.015,
        _ => 0.000_01,
    }
}

/// The share of packets with these fragment bits.
fn fragments(value: u16) -> f64 {
    use dataplane::packet::fragment::{DONT, FIRST, IS};
    let is_fragment = value & u16::from(IS | FIRST) != 0;
    let is_free = value & u16::from(DONT) == 0;
    match (is_fragment, is_free) {
        (true, true) => 0.000_02,
        (true, false) => 0.000_01,
        (false, true) => 0.3,
        (false, false) => 0.7,
    }
}

/// The share of traffic that one of these alternatives accepts.
pub(super) fn bits_share(component: Component, alternatives: &[Bits]) -> f64 {
    let is_flags = component == Component::TcpFlags;
    let values = if is_flags { 0..64 } else { 0..16 };
    let of = if is_flags { flags } else { fragments };
    values.filter(|&value| alternatives.iter().any(|bits| bits.accept(value))).map(of).sum::<f64>().min(1.0)
}

/// The share of traffic that has several properties, of which each has such a share. They go together (acknowledgements have few
/// lengths), so all but the rarest count by half.
pub(super) fn of_all(shares: impl Iterator<Item = f64> + Clone) -> f64 {
    let rarest = shares.clone().fold(1.0, f64::min);
    let all: f64 = shares.product();
    if rarest > 0.0 { rarest * (all / rarest).sqrt() } else { 0.0 }
}

/// A single address may be a good customer, where nobody knows how large these are.
pub(super) const ONE_PEER: f64 = 0.025;

/// The share of traffic that comes from a prefix of this length: hosts serve a region, or a few peers, more than the whole world. Half of
/// it may come from one of the shortest prefixes that rules name (/8, of IPv6 /32), and half as much with each few bits more.
pub(super) fn prefix_share(length: u8, is_v4: bool) -> f64 {
    let halvings = if is_v4 { (f64::from(length) - 8.0) / 4.0 } else { (f64::from(length) - 32.0) / 12.0 };
    0.5 * (-halvings.max(0.0)).exp2()
}
