//! Vectors of the RFCs, every refusal, and the rule against an independent reading of its encoding.

use proptest::prelude::*;

use super::lanes::LANES;
use super::nlri::{Error, decode, encode};
use super::*;
use crate::packet::{Class, fragment};

mod differential;
mod literal;
mod vectors;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn net(text: &str) -> Option<IpNet> {
    Some(text.parse().unwrap())
}

fn to(text: &str) -> FlowRule {
    FlowRule { destination: net(text), ..FlowRule::default() }
}

const fn set(set: u16) -> Bits {
    Bits { set, clear: 0 }
}

const fn bits(set: u16, clear: u16) -> Bits {
    Bits { set, clear }
}

#[test]
fn ranges_are_normal() {
    let ranges: Ranges = [(9, 7), (1, 3), (4, 5), (2, 2), (u32::MAX, u32::MAX)].into_iter().collect();
    assert_eq!(ranges.iter().collect::<Vec<_>>(), [(1, 5), (7, 9), (u32::MAX, u32::MAX)]);
    assert_eq!(ranges.items(), 5);
    assert!(ranges.contains(5) && !ranges.contains(6) && ranges.contains(7) && !ranges.contains(0));
}

#[test]
fn rfc_8955_section_4_3() {
    for (vector, rule) in [
        ("0b 0118c00002 038106 048119", FlowRule { protocols: 6.into(), ports: 25.into(), ..to("192.0.2.0/24") }),
        (
            "12 0118c00002 0218cb0071 040389458b911f90",
            FlowRule {
                source: net("203.0.113.0/24"),
                ports: [(137, 139), (8080, 8080)].into_iter().collect(),
                ..to("192.0.2.0/24")
            },
        ),
        ("09 0120c0000201 0c8005", FlowRule { fragments: vec![set(1), set(4)], ..to("192.0.2.1/32") }),
    ] {
        assert_eq!(encode(&rule), Ok(hex(vector)));
        assert_eq!(decode(Family::V4, &hex(vector)), Ok(rule));
    }
}

#[test]
fn rfc_8956_section_3_8_has_offsets() {
    let first = hex("12 01200020010db8 026840123456789a 038106");
    assert_eq!(decode(Family::V6, &first), Err(Error::Offset(0x40)));
    assert_eq!(decode(Family::V6, &hex("0f 01200020010db8 0268412468acf134")), Err(Error::Offset(0x41)));
}

#[test]
fn ipv6_vector() {
    let rule = FlowRule {
        source: net("2001:db8:1::/47"),
        protocols: 58.into(),
        flow_labels: [(1, 0x12345)].into_iter().collect(),
        ..to("2001:db8::5/128")
    };
    let vector = "27 018000 20010db8000000000000000000000005 022f00 20010db80000 03813a 0d0301e500012345";
    assert_eq!(encode(&rule), Ok(hex(vector)));
    let decoded = decode(Family::V6, &hex(vector)).unwrap();
    assert_eq!(decoded, FlowRule { source: net("2001:db8::/47"), ..rule });
}

#[test]
fn bitmask_vectors() {
    for (vector, mut flags) in [
        ("09 0120c0000201 098002", vec![set(0x02)]),
        ("0b 0120c0000201 0900028210", vec![set(0x02), bits(0, 0x10)]),
        ("0b 0120c0000201 090102c210", vec![bits(0x02, 0x10)]),
        ("09 0120c0000201 098112", vec![set(0x12)]),
        ("0a 0120c0000201 09900100", vec![set(0x100)]),
        ("0d 0120c0000201 0900010112c228", vec![set(0x01), bits(0x12, 0x28)]),
    ] {
        flags.sort();
        let rule = FlowRule { tcp_flags: flags, ..to("192.0.2.1/32") };
        assert_eq!(encode(&rule), Ok(hex(vector)));
        assert_eq!(decode(Family::V4, &hex(vector)), Ok(rule), "{vector}");
    }
}

