//! What came for hosts of the hashed tables. IPv6 hosts stand in a list; each worker's slots know the place of theirs in it, so
//! that a million of them cost no look-up by address. IPv4 hosts, which come here only where blocks ran out, are handed on.
//!
//! A host may have a slot with each worker. Rates and accounts are sums, so each worker's part is added as it is found.
//! Thresholds need the whole: a host whose parts may exceed one is noted, and in the end what came for those noted is put
//! together from a log.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use dataplane::hosts::{self, BLOCK, PLANES};
use dataplane::networks::NetworkId;
use dataplane::packet::Class;

use super::seen::{Change, Delta, Ticks, Touched};
use super::smooth::Step;
use super::{Account, HostRates, Map, Meter, Tick, observe};
use crate::attack::{Direction, Target};

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed(4))]
struct Came {
    packets: u32,
    bytes: u64,
}

/// An IPv6 host.
#[derive(Debug)]
struct Host {
    key: u128,
    rates: HostRates,
    /// What came within the tick so far: packets and bytes, incoming and outgoing.
    came: [Came; 2],
    group: u16,
    network: NetworkId,
    /// Beyond all, where there are no units.
    unit: u16,
    /// The tick of its last traffic.
    touched: u32,
    /// The tick in which it was last noted.
    noted: u32,
}

/// Where hosts are summed up.
struct Sums<'a> {
    networks: &'a mut [Account],
    groups: &'a mut [Account],
    units: &'a mut [Delta],
}

/// The network, the group and the unit of a protected host.
fn places(host: IpAddr, map: &Map) -> Option<(NetworkId, u16, u16)> {
    let unit = map.unit(host).map_or(u16::MAX, |unit| unit as u16);
    Some((map.networks.find(host)?, map.group_index(host) as u16, unit))
}

/// A change, and whose it is.
type Logged = (u32, Change);

/// The IPv6 hosts that had traffic lately.
#[derive(Debug, Default)]
pub(super) struct Ipv6 {
    hosts: Vec<Host>,
    by_key: HashMap<u128, u32>,
    /// Most of them.
    max: usize,
    /// By worker and hashed slot: its host's place in the list, if the key there is the slot's.
    at: Vec<Vec<u32>>,
    // Of the tick that is being read; kept, so that none allocates.
    log: Vec<Logged>,
    noted: Vec<u32>,
    active: u64,
}

impl Ipv6 {
    /// For workers with so many hashed slots each.
    pub(super) fn new(slots: impl Iterator<Item = usize>) -> Ipv6 {
        let at: Vec<Vec<u32>> = slots.map(|slots| vec![0; slots]).collect();
        let max = 2 * at.iter().map(Vec::len).sum::<usize>();
        Ipv6 { at, max, ..Ipv6::default() }
    }

    /// Bytes for each slot, at most.
    pub(super) fn bytes_max(entry: impl Fn(usize) -> usize) -> usize {
        let host = 2 * size_of::<Host>() + entry(size_of::<(u128, u32)>());
        size_of::<u32>() + 2 * host + PLANES * 2 * size_of::<Logged>()
    }

    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Key, rates, and tick of the last traffic.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u128, &HostRates, u32)> {
        self.hosts.iter().map(|host| (host.key, &host.rates, host.touched))
    }

    pub(super) fn get(&self, key: u128) -> Option<&HostRates> {
        self.by_key.get(&key).map(|&index| &self.hosts[index as usize].rates)
    }

    /// The place in the list of a slot's host.
    #[inline]
    fn index(&mut self, worker: usize, place: u32, key: u128, map: &Map) -> Option<u32> {
        let known = self.at[worker][place as usize];
        if self.hosts.get(known as usize).is_some_and(|host| host.key == key) {
            return Some(known);
        }
        let index = match self.by_key.get(&key) {
            Some(&index) => index,
            None => self.insert(key, map)?,
        };
        self.at[worker][place as usize] = index;
        Some(index)
    }

    #[cold]
    fn insert(&mut self, key: u128, map: &Map) -> Option<u32> {
        let host = hosts::host(key);
        let (network, group, unit) = places(host, map)?;
        let index = self.hosts.len() as u32;
        let (rates, came) = (HostRates::default(), Default::default());
        self.hosts.push(Host { key, rates, came, group, network, unit, touched: 0, noted: 0 });
        self.by_key.insert(key, index);
        Some(index)
    }

    /// Adds a part of what came for a host.
    #[inline]
    fn add(&mut self, index: u32, change: &Change, step: Step, map: &Map, sums: Sums) {
        let host = &mut self.hosts[index as usize];
        if host.touched != step.tick {
            host.touched = step.tick;
            host.came = Default::default();
            host.rates.rates.iter_mut().for_each(|rates| rates.begin(step));
            self.active += 1;
        }
        sums.networks[usize::from(host.network)].balance.add_change(change);
        sums.groups[usize::from(host.group)].balance.add_change(change);
        if let Some(unit) = sums.units.get_mut(usize::from(host.unit)) {
            unit.add_change(change);
        }
        let plane = usize::from(change.plane);
        let side = 2 * plane / PLANES;
        let kind = (plane / Class::COUNT % 2 == 1, plane % Class::COUNT);
        let rates = &mut host.rates.rates[side];
        rates.add(step, kind, change.packets, change.bytes);
        let before = host.came[side];
        let came = Came { packets: before.packets.saturating_add(change.packets), bytes: before.bytes + change.bytes };
        host.came[side] = came;
        self.log.push((index, *change));
        let direction = Direction::ALL[side];
        if host.noted != step.tick
            && (map.may_exceed(direction, (came.packets.into(), came.bytes), step.seconds)
                || map.may_have_flows(direction, || rates.of(&Class::ALL).0))
        {
            host.noted = step.tick;
            self.noted.push(index);
        }
    }

    /// Notes the followed ones that had traffic.
    fn note_followed(&mut self, followed: &HashSet<Target>, step: Step) {
        for target in followed {
            let IpAddr::V6(address) = target.prefix.addr() else { continue };
            if let Some(&index) = self.by_key.get(&address.into()) {
                let host = &mut self.hosts[index as usize];
                if host.touched == step.tick && host.noted != step.tick {
                    host.noted = step.tick;
                    self.noted.push(index);
                }
            }
        }
    }

    /// What came for those noted, by their place in the list.
    fn came_for_noted(&self, step: Step) -> BTreeMap<u32, Delta> {
        let mut came: BTreeMap<u32, Delta> = self.noted.iter().map(|&index| (index, Delta::default())).collect();
        if !came.is_empty() {
            for (index, change) in self.log.iter().filter(|(index, _)| self.hosts[*index as usize].noted == step.tick) {
                came.entry(*index).or_default().add_change(change);
            }
        }
        came
    }

    /// Hosts belong to these networks and groups now; those that are in no network go.
    pub(super) fn replace(&mut self, map: &Map) {
        self.retain_hosts(|host| {
            let places = places(hosts::host(host.key), map);
            if let Some(places) = places {
                (host.network, host.group, host.unit) = places;
            }
            places.is_some()
        });
    }

    /// Keeps those whose last traffic was in such a tick.
    pub(super) fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        self.retain_hosts(|host| keep(host.touched));
    }

    /// Costs by how many go: the others stay where they are, but for those that take the places of the gone.
    fn retain_hosts(&mut self, mut keep: impl FnMut(&mut Host) -> bool) {
        let mut index = 0;
        while let Some(host) = self.hosts.get_mut(index) {
            if keep(host) {
                index += 1;
                continue;
            }
            let gone = self.hosts.swap_remove(index);
            self.by_key.remove(&gone.key);
            if let Some(moved) = self.hosts.get(index) {
                self.by_key.insert(moved.key, index as u32);
            }
        }
    }
}

