//! Calls of scripts in all layouts.

use std::fmt::Write;

use dataplane::packet::parse;
use ipnet::IpNet;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::call::{Call, call};
use super::super::notice::{Layout, Say};
use super::*;
use crate::attack::Direction;

const BAN: &str = include_str!("../../../../../tests/data/fastnetmon-1.2.4-ban.stdin.txt");
const DETAILS: &str = include_str!("../../../../../tests/data/fastnetmon-1.2.4-attack_details.stdin.txt");
const DOCUMENT: &str = include_str!("../../../../../docs/notify.md");

/// The packets of a report, as far as they differ: their times.
fn packets_of(report: &str) -> Vec<PacketLine> {
    let lines = report.lines().filter(|line| line.contains(" > "));
    let times = lines.map(|line| {
        let time = format!("{}Z", line.split_once(" 203.").unwrap().0);
        time.parse::<jiff::Timestamp>().unwrap().as_microsecond()
    });
    let of = |time_us| PacketLine {
        time_us,
        ports: (0, 0),
        protocol: 1,
        length: 60,
        one_in: 1,
        ..packet("203.0.113.9:0", 0, 0)
    };
    times.map(of).collect()
}

/// The flood that FastNetMon saw.
fn icmp_flood(kind: EventKind) -> Notice {
    let flood = Rates { total: rate(51_470.0, 60.0), icmp: rate(51_470.0, 60.0), ..Rates::default() };
    let record = record("198.18.7.7/32", &flood, crossing(Kind::Total, Unit::Pps));
    notice(kind, record, incoming(flood), packets_of(DETAILS))
}

#[test]
fn what_1_2_4_wrote_is_written_to_the_byte() {
    let ban = call(Layout::Classic, Say::Ban, &icmp_flood(EventKind::Detected), 20);
    assert_eq!(ban.arguments, ["198.18.7.7", "incoming", "51470", "ban"]);
    assert_eq!(ban.input, BAN);
    let captured = icmp_flood(EventKind::Captured);
    assert_eq!(captured.packets.len(), 20);
    let details = call(Layout::Classic, Say::AttackDetails, &captured, 500);
    assert_eq!(details.arguments, ["198.18.7.7", "incoming", "51470", "attack_details"]);
    assert_eq!(details.input, DETAILS);
    let unban = call(Layout::Classic, Say::Unban, &icmp_flood(EventKind::Ending), 20);
    assert_eq!(unban.arguments, ["198.18.7.7", "incoming", "51470", "unban"]);
    assert_eq!(unban.input, "");
}

#[test]
fn packets_are_bounded_and_may_be_none() {
    let of =
        |packets_max| call(Layout::Classic, Say::AttackDetails, &icmp_flood(EventKind::Captured), packets_max).input;
    assert_eq!(of(3), DETAILS.lines().take(46).map(|line| format!("{line}\n")).collect::<String>());
    assert_eq!(of(0), format!("{BAN}\n\n"));
    let newer = call(Layout::Newer, Say::Ban, &icmp_flood(EventKind::Captured), 0).input;
    assert!(newer.ends_with("packets per second\n\n\n\nAttack traffic dump\n\n\n\nFlow dump\n\n"), "{newer}");
}

