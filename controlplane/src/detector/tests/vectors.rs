//! Several vectors: the limit and the last resort, rules that go one by one and come back.

use proptest::prelude::*;

use super::*;

fn spread(seconds: f64, all: u64, matched: u64, last_resort: LastResort) -> Observed {
    Observed { last_resort, ..observed(host(), seconds, all, matched) }
}

/// A world whose rules match what they are told.
struct Vectors {
    world: World,
    last_resort: LastResort,
}

impl Vectors {
    /// As many rules as are allowed, three, each held and matching; together all of 15 times the threshold.
    fn at_the_limit(settings: Settings, last_resort: LastResort) -> Vectors {
        let mut world = World::new(settings);
        world.run(200, 15_000, 0);
        world.fill(500, 0);
        world.mined(&["203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32"].map(mined), "");
        world.hold_all();
        let mut vectors = Vectors { world, last_resort };
        vectors.run(1_000, 0, [500, 500, 500]);
        assert_eq!(vectors.world.wanted().len(), 3);
        vectors.world.told();
        vectors
    }

    /// Ticks for `ms`: so many packets a tick for each rule, and `rest` besides. What is for a rule that is not held is rest.
    fn run(&mut self, ms: u64, rest: u64, by_rule: [u64; 3]) {
        for _ in 0..ms / TICK_MS {
            let rules: Vec<(Uuid, RuleRecord)> = (self.world.detector.attacks())
                .flat_map(|attack| attack.counted_rules().map(|rule| (attack.id, rule.clone())).collect::<Vec<_>>())
                .collect();
            let mut matched = 0;
            for (index, packets) in by_rule.into_iter().enumerate() {
                let held = rules.iter().find(|(_, rule)| {
                    rule.flow_spec
                        == FlowSpec {
                            rule: mined(&format!("203.0.113.{}/32", index + 1)).rule,
                            action: Action::Discard,
                        }
                });
                if let Some((attack, rule)) = held {
                    self.world.detector.rule_matched(*attack, rule.id, packets, packets * 100, 0.1);
                    matched += packets;
                }
            }
            let all = rest + by_rule.iter().sum::<u64>();
            self.world.tick(&[spread(0.1, all, matched, self.last_resort)]);
        }
    }

    fn sources(&self) -> Vec<String> {
        let mut sources: Vec<String> = self
            .world
            .wanted()
            .iter()
            .map(|rule| rule.flow_spec.rule.source.map_or("all".to_owned(), |source| source.to_string()))
            .collect();
        sources.sort();
        sources
    }

    fn last_resort(&self) -> RuleRecord {
        self.world.wanted().into_iter().find(|rule| rule.last_resort).expect("a last resort")
    }
}

const ALL_THREE: [&str; 3] = ["203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32"];
const LIMITED: LastResort = LastResort::RateLimit { bps: 8_000_000 };

#[test]
fn at_the_limit_nothing_more_is_done_but_told_once() {
    let mut vectors = Vectors::at_the_limit(SETTINGS, LastResort::Nothing);
    vectors.run(30_000, 200, [500, 500, 500]);
    assert_eq!(vectors.world.opened(), 0, "no capture for a rule that would not be allowed");
    assert_eq!(vectors.world.told(), [Alarm]);
    assert_eq!(vectors.sources(), ALL_THREE);
    let record = vectors.world.attack();
    assert!(record.note.ends_with("no more are allowed: nothing more is done"), "{}", record.note);
    assert!(record.journal.iter().any(|entry| entry.text == record.note));
}

