//! From the attacks alive to the switches that should be on, each with the attacks that need it. Pure.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use uuid::Uuid;

use super::settings::{Class, PROTECTION, Settings};
use crate::attack::Target;

/// An attack, as far as MITIGATOR is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its id.
    pub attack: Uuid,
    /// What it is against.
    pub target: Target,
    /// The target's group.
    pub group: String,
    /// What kinds of attack it is; at least one.
    pub classes: Vec<Class>,
    /// Why nothing is switched for it, though all else goes on.
    pub held_back: Option<HeldBack>,
}

/// Why nothing is switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBack {
    /// `daemon.dry_run`.
    DryRun,
    /// The target's group is only monitored.
    MonitorOnly,
}

/// A switch that should be on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Of this policy.
    pub(super) policy: u64,
    /// By our name.
    pub(super) switch: String,
    /// Who needs it, the oldest first; never empty.
    pub(super) attacks: Vec<Uuid>,
}

/// The outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// In the order of switching on: of each policy the protection first.
    pub(super) wanted: Vec<Wanted>,
    /// What would be switched on for attacks that are held back, and why it is not.
    pub(super) held_back: Vec<(Wanted, HeldBack)>,
    /// Attacks whose target has no policy.
    pub(super) homeless: Vec<Uuid>,
}

/// The policy of each target that MITIGATOR was asked about; none: it did not say.
pub(super) type LookedUp = BTreeMap<Target, Option<u64>>;

/// Switches by our names that are needed against an attack, beside the protection; none: it is none of MITIGATOR's business.
pub(super) fn switches(settings: &Settings, asked: &Asked) -> Option<Vec<String>> {
    let of_class = |class: &Class| {
        let mut rules = settings.countermeasures.iter();
        rules.find(|rule| rule.fits(*class, asked.target.direction, &asked.group))
    };
    let rules: Vec<_> = asked.classes.iter().filter_map(of_class).collect();
    let mut switches: Vec<String> = Vec::new();
    for switch in rules.iter().flat_map(|rule| &rule.switches) {
        if !switches.contains(switch) {
            switches.push(switch.clone());
        }
    }
    (!rules.is_empty()).then_some(switches)
}

/// The policies that the configuration has for a target: that of the longest prefix around it, and, where it is a network,
/// those of all prefixes within it.
pub(super) fn policies(settings: &Settings, target: IpNet) -> Vec<u64> {
    let around = settings.policies.iter().filter(|(prefix, _)| prefix.contains(&target));
    let around = around.max_by_key(|(prefix, _)| prefix.prefix_len());
    let within = settings.policies.iter().filter(|(prefix, _)| target.contains(prefix) && *prefix != target);
    let mut policies: Vec<u64> = Vec::new();
    for (_, policy) in around.into_iter().chain(within) {
        if !policies.contains(policy) {
            policies.push(*policy);
        }
    }
    policies
}

/// The target's policies: by prefix, else what MITIGATOR said, else the default.
fn all_policies(settings: &Settings, looked_up: &LookedUp, target: &Target) -> Vec<u64> {
    let policies = policies(settings, target.prefix);
    if !policies.is_empty() {
        return policies;
    }
    looked_up.get(target).copied().flatten().or(settings.default_policy).into_iter().collect()
}

/// Targets whose policy MITIGATOR should be asked for.
pub(super) fn to_look_up<'a>(settings: &'a Settings, asked: &'a [Asked]) -> impl Iterator<Item = &'a Asked> {
    asked.iter().filter(|asked| {
        settings.by_inbound_packet
            && asked.held_back.is_none()
            && switches(settings, asked).is_some()
            && policies(settings, asked.target.prefix).is_empty()
    })
}

