//! The file as it stands into a valid configuration, or into everything that is wrong with its values. Looks at the file
//! alone, never at the machine.

use std::collections::HashMap;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dataplane::dpdk::arguments;
use dataplane::hosts::IPV4_BLOCKS_MAX;
use dataplane::packet::{Reading, Tunnel, Tunnels};
use dataplane::rule::SET_MAX;
use dataplane::watch::CAPTURES_MAX;
use serde_spanned::Spanned;

use super::diagnostics::{Diagnostics, Finding, Source};
use super::networks;
use super::raw::{self, Number, Text};
use super::{Config, Daemon, Detection, Dpdk, History, Origin, Port, PortOrigin, Tables};
use crate::miner;

/// Largest snap length: no frame is longer.
const SNAP_LENGTH_MAX: u32 = 65_535;
/// Longest path of a Unix socket that Linux takes.
const SOCKET_PATH_MAX: usize = 107;

/// Arguments of EAL that Levee gives itself, and the key that says what they say.
const OWN_EAL_ARGS: [(&str, &str); 10] = [
    ("-l", "ports.cores"),
    ("-c", "ports.cores"),
    ("--lcores", "ports.cores"),
    ("-a", "ports.device"),
    ("--allow", "ports.device"),
    ("--vdev", "ports.device"),
    ("-m", "dpdk.memory_mb"),
    ("--no-huge", "dpdk.huge_pages"),
    ("--file-prefix", "dpdk.file_prefix"),
    ("--log-level", "daemon.log_level"),
];

/// What was found so far.
pub(super) struct Findings<'a> {
    pub(super) source: &'a Source,
    list: Vec<Finding>,
}

impl Findings<'_> {
    pub(super) fn add(
        &mut self,
        span: Range<usize>,
        key: impl Display,
        found: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.list.push(self.source.finding(span, key, found, hint));
    }

    /// A number within a range, or the default.
    pub(super) fn number<T>(&mut self, key: &str, value: &Option<Number>, default: T, range: RangeInclusive<T>) -> T
    where
        T: Copy + Display + TryFrom<i64> + PartialOrd,
    {
        let Some(value) = value else { return default };
        match T::try_from(*value.get_ref()) {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let hint = format!("write a number from {} to {}", range.start(), range.end());
                self.add(value.span(), key, format!("{} is out of range", value.get_ref()), hint);
                default
            }
        }
    }

    pub(super) fn seconds(
        &mut self,
        key: &str,
        value: &Option<Number>,
        default: Duration,
        range: RangeInclusive<u64>,
    ) -> Duration {
        Duration::from_secs(self.number(key, value, default.as_secs(), range))
    }

    pub(super) fn milliseconds(
        &mut self,
        key: &str,
        value: &Option<Number>,
        default: Duration,
        range: RangeInclusive<u64>,
    ) -> Duration {
        Duration::from_millis(self.number(key, value, default.as_millis() as u64, range))
    }

    /// An absolute path, or the default.
    pub(super) fn path(&mut self, key: &str, value: &Option<Text>, default: PathBuf) -> PathBuf {
        let Some(value) = value else { return default };
        let path = Path::new(value.get_ref());
        if !path.is_absolute() {
            let found = format!("\"{}\" is not an absolute path", value.get_ref());
            self.add(value.span(), key, found, format!("write it from the root, such as \"{}\"", default.display()));
        }
        path.to_owned()
    }
}

