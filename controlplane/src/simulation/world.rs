//! Traffic, trouble, and what must hold at every moment.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use dataplane::packet::Class;
use dataplane::rule::{Action, FlowRule};
use uuid::Uuid;

use super::daemon::Daemon;
use super::disk::{Disk, Mood};
use crate::actions::bgp::fake::{Change, FakeEngine, Fate};
use crate::attack::{Direction, Kind, Metric, Now, Target, Thresholds, Unit, Volumes};
use crate::detector::{Event, EventKind, Observed, Place, Settings, Tap};
use crate::group::LastResort;
use crate::mitigation::Limits;
use crate::record::AttackRecord;

const STEP_MS: u64 = 200;
const HOSTS: [&str; 3] = ["198.18.0.1/32", "198.18.0.2/32", "2001:db8::3/128"];
/// Packets in a step, of an attack and of peace.
const ATTACK: u64 = 1_000;
const PEACE: u64 = 40;
const THRESHOLD: u64 = 1_000;
/// How long the parts take, in steps. In peace every ban time and probation runs out.
const HISTORY: usize = 180;
const IN_PEACE: usize = 90;
const AT_LAST: usize = 20;
/// A disk that is well again has everything after so many steps; one that lost records, once each attack was saved again.
const RECOVERY: usize = 3;
const SAVED_AGAIN: usize = 55;

const SETTINGS: Settings = Settings {
    window_ms: 1000,
    check_period_ms: STEP_MS,
    capture_packets: 500,
    capture_timeout_ms: 3_000,
    captures_max: 100,
    threshold_specific_ban_details: false,
    ban_time_ms: 2_000,
    ban_time_max_ms: 8_000,
    rule_idle_ms: 60_000,
    probation_ms: 3_000,
    unban_only_if_attack_finished: true,
    tap: Tap::BeforeRouter,
    attacks_max: 100,
    limits: Limits { rules_per_target: 3, rules_in_all: 100, blackholes_in_all: 10, dry_run: false },
};

/// Steele, Lea and Flood's splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// Whether it happens, so many times in a thousand.
    fn happens(&mut self, in_1000: u64) -> bool {
        self.below(1000) < in_1000
    }
}

/// What a step of the daemon's is about.
#[derive(Clone, Copy)]
enum Stage {
    Tick,
    Capture,
    Write,
    LetGo,
    Call,
}

const STAGES: [Stage; 8] =
    [Stage::Tick, Stage::Capture, Stage::Write, Stage::LetGo, Stage::Call, Stage::Call, Stage::Call, Stage::Call];

/// Everything.
pub(super) struct World {
    /// What happens outside: the same for both worlds of a seed.
    outside: Dice,
    trouble: Dice,
    troubled: bool,
    bad_disk: bool,
    disturbances: u64,
    step: usize,
    daemon: Option<(usize, Box<Daemon>)>,
    down_until: usize,
    disk: Disk,
    /// The records may lack something up to this step.
    doubtful_until: usize,
    died_in_doubt: bool,
    /// Whether a daemon ever started from records that lacked something.
    forgot: bool,
    engine: FakeEngine,
    engine_until: usize,
    /// The source that attacks each host, and until when this goes on.
    attacked: [(Option<u8>, usize); HOSTS.len()],
    /// What a person wants done next: a ban, or its end.
    by_hand: Option<(Target, bool)>,
    /// What the configuration says now.
    settings: Settings,
    threshold: u64,
    uncounted: Option<usize>,
    /// Whether a daemon that runs has still to be told.
    is_reload_due: bool,
    /// Attacks that were announced, and whether also their end was.
    told: BTreeMap<Uuid, bool>,
    /// How often each rule was announced, and how often an engine that died forgot it.
    announced: BTreeMap<String, usize>,
    forgotten: BTreeMap<String, usize>,
}

impl World {
    pub(super) fn new(seed: u64, troubled: bool) -> World {
        World {
            outside: Dice(seed),
            trouble: Dice(!seed),
            troubled,
            bad_disk: seed.is_multiple_of(2),
            disturbances: 0,
            step: 0,
            daemon: None,
            down_until: 0,
            disk: Disk::new(),
            doubtful_until: 0,
            died_in_doubt: false,
            forgot: false,
            engine: FakeEngine::default(),
            engine_until: 0,
            attacked: [(None, 0); HOSTS.len()],
            by_hand: None,
            settings: SETTINGS,
            threshold: THRESHOLD,
            uncounted: None,
            is_reload_due: false,
            told: BTreeMap::new(),
            announced: BTreeMap::new(),
            forgotten: BTreeMap::new(),
        }
    }

