//! What a Flow Spec rule can look at in a frame.

use std::net::{IpAddr, Ipv6Addr};

/// A packet as rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// From.
    pub source: IpAddr,
    /// To.
    pub destination: IpAddr,
    /// The upper-layer protocol, also of fragments.
    pub protocol: u8,
    /// Source and destination port; later fragments have none.
    pub ports: Option<(u16, u16)>,
    /// TCP flags; later fragments have none.
    pub tcp_flags: Option<u16>,
    /// ICMP type and code; later fragments have none.
    pub icmp: Option<(u8, u8)>,
    /// IP total length (IPv6: payload + 40).
    pub length: u32,
    /// Differentiated services code point.
    pub dscp: u8,
    /// Of IPv6.
    pub flow_label: Option<u32>,
    /// Of IPv4.
    pub dont_fragment: bool,
    /// Its offset is not 0.
    pub is_fragment: bool,
    /// More fragments follow.
    pub more_follow: bool,
}

/// IPv6 extension headers that are stepped over: hop-by-hop, routing, destination options, and the fragment header.
const EXTENSIONS: [u8; 4] = [0, 43, 60, 44];

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

impl Headers {
    /// Reads an Ethernet frame, with VLAN tags or without. None if it holds no IP packet with whole headers.
    pub fn of_frame(frame: &[u8]) -> Option<Headers> {
        let mut at = 12;
        while matches!(be16(frame, at)?, 0x8100 | 0x88a8) {
            at += 4;
        }
        match be16(frame, at)? {
            0x0800 => Headers::of_ipv4(&frame[at + 2..]),
            0x86dd => Headers::of_ipv6(&frame[at + 2..]),
            _ => None,
        }
    }

    fn of_ipv4(packet: &[u8]) -> Option<Headers> {
        let header = usize::from(packet.first()? & 0x0f) * 4;
        if packet[0] >> 4 != 4 || header < 20 || packet.len() < header {
            return None;
        }
        let fragment = be16(packet, 6)?;
        let address = |at: usize| IpAddr::from([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
        Some(Headers {
            source: address(12),
            destination: address(16),
            protocol: packet[9],
            ports: None,
            tcp_flags: None,
            icmp: None,
            length: be16(packet, 2)?.into(),
            dscp: packet[1] >> 2,
            flow_label: None,
            dont_fragment: fragment & 0x4000 != 0,
            is_fragment: fragment & 0x1fff != 0,
            more_follow: fragment & 0x2000 != 0,
        })
        .and_then(|headers| headers.with_transport(&packet[header..]))
    }

    fn of_ipv6(packet: &[u8]) -> Option<Headers> {
        let address =
            |at: usize| Some(IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?)));
        let first = u32::from(be16(packet, 0)?) << 16 | u32::from(be16(packet, 2)?);
        if first >> 28 != 6 {
            return None;
        }
        let (mut next, mut at) = (*packet.get(6)?, 40);
        let (mut is_fragment, mut more_follow) = (false, false);
        while EXTENSIONS.contains(&next) && !is_fragment {
            let length = if next == 44 { 8 } else { 8 + 8 * usize::from(*packet.get(at + 1)?) };
            if next == 44 {
                let fragment = be16(packet, at + 2)?;
                (is_fragment, more_follow) = (fragment & 0xfff8 != 0, fragment & 1 != 0);
            }
            next = *packet.get(at)?;
            at += length;
        }
        let headers = Headers {
            source: address(8)?,
            destination: address(24)?,
            protocol: next,
            ports: None,
            tcp_flags: None,
            icmp: None,
            length: u32::from(be16(packet, 4)?) + 40,
            dscp: (first >> 22 & 0x3f) as u8,
            flow_label: Some(first & 0xf_ffff),
            dont_fragment: false,
            is_fragment,
            more_follow,
        };
        headers.with_transport(packet.get(at..)?)
    }

    fn with_transport(mut self, rest: &[u8]) -> Option<Headers> {
        if self.is_fragment {
            return Some(self);
        }
        match self.protocol {
            6 | 17 => {
                self.ports = Some((be16(rest, 0)?, be16(rest, 2)?));
                self.tcp_flags = if self.protocol == 6 { Some(be16(rest, 12)? & 0x1ff) } else { None };
            }
            1 | 58 => self.icmp = Some((*rest.first()?, *rest.get(1)?)),
            _ => {}
        }
        Some(self)
    }
}
