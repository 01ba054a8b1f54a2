//! `leveed replay`: the whole detector over capture files, by their own time stamps. The last test plays the same packets to a
//! daemon on `net_af_packet`, and needs root for that, for namespaces.

mod support;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::daemon::{Leveed, Setup, core, executable};
use support::netns::{Netns, veth};
use support::pcap::{self, flags};
use support::traffic::{self, Amount, Player, VICTIM};
use support::wait_until;
use tempfile::TempDir;

const S: u64 = 1_000_000;
/// When the files begin: 2026-11-21 06:00 UTC.
const START: u64 = 1_795_240_800 * S;
const NETWORKS: [&str; 2] = ["198.18.78.0/24", "2001:db8::/48"];
const DETECTION: &str = "[groups.default.incoming]\nudp_pps = 1000\ntcp_syn_pps = 1000\n[groups.default.outgoing]\nudp_pps = 1000\n\
                         [detection]\nban_time_s = 3\ncapture_packets = 100\nprobation_s = 1\n";
const PPS: u64 = 3_000;

type Timed = (u64, Vec<u8>);

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

/// `pps` frames a second from `from_s` on, for `seconds`; `frame` makes each of its number.
fn stream(from_s: u64, seconds: u64, pps: u64, frame: impl Fn(u64) -> Vec<u8>) -> Vec<Timed> {
    (0..seconds * pps).map(|number| (START + from_s * S + number * S / pps, frame(number))).collect()
}

/// Answers of reflectors: all from one port, and of any length.
fn reflected(host: IpAddr, number: u64) -> Vec<u8> {
    let reflector = match host {
        IpAddr::V4(_) => format!("198.51.100.{}:4500", 1 + number % 200),
        IpAddr::V6(_) => format!("[2001:db8:ffff::{:x}]:4500", 1 + number % 200),
    };
    pcap::udp(
        at(&reflector),
        SocketAddr::new(host, 1024 + (number * 101 % 60_000) as u16),
        100 + number as usize * 37 % 1_000,
    )
}

/// What `hping3 -S -p 80 --rand-source` sends.
fn syn(host: IpAddr, number: u64) -> Vec<u8> {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    let source =
        SocketAddr::new(IpAddr::from((mixed as u32 | 0x0100_0000).to_be_bytes()), 1024 + (mixed % 60_000) as u16);
    pcap::tcp(source, SocketAddr::new(host, 80), flags::SYN, 0)
}

/// What a web host lives on, both directions.
fn ordinary(host: IpAddr, number: u64) -> Vec<u8> {
    let (web, client) =
        (SocketAddr::new(host, 443), at(&format!("203.0.113.{}:40{:03}", 1 + number / 4 % 8, number / 4 % 8)));
    match number % 4 {
        0 => pcap::tcp(client, web, flags::SYN, 0),
        1 => pcap::tcp(web, client, flags::SYN | flags::ACK, 0),
        2 => pcap::tcp(client, web, flags::ACK, 200),
        _ => pcap::tcp(web, client, flags::ACK, 1000),
    }
}

fn peace(seconds: u64) -> Vec<Timed> {
    stream(0, seconds, 100, |number| ordinary(VICTIM.into(), number))
}

fn merged(streams: impl IntoIterator<Item = Vec<Timed>>) -> Vec<Timed> {
    let mut all: Vec<Timed> = streams.into_iter().flatten().collect();
    all.sort_by_key(|(time_us, _)| *time_us);
    all
}

/// Peace for 20 s, and an attack from 5 s to 9 s.
fn usual() -> Vec<Timed> {
    merged([peace(20), stream(5, 4, PPS, |number| reflected(VICTIM.into(), number))])
}

/// A folder with a configuration and capture files.
struct Rig {
    leveed: Leveed,
}

