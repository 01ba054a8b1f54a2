//! Per-host counters: cells, slots, blocks. One [`Slab`] for each worker, which alone counts in it; the control thread
//! reads it. Plain memory and atomics; no clock, no I/O.
//!
//! A **cell** is 16 bytes: packets and bytes of one class, in one direction, of whole packets or of fragments. A **slot**
//! is what counts for one thing, a cell in each of 20 planes. A **block** is 256 slots, with a head that says what it is
//! for and when each plane was last touched; eight cells of a plane, a **group**, have a stamp of their own beside. Memory is
//! plane by plane. So a packet touches one cell a direction, four hosts share a cache line, and what nobody sends takes no
//! room in the cache and no time of the meter. Everything that is counted has a slot of this one kind:
//!
//! ```text
//! blocks: | nowhere | networks … | rules … | IPv4: one /24 each … | hashed slots: IPv6 … |
//! ```
//!
//! | field | written by | published |
//! | --- | --- | --- |
//! | packets, bytes of a cell | worker | relaxed: monotone, so a late read is an old truth |
//! | stamp of a cell | worker | nobody else reads it; it shares a word with the mark, which is never written as a whole but by exchange |
//! | stamp of a group | worker | relaxed, before the head's |
//! | stamps of a head | worker | after what they tell of: counts, stamps of groups (release) |
//! | watch of a cell | control; worker, of slots that it hands out | relaxed: a hint; the worker compares the address before it acts on it |
//! | key, generation of a head; directory | worker | generation odd, key, generation even (release); then directory (release) |
//! | hashed keys, generations, counters at reuse | worker | generation odd, release fence, key and zeroes, generation even (release) |
//! | warmth of a hashed slot | worker | nobody else reads it |
//!
//! A reader brackets what it reads with two reads of the generation ([`Slab::generation`]), and drops it when they differ.
//! `scripts/loom.sh` explores models of these promises, and sees them fail when one of the orderings goes.
//! Packets are 32 bits: the meter adds up differences, so a cell may count 2³² packets between two looks.
//! An IPv4 block is reused only after it was silent for long: the meter has seen all it counted, so its counters go on
//! from where they stand. A hashed slot may be reused in any burst without a packet of its host: what it counted moves to
//! its network's slot, and it starts at zero. Where a scan has taken all blocks, further IPv4 hosts are counted in hashed slots.

mod hashed;
mod layout;
#[cfg(all(test, loom))]
mod loom_tests;
mod marks;
mod place;
mod seed;
#[cfg(all(test, not(loom)))]
pub(super) mod tests;

use std::net::IpAddr;
use std::ops::Range;

use crate::dpdk;
use crate::networks::{NetworkId, Networks};
use crate::packet::Class;
use crate::sync::{AtomicU16, AtomicU32, AtomicU64, Memory, Ordering, fence, which_of};

pub use hashed::{Bucket, host, key};
use hashed::{Key, Placed, Warmth};
pub use layout::{Layout, Parts};
pub use place::{Place, Slot};
pub(crate) use seed::Seed;

// A model explores every interleaving, so it has as few cells as can show a mistake.

/// Slots of a block.
pub const BLOCK: usize = if cfg!(loom) { 1 } else { 256 };
/// Cells of a slot: both directions, whole packets and fragments, five classes.
pub const PLANES: usize = if cfg!(loom) { 1 } else { 4 * Class::COUNT };
/// Entries of the directory: one for each /24 that there is.
const DIRECTORY: usize = if cfg!(loom) { 4 } else { 1 << 24 };
/// Most IPv4 blocks of a worker: what a directory entry can name, less what networks and rules take.
pub const IPV4_BLOCKS_MAX: usize = 64_000;
/// Ticks of the control thread for which an IPv4 block must have been silent before it may serve another /24.
pub const SILENT_TICKS: u32 = 600;
/// Blocks that one failed search for a silent block looks at.
const CLOCK_STEPS: usize = 16;
/// Cells of a group: two cache lines, so that a block's stamps in a plane are one.
pub const GROUP: usize = if cfg!(loom) { 1 } else { 8 };
/// Groups of a block in a plane.
const GROUPS: usize = BLOCK / GROUP;
/// Slots of an IPv6 bucket: one cache line of addresses.
const BUCKET: usize = if cfg!(loom) { 1 } else { 4 };

