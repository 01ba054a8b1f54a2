//! An attack of several vectors: what the rules leave is captured and mined again; rules that match nothing any more go,
//! and come back with their vector; and where no further rule is allowed, the last resort. Pure.

use std::cmp::Reverse;

use dataplane::rule::Action;
use uuid::Uuid;

use super::super::window::History;
use super::super::{Effect, EventKind, Tap};
use super::{Attack, Turn, new_rule};
use crate::attack::Rate;
use crate::group::LastResort;
use crate::record::{FlowSpec, RuleRecord, State};

/// Rules that a record keeps, far more than are ever wanted at once. Of more, those that were withdrawn first go.
const RULES_KEPT: usize = 128;

impl Attack {
    /// A new vector shows as a crossing of what the rules leave; and so does one that is back, whose rule is known.
    pub(super) fn look_for_more(&mut self, turn: &mut Turn, history: &History, last_resort: LastResort) {
        let crosses = history.crossing().is_some();
        let begins = crosses && !self.rest_over;
        self.rest_over = crosses;
        let limit = turn.settings.limits.rules_per_target;
        if !crosses || self.vectors() < limit {
            self.limit_since = None;
        }
        if !crosses || self.record.whitelisted.is_some() || (begins && self.bring_back(turn)) {
            return;
        }
        if self.record.capture_is_open() || turn.mono() < self.look_again {
            return;
        }
        if self.vectors() < limit || self.make_room(turn) {
            self.want_capture(turn);
            self.save(turn);
            return;
        }
        // After a window it is plain which rules match nothing any more, and that none does.
        let since = *self.limit_since.get_or_insert(turn.mono());
        if turn.mono() - since >= turn.settings.window_ms as i64 {
            self.resort(turn, last_resort);
        }
    }

    /// Rules wanted, the last resort aside: what the limit is on.
    pub(super) fn vectors(&self) -> usize {
        self.record.wanted_rules().filter(|rule| !rule.last_resort).count()
    }

    /// The id of a rule: that under which another attack wants it already, or that which it had before.
    pub(super) fn id_of(&self, turn: &Turn, flow_spec: &FlowSpec, taken: Option<Uuid>) -> Uuid {
        let before = self.record.rules.iter().find(|known| known.flow_spec == *flow_spec);
        taken.or(before.map(|known| known.id)).unwrap_or_else(|| turn.new_id())
    }

    /// Wants a rule anew, or, if it was withdrawn, again.
    pub(super) fn want(&mut self, turn: &Turn, rule: RuleRecord) -> Uuid {
        let known = self.record.rules.iter_mut().find(|known| known.flow_spec == rule.flow_spec);
        if let Some(known) = known {
            (known.id, known.last_resort, known.escalated) = (rule.id, rule.last_resort, rule.escalated);
            (known.coverage, known.mined, known.reason) = (rule.coverage, rule.mined, rule.reason);
            known.want_again(turn.now.wall_ms);
            return known.id;
        }
        let rules = &mut self.record.rules;
        if rules.len() >= RULES_KEPT {
            let withdrawn = (0..rules.len()).filter(|&at| !rules[at].is_wanted());
            if let Some(oldest) = withdrawn.min_by_key(|&at| rules[at].withdrawn_ms) {
                rules.remove(oldest);
                self.record.rules_forgotten += 1;
            }
        }
        let id = rule.id;
        self.record.rules.push(rule);
        id
    }

    /// The rules that matched nothing for a while, those that did so last first: one of them may be for what is back. The
    /// others will match nothing again.
    pub(super) fn bring_back(&mut self, turn: &mut Turn) -> bool {
        let room = turn.settings.limits.rules_per_target.saturating_sub(self.vectors());
        let mut idle: Vec<&mut RuleRecord> = self.record.rules.iter_mut().filter(|rule| rule.idle).collect();
        idle.sort_by_key(|rule| Reverse(rule.withdrawn_ms));
        idle.truncate(room);
        let back: Vec<Uuid> = idle.iter().map(|rule| rule.id).collect();
        idle.into_iter().for_each(|rule| rule.want_again(turn.now.wall_ms));
        if back.is_empty() {
            return false;
        }
        self.fruitless = 0;
        self.pause(turn);
        let text = format!("attack on {} is being mitigated by rules that it had before", self.record.target);
        self.mitigate(turn, &back, text);
        true
    }

