//! What the meter saw of a worker's counters when it last looked, and what came since.

use dataplane::hosts::{BLOCK, Cell, GROUP, PLANES, Slab, Slot};
use dataplane::packet::Class;

use crate::attack::{Direction, Volumes};

/// What a cell said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    bytes: u64,
    packets: u32,
}

/// [`Counts`] as they are kept: bytes, packets.
type Words = [u64; 2];

impl Counts {
    fn from_words([bytes, packets]: Words) -> Counts {
        Counts { bytes, packets: packets as u32 }
    }

    fn to_words(self) -> Words {
        [self.bytes, self.packets.into()]
    }

    fn of(cell: &Cell) -> Counts {
        Counts { bytes: cell.bytes(), packets: cell.packets() }
    }

    /// Packets and bytes since it said `before`.
    #[inline]
    fn since(self, before: Counts) -> (u64, u64) {
        (self.packets.wrapping_sub(before.packets).into(), self.bytes.wrapping_sub(before.bytes))
    }
}

/// Looks within which each block is read as a whole once. A cell's stamp has 16 bits: who has no packet for exactly 65,536
/// ticks, nearly two hours, and then has some, seems to have been stamped already. The first packet of a later tick would
/// bring those to light, but there may be none for long.
pub(super) const ROUND: u32 = 512;

/// The ticks that a look is about: those after `since`, up to the one that begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticks {
    since: u32,
    now: u32,
}

impl Ticks {
    /// For a look at the begin of tick `now`; the last look was at the begin of `last`.
    pub(super) fn new(last: u32, now: u32) -> Ticks {
        // Workers stamped with `last` since then; one that was in the middle of a burst then, with the one before.
        Ticks { since: last.saturating_sub(2), now }
    }

    /// All ticks there were, if it is the block's turn.
    fn of_block(self, block: usize) -> Ticks {
        let turn = self.now.wrapping_add(block as u32).is_multiple_of(ROUND);
        Ticks { since: if turn { 0 } else { self.since }, ..self }
    }

    /// Whether the low bits of a stamp may stand for one of them. A stamp so old that its bits came round again may, too:
    /// its cells then show no change.
    #[inline]
    fn has(self, stamp: u16) -> bool {
        let age = (self.now as u16).wrapping_sub(stamp);
        u32::from(age) < self.now.wrapping_sub(self.since)
    }
}

/// Hosts of a /24: one bit each.
pub(super) type Hosts = [u64; BLOCK / 64];

/// What came for the hosts of one /24 within a tick, over all workers.
#[derive(Debug)]
pub(super) struct Came {
    hosts: Box<[[Volumes; 2]; BLOCK]>,
    /// Hosts that something came for: one bit each, by direction.
    active: [Hosts; 2],
    /// All hosts together.
    pub(super) total: Delta,
}

impl Default for Came {
    fn default() -> Came {
        Came { hosts: Box::new([[Volumes::default(); 2]; BLOCK]), active: Default::default(), total: Delta::default() }
    }
}

impl Came {
    /// Makes it empty for another /24; costs only what was in it.
    pub(super) fn clear(&mut self) {
        for direction in Direction::ALL {
            let side = direction as usize;
            ones(self.active[side]).for_each(|index| self.hosts[index][side] = Volumes::default());
        }
        self.active = Default::default();
        self.total = Delta::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.active.as_flattened().iter().all(|&word| word == 0)
    }

    /// The hosts that something came for: their last byte.
    pub(super) fn hosts(&self) -> impl Iterator<Item = usize> + use<> {
        ones(std::array::from_fn(|word| self.active[0][word] | self.active[1][word]))
    }

    /// The same by direction: one bit each.
    pub(super) fn active(&self) -> &[Hosts; 2] {
        &self.active
    }

    /// What came for a host in one direction, if anything did.
    #[inline]
    pub(super) fn get(&self, host: usize, direction: Direction) -> Option<&Volumes> {
        let side = direction as usize;
        (self.active[side][host / 64] >> (host % 64) & 1 != 0).then(|| &self.hosts[host][side])
    }

    /// Adds what came for a group of hosts, `host` and those after it, since their cells said `before`; that is what they say
    /// `now` then.
    #[inline]
    fn add_group(&mut self, plane: usize, host: usize, now: [Counts; GROUP], before: &mut [Words; GROUP]) {
        let (side, fragment, class) = (2 * plane / PLANES, plane / Class::COUNT % 2, plane % Class::COUNT);
        let (mut active, mut sum) = (0, (0, 0));
        for (index, (now, before)) in now.into_iter().zip(before).enumerate() {
            let (packets, bytes) = now.since(Counts::from_words(*before));
            if (packets, bytes) != (0, 0) {
                *before = now.to_words();
                let volumes = &mut self.hosts[host + index][side];
                volumes.packets[fragment][class] += packets;
                volumes.bytes[fragment][class] += bytes;
                active |= 1 << index;
                sum = (sum.0 + packets as i64, sum.1 + bytes as i64);
            }
        }
        self.active[side][host / 64] |= active << (host % 64);
        self.total.packets[plane] += sum.0;
        self.total.bytes[plane] += sum.1;
    }

