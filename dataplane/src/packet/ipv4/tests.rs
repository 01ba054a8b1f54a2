//! Byte vectors for IPv4 (RFC 791), and for its reasons.

use super::super::tests::build::*;
use super::super::*;

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
fn options_are_skipped() {
    let options = [7, 7, 4, 0, 0, 0, 0, 0, 1, 1, 1, 1];
    let headers = parse(&frame(&[&ip4(17, 0, 40, &options), &UDP])).unwrap();
    assert_eq!((headers.ip_length, headers.upper), (40, UDP_PORTS));
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
fn ipv4_reasons() {
    let good = ip4(17, 0, 28, &[]);
    let first = |byte| {
        let mut header = good.clone();
        header[2] = byte;
        [header, UDP.to_vec()].concat()
    };
    for (packet, reason) in [
        (good[..21].to_vec(), Unparsed::ShortIpv4),
        (good[..2].to_vec(), Unparsed::ShortIpv4),
        (ip4(17, 0, 40, &[1; 12])[..30].to_vec(), Unparsed::ShortIpv4),
        (first(0x55), Unparsed::BadIpv4),
        (first(0x44), Unparsed::BadIpv4),
        (ip4(17, 0, 0, &[]), Unparsed::Ipv4Length),
        (ip4(17, 0, 19, &[]), Unparsed::Ipv4Length),
        (ip4(17, 0, 31, &[1; 12]), Unparsed::Ipv4Length),
    ] {
        assert_eq!(parse(&frame(&[&packet])), Err(reason), "{packet:x?}");
    }
}