/// What should be on for these attacks, the oldest first.
pub(super) fn plan(settings: &Settings, looked_up: &LookedUp, asked: &[Asked]) -> Plan {
    let mut plan = Plan::default();
    let mut at: HashMap<(u64, String), usize> = HashMap::new();
    for one in asked {
        let Some(switches) = switches(settings, one) else { continue };
        let policies = all_policies(settings, looked_up, &one.target);
        if policies.is_empty() {
            plan.homeless.push(one.attack);
        }
        for policy in policies {
            for switch in std::iter::once(PROTECTION.to_owned()).chain(switches.iter().cloned()) {
                let wanted = Wanted { policy, switch: switch.clone(), attacks: vec![one.attack] };
                match (one.held_back, at.get(&(policy, switch.clone()))) {
                    (Some(why), _) => plan.held_back.push((wanted, why)),
                    (None, Some(&index)) => plan.wanted[index].attacks.push(one.attack),
                    (None, None) => {
                        at.insert((policy, switch), plan.wanted.len());
                        plan.wanted.push(wanted);
                    }
                }
            }
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::settings::{Countermeasures, samples};
    use super::*;
    use crate::attack::Direction;

    fn asked(prefix: &str, classes: &[Class]) -> Asked {
        Asked {
            attack: Uuid::now_v7(),
            target: Target { prefix: prefix.parse().unwrap(), direction: Direction::Incoming },
            group: "web".into(),
            classes: classes.to_vec(),
            held_back: None,
        }
    }

    fn shown(plan: &Plan) -> String {
        let one = |wanted: &Wanted| format!("{} {} x{}", wanted.policy, wanted.switch, wanted.attacks.len());
        plan.wanted.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn plan_of(settings: &Settings, asked: &[Asked]) -> Plan {
        plan(settings, &LookedUp::new(), asked)
    }

    #[test]
    fn the_script_s_map_and_references_for_two_hosts_in_one_policy() {
        let settings = samples::settings(&[]);
        let of = |class| shown(&plan_of(&settings, &[asked("198.18.0.1/32", &[class])]));
        assert_eq!(of(Class::TcpSyn), "1 protection x1, 1 tcp x1");
        assert_eq!(of(Class::Icmp), "1 protection x1, 1 acl x1");
        assert_eq!(of(Class::ByHand), "1 protection x1, 1 sorb x1");
        let two = [asked("198.18.0.1/32", &[Class::TcpSyn, Class::Tcp]), asked("198.18.0.2/32", &[Class::Udp])];
        assert_eq!(shown(&plan_of(&settings, &two)), "1 protection x2, 1 tcp x1, 1 sorb x1");
    }

    #[test]
    fn the_longest_prefix_then_what_mitigator_says_then_the_default() {
        let mut settings = samples::settings(&[]);
        let networks = [("198.18.0.0/16", 7), ("198.18.4.0/24", 8), ("198.18.4.0/28", 9), ("2001:db8::/32", 10)];
        settings.policies = networks.map(|(prefix, policy)| (prefix.parse().unwrap(), policy)).to_vec();
        settings.by_inbound_packet = true;
        let of = |prefix: &str| policies(&settings, prefix.parse().unwrap());
        assert_eq!([of("198.18.4.1/32"), of("198.18.4.77/32"), of("198.18.9.1/32")], [[9], [8], [7]]);
        assert_eq!((of("2001:db8::1/128"), of("192.0.2.1/32")), (vec![10], vec![]));
        assert_eq!(of("198.18.4.0/24"), [8, 9], "a network's traffic meets all policies within it");
        let stranger = [asked("192.0.2.1/32", &[Class::Udp])];
        assert_eq!(to_look_up(&settings, &stranger).count(), 1);
        assert_eq!(to_look_up(&settings, &[asked("198.18.4.1/32", &[Class::Udp])]).count(), 0);
        let policy = |settings: &Settings, said: Option<u64>| {
            let plan = plan(settings, &LookedUp::from([(stranger[0].target, said)]), &stranger);
            (plan.wanted.first().map(|wanted| wanted.policy), plan.homeless.len())
        };
        assert_eq!((policy(&settings, Some(5)), policy(&settings, None)), ((Some(5), 0), (Some(1), 0)));
        settings.default_policy = None;
        assert_eq!(policy(&settings, None), (None, 1));
    }

    #[test]
    fn what_is_held_back_is_told_and_wants_nothing() {
        let settings = samples::settings(&[]);
        let dry = Asked { held_back: Some(HeldBack::DryRun), ..asked("198.18.0.1/32", &[Class::Udp]) };
        let outgoing = Target { direction: Direction::Outgoing, ..dry.target };
        let outgoing = Asked { target: outgoing, held_back: None, ..dry.clone() };
        let plan = plan_of(&settings, &[dry, outgoing]);
        assert_eq!((shown(&plan).as_str(), plan.held_back.len()), ("", 2));
    }

    fn any_asked() -> impl Strategy<Value = Asked> {
        let classes = prop::collection::vec(prop::sample::select(&Class::ALL[..]), 1..4);
        (0u8..6, classes, prop::bool::weighted(0.2)).prop_map(|(host, classes, outgoing)| {
            let mut one = asked(&format!("198.18.{host}.1/32"), &classes);
            one.target.direction = if outgoing { Direction::Outgoing } else { Direction::Incoming };
            one
        })
    }

    proptest! {
        #[test]
        fn each_switch_is_wanted_by_those_who_need_it_and_the_protection_by_all(
            attacks in prop::collection::vec(any_asked(), 0..12), gone in any::<prop::sample::Index>(),
        ) {
            let mut settings = samples::settings(&[]);
            settings.policies = vec![("198.18.2.0/23".parse().unwrap(), 2), ("198.18.4.0/24".parse().unwrap(), 3)];
            settings.countermeasures = Countermeasures::defaults();
            let plan = plan_of(&settings, &attacks);
            for wanted in &plan.wanted {
                let needs = |one: &&Asked| {
                    let switches = switches(&settings, one);
                    let is_needed = |switches: Vec<String>| wanted.switch == PROTECTION || switches.contains(&wanted.switch);
                    switches.is_some_and(is_needed) && all_policies(&settings, &LookedUp::new(), &one.target).contains(&wanted.policy)
                };
                let who: Vec<Uuid> = attacks.iter().filter(needs).map(|one| one.attack).collect();
                prop_assert_eq!(&wanted.attacks, &who);
                prop_assert!(!who.is_empty());
            }
            let keys: BTreeSet<_> = plan.wanted.iter().map(|wanted| (wanted.policy, &wanted.switch)).collect();
            prop_assert_eq!(keys.len(), plan.wanted.len(), "each switch once");
            for (index, wanted) in plan.wanted.iter().enumerate() {
                let protection = plan.wanted.iter().position(|other| other.policy == wanted.policy && other.switch == PROTECTION);
                prop_assert!(protection.is_some_and(|at| at <= index), "the protection comes first");
            }
            // One attack less: nothing that another needs goes.
            if !attacks.is_empty() {
                let index = gone.index(attacks.len());
                let mut fewer = attacks.clone();
                let lost = fewer.remove(index).attack;
                let left = plan_of(&settings, &fewer);
                for wanted in &plan.wanted {
                    let stays = left.wanted.iter().any(|other| (other.policy, &other.switch) == (wanted.policy, &wanted.switch));
                    prop_assert_eq!(stays, wanted.attacks.iter().any(|attack| *attack != lost));
                }
            }
        }
    }
}
