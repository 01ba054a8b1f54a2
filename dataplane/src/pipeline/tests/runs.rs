//! Packets of several targets, mixed: rules count, and captures take, what they would of each packet by itself.

use std::collections::BTreeMap;

use super::*;
use crate::packet::{Addresses, Headers};
use crate::rule::Family;

/// Longest prefixes first.
const TARGETS: [&str; 4] = ["198.18.0.1/32", "198.18.0.0/30", "2001:db8::/127", "2001:db8::/125"];
/// Rules of a target and direction.
const RULES: usize = 3;

/// What a frame is made of: kind, ends, port, payload.
type Recipe = (u8, (u8, u8), u16, usize);

fn recipe() -> impl Strategy<Value = Recipe> {
    // Long runs of one kind, and of one target.
    let kind = prop_oneof![4 => Just(0u8), 2 => 1..7_u8];
    let ends = prop_oneof![3 => Just((200u8, 1u8)), 1 => (0..5_u8, 0..5_u8)];
    (kind, ends, 0..3_u16, prop_oneof![Just(0usize), 0..40_usize])
}

fn build(&(kind, (from, to), port, payload): &Recipe) -> Vec<u8> {
    let end = |host| if host == 200 { THEIRS } else { [198, 18, 0, host] };
    let end_v6 =
        |host: u8| Ipv6Addr::from(0x2001_0db8_u128 << 96 | if host == 200 { 1 << 100 } else { host.into() }).octets();
    let payload = vec![0; payload];
    let mut frame = Vec::new();
    let v4 = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(end(from), end(to), 64);
    let v6 = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6(end_v6(from), end_v6(to), 64);
    match kind {
        0 | 1 => v4.udp(port, 53).write(&mut frame, &payload),
        2 => v4.tcp(port, 80, 1, 1).syn().write(&mut frame, &payload),
        3 => v4.tcp(port, 80, 1, 1).ack(1).write(&mut frame, &payload),
        4 => v4.icmpv4_echo_request(1, port).write(&mut frame, &payload),
        _ => v6.udp(port, 53).write(&mut frame, &payload),
    }
    .expect("a frame");
    match kind {
        // A later fragment.
        1 => frame[21] = 1,
        // A jumbogram of which the mirror left little.
        6 => {
            frame.splice(54..54, [17, 0, 0xc2, 4, 0, 1, 0, payload.len() as u8]);
            frame[18..21].fill(0);
            frame.resize(128, 0);
        }
        _ => {}
    }
    frame
}

fn rule() -> impl Strategy<Value = FlowRule> {
    let port = |port: u32| FlowRule { source_ports: Ranges::from(port), ..FlowRule::default() };
    let length = |range| FlowRule { packet_lengths: [range].into_iter().collect(), ..FlowRule::default() };
    let from = |prefix: &str| FlowRule { source: Some(net(prefix)), ..FlowRule::default() };
    prop_oneof![
        (0..3_u32).prop_map(port),
        Just(FlowRule { protocols: Ranges::from(6), ..FlowRule::default() }),
        (20..70_u32, 20..70_u32).prop_map(length),
        Just(length((65_535, 65_535))),
        Just(from("203.0.113.0/24")),
        Just(from("198.18.0.2/31")),
        Just(from("2001:db8::2/127")),
    ]
}

fn ends(headers: &Headers) -> [(Family, u128); 2] {
    match headers.addresses {
        Addresses::V4 { source, destination } => [(Family::V4, destination.into()), (Family::V4, source.into())],
        Addresses::V6 { source, destination } => [(Family::V6, destination), (Family::V6, source)],
    }
}

fn holds(target: IpNet, (family, address): (Family, u128)) -> bool {
    match target {
        IpNet::V4(net) => family == Family::V4 && net.contains(&Ipv4Addr::from(address as u32)),
        IpNet::V6(net) => family == Family::V6 && net.contains(&Ipv6Addr::from(address)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 200 }, ..ProptestConfig::default() })]

    #[test]
    fn mixed_packets_count_as_each_by_itself(
        recipes in prop::collection::vec(recipe(), 0..300),
        rules in prop::collection::vec(rule(), 2 * RULES * TARGETS.len()),
    ) {
        let frames: Vec<Vec<u8>> = recipes.iter().map(build).collect();
        let targets = TARGETS.map(net);
        let slots = (0..).zip(&rules).map(|(slot, rule)| ActiveRule { rule: rule.clone(), slot });
        let slots: Vec<ActiveRule> = slots.collect();
        let sets: Vec<&[ActiveRule]> = slots.chunks(RULES).collect();
        let watched = |(index, &prefix): (usize, &IpNet)| Some(Watched {
            prefix: prefix.into(),
            rules: [false, true].map(|outgoing| ActiveRules::new(prefix, outgoing, sets[2 * index + usize::from(outgoing)])),
            captures: vec![Capture { request: 1 + index as u32, place: index as u16, stride: 1, worker_max: 10_000, outgoing: false }],
        });
        let mut rig = Rig::new();
        rig.watch.replace(Watch::new(targets.iter().enumerate().map(watched).collect()));
        rig.burst(&frames);

        let mut counts: BTreeMap<(u16, usize), (u32, u64)> = BTreeMap::new();
        let mut taken = [0u32; TARGETS.len()];
        for headers in frames.iter().map(|frame| parse(frame).expect("a packet")) {
            for (end, outgoing) in ends(&headers).into_iter().zip([false, true]) {
                let Some(index) = targets.iter().position(|&target| holds(target, end)) else { continue };
                let set = sets[2 * index + usize::from(outgoing)];
                let first = set.iter().find(|active| active.rule.matches(&headers));
                taken[index] += u32::from(outgoing || first.is_none());
                if let Some(active) = first {
                    let count = counts.entry((active.slot, plane(outgoing, headers.is_fragment(), headers.class))).or_default();
                    *count = (count.0 + 1, count.1 + u64::from(headers.ip_length));
                }
            }
        }
        let shared = rig.pipeline.shared();
        for slot in 0..slots.len() as u16 {
            for plane in 0..PLANES {
                let cell = shared.slab.cell(shared.slab.rule(slot), plane);
                let expected = counts.get(&(slot, plane)).copied().unwrap_or_default();
                prop_assert_eq!((cell.packets(), cell.bytes()), expected, "rule {} plane {}", slot, plane);
            }
        }
        let mut samples = [0; TARGETS.len()];
        std::iter::from_fn(|| shared.ring.pop()).for_each(|sample| samples[sample.request as usize - 1] += 1);
        prop_assert_eq!(samples, taken);
    }
}
