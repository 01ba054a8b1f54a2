//! What etherparse makes of a packet, in our words.

use etherparse::{EtherType, Ipv6ExtensionSlice, NetSlice, SlicedPacket, TcpHeaderSlice, UdpHeaderSlice};

use super::super::*;

/// `None` where it refuses the frame or says less than we do.
pub(super) fn of_frame(frame: &[u8]) -> Option<Headers> {
    headers(&SlicedPacket::from_ethernet(frame).ok()?)
}

/// The same for an IP packet without the layers below, of which etherparse knows few.
pub(super) fn of_packet(network: Network<'_>) -> Option<Headers> {
    let packet = match network {
        Network::V4(packet) => SlicedPacket::from_ether_type(EtherType::IPV4, packet),
        Network::V6(packet) => SlicedPacket::from_ether_type(EtherType::IPV6, packet),
    };
    headers(&packet.ok()?)
}

fn headers(packet: &SlicedPacket<'_>) -> Option<Headers> {
    let (addresses, dscp, ttl, ip_length, flow_label, bits, payload, icmp) = match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) if ip.extensions().is_empty() => {
            let header = ip.header();
            let source = u32::from_be_bytes(header.source());
            let destination = u32::from_be_bytes(header.destination());
            let offset = header.fragments_offset().value();
            let dont = if header.dont_fragment() { fragment::DONT } else { 0 };
            let bits = dont | fragment_bits_of(offset, header.more_fragments());
            let length = u32::from(header.total_len());
            let addresses = Addresses::V4 { source, destination };
            (addresses, header.dcp().value(), header.ttl(), length, 0, bits, ip.payload(), 1)
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            // To etherparse a length of 0 means the rest of the frame.
            if header.payload_length() == 0 {
                return None;
            }
            let source = u128::from_be_bytes(header.source());
            let destination = u128::from_be_bytes(header.destination());
            let mut bits = 0;
            for (count, extension) in ip.extensions().clone().into_iter().enumerate() {
                if count == EXTENSIONS_MAX || bits & fragment::IS != 0 {
                    return None;
                }
                if let Ipv6ExtensionSlice::Fragment(fragment) = extension {
                    bits |= fragment_bits_of(fragment.fragment_offset().value(), fragment.more_fragments());
                }
            }
            let length = u32::from(header.payload_length()) + 40;
            let addresses = Addresses::V6 { source, destination };
            let label = header.flow_label().value();
            (addresses, header.traffic_class() >> 2, header.hop_limit(), length, label, bits, ip.payload(), 58)
        }
        _ => return None,
    };
    let protocol = payload.ip_number.0;
    // In a first fragment etherparse leaves the transport header alone; in a later one so do we.
    let bytes = if bits & fragment::IS == 0 { payload.payload } else { &[] };
    let (class, upper) = match protocol {
        6 if bits & fragment::IS != 0 => (Class::Tcp, Upper::None),
        6 => {
            let tcp = TcpHeaderSlice::from_slice(bytes).ok()?;
            let class = if tcp.syn() && !tcp.ack() { Class::TcpSyn } else { Class::Tcp };
            let flags = u16::from_be_bytes([tcp.slice()[12], tcp.slice()[13]]) & 0x0fff;
            (class, Upper::Tcp { source: tcp.source_port(), destination: tcp.destination_port(), flags })
        }
        17 if bits & fragment::IS != 0 => (Class::Udp, Upper::None),
        17 => {
            let udp = UdpHeaderSlice::from_slice(bytes).ok()?;
            (Class::Udp, Upper::Ports { source: udp.source_port(), destination: udp.destination_port() })
        }
        1 | 58 if protocol != icmp => (Class::Other, Upper::None),
        1 | 58 if bits & fragment::IS != 0 => (Class::Icmp, Upper::None),
        1 | 58 => (Class::Icmp, Upper::Icmp { kind: *bytes.first()?, code: *bytes.get(1)? }),
        // We know ports there, or go on behind them.
        33 | 132 | 136 | 135 | 139 | 140 => return None,
        _ => (Class::Other, Upper::None),
    };
    Some(Headers { addresses, protocol, class, fragment: bits, dscp, ttl, ip_length, flow_label, upper })
}

fn fragment_bits_of(offset: u16, more: bool) -> u8 {
    match (offset, more) {
        (0, true) => fragment::FIRST,
        (0, false) => 0,
        (_, true) => fragment::IS,
        (_, false) => fragment::IS | fragment::LAST,
    }
}
