//! A Flow Spec rule in JSON, and which packets it matches. Written from the description of the format alone.

use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde_json::Value;

use super::headers::Headers;

/// What is wrong with a rule's JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {found} is not understood")]
pub struct Misread {
    key: &'static str,
    found: String,
}

/// What becomes of the packets that match.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// They are gone (also when they are redirected: to the host nothing comes).
    Drop,
    /// So many packets a second pass.
    Pps(f64),
    /// So many bits a second pass.
    Bps(f64),
    /// They pass.
    Pass,
}

type Ranges = Vec<RangeInclusive<u64>>;
/// One alternative of a bit component: names, and whether each must be set.
type Terms = Vec<(String, bool)>;

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    destination: Option<IpNet>,
    source: Option<IpNet>,
    numbers: Vec<(&'static str, Ranges)>,
    tcp_flags: Vec<Terms>,
    fragments: Vec<Terms>,
    /// What becomes of the packets.
    pub action: Action,
}

/// Lists of numbers, and the largest number in each.
const NUMBERS: [(&str, u64); 9] = [
    ("protocols", 255),
    ("ports", 65_535),
    ("source_ports", 65_535),
    ("destination_ports", 65_535),
    ("icmp_types", 255),
    ("icmp_codes", 255),
    ("packet_lengths", 65_535 + 40),
    ("dscps", 63),
    ("flow_labels", 0xf_ffff),
];
const PROTOCOLS: [(&str, u64); 17] = [
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", 132),
    ("udplite", 136),
];
const FLAGS: [(&str, u16); 10] = [
    ("fin", 1),
    ("syn", 2),
    ("rst", 4),
    ("push", 8),
    ("psh", 8),
    ("ack", 16),
    ("urg", 32),
    ("ece", 64),
    ("cwr", 128),
    ("ns", 256),
];
const FRAGMENT_FLAGS: [&str; 5] = ["dont-fragment", "is-fragment", "first-fragment", "last-fragment", "not-a-fragment"];
/// What every router known takes: items in one component, where a range is two; bytes of the whole rule.
const ITEMS_MAX: usize = 5;
const NLRI_MAX: usize = 238;

fn misread<T>(key: &'static str, found: &Value) -> Result<T, Misread> {
    Err(Misread { key, found: found.to_string() })
}

fn list<'a>(rule: &'a Value, key: &'static str) -> Result<&'a [Value], Misread> {
    match rule.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(other) => misread(key, other),
    }
}

fn prefix(rule: &Value, key: &'static str) -> Result<Option<IpNet>, Misread> {
    match rule.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_str().and_then(|text| text.parse::<IpNet>().ok()) {
            Some(net) if net == net.trunc() => Ok(Some(net)),
            _ => misread(key, value),
        },
    }
}

fn range(key: &'static str, most: u64, value: &Value) -> Result<RangeInclusive<u64>, Misread> {
    let number = |text: &str| -> Option<u64> {
        let named = PROTOCOLS.iter().find(|(name, _)| key == "protocols" && *name == text).map(|&(_, number)| number);
        named.or_else(|| text.parse().ok())
    };
    let read = match value {
        Value::Number(value) => value.as_u64().map(|value| value..=value),
        Value::String(text) => match text.split_once('-') {
            Some((low, high)) => number(low).zip(number(high)).map(|(low, high)| low..=high),
            None => number(text).map(|value| value..=value),
        },
        _ => None,
    };
    match read {
        Some(range) if range.start() <= range.end() && *range.end() <= most => Ok(range),
        _ => misread(key, value),
    }
}

fn terms(rule: &Value, key: &'static str, known: impl Fn(&str) -> bool) -> Result<Vec<Terms>, Misread> {
    let alternative = |value: &Value| -> Result<Terms, Misread> {
        let Some(text) = value.as_str() else { return misread(key, value) };
        let term = |term: &str| match term.trim().strip_prefix('!') {
            Some(name) => (name.trim().to_owned(), false),
            None => (term.trim().to_owned(), true),
        };
        let terms: Terms = text.split('&').map(term).collect();
        if terms.iter().all(|(name, _)| known(name)) { Ok(terms) } else { misread(key, value) }
    };
    list(rule, key)?.iter().map(alternative).collect()
}

fn action(rule: &Value) -> Result<Action, Misread> {
    let kind = rule.get("action_type").unwrap_or(&Value::Null);
    let rate = |key: &str| rule.get("action").and_then(|action| action.get(key)).and_then(Value::as_f64);
    match kind.as_str() {
        Some("discard" | "redirect") => Ok(Action::Drop),
        Some("mark" | "accept") => Ok(Action::Pass),
        Some("rate-limit") => match (rate("rate_pps"), rate("rate_bps")) {
            (Some(pps), None) => Ok(Action::Pps(pps)),
            (None, Some(bps)) => Ok(Action::Bps(bps)),
            _ => misread("action", rule.get("action").unwrap_or(&Value::Null)),
        },
        _ => misread("action_type", kind),
    }
}

