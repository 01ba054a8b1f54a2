//! `&[u8]` to [`Headers`]: what a frame says about itself, as far as thresholds and Flow Spec rules ask. Pure; never
//! panics, never reads past the end of the frame. May not touch clock, I/O or counters.
//!
//! A packet is read by [`Plain`] or, where it is not plain, layer by layer: `link`, then `ipv4` or `ipv6`. What counts is the outermost
//! IP packet; `tunnel` makes an inner one the outermost on ports that want it. Lengths are what the IP header says, also where the frame
//! is padded or cut short; [`Reading`] says when that is believed.

mod ipv4;
mod ipv6;
mod link;
mod plain;
mod reading;
mod reason;
mod tunnel;

pub use ipv4::{flow_v4, outline_v4};
pub use ipv6::{EXTENSIONS_MAX, OPTIONS_MAX, flow_v6, outline_v6};
pub use link::{LABELS_MAX, TAGS_MAX, network};
pub use plain::{Plain, PlainUpper, PlainV6};
pub use reading::{Reading, SNAP_MIN};
pub use reason::Unparsed;
pub use tunnel::{TUNNELS_MAX, Tunnel, Tunnels, innermost, unwrap};

use ipv4::{fragment_v4, header_length, payload_v4};
use ipv6::ipv6;

/// What a packet counts as. Disjoint: each packet is in exactly one class; totals are sums over classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// TCP, but for what is [`Class::TcpSyn`].
    Tcp = 0,
    /// TCP with SYN set and ACK clear.
    TcpSyn = 1,
    /// UDP.
    Udp = 2,
    /// ICMP over IPv4, ICMPv6 over IPv6.
    Icmp = 3,
    /// Every other protocol.
    Other = 4,
}

impl Class {
    /// How many classes there are.
    pub const COUNT: usize = 5;
    /// All classes in the order of their numbers.
    pub const ALL: [Class; Class::COUNT] = [Class::Tcp, Class::TcpSyn, Class::Udp, Class::Icmp, Class::Other];
}

/// Source and destination, in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Addresses {
    /// IPv4.
    V4 {
        /// Source address.
        source: u32,
        /// Destination address.
        destination: u32,
    },
    /// IPv6.
    V6 {
        /// Source address.
        source: u128,
        /// Destination address.
        destination: u128,
    },
}

/// The part of the upper-layer header that rules look at; `None` in a later fragment, or where the frame ends before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Upper {
    /// No such fields: another protocol, a later fragment, or cut short.
    None,
    /// UDP (and whatever else has its ports where UDP has them: SCTP, UDP-Lite, DCCP).
    Ports {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// TCP.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Bytes 13 and 14 of the header, less the data offset: FIN is 0x01, SYN 0x02, RST 0x04, PSH 0x08, ACK 0x10, URG 0x20, ECE 0x40, CWR 0x80, NS 0x100.
        flags: u16,
    },
    /// ICMP or ICMPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
}

/// Which [`Upper`] a packet has. What has flags has ports: a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "as there")]
pub enum UpperKind {
    None = 0,
    Ports = 1,
    Tcp = 3,
    Icmp = 4,
}

/// Fragment bits as Flow Spec has them (RFC 8955 section 4.2.2.12).
pub mod fragment {
    /// Don't fragment (IPv4 only).
    pub const DONT: u8 = 1;
    /// A fragment other than the first: offset is not 0.
    pub const IS: u8 = 2;
    /// The first fragment: offset 0, more follow.
    pub const FIRST: u8 = 4;
    /// The last fragment: offset is not 0, none follow.
    pub const LAST: u8 = 8;
}

/// What the frame says, host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Headers {
    /// Source and destination.
    pub addresses: Addresses,
    /// IP protocol; in IPv6 the upper-layer header behind the extension headers.
    pub protocol: u8,
    /// What it counts as.
    pub class: Class,
    /// Bits of [`fragment`]. In IPv6 an atomic fragment (offset 0, none follow) has none.
    pub fragment: u8,
    /// DSCP, 6 bits.
    pub dscp: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IP total length in bytes (IPv6: payload + 40), as the header says; of a jumbogram, as its option says.
    pub ip_length: u32,
    /// IPv6 flow label, 20 bits; 0 in IPv4.
    pub flow_label: u32,
    /// Ports, flags, type and code.
    pub upper: Upper,
}

impl Headers {
    /// Whether this is a fragment, first or later.
    pub fn is_fragment(&self) -> bool {
        self.fragment & (fragment::IS | fragment::FIRST) != 0
    }
}

/// The IP protocol numbers that the parser knows.
mod protocol {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ICMP: u8 = 1;
    pub(super) const IPV4: u8 = 4;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const DCCP: u8 = 33;
    pub(super) const IPV6: u8 = 41;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const GRE: u8 = 47;
    pub(super) const AH: u8 = 51;
    pub(super) const ICMPV6: u8 = 58;
    pub(super) const DESTINATION_OPTIONS: u8 = 60;
    pub(super) const SCTP: u8 = 132;
    pub(super) const MOBILITY: u8 = 135;
    pub(super) const UDP_LITE: u8 = 136;
    pub(super) const HIP: u8 = 139;
    pub(super) const SHIM6: u8 = 140;
}

