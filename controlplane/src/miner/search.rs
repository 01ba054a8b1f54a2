//! The search for the rule that is worth most: from the target alone, one component after the other, along several ways at
//! once. Bounded in width and depth, so that any sample ends in time. Values only.

use std::collections::HashSet;

use dataplane::rule::{Component, FlowRule, Ranges};
use ipnet::IpNet;

use super::expect::{Kinds, Trust, Who};
use super::fit::{Ends, Fit, Predicate};
use super::table::{ABSENT, Table};
use super::{Limits, PRICE, own, prior};
use crate::profile::{Profile, bit_items};
use crate::whitelist::Whitelist;

/// Most components beside the target.
const DEPTH: usize = 4;
/// So many of the best rules of a depth get a further component, by each price.
const WIDTH: usize = 2;
/// What a share of the host's own may cost, in shares of the attack: a rule that takes nearly all of the attack and some of the host's is
/// worth narrowing, and so is one that takes part of the attack and nearly nothing of the host's.
const PRICES: [f64; 2] = [1.0, PRICE];

const ICMP: [u32; 2] = [1, 58];
const TCP: u32 = 6;
/// A further component must leave less than this of the host's own traffic that the rule takes along.
const SPARED: f64 = 0.95;
/// To name a component takes so many words, beside what it says of it: one of eight.
pub(super) const COMPONENT_WORDS: f64 = 2.0;
/// A number is one of so many at least.
const NUMBERS_LEAST: f64 = 10.0;
/// What a prefix says, and a pattern of flags: one of some hundreds.
const PREFIX_WORDS: f64 = 6.0;
const BITS_WORDS: f64 = 5.0;

/// Protocols with ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
const WITH_PORTS: [u32; 5] = [TCP, 17, 33, 132, 136];

/// What a search is told.
pub(super) struct Miner<'a> {
    pub(super) table: Table,
    pub(super) profile: &'a Profile,
    pub(super) whitelist: &'a Whitelist,
    /// What the baseline is good for: as to what kinds of traffic there are, and as to who talks.
    pub(super) of_kinds: Trust,
    pub(super) of_names: Trust,
    /// The share of the sample that is the host's own, at most.
    pub(super) own: f64,
    /// And at least: what rules must leave.
    pub(super) own_least: f64,
    /// Least share of the sample that is worth a rule.
    pub(super) least: f64,
    pub(super) is_v6: bool,
    pub(super) near_port: Component,
    pub(super) far: Component,
}

/// A rule on the way, and the packets that it takes of those that no rule took before.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) rule: FlowRule,
    pub(super) members: Vec<u32>,
    /// Its share of the whole sample.
    pub(super) sample: f64,
    /// What it says.
    pub(super) measure: Measure,
    /// What it asks but for names.
    pub(super) kinds: Kinds,
    /// The share of the host's own traffic that it is to be expected to take along.
    pub(super) expected: f64,
    /// What it pays for each conversation that it names.
    pub(super) name_cost: f64,
}

impl Node {
    /// What the attack covered is worth, less what is taken of the host's own at this price, less what the rule's length costs.
    pub(super) fn worth(&self, miner: &Miner, price: f64) -> f64 {
        self.sample
            - price * self.expected
            - miner.trust(self.measure.names > 0).word_cost * self.measure.words
            - self.name_cost * self.measure.names as f64
    }
}

