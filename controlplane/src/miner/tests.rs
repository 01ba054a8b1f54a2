//! Attacks of each kind, and what holds for any sample.

use std::collections::BTreeSet;

use dataplane::packet::{Addresses, Class, Upper, fragment};
use dataplane::rule::Family;
use proptest::prelude::*;

use super::*;

mod strange;

const HOST: u32 = 0xc000_0205;
const HOST6: u128 = (0x2001_0db8 << 96) + 5;

fn incoming() -> Target {
    Target { prefix: "192.0.2.5/32".parse().unwrap(), direction: Direction::Incoming }
}

fn outgoing() -> Target {
    Target { direction: Direction::Outgoing, ..incoming() }
}

/// Numbers that look random and are the same in each run.
fn noise(seed: usize) -> u32 {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state ^= state >> 29;
    (state.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as u32
}

/// A packet to the host from an address, port and length of its own.
fn packet(seed: usize, protocol: u8, upper: Upper) -> Headers {
    Headers {
        addresses: Addresses::V4 { source: noise(seed), destination: HOST },
        protocol,
        class: Class::Other,
        fragment: 0,
        dscp: 0,
        ttl: 64,
        ip_length: 60 + noise(seed + 7) % 1400,
        flow_label: 0,
        upper,
    }
}

fn random_port(seed: usize) -> u16 {
    1024 + (noise(seed + 13) % 60_000) as u16
}

fn udp(seed: usize, source: u16, destination: u16) -> Headers {
    packet(seed, 17, Upper::Ports { source, destination })
}

fn tcp(seed: usize, source: u16, destination: u16, flags: u16) -> Headers {
    packet(seed, 6, Upper::Tcp { source, destination, flags })
}

fn sample(count: usize, packet: impl Fn(usize) -> Headers) -> Vec<Headers> {
    (0..count).map(packet).collect()
}

fn later_fragment(seed: usize) -> Headers {
    Headers { fragment: fragment::IS, ..packet(seed, 17, Upper::None) }
}

fn reversed(packet: Headers) -> Headers {
    let Addresses::V4 { source, destination } = packet.addresses else { return packet };
    let addresses = Addresses::V4 { source: destination, destination: source };
    let upper = match packet.upper {
        Upper::Ports { source, destination } => Upper::Ports { source: destination, destination: source },
        Upper::Tcp { source, destination, flags } => Upper::Tcp { source: destination, destination: source, flags },
        other => other,
    };
    Headers { addresses, upper, ..packet }
}

/// What a web server receives in peace: TCP to port 443 from anywhere, and some DNS answers.
fn web(seed: usize) -> Headers {
    let seed = seed + 100_000;
    let length = |packet: Headers, ip_length| Headers { ip_length, ..packet };
    match noise(seed + 3) % 100 {
        0..4 => length(tcp(seed, random_port(seed), 443, 0x02), 60),
        4..60 => length(tcp(seed, random_port(seed), 443, 0x10), 52),
        60..95 => length(tcp(seed, random_port(seed), 443, 0x18), 200 + noise(seed) % 700),
        _ => length(udp(seed, 53, random_port(seed)), 80 + noise(seed) % 200),
    }
}

fn peace(packets: Vec<Headers>) -> Peace {
    let seconds = (0..packets.len() as u32).map(|index| index / 100).collect();
    Peace { packets, seconds, one_in: 1.0, whose: Whose::Target }
}

fn web_in_peace() -> Peace {
    peace(sample(2_000, web))
}

/// Mines with what is usual but for the things named.
fn mine_with(target: &Target, sample: &[Headers], peace: &Peace, change: impl FnOnce(&mut Task)) -> Outcome {
    let (limits, profile, whitelist) = (Limits::default(), Profile::default(), Whitelist::default());
    let mut task = Task {
        target: *target,
        by: Unit::Pps,
        sample,
        seconds: 0.0,
        peace,
        profile: &profile,
        limits: &limits,
        whitelist: &whitelist,
    };
    change(&mut task);
    mine(&task)
}

fn words(outcome: &Outcome) -> Vec<String> {
    outcome.rules.iter().map(|mined| mined.rule.to_string().replace("dst 192.0.2.5/32 ", "")).collect()
}

/// Without a baseline.
fn rules(sample: &[Headers]) -> Vec<String> {
    words(&mine_with(&incoming(), sample, &Peace::unknown(), |_| {}))
}

/// On the web server, four packets of the attack to each of its own.
fn rules_beside_web(attack: &[Headers]) -> Vec<String> {
    let mixed: Vec<Headers> =
        attack.iter().copied().chain(sample(attack.len() / 4, |seed| web(seed + 5_000))).collect();
    words(&mine_with(&incoming(), &mixed, &web_in_peace(), |_| {}))
}

/// The seed's own example: 100 packets with port 53 and UDP against 5 that also share a source.
#[test]
fn the_shortest_rule_that_covers_most() {
    let mut attack = sample(95, |seed| udp(seed, 53, random_port(seed)));
    attack.extend(sample(5, |seed| Headers {
        addresses: Addresses::V4 { source: 0xc633_6401, destination: HOST },
        ..udp(seed, 53, random_port(seed))
    }));
    let outcome = mine_with(&incoming(), &attack, &Peace::unknown(), |_| {});
    assert_eq!(words(&outcome), ["proto udp sport 53"]);
    let mined = &outcome.rules[0];
    assert_eq!((mined.coverage, mined.packets, outcome.uncovered), (1.0, 100, 0.0));
    let beginning = "proto udp sport 53: 100.0 % of the sample's packets (100 of 100 packets); there is no baseline";
    assert!(mined.reason.starts_with(beginning), "{}", mined.reason);
}

#[test]
fn amplification_with_fragments() {
    let mut attack = sample(300, |seed| udp(seed, 53, random_port(seed)));
    attack.extend(sample(200, |seed| later_fragment(seed + 300)));
    let both = ["proto udp sport 53", "proto udp frag is-fragment"];
    assert_eq!(rules(&attack), both);
    // The web server has DNS answers of its own, and no fragments: its answers are short.
    let long: Vec<Headers> =
        attack.iter().map(|packet| Headers { ip_length: 1_000 + packet.ip_length % 500, ..*packet }).collect();
    let [one] = &rules_beside_web(&long)[..] else { panic!("{:?}", rules_beside_web(&long)) };
    assert!(one.starts_with("proto udp length ") && one.ends_with("-1500"), "{one}");
}

#[test]
fn a_syn_flood_is_told_from_the_hosts_own_connections_by_what_else_it_has() {
    let flood = sample(400, |seed| Headers { ip_length: 40, ..tcp(seed, random_port(seed), 443, 0x02) });
    assert_eq!(rules(&flood), ["proto tcp flags syn&!ack length 40"], "nothing is known of the host");
    assert_eq!(rules_beside_web(&flood), ["proto tcp length 40"], "nothing of the host's own is so short");
}

#[test]
fn flags_that_the_host_never_receives() {
    for (flags, words) in [(0x12, "flags syn&ack"), (0x29, "flags urg"), (0x00, "flags !syn&!ack"), (0x04, "flags rst")]
    {
        let attack = sample(400, |seed| tcp(seed, random_port(seed), 443, flags));
        assert_eq!(rules_beside_web(&attack), [format!("proto tcp {words}")]);
    }
}

#[test]
fn what_the_host_receives_anyway_is_spared() {
    // UDP to any port: the host's answers from port 53 are short.
    let attack = sample(400, |seed| udp(seed, random_port(seed), random_port(seed + 1)));
    let flood = rules_beside_web(&attack);
    let spared = sample(2_000, |seed| web(seed + 50_000));
    let outcome = mine_with(&incoming(), &attack, &web_in_peace(), |_| {});
    let hits = |packets: &[Headers]| {
        packets.iter().filter(|packet| outcome.rules.iter().any(|mined| mined.rule.matches(packet))).count()
    };
    let fresh = sample(2_000, |seed| udp(seed + 9_000, random_port(seed + 9_000), random_port(seed + 9_001)));
    assert!(hits(&spared) <= 20 && hits(&fresh) >= 1_900, "{flood:?}: {} and {}", hits(&spared), hits(&fresh));
}

#[test]
fn few_sources() {
    let from = |packet: Headers, source| Headers { addresses: Addresses::V4 { source, destination: HOST }, ..packet };
    let any = |seed| Headers { ip_length: 52, ..tcp(seed, random_port(seed), 443, 0x10) };
    let one = sample(400, |seed| from(any(seed), 0xc633_6409));
    assert_eq!(rules_beside_web(&one), ["src 198.51.100.9/32"]);
    let many = sample(400, |seed| from(any(seed), 0x2d4f_0000 | noise(seed) & 0xffff));
    assert_eq!(rules_beside_web(&many), ["src 45.79.0.0/16"], "aggregated to the length that fits");
    let spoofed = sample(400, |seed| Headers { dscp: 46, ..any(seed) });
    assert_eq!(rules_beside_web(&spoofed), ["proto tcp dscp 46"], "never by the source where that is any");
}

#[test]
fn icmp_other_protocols_and_one_length() {
    let icmp = sample(400, |seed| packet(seed, 1, Upper::Icmp { kind: 8, code: 0 }));
    assert_eq!(rules(&icmp), ["proto icmp"]);
    assert_eq!(rules_beside_web(&icmp), ["proto icmp"]);
    let gre = sample(400, |seed| packet(seed, 47, Upper::None));
    assert_eq!(rules_beside_web(&gre), ["proto gre"]);
    let one = sample(400, |seed| Headers { ip_length: 540, ..udp(seed, random_port(seed), random_port(seed + 1)) });
    let [rule] = &rules_beside_web(&one)[..] else { panic!("{:?}", rules_beside_web(&one)) };
    assert!(rule.starts_with("proto udp"), "{rule}");
}

#[test]
fn several_vectors_take_as_few_rules_as_can_be() {
    let ports = [123, 389, 1900, 11211, 19];
    let amplified = sample(500, |seed| udp(seed, ports[seed % 5], random_port(seed)));
    assert_eq!(rules_beside_web(&amplified).len(), 1);
    let mut two = sample(300, |seed| Headers { ip_length: 468, ..udp(seed, 123, random_port(seed)) });
    two.extend(sample(200, |seed| packet(seed, 47, Upper::None)));
    let found = rules_beside_web(&two);
    assert!(found.len() <= 2 && !found.is_empty(), "{found:?}");
    let limits = Limits { most_rules: 0, ..Limits::default() };
    let mut none = mine_with(&incoming(), &two, &web_in_peace(), |_| {});
    assert!(!none.rules.is_empty());
    let (profile, whitelist, peace) = (Profile::default(), Whitelist::default(), web_in_peace());
    none = mine(&Task {
        target: incoming(),
        by: Unit::Pps,
        sample: &two,
        seconds: 0.0,
        peace: &peace,
        profile: &profile,
        limits: &limits,
        whitelist: &whitelist,
    });
    assert!(none.rules.is_empty());
}

#[test]
fn what_looks_like_the_hosts_own_is_limited_and_said_to_be() {
    let flood = sample(500, |seed| web(seed + 20_000));
    let outcome = mine_with(&incoming(), &flood, &web_in_peace(), |_| {});
    let [mined] = &outcome.rules[..] else { panic!("{outcome:?}") };
    let Action::RateBps(rate) = mined.action else { panic!("{:?}", mined.action) };
    let peak = web_in_peace().peak_bps(&mined.rule);
    assert!((rate as f64 - (peak * RATE_MARGIN).max(RATE_MIN_BPS as f64)).abs() < 1.0, "{rate} against {peak}");
    assert!(mined.reason.contains("cannot be told from it"), "{}", mined.reason);
    // Where nobody knows what the host has, there is no rate to limit it to.
    let blind = mine_with(&incoming(), &flood, &Peace::unknown(), |_| {});
    assert!(blind.rules.is_empty() && !blind.note.is_empty(), "{blind:?}");
}

#[test]
fn a_profile_takes_components_and_items_away() {
    let attack = sample(400, |seed| Headers { ip_length: 40, ..tcp(seed, random_port(seed), 443, 0x02) });
    let peace = web_in_peace();
    let profile = Profile {
        components: vec![
            Component::DestinationPrefix,
            Component::Protocol,
            Component::DestinationPort,
            Component::TcpFlags,
        ],
        ..Profile::default()
    };
    let (limits, whitelist) = (Limits::default(), Whitelist::default());
    let limited = mine(&Task {
        target: incoming(),
        by: Unit::Pps,
        sample: &attack,
        seconds: 0.0,
        peace: &peace,
        profile: &profile,
        limits: &limits,
        whitelist: &whitelist,
    });
    // Flags alone cannot tell it from the host's own connections: 4 % of what it receives.
    assert_eq!(words(&limited), ["proto tcp flags syn"], "{limited:?}");
    assert!(limited.rules.iter().all(|mined| mined.rule.packet_lengths.is_empty()));
    assert!(limited.rules.iter().all(|mined| mined.action != Action::Discard), "{limited:?}");
}

#[test]
fn bytes_weigh_where_bytes_crossed() {
    let mut attack = sample(90, |seed| Headers { ip_length: 60, ..tcp(seed, random_port(seed), 443, 0x29) });
    attack.extend(sample(60, |seed| Headers { ip_length: 1400 + seed as u32, ..udp(seed, 123, random_port(seed)) }));
    let peace = web_in_peace();
    let first = |by| mine_with(&incoming(), &attack, &peace, |task| task.by = by).rules[0].clone();
    let (syns, long) = (&attack[0], &attack[100]);
    assert!(first(Unit::Pps).rule.matches(syns));
    let by_bytes = first(Unit::Bps);
    assert!(by_bytes.rule.matches(long) && by_bytes.coverage > 0.9, "{by_bytes:?}");
}

#[test]
fn the_other_way_and_the_other_family() {
    let attack: Vec<Headers> = sample(400, |seed| reversed(udp(seed, 123, random_port(seed))));
    // The host also receives, which is not what crossed.
    let both: Vec<Headers> = attack.into_iter().chain(sample(400, |seed| udp(seed, 53, 53))).collect();
    let outcome = mine_with(&outgoing(), &both, &Peace::unknown(), |_| {});
    assert_eq!(outcome.rules[0].rule.to_string(), "src 192.0.2.5/32 proto udp dport 123");

    let target = Target { prefix: "2001:db8::5/128".parse().unwrap(), direction: Direction::Incoming };
    let from = |seed: usize, source: u128| Headers {
        addresses: Addresses::V6 { source, destination: HOST6 },
        ..tcp(seed, random_port(seed), 443, 0x10)
    };
    let own = peace(sample(500, |seed| from(seed, u128::from(noise(seed)) << 96 | 7)));
    let network = (0x2001_0db8_00ff_u128 << 80) | (7 << 64);
    let attack = sample(400, |seed| from(seed, network | u128::from(noise(seed)) << 32 | u128::from(noise(seed + 5))));
    let outcome = mine_with(&target, &attack, &own, |_| {});
    assert_eq!(outcome.rules[0].rule.to_string(), "dst 2001:db8::5/128 src 2001:db8:ff:7::/64");
    let labelled = sample(400, |seed| Headers { flow_label: 0xabcde, ..from(seed, u128::from(noise(seed)) << 96 | 9) });
    let outcome = mine_with(&target, &labelled, &own, |_| {});
    assert!(outcome.rules[0].rule.to_string().contains("703710"), "{}", outcome.rules[0].rule);
}

#[test]
fn a_rule_says_why_and_what_came_second() {
    let attack = sample(400, |seed| udp(seed, 123, random_port(seed)));
    let mixed: Vec<Headers> = attack.into_iter().chain(sample(100, |seed| web(seed + 5_000))).collect();
    let outcome = mine_with(&incoming(), &mixed, &web_in_peace(), |_| {});
    let mined = &outcome.rules[0];
    assert_eq!(mined.rule.to_string(), "dst 192.0.2.5/32 proto udp sport 123");
    assert_eq!((mined.coverage, mined.collateral), (0.8, 0.0));
    let second = mined.runner_up.as_ref().expect("a runner-up");
    assert!(mined.reason.contains(&second.why), "{}", mined.reason);
    let parts = ["80.0 % of the sample's packets (400 of 500 packets)", "0.0 % of the baseline (0 of 2000 packets"];
    assert!(parts.iter().all(|part| mined.reason.contains(part)), "{}", mined.reason);
    assert!(mined.reason.contains("with 95 % confidence at most 0.2 %"), "{}", mined.reason);
}

#[test]
fn of_two_rules_that_end_the_same_none_is_said_to_have_lost() {
    let attack = sample(491, |seed| Headers { ip_length: 232, dscp: 8, ..udp(seed, 4500, random_port(seed)) });
    let own = |seed: usize| match seed % 3 {
        0 => Headers { addresses: udp(1, 0, 0).addresses, ip_length: 160, ..tcp(seed, 40_112, 443, 0x10) },
        1 => Headers { addresses: udp(2, 0, 0).addresses, ip_length: 100, ..tcp(seed, 51_230, 443, 0x10) },
        _ => Headers { addresses: udp(3, 0, 0).addresses, ip_length: 108, ..udp(seed, 53, 42_001) },
    };
    let mixed: Vec<Headers> = attack.into_iter().chain(sample(5, own)).collect();
    let outcome = mine_with(&incoming(), &mixed, &peace(sample(700, own)), |_| {});
    let mined = &outcome.rules[0];
    assert!(mined.runner_up.as_ref().is_none_or(|second| second.rule != mined.rule), "{}", mined.reason);
}

#[test]
fn the_baseline_of_a_group_stands_for_the_hosts_own() {
    let elsewhere = |seed: usize| {
        let Addresses::V4 { source, .. } = web(seed).addresses else { unreachable!() };
        Headers { addresses: Addresses::V4 { source, destination: HOST + 9 }, ..web(seed) }
    };
    let group = Peace { whose: Whose::Group, ..peace(sample(2_000, elsewhere)) };
    let attack = sample(400, |seed| Headers { ip_length: 40, ..tcp(seed, random_port(seed), 443, 0x02) });
    let outcome = mine_with(&incoming(), &attack, &group, |_| {});
    assert_eq!(words(&outcome), ["proto tcp length 40"]);
    assert!(outcome.rules[0].reason.contains("0.0 % of the baseline of its group"), "{}", outcome.rules[0].reason);
}

#[test]
fn nothing_to_go_by() {
    assert!(rules(&[]).is_empty());
    let unlike = sample(250, |seed| packet(seed, seed as u8, Upper::None));
    assert!(rules(&unlike).len() <= 1);
    let elsewhere = sample(100, |seed| reversed(udp(seed, 53, 53)));
    assert!(rules(&elsewhere).is_empty());
    let mapped = Target { prefix: "::ffff:192.0.2.5/128".parse().unwrap(), ..incoming() };
    let outcome = mine_with(&mapped, &sample(100, |seed| udp(seed, 53, 53)), &Peace::unknown(), |_| {});
    assert!(outcome.rules.is_empty());
}

#[test]
fn a_whitelisted_far_end_is_no_source_and_what_else_they_have_in_common_is() {
    let far = |seed: usize| {
        let network = if seed.is_multiple_of(2) { 0xcb00_7100 } else { 0xc633_6400 };
        let addresses = Addresses::V4 { source: network | (noise(seed) & 0xff), destination: HOST };
        Headers { addresses, ip_length: 52, ..tcp(seed, random_port(seed), 443, 0x10) }
    };
    let (attack, peace) = (sample(400, far), web_in_peace());
    let sources = |remote: &[&str]| {
        let remote_networks = remote.iter().map(|text| text.parse().unwrap()).collect();
        let whitelist = Whitelist { remote_networks, ..Whitelist::default() };
        let (limits, profile) = (Limits::default(), Profile::default());
        let task = Task {
            target: incoming(),
            by: Unit::Pps,
            sample: &attack,
            seconds: 0.0,
            peace: &peace,
            profile: &profile,
            limits: &limits,
            whitelist: &whitelist,
        };
        let sources = mine(&task).rules.into_iter().filter_map(|mined| mined.rule.source);
        sources.map(|source| source.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        BTreeSet::from_iter(sources(&[])),
        BTreeSet::from(["203.0.113.0/24", "198.51.100.0/24"].map(str::to_owned))
    );
    assert_eq!(sources(&["203.0.113.0/24"]), ["198.51.100.0/24"]);
    assert!(!sources(&["203.0.113.7/32"]).contains(&"203.0.113.0/24".to_owned()));
}

prop_compose! {
    fn any_packet()(
        v6: bool,
        (near, far, swap) in (0..4_u32, prop_oneof![0..3_u32, any::<u32>()], any::<bool>()),
        protocol in prop_oneof![prop::sample::select(vec![1_u8, 6, 17, 47, 58]), any::<u8>()],
        (fragment, ip_length) in (0..16_u8, prop_oneof![Just(40_u32), Just(1500), 20..66_000_u32]),
        (a, b) in (prop_oneof![Just(53_u16), any::<u16>()], prop_oneof![Just(80_u16), any::<u16>()]),
        (flags, which) in (0..0x1000_u16, 0..4_u8),
    ) -> Headers {
        let (near, far) = (HOST - 1 + near, 0xc633_6400 ^ far);
        let (source, destination) = if swap { (near, far) } else { (far, near) };
        let wide = |address: u32| HOST6 - u128::from(HOST) + u128::from(address);
        Headers {
            addresses: match v6 {
                false => Addresses::V4 { source, destination },
                true => Addresses::V6 { source: wide(source), destination: wide(destination) },
            },
            upper: match which {
                0 => Upper::None,
                1 => Upper::Ports { source: a, destination: b },
                2 => Upper::Tcp { source: a, destination: b, flags },
                _ => Upper::Icmp { kind: a as u8, code: b as u8 },
            },
            fragment: if v6 { fragment & !fragment::DONT } else { fragment },
            protocol, class: Class::Other, dscp: 0, ttl: 0, ip_length, flow_label: 0,
        }
    }
}

proptest! {
    #[test]
    fn any_sample(
        sample in prop::collection::vec(any_packet(), 0..120),
        own in prop::collection::vec(any_packet(), 0..120),
        target in prop::sample::select(vec!["192.0.2.5/32", "192.0.2.4/30", "192.0.2.5/29", "2001:db8::5/128", "::/0"]),
        outgoing: bool,
        bytes: bool,
        (most_rules, least_coverage, most_collateral) in (0..8_usize, 0.0..0.6_f64, 0.0..0.2_f64),
        (items_max, dont_fragment, lacks) in (1..6_usize, any::<bool>(), 0..13_usize),
        remote in prop::sample::subsequence(vec!["198.51.100.0/30", "198.51.0.0/16", "2001:db8::/65"], 0..=3),
    ) {
        let prefix: IpNet = target.parse().unwrap();
        let direction = if outgoing { Direction::Outgoing } else { Direction::Incoming };
        let target = Target { prefix, direction };
        let limits = Limits { most_rules, least_coverage, most_collateral, ..Limits::default() };
        let by = if bytes { Unit::Bps } else { Unit::Pps };
        let remote_networks = remote.iter().map(|text| text.parse().unwrap()).collect();
        let whitelist = Whitelist { remote_networks, ..Whitelist::default() };
        let components = Component::ALL.into_iter().filter(|&component| component != Component::ALL[lacks]).collect();
        let profile = Profile { components, items_max, dont_fragment, rules_max: 5, ..Profile::default() };
        let peace = peace(own);
        let task = Task {
            target, by, sample: &sample, seconds: 0.0, peace: &peace, profile: &profile, limits: &limits, whitelist: &whitelist,
        };
        let outcome = mine(&task);
        prop_assert_eq!(&outcome, &mine(&task), "the same again");
        prop_assert!(outcome.rules.len() <= limits.most_rules.min(5));

        let only_target = target.all();
        let attack: Vec<Headers> = sample.iter().filter(|packet| only_target.matches(packet)).copied().collect();
        let own = peace.as_of(&target).packets;
        let total = |packets: &[Headers]| packets.iter().map(|packet| weight(packet, by)).sum::<f64>();
        let share = |rule: &FlowRule, packets: &[Headers]| {
            let matched: Vec<Headers> = packets.iter().filter(|packet| rule.matches(packet)).copied().collect();
            total(&matched) / total(packets)
        };
        for Mined { rule, coverage, collateral, packets, runner_up, .. } in &outcome.rules {
            prop_assert!(runner_up.as_ref().is_none_or(|next| next.rule != *rule), "no rule lost to itself: {}", rule);
            let near = if outgoing { rule.source } else { rule.destination };
            prop_assert_eq!(near, Some(prefix.trunc()), "stays within the target");
            prop_assert!(*rule != only_target);
            prop_assert_eq!(profile.check(rule, &Action::Discard), Ok(()), "stays within the profile: {}", rule);
            prop_assert!(whitelist.against(&target, rule).is_none());
            let family = if matches!(prefix, IpNet::V4(_)) { Family::V4 } else { Family::V6 };
            prop_assert_eq!(nlri::decode(family, &nlri::encode(rule).unwrap()), Ok(rule.clone()));
            prop_assert_eq!(*packets, attack.iter().filter(|packet| rule.matches(packet)).count());
            prop_assert!((coverage - share(rule, &attack)).abs() < 1e-9);
            prop_assert!(own.is_empty() || (collateral - share(rule, &own)).abs() < 1e-9);
        }
        let left = attack.iter().filter(|packet| !outcome.rules.iter().any(|mined| mined.rule.matches(packet)));
        let left = total(&left.copied().collect::<Vec<_>>());
        prop_assert!(attack.is_empty() || (outcome.uncovered - left / total(&attack)).abs() < 1e-9);
    }
}