/// The plane that a packet counts in.
#[inline(always)]
pub fn plane(outgoing: bool, fragment: bool, class: Class) -> usize {
    (2 * usize::from(outgoing) + usize::from(fragment)) * Class::COUNT + class as usize
}

/// Packets and bytes of one slot in one plane.
#[derive(Debug, Default)]
#[repr(C, align(16))]
pub struct Cell {
    bytes: AtomicU64,
    packets: AtomicU32,
    /// One word, so that one look tells whether there is anything to do but count. Lower half, the **stamp**: low bits of the
    /// tick in which the worker last counted here, for itself: so it sees the first packet of a tick. Upper half: the watch mark.
    state: AtomicU32,
}

const _: () = assert!(cfg!(loom) || size_of::<Cell>() == 16);

impl Cell {
    /// Packets, modulo 2³².
    #[inline(always)]
    pub fn packets(&self) -> u32 {
        self.packets.load(Ordering::Relaxed)
    }

    /// IP bytes.
    #[inline(always)]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn state(&self) -> u32 {
        self.state.load(Ordering::Relaxed)
    }

    fn stamp(&self) -> u16 {
        self.state() as u16
    }

    /// Owner only, so that no bit but the stamp's changes in between.
    fn set_stamp(&self, stamp: u16) {
        self.state.fetch_xor(u32::from(self.stamp() ^ stamp), Ordering::Relaxed); // loom: stamp-exchanged
    }

    /// The watch mark; 0: not watched.
    #[inline(always)]
    pub fn watch(&self) -> u16 {
        (self.state() >> 16) as u16
    }

    /// Owner only: one writer, so no locked instruction.
    #[inline(always)]
    fn add(&self, packets: u32, bytes: u64) {
        self.bytes.store(self.bytes().wrapping_add(bytes), Ordering::Relaxed);
        self.packets.store(self.packets().wrapping_add(packets), Ordering::Relaxed);
    }
}

/// What a block is for, and when its planes were touched.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Head {
    key: AtomicU32,
    generation: AtomicU32,
    stamps: [AtomicU32; PLANES],
}

impl Head {
    /// The /24 (top 24 bits of the address, shifted down) of an IPv4 block in use.
    pub fn key(&self) -> u32 {
        self.key.load(Ordering::Relaxed)
    }

    /// The tick in which a plane was last touched; 0: never. Who sees a stamp sees what was counted before it was set, and
    /// for which /24.
    pub fn stamp(&self, plane: usize) -> u32 {
        self.stamps[plane].load(Ordering::Acquire) // loom: stamp-seen
    }

    fn newest_age(&self, tick: u32) -> u32 {
        self.stamps.iter().map(|stamp| tick.wrapping_sub(stamp.load(Ordering::Relaxed))).min().unwrap_or(0)
    }
}

/// One worker's counters.
#[derive(Debug)]
pub struct Slab {
    layout: Layout,
    /// Plane by plane, each with a cell for every slot.
    cells: Memory<Cell>,
    /// One for each group of cells: low bits of the tick in which the worker last counted in it.
    stamps: Memory<AtomicU16>,
    slots: u32,
    /// The first slot of the hashed table.
    ipv6_first: u32,
    rules: Range<u32>,
    heads: Memory<Head>,
    /// By /24: 0, or the block.
    directory: Memory<AtomicU16>,
    /// By bucket.
    keys: Memory<[Key; BUCKET]>,
    generations: Memory<AtomicU32>,
    warmth: Memory<Warmth>,
    seed: Seed,
    ipv6_mask: u128,
}

impl Slab {
    /// An empty slab; made on the worker's core, so that its memory is near.
    ///
    /// # Errors
    /// When the system has not enough memory.
    pub fn new(layout: Layout, seed: [u64; 2]) -> Result<Slab, dpdk::Error> {
        Ok(Slab {
            layout,
            cells: Memory::new("counters (`tables`)", layout.blocks() * BLOCK * PLANES)?,
            stamps: Memory::new("stamps of groups (`tables`)", layout.blocks() * GROUPS * PLANES)?,
            slots: (layout.blocks() * BLOCK) as u32,
            ipv6_first: (layout.ipv6_at() * BLOCK) as u32,
            rules: layout.rule_slots(),
            heads: Memory::new("block heads", layout.blocks())?,
            directory: Memory::new("the directory of blocks", DIRECTORY)?,
            keys: Memory::new("IPv6 addresses (`tables.ipv6_hosts`)", layout.ipv6_slots() / BUCKET)?,
            generations: Memory::new("IPv6 generations (`tables.ipv6_hosts`)", layout.ipv6_slots())?,
            warmth: Memory::new("IPv6 hosts' warmth (`tables.ipv6_hosts`)", layout.ipv6_slots())?,
            seed: Seed::new(seed),
            ipv6_mask: layout.ipv6_mask(),
        })
    }

