//! Rules in JSON, as clients, the store and mining from files show them. Pure.
//!
//! A missing or empty list means any; lists are alternatives, keys are joined by and. Key names are those of
//! [`Component::name`].

use std::net::IpAddr;

use dataplane::packet::fragment;
use dataplane::rule::{
    Action, Bits, Component, FRAGMENT_FLAGS, FlowRule, Pass, Ranges, Redirect, TCP_FLAGS, protocol_name,
    protocol_number,
};
use ipnet::IpNet;
use serde_json::{Map, Value, json};

/// What is wrong with a rule in JSON: the key, what was found, what would be right.
#[allow(missing_docs, reason = "the messages say it")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a rule is an object such as {{\"destination_prefix\": \"192.0.2.5/32\", \"action_type\": \"discard\"}}")]
    NotAnObject,
    #[error("unknown key {0:?}: the keys are {keys}", keys = known_keys())]
    UnknownKey(String),
    #[error("{key}: {found} is wrong: {right}")]
    Wrong { key: &'static str, found: String, right: String },
    #[error("action_type is missing: give one of {ACTIONS}")]
    NoAction,
    #[error("action_type {0:?} is not supported: give one of {ACTIONS}")]
    UnsupportedAction(String),
}

/// What a mined rule says about itself beside the rule; understood so that it can be handed in as it came out.
const REMARKS: [&str; 3] = ["coverage", "collateral", "reason"];

/// The words of `action_type`.
const ACTIONS: &str = "discard, rate-limit, redirect, mark, accept, blackhole, divert";

/// Largest DSCP.
const DSCP_MAX: u64 = 63;

/// Short for "neither a first nor a later fragment".
const NOT_A_FRAGMENT: (&str, Bits) =
    ("not-a-fragment", Bits { set: 0, clear: (fragment::IS | fragment::FIRST) as u16 });

fn known_keys() -> String {
    Component::ALL.map(Component::name).join(", ") + ", action_type, action"
}

fn wrong<T>(key: &'static str, found: &Value, right: impl Into<String>) -> Result<T, Error> {
    Err(Error::Wrong { key, found: found.to_string(), right: right.into() })
}

/// The rule as an object, keys in the order of the components, then the action.
pub fn to_json(rule: &FlowRule, action: &Action) -> Value {
    let mut object = components(rule);
    let Value::Object(action) = action_to_json(action) else { return Value::Object(object) };
    object.extend(action);
    Value::Object(object)
}

/// An action by itself: `action_type` and, where there are any, its details.
pub fn action_to_json(action: &Action) -> Value {
    let (kind, details) = match action {
        Action::Discard => ("discard", Map::new()),
        Action::RateBps(rate) => ("rate-limit", Map::from_iter([("rate_bps".to_owned(), json!(rate))])),
        Action::RatePps(rate) => ("rate-limit", Map::from_iter([("rate_pps".to_owned(), json!(rate))])),
        Action::Pass(pass) => (kind_of(pass), pass_details(pass)),
        Action::Blackhole => ("blackhole", Map::new()),
        Action::Divert => ("divert", Map::new()),
    };
    let mut object = Map::from_iter([("action_type".to_owned(), json!(kind))]);
    if !details.is_empty() {
        object.insert("action".to_owned(), Value::Object(details));
    }
    Value::Object(object)
}

fn kind_of(pass: &Pass) -> &'static str {
    match (pass.redirect, pass.dscp) {
        (Some(_), _) => "redirect",
        (None, Some(_)) => "mark",
        (None, None) => "accept",
    }
}

