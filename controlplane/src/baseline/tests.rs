//! What the baseline keeps, and what it never does.

use dataplane::packet::{Addresses, Class, Upper};
use proptest::prelude::*;

use super::*;
use crate::attack::Unit;

fn packet(source: u32, host: u32, port: u16) -> Headers {
    Headers {
        addresses: Addresses::V4 { source, destination: 0xc612_0000 | host },
        protocol: 17,
        class: Class::Udp,
        fragment: 0,
        dscp: 0,
        ttl: 64,
        ip_length: 100,
        flow_label: 0,
        upper: Upper::Ports { source: port, destination: 4_000 },
    }
}

fn target(host: u32) -> Target {
    let prefix = IpAddr::V4((0xc612_0000 | host).into()).into();
    Target { prefix, direction: Direction::Incoming }
}

fn web() -> Arc<str> {
    "web".into()
}

fn learn(baseline: &mut Baseline, second: u32, host: u32, port: u16) {
    baseline.learn(second, (target(host), &web()), packet(second, host, port), 10);
}

fn recount(baseline: &Baseline) -> usize {
    let count = |buckets: &Buckets| {
        let len = buckets.buckets.iter().map(|bucket| bucket.packets.len()).sum::<usize>();
        assert_eq!(len, buckets.len);
        len
    };
    baseline.hosts.values().map(count).sum::<usize>() + baseline.groups.values().map(count).sum::<usize>()
}

#[test]
fn what_came_shortly_before_the_crossing_and_while_it_is_hot_is_left_out() {
    let mut baseline = Baseline::default();
    for second in 0..100 {
        (0..4).for_each(|_| learn(&mut baseline, second, 1, if second < 97 { 443 } else { 53 }));
        learn(&mut baseline, second, 2, 80);
    }
    // The window is a second, and the margin two.
    baseline.heat(100, 1, [target(1)].into_iter());
    for second in 100..120 {
        baseline.heat(second, 1, [target(1)].into_iter());
        learn(&mut baseline, second, 1, 53);
    }
    let peace = baseline.peace(&target(1), &web());
    assert_eq!((peace.whose, peace.packets.len(), peace.one_in), (Whose::Target, 97 * 4, 10.0));
    assert_eq!(peace.seconds.iter().max(), Some(&96));
    assert!(peace.packets.iter().all(|packet| matches!(packet.upper, Upper::Ports { source: 443, .. })));
    // Nor does the group tell of it: neighbours would be judged by the attack.
    let peace = baseline.peace(&target(9), &web());
    assert_eq!((peace.whose, peace.packets.len(), peace.one_in), (Whose::Group, 97 * 4 + 100, 5.0));
    assert!(peace.packets.iter().all(|packet| !matches!(packet.upper, Upper::Ports { source: 53, .. })));
    // Once it is quiet, it learns again.
    baseline.heat(122, 1, [].into_iter());
    learn(&mut baseline, 122, 1, 53);
    assert_eq!(baseline.peace(&target(1), &web()).seconds.iter().max(), Some(&96));
    baseline.heat(123, 1, [].into_iter());
    learn(&mut baseline, 123, 1, 53);
    assert_eq!(baseline.peace(&target(1), &web()).seconds.iter().max(), Some(&123));
    assert_eq!(baseline.peace(&target(9), &"other".into()), Peace::unknown());
}

#[test]
fn a_hot_network_is_hot_in_all_its_hosts() {
    let mut baseline = Baseline::default();
    let network = Target { prefix: "198.18.0.0/24".parse().unwrap(), direction: Direction::Incoming };
    learn(&mut baseline, 5, 1, 80);
    baseline.heat(5, 1, [network].into_iter());
    learn(&mut baseline, 5, 2, 80);
    assert_eq!(baseline.fill().packets, 0);
    learn(&mut baseline, 5, 0x100, 80);
    assert_eq!(baseline.fill().packets, 2, "for the host and for its group");
}