impl Rig {
    fn new(detection: &str) -> Rig {
        let device: [(&str, &[usize]); 1] = [("net_null0", &[0])];
        Rig {
            leveed: Leveed::prepare(&Setup {
                networks: &NETWORKS,
                ports: &device,
                rest: detection,
                ..Setup::default()
            }),
        }
    }

    fn file(&self, name: &str, frames: &[Timed]) -> PathBuf {
        let path = self.leveed.path(name);
        pcap::write_timed(&path, frames.iter().map(|(time_us, frame)| (*time_us, frame)));
        path
    }

    fn run(&self, files: &[&Path]) -> Output {
        run(files, &["--json", "--config", &self.leveed.config().display().to_string()])
    }

    #[track_caller]
    fn replay(&self, files: &[&Path]) -> Value {
        report(&self.run(files))
    }

    /// The report about one file with these frames.
    #[track_caller]
    fn replayed(&self, frames: &[Timed]) -> Value {
        self.replay(&[&self.file("frames.pcap", frames)])
    }
}

fn run(files: &[&Path], arguments: &[&str]) -> Output {
    Command::new(executable()).arg("replay").args(arguments).args(files).output().expect("run leveed")
}

#[track_caller]
fn report(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn attacks(report: &Value) -> &[Value] {
    report["attacks"].as_array().expect("attacks")
}

#[track_caller]
fn the_attack(report: &Value) -> &Value {
    let [attack] = attacks(report) else { panic!("one attack, not {:#}", report["attacks"]) };
    attack
}

/// What must be the same of two replays of the same packets.
fn essence(report: &Value) -> Vec<Value> {
    let rule = |rule: &Value| {
        json!([rule["flow_spec"], rule["wanted_s"], rule["withdrawn_s"], rule["coverage"], rule["matched_packets"]])
    };
    let attack = |attack: &Value| {
        let rules: Vec<Value> = attack["rules"].as_array().unwrap().iter().map(rule).collect();
        json!([
            attack["target"],
            attack["direction"],
            attack["metric"],
            attack["measured"],
            attack["state"],
            attack["detected_s"],
            attack["mitigating_s"],
            attack["ending_s"],
            attack["ended_s"],
            attack["peak"],
            rules
        ])
    };
    attacks(report).iter().map(attack).collect()
}

#[track_caller]
fn assert_between(value: &Value, least: f64, most: f64) {
    let number = value.as_f64().unwrap_or(f64::NAN);
    assert!((least..=most).contains(&number), "{number} is not from {least} to {most}");
}

#[test]
fn an_attack_from_its_crossing_to_its_end() {
    let rig = Rig::new(DETECTION);
    let report = rig.replayed(&usual());
    let attack = the_attack(&report);
    assert_eq!(
        (&attack["target"], &attack["direction"], &attack["group"]),
        (&json!("198.18.78.1/32"), &json!("incoming"), &json!("default"))
    );
    assert_eq!(
        (&attack["metric"], &attack["threshold"], &attack["by"]),
        (&json!("udp_pps"), &json!(1000.0), &json!("threshold"))
    );
    // Of 3,000 packets a second, 1,000 in the window are there after a third of a second; a check comes every tenth.
    assert_between(&attack["detected_s"], 5.3, 5.6);
    assert_between(&attack["mitigating_s"], 5.35, 5.7);
    assert_eq!(
        attack["detected_ms"].as_i64().unwrap(),
        (START / 1000) as i64 + (attack["detected_s"].as_f64().unwrap() * 1e3).round() as i64
    );
    assert_between(&attack["peak"]["udp_pps"], 2_950.0, 3_050.0);
    // The window is over the threshold for two thirds of a second more; then comes the ban time, then the probation.
    assert_between(&attack["over_until_s"], 9.5, 9.8);
    assert_between(&attack["ending_s"], 12.6, 12.9);
    assert_between(&attack["ended_s"], 13.6, 13.9);
    assert_eq!(
        (&attack["state"], &attack["under_way"], &attack["sample_cut"]),
        (&json!("ended"), &json!(false), &json!(false))
    );
    let [rule] = attack["rules"].as_array().unwrap().as_slice() else { panic!("one rule: {attack:#}") };
    let spec = rule["flow_spec"].as_object().unwrap();
    assert_eq!(
        (&spec["destination_prefix"], &spec["protocols"], &spec["action_type"]),
        (&json!("198.18.78.1/32"), &json!(["udp"]), &json!("discard"))
    );
    assert_between(&rule["coverage"], 0.9, 1.0);
    assert!(rule["mined"]["collateral"].as_f64().unwrap() < 0.01, "{rule:#}");
    assert!(rule["mined"]["collateral_at_most"].as_f64().unwrap() < 0.1, "the baseline is what came before: {rule:#}");
    assert!(!rule["reason"].as_str().unwrap().is_empty());
    assert_between(&rule["wanted_s"], 5.35, 5.7);
    // What came after the rule was there, and no more.
    let came = (9.0 - rule["wanted_s"].as_f64().unwrap()) * PPS as f64;
    assert_between(&rule["matched_packets"], came - 30.0, came + 1.0);
    let journal: Vec<&str> =
        attack["journal"].as_array().unwrap().iter().filter_map(|entry| entry["kind"].as_str()).collect();
    assert_eq!(
        journal,
        ["detected", "captured", "mitigating", "rule_wanted", "rule_held", "rule_withdrawn", "ending", "ended"]
    );
    assert_eq!((&report["packets"], &report["warnings"]), (&json!(14_000), &json!([])));
    let kinds = &report["kinds"];
    assert_eq!((&kinds["incoming"]["packets"], &kinds["outgoing"]["packets"]), (&json!(13_000), &json!(1_000)));
    let busiest = &report["busiest"][0];
    assert_eq!((&busiest["host"], &busiest["direction"]), (&json!("198.18.78.1"), &json!("incoming")));
    assert_between(&busiest["pps"], 2_000.0, 3_100.0);
    assert_eq!(essence(&rig.replayed(&usual())), essence(&report), "each time the same");
    assert!(!rig.leveed.state().exists() && !rig.leveed.socket().exists(), "it leaves nothing behind");
}

#[test]
fn two_attacks_at_once_and_one_over_ipv6() {
    let (six, other) = ("2001:db8::80".parse().unwrap(), "198.18.78.9".parse().unwrap());
    let frames = merged([
        peace(12),
        stream(3, 6, PPS, |number| reflected(six, number)),
        stream(4, 5, PPS, |number| syn(other, number)),
    ]);
    let report = Rig::new(DETECTION).replayed(&frames);
    let found: Vec<_> =
        attacks(&report).iter().map(|it| (it["target"].as_str().unwrap(), it["metric"].as_str().unwrap())).collect();
    assert_eq!(found, [("2001:db8::80/128", "udp_pps"), ("198.18.78.9/32", "tcp_syn_pps")]);
    for attack in attacks(&report) {
        assert!(attack["rules"][0]["coverage"].as_f64().unwrap() > 0.9, "{attack:#}");
        assert_eq!(attack["rules"][0]["flow_spec"]["destination_prefix"], attack["target"]);
    }
    assert_eq!(attacks(&report)[0]["rules"][0]["flow_spec"]["protocols"], json!(["udp"]));
}

#[test]
fn what_stays_below_the_threshold_is_no_attack() {
    let frames = merged([peace(6), stream(1, 4, 950, |number| reflected(VICTIM.into(), number))]);
    let rig = Rig::new(DETECTION);
    assert_eq!(attacks(&rig.replayed(&frames)).len(), 0);
    let config = rig.leveed.config().display().to_string();
    let output = run(&[&rig.leveed.path("frames.pcap")], &["--config", &config]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("\nno attack\n"), "{text}");
}

#[test]
fn a_burst_that_fills_no_sample_is_a_false_positive() {
    let detection = DETECTION.replace("capture_packets = 100", "capture_packets = 5000\ncapture_timeout_s = 2");
    let frames = merged([peace(10), stream(2, 1, 1_500, |number| reflected(VICTIM.into(), number))]);
    let rig = Rig::new(&detection);
    let report = rig.replayed(&frames);
    let attack = the_attack(&report);
    assert_eq!((&attack["state"], &attack["rules"]), (&json!("false_positive"), &json!([])));
    assert!(attack["note"].as_str().unwrap().contains("of 5000 packets"), "{attack:#}");
    assert_between(&attack["ended_s"], 4.0, 5.5);
    let config = rig.leveed.config().display().to_string();
    let text = run(&[&rig.leveed.path("frames.pcap")], &["--config", &config]).stdout;
    assert!(String::from_utf8_lossy(&text).contains("\n0 attacks, 1 false positive\n"));
}

#[test]
fn what_is_exempt_is_shown_and_nothing_is_done_about_it() {
    let exempt = format!("{DETECTION}[whitelist]\nnetworks = [\"198.18.78.1/32\"]\n");
    let report = Rig::new(&exempt).replayed(&usual());
    let attack = the_attack(&report);
    assert!(attack["note"].as_str().unwrap().contains("198.18.78.1/32 is in whitelist.networks"), "{attack:#}");
    assert_eq!(attack["rules"], json!([]));
    let ignored =
        format!("{DETECTION}[whitelist]\nignored = ['{{\"protocols\": [\"udp\"], \"source_ports\": [4500]}}']\n");
    let report = Rig::new(&ignored).replayed(&usual());
    assert_eq!((attacks(&report).len(), &report["kinds"]["ignored"]["packets"]), (0, &json!(12_000)));
}

#[test]
fn several_files_are_one_by_their_time_stamps() {
    let rig = Rig::new(DETECTION);
    let whole = rig.replayed(&usual());
    let flood = stream(5, 4, PPS, |number| reflected(VICTIM.into(), number));
    let (first, second) = (rig.file("first.pcap", &peace(20)), rig.file("second.pcap", &flood));
    let report = rig.replay(&[&second, &first]);
    assert_eq!(essence(&report), essence(&whole));
    assert_eq!((&report["files"][0]["packets"], &report["files"][1]["packets"]), (&json!(12_000), &json!(2_000)));
    assert_eq!(report["warnings"], json!([]));
}

/// A section, an interface in nanoseconds, and the frames.
fn pcapng(frames: &[Timed]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let length = (body.len().next_multiple_of(4) + 12) as u32;
        let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
        [&kind.to_le_bytes()[..], &length.to_le_bytes(), body, &padding, &length.to_le_bytes()].concat()
    };
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let mut file = block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
    file.extend(block(1, &[&words(&[1, 0])[..], &[9, 0, 1, 0, 9, 0, 0, 0]].concat()));
    for (time_us, frame) in frames {
        let (nanos, length) = (time_us * 1_000, frame.len() as u32);
        let head = words(&[0, (nanos >> 32) as u32, nanos as u32, length, length]);
        file.extend(block(6, &[head, frame.clone()].concat()));
    }
    file
}

