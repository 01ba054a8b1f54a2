//! [`FlowRule`]: a Flow Spec rule (RFC 8955, IPv6: RFC 8956), and whether it matches [`Headers`]. Pure.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::packet::{Addresses, Headers, Upper};

mod action;
mod columns;
pub mod lanes;
pub mod nlri;
mod set;
mod text;
pub use action::{Action, Pass, Redirect};
pub use columns::Columns;
pub use set::{RuleSet, SET_MAX};
pub use text::{FRAGMENT_FLAGS, TCP_FLAGS, protocol_name, protocol_number};

/// A set of numbers: inclusive ranges, sorted, disjoint, not adjacent. Empty means that the component is absent: any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// Whether there is none: the component is absent.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the number is in one of the ranges.
    pub fn contains(&self, number: u32) -> bool {
        self.0.iter().any(|&(low, high)| low <= number && number <= high)
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u32, u32)> + '_ {
        self.0.iter().copied()
    }

    /// What all of them need in a router's filter: one item for a number, two for a range.
    pub fn items(&self) -> usize {
        self.0.iter().map(|(low, high)| if low == high { 1 } else { 2 }).sum()
    }

    /// Whether a packet with this value passes; a packet without the field passes only where the component is absent.
    fn allow(&self, value: Option<u32>) -> bool {
        self.is_empty() || value.is_some_and(|value| self.contains(value))
    }
}

impl From<u32> for Ranges {
    fn from(number: u32) -> Ranges {
        Ranges(vec![(number, number)])
    }
}

/// From the two ends of each range, in either order; ranges that overlap or touch become one.
impl FromIterator<(u32, u32)> for Ranges {
    fn from_iter<I: IntoIterator<Item = (u32, u32)>>(ranges: I) -> Ranges {
        let mut all: Vec<_> = ranges.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
        all.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(all.len());
        for (low, high) in all {
            match merged.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        Ranges(merged)
    }
}

/// One alternative of a bitmask component: all bits of `set` are set, and all of `clear` are clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bits {
    /// These must be 1.
    pub set: u16,
    /// These must be 0.
    pub clear: u16,
}

impl Bits {
    /// Whether the value is as this alternative wants it.
    pub const fn accept(self, value: u16) -> bool {
        value & self.set == self.set && value & self.clear == 0
    }

    fn allow(alternatives: &[Bits], value: Option<u16>) -> bool {
        alternatives.is_empty() || value.is_some_and(|value| alternatives.iter().any(|bits| bits.accept(value)))
    }
}

/// The address family of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// AFI 1.
    V4,
    /// AFI 2.
    V6,
}

/// The components, by their type number (RFC 8955 section 4.2.2, RFC 8956 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are those of the RFC")]
pub enum Component {
    DestinationPrefix = 1,
    SourcePrefix = 2,
    Protocol = 3,
    Port = 4,
    DestinationPort = 5,
    SourcePort = 6,
    IcmpType = 7,
    IcmpCode = 8,
    TcpFlags = 9,
    PacketLength = 10,
    Dscp = 11,
    Fragment = 12,
    FlowLabel = 13,
}

impl Component {
    /// All of them, in the order of their type numbers.
    pub const ALL: [Component; 13] = {
        use Component::*;
        [
            DestinationPrefix,
            SourcePrefix,
            Protocol,
            Port,
            DestinationPort,
            SourcePort,
            IcmpType,
            IcmpCode,
            TcpFlags,
            PacketLength,
            Dscp,
            Fragment,
            FlowLabel,
        ]
    };

    /// The name that a rule in JSON gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Component::DestinationPrefix => "destination_prefix",
            Component::SourcePrefix => "source_prefix",
            Component::Protocol => "protocols",
            Component::Port => "ports",
            Component::DestinationPort => "destination_ports",
            Component::SourcePort => "source_ports",
            Component::IcmpType => "icmp_types",
            Component::IcmpCode => "icmp_codes",
            Component::TcpFlags => "tcp_flags",
            Component::PacketLength => "packet_lengths",
            Component::Dscp => "dscps",
            Component::Fragment => "fragmentation_flags",
            Component::FlowLabel => "flow_labels",
        }
    }

    /// The largest value it takes; for bitmasks all bits that have a name, for prefixes the longest.
    pub const fn largest(self) -> u32 {
        match self {
            Component::DestinationPrefix | Component::SourcePrefix => 128,
            Component::Protocol | Component::IcmpType | Component::IcmpCode => 0xff,
            Component::Port | Component::DestinationPort | Component::SourcePort | Component::PacketLength => 0xffff,
            Component::TcpFlags => 0x1ff,
            Component::Dscp => 0x3f,
            Component::Fragment => 0x0f,
            Component::FlowLabel => 0xf_ffff,
        }
    }
}

/// The match part of a Flow Spec rule. Components are joined by and; the alternatives of one by or.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowRule {
    /// Component 1.
    pub destination: Option<IpNet>,
    /// Component 2.
    pub source: Option<IpNet>,
    /// Component 3: protocol; IPv6: upper-layer header.
    pub protocols: Ranges,
    /// Component 4: source or destination port.
    pub ports: Ranges,
    /// Component 5.
    pub destination_ports: Ranges,
    /// Component 6.
    pub source_ports: Ranges,
    /// Component 7.
    pub icmp_types: Ranges,
    /// Component 8.
    pub icmp_codes: Ranges,
    /// Component 9.
    pub tcp_flags: Vec<Bits>,
    /// Component 10: IP total length.
    pub packet_lengths: Ranges,
    /// Component 11.
    pub dscps: Ranges,
    /// Component 12: bits of [`crate::packet::fragment`].
    pub fragments: Vec<Bits>,
    /// Component 13, IPv6 only.
    pub flow_labels: Ranges,
}

