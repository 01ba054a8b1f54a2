//! BIRD 2: `birdc show route all`.

use std::collections::BTreeSet;
use std::process::Command;

use super::{Kind, Number, Router, action, asked, bit, bits, numbers, route};

pub(super) const BIRD: Kind = Kind { name: "BIRD", config: crate::support::bgp::BIRD_CONFIG, command: start, table };

/// Its words, the longer of two that begin alike first, and ours.
const WORDS: [(&str, &str); 14] = [
    ("dst ", "dst"),
    ("src ", "src"),
    ("proto ", "proto"),
    ("next header ", "proto"),
    ("port ", "port"),
    ("dport ", "dport"),
    ("sport ", "sport"),
    ("icmp type ", "icmp-type"),
    ("icmp code ", "icmp-code"),
    ("tcp flags ", "flags"),
    ("length ", "length"),
    ("dscp ", "dscp"),
    ("fragment ", "frag"),
    ("label ", "label"),
];

fn start(router: &Router) -> Command {
    let mut command = router.command("bird");
    command.arg("-f").arg("-c").arg(router.path("config"));
    command.arg("-s").arg(router.path("control")).arg("-P").arg(router.path("pid"));
    command
}

/// What its client prints.
pub(crate) fn birdc(router: &Router, line: &str) -> Option<String> {
    asked(Command::new("birdc").arg("-s").arg(router.path("control")).args(line.split(' ')))
}

fn table(router: &Router) -> Option<BTreeSet<String>> {
    let mut held = BTreeSet::new();
    for table in ["flowtab4", "flowtab6", "master4", "master6"] {
        let listed = birdc(router, &format!("show route all table {table}"))?;
        let lines: Vec<&str> = listed.lines().collect();
        held.extend(lines.chunk_by(|_, line| line.starts_with('\t')).filter_map(entry));
    }
    Some(held)
}

/// A line of its own for the route, then its attributes, each behind a tabulator.
fn entry(lines: &[&str]) -> Option<String> {
    let value = |name: &str| lines.iter().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
    if let Some((_, rest)) = lines[0].split_once(" { ") {
        let (components, _) = rest.split_once('}').expect("the end of a rule");
        let words: Vec<String> =
            components.split(';').map(str::trim).filter(|text| !text.is_empty()).map(component).collect();
        let actions = value("BGP.ext_community").unwrap_or("").split(") (");
        let actions: Vec<String> = actions.map(|text| action(community(text))).collect();
        return Some(format!("{} -> {}", words.join(" "), actions.join(", ")));
    }
    let prefix = lines[0].split(' ').next().filter(|word| word.contains('/'))?;
    let listed = value("BGP.community").unwrap_or("").split_whitespace().map(|pair| {
        let (high, low) = pair.trim_matches(['(', ')']).split_once(',').expect("a community");
        number(high) << 16 | number(low)
    });
    Some(format!("dst {prefix} -> {}", route(value("BGP.next_hop").unwrap_or(""), listed)))
}

fn component(text: &str) -> String {
    let (word, values) =
        WORDS.iter().find_map(|(its, ours)| Some((ours, text.strip_prefix(its)?))).expect("a component");
    let values = match *word {
        "dst" | "src" => values.to_owned(),
        "flags" | "frag" => bits(values.split(" || ").flat_map(|alternative| {
            alternative.split(" && ").enumerate().map(|(index, term)| (index > 0, term_text(term)))
        })),
        _ => numbers(&values.split(',').flat_map(range).collect::<Vec<_>>()),
    };
    format!("{word} {values}")
}

fn range(text: &str) -> Vec<Number<'_>> {
    let item = |operator, value: &str, and| Number { operator, value: number(value), and };
    match text.split_once("..") {
        Some((low, high)) => vec![item(">=", low, false), item("<=", high, true)],
        None => vec![item("=", text, false)],
    }
}

/// `0x2/0x12` is "under this mask it is this", and `!` negates. Fragment bits have names; one more `!` stands for "any of them".
fn term_text(text: &str) -> String {
    let bare = text.trim_start_matches('!');
    let negated = (text.len() - bare.len()) % 2 == 1;
    let Some((value, mask)) = bare.split_once('/') else {
        let names = ["dont_fragment", "is_fragment", "first_fragment", "last_fragment"];
        let at = names.iter().position(|name| *name == bare).expect("a fragment bit");
        return bit(negated, true, 1 << at);
    };
    match (number(value), number(mask)) {
        (0, mask) => bit(!negated, false, mask),
        (value, mask) if value == mask => bit(negated, true, mask),
        _ => panic!("{text}"),
    }
}

/// `(generic, 0x80060000, 0x0)`.
fn community(text: &str) -> u64 {
    let numbers: Vec<u64> = text.trim_matches(['(', ')']).split(", ").skip(1).map(number).collect();
    numbers[0] << 32 | numbers[1]
}

fn number(text: &str) -> u64 {
    let number = text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16));
    number.unwrap_or_else(|_| panic!("a number: {text}"))
}
