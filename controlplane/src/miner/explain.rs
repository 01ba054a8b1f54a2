//! Why a rule, in words. Values only.

use dataplane::rule::FlowRule;

use super::search::{Miner, Node};
use super::{Counted, Peace, Whose};
use crate::attack::Unit;

/// Of a normal distribution, 95 % lie within so many standard deviations.
const DEVIATIONS: f64 = 1.96;

/// Upper end of the 95 % confidence interval (Wilson) of a share, of which `hits` of `of` were seen; 1 where nothing was.
pub fn at_most(hits: usize, of: usize) -> f64 {
    if of == 0 {
        return 1.0;
    }
    let (share, n, z2) = (hits as f64 / of as f64, of as f64, DEVIATIONS * DEVIATIONS);
    let spread = DEVIATIONS * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    ((share + z2 / (2.0 * n) + spread) / (1.0 + z2 / n)).min(1.0)
}

/// The next best rule, and why it is not the one.
#[derive(Clone, Debug, PartialEq)]
pub struct RunnerUp {
    /// The rule.
    pub rule: FlowRule,
    /// In words.
    pub why: String,
}

/// Of the other candidates the one that looks best where the host's own traffic counts little.
pub(super) fn runner_up(miner: &Miner, best: &Node, candidates: &[Node], allowed: f64) -> Option<RunnerUp> {
    let others = candidates.iter().filter(|other| other.rule != best.rule && other.measure.components > 0);
    let next = others.max_by(|a, b| a.worth(miner, 1.0).total_cmp(&b.worth(miner, 1.0)))?;
    let (theirs, ours) = (next.expected, best.expected);
    let why = if theirs > allowed {
        format!("takes {} of the host's own traffic along, more than the {} allowed", percent(theirs), percent(allowed))
    } else if next.sample < best.sample - 0.005 {
        format!("covers {}, not {}", percent(next.sample), percent(best.sample))
    } else if theirs > ours + 0.0005 {
        format!("takes {} of the host's own traffic along, not {}", percent(theirs), percent(ours))
    } else if (next.measure.components, next.measure.items) > (best.measure.components, best.measure.items) {
        "is longer, and no better".to_owned()
    } else {
        "is no better".to_owned()
    };
    Some(RunnerUp { rule: next.rule.clone(), why })
}

/// A share for people.
pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent > 0.0 && percent < 0.1 => "less than 0.1 %".to_owned(),
        percent => format!("{percent:.1} %"),
    }
}

/// What a rule takes, of the sample and of the baseline.
pub(super) fn counts(counted: &Counted, by: Unit, peace: &Peace, general: f64) -> String {
    let unit = match by {
        Unit::Pps | Unit::Fps => "packets",
        Unit::Bps => "bytes",
    };
    let Counted { coverage, packets, of, collateral, own, own_of } = *counted;
    let sample = format!("{} of the sample's {unit} ({packets} of {of} packets)", percent(coverage));
    let whose = match peace.whose {
        Whose::Target => "baseline",
        Whose::Group => "baseline of its group",
    };
    match own_of {
        0 => format!("{sample}; there is no baseline, and hosts in general have {} of such traffic", percent(general)),
        _ => format!(
            "{sample}, {} of the {whose} ({own} of {own_of} packets; with 95 % confidence at most {})",
            percent(collateral),
            percent(at_most(own, own_of))
        ),
    }
}
