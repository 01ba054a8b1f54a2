//! What to do so that an engine holds what is wanted: a comparison of two lists. Pure.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::path::{Announcement, Attributes, Key};
use super::{Engine, Wanted};

/// What an engine holds with our mark.
pub(super) type Held = HashMap<Key, Attributes>;

/// The wanted rules, as paths.
#[derive(Default)]
pub(super) struct Targets {
    /// One for each key, in the order in which they were wanted.
    pub(super) announcements: Vec<Announcement>,
    /// Which of them serves which rule: the same rule may be wanted twice, for two attacks.
    served: Vec<(Uuid, usize)>,
    /// Rules that cannot be announced, and why.
    pub(super) refused: Vec<(Uuid, String)>,
}

impl Targets {
    pub(super) fn new(wanted: &[Wanted], engine: &Engine) -> Targets {
        let mut targets = Targets::default();
        let mut index_by_key: HashMap<Key, usize> = HashMap::new();
        for Wanted { id, rule, action } in wanted {
            let announcement =
                match Announcement::new(rule, action, engine.mark, &engine.communities, &engine.next_hops) {
                    Ok(announcement) => announcement,
                    Err(refusal) => {
                        targets.refused.push((*id, refusal.to_string()));
                        continue;
                    }
                };
            let next = targets.announcements.len();
            let index = *index_by_key.entry(announcement.key().clone()).or_insert(next);
            if index == next {
                targets.announcements.push(announcement);
            } else if targets.announcements[index] != announcement {
                targets.refused.push((*id, "the same rule is wanted with another action, which came first".to_owned()));
                continue;
            }
            targets.served.push((*id, index));
        }
        targets
    }

    /// The rules that the engine holds exactly as wanted.
    pub(super) fn held(&self, held: &Held) -> Vec<Uuid> {
        let stands = |index: usize| {
            let announcement = &self.announcements[index];
            held.get(announcement.key()) == Some(announcement.attributes())
        };
        self.served.iter().filter(|(_, index)| stands(*index)).map(|(id, _)| *id).collect()
    }

    /// The rules that one path serves.
    pub(super) fn ids_of<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = Uuid> + 'a {
        self.served.iter().filter(move |(_, index)| self.announcements[*index].key() == key).map(|(id, _)| *id)
    }
}

/// The way from what is held to what is wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan<'a> {
    /// Missing, or there with other attributes: adding replaces.
    pub(super) adds: Vec<&'a Announcement>,
    /// Not wanted.
    pub(super) deletes: Vec<Key>,
}

pub(super) fn plan<'a>(held: &Held, wanted: &'a [Announcement]) -> Plan<'a> {
    let keys: HashSet<&Key> = wanted.iter().map(Announcement::key).collect();
    let stands = |wanted: &&Announcement| held.get(wanted.key()) == Some(wanted.attributes());
    Plan {
        adds: wanted.iter().filter(|wanted| !stands(wanted)).collect(),
        deletes: held.keys().filter(|key| !keys.contains(key)).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use dataplane::rule::{Action, FlowRule};

    use super::*;

    fn engine() -> Engine {
        Engine::new("edge", "unix:///nowhere", super::super::Mark([64_512, 7_653, 1]))
    }

    fn wanted(id: u128, destination: &str, action: Action) -> Wanted {
        let rule = FlowRule { destination: Some(destination.parse().unwrap()), ..FlowRule::default() };
        Wanted { id: Uuid::from_u128(id), rule, action }
    }

    fn targets(wanted: &[Wanted]) -> Targets {
        Targets::new(wanted, &engine())
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
    fn a_rule_that_does_not_encode_holds_nothing_up() {
        let empty = Wanted { id: Uuid::from_u128(1), rule: FlowRule::default(), action: Action::Discard };
        let targets = targets(&[empty, wanted(2, "192.0.2.1/32", Action::Discard)]);
        assert_eq!(targets.announcements.len(), 1);
        assert_eq!(targets.refused[0].0, Uuid::from_u128(1));
    }
}