#[test]
fn pcapng_and_a_file_that_is_cut_short() {
    let rig = Rig::new(DETECTION);
    let whole = rig.replayed(&usual());
    let ng = rig.leveed.path("usual.pcapng");
    std::fs::write(&ng, pcapng(&usual())).unwrap();
    assert_eq!(essence(&rig.replay(&[&ng])), essence(&whole));

    for name in ["frames.pcap", "usual.pcapng"] {
        let bytes = std::fs::read(rig.leveed.path(name)).unwrap();
        let cut = rig.leveed.path("cut");
        std::fs::write(&cut, &bytes[..bytes.len() / 2 + 1]).unwrap();
        let output = rig.run(&[&cut]);
        let report = report(&output);
        assert_eq!(the_attack(&report)["rules"][0]["flow_spec"], the_attack(&whole)["rules"][0]["flow_spec"]);
        assert_eq!(
            (&the_attack(&report)["state"], &the_attack(&report)["under_way"]),
            (&json!("mitigating"), &json!(true))
        );
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("cut: it is cut short"), "{errors}");
        assert!(report["packets"].as_u64().unwrap() > 5_000, "what there is counts");
    }
}

#[test]
fn a_sample_that_the_end_of_the_file_cuts_is_mined_as_it_is() {
    let detection = DETECTION.replace("capture_packets = 100", "capture_packets = 2000");
    let report = Rig::new(&detection).replayed(&stream(0, 1, PPS, |number| reflected(VICTIM.into(), number)));
    let attack = the_attack(&report);
    assert_eq!((&attack["sample_cut"], &attack["state"]), (&json!(true), &json!("mitigating")));
    assert!(attack["captured"].as_u64().unwrap() < 2000);
    assert_eq!(attack["rules"][0]["flow_spec"]["protocols"], json!(["udp"]));
}

