//! Flows a second: how many different flows a host has in an epoch of about a second, estimated by a sketch of one cache
//! line for each host and direction. Plain memory and atomics; no clock, no I/O.
//!
//! A **flow** is what has the same source, destination, protocol and ports. A **line** is a tag and 112 registers of
//! 4 bits (HyperLogLog): the hash of a flow chooses a register, which keeps the longest run of zero bits that it has seen. The
//! same flow changes nothing twice. Ertl's estimator ("New cardinality estimation algorithms for HyperLogLog sketches",
//! 2017) reads registers from none to nearly all saturated without tables or switching between methods.
//!
//! **Error**: standard error 1.04/√112, some 10 %, up to two million flows; 13 % at four million; [`ESTIMATE_MAX`] stands for
//! that and all above. Of 112 registers an estimate is some 0.5 to 1 % too high in the mean, which shows only in a sum of many.
//!
//! A **tag** names the epoch and the host. Who finds another tag than his own begins the line anew: so nobody clears
//! memory when an epoch ends or when a slot changes hands. Even and odd epochs have lines of their own, so that the control
//! thread has a whole epoch to read the one that is complete. All workers have the same seed, so that their registers merge.
//!
//! | field | written by | published |
//! | --- | --- | --- |
//! | tag | worker | at a change: no tag, release fence, zeroed registers, new tag (release) |
//! | registers | worker | relaxed: they only grow under a tag, so a late read is an old truth |
//!
//! `scripts/loom.sh` explores a model of this.

#[cfg(all(test, loom))]
mod loom_tests;

use std::net::IpAddr;
use std::ops::Range;

use crate::dpdk;
use crate::hosts::{Layout, Seed, Slot};
use crate::packet::Flow;
use crate::sync::{AtomicU64, Memory, Ordering, fence};

/// Registers of a line.
const REGISTERS: usize = if cfg!(loom) { 16 } else { 112 };
/// Registers in a word.
const IN_WORD: usize = 16;
const WORDS: usize = REGISTERS / IN_WORD;
/// What a saturated register holds: a run of this length or longer.
const RANK_MAX: usize = 15;
/// Standard error of an estimate, as a share of it.
pub const STANDARD_ERROR: f64 = 0.098;
/// Up to so many flows.
pub const RANGE: i64 = 2_000_000;
/// The highest estimate: what it stands for may be more.
pub const ESTIMATE_MAX: f64 = 8_000_000.0;
/// A line that is being changed belongs to nobody.
const NO_TAG: u64 = u64::MAX;

/// One host's sketch in one direction and epoch.
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct Line {
    tag: AtomicU64,
    words: [AtomicU64; WORDS],
}

const _: () = assert!((cfg!(loom) || size_of::<Line>() == 64) && WORDS * IN_WORD == REGISTERS);

impl Line {
    /// Owner only: the first flow of another epoch or host.
    #[cold]
    #[inline(never)]
    fn begin(&self, tag: u64) {
        self.tag.store(NO_TAG, Ordering::Relaxed);
        // Who reads a zeroed register reads no old tag behind it.
        fence(Ordering::Release); // loom: no-tag-first
        self.words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        self.tag.store(tag, Ordering::Release); // loom: tag-last
    }

    /// Owner only.
    #[inline(always)]
    fn add(&self, hash: u64) {
        let register = (((hash >> 32) * REGISTERS as u64) >> 32) as usize;
        let rank = u64::from((hash as u32 | 1 << (RANK_MAX - 1)).trailing_zeros()) + 1;
        let Some(word) = self.words.get(register / IN_WORD) else { return };
        let shift = register % IN_WORD * 4;
        let old = word.load(Ordering::Relaxed);
        // Without a branch, that nobody could predict.
        let rank = rank.max(old >> shift & 0xf);
        word.store(old & !(0xf << shift) | rank << shift, Ordering::Relaxed);
    }

    /// What it holds, if it is under this tag.
    fn read(&self, tag: u64) -> Option<Registers> {
        let seen = self.tag.load(Ordering::Acquire); // loom: tag-read
        if seen != tag {
            return None;
        }
        let words = self.words.each_ref().map(|word| word.load(Ordering::Relaxed));
        fence(Ordering::Acquire); // loom: registers-before-second-look
        (self.tag.load(Ordering::Relaxed) == tag).then_some(Registers(words))
    }
}

/// What a sketch, or the union of several, holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers([u64; WORDS]);

