//! How good rules are: how much of each vector they take, and how much of the host's own traffic.
//!
//! A packet that any rule drops is gone. Of the others, each is subject to the strictest limit among those that match it. A limit takes the share of
//! its traffic that is above its rate. Two ways to look at that, for legitimate packets: **collateral** holds the limit against the legitimate
//! traffic alone (what the rule costs when the attack is over, or was none); **squeezed** holds it against all that comes, attack included.

use crate::judge::headers::Headers;
use crate::judge::rule::{Action, Rule};

/// A packet to judge by: what it is, whose it is (an attack's vector, or none), and its share of the rates.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What rules see.
    pub headers: Headers,
    /// The vector; none if it is legitimate.
    pub vector: Option<usize>,
    /// Packets a second that it stands for.
    pub pps: f64,
}

/// How good rules are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Share of each vector that is taken.
    pub recall: Vec<f64>,
    /// Share of the whole attack that is taken.
    pub total: f64,
    /// Share of legitimate packets that is taken, limits held against legitimate traffic alone.
    pub collateral: f64,
    /// The same under attack.
    pub squeezed: f64,
}

/// Scores the rules. With `by_bytes` the attack is weighed by bytes; legitimate traffic always by packets.
pub fn score(rules: &[Rule], packets: &[Judged], vectors: usize, by_bytes: bool) -> Score {
    let matches: Vec<Vec<usize>> = packets
        .iter()
        .map(|packet| (0..rules.len()).filter(|&rule| rules[rule].matches(&packet.headers)).collect())
        .collect();
    let alone = shares(rules, packets, &matches, |packet| packet.vector.is_none());
    let mixed = shares(rules, packets, &matches, |_| true);
    let taken = |of: &[f64], matches: &[usize]| matches.iter().map(|&rule| of[rule]).fold(0.0, f64::max);

    let mut sums = vec![(0.0, 0.0); vectors];
    let (mut legit, mut collateral, mut squeezed) = (0.0, 0.0, 0.0);
    for (packet, matches) in packets.iter().zip(&matches) {
        match packet.vector {
            Some(vector) => {
                let weight = packet.pps * if by_bytes { f64::from(packet.headers.length) } else { 1.0 };
                sums[vector].0 += weight * taken(&mixed, matches);
                sums[vector].1 += weight;
            }
            None => {
                legit += packet.pps;
                collateral += packet.pps * taken(&alone, matches);
                squeezed += packet.pps * taken(&mixed, matches);
            }
        }
    }
    let (hit, all) = sums.iter().fold((0.0, 0.0), |sum, vector| (sum.0 + vector.0, sum.1 + vector.1));
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    Score {
        recall: sums.iter().map(|&(hit, all)| share(hit, all)).collect(),
        total: share(hit, all),
        collateral: share(collateral, legit),
        squeezed: share(squeezed, legit),
    }
}

/// Which share of its packets each rule takes when only some of the packets come.
fn shares(rules: &[Rule], packets: &[Judged], matches: &[Vec<usize>], comes: impl Fn(&Judged) -> bool) -> Vec<f64> {
    let is_gone = |matches: &[usize]| matches.iter().any(|&rule| rules[rule].action == Action::Drop);
    let offered = |rule: usize, weigh: fn(&Judged) -> f64| -> f64 {
        let left = packets.iter().zip(matches).filter(|(packet, matches)| comes(packet) && !is_gone(matches));
        left.filter(|(_, matches)| matches.contains(&rule)).map(|(packet, _)| weigh(packet)).sum()
    };
    let above = |offered: f64, rate: f64| if offered > rate { 1.0 - rate / offered } else { 0.0 };
    (0..rules.len())
        .map(|rule| match rules[rule].action {
            Action::Drop => 1.0,
            Action::Pass => 0.0,
            Action::Pps(rate) => above(offered(rule, |packet| packet.pps), rate),
            Action::Bps(rate) => {
                above(offered(rule, |packet| packet.pps * 8.0 * f64::from(packet.headers.length)), rate)
            }
        })
        .collect()
}
