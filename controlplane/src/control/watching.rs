//! Which hosts workers look at closer: hands out watch marks and rule slots, and makes the snapshot that workers read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dataplane::Dataplane;
use dataplane::hosts::{Slab, Slot};
use dataplane::watch::{ActiveRule, Capture, WATCHED_MAX, Watch, Watched};
use uuid::Uuid;

use crate::attack::Target;
use crate::record::AttackRecord;

/// A rule whose matches workers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Active {
    /// The attack that it belongs to.
    pub(super) attack: Uuid,
    /// The rule.
    pub(super) rule: Uuid,
    /// Whose traffic.
    pub(super) target: Target,
    /// Where matches are counted.
    pub(super) slot: u16,
}

/// Marks and slots in use.
#[derive(Debug, Default)]
pub(super) struct Watching {
    active: Vec<Active>,
    marks: BTreeMap<IpAddr, u16>,
    /// Slots that some worker may still count in, by an old snapshot.
    retired: BTreeSet<u16>,
    /// Hosts and rules that found no place.
    crowded_out: usize,
}

impl Watching {
    pub(super) fn active(&self) -> &[Active] {
        &self.active
    }

    /// Hosts and rules that found no place in the last snapshot.
    pub(super) fn crowded_out(&self) -> usize {
        self.crowded_out
    }

    /// A new snapshot from held rules and open captures. Gives the slots of rules that are new.
    pub(super) fn rebuild<'a>(
        &mut self,
        dataplane: &mut Dataplane,
        attacks: impl Iterator<Item = &'a AttackRecord>,
        captures: impl Iterator<Item = (IpAddr, Capture)>,
    ) -> Vec<u16> {
        let slots = dataplane.workers().map(|(shared, _)| shared.slab.layout().rules).min().unwrap_or(0);
        let mut hosts: BTreeMap<IpAddr, Watched> = BTreeMap::new();
        let watched = |hosts: &mut BTreeMap<IpAddr, Watched>, host: IpAddr, f: &mut dyn FnMut(&mut Watched)| {
            f(hosts.entry(host).or_insert_with(|| Watched { host, rules: Default::default(), captures: Vec::new() }));
        };
        let before = std::mem::take(&mut self.active);
        let mut taken: BTreeSet<u16> =
            before.iter().map(|active| active.slot).chain(self.retired.iter().copied()).collect();
        let mut fresh = Vec::new();
        self.crowded_out = 0;
        for attack in attacks {
            for rule in attack.held_rules() {
                let known = before.iter().find(|active| active.attack == attack.id && active.rule == rule.id);
                let slot = match known {
                    Some(active) => active.slot,
                    None => match (0..slots as u16).find(|slot| !taken.contains(slot)) {
                        Some(slot) => {
                            taken.insert(slot);
                            fresh.push(slot);
                            slot
                        }
                        None => {
                            self.crowded_out += 1;
                            continue;
                        }
                    },
                };
                self.active.push(Active { attack: attack.id, rule: rule.id, target: attack.target, slot });
                let active = ActiveRule { rule: rule.flow_spec.rule.clone(), slot };
                let direction = attack.target.direction as usize;
                watched(&mut hosts, attack.target.prefix.addr(), &mut |host| {
                    host.rules[direction].push(active.clone())
                });
            }
        }
        for (host, capture) in captures {
            watched(&mut hosts, host, &mut |host| host.captures.push(capture));
        }
        self.retired.extend(before.iter().map(|active| active.slot));
        for active in &self.active {
            self.retired.remove(&active.slot);
        }
        self.publish(dataplane, hosts);
        fresh
    }

    fn publish(&mut self, dataplane: &mut Dataplane, hosts: BTreeMap<IpAddr, Watched>) {
        let gone: Vec<(IpAddr, u16)> = self
            .marks
            .iter()
            .filter(|(host, _)| !hosts.contains_key(host))
            .map(|(host, mark)| (*host, *mark))
            .collect();
        for (host, _) in &gone {
            self.marks.remove(host);
        }
        let mut places: Vec<Option<Watched>> = Vec::new();
        for (host, watched) in hosts {
            let mark = match self.marks.get(&host) {
                Some(mark) => *mark,
                None => {
                    let taken: BTreeSet<u16> = self.marks.values().copied().collect();
                    let Some(mark) = (1..=WATCHED_MAX as u16).find(|mark| !taken.contains(mark)) else {
                        self.crowded_out += 1;
                        continue;
                    };
                    self.marks.insert(host, mark);
                    mark
                }
            };
            if places.len() < usize::from(mark) {
                places.resize_with(usize::from(mark), || None);
            }
            places[usize::from(mark) - 1] = Some(watched);
        }
        dataplane.watch.replace(Watch::new(places));
        for (shared, _) in dataplane.workers() {
            for (host, _) in &gone {
                if let Some(slot) = find(&shared.slab, *host) {
                    shared.slab.set_watch(slot, 0);
                }
            }
        }
        self.mark(dataplane);
    }

    /// Marks the slots of watched hosts. Again at every tick: a host may have got another slot.
    pub(super) fn mark(&self, dataplane: &Dataplane) {
        for (shared, _) in dataplane.workers() {
            for (host, mark) in &self.marks {
                if let Some(slot) = find(&shared.slab, *host) {
                    shared.slab.set_watch(slot, *mark);
                }
            }
        }
    }

    /// Drops old snapshots; once none is read any more, retired slots are free.
    pub(super) fn sweep(&mut self, dataplane: &mut Dataplane) {
        if dataplane.watch.sweep() == 0 {
            self.retired.clear();
        }
    }
}

fn find(slab: &Slab, host: IpAddr) -> Option<Slot> {
    match host {
        IpAddr::V4(address) => slab.find_v4(address.into()),
        IpAddr::V6(address) => slab.find_v6(address.into()),
    }
}
