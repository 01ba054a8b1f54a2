//! Octets written by hand from RFC 8955 section 4.2 and RFC 8956 section 3: each component, each operator that we send, each
//! width of a value, and the limits of lengths.

use super::*;

/// One component beside the prefix that every rule has, and its octets.
fn components() -> Vec<(FlowRule, &'static str)> {
    let pair = |low, high| [(low, high)].into_iter().collect::<Ranges>();
    let any = FlowRule::default;
    vec![
        // 4.2.2.3 to 4.2.2.6: protocol, port, destination port, source port.
        (FlowRule { protocols: 17.into(), ..any() }, "03 8111"),
        (FlowRule { protocols: [(6, 6), (17, 17)].into_iter().collect(), ..any() }, "03 0106 8111"),
        (FlowRule { protocols: pair(0, 255), ..any() }, "03 0300 c5ff"),
        (FlowRule { ports: 0.into(), ..any() }, "04 8100"),
        (FlowRule { ports: 255.into(), ..any() }, "04 81ff"),
        (FlowRule { ports: 256.into(), ..any() }, "04 910100"),
        (FlowRule { destination_ports: pair(137, 139), ..any() }, "05 0389 c58b"),
        (
            FlowRule { destination_ports: [(53, 53), (1024, 2048)].into_iter().collect(), ..any() },
            "05 0135 130400 d50800",
        ),
        (FlowRule { source_ports: pair(0, 65_535), ..any() }, "06 0300 d5ffff"),
        (
            FlowRule { source_ports: [1, 3, 5, 7, 9].map(|at| (at, at)).into_iter().collect(), ..any() },
            "06 0101 0103 0105 0107 8109",
        ),
        // 4.2.2.7 and 4.2.2.8: ICMP.
        (FlowRule { icmp_types: 8.into(), ..any() }, "07 8108"),
        (FlowRule { icmp_codes: pair(0, 3), ..any() }, "08 0300 c503"),
        // 4.2.2.9: TCP flags. All set; all clear; set and clear; any of two; two octets.
        (FlowRule { tcp_flags: vec![set(0x02)], ..any() }, "09 8002"),
        (FlowRule { tcp_flags: vec![set(0x12)], ..any() }, "09 8112"),
        (FlowRule { tcp_flags: vec![bits(0, 0x10)], ..any() }, "09 8210"),
        (FlowRule { tcp_flags: vec![bits(0x02, 0x10)], ..any() }, "09 0102 c210"),
        (FlowRule { tcp_flags: vec![set(0x01), set(0x04)], ..any() }, "09 8005"),
        (FlowRule { tcp_flags: vec![bits(0, 0x10), set(0x02)], ..any() }, "09 0002 8210"),
        (FlowRule { tcp_flags: vec![bits(0x100, 0x01)], ..any() }, "09 110100 c201"),
        // 4.2.2.10 and 4.2.2.11: length, DSCP.
        (FlowRule { packet_lengths: pair(468, 500), ..any() }, "0a 1301d4 d501f4"),
        (FlowRule { packet_lengths: 65_535.into(), ..any() }, "0a 91ffff"),
        (FlowRule { dscps: pair(0, 63), ..any() }, "0b 0300 c53f"),
        // 4.2.2.12: fragment.
        (FlowRule { fragments: vec![set(fragment::IS.into())], ..any() }, "0c 8002"),
        (FlowRule { fragments: vec![set(fragment::IS.into()), set(fragment::FIRST.into())], ..any() }, "0c 8006"),
        (FlowRule { fragments: vec![bits(0, u16::from(fragment::IS | fragment::FIRST))], ..any() }, "0c 8206"),
        (FlowRule { fragments: vec![set(u16::from(fragment::IS | fragment::LAST))], ..any() }, "0c 810a"),
    ]
}

fn with_prefix(mut rule: FlowRule, family: Family, octets: &str) -> (FlowRule, Vec<u8>) {
    let (destination, prefix) = match family {
        Family::V4 => ("192.0.2.1/32", "0120c0000201"),
        Family::V6 => ("2001:db8::/33", "0121 00 20010db800"),
    };
    rule.destination = net(destination);
    let body = [hex(prefix), hex(octets)].concat();
    (rule, [&[body.len() as u8], &body[..]].concat())
}

