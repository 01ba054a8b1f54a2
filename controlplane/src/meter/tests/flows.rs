//! Flows from frames through the workers' pipelines to what the detector is told.

use std::net::{Ipv4Addr, Ipv6Addr};

use dataplane::flows::STANDARD_ERROR;
use dataplane::pipeline::Pipeline;
use dataplane::snapshot::Snapshot;
use dataplane::watch::Watch;

use super::*;

const FRAME: usize = 64;

/// A UDP packet between two hosts of one family.
fn frame(source: IpAddr, destination: IpAddr, source_port: u16) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let ports = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
            frame[17] = 28;
            frame[23] = 17;
            frame[26..30].copy_from_slice(&source.octets());
            frame[30..34].copy_from_slice(&destination.octets());
            34
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
            frame[19] = 8;
            frame[20] = 17;
            frame[22..38].copy_from_slice(&source.octets());
            frame[38..54].copy_from_slice(&destination.octets());
            54
        }
        _ => panic!("one family"),
    };
    frame[ports..ports + 2].copy_from_slice(&source_port.to_be_bytes());
    frame[ports + 3] = 53;
    frame
}

/// Two workers with pipelines of their own, among which flows are spread.
struct Line {
    rig: Rig,
    pipelines: Vec<Pipeline>,
    _networks: Snapshot<Networks>,
    _watch: Snapshot<Watch>,
}

impl Line {
    fn new(flows_per_second: u64) -> Line {
        let limit = thresholds(&[(Kind::Flows, Unit::Fps, flows_per_second)]);
        let groups = vec![group("default", &[], limit), group("calm", &["198.18.9.0/24"], Thresholds::default())];
        Line::over(Rig::new(2, &["198.18.0.0/16", "2001:db8::/32"], groups))
    }

    fn over(rig: Rig) -> Line {
        let list: Vec<IpNet> = rig.networks.iter().map(|(_, network)| network).collect();
        let networks = Snapshot::new(Networks::new(&list).expect("few networks"));
        let watch = Snapshot::new(Watch::default());
        let pipeline =
            |(shared, _): &(Arc<Shared>, Owner)| Pipeline::new(Arc::clone(shared), networks.reader(), watch.reader());
        let pipelines = rig.workers.iter().map(pipeline).collect();
        Line { rig, pipelines, _networks: networks, _watch: watch }
    }

    /// A packet of each of these flows to `host`, or from it; a flow is its far end's address and port.
    fn send(&mut self, host: IpAddr, direction: Direction, flows: std::ops::Range<u32>) {
        let burst = |worker: u32| -> Vec<[u8; FRAME]> {
            let far = |flow: u32| match host {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(0xcb00_7100 + (flow >> 8 & 0xff))),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(0xfd00 << 112 | u128::from(flow >> 8))),
            };
            let frame = |flow: u32| match direction {
                Direction::Incoming => frame(far(flow), host, flow as u16),
                Direction::Outgoing => frame(host, far(flow), flow as u16),
            };
            flows.clone().filter(|flow| flow % 2 == worker).map(frame).collect()
        };
        for worker in 0..2 {
            for burst in burst(worker).chunks(32) {
                let packets = burst.iter().map(|frame| (&frame[..], FRAME as u32));
                let bytes = (burst.len() * FRAME) as u64;
                self.pipelines[worker as usize].burst(packets, bytes, self.rig.tick, 0);
            }
        }
    }

    fn rate(&self, host: IpAddr, direction: Direction) -> f64 {
        self.rig.meter.flows(host)[direction as usize]
    }
}

fn assert_near(estimate: f64, truth: f64) {
    assert!((estimate / truth - 1.0).abs() < 3.0 * STANDARD_ERROR, "{estimate} is far from {truth}");
}

/// The rate that the detector would see.
fn observed_rate(tick: &Tick, target: Target) -> Option<f64> {
    let observed = tick.observed.iter().find(|observed| observed.target == target)?;
    Some(observed.all.of(Metric::FLOWS) / observed.seconds)
}

