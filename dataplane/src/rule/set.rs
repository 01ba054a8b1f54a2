//! [`RuleSet`]: the rules of one host, compiled so that each field of a packet is looked at once, whatever the number of
//! rules. For each field a table gives the rules that its value passes, one bit a rule; the rules that match are those
//! left after all fields. Fields that no rule asks for are not looked at. Pure.

use ipnet::IpNet;

use super::{Bits, FlowRule, Ranges};
use crate::packet::{Addresses, Class, Headers, Plain, Upper};

/// Rules in one set: the bits of a word.
pub const SET_MAX: usize = 64;

/// Up to [`SET_MAX`] rules.
#[derive(Clone, Debug)]
pub struct RuleSet {
    /// By protocol; every rule passes where none asks for it.
    protocols: Narrow,
    source_ports: Option<Box<Wide>>,
    destination_ports: Option<Box<Wide>>,
    icmp_types: Option<Narrow>,
    icmp_codes: Option<Narrow>,
    tcp_flags: Option<Box<Wide>>,
    packet_lengths: Option<Box<Wide>>,
    fragments: Option<Narrow>,
    /// Where some rule asks for them.
    rare: Option<Box<Rare>>,
    /// Rules that a packet without ports passes, one without type and code, and so on.
    without: Without,
}

/// Components that few rules have, together: so that one look tells that there are none.
#[derive(Clone, Debug)]
struct Rare {
    source: Prefixes,
    destination: Prefixes,
    ports: Option<Box<Wide>>,
    dscps: Option<Narrow>,
    flow_labels: Option<Pieces>,
}

impl Rare {
    fn new(rules: &[&FlowRule]) -> Option<Box<Rare>> {
        let has_any = |rule: &&FlowRule| {
            let FlowRule { source, destination, ports, dscps, flow_labels, .. } = rule;
            source.is_some() || destination.is_some() || [ports, dscps, flow_labels].iter().any(|it| !it.is_empty())
        };
        let numbers = |pick| Pieces::of_numbers(rules, pick);
        rules.iter().any(has_any).then(|| {
            Box::new(Rare {
                source: Prefixes::new(rules.iter().map(|rule| rule.source)),
                destination: Prefixes::new(rules.iter().map(|rule| rule.destination)),
                ports: numbers(|rule| &rule.ports).as_ref().map(Wide::new),
                dscps: numbers(|rule| &rule.dscps).as_ref().map(Narrow::new),
                flow_labels: numbers(|rule| &rule.flow_labels),
            })
        })
    }

    #[inline(always)]
    fn of_v4(&self, source: u32, destination: u32) -> u64 {
        self.source.of_v4(source) & self.destination.of_v4(destination)
    }

    #[inline(always)]
    fn of_upper(&self, dscp: u8, upper: Upper) -> u64 {
        let ports = match upper {
            Upper::Ports { source, destination } | Upper::Tcp { source, destination, .. } => {
                Wide::passed(&self.ports, || source) | Wide::passed(&self.ports, || destination)
            }
            // Settled by those that lack ports.
            Upper::None | Upper::Icmp { .. } => u64::MAX,
        };
        Narrow::passed(&self.dscps, || dscp) & ports
    }
}

/// Rules that a packet passes which lacks some fields.
#[derive(Clone, Copy, Debug)]
struct Without {
    ports: u64,
    icmp: u64,
    flags: u64,
    label: u64,
    icmp_and_flags: u64,
}

