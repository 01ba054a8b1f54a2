//! Attacks of several vectors: rules that go and come back one by one, and what is done beyond the limit of rules.

use super::*;

/// A few hundred sources that send from one port: a rule takes each of these, and nothing else has it.
fn reflected(site: &Site, port: u16) -> Player {
    let near = |n: usize| SocketAddr::new(VICTIM.into(), (20_000 + 61 * n) as u16);
    let far = |n: usize| at(&format!("203.0.113.{}:{port}", 1 + n % 250));
    let frames: Vec<_> = (1..=500).map(|n| pcap::udp(far(n), near(n), 400)).collect();
    site.play(&site.file(&format!("{port}.pcap"), &frames), ATTACK_PPS, Amount::Seconds(100))
}

fn rule(port: u16) -> String {
    format!("dst 198.18.78.1/32; proto 17; sport {port}")
}

/// BIRD's rules by their source ports.
fn ports(site: &Site) -> Vec<String> {
    let mut shown = shown(&site.bird.flow4());
    shown.sort();
    shown
}

fn detection(rest: &str) -> String {
    DETECTION.replace("ban_time_s = 3", &format!("ban_time_s = 5\nrule_idle_s = 3\n{rest}"))
}

#[track_caller]
fn wait_ports(site: &Site, expected: &[u16]) {
    let expected: Vec<String> = expected.iter().map(|&port| rule(port)).collect();
    wait_rules("rules", || ports(site), &expected.iter().map(String::as_str).collect::<Vec<_>>());
}

/// The only attack, with its journal.
fn in_full(site: &Site) -> v1::Attack {
    let [attack] = site.leveed.attacks().try_into().expect("one attack");
    let request = v1::ListAttacksRequest { id: attack.id, ..v1::ListAttacksRequest::default() };
    let found = site.leveed.ask(async |mut api| api.list_attacks(request.clone()).await).expect("an answer");
    found.attacks.into_iter().next().expect("the attack")
}

#[test]
fn rules_go_one_by_one_and_come_back_with_their_vector() {
    let site = Site::start("", &detection(""));
    let first = reflected(&site, 1900);
    wait_ports(&site, &[1900]);
    let second = reflected(&site, 3702);
    wait_ports(&site, &[1900, 3702]);
    let before = in_full(&site);

    first.stop();
    wait_ports(&site, &[3702]);
    let attack = in_full(&site);
    assert_eq!((attack.state.as_str(), attack.rules.len()), ("mitigating", 2));
    assert_eq!((attack.rules[0].state.as_str(), attack.rules[1].state.as_str()), ("idle", "held"));
    let said = attack.journal.last().unwrap();
    assert!(said.kind == "rule_withdrawn" && said.text.contains("it matched nothing for 3 s"), "{said:?}");

    let first = reflected(&site, 1900);
    wait_ports(&site, &[1900, 3702]);
    let attack = in_full(&site);
    assert_eq!(attack.rules[0].id, before.rules[0].id);
    let captures = |attack: &v1::Attack| attack.journal.iter().filter(|entry| entry.kind == "captured").count();
    assert_eq!(captures(&attack), captures(&before), "at once, without another sample");
    never(Duration::from_secs(5), "another withdrawal", || Some(ports(&site)).filter(|ports| ports.len() != 2));
    first.stop();
    second.stop();
    wait_ports(&site, &[]);
    site.wait_attack("ended");
}

#[test]
fn beyond_the_limit_of_rules_the_group_has_its_way() {
    let limited = |last_resort: &str| {
        let [groups, detection] = DETECTION.split_once("[detection]").map(<[_; 2]>::from).unwrap();
        let detection = detection.replace("ban_time_s = 3", "ban_time_s = 5\nrule_idle_s = 3\nrules_per_target = 1");
        format!(
            "[groups.default]\nlast_resort = \"{last_resort}\"\nlast_resort_mbps = 8\n{groups}[detection]{detection}"
        )
    };
    let mut site = Site::start("", &limited("blackhole"));
    let first = reflected(&site, 1900);
    wait_ports(&site, &[1900]);
    assert!(site.bird.routes().is_empty());
    let second = reflected(&site, 3702);
    let blackholed = || Some(site.bird.routes()).filter(|routes| !routes.is_empty());
    let routes = wait_until(SOON, "a blackhole", blackholed);
    assert_eq!((routes.len(), routes[0].components.concat()), (1, "198.18.78.1/32".to_owned()));
    assert_eq!(routes[0].attributes["BGP.community"], "(65535,666) (65535,65281)");
    wait_ports(&site, &[1900]);
    let attack = in_full(&site);
    let last = attack.rules.last().unwrap();
    assert_eq!((last.last_resort, last.text.as_str()), (true, "dst 198.18.78.1/32 blackhole"));
    let matched = || in_full(&site).rules.last().unwrap().matched_packets;
    wait_until(SOON, "what it takes", || (matched() > 1_000).then_some(()));
    assert!(attack.note.ends_with("the last resort is blackhole"), "{}", attack.note);

    // The rule suffices again.
    second.stop();
    wait_until(SOON, "no blackhole", || site.bird.routes().is_empty().then_some(()));
    let attack = in_full(&site);
    assert_eq!((attack.state.as_str(), attack.rules[1].state.as_str()), ("mitigating", "withdrawn"));
    wait_ports(&site, &[1900]);

    // What another configuration says holds for what comes then.
    site.leveed.kill();
    site.configure("", &limited("rate_limit"));
    site.start_leveed();
    let second = reflected(&site, 3702);
    wait_rules("rules", || ports(&site), &["dst 198.18.78.1/32", &rule(1900)]);
    let limit = site.bird.flow4().into_iter().find(|route| route.components.len() == 1).expect("the last resort");
    assert_eq!(limit.extended_communities(), "(generic, 0x80060000, 0x49742400)", "a million bytes a second");
    assert!(site.bird.routes().is_empty());
    assert_eq!(in_full(&site).id, attack.id);
    first.stop();
    second.stop();
    wait_ports(&site, &[]);
}
