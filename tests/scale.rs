//! Large numbers: a million hosts of either family, thousands of networks, scans. Pipeline, meter and detector as the daemon
//! puts them together, fed from memory, with ticks instead of time.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use controlplane::attack::{Kind, Metric, Now, Thresholds, Unit, Volumes};
use controlplane::detector::{Detector, Settings, Tap};
use controlplane::meter::{self, Group, Map, Meter, Order};
use controlplane::mitigation::Limits;
use dataplane::hosts::Layout;
use dataplane::networks::Networks;
use dataplane::pipeline::{Pipeline, Shared};
use dataplane::snapshot::Snapshot;
use dataplane::stats::Lost;
use dataplane::watch::Watch;
use ipnet::IpNet;

const BURST: usize = 32;
const TICK_MS: u64 = 100;
const MILLION: u32 = 1_000_000;
/// UDP packets a second; an attack is ten times as many.
const THRESHOLD: u64 = 10_000;

const SETTINGS: Settings = Settings {
    window_ms: 1000,
    check_period_ms: TICK_MS,
    capture_packets: 500,
    capture_timeout_ms: 120_000,
    captures_max: 256,
    threshold_specific_ban_details: false,
    ban_time_ms: 60_000,
    ban_time_max_ms: 60_000,
    probation_ms: 60_000,
    unban_only_if_attack_finished: true,
    tap: Tap::BeforeRouter,
    rule_idle_ms: 60_000,
    attacks_max: 100,
    limits: Limits { rules_per_target: 3, rules_in_all: 100, blackholes_in_all: 10, dry_run: false },
};

struct Levee {
    shared: Arc<Shared>,
    pipeline: Pipeline,
    meter: Meter,
    detector: Detector,
    _networks: Snapshot<Networks>,
    _watch: Snapshot<Watch>,
    waiting: Vec<Vec<u8>>,
    tick: u32,
}

impl Levee {
    fn new(networks: &[IpNet], ipv4_blocks: usize, ipv6_hosts: usize) -> Levee {
        let layout = Layout {
            networks: networks.len(),
            rules: 16,
            ipv4_blocks,
            ipv6_hosts,
            flow_ticks: 0,
            ipv6_prefix_length: 128,
        };
        let shared = Arc::new(Shared::new(0, layout, [0x5eed, 0x1e7ee]).expect("memory"));
        let networks = Snapshot::new(Networks::new(networks).expect("networks"));
        let watch = Snapshot::new(Watch::default());
        let mut incoming = Thresholds::default();
        incoming.set(Metric { kind: Kind::Udp, unit: Unit::Pps }, THRESHOLD);
        let group = Group { name: "default".into(), thresholds: [incoming, Thresholds::default()], ..Group::default() };
        let map = Map::new(networks.get(), vec![group], layout.ipv6_prefix_length).expect("a map");
        Levee {
            pipeline: Pipeline::new(Arc::clone(&shared), networks.reader(), watch.reader()),
            meter: Meter::new(vec![Arc::clone(&shared)], map),
            detector: Detector::new(SETTINGS, Arc::default()),
            shared,
            _networks: networks,
            _watch: watch,
            waiting: Vec::new(),
            tick: 1,
        }
    }

    /// A UDP packet to a host.
    fn send(&mut self, host: IpAddr) {
        self.waiting.push(frame(host));
        if self.waiting.len() == BURST {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let frames = std::mem::take(&mut self.waiting);
        let packets = frames.iter().map(|frame| (frame.as_slice(), frame.len() as u32));
        self.pipeline.burst(packets, frames.iter().map(|frame| frame.len() as u64).sum(), self.tick, 0);
    }

    /// A look at the thresholds; gives how many hosts had traffic.
    fn look(&mut self) -> u64 {
        self.flush();
        self.tick += 1;
        self.meter.follow(self.detector.followed(), self.detector.apart());
        let seconds = TICK_MS as f64 / 1000.0;
        let tick = self.meter.tick(self.tick, seconds, |_| Volumes::default());
        let mono_ms = u64::from(self.tick) * TICK_MS;
        self.detector.tick(Now { mono_ms, wall_ms: mono_ms as i64 }, seconds, &tick.observed);
        tick.active
    }

    fn lost(&self, lost: Lost) -> u64 {
        self.shared.stats.lost[lost as usize].get()
    }

    fn attacked(&self) -> Vec<IpAddr> {
        self.detector.attacks().map(|attack| attack.target.prefix.addr()).collect()
    }

    /// Ticks until an attack of ten times the threshold on a host is seen, while so many others get a packet in each tick.
    fn ticks_to_see(&mut self, victim: IpAddr, scan: &mut impl Iterator<Item = IpAddr>, scanned: usize) -> u32 {
        let packets = 10 * THRESHOLD * TICK_MS / 1000;
        for tick in 1..=10 {
            for _ in 0..packets {
                self.send(victim);
                scan.by_ref().take(scanned.div_ceil(packets as usize)).for_each(|host| self.send(host));
            }
            self.look();
            if self.detector.attacks().next().is_some() {
                assert_eq!(self.attacked(), [victim]);
                return tick;
            }
        }
        panic!("{victim} is attacked, and nobody sees it");
    }
}

/// A UDP packet of 4 bytes of payload.
fn frame(host: IpAddr) -> Vec<u8> {
    let mut frame = vec![2; 12];
    match host {
        IpAddr::V4(host) => {
            frame.extend([0x08, 0x00, 0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 203, 0, 113, 1]);
            frame.extend(host.octets());
        }
        IpAddr::V6(host) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 12, 17, 64]);
            frame.extend("2001:db8:ffff::1".parse::<Ipv6Addr>().expect("an address").octets());
            frame.extend(host.octets());
        }
    }
    frame.extend([0, 53, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
    frame
}

/// Addresses all over 10.0.0.0/8, each once: the factor is odd.
fn ipv4(index: u32) -> IpAddr {
    IpAddr::V4((10 << 24 | index.wrapping_mul(0x009e_3779) & 0x00ff_ffff).into())
}

fn ipv6(index: u32) -> IpAddr {
    let mixed = u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    IpAddr::V6((0x2001_0db8 << 96 | u128::from(mixed)).into())
}

fn nets(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|text| text.parse().expect("a prefix")).collect()
}

