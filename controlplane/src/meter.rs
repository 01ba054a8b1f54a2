//! Counters to rates, and who is busiest. Reads what workers count, once a tick and only where something was touched;
//! hands the detector every host that is over a threshold within the tick, and every host that it follows. Values in,
//! values out: the tick's length is an argument.

mod counted;
mod flows;
mod footprint;
mod ipv6;
mod map;
mod observe;
mod replace;
mod seen;
mod smooth;
mod sweep;
#[cfg(test)]
mod tests;
mod units;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use dataplane::hosts::{self, SILENT_TICKS};
use dataplane::networks::NetworkId;
use dataplane::pipeline::Shared;
use ipnet::IpNet;

use crate::attack::{Direction, Target, Volumes};
use crate::detector::Observed;
pub use crate::group::Group;
use flows::Epochs;
pub use footprint::bytes_max;
use ipv6::Ipv6;
pub use map::Map;
use observe::observe;
use seen::{Came, Delta, Seen, Ticks, Touched};
pub use smooth::Smooth;
use smooth::Step;
use sweep::{Marks, Sweep};
use units::Units;

/// A host with a lower rate, in the unit of the listing's order, is silent.
const ACTIVE_MIN: f64 = 0.01;

/// Smoothed rates of a host.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostRates {
    /// Incoming, outgoing.
    pub rates: [Smooth; 2],
}

/// Rates of a network's or group's hosts together.
#[derive(Clone, Copy, Debug, Default)]
pub struct SumRates {
    /// Smoothed.
    pub smooth: HostRates,
    /// Flows a second, incoming and outgoing; 0 where flows are not counted.
    pub flows: [f64; 2],
}

/// What listings are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Packets a second, both directions.
    Pps,
    /// Bits a second, both directions.
    Bps,
    /// Packets a second of one direction.
    DirectionPps(Direction),
    /// Bits a second of one direction.
    DirectionBps(Direction),
}

/// Rates of hosts in hashed tables, by key, and the tick of their last traffic.
type Hashed = HashMap<u128, (HostRates, u32)>;

/// Hosts of one /24.
#[derive(Debug)]
struct Block {
    hosts: Box<[HostRates; 256]>,
    /// The network of all its hosts; `None`: look it up for each.
    network: Option<NetworkId>,
    /// The group of all its hosts; `None`: look it up for each.
    group: Option<usize>,
    /// The same for units; `None` also where there are none.
    unit: Option<usize>,
    followed: u32,
    touched: u32,
    /// Hosts that may have flows in an epoch.
    marks: Marks,
}

/// A total that may owe: counts that moved from a host to its network arrive in the network's slot at another moment
/// than they leave the host.
#[derive(Debug, Default)]
struct Account {
    balance: Delta,
    rates: [Smooth; 2],
    /// Flows a second.
    flows: [f64; 2],
}

/// The meter.
#[derive(Debug)]
pub struct Meter {
    workers: Vec<(Arc<Shared>, Seen)>,
    map: Map,
    blocks: HashMap<u32, Block>,
    /// IPv4 hosts that workers count in their hashed tables.
    hashed: Hashed,
    /// Most of them.
    hashed_max: usize,
    ipv6: Ipv6,
    accounts: Vec<Account>,
    /// As the accounts of networks, for groups.
    group_accounts: Vec<Account>,
    /// The same for units.
    units: Vec<Delta>,
    followed: HashSet<Target>,
    apart: HashSet<Target>,
    epochs: Epochs,
    sweep: Sweep,
    tick: u32,
    /// Kept from look to look, so that none allocates: blocks that were touched (/24, worker, block), and what came in one.
    touched: Vec<(u32, usize, usize, Touched)>,
    came: Came,
}

/// What one tick gave.
#[derive(Debug, Default)]
pub struct Tick {
    /// Hosts over a threshold within the tick, and followed ones that had traffic, or flows within the last second.
    pub observed: Vec<Observed>,
    /// Hosts with traffic.
    pub active: u64,
}

impl Meter {
    /// A meter over these workers.
    pub fn new(workers: Vec<Arc<Shared>>, map: Map) -> Meter {
        let ipv6 = Ipv6::new(workers.iter().map(|shared| shared.slab.layout().ipv6_slots()));
        let hashed_max = workers.iter().map(|shared| 2 * shared.slab.layout().ipv6_slots()).sum();
        let group_accounts = map.groups.iter().map(|_| Account::default()).collect();
        let accounts = (0..map.networks.places()).map(|_| Account::default()).collect();
        let units = vec![Delta::default(); map.units.as_ref().map_or(0, Units::len)];
        let workers = workers.into_iter().map(|shared| {
            let seen = Seen::new(&shared.slab);
            (shared, seen)
        });
        Meter {
            workers: workers.collect(),
            map,
            blocks: HashMap::new(),
            hashed: HashMap::new(),
            hashed_max,
            ipv6,
            accounts,
            group_accounts,
            units,
            followed: HashSet::new(),
            apart: HashSet::new(),
            epochs: Epochs::default(),
            sweep: Sweep::default(),
            tick: 0,
            touched: Vec::new(),
            came: Came::default(),
        }
    }