impl Registers {
    /// Takes in the flows of another sketch. Those that both saw count once.
    pub fn merge(&mut self, other: &Registers) {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            let (mut ours, theirs) = (word.to_ne_bytes(), other.to_ne_bytes());
            for (byte, other) in ours.iter_mut().zip(theirs) {
                *byte = (*byte & 0x0f).max(other & 0x0f) | (*byte & 0xf0).max(other & 0xf0);
            }
            *word = u64::from_ne_bytes(ours);
        }
    }

    /// How many flows it saw, with [`STANDARD_ERROR`]. Some 50 ns: the control thread asks for a million hosts.
    pub fn estimate(&self) -> f64 {
        const M: f64 = REGISTERS as f64;
        let pairs = self.0.iter().flat_map(|word| word.to_ne_bytes());
        let sum = pairs.fold(0, |sum, pair| sum + PAIRS[usize::from(pair)]);
        let (zeroes, saturated) = (sum >> ZEROES_AT & 0xff, sum >> SATURATED_AT);
        let runs = (sum & RUNS) as f64 + M * tau(1.0 - saturated as f64 / M);
        let weight = runs / (1 << (RANK_MAX - 1)) as f64 + M * SIGMA[zeroes as usize];
        (M * M / (2.0 * std::f64::consts::LN_2 * weight)).min(ESTIMATE_MAX)
    }
}

/// What the estimate needs of registers is a sum over them, in three fields: those that saw nothing, those that are
/// saturated, and 2^-rank of the others, times 2^14.
const ZEROES_AT: u32 = 32;
const SATURATED_AT: u32 = 40;
const RUNS: u64 = 0xffff_ffff;

/// The terms of two registers, by the byte that holds them.
static PAIRS: [u64; 256] = {
    let mut ranks = [1 << ZEROES_AT; RANK_MAX + 1];
    ranks[RANK_MAX] = 1 << SATURATED_AT;
    let mut rank = 1;
    while rank < RANK_MAX {
        ranks[rank] = 1 << (RANK_MAX - 1 - rank);
        rank += 1;
    }
    let mut pairs = [0; 256];
    let mut pair = 0;
    while pair < pairs.len() {
        pairs[pair] = ranks[pair % 16] + ranks[pair / 16];
        pair += 1;
    }
    pairs
};

/// [`sigma`] by how many registers saw nothing.
static SIGMA: [f64; REGISTERS + 1] = {
    let mut table = [0.0; REGISTERS + 1];
    let mut zeroes = 0;
    while zeroes <= REGISTERS {
        table[zeroes] = sigma(zeroes as f64 / REGISTERS as f64);
        zeroes += 1;
    }
    table
};

/// x + Σ x^(2^k) · 2^(k-1), for the registers that saw nothing.
const fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut factor, mut sum) = (1.0, x);
    loop {
        x *= x;
        let next = sum + x * factor;
        if next == sum {
            return sum;
        }
        (sum, factor) = (next, factor * 2.0);
    }
}

/// (1 - x - Σ (1 - x^(2^-k))² · 2^-k) / 3, for the registers that are saturated.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut factor, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        factor /= 2.0;
        let next = sum - (1.0 - x).powi(2) * factor;
        if next == sum {
            return sum / 3.0;
        }
        sum = next;
    }
}

/// Where a flow is to be noted: a line, and what names its host in the tag that it must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    line: u32,
    host: u32,
}

impl Place {
    /// No line.
    pub const NOWHERE: Place = Place { line: u32::MAX, host: 0 };
}

/// Where the lines of an epoch and direction begin.
#[derive(Clone, Copy, Debug)]
pub struct Side(u32);

/// The tag of a host's line in an epoch.
#[inline(always)]
fn tag(epoch: u32, host: u32) -> u64 {
    u64::from(epoch) << 32 | u64::from(host)
}

/// A flow's hash, and what names its two ends in a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// Of the whole flow.
    pub flow: u64,
    /// Of its source.
    pub source: u32,
    /// Of its destination.
    pub destination: u32,
}

/// One worker's sketches. Without lines where flows are not counted.
#[derive(Debug)]
pub struct Flows {
    /// By epoch (even, odd) and direction (incoming, outgoing), each with a line for every slot of a host.
    lines: Memory<Line>,
    slots: Range<u32>,
    epoch_ticks: u32,
    seed: Seed,
    ipv6_mask: u128,
}

impl Flows {
    /// Sketches for the hosts of a slab of this layout; made on the worker's core. The seed is secret: who chooses addresses
    /// and ports cannot choose registers.
    ///
    /// # Errors
    /// When the system has not enough memory.
    pub fn new(layout: &Layout, seed: [u64; 2]) -> Result<Flows, dpdk::Error> {
        Ok(Flows {
            lines: Memory::new("flow sketches (`flows_per_second`)", lines(layout))?,
            slots: layout.host_slots(),
            epoch_ticks: layout.flow_ticks.max(1),
            seed: Seed::new(seed),
            ipv6_mask: layout.ipv6_mask(),
        })
    }

