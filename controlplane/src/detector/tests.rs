//! The table "An attack's life", row by row, on a small world of one host.

mod by_hand;
mod captures;
mod end;
mod journal;
mod networks;
mod orders;
mod vectors;

use std::collections::HashSet;
use std::sync::Arc;

use dataplane::packet::Class;
use dataplane::rule::{Action, FlowRule};
use ipnet::IpNet;
use uuid::Uuid;

use super::*;
use crate::attack::{Direction, Kind, Metric, Unit};
use crate::mitigation::Limits;
use crate::record::{Crossing, FlowSpec, RuleRecord, State};

pub(super) const UDP: Metric = Metric { kind: Kind::Udp, unit: Unit::Pps };
pub(super) const THRESHOLD: u64 = 1000;
pub(super) const TICK_MS: u64 = 100;

pub(super) const SETTINGS: Settings = Settings {
    window_ms: 1000,
    check_period_ms: TICK_MS,
    capture_packets: 500,
    capture_timeout_ms: 120_000,
    captures_max: 256,
    threshold_specific_ban_details: false,
    ban_time_ms: 10_000,
    ban_time_max_ms: 30_000,
    probation_ms: 60_000,
    unban_only_if_attack_finished: true,
    tap: Tap::BeforeRouter,
    rule_idle_ms: 5_000,
    attacks_max: 100,
    limits: Limits { rules_per_target: 3, rules_in_all: 100, blackholes_in_all: 10, dry_run: false },
};

pub(super) fn target(host: &str) -> Target {
    Target { prefix: host.parse::<IpNet>().unwrap(), direction: Direction::Incoming }
}

pub(super) fn host() -> Target {
    target("198.18.0.1/32")
}

pub(super) fn udp(packets: u64) -> Volumes {
    let mut volumes = Volumes::default();
    volumes.packets[0][Class::Udp as usize] = packets;
    volumes.bytes[0][Class::Udp as usize] = packets * 100;
    volumes
}

pub(super) fn observed(target: Target, seconds: f64, all: u64, matched: u64) -> Observed {
    let mut thresholds = Thresholds::default();
    thresholds.set(UDP, THRESHOLD);
    let (group, last_resort) = (Arc::from("web"), LastResort::Nothing);
    Observed { target, group, last_resort, thresholds, seconds, all: udp(all), matched: udp(matched), load: None }
}

pub(super) fn mined(source: &str) -> MinedRule {
    let rule =
        FlowRule { destination: Some(host().prefix), source: Some(source.parse().unwrap()), ..FlowRule::default() };
    MinedRule {
        rule,
        action: Action::Discard,
        coverage: 0.98,
        mined: MinedRecord::default(),
        reason: "covers most".into(),
        last_resort: false,
    }
}

/// A detector, its clock, and what it asked for.
pub(super) struct World {
    pub(super) detector: Detector,
    pub(super) now: Now,
    pub(super) log: Vec<Effect>,
}

impl World {
    pub(super) fn new(settings: Settings) -> World {
        World::with(settings, Whitelist::default())
    }

    pub(super) fn with(settings: Settings, whitelist: Whitelist) -> World {
        let now = Now { mono_ms: 0, wall_ms: 1_700_000_000_000 };
        World { detector: Detector::new(settings, Arc::new(whitelist)), now, log: Vec::new() }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms as i64;
    }

    pub(super) fn tick(&mut self, observed: &[Observed]) {
        self.pass(TICK_MS);
        let effects = self.detector.tick(self.now, TICK_MS as f64 / 1000.0, observed);
        self.log.extend(effects);
    }

    /// Ticks for `ms` with so many packets a second, of which `matched_pps` are matched by rules.
    pub(super) fn run(&mut self, ms: u64, pps: u64, matched_pps: u64) {
        for _ in 0..ms / TICK_MS {
            self.tick(&[observed(host(), 0.1, pps / 10, matched_pps / 10)]);
        }
    }

    pub(super) fn attack(&self) -> &AttackRecord {
        self.detector.attacks().next().expect("an attack")
    }

