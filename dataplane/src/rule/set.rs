//! [`RuleSet`]: the rules of one host, compiled so that each field of a packet is looked at once, whatever the number of
//! rules. For each field a table gives the rules that its value passes, one bit a rule; the rules that match are those
//! left after all fields. Pure.

use ipnet::IpNet;

use super::{Bits, FlowRule, Ranges};
use crate::packet::{Addresses, Headers, Upper};

/// Rules in one set: the bits of a word.
pub const SET_MAX: usize = 64;

/// Up to [`SET_MAX`] rules.
#[derive(Clone, Debug)]
pub struct RuleSet {
    all: u64,
    source: Prefixes,
    destination: Prefixes,
    protocols: Steps,
    ports: Steps,
    destination_ports: Steps,
    source_ports: Steps,
    icmp_types: Steps,
    icmp_codes: Steps,
    tcp_flags: Tests,
    packet_lengths: Steps,
    dscps: Steps,
    fragments: Tests,
    flow_labels: Steps,
}

impl RuleSet {
    /// Of the first [`SET_MAX`] rules.
    pub fn new<'a>(rules: impl Iterator<Item = &'a FlowRule>) -> RuleSet {
        let rules: Vec<&FlowRule> = rules.take(SET_MAX).collect();
        let steps = |pick: fn(&FlowRule) -> &Ranges, bits| Steps::new(rules.iter().map(|rule| pick(rule)), bits);
        RuleSet {
            all: u64::MAX.checked_shr((SET_MAX - rules.len()) as u32).unwrap_or(0),
            source: Prefixes::new(rules.iter().map(|rule| rule.source)),
            destination: Prefixes::new(rules.iter().map(|rule| rule.destination)),
            protocols: steps(|rule| &rule.protocols, 8),
            ports: steps(|rule| &rule.ports, 16),
            destination_ports: steps(|rule| &rule.destination_ports, 16),
            source_ports: steps(|rule| &rule.source_ports, 16),
            icmp_types: steps(|rule| &rule.icmp_types, 8),
            icmp_codes: steps(|rule| &rule.icmp_codes, 8),
            tcp_flags: Tests::new(rules.iter().map(|rule| rule.tcp_flags.as_slice())),
            packet_lengths: steps(|rule| &rule.packet_lengths, 16),
            dscps: steps(|rule| &rule.dscps, 8),
            fragments: Tests::new(rules.iter().map(|rule| rule.fragments.as_slice())),
            flow_labels: steps(|rule| &rule.flow_labels, 20),
        }
    }

    /// The first rule that matches, as [`FlowRule::matches`] has it.
    #[inline]
    pub fn first(&self, headers: &Headers) -> Option<usize> {
        // What tells most comes first: most packets that no rule matches are done with here.
        let mut left = self.all & self.upper(headers.upper) & self.protocols.of(headers.protocol);
        if left == 0 {
            return None;
        }
        left &= self.packet_lengths.of(headers.ip_length) & self.fragments.of(headers.fragment.into());
        left &= self.dscps.of(headers.dscp);
        left &= match headers.addresses {
            Addresses::V4 { source, destination } => {
                self.source.of_v4(source) & self.destination.of_v4(destination) & self.flow_labels.without
            }
            Addresses::V6 { source, destination } => {
                self.source.of_v6(source)
                    & self.destination.of_v6(destination)
                    & self.flow_labels.of(headers.flow_label)
            }
        };
        (left != 0).then(|| left.trailing_zeros() as usize)
    }

    #[inline(always)]
    fn upper(&self, upper: Upper) -> u64 {
        let no_icmp = self.icmp_types.without & self.icmp_codes.without;
        let no_ports = self.source_ports.without & self.destination_ports.without & self.ports.without;
        let of_ports = |source: u16, destination: u16| {
            let either = self.ports.of(source) | self.ports.of(destination);
            self.source_ports.of(source) & self.destination_ports.of(destination) & either
        };
        match upper {
            Upper::None => no_ports & no_icmp & self.tcp_flags.without,
            Upper::Ports { source, destination } => of_ports(source, destination) & no_icmp & self.tcp_flags.without,
            Upper::Tcp { source, destination, flags } => {
                of_ports(source, destination) & no_icmp & self.tcp_flags.of(flags)
            }
            Upper::Icmp { kind, code } => {
                let icmp = self.icmp_types.of(kind) & self.icmp_codes.of(code);
                icmp & no_ports & self.tcp_flags.without
            }
        }
    }
}

/// A component of numbers: the number line cut where the answer changes.
#[derive(Clone, Debug)]
struct Steps {
    /// Rules without this component: all that a packet without the field passes.
    without: u64,
    /// Where each piece begins; the first one at 0. Empty where no rule has the component.
    starts: Vec<u32>,
    /// Rules that a value of the piece passes.
    passed: Vec<u64>,
    /// The piece in which each 256th part of the field's values begins: nearly all parts are of one piece, so that
    /// an attacker's random values are found without a search.
    parts: Box<[u8; PARTS]>,
    /// Bits of a value below its part.
    shift: u32,
}

