//! Marks the slots of a watched network's hosts. Workers mark slots that they hand out from then on; those in use before are
//! marked here, some at a time, since the marks of a large network lie in more memory than the control thread may go through
//! between two looks.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dataplane::hosts::{BLOCK, Layout, Slab, Slot, key};
use dataplane::networks::{NetworkId, Networks};
use dataplane::pipeline::Shared;
use dataplane::watch::Watch;
use ipnet::IpNet;

/// Blocks that are marked at once: 80 KiB each.
const BLOCKS_AT_ONCE: usize = 64;
/// Slots of the hashed table that are looked at once.
const SLOTS_AT_ONCE: usize = 4096;

/// Whether a prefix is one host, which has one slot.
pub(super) fn is_host(prefix: IpNet, layout: &Layout) -> bool {
    prefix.prefix_len() >= if prefix.addr().is_ipv4() { 32 } else { layout.ipv6_prefix_length }
}

/// A block as it was last looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    generation: u32,
    round: u64,
    /// Whether slots of it were marked for a network.
    marked: bool,
}

/// How far it is with a worker.
#[derive(Debug, Default)]
struct Progress {
    blocks: Vec<Block>,
    next_block: usize,
    next_slot: usize,
    /// Hashed slots that were not looked at in this round.
    slots_left: usize,
}

/// The watched networks, and how far their marks are.
#[derive(Debug, Default)]
pub(super) struct Marking {
    networks: BTreeMap<IpNet, u16>,
    /// The marks of protected networks' own slots.
    own: Vec<(NetworkId, u16)>,
    /// Counts which networks there were.
    round: u64,
    workers: Vec<Progress>,
}

impl Marking {
    /// Whether a network is watched.
    pub(super) fn has_networks(&self) -> bool {
        !self.networks.is_empty()
    }

    /// From now on these networks are watched, with these marks. What no host has a slot for is marked at once.
    pub(super) fn begin<'a>(
        &mut self,
        networks: BTreeMap<IpNet, u16>,
        workers: impl Iterator<Item = &'a Shared>,
        protected: &Networks,
    ) {
        let before = std::mem::replace(&mut self.networks, networks);
        let own: Vec<(NetworkId, u16)> =
            protected.iter().map(|(id, network)| (id, self.mark_of_rest(&network))).collect();
        if before == self.networks && own == self.own {
            return;
        }
        self.round += 1;
        for (place, shared) in workers.enumerate() {
            for &(id, mark) in &own {
                shared.slab.set_watch(shared.slab.network(id), mark);
            }
            if self.workers.len() <= place {
                self.workers.push(Progress::default());
            }
            self.workers[place].slots_left = shared.slab.layout().ipv6_slots();
        }
        self.own = own;
    }

    /// The mark of a protected network's own slot: the longest prefix around it, or else the widest within it.
    fn mark_of_rest(&self, network: &IpNet) -> u16 {
        let around = self.networks.iter().filter(|(prefix, _)| prefix.contains(network));
        let within = self.networks.iter().filter(|(prefix, _)| network.contains(*prefix));
        let longest = around.max_by_key(|(prefix, _)| prefix.prefix_len());
        let mark = longest.or_else(|| within.min_by_key(|(prefix, _)| prefix.prefix_len()));
        mark.map_or(0, |(_, mark)| *mark)
    }

    /// Marks some more.
    pub(super) fn go_on<'a>(&mut self, workers: impl Iterator<Item = &'a Shared>, watch: &Watch) {
        let has_networks = self.has_networks();
        for (shared, progress) in workers.zip(&mut self.workers) {
            progress.go_on_with_blocks(shared, watch, self.round);
            progress.go_on_with_hashed(&shared.slab, watch, has_networks);
        }
    }
}

impl Progress {
    /// IPv4 blocks that changed hands, or that were not looked at in this round.
    fn go_on_with_blocks(&mut self, shared: &Shared, watch: &Watch, round: u64) {
        let (slab, used) = (&shared.slab, shared.stats.ipv4_blocks.get() as usize);
        self.blocks.resize(used, Block::default());
        let mut left = BLOCKS_AT_ONCE;
        for _ in 0..used {
            self.next_block = (self.next_block + 1) % used;
            let number = slab.ipv4_blocks().start + self.next_block;
            let slot = Slot((number * BLOCK) as u32);
            let (block, generation) = (&mut self.blocks[self.next_block], slab.generation(slot));
            if (block.generation, block.round) == (generation, round) || !generation.is_multiple_of(2) {
                continue;
            }
            let key = slab.head(number).key();
            let marks = watch.marks_v4(key);
            if marks.is_some() || block.marked {
                slab.set_watch_of_block(number, &marks.unwrap_or_else(|| of_hosts(key, watch)));
                left -= 1;
            }
            *block = Block { generation, round, marked: marks.is_some() };
            if left == 0 {
                break;
            }
        }
    }

