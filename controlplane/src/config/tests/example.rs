//! The shipped example has every key there is.

use super::*;

/// Every table of `value` with the path to it.
fn tables<'a>(path: &str, value: &'a toml::Value, found: &mut Vec<(String, &'a toml::Table)>) {
    match value {
        toml::Value::Table(table) => {
            found.push((path.to_owned(), table));
            let dot = if path.is_empty() { "" } else { "." };
            table.iter().for_each(|(key, value)| tables(&format!("{path}{dot}{key}"), value, found));
        }
        toml::Value::Array(list) => list.iter().for_each(|value| tables(&format!("{path}[]"), value, found)),
        _ => {}
    }
}

/// The keys that a section knows: those that the error about a key that no section knows lists.
fn known_keys(section: &str) -> BTreeSet<String> {
    let text = match section {
        "" => "zzz = 1".to_owned(),
        list if list.ends_with("[]") => format!("[[{}]]\nzzz = 1", list.trim_end_matches("[]")),
        section => format!("[{section}]\nzzz = 1"),
    };
    let error = toml::from_str::<raw::Config>(&text).err().expect("zzz is no key");
    raw::known_keys(error.message()).into_iter().map(str::to_owned).collect()
}

#[test]
fn the_shipped_example_has_every_key() {
    let example: toml::Value = mitigator::in_use().parse::<toml::Table>().unwrap().into();
    let mut all = Vec::new();
    tables("", &example, &mut all);
    let thresholds: BTreeSet<String> =
        Metric::ALL.iter().map(|&metric| super::super::groups::threshold_name(metric)).collect();
    let mut seen = 0;
    for (path, table) in all {
        let has: BTreeSet<String> = table.keys().cloned().collect();
        let known = match path.as_str() {
            // Names are free here.
            "groups" | "profiles" | "mitigator.rename" | "mitigator.paths" | "notify" | "webhooks" => continue,
            // Either of both is needed, and never both.
            "mitigator" => &known_keys("mitigator") - &BTreeSet::from(["password_credential".to_owned()]),
            "webhooks.chat" => &known_keys("webhooks.chat") - &BTreeSet::from(["url_file".to_owned()]),
            "groups.default" => BTreeSet::from(["incoming".into(), "outgoing".into()]),
            // Counting flows costs memory and time, so the example has that key as a comment.
            "groups.default.incoming" => &thresholds - &BTreeSet::from([Metric::FLOWS.to_string()]),
            path if path.ends_with("coming") || path.ends_with("going") => continue,
            path => known_keys(path),
        };
        assert!(!known.is_empty(), "section {path} has no known keys");
        assert_eq!(has, known, "keys of section {path}");
        seen += known.len();
    }
    assert!(seen >= 50, "only {seen} keys were looked at");
    assert!(EXAMPLE.contains(&format!("\n# {} = ", Metric::FLOWS)), "no word about flows");
}
