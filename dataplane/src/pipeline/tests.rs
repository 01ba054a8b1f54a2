//! A pipeline fed with frames from memory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;
use crate::packet::{Class, Unparsed, Upper};
use crate::rule::{FlowRule, Ranges};
use crate::snapshot::Snapshot;
use crate::watch::{ActiveRule, ActiveRules, Watched};

const OURS: [u8; 4] = [198, 18, 0, 1];
const OURS_TOO: [u8; 4] = [198, 18, 0, 2];
const THEIRS: [u8; 4] = [203, 0, 113, 9];

struct Rig {
    pipeline: Pipeline,
    watch: Snapshot<Watch>,
    _networks: Snapshot<Networks>,
}

impl Rig {
    fn new() -> Rig {
        Rig::by_prefix(128)
    }

    fn by_prefix(ipv6_prefix_length: u8) -> Rig {
        let layout =
            Layout { networks: 4, rules: 4, ipv4_blocks: 2, ipv6_hosts: 256, flow_ticks: 0, ipv6_prefix_length };
        let shared = Arc::new(Shared::new(0, layout, [1, 2]).expect("memory"));
        let list = ["198.18.0.0/16", "2001:db8::/32"].map(|text| text.parse().expect("a prefix"));
        let networks = Snapshot::new(Networks::new(&list).expect("networks"));
        let watch = Snapshot::new(Watch::default());
        let pipeline = Pipeline::new(shared, networks.reader(), watch.reader());
        Rig { pipeline, watch, _networks: networks }
    }

    fn burst(&mut self, frames: &[Vec<u8>]) {
        for frames in frames.chunks(BURST_MAX) {
            let packets = frames.iter().map(|frame| (frame.as_slice(), frame.len() as u32));
            let bytes = frames.iter().map(|frame| frame.len() as u64).sum();
            self.pipeline.burst(packets, bytes, 7, 9);
        }
    }

    fn kind(&self, kind: Kind) -> (u64, u64) {
        let stats = &self.pipeline.shared().stats;
        (stats.packets[kind as usize].get(), stats.bytes[kind as usize].get())
    }

    fn cell(&self, host: [u8; 4], outgoing: bool, class: Class) -> (u32, u64) {
        let slab = &self.pipeline.shared().slab;
        let Some(slot) = slab.find_v4(u32::from_be_bytes(host)) else { return (0, 0) };
        let cell = slab.cell(slot, plane(outgoing, false, class));
        (cell.packets(), cell.bytes())
    }

    /// Watches [`OURS`] for what it receives.
    fn watch(&mut self, rules: Vec<ActiveRule>, captures: Vec<Capture>) {
        let host = IpAddr::V4(Ipv4Addr::from(OURS));
        self.watch.replace(Watch::new(vec![Some(Watched {
            host,
            rules: [ActiveRules::new(&rules), ActiveRules::default()],
            captures,
        })]));
        let slab = &self.pipeline.shared().slab;
        slab.set_watch(slab.find_v4(u32::from_be_bytes(OURS)).expect("a slot"), 1);
    }
}

fn udp(source: [u8; 4], destination: [u8; 4], port: u16, payload: usize) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(source, destination, 64).udp(port, 53);
    let mut frame = Vec::new();
    builder.write(&mut frame, &vec![0; payload]).expect("a frame");
    frame
}

fn udp_v6(source: &str, destination: &str) -> Vec<u8> {
    let octets = |text: &str| text.parse::<Ipv6Addr>().expect("an address").octets();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6(octets(source), octets(destination), 64).udp(1, 53);
    let mut frame = Vec::new();
    builder.write(&mut frame, &[]).expect("a frame");
    frame
}

fn ports(port: u32) -> FlowRule {
    FlowRule {
        destination: Some("198.18.0.1/32".parse().expect("a prefix")),
        source_ports: Ranges::from(port),
        ..FlowRule::default()
    }
}

