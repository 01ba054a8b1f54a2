//! Byte vectors for each header and each reason, and properties against etherparse.

use etherparse::{
    Icmpv4Type, Icmpv6Type, IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv4Options, Ipv6ExtensionSlice,
    Ipv6Extensions, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, Ipv6RoutingExtensions, NetSlice, PacketBuilder,
    SlicedPacket, TcpHeader, TcpHeaderSlice, UdpHeaderSlice,
};
use proptest::prelude::*;

use super::*;

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

fn frame(parts: &[&[u8]]) -> Vec<u8> {
    [&MACS[..]].iter().chain(parts).flat_map(|part| part.iter().copied()).collect()
}

/// 192.0.2.1 to 198.51.100.2, DSCP 46, TTL 64.
fn ip4(protocol: u8, offset_field: u16, total_length: u16, options: &[u8]) -> Vec<u8> {
    let [length_high, length_low] = total_length.to_be_bytes();
    let [offset_high, offset_low] = offset_field.to_be_bytes();
    let version_and_length = 0x45 + options.len() as u8 / 4;
    let mut header = vec![0x08, 0x00, version_and_length, 46 << 2, length_high, length_low, 0, 1];
    header.extend([offset_high, offset_low, 64, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2]);
    header.extend(options);
    header
}

/// 2001:db8::1 to 2001:db8::2, traffic class 0xb9, flow label 0xabcde, hop limit 63.
fn ip6(next: u8, payload_length: u16) -> Vec<u8> {
    let [high, low] = payload_length.to_be_bytes();
    let mut header = vec![0x86, 0xdd, 0x6b, 0x9a, 0xbc, 0xde, high, low, next, 63];
    for last in [1, 2] {
        header.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    header
}

/// Port 53 to 4096.
const UDP: [u8; 8] = [0, 53, 16, 0, 0, 8, 0, 0];
const UDP_PORTS: Upper = Upper::Ports { source: 53, destination: 4096 };

fn tcp(flags: [u8; 2]) -> Vec<u8> {
    vec![0x01, 0xbb, 0xc0, 0x00, 0, 0, 0, 1, 0, 0, 0, 2, flags[0], flags[1], 0, 0, 0, 0, 0, 0]
}

#[test]
fn ipv4_udp() {
    let expected = Headers {
        addresses: Addresses::V4 { source: 0xc000_0201, destination: 0xc633_6402 },
        protocol: 17,
        class: Class::Udp,
        fragment: 0,
        dscp: 46,
        ttl: 64,
        ip_length: 28,
        flow_label: 0,
        upper: UDP_PORTS,
    };
    assert_eq!(parse(&frame(&[&ip4(17, 0, 28, &[]), &UDP])), Ok(expected));
}

#[test]
fn a_flow_has_ports_only_where_the_protocol_has_any() {
    const PORTS: u64 = 53 << 16 | 4096;
    let upper4 = |protocol, offset| match network(&frame(&[&ip4(protocol, offset, 28, &[]), &UDP])) {
        Ok(Network::V4(packet)) => flow_v4(packet, &outline_v4(packet).expect("a packet")).upper,
        other => panic!("{other:?}"),
    };
    for protocol in [6, 17, 33, 132, 136] {
        assert_eq!(upper4(protocol, 0), u64::from(protocol) << 32 | PORTS, "{protocol}");
        // The first fragment has them, a later one has not.
        assert_eq!(upper4(protocol, 0x2000), u64::from(protocol) << 32 | PORTS, "{protocol}");
        assert_eq!(upper4(protocol, 7), u64::from(protocol) << 32, "{protocol}");
    }
    // What stands there in ICMP is a checksum, which differs from packet to packet.
    assert_eq!([1, 47, 50].map(|protocol| upper4(protocol, 0)), [1 << 32, 47 << 32, 50 << 32]);
    let upper6 = |frame: &[u8]| match network(frame) {
        Ok(Network::V6(packet)) => flow_v6(packet).expect("a packet").upper,
        other => panic!("{other:?}"),
    };
    assert_eq!(upper6(&frame(&[&ip6(17, 8), &UDP])), 17 << 32 | PORTS);
    let options = [17, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(upper6(&frame(&[&ip6(60, 16), &options, &UDP])), 17 << 32 | PORTS);
}

#[test]
fn the_plain_path_is_taken_by_plain_packets_alone() {
    let plain = |packet: &[u8]| Plain::of(&frame(&[packet])).map(|plain| plain.class());
    let whole = |protocol, offset, options: &[u8]| ip4(protocol, offset, 60, options);
    assert_eq!(plain(&whole(17, 0, &[])), Some(Class::Udp));
    assert_eq!(plain(&whole(17, 0x4000, &[])), Some(Class::Udp), "don't fragment");
    assert_eq!(plain(&[whole(6, 0, &[]), tcp([0x50, 0x02])].concat()), Some(Class::TcpSyn));
    assert_eq!(plain(&whole(17, 0x2000, &[])), None, "first fragment");
    assert_eq!(plain(&whole(17, 7, &[])), None, "later fragment");
    assert_eq!(plain(&whole(17, 0, &[1; 4])), None, "options");
    assert_eq!(plain(&ip4(17, 0, 19, &[])), None, "a length that lies");
    assert_eq!(plain(&[&[0x81, 0x00, 0, 1], &*whole(17, 0, &[])].concat()), None, "a tag");
    assert!(Plain::of(&[]).is_none());
}

#[test]
fn ipv6_udp() {
    let expected = Headers {
        addresses: Addresses::V6 {
            source: 0x2001_0db8_0000_0000_0000_0000_0000_0001,
            destination: 0x2001_0db8_0000_0000_0000_0000_0000_0002,
        },
        protocol: 17,
        class: Class::Udp,
        fragment: 0,
        dscp: 0xb9 >> 2,
        ttl: 63,
        ip_length: 48,
        flow_label: 0xabcde,
        upper: UDP_PORTS,
    };
    assert_eq!(parse(&frame(&[&ip6(17, 8), &UDP])), Ok(expected));
}

#[test]
fn tcp_flags_and_classes() {
    let parsed = |flags| parse(&frame(&[&ip4(6, 0, 40, &[]), &tcp(flags)])).unwrap();
    for (bytes, flags, class) in [
        ([0x50, 0x02], 0x002, Class::TcpSyn),
        ([0x50, 0xc2], 0x0c2, Class::TcpSyn),
        ([0x50, 0x12], 0x012, Class::Tcp),
        ([0x50, 0x10], 0x010, Class::Tcp),
        ([0x50, 0x00], 0x000, Class::Tcp),
        ([0xf1, 0xff], 0x1ff, Class::Tcp),
    ] {
        let headers = parsed(bytes);
        assert_eq!(headers.upper, Upper::Tcp { source: 443, destination: 0xc000, flags });
        assert_eq!(headers.class, class, "{bytes:x?}");
    }
}

#[test]
fn icmp_belongs_to_its_family() {
    let parsed = |header: Vec<u8>| parse(&frame(&[&header, &[3, 4, 0, 0, 0, 0, 0, 0]])).unwrap();
    let icmp = Upper::Icmp { kind: 3, code: 4 };
    for (header, class, upper) in [
        (ip4(1, 0, 28, &[]), Class::Icmp, icmp),
        (ip4(58, 0, 28, &[]), Class::Other, Upper::None),
        (ip6(58, 8), Class::Icmp, icmp),
        (ip6(1, 8), Class::Other, Upper::None),
    ] {
        let headers = parsed(header);
        assert_eq!((headers.class, headers.upper), (class, upper));
    }
}

#[test]
fn other_protocols_with_and_without_ports() {
    for (protocol, upper) in [(132, UDP_PORTS), (136, UDP_PORTS), (33, UDP_PORTS), (47, Upper::None), (50, Upper::None)]
    {
        let headers = parse(&frame(&[&ip4(protocol, 0, 28, &[]), &UDP])).unwrap();
        assert_eq!((headers.protocol, headers.class, headers.upper), (protocol, Class::Other, upper));
    }
}

#[test]
fn options_are_skipped() {
    let options = [7, 7, 4, 0, 0, 0, 0, 0, 1, 1, 1, 1];
    let headers = parse(&frame(&[&ip4(17, 0, 40, &options), &UDP])).unwrap();
    assert_eq!((headers.ip_length, headers.upper), (40, UDP_PORTS));
}

#[test]
fn padding_is_not_the_packet() {
    let headers = parse(&frame(&[&ip4(17, 0, 20, &[]), &UDP])).unwrap();
    assert_eq!((headers.class, headers.ip_length, headers.upper), (Class::Udp, 20, Upper::None));
    let headers = parse(&frame(&[&ip6(17, 3), &UDP])).unwrap();
    assert_eq!((headers.class, headers.ip_length, headers.upper), (Class::Udp, 43, Upper::None));
}

#[test]
fn upper_header_behind_the_first_segment() {
    for cut in 0..4 {
        let headers = parse(&frame(&[&ip4(17, 0, 1500, &[]), &UDP[..cut]])).unwrap();
        assert_eq!((headers.class, headers.ip_length, headers.upper), (Class::Udp, 1500, Upper::None));
    }
    for (length, upper) in [(13, Upper::None), (14, Upper::Tcp { source: 443, destination: 0xc000, flags: 2 })] {
        assert_eq!(parse(&frame(&[&ip6(6, 20), &tcp([0x50, 2])[..length]])).unwrap().upper, upper);
    }
    assert_eq!(parse(&frame(&[&ip4(1, 0, 28, &[]), &[8]])).unwrap().upper, Upper::None);
}

#[test]
fn tags_of_every_kind_up_to_four() {
    let tags: [&[u8]; 4] = [&[0x88, 0xa8, 0, 1], &[0x91, 0x00, 0, 2], &[0x81, 0x00, 0, 3], &[0x81, 0x00, 0xe0, 4]];
    let packet = [ip4(17, 0, 28, &[]), UDP.to_vec()].concat();
    let untagged = parse(&frame(&[&packet]));
    for count in 1..=4 {
        let tagged = frame(&[&tags[..count].concat(), &packet]);
        assert_eq!(parse(&tagged), untagged, "{count} tags");
        assert_eq!(parse(&tagged[..12 + 4 * count + 1]), Err(Unparsed::ShortEthernet));
    }
    assert_eq!(parse(&frame(&[&tags.concat(), tags[2], &packet])), Err(Unparsed::TooManyTags));
}

#[test]
fn ipv4_fragments() {
    use fragment::*;
    for (field, bits, upper) in [
        (0x0000, 0, UDP_PORTS),
        (0x4000, DONT, UDP_PORTS),
        (0x2000, FIRST, UDP_PORTS),
        (0x2001, IS, Upper::None),
        (0x00b9, IS | LAST, Upper::None),
        (0x6001, DONT | IS, Upper::None),
    ] {
        let headers = parse(&frame(&[&ip4(17, field, 28, &[]), &UDP])).unwrap();
        assert_eq!((headers.fragment, headers.upper, headers.class), (bits, upper, Class::Udp), "{field:04x}");
    }
}

#[test]
fn ipv6_fragments() {
    use fragment::*;
    for (field, bits, upper) in [
        (0x0000_u16, 0, UDP_PORTS),
        (0x0001, FIRST, UDP_PORTS),
        (0x0009, IS, Upper::None),
        (0x0008, IS | LAST, Upper::None),
    ] {
        let [high, low] = field.to_be_bytes();
        let headers = parse(&frame(&[&ip6(44, 16), &[17, 0, high, low, 0, 0, 0, 1], &UDP])).unwrap();
        assert_eq!((headers.protocol, headers.fragment, headers.upper), (17, bits, upper), "{field:04x}");
    }
}

#[test]
fn ipv6_chain() {
    let chain: [&[u8]; 5] = [
        &[60, 0, 1, 4, 0, 0, 0, 0],
        &[43, 1, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[51, 0, 0, 0, 0, 0, 0, 0],
        &[44, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        &[17, 0, 0, 1, 0, 0, 0, 9],
    ];
    let headers = parse(&frame(&[&ip6(0, 72), &chain.concat(), &UDP])).unwrap();
    assert_eq!((headers.protocol, headers.fragment, headers.upper), (17, fragment::FIRST, UDP_PORTS));
}

#[test]
fn ipv6_chain_ends() {
    let protocol_of = |next: u8, payload: &[u8]| {
        let headers = parse(&frame(&[&ip6(next, payload.len() as u16), payload])).unwrap();
        assert_eq!((headers.class, headers.upper), (Class::Other, Upper::None));
        headers.protocol
    };
    assert_eq!(protocol_of(50, &[0; 32]), 50, "ESP");
    assert_eq!(protocol_of(59, &[0; 32]), 59, "no next header");
    assert_eq!(protocol_of(60, &[17, 0, 0]), 60, "cut short within the header");
    assert_eq!(protocol_of(60, &[43, 1, 0, 0, 0, 0, 0, 0]), 43, "cut short behind it");
    // A later fragment of what has more extension headers.
    assert_eq!(protocol_of(44, &[60, 0, 0, 8, 0, 0, 0, 1, 17, 0, 0, 0, 0, 0, 0, 0]), 60);
}

#[test]
fn ipv6_chain_bound() {
    for (count, protocol, upper) in [(EXTENSIONS_MAX, 17, UDP_PORTS), (EXTENSIONS_MAX + 1, 60, Upper::None)] {
        let mut chain = [60, 0, 1, 4, 0, 0, 0, 0].repeat(count);
        let last = chain.len() - 8;
        chain[last] = 17;
        let headers = parse(&frame(&[&ip6(60, chain.len() as u16 + 8), &chain, &UDP])).unwrap();
        assert_eq!((headers.protocol, headers.upper), (protocol, upper), "{count} headers");
    }
}

#[test]
fn ipv6_jumbogram() {
    let jumbo_option = [17, 0, 0xc2, 4, 0, 1, 0, 0];
    let headers = parse(&frame(&[&ip6(0, 0), &jumbo_option, &UDP])).unwrap();
    assert_eq!((headers.ip_length, headers.upper), (40, UDP_PORTS));
}

#[test]
fn reasons() {
    let good4 = ip4(17, 0, 28, &[]);
    let mut version4 = good4.clone();
    version4[2] = 0x55;
    let mut ihl4 = good4.clone();
    ihl4[2] = 0x44;
    let mut version6 = ip6(17, 8);
    version6[2] = 0x40;
    for (payload, reason) in [
        (vec![0x08], Unparsed::ShortEthernet),
        (vec![0x08, 0x06, 0, 1], Unparsed::NotIp),
        (vec![0x00, 0x26, 0x42, 0x42, 0x03], Unparsed::NotIp),
        (good4[..21].to_vec(), Unparsed::ShortIpv4),
        (ip4(17, 0, 40, &[1; 12])[..30].to_vec(), Unparsed::ShortIpv4),
        ([version4, UDP.to_vec()].concat(), Unparsed::BadIpv4),
        ([ihl4, UDP.to_vec()].concat(), Unparsed::BadIpv4),
        (ip4(17, 0, 19, &[]), Unparsed::BadIpv4),
        (ip4(17, 0, 31, &[1; 12]), Unparsed::BadIpv4),
        (ip6(17, 8)[..41].to_vec(), Unparsed::ShortIpv6),
        (version6, Unparsed::BadIpv6),
    ] {
        assert_eq!(parse(&frame(&[&payload])), Err(reason), "{payload:x?}");
    }
    assert_eq!(parse(&[]), Err(Unparsed::ShortEthernet));
}

#[test]
fn reasons_are_numbered_and_named() {
    for (index, reason) in Unparsed::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, index);
    }
    let names: std::collections::HashSet<_> = Unparsed::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), Unparsed::COUNT);
}

