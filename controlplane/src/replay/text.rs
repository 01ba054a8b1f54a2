//! What a replay found, as people read it: the same as the JSON, which it is made of.

use std::fmt::{self, Display, Formatter};

use serde_json::Value;

use super::Report;

/// Rates of an attack's traffic, in the order of a table.
const RATES: [(&str, &str, &str); 6] = [
    ("all", "total_pps", "total_bps"),
    ("TCP", "tcp_pps", "tcp_bps"),
    ("TCP SYN", "tcp_syn_pps", "tcp_syn_bps"),
    ("UDP", "udp_pps", "udp_bps"),
    ("ICMP", "icmp_pps", "icmp_bps"),
    ("fragments", "fragment_pps", "fragment_bps"),
];

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let value = self.to_json();
        summary(f, value)?;
        let attacks = list(value, "attacks");
        let false_positives = attacks.iter().filter(|attack| attack["state"] == "false_positive").count();
        match (attacks.len() - false_positives, false_positives) {
            (0, 0) => write!(f, "\nno attack")?,
            (attacks, 0) => write!(f, "\n{}", counted(attacks, "attack"))?,
            (attacks, alarms) => write!(f, "\n{}, {}", counted(attacks, "attack"), counted(alarms, "false positive"))?,
        }
        attacks.iter().try_for_each(|of| attack(f, of))
    }
}

fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or(0.0)
}

/// A line, where there is something to say.
fn line(f: &mut Formatter<'_>, indent: usize, name: &str, what: &str) -> fmt::Result {
    if what.is_empty() { Ok(()) } else { write!(f, "\n{:indent$}{name:<12}{what}", "") }
}

fn summary(f: &mut Formatter<'_>, value: &Value) -> fmt::Result {
    for file in list(value, "files") {
        writeln!(f, "{:<12}{}: {} packets", "file", text(file, "path"), file["packets"])?;
    }
    let start_ms = value["start_ms"].as_i64().unwrap_or(0);
    write!(f, "{:<12}{}, {:.3} s", "time", utc(start_ms), number(value, "seconds"))?;
    line(f, 0, "protected", text(value, "protected"))?;
    let networks: Vec<&str> = list(value, "networks").iter().filter_map(Value::as_str).collect();
    line(f, 0, "networks", &some(&networks))?;
    let groups = list(value, "groups");
    for group in groups.iter().take(LISTED_MAX) {
        for scope in
            ["incoming", "outgoing", "network_incoming", "network_outgoing", "group_incoming", "group_outgoing"]
        {
            let threshold = |of: &Value| format!("{} {}", text(of, "metric"), of["value"].as_f64().unwrap_or(0.0));
            let thresholds: Vec<String> = list(group, scope).iter().map(threshold).collect();
            let what = format!("group {}, {scope}: {}", text(group, "name"), thresholds.join(", "));
            line(f, 0, "thresholds", if thresholds.is_empty() { "" } else { &what })?;
        }
    }
    if groups.len() > LISTED_MAX {
        line(f, 0, "", &format!("and those of {} more groups", groups.len() - LISTED_MAX))?;
    }
    let kinds = &value["kinds"];
    let kind = |name: &str| format!("{} {name}", kinds[name]["packets"].as_u64().unwrap_or(0));
    let all = ["incoming", "outgoing", "internal", "other", "ignored", "unparsed"].map(kind).join(", ");
    let reason = |reason: &Value| format!("{} {}", text(reason, "name"), reason["packets"]);
    let reasons: Vec<String> = list(kinds, "unparsed_reasons").iter().map(reason).collect();
    let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    line(f, 0, "packets", &format!("{all}{why}"))?;
    let busy = list(value, "busiest").iter().filter(|host| host["direction"] == "incoming");
    let peak = |host: &Value| {
        let rates = (scaled(number(host, "pps"), "pps"), scaled(number(host, "bps"), "bps"));
        format!("{} {} {}", text(host, "host"), rates.0, rates.1)
    };
    line(f, 0, "busiest", &busy.map(peak).collect::<Vec<_>>().join(", "))?;
    writeln!(f)
}

/// Networks and groups that are listed; JSON has them all.
const LISTED_MAX: usize = 10;

fn some(names: &[&str]) -> String {
    let more = names.len().saturating_sub(LISTED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names[..names.len().min(LISTED_MAX)].join(", "))
}

/// "2026-11-21 06:24:29.123 UTC".
fn utc(time_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(time_ms);
    time.map_or_else(|_| format!("{time_ms} ms"), |time| time.strftime("%Y-%m-%d %H:%M:%S%.3f UTC").to_string())
}

