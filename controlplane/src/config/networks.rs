//! Checks of prefixes: the protected networks, and the groups' shares of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;

use super::check::Findings;
use super::raw::Text;
use crate::attack;

/// Most protected networks, and most networks of one group.
const NETWORKS_MAX: usize = 32_000;

/// Prefixes, and where each one stands.
pub(super) type Places = HashMap<IpNet, Range<usize>>;

/// What was found, and what would be right.
pub(super) type Complaint = (String, String);

/// Reads the protected networks.
pub(super) fn protected(list: &[Text], ipv6_prefix_length: u8, findings: &mut Findings) -> (Vec<IpNet>, Places) {
    if list.is_empty() {
        let hint = "add the networks to protect before the first section: networks = [\"198.18.0.0/24\"]";
        findings.add(0..0, "networks", "no network to protect", hint);
    }
    let mut places = Places::new();
    let accept = |network| holds_whole_hosts(network, ipv6_prefix_length);
    let networks = distinct("networks", list, &mut places, findings, accept);
    (networks, places)
}

/// Reads the networks of one group. `taken` holds those of the groups before.
pub(super) fn of_group(
    key: &str,
    list: &[Text],
    (protected, ipv6_prefix_length): (&Places, u8),
    taken: &mut Places,
    findings: &mut Findings,
) -> Vec<IpNet> {
    distinct(key, list, taken, findings, |network| match within(network, protected) {
        true => holds_whole_hosts(network, ipv6_prefix_length),
        false => Err((
            format!("{network} is not within the protected networks"),
            "list it, or a network around it, in `networks` at the top".to_owned(),
        )),
    })
}

/// Reads prefixes that `accept` takes and that are not in `places` yet.
fn distinct(
    key: &str,
    list: &[Text],
    places: &mut Places,
    findings: &mut Findings,
    accept: impl Fn(IpNet) -> Result<(), Complaint>,
) -> Vec<IpNet> {
    if list.len() > NETWORKS_MAX {
        let span = list[NETWORKS_MAX].span();
        findings.add(span, key, format!("{} networks", list.len()), format!("at most {NETWORKS_MAX}: join neighbours"));
    }
    let mut networks = Vec::new();
    for (index, text) in list.iter().enumerate() {
        let new = |network| match places.get(&network) {
            Some(other) => {
                let line = findings.source.line(other);
                Err((format!("the network {network} twice"), format!("take it out here or in line {line}")))
            }
            None => accept(network).map(|()| network),
        };
        match prefix(text.get_ref()).and_then(new) {
            Ok(network) => {
                places.insert(network, text.span());
                networks.push(network);
            }
            Err((found, hint)) => findings.add(text.span(), format!("{key}[{index}]"), found, hint),
        }
    }
    networks
}

/// Counters know hosts, and no parts of them.
fn holds_whole_hosts(network: IpNet, ipv6_prefix_length: u8) -> Result<(), Complaint> {
    let host = attack::host(network.addr(), ipv6_prefix_length);
    if network.prefix_len() <= host.prefix_len() {
        return Ok(());
    }
    let key = "tables.ipv6_prefix_length";
    Err((
        format!("{network} is a part of the host {host}, as `{key}` is {ipv6_prefix_length}"),
        format!("write \"{host}\", or `{key}` of {} or more", network.prefix_len()),
    ))
}

/// Whether a prefix or one around it is in `places`.
fn within(network: IpNet, places: &Places) -> bool {
    std::iter::successors(Some(network), |network| network.supernet()).any(|around| places.contains_key(&around))
}

/// A prefix without host bits.
fn prefix(text: &str) -> Result<IpNet, Complaint> {
    if let Ok(network) = text.parse::<IpNet>() {
        let whole = network.trunc();
        if whole == network {
            return Ok(whole);
        }
        let host = IpNet::from(network.addr());
        return Err((
            format!("{text} has bits set behind its prefix length"),
            format!("write \"{whole}\" for the network, or \"{host}\" for the host"),
        ));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        let host = IpNet::from(address);
        return Err((
            format!("{text} has no prefix length"),
            format!("write \"{host}\" for this host alone, or the network's length"),
        ));
    }
    let bits = match text.split_once('/').map(|(address, _)| address.parse()) {
        Some(Ok(IpAddr::V4(_))) => "a prefix length of IPv4 is 0 to 32",
        Some(Ok(IpAddr::V6(_))) => "a prefix length of IPv6 is 0 to 128",
        _ => "write a network as \"198.18.0.0/24\" or \"2001:db8::/32\"",
    };
    Err((format!("\"{text}\" is not a network"), bits.to_owned()))
}
