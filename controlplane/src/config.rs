//! `levee.toml` into validated types: the only reader of configuration. Files only; nothing here runs anything.
//!
//! `raw` is the file as it stands, `check` turns it into the types below and collects every finding on the way, `machine`
//! holds it against the machine. Defaults stand here, in the `Default` of each section, and nowhere else.

mod bgp;
mod check;
mod diagnostics;
pub mod edit;
mod groups;
mod leaves;
mod machine;
mod mitigator;
mod networks;
mod notify;
pub mod profiles;
mod raw;
#[cfg(test)]
mod tests;
mod whitelist;

use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dataplane::dpdk;
use dataplane::packet::Reading;
use dataplane::watch::CAPTURES_MAX;
use ipnet::IpNet;
use serde::Deserialize;

use crate::actions::bgp::{Community, Mark, Route};
use crate::actions::mitigator::settings::Settings as Mitigator;
use crate::actions::notify::settings::Subscriber;
pub use crate::group::Group;
use crate::guard::Guard;
use crate::miner;
use crate::plan::memory::Misfit;
use crate::profile::Profile;
use crate::whitelist::Whitelist;
pub use check::{LOG_LEVELS, is_log_level};
use diagnostics::Source;
pub use diagnostics::{Diagnostics, Finding};
pub use leaves::{Change, Leaf, changes};
pub use machine::{check_machine, warnings};
pub use raw::suggestion;

/// The name of the group of hosts that are in no other group.
pub const DEFAULT_GROUP: &str = "default";

/// Reads and validates a configuration file. On failure every finding that one run can make.
pub fn load(path: &Path) -> Result<Config, Diagnostics> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&file, text),
        Err(error) => Err(Finding::of_file(file, error.to_string()).into()),
    }
}

/// As [`load`], for a text; `file` is the name that findings carry.
pub fn parse(file: &str, text: String) -> Result<Config, Diagnostics> {
    let source = Source { file: file.to_owned(), text };
    let raw = raw::read(&source)?;
    check::check(raw, source)
}

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The daemon itself.
    pub daemon: Daemon,
    /// DPDK's environment.
    pub dpdk: Dpdk,
    /// Where packets come from; at least one.
    pub ports: Vec<Port>,
    /// Sizes of the host tables.
    pub tables: Tables,
    /// The protected networks, without duplicates; at least one.
    pub networks: Vec<IpNet>,
    /// What routers take, where the operator says so, by name.
    pub profiles: Vec<profiles::Section>,
    /// The host groups, with what they inherit. The first one is always [`DEFAULT_GROUP`], which has no networks; one that
    /// others only inherit from is not among them.
    pub groups: Vec<Group>,
    /// When an attack begins and ends, and how much is done about it.
    pub detection: Detection,
    /// What is exempt.
    pub whitelist: Whitelist,
    /// What is kept of attacks that are over.
    pub history: History,
    /// Bounds of mining.
    pub miner: miner::Limits,
    /// Packets a second that the always-on tap takes, of all workers; 0: none.
    pub tap_per_second: u32,
    /// Where rules are announced; `None`: nowhere.
    pub bgp: Option<Bgp>,
    /// The MITIGATOR that protects hosts under attack; `None`: none does.
    pub mitigator: Option<Mitigator>,
    /// Scripts and webhooks that are told of attacks, in the order of their names.
    pub subscribers: Vec<Subscriber>,
    origin: Origin,
}

impl Config {
    /// The text that it was read from.
    pub fn text(&self) -> &str {
        &self.origin.source.text
    }

    /// A finding about a port at its place in the file, for what shows only when DPDK probes the port.
    ///
    /// # Panics
    /// If there is no port of that index.
    pub fn port_finding(&self, port_index: usize, error: &dpdk::Error) -> Diagnostics {
        let port = &self.origin.ports[port_index];
        let (key, span, hint) = match error {
            dpdk::Error::Queues { has, .. } => {
                let beyond = port.cores.get(usize::from(*has)).unwrap_or(&port.device);
                ("cores", beyond, format!("each core needs a queue: list {has} at most"))
            }
            _ => {
                let known = if self.ports[port_index].device.starts_with("net_") {
                    "a virtual device is a driver, a number and its arguments, as in net_af_packet0,iface=span0"
                } else {
                    "`dpdk-devbind.py --status` lists the devices it can use"
                };
                ("device", &port.device, format!("DPDK's own lines above say more; {known}"))
            }
        };
        let key = format!("ports[{port_index}].{key}");
        self.origin.source.finding(span.clone(), key, error.to_string(), hint).into()
    }
}