fn pass_details(pass: &Pass) -> Map<String, Value> {
    let redirect = pass.redirect.map(|to| ("redirect_target", json!(to.to_string())));
    let mut details: Vec<(&str, Value)> = redirect.into_iter().collect();
    details.extend(pass.dscp.map(|dscp| ("dscp", json!(dscp))));
    details.extend([("sample", pass.sample), ("terminal", pass.terminal)].map(|(key, bit)| (key, json!(bit))));
    details
        .into_iter()
        .filter(|(_, value)| *value != json!(false))
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// The same without an action.
pub fn rule_to_json(rule: &FlowRule) -> Value {
    Value::Object(components(rule))
}

fn components(rule: &FlowRule) -> Map<String, Value> {
    let mut object = Map::new();
    for component in Component::ALL {
        if let Some(prefix) = rule.prefix(component) {
            object.insert(component.name().to_owned(), json!(prefix));
            continue;
        }
        let list: Vec<Value> = match (rule.ranges(component), rule.bits(component)) {
            (Some(ranges), _) => ranges.iter().map(|range| range_json(component, range)).collect(),
            (_, Some(bits)) => bits.iter().map(|&bits| json!(terms(component, bits))).collect(),
            _ => Vec::new(),
        };
        if !list.is_empty() {
            object.insert(component.name().to_owned(), Value::Array(list));
        }
    }
    object
}

fn range_json(component: Component, (low, high): (u32, u32)) -> Value {
    match protocol_name(low) {
        Some(name) if low == high && component == Component::Protocol => json!(name),
        _ if low == high => json!(low),
        _ => json!(format!("{low}-{high}")),
    }
}

fn names(component: Component) -> &'static [(&'static str, u16)] {
    if component == Component::TcpFlags { &TCP_FLAGS } else { &FRAGMENT_FLAGS }
}

fn terms(component: Component, bits: Bits) -> String {
    match component {
        Component::Fragment if bits == NOT_A_FRAGMENT.1 => NOT_A_FRAGMENT.0.to_owned(),
        _ => bits.terms(names(component)),
    }
}

/// The rule and action that the object says.
pub fn from_json(value: &Value) -> Result<(FlowRule, Action), Error> {
    let Value::Object(object) = value else { return Err(Error::NotAnObject) };
    Ok((rule(object)?, action(object)?))
}

/// The action that an object says which has nothing else.
pub fn action_from_json(value: &Value) -> Result<Action, Error> {
    let Value::Object(object) = value else { return Err(Error::NotAnObject) };
    match object.keys().find(|key| !["action_type", "action"].contains(&key.as_str())) {
        Some(key) => Err(Error::UnknownKey(key.clone())),
        None => action(object),
    }
}

/// The rule that the object says, where nobody asks for an action: one that is there is read past.
pub fn rule_from_json(value: &Value) -> Result<FlowRule, Error> {
    let Value::Object(object) = value else { return Err(Error::NotAnObject) };
    rule(object)
}

fn rule(object: &Map<String, Value>) -> Result<FlowRule, Error> {
    let mut rule = FlowRule::default();
    for (key, value) in object {
        match Component::ALL.into_iter().find(|component| component.name() == key) {
            Some(Component::DestinationPrefix) => rule.destination = prefix(Component::DestinationPrefix, value)?,
            Some(Component::SourcePrefix) => rule.source = prefix(Component::SourcePrefix, value)?,
            Some(Component::TcpFlags) => rule.tcp_flags = alternatives(Component::TcpFlags, value)?,
            Some(Component::Fragment) => rule.fragments = alternatives(Component::Fragment, value)?,
            Some(component) => {
                let ranges = list(component.name(), value)?.iter().map(|value| range(component, value));
                let ranges = ranges.collect::<Result<Ranges, Error>>()?;
                if let Some(place) = rule.ranges_mut(component) {
                    *place = ranges;
                }
            }
            None if REMARKS.contains(&&**key) || key == "action_type" || key == "action" => {}
            None => return Err(Error::UnknownKey(key.clone())),
        }
    }
    Ok(rule)
}

