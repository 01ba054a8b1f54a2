//! Tunnels: GRE, IP in IP, VXLAN, GTP-U. By default the outer packet counts, as for any other; ports that are told so count the
//! inner one in its place.
//!
//! What counts then is the innermost packet that is whole in its header, within [`TUNNELS_MAX`] tunnels. Where the inner header is broken
//! or not IP, where the outer packet is a fragment, or where tunnels nest deeper, the packet counts for what was reached so far: a
//! flood of garbage to a tunnel's end is a flood to that host. So a tunnel never makes a frame unparsed.

use super::link::{self, ethertype};
use super::{Network, fragment, ipv4, ipv6, network, protocol};

/// Most tunnels that are taken off a packet.
pub const TUNNELS_MAX: usize = 4;
/// Most extension headers of a GTP-U packet.
const GTP_EXTENSIONS_MAX: usize = 8;

/// A kind of tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tunnel {
    /// GRE (RFC 2784, RFC 2890), with IP, MPLS or Ethernet (NVGRE, RFC 7637) in it.
    Gre = 0,
    /// IPv4 in IPv4 or IPv6 (RFC 2003, RFC 2473): protocol 4.
    IpIp = 1,
    /// IPv6 in IPv4 or IPv6 (RFC 4213, RFC 2473): protocol 41.
    SixInFour = 2,
    /// VXLAN (RFC 7348): UDP to port 4789.
    Vxlan = 3,
    /// GTP-U (3GPP TS 29.281): UDP to port 2152.
    GtpU = 4,
}

impl Tunnel {
    /// All kinds in the order of their numbers.
    pub const ALL: [Tunnel; 5] = [Tunnel::Gre, Tunnel::IpIp, Tunnel::SixInFour, Tunnel::Vxlan, Tunnel::GtpU];

    /// The name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Tunnel::Gre => "gre",
            Tunnel::IpIp => "ipip",
            Tunnel::SixInFour => "6in4",
            Tunnel::Vxlan => "vxlan",
            Tunnel::GtpU => "gtpu",
        }
    }
}

/// A set of kinds of tunnels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tunnels(u8);

impl Tunnels {
    /// No tunnel: outer packets count.
    pub const NONE: Tunnels = Tunnels(0);

    /// Whether this kind is in the set.
    #[inline]
    pub const fn has(self, tunnel: Tunnel) -> bool {
        self.0 >> tunnel as u8 & 1 == 1
    }
}

impl FromIterator<Tunnel> for Tunnels {
    fn from_iter<I: IntoIterator<Item = Tunnel>>(tunnels: I) -> Tunnels {
        Tunnels(tunnels.into_iter().fold(0, |set, tunnel| set | 1 << tunnel as u8))
    }
}

/// The innermost packet of the frame, through tunnels of these kinds. `None`: the outer one counts.
pub fn innermost(frame: &[u8], tunnels: Tunnels) -> Option<Network<'_>> {
    let mut outer = network(frame).ok()?;
    let mut found = None;
    for _ in 0..TUNNELS_MAX {
        let Some(inner) = inner(outer, tunnels) else { break };
        outer = inner;
        found = Some(inner);
    }
    found
}

/// Makes the innermost packet a frame by itself, with an Ethernet header without addresses in place of the end of the outer headers.
/// Returns where it starts; 0 where the frame stays as it was.
pub fn unwrap(frame: &mut [u8], tunnels: Tunnels) -> usize {
    let (ethertype, packet) = match innermost(frame, tunnels) {
        None => return 0,
        Some(Network::V4(packet)) => (ethertype::IPV4, packet),
        Some(Network::V6(packet)) => (ethertype::IPV6, packet),
    };
    // There is an outer IP header before it, which is longer than an Ethernet header.
    let start = (packet.as_ptr().addr() - frame.as_ptr().addr()).saturating_sub(14);
    if let Some(header) = frame.get_mut(start..start + 14) {
        header[..12].fill(0);
        header[12..].copy_from_slice(&ethertype.to_be_bytes());
    }
    start
}

