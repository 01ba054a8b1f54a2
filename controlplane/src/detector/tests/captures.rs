//! Captures: how they are asked for, and who comes first where there are too few places.

use super::*;

fn requests(log: &[Effect]) -> Vec<CaptureRequest> {
    log.iter()
        .filter_map(|effect| if let Effect::OpenCapture(request) = effect { Some(*request) } else { None })
        .collect()
}

/// The addresses of the hosts whose captures were opened since the last call.
fn opened(world: &mut World) -> Vec<String> {
    requests(&std::mem::take(&mut world.log)).iter().map(|request| request.target.prefix.addr().to_string()).collect()
}

/// Attacks of so many times the threshold on so many hosts.
fn attacks(factors: &[u64]) -> Vec<Observed> {
    let hosts = (1..).zip(factors);
    hosts.map(|(n, factor)| observed(target(&format!("198.18.0.{n}/32")), 0.1, factor * THRESHOLD / 10, 0)).collect()
}

fn record(world: &World, host: &str) -> AttackRecord {
    let found = world.detector.attacks().find(|record| record.target.prefix.addr().to_string() == host);
    found.expect("an attack").clone()
}

#[test]
fn a_capture_of_any_size_spans_the_same_time() {
    for (wanted, pps, stride) in
        [(500, 100_000, 10), (500, 1_000_000, 100), (20, 100_000, 250), (5_000, 1_000_000, 10), (100_000, 100_000, 1)]
    {
        let mut world = World::new(Settings { capture_packets: wanted, ..SETTINGS });
        world.run(200, pps, 0);
        let [request] = requests(&world.log)[..] else { panic!("one capture") };
        assert_eq!((request.wanted, request.stride, request.only), (wanted, stride, None), "{wanted} at {pps}");
        assert_eq!(world.attack().capture.unwrap().wanted, wanted);
    }
}

#[test]
fn the_rate_of_what_the_rules_leave_sets_the_stride() {
    let mut world = World::mitigating(SETTINGS);
    world.log.clear();
    // A million a second, of which rules match all but 50,000; only those are captured.
    world.run(10_000, 1_000_000, 950_000);
    assert_eq!(requests(&world.log)[0].stride, 5);
}

#[test]
fn a_capture_of_what_crossed_asks_for_nothing_else_and_takes_not_much_more() {
    let settings = Settings { threshold_specific_ban_details: true, ..SETTINGS };
    let ask = |tcp_pps: u64| {
        let mut world = World::new(settings);
        let mut observed = observed(host(), 0.1, 10_000, 0);
        observed.all.packets[0][Class::Tcp as usize] = tcp_pps / 10;
        (0..2).for_each(|_| world.tick(&[observed.clone()]));
        requests(&world.log)[0]
    };
    // 100,000 UDP packets a second cross; TCP does not.
    assert_eq!((ask(0).only, ask(0).stride), (Some(Kind::Udp), 10));
    assert_eq!(ask(500_000).stride, 10, "as many UDP packets as without TCP");
    assert_eq!(ask(9_900_000).stride, 100, "but no flood of samples that nobody keeps");
    // Nobody said of a ban by hand what crosses.
    let mut world = World::new(settings);
    world.detector.ban(world.now, host(), "web", 0, "", "alice").unwrap();
    world.run(100, 10_000, 0);
    assert_eq!(requests(&world.log)[0].only, None);
}

#[test]
fn the_furthest_over_its_threshold_comes_first_and_nobody_is_displaced() {
    let mut world = World::new(Settings { captures_max: 2, ..SETTINGS });
    (0..2).for_each(|_| world.tick(&attacks(&[20, 50, 30, 40])));
    assert_eq!(opened(&mut world), ["198.18.0.2", "198.18.0.4"]);
    assert_eq!(world.detector.waiting(), 2);
    assert!(
        record(&world, "198.18.0.1").capture.unwrap().waiting && !record(&world, "198.18.0.2").capture.unwrap().waiting
    );

    // A far worse one comes: it waits, but no longer than until a place is free.
    (0..3).for_each(|_| world.tick(&attacks(&[20, 50, 30, 40, 900])));
    assert_eq!(opened(&mut world), Vec::<String>::new());
    let (full, now) = (record(&world, "198.18.0.2").id, world.now);
    let effects = world.detector.captured(now, full, Counts { incoming: 500, outgoing: 0 });
    assert!(effects.contains(&Effect::CloseCapture { attack: full, mine: true }));
    world.log = world.detector.sample_ready(now, full, vec![], "nothing");
    assert_eq!(opened(&mut world), ["198.18.0.5"], "at once");
    world.detector.unban(now, target("198.18.0.4/32").prefix, "", "alice");
    world.tick(&attacks(&[20, 50, 30, 0, 900]));
    assert_eq!(opened(&mut world), ["198.18.0.3"]);
    assert_eq!(world.detector.waiting(), 1);
}

#[test]
fn who_waits_says_so_once_and_is_no_orphan() {
    let mut world = World::new(Settings { captures_max: 1, unban_only_if_attack_finished: true, ..SETTINGS });
    (0..2).for_each(|_| world.tick(&attacks(&[20, 10])));
    let waits = record(&world, "198.18.0.2");
    let told =
        |world: &World| record(world, "198.18.0.2").journal.iter().filter(|entry| entry.kind == "waiting").count();
    assert_eq!(told(&world), 1);
    // Longer than a capture may take: the first one is an orphan, the second has not begun.
    (0..1_198).for_each(|_| world.tick(&attacks(&[0, 10])));
    assert_eq!((record(&world, "198.18.0.2").id, told(&world)), (waits.id, 1));
    world.log.clear();
    (0..3).for_each(|_| world.tick(&attacks(&[0, 10])));
    assert_eq!(opened(&mut world), ["198.18.0.2"]);
    assert_eq!((record(&world, "198.18.0.2").id, world.detector.waiting()), (waits.id, 0));
}

#[test]
fn an_attack_that_is_over_while_its_capture_waits_ends() {
    let mut world = World::new(Settings { captures_max: 1, ..SETTINGS });
    (0..2).for_each(|_| world.tick(&attacks(&[20, 10])));
    (0..130).for_each(|_| world.tick(&attacks(&[20, 0])));
    let record = record(&world, "198.18.0.2");
    assert_eq!((record.state, record.capture_is_open()), (State::Ending, false));
    assert_eq!(world.detector.waiting(), 0);
}
