//! A captured sample, held against what the target receives in peace, to the rules that remove the attack and spare the host.
//! Pure: values in, values out.
//!
//! A rule is the target and a few components more. Each further component makes it spare more of the host's own traffic, and
//! never cover more of the attack. What a rule is worth is therefore one number:
//!
//! > share of the sample that it covers − [`PRICE`] × share of the host's own traffic that it takes along − what its length costs
//!
//! The last is what keeps a rule from telling the sample's accidents: everything that it says (a number is one of so many that there are)
//! must be paid for by packets that show it, the more of them the less the baseline is known.
//!
//! The same goes for one conversation of the host's own that the baseline does not have yet (`own`).
//!
//! `search` finds the rule that is worth most, `fit` what each component can add, `prior` stands in for what the baseline does
//! not tell, `widen` makes room for what the sample does not hold. What a rule takes is left out, and the rest is mined again.

mod doubt;
mod expect;
mod explain;
mod fit;
mod own;
mod peace;
mod prior;
mod search;
mod table;
mod widen;

use std::cell::Cell;

use dataplane::packet::Headers;
use dataplane::rule::{Action, Component, FlowRule, nlri};
use ipnet::IpNet;

use crate::attack::{Direction, Target, Unit};
use crate::profile::Profile;
use crate::whitelist::Whitelist;
use expect::Trust;
pub use explain::{RunnerUp, at_most};
use fit::Ends;
use own::FarEnds;
pub use peace::{Peace, Whose};
use search::{Miner, Node};
use table::{Table, weight};

/// A share of the host's own traffic counts as much as so many of the attack.
const PRICE: f64 = 5.0;
/// Bounds of what a rule pays for each word that it says, as a share of the sample.
const WORD_COST_MIN: f64 = 0.0005;
const WORD_COST_MAX: f64 = 0.005;
/// The same where there is no baseline.
const WORD_COST_UNKNOWN: f64 = 0.02;
/// So many sets of rules are tried, each with another first rule, until one leaves less than this of the sample.
const STARTS: usize = 3;
const WELL_COVERED: f64 = 0.03;
/// Or, where half of what the host's own may be is more, than that; but no more than this.
const WELL_COVERED_MOST: f64 = 0.1;
/// After looking at so many packets for what more a rule could ask, no further set is completed.
const STEPS: usize = 40_000;
/// And after so many no further rule is looked for.
const STEPS_MOST: usize = 150_000;
/// So many rules that seem good are given a harder look, until one may be.
const LOOKS: usize = 12;
/// What a rule costs in a set of them, since routers take only so many; and so much of what it paid for names, since it may still be a
/// conversation of the host's own.
const RULE_COST: f64 = 0.005;
const DOUBT: f64 = 0.5;
/// Of what rules are to be expected to take beyond what the baseline shows, so much counts against what all of them may: each may be wrong, but
/// hardly all.
const UNSHOWN: f64 = 0.25;
/// Fewer packets of a sample are worth no rule.
const LEAST_PACKETS: f64 = 3.0;
/// Least share of a sample that is worth a rule where there is no baseline: nobody knows whose it is.
const LEAST_WITHOUT_BASELINE: f64 = 0.2;
/// Where rules leave more than this of the sample, what is left is held to be an attack that looks like the host's own traffic.
const UNEXPLAINED: f64 = 0.5;
/// A rate limit is so many times what the baseline had of it in its busiest second, and never lower than this.
const RATE_MARGIN: f64 = 1.5;
const RATE_MIN_BPS: u64 = 64_000;

/// Bounds of mining: section `[miner]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Most rules from one sample.
    pub most_rules: usize,
    /// Least share of the sample that is worth a rule.
    pub least_coverage: f64,
    /// Most of the host's own traffic that the rules that discard may take along, as a share.
    pub most_collateral: f64,
    /// The same where there is no baseline: of what hosts in general receive.
    pub most_in_general: f64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { most_rules: 8, least_coverage: 0.02, most_collateral: 0.01, most_in_general: 0.04 }
    }
}

/// What is to be mined.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// Rules are never wider.
    pub target: Target,
    /// What crossed: packets or bytes.
    pub by: Unit,
    /// Packets of both directions; those in the target's direction count.
    pub sample: &'a [Headers],
    /// In how many seconds so many packets came; 0 where nobody knows.
    pub seconds: f64,
    /// What to spare.
    pub peace: &'a Peace,
    /// What routers take.
    pub profile: &'a Profile,
    /// Bounds.
    pub limits: &'a Limits,
    /// Far ends that no rule names.
    pub whitelist: &'a Whitelist,
}

