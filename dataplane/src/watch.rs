//! What workers do for hosts and networks under attack: an immutable snapshot of active rules and open captures, read once a
//! burst.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::hosts::{BLOCK, key};
use crate::packet::{Addresses, Headers};
use crate::rule::lanes::each;
use crate::rule::{Columns, FlowRule, RuleSet, SET_MAX};

/// Hosts and networks that can be watched at once.
pub const WATCHED_MAX: usize = 4096;
/// Captures that can be open at once.
pub const CAPTURES_MAX: usize = 256;

/// The slot of no rule: nobody reads what is counted there.
pub const NO_RULE: u16 = u16::MAX;

/// A rule that an engine holds.
#[derive(Clone, Debug)]
pub struct ActiveRule {
    /// What it matches.
    pub rule: FlowRule,
    /// Where its matches are counted: see [`crate::hosts::Slab::rule`].
    pub slot: u16,
}

/// The active rules of a host or network in one direction, compiled.
#[derive(Clone, Debug)]
pub struct ActiveRules {
    set: RuleSet,
    /// By rule; behind the last one [`NO_RULE`].
    slots: [u16; SET_MAX],
}

impl ActiveRules {
    /// Of the first [`SET_MAX`] rules for what `target` receives or sends; where several match a packet, it counts for the
    /// first one. Only packets of the target are held against them.
    pub fn new(target: IpNet, outgoing: bool, rules: &[ActiveRule]) -> ActiveRules {
        let mut slots = [NO_RULE; SET_MAX];
        slots.iter_mut().zip(rules).for_each(|(slot, active)| *slot = active.slot);
        let without_target = |active: &ActiveRule| {
            let mut rule = active.rule.clone();
            let end = if outgoing { &mut rule.source } else { &mut rule.destination };
            // What all of them pass need not be asked.
            *end = end.filter(|prefix| !prefix.contains(&target));
            rule
        };
        let rules: Vec<FlowRule> = rules.iter().map(without_target).collect();
        ActiveRules { set: RuleSet::new(rules.iter()), slots }
    }

    /// The slots of all rules, in their order.
    pub fn slots(&self) -> impl Iterator<Item = u16> {
        self.slots.into_iter().take_while(|&slot| slot != NO_RULE)
    }

    /// Whether the wide columns are asked for.
    #[inline(always)]
    pub fn is_wide(&self) -> bool {
        self.set.is_wide()
    }

    /// Calls `count` with the slot of each rule and the packets, of those in these lanes, that it is the first to match. Gives
    /// those that no rule matches.
    #[inline(always)]
    pub fn share_out(&self, columns: &mut Columns, lanes: u64, mut count: impl FnMut(&Columns, u16, u64)) -> u64 {
        let rules = self.set.matching(columns, lanes);
        let mut rest = lanes;
        for rule in each(rules) {
            let firsts = columns.matched(rule) & rest;
            rest &= !firsts;
            if firsts != 0 {
                count(columns, self.slots[rule], firsts);
            }
        }
        rest
    }
}

impl Default for ActiveRules {
    fn default() -> ActiveRules {
        ActiveRules { set: RuleSet::new([].iter()), slots: [NO_RULE; SET_MAX] }
    }
}

/// A request for samples of a host's or network's packets, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Its number; never used again.
    pub request: u32,
    /// Its place among [`CAPTURES_MAX`].
    pub place: u16,
    /// One packet in so many is taken.
    pub stride: u32,
    /// Most packets from one worker.
    pub worker_max: u32,
    /// Direction of the attack: here only what no active rule matches is taken.
    pub outgoing: bool,
}

/// A prefix, ready for packets to be held against it: what is of the other family lies in none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    net: IpNet,
    /// First address, and mask. Of the other family no address has this first one.
    v4: (u32, u32),
    v6: (u128, u128),
}

