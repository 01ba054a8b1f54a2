//! What a replay without a configuration goes by: the thresholds of the shipped example, for networks of the command line.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;

use dataplane::packet::parse;
use ipnet::IpNet;
use toml::{Table, Value};

use super::Error;
use super::sources::Sources;
use crate::attack;
use crate::config::{self, Config, Diagnostics};

/// The name that findings about the command line carry.
const COMMAND_LINE: &str = "(command line)";
/// Networks of these lengths are told apart where nobody says what is protected.
const LENGTHS: (u8, u8) = (24, 64);
/// No more of them are looked at.
const NETWORKS_MAX: usize = 1 << 20;

/// A threshold of the command line: name and value.
pub type Threshold = (String, u64);

/// "udp_pps=1000".
pub(super) fn threshold(text: &str) -> Result<Threshold, String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, such as udp_pps=10000")?;
    let value = value.trim().parse().map_err(|_| format!("\"{value}\" is no whole number"))?;
    Ok((name.trim().to_owned(), value))
}

/// A prefix or an address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let prefix = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    prefix.map(|prefix| prefix.trunc()).ok_or_else(|| "give a prefix, such as 192.0.2.0/24".to_owned())
}

/// The example's configuration for these networks, in which these thresholds take the place of those of the same name, in both
/// directions.
pub(super) fn config(networks: &[IpNet], thresholds: &[Threshold]) -> Result<Config, Diagnostics> {
    let mut example: Table = include_str!("../../levee.toml").parse().unwrap_or_default();
    let mut table = Table::new();
    let list = |networks: &[IpNet]| networks.iter().map(|network| Value::String(network.to_string())).collect();
    table.insert("networks".to_owned(), Value::Array(list(networks)));
    if let Some(ports) = example.remove("ports") {
        table.insert("ports".to_owned(), ports);
    }
    let groups = example.remove("groups").and_then(|groups| match groups {
        Value::Table(mut groups) => groups.remove(config::DEFAULT_GROUP),
        _ => None,
    });
    let mut group = match groups {
        Some(Value::Table(group)) => group,
        _ => Table::new(),
    };
    for direction in attack::Direction::ALL {
        let entry = group.entry(direction.to_string()).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(set) = entry else { continue };
        for (name, value) in thresholds {
            set.insert(name.clone(), Value::Integer(i64::try_from(*value).unwrap_or(i64::MAX)));
        }
    }
    let groups = Table::from_iter([(config::DEFAULT_GROUP.to_owned(), Value::Table(group))]);
    table.insert("groups".to_owned(), Value::Table(groups));
    config::parse(COMMAND_LINE, table.to_string())
}

/// The network to which most packets go, and their share.
pub(super) fn busiest(files: &[PathBuf]) -> Result<Option<(IpNet, f64)>, Error> {
    let mut sources = Sources::open(files)?;
    let (mut packets, mut all, mut scratch) = (HashMap::<IpNet, u64>::new(), 0u64, Vec::new());
    while let Some((_, frame)) = sources.next()? {
        let Ok(headers) = parse(frame.as_ethernet(&mut scratch).0) else { continue };
        let address = attack::Direction::Incoming.near(&headers);
        let length = if address.is_ipv4() { LENGTHS.0 } else { LENGTHS.1 };
        let Ok(network) = IpNet::new(address, length) else { continue };
        all += 1;
        let network = network.trunc();
        if packets.len() < NETWORKS_MAX || packets.contains_key(&network) {
            *packets.entry(network).or_default() += 1;
        }
    }
    let most = packets.into_iter().max_by_key(|&(network, packets)| (packets, network));
    Ok(most.map(|(network, packets)| (network, packets as f64 / all as f64)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::{Kind, Metric, Unit};

    #[test]
    fn the_example_gives_thresholds_for_networks_of_the_command_line() {
        let networks = ["192.0.2.0/24", "2001:db8::7"].map(|text| network(text).unwrap());
        let config = config(&networks, &[threshold("udp_pps=77").unwrap()]).unwrap();
        assert_eq!(config.networks, networks);
        let of = |unit, kind| config.groups[0].thresholds.map(|set| set.get(Metric { kind, unit }));
        assert_eq!(of(Unit::Pps, Kind::Udp), [Some(77); 2]);
        assert_eq!(of(Unit::Pps, Kind::TcpSyn)[0], Some(20_000));
        assert_eq!((config.groups.len(), config.bgp.is_none()), (1, true));
    }

    #[test]
    fn what_is_wrong_on_the_command_line_is_said() {
        let found = |name: &str| config(&[network("192.0.2.0/24").unwrap()], &[(name.to_owned(), 1)]);
        let text = found("upd_pps").unwrap_err().to_string();
        assert!(text.starts_with("(command line)") && text.contains("`udp_pps`"), "{text}");
        assert!(
            threshold("udp_pps").is_err() && threshold("udp_pps=many").is_err() && network("192.0.2.0/33").is_err()
        );
        assert_eq!(network("192.0.2.9/24").unwrap().to_string(), "192.0.2.0/24");
    }
}