#[test]
fn each_packet_is_of_one_kind_and_counts_for_its_hosts() {
    let mut rig = Rig::new();
    let frames = [
        udp(THEIRS, OURS, 1, 10),
        udp(THEIRS, OURS, 1, 20),
        udp(OURS, THEIRS, 1, 30),
        udp(OURS, OURS_TOO, 1, 40),
        udp(THEIRS, [192, 0, 2, 1], 1, 50),
        vec![0; 60],
    ];
    rig.burst(&frames);
    let length = |index: usize| frames[index].len() as u64;
    assert_eq!(rig.kind(Kind::Incoming), (2, length(0) + length(1)));
    assert_eq!(rig.kind(Kind::Outgoing), (1, length(2)));
    assert_eq!(rig.kind(Kind::Internal), (1, length(3)));
    assert_eq!(rig.kind(Kind::Other), (1, length(4)));
    assert_eq!(rig.kind(Kind::Unparsed), (1, length(5)));
    assert_eq!(rig.pipeline.shared().stats.unparsed[Unparsed::NotIp as usize].get(), 1);
    assert_eq!(rig.cell(OURS, false, Class::Udp), (2, 38 + 48));
    assert_eq!(rig.cell(OURS, true, Class::Udp), (2, 58 + 68));
    assert_eq!(rig.cell(OURS_TOO, false, Class::Udp), (1, 68));
    assert_eq!(rig.cell(OURS_TOO, true, Class::Udp), (0, 0));
}

#[test]
fn without_a_free_block_a_host_is_counted_and_watched_in_the_hashed_table() {
    let mut rig = Rig::new();
    let host = |third| [198, 18, third, 1];
    rig.burst(&[1, 2, 3].map(|third| udp(THEIRS, host(third), 1, 0)));
    rig.burst(&[udp(THEIRS, host(3), 1, 0)]);
    let last = IpAddr::from(host(3));
    let capture = Capture { request: 1, place: 0, stride: 1, worker_max: 10, outgoing: false };
    rig.watch.replace(Watch::new(vec![Some(Watched {
        host: last,
        rules: Default::default(),
        captures: vec![capture],
    })]));
    let shared = rig.pipeline.shared();
    let slot = shared.slab.find(last).expect("a slot");
    shared.slab.set_watch(slot, 1);
    rig.burst(&[udp(THEIRS, host(3), 1, 0), udp(THEIRS, host(2), 1, 0)]);
    let shared = rig.pipeline.shared();
    assert!(shared.slab.ipv6_blocks().contains(&slot.block()));
    assert_eq!(shared.slab.cell(slot, plane(false, false, Class::Udp)).packets(), 3);
    assert_eq!(shared.stats.lost[Lost::NoBlock as usize].get(), 1, "one host, not its packets");
    assert_eq!(std::iter::from_fn(|| shared.ring.pop()).count(), 1);
    assert_eq!(rig.kind(Kind::Incoming).0, 6);
}

#[test]
fn addresses_of_one_ipv6_prefix_are_one_host_while_ipv4_hosts_stay_apart() {
    const FAR: &str = "2001:db9::9";
    let mut rig = Rig::by_prefix(64);
    // Two blocks, so that the last two stand in the hashed table.
    let ipv4 = [[198, 18, 1, 1], [198, 18, 2, 1], [198, 18, 3, 1], [198, 18, 3, 2]];
    rig.burst(&ipv4.map(|host| udp(THEIRS, host, 1, 0)));
    rig.burst(&[
        udp_v6(FAR, "2001:db8::1"),
        udp_v6(FAR, "2001:db8::ffff:ffff:ffff:ffff"),
        udp_v6("2001:db8::7", FAR),
        udp_v6(FAR, "2001:db8:0:1::1"),
        udp_v6("2001:db8:0:2::1", "2001:db8:0:2::2"),
    ]);
    let slab = &rig.pipeline.shared().slab;
    let counted = |host: IpAddr| {
        let slot = slab.find(host)?;
        Some([false, true].map(|outgoing| slab.cell(slot, plane(outgoing, false, Class::Udp)).packets()))
    };
    let six = |text: &str| counted(text.parse().expect("an address"));
    assert_eq!((six("2001:db8::"), six("2001:db8:0:1::")), (Some([2, 1]), Some([1, 0])));
    assert_eq!((six("2001:db8:0:2::"), six("2001:db8::1")), (Some([1, 1]), None));
    assert_eq!(ipv4.map(|host| counted(host.into())), [Some([1, 0]); 4]);
    assert_eq!(slab.find_v4(u32::from_be_bytes(ipv4[2])), None, "no block");
    assert_eq!(rig.pipeline.shared().stats.ipv6_hosts.get(), 5);
}

