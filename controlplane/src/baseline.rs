//! What hosts receive (and send) in peace, from the always-on tap: packets in bounded per-second buckets, for each host and for each
//! host group. Nothing is learned of a host while it is hot, and what came shortly before it got hot is forgotten. Pure: time is an
//! argument.

mod buckets;
mod check;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use dataplane::packet::Headers;
use dataplane::rule::FlowRule;

use crate::attack::{Direction, Target};
use crate::miner::{Peace, Whose};
use buckets::{Buckets, Room};
pub use check::Check;

/// Seconds that are kept; of a host that is hot all that it has.
const HISTORY_S: u32 = 600;
/// What came so long before a window that crossed may be the attack already, and so long after it still.
const MARGIN_S: u32 = 2;
/// Hosts, by direction, that have buckets of their own.
pub const HOSTS_MAX: usize = 16_384;
/// Packets in all.
pub const PACKETS_MAX: usize = 262_144;
/// Networks, by direction, that are hot and whose packets from before are kept, and packets of each.
pub const NETWORKS_MAX: usize = 64;
const NETWORK_PACKETS: usize = 2_048;
/// Packets of a host, in a second and in all; of a group the same.
const HOST: Room = Room { second: 16, all: 1_024 };
const GROUP: Room = Room { second: 64, all: 8_192 };
/// Fewer packets tell nothing.
const LEAST: usize = 64;

/// What did not fit, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Packets of hosts that got no buckets: too many hosts.
    pub hosts: u64,
    /// Packets that were not kept: too many in all.
    pub packets: u64,
    /// Networks that got hot and whose packets from before are not kept: too many at once.
    pub networks: u64,
}

/// How full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Hosts, by direction, that have buckets.
    pub hosts: usize,
    /// Packets kept, of hosts and groups.
    pub packets: usize,
    /// Networks, by direction, that are hot and have packets from before.
    pub networks: usize,
    /// What did not fit.
    pub lost: Lost,
}

/// The baseline of everything.
#[derive(Debug, Default)]
pub struct Baseline {
    hosts: HashMap<Target, Buckets>,
    groups: BTreeMap<(Arc<str>, Direction), Buckets>,
    len: usize,
    /// When each was hot last; those of several hosts once more in a list.
    hot: BTreeMap<Target, u32>,
    hot_networks: Vec<Target>,
    /// What hot networks received before. Groups hold it too, but not for long: their other hosts go on.
    before: HashMap<Target, Peace>,
    swept: u32,
    random: u64,
    lost: Lost,
}

impl Baseline {
    /// A packet of the tap that a host receives or sends (that is the target); it stands for `one_in`.
    pub fn learn(&mut self, second: u32, (target, group): (Target, &Arc<str>), packet: Headers, one_in: u32) {
        self.sweep(second);
        if self.is_hot(&target) {
            return;
        }
        let random = self.next_random();
        let is_room = self.len + 2 <= PACKETS_MAX;
        if self.hosts.len() < HOSTS_MAX || self.hosts.contains_key(&target) {
            let host = self.hosts.entry(target).or_default();
            self.len =
                self.len + host.learn(second, packet, (one_in, random), (HOST, is_room)) - host.trim(HOST, is_room);
        } else {
            self.lost.hosts += 1;
        }
        let group = self.groups.entry((Arc::clone(group), target.direction)).or_default();
        self.len =
            self.len + group.learn(second, packet, (one_in, random), (GROUP, is_room)) - group.trim(GROUP, is_room);
        self.lost.packets += u64::from(!is_room);
    }

    /// Those that are over a threshold, or under attack, now. What came of them up to `window_s` and a margin before is forgotten.
    pub fn heat(&mut self, second: u32, window_s: u32, targets: impl Iterator<Item = Target>) {
        let from = second.saturating_sub(window_s + MARGIN_S);
        let mut is_changed = false;
        for target in targets {
            if self.hot.insert(target, second).is_none() {
                self.forget(&target, from);
                self.keep(&target);
                is_changed = true;
            }
        }
        let before = self.hot.len();
        self.hot.retain(|_, last| last.saturating_add(MARGIN_S + window_s) >= second);
        if is_changed || self.hot.len() != before {
            self.hot_networks = self.hot.keys().filter(|target| is_network(target)).copied().collect();
            self.before.retain(|target, _| self.hot.contains_key(target));
        }
    }

    /// Keeps what a network received until now, for as long as it is hot.
    fn keep(&mut self, target: &Target) {
        if !is_network(target) || self.hosts.contains_key(target) {
            return;
        }
        if self.before.len() < NETWORKS_MAX {
            let peace = self.of_network(target);
            self.before.insert(*target, peace);
        } else {
            self.lost.networks += 1;
        }
    }

