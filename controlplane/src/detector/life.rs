//! The life of one attack, from its detection to its end, in that order; [`vectors`] has what goes on while it is mitigated.
//! Pure.

mod capture;
pub(super) mod order;
mod switches;
mod vectors;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use ipnet::IpNet;
use uuid::{Timestamp, Uuid};

use super::window::History;
use super::{Effect, Event, EventKind, MinedRule, Settings, Tap};
use crate::attack::{Now, Rate, Target};
use crate::group::LastResort;
use crate::mitigation;
use crate::record::{AttackRecord, CaptureRecord, Counts, Crossing, Entry, FlowSpec, RuleRecord, State};

/// After a sample, the next capture waits this long; doubled for each sample in a row that gave nothing new.
const CAPTURE_PAUSE_MS: i64 = 5_000;
/// The pause doubles no more often than this.
const CAPTURE_PAUSE_DOUBLINGS: u32 = 4;
/// After a rule came into force, so many ticks still hold packets that it did not see.
pub(super) const SETTLE_TICKS: u64 = 2;
/// Figures of an attack that nothing else happens to are saved this often.
const SAVE_PERIOD_MS: i64 = 10_000;

/// One look at the clock, the settings, and what comes of it.
pub(super) struct Turn {
    pub(super) now: Now,
    pub(super) settings: Settings,
    pub(super) effects: Vec<Effect>,
}

impl Turn {
    pub(super) fn new(now: Now, settings: &Settings) -> Turn {
        Turn { now, settings: *settings, effects: Vec::new() }
    }

    fn mono(&self) -> i64 {
        self.now.mono_ms as i64
    }

    /// When, on the clock that never jumps, a wall-clock time was (or will be).
    fn mono_of(&self, wall_ms: i64) -> i64 {
        self.mono() - (self.now.wall_ms - wall_ms)
    }

    /// The same for a time in the past: a wall clock that was set back does not move it into the future.
    fn past(&self, wall_ms: i64) -> i64 {
        self.mono_of(wall_ms).min(self.mono())
    }

    pub(super) fn new_id(&self) -> Uuid {
        let wall_ms = self.now.wall_ms.max(0) as u64;
        Uuid::new_v7(Timestamp::from_unix_time(wall_ms / 1000, (wall_ms % 1000) as u32 * 1_000_000, 0, 0))
    }
}

/// An attack alive: its record, and times on the clock that never jumps.
#[derive(Debug)]
pub(super) struct Attack {
    pub(super) record: AttackRecord,
    /// Detected, or come back.
    started: i64,
    /// None while the record's open capture waits for a place.
    capture_since: Option<i64>,
    /// Since when everything is under every threshold.
    under_since: Option<i64>,
    /// Since when engines hold the newest rules; none until they do.
    rules_since: Option<i64>,
    ending_since: i64,
    until: Option<i64>,
    /// No further capture before.
    look_again: i64,
    /// Samples in a row that gave nothing new.
    fruitless: u32,
    /// Whether what the rules leave was over a threshold at the last look.
    rest_over: bool,
    /// Since when no more rules are allowed for what is left.
    limit_since: Option<i64>,
    /// It is known that no more rules are allowed, and nothing is done about it.
    limit_told: bool,
    saved: i64,
    measured: i64,
}

// Detected.
impl Attack {
    fn new(turn: &Turn, record: AttackRecord) -> Attack {
        let now = turn.mono();
        Attack {
            record,
            started: now,
            capture_since: None,
            under_since: None,
            rules_since: None,
            ending_since: now,
            until: None,
            look_again: now,
            fruitless: 0,
            rest_over: false,
            limit_since: None,
            limit_told: false,
            saved: now,
            measured: now,
        }
    }

    fn blank(turn: &Turn, target: Target, group: &str, by: &str) -> Attack {
        let mut record = AttackRecord::new(turn.new_id(), target, group, by, turn.now.wall_ms);
        record.ban_time_ms = turn.settings.ban_time_ms;
        Attack::new(turn, record)
    }

