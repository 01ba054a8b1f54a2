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
