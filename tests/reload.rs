//! Another configuration while `leveed` runs: by SIGHUP, by the API, key by key. No packet and no counter is lost.

mod support;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proto::v1;
use support::bgp::Gobgpd;
use support::daemon::{Leveed, Setup, cores};
use support::netns::{Netns, veth};
use support::stub_engine::StubEngine;
use support::traffic::{self, Amount, Player, VICTIM};
use support::{never, pcap, wait_until};
use tonic::{Code, Status};

const SOON: Duration = Duration::from_secs(30);
const A_WHILE: Duration = Duration::from_secs(1);
const A: &str = "198.18.0.0/24";
const B: &str = "198.18.1.0/24";
const C: &str = "192.0.2.0/24";
const V6: &str = "2001:db8::/48";
/// One of each network.
const HOSTS: [&str; 4] = ["198.18.0.10", "198.18.1.10", "192.0.2.10", "2001:db8::10"];
const PACKETS: u64 = 40_000;
const RATE_PPS: u32 = 8_000;
const MARK: &str = "[bgp]\nmark = \"64512:7653:1\"\n";

fn change(change: &v1::ConfigChange) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    format!("{}: {} → {}", change.key, shown(&change.old), shown(&change.new))
}

fn changes(changes: &[v1::ConfigChange]) -> Vec<String> {
    changes.iter().map(change).collect()
}

/// Packets counted for a host.
fn counted(leveed: &Leveed, host: &str) -> u64 {
    let listed = leveed.hosts(v1::ListHostsRequest { prefix: host.to_owned(), ..v1::ListHostsRequest::default() });
    let counted = listed[0].counted_incoming.as_ref().expect("counts of a host");
    counted.whole.as_ref().and_then(|whole| whole.udp.as_ref()).expect("UDP").packets
}

/// A daemon without traffic.
fn quiet(networks: &[&str], rest: &str) -> Leveed {
    let mut leveed = Leveed::prepare(&Setup::default());
    configure(&leveed, networks, rest);
    leveed.start();
    leveed
}

/// The configuration of [`quiet`], with other networks and sections. Its other keys stay.
fn configure(leveed: &Leveed, networks: &[&str], rest: &str) {
    let core = [cores()[0]];
    let file = leveed.path("none.pcap");
    pcap::write(&file, &[]);
    let device = format!("net_pcap0,rx_pcap={}", file.display());
    let ports: [(&str, &[usize]); 1] = [(&device, &core)];
    rewrite(leveed, &Setup { networks, ports: &ports, rest, ..Setup::default() });
}

/// A test's DPDK has a name of its own for each configuration, which is read at the start alone.
fn rewrite(leveed: &Leveed, setup: &Setup<'_>) {
    let name = |text: &str| text.lines().find(|line| line.starts_with("file_prefix")).map(str::to_owned);
    let before = std::fs::read_to_string(leveed.config()).ok().and_then(|text| name(&text)).expect("a configuration");
    leveed.configure(setup);
    let text = std::fs::read_to_string(leveed.config()).unwrap();
    leveed.write_config(&text.replace(&name(&text).unwrap(), &before));
}

