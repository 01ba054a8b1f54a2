//! What is told, against what FastNetMon told, and against the documentation.

mod due;
mod render;
mod story;
mod webhook;

use uuid::Uuid;

use super::notice::{BothWays, Notice, PacketLine, Traffic};
use crate::attack::{Kind, Metric, Rate, Rates, Unit};
use crate::detector::EventKind;
use crate::record::{AttackRecord, Crossing, State, samples};

/// 2026-11-21 19:14:23.798 UTC.
const TIME_MS: i64 = 1_795_288_463_798;

fn rate(pps: f64, packet_bytes: f64) -> Rate {
    Rate { pps, bps: pps * packet_bytes * 8.0 }
}

fn crossing(kind: Kind, unit: Unit) -> Option<Crossing> {
    Some(Crossing { metric: Metric { kind, unit }, threshold: 20_000, measured: 51_470.0 })
}

/// An attack on a prefix that was detected at [`TIME_MS`], with so much of `rates` now.
fn record(prefix: &str, rates: &Rates, crossing: Option<Crossing>) -> AttackRecord {
    AttackRecord {
        id: Uuid::from_u128(0x0196_5a3e_0c76_7000_8000_0000_0000_0001),
        crossing,
        detected_ms: TIME_MS,
        initial_pps: if crossing.is_some() { rates.total.pps } else { 0.0 },
        current: *rates,
        rest: *rates,
        peak: *rates,
        kinds: Vec::new(),
        ..samples::attack(prefix, State::Detected)
    }
}

fn incoming(rates: Rates) -> Traffic {
    Traffic { now: BothWays { incoming: rates, ..BothWays::default() }, mean: BothWays::default() }
}

fn notice(kind: EventKind, record: AttackRecord, traffic: Traffic, packets: Vec<PacketLine>) -> Notice {
    let text = format!("attack on {}", record.target);
    Notice { kind, time_ms: TIME_MS, text, record, traffic, packets }
}

/// The example of the documentation: a SYN flood on a host, which sends a little itself.
fn syn_flood(kind: EventKind) -> Notice {
    let syn = rate(51_470.0, 40.0);
    let flood = Rates { total: rate(52_000.0, 41.0), tcp: rate(51_900.0, 41.0), tcp_syn: syn, ..Rates::default() };
    let answers = Rates { total: rate(500.0, 400.0), tcp: rate(500.0, 400.0), ..Rates::default() };
    let now = BothWays { incoming: flood, outgoing: answers };
    let mut record = record("198.18.7.7/32", &flood, crossing(Kind::TcpSyn, Unit::Pps));
    record.kinds = vec![Kind::TcpSyn];
    let text = "attack on 198.18.7.7 incoming: 51470 tcp_syn_pps, 2.6 times the threshold of 20000".to_owned();
    let packets = vec![packet("203.0.113.9:1024", 0x02, 0), packet("203.0.113.77:1025", 0x02, 40)];
    Notice { text, ..notice(kind, record, Traffic { now, mean: now }, packets) }
}

fn packet(source: &str, flags: u16, later_us: i64) -> PacketLine {
    let source: std::net::SocketAddr = source.parse().unwrap();
    PacketLine {
        time_us: TIME_MS * 1_000 + 184 + later_us,
        source: source.ip(),
        destination: "198.18.7.7".parse().unwrap(),
        ports: (source.port(), 80),
        protocol: 6,
        flags,
        is_fragment: false,
        length: 60,
        ip_length: 40,
        ttl: 64,
        one_in: 3,
    }
}
