//! The BGP action against a real gobgpd as engine and a real BIRD as router. Needs root, for namespaces.
//!
//! ```text
//!   actions::bgp ──Unix socket── gobgpd, AS 65001 ──veth── BIRD, AS 65002
//!                                192.0.2.1                 192.0.2.2
//! ```

#[path = "bgp/meant.rs"]
mod meant;
mod support;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use controlplane::actions::bgp::{
    self, AtStop, Community, Engine, Engines, Mark, NextHops, Report, Route, Told, Wanted,
};
use dataplane::packet::fragment;
use dataplane::rule::{Action, Bits, FlowRule, Pass, Ranges};
use support::bgp::{Bird, FlowRoute, Gobgpd, Link};
use support::stub_engine::StubEngine;
use support::{never, wait_until};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

const MARK: Mark = Mark([64_512, 7_653, 1]);
const NEXT_HOPS: NextHops =
    NextHops { v4: Some(Ipv4Addr::new(192, 0, 2, 66)), v6: Some(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1)) };
const SOON: Duration = Duration::from_secs(20);
/// Long enough for a wrong withdrawal to reach the router, which takes milliseconds.
const A_WHILE: Duration = Duration::from_secs(2);
const DISCARD: &str = "(generic, 0x80060000, 0x0)";

/// The action under test, running.
struct Levee {
    runtime: Runtime,
    engine: Engine,
    told: watch::Sender<Told>,
    report: watch::Receiver<Report>,
    stop: watch::Sender<Option<AtStop>>,
    task: JoinHandle<Result<(), bgp::Error>>,
}

impl Levee {
    fn start(address: String) -> Levee {
        let runtime = Runtime::new().unwrap();
        let engine = Engine {
            communities: vec![Community::Standard(0xfde8_0001)],
            blackhole: Route { next_hops: NEXT_HOPS, communities: Vec::new() },
            reconcile_period: Duration::from_secs(3),
            ..Engine::new("edge", &address, MARK)
        };
        let (told, told_receiver) = watch::channel(Told::default());
        let (report_sender, report) = watch::channel(Report::new(&engine));
        let (stop, stop_receiver) = watch::channel(None);
        let task = runtime.spawn(bgp::run(engine.clone(), told_receiver, report_sender, stop_receiver));
        Levee { runtime, engine, told, report, stop, task }
    }

    fn want(&self, wanted: &[Wanted]) {
        self.told.send_modify(|told| told.wanted = Some(Arc::new(wanted.to_vec())));
    }

    #[track_caller]
    fn wait_report(&self, what: &str, right: impl Fn(&Report) -> bool) -> Report {
        wait_until(SOON, what, || Some(self.report.borrow().clone()).filter(&right))
    }

    #[track_caller]
    fn wait_held(&self, wanted: &[Wanted]) {
        let ids: Vec<Uuid> = wanted.iter().map(|wanted| wanted.id).collect();
        self.wait_report("held rules", |report| report.held == ids);
    }

    fn stop(self, at_stop: AtStop) {
        self.stop.send_replace(Some(at_stop));
        self.runtime.block_on(self.task).unwrap().unwrap();
    }
}

/// Engine and router with an established session.
fn routers() -> (Link, Gobgpd, Bird) {
    let link = Link::new();
    let mut gobgpd = Gobgpd::prepare();
    gobgpd.start(&link.engine);
    let bird = Bird::start(&link.router);
    bird.wait_established();
    (link, gobgpd, bird)
}

fn rule(destination: &str) -> FlowRule {
    FlowRule { destination: Some(destination.parse().unwrap()), ..FlowRule::default() }
}

fn ranges(ranges: &[(u32, u32)]) -> Ranges {
    ranges.iter().copied().collect()
}

fn discard(destination: &str) -> Wanted {
    Wanted { id: Uuid::now_v7(), rule: rule(destination), action: Action::Discard }
}

