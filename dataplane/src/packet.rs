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

/// What nearly every frame is: Ethernet without tags, IPv4 without options, no fragment. Each field is read where it is
/// asked for.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    frame: &'a [u8],
    head: &'a [u8; PLAIN_HEADERS],
    ip_length: u16,
}

/// Bytes of Ethernet and IPv4 headers of a plain frame.
const PLAIN_HEADERS: usize = 14 + 20;

impl<'a> Plain<'a> {
    /// The frame, if it is plain. `None` says nothing but that [`network`] and the rest must look. One comparison for what
    /// those test one by one.
    #[inline(always)]
    pub fn of(frame: &'a [u8]) -> Option<Plain<'a>> {
        /// Ethertype, version and header length.
        const PLAIN: u64 = 0x08_0045;
        const FRAGMENT: u16 = 0x3fff_u16.to_be();
        let head = frame.first_chunk::<PLAIN_HEADERS>()?;
        let start = word(head, 12);
        let ip_length = (start >> 16) as u16;
        let is_plain =
            start >> 40 == PLAIN && u16::from_ne_bytes([head[20], head[21]]) & FRAGMENT == 0 && ip_length >= 20;
        is_plain.then_some(Plain { frame, head, ip_length })
    }

    /// What counting asks of it.
    #[inline(always)]
    pub fn outline(&self) -> Outline<u32> {
        // Both addresses by one load.
        let addresses = word(self.head, 26);
        Outline {
            source: (addresses >> 32) as u32,
            destination: addresses as u32,
            class: self.class(),
            is_fragment: false,
            ip_length: self.ip_length.into(),
        }
    }

    /// From its IP header on.
    #[inline(always)]
    pub fn packet(&self) -> &'a [u8] {
        self.frame.get(14..).unwrap_or(&[])
    }

    /// Source address.
    #[inline(always)]
    pub fn source(&self) -> u32 {
        (word(self.head, 26) >> 32) as u32
    }

    /// Destination address.
    #[inline(always)]
    pub fn destination(&self) -> u32 {
        word(self.head, 26) as u32
    }

    /// IP total length in bytes.
    #[inline(always)]
    pub fn ip_length(&self) -> u16 {
        self.ip_length
    }

    /// IP protocol.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        self.head[23]
    }

    /// What it counts as.
    #[inline(always)]
    pub fn class(&self) -> Class {
        class(&CLASSES_V4, self.protocol(), || self.payload())
    }

    /// Bits of [`fragment`]: [`fragment::DONT`] or none.
    #[inline(always)]
    pub fn fragment(&self) -> u8 {
        (self.head[20] >> 6 & 1) * fragment::DONT
    }

    /// DSCP, 6 bits.
    #[inline(always)]
    pub fn dscp(&self) -> u8 {
        self.head[15] >> 2
    }

    /// The part of the upper-layer header that rules look at.
    #[inline(always)]
    pub fn upper(&self) -> Upper {
        upper(CLASSES_V4[usize::from(self.protocol())], self.protocol(), self.payload())
    }

    /// The flow that it is of.
    #[inline(always)]
    pub fn flow(&self) -> Flow<u32> {
        Flow {
            source: self.source(),
            destination: self.destination(),
            upper: flow_upper(self.protocol(), self.payload()),
        }
    }

    #[inline(always)]
    fn payload(&self) -> &'a [u8] {
        self.frame.get(PLAIN_HEADERS..self.frame.len().min(14 + usize::from(self.ip_length))).unwrap_or(&[])
    }
}

#[inline(always)]
fn word(head: &[u8; PLAIN_HEADERS], at: usize) -> u64 {
    let octets = [at, at + 1, at + 2, at + 3, at + 4, at + 5, at + 6, at + 7].map(|at| head[at]);
    u64::from_be_bytes(octets)
}