    /// A threshold was crossed. On a target that is `whitelisted`, the attack is followed, and never captured: no sample, so
    /// no rule.
    pub(super) fn detect(
        turn: &mut Turn,
        (target, group, whitelisted): (Target, &str, Option<IpNet>),
        crossing: Crossing,
        history: &History,
    ) -> Attack {
        let mut attack = Attack::blank(turn, target, group, "threshold");
        attack.record.crossing = Some(crossing);
        attack.record.kinds = history.kinds(crossing.metric);
        attack.record.whitelisted = whitelisted;
        attack.measure(turn, history);
        attack.record.initial_pps = attack.record.current.total.pps;
        let mut text = format!("attack on {target}: {crossing}");
        if history.own_crossing().is_none() {
            attack.record.note = format!("the threshold is on all of group {group} together");
            text = format!("{text}; {}", attack.record.note);
        }
        if let Some(network) = whitelisted {
            attack.record.note = format!("nothing is done about it: {network} is in whitelist.networks");
            text = format!("{text}; {}", attack.record.note);
        }
        attack.want_capture(turn);
        attack.tell(turn, EventKind::Detected, text);
        attack
    }

    /// A person says so. The capture opens with the next tick.
    pub(super) fn by_hand(
        turn: &mut Turn,
        target: Target,
        group: &str,
        seconds: u64,
        reason: &str,
        by: &str,
    ) -> Attack {
        let mut attack = Attack::blank(turn, target, group, by);
        attack.want_capture(turn);
        attack.ban(turn, seconds, reason, by);
        attack
    }

    /// A person wants this attack to be held for some time, or, if `seconds` is 0, until it ends by itself.
    pub(super) fn ban(&mut self, turn: &mut Turn, seconds: u64, reason: &str, by: &str) {
        self.last_for(turn, seconds);
        self.record.note = format!("ban by {by}: {reason}");
        let text = format!("{} banned by {by}: {reason}", self.record.target);
        if self.record.state == State::Ending {
            self.come_back(turn, text);
        } else {
            self.tell(turn, EventKind::Detected, text);
        }
    }

    /// Until then, or (0) without a time.
    fn last_for(&mut self, turn: &Turn, seconds: u64) {
        let length = i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
        self.until = (seconds > 0).then(|| turn.mono() + length);
        self.record.until_ms = (seconds > 0).then(|| turn.now.wall_ms + length);
    }

    /// Goes on where the record says. What a capture held is lost, so it starts anew.
    pub(super) fn restore(turn: &Turn, record: AttackRecord) -> Attack {
        let mut attack = Attack::new(turn, record);
        let record = &attack.record;
        attack.started = turn.past(record.again_ms.unwrap_or(record.detected_ms));
        attack.rules_since = record.held_rules().filter_map(|rule| rule.held_ms).map(|held| turn.past(held)).max();
        attack.ending_since = turn.past(record.ending_ms.unwrap_or(turn.now.wall_ms));
        attack.until = record.until_ms.map(|until_ms| turn.mono_of(until_ms));
        attack.look_again = turn.mono() + CAPTURE_PAUSE_MS;
        attack
    }

    /// One tick of life.
    pub(super) fn live(&mut self, turn: &mut Turn, history: &History, last_resort: LastResort) {
        self.measure(turn, history);
        match self.record.state {
            State::Detected | State::Mitigating => self.live_on(turn, history, last_resort),
            State::Ending => match history.crossing() {
                Some((metric, threshold, measured)) => {
                    let crossing = Crossing { metric, threshold, measured };
                    self.record.kinds = history.kinds(metric);
                    self.come_back(turn, format!("attack on {} is back: {crossing}", self.record.target));
                }
                None if turn.mono() - self.ending_since >= turn.settings.probation_ms as i64 => self.close(turn),
                None => (),
            },
            State::Ended | State::FalsePositive => (),
        }
        if turn.mono() - self.saved >= SAVE_PERIOD_MS {
            self.save(turn);
        }
    }

    fn live_on(&mut self, turn: &mut Turn, history: &History, last_resort: LastResort) {
        if self.record.capture_is_open() {
            let timeout = turn.settings.capture_timeout_ms as i64;
            if self.capture_since.is_some_and(|since| turn.mono() - since >= timeout) {
                self.orphan(turn);
            }
        }
        if !self.record.state.is_alive() {
            return;
        }
        match self.why_over(turn) {
            Some(why) => self.end(turn, &why),
            None => {
                self.learn_kinds(turn, history);
                self.measure_last_resort(turn, history);
                self.drop_idle(turn);
                self.look_for_more(turn, history, last_resort);
            }
        }
    }

