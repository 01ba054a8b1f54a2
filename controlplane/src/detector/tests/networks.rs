//! Networks and groups as a whole: hosts come first, and nothing is banned twice.

use super::*;

const NET: &str = "198.18.0.0/24";

fn net() -> Target {
    target(NET)
}

/// Of the network, whose own threshold is `limit`.
fn of_net(limit: u64, all: u64, matched: u64) -> Observed {
    let mut observed = observed(net(), 0.1, all, matched);
    observed.thresholds.set(UDP, limit);
    observed
}

/// A network without a threshold of its own, in a group that may have 5000 packets a second; its others have so many a tick.
fn of_group(prefix: &str, all: u64, others: u64) -> Observed {
    let mut thresholds = Thresholds::default();
    thresholds.set(UDP, 5000);
    let load = Some(Load { thresholds, others: udp(others) });
    Observed { thresholds: Thresholds::default(), load, ..observed(target(prefix), 0.1, all, 0) }
}

fn attacked(world: &World) -> Vec<String> {
    world.detector.attacks().map(|attack| attack.target.to_string()).collect()
}

#[test]
fn a_network_has_the_life_of_a_host() {
    let mut world = World::new(SETTINGS);
    (0..6).for_each(|_| world.tick(&[of_net(3000, 1000, 0)]));
    assert_eq!(attacked(&world), ["198.18.0.0/24 incoming"]);
    assert_eq!(world.attack().crossing, Some(Crossing { metric: UDP, threshold: 3000, measured: 4000.0 }));
    world.fill(500, 0);
    let destination: IpNet = "198.18.0.128/25".parse().unwrap();
    let mut rule = mined("203.0.113.0/24");
    rule.rule.destination = Some(destination);
    let mut too_wide = rule.clone();
    too_wide.rule.destination = Some("198.18.0.0/23".parse().unwrap());
    world.mined(&[rule, too_wide], "");
    world.hold_all();
    assert_eq!(world.attack().rules.len(), 1, "never wider than the network");
    (0..50).for_each(|_| world.tick(&[of_net(3000, 1000, 1000)]));
    assert_eq!(world.attack().state, State::Mitigating);
    (0..130).for_each(|_| world.tick(&[]));
    assert_eq!(world.attack().state, State::Ending);
    (0..610).for_each(|_| world.tick(&[]));
    let life = [Detected, Captured, Mitigating, RuleWanted, RuleHeld, RuleWithdrawn, Ending, Ended];
    assert_eq!(world.told().into_iter().filter(|kind| *kind != Alarm).collect::<Vec<_>>(), life);
}

#[test]
fn a_host_under_attack_is_no_attack_on_its_network() {
    let mut world = World::new(SETTINGS);
    // Both are over at the same tick; from then on the host is told apart.
    for tick in 0..60 {
        let is_apart = world.detector.apart().any(|target| target == host());
        let of_net = of_net(1500, if is_apart { 100 } else { 1100 }, 0);
        world.tick(&[observed(host(), 0.1, 1000, 0), of_net]);
        assert_eq!(is_apart, tick > 1);
    }
    assert_eq!(attacked(&world), ["198.18.0.1 incoming"]);
    // What is left is enough.
    for _ in 0..20 {
        world.tick(&[observed(host(), 0.1, 1000, 0), of_net(1500, 160, 0)]);
    }
    assert_eq!(attacked(&world), ["198.18.0.0/24 incoming", "198.18.0.1 incoming"]);
}

#[test]
fn what_an_ending_attack_had_is_its_networks_again() {
    let mut world = World::new(SETTINGS);
    world.run(500, 10_000, 0);
    assert_eq!(world.detector.apart().collect::<Vec<_>>(), [host()]);
    world.fill(500, 0);
    world.mined(&[], "");
    (0..130).for_each(|_| world.tick(&[]));
    assert_eq!((world.attack().state, world.detector.apart().count()), (State::Ending, 0));
}

