//! Holds a configuration against the machine: its cores, its PCI devices, its interfaces, the files that ports read.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dataplane::dpdk::arguments;

use super::diagnostics::{Diagnostics, Finding};
use super::{Config, PortOrigin};

/// Looks for everything that the configuration names on this machine. Call it before EAL starts, which narrows the cores
/// that a process sees.
pub fn check_machine(config: &Config) -> Result<(), Diagnostics> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    check(config, cores.iter().map(|core| core.id).collect(), Path::new("/sys"))
}

/// As [`check_machine`], with the cores and the root of sysfs.
pub(super) fn check(config: &Config, cores: BTreeSet<usize>, sys: &Path) -> Result<(), Diagnostics> {
    let mut findings = Vec::new();
    for (index, (port, origin)) in config.ports.iter().zip(&config.origin.ports).enumerate() {
        let key = format!("ports[{index}]");
        for (place, core) in port.cores.iter().enumerate() {
            if !cores.contains(&usize::from(*core)) {
                let found = format!("there is no core {core}");
                let hint = format!("this process may use the cores {}", listed(cores.iter()));
                let span = origin.cores[place].clone();
                findings.push(config.origin.source.finding(span, format!("{key}.cores[{place}]"), found, hint));
            }
        }
        findings.extend(device(config, &key, &port.device, origin, sys));
    }
    Diagnostics::none_or(findings)
}

/// What is missing or wrong on this machine, and keeps nobody from starting: files that scripts and webhooks need.
pub fn warnings(config: &Config) -> Vec<Finding> {
    let files = config.origin.files.iter();
    let found = files.filter_map(|file| {
        let (found, hint) = match std::fs::metadata(&file.path) {
            Err(error) => {
                (format!("{}: {error}", file.path.display()), "nobody can be told this way until it is there")
            }
            Ok(known) if !known.is_file() => {
                (format!("{} is no file", file.path.display()), "write the path of a file")
            }
            Ok(known) if file.is_program && known.permissions().mode() & 0o111 == 0 => {
                (format!("{} cannot be run", file.path.display()), "chmod +x")
            }
            Ok(_) => return None,
        };
        Some(config.origin.source.finding(file.span.clone(), &file.key, found, hint))
    });
    found.collect()
}

fn device(config: &Config, key: &str, device: &str, origin: &PortOrigin, sys: &Path) -> Vec<Finding> {
    let finding =
        |found, hint: String| config.origin.source.finding(origin.device.clone(), format!("{key}.device"), found, hint);
    if !device.starts_with("net_") {
        let devices = sys.join("bus/pci/devices");
        if devices.join(device.to_ascii_lowercase()).exists() {
            return Vec::new();
        }
        let network_devices = names(&devices, |device| read(&device.join("class")).starts_with("0x02"));
        let hint = format!(
            "network devices on the PCI bus: {}; `dpdk-devbind.py --status` says more",
            listed(network_devices.iter())
        );
        return vec![finding(format!("there is no PCI device {device}"), hint)];
    }
    let missing = |(key, value): (&str, &str)| match (key, value) {
        (key, name) if arguments::names_interface(key) && !sys.join("class/net").join(name).exists() => {
            let interfaces = names(&sys.join("class/net"), |_| true);
            let hint = format!("interfaces in this network namespace: {}", listed(interfaces.iter()));
            Some(finding(format!("there is no interface {name}"), hint))
        }
        ("rx_pcap", file) if !Path::new(file).exists() => {
            let hint = "write the path of a capture that exists; a relative one counts from where leveed starts";
            Some(finding(format!("there is no file {file}"), hint.to_owned()))
        }
        _ => None,
    };
    arguments::arguments(device).filter_map(missing).collect()
}

fn names(directory: &Path, wanted: impl Fn(&Path) -> bool) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| wanted(&entry.path()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn listed(items: impl Iterator<Item = impl ToString>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}