impl RuleSet {
    /// Of the first [`SET_MAX`] rules.
    pub fn new<'a>(rules: impl Iterator<Item = &'a FlowRule>) -> RuleSet {
        let rules: Vec<&FlowRule> = rules.take(SET_MAX).collect();
        let numbers = |pick| Pieces::of_numbers(&rules, pick);
        let flags = |bits, pick| Pieces::of_flags(bits, &rules, pick);
        let without = |is_absent: fn(&FlowRule) -> bool| bits_of(rules.iter().map(|rule| is_absent(rule)));
        let protocols = numbers(|rule| &rule.protocols).unwrap_or_else(|| Pieces(vec![(0, without(|_| true))]));
        RuleSet {
            protocols: Narrow::new(&protocols),
            destination_ports: numbers(|rule| &rule.destination_ports).as_ref().map(Wide::new),
            source_ports: numbers(|rule| &rule.source_ports).as_ref().map(Wide::new),
            icmp_types: numbers(|rule| &rule.icmp_types).as_ref().map(Narrow::new),
            icmp_codes: numbers(|rule| &rule.icmp_codes).as_ref().map(Narrow::new),
            tcp_flags: flags(12, |rule| &rule.tcp_flags).as_ref().map(Wide::new),
            packet_lengths: numbers(|rule| &rule.packet_lengths).as_ref().map(Wide::new),
            fragments: flags(4, |rule| &rule.fragments).as_ref().map(Narrow::new),
            rare: Rare::new(&rules),
            without: Without {
                ports: without(|rule| {
                    rule.ports.is_empty() && rule.destination_ports.is_empty() && rule.source_ports.is_empty()
                }),
                icmp: without(|rule| rule.icmp_types.is_empty() && rule.icmp_codes.is_empty()),
                flags: without(|rule| rule.tcp_flags.is_empty()),
                label: without(|rule| rule.flow_labels.is_empty()),
                icmp_and_flags: without(|rule| {
                    rule.icmp_types.is_empty() && rule.icmp_codes.is_empty() && rule.tcp_flags.is_empty()
                }),
            },
        }
    }

    /// The rules that match, one bit each, as [`FlowRule::matches`] has it. Nobody can predict whether a packet matches, so
    /// nothing here branches on that, nor on the packet's numbers.
    #[inline(always)]
    pub fn matching(&self, headers: &Headers) -> u64 {
        let &Headers { protocol, ip_length, fragment, dscp, upper, .. } = headers;
        let left = self.upper(upper) & self.of_rest(protocol, || super::length(ip_length), || fragment);
        let rare = self.rare.as_deref();
        match headers.addresses {
            Addresses::V4 { source, destination } => {
                let rare = rare.map_or(u64::MAX, |rare| rare.of_v4(source, destination) & rare.of_upper(dscp, upper));
                left & rare & self.without.label
            }
            Addresses::V6 { source, destination } => {
                let label = |rare: &Rare| rare.flow_labels.as_ref().map_or(u64::MAX, |it| it.of(headers.flow_label));
                let rare = rare.map_or(u64::MAX, |rare| {
                    let addresses = rare.source.of_v6(source) & rare.destination.of_v6(destination);
                    addresses & rare.of_upper(dscp, upper) & label(rare)
                });
                left & rare
            }
        }
    }

    /// The same of a plain packet, of this class.
    #[inline(always)]
    pub fn matching_plain(&self, packet: &Plain, class: Class) -> u64 {
        let upper = packet.upper(class);
        let left = self.upper(upper) & self.of_rest(packet.protocol(), || packet.ip_length(), || packet.fragment());
        let rare = self.rare.as_deref().map_or(u64::MAX, |rare| {
            rare.of_v4(packet.source(), packet.destination()) & rare.of_upper(packet.dscp(), upper)
        });
        left & rare & self.without.label
    }

    /// Reads only the fields that some rule asks for.
    #[inline(always)]
    fn of_rest(&self, protocol: u8, ip_length: impl FnOnce() -> u16, fragment: impl FnOnce() -> u8) -> u64 {
        self.protocols.0[usize::from(protocol)]
            & Wide::passed(&self.packet_lengths, ip_length)
            & Narrow::passed(&self.fragments, fragment)
    }

    #[inline(always)]
    fn upper(&self, upper: Upper) -> u64 {
        match upper {
            Upper::None => self.without.ports & self.without.icmp_and_flags,
            Upper::Ports { source, destination } => self.of_ports(source, destination) & self.without.icmp_and_flags,
            Upper::Tcp { source, destination, flags } => {
                let flags = Wide::passed(&self.tcp_flags, || flags);
                self.of_ports(source, destination) & self.without.icmp & flags
            }
            Upper::Icmp { kind, code } => {
                let icmp = Narrow::passed(&self.icmp_types, || kind) & Narrow::passed(&self.icmp_codes, || code);
                icmp & self.without.ports & self.without.flags
            }
        }
    }

    #[inline(always)]
    fn of_ports(&self, source: u16, destination: u16) -> u64 {
        Wide::passed(&self.source_ports, || source) & Wide::passed(&self.destination_ports, || destination)
    }
}

/// A component that some rule has: where the answer changes, from 0 on, and the rules that pass from there on.
#[derive(Clone, Debug)]
struct Pieces(Vec<(u32, u64)>);

