//! The always-on tap: how many packets workers take, and what is learned of them.

use std::sync::Arc;

use dataplane::packet::Headers;
use dataplane::pipeline::Shared;
use dataplane::tap::TAP_ONE_IN_MAX;

use crate::attack::{Direction, Target};
use crate::meter::Map;

/// Keeps the tap at so many packets a second, whatever the rate of traffic.
#[derive(Debug)]
pub(super) struct Tap {
    per_second: u32,
    /// Packets of each worker at the last look.
    seen: Vec<u64>,
}

impl Tap {
    /// So many packets a second of all workers; 0: none.
    pub(super) fn new(per_second: u32) -> Tap {
        Tap { per_second, seen: Vec::new() }
    }

    /// So many from now on.
    pub(super) fn set_per_second(&mut self, per_second: u32) {
        self.per_second = per_second;
    }

    /// Tells workers how many packets to take one of, by what came in the last `seconds`.
    pub(super) fn follow<'a>(&mut self, workers: impl Iterator<Item = &'a Shared>, seconds: f64) {
        let workers: Vec<&Shared> = workers.collect();
        self.seen.resize(workers.len(), 0);
        for (worker, seen) in workers.iter().zip(&mut self.seen) {
            let total = worker.stats.total_packets();
            let rate = total.saturating_sub(*seen) as f64 / seconds.max(1e-3);
            *seen = total;
            let share = f64::from(self.per_second) / workers.len() as f64;
            worker.tap.set_one_in(one_in(worker.tap.one_in(), rate, share));
        }
    }
}

/// How many packets to take one of, so that `share` of `rate` are taken, or a quarter of it: it changes seldom, since what is taken
/// under one number is worth less beside what is taken under another.
fn one_in(now: u32, rate: f64, share: f64) -> u32 {
    if share == 0.0 {
        return 0;
    }
    let least = (rate / share).min(f64::from(TAP_ONE_IN_MAX));
    if now > 0 && f64::from(now) >= least && (f64::from(now) <= 4.0 * least || now == 1) {
        return now;
    }
    (least.ceil() as u32).max(1).next_power_of_two()
}

/// Whom of ours a packet of the tap is to or from, and their group.
pub(super) fn ends<'a>(map: &'a Map, headers: &Headers) -> impl Iterator<Item = (Target, &'a Arc<str>)> {
    let hosts = Direction::ALL.map(|direction| (direction, direction.near(headers)));
    hosts.into_iter().filter(|(_, host)| map.network(*host).is_some()).map(|(direction, host)| {
        let target = Target { prefix: map.host(host), direction };
        (target, &map.group(host).name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_as_many_as_it_may_and_changes_seldom() {
        assert_eq!(one_in(64, 14_880_000.0, 2000.0), 8192);
        assert_eq!(one_in(8192, 14_880_000.0, 2000.0), 8192);
        assert_eq!(one_in(8192, 5_000_000.0, 2000.0), 8192, "still a quarter of what it may");
        assert_eq!(one_in(8192, 4_000_000.0, 2000.0), 2048);
        assert_eq!((one_in(64, 100.0, 2000.0), one_in(1, 0.0, 2000.0)), (1, 1));
        assert_eq!((one_in(64, 1e6, 0.0), one_in(0, 1e6, 1000.0)), (0, 1024));
        assert_eq!(one_in(1, 1e12, 1.0), TAP_ONE_IN_MAX);
    }
}
