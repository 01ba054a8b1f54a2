//! Mining from capture files: what an operator tries before trusting the box. Reads files, prints; no device, no daemon.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use dataplane::packet::Headers;
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::attack::{self, Direction, Target, Unit};
use crate::capture_file::{self, Packet};
use crate::config::Config;
use crate::miner::{self, Limits, Outcome, Peace, Task, Whose};
use crate::profile::Profile;
use crate::rule_json;
use crate::whitelist::Whitelist;

/// Fewer packets than these say too little about a host: then its group stands for it.
const OWN_LEAST: usize = 30;
/// Without a configuration, hosts of the same network are the group.
const NEIGHBOURS: (u8, u8) = (24, 64);

/// What to mine.
#[derive(clap::Args, Clone, Debug)]
pub struct Mine {
    /// What a capture would hold: packets of the attack and of the host's own traffic, mixed. pcap or pcapng.
    #[arg(long)]
    pub attack: PathBuf,
    /// What the host, or hosts like it, received in peace.
    #[arg(long)]
    pub baseline: Option<PathBuf>,
    /// The target, an address or a prefix. Without it: the busiest destination.
    #[arg(long)]
    pub host: Option<String>,
    /// Limits, routers and groups as this file has them.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Which way the attack goes, seen from the host.
    #[arg(long, value_enum, default_value = "incoming")]
    pub direction: Way,
    /// What is to be covered.
    #[arg(long, value_enum, default_value = "packets")]
    pub by: By,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

/// A direction on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Way {
    Incoming,
    Outgoing,
}

/// A unit on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum By {
    Packets,
    Bytes,
}

