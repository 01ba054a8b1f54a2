//! Who is there: the hosts that are attacked, their clients, the servers that they talk to. It stays the same from baseline to judgement.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::random::Rng;

/// Addresses of which a few are busy and most are not.
#[derive(Clone, Debug)]
pub struct Crowd {
    addresses: Vec<IpAddr>,
    reached: Vec<f64>,
}

impl Crowd {
    /// The busiest comes first; the n-th has 1/n of its traffic (Zipf).
    pub fn new(addresses: Vec<IpAddr>) -> Crowd {
        let mut sum = 0.0;
        let reached = (1..=addresses.len()).map(|rank| {
            sum += 1.0 / (rank as f64 + 3.0);
            sum
        });
        Crowd { reached: reached.collect(), addresses }
    }

    /// One of them, as likely as it is busy.
    pub fn pick(&self, rng: &mut Rng) -> IpAddr {
        let drawn = rng.unit() * self.reached.last().copied().unwrap_or_default();
        let at = self.reached.partition_point(|&reached| reached < drawn);
        self.addresses[at.min(self.addresses.len() - 1)]
    }

    /// All of them, the busiest first.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }
}

/// The parts of a scenario that are not traffic.
#[derive(Clone, Debug)]
pub struct World {
    /// What is attacked: a host, or the network that holds all hosts.
    pub target: IpNet,
    /// The hosts in it that are there.
    pub hosts: Vec<IpAddr>,
    /// Those who use its services.
    pub clients: Crowd,
    /// Servers that it uses itself.
    pub servers: Crowd,
    /// The resolvers that it asks.
    pub resolvers: Vec<IpAddr>,
}

/// The network of a botnet: clients are rare there. IPv6 has a /48.
pub const BOTNET_V4: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 0);
const BOTNET_V6: u128 = 0x2001_0db8_0b07 << 80;

impl World {
    /// Draws who is there.
    pub fn new(seed: u64, is_v6: bool, is_network: bool) -> World {
        let mut rng = Rng::new(seed, "world");
        let target: IpNet = match (is_v6, is_network) {
            (false, false) => IpNet::from(IpAddr::from([192, 0, 2, rng.between(1, 254) as u8])),
            (false, true) => IpNet::new_assert(IpAddr::from([203, 0, 113, 64]), 26),
            (true, false) => IpNet::from(IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0x80, 0, 0, 0, 0x10))),
            (true, true) => IpNet::new_assert(IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0x80, 0, 0, 0, 0)), 64),
        };
        let hosts = if is_network { target.hosts().take(48).collect() } else { vec![target.addr()] };
        let mut crowd = |size: usize, places: usize| {
            let places: Vec<u64> = (0..places).map(|_| rng.bits()).collect();
            Crowd::new((0..size).map(|rank| settle(&mut rng, &places, is_v6, rank)).collect())
        };
        let (clients, servers) = (crowd(500, 90), crowd(80, 40));
        let resolver = |last: u16| match is_v6 {
            false => IpAddr::from([198, 51, 100, last as u8]),
            true => IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0x53, 0, 0, 0, last)),
        };
        World { target, hosts, clients, servers, resolvers: vec![resolver(53), resolver(54)] }
    }

    /// Whether it lives in IPv6.
    pub fn is_v6(&self) -> bool {
        self.target.addr().is_ipv6()
    }

    /// Bytes of an IP header without options.
    pub fn ip_header(&self) -> u16 {
        if self.is_v6() { 40 } else { 20 }
    }

    /// Any address that a sender may claim.
    pub fn anywhere(&self, rng: &mut Rng) -> IpAddr {
        match self.is_v6() {
            false => IpAddr::from(Ipv4Addr::from_bits(0xc612_0000 | rng.between(0, 0x1_ffff) as u32)),
            true => IpAddr::from(Ipv6Addr::from_bits(
                0x2001_0db8 << 96 | u128::from(rng.bits()) << 32 | u128::from(rng.bits() >> 32),
            )),
        }
    }

    /// A bot in the botnet's network.
    pub fn bot(&self, rng: &mut Rng) -> IpAddr {
        match self.is_v6() {
            false => IpAddr::from(Ipv4Addr::from_bits(BOTNET_V4.to_bits() | rng.between(0, 0xffff) as u32)),
            true => IpAddr::from(Ipv6Addr::from_bits(
                BOTNET_V6 | u128::from(rng.bits()) | u128::from(rng.between(0, 255)) << 64,
            )),
        }
    }
}

/// An address in one of the places: networks of a /24 or /64. One in 100 is in the botnet's network, but none of the busy ones.
fn settle(rng: &mut Rng, places: &[u64], is_v6: bool, rank: usize) -> IpAddr {
    let place = rng.pick(places);
    if is_v6 {
        let network = (place & 0xffff_ffff_ffff) as u128;
        return IpAddr::from(Ipv6Addr::from_bits(0x2001_0db8 << 96 | network << 48 | u128::from(rng.bits() >> 16)));
    }
    let last = rng.between(1, 254) as u32;
    let network = match rng.between(0, 99) {
        0 if rank > 120 => BOTNET_V4.to_bits() | (place as u32 & 0xff) << 8,
        1..=4 => 0xc633_6400,
        _ => 0xc612_0000 | (place as u32 & 0xff) << 8,
    };
    IpAddr::from(Ipv4Addr::from_bits(network | last))
}
