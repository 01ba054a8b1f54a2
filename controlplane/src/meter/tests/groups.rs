//! Which group a host is in, and what of it the group looks at.

use super::*;
use crate::group::Family;
use crate::profile::Profile;

#[test]
fn groups_and_networks_are_found_by_longest_prefix() {
    let limit = |pps| thresholds(&[(Kind::Udp, Unit::Pps, pps)]);
    let groups = vec![
        group("default", &[], limit(100)),
        group("wide", &["198.18.0.0/16", "2001:db8:5::/48"], limit(1000)),
        group("narrow", &["198.18.4.0/28"], limit(10)),
    ];
    let mut rig = Rig::new(1, &["198.18.0.0/15", "198.18.4.0/24", "2001:db8::/32"], groups);
    for (address, name, network) in [
        ("198.19.0.1", "default", "198.18.0.0/15"),
        ("198.18.0.1", "wide", "198.18.0.0/15"),
        ("198.18.4.1", "narrow", "198.18.4.0/24"),
        ("198.18.4.16", "wide", "198.18.4.0/24"),
        ("2001:db8:5::1", "wide", "2001:db8::/32"),
        ("2001:db8:6::1", "default", "2001:db8::/32"),
    ] {
        assert_eq!(&*rig.meter.map().group(host(address)).name, name, "{address}");
        assert_eq!(rig.meter.map().network(host(address)), Some(net(network)), "{address}");
        // 500 packets a second are too many for some.
        rig.count(0, Traffic::udp(host(address), 500));
    }
    assert_eq!(rig.meter.map().network(host("192.0.2.1")), None);
    let over: Vec<String> = volumes_of(&rig.look(1.0)).into_keys().map(|target| target.to_string()).collect();
    assert_eq!(over, ["198.18.4.1 incoming", "198.19.0.1 incoming", "2001:db8:6::1 incoming"]);
}

#[test]
fn a_network_has_what_the_routers_of_all_its_groups_take() {
    let of = |name: &str, networks: &[&str], profile: &str| Group {
        profile: Profile::named(profile).unwrap(),
        ..group(name, networks, Thresholds::default())
    };
    let groups =
        vec![of("default", &[], "bird"), of("a", &["198.18.4.0/28"], "frr"), of("b", &["198.18.5.0/24"], "exabgp")];
    let rig = Rig::new(1, &["198.18.0.0/15"], groups);
    let name = |prefix: &str| rig.meter.map().profile(net(prefix)).name.to_string();
    assert_eq!(["198.18.4.1/32", "198.18.4.0/28", "198.18.6.1/32"].map(name), ["frr", "frr", "bird"]);
    assert_eq!(["198.18.4.0/24", "198.18.0.0/15"].map(name), ["frr", "frr and exabgp"]);
}

/// Hosts and directions that a look finds over a threshold, in words.
fn over(rig: &mut Rig) -> Vec<String> {
    volumes_of(&rig.look(1.0)).into_keys().map(|target| target.to_string()).collect()
}

fn sent(host: IpAddr, packets: u32) -> Traffic {
    Traffic { direction: Direction::Outgoing, ..Traffic::udp(host, packets) }
}

#[test]
fn a_threshold_is_for_its_direction_and_kind_and_unit() {
    let hosts = [host("198.18.0.1"), host("2001:db8::1")];
    // UDP fragments of 1000 bytes: of every kind but TCP and ICMP.
    let figure = |metric: Metric| match (metric.kind, metric.unit) {
        (Kind::Tcp | Kind::TcpSyn | Kind::Icmp, _) | (_, Unit::Fps) => 0,
        (_, Unit::Pps) => 50,
        (_, Unit::Bps) => 50 * 8_000,
    };
    for metric in Metric::ALL.into_iter().filter(|metric| metric.unit != Unit::Fps) {
        for direction in Direction::ALL {
            for (limit, is_over) in [(figure(metric).max(1) - 1, figure(metric) > 0), (figure(metric), false)] {
                let mut default = Group { name: "default".into(), ..Group::default() };
                default.thresholds[direction as usize].set(metric, limit);
                let mut rig = Rig::new(1, &["198.18.0.0/24", "2001:db8::/32"], vec![default]);
                for host in hosts {
                    for direction in Direction::ALL {
                        let traffic = Traffic { direction, fragment: true, bytes: 1000, ..Traffic::udp(host, 50) };
                        rig.count(0, traffic);
                    }
                }
                let seen = volumes_of(&rig.look(1.0)).into_keys().collect::<Vec<_>>();
                let expected: Vec<Target> =
                    hosts.iter().map(|&host| target(host, direction)).filter(|_| is_over).collect();
                assert_eq!(seen, expected, "{metric} {limit} {direction}");
            }
        }
    }
}

