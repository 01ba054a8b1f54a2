//! Which hosts workers look at closer: hands out watch marks and rule slots, and makes the snapshot that workers read.

use std::collections::{BTreeMap, BTreeSet};

use dataplane::Dataplane;
use dataplane::rule::SET_MAX;
use dataplane::watch::{ActiveRule, ActiveRules, Capture, WATCHED_MAX, Watch, Watched};
use ipnet::IpNet;
use uuid::Uuid;

use crate::attack::{Direction, Target};
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

/// What is to be watched from now on.
struct Plan {
    /// By mark, less 1.
    places: Vec<Option<Watched>>,
    /// Hosts that are watched no more.
    gone: Vec<IpNet>,
    /// Slots of rules that are new.
    fresh: Vec<u16>,
}

/// Marks and slots in use.
#[derive(Debug, Default)]
pub(super) struct Watching {
    active: Vec<Active>,
    marks: BTreeMap<IpNet, u16>,
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
        captures: impl Iterator<Item = (IpNet, Capture)>,
    ) -> Vec<u16> {
        let slots = dataplane.workers().map(|(shared, _)| shared.slab.layout().rules).min().unwrap_or(0);
        let Plan { places, gone, fresh } = self.plan(slots, attacks, captures);
        dataplane.watch.replace(Watch::new(places));
        for (shared, _) in dataplane.workers() {
            for slot in gone.iter().filter_map(|host| shared.slab.find(host.addr())) {
                shared.slab.set_watch(slot, 0);
            }
        }
        self.mark(dataplane);
        fresh
    }

    /// Who is to be watched, with rules and captures; a rule and a host keep the slot and the mark that they have.
    fn plan<'a>(
        &mut self,
        slots: usize,
        attacks: impl Iterator<Item = &'a AttackRecord>,
        captures: impl Iterator<Item = (IpNet, Capture)>,
    ) -> Plan {
        self.crowded_out = 0;
        let mut hosts: BTreeMap<IpNet, Watched> = BTreeMap::new();
        let blank = |prefix: IpNet| Watched { prefix: prefix.into(), rules: Default::default(), captures: Vec::new() };
        let (rules, fresh) = self.place_rules(slots, attacks);
        for (target, rules) in rules {
            let (host, outgoing) = (target.prefix, target.direction == Direction::Outgoing);
            let watched = hosts.entry(host).or_insert_with(|| blank(host));
            watched.rules[target.direction as usize] = ActiveRules::new(host, outgoing, &rules);
        }
        for (host, capture) in captures {
            hosts.entry(host).or_insert_with(|| blank(host)).captures.push(capture);
        }
        let (places, gone) = self.place_hosts(hosts);
        Plan { places, gone, fresh }
    }

    /// Gives each held rule a slot. Gives the slots that are new, too.
    fn place_rules<'a>(
        &mut self,
        slots: usize,
        attacks: impl Iterator<Item = &'a AttackRecord>,
    ) -> (BTreeMap<Target, Vec<ActiveRule>>, Vec<u16>) {
        let before = std::mem::take(&mut self.active);
        self.retired.extend(before.iter().map(|active| active.slot));
        let mut free = (0..slots as u16).filter(|slot| !self.retired.contains(slot));
        let (mut rules, mut fresh) = (BTreeMap::<Target, Vec<ActiveRule>>::new(), Vec::new());
        for (attack, rule) in attacks.flat_map(|attack| attack.counted_rules().map(move |rule| (attack, rule))) {
            // Rules that are on their way out may be more than are ever wanted at once.
            if rules.get(&attack.target).is_some_and(|rules| rules.len() >= SET_MAX) {
                self.crowded_out += 1;
                continue;
            }
            let known = before.iter().find(|active| active.attack == attack.id && active.rule == rule.id);
            let Some(slot) = known.map(|active| active.slot).or_else(|| free.next().inspect(|&slot| fresh.push(slot)))
            else {
                self.crowded_out += 1;
                continue;
            };
            self.active.push(Active { attack: attack.id, rule: rule.id, target: attack.target, slot });
            let active = ActiveRule { rule: rule.flow_spec.rule.clone(), slot };
            rules.entry(attack.target).or_default().push(active);
        }
        for active in &self.active {
            self.retired.remove(&active.slot);
        }
        (rules, fresh)
    }

    /// Gives each host a mark, and puts it into its place. Gives the hosts that have none any more, too.
    fn place_hosts(&mut self, hosts: BTreeMap<IpNet, Watched>) -> (Vec<Option<Watched>>, Vec<IpNet>) {
        let gone: Vec<IpNet> = self.marks.keys().filter(|host| !hosts.contains_key(host)).copied().collect();
        for host in &gone {
            self.marks.remove(host);
        }
        let taken: BTreeSet<u16> = self.marks.values().copied().collect();
        let mut free = (1..=WATCHED_MAX as u16).filter(|mark| !taken.contains(mark));
        let mut places: Vec<Option<Watched>> = Vec::new();
        for (host, watched) in hosts {
            let Some(mark) = self.marks.get(&host).copied().or_else(|| free.next()) else {
                self.crowded_out += 1;
                continue;
            };
            self.marks.insert(host, mark);
            if places.len() < usize::from(mark) {
                places.resize_with(usize::from(mark), || None);
            }
            places[usize::from(mark) - 1] = Some(watched);
        }
        (places, gone)
    }

    /// Marks the slots of watched hosts. Again at every tick: a host may have got another slot.
    pub(super) fn mark(&self, dataplane: &Dataplane) {
        for (shared, _) in dataplane.workers() {
            for (host, mark) in &self.marks {
                if let Some(slot) = shared.slab.find(host.addr()) {
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::record::samples::{attack, rule};
    use crate::record::{RuleRecord, State};

    const SLOTS: usize = 4;

    /// An attack with so many held rules.
    fn mitigated(host: &str, rules: usize) -> AttackRecord {
        let held = |_| RuleRecord { held_ms: Some(1), ..rule(host, None, 0) };
        AttackRecord { rules: (0..rules).map(held).collect(), ..attack(host, State::Mitigating) }
    }

    fn capture(host: &str, request: u32) -> (IpNet, Capture) {
        let capture = Capture { request, place: 0, stride: 1, worker_max: 1, outgoing: false };
        (host.parse().unwrap(), capture)
    }

    /// Marks of the hosts in a plan, and their rules' slots.
    fn watched(plan: &Plan) -> Vec<(u16, String, Vec<u16>)> {
        let slots = |watched: &Watched| watched.rules.iter().flat_map(ActiveRules::slots).collect();
        let places = (1..).zip(&plan.places);
        places
            .filter_map(|(mark, host)| {
                host.as_ref().map(|host| (mark, crate::attack::name(host.prefix.net()), slots(host)))
            })
            .collect()
    }

    #[test]
    fn hosts_keep_their_marks_and_rules_their_slots() {
        let mut watching = Watching::default();
        let [one, two, three] =
            [mitigated("192.0.2.1/32", 2), mitigated("192.0.2.2/32", 1), mitigated("192.0.2.3/32", 1)];
        let plan = watching.plan(SLOTS, [&one, &two].into_iter(), [].into_iter());
        assert_eq!(watched(&plan), [(1, "192.0.2.1".into(), vec![0, 1]), (2, "192.0.2.2".into(), vec![2])]);
        assert_eq!((plan.fresh, plan.gone.len()), (vec![0, 1, 2], 0));

        // The first goes; its mark is free at once, its slots are not: an old snapshot may still count in them.
        let plan = watching.plan(SLOTS, [&two, &three].into_iter(), [].into_iter());
        assert_eq!(watched(&plan), [(1, "192.0.2.3".into(), vec![3]), (2, "192.0.2.2".into(), vec![2])]);
        assert_eq!((plan.fresh, plan.gone), (vec![3], vec!["192.0.2.1/32".parse::<IpNet>().unwrap()]));
        assert_eq!(watching.active().iter().map(|active| active.slot).collect::<Vec<_>>(), [2, 3]);

        watching.retired.clear();
        let plan = watching.plan(SLOTS, [&one, &two, &three].into_iter(), [].into_iter());
        assert_eq!(plan.fresh, [0, 1]);
        assert_eq!(watching.crowded_out(), 0);
    }

    #[test]
    fn only_held_rules_and_open_captures_are_watched() {
        let mut watching = Watching::default();
        let mut wanted = mitigated("192.0.2.1/32", 1);
        wanted.rules[0].held_ms = None;
        let plan = watching.plan(SLOTS, [&wanted].into_iter(), [].into_iter());
        assert_eq!(watched(&plan), []);
        let outgoing = AttackRecord {
            target: Target { direction: Direction::Outgoing, ..wanted.target },
            ..mitigated("192.0.2.1/32", 1)
        };
        let captures = [capture("192.0.2.1/32", 7), capture("192.0.2.1/32", 8), capture("2001:db8::1/128", 9)];
        let plan = watching.plan(SLOTS, [&wanted, &outgoing].into_iter(), captures.into_iter());
        let requests = |host: &Watched| host.captures.iter().map(|capture| capture.request).collect::<Vec<_>>();
        let [Some(first), Some(second)] = plan.places.as_slice() else { panic!("two hosts, not {:?}", plan.places) };
        assert_eq!(
            (first.rules[0].slots().count(), first.rules[1].slots().count(), requests(first)),
            (0, 1, vec![7, 8])
        );
        assert_eq!((second.prefix.net(), requests(second)), ("2001:db8::1/128".parse().unwrap(), vec![9]));
    }

    #[test]
    fn what_finds_no_place_is_told() {
        let mut watching = Watching::default();
        let many = mitigated("192.0.2.1/32", SLOTS + 2);
        let plan = watching.plan(SLOTS, [&many].into_iter(), [].into_iter());
        assert_eq!((plan.fresh.len(), watching.crowded_out()), (SLOTS, 2));

        let hosts = (0..WATCHED_MAX as u32 + 3)
            .map(|index| (IpNet::from(IpAddr::V4((0xc612_0000 + index).into())), capture("192.0.2.9/32", 1).1));
        let plan = watching.plan(SLOTS, [].into_iter(), hosts);
        assert_eq!((plan.places.iter().flatten().count(), watching.crowded_out()), (WATCHED_MAX, 3));
        assert_eq!(plan.gone.len(), 1);
    }
}