#[test]
fn each_host_and_direction_has_the_rate_of_its_flows() {
    let mut line = Line::new(1000);
    let [flooded, busy, six, calm] = [host("198.18.0.1"), host("198.18.0.2"), host("2001:db8::1"), host("198.18.9.1")];
    let mut last = Tick::default();
    for tick in 0..30 {
        // New flows in each tick; few flows that go on, with as many packets; and both, the other way.
        line.send(flooded, Direction::Incoming, tick * 200..(tick + 1) * 200);
        (0..10).for_each(|_| line.send(busy, Direction::Incoming, 0..20));
        line.send(busy, Direction::Outgoing, 0..400);
        line.send(six, Direction::Incoming, 0..1500);
        line.send(calm, Direction::Incoming, tick * 200..(tick + 1) * 200);
        last = line.rig.look(0.1);
    }
    assert_near(line.rate(flooded, Direction::Incoming), 2000.0);
    assert_near(line.rate(calm, Direction::Incoming), 2000.0);
    assert_near(line.rate(busy, Direction::Incoming), 20.0);
    assert_near(line.rate(busy, Direction::Outgoing), 400.0);
    assert_near(line.rate(six, Direction::Incoming), 1500.0);
    assert_eq!(line.rate(six, Direction::Outgoing), 0.0);
    let mut over: Vec<Target> = last.observed.iter().map(|observed| observed.target).collect();
    over.sort();
    assert_eq!(over, [target(flooded, Direction::Incoming), target(six, Direction::Incoming)]);
    for victim in [flooded, six] {
        let told = observed_rate(&last, target(victim, Direction::Incoming)).expect("observed");
        assert!((told - line.rate(victim, Direction::Incoming)).abs() < 0.01, "{told}");
    }
    // Silence ends a rate within two epochs.
    (0..20).for_each(|_| drop(line.rig.look(0.1)));
    assert_eq!(line.rate(flooded, Direction::Incoming), 0.0);
}

#[test]
fn addresses_of_one_ipv6_prefix_are_one_host_to_thresholds_flows_and_listings() {
    let limit = thresholds(&[(Kind::Flows, Unit::Fps, 1000), (Kind::Udp, Unit::Pps, 1500)]);
    let networks = ["198.18.0.0/16", "2001:db8::/32", "2001:db8:0:5::/64"];
    let rig = Rig::by_prefix(2, 64, &networks, vec![group("default", &[], limit)]);
    let mut line = Line::over(rig);
    let (flooded, calm) = (host("2001:db8:0:5::"), host("2001:db8:0:6::"));
    for address in 1..=100 {
        // None alone is over a threshold.
        line.send(host(&format!("2001:db8:0:5::{address:x}")), Direction::Incoming, 0..20);
        line.send(host(&format!("2001:db8:0:5::{address:x}")), Direction::Outgoing, 0..3);
    }
    line.send(host("2001:db8:0:6::1"), Direction::Incoming, 0..20);
    let tick = line.rig.look(1.0);
    let target = Target { prefix: net("2001:db8:0:5::/64"), direction: Direction::Incoming };
    assert_eq!(tick.active, 2);
    assert_eq!(tick.observed.iter().map(|observed| observed.target).collect::<Vec<_>>(), [target]);
    assert_eq!(tick.observed[0].all.total().0, 2000);
    assert_near(observed_rate(&tick, target).expect("observed"), 2000.0);
    assert_near(line.rate(flooded, Direction::Outgoing), 300.0);
    assert_near(line.rate(calm, Direction::Incoming), 20.0);
    let meter = &mut line.rig.meter;
    assert_eq!(meter.counted(flooded).expect("since the start").map(|volumes| volumes.total().0), [2000, 300]);
    assert_eq!(meter.map().network(flooded), Some(net("2001:db8:0:5::/64")));
    let list = |prefix: &str| -> Vec<IpAddr> {
        meter.busiest(Order::Pps, 9, Some(net(prefix))).0.into_iter().map(|(host, _)| host).collect()
    };
    assert_eq!(list("2001:db8::/32"), [flooded, calm]);
    for within in ["2001:db8:0:5::/64", "2001:db8:0:5::7/128", "2001:db8:0:5:8000::/65"] {
        assert_eq!(list(within), [flooded], "{within}");
    }
    // Also one that was never seen.
    assert_eq!(list("2001:db8:0:7::1/128"), [host("2001:db8:0:7::")]);
    assert_eq!(list("198.18.0.1/32"), [host("198.18.0.1")]);
}

#[test]
fn flows_over_the_threshold_are_seen_before_their_second_is_over() {
    let mut line = Line::new(1000);
    let victim = host("198.18.0.1");
    let asked = target(victim, Direction::Incoming);
    // Ten ticks from the start of an epoch.
    (0..8).for_each(|_| drop(line.rig.look(0.1)));
    assert_eq!(line.rig.tick % EPOCH_TICKS, 9);
    line.rig.look(0.1);
    let seen: Vec<bool> = (0..10)
        .map(|tick| {
            line.send(victim, Direction::Incoming, tick * 500..(tick + 1) * 500);
            observed_rate(&line.rig.look(0.1), asked).is_some()
        })
        .collect();
    // At five times the threshold two ticks reach it, give or take the error.
    assert!(!seen[0] && seen[2..].iter().all(|seen| *seen), "{seen:?}");
}

