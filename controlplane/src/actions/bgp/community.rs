//! What routes carry and where they lead: marks, communities, next hops. Values only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dataplane::rule::Family;

/// A large community (RFC 8092) that names this Levee: what carries it at an engine is ours, all else is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark(pub [u32; 3]);

/// A community to attach to what is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Community {
    /// Of RFC 1997: AS number and value, 16 bits each.
    Standard(u32),
    /// Of RFC 8092.
    Large([u32; 3]),
    /// Of RFC 4360, with its type.
    Extended([u8; 8]),
}

impl Mark {
    /// The path identifier of our paths at an engine. A path replaces, and a withdrawal takes, only a path of the same
    /// NLRI and identifier: so one of our own keeps the routes of other clients, and of another Levee, out of reach.
    pub(super) fn identifier(self) -> u32 {
        let hash = |hash: u32, octet: u8| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193);
        let octets = self.0.into_iter().flat_map(u32::to_be_bytes);
        // 0 is what clients have that do not care.
        octets.fold(0x811c_9dc5, hash).max(1)
    }
}

/// How routes of one kind are announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Where they lead.
    pub next_hops: NextHops,
    /// What they carry beside what all routes of the engine do.
    pub communities: Vec<Community>,
}

/// Where routes lead, for each family that has any: blackholes to an address that routers discard what is sent to, diversions to a
/// scrubber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHops {
    /// For IPv4.
    pub v4: Option<Ipv4Addr>,
    /// For IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl NextHops {
    pub(super) fn of(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4.map(IpAddr::V4),
            Family::V6 => self.v6.map(IpAddr::V6),
        }
    }

    /// Whether a route can lead to the address.
    pub fn is_good(address: IpAddr) -> bool {
        !(address.is_unspecified() || address.is_multicast() || address.is_loopback())
            && address == address.to_canonical()
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        *self == NextHops::default()
    }
}