impl Miner<'_> {
    /// What the baseline is good for where rules name somebody, and where they do not.
    pub(super) fn trust(&self, names: bool) -> &Trust {
        if names { &self.of_names } else { &self.of_kinds }
    }

    /// The most that a rule may take: what is configured, as far as there is a baseline to hold it against.
    pub(super) fn most_collateral(&self, limits: &Limits, spent: f64) -> f64 {
        let left = (limits.most_collateral - spent).max(0.0);
        self.of_kinds.expected(left, limits.most_in_general)
    }

    /// The target alone.
    pub(super) fn root(&self, base: &FlowRule, members: Vec<u32>, name_cost: f64) -> Node {
        let (sample, baseline) = self.table.shares(&members);
        let measure = Measure::NOTHING;
        let mut kinds = Kinds { baseline, conversations: self.table.conversations(&members), expected: 0.0 };
        kinds.expected = self.expected(&measure, &kinds, baseline);
        let (rule, expected) = (base.clone(), kinds.expected);
        Node { rule, members, sample, measure, kinds, expected, name_cost }
    }

    /// The best rules that are no more than a far end.
    pub(super) fn of_ends(&self, root: &Node, ends: Ends) -> Vec<Node> {
        if !self.profile.has(self.far) {
            return Vec::new();
        }
        PRICES
            .into_iter()
            .filter_map(|price| self.fit_far(root, price, ends))
            .map(|fit| self.child(root, &fit))
            .collect()
    }

    /// Every rule that was looked at, of those packets that no rule took yet.
    pub(super) fn candidates(&self, base: &FlowRule, members: Vec<u32>, name_cost: f64) -> Vec<Node> {
        let mut beam = vec![self.root(base, members, name_cost)];
        let mut seen: HashSet<FlowRule> = HashSet::new();
        let mut all: Vec<Node> = Vec::new();
        // What else a rule can ask depends on its protocol.
        let is_protocol = |node: &Node| node.measure.components == 1 && is_one(&node.rule.protocols).is_some();
        for _ in 0..DEPTH {
            let mut next: Vec<(Node, Predicate, usize)> = Vec::new();
            for (parent, node) in beam.iter().enumerate().filter(|(_, node)| self.may_gain(node)) {
                for fit in self.fits(node) {
                    let child = self.child(node, &fit);
                    let spares = child.expected < SPARED * node.expected;
                    // Names are told last: the baseline says how they are spread over packets of these kinds.
                    let asks_kinds = node.measure.who.is_any() && child.measure.kinds > node.measure.kinds;
                    if !asks_kinds
                        && (spares || is_protocol(&child))
                        && child.sample >= self.least
                        && seen.insert(child.rule.clone())
                    {
                        next.push((child, fit.predicate, parent));
                    }
                }
            }
            let mut chosen: Vec<usize> =
                (0..).zip(&next).filter(|(_, (node, ..))| is_protocol(node)).map(|(place, _)| place).collect();
            for price in PRICES {
                let mut by_worth: Vec<(f64, usize)> =
                    (0..).zip(&next).map(|(place, (node, ..))| (-node.worth(self, price), place)).collect();
                by_worth.sort_by(|a, b| a.0.total_cmp(&b.0));
                chosen.extend(by_worth.iter().take(WIDTH).map(|&(_, place)| place));
            }
            chosen.sort_unstable();
            chosen.dedup();
            let grown = |place: usize| {
                let (node, predicate, parent) = &next[place];
                let members = self.filtered(&beam[*parent].members, predicate);
                let mut kinds = node.kinds;
                if !node.measure.who.is_any() {
                    kinds.conversations = self.table.conversations(&members);
                }
                Node { members, kinds, ..node.clone() }
            };
            let grown: Vec<Node> = chosen.into_iter().map(grown).collect();
            all.extend(next.into_iter().map(|(node, ..)| node));
            beam = grown;
        }
        all
    }

    /// Whether a further component can be worth what it costs.
    fn may_gain(&self, node: &Node) -> bool {
        PRICE * node.expected > COMPONENT_WORDS * self.of_kinds.word_cost
    }

    /// What each component could add.
    fn fits(&self, node: &Node) -> Vec<Fit> {
        let mut fits = Vec::new();
        for component in Component::ALL {
            let is_free = node.rule.prefix(component).is_none()
                && node.rule.ranges(component).is_none_or(|ranges| ranges.is_empty())
                && node.rule.bits(component).is_none_or(|bits| bits.is_empty());
            if is_free && self.profile.has(component) && is_of_protocol(&node.rule, component, self.is_v6) {
                fits.extend(PRICES.into_iter().filter_map(|price| self.fit(node, component, price)));
            }
        }
        if node.rule.protocols.is_empty() && self.profile.has(Component::Protocol) {
            fits.extend(self.each_protocol(node));
        }
        fits
    }

    fn fit(&self, node: &Node, component: Component, price: f64) -> Option<Fit> {
        match component {
            _ if component == self.far => self.fit_far(node, price, Ends::Networks),
            Component::TcpFlags | Component::Fragment => self.fit_bits(node, component, price),
            _ => {
                let field = self.table.fields.iter().position(|field| field.component == component)?;
                self.fit_numbers(node, field, price)
            }
        }
    }

    /// Each protocol by itself.
    fn each_protocol(&self, node: &Node) -> Vec<Fit> {
        let Some((field, protocols)) = self.field(Component::Protocol) else { return Vec::new() };
        let single = (0u16..).zip(&protocols.bins).filter(|(_, bin)| bin.low == bin.high);
        let fits = single.map(|(bin, _)| {
            let predicate = Predicate::Numbers { field, spans: vec![(bin, bin)] };
            let (sample, baseline) = self.table.shares(&self.filtered(&node.members, &predicate));
            Fit { predicate, sample, baseline }
        });
        fits.filter(|fit| fit.sample >= self.least).collect()
    }

    fn field(&self, component: Component) -> Option<(usize, &super::table::Field)> {
        self.table.fields.iter().enumerate().find(|(_, field)| field.component == component)
    }

    /// The rule with the predicate. Its members are not sorted out yet.
    fn child(&self, node: &Node, fit: &Fit) -> Node {
        let mut rule = node.rule.clone();
        match &fit.predicate {
            Predicate::Numbers { field, spans } => {
                let field = &self.table.fields[*field];
                let range = |&(first, last): &(u16, u16)| {
                    (field.bins[usize::from(first)].low, field.bins[usize::from(last)].high)
                };
                if let Some(place) = rule.ranges_mut(field.component) {
                    *place = spans.iter().map(range).collect();
                }
            }
            Predicate::Bits(component, bits) => {
                *if *component == Component::Fragment { &mut rule.fragments } else { &mut rule.tcp_flags } =
                    bits.clone();
            }
            Predicate::Far(prefix) => *self.far_of(&mut rule) = Some(*prefix),
        }
        let measure = self.measure(&rule);
        let expected = self.expected(&measure, &node.kinds, fit.baseline);
        let kinds = match measure.who.is_any() {
            true => node.kinds,
            false => Kinds { baseline: fit.baseline, expected, ..Kinds::default() },
        };
        Node { rule, members: Vec::new(), sample: fit.sample, measure, kinds, expected, name_cost: node.name_cost }
    }

    /// To name one of so many bins, or of the few that there are at least.
    pub(super) fn number_words(&self, field: usize) -> f64 {
        (self.table.fields[field].bins.len() as f64).max(NUMBERS_LEAST).ln()
    }

    pub(super) fn far_of<'r>(&self, rule: &'r mut FlowRule) -> &'r mut Option<IpNet> {
        if self.far == Component::SourcePrefix { &mut rule.source } else { &mut rule.destination }
    }

    fn filtered(&self, members: &[u32], predicate: &Predicate) -> Vec<u32> {
        let is_taken = |index: u32| {
            let packet = &self.table.packets[index as usize];
            match predicate {
                Predicate::Numbers { field, spans } => {
                    let bin = self.table.fields[*field].of[index as usize];
                    bin != ABSENT && spans.iter().any(|&(first, last)| (first..=last).contains(&bin))
                }
                Predicate::Bits(Component::Fragment, bits) => {
                    bits.iter().any(|bits| bits.accept(packet.fragment.into()))
                }
                Predicate::Bits(_, bits) => match packet.upper {
                    dataplane::packet::Upper::Tcp { flags, .. } => bits.iter().any(|bits| bits.accept(flags)),
                    _ => false,
                },
                Predicate::Far(prefix) => {
                    let shift = 128 - u32::from(prefix.prefix_len());
                    let first = match prefix {
                        IpNet::V4(net) => u128::from(u32::from(net.network())) << 96,
                        IpNet::V6(net) => u128::from(net.network()),
                    };
                    (self.table.far[index as usize] ^ first).checked_shr(shift).unwrap_or(0) == 0
                }
            }
        };
        members.iter().copied().filter(|&index| is_taken(index)).collect()
    }

    /// The rule without each of its components in turn, and with the best that can stand there instead: a component that was
    /// chosen before the others were known may fit better now, or be needed no more.
    pub(super) fn polished(&self, mut best: Node, members: &[u32], allowed: f64) -> Node {
        let is_allowed = |node: &Node| node.sample >= self.least && node.expected <= allowed;
        for component in Component::ALL {
            let Some(without) = self.without(&best, component, members) else { continue };
            let refit = PRICES.into_iter().filter_map(|price| self.fit(&without, component, price));
            let refit = refit.map(|fit| self.child(&without, &fit));
            let refit =
                refit.filter(|node| !without.measure.who.is_any() || node.measure.kinds == without.measure.kinds);
            let others: Vec<Node> = refit.chain([without.clone()]).collect();
            for other in others {
                if is_allowed(&other)
                    && other.measure.components > 0
                    && other.worth(self, PRICE) > best.worth(self, PRICE)
                {
                    best = other;
                }
            }
        }
        best
    }

    /// The rule without a component, if it has that and nothing else depends on it.
    fn without(&self, node: &Node, component: Component, members: &[u32]) -> Option<Node> {
        let mut rule = node.rule.clone();
        if component == self.far {
            self.far_of(&mut rule).take()?;
        } else if let Some(ranges) = rule.ranges_mut(component) {
            *ranges = Default::default();
        } else if component == Component::TcpFlags {
            rule.tcp_flags.clear();
        } else if component == Component::Fragment {
            rule.fragments.clear();
        }
        let still_fits = Component::ALL.into_iter().all(|other| {
            rule.ranges(other).is_none_or(|ranges| ranges.is_empty()) || is_of_protocol(&rule, other, self.is_v6)
        }) && (rule.tcp_flags.is_empty() || is_of_protocol(&rule, Component::TcpFlags, self.is_v6));
        if rule == node.rule || !still_fits {
            return None;
        }
        let measure = self.measure(&rule);
        let taken = |rule: &FlowRule| -> Vec<u32> {
            let is_taken = |&index: &u32| rule.matches(&self.table.packets[index as usize]);
            members.iter().copied().filter(is_taken).collect()
        };
        let kinds = self.kinds(&taken(&self.kind_part(&rule)), &measure);
        let members = taken(&rule);
        let (sample, baseline) = self.table.shares(&members);
        let expected = self.expected(&measure, &kinds, baseline);
        Some(Node { rule, members, sample, measure, kinds, expected, name_cost: node.name_cost })
    }

    /// What these packets, which have all that a rule asks but for names, say of names.
    fn kinds(&self, members: &[u32], measure: &Measure) -> Kinds {
        let (_, baseline) = self.table.shares(members);
        let expected = self.expected(&Measure { who: Who::default(), ..*measure }, &Kinds::default(), baseline);
        Kinds { baseline, expected, conversations: self.table.conversations(members) }
    }

    /// What a rule says.
    pub(super) fn measure(&self, rule: &FlowRule) -> Measure {
        let mut measure = Measure::NOTHING;
        let (mut of_kinds, mut of_names) = (Vec::new(), Vec::new());
        let mut add = |items: usize, words: f64, names: usize, share: f64, who: Who| {
            measure.components += 1;
            measure.items += items;
            measure.words += COMPONENT_WORDS + words;
            measure.names += names;
            measure.kinds += usize::from(!who.is_any());
            measure.who = measure.who.and(who);
            if who.is_any() { &mut of_names } else { &mut of_kinds }.push(share.min(1.0));
        };
        for component in Component::ALL {
            let ranges = rule.ranges(component).filter(|ranges| !ranges.is_empty());
            let bits = rule.bits(component).filter(|bits| !bits.is_empty());
            if let Some(prefix) = rule.prefix(component).filter(|_| component == self.far) {
                let is_host = prefix.prefix_len() == prefix.max_prefix_len();
                let share = self.prefix_share(prefix.prefix_len());
                add(1, PREFIX_WORDS, if is_host { 1 } else { 2 }, share, Who { ends: true, flows: false });
            } else if let Some(ranges) = ranges {
                let is_near = component == self.near_port;
                let words = self.field(component).map_or(0.0, |(field, _)| self.number_words(field));
                let names = ranges.iter().map(|range| own::names(component, range)).sum();
                let share = ranges.iter().map(|(low, high)| prior::share(component, is_near, low, high)).sum();
                add(ranges.items(), words * ranges.items() as f64, names, share, self.who(component, ranges));
            } else if let Some(bits) = bits {
                let items = bits.iter().map(|&bits| bit_items(bits)).sum();
                let words = BITS_WORDS * bits.len() as f64;
                add(items, words, 0, prior::bits_share(component, bits), Who::default());
            }
        }
        measure.prior = prior::of_all(of_kinds.iter().chain(&of_names).copied());
        measure.of_kinds = prior::of_all(of_kinds.into_iter());
        measure.of_names = prior::of_all(of_names.into_iter());
        measure
    }

    /// What share of its traffic a host has from such a prefix in general.
    pub(super) fn prefix_share(&self, length: u8) -> f64 {
        let one_peer = if self.of_kinds.known == 0.0 { prior::ONE_PEER } else { 0.0 };
        one_peer + prior::prefix_share(length, !self.is_v6)
    }
}

