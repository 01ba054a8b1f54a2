//! The API as a client meets it: what it shows over traffic of `net_pcap`, what it refuses, and many clients at once.

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::v1;
use proto::v1::levee_client::LeveeClient;
use support::daemon::{LOG_LEVEL, Leveed, Setup, core, now_ms};
use support::{pcap, wait_until};
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::Endpoint;

const SOON: Duration = Duration::from_secs(30);
const NETWORKS: [&str; 3] = ["198.18.0.0/24", "198.18.1.0/24", "2001:db8::/48"];
/// In [`frames`].
const HOSTS: [&str; 3] = ["198.18.0.10", "198.18.1.20", "2001:db8::30"];

/// To the first host many small packets, to the second half as many, but large ones; and few from the third.
fn frames() -> Vec<Vec<u8>> {
    let at = |address: &str| -> SocketAddr { address.parse().unwrap() };
    let mut frames = Vec::new();
    for n in 0..100 {
        frames.push(pcap::udp(at("203.0.113.1:1000"), at("198.18.0.10:53"), 20));
        if n % 2 == 0 {
            frames.push(pcap::udp(at("203.0.113.2:1000"), at("198.18.1.20:443"), 1_200));
        }
        if n % 10 == 0 {
            frames.push(pcap::udp(at("[2001:db8::30]:53"), at("[2001:db8:ffff::1]:1000"), 60));
        }
    }
    frames
}

fn traffic() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("traffic.pcap");
    pcap::write(&file, &frames());
    (folder, file)
}

/// A running daemon; the file is delivered once, or again and again.
fn start(file: &Path, again: bool) -> Leveed {
    let core = [core()];
    let device = format!("net_pcap0,rx_pcap={},infinite_rx={}", file.display(), u8::from(again));
    // Thresholds that nothing in the file comes near.
    let rest = "[groups.default.outgoing]\nicmp_pps = 1000\nicmp_mbps = 10\n[groups.base]\ninherit = \"default\"\n\
                monitor_only = true\n[groups.web]\ninherit = \"base\"\nnetworks = [\"198.18.1.16/28\"]\n\
                families = [\"ipv4\"]\nincoming = { icmp_pps = 2000 }\noutgoing = { icmp_mbps = \"off\" }\n";
    let ports: [(&str, &[usize]); 1] = [(&device, &core)];
    let mut leveed = Leveed::prepare(&Setup { networks: &NETWORKS, ports: &ports, rest, ..Setup::default() });
    leveed.start();
    leveed
}

#[test]
fn status_shows_ports_and_workers() {
    let before_ms = now_ms();
    let (_folder, file) = traffic();
    let leveed = start(&file, false);
    let all = frames().len() as u64;
    let bytes = frames().iter().map(Vec::len).sum::<usize>() as u64;
    let status =
        wait_until(SOON, "all packets", || Some(leveed.status()).filter(|status| status.ports[0].packets == all));

    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    assert!(status.dpdk_version.contains('.'), "{}", status.dpdk_version);
    assert!((before_ms..=now_ms()).contains(&status.started_ms));
    assert_eq!((status.dry_run, status.attacks, status.rules, status.networks), (false, 0, 0, 3));
    assert_eq!(status.log_level, LOG_LEVEL);
    assert!(leveed.alarms().is_empty() && status.engines.is_empty(), "{status:?}");

    let [port] = &status.ports[..] else { panic!("{:?}", status.ports) };
    assert!(port.device.starts_with("net_pcap0,rx_pcap=") && port.driver == "net_pcap", "{port:?}");
    assert_eq!((port.queues, port.bytes, port.missed, port.errors, port.no_mbuf), (1, bytes, 0, 0, 0));
    assert!(port.link_up && port.mac.split(':').count() == 6, "{port:?}");

    let worker = wait_until(SOON, "counts of the worker", || {
        leveed.status().workers.into_iter().find(|worker| worker.packets == all && worker.empty_polls > 0)
    });
    assert_eq!(
        (worker.core as usize, &worker.queues[..], worker.bytes),
        (core(), &["net_pcap0/0".to_owned()][..], bytes)
    );
    assert!(worker.polls > worker.empty_polls);
    assert_eq!((worker.ipv4_blocks_used, worker.ipv6_hosts), (2, 1));
    assert!(worker.ipv4_blocks >= 2 && worker.lost.is_empty(), "{worker:?}");
    let rising = |percentiles: &[u64]| percentiles.len() == 3 && percentiles.is_sorted();
    assert!(rising(&worker.cycles_per_packet) && worker.cycles_per_packet[2] > 0, "{worker:?}");
    assert!(rising(&worker.burst_packets) && (1..=32).contains(&worker.burst_packets[0]), "{worker:?}");
    let kinds = worker.kinds.expect("kinds");
    assert_eq!([kinds.incoming, kinds.outgoing].map(|count| count.unwrap().packets), [150, 10]);
}