#[test]
fn at_the_limit_the_last_resort_takes_what_is_left_until_the_rules_suffice_again() {
    let mut vectors = Vectors::at_the_limit(SETTINGS, LIMITED);
    vectors.run(2_000, 200, [500, 500, 500]);
    assert_eq!(vectors.world.told(), [Alarm, RuleWanted]);
    let rule = vectors.last_resort();
    let all = FlowRule { destination: Some(host().prefix), ..FlowRule::default() };
    assert_eq!((&rule.flow_spec.rule, rule.flow_spec.action), (&all, Action::RateBps(8_000_000)));
    assert!(rule.reason.starts_with("3 rules for 198.18.0.1 incoming leave more than a threshold"), "{}", rule.reason);

    // In force it is no rule that hides the rest: a vector less, and there is room to look at it.
    vectors.world.hold_all();
    vectors.run(2_000, 200, [500, 500, 500]);
    assert_eq!(vectors.world.attack().rest.udp.pps, 2_000.0);
    let rule = vectors.last_resort();
    assert_eq!(
        (rule.matched_packets, rule.matched.pps),
        (18 * 200, 2_000.0),
        "but for the two ticks in which it settles"
    );
    assert!(vectors.world.attack().counted_rules().all(|counted| counted.id != rule.id));
    assert_eq!((vectors.world.told(), vectors.world.opened()), (vec![RuleHeld], 0));

    // Not before the rest has been under the threshold for the whole time; a tick over it begins it anew.
    vectors.run(5_000, 50, [500, 500, 500]);
    vectors.run(1_000, 200, [500, 500, 500]);
    vectors.run(5_400, 50, [500, 500, 500]);
    assert!(vectors.world.told().is_empty());
    vectors.run(700, 50, [500, 500, 500]);
    assert_eq!(vectors.world.told(), [RuleWithdrawn]);
    assert_eq!(
        (vectors.sources(), vectors.world.attack().state),
        (ALL_THREE.map(str::to_owned).to_vec(), State::Mitigating)
    );
    let last = vectors.world.attack().journal.last().unwrap();
    assert!(last.text.starts_with("last resort withdrawn: rate-limit 8000000 bit/s: "), "{}", last.text);

    // Needed again, it is the same one.
    vectors.run(2_000, 200, [500, 500, 500]);
    assert_eq!((vectors.last_resort().id, vectors.world.attack().rules.len()), (rule.id, 4));
}

#[test]
fn a_last_resort_that_the_group_does_not_want_any_more_is_replaced_where_it_is_needed() {
    let mut vectors = Vectors::at_the_limit(SETTINGS, LastResort::Blackhole);
    vectors.run(2_000, 200, [500, 500, 500]);
    assert_eq!(vectors.last_resort().flow_spec.action, Action::Blackhole);
    vectors.world.hold_all();
    vectors.last_resort = LIMITED;
    vectors.world.told();
    vectors.run(2_000, 200, [500, 500, 500]);
    assert_eq!(vectors.last_resort().flow_spec.action, Action::RateBps(8_000_000));
    assert_eq!(vectors.world.told(), [RuleWithdrawn, Alarm, RuleWanted]);
    assert_eq!(vectors.world.wanted().len(), 4);
    vectors.world.hold_all();
    vectors.last_resort = LastResort::Nothing;
    vectors.run(2_000, 200, [500, 500, 500]);
    assert_eq!(vectors.sources(), ALL_THREE);
}

#[test]
fn the_last_resort_is_as_the_group_says_and_the_direction_allows() {
    let cases = [
        (Direction::Incoming, LIMITED, Action::RateBps(8_000_000)),
        (Direction::Outgoing, LIMITED, Action::RateBps(8_000_000)),
        (Direction::Incoming, LastResort::Blackhole, Action::Blackhole),
        (Direction::Outgoing, LastResort::Blackhole, Action::Discard),
    ];
    for (direction, last_resort, action) in cases {
        let mut world = World::new(Settings { limits: Limits { rules_per_target: 1, ..SETTINGS.limits }, ..SETTINGS });
        let target = Target { direction, ..host() };
        let rest = |all, matched| Observed { target, ..spread(0.1, all, matched, last_resort) };
        (0..2).for_each(|_| world.tick(&[rest(1_000, 0)]));
        world.fill(500, 0);
        let mut rule = mined("203.0.113.1/32");
        if direction == Direction::Outgoing {
            (rule.rule.source, rule.rule.destination) = (rule.rule.destination, rule.rule.source);
        }
        world.mined(&[rule], "");
        world.hold_all();
        (0..20).for_each(|_| world.tick(&[rest(1_000, 500)]));
        let rule = world.wanted().into_iter().find(|rule| rule.last_resort).expect("a last resort");
        assert_eq!(rule.flow_spec.action, action);
        assert!(crate::mitigation::within(&target, &rule.flow_spec.rule));
    }
}