/// The rules with each their action, sorted.
fn shown(routes: Vec<FlowRoute>) -> Vec<(String, String)> {
    let show = |route: &FlowRoute| (route.components.join("; "), route.extended_communities().to_owned());
    let mut shown: Vec<_> = routes.iter().map(show).collect();
    shown.sort();
    shown
}

fn owned(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(components, action)| ((*components).to_owned(), (*action).to_owned())).collect()
}

#[track_caller]
fn wait_flow4(bird: &Bird, expected: &[(&str, &str)]) {
    wait_until(SOON, &format!("IPv4 rules {expected:?}"), || (shown(bird.flow4()) == owned(expected)).then_some(()));
}

#[track_caller]
fn wait_flow6(bird: &Bird, expected: &[(&str, &str)]) {
    wait_until(SOON, &format!("IPv6 rules {expected:?}"), || (shown(bird.flow6()) == owned(expected)).then_some(()));
}

#[test]
fn a_rule_comes_changes_and_goes() {
    let (_link, gobgpd, bird) = routers();
    let levee = Levee::start(gobgpd.address());
    let mut wanted = vec![discard("192.0.2.5/32"), discard("2001:db8::5/128")];
    levee.want(&wanted);
    levee.wait_held(&wanted);
    wait_flow4(&bird, &[("dst 192.0.2.5/32", DISCARD)]);
    wait_flow6(&bird, &[("dst 2001:db8::5/128", DISCARD)]);

    // 8 Mbit/s are a million octets a second, as a float.
    wanted[0].action = Action::RateBps(8_000_000);
    levee.want(&wanted);
    wait_flow4(&bird, &[("dst 192.0.2.5/32", "(generic, 0x80060000, 0x49742400)")]);
    levee.wait_held(&wanted);

    wanted.remove(0);
    levee.want(&wanted);
    wait_flow4(&bird, &[]);
    wait_flow6(&bird, &[("dst 2001:db8::5/128", DISCARD)]);

    levee.want(&[]);
    wait_flow6(&bird, &[]);
    levee.wait_held(&[]);
    levee.stop(AtStop::Keep);
}

#[test]
fn blackholes_are_routes_and_others_routes_stay_untouched() {
    let (link, mut gobgpd, bird) = routers();
    gobgpd.gobgp("global rib add 192.0.2.200/32 -a ipv4 community 65535:666");
    let levee = Levee::start(gobgpd.address());
    let blackhole = |destination| Wanted { action: Action::Blackhole, ..discard(destination) };
    let wanted = [blackhole("192.0.2.5/32"), discard("192.0.2.5/32"), blackhole("2001:db8::5/128")];
    levee.want(&wanted);
    levee.wait_held(&wanted);
    let shown = || -> Vec<String> { bird.routes().into_iter().map(|route| route.components.concat()).collect() };
    let wait = |expected: &[&str]| {
        wait_until(SOON, &format!("routes {expected:?}"), || (shown() == expected).then_some(()));
    };
    wait(&["192.0.2.5/32", "192.0.2.200/32", "2001:db8::5/128"]);
    wait_flow4(&bird, &[("dst 192.0.2.5/32", DISCARD)]);
    let routes = bird.routes();
    for (index, next_hop) in [(0, "192.0.2.66"), (2, "100::1")] {
        let attribute = |name: &str| routes[index].attributes[name].as_str();
        assert!(attribute("BGP.next_hop").starts_with(next_hop), "{routes:?}");
        assert_eq!(attribute("BGP.community"), "(65000,1) (65535,666) (65535,65281)");
        assert_eq!(attribute("BGP.large_community"), "(64512, 7653, 1)");
    }

    // Reconciled as rules are. A comparison with what the engine lists finds nothing to do: the ages stay.
    levee.want(&wanted[..2]);
    wait(&["192.0.2.5/32", "192.0.2.200/32"]);
    levee.want(&wanted);
    levee.wait_held(&wanted);
    let ages = || ["ipv4", "ipv6"].map(|family| gobgpd.gobgp(&format!("global rib -j -a {family}")));
    let before = ages();
    assert!(before.iter().all(|listing| listing.contains("\"age\"")));
    std::thread::sleep(levee.engine.reconcile_period + Duration::from_millis(1_100));
    assert_eq!(ages(), before);
    gobgpd.gobgp("global rib del all -a ipv4");
    wait(&["2001:db8::5/128"]);
    wait(&["192.0.2.5/32", "2001:db8::5/128"]);
    gobgpd.kill();
    gobgpd.start(&link.engine);
    wait(&["192.0.2.5/32", "2001:db8::5/128"]);
    levee.want(&wanted[1..2]);
    wait(&[]);
    wait_flow4(&bird, &[("dst 192.0.2.5/32", DISCARD)]);
    levee.want(&wanted);
    wait(&["192.0.2.5/32", "2001:db8::5/128"]);
    levee.stop(AtStop::Withdraw);
    wait(&[]);
    wait_flow4(&bird, &[]);
}

