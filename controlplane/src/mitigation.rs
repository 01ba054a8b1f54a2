//! What should be in force: from the rules of all attacks alive to the one list that every action makes its outside
//! system equal to. Pure: values in, values out. The limits that protect the operator are kept here.

use std::collections::{BTreeMap, HashMap};

use dataplane::rule::{Action, FlowRule};
use ipnet::IpNet;
use uuid::Uuid;

use crate::attack::{Direction, Target};
use crate::guard::Guard;
use crate::record::{AttackRecord, RuleRecord, State};
use crate::whitelist::Whitelist;

/// Limits that protect the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most rules for one target.
    pub rules_per_target: usize,
    /// Most rules in all.
    pub rules_in_all: usize,
    /// Most of them blackholes.
    pub blackholes_in_all: usize,
    /// Do all but announce.
    pub dry_run: bool,
}

/// A rule that should be in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The rule's id; stays the same for as long as any attack asks for the rule.
    pub id: Uuid,
    /// What matches.
    pub rule: FlowRule,
    /// What is done with it.
    pub action: Action,
    /// The attack that asked first.
    pub attack: Uuid,
}

/// What became of a rule that an attack asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is on the list.
    Wanted,
    /// It is on the list, and all actions are paused: no plan says so, but answers do.
    Paused,
    /// It would be, but for the dry run.
    DryRun,
    /// It would be, but the host group of its target is only monitored.
    MonitorOnly,
    /// A limit holds it back.
    HeldBack,
    /// It reaches beyond its target and will never be announced.
    Refused,
    /// The whitelist forbids it.
    Whitelisted,
}

impl Standing {
    /// The word for clients.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Wanted => "wanted",
            Standing::Paused => "paused",
            Standing::DryRun => "dry_run",
            Standing::MonitorOnly => "monitor_only",
            Standing::HeldBack => "held_back",
            Standing::Refused => "refused",
            Standing::Whitelisted => "whitelisted",
        }
    }
}

/// The outcome for all rules that attacks ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What should be in force, the oldest first; empty in a dry run.
    pub wanted: Vec<Wanted>,
    /// What became of each rule, by rule id.
    pub standing: BTreeMap<Uuid, Standing>,
    /// What an operator should look at; empty when all is well.
    pub alarms: Vec<String>,
}

/// Whether `rule` filters nothing but traffic of `target`: its destination (or source, for outgoing attacks) is given
/// and no wider than the target.
pub fn within(target: &Target, rule: &FlowRule) -> bool {
    let side = match target.direction {
        Direction::Incoming => rule.destination,
        Direction::Outgoing => rule.source,
    };
    side.is_some_and(|prefix| target.prefix.contains(&prefix))
}

/// Whether a prefix may be announced for a target: it is ours, and nobody's else.
pub type Ours<'a> = &'a dyn Fn(&Target, IpNet) -> Result<(), String>;

/// Nothing is exempt, and all is ours: for tests.
#[cfg(test)]
pub(crate) const FREE: (&Whitelist, &Guard, Ours<'static>) = (
    &Whitelist { networks: Vec::new(), remote_networks: Vec::new(), ignored: Vec::new() },
    &Guard { shortest: [16, 32], blackhole: [32, 128], divert: [32, 128], never: Vec::new() },
    &|_, _| Ok(()),
);

