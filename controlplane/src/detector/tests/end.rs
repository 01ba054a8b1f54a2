//! When an attack ends, for both places of the tap, line by line of the table "An attack's life".

use super::*;

/// From the moment the first rule was held (200 ms after the start), one second after another: what the target receives and
/// what its rules match of it, and what else happens.
struct Case {
    what: &'static str,
    tap: Tap,
    only_if_finished: bool,
    /// Packets a second in this second, of which the rules match the second figure.
    traffic: fn(u64) -> (u64, u64),
    happens: fn(&mut World, u64),
    /// Whether engines ever hold the first rule; in a dry run none does.
    held: bool,
    /// Seconds until it is ending.
    ends: Option<u64>,
}

const RULES_WORK: fn(u64) -> (u64, u64) = |_| (10_000, 10_000);
const NOTHING_SEEN: fn(u64) -> (u64, u64) = |_| (0, 0);
const NO_RULE_WORKS: fn(u64) -> (u64, u64) = |_| (10_000, 0);
const NOTHING_HAPPENS: fn(&mut World, u64) = |_, _| ();

/// A second vector is mined and held.
fn second_rule(world: &mut World, second: u64) {
    if second == 5 {
        world.fill(500, 0);
        world.mined(&[mined("203.0.113.77/32")], "");
        world.hold_all();
    }
}

fn engine_restarts(world: &mut World, second: u64) {
    match second {
        5 => drop(world.detector.held(world.now, &HashSet::new())),
        6 => world.hold_all(),
        _ => (),
    }
}

fn banned_by_hand(world: &mut World, second: u64) {
    if second == 2 {
        world.detector.ban(world.now, host(), "web", 20, "to be sure", "alice").unwrap();
    }
}

fn cases() -> Vec<Case> {
    let (before, behind) = (Tap::BeforeRouter, Tap::BehindRouter);
    let case = |what, tap, only_if_finished, traffic, happens, ends| Case {
        what,
        tap,
        only_if_finished,
        traffic,
        happens,
        held: !what.starts_with("no engine"),
        ends,
    };
    vec![
        case("seen for as long as it lasts", before, true, RULES_WORK, NOTHING_HAPPENS, None),
        case("under every threshold for ban_time", before, true, NOTHING_SEEN, NOTHING_HAPPENS, Some(11)),
        case(
            "a break begins the time anew",
            before,
            true,
            |s| if s == 8 { (9_000, 9_000) } else { (0, 0) },
            NOTHING_HAPPENS,
            Some(20),
        ),
        case("just under the threshold is under it", before, true, |_| (1_000, 0), NOTHING_HAPPENS, Some(11)),
        case(
            "newer rules do not delay it",
            before,
            true,
            |s| if s < 5 { (10_000, 5_000) } else { (0, 0) },
            second_rule,
            Some(16),
        ),
        case("nor a lost engine", before, true, NOTHING_SEEN, engine_restarts, Some(11)),
        case("ban_time since rules went out", behind, true, NOTHING_SEEN, NOTHING_HAPPENS, Some(10)),
        case("also where much still comes through", behind, true, NO_RULE_WORKS, NOTHING_HAPPENS, Some(10)),
        case(
            "since the newest of them",
            behind,
            true,
            |s| if s < 5 { (10_000, 0) } else { (0, 0) },
            second_rule,
            Some(15),
        ),
        case("one that is held again is not newer", behind, true, NOTHING_SEEN, engine_restarts, Some(10)),
        case("no engine has a rule: nothing is hidden", behind, true, NO_RULE_WORKS, NOTHING_HAPPENS, None),
        case("no engine has a rule: the level decides", behind, true, NOTHING_SEEN, NOTHING_HAPPENS, Some(11)),
        case("ban_time since the start", before, false, RULES_WORK, NOTHING_HAPPENS, Some(10)),
        case("in any case", before, false, NOTHING_SEEN, NOTHING_HAPPENS, Some(10)),
        case(
            "whatever rules came later",
            before,
            false,
            |s| if s < 5 { (10_000, 5_000) } else { (0, 0) },
            second_rule,
            Some(10),
        ),
        case(
            "behind the router too",
            behind,
            false,
            |s| if s < 5 { (10_000, 0) } else { (0, 0) },
            second_rule,
            Some(10),
        ),
        case("a person's word goes before", before, true, NOTHING_SEEN, banned_by_hand, Some(22)),
        case("wherever the tap is", behind, true, NOTHING_SEEN, banned_by_hand, Some(22)),
        case("and whatever the configuration says", behind, false, RULES_WORK, banned_by_hand, Some(22)),
    ]
}

