//! Byte vectors for the link layers, and for their reasons.

use super::super::tests::build::*;
use super::super::*;

#[test]
fn tags_of_every_kind_up_to_four() {
    let tags: [&[u8]; 4] = [&[0x88, 0xa8, 0, 1], &[0x91, 0x00, 0, 2], &[0x81, 0x00, 0, 3], &[0x81, 0x00, 0xe0, 4]];
    let packet = [ip4(17, 0, 28, &[]), UDP.to_vec()].concat();
    let untagged = parse(&frame(&[&packet]));
    for count in 1..=4 {
        let tagged = frame(&[&tags[..count].concat(), &packet]);
        assert_eq!(parse(&tagged), untagged, "{count} tags");
        assert_eq!(parse(&tagged[..12 + 4 * count + 1]), Err(Unparsed::ShortEthernet));
    }
    assert_eq!(parse(&frame(&[&tags.concat(), tags[2], &packet])), Err(Unparsed::TooManyTags));
}

fn packet4() -> Vec<u8> {
    [&ip4(17, 0, 28, &[])[2..], &UDP].concat()
}

fn packet6() -> Vec<u8> {
    [&ip6(17, 8)[2..], &UDP].concat()
}

/// That both packets behind this are what they are without it.
#[track_caller]
fn carries(before4: &[u8], before6: &[u8]) {
    let plain = parse(&frame(&[&[0x08, 0x00], &packet4()]));
    assert!(plain.is_ok());
    assert_eq!(parse(&frame(&[before4, &packet4()])), plain);
    let plain = parse(&frame(&[&[0x86, 0xdd], &packet6()]));
    assert!(plain.is_ok());
    assert_eq!(parse(&frame(&[before6, &packet6()])), plain);
}

#[track_caller]
fn refused(parts: &[&[u8]], reason: Unparsed) {
    assert_eq!(parse(&frame(parts)), Err(reason), "{parts:x?}");
}

