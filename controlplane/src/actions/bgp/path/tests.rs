use dataplane::rule::{Bits, Pass, Ranges};
use proptest::prelude::*;

use super::*;
use crate::profile::Profile;

fn mark() -> Mark {
    Mark([64_512, 7_653, 1])
}

fn rule(destination: &str) -> FlowRule {
    FlowRule { destination: Some(destination.parse().unwrap()), ..FlowRule::default() }
}

fn engine(communities: &[Community]) -> Engine {
    Engine { communities: communities.to_vec(), ..Engine::new("edge", "unix:///nowhere", mark()) }
}

/// With next hops for routes of both kinds.
fn with_next_hops() -> Engine {
    let next_hops = |v4: [u8; 4], v6: &str| NextHops { v4: Some(v4.into()), v6: Some(v6.parse().unwrap()) };
    let blackhole = Route { next_hops: next_hops([192, 0, 2, 66], "100::1"), communities: Vec::new() };
    let scrubber = vec![Community::Standard(7), Community::Extended([0, 2, 0xfc, 0, 0, 0, 0, 100])];
    let divert = Route { next_hops: next_hops([203, 0, 113, 1], "2001:db8:ffff::1"), communities: scrubber };
    Engine { blackhole, divert, ..engine(&[Community::Standard(9)]) }
}

#[test]
fn marks_have_identifiers_of_their_own() {
    let others = [[64_512, 7_653, 2], [64_512, 7_654, 1], [64_513, 7_653, 1]];
    assert_ne!(mark().identifier(), 0);
    for other in others {
        assert_ne!(mark().identifier(), Mark(other).identifier(), "{other:?}");
    }
}

#[test]
fn a_path_has_all_that_an_engine_asks_for() {
    let communities = [Community::Standard(0xfde8_0002), Community::Large([1, 2, 3]), Community::Standard(0xfde8_0001)];
    let announcement = Announcement::new(&rule("192.0.2.1/32"), &Action::Discard, &engine(&communities)).unwrap();
    let path = announcement.to_request().path.unwrap();
    assert_eq!(path.family, Some(gobgp::Family { afi: 1, safi: 133 }));
    assert_eq!(path.identifier, mark().identifier());
    assert_eq!(path.nlri_binary, [6, 1, 32, 192, 0, 2, 1]);
    let expected: [&[u8]; 5] = [
        &[0x40, 1, 1, 0],
        &[0x40, 3, 4, 0, 0, 0, 0],
        &[0xc0, 8, 8, 0xfd, 0xe8, 0, 1, 0xfd, 0xe8, 0, 2],
        &[0xc0, 16, 8, 0x80, 6, 0, 0, 0, 0, 0, 0],
        &[0xc0, 32, 24, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0xfc, 0, 0, 0, 0x1d, 0xe5, 0, 0, 0, 1],
    ];
    assert_eq!(path.pattrs_binary, expected);
}

#[test]
fn what_is_listed_equals_what_was_sent() {
    for destination in ["192.0.2.0/24", "2001:db8::1/128"] {
        let sent =
            Announcement::new(&rule(destination), &Action::RatePps(7), &engine(&[Community::Standard(9)])).unwrap();
        let table = sent.key().table;
        let listed = gobgp::Path { neighbor_ip: "<nil>".to_owned(), ..sent.to_request().path.unwrap() };
        assert_eq!(Announcement::from_listed(listed.clone(), table, mark()), Some(sent));
        let from_peer = gobgp::Path { neighbor_ip: "192.0.2.9".to_owned(), ..listed.clone() };
        assert_eq!(Announcement::from_listed(from_peer, table, mark()), None);
        let other = Mark([64_512, 7_653, 2]);
        assert_eq!(Announcement::from_listed(listed, table, other), None);
    }
}

#[test]
fn attributes_are_read_whatever_their_length_and_order() {
    let long = [&[0xd0, 32, 0, 24], &[0, 0, 0, 2].repeat(3)[..], &[0, 0, 0, 1].repeat(3)[..]].concat();
    let attributes = Attributes::decode(&[vec![0xc0], long, vec![0xc0, 8, 6, 0, 0, 0, 1, 0, 0], vec![]]);
    assert_eq!(attributes.large, [[1; 3], [2; 3]]);
    assert_eq!(attributes.communities, [1]);
}

