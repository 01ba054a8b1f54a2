//! What workers look at closer: hands out watch marks and rule slots, and makes the snapshot that workers read.
//!
//! A packet is looked at for the longest watched prefix alone. So a host within an attacked network that is watched by itself
//! has the network's rules beside its own, with slots of their own: what they match there is told apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dataplane::Dataplane;
use dataplane::hosts::key;
use dataplane::rule::SET_MAX;
use dataplane::watch::{ActiveRule, ActiveRules, Capture, WATCHED_MAX, Watch, Watched};
use ipnet::IpNet;
use uuid::Uuid;

use super::marking::{Marking, is_host};
use crate::attack::{Direction, Target};
use crate::record::AttackRecord;

/// A rule whose matches workers count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Active {
    /// The attack that it belongs to.
    pub(super) attack: Uuid,
    /// The rule.
    pub(super) rule: Uuid,
    /// Whose traffic.
    pub(super) target: Target,
    /// What this traffic is a part of, as far as the rule's attack: the target, and networks around it.
    pub(super) counts_for: Vec<Target>,
    /// Where matches are counted.
    pub(super) slot: u16,
}

/// Which attacks and captures there are, and what the detector follows.
#[derive(Debug, Default)]
pub(super) struct Scene<'a> {
    pub(super) attacks: Vec<&'a AttackRecord>,
    pub(super) captures: Vec<(Target, Capture)>,
    /// Followed targets within networks whose rules are held: what these match must be told apart there.
    pub(super) parts: BTreeSet<Target>,
    /// Targets that count for their own attack alone.
    pub(super) apart: BTreeSet<Target>,
}

/// What is to be watched from now on.
struct Plan {
    /// By mark, less 1.
    places: Vec<Option<Watched>>,
    /// Prefixes that are watched no more.
    gone: Vec<IpNet>,
    /// Slots of rules that are new.
    fresh: Vec<u16>,
}

/// Marks and slots in use.
#[derive(Debug, Default)]
pub(super) struct Watching {
    active: Vec<Active>,
    marks: BTreeMap<IpNet, u16>,
    marking: Marking,
    /// Slots that some worker may still count in, by an old snapshot.
    retired: BTreeSet<u16>,
    /// Prefixes and rules that found no place.
    crowded_out: usize,
    /// Of the scene that the snapshot was made of.
    parts: BTreeSet<Target>,
    apart: BTreeSet<Target>,
}

/// Followed targets within networks whose rules are held.
pub(super) fn parts<'a>(
    attacks: impl Iterator<Item = &'a AttackRecord>,
    followed: impl Iterator<Item = Target>,
) -> BTreeSet<Target> {
    let networks: Vec<Target> = attacks
        .filter(|attack| attack.target.width() > 0 && attack.counted_rules().next().is_some())
        .map(|attack| attack.target)
        .collect();
    followed.filter(|target| networks.iter().any(|network| network.is_around(target))).collect()
}

/// A prefix and all around it, the longest first.
fn around(prefix: IpNet) -> impl Iterator<Item = IpNet> {
    std::iter::successors(Some(prefix), |prefix| prefix.supernet())
}

impl Watching {
    pub(super) fn active(&self) -> &[Active] {
        &self.active
    }

    /// Prefixes and rules that found no place in the last snapshot.
    pub(super) fn crowded_out(&self) -> usize {
        self.crowded_out
    }

    /// Whether the last snapshot was made for other parts.
    pub(super) fn is_stale(&self, parts: &BTreeSet<Target>, apart: &BTreeSet<Target>) -> bool {
        self.parts != *parts || (self.apart != *apart && self.marking.has_networks())
    }