    /// Attacks come and go, and so does trouble.
    pub(super) fn history(&mut self) {
        for _ in 0..HISTORY {
            self.attack_at_random();
            if self.troubled {
                self.disturb();
            }
            self.pass(self.troubled);
        }
    }

    /// Nothing happens any more, and everything works.
    pub(super) fn peace(&mut self) {
        self.attacked = [(None, usize::MAX); HOSTS.len()];
        self.mend();
        (0..IN_PEACE).for_each(|_| self.pass(false));
        self.nothing_is_announced_twice();
    }

    /// Two hosts are attacked, and everything works.
    pub(super) fn last_attacks(&mut self) {
        self.attacked = [(Some(77), usize::MAX), (None, usize::MAX), (Some(78), usize::MAX)];
        (0..AT_LAST).for_each(|_| self.pass(false));
    }

    /// What is alive, in memory and on disk alike, and what routers have.
    pub(super) fn state(&self) -> Vec<String> {
        let (_, daemon) = self.daemon.as_ref().expect("it runs");
        let in_words = |record: &AttackRecord| {
            let mut rules: Vec<String> = record.wanted_rules().map(|rule| rule.flow_spec.to_string()).collect();
            rules.sort();
            (record.id, format!("{} {}: {rules:?}", record.target, record.state))
        };
        let alive: BTreeMap<Uuid, String> = daemon.detector.attacks().map(in_words).collect();
        let on_disk = self.disk.records.values().filter(|record| record.state.is_alive());
        let on_disk: BTreeMap<Uuid, String> = on_disk.map(|record| in_words(record)).collect();
        assert_eq!(alive, on_disk, "in memory and on disk");
        assert!(daemon.detector.attacks().all(|attack| attack.wanted_rules().all(|rule| rule.is_held())));
        let mut state: Vec<String> = alive.into_values().collect();
        state.sort();
        state.extend(self.engine.rules().into_iter().map(|rule| format!("at routers: {rule}")));
        state
    }

    pub(super) fn was_disturbed(&self) -> bool {
        self.disturbances > 0
    }

    fn now(&self, born: usize) -> Now {
        let ms = |steps: usize| steps as u64 * STEP_MS;
        Now { mono_ms: ms(self.step - born), wall_ms: 1_700_000_000_000 + ms(self.step) as i64 }
    }
}

// What happens.
impl World {
    fn attack_at_random(&mut self) {
        for attacked in &mut self.attacked {
            if attacked.1 <= self.step {
                let source = self.outside.below(6) as u8;
                let length = 1 + self.outside.below(60) as usize;
                *attacked = ((source < 4).then_some(source), self.step + length);
            }
        }
        let host = target(self.outside.below(HOSTS.len() as u64) as usize);
        self.by_hand = match self.outside.below(100) {
            0 => Some((host, true)),
            1 => Some((host, false)),
            _ => self.by_hand,
        };
    }

    fn disturb(&mut self) {
        if self.bad_disk {
            self.disturb_disk();
        }
        if self.trouble.happens(10) {
            for rule in self.engine.rules() {
                *self.forgotten.entry(rule).or_default() += 1;
            }
            self.engine.forget();
            self.daemon.iter_mut().for_each(|(_, daemon)| daemon.disconnect());
            self.engine_until = self.step + self.trouble.below(20) as usize;
            self.disturbances += 1;
        }
        if self.trouble.happens(10) {
            self.threshold = [100, THRESHOLD, 2 * THRESHOLD][self.trouble.below(3) as usize];
            self.settings.ban_time_ms = [1_000, SETTINGS.ban_time_ms][self.trouble.below(2) as usize];
            self.uncounted = Some(self.trouble.below(20) as usize).filter(|host| *host < HOSTS.len());
            self.is_reload_due = true;
            self.disturbances += 1;
        }
    }

