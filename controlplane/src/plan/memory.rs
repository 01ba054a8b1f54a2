//! What memory a configuration needs, held against what the machine has. Values only; [`Machine::read`] looks at /proc.
//!
//! The needs are bounds: workers' tables are there from the start, all of them; what the meter keeps grows with the hosts
//! that have traffic, up to what stands here.

use std::collections::BTreeSet;
use std::fmt::{self, Display};

use dataplane::hosts::{IPV4_BLOCKS_MAX, Layout};

use super::{covered_24s, eal_on_huge_pages, free_huge_pages, layout};
use crate::config::{Config, HugePages};
use crate::meter;

const MIB: u64 = 1 << 20;
const HUGE_PAGE: u64 = 2 * MIB;
/// An mbuf of DPDK's default size, with its header in the pool and its place in the pool's ring. It never crosses the
/// border of a page, so that an ordinary page holds one.
const MBUF_BYTES_HUGE: u64 = 2368 + 16;
const MBUF_BYTES: u64 = 4096 + 32;
/// What DPDK takes of its memory besides mbufs: of all, and for each port.
const EAL_OWN_BYTES: u64 = 8 * MIB;
const PORT_BYTES: u64 = 2 * MIB;
/// A worker's sample ring, figures and stack; and the daemon without any tables.
const WORKER_BYTES: u64 = 4 * MIB;
const DAEMON_BYTES: u64 = 64 * MIB;
/// Fewest IPv6 hosts that a configuration may ask for.
const IPV6_HOSTS_MIN: usize = 64;

/// What a machine has for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Bytes of ordinary pages that can be had without swapping.
    pub available: u64,
    /// Free huge pages of 2 MiB.
    pub huge_pages: u64,
}

impl Machine {
    /// As it is now.
    pub fn read() -> Machine {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Machine { available: kib(&meminfo, "MemAvailable:").unwrap_or(u64::MAX), huge_pages: free_huge_pages() }
    }

    /// As it would be without this process: a configuration is checked beside the daemon that it is for.
    pub fn without(self, pid: i32) -> Machine {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        Machine {
            available: self.available.saturating_add(kib(&status, "RssAnon:").unwrap_or(0)),
            huge_pages: self.huge_pages + kib(&status, "HugetlbPages:").unwrap_or(0) / HUGE_PAGE,
        }
    }
}

/// A line such as "MemAvailable:  123 kB", in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// Sizes that decide about memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    layout: Layout,
    workers: u64,
    /// /24 networks that can have traffic at all.
    ipv4_24s: u64,
    memory_mb: u64,
    /// Mbufs of each port, over all its queues.
    ports: Vec<u64>,
    huge_pages: HugePages,
}

/// What does not fit, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The key to change.
    pub key: &'static str,
    /// What is wrong.
    pub found: String,
    /// What would be right.
    pub hint: String,
}

impl Need {
    /// Of a configuration.
    pub fn of(config: &Config) -> Need {
        let cores: BTreeSet<u16> = config.ports.iter().flat_map(|port| port.cores.iter().copied()).collect();
        Need {
            layout: layout(config),
            workers: cores.len() as u64,
            ipv4_24s: covered_24s(&config.networks) as u64,
            memory_mb: config.dpdk.memory_mb.into(),
            ports: config.ports.iter().map(|port| u64::from(config.dpdk.mbufs) * port.cores.len() as u64).collect(),
            huge_pages: config.dpdk.huge_pages,
        }
    }

    fn eal_on_huge_pages(&self, machine: &Machine) -> bool {
        eal_on_huge_pages(self.huge_pages, self.memory_mb as u32, machine.huge_pages)
    }

    /// Mbufs, and what DPDK needs beside them.
    fn pools(&self, machine: &Machine) -> u64 {
        let mbuf = if self.eal_on_huge_pages(machine) { MBUF_BYTES_HUGE } else { MBUF_BYTES };
        EAL_OWN_BYTES + self.ports.iter().map(|mbufs| mbufs * mbuf + PORT_BYTES).sum::<u64>()
    }

    fn meter(&self) -> u64 {
        meter::bytes_max(&self.layout, self.workers, self.ipv4_24s)
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        let tables = self.layout.tables().iter().map(|table| *table as u64).sum::<u64>() + WORKER_BYTES;
        self.workers * tables + self.memory_mb * MIB + self.meter() + DAEMON_BYTES
    }

    /// The part of it that goes into ordinary pages: huge pages are taken by EAL first, then by whole tables.
    fn ordinary(&self, machine: &Machine) -> u64 {
        let mut huge = machine.huge_pages;
        let mut rest = self.total();
        if self.eal_on_huge_pages(machine) {
            huge = huge.saturating_sub(self.memory_mb.div_ceil(2));
            rest -= self.memory_mb * MIB;
        }
        for table in (0..self.workers).flat_map(|_| self.layout.tables()).map(|table| table as u64) {
            // A small one may stay in ordinary pages, to waste none.
            if table > HUGE_PAGE && table / HUGE_PAGE <= huge {
                huge -= table / HUGE_PAGE;
                rest -= table;
            }
        }
        rest
    }