/// Operators that others may send and that we never do.
#[test]
fn operators_are_understood() {
    let rule = |component: &str| {
        let component = hex(component);
        let prefix = hex("0120c0000201");
        let nlri = [&[(prefix.len() + component.len()) as u8], &prefix[..], &component].concat();
        decode(Family::V4, &nlri)
    };
    let ports = |component| rule(component).map(|rule| rule.ports.iter().collect::<Vec<_>>());
    assert_eq!(ports("04 82 50"), Ok(vec![(81, 65535)]), "greater");
    assert_eq!(ports("04 92 fffe"), Ok(vec![(65535, 65535)]), "greater than the last but one");
    assert_eq!(ports("04 84 50"), Ok(vec![(0, 79)]), "less");
    assert_eq!(ports("04 86 50"), Ok(vec![(0, 79), (81, 65535)]), "not equal");
    assert_eq!(ports("04 87 50"), Ok(vec![(0, 65535)]), "true");
    assert_eq!(ports("04 a5 00010000"), Ok(vec![(0, 65535)]), "a value out of range");
    assert_eq!(ports("04 03 0a 46 0c c5 0e"), Ok(vec![(10, 11), (13, 14)]), "three joined by and");
    assert_eq!(ports("04 91 0050"), Ok(vec![(80, 80)]), "longer than needed");
    assert_eq!(ports("04 80 50"), Err(Error::Never(Component::Port)), "false");
    assert_eq!(ports("04 04 50 c2 50"), Err(Error::Never(Component::Port)));
    assert_eq!(ports("04 c1 50"), Err(Error::AndFirst(Component::Port)));
    let flags = |component| rule(component).map(|rule| rule.tcp_flags);
    assert_eq!(flags("09 83 12"), Ok(vec![bits(0, 0x02), bits(0, 0x10)]), "not all of them");
    assert_eq!(flags("09 01 02 c2 02"), Err(Error::Never(Component::TcpFlags)));
    assert_eq!(flags("09 81 00"), Err(Error::NoBits(Component::TcpFlags)));
    assert_eq!(flags("09 00 ff 40 ff c3 ff"), Err(Error::TooComplex(Component::TcpFlags)));
}

#[test]
fn broken_bytes_are_refused() {
    for (vector, error) in [
        ("", Error::Short),
        ("00", Error::Empty),
        ("03 038106", Error::NoFamily),
        ("05 0120c00002", Error::Short),
        ("07 0120c0000201", Error::Length { says: 7, are: 6 }),
        ("f0", Error::Short),
        ("07 0121c000020100", Error::PrefixLength(33)),
        ("09 0120c0000201 0d8101", Error::Unknown(13)),
        ("09 0120c0000201 0e8101", Error::Unknown(14)),
        ("09 0120c0000201 008101", Error::Order(0)),
        ("0c 0120c0000201 0120c0000201", Error::Order(1)),
        ("0b 0120c0000201 0381060381", Error::Order(3)),
        ("08 0120c0000201 0381", Error::Short),
        ("09 0120c0000201 030106", Error::Short),
    ] {
        assert_eq!(decode(Family::V4, &hex(vector)), Err(error), "{vector}");
    }
    assert_eq!(decode(Family::V4, &hex("f006 0120c0000201")), Ok(to("192.0.2.1/32")), "two octets of length");
}