#[test]
fn groups_are_shown_with_what_they_inherit() {
    let (_folder, file) = traffic();
    let leveed = start(&file, false);
    let threshold = |metric: &str, value| v1::Threshold { metric: metric.to_owned(), value };
    let both = |one: &str, other: &str| vec![one.to_owned(), other.to_owned()];
    let default = v1::Group {
        name: "default".to_owned(),
        directions: both("incoming", "outgoing"),
        families: both("ipv4", "ipv6"),
        profile: "strict".to_owned(),
        inseparable: "rate_limit".to_owned(),
        last_resort: "nothing".to_owned(),
        outgoing: vec![threshold("icmp_pps", 1000.0), threshold("icmp_bps", 1e7)],
        incoming_action: "discard".to_owned(),
        outgoing_action: "discard".to_owned(),
        ..v1::Group::default()
    };
    let web = v1::Group {
        name: "web".to_owned(),
        inherit: "base".to_owned(),
        networks: vec!["198.18.1.16/28".to_owned()],
        networks_in_all: 1,
        families: vec!["ipv4".to_owned()],
        monitor_only: true,
        incoming: vec![threshold("icmp_pps", 2000.0)],
        outgoing: vec![threshold("icmp_pps", 1000.0)],
        ..default.clone()
    };
    assert_eq!(leveed.groups(), [default, web]);
}

#[test]
fn hosts_are_listed_by_what_is_asked() {
    let (_folder, file) = traffic();
    let leveed = start(&file, true);
    let list = |order: v1::HostOrder, limit, prefix: &str| {
        let request = v1::ListHostsRequest { limit, order: order.into(), prefix: prefix.to_owned() };
        leveed.ask(async |mut api| api.list_hosts(request).await)
    };
    let names = |order, limit, prefix| {
        let listed = list(order, limit, prefix).expect("hosts");
        (listed.hosts.into_iter().map(|host| host.address).collect::<Vec<_>>(), listed.active)
    };
    use v1::HostOrder::{Bps, IncomingBps, OutgoingPps, Pps};
    let [small, large, sender] = HOSTS.map(str::to_owned);
    wait_until(SOON, "all hosts", || (names(Pps, 0, "").1 == 3).then_some(()));
    let by_packets = vec![small.clone(), large.clone(), sender.clone()];
    wait_until(SOON, "order by packets", || (names(Pps, 0, "") == (by_packets.clone(), 3)).then_some(()));
    assert_eq!(names(Bps, 0, ""), (vec![large.clone(), small.clone(), sender.clone()], 3));
    assert_eq!(names(IncomingBps, 0, ""), (vec![large.clone(), small.clone()], 2), "the third sends only");
    assert_eq!(names(OutgoingPps, 0, ""), (vec![sender.clone()], 1));
    assert_eq!(names(Bps, 2, ""), (vec![large.clone(), small.clone()], 3), "active ones are counted beyond the limit");
    assert_eq!(names(Pps, 0, "198.18.0.0/23"), (vec![small.clone(), large.clone()], 2));
    assert_eq!(names(Pps, 0, "2001:db8::/64"), (vec![sender.clone()], 1));
    assert_eq!(names(Pps, 0, "198.18.1.20"), (vec![large.clone()], 1));
    // A single host is shown also when it is silent; one that is not ours is not.
    assert_eq!(names(Pps, 0, "198.18.0.11/32"), (vec!["198.18.0.11".to_owned()], 0));
    assert_eq!(names(Pps, 0, "203.0.113.1"), (vec![], 0));
    assert_eq!(list(Pps, 0, "198.18.0.0/40").expect_err("no prefix").code(), Code::InvalidArgument);

    let hosts = list(Pps, 0, "").expect("hosts").hosts;
    let described: Vec<_> = hosts.iter().map(|host| (host.network.as_str(), host.group.as_str())).collect();
    let expected = [("198.18.0.0/24", "default"), ("198.18.1.0/24", "web"), ("2001:db8::/48", "default")];
    assert_eq!(described, expected);
    let [few, half] = [1, 0].map(|index| hosts[index].incoming.unwrap());
    let ratio = half.udp_pps / few.udp_pps;
    assert!((1.8..2.2).contains(&ratio), "twice the packets: {ratio}");
    assert!((few.udp_bps / few.udp_pps / 8.0 - 1_228.0).abs() < 1.0, "IP lengths: {few:?}");
    assert_eq!((few.tcp_pps, few.icmp_pps, few.fragment_pps, few.total_pps), (0.0, 0.0, 0.0, few.udp_pps));
    assert_eq!(hosts[2].incoming.unwrap(), v1::Rates::default());

    let totals = leveed.totals();
    let networks: Vec<_> =
        totals.networks.iter().map(|network| (network.network.as_str(), network.group.as_str())).collect();
    let mut known = [("198.18.0.0/24", "default"), ("198.18.1.0/24", "default"), ("2001:db8::/48", "default")];
    known.sort_by_key(|(network, _)| networks.iter().position(|(listed, _)| listed == network));
    assert_eq!(networks, known);
    let sum: f64 = totals.networks.iter().map(|network| network.incoming.unwrap().total_pps).sum();
    assert!(sum > 0.0 && (totals.incoming.unwrap().total_pps - sum).abs() < 1.0);
}

