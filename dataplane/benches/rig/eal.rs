//! How benchmarks start DPDK, and the device that they receive from.

use std::path::Path;

use dataplane::dpdk::PortOptions;

/// EAL's arguments for a main lcore on this core.
pub(crate) fn arguments(core: usize, huge: bool) -> Vec<String> {
    let core = core.to_string();
    let pages: &[&str] = if huge { &["--in-memory"] } else { &["--no-huge", "--no-shconf", "--iova-mode=va"] };
    let common = ["-l", &core, "--no-pci", "--no-telemetry", "--log-level=*:5", "-m", "64"];
    common.iter().chain(pages).map(|&argument| argument.to_owned()).collect()
}

/// Whether there are huge pages for EAL.
pub(crate) fn are_huge_pages_free() -> bool {
    let free = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    free.ok().and_then(|text| text.trim().parse::<u64>().ok()).is_some_and(|pages| pages >= 64)
}

/// Device number `index`, which loops this file at full speed on each of its queues.
pub(crate) fn device(index: usize, template: &Path, queues: usize) -> PortOptions {
    let files = format!(",rx_pcap={}", template.display()).repeat(queues);
    PortOptions {
        device: format!("net_pcap{index}{files},infinite_rx=1"),
        queues,
        descriptors: 512,
        mbufs: 4096 * queues as u32,
        promiscuous: true,
        mtu: None,
    }
}