impl Meter {
    /// Reads the hashed tables; what came for IPv4 hosts there is given back.
    pub(super) fn tick_ipv6(&mut self, ticks: Ticks, step: Step, result: &mut Tick) -> BTreeMap<u32, Delta> {
        let ipv4 = self.take_hashed(ticks, step);
        self.ipv6.note_followed(&self.followed, step);
        for (index, delta) in self.ipv6.came_for_noted(step) {
            let host = &self.ipv6.hosts[index as usize];
            let came = Direction::ALL.map(|direction| delta.volumes(direction));
            let (address, came) = (hosts::host(host.key), [Some(&came[0]), Some(&came[1])]);
            observe(&self.map, Some(&self.followed), address, came, &host.rates, step, &mut result.observed);
        }
        result.active += std::mem::take(&mut self.ipv6.active);
        self.ipv6.noted.clear();
        self.ipv6.log.clear();
        // A scan leaves rates of hosts that lost their slots at once. One tick brings no more than there are slots.
        if self.ipv6.len() > self.ipv6.max {
            self.ipv6.retain(|touched| touched == step.tick);
        }
        ipv4
    }

    fn take_hashed(&mut self, ticks: Ticks, step: Step) -> BTreeMap<u32, Delta> {
        let Meter { workers, map, accounts, group_accounts, units, ipv6, .. } = self;
        let mut ipv4 = BTreeMap::<u32, Delta>::new();
        let (mut came, mut moved) = (Vec::with_capacity(BLOCK * PLANES), Vec::with_capacity(BLOCK));
        let mut found = Vec::<Logged>::with_capacity(BLOCK * PLANES);
        let blocks = workers.first().map_or(0..0, |(shared, _)| shared.slab.ipv6_blocks());
        // All workers have the same buckets: a host stands in the same block with most of them.
        for block in blocks {
            for (worker, (shared, seen)) in workers.iter_mut().enumerate() {
                let slab = &shared.slab;
                let planes = Touched::of(slab, block, ticks);
                if !planes.any() {
                    continue;
                }
                seen.take_hashed(slab, block, planes, ticks, &mut came, &mut moved);
                for (old, counts) in moved.drain(..) {
                    let Some(id) = map.networks.find(hosts::host(old)) else { continue };
                    accounts[usize::from(id)].balance.subtract(&counts);
                    // The network's group gets them with the network; the host's own group has had them.
                    group_accounts[map.group_of_rest(id)].balance.subtract(&counts);
                    if let Some(unit) = map.units.as_ref().and_then(|known| known.of_network(id)) {
                        units[unit].subtract(&counts);
                    }
                }
                // Found first and written then: so the CPU fetches several hosts at a time.
                for change in came.drain(..) {
                    let key = seen.key(change.place);
                    if let Some(address) = ipv4_of(key) {
                        ipv4.entry(address).or_default().add_change(&change);
                    } else if let Some(index) = ipv6.index(worker, change.place, key, map) {
                        found.push((index, change));
                    }
                }
                for (index, change) in found.drain(..) {
                    ipv6.add(index, &change, step, map, Sums { networks: accounts, groups: group_accounts, units });
                }
            }
        }
        ipv4
    }
}

/// The address of an IPv4 host's key.
fn ipv4_of(key: u128) -> Option<u32> {
    match hosts::host(key) {
        IpAddr::V4(address) => Some(address.into()),
        IpAddr::V6(_) => None,
    }
}
