//! Properties of packets at random: built, damaged, cut short, and no packets at all.

use proptest::prelude::*;

use super::super::*;
use super::build::frame;
use super::oracle;
use super::recipe::{recipe, wraps};

/// Values at places of the frame.
type Damage = Vec<(prop::sample::Index, u8)>;

fn damage() -> impl Strategy<Value = Damage> {
    prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..4)
}

fn damaged(mut frame: Vec<u8>, damage: Damage) -> Vec<u8> {
    for (at, value) in damage {
        let at = at.index(frame.len());
        frame[at] = value;
    }
    frame
}

fn all() -> Tunnels {
    Tunnel::ALL.into_iter().collect()
}

/// What the words at fixed places say.
fn upper_of(upper: PlainUpper<'_>) -> Upper {
    let (source, destination) = (upper.first(), upper.second());
    match upper.kind() {
        UpperKind::None => Upper::None,
        UpperKind::Ports => Upper::Ports { source, destination },
        UpperKind::Tcp => Upper::Tcp { source, destination, flags: upper.flags() & 0x0fff },
        UpperKind::Icmp => Upper::Icmp { kind: (source >> 8) as u8, code: source as u8 },
    }
}

/// Headers at fixed places are read only where the packet is as long as they are.
#[test]
fn words_at_fixed_places_are_those_of_the_packet() {
    // Miri takes too long for all.
    let is_tried = |protocol: &u8| !cfg!(miri) || [1, 6, 17, 132].contains(protocol);
    for protocol in (0..=255).filter(is_tried) {
        for ip_length in 20..=40 {
            let header = [0x45, 0, 0, ip_length, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
            let frame = frame(&[&[0x08, 0x00], &header, &[7; 26]]);
            let whole = parse(&frame).expect("a packet");
            let upper = PlainUpper::of(&frame).map(upper_of);
            assert_eq!(upper.unwrap_or(Upper::None), whole.upper, "protocol {protocol}, {ip_length} bytes");
            assert_eq!(PlainUpper::of(&frame[..47]).map(upper_of), None, "too short for all of them");
        }
    }
}

/// Everything that takes a frame takes any.
fn read_everything(frame: &[u8]) {
    let _ = parse(frame);
    let _ = Plain::of(frame).map(|plain| plain.outline());
    let _ = PlainUpper::of(frame).map(upper_of);
    match network(frame) {
        Ok(Network::V4(packet)) => drop(outline_v4(packet).map(|outline| flow_v4(packet, &outline))),
        Ok(Network::V6(packet)) => drop(flow_v6(packet)),
        Err(_) => {}
    }
    let inner = innermost(frame, all()).is_some();
    let mut frame = frame.to_vec();
    let start = unwrap(&mut frame, all());
    assert_eq!(start != 0, inner);
    assert!(!inner || parse(&frame[start..]).is_ok(), "an inner packet is whole in its header");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 2000 }, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        ethertype in prop::sample::select(vec![0x0800_u16, 0x86dd, 0x8100, 0x88a8, 0x8847, 0x8864, 0x0040]),
        tunnel in prop::sample::select(vec![4_u8, 41, 47, 17]),
    ) {
        read_everything(&bytes);
        read_everything(&frame(&[&ethertype.to_be_bytes(), &bytes]));
        let outer = [&[0x45, 0, 0, 200, 0, 0, 0, 0, 64, tunnel, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2][..], &bytes].concat();
        read_everything(&frame(&[&[0x08, 0x00], &outer]));
    }

    #[test]
    fn damaged_and_cut_packets_never_panic(
        recipe in recipe(),
        wraps in wraps(),
        damage in damage(),
        cut in any::<prop::sample::Index>(),
    ) {
        let (mut is_v6, mut packet) = (recipe.is_v6(), recipe.packet());
        for wrap in &wraps {
            (is_v6, packet) = wrap.around(is_v6, &packet);
        }
        let frame = damaged(recipe.link.frame(is_v6, &packet), damage);
        read_everything(&frame);
        read_everything(&frame[..cut.index(frame.len())]);
    }

    /// Where the plain path answers, the whole path gives the same.
    #[test]
    fn the_plain_path_agrees(
        recipe in recipe(),
        at in any::<prop::sample::Index>(),
        flip: u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut frame = recipe.build();
        let at = at.index(frame.len());
        frame[at] ^= flip & (flip >> 1);
        frame.truncate(frame.len().min(cut.index(4 * frame.len()) + 1));
        if let Some(upper) = PlainUpper::of(&frame) {
            prop_assert!(Plain::of(&frame).is_some_and(|plain| plain.outline() == upper.packet.outline()));
        }
        if let Some(plain) = Plain::of(&frame) {
            let whole = parse(&frame);
            let Outline { source, destination, class, is_fragment, ip_length } = plain.outline();
            prop_assert!(!is_fragment && ip_length == u32::from(plain.ip_length()));
            prop_assert_eq!((source, destination, class), (plain.source(), plain.destination(), plain.class()));
            let said = whole.map(|whole| Headers {
                addresses: Addresses::V4 { source, destination },
                protocol: plain.protocol(),
                class,
                fragment: plain.fragment(),
                dscp: plain.dscp(),
                ip_length,
                upper: PlainUpper::of(&frame).map_or(whole.upper, upper_of),
                ..whole
            });
            prop_assert_eq!(said, whole);
            let outline = match network(&frame) {
                Ok(Network::V4(packet)) => outline_v4(packet),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(outline, Ok(plain.outline()));
            let flow = network(&frame).ok().and_then(|network| match network {
                Network::V4(packet) => Some(flow_v4(packet, &plain.outline())),
                Network::V6(_) => None,
            });
            prop_assert_eq!(flow, Some(plain.flow()));
        }
        if let Some(plain) = PlainV6::of(&frame) {
            let outline = match network(&frame) {
                Ok(Network::V6(packet)) => outline_v6(packet),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(outline, Ok(plain.outline()));
        }
    }

    #[test]
    fn built_packets_come_out_as_built(recipe in recipe()) {
        let frame = recipe.build();
        prop_assert_eq!(parse(&frame), Ok(recipe.headers()));
        if let Some(headers) = network(&frame).ok().and_then(oracle::of_packet) {
            prop_assert_eq!(headers, recipe.headers(), "the oracle itself");
        }
    }

    /// Through any tunnels, each over any link: the inner packet comes out as built, or the outer one where nobody asks.
    #[test]
    fn tunnelled_packets_come_out_as_built(recipe in recipe(), wraps in wraps()) {
        // A jumbogram is longer than any packet around it.
        prop_assume!(recipe.headers().ip_length <= u32::from(u16::MAX));
        let (mut is_v6, mut packet) = (recipe.is_v6(), recipe.packet());
        for wrap in &wraps {
            (is_v6, packet) = wrap.around(is_v6, &packet);
        }
        let mut frame = recipe.link.frame(is_v6, &packet);
        let outer = parse(&frame).expect("a packet");
        prop_assert_eq!(outer.ip_length, packet.len() as u32);
        prop_assert_eq!(unwrap(&mut frame, Tunnels::NONE), 0);
        let start = unwrap(&mut frame, all());
        prop_assert_eq!(parse(&frame[start..]), Ok(recipe.headers()));
    }

    /// A packet cut short never panics, and says nothing but what the whole one says.
    #[test]
    fn truncated_packets_say_no_more(recipe in recipe(), at in any::<prop::sample::Index>()) {
        let frame = recipe.build();
        let whole = recipe.headers();
        if let Ok(cut) = parse(&frame[..at.index(frame.len())]) {
            prop_assert_eq!(cut.addresses, whole.addresses);
            prop_assert_eq!(cut.ip_length, whole.ip_length);
            prop_assert!(cut.upper == whole.upper || cut.upper == Upper::None);
        }
    }

    /// A flow is what `parse` says of addresses, protocol and ports; it asks for no more of a TCP header than these.
    #[test]
    fn flows_are_what_headers_say(recipe in recipe(), damage in damage()) {
        let frame = damaged(recipe.build(), damage);
        let flow = network(&frame).and_then(|network| match network {
            Network::V4(packet) => {
                let Flow { source, destination, upper } = flow_v4(packet, &outline_v4(packet)?);
                Ok((Addresses::V4 { source, destination }, upper))
            }
            Network::V6(packet) => {
                let Flow { source, destination, upper } = flow_v6(packet)?;
                Ok((Addresses::V6 { source, destination }, upper))
            }
        });
        let expected = parse(&frame).map(|headers| {
            let ports = match headers.upper {
                Upper::Ports { source, destination } | Upper::Tcp { source, destination, .. } => {
                    u64::from(source) << 16 | u64::from(destination)
                }
                _ => 0,
            };
            (headers.addresses, u64::from(headers.protocol) << 32 | ports, headers.upper)
        });
        match (flow, expected) {
            (Ok((addresses, upper)), Ok((expected, expected_upper, told))) => {
                prop_assert_eq!(addresses, expected);
                let short = told == Upper::None && upper >> 32 == expected_upper >> 32;
                prop_assert!(upper == expected_upper || short, "{:x} is not {:x}", upper, expected_upper);
            }
            (flow, expected) => prop_assert_eq!(flow.err(), expected.err()),
        }
    }

    #[test]
    fn agrees_with_etherparse_on_damaged_packets(recipe in recipe(), damage in damage()) {
        let frame = damaged(recipe.build(), damage);
        let ours = parse(&frame);
        if let Some(headers) = oracle::of_frame(&frame) {
            prop_assert_eq!(ours, Ok(headers));
        }
        // Behind the layers that etherparse does not know.
        if let Some(headers) = network(&frame).ok().and_then(oracle::of_packet) {
            prop_assert_eq!(ours, Ok(headers));
        }
    }
}
