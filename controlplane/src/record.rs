//! The record of an attack: what people are shown, what the disk keeps, and what a restart goes on from. Values only.

mod notified;
mod switches;

use std::fmt;

use dataplane::rule::{Action, FlowRule};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use uuid::Uuid;

use crate::attack::{Kind, Metric, Rate, Rates, Target};
use crate::rule_json;
use crate::search::BY_HAND;
pub use notified::{NotifiedRecord, NotifiedState};
pub use switches::{SwitchRecord, SwitchState};

/// Where an attack is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A threshold was crossed; a capture is open, or none gave a rule.
    Detected,
    /// Rules are wanted.
    Mitigating,
    /// Everything is withdrawn; the rules are kept in mind for the probation.
    Ending,
    /// Over.
    Ended,
    /// The capture found no attack. Over.
    FalsePositive,
}

impl State {
    /// Whether life goes on from here.
    pub fn is_alive(self) -> bool {
        !matches!(self, State::Ended | State::FalsePositive)
    }

    /// Whether it is neither over nor ending.
    pub fn is_under_way(self) -> bool {
        matches!(self, State::Detected | State::Mitigating)
    }

    /// The word for clients and records.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Detected => "detected",
            State::Mitigating => "mitigating",
            State::Ending => "ending",
            State::Ended => "ended",
            State::FalsePositive => "false_positive",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The threshold that was crossed, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crossing {
    /// Which threshold.
    pub metric: Metric,
    /// Its value, packets or bits a second.
    pub threshold: u64,
    /// The mean over the window.
    pub measured: f64,
}

impl fmt::Display for Crossing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let factor = self.measured / self.threshold as f64;
        write!(f, "{:.0} {}, {factor:.1} times the threshold of {}", self.measured, self.metric, self.threshold)
    }
}

/// Packets in a capture, by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Towards the target.
    pub incoming: usize,
    /// From the target.
    pub outgoing: usize,
}

impl Counts {
    /// Both directions.
    pub fn total(&self) -> usize {
        self.incoming + self.outgoing
    }
}

/// The latest capture of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureRecord {
    /// When it was opened, wall-clock milliseconds.
    pub opened_ms: i64,
    /// How many packets it waits for.
    pub wanted: usize,
    /// How many it holds.
    pub counts: Counts,
    /// Whether its sample is still awaited: it waits for a place, is being filled, or mined.
    pub open: bool,
    /// Whether it waits for a place: too many captures are open.
    #[serde(default)]
    pub waiting: bool,
}

/// A rule and what a router does with what it matches. Its JSON is that of `docs/rules.md`.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowSpec {
    /// What matches.
    pub rule: FlowRule,
    /// What is done with it.
    pub action: Action,
}

impl fmt::Display for FlowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.action, self.rule)
    }
}

impl Serialize for FlowSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        rule_json::to_json(&self.rule, &self.action).serialize(serializer).map_err(ser::Error::custom)
    }
}

impl<'de> Deserialize<'de> for FlowSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FlowSpec, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let (rule, action) = rule_json::from_json(&value).map_err(de::Error::custom)?;
        Ok(FlowSpec { rule, action })
    }
}

/// What a mined rule takes of the host's own traffic, and what would have been the next best.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MinedRecord {
    /// Share of the baseline that it matches; without one what is to be expected of hosts in general.
    pub collateral: f64,
    /// With 95 % confidence it is no more than this; 1 without a baseline.
    pub collateral_at_most: f64,
    /// The next best rule, and why it lost; empty: there was none.
    pub runner_up: String,
    /// Packets that it matched while it was held, from or to somebody whose packets it would have matched in peace: an estimate by
    /// the always-on tap.
    pub known_packets: u64,
}

/// An engine that holds a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineRecord {
    /// The engine's name.
    pub name: String,
    /// Since when, wall-clock milliseconds.
    pub since_ms: i64,
}

/// An engine that holds a rule back for long. Also over a restart: a router is not to fall once more for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspectRecord {
    /// Its name.
    pub engine: String,
    /// When it is tried again.
    pub until_ms: i64,
    /// What fell, and when.
    pub why: String,
}

