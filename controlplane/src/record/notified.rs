//! What scripts and webhooks were told of an attack, and what came of it. Values only.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::AttackRecord;

/// Of a subscriber and what it was told: how often, and what came of it the last time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotifiedRecord {
    /// Its section in the configuration: "notify.edge", "webhooks.chat".
    pub subscriber: String,
    /// What it was told: a script's action ("ban"), or the word of an event ("detected").
    pub what: String,
    /// What came of it.
    pub state: NotifiedState,
    /// When, wall-clock milliseconds.
    pub time_ms: i64,
    /// In words: exit status and first lines of output, or what the peer answered.
    pub text: String,
    /// How often it was told.
    #[serde(default)]
    pub times: u32,
    /// How often of these in vain.
    #[serde(default)]
    pub failures: u32,
}

/// What came of telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotifiedState {
    /// The script ended well; the webhook's peer took it.
    Delivered,
    /// The script failed, or the peer never took it: it is not tried again.
    Failed,
    /// It was not told: dry run.
    DryRun,
    /// It was not told: the host group is only monitored.
    MonitorOnly,
}

impl NotifiedState {
    /// The word for clients.
    pub fn as_str(self) -> &'static str {
        match self {
            NotifiedState::Delivered => "delivered",
            NotifiedState::Failed => "failed",
            NotifiedState::DryRun => "dry_run",
            NotifiedState::MonitorOnly => "monitor_only",
        }
    }

    /// Whether it was tried at all.
    pub fn is_told(self) -> bool {
        matches!(self, NotifiedState::Delivered | NotifiedState::Failed)
    }
}

impl fmt::Display for NotifiedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.subscriber, self.what)?;
        f.write_str(match self.state {
            NotifiedState::Delivered => "delivered",
            NotifiedState::Failed => "FAILED",
            NotifiedState::DryRun => "not told: dry run",
            NotifiedState::MonitorOnly => "not told: the group is only monitored",
        })?;
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

/// Subscribers times what they are told: more than this no configuration has use for.
const NOTIFIED_MAX: usize = 256;

impl AttackRecord {
    /// Takes over what came of telling a subscriber something once more.
    pub fn take_notified(&mut self, news: &NotifiedRecord) {
        let is_same = |known: &&mut NotifiedRecord| (&known.subscriber, &known.what) == (&news.subscriber, &news.what);
        let told = u32::from(news.state.is_told());
        let failed = u32::from(news.state == NotifiedState::Failed);
        if let Some(known) = self.notified.iter_mut().find(is_same) {
            let (times, failures) = (known.times.saturating_add(told), known.failures.saturating_add(failed));
            *known = NotifiedRecord { times, failures, ..news.clone() };
        } else if self.notified.len() < NOTIFIED_MAX {
            self.notified.push(NotifiedRecord { times: told, failures: failed, ..news.clone() });
        }
    }

    /// How often a subscriber was told this.
    pub fn times_told(&self, subscriber: &str, what: &str) -> usize {
        let is_it = |known: &&NotifiedRecord| (known.subscriber.as_str(), known.what.as_str()) == (subscriber, what);
        self.notified.iter().find(is_it).map_or(0, |known| known.times as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::samples::attack;
    use super::*;

    #[test]
    fn what_was_told_is_counted_by_subscriber_and_word() {
        let mut record = attack("198.18.0.1/32", State::Detected);
        let mut take = |subscriber: &str, what: &str, state, text: &str| {
            record.take_notified(&NotifiedRecord {
                subscriber: subscriber.into(),
                what: what.into(),
                state,
                time_ms: 1,
                text: text.into(),
                times: 0,
                failures: 0,
            });
        };
        take("notify.a", "ban", NotifiedState::Failed, "exit status 1");
        take("notify.a", "ban", NotifiedState::Delivered, "exit status 0");
        take("notify.a", "unban", NotifiedState::DryRun, "");
        (0..300).for_each(|n| take("webhooks.b", &n.to_string(), NotifiedState::Delivered, ""));
        let [ban, unban, ..] = &record.notified[..] else { panic!("two at least") };
        assert_eq!(
            (ban.times, ban.failures, ban.to_string()),
            (2, 1, "notify.a: ban: delivered: exit status 0".into())
        );
        assert_eq!((unban.times, unban.to_string()), (0, "notify.a: unban: not told: dry run".into()));
        assert_eq!((record.times_told("notify.a", "ban"), record.times_told("notify.a", "unban")), (2, 0));
        assert_eq!(record.notified.len(), NOTIFIED_MAX);
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<AttackRecord>(&json).unwrap(), record);
    }
}
