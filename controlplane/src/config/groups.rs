//! The host groups: what each section says, and what it inherits from others.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use dataplane::rule::{Action, FlowRule};
use serde_spanned::Spanned;

use super::check::Findings;
use super::networks::{self, Complaint, Places};
use super::profiles::Section;
use super::raw::{self, Text};
use super::{Bgp, DEFAULT_GROUP, Group};
use crate::attack::{Direction, Metric, Thresholds, Unit};
use crate::group::{Family, Inseparable, LastResort};
use crate::profile::Profile;
use crate::rule_json;

/// Largest threshold, in the unit of its key: far above any link, and far from overflow as bits.
const THRESHOLD_MAX: i64 = 1_000_000_000_000;
/// Largest threshold on flows a second: as far as estimates have their stated error.
const FLOWS_MAX: i64 = dataplane::flows::RANGE;
/// The most that `last_resort_mbps` says.
const MBPS_MAX: u64 = 1_000_000;
/// What `last_resort = "rate_limit"` lets through where `last_resort_mbps` does not say.
const LAST_RESORT_MBPS: u64 = 100;
/// The word for a threshold that a group does not take over.
const OFF: &str = "off";

/// Thresholds; one that is none is off.
type List = Vec<(Metric, Option<u64>)>;
type Sections = BTreeMap<String, Spanned<raw::Group>>;

/// What a section says itself. What it does not say it inherits.
#[derive(Default)]
struct Said {
    inherit: Option<Text>,
    directions: Option<Vec<Direction>>,
    families: Option<Vec<Family>>,
    monitor_only: Option<bool>,
    profile: Option<Profile>,
    inseparable: Option<Inseparable>,
    last_resort: Option<raw::LastResort>,
    last_resort_mbps: Option<u64>,
    actions: [Option<Action>; 2],
    /// For a host, a network and the whole group, and for the last resort, each by direction.
    thresholds: [[List; 2]; 4],
}

/// By the names of groups.
type All<'a> = BTreeMap<&'a str, Said>;

/// Reads the groups, the default one first. One without networks that others inherit from has no hosts, and is left out.
pub(super) fn groups(
    sections: &Sections,
    (protected, ipv6_prefix_length): (&Places, u8),
    profiles: &[Section],
    findings: &mut Findings,
) -> Vec<Group> {
    let mut all: All =
        sections.iter().map(|(name, raw)| (name.as_str(), said(name, raw.get_ref(), profiles, findings))).collect();
    all.entry(DEFAULT_GROUP).or_default();
    check_inherit(&all, findings);

    if let Some(list) = sections.get(DEFAULT_GROUP).and_then(|raw| raw.get_ref().networks.as_ref()) {
        let hint = "take it out: this group has every host that no other group has";
        findings.add(list.span(), "groups.default.networks", "networks of the default group", hint);
    }
    let mut groups = vec![in_force(DEFAULT_GROUP, &all)];
    let mut taken = Places::new();
    for (name, raw) in sections.iter().filter(|(name, _)| *name != DEFAULT_GROUP) {
        let key = format!("groups.{name}");
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_name) {
            let hint = "name a group with up to 64 letters, digits, '-' and '_'";
            findings.add(raw.span(), &key, format!("\"{name}\" is not a name"), hint);
        }
        match &raw.get_ref().networks {
            Some(list) if !list.get_ref().is_empty() => {
                let key = format!("{key}.networks");
                let within = (protected, ipv6_prefix_length);
                let networks = networks::of_group(&key, list.get_ref(), within, &mut taken, findings);
                groups.push(Group { networks, ..in_force(name, &all) });
            }
            _ if all.values().any(|other| other.parent() == Some(name)) => {}
            _ => {
                let hint = "add `networks = [\"…\"]`, or `inherit` this group in another";
                findings.add(raw.span(), &key, "a group without networks", hint);
            }
        }
    }
    groups
}

impl Said {
    fn parent(&self) -> Option<&str> {
        self.inherit.as_ref().map(|text| text.get_ref().as_str())
    }
}

/// A group and those that it inherits from, itself first. Ends before a name that is not known, or that came before.
fn lineage<'a>(name: &'a str, all: &'a All) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    let mut next = Some(name);
    while let Some(name) = next.filter(|name| !names.contains(name))
        && let Some(said) = all.get(name)
    {
        names.push(name);
        next = said.parent();
    }
    names
}