#[test]
fn the_log_level_can_be_changed() {
    let (_folder, file) = traffic();
    let leveed = start(&file, false);
    let set = |level: &str| {
        let request = v1::SetLogLevelRequest { level: level.to_owned() };
        leveed.ask(async |mut api| api.set_log_level(request).await).map(|answer| answer.previous)
    };
    assert_eq!(set("warn").expect("a level"), LOG_LEVEL);
    assert_eq!(leveed.status().log_level, "warn");
    leveed.ban("198.18.0.1", "not to be logged").expect("banned");
    assert_eq!(set("info,controlplane::api=off").expect("a filter"), "warn");
    leveed.ban("198.18.0.2", "to be logged").expect("banned");
    let log = leveed.log();
    assert!(
        !log.contains("not to be logged") && log.contains("198.18.0.2 incoming banned by root: to be logged"),
        "{log}"
    );
    assert!(!log.contains('\x1b'), "a file is no terminal");

    for wrong in ["loud", "", "info,loud", "controlplane=loud"] {
        let refused = set(wrong).expect_err("no level");
        assert_eq!(refused.code(), Code::InvalidArgument, "{wrong}");
        assert!(refused.message().contains("warn, info"), "{refused}");
    }
    assert_eq!(leveed.status().log_level, "info,controlplane::api=off", "as before");
}

#[test]
fn bans_of_what_is_no_host_of_ours_are_refused() {
    let (_folder, file) = traffic();
    let leveed = start(&file, false);
    let refused = |host: &str, reason: &str| {
        let status = leveed.ban(host, reason).expect_err("refused");
        (status.code(), status.message().to_owned())
    };
    for no_host in ["198.18.0.0/24", "2001:db8::/48", "example.net", "198.18.0.300", ""] {
        let (code, message) = refused(no_host, "");
        assert_eq!(code, Code::InvalidArgument, "{no_host}");
        assert!(message.contains("not an address of a host"), "{message}");
    }
    let (code, message) = refused("203.0.113.1", "");
    assert_eq!(code, Code::FailedPrecondition);
    assert_eq!(message, "203.0.113.1 is in no protected network");
    let (code, message) = refused("198.18.0.1", &"long ".repeat(101));
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("longer than 500 bytes"), "{message}");
    assert_eq!(leveed.unban("198.18.0.1").expect_err("no attack").code(), Code::FailedPrecondition);
    assert!(leveed.attacks().is_empty() && leveed.status().attacks == 0);

    // Twice the same is one attack; both directions are two, which one unban ends.
    let id = leveed.ban("198.18.0.1", "test").expect("banned");
    assert_eq!(leveed.ban("198.18.0.1/32", "again").expect("banned"), id);
    let outgoing = v1::BanRequest {
        host: "198.18.0.1".to_owned(),
        direction: v1::Direction::Outgoing.into(),
        ..v1::BanRequest::default()
    };
    let other = leveed.ask(async |mut api| api.ban(outgoing).await).expect("banned").attack_id;
    assert_eq!(leveed.status().attacks, 2);
    let mut ended = leveed.unban("198.18.0.1").expect("unbanned");
    ended.sort();
    let mut both = [id, other];
    both.sort();
    assert_eq!(ended, both);
    assert_eq!(leveed.status().attacks, 0);
    assert!(leveed.attacks().iter().all(|attack| attack.state == "ended"));
}