/// Why nothing could be mined.
#[allow(missing_docs, reason = "the messages say it")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: capture_file::Error },
    #[error("--host {0:?} is wrong: give an address such as 192.0.2.5, or a prefix such as 192.0.2.0/24")]
    Host(String),
    #[error("{}: no packet of it goes {way} {host}", path.display())]
    NoPackets { path: PathBuf, way: &'static str, host: String },
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Report {
    target: Target,
    by: Unit,
    packets: usize,
    baseline: usize,
    whose: Whose,
    outcome: Outcome,
    elapsed: Duration,
}

/// Mines from files.
///
/// # Errors
/// When a file is no capture, or has nothing of the host.
pub fn mine(arguments: &Mine, config: Option<&Config>) -> Result<Report, Error> {
    let read = |path: &PathBuf| {
        let read = capture_file::read(path);
        read.map(|file| file.packets).map_err(|source| Error::File { path: path.clone(), source })
    };
    let packets = read(&arguments.attack)?;
    let baseline = arguments.baseline.as_ref().map(read).transpose()?.unwrap_or_default();
    let direction = match arguments.direction {
        Way::Incoming => Direction::Incoming,
        Way::Outgoing => Direction::Outgoing,
    };
    let by = match arguments.by {
        By::Packets => Unit::Pps,
        By::Bytes => Unit::Bps,
    };
    let none = |host: &str| Error::NoPackets {
        path: arguments.attack.clone(),
        way: if direction == Direction::Incoming { "to" } else { "from" },
        host: host.to_owned(),
    };
    let prefix = match &arguments.host {
        Some(text) => {
            let prefix = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            prefix.ok_or_else(|| Error::Host(text.clone()))?.trunc()
        }
        None => {
            let length = config.map_or(128, |config| config.tables.ipv6_prefix_length);
            busiest(&packets, direction, by, length).ok_or_else(|| none("anyone"))?
        }
    };
    let target = Target { prefix, direction };
    let is_of = |packet: &&Packet| prefix.contains(&direction.near(&packet.headers));
    let sample: Vec<Headers> = packets.iter().filter(is_of).map(|packet| packet.headers).collect();
    if sample.is_empty() {
        return Err(none(&prefix.to_string()));
    }
    let peace = peace(&baseline, &target, config);
    let profile = config.map_or_else(Profile::default, |config| config.group_of(prefix.addr()).profile.clone());
    let none = Whitelist::default();
    let limits = config.map_or_else(Limits::default, |config| config.miner);
    let whitelist = config.map_or(&none, |config| &config.whitelist);
    let times = || packets.iter().filter(is_of).map(|packet| packet.time_us);
    let seconds = times().max().unwrap_or(0).saturating_sub(times().min().unwrap_or(0)) as f64 / 1e6;
    let task =
        Task { target, by, sample: &sample, seconds, peace: &peace, profile: &profile, limits: &limits, whitelist };
    let started = Instant::now();
    let outcome = miner::mine(&task);
    let elapsed = started.elapsed();
    Ok(Report {
        target,
        by,
        packets: sample.len(),
        baseline: peace.packets.len(),
        whose: peace.whose,
        outcome,
        elapsed,
    })
}

fn busiest(packets: &[Packet], direction: Direction, by: Unit, ipv6_prefix_length: u8) -> Option<IpNet> {
    let mut hosts: HashMap<IpNet, u64> = HashMap::new();
    for packet in packets {
        let host = attack::host(direction.near(&packet.headers), ipv6_prefix_length);
        *hosts.entry(host).or_default() += if by == Unit::Bps { packet.headers.ip_length.into() } else { 1 };
    }
    hosts.into_iter().max_by_key(|&(host, weight)| (weight, host)).map(|(host, _)| host)
}

/// What a file says of the target in peace; where that is too little, what it says of its group.
fn peace(packets: &[Packet], target: &Target, config: Option<&Config>) -> Peace {
    let near = |packet: &Packet| target.direction.near(&packet.headers);
    let of_target = |packet: &Packet| target.prefix.contains(&near(packet));
    let whose = match packets.iter().filter(|packet| of_target(packet)).take(OWN_LEAST).count() {
        OWN_LEAST.. => Whose::Target,
        _ => Whose::Group,
    };
    let of_group: Box<dyn Fn(&Packet) -> bool> = match config {
        _ if whose == Whose::Target => Box::new(of_target),
        Some(config) => {
            let group = config.group_of(target.prefix.addr()).name.clone();
            Box::new(move |packet| config.is_protected(near(packet)) && config.group_of(near(packet)).name == group)
        }
        None => {
            let address = target.prefix.addr();
            let length = if address.is_ipv4() { NEIGHBOURS.0 } else { NEIGHBOURS.1 };
            let around = IpNet::new(address, length.min(target.prefix.prefix_len())).ok().map(|net| net.trunc());
            Box::new(move |packet| around.is_some_and(|around| around.contains(&near(packet))))
        }
    };
    let chosen: Vec<&Packet> = packets.iter().filter(|packet| of_group(packet)).collect();
    let first_us = chosen.iter().map(|packet| packet.time_us).min().unwrap_or(0);
    let second =
        |packet: &&Packet| (packet.time_us.saturating_sub(first_us) / 1_000_000).try_into().unwrap_or(u32::MAX);
    Peace {
        seconds: chosen.iter().map(second).collect(),
        packets: chosen.iter().map(|packet| packet.headers).collect(),
        one_in: 1.0,
        whose,
    }
}

impl Report {
    /// As programs read it.
    pub fn to_json(&self) -> Value {
        let rules: Vec<Value> = self
            .outcome
            .rules
            .iter()
            .map(|mined| {
                let mut rule = rule_json::to_json(&mined.rule, &mined.action);
                rule["coverage"] = json!(mined.coverage);
                rule["collateral"] = json!(mined.collateral);
                rule["reason"] = json!(mined.reason);
                rule
            })
            .collect();
        json!({
            "target": self.target.prefix,
            "direction": self.target.direction,
            "packets": self.packets,
            "baseline_packets": self.baseline,
            "rules": rules,
            "uncovered": self.outcome.uncovered,
            "note": self.outcome.note,
            "elapsed_ms": self.elapsed.as_secs_f64() * 1000.0,
        })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match (self.baseline, self.whose) {
            (0, _) => "no baseline".to_owned(),
            (packets, Whose::Target) => format!("{packets} packets of its baseline"),
            (packets, Whose::Group) => format!("{packets} packets of its group's baseline"),
        };
        writeln!(f, "{}: {} packets, {whose}", self.target, self.packets)?;
        for mined in &self.outcome.rules {
            writeln!(f, "\n{}: {}\n    {}", mined.action, mined.rule, mined.reason)?;
        }
        let unit = if self.by == Unit::Bps { "bytes" } else { "packets" };
        let (uncovered, ms) = (self.outcome.uncovered * 100.0, self.elapsed.as_secs_f64() * 1000.0);
        write!(f, "\n{uncovered:.1} % of the sample's {unit} are covered by no rule; mined in {ms:.1} ms")?;
        match self.outcome.note.as_str() {
            "" => Ok(()),
            note => write!(f, "\n{note}"),
        }
    }
}
