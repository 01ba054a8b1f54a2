//! From the configuration to what the packet path and the detector are started with. Values only.

pub mod memory;

use std::collections::BTreeSet;
use std::sync::Arc;

use dataplane::hosts::{IPV4_BLOCKS_MAX, Layout};
use dataplane::networks::Networks;
use dataplane::{Plan, PortPlan};
use ipnet::IpNet;

use crate::actions::bgp;
use crate::attack::{Direction, Metric};
use crate::config::{Bgp, Config, EngineAddress, HugePages, Tap};
use crate::detector;
use crate::group::Group;
use crate::guard::Guard;
use crate::meter::Map;
use crate::mitigation::Limits;
use crate::samples;

/// /24 networks with a block each when the configuration does not say: 82 KiB each for every worker.
const IPV4_BLOCKS_DEFAULT: usize = 4096;
/// Rules whose matches workers can count at once.
const RULE_SLOTS: usize = 4096;
/// Room for networks that a later configuration may add.
const NETWORKS_ROOM: usize = 1024;

/// What the packet path is started with. Only ports that `wanted` says.
///
/// # Errors
/// When there are too many networks.
pub fn dataplane(config: &Config, wanted: impl Fn(usize) -> bool) -> Result<Plan, dataplane::networks::Error> {
    let ports = config.ports.iter().enumerate().filter(|(index, _)| wanted(*index));
    Ok(Plan {
        eal: eal(config, free_huge_pages()),
        ports: ports
            .map(|(_, port)| PortPlan {
                device: port.device.clone(),
                cores: port.cores.iter().map(|&core| usize::from(core)).collect(),
                descriptors: port.descriptors,
                mbufs: config.dpdk.mbufs,
                promiscuous: port.promiscuous,
                mtu: port.mtu,
                reading: port.reading,
            })
            .collect(),
        layout: layout(config),
        burst_max: usize::from(config.dpdk.burst_max),
        networks: Networks::new(&config.networks)?.ignoring(&config.whitelist.ignored),
    })
}

/// The networks of a configuration, in the place of those that are in force.
///
/// # Errors
/// When there are too many.
pub fn networks(config: &Config, in_force: &Networks) -> Result<Networks, dataplane::networks::Error> {
    Ok(in_force.successor(&config.networks)?.ignoring(&config.whitelist.ignored))
}

/// What a configuration asks for that was not allocated at the start: keys, and why.
pub fn beyond(allocated: &Layout, config: &Config, networks: &Networks) -> Vec<(String, String)> {
    let mut beyond = Vec::new();
    if networks.places() > allocated.networks {
        let (places, room) = (networks.places(), allocated.networks);
        let why = format!("{places} networks, with those that just went, and there are counters for {room}");
        beyond.push(("networks".to_owned(), why));
    }
    let ticks = flow_ticks(config);
    if ticks != 0 && allocated.flow_ticks == 0 {
        let with_flows = config
            .groups
            .iter()
            .filter(|group| group.thresholds.iter().any(|thresholds| thresholds.get(Metric::FLOWS).is_some()));
        let why = "flows were not counted so far: there is no memory for their sketches";
        beyond.extend(with_flows.flat_map(|group| {
            let watched = Direction::ALL.into_iter().zip(&group.thresholds);
            let on = watched.filter(|(_, thresholds)| thresholds.get(Metric::FLOWS).is_some());
            on.map(|(direction, _)| (format!("groups.{}.{direction}.{}", group.name, Metric::FLOWS), why.to_owned()))
        }));
    } else if ticks != 0 && ticks != allocated.flow_ticks {
        let why = "flows are counted, in epochs of so many checks that they last a second".to_owned();
        beyond.push(("detection.check_period_ms".to_owned(), why));
    }
    beyond
}

/// What is allocated and in force serves a configuration worse than a restart with it would, in words.
pub fn cramped(allocated: &Layout, config: &Config) -> Option<String> {
    let wanted = layout(config).ipv4_blocks;
    (wanted > allocated.ipv4_blocks).then(|| {
        format!(
            "the networks have {wanted} /24s, and {} have counters of their own: those that come late are counted with the \
             IPv6 hosts; a restart makes room",
            allocated.ipv4_blocks
        )
    })
}

/// Where samples of attacks are kept, if they are.
pub fn samples(config: &Config) -> Option<samples::Limits> {
    let history = &config.history;
    history.samples.clone().map(|folder| samples::Limits {
        folder,
        files_max: history.samples_max as usize,
        bytes_max: u64::from(history.samples_mb) * 1_000_000,
        age_max: history.kept,
    })
}

