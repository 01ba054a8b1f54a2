//! Rates and thresholds to attacks: the one state machine of an attack's life. Pure: time is an argument, and whatever
//! is to be done comes back as [`Effect`]s, to be carried out in their order. [`window`] has the means, [`detect`] who
//! gets an attack, [`life`] the states.

mod by_hand;
mod detect;
mod engines;
mod escalation;
mod life;
#[cfg(test)]
mod properties;
mod reload;
#[cfg(test)]
mod tests;
mod window;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use dataplane::rule::{Action, FlowRule};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::attack::{Kind, Now, Target, Thresholds, Volumes};
use crate::group::LastResort;
use crate::mitigation::Limits;
use crate::record::{AttackRecord, Counts, FlowSpec, MinedRecord};
use crate::whitelist::Whitelist;
pub use life::order::Wish;
use life::{Attack, Turn};
pub use reload::Place;
use window::History;

/// Most targets without an attack that are followed at once; where there are more, those over their threshold the most.
const FOLLOWED_MAX: usize = 4096;
/// What does not fit is counted always, and told no more often than this.
const ALARM_PERIOD_MS: u64 = 60_000;

/// Where the mirrored traffic is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tap {
    /// Before the router that filters: an attack is seen until it stops.
    BeforeRouter,
    /// Behind it: what a rule removes is not seen, so rules are lifted after their time to find out.
    BehindRouter,
}

/// The configuration of the detector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Thresholds are on the mean over this.
    pub window_ms: u64,
    /// From tick to tick, nominally.
    pub check_period_ms: u64,
    /// Packets in a capture.
    pub capture_packets: usize,
    /// A capture that is not full by then is an orphan.
    pub capture_timeout_ms: u64,
    /// Most captures open at once.
    pub captures_max: usize,
    /// Whether a capture keeps only packets of the kind and direction that crossed.
    pub threshold_specific_ban_details: bool,
    /// How long rules stay after the attack (before the router) or in all (behind it).
    pub ban_time_ms: u64,
    /// The ban time doubles up to this.
    pub ban_time_max_ms: u64,
    /// A rule that matches nothing for so long is withdrawn while its attack lives on; only before the router.
    pub rule_idle_ms: u64,
    /// How long the rules of an attack that ended are kept in mind.
    pub probation_ms: u64,
    /// If false, rules are lifted `ban_time_ms` after the start in any case.
    pub unban_only_if_attack_finished: bool,
    /// Where the traffic is taken.
    pub tap: Tap,
    /// Most attacks alive at once.
    pub attacks_max: usize,
    /// Limits on rules.
    pub limits: Limits,
}

/// What a target received (or sent) within one tick. What lies within it and counts apart ([`Detector::apart`]) is left out.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The target.
    pub target: Target,
    /// Its host group.
    pub group: Arc<str>,
    /// What its group does when no more rules are allowed.
    pub last_resort: LastResort,
    /// The thresholds that hold for it.
    pub thresholds: Thresholds,
    /// How long the tick really was.
    pub seconds: f64,
    /// Everything.
    pub all: Volumes,
    /// What held rules match, its own and those of networks around it.
    pub matched: Volumes,
    /// Of a network whose group is held against thresholds as a whole.
    pub load: Option<Load>,
}

/// What a network's group has as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// The thresholds for the whole group.
    pub thresholds: Thresholds,
    /// All of the group but the network itself, and what counts apart.
    pub others: Volumes,
}

/// What the miner found.
#[derive(Clone, Debug, PartialEq)]
pub struct MinedRule {
    /// What matches.
    pub rule: FlowRule,
    /// What is to be done with it.
    pub action: Action,
    /// Share of the sample that it matches.
    pub coverage: f64,
    /// What it takes of the host's own traffic, and the next best.
    pub mined: MinedRecord,
    /// Why this rule, in words.
    pub reason: String,
    /// It takes all that others leave, since nothing tells it from the target's own traffic: a last resort.
    pub last_resort: bool,
}