#[test]
fn every_packet_is_counted_over_live_reloads() {
    let (outside, inside) = (Netns::silent(), Netns::silent());
    veth((&outside, "out0"), (&inside, "tap0"));
    let device = "net_af_packet0,iface=tap0,blocksz=65536,framesz=2048,framecnt=16384";
    let core = [*cores().last().unwrap()];
    let ports: [(&str, &[usize]); 1] = [(device, &core)];
    // Each host has a quarter of the rate; no threshold is ever crossed.
    let calm = "[groups.default.incoming]\nudp_pps = 6000\n";
    let with = |rest: &str| format!("{calm}{rest}");
    let (web, ignoring) = (
        with(
            "[groups.aaa]\ninherit = \"default\"\nnetworks = [\"198.18.0.0/28\", \"2001:db8::/64\"]\n[detection]\ncheck_period_ms = 50\n",
        ),
        with("[whitelist]\nignored = ['{\"source_prefix\": \"203.0.113.77/32\"}']\n"),
    );
    let variants: [(&[&str], &str); 3] = [(&[A, B, V6], &web), (&[C, V6, A], &ignoring), (&[V6, A], calm)];
    let mut leveed = Leveed::prepare(&Setup::default());
    let configure = |leveed: &Leveed, networks: &[&str], rest: &str| {
        rewrite(leveed, &Setup { networks, ports: &ports, rest, ..Setup::default() });
    };
    configure(&leveed, &[A, B, C, V6], calm);
    leveed.start_in(&inside);

    let file = leveed.path("traffic.pcap");
    let frames: Vec<Vec<u8>> = HOSTS
        .iter()
        .map(|host| {
            let source = if host.contains(':') { "[2001:db8:ffff::5]:53" } else { "203.0.113.5:53" };
            pcap::udp(source.parse().unwrap(), SocketAddr::new(host.parse().unwrap(), 4444), 20)
        })
        .collect();
    pcap::write(&file, &frames);
    let mut player = Player::start(&outside, "out0", &file, RATE_PPS, Amount::Packets(PACKETS));
    let (mut reloads, mut taken_over) = (0, 0);
    while player.is_playing() {
        let (networks, rest) = variants[reloads % variants.len()];
        configure(&leveed, networks, rest);
        if reloads % 2 == 0 {
            let changed = leveed.reload().expect("a good configuration");
            taken_over += usize::from(!changed.changes.is_empty());
        } else {
            leveed.hang_up();
            std::thread::sleep(Duration::from_millis(30));
        }
        reloads += 1;
    }
    assert_eq!(player.wait(), PACKETS);
    assert!(reloads > 20 && taken_over > 10, "{reloads} reloads, of which {taken_over} changed something");
    configure(&leveed, &[A, B, C, V6], calm);
    leveed.reload().expect("the first configuration");

    let port = wait_until(SOON, "all packets", || {
        Some(leveed.status().ports[0].clone()).filter(|port| port.packets >= PACKETS)
    });
    assert_eq!((port.packets, port.missed, port.errors, port.no_mbuf), (PACKETS, 0, 0, 0));
    let kinds = wait_until(SOON, "counts", || {
        let kinds = leveed.totals().counted.expect("counts");
        let all = [&kinds.incoming, &kinds.outgoing, &kinds.internal, &kinds.other, &kinds.ignored, &kinds.unparsed];
        let sum: u64 = all.iter().map(|kind| kind.as_ref().expect("a kind").packets).sum();
        (sum == PACKETS).then_some(kinds)
    });
    let of_hosts = HOSTS.map(|host| counted(&leveed, host));
    assert_eq!((of_hosts[0], of_hosts[3]), (PACKETS / 4, PACKETS / 4), "always protected: each of their packets");
    assert!((1..PACKETS / 4).contains(&of_hosts[1]) && (1..PACKETS / 4).contains(&of_hosts[2]), "{of_hosts:?}");
    let (incoming, other) = (kinds.incoming.unwrap().packets, kinds.other.unwrap().packets);
    assert_eq!((incoming, other), (of_hosts.iter().sum(), PACKETS - of_hosts.iter().sum::<u64>()));
    assert_eq!(leveed.attacks().len(), 0, "no false alarm");
    assert!(leveed.alarms().is_empty(), "{:?}", leveed.alarms());
}

#[test]
fn attacks_live_on_but_where_nothing_is_protected_any_more() {
    let leveed = quiet(&[A, B], "");
    let stays = leveed.ban("198.18.0.1", "test").unwrap();
    let goes = leveed.ban("198.18.1.1", "test").unwrap();
    configure(&leveed, &[C, A], "[groups.web]\nnetworks = [\"198.18.0.0/28\"]\n");
    let changed = changes(&leveed.reload().unwrap().changes);
    for wanted in [
        "networks: \"198.18.1.0/24\" → none",
        "networks: none → \"192.0.2.0/24\"",
        "groups.web.networks: none → \"198.18.0.0/28\"",
    ] {
        assert!(changed.contains(&wanted.to_owned()), "{changed:?}");
    }
    let attack = |id: &str| {
        let request = v1::ListAttacksRequest { id: id.to_owned(), ..v1::ListAttacksRequest::default() };
        leveed.ask(async |mut api| api.list_attacks(request).await).unwrap().attacks.remove(0)
    };
    let gone = attack(&goes);
    assert_eq!(gone.state, "ended");
    assert!(gone.journal.iter().any(|entry| entry.text.contains("counted no more")), "{:?}", gone.journal);
    let alive = attack(&stays);
    assert_eq!((alive.state.as_str(), alive.group.as_str()), ("detected", "web"));
    assert!(alive.journal.iter().any(|entry| entry.kind == "changed"), "{:?}", alive.journal);
    assert_eq!(leveed.ban("198.18.1.1", "test").unwrap_err().code(), Code::FailedPrecondition);
    leveed.ban("192.0.2.1", "test").expect("it is protected now");
}