#[test]
fn each_end_comes_when_the_table_says() {
    for Case { what, tap, only_if_finished, traffic, happens, held, ends } in cases() {
        let settings = Settings { tap, unban_only_if_attack_finished: only_if_finished, ..SETTINGS };
        let mut world = World::new(settings);
        world.run(200, 10_000, 0);
        world.fill(500, 0);
        world.mined(&[mined("203.0.113.0/24")], "");
        if held {
            world.hold_all();
        }
        let mut ended = None;
        for second in 0..40 {
            happens(&mut world, second);
            let (all, matched) = traffic(second);
            world.run(1_000, all, matched);
            if world.attack().state == State::Ending {
                ended = Some(second + 1);
                break;
            }
        }
        assert_eq!(ended, ends, "{what}: {tap:?}, unban_only_if_attack_finished = {only_if_finished}");
        if ended.is_some() {
            assert!(world.wanted().is_empty(), "{what}");
        }
    }
}

#[test]
fn each_return_within_the_probation_doubles_the_ban_time_up_to_its_bound() {
    for (tap, only_if_finished) in
        [(Tap::BeforeRouter, true), (Tap::BehindRouter, true), (Tap::BeforeRouter, false), (Tap::BehindRouter, false)]
    {
        let settings = Settings { tap, unban_only_if_attack_finished: only_if_finished, ..SETTINGS };
        let mut world = World::mitigating(settings);
        let (id, rule) = (world.attack().id, world.wanted()[0].id);
        for ban_time_ms in [10_000, 20_000, 30_000, 30_000] {
            assert_eq!(world.attack().ban_time_ms, ban_time_ms);
            let start = world.now.mono_ms;
            while world.attack().state == State::Mitigating {
                world.run(100, 0, 0);
            }
            let took = world.now.mono_ms - start;
            // Half a second had gone when the world began; the window of a second runs empty first where the level decides.
            assert!((ban_time_ms - 500..=ban_time_ms + 1_000).contains(&took), "{tap:?}: {took} of {ban_time_ms}");
            // Just within the probation.
            world.run(59_500, 0, 0);
            world.run(200, 10_000, 0);
            assert_eq!((world.attack().id, world.wanted()[0].id, world.attack().state), (id, rule, State::Mitigating));
            world.hold_all();
        }
        while world.attack().state == State::Mitigating {
            world.run(100, 0, 0);
        }
        world.run(60_000, 0, 0);
        assert_eq!(world.detector.attacks().count(), 0, "the probation is over");
        world.run(200, 10_000, 0);
        assert_ne!(world.attack().id, id);
        assert_eq!((world.attack().ban_time_ms, world.wanted().len()), (10_000, 0), "a new attack is nobody's return");
    }
}

#[test]
fn without_waiting_for_the_end_an_attack_without_a_sample_ends_too() {
    let mut world = World::new(Settings { unban_only_if_attack_finished: false, ..SETTINGS });
    world.run(200, 10_000, 0);
    world.run(9_900, 10_000, 0);
    assert_eq!(world.attack().state, State::Detected);
    world.run(100, 10_000, 0);
    assert_eq!((world.attack().state, world.attack().capture_is_open()), (State::Ending, false));
}
