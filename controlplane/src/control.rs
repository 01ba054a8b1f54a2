//! The control thread: one loop that reads counters, runs the detector, collects captures, mines, and says what is wanted.
//! It decides nothing itself: it carries values from room to room. Clients' requests are answered here too, between two
//! looks, so that no room needs a lock.

mod answers;
mod by_hand;
mod captures;
mod clock;
mod examples;
mod health;
mod marking;
mod mining;
mod mitigator;
mod notify;
pub(crate) mod outgoing;
mod reload;
mod replay;
mod tap;
mod watching;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError};
use dataplane::Dataplane;
use dataplane::rule::FlowRule;
use ipnet::IpNet;
use tokio::sync::{broadcast, watch};
use tracing::{error, info, warn};
use uuid::Uuid;

pub use answers::{Answered, HostAnswer, HostsAnswer, PortAnswer, Reply, Request, StatusAnswer, TotalsAnswer};
pub use by_hand::Order;
pub use clock::Clock;
pub use reload::Reload;

use crate::actions::notify::letter::{Kept, Letter};
use crate::actions::notify::settings::Subscriber;
use crate::actions::{self, bgp};
use crate::attack::{Now, Target, Volumes};
use crate::baseline::Baseline;
use crate::by_hand::Pause;
use crate::detector::{Detector, Effect, Event, EventKind, Settings};
use crate::guard::Guard;
use crate::meter::{Map, Meter};
use crate::miner;
use crate::mitigation::{self, Standing};
use crate::record::{AttackRecord, SuspectRecord};
use crate::samples;
use crate::store::StoreHandle;
use crate::whitelist::Whitelist;
use by_hand::Paused;
use captures::Captures;
use examples::Examples;
use health::Health;
use outgoing::Outgoing;
use watching::{Scene, Watching};

/// Samples and engines are looked at this often.
const SERVICE_PERIOD: Duration = Duration::from_millis(5);
/// The same while something waits for the disk.
const WAITING_PERIOD: Duration = Duration::from_millis(1);
/// When workers were told what to watch, all else has so many times the time that this took.
const WATCH_PAUSE: u32 = 3;
/// A look at the thresholds that came late is an alarm for this long.
const LATE_ALARM: Duration = Duration::from_secs(60);
/// Ended attacks that are kept at hand for clients.
const ENDED_MAX: usize = 1000;

/// What the control thread is made of.
pub struct Parts {
    /// Ports and workers.
    pub dataplane: Dataplane,
    /// Networks and host groups.
    pub map: Map,
    /// The detector's configuration.
    pub settings: Settings,
    /// What is exempt.
    pub whitelist: Whitelist,
    /// What is never announced.
    pub guard: Guard,
    /// Bounds of mining.
    pub miner: miner::Limits,
    /// Packets a second that the always-on tap takes, of all workers; 0: none.
    pub tap_per_second: u32,
    /// Where records go.
    pub store: StoreHandle,
    /// Where samples go; none: nowhere.
    pub samples: Option<samples::Handle>,
    /// Attacks on record, the newest first.
    pub records: Vec<AttackRecord>,
    /// The pause of all actions, where one goes on.
    pub pause: Option<Pause>,
    /// What engines are told.
    pub wanted: watch::Sender<bgp::Told>,
    /// What engines say.
    pub reports: Vec<watch::Receiver<bgp::Report>>,
    /// What whoever serves a MITIGATOR is told.
    pub ask_mitigator: watch::Sender<actions::mitigator::Told>,
    /// What it says; none: there is none.
    pub mitigator: Option<watch::Receiver<actions::mitigator::Report>>,
    /// Who runs scripts and calls webhooks.
    pub notify: actions::notify::Line,
    /// Whom there is to tell.
    pub subscribers: Arc<[Subscriber]>,
    /// What they are still to be told.
    pub outbox: Kept,
    /// Where events go.
    pub events: broadcast::Sender<Event>,
    /// What clients ask.
    pub requests: Receiver<Request>,
    /// Whose time it goes by.
    pub clock: Clock,
}