    /// A new snapshot from held rules and open captures. Gives the slots of rules that are new.
    pub(super) fn rebuild(&mut self, dataplane: &mut Dataplane, scene: Scene) -> Vec<u16> {
        let layout = dataplane.workers().map(|(shared, _)| *shared.slab.layout()).min_by_key(|layout| layout.rules);
        let Some(layout) = layout else { return Vec::new() };
        let Plan { places, gone, fresh } = self.plan(layout.rules, &scene);
        (self.parts, self.apart) = (scene.parts, scene.apart);
        let watch = Watch::new(places);
        for (shared, _) in dataplane.workers() {
            for host in gone.iter().filter(|prefix| is_host(**prefix, &layout)) {
                if let Some(slot) = shared.slab.find(host.addr()) {
                    shared.slab.set_watch(slot, watch.mark(key(host.addr())).unwrap_or(0));
                }
            }
        }
        let networks = self.marks.iter().filter(|(prefix, _)| !is_host(**prefix, &layout));
        let networks = networks.map(|(prefix, mark)| (*prefix, *mark)).collect();
        let protected = dataplane.networks.get();
        dataplane.watch.replace(watch);
        let workers = dataplane.workers().map(|(shared, _)| &**shared);
        self.marking.begin(networks, workers, &protected);
        self.mark(dataplane);
        fresh
    }

    /// What is to be watched, with rules and captures; a rule and a prefix keep the slot and the mark that they have.
    fn plan(&mut self, slots: usize, scene: &Scene) -> Plan {
        self.crowded_out = 0;
        let held = scene.attacks.iter().filter(|attack| attack.counted_rules().next().is_some());
        let mut prefixes: BTreeSet<IpNet> = held.map(|attack| attack.target.prefix).collect();
        prefixes.extend(scene.captures.iter().map(|(target, _)| target.prefix));
        prefixes.extend(scene.parts.iter().map(|target| target.prefix));
        let (mut rules, fresh) = self.place_rules(slots, &prefixes, scene);
        let watched = prefixes.into_iter().map(|prefix| {
            let rules = Direction::ALL.map(|direction| {
                let rules = rules.remove(&Target { prefix, direction }).unwrap_or_default();
                ActiveRules::new(prefix, direction == Direction::Outgoing, &rules)
            });
            let captures = scene.captures.iter().filter(|(target, _)| is_part(prefix, target, &scene.apart));
            let captures = captures.map(|(_, capture)| *capture).collect();
            (prefix, Watched { prefix: prefix.into(), rules, captures })
        });
        let (places, gone) = self.place_prefixes(watched.collect());
        Plan { places, gone, fresh }
    }

    /// Gives each held rule a slot, for its target and for each watched prefix within. Gives the slots that are new, too.
    fn place_rules(
        &mut self,
        slots: usize,
        prefixes: &BTreeSet<IpNet>,
        scene: &Scene,
    ) -> (BTreeMap<Target, Vec<ActiveRule>>, Vec<u16>) {
        let before = std::mem::take(&mut self.active);
        self.retired.extend(before.iter().map(|active| active.slot));
        let known: HashMap<(Uuid, Uuid, Target), u16> =
            before.iter().map(|active| ((active.attack, active.rule, active.target), active.slot)).collect();
        let mut free = (0..slots as u16).filter(|slot| !self.retired.contains(slot));
        let mut by_target: HashMap<Target, Vec<&AttackRecord>> = HashMap::new();
        scene.attacks.iter().for_each(|attack| by_target.entry(attack.target).or_default().push(attack));
        let (mut rules, mut fresh) = (BTreeMap::<Target, Vec<ActiveRule>>::new(), Vec::new());
        let targets = prefixes.iter().flat_map(|&prefix| Direction::ALL.map(|direction| Target { prefix, direction }));
        for target in targets {
            // Its own first, or what they match would count for a network's.
            let attacks =
                around(target.prefix).filter_map(|prefix| by_target.get(&Target { prefix, ..target })).flatten();
            for (attack, rule) in attacks.flat_map(|attack| attack.counted_rules().map(move |rule| (attack, rule))) {
                let placed = rules.entry(target).or_default();
                let slot = known.get(&(attack.id, rule.id, target)).copied();
                let slot = slot.or_else(|| free.next().inspect(|&slot| fresh.push(slot)));
                // Rules that are on their way out may be more than are ever wanted at once.
                let Some(slot) = slot.filter(|_| placed.len() < SET_MAX) else {
                    self.crowded_out += 1;
                    continue;
                };
                let counts_for = counts_for(&target, &attack.target, prefixes, &scene.apart);
                self.active.push(Active { attack: attack.id, rule: rule.id, target, counts_for, slot });
                placed.push(ActiveRule { rule: rule.flow_spec.rule.clone(), slot });
            }
        }
        for active in &self.active {
            self.retired.remove(&active.slot);
        }
        (rules, fresh)
    }