impl FlowRule {
    /// Whether the packet has every component. Ports, flags, ICMP type and code never match a packet without that
    /// header, such as a later fragment.
    pub fn matches(&self, headers: &Headers) -> bool {
        let (source, destination, flow_label) = match headers.addresses {
            Addresses::V4 { source, destination } => {
                (inside4(self.source, source), inside4(self.destination, destination), None)
            }
            Addresses::V6 { source, destination } => {
                (inside6(self.source, source), inside6(self.destination, destination), Some(headers.flow_label))
            }
        };
        source
            && destination
            && self.protocols.allow(Some(u32::from(headers.protocol)))
            && self.matches_upper(headers.upper)
            && self.packet_lengths.allow(Some(length(headers.ip_length).into()))
            && self.dscps.allow(Some(u32::from(headers.dscp)))
            && Bits::allow(&self.fragments, Some(u16::from(headers.fragment)))
            && self.flow_labels.allow(flow_label)
    }

    fn matches_upper(&self, upper: Upper) -> bool {
        let (ports, icmp, flags) = match upper {
            Upper::None => (None, None, None),
            Upper::Ports { source, destination } => (Some((source, destination)), None, None),
            Upper::Tcp { source, destination, flags } => (Some((source, destination)), None, Some(flags)),
            Upper::Icmp { kind, code } => (None, Some((kind, code)), None),
        };
        let source = ports.map(|(source, _)| u32::from(source));
        let destination = ports.map(|(_, destination)| u32::from(destination));
        self.source_ports.allow(source)
            && self.destination_ports.allow(destination)
            && (self.ports.allow(source) || self.ports.allow(destination))
            && self.icmp_types.allow(icmp.map(|(kind, _)| u32::from(kind)))
            && self.icmp_codes.allow(icmp.map(|(_, code)| u32::from(code)))
            && Bits::allow(&self.tcp_flags, flags)
    }

    /// The family that the rule is for, where a prefix or a flow label says so.
    pub fn family(&self) -> Option<Family> {
        match self.destination.or(self.source) {
            Some(IpNet::V4(_)) => Some(Family::V4),
            Some(IpNet::V6(_)) => Some(Family::V6),
            None if self.flow_labels.is_empty() => None,
            None => Some(Family::V6),
        }
    }

    /// A prefix component.
    pub fn prefix(&self, component: Component) -> Option<IpNet> {
        match component {
            Component::DestinationPrefix => self.destination,
            Component::SourcePrefix => self.source,
            _ => None,
        }
    }

    /// A component of numbers; `None` for prefixes and bitmasks.
    pub fn ranges(&self, component: Component) -> Option<&Ranges> {
        Some(match component {
            Component::Protocol => &self.protocols,
            Component::Port => &self.ports,
            Component::DestinationPort => &self.destination_ports,
            Component::SourcePort => &self.source_ports,
            Component::IcmpType => &self.icmp_types,
            Component::IcmpCode => &self.icmp_codes,
            Component::PacketLength => &self.packet_lengths,
            Component::Dscp => &self.dscps,
            Component::FlowLabel => &self.flow_labels,
            _ => return None,
        })
    }

    /// As [`FlowRule::ranges`], to be changed.
    pub fn ranges_mut(&mut self, component: Component) -> Option<&mut Ranges> {
        Some(match component {
            Component::Protocol => &mut self.protocols,
            Component::Port => &mut self.ports,
            Component::DestinationPort => &mut self.destination_ports,
            Component::SourcePort => &mut self.source_ports,
            Component::IcmpType => &mut self.icmp_types,
            Component::IcmpCode => &mut self.icmp_codes,
            Component::PacketLength => &mut self.packet_lengths,
            Component::Dscp => &mut self.dscps,
            Component::FlowLabel => &mut self.flow_labels,
            _ => return None,
        })
    }

    /// As [`FlowRule::bits`], to be changed.
    pub fn bits_mut(&mut self, component: Component) -> Option<&mut Vec<Bits>> {
        match component {
            Component::TcpFlags => Some(&mut self.tcp_flags),
            Component::Fragment => Some(&mut self.fragments),
            _ => None,
        }
    }

    /// A bitmask component; `None` for prefixes and numbers.
    pub fn bits(&self, component: Component) -> Option<&[Bits]> {
        match component {
            Component::TcpFlags => Some(&self.tcp_flags),
            Component::Fragment => Some(&self.fragments),
            _ => None,
        }
    }
}

/// A packet's length as component 10 has it: 16 bits. A longer packet passes as one of 65,535.
#[inline(always)]
fn length(ip_length: u32) -> u16 {
    ip_length.min(u16::MAX.into()) as u16
}

fn inside4(prefix: Option<IpNet>, address: u32) -> bool {
    match prefix {
        None => true,
        Some(IpNet::V4(net)) => (u32::from(net.addr()) ^ address) & u32::from(Ipv4Net::netmask(&net)) == 0,
        Some(IpNet::V6(_)) => false,
    }
}

fn inside6(prefix: Option<IpNet>, address: u128) -> bool {
    match prefix {
        None => true,
        Some(IpNet::V6(net)) => (u128::from(net.addr()) ^ address) & u128::from(Ipv6Net::netmask(&net)) == 0,
        Some(IpNet::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests;
