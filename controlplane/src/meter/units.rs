//! Networks and groups as a whole. A **unit** is a protected network or a network of a group; each host counts for the longest
//! unit that holds it, and so for all units around that one. Where no group has thresholds on more than hosts, there are none.
//!
//! What has an attack of its own counts for that alone: it is left out of the networks around it, and of its group. So one
//! host under attack is no attack on its network, and networks under attack are none on the rest of their group.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use dataplane::networks::{self, NetworkId, Networks};
use ipnet::IpNet;

use super::map::last_resort;
use super::{Meter, Tick};
use crate::attack::{Direction, Target, Thresholds, Volumes, host};
use crate::detector::{Load, Observed};
use crate::group::{Group, LastResort};

/// A network that is looked at as a whole.
#[derive(Clone, Copy, Debug)]
struct Unit {
    prefix: IpNet,
    group: usize,
    /// The next one around it, which stands before it in the list.
    parent: Option<usize>,
    /// Whether it is a single host: thresholds on hosts hold for it.
    is_host: bool,
    last_resort: LastResort,
}

/// All units, the widest first.
#[derive(Debug)]
pub(super) struct Units {
    list: Vec<Unit>,
    lookup: Networks,
    /// By protected network.
    of_networks: BTreeMap<NetworkId, usize>,
}