/// A rule of an attack and what became of it. Times are wall-clock milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleRecord {
    /// UUID v7. Two attacks that want the same rule at the same time share its id.
    pub id: Uuid,
    /// The rule.
    pub flow_spec: FlowSpec,
    /// Share of the sample that it matched.
    pub coverage: f64,
    /// What else the miner knows of it; none for a rule that was not mined.
    #[serde(default)]
    pub mined: Option<MinedRecord>,
    /// Why this rule, in words.
    pub reason: String,
    /// Since when it is wanted.
    pub wanted_ms: i64,
    /// Since when an engine holds it; none while no engine does.
    pub held_ms: Option<i64>,
    /// When it was withdrawn; none while it is wanted.
    pub withdrawn_ms: Option<i64>,
    /// Whether it takes all that the other rules leave, since no more of them are allowed.
    #[serde(default)]
    pub last_resort: bool,
    /// A last resort that came by the second threshold of its group: that decides when it goes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escalated: bool,
    /// The engines that hold it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engines: Vec<EngineRecord>,
    /// The engines that hold it back, since a router's session fell over it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspected: Vec<SuspectRecord>,
    /// Withdrawn since it matched nothing, and kept in mind.
    #[serde(default)]
    pub idle: bool,
    /// For how long it has matched nothing (or, the last resort, was not needed), of the time that this was counted.
    #[serde(default)]
    pub quiet_ms: u64,
    /// Which engine refuses it, and why; none while none does.
    #[serde(default)]
    pub refused: Option<String>,
    /// Packets matched.
    pub matched_packets: u64,
    /// Bytes matched.
    pub matched_bytes: u64,
    /// What it matches now.
    pub matched: Rate,
}

impl RuleRecord {
    /// Whether the attack still asks for this rule.
    pub fn is_wanted(&self) -> bool {
        self.withdrawn_ms.is_none()
    }

    /// Whether it is the last resort of its group, and not one that was mined.
    pub fn is_the_resort(&self) -> bool {
        self.last_resort && self.mined.is_none()
    }

    /// Asks for it once more.
    pub fn want_again(&mut self, now_ms: i64) {
        self.wanted_ms = now_ms;
        (self.held_ms, self.withdrawn_ms) = (None, None);
        (self.idle, self.quiet_ms) = (false, 0);
        self.engines.clear();
    }

    /// So much was matched within `seconds`.
    pub fn add_matches(&mut self, packets: u64, bytes: u64, seconds: f64) {
        self.matched_packets += packets;
        self.matched_bytes += bytes;
        let seconds = seconds.max(1e-6);
        self.matched = Rate { pps: packets as f64 / seconds, bps: bytes as f64 * 8.0 / seconds };
    }

    /// Whether it is in force: only then does what it matches count as matched.
    pub fn is_held(&self) -> bool {
        self.is_wanted() && self.held_ms.is_some()
    }
}

/// An attack from its detection to its end. Times are wall-clock milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttackRecord {
    /// UUID v7.
    pub id: Uuid,
    /// What it is against, and its direction.
    pub target: Target,
    /// Host group of the target.
    pub group: String,
    /// Where it is in its life.
    pub state: State,
    /// What was crossed at the detection; none for an attack by hand.
    pub crossing: Option<Crossing>,
    /// When it was detected.
    pub detected_ms: i64,
    /// When its rules were last put up.
    pub mitigating_ms: Option<i64>,
    /// When it was last found to be ending.
    pub ending_ms: Option<i64>,
    /// When it was over.
    pub ended_ms: Option<i64>,
    /// When it last came back within the probation.
    pub again_ms: Option<i64>,
    /// For how long rules stay; doubled each time the attack comes back.
    pub ban_time_ms: u64,
    /// When a person wants it to end; none: by the same rule as any.
    pub until_ms: Option<i64>,
    /// Packets a second when it was detected, or last came back; 0 for an attack by hand.
    #[serde(default)]
    pub initial_pps: f64,
    /// Everything, now.
    pub current: Rates,
    /// What no held rule matches, now.
    pub rest: Rates,
    /// The highest of `current`, figure by figure.
    pub peak: Rates,
    /// The mean of `current` over `measured_ms`.
    #[serde(default)]
    pub mean: Rates,
    /// How long it was alive without ending; all that `mean` is over.
    #[serde(default)]
    pub measured_ms: u64,
    /// The latest capture.
    pub capture: Option<CaptureRecord>,
    /// How many captures were filled.
    pub captures: u32,
    /// The rules it asked for, in the order of mining.
    pub rules: Vec<RuleRecord>,
    /// Rules, withdrawn long ago, that it had no room for.
    #[serde(default)]
    pub rules_forgotten: u64,
    /// In words: why no rule, who asked for what.
    pub note: String,
    /// "threshold", or the person who asked.
    pub by: String,
    /// The whitelisted network around the target: nothing is done about this attack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whitelisted: Option<IpNet>,
    /// A rule by hand: all that it is about is its one rule, which a person gave.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_order: bool,
    /// What kinds of traffic were over a threshold, the first first; none for an attack by hand.
    #[serde(default)]
    pub kinds: Vec<Kind>,
    /// Switches of a MITIGATOR that it needs, or needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub switches: Vec<SwitchRecord>,
    /// What scripts and webhooks were told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notified: Vec<NotifiedRecord>,
    /// What happened and was done, and what came of it: every state it was in, rules wanted, held and withdrawn.
    #[serde(default)]
    pub journal: Vec<Entry>,
    /// Entries that the journal had no room for.
    #[serde(default)]
    pub journal_lost: u64,
}