#[test]
fn a_packet_line_has_flags_for_tcp_alone_in_their_order() {
    let line = |packet: PacketLine| super::super::figures::packet_line(&packet, false);
    let tcp = |flags| packet("192.0.2.1:53", flags, 0);
    let start = "2026-11-21 19:14:23.798184 192.0.2.1:53 > 198.18.7.7:80 protocol: ";
    let end = "frag: 0  packets: 1 size: 60 bytes ttl: 64 sample ratio: 3 ";
    for (flags, words) in
        [(0x12, "syn,ack"), (0x3f, "fin,syn,rst,psh,ack,urg"), (0, "-"), (0x1c0, "-"), (0xc2, "syn"), (0x14, "rst,ack")]
    {
        assert_eq!(line(tcp(flags)), format!("{start}tcp flags: {words} {end}"));
    }
    for (protocol, word) in [(17, "udp"), (1, "icmp"), (58, "icmp"), (47, "unknown")] {
        assert_eq!(line(PacketLine { protocol, ..tcp(2) }), format!("{start}{word} {end}"));
    }
    let fragment = line(PacketLine { is_fragment: true, protocol: 17, ..tcp(0) });
    assert!(fragment.contains("udp frag: 1  packets: 1 size"), "{fragment}");
    let odd = line(PacketLine { time_us: i64::MAX, ..tcp(0) });
    assert!(odd.starts_with("1970-01-01 00:00:00.000000 192.0.2.1"), "{odd}");
}

#[test]
fn a_packet_is_taken_from_its_headers() {
    // Ethernet, IPv4 of 40 bytes, TCP with SYN and ACK.
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0, 0, 63, 6, 0, 0, 203, 0, 113, 9, 198, 18, 7, 7]);
    frame.extend([0, 53, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12, 0, 0, 0, 0, 0, 0]);
    let line = PacketLine::new(5, &parse(&frame).unwrap(), 1_400, 7);
    let expected = PacketLine {
        time_us: 5,
        ports: (53, 8192),
        length: 1_400,
        ttl: 63,
        one_in: 7,
        ..packet("203.0.113.9:53", 0x12, 0)
    };
    assert_eq!(line, expected);
}

#[test]
fn the_type_is_what_nearly_all_packets_are_and_the_protocol_what_most_are() {
    let of = |tcp: f64, tcp_syn: f64, udp: f64, icmp: f64, fragments: f64, total: f64| {
        let [tcp, tcp_syn, udp, icmp, fragments, total] =
            [tcp, tcp_syn, udp, icmp, fragments, total].map(|pps| rate(pps, 100.0));
        let rates = Rates { total, tcp, tcp_syn, udp, icmp, fragments, flows: 0.0 };
        let record = record("198.18.7.7/32", &rates, crossing(Kind::Total, Unit::Bps));
        let report =
            call(Layout::Newer, Say::Ban, &notice(EventKind::Captured, record, incoming(rates), vec![]), 0).input;
        let word = |label: &str| report.lines().find_map(|line| line.strip_prefix(label)).unwrap().to_owned();
        [word("Attack type: "), word("Attack protocol: ")]
    };
    for (figures, words) in [
        ([100.0, 91.0, 0.0, 0.0, 0.0, 100.0], ["syn_flood", "tcp"]),
        ([100.0, 90.0, 0.0, 0.0, 0.0, 100.0], ["unknown", "tcp"]),
        ([0.0, 0.0, 5.0, 95.0, 0.0, 100.0], ["icmp_flood", "icmp"]),
        ([0.0, 0.0, 95.0, 5.0, 95.0, 100.0], ["ip_fragmentation", "udp"]),
        ([0.0, 0.0, 95.0, 5.0, 10.0, 100.0], ["udp_flood", "udp"]),
        ([50.0, 0.0, 50.0, 0.0, 0.0, 100.0], ["unknown", "tcp"]),
        ([0.0, 0.0, 50.0, 50.0, 0.0, 100.0], ["unknown", "udp"]),
        ([0.0, 0.0, 0.0, 0.0, 0.0, 100.0], ["unknown", "unknown"]),
        ([0.0; 6], ["unknown", "unknown"]),
    ] {
        let [tcp, tcp_syn, udp, icmp, fragments, total] = figures;
        assert_eq!(of(tcp, tcp_syn, udp, icmp, fragments, total), words, "{figures:?}");
    }
}

#[test]
fn an_outgoing_attack_is_told_by_what_goes_out() {
    let mut notice = syn_flood(EventKind::Captured);
    notice.record.target.direction = Direction::Outgoing;
    let call = call(Layout::Classic, Say::Ban, &notice, 0);
    assert_eq!(call.arguments, ["198.18.7.7", "outgoing", "52000", "ban"]);
    assert!(call.input.contains("Attack type: unknown\n") && call.input.contains("Attack direction: outgoing\n"));
}

