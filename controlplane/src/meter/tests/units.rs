//! Networks and groups as a whole.

use super::*;
use crate::group::Family;

fn udp(pps: u64) -> Thresholds {
    thresholds(&[(Kind::Udp, Unit::Pps, pps)])
}

fn of(name: &str, networks: &[&str], network: Option<u64>, together: Option<u64>) -> Group {
    let both = |limit: Option<u64>| [limit.map_or_else(Thresholds::default, udp); 2];
    let (network_thresholds, group_thresholds) = (both(network), both(together));
    Group { network_thresholds, group_thresholds, ..group(name, networks, Thresholds::default()) }
}

const PROTECTED: [&str; 4] = ["198.18.0.0/16", "198.18.9.0/24", "198.18.8.7/32", "2001:db8::/32"];

fn rig(groups: Vec<Group>) -> Rig {
    Rig::new(2, &PROTECTED, groups)
}

fn told(tick: Tick) -> BTreeMap<String, u64> {
    volumes_of(&tick).into_iter().map(|(target, volumes)| (target.to_string(), volumes.total().0)).collect()
}

fn is(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expected.iter().map(|(name, packets)| (format!("{name} incoming"), *packets)).collect()
}

#[test]
fn a_network_has_all_that_its_prefix_has_over_workers_and_tables() {
    let groups =
        || vec![of("default", &[], Some(99), None), of("web", &["198.18.1.0/28", "2001:db8:1::/48"], Some(50), None)];
    let mut rig = rig(groups());
    for (place, text) in
        ["198.18.1.1", "198.18.1.15", "198.18.1.16", "198.18.9.1", "2001:db8:1::1", "2001:db8:2::1"].iter().enumerate()
    {
        rig.count(place % 2, Traffic::udp(host(text), 30));
    }
    // 120 of the first /16, its /28 and /24 among them; 60 of the first /32.
    let expected = is(&[("198.18.0.0/16", 120), ("198.18.1.0/28", 60)]);
    assert_eq!(told(rig.look(1.0)), expected);
    rig.follow(
        &[target(host("198.18.9.0"), Direction::Incoming)].map(|at| Target { prefix: net("198.18.9.0/24"), ..at }),
    );
    rig.count(1, Traffic::udp(host("198.18.9.1"), 3));
    assert_eq!(told(rig.look(1.0)), is(&[("198.18.9.0/24", 3)]), "a followed one always");
    assert_eq!(told(rig.look(1.0)), is(&[("198.18.9.0/24", 0)]));
    // What is sent counts apart, and what no host has room for counts too.
    let mut rig = Rig::new(1, &PROTECTED, groups());
    rig.count(0, Traffic { direction: Direction::Outgoing, ..Traffic::udp(host("198.18.1.3"), 100) });
    let (shared, owner) = &mut rig.workers[0];
    let place = shared.slab.place(shared.slab.network(3), dataplane::hosts::plane(false, false, Class::Udp));
    for _ in 0..100 {
        owner.count(&shared.slab, place, 100, 1);
    }
    // Only the direction that a group has thresholds for.
    let names: Vec<String> = told(rig.look(1.0)).into_keys().collect();
    assert_eq!(names, ["198.18.0.0/16 outgoing", "198.18.1.0/28 outgoing", "2001:db8::/32 incoming"]);
}

#[test]
fn what_has_an_attack_of_its_own_is_no_part_of_anything() {
    let mut rig = rig(vec![of("default", &[], Some(10), None)]);
    let all = [("198.18.1.1", 50), ("198.18.1.2", 20), ("198.18.9.1", 40), ("198.18.9.2", 7)];
    let apart = [net("198.18.1.1/32"), net("198.18.9.0/24"), net("198.18.9.1/32")]
        .map(|prefix| Target { prefix, direction: Direction::Incoming });
    for taken in 0..=3 {
        all.iter().for_each(|(text, packets)| rig.count(0, Traffic::udp(host(text), *packets)));
        let followed = apart.iter().take(taken).copied();
        rig.meter.follow(followed.clone(), followed);
        let expected = match taken {
            0 => is(&[("198.18.0.0/16", 117), ("198.18.9.0/24", 47)]),
            1 => is(&[("198.18.0.0/16", 67), ("198.18.9.0/24", 47), ("198.18.1.1", 50)]),
            2 => is(&[("198.18.0.0/16", 20), ("198.18.9.0/24", 47), ("198.18.1.1", 50)]),
            _ => is(&[("198.18.0.0/16", 20), ("198.18.9.0/24", 7), ("198.18.1.1", 50), ("198.18.9.1", 40)]),
        };
        assert_eq!(told(rig.look(1.0)), expected, "{taken}");
    }
}

