//! A pipeline fed with frames from memory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::PacketBuilder;
use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::packet::{Class, Unparsed, Upper, parse};
use crate::rule::{FlowRule, Ranges};
use crate::snapshot::Snapshot;
use crate::tap::Sample;
use crate::watch::{ActiveRule, ActiveRules, Capture, Watched};

mod tap;
mod watching;

const OURS: [u8; 4] = [198, 18, 0, 1];
const OURS_TOO: [u8; 4] = [198, 18, 0, 2];
const THEIRS: [u8; 4] = [203, 0, 113, 9];

struct Rig {
    pipeline: Pipeline,
    watch: Snapshot<Watch>,
    networks: Snapshot<Networks>,
}

impl Rig {
    fn new() -> Rig {
        Rig::by_prefix(128)
    }

    fn by_prefix(ipv6_prefix_length: u8) -> Rig {
        let layout =
            Layout { networks: 4, rules: 4, ipv4_blocks: 2, ipv6_hosts: 256, flow_ticks: 0, ipv6_prefix_length };
        let shared = Arc::new(Shared::new(0, layout, [1, 2]).expect("memory"));
        // Its packets would be among the samples of others.
        shared.tap.set_one_in(0);
        let networks = Snapshot::new(ours());
        let watch = Snapshot::new(Watch::default());
        let pipeline = Pipeline::new(shared, networks.reader(), watch.reader());
        Rig { pipeline, watch, networks }
    }