impl From<IpNet> for Prefix {
    fn from(net: IpNet) -> Prefix {
        let net = net.trunc();
        let prefix = Prefix { net, v4: (1, 0), v6: (1, 0) };
        match net {
            IpNet::V4(net) => Prefix { v4: (net.network().into(), net.netmask().into()), ..prefix },
            IpNet::V6(net) => Prefix { v6: (net.network().into(), net.netmask().into()), ..prefix },
        }
    }
}

impl Prefix {
    /// As it is written.
    pub fn net(&self) -> IpNet {
        self.net
    }

    /// Whether an IPv4 address lies within.
    #[inline(always)]
    pub fn holds_v4(&self, address: u32) -> bool {
        address & self.v4.1 == self.v4.0
    }

    /// Whether the packet is to (or, outgoing, from) an address within.
    #[inline(always)]
    pub fn is_end(&self, outgoing: bool, headers: &Headers) -> bool {
        match headers.addresses {
            Addresses::V4 { source, destination } => self.holds_v4(if outgoing { source } else { destination }),
            Addresses::V6 { source, destination } => {
                (if outgoing { source } else { destination }) & self.v6.1 == self.v6.0
            }
        }
    }
}

/// A host or network with rules or captures.
#[derive(Clone, Debug)]
pub struct Watched {
    /// All addresses of the host or network.
    pub prefix: Prefix,
    /// Active rules for what it receives, and for what it sends.
    pub rules: [ActiveRules; 2],
    /// Open captures.
    pub captures: Vec<Capture>,
}

/// Everything that is watched. A packet is looked at for the longest prefix alone that holds its host.
#[derive(Debug, Default)]
pub struct Watch {
    watched: Vec<Option<Watched>>,
    /// By the [`key`] of a prefix's first address and how many of its bits matter.
    marks: HashMap<(u128, u8), u16>,
    /// Those numbers of bits, the largest first.
    lengths: Vec<u8>,
    /// Whether an IPv4 prefix of several hosts is among them.
    has_ipv4_networks: bool,
}

impl Watch {
    /// A snapshot. A place in the list, plus 1, is a watch mark.
    pub fn new(watched: Vec<Option<Watched>>) -> Watch {
        let places = watched.iter().zip(1u16..);
        let nets: Vec<(IpNet, u16)> =
            places.filter_map(|(watched, mark)| watched.as_ref().map(|watched| (watched.prefix.net(), mark))).collect();
        let marks: HashMap<(u128, u8), u16> =
            nets.iter().map(|&(net, mark)| ((key(net.network()), bits(net)), mark)).collect();
        let mut lengths: Vec<u8> = nets.iter().map(|&(net, _)| bits(net)).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        let has_ipv4_networks = nets.iter().any(|(net, _)| net.addr().is_ipv4() && net.prefix_len() < 32);
        Watch { watched, marks, lengths, has_ipv4_networks }
    }

    /// What a watch mark stands for. Compare the address: a mark is a hint, its slot may have changed hands.
    pub fn get(&self, mark: u16) -> Option<&Watched> {
        self.watched.get(usize::from(mark).checked_sub(1)?)?.as_ref()
    }

    /// The mark of a host, by its [`key`].
    #[inline]
    pub fn mark(&self, key: u128) -> Option<u16> {
        let mark =
            |&bits: &u8| self.marks.get(&(key & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0), bits));
        self.lengths.iter().find_map(mark).copied()
    }

    /// The marks of all hosts of a /24 (its address shifted down), which get their slots together; none where no network is
    /// watched that holds any of them.
    pub fn marks_v4(&self, block: u32) -> Option<[u16; BLOCK]> {
        if !self.has_ipv4_networks {
            return None;
        }
        let mark = |index| self.mark(key(IpAddr::V4((block << 8 | index as u32).into()))).unwrap_or(0);
        Some(std::array::from_fn(mark)).filter(|marks: &[u16; BLOCK]| marks.iter().any(|&mark| mark != 0))
    }
}

/// How many bits of a [`key`] a prefix is about.
fn bits(net: IpNet) -> u8 {
    128 - (net.max_prefix_len() - net.prefix_len())
}
