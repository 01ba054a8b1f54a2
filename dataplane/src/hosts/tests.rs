//! Blocks, slots and cells, by the owner's and the reader's calls.

use ipnet::IpNet;

use super::*;

pub(super) fn slab(ipv4_blocks: usize, ipv6_hosts: usize) -> Slab {
    Slab::new(
        Layout { networks: 10, rules: 10, ipv4_blocks, ipv6_hosts, flow_ticks: 0, ipv6_prefix_length: 128 },
        [1, 2],
    )
    .expect("memory")
}

pub(super) fn networks() -> Networks {
    let list: Vec<IpNet> = ["198.18.0.0/15", "2001:db8::/32"].iter().map(|text| text.parse().expect("net")).collect();
    Networks::new(&list).expect("networks")
}

pub(super) fn sum(slab: &Slab, slot: Slot) -> (u64, u64) {
    let cells = || (0..PLANES).map(|plane| slab.cell(slot, plane));
    (cells().map(|cell| u64::from(cell.packets())).sum(), cells().map(Cell::bytes).sum())
}

pub(super) const UDP: usize = 2;

fn slot_v4(owner: &mut Owner, slab: &Slab, address: u32, tick: u32) -> Option<Slot> {
    slab.find_v4(address).or_else(|| match owner.insert_v4(slab, &networks(), address, tick) {
        Found::New(slot) => Some(slot),
        _ => None,
    })
}

#[test]
fn a_block_serves_one_24_and_counts_by_host_plane_and_class() {
    let slab = slab(2, 256);
    let mut owner = Owner::new();
    let slot = slot_v4(&mut owner, &slab, 0xc612_0005, 1).expect("a new block");
    assert_eq!(slab.find_v4(0xc612_0005), Some(slot));
    let neighbour = slab.find_v4(0xc612_0006).expect("the same block");
    assert_eq!(neighbour.block(), slot.block());
    owner.count(&slab, slab.place(slot, plane(false, false, Class::Udp)), 100, 7);
    owner.count(&slab, slab.place(slot, plane(true, true, Class::Tcp)), 50, 8);
    assert_eq!((slab.cell(slot, UDP).packets(), slab.cell(slot, UDP).bytes()), (1, 100));
    assert_eq!(slab.cell(slot, 15).bytes(), 50);
    assert_eq!(sum(&slab, neighbour), (0, 0));
    let head = slab.head(slot.block());
    assert_eq!((head.key(), head.stamp(UDP), head.stamp(15)), (0x00c6_1200, 7, 8));
}

#[test]
fn eight_neighbours_share_a_stamp_in_their_plane() {
    let slab = slab(2, 256);
    let mut owner = Owner::new();
    slot_v4(&mut owner, &slab, 0xc612_0000, 1).expect("a new block");
    let slot = slot_v4(&mut owner, &slab, 0xc612_01ff, 1).expect("another");
    for (address, tick) in [(0xc612_0107, 5), (0xc612_0108, 70_000), (0xc612_01ff, 7)] {
        owner.count(&slab, slab.place(slab.find_v4(address).expect("known"), UDP), 100, tick);
    }
    let stamps = |block, plane| slab.groups(block, plane).map(|(_, stamp)| stamp).collect::<Vec<_>>();
    let mut expected = [0; 32];
    (expected[0], expected[1], expected[31]) = (5, 70_000u32 as u16, 7);
    assert_eq!(stamps(slot.block(), UDP), expected);
    for (block, plane) in [(slot.block() - 1, UDP), (slot.block(), UDP + 1), (slot.block(), UDP - 1)] {
        assert_eq!(stamps(block, plane), [0; 32], "another block or plane");
    }
    let cells: Vec<_> = slab.groups(slot.block(), UDP).flat_map(|(cells, _)| cells).map(Cell::packets).collect();
    let counted: Vec<_> = (0..cells.len()).filter(|&index| cells[index] == 1).collect();
    assert_eq!((cells.len(), counted.as_slice()), (BLOCK, [7, 8, 255].as_slice()));
}

#[test]
fn only_a_silent_block_is_reused() {
    let slab = slab(1, 256);
    let mut owner = Owner::new();
    let first = slot_v4(&mut owner, &slab, 0xc612_0001, 1).expect("a new block");
    owner.count(&slab, slab.place(first, UDP), 1, 10);
    let generation = slab.generation(first);
    let Found::New(beside) = owner.insert_v4(&slab, &networks(), 0xc612_0102, 10 + SILENT_TICKS - 1) else {
        panic!("a slot of the hashed table");
    };
    assert!(slab.ipv6_blocks().contains(&beside.block()));
    assert_eq!(slab.find(host(key([198, 18, 1, 2].into()))), Some(beside));
    assert_eq!(owner.insert_v4(&slab, &networks(), 0xc612_0102, 10 + SILENT_TICKS - 1), Found::Known(beside));
    assert!(slab.unchanged(first, generation));
    assert_eq!(slot_v4(&mut owner, &slab, 0xc612_0101, 10 + SILENT_TICKS), Some(first));
    assert!(!slab.unchanged(first, generation), "a reader notices");
    assert_eq!(slab.find_v4(0xc612_0001), None);
    assert_eq!(slab.cell(first, UDP).packets(), 1, "counters go on from where they stand");
}
