//! A scenario: who is attacked and how. From a seed come its sample, the baseline, and fresh traffic to judge by.

use serde_json::{Value, json};

use crate::attack::{Flood, Ideal, Ready};
use crate::legit::Legit;
use crate::packet::Packet;
use crate::pcap::Frame;
use crate::random::Rng;
use crate::world::World;

/// When baselines begin, seconds since 1970 UTC.
const EPOCH: u64 = 1_750_000_000;
/// Seconds of a baseline, and of the legitimate traffic that is judged by.
const BASELINE_S: f64 = 14.0;
const JUDGED_S: f64 = 40.0;
/// From the baseline's end to the sample, seconds.
const GAP_S: u64 = 40;
/// What a sample should span, seconds: the stride follows.
const SPAN_S: f64 = 0.05;
/// Packets of each vector that are judged by, at least.
const JUDGED_PACKETS: usize = 2_500;

/// How attack packets come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All the time.
    Steady,
    /// In pulses of 8 ms, 12 ms apart.
    Pulses,
}

/// What the threshold counted that crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Packets a second.
    Packets,
    /// Bits a second.
    Bytes,
}

/// A scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What the host is.
    pub legit: Legit,
    /// Vectors with their weights in packets.
    pub floods: Vec<(f64, Flood)>,
    /// IPv6.
    pub is_v6: bool,
    /// The target is a network, and the attack goes to all of it.
    pub is_network: bool,
    /// Share of legitimate packets among those that the target gets.
    pub legit_share: f64,
    /// Packets in the sample.
    pub sample: usize,
    /// How attack packets come.
    pub pace: Pace,
    /// The class that crossed, and what of it.
    pub crossing: (&'static str, Unit),
}

/// Whose a packet is: legitimate, or the attack's vector of this number.
pub type Label = Option<usize>;

/// A vector as a case has it.
#[derive(Clone, Debug)]
pub struct Vector {
    /// What tables call it.
    pub name: String,
    /// Its packets a second.
    pub pps: f64,
    /// What tells it from the host's own traffic, or why nothing does.
    pub words: &'static str,
    /// The rules that a person who knows everything would write; none where it cannot be separated.
    pub ideal: Option<Vec<Value>>,
}

/// What a scenario makes of a seed.
#[derive(Clone, Debug)]
pub struct Case {
    /// Who is there.
    pub world: World,
    /// What attacks.
    pub vectors: Vec<Vector>,
    /// What a capture would hold.
    pub attack: Vec<Frame>,
    /// Legitimate traffic from before.
    pub baseline: Vec<Frame>,
    /// Fresh packets to the target, and whose they are.
    pub judged: Vec<(Frame, Label)>,
    /// Legitimate packets a second.
    pub legit_pps: f64,
}

/// Where a vector's packets come from.
pub trait Source {
    /// The next packet, or the fragments of the next datagram, without their time.
    fn next(&mut self, world: &World, rng: &mut Rng) -> Vec<Frame>;
}

impl Scenario {
    /// What it makes of the seed.
    pub fn case(&self, seed: u64) -> Case {
        let mut setting = self.draws(seed, "setting");
        let world = World::new(setting.bits(), self.is_v6, self.is_network);
        let ready: Vec<Ready> = self.floods.iter().map(|(_, flood)| flood.ready(&world, &mut setting)).collect();
        let total: f64 = self.floods.iter().map(|(weight, _)| weight).sum();
        let vectors = self.floods.iter().zip(&ready).map(|((weight, flood), ready)| {
            let (Ideal::Rules(words, _) | Ideal::None(words)) = flood.ideal;
            Vector { name: flood.name.clone(), pps: weight / total, words, ideal: ready.ideal(&world) }
        });
        let vectors = vectors.collect();
        let sources = || ready.iter().map(|ready| Box::new(Drawn(ready.clone())) as Box<dyn Source>).collect();
        self.mix(seed, world, vectors, sources(), sources())
    }

    fn draws(&self, seed: u64, purpose: &str) -> Rng {
        Rng::new(seed, &format!("{} {purpose}", self.name))
    }