    /// Adds what came for a host of the /24 in other slots than its block's.
    pub(super) fn add_delta(&mut self, host: usize, delta: &Delta) {
        for direction in Direction::ALL {
            let (side, volumes) = (direction as usize, delta.volumes(direction));
            if volumes != Volumes::default() {
                self.hosts[host][side].add(&volumes);
                self.active[side][host / 64] |= 1 << (host % 64);
            }
        }
        self.total.add(delta);
    }
}

/// The places of the bits that are set.
pub(super) fn ones(words: Hosts) -> impl Iterator<Item = usize> {
    words.into_iter().enumerate().flat_map(|(word, mut left)| {
        std::iter::from_fn(move || {
            let bit = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            (bit < u64::BITS).then_some(word * 64 + bit as usize)
        })
    })
}

/// What came within a tick for one slot, by plane; or a balance of such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delta {
    packets: [i64; PLANES],
    bytes: [i64; PLANES],
}

impl Default for Delta {
    fn default() -> Delta {
        Delta { packets: [0; PLANES], bytes: [0; PLANES] }
    }
}

impl Delta {
    /// Plane, packets and bytes of those that are not nothing.
    fn planes(&self) -> impl Iterator<Item = (u8, u32, u64)> {
        let planes = self.packets.iter().zip(&self.bytes).zip(0..).filter(|((packets, _), _)| **packets != 0);
        planes.map(|((&packets, &bytes), plane)| (plane, packets as u32, bytes as u64))
    }

    /// Adds what a slot got in one plane.
    #[inline]
    pub(super) fn add_change(&mut self, change: &Change) {
        self.packets[usize::from(change.plane)] += i64::from(change.packets);
        self.bytes[usize::from(change.plane)] += change.bytes as i64;
    }

    fn add_plane(&mut self, plane: usize, now: Counts, before: Counts) {
        let (packets, bytes) = now.since(before);
        self.packets[plane] += packets as i64;
        self.bytes[plane] += bytes as i64;
    }

    /// Adds what came in one direction.
    pub(super) fn add_volumes(&mut self, direction: Direction, volumes: &Volumes) {
        let first = direction as usize * PLANES / 2;
        let add = |table: &mut [i64; PLANES], counts: &[[u64; Class::COUNT]; 2]| {
            table[first..].iter_mut().zip(counts.as_flattened()).for_each(|(sum, &count)| *sum += count as i64);
        };
        add(&mut self.packets, &volumes.packets);
        add(&mut self.bytes, &volumes.bytes);
    }

    pub(super) fn add(&mut self, other: &Delta) {
        self.each(other, |a, b| a + b);
    }

    pub(super) fn subtract(&mut self, other: &Delta) {
        self.each(other, |a, b| a - b);
    }

    fn each(&mut self, other: &Delta, f: impl Fn(i64, i64) -> i64) {
        for plane in 0..PLANES {
            self.packets[plane] = f(self.packets[plane], other.packets[plane]);
            self.bytes[plane] = f(self.bytes[plane], other.bytes[plane]);
        }
    }

    /// Takes out what is not owed; debts stay for the next time.
    pub(super) fn settle(&mut self) -> Delta {
        let mut settled = *self;
        settled.each(&Delta::default(), |balance, _| balance.max(0));
        self.each(&Delta::default(), |balance, _| balance.min(0));
        settled
    }

    /// The part of one direction.
    pub(super) fn volumes(&self, direction: Direction) -> Volumes {
        let first = direction as usize * PLANES / 2;
        let pick = |table: &[i64; PLANES]| {
            [0, 1].map(|fragment| {
                std::array::from_fn(|class| table[first + fragment * Class::COUNT + class].max(0) as u64)
            })
        };
        Volumes { packets: pick(&self.packets), bytes: pick(&self.bytes), ..Volumes::default() }
    }
}

/// What came for a hashed slot in one plane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    /// The slot, counted from the first hashed one.
    pub(super) place: u32,
    pub(super) plane: u8,
    pub(super) packets: u32,
    pub(super) bytes: u64,
}

/// What came for a hashed slot that changed hands.
struct Taken {
    delta: Delta,
    /// Whose it was, if anyone's, and what had been seen of that host's counts, which are its network's now.
    moved: Option<(u128, Delta)>,
}

