//! Watched networks: every host of theirs, known or not, in whatever slot it is counted.

use super::*;

const FAR_V6: &str = "2001:db9::9";

/// A place of the snapshot: a capture, and a rule that matches what comes from a port.
fn watched(prefix: &str, request: u32, slot: u16) -> Option<Watched> {
    let rule = FlowRule { source_ports: Ranges::from(123), ..FlowRule::default() };
    let capture = Capture { request, place: request as u16, stride: 1, worker_max: 1000, outgoing: false };
    let rules = [ActiveRules::new(net(prefix), false, &[ActiveRule { rule, slot }]), ActiveRules::default()];
    Some(Watched { prefix: net(prefix).into(), rules, captures: vec![capture] })
}

/// Requests and frames of the samples.
fn samples(rig: &Rig) -> Vec<(u32, Vec<u8>)> {
    let ring = &rig.pipeline.shared().ring;
    std::iter::from_fn(|| ring.pop()).map(|sample| (sample.request, sample.data().to_vec())).collect()
}

fn matched(rig: &Rig, rule: u16) -> u32 {
    let slab = &rig.pipeline.shared().slab;
    slab.cell(slab.rule(rule), plane(false, false, Class::Udp)).packets()
}

#[test]
fn hosts_of_a_watched_network_are_watched_from_their_first_packet() {
    let mut rig = Rig::new();
    rig.watch.replace(Watch::new(vec![watched("198.18.7.0/25", 1, 0)]));
    // The first brings the block for all of its /24.
    let frames = [
        udp(THEIRS, [198, 18, 7, 1], 1, 0),
        udp(THEIRS, [198, 18, 7, 127], 2, 0),
        udp(THEIRS, [198, 18, 7, 128], 3, 0),
        udp(THEIRS, [198, 18, 8, 1], 4, 0),
        udp([198, 18, 7, 9], THEIRS, 5, 0),
        udp(THEIRS, [198, 18, 7, 77], 123, 0),
    ];
    rig.burst(&frames);
    assert_eq!(samples(&rig), [0, 1, 4].map(|index: usize| (1, frames[index].clone())));
    assert_eq!(matched(&rig, 0), 1);
}

#[test]
fn the_longest_watched_prefix_has_the_packet() {
    let mut rig = Rig::new();
    let places =
        vec![watched("198.18.0.0/16", 1, 0), None, watched("198.18.7.5/32", 2, 1), watched("198.18.7.0/24", 3, 2)];
    rig.watch.replace(Watch::new(places));
    let to = [[198, 18, 7, 4], [198, 18, 7, 5], [198, 18, 9, 5]];
    rig.burst(&to.map(|host| udp(THEIRS, host, 1, 0)));
    rig.burst(&to.map(|host| udp(THEIRS, host, 123, 0)));
    let requests: Vec<u32> = samples(&rig).into_iter().map(|(request, _)| request).collect();
    assert_eq!(requests, [3, 2, 1]);
    assert_eq!([0, 1, 2].map(|rule| matched(&rig, rule)), [1, 1, 1]);
}

#[test]
fn ipv6_hosts_and_frames_that_are_not_plain_are_watched() {
    let mut rig = Rig::by_prefix(64);
    rig.watch.replace(Watch::new(vec![watched("2001:db8:1::/48", 1, 0), watched("198.18.7.0/24", 2, 1)]));
    let mut tagged = udp(THEIRS, [198, 18, 7, 1], 1, 0);
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    let frames = [
        udp_v6(FAR_V6, "2001:db8:1::1"),
        udp_v6(FAR_V6, "2001:db8:1:ffff::1"),
        udp_v6(FAR_V6, "2001:db8:2::1"),
        tagged,
    ];
    rig.burst(&frames);
    // IPv6 comes last: its hosts take one more pass to find.
    let expected = [(2, 3), (1, 0), (1, 1)].map(|(request, index): (u32, usize)| (request, frames[index].clone()));
    assert_eq!(samples(&rig), expected);
}

#[test]
fn what_finds_no_slot_is_watched_in_the_networks_own() {
    const HOSTS: u32 = 1000;
    let mut rig = Rig::new();
    // All slots are taken, by hosts that are as busy as they come.
    let busy: Vec<_> = (0..1500).map(|host| internal_v6(1 + host, 1 + host)).collect();
    (0..20).for_each(|_| rig.burst(&busy));
    rig.watch.replace(Watch::new(vec![watched("2001:db8:1::/48", 1, 0)]));
    let shared = rig.pipeline.shared();
    shared.slab.set_watch(shared.slab.network(1), 1);
    let frames: Vec<_> = (0..HOSTS).map(|host| udp_v6(FAR_V6, &format!("2001:db8:1::{host:x}"))).collect();
    let other = udp_v6(FAR_V6, "2001:db8:2::1");
    for frame in &frames {
        rig.burst(&[frame.clone(), other.clone()]);
    }
    let full = rig.pipeline.shared().stats.lost[Lost::NoSlot as usize].get();
    assert!(full > u64::from(HOSTS) / 2, "{full} packets without a slot");
    assert_eq!(samples(&rig), frames.into_iter().map(|frame| (1, frame)).collect::<Vec<_>>());
}
