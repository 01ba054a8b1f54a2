//! Answers as tables for people. Text in the shape of the answer, nothing else; the time now is an argument.

pub(crate) mod bgp;
#[cfg(test)]
#[path = "../tests/fixtures/mod.rs"]
pub(crate) mod fixtures;
mod mitigator;
mod notify;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use proto::v1::{
    Act, Attack, Baseline, Count, Event, Frame, Group, Kinds, ListAttacksResponse, ListGroupsResponse,
    ListHostsResponse, Port, Rates, Reason, Rule, Status, Threshold, Totals, Unparsed, Worker,
};

use crate::units::{age, bps, bytes, count, direction, duration, flows, metric, percent, pps, time};
use rules::one_rule;
pub(crate) use rules::rules;

/// A table without lines. Columns whose heading begins with '>' are figures and stand to the right.
fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().map(|heading| heading.trim_start_matches('>')));
    table.add_rows(rows);
    for (column, heading) in table.column_iter_mut().zip(headings) {
        column.set_padding((0, 2));
        if heading.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{}\n", table.trim_fmt())
}

/// Names and what stands behind them, one a line; empty ones are left out.
fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, fact) in facts.iter().filter(|(_, fact)| !fact.is_empty()) {
        let _ = writeln!(text, "{name:<width$}  {fact}");
    }
    text
}

fn reasons(reasons: &[Reason]) -> String {
    let shown = reasons.iter().filter(|reason| reason.packets > 0);
    let shown: Vec<_> = shown.map(|reason| format!("{} {}", count(reason.packets), reason.name)).collect();
    shown.join(", ")
}

/// `leveectl status`.
pub(crate) fn status(status: &Status, now_ms: i64) -> String {
    let mut text = facts(&[
        ("leveed", format!("{}, DPDK {}", status.version, status.dpdk_version)),
        ("up", format!("{}, since {} UTC", duration(now_ms - status.started_ms), time(status.started_ms))),
        ("PAUSED", pause_of(status, false, now_ms)),
        ("WITHDRAWN", pause_of(status, true, now_ms)),
        ("dry run", if status.dry_run { "yes: nothing is announced".to_owned() } else { String::new() }),
        ("log level", status.log_level.clone()),
        ("networks", count(status.networks)),
        ("attacks", count(status.attacks.into())),
        ("rules", count(status.rules.into())),
        ("baseline", status.baseline.as_ref().map(baseline).unwrap_or_default()),
    ]);
    for alarm in &status.alarms {
        let _ = writeln!(text, "ALARM: {alarm}");
    }
    text.push('\n');
    text += &ports(&status.ports);
    text.push('\n');
    text += &workers(&status.workers);
    if !status.engines.is_empty() {
        text.push('\n');
        text += &bgp::overview(&status.engines, now_ms);
    }
    if let Some(mitigator) = &status.mitigator {
        text.push('\n');
        text += &mitigator::status(mitigator, now_ms);
    }
    text += &notify::status(&status.subscribers, now_ms);
    text
}

/// The pause of all actions, if it is of this kind.
fn pause_of(status: &Status, withdrawn: bool, now_ms: i64) -> String {
    let pause = status.pause.as_ref().filter(|pause| pause.withdrawn == withdrawn);
    pause.map(|pause| bgp::pause_facts(pause, now_ms)).unwrap_or_default()
}

/// What is known of hosts in peace, and what did not fit.
fn baseline(baseline: &Baseline) -> String {
    let Baseline { hosts, hosts_max, packets, packets_max, .. } = baseline;
    let of = |some: u64, most: u64| format!("{} of {}", count(some), count(most));
    let lost = reasons(&baseline.lost);
    let lost = if lost.is_empty() { lost } else { format!("; left out: {lost}") };
    format!("{} packets of {} hosts{lost}", of(*packets, *packets_max), of(*hosts, *hosts_max))
}

/// `leveectl audit`.
pub(crate) fn acts(acts: &[Act]) -> String {
    if acts.is_empty() {
        return "nobody did anything\n".to_owned();
    }
    let row = |act: &Act| vec![time(act.time_ms), act.by.clone(), act.act.clone(), act.text.replace('\n', " ")];
    table(&["TIME (UTC)", "WHO", "DID", ""], acts.iter().map(row))
}

/// `leveectl rules add`.
pub(crate) fn added(rule: &Rule) -> String {
    let Rule { text, state, id, .. } = rule;
    format!("{state}: {text}\nid {id}\n")
}