    fn measure(&mut self, turn: &Turn, history: &History) {
        self.record.current = history.all_rates();
        self.record.rest = history.rest_rates();
        self.record.peak = self.record.peak.max(&self.record.current);
        if self.record.state != State::Ending {
            self.record.add_to_mean((turn.mono() - self.measured).max(0) as u64);
        }
        self.measured = turn.mono();
        if history.is_over() {
            self.under_since = None;
        } else {
            self.under_since.get_or_insert(turn.mono());
        }
    }
}

// Capturing, and what comes of the sample.
impl Attack {
    /// So many packets are in the capture now. A full one goes to the miner.
    pub(super) fn captured(&mut self, turn: &mut Turn, counts: Counts) {
        let Some(capture) = self.record.capture.as_mut().filter(|capture| capture.open) else { return };
        if capture.counts.total() >= capture.wanted {
            return;
        }
        capture.counts = counts;
        if counts.total() >= capture.wanted {
            self.record.captures += 1;
            self.tell(turn, EventKind::Captured, format!("{} of {}", in_words(&counts), self.record.target));
            turn.effects.push(Effect::CloseCapture { attack: self.record.id, mine: true });
        }
    }

    /// The capture was not filled in time (or its sample never came back). An attack that never filled one was none.
    fn orphan(&mut self, turn: &mut Turn) {
        let Some(capture) = self.record.capture else { return };
        self.close_capture(turn);
        let seconds = turn.settings.capture_timeout_ms / 1000;
        let CaptureRecord { wanted, counts, .. } = capture;
        self.record.note = if counts.total() >= wanted {
            format!("no answer from the miner within {seconds} s")
        } else {
            let (total, incoming, outgoing) = (counts.total(), counts.incoming, counts.outgoing);
            format!(
                "capture not filled within {seconds} s: it has {total} of {wanted} packets: \
                 {incoming} incoming, {outgoing} outgoing"
            )
        };
        let text = format!("attack on {}: {}", self.record.target, self.record.note);
        let asked_for = self.record.crossing.is_none() || self.until.is_some();
        if self.record.captures == 0 && !asked_for {
            self.record.state = State::FalsePositive;
            self.record.ended_ms = Some(turn.now.wall_ms);
            self.tell(turn, EventKind::FalsePositive, text);
        } else {
            self.pause(turn);
            self.tell(turn, EventKind::Alarm, text);
        }
    }

    /// The miner's answer. `taken` finds the id under which another attack wants the same rule already.
    pub(super) fn mined(
        &mut self,
        turn: &mut Turn,
        mined: Vec<MinedRule>,
        note: &str,
        taken: impl Fn(&FlowSpec) -> Option<Uuid>,
    ) {
        let Some(capture) = self.record.capture.as_mut().filter(|capture| capture.open) else { return };
        capture.open = false;
        self.capture_since = None;
        let mut new = Vec::new();
        let (mut refused, mut too_many) = (0, 0);
        for rule in mined {
            if !mitigation::within(&self.record.target, &rule.rule) {
                refused += 1;
            } else if self.record.wanted_rules().any(|known| known.flow_spec.rule == rule.rule) {
                continue;
            } else if !rule.last_resort && self.vectors() >= turn.settings.limits.rules_per_target {
                too_many += 1;
            } else {
                let flow_spec = FlowSpec { rule: rule.rule, action: rule.action };
                let id = self.id_of(turn, &flow_spec, taken(&flow_spec));
                let record = new_rule(turn, id, flow_spec, rule.coverage, rule.reason);
                new.push(
                    self.want(turn, RuleRecord { mined: Some(rule.mined), last_resort: rule.last_resort, ..record }),
                );
            }
        }
        if refused > 0 {
            let text = format!("{refused} mined rules reach beyond {} and are refused", self.record.target);
            self.tell(turn, EventKind::Alarm, text);
        }
        if too_many > 0 {
            let text = format!("{too_many} mined rules are over the limit of rules for {}", self.record.target);
            self.tell(turn, EventKind::Alarm, text);
        }
        if !new.is_empty() {
            self.fruitless = 0;
            self.pause(turn);
            self.record.note = note.into();
            self.mitigate(turn, &new, format!("attack on {} is being mitigated", self.record.target));
        } else {
            self.fruitless += 1;
            self.pause(turn);
            self.record.note = if note.is_empty() { "the sample gave no new rule".into() } else { note.into() };
            self.save(turn);
        }
    }