#[derive(Clone, Debug)]
enum Transport {
    Udp(u16, u16),
    Tcp(u16, u16, u16),
    Icmp(u8, u8),
    Raw(u8),
}

/// A packet that etherparse builds.
#[derive(Clone, Debug)]
struct Recipe {
    tags: Vec<u16>,
    v6: Option<Extensions>,
    addresses: (u128, u128),
    dscp_and_ecn: u8,
    ttl: u8,
    flow_label: u32,
    offset: u16,
    more: bool,
    dont: bool,
    options: usize,
    transport: Transport,
    payload: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Extensions {
    hop_by_hop: bool,
    destination: bool,
    routing: bool,
    fragment: bool,
}

impl Recipe {
    fn ip(&self) -> IpHeaders {
        let offset = IpFragOffset::try_new(self.offset).unwrap();
        let Some(extensions) = &self.v6 else {
            let mut header = Ipv4Header {
                dscp: (self.dscp_and_ecn >> 2).try_into().unwrap(),
                time_to_live: self.ttl,
                source: (self.addresses.0 as u32).to_be_bytes(),
                destination: (self.addresses.1 as u32).to_be_bytes(),
                fragment_offset: offset,
                more_fragments: self.more,
                dont_fragment: self.dont,
                ..Default::default()
            };
            header.options = Ipv4Options::try_from(&[1; 40][..self.options * 4]).unwrap();
            return IpHeaders::Ipv4(header, Default::default());
        };
        let header = Ipv6Header {
            traffic_class: self.dscp_and_ecn,
            flow_label: self.flow_label.try_into().unwrap(),
            hop_limit: self.ttl,
            source: self.addresses.0.to_be_bytes(),
            destination: self.addresses.1.to_be_bytes(),
            ..Default::default()
        };
        let raw = |length: usize| Ipv6RawExtHeader::new_raw(IpNumber::UDP, &vec![0; length]).unwrap();
        let extensions = Ipv6Extensions {
            hop_by_hop_options: extensions.hop_by_hop.then(|| raw(6)),
            destination_options: extensions.destination.then(|| raw(22)),
            routing: extensions
                .routing
                .then(|| Ipv6RoutingExtensions { routing: raw(14), final_destination_options: None }),
            fragment: extensions.fragment.then(|| Ipv6FragmentHeader::new(IpNumber::UDP, offset, self.more, 7)),
            auth: None,
        };
        IpHeaders::Ipv6(header, extensions)
    }

