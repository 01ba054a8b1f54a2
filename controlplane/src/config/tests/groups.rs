//! What groups inherit, and what they look at.

use dataplane::rule::Component;

use super::*;
use crate::group::{Family, LastResort};
use crate::profile::Profile;

const NETWORKS: [&str; 4] = ["198.18.0.0/28", "198.18.0.16/28", "198.18.0.32/28", "2001:db8:80::/48"];

fn groups(text: &str) -> Vec<Group> {
    parse("levee.toml", format!("{SMALL}{text}")).unwrap_or_else(|error| panic!("{error}")).groups
}

fn udp(group: &Group, direction: Direction) -> Option<u64> {
    group.thresholds[direction as usize].get(Metric { kind: Kind::Udp, unit: Unit::Pps })
}

#[test]
fn a_group_inherits_what_it_does_not_say() {
    let all = groups(
        r#"[groups.default.incoming]
udp_pps = 1
tcp_mbps = 2
icmp_pps = 3
[groups.default.outgoing]
udp_pps = 4

[groups.base]
inherit = "default"
monitor_only = true
families = ["ipv4"]
incoming = { udp_pps = "off", tcp_mbps = 20 }

[groups.web]
inherit = "base"
networks = ["198.18.0.0/28"]
directions = ["incoming"]
incoming = { total_pps = 100 }

[groups.dns]
inherit = "web"
networks = ["198.18.0.16/28"]
monitor_only = false
directions = ["outgoing", "incoming"]
families = ["ipv6", "ipv4"]
incoming = { udp_pps = 7 }
outgoing = { udp_pps = "off" }

[groups.alone]
networks = ["198.18.0.32/28"]
"#,
    );
    let names: Vec<&str> = all.iter().map(|group| &*group.name).collect();
    assert_eq!(names, ["default", "alone", "dns", "web"], "`base` has no hosts");
    let [default, alone, dns, web] = &all[..] else { panic!("four groups") };
    let get = |group: &Group, kind, unit| group.thresholds[0].get(Metric { kind, unit });

    assert_eq!((udp(default, Direction::Incoming), udp(default, Direction::Outgoing)), (Some(1), Some(4)));
    assert_eq!((default.inherit.as_deref(), default.monitor_only), (None, false));
    assert_eq!((&default.directions[..], &default.families[..]), (&Direction::ALL[..], &Family::ALL[..]));

    assert_eq!((web.inherit.as_deref(), web.monitor_only), (Some("base"), true));
    assert_eq!((&web.directions[..], &web.families[..]), (&[Direction::Incoming][..], &[Family::Ipv4][..]));
    assert_eq!((udp(web, Direction::Incoming), udp(web, Direction::Outgoing)), (None, None), "off; not watched");
    assert_eq!(get(web, Kind::Tcp, Unit::Bps), Some(20_000_000), "of base");
    assert_eq!(get(web, Kind::Icmp, Unit::Pps), Some(3), "of default, through base");
    assert_eq!(get(web, Kind::Total, Unit::Pps), Some(100), "its own");

    assert_eq!((udp(dns, Direction::Incoming), udp(dns, Direction::Outgoing)), (Some(7), None));
    assert_eq!(get(dns, Kind::Total, Unit::Pps), Some(100));
    assert_eq!((dns.monitor_only, dns.families.len(), dns.directions.len()), (false, 2, 2));

    let blank = Group { name: "alone".into(), networks: alone.networks.clone(), ..Group::default() };
    assert_eq!(*alone, blank, "nobody inherits without saying so");
}

const BGP: &str = "[bgp]\nmark = \"64512:7653:1\"\nblackhole_next_hops = [\"192.0.2.66\", \"100::1\"]\n\
                   [[bgp.engines]]\nname = \"edge\"\naddress = \"unix:///run/gobgp.sock\"\n";

