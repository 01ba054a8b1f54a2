//! Attacks of each kind, and what holds for any sample.

use dataplane::packet::Class;
use dataplane::rule::Family;
use proptest::prelude::*;

use super::*;

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

/// As [`super::mine`], with an empty whitelist.
fn mine(target: &Target, sample: &[Headers], by: Unit, limits: &Limits) -> Vec<Mined> {
    super::mine(target, sample, by, limits, &Whitelist::default())
}

fn rules(target: Target, sample: &[Headers]) -> Vec<String> {
    let mined = mine(&target, sample, Unit::Pps, &Limits::default());
    mined.iter().map(|mined| mined.rule.to_string()).collect()
}

/// The seed's own example: 100 packets with port 53 and UDP against 5 that also share a source.
#[test]
fn shortest_rule_that_covers_most() {
    let mut attack = sample(95, |seed| udp(seed, 53, random_port(seed)));
    attack.extend(sample(5, |seed| Headers {
        addresses: Addresses::V4 { source: 0xc633_6401, destination: HOST },
        ..udp(seed, 53, random_port(seed))
    }));
    let mined = mine(&incoming(), &attack, Unit::Pps, &Limits::default());
    assert_eq!(mined.len(), 1);
    assert_eq!(mined[0].rule.to_string(), "dst 192.0.2.5/32 proto udp sport 53");
    assert_eq!((mined[0].coverage, mined[0].packets), (1.0, 100));
    assert_eq!(mined[0].reason, "udp port 53 at the far end: 100.0 % of the packets (100 of 100 packets)");
}

#[test]
fn dns_amplification_with_fragments() {
    let mut attack = sample(300, |seed| udp(seed, 53, random_port(seed)));
    attack.extend(sample(200, |seed| later_fragment(seed + 300)));
    let expected = ["dst 192.0.2.5/32 proto udp sport 53", "dst 192.0.2.5/32 proto udp frag is-fragment"];
    assert_eq!(rules(incoming(), &attack), expected);
}

#[test]
fn spoofed_syn_flood_beside_the_hosts_own_traffic() {
    let mut attack = sample(400, |seed| tcp(seed, random_port(seed), 443, 0x02));
    attack.extend(sample(100, |seed| tcp(seed, random_port(seed), 443, 0x10)));
    assert_eq!(rules(incoming(), &attack), ["dst 192.0.2.5/32 proto tcp flags syn&!ack"]);
}

#[test]
fn other_tcp_floods() {
    for (flags, words) in [
        (0x12, "flags syn&ack"),
        (0x04, "flags rst&!syn"),
        (0x14, "flags rst&!syn"),
        (0x29, "flags fin&psh&urg&!syn&!rst&!ack"),
        (0x00, "flags !fin&!syn&!rst&!psh&!ack&!urg"),
        (0x10, "dport 80 flags ack&!fin&!syn&!rst&!psh&!urg"),
    ] {
        let attack = sample(500, |seed| tcp(seed, random_port(seed), 80, flags));
        assert_eq!(rules(incoming(), &attack), [format!("dst 192.0.2.5/32 proto tcp {words}")]);
    }
}

#[test]
fn icmp_flood() {
    let attack = sample(500, |seed| packet(seed, 1, Upper::Icmp { kind: 8, code: 0 }));
    assert_eq!(rules(incoming(), &attack), ["dst 192.0.2.5/32 proto icmp icmp-type 8 icmp-code 0"]);
    let attack = sample(500, |seed| packet(seed, 1, Upper::Icmp { kind: 3, code: seed as u8 }));
    assert_eq!(rules(incoming(), &attack), ["dst 192.0.2.5/32 proto icmp icmp-type 3"]);
}

#[test]
fn few_sources() {
    let from = |packet: Headers, source| Headers { addresses: Addresses::V4 { source, destination: HOST }, ..packet };
    let one = sample(500, |seed| from(udp(seed, random_port(seed), random_port(seed + 1)), 0xc633_6409));
    assert_eq!(rules(incoming(), &one), ["dst 192.0.2.5/32 src 198.51.100.9/32"]);
    let many = sample(500, |seed| {
        from(udp(seed, random_port(seed), random_port(seed + 1)), 0xc633_0000 | noise(seed) & 0xffff)
    });
    assert_eq!(rules(incoming(), &many), ["dst 192.0.2.5/32 src 198.51.0.0/16"]);
}

#[test]
fn one_length() {
    let attack = sample(500, |seed| Headers { ip_length: 540, ..udp(seed, random_port(seed), random_port(seed + 1)) });
    assert_eq!(rules(incoming(), &attack), ["dst 192.0.2.5/32 proto udp length 540"]);
}

