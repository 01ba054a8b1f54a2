//! The cases that one worker runs alone.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dataplane::dpdk::Rewrite;
use dataplane::hosts::{Layout, PLANES};
use dataplane::packet::fragment;
use dataplane::pipeline::Shared;
use dataplane::rule::{Bits, FlowRule, Ranges};
use dataplane::stats::Lost;
use dataplane::watch::{ActiveRule, ActiveRules, Capture, Watch, Watched};
use ipnet::IpNet;
use serde_json::json;

use crate::measure::Bench;
use crate::traffic::{self, HOSTS_V4, Order, Random, to_hosts_mixed, to_hosts_v4, to_hosts_v6, udp_v4, udp_v6};
use crate::{Report, Result, Rig};

const PROTECTED: [&str; 2] = ["10.0.0.0/8", "2001:db8::/33"];
pub(crate) const LAYOUT: Layout =
    Layout { networks: 256, rules: 256, ipv4_blocks: 1024, ipv6_hosts: 256, flow_ticks: 0, ipv6_prefix_length: 128 };

/// 65,536 IPv4 hosts at random, random sources.
pub(crate) fn hosts_64k(rig: &Rig) -> Result<Report> {
    hosts(rig, LAYOUT, &udp_v4(), 65_536, to_hosts_v4(65_536))
}

/// As `hosts_64k`, with flow counting on.
pub(crate) fn flows(rig: &Rig) -> Result<Report> {
    hosts(rig, Layout { flow_ticks: 10, ..LAYOUT }, &udp_v4(), 65_536, to_hosts_v4(65_536))
}

/// 1,000,000 IPv4 hosts at random, random sources.
pub(crate) fn hosts_1m(rig: &Rig) -> Result<Report> {
    hosts(rig, Layout { ipv4_blocks: 4096, ..LAYOUT }, &udp_v4(), 1_000_000, to_hosts_v4(1_000_000))
}

/// 100,000 IPv6 hosts at random, random sources.
pub(crate) fn hosts_v6(rig: &Rig) -> Result<Report> {
    let layout = Layout { ipv4_blocks: 16, ipv6_hosts: 200_000, ..LAYOUT };
    hosts(rig, layout, &udp_v6(), 100_000, to_hosts_v6(100_000))
}

/// 65,536 IPv4 and 10,000 IPv6 hosts at random, three in four frames not plain: tags, fragments, options, tunnels, IPv6.
pub(crate) fn mixed(rig: &Rig) -> Result<Report> {
    let layout = Layout { ipv6_hosts: 20_000, ..LAYOUT };
    hosts(rig, layout, &traffic::mixed(), 75_536, to_hosts_mixed(65_536, 10_000))
}

fn hosts(
    rig: &Rig,
    layout: Layout,
    template: &[Vec<u8>],
    hosts: u64,
    rewrite: impl FnMut(&mut [u8]),
) -> Result<Report> {
    let (_port, mut queues) = rig.device(template, 1)?;
    let queue = queues.remove(0);
    let _rewrite = Rewrite::install(&queue, rewrite)?;
    let mut bench = Bench::new(rig.options.core, queue, layout, &PROTECTED)?;
    let pairs = bench.run(&rig.options);
    if rig.options.levee() {
        bench.assert_touched(hosts);
    }
    Ok(pairs.report(&bench.shared, &json!({ "hosts": hosts })))
}

/// One packet in so many is sampled: three times as many samples a second as a real capture wants of such a flood.
const STRIDE: u32 = 1000;
const REQUEST: u32 = 1;

/// Every packet goes to one watched host that has ten active rules, of which some rule matches one packet in three, and an
/// open capture.
pub(crate) fn attack_10_rules(rig: &Rig) -> Result<Report> {
    let (_port, mut queues) = rig.device(&udp_v4(), 1)?;
    let queue = queues.remove(0);
    let _rewrite = Rewrite::install(&queue, attack())?;
    let mut bench = Bench::new(rig.options.core, queue, LAYOUT, &PROTECTED)?;
    if !rig.options.levee() {
        let pairs = bench.run(&rig.options);
        return Ok(pairs.report(&bench.shared, &json!({})));
    }
    // A host gets its slot by its first packet, and its mark from the control thread.
    bench.levee(1);
    let unwatched = bench.shared.stats.total_packets();
    let slot = bench.shared.slab.find_v4(HOSTS_V4).ok_or("the host has no slot")?;
    bench.shared.slab.set_watch(slot, 1);
    bench.watch.replace(Watch::new(vec![Some(watched())]));

    let stop = Arc::new(AtomicBool::new(false));
    let drain = std::thread::spawn({
        let (shared, stop) = (Arc::clone(&bench.shared), Arc::clone(&stop));
        move || drain(&shared, &stop)
    });
    let pairs = bench.run(&rig.options);
    stop.store(true, Ordering::Relaxed);
    let samples = drain.join().map_err(|_| "the thread that takes samples panicked")?;

    bench.assert_touched(1);
    let packets = bench.shared.stats.total_packets() - unwatched;
    let matched = matched(&bench.shared);
    let off = (matched as f64 * 3.0 / packets as f64 - 1.0).abs();
    assert!(off < 0.01, "one packet in three matches, not {matched} of {packets}");
    let lost = bench.shared.stats.lost[Lost::RingFull as usize].get();
    let due = (packets - matched).div_ceil(u64::from(STRIDE));
    // What was lost may have been the tap's.
    let samples_due = due.saturating_sub(lost).max(1)..=due;
    assert!(samples_due.contains(&samples), "one in {STRIDE} of what no rule matches is sampled: {samples} of {due}");
    Ok(pairs.report(
        &bench.shared,
        &json!({ "hosts": 1, "rules": RULES, "matched": matched, "samples": samples, "samples_lost": lost }),
    ))
}