/// The configuration, or everything that is wrong with it.
pub(super) fn check(raw: raw::Config, source: Source) -> Result<Config, Diagnostics> {
    let mut findings = Findings { source: &source, list: Vec::new() };
    let daemon = daemon(&raw.daemon, &mut findings);
    let dpdk = dpdk(&raw.dpdk, &mut findings);
    let ports = ports(&raw.ports, &dpdk, &mut findings);
    let tables = tables(&raw.tables, &mut findings);
    let length = tables.ipv6_prefix_length;
    let (networks, protected) = networks::protected(&raw.networks, length, &mut findings);
    let profiles = super::profiles::sections(&raw.profiles, &mut findings);
    let groups = super::groups::groups(&raw.groups, (&protected, length), &profiles, &mut findings);
    let detection = detection(&raw.detection, &mut findings);
    let whitelist = super::whitelist::whitelist(&raw.whitelist, (&protected, length), &mut findings);
    let history = history(&raw.history, &mut findings);
    let miner = mining(&raw.miner, &mut findings);
    let tap_per_second = findings.number("miner.tap_per_second", &raw.miner.tap_per_second, 2000, 0..=100_000);
    let bgp = raw.bgp.as_ref().map(|raw| super::bgp::bgp(raw, &profiles, &mut findings));
    let mitigator = raw.mitigator.as_ref().map(|raw| super::mitigator::mitigator(raw, &groups, &mut findings));
    let (subscribers, files) = super::notify::subscribers(&raw, &groups, &mut findings);
    super::groups::check_routes(&groups, &raw.groups, bgp.as_ref(), &mut findings);
    super::groups::check_actions(&groups, &raw.groups, bgp.as_ref(), &mut findings);
    Diagnostics::none_or(findings.list)?;

    let origin = raw.ports.iter().map(|port| PortOrigin {
        device: port.device.span(),
        cores: port.cores.get_ref().iter().map(Number::span).collect(),
    });
    let spans = [
        ("tables.ipv4_blocks", raw.tables.ipv4_blocks.as_ref().map(Spanned::span)),
        ("tables.ipv6_hosts", raw.tables.ipv6_hosts.as_ref().map(Spanned::span)),
        ("dpdk.memory_mb", raw.dpdk.memory_mb.as_ref().map(Spanned::span)),
    ];
    let memory = spans.into_iter().filter_map(|(key, span)| Some((key, span?))).collect();
    let origin = Origin { ports: origin.collect(), memory, files, source };
    Ok(Config {
        daemon,
        dpdk,
        ports,
        tables,
        networks,
        profiles,
        groups,
        detection,
        whitelist,
        history,
        miner,
        tap_per_second,
        bgp,
        mitigator,
        subscribers,
        origin,
    })
}

fn daemon(raw: &raw::Daemon, findings: &mut Findings) -> Daemon {
    let default = Daemon::default();
    let socket = findings.path("daemon.socket", &raw.socket, default.socket);
    if let Some(text) = raw.socket.as_ref().filter(|text| text.get_ref().len() > SOCKET_PATH_MAX) {
        let found = format!("a path of {} bytes", text.get_ref().len());
        let hint = format!("the path of a Unix socket has at most {SOCKET_PATH_MAX} bytes");
        findings.add(text.span(), "daemon.socket", found, hint);
    }
    if let Some(level) = raw.log_level.as_ref().filter(|level| !is_log_level(level.get_ref())) {
        let found = format!("unknown level \"{}\"", level.get_ref());
        findings.add(level.span(), "daemon.log_level", found, format!("write {LOG_LEVELS}"));
    }
    Daemon {
        socket,
        state: findings.path("daemon.state", &raw.state, default.state),
        log: raw.log.unwrap_or(default.log),
        log_level: raw.log_level.as_ref().map_or(default.log_level, |level| level.get_ref().clone()),
        dry_run: raw.dry_run.unwrap_or(default.dry_run),
        on_shutdown: raw.on_shutdown.unwrap_or(default.on_shutdown),
    }
}

/// What [`is_log_level`] takes, in words.
pub const LOG_LEVELS: &str = "error, warn, info, debug or trace, or a filter such as \"info,controlplane=debug\"";

/// A level, or levels by module. tracing alone would take any word for the name of a module.
pub fn is_log_level(text: &str) -> bool {
    let is_level = |word: &str| ["error", "warn", "info", "debug", "trace", "off"].contains(&word);
    let is_directive = |part: &str| is_level(part) || part.split_once('=').is_some_and(|(_, level)| is_level(level));
    text.split(',').all(is_directive) && tracing_subscriber::EnvFilter::try_new(text).is_ok()
}

