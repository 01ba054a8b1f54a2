//! What hosts belong to: protected networks, host groups, and units.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use dataplane::networks::{self, NetworkId, Networks};
use dataplane::rule::Action;
use ipnet::IpNet;

use super::units::Units;
use crate::attack::{self, Direction, Target, Thresholds, Unit};
use crate::detector::Place;
use crate::group::{Group, LastResort};
use crate::profile::Profile;

/// What hosts belong to: protected networks and host groups, by longest prefix.
#[derive(Debug)]
pub struct Map {
    pub(super) networks: Arc<Networks>,
    pub(super) groups: Arc<[Group]>,
    pub(super) prefixes: Networks,
    pub(super) group_of_prefix: Vec<u16>,
    /// Below these rates, packets and bits a second, no threshold of any group can be crossed.
    pub(super) floor: [(f64, f64); 2],
    /// The same for flows a second; infinite where no group minds.
    pub(super) flow_floor: [f64; 2],
    pub(super) ipv6_prefix_length: u8,
    /// What is looked at as a whole.
    pub(super) units: Option<Units>,
}

impl Map {
    /// Of these networks and groups; the first group is the default one. No IPv6 prefix among them is longer than a host's.
    ///
    /// # Errors
    /// When there are too many prefixes.
    pub fn new(networks: Arc<Networks>, groups: Vec<Group>, ipv6_prefix_length: u8) -> Result<Map, networks::Error> {
        let prefixes: Vec<IpNet> = groups.iter().flat_map(|group| group.networks.iter().copied()).collect();
        let group_of_prefix =
            groups.iter().zip(0u16..).flat_map(|(group, index)| group.networks.iter().map(move |_| index)).collect();
        let lowest = |direction: usize, unit| {
            let lowest = groups.iter().filter_map(|group| group.thresholds[direction].lowest(unit)).min();
            lowest.map_or(f64::INFINITY, |rate| rate as f64)
        };
        let floor = [0, 1].map(|direction| (lowest(direction, Unit::Pps), lowest(direction, Unit::Bps)));
        let flow_floor = [0, 1].map(|direction| lowest(direction, Unit::Fps));
        let prefixes = Networks::new(&prefixes)?;
        let units = Units::new(&networks, &groups, ipv6_prefix_length)?;
        let groups = groups.into();
        Ok(Map { networks, groups, prefixes, group_of_prefix, floor, flow_floor, ipv6_prefix_length, units })
    }

    /// The host that an address counts for, as the prefix of all its addresses.
    pub fn host(&self, address: IpAddr) -> IpNet {
        attack::host(address, self.ipv6_prefix_length)
    }

    /// Every group, the default one first.
    pub fn groups(&self) -> Arc<[Group]> {
        Arc::clone(&self.groups)
    }

    /// The group of a host.
    pub fn group(&self, host: IpAddr) -> &Group {
        &self.groups[self.group_index(host)]
    }

    /// The group of a target; none where nothing is counted for it.
    pub fn group_of(&self, target: IpNet) -> Option<&Group> {
        let host = Some(target.addr()).filter(|&address| self.host(address) == target);
        let host = host.filter(|&address| self.network(address).is_some()).map(|address| self.group(address));
        host.or_else(|| Some(&self.groups[self.units.as_ref()?.group_of(target)?]))
    }

    /// The group of a prefix of ours: that of a host or network that is counted as such, or else of the first address.
    pub fn group_around(&self, prefix: IpNet) -> &Group {
        self.group_of(prefix).unwrap_or_else(|| self.group(prefix.addr()))
    }

    /// What holds for a target; none where nothing is counted for it. For a rule by hand (`is_order`) any prefix of ours will
    /// do.
    pub fn place(&self, Target { prefix, direction }: &Target, is_order: bool) -> Option<Place> {
        let is_ours = self.group_of(*prefix).is_some() || is_order && self.protects(*prefix);
        let group = Some(self.group_around(*prefix)).filter(|_| is_ours)?;
        let is_host = self.host(prefix.addr()) == *prefix;
        let (thresholds, of_group) = match is_host {
            true => (group.thresholds_of(prefix.addr(), *direction), Default::default()),
            false => (group.thresholds_of_network(*prefix, *direction), group.thresholds_of_all(*prefix, *direction)),
        };
        let last_resort = if is_host { group.last_resort } else { last_resort(*prefix, group, &self.groups) };
        Some(Place { group: Arc::clone(&group.name), last_resort, thresholds, of_group })
    }

    /// What the routers of a prefix take: of the group around it, and of each that has a part of it.
    pub fn profile(&self, prefix: IpNet) -> Profile {
        let longest_around = |group: &Group| {
            let around = group.networks.iter().filter(|network| network.contains(&prefix));
            around.map(IpNet::prefix_len).max()
        };
        let around = self
            .groups
            .iter()
            .filter(|group| longest_around(group).is_some())
            .max_by_key(|group| longest_around(group));
        let has_part = |group: &&Group| group.networks.iter().any(|network| prefix.contains(network));
        let whole = around.unwrap_or(&self.groups[0]).profile.clone();
        self.groups.iter().filter(has_part).fold(whole, |profile, part| profile.and(&part.profile))
    }