/// The planes of a block that were touched: one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Touched(u32);

impl Touched {
    /// In these ticks.
    pub(super) fn of(slab: &Slab, block: usize, ticks: Ticks) -> Touched {
        let (head, since) = (slab.head(block), ticks.of_block(block).since);
        Touched((0..PLANES).fold(0, |bits, plane| bits | u32::from(head.stamp(plane) > since) << plane))
    }

    pub(super) fn any(self) -> bool {
        self.0 != 0
    }

    fn planes(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let plane = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            (plane < u32::BITS).then_some(plane as usize)
        })
    }
}

/// One worker's counters as they were seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// By plane; one that was never touched is empty. Zeroes that the system gives take no memory until written.
    planes: [Vec<Words>; PLANES],
    slots: usize,
    ipv6_at: usize,
    /// By hashed slot: its generation, and its key.
    generations: Vec<u32>,
    keys: Vec<u128>,
}

impl Seen {
    pub(super) fn new(slab: &Slab) -> Seen {
        let ipv6 = slab.ipv6_blocks();
        Seen {
            planes: Default::default(),
            slots: ipv6.end * BLOCK,
            ipv6_at: ipv6.start,
            generations: vec![0; ipv6.len() * BLOCK],
            keys: vec![0; ipv6.len() * BLOCK],
        }
    }

    /// Adds what came for the hosts of the /24 `key`, whose block this is, in the touched planes and these ticks.
    pub(super) fn take_block(
        &mut self,
        slab: &Slab,
        (key, block): (u32, usize),
        touched: Touched,
        ticks: Ticks,
        came: &mut Came,
    ) {
        let (first, ticks) = (Slot((block * BLOCK) as u32), ticks.of_block(block));
        let generation = slab.generation(first);
        for plane in touched.planes() {
            let seen = &mut plane_of(&mut self.planes[plane], self.slots)[block * BLOCK..(block + 1) * BLOCK];
            let groups = (0..BLOCK).step_by(GROUP).zip(slab.groups(block, plane)).zip(seen.as_chunks_mut().0);
            for ((index, (cells, _)), seen) in groups.filter(|((_, (_, stamp)), _)| ticks.has(*stamp)) {
                let now = cells.each_ref().map(Counts::of);
                // The block is, or became meanwhile, another /24's: what was read stays unseen until the next look.
                if slab.head(block).key() != key || !slab.unchanged(first, generation) {
                    return;
                }
                came.add_group(plane, index, now, seen);
            }
        }
    }

    /// Bytes for a slab of so many blocks, of which so many slots are hashed, once each plane was touched.
    pub(super) fn bytes_max(blocks: usize, hashed: usize) -> usize {
        blocks * BLOCK * PLANES * size_of::<Words>() + hashed * (size_of::<u32>() + size_of::<u128>())
    }

    /// Adds what came for a slot since the last look, in the touched planes of its block.
    pub(super) fn take(&mut self, slab: &Slab, slot: Slot, touched: Touched, delta: &mut Delta) {
        let generation = slab.generation(slot);
        let mut changed = false;
        for plane in touched.planes() {
            changed |= Counts::of(slab.cell(slot, plane)) != self.seen(plane, slot);
        }
        if !changed {
            return;
        }
        let mut found = Delta::default();
        let mut fresh = [Counts::default(); PLANES];
        for plane in touched.planes() {
            fresh[plane] = Counts::of(slab.cell(slot, plane));
            found.add_plane(plane, fresh[plane], self.seen(plane, slot));
        }
        // A block changed hands meanwhile: what was read may be the next /24's. It stays unseen until the next look.
        if slab.unchanged(slot, generation) {
            delta.add(&found);
            touched.planes().for_each(|plane| self.store(slot, plane, fresh[plane]));
        }
    }

    /// Takes what a slot counted so far as seen.
    pub(super) fn skip(&mut self, slab: &Slab, slot: Slot) {
        for plane in 0..PLANES {
            self.store(slot, plane, Counts::of(slab.cell(slot, plane)));
        }
    }

    /// The key that a hashed slot had at the last look.
    #[inline]
    pub(super) fn key(&self, place: u32) -> u128 {
        self.keys[place as usize]
    }

