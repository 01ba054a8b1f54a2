//! GoBGP as a router: `gobgp global rib -j`, where components and attributes are numbers.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::{Kind, Number, Router, action, asked, bit, bits, numbers, route};

pub(super) const GOBGP: Kind =
    Kind { name: "GoBGP", config: include_str!("../../../docs/examples/gobgpd-router.toml"), command: start, table };

/// By the numbers of the components.
const WORDS: [&str; 13] = [
    "dst",
    "src",
    "proto",
    "port",
    "dport",
    "sport",
    "icmp-type",
    "icmp-code",
    "flags",
    "length",
    "dscp",
    "frag",
    "label",
];

fn address(router: &Router) -> String {
    format!("unix://{}", router.path("api").display())
}

fn start(router: &Router) -> Command {
    let _ = std::fs::remove_file(router.path("api"));
    let mut command = router.command("gobgpd");
    command.args(["--pprof-disable", "--api-hosts", &address(router), "-t", "toml", "-f"]).arg(router.path("config"));
    command
}

fn table(router: &Router) -> Option<BTreeSet<String>> {
    let mut held = BTreeSet::new();
    for family in ["ipv4-flowspec", "ipv6-flowspec", "ipv4", "ipv6"] {
        let mut command = Command::new("gobgp");
        command.args(["--target", &address(router), "global", "rib", "-j", "-a", family]);
        let listed: Value = serde_json::from_str(&asked(&mut command)?).ok()?;
        held.extend(listed.as_object()?.values().map(|paths| entry(&paths[0])));
    }
    Some(held)
}

fn entry(path: &Value) -> String {
    let nlri = &path["nlri"];
    let attribute =
        |kind: u64| path["attrs"].as_array().into_iter().flatten().find(move |attribute| attribute["type"] == kind);
    if let Some(prefix) = nlri["prefix"].as_str() {
        let next_hop = attribute(3).or(attribute(14)).and_then(|attribute| attribute["nexthop"].as_str()).unwrap_or("");
        let communities = attribute(8).and_then(|attribute| attribute["communities"].as_array());
        let communities = communities.into_iter().flatten().filter_map(Value::as_u64);
        return format!("dst {prefix} -> {}", route(next_hop, communities));
    }
    let words: Vec<String> = nlri["value"].as_array().expect("components").iter().map(component).collect();
    let actions = attribute(16).and_then(|attribute| attribute["value"].as_array());
    let actions: Vec<String> = actions.into_iter().flatten().map(community).collect();
    format!("{} -> {}", words.join(" "), actions.join(", "))
}

fn component(listed: &Value) -> String {
    let word = WORDS[listed["type"].as_u64().expect("a type") as usize - 1];
    let items = || {
        let items = listed["value"].as_array().expect("items").iter();
        items.map(|item| (item["op"].as_u64().expect("an operator"), item["value"].as_u64().expect("a value")))
    };
    let values = match word {
        "dst" | "src" => {
            assert!(listed["offset"].as_u64().unwrap_or(0) == 0, "{listed}");
            listed["value"]["prefix"].as_str().expect("a prefix").to_owned()
        }
        "flags" | "frag" => {
            bits(items().map(|(bits, value)| (bits & 0x40 != 0, bit(bits & 2 != 0, bits & 1 != 0, value))))
        }
        _ => numbers(
            &items()
                .map(|(bits, value)| {
                    let operator = ["never", "=", ">", ">=", "<", "<=", "!=", "true"][bits as usize & 7];
                    Number { operator, value, and: bits & 0x40 != 0 }
                })
                .collect::<Vec<_>>(),
        ),
    };
    format!("{word} {values}")
}

/// Those that it knows by their parts, others by all that it says.
fn community(listed: &Value) -> String {
    let number = |name: &str| listed[name].as_u64().unwrap_or_default();
    let octets = number("type") << 56 | number("subtype") << 48;
    match (number("type"), number("subtype")) {
        (0x80, 6) => action(octets | u64::from((listed["rate"].as_f64().expect("a rate") as f32).to_bits())),
        (0x80, 8) => format!("redirect {}", listed["value"].as_str().unwrap_or("")),
        (0x80, 9) => format!("mark {}", number("value")),
        // The rest of the octets, in base64.
        (kind, subtype) => format!("{kind}:{subtype} {}", listed["value"].as_str().unwrap_or("")),
    }
}