fn dpdk(raw: &raw::Dpdk, findings: &mut Findings) -> Dpdk {
    let default = Dpdk::default();
    if let Some(prefix) = &raw.file_prefix {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if prefix.get_ref().is_empty() || !prefix.get_ref().chars().all(is_name) {
            let found = format!("\"{}\" is not part of a file name", prefix.get_ref());
            findings.add(prefix.span(), "dpdk.file_prefix", found, "use letters, digits, '-', '_' and '.'");
        }
    }
    for (index, argument) in raw.extra_args.iter().flatten().enumerate() {
        let name = argument.get_ref().split('=').next().unwrap_or_default();
        if let Some((_, key)) = OWN_EAL_ARGS.iter().find(|(own, _)| *own == name) {
            let key_here = format!("dpdk.extra_args[{index}]");
            findings.add(
                argument.span(),
                key_here,
                format!("Levee sets {name} itself"),
                format!("use `{key}` instead"),
            );
        }
    }
    let text = |value: &Option<Text>, default| value.as_ref().map_or(default, |text| text.get_ref().clone());
    let texts = |list: &Vec<Text>| list.iter().map(|text| text.get_ref().clone()).collect();
    Dpdk {
        huge_pages: raw.huge_pages.unwrap_or(default.huge_pages),
        memory_mb: findings.number("dpdk.memory_mb", &raw.memory_mb, default.memory_mb, 64..=1_048_576),
        file_prefix: text(&raw.file_prefix, default.file_prefix),
        mbufs: findings.number("dpdk.mbufs", &raw.mbufs, default.mbufs, 1024..=8_388_608),
        burst_max: findings.number("dpdk.burst_max", &raw.burst_max, default.burst_max, 1..=256),
        extra_args: raw.extra_args.as_ref().map_or(default.extra_args, texts),
    }
}

fn ports(raw: &[raw::Port], dpdk: &Dpdk, findings: &mut Findings) -> Vec<Port> {
    if raw.is_empty() {
        let hint = "add a section [[ports]] with `device = …` and `cores = [1]`";
        findings.add(0..0, "ports", "no port to take packets from", hint);
    }
    let mut names = HashMap::new();
    raw.iter()
        .enumerate()
        .map(|(index, raw)| {
            let key = format!("ports[{index}]");
            let name = arguments::name(raw.device.get_ref());
            if let Some(other) = names.insert(name, raw.device.span()) {
                let hint = format!(
                    "it is in line {} already; one port has all its cores in `cores`",
                    findings.source.line(&other)
                );
                findings.add(raw.device.span(), format!("{key}.device"), format!("the device {name} twice"), hint);
            }
            port(&key, raw, dpdk, findings)
        })
        .collect()
}

fn port(key: &str, raw: &raw::Port, dpdk: &Dpdk, findings: &mut Findings) -> Port {
    let default = Port::default();
    let device = raw.device.get_ref();
    if !arguments::name(device).starts_with("net_") && !is_pci_address(device) {
        let hint = "write a PCI address as \"0000:03:00.0\", or a virtual device as \"net_af_packet0,iface=span0\"";
        findings.add(raw.device.span(), format!("{key}.device"), format!("\"{device}\" is not a device of DPDK"), hint);
    }
    let descriptors =
        findings.number(&format!("{key}.descriptors"), &raw.descriptors, default.descriptors, 64..=32_768);
    if u32::from(descriptors) + u32::from(dpdk.burst_max) > dpdk.mbufs {
        let span = raw.descriptors.as_ref().map_or(raw.device.span(), Number::span);
        let found = format!("{descriptors} descriptors and only {} mbufs to fill them", dpdk.mbufs);
        let hint = format!("write fewer, or `mbufs = {}` in [dpdk]", 2 * u32::from(descriptors));
        findings.add(span, format!("{key}.descriptors"), found, hint);
    }
    let mtu = match &raw.mtu {
        Some(mtu) if *mtu.get_ref() == 0 => None,
        Some(_) => Some(findings.number(&format!("{key}.mtu"), &raw.mtu, 1500, 1500..=9600)),
        None => default.mtu,
    };
    let snap_length = findings.number(
        &format!("{key}.snap_length"),
        &raw.snap_length,
        default.reading.snap_length,
        0..=SNAP_LENGTH_MAX,
    );
    Port {
        device: device.clone(),
        cores: cores(key, &raw.cores, findings),
        promiscuous: raw.promiscuous.unwrap_or(default.promiscuous),
        descriptors,
        mtu,
        reading: Reading { tunnels: tunnels(key, raw.decapsulate.as_deref().unwrap_or(&[]), findings), snap_length },
    }
}

