//! Watch marks: which slots a worker looks at closer. Set by control, and by the worker in slots that it hands out.

use super::{BLOCK, Cell, Ordering, PLANES, Slab, Slot};

impl Cell {
    fn mark(&self, id: u16) {
        let marked = |state: u32| (state >> 16 != u32::from(id)).then_some(u32::from(id) << 16 | state & 0xffff);
        // The cell is the worker's: it is taken away from its cache only when there is something to say.
        if marked(self.state()).is_some() {
            let _ = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, marked);
        }
    }
}

impl Slab {
    /// Marks (or with 0 unmarks) a slot as watched. `id` names the host or network in the watch snapshot.
    pub fn set_watch(&self, slot: Slot, id: u16) {
        (0..PLANES).for_each(|plane| self.cell(slot, plane).mark(id));
    }

    /// The same for every slot of a block.
    pub fn set_watch_of_block(&self, block: usize, ids: &[u16; BLOCK]) {
        for plane in 0..PLANES {
            let first = self.place(Slot((block * BLOCK) as u32), plane).0 as usize;
            self.cells[first..first + BLOCK].iter().zip(ids).for_each(|(cell, &id)| cell.mark(id));
        }
    }
}