fn network(prefix: &str) -> Target {
    Target { prefix: prefix.parse().unwrap(), direction: Direction::Incoming }
}

/// The port of each packet's source, and how many packets have it.
fn ports(peace: &Peace) -> BTreeMap<u16, usize> {
    let mut ports = BTreeMap::new();
    for packet in &peace.packets {
        let Upper::Ports { source, .. } = packet.upper else { panic!("{packet:?}") };
        *ports.entry(source).or_default() += 1;
    }
    ports
}

#[test]
fn a_network_has_what_its_hosts_have_and_no_others() {
    let mut baseline = Baseline::default();
    for second in 0..100 {
        // Two in the network, one beside it, and one in the network that sends.
        [(1, 80), (2, 443), (0x101, 53)].into_iter().for_each(|(host, port)| learn(&mut baseline, second, host, port));
        let sends = Target { direction: Direction::Outgoing, ..target(3) };
        baseline.learn(second, (sends, &web()), packet(9, 3, 123), 10);
    }
    let peace = baseline.peace(&network("198.18.0.0/24"), &web());
    assert_eq!(
        (peace.whose, peace.stands_for(), ports(&peace)),
        (Whose::Target, 2_000.0, [(80, 100), (443, 100)].into())
    );
    assert_eq!(peace.seconds.iter().max(), Some(&99));
    let around = baseline.peace(&network("198.18.0.0/23"), &web());
    assert_eq!((around.stands_for(), ports(&around)[&53]), (3_000.0, 100));
}

#[test]
fn a_network_of_two_groups_has_as_much_of_each_as_they_have() {
    let (mut baseline, busy) = (Baseline::default(), Arc::from("busy"));
    for second in 0..100 {
        learn(&mut baseline, second, 1, 80);
        // More than a second keeps: what is kept stands for four times as many.
        for source in 0..4 * GROUP.second as u32 {
            baseline.learn(second, (target(2), &busy), packet(source, 2, 443), 10);
        }
    }
    let peace = baseline.peace(&network("198.18.0.0/24"), &web());
    let all = 100.0 * 10.0 * (1 + 4 * GROUP.second) as f64;
    assert!((0.95..1.05).contains(&(peace.stands_for() / all)), "{} of {all}", peace.stands_for());
    assert!(peace.packets.len() <= NETWORK_PACKETS + 2);
    let ports = ports(&peace);
    let share = ports[&80] as f64 / peace.packets.len() as f64;
    assert!((0.5..2.0).contains(&(share * (1 + 4 * GROUP.second) as f64)), "{ports:?}");
}

#[test]
fn a_network_of_which_little_was_seen_has_the_kinds_of_its_group_and_its_own_volume() {
    let mut baseline = Baseline::default();
    for second in 0..100 {
        learn(&mut baseline, second, 0x101, 443);
        if second % 5 == 0 {
            learn(&mut baseline, second, 1, 80);
        }
    }
    let (small, silent) = (network("198.18.0.0/24"), network("198.18.7.0/24"));
    let peace = baseline.peace(&small, &web());
    assert_eq!((peace.whose, ports(&peace)), (Whose::Group, [(80, 20), (443, 100)].into()));
    assert!((peace.stands_for() - 200.0).abs() < 1e-6, "what the network's twenty stand for: {}", peace.stands_for());
    let peace = baseline.peace(&silent, &web());
    assert!((peace.stands_for() - 10.0).abs() < 1e-6, "less than one that was seen: {}", peace.stands_for());
    assert_eq!(baseline.peace(&silent, &"other".into()), Peace::unknown());
}

