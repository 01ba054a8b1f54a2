//! Bans and their end, as persons order them.

use super::*;

#[test]
fn a_ban_by_hand_lasts_as_long_as_asked() {
    let mut world = World::new(SETTINGS);
    let (id, effects) = world.detector.ban(world.now, host(), "web", 300, "looks odd", "alice").unwrap();
    world.log = effects;
    assert_eq!(world.told(), [Detected]);
    assert_eq!(world.detector.followed().collect::<Vec<_>>(), [host()]);
    world.run(100, 0, 0);
    assert_eq!(world.opened(), 1);
    let record = world.attack().clone();
    assert_eq!((record.id, record.by.as_str(), record.crossing), (id, "alice", None));
    assert_eq!(record.note, "ban by alice: looks odd");
    world.run(299_800, 0, 0);
    assert_eq!(world.told(), [Alarm], "its capture is an orphan, which says nothing against a person's word");
    assert_eq!(world.attack().state, State::Detected);
    world.run(100, 0, 0);
    assert_eq!(world.told(), [Ending]);
}

#[test]
fn a_ban_by_hand_without_end_ends_like_any() {
    let mut world = World::new(SETTINGS);
    world.detector.ban(world.now, host(), "web", 0, "looks odd", "alice").unwrap();
    world.run(60_000, 10_000, 0);
    world.fill(500, 0);
    world.mined(&[mined("203.0.113.0/24")], "");
    world.told();
    world.run(12_000, 0, 0);
    assert_eq!(world.told(), [RuleWithdrawn, Ending]);
}

#[test]
fn a_ban_of_an_attacked_host_joins_its_attack() {
    let mut world = World::mitigating(SETTINGS);
    let id = world.attack().id;
    let (banned, _) = world.detector.ban(world.now, host(), "web", 600, "to be sure", "bob").unwrap();
    assert_eq!(banned, id);
    world.run(599_900, 0, 0);
    assert_eq!(world.attack().state, State::Mitigating);
    world.run(100, 0, 0);
    assert_eq!(world.attack().state, State::Ending);
    world.detector.ban(world.now, host(), "web", 600, "again", "bob").unwrap();
    assert_eq!((world.attack().state, world.wanted().len()), (State::Mitigating, 1));
}

#[test]
fn an_unban_ends_at_once_and_for_good() {
    let mut world = World::mitigating(SETTINGS);
    let id = world.attack().id;
    let (ids, effects) = world.detector.unban(world.now, host().prefix, "a test of ours", "alice");
    world.log = effects;
    assert_eq!(ids, [id]);
    assert!(world.log.contains(&Effect::WantedChanged));
    let record = world.last_record();
    assert_eq!((record.state, record.note.as_str()), (State::Ended, "unban by alice: a test of ours"));
    assert_eq!(world.told(), [RuleWithdrawn, Ending, Ended]);
    assert_eq!(world.detector.followed().count(), 0);
    // A whole new crossing, from an empty window, and a new attack.
    world.run(100, 10_000, 0);
    assert!(world.log.is_empty());
    world.run(100, 10_000, 0);
    assert_ne!(world.attack().id, id);
    assert!(world.detector.unban(world.now, "198.18.0.9/32".parse().unwrap(), "", "alice").0.is_empty());
}