/// Asks the packet path for packets of a target, both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureRequest {
    /// For this attack.
    pub attack: Uuid,
    /// The target.
    pub target: Target,
    /// How many packets.
    pub wanted: usize,
    /// One of so many packets is taken, so that the capture spans more than one burst.
    pub stride: u32,
    /// Only packets of this kind, in the attack's direction; none: all, in both.
    pub only: Option<Kind>,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// An attack was detected, or ordered by hand.
    Detected,
    /// Its capture waits for a place.
    Waiting,
    /// Its capture is full.
    Captured,
    /// Its first rules are wanted, or wanted again.
    Mitigating,
    /// A rule is wanted.
    RuleWanted,
    /// An engine holds it.
    RuleHeld,
    /// It is wanted no more.
    RuleWithdrawn,
    /// The attack is ending: its rules are lifted.
    Ending,
    /// It is over.
    Ended,
    /// It was none.
    FalsePositive,
    /// A person paused all actions.
    Paused,
    /// Actions go on.
    Resumed,
    /// An operator should look.
    Alarm,
    /// What an alarm said is over.
    Recovered,
    /// The configuration changed, and the attack with it.
    Changed,
    /// Something became of a switch of a MITIGATOR that the attack needs.
    Switched,
    /// A script was told of the attack; or a webhook was not.
    Notified,
}

impl EventKind {
    /// The word for clients.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Detected => "detected",
            EventKind::Waiting => "waiting",
            EventKind::Captured => "captured",
            EventKind::Mitigating => "mitigating",
            EventKind::RuleWanted => "rule_wanted",
            EventKind::RuleHeld => "rule_held",
            EventKind::RuleWithdrawn => "rule_withdrawn",
            EventKind::Ending => "ending",
            EventKind::Ended => "ended",
            EventKind::FalsePositive => "false_positive",
            EventKind::Paused => "paused",
            EventKind::Resumed => "resumed",
            EventKind::Alarm => "alarm",
            EventKind::Recovered => "recovered",
            EventKind::Changed => "changed",
            EventKind::Switched => "switched",
            EventKind::Notified => "notified",
        }
    }
}

/// Something that people and scripts are told.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When, wall clock.
    pub time_ms: i64,
    /// What about.
    pub kind: EventKind,
    /// The attack as it stands after it; none for what is about no attack.
    pub attack: Option<Arc<AttackRecord>>,
    /// One line for people.
    pub text: String,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Open a capture; replaces one of the same attack.
    OpenCapture(CaptureRequest),
    /// Close it. If `mine`, what it holds goes to the miner, whose answer comes back by [`Detector::sample_ready`].
    CloseCapture {
        /// The attack it is for.
        attack: Uuid,
        /// Whether the sample is wanted.
        mine: bool,
    },
    /// Write the record to disk.
    Save(Arc<AttackRecord>),
    /// Tell. Follows the `Save` of the same record.
    Event(Event),
    /// The rules asked for changed: plan anew.
    WantedChanged,
}

/// What did not fit, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Targets that were not followed any more, or not at all, since there were too many.
    pub followed: u64,
    /// Crossings, tick by tick, that opened no attack since too many were alive.
    pub attacks: u64,
}

/// Why an attack cannot be opened by hand.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// Too many are alive.
    #[error("{0} attacks are alive, and no more are allowed (detection.attacks_at_once)")]
    Full(usize),
    /// Nothing may be done about the target.
    #[error("{target} is not banned: {network} is in whitelist.networks")]
    Whitelisted {
        /// The target.
        target: Target,
        /// The network around it.
        network: IpNet,
    },
    /// Too many rules by hand.
    #[error("{0} rules by hand are wanted, and no more are allowed (detection.rules_in_all)")]
    TooManyOrders(usize),
    /// A router holds a rule once.
    #[error("rule {0} does otherwise with the same packets: remove it first")]
    OtherAction(Uuid),
}

#[derive(Debug)]
struct Followed {
    history: History,
    group: Arc<str>,
    last_resort: LastResort,
    // The tick that was last put into the history.
    tick: u64,
    // What comes up to then is not counted as rest: rules for it, or for a network around it, begin to be told apart.
    settled_ms: u64,
    // Whether it is no part of the networks around it, nor of its group.
    apart: bool,
    attack: Option<Attack>,
}

/// The detector.
#[derive(Debug)]
pub struct Detector {
    settings: Settings,
    whitelist: Arc<Whitelist>,
    // In order, so that the same input gives the same output.
    followed: BTreeMap<Target, Followed>,
    targets: HashMap<Uuid, Target>,
    // Rules by hand.
    orders: BTreeMap<Uuid, Attack>,
    ticks: u64,
    lost: Lost,
    alarmed_ms: Option<u64>,
}

