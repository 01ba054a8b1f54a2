//! Byte vectors for IPv6 (RFC 8200), its extension headers and jumbograms (RFC 2675), and for their reasons.

use super::super::tests::build::*;
use super::super::*;

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

/// RFC 6275 section 6.1.1, RFC 7401 section 5.1, RFC 5533 section 5.1.
#[test]
fn mobility_hip_and_shim6_are_extension_headers() {
    for protocol in [135, 139, 140] {
        let header = [17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let headers = parse(&frame(&[&ip6(protocol, 24), &header, &UDP])).unwrap();
        assert_eq!((headers.protocol, headers.class, headers.upper), (17, Class::Udp, UDP_PORTS), "{protocol}");
    }
}

/// RFC 2675 section 2: the length of 65,536 and more is in an option.
#[test]
fn jumbograms_have_their_true_length() {
    let option = |length: u32| [&[17, 0, 0xc2, 4][..], &length.to_be_bytes()].concat();
    for (length, ip_length) in [(0x1_0000, 65_576), (0x1234_5678, 0x1234_56a0), (u32::MAX, u32::MAX)] {
        let headers = parse(&frame(&[&ip6(0, 0), &option(length), &UDP])).unwrap();
        assert_eq!((headers.ip_length, headers.upper), (ip_length, UDP_PORTS));
    }
    // Behind padding (RFC 8200 section 4.2) and an option that nobody knows.
    let behind = [17, 1, 0, 1, 1, 0, 0x3e, 0, 0xc2, 4, 0, 1, 0, 0, 0, 0];
    let headers = parse(&frame(&[&ip6(0, 0), &behind, &UDP])).unwrap();
    assert_eq!((headers.ip_length, headers.upper), (65_576, UDP_PORTS));
}

/// RFC 2675 section 3.
#[test]
fn jumbo_lengths_that_lie() {
    let reason = |hop_by_hop: &[u8]| parse(&frame(&[&ip6(0, 0), hop_by_hop])).unwrap_err();
    assert_eq!(reason(&[17, 0, 0xc2, 4, 0, 0, 0xff, 0xff]), Unparsed::JumboLength, "no need for an option");
    assert_eq!(reason(&[17, 0, 1, 4, 0, 0, 0, 0]), Unparsed::JumboLength, "no option");
    assert_eq!(reason(&[17, 0, 0xc2, 3, 0, 1, 0, 0]), Unparsed::JumboLength, "not its length");
    assert_eq!(reason(&[17, 0, 1, 9, 0, 0, 0, 0]), Unparsed::JumboLength, "an option beyond the header");
    // What the frame no longer has may have been the option.
    assert_eq!(reason(&[]), Unparsed::ShortIpv6);
    assert_eq!(reason(&[17, 0, 0xc2, 4, 0, 1, 0]), Unparsed::ShortIpv6);
    assert_eq!(reason(&[17, 1, 1, 4, 0, 0, 0, 0, 0xc2, 4, 0, 1]), Unparsed::ShortIpv6);
    // Behind more options than are looked at.
    let header =
        |padding: usize| [&[17, 2][..], &vec![0; padding], &[0xc2, 4, 0, 1, 0, 0], &vec![0; 16 - padding]].concat();
    assert!(parse(&frame(&[&ip6(0, 0), &header(OPTIONS_MAX - 1)])).is_ok());
    assert_eq!(reason(&header(OPTIONS_MAX)), Unparsed::JumboLength);
}

#[test]
fn ipv6_reasons() {
    let mut version = ip6(17, 8);
    version[2] = 0x40;
    for (packet, reason) in [
        (ip6(17, 8)[..2].to_vec(), Unparsed::ShortIpv6),
        (ip6(17, 8)[..41].to_vec(), Unparsed::ShortIpv6),
        (version, Unparsed::BadIpv6),
    ] {
        assert_eq!(parse(&frame(&[&packet])), Err(reason), "{packet:x?}");
    }
}
