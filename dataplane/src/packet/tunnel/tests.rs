//! Byte vectors for each tunnel, and for where the outer packet counts all the same.

use super::super::tests::build::*;
use super::super::*;

/// 192.0.2.1 to 198.51.100.2 without Ethernet, port 53 to 4096.
fn inner4() -> Vec<u8> {
    [&ip4(17, 0, 28, &[])[2..], &UDP].concat()
}

/// 2001:db8::1 to 2001:db8::2.
fn inner6() -> Vec<u8> {
    [&ip6(17, 8)[2..], &UDP].concat()
}

/// 203.0.113.1 to 203.0.113.2.
fn outer4(protocol: u8, payload: &[&[u8]]) -> Vec<u8> {
    let payload = payload.concat();
    let mut outer = ip4(protocol, 0, 20 + payload.len() as u16, &[]);
    outer[14..22].copy_from_slice(&[203, 0, 113, 1, 203, 0, 113, 2]);
    frame(&[&outer, &payload])
}

fn outer6(protocol: u8, payload: &[&[u8]]) -> Vec<u8> {
    let payload = payload.concat();
    let mut outer = ip6(protocol, payload.len() as u16);
    outer[25] = 3;
    frame(&[&outer, &payload])
}

const ETHERNET: [u8; 12] = [2; 12];

fn udp(port: u16) -> Vec<u8> {
    [30_000, port, 0, 0].map(u16::to_be_bytes).concat()
}

fn all() -> Tunnels {
    Tunnel::ALL.into_iter().collect()
}

/// What counts, with these tunnels taken off.
fn counted(frame: &[u8], tunnels: Tunnels) -> Headers {
    let mut frame = frame.to_vec();
    let start = unwrap(&mut frame, tunnels);
    parse(&frame[start..]).expect("a packet")
}

/// That this kind of tunnel and no other is taken off, padded or not, and this is in it.
#[track_caller]
fn carries(tunnel: Tunnel, mut outer: Vec<u8>, inner: &[u8]) {
    let expected = match inner[0] >> 4 {
        4 => parse(&frame(&[&[0x08, 0x00], inner])),
        _ => parse(&frame(&[&[0x86, 0xdd], inner])),
    };
    for _ in 0..2 {
        assert_eq!(Ok(counted(&outer, Tunnels::from_iter([tunnel]))), expected);
        let others = Tunnel::ALL.into_iter().filter(|other| *other != tunnel).collect();
        assert_eq!(Ok(counted(&outer, others)), parse(&outer));
        outer.extend([0; 9]);
    }
}

/// That the outer packet counts.
#[track_caller]
fn stays(outer: Vec<u8>) {
    assert_eq!(innermost(&outer, all()), None);
    assert_eq!(unwrap(&mut outer.clone(), all()), 0);
    assert!(parse(&outer).is_ok());
}

/// RFC 2784 section 2.1, RFC 2890 section 2, RFC 7637 section 3.2.
#[test]
fn gre() {
    carries(Tunnel::Gre, outer4(47, &[&[0, 0, 8, 0], &inner4()]), &inner4());
    carries(Tunnel::Gre, outer6(47, &[&[0, 0, 0x86, 0xdd], &inner6()]), &inner6());
    for (flags, options) in [(0x80, 4), (0x20, 4), (0x10, 4), (0x30, 8), (0xb0, 12)] {
        let header = [&[flags, 0, 8, 0][..], &vec![7; options]].concat();
        carries(Tunnel::Gre, outer4(47, &[&header, &inner4()]), &inner4());
    }
    let nvgre = [0x20, 0, 0x65, 0x58, 0, 1, 2, 3];
    carries(Tunnel::Gre, outer4(47, &[&nvgre, &ETHERNET, &[8, 0], &inner4()]), &inner4());
    carries(Tunnel::Gre, outer4(47, &[&nvgre, &ETHERNET, &[0x81, 0, 0, 5, 8, 0], &inner4()]), &inner4());
    // MPLS (RFC 4023).
    carries(Tunnel::Gre, outer4(47, &[&[0, 0, 0x88, 0x47, 0, 0x3e, 0x8b, 64], &inner6()]), &inner6());

    stays(outer4(47, &[&[0x40, 0, 8, 0, 0, 0, 0, 0], &inner4()]));
    // PPTP (RFC 2637).
    stays(outer4(47, &[&[0x20, 1, 0x88, 0x0b, 0, 30, 0, 1], &inner4()]));
    stays(outer4(47, &[&[0, 0, 8]]));
    stays(outer4(47, &[&[0x30, 0, 8, 0, 1, 2, 3, 4]]));
    stays(outer4(47, &[&[0, 0, 8, 6], &inner4()]));
}

/// RFC 2003, RFC 4213, RFC 2473.
#[test]
fn ip_in_ip() {
    carries(Tunnel::IpIp, outer4(4, &[&inner4()]), &inner4());
    carries(Tunnel::IpIp, outer6(4, &[&inner4()]), &inner4());
    carries(Tunnel::SixInFour, outer4(41, &[&inner6()]), &inner6());
    carries(Tunnel::SixInFour, outer6(41, &[&inner6()]), &inner6());
    // A destination option before it: the limit of RFC 2473 section 4.1.1.
    carries(Tunnel::SixInFour, outer6(60, &[&[41, 0, 4, 1, 4, 1, 0, 0], &inner6()]), &inner6());
    stays(outer4(4, &[&inner6()]));
    stays(outer4(41, &[&inner4()]));
}

