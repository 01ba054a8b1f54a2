//! Real captures of attacks mixed with generated legitimate traffic. Their packets get allowed addresses: the host's, and for each
//! source another one, so that sources that were near each other still are.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use serde_json::{Value, json};

use crate::judge::headers::Headers;
use crate::legit::Legit;
use crate::pcap::{self, Frame};
use crate::random::{Rng, mix};
use crate::scenario::{Case, Pace, Scenario, Source, Unit, Vector};
use crate::world::World;

/// The host that captures attack.
const VICTIM: Ipv4Addr = Ipv4Addr::new(10, 10, 10, 10);

/// A real capture, and what a person would say about it.
#[derive(Clone, Debug)]
pub struct Capture {
    name: &'static str,
    file: &'static str,
    legit: Legit,
    is_attack: fn(&Headers) -> bool,
    words: &'static str,
    ideal: fn() -> Vec<Value>,
}

/// All of them, each with several hosts. What is not the attack (sessions that were there, short answers, errors that came along) is left out.
pub fn all() -> Vec<Capture> {
    let syn = |legit| Capture {
        name: "synflood",
        file: "pkt.TCP.synflood.spoofed.pcap",
        legit,
        is_attack: |packet| packet.protocol == 6,
        words: "SYN without ACK and without options",
        ideal: || vec![json!({"protocols": ["tcp"], "tcp_flags": ["syn&!ack"], "packet_lengths": [40]})],
    };
    let syn_ack = |legit| Capture {
        name: "syn-ack",
        file: "amp.TCP.reflection.SYNACK.pcap",
        legit,
        is_attack: |packet| packet.protocol == 6,
        words: "SYN with ACK, of 40 and 44 bytes; resets from servers' ports",
        ideal: || {
            vec![
                json!({"protocols": ["tcp"], "tcp_flags": ["syn&ack"], "packet_lengths": ["40-44"]}),
                json!({"protocols": ["tcp"], "tcp_flags": ["rst"], "source_ports": [80, 443]}),
            ]
        },
    };
    let isakmp = |legit| Capture {
        name: "isakmp",
        file: "amp.UDP.isakmp.pcap",
        legit,
        is_attack: |packet| packet.protocol == 17,
        words: "UDP from port 4500, of 232 bytes",
        ideal: || vec![json!({"protocols": ["udp"], "source_ports": [4500], "packet_lengths": [232]})],
    };
    let dns = |legit| Capture {
        name: "dns",
        file: "amp.dns.RRSIG.fragmented.pcap",
        legit,
        is_attack: |packet| packet.protocol == 17 && (packet.is_fragment || packet.more_follow || packet.length > 500),
        words: "long answers from port 53, and later fragments",
        ideal: || {
            vec![
                json!({"protocols": ["udp"], "source_ports": [53], "packet_lengths": ["1000-1500"]}),
                json!({"protocols": ["udp"], "fragmentation_flags": ["is-fragment"]}),
            ]
        },
    };
    vec![
        syn(Legit::Web),
        syn(Legit::Game),
        syn(Legit::Mail),
        syn_ack(Legit::Web),
        syn_ack(Legit::Home),
        syn_ack(Legit::Mail),
        isakmp(Legit::Web),
        isakmp(Legit::Vpn),
        dns(Legit::Web),
        dns(Legit::Resolver),
        dns(Legit::Home),
    ]
}

impl Capture {
    /// As a scenario, whose floods are in the file.
    pub fn scenario(&self) -> Scenario {
        Scenario {
            name: format!("capture-{}-{}", self.name, self.legit.name()),
            legit: self.legit,
            floods: Vec::new(),
            is_v6: false,
            is_network: false,
            legit_share: 0.1,
            sample: 500,
            pace: Pace::Steady,
            crossing: ("total", Unit::Packets),
        }
    }

    /// What the seed makes of it. Every second packet of the file is for the sample, the others are for judging.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn case(&self, folder: &Path, seed: u64) -> io::Result<Case> {
        let mut setting = Rng::new(seed, self.name);
        let world = World::new(setting.bits(), false, false);
        let IpAddr::V4(host) = world.hosts[0] else { unreachable!("the world is of IPv4") };
        let mut halves = [Vec::new(), Vec::new()];
        let frames = pcap::read(&folder.join(self.file))?;
        let of_attack = frames.into_iter().filter(|frame| {
            let headers = Headers::of_frame(&frame.bytes);
            headers.is_some_and(|headers| headers.destination == VICTIM && (self.is_attack)(&headers))
        });
        let mut places = Places { seed, known: HashMap::new() };
        for (number, frame) in of_attack.enumerate() {
            halves[number % 2].push(places.rewrite(frame, host));
        }
        let complete = |mut rule: Value| {
            rule["destination_prefix"] = Value::String(world.target.to_string());
            rule["action_type"] = Value::String("discard".into());
            rule
        };
        let ideal = Some((self.ideal)().into_iter().map(complete).collect());
        let vector = Vector { name: self.name.into(), pps: 1.0, words: self.words, ideal };
        let [sample, fresh] = halves.map(|frames| {
            let at = setting.between(0, frames.len() as u64 - 1) as usize;
            vec![Box::new(Replayed { frames, at }) as Box<dyn Source>]
        });
        Ok(self.scenario().mix(seed, world, vec![vector], sample, fresh))
    }
}

/// Where the networks of a capture's sources went.
struct Places {
    seed: u64,
    known: HashMap<u32, u32>,
}

impl Places {
    /// The frame as if it had come to this host from another place.
    fn rewrite(&mut self, mut frame: Frame, host: Ipv4Addr) -> Frame {
        let source = u32::from_be_bytes(frame.bytes[26..30].try_into().unwrap_or_default());
        let network =
            *self.known.entry(source >> 8).or_insert_with(|| (mix(self.seed ^ u64::from(source >> 8)) & 0x1ff) as u32);
        let source = Ipv4Addr::from_bits(0xc612_0000 | network << 8 | source & 0xff);
        frame.bytes[26..30].copy_from_slice(&source.octets());
        frame.bytes[30..34].copy_from_slice(&host.octets());
        frame.bytes.truncate(crate::packet::SNAP);
        Frame { time_us: 0, ..frame }
    }
}

/// Packets of a file, over and over.
struct Replayed {
    frames: Vec<Frame>,
    at: usize,
}

impl Source for Replayed {
    fn next(&mut self, _: &World, _: &mut Rng) -> Vec<Frame> {
        self.at = (self.at + 1) % self.frames.len();
        vec![self.frames[self.at].clone()]
    }
}