#[test]
fn what_cannot_be_told_from_the_hosts_own_takes_no_rules_place_and_goes_when_it_is_not_needed() {
    let mut world = World::new(SETTINGS);
    world.run(200, 15_000, 0);
    world.fill(500, 0);
    let off = MinedRule {
        rule: host().all(),
        action: Action::Blackhole,
        last_resort: true,
        reason: "it cannot be told".into(),
        ..mined("203.0.113.1/32")
    };
    world.mined(&[off, mined("203.0.113.1/32")], "off the net");
    let rule = world.wanted().into_iter().find(|rule| rule.last_resort).expect("a last resort");
    assert_eq!((rule.flow_spec.action, rule.reason.as_str()), (Action::Blackhole, "it cannot be told"));
    assert_eq!((world.attack().note.as_str(), world.wanted().len()), ("off the net", 2));
    let said = |world: &World, text: &str| world.attack().journal.iter().any(|entry| entry.text == text);
    assert!(
        said(&world, "rule wanted: blackhole: dst 198.18.0.1/32; it cannot be told"),
        "{:?}",
        world.attack().journal
    );
    world.hold_all();

    // It stays while what the rules leave is too much, and hides nothing of it, at the limit of rules too.
    let mut vectors = Vectors { world, last_resort: LastResort::Nothing };
    vectors.run(10_000, 200, [500, 0, 0]);
    assert_eq!((vectors.last_resort().id, vectors.world.attack().rest.udp.pps), (rule.id, 2_000.0));
    vectors.world.fill(500, 0);
    vectors.world.mined(&["203.0.113.2/32", "203.0.113.3/32", "203.0.113.4/32"].map(mined), "");
    vectors.world.hold_all();
    assert_eq!(vectors.world.wanted().len(), 1 + SETTINGS.limits.rules_per_target);
    vectors.run(3_000, 200, [500, 500, 500]);
    assert_eq!(vectors.last_resort().id, rule.id);
    vectors.run(6_500, 50, [500, 500, 500]);
    assert_eq!(vectors.sources(), ALL_THREE);
}

#[test]
fn no_last_resort_while_an_engine_has_not_said_what_becomes_of_a_rule() {
    let mut vectors = Vectors::at_the_limit(SETTINGS, LIMITED);
    let [one, two, three] = vectors.world.wanted().try_into().unwrap();
    vectors.world.log = vectors.world.detector.held(vectors.world.now, &[one.id, two.id].into());
    vectors.run(30_000, 200, [500, 500, 500]);
    assert!(vectors.world.wanted().iter().all(|rule| !rule.last_resort));
    // Refused for good is as good as an answer.
    vectors.world.detector.refused(vectors.world.now, &[(three.id, "edge: no".to_owned())].into());
    vectors.run(1_000, 200, [500, 500, 500]);
    assert_eq!(vectors.sources()[3], "all");
}

#[test]
fn rules_that_match_nothing_any_more_go_one_by_one_and_come_back_at_once() {
    let mut vectors = Vectors::at_the_limit(SETTINGS, LastResort::Nothing);
    vectors.run(2_000, 0, [0, 500, 500]);
    vectors.run(2_900, 0, [0, 0, 500]);
    assert!(vectors.world.told().is_empty());
    vectors.run(200, 0, [0, 0, 500]);
    assert_eq!(
        (vectors.world.told(), vectors.sources()),
        (vec![RuleWithdrawn], ALL_THREE[1..].iter().map(|&s| s.to_owned()).collect())
    );
    assert!(
        vectors.world.attack().journal.last().unwrap().text.ends_with("203.0.113.1/32: it matched nothing for 5 s")
    );
    // One packet in time keeps the second.
    vectors.run(100, 0, [0, 1, 500]);
    vectors.run(4_900, 0, [0, 0, 500]);
    assert!(vectors.world.told().is_empty());
    vectors.run(200, 0, [0, 0, 500]);
    assert_eq!((vectors.world.told(), vectors.sources()), (vec![RuleWithdrawn], vec![ALL_THREE[2].to_owned()]));
    assert_eq!(vectors.world.attack().state, State::Mitigating);

    // The first is back: so are both, without a capture, under their names.
    let ids: Vec<Uuid> = vectors.world.attack().rules.iter().map(|rule| rule.id).collect();
    vectors.run(300, 0, [500, 0, 500]);
    assert_eq!(vectors.world.told(), [RuleWanted, RuleWanted]);
    assert_eq!((vectors.sources(), vectors.world.opened()), (ALL_THREE.map(str::to_owned).to_vec(), 0));
    vectors.world.hold_all();
    vectors.run(5_500, 0, [500, 0, 500]);
    assert_eq!(vectors.sources(), [ALL_THREE[0], ALL_THREE[2]], "the other one goes again");
    assert_eq!(vectors.world.attack().rules.iter().map(|rule| rule.id).collect::<Vec<_>>(), ids);
    assert_eq!(vectors.world.attack().ban_time_ms, SETTINGS.ban_time_ms, "it never ended, so nothing doubles");
}

