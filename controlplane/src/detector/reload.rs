//! Another configuration in the middle of attacks' lives.

use std::sync::Arc;

use super::life::{Attack, Turn};
use super::{Detector, Effect, EventKind, Settings};
use crate::attack::{Now, Target, Thresholds};
use crate::whitelist::Whitelist;

impl Detector {
    /// From now on these settings and this whitelist hold. `place` gives the group of a target and the thresholds that hold for
    /// it; none for one that is counted no more: its attack ends. So does one whose target came onto the whitelist, or left it:
    /// what goes on crosses anew. All other attacks go on, and keep the ban time that they have.
    pub fn reload(
        &mut self,
        now: Now,
        settings: Settings,
        whitelist: Arc<Whitelist>,
        place: impl Fn(&Target) -> Option<(Arc<str>, Thresholds)>,
    ) -> Vec<Effect> {
        self.settings = settings;
        self.whitelist = whitelist;
        let mut turn = Turn::new(now, &self.settings);
        let mut over = Vec::new();
        self.followed.retain(|target, followed| {
            let attack = &mut followed.attack;
            let is_exempt = self.whitelist.network_around(target.prefix).is_some();
            let place = place(target);
            let why = match (&place, attack.as_ref()) {
                (None, _) => Some("the configuration changed: this target is counted no more"),
                (_, Some(attack)) if attack.record.whitelisted.is_some() != is_exempt => {
                    Some("the configuration changed: whitelist.networks")
                }
                _ => None,
            };
            if let Some(why) = why {
                if let Some(attack) = attack {
                    attack.unban(&mut turn, why);
                    over.push(attack.record.id);
                }
                return false;
            }
            let Some((group, thresholds)) = place else { return false };
            if let Some(attack) = attack {
                attack.change_group(&mut turn, &group);
            }
            followed.group = group;
            followed.history.retune(settings.window_ms, thresholds);
            true
        });
        for id in over {
            self.targets.remove(&id);
        }
        turn.effects
    }
}

impl Attack {
    /// Its target is in this group now.
    fn change_group(&mut self, turn: &mut Turn, group: &str) {
        if self.record.group == group {
            return;
        }
        let before = std::mem::replace(&mut self.record.group, group.into());
        self.tell(turn, EventKind::Changed, format!("{} is in group {group} now, not {before}", self.record.target));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{SETTINGS, THRESHOLD, UDP, World, host, observed};
    use super::*;
    use crate::record::{AttackRecord, State};

    fn udp(pps: u64) -> Thresholds {
        let mut thresholds = Thresholds::default();
        thresholds.set(UDP, pps);
        thresholds
    }

    fn reload(world: &mut World, whitelist: &[&str], place: Option<(&str, u64)>) -> Vec<Effect> {
        let networks = whitelist.iter().map(|text| text.parse().unwrap()).collect();
        let whitelist = Arc::new(Whitelist { networks, ..Whitelist::default() });
        world.detector.reload(world.now, SETTINGS, whitelist, |_| place.map(|(name, pps)| (Arc::from(name), udp(pps))))
    }

    /// Records of an attack that ended, as saved.
    fn ended(effects: &[Effect]) -> Vec<&AttackRecord> {
        let saved =
            effects.iter().filter_map(|effect| if let Effect::Save(record) = effect { Some(&**record) } else { None });
        saved.filter(|record| record.state == State::Ended).collect()
    }

    #[test]
    fn an_attack_lives_on_and_takes_the_new_groups_thresholds() {
        let mut world = World::new(SETTINGS);
        world.run(2_000, 20_000, 0);
        let id = world.attack().id;
        let effects = reload(&mut world, &[], Some(("mail", 50_000)));
        assert_eq!((world.attack().id, world.attack().group.as_str()), (id, "mail"));
        let changed = |effect: &Effect| matches!(effect, Effect::Event(event) if event.kind == EventKind::Changed);
        assert_eq!(effects.iter().filter(|effect| changed(effect)).count(), 1);
        assert!(
            world.attack().journal.iter().any(|entry| entry.text.contains("group mail")),
            "{:?}",
            world.attack().journal
        );
        // Silence is held against the new ones, too: the same again changes nothing.
        assert_eq!(reload(&mut world, &[], Some(("mail", 50_000))), []);
        assert_eq!(world.attack().id, id);
    }

    #[test]
    fn an_attack_on_what_is_counted_no_more_ends() {
        let mut world = World::new(SETTINGS);
        world.run(2_000, 20_000, 0);
        let effects = reload(&mut world, &[], None);
        let [record] = ended(&effects)[..] else { panic!("{effects:?}") };
        assert!(record.note.contains("counted no more") && record.wanted_rules().next().is_none(), "{record:?}");
        assert_eq!((world.detector.attacks().count(), world.detector.followed().count()), (0, 0));
    }

    #[test]
    fn who_comes_onto_the_whitelist_is_let_go() {
        let mut world = World::new(SETTINGS);
        world.run(2_000, 20_000, 0);
        let around = host().prefix.to_string();
        let effects = reload(&mut world, &[&around], Some(("web", 1_000)));
        assert_eq!(ended(&effects).len(), 1);
        world.run(2_000, 20_000, 0);
        assert!(world.attack().whitelisted.is_some(), "what goes on is detected anew, and nothing is done about it");
        let effects = reload(&mut world, &[], Some(("web", 1_000)));
        assert_eq!(ended(&effects).len(), 1, "and the other way round");
    }

    #[test]
    fn what_is_below_the_new_threshold_and_was_below_the_old_crosses_nothing() {
        let mut world = World::new(SETTINGS);
        world.run(2_000, 500, 0);
        assert_eq!(reload(&mut world, &[], Some(("web", 600))), []);
        world.run(2_000, 500, 0);
        assert_eq!(world.detector.attacks().count(), 0);
        // A burst that is remembered is held against what holds now.
        world.tick(&[observed(host(), 0.1, 900, 0)]);
        assert_eq!(world.detector.followed().count(), 1);
        reload(&mut world, &[], Some(("web", 100)));
        world.tick(&[]);
        assert_eq!(world.detector.attacks().count(), 1, "9 in 10 of the old threshold, 9 times the new one");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Whatever the traffic, and however often: a life with reloads is the same as one without.
        #[test]
        fn a_reload_with_nothing_new_changes_nothing(ticks in prop::collection::vec((0u64..300, any::<bool>()), 1..400)) {
            let (mut calm, mut reloaded) = (World::new(SETTINGS), World::new(SETTINGS));
            for (packets, again) in ticks {
                if again {
                    prop_assert_eq!(reload(&mut reloaded, &[], Some(("web", THRESHOLD))), []);
                }
                let life = |world: &mut World| {
                    world.tick(&[observed(host(), 0.1, packets, 0)]);
                    let record = world.detector.attacks().next().cloned();
                    let record = record.map(|attack| (attack.state, attack.crossing, attack.detected_ms, attack.ending_ms, attack.rest));
                    (record, world.detector.followed().count())
                };
                prop_assert_eq!(life(&mut calm), life(&mut reloaded));
            }
        }
    }
}