/// Down just after rules went out: these are held back, the others stay, and those come back once it shows that they did nothing.
#[test]
fn a_session_that_falls_just_after_rules_went_out_has_them_held_back() {
    let (link, gobgpd, bird) = routers();
    let levee = Levee::start(gobgpd.address());
    let old = discard("192.0.2.5/32");
    levee.want(std::slice::from_ref(&old));
    levee.wait_held(std::slice::from_ref(&old));
    wait_flow4(&bird, &[("dst 192.0.2.5/32", DISCARD)]);
    std::thread::sleep(Duration::from_secs(4));
    let all = [old.clone(), discard("192.0.2.6/32"), discard("192.0.2.7/32")];
    levee.want(&all);
    wait_flow4(&bird, &[("dst 192.0.2.5/32", DISCARD), ("dst 192.0.2.6/32", DISCARD), ("dst 192.0.2.7/32", DISCARD)]);
    drop(bird);
    let report = levee.wait_report("two held back", |report| report.refused.len() == 2);
    assert_eq!(report.held, [old.id]);
    assert!(report.refused[0].1.contains("held back: the session with 192.0.2.2 fell"), "{report:?}");
    let bird = Bird::start(&link.router);
    bird.wait_established();
    wait_flow4(&bird, &[("dst 192.0.2.5/32", DISCARD), ("dst 192.0.2.6/32", DISCARD), ("dst 192.0.2.7/32", DISCARD)]);
    levee.wait_held(&all);
    levee.stop(AtStop::Keep);
}

#[test]
fn peers_are_reported() {
    let (link, gobgpd, bird) = routers();
    let levee = Levee::start(gobgpd.address());
    let up = levee.wait_report("peer up", |report| report.peers.iter().any(|peer| peer.state == "established"));
    assert_eq!(up.peers.iter().map(|peer| peer.address.as_str()).collect::<Vec<_>>(), ["192.0.2.2"]);
    assert!(up.peers[0].since.is_some());
    drop(bird);
    levee.wait_report("peer down", |report| report.peers.iter().all(|peer| peer.state != "established"));
    let _bird = Bird::start(&link.router);
    levee.wait_report("peer up again", |report| report.peers.iter().any(|peer| peer.state == "established"));
}

#[test]
fn routes_of_others_stay_untouched() {
    let (_link, gobgpd, bird) = routers();
    let other = "(generic, 0x80060000, 0x461c4000)";
    // Another client's rules; one of them is a rule that Levee will want too, one looks like ours but for the mark.
    gobgpd.gobgp("global rib add -a ipv4-flowspec match destination 192.0.2.66/32 then discard");
    gobgpd.gobgp("global rib add -a ipv4-flowspec match destination 192.0.2.7/32 then rate-limit 10000");
    gobgpd.gobgp(
        "global rib add -a ipv6-flowspec match destination 2001:db8::66/128 then discard large-community 64512:7653:2",
    );
    wait_flow4(&bird, &[("dst 192.0.2.66/32", DISCARD), ("dst 192.0.2.7/32", other)]);

    let levee = Levee::start(gobgpd.address());
    let wanted = [discard("192.0.2.5/32"), discard("192.0.2.7/32")];
    levee.want(&wanted);
    levee.wait_held(&wanted);
    levee.want(&[]);
    levee.wait_held(&[]);
    wait_flow4(&bird, &[("dst 192.0.2.66/32", DISCARD), ("dst 192.0.2.7/32", other)]);
    wait_flow6(&bird, &[("dst 2001:db8::66/128", DISCARD)]);

    levee.want(&wanted);
    levee.wait_held(&wanted);
    let engine = levee.engine.clone();
    levee.stop(AtStop::Keep);
    assert_eq!(Runtime::new().unwrap().block_on(bgp::withdraw_all(&engine)).unwrap(), 2);
    wait_flow4(&bird, &[("dst 192.0.2.66/32", DISCARD), ("dst 192.0.2.7/32", other)]);
    wait_flow6(&bird, &[("dst 2001:db8::66/128", DISCARD)]);
}

