//! What stands at an engine for one rule: an [`Announcement`], from a rule (or a blackhole) to the octets of RFC 4271 and
//! 8955. Pure.
//!
//! GoBGP checks next to nothing of what it is given, so an [`Announcement`] can only be made from a rule that encodes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dataplane::rule::{Action, Family, FlowRule, nlri};
use ipnet::IpNet;
use proto::gobgp;
use proto::gobgp::family::{Afi, Safi};

/// As many as leave a one-octet attribute length, and room in an UPDATE, without thinking.
const COMMUNITIES_MAX: usize = 16;
/// How GoBGP writes "no neighbour": the path came by its gRPC interface.
const NO_NEIGHBOUR: &str = "<nil>";

const FLAGS_WELL_KNOWN: u8 = 0x40;
const FLAGS_OPTIONAL_TRANSITIVE: u8 = 0xc0;
const FLAG_EXTENDED_LENGTH: u8 = 0x10;
const ORIGIN: u8 = 1;
const NEXT_HOP: u8 = 3;
const COMMUNITIES: u8 = 8;
const EXTENDED_COMMUNITIES: u8 = 16;
const MP_REACH_NLRI: u8 = 14;
const LARGE_COMMUNITIES: u8 = 32;
/// RFC 7999, and RFC 1997: it stays within the network that it was given to.
const BLACKHOLE: [u32; 2] = [0xffff_029a, 0xffff_ff01];

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
}

impl Mark {
    /// The path identifier of our paths at an engine. A path replaces, and a withdrawal takes, only a path of the same
    /// NLRI and identifier: so one of our own keeps the routes of other clients, and of another Levee, out of reach.
    fn identifier(self) -> u32 {
        let hash = |hash: u32, octet: u8| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193);
        let octets = self.0.into_iter().flat_map(u32::to_be_bytes);
        // 0 is what clients have that do not care.
        octets.fold(0x811c_9dc5, hash).max(1)
    }
}

/// Where blackholes lead: an address that routers discard what is sent to, for each family that has any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHops {
    /// For IPv4.
    pub v4: Option<Ipv4Addr>,
    /// For IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl NextHops {
    fn of(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4.map(IpAddr::V4),
            Family::V6 => self.v6.map(IpAddr::V6),
        }
    }

    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        *self == NextHops::default()
    }
}

/// One of the engine's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Table {
    family: Family,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    FlowSpec,
    Unicast,
}

impl Table {
    const FLOW_SPEC: [Table; 2] =
        [Table { family: Family::V4, kind: Kind::FlowSpec }, Table { family: Family::V6, kind: Kind::FlowSpec }];
    const UNICAST: [Table; 2] =
        [Table { family: Family::V4, kind: Kind::Unicast }, Table { family: Family::V6, kind: Kind::Unicast }];

    /// Where our routes are: blackholes only where they have a next hop, since those tables may hold all the world's routes.
    pub(super) fn ours(next_hops: &NextHops) -> impl Iterator<Item = Table> {
        let blackholes = (!next_hops.is_empty()).then_some(Table::UNICAST);
        Table::FLOW_SPEC.into_iter().chain(blackholes.into_iter().flatten())
    }

    pub(super) fn to_family(self) -> gobgp::Family {
        let afi = match self.family {
            Family::V4 => Afi::Ip,
            Family::V6 => Afi::Ip6,
        };
        let safi = match self.kind {
            Kind::FlowSpec => Safi::FlowSpecUnicast,
            Kind::Unicast => Safi::Unicast,
        };
        gobgp::Family { afi: afi.into(), safi: safi.into() }
    }
}

/// What makes a path at an engine the same path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    table: Table,
    /// With its length octet.
    nlri: Vec<u8>,
    identifier: u32,
}

impl Key {
    /// The withdrawal of exactly this path.
    pub(super) fn to_withdrawal(&self) -> gobgp::DeletePathRequest {
        let path = gobgp::Path { is_withdraw: true, ..self.to_path() };
        gobgp::DeletePathRequest { family: Some(self.table.to_family()), path: Some(path), ..Default::default() }
    }

    fn to_path(&self) -> gobgp::Path {
        gobgp::Path {
            family: Some(self.table.to_family()),
            nlri_binary: self.nlri.clone(),
            identifier: self.identifier,
            ..Default::default()
        }
    }
}

/// What a path carries that matters to a router or to us; each list sorted, since order means nothing in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Of a blackhole; that of a rule means nothing.
    next_hop: Option<IpAddr>,
    communities: Vec<u32>,
    extended: Vec<[u8; 8]>,
    large: Vec<[u32; 3]>,
}