#[test]
fn at_the_limit_a_rule_that_matches_nothing_makes_room_for_a_new_vector() {
    let mut vectors = Vectors::at_the_limit(SETTINGS, LIMITED);
    let first = vectors.world.wanted()[0].id;
    vectors.run(800, 200, [0, 500, 500]);
    assert_eq!((vectors.world.opened(), vectors.sources().len()), (0, 3), "it may be back in the next moment");
    vectors.run(300, 200, [0, 500, 500]);
    assert_eq!(
        (vectors.world.opened(), vectors.sources()),
        (1, ALL_THREE[1..].iter().map(|&s| s.to_owned()).collect())
    );
    assert!(
        vectors.world.attack().journal.last().unwrap().text.ends_with("it matched nothing for 1 s, and makes room")
    );
    assert_eq!(vectors.world.told(), [RuleWithdrawn], "and no last resort");

    // It is back while what is left is over the threshold all the time, so no crossing shows it. The sample does.
    vectors.world.fill(500, 0);
    vectors.world.mined(&[mined(ALL_THREE[0])], "");
    let rule = vectors.world.wanted().into_iter().find(|rule| rule.id == first).expect("the same rule");
    assert!(!rule.idle && rule.quiet_ms == 0 && rule.withdrawn_ms.is_none());
    assert_eq!(vectors.world.attack().rules.len(), 3);
}

#[test]
fn rules_that_came_back_for_nothing_make_room_too() {
    let mut vectors = Vectors::at_the_limit(SETTINGS, LIMITED);
    vectors.run(1_000, 50, [500, 500, 500]);
    vectors.run(6_000, 120, [0, 0, 0]);
    // All three went; what is left crossed when they did, and is mined.
    assert_eq!(vectors.world.attack().state, State::Detected);
    assert_eq!(vectors.world.opened(), 1);
    vectors.world.fill(500, 0);
    vectors.world.mined(&[mined("198.51.100.1/32")], "");
    vectors.world.hold_all();
    vectors.run(3_000, 120, [0, 0, 0]);
    assert_eq!(vectors.sources()[0], "198.51.100.1/32", "what is mined now");
    assert_eq!(vectors.world.wanted().len(), 3, "and, in case, what went last");
    vectors.world.hold_all();
    vectors.world.log.clear();
    vectors.run(2_000, 200, [0, 0, 0]);
    assert_eq!((vectors.world.opened(), vectors.world.wanted().len()), (1, 2), "not the last resort");
    assert_eq!(vectors.world.told(), [RuleWithdrawn]);
}

#[test]
fn no_rule_goes_for_idleness_behind_the_router_or_while_all_is_quiet() {
    let mut vectors = Vectors::at_the_limit(Settings { tap: Tap::BehindRouter, ..SETTINGS }, LastResort::Nothing);
    vectors.run(7_000, 150, [0, 0, 0]);
    assert_eq!(vectors.sources(), ALL_THREE, "behind the router no rule that works matches anything");

    let mut vectors = Vectors::at_the_limit(SETTINGS, LastResort::Nothing);
    vectors.run(9_000, 0, [0, 0, 0]);
    assert_eq!(vectors.sources(), ALL_THREE, "that is the end of the attack, which has a time of its own");
    vectors.run(3_000, 0, [0, 0, 0]);
    assert_eq!(vectors.world.told(), [RuleWithdrawn, RuleWithdrawn, RuleWithdrawn, Ending]);
}

#[test]
fn an_attack_whose_rules_all_went_is_detected_again_and_captured() {
    let mut world = World::mitigating(SETTINGS);
    let (attack, rule) = (world.attack().id, world.wanted()[0].id);
    for _ in 0..60 {
        world.detector.rule_matched(attack, rule, 0, 0, 0.1);
        world.run(100, 10_000, 0);
    }
    assert_eq!((world.attack().state, world.opened()), (State::Detected, 1));
    assert_eq!(world.told(), [RuleWithdrawn]);
    assert!(!world.detector.attacks().any(|attack| attack.wanted_rules().next().is_some()));
    world.fill(500, 0);
    world.mined(&[mined("203.0.113.0/24")], "");
    assert_eq!((world.attack().state, world.wanted()[0].id), (State::Mitigating, rule));
}

