//! How a device spreads packets over queues: the key, the fields that it hashes, and the hash itself in software, by which
//! the key is proven. Plain values; no device.

/// The Toeplitz key by which both directions of a flow hash alike: one 16-bit pattern throughout, so that fields which
/// change places (both 16-bit ports, both addresses) meet the same bits of it.
pub const SYMMETRIC_KEY: [u8; 64] = {
    let mut key = [0x6d; 64];
    let mut index = 1;
    while index < key.len() {
        key[index] = 0x5a;
        index += 2;
    }
    key
};

/// Bytes of a key where the device does not say how many it wants.
const KEY_LEN_DEFAULT: u8 = 40;

/// What a device hashes, and by how much of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// `RTE_ETH_RSS_…` bits.
    pub fields: u64,
    /// Bytes of [`SYMMETRIC_KEY`].
    pub key_len: u8,
}

impl Spread {
    /// Over addresses and ports, as far as the device offers it; `None` where there is nothing to spread, or no way to.
    /// `key_size` is the device's own, 0 when it does not say.
    pub fn new(queues: usize, offered: u64, key_size: u8) -> Option<Spread> {
        let wanted = dpdk_sys::RTE_ETH_RSS_IP | dpdk_sys::RTE_ETH_RSS_TCP | dpdk_sys::RTE_ETH_RSS_UDP;
        let fields = u64::from(wanted) & offered;
        let key_len = match key_size {
            0 => KEY_LEN_DEFAULT,
            size => size.min(SYMMETRIC_KEY.len() as u8),
        };
        (queues > 1 && fields != 0).then_some(Spread { fields, key_len })
    }
}

/// What is wrong with what a device says it does, for people: its fields and key, or the error of the call that asks. One
/// that cannot say is believed: most virtual devices cannot.
pub fn doubt(wanted: &Spread, said: Result<(u64, &[u8]), i32>) -> Option<String> {
    let (fields, key) = match said {
        Err(code) if code == -libc::ENOTSUP => return None,
        Err(code) => return Some(format!("does not say how it spreads packets over queues: error {}", code.abs())),
        Ok(said) => said,
    };
    let missing = wanted.fields & !fields;
    if missing != 0 {
        return Some(format!(
            "does not spread all packets over queues by addresses and ports: of RSS fields {:#x} it left out {missing:#x}",
            wanted.fields
        ));
    }
    let asked = &SYMMETRIC_KEY[..usize::from(wanted.key_len)];
    (key.get(..asked.len()) != Some(asked)).then(|| {
        "spreads packets over queues by a key of its own: the two directions of a flow may come to two workers"
            .to_owned()
    })
}