    /// How large it is.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What pages its counters got.
    pub fn backing(&self) -> dpdk::Backing {
        self.cells.backing()
    }

    /// Every cell, by place.
    #[inline(always)]
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The directory of IPv4 blocks by /24, for [`find_v4`].
    #[inline(always)]
    pub fn directory(&self) -> Option<&Directory> {
        self.directory.as_array()
    }

    /// The cell of a slot in a plane.
    #[inline(always)]
    pub fn cell(&self, slot: Slot, plane: usize) -> &Cell {
        &self.cells[self.place(slot, plane).0 as usize]
    }

    /// The cells of a block in a plane, and the stamps of their groups: low bits of the tick in which one was last counted in.
    /// Who read the [`Head::stamp`] before sees stamps as late as that.
    #[inline]
    pub fn groups(&self, block: usize, plane: usize) -> impl Iterator<Item = (&[Cell; GROUP], u16)> {
        let first = self.place(Slot((block * BLOCK) as u32), plane).0 as usize;
        let stamps = &self.stamps[first / GROUP..first / GROUP + GROUPS];
        let stamps = stamps.iter().map(|stamp| stamp.load(Ordering::Relaxed));
        self.cells[first..first + BLOCK].as_chunks().0.iter().zip(stamps)
    }

    /// Where the cell of a slot in a plane is.
    #[inline(always)]
    pub fn place(&self, slot: Slot, plane: usize) -> Place {
        self.plane(plane).of(slot)
    }

    /// Where a plane begins.
    #[inline(always)]
    pub fn plane(&self, plane: usize) -> Place {
        Place(plane as u32 * self.slots)
    }

    /// Whether what is counted there was sent.
    #[inline(always)]
    pub fn is_outgoing(&self, place: Place) -> bool {
        place.0 >= (PLANES / 2) as u32 * self.slots
    }

    /// Which plane it is in.
    #[inline(always)]
    pub fn plane_of(&self, place: Place) -> usize {
        (place.0 / self.slots.max(1)) as usize
    }

    /// The watch mark of a place.
    #[inline(always)]
    pub fn watch(&self, place: Place) -> u16 {
        self.cells.get(place.0 as usize).map_or(0, Cell::watch)
    }

    /// Asks the CPU to fetch a cell that is to be counted in soon.
    #[inline(always)]
    pub fn prefetch(&self, place: Place) {
        self.cells.prefetch(place.0 as usize);
    }

    /// The head of a block.
    #[inline(always)]
    pub fn head(&self, block: usize) -> &Head {
        &self.heads[block]
    }

    /// The slot of a network: what was counted for none of its hosts.
    #[inline(always)]
    pub fn network(&self, id: NetworkId) -> Slot {
        if usize::from(id) >= self.layout.networks {
            return Slot::NOWHERE;
        }
        Slot((self.layout.networks_at() * BLOCK) as u32 + u32::from(id))
    }

    /// The slot of a rule.
    #[inline(always)]
    pub fn rule(&self, id: u16) -> Slot {
        // No branch: nobody can predict whether a rule matches.
        let is_one = u32::from(id) < self.rules.end - self.rules.start;
        Slot(u32::from(is_one) * (self.rules.start + u32::from(id)))
    }

    /// The blocks for IPv4.
    pub fn ipv4_blocks(&self) -> Range<usize> {
        self.layout.ipv4_at()..self.layout.ipv6_at()
    }

    /// The blocks of IPv6 slots.
    pub fn ipv6_blocks(&self) -> Range<usize> {
        self.layout.ipv6_at()..self.layout.blocks()
    }

    /// The slot that counts for an IPv4 host now.
    #[inline(always)]
    pub fn find_v4(&self, address: u32) -> Option<Slot> {
        find_v4(self.directory()?, address)
    }

    /// The slot that counts for a host now; an IPv6 host's address is the first one of its prefix.
    pub fn find(&self, host: IpAddr) -> Option<Slot> {
        let block = if let IpAddr::V4(address) = host { self.find_v4(address.into()) } else { None };
        block.or_else(|| self.find_v6(key(host)))
    }

