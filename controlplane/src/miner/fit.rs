//! The best that one component can add to a rule: which numbers, flags or prefix take most of the sample and least of the
//! baseline. Values only.

use std::sync::LazyLock;

use dataplane::packet::fragment;
use dataplane::rule::{Bits, Component, Ranges};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::expect::Who;
use super::search::{Miner, Node};
use super::table::{ABSENT, Bin, Field};
use super::{own, prior};
use crate::profile::{DONT_FRAGMENT, bit_items};

/// Shortest prefixes of far ends that make a rule.
const V4_SHORTEST: u8 = 8;
const V6_SHORTEST: u8 = 20;
/// Of two patterns of flags that do the same, the one that names fewer, and of these the one that says what is set: each flag costs so
/// much, and so many flags as much as not to say what is set.
const TERM_COST: f64 = 0.0005;
const TERMS_OF_CLEAR: u32 = 2;

/// What a rule asks of one component.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Predicate {
    /// From bin to bin of a field.
    Numbers { field: usize, spans: Vec<(u16, u16)> },
    /// Flags or fragments.
    Bits(Component, Vec<Bits>),
    /// The far end.
    Far(IpNet),
}

/// Which far ends rules may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// Prefixes of any length.
    Networks,
    /// Single addresses.
    Hosts,
}

/// A predicate and what of its node it takes.
#[derive(Clone, Debug)]
pub(super) struct Fit {
    pub(super) predicate: Predicate,
    /// Shares of the whole sample and the whole baseline.
    pub(super) sample: f64,
    pub(super) baseline: f64,
}

/// A choice of bins so far.
#[derive(Clone, Copy)]
struct Choice {
    gain: f64,
    spans: [(u16, u16); SPANS_MAX],
    count: usize,
}

/// Spans of numbers in a rule; also the most items that are tried.
const SPANS_MAX: usize = 5;
const NONE: Choice = Choice { gain: f64::NEG_INFINITY, spans: [(0, 0); SPANS_MAX], count: 0 };

impl Choice {
    fn begin(mut self, bin: u16, gain: f64) -> Choice {
        if self.count == SPANS_MAX {
            return NONE;
        }
        self.spans[self.count] = (bin, bin);
        self.count += 1;
        self.gain += gain;
        self
    }

    fn go_on(mut self, bin: u16, gain: f64) -> Choice {
        if self.count > 0 {
            self.spans[self.count - 1].1 = bin;
        }
        self.gain += gain;
        self
    }

    fn better(self, other: Choice) -> Choice {
        if other.gain > self.gain { other } else { self }
    }
}