/// What resets the sessions of routers.
#[test]
fn encode_refuses() {
    let ports = |count: u32| -> Ranges { (0..count).map(|at| (at * 2, at * 2)).collect() };
    let host = || to("192.0.2.1/32");
    let host6 = || to("2001:db8::1/128");
    for (rule, error) in [
        (FlowRule::default(), Error::Empty),
        (FlowRule { protocols: 17.into(), ..FlowRule::default() }, Error::NoFamily),
        (
            FlowRule { source: net("2001:db8::/32"), ..host() },
            Error::MixedFamilies(net("192.0.2.1/32").unwrap(), net("2001:db8::/32").unwrap()),
        ),
        (to("::ffff:192.0.2.1/128"), Error::Mapped(net("::ffff:192.0.2.1/128").unwrap())),
        (FlowRule { flow_labels: 1.into(), ..host() }, Error::FlowLabelInIpv4),
        (FlowRule { fragments: vec![set(fragment::DONT.into())], ..host6() }, Error::DontFragmentInIpv6),
        (FlowRule { fragments: vec![bits(2, fragment::DONT.into())], ..host6() }, Error::DontFragmentInIpv6),
        (
            FlowRule { protocols: 256.into(), ..host() },
            Error::OutOfRange { component: Component::Protocol, value: 256 },
        ),
        (FlowRule { ports: 65536.into(), ..host() }, Error::OutOfRange { component: Component::Port, value: 65536 }),
        (FlowRule { dscps: 64.into(), ..host() }, Error::OutOfRange { component: Component::Dscp, value: 64 }),
        (
            FlowRule { flow_labels: (1 << 20).into(), ..host6() },
            Error::OutOfRange { component: Component::FlowLabel, value: 1 << 20 },
        ),
        (
            FlowRule { fragments: vec![set(16)], ..host() },
            Error::OutOfRange { component: Component::Fragment, value: 16 },
        ),
        (FlowRule { tcp_flags: vec![bits(0, 0)], ..host() }, Error::NoBits(Component::TcpFlags)),
        (FlowRule { tcp_flags: vec![bits(3, 2)], ..host() }, Error::Contradiction(Component::TcpFlags)),
        (
            FlowRule { source_ports: ports(6), ..host() },
            Error::TooManyItems { component: Component::SourcePort, items: 6, most: 5 },
        ),
        (
            FlowRule { ports: [(1, 2), (4, 5), (7, 8)].into_iter().collect(), ..host() },
            Error::TooManyItems { component: Component::Port, items: 6, most: 5 },
        ),
        (
            FlowRule { tcp_flags: (0..3).map(|at| bits(1 << at, 1 << (at + 1))).collect(), ..host() },
            Error::TooManyItems { component: Component::TcpFlags, items: 6, most: 5 },
        ),
    ] {
        assert_eq!(encode(&rule), Err(error));
    }
    assert!(encode(&FlowRule { source_ports: ports(5), ..host() }).is_ok());
}

/// With at most five items in each component no rule comes near the longest.
#[test]
fn the_longest_rule_fits() {
    let wide: Ranges = (0..5).map(|at| (1000 + at * 2, 1000 + at * 2)).collect();
    let narrow: Ranges = (0..5).map(|at| (at * 2, at * 2)).collect();
    let rule = FlowRule {
        source: net("2001:db8::2/128"),
        protocols: narrow.clone(),
        ports: wide.clone(),
        destination_ports: wide.clone(),
        source_ports: wide.clone(),
        icmp_types: narrow.clone(),
        icmp_codes: narrow.clone(),
        tcp_flags: (0..5).map(|at| set(0x103 << at & 0x1ff | 0x180)).collect(),
        packet_lengths: wide,
        dscps: narrow,
        fragments: vec![bits(2, 8), bits(4, 8), set(6)],
        flow_labels: (0..5).map(|at| (70_000 + at * 2, 70_000 + at * 2)).collect(),
        ..to("2001:db8::1/128")
    };
    let nlri = encode(&rule).unwrap();
    assert!(nlri.len() <= 1 + nlri::LENGTH_MAX, "{}", nlri.len());
}

