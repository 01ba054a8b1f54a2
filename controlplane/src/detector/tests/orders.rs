//! Rules by hand: attacks on record that are no more than their rule.

use dataplane::rule::Ranges;

use super::*;
use crate::mitigation;
use crate::record::FlowSpec;

fn dns() -> FlowSpec {
    let rule = FlowRule { destination: Some(host().prefix), source_ports: Ranges::from(53), ..FlowRule::default() };
    FlowSpec { rule, action: Action::Discard }
}

fn wish(seconds: u64) -> Wish<'static> {
    Wish { seconds, reason: "phoned in", by: "alice" }
}

impl World {
    fn order(&mut self, flow_spec: FlowSpec, seconds: u64) -> Result<Uuid, Error> {
        let (id, effects) = self.detector.order(self.now, (host(), "web"), flow_spec, wish(seconds))?;
        self.log.extend(effects);
        Ok(id)
    }

    fn planned(&self) -> Vec<FlowRule> {
        let plan =
            mitigation::plan(self.detector.attacks(), &self.detector.settings.limits, mitigation::FREE, |_| false);
        plan.wanted.into_iter().map(|wanted| wanted.rule).collect()
    }
}

#[test]
fn a_rule_by_hand_lasts_as_long_as_asked_whatever_the_traffic_does() {
    let mut world = World::new(SETTINGS);
    let id = world.order(dns(), 300).unwrap();
    assert!(world.log.contains(&Effect::WantedChanged));
    assert_eq!(world.told(), [Mitigating, RuleWanted]);
    assert_eq!(world.planned(), [dns().rule]);
    let record = world.attack().clone();
    assert_eq!(
        (record.id, record.by.as_str(), record.is_order, record.kind().as_str()),
        (id, "alice", true, "by_hand")
    );
    assert_eq!(record.until_ms, Some(record.detected_ms + 300_000));
    assert!(record.journal[0].text.contains("rule by alice, for 300 s: discard"), "{:?}", record.journal);
    assert!(record.journal[0].text.ends_with("phoned in"));

    // No traffic and no capture, far longer than any ban time.
    world.run(299_900, 0, 0);
    assert_eq!((world.planned().len(), world.told()), (1, vec![]));
    world.run(200, 0, 0);
    assert_eq!(world.told(), [RuleWithdrawn, Ending, Ended]);
    assert_eq!((world.planned().len(), world.detector.attacks().count()), (0, 0));
}

#[test]
fn without_a_time_it_stays_until_it_is_taken_back() {
    let mut world = World::new(SETTINGS);
    let id = world.order(dns(), 0).unwrap();
    world.run(3_600_000, 0, 0);
    world.log.clear();
    let (found, effects) = world.detector.take_back(world.now, id, "over", "bob");
    world.log = effects;
    assert!(found && world.last_record().note == "removed by bob: over");
    assert_eq!((world.told(), world.planned().len()), (vec![RuleWithdrawn, Ending, Ended], 0));
    assert!(!world.detector.take_back(world.now, id, "", "bob").0, "only once");

    let id = world.order(dns(), 0).unwrap();
    let (ids, _) = world.detector.unban(world.now, host().prefix, "", "bob");
    assert_eq!((ids, world.planned().len()), (vec![id], 0), "an unban of the host takes it back, too");
}

#[test]
fn twice_the_same_is_one_and_another_action_is_refused() {
    let mut world = World::new(SETTINGS);
    let id = world.order(dns(), 0).unwrap();
    world.pass(1_000);
    assert_eq!(world.order(dns(), 60).unwrap(), id);
    assert_eq!(world.attack().until_ms, Some(world.now.wall_ms + 60_000));
    assert_eq!(world.planned().len(), 1);
    let rule = world.attack().rules[0].id;
    let other = world.order(FlowSpec { action: Action::RateBps(1), ..dns() }, 0);
    assert_eq!(other, Err(Error::OtherAction(rule)));
    let most = Settings { limits: Limits { rules_in_all: 1, ..SETTINGS.limits }, ..SETTINGS };
    let mut full = World::new(most);
    full.order(dns(), 0).unwrap();
    let next = FlowSpec { rule: FlowRule { source_ports: Ranges::from(123), ..dns().rule }, ..dns() };
    assert_eq!(full.order(next, 0), Err(Error::TooManyOrders(1)));
}

#[test]
fn it_lives_beside_an_attack_on_the_same_host() {
    let mut world = World::mitigating(SETTINGS);
    let attack = world.attack().id;
    let order = world.order(dns(), 0).unwrap();
    world.hold_all();
    assert_eq!(world.planned().len(), 2);
    let rule = world.detector.attacks().find(|record| record.id == order).unwrap().rules[0].id;
    world.detector.rule_matched(order, rule, 70, 7_000, 0.1);
    world.run(100, 20_000, 15_000);
    let of = |world: &World, id| world.detector.attacks().find(|record| record.id == id).cloned();
    let ordered = of(&world, order).unwrap();
    assert_eq!((ordered.rules[0].matched_packets, ordered.rules[0].is_held()), (70, true));
    assert_eq!((ordered.current.udp.pps, ordered.rest.udp.pps), (20_000.0, 5_000.0));
    // The attack ends and takes its own rules along.
    world.run(80_000, 0, 0);
    assert_eq!((of(&world, attack), world.planned()), (None, vec![dns().rule]));
}

#[test]
fn a_mined_rule_that_is_ordered_too_stays_for_both() {
    let mut world = World::mitigating(SETTINGS);
    let known = world.wanted()[0].clone();
    let order = world.order(known.flow_spec.clone(), 0).unwrap();
    assert!(world.wanted().iter().all(|rule| rule.id == known.id));
    assert_eq!(world.planned().len(), 1);
    world.detector.take_back(world.now, order, "", "bob");
    assert_eq!(world.planned(), [known.flow_spec.rule]);
}

#[test]
fn what_a_rule_by_hand_matches_opens_no_attack() {
    let mut world = World::new(SETTINGS);
    world.order(dns(), 0).unwrap();
    world.hold_all();
    world.run(5_000, 10_000, 9_500);
    assert_eq!(world.detector.attacks().count(), 1);
    world.run(5_000, 10_000, 5_000);
    assert_eq!(world.detector.attacks().count(), 2, "but what it leaves does");
}

#[test]
fn it_outlives_a_restart_and_its_time_goes_on() {
    let mut world = World::new(SETTINGS);
    let id = world.order(dns(), 60).unwrap();
    let saved: AttackRecord = serde_json::from_str(&serde_json::to_string(&*world.last_record()).unwrap()).unwrap();
    for (away_ms, is_counted, stays) in [(30_000, true, true), (70_000, true, false), (1_000, false, false)] {
        let mut again = World::new(SETTINGS);
        again.now.wall_ms = world.now.wall_ms + away_ms;
        again.log = again.detector.restore(again.now, vec![saved.clone()], |_| is_counted);
        again.run(100, 0, 0);
        let found: Vec<Uuid> = again.detector.attacks().map(|record| record.id).collect();
        assert_eq!((found == [id], again.planned().len()), (stays, usize::from(stays)), "{away_ms}");
    }
}
