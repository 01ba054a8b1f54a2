//! What persons order: bans, rules, and the pause of all actions; each goes onto the list of who did what.

use std::time::{Duration, Instant};

use dataplane::rule::FlowRule;
use ipnet::IpNet;
use tracing::warn;
use uuid::Uuid;

use super::{Answered, Clock, Control};
use crate::attack::{Direction, Target, name};
use crate::by_hand::{Act, Pause};
use crate::detector::{Event, EventKind, Wish};
use crate::meter::Map;
use crate::record::{AttackRecord, FlowSpec};
use crate::search::begins;

/// While all actions are paused, the log says so this often.
const REMINDER: Duration = Duration::from_secs(60);

/// A pause, as the control thread keeps it.
#[derive(Debug)]
pub(super) struct Paused {
    pub(super) pause: Pause,
    reminded: Instant,
}

impl From<Pause> for Paused {
    fn from(pause: Pause) -> Paused {
        Paused { pause, reminded: Instant::now() }
    }
}

/// Who orders something, for how long (0: no time given), and why.
#[derive(Clone, Debug)]
pub struct Order {
    /// For how long.
    pub seconds: u64,
    /// Why, in the person's words.
    pub reason: String,
    /// Who.
    pub by: String,
}

/// The machine's time: also where no daemon runs.
fn wall_ms() -> i64 {
    Clock::Machine(Instant::now()).wall_ms()
}

impl Order {
    fn wish(&self) -> Wish<'_> {
        Wish { seconds: self.seconds, reason: &self.reason, by: &self.by }
    }

    /// What it is on the list of who did what, about all actions.
    pub fn act(&self, act: &str) -> Act {
        let text = format!("all actions{}", self.words());
        Act { time_ms: wall_ms(), by: self.by.clone(), act: act.to_owned(), text }
    }

    /// The pause in which engines have nothing of ours, from now on.
    pub fn withdrawal(&self) -> Pause {
        let (by, reason) = (self.by.clone(), self.reason.clone());
        Pause { since_ms: wall_ms(), until_ms: None, by, reason, withdrawn: true }
    }

    /// The time and the reason, for the list of who did what.
    fn words(&self) -> String {
        let time = if self.seconds > 0 { format!(" for {} s", self.seconds) } else { String::new() };
        if self.reason.is_empty() { time } else { format!("{time}: {}", self.reason) }
    }
}

impl Control {
    pub(super) fn ban(&mut self, target: Target, order: &Order) -> Result<Uuid, String> {
        let host = target.prefix.addr();
        if self.meter.map().network(host).is_none() {
            return Err(format!("{} is in no protected network", name(target.prefix)));
        }
        let (group, Wish { seconds, reason, by }) = (self.group_of(host), order.wish());
        let banned = self.detector.ban(self.now(), target, &group, seconds, reason, by);
        let (id, effects) = banned.map_err(|error| error.to_string())?;
        self.carry_out(effects);
        self.note_down(&order.by, "ban", format!("{target}{}", order.words()), None);
        Ok(id)
    }

    pub(super) fn unban(&mut self, host: IpNet, order: &Order) -> Vec<Uuid> {
        let (ids, effects) = self.detector.unban(self.now(), host, &order.reason, &order.by);
        self.carry_out(effects);
        if !ids.is_empty() {
            self.note_down(&order.by, "unban", format!("{}{}", name(host), order.words()), None);
        }
        ids
    }

