//! The best that one component can add to a rule: which numbers, flags or prefix take most of the sample and least of the
//! baseline. Values only.

use std::sync::LazyLock;

use dataplane::packet::fragment;
use dataplane::rule::{Bits, Component, Ranges};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::expect::Who;
use super::search::{Miner, Node, PRICES};
use super::table::{ABSENT, Field, far_end};
use super::{own, prior};
use crate::attack::Direction;
use crate::profile::{DONT_FRAGMENT, bit_items};

/// Shortest prefixes of far ends that make a rule.
const V4_SHORTEST: u8 = 8;
const V6_SHORTEST: u8 = 20;
/// A network must hold as many far ends of the sample as this times the bits that it leaves open, up to so many: few are named one by one.
const ENDS_A_BIT: f64 = 0.5;
const ENDS_MOST: f64 = 8.0;
/// What may be a conversation of the host's own costs so much of what it gains.
const AGAIN_PRICE: f64 = 1.5;
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

/// Whom rules may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// Prefixes of any length, and ranges of ports that no service has.
    Networks,
    /// Single addresses and ports.
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

/// Spans of numbers in a rule; also the most items that are tried.
const ITEMS_TRIED: usize = 5;
type ByItems<T> = [T; ITEMS_TRIED + 1];

/// All ways to choose spans of bins within some items, from bin to bin: `closed[i]` is what the best with `i` items gains that ends before
/// the bin, `open[i]` the best whose last range goes on. Of each bin it is kept how its best came about.
struct Spans {
    closed: ByItems<f64>,
    open: ByItems<f64>,
    steps: Vec<(u16, ByItems<Step>)>,
}

/// How the best with so many items came about at a bin.
#[derive(Clone, Copy, Default)]
struct Step {
    /// The open range begins here.
    begins: bool,
    /// The best that is closed ends here, with the open range or with this bin alone.
    ends: bool,
    alone: bool,
}

impl Spans {
    fn new(bins: usize) -> Spans {
        let (mut closed, open) = ([f64::NEG_INFINITY; ITEMS_TRIED + 1], [f64::NEG_INFINITY; ITEMS_TRIED + 1]);
        closed[0] = 0.0;
        Spans { closed, open, steps: Vec::with_capacity(bins) }
    }

    /// The next bin: what it gains, less the gap before it where a range goes on, less what items cost where they begin.
    fn next(&mut self, bin: u16, gain: f64, gap: f64, range_cost: f64, single_cost: Option<f64>, most: usize) {
        let mut steps = [Step::default(); ITEMS_TRIED + 1];
        for items in (0..=most).rev() {
            let goes_on = self.open[items] + gain - gap;
            let begins = if items >= 2 { self.closed[items - 2] + gain - range_cost } else { f64::NEG_INFINITY };
            steps[items].begins = begins > goes_on;
            self.open[items] = goes_on.max(begins);
        }
        for items in (0..=most).rev() {
            steps[items].ends = self.open[items] > self.closed[items];
            let best = self.closed[items].max(self.open[items]);
            let alone = match single_cost {
                Some(cost) if items >= 1 => self.closed[items - 1] + gain - cost,
                _ => f64::NEG_INFINITY,
            };
            steps[items].alone = alone > best;
            self.closed[items] = best.max(alone);
        }
        self.steps.push((bin, steps));
    }

    /// The spans that gain most.
    fn best(&self) -> Vec<(u16, u16)> {
        let gains = self.closed.iter().enumerate().skip(1);
        let Some((mut items, _)) = gains.max_by(|a, b| a.1.total_cmp(b.1)) else { return Vec::new() };
        let mut spans = Vec::new();
        let mut is_open = false;
        let mut last = 0;
        for (bin, steps) in self.steps.iter().rev() {
            let step = steps[items];
            if !is_open && step.alone {
                spans.push((*bin, *bin));
                items -= 1;
                continue;
            }
            if !is_open && step.ends {
                (is_open, last) = (true, *bin);
            }
            if is_open && step.begins {
                spans.push((*bin, last));
                items -= 2;
                is_open = false;
            }
        }
        spans.reverse();
        spans
    }
}