/// One line of an attack's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, wall-clock milliseconds.
    pub time_ms: i64,
    /// What about, in the word that events have for it.
    pub kind: String,
    /// One line for people.
    pub text: String,
}

/// Entries that a journal keeps. Of more, the first half and the newest stay: how it began, and how it ended.
const JOURNAL_MAX: usize = 128;

impl AttackRecord {
    /// Of an attack that begins now: nothing is known of it yet, and nothing done.
    pub fn new(id: Uuid, target: Target, group: &str, by: &str, now_ms: i64) -> AttackRecord {
        AttackRecord {
            id,
            target,
            group: group.into(),
            state: State::Detected,
            crossing: None,
            detected_ms: now_ms,
            mitigating_ms: None,
            ending_ms: None,
            ended_ms: None,
            again_ms: None,
            ban_time_ms: 0,
            until_ms: None,
            initial_pps: 0.0,
            current: Rates::default(),
            rest: Rates::default(),
            peak: Rates::default(),
            mean: Rates::default(),
            measured_ms: 0,
            capture: None,
            captures: 0,
            rules: Vec::new(),
            rules_forgotten: 0,
            note: String::new(),
            by: by.into(),
            whitelisted: None,
            is_order: false,
            kinds: Vec::new(),
            switches: Vec::new(),
            notified: Vec::new(),
            journal: Vec::new(),
            journal_lost: 0,
        }
    }

    /// Writes into the journal.
    pub fn note_down(&mut self, entry: Entry) {
        if self.journal.len() >= JOURNAL_MAX {
            self.journal.remove(JOURNAL_MAX / 2);
            self.journal_lost += 1;
        }
        self.journal.push(entry);
    }

    /// What kind of attack it is: the threshold that was crossed, or that a person asked.
    pub fn kind(&self) -> String {
        self.crossing.map_or_else(|| BY_HAND.to_owned(), |crossing| crossing.metric.to_string())
    }

    /// So much time went by with `current` as it is.
    pub fn add_to_mean(&mut self, milliseconds: u64) {
        self.measured_ms += milliseconds;
        if self.measured_ms > 0 {
            self.mean = self.mean.towards(&self.current, milliseconds as f64 / self.measured_ms as f64);
        }
    }

    /// Whether a sample is awaited.
    pub fn capture_is_open(&self) -> bool {
        self.capture.is_some_and(|capture| capture.open)
    }

    /// The rules that it asks for now.
    pub fn wanted_rules(&self) -> impl Iterator<Item = &RuleRecord> {
        self.rules.iter().filter(|rule| rule.is_wanted())
    }

    /// The rules in force whose matches the packet path counts. What the last resort takes is what these leave.
    pub fn counted_rules(&self) -> impl Iterator<Item = &RuleRecord> {
        self.held_rules().filter(|rule| !rule.last_resort)
    }