#[test]
fn time_stamps_that_jump_back() {
    let rig = Rig::new(DETECTION);
    // Two queues that are 40 ms apart.
    let late: Vec<Timed> =
        (0..).zip(usual()).map(|(number, (time_us, frame))| (time_us - number % 2 * 40_000, frame)).collect();
    let report = rig.replayed(&late);
    let attack = the_attack(&report);
    assert_between(&attack["detected_s"], 5.3, 5.7);
    assert_between(&attack["peak"]["udp_pps"], 2_900.0, 3_150.0);
    assert!(report["warnings"][0].as_str().unwrap().contains("an earlier time stamp"), "{}", report["warnings"]);

    // The clock is set back by an hour in the middle of the attack.
    let back: Vec<Timed> = usual()
        .into_iter()
        .map(|(time_us, frame)| if time_us < START + 7 * S { (time_us, frame) } else { (time_us - 3_600 * S, frame) })
        .collect();
    let report = rig.replayed(&back);
    let attack = the_attack(&report);
    assert_between(&attack["detected_s"], 5.3, 5.6);
    assert_between(&attack["ended_s"], 13.6 - 3_600.0, 13.9 - 3_600.0);
    assert_between(&attack["peak"]["udp_pps"], 2_950.0, 3_050.0);
    assert!(
        report["warnings"][0].as_str().unwrap().contains("the time stamps jump back once"),
        "{}",
        report["warnings"]
    );
}