/// The cores that workers have for themselves.
pub fn worker_cores(config: &Config) -> BTreeSet<usize> {
    config.ports.iter().flat_map(|port| &port.cores).map(|core| usize::from(*core)).collect()
}

/// Sizes of a worker's tables.
pub fn layout(config: &Config) -> Layout {
    let blocks = match config.tables.ipv4_blocks {
        Some(blocks) => blocks as usize,
        None => covered_24s(&config.networks).min(IPV4_BLOCKS_DEFAULT),
    };
    Layout {
        networks: (config.networks.len() * 2).max(NETWORKS_ROOM),
        rules: RULE_SLOTS,
        ipv4_blocks: blocks.clamp(1, IPV4_BLOCKS_MAX),
        ipv6_hosts: config.tables.ipv6_hosts as usize,
        flow_ticks: flow_ticks(config),
        ipv6_prefix_length: config.tables.ipv6_prefix_length,
    }
}

/// Ticks of an epoch of flow counting: the fewest that last a second. None where no group has a threshold on flows, since
/// sketches cost memory and a cache line a packet.
fn flow_ticks(config: &Config) -> u32 {
    let mut thresholds = config.groups.iter().flat_map(|group| group.thresholds);
    if !thresholds.any(|thresholds| thresholds.get(Metric::FLOWS).is_some()) {
        return 0;
    }
    1000u32.div_ceil((config.detection.check_period.as_millis() as u32).max(1))
}

/// How many /24 networks the protected IPv4 networks touch.
fn covered_24s(networks: &[IpNet]) -> usize {
    let mut ranges: Vec<(u32, u32)> = networks
        .iter()
        .filter_map(|network| match network {
            IpNet::V4(network) => Some((u32::from(network.network()) >> 8, u32::from(network.broadcast()) >> 8)),
            IpNet::V6(_) => None,
        })
        .collect();
    ranges.sort_unstable();
    let (mut covered, mut from) = (0, 0);
    for (first, last) in ranges {
        let first = first.max(from);
        if first <= last {
            covered += (last - first + 1) as usize;
            from = last + 1;
        }
    }
    covered
}

/// EAL's arguments.
fn eal(config: &Config, free_huge_pages: u64) -> Vec<String> {
    let dpdk = &config.dpdk;
    let main_core = config.ports.iter().flat_map(|port| &port.cores).min().copied().unwrap_or(0);
    let mut arguments: Vec<String> = vec!["-l".into(), main_core.to_string()];
    arguments.extend(["--no-telemetry", "--log-level=*:warning"].map(str::to_owned));
    arguments.extend(["-m".to_owned(), dpdk.memory_mb.to_string()]);
    if eal_on_huge_pages(dpdk.huge_pages, dpdk.memory_mb, free_huge_pages) {
        // Nothing on hugetlbfs that a killed process would leave behind.
        arguments.push("--in-memory".to_owned());
    } else {
        arguments.extend(["--no-huge", "--no-shconf", "--iova-mode=va"].map(str::to_owned));
    }
    arguments.push(format!("--file-prefix={}", dpdk.file_prefix));
    let pci: Vec<&str> = config.ports.iter().map(|port| port.device.as_str()).filter(|device| is_pci(device)).collect();
    if pci.is_empty() {
        arguments.push("--no-pci".to_owned());
    }
    for device in pci {
        arguments.extend(["-a".to_owned(), device.to_owned()]);
    }
    arguments.extend(dpdk.extra_args.iter().cloned());
    arguments
}

fn eal_on_huge_pages(wanted: HugePages, memory_mb: u32, free_huge_pages: u64) -> bool {
    match wanted {
        HugePages::Always => true,
        HugePages::Never => false,
        HugePages::Auto => free_huge_pages >= u64::from(memory_mb.div_ceil(2)),
    }
}

/// Whether a device is a PCI address, perhaps with arguments, and not a virtual device.
pub fn is_pci(device: &str) -> bool {
    let address = dataplane::dpdk::arguments::name(device);
    address.contains(':') && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.')
}

