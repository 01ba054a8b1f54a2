//! Other networks and groups in the middle of traffic.

use super::*;
use crate::group::LastResort;

const A: &str = "198.18.0.0/24";
const B: &str = "198.18.1.0/24";
const C: &str = "192.0.2.0/24";
const V6: &str = "2001:db8::/48";

/// Over to these, as the daemon does.
fn replace(rig: &mut Rig, networks: &[&str], groups: Vec<Group>) {
    let networks: Vec<IpNet> = networks.iter().map(|text| net(text)).collect();
    rig.networks = Arc::new(rig.networks.successor(&networks).expect("few networks"));
    rig.meter.replace(Map::new(Arc::clone(&rig.networks), groups, 128).expect("few groups"));
}

/// Incoming packets within the last tick, by name.
fn packets(rates: impl IntoIterator<Item = (String, SumRates)>) -> BTreeMap<String, u64> {
    let packets = |sum: SumRates| (sum.smooth.rates[0].of(&Class::ALL).0 * LONG_S).round() as u64;
    rates.into_iter().map(|(name, sum)| (name, packets(sum))).collect()
}

fn of_networks(rig: &Rig) -> BTreeMap<String, u64> {
    packets(rig.meter.networks().into_iter().map(|(network, rates)| (network.to_string(), rates)))
}

fn of_groups(rig: &Rig) -> BTreeMap<String, u64> {
    packets(rig.meter.groups().into_iter().map(|(name, rates)| (name.to_string(), rates)))
}

fn by_name(list: &[(&str, u64)]) -> BTreeMap<String, u64> {
    list.iter().map(|&(name, packets)| (name.to_owned(), packets)).collect()
}

fn groups(list: &[(&str, &str)]) -> Vec<Group> {
    let mut groups = vec![group("default", &[], thresholds(&UDP_OVER_1000_PPS))];
    groups.extend(list.iter().map(|&(name, network)| group(name, &[network], thresholds(&UDP_OVER_1000_PPS))));
    groups
}

fn count(rig: &mut Rig, list: &[(&str, u32)]) {
    list.iter().for_each(|&(address, packets)| rig.count(0, Traffic::udp(host(address), packets)));
}

#[test]
fn who_stays_keeps_its_figures_whatever_its_number() {
    let mut rig = Rig::new(1, &[A, B, V6], groups(&[("web", B), ("zoo", V6)]));
    count(&mut rig, &[("198.18.0.1", 50_000), ("198.18.1.1", 60_000), ("2001:db8::1", 70_000)]);
    rig.look(LONG_S);
    let counted = rig.meter.counted(host("198.18.1.1"));
    replace(&mut rig, &[V6, C, B], groups(&[("aaa", C), ("zoo", V6)]));
    // Before anything is counted: what stays is as it was, what is new has nothing.
    assert_eq!(of_networks(&rig), by_name(&[(V6, 70_000), (C, 0), (B, 60_000)]));
    assert_eq!(of_groups(&rig), by_name(&[("default", 50_000), ("aaa", 0), ("zoo", 70_000)]));
    assert_eq!(rig.meter.counted(host("198.18.1.1")), counted);
    assert_eq!(rig.meter.map().network(host("198.18.0.1")), None);

    count(&mut rig, &[("198.18.1.1", 11), ("2001:db8::1", 22), ("192.0.2.1", 33), ("198.18.1.2", 44)]);
    let tick = rig.look(LONG_S);
    assert!(tick.observed.is_empty(), "{:?}", tick.observed);
    assert_eq!(of_networks(&rig), by_name(&[(V6, 22), (C, 33), (B, 55)]));
    assert_eq!(of_groups(&rig), by_name(&[("default", 55), ("aaa", 33), ("zoo", 22)]));

    // The network that went comes back: its hosts' counters were never lost, and count no second time.
    replace(&mut rig, &[A, V6, C, B], groups(&[]));
    count(&mut rig, &[("198.18.0.1", 7), ("2001:db8::1", 5)]);
    let tick = rig.look(LONG_S);
    assert!(tick.observed.is_empty(), "{:?}", tick.observed);
    assert_eq!(of_networks(&rig), by_name(&[(A, 7), (V6, 5), (C, 0), (B, 0)]));
    assert_eq!(rig.meter.counted(host("198.18.0.1")).unwrap()[0].total().0, 50_007);
}