    fn pause(&mut self, turn: &Turn) {
        self.look_again = turn.mono() + (CAPTURE_PAUSE_MS << self.fruitless.min(CAPTURE_PAUSE_DOUBLINGS));
    }
}

// Mitigating.
impl Attack {
    /// These rules are wanted from now on.
    fn mitigate(&mut self, turn: &mut Turn, new: &[Uuid], text: String) {
        if self.record.state != State::Mitigating {
            self.record.state = State::Mitigating;
            self.record.mitigating_ms = Some(turn.now.wall_ms);
            self.tell(turn, EventKind::Mitigating, text);
        }
        for index in 0..self.record.rules.len() {
            let rule = &self.record.rules[index];
            if new.contains(&rule.id) {
                let why = if rule.mined.is_some() { format!("; {}", rule.reason) } else { String::new() };
                let text = format!("rule wanted: {}{why}", rule.flow_spec);
                self.tell(turn, EventKind::RuleWanted, text);
            }
        }
        turn.effects.push(Effect::WantedChanged);
    }

    /// These rules, of all attacks, are what engines hold now. Whether any of its own is new among them.
    pub(super) fn held(&mut self, turn: &mut Turn, held: &HashSet<Uuid>) -> bool {
        let mut is_new = false;
        for index in 0..self.record.rules.len() {
            let rule = &mut self.record.rules[index];
            let is_held = held.contains(&rule.id);
            if !rule.is_wanted() || rule.is_held() == is_held {
                continue;
            }
            rule.held_ms = is_held.then_some(turn.now.wall_ms);
            let wanted = turn.past(rule.wanted_ms);
            let flow_spec = rule.flow_spec.to_string();
            if is_held {
                is_new = true;
                // One that an engine lost and has again is not a newer one.
                if self.rules_since.is_none_or(|since| since < wanted) {
                    self.rules_since = Some(turn.mono());
                }
                self.look_again = turn.mono() + (SETTLE_TICKS * turn.settings.check_period_ms) as i64;
                self.tell(turn, EventKind::RuleHeld, format!("rule held: {flow_spec}"));
            } else {
                self.tell(turn, EventKind::Alarm, format!("no engine holds the rule any more: {flow_spec}"));
            }
        }
        is_new
    }

    /// These rules, of all attacks, are what engines refuse now, and why.
    pub(super) fn refused(&mut self, turn: &mut Turn, refused: &BTreeMap<Uuid, String>) {
        for index in 0..self.record.rules.len() {
            let rule = &mut self.record.rules[index];
            let why = refused.get(&rule.id);
            if !rule.is_wanted() || rule.refused.as_ref() == why {
                continue;
            }
            rule.refused = why.cloned();
            let text = why.map(|why| format!("rule refused: {}: {why}", rule.flow_spec));
            match text {
                Some(text) => self.tell(turn, EventKind::Alarm, text),
                None => drop(self.save(turn)),
            }
        }
    }

    /// What a rule matched within `seconds`.
    pub(super) fn rule_matched(&mut self, rule: Uuid, packets: u64, bytes: u64, seconds: f64) {
        if let Some(rule) = self.record.rules.iter_mut().find(|known| known.id == rule && known.is_wanted()) {
            rule.add_matches(packets, bytes, seconds);
            rule.quiet_ms = if packets > 0 { 0 } else { rule.quiet_ms + (seconds * 1000.0).round() as u64 };
        }
    }
}

// Ending, and coming back.
impl Attack {
    /// Why it is time to withdraw everything; none while it is not.
    fn why_over(&self, turn: &Turn) -> Option<String> {
        let now = turn.mono();
        let ban_time = self.record.ban_time_ms as i64;
        let seconds = self.record.ban_time_ms / 1000;
        if let Some(until) = self.until {
            return (now >= until).then(|| "the time asked for is over".into());
        }
        if !turn.settings.unban_only_if_attack_finished {
            return (now - self.started >= ban_time).then(|| format!("{seconds} s since its start"));
        }
        // Whether this was an attack at all is for the first capture to say.
        if self.record.state == State::Detected && self.has_open_capture() {
            return None;
        }
        match (turn.settings.tap, self.rules_since) {
            (Tap::BehindRouter, Some(since)) => {
                (now - since >= ban_time).then(|| format!("{seconds} s since its rules went out"))
            }
            _ => {
                let since = self.under_since?;
                (now - since >= ban_time).then(|| format!("under every threshold for {seconds} s"))
            }
        }
    }

