//! [`RuleSet`]: the rules of one host, compiled so that each field of a packet is looked at once, whatever the number of
//! rules; and for a run of packets at a time. What several rules ask is asked once, of a whole column; what only rules ask
//! that match none of the packets any more is not asked. Pure.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::columns::{
    Columns, DESTINATION, DSCP_AT, FIRST, FLAGS, FRAGMENT_AT, LABEL, LENGTH, SECOND, SOURCE, TRAITS, traits, words_of,
};
use super::lanes::{Narrow, Wide, blocks, each, first};
use super::{Bits, FlowRule, Ranges};

/// Rules in one set: the bits of a word.
pub const SET_MAX: usize = 64;

/// Up to [`SET_MAX`] rules.
#[derive(Clone, Debug)]
pub struct RuleSet {
    rules: usize,
    /// What sorts out most comes first.
    clauses: Vec<Clause>,
    is_wide: bool,
}

/// What some rules ask: one of these conditions.
#[derive(Clone, Debug)]
struct Clause {
    one_of: OneOf,
    /// A bit a rule.
    rules: u64,
}

/// Alternatives; of none, nothing passes. In the order in which they are asked: what the wide columns are needed for comes last.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct OneOf {
    wide: Vec<Wide>,
    narrow: Vec<Narrow>,
}

impl RuleSet {
    /// Of the first [`SET_MAX`] rules.
    pub fn new<'a>(rules: impl Iterator<Item = &'a FlowRule>) -> RuleSet {
        let mut clauses: BTreeMap<OneOf, u64> = BTreeMap::new();
        let mut count = 0;
        for rule in rules.take(SET_MAX) {
            for one_of in Wanted::of(rule) {
                *clauses.entry(one_of).or_default() |= 1 << count;
            }
            count += 1;
        }
        let is_wide = clauses.keys().any(|one_of| !one_of.wide.is_empty());
        let clauses = clauses.into_iter().map(|(one_of, rules)| Clause { one_of, rules }).collect();
        RuleSet { rules: count, clauses, is_wide }
    }

    /// Whether it asks for the wide columns.
    #[inline(always)]
    pub fn is_wide(&self) -> bool {
        self.is_wide
    }

    /// Finds for each rule which packets it matches of those in these lanes, as [`FlowRule::matches`] has it. Gives the rules
    /// that match any, one bit each: of these [`Columns::matched`] tells.
    #[inline(always)]
    pub fn matching(&self, columns: &mut Columns, lanes: u64) -> u64 {
        let blocks = blocks(lanes);
        columns.matched.iter_mut().take(self.rules).for_each(|matched| *matched = lanes);
        let mut left = first(self.rules);
        for clause in &self.clauses {
            let rules = clause.rules & left;
            if rules == 0 {
                continue;
            }
            // Most often all packets pass, or none.
            let passed = clause.one_of.lanes(columns, blocks) & lanes;
            if passed == 0 {
                left &= !rules;
            } else if passed != lanes {
                for rule in each(rules) {
                    let matched = &mut columns.matched[rule];
                    *matched &= passed;
                    left &= !(u64::from(*matched == 0) << rule);
                }
            }
        }
        left
    }

    /// The packets that any rule matches, of those in these lanes.
    pub fn any(&self, columns: &mut Columns, lanes: u64) -> u64 {
        let rules = self.matching(columns, lanes);
        each(rules).fold(0, |all, rule| all | columns.matched(rule))
    }
}

impl OneOf {
    #[inline(always)]
    fn lanes(&self, columns: &Columns, blocks: usize) -> u64 {
        let mut lanes = 0;
        for one in &self.narrow {
            lanes |= columns.narrow(one.column).map_or(0, |column| one.lanes(column, blocks));
        }
        for one in &self.wide {
            lanes |= columns.wide(one.column).map_or(0, |column| one.lanes(column, blocks));
        }
        lanes
    }

    fn narrow(alternatives: impl IntoIterator<Item = Alternative>) -> OneOf {
        let condition = |(column, mask, low, span)| Narrow::new(column, mask as u16, low as u16, span as u16);
        OneOf { narrow: alternatives.into_iter().map(condition).collect(), wide: vec![] }
    }

    fn wide(alternatives: impl IntoIterator<Item = Alternative>) -> OneOf {
        let condition = |(column, mask, low, span)| Wide::new(column, mask, low, span);
        OneOf { narrow: vec![], wide: alternatives.into_iter().map(condition).collect() }
    }
}

/// Of which column, masked with what, one of how many beyond the first, which is the lowest.
type Alternative = (usize, u32, u32, u32);