    fn is_hot(&self, target: &Target) -> bool {
        let holds = |hot: &Target| hot.direction == target.direction && hot.prefix.contains(&target.prefix);
        self.hot.contains_key(target) || self.hot_networks.iter().any(holds)
    }

    /// Forgets what came of a target in this second and later.
    fn forget(&mut self, target: &Target, from: u32) {
        for (host, buckets) in &mut self.hosts {
            if host.direction == target.direction && target.prefix.contains(&host.prefix) {
                self.len -= buckets.forget(from, |_| true);
            }
        }
        for ((_, direction), buckets) in &mut self.groups {
            if *direction == target.direction {
                self.len -= buckets.forget(from, |packet| target.prefix.contains(&direction.near(packet)));
            }
        }
    }

    /// What a target receives in peace: its own, or else its group's, or else nobody knows.
    pub fn peace(&self, target: &Target, group: &Arc<str>) -> Peace {
        let host = self.hosts.get(target).map(|host| host.peace(Whose::Target, |_| true));
        let network =
            || is_network(target).then(|| self.before.get(target).cloned().unwrap_or_else(|| self.of_network(target)));
        let own = host.or_else(network);
        if let Some(own) = own.as_ref().filter(|own| own.packets.len() >= LEAST) {
            return own.clone();
        }
        let group =
            self.groups.get(&(Arc::clone(group), target.direction)).map(|group| group.peace(Whose::Group, |_| true));
        let Some(mut peace) = group.filter(|group| group.packets.len() >= LEAST) else { return Peace::unknown() };
        let near = peace.packets.iter().map(|packet| target.direction.near(packet));
        let parts = match own.filter(|_| is_network(target)) {
            // The network is taken for one that has as much as was seen of it, or as little as would not have been.
            Some(own) => peace.stands_for() / own.stands_for().max(peace.one_in),
            // The host is taken for one of them as they are in the mean.
            None => near.collect::<HashSet<IpAddr>>().len() as f64,
        };
        peace.one_in /= parts.max(1.0);
        peace
    }

    /// What the groups saw of a network: of each as small a share as of that which was seen least, so that all packets stand for as
    /// many.
    fn of_network(&self, target: &Target) -> Peace {
        let is_within = |packet: &Headers| target.prefix.contains(&target.direction.near(packet));
        let groups = self.groups.iter().filter(|((_, direction), _)| *direction == target.direction);
        let parts: Vec<Peace> = groups.map(|(_, group)| group.peace(Whose::Target, is_within)).collect();
        let all: f64 = parts.iter().map(Peace::stands_for).sum();
        let seen = parts.iter().filter(|part| !part.packets.is_empty());
        let one_in = seen.map(|part| part.one_in).fold(all / NETWORK_PACKETS as f64, f64::max).max(1.0);
        let mut peace = Peace { one_in, ..Peace::unknown() };
        for part in parts {
            let mut due = 0.5;
            for (packet, second) in part.packets.into_iter().zip(part.seconds) {
                due += part.one_in / one_in;
                if due >= 1.0 {
                    due -= 1.0;
                    peace.packets.push(packet);
                    peace.seconds.push(second);
                }
            }
        }
        peace
    }

    /// Whether a packet to (or from) a host that a rule matches is from (or, outgoing, to) somebody whose packets it would have matched in peace.
    pub fn knows(&self, target: &Target, rule: &FlowRule, packet: &Headers) -> bool {
        let who = target.direction.far(packet);
        self.hosts.get(target).is_some_and(|host| {
            let mut packets = host.buckets.iter().flat_map(|bucket| &bucket.packets);
            packets.any(|known| target.direction.far(known) == who && rule.matches(known))
        })
    }

    /// How full it is.
    pub fn fill(&self) -> Fill {
        Fill { hosts: self.hosts.len(), packets: self.len, networks: self.before.len(), lost: self.lost }
    }

    /// Drops what is too old, once a second.
    fn sweep(&mut self, second: u32) {
        if second == self.swept {
            return;
        }
        self.swept = second;
        let mut gone = 0;
        let oldest = second.saturating_sub(HISTORY_S);
        let mut hosts = std::mem::take(&mut self.hosts);
        hosts.retain(|target, buckets| {
            if buckets.is_older(oldest) && !self.is_hot(target) {
                gone += buckets.expire(oldest);
            }
            buckets.len > 0
        });
        self.hosts = hosts;
        self.groups.values_mut().for_each(|buckets| gone += buckets.expire(oldest));
        self.len -= gone;
    }

    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        self.random >> 33
    }
}

/// Whether it is more than one address. (A host of several is taken for a network of its own.)
fn is_network(target: &Target) -> bool {
    target.prefix.prefix_len() < target.prefix.max_prefix_len()
}

#[cfg(test)]
mod tests;