/// What a rule says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    /// Beside the target.
    pub(super) components: usize,
    pub(super) items: usize,
    pub(super) words: f64,
    /// How many conversations it can be about: addresses, and ports that no service has.
    pub(super) names: usize,
    /// Components that name nobody, and what the others name.
    pub(super) kinds: usize,
    pub(super) who: Who,
    /// What share of its traffic a host has in general: of all, of the kinds, and with such names.
    pub(super) prior: f64,
    pub(super) of_kinds: f64,
    pub(super) of_names: f64,
}

impl Measure {
    const NOTHING: Measure = Measure {
        components: 0,
        items: 0,
        words: 0.0,
        names: 0,
        kinds: 0,
        who: Who { ends: false, flows: false },
        prior: 1.0,
        of_kinds: 1.0,
        of_names: 1.0,
    };
}

/// The only number.
fn is_one(ranges: &Ranges) -> Option<u32> {
    let mut all = ranges.iter();
    all.next().filter(|(low, high)| low == high && all.next().is_none()).map(|(low, _)| low)
}

/// Whether packets of the rule's protocol have such a component. Some routers want the protocol named with ports, flags and types.
fn is_of_protocol(rule: &FlowRule, component: Component, is_v6: bool) -> bool {
    let is_one_of = |protocols: &[u32]| is_one(&rule.protocols).is_some_and(|one| protocols.contains(&one));
    match component {
        Component::SourcePort | Component::DestinationPort => is_one_of(&WITH_PORTS),
        Component::TcpFlags => is_one_of(&[TCP]),
        Component::IcmpType => is_one_of(&ICMP),
        Component::IcmpCode => is_one_of(&ICMP) && !rule.icmp_types.is_empty(),
        Component::FlowLabel => is_v6,
        // What either port is adds nothing to the two.
        Component::Port => false,
        _ => true,
    }
}