/// Whom a group inherits from must be there, and must not inherit from the group in turn. A circle is told once.
fn check_inherit(all: &All, findings: &mut Findings) {
    let known: Vec<&str> = all.keys().copied().collect();
    for (&name, said) in all {
        let Some(text) = &said.inherit else { continue };
        let (parent, key) = (text.get_ref().as_str(), format!("groups.{name}.inherit"));
        let names = lineage(name, all);
        let is_circle = names.last().and_then(|last| all[last].parent()) == Some(name);
        if !all.contains_key(parent) {
            findings.add(text.span(), key, format!("no group `{parent}`"), raw::suggestion(parent, &known));
        } else if is_circle && names.iter().min() == Some(&name) {
            let circle = format!("{} → {name}", names.join(" → "));
            let found = format!("a group that inherits from itself: {circle}");
            findings.add(text.span(), key, found, "take out `inherit` here, or in another group of the circle");
        }
    }
}

/// The group with all that it inherits, but for networks.
fn in_force(name: &str, all: &All) -> Group {
    let mut group = Group { name: name.into(), inherit: all[name].parent().map(Arc::from), ..Group::default() };
    let (mut last_resort, mut mbps) = (raw::LastResort::Nothing, LAST_RESORT_MBPS);
    for ancestor in lineage(name, all).into_iter().rev() {
        let said = &all[ancestor];
        group.directions = said.directions.clone().unwrap_or(group.directions);
        group.families = said.families.clone().unwrap_or(group.families);
        group.profile = said.profile.clone().unwrap_or(group.profile);
        group.inseparable = said.inseparable.unwrap_or(group.inseparable);
        group.monitor_only = said.monitor_only.unwrap_or(group.monitor_only);
        for (action, said) in group.actions.iter_mut().zip(said.actions) {
            *action = said.unwrap_or(*action);
        }
        (last_resort, mbps) = (said.last_resort.unwrap_or(last_resort), said.last_resort_mbps.unwrap_or(mbps));
        for (thresholds, said) in sides(&mut group).into_iter().flatten().zip(said.thresholds.iter().flatten()) {
            said.iter().for_each(|&(metric, value)| thresholds.put(metric, value));
        }
    }
    group.last_resort = match last_resort {
        raw::LastResort::Nothing => LastResort::Nothing,
        raw::LastResort::RateLimit => LastResort::RateLimit { bps: mbps * 1_000_000 },
        raw::LastResort::Blackhole => LastResort::Blackhole,
        raw::LastResort::Divert => LastResort::Divert,
    };
    let directions = group.directions.clone();
    for direction in Direction::ALL.into_iter().filter(|direction| !directions.contains(direction)) {
        sides(&mut group).into_iter().for_each(|sides| sides[direction as usize] = Thresholds::default());
    }
    group
}

/// Thresholds for a host, a network and the whole group, and for the last resort.
fn sides(group: &mut Group) -> [&mut [Thresholds; 2]; 4] {
    [&mut group.thresholds, &mut group.network_thresholds, &mut group.group_thresholds, &mut group.escalation]
}

/// Routes lead somewhere, in each family that a group watches; and what escalates has something to escalate to.
pub(super) fn check_routes(groups: &[Group], sections: &Sections, bgp: Option<&Bgp>, findings: &mut Findings) {
    for group in groups {
        let section = sections.get(&*group.name);
        let word = |last: &str| {
            let own = section.map(Spanned::get_ref).and_then(|own| match last {
                "last_resort" => own.last_resort.as_ref().map(Spanned::span),
                _ => own.inseparable.as_ref().map(Spanned::span),
            });
            (own.or(section.map(Spanned::span)).unwrap_or(0..0), format!("groups.{}.{last}", group.name))
        };
        if group.last_resort == LastResort::Nothing && !group.escalation.iter().all(Thresholds::is_empty) {
            let (span, key) = word("last_resort");
            let hint = "say what is done over the thresholds of escalate_incoming and escalate_outgoing";
            findings.add(span, key, "nothing to escalate to", hint);
        }
        let blackhole = ("blackholes", bgp.map(|bgp| &bgp.blackhole), "blackhole_next_hops");
        let (last, (routes, route, list)) = match (group.last_resort, group.inseparable) {
            (LastResort::Divert, _) => ("last_resort", ("diversions", bgp.map(|bgp| &bgp.divert), "divert_next_hops")),
            (LastResort::Blackhole, _) => ("last_resort", blackhole),
            (_, Inseparable::Blackhole) => ("inseparable", blackhole),
            _ => continue,
        };
        let next_hops = route.map(|route| route.next_hops).unwrap_or_default();
        let leads_nowhere = |family: &&Family| match family {
            Family::Ipv4 => next_hops.v4.is_none(),
            Family::Ipv6 => next_hops.v6.is_none(),
        };
        let Some(family) = group.families.iter().find(leads_nowhere) else { continue };
        let (span, key) = word(last);
        let found = format!("{routes}, and no {family} next hop for them");
        let hint = format!("name one of each family that the group watches in `{list}` of [bgp]");
        findings.add(span, key, found, hint);
    }
}