#[test]
fn nothing_but_the_service() {
    let to_one_port = sample(500, |seed| udp(seed, random_port(seed), 27015));
    let mined = mine(&incoming(), &to_one_port, Unit::Pps, &Limits::default());
    assert_eq!(mined.len(), 1);
    assert_eq!(mined[0].rule.to_string(), "dst 192.0.2.5/32 proto udp dport 27015");
    assert!(mined[0].reason.ends_with("nothing sets it apart from the host's own service"), "{}", mined[0].reason);
    let mostly_one = sample(500, |seed| udp(seed, random_port(seed), if seed % 5 < 3 { 27015 } else { seed as u16 }));
    assert_eq!(rules(incoming(), &mostly_one), ["dst 192.0.2.5/32 proto udp"], "a port that most of it lacks");
    let acknowledgements = sample(500, |seed| Headers { ip_length: 52, ..tcp(seed, random_port(seed), 80, 0x10) });
    let expected = "dst 192.0.2.5/32 proto tcp dport 80 flags ack&!fin&!syn&!rst&!psh&!urg length 52";
    assert_eq!(rules(incoming(), &acknowledgements), [expected]);
    let to_any_port = sample(500, |seed| udp(seed, random_port(seed), random_port(seed + 1)));
    assert_eq!(rules(incoming(), &to_any_port), ["dst 192.0.2.5/32 proto udp"]);
}

#[test]
fn a_wide_rule_makes_a_narrow_one_superfluous() {
    let mut attack = sample(100, |seed| udp(seed, 53, random_port(seed)));
    attack.extend(sample(400, |seed| udp(seed + 100, random_port(seed), random_port(seed + 1))));
    assert_eq!(rules(incoming(), &attack), ["dst 192.0.2.5/32 proto udp"]);
}

#[test]
fn the_wide_rule_takes_the_place_of_the_last() {
    let mut attack = sample(100, |seed| tcp(seed, random_port(seed), 443, 0x02));
    attack.extend(sample(400, |seed| udp(seed + 100, random_port(seed), random_port(seed + 1))));
    let both = ["dst 192.0.2.5/32 proto tcp flags syn&!ack", "dst 192.0.2.5/32 proto udp"];
    assert_eq!(rules(incoming(), &attack), both);
    let one = mine(&incoming(), &attack, Unit::Pps, &Limits { most_rules: 1, ..Limits::default() });
    assert_eq!(one.iter().map(|mined| mined.rule.to_string()).collect::<Vec<_>>(), both[1..]);
}

#[test]
fn several_vectors() {
    let ports = [53, 123, 389, 1900, 11211, 19];
    let attack = sample(600, |seed| udp(seed, ports[seed % 6], random_port(seed)));
    let mined = mine(&incoming(), &attack, Unit::Pps, &Limits::default());
    assert_eq!(mined.len(), Limits::default().most_rules);
    let six = mine(&incoming(), &attack, Unit::Pps, &Limits { most_rules: 6, ..Limits::default() });
    assert_eq!(six.len(), 6);
    assert!(six.iter().all(|mined| mined.packets == 100));
    assert!(mine(&incoming(), &attack, Unit::Pps, &Limits { most_rules: 0, ..Limits::default() }).is_empty());
}

#[test]
fn outgoing_flood() {
    let attack = sample(400, |seed| reversed(udp(seed, 80, random_port(seed))));
    // The host also receives, which is not what crossed.
    let both: Vec<Headers> = attack.into_iter().chain(sample(400, |seed| udp(seed, 53, 53))).collect();
    assert_eq!(rules(outgoing(), &both), ["src 192.0.2.5/32 proto udp dport 80"]);
}

#[test]
fn ipv6_flood() {
    let target = Target { prefix: "2001:db8::5/128".parse().unwrap(), direction: Direction::Incoming };
    let from = |seed: usize, source: u128| Headers {
        addresses: Addresses::V6 { source, destination: HOST6 },
        ..udp(seed, random_port(seed), random_port(seed + 1))
    };
    let network = (0x2001_0db8_00ff_u128 << 80) | (7 << 64);
    let attack = sample(500, |seed| from(seed, network | u128::from(noise(seed))));
    assert_eq!(rules(target, &attack), ["dst 2001:db8::5/128 src 2001:db8:ff:7::/64"]);
    let mapped = sample(500, |seed| from(seed, 0xffff_0000_0000 | 5));
    assert_eq!(rules(target, &mapped), ["dst 2001:db8::5/128 proto udp"]);
}

#[test]
fn bytes_weigh_where_bytes_crossed() {
    let mut attack = sample(90, |seed| Headers { ip_length: 60, ..tcp(seed, random_port(seed), 443, 0x02) });
    attack.extend(sample(60, |seed| Headers { ip_length: 1400 + seed as u32, ..udp(seed, 53, random_port(seed)) }));
    let first = |by| mine(&incoming(), &attack, by, &Limits::default())[0].clone();
    assert_eq!(first(Unit::Pps).rule.to_string(), "dst 192.0.2.5/32 proto tcp flags syn&!ack");
    let by_bytes = first(Unit::Bps);
    assert_eq!(by_bytes.rule.to_string(), "dst 192.0.2.5/32 proto udp sport 53");
    assert!(by_bytes.coverage > 0.9 && by_bytes.packets == 60);
}

