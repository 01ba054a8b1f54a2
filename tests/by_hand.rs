//! What persons order, through the whole daemon: rules by hand, the pause of all actions, who did what. With a real gobgpd and a
//! real BIRD where routers matter. Needs root, for namespaces.
//!
//! ```text
//!   leveed ──Unix socket── gobgpd, AS 65001 ──veth── BIRD, AS 65002
//!                          192.0.2.1                 192.0.2.2
//! ```

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use proto::v1;
use support::bgp::{Bird, FlowRoute, GOBGPD_CONFIG, Gobgpd, Link};
use support::daemon::{Leveed, Setup, core};
use support::{never, pcap, wait_until};
use tempfile::TempDir;
use tonic::{Code, Status};

const SOON: Duration = Duration::from_secs(30);
/// Long enough for a wrong announcement or withdrawal to reach the router, which takes milliseconds.
const A_WHILE: Duration = Duration::from_secs(2);
const NETWORKS: [&str; 3] = ["198.18.0.0/24", "198.18.1.0/24", "2001:db8::/48"];
/// What somebody else sends to 198.18.0.10 all the time, as a rule and as BIRD shows it.
const DNS: &str =
    r#"{"destination_prefix":"198.18.0.10/32","protocols":["udp"],"source_ports":[53],"action_type":"discard"}"#;
const DNS_ROUTE: &str = "dst 198.18.0.10/32; proto 17; sport 53";
const NETWORK: &str = r#"{"destination_prefix":"198.18.1.0/28","action_type":"discard"}"#;
const NETWORK_ROUTE: &str = "dst 198.18.1.0/28";

/// Without traffic but that of [`DNS`], and thresholds that it does not come near.
fn start(daemon: &str, rest: &str) -> (Leveed, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("traffic.pcap");
    let at = |address: &str| -> SocketAddr { address.parse().unwrap() };
    pcap::write(&file, &vec![pcap::udp(at("203.0.113.1:53"), at("198.18.0.10:1000"), 20); 100]);
    let core = [core()];
    let device = format!("net_pcap0,rx_pcap={},infinite_rx=1", file.display());
    let rest = format!("[groups.default.incoming]\nicmp_pps = 1000\n{rest}");
    let ports: [(&str, &[usize]); 1] = [(&device, &core)];
    let mut leveed = Leveed::prepare(&Setup { networks: &NETWORKS, ports: &ports, daemon, rest: &rest });
    leveed.start();
    (leveed, folder)
}

fn add(leveed: &Leveed, rule: &str, seconds: u64) -> Result<v1::Rule, Status> {
    let (flow_spec_json, reason) = (rule.to_owned(), "test".to_owned());
    let request = v1::AddRuleRequest { flow_spec_json, seconds, reason };
    leveed.ask(async |mut api| api.add_rule(request).await).map(|added| added.rule.expect("a rule"))
}

fn remove(leveed: &Leveed, id: &str) -> Result<v1::RemoveRuleResponse, Status> {
    let request = v1::RemoveRuleRequest { id: id.to_owned(), reason: "enough".to_owned() };
    leveed.ask(async |mut api| api.remove_rule(request).await)
}

fn pause(leveed: &Leveed, seconds: u64) -> v1::ActionPause {
    let request = v1::PauseRequest { seconds, reason: "router works".to_owned() };
    leveed.ask(async |mut api| api.pause(request).await).expect("paused").pause.expect("a pause")
}

fn resume(leveed: &Leveed) -> Result<v1::ResumeResponse, Status> {
    leveed.ask(async |mut api| api.resume(v1::ResumeRequest { reason: "done".to_owned() }).await)
}

/// What persons did, the oldest first: who and what.
fn acts(leveed: &Leveed) -> Vec<(String, String)> {
    let acts = leveed.ask(async |mut api| api.list_acts(v1::ListActsRequest::default()).await).expect("acts").acts;
    acts.into_iter().rev().map(|act| (act.by, format!("{} {}", act.act, act.text))).collect()
}

