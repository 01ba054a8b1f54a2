//! What the meter saw of a worker's counters when it last looked, and what came since.

use dataplane::hosts::{BLOCK, Line, PLANES, Slab, Slot, plane};
use dataplane::packet::Class;

use crate::attack::{Direction, Volumes};

/// What a line said.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    bytes: [u64; Class::COUNT],
    packets: [u32; Class::COUNT],
}

impl Counts {
    fn of(line: &Line) -> Counts {
        Counts {
            bytes: std::array::from_fn(|class| line.bytes(class)),
            packets: std::array::from_fn(|class| line.packets(class)),
        }
    }
}

/// What came within a tick for one slot, by plane and class; or a balance of such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Delta {
    packets: [[i64; Class::COUNT]; PLANES],
    bytes: [[i64; Class::COUNT]; PLANES],
}

impl Delta {
    pub(super) fn is_zero(&self) -> bool {
        self.packets.iter().flatten().all(|&packets| packets == 0)
    }

    fn add_plane(&mut self, plane: usize, now: &Counts, before: &Counts) {
        for class in 0..Class::COUNT {
            self.packets[plane][class] += i64::from(now.packets[class].wrapping_sub(before.packets[class]));
            self.bytes[plane][class] += now.bytes[class].wrapping_sub(before.bytes[class]) as i64;
        }
    }

    pub(super) fn add(&mut self, other: &Delta) {
        self.each(other, |a, b| a + b);
    }

    pub(super) fn subtract(&mut self, other: &Delta) {
        self.each(other, |a, b| a - b);
    }

    fn each(&mut self, other: &Delta, f: impl Fn(i64, i64) -> i64) {
        for plane in 0..PLANES {
            for class in 0..Class::COUNT {
                self.packets[plane][class] = f(self.packets[plane][class], other.packets[plane][class]);
                self.bytes[plane][class] = f(self.bytes[plane][class], other.bytes[plane][class]);
            }
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
        let planes = [false, true].map(|fragment| plane(direction == Direction::Outgoing, fragment));
        let pick = |table: &[[i64; Class::COUNT]; PLANES]| planes.map(|plane| table[plane].map(|n| n.max(0) as u64));
        Volumes { packets: pick(&self.packets), bytes: pick(&self.bytes) }
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

    /// Whether any plane of a block was touched in tick `since` or later.
    pub(super) fn touched(&self, slab: &Slab, block: usize, since: u32) -> bool {
        (0..PLANES).any(|plane| slab.head(block).stamp(plane) > since)
    }

    /// Adds what came for a slot since the last look.
    pub(super) fn take(&mut self, slab: &Slab, slot: Slot, since: u32, delta: &mut Delta) {
        let generation = slab.generation(slot);
        let mut found = Delta::default();
        let mut fresh: [Option<Counts>; PLANES] = [None; PLANES];
        for (plane, fresh) in fresh.iter_mut().enumerate() {
            let line = slab.line(slot, plane);
            if !recent(slab, slot, plane, line, since) {
                continue;
            }
            let now = Counts::of(line);
            let before =
                self.blocks[slot.block()][plane].as_ref().map_or_else(Counts::default, |seen| seen[slot.index()]);
            found.add_plane(plane, &now, &before);
            *fresh = Some(now);
        }
        // A block changed hands meanwhile: what was read may be the next /24's. It stays unseen until the next look.
        if slab.unchanged(slot, generation) {
            delta.add(&found);
            self.store(slot, &fresh);
        }
    }

    /// What came for an IPv6 slot since the last look, and for whom.
    pub(super) fn take_ipv6(&mut self, slab: &Slab, slot: Slot, since: u32) -> Option<Ipv6Taken> {
        let place = slot.0 as usize - self.ipv6_at * BLOCK;
        let generation = slab.generation(slot);
        let (seen_generation, seen_address) = self.ipv6[place];
        let same = generation == seen_generation;
        if same && !(0..PLANES).any(|plane| recent(slab, slot, plane, slab.line(slot, plane), since)) {
            return None;
        }
        let address = slab.ipv6_key(slot)?;
        let (mut delta, mut seen) = (Delta::default(), Delta::default());
        let mut fresh: [Option<Counts>; PLANES] = [None; PLANES];
        for (plane, fresh) in fresh.iter_mut().enumerate() {
            let now = Counts::of(slab.line(slot, plane));
            let before =
                self.blocks[slot.block()][plane].as_ref().map_or_else(Counts::default, |seen| seen[slot.index()]);
            if same {
                delta.add_plane(plane, &now, &before);
            } else {
                delta.add_plane(plane, &now, &Counts::default());
                seen.add_plane(plane, &before, &Counts::default());
            }
            *fresh = Some(now);
        }
        if !slab.unchanged(slot, generation) {
            return None;
        }
        self.store(slot, &fresh);
        self.ipv6[place] = (generation, address);
        let moved = (!same && seen_address != 0).then_some((seen_address, seen));
        Some(Ipv6Taken { address, delta, moved })
    }

    fn store(&mut self, slot: Slot, fresh: &[Option<Counts>; PLANES]) {
        for (seen, fresh) in self.blocks[slot.block()].iter_mut().zip(fresh) {
            let Some(counts) = fresh else { continue };
            if seen.is_none() && counts.packets == [0; Class::COUNT] {
                continue;
            }
            seen.get_or_insert_with(|| Box::new([Counts::default(); BLOCK]))[slot.index()] = *counts;
        }
    }
}

/// Whether a line may have changed since the tick `since`. Only the low bits of the tick are in the line: the head, with
/// all of them, comes first.
fn recent(slab: &Slab, slot: Slot, plane: usize, line: &Line, since: u32) -> bool {
    slab.head(slot.block()).stamp(plane) > since && line.stamp().wrapping_sub(since as u16) < 0x8000
}
