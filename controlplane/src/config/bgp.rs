//! Checks of `[bgp]`: the mark, the engines, their communities.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use dataplane::rule::Redirect;
use serde_spanned::Spanned;

use super::check::Findings;
use super::profiles::Section;
use super::raw::{self, Text};
use super::{Bgp, Engine, EngineAddress, networks};
use crate::actions::bgp::{Community, Mark, NextHops, Route};
use crate::guard::Guard;

/// Most networks that nothing is announced for: each rule is held against all of them.
const NEVER_MAX: usize = 1000;
/// As many as a GoBGP passes on within a second.
const RULES_PER_SECOND: u32 = 1000;
const RULES_PER_SECOND_MAX: u32 = 100_000;

/// Communities with a name (RFC 1997, RFC 7999).
const WELL_KNOWN: [(&str, u32); 4] = [
    ("blackhole", 0xffff_029a),
    ("no-export", 0xffff_ff01),
    ("no-advertise", 0xffff_ff02),
    ("no-export-subconfed", 0xffff_ff03),
];

/// Reads the section.
pub(super) fn bgp(raw: &raw::Bgp, profiles: &[Section], findings: &mut Findings) -> Bgp {
    if raw.engines.is_empty() {
        let hint = "add a section [[bgp.engines]], or take [bgp] out";
        findings.add(raw.mark.span(), "bgp.engines", "BGP without an engine", hint);
    }
    let mut names = HashMap::new();
    let mut engines = Vec::new();
    for (index, raw) in raw.engines.iter().enumerate() {
        let key = format!("bgp.engines[{index}]");
        let name = raw.name.get_ref();
        if name.is_empty() {
            findings.add(raw.name.span(), format!("{key}.name"), "an empty name", "name the engine, such as \"edge\"");
        } else if let Some(other) = names.insert(name, raw.name.span()) {
            let hint = format!("the engine in line {} has this name; give another", findings.source.line(&other));
            findings.add(raw.name.span(), format!("{key}.name"), format!("the name \"{name}\" twice"), hint);
        }
        engines.push(engine(&key, raw, profiles, findings));
    }
    let route = |name: &str, next_hops: &[Text], more: &[Text], findings: &mut Findings| Route {
        next_hops: self::next_hops(&format!("bgp.{name}_next_hops"), next_hops, findings),
        communities: communities(&format!("bgp.{name}_communities"), more, findings),
    };
    let default = Guard::default();
    let any = |_| Ok(());
    Bgp {
        mark: mark(&raw.mark, findings),
        blackhole: route("blackhole", &raw.blackhole_next_hops, &raw.blackhole_communities, findings),
        divert: route("divert", &raw.divert_next_hops, &raw.divert_communities, findings),
        guard: Guard {
            shortest: lengths("bgp.shortest_lengths", &raw.shortest_lengths, default.shortest, findings),
            blackhole: lengths("bgp.blackhole_lengths", &raw.blackhole_lengths, default.blackhole, findings),
            divert: lengths("bgp.divert_lengths", &raw.divert_lengths, default.divert, findings),
            never: networks::of_whitelist("bgp.never_announce", &raw.never_announce, NEVER_MAX, findings, any),
        },
        rules_per_second: findings.number(
            "bgp.rules_per_second",
            &raw.rules_per_second,
            RULES_PER_SECOND,
            1..=RULES_PER_SECOND_MAX,
        ),
        engines,
    }
}

/// A prefix length for IPv4 and one for IPv6.
fn lengths(key: &str, raw: &Option<Spanned<Vec<raw::Number>>>, default: [u8; 2], findings: &mut Findings) -> [u8; 2] {
    let Some(list) = raw else { return default };
    let [v4, v6] = list.get_ref().as_slice() else {
        let hint = format!("write one for IPv4 and one for IPv6: [{}, {}]", default[0], default[1]);
        findings.add(list.span(), key, format!("{} lengths", list.get_ref().len()), hint);
        return default;
    };
    let mut length = |index: usize, number: &raw::Number, longest| {
        findings.number(&format!("{key}[{index}]"), &Some(number.clone()), default[index], 1..=longest)
    };
    [length(0, v4, 32), length(1, v6, 128)]
}

/// One address of each family at most, that a route can lead to.
fn next_hops(key: &str, raw: &[Text], findings: &mut Findings) -> NextHops {
    let mut next_hops = NextHops::default();
    for (index, text) in raw.iter().enumerate() {
        let key = format!("{key}[{index}]");
        let is_good = |address: &IpAddr| NextHops::is_good(*address);
        let twice = match text.get_ref().parse::<IpAddr>().ok().filter(is_good) {
            Some(IpAddr::V4(address)) => next_hops.v4.replace(address).is_some(),
            Some(IpAddr::V6(address)) => next_hops.v6.replace(address).is_some(),
            None => {
                let found = format!("\"{}\" is no address that a route can lead to", text.get_ref());
                findings.add(text.span(), key, found, "write an address of your network, such as \"192.0.2.66\"; for blackholes one that your routers discard");
                continue;
            }
        };
        if twice {
            findings.add(text.span(), key, "a second next hop of its family", "name one of each family at most");
        }
    }
    next_hops
}