#[test]
fn years_of_silence_cost_nothing_and_end_what_was_there() {
    const YEARS: u64 = 10 * 365 * 86_400;
    let late = |(time_us, frame): Timed| (time_us + YEARS * S, frame);
    let mut frames = usual();
    frames.retain(|(time_us, _)| *time_us < START + 8 * S);
    frames.extend(usual().into_iter().map(late));
    // A stamp from far ahead in between, and time goes on behind it.
    frames.insert(1_000, (START + 2 * YEARS * S, ordinary(VICTIM.into(), 0)));
    let begun = Instant::now();
    let report = Rig::new(DETECTION).replayed(&frames);
    assert!(begun.elapsed() < Duration::from_secs(20), "took {:?}", begun.elapsed());
    let [first, second] = attacks(&report) else { panic!("two attacks: {:#}", report["attacks"]) };
    assert_eq!((&first["state"], &second["state"]), (&json!("ended"), &json!("ended")));
    assert_between(&first["ending_s"], 11.5, 12.0);
    let detected = second["detected_s"].as_f64().unwrap() - YEARS as f64;
    assert!((5.3..5.6).contains(&detected), "{detected}");
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("nothing came for more than an hour 2 times")
            && warnings.contains("the time stamps jump back once"),
        "{warnings}"
    );
}

