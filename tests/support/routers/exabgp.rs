//! ExaBGP, which holds no table: what it tells its program, in JSON, line by line, is put together here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{Kind, Number, Router, action, bit, bits, numbers, route};

pub(super) const EXABGP: Kind =
    Kind { name: "ExaBGP", config: include_str!("../../../docs/examples/exabgp.conf"), command: start, table };

/// Its words and ours.
const WORDS: [(&str, &str); 17] = [
    ("destination-ipv4", "dst"),
    ("destination-ipv6", "dst"),
    ("source-ipv4", "src"),
    ("source-ipv6", "src"),
    ("protocol", "proto"),
    ("next-header", "proto"),
    ("port", "port"),
    ("destination-port", "dport"),
    ("source-port", "sport"),
    ("icmp-type", "icmp-type"),
    ("icmp-code", "icmp-code"),
    ("tcp-flags", "flags"),
    ("packet-length", "length"),
    ("dscp", "dscp"),
    ("traffic-class", "dscp"),
    ("fragment", "frag"),
    ("flow-label", "label"),
];
/// Numbers that it has names for: those that tests use.
const NAMES: [(&str, u64); 7] =
    [("icmp", 1), ("tcp", 6), ("udp", 17), ("gre", 47), ("echo-reply", 0), ("unreachable", 3), ("echo-request", 8)];
const FLAGS: [&str; 9] = ["fin", "syn", "rst", "push", "ack", "urg", "ece", "cwr", "ns"];
const FRAGMENTS: [&str; 4] = ["dont-fragment", "is-fragment", "first-fragment", "last-fragment"];

fn start(router: &Router) -> Command {
    // A new process knows of nothing.
    let _ = fs::remove_file(router.path("routes.json"));
    let mut command = router.command("exabgp");
    command.envs([("exabgp.api.cli", "false"), ("exabgp.daemon.drop", "false")]).arg(router.path("config"));
    command
}

fn table(router: &Router) -> Option<BTreeSet<String>> {
    let mut held = BTreeMap::new();
    for line in fs::read_to_string(router.path("routes.json")).ok()?.lines() {
        // The last line may be half written.
        let Ok(Value::Object(message)) = serde_json::from_str(line) else { return None };
        let neighbor = &message["neighbor"];
        if neighbor["state"] == "down" {
            held.clear();
        }
        let update = &neighbor["message"]["update"];
        for (family, routes) in update["withdraw"].as_object().into_iter().flatten() {
            for route in routes.as_array().into_iter().flatten() {
                held.remove(&(family.clone(), key(route)));
            }
        }
        for (family, by_next_hop) in update["announce"].as_object().into_iter().flatten() {
            for (next_hop, routes) in by_next_hop.as_object().into_iter().flatten() {
                for route in routes.as_array().into_iter().flatten() {
                    held.insert((family.clone(), key(route)), entry(route, next_hop, &update["attribute"]));
                }
            }
        }
    }
    Some(held.into_values().collect())
}

fn key(route: &Value) -> String {
    route["string"].as_str().or(route["nlri"].as_str()).expect("a route").to_owned()
}

fn entry(listed: &Value, next_hop: &str, attributes: &Value) -> String {
    let array = |name: &str| attributes[name].as_array().cloned().unwrap_or_default();
    if let Some(prefix) = listed["nlri"].as_str() {
        let part = |pair: &Value, at: usize| pair[at].as_u64().expect("a community");
        let communities = array("community");
        let communities = communities.iter().map(|pair| part(pair, 0) << 16 | part(pair, 1));
        return format!("dst {prefix} -> {}", route(next_hop, communities));
    }
    let actions = array("extended-community");
    let actions: Vec<String> =
        actions.iter().map(|community| action(community["value"].as_u64().expect("octets"))).collect();
    format!("{} -> {}", rule(listed["string"].as_str().expect("a rule")), actions.join(", "))
}

/// `flow destination-ipv4 192.0.2.5/32 port [ =53 >=1024&<=2048 ] tcp-flags =syn&!=ack`.
fn rule(text: &str) -> String {
    // Numbers without a name.
    let text = ["protocol", "icmp type", "icmp code"]
        .into_iter()
        .fold(text.to_owned(), |text, what| text.replace(&format!("unknown {what} type "), ""));
    let mut words: Vec<(&str, Vec<&str>)> = Vec::new();
    for token in text.split_whitespace().skip(1).filter(|token| !matches!(*token, "[" | "]")) {
        match (WORDS.iter().find(|(its, _)| *its == token), words.last_mut()) {
            (Some((_, ours)), _) => words.push((ours, Vec::new())),
            (None, Some((_, values))) => values.push(token),
            (None, None) => panic!("{text}"),
        }
    }
    let words: Vec<String> = words.iter().map(|(word, values)| format!("{word} {}", component(word, values))).collect();
    words.join(" ")
}

fn component(word: &str, alternatives: &[&str]) -> String {
    let items =
        || alternatives.iter().flat_map(|text| text.split('&').enumerate().map(|(index, item)| (index > 0, item)));
    match word {
        // IPv6 has its offset behind it.
        "dst" | "src" if alternatives[0].contains(':') => {
            alternatives[0].strip_suffix("/0").unwrap_or(alternatives[0]).to_owned()
        }
        "dst" | "src" => alternatives[0].to_owned(),
        "flags" => bits(items().map(|(and, item)| (and, mask(item, &FLAGS)))),
        "frag" => bits(items().map(|(and, item)| (and, mask(item, &FRAGMENTS)))),
        _ => numbers(
            &items()
                .map(|(and, item)| {
                    let value = item.trim_start_matches(['=', '<', '>']);
                    let named = NAMES.iter().find(|(name, _)| *name == value).map(|(_, number)| *number);
                    let number = named.unwrap_or_else(|| value.parse().unwrap_or_else(|_| panic!("a number: {item}")));
                    Number { operator: &item[..item.len() - value.len()], value: number, and }
                })
                .collect::<Vec<_>>(),
        ),
    }
}

fn mask(item: &str, names: &[&str]) -> String {
    let terms = item.trim_start_matches(['!', '=']);
    let operator = &item[..item.len() - terms.len()];
    let value = terms.split('+').map(|term| {
        let at = names.iter().position(|name| *name == term).unwrap_or_else(|| panic!("a bit: {term}"));
        1 << at
    });
    bit(operator.contains('!'), operator.contains('='), value.sum())
}