    /// What hosts belong to.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Which targets are to be in every [`Tick::observed`] in which they had traffic, and which of them are no part of the
    /// networks around them, nor of their group.
    pub fn follow(&mut self, targets: impl Iterator<Item = Target>, apart: impl Iterator<Item = Target>) {
        self.followed = targets.collect();
        self.apart = apart.collect();
        self.blocks.values_mut().for_each(|block| block.followed = 0);
        for target in &self.followed {
            if let IpAddr::V4(host) = target.prefix.addr()
                && let Some(block) = self.blocks.get_mut(&(u32::from(host) >> 8))
            {
                block.followed += 1;
            }
        }
    }

    /// Reads everything that was touched since the last call. `tick` is the number of the tick that begins now, `seconds`
    /// how long the one that ends really was; `matched` gives what the held rules of a target matched within it.
    pub fn tick(&mut self, tick: u32, seconds: f64, matched: impl Fn(&Target) -> Volumes) -> Tick {
        let mut result = Tick::default();
        let ticks = Ticks::new(self.tick, tick);
        let step = Step::new(tick, seconds);
        self.tick = tick;
        // A host may have a block with one worker and a hashed slot with another.
        let mut ipv4 = self.tick_ipv6(ticks, step, &mut result);
        self.tick_ipv4(ticks, step, &mut ipv4, &mut result);
        self.tick_hashed(ipv4, step, &mut result);
        self.tick_networks(ticks, step);
        self.tick_flows(seconds, &mut result);
        self.tick_units(seconds, &mut result);
        result.observed.iter_mut().for_each(|observed| observed.matched = matched(&observed.target));
        if tick.is_multiple_of(SILENT_TICKS) {
            self.forget(tick);
        }
        result
    }

    /// `elsewhere` holds what came for hosts in hashed tables; those that have a block with some worker are taken out.
    fn tick_ipv4(&mut self, ticks: Ticks, step: Step, elsewhere: &mut BTreeMap<u32, Delta>, result: &mut Tick) {
        let Meter { workers, map, blocks, hashed, accounts, group_accounts, units, followed, touched, came, .. } = self;
        let epoch = workers.first().map_or(0, |(shared, _)| shared.flows.epoch(step.tick));
        touched.clear();
        for (worker, (shared, _)) in workers.iter().enumerate() {
            let used = shared.stats.ipv4_blocks.get() as usize;
            for block in shared.slab.ipv4_blocks().take(used) {
                let planes = Touched::of(&shared.slab, block, ticks);
                if planes.any() {
                    touched.push((shared.slab.head(block).key(), worker, block, planes));
                }
            }
        }
        touched.sort_unstable();
        for sharers in touched.chunk_by(|a, b| a.0 == b.0) {
            came.clear();
            let key = sharers[0].0;
            for &(_, worker, block, planes) in sharers {
                let (shared, seen) = &mut workers[worker];
                seen.take_block(&shared.slab, (key, block), planes, ticks, came);
            }
            while let Some((&address, delta)) = elsewhere.range(key << 8..=key << 8 | 0xff).next() {
                came.add_delta((address & 0xff) as usize, delta);
                elsewhere.remove(&address);
            }
            if came.is_empty() {
                continue;
            }
            let block = blocks.entry(key).or_insert_with(|| {
                let mut block = Block::new(map, followed, key);
                block.take_over(key, hashed);
                block
            });
            block.touched = step.tick;
            block.marks.add(epoch, came.active());
            if let Some(account) = block.network.and_then(|id| accounts.get_mut(usize::from(id))) {
                account.balance.add(&came.total);
            }
            if let Some(group) = block.group {
                group_accounts[group].balance.add(&came.total);
            }
            if let Some(unit) = block.unit {
                units[unit].add(&came.total);
            }
            for index in came.hosts() {
                let address = key << 8 | index as u32;
                let host = Ipv4Addr::from(address);
                result.active += 1;
                for direction in Direction::ALL {
                    if let Some(volumes) = came.get(index, direction) {
                        block.hosts[index].rates[direction as usize].update(step, volumes);
                        if block.network.is_none()
                            && let Some(id) = map.networks.find_v4(address)
                            && let Some(account) = accounts.get_mut(usize::from(id))
                        {
                            account.balance.add_volumes(direction, volumes);
                        }
                        if block.group.is_none() {
                            group_accounts[map.group_index(host.into())].balance.add_volumes(direction, volumes);
                        }
                        if block.unit.is_none()
                            && let Some(unit) = map.unit(host)
                        {
                            units[unit].add_volumes(direction, volumes);
                        }
                    }
                }
                let followed = (block.followed > 0).then_some(&*followed);
                let came = Direction::ALL.map(|direction| came.get(index, direction));
                observe(map, followed, host, came, &block.hosts[index], step, &mut result.observed);
            }
        }
    }

