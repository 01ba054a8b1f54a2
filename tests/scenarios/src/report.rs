//! All rows as a table: for each scenario the worst of its seeds.

use std::fmt::Write;

use crate::evaluate::Row;

/// The table, and below it what is short.
pub fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<44} {:>5} {:>7} {:>10} {:>8} {:>5} {:>10} {:>7}\n",
        "SCENARIO", "SEEDS", "RECALL", "COLLATERAL", "SQUEEZED", "RULES", "COMPONENTS", "MS"
    );
    for group in rows.chunk_by(|one, next| one.name == next.name) {
        let most = |of: fn(&Row) -> f64| group.iter().map(of).fold(0.0, f64::max);
        let recall = group.iter().map(Row::worst_recall).fold(1.0, f64::min);
        let separable = group[0].vectors.iter().any(|(_, separable)| *separable);
        let short = group.iter().filter(|row| !row.short.is_empty()).count();
        let _ = writeln!(
            text,
            "{:<44} {:>5} {:>6.3}{} {:>10.4} {:>8.3} {:>5} {:>10} {:>7.1}{}",
            group[0].name,
            group.len(),
            recall,
            if separable { " " } else { "~" },
            most(|row| row.score.collateral),
            most(|row| row.score.squeezed),
            most(|row| row.rules as f64),
            most(|row| row.components as f64),
            most(|row| row.ms),
            if short > 0 { format!("  {short} short") } else { String::new() },
        );
    }
    text
}

/// What is short, a line each.
pub fn short(rows: &[Row]) -> Vec<String> {
    let lines = rows.iter().filter(|row| !row.short.is_empty());
    lines.map(|row| format!("{} seed {}: {}", row.name, row.seed, row.short.join("; "))).collect()
}