#[test]
fn a_rule_in_force_stays_in_force_and_goes_on_counting() {
    let (outside, inside) = (Netns::silent(), Netns::silent());
    veth((&outside, "out0"), (&inside, "tap0"));
    let mut gobgpd = Gobgpd::prepare();
    gobgpd.start(&inside);
    let core = [*cores().last().unwrap()];
    let ports: [(&str, &[usize]); 1] = [("net_af_packet0,iface=tap0,blocksz=65536,framesz=2048,framecnt=8192", &core)];
    let with = |udp_pps: u32, more: &str| {
        let engine = format!("{MARK}[[bgp.engines]]\nname = \"edge\"\naddress = {:?}\n", gobgpd.address());
        format!("[groups.default.incoming]\nudp_pps = {udp_pps}\n{more}[detection]\ncapture_packets = 100\n{engine}")
    };
    let mut leveed = Leveed::prepare(&Setup::default());
    let configure = |leveed: &Leveed, networks: &[&str], rest: &str| {
        rewrite(leveed, &Setup { networks, ports: &ports, rest, ..Setup::default() });
    };
    let own = "198.18.78.0/24";
    configure(&leveed, &[A, own], &with(1000, ""));
    leveed.start_in(&inside);
    let file = leveed.path("isakmp.pcap");
    traffic::retarget(&traffic::capture("amp.UDP.isakmp.pcap"), VICTIM, &file);
    let player = Player::start(&outside, "out0", &file, 3_000, Amount::Seconds(60));
    let matched = |at_least: u64| {
        wait_until(SOON, "a held rule that matches", || {
            leveed.rules().into_iter().find(|rule| rule.state == "held" && rule.matched_packets > at_least)
        })
    };
    let before = matched(1000);
    let events = leveed.watch_events();
    for (networks, rest) in [
        (&[own, C][..], with(1000, "[groups.aaa]\ninherit = \"default\"\nnetworks = [\"192.0.2.0/28\"]\n")),
        (&[own][..], with(2000, "")),
        (&[own][..], with(2000, "") + "communities = [\"64512:5\"]\n"),
        (&[A, own][..], with(1000, "[groups.web]\ninherit = \"default\"\nnetworks = [\"198.18.78.0/28\"]\n")),
    ] {
        configure(&leveed, networks, &rest);
        assert!(!leveed.reload().expect("a good configuration").changes.is_empty());
        let last = leveed.rules().remove(0);
        assert_eq!((&last.id, last.held_ms), (&before.id, before.held_ms), "held all the time");
        matched(last.matched_packets);
    }
    let kinds: Vec<String> = events.of(&before.attack_id).into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["changed"], "the attack goes on, in another group at the end");
    assert_eq!(leveed.attacks().len(), 1);

    // Not to announce is a matter of configuration, too.
    configure(
        &leveed,
        &[A, own],
        &with(1000, "monitor_only = true\n")
            .replace("[groups.default.incoming]", "[groups.default]")
            .replace("udp_pps = 1000", "incoming = { udp_pps = 1000 }"),
    );
    leveed.reload().expect("a good configuration");
    wait_until(SOON, "withdrawn", || leveed.rules().into_iter().find(|rule| rule.state == "monitor_only"));
    wait_until(SOON, "nothing held", || (leveed.status().engines[0].held == 0).then_some(()));
    player.stop();
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let leveed = quiet(&[A], "[detection]\nban_time_s = 30\n");
    let good = std::fs::read_to_string(leveed.config()).unwrap();
    leveed.write_config(&good.replace("ban_time_s = 30", "ban_times = 45"));
    leveed.hang_up();
    let alarm = wait_until(SOON, "alarm", || leveed.alarms().into_iter().next());
    assert!(alarm.contains("the last reload was refused") && alarm.contains("detection.ban_times"), "{alarm}");
    assert!(leveed.log().contains("did you mean `ban_time_s`?"), "{}", leveed.log());
    let error = leveed.reload().unwrap_err();
    assert!(
        error.code() == Code::InvalidArgument && error.message().contains("did you mean `ban_time_s`?"),
        "{error:?}"
    );

    leveed.write_config(&good.replace("ban_time_s = 30", "ban_time_s = 45").replace("mbufs = 4096", "mbufs = 8192"));
    let diff = leveed.ask(async |mut api| api.diff_config(v1::DiffConfigRequest {}).await).unwrap();
    let restart: Vec<bool> = diff.changes.iter().map(|change| !change.restart.is_empty()).collect();
    assert_eq!(changes(&diff.changes), ["dpdk.mbufs: 4096 → 8192", "detection.ban_time_s: 30 → 45"]);
    assert_eq!((restart, diff.wrong.as_str()), (vec![true, false], ""));
    let error = leveed.reload().unwrap_err();
    assert!(error.message().contains("dpdk.mbufs: 4096 → 8192") && error.message().contains("restart"), "{error:?}");
    assert_eq!(show(&leveed, "detection.ban_time_s").unwrap(), ["30"]);

    leveed.write_config(&good.replace("ban_time_s = 30", "ban_time_s = 45"));
    leveed.hang_up();
    wait_until(SOON, "the good file", || show(&leveed, "detection.ban_time_s").ok().filter(|values| values == &["45"]));
    assert_eq!(leveed.alarms(), [""; 0]);
}