/// What mined rules do is what routers take, of each family that a group watches: none of them is refused when it is needed.
pub(super) fn check_actions(groups: &[Group], sections: &Sections, bgp: Option<&Bgp>, findings: &mut Findings) {
    for group in groups {
        let profile = group.profile_at(bgp.into_iter().flat_map(Bgp::profiles));
        for (action, last) in group.actions.iter().zip(["incoming_action", "outgoing_action"]) {
            let unfit = |family: &Family| profile.check(&host(*family), action).err();
            let Some(unfit) = group.families.iter().find_map(unfit) else { continue };
            let section = sections.get(&*group.name);
            let own = section.map(Spanned::get_ref).and_then(|own| match last {
                "incoming_action" => own.incoming_action.as_ref().map(Spanned::span),
                _ => own.outgoing_action.as_ref().map(Spanned::span),
            });
            let span = own.or(section.map(Spanned::span)).unwrap_or(0..0);
            let hint = "do what routers of all engines take (`profile` of group and engine), for each family that the group watches";
            findings.add(span, format!("groups.{}.{last}", group.name), unfit.to_string(), hint);
        }
    }
}

/// The shortest rule that there is for a host.
fn host(family: Family) -> FlowRule {
    let address: IpAddr = match family {
        Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    FlowRule { destination: Some(address.into()), ..FlowRule::default() }
}

fn said(name: &str, raw: &raw::Group, profiles: &[Section], findings: &mut Findings) -> Said {
    let key = |last: &str| format!("groups.{name}.{last}");
    Said {
        inherit: raw.inherit.clone(),
        directions: raw.directions.as_ref().map(|list| some_of(&key("directions"), list, Direction::ALL, findings)),
        families: raw.families.as_ref().map(|list| some_of(&key("families"), list, Family::ALL, findings)),
        monitor_only: raw.monitor_only,
        profile: raw.profile.as_ref().and_then(|name| profile(&key("profile"), name, profiles, findings)),
        inseparable: raw.inseparable.as_ref().map(|word| *word.get_ref()),
        last_resort: raw.last_resort.as_ref().map(|word| *word.get_ref()),
        last_resort_mbps: raw
            .last_resort_mbps
            .as_ref()
            .map(|_| findings.number(&key("last_resort_mbps"), &raw.last_resort_mbps, LAST_RESORT_MBPS, 1..=MBPS_MAX)),
        actions: [("incoming_action", &raw.incoming_action), ("outgoing_action", &raw.outgoing_action)]
            .map(|(last, text)| text.as_ref().and_then(|text| action(&key(last), text, findings))),
        thresholds: [
            [("incoming", &raw.incoming), ("outgoing", &raw.outgoing)],
            [("network_incoming", &raw.network_incoming), ("network_outgoing", &raw.network_outgoing)],
            [("group_incoming", &raw.group_incoming), ("group_outgoing", &raw.group_outgoing)],
            [("escalate_incoming", &raw.escalate_incoming), ("escalate_outgoing", &raw.escalate_outgoing)],
        ]
        .map(|sides| sides.map(|(last, raw)| thresholds(&key(last), raw, !last.contains('_'), findings))),
    }
}

/// What routers take, by the name of the profile.
pub(super) fn profile(key: &str, name: &Text, sections: &[Section], findings: &mut Findings) -> Option<Profile> {
    let own = || sections.iter().map(|section| &section.profile);
    let word = name.get_ref().as_str();
    let profile = Profile::named(word).or_else(|| own().find(|profile| &*profile.name == word).cloned());
    if profile.is_none() {
        let known: Vec<&str> = Profile::NAMES.into_iter().chain(own().map(|profile| &*profile.name)).collect();
        findings.add(name.span(), key, format!("unknown profile \"{word}\""), raw::suggestion(word, &known));
    }
    profile
}

/// What routers do with what a mined rule matches.
fn action(key: &str, text: &Text, findings: &mut Findings) -> Option<Action> {
    let hint = r#"write what docs/rules.md has for a rule's action, as '{"action_type": "discard"}'"#;
    let value = serde_json::from_str(text.get_ref()).map_err(|error| format!("no JSON: {error}"));
    let action = value.and_then(|value| rule_json::action_from_json(&value).map_err(|error| error.to_string()));
    match action {
        Ok(action) if !action.is_route() => return Some(action),
        Ok(route) => findings.add(text.span(), key, format!("{route} is no action of a rule"), hint),
        Err(found) => findings.add(text.span(), key, found, hint),
    }
    None
}

/// One or more of a few words.
fn some_of<T: Copy + Display + PartialEq>(
    key: &str,
    list: &Spanned<Vec<Text>>,
    known: [T; 2],
    findings: &mut Findings,
) -> Vec<T> {
    let words = known.map(|word| word.to_string());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if list.get_ref().is_empty() {
        let hint = format!("name one or more: {}; without thresholds nothing is looked at", words.join(", "));
        findings.add(list.span(), key, "an empty list", hint);
    }
    let mut found = Vec::new();
    for (index, text) in list.get_ref().iter().enumerate() {
        let (word, key) = (text.get_ref().as_str(), format!("{key}[{index}]"));
        match words.iter().position(|known| *known == word).map(|place| known[place]) {
            None => findings.add(text.span(), key, format!("unknown value \"{word}\""), raw::suggestion(word, &words)),
            Some(known) if found.contains(&known) => {
                findings.add(text.span(), key, format!("\"{word}\" twice"), "name it once");
            }
            Some(known) => found.push(known),
        }
    }
    found
}

fn thresholds(key: &str, raw: &raw::Thresholds, of_hosts: bool, findings: &mut Findings) -> List {
    let names: Vec<(String, Metric)> = Metric::ALL.iter().map(|&metric| (threshold_name(metric), metric)).collect();
    let known: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
    let mut thresholds = Vec::new();
    for (name, value) in raw {
        let key = format!("{key}.{}", name.get_ref());
        let Some(&(_, metric)) = names.iter().find(|(known, _)| known == name.get_ref()) else {
            unknown_threshold(key, name, value, &known, findings);
            continue;
        };
        if metric == Metric::FLOWS && !of_hosts {
            let hint = "take it out, or write it into `incoming` or `outgoing`";
            findings.add(name.span(), key, "flows a second are held against thresholds for single hosts alone", hint);
            continue;
        }
        let (max, factor) = match metric.unit {
            Unit::Pps => (THRESHOLD_MAX, 1),
            Unit::Bps => (THRESHOLD_MAX, 1_000_000),
            Unit::Fps => (FLOWS_MAX, 1),
        };
        match threshold(value.get_ref(), max) {
            Ok(number) => thresholds.push((metric, number.map(|number| number * factor))),
            Err((found, hint)) => findings.add(value.span(), key, found, hint),
        }
    }
    thresholds
}

fn unknown_threshold(key: String, name: &Text, value: &Spanned<toml::Value>, known: &[&str], findings: &mut Findings) {
    let word = name.get_ref();
    if known.contains(&format!("{word}_pps").as_str()) {
        let number = match value.get_ref() {
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::String(text) => spelled(text).map_or("…".to_owned(), |number| number.to_string()),
            _ => "…".to_owned(),
        };
        let hint = format!("write `{word}_pps = {number}` or `{word}_mbps = …`");
        findings.add(value.span(), key, "a threshold without a unit", hint);
    } else {
        findings.add(name.span(), key, format!("unknown key `{word}`"), raw::suggestion(word, known));
    }
}

/// The key of a metric: as the metric's own name, but with mbps, which FastNetMon users know.
pub(super) fn threshold_name(metric: Metric) -> String {
    let packets = Metric { kind: metric.kind, unit: Unit::Pps }.to_string();
    match metric.unit {
        Unit::Pps => packets,
        Unit::Bps => packets.replace("_pps", "_mbps"),
        Unit::Fps => metric.to_string(),
    }
}

/// A threshold, or none where it is off.
fn threshold(value: &toml::Value, max: i64) -> Result<Option<u64>, Complaint> {
    match value {
        toml::Value::Integer(number) if (1..=max).contains(number) => Ok(Some(*number as u64)),
        toml::Value::Integer(number) => {
            let hint = format!("write a number from 1 to {max}, or \"{OFF}\"; a threshold that is not set is off");
            Err((format!("{number} is out of range"), hint))
        }
        toml::Value::String(text) if text == OFF => Ok(None),
        toml::Value::String(text) => {
            let hint = match spelled(text) {
                Some(number) => format!("write the number in full, without quotes: {number}"),
                None => format!("write a whole number, without quotes, or \"{OFF}\""),
            };
            Err((format!("the text \"{text}\" where a number belongs"), hint))
        }
        other => Err((format!("{other} is not a whole number"), "write a whole number, without quotes".to_owned())),
    }
}

/// "20k" as 20000.
fn spelled(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}