fn tunnels(key: &str, raw: &[Text], findings: &mut Findings) -> Tunnels {
    let mut tunnels = Vec::new();
    for (index, raw) in raw.iter().enumerate() {
        let name = raw.get_ref().as_str();
        let key = format!("{key}.decapsulate[{index}]");
        match Tunnel::ALL.into_iter().find(|tunnel| tunnel.name() == name) {
            None => {
                let hint = raw::suggestion(name, &Tunnel::ALL.map(Tunnel::name));
                findings.add(raw.span(), key, format!("unknown tunnel \"{name}\""), hint);
            }
            Some(tunnel) if tunnels.contains(&tunnel) => {
                findings.add(raw.span(), key, format!("\"{name}\" twice"), "name a kind of tunnel once");
            }
            Some(tunnel) => tunnels.push(tunnel),
        }
    }
    tunnels.into_iter().collect()
}

/// `DOMAIN:BUS:DEVICE.FUNCTION` in hexadecimal, the domain with four digits.
fn is_pci_address(text: &str) -> bool {
    const SHAPE: &str = "0000:00:00.0";
    let fits = |(c, shape): (char, char)| if shape == '0' { c.is_ascii_hexdigit() } else { c == shape };
    text.len() == SHAPE.len() && text.chars().zip(SHAPE.chars()).all(fits)
}

fn cores(key: &str, raw: &Spanned<Vec<Number>>, findings: &mut Findings) -> Vec<u16> {
    if raw.get_ref().is_empty() {
        let hint = "write the core of each queue's worker: cores = [1]";
        findings.add(raw.span(), format!("{key}.cores"), "a port without a core", hint);
    }
    let mut cores = Vec::new();
    for (index, raw) in raw.get_ref().iter().enumerate() {
        let key = format!("{key}.cores[{index}]");
        let core = findings.number(&key, &Some(raw.clone()), 0, 0..=1023);
        if cores.contains(&core) && i64::from(core) == *raw.get_ref() {
            let hint = "name a core once for each port; its worker polls the queues of several ports";
            findings.add(raw.span(), key, format!("the core {core} twice on one port"), hint);
        }
        cores.push(core);
    }
    cores
}

fn tables(raw: &raw::Tables, findings: &mut Findings) -> Tables {
    let default = Tables::default();
    let key = "tables.ipv4_blocks";
    let ipv4_blocks = match raw.ipv4_blocks.as_ref().map(|value| (value.span(), value.get_ref())) {
        None => default.ipv4_blocks,
        Some((_, toml::Value::String(word))) if word == "auto" => None,
        Some((span, toml::Value::Integer(number))) => {
            Some(findings.number(key, &Some(Spanned::new(span, *number)), 1, 1..=IPV4_BLOCKS_MAX as u32))
        }
        Some((span, other)) => {
            findings.add(span, key, format!("{other} is not a number of blocks"), "write \"auto\", or a whole number");
            None
        }
    };
    Tables {
        ipv4_blocks,
        ipv6_hosts: findings.number("tables.ipv6_hosts", &raw.ipv6_hosts, default.ipv6_hosts, 64..=16_777_216),
        ipv6_prefix_length: findings.number(
            "tables.ipv6_prefix_length",
            &raw.ipv6_prefix_length,
            default.ipv6_prefix_length,
            32..=128,
        ),
    }
}