/// The plan for these attacks. Where a limit is reached, the rules that were asked for first stay. Rules of a target that is
/// only monitored take nobody's place.
pub fn plan<'a>(
    attacks: impl IntoIterator<Item = &'a AttackRecord>,
    limits: &Limits,
    (whitelist, guard, ours): (&Whitelist, &Guard, Ours<'_>),
    monitor_only: impl Fn(&Target) -> bool,
) -> Plan {
    let mut asked: Vec<(&AttackRecord, &RuleRecord)> = attacks
        .into_iter()
        .filter(|attack| attack.state == State::Mitigating)
        .flat_map(|attack| attack.wanted_rules().map(move |rule| (attack, rule)))
        .collect();
    asked.sort_by_key(|(_, rule)| (rule.wanted_ms, rule.id));

    let mut plan = Plan::default();
    let mut list: Vec<Wanted> = Vec::with_capacity(asked.len());
    // Where in the list a rule is, by what few others have the same of; a route and a rule stand side by side.
    let mut at: HashMap<(bool, Option<IpNet>, Option<IpNet>), Vec<usize>> = HashMap::with_capacity(asked.len());
    let mut places = 0;
    let mut of_target: HashMap<Target, usize> = HashMap::new();
    let (mut over_target, mut over_all, mut blackholes, mut over_blackholes) = (0, 0, 0, 0);
    for (attack, record) in asked {
        let target = attack.target;
        let action = record.flow_spec.action;
        let rule = &*guard.announced(&record.flow_spec.rule, &action);
        let is_blackhole = action == Action::Blackhole;
        let same = at.entry((action.is_route(), rule.destination, rule.source)).or_default();
        let first = same.iter().copied().find(|&index| list[index].rule == *rule);
        let standing = if !within(&target, &record.flow_spec.rule) {
            plan.alarms.push(format!("rule {} of {target} reaches beyond it and is refused", record.id));
            Standing::Refused
        } else if let Some(why) = refusal(&target, rule, guard, ours) {
            plan.alarms.push(format!("rule {} of {target} is refused: {why}", record.id));
            Standing::Refused
        } else if let Some((key, network)) = whitelist.against(&target, rule) {
            plan.alarms.push(format!("rule {} of {target} held back: {network} is in whitelist.{key}", record.id));
            Standing::Whitelisted
        } else if monitor_only(&target) {
            Standing::MonitorOnly
        } else if let Some(index) = first {
            let standing = twin(&list[index], record, &target, &mut plan.alarms);
            // Two targets within one route that is wider than either.
            if standing == Standing::Wanted && list.iter().all(|wanted| wanted.id != record.id) {
                list.push(Wanted { id: record.id, attack: attack.id, ..list[index].clone() });
            }
            standing
        } else if !record.last_resort && of_target.get(&target).is_some_and(|&rules| rules >= limits.rules_per_target) {
            over_target += 1;
            Standing::HeldBack
        } else if places >= limits.rules_in_all {
            over_all += 1;
            Standing::HeldBack
        } else if is_blackhole && blackholes >= limits.blackholes_in_all {
            over_blackholes += 1;
            Standing::HeldBack
        } else {
            same.push(list.len());
            places += 1;
            // The last resort comes on top of the rules that a target may have.
            *of_target.entry(target).or_default() += usize::from(!record.last_resort);
            blackholes += usize::from(is_blackhole);
            list.push(Wanted { id: record.id, rule: rule.clone(), action, attack: attack.id });
            Standing::Wanted
        };
        let standing = if standing == Standing::Wanted && limits.dry_run { Standing::DryRun } else { standing };
        // A shared id is as well off as its best: what one attack may not ask for, another may.
        plan.standing.entry(record.id).and_modify(|best| *best = standing.min(*best)).or_insert(standing);
    }
    if over_target > 0 {
        let limit = limits.rules_per_target;
        plan.alarms.push(format!("{over_target} rules held back: no more than {limit} rules a target"));
    }
    if over_all > 0 {
        let limit = limits.rules_in_all;
        plan.alarms.push(format!("{over_all} rules held back: no more than {limit} rules in all"));
    }
    if over_blackholes > 0 {
        let limit = limits.blackholes_in_all;
        plan.alarms.push(format!("{over_blackholes} blackholes held back: no more than {limit} in all"));
    }
    if !limits.dry_run {
        plan.wanted = list;
    }
    plan
}

/// Why nothing of the kind is ever announced.
fn refusal(target: &Target, rule: &FlowRule, guard: &Guard, ours: Ours<'_>) -> Option<String> {
    let near = match target.direction {
        Direction::Incoming => rule.destination,
        Direction::Outgoing => rule.source,
    };
    let beyond = near.and_then(|near| ours(target, near).err().map(|why| format!("{near} {why}")));
    beyond.or_else(|| guard.against(target, rule))
}