/// Both ways to say a time; empty where there is none.
fn at(value: &Value, name: &str) -> String {
    let time_ms = value[format!("{name}_ms")].as_i64().filter(|&time_ms| time_ms != 0);
    time_ms.map_or(String::new(), |time_ms| {
        format!("{}, {:.3} s from the start", utc(time_ms), number(value, &format!("{name}_s")))
    })
}

fn attack(f: &mut Formatter<'_>, attack: &Value) -> fmt::Result {
    let (target, direction) = (text(attack, "target"), text(attack, "direction"));
    let state = match attack["under_way"].as_bool() {
        Some(true) => format!("{} when the files end", text(attack, "state")),
        _ => text(attack, "state").replace('_', " "),
    };
    write!(f, "\n\n{target} {direction}, group {}: {state}", text(attack, "group"))?;
    let (metric, threshold, measured) =
        (text(attack, "metric"), number(attack, "threshold"), number(attack, "measured"));
    if threshold > 0.0 {
        let factor = measured / threshold;
        line(f, 2, "crossed", &format!("{metric} {measured:.0}, {factor:.1} times the threshold of {threshold:.0}"))?;
    }
    for (name, field) in [
        ("detected", "detected"),
        ("mitigating", "mitigating"),
        ("over until", "over_until"),
        ("ending", "ending"),
        ("again", "again"),
        ("ended", "ended"),
    ] {
        line(f, 2, name, &at(attack, field))?;
    }
    let peak = &attack["peak"];
    let busy = RATES.iter().filter(|(_, pps, _)| number(peak, pps) > 0.0);
    let rate = |&(name, pps, bps): &(&str, &str, &str)| {
        format!("{name} {} {}", scaled(number(peak, pps), "pps"), scaled(number(peak, bps), "bps"))
    };
    line(f, 2, "peak", &busy.map(rate).collect::<Vec<_>>().join(", "))?;
    let (captured, wanted) = (&attack["captured"], &attack["capture_wanted"]);
    let mined = list(attack, "rules").iter().any(|rule| rule["mined"].is_object());
    let cut = match (attack["sample_cut"].as_bool(), mined) {
        (Some(true), true) => "; the files end before it is full, and rules are mined from what it has",
        (Some(true), false) => "; the files end before it is full",
        _ => "",
    };
    if wanted.as_u64() > Some(0) {
        line(f, 2, "sample", &format!("{captured} of {wanted} packets{cut}"))?;
    }
    line(f, 2, "note", text(attack, "note"))?;
    list(attack, "rules").iter().try_for_each(|of| rule(f, of))
}

fn rule(f: &mut Formatter<'_>, rule: &Value) -> fmt::Result {
    line(f, 2, "rule", text(rule, "text"))?;
    let state = text(rule, "state");
    line(f, 4, "state", if state == "held" { "" } else { state })?;
    line(f, 4, "wanted", &at(rule, "wanted"))?;
    line(f, 4, "withdrawn", &at(rule, "withdrawn"))?;
    let matched = format!("{} packets, {} bytes", rule["matched_packets"], rule["matched_bytes"]);
    line(f, 4, "matched", &matched)?;
    line(f, 4, "coverage", &percent(number(rule, "coverage")))?;
    let mined = &rule["mined"];
    if mined.is_object() {
        let (share, most) = (number(mined, "collateral"), number(mined, "collateral_at_most"));
        let known = match mined["known_packets"].as_u64() {
            Some(packets @ 1..) => format!("; while it was held it took about {packets} packets of known sources"),
            _ => String::new(),
        };
        let most = if most < 1.0 { format!(", at most {}", percent(most)) } else { ", without a baseline".to_owned() };
        line(f, 4, "collateral", &format!("{}{most}{known}", percent(share)))?;
    }
    line(f, 4, "reason", text(rule, "reason"))?;
    line(f, 4, "runner-up", text(mined, "runner_up"))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Three digits, a prefix and a unit.
fn scaled(value: f64, unit: &str) -> String {
    let mut value = value;
    for prefix in ["", "k", "M", "G"] {
        if value < 999.5 {
            let digits = if value >= 99.95 || prefix.is_empty() {
                0
            } else if value >= 9.995 {
                1
            } else {
                2
            };
            return format!("{value:.digits$} {prefix}{unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.2} T{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_and_times() {
        let rates = [0.0, 950.0, 999.6, 1_234.0, 12_345.0, 30_000_000.0, 2.5e12];
        let shown = rates.map(|rate| scaled(rate, "pps"));
        assert_eq!(shown, ["0 pps", "950 pps", "1.00 kpps", "1.23 kpps", "12.3 kpps", "30.0 Mpps", "2.50 Tpps"]);
        assert_eq!(utc(1_623_699_901_003), "2021-06-14 19:45:01.003 UTC");
        assert_eq!(utc(i64::MAX), format!("{} ms", i64::MAX));
        assert_eq!(some(&["a", "b"]), "a, b");
    }
}
