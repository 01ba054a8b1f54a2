//! Rules as text for people, and the names that JSON shares with it.

use std::fmt::{self, Display, Formatter};

use super::{Bits, Component, FlowRule};

/// Names of the TCP flags.
pub const TCP_FLAGS: [(&str, u16); 9] = [
    ("fin", 0x001),
    ("syn", 0x002),
    ("rst", 0x004),
    ("psh", 0x008),
    ("ack", 0x010),
    ("urg", 0x020),
    ("ece", 0x040),
    ("cwr", 0x080),
    ("ns", 0x100),
];

/// Names of the fragment bits.
pub const FRAGMENT_FLAGS: [(&str, u16); 4] =
    [("dont-fragment", 1), ("is-fragment", 2), ("first-fragment", 4), ("last-fragment", 8)];

const PROTOCOLS: [(&str, u8); 17] = [
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", 132),
    ("udplite", 136),
];

/// The name of a well-known protocol.
pub fn protocol_name(number: u32) -> Option<&'static str> {
    PROTOCOLS.iter().find(|&&(_, known)| u32::from(known) == number).map(|&(name, _)| name)
}

/// The number of a well-known protocol.
pub fn protocol_number(name: &str) -> Option<u8> {
    PROTOCOLS.iter().find(|&&(known, _)| known == name).map(|&(_, number)| number)
}

impl Bits {
    /// Terms joined by `&`, `!` before those that must be clear: `syn&!ack`. Bits without a name are shown in hex.
    pub fn terms(self, names: &[(&str, u16)]) -> String {
        let side = |bits: u16, sign: &str| {
            let mut terms: Vec<String> =
                names.iter().filter(|&&(_, bit)| bits & bit != 0).map(|(name, _)| format!("{sign}{name}")).collect();
            let unnamed = names.iter().fold(bits, |left, &(_, bit)| left & !bit);
            if unnamed != 0 {
                terms.push(format!("{sign}{unnamed:#x}"));
            }
            terms
        };
        [side(self.set, ""), side(self.clear, "!")].concat().join("&")
    }
}

impl Component {
    /// The word for it in a line for people.
    const fn word(self) -> &'static str {
        match self {
            Component::DestinationPrefix => "dst",
            Component::SourcePrefix => "src",
            Component::Protocol => "proto",
            Component::Port => "port",
            Component::DestinationPort => "dport",
            Component::SourcePort => "sport",
            Component::IcmpType => "icmp-type",
            Component::IcmpCode => "icmp-code",
            Component::TcpFlags => "flags",
            Component::PacketLength => "length",
            Component::Dscp => "dscp",
            Component::Fragment => "frag",
            Component::FlowLabel => "label",
        }
    }
}

/// Such as `dst 192.0.2.5/32 proto udp sport 53`; `any` without components.
impl Display for FlowRule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for component in Component::ALL {
            let Some(values) = self.values(component) else { continue };
            write!(f, "{separator}{} {values}", component.word())?;
            separator = " ";
        }
        if separator.is_empty() { f.write_str("any") } else { Ok(()) }
    }
}

impl FlowRule {
    fn values(&self, component: Component) -> Option<String> {
        if let Some(prefix) = self.prefix(component) {
            return Some(prefix.to_string());
        }
        let values: Vec<String> = match (self.ranges(component), self.bits(component)) {
            (Some(ranges), _) => ranges.iter().map(|range| range_text(component, range)).collect(),
            (_, Some(bits)) => {
                let names = if component == Component::TcpFlags { &TCP_FLAGS[..] } else { &FRAGMENT_FLAGS[..] };
                bits.iter().map(|bits| bits.terms(names)).collect()
            }
            _ => Vec::new(),
        };
        (!values.is_empty()).then(|| values.join(","))
    }
}

fn range_text(component: Component, (low, high): (u32, u32)) -> String {
    match protocol_name(low) {
        Some(name) if low == high && component == Component::Protocol => name.to_owned(),
        _ if low == high => low.to_string(),
        _ => format!("{low}-{high}"),
    }
}
