//! What holds for any traffic: attacks are crossings and crossings are attacks, every attack ends, rules keep to their
//! target and their number, and a restart changes nothing. Crossings are counted again here in the plainest way.

use std::collections::HashSet;

use proptest::prelude::*;

use super::tests::{SETTINGS, THRESHOLD, TICK_MS, World, host, mined, observed, target};
use super::*;
use crate::mitigation;
use crate::record::State;

/// Packets in one tick, so that quiet ticks, ticks about the threshold, and bursts all come often.
fn tick_packets() -> impl Strategy<Value = u64> {
    let per_tick = THRESHOLD * TICK_MS / 1000;
    prop_oneof![
        Just(0),
        0..per_tick,
        per_tick * 9 / 10..=per_tick * 11 / 10,
        per_tick..per_tick * 4,
        Just(per_tick * 12)
    ]
}

/// The mean over the window that ends with tick `end`; ticks before `start` count as nothing.
fn mean(ticks: &[u64], start: usize, end: usize) -> f64 {
    let first = (end + 1).saturating_sub(10).max(start);
    ticks[first..=end].iter().sum::<u64>() as f64
}

/// As the meter does: a target is told if it is followed, or over a threshold within the tick.
fn meter(world: &mut World, packets: u64) {
    let told = packets * 10 > THRESHOLD || world.detector.followed().any(|target| target == host());
    let last_resort = LastResort::Blackhole;
    if told { world.tick(&[Observed { last_resort, ..observed(host(), 0.1, packets, 0) }]) } else { world.tick(&[]) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_attack_is_a_crossing_and_a_crossing_is_an_attack(ticks in prop::collection::vec(tick_packets(), 1..120)) {
        let mut world = World::new(SETTINGS);
        for end in 0..ticks.len() {
            meter(&mut world, ticks[end]);
            let attacked = world.detector.attacks().next().is_some();
            if attacked {
                prop_assert!(mean(&ticks, 0, end) > THRESHOLD as f64, "an attack without a crossing");
                break;
            }
            let oldest = (end + 1).saturating_sub(10);
            let hot = (oldest..=end).find(|&tick| ticks[tick] * 10 > THRESHOLD);
            if let Some(hot) = hot {
                prop_assert!(mean(&ticks, hot, end) <= THRESHOLD as f64, "a crossing without an attack");
            }
        }
    }

    #[test]
    fn a_target_is_followed_only_while_a_tick_of_the_window_was_hot(ticks in prop::collection::vec(0u64..140, 1..120)) {
        let mut world = World::new(Settings { attacks_max: 0, ..SETTINGS });
        for end in 0..ticks.len() {
            meter(&mut world, ticks[end]);
            let hot = ticks[(end + 1).saturating_sub(10)..=end].iter().any(|&packets| packets * 10 > THRESHOLD);
            prop_assert_eq!(world.detector.followed().next().is_some(), hot);
        }
    }

    #[test]
    fn bursts_under_the_threshold_in_the_mean_never_alarm(
        burst in 1usize..9, offset in 0usize..10, jitter in prop::collection::vec(0.9f64..1.1, 300),
    ) {
        // All of a second's 950 packets within `burst` ticks, at the real pace of a ticker that jitters.
        let mut world = World::new(SETTINGS);
        for (tick, jitter) in jitter.into_iter().enumerate() {
            let place = (tick + offset) % 10;
            let packets = if place < burst { 950 / burst as u64 } else { 0 };
            // The jitter never makes ten ticks shorter than what they hold at 0.95 of the threshold.
            let seconds = 0.1 * jitter.max(1.0);
            world.pass((seconds * 1000.0) as u64);
            let effects = world.detector.tick(world.now, seconds, &[observed(host(), seconds, packets, 0)]);
            prop_assert!(effects.is_empty());
        }
    }

    #[test]
    fn an_attack_of_k_times_the_threshold_is_seen_after_a_kth_of_the_window_and_a_check(
        factor in 1.02f64..40.0, late in 0.0f64..1.0,
    ) {
        // The attack begins `late` within a tick.
        let mut world = World::new(SETTINGS);
        let rate = THRESHOLD as f64 * factor;
        let mut sent = 0.0;
        for tick in 0..30 {
            let seconds: f64 = if tick == 0 { 0.1 * (1.0 - late) } else { 0.1 };
            let before = sent;
            sent += rate * seconds;
            meter(&mut world, sent as u64 - before as u64);
            if world.detector.attacks().next().is_some() {
                let elapsed = sent / rate;
                // One more for a beginning too mild to be hot within its tick, and for whole packets.
                prop_assert!(elapsed <= 1.0 / factor + 0.1 + 0.1 * f64::from(factor < 10.0) + 2.0 / rate, "{elapsed}");
                return Ok(());
            }
        }
        prop_assert!(false, "never seen");
    }

    #[test]
    fn rules_stay_within_number_and_target_and_every_attack_ends(
        steps in prop::collection::vec((tick_packets(), 0u8..8, 0u64..=100), 1..300), behind in any::<bool>(),
        finished in any::<bool>(), dry_run in any::<bool>(), resort in 0u8..3,
    ) {
        let tap = if behind { Tap::BehindRouter } else { Tap::BeforeRouter };
        let limits = Limits { rules_per_target: 3, rules_in_all: 2, blackholes_in_all: 10, dry_run };
        let last_resort = match resort {
            0 => LastResort::Nothing,
            1 => LastResort::RateLimit { bps: 1 },
            _ => LastResort::Blackhole,
        };
        let settings = Settings { tap, unban_only_if_attack_finished: finished, limits, ..SETTINGS };
        let mut world = World::new(settings);
        for (step, &(packets, answer, share)) in steps.iter().enumerate() {
            let in_force = world.detector.attacks().any(|attack| attack.held_rules().next().is_some());
            let matched = if in_force { packets * share / 100 } else { 0 };
            let before: Vec<Uuid> = world.detector.attacks().flat_map(vectors).collect();
            match_some(&mut world, matched, answer);
            world.tick(&[Observed { last_resort, ..observed(host(), 0.1, packets, matched) }]);
            let resorted = world.detector.attacks().flat_map(AttackRecord::wanted_rules).find(|rule| rule.last_resort);
            if let Some(rule) = resorted {
                prop_assert!(rule.wanted_ms < world.now.wall_ms || before.len() == 3 || again(&world), "room was left");
                prop_assert_ne!(last_resort, LastResort::Nothing);
            }
            answer_captures(&mut world, step, answer);
            for attack in world.detector.attacks() {
                let wanted: Vec<_> = attack.wanted_rules().map(|rule| &rule.flow_spec.rule).collect();
                prop_assert!(vectors(attack).len() <= 3 && wanted.len() <= 3 + usize::from(resort > 0));
                prop_assert_eq!(wanted.iter().collect::<HashSet<_>>().len(), wanted.len());
                prop_assert_eq!(attack.state == State::Mitigating, !wanted.is_empty());
                prop_assert!(wanted.iter().all(|rule| mitigation::within(&attack.target, rule)));
            }
            let plan = mitigation::plan(world.detector.attacks(), &limits, mitigation::FREE, |_| false);
            let most = if dry_run { 0 } else { 2 };
            prop_assert!(plan.wanted.len() <= most);
        }
        world.run(SETTINGS.capture_timeout_ms + SETTINGS.ban_time_max_ms + SETTINGS.probation_ms + 5_000, 0, 0);
        prop_assert_eq!(world.detector.attacks().count(), 0);
        prop_assert_eq!(world.detector.followed().count(), 0);
        prop_assert!(mitigation::plan(world.detector.attacks(), &limits, mitigation::FREE, |_| false).wanted.is_empty());
    }

    #[test]
    fn as_many_captures_are_open_as_there_are_places_for_and_wanted(
        ticks in prop::collection::vec((prop::collection::vec(0..40u64, 6), 0..8usize), 1..60),
        captures_max in 1..4usize,
    ) {
        let mut world = World::new(Settings { captures_max, capture_timeout_ms: 1_000, ..SETTINGS });
        let mut open: HashSet<Uuid> = HashSet::new();
        for (factors, full) in ticks {
            let hosts = (1..).zip(factors).map(|(n, factor)| (target(&format!("198.18.0.{n}/32")), factor * THRESHOLD / 20));
            let observed: Vec<_> = hosts.map(|(target, packets)| observed(target, 0.1, packets, 0)).collect();
            world.tick(&observed);
            if let Some(attack) = open.iter().nth(full).copied() {
                let counts = Counts { incoming: 500, outgoing: 0 };
                world.log.extend(world.detector.captured(world.now, attack, counts));
                world.log.extend(world.detector.sample_ready(world.now, attack, vec![], "nothing"));
            }
            for effect in std::mem::take(&mut world.log) {
                match effect {
                    Effect::OpenCapture(request) => prop_assert!(open.insert(request.attack), "open already"),
                    Effect::CloseCapture { attack, .. } => drop(open.remove(&attack)),
                    _ => (),
                }
                prop_assert!(open.len() <= captures_max);
            }
            prop_assert!(world.detector.waiting() == 0 || open.len() == captures_max, "a free place, and somebody waits");
        }
    }

    #[test]
    fn never_an_action_for_a_whitelisted_host(
        steps in prop::collection::vec((tick_packets(), 0u8..8), 1..200), behind in any::<bool>(),
        finished in any::<bool>(), ban in 0usize..200,
    ) {
        let tap = if behind { Tap::BehindRouter } else { Tap::BeforeRouter };
        let settings = Settings { tap, unban_only_if_attack_finished: finished, ..SETTINGS };
        let (mut world, mut without) = (World::with(settings, around_host()), World::new(settings));
        let (mut seen, mut seen_without) = (None, None);
        for (step, &(packets, answer)) in steps.iter().enumerate() {
            meter(&mut world, packets);
            meter(&mut without, packets);
            answer_captures(&mut world, step, answer);
            give_rules_unasked(&mut world, step, answer);
            if step == ban {
                let refused = world.detector.ban(world.now, host(), "web", 60, "", "alice");
                let network = around_host().networks[0];
                prop_assert_eq!(refused.unwrap_err(), Error::Whitelisted { target: host(), network });
            }
            let first = |world: &World| world.detector.attacks().next().map(|_| step);
            seen = seen.or(first(&world));
            seen_without = seen_without.or(first(&without));
            for attack in world.detector.attacks() {
                prop_assert!(attack.rules.is_empty() && attack.capture.is_none() && attack.captures == 0);
                prop_assert!(matches!(attack.state, State::Detected | State::Ending));
                prop_assert_eq!(attack.note.as_str(), "nothing is done about it: 198.18.0.0/30 is in whitelist.networks");
            }
        }
        prop_assert_eq!(seen, seen_without, "it is seen all the same");
        let acts = |effect: &Effect| !matches!(effect, Effect::Save(_) | Effect::Event(_));
        prop_assert!(!world.log.iter().any(acts));
        world.run(SETTINGS.ban_time_max_ms + SETTINGS.probation_ms + 5_000, 0, 0);
        prop_assert_eq!(world.detector.attacks().count(), 0);
    }

    #[test]
    fn a_restart_in_any_state_goes_on_there(
        steps in prop::collection::vec((tick_packets(), 0u8..8), 1..200), answer in 0u8..8, away_ms in 0u64..5_000,
    ) {
        let mut world = World::new(SETTINGS);
        for (step, &(packets, answer)) in steps.iter().enumerate() {
            world.tick(&[observed(host(), 0.1, packets, 0)]);
            answer_captures(&mut world, step, answer);
        }
        // A second of peace first: only the window is not on record.
        world.run(1000, 0, 0);
        // What the store would read back, after a while away, by a process whose clock began anew.
        let json: Vec<String> =
            world.detector.attacks().map(|record| serde_json::to_string(record).unwrap()).collect();
        let mut again = World::new(SETTINGS);
        again.now.wall_ms = world.now.wall_ms + away_ms as i64;
        let records = json.iter().map(|json| serde_json::from_str(json).unwrap()).collect();
        let effects = again.detector.restore(again.now, records, |_| true);
        prop_assert!(effects.is_empty());
        world.pass(away_ms);
        // In peace from here on: both must go the same way to the end, if not at the same time, since a capture and the
        // quiet are measured anew.
        prop_assert_eq!(life(&world), life(&again));
        prop_assert_eq!(way_to_the_end(&mut world, answer), way_to_the_end(&mut again, answer));
    }
}

/// The rules that the limit is on.
fn vectors(attack: &AttackRecord) -> Vec<Uuid> {
    attack.wanted_rules().filter(|rule| !rule.last_resort).map(|rule| rule.id).collect()
}

/// Whether the attack came back just now, with all that it had.
fn again(world: &World) -> bool {
    world.detector.attacks().any(|attack| attack.again_ms == Some(world.now.wall_ms))
}

/// All that is matched is so by one of the rules in force.
fn match_some(world: &mut World, matched: u64, which: u8) {
    let held: Vec<(Uuid, Uuid)> = (world.detector.attacks())
        .flat_map(|attack| attack.counted_rules().map(|rule| (attack.id, rule.id)).collect::<Vec<_>>())
        .collect();
    for (index, &(attack, rule)) in held.iter().enumerate() {
        let packets = if index == usize::from(which) % held.len() { matched } else { 0 };
        world.detector.rule_matched(attack, rule, packets, packets * 100, 0.1);
    }
}

/// A whitelist with [`host`].
fn around_host() -> Whitelist {
    Whitelist { networks: vec!["198.18.0.0/30".parse().unwrap()], ..Whitelist::default() }
}

/// A miner that answers though nobody asked.
fn give_rules_unasked(world: &mut World, step: usize, answer: u8) {
    let ids: Vec<Uuid> = world.detector.attacks().map(|attack| attack.id).collect();
    for id in ids {
        let source = format!("203.0.113.{}/32", step % 5);
        let effects = [
            world.detector.captured(world.now, id, Counts { incoming: 500, outgoing: 0 }),
            world.detector.sample_ready(world.now, id, vec![mined(&source); usize::from(answer)], ""),
        ];
        world.log.extend(effects.concat());
    }
}

/// The lives an attack goes through without traffic; the last is none.
fn way_to_the_end(world: &mut World, answer: u8) -> Vec<Option<(State, usize, u64)>> {
    let mut way = vec![life(world)];
    for step in 0..2_500 {
        world.tick(&[]);
        answer_captures(world, step, answer);
        way.push(life(world));
    }
    way.dedup();
    assert_eq!(way.last(), Some(&None));
    way
}

fn life(world: &World) -> Option<(State, usize, u64)> {
    world.detector.attacks().next().map(|attack| (attack.state, attack.wanted_rules().count(), attack.ban_time_ms))
}

/// A packet path, miner and engine of many moods.
fn answer_captures(world: &mut World, step: usize, answer: u8) {
    let Some((id, true)) = world.detector.attacks().next().map(|attack| (attack.id, attack.capture_is_open())) else {
        return;
    };
    let now = world.now;
    let mut beyond = mined("203.0.113.0/24");
    beyond.rule.destination = Some("198.18.0.0/15".parse().unwrap());
    let rules = match answer {
        0 => return,
        1 => Vec::new(),
        2 => vec![beyond],
        _ => (0..answer).map(|index| mined(&format!("203.0.113.{}/32", (step + index as usize) % 5))).collect(),
    };
    world.detector.captured(now, id, Counts { incoming: 500, outgoing: 0 });
    world.detector.sample_ready(now, id, rules, "");
    if answer.is_multiple_of(2) {
        let held = world.detector.attacks().flat_map(AttackRecord::wanted_rules).map(|rule| rule.id).collect();
        world.detector.held(now, &held);
    }
}

/// Restores one record, as the store has it, into a new process `away_ms` later.
fn restart(world: &World, away_ms: i64) -> World {
    let json = serde_json::to_string(world.attack()).unwrap();
    let mut again = World::new(SETTINGS);
    again.now.wall_ms = world.now.wall_ms + away_ms;
    again.log = again.detector.restore(again.now, vec![serde_json::from_str(&json).unwrap()], |_| true);
    again
}

#[test]
fn a_capture_starts_anew_after_a_restart() {
    let mut world = World::new(SETTINGS);
    world.run(200, 10_000, 0);
    let id = world.attack().id;
    world.detector.captured(world.now, id, Counts { incoming: 499, outgoing: 0 });
    let mut again = restart(&world, 3_000);
    assert_eq!(again.attack(), world.attack());
    again.run(100, 10_000, 0);
    assert!(
        matches!(again.log.as_slice(), [Effect::OpenCapture(request)] if request.attack == id && request.stride == 1)
    );
    assert_eq!(again.attack().capture.unwrap().counts.total(), 0);
}

#[test]
fn the_probation_goes_on_while_nobody_runs() {
    let mut world = World::new(SETTINGS);
    world.run(200, 10_000, 0);
    answer_captures(&mut world, 0, 3);
    world.run(11_000, 0, 0);
    assert_eq!(world.attack().state, State::Ending);
    let mut again = restart(&world, 30_000);
    again.run(200, 10_000, 0);
    assert_eq!(again.attack().state, State::Mitigating);
    let mut too_late = restart(&world, 60_000);
    too_late.run(100, 0, 0);
    assert_eq!(too_late.detector.attacks().count(), 0);
    // A wall clock set back must not make it longer than it is.
    let mut set_back = restart(&world, -3_600_000);
    set_back.run(60_100, 0, 0);
    assert_eq!(set_back.detector.attacks().count(), 0);
}

#[test]
fn one_of_two_records_for_a_target_is_closed() {
    let mut world = World::new(SETTINGS);
    world.run(200, 10_000, 0);
    let first = world.attack().clone();
    let second = AttackRecord { id: Uuid::now_v7(), ..first.clone() };
    let mut again = World::new(SETTINGS);
    again.log = again.detector.restore(again.now, vec![first.clone(), second.clone()], |_| true);
    assert_eq!(again.detector.attacks().map(|attack| attack.id).collect::<Vec<_>>(), [first.id]);
    let closed = again
        .log
        .iter()
        .any(|effect| matches!(effect, Effect::Save(record) if record.id == second.id && record.state == State::Ended));
    assert!(closed);
}

#[test]
fn an_attack_on_what_is_counted_no_more_is_closed() {
    let mut world = World::new(SETTINGS);
    world.run(200, 10_000, 0);
    let before = world.attack().clone();
    let mut again = World::new(SETTINGS);
    again.log = again.detector.restore(again.now, vec![before.clone()], |record| record.target != before.target);
    assert_eq!((again.detector.attacks().count(), again.detector.followed().count()), (0, 0));
    let saved = again.log.iter().rev().find_map(|effect| match effect {
        Effect::Save(record) => Some(record),
        _ => None,
    });
    let last = saved.expect("a record");
    assert_eq!((last.id, last.state, last.wanted_rules().count()), (before.id, State::Ended, 0));
    assert!(last.note.contains("counted no more"), "{}", last.note);
}

#[test]
fn an_attack_on_a_host_that_is_whitelisted_since_or_no_more_is_closed() {
    let whitelists = [Whitelist::default(), around_host()];
    for (before, after) in [(0, 1), (1, 0)] {
        let mut world = World::with(SETTINGS, whitelists[before].clone());
        world.run(200, 10_000, 0);
        answer_captures(&mut world, 0, 3);
        let record = world.attack().clone();
        assert_eq!((record.whitelisted.is_some(), record.rules.is_empty()), (before == 1, before == 1));
        // As the store has it.
        let record: AttackRecord = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        let mut same = World::with(SETTINGS, whitelists[before].clone());
        same.log = same.detector.restore(same.now, vec![record.clone()], |_| true);
        assert_eq!((same.attack(), same.log.len()), (&record, 0));

        let mut again = World::with(SETTINGS, whitelists[after].clone());
        again.log = again.detector.restore(again.now, vec![record.clone()], |_| true);
        assert_eq!(again.detector.attacks().count(), 0);
        let mut told =
            again.log.iter().filter_map(|effect| if let Effect::Save(record) = effect { Some(record) } else { None });
        let last = told.next_back().expect("a record");
        assert_eq!((last.state, last.wanted_rules().count()), (State::Ended, 0));
        assert!(last.note.ends_with("whitelist.networks"), "{}", last.note);
        again.run(300, 10_000, 0);
        assert_eq!(again.attack().whitelisted.is_some(), after == 1);
        assert_eq!(again.log.iter().any(|effect| matches!(effect, Effect::OpenCapture(_))), after == 0);
    }
}

#[test]
fn a_whitelisted_attack_says_why_nothing_happens_and_costs_no_writes() {
    let mut world = World::with(SETTINGS, around_host());
    world.run(5_000, 10_000, 0);
    let Some(Effect::Event(event)) = world.log.iter().find(|effect| matches!(effect, Effect::Event(_))) else {
        panic!("nothing told")
    };
    assert!(
        event.text.ends_with("; nothing is done about it: 198.18.0.0/30 is in whitelist.networks"),
        "{}",
        event.text
    );
    assert_eq!(world.log.len(), 2, "one record and one event, however long it lasts: {:?}", world.log);
}
