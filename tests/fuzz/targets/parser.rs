//! Any frame: parsing never panics, its parts say what the whole says, and what must not matter does not.
#![no_main]

use dataplane::packet::{
    Addresses, Class, Flow, Headers, Network, Outline, Plain, PlainUpper, PlainV6, Unparsed, Upper, UpperKind, flow_v4,
    flow_v6, network, outline_v4, outline_v6, parse,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    let whole = parse(frame);
    parts_agree(frame, &whole);
    if let Some(plain) = Plain::of(frame) {
        plain_agrees(frame, &plain, &whole);
    }
    if let Ok(headers) = whole {
        is_sound(&headers);
        a_tag_hides_nothing(frame, &headers);
        padding_says_nothing(frame, &headers);
    }
});

/// What counting takes of a packet, one part at a time, against the whole.
fn parts_agree(frame: &[u8], whole: &Result<Headers, Unparsed>) {
    let outlined = network(frame).and_then(|network| match network {
        Network::V4(packet) => outline_v4(packet).map(|outline| {
            let flow = flow_v4(packet, &outline);
            let addresses = |source, destination| Addresses::V4 { source, destination };
            (told(outline, addresses), flow_told(flow, addresses))
        }),
        Network::V6(packet) => outline_v6(packet).map(|outline| {
            let flow = flow_v6(packet).expect("what has an outline has a flow");
            let addresses = |source, destination| Addresses::V6 { source, destination };
            let of_octets = |source: &[u8; 16], destination: &[u8; 16]| {
                addresses(u128::from_be_bytes(*source), u128::from_be_bytes(*destination))
            };
            if let Some(plain) = PlainV6::of(frame) {
                assert_eq!(plain.outline(), outline);
            }
            (told(outline, of_octets), flow_told(flow, addresses))
        }),
    });
    match (outlined, whole) {
        (Ok((outline, (addresses, upper))), Ok(headers)) => {
            assert_eq!(outline, (headers.addresses, headers.class, headers.is_fragment(), headers.ip_length));
            assert_eq!((addresses, upper >> 32), (headers.addresses, headers.protocol.into()));
            if let Upper::Ports { source, destination } | Upper::Tcp { source, destination, .. } = headers.upper {
                assert_eq!(upper as u32, u32::from(source) << 16 | u32::from(destination));
            }
        }
        (outlined, whole) => assert_eq!(outlined.err(), whole.err()),
    }
}

type Told = (Addresses, Class, bool, u32);

fn told<A>(outline: Outline<A>, addresses: impl Fn(A, A) -> Addresses) -> Told {
    let Outline { source, destination, class, is_fragment, ip_length } = outline;
    (addresses(source, destination), class, is_fragment, ip_length)
}

fn flow_told<A>(flow: Flow<A>, addresses: impl Fn(A, A) -> Addresses) -> (Addresses, u64) {
    (addresses(flow.source, flow.destination), flow.upper)
}

fn upper_at_fixed_places(upper: &PlainUpper) -> Upper {
    let (source, destination) = (upper.first(), upper.second());
    match upper.kind() {
        UpperKind::None => Upper::None,
        UpperKind::Ports => Upper::Ports { source, destination },
        UpperKind::Tcp => Upper::Tcp { source, destination, flags: upper.flags() & 0x0fff },
        UpperKind::Icmp => Upper::Icmp { kind: (source >> 8) as u8, code: source as u8 },
    }
}

fn plain_agrees(frame: &[u8], plain: &Plain, whole: &Result<Headers, Unparsed>) {
    let whole = whole.expect("a plain frame is parsed");
    let said = Headers {
        addresses: Addresses::V4 { source: plain.source(), destination: plain.destination() },
        protocol: plain.protocol(),
        class: plain.class(),
        fragment: plain.fragment(),
        dscp: plain.dscp(),
        ip_length: plain.ip_length().into(),
        upper: PlainUpper::of(frame).map_or(whole.upper, |upper| upper_at_fixed_places(&upper)),
        ..whole
    };
    assert_eq!(said, whole);
    assert_eq!(network(frame), Ok(Network::V4(plain.packet())));
    assert_eq!(outline_v4(plain.packet()), Ok(plain.outline()));
}

/// Numbers within their fields, and fields that belong together.
fn is_sound(headers: &Headers) {
    let is_v4 = matches!(headers.addresses, Addresses::V4 { .. });
    assert!(headers.ip_length >= if is_v4 { 20 } else { 40 });
    assert!(headers.dscp < 64 && headers.flow_label < 1 << 20 && headers.fragment < 16);
    assert!(!is_v4 || headers.flow_label == 0);
    let class_of_protocol = match headers.protocol {
        6 => matches!(headers.class, Class::Tcp | Class::TcpSyn),
        17 => headers.class == Class::Udp,
        1 if is_v4 => headers.class == Class::Icmp,
        58 if !is_v4 => headers.class == Class::Icmp,
        _ => headers.class == Class::Other,
    };
    assert!(class_of_protocol, "{headers:?}");
    match headers.upper {
        Upper::None => {}
        Upper::Ports { .. } => assert!(matches!(headers.protocol, 17 | 33 | 132 | 136)),
        Upper::Tcp { flags, .. } => {
            assert_eq!(headers.class == Class::TcpSyn, flags & 0x12 == 0x02);
            assert!(headers.protocol == 6 && flags < 1 << 12);
        }
        Upper::Icmp { .. } => assert_eq!(headers.class, Class::Icmp),
    }
}

/// With one VLAN tag more a packet says the same, or it has too many.
fn a_tag_hides_nothing(frame: &[u8], headers: &Headers) {
    for tag in [[0x81, 0x00, 0x00, 0x05], [0x88, 0xa8, 0xf0, 0x05], [0x91, 0x00, 0x00, 0x05]] {
        let tagged = [&frame[..12], &tag, &frame[12..]].concat();
        let said = parse(&tagged);
        assert!(said == Ok(*headers) || said == Err(Unparsed::TooManyTags), "{said:?} with a tag");
    }
}

/// What stands behind a whole packet is not part of it.
fn padding_says_nothing(frame: &[u8], headers: &Headers) {
    let (Ok(Network::V4(packet)) | Ok(Network::V6(packet))) = network(frame) else { return };
    let is_jumbogram = headers.ip_length == 40;
    if !is_jumbogram && headers.ip_length as usize <= packet.len() {
        let padded = [frame, &[0xff; 20]].concat();
        assert_eq!(parse(&padded), Ok(*headers), "padded");
    }
}
