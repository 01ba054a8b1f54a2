//! Flows a second of networks and groups: the sum of what their hosts had in the last complete epoch. While an epoch runs,
//! each tick reads a share of the hosts that had traffic in the one before, whose sketches nobody writes any more.
//!
//! A flow has one source and one destination, so the flows of a network's hosts in a direction are no other host's, too, and
//! add up. The errors of hosts' estimates are independent: that of a sum is as large as a host's only where one host has
//! nearly all flows, and smaller by the root of how many there are where they have equal shares, down to the bias of 1 %
//! that all have. And a sum has no upper end, which the union of sketches would have.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use dataplane::hosts;
use dataplane::packet::Class;

use super::flows::flows_in;
use super::replace::moved;
use super::seen::{Hosts, ones};
use super::{Account, Block, HostRates, Meter};
use crate::attack::Direction;

/// The hosts of a /24 that had traffic, by epoch (even, odd) and direction.
#[derive(Debug, Default)]
pub(super) struct Marks([[Hosts; 2]; 2]);

impl Marks {
    /// At a look in an epoch, these had traffic.
    #[inline]
    pub(super) fn add(&mut self, epoch: u32, active: &[Hosts; 2]) {
        let marks = self.0[epoch as usize % 2].as_flattened_mut();
        marks.iter_mut().zip(active.as_flattened()).for_each(|(marks, active)| *marks |= active);
    }

    /// The same for one host.
    pub(super) fn add_host(&mut self, epoch: u32, index: usize) {
        let mut hosts = Hosts::default();
        hosts[index / 64] = 1 << (index % 64);
        self.add(epoch, &[hosts; 2]);
    }

    /// Those that may have had flows in an epoch, which is over. Looks of the next one have seen the last of its packets.
    fn take(&mut self, epoch: u32) -> [Hosts; 2] {
        let mut marks = std::mem::take(&mut self.0[epoch as usize % 2]);
        let next = self.0[1 - epoch as usize % 2].as_flattened();
        marks.as_flattened_mut().iter_mut().zip(next).for_each(|(marks, next)| *marks |= next);
        marks
    }
}

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    epoch: u32,
    seconds: f64,
    /// The /24s with traffic in the epoch.
    blocks: Vec<u32>,
    /// Keys of hosts with traffic that are in hashed tables, and whether they have incoming, outgoing.
    hashed: Vec<(u128, [bool; 2])>,
    done: usize,
    /// Flows so far, by network and by group.
    networks: Vec<[f64; 2]>,
    groups: Vec<[f64; 2]>,
}

impl Sweep {
    /// Goes on with networks and groups at other places.
    pub(super) fn replace(&mut self, networks: &[Option<usize>], groups: &[Option<usize>]) {
        moved(&mut self.networks, networks);
        moved(&mut self.groups, groups);
    }
}

impl Meter {
    /// This tick's share.
    pub(super) fn sweep(&mut self) {
        let Some(epoch_ticks) = self.workers.first().map(|(shared, _)| shared.slab.layout().flow_ticks) else { return };
        if epoch_ticks == 0 {
            return;
        }
        let (epoch, seconds) = self.epochs.complete();
        if epoch != self.sweep.epoch {
            self.begin_sweep(epoch, seconds, epoch_ticks);
        }
        let places = self.sweep.blocks.len() + self.sweep.hashed.len();
        let due = places * (self.tick % epoch_ticks + 1) as usize / epoch_ticks as usize;
        let blocks = self.sweep.blocks.len();
        let share = std::mem::replace(&mut self.sweep.done, due)..due;
        self.sweep_blocks(share.start.min(blocks)..share.end.min(blocks));
        self.sweep_hashed(share.start.max(blocks) - blocks..share.end.max(blocks) - blocks);
        if self.tick % epoch_ticks == epoch_ticks - 1 {
            self.end_sweep();
        }
    }

    fn begin_sweep(&mut self, epoch: u32, seconds: f64, epoch_ticks: u32) {
        let Meter { blocks, hashed, ipv6, accounts, group_accounts, sweep, .. } = self;
        let since = epoch.saturating_mul(epoch_ticks);
        (sweep.epoch, sweep.seconds, sweep.done) = (epoch, seconds, 0);
        sweep.blocks.clear();
        sweep.blocks.extend(blocks.iter().filter(|(_, block)| block.touched >= since).map(|(key, _)| key));
        sweep.hashed.clear();
        let hashed = hashed.iter().map(|(key, (rates, touched))| (*key, rates, *touched)).chain(ipv6.iter());
        let has = |rates: &HostRates| rates.rates.map(|rates| rates.of(&Class::ALL).0 > 0.0);
        let recent = hashed.filter(|(_, _, touched)| *touched >= since).map(|(key, rates, _)| (key, has(rates)));
        sweep.hashed.extend(recent);
        for (sums, accounts) in [(&mut sweep.networks, accounts), (&mut sweep.groups, group_accounts)] {
            sums.clear();
            sums.resize(accounts.len(), [0.0; 2]);
        }
    }

    fn sweep_blocks(&mut self, share: Range<usize>) {
        let Meter { workers, map, blocks, sweep, .. } = self;
        for &key in &sweep.blocks[share] {
            let Some(block) = blocks.get_mut(&key) else { continue };
            let marks = block.marks.take(sweep.epoch);
            let Block { network, group, .. } = *block;
            for direction in Direction::ALL {
                for index in ones(marks[direction as usize]) {
                    let address = key << 8 | index as u32;
                    let host = IpAddr::V4(Ipv4Addr::from(address));
                    let workers = workers.iter().map(|(shared, _)| shared);
                    let flows = flows_in(workers, host, direction == Direction::Outgoing, sweep.epoch);
                    if let Some(id) = network.or_else(|| map.networks.find_v4(address)) {
                        sweep.networks[usize::from(id)][direction as usize] += flows;
                    }
                    sweep.groups[group.unwrap_or_else(|| map.group_index(host))][direction as usize] += flows;
                }
            }
        }
    }

    fn sweep_hashed(&mut self, share: Range<usize>) {
        let Meter { workers, map, sweep, .. } = self;
        for (key, has) in &sweep.hashed[share] {
            let host = hosts::host(*key);
            let Some(network) = map.networks.find(host) else { continue };
            let group = map.group_index(host);
            for direction in Direction::ALL {
                if has[direction as usize] {
                    let workers = workers.iter().map(|(shared, _)| shared);
                    let flows = flows_in(workers, host, direction == Direction::Outgoing, sweep.epoch);
                    sweep.networks[usize::from(network)][direction as usize] += flows;
                    sweep.groups[group][direction as usize] += flows;
                }
            }
        }
    }

    fn end_sweep(&mut self) {
        let Meter { accounts, group_accounts, sweep, .. } = self;
        let tell = |accounts: &mut [Account], sums: &[[f64; 2]]| {
            let each = accounts.iter_mut().zip(sums);
            each.for_each(|(account, sums)| account.flows = sums.map(|flows| flows / sweep.seconds));
        };
        tell(accounts, &sweep.networks);
        tell(group_accounts, &sweep.groups);
    }
}
