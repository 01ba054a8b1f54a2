//! The judge against frames written out by hand, and its reading of frames against another parser.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::headers::Headers;
use super::rule::{Action, Rule};
use super::score::{Judged, score};
use crate::catalog;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(octet).collect()
}

fn headers(hex: &str) -> Headers {
    Headers::of_frame(&bytes(hex)).unwrap()
}

/// UDP 198.18.5.9:53 to 192.0.2.1:40000, 72 bytes, DSCP 10, DF.
const UDP: &str =
    "020000000002 020000000001 0800  45 28 0048 0001 4000 40 11 0000 c6120509 c0000201  0035 9c40 0034 0000  0000";
/// TCP 198.18.5.9:50000 to 192.0.2.1:443, 60 bytes, SYN, behind a VLAN tag.
const SYN: &str = "020000000002 020000000001 8100 006e 0800  45 00 003c 0001 4000 40 06 0000 c6120509 c0000201
    c350 01bb 00000001 00000000 a0 02 faf0 0000 0000";
/// TCP with SYN and ACK.
const SYN_ACK: &str = "020000000002 020000000001 0800  45 00 002c 0001 4000 40 06 0000 c6120509 c0000201
    01bb c350 00000001 00000001 60 12 faf0 0000 0000";
/// Fragments of UDP: the first, one between, the last.
const FIRST: &str =
    "020000000002 020000000001 0800  45 00 05dc 0001 2000 40 11 0000 c6120509 c0000201  0035 9c40 0fa0 0000";
const BETWEEN: &str =
    "020000000002 020000000001 0800  45 00 05dc 0001 20b9 40 11 0000 c6120509 c0000201  0035 9c40 0fa0 0000";
const LAST: &str =
    "020000000002 020000000001 0800  45 00 0123 0001 0172 40 11 0000 c6120509 c0000201  0035 9c40 0fa0 0000";
/// ICMP port unreachable.
const ICMP: &str =
    "020000000002 020000000001 0800  45 00 0038 0001 0000 40 01 0000 c6120509 c0000201  03 03 0000 00000000";
/// UDP over IPv6, 2001:db8::9 port 123 to 2001:db8::1 port 5000, DSCP 46, flow label 12345, 48 bytes of payload.
const V6: &str = "020000000002 020000000001 86dd  6b812345 0030 11 40
    20010db8000000000000000000000009 20010db8000000000000000000000001  007b 1388 0030 0000";
/// A first and a later fragment of UDP over IPv6, the first behind a hop-by-hop header.
const V6_FIRST: &str = "020000000002 020000000001 86dd  60000000 0500 00 40
    20010db8000000000000000000000009 20010db8000000000000000000000001  2c00010400000000 1100 0001 00000007  007b 1388 0600 0000";
const V6_LATER: &str = "020000000002 020000000001 86dd  60000000 0100 2c 40
    20010db8000000000000000000000009 20010db8000000000000000000000001  1100 04d0 00000007  007b 1388 0600 0000";

const ALL: [&str; 10] = [UDP, SYN, SYN_ACK, FIRST, BETWEEN, LAST, ICMP, V6, V6_FIRST, V6_LATER];

#[test]
fn headers_are_what_the_bytes_say() {
    let source: IpAddr = "198.18.5.9".parse().unwrap();
    let udp = headers(UDP);
    assert_eq!((udp.source, udp.protocol, udp.ports, udp.length), (source, 17, Some((53, 40_000)), 72));
    assert_eq!((udp.dscp, udp.dont_fragment, udp.flow_label, udp.tcp_flags), (10, true, None, None));
    let syn = headers(SYN);
    assert_eq!((syn.ports, syn.tcp_flags, syn.length), (Some((50_000, 443)), Some(2), 60));
    let v6 = headers(V6);
    assert_eq!((v6.protocol, v6.ports, v6.length), (17, Some((123, 5_000)), 88));
    assert_eq!((v6.dscp, v6.flow_label), (46, Some(0x1_2345)));
    let first = headers(V6_FIRST);
    assert_eq!(
        (first.protocol, first.ports, first.is_fragment, first.more_follow),
        (17, Some((123, 5_000)), false, true)
    );
    let later = headers(V6_LATER);
    assert_eq!((later.protocol, later.ports, later.is_fragment, later.more_follow), (17, None, true, false));
    assert_eq!(Headers::of_frame(&bytes(UDP)[..36]), None, "cut off within the headers");
}

/// Which of the frames a rule with this component alone matches.
fn matched(component: Value) -> Vec<usize> {
    let mut rule = component;
    rule["action_type"] = json!("discard");
    let rule = Rule::from_json(&rule).unwrap();
    (0..ALL.len()).filter(|&frame| rule.matches(&headers(ALL[frame]))).collect()
}