fn free_huge_pages() -> u64 {
    std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// Networks and groups for the meter.
///
/// # Errors
/// When there are too many prefixes.
pub fn map(config: &Config, networks: Arc<Networks>) -> Result<Map, dataplane::networks::Error> {
    let engines = || config.bgp.iter().flat_map(Bgp::profiles);
    let groups = config.groups.iter().map(|group| Group { profile: group.profile_at(engines()), ..group.clone() });
    Map::new(networks, groups.collect(), config.tables.ipv6_prefix_length)
}

/// The detector's settings.
pub fn settings(config: &Config) -> detector::Settings {
    let detection = &config.detection;
    detector::Settings {
        window_ms: detection.average_calculation_time.as_millis() as u64,
        check_period_ms: detection.check_period.as_millis() as u64,
        capture_packets: detection.capture_packets as usize,
        captures_max: detection.captures_at_once as usize,
        threshold_specific_ban_details: detection.threshold_specific_ban_details,
        capture_timeout_ms: detection.capture_timeout.as_millis() as u64,
        ban_time_ms: detection.ban_time.as_millis() as u64,
        ban_time_max_ms: detection.ban_time_max.as_millis() as u64,
        probation_ms: detection.probation.as_millis() as u64,
        unban_only_if_attack_finished: detection.unban_only_if_attack_finished,
        tap: match detection.tap {
            Tap::BeforeRouter => detector::Tap::BeforeRouter,
            Tap::BehindRouter => detector::Tap::BehindRouter,
        },
        rule_idle_ms: detection.rule_idle.as_millis() as u64,
        attacks_max: detection.attacks_at_once as usize,
        limits: Limits {
            rules_per_target: detection.rules_per_target as usize,
            rules_in_all: detection.rules_in_all as usize,
            blackholes_in_all: detection.blackholes_in_all as usize,
            dry_run: config.daemon.dry_run,
        },
    }
}

/// What is never announced.
pub fn guard(config: &Config) -> Guard {
    config.bgp.as_ref().map(|bgp| bgp.guard.clone()).unwrap_or_default()
}

/// The engines.
pub fn engines(config: &Config) -> Vec<bgp::Engine> {
    let engines = config.bgp.iter().flat_map(|bgp| bgp.engines.iter().map(move |engine| (bgp, engine)));
    engines
        .map(|(bgp, engine)| {
            let address = match &engine.address {
                EngineAddress::Unix(path) => format!("unix://{}", path.display()),
                EngineAddress::Http(url) => url.clone(),
            };
            bgp::Engine {
                communities: engine.communities.clone(),
                blackhole: bgp.blackhole.clone(),
                divert: bgp.divert.clone(),
                profile: engine.profile.clone(),
                rules_max: config.detection.rules_in_all as usize,
                rules_per_second: bgp.rules_per_second,
                ..bgp::Engine::new(&engine.name, &address, bgp.mark)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_and_partial_networks_count_each_24_once() {
        let networks: Vec<IpNet> =
            ["198.18.0.0/22", "198.18.1.0/24", "198.18.1.128/25", "192.0.2.7/32", "2001:db8::/32"]
                .iter()
                .map(|text| text.parse().expect("a prefix"))
                .collect();
        assert_eq!(covered_24s(&networks), 5);
    }

    #[test]
    fn a_group_has_what_its_routers_and_those_of_every_engine_take() {
        let profile = |others: &str| {
            let text = format!(
                "networks = [\"198.18.0.0/24\"]\n[[ports]]\ndevice = \"net_null0\"\ncores = [1]\n[groups.default]\nprofile = \"bird\"\n\
                 [bgp]\nmark = \"64512:7653:1\"\n[[bgp.engines]]\nname = \"a\"\naddress = \"unix:///a\"\nprofile = \"bird\"\n{others}"
            );
            let config = crate::config::parse("levee.toml", text).expect("a good configuration");
            let networks = dataplane(&config, |_| false).expect("a plan").networks;
            let map = map(&config, networks.into()).expect("a map");
            map.profile("198.18.0.1/32".parse().expect("a prefix")).name.to_string()
        };
        assert_eq!(profile(""), "bird");
        assert_eq!(profile("[[bgp.engines]]\nname = \"b\"\naddress = \"unix:///b\"\n"), "strict");
    }

    #[test]
    fn a_pci_address_is_told_from_a_virtual_device() {
        assert!(is_pci("0000:03:00.0"));
        assert!(is_pci("03:00.1,representor=0"));
        assert!(!is_pci("net_af_packet0,iface=eth0"));
        assert!(!is_pci("net_pcap0,rx_pcap=a:b.pcap"));
    }
}
