//! Files built byte by byte.

use super::*;

/// An IPv4 and UDP header; Ethernet before it where asked for.
fn packet(ethernet: bool) -> Vec<u8> {
    let mut packet = if ethernet { [vec![0; 12], vec![8, 0]].concat() } else { Vec::new() };
    packet.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 198, 51, 100, 7, 192, 0, 2, 1, 0, 53, 4, 0, 0, 8, 0, 0]);
    packet
}

fn words(order: Order, words: &[u32]) -> Vec<u8> {
    let bytes = |&word: &u32| match order {
        Order::Little => word.to_le_bytes(),
        Order::Big => word.to_be_bytes(),
    };
    words.iter().flat_map(bytes).collect()
}

fn classic(order: Order, magic: u32, link: u32, fraction: u32, frame: &[u8]) -> Vec<u8> {
    let mut file = words(order, &[magic, 0, 0, 0, 65_535, link]);
    file.extend(words(order, &[7, fraction, frame.len() as u32, 1_500]));
    file.extend(frame);
    file
}

fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = body.len() as u32 + 12;
    [words(order, &[kind, length]), body, words(order, &[length])].concat()
}

#[test]
fn classic_files_of_both_orders_and_resolutions() {
    let expected = parse(&packet(true)).unwrap();
    for order in [Order::Little, Order::Big] {
        for (magic, fraction) in [(0xa1b2_c3d4, 5), (0xa1b2_3c4d, 5_000)] {
            let read = decode(&classic(order, magic, 1, fraction, &packet(true))).unwrap();
            assert_eq!(read.packets, [Packet { time_us: 7_000_005, headers: expected }]);
            assert!(!read.cut && read.unparsed == 0);
        }
    }
}

#[test]
fn link_types() {
    let expected = parse(&packet(true)).unwrap();
    for (link, before) in [(101, 0), (228, 0), (113, 16), (276, 20), (0, 4)] {
        let frame = [vec![0; before], packet(false)].concat();
        let read = decode(&classic(Order::Little, 0xa1b2_c3d4, link, 0, &frame)).unwrap();
        assert_eq!(read.packets[0].headers, expected, "link type {link}");
    }
    let error = decode(&classic(Order::Little, 0xa1b2_c3d4, 105, 0, &[])).unwrap_err();
    assert_eq!(error.to_string()[..20], *"link type 105 is not");
    assert!(decode(b"GIF89a").is_err());
    assert!(decode(&[]).is_err());
}

#[test]
fn pcapng_with_its_own_resolution_and_sections_of_either_order() {
    let expected = parse(&packet(true)).unwrap();
    let mut file = Vec::new();
    for order in [Order::Big, Order::Little] {
        file.extend(block(order, 0x0a0d_0d0a, &words(order, &[0x1a2b_3c4d, 1, 0, 0])));
        // Ethernet, if_tsresol 9: nanoseconds.
        let (link, option) = match order {
            Order::Big => ([0, 1, 0, 0], [0, 9, 0, 1, 9, 0, 0, 0]),
            Order::Little => ([1, 0, 0, 0], [9, 0, 1, 0, 9, 0, 0, 0]),
        };
        file.extend(block(order, 1, &[&link[..], &[0; 4], &option].concat()));
        let frame = packet(true);
        let head = words(order, &[0, 1, 705_032_704, frame.len() as u32, 1_500]);
        file.extend(block(order, 6, &[head, frame].concat()));
        file.extend(block(order, 0x0bad, &[1, 2, 3]));
    }
    let read = decode(&file).unwrap();
    assert_eq!(read.packets, [Packet { time_us: 5_000_000, headers: expected }; 2]);
}

#[test]
fn a_file_that_is_cut_short_gives_what_it_has() {
    let mut file = classic(Order::Little, 0xa1b2_c3d4, 1, 0, &packet(true));
    let whole = file.len();
    file.extend(file[24..].to_vec());
    for length in 24..file.len() {
        let read = decode(&file[..length]).unwrap();
        assert_eq!(read.packets.len(), usize::from(length >= whole));
        assert_eq!(read.cut, length != 24 && length != whole, "{length}");
    }
    let lies = classic(Order::Little, 0xa1b2_c3d4, 1, 0, &[1, 2, 3]);
    assert_eq!(decode(&lies).unwrap().unparsed, 1);
}
