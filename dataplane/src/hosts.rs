//! Per-host counters: cells, slots, blocks. One [`Slab`] for each worker, which alone counts in it; the control thread
//! reads it. Plain memory and atomics; no clock, no I/O.
//!
//! A **cell** is 16 bytes: packets and bytes of one class, in one direction, of whole packets or of fragments. A **slot**
//! is what counts for one thing, a cell in each of 20 planes. A **block** is 256 slots, with a head that says what it is
//! for and when each plane was last touched. Memory is plane by plane. So a packet touches one cell a direction, four hosts
//! share a cache line, and what nobody sends takes no room in the cache and no time of the meter. Everything that is
//! counted has a slot of this one kind:
//!
//! ```text
//! blocks: | nowhere | networks … | rules … | IPv4: one /24 each … | IPv6: hashed slots … |
//! ```
//!
//! | field | written by | published |
//! | --- | --- | --- |
//! | packets, bytes, stamp of a cell | worker | relaxed: monotone, so a late read is an old truth |
//! | stamps of a head | worker | after what they tell of (release) |
//! | watch of a cell | control | relaxed: a hint; the worker compares the address before it acts on it |
//! | key, generation of a head; directory | worker | generation odd, key, generation even (release); then directory (release) |
//! | IPv6 keys, generations, counters at reuse | worker | generation odd, release fence, key and zeroes, generation even (release) |
//!
//! A reader brackets what it reads with two reads of the generation ([`Slab::generation`]), and drops it when they differ.
//! `scripts/loom.sh` explores models of these promises, and sees them fail when one of the orderings goes.
//! Packets are 32 bits: the meter adds up differences, so a cell may count 2³² packets between two looks.
//! An IPv4 block is reused only after it was silent for long: the meter has seen all it counted, so its counters go on
//! from where they stand. An IPv6 slot may be reused at any time: what it counted moves to its network's slot, and it
//! starts at zero.

#[cfg(all(test, loom))]
mod loom_tests;

use crate::dpdk;
use crate::flows::Flows;
use crate::networks::{NetworkId, Networks};
use crate::packet::Class;
use crate::sync::{AtomicU16, AtomicU32, AtomicU64, Memory, Ordering, fence};

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
    watch: AtomicU16,
    /// Low bits of the tick in which the worker last counted here.
    stamp: AtomicU16,
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

    /// Low bits of the tick in which it was last counted here.
    #[inline(always)]
    pub fn stamp(&self) -> u16 {
        self.stamp.load(Ordering::Relaxed)
    }

    /// The watch mark; 0: not watched.
    #[inline(always)]
    pub fn watch(&self) -> u16 {
        self.watch.load(Ordering::Relaxed)
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
pub struct Place(u32);

impl Place {
    /// No cell.
    pub const NOWHERE: Place = Place(0);
}

/// How large a slab is. The same for every worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Networks that can have a slot.
    pub networks: usize,
    /// Rules that can have a slot.
    pub rules: usize,
    /// Blocks for IPv4: active /24s at once.
    pub ipv4_blocks: usize,
    /// Slots for IPv6 hosts; rounded up to a power of two.
    pub ipv6_hosts: usize,
    /// Ticks of an epoch in which a host's flows are counted; 0: they are not.
    pub flow_ticks: u32,
}

impl Layout {
    /// The slots of hosts.
    pub(crate) fn host_slots(&self) -> std::ops::Range<u32> {
        (self.ipv4_at() * BLOCK) as u32..(self.blocks() * BLOCK) as u32
    }

    fn networks_at(&self) -> usize {
        1
    }

    fn rules_at(&self) -> usize {
        self.networks_at() + self.networks.div_ceil(BLOCK)
    }

    fn ipv4_at(&self) -> usize {
        self.rules_at() + self.rules.div_ceil(BLOCK)
    }

    fn ipv6_at(&self) -> usize {
        self.ipv4_at() + self.ipv4_blocks
    }

    fn ipv6_slots(&self) -> usize {
        self.ipv6_hosts.next_power_of_two().max(BLOCK)
    }

    fn blocks(&self) -> usize {
        self.ipv6_at() + self.ipv6_slots() / BLOCK
    }