#[test]
fn a_client_that_does_not_read_loses_events_and_holds_nobody_up() {
    let (_folder, file) = traffic();
    let leveed = start(&file, false);
    // A small window: the daemon soon has to keep for it what it does not read.
    let endpoint = Endpoint::try_from(format!("unix://{}", leveed.socket().display())).unwrap();
    let endpoint = endpoint.initial_stream_window_size(65_535);
    let mut slow = leveed.block_on(async {
        let mut api = LeveeClient::connect(endpoint).await.expect("connect");
        api.watch_events(v1::WatchEventsRequest {}).await.expect("events").into_inner()
    });
    let fast = leveed.watch_events();
    // More than the daemon keeps for a client, and what fits into the connection.
    let mut last = String::new();
    for _ in 0..700 {
        last = leveed.ban("198.18.0.1", &"words ".repeat(80)).expect("banned");
        leveed.unban("198.18.0.1").expect("unbanned");
    }
    wait_until(SOON, "the last event at the client that reads", || {
        fast.of(&last).into_iter().find(|event| event.kind == "ended")
    });
    let mut told = None;
    while let Some(event) = leveed.block_on(slow.message()).expect("an event") {
        if event.kind == "dropped" {
            told = Some(event.text);
        }
        if event.attack_id == last && event.kind == "ended" {
            break;
        }
    }
    let told = told.expect("the client is told");
    assert!(told.contains("events were dropped: this client reads too slowly"), "{told}");
}

#[test]
fn many_clients_at_once() {
    let (_folder, file) = traffic();
    let leveed = start(&file, true);
    let client = async |number: u32| {
        let mut api = leveed.connect().await;
        for round in 0..10 {
            let host = format!("198.18.0.{}", number + 1);
            let ban = v1::BanRequest { host: host.clone(), ..v1::BanRequest::default() };
            let banned = api.ban(ban).await.expect("ban").into_inner().attack_id;
            api.get_status(v1::GetStatusRequest {}).await.expect("status");
            api.list_hosts(v1::ListHostsRequest::default()).await.expect("hosts");
            api.get_totals(v1::GetTotalsRequest {}).await.expect("totals");
            api.list_rules(v1::ListRulesRequest {}).await.expect("rules");
            let attacks = api.list_attacks(v1::ListAttacksRequest::default()).await.expect("attacks").into_inner();
            assert!(attacks.attacks.iter().any(|attack| attack.id == banned), "round {round}");
            let unban = v1::UnbanRequest { host, ..v1::UnbanRequest::default() };
            assert_eq!(api.unban(unban).await.expect("unban").into_inner().attack_ids, [banned]);
        }
    };
    leveed.block_on(futures_of((0..20).map(client)));
    assert_eq!(leveed.status().attacks, 0);
}

/// What a search finds, page by page, as (id, target).
fn find(leveed: &Leveed, search: &v1::ListAttacksRequest) -> Vec<(String, String)> {
    let (mut search, mut found) = (search.clone(), Vec::new());
    loop {
        let answer = leveed.ask(async |mut api| api.list_attacks(search.clone()).await).expect("attacks");
        assert_eq!(answer.incomplete, "");
        assert!(answer.attacks.iter().all(|attack| attack.journal.is_empty()), "only where one is asked for");
        found.extend(answer.attacks.into_iter().map(|attack| (attack.id, attack.target)));
        if answer.next_page.is_empty() {
            return found;
        }
        search.page = answer.next_page;
    }
}

