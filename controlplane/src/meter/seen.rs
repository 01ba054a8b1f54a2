//! What the meter saw of a worker's counters when it last looked, and what came since.

use dataplane::hosts::{BLOCK, Cell, PLANES, Slab, Slot};
use dataplane::packet::Class;

use crate::attack::{Direction, Volumes};

/// What a cell said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    bytes: u64,
    packets: u32,
}

impl Counts {
    fn of(cell: &Cell) -> Counts {
        Counts { bytes: cell.bytes(), packets: cell.packets() }
    }
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
    pub(super) fn is_zero(&self) -> bool {
        self.packets.iter().chain(&self.bytes).all(|&count| count == 0)
    }

    fn add_plane(&mut self, plane: usize, now: Counts, before: Counts) {
        self.packets[plane] += i64::from(now.packets.wrapping_sub(before.packets));
        self.bytes[plane] += now.bytes.wrapping_sub(before.bytes) as i64;
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

/// What came for an IPv6 slot.
pub(super) struct Ipv6Taken {
    /// For whom.
    pub(super) address: u128,
    /// How much.
    pub(super) delta: Delta,
    /// If the slot changed hands: whose it was, and what had been seen of that host's counts, which are its network's now.
    pub(super) moved: Option<(u128, Delta)>,
}

/// One block as it was seen: planes that were never touched take no memory.
type SeenBlock = [Option<Box<[Counts; BLOCK]>>; PLANES];

/// The planes of a block that were touched: one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Touched(u32);

impl Touched {
    /// Since the tick `since`.
    pub(super) fn of(slab: &Slab, block: usize, since: u32) -> Touched {
        let head = slab.head(block);
        Touched((0..PLANES).filter(|&plane| head.stamp(plane) > since).fold(0, |bits, plane| bits | 1 << plane))
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
    blocks: Vec<SeenBlock>,
    ipv6_at: usize,
    ipv6: Vec<(u32, u128)>,
}

impl Seen {
    pub(super) fn new(slab: &Slab) -> Seen {
        let ipv6 = slab.ipv6_blocks();
        Seen {
            blocks: (0..ipv6.end).map(|_| SeenBlock::default()).collect(),
            ipv6_at: ipv6.start,
            ipv6: vec![(0, 0); ipv6.len() * BLOCK],
        }
    }

    /// Adds what came for a slot since the last look, in the touched planes of its block.
    pub(super) fn take(&mut self, slab: &Slab, slot: Slot, touched: Touched, delta: &mut Delta) {
        let generation = slab.generation(slot);
        let block = &self.blocks[slot.block()];
        let mut changed = false;
        for plane in touched.planes() {
            changed |= Counts::of(slab.cell(slot, plane)) != seen(block, plane, slot);
        }
        if !changed {
            return;
        }
        let mut found = Delta::default();
        let mut fresh = [Counts::default(); PLANES];
        for plane in touched.planes() {
            fresh[plane] = Counts::of(slab.cell(slot, plane));
            found.add_plane(plane, fresh[plane], seen(block, plane, slot));
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

    /// What came for an IPv6 slot since the last look, and for whom.
    pub(super) fn take_ipv6(&mut self, slab: &Slab, slot: Slot, touched: Touched) -> Option<Ipv6Taken> {
        let place = slot.0 as usize - self.ipv6_at * BLOCK;
        let generation = slab.generation(slot);
        let (seen_generation, seen_address) = self.ipv6[place];
        let same = generation == seen_generation;
        let block = &self.blocks[slot.block()];
        if same && touched.planes().all(|plane| Counts::of(slab.cell(slot, plane)) == seen(block, plane, slot)) {
            return None;
        }
        let address = slab.ipv6_key(slot)?;
        let (mut delta, mut moved) = (Delta::default(), Delta::default());
        let mut fresh = [Counts::default(); PLANES];
        for (plane, fresh) in fresh.iter_mut().enumerate() {
            *fresh = Counts::of(slab.cell(slot, plane));
            let before = seen(block, plane, slot);
            if same {
                delta.add_plane(plane, *fresh, before);
            } else {
                delta.add_plane(plane, *fresh, Counts::default());
                moved.add_plane(plane, before, Counts::default());
            }
        }
        if !slab.unchanged(slot, generation) {
            return None;
        }
        (0..PLANES).for_each(|plane| self.store(slot, plane, fresh[plane]));
        self.ipv6[place] = (generation, address);
        let moved = (!same && seen_address != 0).then_some((seen_address, moved));
        Some(Ipv6Taken { address, delta, moved })
    }

    fn store(&mut self, slot: Slot, plane: usize, counts: Counts) {
        let seen = &mut self.blocks[slot.block()][plane];
        if seen.is_none() && counts == Counts::default() {
            return;
        }
        seen.get_or_insert_with(|| Box::new([Counts::default(); BLOCK]))[slot.index()] = counts;
    }
}

fn seen(block: &SeenBlock, plane: usize, slot: Slot) -> Counts {
    block[plane].as_ref().map_or_else(Counts::default, |seen| seen[slot.index()])
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