fn show(leveed: &Leveed, key: &str) -> Result<Vec<String>, Status> {
    let request = v1::GetConfigRequest { key: key.to_owned() };
    let answer = leveed.ask(async |mut api| api.get_config(request).await)?;
    Ok(answer.keys.into_iter().flat_map(|key| key.values).collect())
}

fn set(leveed: &Leveed, key: &str, value: &str) -> Result<Vec<String>, Status> {
    let request = v1::SetConfigRequest { key: key.to_owned(), value: Some(value.to_owned()) };
    leveed.ask(async |mut api| api.set_config(request).await).map(|answer| changes(&answer.changes))
}

fn commit(leveed: &Leveed, force: bool) -> Result<v1::ConfigChanged, Status> {
    leveed.ask(async |mut api| api.commit_config(v1::CommitConfigRequest { force }).await)
}

fn rollback(leveed: &Leveed) -> Result<v1::RollbackConfigResponse, Status> {
    leveed.ask(async |mut api| api.rollback_config(v1::RollbackConfigRequest { force: false }).await)
}

#[test]
fn keys_are_set_committed_and_rolled_back() {
    let leveed = quiet(&[A], "# our limits\n[groups.default.incoming]\nudp_pps = 5000 # enough\n");
    let text = || std::fs::read_to_string(leveed.config()).unwrap();
    let before = text();
    let key = "groups.default.incoming.udp_pps";
    assert_eq!(set(&leveed, key, "7000").unwrap(), ["groups.default.incoming.udp_pps: 5000 → 7000"]);
    assert!(set(&leveed, key, "7k").unwrap_err().message().contains("7000"), "as the file would be told");
    assert_eq!((text(), show(&leveed, key).unwrap()), (before.clone(), vec!["5000".to_owned()]));
    commit(&leveed, false).unwrap();
    assert_eq!(text(), before.replace("udp_pps = 5000 # enough", "udp_pps = 7000 # enough"));
    let threshold = || leveed.groups()[0].incoming.iter().map(|threshold| threshold.value).collect::<Vec<_>>();
    assert_eq!((show(&leveed, key).unwrap(), threshold()), (vec!["7000".to_owned()], vec![7000.0]));
    let who =
        leveed.log().lines().any(|line| line.contains("the candidate is committed") && line.contains("by=\"root\""));
    assert!(who, "{}", leveed.log());

    set(&leveed, key, "8000").unwrap();
    assert!(rollback(&leveed).unwrap().candidate_dropped);
    leveed.write_config(&format!("{}# by hand\n", text()));
    assert!(rollback(&leveed).unwrap_err().message().contains("was edited since it was loaded"));
    leveed.reload().unwrap();
    let answer = rollback(&leveed).unwrap();
    assert_eq!(changes(&answer.changed.unwrap().changes), ["groups.default.incoming.udp_pps: 7000 → 5000"]);
    assert_eq!((text(), threshold()), (before, vec![5000.0]));

    let acts = || -> Vec<String> {
        let acts = leveed.ask(async |mut api| api.list_acts(v1::ListActsRequest::default()).await).expect("acts").acts;
        acts.into_iter().rev().map(|act| format!("{} {} {}", act.by, act.act, act.text)).collect()
    };
    let expected = [
        format!("root config_commit {key}"),
        "root config_reload nothing changed".to_owned(),
        format!("root config_rollback {key}"),
    ];
    wait_until(SOON, &format!("acts {expected:?}"), || (acts() == expected).then_some(()));
}

#[test]
fn engines_come_and_go() {
    let engine = StubEngine::start();
    engine.orders.asn.store(65_001, Ordering::Relaxed);
    let bgp = |name: &str, more: &str| {
        format!("{MARK}[[bgp.engines]]\nname = {name:?}\naddress = {:?}\n{more}", engine.address())
    };
    let leveed = quiet(&[A], "");
    let connected = || -> Vec<String> {
        leveed.status().engines.into_iter().filter(|engine| engine.connected).map(|engine| engine.name).collect()
    };
    for (rest, names) in [
        (bgp("one", ""), vec!["one"]),
        (bgp("two", "communities = [\"64512:5\"]\n"), vec!["two"]),
        (String::new(), vec![]),
        (bgp("one", ""), vec!["one"]),
    ] {
        configure(&leveed, &[A], &rest);
        leveed.reload().unwrap();
        wait_until(SOON, &format!("{names:?}"), || (connected() == names).then_some(()));
        assert_eq!(leveed.status().engines.len(), names.len());
    }
    never(A_WHILE, "alarm", || leveed.alarms().into_iter().next());
}
