//! RFC 8955 read literally over the bytes of a rule: what decoding and matching are held against, here and in tests/fuzz.

use super::{Addresses, Headers, Upper};

/// Whether every component holds; `nlri` without its length.
pub(super) fn evaluate(mut nlri: &[u8], packet: &Headers) -> bool {
    let v6 = matches!(packet.addresses, Addresses::V6 { .. });
    let (source, destination) = match packet.addresses {
        Addresses::V4 { source, destination } => (source.to_be_bytes().to_vec(), destination.to_be_bytes().to_vec()),
        Addresses::V6 { source, destination } => (source.to_be_bytes().to_vec(), destination.to_be_bytes().to_vec()),
    };
    let (ports, icmp, flags) = match packet.upper {
        Upper::None => (vec![], None, None),
        Upper::Ports { source, destination } => (vec![source, destination], None, None),
        Upper::Tcp { source, destination, flags } => (vec![source, destination], None, Some(flags)),
        Upper::Icmp { kind, code } => (vec![], Some((kind, code)), None),
    };
    let mut all = true;
    while let [kind, rest @ ..] = nlri {
        nlri = rest;
        if *kind <= 2 {
            let length = usize::from(nlri[0]);
            let pattern = &nlri[if v6 { 2 } else { 1 }..];
            let address = if *kind == 1 { &destination } else { &source };
            all &= (0..length).all(|at| (address[at / 8] ^ pattern[at / 8]) >> (7 - at % 8) & 1 == 0);
            nlri = &pattern[length.div_ceil(8)..];
            continue;
        }
        let values: Vec<u64> = match kind {
            3 => vec![packet.protocol.into()],
            4 => ports.iter().map(|&port| port.into()).collect(),
            5 => ports.get(1).map(|&port| port.into()).into_iter().collect(),
            6 => ports.first().map(|&port| port.into()).into_iter().collect(),
            7 => icmp.map(|(kind, _)| kind.into()).into_iter().collect(),
            8 => icmp.map(|(_, code)| code.into()).into_iter().collect(),
            9 => flags.map(u64::from).into_iter().collect(),
            // Component 10 has 16 bits: what is longer passes as the longest.
            10 => vec![packet.ip_length.min(0xffff).into()],
            11 => vec![packet.dscp.into()],
            12 => vec![packet.fragment.into()],
            13 if v6 => vec![packet.flow_label.into()],
            _ => panic!("type {kind}"),
        };
        let mut items = Vec::new();
        loop {
            let bits = nlri[0];
            let length = 1 << (bits >> 4 & 3);
            items.push((bits, nlri[1..=length].iter().fold(0_u64, |value, &byte| value * 256 + u64::from(byte))));
            nlri = &nlri[1 + length..];
            if bits >= 0x80 {
                break;
            }
        }
        all &= values.iter().any(|&value| {
            // And binds more tightly than or.
            let mut any = false;
            let mut group = false;
            for (at, &(bits, wanted)) in items.iter().enumerate() {
                let holds = if matches!(kind, 9 | 12) {
                    let found = value & wanted;
                    (if bits & 1 != 0 { found == wanted } else { found != 0 }) != (bits & 2 != 0)
                } else {
                    bits & 4 != 0 && value < wanted
                        || bits & 2 != 0 && value > wanted
                        || bits & 1 != 0 && value == wanted
                };
                if bits & 0x40 != 0 {
                    group &= holds;
                } else {
                    any |= group && at > 0;
                    group = holds;
                }
            }
            any || group
        });
    }
    all
}