    /// No further rule is allowed, and those in force leave too much. Rules that no engine has said anything about yet may
    /// still be enough.
    fn resort(&mut self, turn: &mut Turn, last_resort: LastResort) {
        let target = self.record.target;
        let action = last_resort.action(target.direction);
        self.drop_other_resort(turn, action);
        // One that came by the second threshold is needed for this now.
        let standing = self.record.rules.iter_mut().filter(|rule| rule.last_resort && rule.is_wanted());
        standing.for_each(|rule| rule.escalated = false);
        let waits = |rule: &RuleRecord| rule.last_resort || (!rule.is_held() && rule.refused.is_none());
        if self.record.wanted_rules().any(waits) || (action.is_none() && self.limit_told) {
            return;
        }
        let done = action.map_or("nothing more is done".to_owned(), |action| format!("the last resort is {action}"));
        let most = turn.settings.limits.rules_per_target;
        let text = format!("{most} rules for {target} leave more than a threshold, and no more are allowed: {done}");
        self.limit_told = true;
        self.record.note = text.clone();
        self.tell(turn, EventKind::Alarm, text.clone());
        if let Some(action) = action {
            self.want_last_resort(turn, action, text, false);
        }
    }

    /// Withdraws a last resort that the group has no more. One for what cannot be told from the target's own traffic stays as long as
    /// it is needed.
    pub(in crate::detector) fn drop_other_resort(&mut self, turn: &mut Turn, action: Option<Action>) {
        let standing = self.record.rules.iter().position(|rule| rule.is_the_resort() && rule.is_wanted());
        if let Some(index) = standing.filter(|&index| action != Some(self.record.rules[index].flow_spec.action)) {
            self.drop_rule(turn, index, "the group says otherwise now");
        }
    }

    /// All that rules leave is done this with, from now on.
    pub(in crate::detector) fn want_last_resort(
        &mut self,
        turn: &mut Turn,
        action: Action,
        text: String,
        escalated: bool,
    ) {
        let flow_spec = FlowSpec { rule: self.record.target.all(), action };
        let rule = new_rule(turn, self.id_of(turn, &flow_spec, None), flow_spec, 1.0, text.clone());
        let id = self.want(turn, RuleRecord { last_resort: true, escalated, ..rule });
        self.mitigate(turn, &[id], text);
    }

    /// The last resort takes what the rules leave. It is no longer needed once that is under every threshold.
    pub(super) fn measure_last_resort(&mut self, turn: &Turn, history: &History) {
        let (rest, seconds) = history.latest_rest();
        let needed = history.crossing().is_some();
        // What gets here from behind the router is what it let through.
        if turn.settings.tap != Tap::BeforeRouter {
            return;
        }
        let mut taken = Some(rest.total());
        for rule in self.record.rules.iter_mut().filter(|rule| rule.last_resort && rule.is_held()) {
            // Where two stand, the first has it.
            if let Some((packets, bytes)) = taken.take() {
                rule.add_matches(packets, bytes, seconds);
            }
            rule.quiet_ms =
                if needed && !rule.escalated { 0 } else { rule.quiet_ms + (seconds * 1000.0).round() as u64 };
        }
    }

    /// Withdraws what has matched nothing for a while, each by itself, while the attack goes on.
    pub(super) fn drop_idle(&mut self, turn: &mut Turn) {
        if self.under_since.is_some() {
            return;
        }
        for index in 0..self.record.rules.len() {
            if self.is_quiet(turn, index, turn.settings.rule_idle_ms) {
                let rule = &self.record.rules[index];
                let what = if rule.last_resort { "it was not needed" } else { "it matched nothing" };
                let why = format!("{what} for {} s", rule.quiet_ms / 1000);
                self.drop_rule(turn, index, &why);
            }
        }
    }

    /// Where no further rule is allowed, one that matches nothing now is worth less than one for what goes on.
    fn make_room(&mut self, turn: &mut Turn) -> bool {
        let window_ms = turn.settings.window_ms;
        let quiet = (0..self.record.rules.len())
            .filter(|&index| !self.record.rules[index].last_resort && self.is_quiet(turn, index, window_ms));
        let longest = quiet.max_by_key(|&index| self.record.rules[index].quiet_ms);
        if let Some(index) = longest {
            let why = format!("it matched nothing for {} s, and makes room", self.record.rules[index].quiet_ms / 1000);
            self.drop_rule(turn, index, &why);
        }
        longest.is_some()
    }

    /// Only where what a rule takes is seen: behind the router no rule that works matches anything.
    fn is_quiet(&self, turn: &Turn, index: usize, for_ms: u64) -> bool {
        let rule = &self.record.rules[index];
        turn.settings.tap == Tap::BeforeRouter && rule.is_held() && rule.quiet_ms >= for_ms
    }

    fn drop_rule(&mut self, turn: &mut Turn, index: usize, why: &str) {
        let rule = &mut self.record.rules[index];
        rule.withdrawn_ms = Some(turn.now.wall_ms);
        rule.matched = Rate::default();
        rule.idle = !rule.last_resort;
        let what = if rule.last_resort { "last resort" } else { "rule" };
        let text = format!("{what} withdrawn: {}: {why}", rule.flow_spec);
        self.limit_told = false;
        if self.record.wanted_rules().next().is_none() {
            self.record.state = State::Detected;
            self.rules_since = None;
        }
        self.tell(turn, EventKind::RuleWithdrawn, text);
        turn.effects.push(Effect::WantedChanged);
    }
}