#[test]
fn a_blackhole_is_a_route_with_its_communities_and_next_hop() {
    let engine = with_next_hops();
    let next_hops = engine.blackhole.next_hops;
    let blackhole = |destination: &str| Announcement::new(&rule(destination), &Action::Blackhole, &engine);
    let path = blackhole("198.18.0.0/23").unwrap().to_request().path.unwrap();
    assert_eq!((path.family, path.nlri_binary), (Some(gobgp::Family { afi: 1, safi: 1 }), vec![23, 198, 18, 0]));
    let expected: [&[u8]; 4] = [
        &[0x40, 1, 1, 0],
        &[0x40, 3, 4, 192, 0, 2, 66],
        &[0xc0, 8, 12, 0, 0, 0, 9, 0xff, 0xff, 2, 0x9a, 0xff, 0xff, 0xff, 1],
        &[0xc0, 32, 12, 0, 0, 0xfc, 0, 0, 0, 0x1d, 0xe5, 0, 0, 0, 1],
    ];
    assert_eq!(path.pattrs_binary, expected);

    // As GoBGP lists one of IPv6: the next hop within MP_REACH_NLRI.
    let sent = blackhole("2001:db8::1/128").unwrap();
    let mut path = gobgp::Path { neighbor_ip: NO_NEIGHBOUR.to_owned(), ..sent.to_request().path.unwrap() };
    assert_eq!((path.family, path.nlri_binary.len()), (Some(gobgp::Family { afi: 2, safi: 1 }), 17));
    path.pattrs_binary[1] =
        [&[0x80, 14, 38, 0, 2, 1, 16], &next_hops.v6.unwrap().octets()[..], &[0], &path.nlri_binary].concat();
    assert_eq!(Announcement::from_listed(path.clone(), Table::UNICAST[1], mark()), Some(sent));
    // Another next hop is another route.
    path.pattrs_binary[1][22] = 2;
    let listed = Announcement::from_listed(path, Table::UNICAST[1], mark()).unwrap();
    assert_ne!(listed.attributes(), blackhole("2001:db8::1/128").unwrap().attributes());

    let mut without = with_next_hops();
    without.blackhole.next_hops.v6 = None;
    let none = Announcement::new(&rule("2001:db8::1/128"), &Action::Blackhole, &without);
    assert!(matches!(none, Err(Refusal::NoNextHop("blackhole_next_hops"))));
    let rule = FlowRule { protocols: [(17, 17)].into_iter().collect(), ..rule("198.18.0.1/32") };
    let narrow = Announcement::new(&rule, &Action::Blackhole, &engine);
    assert!(matches!(narrow, Err(Refusal::NotARoute(Action::Blackhole))));
    assert!(matches!(blackhole("192.0.2.0/24"), Err(Refusal::OwnNextHop(..))), "it would lead to itself");
}

#[test]
fn a_diversion_is_a_route_to_the_scrubber_with_its_own_communities() {
    let engine = with_next_hops();
    let path = Announcement::new(&rule("198.18.0.0/24"), &Action::Divert, &engine).unwrap().to_request().path.unwrap();
    assert_eq!((path.family, path.nlri_binary), (Some(gobgp::Family { afi: 1, safi: 1 }), vec![24, 198, 18, 0]));
    let expected: [&[u8]; 5] = [
        &[0x40, 1, 1, 0],
        &[0x40, 3, 4, 203, 0, 113, 1],
        &[0xc0, 8, 8, 0, 0, 0, 7, 0, 0, 0, 9],
        &[0xc0, 16, 8, 0, 2, 0xfc, 0, 0, 0, 0, 100],
        &[0xc0, 32, 12, 0, 0, 0xfc, 0, 0, 0, 0x1d, 0xe5, 0, 0, 0, 1],
    ];
    assert_eq!(path.pattrs_binary, expected);
}