#[test]
fn text() {
    let rule = FlowRule { protocols: 17.into(), source_ports: 53.into(), ..to("192.0.2.5/32") };
    assert_eq!(rule.to_string(), "dst 192.0.2.5/32 proto udp sport 53");
    let rule = FlowRule {
        source: net("198.51.100.0/24"),
        protocols: [(6, 6), (200, 201)].into_iter().collect(),
        tcp_flags: vec![bits(0x02, 0x10), set(0x201)],
        packet_lengths: [(40, 40), (100, 1500)].into_iter().collect(),
        fragments: vec![set(2), set(4)],
        ..FlowRule::default()
    };
    let expected = "src 198.51.100.0/24 proto tcp,200-201 flags syn&!ack,fin&0x200 length 40,100-1500 \
                    frag is-fragment,first-fragment";
    assert_eq!(rule.to_string(), expected);
    assert_eq!(FlowRule::default().to_string(), "any");
    assert_eq!(Action::Discard.to_string(), "discard");
    assert_eq!(protocol_number("udp").and_then(|number| protocol_name(number.into())), Some("udp"));
}

fn udp(source: u16, destination: u16) -> Headers {
    Headers {
        addresses: Addresses::V4 { source: 0xc633_6402, destination: 0xc000_0201 },
        protocol: 17,
        class: Class::Udp,
        fragment: 0,
        dscp: 0,
        ttl: 64,
        ip_length: 100,
        flow_label: 0,
        upper: Upper::Ports { source, destination },
    }
}

#[test]
fn what_matches() {
    let packet = udp(53, 4000);
    let later = Headers { fragment: fragment::IS, upper: Upper::None, ..packet };
    let v6 = Headers { addresses: Addresses::V6 { source: 1, destination: 2 }, ..packet };
    let any = FlowRule::default;
    for (rule, matches) in [
        (any(), [true, true, true]),
        (to("192.0.2.1/24"), [true, true, false]),
        (to("192.0.3.0/24"), [false, false, false]),
        (to("0.0.0.0/0"), [true, true, false]),
        (to("::/0"), [false, false, true]),
        (to("::2/128"), [false, false, true]),
        (FlowRule { source: net("198.51.100.2/32"), ..any() }, [true, true, false]),
        (FlowRule { ports: 53.into(), ..any() }, [true, false, true]),
        (FlowRule { ports: 4000.into(), ..any() }, [true, false, true]),
        (FlowRule { source_ports: 4000.into(), ..any() }, [false, false, false]),
        (FlowRule { destination_ports: [(0, 65535)].into_iter().collect(), ..any() }, [true, false, true]),
        (FlowRule { icmp_types: 0.into(), ..any() }, [false, false, false]),
        (FlowRule { tcp_flags: vec![bits(0, 1)], ..any() }, [false, false, false]),
        (FlowRule { fragments: vec![set(2)], ..any() }, [false, true, false]),
        (FlowRule { fragments: vec![bits(0, 6)], ..any() }, [true, false, true]),
        (FlowRule { packet_lengths: 100.into(), ..any() }, [true, true, true]),
        (FlowRule { flow_labels: 0.into(), ..any() }, [false, false, true]),
    ] {
        assert_eq!([packet, later, v6].map(|headers| rule.matches(&headers)), matches, "{rule}");
    }
}

/// Up to two ranges, or up to five numbers, from small values and the largest.
fn ranges(component: Component) -> impl Strategy<Value = Ranges> {
    let largest = component.largest();
    let number = move || prop_oneof![0..6_u32, 254..258_u32, (0..=largest)].prop_map(move |number| number.min(largest));
    prop_oneof![
        4 => Just(Ranges::default()),
        1 => prop::collection::vec((number(), number()), 1..=2).prop_map(Ranges::from_iter),
        2 => prop::collection::vec(number(), 1..=5).prop_map(|all| all.into_iter().map(|at| (at, at)).collect()),
    ]
}

