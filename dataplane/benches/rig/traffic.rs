//! What benchmarks send: template frames, the pcap file that holds them, and what makes many hosts of few frames.

use std::path::Path;

/// Packets of a template: few, so that the file itself stays in the cache.
pub(crate) const TEMPLATE: usize = 256;
/// First address of the IPv4 hosts, which are consecutive: frames here never leave the process.
pub(crate) const HOSTS_V4: u32 = 0x0a00_0000;
/// First IPv6 address of the hosts' network.
pub(crate) const HOSTS_V6: u128 = 0x2001_0db8 << 96;

/// Seeds of orders and sources: any will do, but the same in every run.
const SEED: u32 = 0x1ee_7e57;

/// Minimum-size UDP frames over IPv4, to [`HOSTS_V4`] until they are rewritten.
pub(crate) fn udp_v4() -> Vec<Vec<u8>> {
    let frame = |index: u16| {
        let mut frame = vec![0u8; 60];
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[14] = 0x45;
        frame[16..18].copy_from_slice(&46u16.to_be_bytes());
        frame[22] = 64;
        frame[23] = 17;
        frame[26..30].copy_from_slice(&0x2000_0001u32.to_be_bytes());
        frame[30..34].copy_from_slice(&HOSTS_V4.to_be_bytes());
        frame[34..36].copy_from_slice(&(1024 + index).to_be_bytes());
        frame[38..40].copy_from_slice(&26u16.to_be_bytes());
        frame
    };
    (0..TEMPLATE as u16).map(frame).collect()
}

/// UDP frames without payload over IPv6, to and from nowhere until they are rewritten.
pub(crate) fn udp_v6() -> Vec<Vec<u8>> {
    let frame = |index: u16| {
        let mut frame = vec![0u8; 62];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        frame[14] = 0x60;
        frame[18..20].copy_from_slice(&8u16.to_be_bytes());
        frame[20] = 17;
        frame[21] = 64;
        frame[22..38].copy_from_slice(&(HOSTS_V6 | 0x8000 << 80).to_be_bytes());
        frame[38..54].copy_from_slice(&HOSTS_V6.to_be_bytes());
        frame[54..56].copy_from_slice(&(1024 + index).to_be_bytes());
        frame[58..60].copy_from_slice(&8u16.to_be_bytes());
        frame
    };
    (0..TEMPLATE as u16).map(frame).collect()
}

/// One frame in four is plain IPv4; the others are IPv4 with a tag, with two tags and TCP, a first and a later fragment, with
/// options, a GRE tunnel's outer packet, and IPv6 as in [`udp_v6`].
pub(crate) fn mixed() -> Vec<Vec<u8>> {
    let tagged = |frame: &[u8], tags: &[[u8; 4]]| [&frame[..12], tags.as_flattened(), &frame[12..]].concat();
    let with = |frame: &[u8], changes: &[(usize, u8)]| {
        let mut frame = frame.to_vec();
        changes.iter().for_each(|&(at, value)| frame[at] = value);
        frame
    };
    let kinds = udp_v4().into_iter().zip(udp_v6()).enumerate().map(|(index, (v4, v6))| match index % 8 {
        0 | 4 => v4,
        1 => tagged(&v4, &[[0x81, 0, 0, 7]]),
        2 | 6 => v6,
        3 => tagged(&with(&v4, &[(23, 6), (46, 0x50), (47, 0x10)]), &[[0x88, 0xa8, 0, 7], [0x81, 0, 0, 8]]),
        5 => with(&v4, &[(20, if index % 16 == 5 { 0x20 } else { 0 }), (21, if index % 16 == 5 { 0 } else { 185 })]),
        // GRE without options, IPv4 inside; and every other one with an option of four bytes instead.
        _ if index % 16 == 7 => with(&v4, &[(23, 47), (36, 0x08)]),
        _ => with(&v4, &[(14, 0x46)]),
    });
    kinds.collect()
}

/// Rewrites [`mixed`]: so many hosts of each family at random, random sources.
pub(crate) fn to_hosts_mixed(v4: u32, v6: u32) -> impl FnMut(&mut [u8]) {
    let (mut to_v4, mut to_v6) = (to_hosts_v4(v4), to_hosts_v6(v6));
    move |frame: &mut [u8]| match frame.get(12..18) {
        Some(&[0x86, 0xdd, ..]) => to_v6(frame),
        Some(&[0x81, ..]) => to_v4(&mut frame[4..]),
        Some(&[0x88, ..]) => to_v4(&mut frame[8..]),
        _ => to_v4(frame),
    }
}

/// A pcap file: magic, version 2.4, snap length, link type 1 (Ethernet), then each frame behind time and lengths.
pub(crate) fn write_pcap(path: &Path, frames: &[Vec<u8>]) -> std::io::Result<()> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    for (index, frame) in (0u32..).zip(frames) {
        for word in [index, 0, frame.len() as u32, frame.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    std::fs::write(path, file)
}

/// Numbers that look random, at the price of one multiplication.
pub(crate) struct Random(u32);

impl Random {
    pub(crate) fn new() -> Random {
        Random(SEED)
    }

    #[inline(always)]
    pub(crate) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0
    }

    /// Below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        ((u64::from(self.next()) * limit as u64) >> 32) as usize
    }
}

/// Values in random order, each once before any comes again: read one after the other, so that the order itself costs
/// neither loop a cache miss.
pub(crate) struct Order<T> {
    values: Vec<T>,
    at: usize,
}

impl<T: Copy> Order<T> {
    pub(crate) fn new(mut values: Vec<T>) -> Order<T> {
        let mut random = Random::new();
        for last in (1..values.len()).rev() {
            values.swap(last, random.below(last + 1));
        }
        Order { values, at: 0 }
    }

    #[inline(always)]
    pub(crate) fn next(&mut self) -> T {
        let value = self.values[self.at];
        self.at += 1;
        if self.at == self.values.len() {
            self.at = 0;
        }
        value
    }
}

/// Rewrites [`udp_v4`]: so many hosts at random, random sources (32.0.0.0/4: none of the hosts).
pub(crate) fn to_hosts_v4(hosts: u32) -> impl FnMut(&mut [u8]) {
    let mut destinations = Order::new((0..hosts).map(|index| (HOSTS_V4 + index).to_be()).collect());
    let mut sources = Random::new();
    move |frame: &mut [u8]| {
        if let Some(addresses) = frame.get_mut(26..34) {
            let source = (0x2000_0000 | sources.next() >> 4).to_be();
            let both = u64::from(destinations.next()) << 32 | u64::from(source);
            addresses.copy_from_slice(&both.to_le_bytes());
        }
    }
}

/// Rewrites [`udp_v6`]: so many hosts at random, random sources.
pub(crate) fn to_hosts_v6(hosts: u32) -> impl FnMut(&mut [u8]) {
    // An odd factor scatters the hosts over 2³² addresses and keeps them apart.
    let mut destinations = Order::new((1..=hosts).map(|index| index.wrapping_mul(0x9e37_79b1)).collect());
    let mut sources = Random::new();
    move |frame: &mut [u8]| {
        if let Some(addresses) = frame.get_mut(30..54) {
            let source = u64::from(sources.next()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            addresses[..8].copy_from_slice(&source.to_be_bytes());
            addresses[20..].copy_from_slice(&destinations.next().to_be_bytes());
        }
    }
}