#[test]
fn what_is_idle_is_in_mind_over_a_restart_and_over_the_end() {
    let mut vectors = Vectors::at_the_limit(SETTINGS, LastResort::Nothing);
    vectors.run(6_000, 0, [0, 500, 500]);
    assert_eq!(vectors.sources(), ALL_THREE[1..]);
    let json = serde_json::to_string(vectors.world.attack()).unwrap();
    let mut again = Vectors { world: World::new(SETTINGS), last_resort: LastResort::Nothing };
    again.world.detector.restore(again.world.now, vec![serde_json::from_str(&json).unwrap()], |_| true);
    for vectors in [&mut vectors, &mut again] {
        // Ended, and back with the two that were in force then.
        vectors.run(12_000, 0, [0, 0, 0]);
        assert_eq!(vectors.world.attack().state, State::Ending);
        vectors.run(300, 0, [0, 500, 500]);
        assert_eq!(vectors.sources(), ALL_THREE[1..]);
        vectors.world.hold_all();
        vectors.run(1_000, 0, [0, 500, 500]);
        vectors.run(400, 0, [500, 500, 500]);
        assert_eq!(vectors.sources(), ALL_THREE);
    }
}

#[test]
fn a_record_keeps_so_many_rules_and_says_how_many_it_forgot() {
    let before = World::mitigating(SETTINGS);
    let mut record = before.attack().clone();
    for index in 1..128 {
        let mut rule = record.rules[0].clone();
        rule.flow_spec.rule = mined(&format!("198.51.100.{index}/32")).rule;
        (rule.id, rule.withdrawn_ms) = (Uuid::now_v7(), Some(before.now.wall_ms - 1_000 + index));
        record.rules.push(rule);
    }
    let oldest = record.rules[1].id;
    let mut world = World::new(SETTINGS);
    world.log = world.detector.restore(before.now, vec![record], |_| true);
    world.now = before.now;
    world.run(6_000, 10_000, 0);
    world.fill(500, 0);
    world.mined(&[mined("203.0.113.99/32")], "");
    let record = world.attack();
    assert_eq!((record.rules.len(), record.rules_forgotten), (128, 1));
    assert!(record.rules.iter().all(|rule| rule.id != oldest) && record.rules[127].is_wanted());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_last_resort_comes_at_the_limit_alone_and_no_rule_is_wanted_beyond_it(
        phases in prop::collection::vec(
            (1u64..40, 0u64..250, prop::array::uniform3(prop::sample::select(vec![0u64, 1, 40, 500])), 0u8..8, any::<bool>()),
            1..30,
        ),
        behind: bool,
        blackhole: bool,
    ) {
        let tap = if behind { Tap::BehindRouter } else { Tap::BeforeRouter };
        let last_resort = if blackhole { LastResort::Blackhole } else { LIMITED };
        let mut vectors = Vectors { world: World::new(Settings { tap, ..SETTINGS }), last_resort };
        for (ticks, rest, by_rule, found, held) in phases {
            for _ in 0..ticks {
                let before = vectors.sources();
                vectors.run(TICK_MS, rest, by_rule);
                let wanted = vectors.world.wanted();
                let resorts: Vec<&RuleRecord> = wanted.iter().filter(|rule| rule.last_resort).collect();
                prop_assert!(resorts.len() <= 1 && wanted.len() - resorts.len() <= 3, "{wanted:?}");
                let again = vectors.world.detector.attacks().any(|attack| attack.again_ms == Some(vectors.world.now.wall_ms));
                if !resorts.is_empty() && !before.contains(&"all".to_owned()) && !again {
                    prop_assert_eq!(before.len(), 3, "there was room");
                    prop_assert!(wanted.iter().all(|rule| rule.last_resort || rule.is_held()), "{:?}", wanted);
                    prop_assert!(!resorts[0].is_held() && vectors.world.attack().rest.udp.pps > THRESHOLD as f64);
                }
                for attack in vectors.world.detector.attacks() {
                    prop_assert_eq!(attack.state == State::Mitigating, attack.wanted_rules().next().is_some());
                    prop_assert!(attack.rules.iter().all(|rule| !(rule.idle && (rule.is_wanted() || rule.last_resort || behind))));
                }
            }
            let open = vectors.world.detector.attacks().any(AttackRecord::capture_is_open);
            if open {
                let sources: Vec<MinedRule> = (0..3).filter(|bit| found >> bit & 1 == 1).map(|index| mined(ALL_THREE[index])).collect();
                vectors.world.fill(500, 0);
                vectors.world.mined(&sources, "");
            }
            if held {
                vectors.world.hold_all();
            }
        }
        vectors.run(200_000, 0, [0, 0, 0]);
        prop_assert_eq!(vectors.world.detector.attacks().count(), 0);
    }
}