    fn build(&self) -> Vec<u8> {
        let mut ip = Vec::new();
        let builder = PacketBuilder::ip(self.ip());
        let payload = &self.payload;
        match (&self.transport, &self.v6) {
            (&Transport::Udp(source, destination), _) => builder.udp(source, destination).write(&mut ip, payload),
            (&Transport::Tcp(source, destination, flags), _) => {
                let mut header = TcpHeader::new(source, destination, 1, 1024);
                let bit = |at: u16| flags >> at & 1 == 1;
                (header.fin, header.syn, header.rst, header.psh) = (bit(0), bit(1), bit(2), bit(3));
                (header.ack, header.urg, header.ece, header.cwr, header.ns) = (bit(4), bit(5), bit(6), bit(7), bit(8));
                builder.tcp_header(header).write(&mut ip, payload)
            }
            (&Transport::Icmp(kind, code), None) => {
                let unknown = Icmpv4Type::Unknown { type_u8: kind, code_u8: code, bytes5to8: [0; 4] };
                builder.icmpv4(unknown).write(&mut ip, payload)
            }
            (&Transport::Icmp(kind, code), Some(_)) => {
                let unknown = Icmpv6Type::Unknown { type_u8: kind, code_u8: code, bytes5to8: [0; 4] };
                builder.icmpv6(unknown).write(&mut ip, payload)
            }
            (&Transport::Raw(protocol), _) => builder.write(&mut ip, IpNumber(protocol), payload),
        }
        .unwrap();
        let tags: Vec<u8> = self.tags.iter().flat_map(|tag| [(tag >> 8) as u8, *tag as u8, 0, 5]).collect();
        let ethertype: [u8; 2] = if self.v6.is_some() { [0x86, 0xdd] } else { [0x08, 0x00] };
        frame(&[&tags, &ethertype, &ip])
    }