    fn fill(&mut self, incoming: usize, outgoing: usize) {
        let id = self.attack().id;
        let effects = self.detector.captured(self.now, id, Counts { incoming, outgoing });
        self.log.extend(effects);
    }

    fn mined(&mut self, rules: &[MinedRule], note: &str) {
        let id = self.attack().id;
        let effects = self.detector.sample_ready(self.now, id, rules.to_vec(), note);
        self.log.extend(effects);
    }

    pub(super) fn hold_all(&mut self) {
        let ids: HashSet<Uuid> = self.wanted().iter().map(|rule| rule.id).collect();
        let effects = self.detector.held(self.now, &ids);
        self.log.extend(effects);
    }

    fn wanted(&self) -> Vec<RuleRecord> {
        self.detector.attacks().flat_map(|attack| attack.wanted_rules().cloned().collect::<Vec<_>>()).collect()
    }

    /// The kinds of events since the last call.
    pub(super) fn told(&mut self) -> Vec<EventKind> {
        let effects = std::mem::take(&mut self.log);
        effects
            .iter()
            .filter_map(|effect| if let Effect::Event(event) = effect { Some(event.kind) } else { None })
            .collect()
    }

    fn last_record(&self) -> Arc<AttackRecord> {
        let saved = self
            .log
            .iter()
            .rev()
            .find_map(|effect| if let Effect::Save(record) = effect { Some(record) } else { None });
        Arc::clone(saved.expect("a saved record"))
    }

    fn opened(&self) -> usize {
        self.log.iter().filter(|effect| matches!(effect, Effect::OpenCapture(_))).count()
    }

    /// An attack of ten times the threshold, with one rule that is held and matches it.
    fn mitigating(settings: Settings) -> World {
        let mut world = World::new(settings);
        world.run(200, 10_000, 0);
        world.fill(500, 0);
        world.mined(&[mined("203.0.113.0/24")], "");
        world.hold_all();
        world.run(500, 10_000, 10_000);
        assert_eq!(world.attack().state, State::Mitigating);
        world.told();
        world
    }
}

use EventKind::*;

#[test]
fn detected_when_the_mean_of_the_rest_is_over_a_threshold() {
    let mut world = World::new(SETTINGS);
    world.run(100, 10_000, 0);
    assert_eq!(world.detector.attacks().count(), 0);
    assert_eq!(world.detector.followed().collect::<Vec<_>>(), [host()]);
    world.run(100, 20_000, 0);
    let record = world.attack().clone();
    assert_eq!(record.state, State::Detected);
    assert_eq!(record.crossing, Some(Crossing { metric: UDP, threshold: 1000, measured: 3000.0 }));
    assert_eq!((record.detected_ms, record.group.as_str()), (world.now.wall_ms, "web"));
    assert_eq!((record.current.udp.pps, record.peak.udp.bps), (3000.0, 3000.0 * 800.0));
    assert_eq!(record.initial_pps, 3000.0);
    // On disk first, then told, then the capture: 500 packets of 20,000 a second within 50 ms is every second one.
    let request = CaptureRequest { attack: record.id, target: host(), wanted: 500, stride: 2, only: None };
    let [Effect::Save(saved), Effect::Event(event), Effect::OpenCapture(opened)] = world.log.as_slice() else {
        panic!("{:?}", world.log);
    };
    assert_eq!((event.kind, *opened), (Detected, request));
    assert!(saved.capture_is_open());
    assert_eq!(event.text, "attack on 198.18.0.1 incoming: 3000 udp_pps, 3.0 times the threshold of 1000");
}