fn detection(raw: &raw::Detection, findings: &mut Findings) -> Detection {
    let default = Detection::default();
    let day = 86_400;
    let detection = Detection {
        average_calculation_time: findings.milliseconds(
            "detection.average_calculation_time_ms",
            &raw.average_calculation_time_ms,
            default.average_calculation_time,
            100..=60_000,
        ),
        check_period: findings.milliseconds(
            "detection.check_period_ms",
            &raw.check_period_ms,
            default.check_period,
            10..=10_000,
        ),
        capture_packets: findings.number(
            "detection.capture_packets",
            &raw.capture_packets,
            default.capture_packets,
            1..=100_000,
        ),
        capture_flow_records: findings.number(
            "detection.capture_flow_records",
            &raw.capture_flow_records,
            default.capture_flow_records,
            1..=100_000,
        ),
        captures_at_once: findings.number(
            "detection.captures_at_once",
            &raw.captures_at_once,
            default.captures_at_once,
            1..=CAPTURES_MAX as u32,
        ),
        threshold_specific_ban_details: raw
            .threshold_specific_ban_details
            .unwrap_or(default.threshold_specific_ban_details),
        capture_timeout: findings.seconds(
            "detection.capture_timeout_s",
            &raw.capture_timeout_s,
            default.capture_timeout,
            1..=3600,
        ),
        ban_time: findings.seconds("detection.ban_time_s", &raw.ban_time_s, default.ban_time, 1..=30 * day),
        ban_time_max: findings.seconds(
            "detection.ban_time_max_s",
            &raw.ban_time_max_s,
            default.ban_time_max,
            1..=30 * day,
        ),
        unban_only_if_attack_finished: raw
            .unban_only_if_attack_finished
            .unwrap_or(default.unban_only_if_attack_finished),
        tap: raw.tap.unwrap_or(default.tap),
        probation: findings.seconds("detection.probation_s", &raw.probation_s, default.probation, 0..=day),
        rules_per_target: findings.number(
            "detection.rules_per_target",
            &raw.rules_per_target,
            default.rules_per_target,
            1..=SET_MAX as u32,
        ),
        rule_idle: findings.seconds("detection.rule_idle_s", &raw.rule_idle_s, default.rule_idle, 1..=30 * day),
        blackholes_in_all: findings.number(
            "detection.blackholes_in_all",
            &raw.blackholes_in_all,
            default.blackholes_in_all,
            1..=100_000,
        ),
        rules_in_all: findings.number("detection.rules_in_all", &raw.rules_in_all, default.rules_in_all, 1..=100_000),
        attacks_at_once: findings.number(
            "detection.attacks_at_once",
            &raw.attacks_at_once,
            default.attacks_at_once,
            1..=10_000,
        ),
    };
    detection_pairs(raw, &detection, findings);
    detection
}

fn history(raw: &raw::History, findings: &mut Findings) -> History {
    let default = History::default();
    let day = 86_400;
    let days = findings.number("history.days", &raw.days, default.kept.as_secs() / day, 1..=3650);
    let folder = raw.samples.clone().filter(|folder| !folder.get_ref().is_empty());
    let samples = folder.map(|folder| findings.path("history.samples", &Some(folder), "/var/lib/levee/samples".into()));
    History {
        kept: Duration::from_secs(days * day),
        samples,
        samples_max: findings.number("history.samples_max", &raw.samples_max, default.samples_max, 1..=100_000),
        samples_mb: findings.number("history.samples_mb", &raw.samples_mb, default.samples_mb, 1..=1_000_000),
    }
}

fn mining(raw: &raw::Miner, findings: &mut Findings) -> miner::Limits {
    let default = miner::Limits::default();
    let least = findings.number("miner.least_coverage_percent", &raw.least_coverage_percent, 2, 1..=100);
    let most = findings.number("miner.most_collateral_permille", &raw.most_collateral_permille, 10, 0..=1000);
    miner::Limits {
        most_rules: findings.number("miner.rules_per_sample", &raw.rules_per_sample, 8, 1..=64),
        least_coverage: f64::from(least) / 100.0,
        most_collateral: f64::from(most) / 1000.0,
        ..default
    }
}

/// Keys of `[detection]` of which one bounds the other. The finding stands at the one that the file has.
fn detection_pairs(raw: &raw::Detection, detection: &Detection, findings: &mut Findings) {
    let mut at_most = |(low, low_value, low_set): Bounded, (high, high_value, high_set): Bounded| {
        if low_value <= high_value {
            return;
        }
        let found = format!("{low} = {low_value}, but {high} = {high_value}");
        let hint = format!("`{low}` must not be above `{high}`");
        let set = low_set.as_ref().map(|number| (low, number)).or(high_set.as_ref().map(|number| (high, number)));
        if let Some((key, number)) = set {
            findings.add(number.span(), format!("detection.{key}"), found, hint);
        }
    };
    at_most(
        ("check_period_ms", detection.check_period.as_millis(), &raw.check_period_ms),
        (
            "average_calculation_time_ms",
            detection.average_calculation_time.as_millis(),
            &raw.average_calculation_time_ms,
        ),
    );
    at_most(
        ("ban_time_s", detection.ban_time.as_secs().into(), &raw.ban_time_s),
        ("ban_time_max_s", detection.ban_time_max.as_secs().into(), &raw.ban_time_max_s),
    );
    at_most(
        ("rules_per_target", detection.rules_per_target.into(), &raw.rules_per_target),
        ("rules_in_all", detection.rules_in_all.into(), &raw.rules_in_all),
    );
}

/// A key, its value, and its place where the file has it.
type Bounded<'a> = (&'a str, u128, &'a Option<Number>);