fn prefix(component: Component, value: &Value) -> Result<Option<IpNet>, Error> {
    let key = component.name();
    let Value::String(text) = value else { return wrong(key, value, "give a CIDR such as \"192.0.2.5/32\"") };
    match text.parse::<IpNet>() {
        Ok(net) if net == net.trunc() => Ok(Some(net)),
        Ok(net) => wrong(key, value, format!("it has bits behind its length; the network is \"{}\"", net.trunc())),
        Err(_) => match text.parse::<IpAddr>().map(IpNet::from) {
            Ok(host) => wrong(key, value, format!("give its length, such as \"{host}\"")),
            Err(_) => wrong(key, value, "give a CIDR such as \"192.0.2.5/32\" or \"2001:db8::/64\""),
        },
    }
}

fn list<'a>(key: &'static str, value: &'a Value) -> Result<&'a [Value], Error> {
    match value {
        Value::Array(list) => Ok(list),
        _ => wrong(key, value, "give a list, in brackets"),
    }
}

/// A number, a range `"LOW-HIGH"`, or the name of a protocol.
fn range(component: Component, value: &Value) -> Result<(u32, u32), Error> {
    let parsed = match value {
        Value::Number(number) => number.as_u64().map(|number| (number, number)),
        Value::String(text) => match text.split_once('-') {
            Some((low, high)) => low.parse().ok().zip(high.parse().ok()),
            None if component == Component::Protocol => {
                protocol_number(text).map(|number| (number.into(), number.into()))
            }
            None => None,
        },
        _ => None,
    };
    let largest = component.largest();
    match parsed {
        Some((low, high)) if low <= high && high <= u64::from(largest) => Ok((low as u32, high as u32)),
        Some((low, high)) if low > high => {
            wrong(component.name(), value, format!("the lower end stands first: \"{high}-{low}\""))
        }
        Some(_) => wrong(component.name(), value, format!("the largest value is {largest}")),
        None if component == Component::Protocol => wrong(
            component.name(),
            value,
            "give a name such as \"udp\", a number such as 17, or a range such as \"1-5\"",
        ),
        None => wrong(component.name(), value, "give a number such as 53, or a range such as \"1024-2047\""),
    }
}