/// Toeplitz hash of `input`, as devices compute it: for each bit that is set, the 32 bits of the key that begin there.
/// Bits behind the end of the key count as 0.
pub fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
    let byte = |index: usize| u64::from(key.get(index).copied().unwrap_or(0));
    let mut hash = 0;
    for (index, &value) in input.iter().enumerate() {
        let window = (0..5).fold(0, |window, next| window << 8 | byte(index + next));
        for bit in (0..8).filter(|bit| value & (0x80 >> bit) != 0) {
            hash ^= (window >> (8 - bit)) as u32;
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    /// The key and vectors of "Verifying the RSS Hash Calculation" in Microsoft's documentation of NDIS.
    const PUBLISHED_KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca,
        0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b,
        0xbe, 0xac, 0x01, 0xfa,
    ];

    /// Source address and port, destination address and port; the hash of the addresses, and with ports.
    type Vector = (&'static str, u16, &'static str, u16, u32, u32);

    const VECTORS: [Vector; 8] = [
        ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x323e_8fc2, 0x51cc_c178),
        ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xd718_262a, 0xc626_b0ea),
        ("24.19.198.95", 12898, "12.22.207.184", 38024, 0xd2d0_a5de, 0x5c2b_394a),
        ("38.27.205.30", 48228, "209.142.163.6", 2217, 0x8298_9176, 0xafc7_327f),
        ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x5d18_09c5, 0x10e8_28a2),
        ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x2cc1_8cd5, 0x4020_7d3d),
        ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0x0f0c_461c, 0xdde5_1bbf),
        ("3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, "fe80::200:f8ff:fe21:67cf", 38024, 0x4b61_e985, 0x02d1_feef),
    ];

    fn octets(address: IpAddr) -> Vec<u8> {
        match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        }
    }

    /// What a device hashes of a packet: source and destination address, then both ports where there are any.
    fn input(from: (IpAddr, Option<u16>), to: (IpAddr, Option<u16>)) -> Vec<u8> {
        let ports = [from.1, to.1].into_iter().flatten().flat_map(u16::to_be_bytes);
        [octets(from.0), octets(to.0)].concat().into_iter().chain(ports).collect()
    }

    #[test]
    fn the_published_hashes() {
        for (source, source_port, destination, destination_port, addresses, all) in VECTORS {
            let (from, to) = (source.parse().unwrap(), destination.parse().unwrap());
            assert_eq!(toeplitz(&PUBLISHED_KEY, &input((from, None), (to, None))), addresses, "{source}");
            let both = input((from, Some(source_port)), (to, Some(destination_port)));
            assert_eq!(toeplitz(&PUBLISHED_KEY, &both), all, "{source}");
            let back = input((to, Some(destination_port)), (from, Some(source_port)));
            assert_ne!(toeplitz(&PUBLISHED_KEY, &back), all, "that key is not symmetric");
        }
    }

    #[test]
    fn a_spread_fits_the_device() {
        let all = u64::from(dpdk_sys::RTE_ETH_RSS_IP | dpdk_sys::RTE_ETH_RSS_TCP | dpdk_sys::RTE_ETH_RSS_UDP);
        assert_eq!(Spread::new(2, u64::MAX, 40), Some(Spread { fields: all, key_len: 40 }));
        assert_eq!(Spread::new(2, u64::MAX, 52), Some(Spread { fields: all, key_len: 52 }), "i40e, ice");
        assert_eq!(Spread::new(2, u64::MAX, 0), Some(Spread { fields: all, key_len: 40 }), "virtio");
        assert_eq!(Spread::new(2, u64::MAX, 128).map(|spread| spread.key_len), Some(64), "no more than there is");
        let tcp = u64::from(dpdk_sys::RTE_ETH_RSS_NONFRAG_IPV4_TCP);
        assert_eq!(
            Spread::new(4, tcp | 1 << 62, 40),
            Some(Spread { fields: tcp, key_len: 40 }),
            "only what is offered"
        );
        assert_eq!(Spread::new(1, u64::MAX, 40), None, "one queue");
        assert_eq!(Spread::new(2, 0, 40), None, "no hash at all, as net_pcap");
    }

    #[test]
    fn a_device_that_does_other_than_asked_is_doubted() {
        let wanted = Spread { fields: 0b1100, key_len: 40 };
        let told = |fields, key: &[u8]| doubt(&wanted, Ok((fields, key)));
        assert_eq!(told(0b1100, &SYMMETRIC_KEY[..40]), None);
        assert_eq!(told(0b1111, &SYMMETRIC_KEY[..52]), None, "more fields, and a longer key, are as good");
        assert!(told(0b1000, &SYMMETRIC_KEY[..40]).unwrap().ends_with("of RSS fields 0xc it left out 0x4"));
        assert!(told(0, &[]).unwrap().contains("left out 0xc"), "it does not hash at all");
        for key in [&PUBLISHED_KEY[..], &[0; 40], &SYMMETRIC_KEY[..39], &[]] {
            assert!(told(0b1100, key).unwrap().contains("key of its own"), "{key:?}");
        }
        assert_eq!(doubt(&wanted, Err(-libc::ENOTSUP)), None);
        assert!(doubt(&wanted, Err(-libc::EIO)).unwrap().ends_with("error 5"));
    }

    fn address() -> impl Strategy<Value = (IpAddr, IpAddr)> {
        prop_oneof![
            any::<([u8; 4], [u8; 4])>().prop_map(|(one, other)| (one.into(), other.into())),
            any::<([u8; 16], [u8; 16])>().prop_map(|(one, other)| (one.into(), other.into())),
        ]
    }

    proptest! {
        #[test]
        fn both_directions_hash_alike((one, other) in address(), ports in any::<Option<(u16, u16)>>()) {
            let (from, to) = ((one, ports.map(|ports| ports.0)), (other, ports.map(|ports| ports.1)));
            for key_len in [40, 52] {
                let key = &SYMMETRIC_KEY[..key_len];
                prop_assert_eq!(toeplitz(key, &input(from, to)), toeplitz(key, &input(to, from)));
            }
        }
    }

    /// A key that sent every flow to one queue would be symmetric, too.
    #[test]
    fn flows_spread_over_queues() {
        const QUEUES: usize = 8;
        let mut queues = [0; QUEUES];
        for flow in 0..8_000u32 {
            let source = IpAddr::from((0xc612_0000 + flow * 7).to_be_bytes());
            let destination = IpAddr::from((0xcb00_7100 + flow % 250).to_be_bytes());
            let port = Some(1024 + (flow * 31 % 60_000) as u16);
            let hash = toeplitz(&SYMMETRIC_KEY[..40], &input((source, port), (destination, Some(443))));
            queues[hash as usize % QUEUES] += 1;
        }
        assert!(queues.iter().all(|&flows| flows > 500), "{queues:?}");
    }
}