#[test]
fn a_followed_host_has_its_flows_also_in_ticks_without_a_packet() {
    let mut line = Line::new(1000);
    let victim = host("2001:db8::7");
    let asked = target(victim, Direction::Incoming);
    line.send(victim, Direction::Incoming, 0..3000);
    let first = observed_rate(&line.rig.look(0.1), asked).expect("over the threshold");
    line.rig.follow(&[asked]);
    let silent = line.rig.look(0.1);
    assert_eq!(observed_rate(&silent, asked), Some(first));
    assert_eq!(silent.observed[0].all.total(), (0, 0));
    // Until both epochs are past.
    let rates: Vec<Option<f64>> = (0..20).map(|_| observed_rate(&line.rig.look(0.1), asked)).collect();
    assert_eq!(rates[19], None);
    let told = rates.iter().flatten().count();
    assert!((7..=18).contains(&told), "{rates:?}");
}

#[test]
fn an_epoch_that_took_longer_is_a_lower_rate() {
    let mut line = Line::new(1_000_000);
    let victim = host("198.18.0.1");
    for tick in 0..30 {
        line.send(victim, Direction::Incoming, tick * 200..(tick + 1) * 200);
        line.rig.look(0.2);
    }
    assert_near(line.rate(victim, Direction::Incoming), 1000.0);
}

impl Line {
    /// Incoming and outgoing flows a second of each network, then of each group.
    fn sums(&self) -> Vec<[f64; 2]> {
        let (networks, groups) = (self.rig.meter.networks(), self.rig.meter.groups());
        networks.into_iter().map(|(_, sum)| sum.flows).chain(groups.into_iter().map(|(_, sum)| sum.flows)).collect()
    }

    /// Two epochs in which each of these hosts has so many flows, the first half of them at both workers; and one to sum
    /// the second up.
    fn two_epochs(&mut self, hosts: &[IpAddr], flows: u32) {
        let end = (self.rig.tick / EPOCH_TICKS + 3) * EPOCH_TICKS - 1;
        while self.rig.tick < end {
            if self.rig.tick % EPOCH_TICKS == 4 && self.rig.tick + 10 < end {
                for &host in hosts {
                    self.send(host, Direction::Incoming, 0..flows);
                    self.pipelines.reverse();
                    self.send(host, Direction::Incoming, 0..flows / 2);
                    self.pipelines.reverse();
                }
            }
            self.rig.look(0.1);
        }
    }
}

#[test]
fn networks_and_groups_have_the_flows_of_all_their_hosts() {
    let mut line = Line::new(1_000_000);
    let four = |block: u32, index: u32| IpAddr::from(Ipv4Addr::from(0xc612_0000 | block << 8 | index));
    let six = |index: u128| IpAddr::from(Ipv6Addr::from(0x2001_0db8 << 96 | index));
    // The last two /24s have no block; the calm group has one that has.
    let blocks: Vec<IpAddr> = [9, 0, 1, 2, 3, 4, 5, 6, 7, 8]
        .into_iter()
        .flat_map(|block| (0..if block > 6 && block < 9 { 20 } else { 100 }).map(move |index| four(block, index)))
        .collect();
    let ipv6: Vec<IpAddr> = (1..=100).map(six).collect();
    let all: Vec<IpAddr> = blocks.iter().chain(&ipv6).copied().collect();
    for flows in [1, 40] {
        line.two_epochs(&all, flows);
        let sums = line.sums();
        for (sums, hosts) in sums.iter().zip([blocks.len(), ipv6.len(), all.len() - 100, 100]) {
            let truth = f64::from(flows) * hosts as f64;
            let error = sums[0] / truth - 1.0;
            assert!(
                error.abs() < 3.0 * STANDARD_ERROR / (hosts as f64).sqrt(),
                "{hosts} hosts, {flows} flows: {error}"
            );
            assert_eq!(sums[1], 0.0);
        }
    }
    // Silence ends them.
    line.two_epochs(&[], 0);
    assert_eq!(line.sums(), [[0.0; 2]; 4]);
}

#[test]
fn a_sum_keeps_the_error_of_the_one_host_that_has_nearly_all_flows() {
    let mut line = Line::new(1_000_000);
    let flooded = host("198.18.0.1");
    for tick in 0..40 {
        line.send(flooded, Direction::Outgoing, tick * 2000..(tick + 1) * 2000);
        line.send(host("198.18.0.2"), Direction::Outgoing, 0..5);
        line.rig.look(0.1);
    }
    let sums = line.sums();
    assert_near(sums[0][1], 20_000.0);
    assert_eq!(sums[0], sums[2]);
}