/// At most two alternatives, in the order that decoding gives.
fn alternatives(component: Component, without: u16) -> impl Strategy<Value = Vec<Bits>> {
    let named = component.largest() as u16 & !without;
    let one = (0..=named, 0..=named).prop_map(move |(set, clear)| bits(set & named, clear & named & !set));
    let one = one.prop_filter("names no bit", |bits| bits.set | bits.clear != 0);
    prop_oneof![Just(Vec::new()), prop::collection::vec(one, 1..=2)].prop_map(|mut all| {
        all.sort();
        all.dedup();
        all
    })
}

prop_compose! {
    fn address(v6: bool)(small in 0..4_u128, large: u128, near: bool) -> u128 {
        match (v6, near) {
            (false, true) => 0xc000_0200 + small,
            (false, false) => large & 0xffff_ffff,
            (true, true) => (0x2001_0db8 << 96) + small,
            (true, false) => large | 1 << 127,
        }
    }
}

prop_compose! {
    fn prefix(v6: bool)(address in address(v6), cut in 0..=8_u8) -> IpNet {
        match v6 {
            false => IpNet::V4(Ipv4Net::new((address as u32).into(), 32 - cut).unwrap()).trunc(),
            true => IpNet::V6(Ipv6Net::new(address.into(), 128 - cut * 9).unwrap()).trunc(),
        }
    }
}

fn rule(v6: bool) -> impl Strategy<Value = FlowRule> {
    use Component::*;
    let prefixes = (prop::option::of(prefix(v6)), prefix(v6), any::<bool>());
    let numbers = (
        ranges(Protocol),
        ranges(Port),
        ranges(DestinationPort),
        ranges(SourcePort),
        ranges(IcmpType),
        ranges(IcmpCode),
        ranges(PacketLength),
        ranges(Dscp),
        ranges(FlowLabel),
    );
    let dont = if v6 { fragment::DONT.into() } else { 0 };
    (prefixes, numbers, alternatives(TcpFlags, 0), alternatives(Fragment, dont)).prop_map(
        move |((one, other, swap), numbers, tcp_flags, fragments)| {
            let (destination, source) = if swap { (Some(other), one) } else { (one, Some(other)) };
            let (protocols, ports, destination_ports, source_ports, icmp_types, icmp_codes, lengths, dscps, labels) =
                numbers;
            FlowRule {
                destination,
                source,
                protocols,
                ports,
                destination_ports,
                source_ports,
                icmp_types,
                icmp_codes,
                tcp_flags,
                packet_lengths: lengths,
                dscps,
                fragments,
                flow_labels: if v6 { labels } else { Ranges::default() },
            }
        },
    )
}

fn family_and_rule() -> impl Strategy<Value = (Family, FlowRule)> {
    prop_oneof![rule(false).prop_map(|rule| (Family::V4, rule)), rule(true).prop_map(|rule| (Family::V6, rule)),]
}

prop_compose! {
    fn headers(v6: bool)(
        (source, destination) in (address(v6), address(v6)),
        (protocol, fragment, dscp) in (0..20_u8, 0..16_u8, 0..8_u8),
        (ip_length, flow_label) in (prop_oneof![0..6_u32, 254..258_u32, 0..70_000_u32], 0..6_u32),
        (a, b, flags, which) in (0..6_u16, 0..6_u16, 0..512_u16, 0..4_u8),
    ) -> Headers {
        Headers {
            addresses: match v6 {
                false => Addresses::V4 { source: source as u32, destination: destination as u32 },
                true => Addresses::V6 { source, destination },
            },
            fragment: if v6 { fragment & !fragment::DONT } else { fragment },
            flow_label: if v6 { flow_label } else { 0 },
            upper: match which {
                0 => Upper::None,
                1 => Upper::Ports { source: a, destination: b },
                2 => Upper::Tcp { source: a, destination: b, flags },
                _ => Upper::Icmp { kind: a as u8, code: b as u8 },
            },
            protocol, class: Class::Other, dscp, ttl: 0, ip_length,
        }
    }
}