/// What the frame says. `frame` may be only the first segment of it: lengths come from the headers, and a packet whose
/// IP header is whole counts for its host even where the upper-layer header is missing.
#[inline]
pub fn parse(frame: &[u8]) -> Result<Headers, Unparsed> {
    match network(frame)? {
        Network::V4(packet) => {
            let outline = outline_v4(packet)?;
            let (protocol, fragment) = (packet[9], fragment_v4(u16::from_be_bytes([packet[6], packet[7]])));
            let payload = payload_v4(packet, header_length(packet), outline.ip_length, fragment);
            Ok(Headers {
                addresses: Addresses::V4 { source: outline.source, destination: outline.destination },
                protocol,
                class: outline.class,
                fragment,
                dscp: packet[1] >> 2,
                ttl: packet[8],
                ip_length: outline.ip_length,
                flow_label: 0,
                upper: upper(outline.class, protocol, payload),
            })
        }
        Network::V6(packet) => {
            let (outline, chain) = ipv6(packet)?;
            let word = u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]);
            Ok(Headers {
                addresses: Addresses::V6 {
                    source: u128::from_be_bytes(*outline.source),
                    destination: u128::from_be_bytes(*outline.destination),
                },
                protocol: chain.protocol,
                class: outline.class,
                fragment: chain.fragment,
                dscp: (word >> 22) as u8 & 0x3f,
                ttl: packet[7],
                ip_length: outline.ip_length,
                flow_label: word & 0x000f_ffff,
                upper: upper(outline.class, chain.protocol, chain.payload),
            })
        }
    }
}

/// What a frame carries, from its IP header on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network<'a> {
    /// IPv4.
    V4(&'a [u8]),
    /// IPv6.
    V6(&'a [u8]),
}

/// What counting asks of a packet; `A` is the family's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// What it counts as.
    pub class: Class,
    /// Whether this is a fragment, first or later.
    pub is_fragment: bool,
    /// IP total length in bytes.
    pub ip_length: u32,
}

/// What makes a flow; `A` is the family's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// The protocol, and the ports of those that have any. All later fragments between two hosts are one flow.
    pub upper: u64,
}

#[inline(always)]
fn flow_upper(protocol: u8, payload: &[u8]) -> u64 {
    use protocol::*;
    let ports = match payload.first_chunk() {
        Some(&ports) if matches!(protocol, TCP | UDP | SCTP | UDP_LITE | DCCP) => u32::from_be_bytes(ports),
        _ => 0,
    };
    u64::from(protocol) << 32 | u64::from(ports)
}

#[inline]
const fn fragment_bits(later: bool, more: bool) -> u8 {
    match (later, more) {
        (false, false) => 0,
        (false, true) => fragment::FIRST,
        (true, true) => fragment::IS,
        (true, false) => fragment::IS | fragment::LAST,
    }
}

const fn classes(icmp: u8) -> [Class; 256] {
    let mut classes = [Class::Other; 256];
    classes[protocol::TCP as usize] = Class::Tcp;
    classes[protocol::UDP as usize] = Class::Udp;
    classes[icmp as usize] = Class::Icmp;
    classes
}

static CLASSES_V4: [Class; 256] = classes(protocol::ICMP);
static CLASSES_V6: [Class; 256] = classes(protocol::ICMPV6);

/// Which [`Upper`] an IPv4 packet has, by protocol, and how long it is then at least: without options, as a whole.
static UPPERS_V4: [(UpperKind, u8); 256] = {
    use protocol::*;
    const HEADER: u8 = 20;
    let mut uppers = [(UpperKind::None, HEADER); 256];
    uppers[TCP as usize] = (UpperKind::Tcp, HEADER + 14);
    uppers[ICMP as usize] = (UpperKind::Icmp, HEADER + 2);
    let with_ports = [UDP, SCTP, UDP_LITE, DCCP];
    let mut at = 0;
    while at < with_ports.len() {
        uppers[with_ports[at] as usize] = (UpperKind::Ports, HEADER + 4);
        at += 1;
    }
    uppers
};

#[inline(always)]
fn class<'a>(classes: &[Class; 256], protocol: u8, payload: impl FnOnce() -> &'a [u8]) -> Class {
    syn_or(classes[usize::from(protocol)], payload)
}

/// The class that a protocol has; of TCP its flags tell it.
#[inline(always)]
fn syn_or<'a>(class: Class, payload: impl FnOnce() -> &'a [u8]) -> Class {
    const SYN_ACK: u8 = 0x12;
    const SYN: u8 = 0x02;
    match class {
        Class::Tcp if payload().get(13).is_some_and(|flags| flags & SYN_ACK == SYN) => Class::TcpSyn,
        class => class,
    }
}

/// What rules look at behind the IP header.
#[inline(always)]
fn upper(class: Class, protocol: u8, payload: &[u8]) -> Upper {
    use protocol::{DCCP, SCTP, UDP_LITE};
    let number = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    match class {
        Class::Udp if payload.len() >= 4 => Upper::Ports { source: number(0), destination: number(2) },
        Class::Tcp | Class::TcpSyn if payload.len() >= 14 => {
            Upper::Tcp { source: number(0), destination: number(2), flags: number(12) & 0x0fff }
        }
        Class::Icmp if payload.len() >= 2 => Upper::Icmp { kind: payload[0], code: payload[1] },
        Class::Other if matches!(protocol, SCTP | UDP_LITE | DCCP) && payload.len() >= 4 => {
            Upper::Ports { source: number(0), destination: number(2) }
        }
        _ => Upper::None,
    }
}

#[cfg(test)]
mod tests;
