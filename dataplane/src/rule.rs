//! [`FlowRule`]: a Flow Spec rule (RFC 8955, IPv6: RFC 8956), and whether it matches [`Headers`]. Pure.

use ipnet::IpNet;

use crate::packet::Headers;

/// A set of numbers: inclusive ranges, sorted, disjoint, not adjacent. Empty means that the component is absent: any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ranges(Vec<(u32, u32)>);

/// One alternative of a bitmask component: all bits of `set` are set, and all of `clear` are clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bits {
    /// These must be 1.
    pub set: u16,
    /// These must be 0.
    pub clear: u16,
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

/// What a router does with what matches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Drop.
    Discard,
    /// Let this many bits a second through.
    RateBps(u64),
    /// Let this many packets a second through.
    RatePps(u64),
}

impl FlowRule {
    /// Whether the packet has every component.
    pub fn matches(&self, _headers: &Headers) -> bool {
        unreachable!()
    }
}