    /// Memory of one worker's tables in bytes.
    pub fn bytes(&self) -> usize {
        let blocks = self.blocks() * (BLOCK * PLANES * size_of::<Cell>() + size_of::<Head>());
        let ipv6 = self.ipv6_slots() * (size_of::<Key>() + size_of::<AtomicU32>());
        blocks + DIRECTORY * size_of::<AtomicU16>() + ipv6 + Flows::bytes(self)
    }
}

/// An IPv6 address in two halves; all zeroes: free.
#[derive(Debug, Default)]
struct Key {
    high: AtomicU64,
    low: AtomicU64,
}

impl Key {
    #[inline(always)]
    fn load(&self) -> u128 {
        u128::from(self.high.load(Ordering::Relaxed)) << 64 | u128::from(self.low.load(Ordering::Relaxed))
    }

    fn store(&self, address: u128) {
        self.high.store((address >> 64) as u64, Ordering::Relaxed);
        self.low.store(address as u64, Ordering::Relaxed);
    }
}

/// One worker's counters.
#[derive(Debug)]
pub struct Slab {
    layout: Layout,
    /// Plane by plane, each with a cell for every slot.
    cells: Memory<Cell>,
    slots: u32,
    heads: Memory<Head>,
    /// By /24: 0, or the block.
    directory: Memory<AtomicU16>,
    keys: Memory<Key>,
    generations: Memory<AtomicU32>,
    seed: [u64; 2],
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
            slots: (layout.blocks() * BLOCK) as u32,
            heads: Memory::new("block heads", layout.blocks())?,
            directory: Memory::new("the directory of blocks", DIRECTORY)?,
            keys: Memory::new("IPv6 addresses (`tables.ipv6_hosts`)", layout.ipv6_slots())?,
            generations: Memory::new("IPv6 generations (`tables.ipv6_hosts`)", layout.ipv6_slots())?,
            seed: seed.map(|word| word | 1),
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

    /// Where the cell of a slot in a plane is.
    #[inline(always)]
    pub fn place(&self, slot: Slot, plane: usize) -> Place {
        Place(plane as u32 * self.slots + slot.0)
    }

    /// The watch mark of a place.
    pub fn watch(&self, place: Place) -> u16 {
        if place == Place::NOWHERE { 0 } else { self.cells[place.0 as usize].watch() }
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
        if usize::from(id) >= self.layout.rules {
            return Slot::NOWHERE;
        }
        Slot((self.layout.rules_at() * BLOCK) as u32 + u32::from(id))
    }

    /// The blocks of networks.
    pub fn network_blocks(&self) -> std::ops::Range<usize> {
        self.layout.networks_at()..self.layout.rules_at()
    }

    /// The blocks for IPv4.
    pub fn ipv4_blocks(&self) -> std::ops::Range<usize> {
        self.layout.ipv4_at()..self.layout.ipv6_at()
    }

    /// The blocks of IPv6 slots.
    pub fn ipv6_blocks(&self) -> std::ops::Range<usize> {
        self.layout.ipv6_at()..self.layout.blocks()
    }

    /// The slot that counts for an IPv4 host now.
    #[inline(always)]
    pub fn find_v4(&self, address: u32) -> Option<Slot> {
        find_v4(self.directory()?, address)
    }

    /// The slot that counts for an IPv6 host now.
    #[inline(always)]
    pub fn find_v6(&self, address: u128) -> Option<Slot> {
        for bucket in self.buckets(address) {
            for index in bucket..bucket + BUCKET {
                if self.keys[index].load() == address {
                    return Some(self.ipv6_slot(index));
                }
            }
        }
        None
    }

