//! Checks of section `[whitelist]`.

use dataplane::rule::{FlowRule, SET_MAX, nlri};
use ipnet::IpNet;

use super::check::Findings;
use super::networks::{self, Places};
use super::raw::{self, Text};
use crate::rule_json;
use crate::whitelist::Whitelist;

/// Most networks of a list: each rule is held against all of them.
const NETWORKS_MAX: usize = 1000;
const EXAMPLE: &str = r#"write a rule as '{"source_prefix": "203.0.113.0/24", "protocols": ["udp"]}'"#;

/// Reads the whitelist.
pub(super) fn whitelist(
    raw: &raw::Whitelist,
    (protected, ipv6_prefix_length): (&Places, u8),
    findings: &mut Findings,
) -> Whitelist {
    let own = |network: IpNet| match touches(network, protected) {
        true => networks::holds_whole_hosts(network, ipv6_prefix_length),
        false => Err((
            format!("{network} has no part in the protected networks"),
            "take it out, or write far ends into `remote_networks`".to_owned(),
        )),
    };
    let any = |_| Ok(());
    let (own_key, remote_key) = ("whitelist.networks", "whitelist.remote_networks");
    Whitelist {
        networks: networks::of_whitelist(own_key, &raw.networks, NETWORKS_MAX, findings, own),
        remote_networks: networks::of_whitelist(remote_key, &raw.remote_networks, NETWORKS_MAX, findings, any),
        ignored: ignored(&raw.ignored, findings),
    }
}

/// Whether a protected network lies within this one, or around it.
fn touches(network: IpNet, protected: &Places) -> bool {
    networks::within(network, protected) || protected.keys().any(|other| network.contains(other))
}

fn ignored(list: &[Text], findings: &mut Findings) -> Vec<FlowRule> {
    let key = "whitelist.ignored";
    if let Some(beyond) = list.get(SET_MAX) {
        let hint = format!("at most {SET_MAX}: join alike ones");
        findings.add(beyond.span(), key, format!("{} rules", list.len()), hint);
    }
    let mut rules = Vec::new();
    for (index, text) in list.iter().enumerate() {
        match rule(text.get_ref()) {
            Ok(rule) => rules.push(rule),
            Err(found) => findings.add(text.span(), format!("{key}[{index}]"), found, EXAMPLE),
        }
    }
    rules
}

/// The rule, or what is wrong with it.
fn rule(text: &str) -> Result<FlowRule, String> {
    let value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    let rule = rule_json::rule_from_json(&value).map_err(|error| error.to_string())?;
    if rule == FlowRule::default() {
        return Err("a rule that matches everything: nothing would be seen".to_owned());
    }
    // With a prefix it can be told whether all of it is of one family, as a rule that ever matches must be.
    if rule.family().is_some() {
        nlri::encode(&rule).map_err(|error| error.to_string())?;
    }
    Ok(rule)
}