/// What the frame says. `frame` may be only the first segment of it: lengths come from the headers, and a packet whose
/// IP header is whole counts for its host even where the upper-layer header is missing.
#[inline]
pub fn parse(frame: &[u8]) -> Result<Headers, Unparsed> {
    match network(frame)? {
        Network::V4(packet) => {
            let outline = outline_v4(packet)?;
            let (protocol, fragment) = (packet[9], fragment_v4(u16::from_be_bytes([packet[6], packet[7]])));
            let header_length = usize::from(packet[0] & 0x0f) * 4;
            let payload = payload_v4(packet, header_length, outline.ip_length, fragment);
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
                addresses: Addresses::V6 { source: outline.source, destination: outline.destination },
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

/// Link layer: Ethernet and VLAN tags.
///
/// # Errors
/// [`Unparsed`], if it is not IP.
#[inline(always)]
pub fn network(frame: &[u8]) -> Result<Network<'_>, Unparsed> {
    let Some((ethernet, mut packet)) = frame.split_first_chunk::<14>() else { return Err(Unparsed::ShortEthernet) };
    let mut ethertype = u16::from_be_bytes([ethernet[12], ethernet[13]]);
    if ethertype == ethertype::IPV4 {
        return Ok(Network::V4(packet));
    }
    if ethertype::is_tag(ethertype) {
        (ethertype, packet) = untag(packet)?;
    }
    match ethertype {
        ethertype::IPV4 => Ok(Network::V4(packet)),
        ethertype::IPV6 => Ok(Network::V6(packet)),
        _ => Err(Unparsed::NotIp),
    }
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

/// The outline of an IPv4 packet (RFC 791 section 3.1); fails where [`parse`] fails.
///
/// # Errors
/// [`Unparsed`].
#[inline(always)]
pub fn outline_v4(packet: &[u8]) -> Result<Outline<u32>, Unparsed> {
    /// Version 4, and five words of header: no options.
    const PLAIN: u8 = 0x45;
    let Some(header) = packet.first_chunk::<20>() else { return Err(Unparsed::ShortIpv4) };
    if header[0] == PLAIN { outline_v4_of(packet, header, 20) } else { outline_v4_with_options(packet, header) }
}

#[inline(never)]
fn outline_v4_with_options(packet: &[u8], header: &[u8; 20]) -> Result<Outline<u32>, Unparsed> {
    let header_length = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || header_length < 20 {
        return Err(Unparsed::BadIpv4);
    }
    outline_v4_of(packet, header, header_length)
}

#[inline(always)]
fn outline_v4_of(packet: &[u8], header: &[u8; 20], header_length: usize) -> Result<Outline<u32>, Unparsed> {
    let total_length = u16::from_be_bytes([header[2], header[3]]);
    if usize::from(total_length) < header_length {
        return Err(Unparsed::BadIpv4);
    }
    if packet.len() < header_length {
        return Err(Unparsed::ShortIpv4);
    }
    let offset_field = u16::from_be_bytes([header[6], header[7]]);
    let ip_length = u32::from(total_length);
    let payload = || payload_v4(packet, header_length, ip_length, fragment_v4(offset_field));
    // Both addresses by one load.
    let addresses = u64::from_be_bytes([
        header[12], header[13], header[14], header[15], header[16], header[17], header[18], header[19],
    ]);
    Ok(Outline {
        source: (addresses >> 32) as u32,
        destination: addresses as u32,
        class: class(&CLASSES_V4, header[9], payload),
        is_fragment: offset_field & 0x3fff != 0,
        ip_length,
    })
}

/// The flow of an IPv4 packet that has this outline.
#[inline(always)]
pub fn flow_v4(packet: &[u8], outline: &Outline<u32>) -> Flow<u32> {
    let &Outline { source, destination, ip_length, .. } = outline;
    let upper = packet.first_chunk::<20>().map_or(0, |header| {
        let fragment = fragment_v4(u16::from_be_bytes([header[6], header[7]]));
        let payload = payload_v4(packet, usize::from(header[0] & 0x0f) * 4, ip_length, fragment);
        flow_upper(header[9], payload)
    });
    Flow { source, destination, upper }
}

/// The flow of an IPv6 packet; fails where [`parse`] fails.
///
/// # Errors
/// [`Unparsed`].
#[inline]
pub fn flow_v6(packet: &[u8]) -> Result<Flow<u128>, Unparsed> {
    let (Outline { source, destination, .. }, Chain { protocol, payload, .. }) = ipv6(packet)?;
    Ok(Flow { source, destination, upper: flow_upper(protocol, payload) })
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

/// What is behind the header, but for a later fragment. What is behind the total length is padding, not the packet.
#[inline(always)]
fn payload_v4(packet: &[u8], header_length: usize, ip_length: u32, fragment: u8) -> &[u8] {
    if fragment & fragment::IS != 0 {
        return &[];
    }
    packet.get(header_length..packet.len().min(ip_length as usize)).unwrap_or(&[])
}

#[inline(always)]
fn fragment_v4(offset_field: u16) -> u8 {
    let dont = u8::from(offset_field & 0x4000 != 0) * fragment::DONT;
    dont | fragment_bits(offset_field & 0x1fff != 0, offset_field & 0x2000 != 0)
}

/// The outline of what nearly every IPv6 frame is: Ethernet without tags, no extension headers. `None` says nothing but that
/// [`network`] and the rest must look.
#[inline(always)]
pub fn outline_plain_v6(frame: &[u8]) -> Option<Outline<u128>> {
    /// Ethertype and version.
    const PLAIN: u32 = 0x8_6dd6;
    let (head, rest) = frame.split_first_chunk::<{ 14 + 40 }>()?;
    let start = u32::from_be_bytes([head[12], head[13], head[14], head[15]]);
    let next = head[20];
    if start >> 12 != PLAIN || is_extension(next) {
        return None;
    }
    let payload_length = u16::from_be_bytes([head[18], head[19]]);
    let header = head.last_chunk::<40>()?;
    Some(Outline {
        source: address6(header, 8),
        destination: address6(header, 24),
        class: class(&CLASSES_V6, next, || &rest[..rest.len().min(usize::from(payload_length))]),
        is_fragment: false,
        ip_length: u32::from(payload_length) + 40,
    })
}

/// The outline of an IPv6 packet; fails where [`parse`] fails.
///
/// # Errors
/// [`Unparsed`].
#[inline]
pub fn outline_v6(packet: &[u8]) -> Result<Outline<u128>, Unparsed> {
    Ok(ipv6(packet)?.0)
}

/// Where a chain of extension headers ends.
struct Chain<'a> {
    protocol: u8,
    fragment: u8,
    /// The upper-layer header and what follows; empty in a later fragment.
    payload: &'a [u8],
}

/// RFC 8200 section 3.
#[inline]
fn ipv6(packet: &[u8]) -> Result<(Outline<u128>, Chain<'_>), Unparsed> {
    let Some((header, rest)) = packet.split_first_chunk::<40>() else { return Err(Unparsed::ShortIpv6) };
    if header[0] >> 4 != 6 {
        return Err(Unparsed::BadIpv6);
    }
    let payload_length = u16::from_be_bytes([header[4], header[5]]);
    let next = header[6];
    // A jumbogram (RFC 2675) has its true length in a hop-by-hop option, and 0 here.
    let jumbogram = payload_length == 0 && next == protocol::HOP_BY_HOP;
    let payload = if jumbogram { rest } else { &rest[..rest.len().min(usize::from(payload_length))] };

    let (protocol, fragment, payload) =
        if is_extension(next) { skip_extensions(next, payload) } else { (next, 0, payload) };
    let payload = if fragment & fragment::IS == 0 { payload } else { &[] };
    let outline = Outline {
        source: address6(header, 8),
        destination: address6(header, 24),
        class: class(&CLASSES_V6, protocol, || payload),
        is_fragment: fragment & (fragment::IS | fragment::FIRST) != 0,
        ip_length: u32::from(payload_length) + 40,
    };
    Ok((outline, Chain { protocol, fragment, payload }))
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

const fn classes(icmp: u8) -> [Class; 256] {
    let mut classes = [Class::Other; 256];
    classes[protocol::TCP as usize] = Class::Tcp;
    classes[protocol::UDP as usize] = Class::Udp;
    classes[icmp as usize] = Class::Icmp;
    classes
}

static CLASSES_V4: [Class; 256] = classes(protocol::ICMP);
static CLASSES_V6: [Class; 256] = classes(protocol::ICMPV6);

#[inline(always)]
fn class<'a>(classes: &[Class; 256], protocol: u8, payload: impl FnOnce() -> &'a [u8]) -> Class {
    const SYN_ACK: u8 = 0x12;
    const SYN: u8 = 0x02;
    match classes[usize::from(protocol)] {
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