impl Detector {
    /// A detector that knows of no attack.
    pub fn new(settings: Settings, whitelist: Arc<Whitelist>) -> Detector {
        Detector {
            settings,
            whitelist,
            followed: BTreeMap::new(),
            targets: HashMap::new(),
            orders: BTreeMap::new(),
            ticks: 0,
            lost: Lost::default(),
            alarmed_ms: None,
        }
    }

    /// Takes up the attacks that were alive when the records were written. One whose target is counted no more
    /// (`is_counted`) would look silent for ever, and one whose target is whitelisted now, or no more, may do too much or too
    /// little: it ends, and what goes on crosses anew. Call it before the first tick.
    pub fn restore(
        &mut self,
        now: Now,
        records: Vec<AttackRecord>,
        is_counted: impl Fn(&AttackRecord) -> bool,
    ) -> Vec<Effect> {
        let mut turn = Turn::new(now, &self.settings);
        for record in records.into_iter().filter(|record| record.state.is_alive()) {
            let target = record.target;
            let is_counted = is_counted(&record);
            let mut attack = Attack::restore(&turn, record);
            if !is_counted {
                attack.unban(&mut turn, reload::COUNTED_NO_MORE);
            } else if attack.record.is_order {
                self.orders.insert(attack.record.id, attack);
            } else if attack.record.whitelisted.is_some() != self.whitelisted(&target).is_some() {
                attack.unban(&mut turn, reload::WHITELIST_CHANGED);
            } else if self.attack_on(&target).is_some() {
                attack.unban(&mut turn, "another attack on this target is on record");
            } else {
                self.add(&turn, attack);
            }
        }
        turn.effects
    }

