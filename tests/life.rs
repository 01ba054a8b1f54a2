//! The life of attacks, over paced live traffic: `leveed` on `net_af_packet`, a real gobgpd as engine, a real BIRD as
//! router, wired as `support/site.rs` draws it. Needs root, for namespaces.

#[path = "life/baseline.rs"]
mod baseline;
#[path = "life/escalation.rs"]
mod escalation;
#[path = "life/reconcile.rs"]
mod reconcile;
mod support;
#[path = "life/vectors.rs"]
mod vectors;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use proto::v1;
use support::bgp::FlowRoute;
use support::daemon::now_ms;
use support::pcap::{self, flags};
use support::site::Site;
use support::traffic::{self, Amount, Player, VICTIM};
use support::{never, wait_until};

const SOON: Duration = Duration::from_secs(30);
/// Long enough for a wrong withdrawal or announcement to reach the router, which takes milliseconds.
const A_WHILE: Duration = Duration::from_secs(2);
const ATTACK_PPS: u32 = 3_000;
const BAN_TIME_MS: i64 = 3_000;
const NETWORKS: [&str; 2] = ["198.18.78.0/24", "2001:db8::/48"];
const DETECTION: &str = "[groups.default.incoming]\nudp_pps = 1000\n[groups.default.outgoing]\nudp_pps = 1000\n\
                         [detection]\nban_time_s = 3\ncapture_packets = 100\nprobation_s = 1\n";
/// What BIRD holds against the amplified ISAKMP traffic of `tests/data`: all of it, and nothing else, comes from port 4500.
const ISAKMP_RULE: [&str; 1] = ["dst 198.18.78.1/32; proto 17; sport 4500"];

impl Site {
    /// All but `leveed` and the engine run.
    fn prepare() -> Site {
        Site::of(&NETWORKS)
    }

    /// Everything runs.
    fn start(daemon: &str, detection: &str) -> Site {
        Site::prepare().run(daemon, detection)
    }

    /// The captured amplification attack, towards [`VICTIM`].
    fn isakmp(&self) -> PathBuf {
        let file = self.leveed.path("isakmp.pcap");
        traffic::retarget(&traffic::capture("amp.UDP.isakmp.pcap"), VICTIM, &file);
        file
    }

    fn isakmp_for_long(&self) -> Player {
        self.play(&self.isakmp(), ATTACK_PPS, Amount::Seconds(100))
    }

    #[track_caller]
    fn wait_flow4(&self, expected: &[&str]) {
        wait_rules("IPv4 rules", || shown(&self.bird.flow4()), expected);
    }

    #[track_caller]
    fn wait_flow6(&self, expected: &[&str]) {
        wait_rules("IPv6 rules", || shown(&self.bird.flow6()), expected);
    }

    /// The newest attack, as soon as it is in this state.
    #[track_caller]
    fn wait_attack(&self, state: &str) -> v1::Attack {
        wait_until(SOON, &format!("attack {state}"), || {
            self.leveed.attacks().into_iter().next().filter(|attack| attack.state == state)
        })
    }

    #[track_caller]
    fn wait_held(&self) -> v1::Rule {
        wait_until(SOON, "held rule", || self.leveed.rules().into_iter().find(|rule| rule.state == "held"))
    }

    /// The attack of this id.
    #[track_caller]
    fn attack(&self, id: &str) -> v1::Attack {
        self.leveed.attacks().into_iter().find(|attack| attack.id == id).expect("the attack")
    }
}

