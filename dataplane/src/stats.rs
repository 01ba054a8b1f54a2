//! What a worker counts about itself and about packets as a whole: one writer, read by control at any time.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::dpdk::BURST_MAX;
use crate::packet::Unparsed;

/// What a packet was. Each received packet is exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Neither end is ours.
    Other = 0,
    /// To a protected network.
    Incoming = 1,
    /// From a protected network.
    Outgoing = 2,
    /// Both ends are ours.
    Internal = 3,
    /// A whitelist rule says to ignore it.
    Ignored = 4,
    /// It could not be parsed; by reason in [`Stats::unparsed`].
    Unparsed = 5,
}

impl Kind {
    /// Of a packet to one of our hosts, or from one, or both.
    #[inline(always)]
    pub fn of(to: bool, from: bool) -> Kind {
        match (to, from) {
            (true, false) => Kind::Incoming,
            (false, true) => Kind::Outgoing,
            (true, true) => Kind::Internal,
            (false, false) => Kind::Other,
        }
    }

    /// How many kinds.
    pub const COUNT: usize = 6;
}

/// What did not fit somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Lost {
    /// No IPv4 block was free: a host is counted in the hashed table instead.
    NoBlock = 0,
    /// A host lost its slot in the hashed table to another; its counts went to its network.
    HostEvicted = 1,
    /// A packet was counted for its network alone: all that its host could take the slot of are busy.
    NoSlot = 2,
    /// A sample did not fit into the ring.
    RingFull = 3,
}

impl Lost {
    /// How many causes.
    pub const COUNT: usize = 4;
    /// All of them.
    pub const ALL: [Lost; Lost::COUNT] = [Lost::NoBlock, Lost::HostEvicted, Lost::NoSlot, Lost::RingFull];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Lost::NoBlock => "no free IPv4 block (tables.ipv4_blocks)",
            Lost::HostEvicted => "host evicted from the hashed table (tables.ipv6_hosts)",
            Lost::NoSlot => "packet counted for its network alone (tables.ipv6_hosts)",
            Lost::RingFull => "sample ring full",
        }
    }
}

/// Width in cycles of a bucket of [`Stats::cycles`].
pub const CYCLE_WIDTH: u64 = 4;
/// Buckets of [`Stats::cycles`]; the last one takes everything above.
pub const CYCLE_BUCKETS: usize = 1024;

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Owner only.
    #[inline(always)]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Owner only.
    #[inline(always)]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One worker's figures, monotone since start.
#[derive(Debug)]
#[repr(align(64))]
pub struct Stats {
    /// Packets by [`Kind`].
    pub packets: [Counter; Kind::COUNT],
    /// Frame bytes by [`Kind`].
    pub bytes: [Counter; Kind::COUNT],
    /// Unparsed packets by [`Unparsed`].
    pub unparsed: [Counter; Unparsed::COUNT],
    /// By [`Lost`].
    pub lost: [Counter; Lost::COUNT],
    /// Calls for packets.
    pub polls: Counter,
    /// Those of them that brought none.
    pub empty_polls: Counter,
    /// Cycles spent in the others.
    pub busy_cycles: Counter,
    /// IPv4 blocks in use.
    pub ipv4_blocks: Counter,
    /// IPv6 slots in use.
    pub ipv6_hosts: Counter,
    /// Time-stamp counter when the worker last counted an empty poll or a burst: it is alive.
    pub seen_alive: Counter,
    /// Non-empty polls by number of packets.
    pub bursts: Box<[Counter; BURST_MAX + 1]>,
    /// Non-empty polls by cycles a packet, in buckets of [`CYCLE_WIDTH`].
    pub cycles: Box<[Counter; CYCLE_BUCKETS]>,
}

impl Default for Stats {
    fn default() -> Stats {
        Stats {
            packets: Default::default(),
            bytes: Default::default(),
            unparsed: Default::default(),
            lost: Default::default(),
            polls: Counter::default(),
            empty_polls: Counter::default(),
            busy_cycles: Counter::default(),
            ipv4_blocks: Counter::default(),
            ipv6_hosts: Counter::default(),
            seen_alive: Counter::default(),
            bursts: Box::new(std::array::from_fn(|_| Counter::default())),
            cycles: Box::new(std::array::from_fn(|_| Counter::default())),
        }
    }
}

impl Stats {
    /// Packets of all kinds.
    pub fn total_packets(&self) -> u64 {
        self.packets.iter().map(Counter::get).sum()
    }

    /// Frame bytes of all kinds.
    pub fn total_bytes(&self) -> u64 {
        self.bytes.iter().map(Counter::get).sum()
    }

    /// Cycles since the worker last polled, by the time-stamp counter `now` of any core.
    pub fn silent_cycles(&self, now: u64) -> u64 {
        // The counter of one core may be a little behind another's.
        now.saturating_sub(self.seen_alive.get())
    }

    /// Owner only: a poll that brought `packets`, from `start` to `end` of the time-stamp counter.
    #[inline(always)]
    pub(crate) fn polled(&self, packets: usize, start: u64, end: u64) {
        self.polls.add(1);
        self.seen_alive.set(end);
        if packets == 0 {
            self.empty_polls.add(1);
            return;
        }
        let cycles = end.wrapping_sub(start);
        self.busy_cycles.add(cycles);
        self.bursts[packets.min(BURST_MAX)].add(1);
        let bucket = (cycles / packets as u64 / CYCLE_WIDTH) as usize;
        self.cycles[bucket.min(CYCLE_BUCKETS - 1)].add(1);
    }
}