impl Miner<'_> {
    /// The numbers that gain most, where a share of the host's own costs `price` times as much as one of the attack.
    ///
    /// All ways to choose spans of bins within the profile's items are tried, from bin to bin: `closed[i]` is the best with
    /// `i` items that ends before the bin, `open[i]` the best whose last range goes on.
    pub(super) fn fit_numbers(&self, node: &Node, field: usize, price: f64) -> Option<Fit> {
        let Field { component, bins, of } = &self.table.fields[field];
        let mut shares = vec![[0.0; 2]; bins.len()];
        for &index in &node.members {
            let bin = of[index as usize];
            if bin != ABSENT {
                shares[usize::from(bin)][usize::from(index as usize >= self.table.split)] +=
                    self.table.weights[index as usize];
            }
        }
        let names = bins.last().is_some_and(|last| own::is_name(*component, last.high));
        let trust = self.trust(node.measure.names > 0 || names);
        let all: Ranges = bins.last().map(|last| (0, last.high)).into_iter().collect();
        let who = node.measure.who.and(self.who(*component, &all));
        let (by_baseline, in_general) = self.rates(&node.measure, &node.kinds, who);
        let item_cost = trust.word_cost * self.number_words(field);
        let name_cost =
            |bin: &Bin, names: f64| if own::is_name(*component, bin.high) { names * node.name_cost } else { 0.0 };
        let most = self.profile.items_max.min(SPANS_MAX);
        let is_near = *component == self.near_port;
        let general = |low, high| prior::share(*component, is_near, low, high);
        let price_of = |share: f64, prior: f64| price * (by_baseline * share + in_general * prior);
        let mut closed = vec![NONE; most + 1];
        let mut open = vec![NONE; most + 1];
        closed[0].gain = 0.0;
        // Bins without a packet are gaps.
        let filled = (0u16..).zip(bins.iter().zip(&shares)).filter(|(_, (_, shares))| **shares != [0.0; 2]);
        let mut previous: Option<u32> = None;
        for (at, (bin, &[sample, baseline])) in filled {
            let is_single = bin.low == bin.high;
            let gain = sample - price_of(baseline, general(bin.low, bin.high));
            let gap = match previous.replace(bin.high) {
                Some(before) if before + 1 < bin.low => price_of(0.0, general(before + 1, bin.low - 1)),
                _ => 0.0,
            };
            for items in (0..=most).rev() {
                let mut going_on = open[items].go_on(at, gain - gap);
                if items >= 2 {
                    going_on =
                        going_on.better(closed[items - 2].begin(at, gain - 2.0 * item_cost - name_cost(bin, 2.0)));
                }
                open[items] = going_on;
            }
            for items in (0..=most).rev() {
                let mut best = closed[items].better(open[items]);
                if items >= 1 && is_single {
                    best = best.better(closed[items - 1].begin(at, gain - item_cost - name_cost(bin, 1.0)));
                }
                closed[items] = best;
            }
        }
        let best = closed.into_iter().skip(1).max_by(|a, b| a.gain.total_cmp(&b.gain))?;
        let spans = best.spans[..best.count].to_vec();
        let (mut sample, mut baseline) = (0.0, 0.0);
        for &(first, last) in &spans {
            for [of_sample, of_baseline] in &shares[usize::from(first)..=usize::from(last)] {
                sample += of_sample;
                baseline += of_baseline;
            }
        }
        let predicate = Predicate::Numbers { field, spans };
        (sample > 0.0).then_some(Fit { predicate, sample, baseline })
    }

    /// The pattern of flags or fragment bits that gains most; all are tried.
    pub(super) fn fit_bits(&self, node: &Node, component: Component, price: f64) -> Option<Fit> {
        let mut shares = [[0.0; 2]; 64];
        for &index in &node.members {
            let packet = &self.table.packets[index as usize];
            let value = match (component, packet.upper) {
                (Component::Fragment, _) => u16::from(packet.fragment),
                (_, dataplane::packet::Upper::Tcp { flags, .. }) => flags,
                _ => continue,
            };
            shares[usize::from(value & 63)][usize::from(index as usize >= self.table.split)] +=
                self.table.weights[index as usize];
        }
        let (by_baseline, in_general) = self.rates(&node.measure, &node.kinds, node.measure.who);
        let seen =
            (0..).zip(shares).filter(|(_, shares)| *shares != [0.0; 2]).fold(0u64, |seen, (at, _)| seen | 1 << at);
        let is_fragment = component == Component::Fragment;
        let patterns = if is_fragment { &*FRAGMENTS } else { &*FLAGS };
        let mut best: Option<(f64, &Pattern, [f64; 2])> = None;
        for pattern in patterns {
            let may_be = self.profile.dont_fragment && !self.is_v6 || !pattern.names_df;
            if pattern.items > self.profile.items_max || !may_be {
                continue;
            }
            let (mut taken, mut sums) = (pattern.accepts & seen, [0.0; 2]);
            while taken != 0 {
                let [sample, baseline] = shares[taken.trailing_zeros() as usize];
                sums = [sums[0] + sample, sums[1] + baseline];
                taken &= taken - 1;
            }
            let gain = sums[0] - price * (by_baseline * sums[1] + in_general * pattern.general) - pattern.cost;
            if sums[0] > 0.0 && best.is_none_or(|(known, ..)| gain > known) {
                best = Some((gain, pattern, sums));
            }
        }
        best.map(|(_, pattern, [sample, baseline])| Fit {
            predicate: Predicate::Bits(component, pattern.alternatives.clone()),
            sample,
            baseline,
        })
    }

    /// The prefix at the far end that gains most: of the tree of the sample's far ends, every node that holds enough.
    pub(super) fn fit_far(&self, node: &Node, price: f64, ends: Ends) -> Option<Fit> {
        let who = node.measure.who.and(Who { ends: true, flows: false });
        let (by_baseline, in_general) = self.rates(&node.measure, &node.kinds, who);
        let mut is_member = vec![false; self.table.packets.len()];
        node.members.iter().for_each(|&index| is_member[index as usize] = true);
        let (mut sample, mut baseline) = (Sorted::default(), Sorted::default());
        for &index in self.table.by_far.iter().filter(|&&index| is_member[index as usize]) {
            let side = if (index as usize) < self.table.split { &mut sample } else { &mut baseline };
            side.push(self.table.far[index as usize], self.table.weights[index as usize]);
        }
        let mut best: Option<(f64, Fit)> = None;
        let mut open = vec![(0, sample.addresses.len())];
        while let Some((from, to)) = open.pop() {
            let share = sample.share(from, to);
            if share < self.least || best.as_ref().is_some_and(|(gain, _)| share <= *gain) {
                continue;
            }
            let (first, last) = (sample.addresses[from], sample.addresses[to - 1]);
            let common = (first ^ last).leading_zeros() as u8;
            let length = common.min(if self.is_v6 { 128 } else { 32 });
            if (ends == Ends::Networks || first == last)
                && let Some(prefix) = self.far_prefix(first, length)
            {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                let own = baseline.between(first & mask, first | !mask);
                let general = self.prefix_share(length);
                let names = if length == if self.is_v6 { 128 } else { 32 } { 1.0 } else { 2.0 };
                let gain = share - names * node.name_cost - price * (by_baseline * own + in_general * general);
                if best.as_ref().is_none_or(|(known, _)| gain > *known) {
                    let predicate = Predicate::Far(prefix);
                    best = Some((gain, Fit { predicate, sample: share, baseline: own }));
                }
            }
            if first != last {
                let middle = from + sample.addresses[from..to].partition_point(|end| (end << common) >> 127 == 0);
                open.extend([(from, middle), (middle, to)]);
            }
        }
        best.map(|(_, fit)| fit)
    }

    /// The prefix of this length, where a rule may have it.
    fn far_prefix(&self, end: u128, length: u8) -> Option<IpNet> {
        let shortest = if self.is_v6 { V6_SHORTEST } else { V4_SHORTEST };
        let prefix = match self.is_v6 {
            true => {
                let address = std::net::Ipv6Addr::from(end);
                // Routers refuse IPv4 mapped into IPv6.
                IpNet::V6(Ipv6Net::new(address, length).ok().filter(|_| address.to_ipv4_mapped().is_none())?)
            }
            false => IpNet::V4(Ipv4Net::new(((end >> 96) as u32).into(), length).ok()?),
        };
        (length >= shortest && self.whitelist.may_be_far_end(prefix.trunc())).then(|| prefix.trunc())
    }
}