    /// IPv4 hosts that have a slot of a hashed table, and no block with any worker.
    fn tick_hashed(&mut self, came: BTreeMap<u32, Delta>, step: Step, result: &mut Tick) {
        for (address, delta) in came {
            let host = IpAddr::V4(address.into());
            if let Some(id) = self.map.networks.find(host)
                && let Some(account) = self.accounts.get_mut(usize::from(id))
            {
                account.balance.add(&delta);
            }
            self.group_accounts[self.map.group_index(host)].balance.add(&delta);
            if let Some(unit) = self.map.unit(host) {
                self.units[unit].add(&delta);
            }
            result.active += 1;
            let came = Direction::ALL.map(|direction| delta.volumes(direction));
            let rates = self.rates_of(address);
            rates.rates.iter_mut().zip(&came).for_each(|(rates, volumes)| rates.update(step, volumes));
            let rates = *rates;
            let came = [Some(&came[0]), Some(&came[1])];
            observe(&self.map, Some(&self.followed), host, came, &rates, step, &mut result.observed);
        }
        // A scan leaves rates of hosts that lost their slots at once. One tick brings no more than there are slots.
        if self.hashed.len() > self.hashed_max {
            self.hashed.retain(|_, (_, touched)| *touched == self.tick);
        }
    }

    /// Where the rates of an IPv4 host in a hashed table are: with its /24, if that has, or had lately, a block.
    fn rates_of(&mut self, address: u32) -> &mut HostRates {
        if let Some(block) = self.blocks.get_mut(&(address >> 8)) {
            let index = (address & 0xff) as usize;
            let epoch = self.workers.first().map_or(0, |(shared, _)| shared.flows.epoch(self.tick));
            block.marks.add_host(epoch, index);
            return &mut block.hosts[index];
        }
        let (rates, touched) = self.hashed.entry(hosts::key(IpAddr::V4(address.into()))).or_default();
        *touched = self.tick;
        rates
    }

    fn tick_networks(&mut self, ticks: Ticks, step: Step) {
        for (shared, seen) in &mut self.workers {
            for (id, account) in self.accounts.iter_mut().enumerate() {
                let slot = shared.slab.network(id as NetworkId);
                let touched = Touched::of(&shared.slab, slot.block(), ticks);
                if touched.any() {
                    let mut came = Delta::default();
                    seen.take(&shared.slab, slot, touched, &mut came);
                    account.balance.add(&came);
                    self.group_accounts[self.map.group_of_rest(id as NetworkId)].balance.add(&came);
                    let unit = self.map.units.as_ref().and_then(|units| units.of_network(id as NetworkId));
                    if let Some(unit) = unit {
                        self.units[unit].add(&came);
                    }
                }
            }
        }
        for account in self.accounts.iter_mut().chain(&mut self.group_accounts) {
            let settled = account.balance.settle();
            for direction in Direction::ALL {
                account.rates[direction as usize].update(step, &settled.volumes(direction));
            }
        }
    }

    fn forget(&mut self, tick: u32) {
        self.blocks.retain(|_, block| tick.wrapping_sub(block.touched) < SILENT_TICKS);
        self.hashed.retain(|_, (_, touched)| tick.wrapping_sub(*touched) < SILENT_TICKS);
        self.ipv6.retain(|touched| tick.wrapping_sub(touched) < SILENT_TICKS);
    }

