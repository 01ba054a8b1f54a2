//! Who gets a slot of the hashed table: IPv6 hosts, and IPv4 hosts for whose /24 no block is free. Plain memory; no clock.
//!
//! A host may stand in either of two buckets of four slots. When all are taken, the one with the fewest packets a tick
//! may have to go, with this chance: one in as many as it has. So a host that is seen once hardly moves one that is busy,
//! however many such hosts a scan has, and one that is attacked is in after a few packets more than the coldest of eight
//! has in a tick. It takes over how warm its predecessor was, or it would be the next to go; what is taken over halves
//! each tick, as do the packets of a busier past.

use std::net::{IpAddr, Ipv6Addr};

use super::{AtomicU16, AtomicU32, AtomicU64, BUCKET, Found, Ordering, Owner, PLANES, Slab, Slot, fence, hash};
use crate::networks::Networks;

/// After so many ticks without a packet a host is cold, whatever it did before.
const COLD_TICKS: u16 = 20;

/// The key of a host: of an IPv6 prefix its first address. IPv4 hosts stand under their IPv4-mapped address (RFC 4291), which
/// no packet carries.
pub fn key(host: IpAddr) -> u128 {
    match host {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The host of a key.
pub fn host(key: u128) -> IpAddr {
    Ipv6Addr::from(key).to_canonical()
}

/// An IPv6 address in two words; all zeroes: free.
#[derive(Debug, Default)]
pub(super) struct Key {
    high: AtomicU64,
    low: AtomicU64,
}

impl Key {
    #[inline(always)]
    fn is(&self, key: u128) -> bool {
        let (high, low) = ((key >> 64) as u64, key as u64);
        (self.high.load(Ordering::Relaxed) ^ high) | (self.low.load(Ordering::Relaxed) ^ low) == 0
    }

    #[inline(always)]
    pub(super) fn load(&self) -> u128 {
        u128::from(self.high.load(Ordering::Relaxed)) << 64 | u128::from(self.low.load(Ordering::Relaxed))
    }

    fn store(&self, key: u128) {
        self.high.store((key >> 64) as u64, Ordering::Relaxed);
        self.low.store(key as u64, Ordering::Relaxed);
    }
}

/// The two buckets in which a [`key`] may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buckets([u32; 2]);

/// What tells a key from most others in its buckets; 0 is that of a free slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag(u16);

impl Buckets {
    /// The slots that they have.
    fn slots(&self) -> impl Iterator<Item = usize> {
        self.0.into_iter().flat_map(|bucket| bucket as usize * BUCKET..(bucket as usize + 1) * BUCKET)
    }
}

/// A tag is this wide; a word has those of a bucket.
const TAG_BITS: usize = 16;
/// The lowest bit of each tag in a word.
const LOWEST: u64 = u64::MAX / ((1 << TAG_BITS) - 1);

impl Slab {
    /// The buckets of a key. The seed is secret: who chooses addresses cannot choose buckets.
    #[inline(always)]
    pub fn buckets(&self, key: u128) -> (Buckets, Tag) {
        let hash = hash(&self.seed, (key >> 64) as u64, key as u64);
        let all = self.tags.len() as u64;
        let numbers = [hash & 0xffff_ffff, hash >> 32].map(|half| ((half * all) >> 32) as u32);
        // The bits that have least to do with where the buckets are.
        (Buckets(numbers), Tag(hash as u16 | 1))
    }

    /// Asks the CPU to fetch the tags of two buckets.
    #[inline(always)]
    pub fn prefetch_buckets(&self, buckets: &Buckets) {
        buckets.0.into_iter().for_each(|bucket| self.tags.prefetch(bucket as usize));
    }

    /// The slot that has a key's tag; its address is on its way to the cache. All tags of a bucket are compared at once, and
    /// no branch tells which one it is: nobody could predict that.
    #[inline(always)]
    pub fn candidate(&self, &Buckets([one, other]): &Buckets, Tag(tag): Tag) -> Slot {
        // The highest bit of each lane that is 0; above the lowest one of them there may be more.
        let same = |bucket: u32| {
            let tags = self.tags.get(bucket as usize).map_or(0, |tags| tags.load(Ordering::Relaxed));
            let lanes = tags ^ (u64::from(tag) * LOWEST);
            lanes.wrapping_sub(LOWEST) & !lanes & (LOWEST << (TAG_BITS - 1))
        };
        let hits = same(one) | same(other) >> 1;
        // Without any it is one that has another tag.
        let hit = hits.trailing_zeros() as usize % 64;
        let bucket = if hit % TAG_BITS == TAG_BITS - 1 { one } else { other };
        let index = bucket as usize * BUCKET + hit / TAG_BITS;
        self.keys.prefetch(index);
        self.ipv6_slot(index)
    }

    /// Whether a slot of the hashed table counts for this key now.
    #[inline(always)]
    pub fn is_of(&self, slot: Slot, key: u128) -> bool {
        self.keys.get(self.ipv6_index(slot)).is_some_and(|found| found.is(key))
    }

    /// The slot of the hashed table that counts for a key now.
    pub fn find_v6(&self, key: u128) -> Option<Slot> {
        let (buckets, tag) = self.buckets(key);
        let candidate = self.candidate(&buckets, tag);
        if self.is_of(candidate, key) { Some(candidate) } else { self.search(&buckets, key) }
    }

    /// Another host may have the same tag: this looks at all.
    pub fn search(&self, buckets: &Buckets, key: u128) -> Option<Slot> {
        buckets.slots().find(|&index| self.keys[index].is(key)).map(|index| self.ipv6_slot(index))
    }

    /// Owner only: enters a key.
    fn enter(&self, index: usize, Tag(tag): Tag, key: u128) {
        self.keys[index].store(key);
        let (tags, shift) = (&self.tags[index / BUCKET], index % BUCKET * TAG_BITS);
        let others = tags.load(Ordering::Relaxed) & !(((1 << TAG_BITS) - 1) << shift);
        tags.store(others | u64::from(tag) << shift, Ordering::Relaxed);
    }
}

/// How busy the host of a slot is. The owner's alone. Four make a cache line, so that a look at a bucket costs one, and one
/// for each plane in use.
#[derive(Debug, Default)]
#[repr(C, align(16))]
pub(super) struct Warmth {
    /// Planes in which it was counted: one bit each.
    planes: AtomicU32,
    /// Packets at the last look of an earlier tick, modulo 2³².
    packets: AtomicU32,
    /// Packets a tick until then.
    per_tick: AtomicU32,
    /// Low bits of that tick.
    looked: AtomicU16,
    /// Low bits of the tick in which it last had a packet.
    touched: AtomicU16,
}

impl Warmth {
    /// The first packet of a tick in a plane.
    pub(super) fn touch(&self, plane: u32, tick: u32) {
        self.planes.store(self.planes.load(Ordering::Relaxed) | 1 << plane, Ordering::Relaxed);
        self.touched.store(tick as u16, Ordering::Relaxed);
    }

    fn planes(&self) -> impl Iterator<Item = usize> {
        let mut left = self.planes.load(Ordering::Relaxed);
        std::iter::from_fn(move || {
            let plane = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            (plane < PLANES as u32).then_some(plane as usize)
        })
    }

    /// Packets a tick, now.
    fn look(&self, packets: u32, tick: u32) -> u32 {
        let tick = tick as u16;
        if tick.wrapping_sub(self.touched.load(Ordering::Relaxed)) >= COLD_TICKS {
            return 0;
        }
        let new = packets.wrapping_sub(self.packets.load(Ordering::Relaxed));
        let before = self.per_tick.load(Ordering::Relaxed);
        let elapsed = tick.wrapping_sub(self.looked.load(Ordering::Relaxed));
        if elapsed == 0 {
            return new.max(before);
        }
        let now = (new / u32::from(elapsed)).max(before.checked_shr(elapsed.into()).unwrap_or(0));
        self.set(packets, now, tick);
        now
    }

    fn set(&self, packets: u32, per_tick: u32, looked: u16) {
        self.packets.store(packets, Ordering::Relaxed);
        self.per_tick.store(per_tick, Ordering::Relaxed);
        self.looked.store(looked, Ordering::Relaxed);
    }

    /// For the next host.
    fn hand_over(&self, per_tick: u32, tick: u32) {
        self.planes.store(0, Ordering::Relaxed);
        self.touched.store(tick as u16, Ordering::Relaxed);
        self.set(0, per_tick, tick as u16);
    }
}

impl Owner {
    /// Gives a protected host, which has none, a slot of the hashed table; `address` is its [`key`]. No network is longer than
    /// a host, so that the key finds the network of all its addresses.
    pub fn insert_v6(&mut self, slab: &Slab, networks: &Networks, address: u128, tick: u32) -> Found {
        let (buckets, tag) = slab.buckets(address);
        let candidates = buckets.0.into_iter().flat_map(|bucket| {
            let bucket = bucket as usize * BUCKET;
            let warm: [_; BUCKET] = std::array::from_fn(|place| per_tick(slab, bucket + place, tick));
            // Of free slots one in the emptier bucket, or tables fill up unevenly.
            let taken = warm.iter().flatten().count();
            (bucket..).zip(warm).map(move |(index, warm)| (warm, taken, index))
        });
        let candidates =
            candidates.filter(|&(warm, _, index)| warm.is_none() || !self.placed.has(slab.ipv6_slot(index)));
        let Some((warm, _, index)) = candidates.min() else { return Found::Full };
        if !self.lets_in(slab, warm) {
            return Found::Full;
        }
        let evicted = slab.keys[index].load();
        let slot = slab.ipv6_slot(index);
        self.keep(slot);
        let network = if evicted == 0 { None } else { networks.find(host(evicted)).map(|id| slab.network(id)) };
        let (generation, warmth) = (&slab.generations[index], &slab.warmth[index]);
        let before = generation.load(Ordering::Relaxed);
        generation.store(before.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release); // loom: slot-odd-first
        slab.enter(index, tag, address);
        for plane in warmth.planes() {
            self.retire(slab, slot, plane, network, tick);
        }
        if slab.cell(slot, 0).watch() != 0 {
            slab.set_watch(slot, 0);
        }
        warmth.hand_over(warm.unwrap_or(0), tick);
        generation.store(before.wrapping_add(2), Ordering::Release); // loom: slot-even-last
        if evicted == 0 {
            self.used_ipv6 += 1;
            Found::New(slot)
        } else {
            Found::Evicted(slot)
        }
    }

    /// Whether a new host takes the place of one with so many packets a tick; `None`: of nobody.
    fn lets_in(&mut self, slab: &Slab, warm: Option<u32>) -> bool {
        // xorshift, by Marsaglia: what matters is that nobody outside can tell whose turn it is.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (((self.random ^ slab.seed[0]) >> 32) * u64::from(warm.unwrap_or(0))) >> 32 == 0
    }

    /// Moves what a cell counted to the network's slot: nothing is lost when a host loses its slot.
    fn retire(&self, slab: &Slab, slot: Slot, plane: usize, network: Option<Slot>, tick: u32) {
        let cell = slab.cell(slot, plane);
        // One tick in 65,536 has this stamp; in all others the next host's first packet touches.
        cell.set_stamp(0);
        if let Some(network) = network {
            slab.cell(network, plane).add(cell.packets(), cell.bytes());
            self.touch(slab, slab.place(network, plane), tick);
        }
        cell.packets.store(0, Ordering::Relaxed);
        cell.bytes.store(0, Ordering::Relaxed);
    }
}

/// The slots that packets of this burst may be counted in: by the low bits of their numbers, low bits of the burst's number.
/// Of slots that share a place with one of them, or had one in a burst of the same low bits, some stay with their hosts for
/// a burst longer.
#[derive(Debug)]
pub(super) struct Placed {
    bursts: Box<[u8; 4096]>,
    burst: u8,
}

impl Default for Placed {
    fn default() -> Placed {
        Placed { bursts: Box::new([0; 4096]), burst: 0 }
    }
}

impl Placed {
    #[inline(always)]
    pub(super) fn begin_burst(&mut self) {
        self.burst = self.burst.wrapping_add(1);
    }

    #[inline(always)]
    pub(super) fn add(&mut self, slot: Slot) {
        self.bursts[slot.0 as usize % 4096] = self.burst;
    }

    fn has(&self, slot: Slot) -> bool {
        self.bursts[slot.0 as usize % 4096] == self.burst
    }
}

/// Packets a tick of the host of a slot; `None` where there is none.
fn per_tick(slab: &Slab, index: usize, tick: u32) -> Option<u32> {
    if slab.keys[index].load() == 0 {
        return None;
    }
    let (slot, warmth) = (slab.ipv6_slot(index), &slab.warmth[index]);
    let packets = warmth.planes().map(|plane| slab.cell(slot, plane).packets()).fold(0, u32::wrapping_add);
    Some(warmth.look(packets, tick))
}

#[cfg(all(test, not(loom)))]
mod tests;