impl Rule {
    /// Reads a rule. Keys that are no component are remarks.
    ///
    /// # Errors
    /// When a value is not what the format says.
    pub fn from_json(rule: &Value) -> Result<Rule, Misread> {
        let mut numbers = Vec::new();
        for (key, most) in NUMBERS {
            let ranges = list(rule, key)?.iter().map(|value| range(key, most, value)).collect::<Result<Ranges, _>>()?;
            if !ranges.is_empty() {
                numbers.push((key, ranges));
            }
        }
        Ok(Rule {
            destination: prefix(rule, "destination_prefix")?,
            source: prefix(rule, "source_prefix")?,
            numbers,
            tcp_flags: terms(rule, "tcp_flags", |name| FLAGS.iter().any(|(flag, _)| *flag == name))?,
            fragments: terms(rule, "fragmentation_flags", |name| FRAGMENT_FLAGS.contains(&name))?,
            action: action(rule)?,
        })
    }

    /// Whether it matches the packet.
    pub fn matches(&self, packet: &Headers) -> bool {
        let within = |net: Option<IpNet>, address| net.is_none_or(|net| net.contains(&address));
        within(self.destination, packet.destination)
            && within(self.source, packet.source)
            && self.numbers.iter().all(|(key, ranges)| {
                let holds = |value: u64| ranges.iter().any(|range| range.contains(&value));
                values(key, packet).into_iter().flatten().any(holds)
            })
            && (self.tcp_flags.is_empty()
                || packet.tcp_flags.is_some_and(|flags| any(&self.tcp_flags, |name| has_flag(flags, name))))
            && (self.fragments.is_empty() || any(&self.fragments, |name| is_part(packet, name)))
    }

    /// Components beside the destination.
    pub fn components(&self) -> usize {
        self.numbers.len()
            + usize::from(self.source.is_some())
            + usize::from(!self.tcp_flags.is_empty())
            + usize::from(!self.fragments.is_empty())
    }

    /// Why routers or operators would not have it, if so.
    pub fn fault(&self, target: IpNet) -> Option<String> {
        if !self.destination.is_some_and(|net| target.contains(&net)) {
            return Some(format!("its destination is not within {target}"));
        }
        if self.source.is_some_and(|net| net.addr().is_ipv6() != target.addr().is_ipv6()) {
            return Some("its source is of the other family".into());
        }
        let items = |ranges: &Ranges| ranges.iter().map(|range| if range.start() == range.end() { 1 } else { 2 }).sum();
        let counts: Vec<usize> = self.numbers.iter().map(|(_, ranges)| items(ranges)).collect();
        if counts.iter().any(|&count| count > ITEMS_MAX) || self.tcp_flags.len().max(self.fragments.len()) > ITEMS_MAX {
            return Some(format!("more than {ITEMS_MAX} items in a component"));
        }
        let is_v6 = target.addr().is_ipv6();
        if is_v6 && self.fragments.iter().flatten().any(|(name, _)| name == "dont-fragment") {
            return Some("dont-fragment in IPv6".into());
        }
        if !is_v6 && self.numbers.iter().any(|(key, _)| *key == "flow_labels") {
            return Some("a flow label in IPv4".into());
        }
        let bytes = counts.iter().map(|count| 1 + 5 * count).sum::<usize>() + 40;
        (bytes > NLRI_MAX).then(|| format!("longer than {NLRI_MAX} bytes"))
    }
}

/// What the list of this name looks at: no value, one, or either port.
fn values(key: &str, packet: &Headers) -> [Option<u64>; 2] {
    let ports = packet.ports.map(|(from, to)| (u64::from(from), u64::from(to)));
    let (from, to) = (ports.map(|(from, _)| from), ports.map(|(_, to)| to));
    match key {
        "protocols" => [Some(packet.protocol.into()), None],
        "ports" => [from, to],
        "source_ports" => [from, None],
        "destination_ports" => [to, None],
        "icmp_types" => [packet.icmp.map(|(kind, _)| kind.into()), None],
        "icmp_codes" => [packet.icmp.map(|(_, code)| code.into()), None],
        "packet_lengths" => [Some(packet.length.into()), None],
        "dscps" => [Some(packet.dscp.into()), None],
        _ => [packet.flow_label.map(u64::from), None],
    }
}

fn any(alternatives: &[Terms], holds: impl Fn(&str) -> bool) -> bool {
    alternatives.iter().any(|terms| terms.iter().all(|(name, wanted)| holds(name) == *wanted))
}

fn has_flag(flags: u16, name: &str) -> bool {
    FLAGS.iter().any(|&(flag, bit)| flag == name && flags & bit != 0)
}

fn is_part(packet: &Headers, name: &str) -> bool {
    match name {
        "dont-fragment" => packet.dont_fragment,
        "is-fragment" => packet.is_fragment,
        "first-fragment" => !packet.is_fragment && packet.more_follow,
        "last-fragment" => packet.is_fragment && !packet.more_follow,
        _ => !packet.is_fragment && !packet.more_follow,
    }
}