    /// Gives each prefix a mark, and puts it into its place. Gives those that have none any more, too.
    fn place_prefixes(&mut self, prefixes: BTreeMap<IpNet, Watched>) -> (Vec<Option<Watched>>, Vec<IpNet>) {
        let gone: Vec<IpNet> = self.marks.keys().filter(|prefix| !prefixes.contains_key(prefix)).copied().collect();
        for prefix in &gone {
            self.marks.remove(prefix);
        }
        let taken: BTreeSet<u16> = self.marks.values().copied().collect();
        let mut free = (1..=WATCHED_MAX as u16).filter(|mark| !taken.contains(mark));
        let mut places: Vec<Option<Watched>> = Vec::new();
        for (prefix, watched) in prefixes {
            let Some(mark) = self.marks.get(&prefix).copied().or_else(|| free.next()) else {
                self.crowded_out += 1;
                continue;
            };
            self.marks.insert(prefix, mark);
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
            for (host, mark) in self.marks.iter().filter(|(prefix, _)| is_host(**prefix, shared.slab.layout())) {
                if let Some(slot) = shared.slab.find(host.addr()) {
                    shared.slab.set_watch(slot, *mark);
                }
            }
        }
    }

    /// Marks some more slots of watched networks.
    pub(super) fn mark_some(&mut self, dataplane: &Dataplane) {
        self.marking.go_on(dataplane.workers().map(|(shared, _)| &**shared), &dataplane.watch.get());
    }

    /// Drops old snapshots; once none is read any more, retired slots are free.
    pub(super) fn sweep(&mut self, dataplane: &mut Dataplane) {
        if dataplane.watch.sweep() == 0 {
            self.retired.clear();
        }
    }
}

/// Whether what a prefix has counts for a target: it is the target or lies within, and nothing between counts apart.
fn is_part(prefix: IpNet, target: &Target, apart: &BTreeSet<Target>) -> bool {
    target.prefix.contains(&prefix)
        && around(prefix)
            .take_while(|around| *around != target.prefix)
            .all(|prefix| !apart.contains(&Target { prefix, ..*target }))
}