#[test]
fn every_component_matches_what_it_says_and_nothing_else() {
    let v4 = vec![0, 1, 2, 3, 4, 5, 6];
    let table = [
        (json!({}), (0..10).collect()),
        (json!({"protocols": []}), (0..10).collect()),
        (json!({"destination_prefix": "192.0.2.1/32"}), v4.clone()),
        (json!({"destination_prefix": "192.0.2.2/32"}), vec![]),
        (json!({"destination_prefix": "2001:db8::/64"}), vec![7, 8, 9]),
        (json!({"source_prefix": "198.18.0.0/16"}), v4),
        (json!({"source_prefix": "2001:db8::8/126"}), vec![7, 8, 9]),
        (json!({"protocols": ["udp"]}), vec![0, 3, 4, 5, 7, 8, 9]),
        (json!({"protocols": ["2-6"]}), vec![1, 2]),
        (json!({"protocols": ["tcp", 1]}), vec![1, 2, 6]),
        (json!({"ports": [53]}), vec![0, 3]),
        (json!({"ports": [443]}), vec![1, 2]),
        (json!({"source_ports": ["50-130"]}), vec![0, 3, 7, 8]),
        (json!({"destination_ports": [443, 40_000]}), vec![0, 1, 3]),
        (json!({"icmp_types": [3]}), vec![6]),
        (json!({"icmp_types": [0]}), vec![]),
        (json!({"icmp_codes": ["1-3"]}), vec![6]),
        (json!({"tcp_flags": ["syn"]}), vec![1, 2]),
        (json!({"tcp_flags": ["syn&!ack"]}), vec![1]),
        (json!({"tcp_flags": ["syn&ack", "rst"]}), vec![2]),
        (json!({"tcp_flags": ["!ack"]}), vec![1]),
        (json!({"packet_lengths": [72, "1400-1500"]}), vec![0, 3, 4]),
        (json!({"packet_lengths": [88]}), vec![7]),
        (json!({"dscps": [10, 46]}), vec![0, 7]),
        (json!({"dscps": [0]}), vec![1, 2, 3, 4, 5, 6, 8, 9]),
        (json!({"flow_labels": [0x1_2345]}), vec![7]),
        (json!({"fragmentation_flags": ["is-fragment"]}), vec![4, 5, 9]),
        (json!({"fragmentation_flags": ["first-fragment"]}), vec![3, 8]),
        (json!({"fragmentation_flags": ["last-fragment"]}), vec![5, 9]),
        (json!({"fragmentation_flags": ["dont-fragment"]}), vec![0, 1, 2]),
        (json!({"fragmentation_flags": ["not-a-fragment"]}), vec![0, 1, 2, 6, 7]),
        (json!({"fragmentation_flags": ["is-fragment&!last-fragment", "first-fragment"]}), vec![3, 4, 8]),
        (json!({"protocols": ["udp"], "source_ports": [53], "packet_lengths": [1500]}), vec![3]),
    ];
    for (component, expected) in table {
        assert_eq!(matched(component.clone()), expected, "{component}");
    }
}

#[test]
fn what_is_no_rule_is_refused() {
    for wrong in [
        json!({"protocols": ["upd"]}),
        json!({"source_ports": [65_536]}),
        json!({"source_ports": ["9-5"]}),
        json!({"source_ports": 53}),
        json!({"tcp_flags": ["syn&ak"]}),
        json!({"tcp_flags": ["tcp|push"]}),
        json!({"destination_prefix": "192.0.2.1/24"}),
        json!({"dscps": [64]}),
        json!({"action_type": "rate-limit"}),
        json!({"action_type": "drop"}),
    ] {
        let mut rule = json!({"action_type": "discard"});
        rule.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        assert!(Rule::from_json(&rule).is_err(), "{wrong}");
    }
    assert!(Rule::from_json(&json!({})).is_err(), "no action");
}

#[test]
fn rules_that_leave_the_target_or_what_routers_take_are_faults() {
    let fault = |rule: Value, target: &str| Rule::from_json(&rule).unwrap().fault(target.parse().unwrap());
    let host = "192.0.2.1/32";
    let ports = json!([1, 2, 3, "5-9"]);
    let good = json!({"destination_prefix": host, "source_ports": ports, "action_type": "discard"});
    assert_eq!(fault(good.clone(), host), None);
    assert_eq!(fault(good.clone(), "192.0.2.0/24"), None, "narrower than the target");
    let with = |key: &str, value: Value| {
        let mut rule = good.clone();
        rule[key] = value;
        rule
    };
    for bad in [
        with("destination_prefix", json!("192.0.2.0/31")),
        with("destination_prefix", Value::Null),
        with("source_ports", json!([1, 2, "3-4", "5-9"])),
        with("source_prefix", json!("2001:db8::/32")),
        with("flow_labels", json!([1])),
    ] {
        assert!(fault(bad.clone(), host).is_some(), "{bad}");
    }
}

fn packet(frame: &str, vector: Option<usize>, pps: f64) -> Judged {
    Judged { headers: headers(frame), vector, pps }
}

fn rules(list: &[Value]) -> Vec<Rule> {
    list.iter().map(|rule| Rule::from_json(rule).unwrap()).collect()
}