#[track_caller]
fn wait_rules(what: &str, shown: impl Fn() -> Vec<String>, expected: &[&str]) {
    let deadline = Instant::now() + SOON;
    loop {
        let shown = shown();
        if shown == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{what} at the router: {shown:?}, expected {expected:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Each rule in BIRD's words. A route that is there twice is here twice.
fn shown(routes: &[FlowRoute]) -> Vec<String> {
    routes.iter().map(|route| route.components.join("; ")).collect()
}

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

/// What a web host lives on, both directions.
fn ordinary(host: IpAddr) -> Vec<Vec<u8>> {
    let web = SocketAddr::new(host, 443);
    let clients = (1..=8).map(|client| at(&format!("203.0.113.{client}:40{client:03}")));
    clients
        .flat_map(|client| {
            [
                pcap::tcp(client, web, flags::SYN, 0),
                pcap::tcp(web, client, flags::SYN | flags::ACK, 0),
                pcap::tcp(client, web, flags::ACK, 200),
                pcap::tcp(web, client, flags::ACK, 1000),
            ]
        })
        .collect()
}

#[test]
fn from_peace_over_the_attack_to_its_end() {
    let site = Site::start("", DETECTION);
    let events = site.leveed.watch_events();
    let peace = site.play(&site.file("peace.pcap", &ordinary(VICTIM.into())), 100, Amount::Seconds(100));
    let busiest = || site.leveed.hosts(v1::ListHostsRequest::default()).into_iter().next();
    wait_until(SOON, "host in peace", || busiest().filter(|host| host.address == VICTIM.to_string()));
    never(A_WHILE, "an attack in peace", || site.leveed.attacks().pop());
    assert!(site.bird.flow4().is_empty());

    let started_ms = now_ms();
    let attack_ms = 5_000;
    let player = site.play(&site.isakmp(), ATTACK_PPS, Amount::Packets(ATTACK_PPS as u64 * attack_ms as u64 / 1000));
    site.wait_flow4(&ISAKMP_RULE);
    assert_eq!(site.bird.flow4()[0].extended_communities(), "(generic, 0x80060000, 0x0)", "discard");
    assert_eq!(site.bird.flow4()[0].attributes["BGP.large_community"], "(64512, 7653, 1)");
    let rule = site.wait_held();
    let attack = site.attack(&rule.attack_id);
    assert_eq!((attack.target.as_str(), attack.direction()), ("198.18.78.1/32", v1::Direction::Incoming));
    assert_eq!((attack.metric.as_str(), attack.threshold, attack.by.as_str()), ("udp_pps", 1000.0, "threshold"));
    assert!(attack.measured > 1000.0 && rule.coverage > 0.8, "{attack:?}");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&rule.flow_spec_json).unwrap(),
        serde_json::json!({
            "destination_prefix": "198.18.78.1/32", "protocols": ["udp"], "source_ports": [4500], "action_type": "discard"
        })
    );
    wait_until(SOON, "attacked host", || busiest().filter(|host| host.under_attack));
    let matched = wait_until(SOON, "matches", || Some(site.wait_held().matched_packets).filter(|&matched| matched > 0));
    wait_until(SOON, "more matches", || Some(site.wait_held()).filter(|rule| rule.matched_packets > matched));
    let sent = player.wait();
    assert_eq!(shown(&site.bird.flow4()), ISAKMP_RULE, "the rule stands until the attack is over");

    site.wait_flow4(&[]);
    let over = wait_until(SOON, "end", || Some(site.attack(&attack.id)).filter(|attack| attack.state == "ended"));
    assert!(over.ending_ms >= started_ms + attack_ms + BAN_TIME_MS, "withdrawn early: {started_ms}, {over:?}");
    assert!(over.detected_ms <= over.mitigating_ms && over.mitigating_ms <= over.ending_ms);
    assert!(over.rules[0].matched_packets <= sent, "{sent} sent, {:?}", over.rules);
    let kinds = || -> Vec<String> { events.of(&attack.id).into_iter().map(|event| event.kind).collect() };
    // It may be on record a moment before it is told.
    wait_until(SOON, "the last event", || kinds().contains(&"ended".to_owned()).then_some(()));
    let life = ["detected", "captured", "mitigating", "rule_wanted", "rule_held", "rule_withdrawn", "ending", "ended"];
    assert_eq!(kinds(), life);
    assert_eq!(site.leveed.attacks().len(), 1, "peace is no attack");
    assert_eq!(site.leveed.alarms(), [""; 0]);
    peace.stop();
}

#[test]
fn killed_in_the_middle_of_an_attack() {
    let mut site = Site::start("", DETECTION);
    let player = site.isakmp_for_long();
    site.wait_flow4(&ISAKMP_RULE);
    let before = site.wait_held();
    site.leveed.kill();
    never(A_WHILE, "a change at the router", || Some(shown(&site.bird.flow4())).filter(|rules| *rules != ISAKMP_RULE));

    site.start_leveed();
    let after = site.wait_held();
    assert_eq!((&after.id, &after.attack_id, &after.text), (&before.id, &before.attack_id, &before.text));
    assert_eq!(after.wanted_ms, before.wanted_ms);
    never(A_WHILE, "another route", || Some(shown(&site.bird.flow4())).filter(|rules| *rules != ISAKMP_RULE));
    assert_eq!(site.leveed.attacks().len(), 1, "the same attack, and no other");
    assert_eq!(site.leveed.rules().len(), 1);
    player.stop();
    site.wait_flow4(&[]);
    site.wait_attack("ended");

    // Again, but it ends while nobody looks.
    let player = site.isakmp_for_long();
    site.wait_flow4(&ISAKMP_RULE);
    let second = site.wait_held().attack_id;
    assert_ne!(second, before.attack_id);
    site.leveed.kill();
    player.stop();
    site.start_leveed();
    let started_ms = now_ms();
    site.wait_flow4(&[]);
    let over = site.wait_attack("ended");
    assert_eq!(over.id, second);
    // It was down for some part of the ban time, but nobody can say that the attack was over then.
    assert!(over.ending_ms >= started_ms + BAN_TIME_MS - 1_000, "{started_ms}, {over:?}");

    // A rule of ours that no record knows is nobody's wish.
    let player = site.isakmp_for_long();
    site.wait_flow4(&ISAKMP_RULE);
    site.leveed.kill();
    player.stop();
    std::fs::remove_dir_all(site.leveed.state().parent().unwrap()).unwrap();
    site.start_leveed();
    site.wait_flow4(&[]);
    assert!(site.leveed.attacks().is_empty());
}

#[test]
fn killed_before_there_is_a_rule() {
    let detection = DETECTION.replace("capture_packets = 100\n", "capture_packets = 100000\n");
    let mut site = Site::start("", &detection);
    let _player = site.isakmp_for_long();
    let before = site.wait_attack("detected");
    site.leveed.kill();
    site.configure("", DETECTION);
    site.start_leveed();
    site.wait_flow4(&ISAKMP_RULE);
    assert_eq!(site.wait_held().attack_id, before.id);
    assert_eq!(site.leveed.attacks().len(), 1);
}

#[test]
fn at_the_stop_announcements_are_kept_or_withdrawn() {
    let mut site = Site::start("", DETECTION);
    let _player = site.isakmp_for_long();
    site.wait_flow4(&ISAKMP_RULE);
    let before = site.wait_held();
    assert_eq!(site.leveed.terminate().code(), Some(0));
    assert!(!site.leveed.socket().exists());
    never(A_WHILE, "a withdrawal", || site.bird.flow4().is_empty().then_some("withdrawn"));

    site.configure("on_shutdown = \"withdraw\"", DETECTION);
    site.start_leveed();
    assert_eq!(site.wait_held().id, before.id);
    assert_eq!(shown(&site.bird.flow4()), ISAKMP_RULE);
    assert_eq!(site.leveed.terminate().code(), Some(0));
    site.wait_flow4(&[]);
}

#[test]
fn a_dry_run_does_all_but_announce() {
    let site = Site::start("dry_run = true", DETECTION);
    let _player = site.isakmp_for_long();
    let attack = site.wait_attack("mitigating");
    let rule = site.leveed.rules().pop().expect("a rule");
    assert_eq!((rule.state.as_str(), &rule.attack_id, rule.held_ms), ("dry_run", &attack.id, 0));
    assert!(rule.text.contains("sport 4500"), "{rule:?}");
    assert!(site.leveed.status().dry_run);
    never(A_WHILE, "a route", || site.bird.flow4().pop());
    let rule = site.leveed.rules().pop().expect("still a rule");
    assert_eq!((rule.state.as_str(), rule.matched_packets), ("dry_run", 0), "it must not blind the detector");
    assert_eq!(site.gobgpd.gobgp("global rib -j -a ipv4-flowspec").trim(), "{}");
}

#[test]
fn the_sample_of_an_attack_is_a_capture_file() {
    let mut site = Site::prepare();
    let folder = site.leveed.path("samples");
    site.gobgpd.start(&site.link.engine);
    site.configure("", &format!("{DETECTION}[history]\nsamples = {folder:?}\n"));
    site.start_leveed();
    let started_ms = now_ms();
    let played = site.isakmp_for_long();
    let attack = site.wait_attack("mitigating");
    let request = v1::GetSampleRequest { attack_id: attack.id.clone() };
    let get = || site.leveed.ask(async |mut api| api.get_sample(request.clone()).await);
    let sample = wait_until(SOON, "the sample", || get().ok());
    drop(played);

    let file = site.leveed.path("sample.pcap");
    std::fs::write(&file, &sample.pcap).unwrap();
    assert_eq!(std::fs::read(folder.join(format!("{}.pcap", attack.id))).unwrap(), sample.pcap);
    // tshark's word for times and lengths, ours for the bytes.
    let frames = pcap::times_and_lengths(&file);
    assert_eq!(frames.len(), 100, "capture_packets");
    assert!(frames.is_sorted_by_key(|&(time_ms, ..)| time_ms));
    let (first_ms, last_ms) = (frames[0].0, frames[99].0);
    assert!(
        started_ms <= first_ms && attack.detected_ms - 200 <= first_ms && last_ms <= now_ms(),
        "{first_ms} {last_ms}"
    );
    let sent = pcap::read(&site.isakmp());
    let kept = pcap::read(&file);
    for ((_, length, captured), kept) in frames.into_iter().zip(&kept) {
        assert_eq!((kept.len(), captured), (length.min(128), length.min(128)));
        assert!(sent.iter().any(|sent| sent.len() == length && sent.starts_with(kept)), "{kept:02x?}");
    }

    // It outlives the attack and the daemon, and is not there for others.
    site.leveed.kill();
    site.start_leveed();
    let get = |attack_id: String| {
        let request = v1::GetSampleRequest { attack_id };
        site.leveed.ask(async |mut api| api.get_sample(request).await)
    };
    assert!(get(attack.id).expect("the sample").pcap.starts_with(&sample.pcap));
    let other = get("019aa0c2-7a10-7000-8000-000000000001".to_owned()).expect_err("no sample");
    assert_eq!(other.code(), tonic::Code::NotFound);
    assert_eq!(get("../sample".to_owned()).expect_err("no id").code(), tonic::Code::InvalidArgument);
    assert_eq!(site.leveed.alarms().iter().find(|alarm| alarm.contains("sample")), None);
}

#[test]
fn a_group_that_is_only_monitored() {
    let group = "[groups.seen]\nnetworks = [\"198.18.78.0/28\"]\ninherit = \"default\"\n";
    let monitored = format!("{group}monitor_only = true\n{DETECTION}");
    let mut site = Site::start("", &monitored);
    let _player = site.isakmp_for_long();
    let attack = site.wait_attack("mitigating");
    assert_eq!((attack.group.as_str(), attack.metric.as_str(), attack.threshold), ("seen", "udp_pps", 1000.0));
    let of_victim = || site.leveed.rules().into_iter().find(|rule| rule.attack_id == attack.id).expect("its rule");
    assert_eq!((of_victim().state.as_str(), of_victim().held_ms), ("monitor_only", 0));
    assert!(of_victim().text.contains("sport 4500"), "{:?}", of_victim());

    // The attacked neighbour in the default group gets its rule, and nobody else does.
    let neighbour = [198, 18, 78, 100].into();
    let file = site.leveed.path("neighbour.pcap");
    traffic::retarget(&traffic::capture("amp.UDP.isakmp.pcap"), neighbour, &file);
    let others = site.play(&file, ATTACK_PPS, Amount::Seconds(100));
    let rule = ["dst 198.18.78.100/32; proto 17; sport 4500"];
    site.wait_flow4(&rule);
    never(A_WHILE, "another route", || Some(shown(&site.bird.flow4())).filter(|rules| *rules != rule));
    assert_eq!((of_victim().state.as_str(), of_victim().matched_packets), ("monitor_only", 0));
    assert_eq!(site.leveed.status().rules, 1, "wanted of the engine");
    others.stop();
    site.wait_flow4(&[]);
    assert_eq!(site.attack(&attack.id).state, "mitigating");

    // What the configuration says now holds for attacks that go on.
    site.leveed.kill();
    site.configure("", &format!("{group}{DETECTION}"));
    site.start_leveed();
    site.wait_flow4(&ISAKMP_RULE);
    assert_eq!(site.wait_held().attack_id, attack.id);
    site.leveed.kill();
    site.configure("", &monitored);
    site.start_leveed();
    site.wait_flow4(&[]);
    assert_eq!(site.attack(&attack.id).state, "mitigating");
}

#[test]
fn ban_and_unban_by_hand() {
    let site = Site::start("", DETECTION);
    // Under every threshold: nothing would happen by itself.
    let _player = site.play(&site.isakmp(), 200, Amount::Seconds(100));
    wait_until(SOON, "traffic", || site.leveed.hosts(v1::ListHostsRequest::default()).pop());
    let events = site.leveed.watch_events();
    let id = site.leveed.ban("198.18.78.1", "a call from the customer").expect("banned");
    site.wait_flow4(&ISAKMP_RULE);
    let attack = site.attack(&id);
    assert_eq!((attack.by.as_str(), attack.metric.as_str()), ("root", ""));
    let banned = &events.of(&id)[0];
    assert!(banned.text.contains("root") && banned.text.contains("a call from the customer"), "{banned:?}");
    assert_eq!(site.leveed.unban("198.18.78.1").expect("unbanned"), std::slice::from_ref(&id));
    site.wait_flow4(&[]);
    assert_eq!(site.attack(&id).state, "ended");
    assert!(site.leveed.rules().is_empty());
    let error = site.leveed.unban("198.18.78.1").expect_err("nothing left to unban");
    assert_eq!(error.code(), tonic::Code::FailedPrecondition);
}

#[test]
fn what_is_whitelisted_is_seen_and_left_alone() {
    let with = |whitelist: &str| format!("{DETECTION}[whitelist]\n{whitelist}\n");
    let mut site = Site::start("", DETECTION);
    let _player = site.isakmp_for_long();
    site.wait_flow4(&ISAKMP_RULE);
    let before = site.wait_held().attack_id;

    // The host: what was done about it is undone, and what goes on is only seen.
    assert_eq!(site.leveed.terminate().code(), Some(0));
    site.configure("", &with("networks = [\"198.18.78.0/28\"]"));
    site.start_leveed();
    site.wait_flow4(&[]);
    let why = "nothing is done about it: 198.18.78.0/28 is in whitelist.networks";
    let only_seen = wait_until(SOON, "an attack that is only seen", || {
        site.leveed.attacks().into_iter().find(|attack| attack.id != before && attack.state == "detected")
    });
    assert_eq!((only_seen.target.as_str(), only_seen.note.as_str()), ("198.18.78.1/32", why));
    assert_eq!(site.attack(&before).state, "ended");
    assert!(site.leveed.log().lines().any(|line| line.contains("198.18.78.1") && line.contains(why)), "in the log");
    let refused = site.leveed.ban("198.18.78.1", "by hand").expect_err("whitelisted");
    assert!(refused.message().contains("198.18.78.0/28 is in whitelist.networks"), "{refused:?}");
    never(A_WHILE, "a route", || site.bird.flow4().pop());
    assert_eq!((site.attack(&only_seen.id).captured, site.leveed.rules().len()), (0, 0));

    // The traffic: it is not even seen, and the attack that was is over.
    assert_eq!(site.leveed.terminate().code(), Some(0));
    let rule =
        r#"ignored = ['{"destination_prefix": "198.18.78.0/24", "protocols": ["udp"], "source_ports": [4500]}']"#;
    site.configure("", &with(rule));
    site.start_leveed();
    let ignored = || site.leveed.totals().counted.unwrap().ignored.unwrap().packets;
    wait_until(SOON, "ignored packets", || Some(ignored()).filter(|&packets| packets > 5 * u64::from(ATTACK_PPS)));
    assert_eq!(site.attack(&only_seen.id).state, "ended");
    assert_eq!(site.leveed.attacks().len(), 2, "no third one");
    assert!(site.bird.flow4().is_empty());
    let hosts = site.leveed.hosts(v1::ListHostsRequest::default());
    assert!(hosts.iter().all(|host| host.address != VICTIM.to_string()), "{hosts:?}");
    assert_eq!(site.leveed.alarms(), [""; 0]);
}

#[test]
fn a_capture_that_is_never_full_is_an_orphan() {
    let detection = DETECTION.replace("capture_packets = 100\n", "capture_packets = 50000\ncapture_timeout_s = 2\n");
    let site = Site::start("", &detection);
    let events = site.leveed.watch_events();
    site.play(&site.isakmp(), ATTACK_PPS, Amount::Packets(3_000)).wait();
    let attack = site.wait_attack("false_positive");
    assert!(attack.captured > 0 && attack.captured < 3_000, "{attack:?}");
    assert_eq!((attack.capture_wanted, attack.rules.len()), (50_000, 0));
    let held = format!(
        "capture not filled within 2 s: it has {0} of 50000 packets: {0} incoming, 0 outgoing",
        attack.captured
    );
    assert_eq!(attack.note, held);
    let log = site.leveed.log();
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains(&held)), "a warning in the log");
    let kinds = || events.of(&attack.id).into_iter().map(|event| event.kind).collect::<Vec<_>>();
    // Told once it is on disk.
    wait_until(SOON, "events", || (kinds() == ["detected", "false_positive"]).then_some(()));

    // What a person asked for is not called false, but nor is there a rule without a sample.
    let id = site.leveed.ban("198.18.78.9", "test").expect("banned");
    let note = wait_until(SOON, "note", || Some(site.attack(&id).note).filter(|note| note.contains("not filled")));
    assert!(note.contains("0 of 50000 packets"), "{note}");
    assert_ne!(site.attack(&id).state, "false_positive");
    assert!(site.leveed.rules().is_empty() && site.bird.flow4().is_empty());
}