impl Attributes {
    fn new(mark: Mark, communities: &[Community], action: &Action, next_hop: Option<IpAddr>) -> Attributes {
        let mut attributes = Attributes {
            next_hop,
            communities: next_hop.map_or(vec![], |_| BLACKHOLE.to_vec()),
            extended: action.extended_community().into_iter().collect(),
            large: vec![mark.0],
        };
        for community in communities {
            match *community {
                Community::Standard(value) => attributes.communities.push(value),
                Community::Large(parts) => attributes.large.push(parts),
            }
        }
        attributes.communities.sort_unstable();
        attributes.communities.dedup();
        attributes.large.sort_unstable();
        attributes.large.dedup();
        attributes
    }

    /// Path attributes as octets, RFC 4271 section 4.3. The next hop is never sent on for Flow Spec, but GoBGP asks. It takes
    /// one of IPv6 here too, and makes what is right of it.
    fn encode(&self) -> Vec<Vec<u8>> {
        let next_hop = match self.next_hop {
            None => vec![0; 4],
            Some(IpAddr::V4(address)) => address.octets().to_vec(),
            Some(IpAddr::V6(address)) => address.octets().to_vec(),
        };
        let mut encoded =
            vec![attribute(FLAGS_WELL_KNOWN, ORIGIN, &[0]), attribute(FLAGS_WELL_KNOWN, NEXT_HOP, &next_hop)];
        let lists = [
            (COMMUNITIES, self.communities.iter().flat_map(|community| community.to_be_bytes()).collect()),
            (EXTENDED_COMMUNITIES, self.extended.concat()),
            (LARGE_COMMUNITIES, self.large.iter().flatten().flat_map(|part| part.to_be_bytes()).collect::<Vec<u8>>()),
        ];
        for (kind, value) in lists.into_iter().filter(|(_, value)| !value.is_empty()) {
            encoded.push(attribute(FLAGS_OPTIONAL_TRANSITIVE, kind, &value));
        }
        encoded
    }

    /// From path attributes as octets; those that do not matter, or are cut short, are left out.
    fn decode(encoded: &[Vec<u8>]) -> Attributes {
        let mut attributes = Attributes::default();
        for (kind, value) in encoded.iter().filter_map(|octets| attribute_value(octets)) {
            match kind {
                NEXT_HOP => attributes.next_hop = address(value),
                // RFC 4760 section 3: the family, three octets, then the length of the next hop.
                MP_REACH_NLRI => {
                    let next_hop = value.get(3).and_then(|&length| value.get(4..4 + usize::from(length)));
                    attributes.next_hop = next_hop.and_then(address);
                }
                COMMUNITIES => {
                    attributes.communities = value.as_chunks().0.iter().copied().map(u32::from_be_bytes).collect()
                }
                EXTENDED_COMMUNITIES => attributes.extended = value.as_chunks().0.to_vec(),
                LARGE_COMMUNITIES => {
                    let parts: Vec<u32> = value.as_chunks().0.iter().copied().map(u32::from_be_bytes).collect();
                    attributes.large = parts.as_chunks().0.to_vec();
                }
                _ => {}
            }
        }
        attributes.communities.sort_unstable();
        attributes.extended.sort_unstable();
        attributes.large.sort_unstable();
        attributes
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

fn attribute(flags: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    // Every list here is bounded: at most COMMUNITIES_MAX and the mark, 12 octets each, or those of a blackhole too, 4 each.
    let mut octets = vec![flags, kind, value.len() as u8];
    octets.extend_from_slice(value);
    octets
}

fn attribute_value(octets: &[u8]) -> Option<(u8, &[u8])> {
    match octets {
        [flags, kind, _, _, value @ ..] if flags & FLAG_EXTENDED_LENGTH != 0 => Some((*kind, value)),
        [flags, kind, _, value @ ..] if flags & FLAG_EXTENDED_LENGTH == 0 => Some((*kind, value)),
        _ => None,
    }
}

/// One rule as it stands, or shall stand, at an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announcement {
    key: Key,
    attributes: Attributes,
}

/// Why a rule is not announced.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Encoding(#[from] nlri::Error),
    #[error("{0} communities are more than the {COMMUNITIES_MAX} that one path takes")]
    TooManyCommunities(usize),
    #[error("a blackhole has a destination prefix and nothing else")]
    NotARoute,
    #[error("[bgp] blackhole_next_hops has none of this family")]
    NoNextHop,
}

