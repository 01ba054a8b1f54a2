//! What a replay of capture files needs of the control thread in place of [`Control::run`]: it sets the time, and has looks
//! done when they are due by it.

use std::sync::Arc;

use dataplane::pipeline::Shared;

use super::{Answered, Clock, Control, HostAnswer};
use crate::attack::Direction;
use crate::detector::Effect;
use crate::meter::Order;
use crate::record::AttackRecord;

/// One packet of so many wanted is enough to mine, where no more will come.
const SAMPLE_PART: usize = 10;

impl Control {
    /// Lets time go on.
    pub(crate) fn set_time(&mut self, mono_us: u64, wall_us: i64) {
        self.clock = Clock::Replay { mono_us, wall_us };
    }

    /// One look at the thresholds.
    pub(crate) fn look_at_thresholds(&mut self) {
        self.tick();
    }

    /// Samples, and what engines say.
    pub(crate) fn look_at_samples(&mut self) {
        self.service();
    }

    /// Whether silence changes nothing any more: no attack is alive, and nothing was over a threshold lately.
    pub(crate) fn is_idle(&self) -> bool {
        self.detector.followed().next().is_none() && self.outgoing.is_empty()
    }

    /// The attacks alive.
    pub(crate) fn attacks_alive(&self) -> impl Iterator<Item = &AttackRecord> {
        self.detector.attacks()
    }

    /// The same, with what became of their rules.
    pub(crate) fn answers_alive(&self) -> Vec<Answered> {
        self.detector.attacks().map(|record| self.answered(Arc::new(record.clone()))).collect()
    }

    /// Nothing more will come: open captures that have some of what they wait for are mined as they are.
    pub(crate) fn mine_open_captures(&mut self) {
        let has_some = |record: &&AttackRecord| {
            let open = record.capture.filter(|capture| capture.open && !capture.waiting);
            open.is_some_and(|capture| capture.counts.total() * SAMPLE_PART >= capture.wanted)
        };
        let close = |record: &AttackRecord| Effect::CloseCapture { attack: record.id, mine: true };
        let effects = self.detector.attacks().filter(has_some).map(close).collect();
        self.carry_out(effects);
    }

    /// The busiest hosts of a direction.
    pub(crate) fn busiest(&self, direction: Direction, limit: usize) -> Vec<HostAnswer> {
        self.hosts(limit, Order::DirectionPps(direction), None).hosts
    }

    /// What an operator should know.
    pub(crate) fn worries(&self) -> Vec<String> {
        self.alarms()
    }

    /// What the workers counted.
    pub(crate) fn workers(&self) -> impl Iterator<Item = &Shared> {
        self.dataplane.workers().map(|(shared, _)| &**shared)
    }
}
