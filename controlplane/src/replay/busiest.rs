//! Who had most traffic, and how much at most: what thresholds are chosen by. Values only.

use std::collections::BTreeMap;

use crate::attack::{Direction, Rate, Rates, Target};
use crate::control::Control;

/// So many of each direction are listed, and of each look.
pub(super) const LISTED: usize = 5;
/// More than these are not remembered.
const KEPT_MAX: usize = 64;

/// The highest rates of the busiest hosts.
#[derive(Debug, Default)]
pub(super) struct Busiest {
    peaks: BTreeMap<Target, Rate>,
}

impl Busiest {
    /// How busy they are now, as `leveectl hosts` would show it.
    pub(super) fn look(&mut self, control: &Control) {
        for direction in Direction::ALL {
            for host in control.busiest(direction, LISTED) {
                let now = Rates::from(&host.rates.rates[direction as usize]).total;
                let peak = self.peaks.entry(Target { prefix: host.host, direction }).or_default();
                *peak = Rate { pps: peak.pps.max(now.pps), bps: peak.bps.max(now.bps) };
            }
        }
        if self.peaks.len() > KEPT_MAX {
            self.peaks = self.list().into_iter().collect();
        }
    }

    /// The first of each direction.
    pub(super) fn list(&self) -> Vec<(Target, Rate)> {
        let of = |direction| {
            let mut hosts: Vec<(Target, Rate)> = self
                .peaks
                .iter()
                .filter(|(target, _)| target.direction == direction)
                .map(|(it, peak)| (*it, *peak))
                .collect();
            hosts.sort_by(|a, b| b.1.pps.total_cmp(&a.1.pps));
            hosts.truncate(LISTED);
            hosts
        };
        Direction::ALL.into_iter().flat_map(of).collect()
    }
}
