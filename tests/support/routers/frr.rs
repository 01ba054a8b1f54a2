//! FRR: `vtysh -c 'show bgp ipv4 flowspec detail json'`. It runs without zebra.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::{Deserializer, Value};

use super::{Kind, Number, Router, asked, bit, bits, numbers, route};

pub(super) const FRR: Kind =
    Kind { name: "FRR", config: include_str!("../../../docs/examples/frr.conf"), command: start, table };

/// Its keys and our words, in the order of components.
const WORDS: [(&str, &str); 13] = [
    ("to", "dst"),
    ("from", "src"),
    ("proto", "proto"),
    ("port", "port"),
    ("dstp", "dport"),
    ("srcp", "sport"),
    ("type", "icmp-type"),
    ("code", "icmp-code"),
    ("tcp", "flags"),
    ("pktlen", "length"),
    ("dscp", "dscp"),
    ("pktfrag", "frag"),
    ("flwlbl", "label"),
];

fn start(router: &Router) -> Command {
    fs::create_dir_all(router.path("vty")).expect("a directory");
    let mut command = router.command("/usr/lib/frr/bgpd");
    command.args(["--no_zebra", "--skip_runas", "--log", "stdout", "--vty_port", "0"]);
    command.arg("--config_file").arg(router.path("config")).arg("--vty_socket").arg(router.path("vty"));
    command.arg("--pid_file").arg(router.path("pid"));
    command
}

fn vtysh(router: &Router, line: &str) -> Option<String> {
    asked(Command::new("vtysh").arg("--vty_socket").arg(router.path("vty")).args(["-c", line]))
}

fn table(router: &Router) -> Option<BTreeSet<String>> {
    let mut held = BTreeSet::new();
    for family in ["ipv4", "ipv6"] {
        // One array for each rule, one behind the other.
        let listed = vtysh(router, &format!("show bgp {family} flowspec detail json"))?;
        held.extend(Deserializer::from_str(&listed).into_iter().map(|entry| rule(&entry.expect("JSON"))));
        let listed: Value = serde_json::from_str(&vtysh(router, &format!("show bgp {family} unicast json"))?).ok()?;
        for prefix in listed["routes"].as_object()?.keys() {
            let entry = vtysh(router, &format!("show bgp {family} unicast {prefix} json"))?;
            held.insert(blackhole(prefix, &serde_json::from_str(&entry).ok()?));
        }
    }
    Some(held)
}

fn rule(entry: &Value) -> String {
    let known = |key: &str| WORDS.iter().any(|(its, _)| *its == key);
    let components = entry[0].as_object().expect("components");
    assert!(components.keys().all(|key| known(key)), "{entry}");
    let words: Vec<String> =
        WORDS.iter().filter_map(|(its, ours)| Some(component(ours, components.get(*its)?.as_str()?))).collect();
    let actions = entry[1]["ecomlist"].as_str().unwrap_or("").trim();
    format!("{} -> {}", words.join(" "), action(actions))
}

fn component(word: &str, values: &str) -> String {
    let values = match word {
        // IPv6 has `/off 0` behind it.
        "dst" | "src" => values.strip_suffix("/off 0").unwrap_or(values).to_owned(),
        "flags" | "frag" => bits(values.split(',').map(|item| {
            let and = item.starts_with('&');
            let item = item.trim_start_matches(['&', '|']).trim();
            let (all, item) = item
                .strip_prefix('=')
                .map_or_else(|| (false, item.strip_prefix('∋').expect("an operator")), |item| (true, item));
            let (not, value) = item.trim().strip_prefix('!').map_or((false, item.trim()), |value| (true, value.trim()));
            (and, bit(not, all, value.parse().expect("bits")))
        })),
        // What joins two items is not said: an upper bound belongs to the lower one before it.
        _ => numbers(
            &values
                .split(',')
                .map(|item| {
                    let (operator, value) = item.trim().split_once(' ').expect("an operator");
                    Number { operator, value: value.trim().parse().expect("a number"), and: operator == "<=" }
                })
                .collect::<Vec<_>>(),
        ),
    };
    format!("{word} {values}")
}

fn action(text: &str) -> String {
    let rest = |start| text.strip_prefix(start);
    match (rest("FS:rate "), rest("FS:redirect VRF RT:"), rest("FS:marking ")) {
        (Some("0.000000"), ..) => "discard".to_owned(),
        (Some(rate), ..) => format!("rate {}", rate.parse::<f32>().expect("a rate")),
        (_, Some(target), _) => format!("redirect {target}"),
        (.., Some(dscp)) => format!("mark {dscp}"),
        _ => text.to_owned(),
    }
}

fn blackhole(prefix: &str, entry: &Value) -> String {
    let path = &entry["paths"][0];
    let communities = path["community"]["string"].as_str().unwrap_or("").split_whitespace().map(|name| match name {
        "blackhole" => 0xffff_029a,
        "no-export" => 0xffff_ff01,
        _ => name
            .split_once(':')
            .map_or(0, |(high, low)| high.parse::<u64>().unwrap_or(0) << 16 | low.parse::<u64>().unwrap_or(0)),
    });
    format!("dst {prefix} -> {}", route(path["nexthops"][0]["ip"].as_str().unwrap_or(""), communities))
}
