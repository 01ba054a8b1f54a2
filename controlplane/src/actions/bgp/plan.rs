//! What to do so that an engine holds what is wanted: a comparison of two lists. Pure.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use dataplane::rule::FlowRule;
use uuid::Uuid;

use super::path::{Announcement, Attributes, Key};
use super::{Engine, Wanted, split};

/// What an engine holds with our mark.
pub(super) type Held = HashMap<Key, Attributes>;

/// The wanted rules, as paths.
#[derive(Default)]
pub(super) struct Targets {
    /// One for each key, in the order in which they were wanted.
    pub(super) announcements: Vec<Announcement>,
    /// Which of them serve which rule: the same rule may be wanted twice, for two attacks, and one may take several paths.
    served: Vec<(Uuid, Vec<usize>)>,
    /// Rules that cannot be announced, and why.
    pub(super) refused: Vec<(Uuid, String)>,
}

impl Targets {
    /// `own` are addresses that nothing is announced for: the engine's peers. That routes lead nowhere near their next hops, others
    /// see to.
    pub(super) fn new(wanted: &[Wanted], engine: &Engine, own: &[IpAddr]) -> Targets {
        let mut targets = Targets::default();
        let mut index_by_key: HashMap<Key, usize> = HashMap::new();
        for wanted in wanted {
            if let Err(refusal) = targets.add(wanted, engine, own, &mut index_by_key) {
                targets.refused.push((wanted.id, refusal));
            }
        }
        targets
    }

    /// All of a rule, or nothing.
    fn add(
        &mut self,
        Wanted { id, rule, action }: &Wanted,
        engine: &Engine,
        own: &[IpAddr],
        index_by_key: &mut HashMap<Key, usize>,
    ) -> Result<(), String> {
        let touched = own.iter().find(|address| touches(rule, address));
        if let Some(address) = touched {
            return Err(format!("{address} is a BGP peer"));
        }
        let parts = split::parts(rule, action, &engine.profile).map_err(|unfit| unfit.to_string())?;
        let announcements = parts.iter().map(|part| Announcement::new(part, action, engine));
        let announcements: Vec<Announcement> =
            announcements.collect::<Result<_, _>>().map_err(|refusal| refusal.to_string())?;
        let index_of = |announcement: &Announcement| index_by_key.get(announcement.key()).copied();
        let is_other = |announcement: &Announcement| {
            index_of(announcement).is_some_and(|index| self.announcements[index] != *announcement)
        };
        if announcements.iter().any(is_other) {
            return Err("the same rule is wanted with another action, which came first".to_owned());
        }
        let new = announcements.iter().filter(|announcement| index_of(announcement).is_none()).count();
        if self.announcements.len() + new > engine.rules_max {
            return Err(format!("more than {} routes at once", engine.rules_max));
        }
        let mut indices = Vec::with_capacity(announcements.len());
        for announcement in announcements {
            let next = self.announcements.len();
            let index = *index_by_key.entry(announcement.key().clone()).or_insert(next);
            if index == next {
                self.announcements.push(announcement);
            }
            indices.push(index);
        }
        self.served.push((*id, indices));
        Ok(())
    }

    /// The rules that the engine holds exactly as wanted, all of each.
    pub(super) fn held(&self, held: &Held) -> Vec<Uuid> {
        let stands = |&index: &usize| {
            let announcement = &self.announcements[index];
            held.get(announcement.key()) == Some(announcement.attributes())
        };
        self.served.iter().filter(|(_, indices)| indices.iter().all(stands)).map(|(id, _)| *id).collect()
    }

    /// The paths that serve a rule.
    pub(super) fn of(&self, id: Uuid) -> impl Iterator<Item = &Announcement> {
        let served = self.served.iter().filter(move |(served, _)| *served == id);
        served.flat_map(|(_, indices)| indices.iter().map(|&index| &self.announcements[index]))
    }

    /// The rules that one path serves.
    pub(super) fn ids_of<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = Uuid> + 'a {
        let has = move |indices: &[usize]| indices.iter().any(|&index| self.announcements[index].key() == key);
        self.served.iter().filter(move |(_, indices)| has(indices)).map(|(id, _)| *id)
    }
}

/// Whether the address is within a prefix of the rule.
fn touches(rule: &FlowRule, address: &IpAddr) -> bool {
    [rule.destination, rule.source].into_iter().flatten().any(|prefix| prefix.contains(address))
}

/// The way from what is held to what is wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan<'a> {
    /// Missing, or there with other attributes: adding replaces.
    pub(super) adds: Vec<&'a Announcement>,
    /// Not wanted.
    pub(super) deletes: Vec<Key>,
}

pub(super) fn plan<'a>(held: &Held, wanted: impl IntoIterator<Item = &'a Announcement>) -> Plan<'a> {
    let wanted: Vec<&Announcement> = wanted.into_iter().collect();
    let keys: HashSet<&Key> = wanted.iter().map(|wanted| wanted.key()).collect();
    let deletes = held.keys().filter(|key| !keys.contains(key)).cloned().collect();
    let stands = |wanted: &&Announcement| held.get(wanted.key()) == Some(wanted.attributes());
    Plan { adds: wanted.into_iter().filter(|wanted| !stands(wanted)).collect(), deletes }
}

#[cfg(test)]
mod tests {
    use dataplane::rule::Action;

    use super::*;

    fn engine() -> Engine {
        Engine::new("edge", "unix:///nowhere", super::super::Mark([64_512, 7_653, 1]))
    }

