//! How large a slab is, and where in it each kind of block begins. Values only.

use std::ops::Range;

use super::{AtomicU16, AtomicU32, BLOCK, Cell, DIRECTORY, GROUPS, Head, Key, PLANES, Warmth};
use crate::dpdk;
use crate::flows::Flows;

/// Bytes of the stamps of a block's groups.
const BLOCK_STAMPS: usize = PLANES * GROUPS * size_of::<AtomicU16>();

/// How large a slab is. The same for every worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Networks that can have a slot.
    pub networks: usize,
    /// Rules that can have a slot.
    pub rules: usize,
    /// Blocks for IPv4: active /24s at once.
    pub ipv4_blocks: usize,
    /// IPv6 hosts at once.
    pub ipv6_hosts: usize,
    /// Ticks of an epoch in which a host's flows are counted; 0: they are not.
    pub flow_ticks: u32,
    /// Leading bits of an IPv6 address that name a host, 1 to 128: all addresses that share them are one host.
    pub ipv6_prefix_length: u8,
}

impl Layout {
    /// The bits of an IPv6 address that name a host.
    pub(crate) fn ipv6_mask(&self) -> u128 {
        u128::MAX << (128 - u32::from(self.ipv6_prefix_length.clamp(1, 128)))
    }

    /// The slots of hosts.
    pub(crate) fn host_slots(&self) -> Range<u32> {
        (self.ipv4_at() * BLOCK) as u32..(self.blocks() * BLOCK) as u32
    }

    pub(super) fn rule_slots(&self) -> Range<u32> {
        let first = (self.rules_at() * BLOCK) as u32;
        first..first + self.rules as u32
    }

    pub(super) fn networks_at(&self) -> usize {
        1
    }

    fn rules_at(&self) -> usize {
        self.networks_at() + self.networks.div_ceil(BLOCK)
    }

    pub(super) fn ipv4_at(&self) -> usize {
        self.rules_at() + self.rules.div_ceil(BLOCK)
    }

    pub(super) fn ipv6_at(&self) -> usize {
        self.ipv4_at() + self.ipv4_blocks
    }

    /// Slots of the hashed table: three in seven stay free, so that all but one host in four thousand or so find one in their two buckets.
    pub fn ipv6_slots(&self) -> usize {
        (self.ipv6_hosts / 4 * 7).next_multiple_of(BLOCK).max(BLOCK)
    }

    /// Blocks of all kinds.
    pub fn blocks(&self) -> usize {
        self.ipv6_at() + self.ipv6_slots() / BLOCK
    }

    /// Bytes of each table of one worker, as they are mapped.
    pub fn tables(&self) -> [usize; 8] {
        let (blocks, slots) = (self.blocks(), self.ipv6_slots());
        [
            blocks * BLOCK * PLANES * size_of::<Cell>(),
            blocks * BLOCK_STAMPS,
            blocks * size_of::<Head>(),
            DIRECTORY * size_of::<AtomicU16>(),
            slots * size_of::<Key>(),
            slots * size_of::<AtomicU32>(),
            slots * size_of::<Warmth>(),
            Flows::bytes(self),
        ]
        .map(|bytes| bytes.next_multiple_of(dpdk::HUGE_PAGE))
    }

    /// The same by what it is for.
    pub fn parts(&self) -> Parts {
        let block = BLOCK * PLANES * size_of::<Cell>() + BLOCK_STAMPS + size_of::<Head>();
        let slot = size_of::<Key>() + size_of::<AtomicU32>() + size_of::<Warmth>() + block / BLOCK;
        let (ipv4_blocks, ipv6_hosts) = (self.ipv4_blocks * block, self.ipv6_slots() * slot);
        let (directory, flows) = (DIRECTORY * size_of::<AtomicU16>(), Flows::bytes(self));
        let all: usize = self.tables().iter().sum();
        Parts { ipv4_blocks, ipv6_hosts, directory, flows, rest: all - ipv4_blocks - ipv6_hosts - directory - flows }
    }
}

/// Bytes of one worker's slab, by what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// By [`Layout::ipv4_blocks`].
    pub ipv4_blocks: usize,
    /// By [`Layout::ipv6_hosts`].
    pub ipv6_hosts: usize,
    /// The directory of blocks: always the same.
    pub directory: usize,
    /// Lines in which flows are counted: only where a group has a threshold for them.
    pub flows: usize,
    /// Networks, rules, and what rounding up to pages takes.
    pub rest: usize,
}