fn ports(ports: &[Port]) -> String {
    let link = |port: &Port| match (port.link_up, port.link_mbps) {
        (false, _) => "down".to_owned(),
        (true, 0) => "up".to_owned(),
        (true, mbps) => format!("up, {}", bps(f64::from(mbps) * 1e6)),
    };
    // "-" where no kernel stands between the wire and the port.
    let kernel = |figure: Option<u64>| figure.map_or("-".to_owned(), count);
    let headings = [
        "PORT",
        "DRIVER",
        "LINK",
        ">QUEUES",
        ">PACKETS",
        ">BYTES",
        ">MISSED",
        ">ERRORS",
        ">NO MBUF",
        ">MBUFS IN USE",
        ">KERNEL",
        ">DROPPED",
    ];
    let row = |port: &Port| {
        vec![
            port.device.clone(),
            port.driver.clone(),
            link(port),
            port.queues.to_string(),
            count(port.packets),
            bytes(port.bytes),
            count(port.missed),
            count(port.errors),
            count(port.no_mbuf),
            format!("{} of {}", count(port.mbufs_in_use.into()), count(port.mbufs.into())),
            kernel(port.kernel_packets),
            kernel(port.kernel_dropped),
        ]
    };
    table(&headings, ports.iter().map(row))
}

fn workers(workers: &[Worker]) -> String {
    let headings = [
        ">CORE",
        "QUEUES",
        ">PACKETS",
        ">BYTES",
        ">EMPTY POLLS",
        ">CYCLES p50",
        ">p90",
        ">p99",
        ">BURST p50",
        ">p90",
        ">p99",
        ">BLOCKS",
        ">IPV6 HOSTS",
        "LOST",
    ];
    let empty = |worker: &Worker| match worker.polls {
        0 => "-".to_owned(),
        polls => percent(worker.empty_polls as f64 / polls as f64),
    };
    let percentile = |list: &[u64], index: usize| list.get(index).map_or("-".to_owned(), |&cycles| count(cycles));
    let row = |worker: &Worker| {
        vec![
            worker.core.to_string(),
            worker.queues.join(" "),
            count(worker.packets),
            bytes(worker.bytes),
            empty(worker),
            percentile(&worker.cycles_per_packet, 0),
            percentile(&worker.cycles_per_packet, 1),
            percentile(&worker.cycles_per_packet, 2),
            percentile(&worker.burst_packets, 0),
            percentile(&worker.burst_packets, 1),
            percentile(&worker.burst_packets, 2),
            format!("{} of {}", count(worker.ipv4_blocks_used.into()), count(worker.ipv4_blocks.into())),
            count(worker.ipv6_hosts.into()),
            reasons(&worker.lost),
        ]
    };
    table(&headings, workers.iter().map(row))
}

/// `leveectl status --unparsed`.
pub(crate) fn unparsed(status: &Status, now_ms: i64) -> String {
    let workers: Vec<String> = status.workers.iter().map(|worker| format!(">WORKER {}", worker.core)).collect();
    let mut headings = vec!["REASON", ">PACKETS"];
    headings.extend(workers.iter().map(String::as_str));
    let row = |unparsed: &Unparsed| {
        let figures = std::iter::once(unparsed.packets).chain(unparsed.worker_packets.iter().copied());
        std::iter::once(unparsed.reason.clone()).chain(figures.map(count)).collect::<Vec<_>>()
    };
    let sum = Unparsed {
        reason: "all".to_owned(),
        packets: status.unparsed.iter().map(|unparsed| unparsed.packets).sum(),
        worker_packets: (0..workers.len())
            .map(|place| status.unparsed.iter().filter_map(|unparsed| unparsed.worker_packets.get(place)).sum())
            .collect(),
        example: None,
    };
    let mut text = table(&headings, status.unparsed.iter().chain([&sum]).map(row));
    for unparsed in &status.unparsed {
        let Some(example) = &unparsed.example else { continue };
        let _ = write!(text, "\n{}: {}\n{}", unparsed.reason, origin(example, now_ms), dump(&example.data));
    }
    text
}

fn origin(frame: &Frame, now_ms: i64) -> String {
    let length = match frame.data.len() as u64 {
        kept if kept < frame.length.into() => format!("the first {kept} of {} bytes", count(frame.length.into())),
        _ => format!("{} bytes", count(frame.length.into())),
    };
    let (at, age) = (time(frame.time_ms), age(frame.time_ms, now_ms));
    format!("{length}, {at} UTC, {age}, {} (worker {})", frame.queue, frame.core)
}

