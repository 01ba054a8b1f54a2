//! How subscribers do, for the control thread. Values only.

use super::letter::Letter;
use super::settings::Subscriber;
use crate::record::{NotifiedRecord, NotifiedState};

/// All subscribers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of the configuration.
    pub subscribers: Vec<OfSubscriber>,
}

/// One subscriber.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfSubscriber {
    /// Its section.
    pub name: String,
    /// A path, or scheme and host.
    pub place: String,
    /// Delivered since the start.
    pub delivered: u64,
    /// Tries in vain since the start.
    pub failed: u64,
    /// Given up since the start: the script failed, or the peer never took it.
    pub given_up: u64,
    /// Not delivered yet.
    pub waiting: u64,
    /// Of these on their way.
    pub running: u64,
    /// Whether it waits for the end of a pause.
    pub paused: bool,
    /// What went wrong last; empty: nothing.
    pub error: String,
    /// When, wall-clock milliseconds.
    pub error_ms: i64,
    /// Whether nothing has gone well since.
    pub is_failing: bool,
}

impl OfSubscriber {
    pub(super) fn new(subscriber: &Subscriber) -> OfSubscriber {
        OfSubscriber { name: subscriber.name.clone(), place: subscriber.place(), ..OfSubscriber::default() }
    }

    pub(super) fn well(&mut self) {
        self.delivered += 1;
        self.is_failing = false;
    }

    pub(super) fn fail(&mut self, text: &str, now_ms: i64) {
        self.failed += 1;
        self.error = text.to_owned();
        self.error_ms = now_ms;
        self.is_failing = true;
    }

    /// What an operator should look at.
    pub fn alarm(&self) -> Option<String> {
        let alarm = || format!("{} ({}): {}; {} waiting", self.name, self.place, self.error, self.waiting);
        self.is_failing.then(alarm)
    }
}

/// What came of a letter at last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its place in the outbox.
    pub seq: u64,
    /// The attack.
    pub attack: uuid::Uuid,
    /// For the attack's record.
    pub notified: NotifiedRecord,
    /// Whether people are told, too.
    pub is_news: bool,
}

impl Outcome {
    pub(super) fn new(letter: &Letter, state: NotifiedState, text: String, time_ms: i64) -> Outcome {
        let notified = NotifiedRecord {
            subscriber: letter.subscriber.clone(),
            what: letter.what().to_owned(),
            state,
            time_ms,
            text,
            times: 0,
            failures: 0,
        };
        // What a script does is part of the attack's story; that people were told is none.
        let is_news = letter.say.is_some() || state == NotifiedState::Failed;
        Outcome { seq: letter.seq, attack: letter.notice.record.id, notified, is_news }
    }
}
