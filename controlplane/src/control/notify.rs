//! Between the detector and those who are told of attacks: what is due to whom, which goes on record with what it follows from; and what
//! came of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use dataplane::packet::parse;
use ipnet::IpNet;
use tracing::info;
use uuid::Uuid;

use super::captures::Closed;
use super::{Control, Message};
use crate::actions::notify::letter::{Changes, Kept, Letter};
use crate::actions::notify::notice::{BothWays, Notice, PacketLine, Say, Traffic, due};
use crate::actions::notify::report::{OfSubscriber, Outcome};
use crate::actions::notify::settings::{Subscriber, Way};
use crate::actions::notify::{Line, Told};
use crate::attack::{Direction, Rates};
use crate::detector::{Effect, Event, EventKind};
use crate::record::{AttackRecord, Entry, NotifiedRecord, NotifiedState};

/// Most letters in the outbox, and about most bytes of them. One more is not told, and counted.
const LETTERS_MAX: usize = 10_000;
const BYTES_MAX: usize = 128 << 20;
/// The last part of both is for the end of what was begun.
const RESERVED: usize = 10;
/// A look takes so many outcomes at most.
const LOOK_MAX: usize = 256;

/// A letter that is not delivered yet.
#[derive(Debug)]
struct Waiting {
    subscriber: String,
    attack: Uuid,
    lane: IpNet,
    say: Option<Say>,
    weight: usize,
}

/// What the control thread has of it.
pub(super) struct Notify {
    line: Line,
    subscribers: Arc<[Subscriber]>,
    outbox: BTreeMap<u64, Waiting>,
    bytes: usize,
    next: u64,
    /// What found no place in the outbox, since the start.
    lost: u64,
    /// Letters on disk that could not be read.
    unreadable: usize,
    /// What goes on record with the next save.
    changes: Changes,
    /// What was not told, for records.
    held_back: Vec<(Uuid, NotifiedRecord)>,
    /// What was due before this start, until it is told.
    kept: Vec<Arc<Letter>>,
}

impl Notify {
    /// Takes up what the outbox has. Places go on behind the largest that any start can have given.
    pub(super) fn new(line: Line, subscribers: Arc<[Subscriber]>, kept: Kept, now_ms: i64) -> Notify {
        let mut notify = Notify {
            line,
            subscribers,
            outbox: BTreeMap::new(),
            bytes: 0,
            next: now_ms.max(0) as u64 * 1_000,
            lost: 0,
            unreadable: kept.unreadable.len(),
            changes: Changes { posted: Vec::new(), done: kept.unreadable },
            held_back: Vec::new(),
            kept: Vec::new(),
        };
        notify.kept = kept.letters.into_iter().map(Arc::new).collect();
        notify.kept.clone().iter().for_each(|letter| notify.note(letter));
        notify
    }

    /// Has delivered what was due before this start. Whether there is a pause is known.
    pub(super) fn begin(&mut self) {
        let letters = std::mem::take(&mut self.kept);
        if !letters.is_empty() {
            info!(letters = letters.len(), "taking up the outbox");
            self.tell(letters);
        }
    }

    /// Others are to be told from now on.
    pub(super) fn replace(&mut self, subscribers: Arc<[Subscriber]>) {
        self.subscribers = subscribers;
    }

    /// Whether anybody wants packets of captures.
    pub(super) fn wants_packets(&self) -> bool {
        self.subscribers.iter().any(|subscriber| subscriber.report_packets() > 0)
    }

    /// These are on record.
    pub(super) fn tell(&self, letters: Vec<Arc<Letter>>) {
        drop(self.line.told.send(Told::Letters(letters)));
    }

    /// It is on record what came of these.
    pub(super) fn tell_on_record(&self, lanes: Vec<(String, IpNet)>) {
        drop(self.line.told.send(Told::OnRecord(lanes)));
    }

    pub(super) fn tell_pause(&self, paused: bool) {
        drop(self.line.told.send(Told::Paused(paused)));
    }

