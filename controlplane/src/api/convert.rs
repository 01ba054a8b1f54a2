//! The control thread's answers in the types of `proto`.

mod mitigator;
mod notify;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use dataplane::packet::{Class, Unparsed};
use dataplane::pipeline::Shared;
use dataplane::stats::{CYCLE_WIDTH, Counter, Kind, Lost, Stats};
use dataplane::tap::Tap;
use hdrhistogram::Histogram;
use proto::v1;
use uuid::Uuid;

use crate::actions::bgp::{Peer, Report};
use crate::attack::{Direction, Metric, Rates, Thresholds, Volumes, name};
use crate::baseline::{self, Fill};
use crate::by_hand::{Act, Pause};
use crate::control::{Answered, HostsAnswer, StatusAnswer, TotalsAnswer};
use crate::detector::Event;
use crate::group::{Group, LastResort};
use crate::meter::{HostRates, SumRates};
use crate::mitigation::Standing;
use crate::record::{AttackRecord, Entry, FlowSpec, RuleRecord};
use crate::rule_json;

/// Percentiles that clients are shown.
const PERCENTILES: [f64; 3] = [50.0, 90.0, 99.0];

fn millis(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

pub(super) fn status(status: &StatusAnswer, log_level: String) -> v1::Status {
    v1::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        dpdk_version: dataplane::dpdk::version(),
        started_ms: status.started_ms,
        dry_run: status.dry_run,
        pause: status.pause.as_ref().map(pause),
        ports: status
            .ports
            .iter()
            .map(|port| v1::Port {
                device: port.device.clone(),
                driver: port.driver.clone(),
                link_up: port.link.up,
                link_mbps: port.link.mbps,
                queues: port.queues as u32,
                packets: port.stats.packets,
                bytes: port.stats.bytes,
                missed: port.stats.missed,
                errors: port.stats.errors,
                no_mbuf: port.stats.no_mbuf,
                mbufs: port.mbufs.all,
                mbufs_in_use: port.mbufs.in_use,
                kernel_packets: port.kernel.map(|kernel| kernel.packets),
                kernel_dropped: port.kernel.map(|kernel| kernel.dropped),
                mac: port.mac.clone(),
            })
            .collect(),
        workers: status.workers.iter().map(|(shared, queues)| worker(shared, queues)).collect(),
        engines: status.engines.iter().map(|report| engine(report, status)).collect(),
        mitigator: status.mitigator.as_ref().map(mitigator::status),
        attacks: status.attacks as u32,
        rules: status.rules as u32,
        alarms: status.alarms.clone(),
        networks: status.networks as u64,
        log_level,
        unparsed: Unparsed::ALL.map(|reason| unparsed(status, reason)).to_vec(),
        baseline: Some(tap_and_baseline(status)),
        subscribers: status.subscribers.iter().map(notify::subscriber).collect(),
        notices_lost: status.notices_lost,
    }
}

fn tap_and_baseline(status: &StatusAnswer) -> v1::Baseline {
    let taps = || status.workers.iter().map(|(shared, _)| &shared.tap);
    let Fill { hosts, packets, networks, lost } = status.baseline;
    let skipped = taps().map(Tap::skipped).sum();
    let lost = [
        ("beyond the tap's share of the ring", skipped),
        ("of one host too many", lost.hosts),
        ("for lack of room", lost.packets),
        ("hot networks too many", lost.networks),
    ];
    v1::Baseline {
        tapped: taps().map(Tap::taken).sum(),
        hosts: hosts as u64,
        hosts_max: baseline::HOSTS_MAX as u64,
        packets: packets as u64,
        packets_max: baseline::PACKETS_MAX as u64,
        hot_networks: networks as u64,
        hot_networks_max: baseline::NETWORKS_MAX as u64,
        lost: lost.map(|(name, packets)| v1::Reason { name: name.to_owned(), packets }).to_vec(),
    }
}

pub(super) fn pause(pause: &Pause) -> v1::ActionPause {
    let Pause { since_ms, until_ms, by, reason, withdrawn } = pause.clone();
    v1::ActionPause { since_ms, until_ms: until_ms.unwrap_or(0), by, reason, withdrawn }
}

pub(super) fn act(act: Act) -> v1::Act {
    let Act { time_ms, by, act, text } = act;
    v1::Act { time_ms, by, act, text }
}