impl Pieces {
    fn of_numbers(rules: &[&FlowRule], pick: fn(&FlowRule) -> &Ranges) -> Option<Pieces> {
        let ranges = || rules.iter().map(|rule| pick(rule));
        let ends = ranges().flat_map(|ranges| ranges.iter().flat_map(|(low, high)| [Some(low), high.checked_add(1)]));
        let mut starts: Vec<u32> = ends.flatten().collect();
        if starts.is_empty() {
            return None;
        }
        starts.push(0);
        starts.sort_unstable();
        starts.dedup();
        let passed = |value| bits_of(ranges().map(|ranges| ranges.is_empty() || ranges.contains(value)));
        Some(Pieces(starts.into_iter().map(|start| (start, passed(start))).collect()))
    }

    fn of_flags(bits: u32, rules: &[&FlowRule], pick: fn(&FlowRule) -> &[Bits]) -> Option<Pieces> {
        let flags = || rules.iter().map(|rule| pick(rule));
        if flags().all(<[Bits]>::is_empty) {
            return None;
        }
        let passes = |flags: &[Bits], value| flags.is_empty() || flags.iter().any(|bits| bits.accept(value));
        let passed = |value| bits_of(flags().map(|flags| passes(flags, value as u16)));
        let mut pieces: Vec<(u32, u64)> = (0..1 << bits).map(|value| (value, passed(value))).collect();
        pieces.dedup_by_key(|&mut (_, passed)| passed);
        Some(Pieces(pieces))
    }

    /// The number of the piece that a value is in.
    fn piece(&self, value: u32) -> usize {
        self.0.partition_point(|&(start, _)| start <= value).saturating_sub(1)
    }

    /// The rules that a value passes.
    fn of(&self, value: u32) -> u64 {
        self.0.get(self.piece(value)).map_or(0, |&(_, passed)| passed)
    }
}

/// The same for 8 bits: a table of the answers.
#[derive(Clone, Debug)]
struct Narrow(Box<[u64; 256]>);

impl Narrow {
    fn new(pieces: &Pieces) -> Narrow {
        Narrow(Box::new(std::array::from_fn(|value| pieces.of(value as u32))))
    }

    /// Without the field, all rules.
    #[inline(always)]
    fn passed(field: &Option<Narrow>, value: impl FnOnce() -> u8) -> u64 {
        field.as_ref().map_or(u64::MAX, |field| field.0[usize::from(value())])
    }
}

/// The same for 16 bits: by the upper 8 a page, in that by the lower 8 the answer. Most pages are all of one piece: these
/// are shared.
#[derive(Clone, Debug)]
struct Wide {
    parts: [u16; 256],
    pages: Vec<[u64; 256]>,
}

impl Wide {
    fn new(pieces: &Pieces) -> Box<Wide> {
        let mut pages: Vec<[u64; 256]> = Vec::new();
        let mut shared = vec![None; pieces.0.len()];
        let parts = std::array::from_fn(|part| {
            let first = part as u32 * 256;
            let (piece, last) = (pieces.piece(first), pieces.piece(first + 255));
            if let (true, Some(page)) = (piece == last, shared[piece]) {
                return page;
            }
            let page = pages.len() as u16;
            pages.push(std::array::from_fn(|low| pieces.of(first + low as u32)));
            if piece == last {
                shared[piece] = Some(page);
            }
            page
        });
        Box::new(Wide { parts, pages })
    }

    /// Without the field, all rules.
    #[inline(always)]
    fn passed(field: &Option<Box<Wide>>, value: impl FnOnce() -> u16) -> u64 {
        field.as_ref().map_or(u64::MAX, |field| {
            let [high, low] = value().to_be_bytes().map(usize::from);
            field.pages.get(usize::from(field.parts[high])).map_or(u64::MAX, |page| page[low])
        })
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
        let mut all =
            Prefixes { without: bits_of(rules.clone().map(|prefix| prefix.is_none())), v4: vec![], v6: vec![] };
        for prefix in prefixes {
            let having = bits_of(rules.clone().map(|rule| rule.map(|rule| rule.trunc()) == Some(prefix)));
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
fn bits_of(rules: impl Iterator<Item = bool>) -> u64 {
    rules.zip(0..SET_MAX).fold(0, |bits, (rule, index)| bits | u64::from(rule) << index)
}