#[test]
fn what_was_left_over_goes_once_it_is_known_what_is_wanted() {
    let (_link, gobgpd, bird) = routers();
    gobgpd.gobgp(&format!(
        "global rib add -a ipv4-flowspec match destination 192.0.2.8/32 then discard large-community {}",
        MARK.0.map(|part| part.to_string()).join(":")
    ));
    wait_flow4(&bird, &[("dst 192.0.2.8/32", DISCARD)]);
    let levee = Levee::start(gobgpd.address());
    levee.wait_report("connection", |report| report.connected);
    never(A_WHILE, "a withdrawal before anything is known", || bird.flow4().is_empty().then_some("withdrawn"));

    let wanted = [discard("192.0.2.9/32")];
    levee.want(&wanted);
    levee.wait_held(&wanted);
    wait_flow4(&bird, &[("dst 192.0.2.9/32", DISCARD)]);
    levee.stop(AtStop::Keep);
}

#[test]
fn a_route_that_somebody_takes_away_comes_back() {
    let (_link, gobgpd, bird) = routers();
    let levee = Levee::start(gobgpd.address());
    let wanted = [discard("192.0.2.5/32"), discard("2001:db8::5/128")];
    levee.want(&wanted);
    levee.wait_held(&wanted);
    wait_flow4(&bird, &[("dst 192.0.2.5/32", DISCARD)]);
    gobgpd.gobgp("global rib del all -a ipv4-flowspec");
    wait_flow4(&bird, &[]);
    wait_flow4(&bird, &[("dst 192.0.2.5/32", DISCARD)]);
    levee.wait_held(&wanted);
}

#[test]
fn a_restarted_engine_gets_everything_again() {
    let (link, mut gobgpd, bird) = routers();
    let levee = Levee::start(gobgpd.address());
    let wanted = [discard("192.0.2.5/32"), discard("2001:db8::5/128")];
    levee.want(&wanted);
    wait_flow4(&bird, &[("dst 192.0.2.5/32", DISCARD)]);
    // The router may know before we say so.
    levee.wait_held(&wanted);

    gobgpd.kill();
    let down = levee.wait_report("loss of the engine", |report| !report.connected);
    assert!(down.held.is_empty(), "nobody holds these rules now");
    assert!(down.error.is_some());
    wait_flow4(&bird, &[]);

    gobgpd.start(&link.engine);
    levee.wait_held(&wanted);
    wait_flow4(&bird, &[("dst 192.0.2.5/32", DISCARD)]);
    wait_flow6(&bird, &[("dst 2001:db8::5/128", DISCARD)]);
}

#[test]
fn an_engine_may_come_later() {
    let link = Link::new();
    let mut gobgpd = Gobgpd::prepare();
    let levee = Levee::start(gobgpd.address());
    let wanted = [discard("192.0.2.5/32")];
    levee.want(&wanted);
    let down = levee.wait_report("a reason", |report| report.error.is_some());
    assert!(!down.connected);
    assert!(down.error.as_ref().is_some_and(|error| error.contains("api.sock")), "{down:?}");

    gobgpd.start(&link.engine);
    levee.wait_held(&wanted);
    let bird = Bird::start(&link.router);
    wait_flow4(&bird, &[("dst 192.0.2.5/32", DISCARD)]);
}

