//! Packets in per-second buckets, of one host or group. Values only.

use std::collections::VecDeque;

use dataplane::packet::Headers;

use crate::miner::{Peace, Whose};

/// Most packets, in a second and in all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) second: usize,
    pub(super) all: usize,
}

/// What came in a second.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) second: u32,
    /// Packets of the tap, kept or not, and how many packets they stand for.
    seen: u32,
    stands_for: u64,
    pub(super) packets: Vec<Headers>,
}

/// The buckets of a host or group, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    pub(super) buckets: VecDeque<Bucket>,
    pub(super) len: usize,
}

impl Buckets {
    /// Keeps a packet, or in a full second perhaps in place of another one of it. Gives how many packets it has more.
    pub(super) fn learn(
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
    pub(super) fn trim(&mut self, room: Room, is_room: bool) -> usize {
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

    /// Whether it has something from before this second.
    pub(super) fn is_older(&self, oldest: u32) -> bool {
        self.buckets.front().is_some_and(|bucket| bucket.second < oldest)
    }

    pub(super) fn expire(&mut self, oldest: u32) -> usize {
        let mut gone = 0;
        while self.is_older(oldest) {
            gone += self.drop_oldest();
        }
        gone
    }

    pub(super) fn forget(&mut self, from: u32, is_meant: impl Fn(&Headers) -> bool) -> usize {
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

    /// Those packets that are meant, in the order in which they came.
    pub(super) fn peace(&self, whose: Whose, is_meant: impl Fn(&Headers) -> bool) -> Peace {
        let all = self.buckets.iter().flat_map(|bucket| bucket.packets.iter().map(|packet| (*packet, bucket.second)));
        let (packets, seconds) = all.filter(|(packet, _)| is_meant(packet)).unzip();
        let stands_for: u64 = self.buckets.iter().map(|bucket| bucket.stands_for).sum();
        Peace { packets, seconds, one_in: stands_for as f64 / self.len.max(1) as f64, whose }
    }
}