/// A rule, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Mined {
    /// The rule; never wider than the target.
    pub rule: FlowRule,
    /// Discard; for what cannot be told from the host's own traffic a rate.
    pub action: Action,
    /// Share of the sample in the attack's direction that the rule matches, by packets or bytes.
    pub coverage: f64,
    /// Share of the baseline that it matches; without a baseline what is to be expected of hosts in general.
    pub collateral: f64,
    /// How many packets of the sample it matches.
    pub packets: usize,
    /// Words for people.
    pub reason: String,
    /// The next best.
    pub runner_up: Option<RunnerUp>,
}

/// What came of a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The rules, the most telling first. Empty where nothing tells the attack from the host's other traffic.
    pub rules: Vec<Mined>,
    /// Share of the sample that none of them matches: the host's own traffic, and what may cross again.
    pub uncovered: f64,
    /// Whether the rules that discard leave so much that it is held to be an attack that looks like the host's own traffic. What tells it
    /// best is limited by one more rule, if the baseline says to what.
    pub inseparable: bool,
    /// What else is to be said; empty when nothing is.
    pub note: String,
}

/// What a rule matches.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Counted {
    coverage: f64,
    packets: usize,
    of: usize,
    collateral: f64,
    own: usize,
    own_of: usize,
}

/// Mines a sample.
pub fn mine(task: &Task) -> Outcome {
    mined(task).0
}

/// The same, and how many packets were looked at for it.
fn mined(task: &Task) -> (Outcome, usize) {
    let base = Target { prefix: task.target.prefix.trunc(), ..task.target }.all();
    let sample: Vec<Headers> = task.sample.iter().filter(|packet| base.matches(packet)).copied().collect();
    if sample.is_empty() || nlri::encode(&base).is_err() {
        let note = "nothing in the sample goes the way of the attack".to_owned();
        return (Outcome { rules: Vec::new(), uncovered: 1.0, inseparable: false, note }, 0);
    }
    let peace = task.peace.as_of(&task.target);
    let known = peace.packets.len();
    let least =
        if known == 0 { task.limits.least_coverage.max(LEAST_WITHOUT_BASELINE) } else { task.limits.least_coverage };
    let incoming = task.target.direction == Direction::Incoming;
    let (near_port, far_port) = (Component::DestinationPort, Component::SourcePort);
    let (near, far) = (Component::DestinationPrefix, Component::SourcePrefix);
    let table = Table::new(&sample, &peace.packets, task.by, task.target.direction);
    let (near_port, far_port) = if incoming { (near_port, far_port) } else { (far_port, near_port) };
    let rate = own::by_rate(&sample, task.seconds, &peace, task.by);
    let (own, own_least) = own::share(&table, near_port, far_port, rate);
    let far_ends = FarEnds::new(&peace.packets, task.by, task.target.direction);
    let packets = sample.len().min(table::SAMPLE_MAX) as f64;
    let own_packets: Vec<u32> = (table.split as u32..table.packets.len() as u32).collect();
    // Packets of a conversation are alike: of what the host receives, each conversation is one witness.
    let conversations = table.conversations(&own_packets).flows;
    let miner = Miner {
        own,
        own_least,
        table,
        profile: task.profile,
        whitelist: task.whitelist,
        of_kinds: Trust { known: conversations, ..Trust::new(packets, known as f64) },
        ends: Ends::Networks,
        of_names: Trust::new(packets, far_ends.count as f64),
        least: least.max(LEAST_PACKETS / packets),
        is_v6: matches!(task.target.prefix, IpNet::V6(_)),
        near_port,
        far: if incoming { far } else { near },
        steps: Cell::new(0),
    };
    Session { task, base, miner, sample, peace, far_ends }.run()
}

impl Trust {
    /// What a baseline of so many packets (or, for what names conversations, so many of these) is good for.
    ///
    /// Packets that the baseline lacks speak against chance, each by how much likelier it would come from the baseline: that is
    /// `ln(1 + known / own)` words, if no more than `own`, half of the sample, is the host's.
    fn new(sample: f64, known: f64) -> Trust {
        let word_cost = match known {
            0.0 => WORD_COST_UNKNOWN,
            _ => (1.0 / (sample * (1.0 + 2.0 * known / sample).ln())).clamp(WORD_COST_MIN, WORD_COST_MAX),
        };
        Trust { known, word_cost }
    }
}