    /// How subscribers do.
    pub(super) fn report(&self) -> Vec<OfSubscriber> {
        self.line.report.borrow().subscribers.clone()
    }

    /// What found no place in the outbox.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// What an operator should look at.
    pub(super) fn alarms(&self) -> Vec<String> {
        let mut alarms: Vec<String> =
            self.line.report.borrow().subscribers.iter().filter_map(OfSubscriber::alarm).collect();
        if self.lost > 0 {
            alarms.push(format!("{} notices were not told: the outbox was full", self.lost));
        }
        if self.unreadable > 0 {
            alarms.push(format!("{} notices in the outbox could not be read, and are dropped", self.unreadable));
        }
        alarms
    }

    /// What goes on record with the next save.
    pub(super) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    fn note(&mut self, letter: &Letter) {
        let (subscriber, attack, weight) = (letter.subscriber.clone(), letter.notice.record.id, letter.weight());
        self.bytes += weight;
        self.next = self.next.max(letter.seq + 1);
        let (lane, say) = (letter.lane(), letter.say);
        self.outbox.insert(letter.seq, Waiting { subscriber, attack, lane, say, weight });
    }

    fn post(&mut self, subscriber: &str, say: Option<Say>, notice: Notice) {
        let letter = Letter { seq: self.next, id: Uuid::now_v7(), subscriber: subscriber.to_owned(), say, notice };
        let is_end = say == Some(Say::Unban);
        let share = |most: usize| if is_end { most } else { most - most / RESERVED };
        if self.outbox.len() >= share(LETTERS_MAX) || self.bytes + letter.weight() > share(BYTES_MAX) {
            self.lost += 1;
            return;
        }
        self.note(&letter);
        self.changes.posted.push(Arc::new(letter));
    }

    /// It is done with: its row goes with the next save. Gives whose letter it was, about whom.
    fn settle(&mut self, seq: u64) -> Option<(String, IpNet)> {
        let Waiting { subscriber, lane, weight, .. } = self.outbox.remove(&seq)?;
        self.bytes -= weight;
        self.changes.done.push(seq);
        Some((subscriber, lane))
    }

    /// How often a subscriber was told this of an attack, or will be.
    fn times(&self, subscriber: &str, say: Say, record: &AttackRecord) -> usize {
        let is_it = |waiting: &&Waiting| {
            waiting.attack == record.id && waiting.say == Some(say) && waiting.subscriber == subscriber
        };
        record.times_told(subscriber, say.as_str()) + self.outbox.values().filter(is_it).count()
    }

    /// Whether a ban was told that no unban followed.
    fn is_banned(&self, subscriber: &str, record: &AttackRecord) -> bool {
        self.times(subscriber, Say::Ban, record) > self.times(subscriber, Say::Unban, record)
    }
}

/// What a capture held, for reports.
pub(super) fn packet_lines(closed: &Closed) -> Vec<PacketLine> {
    let line = |frame: &crate::samples::Frame| {
        let headers = parse(frame.sample.data()).ok()?;
        Some(PacketLine::new(frame.time_us, &headers, frame.sample.frame_len, closed.one_in))
    };
    closed.frames.iter().filter_map(line).collect()
}

