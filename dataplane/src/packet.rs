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

/// Why a frame is not counted for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Unparsed {
    /// The frame ends within the Ethernet header or its tags.
    ShortEthernet = 0,
    /// More than [`TAGS_MAX`] VLAN tags.
    TooManyTags = 1,
    /// Neither IPv4 nor IPv6: ARP, LLC and others.
    NotIp = 2,
    /// The frame ends within the IPv4 header or its options.
    ShortIpv4 = 3,
    /// IPv4 with a wrong version, a header of less than 20 bytes, or a total length of less than the header.
    BadIpv4 = 4,
    /// The frame ends within the fixed IPv6 header.
    ShortIpv6 = 5,
    /// IPv6 with a wrong version.
    BadIpv6 = 6,
}

impl Unparsed {
    /// How many reasons there are.
    pub const COUNT: usize = 7;
    /// All reasons in the order of their numbers.
    pub const ALL: [Unparsed; Unparsed::COUNT] = [
        Unparsed::ShortEthernet,
        Unparsed::TooManyTags,
        Unparsed::NotIp,
        Unparsed::ShortIpv4,
        Unparsed::BadIpv4,
        Unparsed::ShortIpv6,
        Unparsed::BadIpv6,
    ];

    /// The name that status and logs show.
    pub const fn name(self) -> &'static str {
        match self {
            Unparsed::ShortEthernet => "short_ethernet",
            Unparsed::TooManyTags => "too_many_tags",
            Unparsed::NotIp => "not_ip",
            Unparsed::ShortIpv4 => "short_ipv4",
            Unparsed::BadIpv4 => "bad_ipv4",
            Unparsed::ShortIpv6 => "short_ipv6",
            Unparsed::BadIpv6 => "bad_ipv6",
        }
    }
}

/// Most VLAN tags on a frame.
pub const TAGS_MAX: usize = 4;
/// Most IPv6 extension headers in a chain. A packet with more counts for its host, with the header that it stopped at.
pub const EXTENSIONS_MAX: usize = 8;

mod ethertype {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const IPV6: u16 = 0x86dd;

    pub(super) const fn is_tag(ethertype: u16) -> bool {
        matches!(ethertype, 0x8100 | 0x88a8 | 0x9100)
    }
}

/// The IP protocol numbers that the parser knows.
mod protocol {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ICMP: u8 = 1;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const DCCP: u8 = 33;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AH: u8 = 51;
    pub(super) const ICMPV6: u8 = 58;
    pub(super) const DESTINATION_OPTIONS: u8 = 60;
    pub(super) const SCTP: u8 = 132;
    pub(super) const UDP_LITE: u8 = 136;
}

/// What the frame says. `frame` may be only the first segment of it: lengths come from the headers, and a packet whose
/// IP header is whole counts for its host even where the upper-layer header is missing.
#[inline]
pub fn parse(frame: &[u8]) -> Result<Headers, Unparsed> {
    let Some((ethernet, mut packet)) = frame.split_first_chunk::<14>() else { return Err(Unparsed::ShortEthernet) };
    let mut ethertype = u16::from_be_bytes([ethernet[12], ethernet[13]]);
    if ethertype::is_tag(ethertype) {
        (ethertype, packet) = untag(packet)?;
    }
    match ethertype {
        ethertype::IPV4 => ipv4(packet),
        ethertype::IPV6 => ipv6(packet),
        _ => Err(Unparsed::NotIp),
    }
}

/// From behind the first tag's ethertype to the ethertype behind the last tag, and what follows it.
fn untag(mut rest: &[u8]) -> Result<(u16, &[u8]), Unparsed> {
    for _ in 0..TAGS_MAX {
        let Some((tag, behind)) = rest.split_first_chunk::<4>() else { return Err(Unparsed::ShortEthernet) };
        let ethertype = u16::from_be_bytes([tag[2], tag[3]]);
        if !ethertype::is_tag(ethertype) {
            return Ok((ethertype, behind));
        }
        rest = behind;
    }
    Err(Unparsed::TooManyTags)
}

/// RFC 791 section 3.1.
#[inline]
fn ipv4(packet: &[u8]) -> Result<Headers, Unparsed> {
    let Some(header) = packet.first_chunk::<20>() else { return Err(Unparsed::ShortIpv4) };
    let header_length = usize::from(header[0] & 0x0f) * 4;
    let total_length = u16::from_be_bytes([header[2], header[3]]);
    // Version 4, and a header of 5 to 15 words.
    if !matches!(header[0], 0x45..=0x4f) || usize::from(total_length) < header_length {
        return Err(Unparsed::BadIpv4);
    }
    // What is behind the total length is padding, not the packet.
    let end = packet.len().min(usize::from(total_length));
    let Some(payload) = packet.get(header_length..end) else { return Err(Unparsed::ShortIpv4) };

    let offset_field = u16::from_be_bytes([header[6], header[7]]);
    let (more, offset) = (offset_field & 0x2000, offset_field & 0x1fff);
    // One test for the packets that are no fragments, which is nearly all.
    let dont = u8::from(offset_field & 0x4000 != 0) * fragment::DONT;
    let fragment = dont | (if more | offset == 0 { 0 } else { fragment_bits(offset != 0, more != 0) });
    let protocol = header[9];
    let (class, upper) = upper(protocol, protocol::ICMP, fragment, payload);
    Ok(Headers {
        addresses: Addresses::V4 {
            source: u32::from_be_bytes([header[12], header[13], header[14], header[15]]),
            destination: u32::from_be_bytes([header[16], header[17], header[18], header[19]]),
        },
        protocol,
        class,
        fragment,
        dscp: header[1] >> 2,
        ttl: header[8],
        ip_length: u32::from(total_length),
        flow_label: 0,
        upper,
    })
}