#[test]
fn behind_the_router_what_rules_discard_is_not_seen() {
    let frames = merged([peace(20), stream(5, 12, PPS, |number| reflected(VICTIM.into(), number))]);
    let behind = Rig::new(&format!("{DETECTION}tap = \"behind_router\"\n")).replayed(&frames);
    let attack = the_attack(&behind);
    assert!(attack["again_s"].as_f64().unwrap() > 8.0, "it was tried whether it is over: {attack:#}");
    assert_between(&behind["discarded_by_rules"], 20_000.0, 35_000.0);
    assert_eq!(attack["rules"][0]["matched_packets"], 0, "{attack:#}");
    let before = Rig::new(DETECTION).replayed(&frames);
    assert_eq!((&before["discarded_by_rules"], &the_attack(&before)["again_ms"]), (&json!(0), &json!(0)));
}

#[test]
fn without_a_configuration() {
    let rig = Rig::new(DETECTION);
    let file = rig.file("usual.pcap", &usual());
    let guessed = report(&run(&[&file], &["--json", "--threshold", "udp_pps=1000"]));
    assert_eq!(guessed["networks"], json!(["198.18.78.0/24"]), "where most packets go");
    assert_eq!(the_attack(&guessed)["metric"], "udp_pps");
    let named = report(&run(&[&file], &["--json", "--network", "198.18.78.1", "--network", "2001:db8::/32"]));
    assert_eq!((&named["networks"], attacks(&named).len()), (&json!(["198.18.78.1/32", "2001:db8::/32"]), 0));
    let text = String::from_utf8_lossy(&run(&[&file], &["--network", "198.18.78.1"]).stdout).into_owned();
    assert!(text.contains("udp_pps 100000"), "the thresholds in force are shown: {text}");
    let elsewhere = report(&run(&[&file], &["--json", "--network", "192.0.2.0/24"]));
    assert_eq!((&elsewhere["kinds"]["other"]["packets"], attacks(&elsewhere).len()), (&json!(14_000), 0));
}

#[test]
fn what_cannot_be_replayed_is_said() {
    let rig = Rig::new(DETECTION);
    let config = rig.leveed.config().display().to_string();
    let write = |name: &str, bytes: &[u8]| {
        let path = rig.leveed.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let good = rig.file("good.pcap", &peace(1));
    let wrong = |files: &[&Path], arguments: &[&str], status: i32, said: &str| {
        let output = run(files, arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(status), 0), "{errors}");
        assert!(errors.contains(said), "{errors}");
    };
    let missing = rig.leveed.path("missing.pcap");
    wrong(&[&good, &missing], &["--config", &config], 1, "missing.pcap: No such file");
    wrong(&[&write("text", b"just some text")], &["--config", &config], 1, "text: it is neither pcap nor pcapng");
    wrong(&[&write("empty", b"")], &[], 1, "empty: it is neither pcap nor pcapng");
    wrong(&[&write("packed", &[0x1f, 0x8b, 8, 0])], &[], 1, "packed: it is compressed");
    let mut usb = std::fs::read(&good).unwrap();
    usb[20] = 189;
    wrong(&[&write("usb", &usb)], &["--config", &config], 1, "usb: link type 189 is not supported");
    wrong(&[&write("header", &usb[..20])], &[], 1, "no packet of these files");
    wrong(&[&good], &["--config", &missing.display().to_string()], 2, "missing.pcap: No such file");
    wrong(&[&good], &["--network", "198.18.78.0/33"], 2, "give a prefix");
    wrong(&[&good], &["--threshold", "upd_pps=1"], 2, "did you mean `udp_pps`?");
    wrong(&[], &["--config", &config], 2, "<FILE>");

    // Only the Ethernet and half of the IP header was kept.
    let mut short = std::fs::read(&good).unwrap()[..24].to_vec();
    for (time_us, frame) in peace(1) {
        for word in [time_us / S, time_us % S, 24, frame.len() as u64] {
            short.extend((word as u32).to_le_bytes());
        }
        short.extend(&frame[..24]);
    }
    let report = rig.replay(&[&write("short.pcap", &short)]);
    assert_eq!(report["kinds"]["unparsed"]["packets"], 100);
    assert!(report["warnings"][0].as_str().unwrap().contains("100 packets were cut to fewer than 64 bytes"));
}

