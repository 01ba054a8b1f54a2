//! The exact text of every table, for fixed answers.

use super::*;

const NOW: i64 = 1_795_295_013_123;

#[track_caller]
fn assert_text(shown: &str, expected: &str) {
    let expected = expected.trim_start_matches('\n');
    assert_eq!(shown, expected, "\n--- shown\n{shown}\n--- expected\n{expected}");
}

fn listed(found: &[Attack]) -> String {
    attacks(&ListAttacksResponse { attacks: found.to_vec(), ..Default::default() }, NOW)
}

#[test]
fn status_shows_ports_workers_engines_and_alarms() {
    assert_text(
        &status(&fixtures::status(NOW), NOW),
        r#"
leveed     0.1.0, DPDK 22.11.11
up         1 h 2 min, since 2026-11-21 20:01:28.123 UTC
PAUSED     by alice, 1 min 0 s ago, for another 9 min 0 s: router works
dry run    yes: nothing is announced
log level  info
networks   3
attacks    1
rules      2
ALARM: port 0000:03:00.0 missed 4 packets

PORT          DRIVER     LINK           QUEUES    PACKETS   BYTES  MISSED  ERRORS  NO MBUF    MBUFS IN USE  KERNEL  DROPPED
0000:03:00.0  net_ixgbe  up, 10.0 Gbps       2  3,000,000  300 MB       4       0        0  1,056 of 8,192       -        -

CORE  QUEUES            PACKETS   BYTES  EMPTY POLLS  CYCLES p50  p90    p99  BURST p50  p90  p99    BLOCKS  IPV6 HOSTS  LOST
   1  0000:03:00.0/0  1,000,000  100 MB       25.0 %          61   90  1,200          1    8   32  3 of 256          17  12 ring full
   2  0000:03:00.0/1  2,000,000  200 MB       25.0 %          61   90  1,200          1    8   32  3 of 256          17  12 ring full

ENGINE  STATE  SINCE     HELD  WANTED  PEERS                  ERROR
edge    up     12 s ago     1       2  192.0.2.1 established
"#,
    );
}