    fn disturb_disk(&mut self) {
        self.disk.mood = match self.trouble.below(200) {
            0 => Mood::Full,
            1 => Mood::Stuck,
            2 => Mood::Gone,
            3..20 => Mood::Well,
            _ => self.disk.mood,
        };
        if self.disk.mood != Mood::Well {
            self.doubtful(RECOVERY);
        }
        if self.trouble.happens(2) {
            // Some records could not be saved of a file that was damaged.
            let dice = &mut self.trouble;
            self.disk.records.retain(|_, _| dice.happens(500));
            self.doubtful(SAVED_AGAIN);
        }
    }

    fn mend(&mut self) {
        self.disk.mood = Mood::Well;
        (self.settings, self.threshold, self.uncounted) = (SETTINGS, THRESHOLD, None);
        self.is_reload_due = true;
        self.engine_until = 0;
        self.down_until = 0;
    }

    /// As control does, right after a tick.
    fn reload(&mut self, now: Now, daemon: &mut Daemon) {
        let place_of = |target: &Target| {
            (self.uncounted != Some(place(target))).then(|| Place {
                group: Arc::from("web"),
                last_resort: LastResort::Nothing,
                thresholds: self.thresholds(),
                of_group: Thresholds::default(),
            })
        };
        daemon.reload(now, self.settings, place_of);
    }

    fn thresholds(&self) -> Thresholds {
        let mut thresholds = Thresholds::default();
        thresholds.set(Metric { kind: Kind::Udp, unit: Unit::Pps }, self.threshold);
        thresholds
    }

    fn doubtful(&mut self, steps: usize) {
        self.doubtful_until = self.doubtful_until.max(self.step + steps);
        self.disturbances += 1;
    }

    fn is_doubtful(&self) -> bool {
        self.step <= self.doubtful_until
    }

    /// One step of time.
    fn pass(&mut self, mortal: bool) {
        self.step += 1;
        if self.daemon.is_none() && self.step >= self.down_until {
            self.start();
        }
        for usual in STAGES.into_iter().map(Some).chain([None]) {
            if mortal && self.trouble.happens(3) {
                self.daemon = None;
                self.died_in_doubt |= self.is_doubtful();
                self.down_until = self.step + self.trouble.below(15) as usize;
                self.disturbances += 1;
            }
            let Some((born, mut daemon)) = self.daemon.take() else { return };
            let stage = match usual {
                // A disk that is well is faster than a step.
                None => Stage::Write,
                Some(_) if mortal => STAGES[self.trouble.below(STAGES.len() as u64) as usize],
                Some(stage) => stage,
            };
            self.work(stage, born, &mut daemon);
            self.daemon = Some((born, daemon));
        }
    }

    fn start(&mut self) {
        let records = self.disk.take_up();
        // An end may be on record and not announced yet; then nobody will.
        for (id, over) in &mut self.told {
            *over |= self.disk.records.get(id).is_some_and(|record| !record.state.is_alive());
        }
        let known = |id: &Uuid| records.iter().any(|record| record.id == *id);
        if std::mem::take(&mut self.died_in_doubt) || self.is_doubtful() {
            self.forgot = true;
            self.told.retain(|id, over| *over || known(id));
        }
        let lost: Vec<&Uuid> = self.told.iter().filter(|(id, over)| !**over && !known(id)).map(|(id, _)| id).collect();
        assert!(lost.is_empty(), "announced, and not on record: {lost:?}");
        self.daemon = Some((self.step, Box::new(Daemon::start(self.now(self.step), self.settings, records))));
    }

    fn work(&mut self, stage: Stage, born: usize, daemon: &mut Daemon) {
        let now = self.now(born);
        match stage {
            Stage::Tick => {
                match self.by_hand.take() {
                    Some((host, true)) => daemon.ban(now, host, 3),
                    Some((host, false)) => daemon.unban(now, host),
                    None => (),
                }
                daemon.tick(now, STEP_MS as f64 / 1000.0, &self.observe(daemon));
                if std::mem::take(&mut self.is_reload_due) {
                    self.reload(now, daemon);
                }
            }
            Stage::Capture => {
                let packets = |target: &Target| self.traffic(place(target)).1 as usize;
                daemon.capture(now, packets, |target| self.traffic(place(target)).0.map(|source| rule(target, source)));
            }
            Stage::Write => daemon.write(now, &mut self.disk),
            Stage::LetGo => daemon.let_go(now).into_iter().for_each(|event| self.hear(event)),
            Stage::Call => {
                let fate = match self.trouble.below(100) {
                    0 if self.troubled => Fate::Lost,
                    1 if self.troubled => Fate::Unanswered,
                    _ => Fate::Answered,
                };
                let reachable = self.step >= self.engine_until;
                let change = daemon.call(now, Some(&mut self.engine).filter(|_| reachable), fate);
                change.into_iter().for_each(|change| self.judge(change));
            }
        }
    }
}

