//! Hosts in the hashed table, whose slots change hands.

use super::*;

#[test]
fn a_scan_of_ipv6_addresses_neither_loses_nor_doubles_what_its_network_got() {
    let mut rig = Rig::new(
        2,
        &["2001:db8::/32", "2001:db8:1::/48"],
        vec![group("default", &[], thresholds(&[(Kind::Udp, Unit::Pps, 1)]))],
    );
    let heavy = host("2001:db8::ffff:ffff");
    let address =
        |network: u128, index: u32| IpAddr::V6((0x2001_0db8 << 96 | network << 80 | u128::from(index)).into());
    let mut next = 0u32;
    for tick in 0..40u32 {
        let worker = (tick % 2) as usize;
        let mut sent = [[0u64; 2]; 2];
        let mut send = |rig: &mut Rig, network: usize, traffic: Traffic| {
            sent[network][traffic.direction as usize] += u64::from(traffic.packets);
            rig.count(worker, traffic);
        };
        // Far more addresses than slots; some come back after they were evicted.
        for _ in 0..tick * 20 {
            next += 1;
            let network = usize::from(next.is_multiple_of(3));
            let scanned = address(network as u128, next % 3000 + 1);
            send(&mut rig, network, Traffic { class: Class::Tcp, ..Traffic::udp(scanned, 1 + next % 2) });
            send(
                &mut rig,
                network,
                Traffic { class: Class::Tcp, direction: Direction::Outgoing, ..Traffic::udp(scanned, 1) },
            );
        }
        send(&mut rig, 0, Traffic::udp(heavy, 2000));
        let observed = volumes_of(&rig.look(LONG_S));
        assert_eq!(rig.network_packets(), sent, "tick {tick}");
        let in_group =
            rig.meter.groups()[0].1.smooth.rates.map(|rate| (rate.of(&Class::ALL).0 * LONG_S).round() as u64);
        assert_eq!(in_group, [0, 1].map(|way| sent[0][way] + sent[1][way]), "tick {tick}");
        let expected = BTreeMap::from([(target(heavy, Direction::Incoming), Traffic::udp(heavy, 2000).volumes())]);
        assert_eq!(observed, expected, "tick {tick}");
    }
    assert!(next > 10_000, "{next} is no scan");
}

#[test]
fn a_host_that_is_evicted_and_comes_back_is_counted_from_zero() {
    let groups = vec![group("default", &[], thresholds(&[(Kind::Udp, Unit::Pps, 0)]))];
    let mut rig = Rig::new(1, &["2001:db8::/32"], groups);
    let victim = host("2001:db8::1");
    rig.count(0, Traffic::udp(victim, 7));
    assert_eq!(volumes_of(&rig.look(0.1))[&target(victim, Direction::Incoming)], Traffic::udp(victim, 7).volumes());
    (0..30).for_each(|_| drop(rig.look(0.1)));
    for index in 2..5000u32 {
        let scanned = IpAddr::V6((0x2001_0db8 << 96 | u128::from(index)).into());
        rig.count(0, Traffic { class: Class::Tcp, ..Traffic::udp(scanned, 1) });
    }
    let IpAddr::V6(address) = victim else { unreachable!("written so above") };
    assert_eq!(rig.workers[0].0.slab.find_v6(address.into()), None, "evicted");
    rig.count(0, Traffic::udp(victim, 5));
    let all = volumes_of(&rig.look(0.1));
    assert_eq!(all, BTreeMap::from([(target(victim, Direction::Incoming), Traffic::udp(victim, 5).volumes())]));
}

#[test]
fn hosts_without_a_block_are_counted_in_the_hashed_table() {
    let mut rig = Rig::with_blocks(
        2,
        1,
        &["198.18.0.0/16", "198.18.7.0/24"],
        vec![group("default", &[], thresholds(&[(Kind::Udp, Unit::Pps, 0)]))],
    );
    let hosts = [host("198.18.0.1"), host("198.18.1.1"), host("198.18.7.1")];
    // The second worker's block is for the /24 that has none with the first.
    rig.count(1, Traffic::udp(hosts[1], 50));
    rig.count(0, Traffic::udp(hosts[0], 100));
    rig.count(0, Traffic::udp(hosts[1], 200));
    rig.count(0, Traffic { direction: Direction::Outgoing, ..Traffic::udp(hosts[2], 300) });
    rig.count(0, Traffic::udp(hosts[2], 400));
    let tick = rig.look(LONG_S);
    assert_eq!(tick.active, 3);
    assert_eq!(rig.network_packets(), [[350, 0], [400, 300]]);
    let expected = [(hosts[0], 100), (hosts[1], 250), (hosts[2], 400)]
        .map(|(host, packets)| (target(host, Direction::Incoming), Traffic::udp(host, packets).volumes()));
    assert_eq!(volumes_of(&tick), BTreeMap::from(expected));
    let listed: Vec<IpAddr> = rig.meter.busiest(Order::Pps, 9, None).0.into_iter().map(|(host, _)| host).collect();
    assert_eq!(listed, [hosts[2], hosts[1], hosts[0]]);
    assert_eq!(rig.meter.counted(hosts[1]).unwrap()[0], Traffic::udp(hosts[1], 250).volumes());
}