    /// Targets whose traffic each tick must tell, however little; one that is left out had none.
    pub fn followed(&self) -> impl Iterator<Item = Target> + '_ {
        self.followed.keys().copied().chain(self.orders.values().map(|order| order.record.target))
    }

    /// Followed targets that are no part of the networks around them, nor of their group: an attack of their own is what
    /// their traffic counts for.
    pub fn apart(&self) -> impl Iterator<Item = Target> + '_ {
        self.followed.iter().filter(|(_, followed)| followed.apart).map(|(target, _)| *target)
    }

    /// Targets that are over a threshold, or under attack: what they receive is not what they receive in peace.
    pub fn hot(&self) -> impl Iterator<Item = Target> + '_ {
        self.followed.keys().copied()
    }

    /// The attacks alive.
    pub fn attacks(&self) -> impl Iterator<Item = &AttackRecord> + '_ {
        let attacks = self.followed.values().filter_map(|followed| followed.attack.as_ref());
        attacks.chain(self.orders.values()).map(|attack| &attack.record)
    }

    /// How many attacks want a capture that has no place.
    pub fn waiting(&self) -> usize {
        self.attacks().filter(|record| record.capture.is_some_and(|capture| capture.waiting)).count()
    }

    /// What did not fit.
    pub fn lost(&self) -> Lost {
        self.lost
    }

    /// One tick, which really lasted `seconds`: `observed` has every followed target with traffic, and every other whose
    /// rate within this tick was over a threshold.
    pub fn tick(&mut self, now: Now, seconds: f64, observed: &[Observed]) -> Vec<Effect> {
        let mut turn = Turn::new(now, &self.settings);
        self.remember(now, seconds, observed);
        for followed in self.followed.values_mut() {
            if let Some(attack) = &mut followed.attack {
                attack.live(&mut turn, &followed.history, followed.last_resort);
            }
        }
        self.obey(&mut turn, observed);
        self.bury();
        self.detect(&mut turn);
        self.forget(now);
        self.open_captures(&mut turn);
        turn.effects
    }

    /// How many packets the open capture of an attack has so far.
    pub fn captured(&mut self, now: Now, attack: Uuid, counts: Counts) -> Vec<Effect> {
        self.with(now, attack, |turn, attack, _| attack.captured(turn, counts))
    }

    /// The miner's answer to a full capture. `note` says in words why there is no rule, or what is worth knowing.
    pub fn sample_ready(&mut self, now: Now, attack: Uuid, mined: Vec<MinedRule>, note: &str) -> Vec<Effect> {
        let others = self.attacks().filter(|other| other.id != attack).flat_map(|other| &other.rules);
        let others: Vec<(Uuid, FlowSpec)> = others
            .filter(|known| mined.iter().any(|rule| rule.rule == known.flow_spec.rule))
            .map(|known| (known.id, known.flow_spec.clone()))
            .collect();
        let taken = |rule: &FlowSpec| others.iter().find(|(_, known)| known == rule).map(|&(id, _)| id);
        let mut effects = self.with(now, attack, |turn, attack, _| attack.mined(turn, mined, note, taken));
        let mut turn = Turn::new(now, &self.settings);
        self.open_captures(&mut turn);
        effects.extend(turn.effects);
        effects
    }

    /// All rules that engines hold now: what is missing is held no more. From then on what they match counts as matched;
    /// the packet path should know them within a check period ([`AttackRecord::held_rules`]). After a restart, call it
    /// only once the engines have answered.
    pub fn held(&mut self, now: Now, rules: &HashSet<Uuid>) -> Vec<Effect> {
        let mut turn = Turn::new(now, &self.settings);
        let attacks = self.followed.values_mut().filter_map(|followed| followed.attack.as_mut());
        let newly: Vec<Target> = attacks
            .chain(self.orders.values_mut())
            .filter_map(|attack| attack.held(&mut turn, rules).then_some(attack.record.target))
            .collect();
        let settled_ms = self.settled_ms(now);
        for (target, followed) in &mut self.followed {
            if newly.iter().any(|held| held == target || held.is_around(target)) {
                followed.history.forget_rest();
                followed.settled_ms = settled_ms;
            }
        }
        turn.effects
    }

    /// All rules that engines refuse now, with the engine's words: told once, and on record.
    pub fn refused(&mut self, now: Now, rules: &BTreeMap<Uuid, String>) -> Vec<Effect> {
        let mut turn = Turn::new(now, &self.settings);
        let attacks = self.followed.values_mut().filter_map(|followed| followed.attack.as_mut());
        for attack in attacks.chain(self.orders.values_mut()) {
            attack.refused(&mut turn, rules);
        }
        turn.effects
    }

    /// So many of what a held rule matches is of somebody who is known from before the attack.
    pub fn rule_took_known(&mut self, target: &Target, rule: Uuid, packets: u64) {
        let attack = self.followed.get_mut(target).and_then(|followed| followed.attack.as_mut());
        let rules = attack.into_iter().flat_map(|attack| &mut attack.record.rules);
        if let Some(mined) = rules.filter(|known| known.id == rule).find_map(|known| known.mined.as_mut()) {
            mined.known_packets += packets;
        }
    }

    /// What a rule of an attack matched within the last `seconds`.
    pub fn rule_matched(&mut self, attack: Uuid, rule: Uuid, packets: u64, bytes: u64, seconds: f64) {
        let followed = self.targets.get(&attack).and_then(|target| self.followed.get_mut(target));
        let attack_or_order = followed.and_then(|followed| followed.attack.as_mut());
        if let Some(attack) = attack_or_order.or_else(|| self.orders.get_mut(&attack)) {
            attack.rule_matched(rule, packets, bytes, seconds);
        }
    }
}

// The steps of a tick.
impl Detector {
    fn whitelisted(&self, target: &Target) -> Option<IpNet> {
        self.whitelist.network_around(target.prefix)
    }

    fn attack_on(&self, target: &Target) -> Option<&Attack> {
        self.followed.get(target).and_then(|followed| followed.attack.as_ref())
    }

    fn add(&mut self, turn: &Turn, attack: Attack) {
        let target = attack.record.target;
        self.targets.insert(attack.record.id, target);
        let group = Arc::from(attack.record.group.as_str());
        let followed = self.followed.entry(target).or_insert_with(|| Followed {
            history: History::new(turn.settings.window_ms),
            group,
            last_resort: LastResort::Nothing,
            tick: 0,
            settled_ms: 0,
            apart: false,
            attack: None,
        });
        followed.attack = Some(attack);
    }

    fn with(&mut self, now: Now, attack: Uuid, f: impl FnOnce(&mut Turn, &mut Attack, &mut History)) -> Vec<Effect> {
        let mut turn = Turn::new(now, &self.settings);
        let followed = self.targets.get(&attack).and_then(|target| self.followed.get_mut(target));
        if let Some(Followed { history, attack: Some(attack), .. }) = followed {
            f(&mut turn, attack, history);
        }
        turn.effects
    }