// What the daemon sees.
impl World {
    fn traffic(&self, host: usize) -> (Option<u8>, u64) {
        let source = self.attacked[host].0;
        (source, if source.is_some() { ATTACK } else { PEACE })
    }

    /// As the meter does: a target is told if it is followed, or over a threshold within the tick.
    fn observe(&self, daemon: &Daemon) -> Vec<Observed> {
        let thresholds = self.thresholds();
        let seconds = STEP_MS as f64 / 1000.0;
        let observe = |host| {
            let (target, (source, packets)) = (target(host), self.traffic(host));
            let followed = daemon.detector.followed().any(|followed| followed == target);
            if self.uncounted == Some(host) || !followed && packets as f64 / seconds <= self.threshold as f64 {
                return None;
            }
            let mut rules = daemon.detector.attacks().flat_map(|attack| attack.held_rules());
            let matches = rules.any(|held| source.is_some_and(|source| held.flow_spec.rule == rule(&target, source)));
            let (all, matched) = (volumes(packets), volumes(if matches { packets } else { 0 }));
            let (group, last_resort) = (Arc::from("web"), LastResort::Nothing);
            Some(Observed { target, group, last_resort, thresholds, seconds, all, matched, load: None })
        };
        (0..HOSTS.len()).filter_map(observe).collect()
    }
}

// What must hold.
impl World {
    fn hear(&mut self, event: Event) {
        let Some(attack) = &event.attack else { return };
        match event.kind {
            EventKind::Detected if !event.text.contains("is back") && !event.text.contains("banned by") => {
                assert_eq!(self.told.insert(attack.id, false), None, "announced twice: {}", event.text);
            }
            EventKind::Ended | EventKind::FalsePositive => {
                let before = self.told.insert(attack.id, true);
                assert!(before != Some(true) || self.forgot, "its end is announced twice: {}", event.text);
            }
            _ => (),
        }
    }

    fn judge(&mut self, change: Change) {
        let Change::Announced { rule, again } = change else { return };
        assert!(!again, "announced, and there already: {rule}");
        let asked = self.asked_for(&rule.to_string());
        assert!(self.is_doubtful() || asked > 0, "announced, and not on record: {rule}");
        *self.announced.entry(rule.to_string()).or_default() += 1;
    }

    /// How often a rule was asked for by what is on record, alive or over.
    fn asked_for(&self, rule: &str) -> usize {
        let text = format!("rule wanted: {}: {rule}", Action::Discard);
        let entries = self.disk.records.values().flat_map(|record| &record.journal);
        // Why comes behind it.
        entries.filter(|entry| entry.text.split("; ").next() == Some(&text)).count()
    }

    /// Each time that a rule is announced, an attack asked for it anew, or the engine had forgotten it.
    fn nothing_is_announced_twice(&self) {
        for (rule, &announced) in self.announced.iter().filter(|_| !self.bad_disk) {
            let asked = self.asked_for(rule);
            let forgotten = self.forgotten.get(rule).copied().unwrap_or(0);
            assert!(
                announced <= asked + forgotten,
                "{rule}: {announced} times; asked for {asked}, forgotten {forgotten}"
            );
        }
    }
}

fn target(host: usize) -> Target {
    static TARGETS: LazyLock<Vec<Target>> = LazyLock::new(|| {
        let target = |host: &&str| Target { prefix: host.parse().unwrap(), direction: Direction::Incoming };
        HOSTS.iter().map(target).collect()
    });
    TARGETS[host]
}

fn place(sought: &Target) -> usize {
    (0..HOSTS.len()).find(|&host| target(host) == *sought).unwrap()
}

fn rule(target: &Target, source: u8) -> FlowRule {
    FlowRule {
        destination: Some(target.prefix),
        source_ports: [(1_000 + u32::from(source), 1_000 + u32::from(source))].into_iter().collect(),
        ..FlowRule::default()
    }
}

fn volumes(packets: u64) -> Volumes {
    let mut volumes = Volumes::default();
    volumes.packets[0][Class::Udp as usize] = packets;
    volumes.bytes[0][Class::Udp as usize] = packets * 100;
    volumes
}