    /// The IPv6 address that a slot counts for; `None` when it is free.
    pub fn ipv6_key(&self, slot: Slot) -> Option<u128> {
        Some(self.keys[self.ipv6_index(slot)].load()).filter(|&address| address != 0)
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

    /// Control only: marks (or with 0 unmarks) a slot as watched. `id` names the target in the watch snapshot.
    pub fn set_watch(&self, slot: Slot, id: u16) {
        for plane in 0..PLANES {
            let watch = &self.cell(slot, plane).watch;
            // The cell is the worker's: it is taken away from its cache only when there is something to say.
            if watch.load(Ordering::Relaxed) != id {
                watch.store(id, Ordering::Relaxed);
            }
        }
    }

    fn ipv6_slot(&self, index: usize) -> Slot {
        Slot((self.layout.ipv6_at() * BLOCK + index) as u32)
    }

    fn ipv6_index(&self, slot: Slot) -> usize {
        slot.0 as usize - self.layout.ipv6_at() * BLOCK
    }

    /// The first slots of the two buckets of an address. The seed is secret: who chooses addresses cannot choose buckets.
    #[inline(always)]
    fn buckets(&self, address: u128) -> [usize; 2] {
        let hash = hash(&self.seed, (address >> 64) as u64, address as u64);
        let mask = self.keys.len() / BUCKET - 1;
        [(hash as usize & mask) * BUCKET, ((hash >> 32) as usize & mask) * BUCKET]
    }
}

/// A seeded hash by two folded multiplications.
#[inline(always)]
pub(crate) fn hash(seed: &[u64; 2], a: u64, b: u64) -> u64 {
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        (product >> 64) as u64 ^ product as u64
    };
    fold(fold(a ^ seed[0], b ^ seed[1]) ^ seed[1], 0x9e37_79b9_7f4a_7c15 ^ seed[0])
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
    used_ipv6: usize,
}

/// What a host without a slot got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// One that was free.
    New(Slot),
    /// That of a host that was colder, which lost it.
    Evicted(Slot),
    /// None: count for the network.
    Full,
}

impl Owner {
    /// The owner of a slab that nobody counted in yet.
    pub fn new() -> Owner {
        Owner { handed_out: 0, clock: 0, used_ipv6: 0 }
    }

    /// IPv4 blocks in use.
    pub fn used_ipv4_blocks(&self) -> usize {
        self.handed_out
    }

    /// IPv6 slots in use.
    pub fn used_ipv6_hosts(&self) -> usize {
        self.used_ipv6
    }

    /// Counts a packet of `bytes` IP bytes; returns the cell's watch mark. `cells` are the slab's: see [`Slab::cells`].
    #[inline(always)]
    pub fn count(&self, slab: &Slab, cells: &[Cell], place: Place, bytes: u32, tick: u32) -> u16 {
        let Some(cell) = cells.get(place.0 as usize) else { return 0 };
        cell.add(1, u64::from(bytes));
        if cell.stamp() != tick as u16 {
            self.touch(slab, place, tick);
        }
        cell.watch()
    }

    /// The first packet of a tick in a cell.
    #[cold]
    #[inline(never)]
    fn touch(&self, slab: &Slab, place: Place, tick: u32) {
        let (plane, slot) = (place.0 / slab.slots, Slot(place.0 % slab.slots));
        slab.cells[place.0 as usize].stamp.store(tick as u16, Ordering::Relaxed);
        // After the packet was counted: who sees the stamp sees it.
        slab.heads[slot.block()].stamps[plane as usize].store(tick, Ordering::Release); // loom: stamp-set
    }

