//! Going over to other networks and groups while counters go on. Networks are known by their numbers, which those that stay
//! keep, groups by their names.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use dataplane::hosts;

use super::{Delta, HostRates, Map, Meter, Units};

impl Meter {
    /// From now on hosts belong to these networks and groups. Call it right after a tick: what was counted before has its old
    /// places then. What was seen of counters stays, so that nothing counts twice or is lost.
    pub fn replace(&mut self, map: Map) {
        let old = std::mem::replace(&mut self.map, map);
        let map = &self.map;
        let same = |id: usize| old.networks.get(id as u16).is_some_and(|was| map.networks.get(id as u16) == Some(was));
        let networks: Vec<Option<usize>> = (0..map.networks.places()).map(|id| same(id).then_some(id)).collect();
        let names: HashMap<&str, usize> =
            old.groups.iter().zip(0..).map(|(group, index)| (&*group.name, index)).collect();
        let groups: Vec<Option<usize>> = map.groups.iter().map(|group| names.get(&*group.name).copied()).collect();
        moved(&mut self.accounts, &networks);
        moved(&mut self.group_accounts, &groups);
        self.units = vec![Delta::default(); map.units.as_ref().map_or(0, Units::len)];
        self.sweep.replace(&networks, &groups);
        self.ipv6.replace(map);
        self.hashed.retain(|&key, _| map.networks.find(hosts::host(key)).is_some());
        self.blocks.retain(|&key, block| {
            (block.network, block.group, block.unit) = map.of_block(key);
            if block.network.is_some() {
                return true;
            }
            let mut stays = false;
            for (index, host) in (0..).zip(block.hosts.iter_mut()) {
                match map.network(Ipv4Addr::from(key << 8 | index).into()) {
                    Some(_) => stays = true,
                    None => *host = HostRates::default(),
                }
            }
            stays
        });
    }
}

/// Puts entries to their new places: each from where `from` says, or a blank one.
pub(super) fn moved<T: Default>(entries: &mut Vec<T>, from: &[Option<usize>]) {
    let mut old: Vec<Option<T>> = std::mem::take(entries).into_iter().map(Some).collect();
    let take = |place: &Option<usize>| place.and_then(|place| old.get_mut(place)?.take()).unwrap_or_default();
    entries.extend(from.iter().map(take));
}