#[test]
fn flows_a_second_begin_and_end_an_attack_and_are_shared_out_to_the_rest() {
    let mut world = World::new(SETTINGS);
    let run = |world: &mut World, ticks: u32, flows: f64, matched: u64| {
        for _ in 0..ticks {
            let mut observed = observed(host(), 0.1, 50, matched);
            observed.thresholds = Thresholds::default();
            observed.thresholds.set(Metric::FLOWS, 1000);
            observed.all.set_flows(flows, 0.1);
            world.tick(&[observed]);
        }
    };
    // As many packets all the time, far below any threshold on packets.
    run(&mut world, 30, 1000.0, 0);
    assert_eq!(world.detector.attacks().count(), 0, "at the threshold is not over it");
    run(&mut world, 10, 3000.0, 0);
    let crossing = world.attack().crossing.expect("a crossing");
    assert_eq!((crossing.metric, crossing.threshold), (Metric::FLOWS, 1000));
    assert!(crossing.measured > 1000.0 && crossing.measured <= 3000.0, "{}", crossing.measured);
    assert!((world.attack().current.flows - 3000.0).abs() < 1.0);
    world.fill(500, 0);
    world.mined(&[mined("203.0.113.0/24")], "");
    world.hold_all();
    let opened = world.opened();
    // The rule takes four fifths of the packets: 600 flows a second are left of 3000.
    run(&mut world, 50, 3000.0, 40);
    assert!((world.attack().rest.flows - 600.0).abs() < 1.0, "{}", world.attack().rest.flows);
    assert_eq!((world.attack().state, world.opened()), (State::Mitigating, opened), "the rest is under the threshold");
    run(&mut world, 50, 9000.0, 40);
    assert_eq!(world.opened(), opened + 1, "now it is over it");
    assert_eq!(world.attack().state, State::Mitigating);
    run(&mut world, 130, 900.0, 0);
    assert_eq!(world.attack().state, State::Ending);
}

#[test]
fn a_target_that_calmed_down_is_followed_no_more() {
    let mut world = World::new(SETTINGS);
    world.run(100, 9_000, 0);
    assert_eq!(world.detector.followed().count(), 1);
    world.run(1000, 0, 0);
    assert_eq!(world.detector.followed().count(), 0);
    world.run(100, 900, 0);
    assert_eq!(world.detector.followed().count(), 0);
    assert!(world.log.is_empty());
}

#[test]
fn an_orphaned_capture_is_a_false_positive_and_says_what_it_held() {
    let mut world = World::new(SETTINGS);
    world.run(300, 10_000, 0);
    world.fill(2, 1);
    // Under every threshold for far longer than the ban time, but it is the capture that decides.
    world.run(119_800, 0, 0);
    assert_eq!(world.attack().state, State::Detected);
    world.told();
    world.run(200, 0, 0);
    let record = world.last_record();
    assert_eq!(record.state, State::FalsePositive);
    assert_eq!(record.note, "capture not filled within 120 s: it has 3 of 500 packets: 2 incoming, 1 outgoing");
    assert!(record.rules.is_empty());
    assert!(world.log.contains(&Effect::CloseCapture { attack: record.id, mine: false }));
    assert_eq!(world.told(), [FalsePositive]);
    assert_eq!(world.detector.attacks().count(), 0);
    world.run(300, 10_000, 0);
    assert_ne!(world.attack().id, record.id);
}

#[test]
fn mitigating_once_the_sample_is_mined() {
    let mut world = World::new(SETTINGS);
    world.run(200, 10_000, 0);
    world.told();
    world.fill(200, 0);
    assert!(world.log.is_empty());
    world.fill(450, 50);
    let id = world.attack().id;
    assert!(world.log.contains(&Effect::CloseCapture { attack: id, mine: true }));
    assert_eq!(world.told(), [Captured]);
    world.mined(&[mined("203.0.113.0/24"), mined("198.51.100.0/24")], "");
    assert!(world.log.contains(&Effect::WantedChanged));
    assert_eq!(world.told(), [Mitigating, RuleWanted, RuleWanted]);
    assert_eq!((world.attack().state, world.wanted().len()), (State::Mitigating, 2));
    world.hold_all();
    assert_eq!(world.told(), [RuleHeld, RuleHeld]);
    let rule = world.wanted()[0].id;
    world.detector.rule_matched(id, rule, 100, 5000, 0.1);
    world.detector.rule_matched(id, rule, 50, 2500, 0.1);
    let rule = &world.wanted()[0];
    assert_eq!((rule.matched_packets, rule.matched_bytes, rule.matched.bps), (150, 7500, 200_000.0));
    assert_eq!(world.attack().held_rules().count(), 2);
}

