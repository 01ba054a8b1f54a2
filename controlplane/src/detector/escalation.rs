//! The second threshold: what is over it has the last resort at once, whatever the rules do, and until it has been below for a while.
//! Pure.

use super::life::{Attack, Turn};
use super::{Detector, Effect, Followed};
use crate::attack::{Now, Target, Thresholds};
use crate::group::LastResort;
use crate::record::{Crossing, FlowSpec, RuleRecord};

impl Detector {
    /// Holds everything that targets under attack receive or send against these thresholds. Call it after each tick.
    pub fn escalate(&mut self, now: Now, thresholds: impl Fn(&Target) -> Thresholds) -> Vec<Effect> {
        let mut turn = Turn::new(now, &self.settings);
        for (target, followed) in &mut self.followed {
            let Followed { history, last_resort, attack: Some(attack), .. } = followed else { continue };
            if !attack.record.state.is_under_way() || attack.record.whitelisted.is_some() {
                continue;
            }
            if let Some((metric, threshold, measured)) = history.over(&thresholds(target)) {
                attack.escalate(&mut turn, *last_resort, Crossing { metric, threshold, measured });
            }
        }
        turn.effects
    }
}

impl Attack {
    fn escalate(&mut self, turn: &mut Turn, last_resort: LastResort, crossing: Crossing) {
        let Some(action) = last_resort.action(self.record.target.direction) else { return };
        self.drop_other_resort(turn, Some(action));
        // It may stand for what cannot be told from the target's own traffic, too.
        let flow_spec = FlowSpec { rule: self.record.target.all(), action };
        let stands = |rule: &&mut RuleRecord| rule.last_resort && rule.is_wanted() && rule.flow_spec == flow_spec;
        if let Some(rule) = self.record.rules.iter_mut().find(stands) {
            rule.quiet_ms = 0;
            return;
        }
        let text = format!("attack on {} escalates to {action}: {crossing}", self.record.target);
        self.want_last_resort(turn, action, text, true);
    }
}

#[cfg(test)]
mod tests {
    use dataplane::rule::Action;

    use super::super::tests::{SETTINGS, UDP, World, host, observed};
    use super::*;
    use crate::detector::{Observed, Settings};

    fn over(pps: u64) -> Thresholds {
        let mut thresholds = Thresholds::default();
        thresholds.set(UDP, pps);
        thresholds
    }

    /// So long at so many packets a tick of 100 ms, with this as last resort over 10,000 a second.
    fn run(world: &mut World, millis: u64, packets: u64, last_resort: LastResort) {
        for _ in 0..millis / 100 {
            world.tick(&[Observed { last_resort, ..observed(host(), 0.1, packets, 0) }]);
            let effects = world.detector.escalate(world.now, |_| over(10_000));
            world.log.extend(effects);
        }
    }

    fn last_resort(world: &World) -> Option<&RuleRecord> {
        world.attack().wanted_rules().find(|rule| rule.last_resort)
    }

    #[test]
    fn over_the_second_threshold_the_last_resort_comes_at_once_and_goes_when_it_has_fallen_for_a_while() {
        let settings = Settings { rule_idle_ms: 5_000, ..SETTINGS };
        let mut world = World::new(settings);
        run(&mut world, 3_000, 900, LastResort::Blackhole);
        assert!(last_resort(&world).is_none(), "over the first threshold alone");
        run(&mut world, 2_000, 1_100, LastResort::Blackhole);
        let rule = last_resort(&world).expect("over the second").clone();
        assert_eq!((rule.flow_spec.action, rule.escalated), (Action::Blackhole, true));
        assert!(rule.reason.contains("escalates to blackhole"), "{}", rule.reason);
        world.hold_all();
        run(&mut world, 10_000, 1_100, LastResort::Blackhole);
        assert!(last_resort(&world).is_some(), "as long as it is over");
        run(&mut world, 4_000, 900, LastResort::Blackhole);
        run(&mut world, 2_000, 1_100, LastResort::Blackhole);
        run(&mut world, 4_000, 900, LastResort::Blackhole);
        assert_eq!(last_resort(&world).map(|rule| rule.id), Some(rule.id), "a short fall is none");
        run(&mut world, 3_000, 900, LastResort::Blackhole);
        assert!(last_resort(&world).is_none(), "fallen for long enough, and the attack goes on");
        run(&mut world, 2_000, 1_100, LastResort::Blackhole);
        assert_eq!(last_resort(&world).map(|rule| rule.id), Some(rule.id), "the same again");
    }

    #[test]
    fn without_a_last_resort_nothing_escalates_and_another_one_takes_its_place() {
        let mut world = World::new(SETTINGS);
        run(&mut world, 3_000, 1_100, LastResort::Nothing);
        assert!(last_resort(&world).is_none());
        run(&mut world, 1_000, 1_100, LastResort::Divert);
        assert_eq!(last_resort(&world).map(|rule| rule.flow_spec.action), Some(Action::Divert));
        run(&mut world, 1_000, 1_100, LastResort::Blackhole);
        let wanted: Vec<Action> = world.attack().wanted_rules().map(|rule| rule.flow_spec.action).collect();
        assert_eq!(wanted, [Action::Blackhole]);
    }
}