const PARTS: usize = 256;

impl Steps {
    /// For a field of so many bits.
    fn new<'a>(rules: impl Iterator<Item = &'a Ranges> + Clone, bits_of_field: u32) -> Steps {
        let without = bits(rules.clone().map(Ranges::is_empty));
        let ends =
            rules.clone().flat_map(|ranges| ranges.iter().flat_map(|(low, high)| [Some(low), high.checked_add(1)]));
        let mut starts: Vec<u32> = ends.flatten().collect();
        if !starts.is_empty() {
            starts.push(0);
        }
        starts.sort_unstable();
        starts.dedup();
        // The last pieces of very many are found by going on from an earlier one.
        let shift = bits_of_field.saturating_sub(PARTS.ilog2());
        let piece = |part: usize| starts.partition_point(|&start| start <= (part as u32) << shift).saturating_sub(1);
        let passed = starts
            .iter()
            .map(|&start| bits(rules.clone().map(|ranges| ranges.is_empty() || ranges.contains(start))))
            .collect();
        let parts = Box::new(std::array::from_fn(|part| piece(part).min(usize::from(u8::MAX)) as u8));
        Steps { without, starts, passed, parts, shift }
    }

    #[inline(always)]
    fn of(&self, value: impl Into<u32>) -> u64 {
        if self.starts.is_empty() {
            return self.without;
        }
        let value = value.into();
        let part = ((value >> self.shift) as usize).min(PARTS - 1);
        let mut piece = usize::from(self.parts[part]);
        while self.starts.get(piece + 1).is_some_and(|&start| start <= value) {
            piece += 1;
        }
        self.passed.get(piece).copied().unwrap_or(self.without)
    }
}

/// A bitmask component: each alternative that some rule has, and the rules that have it.
#[derive(Clone, Debug)]
struct Tests {
    without: u64,
    tests: Vec<(Bits, u64)>,
}

impl Tests {
    fn new<'a>(rules: impl Iterator<Item = &'a [Bits]> + Clone) -> Tests {
        let mut alternatives: Vec<Bits> = rules.clone().flatten().copied().collect();
        alternatives.sort_unstable();
        alternatives.dedup();
        let having = |wanted: &Bits| bits(rules.clone().map(|alternatives| alternatives.contains(wanted)));
        Tests {
            without: bits(rules.clone().map(<[Bits]>::is_empty)),
            tests: alternatives.iter().map(|wanted| (*wanted, having(wanted))).collect(),
        }
    }

    #[inline(always)]
    fn of(&self, value: u16) -> u64 {
        let passed = |&(test, rules): &(Bits, u64)| if test.accept(value) { rules } else { 0 };
        self.tests.iter().map(passed).fold(self.without, |all, rules| all | rules)
    }
}

/// A prefix component: each prefix that some rule has, and the rules that have it.
#[derive(Clone, Debug)]
struct Prefixes {
    without: u64,
    v4: Vec<(u32, u32, u64)>,
    v6: Vec<(u128, u128, u64)>,
}

impl Prefixes {
    fn new(rules: impl Iterator<Item = Option<IpNet>> + Clone) -> Prefixes {
        let mut prefixes: Vec<IpNet> = rules.clone().flatten().map(|prefix| prefix.trunc()).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        let mut all = Prefixes { without: bits(rules.clone().map(|prefix| prefix.is_none())), v4: vec![], v6: vec![] };
        for prefix in prefixes {
            let having = bits(rules.clone().map(|rule| rule.map(|rule| rule.trunc()) == Some(prefix)));
            match prefix {
                IpNet::V4(prefix) => all.v4.push((prefix.network().into(), prefix.netmask().into(), having)),
                IpNet::V6(prefix) => all.v6.push((prefix.network().into(), prefix.netmask().into(), having)),
            }
        }
        all
    }

    #[inline(always)]
    fn of_v4(&self, address: u32) -> u64 {
        let inside = |&(network, mask, rules): &(u32, u32, u64)| if address & mask == network { rules } else { 0 };
        self.v4.iter().map(inside).fold(self.without, |all, rules| all | rules)
    }

    #[inline(always)]
    fn of_v6(&self, address: u128) -> u64 {
        let inside = |&(network, mask, rules): &(u128, u128, u64)| if address & mask == network { rules } else { 0 };
        self.v6.iter().map(inside).fold(self.without, |all, rules| all | rules)
    }
}

/// One bit a rule.
fn bits(rules: impl Iterator<Item = bool>) -> u64 {
    rules.zip(0..SET_MAX).fold(0, |bits, (rule, index)| bits | u64::from(rule) << index)
}