#[test]
fn hosts_leave_room_for_the_network_around_them() {
    let mut world = World::new(Settings { attacks_max: 3, ..SETTINGS });
    let hosts: Vec<Observed> =
        (1..=9).map(|host| observed(target(&format!("198.18.0.{host}/32")), 0.1, 500, 0)).collect();
    for _ in 0..4 {
        let apart = world.detector.apart().count() as u64;
        let mut all = hosts.clone();
        all.push(of_net(3000, 500 * (9 - apart.min(9)), 0));
        world.tick(&all);
    }
    let attacked = attacked(&world);
    assert_eq!((attacked.len(), attacked[0].as_str()), (3, "198.18.0.0/24 incoming"), "{attacked:?}");
}

#[test]
fn a_host_whose_traffic_the_networks_rules_take_is_not_banned_too() {
    let mut world = World::new(SETTINGS);
    (0..6).for_each(|_| world.tick(&[of_net(3000, 1000, 0)]));
    world.fill(500, 0);
    world.mined(
        &[MinedRule { rule: FlowRule { destination: Some(net().prefix), ..FlowRule::default() }, ..mined("::/0") }],
        "",
    );
    world.hold_all();
    world.told();
    // Three times its threshold: first nobody can tell it apart, then the rule takes all of it.
    for tick in 0..100 {
        let matched = if tick < 2 { 0 } else { 300 };
        world.tick(&[observed(host(), 0.1, 300, matched), of_net(3000, 1000, 1000)]);
        assert!(world.detector.followed().any(|target| target == host()), "it is to be told apart");
    }
    assert_eq!(attacked(&world), ["198.18.0.0/24 incoming"]);
    // Another vector, which the rule does not take.
    for _ in 0..20 {
        world.tick(&[observed(host(), 0.1, 600, 300), of_net(3000, 1300, 1000)]);
    }
    assert_eq!(attacked(&world), ["198.18.0.0/24 incoming", "198.18.0.1 incoming"]);
}

#[test]
fn a_group_as_a_whole_names_the_networks_that_carry_the_excess() {
    let (one, two) = ("198.18.1.0/24", "198.18.2.0/24");
    let mut world = World::new(SETTINGS);
    (0..20).for_each(|_| world.tick(&[of_group(one, 300, 199)]));
    assert_eq!(attacked(&world), [""; 0], "499 packets a tick are not over 5000 a second");
    // Now the others have more; the busiest comes first.
    for _ in 0..30 {
        let is_apart = world.detector.apart().any(|apart| apart == target(one));
        let (others_of_one, others_of_two) = if is_apart { (400, 0) } else { (400, 450) };
        world.tick(&[of_group(one, 450, others_of_one), of_group(two, 400, others_of_two)]);
    }
    assert_eq!(attacked(&world), ["198.18.1.0/24 incoming"], "what is left is under the threshold");
    let record = world.attack().clone();
    let crossing = record.crossing.expect("a crossing");
    assert!(crossing.threshold == 5000 && crossing.measured > 5000.0 && crossing.measured < 8500.0, "{crossing:?}");
    assert_eq!(record.note, "the threshold is on all of group web together");
    // It is over when the group is.
    world.fill(500, 0);
    world.mined(&[], "");
    (0..40).for_each(|_| world.tick(&[of_group(one, 450, 100)]));
    assert_eq!(world.attack().state, State::Detected);
    (0..130).for_each(|_| world.tick(&[of_group(one, 300, 100)]));
    assert_eq!(world.attack().state, State::Ending);
    // And both, where one alone is not the excess.
    let mut world = World::new(SETTINGS);
    for _ in 0..40 {
        let is_apart = |prefix| world.detector.apart().any(|apart| apart == target(prefix));
        let others = |other| if is_apart(other) { 100 } else { 700 };
        let told = [of_group(one, 620, others(two)), of_group(two, 600, others(one))];
        world.tick(&told);
    }
    assert_eq!(attacked(&world), ["198.18.1.0/24 incoming", "198.18.2.0/24 incoming"]);
}

#[test]
fn a_network_with_a_whitelisted_part_is_attacked_and_one_within_is_left_alone() {
    let whitelist = |text: &str| Whitelist { networks: vec![text.parse().unwrap()], ..Whitelist::default() };
    for (text, captures) in [("198.18.0.0/28", 1), ("198.18.0.0/16", 0)] {
        let mut world = World::with(SETTINGS, whitelist(text));
        (0..6).for_each(|_| world.tick(&[of_net(3000, 1000, 0)]));
        assert_eq!((attacked(&world).len(), world.opened()), (1, captures), "{text}");
    }
}
