//! The meter over real counters: each test counts as a worker does, and looks as the control thread does.

mod flows;
mod groups;
mod hashed;
mod replace;
mod units;
mod windows;

use std::collections::BTreeMap;

use dataplane::hosts::{Found, Layout, Owner, plane};
use dataplane::networks::Networks;
use dataplane::packet::Class;
use proptest::prelude::*;

use super::*;
use crate::attack::{Kind, Metric, Thresholds, Unit};

/// So long that smoothing takes up a tick as a whole: the rate is what came within the tick.
const LONG_S: f64 = 1000.0;
/// A second, where looks are a tenth of a second apart.
const EPOCH_TICKS: u32 = 10;
const UDP_OVER_1000_PPS: [(Kind, Unit, u64); 1] = [(Kind::Udp, Unit::Pps, 1000)];

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn host(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn thresholds(list: &[(Kind, Unit, u64)]) -> Thresholds {
    let mut thresholds = Thresholds::default();
    list.iter().for_each(|&(kind, unit, value)| thresholds.set(Metric { kind, unit }, value));
    thresholds
}

fn group(name: &str, networks: &[&str], incoming: Thresholds) -> Group {
    let networks = networks.iter().map(|text| net(text)).collect();
    Group { name: name.into(), networks, thresholds: [incoming, Thresholds::default()], ..Group::default() }
}

fn target(host: IpAddr, direction: Direction) -> Target {
    Target { prefix: host.into(), direction }
}

/// Packets of one kind.
#[derive(Clone, Copy, Debug)]
struct Traffic {
    host: IpAddr,
    direction: Direction,
    class: Class,
    fragment: bool,
    bytes: u32,
    packets: u32,
}

impl Traffic {
    fn udp(host: IpAddr, packets: u32) -> Traffic {
        Traffic { host, direction: Direction::Incoming, class: Class::Udp, fragment: false, bytes: 100, packets }
    }

    fn volumes(&self) -> Volumes {
        let mut volumes = Volumes::default();
        let (fragment, class) = (usize::from(self.fragment), self.class as usize);
        volumes.packets[fragment][class] = self.packets.into();
        volumes.bytes[fragment][class] = u64::from(self.packets) * u64::from(self.bytes);
        volumes
    }
}

/// Workers that count when told to, and a meter that looks at them.
struct Rig {
    networks: Arc<Networks>,
    workers: Vec<(Arc<Shared>, Owner)>,
    meter: Meter,
    tick: u32,
}

impl Rig {
    fn new(workers: usize, networks: &[&str], groups: Vec<Group>) -> Rig {
        Rig::with_blocks(workers, 8, networks, groups)
    }

    /// With IPv6 hosts of so many bits.
    fn by_prefix(workers: usize, ipv6_prefix_length: u8, networks: &[&str], groups: Vec<Group>) -> Rig {
        Rig::with_tables(workers, (8, ipv6_prefix_length), networks, groups)
    }

    fn with_blocks(workers: usize, ipv4_blocks: usize, networks: &[&str], groups: Vec<Group>) -> Rig {
        Rig::with_tables(workers, (ipv4_blocks, 128), networks, groups)
    }

    fn with_tables(
        workers: usize,
        (ipv4_blocks, ipv6_prefix_length): (usize, u8),
        networks: &[&str],
        groups: Vec<Group>,
    ) -> Rig {
        let networks: Vec<IpNet> = networks.iter().map(|text| net(text)).collect();
        let networks = Arc::new(Networks::new(&networks).expect("few networks"));
        let layout = Layout {
            networks: networks.places() + 4,
            rules: 8,
            ipv4_blocks,
            ipv6_hosts: 256,
            flow_ticks: EPOCH_TICKS,
            ipv6_prefix_length,
        };
        let shared = |core| Arc::new(Shared::new(core, layout, [1, 2]).expect("memory"));
        let workers: Vec<_> = (0..workers).map(|core| (shared(core), Owner::new())).collect();
        let map = Map::new(Arc::clone(&networks), groups, ipv6_prefix_length).expect("few groups");
        let meter = Meter::new(workers.iter().map(|(shared, _)| Arc::clone(shared)).collect(), map);
        Rig { networks, workers, meter, tick: 1 }
    }

    fn count(&mut self, worker: usize, traffic: Traffic) {
        self.count_stamped(worker, traffic, self.tick);
    }

    /// As a worker whose burst began in tick `stamp`.
    fn count_stamped(&mut self, worker: usize, traffic: Traffic, stamp: u32) {
        let (shared, owner) = &mut self.workers[worker];
        owner.begin_burst();
        for _ in 0..traffic.packets {
            let slab = &shared.slab;
            let known = slab.find(traffic.host);
            let slot = known.unwrap_or_else(|| {
                let found = match traffic.host {
                    IpAddr::V4(address) => owner.insert_v4(slab, &self.networks, address.into(), stamp),
                    IpAddr::V6(address) => owner.insert_v6(slab, &self.networks, address.into(), stamp),
                };
                match found {
                    Found::New(slot) | Found::Evicted(slot) | Found::Known(slot) => slot,
                    Found::Full => slab.network(self.networks.find(traffic.host).expect("a protected host")),
                }
            });
            let plane = plane(traffic.direction == Direction::Outgoing, traffic.fragment, traffic.class);
            owner.count(slab, slab.place(slot, plane), traffic.bytes, stamp);
        }
        shared.stats.ipv4_blocks.set(owner.used_ipv4_blocks() as u64);
    }

    /// A look after so many seconds, at which nothing is matched. The workers go over to the next tick, as in the daemon.
    fn look(&mut self, seconds: f64) -> Tick {
        self.tick += 1;
        self.meter.tick(self.tick, seconds, |_| Volumes::default())
    }

    fn follow(&mut self, targets: &[Target]) {
        self.meter.follow(targets.iter().copied(), [].into_iter());
    }

    /// Incoming and outgoing packets of each network in the last tick, which was [`LONG_S`].
    fn network_packets(&self) -> Vec<[u64; 2]> {
        let packets = |rate: Smooth| (rate.of(&Class::ALL).0 * LONG_S).round() as u64;
        self.meter.networks().into_iter().map(|(_, sum)| sum.smooth.rates.map(packets)).collect()
    }
}

fn volumes_of(tick: &Tick) -> BTreeMap<Target, Volumes> {
    tick.observed.iter().map(|observed| (observed.target, observed.all)).collect()
}

#[test]
fn each_host_direction_class_and_fragment_is_told_apart() {
    let mut rig = Rig::new(1, &["198.18.0.0/24", "2001:db8::/32"], vec![group("default", &[], Thresholds::default())]);
    let hosts = [host("198.18.0.1"), host("198.18.0.2"), host("2001:db8::1")];
    let targets: Vec<Target> =
        hosts.iter().flat_map(|&host| Direction::ALL.map(|direction| target(host, direction))).collect();
    rig.follow(&targets);
    let mut expected: BTreeMap<Target, Volumes> = BTreeMap::new();
    let mut packets = 0;
    for &Target { prefix, direction } in &targets {
        for class in Class::ALL {
            for fragment in [false, true] {
                packets += 1;
                let traffic = Traffic { host: prefix.addr(), direction, class, fragment, bytes: 40 + packets, packets };
                rig.count(0, traffic);
                expected.entry(target(prefix.addr(), direction)).or_default().add(&traffic.volumes());
            }
        }
    }
    let tick = rig.look(0.1);
    assert_eq!(volumes_of(&tick), expected);
    assert_eq!(tick.active, 3);
    assert!(tick.observed.iter().all(|observed| observed.seconds == 0.1));
    let tick = rig.look(0.1);
    assert_eq!((tick.observed.len(), tick.active), (0, 0), "nothing came, so nobody is seen again");
}

#[test]
fn a_host_is_observed_from_the_tick_in_which_it_is_over_a_threshold() {
    let mut rig = Rig::new(1, &["198.18.0.0/16"], vec![group("default", &[], thresholds(&UDP_OVER_1000_PPS))]);
    let victim = host("198.18.3.7");
    // 1000 packets a second are 100 in a tenth of a second.
    rig.count(0, Traffic::udp(victim, 100));
    assert_eq!(rig.look(0.1).observed.len(), 0, "at the threshold is not over it");
    rig.count(0, Traffic::udp(victim, 101));
    assert_eq!(rig.look(0.2).observed.len(), 0, "a longer tick is a lower rate");
    rig.count(0, Traffic { class: Class::Tcp, ..Traffic::udp(victim, 1000) });
    rig.count(0, Traffic { direction: Direction::Outgoing, ..Traffic::udp(victim, 1000) });
    assert_eq!(rig.look(0.1).observed.len(), 0, "neither another class nor the other direction counts");

    rig.count(0, Traffic::udp(victim, 101));
    rig.tick += 1;
    let matched = Traffic::udp(victim, 42).volumes();
    let asked = target(victim, Direction::Incoming);
    let tick = rig.meter.tick(rig.tick, 0.1, |target| if *target == asked { matched } else { Volumes::default() });
    let [observed] = tick.observed.as_slice() else { panic!("one host, not {:?}", tick.observed) };
    assert_eq!((observed.target, &*observed.group), (asked, "default"));
    assert_eq!((observed.all, observed.matched), (Traffic::udp(victim, 101).volumes(), matched));
    assert_eq!(observed.thresholds, thresholds(&UDP_OVER_1000_PPS));
}

#[test]
fn bits_count_as_well_as_packets() {
    let limit = thresholds(&[(Kind::Total, Unit::Bps, 1_000_000)]);
    let mut rig = Rig::new(1, &["198.18.0.0/16"], vec![group("default", &[], limit)]);
    rig.count(0, Traffic { bytes: 1250, ..Traffic::udp(host("198.18.0.1"), 100) });
    rig.count(0, Traffic { bytes: 1251, ..Traffic::udp(host("198.18.0.2"), 100) });
    let observed = volumes_of(&rig.look(1.0));
    assert_eq!(observed.into_keys().collect::<Vec<_>>(), [target(host("198.18.0.2"), Direction::Incoming)]);
}

#[test]
fn a_followed_host_is_observed_at_any_rate_until_it_is_followed_no_more() {
    let groups = vec![group("default", &[], thresholds(&UDP_OVER_1000_PPS))];
    let mut rig = Rig::new(1, &["198.18.0.0/16", "2001:db8::/32"], groups);
    for followed in [host("198.18.0.1"), host("2001:db8::1")] {
        let neighbour = if followed.is_ipv4() { host("198.18.0.2") } else { host("2001:db8::2") };
        let one = |host| Traffic::udp(host, 1);
        let followed_target = target(followed, Direction::Incoming);
        // Followed before its block is known, and after.
        for _ in 0..2 {
            rig.follow(&[followed_target]);
            rig.count(0, one(followed));
            rig.count(0, one(neighbour));
            assert_eq!(volumes_of(&rig.look(0.1)), BTreeMap::from([(followed_target, one(followed).volumes())]));
        }
        rig.follow(&[]);
        rig.count(0, one(followed));
        assert_eq!(rig.look(0.1).observed.len(), 0);
    }
}

#[test]
fn what_two_workers_count_is_one_host() {
    let groups = vec![group("default", &[], thresholds(&UDP_OVER_1000_PPS))];
    let mut rig = Rig::new(2, &["198.18.0.0/16", "2001:db8::/32"], groups);
    // Their blocks differ: the second worker's first one is for another /24.
    rig.count(1, Traffic::udp(host("198.18.9.9"), 1));
    for victim in [host("198.18.0.1"), host("2001:db8::1")] {
        rig.count(0, Traffic::udp(victim, 60));
        rig.count(1, Traffic::udp(victim, 50));
    }
    let tick = rig.look(0.1);
    let expected = [host("198.18.0.1"), host("2001:db8::1")]
        .map(|victim| (target(victim, Direction::Incoming), Traffic::udp(victim, 110).volumes()));
    assert_eq!(volumes_of(&tick), BTreeMap::from(expected));
    assert_eq!(tick.active, 3);
}

#[test]
fn what_a_late_worker_stamps_with_the_tick_before_is_seen() {
    let groups = vec![group("default", &[], thresholds(&[(Kind::Total, Unit::Pps, 0)]))];
    let mut rig = Rig::new(1, &["198.18.0.0/16", "2001:db8::/32"], groups);
    for victim in [host("198.18.0.1"), host("2001:db8::1")] {
        for round in 0..5 {
            if round != 1 {
                rig.count(0, Traffic::udp(victim, 3));
            }
            let all = volumes_of(&rig.look(0.1));
            assert_eq!(all.len(), usize::from(round != 1), "round {round}");
            // The look was in the middle of its burst.
            rig.count_stamped(0, Traffic::udp(victim, 4), rig.tick - 1);
            let all = volumes_of(&rig.look(0.1));
            assert_eq!(all[&target(victim, Direction::Incoming)], Traffic::udp(victim, 4).volumes(), "round {round}");
        }
    }
}

#[test]
fn what_no_stamp_tells_is_found_by_and_by() {
    let groups = vec![group("default", &[], thresholds(&[(Kind::Total, Unit::Pps, 0)]))];
    let mut rig = Rig::new(1, &["198.18.0.0/16", "2001:db8::/32"], groups);
    for victim in [host("198.18.0.1"), host("2001:db8::1")] {
        rig.count(0, Traffic::udp(victim, 3));
        let first = rig.tick;
        assert_eq!(rig.look(0.1).active, 1);
        // Long silence, until low bits of the tick are what they were at the first packet.
        rig.tick = first + (1 << 16) - 3;
        (0..3).for_each(|_| drop(rig.look(0.1)));
        rig.count(0, Traffic::udp(victim, 4));
        let sum = (0..seen::ROUND).map(|_| volumes_of(&rig.look(0.1))).fold(BTreeMap::new(), |mut sum, look| {
            look.iter().for_each(|(target, all)| sum.entry(*target).or_insert(Volumes::default()).add(all));
            sum
        });
        let expected = BTreeMap::from([(target(victim, Direction::Incoming), Traffic::udp(victim, 4).volumes())]);
        assert_eq!(sum, expected, "all of it, and once");
    }
}

#[test]
fn groups_have_what_their_hosts_have() {
    let groups = vec![
        group("default", &[], Thresholds::default()),
        group("half", &["198.18.0.0/25", "2001:db8:1::/48"], Thresholds::default()),
    ];
    let mut rig = Rig::new(2, &["198.18.0.0/16", "2001:db8::/32"], groups);
    for (worker, address, packets) in [
        (0, "198.18.0.1", 1),
        (1, "198.18.0.1", 2),
        (0, "198.18.0.200", 4),
        (0, "198.18.1.1", 8),
        (1, "2001:db8:1::1", 16),
        (0, "2001:db8:2::1", 32),
    ] {
        rig.count(worker, Traffic::udp(host(address), packets));
    }
    rig.count(0, Traffic { direction: Direction::Outgoing, ..Traffic::udp(host("198.18.0.3"), 64) });
    rig.look(LONG_S);
    let packets = |rate: Smooth| (rate.of(&Class::ALL).0 * LONG_S).round() as u64;
    let groups: Vec<_> = rig.meter.groups().into_iter().map(|(_, sum)| sum.smooth.rates.map(packets)).collect();
    assert_eq!(groups, [[4 + 8 + 32, 0], [1 + 2 + 16, 64]]);
}

#[test]
fn a_block_that_serves_another_24_brings_no_old_counts_along() {
    let groups = vec![group("default", &[], thresholds(&[(Kind::Udp, Unit::Pps, 0)]))];
    let mut rig = Rig::with_blocks(1, 1, &["198.18.0.0/16"], groups);
    let (first, second) = (host("198.18.0.1"), host("198.18.1.1"));
    rig.count(0, Traffic::udp(first, 10));
    assert_eq!(volumes_of(&rig.look(0.1)).len(), 1);
    let nothing = Volumes::default();
    assert_eq!(rig.meter.counted(first), Some([Traffic::udp(first, 10).volumes(), nothing]));
    for _ in 0..SILENT_TICKS {
        assert_eq!(rig.look(0.1).active, 0);
    }
    rig.count(0, Traffic::udp(second, 3));
    rig.count(0, Traffic::udp(first, 4));
    let all = volumes_of(&rig.look(0.1));
    let expected = [(first, 4), (second, 3)]
        .map(|(host, packets)| (target(host, Direction::Incoming), Traffic::udp(host, packets).volumes()));
    assert_eq!(all, BTreeMap::from(expected), "the first has no block any more, but a hashed slot");
    assert_eq!(rig.meter.counted(first), Some([Traffic::udp(first, 4).volumes(), nothing]));
    assert_eq!(rig.meter.counted(second), None, "its counters hold those of the first, too");
}

#[test]
fn a_rules_slot_starts_at_zero_for_its_next_rule() {
    let mut rig = Rig::new(2, &["198.18.0.0/24"], vec![group("default", &[], Thresholds::default())]);
    let traffic = Traffic::udp(host("198.18.0.1"), 1);
    let count = |rig: &mut Rig, worker: usize, direction: Direction, times: u32| {
        let (shared, owner) = &mut rig.workers[worker];
        let plane = plane(direction == Direction::Outgoing, false, traffic.class);
        for _ in 0..times {
            owner.count(&shared.slab, shared.slab.place(shared.slab.rule(3), plane), traffic.bytes, rig.tick);
        }
    };
    count(&mut rig, 0, Direction::Incoming, 5);
    count(&mut rig, 1, Direction::Incoming, 6);
    let volumes = rig.meter.rule(3, Direction::Incoming);
    assert_eq!(volumes, Traffic { packets: 11, ..traffic }.volumes());
    assert_eq!(rig.meter.rule(3, Direction::Incoming), Volumes::default());
    // What comes after the last look at a rule, either way, is nobody's.
    count(&mut rig, 0, Direction::Incoming, 7);
    count(&mut rig, 1, Direction::Outgoing, 8);
    (0..10).for_each(|_| drop(rig.look(0.1)));
    rig.meter.forget_rule(3);
    count(&mut rig, 1, Direction::Outgoing, 2);
    assert_eq!(rig.meter.rule(3, Direction::Outgoing), Traffic { packets: 2, ..traffic }.volumes());
}

#[test]
fn rates_follow_the_traffic_and_decay_without_it() {
    let mut rig = Rig::new(1, &["198.18.0.0/16", "2001:db8::/32"], vec![group("default", &[], Thresholds::default())]);
    for steady in [host("198.18.0.1"), host("2001:db8::1")] {
        let pps = |rig: &Rig| rig.meter.host(steady).rates[Direction::Incoming as usize].of(&[Class::Udp]).0;
        for _ in 0..100 {
            rig.count(0, Traffic::udp(steady, 50));
            rig.look(0.1);
        }
        assert!((pps(&rig) - 500.0).abs() < 1.0, "{}", pps(&rig));
        let bps = rig.meter.host(steady).rates[0].of(&Class::ALL).1;
        assert!((bps - 500.0 * 800.0).abs() < 800.0, "{bps}");
        assert_eq!(rig.meter.host(steady).rates[1].of(&Class::ALL), (0.0, 0.0));
        (0..10).for_each(|_| drop(rig.look(0.1)));
        // A second of silence leaves 1/e.
        assert!((pps(&rig) - 184.0).abs() < 2.0, "{}", pps(&rig));
        (0..SILENT_TICKS).for_each(|_| drop(rig.look(0.1)));
        assert!(pps(&rig) < 0.01, "{}", pps(&rig));
    }
    (0..SILENT_TICKS).for_each(|_| drop(rig.look(0.1)));
    assert_eq!(
        (rig.meter.blocks.len(), rig.meter.hashed.len(), rig.meter.ipv6.len()),
        (0, 0, 0),
        "what was silent is forgotten"
    );
}

#[test]
fn the_busiest_are_ordered_limited_and_filtered() {
    let mut rig = Rig::new(1, &["198.18.0.0/16", "2001:db8::/32"], vec![group("default", &[], Thresholds::default())]);
    let [many, large, sender, six] = [host("198.18.0.1"), host("198.18.0.2"), host("198.18.1.3"), host("2001:db8::4")];
    rig.count(0, Traffic { bytes: 50, ..Traffic::udp(many, 400) });
    rig.count(0, Traffic { bytes: 1400, ..Traffic::udp(large, 300) });
    rig.count(0, Traffic { direction: Direction::Outgoing, bytes: 60, ..Traffic::udp(sender, 200) });
    rig.count(0, Traffic::udp(sender, 10));
    rig.count(0, Traffic { bytes: 1000, ..Traffic::udp(six, 100) });
    rig.look(1.0);
    let list = |order, limit, prefix: Option<&str>| {
        let (hosts, active) = rig.meter.busiest(order, limit, prefix.map(net));
        (hosts.into_iter().map(|(host, _)| host).collect::<Vec<_>>(), active)
    };
    assert_eq!(list(Order::Pps, 10, None), (vec![many, large, sender, six], 4));
    assert_eq!(list(Order::Bps, 10, None), (vec![large, six, many, sender], 4));
    assert_eq!(list(Order::DirectionPps(Direction::Outgoing), 10, None), (vec![sender], 1));
    assert_eq!(list(Order::DirectionBps(Direction::Incoming), 3, None), (vec![large, six, many], 4));
    assert_eq!(list(Order::Pps, 1, None), (vec![many], 4));
    assert_eq!(list(Order::Pps, 0, None), (vec![], 4));
    assert_eq!(list(Order::Pps, 10, Some("198.18.0.0/24")), (vec![many, large], 2));
    assert_eq!(list(Order::Pps, 10, Some("2001:db8::/64")), (vec![six], 1));
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let hosts = prop_oneof![
        // Neighbours, and such as have nothing in common but the /24.
        (0u32..3, prop::sample::select(vec![0u32, 1, 7, 8, 129, 255]))
            .prop_map(|(block, index)| IpAddr::V4((0xc612_0000 | block << 8 | index).into())),
        // More than there are slots, so that some are evicted.
        (1u128..600).prop_map(|index| IpAddr::V6((0x2001_0db8 << 96 | index).into())),
    ];
    let direction = prop::sample::select(Direction::ALL.to_vec());
    let class = prop::sample::select(Class::ALL.to_vec());
    (hosts, direction, class, any::<bool>(), 20u32..1500, 1u32..4).prop_map(
        |(host, direction, class, fragment, bytes, packets)| Traffic {
            host,
            direction,
            class,
            fragment,
            bytes,
            packets,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_ticks_give_adds_up_to_what_workers_counted(
        ticks in prop::collection::vec(prop::collection::vec((0usize..2, any::<bool>(), traffic()), 0..400), 1..12),
    ) {
        let zero = thresholds(&[(Kind::Total, Unit::Pps, 0)]);
        let everyone = Group { name: "default".into(), thresholds: [zero, zero], ..Group::default() };
        let mut rig = Rig::new(2, &["198.18.0.0/16", "2001:db8::/32"], vec![everyone]);
        let mut counted: BTreeMap<Target, Volumes> = BTreeMap::new();
        let mut observed: BTreeMap<Target, Volumes> = BTreeMap::new();
        let mut networks = [[0u64; 2]; 2];
        let mut sent = networks;
        for tick in ticks {
            // A worker never goes back to an earlier tick.
            let (late, punctual): (Vec<_>, Vec<_>) = tick.into_iter().partition(|(_, late, _)| *late);
            let stamps = [rig.tick.saturating_sub(1).max(1), rig.tick];
            for (stamp, (worker, _, traffic)) in
                late.iter().map(|all| (stamps[0], all)).chain(punctual.iter().map(|all| (stamps[1], all)))
            {
                rig.count_stamped(*worker, *traffic, stamp);
                counted.entry(target(traffic.host, traffic.direction)).or_default().add(&traffic.volumes());
                let network = usize::from(traffic.host.is_ipv6());
                sent[network][traffic.direction as usize] += u64::from(traffic.packets);
            }
            for (target, volumes) in volumes_of(&rig.look(LONG_S)) {
                observed.entry(target).or_default().add(&volumes);
            }
            for (sum, packets) in networks.iter_mut().zip(rig.network_packets()) {
                *sum = [sum[0] + packets[0], sum[1] + packets[1]];
            }
        }
        prop_assert_eq!(networks, sent);
        for (target, volumes) in &observed {
            // A host that was evicted before the meter looked is in its network's account alone.
            let missing = counted[target].less(volumes);
            prop_assert_eq!(counted[target].less(&missing), *volumes, "{} got more than came", target);
            prop_assert!(target.prefix.addr().is_ipv6() || missing == Volumes::default(), "{} lost", target);
        }
        let ipv4 = |all: &BTreeMap<Target, Volumes>| all.keys().filter(|target| target.prefix.addr().is_ipv4()).count();
        prop_assert_eq!(ipv4(&counted), ipv4(&observed));
    }
}
