//! Numbers of slots, and of cells.

use super::BLOCK;

/// Number of a slot in a slab. [`Slot::NOWHERE`] takes what is not to be counted, so that counting needs no branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Slot(pub u32);

impl Slot {
    /// Counts here are never read.
    pub const NOWHERE: Slot = Slot(0);

    /// Which block.
    pub fn block(self) -> usize {
        self.0 as usize / BLOCK
    }

    /// Which slot of the block.
    pub fn index(self) -> usize {
        self.0 as usize % BLOCK
    }
}

/// Number of a cell in a slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Place(pub(super) u32);

impl Place {
    /// No cell.
    pub const NOWHERE: Place = Place(0);

    /// Whether all of these are this one. Without a branch for each, so that the compiler takes several at once.
    #[inline(always)]
    pub fn is_all_of(self, places: &[Place]) -> bool {
        places.iter().fold(0, |differs, place| differs | place.0 ^ self.0) == 0
    }

    /// The cell of a slot, in the plane that begins here.
    #[inline(always)]
    pub fn of(self, slot: Slot) -> Place {
        Place(self.0 + slot.0)
    }
}