fn unparsed(status: &StatusAnswer, reason: Unparsed) -> v1::Unparsed {
    let by_worker = status.workers.iter().map(|(shared, _)| shared.stats.unparsed[reason as usize].get());
    let worker_packets: Vec<u64> = by_worker.collect();
    let example = status.examples.get(reason).map(|example| {
        let queues = status.workers.iter().find(|(shared, _)| shared.core == example.core);
        v1::Frame {
            time_ms: example.time_ms,
            core: example.core as u32,
            queue: queues.and_then(|(_, queues)| queues.get(example.queue).cloned()).unwrap_or_default(),
            length: example.frame_len,
            data: example.data.clone(),
        }
    });
    let packets = worker_packets.iter().sum();
    v1::Unparsed { reason: reason.name().to_owned(), packets, worker_packets, example }
}

fn worker(shared: &Shared, queues: &[String]) -> v1::Worker {
    let stats = &shared.stats;
    let lost =
        Lost::ALL.map(|lost| v1::Reason { name: lost.name().to_owned(), packets: stats.lost[lost as usize].get() });
    v1::Worker {
        core: shared.core as u32,
        queues: queues.to_vec(),
        packets: stats.total_packets(),
        bytes: stats.total_bytes(),
        kinds: Some(kinds([stats].into_iter())),
        polls: stats.polls.get(),
        empty_polls: stats.empty_polls.get(),
        lost: lost.into_iter().filter(|reason| reason.packets > 0).collect(),
        ipv4_blocks_used: stats.ipv4_blocks.get() as u32,
        ipv4_blocks: shared.slab.layout().ipv4_blocks as u32,
        ipv6_hosts: stats.ipv6_hosts.get() as u32,
        cycles_per_packet: percentiles(&*stats.cycles, CYCLE_WIDTH),
        burst_packets: percentiles(&*stats.bursts, 1),
    }
}

/// Percentiles of counted buckets: bucket `i` stands for the values from `i * width` on.
fn percentiles(buckets: &[Counter], width: u64) -> Vec<u64> {
    let Ok(mut histogram) = Histogram::<u64>::new_with_bounds(1, (buckets.len() as u64 * width).max(2), 3) else {
        return Vec::new();
    };
    for (bucket, counter) in (0u64..).zip(buckets).filter(|(_, counter)| counter.get() > 0) {
        histogram.saturating_record_n(bucket * width, counter.get());
    }
    if histogram.is_empty() {
        return Vec::new();
    }
    PERCENTILES.map(|percentile| histogram.value_at_percentile(percentile)).to_vec()
}

pub(crate) fn kinds<'a>(workers: impl Iterator<Item = &'a Stats> + Clone) -> v1::Kinds {
    let count = |kind: Kind| {
        let sum = |pick: fn(&Stats) -> &[Counter; Kind::COUNT]| {
            workers.clone().map(|stats| pick(stats)[kind as usize].get()).sum()
        };
        Some(v1::Count { packets: sum(|stats| &stats.packets), bytes: sum(|stats| &stats.bytes) })
    };
    let reasons = Unparsed::ALL.map(|reason| v1::Reason {
        name: reason.name().to_owned(),
        packets: workers.clone().map(|stats| stats.unparsed[reason as usize].get()).sum(),
    });
    v1::Kinds {
        incoming: count(Kind::Incoming),
        outgoing: count(Kind::Outgoing),
        internal: count(Kind::Internal),
        other: count(Kind::Other),
        ignored: count(Kind::Ignored),
        unparsed: count(Kind::Unparsed),
        unparsed_reasons: reasons.into_iter().filter(|reason| reason.packets > 0).collect(),
    }
}

fn engine(report: &Report, status: &StatusAnswer) -> v1::Engine {
    let text = |id: &Uuid| status.specs.get(id).map(|(spec, _)| rule_text(spec)).unwrap_or_default();
    let since = |id: &Uuid| {
        let engines = status.specs.get(id).map_or(&[][..], |(_, engines)| engines);
        engines.iter().find(|engine| engine.name == report.engine).map_or(0, |engine| engine.since_ms)
    };
    let rules = report.held.iter().filter(|id| status.specs.contains_key(id));
    let refused = |(id, why): &(Uuid, String)| v1::RefusedRule { id: id.to_string(), text: text(id), why: why.clone() };
    let (last_error_ms, last_error) =
        report.last_error.clone().map_or((0, String::new()), |(at, why)| (millis(at), why));
    v1::Engine {
        name: report.engine.clone(),
        connected: report.connected,
        since_ms: millis(report.since),
        error: report.error.clone().unwrap_or_default(),
        held: (report.held.len() + report.leftover) as u32,
        wanted: status.rules as u32,
        peers: report.peers.iter().map(peer).collect(),
        asn: report.speaker.0,
        router_id: report.speaker.1.clone(),
        profile: report.profile.to_string(),
        tables: report
            .routes
            .iter()
            .map(|(family, routes)| v1::Table { family: (*family).to_owned(), routes: *routes as u32 })
            .collect(),
        rules: rules.map(|id| v1::HeldRule { id: id.to_string(), text: text(id), since_ms: since(id) }).collect(),
        refused: report.refused.iter().map(refused).collect(),
        waiting: report.waiting as u32,
        last_error,
        last_error_ms,
    }
}