/// Far ends in order, and what those up to each weigh.
#[derive(Default)]
struct Sorted {
    addresses: Vec<u128>,
    sums: Vec<f64>,
}

impl Sorted {
    fn push(&mut self, address: u128, weight: f64) {
        self.addresses.push(address);
        self.sums.push(self.sums.last().unwrap_or(&0.0) + weight);
    }

    fn share(&self, from: usize, to: usize) -> f64 {
        let up_to = |end: usize| end.checked_sub(1).map_or(0.0, |last| self.sums[last]);
        up_to(to) - up_to(from)
    }

    fn between(&self, first: u128, last: u128) -> f64 {
        let from = self.addresses.partition_point(|&address| address < first);
        let to = self.addresses.partition_point(|&address| address <= last);
        self.share(from, to)
    }
}

fn names_df(component: Component, bits: Bits) -> bool {
    component == Component::Fragment && (bits.set | bits.clear) & DONT_FRAGMENT != 0
}

/// A pattern of flags or fragment bits.
struct Pattern {
    alternatives: Vec<Bits>,
    /// The values that it accepts, as bits.
    accepts: u64,
    items: usize,
    names_df: bool,
    /// What it costs to say.
    cost: f64,
    /// What share of traffic has it in general.
    general: f64,
}

/// Every way to want some of the six classic flags set and some clear.
static FLAGS: LazyLock<Vec<Pattern>> = LazyLock::new(|| patterns(Component::TcpFlags, 6, Vec::new()));
/// The same of fragment bits; and all fragments, first and later.
static FRAGMENTS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    let bits = |set: u8| Bits { set: set.into(), clear: 0 };
    patterns(Component::Fragment, 4, vec![vec![bits(fragment::IS), bits(fragment::FIRST)]])
});

fn patterns(component: Component, width: u16, mut all: Vec<Vec<Bits>>) -> Vec<Pattern> {
    for set in 0..1 << width {
        all.extend((0..1 << width).filter(|clear| set & clear == 0).map(|clear| vec![Bits { set, clear }]));
    }
    all.retain(|alternatives| alternatives.iter().all(|bits| bits.set | bits.clear != 0));
    all.into_iter().map(|alternatives| pattern(component, alternatives)).collect()
}

fn pattern(component: Component, alternatives: Vec<Bits>) -> Pattern {
    let accepted = (0..64).filter(|&value| alternatives.iter().any(|bits| bits.accept(value)));
    let terms = |bits: &Bits| (bits.set | bits.clear).count_ones() + if bits.set == 0 { TERMS_OF_CLEAR } else { 0 };
    Pattern {
        accepts: accepted.fold(0, |accepts, value| accepts | 1 << value),
        items: alternatives.iter().map(|&bits| bit_items(bits)).sum(),
        names_df: alternatives.iter().any(|&bits| names_df(component, bits)),
        cost: TERM_COST * f64::from(alternatives.iter().map(terms).sum::<u32>()),
        general: prior::bits_share(component, &alternatives),
        alternatives,
    }
}