    /// Gives what came for a block of hashed slots, in the touched planes and these ticks, and what had been seen of hosts
    /// that lost their slots.
    pub(super) fn take_hashed(
        &mut self,
        slab: &Slab,
        block: usize,
        touched: Touched,
        ticks: Ticks,
        came: &mut Vec<Change>,
        moved: &mut Vec<(u128, Delta)>,
    ) {
        let first = Slot((block as u32) << 8);
        let place = (block - self.ipv6_at) * BLOCK;
        let slot = |index: usize| Slot(first.0 | index as u32);
        // Those of another host, or their first one: all that they count is new.
        let mut is_new = [false; BLOCK];
        let seen = &self.generations[place..place + BLOCK];
        for (index, (is_new, seen)) in is_new.iter_mut().zip(seen).enumerate() {
            *is_new = slab.generation(slot(index)) != *seen;
        }
        let ticks = ticks.of_block(block);
        for plane in touched.planes() {
            let seen = &mut plane_of(&mut self.planes[plane], self.slots)[first.0 as usize..][..BLOCK];
            let groups = (0..BLOCK).step_by(GROUP).zip(slab.groups(block, plane));
            for (at, (cells, _)) in groups.filter(|(_, (_, stamp))| ticks.has(*stamp)) {
                for (index, now) in (at..).zip(cells.each_ref().map(Counts::of)) {
                    let (packets, bytes) = now.since(Counts::from_words(seen[index]));
                    // Where it changed hands meanwhile, what was read may be another host's: it stays unseen until the next look.
                    let is_seen = (packets, bytes) == (0, 0) || is_new[index];
                    if !is_seen && slab.unchanged(slot(index), self.generations[place + index]) {
                        seen[index] = now.to_words();
                        let place = (place + index) as u32;
                        came.push(Change { place, plane: plane as u8, packets: packets as u32, bytes });
                    }
                }
            }
        }
        for index in (0..BLOCK).filter(|&index| is_new[index]) {
            if let Some(taken) = self.take_ipv6(slab, slot(index)) {
                let change = |(plane, packets, bytes)| Change { place: (place + index) as u32, plane, packets, bytes };
                came.extend(taken.delta.planes().map(change));
                moved.extend(taken.moved);
            }
        }
    }

    /// What came for a hashed slot that has another host, or its first.
    fn take_ipv6(&mut self, slab: &Slab, slot: Slot) -> Option<Taken> {
        let place = slot.0 as usize - self.ipv6_at * BLOCK;
        let generation = slab.generation(slot);
        let seen_address = self.keys[place];
        let address = slab.ipv6_key(slot)?;
        let (mut delta, mut moved) = (Delta::default(), Delta::default());
        let mut fresh = [Counts::default(); PLANES];
        for (plane, fresh) in fresh.iter_mut().enumerate() {
            *fresh = Counts::of(slab.cell(slot, plane));
            delta.add_plane(plane, *fresh, Counts::default());
            moved.add_plane(plane, self.seen(plane, slot), Counts::default());
        }
        if !slab.unchanged(slot, generation) {
            return None;
        }
        (0..PLANES).for_each(|plane| self.store(slot, plane, fresh[plane]));
        (self.generations[place], self.keys[place]) = (generation, address);
        Some(Taken { delta, moved: (seen_address != 0).then_some((seen_address, moved)) })
    }

    fn seen(&self, plane: usize, slot: Slot) -> Counts {
        self.planes[plane].get(slot.0 as usize).copied().map_or_else(Counts::default, Counts::from_words)
    }

    fn store(&mut self, slot: Slot, plane: usize, counts: Counts) {
        if !self.planes[plane].is_empty() || counts != Counts::default() {
            plane_of(&mut self.planes[plane], self.slots)[slot.0 as usize] = counts.to_words();
        }
    }
}

/// What was seen in a plane, which is made when it is first touched.
fn plane_of(plane: &mut Vec<Words>, slots: usize) -> &mut [Words] {
    if plane.is_empty() {
        *plane = vec![[0; 2]; slots];
    }
    plane
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_go_on_beyond_32_bits() {
        let counts = |packets, bytes| Counts { bytes, packets };
        let mut delta = Delta::default();
        delta.add_plane(0, counts(4, 5_000_000_900), counts(u32::MAX - 2, 5_000_000_000));
        assert_eq!((delta.packets[0], delta.bytes[0]), (7, 900));
        delta.add_plane(1, counts(u32::MAX, 0), counts(0, 0));
        assert_eq!(delta.packets[1], i64::from(u32::MAX));
    }

    #[test]
    fn a_debt_is_paid_before_anything_is_given_out() {
        let of = |packets: i64| Delta { packets: [packets; PLANES], ..Delta::default() };
        let mut balance = of(5);
        balance.subtract(&of(8));
        assert_eq!(balance.settle(), of(0));
        balance.add(&of(2));
        assert_eq!(balance.settle(), of(0));
        balance.add(&of(4));
        assert_eq!((balance.settle(), balance), (of(3), of(0)));
    }
}
