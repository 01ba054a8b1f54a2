//! What waits for one subscriber: lanes, one for each target, whose letters go one after the other, the next one once it is on record
//! what came of the one before; lanes do not wait for each other. Pure; time is an argument.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ipnet::IpNet;

use super::letter::Letter;

#[derive(Debug, Default)]
struct Lane {
    letters: VecDeque<Arc<Letter>>,
    is_running: bool,
    /// What came of the letter before is not on record yet.
    is_open: bool,
    /// Its first letter was tried so often in vain.
    failures: u32,
    not_before_ms: u64,
}

impl Lane {
    fn is_ready(&self) -> bool {
        !self.is_running && !self.is_open && !self.letters.is_empty()
    }
}

/// What waits for one subscriber.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: BTreeMap<IpNet, Lane>,
    waiting: usize,
    running: usize,
}

impl Queue {
    pub(super) fn push(&mut self, letter: Arc<Letter>) {
        self.lanes.entry(letter.lane()).or_default().letters.push_back(letter);
        self.waiting += 1;
    }

    /// How many are not delivered yet, those on their way included.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many are on their way.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// The oldest letter that may go now. It is on its way from here on.
    pub(super) fn next(&mut self, now_ms: u64, at_most: usize) -> Option<Arc<Letter>> {
        if self.running >= at_most {
            return None;
        }
        let may_go = |lane: &&mut Lane| lane.is_ready() && lane.not_before_ms <= now_ms;
        let lane =
            self.lanes.values_mut().filter(may_go).min_by_key(|lane| lane.letters.front().map(|first| first.seq))?;
        let first = Arc::clone(lane.letters.front()?);
        lane.is_running = true;
        self.running += 1;
        Some(first)
    }

    /// How often the first letter of a lane was tried in vain.
    pub(super) fn failures(&self, lane: IpNet) -> u32 {
        self.lanes.get(&lane).map_or(0, |lane| lane.failures)
    }

    /// When the next letter that waits for its time may go.
    pub(super) fn wake_ms(&self) -> Option<u64> {
        self.lanes.values().filter(|lane| lane.is_ready()).map(|lane| lane.not_before_ms).min()
    }

    /// The letter that was on its way in this lane is delivered, or given up.
    pub(super) fn finish(&mut self, lane: IpNet) {
        let Some(found) = self.lanes.get_mut(&lane).filter(|found| found.is_running) else { return };
        self.running -= 1;
        self.waiting -= 1;
        found.letters.pop_front();
        *found = Lane { letters: std::mem::take(&mut found.letters), is_open: true, ..Lane::default() };
    }

    /// What came of the last letter of this lane is on record.
    pub(super) fn close(&mut self, lane: IpNet) {
        let Some(found) = self.lanes.get_mut(&lane) else { return };
        found.is_open = false;
        if found.letters.is_empty() {
            self.lanes.remove(&lane);
        }
    }

    /// It is to be tried again then.
    pub(super) fn try_again(&mut self, lane: IpNet, at_ms: u64) {
        let Some(found) = self.lanes.get_mut(&lane).filter(|found| found.is_running) else { return };
        self.running -= 1;
        found.is_running = false;
        found.failures = found.failures.saturating_add(1);
        found.not_before_ms = at_ms;
    }

    /// Takes out all that is not on its way, in order.
    pub(super) fn drain(&mut self) -> Vec<Arc<Letter>> {
        let mut letters: Vec<Arc<Letter>> = Vec::new();
        for lane in self.lanes.values_mut() {
            let rest = lane.letters.split_off(usize::from(lane.is_running));
            letters.extend(rest);
        }
        self.lanes.retain(|_, lane| lane.is_open || !lane.letters.is_empty());
        self.waiting -= letters.len();
        letters.sort_by_key(|letter| letter.seq);
        letters
    }
}

#[cfg(test)]
mod tests {
    use super::super::letter::samples::letter;
    use super::*;

    fn queue(hosts: &[&str]) -> Queue {
        let mut queue = Queue::default();
        (1..).zip(hosts).for_each(|(seq, host)| queue.push(Arc::new(letter(seq, host))));
        queue
    }