    /// What was built, in our words.
    fn headers(&self, length: usize) -> Headers {
        let fragmentable = self.v6.as_ref().is_none_or(|extensions| extensions.fragment);
        let (offset, more) = if fragmentable { (self.offset, self.more) } else { (0, false) };
        let dont = if self.dont && self.v6.is_none() { fragment::DONT } else { 0 };
        let (protocol, class, upper) = match self.transport {
            Transport::Udp(source, destination) => (17, Class::Udp, Upper::Ports { source, destination }),
            Transport::Tcp(source, destination, flags) => {
                let syn = flags & 0x02 != 0 && flags & 0x10 == 0;
                (6, if syn { Class::TcpSyn } else { Class::Tcp }, Upper::Tcp { source, destination, flags })
            }
            Transport::Icmp(kind, code) => {
                (if self.v6.is_some() { 58 } else { 1 }, Class::Icmp, Upper::Icmp { kind, code })
            }
            Transport::Raw(protocol) => (protocol, Class::Other, Upper::None),
        };
        let (class, upper) = match (offset, class) {
            (0, _) => (class, upper),
            (_, Class::TcpSyn) => (Class::Tcp, Upper::None),
            _ => (class, Upper::None),
        };
        let (source, destination) = self.addresses;
        Headers {
            addresses: match self.v6 {
                Some(_) => Addresses::V6 { source, destination },
                None => Addresses::V4 { source: source as u32, destination: destination as u32 },
            },
            protocol,
            class,
            fragment: dont
                | if offset != 0 { fragment::IS } else { 0 }
                | if offset != 0 && !more { fragment::LAST } else { 0 }
                | if offset == 0 && more { fragment::FIRST } else { 0 },
            dscp: self.dscp_and_ecn >> 2,
            ttl: self.ttl,
            ip_length: (length - 14 - 4 * self.tags.len()) as u32,
            flow_label: if self.v6.is_some() { self.flow_label } else { 0 },
            upper,
        }
    }
}

prop_compose! {
    fn recipe()(
        tags in prop::collection::vec(prop::sample::select(vec![0x8100, 0x88a8, 0x9100]), 0..=3),
        v6 in prop::option::of(any::<[bool; 4]>()),
        addresses in any::<(u128, u128)>(),
        (dscp_and_ecn, ttl, flow_label) in (any::<u8>(), any::<u8>(), 0_u32..1 << 20),
        (offset, more, dont) in (prop_oneof![Just(0_u16), 0_u16..1 << 13], any::<bool>(), any::<bool>()),
        options in 0..=10_usize,
        transport in prop_oneof![
            any::<(u16, u16)>().prop_map(|(source, destination)| Transport::Udp(source, destination)),
            (any::<u16>(), any::<u16>(), 0_u16..1 << 9)
                .prop_map(|(source, destination, flags)| Transport::Tcp(source, destination, flags)),
            any::<(u8, u8)>().prop_map(|(kind, code)| Transport::Icmp(kind, code)),
            prop::sample::select(vec![47, 50, 89, 253]).prop_map(Transport::Raw),
        ],
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) -> Recipe {
        let v6 = v6.map(|[hop_by_hop, destination, routing, fragment]| {
            Extensions { hop_by_hop, destination, routing, fragment }
        });
        Recipe { tags, v6, addresses, dscp_and_ecn, ttl, flow_label, offset, more, dont, options, transport, payload }
    }
}

/// What etherparse makes of a frame, in our words; `None` where it refuses it or says less than we do.
fn oracle(frame: &[u8]) -> Option<Headers> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let (addresses, dscp, ttl, ip_length, flow_label, bits, payload, icmp) = match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) if ip.extensions().is_empty() => {
            let header = ip.header();
            let source = u32::from_be_bytes(header.source());
            let destination = u32::from_be_bytes(header.destination());
            let offset = header.fragments_offset().value();
            let dont = if header.dont_fragment() { fragment::DONT } else { 0 };
            let bits = dont | oracle_bits(offset, header.more_fragments());
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
                    bits |= oracle_bits(fragment.fragment_offset().value(), fragment.more_fragments());
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
        33 | 132 | 136 => return None,
        _ => (Class::Other, Upper::None),
    };
    Some(Headers { addresses, protocol, class, fragment: bits, dscp, ttl, ip_length, flow_label, upper })
}