/// RFC 8200 section 3.
#[inline]
fn ipv6(packet: &[u8]) -> Result<Headers, Unparsed> {
    let Some((header, rest)) = packet.split_first_chunk::<40>() else { return Err(Unparsed::ShortIpv6) };
    if header[0] >> 4 != 6 {
        return Err(Unparsed::BadIpv6);
    }
    let first_word = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    let payload_length = u16::from_be_bytes([header[4], header[5]]);
    let next = header[6];
    // A jumbogram (RFC 2675) has its true length in a hop-by-hop option, and 0 here.
    let jumbogram = payload_length == 0 && next == protocol::HOP_BY_HOP;
    let payload = if jumbogram { rest } else { &rest[..rest.len().min(usize::from(payload_length))] };

    let (protocol, fragment, payload) =
        if is_extension(next) { skip_extensions(next, payload) } else { (next, 0, payload) };
    let (class, upper) = upper(protocol, protocol::ICMPV6, fragment, payload);
    Ok(Headers {
        addresses: Addresses::V6 { source: address6(header, 8), destination: address6(header, 24) },
        protocol,
        class,
        fragment,
        dscp: (first_word >> 22) as u8 & 0x3f,
        ttl: header[7],
        ip_length: u32::from(payload_length) + 40,
        flow_label: first_word & 0x000f_ffff,
        upper,
    })
}

#[inline]
fn address6(header: &[u8; 40], at: usize) -> u128 {
    let mut octets = [0; 16];
    octets.copy_from_slice(&header[at..at + 16]);
    u128::from_be_bytes(octets)
}

#[inline]
const fn is_extension(protocol: u8) -> bool {
    use protocol::*;
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AH | DESTINATION_OPTIONS)
}

/// Walks the chain (RFC 8200 section 4): the protocol where it ends, the fragment bits met, and what is left. Where the
/// chain is too long or cut short, the protocol is the header it stopped at.
fn skip_extensions(mut next: u8, mut rest: &[u8]) -> (u8, u8, &[u8]) {
    let mut fragment = 0;
    for _ in 0..EXTENSIONS_MAX {
        if !is_extension(next) {
            return (next, fragment, rest);
        }
        // None of them is shorter than this.
        let Some(header) = rest.first_chunk::<8>() else { return (next, fragment, &[]) };
        let length = match next {
            protocol::FRAGMENT => {
                let offset_field = u16::from_be_bytes([header[2], header[3]]);
                fragment |= fragment_bits(offset_field & 0xfff8 != 0, offset_field & 1 != 0);
                8
            }
            protocol::AH => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        next = header[0];
        if fragment & fragment::IS != 0 {
            return (next, fragment, &[]);
        }
        rest = rest.get(length..).unwrap_or(&[]);
    }
    // An extension header here would be one too many.
    (next, fragment, if is_extension(next) { &[] } else { rest })
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

/// What rules and thresholds look at behind the IP header. `icmp` is the family's own ICMP.
#[inline]
fn upper(protocol: u8, icmp: u8, fragment: u8, payload: &[u8]) -> (Class, Upper) {
    let payload = if fragment & fragment::IS == 0 { payload } else { &[] };
    match protocol {
        protocol::TCP => match payload.first_chunk::<14>() {
            Some(tcp) => {
                let flags = u16::from_be_bytes([tcp[12], tcp[13]]) & 0x0fff;
                let class = if flags & 0x12 == 0x02 { Class::TcpSyn } else { Class::Tcp };
                let source = u16::from_be_bytes([tcp[0], tcp[1]]);
                let destination = u16::from_be_bytes([tcp[2], tcp[3]]);
                (class, Upper::Tcp { source, destination, flags })
            }
            None => (Class::Tcp, Upper::None),
        },
        protocol::UDP => (Class::Udp, ports(payload)),
        _ if protocol == icmp => match payload.first_chunk::<2>() {
            Some(&[kind, code]) => (Class::Icmp, Upper::Icmp { kind, code }),
            None => (Class::Icmp, Upper::None),
        },
        protocol::SCTP | protocol::UDP_LITE | protocol::DCCP => (Class::Other, ports(payload)),
        _ => (Class::Other, Upper::None),
    }
}

#[inline]
fn ports(payload: &[u8]) -> Upper {
    match *payload {
        [a, b, c, d, ..] => {
            Upper::Ports { source: u16::from_be_bytes([a, b]), destination: u16::from_be_bytes([c, d]) }
        }
        _ => Upper::None,
    }
}

#[cfg(test)]
mod tests;
