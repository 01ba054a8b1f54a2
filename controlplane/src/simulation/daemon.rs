//! What runs: joins the rooms as `control` does, one stage at a time, so that death may come between any two.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use dataplane::rule::{Action, FlowRule};
use uuid::Uuid;

use super::disk::Disk;
use crate::actions::bgp;
use crate::actions::bgp::fake::{Change, FakeEngine, FakeSession, Fate};
use crate::attack::{Now, Target};
use crate::control::outgoing::Outgoing;
use crate::detector::{CaptureRequest, Detector, Effect, Event, MinedRule, Observed, Place, Settings};
use crate::guard::Guard;
use crate::mitigation;
use crate::record::{AttackRecord, Counts, MinedRecord};
use crate::store::writer::{Batch, Pending};
use crate::whitelist::Whitelist;

enum Message {
    Event(Event),
    Wanted(Vec<bgp::Wanted>),
}

/// One life of the process.
pub(super) struct Daemon {
    pub(super) detector: Detector,
    settings: Settings,
    pending: Pending,
    /// What a disk that gives no answer was told to write.
    writing: Option<Batch>,
    outgoing: Outgoing<Message>,
    saves: u64,
    captures: BTreeMap<Uuid, (CaptureRequest, usize)>,
    wanted: Option<Vec<bgp::Wanted>>,
    session: Option<FakeSession>,
    held: HashSet<Uuid>,
}

impl Daemon {
    pub(super) fn start(now: Now, settings: Settings, records: Vec<AttackRecord>) -> Daemon {
        let mut daemon = Daemon {
            detector: Detector::new(settings, Arc::new(Whitelist::default())),
            settings,
            pending: Pending::default(),
            writing: None,
            outgoing: Outgoing::default(),
            saves: 0,
            captures: BTreeMap::new(),
            wanted: None,
            session: None,
            held: HashSet::new(),
        };
        let effects = daemon.detector.restore(now, records, |_| true);
        daemon.carry_out(now, effects, |_| None);
        daemon.plan(now);
        daemon
    }

    /// Another configuration holds from now on.
    pub(super) fn reload(&mut self, now: Now, settings: Settings, place: impl Fn(&Target) -> Option<Place>) {
        self.settings = settings;
        let whitelist = Arc::new(Whitelist::default());
        let effects = self.detector.reload(now, settings, whitelist, |target, _| place(target));
        self.carry_out(now, effects, |_| None);
    }

    /// One look at the thresholds.
    pub(super) fn tick(&mut self, now: Now, seconds: f64, observed: &[Observed]) {
        let effects = self.detector.tick(now, seconds, observed);
        self.carry_out(now, effects, |_| None);
    }

    pub(super) fn ban(&mut self, now: Now, target: Target, seconds: u64) {
        if let Ok((_, effects)) = self.detector.ban(now, target, "web", seconds, "by hand", "alice") {
            self.carry_out(now, effects, |_| None);
        }
    }

    pub(super) fn unban(&mut self, now: Now, target: Target) {
        let (_, effects) = self.detector.unban(now, target.prefix, "by hand", "alice");
        self.carry_out(now, effects, |_| None);
    }

    /// So many packets came to open captures; `rule` is what the miner finds in those of a target.
    pub(super) fn capture(
        &mut self,
        now: Now,
        packets: impl Fn(&Target) -> usize,
        rule: impl Fn(&Target) -> Option<FlowRule>,
    ) {
        let open: Vec<Uuid> = self.captures.keys().copied().collect();
        for id in open {
            let Some((request, count)) = self.captures.get_mut(&id) else { continue };
            *count = (*count + packets(&request.target)).min(request.wanted);
            let counts = Counts { incoming: *count, outgoing: 0 };
            let effects = self.detector.captured(now, id, counts);
            self.carry_out(now, effects, &rule);
        }
    }

    /// The disk is tried with what waits for it.
    pub(super) fn write(&mut self, now: Now, disk: &mut Disk) {
        let batch = self.writing.take().unwrap_or_else(|| self.pending.take());
        match disk.save(&batch.records, now.wall_ms) {
            None => self.writing = Some(batch),
            Some(result) => self.pending.done(batch, result.err()),
        }
    }

    /// What is on record is told: events come back, engines learn what is wanted.
    pub(super) fn let_go(&mut self, now: Now) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(message) = self.outgoing.pop(self.pending.settled(), now.mono_ms) {
            match message {
                Message::Event(event) => events.push(event),
                Message::Wanted(wanted) => {
                    self.session.iter_mut().for_each(|session| session.want(&wanted));
                    self.wanted = Some(wanted);
                }
            }
        }
        events
    }

    /// One call to the engine, which may be out of reach.
    pub(super) fn call(&mut self, now: Now, engine: Option<&mut FakeEngine>, fate: Fate) -> Option<Change> {
        let change = match engine {
            None => {
                self.session = None;
                None
            }
            Some(engine) => {
                let session = self.session.get_or_insert_with(|| FakeSession::new(self.wanted.as_deref()));
                let (change, answer) = session.step(engine, fate);
                if answer.is_err() {
                    self.session = None;
                }
                change
            }
        };
        if self.session.as_ref().is_some_and(FakeSession::is_idle) {
            return change;
        }
        let held: HashSet<Uuid> = self.session.iter().flat_map(FakeSession::held).collect();
        if held != self.held {
            let effects = self.detector.held(now, &held);
            self.held = held;
            self.carry_out(now, effects, |_| None);
        }
        change
    }

    /// The engine died, and the connection with it.
    pub(super) fn disconnect(&mut self) {
        self.session = None;
    }

    fn carry_out(&mut self, now: Now, effects: Vec<Effect>, rule: impl Fn(&Target) -> Option<FlowRule>) {
        let mut queue = VecDeque::from(effects);
        let mut replan = false;
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::OpenCapture(request) => drop(self.captures.insert(request.attack, (request, 0))),
                Effect::CloseCapture { attack, mine } => {
                    let Some((request, _)) = self.captures.remove(&attack).filter(|_| mine) else { continue };
                    let mined = rule(&request.target).map(|rule| MinedRule {
                        rule,
                        action: Action::Discard,
                        coverage: 1.0,
                        mined: MinedRecord::default(),
                        reason: "all of it".into(),
                        last_resort: false,
                    });
                    queue.extend(self.detector.sample_ready(now, attack, mined.into_iter().collect(), ""));
                }
                Effect::Save(record) => self.saves = self.pending.save(record),
                Effect::Event(event) => self.outgoing.push(Message::Event(event), self.saves, now.mono_ms),
                Effect::WantedChanged => replan = true,
            }
        }
        if replan {
            self.plan(now);
        }
    }

    fn plan(&mut self, now: Now) {
        let whitelist = Whitelist::default();
        let plan = mitigation::plan(
            self.detector.attacks(),
            &self.settings.limits,
            (&whitelist, &Guard::default(), &|_, _| Ok(())),
            |_| false,
        );
        let wanted = plan.wanted.into_iter().map(|wanted| bgp::Wanted {
            id: wanted.id,
            rule: wanted.rule,
            action: wanted.action,
        });
        self.outgoing.push(Message::Wanted(wanted.collect()), self.saves, now.mono_ms);
    }
}
