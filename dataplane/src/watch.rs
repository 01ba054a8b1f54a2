//! What workers do for hosts under attack: an immutable snapshot of active rules and open captures, read once a burst.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::hosts::key;
use crate::packet::{Class, Headers, Plain};
use crate::rule::{FlowRule, RuleSet, SET_MAX};

/// Hosts that can be watched at once.
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

/// The active rules of a host in one direction, compiled.
#[derive(Clone, Debug)]
pub struct ActiveRules {
    set: RuleSet,
    /// By rule; behind the last one [`NO_RULE`].
    slots: [u16; SET_MAX + 1],
}

impl ActiveRules {
    /// Of the first [`SET_MAX`] rules; where several match a packet, it counts for the first one.
    pub fn new(rules: &[ActiveRule]) -> ActiveRules {
        let mut slots = [NO_RULE; SET_MAX + 1];
        slots.iter_mut().zip(rules).take(SET_MAX).for_each(|(slot, active)| *slot = active.slot);
        ActiveRules { set: RuleSet::new(rules.iter().map(|active| &active.rule)), slots }
    }

    /// The slots of all rules, in their order.
    pub fn slots(&self) -> impl Iterator<Item = u16> {
        self.slots.into_iter().take_while(|&slot| slot != NO_RULE)
    }

    /// The slot of the first rule that matches; [`NO_RULE`] where none does.
    #[inline(always)]
    pub fn first(&self, headers: &Headers) -> u16 {
        self.slots[self.set.matching(headers).trailing_zeros() as usize]
    }

    /// The same of a plain packet.
    #[inline(always)]
    pub fn first_plain(&self, packet: &Plain, class: Class) -> u16 {
        self.slots[self.set.matching_plain(packet, class).trailing_zeros() as usize]
    }
}

impl Default for ActiveRules {
    fn default() -> ActiveRules {
        ActiveRules::new(&[])
    }
}

/// A request for samples of a host's packets, in both directions.
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

/// A host with rules or captures.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Which host; of an IPv6 prefix the first address.
    pub host: IpAddr,
    /// Active rules for what it receives, and for what it sends.
    pub rules: [ActiveRules; 2],
    /// Open captures.
    pub captures: Vec<Capture>,
}

/// Every watched host.
#[derive(Debug, Default)]
pub struct Watch {
    hosts: Vec<Option<Watched>>,
    marks: HashMap<u128, u16>,
}

impl Watch {
    /// A snapshot. A host's place in the list, plus 1, is its watch mark.
    pub fn new(hosts: Vec<Option<Watched>>) -> Watch {
        let marks = hosts
            .iter()
            .zip(1u16..)
            .filter_map(|(watched, id)| watched.as_ref().map(|watched| (key(watched.host), id)))
            .collect();
        Watch { hosts, marks }
    }

    /// The host of a watch mark. Compare its address: a mark is a hint, its slot may have changed hands.
    pub fn get(&self, mark: u16) -> Option<&Watched> {
        self.hosts.get(usize::from(mark).checked_sub(1)?)?.as_ref()
    }

    /// The mark of a host that gets a slot, by its [`key`].
    #[inline]
    pub fn mark(&self, key: u128) -> Option<u16> {
        if self.marks.is_empty() {
            return None;
        }
        self.marks.get(&key).copied()
    }
}