    fn next(queue: &mut Queue, now_ms: u64, at_most: usize) -> Option<u64> {
        queue.next(now_ms, at_most).map(|letter| letter.seq)
    }

    fn lane(host: &str) -> IpNet {
        format!("{host}/32").parse().unwrap()
    }

    fn finish(queue: &mut Queue, lane: IpNet) {
        queue.finish(lane);
        queue.close(lane);
    }

    const A: &str = "198.18.0.1";
    const B: &str = "198.18.0.2";

    #[test]
    fn letters_of_one_target_go_in_order_and_hold_up_no_other() {
        let mut queue = queue(&[A, A, B, A]);
        assert_eq!([next(&mut queue, 0, 9), next(&mut queue, 0, 9), next(&mut queue, 0, 9)], [Some(1), Some(3), None]);
        assert_eq!((queue.waiting(), queue.running()), (4, 2));
        finish(&mut queue, lane(A));
        assert_eq!([next(&mut queue, 0, 9), next(&mut queue, 0, 9)], [Some(2), None]);
        finish(&mut queue, lane(A));
        finish(&mut queue, lane(B));
        assert_eq!([next(&mut queue, 0, 9), next(&mut queue, 0, 9)], [Some(4), None]);
        finish(&mut queue, lane(A));
        finish(&mut queue, lane(A));
        assert_eq!((queue.waiting(), queue.running(), queue.lanes.len()), (0, 0, 0));
    }

    #[test]
    fn no_more_than_so_many_are_on_their_way_and_the_oldest_goes_first() {
        let mut queue = queue(&[B, A, "198.18.0.3"]);
        assert_eq!([next(&mut queue, 0, 2), next(&mut queue, 0, 2), next(&mut queue, 0, 2)], [Some(1), Some(2), None]);
        finish(&mut queue, lane(A));
        assert_eq!([next(&mut queue, 0, 2), next(&mut queue, 0, 2)], [Some(3), None]);
    }

    #[test]
    fn what_failed_waits_for_its_time_before_all_else_of_its_target() {
        let mut queue = queue(&[A, A, B]);
        assert_eq!(next(&mut queue, 0, 1), Some(1));
        queue.try_again(lane(A), 500);
        assert_eq!(queue.wake_ms(), Some(0), "the other lane may go at once");
        assert_eq!([next(&mut queue, 499, 9), next(&mut queue, 499, 9)], [Some(3), None]);
        assert_eq!(queue.wake_ms(), Some(500));
        assert_eq!((next(&mut queue, 500, 9), queue.failures(lane(A))), (Some(1), 1));
        finish(&mut queue, lane(A));
        assert_eq!((next(&mut queue, 500, 9), queue.failures(lane(A))), (Some(2), 0));
    }

    #[test]
    fn what_is_on_its_way_stays_when_all_else_is_taken_out() {
        let mut queue = queue(&[A, B, A, B]);
        assert_eq!(next(&mut queue, 0, 1), Some(1));
        let out: Vec<u64> = queue.drain().iter().map(|letter| letter.seq).collect();
        assert_eq!((out, queue.waiting(), queue.running()), (vec![2, 3, 4], 1, 1));
        finish(&mut queue, lane(A));
        assert_eq!((queue.waiting(), queue.lanes.len()), (0, 0));
    }

    #[test]
    fn the_next_one_waits_until_it_is_on_record_what_came_of_the_one_before() {
        let mut queue = queue(&[A, A, B]);
        assert_eq!(next(&mut queue, 0, 1), Some(1));
        queue.finish(lane(A));
        assert_eq!((queue.waiting(), queue.running()), (2, 0));
        assert_eq!([next(&mut queue, 0, 9), next(&mut queue, 0, 9)], [Some(3), None], "another lane has its place");
        assert_eq!(queue.wake_ms(), None);
        queue.close(lane(A));
        assert_eq!(next(&mut queue, 0, 9), Some(2));
    }
}