    /// Hashed slots: over and over as long as networks are watched, and then once more.
    fn go_on_with_hashed(&mut self, slab: &Slab, watch: &Watch, has_networks: bool) {
        if self.slots_left == 0 && !has_networks {
            return;
        }
        let (first, slots) = (slab.ipv6_blocks().start * BLOCK, slab.layout().ipv6_slots());
        for _ in 0..SLOTS_AT_ONCE.min(slots) {
            self.next_slot = (self.next_slot + 1) % slots;
            let slot = Slot((first + self.next_slot) as u32);
            let mark = slab.ipv6_key(slot).and_then(|key| watch.mark(key)).unwrap_or(0);
            // All planes of a slot say the same.
            if slab.cell(slot, 0).watch() != mark {
                slab.set_watch(slot, mark);
            }
        }
        self.slots_left = self.slots_left.saturating_sub(SLOTS_AT_ONCE);
    }
}

/// The marks of the hosts of a /24.
fn of_hosts(block: u32, watch: &Watch) -> [u16; BLOCK] {
    std::array::from_fn(|index| watch.mark(key(IpAddr::V4((block << 8 | index as u32).into()))).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use dataplane::hosts::Owner;
    use dataplane::networks::Networks;
    use dataplane::watch::Watched;

    use super::*;

    const LAYOUT: Layout =
        Layout { networks: 3, rules: 1, ipv4_blocks: 200, ipv6_hosts: 20_000, flow_ticks: 0, ipv6_prefix_length: 128 };

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    /// A worker with hosts of 198.18.0.0/16 (one in each of 200 /24s) and of 2001:db8::/32.
    fn worker(protected: &Networks) -> Shared {
        let shared = Shared::new(0, LAYOUT, [1, 2]).expect("memory");
        let mut owner = Owner::new();
        for host in 0..200 {
            owner.insert_v4(&shared.slab, protected, 0xc612_0000 | host << 8, 1);
            owner.begin_burst();
            owner.insert_v6(
                &shared.slab,
                protected,
                0x2001_0db8 << 96 | u128::from(host % 2) << 80 | u128::from(host),
                1,
            );
        }
        shared.stats.ipv4_blocks.set(owner.used_ipv4_blocks() as u64);
        shared
    }

    fn watch(prefixes: &[(&str, u16)]) -> (BTreeMap<IpNet, u16>, Watch) {
        let watched = |prefix| Watched { prefix: net(prefix).into(), rules: Default::default(), captures: Vec::new() };
        let last = prefixes.iter().map(|(_, mark)| *mark).max().unwrap_or(0);
        let at = |place| prefixes.iter().find(|(_, mark)| *mark == place).map(|(prefix, _)| watched(*prefix));
        let networks = prefixes.iter().map(|(prefix, mark)| (net(prefix), *mark));
        let networks = networks.filter(|(prefix, _)| !is_host(*prefix, &LAYOUT)).collect();
        (networks, Watch::new((1..=last).map(at).collect()))
    }

    #[test]
    fn slots_in_use_are_marked_bit_by_bit_and_unmarked_again() {
        let list = ["198.18.0.0/16", "2001:db8::/32", "198.18.128.0/25"].map(net);
        let protected = Networks::new(&list).unwrap();
        let shared = worker(&protected);
        let mark = |host: &str| shared.slab.cell(shared.slab.find(host.parse().unwrap()).expect(host), 7).watch();
        let own = || [0, 1, 2].map(|id| shared.slab.cell(shared.slab.network(id), 7).watch());
        let mut marking = Marking::default();
        let (networks, watch_all) = watch(&[("198.18.0.0/16", 1), ("198.18.77.5/32", 2), ("2001:db8:1::/48", 3)]);
        marking.begin(networks, [&shared].into_iter(), &protected);
        assert_eq!(own(), [1, 3, 1]);
        let hosts = ["198.18.0.9", "198.18.77.4", "198.18.77.5", "198.18.199.255", "2001:db8:1::1", "2001:db8::2"];
        marking.go_on([&shared].into_iter(), &watch_all);
        let blocks = (0..200).filter(|block| mark(&format!("198.18.{block}.1")) == 1).count();
        assert_eq!(blocks, BLOCKS_AT_ONCE, "no more at once");
        (0..10).for_each(|_| marking.go_on([&shared].into_iter(), &watch_all));
        assert_eq!(hosts.map(mark), [1, 1, 2, 1, 3, 0]);

        // A smaller network in place of the large one.
        let (networks, watch_less) = watch(&[("198.18.77.0/24", 1), ("198.18.77.5/32", 2)]);
        marking.begin(networks, [&shared].into_iter(), &protected);
        (0..10).for_each(|_| marking.go_on([&shared].into_iter(), &watch_less));
        assert_eq!((hosts.map(mark), own()), ([0, 1, 2, 0, 0, 0], [1, 0, 0]));

        let (networks, watch_host) = watch(&[("198.18.77.5/32", 2)]);
        marking.begin(networks, [&shared].into_iter(), &protected);
        (0..10).for_each(|_| marking.go_on([&shared].into_iter(), &watch_host));
        assert_eq!((hosts.map(mark), own()), ([0, 0, 2, 0, 0, 0], [0; 3]));
    }
}
