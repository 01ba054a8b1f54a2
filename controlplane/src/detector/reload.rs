//! Another configuration in the middle of attacks' lives.

use std::sync::Arc;

use super::life::{Attack, Turn};
use super::{Detector, Effect, EventKind, Followed, Settings};
use crate::attack::{Now, Target, Thresholds};
use crate::group::LastResort;
use crate::whitelist::Whitelist;

/// What the configuration says for a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Its host group.
    pub group: Arc<str>,
    /// What that does when no more rules are allowed.
    pub last_resort: LastResort,
    /// The thresholds that hold for it.
    pub thresholds: Thresholds,
    /// Of a network also those for its whole group.
    pub of_group: Thresholds,
}

/// Why an attack ends whose target is not looked at any more.
pub(super) const COUNTED_NO_MORE: &str = "the configuration changed: this target is counted no more";
/// Why an attack ends whose target is exempt now, or no more.
pub(super) const WHITELIST_CHANGED: &str = "the configuration changed: whitelist.networks";

impl Detector {
    /// From now on these settings and this whitelist hold. `place` says what holds for a target, which may be that of a rule by
    /// hand; none for one that is counted no more: its attack ends. So does one whose target came onto the whitelist, or left
    /// it: what goes on crosses anew. All other attacks go on, and keep the ban time that they have.
    pub fn reload(
        &mut self,
        now: Now,
        settings: Settings,
        whitelist: Arc<Whitelist>,
        place: impl Fn(&Target, bool) -> Option<Place>,
    ) -> Vec<Effect> {
        self.settings = settings;
        self.whitelist = whitelist;
        let mut turn = Turn::new(now, &self.settings);
        self.followed.retain(|target, followed| {
            let Followed { attack, history, .. } = followed;
            let is_exempt = self.whitelist.network_around(target.prefix).is_some();
            let place = place(target, false);
            let why = match attack {
                _ if place.is_none() => Some(COUNTED_NO_MORE),
                Some(attack) if attack.record.whitelisted.is_some() != is_exempt => Some(WHITELIST_CHANGED),
                _ => None,
            };
            if let (Some(attack), Some(why)) = (&mut *attack, why) {
                attack.unban(&mut turn, why);
                self.targets.remove(&attack.record.id);
            }
            let Some(Place { group, last_resort, thresholds, of_group }) = place.filter(|_| why.is_none()) else {
                return false;
            };
            if let Some(attack) = attack {
                attack.change_group(&mut turn, &group);
            }
            history.retune(settings.window_ms, thresholds, of_group);
            (followed.group, followed.last_resort) = (group, last_resort);
            true
        });
        for order in self.orders.values_mut() {
            match place(&order.record.target, true) {
                Some(place) => order.change_group(&mut turn, &place.group),
                None => order.unban(&mut turn, COUNTED_NO_MORE),
            }
        }
        self.bury_orders();
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
    use dataplane::rule::{Action, FlowRule};
    use proptest::prelude::*;

    use super::super::Wish;
    use super::super::tests::{SETTINGS, THRESHOLD, UDP, World, host, observed};
    use super::*;
    use crate::record::{AttackRecord, FlowSpec, State};

    fn udp(pps: u64) -> Thresholds {
        let mut thresholds = Thresholds::default();
        thresholds.set(UDP, pps);
        thresholds
    }

    fn reload(world: &mut World, whitelist: &[&str], at: Option<(&str, u64)>) -> Vec<Effect> {
        let networks = whitelist.iter().map(|text| text.parse().unwrap()).collect();
        let whitelist = Arc::new(Whitelist { networks, ..Whitelist::default() });
        let place = |(name, pps)| Place {
            group: Arc::from(name),
            last_resort: LastResort::Nothing,
            thresholds: udp(pps),
            of_group: Thresholds::default(),
        };
        world.detector.reload(world.now, SETTINGS, whitelist, |_, _| at.map(place))
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
    fn a_rule_by_hand_lives_on_while_its_target_is_ours_whatever_the_whitelist_says() {
        let mut world = World::new(SETTINGS);
        let rule = FlowRule { destination: Some(host().prefix), ..FlowRule::default() };
        let flow_spec = FlowSpec { rule, action: Action::Discard };
        let wish = Wish { seconds: 0, reason: "phoned in", by: "ann" };
        let (id, _) = world.detector.order(world.now, (host(), "web"), flow_spec, wish).unwrap();
        reload(&mut world, &[&host().prefix.to_string()], Some(("mail", 1_000)));
        world.run(1_000, 0, 0);
        let record = world.attack();
        assert_eq!((record.id, record.group.as_str(), record.wanted_rules().count()), (id, "mail", 1));
        let effects = reload(&mut world, &[], None);
        assert!(ended(&effects)[0].is_order && effects.contains(&Effect::WantedChanged));
        assert_eq!(world.detector.attacks().count(), 0);
    }

    #[test]
    fn a_longer_window_is_over_what_was_seen_so_far() {
        let mut world = World::new(SETTINGS);
        // Three windows are remembered. In the last of them nothing came.
        [vec![190; 20], vec![0; 10]]
            .concat()
            .iter()
            .for_each(|&packets| world.tick(&[observed(host(), 0.1, packets, 0)]));
        assert_eq!(world.attack().current.udp.pps, 0.0);
        let settings = Settings { window_ms: 3_000, ..SETTINGS };
        let place = Place {
            group: "web".into(),
            last_resort: LastResort::Nothing,
            thresholds: udp(THRESHOLD),
            of_group: Thresholds::default(),
        };
        world.detector.reload(world.now, settings, Arc::default(), |_, _| Some(place.clone()));
        world.tick(&[]);
        assert_eq!(world.attack().current.udp.pps.round(), (190.0 * 19.0 / 3.0_f64).round());
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