/// The mining of one sample.
struct Session<'a> {
    task: &'a Task<'a>,
    base: FlowRule,
    miner: Miner<'a>,
    sample: Vec<Headers>,
    peace: Peace,
    far_ends: FarEnds,
}

/// Rules that have been chosen, and what they leave.
#[derive(Clone)]
struct Chosen {
    /// Each with the next best.
    rules: Vec<(FlowRule, Option<RunnerUp>)>,
    /// What no rule takes yet.
    members: Vec<u32>,
    /// What the rules take of the host's own traffic.
    spent: f64,
    /// What all of them are worth.
    worth: f64,
}

impl Session<'_> {
    fn run(mut self) -> (Outcome, usize) {
        let mut rules = self.chosen();
        if rules.iter().any(|mined| self.is_arbitrary(&mined.rule, &rules)) {
            self.miner.ends = Ends::Hosts;
            rules = self.chosen();
        }
        let most = self.most_rules();
        let mut note = String::new();
        let inseparable = self.left(&rules) > UNEXPLAINED;
        if inseparable {
            match self.limited(&rules).filter(|_| rules.len() < most) {
                Some(limited) => rules.push(limited),
                None if rules.is_empty() && self.peace.packets.is_empty() => {
                    note = "nothing that its packets have in common is rare among hosts in general, and there is no baseline of \
                            this one to tell its own traffic from the attack"
                        .into();
                }
                None => note = "nothing sets the rest of the sample apart from the host's own traffic".into(),
            }
        }
        self.drop_superfluous(&mut rules);
        (Outcome { uncovered: self.left(&rules), rules, inseparable, note }, self.miner.steps.get())
    }

    fn most_rules(&self) -> usize {
        self.task.limits.most_rules.min(self.task.profile.rules_max)
    }

    /// The rules that discard: one after the other, each the best for what the others leave. Since the best first rule does not
    /// always begin the best set, others are tried where it leaves much: the next best ones, and naming the sources one by one.
    fn chosen(&self) -> Vec<Mined> {
        let members = (0..self.miner.table.packets.len() as u32).collect();
        let none = Chosen { rules: Vec::new(), members, spent: 0.0, worth: 0.0 };
        if self.most_rules() == 0 {
            return Vec::new();
        }
        let mut starts: Vec<Chosen> = Vec::new();
        let by_ends = [self.miner.ends, Ends::Hosts].map(|ends| self.by_ends(none.clone(), ends));
        let mut others = self.next(&none, STARTS).into_iter();
        for start in others.next().into_iter().chain(by_ends).chain(others) {
            if !start.rules.is_empty() && starts.iter().all(|known| known.members != start.members) {
                starts.push(start);
            }
        }
        let enough = (self.miner.own / 2.0).clamp(WELL_COVERED, WELL_COVERED_MOST);
        let mut best: Option<Chosen> = None;
        for (place, start) in starts.into_iter().enumerate() {
            let in_time = place == 0 || self.miner.steps.get() < STEPS;
            let set = if in_time { self.completed(start) } else { start };
            // Of equals the first.
            if best.as_ref().is_none_or(|best| set.worth > best.worth) {
                best = Some(set);
            }
            if best.as_ref().is_some_and(|best| self.miner.table.shares(&best.members).0 < enough) {
                break;
            }
        }
        let best = best.map_or_else(Vec::new, |best| best.rules);
        best.into_iter().map(|(rule, runner_up)| self.discarding(&rule, runner_up)).collect()
    }

    /// The rule as it is announced, and why.
    fn discarding(&self, rule: &FlowRule, runner_up: Option<RunnerUp>) -> Mined {
        let rule = self.touched_up(rule, &self.sample, &self.peace.packets);
        // Only by the last touch they became the same.
        let runner_up = runner_up.filter(|next| next.rule != rule);
        let instead = runner_up.as_ref().map(|next| format!("; \"{}\" {}", self.words(&next.rule), next.why));
        let lead = self.words(&rule);
        self.explained(rule, Action::Discard, runner_up, |counts| {
            format!("{lead}: {counts}{}", instead.unwrap_or_default())
        })
    }

    /// The rule with room for what the sample does not hold, as far as it can be.
    fn touched_up(&self, rule: &FlowRule, sample: &[Headers], baseline: &[Headers]) -> FlowRule {
        [widen::widened, widen::named].into_iter().fold(rule.clone(), |rule, change| {
            let changed = change(&rule, sample, baseline);
            if self.can_be(&changed) { changed } else { rule }
        })
    }

    fn completed(&self, mut chosen: Chosen) -> Chosen {
        while chosen.rules.len() < self.most_rules()
            && self.miner.steps.get() < STEPS_MOST
            && let Some(next) = self.next(&chosen, 1).pop()
        {
            chosen = next;
        }
        chosen
    }

    /// With rules that are no more than far ends.
    fn by_ends(&self, mut chosen: Chosen, ends: Ends) -> Chosen {
        while chosen.rules.len() < self.most_rules() {
            let root = self.miner.root(&self.base, chosen.members.clone(), self.name_cost(&chosen));
            let candidates = self.miner.of_ends(&root, ends);
            let allowed = self.miner.most_collateral(self.task.limits, chosen.spent);
            let left = self.miner.table.shares(&chosen.members).0;
            let worth = |node: &Node| node.worth(&self.miner, PRICE);
            let good = candidates.iter().filter(|node| self.may_be(node, allowed, left));
            let Some(best) = good.max_by(|a, b| worth(a).total_cmp(&worth(b))) else { break };
            chosen = self.with(&chosen, best.clone(), &candidates, allowed);
        }
        chosen
    }

    /// Whether a rule may be at all, of so much that is left of the sample.
    fn may_be(&self, node: &Node, allowed: f64, left: f64) -> bool {
        node.expected <= allowed
            && node.sample >= self.miner.least
            && node.worth(&self.miner, PRICE) > 0.0
            && left - node.sample >= self.miner.own_least
            && self.can_be(&node.rule)
    }

    /// The share of the sample that no rule matches.
    fn left(&self, rules: &[Mined]) -> f64 {
        let rest = self.sample.iter().filter(|packet| !rules.iter().any(|mined| mined.rule.matches(packet)));
        rest.map(|packet| weight(packet, self.task.by)).fold(0.0, |sum, weight| sum + weight) / self.total()
    }

    fn total(&self) -> f64 {
        self.sample.iter().map(|packet| weight(packet, self.task.by)).sum::<f64>().max(f64::MIN_POSITIVE)
    }

    /// With the rule that is worth most of those that may be, or with each of the best few that ask for something else.
    fn next(&self, chosen: &Chosen, most: usize) -> Vec<Chosen> {
        let miner = &self.miner;
        let left = miner.table.shares(&chosen.members).0;
        if left - miner.own_least < miner.least {
            return Vec::new();
        }
        let allowed = miner.most_collateral(self.task.limits, chosen.spent);
        let candidates = miner.candidates(&self.base, chosen.members.clone(), self.name_cost(chosen));
        let worth = |node: &Node| node.worth(miner, PRICE);
        let mut good: Vec<&Node> = candidates.iter().filter(|node| self.may_be(node, allowed, left)).collect();
        good.sort_by(|a, b| worth(b).total_cmp(&worth(a)));
        let mut kinds: Vec<Vec<Component>> = Vec::new();
        let mut starts = Vec::new();
        let mut looks = 0;
        for node in good {
            if starts.len() == most || looks == LOOKS {
                break;
            }
            let kind = self.asked(&node.rule);
            let is_like = |known: &Vec<Component>| known.iter().all(|component| kind.contains(component));
            if kinds.iter().any(is_like) {
                continue;
            }
            looks += 1;
            if let Some(node) = self.held_against_all(node, chosen, allowed) {
                kinds.push(kind);
                starts.push(node);
            }
        }
        let polished = |best: Node| {
            let polished = miner.polished(best.clone(), &chosen.members, allowed);
            let polished = Some(polished).filter(|polished| self.may_be(polished, allowed, left));
            polished.and_then(|polished| self.held_against_all(&polished, chosen, allowed)).unwrap_or(best)
        };
        starts.into_iter().map(|best| self.with(chosen, polished(best), &candidates, allowed)).collect()
    }

    /// The rule with what it takes of the host's own by a harder look, unless that is more than is allowed: since it was fitted to some of the
    /// baseline, by more of that; and since names may go together, by each of them among those that have the others.
    fn held_against_all(&self, node: &Node, chosen: &Chosen, allowed: f64) -> Option<Node> {
        let miner = &self.miner;
        let expected = miner.expected_at_most(node, &chosen.members).max(miner.table.checked(&node.rule, self.task.by));
        (expected <= allowed).then(|| Node { expected, ..node.clone() })
    }

    /// What a rule pays for each address and port that it names: as much of the sample as one conversation of the host's own can be,
    /// which is no more than what no rule takes yet.
    fn name_cost(&self, chosen: &Chosen) -> f64 {
        let own = self.miner.own.min(self.miner.table.shares(&chosen.members).0);
        let among = (own * self.sample.len() as f64) as usize;
        own * self.far_ends.conversation(among)
    }

    /// With this rule; what it takes is gone from then on.
    fn with(&self, chosen: &Chosen, best: Node, candidates: &[Node], allowed: f64) -> Chosen {
        let miner = &self.miner;
        let runner_up = explain::runner_up(miner, &best, candidates, allowed);
        let (sample, baseline) = miner.table.packets.split_at(miner.table.split);
        let rule = self.touched_up(&best.rule, sample, baseline);
        let mut chosen = chosen.clone();
        let taken = miner.filtered(&chosen.members, &best.asks);
        let (_, shown) = miner.table.shares(&taken);
        let mut taken = taken.into_iter().peekable();
        let is_wider = rule != best.rule;
        chosen.members.retain(|&index| {
            let is_taken = taken.next_if_eq(&index).is_some();
            !(is_taken || is_wider && rule.matches(&miner.table.packets[index as usize]))
        });
        let shown = shown.max(miner.table.checked(&rule, self.task.by));
        chosen.spent += shown + UNSHOWN * (best.expected - shown).max(0.0);
        // The more there is of it, the less it can be one.
        let doubt = DOUBT * best.named * (best.named / best.sample).min(1.0);
        chosen.worth += best.sample - PRICE * best.expected - RULE_COST - doubt;
        chosen.rules.push((best.rule, runner_up));
        chosen
    }

    /// What a rule asks for beside target and protocol.
    fn asked(&self, rule: &FlowRule) -> Vec<Component> {
        let asks = |&component: &Component| match (rule.ranges(component), rule.bits(component)) {
            _ if component == Component::Protocol => false,
            (Some(ranges), _) => !ranges.is_empty(),
            (_, Some(bits)) => !bits.is_empty(),
            _ => component == self.miner.far && rule.prefix(component).is_some(),
        };
        Component::ALL.into_iter().filter(asks).collect()
    }

    /// Whether routers take it, and nothing forbids it.
    fn can_be(&self, rule: &FlowRule) -> bool {
        self.task.profile.check(rule, &Action::Discard).is_ok()
    }

    /// A rule without its target, for people.
    fn words(&self, rule: &FlowRule) -> String {
        self.task.target.direction.with_near(rule, None).to_string()
    }

    fn explained(
        &self,
        rule: FlowRule,
        action: Action,
        runner_up: Option<RunnerUp>,
        words: impl FnOnce(String) -> String,
    ) -> Mined {
        let counted = self.counted(&rule);
        let general = self.miner.measure(&rule).prior;
        let reason = words(explain::counts(&counted, self.task.by, &self.peace, general));
        let collateral = if counted.own_of == 0 { general } else { counted.collateral };
        Mined { rule, action, coverage: counted.coverage, collateral, packets: counted.packets, reason, runner_up }
    }

    /// Counts over all packets, not only those that the search looked at.
    fn counted(&self, rule: &FlowRule) -> Counted {
        let side = |packets: &[Headers]| {
            let (mut hits, mut share, mut total) = (0, 0.0, 0.0);
            for packet in packets {
                let weight = weight(packet, self.task.by);
                total += weight;
                if rule.matches(packet) {
                    hits += 1;
                    share += weight;
                }
            }
            (hits, if total > 0.0 { share / total } else { 0.0 })
        };
        let ((packets, coverage), (own, collateral)) = (side(&self.sample), side(&self.peace.packets));
        Counted { coverage, packets, of: self.sample.len(), collateral, own, own_of: self.peace.packets.len() }
    }

    /// Drops each rule whose packets the others match as well and do the same with, the one with the fewest packets first.
    fn drop_superfluous(&self, rules: &mut Vec<Mined>) {
        let mut by_size: Vec<FlowRule> = rules.iter().map(|mined| mined.rule.clone()).collect();
        by_size.sort_by_cached_key(|rule| self.sample.iter().filter(|packet| rule.matches(packet)).count());
        for candidate in by_size {
            let action = rules.iter().find(|mined| mined.rule == candidate).map(|mined| mined.action);
            let others = rules.iter().filter(|mined| Some(mined.action) == action && mined.rule != candidate);
            let others: Vec<&FlowRule> = others.map(|mined| &mined.rule).collect();
            let mut matched = self.sample.iter().filter(|packet| candidate.matches(packet));
            if matched.all(|packet| others.iter().any(|rule| rule.matches(packet))) {
                rules.retain(|mined| mined.rule != candidate);
            }
        }
    }
}

#[cfg(test)]
mod tests;