#[test]
fn a_whitelisted_far_end_is_no_source_and_what_else_they_have_in_common_is() {
    let far = |seed: usize, network: u32| {
        let upper = Upper::Ports { source: random_port(seed), destination: random_port(seed + 1) };
        let addresses = Addresses::V4 { source: network | (noise(seed) & 0xff), destination: HOST };
        Headers { addresses, ..packet(seed, 17, upper) }
    };
    // Half of it comes from 203.0.113.0/24, half from 198.51.100.0/24.
    let attack = sample(400, |seed| far(seed, if seed % 2 == 0 { 0xcb00_7100 } else { 0xc633_6400 }));
    let sources = |remote: &[&str]| {
        let remote_networks = remote.iter().map(|text| text.parse().unwrap()).collect();
        let whitelist = Whitelist { remote_networks, ..Whitelist::default() };
        let mined = super::mine(&incoming(), &attack, Unit::Pps, &Limits::default(), &whitelist);
        let reversed: Vec<Headers> = attack.iter().copied().map(reversed).collect();
        let outgoing = super::mine(&outgoing(), &reversed, Unit::Pps, &Limits::default(), &whitelist);
        let far_ends: Vec<_> = outgoing.iter().map(|mined| mined.rule.destination.map(|far| far.to_string())).collect();
        let sources: Vec<_> = mined.iter().map(|mined| mined.rule.source.map(|source| source.to_string())).collect();
        assert_eq!(sources, far_ends, "the same the other way");
        sources.into_iter().flatten().collect::<Vec<String>>()
    };
    assert_eq!(sources(&[]), ["198.51.100.0/24", "203.0.113.0/24"]);
    assert_eq!(sources(&["203.0.113.0/25"]), ["198.51.100.0/24"], "a network around it is none either");
    assert_eq!(sources(&["203.0.0.0/16"]), ["198.51.100.0/24"]);
    assert_eq!(sources(&["203.0.113.0/24", "198.51.100.7/32"]), [""; 0]);
}

#[test]
fn nothing_to_say() {
    assert!(rules(incoming(), &[]).is_empty());
    let unlike = sample(250, |seed| packet(seed, seed as u8, Upper::None));
    assert!(rules(incoming(), &unlike).is_empty());
    let elsewhere = sample(100, |seed| reversed(udp(seed, 53, 53)));
    assert!(rules(incoming(), &elsewhere).is_empty());
    let mapped = Target { prefix: "::ffff:192.0.2.5/128".parse().unwrap(), ..incoming() };
    assert!(rules(mapped, &sample(100, |seed| udp(seed, 53, 53))).is_empty());
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
        target in prop::sample::select(vec!["192.0.2.5/32", "192.0.2.4/30", "192.0.2.5/29", "2001:db8::5/128", "::/0"]),
        outgoing: bool,
        bytes: bool,
        limits in (0..8_usize, 0.0..0.6_f64),
        remote in prop::sample::subsequence(vec!["198.51.100.0/30", "198.51.0.0/16", "2001:db8::/65"], 0..=3),
    ) {
        let prefix: IpNet = target.parse().unwrap();
        let direction = if outgoing { Direction::Outgoing } else { Direction::Incoming };
        let target = Target { prefix, direction };
        let limits = Limits { most_rules: limits.0, least_coverage: limits.1 };
        let by = if bytes { Unit::Bps } else { Unit::Pps };
        let remote_networks = remote.iter().map(|text| text.parse().unwrap()).collect();
        let whitelist = Whitelist { remote_networks, ..Whitelist::default() };
        let mined = super::mine(&target, &sample, by, &limits, &whitelist);
        prop_assert!(mined.iter().all(|mined| whitelist.against(&target, &mined.rule).is_none()));
        prop_assert!(mined.len() <= limits.most_rules);
        prop_assert_eq!(&mined, &super::mine(&target, &sample, by, &limits, &whitelist), "the same again");

        let only_target = target_rule(&target);
        let attack: Vec<Headers> = sample.into_iter().filter(|packet| only_target.matches(packet)).collect();
        let total = weight(&attack, by);
        for Mined { rule, coverage, packets, .. } in mined {
            let held = if outgoing { rule.source } else { rule.destination };
            prop_assert_eq!(held, Some(prefix.trunc()), "stays within the target");
            prop_assert!(rule != only_target);
            let family = if matches!(prefix, IpNet::V4(_)) { Family::V4 } else { Family::V6 };
            prop_assert_eq!(nlri::decode(family, &nlri::encode(&rule).unwrap()), Ok(rule.clone()));
            let matched: Vec<Headers> = attack.iter().filter(|packet| rule.matches(packet)).copied().collect();
            prop_assert_eq!(packets, matched.len());
            prop_assert!((coverage - weight(&matched, by) / total).abs() < 1e-9);
            prop_assert!(coverage >= limits.least_coverage - 1e-9);
        }
    }
}