#[test]
fn of_a_group_over_its_threshold_the_busiest_network_is_told_with_what_the_others_have() {
    let networks = ["198.18.1.0/24", "198.18.2.0/24", "198.18.8.7/32"];
    let groups = vec![of("default", &[], None, None), of("web", &networks, None, Some(100))];
    let mut rig = rig(groups);
    let mut look = |apart: &[&str], traffic: &[(&str, u32)]| -> Vec<(String, u64, u64)> {
        traffic.iter().for_each(|(text, packets)| rig.count(0, Traffic::udp(host(text), *packets)));
        let apart = apart.iter().map(|prefix| Target { prefix: net(prefix), direction: Direction::Incoming });
        rig.meter.follow(apart.clone(), apart);
        let observed = rig.look(1.0).observed.into_iter();
        let told = |observed: Observed| {
            let load = observed.load.expect("a load");
            assert_eq!(load.thresholds, udp(100));
            (observed.target.prefix.to_string(), observed.all.total().0, load.others.total().0)
        };
        observed.map(told).collect()
    };
    let is = |prefix: &str, all, others| (prefix.to_owned(), all, others);
    let (one, two, single) = (("198.18.1.9", 40), ("198.18.2.9", 50), ("198.18.8.7", 10));
    assert_eq!(look(&[], &[one, two, single]), [], "100 is not over it");
    // What is in no network of the group is not the group's.
    assert_eq!(look(&[], &[one, two, single, ("198.18.3.1", 500)]), []);
    assert_eq!(look(&[], &[one, two, ("198.18.8.7", 11)]), [is("198.18.2.0/24", 50, 51)]);
    assert_eq!(look(&[], &[one, two, ("198.18.8.7", 90)]), [is("198.18.8.7/32", 90, 90)]);
    // With an attack on the busiest the others are under the threshold.
    assert_eq!(look(&["198.18.8.7/32"], &[one, two, ("198.18.8.7", 200)]), [is("198.18.8.7/32", 200, 90)]);
    let still = look(&["198.18.8.7/32"], &[one, ("198.18.2.9", 70), ("198.18.8.7", 200)]);
    assert_eq!(still, [is("198.18.8.7/32", 200, 110), is("198.18.2.0/24", 70, 40)]);
}

#[test]
fn a_network_is_of_the_group_around_it_and_of_its_family() {
    let mut v4 = of("v4", &["198.18.0.0/17", "2001:db8:4::/48"], Some(10), Some(10));
    v4.families = vec![Family::Ipv4];
    let groups = vec![of("default", &[], Some(1000), None), v4, of("all", &["198.18.9.0/28"], Some(20), None)];
    let mut rig = rig(groups);
    let group = |rig: &Rig, text: &str| rig.meter.map().group_of(net(text)).map(|group| group.name.to_string());
    let known =
        ["198.18.0.0/16", "198.18.9.0/24", "198.18.9.0/28", "198.18.9.1/32", "198.18.200.1/32", "2001:db8:4::/48"];
    let names = ["default", "v4", "all", "all", "default", "v4"];
    assert_eq!(known.map(|text| group(&rig, text).expect("a group")), names);
    assert_eq!(["198.18.7.0/24", "192.0.2.1/32"].map(|text| group(&rig, text)), [None, None]);
    // All to the /28 are the /24's too, but not its group's.
    rig.count(0, Traffic::udp(host("198.18.9.1"), 15));
    rig.count(0, Traffic::udp(host("2001:db8:4::1"), 500));
    let over: Vec<String> = told(rig.look(1.0)).into_keys().collect();
    assert_eq!(over, ["198.18.0.0/17 incoming", "198.18.9.0/24 incoming"]);
}
