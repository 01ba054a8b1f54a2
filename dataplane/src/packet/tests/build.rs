//! Frames from bytes, for the vectors of all layers.

use super::super::Upper;

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

pub(in crate::packet) fn frame(parts: &[&[u8]]) -> Vec<u8> {
    [&MACS[..]].iter().chain(parts).flat_map(|part| part.iter().copied()).collect()
}

/// 192.0.2.1 to 198.51.100.2, DSCP 46, TTL 64.
pub(in crate::packet) fn ip4(protocol: u8, offset_field: u16, total_length: u16, options: &[u8]) -> Vec<u8> {
    let [length_high, length_low] = total_length.to_be_bytes();
    let [offset_high, offset_low] = offset_field.to_be_bytes();
    let version_and_length = 0x45 + options.len() as u8 / 4;
    let mut header = vec![0x08, 0x00, version_and_length, 46 << 2, length_high, length_low, 0, 1];
    header.extend([offset_high, offset_low, 64, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2]);
    header.extend(options);
    header
}

/// 2001:db8::1 to 2001:db8::2, traffic class 0xb9, flow label 0xabcde, hop limit 63.
pub(in crate::packet) fn ip6(next: u8, payload_length: u16) -> Vec<u8> {
    let [high, low] = payload_length.to_be_bytes();
    let mut header = vec![0x86, 0xdd, 0x6b, 0x9a, 0xbc, 0xde, high, low, next, 63];
    for last in [1, 2] {
        header.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    header
}

/// Port 53 to 4096.
pub(in crate::packet) const UDP: [u8; 8] = [0, 53, 16, 0, 0, 8, 0, 0];
pub(in crate::packet) const UDP_PORTS: Upper = Upper::Ports { source: 53, destination: 4096 };

pub(in crate::packet) fn tcp(flags: [u8; 2]) -> Vec<u8> {
    vec![0x01, 0xbb, 0xc0, 0x00, 0, 0, 0, 1, 0, 0, 0, 2, flags[0], flags[1], 0, 0, 0, 0, 0, 0]
}