#[test]
fn networks_as_a_whole_come_and_go_and_hosts_that_were_known_count_for_those_that_come() {
    let names = |tick: Tick| {
        let mut names: Vec<(String, u64)> =
            tick.observed.iter().map(|told| (told.target.to_string(), told.all.total().0)).collect();
        names.sort();
        names
    };
    let with = |network: u64| {
        let limits = [thresholds(&[(Kind::Udp, Unit::Pps, network)]), Thresholds::default()];
        let mut groups = groups(&[("web", "198.18.1.0/28"), ("zoo", V6)]);
        groups.iter_mut().for_each(|group| group.network_thresholds = limits);
        groups
    };
    let traffic = [("198.18.0.1", 40), ("198.18.1.1", 50), ("198.18.1.99", 60), ("2001:db8::1", 70)];
    let mut rig = Rig::new(1, &[A, B, V6], groups(&[]));
    count(&mut rig, &traffic);
    assert_eq!(names(rig.look(1.0)), []);
    replace(&mut rig, &[V6, B], with(45));
    count(&mut rig, &traffic);
    let told = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
        list.iter().map(|(network, packets)| (format!("{network} incoming"), *packets)).collect()
    };
    let whole = [("198.18.1.0/24", 110), ("198.18.1.0/28", 50), ("2001:db8::/48", 70)];
    assert_eq!(names(rig.look(1.0)), told(&whole));
    // The widest stand first, so all have other places than before.
    replace(&mut rig, &[V6, B, "192.0.2.0/23"], with(45));
    count(&mut rig, &traffic);
    assert_eq!(names(rig.look(1.0)), told(&whole));
    replace(&mut rig, &[V6, B], groups(&[]));
    count(&mut rig, &traffic);
    assert_eq!(names(rig.look(1.0)), []);
}

#[test]
fn what_holds_for_a_target_by_what_it_is() {
    let whole = |group: Group, last_resort| Group {
        network_thresholds: [thresholds(&[(Kind::Udp, Unit::Pps, 7)]), Thresholds::default()],
        group_thresholds: [thresholds(&[(Kind::Udp, Unit::Pps, 9)]), Thresholds::default()],
        last_resort,
        ..group
    };
    let limit = LastResort::RateLimit { bps: 5 };
    let map = |default, web| {
        let own = || thresholds(&[(Kind::Udp, Unit::Pps, 5)]);
        let first = group("default", &[], own());
        let [second, quiet] = [("web", "198.18.1.0/25"), ("quiet", "198.18.0.16/28")]
            .map(|(name, network)| group(name, &[network], own()));
        let groups = vec![whole(first, default), whole(second, web), Group { monitor_only: true, ..quiet }];
        let networks = Networks::new(&[A, B].map(net)).unwrap();
        Map::new(Arc::new(networks), groups, 128).unwrap()
    };
    let at = |prefix: &str| Target { prefix: net(prefix), direction: Direction::Incoming };
    let held = |map: &Map, prefix: &str| {
        let place = map.place(&at(prefix), false)?;
        let limit = |thresholds: Thresholds| thresholds.get(Metric { kind: Kind::Udp, unit: Unit::Pps });
        Some((place.group.to_string(), limit(place.thresholds), limit(place.of_group), place.last_resort))
    };
    let limited = map(limit, limit);
    let black = map(LastResort::Blackhole, LastResort::Blackhole);
    assert_eq!(held(&limited, "198.18.0.1/32"), Some(("default".into(), Some(5), None, limit)));
    assert_eq!(held(&black, "198.18.0.1/32"), Some(("default".into(), Some(5), None, LastResort::Blackhole)));
    // A network is not taken off the net, nor limited where a part of it is only monitored.
    assert_eq!(held(&limited, A), Some(("default".into(), Some(7), Some(9), LastResort::Nothing)));
    assert_eq!(held(&limited, B), Some(("default".into(), Some(7), Some(9), limit)));
    assert_eq!(held(&limited, "198.18.1.0/25"), Some(("web".into(), Some(7), Some(9), limit)));
    assert_eq!(held(&black, B), Some(("default".into(), Some(7), Some(9), LastResort::Nothing)));
    // What is not counted as such is nothing but the target of a rule by hand.
    assert_eq!(held(&limited, "198.18.1.64/26"), None);
    assert_eq!(limited.place(&at("198.18.1.64/26"), true).map(|place| place.group.to_string()), Some("web".into()));
    assert!(limited.place(&at("192.0.2.1/32"), true).is_none() && limited.place(&at("192.0.2.1/32"), false).is_none());
}