impl Control {
    /// Puts into the outbox what is due after an event of an attack.
    pub(super) fn post(&mut self, event: &Event, packets: &[PacketLine]) {
        let Some(record) = event.attack.as_deref().filter(|_| !self.notify.subscribers.is_empty()) else { return };
        let group = self.meter.map().group_around(record.target.prefix);
        let held_back = match (self.settings.limits.dry_run, group.monitor_only) {
            (true, _) => Some(NotifiedState::DryRun),
            (_, true) => Some(NotifiedState::MonitorOnly),
            _ => None,
        };
        let traffic = self.traffic(record);
        let notice = |most: usize| Notice {
            kind: event.kind,
            time_ms: event.time_ms,
            text: event.text.clone(),
            // Nobody is told the journal, and it is long.
            record: AttackRecord { journal: Vec::new(), ..record.clone() },
            traffic,
            packets: packets[..packets.len().min(most)].to_vec(),
        };
        let subscribers = Arc::clone(&self.notify.subscribers);
        let is_of_group =
            |subscriber: &&Subscriber| subscriber.groups.is_empty() || subscriber.groups.contains(&record.group);
        for subscriber in subscribers.iter().filter(is_of_group) {
            let held_back = held_back.filter(|_| subscriber.acts);
            match &subscriber.way {
                Way::Webhook(webhook) => {
                    if webhook.events.contains(&event.kind) && held_back.is_none() {
                        self.notify.post(&subscriber.name, None, notice(0));
                    }
                }
                Way::Script(script) => {
                    for &say in due(script.layout, event.kind, record) {
                        self.post_call(subscriber, say, held_back, record, || notice(script.report_packets));
                    }
                }
            }
        }
    }

    /// A call that is due. What was begun is ended whatever holds now, and what was not begun has no end.
    fn post_call(
        &mut self,
        subscriber: &Subscriber,
        say: Say,
        held_back: Option<NotifiedState>,
        record: &AttackRecord,
        notice: impl Fn() -> Notice,
    ) {
        let name = &subscriber.name;
        let is_banned = self.notify.is_banned(name, record);
        match held_back {
            Some(state) if say == Say::Ban => {
                let notified = NotifiedRecord {
                    subscriber: name.clone(),
                    what: say.as_str().to_owned(),
                    state,
                    time_ms: self.clock.wall_ms(),
                    text: String::new(),
                    times: 0,
                    failures: 0,
                };
                self.notify.held_back.push((record.id, notified));
            }
            Some(_) if say != Say::Unban => {}
            _ if say == Say::Ban || is_banned => self.notify.post(name, Some(say), notice()),
            _ => {}
        }
    }

    /// What the target of an attack receives and sends. In the attack's direction as the record has it; else about a second's mean.
    fn traffic(&self, record: &AttackRecord) -> Traffic {
        let map = self.meter.map();
        let prefix = record.target.prefix;
        let smooth = if map.host(prefix.addr()) == prefix {
            Some(self.meter.host(prefix.addr()))
        } else {
            self.meter.networks().into_iter().find(|(network, _)| *network == prefix).map(|(_, rates)| rates.smooth)
        };
        let [incoming, outgoing] = smooth.map_or([Rates::default(); 2], |host| host.rates.each_ref().map(Rates::from));
        let both = |of_attack: Rates| match record.target.direction {
            Direction::Incoming => BothWays { incoming: of_attack, outgoing },
            Direction::Outgoing => BothWays { incoming, outgoing: of_attack },
        };
        Traffic { now: both(record.current), mean: both(record.mean) }
    }

    /// Lets go of what goes on record now.
    pub(super) fn send_letters(&mut self, letters: Vec<Arc<Letter>>) {
        if !letters.is_empty() {
            self.send(Message::Letters(letters));
        }
    }

    /// Puts on record what came of letters, all in one step; then the next ones may go.
    pub(super) fn look_at_notify(&mut self) {
        let (mut news, mut lanes) = (Vec::new(), Vec::new());
        for _ in 0..LOOK_MAX {
            let Ok(Outcome { seq, attack, notified, is_news }) = self.notify.line.outcomes.try_recv() else { break };
            if let Some(lane) = self.notify.settle(seq) {
                lanes.push(lane);
                news.push((attack, notified, is_news));
            }
        }
        news.extend(self.notify.held_back.drain(..).map(|(attack, notified)| (attack, notified, true)));
        if news.is_empty() {
            return;
        }
        let (now, mut effects) = (self.now(), Vec::new());
        for (attack, notified, is_news) in news {
            let of_alive = self.detector.notified(now, attack, &notified, is_news);
            effects.extend(of_alive.unwrap_or_else(|| self.notified_ended(attack, &notified, is_news)));
        }
        self.carry_out(effects);
        if !lanes.is_empty() {
            self.send(Message::OnRecord(lanes));
        }
    }