/// The packet within this one, if it is whole in its header and claims no more than this one has.
fn inner(outer: Network<'_>, tunnels: Tunnels) -> Option<Network<'_>> {
    let (protocol, payload, payload_length) = payload(outer)?;
    let inner = match protocol {
        protocol::GRE if tunnels.has(Tunnel::Gre) => gre(payload),
        protocol::IPV4 if tunnels.has(Tunnel::IpIp) => Some(Network::V4(payload)),
        protocol::IPV6 if tunnels.has(Tunnel::SixInFour) => Some(Network::V6(payload)),
        protocol::UDP => udp(payload, tunnels),
        _ => None,
    }?;
    let (Network::V4(packet) | Network::V6(packet)) = inner;
    let room = payload_length.saturating_sub((payload.len() - packet.len()) as u32);
    let length = match inner {
        Network::V4(packet) => ipv4::outline_v4(packet).ok()?.ip_length,
        Network::V6(packet) => ipv6::outline_v6(packet).ok()?.ip_length,
    };
    (length <= room).then_some(inner)
}

/// Protocol, what is there of the payload, and its length by the header; of fragments nothing.
fn payload(packet: Network<'_>) -> Option<(u8, &[u8], u32)> {
    const NOT_WHOLE: u8 = fragment::IS | fragment::FIRST;
    match packet {
        Network::V4(packet) => {
            let outline = ipv4::outline_v4(packet).ok()?;
            let header_length = ipv4::header_length(packet);
            let payload = ipv4::payload_v4(packet, header_length, outline.ip_length, 0);
            let length = outline.ip_length.saturating_sub(header_length as u32);
            (!outline.is_fragment).then(|| (packet[9], payload, length))
        }
        Network::V6(packet) => {
            let (outline, chain) = ipv6::ipv6(packet).ok()?;
            // The payload reaches to the end of the packet, or to the end of the frame where that comes first.
            let end = packet.len().min(outline.ip_length as usize);
            let start = end.saturating_sub(chain.payload.len());
            let length = outline.ip_length.saturating_sub(start as u32);
            (chain.fragment & NOT_WHOLE == 0).then_some((chain.protocol, chain.payload, length))
        }
    }
}

/// RFC 2784 section 2.1, with key and sequence number of RFC 2890 section 2. Version 1 (PPTP) and RFC 1701's routing are others.
///
/// ```text
/// |C|R|K|S| Reserved0       | Ver |         Protocol Type         |
/// |      Checksum (optional)      |       Reserved1 (Optional)    |
/// |                         Key (optional)                        |
/// |                 Sequence Number (Optional)                    |
/// ```
fn gre(payload: &[u8]) -> Option<Network<'_>> {
    const CHECKSUM_KEY_SEQUENCE: u8 = 0xb0;
    const ROUTING: u8 = 0x40;
    const VERSION: u8 = 0x07;
    let header = payload.first_chunk::<4>()?;
    if header[0] & ROUTING != 0 || header[1] & VERSION != 0 {
        return None;
    }
    let options = (header[0] & CHECKSUM_KEY_SEQUENCE).count_ones() as usize;
    let rest = payload.get(4 + 4 * options..)?;
    link::of_ethertype(u16::from_be_bytes([header[2], header[3]]), rest).ok()
}

fn udp(payload: &[u8], tunnels: Tunnels) -> Option<Network<'_>> {
    const VXLAN: u16 = 4789;
    const GTP_U: u16 = 2152;
    let (header, rest) = payload.split_first_chunk::<8>()?;
    match u16::from_be_bytes([header[2], header[3]]) {
        VXLAN if tunnels.has(Tunnel::Vxlan) => vxlan(rest),
        GTP_U if tunnels.has(Tunnel::GtpU) => gtp_u(rest),
        _ => None,
    }
}

/// RFC 7348 section 5: flags, of which I says that there is a VNI; then an Ethernet frame.
///
/// ```text
/// |R|R|R|R|I|R|R|R|            Reserved                           |
/// |                VXLAN Network Identifier (VNI) |   Reserved    |
/// ```
fn vxlan(payload: &[u8]) -> Option<Network<'_>> {
    const I: u8 = 0x08;
    let (header, frame) = payload.split_first_chunk::<8>()?;
    if header[0] & I == 0 { None } else { network(frame).ok() }
}

/// 3GPP TS 29.281 section 5.1: version 1, protocol type 1, message type 255 (G-PDU). Where any of E, S and PN is set all three
/// fields are there; extension headers (section 5.2) follow where E is set and the type is not 0. Their length is in units of
/// four bytes, and their last byte is the type of the next one.
///
/// ```text
/// |Ver|PT|*|E|S|PN| Message Type  |            Length             |
/// |                Tunnel Endpoint Identifier                     |
/// |        Sequence Number        | N-PDU Number  |Next Ext. Type |
/// ```
fn gtp_u(payload: &[u8]) -> Option<Network<'_>> {
    const VERSION_AND_TYPE: u8 = 0xf0;
    const E: u8 = 0x04;
    const E_S_PN: u8 = 0x07;
    const G_PDU: u8 = 255;
    let (header, mut rest) = payload.split_first_chunk::<8>()?;
    if header[0] & VERSION_AND_TYPE != 0x30 || header[1] != G_PDU {
        return None;
    }
    if header[0] & E_S_PN != 0 {
        let (fields, behind) = rest.split_first_chunk::<4>()?;
        let mut next = if header[0] & E != 0 { fields[3] } else { 0 };
        rest = behind;
        for _ in 0..GTP_EXTENSIONS_MAX {
            if next == 0 {
                break;
            }
            let length = usize::from(*rest.first()?) * 4;
            next = *rest.get(..length)?.last()?;
            rest = &rest[length..];
        }
        if next != 0 {
            return None;
        }
    }
    match rest.first()? >> 4 {
        4 => Some(Network::V4(rest)),
        6 => Some(Network::V6(rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
