//! Which crossings become attacks. A host comes before the networks around it, and those before their group: what has an
//! attack of its own counts for that alone, so that nothing is banned twice. Pure.

use std::sync::Arc;

use super::life::{Attack, Turn};
use super::window::History;
use super::{Detector, Followed};
use crate::attack::{Metric, Target};
use crate::record::Crossing;

impl Detector {
    /// Opens an attack for each crossing on a target that has none: hosts first, then ever wider networks, as far as what is
    /// attacked within them leaves a crossing; groups last. Of each kind the worst first.
    pub(super) fn detect(&mut self, turn: &mut Turn) {
        self.set_apart();
        let idle = |followed: &Followed| followed.attack.is_none();
        let mut levels: Vec<u8> =
            self.followed.iter().filter(|(_, followed)| idle(followed)).map(|(target, _)| target.width()).collect();
        levels.sort_unstable();
        levels.dedup();
        let mut crowded_out = 0;
        for width in levels {
            let crossings =
                self.crossings(|target, history| (target.width() == width).then(|| history.own_crossing()).flatten());
            // Places that networks may need are theirs: one network's attack stands for many hosts.
            let wider =
                self.crossings(|target, history| (target.width() > width).then(|| history.crossing()).flatten());
            crowded_out += self.open(turn, crossings, wider.len());
        }
        loop {
            let crossings = self.crossings(|_, history| history.group_crossing());
            let Some(worst) = crossings.into_iter().next() else { break };
            let refused = self.open(turn, vec![worst], 0);
            if refused > 0 {
                crowded_out += refused;
                break;
            }
        }
        if crowded_out > 0 {
            self.lost.attacks += crowded_out as u64;
            let text =
                format!("{crowded_out} targets are over a threshold without an attack: attacks_at_once is reached");
            self.alarm(turn, text);
        }
    }

    /// Targets without an attack that have such a crossing, the worst first.
    fn crossings(
        &self,
        crossing: impl Fn(&Target, &History) -> Option<(Metric, u64, f64)>,
    ) -> Vec<(f64, Target, Crossing)> {
        let mut crossings: Vec<(f64, Target, Crossing)> = Vec::new();
        for (target, followed) in self.followed.iter().filter(|(_, followed)| followed.attack.is_none()) {
            if let Some((metric, threshold, measured)) = crossing(target, &followed.history) {
                let factor = measured / threshold.max(1) as f64;
                crossings.push((factor, *target, Crossing { metric, threshold, measured }));
            }
        }
        crossings.sort_by(|a, b| b.0.total_cmp(&a.0));
        crossings
    }

    /// Opens an attack for each, as long as there is room for so many more; says how many find none.
    fn open(&mut self, turn: &mut Turn, crossings: Vec<(f64, Target, Crossing)>, kept_free: usize) -> usize {
        let room = self.settings.attacks_max.saturating_sub(self.targets.len()).saturating_sub(kept_free);
        for &(_, target, crossing) in crossings.iter().take(room) {
            let whitelisted = self.whitelisted(&target);
            let Some(followed) = self.followed.get_mut(&target) else { continue };
            let whom = (target, &*followed.group, whitelisted);
            let attack = Attack::detect(turn, whom, crossing, &followed.history);
            self.targets.insert(attack.record.id, target);
            followed.attack = Some(attack);
        }
        self.set_apart();
        crossings.len().saturating_sub(room)
    }

    /// What an attack is under way on counts for that alone: what it had is taken out of networks around it, and out of its
    /// group. Attacks on these that are open keep what they have seen.
    fn set_apart(&mut self) {
        let mut newly = Vec::new();
        for (target, followed) in &mut self.followed {
            let was = followed.apart;
            followed.apart = followed.attack.as_ref().is_some_and(|attack| attack.record.state.is_under_way());
            if followed.apart && !was {
                newly.push((*target, Arc::clone(&followed.group), followed.history.clone()));
            }
        }
        for (part, group, history) in newly {
            let others = self.followed.iter_mut().filter(|(other, followed)| {
                followed.attack.is_none() && other.direction == part.direction && **other != part
            });
            for (other, followed) in others {
                if other.is_around(&part) {
                    followed.history.without_part(&history);
                } else if followed.group == group {
                    followed.history.without_other(&history);
                }
            }
        }
    }
}