fn peer(peer: &Peer) -> v1::Peer {
    v1::Peer {
        address: peer.address.clone(),
        state: peer.state.to_owned(),
        since_ms: peer.since.map_or(0, millis),
        asn: peer.asn,
        families: peer.families.iter().map(|family| (*family).to_owned()).collect(),
        advertised: peer.advertised,
        falls: peer.falls,
        notifications: peer.notifications,
    }
}

fn rates(rates: &Rates) -> v1::Rates {
    v1::Rates {
        total_pps: rates.total.pps,
        total_bps: rates.total.bps,
        tcp_pps: rates.tcp.pps,
        tcp_bps: rates.tcp.bps,
        udp_pps: rates.udp.pps,
        udp_bps: rates.udp.bps,
        icmp_pps: rates.icmp.pps,
        icmp_bps: rates.icmp.bps,
        tcp_syn_pps: rates.tcp_syn.pps,
        tcp_syn_bps: rates.tcp_syn.bps,
        fragment_pps: rates.fragments.pps,
        fragment_bps: rates.fragments.bps,
        flows_per_second: rates.flows,
    }
}

fn volumes(volumes: &Volumes) -> v1::Volumes {
    let classes = |fragment: usize| {
        let count = |class: Class| {
            let (packets, bytes) = (volumes.packets[fragment], volumes.bytes[fragment]);
            Some(v1::Count { packets: packets[class as usize], bytes: bytes[class as usize] })
        };
        Some(v1::Classes {
            tcp: count(Class::Tcp),
            tcp_syn: count(Class::TcpSyn),
            udp: count(Class::Udp),
            icmp: count(Class::Icmp),
            other: count(Class::Other),
        })
    };
    v1::Volumes { whole: classes(0), fragments: classes(1) }
}

fn of_direction(host: &HostRates, flows: [f64; 2], direction: Direction) -> v1::Rates {
    let flows_per_second = flows[direction as usize];
    v1::Rates { flows_per_second, ..rates(&Rates::from(&host.rates[direction as usize])) }
}

fn of_sum(sum: &SumRates, direction: Direction) -> v1::Rates {
    of_direction(&sum.smooth, sum.flows, direction)
}

pub(super) fn hosts(answer: &HostsAnswer) -> v1::ListHostsResponse {
    let hosts = answer.hosts.iter().map(|host| v1::Host {
        address: name(host.host),
        group: host.group.to_string(),
        network: host.network.map(|network| network.to_string()).unwrap_or_default(),
        incoming: Some(of_direction(&host.rates, host.flows, Direction::Incoming)),
        outgoing: Some(of_direction(&host.rates, host.flows, Direction::Outgoing)),
        under_attack: host.under_attack,
        counted_incoming: host.counted.as_ref().map(|[incoming, _]| volumes(incoming)),
        counted_outgoing: host.counted.as_ref().map(|[_, outgoing]| volumes(outgoing)),
    });
    v1::ListHostsResponse { hosts: hosts.collect(), active: answer.active }
}

pub(super) fn totals(answer: &TotalsAnswer) -> v1::Totals {
    let sum = |direction| {
        let mut total = v1::Rates::default();
        for (_, _, sum) in &answer.networks {
            add(&mut total, &of_sum(sum, direction));
        }
        Some(total)
    };
    v1::Totals {
        counted: Some(kinds(answer.workers.iter().map(|shared: &Arc<Shared>| &shared.stats))),
        incoming: sum(Direction::Incoming),
        outgoing: sum(Direction::Outgoing),
        networks: answer
            .networks
            .iter()
            .map(|(network, group, sum)| v1::NetworkTotals {
                network: network.to_string(),
                group: group.to_string(),
                incoming: Some(of_sum(sum, Direction::Incoming)),
                outgoing: Some(of_sum(sum, Direction::Outgoing)),
            })
            .collect(),
        groups: answer
            .groups
            .iter()
            .map(|(group, sum)| v1::GroupTotals {
                group: group.to_string(),
                incoming: Some(of_sum(sum, Direction::Incoming)),
                outgoing: Some(of_sum(sum, Direction::Outgoing)),
            })
            .collect(),
    }
}