#[test]
fn a_sample_without_a_rule_says_why_and_is_tried_again_after_a_pause() {
    let mut world = World::new(SETTINGS);
    world.run(200, 10_000, 0);
    let mut opened = Vec::new();
    for _ in 0..4 {
        world.fill(500, 0);
        world.mined(&[], "nothing stands out");
        assert_eq!((world.attack().state, world.attack().note.as_str()), (State::Detected, "nothing stands out"));
        world.log.clear();
        let started = world.now.mono_ms;
        while world.opened() == 0 {
            world.run(100, 10_000, 0);
        }
        opened.push(world.now.mono_ms - started);
    }
    assert_eq!(opened, [10_000, 20_000, 40_000, 80_000]);
}

#[test]
fn a_new_vector_is_captured_and_mined_up_to_the_limit() {
    let mut world = World::mitigating(SETTINGS);
    for source in ["203.0.113.1/32", "203.0.113.2/32"] {
        world.log.clear();
        world.run(300, 15_000, 10_000);
        assert_eq!(world.opened(), 1, "at once, not after a pause");
        world.fill(500, 0);
        world.mined(&[mined("203.0.113.0/24"), mined(source)], "");
        world.hold_all();
        // What came before the rule was held, or just after, must not count as left by it.
        world.run(200, 20_000, 0);
        world.run(1500, 15_000, 15_000);
        assert_eq!(world.opened(), 1);
    }
    assert_eq!(world.wanted().len(), 3, "a rule that is wanted is not added twice");
    world.log.clear();
    world.run(10_000, 20_000, 15_000);
    assert_eq!(world.opened(), 0);
}

#[test]
fn too_many_mined_rules_and_rules_beyond_the_target_are_refused_and_told() {
    let mut world = World::new(SETTINGS);
    world.run(200, 10_000, 0);
    world.fill(500, 0);
    world.told();
    let mut beyond = mined("203.0.113.9/32");
    beyond.rule.destination = Some("198.18.0.0/31".parse().unwrap());
    let sources = ["203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32", "203.0.113.4/32"];
    let rules: Vec<_> = [beyond].into_iter().chain(sources.iter().map(|source| mined(source))).collect();
    world.mined(&rules, "");
    assert_eq!(world.wanted().len(), 3);
    assert!(world.wanted().iter().all(|rule| rule.flow_spec.rule.destination == Some(host().prefix)));
    assert_eq!(world.told(), [Alarm, Alarm, Mitigating, RuleWanted, RuleWanted, RuleWanted]);
}

#[test]
fn a_rule_that_no_engine_holds_does_not_blind_the_detector() {
    let mut world = World::new(SETTINGS);
    world.run(200, 10_000, 0);
    world.fill(500, 0);
    world.mined(&[mined("203.0.113.0/24")], "");
    world.log.clear();
    world.run(4900, 10_000, 0);
    assert_eq!(world.opened(), 0);
    world.run(100, 10_000, 0);
    assert_eq!(world.opened(), 1);
}

#[test]
fn an_engine_that_lost_a_rule_is_told() {
    let mut world = World::mitigating(SETTINGS);
    world.log = world.detector.held(world.now, &HashSet::new());
    assert_eq!(world.told(), [Alarm]);
    assert_eq!(world.attack().held_rules().count(), 0);
    world.hold_all();
    assert_eq!(world.told(), [RuleHeld]);
}

#[test]
fn an_orphaned_second_capture_keeps_the_rules() {
    let mut world = World::mitigating(SETTINGS);
    world.run(300, 15_000, 10_000);
    world.told();
    world.run(120_000, 10_000, 10_000);
    assert_eq!(world.told(), [Alarm]);
    let record = world.attack();
    assert_eq!((record.state, record.wanted_rules().count()), (State::Mitigating, 1));
    assert!(record.note.contains("0 of 500 packets") && !record.capture_is_open());
}