#[test]
fn a_group_looks_at_its_directions_and_families_only() {
    let limit = thresholds(&[(Kind::Udp, Unit::Pps, 10), (Kind::Flows, Unit::Fps, 10)]);
    let group = |name: &str, networks: &[&str], families: &[Family], sides: [Thresholds; 2]| Group {
        families: families.to_vec(),
        thresholds: sides,
        ..group(name, networks, Thresholds::default())
    };
    let off = Thresholds::default();
    let groups = vec![
        group("default", &[], &Family::ALL, [limit, limit]),
        group("v4", &["198.18.1.0/24", "2001:db8:1::/48"], &[Family::Ipv4], [limit, limit]),
        group("v6", &["198.18.2.0/24", "2001:db8:2::/48"], &[Family::Ipv6], [limit, limit]),
        group("in", &["198.18.3.0/24", "2001:db8:3::/48"], &Family::ALL, [limit, off]),
        group("out", &["198.18.4.0/24", "2001:db8:4::/48"], &Family::ALL, [off, limit]),
        group("in6", &["198.18.5.0/24", "2001:db8:5::/48"], &[Family::Ipv6], [limit, off]),
    ];
    let mut rig = Rig::new(1, &["198.18.0.0/16", "2001:db8::/32"], groups);
    for place in 0..6 {
        for host in [host(&format!("198.18.{place}.1")), host(&format!("2001:db8:{place}::1"))] {
            rig.count(0, Traffic::udp(host, 50));
            rig.count(0, sent(host, 50));
        }
    }
    let expected = [
        "198.18.0.1 incoming",
        "198.18.0.1 outgoing",
        "198.18.1.1 incoming",
        "198.18.1.1 outgoing",
        "198.18.3.1 incoming",
        "198.18.4.1 outgoing",
        "2001:db8:0:0::1 incoming",
        "2001:db8:0:0::1 outgoing",
        "2001:db8:2::1 incoming",
        "2001:db8:2::1 outgoing",
        "2001:db8:3::1 incoming",
        "2001:db8:4::1 outgoing",
        "2001:db8:5::1 incoming",
    ];
    assert_eq!(over(&mut rig), expected.map(|name| name.replace("db8:0:0::", "db8::")));
}

proptest! {
    #[test]
    fn the_group_of_a_host_is_that_of_the_longest_prefix(
        prefixes in prop::collection::btree_map((any::<bool>(), 8u8..=32, any::<u32>()), 0usize..5, 1..40),
        hosts in prop::collection::vec((any::<bool>(), any::<u32>(), any::<prop::sample::Index>(), any::<bool>()), 1..40),
    ) {
        // The first 32 bits of either family; few different ones at the top, so that prefixes lie within each other.
        let address = |is_v4: bool, bits: u32| match is_v4 {
            true => IpAddr::V4((bits & 0x03ff_ffff).into()),
            false => IpAddr::V6((u128::from(bits & 0x03ff_ffff) << 96 | 1).into()),
        };
        let mut groups: Vec<Group> =
            ["default", "a", "b", "c", "d", "e"].iter().map(|name| group(name, &[], Thresholds::default())).collect();
        let mut plain: BTreeMap<IpNet, usize> = BTreeMap::new();
        for (&(is_v4, length, bits), &place) in &prefixes {
            plain.entry(IpNet::new(address(is_v4, bits), length).unwrap().trunc()).or_insert(place + 1);
        }
        plain.iter().for_each(|(&prefix, &place)| groups[place].networks.push(prefix));
        let protected = Arc::new(Networks::new(&[net("0.0.0.0/0"), net("::/0")]).unwrap());
        let map = Map::new(protected, groups, 128).unwrap();
        for (is_v4, bits, index, beside) in hosts {
            // Within some prefix, or anywhere.
            let near = prefixes.keys().nth(index.index(prefixes.len())).unwrap();
            let host = if beside { address(near.0, near.2 ^ bits >> near.1.min(31)) } else { address(is_v4, bits) };
            let holding = plain.iter().filter(|(prefix, _)| prefix.contains(&host));
            let expected = holding.max_by_key(|(prefix, _)| prefix.prefix_len()).map_or(0, |(_, &place)| place);
            prop_assert_eq!(&*map.group(host).name, ["default", "a", "b", "c", "d", "e"][expected]);
        }
    }
}