#[test]
fn ipv6_networks_and_bans_by_hand_are_named_right() {
    for (prefix, target, scope, version) in [
        ("198.18.7.7/32", "198.18.7.7", "host", "IPv4"),
        ("198.18.4.0/22", "198.18.4.0/22", "network", "IPv4"),
        ("2001:db8::7/128", "2001:db8::7", "host", "IPv6"),
        ("2001:db8:7::/64", "2001:db8:7::/64", "network", "IPv6"),
    ] {
        let mut notice = syn_flood(EventKind::Captured);
        notice.record.target.prefix = prefix.parse().unwrap();
        for layout in [Layout::Classic, Layout::Newer] {
            let told = call(layout, Say::Ban, &notice, 0);
            assert_eq!(told.arguments, [target, "incoming", "52000", "ban"]);
            assert!(told.input.starts_with(&format!("IP: {target}\nAttack type: syn_flood\n")), "{}", told.input);
        }
        let told = call(Layout::Advanced, Say::Unban, &notice, 0);
        assert_eq!(told.arguments, ["unban", target]);
        let json: Value = serde_json::from_str(&told.input).unwrap();
        assert_eq!((&json["ip"], &json["alert_scope"]), (&json!(target), &json!(scope)));
        assert_eq!(json.get("network").is_some(), scope == "network");
        let details = &json["attack_details"];
        assert_eq!((&details["protocol_version"], &details["host_network"]), (&json!(version), &json!(prefix)));
    }
    let mut by_hand = syn_flood(EventKind::Detected);
    (by_hand.record.crossing, by_hand.record.initial_pps) = (None, 0.0);
    let told = call(Layout::Newer, Say::Ban, &by_hand, 0);
    assert_eq!(told.arguments, ["198.18.7.7", "other", "0", "ban"]);
    assert!(told.input.contains("Attack type: unknown\n") && told.input.contains("Attack direction: other\n"));
    let json: Value = serde_json::from_str(&call(Layout::Advanced, Say::Ban, &by_hand, 0).input).unwrap();
    assert_eq!(json["attack_details"]["attack_detection_source"], "manual");
}

#[test]
fn packets_of_ipv6_have_their_addresses() {
    let packet = PacketLine { destination: "2001:db8::7".parse().unwrap(), ..packet("[2001:db8:9::1]:1024", 2, 0) };
    let line = super::super::figures::packet_line(&packet, false);
    assert!(line.contains(" 2001:db8:9::1:1024 > 2001:db8::7:80 protocol: tcp flags: syn "), "{line}");
}

#[test]
fn figures_are_cut_off_as_fastnetmon_does() {
    let rates = Rates { total: Rate { pps: 10.9, bps: 1_999_999.0 }, flows: 3.9, ..Rates::default() };
    let record = record("198.18.7.7/32", &rates, crossing(Kind::Total, Unit::Bps));
    let mut notice = notice(EventKind::Detected, record, incoming(rates), vec![]);
    let report = call(Layout::Classic, Say::Ban, &notice, 0).input;
    for line in [
        "Total incoming traffic: 1 mbps\n",
        "Total incoming pps: 10 packets per second\n",
        "Total incoming flows: 3 flows per second\n",
        "Average incoming traffic: 1 mbps\n",
        "Average packet size for incoming traffic: 24999.9 bytes \n",
        "Average packet size for outgoing traffic: 0.0 bytes \n",
    ] {
        assert!(report.contains(line), "{line} not in {report}");
    }
    // Means, where there are any: at the detection there are none of the attack.
    notice.traffic.mean.outgoing.total = Rate { pps: 5.0, bps: 4_000_000.0 };
    let report = call(Layout::Classic, Say::Ban, &notice, 0).input;
    for line in
        ["Total outgoing traffic: 0 mbps\n", "Average incoming traffic: 1 mbps\nAverage outgoing traffic: 4 mbps\n"]
    {
        assert!(report.contains(line), "{line} not in {report}");
    }
}