    fn wanted(id: u128, destination: &str, action: Action) -> Wanted {
        let rule = FlowRule { destination: Some(destination.parse().unwrap()), ..FlowRule::default() };
        Wanted { id: Uuid::from_u128(id), rule, action }
    }

    fn targets(wanted: &[Wanted]) -> Targets {
        Targets::new(wanted, &engine(), &[])
    }

    fn held(targets: &Targets) -> Held {
        targets.announcements.iter().cloned().map(Announcement::into_parts).collect()
    }

    #[test]
    fn nothing_to_do_where_all_is_well() {
        let targets =
            targets(&[wanted(1, "192.0.2.1/32", Action::Discard), wanted(2, "2001:db8::1/128", Action::Discard)]);
        assert_eq!(plan(&held(&targets), &targets.announcements), Plan::default());
        assert_eq!(targets.held(&held(&targets)), [Uuid::from_u128(1), Uuid::from_u128(2)]);
    }

    #[test]
    fn what_is_missing_is_added_in_the_order_wanted() {
        let targets =
            targets(&[wanted(1, "192.0.2.9/32", Action::Discard), wanted(2, "192.0.2.1/32", Action::Discard)]);
        let held = Held::new();
        let plan = plan(&held, &targets.announcements);
        assert_eq!(plan.adds, targets.announcements.iter().collect::<Vec<_>>());
        assert!(plan.deletes.is_empty());
        assert!(targets.held(&held).is_empty());
    }

    #[test]
    fn what_is_not_wanted_is_deleted() {
        let before =
            held(&targets(&[wanted(1, "192.0.2.1/32", Action::Discard), wanted(2, "192.0.2.2/32", Action::Discard)]));
        let after = targets(&[wanted(2, "192.0.2.2/32", Action::Discard)]);
        let plan = plan(&before, &after.announcements);
        assert!(plan.adds.is_empty());
        assert_eq!(
            plan.deletes,
            held(&targets(&[wanted(1, "192.0.2.1/32", Action::Discard)])).into_keys().collect::<Vec<_>>()
        );
    }

    #[test]
    fn another_action_replaces_and_deletes_nothing() {
        let before = held(&targets(&[wanted(1, "192.0.2.1/32", Action::Discard)]));
        let after = targets(&[wanted(1, "192.0.2.1/32", Action::RateBps(1_000_000))]);
        let plan = plan(&before, &after.announcements);
        assert_eq!(plan.adds.len(), 1);
        assert!(plan.deletes.is_empty());
        assert!(after.held(&before).is_empty(), "held with the old action is not held");
    }

    #[test]
    fn a_rule_wanted_twice_is_one_path() {
        let targets = targets(&[
            wanted(1, "192.0.2.1/32", Action::Discard),
            wanted(2, "192.0.2.1/32", Action::Discard),
            wanted(3, "192.0.2.1/32", Action::RatePps(5)),
        ]);
        assert_eq!(targets.announcements.len(), 1);
        assert_eq!(targets.held(&held(&targets)), [Uuid::from_u128(1), Uuid::from_u128(2)]);
        assert_eq!(targets.refused.iter().map(|(id, _)| id.as_u128()).collect::<Vec<_>>(), [3]);
        assert_eq!(targets.ids_of(targets.announcements[0].key()).count(), 2);
    }

    #[test]
    fn a_rule_that_routers_take_in_parts_is_held_once_all_of_them_are() {
        let mut large = wanted(1, "192.0.2.1/32", Action::Discard);
        large.rule.source_ports = (0..7).map(|at| (at * 2, at * 2)).collect();
        let targets = targets(&[large.clone()]);
        assert_eq!(targets.announcements.len(), 2);
        let mut held = held(&targets);
        assert_eq!(targets.held(&held), [large.id]);
        held.remove(targets.announcements[1].key());
        assert!(targets.held(&held).is_empty());
        let few = Engine { rules_max: 1, ..engine() };
        let targets = Targets::new(&[large, wanted(2, "192.0.2.2/32", Action::Discard)], &few, &[]);
        assert_eq!((targets.announcements.len(), targets.refused.len()), (1, 1), "all of a rule or nothing of it");
        assert!(targets.refused[0].1.contains("more than 1 routes"));
    }

    #[test]
    fn nothing_is_announced_for_a_peer() {
        let mut from_peer = wanted(2, "198.18.0.1/32", Action::Discard);
        from_peer.rule.source = Some("192.0.2.9/32".parse().unwrap());
        let own: [IpAddr; 1] = ["192.0.2.9".parse().unwrap()];
        let list = [wanted(1, "192.0.2.8/29", Action::Discard), from_peer, wanted(3, "192.0.2.1/32", Action::Discard)];
        let targets = Targets::new(&list, &engine(), &own);
        assert_eq!(targets.refused.iter().map(|(id, _)| id.as_u128()).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((targets.announcements.len(), &*targets.refused[0].1), (1, "192.0.2.9 is a BGP peer"));
    }

    #[test]
    fn a_rule_that_does_not_encode_holds_nothing_up() {
        let empty = Wanted { id: Uuid::from_u128(1), rule: FlowRule::default(), action: Action::Discard };
        let targets = targets(&[empty, wanted(2, "192.0.2.1/32", Action::Discard)]);
        assert_eq!(targets.announcements.len(), 1);
        assert_eq!(targets.refused[0].0, Uuid::from_u128(1));
    }
}