#[test]
fn a_group_with_other_thresholds_holds_from_the_next_tick() {
    let strict = |name| group(name, &[B], thresholds(&[(Kind::Udp, Unit::Pps, 10)]));
    let mut rig = Rig::new(1, &[A, B], groups(&[]));
    let traffic = [("198.18.0.1", 500), ("198.18.1.1", 500)];
    count(&mut rig, &traffic);
    assert!(rig.look(1.0).observed.is_empty());
    replace(&mut rig, &[A, B], vec![group("default", &[], thresholds(&UDP_OVER_1000_PPS)), strict("strict")]);
    count(&mut rig, &traffic);
    let observed = rig.look(1.0).observed;
    let [only] = &observed[..] else { panic!("{observed:?}") };
    assert_eq!((only.target, &*only.group), (target(host("198.18.1.1"), Direction::Incoming), "strict"));
    assert_eq!(only.all.total().0, 500, "what this tick had, no more");
}

#[test]
fn what_is_protected_no_more_crosses_nothing_and_is_not_listed() {
    let generous = group("web", &["198.18.1.128/25", V6], Thresholds::default());
    let mut rig = Rig::new(2, &[A, B, V6], vec![group("default", &[], thresholds(&UDP_OVER_1000_PPS)), generous]);
    let busy = [("198.18.1.200", 9_000), ("2001:db8::1", 9_000), ("198.18.1.1", 900)];
    count(&mut rig, &busy);
    assert!(rig.look(1.0).observed.is_empty());
    // A worker in the middle of its burst counts on for a moment.
    replace(&mut rig, &[A, "198.18.1.0/25"], vec![group("default", &[], thresholds(&UDP_OVER_1000_PPS))]);
    let listed = |rig: &Rig| -> Vec<IpAddr> {
        rig.meter.busiest(Order::Pps, 10, None).0.into_iter().map(|(host, _)| host).collect()
    };
    assert_eq!(listed(&rig), [host("198.18.1.1")]);
    let (shared, owner) = &mut rig.workers[0];
    for (address, packets) in [("198.18.1.200", 9_000), ("2001:db8::1", 9_000)] {
        let slot = shared.slab.find(host(address)).expect("its slot");
        let place = shared.slab.place(slot, plane(false, false, Class::Udp));
        owner.begin_burst();
        for _ in 0..packets {
            let _ = owner.count(&shared.slab, place, 100, rig.tick);
        }
    }
    let observed = rig.look(1.0).observed;
    assert!(observed.is_empty(), "{observed:?}");
}

#[test]
fn flows_are_swept_over_a_change_in_the_middle_of_an_epoch() {
    let flows = || thresholds(&[(Kind::Flows, Unit::Fps, 1000)]);
    let mut rig = Rig::new(1, &[A, B, V6], vec![group("default", &[], flows())]);
    for look in 0..4 * EPOCH_TICKS {
        count(&mut rig, &[("198.18.0.1", 10), ("198.18.1.1", 10), ("2001:db8::1", 10)]);
        // The hosts whose flows are summed up are in networks and groups that were not there when the epoch began; or are gone.
        match look {
            9 => replace(
                &mut rig,
                &["198.18.0.0/25", V6],
                vec![group("default", &[], flows()), group("new", &[V6], flows())],
            ),
            21 => replace(&mut rig, &[A, B, V6], vec![group("default", &[], flows())]),
            _ => {}
        }
        rig.look(0.1);
    }
    assert_eq!(rig.meter.networks().len(), 3);
}
