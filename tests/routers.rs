//! What routers really hold of what Levee announces: `leveed` with rules by hand, gobgpd as engine, and BIRD 2, FRR, ExaBGP and a
//! second gobgpd as routers, each asked for its own table. Needs root, for namespaces.
//!
//! ```text
//!   leveed ──Unix socket── gobgpd, AS 65001 ──bridge──┬── BIRD
//!                          192.0.2.1                  ├── FRR
//!                                                     ├── ExaBGP
//!                                                     └── GoBGP
//! ```

mod support;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use support::bgp::{GOBGPD_CONFIG, Gobgpd};
use support::daemon::{Leveed, Setup, core};
use support::orders::{add, remove};
use support::routers::{Lab, Options};
use support::stub_router::StubRouter;
use support::{never, wait_until};

const SOON: Duration = Duration::from_secs(10);
/// Long enough for a wrong withdrawal to reach a router, which takes milliseconds.
const A_WHILE: Duration = Duration::from_secs(2);
/// What came so long before a session falls is beyond suspicion.
const INNOCENT: Duration = Duration::from_secs(4);
/// All of them.
const NAMES: [&str; 4] = ["BIRD", "FRR", "ExaBGP", "GoBGP"];

/// Match and action as JSON has them, and what each router must hold: values in the order in which they are sent, bits as
/// RFC 8955 numbers them.
const RULES: [(&str, &str, &str); 24] = [
    // Each component by itself, IPv4.
    (r#""destination_prefix":"198.18.0.0/28""#, DISCARD, "dst 198.18.0.0/28 -> discard"),
    (r#""source_prefix":"198.18.0.1/32""#, DISCARD, "src 198.18.0.1/32 -> discard"),
    (
        r#""destination_prefix":"198.18.0.1/32","source_prefix":"198.51.100.0/24""#,
        DISCARD,
        "dst 198.18.0.1/32 src 198.51.100.0/24 -> discard",
    ),
    (
        r#""destination_prefix":"198.18.0.1/32","protocols":["tcp","udp","gre","100-255"]"#,
        DISCARD,
        "dst 198.18.0.1/32 proto 6,17,47,100-255 -> discard",
    ),
    (
        r#""destination_prefix":"198.18.0.1/32","ports":[0,53,"1024-2048"]"#,
        DISCARD,
        "dst 198.18.0.1/32 port 0,53,1024-2048 -> discard",
    ),
    (
        r#""destination_prefix":"198.18.0.1/32","destination_ports":[80,443,8080,8443,65535]"#,
        DISCARD,
        "dst 198.18.0.1/32 dport 80,443,8080,8443,65535 -> discard",
    ),
    (
        r#""destination_prefix":"198.18.0.1/32","source_ports":["0-1023","1025-65535"]"#,
        DISCARD,
        "dst 198.18.0.1/32 sport 0-1023,1025-65535 -> discard",
    ),
    (
        r#""destination_prefix":"198.18.0.1/32","protocols":["icmp"],"icmp_types":[0,3,8],"icmp_codes":["0-3"]"#,
        DISCARD,
        "dst 198.18.0.1/32 proto 1 icmp-type 0,3,8 icmp-code 0-3 -> discard",
    ),
    (
        r#""destination_prefix":"198.18.0.1/32","tcp_flags":["syn&!ack"]"#,
        DISCARD,
        "dst 198.18.0.1/32 flags 0x2&!0x10 -> discard",
    ),
    (
        r#""destination_prefix":"198.18.0.1/32","tcp_flags":["fin","rst","syn&ack","!psh&!urg"]"#,
        DISCARD,
        "dst 198.18.0.1/32 flags any 0x5,!0x28,0x12 -> discard",
    ),
    (
        r#""destination_prefix":"198.18.0.1/32","packet_lengths":[64,"468-500",1500]"#,
        DISCARD,
        "dst 198.18.0.1/32 length 64,468-500,1500 -> discard",
    ),
    (
        r#""destination_prefix":"198.18.0.1/32","dscps":[0,"10-63"]"#,
        DISCARD,
        "dst 198.18.0.1/32 dscp 0,10-63 -> discard",
    ),
    (
        r#""destination_prefix":"198.18.0.1/32","fragmentation_flags":["is-fragment","first-fragment"]"#,
        DISCARD,
        "dst 198.18.0.1/32 frag any 0x6 -> discard",
    ),
    (
        r#""destination_prefix":"198.18.0.1/32","fragmentation_flags":["dont-fragment","not-a-fragment"]"#,
        DISCARD,
        "dst 198.18.0.1/32 frag 0x1,!0x6 -> discard",
    ),
    // Nearly all of them together, either family.
    (
        r#""destination_prefix":"198.18.0.2/32","source_prefix":"203.0.113.0/25","protocols":["udp"],"destination_ports":["1024-65535"],"source_ports":[53],"packet_lengths":["1000-1500"],"dscps":[0],"fragmentation_flags":["!is-fragment"]"#,
        r#""rate-limit","action":{"rate_bps":8000000}"#,
        "dst 198.18.0.2/32 src 203.0.113.0/25 proto 17 dport 1024-65535 sport 53 length 1000-1500 dscp 0 frag !0x2 -> rate 1000000",
    ),
    (
        r#""destination_prefix":"2001:db8:0:5::/64","source_prefix":"2001:db8:ffff::/48","protocols":["icmpv6"],"icmp_types":["128-129"],"icmp_codes":[0],"packet_lengths":["1280-65535"],"dscps":[46],"fragmentation_flags":["last-fragment&!first-fragment"],"flow_labels":[0,"70000-1048575"]"#,
        r#""rate-limit","action":{"rate_bps":100000}"#,
        "dst 2001:db8:0:5::/64 src 2001:db8:ffff::/48 proto 58 icmp-type 128-129 icmp-code 0 length 1280-65535 dscp 46 \
         frag 0x8&!0x4 label 0,70000-1048575 -> rate 12500",
    ),
    // What is let through, somewhere else or marked.
    (
        r#""destination_prefix":"198.18.0.4/32""#,
        r#""redirect","action":{"redirect_target":"64512:100"}"#,
        "dst 198.18.0.4/32 -> redirect 64512:100",
    ),
    (r#""destination_prefix":"2001:db8::4/128""#, r#""mark","action":{"dscp":10}"#, "dst 2001:db8::4/128 -> mark 10"),
    // IPv6.
    (r#""destination_prefix":"2001:db8::6/128""#, DISCARD, "dst 2001:db8::6/128 -> discard"),
    (r#""source_prefix":"2001:db8::6/128""#, DISCARD, "src 2001:db8::6/128 -> discard"),
    (
        r#""destination_prefix":"2001:db8::6/128","protocols":["tcp"],"ports":[443],"tcp_flags":["syn&!ack"]"#,
        DISCARD,
        "dst 2001:db8::6/128 proto 6 port 443 flags 0x2&!0x10 -> discard",
    ),
    (
        r#""destination_prefix":"2001:db8::6/128","protocols":["udp"],"source_ports":["1-1023"],"flow_labels":[703710]"#,
        DISCARD,
        "dst 2001:db8::6/128 proto 17 sport 1-1023 label 703710 -> discard",
    ),
    // Blackholes: routes, with next hop and communities.
    (
        r#""destination_prefix":"198.18.0.9/32""#,
        r#""blackhole""#,
        "dst 198.18.0.9/32 -> via 192.0.2.66, 65535:65281 65535:666",
    ),
    (
        r#""destination_prefix":"2001:db8::9/128""#,
        r#""blackhole""#,
        "dst 2001:db8::9/128 -> via 100::1, 65535:65281 65535:666",
    ),
];
/// Actions that not every router has words for, on a rule for 198.18.0.3/32; and what each of [`NAMES`] shows.
const SHOWN_RAW: [(&str, [&str; 4]); 1] = [(
    r#""rate-limit","action":{"rate_pps":1000}"#,
    ["packet rate 1000", "UNK:128, 12", "packet rate 1000", "128:12 DAAARHoAAA=="],
)];
const DISCARD: &str = r#""discard""#;

/// `leveed` with this engine, without traffic. All four routers take what FRR does.
fn start(gobgpd: &Gobgpd) -> Leveed {
    let rest = format!(
        "[groups.default]\nprofile = \"frr\"\n[detection]\nrules_in_all = 5000\nrules_per_target = 64\nattacks_at_once = 10000\n\
         [bgp]\nmark = \"64512:7653:1\"\nrules_per_second = 10000\nblackhole_next_hops = [\"192.0.2.66\", \"100::1\"]\n\
         [[bgp.engines]]\nname = \"edge\"\naddress = \"{}\"\nprofile = \"frr\"\n",
        gobgpd.address()
    );
    let core = [core()];
    let networks = &["198.18.0.0/16", "2001:db8::/48"];
    let ports: [(&str, &[usize]); 1] = [("net_ring0", &core)];
    let mut leveed = Leveed::prepare(&Setup { networks, ports: &ports, rest: &rest, ..Setup::default() });
    leveed.start();
    leveed
}

fn json(matches: &str, action: &str) -> String {
    format!("{{{matches},\"action_type\":{action}}}")
}

fn expected<'a>(texts: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    texts.into_iter().map(str::to_owned).collect()
}

#[test]
fn every_router_holds_rules_of_every_kind_exactly_as_meant() {
    let lab = Lab::start(Options::default());
    let leveed = start(&lab.gobgpd);
    let added = add(&leveed, &RULES.map(|(matches, action, _)| json(matches, action)));
    lab.wait_tables(&NAMES, SOON, &expected(RULES.map(|(.., text)| text)));
    assert!(leveed.alarms().is_empty(), "{:?}", leveed.alarms());

    // Every second goes, the others stay; then all.
    let (gone, stay): (Vec<_>, Vec<_>) =
        added.into_iter().zip(RULES).enumerate().partition(|(index, _)| index % 2 == 0);
    remove(&leveed, &gone.into_iter().map(|(_, (rule, _))| rule).collect::<Vec<_>>());
    lab.wait_tables(&NAMES, SOON, &expected(stay.iter().map(|(_, (_, (.., text)))| *text)));
    remove(&leveed, &stay.into_iter().map(|(_, (rule, _))| rule).collect::<Vec<_>>());
    lab.wait_tables(&NAMES, SOON, &BTreeSet::new());

    for (action, shown) in SHOWN_RAW {
        let added = add(&leveed, &[json(r#""destination_prefix":"198.18.0.3/32""#, action)]);
        for (name, shown) in NAMES.into_iter().zip(shown) {
            lab.wait_tables(&[name], SOON, &expected([format!("dst 198.18.0.3/32 -> {shown}").as_str()]));
        }
        remove(&leveed, &added);
    }
    lab.wait_tables(&NAMES, SOON, &BTreeSet::new());

    // A thousand in and out. None of the sessions fell over any of this.
    let host = |index: u32| format!("198.18.{}.{}/32", index / 250, index % 250);
    let rule = |index| {
        json(&format!(r#""destination_prefix":"{}","protocols":["udp"],"source_ports":[53]"#, host(index)), DISCARD)
    };
    let added = add(&leveed, &(0..1_000).map(rule).collect::<Vec<_>>());
    let texts: BTreeSet<String> =
        (0..1_000).map(|index| format!("dst {} proto 17 sport 53 -> discard", host(index))).collect();
    lab.wait_tables(&NAMES, SOON, &texts);
    remove(&leveed, &added);
    lab.wait_tables(&NAMES, SOON, &BTreeSet::new());
    assert_eq!(lab.flaps(), 0);
}

#[test]
fn a_router_that_comes_back_has_what_is_wanted_by_then() {
    // With MD5 on every session.
    let mut lab = Lab::start(Options { md5: true, ..Options::default() });
    let leveed = start(&lab.gobgpd);
    let (all, texts): (Vec<_>, Vec<_>) =
        RULES[..4].iter().map(|(matches, action, text)| (json(matches, action), *text)).unzip();
    let added = add(&leveed, &all[..3]);
    lab.wait_tables(&NAMES, SOON, &expected(texts[..3].iter().copied()));
    // Else they are suspects, and as long as one router is away so they stay.
    std::thread::sleep(INNOCENT);
    for router in &mut lab.routers {
        router.kill();
    }
    lab.wait_established(&[]);
    remove(&leveed, &added[..1]);
    add(&leveed, &all[3..]);
    // One comes back with another password.
    lab.router("BIRD").edit_config(|config| config.replace("a-long-secret", "another-secret"));
    for router in &mut lab.routers {
        router.start();
    }
    lab.wait_established(&NAMES[1..]);
    lab.wait_tables(&NAMES[1..], SOON, &expected(texts[1..].iter().copied()));
    assert_eq!(lab.established(), NAMES[1..], "a wrong password lets nobody in");
    lab.wait_tables(&NAMES[..1], SOON, &BTreeSet::new());
    let peers = leveed.status().engines.remove(0).peers;
    let up = peers.iter().filter(|peer| peer.state == "established").count();
    assert_eq!((peers.len(), up), (4, 3), "{peers:?}");
}

#[test]
fn an_engine_that_comes_back_in_time_costs_no_router_its_rules() {
    let mut lab = Lab::start(Options { graceful_restart: true, ..Options::default() });
    let leveed = start(&lab.gobgpd);
    let (rules, texts): (Vec<_>, Vec<_>) =
        RULES.iter().map(|(matches, action, text)| (json(matches, action), *text)).unzip();
    add(&leveed, &rules);
    let texts = expected(texts);
    lab.wait_tables(&NAMES, SOON, &texts);
    lab.gobgpd.kill();
    // FRR keeps routes, but no rules, and a program that reads ExaBGP is told that the session is down: they have them again later.
    let loser = |lab: &Lab| {
        let mut keepers = lab.routers.iter().filter(|router| matches!(router.name(), "BIRD" | "GoBGP"));
        keepers.find(|router| router.table().is_some_and(|held| held != texts)).map(|router| router.name())
    };
    never(A_WHILE, "rules lost while the engine is away", || loser(&lab));
    lab.wait_tables(&["ExaBGP"], SOON, &BTreeSet::new());
    lab.gobgpd.start_with(&lab.engine, &["--graceful-restart"]);
    wait_until(Duration::from_secs(40), "all sessions", || {
        assert_eq!(loser(&lab), None, "rules lost as the engine came back");
        (lab.established() == NAMES).then_some(())
    });
    lab.wait_tables(&NAMES, SOON, &texts);
}

/// An engine on the loopback whose peers are these stubs, in AS 65002 and up.
fn engine_of(stubs: &[&StubRouter]) -> Gobgpd {
    let (head, _) = GOBGPD_CONFIG.split_once("[[neighbors]]").expect("a neighbour");
    // It calls, and listens nowhere.
    let mut config = head.replace("[global.config]", "[global.config]\n  port = -1");
    for (stub, asn) in stubs.iter().zip(65_002..) {
        config += &format!(
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {asn}\n\
             [neighbors.transport.config]\nlocal-address = \"127.0.0.1\"\nremote-port = {}\n\
             [neighbors.timers.config]\nconnect-retry = 5\nidle-hold-time-after-reset = 5\n\
             [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-flowspec\"\n",
            stub.address().ip(),
            stub.address().port()
        );
    }
    let mut gobgpd = Gobgpd::prepare_as(&config);
    gobgpd.start_here();
    gobgpd
}

#[test]
fn a_rule_that_a_router_resets_its_session_over_is_held_back_and_the_others_stay() {
    let rule = |host: u8, port: u16| {
        let matches = format!(r#""destination_prefix":"198.18.0.{host}/32","source_ports":[{port}]"#);
        let octets = [&[1, 32, 198, 18, 0, host, 6, 0x91][..], &port.to_be_bytes()].concat();
        (json(&matches, DISCARD), octets)
    };
    let [(first, first_octets), (bad, _), (last, last_octets)] = [rule(1, 1_900), rule(2, 11_211), rule(3, 1_900)];
    let fine = StubRouter::start(Ipv4Addr::new(127, 0, 0, 2), 65_002, None);
    let picky = StubRouter::start(Ipv4Addr::new(127, 0, 0, 3), 65_003, Some(&11_211_u16.to_be_bytes()));
    let both_hold = |rules: &[&Vec<u8>]| {
        let expected: BTreeSet<Vec<u8>> = rules.iter().map(|rule| rule.to_vec()).collect();
        let held = || (fine.held() == expected && picky.held() == expected).then_some(());
        wait_until(Duration::from_secs(40), "rules at both routers", held);
    };
    let gobgpd = engine_of(&[&fine, &picky]);
    let mut leveed = start(&gobgpd);
    add(&leveed, &[first]);
    both_hold(&[&first_octets]);
    std::thread::sleep(INNOCENT);

    let bad = add(&leveed, &[bad]).remove(0);
    let refused = wait_until(SOON, "the suspicion", || {
        let rules = leveed.rules();
        rules.into_iter().find(|rule| rule.id == bad.id && !rule.refused.is_empty())
    });
    assert!(refused.refused.contains("the session with 127.0.0.3 fell"), "{refused:?}");
    both_hold(&[&first_octets]);
    add(&leveed, &[last]);
    both_hold(&[&first_octets, &last_octets]);
    assert_eq!((picky.resets(), picky.sessions()), (1, 2), "it is told no more of what it dislikes");
    // Nor by a new daemon.
    leveed.kill();
    leveed.start();
    let known = || leveed.rules().into_iter().find(|rule| rule.id == bad.id && rule.refused == refused.refused);
    wait_until(SOON, "the suspicion of before", || known().filter(|_| leveed.status().engines[0].held == 2));
    never(A_WHILE, "another reset", || Some(picky.resets()).filter(|resets| *resets > 1));
    both_hold(&[&first_octets, &last_octets]);
    assert_eq!((fine.resets(), fine.sessions()), (0, 1));
}