#[track_caller]
fn wait_acts(leveed: &Leveed, expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(by, text)| ((*by).to_owned(), (*text).to_owned())).collect();
    wait_until(SOON, &format!("acts {expected:?}"), || (acts(leveed) == expected).then_some(()));
}

fn shown(routes: &[FlowRoute]) -> Vec<String> {
    let mut shown: Vec<_> = routes.iter().map(|route| route.components.join("; ")).collect();
    shown.sort();
    shown
}

#[track_caller]
fn wait_router(bird: &Bird, expected: &[&str]) {
    wait_until(SOON, &format!("the router to hold {expected:?}"), || {
        (shown(&[bird.flow4(), bird.flow6()].concat()) == expected).then_some(())
    });
}

#[track_caller]
fn router_stays(bird: &Bird, expected: &[&str]) {
    never(A_WHILE, "a change at the router", || {
        let now = shown(&[bird.flow4(), bird.flow6()].concat());
        (now != expected).then_some(now)
    });
}

/// An engine with this configuration, its router, and the section of ours for them, with more of its keys.
fn routed(engine: &str, keys: &str) -> (Link, Gobgpd, Bird, String) {
    let link = Link::new();
    let mut gobgpd = Gobgpd::prepare_as(engine);
    gobgpd.start(&link.engine);
    let bird = Bird::start(&link.router);
    bird.wait_established();
    let edge = format!("[[bgp.engines]]\nname = \"edge\"\naddress = \"{}\"\n", gobgpd.address());
    (link, gobgpd, bird, format!("[bgp]\nmark = \"64512:7653:1\"\n{keys}{edge}"))
}

