//! The second threshold of a host group: over it the last resort comes at once, and goes when the attack falls.

use super::*;

#[test]
fn over_the_second_threshold_a_blackhole_comes_and_goes_when_the_attack_falls() {
    let [groups, detection] = DETECTION.split_once("[detection]").map(<[_; 2]>::from).unwrap();
    let detection = detection.replace("ban_time_s = 3", "ban_time_s = 8\nrule_idle_s = 3");
    let second = "[groups.default.escalate_incoming]\nudp_pps = 6000\n";
    let groups = format!("[groups.default]\nlast_resort = \"blackhole\"\n{groups}{second}");
    let site = Site::start("", &format!("{groups}[detection]{detection}"));
    let blackholes = || -> Vec<String> { shown(&site.bird.routes()) };

    let first = site.isakmp_for_long();
    site.wait_flow4(&ISAKMP_RULE);
    never(A_WHILE, "a blackhole below the second threshold", || Some(blackholes()).filter(|routes| !routes.is_empty()));

    // As much again and again as much, of the kind that the rule takes: rules are no reason to wait.
    let more = site.play(&site.isakmp(), 2 * ATTACK_PPS, Amount::Seconds(100));
    wait_rules("blackholes", blackholes, &["198.18.78.1/32"]);
    let route = site.bird.routes().remove(0);
    assert!(route.attributes["BGP.next_hop"].starts_with("192.0.2.66"), "{route:?}");
    assert_eq!(route.attributes["BGP.community"], "(65535,666) (65535,65281)");
    assert_eq!(shown(&site.bird.flow4()), ISAKMP_RULE, "the rule goes on");
    let attack = wait_until(SOON, "the blackhole to be held", || {
        let attack = site.leveed.attacks().remove(0);
        attack.rules.iter().any(|rule| rule.escalated && rule.state == "held").then_some(attack)
    });
    let [rule, last] = attack.rules.try_into().expect("a rule and the last resort");
    assert_eq!((last.last_resort, last.text.as_str()), (true, "dst 198.18.78.1/32 blackhole"));
    assert!(last.reason.contains("escalates to blackhole"), "{}", last.reason);
    assert!(!rule.last_resort && !rule.escalated, "{rule:?}");
    for rule in [rule, last] {
        assert!(rule.engines.len() == 1 && rule.engines[0].name == "edge" && rule.engines[0].since_ms > 0, "{rule:?}");
    }
    never(Duration::from_secs(4), "an end of it above", || blackholes().is_empty().then_some("withdrawn"));

    more.stop();
    wait_rules("blackholes", blackholes, &[]);
    assert_eq!(shown(&site.bird.flow4()), ISAKMP_RULE, "and back to the rule alone");
    let attack = site.wait_attack("mitigating");
    assert_eq!((attack.rules[0].state.as_str(), attack.rules[1].state.as_str()), ("held", "withdrawn"));
    first.stop();
    site.wait_flow4(&[]);
    site.wait_attack("ended");
    assert_eq!(site.leveed.alarms(), [""; 0]);
}