    /// The busiest hosts within `prefix`, busiest first, and how many had traffic within the last seconds. A prefix that is
    /// one host, or within one, gives it also when it is silent.
    pub fn busiest(&self, order: Order, limit: usize, prefix: Option<IpNet>) -> (Vec<(IpAddr, HostRates)>, u64) {
        let single = |prefix: IpNet| Some(self.map.host(prefix.addr())).filter(|host| host.contains(&prefix));
        if let Some(host) = prefix.and_then(single) {
            let host = host.addr();
            let rates = self.host(host);
            let hosts = self.map.network(host).map(|_| (host, rates));
            return (hosts.into_iter().collect(), u64::from(rates.by(order) >= ACTIVE_MIN));
        }
        let wanted = |host: &IpAddr| prefix.is_none_or(|prefix| prefix.contains(host));
        let ipv4 = self.blocks.iter().flat_map(|(key, block)| {
            (0u32..)
                .zip(block.hosts.iter())
                .map(move |(index, host)| (IpAddr::from(Ipv4Addr::from(key << 8 | index)), host))
        });
        let hashed = self.hashed.iter().map(|(key, (host, _))| (hosts::host(*key), host));
        let ipv6 = self.ipv6.iter().map(|(key, rates, _)| (hosts::host(key), rates));
        let mut hosts: Vec<(f64, IpAddr, HostRates)> = ipv4
            .chain(hashed)
            .chain(ipv6)
            .filter(|(host, _)| wanted(host))
            .filter_map(|(host, rates)| {
                let now = rates.at(self.tick);
                let rate = now.by(order);
                (rate >= ACTIVE_MIN).then_some((rate, host, now))
            })
            .collect();
        let active = hosts.len() as u64;
        let busier =
            |a: &(f64, IpAddr, HostRates), b: &(f64, IpAddr, HostRates)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if hosts.len() > limit && limit > 0 {
            hosts.select_nth_unstable_by(limit - 1, busier);
        }
        hosts.truncate(limit);
        hosts.sort_by(busier);
        (hosts.into_iter().map(|(_, host, rates)| (host, rates)).collect(), active)
    }

    /// Smoothed rates of one host.
    pub fn host(&self, host: IpAddr) -> HostRates {
        let in_block = match host {
            IpAddr::V4(address) => {
                let address = u32::from(address);
                self.blocks.get(&(address >> 8)).map(|block| block.hosts[(address & 0xff) as usize])
            }
            IpAddr::V6(address) => self.ipv6.get(address.into()).copied(),
        };
        in_block
            .or_else(|| self.hashed.get(&hosts::key(host)).map(|(rates, _)| *rates))
            .map_or_else(HostRates::default, |rates| rates.at(self.tick))
    }

    /// What workers counted for a host since it got its counters, incoming and outgoing: nothing for a host that was never
    /// seen, and `None` where a worker counts for it in a slot that counted for others before.
    pub fn counted(&self, host: IpAddr) -> Option<[Volumes; 2]> {
        let mut sum = [Volumes::default(); 2];
        for (shared, _) in &self.workers {
            let counted = counted::counted(&shared.slab, host)?;
            sum.iter_mut().zip(&counted).for_each(|(sum, counted)| sum.add(counted));
        }
        Some(sum)
    }

    /// What a rule's slot counted since the last look, in its direction.
    pub fn rule(&mut self, slot: u16, direction: Direction) -> Volumes {
        let ticks = Ticks::new(self.tick, self.tick);
        let mut delta = Delta::default();
        for (shared, seen) in &mut self.workers {
            let slot = shared.slab.rule(slot);
            seen.take(&shared.slab, slot, Touched::of(&shared.slab, slot.block(), ticks), &mut delta);
        }
        delta.volumes(direction)
    }

    /// Lets go of what a rule's slot counted so far, however long ago: the slot goes to another rule.
    pub fn forget_rule(&mut self, slot: u16) {
        for (shared, seen) in &mut self.workers {
            seen.skip(&shared.slab, shared.slab.rule(slot));
        }
    }

    /// What each host group has. What hosts that lost their slots at once had is in the group of their network.
    pub fn groups(&self) -> Vec<(Arc<str>, SumRates)> {
        let rates = self.group_accounts.iter().map(|account| account.at(self.tick));
        self.map.groups.iter().map(|group| Arc::clone(&group.name)).zip(rates).collect()
    }

    /// What each protected network has.
    pub fn networks(&self) -> Vec<(IpNet, SumRates)> {
        let rates = |id: NetworkId| self.accounts[usize::from(id)].at(self.tick);
        self.map.networks.iter().map(|(id, network)| (network, rates(id))).collect()
    }
}

impl Account {
    fn at(&self, tick: u32) -> SumRates {
        SumRates { smooth: HostRates { rates: self.rates }.at(tick), flows: self.flows }
    }
}

impl Block {
    fn new(map: &Map, followed: &HashSet<Target>, key: u32) -> Block {
        let here = |target: &&Target| matches!(target.prefix.addr(), IpAddr::V4(host) if u32::from(host) >> 8 == key);
        let (network, group, unit) = map.of_block(key);
        Block {
            hosts: Box::new([HostRates::default(); 256]),
            group,
            network,
            unit,
            followed: followed.iter().filter(here).count() as u32,
            touched: 0,
            marks: Marks::default(),
        }
    }

    /// Takes over the rates of its hosts that were in hashed tables until now.
    fn take_over(&mut self, key: u32, hashed: &mut Hashed) {
        if hashed.is_empty() {
            return;
        }
        for (index, rates) in (0u32..).zip(self.hosts.iter_mut()) {
            if let Some((known, _)) = hashed.remove(&hosts::key(Ipv4Addr::from(key << 8 | index).into())) {
                *rates = known;
            }
        }
    }
}