impl Config {
    /// Findings about memory, at their keys where the file has them.
    ///
    /// # Errors
    /// Where there are any.
    pub fn check_memory(&self, misfits: Vec<Misfit>) -> Result<(), Diagnostics> {
        let finding = |Misfit { key, found, hint }| {
            let place = self.origin.memory.iter().find(|(name, _)| *name == key);
            match place {
                Some((_, span)) => self.origin.source.finding(span.clone(), key, found, hint),
                None => self.origin.source.finding_at_no_line(key, found, hint),
            }
        };
        Diagnostics::none_or(misfits.into_iter().map(finding).collect())
    }
}

impl Config {
    /// The group of a host: that of the longest prefix around it, else the default one.
    pub fn group_of(&self, host: IpAddr) -> &Group {
        let prefixes = self.groups.iter().flat_map(|group| group.networks.iter().map(move |prefix| (prefix, group)));
        let around = prefixes.filter(|(prefix, _)| prefix.contains(&host));
        around.max_by_key(|(prefix, _)| prefix.prefix_len()).map_or(&self.groups[0], |(_, group)| group)
    }

    /// Whether a protected network holds the host.
    pub fn is_protected(&self, host: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&host))
    }
}

/// Where in the file things stand that can be wrong for this machine.
#[derive(Clone, Debug)]
struct Origin {
    source: Source,
    ports: Vec<PortOrigin>,
    /// Keys that say how much memory is needed; only those that the file has.
    memory: Vec<(&'static str, Range<usize>)>,
    /// Of each subscriber the files that it needs.
    files: Vec<notify::FileOrigin>,
}

#[derive(Clone, Debug)]
struct PortOrigin {
    device: Range<usize>,
    cores: Vec<Range<usize>>,
}

/// Section `[daemon]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Daemon {
    /// The Unix socket of the API.
    pub socket: PathBuf,
    /// The SQLite file.
    pub state: PathBuf,
    /// Where the log goes.
    pub log: Log,
    /// A level, or a tracing filter.
    pub log_level: String,
    /// Do all but announce.
    pub dry_run: bool,
    /// What becomes of announcements.
    pub on_shutdown: OnShutdown,
}

impl Default for Daemon {
    fn default() -> Self {
        Daemon {
            socket: "/run/levee/levee.sock".into(),
            state: "/var/lib/levee/levee.db".into(),
            log: Log::Stderr,
            log_level: "info".to_owned(),
            dry_run: false,
            on_shutdown: OnShutdown::Keep,
        }
    }
}

/// Where the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Log {
    /// Lines on standard error.
    Stderr,
    /// The systemd journal, with fields.
    Journald,
}

/// What becomes of announcements when the daemon stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnShutdown {
    /// They stay, and are reconciled at the next start.
    Keep,
    /// They are withdrawn.
    Withdraw,
}

/// Section `[dpdk]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dpdk {
    /// Whether huge pages are used.
    pub huge_pages: HugePages,
    /// Memory that EAL reserves.
    pub memory_mb: u32,
    /// EAL's name for this process's files.
    pub file_prefix: String,
    /// Packet buffers for each queue.
    pub mbufs: u32,
    /// Most packets taken from a queue at once.
    pub burst_max: u16,
    /// Further arguments for EAL.
    pub extra_args: Vec<String>,
}

impl Default for Dpdk {
    fn default() -> Self {
        Dpdk {
            huge_pages: HugePages::Auto,
            memory_mb: 512,
            file_prefix: "levee".to_owned(),
            mbufs: 16_384,
            burst_max: 128,
            extra_args: Vec::new(),
        }
    }
}

/// Whether DPDK's memory is of huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HugePages {
    /// Where there are any.
    Auto,
    /// No start without them.
    Always,
    /// Ordinary pages.
    Never,
}

/// One of `[[ports]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// A PCI address, or a DPDK virtual device with its arguments.
    pub device: String,
    /// One receive queue for each, polled by the worker that is pinned to the core.
    pub cores: Vec<u16>,
    /// Whether frames for any MAC address are received.
    pub promiscuous: bool,
    /// Receive descriptors of each queue.
    pub descriptors: u16,
    /// Largest frame payload; `None`: as the device has it.
    pub mtu: Option<u16>,
    /// How its frames are read: keys `decapsulate` and `snap_length`.
    pub reading: Reading,
}

impl Default for Port {
    fn default() -> Self {
        Port {
            device: String::new(),
            cores: Vec::new(),
            promiscuous: true,
            descriptors: 1024,
            mtu: None,
            reading: Reading::default(),
        }
    }
}