#[test]
fn every_action_of_a_rule_is_listed_as_it_was_sent() {
    let pass = |text: &str| Pass { redirect: Some(text.parse().unwrap()), ..Pass::default() };
    let mark_and_more = Pass { dscp: Some(46), sample: true, terminal: true, ..Pass::default() };
    let all = Pass { dscp: Some(10), ..pass("64512:100") };
    let actions = [pass("192.0.2.1:100"), pass("192.0.2.9"), mark_and_more, all, Pass::default()];
    let gobgp = Engine { profile: Profile::named("gobgp").unwrap(), ..engine(&[]) };
    let v4 = actions.into_iter().chain([pass("4200000000:100")]).map(|action| ("198.18.0.1/32", action));
    for (destination, action) in v4.chain([("2001:db8::1/128", pass("2001:db8::9"))]) {
        let sent = Announcement::new(&rule(destination), &Action::Pass(action), &gobgp).unwrap();
        let listed = gobgp::Path { neighbor_ip: NO_NEIGHBOUR.to_owned(), ..sent.to_request().path.unwrap() };
        assert_eq!(Announcement::from_listed(listed, sent.key().table, mark()), Some(sent), "{action}");
    }
    let sent = Announcement::new(&rule("2001:db8::1/128"), &Action::Pass(pass("2001:db8::9")), &gobgp).unwrap();
    let path = sent.to_request().path.unwrap();
    let attribute = path.pattrs_binary.iter().find(|attribute| attribute[1] == 25).expect("attribute 25");
    assert_eq!(attribute[..5], [0xc0, 25, 20, 0, 0x0c]);
}

/// What makes routers reset their session, or GoBGP fail, row by row; for an engine whose routers take all that any takes, where
/// it is not the profile that forbids it.
#[test]
fn nothing_that_costs_a_session_becomes_an_announcement() {
    let strict = engine(&[]);
    let roomy = Engine { profile: Profile::named("bird").unwrap(), ..engine(&[]) };
    let host = || rule("192.0.2.5/32");
    let host6 = || rule("2001:db8::5/128");
    let numbers = |count: u32, step: u32| (0..count).map(|at| (at * step, at * step)).collect::<Ranges>();
    let refused = |row: &str, engine: &Engine, rule: FlowRule, action: Action| {
        assert!(Announcement::new(&rule, &action, engine).is_err(), "{row}: {rule} {action}");
    };
    let discard = |row: &str, engine: &Engine, rule: FlowRule| refused(row, engine, rule, Action::Discard);
    discard("more than 5 items", &strict, FlowRule { ports: numbers(6, 2), ..host() });
    let ranges: Ranges = [(1, 9), (20, 29), (40, 49)].into_iter().collect();
    discard("more than 5 items, a range is 2", &strict, FlowRule { packet_lengths: ranges, ..host() });
    let frr = Engine { profile: Profile::named("frr").unwrap(), ..engine(&[]) };
    discard("more than 5 items", &frr, FlowRule { ports: numbers(6, 2), ..host() });
    for ports in [77, 78, 79, 120, 300] {
        let long = FlowRule { ports: numbers(ports, 300), ..host() };
        let length = 9 + 3 * (ports as usize - 1);
        let outcome = Announcement::new(&long, &Action::Discard, &roomy);
        assert_eq!(outcome.is_ok(), length <= 238 && (ports - 1) * 300 <= 65_535, "{length} octets");
    }
    let dont_fragment = FlowRule { fragments: vec![Bits { set: 1, clear: 0 }], ..host6() };
    [&strict, &roomy].into_iter().for_each(|engine| discard("DF in IPv6", engine, dont_fragment.clone()));
    discard("no component at all", &roomy, FlowRule::default());
    let no_bits = FlowRule { tcp_flags: vec![Bits { set: 0, clear: 0 }], ..host() };
    discard("operator true: no bits", &roomy, no_bits);
    discard("the other family", &roomy, FlowRule { source: rule("2001:db8::/32").destination, ..host() });
    discard("mapped IPv4", &roomy, rule("::ffff:192.0.2.5/128"));
    refused("mapped IPv4", &with_next_hops(), rule("::ffff:198.18.0.5/128"), Action::Blackhole);
    discard("flow label in IPv4", &roomy, FlowRule { flow_labels: Ranges::from(1), ..host() });
    discard("protocol over 255", &roomy, FlowRule { protocols: Ranges::from(256), ..host() });
    discard("port over 65535", &roomy, FlowRule { ports: Ranges::from(65_536), ..host() });
    discard("port over 65535", &roomy, FlowRule { source_ports: [(1, 70_000)].into_iter().collect(), ..host() });
    discard("length over 65535", &roomy, FlowRule { packet_lengths: Ranges::from(65_536), ..host() });
    discard("DSCP over 63", &roomy, FlowRule { dscps: Ranges::from(64), ..host() });
    discard("flow label over 20 bits", &roomy, FlowRule { flow_labels: Ranges::from(1 << 20), ..host6() });
    discard("flags beyond the header's", &roomy, FlowRule { tcp_flags: vec![Bits { set: 0x200, clear: 0 }], ..host() });
    let exabgp = Engine { profile: Profile::named("exabgp").unwrap(), ..engine(&[]) };
    let redirect = |to: &str| Action::Pass(Pass { redirect: Some(to.parse().unwrap()), ..Pass::default() });
    [&strict, &exabgp]
        .into_iter()
        .for_each(|engine| refused("redirect 0x8208", engine, host(), redirect("4200000000:1")));
    refused("redirect to the other family", &roomy, host(), redirect("2001:db8::9"));
    refused("redirect to the other family", &roomy, host6(), redirect("192.0.2.9"));
    refused("default route", &with_next_hops(), rule("0.0.0.0/0"), Action::Blackhole);
    refused("default route", &with_next_hops(), rule("::/0"), Action::Divert);
    discard("default route", &roomy, rule("0.0.0.0/0"));
    let mut bad = with_next_hops();
    bad.blackhole.next_hops = NextHops { v4: Some([0, 0, 0, 0].into()), v6: Some("::".parse().unwrap()) };
    refused("unspecified next hop", &bad, host6(), Action::Blackhole);
    refused("unspecified next hop", &bad, host(), Action::Blackhole);
    bad.blackhole.next_hops.v6 = Some("::ffff:192.0.2.66".parse().unwrap());
    refused("mapped next hop", &bad, host6(), Action::Blackhole);
    for action in [Action::RateBps(u64::MAX), Action::RatePps(u64::MAX), Action::RateBps(0)] {
        let [.., a, b, c, d] = action.extended_communities()[0];
        assert!(f32::from_be_bytes([a, b, c, d]).is_finite(), "{action}");
    }
}