fn oracle_bits(offset: u16, more: bool) -> u8 {
    match (offset, more) {
        (0, true) => fragment::FIRST,
        (0, false) => 0,
        (_, true) => fragment::IS,
        (_, false) => fragment::IS | fragment::LAST,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 2000 }, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), ethertype in 0..4_usize) {
        let _ = parse(&bytes);
        let ethertype = [[0x08, 0x00], [0x86, 0xdd], [0x81, 0x00], [0x88, 0xa8]][ethertype];
        let _ = parse(&frame(&[&ethertype, &bytes]));
    }

    /// Where the plain path answers, the whole path gives the same.
    #[test]
    fn the_plain_path_agrees(recipe in recipe(), at in any::<prop::sample::Index>(), flip: u8, cut in any::<prop::sample::Index>()) {
        let mut frame = recipe.build();
        let at = at.index(frame.len());
        frame[at] ^= flip & (flip >> 1);
        frame.truncate(frame.len().min(cut.index(4 * frame.len()) + 1));
        if let Some(plain) = Plain::of(&frame) {
            let whole = parse(&frame);
            let Outline { source, destination, class, is_fragment, ip_length } = plain.outline();
            prop_assert!(!is_fragment && ip_length == u32::from(plain.ip_length()));
            prop_assert_eq!((source, destination, class), (plain.source(), plain.destination(), plain.class()));
            let said = whole.map(|whole| Headers {
                addresses: Addresses::V4 { source, destination },
                protocol: plain.protocol(),
                class,
                fragment: plain.fragment(),
                dscp: plain.dscp(),
                ip_length,
                upper: plain.upper(),
                ..whole
            });
            prop_assert_eq!(said, whole);
            let outline = match network(&frame) {
                Ok(Network::V4(packet)) => outline_v4(packet),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(outline, Ok(plain.outline()));
        }
    }

    #[test]
    fn built_packets_come_out_as_built(recipe in recipe()) {
        let frame = recipe.build();
        prop_assert_eq!(parse(&frame), Ok(recipe.headers(frame.len())));
        if let Some(headers) = oracle(&frame) {
            prop_assert_eq!(headers, recipe.headers(frame.len()), "the oracle itself");
        }
    }

    /// A packet cut short never panics, and says nothing but what the whole one says.
    #[test]
    fn truncated_packets_say_no_more(recipe in recipe(), at in any::<prop::sample::Index>()) {
        let frame = recipe.build();
        let whole = parse(&frame).unwrap();
        if let Ok(cut) = parse(&frame[..at.index(frame.len())]) {
            prop_assert_eq!(cut.addresses, whole.addresses);
            prop_assert_eq!(cut.ip_length, whole.ip_length);
            prop_assert!(cut.upper == whole.upper || cut.upper == Upper::None);
        }
    }

    /// A flow is what `parse` says of addresses, protocol and ports; it asks for no more of a TCP header than these.
    #[test]
    fn flows_are_what_headers_say(
        recipe in recipe(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut frame = recipe.build();
        for (at, value) in damage {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        let flow = network(&frame).and_then(|network| match network {
            Network::V4(packet) => outline_v4(packet).map(|outline| flow_v4(packet, &outline)).map(|Flow { source, destination, upper }| {
                (Addresses::V4 { source, destination }, upper)
            }),
            Network::V6(packet) => flow_v6(packet).map(|Flow { source, destination, upper }| {
                (Addresses::V6 { source, destination }, upper)
            }),
        });
        let expected = parse(&frame).map(|headers| {
            let ports = match headers.upper {
                Upper::Ports { source, destination } | Upper::Tcp { source, destination, .. } => {
                    u64::from(source) << 16 | u64::from(destination)
                }
                _ => 0,
            };
            (headers.addresses, u64::from(headers.protocol) << 32 | ports, headers.upper)
        });
        match (flow, expected) {
            (Ok((addresses, upper)), Ok((expected, expected_upper, told))) => {
                prop_assert_eq!(addresses, expected);
                let short = told == Upper::None && upper >> 32 == expected_upper >> 32;
                prop_assert!(upper == expected_upper || short, "{:x} is not {:x}", upper, expected_upper);
            }
            (flow, expected) => prop_assert_eq!(flow.err(), expected.err()),
        }
    }

    #[test]
    fn agrees_with_etherparse_on_damaged_packets(
        recipe in recipe(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut frame = recipe.build();
        for (at, value) in damage {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        if let Some(headers) = oracle(&frame) {
            prop_assert_eq!(parse(&frame), Ok(headers));
        }
    }
}