impl Announcement {
    pub(super) fn new(
        rule: &FlowRule,
        action: &Action,
        mark: Mark,
        communities: &[Community],
        next_hops: &NextHops,
    ) -> Result<Announcement, Refusal> {
        if communities.len() > COMMUNITIES_MAX {
            return Err(Refusal::TooManyCommunities(communities.len()));
        }
        let family = rule.family().ok_or(nlri::Error::NoFamily)?;
        let (kind, nlri, next_hop) = match action {
            Action::Blackhole => {
                let prefix = rule.destination.ok_or(Refusal::NotARoute)?;
                if *rule != (FlowRule { destination: Some(prefix), ..FlowRule::default() }) {
                    return Err(Refusal::NotARoute);
                }
                (Kind::Unicast, route(prefix), Some(next_hops.of(family).ok_or(Refusal::NoNextHop)?))
            }
            _ => (Kind::FlowSpec, nlri::encode(rule)?, None),
        };
        let key = Key { table: Table { family, kind }, nlri, identifier: mark.identifier() };
        Ok(Announcement { key, attributes: Attributes::new(mark, communities, action, next_hop) })
    }

    /// A listed path, where it came by the engine's interface and carries the mark.
    pub(super) fn from_listed(path: gobgp::Path, table: Table, mark: Mark) -> Option<Announcement> {
        let mut attributes = Attributes::decode(&path.pattrs_binary);
        attributes.next_hop = attributes.next_hop.filter(|_| table.kind == Kind::Unicast);
        let ours = path.neighbor_ip == NO_NEIGHBOUR && attributes.large.contains(&mark.0);
        let key = Key { table, nlri: path.nlri_binary, identifier: path.identifier };
        ours.then_some(Announcement { key, attributes })
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    pub(super) fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    pub(super) fn into_parts(self) -> (Key, Attributes) {
        (self.key, self.attributes)
    }

    pub(super) fn to_request(&self) -> gobgp::AddPathRequest {
        let path = gobgp::Path { pattrs_binary: self.attributes.encode(), ..self.key.to_path() };
        gobgp::AddPathRequest { path: Some(path), ..Default::default() }
    }
}

/// A prefix as RFC 4271 section 4.3 has it: its length, and as many octets as that takes.
fn route(prefix: IpNet) -> Vec<u8> {
    let octets = match prefix.network() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let length = prefix.prefix_len();
    [&[length], &octets[..usize::from(length.div_ceil(8))]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark([64_512, 7_653, 1])
    }

    fn rule(destination: &str) -> FlowRule {
        FlowRule { destination: Some(destination.parse().unwrap()), ..FlowRule::default() }
    }

    #[test]
    fn marks_have_identifiers_of_their_own() {
        let others = [[64_512, 7_653, 2], [64_512, 7_654, 1], [64_513, 7_653, 1]];
        assert_ne!(mark().identifier(), 0);
        for other in others {
            assert_ne!(mark().identifier(), Mark(other).identifier(), "{other:?}");
        }
    }

    #[test]
    fn a_path_has_all_that_an_engine_asks_for() {
        let communities =
            [Community::Standard(0xfde8_0002), Community::Large([1, 2, 3]), Community::Standard(0xfde8_0001)];
        let announcement =
            Announcement::new(&rule("192.0.2.1/32"), &Action::Discard, mark(), &communities, &NextHops::default())
                .unwrap();
        let path = announcement.to_request().path.unwrap();
        assert_eq!(path.family, Some(gobgp::Family { afi: 1, safi: 133 }));
        assert_eq!(path.identifier, mark().identifier());
        assert_eq!(path.nlri_binary, [6, 1, 32, 192, 0, 2, 1]);
        let expected: [&[u8]; 5] = [
            &[0x40, 1, 1, 0],
            &[0x40, 3, 4, 0, 0, 0, 0],
            &[0xc0, 8, 8, 0xfd, 0xe8, 0, 1, 0xfd, 0xe8, 0, 2],
            &[0xc0, 16, 8, 0x80, 6, 0, 0, 0, 0, 0, 0],
            &[0xc0, 32, 24, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0xfc, 0, 0, 0, 0x1d, 0xe5, 0, 0, 0, 1],
        ];
        assert_eq!(path.pattrs_binary, expected);
    }

    #[test]
    fn what_is_listed_equals_what_was_sent() {
        for destination in ["192.0.2.0/24", "2001:db8::1/128"] {
            let sent = Announcement::new(
                &rule(destination),
                &Action::RatePps(7),
                mark(),
                &[Community::Standard(9)],
                &NextHops::default(),
            )
            .unwrap();
            let table = sent.key().table;
            let listed = gobgp::Path { neighbor_ip: "<nil>".to_owned(), ..sent.to_request().path.unwrap() };
            assert_eq!(Announcement::from_listed(listed.clone(), table, mark()), Some(sent));
            let from_peer = gobgp::Path { neighbor_ip: "192.0.2.9".to_owned(), ..listed.clone() };
            assert_eq!(Announcement::from_listed(from_peer, table, mark()), None);
            let other = Mark([64_512, 7_653, 2]);
            assert_eq!(Announcement::from_listed(listed, table, other), None);
        }
    }

    #[test]
    fn attributes_are_read_whatever_their_length_and_order() {
        let long = [&[0xd0, 32, 0, 24], &[0, 0, 0, 2].repeat(3)[..], &[0, 0, 0, 1].repeat(3)[..]].concat();
        let attributes = Attributes::decode(&[vec![0xc0], long, vec![0xc0, 8, 6, 0, 0, 0, 1, 0, 0], vec![]]);
        assert_eq!(attributes.large, [[1; 3], [2; 3]]);
        assert_eq!(attributes.communities, [1]);
    }

    #[test]
    fn a_blackhole_is_a_route_with_its_communities_and_next_hop() {
        let next_hops = NextHops { v4: Some([192, 0, 2, 66].into()), v6: Some("100::1".parse().unwrap()) };
        let blackhole = |destination: &str, next_hops| {
            Announcement::new(&rule(destination), &Action::Blackhole, mark(), &[Community::Standard(9)], &next_hops)
        };
        let path = blackhole("198.18.0.0/23", next_hops).unwrap().to_request().path.unwrap();
        assert_eq!((path.family, path.nlri_binary), (Some(gobgp::Family { afi: 1, safi: 1 }), vec![23, 198, 18, 0]));
        let expected: [&[u8]; 4] = [
            &[0x40, 1, 1, 0],
            &[0x40, 3, 4, 192, 0, 2, 66],
            &[0xc0, 8, 12, 0, 0, 0, 9, 0xff, 0xff, 2, 0x9a, 0xff, 0xff, 0xff, 1],
            &[0xc0, 32, 12, 0, 0, 0xfc, 0, 0, 0, 0x1d, 0xe5, 0, 0, 0, 1],
        ];
        assert_eq!(path.pattrs_binary, expected);

        // As GoBGP lists one of IPv6: the next hop within MP_REACH_NLRI.
        let sent = blackhole("2001:db8::1/128", next_hops).unwrap();
        let mut path = gobgp::Path { neighbor_ip: NO_NEIGHBOUR.to_owned(), ..sent.to_request().path.unwrap() };
        assert_eq!((path.family, path.nlri_binary.len()), (Some(gobgp::Family { afi: 2, safi: 1 }), 17));
        path.pattrs_binary[1] =
            [&[0x80, 14, 38, 0, 2, 1, 16], &next_hops.v6.unwrap().octets()[..], &[0], &path.nlri_binary].concat();
        assert_eq!(Announcement::from_listed(path.clone(), Table::UNICAST[1], mark()), Some(sent));
        // Another next hop is another route.
        path.pattrs_binary[1][22] = 2;
        let listed = Announcement::from_listed(path, Table::UNICAST[1], mark()).unwrap();
        assert_ne!(listed.attributes(), blackhole("2001:db8::1/128", next_hops).unwrap().attributes());

        let none = blackhole("2001:db8::1/128", NextHops { v6: None, ..next_hops });
        assert!(matches!(none, Err(Refusal::NoNextHop)));
        let rule = FlowRule { protocols: [(17, 17)].into_iter().collect(), ..rule("198.18.0.1/32") };
        let narrow = Announcement::new(&rule, &Action::Blackhole, mark(), &[], &next_hops);
        assert!(matches!(narrow, Err(Refusal::NotARoute)));
    }

    #[test]
    fn a_withdrawal_names_its_path() {
        let announcement =
            Announcement::new(&rule("2001:db8::/32"), &Action::Discard, mark(), &[], &NextHops::default()).unwrap();
        let request = announcement.key().to_withdrawal();
        let path = request.path.expect("without a path it would delete everything");
        assert_eq!(request.family, Some(gobgp::Family { afi: 2, safi: 133 }));
        assert!(path.is_withdraw);
        assert_eq!((path.nlri_binary, path.identifier), (announcement.key().nlri.clone(), mark().identifier()));
    }

    #[test]
    fn what_cannot_be_announced_is_refused() {
        assert!(matches!(
            Announcement::new(&FlowRule::default(), &Action::Discard, mark(), &[], &NextHops::default()),
            Err(Refusal::Encoding(_))
        ));
        let communities = vec![Community::Standard(1); COMMUNITIES_MAX + 1];
        assert!(matches!(
            Announcement::new(&rule("192.0.2.1/32"), &Action::Discard, mark(), &communities, &NextHops::default()),
            Err(Refusal::TooManyCommunities(17))
        ));
    }
}
