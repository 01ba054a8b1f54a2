//! What a replay found, as programs read it: attacks have the fields of `leveectl attacks show --json`, and for each time also the
//! seconds from the start.

use serde_json::{Map, Value, json};

use super::pace::{Moment, Oddities};
use super::player::{Player, Seen};
use super::sources::FileRead;
use crate::api::convert;
use crate::attack::{Rate, Target, name};
use crate::config::{Config, Tap};

/// What a report is made of.
pub(super) struct Replayed<'a> {
    pub(super) files: Vec<FileRead>,
    pub(super) start: Moment,
    pub(super) end: Moment,
    pub(super) odd: Oddities,
    pub(super) packets: u64,
    pub(super) short: u64,
    /// How the networks were chosen.
    pub(super) choice: String,
    pub(super) config: &'a Config,
    pub(super) player: &'a Player,
    pub(super) attacks: Vec<Seen>,
}

/// What a replay found.
#[derive(Clone, Debug)]
pub struct Report {
    value: Value,
}

/// Times of an attack, of a rule and of a line of the journal, without their unit.
const TIMES: [&str; 11] = [
    "detected",
    "mitigating",
    "ending",
    "ended",
    "again",
    "until",
    "over_until",
    "wanted",
    "held",
    "withdrawn",
    "time",
];

impl Report {
    pub(super) fn new(replayed: Replayed<'_>) -> Report {
        let warnings = warnings(&replayed);
        let Replayed { files, start, end, packets, config, player, attacks, choice, .. } = replayed;
        let start_ms = start.wall_us.div_euclid(1_000);
        let file = |file: &FileRead| {
            json!({ "path": file.path.display().to_string(), "packets": file.packets, "bytes": file.bytes,
                    "trouble": file.trouble.map(|trouble| trouble.to_string()).unwrap_or_default() })
        };
        let groups: Vec<Value> =
            config.groups.iter().map(|group| shaped(&convert::group(group, group.networks.len()))).collect();
        let busy = |(target, peak): (Target, Rate)| json!({ "host": name(target.prefix), "direction": target.direction, "pps": peak.pps, "bps": peak.bps });
        let value = json!({
            "files": files.iter().map(file).collect::<Vec<_>>(),
            "start_ms": start_ms,
            "seconds": end.mono_us.saturating_sub(start.mono_us) as f64 / 1e6,
            "packets": packets,
            "kinds": shaped(&player.kinds()),
            "discarded_by_rules": player.discarded(),
            "protected": choice,
            "networks": config.networks,
            "groups": groups,
            "busiest": player.busiest.list().into_iter().map(busy).collect::<Vec<_>>(),
            "attacks": attacks.iter().map(|seen| attack(seen, start_ms)).collect::<Vec<_>>(),
            "warnings": warnings,
        });
        Report { value }
    }

    /// As programs read it.
    pub fn to_json(&self) -> &Value {
        &self.value
    }

    /// What was odd about the files, or did not fit.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.value["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str)
    }
}

/// As all programs shape it. A message always has a shape.
fn shaped(message: &impl serde::Serialize) -> Value {
    proto::json::shape(message).unwrap_or_default()
}

fn attack(seen: &Seen, start_ms: i64) -> Value {
    let mut value = shaped(&convert::answered_in_full(&seen.answered));
    value["over_until_ms"] = json!(seen.over_until_ms.unwrap_or(0));
    value["under_way"] = json!(seen.answered.record.state.is_alive());
    value["sample_cut"] = json!(seen.sample_cut);
    with_seconds(value, start_ms)
}

/// Beside each time the seconds from the start, where there is such a time.
fn with_seconds(value: Value, start_ms: i64) -> Value {
    match value {
        Value::Array(list) => list.into_iter().map(|value| with_seconds(value, start_ms)).collect(),
        Value::Object(fields) => {
            let mut all = Map::new();
            for (name, value) in fields {
                let time = name.strip_suffix("_ms").filter(|name| TIMES.contains(name));
                let seconds = time.zip(value.as_i64().filter(|&time_ms| time_ms != 0));
                let seconds = seconds
                    .map(|(time, time_ms)| (format!("{time}_s"), json!(time_ms.saturating_sub(start_ms) as f64 / 1e3)));
                all.insert(name, with_seconds(value, start_ms));
                all.extend(seconds);
            }
            Value::Object(all)
        }
        other => other,
    }
}

fn times(number: u64) -> String {
    if number == 1 { "once".to_owned() } else { format!("{number} times") }
}

fn warnings(replayed: &Replayed<'_>) -> Vec<String> {
    let Replayed { files, odd, short, config, player, .. } = replayed;
    let trouble = |file: &FileRead| file.trouble.map(|trouble| format!("{}: {trouble}", file.path.display()));
    let mut warnings: Vec<String> = files.iter().filter_map(trouble).collect();
    let seconds = |micros: i64| micros as f64 / 1e6;
    if odd.late > 0 {
        let (late, by) = (odd.late, seconds(odd.late_us));
        warnings.push(format!("{late} packets have an earlier time stamp than one before them, by up to {by:.6} s: they count as of that one"));
    }
    if odd.set_back > 0 {
        let (times, by) = (times(odd.set_back), seconds(odd.set_back_us));
        warnings.push(format!(
            "the time stamps jump back {times}, by up to {by:.3} s: the time goes on there as if they did not"
        ));
    }
    if odd.gaps > 0 {
        let (gaps, longest) = (times(odd.gaps), seconds(odd.gap_us));
        warnings.push(format!("nothing came for more than an hour {gaps}, at most for {longest:.0} s"));
    }
    if *short > 0 {
        warnings.push(format!(
            "{short} packets were cut to fewer than 64 bytes: what they lack (ports, flags) is not counted or mined; capture with a snap \
             length of 128 or more"
        ));
    }
    if config.detection.tap == Tap::BehindRouter && player.discarded() > 0 {
        let discarded = player.discarded();
        warnings.push(format!(
            "detection.tap is \"behind_router\": {discarded} packets that held rules discard count as not seen"
        ));
    }
    if player.not_kept > 0 {
        warnings.push(format!("{} more attacks that ended are not listed", player.not_kept));
    }
    warnings.extend(player.worries());
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_seconds_from_the_start_beside_them() {
        let value = json!({"detected_ms": 5_500, "ended_ms": 0, "measured_ms": 9, "rules": [{"wanted_ms": 900}]});
        let expected = json!({"detected_ms": 5_500, "detected_s": 4.5, "ended_ms": 0, "measured_ms": 9,
                              "rules": [{"wanted_ms": 900, "wanted_s": -0.1}]});
        assert_eq!(with_seconds(value, 1_000), expected);
    }
}