/// With at most so many of its networks.
pub(crate) fn group(group: &Group, networks_max: usize) -> v1::Group {
    let thresholds = |of: &[Thresholds; 2], direction: Direction| {
        let thresholds = of[direction as usize];
        let set = Metric::ALL.into_iter().filter_map(|metric| Some((metric, thresholds.get(metric)?)));
        set.map(|(metric, value)| v1::Threshold { metric: metric.to_string(), value: value as f64 }).collect()
    };
    v1::Group {
        name: group.name.to_string(),
        inherit: group.inherit.as_deref().unwrap_or_default().to_owned(),
        networks: group.networks.iter().take(networks_max).map(ToString::to_string).collect(),
        networks_in_all: group.networks.len() as u32,
        directions: group.directions.iter().map(ToString::to_string).collect(),
        families: group.families.iter().map(ToString::to_string).collect(),
        monitor_only: group.monitor_only,
        profile: group.profile.name.to_string(),
        inseparable: group.inseparable.to_string(),
        last_resort: group.last_resort.to_string(),
        last_resort_bps: match group.last_resort {
            LastResort::RateLimit { bps } => bps as f64,
            LastResort::Nothing | LastResort::Blackhole | LastResort::Divert => 0.0,
        },
        incoming: thresholds(&group.thresholds, Direction::Incoming),
        outgoing: thresholds(&group.thresholds, Direction::Outgoing),
        network_incoming: thresholds(&group.network_thresholds, Direction::Incoming),
        network_outgoing: thresholds(&group.network_thresholds, Direction::Outgoing),
        group_incoming: thresholds(&group.group_thresholds, Direction::Incoming),
        group_outgoing: thresholds(&group.group_thresholds, Direction::Outgoing),
        incoming_action: group.actions[Direction::Incoming as usize].to_string(),
        outgoing_action: group.actions[Direction::Outgoing as usize].to_string(),
        escalate_incoming: thresholds(&group.escalation, Direction::Incoming),
        escalate_outgoing: thresholds(&group.escalation, Direction::Outgoing),
    }
}

fn add(total: &mut v1::Rates, other: &v1::Rates) {
    total.total_pps += other.total_pps;
    total.total_bps += other.total_bps;
    total.tcp_pps += other.tcp_pps;
    total.tcp_bps += other.tcp_bps;
    total.udp_pps += other.udp_pps;
    total.udp_bps += other.udp_bps;
    total.icmp_pps += other.icmp_pps;
    total.icmp_bps += other.icmp_bps;
    total.tcp_syn_pps += other.tcp_syn_pps;
    total.tcp_syn_bps += other.tcp_syn_bps;
    total.fragment_pps += other.fragment_pps;
    total.fragment_bps += other.fragment_bps;
    total.flows_per_second += other.flows_per_second;
}

fn target(record: &AttackRecord) -> String {
    record.target.prefix.to_string()
}

/// For people.
pub(super) fn rule_text(spec: &FlowSpec) -> String {
    format!("{} {}", spec.rule, spec.action)
}

fn rule(record: &AttackRecord, rule: &RuleRecord, standing: Option<Standing>) -> v1::Rule {
    let spec = &rule.flow_spec;
    let state = match standing {
        None if rule.idle => "idle",
        None => "withdrawn",
        Some(Standing::Wanted | Standing::Paused) if rule.is_held() => "held",
        Some(standing) => standing.as_str(),
    };
    v1::Rule {
        id: rule.id.to_string(),
        attack_id: record.id.to_string(),
        target: target(record),
        flow_spec_json: rule_json::to_json(&spec.rule, &spec.action).to_string(),
        text: rule_text(spec),
        state: state.to_owned(),
        wanted_ms: rule.wanted_ms,
        held_ms: rule.held_ms.unwrap_or(0),
        matched_packets: rule.matched_packets,
        matched_bytes: rule.matched_bytes,
        matched_pps: rule.matched.pps,
        matched_bps: rule.matched.bps,
        coverage: rule.coverage,
        reason: rule.reason.clone(),
        withdrawn_ms: rule.withdrawn_ms.unwrap_or(0),
        refused: rule.refused.clone().unwrap_or_default(),
        last_resort: rule.last_resort,
        escalated: rule.escalated,
        engines: rule
            .engines
            .iter()
            .map(|engine| v1::RuleEngine { name: engine.name.clone(), since_ms: engine.since_ms })
            .collect(),
        mined: rule.mined.as_ref().map(|mined| v1::Mined {
            collateral: mined.collateral,
            collateral_at_most: mined.collateral_at_most,
            runner_up: mined.runner_up.clone(),
            known_packets: mined.known_packets,
        }),
    }
}

