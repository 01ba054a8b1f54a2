//! How much memory the meter can take.

use dataplane::hosts::{BLOCK, Layout};

use super::ipv6::Ipv6;
use super::seen::{Delta, Seen};
use super::{Block, HostRates};

/// What an entry of a hash table takes at most, with what is free around it after it grew.
const fn entry(bytes: usize) -> usize {
    bytes * 16 / 7
}

/// Bytes of a meter over so many workers with this layout, where at most `ipv4_24s` /24 networks can have traffic.
pub fn bytes_max(layout: &Layout, workers: u64, ipv4_24s: u64) -> u64 {
    let slots = layout.ipv6_slots();
    let seen = Seen::bytes_max(layout.blocks(), slots);
    // What was silent is forgotten after the time in which a worker may give a block away once.
    let known_24s = ipv4_24s.min(2 * workers * layout.ipv4_blocks as u64);
    let block = BLOCK * size_of::<HostRates>() + entry(size_of::<(u32, Block)>());
    // A slot is an IPv4 or an IPv6 host's. Of the former those with rates, twice as many as slots, and what one tick brings.
    let ipv4_host = 2 * entry(size_of::<(u128, (HostRates, u32))>()) + entry(size_of::<(u32, Delta)>());
    let host = ipv4_host.max(Ipv6::bytes_max(entry));
    workers * (seen + slots * host) as u64 + known_24s * block as u64
}