#[test]
fn ending_before_the_router_is_ban_time_under_the_threshold_without_a_break() {
    let mut world = World::mitigating(SETTINGS);
    world.run(60_000, 10_000, 10_000);
    assert!(world.told().is_empty(), "all decides the end, not the rest");
    world.run(9_000, 0, 0);
    world.run(300, 10_000, 10_000);
    // The mean is at the threshold again 0.9 s after the burst.
    world.run(10_800, 0, 0);
    assert!(world.told().is_empty());
    world.run(100, 0, 0);
    assert_eq!(world.last_record().state, State::Ending);
    assert!(world.log.contains(&Effect::WantedChanged));
    assert_eq!(world.told(), [RuleWithdrawn, Ending]);
    assert!(world.wanted().is_empty());
    world.run(59_900, 0, 0);
    assert!(world.told().is_empty());
    world.run(100, 0, 0);
    assert_eq!(world.last_record().state, State::Ended);
    assert_eq!(world.told(), [Ended]);
    assert_eq!(world.detector.followed().count(), 0);
}

#[test]
fn ending_behind_the_router_is_ban_time_since_rules_went_out() {
    let mut world = World::mitigating(Settings { tap: Tap::BehindRouter, ..SETTINGS });
    world.run(9_400, 0, 0);
    assert!(world.told().is_empty());
    world.run(100, 0, 0);
    assert_eq!(world.told(), [RuleWithdrawn, Ending]);
    world.run(200, 10_000, 0);
    assert_eq!(world.told(), [Mitigating, RuleWanted]);
}

#[test]
fn without_waiting_for_the_end_it_comes_ban_time_after_the_start() {
    let mut world = World::mitigating(Settings { unban_only_if_attack_finished: false, ..SETTINGS });
    world.run(9_400, 10_000, 10_000);
    assert!(world.told().is_empty());
    world.run(100, 10_000, 10_000);
    assert_eq!(world.told(), [RuleWithdrawn, Ending]);
    world.run(200, 10_000, 0);
    assert_eq!(world.told(), [Mitigating, RuleWanted]);
}

#[test]
fn back_within_the_probation_the_same_rules_at_once_for_longer() {
    let mut world = World::mitigating(SETTINGS);
    let rules = world.wanted();
    for ban_time_ms in [20_000, 30_000, 30_000] {
        world.run(1_000, 0, 0);
        while world.attack().state == State::Mitigating {
            world.run(100, 0, 0);
        }
        world.run(30_000, 0, 0);
        world.log.clear();
        world.run(200, 10_000, 0);
        assert!(world.log.contains(&Effect::WantedChanged));
        assert_eq!(world.opened(), 0);
        assert_eq!(world.told(), [Mitigating, RuleWanted]);
        assert_eq!(world.attack().ban_time_ms, ban_time_ms);
        assert_eq!(world.wanted().len(), 1);
        assert_eq!((world.wanted()[0].id, &world.wanted()[0].flow_spec), (rules[0].id, &rules[0].flow_spec));
        assert_eq!(world.wanted()[0].held_ms, None);
        let (ending, under) = (world.now.mono_ms, world.attack().ban_time_ms);
        world.run(under, 0, 0);
        assert_eq!(world.attack().state, State::Mitigating, "{ending}");
    }
}

#[test]
fn an_attack_without_rules_comes_back_with_a_capture() {
    let mut world = World::new(SETTINGS);
    world.run(200, 10_000, 0);
    world.fill(500, 0);
    world.mined(&[], "nothing stands out");
    world.run(12_000, 0, 0);
    assert_eq!(world.attack().state, State::Ending);
    world.log.clear();
    world.run(300, 15_000, 0);
    assert_eq!((world.attack().state, world.opened()), (State::Detected, 1));
    assert_eq!(world.told(), [Detected]);
    assert_eq!((world.attack().initial_pps, world.attack().current.udp.pps), (1500.0, 4500.0));
}