#[test]
fn rules_by_hand_reach_the_router_and_a_pause_leaves_it_as_it_is() {
    let (_link, _gobgpd, bird, bgp) = routed(GOBGPD_CONFIG, "");
    let (mut leveed, _folder) = start("on_shutdown = \"withdraw\"", &bgp);

    let dns = add(&leveed, DNS, 0).expect("a rule");
    add(&leveed, NETWORK, 3_600).expect("a rule");
    let outgoing = r#"{"source_prefix":"2001:db8::30/128","action_type":"rate-limit","action":{"rate_bps":8000000}}"#;
    let outgoing = add(&leveed, outgoing, 0).expect("a rule");
    wait_router(&bird, &[DNS_ROUTE, NETWORK_ROUTE, "src 2001:db8::30/128"]);
    // It is held, and what it matches is counted.
    wait_until(SOON, "matched packets", || {
        let rules = leveed.rules();
        rules.into_iter().find(|rule| rule.id == dns.id && rule.state == "held" && rule.matched_packets > 100)
    });
    let attacks = leveed.attacks();
    assert_eq!(attacks.len(), 3, "and nothing else is an attack");
    assert!(attacks.iter().all(|attack| attack.by == "root" && attack.rule_by_hand && attack.state == "mitigating"));
    let directions: Vec<_> = attacks.iter().map(|attack| attack.direction()).collect();
    use v1::Direction::{Incoming, Outgoing};
    assert_eq!(directions, [Outgoing, Incoming, Incoming]);
    assert_eq!(remove(&leveed, &outgoing.attack_id).expect("removed").attack_id, outgoing.attack_id);
    wait_router(&bird, &[DNS_ROUTE, NETWORK_ROUTE]);

    // Paused: rules come and go, and the router holds what it held.
    let before = [DNS_ROUTE, NETWORK_ROUTE];
    assert_eq!(pause(&leveed, 0).by, "root");
    remove(&leveed, &dns.id).expect("removed");
    let third = add(&leveed, r#"{"destination_prefix":"198.18.0.11/32","action_type":"discard"}"#, 0).expect("a rule");
    assert_eq!(third.state, "paused");
    router_stays(&bird, &before);
    let is_said = |leveed: &Leveed| {
        let status = leveed.status();
        assert_eq!(status.pause.expect("a pause").reason, "router works");
        assert!(status.alarms[0].starts_with("all actions are paused by root (router works)"), "{:?}", status.alarms);
    };
    is_said(&leveed);
    // Also over SIGKILL, and over an orderly stop that would otherwise withdraw.
    wait_until(SOON, "all on disk", || (acts(&leveed).len() == 7).then_some(()));
    leveed.kill();
    leveed.start();
    is_said(&leveed);
    wait_until(SOON, "the engine", || leveed.rules().into_iter().find(|rule| rule.state == "held"));
    router_stays(&bird, &before);
    assert!(leveed.terminate().success());
    router_stays(&bird, &before);
    assert!(leveed.log().contains("all actions are paused: announcements stay"), "{}", leveed.log());
    leveed.start();
    is_said(&leveed);
    router_stays(&bird, &before);

    // Resumed: the router gets what is wanted by now.
    assert_eq!(resume(&leveed).expect("resumed").pause.expect("a pause").by, "root");
    wait_router(&bird, &["dst 198.18.0.11/32", NETWORK_ROUTE]);
    assert!(leveed.status().pause.is_none() && leveed.alarms().is_empty(), "{:?}", leveed.status());
    assert_eq!(resume(&leveed).expect_err("not twice").message(), "actions are not paused");
    wait_acts(
        &leveed,
        &[
            ("root", "rule_add discard: dst 198.18.0.10/32 proto udp sport 53: test"),
            ("root", "rule_add discard: dst 198.18.1.0/28 for 3600 s: test"),
            ("root", "rule_add rate-limit 8000000 bit/s: src 2001:db8::30/128: test"),
            ("root", "rule_remove rate-limit 8000000 bit/s: src 2001:db8::30/128: enough"),
            ("root", "pause all actions: router works"),
            ("root", "rule_remove discard: dst 198.18.0.10/32 proto udp sport 53: enough"),
            ("root", "rule_add discard: dst 198.18.0.11/32: test"),
            ("root", "resume all actions: done"),
        ],
    );
    assert!(leveed.terminate().success());
    wait_router(&bird, &[]);
}

#[test]
fn what_is_no_rule_for_ours_is_refused_and_says_why() {
    let whitelist = "[groups.quiet]\nnetworks = [\"198.18.1.16/28\"]\nmonitor_only = true\n\
                     [profiles.edge]\nwithout = [\"packet_lengths\"]\n[groups.narrow]\nnetworks = [\"198.18.0.128/28\"]\nprofile = \"edge\"\n\
                     [groups.wide]\nnetworks = [\"198.18.0.144/28\"]\nprofile = \"bird\"\n[whitelist]\nnetworks = [\"198.18.0.64/28\"]\nremote_networks = [\"203.0.113.0/28\"]\n";
    let (leveed, _folder) = start("", whitelist);
    let refused = |rule: &str| {
        let status = add(&leveed, rule, 0).expect_err("refused");
        (status.code(), status.message().to_owned())
    };
    for (rule, code, words) in [
        ("no rule", Code::InvalidArgument, "no JSON"),
        (r#"{"destination_prefix":"198.18.0.1/32"}"#, Code::InvalidArgument, "action_type is missing"),
        (r#"{"protocols":["udp"],"action_type":"discard"}"#, Code::FailedPrecondition, "give a destination_prefix"),
        (
            r#"{"destination_prefix":"198.18.0.0/23","action_type":"discard"}"#,
            Code::FailedPrecondition,
            "lies within a protected network",
        ),
        (
            r#"{"destination_prefix":"192.0.2.1/32","action_type":"discard"}"#,
            Code::FailedPrecondition,
            "lies within a protected network",
        ),
        (
            r#"{"destination_prefix":"198.18.0.65/32","action_type":"discard"}"#,
            Code::FailedPrecondition,
            "198.18.0.64/28 is in whitelist.networks",
        ),
        (
            r#"{"destination_prefix":"198.18.0.0/24","action_type":"discard"}"#,
            Code::FailedPrecondition,
            "198.18.0.64/28 is in whitelist.networks",
        ),
        (
            r#"{"destination_prefix":"198.18.1.0/24","action_type":"discard"}"#,
            Code::FailedPrecondition,
            "nothing is announced for 198.18.1.16/28",
        ),
        (
            r#"{"destination_prefix":"198.18.1.24/29","action_type":"discard"}"#,
            Code::FailedPrecondition,
            "nothing is announced for 198.18.1.24/29",
        ),
        (
            r#"{"destination_prefix":"198.18.0.1/32","source_prefix":"203.0.113.0/24","action_type":"discard"}"#,
            Code::FailedPrecondition,
            "203.0.113.0/28 is in whitelist.remote_networks",
        ),
        (
            r#"{"destination_prefix":"198.18.0.1/32","source_prefix":"2001:db8:1::/48","action_type":"discard"}"#,
            Code::FailedPrecondition,
            "of different families",
        ),
        (
            r#"{"destination_prefix":"198.18.0.1/32","source_ports":[1,3,5,7,9,11],"action_type":"discard"}"#,
            Code::FailedPrecondition,
            "source_ports has 6 items and routers take 5",
        ),
        (
            r#"{"destination_prefix":"198.18.0.129/32","packet_lengths":[40],"action_type":"discard"}"#,
            Code::FailedPrecondition,
            "routers of profile edge do not match packet_lengths",
        ),
    ] {
        let (found, message) = refused(rule);
        assert!(found == code && message.contains(words), "{rule}: {found:?} {message}");
    }
    let banned = leveed.ban("198.18.0.65", "").expect_err("refused");
    assert_eq!(banned.message(), "198.18.0.65 incoming is not banned: 198.18.0.64/28 is in whitelist.networks");
    assert!(leveed.attacks().is_empty() && acts(&leveed).is_empty());

    let quiet = add(&leveed, &DNS.replace("198.18.0.10", "198.18.1.17"), 0).expect("a rule");
    assert_eq!(quiet.state, "monitor_only");
    remove(&leveed, &quiet.id).expect("removed");
    let id = add(&leveed, DNS, 0).expect("a rule").id;
    assert_eq!(add(&leveed, DNS, 60).expect("the same").id, id);
    let other = DNS.replace("\"discard\"", "\"rate-limit\",\"action\":{\"rate_pps\":1}");
    assert!(add(&leveed, &other, 0).expect_err("refused").message().contains(&format!("rule {id} does otherwise")));
    assert!(remove(&leveed, "ffff").expect_err("refused").message().contains("no rule ffff is wanted"));
    assert_eq!(remove(&leveed, "").expect_err("refused").code(), Code::InvalidArgument);
    assert_eq!(remove(&leveed, &id[..20]).expect("removed").text, "dst 198.18.0.10/32 proto udp sport 53 discard");
    assert!(leveed.rules().is_empty());
    let six = r#"{"destination_prefix":"198.18.0.145/32","source_ports":[1,3,5,7,9,11],"action_type":"discard"}"#;
    add(&leveed, six, 0).expect("what routers of this group take");
}

#[test]
fn what_is_ordered_for_a_time_ends_by_itself_and_outlives_a_restart() {
    let (mut leveed, _folder) = start("", "");
    let ban = |host: &str, direction: v1::Direction| {
        let (host, reason) = (host.to_owned(), "test".to_owned());
        let request = v1::BanRequest { host, direction: direction.into(), seconds: 2, reason };
        leveed.ask(async |mut api| api.ban(request).await).expect("banned").attack_id
    };
    let ids = [ban("2001:db8::7", v1::Direction::Outgoing), ban("198.18.0.7", v1::Direction::Incoming)];
    let rule = add(&leveed, DNS, 2).expect("a rule");
    let stays = add(&leveed, NETWORK, 0).expect("a rule");
    pause(&leveed, 1);
    let of = |leveed: &Leveed, id: &str| leveed.attacks().into_iter().find(|attack| attack.id == id).expect("known");
    assert!(of(&leveed, &rule.attack_id).until_ms > 0 && of(&leveed, &ids[0]).until_ms > 0);
    wait_until(SOON, "all on disk", || (acts(&leveed).len() >= 5).then_some(()));
    leveed.kill();
    leveed.start();
    wait_until(SOON, "the end of the pause", || leveed.status().pause.is_none().then_some(()));
    wait_until(SOON, "the end of the rule", || (of(&leveed, &rule.attack_id).state == "ended").then_some(()));
    for id in ids {
        wait_until(SOON, "the end of a ban", || (of(&leveed, &id).ending_ms > 0).then_some(()));
    }
    assert_eq!(of(&leveed, &stays.attack_id).state, "mitigating");
    wait_acts(
        &leveed,
        &[
            ("root", "ban 2001:db8::7 outgoing for 2 s: test"),
            ("root", "ban 198.18.0.7 incoming for 2 s: test"),
            ("root", "rule_add discard: dst 198.18.0.10/32 proto udp sport 53 for 2 s: test"),
            ("root", "rule_add discard: dst 198.18.1.0/28: test"),
            ("root", "pause all actions for 1 s: router works"),
            ("leveed", "resume all actions: the time asked for is over"),
        ],
    );
}

#[test]
fn a_capture_that_waits_for_a_place_is_seen() {
    let (leveed, _folder) = start("", "[detection]\ncaptures_at_once = 1\n");
    // Hosts without traffic: a capture stays open.
    let first = leveed.ban("198.18.0.7", "").expect("banned");
    let of = |id: &str| leveed.attacks().into_iter().find(|attack| attack.id == id).expect("known");
    let second = leveed.ban("198.18.0.8", "").expect("banned");
    wait_until(SOON, "the wait", || of(&second).capture_waiting.then_some(()));
    assert!(!of(&first).capture_waiting);
    let words = "1 attacks wait for a capture: 1 are open (detection.captures_at_once)".to_owned();
    assert!(leveed.alarms().contains(&words), "{:?}", leveed.alarms());
    leveed.unban("198.18.0.7").expect("unbanned");
    wait_until(SOON, "the place", || (!of(&second).capture_waiting).then_some(()));
    assert!(leveed.alarms().is_empty());
}

fn held(leveed: &Leveed) {
    wait_until(SOON, "the rule to be held", || leveed.rules().into_iter().find(|rule| rule.state == "held"));
}

#[test]
fn everything_is_withdrawn_with_and_without_a_daemon_and_stays_so_until_it_is_lifted() {
    let (_link, mut gobgpd, bird, bgp) = routed(GOBGPD_CONFIG, "");
    let (mut leveed, _folder) = start("", &bgp);
    add(&leveed, DNS, 0).expect("a rule");
    wait_router(&bird, &[DNS_ROUTE]);
    held(&leveed);
    let list = async |mut api: support::daemon::Client| api.list_engines(v1::ListEnginesRequest {}).await;
    let engines = leveed.ask(list).expect("engines").engines;
    assert_eq!((engines[0].rules.len(), engines[0].asn, engines[0].profile.as_str()), (1, 65_001, "strict"));
    assert!(engines[0].rules[0].since_ms > 0 && engines[0].rules[0].text.contains("198.18.0.10/32"), "{engines:?}");
    assert_eq!(leveed.rules()[0].engines[0].name, "edge");

    let request = v1::WithdrawAllRequest { reason: "all wrong".to_owned() };
    let withdrawn = leveed.ask(async |mut api| api.withdraw_all(request).await).expect("withdrawn").pause.unwrap();
    assert!(withdrawn.withdrawn && withdrawn.by == "root");
    wait_router(&bird, &[]);
    // Whatever is wanted now, and over SIGKILL.
    add(&leveed, NETWORK, 0).expect("a rule");
    router_stays(&bird, &[]);
    assert!(leveed.status().alarms[0].starts_with("everything is withdrawn by root (all wrong)"));
    wait_until(SOON, "all on disk", || (acts(&leveed).len() == 3).then_some(()));
    leveed.kill();
    leveed.start();
    wait_until(SOON, "the engine", || leveed.status().engines[0].connected.then_some(()));
    router_stays(&bird, &[]);
    resume(&leveed).expect("it was withdrawn");
    wait_router(&bird, &[DNS_ROUTE, NETWORK_ROUTE]);

    // Without a daemon, by the configuration; a daemon that starts obeys.
    let refused = leveed.run("withdraw-all");
    assert!(!refused.status.success(), "not beside one that runs");
    leveed.kill();
    router_stays(&bird, &[DNS_ROUTE, NETWORK_ROUTE]);
    let output = leveectl(&leveed, &["withdraw-all", "--reason", "nobody home", "--config"]);
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("engine edge: 2 routes withdrawn"), "{output:?}");
    assert!(errors.contains("asking the engines directly"), "{errors}");
    wait_router(&bird, &[]);
    leveed.start();
    wait_until(SOON, "the engine", || leveed.status().engines[0].connected.then_some(()));
    router_stays(&bird, &[]);
    assert!(leveed.status().alarms[0].starts_with("everything is withdrawn by root (nobody home)"));
    assert_eq!(acts(&leveed).last().unwrap(), &("root".to_owned(), "withdraw_all all actions: nobody home".to_owned()));
    resume(&leveed).expect("it was withdrawn");
    wait_router(&bird, &[DNS_ROUTE, NETWORK_ROUTE]);

    // With nobody to ask it says so.
    leveed.kill();
    gobgpd.kill();
    let output = leveectl(&leveed, &["withdraw-all", "--config"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("engine edge: "), "{output:?}");
}

/// The client, as a person calls it; the configuration comes last.
fn leveectl(leveed: &Leveed, arguments: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_leveed")).with_file_name("leveectl");
    // Of another package, so it may be old or not there.
    let built = Command::new(env!("CARGO")).args(["build", "--quiet", "--locked", "-p", "leveectl"]).status();
    assert!(built.expect("run cargo").success());
    let mut command = Command::new(program);
    command.arg("--socket").arg(leveed.socket()).args(arguments).arg(leveed.config());
    command.output().expect("run leveectl")
}

#[test]
fn no_more_routes_go_out_within_a_second_than_are_allowed_and_withdrawals_do_not_wait() {
    let (_link, _gobgpd, bird, bgp) = routed(GOBGPD_CONFIG, "rules_per_second = 1\n");
    let (leveed, _folder) = start("", &bgp);
    let begin = Instant::now();
    let rule = |host: u8| format!(r#"{{"destination_prefix":"198.18.1.{host}/32","action_type":"discard"}}"#);
    let added: Vec<v1::Rule> = (1..=6).map(|host| add(&leveed, &rule(host), 0).expect("a rule")).collect();
    let alarm = "routes wait: no more a second (bgp.rules_per_second)";
    wait_until(SOON, "the alarm", || leveed.alarms().into_iter().find(|said| said.ends_with(alarm)));
    wait_until(SOON, "all of them", || (bird.flow4().len() == 6).then_some(()));
    assert!(begin.elapsed() > Duration::from_secs(4), "{:?}", begin.elapsed());
    wait_until(SOON, "no alarm", || leveed.alarms().is_empty().then_some(()));

    let begin = Instant::now();
    added.iter().for_each(|rule| drop(remove(&leveed, &rule.id).expect("removed")));
    wait_router(&bird, &[]);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

#[test]
fn the_mark_is_kept_from_routers_by_a_policy_and_rules_are_still_known_by_it() {
    let stripped = GOBGPD_CONFIG
        .replace("    # [policy-definitions", "    [policy-definitions")
        .replace("    #   options", "      options")
        .replace("    #   communities-list = [\"65001", "      communities-list = [\"64512");
    let (_link, _gobgpd, bird, bgp) = routed(&stripped, "");
    let (mut leveed, _folder) = start("", &bgp);
    let rule = add(&leveed, DNS, 0).expect("a rule");
    wait_router(&bird, &[DNS_ROUTE]);
    let route = bird.flow4().remove(0);
    assert_eq!(route.attributes.get("BGP.large_community"), None, "{route:?}");
    assert_eq!(route.extended_communities(), "(generic, 0x80060000, 0x0)");
    held(&leveed);
    leveed.kill();
    leveed.start();
    held(&leveed);
    remove(&leveed, &rule.id).expect("removed");
    wait_router(&bird, &[]);
}