/// The watched targets, from this one up to the attack's, that this one's traffic counts for.
fn counts_for(target: &Target, attack: &Target, prefixes: &BTreeSet<IpNet>, apart: &BTreeSet<Target>) -> Vec<Target> {
    around(target.prefix)
        .take_while(|prefix| attack.prefix.contains(prefix))
        .filter(|prefix| prefixes.contains(prefix))
        .map(|prefix| Target { prefix, ..*target })
        .filter(|around| is_part(target.prefix, around, apart))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::record::samples::{attack, rule};
    use crate::record::{RuleRecord, State};

    const SLOTS: usize = 4;

    /// An attack with so many held rules.
    fn mitigated(host: &str, rules: usize) -> AttackRecord {
        let held = |_| RuleRecord { held_ms: Some(1), ..rule(host, None, 0) };
        AttackRecord { rules: (0..rules).map(held).collect(), ..attack(host, State::Mitigating) }
    }

    fn capture(host: &str, request: u32) -> (Target, Capture) {
        let capture = Capture { request, place: 0, stride: 1, worker_max: 1, outgoing: false };
        (incoming(host), capture)
    }

    fn incoming(prefix: &str) -> Target {
        Target { prefix: prefix.parse().unwrap(), direction: Direction::Incoming }
    }

    fn planned(watching: &mut Watching, attacks: Vec<&AttackRecord>, captures: Vec<(Target, Capture)>) -> Plan {
        watching.plan(SLOTS, &Scene { attacks, captures, ..Scene::default() })
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
        let plan = planned(&mut watching, vec![&one, &two], vec![]);
        assert_eq!(watched(&plan), [(1, "192.0.2.1".into(), vec![0, 1]), (2, "192.0.2.2".into(), vec![2])]);
        assert_eq!((plan.fresh, plan.gone.len()), (vec![0, 1, 2], 0));

        // The first goes; its mark is free at once, its slots are not: an old snapshot may still count in them.
        let plan = planned(&mut watching, vec![&two, &three], vec![]);
        assert_eq!(watched(&plan), [(1, "192.0.2.3".into(), vec![3]), (2, "192.0.2.2".into(), vec![2])]);
        assert_eq!((plan.fresh, plan.gone), (vec![3], vec!["192.0.2.1/32".parse::<IpNet>().unwrap()]));
        assert_eq!(watching.active().iter().map(|active| active.slot).collect::<Vec<_>>(), [2, 3]);

        watching.retired.clear();
        let plan = planned(&mut watching, vec![&one, &two, &three], vec![]);
        assert_eq!(plan.fresh, [0, 1]);
        assert_eq!(watching.crowded_out(), 0);
    }

    #[test]
    fn only_held_rules_and_open_captures_are_watched() {
        let mut watching = Watching::default();
        let mut wanted = mitigated("192.0.2.1/32", 1);
        wanted.rules[0].held_ms = None;
        let plan = planned(&mut watching, vec![&wanted], vec![]);
        assert_eq!(watched(&plan), []);
        let outgoing = AttackRecord {
            target: Target { direction: Direction::Outgoing, ..wanted.target },
            ..mitigated("192.0.2.1/32", 1)
        };
        let captures = [capture("192.0.2.1/32", 7), capture("192.0.2.1/32", 8), capture("2001:db8::1/128", 9)];
        let plan = planned(&mut watching, vec![&wanted, &outgoing], captures.into());
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
        let plan = planned(&mut watching, vec![&many], vec![]);
        assert_eq!((plan.fresh.len(), watching.crowded_out()), (SLOTS, 2));

        let hosts =
            (0..WATCHED_MAX as u32 + 3).map(|index| capture(&format!("{}/32", Ipv4Addr::from(0xc612_0000 + index)), 1));
        let plan = planned(&mut watching, vec![], hosts.collect());
        assert_eq!((plan.places.iter().flatten().count(), watching.crowded_out()), (WATCHED_MAX, 3));
        assert_eq!(plan.gone.len(), 1);
    }

    #[test]
    fn a_host_within_an_attacked_network_has_the_rules_of_both() {
        let (network, host) = (mitigated("192.0.2.0/24", 1), mitigated("192.0.2.1/32", 1));
        let followed = [incoming("192.0.2.7/32"), incoming("192.0.3.7/32"), host.target, network.target];
        let attacks = [&network, &host];
        let inside = parts(attacks.into_iter(), followed.into_iter());
        assert_eq!(inside, BTreeSet::from([incoming("192.0.2.7/32"), host.target]));
        let scene = Scene {
            attacks: attacks.into(),
            captures: vec![capture("192.0.2.0/24", 5), capture("192.0.2.1/32", 6)],
            parts: inside,
            apart: BTreeSet::from([network.target, host.target]),
        };
        let mut watching = Watching::default();
        let plan = watching.plan(2 * SLOTS, &scene);
        let counted: Vec<(Uuid, String, Vec<String>)> = watching
            .active()
            .iter()
            .map(|active| {
                let counts_for = active.counts_for.iter().map(Target::to_string).collect();
                (active.attack, active.target.to_string(), counts_for)
            })
            .collect();
        let is = |attack: &AttackRecord, target: &str, counts_for: &[&str]| {
            let words = |text: &str| format!("{text} incoming");
            (attack.id, words(target), counts_for.iter().map(|text| words(text)).collect())
        };
        let expected = [
            is(&network, "192.0.2.0/24", &["192.0.2.0/24"]),
            is(&host, "192.0.2.1", &["192.0.2.1"]),
            // What the network's rule matches there is not the network's.
            is(&network, "192.0.2.1", &["192.0.2.1"]),
            // A host that is only followed is still a part of its network.
            is(&network, "192.0.2.7", &["192.0.2.7", "192.0.2.0/24"]),
        ];
        assert_eq!(counted, expected);
        let captures: Vec<(String, Vec<u32>)> = plan
            .places
            .iter()
            .flatten()
            .map(|watched| {
                let requests = watched.captures.iter().map(|capture| capture.request).collect();
                (watched.prefix.net().to_string(), requests)
            })
            .collect();
        let is = |prefix: &str, request| (prefix.to_owned(), vec![request]);
        assert_eq!(captures, [is("192.0.2.0/24", 5), is("192.0.2.1/32", 6), is("192.0.2.7/32", 5)]);
        assert_eq!(watching.crowded_out(), 0);
    }
}