#[test]
fn a_watched_ipv6_prefix_is_watched_at_every_address() {
    const FAR: &str = "2001:db9::9";
    let mut rig = Rig::by_prefix(56);
    let capture = Capture { request: 1, place: 0, stride: 1, worker_max: 10, outgoing: false };
    let host = "2001:db8:0:ff00::".parse().expect("an address");
    let rules = Default::default();
    rig.watch.replace(Watch::new(vec![Some(Watched { host, rules, captures: vec![capture] })]));
    // The first packet gives the host its slot, and the slot its mark.
    rig.burst(&[udp_v6(FAR, "2001:db8:0:ffff::5"), udp_v6(FAR, "2001:db8:0:fe00::5")]);
    let slab = &rig.pipeline.shared().slab;
    // One that outlived its host.
    slab.set_watch(slab.find("2001:db8:0:fe00::".parse().expect("an address")).expect("a slot"), 1);
    let watched = [udp_v6(FAR, "2001:db8:0:ff00::1"), udp_v6("2001:db8:0:ff80::2", FAR)];
    rig.burst(&watched);
    rig.burst(&[udp_v6(FAR, "2001:db8:0:fe00::1"), udp_v6("2001:db8:0:fe00::2", FAR)]);
    let shared = rig.pipeline.shared();
    let samples: Vec<Vec<u8>> = std::iter::from_fn(|| shared.ring.pop()).map(|sample| sample.data().to_vec()).collect();
    assert_eq!(samples[0], udp_v6(FAR, "2001:db8:0:ffff::5"));
    assert_eq!(samples[1..], watched);
}

#[test]
fn what_a_rule_matches_is_counted_for_it_and_not_captured() {
    let mut rig = Rig::new();
    rig.burst(&[udp(THEIRS, OURS, 1, 0)]);
    let capture = Capture { request: 5, place: 3, stride: 2, worker_max: 4, outgoing: false };
    rig.watch(vec![ActiveRule { rule: ports(123), slot: 2 }], vec![capture]);
    let frames: Vec<Vec<u8>> = (0..60)
        .map(|index| match index % 3 {
            0 => udp(THEIRS, OURS, 123, 100),
            1 => udp(THEIRS, OURS, 124, 0),
            _ => udp(THEIRS, OURS_TOO, 124, 0),
        })
        .collect();
    rig.burst(&frames);
    let shared = rig.pipeline.shared();
    let cell = shared.slab.cell(shared.slab.rule(2), plane(false, false, Class::Udp));
    assert_eq!((cell.packets(), cell.bytes()), (20, 20 * 128));
    let samples: Vec<Sample> = std::iter::from_fn(|| shared.ring.pop()).collect();
    assert_eq!(samples.len(), 4, "one in two of 20, and no more than 4");
    assert!(samples.iter().all(|sample| sample.request == 5 && sample.data() == frames[1] && sample.tsc == 9));
}

#[test]
fn a_capture_of_an_incoming_attack_takes_both_directions() {
    let mut rig = Rig::new();
    rig.burst(&[udp(THEIRS, OURS, 1, 0)]);
    let capture = Capture { request: 1, place: 0, stride: 1, worker_max: 10, outgoing: false };
    rig.watch(Vec::new(), vec![capture]);
    rig.burst(&[udp(THEIRS, OURS, 1, 0), udp(OURS, THEIRS, 2, 0), udp(THEIRS, OURS_TOO, 3, 0)]);
    let shared = rig.pipeline.shared();
    let sources: Vec<Upper> = std::iter::from_fn(|| shared.ring.pop())
        .map(|sample| parse(sample.data()).expect("whole headers").upper)
        .collect();
    let ports = |source| Upper::Ports { source, destination: 53 };
    assert_eq!(sources, [ports(1), ports(2)]);
}

