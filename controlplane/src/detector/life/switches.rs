//! What kinds of traffic an attack is made of, and what became of the switches of a MITIGATOR that it needs. Pure.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::super::window::History;
use super::super::{Detector, Effect, EventKind};
use super::{Attack, Turn};
use crate::attack::Now;
use crate::record::{SwitchRecord, SwitchState};

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