impl Miner<'_> {
    /// The numbers that gain most, at each price for a share of the host's own.
    pub(super) fn fit_numbers(&self, node: &Node, field: usize) -> Vec<Fit> {
        let number = &self.table.fields[field];
        let Field { component, bins, of, .. } = number;
        let Some(last) = bins.last() else { return Vec::new() };
        let mut shares = vec![[0.0; 2]; bins.len()];
        for &index in &node.members {
            let bin = of[index as usize];
            if bin != ABSENT {
                shares[usize::from(bin)][usize::from(index as usize >= self.table.split)] +=
                    self.table.weights[index as usize];
            }
        }
        // Bins without a packet are gaps.
        let filled: Vec<u16> =
            (0..).zip(&shares).filter(|(_, shares)| **shares != [0.0; 2]).map(|(bin, _)| bin).collect();
        let trust = self.trust(node.measure.names > 0 || own::is_name(*component, last.high));
        let all: Ranges = [(0, last.high)].into_iter().collect();
        let who = node.measure.who.and(self.who(*component, &all));
        let (by_baseline, in_general) = self.rates(&node.measure, &node.kinds, who);
        let item_cost = trust.word_cost * self.number_words(field);
        let most = self.profile.items_max.min(ITEMS_TRIED);
        let spans_at = |price: f64| {
            let mut spans = Spans::new(filled.len());
            let mut previous = None;
            for &at in &filled {
                let (bin, [sample, baseline]) = (bins[usize::from(at)], shares[usize::from(at)]);
                // What may well be a conversation of the host's own is better left.
                let again = AGAIN_PRICE * number.again(at).min(self.own).min(sample);
                let gain = sample - again - price * (by_baseline * baseline + in_general * number.general(at));
                let gap = previous.replace(at).map_or(0.0, |before| price * in_general * number.between(before, at));
                let [alone, range] = self.costs_of_names(number, at, node.name_cost);
                let single_cost = (bin.low == bin.high).then_some(item_cost + alone);
                spans.next(at, gain, gap, 2.0 * item_cost + range, single_cost, most);
            }
            spans.best()
        };
        let mut found: Vec<Fit> = Vec::new();
        for spans in PRICES.map(spans_at) {
            let (mut sample, mut baseline) = (0.0, 0.0);
            for &(first, last) in &spans {
                for [of_sample, of_baseline] in &shares[usize::from(first)..=usize::from(last)] {
                    sample += of_sample;
                    baseline += of_baseline;
                }
            }
            found.push(Fit { predicate: Predicate::Numbers { field, spans }, sample, baseline });
        }
        distinct(found)
    }

    /// What a bin pays that names somebody, alone and where a range begins: as much as may well be a conversation of the host's own.
    fn costs_of_names(&self, number: &Field, bin: u16, name_cost: f64) -> [f64; 2] {
        match own::is_name(number.component, number.bins[usize::from(bin)].high) {
            true if self.ends == Ends::Hosts => [name_cost.min(number.heaviest(bin)), f64::INFINITY],
            true => [name_cost.min(number.heaviest(bin)), 2.0 * name_cost],
            false => [0.0; 2],
        }
    }

    /// The same of all that a predicate says.
    pub(super) fn cost_of_names(&self, predicate: &Predicate, name_cost: f64) -> f64 {
        match predicate {
            Predicate::Numbers { field, spans } => {
                let number = &self.table.fields[*field];
                let cost = |&(first, last): &(u16, u16)| {
                    let is_one =
                        first == last && number.bins[usize::from(first)].low == number.bins[usize::from(first)].high;
                    self.costs_of_names(number, last, name_cost)[usize::from(!is_one)]
                };
                spans.iter().map(cost).sum()
            }
            Predicate::Bits(..) => 0.0,
            Predicate::Far(prefix) if prefix.prefix_len() == prefix.max_prefix_len() => name_cost,
            Predicate::Far(_) => 2.0 * name_cost,
        }
    }

    /// The pattern of flags or fragment bits that gains most at each price; all are tried.
    pub(super) fn fit_bits(&self, node: &Node, component: Component) -> Vec<Fit> {
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
        let mut best: [Option<(f64, &Pattern, [f64; 2])>; PRICES.len()] = [None; PRICES.len()];
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
            for (price, best) in PRICES.into_iter().zip(&mut best) {
                let gain = sums[0] - price * (by_baseline * sums[1] + in_general * pattern.general) - pattern.cost;
                if best.is_none_or(|(known, ..)| gain > known) {
                    *best = Some((gain, pattern, sums));
                }
            }
        }
        let fit = |(_, pattern, [sample, baseline]): (f64, &Pattern, [f64; 2])| Fit {
            predicate: Predicate::Bits(component, pattern.alternatives.clone()),
            sample,
            baseline,
        };
        distinct(best.into_iter().flatten().map(fit).collect())
    }

    /// The prefix at the far end that gains most at each price: of the tree of the sample's far ends, every node that holds enough.
    pub(super) fn fit_far(&self, node: &Node, ends: Ends) -> Vec<Fit> {
        let who = node.measure.who.and(Who { ends: true, flows: false });
        let (by_baseline, in_general) = self.rates(&node.measure, &node.kinds, who);
        let mut is_member = vec![false; self.table.packets.len()];
        node.members.iter().for_each(|&index| is_member[self.table.place[index as usize] as usize] = true);
        let (mut sample, mut baseline) = (Sorted::default(), Sorted::default());
        let members = self.table.by_far.iter().zip(is_member).filter(|(_, is_member)| *is_member);
        for (&index, _) in members {
            let side = if (index as usize) < self.table.split { &mut sample } else { &mut baseline };
            side.push(self.table.far[index as usize], self.table.weights[index as usize]);
        }
        let longest = if self.is_v6 { 128 } else { 32 };
        let mut best: [Option<(f64, Fit)>; PRICES.len()] = [None, None];
        let mut open = vec![(0, sample.addresses.len())];
        while let Some((from, to)) = open.pop() {
            let share = sample.share(from, to);
            let is_beaten = |best: &Option<(f64, Fit)>| best.as_ref().is_some_and(|(gain, _)| share <= *gain);
            if share < self.least || best.iter().all(is_beaten) {
                continue;
            }
            let (first, last) = (sample.addresses[from], sample.addresses[to - 1]);
            let common = (first ^ last).leading_zeros() as u8;
            let length = common.min(longest);
            let is_peopled = || {
                let wanted = (f64::from(longest - length) * ENDS_A_BIT).min(ENDS_MOST);
                let far_ends = sample.addresses[from..to].chunk_by(|a, b| a == b);
                far_ends.take(ENDS_MOST as usize).count() as f64 >= wanted
            };
            if (first == last || (ends == Ends::Networks && is_peopled()))
                && let Some(prefix) = self.far_prefix(first, length)
            {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                let own = baseline.between(first & mask, first | !mask);
                let general = self.prefix_share(length);
                let names = if length == longest { 1.0 } else { 2.0 };
                for (price, best) in PRICES.into_iter().zip(&mut best) {
                    let gain = share - names * node.name_cost - price * (by_baseline * own + in_general * general);
                    if best.as_ref().is_none_or(|(known, _)| gain > *known) {
                        let predicate = Predicate::Far(prefix);
                        *best = Some((gain, Fit { predicate, sample: share, baseline: own }));
                    }
                }
            }
            if first != last {
                let middle = from + sample.addresses[from..to].partition_point(|end| (end << common) >> 127 == 0);
                open.extend([(from, middle), (middle, to)]);
            }
        }
        distinct(best.into_iter().flatten().map(|(_, fit)| fit).collect())
    }

    /// The far end of a packet as a prefix, where a rule may have it.
    pub(super) fn far_host(&self, packet: &dataplane::packet::Headers) -> Option<IpNet> {
        let direction = if self.far == Component::SourcePrefix { Direction::Incoming } else { Direction::Outgoing };
        self.far_prefix(far_end(packet, direction), if self.is_v6 { 128 } else { 32 })
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

/// Those that take something of the sample, each once.
fn distinct(mut fits: Vec<Fit>) -> Vec<Fit> {
    fits.retain(|fit| fit.sample > 0.0);
    fits.dedup_by(|a, b| a.predicate == b.predicate);
    fits
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