/// The ASNs that RFC 8092 keeps out of large communities are refused, so that no router drops the mark.
fn mark(raw: &Text, findings: &mut Findings) -> Mark {
    match large(raw.get_ref()) {
        Some(mark) if ![0, 65_535, u32::MAX].contains(&mark[0]) => Mark(mark),
        _ => {
            let found = format!("\"{}\" is not a large community", raw.get_ref());
            let hint = "write AS:NUMBER:NUMBER with your own AS number, such as \"64512:7653:1\"";
            findings.add(raw.span(), "bgp.mark", found, hint);
            Mark([0; 3])
        }
    }
}

fn engine(key: &str, raw: &raw::Engine, profiles: &[Section], findings: &mut Findings) -> Engine {
    let address = address(raw.address.get_ref()).unwrap_or_else(|| {
        let found = format!("\"{}\" is not an address of GoBGP's API", raw.address.get_ref());
        let hint = "write \"unix:///run/gobgp/gobgp.sock\" or \"http://127.0.0.1:50051\"";
        findings.add(raw.address.span(), format!("{key}.address"), found, hint);
        EngineAddress::Http(String::new())
    });
    let named = |name| super::groups::profile(&format!("{key}.profile"), name, profiles, findings);
    let profile = raw.profile.as_ref().and_then(named).unwrap_or_default();
    let communities = communities(&format!("{key}.communities"), &raw.communities, findings);
    Engine { name: raw.name.get_ref().clone(), address, communities, profile }
}

fn communities(key: &str, raw: &[Text], findings: &mut Findings) -> Vec<Community> {
    let mut communities = Vec::new();
    for (index, text) in raw.iter().enumerate() {
        match community(text.get_ref()) {
            Some(community) => communities.push(community),
            None => {
                let names = WELL_KNOWN.map(|(name, _)| name).join(", ");
                let found = format!("\"{}\" is not a community", text.get_ref());
                let hint = format!(
                    "write \"64512:100\", a large one as \"64512:100:1\", an extended one as \"rt:64512:100\", \"ro:64512:100\" or \
                     \"0x\" and 16 digits, or {names}"
                );
                findings.add(text.span(), format!("{key}[{index}]"), found, hint);
            }
        }
    }
    communities
}

fn address(text: &str) -> Option<EngineAddress> {
    if let Some(path) = text.strip_prefix("unix://") {
        return Path::new(path).is_absolute().then(|| EngineAddress::Unix(path.into()));
    }
    let (host, port) = text.strip_prefix("http://")?.trim_end_matches('/').rsplit_once(':')?;
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
    let good = !host.is_empty() && host.chars().all(is_host) && port.parse::<u16>().is_ok_and(|port| port > 0);
    good.then(|| EngineAddress::Http(format!("http://{host}:{port}")))
}

fn community(text: &str) -> Option<Community> {
    if let Some((_, value)) = WELL_KNOWN.iter().find(|(name, _)| *name == text) {
        return Some(Community::Standard(*value));
    }
    if let Some(large) = large(text) {
        return Some(Community::Large(large));
    }
    if let Some(octets) = extended(text) {
        return Some(Community::Extended(octets));
    }
    let (high, low) = text.split_once(':')?;
    Some(Community::Standard(u32::from(number::<u16>(high)?) << 16 | u32::from(number::<u16>(low)?)))
}

/// A route target or route origin of RFC 4360 and 5668, or any by its octets.
fn extended(text: &str) -> Option<[u8; 8]> {
    if let Some(digits) = text.strip_prefix("0x") {
        let is_hex = digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        return u64::from_str_radix(digits, 16).ok().filter(|_| is_hex).map(u64::to_be_bytes);
    }
    let (kind, rest) = text.split_once(':')?;
    let subtype = match kind {
        "rt" => 0x02,
        "ro" => 0x03,
        _ => return None,
    };
    let (kind, [a, b, c, d, e, f]) = match rest.parse().ok()? {
        Redirect::As2(number, value) => (0x00, concat(number.to_be_bytes(), value.to_be_bytes())),
        Redirect::Ipv4(address, value) => (0x01, concat(address.octets(), value.to_be_bytes())),
        Redirect::As4(number, value) => (0x02, concat(number.to_be_bytes(), value.to_be_bytes())),
        Redirect::Ip(_) => return None,
    };
    Some([kind, subtype, a, b, c, d, e, f])
}

fn concat<const A: usize, const B: usize>(first: [u8; A], second: [u8; B]) -> [u8; 6] {
    std::array::from_fn(|at| if at < A { first[at] } else { second[at - A] })
}

fn large(text: &str) -> Option<[u32; 3]> {
    let parts: Vec<u32> = text.split(':').map(number).collect::<Option<_>>()?;
    parts.try_into().ok()
}

/// Digits alone: Rust would take a plus sign too.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}