fn alternatives(component: Component, value: &Value) -> Result<Vec<Bits>, Error> {
    let key = component.name();
    let mut all = Vec::new();
    for value in list(key, value)? {
        let Value::String(text) = value else { return wrong(key, value, "give a text such as \"syn&!ack\"") };
        let mut bits = Bits { set: 0, clear: 0 };
        for term in text.split('&') {
            let (name, negated) = term.strip_prefix('!').map_or((term, false), |name| (name, true));
            if component == Component::Fragment && term == NOT_A_FRAGMENT.0 {
                bits.clear |= NOT_A_FRAGMENT.1.clear;
                continue;
            }
            let Some(&(_, bit)) = names(component).iter().find(|&&(known, _)| known == name) else {
                let known: Vec<&str> = names(component).iter().map(|&(name, _)| name).collect();
                let extra = if component == Component::Fragment { ", and not-a-fragment" } else { "" };
                return wrong(
                    key,
                    value,
                    format!(
                        "the terms are {}{extra}, joined by &, ! before those that must be clear",
                        known.join(", ")
                    ),
                );
            };
            *(if negated { &mut bits.clear } else { &mut bits.set }) |= bit;
        }
        if bits.set & bits.clear != 0 {
            return wrong(key, value, "a term cannot be both set and clear");
        }
        all.push(bits);
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

fn action(object: &Map<String, Value>) -> Result<Action, Error> {
    let details = match object.get("action") {
        None => &Map::new(),
        Some(Value::Object(details)) => details,
        Some(other) => return wrong("action", other, "give an object such as {\"rate_bps\": 1000000}"),
    };
    let found = || Value::Object(details.clone());
    match object.get("action_type") {
        None => Err(Error::NoAction),
        Some(Value::String(kind)) if ["discard", "blackhole", "divert"].contains(&kind.as_str()) => {
            match (details.is_empty(), kind.as_str()) {
                (false, _) => wrong("action", &found(), format!("{kind} takes no action")),
                (true, "discard") => Ok(Action::Discard),
                (true, "blackhole") => Ok(Action::Blackhole),
                (true, _) => Ok(Action::Divert),
            }
        }
        Some(Value::String(kind)) if kind == "rate-limit" => {
            let only = details.iter().next().filter(|_| details.len() == 1);
            match only.map(|(key, value)| (&**key, value.as_u64())) {
                Some(("rate_bps", Some(rate))) => Ok(Action::RateBps(rate)),
                Some(("rate_pps", Some(rate))) => Ok(Action::RatePps(rate)),
                _ => wrong(
                    "action",
                    &found(),
                    "rate-limit takes {\"rate_bps\": N} or {\"rate_pps\": N}, N a whole number",
                ),
            }
        }
        Some(Value::String(kind)) if ["redirect", "mark", "accept"].contains(&kind.as_str()) => {
            pass(kind, details).map(Action::Pass)
        }
        Some(Value::String(kind)) => Err(Error::UnsupportedAction(kind.clone())),
        Some(other) => wrong("action_type", other, format!("give one of {ACTIONS}")),
    }
}

/// What is done with traffic that is let through: what its kind says, and perhaps more.
fn pass(kind: &str, details: &Map<String, Value>) -> Result<Pass, Error> {
    let mut pass = Pass::default();
    for (key, value) in details {
        match (key.as_str(), value) {
            ("redirect_target", Value::String(text)) => match text.parse() {
                Ok(to) if leads_somewhere(to) => pass.redirect = Some(to),
                _ => {
                    return wrong("action", value, "give a route target such as \"64512:100\", or a router's address");
                }
            },
            ("dscp", Value::Number(number)) if number.as_u64().is_some_and(|dscp| dscp <= DSCP_MAX) => {
                pass.dscp = number.as_u64().map(|dscp| dscp as u8);
            }
            ("sample", Value::Bool(bit)) => pass.sample = *bit,
            ("terminal", Value::Bool(bit)) => pass.terminal = *bit,
            _ => {
                let right =
                    "the keys are redirect_target (a text), dscp (0 to 63), sample and terminal (true or false)";
                return wrong("action", &Value::Object(details.clone()), right);
            }
        }
    }
    if kind_of(&pass) == kind {
        return Ok(pass);
    }
    let right = match kind {
        "redirect" => "redirect takes {\"redirect_target\": \"AS:NN\" or an address}",
        "mark" => "mark takes {\"dscp\": N}, and no redirect_target",
        _ => "accept takes no redirect_target and no dscp",
    };
    wrong("action", &Value::Object(details.clone()), right)
}

fn leads_somewhere(to: Redirect) -> bool {
    let Redirect::Ip(address) = to else { return true };
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || address != address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<(FlowRule, Action), Error> {
        from_json(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn example() {
        let text = r#"{"destination_prefix":"192.0.2.5/32","source_prefix":"198.51.100.0/24","protocols":["tcp",200,"250-255"],"source_ports":[53,"1024-2047"],"tcp_flags":["syn&!ack"],"fragmentation_flags":["not-a-fragment"],"action_type":"rate-limit","action":{"rate_bps":1000000}}"#;
        let (rule, action) = read(text).unwrap();
        let expected = FlowRule {
            destination: Some("192.0.2.5/32".parse().unwrap()),
            source: Some("198.51.100.0/24".parse().unwrap()),
            protocols: [(6, 6), (200, 200), (250, 255)].into_iter().collect(),
            source_ports: [(53, 53), (1024, 2047)].into_iter().collect(),
            tcp_flags: vec![Bits { set: 0x02, clear: 0x10 }],
            fragments: vec![Bits { set: 0, clear: 6 }],
            ..FlowRule::default()
        };
        assert_eq!((&rule, &action), (&expected, &Action::RateBps(1_000_000)));
        assert_eq!(to_json(&rule, &action).to_string(), text);
    }

    #[test]
    fn the_examples_of_the_documentation_are_rules_as_they_are_written() {
        let document = include_str!("../../docs/rules.md");
        let examples: Vec<&str> =
            document.split("```json\n").skip(1).filter_map(|rest| Some(rest.split_once("\n```")?.0)).collect();
        assert_eq!(examples.len(), 3);
        for example in examples {
            let (rule, action) = read(example).unwrap();
            assert_eq!(to_json(&rule, &action).to_string(), example);
            assert!(dataplane::rule::nlri::encode(&rule).is_ok(), "{example}");
        }
    }

    #[test]
    fn a_mined_rule_can_be_handed_in() {
        let text = r#"{"destination_prefix":"192.0.2.5/32","ports":[],"action_type":"discard","coverage":0.98,"collateral":0.0,"reason":"x"}"#;
        let (rule, action) = read(text).unwrap();
        let written = to_json(&rule, &action).to_string();
        assert_eq!(written, r#"{"destination_prefix":"192.0.2.5/32","action_type":"discard"}"#);
    }

    #[test]
    fn errors_say_key_and_cure() {
        for (text, parts) in [
            ("[]", ["an object", "destination_prefix"]),
            (r#"{"dst": 1}"#, ["\"dst\"", "destination_prefix, source_prefix"]),
            (r#"{"destination_prefix": "192.0.2.5/24"}"#, ["destination_prefix", "\"192.0.2.0/24\""]),
            (r#"{"source_prefix": "192.0.2.5"}"#, ["source_prefix", "\"192.0.2.5/32\""]),
            (r#"{"source_prefix": "here"}"#, ["source_prefix", "2001:db8::/64"]),
            (r#"{"ports": 53}"#, ["ports: 53", "list"]),
            (r#"{"ports": ["53"]}"#, ["ports: \"53\"", "a number such as 53"]),
            (r#"{"ports": [70000]}"#, ["ports: 70000", "65535"]),
            (r#"{"ports": [-1]}"#, ["ports: -1", "number"]),
            (r#"{"ports": [1.5]}"#, ["ports: 1.5", "number"]),
            (r#"{"dscps": ["9-3"]}"#, ["dscps", "\"3-9\""]),
            (r#"{"protocols": ["upd"]}"#, ["protocols: \"upd\"", "\"udp\""]),
            (r#"{"tcp_flags": ["syn|ack"]}"#, ["tcp_flags: \"syn|ack\"", "joined by &"]),
            (r#"{"tcp_flags": ["syn&!syn"]}"#, ["tcp_flags", "both"]),
            (r#"{"tcp_flags": [""]}"#, ["tcp_flags", "fin, syn"]),
            (r#"{"fragmentation_flags": ["!not-a-fragment"]}"#, ["fragmentation_flags", "is-fragment"]),
            ("{}", ["action_type is missing", "discard"]),
            (r#"{"action_type": "drop"}"#, ["\"drop\" is not supported", "rate-limit"]),
            (r#"{"action_type": "redirect"}"#, ["action", "AS:NN"]),
            (
                r#"{"action_type": "redirect", "action": {"redirect_target": "::ffff:192.0.2.1"}}"#,
                ["::ffff", "64512:100"],
            ),
            (r#"{"action_type": "redirect", "action": {"redirect_target": "0.0.0.0"}}"#, ["0.0.0.0", "address"]),
            (r#"{"action_type": "mark", "action": {"dscp": 64}}"#, ["64", "0 to 63"]),
            (r#"{"action_type": "mark", "action": {"dscp": 1, "redirect_target": "1:1"}}"#, ["mark", "no redirect"]),
            (r#"{"action_type": "accept", "action": {"dscp": 1}}"#, ["accept", "no dscp"]),
            (r#"{"action_type": "accept", "action": {"samples": true}}"#, ["samples", "terminal"]),
            (r#"{"action_type": "discard", "action": {"rate_bps": 1}}"#, ["action", "discard takes no"]),
            (r#"{"action_type": "rate-limit"}"#, ["action", "rate_pps"]),
            (r#"{"action_type": "rate-limit", "action": {"rate_bps": 1, "rate_pps": 2}}"#, ["action", "rate_pps"]),
            (r#"{"action_type": "rate-limit", "action": {"rate": 1}}"#, ["\"rate\"", "rate_bps"]),
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{text}: {message}");
        }
    }

    fn ranges(component: Component) -> impl Strategy<Value = Ranges> {
        let one = 0..=component.largest();
        prop::collection::vec((one.clone(), one, any::<bool>()), 0..4)
            .prop_map(|all| all.into_iter().map(|(a, b, single)| (a, if single { a } else { b })).collect())
    }

    fn bits(component: Component) -> impl Strategy<Value = Vec<Bits>> {
        let one = (0..=component.largest() as u16, 0..=component.largest() as u16)
            .prop_map(|(set, clear)| Bits { set, clear: clear & !set })
            .prop_filter("names no bit", |bits| bits.set | bits.clear != 0);
        prop::collection::vec(one, 0..4).prop_map(|mut all| {
            all.sort();
            all.dedup();
            all
        })
    }

    fn pass() -> impl Strategy<Value = Pass> {
        let redirect = prop_oneof![
            any::<(u16, u32)>().prop_map(|(number, value)| Redirect::As2(number, value)),
            any::<(u32, u16)>().prop_map(|(number, value)| Redirect::As4(number, value)),
            any::<([u8; 4], u16)>().prop_map(|(address, value)| Redirect::Ipv4(address.into(), value)),
            any::<u8>().prop_map(|last| Redirect::Ip([192, 0, 2, last].into())),
            any::<u16>().prop_map(|last| Redirect::Ip([0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into())),
        ];
        let parts = (prop::option::of(redirect), prop::option::of(0u8..64), any::<bool>(), any::<bool>());
        parts.prop_map(|(redirect, dscp, sample, terminal)| Pass { redirect, dscp, sample, terminal })
    }

    fn prefix() -> impl Strategy<Value = Option<IpNet>> {
        prop::option::of(prop_oneof![
            (any::<u32>(), 0..=32_u8)
                .prop_map(|(address, length)| IpNet::new(std::net::Ipv4Addr::from(address).into(), length)),
            (any::<u128>(), 0..=128_u8)
                .prop_map(|(address, length)| IpNet::new(std::net::Ipv6Addr::from(address).into(), length)),
        ])
        .prop_map(|net| net.map(|net| net.unwrap().trunc()))
    }

    proptest! {
        #[test]
        fn comes_back_as_written(
            (destination, source) in (prefix(), prefix()),
            numbers in Component::ALL.map(ranges),
            (tcp_flags, fragments) in (bits(Component::TcpFlags), bits(Component::Fragment)),
            action in prop_oneof![
                Just(Action::Discard),
                any::<u64>().prop_map(Action::RateBps),
                any::<u64>().prop_map(Action::RatePps),
                pass().prop_map(Action::Pass),
                Just(Action::Blackhole),
                Just(Action::Divert),
            ],
        ) {
            let mut rule = FlowRule { destination, source, tcp_flags, fragments, ..FlowRule::default() };
            for (component, ranges) in Component::ALL.into_iter().zip(numbers) {
                if let Some(place) = rule.ranges_mut(component) {
                    *place = ranges;
                }
            }
            let text = to_json(&rule, &action).to_string();
            prop_assert_eq!(read(&text), Ok((rule, action)));
            prop_assert_eq!(action_from_json(&action_to_json(&action)), Ok(action));
        }
    }
}