    fn end(&mut self, turn: &mut Turn, why: &str) {
        self.record.state = State::Ending;
        self.record.ending_ms = Some(turn.now.wall_ms);
        self.record.until_ms = None;
        self.until = None;
        self.ending_since = turn.mono();
        self.close_capture(turn);
        self.withdraw(turn);
        let text = format!("attack on {} is ending: {why}", self.record.target);
        self.tell(turn, EventKind::Ending, text);
    }

    fn withdraw(&mut self, turn: &mut Turn) {
        self.rules_since = None;
        if self.record.wanted_rules().next().is_none() {
            return;
        }
        for index in 0..self.record.rules.len() {
            let rule = &mut self.record.rules[index];
            if rule.is_wanted() {
                rule.withdrawn_ms = Some(turn.now.wall_ms);
                rule.matched = Rate::default();
                let text = format!("rule withdrawn: {}", rule.flow_spec);
                self.tell(turn, EventKind::RuleWithdrawn, text);
            }
        }
        turn.effects.push(Effect::WantedChanged);
    }

    /// Back within the probation: the same rules at once, and for longer. Without any, a new capture.
    fn come_back(&mut self, turn: &mut Turn, text: String) {
        let longer = self.record.ban_time_ms.saturating_mul(2).min(turn.settings.ban_time_max_ms);
        self.record.ban_time_ms = self.record.ban_time_ms.max(longer);
        self.record.again_ms = Some(turn.now.wall_ms);
        self.record.initial_pps = self.record.current.total.pps;
        self.started = turn.mono();
        self.under_since = None;
        self.rest_over = true;
        let ending_ms = self.record.ending_ms;
        let mut back = Vec::new();
        for rule in self.record.rules.iter_mut().filter(|rule| rule.withdrawn_ms == ending_ms && !rule.idle) {
            rule.want_again(turn.now.wall_ms);
            back.push(rule.id);
        }
        if !back.is_empty() {
            self.fruitless = 0;
            self.pause(turn);
            self.mitigate(turn, &back, text);
        } else if !self.bring_back(turn) {
            self.record.state = State::Detected;
            self.want_capture(turn);
            self.tell(turn, EventKind::Detected, text);
        }
    }

    /// The probation is over.
    fn close(&mut self, turn: &mut Turn) {
        self.record.state = State::Ended;
        self.record.ended_ms = Some(turn.now.wall_ms);
        let text = format!("attack on {} is over", self.record.target);
        self.tell(turn, EventKind::Ended, text);
    }

    /// A person ends it at once, without probation.
    pub(super) fn unban(&mut self, turn: &mut Turn, why: &str) {
        self.record.note = why.into();
        if self.record.state != State::Ending {
            self.end(turn, why);
        }
        self.close(turn);
    }
}

// What others learn of it.
impl Attack {
    pub(super) fn save(&mut self, turn: &mut Turn) -> Arc<AttackRecord> {
        let record = Arc::new(self.record.clone());
        turn.effects.push(Effect::Save(Arc::clone(&record)));
        self.saved = turn.mono();
        record
    }

    /// Tells what happened, once it is on its way to the disk.
    pub(super) fn tell(&mut self, turn: &mut Turn, kind: EventKind, text: String) {
        self.record.note_down(Entry { time_ms: turn.now.wall_ms, kind: kind.as_str().into(), text: text.clone() });
        let record = self.save(turn);
        turn.effects.push(Effect::Event(Event { time_ms: turn.now.wall_ms, kind, attack: Some(record), text }));
    }
}

fn new_rule(turn: &Turn, id: Uuid, flow_spec: FlowSpec, coverage: f64, reason: String) -> RuleRecord {
    RuleRecord {
        id,
        flow_spec,
        coverage,
        mined: None,
        reason,
        wanted_ms: turn.now.wall_ms,
        held_ms: None,
        withdrawn_ms: None,
        last_resort: false,
        escalated: false,
        engines: Vec::new(),
        suspected: Vec::new(),
        idle: false,
        quiet_ms: 0,
        refused: None,
        matched_packets: 0,
        matched_bytes: 0,
        matched: Rate::default(),
    }
}

fn in_words(counts: &Counts) -> String {
    format!("captured {} packets, {} incoming and {} outgoing,", counts.total(), counts.incoming, counts.outgoing)
}
