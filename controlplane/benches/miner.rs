//! What mining costs: every scenario of `tests/scenarios`, with samples of 500 and of 5,000 packets, in this process.
//!
//! `cargo bench -p controlplane --bench miner -- [--only NAME] [--seeds N] [--rounds N]` prints the median and the worst over the scenarios, of
//! each the best of its rounds; fails above the bars; and writes `target/bench/miner.json`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use controlplane::attack::{Direction, Target, Unit};
use controlplane::miner::{Limits, Peace, Task, Whose, mine};
use controlplane::profile::Profile;
use controlplane::whitelist::Whitelist;
use dataplane::packet::{Addresses, Headers, parse};
use ipnet::IpNet;
use scenarios::catalog;
use scenarios::pcap::Frame;
use scenarios::scenario::Scenario;
use serde_json::json;

/// Packets of a sample, and how long mining them may take, milliseconds.
const BARS: [(usize, f64); 2] = [(500, 5.0), (5_000, 30.0)];

/// Whether the packet goes to the target.
fn near(packet: &Headers, target: IpNet) -> bool {
    match packet.addresses {
        Addresses::V4 { destination, .. } => target.contains(&IpAddr::from(Ipv4Addr::from(destination))),
        Addresses::V6 { destination, .. } => target.contains(&IpAddr::from(Ipv6Addr::from(destination))),
    }
}

/// One case, ready to be mined.
struct Ready {
    name: String,
    target: Target,
    sample: Vec<Headers>,
    seconds: f64,
    peace: Peace,
}

impl Ready {
    fn new(scenario: &Scenario, seed: u64) -> Ready {
        let case = scenario.case(seed);
        let read = |frames: &[Frame]| -> (Vec<Headers>, Vec<u64>) {
            frames.iter().filter_map(|frame| Some((parse(&frame.bytes).ok()?, frame.time_us))).unzip()
        };
        // Both directions were captured; what goes to the target is what a baseline has.
        let of_target = |frames: &[Frame]| -> (Vec<Headers>, Vec<u64>) {
            let (packets, times) = read(frames);
            let both = packets.into_iter().zip(times).filter(|(packet, _)| near(packet, case.world.target));
            both.unzip()
        };
        let ((sample, times), (packets, seconds)) = (of_target(&case.attack), of_target(&case.baseline));
        let first = seconds.first().copied().unwrap_or(0);
        let seconds = seconds.iter().map(|time| ((time - first) / 1_000_000) as u32).collect();
        let span = times.last().zip(times.first()).map_or(0, |(last, first)| last - first);
        Ready {
            name: scenario.name.clone(),
            target: Target { prefix: case.world.target, direction: Direction::Incoming },
            sample,
            seconds: span as f64 / 1e6,
            peace: Peace { packets, seconds, one_in: 1.0, whose: Whose::Target },
        }
    }

    /// Milliseconds that it takes, the best of so many times: others use the machine too.
    fn ms(&self, rounds: usize) -> f64 {
        let (profile, limits, whitelist) = (Profile::default(), Limits::default(), Whitelist::default());
        let task = Task {
            target: self.target,
            by: Unit::Pps,
            sample: &self.sample,
            seconds: self.seconds,
            peace: &self.peace,
            profile: &profile,
            limits: &limits,
            whitelist: &whitelist,
        };
        let mut times: Vec<f64> = (0..rounds)
            .map(|_| {
                let start = Instant::now();
                std::hint::black_box(mine(&task));
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[0]
    }
}

fn main() -> ExitCode {
    let (mut only, mut seeds, mut rounds) = (String::new(), 1, 5);
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--only" => only = value,
            "--seeds" => seeds = value.parse().unwrap_or(seeds),
            "--rounds" => rounds = value.parse().unwrap_or(rounds).max(1),
            other => {
                eprintln!("unknown: {other}");
                return ExitCode::from(2);
            }
        }
    }
    let chosen: Vec<Scenario> = catalog::all().into_iter().filter(|scenario| scenario.name.contains(&only)).collect();
    let (mut holds, mut all) = (true, Vec::new());
    for (packets, bar_ms) in BARS {
        let cases = chosen.iter().flat_map(|scenario| (1..=seeds).map(move |seed| (scenario, seed)));
        let mut times: Vec<(f64, String)> = cases
            .map(|(scenario, seed)| {
                let ready = Ready::new(&scenario.clone().sample(packets), seed);
                (ready.ms(rounds), format!("{} seed {seed}", ready.name))
            })
            .collect();
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let Some((worst, slowest)) = times.last() else { continue };
        let median = times[times.len() / 2].0;
        println!("{packets:>5} packets: median {median:.2} ms, worst {worst:.2} ms ({slowest}); bar {bar_ms} ms");
        for (ms, name) in times.iter().rev().take(5) {
            println!("      {ms:>6.2} {name}");
        }
        holds &= *worst <= bar_ms;
        all.push(
            json!({"packets": packets, "median_ms": median, "worst_ms": worst, "slowest": slowest, "bar_ms": bar_ms}),
        );
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join("miner.json"), format!("{:#}\n", json!(all))));
    if let Err(error) = written {
        eprintln!("target/bench/miner.json: {error}");
        return ExitCode::from(2);
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
