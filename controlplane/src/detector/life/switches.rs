//! What kinds of traffic an attack is made of, what became of the switches of a MITIGATOR that it needs, and who was told of it. Pure.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::super::window::History;
use super::super::{Detector, Effect, EventKind};
use super::{Attack, Turn};
use crate::attack::Now;
use crate::record::{NotifiedRecord, SwitchRecord, SwitchState};

impl EventKind {
    /// What it is for people when a switch comes into such a state; none: nothing.
    pub fn of_switch(state: SwitchState) -> Option<EventKind> {
        match state {
            SwitchState::Wanted | SwitchState::Released => None,
            SwitchState::Left | SwitchState::Failed => Some(EventKind::Alarm),
            _ => Some(EventKind::Switched),
        }
    }
}

impl Detector {
    /// What became of switches, by attack alive. Of attacks that are not named nothing is new.
    pub fn switched(&mut self, now: Now, switches: &BTreeMap<Uuid, Vec<SwitchRecord>>) -> Vec<Effect> {
        let mut turn = Turn::new(now, &self.settings);
        let attacks = self.followed.values_mut().filter_map(|followed| followed.attack.as_mut());
        for attack in attacks.filter(|attack| attack.record.state.is_alive()) {
            if let Some(switches) = switches.get(&attack.record.id) {
                attack.switched(&mut turn, switches);
            }
        }
        turn.effects
    }
}

impl Detector {
    /// What came of telling somebody of an attack; where that is news, people are told. None: the attack is not alive.
    pub fn notified(
        &mut self,
        now: Now,
        attack: Uuid,
        notified: &NotifiedRecord,
        is_news: bool,
    ) -> Option<Vec<Effect>> {
        let attacks = self.followed.values_mut().filter_map(|followed| followed.attack.as_mut());
        let mut alive = attacks.chain(self.orders.values_mut()).filter(|attack| attack.record.state.is_alive());
        let attack = alive.find(|known| known.record.id == attack)?;
        let mut turn = Turn::new(now, &self.settings);
        attack.record.take_notified(notified);
        if is_news {
            attack.tell(&mut turn, EventKind::Notified, notified.to_string());
        } else {
            attack.save(&mut turn);
        }
        Some(turn.effects)
    }
}

impl Attack {
    fn switched(&mut self, turn: &mut Turn, switches: &[SwitchRecord]) {
        let news = self.record.take_switches(switches);
        for switch in &news {
            if let Some(kind) = EventKind::of_switch(switch.state) {
                self.tell(turn, kind, switch.to_string());
            }
        }
        if !news.is_empty() {
            self.save(turn);
        }
    }

    /// Another kind of traffic may be over a threshold, too.
    pub(super) fn learn_kinds(&mut self, turn: &mut Turn, history: &History) {
        let known = self.record.kinds.len();
        for kind in history.kinds_over() {
            if !self.record.kinds.contains(&kind) {
                self.record.kinds.push(kind);
            }
        }
        if self.record.kinds.len() > known {
            self.save(turn);
        }
    }
}

#[cfg(test)]
mod tests {
    use dataplane::packet::Class;

    use super::super::super::tests::{SETTINGS, World, host, observed};
    use super::super::super::{Observed, Settings};
    use super::*;
    use crate::attack::{Kind, Metric, Unit, Volumes};
    use crate::record::State;

    /// A tick in which a host with thresholds on everything (1,000) and on SYNs (200) has so many packets of each class.
    fn tick(world: &mut World, classes: &[(Class, u64)]) {
        let mut all = Volumes::default();
        for &(class, packets) in classes {
            all.packets[0][class as usize] = packets;
        }
        let mut seen = Observed { all, ..observed(host(), 0.1, 0, 0) };
        seen.thresholds = Default::default();
        seen.thresholds.set(Metric { kind: Kind::Total, unit: Unit::Pps }, 1_000);
        seen.thresholds.set(Metric { kind: Kind::TcpSyn, unit: Unit::Pps }, 200);
        world.tick(&[seen]);
    }

    #[test]
    fn a_threshold_on_everything_says_what_most_of_it_is_and_further_kinds_come_on_top() {
        let mut world = World::new(Settings { ban_time_ms: 1_000, unban_only_if_attack_finished: false, ..SETTINGS });
        tick(&mut world, &[(Class::Icmp, 1_200), (Class::Tcp, 100)]);
        assert_eq!(world.attack().kinds, [Kind::Icmp]);
        tick(&mut world, &[(Class::Icmp, 1_200), (Class::TcpSyn, 300)]);
        assert_eq!(world.attack().kinds, [Kind::Icmp, Kind::TcpSyn]);
        // Over, and back as something else: what it was is forgotten.
        (0..30).for_each(|_| tick(&mut world, &[]));
        assert_eq!(world.attack().state, State::Ending);
        tick(&mut world, &[(Class::Udp, 1_500)]);
        assert_eq!(world.attack().kinds, [Kind::Udp]);
    }

    #[test]
    fn what_becomes_of_switches_is_told_once() {
        let mut world = World::new(SETTINGS);
        world.run(1_000, 5_000, 0);
        world.told();
        let id = world.attack().id;
        let mut told = |state, text: &str| {
            let switch = SwitchRecord { policy: 1, switch: "sorb".into(), state, text: text.into() };
            let effects = world.detector.switched(world.now, &BTreeMap::from([(id, vec![switch.clone()])]));
            world.log.extend(effects);
            assert_eq!(world.attack().switches, [switch]);
            world.told()
        };
        assert_eq!(told(SwitchState::Wanted, ""), []);
        assert_eq!(told(SwitchState::Failed, "500"), [EventKind::Alarm]);
        assert_eq!(told(SwitchState::Failed, "502"), [], "other words for the same");
        assert_eq!(told(SwitchState::On, ""), [EventKind::Switched]);
        assert_eq!(told(SwitchState::On, ""), []);
        assert_eq!(told(SwitchState::Left, ""), [EventKind::Alarm]);
        assert_eq!(told(SwitchState::Released, ""), []);
        let journal: Vec<&str> = world.attack().journal.iter().map(|entry| entry.text.as_str()).collect();
        assert!(journal.contains(&"MITIGATOR policy 1: sorb: on"), "{journal:?}");
    }
}
