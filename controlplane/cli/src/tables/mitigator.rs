//! MITIGATOR in tables.

use proto::v1::{AttackSwitch, HeldSwitch, Mitigator};

use super::{facts, table};
use crate::units::age;

/// A part of `leveectl status`.
pub(super) fn status(mitigator: &Mitigator, now_ms: i64) -> String {
    let state = if mitigator.connected { "up" } else { "down" };
    let mut text = facts(&[
        ("MITIGATOR", mitigator.node.clone()),
        ("state", format!("{state}, {}", age(mitigator.since_ms, now_ms))),
        ("version", mitigator.version.clone()),
        ("names", mitigator.names.clone()),
        ("error", mitigator.error.clone()),
    ]);
    let row = |switch: &HeldSwitch| {
        vec![
            switch.policy.to_string(),
            switch.switch.clone(),
            switch.state.clone(),
            if switch.was_on { "on" } else { "off" }.to_owned(),
            switch.attack_ids.len().to_string(),
            age(switch.since_ms, now_ms),
            switch.text.clone(),
        ]
    };
    if !mitigator.switches.is_empty() {
        let headings = [">POLICY", "SWITCH", "STATE", "BEFORE", ">ATTACKS", "SINCE", ""];
        text += &table(&headings, mitigator.switches.iter().map(row));
    }
    text
}

/// A part of `leveectl attacks show`.
pub(super) fn switches(switches: &[AttackSwitch]) -> String {
    if switches.is_empty() {
        return String::new();
    }
    let row = |switch: &AttackSwitch| {
        vec![switch.policy.to_string(), switch.switch.clone(), switch.state.clone(), switch.text.clone()]
    };
    format!("\n{}", table(&[">MITIGATOR POLICY", "SWITCH", "STATE", ""], switches.iter().map(row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_and_what_became_of_it() {
        let held = HeldSwitch {
            policy: 42,
            switch: "tcp".into(),
            state: "set".into(),
            attack_ids: vec!["a".into(), "b".into()],
            since_ms: 1_000,
            ..HeldSwitch::default()
        };
        let mitigator = Mitigator {
            connected: true,
            since_ms: 1_000,
            node: "https://192.0.2.9".into(),
            version: "v21.04".into(),
            switches: vec![held],
            ..Mitigator::default()
        };
        let text = status(&mitigator, 11_000);
        let words = [
            "MITIGATOR  https://192.0.2.9\n",
            "state      up, 10 s ago\n",
            "    42  tcp     set    off           2  10 s ago\n",
        ];
        assert!(words.iter().all(|words| text.contains(words)), "{text}");
        let switch = AttackSwitch { policy: 42, switch: "tcp".into(), state: "on".into(), text: String::new() };
        assert_eq!(switches(&[]), "");
        assert_eq!(switches(&[switch]), "\nMITIGATOR POLICY  SWITCH  STATE\n              42  tcp     on\n");
    }
}