#[test]
fn the_last_resort_is_inherited_word_by_word() {
    let all = groups(&format!(
        "{BGP}[groups.default]\nlast_resort_mbps = 5\n[groups.a]\nnetworks = [\"198.18.0.0/28\"]\nlast_resort = \"rate_limit\"\n\
         [groups.b]\nnetworks = [\"198.18.0.16/28\"]\ninherit = \"a\"\nlast_resort_mbps = 20\n\
         [groups.c]\nnetworks = [\"198.18.0.32/28\"]\ninherit = \"b\"\nlast_resort = \"blackhole\"\n\
         [groups.d]\nnetworks = [\"2001:db8:80::/48\"]\ninherit = \"default\"\nlast_resort = \"rate_limit\"\n"
    ));
    let [default, a, b, c, d] = &all[..] else { panic!("{} groups", all.len()) };
    assert_eq!((default.last_resort, c.last_resort), (LastResort::Nothing, LastResort::Blackhole));
    let limits = [a, b, d].map(|group| group.last_resort);
    assert_eq!(limits, [100, 20, 5].map(|mbps| LastResort::RateLimit { bps: mbps * 1_000_000 }));
}

#[test]
fn the_profile_of_routers_and_what_is_inseparable_are_inherited() {
    let all = groups(
        "[groups.default]\nprofile = \"frr\"\ninseparable = \"nothing\"\n[groups.a]\nnetworks = [\"198.18.0.0/28\"]\n\
         [groups.b]\nnetworks = [\"198.18.0.16/28\"]\ninherit = \"default\"\n\
         [groups.c]\nnetworks = [\"198.18.0.32/28\"]\ninherit = \"b\"\nprofile = \"bird\"\n",
    );
    let names: Vec<&str> = all.iter().map(|group| &*group.profile.name).collect();
    assert_eq!(names, ["frr", "strict", "frr", "bird"]);
    assert!(all[3].profile.items_max > all[2].profile.items_max);
    let words: Vec<String> = all.iter().map(|group| group.inseparable.to_string()).collect();
    assert_eq!(words, ["nothing", "rate_limit", "nothing", "nothing"]);
}

#[test]
fn routers_that_take_less_have_a_section_of_their_own() {
    let text = format!(
        "{SMALL}[profiles.edge]\nlike = \"frr\"\nwithout = [\"packet_lengths\", \"dscps\"]\nitems_max = 3\nlength_max = 60\n\
         rules_per_target = 4\n[profiles.core]\n[groups.default]\nprofile = \"edge\"\n"
    );
    let config = parse("levee.toml", text).unwrap();
    let edge = &config.groups[0].profile;
    assert_eq!((&*edge.name, edge.items_max, edge.length_max, edge.rules_max), ("edge", 3, 60, 4));
    assert!(edge.dont_fragment && !edge.has(Component::PacketLength) && !edge.has(Component::Dscp));
    assert_eq!(edge.components.len(), Component::ALL.len() - 2);
    let core = Profile { name: "core".into(), ..Profile::default() };
    assert_eq!(config.profiles.iter().map(|section| &section.profile).collect::<Vec<_>>(), [&core, edge]);
}

#[test]
fn bad_profiles() {
    for (lines, line, key, found, hint) in [
        ("[profiles.frr]", 1, "profiles.frr", "cannot be the name", "without a section"),
        ("[profiles.\"a b\"]", 1, "profiles.a b", "cannot be the name", "letters"),
        ("[profiles.a]\nlike = \"fr\"", 2, "profiles.a.like", "unknown profile \"fr\"", "did you mean `frr`?"),
        ("[profiles.a]\nlike = \"b\"\n[profiles.b]", 2, "profiles.a.like", "unknown profile \"b\"", "known here"),
        (
            "[profiles.a]\nwithout = [\"dscp\"]",
            2,
            "profiles.a.without[0]",
            "unknown component",
            "did you mean `dscps`?",
        ),
        (
            "[profiles.a]\nwithout = [\"destination_prefix\"]",
            2,
            "profiles.a.without[0]",
            "without destination",
            "no rule",
        ),
        ("[profiles.a]\nitems_max = 6", 2, "profiles.a.items_max", "6 is out of range", "1 to 5"),
        ("[profiles.a]\nlength_max = 239", 2, "profiles.a.length_max", "out of range", "5 to 238"),
        ("[profiles.a]\nrules_per_target = 0", 2, "profiles.a.rules_per_target", "out of range", "1 to 64"),
        ("[profiles.a]\nports = 1", 2, "profiles.a.ports", "unknown key `ports`", "items_max"),
    ] {
        assert_after_small(lines, line, key, found, hint);
    }
}