#[test]
fn an_engine_that_says_nothing_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let levee = Levee::start(format!("unix://{}", path.display()));
    levee.want(&[discard("192.0.2.5/32")]);
    let report = levee.wait_report("an error", |report| report.error.is_some());
    assert!(report.error.as_ref().is_some_and(|error| error.contains("no answer")), "{report:?}");
    assert!(!report.connected && report.held.is_empty());
    // And it does not hold up a stop.
    levee.stop(AtStop::Keep);
}

#[test]
fn an_engine_that_hangs_later_is_left_and_found_again() {
    let (_link, gobgpd, bird) = routers();
    let levee = Levee::start(gobgpd.address());
    let mut wanted = vec![discard("192.0.2.5/32")];
    levee.want(&wanted);
    levee.wait_held(&wanted);
    gobgpd.freeze();
    let hung = levee.wait_report("the hanging", |report| !report.connected);
    assert!(hung.error.as_ref().is_some_and(|error| error.contains("no answer")), "{hung:?}");
    wanted.push(discard("192.0.2.6/32"));
    levee.want(&wanted);
    gobgpd.thaw();
    levee.wait_held(&wanted);
    wait_flow4(&bird, &[("dst 192.0.2.5/32", DISCARD), ("dst 192.0.2.6/32", DISCARD)]);
}

#[test]
fn an_engine_without_peers_is_used() {
    let link = Link::new();
    let mut gobgpd = Gobgpd::prepare_alone();
    gobgpd.start(&link.engine);
    let levee = Levee::start(gobgpd.address());
    let wanted = [discard("192.0.2.5/32")];
    levee.want(&wanted);
    levee.wait_held(&wanted);
    assert!(levee.report.borrow().peers.is_empty());
}

#[test]
fn a_thousand_rules_come_and_go() {
    let (_link, gobgpd, bird) = routers();
    let levee = Levee::start(gobgpd.address());
    let wanted: Vec<Wanted> =
        (0..1_000).map(|host| discard(&format!("198.18.{}.{}/32", host / 250, host % 250))).collect();
    levee.want(&wanted);
    levee.wait_held(&wanted);
    wait_until(SOON, "a thousand rules", || (bird.flow4().len() == 1_000).then_some(()));
    levee.want(&wanted[..1]);
    wait_flow4(&bird, &[("dst 198.18.0.0/32", DISCARD)]);
}

#[test]
fn at_the_stop_announcements_stay_or_go() {
    let (_link, gobgpd, bird) = routers();
    let wanted = [discard("192.0.2.5/32")];
    let levee = Levee::start(gobgpd.address());
    levee.want(&wanted);
    levee.wait_held(&wanted);
    levee.stop(AtStop::Keep);
    wait_flow4(&bird, &[("dst 192.0.2.5/32", DISCARD)]);
    never(A_WHILE, "a withdrawal", || bird.flow4().is_empty().then_some("withdrawn"));

    let levee = Levee::start(gobgpd.address());
    levee.want(&wanted);
    levee.wait_held(&wanted);
    levee.stop(AtStop::Withdraw);
    wait_flow4(&bird, &[]);
}

