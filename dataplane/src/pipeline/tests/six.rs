//! IPv6 frames, alone and in runs: what a packet counts for does not depend on what came before it in its burst.

use super::*;

/// Of each kind that the passes over IPv6 tell apart.
#[derive(Clone, Copy, Debug)]
enum Frame {
    Four,
    Six,
    Tagged,
    Extended,
    Syn,
    Short,
    Lying,
}

fn frame(kind: Frame, from: &Ipv6Addr, to: &Ipv6Addr) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6(from.octets(), to.octets(), 64);
    let mut frame = Vec::new();
    match kind {
        Frame::Four => return udp(THEIRS, OURS, 1, 0),
        Frame::Syn => builder.tcp(1, 2, 3, 4).syn().write(&mut frame, &[]).expect("a frame"),
        _ => builder.udp(1, 53).write(&mut frame, &[0; 30]).expect("a frame"),
    }
    match kind {
        Frame::Tagged => drop(frame.splice(12..12, [0x81, 0, 0, 7])),
        Frame::Extended => {
            // Destination options in front of UDP: eight bytes, of which six are padding.
            frame.splice(54..54, [17, 0, 1, 4, 0, 0, 0, 0]);
            (frame[19], frame[20]) = (frame[19] + 8, 60);
        }
        Frame::Short => frame.truncate(50),
        Frame::Lying => {
            frame.truncate(60);
            frame[18..20].copy_from_slice(&1400_u16.to_be_bytes());
        }
        _ => {}
    }
    frame
}

/// Packets and bytes of all hosts that may be ours, by plane, and of all kinds.
fn counted(rig: &Rig, hosts: &[Ipv6Addr]) -> Vec<(u64, u64)> {
    let slab = &rig.pipeline.shared().slab;
    let slots = hosts.iter().map(|&host| slab.find(host.into()).unwrap_or(Slot::NOWHERE));
    let cells = slots.flat_map(|slot| (0..PLANES).map(move |plane| slab.cell(slot, plane)));
    let kinds = [Kind::Incoming, Kind::Outgoing, Kind::Internal, Kind::Other, Kind::Unparsed];
    let cells = cells.map(|cell| (cell.packets().into(), cell.bytes()));
    cells.chain(kinds.map(|kind| rig.kind(kind))).collect()
}

proptest! {
    #[test]
    fn a_packet_counts_in_a_run_as_it_does_alone(
        frames in prop::collection::vec((0usize..14, 0u16..20, 0u16..20), 0..600),
        prefix_length in prop::sample::select(vec![64, 120, 128]),
    ) {
        // Half of the hosts are not ours.
        let host = |index: u16| Ipv6Addr::new(0x2001, 0xdb8 + index % 2, 0, 0, 0, 0, index / 8, index);
        let frames: Vec<Vec<u8>> = frames
            .into_iter()
            .map(|(kind, from, to)| {
                use Frame::*;
                // Runs of plain frames are to be long.
                let kind = [Four, Six, Six, Six, Six, Six, Six, Six, Six, Tagged, Extended, Syn, Short, Lying][kind];
                frame(kind, &host(from), &host(to))
            })
            .collect();
        let (mut together, mut alone) = (Rig::by_prefix(prefix_length), Rig::by_prefix(prefix_length));
        together.burst(&frames);
        frames.iter().for_each(|frame| alone.burst(std::slice::from_ref(frame)));
        let mask = u128::MAX << (128 - prefix_length);
        let hosts: Vec<Ipv6Addr> = (0..20).map(|index| (u128::from(host(index)) & mask).into()).collect();
        prop_assert_eq!(counted(&together, &hosts), counted(&alone, &hosts));
        prop_assert_eq!(together.cell(OURS, false, Class::Udp), alone.cell(OURS, false, Class::Udp));
    }
}

#[test]
fn each_ipv6_packet_is_of_one_kind_and_counts_for_its_hosts() {
    let [ours, ours_too] = [1, 2].map(|host| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host));
    let [theirs, theirs_too] = [1, 2].map(|host| Ipv6Addr::new(0x2001, 0xdb9, 0, 0, 0, 0, 0, host));
    let mut rig = Rig::new();
    let frames = [
        frame(Frame::Six, &theirs, &ours),
        frame(Frame::Syn, &theirs, &ours),
        frame(Frame::Six, &ours, &theirs),
        frame(Frame::Six, &ours, &ours_too),
        frame(Frame::Six, &theirs, &theirs_too),
        frame(Frame::Extended, &theirs, &ours),
        frame(Frame::Short, &theirs, &ours),
    ];
    rig.burst(&frames);
    let length = |index: usize| frames[index].len() as u64;
    assert_eq!(rig.kind(Kind::Incoming), (3, length(0) + length(1) + length(5)));
    assert_eq!(rig.kind(Kind::Outgoing), (1, length(2)));
    assert_eq!(rig.kind(Kind::Internal), (1, length(3)));
    assert_eq!(rig.kind(Kind::Other), (1, length(4)));
    assert_eq!(rig.kind(Kind::Unparsed), (1, length(6)));
    let slab = &rig.pipeline.shared().slab;
    let cell = |host: Ipv6Addr, outgoing, class| {
        let cell = slab.cell(slab.find(host.into()).expect("a slot"), plane(outgoing, false, class));
        (cell.packets(), cell.bytes())
    };
    assert_eq!(cell(ours, false, Class::Udp), (2, 78 + 86));
    assert_eq!(cell(ours, false, Class::TcpSyn), (1, 60));
    assert_eq!(cell(ours, true, Class::Udp), (2, 2 * 78));
    assert_eq!(cell(ours_too, false, Class::Udp), (1, 78));
    assert_eq!(cell(ours_too, true, Class::Udp), (0, 0));
}