    /// A rule by hand, as the attack on record that it is.
    pub(super) fn add_rule(&mut self, flow_spec: FlowSpec, order: &Order) -> Result<Answered, String> {
        let map = self.meter.map();
        let target = target_of(&flow_spec.rule, map)?;
        let is_host = map.host(target.prefix.addr()) == target.prefix;
        // A host's rule says so by itself; a network's would filter hosts that nothing may be done about.
        if let Some(part) = map.monitored_part(target.prefix).filter(|_| !is_host) {
            return Err(format!("no such rule: nothing is announced for {part}, its host group is monitor_only"));
        }
        if let Some((key, network)) = self.whitelist.against(&target, &flow_spec.rule) {
            return Err(format!("no such rule: {network} is in whitelist.{key}"));
        }
        let route = FlowRule { destination: flow_spec.rule.destination, ..FlowRule::default() };
        if flow_spec.action.is_route() && flow_spec.rule != route {
            return Err(format!("no such rule: a {} has a destination_prefix and nothing else", flow_spec.action));
        }
        let unfit = map.profile(target.prefix).check(&flow_spec.rule, &flow_spec.action).err();
        if let Some(why) = unfit {
            return Err(why.to_string());
        }
        let group = self.group_of(target.prefix.addr());
        let text = format!("{flow_spec}{}", order.words());
        let ordered = self.detector.order(self.now(), (target, &group), flow_spec, order.wish());
        let (id, effects) = ordered.map_err(|error| error.to_string())?;
        self.carry_out(effects);
        self.note_down(&order.by, "rule_add", text, None);
        let record = self.detector.attacks().find(|record| record.id == id).cloned();
        record.map(|record| self.answered(record.into())).ok_or_else(|| "the rule is over already".to_owned())
    }

    /// Takes the rule by hand back whose id, or whose attack's id, begins so. Gives its attack.
    pub(super) fn remove_rule(&mut self, id: &str, order: &Order) -> Result<AttackRecord, String> {
        let has =
            |record: &&AttackRecord| begins(record.id, id) || record.wanted_rules().any(|rule| begins(rule.id, id));
        let found: Vec<&AttackRecord> = self.detector.attacks().filter(has).collect();
        let orders: Vec<&AttackRecord> = found.iter().copied().filter(|record| record.is_order).collect();
        let record = match (orders.as_slice(), found.as_slice()) {
            ([one], _) => (*one).clone(),
            ([], []) => return Err(format!("no rule {id} is wanted; `leveectl rules` lists them")),
            ([], [mined, ..]) => {
                let host = name(mined.target.prefix);
                return Err(format!("the rule {id} was mined and goes with its attack: `leveectl unban {host}`"));
            }
            (many, _) => return Err(format!("{} rules by hand begin with {id}: give more of the id", many.len())),
        };
        let (_, effects) = self.detector.take_back(self.now(), record.id, &order.reason, &order.by);
        self.carry_out(effects);
        let rule = record.rules.first().map(|rule| rule.flow_spec.to_string()).unwrap_or_default();
        self.note_down(&order.by, "rule_remove", format!("{rule}{}", order.words()), None);
        Ok(record)
    }

    /// From now on nothing is announced, withdrawn or called. A pause that there is already goes on as said now.
    pub(super) fn pause(&mut self, order: &Order) -> Pause {
        let withdrawn = self.paused.as_ref().is_some_and(|paused| paused.pause.withdrawn);
        self.stand_still(order, "pause", withdrawn)
    }

    /// Engines have nothing of ours, and it stays so until a person says otherwise.
    pub(super) fn withdraw_all(&mut self, order: &Order) -> Pause {
        self.stand_still(order, "withdraw_all", true)
    }

