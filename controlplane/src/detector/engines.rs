//! Which engine holds which rule, and since when, or holds it back for long, for the record. Pure.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::life::Turn;
use super::{Detector, Effect};
use crate::attack::Now;
use crate::record::{EngineRecord, SuspectRecord};

impl Detector {
    /// The engines that hold each rule now. A rule that is not wanted stands nowhere for long, and is on record so at once.
    pub fn held_at(&mut self, now: Now, engines: &BTreeMap<Uuid, Vec<String>>) -> Vec<Effect> {
        let mut turn = Turn::new(now, &self.settings);
        let attacks = self.followed.values_mut().filter_map(|followed| followed.attack.as_mut());
        for attack in attacks.chain(self.orders.values_mut()) {
            let mut is_news = false;
            for rule in &mut attack.record.rules {
                let holders = engines.get(&rule.id).filter(|_| rule.is_wanted()).map_or(&[][..], Vec::as_slice);
                if rule.engines.iter().map(|engine| &engine.name).eq(holders) {
                    continue;
                }
                let since = |name: &String| rule.engines.iter().find(|engine| engine.name == *name).cloned();
                let now = |name: &String| EngineRecord { name: name.clone(), since_ms: turn.now.wall_ms };
                rule.engines = holders.iter().map(|name| since(name).unwrap_or_else(|| now(name))).collect();
                is_news = true;
            }
            if is_news {
                drop(attack.save(&mut turn));
            }
        }
        turn.effects
    }
}

impl Detector {
    /// The engines that hold each rule back for long now, since a router's session fell over it.
    pub fn suspected(&mut self, now: Now, suspects: &BTreeMap<Uuid, Vec<SuspectRecord>>) -> Vec<Effect> {
        let mut turn = Turn::new(now, &self.settings);
        let attacks = self.followed.values_mut().filter_map(|followed| followed.attack.as_mut());
        for attack in attacks.chain(self.orders.values_mut()) {
            let mut is_news = false;
            for rule in attack.record.rules.iter_mut().filter(|rule| rule.is_wanted()) {
                let suspected = suspects.get(&rule.id).map_or(&[][..], Vec::as_slice);
                is_news |= rule.suspected != suspected;
                rule.suspected = suspected.to_vec();
            }
            if is_news {
                drop(attack.save(&mut turn));
            }
        }
        turn.effects
    }

    /// The rules that engines held back when this was last on record, and that are wanted still.
    pub fn suspects(&self) -> Vec<(Uuid, SuspectRecord)> {
        let wanted = self.attacks().flat_map(|record| record.wanted_rules());
        wanted.flat_map(|rule| rule.suspected.iter().map(|suspect| (rule.id, suspect.clone()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use dataplane::rule::{Action, FlowRule};

    use super::super::Wish;
    use super::super::tests::{SETTINGS, World, host};
    use super::*;
    use crate::record::FlowSpec;

    #[test]
    fn a_rule_is_on_record_with_its_engines_and_since_when() {
        let mut world = World::new(SETTINGS);
        let rule = FlowRule { destination: Some(host().prefix), ..FlowRule::default() };
        let wish = Wish { seconds: 0, reason: "", by: "ann" };
        let flow_spec = FlowSpec { rule, action: Action::Discard };
        world.detector.order(world.now, (host(), "web"), flow_spec, wish).unwrap();
        let id = world.attack().rules[0].id;
        let mut at = |millis: u64, names: &[&str]| {
            let now = Now { wall_ms: world.now.wall_ms + millis as i64, ..world.now };
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            let effects = world.detector.held_at(now, &BTreeMap::from([(id, names)]));
            let engines = world.detector.attacks().next().unwrap().rules[0].engines.clone();
            let since = engines.into_iter().map(|engine| (engine.name, engine.since_ms - world.now.wall_ms));
            (since.collect::<Vec<_>>(), effects.len())
        };
        let held = |list: &[(&str, i64)]| list.iter().map(|(name, ms)| ((*name).to_owned(), *ms)).collect::<Vec<_>>();
        assert_eq!(at(1, &["east"]), (held(&[("east", 1)]), 1));
        assert_eq!(at(2, &["east", "west"]), (held(&[("east", 1), ("west", 2)]), 1));
        assert_eq!(at(3, &["east", "west"]).1, 0, "nothing new is not saved");
        assert_eq!(at(4, &["west"]), (held(&[("west", 2)]), 1));
        assert_eq!(at(5, &["east", "west"]), (held(&[("east", 5), ("west", 2)]), 1));
    }
    #[test]
    fn who_holds_a_rule_back_for_long_is_on_record_until_it_does_no_more() {
        let mut world = World::new(SETTINGS);
        let rule = FlowRule { destination: Some(host().prefix), ..FlowRule::default() };
        let wish = Wish { seconds: 0, reason: "", by: "ann" };
        world.detector.order(world.now, (host(), "web"), FlowSpec { rule, action: Action::Discard }, wish).unwrap();
        let id = world.attack().rules[0].id;
        let suspect = SuspectRecord { engine: "east".into(), until_ms: 7, why: "it fell".into() };
        let all = BTreeMap::from([(id, vec![suspect.clone()])]);
        assert_eq!(world.detector.suspected(world.now, &all).len(), 1);
        assert_eq!(world.detector.suspected(world.now, &all).len(), 0, "nothing new is not saved");
        assert_eq!(world.detector.suspects(), [(id, suspect)]);
        assert_eq!(world.detector.suspected(world.now, &BTreeMap::new()).len(), 1);
        assert_eq!(world.detector.suspects(), []);
    }
}
