//! `&[u8]` to [`Headers`]: what a frame says about itself, as far as thresholds and Flow Spec rules ask. Pure; never
//! panics, never reads past the end of the frame. May not touch clock, I/O or counters.

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
    /// IP total length in bytes (IPv6: payload + 40), as the header says.
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