/// Without the journal.
fn attack(record: &AttackRecord, standing: impl Fn(usize) -> Option<Standing>) -> v1::Attack {
    let direction = match record.target.direction {
        Direction::Incoming => v1::Direction::Incoming,
        Direction::Outgoing => v1::Direction::Outgoing,
    };
    let crossing = record.crossing;
    let capture = record.capture;
    v1::Attack {
        id: record.id.to_string(),
        target: target(record),
        direction: direction.into(),
        group: record.group.clone(),
        state: record.state.to_string(),
        metric: crossing.map(|crossing| crossing.metric.to_string()).unwrap_or_default(),
        threshold: crossing.map_or(0.0, |crossing| crossing.threshold as f64),
        measured: crossing.map_or(0.0, |crossing| crossing.measured),
        detected_ms: record.detected_ms,
        mitigating_ms: record.mitigating_ms.unwrap_or(0),
        ending_ms: record.ending_ms.unwrap_or(0),
        ended_ms: record.ended_ms.unwrap_or(0),
        current: Some(rates(&record.current)),
        peak: Some(rates(&record.peak)),
        rest: Some(rates(&record.rest)),
        captured: capture.map_or(0, |capture| capture.counts.total() as u32),
        capture_wanted: capture.map_or(0, |capture| capture.wanted as u32),
        rules: record.rules.iter().enumerate().map(|(index, of)| rule(record, of, standing(index))).collect(),
        note: record.note.clone(),
        by: record.by.clone(),
        mean: Some(rates(&record.mean)),
        measured_ms: record.measured_ms,
        journal: Vec::new(),
        journal_lost: record.journal_lost,
        again_ms: record.again_ms.unwrap_or(0),
        rule_by_hand: record.is_order,
        until_ms: record.until_ms.unwrap_or(0),
        capture_waiting: capture.is_some_and(|capture| capture.waiting),
        rules_forgotten: record.rules_forgotten,
        switches: record.switches.iter().map(mitigator::switch).collect(),
        classes: record.kinds.iter().map(ToString::to_string).collect(),
        notified: record.notified.iter().map(notify::notified).collect(),
    }
}

/// With the journal.
pub(crate) fn answered_in_full(answer: &Answered) -> v1::Attack {
    let entry =
        |entry: &Entry| v1::Entry { time_ms: entry.time_ms, kind: entry.kind.clone(), text: entry.text.clone() };
    v1::Attack { journal: answer.record.journal.iter().map(entry).collect(), ..answered(answer) }
}

pub(super) fn answered(answered: &Answered) -> v1::Attack {
    attack(&answered.record, |index| answered.standing.get(index).copied().flatten())
}

pub(super) fn wanted_rules(answered: &Answered) -> Vec<v1::Rule> {
    let rules = answered.record.rules.iter().zip(&answered.standing);
    rules
        .filter(|(_, standing)| standing.is_some())
        .map(|(of, standing)| rule(&answered.record, of, *standing))
        .collect()
}

/// At the moment of an event: what a rule is wanted for is on its way to the engines.
pub(crate) fn at_event(record: &AttackRecord) -> v1::Attack {
    attack(record, |index| record.rules[index].is_wanted().then_some(Standing::Wanted))
}

pub(super) fn event(event: &Event) -> v1::Event {
    let record = event.attack.as_deref();
    v1::Event {
        time_ms: event.time_ms,
        kind: event.kind.as_str().to_owned(),
        attack_id: record.map(|record| record.id.to_string()).unwrap_or_default(),
        target: record.map(target).unwrap_or_default(),
        text: event.text.clone(),
        attack: record.map(at_event),
    }
}