#[test]
fn unparsed_frames_are_shown_by_reason_with_an_example() {
    assert_text(
        &unparsed(&fixtures::status(NOW), NOW),
        r#"
REASON      PACKETS  WORKER 1  WORKER 2
short_ipv4        0         0         0
not_ip        1,234     1,200        34
all           1,234     1,200        34

not_ip: the first 26 of 9,014 bytes, 2026-11-21 21:03:30.123 UTC, 3 s ago, 0000:03:00.0/1 (worker 2)
0000  02 00 00 00 00 02 02 00 00 00 00 01 89 06 6e 6f  ..............no
0010  74 20 49 50 20 1b 5b 33 31 6d                    t IP .[31m
"#,
    );
}

#[test]
fn totals_show_every_kind() {
    assert_text(
        &totals(&fixtures::totals()),
        r#"
CLASS       INCOMING             OUTGOING
total      1.50 Mpps  1.20 Gbps   950 pps  2.00 Mbps
tcp            0 pps      0 bps     0 pps      0 bps
tcp syn        0 pps      0 bps     0 pps      0 bps
udp        1.50 Mpps  1.20 Gbps   950 pps  2.00 Mbps
icmp           0 pps      0 bps     0 pps      0 bps
fragments      0 pps      0 bps     0 pps      0 bps

COUNTED     PACKETS    BYTES
incoming  1,234,567   123 MB
outgoing      1,000   100 kB
internal          7    700 B
other            20  2.00 kB
ignored           0      0 B
unparsed          3    300 B  3 truncated

GROUP         IN                 OUT
web    1.50 Mpps  1.20 Gbps  950 pps  2.00 Mbps

NETWORK        GROUP         IN               OUT
198.18.0.0/24  web    1.50 Mpps  1.20 Gbps  0 pps  0 bps
"#,
    );
}

#[test]
fn hosts_show_rates_both_ways() {
    assert_text(
        &hosts(&fixtures::hosts()),
        r#"
HOST         GROUP         IN                 OUT
198.18.0.7   web    1.48 Mpps  1.18 Gbps  950 pps  2.00 Mbps  under attack
2001:db8::1  web    20.0 kpps  20.0 Mbps  950 pps  2.00 Mbps

2 of 65,536 hosts with traffic
"#,
    );
}

#[test]
fn flows_are_shown_where_they_are_counted() {
    let mut counted = fixtures::hosts();
    counted.hosts[0].incoming.as_mut().unwrap().flows_per_second = 12_345.0;
    assert_text(
        &hosts(&counted),
        r#"
HOST         GROUP         IN                                OUT
198.18.0.7   web    1.48 Mpps  1.18 Gbps  12.3 kflows/s  950 pps  2.00 Mbps  0 flows/s  under attack
2001:db8::1  web    20.0 kpps  20.0 Mbps      0 flows/s  950 pps  2.00 Mbps  0 flows/s

2 of 65,536 hosts with traffic
"#,
    );
    let mut summed = fixtures::totals();
    for rates in [&mut summed.incoming, &mut summed.groups[0].incoming, &mut summed.networks[0].incoming] {
        rates.as_mut().unwrap().flows_per_second = 34_567.0;
    }
    let shown = totals(&summed);
    for line in [
        "flows      34.6 kflows/s             0 flows/s",
        "web    1.50 Mpps  1.20 Gbps  34.6 kflows/s  950 pps  2.00 Mbps  0 flows/s",
        "198.18.0.0/24  web    1.50 Mpps  1.20 Gbps  34.6 kflows/s  0 pps  0 bps  0 flows/s",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    let mut over = fixtures::attack(NOW);
    (over.metric, over.measured, over.threshold) = ("flows_per_second".into(), 4321.0, 3500.0);
    over.current.as_mut().unwrap().flows_per_second = 4567.0;
    assert!(listed(&[over.clone()]).contains("flows_per_second 4.32 kflows/s > 3.50 kflows/s"));
    let shown = attack(&over, NOW);
    assert!(shown.lines().any(|line| line.starts_with("flows ") && line.contains("4.57 kflows/s")), "{shown}");
    assert!(!attack(&fixtures::attack(NOW), NOW).contains("flows"));
}

#[test]
fn groups_show_what_is_in_force() {
    assert_text(
        &groups(&fixtures::groups()),
        r#"
group          default
networks       every host that is in no other group
directions     incoming, outgoing
families       ipv4, ipv6
THRESHOLD                   INCOMING       OUTGOING
udp_pps                     100 kpps              -
total_bps                  2.00 Gbps      1.00 Gbps
flows_per_second                   -  5.00 kflows/s
udp_pps of each network     500 kpps              -
total_bps of all together          -      9.00 Gbps

group          quiet
networks       198.18.1.0/24 and 1,234 more
directions     incoming, outgoing
families       ipv6
no thresholds: its hosts are never under attack by themselves

group          web
inherits from  default
networks       198.18.0.0/28, 2001:db8:80::/48
directions     incoming
families       ipv4, ipv6
monitor only   yes: nothing is announced
profile        frr
last resort    rate_limit 100 Mbps
THRESHOLD   INCOMING  OUTGOING
udp_pps     100 kpps         -
total_bps  2.00 Gbps         -
"#,
    );
}

#[test]
fn attacks_show_what_was_crossed_or_who_asked() {
    assert_text(
        &listed(&[fixtures::attack_by_hand(NOW), fixtures::attack(NOW)]),
        r#"
ID                                    TARGET           DIRECTION  STATE       CROSSED                            NOW             RULES  DETECTED
019aa0c3-0000-7000-8000-000000000002  2001:db8::1/128  outgoing   detected    by root (uid 0)                  0 pps      0 bps      0  5 s ago
019aa0c2-7a10-7000-8000-000000000001  198.18.0.7/32    incoming   mitigating  udp_pps 310 kpps > 100 kpps  1.46 Mpps  1.17 Gbps      1  1 min 5 s ago
"#,
    );
}

#[test]
fn an_attack_shows_times_figures_and_rules() {
    assert_text(
        &attack(&fixtures::attack(NOW), NOW),
        r#"
attack      019aa0c2-7a10-7000-8000-000000000001
target      198.18.0.7/32 incoming
group       web
state       mitigating
crossed     udp_pps 310 kpps > 100 kpps
detected    2026-11-21 21:02:28.123 UTC, 1 min 5 s ago
mitigating  2026-11-21 21:02:28.323 UTC, 1 min 4 s ago
sample      500 of 500 packets

CLASS            NOW                  PEAK                  MEAN                 REST
total      1.46 Mpps  1.17 Gbps  1.48 Mpps  1.18 Gbps  1.20 Mpps  960 Mbps  10.0 kpps  10.0 Mbps
tcp            0 pps      0 bps      0 pps      0 bps      0 pps     0 bps      0 pps      0 bps
tcp syn        0 pps      0 bps      0 pps      0 bps      0 pps     0 bps      0 pps      0 bps
udp        1.46 Mpps  1.17 Gbps  1.48 Mpps  1.18 Gbps  1.20 Mpps  960 Mbps  10.0 kpps  10.0 Mbps
icmp           0 pps      0 bps      0 pps      0 bps      0 pps     0 bps      0 pps      0 bps
fragments      0 pps      0 bps      0 pps      0 bps      0 pps     0 bps      0 pps      0 bps

rule      destination 198.18.0.7/32, udp: discard
id        019aa0c2-8f00-7000-8000-0000000000aa
state     held, 1 min 4 s ago
matched   95,000,000 packets, 1.45 Mpps
coverage  98.0 %
reason    shortest of 3 that cover 98 %

TIME (UTC)               JOURNAL
2026-11-21 21:02:28.123  detected   attack on 198.18.0.7 incoming
2026-11-21 21:02:29.123  rule_held  rule held
"#,
    );
}

#[test]
fn what_a_mined_rule_takes_of_the_hosts_own_is_shown() {
    let mut mined = fixtures::attack(NOW);
    let runner_up = "proto udp is no better".to_owned();
    let taken = Mined { collateral: 0.002, collateral_at_most: 0.011, runner_up, known_packets: 1_280 };
    mined.rules[0].mined = Some(taken);
    let shown = attack(&mined, NOW);
    for line in [
        "collateral  0.2 % of the baseline, at most 1.1 % with 95 % confidence",
        "known       about 1,280 packets of known peers",
        "runner-up   proto udp is no better",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    mined.rules[0].mined = Some(Mined { collateral: 0.03, collateral_at_most: 1.0, ..Mined::default() });
    let shown = attack(&mined, NOW);
    assert!(shown.contains("3.0 % of what hosts in general receive; there is no baseline"), "{shown}");
}

#[test]
fn what_was_done_beyond_the_limit_and_what_went_idle_is_shown() {
    let mut many = fixtures::attack(NOW);
    many.rules_forgotten = 1_234;
    many.rules[0].state = "idle".into();
    many.rules[0].withdrawn_ms = NOW - 3_000;
    many.rules.push(Rule { last_resort: true, text: "dst 198.18.0.7/32 blackhole".into(), ..fixtures::rule(NOW) });
    let shown = attack(&many, NOW);
    for line in [
        "state     idle, 1 min 4 s ago",
        "lifted    3 s ago",
        "rule      dst 198.18.0.7/32 blackhole",
        "kind      last resort",
        "1,234 rules that were withdrawn long ago were not kept",
    ] {
        assert_eq!(shown.lines().filter(|shown| *shown == line).count(), 1, "{line}\n{shown}");
    }
}

#[test]
fn an_attack_by_hand_shows_who_asked() {
    assert_text(
        &attack(&fixtures::attack_by_hand(NOW), NOW),
        r#"
attack      019aa0c3-0000-7000-8000-000000000002
target      2001:db8::1/128 outgoing
state       detected
by          root (uid 0)
detected    2026-11-21 21:03:28.123 UTC, 5 s ago
sample      0 of 500 packets
note        phoned in
"#,
    );
}

#[test]
fn rules_show_what_they_match() {
    assert_text(
        &rules(&[fixtures::rule(NOW)], NOW),
        r#"
TARGET         RULE                                     STATE                   MATCHED        NOW             COVERAGE
198.18.0.7/32  destination 198.18.0.7/32, udp: discard  held, 1 min 4 s ago  95,000,000  1.45 Mpps  1.16 Gbps    98.0 %
"#,
    );
}

#[test]
fn an_event_is_one_line() {
    assert_text(
        &event(&fixtures::event(NOW)),
        r#"
2026-11-21 21:03:33.123 UTC detected 198.18.0.7/32: udp_pps 310 kpps > 100 kpps
"#,
    );
}

#[test]
fn what_is_empty_is_said_in_words() {
    assert_eq!(listed(&[]), "no attacks\n");
    assert_eq!(rules(&[], NOW), "no rules\n");
    let nobody = ListHostsResponse { hosts: Vec::new(), active: 1234 };
    assert_eq!(hosts(&nobody), "no hosts to show; 1,234 with traffic in all\n");
}

#[test]
fn an_event_stays_one_line_whatever_its_text() {
    let event_of_two = Event { text: "first\nsecond".into(), ..fixtures::event(NOW) };
    assert_eq!(event(&event_of_two).matches('\n').count(), 1);
}

#[test]
fn a_rule_that_no_engine_holds_says_since_when_it_is_wanted() {
    let wanted = Rule { state: "dry_run".into(), held_ms: 0, ..fixtures::rule(NOW) };
    assert!(rules(&[wanted], NOW).contains("dry_run, wanted 1 min 4 s ago"));
}