#[test]
fn a_blackhole_needs_somewhere_to_lead_to() {
    let group = "[groups.default]\nlast_resort = \"blackhole\"\n";
    let key = "groups.default.last_resort";
    assert_after_small(group, 2, key, "no ipv4 next hop", "blackhole_next_hops");
    let only_v4 = BGP.replace(", \"100::1\"", "");
    assert_after_small(&format!("{group}{only_v4}"), 2, key, "no ipv6 next hop", "blackhole_next_hops");
    let inseparable = "[groups.default]\ninseparable = \"blackhole\"\n";
    assert_after_small(inseparable, 2, "groups.default.inseparable", "no ipv4 next hop", "blackhole_next_hops");
    groups(&format!("{inseparable}{BGP}"));
    groups(&format!("{group}families = [\"ipv4\"]\n{only_v4}"));
    groups(&format!("{group}{BGP}"));
    for bad in ["0.0.0.0", "::", "224.0.0.1", "127.0.0.1", "::ffff:192.0.2.1", "here", "192.0.2.0/24"] {
        let text = BGP.replace("100::1", bad);
        assert_after_small(&text, 3, "bgp.blackhole_next_hops[1]", "no address that a route can lead to", "discard");
    }
    let twice = BGP.replace("100::1", "192.0.2.67");
    assert_after_small(&twice, 3, "bgp.blackhole_next_hops[1]", "a second next hop", "one of each family");
}

