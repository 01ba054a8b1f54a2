//! Checks of `[mitigator]`: nodes, password, names and paths, policies, countermeasures.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;
use serde_spanned::Spanned;

use super::check::Findings;
use super::networks;
use super::raw::{self, Number, Text};
use crate::actions::mitigator::settings::{Class, Countermeasures, Family, PasswordSource, Paths, Settings};
use crate::attack::Direction;
use crate::group::Group;

/// Most nodes of a cluster, and most of other lists.
const NODES_MAX: usize = 16;
const LIST_MAX: usize = 1000;
/// Most switches against one kind of attack: each is a call or two.
const SWITCHES_MAX: usize = 16;

/// Reads the section.
pub(super) fn mitigator(raw: &raw::Mitigator, groups: &[Group], findings: &mut Findings) -> Settings {
    let insecure = raw.insecure.unwrap_or(false);
    let policies = policies(&raw.policies, findings);
    let by_inbound_packet = raw.by_inbound_packet.unwrap_or(false);
    let default_policy = raw.default_policy.as_ref().map(|number| policy("mitigator.default_policy", number, findings));
    if policies.is_empty() && !by_inbound_packet && default_policy.is_none() {
        let hint = "write `default_policy = 1`, or sections [[mitigator.policies]], or `by_inbound_packet = true`";
        findings.add(raw.addresses.span(), "mitigator.default_policy", "no policy for any host", hint);
    }
    let ca_file = raw.ca_file.as_ref().filter(|text| !text.get_ref().is_empty());
    let milliseconds = 100..=600_000;
    let (key, default) = ("mitigator.connect_timeout_ms", Duration::from_secs(3));
    let connect_timeout = findings.milliseconds(key, &raw.connect_timeout_ms, default, milliseconds.clone());
    let (key, default) = ("mitigator.timeout_ms", Duration::from_secs(30));
    let timeout = findings.milliseconds(key, &raw.timeout_ms, default, milliseconds);
    let (key, default) = ("mitigator.back_off_max_s", Duration::from_secs(10));
    let back_off_max = findings.seconds(key, &raw.back_off_max_s, default, 1..=3600);
    let (key, default) = ("mitigator.check_period_s", Duration::from_secs(10));
    let check_period = findings.seconds(key, &raw.check_period_s, default, 1..=3600);
    Settings {
        addresses: addresses(&raw.addresses, insecure, findings),
        user: raw.user.get_ref().clone(),
        password: password(raw, findings),
        ca_file: ca_file
            .map(|text| findings.path("mitigator.ca_file", &Some(text.clone()), "/etc/levee/ca.pem".into())),
        insecure,
        connect_timeout,
        timeout,
        back_off_max,
        check_period,
        family: family(&raw.names, findings),
        rename: rename(&raw.rename, findings),
        paths: paths(&raw.paths, findings),
        token_header: header(&raw.token_header, findings),
        policies,
        by_inbound_packet,
        default_policy,
        countermeasures: countermeasures(raw.countermeasures.as_deref(), groups, findings),
    }
}

fn addresses(raw: &Spanned<Vec<Text>>, insecure: bool, findings: &mut Findings) -> Vec<String> {
    let (key, hint) =
        ("mitigator.addresses", "write each node of the cluster: addresses = [\"https://mitigator.example\"]");
    if raw.get_ref().is_empty() || raw.get_ref().len() > NODES_MAX {
        findings.add(raw.span(), key, format!("{} nodes", raw.get_ref().len()), hint);
    }
    let mut addresses = Vec::new();
    for (index, text) in raw.get_ref().iter().enumerate() {
        let key = format!("{key}[{index}]");
        match address(text.get_ref()) {
            Some(address) if address.starts_with("http://") && !insecure => {
                let found = "without TLS, the password would be there for all to read";
                findings.add(text.span(), key, found, "write https://, or `insecure = true`");
            }
            Some(address) if addresses.contains(&address) => {
                findings.add(text.span(), key, format!("\"{address}\" twice"), "name each node once");
            }
            Some(address) => addresses.push(address),
            None => {
                let found = format!("\"{}\" is no address of a node", text.get_ref());
                let hint = "write \"https://192.0.2.10\" or \"https://mitigator.example:8443\"; paths are in [mitigator.paths]";
                findings.add(text.span(), key, found, hint);
            }
        }
    }
    addresses
}