    fn ignore(&mut self, rules: &[FlowRule]) {
        self.networks.replace(ours().ignoring(rules));
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
        let host = IpNet::from(IpAddr::V4(Ipv4Addr::from(OURS)));
        self.watch.replace(Watch::new(vec![Some(Watched {
            prefix: host.into(),
            rules: [ActiveRules::new(host, false, &rules), ActiveRules::default()],
            captures,
        })]));
        let slab = &self.pipeline.shared().slab;
        slab.set_watch(slab.find_v4(u32::from_be_bytes(OURS)).expect("a slot"), 1);
    }
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn ours() -> Networks {
    Networks::new(&["198.18.0.0/16", "2001:db8::/32"].map(|text| text.parse().expect("a prefix"))).expect("networks")
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
fn a_length_beyond_a_frame_that_nobody_cut_has_its_own_reason() {
    let mut rig = Rig::new();
    let mut lies = udp(THEIRS, OURS, 1, 0);
    lies[16..18].copy_from_slice(&1500_u16.to_be_bytes());
    let mut lies_v6 = udp_v6("2001:db8:ffff::1", "2001:db8::1");
    lies_v6[18..20].copy_from_slice(&1400_u16.to_be_bytes());
    lies_v6.resize(64, 0);
    let mut tagged = lies.clone();
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    let frames = [lies, tagged, lies_v6];
    let beyond = |rig: &Rig| rig.pipeline.shared().stats.unparsed[Unparsed::LengthBeyondFrame as usize].get();
    rig.burst(&frames);
    // The IPv6 frame is long enough to have been cut by a mirror.
    assert_eq!((beyond(&rig), rig.kind(Kind::Unparsed).0, rig.kind(Kind::Internal).0), (2, 2, 1));
    assert_eq!(rig.cell(OURS, false, Class::Udp), (0, 0));
    rig.pipeline.read_as(Reading { snap_length: u32::MAX, ..Reading::default() });
    rig.burst(&frames);
    assert_eq!((beyond(&rig), rig.kind(Kind::Unparsed).0), (5, 5));
    rig.pipeline.read_as(Reading { snap_length: 0, ..Reading::default() });
    rig.burst(&frames);
    assert_eq!(rig.kind(Kind::Unparsed).0, 5);
    assert_eq!(rig.cell(OURS, false, Class::Udp), (2, 3000));
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
    assert_eq!(rig.pipeline.shared().stats.unparsed[Unparsed::Llc as usize].get(), 1);
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
        prefix: IpNet::from(last).into(),
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
    let prefix = net("2001:db8:0:ff00::/56").into();
    let rules = Default::default();
    rig.watch.replace(Watch::new(vec![Some(Watched { prefix, rules, captures: vec![capture] })]));
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

#[test]
fn what_a_whitelist_rule_matches_is_neither_counted_nor_matched_nor_captured() {
    let mut rig = Rig::new();
    rig.burst(&[udp(THEIRS, OURS, 1, 0)]);
    let capture = Capture { request: 5, place: 3, stride: 1, worker_max: 100, outgoing: false };
    rig.watch(vec![ActiveRule { rule: FlowRule::default(), slot: 2 }], vec![capture]);
    let from_v6 = FlowRule { source: Some("2001:db8:ffff::/48".parse().unwrap()), ..FlowRule::default() };
    rig.ignore(&[ports(123), from_v6]);
    let ignored = [udp(THEIRS, OURS, 123, 5), udp_v6("2001:db8:ffff::1", "2001:db8::1"), udp(OURS_TOO, OURS, 123, 6)];
    let mut lies = udp(THEIRS, OURS, 123, 0);
    lies[16..18].copy_from_slice(&1500_u16.to_be_bytes());
    rig.burst(&[ignored.as_slice(), &[udp(THEIRS, OURS, 124, 0), lies, udp(OURS, THEIRS, 123, 0)]].concat());
    let length = ignored.iter().map(|frame| frame.len() as u64).sum();
    assert_eq!(rig.kind(Kind::Ignored), (3, length));
    let others = [Kind::Incoming, Kind::Outgoing, Kind::Internal, Kind::Unparsed].map(|kind| rig.kind(kind).0);
    assert_eq!(others, [2, 1, 0, 1], "a length that lies is told as such");
    assert_eq!(rig.cell(OURS, false, Class::Udp), (2, 2 * 28));
    assert_eq!(rig.cell(OURS_TOO, true, Class::Udp), (0, 0));
    let shared = rig.pipeline.shared();
    assert_eq!(shared.slab.cell(shared.slab.rule(2), plane(false, false, Class::Udp)).packets(), 1);
    let samples: Vec<Sample> = std::iter::from_fn(|| shared.ring.pop()).collect();
    let captured: Vec<&[u8]> = samples.iter().filter(|s| s.request == 5).map(Sample::data).collect();
    assert_eq!(captured, [udp(OURS, THEIRS, 123, 0).as_slice()]);
    assert!(shared.slab.find(IpAddr::V6("2001:db8::1".parse().unwrap())).is_none(), "no slot for what is ignored");

    rig.ignore(&[]);
    rig.burst(&ignored);
    assert_eq!((rig.kind(Kind::Ignored).0, rig.kind(Kind::Incoming).0, rig.kind(Kind::Internal).0), (3, 3, 2));
}

proptest! {
    #[test]
    fn a_burst_with_ignored_packets_is_a_burst_without_them(
        frames in prop::collection::vec((any::<bool>(), any::<u8>(), any::<u8>(), 0u16..6, any::<bool>()), 0..300),
        ports in prop::collection::vec(0u32..6, 1..4),
    ) {
        let frames: Vec<Vec<u8>> = frames
            .into_iter()
            .map(|(is_v6, from, to, port, tagged)| {
                let mut frame = match is_v6 {
                    true => internal_v6(from.into(), to.into()),
                    false => udp([203, 0, 113, from], [198, 18, 0, to], port, usize::from(from)),
                };
                if tagged {
                    frame.splice(12..12, [0x81, 0, 0, 7]);
                }
                frame
            })
            .collect();
        let rules: Vec<FlowRule> =
            ports.into_iter().map(|port| FlowRule { source_ports: Ranges::from(port), ..FlowRule::default() }).collect();
        let matches = |frame: &Vec<u8>| rules.iter().any(|rule| rule.matches(&parse(frame).expect("a packet")));
        let (ignored, rest): (Vec<_>, Vec<_>) = frames.iter().cloned().partition(matches);
        let (mut rig, mut without) = (Rig::new(), Rig::new());
        rig.ignore(&rules);
        rig.burst(&frames);
        without.burst(&rest);
        let bytes = ignored.iter().map(|frame| frame.len() as u64).sum::<u64>();
        prop_assert_eq!(rig.kind(Kind::Ignored), (ignored.len() as u64, bytes));
        for kind in [Kind::Incoming, Kind::Outgoing, Kind::Internal, Kind::Other, Kind::Unparsed] {
            prop_assert_eq!(rig.kind(kind), without.kind(kind));
        }
        for host in 0..=255 {
            let cell = |rig: &Rig| rig.cell([198, 18, 0, host], false, Class::Udp);
            prop_assert_eq!(cell(&rig), cell(&without));
        }
    }

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

/// A device that splits a frame hands over its first segment, however short, and the length of all.
#[test]
fn a_frame_in_segments_is_counted_by_its_first_one() {
    let mut rig = Rig::new();
    let frame = udp(THEIRS, OURS, 1, 8_958);
    let length = frame.len() as u64;
    let cuts = 0..frame.len().min(200);
    let segments: Vec<_> = cuts.clone().map(|cut| (&frame[..cut], frame.len() as u32)).collect();
    for segments in segments.chunks(BURST_MAX) {
        rig.pipeline.burst(segments.iter().copied(), length * segments.len() as u64, 7, 9);
    }
    // As long as the IP header is there, the host has its packet, by the length that the header says.
    let counted = cuts.len() as u64 - 34;
    assert_eq!(rig.kind(Kind::Incoming), (counted, counted * length));
    assert_eq!(rig.cell(OURS, false, Class::Udp), (counted as u32, counted * (length - 14)));
    assert_eq!(rig.kind(Kind::Unparsed), (34, 34 * length));
    let reason = |reason: Unparsed| rig.pipeline.shared().stats.unparsed[reason as usize].get();
    assert_eq!((reason(Unparsed::ShortEthernet), reason(Unparsed::ShortIpv4)), (14, 20));
}

#[test]
fn an_example_of_each_reason_and_tick_goes_to_the_ring() {
    let mut rig = Rig::new();
    let short = &udp(THEIRS, OURS, 1, 0)[..30];
    let good = udp(THEIRS, OURS, 1, 0);
    let foreign = [&[2; 12][..], &[0x88, 0xb5], &[7; 286]].concat();
    let packets = [(&foreign[..], 300), (&good[..], 42), (short, 9_000), (&foreign[..60], 60), (short, 30)];
    rig.pipeline.shared().examples.set_queue(3);
    for tick in [7, 7, 8] {
        rig.pipeline.burst(packets.iter().copied(), 9_432, tick, 9);
    }
    let shared = rig.pipeline.shared();
    for _tick in [7, 8] {
        for (reason, data, length) in [(Unparsed::NotIp, &foreign[..128], 300), (Unparsed::ShortIpv4, short, 9_000)] {
            let example = shared.ring.pop().expect("an example");
            assert_eq!(example.unparsed(), Some((reason, 3)));
            assert_eq!((example.data(), example.frame_len), (data, length));
        }
    }
    assert_eq!(shared.ring.pop(), None);
    assert_eq!(shared.stats.unparsed[Unparsed::NotIp as usize].get(), 6, "all are counted");
    assert_eq!(shared.stats.lost[Lost::RingFull as usize].get(), 0);
}
