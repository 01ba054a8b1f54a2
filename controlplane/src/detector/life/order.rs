//! A rule by hand: an attack on record that is no more than one rule, given by a person. No threshold and no capture has a say
//! in it; it lasts until its time is over or a person takes it back. Pure.

use super::{Attack, SAVE_PERIOD_MS, Turn, new_rule};
use crate::attack::{Rates, Target};
use crate::detector::EventKind;
use crate::record::FlowSpec;
use uuid::Uuid;

/// What a person orders, and for how long: for so many seconds or, if that is 0, until it is taken back.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// For how long.
    pub seconds: u64,
    /// Why, in the person's words.
    pub reason: &'a str,
    /// Who.
    pub by: &'a str,
}

impl Attack {
    /// Wants a rule, from now on. `id` is the one under which an attack wants the same rule already.
    pub(in crate::detector) fn order(
        turn: &mut Turn,
        (target, group): (Target, &str),
        flow_spec: FlowSpec,
        id: Option<Uuid>,
        wish: Wish<'_>,
    ) -> Attack {
        let mut attack = Attack::blank(turn, target, group, wish.by);
        attack.record.is_order = true;
        let text = attack.take_wish(turn, &flow_spec, wish);
        let id = id.unwrap_or_else(|| turn.new_id());
        attack.record.rules.push(new_rule(turn, id, flow_spec, 0.0, attack.record.note.clone()));
        attack.mitigate(turn, &[id], text);
        attack
    }

    /// The same rule is ordered again: for how long and why is as said last.
    pub(in crate::detector) fn order_again(&mut self, turn: &mut Turn, wish: Wish<'_>) {
        let Some(flow_spec) = self.record.rules.first().map(|rule| rule.flow_spec.clone()) else { return };
        let text = self.take_wish(turn, &flow_spec, wish);
        self.tell(turn, EventKind::Mitigating, text);
    }

    fn take_wish(&mut self, turn: &Turn, flow_spec: &FlowSpec, Wish { seconds, reason, by }: Wish<'_>) -> String {
        self.last_for(turn, seconds);
        self.record.note = format!("rule by {by}: {reason}");
        let time = if seconds > 0 { format!("for {seconds} s") } else { "until it is removed".to_owned() };
        format!("rule by {by}, {time}: {flow_spec}: {reason}")
    }

    /// One tick. `all` and `rest` are what its target has now.
    pub(in crate::detector) fn live_by_order(&mut self, turn: &mut Turn, all: Rates, rest: Rates) {
        self.record.current = all;
        self.record.rest = rest;
        self.record.peak = self.record.peak.max(&all);
        self.record.add_to_mean((turn.mono() - self.measured).max(0) as u64);
        self.measured = turn.mono();
        if self.until.is_some_and(|until| turn.mono() >= until) {
            self.unban(turn, "the time asked for is over");
        } else if turn.mono() - self.saved >= SAVE_PERIOD_MS {
            self.save(turn);
        }
    }
}
