//! The pipeline alone, without a device: so many packets to 65,536 hosts from memory, for a profiler that counts
//! instructions. The same packets give the same instructions, run after run.
//!
//! `cargo bench -p dataplane --bench pure -- [--passes N] [--tap N]`; each pass is one packet for each host. The always-on tap takes one
//! in N packets, 0 for none; without the argument as many as at 10 Gbit/s.

#![allow(clippy::disallowed_macros, reason = "a benchmark prints")]

#[path = "rig/traffic.rs"]
#[allow(dead_code, reason = "the rig uses the rest")]
mod traffic;

use std::sync::Arc;

use dataplane::hosts::Layout;
use dataplane::networks::Networks;
use dataplane::pipeline::{Pipeline, Shared};
use dataplane::snapshot::Snapshot;
use dataplane::stats::Kind;
use dataplane::watch::Watch;

const HOSTS: u32 = 65_536;
const BURST: usize = 32;
const TICK: u32 = 1;
/// What 2,000 packets a second are of 14.88 million.
const TAP_ONE_IN: u32 = 8192;

/// Passes, and one in how many packets is tapped.
fn arguments() -> Result<(u64, u32), Box<dyn std::error::Error>> {
    let (mut passes, mut one_in) = (1, TAP_ONE_IN);
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        match (name.as_str(), arguments.next()) {
            ("--passes", Some(number)) => passes = number.parse()?,
            ("--tap", Some(number)) => one_in = number.parse()?,
            (other, _) => return Err(format!("unknown argument {other}").into()),
        }
    }
    Ok((passes, one_in))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (passes, one_in) = arguments()?;
    let mut rewrite = traffic::to_hosts_v4(HOSTS);
    let template = traffic::udp_v4();
    let frames: Vec<Vec<u8>> = (0..HOSTS as usize)
        .map(|index| {
            let mut frame = template[index % template.len()].clone();
            rewrite(&mut frame);
            frame
        })
        .collect();
    let networks = Snapshot::new(Networks::new(&["10.0.0.0/8".parse()?])?);
    let watch = Snapshot::new(Watch::default());
    let layout =
        Layout { networks: 256, rules: 256, ipv4_blocks: 256, ipv6_hosts: 256, flow_ticks: 0, ipv6_prefix_length: 128 };
    let shared = Arc::new(Shared::new(0, layout, [3, 5])?);
    shared.tap.set_one_in(one_in);
    let mut pipeline = Pipeline::new(Arc::clone(&shared), networks.reader(), watch.reader());
    for _ in 0..passes {
        for burst in frames.chunks(BURST) {
            let bytes = burst.iter().map(|frame| frame.len() as u64).sum();
            pipeline.burst(burst.iter().map(|frame| (frame.as_slice(), frame.len() as u32)), bytes, TICK, 0);
        }
    }
    let packets = passes * u64::from(HOSTS);
    assert_eq!(shared.stats.packets[Kind::Incoming as usize].get(), packets, "every packet is incoming");
    assert_eq!(shared.stats.ipv4_blocks.get(), u64::from(HOSTS / 256), "every host has its slot");
    println!("{packets}");
    Ok(())
}