    /// The same for an attack that is over already; nothing for one that nobody has at hand any more.
    fn notified_ended(&mut self, attack: Uuid, notified: &NotifiedRecord, is_news: bool) -> Vec<Effect> {
        let time_ms = self.clock.wall_ms();
        let Some(record) = self.ended.iter_mut().find(|record| record.id == attack) else { return Vec::new() };
        let newer = Arc::make_mut(record);
        newer.take_notified(notified);
        let (kind, text) = (EventKind::Notified, notified.to_string());
        if is_news {
            newer.note_down(Entry { time_ms, kind: kind.as_str().into(), text: text.clone() });
        }
        let event = Effect::Event(Event { time_ms, kind, attack: Some(Arc::clone(record)), text });
        std::iter::once(Effect::Save(Arc::clone(record))).chain(is_news.then_some(event)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::notify::letter::samples::letter;

    fn notify(kept: Vec<Letter>) -> Notify {
        Notify::new(Line::nowhere(), Arc::default(), Kept { letters: kept, unreadable: Vec::new() }, 1)
    }

    #[test]
    fn a_full_outbox_has_room_for_ends_alone_and_counts_what_it_has_none_for() {
        let mut notify = notify(Vec::new());
        let notice = letter(0, "198.18.0.1").notice;
        for _ in 0..LETTERS_MAX {
            notify.post("notify.edge", Some(Say::Ban), notice.clone());
        }
        let room = LETTERS_MAX / RESERVED;
        assert_eq!((notify.outbox.len(), notify.lost()), (LETTERS_MAX - room, room as u64));
        for _ in 0..=room {
            notify.post("notify.edge", Some(Say::Unban), notice.clone());
        }
        assert_eq!((notify.outbox.len(), notify.lost()), (LETTERS_MAX, room as u64 + 1));
        assert!(notify.alarms()[0].contains("1001 notices were not told"), "{:?}", notify.alarms());
        let changes = notify.take_changes();
        assert_eq!((changes.posted.len(), changes.done.len()), (LETTERS_MAX, 0));
        // What is delivered makes room.
        for letter in &changes.posted {
            assert!(notify.settle(letter.seq).is_some() && notify.settle(letter.seq).is_none());
        }
        assert_eq!((notify.bytes, notify.take_changes().done.len()), (0, LETTERS_MAX));
        notify.post("notify.edge", Some(Say::Ban), notice);
        assert_eq!(notify.outbox.len(), 1);
    }

    #[test]
    fn heavy_letters_fill_it_sooner() {
        let mut notify = notify(Vec::new());
        let mut notice = letter(0, "198.18.0.1").notice;
        notice.text = "x".into();
        notice.record.journal = vec![Entry { time_ms: 1, kind: "alarm".into(), text: "x".repeat(1 << 20) }; 1];
        (0..200).for_each(|_| notify.post("notify.edge", Some(Say::Ban), notice.clone()));
        assert!(notify.bytes <= BYTES_MAX && notify.lost() > 50, "{} lost", notify.lost());
    }

    #[test]
    fn places_go_on_behind_those_of_before_and_a_ban_is_open_until_its_end() {
        let mut notify = notify(vec![letter(5_000_000, "198.18.0.1")]);
        let notice = letter(0, "198.18.0.2").notice;
        let record = notice.record.clone();
        assert!(!notify.is_banned("notify.edge", &record));
        notify.post("notify.edge", Some(Say::Ban), notice.clone());
        let seqs: Vec<u64> = notify.outbox.keys().copied().collect();
        assert_eq!(seqs, [5_000_000, 5_000_001]);
        assert!(notify.is_banned("notify.edge", &record) && !notify.is_banned("notify.other", &record));
        notify.post("notify.edge", Some(Say::Unban), notice);
        assert!(!notify.is_banned("notify.edge", &record));
    }
}