/// What others are told once it is on record.
enum Message {
    /// Clients.
    Event(Event),
    /// Engines.
    Wanted(Arc<Vec<bgp::Wanted>>),
    /// Whoever serves a MITIGATOR.
    Asked(Arc<Vec<actions::mitigator::Asked>>),
    /// Whoever runs scripts and calls webhooks.
    Letters(Vec<Arc<Letter>>),
    /// The same: what came of letters about these is on record.
    OnRecord(Vec<(String, IpNet)>),
}

/// The control thread's state.
pub struct Control {
    dataplane: Dataplane,
    meter: Meter,
    detector: Detector,
    settings: Settings,
    whitelist: Arc<Whitelist>,
    guard: Guard,
    miner: miner::Limits,
    tap: tap::Tap,
    baseline: Baseline,
    /// Rules in force, by target.
    held_rules: BTreeMap<Target, Vec<(Uuid, FlowRule)>>,
    store: StoreHandle,
    samples: Option<samples::Handle>,
    captures: Captures,
    examples: Examples,
    watching: Watching,
    /// Which rules are counted has changed: workers are told at the next service, once for many rules.
    watch_due: bool,
    /// Not before.
    watch_again: Duration,
    health: Health,
    wanted: watch::Sender<bgp::Told>,
    paused: Option<Paused>,
    reports: Vec<watch::Receiver<bgp::Report>>,
    mitigator: mitigator::Mitigator,
    notify: notify::Notify,
    events: broadcast::Sender<Event>,
    requests: Receiver<Request>,
    standing: BTreeMap<Uuid, Standing>,
    wanted_rules: usize,
    plan_alarms: Vec<String>,
    saves: u64,
    outgoing: Outgoing<Message>,
    ended: VecDeque<Arc<AttackRecord>>,
    clock: Clock,
    started_ms: i64,
    /// Since the start.
    last_tick: Duration,
    ticks_late: u64,
    last_late: Option<Instant>,
}

impl Control {
    /// Puts the rooms together and takes up the attacks on record.
    pub fn new(parts: Parts) -> Control {
        let workers = parts.dataplane.workers().map(|(shared, _)| Arc::clone(shared)).collect();
        let whitelist = Arc::new(parts.whitelist);
        let notify = notify::Notify::new(parts.notify, parts.subscribers, parts.outbox, parts.clock.wall_ms());
        let (alive, ended): (Vec<_>, Vec<_>) = parts.records.into_iter().partition(|record| record.state.is_alive());
        let mut control = Control {
            meter: Meter::new(workers, parts.map),
            health: Health::new(&parts.dataplane),
            dataplane: parts.dataplane,
            detector: Detector::new(parts.settings, Arc::clone(&whitelist)),
            settings: parts.settings,
            whitelist,
            guard: parts.guard,
            miner: parts.miner,
            tap: tap::Tap::new(parts.tap_per_second),
            baseline: Baseline::default(),
            held_rules: BTreeMap::new(),
            store: parts.store,
            captures: Captures::new(parts.samples.is_some() || notify.wants_packets()),
            notify,
            samples: parts.samples,
            examples: Examples::default(),
            watching: Watching::default(),
            watch_due: false,
            watch_again: Duration::ZERO,
            wanted: parts.wanted,
            paused: parts.pause.map(Paused::from),
            reports: parts.reports,
            mitigator: mitigator::Mitigator::new(parts.ask_mitigator, parts.mitigator),
            events: parts.events,
            requests: parts.requests,
            standing: BTreeMap::new(),
            wanted_rules: 0,
            plan_alarms: Vec::new(),
            saves: 0,
            outgoing: Outgoing::default(),
            ended: ended.into_iter().take(ENDED_MAX).map(Arc::new).collect(),
            started_ms: parts.clock.wall_ms(),
            last_tick: parts.clock.elapsed(),
            clock: parts.clock,
            ticks_late: 0,
            last_late: None,
        };
        if !alive.is_empty() {
            info!(attacks = alive.len(), "taking up attacks on record");
        }
        let (now, map) = (control.now(), control.meter.map());
        let is_counted = |record: &AttackRecord| map.place(&record.target, record.is_order).is_some();
        let effects = control.detector.restore(now, alive, is_counted);
        control.carry_out(effects);
        if let Some(pause) = control.pause_alarm() {
            warn!("{pause}");
            control.tell_pause();
        }
        control.notify.begin();
        let suspects = control.detector.suspects();
        control.wanted.send_modify(|told| told.suspects = Arc::new(suspects));
        // Also when nothing is on record: only now may engines withdraw what nobody wants.
        control.plan();
        control
    }