#[test]
fn what_mined_rules_do_is_what_routers_of_every_engine_take() {
    let redirect = |to: &str| {
        let json = format!(r#"{{"action_type": "redirect", "action": {{"redirect_target": "{to}"}}}}"#);
        format!("[groups.default]\nincoming_action = '{json}'\n")
    };
    let (key, hint) = ("groups.default.incoming_action", "routers of all engines");
    let large = redirect("4200000000:1");
    assert_after_small(&large, 2, key, "4-octet AS", hint);
    // What the group's routers take is not enough where an engine has others.
    let bird = large.replace("[groups.default]\n", "[groups.default]\nprofile = \"bird\"\n");
    assert_after_small(&format!("{bird}{BGP}"), 3, key, "profile strict take no redirect", hint);
    groups(&format!("{bird}{BGP}profile = \"bird\"\n"));
    groups(&format!("[profiles.own]\nlike = \"bird\"\n{bird}{BGP}profile = \"own\"\n"));
    groups(&format!("{}{BGP}", redirect("64512:1")));
    // Who goes to an IPv4 address is no IPv6 host.
    let v4 = redirect("192.0.2.1");
    assert_after_small(&format!("{v4}{BGP}"), 2, key, "192.0.2.1 is no next hop", hint);
    groups(&format!("{v4}families = [\"ipv4\"]\n{BGP}"));
}

#[test]
fn a_direction_that_is_not_watched_is_still_handed_on() {
    let all = groups(
        "[groups.a]\nnetworks = [\"198.18.0.0/28\"]\ndirections = [\"outgoing\"]\nincoming = { udp_pps = 5 }\n\
         [groups.b]\nnetworks = [\"198.18.0.16/28\"]\ninherit = \"a\"\ndirections = [\"incoming\"]\n",
    );
    assert_eq!([udp(&all[1], Direction::Incoming), udp(&all[2], Direction::Incoming)], [None, Some(5)]);
}

#[test]
fn the_default_group_may_inherit_and_be_inherited_without_a_section() {
    let all = groups("[groups.default]\ninherit = \"base\"\n[groups.base.incoming]\nudp_pps = 9\n");
    assert_eq!((all.len(), udp(&all[0], Direction::Incoming)), (1, Some(9)));
    let all = groups("[groups.web]\ninherit = \"default\"\nnetworks = [\"198.18.0.0/28\"]\n");
    assert_eq!((all.len(), all[1].inherit.as_deref()), (2, Some(DEFAULT_GROUP)));
}

#[test]
fn flows_are_counted_only_where_a_group_with_hosts_minds_them() {
    let base = "[groups.base.incoming]\nflows_per_second = 50\n[groups.web]\nnetworks = [\"198.18.0.0/28\"]\n\
                inherit = \"base\"\n";
    let layout = |text: &str| crate::plan::layout(&parse("levee.toml", format!("{SMALL}{text}")).unwrap());
    assert_ne!(layout(base).flow_ticks, 0);
    assert_eq!(layout(&format!("{base}incoming = {{ flows_per_second = \"off\" }}")).flow_ticks, 0);
    assert_eq!(layout(&format!("{base}directions = [\"outgoing\"]")).flow_ticks, 0);
}

#[test]
fn networks_and_the_whole_group_have_thresholds_of_their_own() {
    let all = groups(
        "[groups.default.network_incoming]\nudp_mbps = 5\ntcp_pps = 7\n[groups.default.group_outgoing]\ntotal_pps = 9\n\
         [groups.web]\ninherit = \"default\"\nnetworks = [\"198.18.0.0/28\"]\ndirections = [\"incoming\"]\n\
         network_incoming = { udp_mbps = 6, tcp_pps = \"off\" }\ngroup_incoming = { total_pps = 8 }\n\
         [groups.alone]\nnetworks = [\"198.18.0.16/28\"]\n",
    );
    let [default, alone, web] = &all[..] else { panic!("three groups") };
    let (udp_bps, tcp, total) =
        (metric(Kind::Udp, Unit::Bps), metric(Kind::Tcp, Unit::Pps), metric(Kind::Total, Unit::Pps));
    assert_eq!(default.network_thresholds.map(|side| side.get(udp_bps)), [Some(5_000_000), None]);
    assert_eq!(default.group_thresholds.map(|side| side.get(total)), [None, Some(9)]);
    assert_eq!(
        (default.thresholds, alone.minds_networks()),
        ([Thresholds::default(); 2], false),
        "hosts are not meant"
    );
    assert_eq!(web.network_thresholds[0].get(udp_bps), Some(6_000_000));
    assert_eq!(web.network_thresholds[0].get(tcp), None, "off");
    assert_eq!(web.group_thresholds.map(|side| side.get(total)), [Some(8), None], "a direction that is not watched");
}

fn metric(kind: Kind, unit: Unit) -> Metric {
    Metric { kind, unit }
}

#[test]
fn bad_thresholds_of_networks_and_groups() {
    let cases = [
        ("network_incoming.flows_per_second = 5", "single hosts alone", "write it into `incoming`"),
        ("group_outgoing.flows_per_second = \"off\"", "single hosts alone", "take it out"),
        ("network_incoming.udp = 5", "a threshold without a unit", "udp_pps = 5"),
        ("group_incoming.udp_pps = 0", "0 is out of range", "from 1"),
        ("network_outgoing.upd_pps = 5", "unknown key `upd_pps`", "did you mean `udp_pps`?"),
    ];
    for (line, found, hint) in cases {
        let key = format!("groups.default.{}", line.split(' ').next().unwrap());
        assert_after_small(&format!("[groups.default]\n{line}"), 2, &key, found, hint);
    }
    let line = "[groups.default.network_incomming]\nudp_pps = 5";
    assert_after_small(line, 1, "groups.default.network_incomming", "unknown key", "did you mean `network_incoming`?");
}

#[test]
fn bad_inheritance() {
    let web = "[groups.web]\nnetworks = [\"198.18.0.0/28\"]\n";
    let unknown = format!("{web}inherit = \"defualt\"");
    assert_after_small(&unknown, 3, "groups.web.inherit", "no group `defualt`", "did you mean `default`?");
    let unknown = format!("{web}inherit = \"xyz\"");
    assert_after_small(&unknown, 3, "groups.web.inherit", "no group `xyz`", "known here: default, web");
    let itself = format!("{web}inherit = \"web\"");
    assert_after_small(&itself, 3, "groups.web.inherit", "inherits from itself: web → web", "take out `inherit`");
    let dns = "[groups.dns]\nnetworks = [\"198.18.0.16/28\"]\ninherit = \"web\"\n";
    let two = format!("{web}inherit = \"dns\"\n{dns}");
    assert_after_small(&two, 6, "groups.dns.inherit", "itself: dns → web → dns", "another group of the circle");
    // Who only leads into the circle is not at fault.
    let three = format!("{two}[groups.a]\nnetworks = [\"198.18.0.32/28\"]\ninherit = \"web\"\n");
    assert_after_small(&three, 6, "groups.dns.inherit", "dns → web → dns", "take out");
    assert_after_small("[groups.web]\ninherit = 5", 2, "groups.web.inherit", "wrong type", "in quotes");
    let nobody = "[groups.web]\ninherit = \"default\"";
    assert_after_small(nobody, 1, "groups.web", "without networks", "`inherit` this group in another");
}

#[test]
fn bad_directions_and_families() {
    let cases = [
        ("directions = [\"incomming\"]", "directions[0]", "unknown value \"incomming\"", "did you mean `incoming`?"),
        ("directions = []", "directions", "an empty list", "incoming, outgoing"),
        ("directions = [\"incoming\", \"incoming\"]", "directions[1]", "\"incoming\" twice", "once"),
        ("directions = \"incoming\"", "directions", "wrong type", "a list"),
        ("families = [\"ipv5\"]", "families[0]", "unknown value \"ipv5\"", "did you mean `ipv"),
        ("families = [\"inet\"]", "families[0]", "unknown value \"inet\"", "known here: ipv4, ipv6"),
        ("families = []", "families", "an empty list", "ipv4, ipv6"),
        ("monitor_only = \"yes\"", "monitor_only", "wrong type", "true or false"),
        ("last_resort = \"drop\"", "last_resort", "unknown value", "\"nothing\" or \"rate_limit\" or \"blackhole\""),
        ("last_resort_mbps = 0", "last_resort_mbps", "0 is out of range", "1 to 1000000"),
        ("profile = \"fr\"", "profile", "unknown profile \"fr\"", "did you mean `frr`?"),
        ("profile = \"junos\"", "profile", "unknown profile", "known here: strict, bird, frr, exabgp, gobgp"),
        ("inseparable = \"drop\"", "inseparable", "unknown value", "\"rate_limit\" or \"blackhole\" or \"nothing\""),
        ("monitor = true", "monitor", "unknown key `monitor`", "`monitor_only`"),
    ];
    for (line, key, found, hint) in cases {
        assert_after_small(&format!("[groups.default]\n{line}"), 2, &format!("groups.default.{key}"), found, hint);
    }
}

/// What a group says of one threshold.
#[derive(Clone, Copy, Debug)]
enum Word {
    Nothing,
    Off,
    Number(u64),
}

proptest! {
    /// Of groups that inherit from any other, each has the nearest word of its line; lines that never end are told.
    #[test]
    fn the_nearest_word_holds(
        groups in prop::collection::vec(
            (prop::option::of(0usize..4), prop_oneof![
                Just(Word::Nothing), Just(Word::Off), (1u64..1000).prop_map(Word::Number),
            ]),
            4,
        ),
    ) {
        let mut text = SMALL.to_owned();
        for (place, (parent, word)) in groups.iter().enumerate() {
            text += &format!("[groups.g{place}]\nnetworks = [{:?}]\n", NETWORKS[place]);
            text += &parent.map_or(String::new(), |parent| format!("inherit = \"g{parent}\"\n"));
            text += &match word {
                Word::Nothing => String::new(),
                Word::Off => "incoming = { udp_pps = \"off\" }\n".to_owned(),
                Word::Number(number) => format!("incoming = {{ udp_pps = {number} }}\n"),
            };
        }
        // Four steps are enough to see every group of a line that ends.
        let nearest = |start: usize| {
            let mut at = Some(start);
            for _ in 0..4 {
                match at.map(|at| groups[at]) {
                    Some((_, Word::Number(number))) => return Some(number),
                    Some((parent, Word::Nothing)) => at = parent,
                    Some((_, Word::Off)) | None => return None,
                }
            }
            None
        };
        let ends = |start: usize| (0..4).try_fold(start, |at, _| groups[at].0).is_none();
        match parse("levee.toml", text) {
            Ok(config) => {
                prop_assert!((0..4).all(ends));
                for (place, group) in config.groups[1..].iter().enumerate() {
                    prop_assert_eq!(udp(group, Direction::Incoming), nearest(place));
                }
            }
            Err(all) => {
                prop_assert!(!(0..4).all(ends));
                prop_assert!(all.findings().iter().all(|finding| finding.found().contains("from itself")), "{}", all);
            }
        }
    }
}