/// A second attack asks for a rule that is on the list already. A router holds a rule once, with one action.
fn twin(first: &Wanted, second: &RuleRecord, target: &Target, alarms: &mut Vec<String>) -> Standing {
    if first.action == second.flow_spec.action {
        return Standing::Wanted;
    }
    alarms.push(format!("rule {} of {target} held back: rule {} does otherwise with the same", second.id, first.id));
    Standing::HeldBack
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::IpAddr;

    use ipnet::Ipv4Net;
    use proptest::prelude::*;

    use super::*;
    use crate::record::FlowSpec;
    use crate::record::samples::{attack, rule};

    const LIMITS: Limits = Limits { rules_per_target: 10, rules_in_all: 1000, blackholes_in_all: 10, dry_run: false };

    /// As [`super::plan`], with an empty whitelist.
    fn plan<'a>(
        attacks: impl IntoIterator<Item = &'a AttackRecord>,
        limits: &Limits,
        monitor_only: impl Fn(&Target) -> bool,
    ) -> Plan {
        super::plan(attacks, limits, FREE, monitor_only)
    }

    fn plan_of(attacks: &[AttackRecord], limits: &Limits) -> Plan {
        plan(attacks, limits, never)
    }

    fn never(_: &Target) -> bool {
        false
    }

    fn ids(plan: &Plan) -> Vec<Uuid> {
        plan.wanted.iter().map(|wanted| wanted.id).collect()
    }

    #[test]
    fn only_mitigating_attacks_and_rules_not_withdrawn_count() {
        let mut one = attack("198.18.0.1/32", State::Mitigating);
        one.rules = vec![rule("198.18.0.1/32", Some("203.0.113.1/32"), 1), rule("198.18.0.1/32", None, 2)];
        one.rules[1].withdrawn_ms = Some(5);
        let mut others = [State::Detected, State::Ending, State::Ended, State::FalsePositive]
            .map(|state| attack("198.18.0.2/32", state));
        for other in &mut others {
            other.rules = vec![rule("198.18.0.2/32", None, 1)];
        }
        let plan = plan(others.iter().chain([&one]), &LIMITS, never);
        assert_eq!(ids(&plan), [one.rules[0].id]);
        assert_eq!(plan.wanted[0].attack, one.id);
        assert_eq!(plan.standing.len(), 1);
        assert!(plan.alarms.is_empty());
    }

    #[test]
    fn nothing_beyond_the_target() {
        let mut one = attack("198.18.0.0/25", State::Mitigating);
        let mut no_destination = rule("198.18.0.1/32", Some("203.0.113.1/32"), 4);
        no_destination.flow_spec.rule.destination = None;
        one.rules = vec![
            rule("198.18.0.0/24", None, 1),
            rule("198.18.0.200/32", None, 2),
            rule("::/0", None, 3),
            no_destination,
            rule("198.18.0.0/25", None, 5),
            rule("198.18.0.7/32", None, 6),
        ];
        let plan = plan([&one], &LIMITS, never);
        assert_eq!(ids(&plan), [one.rules[4].id, one.rules[5].id]);
        assert_eq!(plan.alarms.len(), 4);
        assert!(one.rules[..4].iter().all(|rule| plan.standing[&rule.id] == Standing::Refused));
    }

    #[test]
    fn the_whitelist_holds_rules_back_whatever_is_on_record() {
        let mut one = attack("198.18.0.0/24", State::Mitigating);
        one.rules = vec![
            rule("198.18.0.0/24", None, 1),
            rule("198.18.0.9/32", None, 2),
            rule("198.18.0.7/32", Some("203.0.113.0/24"), 3),
            rule("198.18.0.7/32", Some("203.0.112.0/24"), 4),
        ];
        let whitelist = Whitelist {
            networks: vec!["198.18.0.9/32".parse().unwrap()],
            remote_networks: vec!["203.0.113.77/32".parse().unwrap()],
            ..Whitelist::default()
        };
        let plan = super::plan([&one], &LIMITS, (&whitelist, &Guard::default(), &|_, _| Ok(())), never);
        assert_eq!(ids(&plan), [one.rules[3].id]);
        assert!(one.rules[..3].iter().all(|rule| plan.standing[&rule.id] == Standing::Whitelisted));
        assert_eq!(plan.alarms.len(), 3);
        assert!(plan.alarms[1].ends_with("198.18.0.9/32 is in whitelist.networks"), "{:?}", plan.alarms);
        assert!(plan.alarms[2].ends_with("203.0.113.77/32 is in whitelist.remote_networks"), "{:?}", plan.alarms);
    }

    proptest! {
        #[test]
        fn nothing_in_force_ever_touches_what_is_exempt(
            rules in prop::collection::vec((0u8..8, 27u8..=32, prop::option::of((0u8..8, 27u8..=32))), 0..20),
            networks in prop::collection::vec((0u8..8, 27u8..=32), 0..3),
            remote_networks in prop::collection::vec((0u8..8, 27u8..=32), 0..3),
            outgoing: bool,
        ) {
            let own = |(host, length)| Ipv4Net::new([198, 18, 0, host].into(), length).unwrap().trunc().into();
            let far = |(host, length)| Ipv4Net::new([203, 0, 113, host].into(), length).unwrap().trunc().into();
            let whitelist = Whitelist {
                networks: networks.into_iter().map(own).collect(),
                remote_networks: remote_networks.into_iter().map(far).collect(),
                ..Whitelist::default()
            };
            let mut one = attack("198.18.0.0/24", State::Mitigating);
            one.target.direction = if outgoing { Direction::Outgoing } else { Direction::Incoming };
            for (at, (host, length, source)) in (0..).zip(rules) {
                let mut record = rule("198.18.0.0/24", None, at);
                let (near, far) = (Some(own((host, length))), source.map(far));
                let rule = &mut record.flow_spec.rule;
                (rule.destination, rule.source) = if outgoing { (far, near) } else { (near, far) };
                one.rules.push(record);
            }
            // Address by address, in the plainest way.
            let limits = Limits { rules_per_target: 100, ..LIMITS };
            let plan = super::plan([&one], &limits, (&whitelist, &Guard::default(), &|_, _| Ok(())), never);
            let shared = |networks: &[IpNet], prefix: IpNet| {
                let addresses = [[198, 18, 0, 0], [203, 0, 113, 0]].into_iter().flat_map(|[a, b, c, _]| {
                    (0..32).map(move |last| IpAddr::from([a, b, c, last]))
                });
                addresses.into_iter().any(|at| prefix.contains(&at) && networks.iter().any(|network| network.contains(&at)))
            };
            let touched = |rule: &FlowRule| {
                let (near, far) = if outgoing { (rule.source, rule.destination) } else { (rule.destination, rule.source) };
                near.is_some_and(|near| shared(&whitelist.networks, near))
                    || far.is_some_and(|far| shared(&whitelist.remote_networks, far))
            };
            let wanted: HashSet<_> = plan.wanted.iter().map(|wanted| &wanted.rule).collect();
            let free = one.rules.iter().map(|rule| &rule.flow_spec.rule).filter(|rule| !touched(rule)).collect();
            prop_assert_eq!(wanted, free, "all that is free, and nothing else");
        }
    }

    #[test]
    fn what_the_guard_forbids_is_refused_whatever_is_on_record() {
        let mut one = attack("198.18.0.0/24", State::Mitigating);
        one.rules = (1..=3).map(|host| rule(&format!("198.18.0.{host}/32"), None, host)).collect();
        let guard = Guard { never: vec!["198.18.0.1/32".parse().unwrap()], ..Guard::default() };
        let ours = |_: &Target, prefix: IpNet| {
            let is_ours = prefix != "198.18.0.2/32".parse().unwrap();
            if is_ours { Ok(()) } else { Err("lies in no protected network".to_owned()) }
        };
        let plan = super::plan([&one], &LIMITS, (&Whitelist::default(), &guard, &ours), never);
        assert_eq!(ids(&plan), [one.rules[2].id]);
        assert!(one.rules[..2].iter().all(|rule| plan.standing[&rule.id] == Standing::Refused));
        assert!(plan.alarms[0].ends_with("is refused: 198.18.0.1/32 is in bgp.never_announce"), "{:?}", plan.alarms);
        assert!(plan.alarms[1].ends_with("198.18.0.2/32 lies in no protected network"), "{:?}", plan.alarms);
    }

    #[test]
    fn one_route_that_is_wider_than_its_targets_serves_all_of_them() {
        let mut attacks = [1, 2].map(|host| attack(&format!("198.18.0.{host}/32"), State::Mitigating));
        for attack in &mut attacks {
            let target = attack.target.prefix.to_string();
            attack.rules = vec![rule(&target, None, 1), rule(&target, None, 2)];
            attack.rules[1].flow_spec.action = Action::Blackhole;
        }
        let guard = Guard { blackhole: [24, 48], ..Guard::default() };
        let whitelist = Whitelist { networks: vec!["198.18.0.99/32".parse().unwrap()], ..Whitelist::default() };
        let wanted = |whitelist: &Whitelist| {
            let plan = super::plan(&attacks, &LIMITS, (whitelist, &guard, &|_, _| Ok(())), never);
            let routes = plan.wanted.iter().filter(|wanted| wanted.action == Action::Blackhole);
            (routes.map(|wanted| wanted.rule.to_string()).collect::<Vec<_>>(), plan.wanted.len())
        };
        assert_eq!(wanted(&Whitelist::default()), (vec!["dst 198.18.0.0/24".to_owned(); 2], 4));
        assert_eq!(wanted(&whitelist), (vec![], 2), "the route would take along who is exempt");
    }

    #[test]
    fn outgoing_rules_are_held_by_their_source() {
        let mut one = attack("198.18.0.1/32", State::Mitigating);
        one.target.direction = Direction::Outgoing;
        one.rules = vec![rule("198.18.0.1/32", None, 1), rule("203.0.113.0/24", Some("198.18.0.1/32"), 2)];
        assert_eq!(ids(&plan([&one], &LIMITS, never)), [one.rules[1].id]);
    }

    #[test]
    fn limits_keep_the_oldest_and_say_so() {
        let mut old = attack("198.18.0.1/32", State::Mitigating);
        let mut young = attack("198.18.0.2/32", State::Mitigating);
        let sources = ["203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32"];
        young.rules = sources.iter().map(|source| rule("198.18.0.2/32", Some(source), 20)).collect();
        old.rules = sources.iter().map(|source| rule("198.18.0.1/32", Some(source), 10)).collect();
        let limits = Limits { rules_per_target: 2, rules_in_all: 3, ..LIMITS };
        let plan = plan([&young, &old], &limits, never);
        assert_eq!(ids(&plan), [old.rules[0].id, old.rules[1].id, young.rules[0].id]);
        assert_eq!(plan.standing[&old.rules[2].id], Standing::HeldBack);
        assert_eq!(plan.standing[&young.rules[1].id], Standing::HeldBack);
        assert_eq!(plan.alarms.len(), 2);
    }

    #[test]
    fn the_last_resort_comes_on_top_of_the_rules_and_blackholes_have_a_limit_of_their_own() {
        let mut attacks = [1, 2, 3].map(|host| attack(&format!("198.18.0.{host}/32"), State::Mitigating));
        for (index, attack) in (0..).zip(&mut attacks) {
            let target = attack.target.prefix.to_string();
            attack.rules = (1..=3).map(|at| rule(&target, Some(&format!("203.0.113.{at}/32")), at)).collect();
            let mut last = rule(&target, None, 10 + index);
            (last.last_resort, last.flow_spec.action) = (true, Action::Blackhole);
            attack.rules.push(last);
        }
        let limits = Limits { rules_per_target: 2, blackholes_in_all: 2, ..LIMITS };
        let plan = plan(&attacks, &limits, never);
        assert!(attacks.iter().all(|attack| plan.standing[&attack.rules[2].id] == Standing::HeldBack));
        let blackholes = attacks.each_ref().map(|attack| plan.standing[&attack.rules[3].id]);
        assert_eq!(blackholes, [Standing::Wanted, Standing::Wanted, Standing::HeldBack]);
        assert_eq!(plan.wanted.len(), 3 * 2 + 2);
        // Nor does it take the place of a rule that comes after it.
        attacks[0].rules[3].wanted_ms = 0;
        assert_eq!(plan_of(&attacks, &limits).wanted.len(), 3 * 2 + 2);
        assert!(
            plan.alarms.iter().any(|alarm| alarm == "1 blackholes held back: no more than 2 in all"),
            "{:?}",
            plan.alarms
        );
    }

    #[test]
    fn a_dry_run_shows_but_wants_nothing() {
        let mut one = attack("198.18.0.1/32", State::Mitigating);
        one.rules = vec![rule("198.18.0.1/32", None, 1), rule("0.0.0.0/0", None, 2)];
        let plan = plan([&one], &Limits { dry_run: true, ..LIMITS }, never);
        assert!(plan.wanted.is_empty());
        assert_eq!(plan.standing[&one.rules[0].id], Standing::DryRun);
        assert_eq!(plan.standing[&one.rules[1].id], Standing::Refused);
    }

    #[test]
    fn what_is_only_monitored_is_shown_and_takes_nobodys_place() {
        let mut seen = attack("198.18.0.1/32", State::Mitigating);
        seen.rules = vec![rule("198.18.0.1/32", None, 1), rule("0.0.0.0/0", None, 2)];
        let mut other = attack("198.18.0.2/32", State::Mitigating);
        other.rules = vec![rule("198.18.0.2/32", None, 3)];
        let limits = Limits { rules_in_all: 1, ..LIMITS };
        let only_seen = |target: &Target| *target == seen.target;
        for dry_run in [false, true] {
            let plan = plan([&seen, &other], &Limits { dry_run, ..limits }, only_seen);
            assert_eq!(plan.wanted.len(), usize::from(!dry_run));
            let standing = if dry_run { Standing::DryRun } else { Standing::Wanted };
            assert_eq!(plan.standing[&other.rules[0].id], standing);
            assert_eq!(plan.standing[&seen.rules[0].id], Standing::MonitorOnly);
            assert_eq!(plan.standing[&seen.rules[1].id], Standing::Refused);
            assert_eq!(plan.alarms.len(), 1, "{:?}", plan.alarms);
        }
    }

    #[test]
    fn a_rule_that_is_wanted_elsewhere_goes_out_for_both() {
        let mut seen = attack("198.18.0.1/32", State::Mitigating);
        seen.rules = vec![rule("198.18.0.1/32", None, 1)];
        let mut network = attack("198.18.0.0/24", State::Mitigating);
        network.rules = seen.rules.clone();
        let plan = plan([&seen, &network], &LIMITS, |target| *target == seen.target);
        assert_eq!((ids(&plan), plan.wanted[0].attack), (vec![seen.rules[0].id], network.id));
        assert_eq!(plan.standing[&seen.rules[0].id], Standing::Wanted);
    }

    proptest! {
        #[test]
        fn a_plan_is_as_if_the_monitored_were_not_under_attack(
            asked in prop::collection::vec((0u8..6, 1u8..5, 1i64..50), 0..30), monitored in prop::collection::vec(any::<bool>(), 6),
            in_all in 1usize..12,
        ) {
            let mut attacks: Vec<AttackRecord> =
                (0..6).map(|host| attack(&format!("198.18.0.{host}/32"), State::Mitigating)).collect();
            for &(host, source, wanted_ms) in &asked {
                let attack = &mut attacks[usize::from(host)];
                let source = format!("203.0.113.{source}/32");
                attack.rules.push(rule(&attack.target.prefix.to_string(), Some(&source), wanted_ms));
            }
            let limits = Limits { rules_per_target: 3, rules_in_all: in_all, ..LIMITS };
            let is_monitored = |target: &Target| {
                let place = attacks.iter().position(|attack| attack.target == *target).unwrap();
                monitored[place]
            };
            let with = plan(&attacks, &limits, is_monitored);
            let others = attacks.iter().filter(|attack| !is_monitored(&attack.target));
            let without = plan(others, &limits, never);
            prop_assert_eq!(&with.wanted, &without.wanted);
            prop_assert_eq!(&with.alarms, &without.alarms);
            for attack in attacks.iter().filter(|attack| is_monitored(&attack.target)) {
                prop_assert!(attack.rules.iter().all(|rule| with.standing[&rule.id] == Standing::MonitorOnly));
            }
        }
    }

    #[test]
    fn the_same_rule_stands_once_and_keeps_its_id() {
        let mut network = attack("198.18.0.0/24", State::Mitigating);
        network.rules = vec![rule("198.18.0.1/32", None, 1)];
        let mut host = attack("198.18.0.1/32", State::Mitigating);
        host.rules = network.rules.clone();
        host.rules[0].wanted_ms = 2;
        assert_eq!(ids(&plan([&host, &network], &LIMITS, never)), [network.rules[0].id]);
        assert_eq!(ids(&plan([&host], &LIMITS, never)), [network.rules[0].id]);
        let spec = FlowSpec { action: Action::RateBps(8000), ..host.rules[0].flow_spec.clone() };
        host.rules[0] = RuleRecord { id: Uuid::now_v7(), flow_spec: spec, ..host.rules[0].clone() };
        let plan = plan([&host, &network], &LIMITS, never);
        assert_eq!(ids(&plan), [network.rules[0].id]);
        assert_eq!(plan.standing[&host.rules[0].id], Standing::HeldBack);
        assert_eq!(plan.alarms.len(), 1);
    }
}