#[test]
fn what_does_not_fit_is_counted_and_told_and_the_worst_come_first() {
    let mut world = World::new(Settings { attacks_max: 2, ..SETTINGS });
    let hosts: Vec<Target> = (1..=4).map(|host| target(&format!("198.18.0.{host}/32"))).collect();
    let all: Vec<Observed> =
        hosts.iter().enumerate().map(|(index, &host)| observed(host, 0.1, 2000 + 100 * index as u64, 0)).collect();
    world.tick(&all);
    assert_eq!(world.detector.attacks().map(|attack| attack.target).collect::<Vec<_>>(), hosts[2..]);
    assert_eq!(world.detector.lost().attacks, 2);
    assert_eq!(world.told(), [Detected, Detected, Alarm]);
    world.tick(&all);
    assert_eq!(world.detector.lost().attacks, 4);
    assert!(world.told().is_empty(), "not told every tick");
    let full = world.detector.ban(world.now, hosts[0], "web", 0, "", "alice");
    assert_eq!(full.unwrap_err(), Error::Full(2));
}

#[test]
fn the_mildest_of_too_many_are_not_followed() {
    let mut world = World::new(Settings { attacks_max: 0, ..SETTINGS });
    let mild: Vec<Observed> = (0..FOLLOWED_MAX as u32 + 10)
        .map(|index| {
            let address = std::net::Ipv4Addr::from(0xc612_0000 + index);
            observed(target(&format!("{address}/32")), 0.1, if index < 10 { 1100 } else { 1200 }, 0)
        })
        .collect();
    world.tick(&mild);
    assert_eq!(world.detector.followed().count(), FOLLOWED_MAX);
    assert_eq!(world.detector.lost().followed, 10);
    assert!(mild[..10].iter().all(|mild| world.detector.followed().all(|target| target != mild.target)));
}

#[test]
fn figures_of_a_quiet_life_are_saved_now_and_then() {
    let mut world = World::mitigating(SETTINGS);
    world.run(30_000, 12_000, 12_000);
    let saves = world.log.iter().filter(|effect| matches!(effect, Effect::Save(_))).count();
    assert!((2..=4).contains(&saves), "{saves}");
    assert_eq!(world.last_record().peak.udp.pps, 12_000.0);
}

#[test]
fn two_attacks_that_want_the_same_rule_share_its_id() {
    let mut world = World::mitigating(SETTINGS);
    let network = target("198.18.0.0/24");
    for _ in 0..2 {
        world.tick(&[observed(network, 0.1, 1000, 0)]);
    }
    let id = world.detector.attacks().find(|attack| attack.target == network).unwrap().id;
    world.detector.captured(world.now, id, Counts { incoming: 500, outgoing: 0 });
    world.detector.sample_ready(world.now, id, vec![mined("203.0.113.0/24")], "");
    let wanted = world.wanted();
    assert_eq!(wanted.len(), 2);
    assert_eq!(wanted[0].id, wanted[1].id);
}

#[test]
fn a_target_without_thresholds_is_never_attacked_and_an_attack_that_loses_them_ends() {
    let unwatched = |packets| Observed { thresholds: Thresholds::default(), ..observed(host(), 0.1, packets, 0) };
    let mut world = World::new(SETTINGS);
    for _ in 0..50 {
        world.tick(&[unwatched(100_000)]);
    }
    assert_eq!((world.detector.attacks().count(), world.detector.followed().count()), (0, 0));

    world.run(1000, 2 * THRESHOLD, 0);
    world.fill(500, 0);
    world.mined(&[mined("203.0.113.1/32")], "");
    assert_eq!(world.attack().state, State::Mitigating);
    for _ in 0..SETTINGS.ban_time_ms / TICK_MS + 1 {
        assert_ne!(world.attack().state, State::Ending);
        world.tick(&[unwatched(100_000)]);
    }
    assert_eq!(world.attack().state, State::Ending);
}
