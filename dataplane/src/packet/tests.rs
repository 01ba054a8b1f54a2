//! Byte vectors for what lies above the IP header, and for what all layers have in common.

pub(in crate::packet) mod build;
mod oracle;
mod properties;
mod recipe;

use super::*;
use build::*;

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
fn reasons_are_numbered_and_named() {
    for (index, reason) in Unparsed::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, index);
    }
    let names: std::collections::HashSet<_> = Unparsed::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), Unparsed::COUNT);
}
