//! A configuration as keys and values, with every default and all that groups inherit; and how two of them differ. No key
//! holds a secret.

mod mitigator;
mod notify;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use super::groups::threshold_name;
use super::{Config, EngineAddress, HugePages, Log, OnShutdown, Tap};
use crate::actions::bgp::{Community, NextHops, Route};
use crate::attack::{Direction, Metric, Unit};
use crate::group::LastResort;
use crate::rule_json;
use dataplane::packet::Tunnel;

/// Keys that are read at the start alone: these, and all below them.
const AT_START: [&str; 6] = ["daemon.socket", "daemon.state", "daemon.log", "dpdk", "ports", "tables"];

/// A key and what it says, as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Dotted: `bgp.engines[0].name`.
    pub key: String,
    /// One value; of a list each.
    pub values: Vec<String>,
    /// Whether it is a list.
    pub is_list: bool,
}

/// A key that says something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// What it said; of a list an element that went. None: it was not there.
    pub old: Option<String>,
    /// What it says; of a list an element that came. None: it is there no more.
    pub new: Option<String>,
    /// Why it takes a restart, if it does.
    pub restart: Option<String>,
}

impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "{}: {old} → {new}", self.key)?,
            (None, Some(new)) => write!(f, "{}: + {new}", self.key)?,
            (Some(old), None) => write!(f, "{}: - {old}", self.key)?,
            (None, None) => write!(f, "{}", self.key)?,
        }
        match &self.restart {
            Some(why) => write!(f, "  (takes a restart: {why})"),
            None => Ok(()),
        }
    }
}

/// What another configuration says otherwise, in the order of the file. What is in no order there is compared as a set.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let (old, new) = (old.leaves(), new.leaves());
    let by_key = |leaves: &[Leaf]| -> BTreeMap<String, Leaf> {
        leaves.iter().map(|leaf| (leaf.key.clone(), leaf.clone())).collect()
    };
    let (was, is) = (by_key(&old), by_key(&new));
    let gone = old.iter().filter(|leaf| !is.contains_key(&leaf.key));
    new.iter().chain(gone).flat_map(|leaf| differences(was.get(&leaf.key), is.get(&leaf.key))).collect()
}

fn differences(old: Option<&Leaf>, new: Option<&Leaf>) -> Vec<Change> {
    let Some(leaf) = new.or(old) else { return Vec::new() };
    let change = |old: Option<&String>, new: Option<&String>| {
        let restart = is_read_at_start(&leaf.key).then(|| "it is read at the start alone".to_owned());
        Change { key: leaf.key.clone(), old: old.cloned(), new: new.cloned(), restart }
    };
    let values = |leaf: Option<&'_ Leaf>| -> Vec<String> { leaf.map(|leaf| leaf.values.clone()).unwrap_or_default() };
    let (old, new) = (values(old), values(new));
    if !leaf.is_list {
        let (old, new) = (old.first(), new.first());
        return if old == new { Vec::new() } else { vec![change(old, new)] };
    }
    let (was, is): (BTreeSet<&String>, BTreeSet<&String>) = (old.iter().collect(), new.iter().collect());
    let gone = old.iter().filter(|value| !is.contains(value)).map(|value| change(Some(value), None));
    gone.chain(new.iter().filter(|value| !was.contains(value)).map(|value| change(None, Some(value)))).collect()
}

fn is_read_at_start(key: &str) -> bool {
    AT_START.iter().any(|start| {
        key.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
    })
}

/// What is put together.
struct Leaves(Vec<Leaf>);

impl Leaves {
    fn one(&mut self, key: impl Display, value: impl Display) {
        self.0.push(Leaf { key: key.to_string(), values: vec![value.to_string()], is_list: false });
    }

    fn text(&mut self, key: impl Display, value: impl Display) {
        self.one(key, quoted(value));
    }

    fn list(&mut self, key: impl Display, values: impl IntoIterator<Item = String>) {
        self.0.push(Leaf { key: key.to_string(), values: values.into_iter().collect(), is_list: true });
    }
}

fn quoted(value: impl Display) -> String {
    format!("{:?}", value.to_string())
}

fn texts(list: &[impl Display]) -> Vec<String> {
    list.iter().map(quoted).collect()
}

fn large([a, b, c]: [u32; 3]) -> String {
    format!("{a}:{b}:{c}")
}

fn community(community: &Community) -> String {
    match *community {
        Community::Standard(value) => quoted(format!("{}:{}", value >> 16, value & 0xffff)),
        Community::Large(value) => quoted(large(value)),
        Community::Extended(octets) => quoted(format!("0x{:016x}", u64::from_be_bytes(octets))),
    }
}

