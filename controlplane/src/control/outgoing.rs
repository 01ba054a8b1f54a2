//! What others are told waits until it is on record: whoever starts again after a kill then knows what they know. A disk
//! that fails is tried once, and one that stands still is waited for no longer than [`WAIT_MAX_MS`]: acting comes first.

use std::collections::VecDeque;

/// A disk that is well has written by then, and no router waits noticeably longer for its rule.
pub(crate) const WAIT_MAX_MS: u64 = 100;

/// What waits, in order.
#[derive(Debug)]
pub(crate) struct Outgoing<T> {
    waiting: VecDeque<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    /// The last save before it.
    save: u64,
    /// When it goes in any case.
    due_ms: u64,
    message: T,
}

impl<T> Default for Outgoing<T> {
    fn default() -> Outgoing<T> {
        Outgoing { waiting: VecDeque::new() }
    }
}

impl<T> Outgoing<T> {
    /// A message that follows from what was saved up to the save of this number.
    pub(crate) fn push(&mut self, message: T, save: u64, now_ms: u64) {
        self.waiting.push_back(Waiting { save, due_ms: now_ms + WAIT_MAX_MS, message });
    }

    /// The next message whose time has come: the disk was tried with all saves up to `settled`.
    pub(crate) fn pop(&mut self, settled: u64, now_ms: u64) -> Option<T> {
        let first = self.waiting.front()?;
        if first.save > settled && first.due_ms > now_ms {
            return None;
        }
        self.waiting.pop_front().map(|first| first.message)
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_when_its_record_is_written_or_its_time_is_up_and_never_before_another() {
        let mut outgoing = Outgoing::default();
        for (message, save, now_ms) in [("a", 0, 0), ("b", 2, 10), ("c", 1, 20)] {
            outgoing.push(message, save, now_ms);
        }
        assert_eq!((outgoing.pop(0, 20), outgoing.pop(0, 20)), (Some("a"), None), "nothing was saved before it");
        assert_eq!(outgoing.pop(1, 20), None, "c is on record, but behind b");
        assert_eq!((outgoing.pop(2, 20), outgoing.pop(2, 20)), (Some("b"), Some("c")));
        outgoing.push("d", 9, 50);
        assert_eq!((outgoing.pop(2, 149), outgoing.pop(2, 150)), (None, Some("d")));
        assert!(outgoing.is_empty());
    }
}
