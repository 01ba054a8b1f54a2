//! What hosts receive (and send) in peace, from the always-on tap: packets in bounded per-second buckets, for each host and for each
//! host group. Nothing is learned of a host while it is hot, and what came shortly before it got hot is forgotten. Pure: time is an
//! argument.

mod check;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use dataplane::packet::{Addresses, Headers};
use dataplane::rule::FlowRule;

use crate::attack::{Direction, Target};
use crate::miner::{Peace, Whose};
pub use check::Check;

/// Seconds that are kept; of a host that is hot all that it has.
const HISTORY_S: u32 = 600;
/// What came so long before a window that crossed may be the attack already, and so long after it still.
const MARGIN_S: u32 = 2;
/// Hosts, by direction, that have buckets of their own.
const HOSTS_MAX: usize = 16_384;
/// Packets in all.
const PACKETS_MAX: usize = 262_144;
/// Packets of a host, in a second and in all; of a group the same.
const HOST: Room = Room { second: 16, all: 1_024 };
const GROUP: Room = Room { second: 64, all: 8_192 };
/// Fewer packets tell nothing.
const LEAST: usize = 64;

struct Room {
    second: usize,
    all: usize,
}

/// What came in a second.
#[derive(Debug)]
struct Bucket {
    second: u32,
    /// Packets of the tap, kept or not, and how many packets they stand for.
    seen: u32,
    stands_for: u64,
    packets: Vec<Headers>,
}

/// The buckets of a host or group, the oldest first.
#[derive(Debug, Default)]
struct Buckets {
    buckets: VecDeque<Bucket>,
    len: usize,
}

/// What did not fit, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Packets of hosts that got no buckets: too many hosts.
    pub hosts: u64,
    /// Packets that were not kept: too many in all.
    pub packets: u64,
}

/// How full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Hosts, by direction, that have buckets.
    pub hosts: usize,
    /// Packets kept, of hosts and groups.
    pub packets: usize,
    /// What did not fit.
    pub lost: Lost,
}

/// The baseline of everything.
#[derive(Debug, Default)]
pub struct Baseline {
    hosts: HashMap<Target, Buckets>,
    groups: HashMap<(Arc<str>, Direction), Buckets>,
    len: usize,
    /// When each was hot last; those of several hosts once more in a list.
    hot: BTreeMap<Target, u32>,
    hot_networks: Vec<Target>,
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
                is_changed = true;
            }
        }
        let before = self.hot.len();
        self.hot.retain(|_, last| last.saturating_add(MARGIN_S + window_s) >= second);
        if is_changed || self.hot.len() != before {
            let is_network = |target: &&Target| target.prefix.prefix_len() < target.prefix.max_prefix_len();
            self.hot_networks = self.hot.keys().filter(is_network).copied().collect();
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
                self.len -= buckets.forget(from, |packet| target.prefix.contains(&near_end(packet, *direction)));
            }
        }
    }

    /// What a target receives in peace: its own, or else its group's, or else nobody knows.
    pub fn peace(&self, target: &Target, group: &Arc<str>) -> Peace {
        let own = self.hosts.get(target).filter(|host| host.len >= LEAST);
        if let Some(own) = own {
            return own.peace(Whose::Target);
        }
        let group = self.groups.get(&(Arc::clone(group), target.direction)).filter(|group| group.len >= LEAST);
        group.map_or_else(Peace::unknown, |group| {
            let mut peace = group.peace(Whose::Group);
            let hosts: HashSet<IpAddr> =
                peace.packets.iter().map(|packet| near_end(packet, target.direction)).collect();
            // The target is taken for one of them as they are in the mean.
            peace.one_in /= hosts.len().max(1) as f64;
            peace
        })
    }

    /// Whether a packet that a rule matches is from (or, outgoing, to) somebody whose packets it would have matched in peace.
    pub fn knows(&self, target: &Target, rule: &FlowRule, packet: &Headers) -> bool {
        let who = far_end(packet, target.direction);
        self.hosts.get(target).is_some_and(|host| {
            let mut packets = host.buckets.iter().flat_map(|bucket| &bucket.packets);
            packets.any(|known| far_end(known, target.direction) == who && rule.matches(known))
        })
    }

    /// How full it is.
    pub fn fill(&self) -> Fill {
        Fill { hosts: self.hosts.len(), packets: self.len, lost: self.lost }
    }

    /// Drops what is too old, once a second.
    fn sweep(&mut self, second: u32) {
        if second == self.swept {
            return;
        }
        self.swept = second;
        let (mut gone, hot) = (0, &self.hot);
        let oldest = second.saturating_sub(HISTORY_S);
        self.hosts.retain(|target, buckets| {
            if !hot.contains_key(target) {
                gone += buckets.expire(oldest);
            }
            buckets.len > 0
        });
        self.groups.values_mut().for_each(|buckets| gone += buckets.expire(oldest));
        self.len -= gone;
    }

    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        self.random >> 33
    }
}

