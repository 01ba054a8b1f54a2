//! Flows a second of a host, out of workers' sketches.

use std::net::IpAddr;
use std::sync::Arc;

use dataplane::flows::Registers;
use dataplane::pipeline::Shared;

use super::{Map, Meter, Tick};
use crate::attack::{Direction, Metric, Target, Volumes};
use crate::detector::Observed;

/// An epoch is about a second; one that is shorter, or that still runs, counts as one. So a flow that lasts counts once a
/// second, and nothing is extrapolated.
const EPOCH_MIN_S: f64 = 1.0;
/// Packets that a host had within the last second show in its smoothed rate by more than this share.
const SMOOTHED_SHARE: f64 = 0.3;

/// The epoch that runs and the one that is complete, and how long they really are.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    running: u32,
    running_s: f64,
    complete_s: f64,
}

impl Epochs {
    /// A tick of so many seconds is over; the next one is of `epoch`.
    fn begin(&mut self, epoch: u32, seconds: f64) {
        self.running_s += seconds;
        if epoch != self.running {
            self.complete_s = std::mem::take(&mut self.running_s);
            self.running = epoch;
        }
    }

    /// The epoch that is complete, and its seconds.
    pub(super) fn complete(&self) -> (u32, f64) {
        (self.running.wrapping_sub(1), self.complete_s.max(EPOCH_MIN_S))
    }

    /// The higher one of what the complete epoch had and what the running one has had so far: a beginning is seen before
    /// its epoch is over, and the rate does not start at nothing with every epoch.
    fn rate<'a>(&self, workers: impl Iterator<Item = &'a Arc<Shared>> + Clone, host: IpAddr, outgoing: bool) -> f64 {
        let running = flows_in(workers.clone(), host, outgoing, self.running) / self.running_s.max(EPOCH_MIN_S);
        let (complete, seconds) = self.complete();
        running.max(flows_in(workers, host, outgoing, complete) / seconds)
    }
}

/// How many flows a host had in an epoch. One that several workers saw counts once.
pub(super) fn flows_in<'a>(
    workers: impl Iterator<Item = &'a Arc<Shared>>,
    host: IpAddr,
    outgoing: bool,
    epoch: u32,
) -> f64 {
    let mut union = Registers::default();
    for shared in workers {
        if let Some(slot) = shared.slab.find(host) {
            union.merge(&shared.flows.read(slot, outgoing, epoch, host));
        }
    }
    union.estimate()
}

impl Map {
    /// Whether a host with this smoothed rate of packets may have had so many flows within a second that some group minds.
    pub(super) fn may_have_flows(&self, direction: Direction, smoothed_pps: impl FnOnce() -> f64) -> bool {
        let floor = self.flow_floor[direction as usize];
        floor.is_finite() && smoothed_pps() > floor * SMOOTHED_SHARE
    }
}

impl Meter {
    /// Flows a second of a host, incoming and outgoing. Nothing where flows are not counted.
    pub fn flows(&self, host: IpAddr) -> [f64; 2] {
        let workers = self.workers.iter().map(|(shared, _)| shared);
        Direction::ALL.map(|direction| self.epochs.rate(workers.clone(), host, direction == Direction::Outgoing))
    }

    /// Tells the flows of those observed, and of followed hosts that were silent within the tick. Who was observed only for
    /// the flows that he might have is left out if he has not.
    pub(super) fn tick_flows(&mut self, seconds: f64, result: &mut Tick) {
        let Some(epoch) = self.workers.first().map(|(shared, _)| shared.flows.epoch(self.tick)) else { return };
        self.epochs.begin(epoch, seconds);
        self.sweep();
        if self.map.flow_floor.iter().all(|floor| floor.is_infinite()) {
            return;
        }
        for observed in &mut result.observed {
            if observed.thresholds.get(Metric::FLOWS).is_some() {
                observed.all.set_flows(self.flows_of(&observed.target), seconds);
            }
        }
        let observed: Vec<Target> = result.observed.iter().map(|observed| observed.target).collect();
        let observed = observed.into_iter().collect::<std::collections::HashSet<_>>();
        let is_host = |target: &Target| self.map.host(target.prefix.addr()) == target.prefix;
        for &target in self.followed.difference(&observed).filter(|&target| is_host(target)) {
            let group = self.map.group(target.prefix.addr());
            let thresholds = group.thresholds_of(target.prefix.addr(), target.direction);
            let rate = thresholds.get(Metric::FLOWS).map_or(0.0, |_| self.flows_of(&target));
            if rate > 0.0 {
                let mut all = Volumes::default();
                all.set_flows(rate, seconds);
                let last_resort = group.last_resort;
                let (group, matched) = (Arc::clone(&group.name), Volumes::default());
                result.observed.push(Observed {
                    target,
                    group,
                    last_resort,
                    thresholds,
                    seconds,
                    all,
                    matched,
                    load: None,
                });
            }
        }
        let is_over = |observed: &Observed| observed.thresholds.worst(&observed.all, seconds).is_some();
        result.observed.retain(|observed| self.followed.contains(&observed.target) || is_over(observed));
    }

    fn flows_of(&self, target: &Target) -> f64 {
        self.flows(target.prefix.addr())[target.direction as usize]
    }
}
