//! One case from the miner to the judge, and whether it meets the bars.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::judge::headers::Headers;
use crate::judge::rule::Rule;
use crate::judge::score::{Judged, Score, score};
use crate::miner::{Mined, Miner};
use crate::scenario::{Case, Scenario, Unit};

/// Least share of each separable vector that rules take.
pub const RECALL_MIN: f64 = 0.95;
/// Most of the host's own traffic that they take along.
pub const COLLATERAL_MAX: f64 = 0.01;
/// The same where something cannot be separated.
pub const COLLATERAL_MAX_INSEPARABLE: f64 = 0.02;
/// Mining takes no longer, milliseconds: samples of up to so many packets, and larger ones.
const MS_MAX: (usize, f64, f64) = (500, 5.0, 30.0);
/// The machine may be busy: what took longer is mined so many times more, and the shortest time counts.
const MORE_TIMES: usize = 5;
/// Most rules for a target.
const RULES_MAX: usize = 10;

/// How a case went.
#[derive(Clone, Debug)]
pub struct Row {
    /// The scenario's name.
    pub name: String,
    /// The seed.
    pub seed: u64,
    /// Packets in the sample, and the share of legitimate ones in the traffic.
    pub setting: (usize, f64),
    /// Each vector's name, and whether it can be separated.
    pub vectors: Vec<(String, bool)>,
    /// What the judge says.
    pub score: Score,
    /// How many rules, and their components beside the destination.
    pub rules: usize,
    /// The sum over all rules.
    pub components: usize,
    /// How long mining took.
    pub ms: f64,
    /// What is short of the bars.
    pub short: Vec<String>,
    /// The rules as they were mined.
    pub mined: Vec<Value>,
}

/// Packets to judge by, each with its share of the rates.
pub fn judged(case: &Case) -> Vec<Judged> {
    let count = |label| case.judged.iter().filter(|(_, of)| *of == label).count().max(1) as f64;
    let legit = case.legit_pps / count(None);
    let vectors: Vec<f64> =
        case.vectors.iter().enumerate().map(|(number, vector)| vector.pps / count(Some(number))).collect();
    let read = |(frame, label): &(crate::pcap::Frame, Option<usize>)| {
        let headers = Headers::of_frame(&frame.bytes)?;
        Some(Judged { headers, vector: *label, pps: label.map_or(legit, |vector| vectors[vector]) })
    };
    case.judged.iter().filter_map(read).collect()
}

/// Has the case mined and judged.
///
/// # Errors
/// As [`Miner::mine`], and when rules are not understood.
pub fn evaluate(scenario: &Scenario, case: &Case, seed: u64, miner: &Miner, folder: &Path) -> io::Result<Row> {
    let mined = miner.mine(case, folder)?;
    let rules: Vec<Rule> =
        mined.rules.iter().map(Rule::from_json).collect::<Result<_, _>>().map_err(io::Error::other)?;
    let score = score(&rules, &judged(case), case.vectors.len(), scenario.crossing.1 == Unit::Bytes);
    let short = short(case, &rules, &score);
    Ok(row(scenario, case, seed, mined, rules.iter().map(Rule::components).sum(), score, short))
}

fn row(
    scenario: &Scenario,
    case: &Case,
    seed: u64,
    mined: Mined,
    components: usize,
    score: Score,
    short: Vec<String>,
) -> Row {
    Row {
        name: scenario.name.clone(),
        seed,
        setting: (scenario.sample, scenario.legit_share),
        vectors: case.vectors.iter().map(|vector| (vector.name.clone(), vector.ideal.is_some())).collect(),
        score,
        rules: mined.rules.len(),
        components,
        ms: mined.ms,
        short,
        mined: mined.rules,
    }
}

/// Holds how long mining took against its bar.
///
/// # Errors
/// As [`Miner::mine`].
pub fn timed(row: &mut Row, case: &Case, miner: &Miner, folder: &Path) -> io::Result<()> {
    let (usual, bar_ms, bar_ms_large) = MS_MAX;
    let bar_ms = if row.setting.0 <= usual { bar_ms } else { bar_ms_large };
    for _ in 0..MORE_TIMES {
        if row.ms <= bar_ms {
            return Ok(());
        }
        row.ms = row.ms.min(miner.mine(case, folder)?.ms);
    }
    if row.ms > bar_ms {
        row.short.push(format!("{:.1} ms are over {bar_ms:.0}", row.ms));
    }
    Ok(())
}

/// What is short of the bars.
fn short(case: &Case, rules: &[Rule], score: &Score) -> Vec<String> {
    let mut short = Vec::new();
    for (vector, recall) in case.vectors.iter().zip(&score.recall) {
        if vector.ideal.is_some() && *recall < RECALL_MIN {
            short.push(format!("recall of {} is {recall:.3}", vector.name));
        }
    }
    let all_separable = case.vectors.iter().all(|vector| vector.ideal.is_some());
    let most = if all_separable { COLLATERAL_MAX } else { COLLATERAL_MAX_INSEPARABLE };
    if score.collateral > most {
        short.push(format!("collateral is {:.4}", score.collateral));
    }
    if rules.len() > RULES_MAX {
        short.push(format!("{} rules", rules.len()));
    }
    for rule in rules {
        short.extend(rule.fault(case.world.target));
        if all_separable && rule.components() == 0 {
            short.push("a rule is no more than its destination".into());
        }
    }
    short
}

impl Row {
    /// The least share of a separable vector that was taken; of any vector if none can be separated.
    pub fn worst_recall(&self) -> f64 {
        let any = self.vectors.iter().any(|(_, separable)| *separable);
        let counted = self.vectors.iter().zip(&self.score.recall).filter(|((_, separable), _)| *separable || !any);
        counted.map(|(_, &recall)| recall).fold(1.0, f64::min)
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let vectors = self.vectors.iter().zip(&self.score.recall);
        let vectors: Vec<Value> = vectors
            .map(|((name, separable), recall)| json!({"name": name, "separable": separable, "recall": round(*recall)}))
            .collect();
        json!({
            "scenario": self.name, "seed": self.seed, "sample": self.setting.0, "legit_share": self.setting.1,
            "vectors": vectors, "recall": round(self.score.total), "collateral": round(self.score.collateral),
            "squeezed": round(self.score.squeezed), "rules": self.rules, "components": self.components,
            "ms": round(self.ms), "short": self.short, "mined": self.mined,
        })
    }
}

fn round(value: f64) -> f64 {
    (value * 1e5).round() / 1e5
}