/// Section `[tables]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    /// /24 networks with traffic at the same time; `None`: as many as the protected networks can need.
    pub ipv4_blocks: Option<u32>,
    /// IPv6 hosts with traffic at the same time.
    pub ipv6_hosts: u32,
    /// An IPv6 host is a prefix of this length.
    pub ipv6_prefix_length: u8,
}

impl Default for Tables {
    fn default() -> Self {
        Tables { ipv4_blocks: None, ipv6_hosts: 65_536, ipv6_prefix_length: 128 }
    }
}

/// Section `[detection]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// Length of the window whose mean is held against the thresholds.
    pub average_calculation_time: Duration,
    /// How often thresholds are looked at.
    pub check_period: Duration,
    /// Packets of a full sample.
    pub capture_packets: u32,
    /// The same of flow exports, for collectors.
    pub capture_flow_records: u32,
    /// Most captures open at once.
    pub captures_at_once: u32,
    /// Whether a sample has only packets of the kind and direction that crossed.
    pub threshold_specific_ban_details: bool,
    /// After this time a sample that is not full is an orphan.
    pub capture_timeout: Duration,
    /// How long under the threshold until an attack is over.
    pub ban_time: Duration,
    /// Bound of the ban time when it is doubled.
    pub ban_time_max: Duration,
    /// Whether the traffic decides the end of an attack; else `ban_time` after its start in any case.
    pub unban_only_if_attack_finished: bool,
    /// Whether the tap sees the attack also while the routers filter it.
    pub tap: Tap,
    /// How long after its end an attack is taken up again at the first crossing.
    pub probation: Duration,
    /// Most rules for one target.
    pub rules_per_target: u32,
    /// A rule that matches nothing for so long is withdrawn while its attack lives on.
    pub rule_idle: Duration,
    /// Most rules at the same time.
    pub rules_in_all: u32,
    /// Most blackholes at the same time.
    pub blackholes_in_all: u32,
    /// Most attacks at the same time.
    pub attacks_at_once: u32,
}

impl Default for Detection {
    fn default() -> Self {
        Detection {
            average_calculation_time: Duration::from_millis(1000),
            check_period: Duration::from_millis(100),
            capture_packets: 500,
            capture_flow_records: 20,
            captures_at_once: CAPTURES_MAX as u32,
            threshold_specific_ban_details: false,
            capture_timeout: Duration::from_secs(120),
            ban_time: Duration::from_secs(60),
            ban_time_max: Duration::from_secs(3600),
            unban_only_if_attack_finished: true,
            tap: Tap::BeforeRouter,
            probation: Duration::from_secs(300),
            rules_per_target: 10,
            rule_idle: Duration::from_secs(60),
            rules_in_all: 1000,
            blackholes_in_all: 10,
            attacks_at_once: 256,
        }
    }
}

/// Where the traffic is mirrored, seen from the routers that filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tap {
    /// Filtered traffic is still seen.
    BeforeRouter,
    /// Filtered traffic is not seen.
    BehindRouter,
}

/// Section `[history]`.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// Attacks that were over before this time are forgotten.
    pub kept: Duration,
    /// The folder of samples; `None`: none are kept.
    pub samples: Option<PathBuf>,
    /// Most samples.
    pub samples_max: u32,
    /// Most megabytes of samples.
    pub samples_mb: u32,
}

impl Default for History {
    fn default() -> Self {
        History { kept: Duration::from_secs(90 * 86_400), samples: None, samples_max: 1_000, samples_mb: 100 }
    }
}

/// Section `[bgp]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Bgp {
    /// A large community on every route of this Levee instance, and on no other.
    pub mark: Mark,
    /// How blackholes are announced.
    pub blackhole: Route,
    /// How diversions are.
    pub divert: Route,
    /// What is never announced, and how wide routes are.
    pub guard: Guard,
    /// Most routes announced within a second.
    pub rules_per_second: u32,
    /// The GoBGP daemons; at least one.
    pub engines: Vec<Engine>,
}

impl Bgp {
    /// What routers of each engine take.
    pub fn profiles(&self) -> impl Iterator<Item = &Profile> {
        self.engines.iter().map(|engine| &engine.profile)
    }
}

/// One of `[[bgp.engines]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Engine {
    /// What people call it.
    pub name: String,
    /// Where its API listens.
    pub address: EngineAddress,
    /// Further communities of every route.
    pub communities: Vec<Community>,
    /// What all its routers take.
    pub profile: Profile,
}

/// Where a GoBGP daemon's API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// `http://HOST:PORT`.
    Http(String),
}