/// RFC 7348 section 5.
#[test]
fn vxlan() {
    let header = [0x08, 0, 0, 0, 0, 0x12, 0x34, 0];
    let vxlan = |header: &[u8], inner: &[u8]| outer4(17, &[&udp(4789), header, &ETHERNET, inner]);
    carries(Tunnel::Vxlan, vxlan(&header, &[&[8, 0], &*inner4()].concat()), &inner4());
    carries(Tunnel::Vxlan, vxlan(&header, &[&[0x81, 0, 0, 9, 0x86, 0xdd], &*inner6()].concat()), &inner6());
    let ipv6 = outer6(17, &[&udp(4789), &header, &ETHERNET, &[8, 0], &inner4()]);
    carries(Tunnel::Vxlan, ipv6, &inner4());
    stays(vxlan(&[0; 8], &[&[8, 0], &*inner4()].concat()));
    stays(vxlan(&header, &[8, 6, 0, 1]));
    stays(outer4(17, &[&udp(4790), &header, &ETHERNET, &[8, 0], &inner4()]));
    stays(outer4(17, &[&udp(4789), &header[..7]]));
}

/// 3GPP TS 29.281 sections 5.1 and 5.2.
#[test]
fn gtp_u() {
    let gtp = |header: &[u8], inner: &[u8]| outer4(17, &[&udp(2152), header, inner]);
    let plain = [0x30, 255, 0, 28, 0, 0, 0, 9];
    carries(Tunnel::GtpU, gtp(&plain, &inner4()), &inner4());
    carries(Tunnel::GtpU, gtp(&plain, &inner6()), &inner6());
    // A sequence number; the fields of E and PN are there too, and not asked.
    carries(Tunnel::GtpU, gtp(&[0x32, 255, 0, 32, 0, 0, 0, 9, 0, 1, 0, 0x85], &inner4()), &inner4());
    // A PDU session container (3GPP TS 38.415), alone and with one more.
    let container = [0x34, 255, 0, 36, 0, 0, 0, 9, 0, 0, 0, 0x85, 1, 0x10, 9, 0];
    carries(Tunnel::GtpU, gtp(&container, &inner4()), &inner4());
    let two = [&container[..15], &[0x40, 2, 0, 0, 0, 0, 0, 0, 0]].concat();
    carries(Tunnel::GtpU, gtp(&two, &inner6()), &inner6());

    // An echo request, GTP', version 2, an extension header of no length, more of them than are looked at.
    stays(gtp(&[0x32, 1, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0], &[]));
    stays(gtp(&[0x20, 255, 0, 28, 0, 0, 0, 9], &inner4()));
    stays(gtp(&[0x50, 255, 0, 28, 0, 0, 0, 9], &inner4()));
    stays(gtp(&[0x34, 255, 0, 36, 0, 0, 0, 9, 0, 0, 0, 0x85, 0, 0x10, 9, 0], &inner4()));
    let many = [&container[..12], &[1, 0, 0, 0x85].repeat(9)].concat();
    stays(gtp(&many, &inner4()));
    stays(gtp(&plain, &[0xf0; 40]));
}

#[test]
fn what_is_broken_within_counts_for_its_outer_packet() {
    let mut version = inner4();
    version[0] = 0x75;
    stays(outer4(4, &[&version]));
    stays(outer4(4, &[&inner4()[..19]]));
    stays(outer4(4, &[]));
    // It claims a byte more than there is in the outer packet, be there padding or not.
    let mut lies = inner4();
    lies[3] = 29;
    let mut padded = outer4(4, &[&lies]);
    stays(padded.clone());
    padded.extend([0; 20]);
    stays(padded);
    // The frame is cut short behind the inner header: its length is still what it says.
    let mut cut = outer4(4, &[&ip4(17, 0, 1400, &[])[2..], &[0; 1380]]);
    cut.truncate(14 + 20 + 20);
    assert_eq!(counted(&cut, all()).ip_length, 1400);
}

#[test]
fn fragments_count_for_their_outer_packet() {
    for field in [0x20_u8, 0x00] {
        let mut outer = outer4(4, &[&inner4()]);
        (outer[14 + 6], outer[14 + 7]) = (field, 1 - field / 0x20);
        stays(outer);
    }
    stays(outer6(44, &[&[41, 0, 0, 1, 0, 0, 0, 1], &inner6()]));
    // An atomic fragment is none.
    let atomic = outer6(44, &[&[41, 0, 0, 0, 0, 0, 0, 1], &inner6()]);
    carries(Tunnel::SixInFour, atomic, &inner6());
}

#[test]
fn tunnels_are_taken_off_to_a_bound() {
    let mut packet = inner4();
    for depth in 1..=TUNNELS_MAX + 2 {
        let outer = outer4(4, &[&packet]);
        let Addresses::V4 { source, .. } = counted(&outer, all()).addresses else { panic!("IPv4") };
        // Beyond, what counts is the last packet that was reached.
        let expected = if depth <= TUNNELS_MAX { 0xc000_0201 } else { 0xcb00_7101 };
        assert_eq!(source, expected, "{depth} tunnels");
        packet = outer[14..].to_vec();
    }
}

#[test]
fn sets_and_names() {
    let set = Tunnels::from_iter([Tunnel::Gre, Tunnel::GtpU]);
    assert_eq!(Tunnel::ALL.map(|tunnel| set.has(tunnel)), [true, false, false, false, true]);
    assert_eq!(Tunnel::ALL.map(Tunnel::name), ["gre", "ipip", "6in4", "vxlan", "gtpu"]);
    assert!(Tunnel::ALL.into_iter().all(|tunnel| !Tunnels::NONE.has(tunnel) && all().has(tunnel)));
}