/// Takes samples out as the control thread does, until told to stop; returns how many.
fn drain(shared: &Shared, stop: &AtomicBool) -> u64 {
    // Not on the worker's core: the scheduler finds another one.
    core_affinity::get_core_ids()
        .and_then(|cores| cores.into_iter().find(|core| core.id != shared.core))
        .map(core_affinity::set_for_current);
    let mut samples = 0;
    loop {
        let last = stop.load(Ordering::Relaxed);
        while let Some(sample) = shared.ring.pop() {
            // The tap's are none of the capture's.
            samples += u64::from(sample.request == REQUEST);
        }
        if last {
            return samples;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Packets that rules matched.
fn matched(shared: &Shared) -> u64 {
    let cells = (0..RULES).flat_map(|id| (0..PLANES).map(move |plane| (id, plane)));
    cells.map(|(id, plane)| u64::from(shared.slab.cell(shared.slab.rule(id), plane).packets())).sum()
}

const RULES: u16 = 10;
/// UDP source ports of reflected traffic.
const REFLECTORS: [u16; 5] = [53, 123, 1900, 11_211, 389];

/// Ten rules as a host under several attacks has them; those for [`REFLECTORS`] match here.
fn rules() -> [FlowRule; RULES as usize] {
    let host = || FlowRule { destination: Some(IpAddr::V4(HOSTS_V4.into()).into()), ..FlowRule::default() };
    let udp = || FlowRule { protocols: Ranges::from(17), ..host() };
    let tcp = || FlowRule { protocols: Ranges::from(6), ..host() };
    let [dns, ntp, ssdp, memcached, ldap] =
        REFLECTORS.map(|port| FlowRule { source_ports: Ranges::from(u32::from(port)), ..udp() });
    let flags = |set, clear| vec![Bits { set, clear }];
    [
        FlowRule { tcp_flags: flags(0x02, 0x10), ..tcp() },
        FlowRule { tcp_flags: flags(0x12, 0), source_ports: [(1, 1023)].into_iter().collect(), ..tcp() },
        dns,
        ntp,
        FlowRule { fragments: flags(u16::from(fragment::IS), 0), ..udp() },
        FlowRule { protocols: Ranges::from(1), icmp_types: Ranges::from(8), ..host() },
        ssdp,
        FlowRule { packet_lengths: [(1200, 1500)].into_iter().collect(), ..udp() },
        memcached,
        ldap,
    ]
}

fn watched() -> Watched {
    let active: Vec<ActiveRule> = rules().into_iter().zip(0..).map(|(rule, slot)| ActiveRule { rule, slot }).collect();
    let capture = Capture { request: REQUEST, place: 0, stride: STRIDE, worker_max: u32::MAX, outgoing: false };
    let host = IpNet::from(IpAddr::from(Ipv4Addr::from(HOSTS_V4)));
    Watched {
        prefix: host.into(),
        rules: [ActiveRules::new(host, false, &active), ActiveRules::default()],
        captures: vec![capture],
    }
}

/// Rewrites source and source port: random sources; one port in three is a reflector's, in an order that no branch
/// predictor learns.
fn attack() -> impl FnMut(&mut [u8]) {
    let port = |index: u16| match index % 3 {
        0 => REFLECTORS[usize::from(index) / 3 % REFLECTORS.len()],
        _ => 20_000 + index,
    };
    let mut ports = Order::new((0..15_000).map(port).collect());
    let mut sources = Random::new();
    move |frame: &mut [u8]| {
        if let Some(fields) = frame.get_mut(26..36) {
            fields[..4].copy_from_slice(&(0x2000_0000 | sources.next() >> 4).to_be_bytes());
            fields[8..].copy_from_slice(&ports.next().to_be_bytes());
        }
    }
}
