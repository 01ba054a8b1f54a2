//! What stands at an engine for one rule: an [`Announcement`], from a rule (or a route in place of one) to the octets of RFC 4271
//! and 8955. Pure.
//!
//! GoBGP checks next to nothing of what it is given, and routers reset their session over what they dislike. So an
//! [`Announcement`] can only be made from a rule that encodes, and that all routers of the engine's profile take.

use std::net::IpAddr;

use dataplane::rule::{Action, Family, FlowRule, nlri};
use ipnet::IpNet;
use proto::gobgp;
use proto::gobgp::family::{Afi, Safi};

use super::Engine;
use super::community::{Community, Mark, NextHops, Route};
use crate::profile::Unfit;

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
const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
const LARGE_COMMUNITIES: u8 = 32;
/// RFC 7999, and RFC 1997: it stays within the network that it was given to.
const BLACKHOLE: [u32; 2] = [0xffff_029a, 0xffff_ff01];

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

    /// Where our routes are: those in place of rules only where they have a next hop, since those tables may hold all the world's.
    pub(super) fn ours(engine: &Engine) -> impl Iterator<Item = Table> + use<> {
        let unicast = engine.has_next_hops().then_some(Table::UNICAST);
        Table::FLOW_SPEC.into_iter().chain(unicast.into_iter().flatten())
    }

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match (self.family, self.kind) {
            (Family::V4, Kind::FlowSpec) => "ipv4-flowspec",
            (Family::V6, Kind::FlowSpec) => "ipv6-flowspec",
            (Family::V4, Kind::Unicast) => "ipv4-unicast",
            (Family::V6, Kind::Unicast) => "ipv6-unicast",
        }
    }

    /// The same of a family as an engine names it; none where it is none of these.
    pub(super) fn name_of(family: &gobgp::Family) -> Option<&'static str> {
        let all = Table::FLOW_SPEC.into_iter().chain(Table::UNICAST);
        all.into_iter().find(|table| table.to_family() == *family).map(Table::name)
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
    /// The table that it is in, for people.
    pub(super) fn table_name(&self) -> &'static str {
        self.table.name()
    }

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Attributes {
    /// Of a route in place of a rule; that of a rule means nothing.
    next_hop: Option<IpAddr>,
    communities: Vec<u32>,
    extended: Vec<[u8; 8]>,
    /// RFC 5701.
    ipv6_extended: Vec<[u8; 20]>,
    large: Vec<[u32; 3]>,
}

impl Attributes {
    fn new(action: &Action, next_hop: Option<IpAddr>, communities: &[Community], mark: Mark) -> Attributes {
        let mut attributes = Attributes {
            next_hop,
            communities: if *action == Action::Blackhole { BLACKHOLE.to_vec() } else { Vec::new() },
            extended: action.extended_communities(),
            ipv6_extended: action.ipv6_extended_community().into_iter().collect(),
            large: vec![mark.0],
        };
        for community in communities {
            match *community {
                Community::Standard(value) => attributes.communities.push(value),
                Community::Large(parts) => attributes.large.push(parts),
                Community::Extended(octets) => attributes.extended.push(octets),
            }
        }
        attributes.sort();
        attributes
    }

    fn sort(&mut self) {
        self.communities.sort_unstable();
        self.communities.dedup();
        self.extended.sort_unstable();
        self.extended.dedup();
        self.large.sort_unstable();
        self.large.dedup();
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
            (IPV6_EXTENDED_COMMUNITIES, self.ipv6_extended.concat()),
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
                IPV6_EXTENDED_COMMUNITIES => attributes.ipv6_extended = value.as_chunks().0.to_vec(),
                LARGE_COMMUNITIES => {
                    let parts: Vec<u32> = value.as_chunks().0.iter().copied().map(u32::from_be_bytes).collect();
                    attributes.large = parts.as_chunks().0.to_vec();
                }
                _ => {}
            }
        }
        attributes.sort();
        attributes
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

fn attribute(flags: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    // Every list here is bounded: at most COMMUNITIES_MAX and the mark, 12 octets each, or what an action has, 8 each.
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Announcement {
    key: Key,
    attributes: Attributes,
}

/// Why a rule is not announced.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("{0} communities are more than the {COMMUNITIES_MAX} that one path takes")]
    TooManyCommunities(usize),
    #[error("{0} is a default route")]
    DefaultRoute(IpNet),
    #[error("a {0} has a destination prefix and nothing else")]
    NotARoute(Action),
    #[error("[bgp] {0} has none of this family")]
    NoNextHop(&'static str),
    #[error("{0} is no address that a route can lead to")]
    BadNextHop(IpAddr),
    #[error("{0} has the next hop {1} within it")]
    OwnNextHop(IpNet, IpAddr),
}

impl Announcement {
    pub(super) fn new(rule: &FlowRule, action: &Action, engine: &Engine) -> Result<Announcement, Refusal> {
        if let Some(all) = [rule.destination, rule.source].into_iter().flatten().find(|prefix| prefix.prefix_len() == 0)
        {
            return Err(Refusal::DefaultRoute(all));
        }
        let encoded = nlri::encode_within(rule, engine.profile.items_max).map_err(Unfit::from)?;
        engine.profile.check(rule, action)?;
        let family = rule.family().ok_or(Unfit::from(nlri::Error::NoFamily))?;
        let (kind, nlri, next_hop, more) = match engine.route(action) {
            Some((key, route)) => {
                let prefix = rule.destination.filter(|prefix| *rule == to(*prefix));
                let prefix = prefix.ok_or(Refusal::NotARoute(*action))?;
                let next_hop = next_hop(key, route, family, prefix)?;
                (Kind::Unicast, route_nlri(prefix), Some(next_hop), route.communities.as_slice())
            }
            None => (Kind::FlowSpec, encoded, None, &[][..]),
        };
        let communities = [&engine.communities, more].concat();
        if communities.len() > COMMUNITIES_MAX {
            return Err(Refusal::TooManyCommunities(communities.len()));
        }
        let key = Key { table: Table { family, kind }, nlri, identifier: engine.mark.identifier() };
        Ok(Announcement { key, attributes: Attributes::new(action, next_hop, &communities, engine.mark) })
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

/// All that goes to a prefix.
fn to(prefix: IpNet) -> FlowRule {
    FlowRule { destination: Some(prefix), ..FlowRule::default() }
}

/// Where a route leads: to a host, of the prefix's own family, that it does not itself lead away from.
fn next_hop(key: &'static str, route: &Route, family: Family, prefix: IpNet) -> Result<IpAddr, Refusal> {
    let next_hop = route.next_hops.of(family).ok_or(Refusal::NoNextHop(key))?;
    if !NextHops::is_good(next_hop) {
        return Err(Refusal::BadNextHop(next_hop));
    }
    if prefix.contains(&next_hop) { Err(Refusal::OwnNextHop(prefix, next_hop)) } else { Ok(next_hop) }
}

/// A prefix as RFC 4271 section 4.3 has it: its length, and as many octets as that takes.
fn route_nlri(prefix: IpNet) -> Vec<u8> {
    let octets = match prefix.network() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let length = prefix.prefix_len();
    [&[length], &octets[..usize::from(length.div_ceil(8))]].concat()
}

#[cfg(test)]
mod tests;