    /// Memory in bytes that a layout asks for.
    pub fn bytes(layout: &Layout) -> usize {
        lines(layout) * size_of::<Line>()
    }

    /// Whether flows are counted.
    #[inline(always)]
    pub fn is_on(&self) -> bool {
        !self.lines.is_empty()
    }

    /// The epoch of a tick.
    #[inline(always)]
    pub fn epoch(&self, tick: u32) -> u32 {
        tick / self.epoch_ticks
    }

    /// Hashes an IPv4 flow. An address names its host as it is.
    #[inline(always)]
    pub fn hash_v4(&self, flow: &Flow<u32>) -> Hashed {
        let ends = u64::from(flow.source) << 32 | u64::from(flow.destination);
        Hashed { flow: self.seed.hash(ends, flow.upper), source: flow.source, destination: flow.destination }
    }

    /// Hashes an IPv6 flow.
    #[inline(always)]
    pub fn hash_v6(&self, flow: &Flow<u128>) -> Hashed {
        let (source, destination) = (self.end_v6(flow.source), self.end_v6(flow.destination));
        let whole = self.seed.hash(source, destination ^ flow.upper);
        let (source, destination) = (self.name_v6(flow.source, source), self.name_v6(flow.destination, destination));
        Hashed { flow: whole, source, destination }
    }

    /// What names the host of an address in a tag: the hash of its prefix's first address. `hashed` is that of the address
    /// itself, so that nothing is hashed twice where each address is a host.
    #[inline(always)]
    fn name_v6(&self, address: u128, hashed: u64) -> u32 {
        let host = address & self.ipv6_mask;
        if host == address { hashed as u32 } else { self.end_v6(host) as u32 }
    }

    #[inline(always)]
    fn end_v6(&self, address: u128) -> u64 {
        self.seed.hash((address >> 64) as u64, address as u64)
    }

    /// The lines of an epoch and direction.
    #[inline(always)]
    pub fn side(&self, epoch: u32, outgoing: bool) -> Side {
        Side((2 * (epoch & 1) + u32::from(outgoing)) * (self.slots.end - self.slots.start))
    }

    /// The line of a slot that serves `host` ([`Hashed`]). Only hosts have lines.
    #[inline(always)]
    pub fn place(&self, side: Side, slot: Slot, host: u32) -> Place {
        let at = slot.0.wrapping_sub(self.slots.start);
        if at >= self.slots.end - self.slots.start {
            return Place::NOWHERE;
        }
        Place { line: side.0 + at, host }
    }

    /// Asks the CPU to fetch a line that is to be written soon.
    #[inline(always)]
    pub fn prefetch(&self, place: Place) {
        self.lines.prefetch(place.line as usize);
    }

    /// What writes lines in an epoch.
    #[inline(always)]
    pub fn writer(&self, epoch: u32) -> Writer<'_> {
        Writer { lines: &self.lines, epoch }
    }

    /// As [`Writer::count`].
    pub fn count(&self, place: Place, epoch: u32, flow: u64) {
        self.writer(epoch).count(place, flow);
    }

    /// What a slot's line holds of a host in an epoch: nothing, if it had no flow then. An IPv6 host's address is the first
    /// one of its prefix.
    pub fn read(&self, slot: Slot, outgoing: bool, epoch: u32, host: IpAddr) -> Registers {
        let name = match host {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => self.end_v6(address.into()) as u32,
        };
        let place = self.place(self.side(epoch, outgoing), slot, name);
        self.lines.get(place.line as usize).and_then(|line| line.read(tag(epoch, name))).unwrap_or_default()
    }
}

/// The owner's hand on the lines of an epoch.
#[derive(Debug)]
pub struct Writer<'a> {
    lines: &'a [Line],
    epoch: u32,
}

impl Writer<'_> {
    /// Notes the flow with this hash, unless the place is [`Place::NOWHERE`].
    #[inline(always)]
    pub fn count(&self, place: Place, flow: u64) {
        let Some(line) = self.lines.get(place.line as usize) else { return };
        let tag = tag(self.epoch, place.host);
        if line.tag.load(Ordering::Relaxed) != tag {
            line.begin(tag);
        }
        line.add(flow);
    }
}

/// Two epochs, two directions.
fn lines(layout: &Layout) -> usize {
    if layout.flow_ticks == 0 { 0 } else { 4 * layout.host_slots().len() }
}

#[cfg(all(test, not(loom)))]
mod tests;