    /// Mixes these vectors, whose rates are still shares of the attack, with the legitimate traffic.
    pub fn mix(
        &self,
        seed: u64,
        world: World,
        mut vectors: Vec<Vector>,
        mut for_sample: Vec<Box<dyn Source>>,
        mut for_judge: Vec<Box<dyn Source>>,
    ) -> Case {
        let mut setting = self.draws(seed, "capture");
        let vlan = setting.chance(0.2).then_some(110);
        let keeps_answers = setting.chance(0.6);
        let framed = |packets: &[Packet], all: bool| -> Vec<Frame> {
            let kept = packets.iter().filter(|packet| all || world.target.contains(&packet.destination));
            kept.map(frame).collect()
        };
        let legit = |purpose: &str, seconds| self.legit.traffic(&world, self.draws(seed, purpose), seconds);

        let baseline = legit("baseline", BASELINE_S);
        let legit_pps = framed(&baseline, false).len() as f64 / BASELINE_S;
        let attack_pps = legit_pps * (1.0 - self.legit_share) / self.legit_share;
        vectors.iter_mut().for_each(|vector| vector.pps *= attack_pps);

        let mut rng = self.draws(seed, "sample");
        let stride = (((attack_pps + legit_pps) * SPAN_S / self.sample as f64) as usize).max(1);
        let seconds = 1.3 * (self.sample * stride) as f64 / (attack_pps + legit_pps) + 0.05;
        let mut frames = framed(&legit("legit in the sample", seconds), keeps_answers);
        for (vector, source) in vectors.iter().zip(&mut for_sample) {
            frames.extend(self.send(source.as_mut(), &world, &mut rng, vector.pps, (vector.pps * seconds) as usize));
        }
        frames.sort_by_key(|frame| frame.time_us);
        let kept = frames.into_iter().step_by(stride).take(self.sample);
        let start = (EPOCH + BASELINE_S as u64 + GAP_S) * 1_000_000;
        let captured = |frame: Frame, at: u64| match vlan {
            Some(vlan) => frame.later(at).tagged(vlan),
            None => frame.later(at),
        };
        let attack = kept.map(|frame| captured(frame, start)).collect();

        let mut rng = self.draws(seed, "judged");
        let mut judged: Vec<(Frame, Label)> =
            framed(&legit("legit that is judged", JUDGED_S), false).into_iter().map(|frame| (frame, None)).collect();
        for (number, (vector, source)) in vectors.iter().zip(&mut for_judge).enumerate() {
            let sent = self.send(source.as_mut(), &world, &mut rng, vector.pps, JUDGED_PACKETS);
            judged.extend(sent.into_iter().map(|frame| (frame, Some(number))));
        }
        let baseline = framed(&baseline, true).into_iter().map(|frame| captured(frame, EPOCH * 1_000_000)).collect();
        Case { world, vectors, attack, baseline, judged, legit_pps }
    }

    /// At least so many packets of a vector at this rate.
    fn send(&self, source: &mut dyn Source, world: &World, rng: &mut Rng, pps: f64, count: usize) -> Vec<Frame> {
        let mut frames: Vec<Frame> = Vec::with_capacity(count + 4);
        let mut time = rng.exponential(1.0 / pps);
        while frames.len() < count {
            for frame in source.next(world, rng) {
                frames.push(frame.later((self.pace.shift(time) * 1e6) as u64));
                time += rng.exponential(1.0 / pps);
            }
        }
        frames
    }

    /// What it is, in JSON: for people, and for judges other than ours.
    pub fn describe(&self, case: &Case) -> Value {
        let vectors: Vec<Value> = case
            .vectors
            .iter()
            .map(|vector| {
                json!({
                    "name": vector.name, "separable": vector.ideal.is_some(), "ideal": vector.words,
                    "ideal_rules": vector.ideal, "pps": vector.pps.round(),
                })
            })
            .collect();
        json!({
            "name": self.name, "legit": self.legit.name(), "target": case.world.target.to_string(), "vectors": vectors,
            "crossing": {"class": self.crossing.0, "direction": "incoming",
                "unit": if self.crossing.1 == Unit::Bytes { "bytes" } else { "packets" }},
            "legit_share": self.legit_share, "legit_pps": case.legit_pps.round(), "sample": self.sample,
            "pulses": self.pace == Pace::Pulses,
        })
    }
}

/// A flood of the generator.
struct Drawn(Ready);

impl Source for Drawn {
    fn next(&mut self, world: &World, rng: &mut Rng) -> Vec<Frame> {
        let at = rng.between(1, 1 << 40);
        self.0.next(world, rng).iter().map(|packet| Frame { time_us: 0, ..frame(&packet.at(at)) }).collect()
    }
}

impl Pace {
    /// When a packet passes that would pass then if the pace were steady.
    fn shift(self, time: f64) -> f64 {
        let (pulse, pause) = (0.008, 0.012);
        match self {
            Pace::Steady => time,
            Pace::Pulses => {
                let rounds = (time / (pulse + pause)).floor();
                rounds * (pulse + pause) + (time - rounds * (pulse + pause)) * pulse / (pulse + pause)
            }
        }
    }
}

fn frame(packet: &Packet) -> Frame {
    let (bytes, length) = packet.frame();
    Frame { time_us: packet.time_us, bytes, length }
}