proptest! {
    /// Whatever the rule: what becomes an announcement reads back as the same rule, has its components in order and each once, and
    /// is within all limits; and as octets, no value has a longer form than it needs.
    #[test]
    fn an_announcement_is_well_formed(
        ports in prop::collection::vec((0u32..70_000, 0u32..70_000), 0..6), lengths in prop::collection::vec((0u32..70_000, 0u32..70_000), 0..4),
        protocols in prop::collection::vec((0u32..300, 0u32..300), 0..3), flags in prop::collection::vec((0u16..0x300, 0u16..0x300), 0..4),
        name in prop::sample::select(Profile::NAMES.to_vec()), v6 in any::<bool>(),
    ) {
        let rule = FlowRule {
            ports: ports.into_iter().collect(),
            packet_lengths: lengths.into_iter().collect(),
            protocols: protocols.into_iter().collect(),
            tcp_flags: flags.into_iter().map(|(set, clear)| Bits { set, clear }).collect(),
            ..rule(if v6 { "2001:db8::5/128" } else { "192.0.2.5/32" })
        };
        let profile = Profile::named(name).unwrap();
        let engine = Engine { profile: profile.clone(), ..engine(&[]) };
        if let Ok(announcement) = Announcement::new(&rule, &Action::Discard, &engine) {
            prop_assert!(announcement.key.nlri.len() <= 1 + 238);
            let again = nlri::decode(if v6 { Family::V6 } else { Family::V4 }, &announcement.key.nlri).unwrap();
            prop_assert_eq!(nlri::encode_within(&again, profile.items_max).unwrap(), announcement.key.nlri);
            prop_assert_eq!(profile.check(&rule, &Action::Discard), Ok(()));
        }
    }
}

#[test]
fn a_withdrawal_names_its_path() {
    let announcement = Announcement::new(&rule("2001:db8::/32"), &Action::Discard, &engine(&[])).unwrap();
    let request = announcement.key().to_withdrawal();
    let path = request.path.expect("without a path it would delete everything");
    assert_eq!(request.family, Some(gobgp::Family { afi: 2, safi: 133 }));
    assert!(path.is_withdraw);
    assert_eq!((path.nlri_binary, path.identifier), (announcement.key().nlri.clone(), mark().identifier()));
}

#[test]
fn what_cannot_be_announced_is_refused() {
    let empty = Announcement::new(&FlowRule::default(), &Action::Discard, &engine(&[]));
    assert!(matches!(empty, Err(Refusal::Unfit(Unfit::Encoding(_)))));
    let communities = vec![Community::Standard(1); COMMUNITIES_MAX + 1];
    let many = Announcement::new(&rule("192.0.2.1/32"), &Action::Discard, &engine(&communities));
    assert!(matches!(many, Err(Refusal::TooManyCommunities(17))));
}