    /// Gives the /24 of a protected IPv4 host, which has none, a block.
    pub fn insert_v4(&mut self, slab: &Slab, address: u32, tick: u32) -> Found {
        let block = if self.handed_out < slab.layout.ipv4_blocks {
            self.handed_out += 1;
            slab.layout.ipv4_at() + self.handed_out - 1
        } else {
            match self.silent_block(slab, tick) {
                Some(block) => block,
                None => return Found::Full,
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

    /// The clock's hand goes over a few blocks a call, so that a flood of new addresses costs little.
    fn silent_block(&mut self, slab: &Slab, tick: u32) -> Option<usize> {
        for _ in 0..CLOCK_STEPS.min(slab.layout.ipv4_blocks) {
            let block = slab.layout.ipv4_at() + self.clock;
            self.clock = (self.clock + 1) % slab.layout.ipv4_blocks;
            if slab.heads[block].newest_age(tick) >= SILENT_TICKS {
                return Some(block);
            }
        }
        None
    }

    /// Gives a protected IPv6 host, which has none, a slot: the coldest of its two buckets.
    pub fn insert_v6(&mut self, slab: &Slab, networks: &Networks, address: u128, tick: u32) -> Found {
        let candidates = slab.buckets(address).into_iter().flat_map(|bucket| bucket..bucket + BUCKET);
        let Some(index) = candidates.min_by_key(|&index| heat(slab, index, tick)) else { return Found::Full };
        let evicted = slab.keys[index].load();
        let slot = slab.ipv6_slot(index);
        let network = networks.find_v6(evicted).filter(|_| evicted != 0).map(|id| slab.network(id));
        let generation = &slab.generations[index];
        let before = generation.load(Ordering::Relaxed);
        generation.store(before.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release); // loom: slot-odd-first
        slab.keys[index].store(address);
        for plane in 0..PLANES {
            self.retire(slab, slot, plane, network, tick);
        }
        generation.store(before.wrapping_add(2), Ordering::Release); // loom: slot-even-last
        if evicted == 0 {
            self.used_ipv6 += 1;
            Found::New(slot)
        } else {
            Found::Evicted(slot)
        }
    }

    /// Moves what a cell counted to the network's slot: nothing is lost when a host loses its slot.
    fn retire(&self, slab: &Slab, slot: Slot, plane: usize, network: Option<Slot>, tick: u32) {
        let cell = slab.cell(slot, plane);
        cell.watch.store(0, Ordering::Relaxed);
        let (packets, bytes) = (cell.packets(), cell.bytes());
        if packets == 0 && bytes == 0 {
            return;
        }
        if let Some(network) = network {
            slab.cell(network, plane).add(packets, bytes);
            self.touch(slab, slab.place(network, plane), tick);
        }
        cell.packets.store(0, Ordering::Relaxed);
        cell.bytes.store(0, Ordering::Relaxed);
    }
}

impl Default for Owner {
    fn default() -> Owner {
        Owner::new()
    }
}

/// How much a slot is worth keeping: free ones first, then those silent for seconds, then those with the fewest packets.
fn heat(slab: &Slab, index: usize, tick: u32) -> (bool, bool, u64) {
    const RECENT_TICKS: u16 = 20;
    let slot = slab.ipv6_slot(index);
    let counted = || (0..PLANES).map(|plane| slab.cell(slot, plane)).filter(|cell| cell.packets() > 0);
    let recent = counted().any(|cell| (tick as u16).wrapping_sub(cell.stamp()) < RECENT_TICKS);
    (slab.keys[index].load() != 0, recent, counted().map(|cell| u64::from(cell.packets())).sum())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use ipnet::IpNet;

    use super::*;

    fn slab(ipv4_blocks: usize, ipv6_hosts: usize) -> Slab {
        Slab::new(Layout { networks: 10, rules: 10, ipv4_blocks, ipv6_hosts, flow_ticks: 0 }, [1, 2]).expect("memory")
    }

    fn networks() -> Networks {
        let list: Vec<IpNet> =
            ["198.18.0.0/15", "2001:db8::/32"].iter().map(|text| text.parse().expect("net")).collect();
        Networks::new(&list).expect("networks")
    }

    fn sum(slab: &Slab, slot: Slot) -> (u64, u64) {
        let cells = || (0..PLANES).map(|plane| slab.cell(slot, plane));
        (cells().map(|cell| u64::from(cell.packets())).sum(), cells().map(Cell::bytes).sum())
    }

    const UDP: usize = 2;

    fn slot_v4(owner: &mut Owner, slab: &Slab, address: u32, tick: u32) -> Option<Slot> {
        slab.find_v4(address).or_else(|| match owner.insert_v4(slab, address, tick) {
            Found::New(slot) => Some(slot),
            _ => None,
        })
    }

    fn slot_v6(owner: &mut Owner, slab: &Slab, address: u128, tick: u32) -> Slot {
        slab.find_v6(address).unwrap_or_else(|| match owner.insert_v6(slab, &networks(), address, tick) {
            Found::New(slot) | Found::Evicted(slot) => slot,
            Found::Full => panic!("there is always a slot"),
        })
    }

    #[test]
    fn a_block_serves_one_24_and_counts_by_host_plane_and_class() {
        let slab = slab(2, 256);
        let mut owner = Owner::new();
        let slot = slot_v4(&mut owner, &slab, 0xc612_0005, 1).expect("a new block");
        assert_eq!(slab.find_v4(0xc612_0005), Some(slot));
        let neighbour = slab.find_v4(0xc612_0006).expect("the same block");
        assert_eq!(neighbour.block(), slot.block());
        owner.count(&slab, slab.cells(), slab.place(slot, plane(false, false, Class::Udp)), 100, 7);
        owner.count(&slab, slab.cells(), slab.place(slot, plane(true, true, Class::Tcp)), 50, 8);
        assert_eq!((slab.cell(slot, UDP).packets(), slab.cell(slot, UDP).bytes()), (1, 100));
        assert_eq!(slab.cell(slot, 15).bytes(), 50);
        assert_eq!(sum(&slab, neighbour), (0, 0));
        let head = slab.head(slot.block());
        assert_eq!((head.key(), head.stamp(UDP), head.stamp(15)), (0x00c6_1200, 7, 8));
    }

    #[test]
    fn only_a_silent_block_is_reused() {
        let slab = slab(1, 256);
        let mut owner = Owner::new();
        let first = slot_v4(&mut owner, &slab, 0xc612_0001, 1).expect("a new block");
        owner.count(&slab, slab.cells(), slab.place(first, UDP), 1, 10);
        let generation = slab.generation(first);
        assert_eq!(owner.insert_v4(&slab, 0xc612_0101, 10 + SILENT_TICKS - 1), Found::Full);
        assert!(slab.unchanged(first, generation));
        assert_eq!(slot_v4(&mut owner, &slab, 0xc612_0101, 10 + SILENT_TICKS), Some(first));
        assert!(!slab.unchanged(first, generation), "a reader notices");
        assert_eq!(slab.find_v4(0xc612_0001), None);
        assert_eq!(slab.cell(first, UDP).packets(), 1, "counters go on from where they stand");
    }

    #[test]
    fn a_scan_does_not_keep_a_heavy_host_out_and_loses_no_count() {
        let slab = slab(1, 256);
        let mut owner = Owner::new();
        let base = 0x2001_0db8_u128 << 96;
        let heavy = base | 0xffff_ffff;
        let mut last = Slot::NOWHERE;
        let mut moved = 0;
        for scanned in 1..=20_000u128 {
            let slot = slot_v6(&mut owner, &slab, base | scanned, 5);
            owner.count(&slab, slab.cells(), slab.place(slot, 0), 40, 5);
            // Ten packets to the heavy host for each scanned one.
            for _ in 0..10 {
                let slot = slot_v6(&mut owner, &slab, heavy, 5);
                owner.count(&slab, slab.cells(), slab.place(slot, UDP), 100, 5);
                moved += usize::from(slot != last);
                last = slot;
            }
        }
        assert_eq!(moved, 1, "the heavy host keeps its slot");
        assert_eq!(sum(&slab, last), (200_000, 20_000_000));
        let slots = slab.ipv6_blocks().flat_map(|block| (0..256).map(move |index| Slot((block * 256 + index) as u32)));
        let in_slots: u64 = slots.map(|slot| sum(&slab, slot).0).sum();
        assert_eq!(in_slots + sum(&slab, slab.network(1)).0, 220_000, "evicted counts go to the network");
        assert_eq!(owner.used_ipv6_hosts(), 256);
    }

    #[test]
    fn a_reader_notices_that_an_ipv6_slot_changed_hands() {
        let slab = slab(1, 256);
        let mut owner = Owner::new();
        let base = 0x2001_0db8_u128 << 96;
        let slot = slot_v6(&mut owner, &slab, base | 1, 1);
        slab.set_watch(slot, 7);
        assert_eq!(owner.count(&slab, slab.cells(), slab.place(slot, UDP), 1, 1), 7);
        let generation = slab.generation(slot);
        assert_eq!(slab.ipv6_key(slot), Some(base | 1));
        assert!(slab.unchanged(slot, generation));
        for scanned in 2..5_000u128 {
            let next = slot_v6(&mut owner, &slab, base | scanned, 100);
            owner.count(&slab, slab.cells(), slab.place(next, UDP), 1, 100);
        }
        assert_eq!(slab.find_v6(base | 1), None);
        assert!(!slab.unchanged(slot, generation));
        assert_eq!(slab.cell(slot, UDP).watch.load(Ordering::Relaxed), 0, "the next host is not watched in its place");
    }
}