/// RFC 1042, and IEEE 802.1H.
#[test]
fn snap() {
    carries(&[0, 36, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &[0, 56, 0xaa, 0xaa, 3, 0, 0, 0, 0x86, 0xdd]);
    carries(&[5, 0xdc, 0xaa, 0xaa, 3, 0, 0, 0xf8, 8, 0], &[0, 0, 0xaa, 0xaa, 3, 0, 0, 0xf8, 0x86, 0xdd]);
    // Behind a tag, and a tag behind it.
    let tag = [0x81, 0, 0, 7];
    carries(
        &[&tag[..], &[0, 36, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0]].concat(),
        &[0, 60, 0xaa, 0xaa, 3, 0, 0, 0, 0x81, 0, 0, 7, 0x86, 0xdd],
    );
}

#[test]
fn llc_without_an_ethertype() {
    // Spanning tree, IS-IS, CDP, Novell's frames without LLC.
    refused(&[&[0, 38, 0x42, 0x42, 3, 0, 0]], Unparsed::Llc);
    refused(&[&[5, 0xdc, 0xfe, 0xfe, 3, 0x83, 27]], Unparsed::Llc);
    refused(&[&[0, 36, 0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0]], Unparsed::Llc);
    refused(&[&[0, 36, 0xff, 0xff, 0, 36, 0, 1]], Unparsed::Llc);
    refused(&[&[0, 36, 0xaa, 0xaa]], Unparsed::ShortEthernet);
    refused(&[&[0, 36, 0xaa, 0xaa, 3, 0, 0, 0, 8]], Unparsed::ShortEthernet);
    refused(&[&[0, 36, 0xaa, 0xaa, 3, 0, 0, 0, 8, 6], &packet4()], Unparsed::Arp);
    refused(&[&[5, 0xff], &packet4()], Unparsed::Llc);
    refused(&[&[6, 0], &packet4()], Unparsed::NotIp);
}

/// RFC 3032 section 2.1.
#[test]
fn mpls() {
    // Label 1000, traffic class 5, TTL 64; and one more before it.
    let (last, more) = ([0x00, 0x3e, 0x8b, 64], [0x00, 0x3e, 0x8a, 64]);
    carries(&[&[0x88, 0x47][..], &last].concat(), &[&[0x88, 0x48][..], &last].concat());
    let deepest = [&[0x88, 0x47][..], &more.repeat(LABELS_MAX - 1), &last].concat();
    carries(&deepest, &deepest);
    let tagged = [&[0x81, 0, 0, 1, 0x88, 0xa8, 0, 2, 0x88, 0x47][..], &more, &last].concat();
    carries(&tagged, &tagged);
    // Explicit null labels (RFC 3032 section 2.1): 0 for IPv4, 2 for IPv6.
    carries(&[0x88, 0x47, 0, 0, 1, 64], &[0x88, 0x47, 0, 0, 0x21, 64]);

    refused(&[&[0x88, 0x47], &more.repeat(LABELS_MAX), &last, &packet4()], Unparsed::TooManyLabels);
    for short in [&[][..], &[0, 0x3e, 0x8b], &more, &last] {
        refused(&[&[0x88, 0x47], short], Unparsed::ShortMpls);
    }
    // The associated channel of a pseudowire (RFC 4385 section 5), and something else.
    refused(&[&[0x88, 0x47], &last, &[0x10, 0, 0, 7, 0, 0, 0, 0]], Unparsed::MplsPayload);
    refused(&[&[0x88, 0x47], &last, &[0xf2; 20]], Unparsed::MplsPayload);
    refused(&[&[0x88, 0x47], &last, &[0x45; 19]], Unparsed::ShortIpv4);
}

/// RFC 4385 section 3, RFC 4448 section 4.6.
#[test]
fn pseudowires() {
    let stack = [0x88, 0x47, 0x00, 0x3e, 0x8b, 64];
    let with = |control: [u8; 4], ethertype: &[u8]| [&stack[..], &control, &[4; 12], ethertype].concat();
    carries(&with([0; 4], &[0x08, 0x00]), &with([0, 0, 0xff, 0xff], &[0x86, 0xdd]));
    // Flags and a length; the first fragment.
    carries(&with([0x0f, 0x3f, 0, 1], &[0x81, 0, 0, 5, 8, 0]), &with([0, 0x40, 0, 1], &[0x86, 0xdd]));
    let snap = [0, 60, 0xaa, 0xaa, 3, 0, 0, 0, 0x86, 0xdd];
    carries(&with([0; 4], &[0x88, 0x64, 0x11, 0, 0, 1, 0, 30, 0, 0x21]), &with([0; 4], &snap));

    refused(&[&with([0, 0x80, 0, 1], &[8, 0]), &packet4()], Unparsed::MplsPayload);
    refused(&[&with([0, 0xc0, 0, 1], &[8, 0]), &packet4()], Unparsed::MplsPayload);
    refused(&[&with([0; 4], &[8, 6]), &packet4()], Unparsed::Arp);
    refused(&[&stack, &[0, 0, 0]], Unparsed::ShortMpls);
    refused(&[&stack, &[0; 17]], Unparsed::ShortEthernet);
    let nested = &with([0; 4], &[0x88, 0x47, 0, 0x3e, 0x8b, 64, 0, 0, 0, 0]);
    refused(&[nested, &[4; 12], &[8, 0], &packet4()], Unparsed::NestedPseudowire);
}

/// RFC 2516 sections 4 and 7, RFC 1661 section 2.
#[test]
fn pppoe() {
    let session = [0x88, 0x64, 0x11, 0x00, 0x12, 0x34, 0x00, 0x1e];
    let with = |protocol: &[u8]| [&session[..], protocol].concat();
    carries(&with(&[0x00, 0x21]), &with(&[0x00, 0x57]));
    carries(&with(&[0x21]), &with(&[0x57]));
    let tagged = |protocol: &[u8]| [&[0x81, 0, 0, 1, 0x81, 0, 0, 2][..], &with(protocol)].concat();
    carries(&tagged(&[0x00, 0x21]), &tagged(&[0x57]));

    // LCP, CHAP, IPCP, and what is compressed and neither.
    for protocol in [&[0xc0, 0x21][..], &[0xc2, 0x23], &[0x80, 0x21], &[0x29]] {
        refused(&[&with(protocol), &packet4()], Unparsed::PppControl);
    }
    refused(&[&session[..7]], Unparsed::ShortPppoe);
    refused(&[&session], Unparsed::ShortPppoe);
    refused(&[&session, &[0x00]], Unparsed::ShortPppoe);
    refused(&[&[0x88, 0x64, 0x21, 0, 0, 1, 0, 30, 0, 0x21], &packet4()], Unparsed::BadPppoe);
    refused(&[&[0x88, 0x64, 0x11, 9, 0, 1, 0, 30, 0, 0x21], &packet4()], Unparsed::BadPppoe);
    refused(&[&[0x88, 0x63, 0x11, 9, 0, 0, 0, 4, 1, 1, 0, 0]], Unparsed::PppoeDiscovery);
}

#[test]
fn other_reasons() {
    refused(&[&[0x08]], Unparsed::ShortEthernet);
    refused(&[&[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]], Unparsed::Arp);
    refused(&[&[0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3]], Unparsed::Arp);
    for ethertype in [0x8808_u16, 0x8809, 0x888e, 0x88cc, 0x88f7, 0x8902, 0x9000] {
        refused(&[&ethertype.to_be_bytes(), &[1; 46]], Unparsed::LinkControl);
    }
    // For experiments, and MACsec, in which all is encrypted.
    refused(&[&[0x88, 0xb5, 1, 2, 3]], Unparsed::NotIp);
    refused(&[&[0x88, 0xe5, 1, 2, 3]], Unparsed::NotIp);
    assert_eq!(parse(&[]), Err(Unparsed::ShortEthernet));
    assert_eq!(parse(&[0x45; 13]), Err(Unparsed::ShortEthernet));
}