fn address(text: &str) -> Option<String> {
    let (scheme, host) = text.trim_end_matches('/').split_once("://")?;
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let good = ["https", "http"].contains(&scheme) && !host.is_empty() && host.chars().all(is_host);
    good.then(|| format!("{scheme}://{host}"))
}

fn password(raw: &raw::Mitigator, findings: &mut Findings) -> PasswordSource {
    let hint = "write `password_file = \"/etc/levee/mitigator.password\"`, or the name of systemd's credential as `password_credential`";
    match (&raw.password_file, &raw.password_credential) {
        (Some(_), None) => {
            let path =
                findings.path("mitigator.password_file", &raw.password_file, "/etc/levee/mitigator.password".into());
            PasswordSource::File(path)
        }
        (None, Some(name)) => {
            let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if name.get_ref().is_empty() || !name.get_ref().chars().all(is_name) || name.get_ref().starts_with('.') {
                let found = format!("\"{}\" is no name of a credential", name.get_ref());
                findings.add(
                    name.span(),
                    "mitigator.password_credential",
                    found,
                    "use letters, digits, '-', '_' and '.'",
                );
            }
            PasswordSource::Credential(name.get_ref().clone())
        }
        (Some(file), Some(_)) => {
            findings.add(
                file.span(),
                "mitigator.password_file",
                "two places for one password",
                "leave one of them out",
            );
            PasswordSource::File(file.get_ref().into())
        }
        (None, None) => {
            findings.add(raw.user.span(), "mitigator.password_file", "no password", hint);
            PasswordSource::Credential(String::new())
        }
    }
}

fn family(raw: &Option<Text>, findings: &mut Findings) -> Option<Family> {
    let text = raw.as_ref()?;
    match Family::WORDS.iter().find(|(word, _)| word == text.get_ref()) {
        Some((_, family)) => *family,
        None => {
            let hint = "write \"auto\", \"v20.06\" for names up to that version, or \"v20.08\" for those from there on";
            findings.add(text.span(), "mitigator.names", format!("unknown names \"{}\"", text.get_ref()), hint);
            None
        }
    }
}

fn header(raw: &Option<Text>, findings: &mut Findings) -> String {
    let Some(text) = raw else { return "X-Auth-Token".to_owned() };
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if text.get_ref().is_empty() || !text.get_ref().chars().all(is_token) {
        let found = format!("\"{}\" is no name of a header", text.get_ref());
        findings.add(text.span(), "mitigator.token_header", found, "write one such as \"X-Auth-Token\"");
    }
    text.get_ref().clone()
}

/// What goes into a URL as it is.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn rename(raw: &BTreeMap<String, Text>, findings: &mut Findings) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for (ours, theirs) in raw {
        if !is_word(theirs.get_ref()) {
            let found = format!("\"{}\" is no name of a switch", theirs.get_ref());
            findings.add(
                theirs.span(),
                format!("mitigator.rename.{ours}"),
                found,
                "write one such as \"tcpFloodProt\"",
            );
        }
        names.insert(ours.clone(), theirs.get_ref().clone());
    }
    names
}

fn paths(raw: &BTreeMap<Text, Text>, findings: &mut Findings) -> Paths {
    let mut paths = Paths::default();
    for (key, path) in raw {
        let text = path.get_ref();
        let name = key.get_ref();
        let full = format!("mitigator.paths.{name}");
        let is_path = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./{}".contains(c));
        let needs = match name.as_str() {
            "switch" => "{name}",
            "monitor_mode" => "{policy}",
            _ => "",
        };
        if paths.get_mut(name).is_none() {
            let known = Paths::default().all().map(|(key, _)| key);
            findings.add(key.span(), full, format!("unknown key `{name}`"), raw::suggestion(name, &known));
            continue;
        }
        if !is_path || !text.contains(needs) || (text.is_empty() && !["base", "autodetection"].contains(&name.as_str()))
        {
            let hint = if needs.is_empty() {
                "letters, digits, '/', '-', '_' and '.'".to_owned()
            } else {
                format!("{needs} must be in it")
            };
            findings.add(path.span(), full, format!("\"{text}\" is no path of this"), hint);
        }
        let slashes: &[char] = &['/'];
        let trimmed = text.trim_end_matches(slashes);
        let path = if name == "base" { trimmed } else { trimmed.trim_start_matches(slashes) };
        if let Some(known) = paths.get_mut(name) {
            *known = path.to_owned();
        }
    }
    if !paths.base.is_empty() && !paths.base.starts_with('/') {
        paths.base.insert(0, '/');
    }
    paths
}