impl Buckets {
    /// Keeps a packet, or in a full second perhaps in place of another one of it. Gives how many packets it has more.
    fn learn(
        &mut self,
        second: u32,
        packet: Headers,
        (one_in, random): (u32, u64),
        (room, is_room): (Room, bool),
    ) -> usize {
        if self.buckets.back().is_none_or(|bucket| bucket.second < second) {
            self.buckets.push_back(Bucket { second, seen: 0, stands_for: 0, packets: Vec::new() });
        }
        let Some(bucket) = self.buckets.back_mut() else { return 0 };
        bucket.seen += 1;
        bucket.stands_for += u64::from(one_in);
        if bucket.packets.len() < room.second && is_room {
            bucket.packets.push(packet);
            self.len += 1;
            return 1;
        }
        // Each packet of the second has the same chance to be kept.
        let place = (random % u64::from(bucket.seen)) as usize;
        if let Some(place) = bucket.packets.get_mut(place) {
            *place = packet;
        }
        0
    }

    /// Drops the oldest seconds where there is no room for more. Gives how many packets went.
    fn trim(&mut self, room: Room, is_room: bool) -> usize {
        let mut gone = 0;
        while self.buckets.len() > 1 && (self.len > room.all || !is_room && gone == 0) {
            gone += self.drop_oldest();
        }
        gone
    }

    fn drop_oldest(&mut self) -> usize {
        let gone = self.buckets.pop_front().map_or(0, |bucket| bucket.packets.len());
        self.len -= gone;
        gone
    }

    fn expire(&mut self, oldest: u32) -> usize {
        let mut gone = 0;
        while self.buckets.front().is_some_and(|bucket| bucket.second < oldest) {
            gone += self.drop_oldest();
        }
        gone
    }

    fn forget(&mut self, from: u32, is_meant: impl Fn(&Headers) -> bool) -> usize {
        let before = self.len;
        for bucket in self.buckets.iter_mut().filter(|bucket| bucket.second >= from) {
            let had = bucket.packets.len();
            bucket.packets.retain(|packet| !is_meant(packet));
            // What is left stands for as much each as it did.
            let kept = bucket.packets.len() as u64;
            bucket.stands_for = bucket.stands_for * kept / (had as u64).max(1);
            bucket.seen = (u64::from(bucket.seen) * kept / (had as u64).max(1)) as u32;
            self.len -= had - bucket.packets.len();
        }
        self.buckets.retain(|bucket| !bucket.packets.is_empty());
        before - self.len
    }

    fn peace(&self, whose: Whose) -> Peace {
        let all = self.buckets.iter().flat_map(|bucket| bucket.packets.iter().map(|packet| (*packet, bucket.second)));
        let (packets, seconds) = all.unzip();
        let stands_for: u64 = self.buckets.iter().map(|bucket| bucket.stands_for).sum();
        Peace { packets, seconds, one_in: stands_for as f64 / self.len.max(1) as f64, whose }
    }
}

fn ends(packet: &Headers) -> [IpAddr; 2] {
    match packet.addresses {
        Addresses::V4 { source, destination } => [IpAddr::V4(source.into()), IpAddr::V4(destination.into())],
        Addresses::V6 { source, destination } => [IpAddr::V6(source.into()), IpAddr::V6(destination.into())],
    }
}

/// The end that is ours, for traffic of this direction.
pub fn near_end(packet: &Headers, direction: Direction) -> IpAddr {
    ends(packet)[usize::from(direction == Direction::Incoming)]
}

fn far_end(packet: &Headers, direction: Direction) -> IpAddr {
    ends(packet)[usize::from(direction == Direction::Outgoing)]
}

#[cfg(test)]
mod tests;
