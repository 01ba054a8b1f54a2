//! Rules for people: in full, and as a table.

use proto::v1::{Mined, Rule};

use super::{bgp, facts, table};
use crate::units::{age, bps, count, percent, pps};

/// One rule in full.
pub(super) fn one_rule(rule: &Rule, now_ms: i64) -> String {
    let mut lines = vec![
        ("rule", rule.text.clone()),
        ("id", rule.id.clone()),
        ("state", held(rule, now_ms)),
        ("lifted", if rule.withdrawn_ms > 0 { age(rule.withdrawn_ms, now_ms) } else { String::new() }),
        ("kind", bgp::kind(rule).to_owned()),
        ("engines", bgp::holders(rule, now_ms)),
        ("refused", rule.refused.clone()),
        ("matched", matched(rule)),
        ("coverage", percent(rule.coverage)),
        ("reason", rule.reason.clone()),
    ];
    if let Some(mined) = &rule.mined {
        lines.insert(lines.len() - 1, ("collateral", collateral(mined)));
        lines.insert(lines.len() - 1, ("known", known(mined)));
        lines.push(("runner-up", mined.runner_up.clone()));
    }
    facts(&lines)
}

/// What a rule takes of the host's own traffic.
fn collateral(mined: &Mined) -> String {
    let share = percent(mined.collateral);
    if mined.collateral_at_most >= 1.0 {
        return format!("{share} of what hosts in general receive; there is no baseline");
    }
    format!("{share} of the baseline, at most {} with 95 % confidence", percent(mined.collateral_at_most))
}

/// The same with 95 % confidence.
fn at_most(mined: &Mined) -> String {
    if mined.collateral_at_most >= 1.0 { "no baseline".to_owned() } else { percent(mined.collateral_at_most) }
}

/// What it took of somebody whom the baseline knows.
fn known(mined: &Mined) -> String {
    match mined.known_packets {
        0 => String::new(),
        packets => format!("about {} packets of known peers", count(packets)),
    }
}

/// A rule's state, and since when an engine holds it.
fn held(rule: &Rule, now_ms: i64) -> String {
    match rule.held_ms {
        0 => format!("{}, wanted {}", rule.state, age(rule.wanted_ms, now_ms)),
        held_ms => format!("{}, {}", rule.state, age(held_ms, now_ms)),
    }
}

fn matched(rule: &Rule) -> String {
    format!("{} packets, {}", count(rule.matched_packets), pps(rule.matched_pps))
}

/// `leveectl rules`.
pub(crate) fn rules(rules: &[Rule], now_ms: i64) -> String {
    if rules.is_empty() {
        return "no rules\n".to_owned();
    }
    let row = |rule: &Rule| {
        vec![
            rule.target.clone(),
            rule.text.clone(),
            held(rule, now_ms),
            count(rule.matched_packets),
            pps(rule.matched_pps),
            bps(rule.matched_bps),
            percent(rule.coverage),
            rule.mined.as_ref().map_or("-".to_owned(), |mined| percent(mined.collateral)),
            rule.mined.as_ref().map_or("-".to_owned(), at_most),
            rule.mined.as_ref().map_or("-".to_owned(), |mined| count(mined.known_packets)),
            rule.mined.as_ref().map_or_else(String::new, |mined| mined.runner_up.clone()),
        ]
    };
    let headings = [
        "TARGET",
        "RULE",
        "STATE",
        ">MATCHED",
        ">NOW",
        ">",
        ">COVERAGE",
        ">COLLATERAL",
        ">AT MOST",
        ">KNOWN",
        "RUNNER-UP",
    ];
    table(&headings, rules.iter().map(row))
}