/// A million addresses scanned within a second, then an attack on the next one while the scan goes on.
fn assert_seen_after_a_scan(address: impl Fn(u32) -> IpAddr) {
    let networks = nets(&["10.0.0.0/8", "2001:db8::/48"]);
    let undisturbed = Levee::new(&networks, 4096, 65_536).ticks_to_see(address(MILLION), &mut std::iter::empty(), 0);

    let mut levee = Levee::new(&networks, 4096, 65_536);
    for tick in 0..10 {
        (0..MILLION / 10).for_each(|index| levee.send(address(tick * MILLION / 10 + index)));
        levee.look();
    }
    assert_eq!(levee.attacked(), [] as [IpAddr; 0]);
    let mut scan = (MILLION + 1..).map(&address);
    let seen = levee.ticks_to_see(address(MILLION), &mut scan, MILLION as usize / 10);
    assert_eq!(seen, undisturbed);
    assert!(levee.lost(Lost::HostEvicted) > 500_000, "the tables were full");
}

#[test]
fn a_scan_of_a_million_ipv4_addresses_hides_no_attack() {
    assert_seen_after_a_scan(ipv4);
}

#[test]
fn a_scan_of_a_million_ipv6_addresses_hides_no_attack() {
    assert_seen_after_a_scan(ipv6);
}

/// What this process has in memory, ordinary and huge pages.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.split_whitespace().next().expect("a number").parse().expect("a number")
    };
    (kib("VmRSS:") + kib("HugetlbPages:")) << 10
}

/// A million hosts, each with traffic: all are counted, listed and watched, in the memory that was announced.
fn assert_a_million(networks: &[IpNet], ipv4_blocks: usize, ipv6_hosts: usize, address: impl Fn(u32) -> IpAddr) {
    let before = resident();
    let mut levee = Levee::new(networks, ipv4_blocks, ipv6_hosts);
    for index in 0..MILLION {
        levee.send(address(index));
    }
    let active = levee.look();
    assert_eq!(levee.shared.stats.total_packets(), u64::from(MILLION));
    assert_eq!((levee.lost(Lost::NoBlock), levee.lost(Lost::NoSlot)), (0, 0));
    assert_eq!(active + levee.lost(Lost::HostEvicted), u64::from(MILLION));
    assert!(levee.lost(Lost::HostEvicted) < 1000, "{} found no slot", levee.lost(Lost::HostEvicted));
    let (hosts, listed) = levee.meter.busiest(Order::Pps, 10, None);
    assert_eq!((hosts.len(), listed), (10, active));

    let layout = *levee.shared.slab.layout();
    let tables: usize = layout.tables().iter().sum();
    let grown = resident() - before;
    let bound = tables as u64 + meter::bytes_max(&layout, 1, ipv4_blocks as u64);
    assert!(tables as u64 <= grown + (8 << 20) && grown < bound + (16 << 20), "{tables} <= {grown} < {bound}?");

    let victim = address(MILLION / 2);
    let mut all = (0..MILLION).cycle().map(address);
    assert!(levee.ticks_to_see(victim, &mut all, 10_000) <= 2);
}

#[test]
fn a_million_ipv4_hosts_in_five_thousand_networks() {
    // The last 4000 blocks of the /8, each also a network of its own; and a thousand networks without traffic.
    let mut networks = nets(&["10.0.0.0/8"]);
    networks.extend(
        (0..4000u32).map(|index| IpNet::new(IpAddr::V4((0x0af0_0000 | index << 8).into()), 24).expect("length")),
    );
    networks.extend(
        (0..999u32).map(|index| IpNet::new(IpAddr::V4((0xc612_0000 | index << 4).into()), 28).expect("length")),
    );
    assert_eq!(networks.len(), 5000);
    assert_a_million(&networks, 4096, 64, |index| IpAddr::V4((0x0af0_0000 + index).into()));
}

#[test]
fn a_million_ipv6_hosts() {
    assert_a_million(&nets(&["2001:db8::/48"]), 1, MILLION as usize, ipv6);
}