    /// The [`key`] of the host that an IPv6 address of a packet counts for. A key is not to be masked again: those of all
    /// IPv4 hosts would become one.
    #[inline(always)]
    pub fn key_v6(&self, address: u128) -> u128 {
        address & self.ipv6_mask
    }

    /// The generation of whatever a slot of a block belongs to; odd while it changes hands. Pairs with a second call after
    /// the reads: see [`Slab::unchanged`].
    pub fn generation(&self, slot: Slot) -> u32 {
        self.generation_of(slot).load(Ordering::Acquire) // loom: generation-read
    }

    /// Whether what was read since `generation` was read belongs together.
    pub fn unchanged(&self, slot: Slot, generation: u32) -> bool {
        fence(Ordering::Acquire); // loom: reads-before-second-look
        generation.is_multiple_of(2) && self.generation_of(slot).load(Ordering::Relaxed) == generation
    }

    fn generation_of(&self, slot: Slot) -> &AtomicU32 {
        if slot.block() >= self.layout.ipv6_at() {
            &self.generations[self.ipv6_index(slot)]
        } else {
            &self.heads[slot.block()].generation
        }
    }

    #[inline(always)]
    fn ipv6_slot(&self, index: usize) -> Slot {
        Slot(self.ipv6_first + index as u32)
    }

    fn ipv6_index(&self, slot: Slot) -> usize {
        slot.0.wrapping_sub(self.ipv6_first) as usize
    }
}

/// By /24: 0, or the block.
pub type Directory = [AtomicU16; DIRECTORY];

/// The slot that counts for an IPv4 host now.
#[inline(always)]
pub fn find_v4(directory: &Directory, address: u32) -> Option<Slot> {
    let block = directory[(address >> 8) as usize].load(Ordering::Acquire); // loom: directory-read
    match block {
        0 => None,
        block => Some(Slot(u32::from(block) * BLOCK as u32 + address % BLOCK as u32)),
    }
}

/// The worker's side of its slab: what only the owner may do.
#[derive(Debug)]
pub struct Owner {
    /// IPv4 blocks handed out so far; the next ones come from silent blocks.
    handed_out: usize,
    clock: usize,
    /// Blocks that the clock's hand went over within a tick.
    searched: (u32, usize),
    used_ipv6: usize,
    random: u64,
    placed: Placed,
}

/// What cells say when a packet is counted: whether it is the first of the tick, and the watch mark; of several, joined.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said(u32);

impl Said {
    /// What either says.
    #[inline(always)]
    pub fn join(self, other: Said) -> Said {
        Said(self.0 | other.0)
    }

    /// Whether a cell is to be touched: see [`Owner::touch`].
    #[inline(always)]
    pub fn is_first(self) -> bool {
        self.0 & 0xffff != 0
    }

    /// Whether a cell is of a watched slot.
    #[inline(always)]
    pub fn is_watched(self) -> bool {
        self.0 >> 16 != 0
    }
}

/// What a host without a slot got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// One that was free.
    New(Slot),
    /// That of a host that was colder, which lost it.
    Evicted(Slot),
    /// One that it had already: it is an IPv4 host in the hashed table.
    Known(Slot),
    /// None: count for the network.
    Full,
}

impl Owner {
    /// The owner of a slab that nobody counted in yet.
    pub fn new() -> Owner {
        Owner {
            handed_out: 0,
            clock: 0,
            searched: (0, 0),
            used_ipv6: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            placed: Placed::default(),
        }
    }

    /// IPv4 blocks in use.
    pub fn used_ipv4_blocks(&self) -> usize {
        self.handed_out
    }

    /// IPv6 slots in use.
    pub fn used_ipv6_hosts(&self) -> usize {
        self.used_ipv6
    }

    /// The next burst begins: what was looked up before it has been counted.
    #[inline(always)]
    pub fn begin_burst(&mut self) {
        self.placed.begin_burst();
    }

    /// A packet of this burst will be counted in this slot of the hashed table: nobody else gets it until the next burst.
    #[inline(always)]
    pub fn keep(&mut self, slot: Slot) {
        self.placed.add(slot);
    }