#[test]
fn what_a_hot_network_had_before_is_kept_though_its_group_goes_on() {
    let (mut baseline, hot) = (Baseline::default(), network("198.18.0.0/24"));
    let beside = |baseline: &mut Baseline, second| (0..64).for_each(|_| learn(baseline, second, 0x101, 443));
    for second in 0..100 {
        learn(&mut baseline, second, 1, if second < 97 { 80 } else { 53 });
        beside(&mut baseline, second);
    }
    for second in 100..2_000 {
        baseline.heat(second, 1, [hot].into_iter());
        learn(&mut baseline, second, 1, 53);
        beside(&mut baseline, second);
    }
    let peace = baseline.peace(&hot, &web());
    let kept = ports(&peace);
    assert!(kept.keys().eq([&80]) && (90..=97).contains(&kept[&80]), "no attack, nor the seconds before it: {kept:?}");
    assert!((900.0..1_000.0).contains(&peace.stands_for()) && peace.whose == Whose::Target, "{}", peace.stands_for());
    assert_eq!((baseline.fill().networks, baseline.fill().packets), (1, recount(&baseline)));
    let rule = FlowRule { source_ports: 80.into(), ..FlowRule::default() };
    assert!(baseline.knows(&target(1), &rule, &packet(5, 1, 80)), "nor are its hosts forgotten");
    // Over, it learns as any.
    (2_000..2_010).for_each(|second| baseline.heat(second, 1, [].into_iter()));
    assert_eq!(baseline.fill().networks, 0);
    (2_010..2_100).for_each(|second| learn(&mut baseline, second, 1, 22));
    assert_eq!(ports(&baseline.peace(&hot, &web())), [(22, 90)].into());
}

#[test]
fn a_host_of_many_addresses_is_a_host() {
    let (mut baseline, host) = (Baseline::default(), network("2001:db8:0:1::/64"));
    let prefix = 0x2001_0db8_0000_0001_u128 << 64;
    for second in 0..100 {
        let to = |destination| Headers { addresses: Addresses::V6 { source: 1, destination }, ..packet(1, 1, 80) };
        baseline.learn(second, (host, &web()), to(prefix + u128::from(second)), 10);
        baseline.learn(second, (network("2001:db8:0:2::/64"), &web()), to(prefix + (1 << 64)), 10);
    }
    baseline.heat(103, 1, [host].into_iter());
    assert_eq!(baseline.fill().networks, 0, "its own buckets stay");
    let peace = baseline.peace(&host, &web());
    assert_eq!((peace.whose, peace.stands_for()), (Whose::Target, 1_000.0));
}

#[test]
fn so_many_hot_networks_are_kept_and_the_others_counted() {
    let mut baseline = Baseline::default();
    (0..200).for_each(|second| learn(&mut baseline, second, 1, 80));
    let many: Vec<Target> = (0..=255).map(|third| network(&format!("198.18.{third}.0/24"))).collect();
    for second in 200..203 {
        baseline.heat(second, 1, many.iter().copied());
    }
    let fill = baseline.fill();
    assert_eq!((fill.networks, fill.lost.networks), (NETWORKS_MAX, (many.len() - NETWORKS_MAX) as u64));
}

#[test]
fn a_second_keeps_a_fair_part_of_what_it_had_and_says_what_it_stands_for() {
    let mut baseline = Baseline::default();
    for second in 0..20 {
        for index in 0..100 {
            baseline.learn(second, (target(1), &web()), packet(index, 1, 80), 4);
        }
    }
    let peace = baseline.peace(&target(1), &web());
    assert_eq!((peace.packets.len(), peace.one_in), (20 * HOST.second, 25.0));
    let late = peace.packets.iter().filter(|packet| matches!(packet.addresses, Addresses::V4 { source: 50.., .. }));
    assert!((100..220).contains(&late.count()), "half of them came in its second half");
}