    /// Networks of groups that are only monitored, within one of a group that is not.
    pub fn monitored_within(&self, network: IpNet) -> impl Iterator<Item = IpNet> + '_ {
        let is_monitored = self.group_of(network).is_some_and(|group| group.monitor_only);
        monitored(&self.groups).filter(move |within| !is_monitored && network.contains(within))
    }

    /// The unit of a host.
    pub(super) fn unit(&self, host: impl Into<IpAddr>) -> Option<usize> {
        self.units.as_ref()?.find(host.into())
    }

    pub(super) fn group_index(&self, host: IpAddr) -> usize {
        self.prefixes.find(host).map_or(0, |prefix| self.group_of_prefix[usize::from(prefix)].into())
    }

    /// The group of what was counted for none of a network's hosts: that of its first address.
    pub(super) fn group_of_rest(&self, network: NetworkId) -> usize {
        self.networks.get(network).map_or(0, |network| self.group_index(network.network()))
    }

    /// The network, the group and the unit that all hosts of a /24 have.
    pub(super) fn of_block(&self, key: u32) -> (Option<NetworkId>, Option<usize>, Option<usize>) {
        let of_all = |find: &dyn Fn(Ipv4Addr) -> Option<usize>| {
            let first = find((key << 8).into());
            first.filter(|_| (1..256).all(|index| find((key << 8 | index).into()) == first))
        };
        let network = of_all(&|host| self.networks.find(host.into()).map(usize::from));
        let group = of_all(&|host| Some(self.group_index(host.into())));
        (network.map(|network| network as NetworkId), group, of_all(&|host| self.unit(host)))
    }

    /// The protected network of a host.
    pub fn network(&self, host: IpAddr) -> Option<IpNet> {
        self.networks.find(host).and_then(|id| self.networks.get(id))
    }

    /// Whether all of a prefix lies within one protected network.
    pub fn protects(&self, prefix: IpNet) -> bool {
        self.networks.iter().any(|(_, network)| network.contains(&prefix))
    }

    /// What of a network belongs to a group that is only monitored: all of it, or one of the group's networks in it.
    pub fn monitored_part(&self, network: IpNet) -> Option<IpNet> {
        if self.group_around(network).monitor_only { Some(network) } else { self.monitored_within(network).next() }
    }

    /// Why nothing may be announced for a prefix, which may be wider than the target that it is for.
    ///
    /// # Errors
    /// In words.
    pub fn may_announce(&self, target: IpNet, prefix: IpNet) -> Result<(), String> {
        if !self.protects(prefix) {
            return Err("lies in no protected network".to_owned());
        }
        match self.monitored_part(prefix).filter(|_| prefix.prefix_len() < target.prefix_len()) {
            Some(part) => Err(format!("holds {part}, whose host group is monitor_only")),
            None => Ok(()),
        }
    }

    /// What is done with what a mined rule matches: what the group of the target says, where it would be discarded.
    pub fn action(&self, target: &Target, mined: Action) -> Action {
        match mined {
            Action::Discard => self.group_around(target.prefix).actions[target.direction as usize],
            other => other,
        }
    }

    /// Over these thresholds the last resort of a target's group comes at once.
    pub fn escalation(&self, target: &Target) -> Thresholds {
        let group = self.group_around(target.prefix);
        if group.watches(target.prefix.addr()) {
            group.escalation[target.direction as usize]
        } else {
            Default::default()
        }
    }

    /// How many protected networks there are.
    pub fn networks_count(&self) -> usize {
        self.networks.iter().count()
    }

    /// Whether so many packets and bytes may be too many for some group.
    pub(super) fn may_exceed(&self, direction: Direction, (packets, bytes): (u64, u64), seconds: f64) -> bool {
        let (pps, bps) = self.floor[direction as usize];
        packets as f64 > pps * seconds || bytes as f64 * 8.0 > bps * seconds
    }
}

/// Networks of groups that are only monitored.
fn monitored(groups: &[Group]) -> impl Iterator<Item = IpNet> + '_ {
    groups.iter().filter(|group| group.monitor_only).flat_map(|group| &group.networks).copied()
}

/// What a group does about one of its networks when no more rules are allowed. None is taken off the net as a whole, nor
/// limited or diverted where a part of it is only monitored.
pub(super) fn last_resort(network: IpNet, group: &Group, groups: &[Group]) -> LastResort {
    let may_limit = group.monitor_only || !monitored(groups).any(|part| network.contains(&part));
    match group.last_resort {
        LastResort::RateLimit { bps } if may_limit => LastResort::RateLimit { bps },
        LastResort::Divert if may_limit => LastResort::Divert,
        LastResort::RateLimit { .. } | LastResort::Divert | LastResort::Blackhole | LastResort::Nothing => {
            LastResort::Nothing
        }
    }
}
