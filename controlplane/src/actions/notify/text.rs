//! Reports as text: the layout of FastNetMon 1.2.4, and that of 1.2.6. Labels, order and blanks are FastNetMon's to the byte. Pure.

use std::fmt::Write;

use super::figures::{attack_protocol, attack_type, blocks, direction, mbps, packet_line, packet_size, whole};
use super::notice::{BothWays, Notice, PacketLine};
use crate::attack::{Rate, name};

/// The first part of the report of 1.2.4.
pub(super) fn classic(notice: &Notice) -> String {
    let (now, average) = (&notice.traffic.now, notice.traffic.average());
    let mut report = head(notice);
    totals(&mut report, "Total", now);
    totals(&mut report, "Average", &average);
    for ((name, incoming), (_, outgoing)) in blocks(&now.incoming).into_iter().zip(blocks(&now.outgoing)) {
        block(&mut report, name, incoming, outgoing);
    }
    report.push('\n');
    for (way, rates) in [("incoming", &average.incoming), ("outgoing", &average.outgoing)] {
        let size = packet_size(rates.total);
        let _ = writeln!(report, "Average packet size for {way} traffic: {size:.1} bytes ");
    }
    report
}

/// The same, and packets.
pub(super) fn classic_with(notice: &Notice, packets: &[PacketLine]) -> String {
    format!("{}\n\n{}", classic(notice), lines(packets))
}

/// The report of 1.2.6.
pub(super) fn newer(notice: &Notice, packets: &[PacketLine]) -> String {
    let now = &notice.traffic.now;
    let mut report = head(notice);
    totals(&mut report, "Total", now);
    for ((name, incoming), (_, outgoing)) in blocks(&now.incoming).into_iter().zip(blocks(&now.outgoing)) {
        block(&mut report, name, incoming, outgoing);
        if name == "ip fragmented" {
            // What a router says it dropped: a mirrored port says no such thing.
            block(&mut report, "dropped", Rate::default(), Rate::default());
        }
    }
    format!("{report}\n\n\nAttack traffic dump\n\n{}\n\nFlow dump\n\n", lines(packets))
}

fn head(notice: &Notice) -> String {
    let record = &notice.record;
    format!(
        "IP: {}\nAttack type: {}\nInitial attack power: {} packets per second\nPeak attack power: {} packets per second\n\
         Attack direction: {}\nAttack protocol: {}\n",
        name(record.target.prefix),
        attack_type(notice),
        whole(record.initial_pps),
        whole(record.peak.total.pps),
        direction(record),
        attack_protocol(notice),
    )
}

fn totals(report: &mut String, word: &str, BothWays { incoming, outgoing }: &BothWays) {
    let ways = [("incoming", incoming), ("outgoing", outgoing)];
    for (way, rates) in ways {
        let _ = writeln!(report, "{word} {way} traffic: {} mbps", mbps(rates.total));
    }
    for (way, rates) in ways {
        let _ = writeln!(report, "{word} {way} pps: {} packets per second", whole(rates.total.pps));
    }
    for (way, rates) in ways {
        let _ = writeln!(report, "{word} {way} flows: {} flows per second", whole(rates.flows));
    }
}

fn block(report: &mut String, name: &str, incoming: Rate, outgoing: Rate) {
    let ways = [("Incoming", incoming), ("Outgoing", outgoing)];
    for (way, rate) in ways {
        let _ = writeln!(report, "{way} {name} traffic: {} mbps", mbps(rate));
    }
    for (way, rate) in ways {
        let _ = writeln!(report, "{way} {name} pps: {} packets per second", whole(rate.pps));
    }
}

fn lines(packets: &[PacketLine]) -> String {
    packets.iter().map(|packet| packet_line(packet, false) + " \n").collect()
}