    /// Runs until a client or a signal says stop. Workers have stopped counting when it returns.
    pub fn run(mut self) {
        let mut next_tick = Instant::now() + Duration::from_millis(self.settings.check_period_ms);
        let mut next_service = Instant::now();
        loop {
            match self.requests.recv_deadline(next_service.min(next_tick)) {
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(request) => self.answer(request),
                Err(RecvTimeoutError::Timeout) => (),
            }
            // However many clients ask.
            if Instant::now() >= next_service {
                self.look_after();
                self.service();
                let period = if self.outgoing.is_empty() { SERVICE_PERIOD } else { WAITING_PERIOD };
                next_service = Instant::now() + period;
            }
            let check_period = Duration::from_millis(self.settings.check_period_ms);
            let now = Instant::now();
            // It may be shorter than it was.
            next_tick = next_tick.min(now + check_period);
            if now >= next_tick {
                self.tick();
                next_tick += check_period;
                if next_tick <= now {
                    // Late by more than a period: rates use real time, so a missed tick is only a later look.
                    self.ticks_late += 1;
                    self.last_late = Some(now);
                    next_tick = now + check_period;
                }
            }
        }
        self.look_at_notify();
        self.dataplane.stop_workers();
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    /// How ports, workers and the disk are.
    fn look_after(&mut self) {
        let mut news = self.health.look(&self.dataplane);
        news.extend(self.store.news());
        for (kind, text) in news {
            self.tell(Event { time_ms: self.clock.wall_ms(), kind, attack: None, text });
        }
    }

    /// What cannot wait for the next tick: full captures, and what engines say.
    fn service(&mut self) {
        self.watching.mark_some(&self.dataplane);
        let workers = self.dataplane.workers().map(|(shared, _)| &**shared);
        let (second, map, baseline) = (self.clock.second(), self.meter.map(), &mut self.baseline);
        let (held, detector) = (&self.held_rules, &mut self.detector);
        let full = self.captures.drain(workers, self.clock.stamp(), &mut self.examples, |headers, one_in| {
            for (host, group) in tap::ends(map, &headers) {
                baseline.learn(second, (host, group), headers, one_in);
                for (target, rules) in held.iter().filter(|(target, _)| **target == host || target.is_around(&host)) {
                    let takes_known = |rule: &FlowRule| rule.matches(&headers) && baseline.knows(&host, rule, &headers);
                    for (id, _) in rules.iter().filter(|(_, rule)| takes_known(rule)) {
                        detector.rule_took_known(target, *id, one_in.into());
                    }
                }
            }
        });
        for (attack, counts) in full {
            let effects = self.detector.captured(self.now(), attack, counts);
            self.carry_out(effects);
        }
        let mut changed = false;
        for report in &mut self.reports {
            changed |= report.has_changed().unwrap_or(false);
        }
        if changed {
            self.look_at_reports();
        }
        if self.watch_due && self.clock.elapsed() >= self.watch_again {
            self.watch();
        }
        self.look_at_mitigator();
        self.look_at_notify();
        self.let_go();
    }

    /// Tells others what is on record now.
    fn let_go(&mut self) {
        while let Some(message) = self.outgoing.pop(self.store.settled(), self.now().mono_ms) {
            match message {
                // Nobody listening is no error.
                Message::Event(event) => drop(self.events.send(event)),
                Message::Wanted(wanted) => self.wanted.send_modify(|told| told.wanted = Some(wanted)),
                Message::Asked(asked) => self.mitigator.tell(asked),
                Message::Letters(letters) => self.notify.tell(letters),
                Message::OnRecord(lanes) => self.notify.tell_on_record(lanes),
            }
        }
    }

    fn send(&mut self, message: Message) {
        self.outgoing.push(message, self.saves, self.now().mono_ms);
    }

    /// What engines hold and refuse. One that was not told yet what is wanted has nothing to say, and all others wait for it.
    fn look_at_reports(&mut self) {
        let is_uninformed = |report: &watch::Receiver<bgp::Report>| {
            let report = report.borrow();
            report.connected && !report.informed
        };
        if self.reports.iter().any(is_uninformed) {
            return;
        }
        let held: HashSet<Uuid> =
            self.reports.iter_mut().flat_map(|report| report.borrow_and_update().held.clone()).collect();
        let mut refused = BTreeMap::new();
        for report in self.reports.iter().map(|report| report.borrow()) {
            refused.extend(report.refused.iter().map(|(id, why)| (*id, format!("engine {}: {why}", report.engine))));
        }
        let mut engines: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
        let mut suspects: BTreeMap<Uuid, Vec<SuspectRecord>> = BTreeMap::new();
        for report in self.reports.iter().map(|report| report.borrow()) {
            report.held.iter().for_each(|id| engines.entry(*id).or_default().push(report.engine.clone()));
            for (id, suspect) in &report.suspects {
                suspects.entry(*id).or_default().push(suspect.clone());
            }
        }
        let mut effects = self.detector.held(self.now(), &held);
        effects.extend(self.detector.held_at(self.now(), &engines));
        effects.extend(self.detector.suspected(self.now(), &suspects));
        effects.extend(self.detector.refused(self.now(), &refused));
        self.carry_out(effects);
        self.watch_due = true;
    }

    /// One look at the thresholds.
    fn tick(&mut self) {
        let elapsed = self.clock.elapsed();
        let seconds = (elapsed - self.last_tick).as_secs_f64();
        self.last_tick = elapsed;
        let tick = self.dataplane.next_tick();
        let matched = self.count_matches(seconds);
        self.meter.follow(self.detector.followed(), self.detector.apart());
        let nothing = Volumes::default();
        let ticked = self.meter.tick(tick, seconds, |target| *matched.get(target).unwrap_or(&nothing));
        for (attack, counts) in self.captures.counts() {
            let effects = self.detector.captured(self.now(), attack, counts);
            self.carry_out(effects);
        }
        let mut effects = self.detector.tick(self.now(), seconds, &ticked.observed);
        let map = self.meter.map();
        effects.extend(self.detector.escalate(self.now(), |target| map.escalation(target)));
        let window_s = self.settings.window_ms.div_ceil(1000) as u32;
        self.baseline.heat(self.clock.second(), window_s, self.detector.hot());
        self.tap.follow(self.dataplane.workers().map(|(shared, _)| &**shared), seconds);
        self.carry_out(effects);
        self.mind_pause();
        let parts = watching::parts(self.detector.attacks(), self.detector.followed());
        if self.watching.is_stale(&parts, &self.detector.apart().collect()) {
            self.watch();
        }
        self.watching.mark(&self.dataplane);
        self.watching.sweep(&mut self.dataplane);
        self.dataplane.networks.sweep();
    }

    /// What held rules matched since the last tick: tells the detector by rule, and gives it by target.
    fn count_matches(&mut self, seconds: f64) -> BTreeMap<Target, Volumes> {
        let mut by_target: BTreeMap<Target, Volumes> = BTreeMap::new();
        let mut by_rule: BTreeMap<(Uuid, Uuid), Volumes> = BTreeMap::new();
        for active in self.watching.active() {
            let volumes = self.meter.rule(active.slot, active.target.direction);
            for target in &active.counts_for {
                by_target.entry(*target).or_default().add(&volumes);
            }
            by_rule.entry((active.attack, active.rule)).or_default().add(&volumes);
        }
        for ((attack, rule), volumes) in by_rule {
            let (packets, bytes) = volumes.total();
            self.detector.rule_matched(attack, rule, packets, bytes, seconds);
        }
        by_target
    }

    /// Carries out what the detector asked for, and what follows from it.
    fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut queue = VecDeque::from(effects);
        let (mut rewatch, mut replan) = (false, false);
        // All that is one step is one transaction: no kill leaves half of it.
        let (mut records, mut events, mut packets) = (Vec::new(), Vec::new(), BTreeMap::new());
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::OpenCapture(request) => {
                    self.captures.open(request);
                    rewatch = true;
                }
                Effect::CloseCapture { attack, mine } => {
                    rewatch = true;
                    let Some(closed) = self.captures.close(attack, self.clock.stamp()) else { continue };
                    if self.notify.wants_packets() {
                        packets.insert(attack, notify::packet_lines(&closed));
                    }
                    if let Some(samples) = self.samples.as_ref().filter(|_| !closed.frames.is_empty()) {
                        samples.keep(attack, closed.frames);
                    }
                    if mine {
                        queue.extend(self.mine(attack, &closed.target, closed.sample, closed.seconds));
                    }
                }
                Effect::Save(record) => {
                    self.remember(&record);
                    records.push(record);
                }
                Effect::Event(event) => events.push(event),
                Effect::WantedChanged => {
                    self.watch_due = true;
                    replan = true;
                }
            }
        }
        for event in &events {
            let of_attack = event.attack.as_ref().and_then(|attack| packets.get(&attack.id));
            self.post(event, of_attack.map_or(&[], Vec::as_slice));
        }
        let (is_news, changes) = (!records.is_empty(), self.notify.take_changes());
        let letters = changes.posted.clone();
        if is_news || !changes.is_empty() {
            self.saves = self.store.save_with(records, changes);
        }
        events.into_iter().for_each(|event| self.tell(event));
        self.send_letters(letters);
        if replan {
            self.plan();
        } else if is_news {
            self.ask_mitigator();
        }
        if rewatch {
            self.watch();
        }
    }

    /// Keeps what is over at hand.
    fn remember(&mut self, record: &Arc<AttackRecord>) {
        if record.state.is_alive() {
            return;
        }
        match self.ended.iter_mut().find(|known| known.id == record.id) {
            Some(known) => *known = Arc::clone(record),
            None => self.ended.push_front(Arc::clone(record)),
        }
        self.ended.truncate(ENDED_MAX);
    }

    fn tell(&mut self, event: Event) {
        let attack = event.attack.as_ref().map(|attack| attack.id.to_string());
        match event.kind {
            EventKind::Alarm => error!(kind = event.kind.as_str(), "{}", event.text),
            EventKind::Paused | EventKind::Resumed => warn!(kind = event.kind.as_str(), "{}", event.text),
            EventKind::FalsePositive => warn!(attack, kind = event.kind.as_str(), "{}", event.text),
            _ => info!(attack, kind = event.kind.as_str(), "{}", event.text),
        }
        self.send(Message::Event(event));
    }

    /// From the attacks alive to what engines are told.
    fn plan(&mut self) {
        let map = self.meter.map();
        let monitor_only = |target: &Target| map.group_around(target.prefix).monitor_only;
        let ours = |target: &Target, prefix| map.may_announce(target.prefix, prefix);
        let plan = mitigation::plan(
            self.detector.attacks(),
            &self.settings.limits,
            (&self.whitelist, &self.guard, &ours),
            monitor_only,
        );
        for alarm in plan.alarms.iter().filter(|alarm| !self.plan_alarms.contains(alarm)) {
            error!("{alarm}");
        }
        self.plan_alarms = plan.alarms;
        self.standing = plan.standing;
        self.wanted_rules = plan.wanted.len();
        let wanted = plan.wanted.into_iter().map(|wanted| bgp::Wanted {
            id: wanted.id,
            rule: wanted.rule,
            action: wanted.action,
        });
        self.send(Message::Wanted(Arc::new(wanted.collect())));
        self.ask_mitigator();
    }

    /// Tells workers what to look at closer.
    fn watch(&mut self) {
        let begin = self.clock.elapsed();
        self.watch_due = false;
        let scene = Scene {
            attacks: self.detector.attacks().collect(),
            captures: self.captures.open_ones().collect(),
            parts: watching::parts(self.detector.attacks(), self.detector.followed()),
            apart: self.detector.apart().collect(),
        };
        let fresh = self.watching.rebuild(&mut self.dataplane, scene);
        self.held_rules.clear();
        for record in self.detector.attacks().filter(|record| !record.is_order) {
            let rules = record.counted_rules().map(|rule| (rule.id, rule.flow_spec.rule.clone()));
            self.held_rules.entry(record.target).or_default().extend(rules);
        }
        // What a slot's former rule matched is not the new one's.
        for slot in fresh {
            self.meter.forget_rule(slot);
        }
        let end = self.clock.elapsed();
        self.watch_again = end + (end - begin) * WATCH_PAUSE;
    }

    fn group_of(&self, host: IpAddr) -> Arc<str> {
        Arc::clone(&self.meter.map().group(host).name)
    }
}