#[test]
fn every_component_and_operator_in_both_families() {
    let only_v4 = [
        (FlowRule { fragments: vec![set(fragment::DONT.into())], ..FlowRule::default() }, "0c 8001"),
        (FlowRule { fragments: vec![set(15)], ..FlowRule::default() }, "0c 810f"),
    ];
    let only_v6 = [
        (FlowRule { flow_labels: 0.into(), ..FlowRule::default() }, "0d 8100"),
        (FlowRule { flow_labels: 0xabcde.into(), ..FlowRule::default() }, "0d a1000abcde"),
        (FlowRule { flow_labels: [(1, 0xf_ffff)].into_iter().collect(), ..FlowRule::default() }, "0d 0301 e5000fffff"),
    ];
    for (family, own) in [(Family::V4, &only_v4[..]), (Family::V6, &only_v6[..])] {
        for (rule, octets) in components().into_iter().chain(own.iter().cloned()) {
            let (mut rule, nlri) = with_prefix(rule, family, octets);
            assert_eq!(encode(&rule), Ok(nlri.clone()), "{rule}");
            // What decoding gives is sorted.
            rule.tcp_flags.sort_unstable();
            rule.fragments.sort_unstable();
            assert_eq!(decode(family, &nlri), Ok(rule), "{octets}");
        }
    }
}

/// 4.2.2.1 and 4.2.2.2, RFC 8956 section 3.1: as many octets as the length needs, bits behind it dropped.
#[test]
fn prefixes_of_every_shape() {
    for (prefix, octets) in [
        ("0.0.0.0/0", "00"),
        ("128.0.0.0/1", "01 80"),
        ("192.0.2.129/25", "19 c0000280"),
        ("198.18.0.0/15", "0f c612"),
        ("203.0.113.255/24", "18 cb0071"),
        ("::/0", "00 00"),
        ("2001:db8::/32", "20 00 20010db8"),
        ("2001:db8:ffff::/33", "21 00 20010db880"),
        ("2001:db8::1/128", "80 00 20010db8000000000000000000000001"),
    ] {
        let family = if prefix.contains(':') { Family::V6 } else { Family::V4 };
        for kind in ["01", "02"] {
            let prefix: IpNet = prefix.parse().unwrap();
            let rule = |prefix| match kind {
                "01" => FlowRule { destination: Some(prefix), ..FlowRule::default() },
                _ => FlowRule { source: Some(prefix), ..FlowRule::default() },
            };
            let body = hex(&format!("{kind}{octets}"));
            let nlri = [&[body.len() as u8], &body[..]].concat();
            assert_eq!(encode(&rule(prefix)), Ok(nlri.clone()), "{prefix}");
            assert_eq!(decode(family, &nlri), Ok(rule(prefix.trunc())), "{prefix}");
        }
    }
}

/// Section 4.1: one octet of length up to 239, two from there on. Others may send what is longer than we do.
#[test]
fn both_forms_of_length() {
    // So many ports that the rule has exactly this many octets behind its length: 6 of the prefix, 1 of the type, 3 each.
    let long = |ports: u16| {
        let mut nlri = hex("0120c0000201 04");
        for port in 1..=ports {
            nlri.extend([if port == ports { 0x91 } else { 0x11 }, 1, port as u8]);
        }
        nlri
    };
    for (ports, length) in [(77, &[238][..]), (78, &[0xf0, 241]), (200, &[0xf2, 0x5f])] {
        let body = long(ports);
        let rule = decode(Family::V4, &[length, &body].concat()).expect("right by the RFC");
        assert_eq!(rule.ports.iter().collect::<Vec<_>>(), [(0x101, 0x100 + u32::from(ports))]);
        // The other form, one more, one less.
        let other = [0xf0 | (body.len() >> 8) as u8, body.len() as u8];
        assert!(decode(Family::V4, &[&other[..], &body].concat()).is_ok());
        for wrong in [body.len() - 1, body.len() + 1] {
            let length = [0xf0 | (wrong >> 8) as u8, wrong as u8];
            let found = decode(Family::V4, &[&length[..], &body].concat());
            assert_eq!(found, Err(Error::Length { says: wrong, are: body.len() }));
        }
    }
}