/// Sixteen bytes a line in hex, as text2pcap reads it, and what of it is text.
fn dump(data: &[u8]) -> String {
    let mut text = String::new();
    for (line, bytes) in data.chunks(16).enumerate() {
        let hex: String = bytes.iter().map(|byte| format!(" {byte:02x}")).collect();
        let shown = |&byte: &u8| if (b' '..=b'~').contains(&byte) { char::from(byte) } else { '.' };
        let _ = writeln!(text, "{:04x} {hex:<48}  {}", line * 16, bytes.iter().map(shown).collect::<String>());
    }
    text
}

/// `leveectl totals`.
pub(crate) fn totals(totals: &Totals) -> String {
    let (incoming, outgoing) = (totals.incoming.unwrap_or_default(), totals.outgoing.unwrap_or_default());
    let mut text = rates(&[(">INCOMING", incoming), (">OUTGOING", outgoing)]);
    text.push('\n');
    text += &kinds(&totals.counted.clone().unwrap_or_default());
    let has_flows = [incoming, outgoing].iter().any(|rates| rates.flows_per_second > 0.0);
    if !totals.groups.is_empty() {
        let row = |group: &proto::v1::GroupTotals| {
            let mut row = vec![group.group.clone()];
            row.extend(both_ways(&group.incoming, &group.outgoing, has_flows));
            row
        };
        text.push('\n');
        text += &table(&with_both_ways(&["GROUP"], has_flows), totals.groups.iter().map(row));
    }
    if !totals.networks.is_empty() {
        let row = |network: &proto::v1::NetworkTotals| {
            let mut row = vec![network.network.clone(), network.group.clone()];
            row.extend(both_ways(&network.incoming, &network.outgoing, has_flows));
            row
        };
        text.push('\n');
        text += &table(&with_both_ways(&["NETWORK", "GROUP"], has_flows), totals.networks.iter().map(row));
    }
    text
}

/// Packets, bits and, where they are counted, flows a second, in, then out. Nobody counts flows where no group minds them.
fn both_ways(incoming: &Option<Rates>, outgoing: &Option<Rates>, has_flows: bool) -> Vec<String> {
    let figures = |rates: Rates| {
        let flows = has_flows.then(|| flows(rates.flows_per_second));
        [pps(rates.total_pps), bps(rates.total_bps)].into_iter().chain(flows)
    };
    [incoming, outgoing].into_iter().flat_map(|rates| figures(rates.unwrap_or_default())).collect()
}

