//! Who gets a slot of the hashed table: IPv6 hosts, and IPv4 hosts for whose /24 no block is free. Plain memory; no clock.
//!
//! A host may stand in either of two buckets of four slots. When all are taken, the one with the fewest packets a tick
//! may have to go, with this chance: one in as many as it has. So a host that is seen once hardly moves one that is busy,
//! however many such hosts a scan has, and one that is attacked is in after a few packets more than the coldest of eight
//! has in a tick. It takes over how warm its predecessor was, or it would be the next to go; what is taken over halves
//! each tick, as do the packets of a busier past.

use std::net::{IpAddr, Ipv6Addr};

use super::{
    AtomicU16, AtomicU32, AtomicU64, BUCKET, Found, Ordering, Owner, PLANES, Place, Slab, Slot, fence, which_of,
};
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

/// An IPv6 address, the upper half first; all zeroes: free.
pub(super) type Key = [AtomicU64; 2];

/// As a [`Key`] has it.
#[inline(always)]
fn halves(key: u128) -> [u64; 2] {
    [(key >> 64) as u64, key as u64]
}

/// Number of a bucket, of the two in which a [`key`] may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket(u32);

/// While a table is at most half as full as it is to be, so many hosts a bucket takes as the first of theirs before they look for the
/// emptier one. Then few need a second look. If all did so for ever, tables would fill up unevenly.
const EARLY: usize = BUCKET / 2;

impl Slab {
    /// The seed is secret: who chooses addresses cannot choose buckets.
    #[inline(always)]
    fn hash(&self, key: u128) -> u64 {
        let [upper, lower] = halves(key);
        self.seed.hash(upper, lower)
    }

    #[inline(always)]
    fn bucket(&self, half: u64) -> Bucket {
        Bucket(((half * self.keys.len() as u64) >> 32) as u32)
    }

    /// The bucket in which a key is most often.
    #[inline(always)]
    pub fn first_bucket(&self, key: u128) -> Bucket {
        self.bucket(self.hash(key) & 0xffff_ffff)
    }

    /// The one where it may be else.
    #[inline(always)]
    pub fn other_bucket(&self, key: u128) -> Bucket {
        self.bucket(self.hash(key) >> 32)
    }

    /// Asks the CPU to fetch a bucket: its addresses, and the cells of its slots in the plane that begins there.
    #[inline(always)]
    pub fn prefetch_bucket(&self, bucket: Bucket, plane: Place) {
        self.keys.prefetch(bucket.0 as usize);
        self.prefetch(plane.of(self.ipv6_slot(bucket.0 as usize * BUCKET)));
    }

    /// The slot of a bucket that counts for a key now, if the bucket has one. All are compared at once, and no branch tells which one it
    /// is or whether there is one: nobody could predict that.
    #[inline(always)]
    pub fn look(&self, Bucket(bucket): Bucket, key: u128) -> (Slot, bool) {
        let hits = self.keys.get(bucket as usize).map_or(0, |keys| which_of(keys, halves(key)));
        // Without any it is the last one.
        let place = (hits | 1 << (BUCKET - 1)).trailing_zeros() as usize;
        (self.ipv6_slot(bucket as usize * BUCKET + place), hits != 0)
    }

    /// The slot of the hashed table that counts for a key now.
    pub fn find_v6(&self, key: u128) -> Option<Slot> {
        let looks = self.both_buckets(key).map(|bucket| self.look(bucket, key));
        looks.into_iter().find_map(|(slot, is_found)| is_found.then_some(slot))
    }

    fn both_buckets(&self, key: u128) -> [Bucket; 2] {
        [self.first_bucket(key), self.other_bucket(key)]
    }

    fn key(&self, slot: Slot) -> &Key {
        let index = self.ipv6_index(slot);
        &self.keys[index / BUCKET][index % BUCKET]
    }

    /// The [`key`] that a slot of the hashed table counts for; `None` when it is free.
    pub fn ipv6_key(&self, slot: Slot) -> Option<u128> {
        let [upper, lower] = self.key(slot).each_ref().map(|half| u128::from(half.load(Ordering::Relaxed)));
        Some(upper << 64 | lower).filter(|&key| key != 0)
    }

    /// Owner only: enters a key.
    fn enter(&self, slot: Slot, key: u128) {
        let stores = self.key(slot).iter().zip(halves(key));
        stores.for_each(|(half, new)| half.store(new, Ordering::Relaxed));
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
    pub(super) fn touch(&self, plane: usize, tick: u32) {
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
        let early = if self.used_ipv6 < slab.layout.ipv6_hosts / 2 { EARLY } else { 0 };
        let candidates = slab.both_buckets(address).into_iter().enumerate().flat_map(|(order, Bucket(bucket))| {
            let bucket = bucket as usize * BUCKET;
            let warm: [_; BUCKET] = std::array::from_fn(|place| per_tick(slab, bucket + place, tick));
            // Of free slots one in the emptier bucket, or tables fill up unevenly.
            let taken = warm.iter().flatten().count();
            let taken = if order == 0 && taken < early { 0 } else { taken };
            (bucket..).zip(warm).map(move |(index, warm)| (warm, taken, order, index))
        });
        let candidates =
            candidates.filter(|&(warm, _, _, index)| warm.is_none() || !self.placed.has(slab.ipv6_slot(index)));
        let Some((warm, _, _, index)) = candidates.min() else { return Found::Full };
        if !self.lets_in(slab, warm) {
            return Found::Full;
        }
        let slot = slab.ipv6_slot(index);
        self.keep(slot);
        let evicted = slab.ipv6_key(slot);
        let network = evicted.and_then(|key| networks.find(host(key))).map(|id| slab.network(id));
        let (generation, warmth) = (&slab.generations[index], &slab.warmth[index]);
        let before = generation.load(Ordering::Relaxed);
        generation.store(before.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release); // loom: slot-odd-first
        slab.enter(slot, address);
        for plane in warmth.planes() {
            self.retire(slab, slot, plane, network, tick);
        }
        if slab.cell(slot, 0).watch() != 0 {
            slab.set_watch(slot, 0);
        }
        warmth.hand_over(warm.unwrap_or(0), tick);
        generation.store(before.wrapping_add(2), Ordering::Release); // loom: slot-even-last
        if evicted.is_none() {
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
        (((self.random ^ slab.seed.secret()) >> 32) * u64::from(warm.unwrap_or(0))) >> 32 == 0
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
    let (slot, warmth) = (slab.ipv6_slot(index), &slab.warmth[index]);
    slab.ipv6_key(slot)?;
    let packets = warmth.planes().map(|plane| slab.cell(slot, plane).packets()).fold(0, u32::wrapping_add);
    Some(warmth.look(packets, tick))
}

#[cfg(all(test, not(loom)))]
mod tests;