#[test]
fn a_mark_that_outlived_its_host_does_nothing() {
    let mut rig = Rig::new();
    rig.burst(&[udp(THEIRS, OURS, 1, 0), udp(THEIRS, OURS_TOO, 1, 0)]);
    let capture = Capture { request: 1, place: 0, stride: 1, worker_max: 10, outgoing: false };
    rig.watch(vec![ActiveRule { rule: ports(1), slot: 0 }], vec![capture]);
    let slab = &rig.pipeline.shared().slab;
    slab.set_watch(slab.find_v4(u32::from_be_bytes(OURS_TOO)).expect("a slot"), 1);
    rig.burst(&[udp(THEIRS, OURS_TOO, 1, 0)]);
    let shared = rig.pipeline.shared();
    assert_eq!(shared.ring.pop(), None);
    assert_eq!(shared.slab.cell(shared.slab.rule(0), plane(false, false, Class::Udp)).packets(), 0);
}

proptest! {
    #[test]
    fn the_kinds_sum_to_what_came(
        frames in prop::collection::vec(
            (any::<[u8; 2]>(), any::<[u8; 2]>(), 0usize..80, any::<bool>(), any::<prop::sample::Index>()), 0..300),
    ) {
        let frames: Vec<Vec<u8>> = frames
            .into_iter()
            .map(|(from, to, payload, garbled, cut)| {
                let mut frame = udp([198, 18 + (from[0] & 1), 0, from[1]], [198, 18 + (to[0] & 1), 0, to[1]], 1, payload);
                if garbled {
                    let at = cut.index(frame.len());
                    frame[at] ^= 0x55;
                    frame.truncate(at + 1);
                }
                frame
            })
            .collect();
        let mut rig = Rig::new();
        rig.burst(&frames);
        let stats = &rig.pipeline.shared().stats;
        prop_assert_eq!(stats.total_packets(), frames.len() as u64);
        prop_assert_eq!(stats.total_bytes(), frames.iter().map(|frame| frame.len() as u64).sum::<u64>());
        let reasons: u64 = stats.unparsed.iter().map(crate::stats::Counter::get).sum();
        prop_assert_eq!(reasons, rig.kind(Kind::Unparsed).0);
    }
}

/// A packet between two hosts of 2001:db8::/32.
fn internal_v6(source: u32, destination: u32) -> Vec<u8> {
    let address = |host: u32| (0x2001_0db8 << 96 | u128::from(host)).to_be_bytes();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6(address(source), address(destination), 64).udp(53, 53);
    let mut frame = Vec::new();
    builder.write(&mut frame, &[0; 4]).expect("a frame");
    frame
}

#[test]
fn a_host_that_loses_its_slot_within_a_burst_leaves_no_packet_to_the_next_one() {
    const HOSTS: u32 = 20_000;
    let mut rig = Rig::new();
    // Each host receives one packet and sends one, in bursts of the largest size, in tables for a few hundred.
    let frames: Vec<_> = (0..HOSTS).map(|host| internal_v6(1 + host, 1 + (host * 7 + 3) % HOSTS)).collect();
    rig.burst(&frames);
    let slab = &rig.pipeline.shared().slab;
    let planes = [false, true].map(|outgoing| plane(outgoing, false, Class::Udp));
    let packets = |slot: Slot| planes.map(|plane| slab.cell(slot, plane).packets());
    let mut sum = packets(slab.network(1));
    for host in 1..=HOSTS {
        let Some(slot) = slab.find_v6(0x2001_0db8 << 96 | u128::from(host)) else { continue };
        let counted = packets(slot);
        assert!(counted.iter().all(|&packets| packets <= 1), "host {host} has {counted:?}");
        sum = [sum[0] + counted[0], sum[1] + counted[1]];
    }
    assert_eq!(sum, [HOSTS; 2]);
    assert!(rig.pipeline.shared().stats.lost[Lost::HostEvicted as usize].get() > 10_000);
}