#[test]
fn rules_are_those_that_a_call_is_about() {
    let mut notice = syn_flood(EventKind::Mitigating);
    let mut rules = ["203.0.113.0/24", "192.0.2.0/24", "198.51.100.0/24"]
        .map(|source| samples::rule("198.18.7.7/32", Some(source), TIME_MS));
    (rules[1].withdrawn_ms, rules[2].withdrawn_ms) = (Some(TIME_MS - 5), Some(TIME_MS));
    notice.record.rules = rules.to_vec();
    let sources = |notice: &Notice, say| {
        let json: Value = serde_json::from_str(&call(Layout::Advanced, say, notice, 0).input).unwrap();
        let rules = json["flow_spec_rules"].as_array().cloned();
        rules.map(|rules| {
            rules.iter().map(|rule| rule["source_prefix"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        })
    };
    assert_eq!(sources(&notice, Say::PartialBlock).unwrap(), ["203.0.113.0/24"]);
    assert_eq!(sources(&notice, Say::PartialUnblock).unwrap(), ["198.51.100.0/24"]);
    notice.kind = EventKind::Ending;
    notice.record.ending_ms = Some(TIME_MS - 5);
    assert_eq!(sources(&notice, Say::PartialUnblock).unwrap(), ["192.0.2.0/24"]);
    assert_eq!(sources(&notice, Say::Ban), None);
}

/// Arguments and input of a call, as the documentation shows them.
fn shown(Call { arguments, input }: &Call) -> String {
    let mut shown = format!("$ script {}\n", arguments.join(" "));
    if let Ok(json) = serde_json::from_str::<Value>(input) {
        let _ = write!(shown, "{json:#}");
    } else {
        shown += input;
    }
    shown.trim_end_matches('\n').to_owned()
}

#[test]
fn the_documentation_shows_what_is_rendered() {
    let captured = syn_flood(EventKind::Captured);
    let mut mitigating = syn_flood(EventKind::Mitigating);
    mitigating.record.state = State::Mitigating;
    let mut rule = samples::rule("198.18.7.7/32", None, TIME_MS);
    rule.flow_spec.rule.protocols = [(6, 6)].into_iter().collect();
    rule.flow_spec.rule.tcp_flags = vec![dataplane::rule::Bits { set: 0x02, clear: 0x10 }];
    mitigating.record.rules = vec![rule];
    let only = |json: &str, keys: &[&str]| {
        let mut json: Value = serde_json::from_str(json).unwrap();
        json.as_object_mut().unwrap().retain(|key, _| keys.contains(&key.as_str()));
        format!("{json:#}")
    };
    let block = call(Layout::Advanced, Say::PartialBlock, &mitigating, 0).input;
    let examples = [
        shown(&call(Layout::Classic, Say::AttackDetails, &captured, 500)),
        shown(&call(Layout::Newer, Say::Ban, &captured, 500)),
        shown(&call(Layout::Advanced, Say::Ban, &captured, 1)),
        only(&block, &["ip", "action", "flow_spec_rules"]),
    ];
    let missing: Vec<_> = examples.iter().filter(|example| !DOCUMENT.contains(&format!("\n{example}\n```"))).collect();
    assert!(missing.is_empty(), "docs/notify.md lacks {missing:#?}");
}

fn any_rates() -> impl Strategy<Value = Rates> {
    let figure = || prop_oneof![any::<f64>(), 0.0..1e9, Just(0.0)];
    prop::collection::vec(figure(), 13).prop_map(|figures| {
        let rate = |at: usize| Rate { pps: figures[at], bps: figures[at + 6] };
        Rates {
            total: rate(0),
            tcp: rate(1),
            tcp_syn: rate(2),
            udp: rate(3),
            icmp: rate(4),
            fragments: rate(5),
            flows: figures[12],
        }
    })
}

prop_compose! {
    fn any_packet()(
        time_us in any::<i64>(), (is_ipv6, source, destination) in any::<(bool, u128, u128)>(), ports in any::<(u16, u16)>(),
        (protocol, flags, is_fragment) in any::<(u8, u16, bool)>(), (length, ip_length, ttl, one_in) in any::<(u32, u32, u8, u32)>(),
    ) -> PacketLine {
        let address = |bits: u128| if is_ipv6 { std::net::Ipv6Addr::from(bits).into() } else { std::net::Ipv4Addr::from(bits as u32).into() };
        let (source, destination) = (address(source), address(destination));
        PacketLine { time_us, source, destination, ports, protocol, flags, is_fragment, length, ip_length, ttl, one_in }
    }
}

prop_compose! {
    fn any_notice()(
        kind in prop::sample::select(vec![EventKind::Detected, EventKind::Captured, EventKind::Ending, EventKind::Ended]),
        (time_ms, bits, is_ipv6, length) in any::<(i64, u128, bool, u8)>(), metric in prop::option::of(0..Metric::ALL.len()),
        rates in prop::collection::vec(any_rates(), 4), text in any::<String>(), group in any::<String>(), outgoing in any::<bool>(),
        packets in prop::collection::vec(any_packet(), 0..4), pps in any::<f64>(),
    ) -> Notice {
        let prefix: IpNet = if is_ipv6 {
            ipnet::Ipv6Net::new_assert(bits.into(), length % 129).trunc().into()
        } else {
            ipnet::Ipv4Net::new_assert((bits as u32).into(), length % 33).trunc().into()
        };
        let crossing = metric.map(|metric| Crossing { metric: Metric::ALL[metric], threshold: 1, measured: 2.0 });
        let mut record = record("198.18.7.7/32", &rates[0], crossing);
        record.target = crate::attack::Target { prefix, direction: Direction::ALL[usize::from(outgoing)] };
        (record.group, record.initial_pps) = (group, pps);
        let ways = |at: usize| BothWays { incoming: rates[at], outgoing: rates[at + 1] };
        let traffic = Traffic { now: ways(0), mean: ways(2) };
        Notice { kind, time_ms, text, record, traffic, packets }
    }
}

proptest! {
    #[test]
    fn whatever_there_is_can_be_told(notice in any_notice(), packets_max in 0usize..5) {
        for say in [Say::Ban, Say::AttackDetails, Say::Unban, Say::PartialBlock, Say::PartialUnblock] {
            for layout in [Layout::Classic, Layout::Newer, Layout::Advanced] {
                let Call { arguments, input } = call(layout, say, &notice, packets_max);
                prop_assert_eq!(arguments.len(), if layout == Layout::Advanced { 2 } else { 4 });
                let is_plain = |char: char| char.is_ascii_alphanumeric() || "_.:/".contains(char);
                prop_assert!(arguments.iter().all(|word| !word.is_empty() && word.len() < 64 && word.chars().all(is_plain)));
                if layout == Layout::Advanced {
                    prop_assert!(serde_json::from_str::<Value>(&input).is_ok());
                } else {
                    prop_assert!(input.lines().all(|line| line.len() < 256));
                    prop_assert!(input.lines().filter(|line| line.contains(" > ")).count() <= packets_max);
                    prop_assert!(input.chars().all(|char| char == '\n' || !char.is_control()));
                }
            }
        }
        let json: Value = serde_json::from_str(&super::super::webhook::body(&notice)).unwrap();
        prop_assert_eq!(&json["text"], &json!(notice.text));
        let json: Value = serde_json::from_str(&super::super::webhook::slack(&notice)).unwrap();
        let text = json["text"].as_str().unwrap();
        prop_assert!(text.len() < 20_000 && !text.contains(['<', '>']) && text.matches('\n').count() == 1);
    }
}