    /// Counts a packet of `bytes` IP bytes; gives what the cell says besides. `cells` are the slab's: see [`Slab::cells`].
    #[inline(always)]
    pub fn add(&self, cells: &[Cell], place: Place, bytes: u32, tick: u32) -> Said {
        let Some(cell) = cells.get(place.0 as usize) else { return Said(0) };
        cell.add(1, u64::from(bytes));
        Said(cell.state() ^ tick & 0xffff)
    }

    /// The same with all that belongs to it; gives the watch mark.
    #[inline]
    pub fn count(&self, slab: &Slab, place: Place, bytes: u32, tick: u32) -> u16 {
        self.count_many(slab, place, 1, bytes.into(), tick)
    }

    /// The same for several packets.
    #[inline]
    pub fn count_many(&self, slab: &Slab, place: Place, packets: u32, bytes: u64, tick: u32) -> u16 {
        let Some(cell) = slab.cells.get(place.0 as usize) else { return 0 };
        cell.add(packets, bytes);
        if cell.stamp() != tick as u16 {
            self.touch(slab, place, tick);
        }
        cell.watch()
    }

    /// A packet was counted in a cell: says so to the meter, unless it was done in this tick.
    #[cold]
    #[inline(never)]
    pub fn touch(&self, slab: &Slab, place: Place, tick: u32) {
        let cell = &slab.cells[place.0 as usize];
        if cell.stamp() == tick as u16 {
            return;
        }
        cell.set_stamp(tick as u16);
        let (plane, slot) = (slab.plane_of(place), Slot(place.0 % slab.slots));
        let group = &slab.stamps[place.0 as usize / GROUP];
        // The first of a group stamps the head for all of it: in a busy block most find that line alone in their cache.
        if group.load(Ordering::Relaxed) != tick as u16 {
            group.store(tick as u16, Ordering::Relaxed); // loom: group-set
            // After the packet was counted and its group stamped: who sees the head's stamp sees both.
            slab.heads[slot.block()].stamps[plane].store(tick, Ordering::Release); // loom: stamp-set
        }
        if slot.block() >= slab.layout.ipv6_at() {
            slab.warmth[slab.ipv6_index(slot)].touch(plane, tick);
        }
    }

    /// Gives the /24 of a protected IPv4 host, which has none, a block; where none is free, the host a slot of the hashed
    /// table.
    pub fn insert_v4(&mut self, slab: &Slab, networks: &Networks, address: u32, tick: u32) -> Found {
        let block = if self.handed_out < slab.layout.ipv4_blocks {
            self.handed_out += 1;
            slab.layout.ipv4_at() + self.handed_out - 1
        } else {
            let key = key(IpAddr::V4(address.into()));
            if let Some(slot) = slab.find_v6(key) {
                self.keep(slot);
                return Found::Known(slot);
            }
            match self.silent_block(slab, tick) {
                Some(block) => block,
                None => return self.insert_v6(slab, networks, key, tick),
            }
        };
        let head = &slab.heads[block];
        let generation = head.generation.load(Ordering::Relaxed);
        head.generation.store(generation.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release); // loom: block-odd-first
        if generation != 0 {
            slab.directory[head.key() as usize].store(0, Ordering::Relaxed);
        }
        head.key.store(address >> 8, Ordering::Relaxed);
        // A block in use is never taken for a silent one before it is touched.
        head.stamps.iter().for_each(|stamp| stamp.store(tick.saturating_sub(SILENT_TICKS / 2), Ordering::Relaxed));
        head.generation.store(generation.wrapping_add(2), Ordering::Release); // loom: block-even-last
        slab.directory[(address >> 8) as usize].store(block as u16, Ordering::Release); // loom: directory-published
        slab.find_v4(address).map_or(Found::Full, Found::New)
    }

    /// The clock's hand goes over a few blocks a call, and once around in a tick, so that a flood of new addresses costs
    /// little.
    fn silent_block(&mut self, slab: &Slab, tick: u32) -> Option<usize> {
        if self.searched.0 != tick {
            self.searched = (tick, 0);
        }
        let steps = CLOCK_STEPS.min(slab.layout.ipv4_blocks - self.searched.1);
        self.searched.1 += steps;
        for _ in 0..steps {
            let block = slab.layout.ipv4_at() + self.clock;
            self.clock = (self.clock + 1) % slab.layout.ipv4_blocks;
            if slab.heads[block].newest_age(tick) >= SILENT_TICKS {
                return Some(block);
            }
        }
        None
    }
}

impl Default for Owner {
    fn default() -> Owner {
        Owner::new()
    }
}
