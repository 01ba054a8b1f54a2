//! What an attack's record says of its course.

use std::collections::BTreeSet;

use super::*;

#[test]
fn the_journal_tells_states_actions_and_outcomes_and_the_mean_leaves_the_end_out() {
    let mut world = World::new(SETTINGS);
    world.run(1_000, 3_000, 0);
    world.fill(500, 0);
    world.mined(&[mined("203.0.113.0/24")], "");
    let id = world.wanted()[0].id;
    let refused: BTreeMap<Uuid, String> = [(id, "engine edge: full".to_owned())].into();
    for refused in [&refused, &refused, &BTreeMap::new()] {
        world.detector.refused(world.now, refused);
        assert_eq!(world.attack().rules[0].refused.as_ref(), refused.get(&id));
    }
    world.hold_all();
    world.run(10_000, 3_000, 3_000);
    world.run(30_000, 0, 0);
    assert_eq!(world.attack().state, State::Ending);
    let kinds: Vec<&str> = world.attack().journal.iter().map(|entry| entry.kind.as_str()).collect();
    let expected = ["detected", "captured", "mitigating", "rule_wanted", "alarm", "rule_held"];
    assert_eq!(kinds[..6], expected, "refused twice is told once");
    assert_eq!(kinds[6..].iter().copied().collect::<BTreeSet<_>>(), ["ending", "rule_withdrawn"].into());
    assert!(world.attack().journal[4].text.ends_with("engine edge: full"));
    let (pps, ms) = (world.attack().mean.udp.pps, world.attack().measured_ms);
    // Some 10.5 s at the full rate, then the ban time of silence and a window that runs empty.
    assert!((1_300.0..1_700.0).contains(&pps) && (20_000..22_500).contains(&ms), "{pps} over {ms}");
}