/// What a packet must pass to match a rule, as it is gathered.
#[derive(Default)]
struct Wanted {
    all: Vec<OneOf>,
    /// Bits of the traits, and what they must be: all that can be asked of these at once.
    mask: u32,
    bits: u32,
}

impl Wanted {
    fn of(rule: &FlowRule) -> Vec<OneOf> {
        let mut wanted = Wanted::default();
        for (prefix, column) in [(rule.source, SOURCE), (rule.destination, DESTINATION)] {
            if let Some(prefix) = prefix {
                wanted.prefix(prefix, column);
            }
        }
        for (ranges, needed, columns, at, width) in [
            (&rule.protocols, 0, &[TRAITS][..], 0, 8),
            (&rule.ports, traits::PORTS, &[FIRST, SECOND], 0, 16),
            (&rule.source_ports, traits::PORTS, &[FIRST], 0, 16),
            (&rule.destination_ports, traits::PORTS, &[SECOND], 0, 16),
            (&rule.icmp_types, traits::ICMP, &[FIRST], 8, 8),
            (&rule.icmp_codes, traits::ICMP, &[FIRST], 0, 8),
            (&rule.packet_lengths, 0, &[LENGTH], 0, 16),
        ] {
            if !ranges.is_empty() {
                wanted.traits(needed, needed);
                wanted.one_of(columns.iter().flat_map(|&column| numbers(ranges, column, at, width)));
            }
        }
        for (alternatives, needed, column, at, width) in
            [(&rule.fragments, 0, TRAITS, FRAGMENT_AT, 4), (&rule.tcp_flags, traits::FLAGS, FLAGS, 0, 12)]
        {
            if !alternatives.is_empty() {
                wanted.traits(needed, needed);
                wanted.one_of(alternatives.iter().filter_map(|&bits| flags(bits, column, at, width)));
            }
        }
        for (ranges, needed, at, width) in [(&rule.dscps, 0, DSCP_AT, 6), (&rule.flow_labels, traits::V6, 0, 20)] {
            if !ranges.is_empty() {
                wanted.traits(needed, needed);
                wanted.all.push(OneOf::wide(numbers(ranges, LABEL, at, width)));
            }
        }
        if wanted.mask != 0 {
            wanted.all.push(OneOf::narrow([(TRAITS, wanted.mask, wanted.bits, 0)]));
        }
        wanted.all
    }

    /// These bits of the traits.
    fn traits(&mut self, mask: u32, bits: u32) {
        if self.mask & mask & (self.bits ^ bits) != 0 {
            // A bit cannot be both.
            self.all.push(OneOf::default());
        }
        self.mask |= mask;
        self.bits |= bits;
    }

    fn one_of(&mut self, alternatives: impl Iterator<Item = Alternative>) {
        match alternatives.collect::<Vec<_>>()[..] {
            [(TRAITS, mask, bits, 0)] => self.traits(mask, bits),
            ref alternatives => self.all.push(OneOf::narrow(alternatives.iter().copied())),
        }
    }

    /// All words of an address, as far as the prefix goes.
    fn prefix(&mut self, prefix: IpNet, column: usize) {
        let (family, words) = match prefix {
            IpNet::V4(net) => (0, vec![(u32::from(net.network()), u32::from(net.netmask()))]),
            IpNet::V6(net) => {
                let (network, mask) = (words_of(net.network().into()), words_of(net.netmask().into()));
                (traits::V6, network.into_iter().zip(mask).collect())
            }
        };
        self.traits(traits::V6, family);
        let words = (column..).zip(words).filter(|&(_, (_, mask))| mask != 0);
        self.all.extend(words.map(|(column, (network, mask))| OneOf::wide([(column, mask, network, 0)])));
    }
}

/// Of a field of so many bits, which begins there.
fn numbers(ranges: &Ranges, column: usize, at: u32, width: u32) -> impl Iterator<Item = Alternative> {
    let largest = (1 << width) - 1;
    let within = ranges.iter().filter(move |&(low, _)| low <= largest);
    within.map(move |(low, high)| (column, largest << at, low << at, (high.min(largest) - low) << at))
}

/// None where no value of so many bits is accepted.
fn flags(Bits { set, clear }: Bits, column: usize, at: u32, width: u32) -> Option<Alternative> {
    let (set, clear, largest) = (u32::from(set), u32::from(clear), (1 << width) - 1);
    (set & (clear | !largest) == 0).then_some((column, ((set | clear) & largest) << at, set << at, 0))
}