#[test]
fn engines_come_and_go_and_one_at_another_address_keeps_its_rules() {
    let (_link, gobgpd, bird) = routers();
    let runtime = Runtime::new().unwrap();
    let _context = runtime.enter();
    let rules = Some(Arc::new(vec![discard("198.18.0.1/32")]));
    let (told, told_receiver) = watch::channel(Told { wanted: rules, ..Told::default() });
    let mut engines = Engines::new(told_receiver);
    let at = |address: &str, mark| Engine::new("edge", address, mark);
    let discards = [("dst 198.18.0.1/32", DISCARD)];
    engines.set(vec![at(&gobgpd.address(), MARK)]);
    wait_flow4(&bird, &discards);

    // The same engine by another name, of which nobody can tell.
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("other.sock");
    std::os::unix::fs::symlink(gobgpd.address().trim_start_matches("unix://"), &link).unwrap();
    let other = format!("unix://{}", link.display());
    let started = std::time::Instant::now();
    let reports = engines.set(vec![at(&other, MARK)]);
    wait_until(SOON, "held by the other name", || (reports[0].borrow().held.len() == 1).then_some(()));
    std::thread::sleep(A_WHILE);
    wait_flow4(&bird, &discards);
    assert!(started.elapsed() < Duration::from_secs(20), "not only when all is compared again, once a minute");

    // Another mark: never a moment without.
    let changed = Mark([64_512, 7_653, 2]);
    engines.set(vec![at(&other, changed)]);
    wait_until(SOON, "the new mark", || {
        let routes = bird.flow4();
        assert!(!routes.is_empty());
        let text = format!("{routes:?}");
        (text.contains("7653, 2") && !text.contains("7653, 1")).then_some(())
    });

    // Without next hops nobody would look for the blackholes that there are: they go first.
    let black = Wanted { action: Action::Blackhole, ..discard("198.18.0.2/32") };
    told.send_modify(|told| told.wanted = Some(Arc::new(vec![discard("198.18.0.1/32"), black])));
    let next_hops = NextHops { v4: Some([192, 0, 2, 66].into()), v6: None };
    let blackhole = Route { next_hops, communities: Vec::new() };
    engines.set(vec![Engine { blackhole, ..at(&other, changed) }]);
    wait_until(SOON, "the blackhole", || (bird.routes().len() == 1).then_some(()));
    engines.set(vec![at(&other, changed)]);
    wait_until(SOON, "no blackhole", || bird.routes().is_empty().then_some(()));
    std::thread::sleep(A_WHILE);
    wait_flow4(&bird, &discards);

    // In a pause everything stays as it is, also at an engine that is served no more.
    told.send_modify(|told| told.paused = true);
    engines.set(Vec::new());
    never(A_WHILE, "a withdrawal", || bird.flow4().is_empty().then_some("withdrawn"));
    told.send_modify(|told| told.paused = false);
    engines.set(vec![at(&other, changed)]);
    engines.set(Vec::new());
    wait_flow4(&bird, &[]);
}

#[test]
fn a_rule_that_cannot_be_said_is_refused_alone() {
    let (_link, gobgpd, bird) = routers();
    let levee = Levee::start(gobgpd.address());
    let empty = Wanted { id: Uuid::now_v7(), rule: FlowRule::default(), action: Action::Discard };
    let good = discard("192.0.2.5/32");
    levee.want(&[empty.clone(), good.clone()]);
    levee.wait_held(std::slice::from_ref(&good));
    wait_flow4(&bird, &[("dst 192.0.2.5/32", DISCARD)]);
    let refused = levee.report.borrow().refused.clone();
    assert_eq!(refused.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [empty.id]);
}

#[test]
fn what_the_engine_refuses_is_reported_and_tried_again() {
    let stub = StubEngine::start();
    let levee = Levee::start(stub.address());
    let wanted = [discard("192.0.2.5/32"), discard("2001:db8::5/128")];
    levee.want(&wanted);
    let error = levee.wait_report("an error", |report| report.error.is_some()).error.unwrap();
    assert!(error.contains("not started"), "{error}");

    stub.orders.refuse_ipv6.store(true, Ordering::SeqCst);
    stub.orders.asn.store(65_001, Ordering::SeqCst);
    let report = levee.wait_report("a refusal", |report| !report.refused.is_empty());
    assert!(report.connected && report.error.is_none());
    assert_eq!(report.held, [wanted[0].id]);
    assert_eq!(report.refused, [(wanted[1].id, "the engine refused it: not today".to_owned())]);

    stub.orders.refuse_ipv6.store(false, Ordering::SeqCst);
    levee.want(&wanted);
    levee.wait_held(&wanted);
    assert!(levee.report.borrow().refused.is_empty());
}