#[test]
fn somebody_is_known_by_what_the_rule_matches_of_theirs() {
    let mut baseline = Baseline::default();
    baseline.learn(1, (target(1), &web()), packet(7, 1, 53), 1);
    let rule = |port: u32| FlowRule { source_ports: port.into(), ..FlowRule::default() };
    let seen = packet(7, 1, 53);
    assert!(baseline.knows(&target(1), &rule(53), &seen));
    assert!(!baseline.knows(&target(1), &rule(123), &seen), "in peace they sent nothing like that");
    assert!(!baseline.knows(&target(1), &rule(53), &packet(8, 1, 53)), "nobody knows them");
    assert!(!baseline.knows(&target(2), &rule(53), &seen));
}

#[test]
fn old_seconds_go_and_those_of_a_hot_host_stay() {
    let mut baseline = Baseline::default();
    (0..100).for_each(|second| (1..3).for_each(|host| learn(&mut baseline, second, host, 80)));
    baseline.heat(103, 1, [target(1)].into_iter());
    learn(&mut baseline, HISTORY_S + 110, 3, 80);
    assert_eq!(baseline.peace(&target(1), &web()).packets.len(), 100);
    assert_eq!(baseline.fill().hosts, 2, "of the other one nothing is left");
    assert_eq!(baseline.fill().packets, recount(&baseline));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_is_bounded_and_counts_what_it_has(
        steps in proptest::collection::vec((0u32..3, 0u32..40, 1usize..200, any::<bool>()), 1..60)
    ) {
        let (mut baseline, mut second) = (Baseline::default(), 0);
        let mut hot_since = BTreeMap::new();
        for (gap, host, packets, is_hot) in steps {
            second += gap;
            let hot = is_hot.then(|| target(host));
            baseline.heat(second, 1, hot.into_iter());
            if is_hot {
                hot_since.insert(host, second);
            }
            (0..packets).for_each(|_| learn(&mut baseline, second, host, 80));
            prop_assert_eq!(baseline.fill().packets, recount(&baseline));
            for (target, buckets) in &baseline.hosts {
                prop_assert!(buckets.len <= HOST.all + HOST.second);
                prop_assert!(buckets.buckets.iter().all(|bucket| bucket.packets.len() <= HOST.second));
                let host = match target.prefix.addr() { IpAddr::V4(address) => u32::from(address) & 0xffff, IpAddr::V6(_) => 0 };
                if let Some(&since) = hot_since.get(&host) {
                    // Not of the seconds around the latest crossing, even where it began with an earlier one.
                    let hot = |bucket: &buckets::Bucket| bucket.second <= since && bucket.second + MARGIN_S + 1 > since;
                    prop_assert!(!buckets.buckets.iter().any(hot));
                }
            }
        }
    }
}

#[test]
fn rules_are_held_against_the_baseline_all_together() {
    let mut baseline = Baseline::default();
    for second in 0..100 {
        let port = match second % 10 {
            0 => 53,
            1 => 123,
            _ => 443,
        };
        learn(&mut baseline, second, 1, port);
    }
    let rule = |port: u32| FlowRule {
        destination: Some("198.18.0.9/32".parse().unwrap()),
        source_ports: port.into(),
        ..FlowRule::default()
    };
    // Those of the group stand for a host that has none.
    let peace = baseline.peace(&target(9), &web());
    let mut check = Check::new(&peace, &target(9), Unit::Pps);
    assert_eq!(check.add(&rule(53), 0.15), Ok(0.1));
    assert_eq!(check.add(&rule(123), 0.15), Err(0.2));
    assert_eq!(check.add(&rule(53), 0.15), Ok(0.1), "what was refused does not count");
    assert!((0.17..0.18).contains(&check.at_most(&rule(53))), "{}", check.at_most(&rule(53)));
    assert!((0.03..0.04).contains(&check.at_most(&rule(80))));
    let unknown = Peace::unknown();
    let mut unknown = Check::new(&unknown, &target(9), Unit::Pps);
    assert_eq!((unknown.add(&rule(53), 0.0), unknown.at_most(&rule(53))), (Ok(0.0), 1.0));
}