#[test]
fn the_history_is_searched_beyond_what_is_at_hand_and_forgotten_in_time() {
    let (_folder, file) = traffic();
    let mut leveed = start(&file, false);
    // More than the control thread keeps.
    let mut all: Vec<(String, String)> = Vec::new();
    for n in 0..1_100 {
        let host = if n % 100 == 0 { "2001:db8::7".to_owned() } else { format!("198.18.{}.{}", n % 2, n % 100) };
        let target = if n % 100 == 0 { format!("{host}/128") } else { format!("{host}/32") };
        all.insert(0, (leveed.ban(&host, "test").expect("banned"), target));
        leveed.unban(&host).expect("unbanned");
    }
    let alive = leveed.ban("198.18.0.200", "stays").expect("banned");
    all.insert(0, (alive.clone(), "198.18.0.200/32".to_owned()));
    let of = |prefix: &str| all.iter().filter(|(_, target)| target.starts_with(prefix)).cloned().collect::<Vec<_>>();
    let search = |host: &str| v1::ListAttacksRequest { host: host.to_owned(), limit: 300, ..Default::default() };

    // The last ones are on their way to the disk, and are found all the same.
    assert_eq!(find(&leveed, &search("")), all, "each once, the newest first");
    assert_eq!(find(&leveed, &search("2001:db8::7")).len(), 11);
    assert_eq!(find(&leveed, &search("198.18.1.0/24")), of("198.18.1."));
    assert_eq!(find(&leveed, &search("198.18.0.42")), of("198.18.0.42/"));
    assert_eq!(find(&leveed, &search("203.0.113.1")), []);
    let kinds = |kind: &str| v1::ListAttacksRequest { kinds: vec![kind.to_owned()], ..search("") };
    assert_eq!((find(&leveed, &kinds("by_hand")).len(), find(&leveed, &kinds("udp")).len()), (1_101, 0));
    let alive_only = v1::ListAttacksRequest { alive_only: true, ..search("") };
    assert_eq!(find(&leveed, &alive_only), all[..1]);
    let since = v1::ListAttacksRequest { since_ms: now_ms() + 1, ..search("") };
    assert_eq!(find(&leveed, &since), all[..1], "what is alive is not over");

    // An attack of long ago in full, by the beginning of its id.
    let by_id = |id: &str| v1::ListAttacksRequest { id: id.to_owned(), ..Default::default() };
    let ask = |request: v1::ListAttacksRequest| leveed.ask(async |mut api| api.list_attacks(request).await);
    let (oldest, _) = all.last().unwrap();
    let one = ask(by_id(oldest)).expect("attacks").attacks;
    let [one] = &one[..] else { panic!("{one:?}") };
    assert!(
        one.ended_ms > 0
            && find(&leveed, &v1::ListAttacksRequest { until_ms: one.detected_ms, ..search("") }).is_empty()
    );
    let kinds_of: Vec<&str> = one.journal.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds_of, ["detected", "ending", "ended"]);
    assert!(one.journal[0].text.contains("banned by root: test") && one.journal[0].time_ms == one.detected_ms);

    let wrong = [
        by_id("not hex"),
        search("host"),
        kinds("sctp"),
        v1::ListAttacksRequest { page: "5".to_owned(), ..Default::default() },
    ];
    for wrong in wrong {
        assert_eq!(ask(wrong).expect_err("refused").code(), Code::InvalidArgument);
    }
    let sample = v1::GetSampleRequest { attack_id: alive };
    let refused = leveed.ask(async |mut api| api.get_sample(sample).await).expect_err("refused");
    assert!(refused.code() == Code::FailedPrecondition && refused.message().contains("history.samples"), "{refused}");

    // Half of it was over long ago: that is forgotten, also where it is at hand. What is alive stays.
    assert!(leveed.terminate().success());
    let database = rusqlite::Connection::open(leveed.state()).unwrap();
    let middle = &all[600].0;
    let old_ms = now_ms() - 91 * 86_400_000;
    let age = "UPDATE attacks SET ended_ms = ?1, record = json_replace(record, '$.ended_ms', ?1) WHERE id <= ?2";
    assert_eq!(database.execute(age, (old_ms, middle)).unwrap(), 501);
    leveed.start();
    assert_eq!(find(&leveed, &search("")), all[..600]);
    let left = || database.query_row("SELECT count(*) FROM attacks", [], |row| row.get::<_, i64>(0)).unwrap();
    wait_until(SOON, "old attacks to go", || (left() == 600).then_some(()));

    // Without its file the daemon tells what it has at hand, and that this is not all.
    std::fs::remove_file(leveed.state()).unwrap();
    let answer = ask_all(&leveed);
    assert!(answer.attacks.len() > 500 && answer.incomplete.contains("levee.db"), "{}", answer.incomplete);
}

fn ask_all(leveed: &Leveed) -> v1::ListAttacksResponse {
    let request = v1::ListAttacksRequest { limit: 1_000, ..Default::default() };
    leveed.ask(async |mut api| api.list_attacks(request).await).expect("attacks")
}

/// Drives all at a time, on this thread.
async fn futures_of(futures: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut running: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        running.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if running.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
