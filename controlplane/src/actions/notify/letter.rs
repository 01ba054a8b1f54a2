//! A notice to one subscriber: a row of the outbox, which lies on disk until it is delivered or given up. Values only.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::notice::{Notice, Say};

/// A notice to one subscriber.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    /// Its place in the outbox: letters of one target and subscriber are delivered in this order.
    #[serde(skip)]
    pub seq: u64,
    /// The same over all tries, so that a receiver may know what it has already.
    pub id: Uuid,
    /// Whom it is for.
    pub subscriber: String,
    /// The call that is due; none for a webhook, which is told of the event.
    #[serde(default)]
    pub say: Option<Say>,
    /// What is told.
    pub notice: Notice,
}

impl Letter {
    /// Letters with the same of this are delivered one after the other.
    pub fn lane(&self) -> IpNet {
        self.notice.record.target.prefix
    }

    /// What the subscriber is told, in a word.
    pub fn what(&self) -> &'static str {
        self.say.map_or(self.notice.kind.as_str(), Say::as_str)
    }

    /// About so many bytes on disk.
    pub fn weight(&self) -> usize {
        let record = &self.notice.record;
        let texts: usize = record.journal.iter().map(|entry| entry.text.len() + 64).sum();
        6_000 + 1_000 * record.rules.len() + texts + 160 * self.notice.packets.len()
    }
}

/// What is new in the outbox.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Letters that are to be delivered.
    pub posted: Vec<std::sync::Arc<Letter>>,
    /// Those that are delivered or given up, by place.
    pub done: Vec<u64>,
}

impl Changes {
    /// Whether nothing is new.
    pub fn is_empty(&self) -> bool {
        self.posted.is_empty() && self.done.is_empty()
    }
}

/// The outbox as a start finds it.
#[derive(Debug, Default)]
pub struct Kept {
    /// What is to be delivered, in order.
    pub letters: Vec<Letter>,
    /// Places of what cannot be read.
    pub unreadable: Vec<u64>,
}

#[cfg(test)]
pub(crate) mod samples {
    //! Letters for the tests of several rooms.

    use super::*;
    use crate::detector::EventKind;
    use crate::record::State;
    use crate::record::samples::attack;

    /// A ban of a host for "notify.edge".
    pub(crate) fn letter(seq: u64, host: &str) -> Letter {
        let record = attack(&format!("{host}/32"), State::Detected);
        let notice = Notice {
            kind: EventKind::Detected,
            time_ms: 1_000,
            text: "attack".into(),
            record,
            traffic: Default::default(),
            packets: Vec::new(),
        };
        Letter { seq, id: Uuid::now_v7(), subscriber: "notify.edge".into(), say: Some(Say::Ban), notice }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::EventKind;

    #[test]
    fn a_letter_reads_back_but_for_its_place() {
        let letter = samples::letter(7, "198.18.0.1");
        let json = serde_json::to_string(&letter).unwrap();
        let read: Letter = serde_json::from_str(&json).unwrap();
        assert_eq!(Letter { seq: 7, ..read }, letter);
        assert!(json.len() < letter.weight(), "{} bytes", json.len());
        assert_eq!((letter.what(), Letter { say: None, ..letter.clone() }.what()), ("ban", "detected"));
        let other = Letter { notice: Notice { kind: EventKind::Ended, ..letter.notice.clone() }, say: None, ..letter };
        assert_eq!(other.what(), "ended");
    }
}