#[test]
fn recall_and_collateral_are_shares() {
    // Two vectors, UDP and SYN; legitimate are UDP (a quarter) and ICMP.
    let packets = [
        packet(UDP, Some(0), 600.0),
        packet(FIRST, Some(0), 200.0),
        packet(SYN, Some(1), 100.0),
        packet(UDP, None, 10.0),
        packet(ICMP, None, 30.0),
    ];
    let udp =
        rules(&[json!({"protocols": ["udp"], "fragmentation_flags": ["not-a-fragment"], "action_type": "discard"})]);
    let by_packets = score(&udp, &packets, 2, false);
    assert_eq!(by_packets.recall, [0.75, 0.0]);
    assert_eq!((by_packets.total, by_packets.collateral, by_packets.squeezed), (600.0 / 900.0, 0.25, 0.25));
    let by_bytes = score(&udp, &packets, 2, true);
    assert_eq!(by_bytes.recall[0], 600.0 * 72.0 / (600.0 * 72.0 + 200.0 * 1500.0));
    assert_eq!(by_bytes.collateral, 0.25, "legitimate traffic is weighed by packets all the same");
    assert_eq!(score(&[], &packets, 2, false).total, 0.0);
}

#[test]
fn a_limit_takes_what_is_above_its_rate() {
    let packets = [packet(UDP, Some(0), 900.0), packet(UDP, None, 100.0), packet(ICMP, None, 100.0)];
    let limit = |rate: Value| rules(&[json!({"protocols": ["udp"], "action_type": "rate-limit", "action": rate})]);
    let wide = score(&limit(json!({"rate_pps": 200})), &packets, 1, false);
    assert_eq!((wide.total, wide.collateral, wide.squeezed), (0.8, 0.0, 0.4));
    let tight = score(&limit(json!({"rate_pps": 50})), &packets, 1, false);
    assert_eq!(tight.collateral, 0.25, "half of one half of the legitimate packets");
    let bits = score(&limit(json!({"rate_bps": 200 * 72 * 8})), &packets, 1, false);
    assert_eq!(bits.total, 0.8);
}

#[test]
fn a_limit_sees_only_what_no_rule_drops_and_the_strictest_counts() {
    let packets = [packet(UDP, Some(0), 900.0), packet(SYN, Some(1), 90.0), packet(SYN, None, 10.0)];
    let drop = json!({"protocols": ["udp"], "action_type": "discard"});
    let limit = |pps: u32| json!({"action_type": "rate-limit", "action": {"rate_pps": pps}});
    let scored = score(&rules(&[drop.clone(), limit(50)]), &packets, 2, false);
    assert_eq!((scored.recall, scored.squeezed), (vec![1.0, 0.5], 0.5));
    let scored = score(&rules(&[drop, limit(50), limit(10)]), &packets, 2, false);
    assert_eq!(scored.recall, [1.0, 0.9]);
    assert_eq!(rules(&[json!({"action_type": "accept"})])[0].action, Action::Pass);
}

/// The same reading by etherparse, as far as it goes: it reads no transport header in fragments.
fn by_etherparse(frame: &[u8]) -> (IpAddr, u8, Option<(u16, u16)>, bool) {
    let sliced = etherparse::LaxSlicedPacket::from_ethernet(frame).unwrap();
    let (source, protocol, is_part) = match sliced.net.unwrap() {
        etherparse::LaxNetSlice::Ipv4(ip) => {
            (IpAddr::from(ip.header().source_addr()), ip.payload().ip_number.0, ip.header().is_fragmenting_payload())
        }
        etherparse::LaxNetSlice::Ipv6(ip) => {
            (IpAddr::from(ip.header().source_addr()), ip.payload().ip_number.0, ip.is_payload_fragmented())
        }
        other => panic!("{other:?}"),
    };
    let ports = match sliced.transport {
        Some(etherparse::TransportSlice::Tcp(tcp)) => Some((tcp.source_port(), tcp.destination_port())),
        Some(etherparse::TransportSlice::Udp(udp)) => Some((udp.source_port(), udp.destination_port())),
        _ => None,
    };
    (source, protocol, ports, is_part)
}

#[test]
fn another_parser_reads_generated_frames_alike() {
    for name in ["five-web", "v6-dns-amp-resolver", "v6-three-web", "random-protocols-home", "fragments-vpn"] {
        let scenario = catalog::all().into_iter().find(|scenario| scenario.name == name).unwrap();
        let case = scenario.case(3);
        let judged = case.judged.iter().map(|(frame, _)| frame);
        for frame in judged.chain(&case.attack).chain(&case.baseline) {
            let ours = Headers::of_frame(&frame.bytes).unwrap();
            let (source, protocol, ports, is_part) = by_etherparse(&frame.bytes);
            assert_eq!((ours.source, ours.protocol), (source, protocol), "{frame:?}");
            assert_eq!(ours.is_fragment || ours.more_follow, is_part, "{frame:?}");
            if !is_part {
                assert_eq!(ours.ports, ports, "{frame:?}");
            }
            assert!(frame.bytes.len() <= 128 && frame.length >= ours.length as usize + 14, "{frame:?}");
        }
    }
}
