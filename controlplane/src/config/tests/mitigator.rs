//! Section `[mitigator]`: the shipped example once it is used, and what a bad one is told.

use super::*;
use crate::actions::mitigator::settings::{Class, Countermeasures, Family, PasswordSource, Paths};

/// The shipped example, with the section in use.
pub(super) fn in_use() -> String {
    let is_key = |line: &str| {
        line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c == '[' || c.is_alphanumeric()))
    };
    EXAMPLE.lines().map(|line| format!("{}\n", if is_key(line) { &line[1..] } else { line })).collect()
}

const NEEDED: &str = "[mitigator]\naddresses = [\"https://192.0.2.1\"]\nuser = \"levee\"\npassword_file = \"/p\"\n";

fn read(more: &str) -> crate::actions::mitigator::settings::Settings {
    let text = format!("{SMALL}{NEEDED}{more}");
    parse("levee.toml", text).unwrap_or_else(|error| panic!("{error}")).mitigator.expect("the section")
}

#[test]
fn the_example_in_use_shows_the_defaults_and_every_key_is_a_leaf() {
    let text = in_use();
    let example = parse("levee.toml", text.clone()).unwrap_or_else(|error| panic!("{error}"));
    let settings = example.mitigator.clone().expect("the section");
    let mut small = read("default_policy = 1\n");
    assert_eq!(settings.addresses, ["https://mitigator.example"]);
    small.addresses.clone_from(&settings.addresses);
    small.password = PasswordSource::File("/etc/levee/mitigator.password".into());
    small.policies.clone_from(&settings.policies);
    small.rename.clone_from(&settings.rename);
    assert_eq!(settings, small);
    assert_eq!(settings.policies.len(), 2);
    assert_eq!((&settings.paths, &settings.countermeasures), (&Paths::default(), &Countermeasures::defaults()));

    let leaves = example.leaves();
    let mut keys = Vec::new();
    edit::paths("", &toml::Value::Table(text.parse().unwrap()), &mut keys);
    let mine: Vec<_> = keys.iter().filter(|key| key.starts_with("mitigator")).collect();
    assert!(mine.len() > 35, "{mine:?}");
    for key in mine {
        assert_eq!(leaves.iter().filter(|leaf| leaf.key == *key).count(), 1, "{key}");
    }
    let mut written = text.clone();
    for leaf in leaves.iter().filter(|leaf| leaf.key.starts_with("mitigator")) {
        let value = if leaf.is_list { format!("[{}]", leaf.values.join(", ")) } else { leaf.values[0].clone() };
        written = edit::edit(&written, &leaf.key, Some(&value)).unwrap_or_else(|error| panic!("{error}"));
    }
    let again = parse("levee.toml", written).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again.mitigator, example.mitigator);
    assert!(changes(&example, &again).is_empty());
}

#[test]
fn what_is_read() {
    let settings = read(
        "names = \"v20.06\"\nby_inbound_packet = true\n[mitigator.paths]\nbase = \"/api/v5/\"\nswitch = \"/s/{name}\"\n\
         [[mitigator.countermeasures]]\nclasses = [\"udp\"]\ngroups = [\"default\"]\nswitches = [\"sorb\", \"game\"]\n",
    );
    assert_eq!((settings.family, settings.default_policy), (Some(Family::UpTo2006), None));
    assert_eq!((settings.paths.base.as_str(), settings.paths.switch.as_str()), ("/api/v5", "s/{name}"));
    let only = Countermeasures {
        classes: vec![Class::Udp],
        directions: vec![Direction::Incoming],
        groups: vec!["default".into()],
        switches: vec!["sorb".into(), "game".into()],
    };
    assert_eq!(settings.countermeasures, [only]);
    assert!(small().mitigator.is_none());
}

#[test]
fn what_is_wrong() {
    let bad = |more: &str, line: usize, key: &str, found: &str, hint: &str| {
        assert_after_small(&format!("{NEEDED}{more}"), line, key, found, hint);
    };
    bad("", 2, "mitigator.default_policy", "no policy for any host", "default_policy = 1");
    let policy = |more: &str| format!("default_policy = 1\n{more}");
    bad(&policy("password_credential = \"x\"\n"), 4, "mitigator.password_file", "two places", "leave one");
    bad(&policy("names = \"v19\"\n"), 6, "mitigator.names", "unknown names", "\"v20.08\"");
    bad(&policy("token_header = \"X: y\"\n"), 6, "mitigator.token_header", "no name of a header", "X-Auth-Token");
    bad("default_policy = -1\n", 5, "mitigator.default_policy", "-1 is out of range", "0 to");
    bad(&policy("[mitigator.paths]\nswich = \"a\"\n"), 7, "mitigator.paths.swich", "unknown key", "`switch`");
    bad(&policy("[mitigator.paths]\nswitch = \"a\"\n"), 7, "mitigator.paths.switch", "no path", "{name}");
    bad(
        &policy("[mitigator.rename]\ntcp = \"a/b\"\n"),
        7,
        "mitigator.rename.tcp",
        "no name of a switch",
        "tcpFloodProt",
    );
    let countermeasures = |key: &str| policy(&format!("[[mitigator.countermeasures]]\n{key}\n"));
    let key = |key: &str| format!("mitigator.countermeasures[0].{key}[0]");
    bad(&countermeasures("classes = [\"tcpsyn\"]"), 7, &key("classes"), "unknown word", "`tcp_syn`");
    bad(&countermeasures("groups = [\"defualt\"]"), 7, &key("groups"), "unknown word", "`default`");
    bad(&countermeasures("directions = [\"in\"]"), 7, &key("directions"), "unknown word", "incoming");
    bad(&countermeasures("switches = [\"a?b\"]"), 7, &key("switches"), "unknown word", "known here: tcp");
    let twice = "[[mitigator.policies]]\nnetworks = [\"192.0.2.0/24\"]\npolicy = 2\n";
    let twice = format!("{twice}{}", twice.replace("= 2", "= 3"));
    bad(&twice, 9, "mitigator.policies[1].networks[0]", "has a policy already", "one policy");
    let node = |address: &str, found: &str, hint: &str| {
        let text = format!("{NEEDED}default_policy = 1\n").replace("https://192.0.2.1", address);
        assert_after_small(&text, 2, "mitigator.addresses[0]", found, hint);
    };
    node("http://192.0.2.1", "without TLS", "insecure = true");
    node("https://192.0.2.1/api", "no address of a node", "[mitigator.paths]");
    node("192.0.2.1", "no address of a node", "https://");
}

/// The password is in a file of its own: no key has it, so nothing that shows keys can.
#[test]
fn no_key_holds_the_password() {
    let text = format!("{SMALL}{}password = \"secret\"\n", NEEDED.replace("password_file", "ca_file"));
    let found = findings(&text);
    assert_eq!(found[0].key(), "mitigator.password");
    assert!(found[0].found().contains("unknown key"));
}