/// A capture of `tests/data`, to [`VICTIM`], at this rate, and played so often.
fn real(name: &str, rate_pps: u64, times: u64) -> Vec<Timed> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    traffic::retarget(&traffic::capture(name), VICTIM, &path);
    let frames = pcap::read(&path);
    let count = frames.len() as u64;
    let time_us = |number: u64| START + number * S / rate_pps;
    (0..count * times).map(|number| (time_us(number), frames[(number % count) as usize].clone())).collect()
}

#[test]
fn real_attacks_get_rules() {
    let rig = Rig::new(DETECTION);
    for (name, metric) in [("amp.UDP.isakmp.pcap", "udp_pps"), ("pkt.TCP.synflood.spoofed.pcap", "tcp_syn_pps")] {
        let frames = merged([
            peace(8),
            real(name, PPS, 4).into_iter().map(|(time_us, frame)| (time_us + 3 * S, frame)).collect(),
        ]);
        let report = rig.replayed(&frames);
        let attack = the_attack(&report);
        assert_eq!((&attack["metric"], &attack["target"]), (&json!(metric), &json!("198.18.78.1/32")), "{name}");
        let rule = &attack["rules"][0];
        assert!(rule["coverage"].as_f64().unwrap() > 0.9, "{name}: {rule:#}");
        assert!(rule["flow_spec"].as_object().unwrap().len() > 2, "more than the target: {rule:#}");
    }
}

#[test]
fn a_daemon_sees_the_same() {
    let rig = Rig::new(DETECTION);
    let frames = real("amp.UDP.isakmp.pcap", PPS, 3);
    let file = rig.file("isakmp.pcap", &frames);
    let replayed = rig.replay(&[&file]);
    let replayed = the_attack(&replayed);

    let (outside, inside) = (Netns::silent(), Netns::silent());
    veth((&outside, "out0"), (&inside, "tap0"));
    let mut leveed = Leveed::prepare(&Setup {
        networks: &NETWORKS,
        ports: &[("net_af_packet0,iface=tap0,blocksz=65536,framesz=2048,framecnt=8192", &[core()])],
        rest: DETECTION,
        ..Setup::default()
    });
    leveed.start_in(&inside);
    let player = Player::start(&outside, "out0", &file, PPS as u32, Amount::Packets(frames.len() as u64));
    player.wait();
    let attack = wait_until(Duration::from_secs(10), "the attack", || {
        leveed.attacks().into_iter().find(|attack| !attack.rules.is_empty())
    });
    assert_eq!((&json!(attack.target), &json!(attack.metric)), (&replayed["target"], &replayed["metric"]));
    let rules: Vec<Value> =
        attack.rules.iter().map(|rule| serde_json::from_str(&rule.flow_spec_json).unwrap()).collect();
    let replayed_rules: Vec<&Value> =
        replayed["rules"].as_array().unwrap().iter().map(|rule| &rule["flow_spec"]).collect();
    assert_eq!(rules.iter().collect::<Vec<_>>(), replayed_rules);
    // How soon a rule is there: both by their own clocks.
    let soon = replayed["mitigating_ms"].as_i64().unwrap() - replayed["detected_ms"].as_i64().unwrap();
    assert!((0..=300).contains(&soon) && attack.mitigating_ms - attack.detected_ms <= 1_000, "{soon}, {attack:?}");
    let peak = attack.peak.expect("rates").udp_pps;
    assert!((peak / replayed["peak"]["udp_pps"].as_f64().unwrap() - 1.0).abs() < 0.15, "{peak}, {replayed:#}");
}