impl Config {
    /// Every key with its value. A threshold that is off is left out; so is a group that others only inherit from.
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut leaves = Leaves(Vec::new());
        leaves.list("networks", texts(&self.networks));
        self.add_start(&mut leaves);
        self.add_profiles(&mut leaves);
        self.add_groups(&mut leaves);
        self.add_detection(&mut leaves);
        leaves.list("whitelist.networks", texts(&self.whitelist.networks));
        leaves.list("whitelist.remote_networks", texts(&self.whitelist.remote_networks));
        let ignored = self.whitelist.ignored.iter().map(|rule| format!("'{}'", rule_json::rule_to_json(rule)));
        leaves.list("whitelist.ignored", ignored);
        leaves.one("miner.rules_per_sample", self.miner.most_rules);
        leaves.one("miner.least_coverage_percent", (self.miner.least_coverage * 100.0).round());
        leaves.one("miner.most_collateral_permille", (self.miner.most_collateral * 1000.0).round());
        leaves.one("miner.tap_per_second", self.tap_per_second);
        leaves.one("history.days", self.history.kept.as_secs() / 86_400);
        leaves.text("history.samples", self.history.samples.as_deref().unwrap_or("".as_ref()).display());
        leaves.one("history.samples_max", self.history.samples_max);
        leaves.one("history.samples_mb", self.history.samples_mb);
        self.add_bgp(&mut leaves);
        self.add_mitigator(&mut leaves);
        self.add_notify(&mut leaves);
        leaves.0
    }

    /// The daemon, DPDK, ports and tables.
    fn add_start(&self, leaves: &mut Leaves) {
        let (daemon, dpdk, tables) = (&self.daemon, &self.dpdk, &self.tables);
        leaves.text("daemon.socket", daemon.socket.display());
        leaves.text("daemon.state", daemon.state.display());
        leaves.text(
            "daemon.log",
            match daemon.log {
                Log::Stderr => "stderr",
                Log::Journald => "journald",
            },
        );
        leaves.text("daemon.log_level", &daemon.log_level);
        leaves.one("daemon.dry_run", daemon.dry_run);
        let on_shutdown = match daemon.on_shutdown {
            OnShutdown::Keep => "keep",
            OnShutdown::Withdraw => "withdraw",
        };
        leaves.text("daemon.on_shutdown", on_shutdown);
        let huge_pages = match dpdk.huge_pages {
            HugePages::Auto => "auto",
            HugePages::Always => "always",
            HugePages::Never => "never",
        };
        leaves.text("dpdk.huge_pages", huge_pages);
        leaves.one("dpdk.memory_mb", dpdk.memory_mb);
        leaves.text("dpdk.file_prefix", &dpdk.file_prefix);
        leaves.one("dpdk.mbufs", dpdk.mbufs);
        leaves.one("dpdk.burst_max", dpdk.burst_max);
        leaves.list("dpdk.extra_args", texts(&dpdk.extra_args));
        for (index, port) in self.ports.iter().enumerate() {
            let key = |key| format!("ports[{index}].{key}");
            leaves.text(key("device"), &port.device);
            leaves.list(key("cores"), port.cores.iter().map(ToString::to_string));
            leaves.one(key("promiscuous"), port.promiscuous);
            leaves.one(key("descriptors"), port.descriptors);
            leaves.one(key("mtu"), port.mtu.unwrap_or(0));
            let tunnels = Tunnel::ALL.into_iter().filter(|tunnel| port.reading.tunnels.has(*tunnel));
            leaves.list(key("decapsulate"), tunnels.map(|tunnel| quoted(tunnel.name())));
            leaves.one(key("snap_length"), port.reading.snap_length);
        }
        match tables.ipv4_blocks {
            Some(blocks) => leaves.one("tables.ipv4_blocks", blocks),
            None => leaves.text("tables.ipv4_blocks", "auto"),
        }
        leaves.one("tables.ipv6_hosts", tables.ipv6_hosts);
        leaves.one("tables.ipv6_prefix_length", tables.ipv6_prefix_length);
    }

    fn add_profiles(&self, leaves: &mut Leaves) {
        for section in &self.profiles {
            let profile = &section.profile;
            let key = |key: &str| format!("profiles.{}.{key}", profile.name);
            leaves.text(key("like"), section.like);
            leaves.list(key("without"), section.without().map(|component| quoted(component.name())));
            leaves.one(key("items_max"), profile.items_max);
            leaves.one(key("length_max"), profile.length_max);
            leaves.one(key("dont_fragment"), profile.dont_fragment);
            leaves.one(key("redirect_as4"), profile.redirect_as4);
            if profile.rules_max < usize::MAX {
                leaves.one(key("rules_per_target"), profile.rules_max);
            }
        }
    }

    fn add_groups(&self, leaves: &mut Leaves) {
        for group in &self.groups {
            let key = |key: &str| format!("groups.{}.{key}", group.name);
            if !group.networks.is_empty() {
                leaves.list(key("networks"), texts(&group.networks));
            }
            if let Some(parent) = &group.inherit {
                leaves.text(key("inherit"), parent);
            }
            leaves.list(key("directions"), texts(&group.directions));
            leaves.list(key("families"), texts(&group.families));
            leaves.one(key("monitor_only"), group.monitor_only);
            leaves.text(key("profile"), &group.profile.name);
            leaves.text(key("inseparable"), group.inseparable);
            leaves.text(key("last_resort"), group.last_resort);
            if let LastResort::RateLimit { bps } = group.last_resort {
                leaves.one(key("last_resort_mbps"), bps / 1_000_000);
            }
            for (direction, action) in Direction::ALL.into_iter().zip(&group.actions) {
                leaves.one(key(&format!("{direction}_action")), format!("'{}'", rule_json::action_to_json(action)));
            }
            let kinds = [
                ("", &group.thresholds),
                ("network_", &group.network_thresholds),
                ("group_", &group.group_thresholds),
                ("escalate_", &group.escalation),
            ];
            for (kind, sides) in kinds {
                for (direction, thresholds) in Direction::ALL.into_iter().zip(sides) {
                    for metric in Metric::ALL {
                        let Some(value) = thresholds.get(metric) else { continue };
                        let value = if metric.unit == Unit::Bps { value / 1_000_000 } else { value };
                        leaves.one(key(&format!("{kind}{direction}.{}", threshold_name(metric))), value);
                    }
                }
            }
        }
    }

    fn add_detection(&self, leaves: &mut Leaves) {
        let detection = &self.detection;
        let mut one = |key: &str, value: &dyn Display| leaves.one(format!("detection.{key}"), value);
        one("average_calculation_time_ms", &detection.average_calculation_time.as_millis());
        one("check_period_ms", &detection.check_period.as_millis());
        one("capture_packets", &detection.capture_packets);
        one("capture_flow_records", &detection.capture_flow_records);
        one("captures_at_once", &detection.captures_at_once);
        one("threshold_specific_ban_details", &detection.threshold_specific_ban_details);
        one("capture_timeout_s", &detection.capture_timeout.as_secs());
        one("ban_time_s", &detection.ban_time.as_secs());
        one("ban_time_max_s", &detection.ban_time_max.as_secs());
        one("unban_only_if_attack_finished", &detection.unban_only_if_attack_finished);
        one(
            "tap",
            &quoted(match detection.tap {
                Tap::BeforeRouter => "before_router",
                Tap::BehindRouter => "behind_router",
            }),
        );
        one("probation_s", &detection.probation.as_secs());
        one("rules_per_target", &detection.rules_per_target);
        one("rule_idle_s", &detection.rule_idle.as_secs());
        one("rules_in_all", &detection.rules_in_all);
        one("blackholes_in_all", &detection.blackholes_in_all);
        one("attacks_at_once", &detection.attacks_at_once);
    }

    fn add_bgp(&self, leaves: &mut Leaves) {
        let Some(bgp) = &self.bgp else { return };
        leaves.text("bgp.mark", large(bgp.mark.0));
        let guard = &bgp.guard;
        let routes = [("blackhole", &bgp.blackhole, guard.blackhole), ("divert", &bgp.divert, guard.divert)];
        for (name, Route { next_hops: NextHops { v4, v6 }, communities }, lengths) in routes {
            let next_hops = v4.map(quoted).into_iter().chain(v6.map(quoted));
            leaves.list(format!("bgp.{name}_next_hops"), next_hops);
            leaves.list(format!("bgp.{name}_communities"), communities.iter().map(community));
            leaves.one(format!("bgp.{name}_lengths"), format!("{lengths:?}"));
        }
        leaves.one("bgp.shortest_lengths", format!("{:?}", guard.shortest));
        leaves.list("bgp.never_announce", texts(&guard.never));
        leaves.one("bgp.rules_per_second", bgp.rules_per_second);
        for (index, engine) in bgp.engines.iter().enumerate() {
            let key = |key| format!("bgp.engines[{index}].{key}");
            leaves.text(key("name"), &engine.name);
            match &engine.address {
                EngineAddress::Unix(path) => leaves.text(key("address"), format!("unix://{}", path.display())),
                EngineAddress::Http(url) => leaves.text(key("address"), url),
            }
            leaves.list(key("communities"), engine.communities.iter().map(community));
            leaves.text(key("profile"), &engine.profile.name);
        }
    }
}
