//! Single keys in a text, and how configurations differ.

use super::super::edit::{Edit, Error};
use super::*;

const TEXT: &str = r#"# mine
networks = ["198.18.0.0/24", "2001:db8::/32"] # ours

[[ports]] # one
device = "net_pcap0,rx_pcap=/dev/null"
cores = [0]

[detection]
# Not for long.
ban_time_s = 30   # half a minute
tap = "before_router"

[bgp]
mark = "64512:1:1"
[[bgp.engines]]
name = "edge"
address = "unix:///run/a.sock"
"#;

fn edit(text: &str, key: &str, value: Option<&str>) -> Result<String, Error> {
    Edit { key: key.into(), value: value.map(str::to_owned) }.apply(text)
}

/// With these keys set, one after the other.
fn edited(edits: &[(&str, &str)]) -> String {
    edits.iter().fold(TEXT.to_owned(), |text, (key, value)| edit(&text, key, Some(value)).unwrap())
}

fn changed(old: &str, new: &str) -> Vec<String> {
    let config = |text: &str| parse("levee.toml", text.to_owned()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    changes(&config(old), &config(new)).iter().map(ToString::to_string).collect()
}

#[test]
fn only_the_value_changes_in_the_text() {
    let set = |key, value| edit(TEXT, key, Some(value)).unwrap();
    assert_eq!(set("detection.ban_time_s", "45"), TEXT.replace("= 30 ", "= 45 "));
    assert_eq!(set("detection.tap", "behind_router"), TEXT.replace("before", "behind"), "a text needs no quotes");
    assert_eq!(set("detection.tap", "\"behind_router\""), TEXT.replace("before", "behind"));
    let list = r#"["198.18.0.0/23"]"#;
    assert_eq!(set("networks", list), TEXT.replace(r#"["198.18.0.0/24", "2001:db8::/32"]"#, list));
    assert_eq!(set("bgp.engines[0].name", "core"), TEXT.replace("edge", "core"));
    assert_eq!(set("ports[0].cores", "[1, 2]"), TEXT.replace("[0]", "[1, 2]"));
    assert_eq!(edit(TEXT, "detection.tap", None).unwrap(), TEXT.replace("tap = \"before_router\"\n", ""));
}

#[test]
fn a_key_and_a_section_that_were_not_there_come() {
    let text = edited(&[
        ("detection.probation_s", "7"),
        ("groups.default.incoming.udp_pps", "1000"),
        ("daemon.dry_run", "true"),
    ]);
    for line in TEXT.lines() {
        assert!(text.contains(line), "{line} is lost in\n{text}");
    }
    let found = changed(TEXT, &text);
    let wanted =
        ["daemon.dry_run: false → true", "groups.default.incoming.udp_pps: + 1000", "detection.probation_s: 300 → 7"];
    assert_eq!(found, wanted);
    let group = edited(&[("groups.web.networks", r#"["198.18.0.0/28"]"#), ("groups.web.inherit", "default")]);
    assert!(changed(TEXT, &group).contains(&"groups.web.networks: + \"198.18.0.0/28\"".to_owned()));
    let gone = edit(&group, "groups.web", None).unwrap();
    assert_eq!(changed(TEXT, &gone), [""; 0]);
    let inline = edit(TEXT, "groups.default", Some("{ incoming = { udp_pps = 5 } }")).unwrap();
    let inline = edit(&inline, "groups.default.incoming.tcp_pps", Some("6")).unwrap();
    assert_eq!(
        changed(TEXT, &inline),
        ["groups.default.incoming.udp_pps: + 5", "groups.default.incoming.tcp_pps: + 6"]
    );
}

#[test]
fn what_cannot_be_edited_says_why() {
    let fails = |key: &str, value: Option<&str>| edit(TEXT, key, value).unwrap_err().to_string();
    for key in ["", "detection.", "detection..tap", "a b", "ports[x].device", "ports[0"] {
        assert!(fails(key, Some("1")).contains("is not a key"), "{key}");
    }
    assert_eq!(fails("detection.probation_s", None), "detection.probation_s: the file does not have it");
    assert_eq!(fails("groups.web.networks", None), "groups.web.networks: the file does not have it");
    assert_eq!(fails("networks.first", Some("1")), "networks.first: `networks` is not a section");
    assert!(fails("ports[1].device", Some("x")).contains("there is no `ports[1]`"));
    assert!(fails("detection[0].tap", Some("x")).contains("there is no `detection[0]`"));
    // What the text then says is for the configuration to judge, with its own words.
    let all = findings(&edited(&[("detection.ban_time", "5")]));
    assert_eq!((all.len(), all[0].key()), (1, "detection.ban_time"));
    assert!(all[0].hint().contains("did you mean `ban_time_s`?"));
}

#[test]
fn keys_read_at_the_start_are_marked() {
    let restart = |key: &str, value: &str| {
        let text = edited(&[(key, value)]);
        let config = |text: &str| parse("levee.toml", text.to_owned()).unwrap_or_else(|error| panic!("{error}"));
        let changes = changes(&config(TEXT), &config(&text));
        assert!(!changes.is_empty(), "{key}");
        changes.iter().all(|change| change.restart.is_some())
    };
    for (key, value) in [
        ("ports[0].cores", "[1]"),
        ("dpdk.burst_max", "64"),
        ("tables.ipv6_hosts", "128"),
        ("daemon.socket", "/run/other.sock"),
        ("daemon.log", "journald"),
    ] {
        assert!(restart(key, value), "{key}");
    }
    for (key, value) in [
        ("daemon.log_level", "debug"),
        ("daemon.dry_run", "true"),
        ("networks", r#"["198.18.0.0/24"]"#),
        ("history.days", "3"),
        ("groups.default.last_resort", "rate_limit"),
        ("groups.default.profile", "frr"),
        ("detection.captures_at_once", "7"),
        ("detection.threshold_specific_ban_details", "true"),
        ("detection.rule_idle_s", "7"),
        ("detection.blackholes_in_all", "7"),
        ("bgp.blackhole_next_hops", r#"["192.0.2.66"]"#),
        ("bgp.engines[0].address", "unix:///run/b.sock"),
    ] {
        assert!(!restart(key, value), "{key}");
    }
}

#[test]
fn lists_differ_by_their_elements() {
    let text = TEXT.replace("\"198.18.0.0/24\"", "\"198.18.2.0/24\", \"198.18.1.0/24\"");
    let found = changed(TEXT, &text);
    let wanted = ["networks: - \"198.18.0.0/24\"", "networks: + \"198.18.2.0/24\"", "networks: + \"198.18.1.0/24\""];
    assert_eq!(found, wanted);
}

/// Every key of the shipped example is among the leaves, with its value; and the leaves, written down, are the same configuration.
#[test]
fn leaves_are_all_keys() {
    let example = parse("levee.toml", EXAMPLE.to_owned()).unwrap();
    let leaves = example.leaves();
    let table: toml::Table = EXAMPLE.parse().unwrap();
    let mut keys = Vec::new();
    paths("", &toml::Value::Table(table), &mut keys);
    for key in keys {
        // A threshold that is off is no leaf, nor is a limit where nothing is limited.
        let is_off = key == "groups.web.incoming.fragments_pps" || key.ends_with(".last_resort_mbps");
        assert_eq!(leaves.iter().filter(|leaf| leaf.key == key).count(), usize::from(!is_off), "{key}");
    }
    let mut text = EXAMPLE.to_owned();
    for leaf in &leaves {
        let value = if leaf.is_list { format!("[{}]", leaf.values.join(", ")) } else { leaf.values[0].clone() };
        text = edit(&text, &leaf.key, Some(&value)).unwrap_or_else(|error| panic!("{error}"));
    }
    assert_eq!(changed(EXAMPLE, &text), [""; 0]);
}

fn paths(prefix: &str, value: &toml::Value, found: &mut Vec<String>) {
    let dot = if prefix.is_empty() { "" } else { "." };
    match value {
        toml::Value::Table(table) => {
            table.iter().for_each(|(key, value)| paths(&format!("{prefix}{dot}{key}"), value, found))
        }
        toml::Value::Array(list) if list.first().is_some_and(toml::Value::is_table) => {
            list.iter().enumerate().for_each(|(index, value)| paths(&format!("{prefix}[{index}]"), value, found));
        }
        _ => found.push(prefix.to_owned()),
    }
}
