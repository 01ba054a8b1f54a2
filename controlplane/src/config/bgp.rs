//! Checks of `[bgp]`: the mark, the engines, their communities.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use super::check::Findings;
use super::raw::{self, Text};
use super::{Bgp, Engine, EngineAddress};
use crate::actions::bgp::{Community, Mark, NextHops};

/// Communities with a name (RFC 1997, RFC 7999).
const WELL_KNOWN: [(&str, u32); 4] = [
    ("blackhole", 0xffff_029a),
    ("no-export", 0xffff_ff01),
    ("no-advertise", 0xffff_ff02),
    ("no-export-subconfed", 0xffff_ff03),
];

/// Reads the section.
pub(super) fn bgp(raw: &raw::Bgp, findings: &mut Findings) -> Bgp {
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
        engines.push(engine(&key, raw, findings));
    }
    Bgp { mark: mark(&raw.mark, findings), blackhole_next_hops: next_hops(&raw.blackhole_next_hops, findings), engines }
}

/// One address of each family at most, that a route can lead to.
fn next_hops(raw: &[Text], findings: &mut Findings) -> NextHops {
    let mut next_hops = NextHops::default();
    for (index, text) in raw.iter().enumerate() {
        let key = format!("bgp.blackhole_next_hops[{index}]");
        let is_host = |address: &IpAddr| {
            !address.is_unspecified()
                && !address.is_multicast()
                && !address.is_loopback()
                && *address == address.to_canonical()
        };
        let twice = match text.get_ref().parse::<IpAddr>().ok().filter(is_host) {
            Some(IpAddr::V4(address)) => next_hops.v4.replace(address).is_some(),
            Some(IpAddr::V6(address)) => next_hops.v6.replace(address).is_some(),
            None => {
                let found = format!("\"{}\" is no address that a route can lead to", text.get_ref());
                findings.add(
                    text.span(),
                    key,
                    found,
                    "write an address that your routers discard, such as \"192.0.2.66\"",
                );
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

fn engine(key: &str, raw: &raw::Engine, findings: &mut Findings) -> Engine {
    let address = address(raw.address.get_ref()).unwrap_or_else(|| {
        let found = format!("\"{}\" is not an address of GoBGP's API", raw.address.get_ref());
        let hint = "write \"unix:///run/gobgp/gobgp.sock\" or \"http://127.0.0.1:50051\"";
        findings.add(raw.address.span(), format!("{key}.address"), found, hint);
        EngineAddress::Http(String::new())
    });
    let mut communities = Vec::new();
    for (index, text) in raw.communities.iter().enumerate() {
        match community(text.get_ref()) {
            Some(community) => communities.push(community),
            None => {
                let names = WELL_KNOWN.map(|(name, _)| name).join(", ");
                let found = format!("\"{}\" is not a community", text.get_ref());
                let hint = format!("write \"64512:100\", a large one as \"64512:100:1\", or {names}");
                findings.add(text.span(), format!("{key}.communities[{index}]"), found, hint);
            }
        }
    }
    Engine { name: raw.name.get_ref().clone(), address, communities }
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
    let (high, low) = text.split_once(':')?;
    Some(Community::Standard(u32::from(number::<u16>(high)?) << 16 | u32::from(number::<u16>(low)?)))
}

fn large(text: &str) -> Option<[u32; 3]> {
    let parts: Vec<u32> = text.split(':').map(number).collect::<Option<_>>()?;
    parts.try_into().ok()
}

/// Digits alone: Rust would take a plus sign too.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}