#[test]
fn ipv6_and_outgoing_attacks() {
    let site = Site::start("", DETECTION);
    let far = |n: usize| at(&format!("[2001:db8:ffff::{n:x}]:53"));
    let flood6: Vec<_> =
        (1..=500).map(|n| pcap::udp(far(n), at(&format!("[2001:db8::10]:{}", 20_000 + 61 * n)), 400)).collect();
    let ours = |n: usize| SocketAddr::new(VICTIM.into(), (30_000 + 31 * n) as u16);
    let sent: Vec<_> = (1..=500).map(|n| pcap::udp(ours(n), at("203.0.113.80:80"), 900)).collect();
    let players = [("flood6.pcap", flood6), ("sent.pcap", sent)]
        .map(|(name, frames)| site.play(&site.file(name, &frames), ATTACK_PPS, Amount::Seconds(100)));
    site.wait_flow6(&["dst 2001:db8::10/128; next header 17; sport 53"]);
    site.wait_flow4(&["src 198.18.78.1/32; proto 17; dport 80"]);
    let mut targets: Vec<_> = (site.leveed.attacks().iter())
        .map(|attack| (attack.target.clone(), attack.direction(), attack.state.clone()))
        .collect();
    targets.sort();
    let mitigating = |target: &str, direction| (target.to_owned(), direction, "mitigating".to_owned());
    let expected = [
        mitigating("198.18.78.1/32", v1::Direction::Outgoing),
        mitigating("2001:db8::10/128", v1::Direction::Incoming),
    ];
    assert_eq!(targets, expected);
    wait_until(SOON, "matches of both", || {
        let rules = site.leveed.rules();
        (rules.len() == 2 && rules.iter().all(|rule| rule.matched_packets > 0)).then_some(())
    });
    players.into_iter().for_each(Player::stop);
    site.wait_flow6(&[]);
    site.wait_flow4(&[]);
}

