//! How soon the router's table is right again after the engine, the session or `leveed` itself was away.

use super::*;

/// After everything is up.
const RIGHT_AGAIN: Duration = Duration::from_secs(1);

/// What is wanted changes while something is away: the rule is there, with everything up, in time.
#[track_caller]
fn right_in_time(site: &Site, what: &str) {
    site.bird.wait_established();
    let up = Instant::now();
    site.wait_flow4(&ISAKMP_RULE);
    assert!(up.elapsed() < RIGHT_AGAIN, "{what}: right {:?} after everything was up", up.elapsed());
}

#[test]
fn the_routers_table_is_right_within_a_second_of_everything_being_up() {
    let mut site = Site::start("", DETECTION);
    let _player = site.isakmp_for_long();
    site.wait_flow4(&ISAKMP_RULE);
    // A rule that came just before a session falls is a suspect.
    std::thread::sleep(Duration::from_secs(4));

    for _ in 0..2 {
        site.gobgpd.kill();
        site.wait_flow4(&[]);
        site.gobgpd.start(&site.link.engine);
        right_in_time(&site, "after a new engine");
        std::thread::sleep(Duration::from_secs(4));
    }
    for _ in 0..2 {
        site.bird.birdc("disable levee");
        site.wait_flow4(&[]);
        site.bird.birdc("enable levee");
        right_in_time(&site, "after a session that fell");
    }
    // The engine is new, and leveed starts only when the router is back.
    site.leveed.kill();
    site.gobgpd.kill();
    site.gobgpd.start(&site.link.engine);
    site.bird.wait_established();
    site.start_leveed();
    right_in_time(&site, "after a new engine and a new leveed");
    assert_eq!(site.leveed.alarms(), [""; 0]);
}

#[test]
fn a_leveed_that_is_killed_or_replaced_touches_no_announcement() {
    let mut site = Site::start("", DETECTION);
    let _player = site.isakmp_for_long();
    site.wait_flow4(&ISAKMP_RULE);
    let before = site.wait_held();
    // Logs whatever the engine is told; its first line of all is that which stands.
    let monitor = site.gobgpd.monitor();
    let told = || -> Vec<String> { monitor.log().lines().map(str::to_owned).collect() };
    std::thread::sleep(Duration::from_millis(500));
    let first = told();
    for how in ["killed", "replaced"] {
        match how {
            "killed" => site.leveed.kill(),
            _ => assert_eq!(site.leveed.terminate().code(), Some(0)),
        }
        site.start_leveed();
        assert_eq!(site.wait_held().id, before.id);
        never(A_WHILE, "an interruption", || Some(told()).filter(|told| *told != first));
        assert_eq!(shown(&site.bird.flow4()), ISAKMP_RULE);
    }
    // It would have shown.
    site.leveed
        .ask(async |mut api| api.unban(v1::UnbanRequest { host: VICTIM.to_string(), ..Default::default() }).await)
        .unwrap();
    wait_until(SOON, "a line of the monitor", || (told() != first).then_some(()));
}