    /// Puts the tick into the histories; begins one for each target that is over a threshold now.
    fn remember(&mut self, now: Now, seconds: f64, observed: &[Observed]) {
        self.ticks += 1;
        let mitigated: Vec<Target> = self
            .attacks()
            .filter(|attack| attack.counted_rules().next().is_some())
            .map(|attack| attack.target)
            .collect();
        let settled_ms = self.settled_ms(now);
        for observed in observed {
            let Observed { target, group, last_resort, thresholds, seconds, all, matched, load } = observed;
            let is_told_for_its_group = load.is_some_and(|load| !load.thresholds.is_empty());
            if !self.followed.contains_key(target)
                && !is_told_for_its_group
                && thresholds.worst(all, *seconds).is_none()
            {
                continue;
            }
            let followed = self.followed.entry(*target).or_insert_with(|| Followed {
                history: History::new(self.settings.window_ms),
                group: Arc::clone(group),
                last_resort: *last_resort,
                tick: 0,
                settled_ms: if mitigated.iter().any(|net| net.is_around(target)) { settled_ms } else { 0 },
                apart: false,
                attack: None,
            });
            let settled = followed.settled_ms == 0 || now.mono_ms > followed.settled_ms;
            let rest = if settled { all.less(matched) } else { Volumes::default() };
            followed.history.push(*seconds, *all, rest, *thresholds, *load);
            followed.group = Arc::clone(group);
            followed.last_resort = *last_resort;
            followed.tick = self.ticks;
        }
        for silent in self.followed.values_mut().filter(|followed| followed.tick != self.ticks) {
            silent.history.push_silence(seconds);
        }
    }

    /// When what a rule leaves can be told, if workers get to know it now.
    fn settled_ms(&self, now: Now) -> u64 {
        now.mono_ms + life::SETTLE_TICKS * self.settings.check_period_ms
    }

    /// Opens as many of the captures that are wanted as there are places for: the attack that exceeds its threshold by the
    /// largest factor first; of those that are alike the oldest. One that is open is never displaced.
    fn open_captures(&mut self, turn: &mut Turn) {
        let attacks = || self.followed.values().filter_map(|followed| Some((followed, followed.attack.as_ref()?)));
        let open = attacks().filter(|(_, attack)| attack.has_open_capture()).count();
        let mut waiting: Vec<(f64, i64, Target)> = attacks()
            .filter(|(_, attack)| attack.waits_for_capture())
            .map(|(followed, attack)| (followed.history.factor(), attack.record.detected_ms, attack.record.target))
            .collect();
        waiting.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let room = self.settings.captures_max.saturating_sub(open);
        for (index, (_, _, target)) in waiting.into_iter().enumerate() {
            let Some(Followed { history, attack: Some(attack), .. }) = self.followed.get_mut(&target) else { continue };
            if index < room { attack.open_capture(turn, history) } else { attack.wait_for_capture(turn) }
        }
    }

    /// Lets go of attacks whose life is over.
    fn bury(&mut self) {
        for followed in self.followed.values_mut() {
            if let Some(attack) = followed.attack.take_if(|attack| !attack.record.state.is_alive()) {
                self.targets.remove(&attack.record.id);
            }
        }
    }

    /// Drops histories that no crossing can come of, and the mildest of too many.
    fn forget(&mut self, now: Now) {
        let may_cross = |followed: &Followed| followed.history.is_hot() || now.mono_ms <= followed.settled_ms;
        self.followed.retain(|_, followed| followed.attack.is_some() || may_cross(followed));
        let excess = (self.followed.len() - self.targets.len()).saturating_sub(FOLLOWED_MAX);
        if excess == 0 {
            return;
        }
        let idle = self.followed.iter().filter(|(_, followed)| followed.attack.is_none());
        let mut by_factor: Vec<(f64, Target)> =
            idle.map(|(target, followed)| (followed.history.factor(), *target)).collect();
        by_factor.select_nth_unstable_by(excess - 1, |a, b| a.0.total_cmp(&b.0));
        for (_, target) in &by_factor[..excess] {
            self.followed.remove(target);
        }
        self.lost.followed += excess as u64;
    }

    fn alarm(&mut self, turn: &mut Turn, text: String) {
        let now = turn.now.mono_ms;
        if self.alarmed_ms.is_none_or(|alarmed| now >= alarmed + ALARM_PERIOD_MS) {
            self.alarmed_ms = Some(now);
            let event = Event { time_ms: turn.now.wall_ms, kind: EventKind::Alarm, attack: None, text };
            turn.effects.push(Effect::Event(event));
        }
    }
}