    /// Everything that does not fit.
    pub fn misfits(&self, machine: &Machine) -> Vec<Misfit> {
        let mut misfits = Vec::new();
        let wanted_mb = self.pools(machine).div_ceil(MIB);
        if wanted_mb > self.memory_mb {
            let found = format!(
                "{} mbufs need {wanted_mb} MiB of DPDK's memory, which has {}",
                self.ports.iter().sum::<u64>(),
                self.memory_mb
            );
            let hint = format!("write `memory_mb = {wanted_mb}`, or fewer `mbufs` for each queue");
            misfits.push(Misfit { key: "dpdk.memory_mb", found, hint });
        }
        let needed = self.memory_mb.div_ceil(2);
        if self.huge_pages == HugePages::Always && needed > machine.huge_pages {
            let found = format!("{} MiB are {needed} huge pages, and {} are free", self.memory_mb, machine.huge_pages);
            let hint = "reserve more (vm.nr_hugepages), or write less, or `huge_pages = \"auto\"`".to_owned();
            misfits.push(Misfit { key: "dpdk.memory_mb", found, hint });
        }
        let ordinary = self.ordinary(machine);
        if ordinary > machine.available {
            let (key, advice) = self.advice(machine);
            let found =
                format!("{} MiB of memory are needed, and {} are available", mib(ordinary), machine.available / MIB);
            misfits.push(Misfit { key, found, hint: advice });
        }
        misfits
    }

    /// The largest of our tables that a smaller number makes fit.
    fn advice(&self, machine: &Machine) -> (&'static str, String) {
        let fits = |need: &Need| need.ordinary(machine) <= machine.available;
        let blocks = |ipv4_blocks| Need { layout: Layout { ipv4_blocks, ..self.layout }, ..self.clone() };
        let hosts = |ipv6_hosts| Need { layout: Layout { ipv6_hosts, ..self.layout }, ..self.clone() };
        let (all, without_ipv4, without_ipv6) = (self.total(), blocks(1).total(), hosts(IPV6_HOSTS_MIN).total());
        let ipv4 = || largest(1, self.layout.ipv4_blocks.min(IPV4_BLOCKS_MAX), |count| fits(&blocks(count)));
        let ipv6 = || largest(IPV6_HOSTS_MIN, self.layout.ipv6_hosts, |count| fits(&hosts(count)));
        let ipv4 = || Some(("tables.ipv4_blocks", format!("at most {} fit here", ipv4()?)));
        let ipv6 = || Some(("tables.ipv6_hosts", format!("at most {} fit here", ipv6()?)));
        let advice = if all - without_ipv4 >= all - without_ipv6 { ipv4().or_else(ipv6) } else { ipv6().or_else(ipv4) };
        advice.unwrap_or_else(|| {
            let key = if self.memory_mb * MIB > all / 2 { "dpdk.memory_mb" } else { "tables.ipv4_blocks" };
            (key, "no one key makes it fit: write less here, and for the other tables".to_owned())
        })
    }

    /// As a table for people.
    pub fn table(&self, machine: &Machine) -> String {
        Table { need: self, machine }.to_string()
    }
}

/// The largest number in a range that fits, where smaller ones do when a larger one does.
fn largest(min: usize, max: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    let (mut low, mut high) = (min, max + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if fits(middle) { low = middle + 1 } else { high = middle }
    }
    low.checked_sub(1).filter(|&found| found >= min)
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(MIB)
}

struct Table<'a> {
    need: &'a Need,
    machine: &'a Machine,
}

impl Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table { need, machine } = self;
        let layout = &need.layout;
        let parts = layout.parts();
        let mut line = |what: String, bytes: u64| writeln!(f, "{:>8} MiB  {what}", mib(bytes));
        let each = |bytes: usize| bytes as u64 * need.workers;
        let workers = need.workers;
        line(
            format!("IPv4 blocks, {} for each of {workers} workers (tables.ipv4_blocks)", layout.ipv4_blocks),
            each(parts.ipv4_blocks),
        )?;
        let (hosts, length) = (layout.ipv6_hosts, layout.ipv6_prefix_length);
        line(
            format!(
                "hashed hosts, {hosts} for each (tables.ipv6_hosts), of IPv6 by /{length} (tables.ipv6_prefix_length)"
            ),
            each(parts.ipv6_hosts),
        )?;
        line("directory of IPv4 blocks".to_owned(), each(parts.directory))?;
        if parts.flows > 0 {
            line("flows of hosts, as a group has a threshold for them".to_owned(), each(parts.flows))?;
        }
        line("networks, rules, sample rings".to_owned(), each(parts.rest) + workers * WORKER_BYTES)?;
        line(
            format!(
                "DPDK (dpdk.memory_mb); {} of it for {} mbufs",
                mib(need.pools(machine)),
                need.ports.iter().sum::<u64>()
            ),
            need.memory_mb * MIB,
        )?;
        line("the meter, once every host there is room for has traffic".to_owned(), need.meter())?;
        line("the daemon itself".to_owned(), DAEMON_BYTES)?;
        line(format!("in all; {} of it in ordinary pages", mib(need.ordinary(machine))), need.total())?;
        write!(f, "{:>8} MiB  available, and {} huge pages of 2 MiB", machine.available / MIB, machine.huge_pages)
    }
}

#[cfg(test)]
mod tests;