fn policy(key: &str, number: &Number, findings: &mut Findings) -> u64 {
    findings.number(key, &Some(number.clone()), 1, 0..=u64::from(u32::MAX))
}

fn policies(raw: &[raw::MitigatorPolicy], findings: &mut Findings) -> Vec<(IpNet, u64)> {
    let mut policies: Vec<(IpNet, u64)> = Vec::new();
    for (index, raw) in raw.iter().enumerate() {
        let key = format!("mitigator.policies[{index}]");
        let number = policy(&format!("{key}.policy"), &raw.policy, findings);
        if raw.networks.is_empty() {
            let hint = "name the networks that the policy protects; the policy of all others is `default_policy`";
            findings.add(raw.policy.span(), format!("{key}.networks"), "a policy without networks", hint);
        }
        let known: Vec<IpNet> = policies.iter().map(|(network, _)| *network).collect();
        let accept = |network: IpNet| match known.contains(&network) {
            true => Err((format!("{network} has a policy already"), "give each network to one policy".to_owned())),
            false => Ok(()),
        };
        let networks = networks::of_whitelist(&format!("{key}.networks"), &raw.networks, LIST_MAX, findings, accept);
        policies.extend(networks.into_iter().map(|network| (network, number)));
    }
    policies
}

fn countermeasures(
    raw: Option<&[raw::MitigatorCountermeasures]>,
    groups: &[Group],
    findings: &mut Findings,
) -> Vec<Countermeasures> {
    let Some(raw) = raw else { return Countermeasures::defaults() };
    let group_names: Vec<&str> = groups.iter().map(|group| &*group.name).collect();
    let known = |names: &[&str], name: &str| names.contains(&name).then(|| name.to_owned());
    let mut list = Vec::new();
    for (index, raw) in raw.iter().enumerate() {
        let key = |key: &str| format!("mitigator.countermeasures[{index}].{key}");
        let class = |name: &str| Class::ALL.into_iter().find(|class| class.name() == name);
        let direction = |name: &str| Direction::ALL.into_iter().find(|direction| direction.to_string() == name);
        let directions = match &raw.directions {
            Some(list) => words(&key("directions"), list, &["incoming", "outgoing"], direction, findings),
            None => vec![Direction::Incoming],
        };
        if let Some(beyond) = raw.switches.get(SWITCHES_MAX) {
            let found = format!("{} switches", raw.switches.len());
            findings.add(beyond.span(), key("switches"), found, format!("at most {SWITCHES_MAX}"));
        }
        let switch = |name: &str| is_word(name).then(|| name.to_owned());
        list.push(Countermeasures {
            classes: words(&key("classes"), &raw.classes, &Class::ALL.map(Class::name), class, findings),
            directions,
            groups: words(&key("groups"), &raw.groups, &group_names, |name| known(&group_names, name), findings),
            switches: words(&key("switches"), &raw.switches, &["tcp", "acl", "sorb"], switch, findings),
        });
    }
    list
}

/// A list of words that are known, each once.
pub(super) fn words<T: PartialEq>(
    key: &str,
    raw: &[Text],
    known: &[&str],
    read: impl Fn(&str) -> Option<T>,
    findings: &mut Findings,
) -> Vec<T> {
    let mut list = Vec::new();
    for (index, text) in raw.iter().enumerate() {
        let key = format!("{key}[{index}]");
        match read(text.get_ref()) {
            None => {
                let found = format!("unknown word \"{}\"", text.get_ref());
                findings.add(text.span(), key, found, raw::suggestion(text.get_ref(), known));
            }
            Some(word) if list.contains(&word) => {
                findings.add(text.span(), key, format!("\"{}\" twice", text.get_ref()), "name it once");
            }
            Some(word) => list.push(word),
        }
    }
    list
}