impl Units {
    /// None, where no group minds.
    pub(super) fn new(
        protected: &Networks,
        groups: &[Group],
        ipv6_prefix_length: u8,
    ) -> Result<Option<Units>, networks::Error> {
        if !groups.iter().any(Group::minds_networks) {
            return Ok(None);
        }
        let of_groups = groups.iter().enumerate();
        let of_groups: BTreeMap<IpNet, usize> =
            of_groups.flat_map(|(index, group)| group.networks.iter().map(move |net| (*net, index))).collect();
        let mut prefixes: Vec<IpNet> =
            protected.iter().map(|(_, network)| network).chain(of_groups.keys().copied()).collect();
        prefixes.sort_unstable_by_key(|prefix| (prefix.prefix_len(), *prefix));
        prefixes.dedup();
        let places: BTreeMap<IpNet, usize> = prefixes.iter().copied().zip(0..).collect();
        let unit = |&prefix: &IpNet| {
            let group = around(prefix).find_map(|around| of_groups.get(&around)).copied().unwrap_or(0);
            Unit {
                prefix,
                group,
                parent: around(prefix).skip(1).find_map(|around| places.get(&around)).copied(),
                is_host: prefix.prefix_len() >= host(prefix.addr(), ipv6_prefix_length).prefix_len(),
                last_resort: last_resort(prefix, &groups[group], groups),
            }
        };
        Ok(Some(Units {
            list: prefixes.iter().map(unit).collect(),
            lookup: Networks::new(&prefixes)?,
            of_networks: protected.iter().map(|(id, network)| (id, places[&network])).collect(),
        }))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// That of a host.
    pub(super) fn find(&self, host: IpAddr) -> Option<usize> {
        self.lookup.find(host).map(usize::from)
    }

    /// That of what was counted for none of a protected network's hosts.
    pub(super) fn of_network(&self, network: NetworkId) -> Option<usize> {
        self.of_networks.get(&network).copied()
    }

    /// The group whose thresholds hold for a network.
    pub(super) fn group_of(&self, network: IpNet) -> Option<usize> {
        self.list.iter().find(|unit| unit.prefix == network).map(|unit| unit.group)
    }

    /// What holds for a unit by itself.
    fn thresholds(&self, unit: &Unit, groups: &[Group], direction: Direction) -> Thresholds {
        let group = &groups[unit.group];
        match unit.is_host {
            true => group.thresholds_of(unit.prefix.addr(), direction),
            false => group.thresholds_of_network(unit.prefix, direction),
        }
    }

    /// From what came for each unit's own hosts within a tick to what is to be told. `apart` has attacks of their own.
    fn observe(
        &self,
        (groups, followed, apart): (&[Group], &HashSet<Target>, &HashSet<Target>),
        (direction, mut sums, seconds): (Direction, Vec<Volumes>, f64),
        observed: &mut Vec<Observed>,
    ) {
        let target = |unit: &Unit| Target { prefix: unit.prefix, direction };
        for host in observed.iter().filter(|host| apart.contains(&host.target) && host.target.direction == direction) {
            if let Some(unit) = self.find(host.target.prefix.addr()).filter(|&unit| !self.list[unit].is_host) {
                sums[unit] = sums[unit].less(&host.all);
            }
        }
        let alone = sums.clone();
        let is_apart: Vec<bool> = self.list.iter().map(|unit| apart.contains(&target(unit))).collect();
        for (index, unit) in self.list.iter().enumerate().rev() {
            if let Some(parent) = unit.parent.filter(|_| !is_apart[index]) {
                let sum = sums[index];
                sums[parent].add(&sum);
            }
        }
        // What is left of each group, and who has most of that.
        let mut within = is_apart.clone();
        let mut left = vec![Volumes::default(); groups.len()];
        for (index, unit) in self.list.iter().enumerate() {
            within[index] |= unit.parent.is_some_and(|parent| within[parent]);
            if !within[index] && groups[unit.group].watches(unit.prefix.addr()) {
                left[unit.group].add(&alone[index]);
            }
        }
        let over: Vec<Option<_>> = groups
            .iter()
            .zip(&left)
            .map(|(group, left)| group.group_thresholds[direction as usize].worst(left, seconds))
            .collect();
        let mut busiest: Vec<Option<usize>> = vec![None; groups.len()];
        for (index, unit) in self.list.iter().enumerate().filter(|&(index, _)| !within[index]) {
            let Some((metric, ..)) = over[unit.group].filter(|_| groups[unit.group].watches(unit.prefix.addr())) else {
                continue;
            };
            let before = busiest[unit.group].map_or(0.0, |other| alone[other].of(metric));
            if alone[index].of(metric) > before {
                busiest[unit.group] = Some(index);
            }
        }
        for (index, unit) in self.list.iter().enumerate() {
            let (target, all) = (target(unit), sums[index]);
            let is_busiest = busiest[unit.group] == Some(index);
            let thresholds = self.thresholds(unit, groups, direction);
            let is_over = || !unit.is_host && thresholds.worst(&all, seconds).is_some();
            if !is_busiest && !followed.contains(&target) && !is_over() {
                continue;
            }
            let group = &groups[unit.group];
            let of_group = group.thresholds_of_all(unit.prefix, direction);
            let load = (!of_group.is_empty()).then(|| Load {
                thresholds: of_group,
                others: if within[index] { left[unit.group] } else { left[unit.group].less(&all) },
            });
            match observed.iter_mut().find(|observed| unit.is_host && observed.target == target) {
                Some(host) => host.load = load,
                None => observed.push(Observed {
                    target,
                    group: Arc::clone(&group.name),
                    last_resort: if unit.is_host { group.last_resort } else { unit.last_resort },
                    thresholds,
                    seconds,
                    all,
                    matched: Volumes::default(),
                    load,
                }),
            }
        }
    }
}

/// A prefix and all around it, the longest first.
fn around(prefix: IpNet) -> impl Iterator<Item = IpNet> {
    std::iter::successors(Some(prefix), |prefix| prefix.supernet())
}

impl Meter {
    /// Tells networks that are over a threshold within the tick, or the busiest ones of groups that are, and those that are
    /// followed.
    pub(super) fn tick_units(&mut self, seconds: f64, result: &mut Tick) {
        let Meter { map, units: accounts, followed, apart, .. } = self;
        let Some(units) = &map.units else { return };
        let settled: Vec<_> = accounts.iter_mut().map(|account| account.settle()).collect();
        for direction in Direction::ALL {
            let sums = settled.iter().map(|came| came.volumes(direction)).collect();
            units.observe((&map.groups, followed, apart), (direction, sums, seconds), &mut result.observed);
        }
    }
}