    /// The rules in force.
    pub fn held_rules(&self) -> impl Iterator<Item = &RuleRecord> {
        self.rules.iter().filter(|rule| rule.is_held())
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! Records for the tests of several rooms.

    use super::*;
    use crate::attack::Direction;

    /// An attack on a prefix in some state, without rules.
    pub(crate) fn attack(prefix: &str, state: State) -> AttackRecord {
        let target = Target { prefix: prefix.parse().unwrap(), direction: Direction::Incoming };
        AttackRecord {
            state,
            crossing: Some(Crossing { metric: Metric::ALL[6], threshold: 1000, measured: 1500.0 }),
            ban_time_ms: 60_000,
            kinds: vec![Kind::Udp],
            ..AttackRecord::new(Uuid::now_v7(), target, "web", "threshold", 1_000)
        }
    }

    /// A rule that is wanted since `wanted_ms` and held by no engine.
    pub(crate) fn rule(destination: &str, source: Option<&str>, wanted_ms: i64) -> RuleRecord {
        let rule = FlowRule {
            destination: Some(destination.parse().unwrap()),
            source: source.map(|source| source.parse().unwrap()),
            ..FlowRule::default()
        };
        RuleRecord {
            id: Uuid::now_v7(),
            flow_spec: FlowSpec { rule, action: Action::Discard },
            coverage: 0.98,
            mined: None,
            reason: "the shortest that covers most".into(),
            wanted_ms,
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let mut record = samples::attack("2001:db8::1/128", State::Mitigating);
        record.rules = vec![samples::rule("2001:db8::1/128", Some("2001:db8:1::/48"), 7); 3];
        record.rules[1].flow_spec.rule.source_ports = [(53, 53), (123, 130)].into_iter().collect();
        record.rules[1].flow_spec.action = Action::RateBps(8_000_000);
        record.rules[2].flow_spec.rule.tcp_flags = vec![dataplane::rule::Bits { set: 0x02, clear: 0x10 }];
        record.rules[2].flow_spec.action = Action::RatePps(100);
        record.rules[0].held_ms = Some(9);
        record.capture = Some(CaptureRecord {
            opened_ms: 2,
            wanted: 500,
            counts: Counts { incoming: 2, outgoing: 1 },
            open: false,
            waiting: false,
        });
        let json = serde_json::to_string(&record).unwrap();
        assert!(json.contains("\"state\":\"mitigating\""), "{json}");
        assert_eq!(serde_json::from_str::<AttackRecord>(&json).unwrap(), record);
    }

    #[test]
    fn a_journal_is_bounded_and_keeps_both_ends() {
        let mut record = samples::attack("198.18.0.1/32", State::Detected);
        let entry = |time_ms| Entry { time_ms, kind: "rule_wanted".into(), text: String::new() };
        (0..1_000).for_each(|time_ms| record.note_down(entry(time_ms)));
        let times: Vec<i64> = record.journal.iter().map(|entry| entry.time_ms).collect();
        assert_eq!(times, (0..64).chain(936..1_000).collect::<Vec<i64>>());
        assert_eq!(record.journal_lost, 872);
    }

    #[test]
    fn the_mean_is_weighted_by_time() {
        let mut record = samples::attack("198.18.0.1/32", State::Detected);
        for (pps, milliseconds) in [(100.0, 300), (500.0, 100), (0.0, 0)] {
            record.current.udp = Rate { pps, bps: pps * 8.0 };
            record.add_to_mean(milliseconds);
        }
        assert_eq!((record.mean.udp, record.measured_ms), (Rate { pps: 200.0, bps: 1_600.0 }, 400));
        assert_eq!(record.mean.tcp, Rate::default());
    }

    #[test]
    fn a_record_of_an_earlier_version_is_read() {
        let mut record = samples::attack("198.18.0.1/32", State::Detected);
        record.kinds.clear();
        let mut json = serde_json::to_value(&record).unwrap();
        for key in ["initial_pps", "mean", "measured_ms", "kinds", "journal", "journal_lost"] {
            json.as_object_mut().unwrap().remove(key).expect(key);
        }
        assert_eq!(serde_json::from_value::<AttackRecord>(json).unwrap(), record);
    }
}
