//! Between the detector and whoever serves a MITIGATOR: which attacks there are, and what became of switches.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use uuid::Uuid;

use super::{Control, Message};
use crate::actions::mitigator::settings::Class;
use crate::actions::mitigator::{Asked, HeldBack, Report, Told};
use crate::detector::{Event, EventKind};
use crate::record::{AttackRecord, Entry, SwitchRecord, SwitchState};

/// Of the attacks that are over, so many of the latest may still have a switch that is being put back.
const JUST_ENDED: usize = 64;

/// What the control thread has of it.
pub(super) struct Mitigator {
    told: watch::Sender<Told>,
    report: Option<watch::Receiver<Report>>,
    /// What was sent last; none: nothing yet.
    asked: Option<Arc<Vec<Asked>>>,
}

impl Mitigator {
    pub(super) fn new(told: watch::Sender<Told>, report: Option<watch::Receiver<Report>>) -> Mitigator {
        Mitigator { told, report, asked: None }
    }

    /// These attacks are on record.
    pub(super) fn tell(&self, asked: Arc<Vec<Asked>>) {
        self.told.send_modify(|told| told.asked = Some(asked));
    }

    pub(super) fn tell_pause(&self, paused: bool) {
        self.told.send_modify(|told| told.paused = paused);
    }

    /// Another one, or none, is served now.
    pub(super) fn replace(&mut self, report: Option<watch::Receiver<Report>>) {
        self.report = report;
    }

    /// What it says now.
    pub(super) fn report(&self) -> Option<Report> {
        self.report.as_ref().map(|report| report.borrow().clone())
    }
}

/// What of an attack is MITIGATOR's business.
fn asked(record: &AttackRecord, held_back: Option<HeldBack>) -> Option<Asked> {
    if !record.state.is_under_way() || record.is_order || record.whitelisted.is_some() {
        return None;
    }
    let mut classes: Vec<Class> = if record.crossing.is_none() { vec![Class::ByHand] } else { Vec::new() };
    for class in record.kinds.iter().map(|kind| Class::from(*kind)) {
        if !classes.contains(&class) {
            classes.push(class);
        }
    }
    // A record of an earlier version knows its crossing alone.
    if let (true, Some(crossing)) = (classes.is_empty(), record.crossing) {
        classes.push(crossing.metric.kind.into());
    }
    Some(Asked { attack: record.id, target: record.target, group: record.group.clone(), classes, held_back })
}

impl Control {
    /// From the attacks alive to what is asked of MITIGATOR, where that is news.
    pub(super) fn ask_mitigator(&mut self) {
        let map = self.meter.map();
        let dry_run = self.settings.limits.dry_run.then_some(HeldBack::DryRun);
        let held_back = |record: &AttackRecord| {
            let is_monitored = map.group_around(record.target.prefix).monitor_only;
            dry_run.or(is_monitored.then_some(HeldBack::MonitorOnly))
        };
        let mut records: Vec<&AttackRecord> = self.detector.attacks().collect();
        records.sort_by_key(|record| (record.detected_ms, record.id));
        let asked: Vec<Asked> = records.into_iter().filter_map(|record| asked(record, held_back(record))).collect();
        if self.mitigator.asked.as_deref() != Some(&asked) {
            let asked = Arc::new(asked);
            self.mitigator.asked = Some(Arc::clone(&asked));
            self.send(Message::Asked(asked));
        }
    }

    /// Puts on record what became of switches.
    pub(super) fn look_at_mitigator(&mut self) {
        let Some(report) = &mut self.mitigator.report else { return };
        if !report.has_changed().unwrap_or(false) {
            return;
        }
        let report = report.borrow_and_update().clone();
        let mut switches = report.of_attacks;
        if report.connected && report.informed {
            self.close_switches(&mut switches);
        }
        let effects = self.detector.switched(self.now(), &switches);
        self.carry_out(effects);
        self.switch_ended(&switches);
    }

    /// What an attack needs no more, and is not MITIGATOR's news any more, was put back before we could note it down.
    fn close_switches(&self, switches: &mut BTreeMap<Uuid, Vec<SwitchRecord>>) {
        let alive = self.detector.attacks().filter(|record| record.state.is_alive());
        let ended = self.ended.iter().take(JUST_ENDED).map(|record| &**record);
        for record in alive.chain(ended).filter(|record| !record.state.is_under_way()) {
            let is_open = |switch: &&SwitchRecord| {
                !matches!(switch.state, SwitchState::PutBack | SwitchState::WasOn | SwitchState::Left)
                    && !matches!(switch.state, SwitchState::DryRun | SwitchState::MonitorOnly)
            };
            let told = switches.get(&record.id);
            let is_told = |switch: &SwitchRecord| {
                let same = |told: &SwitchRecord| (told.policy, &told.switch) == (switch.policy, &switch.switch);
                told.is_some_and(|told| told.iter().any(same))
            };
            let open = record.switches.iter().filter(is_open).filter(|switch| !is_told(switch));
            let closed: Vec<SwitchRecord> = open
                .map(|switch| SwitchRecord { state: SwitchState::PutBack, text: String::new(), ..switch.clone() })
                .collect();
            if !closed.is_empty() {
                switches.entry(record.id).or_default().extend(closed);
            }
        }
    }

    /// The same for attacks that are over already.
    fn switch_ended(&mut self, switches: &BTreeMap<Uuid, Vec<SwitchRecord>>) {
        let time_ms = self.clock.wall_ms();
        let (mut saved, mut events) = (Vec::new(), Vec::new());
        for record in self.ended.iter_mut().take(JUST_ENDED) {
            let Some(switches) = switches.get(&record.id) else { continue };
            let mut newer = AttackRecord::clone(record);
            let news = newer.take_switches(switches);
            let news = news.iter().filter_map(|switch| Some((EventKind::of_switch(switch.state)?, switch.to_string())));
            let news: Vec<(EventKind, String)> = news.collect();
            if newer == **record {
                continue;
            }
            for (kind, text) in &news {
                newer.note_down(Entry { time_ms, kind: kind.as_str().into(), text: text.clone() });
            }
            *record = Arc::new(newer);
            let event = |(kind, text)| Event { time_ms, kind, attack: Some(Arc::clone(record)), text };
            events.extend(news.into_iter().map(event));
            saved.push(Arc::clone(record));
        }
        if !saved.is_empty() {
            self.saves = self.store.save(saved);
        }
        events.into_iter().for_each(|event| self.tell(event));
    }
}