/// Headings, and behind them those of [`both_ways`].
fn with_both_ways(names: &[&'static str], has_flows: bool) -> Vec<&'static str> {
    let figures: &[_] = if has_flows { &[">IN", ">", ">", ">OUT", ">", ">"] } else { &[">IN", ">", ">OUT", ">"] };
    [names, figures].concat()
}

/// Rates by class, packets and bits a second for each name.
fn rates(named: &[(&str, Rates)]) -> String {
    type Figures = fn(&Rates) -> (f64, f64);
    let classes: [(&str, Figures); 6] = [
        ("total", |rates| (rates.total_pps, rates.total_bps)),
        ("tcp", |rates| (rates.tcp_pps, rates.tcp_bps)),
        ("tcp syn", |rates| (rates.tcp_syn_pps, rates.tcp_syn_bps)),
        ("udp", |rates| (rates.udp_pps, rates.udp_bps)),
        ("icmp", |rates| (rates.icmp_pps, rates.icmp_bps)),
        ("fragments", |rates| (rates.fragment_pps, rates.fragment_bps)),
    ];
    let mut headings = vec!["CLASS"];
    headings.extend(named.iter().flat_map(|(name, _)| [*name, ">"]));
    let row = |(class, figures): (&str, Figures)| {
        let figures = named.iter().map(|(_, rates)| figures(rates));
        let cells = figures.flat_map(|(packets, bits)| [pps(packets), bps(bits)]);
        std::iter::once(class.to_owned()).chain(cells).collect()
    };
    let flows_row = || {
        let figures = named.iter().flat_map(|(_, rates)| [flows(rates.flows_per_second), String::new()]);
        std::iter::once("flows".to_owned()).chain(figures).collect()
    };
    let has_flows = named.iter().any(|(_, rates)| rates.flows_per_second > 0.0);
    table(&headings, classes.map(row).into_iter().chain(has_flows.then(flows_row)))
}

fn kinds(kinds: &Kinds) -> String {
    let row = |name: &str, counted: Option<Count>, note: String| {
        let Count { packets, bytes: length } = counted.unwrap_or_default();
        vec![name.to_owned(), count(packets), bytes(length), note]
    };
    let rows = [
        row("incoming", kinds.incoming, String::new()),
        row("outgoing", kinds.outgoing, String::new()),
        row("internal", kinds.internal, String::new()),
        row("other", kinds.other, String::new()),
        row("ignored", kinds.ignored, String::new()),
        row("unparsed", kinds.unparsed, reasons(&kinds.unparsed_reasons)),
    ];
    table(&["COUNTED", ">PACKETS", ">BYTES", ""], rows)
}

/// `leveectl hosts`.
pub(crate) fn hosts(hosts: &ListHostsResponse) -> String {
    if hosts.hosts.is_empty() {
        return format!("no hosts to show; {} with traffic in all\n", count(hosts.active));
    }
    let rates = hosts.hosts.iter().flat_map(|host| [&host.incoming, &host.outgoing]).flatten();
    let has_flows = rates.into_iter().any(|rates| rates.flows_per_second > 0.0);
    let row = |host: &proto::v1::Host| {
        let mut row = vec![host.address.clone(), host.group.clone()];
        row.extend(both_ways(&host.incoming, &host.outgoing, has_flows));
        row.push(if host.under_attack { "under attack".to_owned() } else { String::new() });
        row
    };
    let mut headings = with_both_ways(&["HOST", "GROUP"], has_flows);
    headings.push("");
    let mut text = table(&headings, hosts.hosts.iter().map(row));
    let _ = writeln!(text, "\n{} of {} hosts with traffic", hosts.hosts.len(), count(hosts.active));
    text
}

/// `leveectl groups`.
pub(crate) fn groups(groups: &ListGroupsResponse) -> String {
    groups.groups.iter().map(group).collect::<Vec<_>>().join("\n")
}

fn group(group: &Group) -> String {
    let mut networks = group.networks.join(", ");
    let more = (group.networks_in_all as usize).saturating_sub(group.networks.len());
    if more > 0 {
        let _ = write!(networks, " and {} more", count(more as u64));
    } else if networks.is_empty() {
        networks.push_str("every host that is in no other group");
    }
    let last_resort = match group.last_resort_bps {
        0.0 => group.last_resort.clone(),
        rate => format!("{} {}", group.last_resort, bps(rate)),
    };
    let mut text = facts(&[
        ("group", group.name.clone()),
        ("inherits from", group.inherit.clone()),
        ("networks", networks),
        ("directions", group.directions.join(", ")),
        ("families", group.families.join(", ")),
        ("monitor only", if group.monitor_only { "yes: nothing is announced".to_owned() } else { String::new() }),
        ("profile", group.profile.clone()),
        ("inseparable", group.inseparable.clone()),
        ("last resort", last_resort),
        ("rules do", rules_do(group)),
    ]);
    let kinds = [
        ("", &group.incoming, &group.outgoing),
        (" of each network", &group.network_incoming, &group.network_outgoing),
        (" of all together", &group.group_incoming, &group.group_outgoing),
        (", last resort", &group.escalate_incoming, &group.escalate_outgoing),
    ];
    let rows: Vec<Vec<String>> = kinds.into_iter().flat_map(|(of, to, from)| thresholds(of, to, from)).collect();
    text += &match rows.is_empty() {
        true => "no thresholds: its hosts are never under attack by themselves\n".to_owned(),
        false => table(&["THRESHOLD", ">INCOMING", ">OUTGOING"], rows),
    };
    text
}

/// What mined rules do, where it is not just to discard.
fn rules_do(group: &Group) -> String {
    let (incoming, outgoing) = (&group.incoming_action, &group.outgoing_action);
    let is_plain = |action: &String| action.is_empty() || action == "discard";
    if is_plain(incoming) && is_plain(outgoing) { String::new() } else { format!("{incoming} in, {outgoing} out") }
}

/// Those that are set for any direction, in the order of the daemon.
fn thresholds(of: &str, incoming: &[Threshold], outgoing: &[Threshold]) -> Vec<Vec<String>> {
    let mut names: Vec<&str> = Vec::new();
    for threshold in incoming.iter().chain(outgoing) {
        if !names.contains(&threshold.metric.as_str()) {
            names.push(&threshold.metric);
        }
    }
    let figure = |list: &[Threshold], name: &str| {
        let set = list.iter().find(|threshold| threshold.metric == name);
        set.map_or("-".to_owned(), |threshold| metric(name, threshold.value))
    };
    names.iter().map(|name| vec![format!("{name}{of}"), figure(incoming, name), figure(outgoing, name)]).collect()
}

/// `leveectl attacks`.
pub(crate) fn attacks(found: &ListAttacksResponse, now_ms: i64) -> String {
    let attacks = &found.attacks;
    if attacks.is_empty() {
        return "no attacks\n".to_owned();
    }
    let row = |attack: &Attack| {
        vec![
            attack.id.clone(),
            attack.target.clone(),
            direction(attack.direction()).to_owned(),
            attack.state.clone(),
            crossing(attack),
            pps(attack.current.unwrap_or_default().total_pps),
            bps(attack.current.unwrap_or_default().total_bps),
            attack.rules.len().to_string(),
            age(attack.detected_ms, now_ms),
        ]
    };
    let headings = ["ID", "TARGET", "DIRECTION", "STATE", "CROSSED", ">NOW", ">", ">RULES", "DETECTED"];
    let mut text = table(&headings, attacks.iter().map(row));
    if !found.next_page.is_empty() {
        let _ = writeln!(text, "\nthere are more: the same with --page {}", found.next_page);
    }
    text
}

/// Which threshold was crossed, and how far; for an attack by hand, who asked.
fn crossing(attack: &Attack) -> String {
    match attack.metric.as_str() {
        "" if attack.rule_by_hand => format!("rule by {}", attack.by),
        "" => format!("by {}", attack.by),
        name => format!("{name} {} > {}", metric(name, attack.measured), metric(name, attack.threshold)),
    }
}

/// `leveectl attacks show ID`.
pub(crate) fn attack(attack: &Attack, now_ms: i64) -> String {
    let at = |time_ms| match time_ms {
        0 => String::new(),
        time_ms => format!("{} UTC, {}", time(time_ms), age(time_ms, now_ms)),
    };
    let only_if = |shown, text| if shown { text } else { String::new() };
    let mut text = facts(&[
        ("attack", attack.id.clone()),
        ("target", format!("{} {}", attack.target, direction(attack.direction()))),
        ("group", attack.group.clone()),
        ("state", attack.state.clone()),
        ("classes", attack.classes.join(", ")),
        ("crossed", only_if(!attack.metric.is_empty(), crossing(attack))),
        ("by", only_if(attack.by != "threshold", attack.by.clone())),
        ("detected", at(attack.detected_ms)),
        ("mitigating", at(attack.mitigating_ms)),
        ("ending", at(attack.ending_ms)),
        ("again", at(attack.again_ms)),
        ("ended", at(attack.ended_ms)),
        ("until", if attack.until_ms > 0 { format!("{} UTC", time(attack.until_ms)) } else { String::new() }),
        ("sample", sample(attack)),
        ("note", attack.note.clone()),
    ]);
    let named = [(">NOW", attack.current), (">PEAK", attack.peak), (">MEAN", attack.mean), (">REST", attack.rest)];
    let named: Vec<_> = named.into_iter().filter_map(|(name, rates)| Some((name, rates?))).collect();
    if !named.is_empty() {
        text.push('\n');
        text += &rates(&named);
    }
    for rule in &attack.rules {
        text.push('\n');
        text += &one_rule(rule, now_ms);
    }
    text += &mitigator::switches(&attack.switches);
    text += &notify::notified(&attack.notified, now_ms);
    if attack.rules_forgotten > 0 {
        let _ = writeln!(text, "\n{} rules that were withdrawn long ago were not kept", count(attack.rules_forgotten));
    }
    if !attack.journal.is_empty() {
        text.push('\n');
        text += &journal(attack);
    }
    text
}

fn sample(attack: &Attack) -> String {
    match (attack.capture_wanted, attack.capture_waiting) {
        (_, true) => "waits for a place: too many captures are open".to_owned(),
        (0, _) => String::new(),
        (wanted, _) => format!("{} of {wanted} packets", attack.captured),
    }
}

fn journal(attack: &Attack) -> String {
    let row = |entry: &proto::v1::Entry| vec![time(entry.time_ms), entry.kind.clone(), entry.text.replace('\n', " ")];
    let mut text = table(&["TIME (UTC)", "JOURNAL", ""], attack.journal.iter().map(row));
    if attack.journal_lost > 0 {
        let _ = writeln!(text, "{} entries in its middle were not kept", count(attack.journal_lost));
    }
    text
}

/// One line of `leveectl events`.
pub(crate) fn event(event: &Event) -> String {
    let target = if event.target.is_empty() { String::new() } else { format!(" {}", event.target) };
    // A line break in the text would make two events of one.
    let words = event.text.replace('\n', " ");
    format!("{} UTC {}{target}: {words}\n", time(event.time_ms), event.kind)
}