    fn stand_still(&mut self, order: &Order, act: &str, withdrawn: bool) -> Pause {
        let now_ms = self.clock.wall_ms();
        let length_ms = i64::try_from(order.seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
        let pause = Pause {
            since_ms: self.paused.as_ref().map_or(now_ms, |paused| paused.pause.since_ms),
            until_ms: (order.seconds > 0).then(|| now_ms.saturating_add(length_ms)),
            by: order.by.clone(),
            reason: order.reason.clone(),
            withdrawn,
        };
        self.paused = Some(pause.clone().into());
        self.tell_pause();
        self.note_down(&order.by, act, format!("all actions{}", order.words()), Some(Some(pause.clone())));
        let done = if withdrawn { "withdrawn" } else { "paused" };
        let text = format!("all actions {done} by {}{}", order.by, order.words());
        self.tell(Event { time_ms: now_ms, kind: EventKind::Paused, attack: None, text });
        pause
    }

    /// All actions learn at once whether they stand still, and engines whether they have nothing of ours.
    pub(super) fn tell_pause(&mut self) {
        let pause = self.paused.as_ref().map(|paused| &paused.pause);
        let (paused, withdrawn) = (pause.is_some(), pause.is_some_and(|pause| pause.withdrawn));
        self.wanted.send_modify(|told| (told.paused, told.withdrawn) = (paused, withdrawn));
        self.mitigator.tell_pause(paused);
        self.notify.tell_pause(paused);
    }

    /// Actions go on: outside systems are made equal to what is wanted now. Gives the pause that is over, if there was one.
    pub(super) fn resume(&mut self, order: &Order) -> Option<Pause> {
        let Paused { pause, .. } = self.paused.take()?;
        self.tell_pause();
        self.note_down(&order.by, "resume", format!("all actions{}", order.words()), Some(None));
        let text = format!("all actions go on: resumed by {}{}", order.by, order.words());
        self.tell(Event { time_ms: self.clock.wall_ms(), kind: EventKind::Resumed, attack: None, text });
        Some(pause)
    }

    /// Ends a pause whose time is over, and reminds of one that goes on.
    pub(super) fn mind_pause(&mut self) {
        let now_ms = self.clock.wall_ms();
        let Some(Paused { pause, reminded }) = &mut self.paused else { return };
        if pause.until_ms.is_some_and(|until_ms| now_ms >= until_ms) {
            let reason = "the time asked for is over".to_owned();
            self.resume(&Order { seconds: 0, reason, by: "leveed".to_owned() });
        } else if reminded.elapsed() >= REMINDER {
            *reminded = Instant::now();
            warn!("{}", in_words(pause));
        }
    }

    /// The alarm of a pause.
    pub(super) fn pause_alarm(&self) -> Option<String> {
        self.paused.as_ref().map(|paused| in_words(&paused.pause))
    }

    /// Puts onto the list what a person did, and, where it changes it, the pause.
    pub(super) fn note_down(&mut self, by: &str, act: &str, text: String, pause: Option<Option<Pause>>) {
        let act = Act { time_ms: self.clock.wall_ms(), by: by.to_owned(), act: act.to_owned(), text };
        self.saves = self.store.note_down(act, pause);
    }
}

fn in_words(pause: &Pause) -> String {
    let reason = if pause.reason.is_empty() { String::new() } else { format!(" ({})", pause.reason) };
    let by = &pause.by;
    match pause.withdrawn {
        true => format!("everything is withdrawn by {by}{reason}: nothing is announced until `leveectl resume`"),
        false => {
            format!("all actions are paused by {by}{reason}: nothing is announced or withdrawn until `leveectl resume`")
        }
    }
}

/// What a rule filters: traffic to a prefix of ours, or else from one.
fn target_of(rule: &FlowRule, map: &Map) -> Result<Target, String> {
    let ours = |prefix: Option<IpNet>| prefix.filter(|prefix| map.protects(*prefix));
    let (prefix, direction) = match (ours(rule.destination), ours(rule.source)) {
        (Some(prefix), _) => (prefix, Direction::Incoming),
        (None, Some(prefix)) => (prefix, Direction::Outgoing),
        (None, None) if rule.destination.is_none() && rule.source.is_none() => {
            return Err(
                "give a destination_prefix (or, for what a host sends, a source_prefix) within a protected network"
                    .into(),
            );
        }
        (None, None) => {
            return Err(format!("neither destination nor source lies within a protected network: {rule}"));
        }
    };
    let host = map.host(prefix.addr());
    Ok(Target { prefix: if host.contains(&prefix) { host } else { prefix }, direction })
}