#[test]
fn an_attack_on_many_addresses_of_one_ipv6_prefix() {
    const TARGET: &str = "2001:db8:0:5::/64";
    let mut site = Site::start("", &format!("[tables]\nipv6_prefix_length = 64\n{DETECTION}"));
    // Each address gets a few packets a second; the threshold is for the prefix.
    let far = |n: usize| at(&format!("[2001:db8:ffff::{n:x}]:53"));
    let near = |n: usize| at(&format!("[2001:db8:0:5::{n:x}]:{}", 20_000 + 61 * n));
    let flood: Vec<_> = (1..=500).map(|n| pcap::udp(far(n), near(n), 400)).collect();
    let player = site.play(&site.file("flood64.pcap", &flood), ATTACK_PPS, Amount::Seconds(100));
    site.wait_flow6(&["dst 2001:db8:0:5::/64; next header 17; sport 53"]);
    let rule = site.wait_held();
    let flow_spec: serde_json::Value = serde_json::from_str(&rule.flow_spec_json).unwrap();
    assert_eq!((rule.target.as_str(), &flow_spec["destination_prefix"]), (TARGET, &TARGET.into()));
    let attack = site.attack(&rule.attack_id);
    assert_eq!((attack.target.as_str(), attack.direction()), (TARGET, v1::Direction::Incoming));
    assert_eq!((attack.metric.as_str(), site.leveed.attacks().len()), ("udp_pps", 1), "one attack, on all of it");
    wait_until(SOON, "matches", || Some(site.wait_held().matched_packets).filter(|&matched| matched > 1000));
    // Any address of it stands for the prefix, which is how it is shown.
    for prefix in ["", TARGET, "2001:db8:0:5::77"] {
        let hosts =
            site.leveed.hosts(v1::ListHostsRequest { prefix: prefix.into(), ..v1::ListHostsRequest::default() });
        assert_eq!(hosts.len(), 1, "{prefix}: {hosts:?}");
        assert_eq!((hosts[0].address.as_str(), hosts[0].under_attack), (TARGET, true), "{prefix}");
        assert!(hosts[0].incoming.unwrap().udp_pps > 1000.0, "{hosts:?}");
    }
    assert_eq!(site.leveed.ban("2001:db8:0:5::77", "test").expect("banned"), attack.id, "it is alive already");

    // Counted by single addresses from now on: nothing would ever end the attack on the prefix, and none is under attack.
    site.leveed.kill();
    site.configure("", DETECTION);
    site.start_leveed();
    site.wait_flow6(&[]);
    let over = site.attack(&attack.id);
    assert_eq!((over.state.as_str(), site.leveed.rules().len()), ("ended", 0));
    assert!(over.note.contains("counted no more"), "{over:?}");
    let busiest = wait_until(SOON, "traffic", || site.leveed.hosts(v1::ListHostsRequest::default()).pop());
    assert!(busiest.address.starts_with("2001:db8:0:5::") && !busiest.address.contains('/'), "{busiest:?}");
    never(A_WHILE, "another attack", || (site.leveed.attacks().len() > 1).then_some(()));
    player.stop();
}

#[test]
fn an_engine_that_comes_late() {
    let mut site = Site::prepare();
    site.configure("", DETECTION);
    site.start_leveed();
    let _player = site.isakmp_for_long();
    let attack = site.wait_attack("mitigating");
    let status = site.leveed.status();
    assert!(status.alarms.iter().any(|alarm| alarm.starts_with("engine edge: ")), "{:?}", status.alarms);
    assert!(!status.engines[0].connected && !status.engines[0].error.is_empty());
    assert_eq!(attack.rules[0].state, "wanted");

    site.gobgpd.start(&site.link.engine);
    site.wait_held();
    site.wait_flow4(&ISAKMP_RULE);
    let status = site.leveed.status();
    assert_eq!(site.leveed.alarms(), [""; 0]);
    assert!(status.engines[0].connected && (status.engines[0].held, status.engines[0].wanted) == (1, 1));
    assert_eq!(status.engines[0].peers[0].address, "192.0.2.2");
}