fn one_component(rule: &FlowRule, which: usize) -> FlowRule {
    let component = Component::ALL[which % Component::ALL.len()];
    let mut one = FlowRule { destination: rule.destination, source: rule.source, ..FlowRule::default() };
    if let (Some(to), Some(from)) = (one.ranges_mut(component), rule.ranges(component)) {
        *to = from.clone();
    }
    match component {
        Component::TcpFlags => one.tcp_flags = rule.tcp_flags.clone(),
        Component::Fragment => one.fragments = rule.fragments.clone(),
        _ => {}
    }
    one
}

fn without_prefixes(rule: FlowRule) -> FlowRule {
    FlowRule { source: None, destination: None, ..rule }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 2000 }, ..ProptestConfig::default() })]

    /// Whatever the rules and the number of packets, where both families are mixed, and whatever stands in other lanes. A
    /// whole random rule hardly ever matches, so most have one component.
    #[test]
    #[cfg_attr(miri, ignore = "too many steps")]
    fn a_compiled_set_finds_the_packets_that_each_rule_matches(
        rules in prop::collection::vec((family_and_rule(), any::<usize>(), 0..4), 0..=SET_MAX),
        packets in prop::collection::vec(prop_oneof![headers(false), headers(true)], LANES),
        (before, lanes) in (any::<u64>(), prop_oneof![any::<u64>(), (0..=LANES).prop_map(lanes::first)]),
    ) {
        let simple = |((_, rule), which, whole)| if whole == 0 { rule } else { without_prefixes(one_component(&rule, which)) };
        let rules: Vec<FlowRule> = rules.into_iter().map(simple).collect();
        let set = RuleSet::new(rules.iter());
        let mut columns = Columns::default();
        for lane in lanes::each(before | lanes) {
            columns.put(lane, &packets[lane]);
        }
        let found = set.matching(&mut columns, lanes);
        for (index, rule) in rules.iter().enumerate() {
            let expected: u64 = lanes::each(lanes).map(|lane| u64::from(rule.matches(&packets[lane])) << lane).sum();
            let matched = if found >> index & 1 == 0 { 0 } else { columns.matched(index) };
            prop_assert_eq!(matched, expected, "{}", rule);
        }
        prop_assert_eq!(found.checked_shr(rules.len() as u32).unwrap_or(0), 0);
    }

    #[test]
    fn decode_gives_back_what_was_encoded((family, rule) in family_and_rule()) {
        let nlri = encode(&rule).unwrap();
        prop_assert_eq!(decode(family, &nlri), Ok(rule));
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..64), whole: bool) {
        if whole && !bytes.is_empty() {
            bytes[0] = bytes.len() as u8 - 1;
        }
        for family in [Family::V4, Family::V6] {
            let _ = decode(family, &bytes);
        }
    }

    /// What is understood can be said again, but for a router's limits, and then means the same.
    #[test]
    fn damaged_rules_are_refused_or_understood(
        (family, rule) in family_and_rule(),
        at in any::<prop::sample::Index>(),
        value: u8,
    ) {
        let mut nlri = encode(&rule).unwrap();
        let at = at.index(nlri.len());
        nlri[at] = value;
        if let Ok(rule) = decode(family, &nlri) && let Ok(again) = encode(&rule) {
            prop_assert_eq!(decode(family, &again), Ok(rule));
        }
    }

    #[test]
    fn matches_as_its_encoding_says(
        (rule, packets) in any::<bool>().prop_flat_map(|v6| {
            (rule(v6), prop::collection::vec(headers(v6), 1..8))
        }),
        which: usize,
    ) {
        // A whole random rule hardly ever matches, so one component is tried as well.
        for rule in [one_component(&rule, which), rule] {
            let nlri = encode(&rule).unwrap();
            for packet in &packets {
                prop_assert_eq!(rule.matches(packet), literal::evaluate(&nlri[1..], packet), "{} {:?}", rule, packet);
            }
        }
    }
}
