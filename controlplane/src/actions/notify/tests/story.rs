//! Whatever happens to a host: each ban is followed by one unban. The detector makes the events.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use dataplane::packet::Class;
use dataplane::rule::{Action, FlowRule};
use proptest::prelude::*;

use super::super::notice::{Layout, Say, due};
use super::*;
use crate::attack::{Direction, Now, Target, Thresholds, Volumes};
use crate::detector::{Detector, Effect, MinedRule, Observed, Settings, Tap};
use crate::group::LastResort;
use crate::mitigation::Limits;
use crate::record::{Counts, MinedRecord};
use crate::whitelist::Whitelist;

const TICK_MS: u64 = 100;

fn settings(finished: bool) -> Settings {
    Settings {
        window_ms: 500,
        check_period_ms: TICK_MS,
        capture_packets: 500,
        capture_timeout_ms: 3_000,
        captures_max: 10,
        threshold_specific_ban_details: false,
        ban_time_ms: 1_000,
        ban_time_max_ms: 4_000,
        rule_idle_ms: 1_500,
        probation_ms: 2_000,
        unban_only_if_attack_finished: finished,
        tap: Tap::BeforeRouter,
        attacks_max: 10,
        limits: Limits { rules_per_target: 3, rules_in_all: 10, blackholes_in_all: 10, dry_run: false },
    }
}

fn target() -> Target {
    Target { prefix: "198.18.0.1/32".parse().unwrap(), direction: Direction::Incoming }
}

fn observed(packets: u64) -> Observed {
    let mut thresholds = Thresholds::default();
    thresholds.set(Metric { kind: Kind::Udp, unit: Unit::Pps }, 1_000);
    let mut all = Volumes::default();
    all.packets[0][Class::Udp as usize] = packets;
    let (group, last_resort, matched) = (Arc::from("web"), LastResort::Nothing, Volumes::default());
    Observed { target: target(), group, last_resort, thresholds, seconds: 0.1, all, matched, load: None }
}

fn mined(port: u16) -> MinedRule {
    let source_ports = [(u32::from(port), u32::from(port))].into_iter().collect();
    let rule = FlowRule { destination: Some(target().prefix), source_ports, ..FlowRule::default() };
    let (mined, reason) = (MinedRecord::default(), String::new());
    MinedRule { rule, action: Action::Discard, coverage: 1.0, mined, reason, last_resort: false }
}

/// One thing that happens within a tick.
fn happens(detector: &mut Detector, now: Now, what: u8, port: u16) -> Vec<Effect> {
    let attack = detector.attacks().next().map(|attack| attack.id);
    match (what, attack) {
        (0..=2, Some(attack)) => detector.captured(now, attack, Counts { incoming: 500, outgoing: 0 }),
        (3..=4, Some(attack)) => detector.sample_ready(now, attack, vec![mined(port), mined(port + 1)], ""),
        (5, Some(attack)) => detector.sample_ready(now, attack, vec![], "nothing found"),
        (6, Some(_)) => {
            let wanted: HashSet<Uuid> =
                detector.attacks().flat_map(|attack| attack.wanted_rules().map(|rule| rule.id)).collect();
            detector.held(now, &wanted)
        }
        (7, _) => detector.ban(now, target(), "web", u64::from(port) % 3, "phoned in", "ann").unwrap().1,
        (8, _) => detector.unban(now, target().prefix, "enough", "ann").1,
        _ => Vec::new(),
    }
}

/// What one layout was told of one attack so far.
#[derive(Default)]
struct Heard {
    is_banned: bool,
    details: usize,
}

impl Heard {
    fn hear(&mut self, say: Say) -> Result<(), TestCaseError> {
        match say {
            Say::Ban => {
                prop_assert!(!self.is_banned, "a ban in a ban");
                (self.is_banned, self.details) = (true, 0);
            }
            Say::Unban => {
                prop_assert!(self.is_banned, "an unban of what is not banned");
                self.is_banned = false;
            }
            Say::AttackDetails => {
                self.details += 1;
                prop_assert!(self.is_banned && self.details == 1, "details without a ban, or again");
            }
            Say::PartialBlock | Say::PartialUnblock => prop_assert!(self.is_banned, "rules of nothing"),
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn each_ban_is_followed_by_one_unban(
        steps in prop::collection::vec((prop_oneof![Just(0u64), Just(50), Just(2_000)], 0u8..30, 1u16..50), 1..150),
        finished in any::<bool>(),
    ) {
        let mut detector = Detector::new(settings(finished), Arc::new(Whitelist::default()));
        let mut heard: HashMap<(Layout, Uuid), Heard> = HashMap::new();
        let mut now = Now { mono_ms: 0, wall_ms: TIME_MS };
        // In the end everything is over.
        for (packets, what, port) in steps.into_iter().chain([(0, 30, 0); 150]) {
            (now.mono_ms, now.wall_ms) = (now.mono_ms + TICK_MS, now.wall_ms + TICK_MS as i64);
            let mut effects = detector.tick(now, 0.1, &[observed(packets)]);
            effects.extend(happens(&mut detector, now, what, port));
            for effect in effects {
                let Effect::Event(event) = effect else { continue };
                let Some(record) = &event.attack else { continue };
                for layout in [Layout::Classic, Layout::Newer, Layout::Advanced] {
                    let heard = heard.entry((layout, record.id)).or_default();
                    due(layout, event.kind, record).iter().try_for_each(|&say| heard.hear(say))?;
                    let may_wait = layout != Layout::Classic && record.state == State::Detected;
                    // At the end rules are withdrawn first.
                    if event.kind != EventKind::RuleWithdrawn && !may_wait {
                        prop_assert_eq!(heard.is_banned, record.state.is_under_way(), "{:?} {:?}", layout, event);
                    }
                }
            }
        }
        prop_assert_eq!(detector.attacks().count(), 0);
        prop_assert!(heard.values().all(|heard| !heard.is_banned));
    }
}
