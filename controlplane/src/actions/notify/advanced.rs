//! What a script reads as JSON, with the field names of FastNetMon's Advanced edition. Pure.

use serde_json::{Map, Value, json};

use super::figures::{attack_protocol, attack_type, blocks, bytes, direction, flags, packet_line, protocol, whole};
use super::notice::{BothWays, Notice, PacketLine, Say};
use crate::attack::{Kind, Unit, name};
use crate::detector::EventKind;
use crate::record::{AttackRecord, FlowSpec, RuleRecord};
use crate::rule_json;

/// The document, on one line.
pub(super) fn document(say: Say, notice: &Notice, packets: &[PacketLine]) -> String {
    let record = &notice.record;
    let target = name(record.target.prefix);
    let is_host = record.target.width() == 0;
    let mut document = Map::new();
    let mut put = |key: &str, value: Value| drop(document.insert(key.to_owned(), value));
    put("ip", json!(target));
    put("action", json!(say.as_str()));
    put("alert_scope", json!(if is_host { "host" } else { "network" }));
    if !is_host {
        put("network", json!(target));
    }
    put("attack_details", Value::Object(details(notice)));
    if say == Say::Ban {
        put("packet_dump", packets.iter().map(|packet| json!(packet_line(packet, true))).collect());
        put("packet_dump_detailed", packets.iter().map(packet_json).collect());
    }
    if let Some(rules) = rules(say, notice) {
        put("flow_spec_rules", rules);
    }
    Value::Object(document).to_string() + "\n"
}

fn details(notice: &Notice) -> Map<String, Value> {
    let record = &notice.record;
    let is_ipv4 = record.target.prefix.addr().is_ipv4();
    let mut details = Map::new();
    let mut put = |key: &str, value: Value| drop(details.insert(key.to_owned(), value));
    put("attack_uuid", json!(record.id.to_string()));
    // FastNetMon knows others, and says this.
    put("attack_severity", json!("middle"));
    put("attack_type", json!(attack_type(notice)));
    put("host_group", json!(record.group));
    put("parent_host_group", json!(""));
    put("host_network", json!(record.target.prefix));
    put("protocol_version", json!(if is_ipv4 { "IPv4" } else { "IPv6" }));
    put("attack_detection_triggered_by_flexible_threshold", json!(false));
    put("attack_detection_flexible_thresholds", json!([]));
    put("attack_detection_flexible_thresholds_detailed", json!({}));
    put("attack_detection_threshold", json!(threshold(record)));
    let way = record.crossing.map_or("unknown", |_| direction(record));
    put("attack_detection_threshold_direction", json!(way));
    put("initial_attack_power", json!(whole(record.initial_pps)));
    put("peak_attack_power", json!(whole(record.peak.total.pps)));
    put("attack_direction", json!(direction(record)));
    put("attack_protocol", json!(attack_protocol(notice)));
    put("attack_detection_source", json!(if record.crossing.is_some() { "automatic" } else { "manual" }));
    totals(&mut details, "total", &notice.traffic.now);
    totals(&mut details, "average", &notice.traffic.average());
    let BothWays { incoming, outgoing } = &notice.traffic.now;
    for ((name, incoming), (_, outgoing)) in blocks(incoming).into_iter().zip(blocks(outgoing)) {
        let name = name.replace(' ', "_");
        for (way, rate) in [("incoming", incoming), ("outgoing", outgoing)] {
            details.insert(format!("{way}_{name}_traffic"), json!(bytes(rate)));
        }
        for (way, rate) in [("incoming", incoming), ("outgoing", outgoing)] {
            details.insert(format!("{way}_{name}_pps"), json!(whole(rate.pps)));
        }
    }
    details
}

fn totals(details: &mut Map<String, Value>, word: &str, BothWays { incoming, outgoing }: &BothWays) {
    for (what, figures) in [
        ("traffic", [bytes(incoming.total), bytes(outgoing.total)]),
        ("pps", [whole(incoming.total.pps), whole(outgoing.total.pps)]),
        ("flows", [whole(incoming.flows), whole(outgoing.flows)]),
    ] {
        for (way, figure) in ["incoming", "outgoing"].into_iter().zip(figures) {
            details.insert(format!("{word}_{way}_{what}"), json!(figure));
        }
    }
}

/// "tcp syn packets per second".
fn threshold(record: &AttackRecord) -> String {
    let Some(crossing) = record.crossing else { return "unknown".to_owned() };
    let kind = match crossing.metric.kind {
        Kind::Total | Kind::Flows => "",
        Kind::Tcp => "tcp ",
        Kind::TcpSyn => "tcp syn ",
        Kind::Udp => "udp ",
        Kind::Icmp => "icmp ",
        Kind::Fragments => "ip fragments ",
    };
    let unit = match crossing.metric.unit {
        Unit::Pps => "packets",
        Unit::Bps => "bytes",
        Unit::Fps => "flows",
    };
    format!("{kind}{unit} per second")
}

fn packet_json(packet: &PacketLine) -> Value {
    json!({
        "ip_version": if packet.source.is_ipv4() { "ipv4" } else { "ipv6" },
        "source_ip": packet.source,
        "destination_ip": packet.destination,
        "source_port": packet.ports.0,
        "destination_port": packet.ports.1,
        "tcp_flags": flags(packet),
        "fragmentation": packet.is_fragment,
        "packets": 1,
        "length": packet.length,
        "ip_length": packet.ip_length,
        "ttl": packet.ttl,
        "sample_ratio": packet.one_in,
        "protocol": protocol(packet.protocol),
    })
}

/// The rules that a call is about: all that are wanted, or those that have just been withdrawn.
fn rules(say: Say, notice: &Notice) -> Option<Value> {
    let record = &notice.record;
    let is_meant = |rule: &&RuleRecord| match (say, notice.kind) {
        (Say::PartialBlock, _) => rule.is_wanted(),
        (_, EventKind::Ending) => rule.withdrawn_ms == record.ending_ms,
        _ => rule.withdrawn_ms == Some(notice.time_ms),
    };
    let is_asked = matches!(say, Say::PartialBlock | Say::PartialUnblock);
    is_asked.then(|| record.rules.iter().filter(is_meant).map(|rule| rule_json(&rule.flow_spec)).collect())
}

fn rule_json(FlowSpec { rule, action }: &FlowSpec) -> Value {
    let mut rule = rule_json::to_json(rule, action);
    if let Value::Object(keys) = &mut rule {
        keys.entry("action").or_insert_with(|| json!({}));
    }
    rule
}
